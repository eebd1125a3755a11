"""Constrained decoding: what the model may write, as a grammar of llguidance (Lark with embedded JSON schemas).

llguidance enforces most of JSON schema exactly, regular expressions included. What it cannot compile it drops
*without a word*, grammar and all; ``probe`` builds a grammar that shows in one token whether that happened.
Source: the llguidance syntax documentation (docs/syntax.md, docs/json_schema.md).
"""

import json
from collections.abc import Sequence

from msgspec import Struct

from everloom.objects.base import JsonObject

CALL_OPENS = "<tool_call>"
CALL_CLOSES = "</tool_call>"
RESPONSE_OPENS = "<tool_response>"
RESPONSE_CLOSES = "</tool_response>"

PROBE = "~"
MOST_CALLS = 8
"""How many calls one answer may hold: small models do not stop by themselves."""

_LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False, "coerce_one_of": True}
_LINE = ' "\\n"? '
_FREE_TEXT = r"WORDS" "\n" r"WORDS: /(?s:.+)/ & ~/(?s:.*)<tool_(call>|response)(?s:.*)/"


class Callable(Struct, frozen=True, kw_only=True):
    """A function as the grammar needs it: its name and the JSON schema of its arguments."""

    name: str
    schema: JsonObject


class Grammar(Struct, frozen=True):
    """The rules that define ``answer``."""

    rules: str

    def text(self, end_token: int) -> str:
        """The grammar to decode by. The model's own end is allowed wherever the answer is complete."""
        return f"%llguidance {{}}\nstart: answer <[{end_token}]>?\n{self.rules}"

    def probe(self) -> str:
        """A grammar whose first token is ``PROBE`` if and only if the rules compile."""
        return f"%llguidance {{}}\nstart: {_literal(PROBE)} answer\n{self.rules}"


def json_answer(schema: JsonObject, *, relaxed: int = 0) -> Grammar:
    """An answer that is JSON by ``schema``; ``relaxed`` as in ``relax``."""
    return Grammar(f"answer: {_json(schema, relaxed)}\n")


def calls_answer(
    functions: Sequence[Callable],
    *,
    free: str | None,
    most: int,
    relaxed: Sequence[int] | None = None,
    lines: bool = False,
) -> Grammar:
    """An answer that calls functions: at least one where ``free`` is None, else text or calls or text, then calls.

    ``free`` is the rule for text (``free_text()``, ``json_text(schema)``); ``most`` bounds the calls. ``lines``: the
    marks of a call may stand on lines of their own, as models write them that were trained to.
    """
    levels = relaxed or [0] * len(functions)
    more = f' ("\\n"? call){{0,{most - 1}}}' if most > 1 else ""
    names = " | ".join(f"call_{index}" for index in range(len(functions)))
    answer = f"call{more}" if free is None else f"text | text? call{more}"
    rules = [f"answer: {answer}", f"call: {names}"]
    if free is not None:
        rules.append(f"text: {free}")
    for index, function in enumerate(functions):
        head, end = _literal(CALL_OPENS + _head(function)), _literal("}" + CALL_CLOSES)
        if lines:
            head = _literal(CALL_OPENS) + _LINE + _literal(_head(function))
            end = _literal("}") + _LINE + _literal(CALL_CLOSES)
        rules.append(f"call_{index}: {head} arguments_{index} {end}")
        rules.append(f"arguments_{index}: {_json(function.schema, levels[index])}")
    return Grammar("\n".join(rules) + "\n")


def _head(function: Callable) -> str:
    return f'{{"name": "{function.name}", "arguments": '


def free_text() -> str:
    """Any text that holds none of our marks."""
    return _FREE_TEXT


def json_text(schema: JsonObject, *, relaxed: int = 0) -> str:
    """Text that is JSON by ``schema``."""
    return _json(schema, relaxed)


def shown(schema: JsonObject) -> str:
    """A schema as a model reads it."""
    return json.dumps(schema, ensure_ascii=False)


MOST_RELAXED = 2


def relax(schema: JsonObject, level: int) -> JsonObject:
    """The schema as the grammar gets it: 0 exactly, 1 without keywords that cannot be enforced, 2 also without
    ``pattern`` and ``format``. ``oneOf`` is always enforced as ``anyOf``.
    """
    if level >= MOST_RELAXED:
        schema = without(schema, ("pattern", "format"))
    return {**schema, "x-guidance": {**_LAYOUT, "lenient": level > 0}}


def without(value: object, keys: tuple[str, ...]) -> "JsonObject":
    def walk(node: object) -> object:
        if isinstance(node, dict):
            return {key: walk(item) for key, item in node.items() if not (key in keys and isinstance(item, str))}
        return [walk(item) for item in node] if isinstance(node, list) else node

    walked = walk(value)
    assert isinstance(walked, dict)
    return walked


def _json(schema: JsonObject, level: int) -> str:
    return "%json " + json.dumps(relax(schema, level))


def _literal(text: str) -> str:
    return json.dumps(text)
