"""Functions explained to a model whose chat template knows none (the format: docs/local-models.md).

The examples are made from the caller's own functions: SmolLM2-135M then calls one unasked, which it never did with
JSON schemas and examples of other functions. Order and number were tried out; the numbers are in the docs.
"""

import json
from collections.abc import Sequence
from typing import Any

from everloom.models.llama.grammar import CALL_CLOSES, CALL_OPENS, RESPONSE_CLOSES, RESPONSE_OPENS
from everloom.objects.base import JsonObject

_MOST_EXAMPLES = 4
_MOST_DUMMIES = 4
WITHOUT_SYSTEM = "You are a helpful assistant that can call functions."
"""The beginning of the system text when the caller gives none."""

_HOW = (
    "\n\nTo call a function, answer with one line and nothing else:\n"
    f'{CALL_OPENS}{{"name": "FUNCTION", "arguments": {{"PARAMETER": VALUE}}}}{CALL_CLOSES}\n'
    f"Its result comes back in {RESPONSE_OPENS}{RESPONSE_CLOSES}. When no function is needed, answer in words."
)


def explain(functions: Sequence[JsonObject]) -> str:
    """The end of the system text: what ``functions`` (FunctionObject of the reference) there are, how to call them."""
    lines = "\n".join(_signature(function) for function in functions)
    return f"Functions:\n{lines}{_HOW}"


def examples(functions: Sequence[JsonObject]) -> list[JsonObject]:
    """A conversation that shows the format with the functions themselves."""
    turns = [_turn("user", "Hello!"), _turn("assistant", "Hello! How can I help you?")]
    shown = functions[:_MOST_EXAMPLES] if len(functions) > 1 else [*functions, *functions]
    for index, function in enumerate(shown):
        arguments = _dummies(function.get("parameters") or {})
        told = ", ".join(f"{name} {value}" for name, value in arguments.items())
        asked = function.get("description") or function["name"]
        turns.append(_turn("user", f"{asked}: {told}" if told else asked))
        turns.append(_turn("assistant", call_text(function["name"], arguments)))
        if index == 0:
            turns.append(_turn("user", response_text(function["name"], "21")))
            turns.append(_turn("assistant", "The result is 21."))
    return turns


def call_text(name: str, arguments: object) -> str:
    """A call as the model writes it. ``arguments`` is an object, or the JSON text of one."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'{CALL_OPENS}{{{_pair("name", name)}, "arguments": {written or "{}"}}}{CALL_CLOSES}'


def response_text(name: str, content: str) -> str:
    """A function's result as the model reads it."""
    return f"{RESPONSE_OPENS}{{{_pair('name', name)}, {_pair('content', content)}}}{RESPONSE_CLOSES}"


def _pair(key: str, value: str) -> str:
    return f'"{key}": {json.dumps(value, ensure_ascii=False)}'


def _turn(role: str, content: str) -> JsonObject:
    return {"role": role, "content": content}


def _signature(function: JsonObject) -> str:
    """``get_weather(city: string (where), unit?: "c"|"f"): Get the weather``"""
    schema = function.get("parameters") or {}
    required = _required(schema)
    parts = []
    for name, part in _properties(schema).items():
        note = f" ({part['description']})" if isinstance(part, dict) and part.get("description") else ""
        parts.append(f"{name}{'' if name in required else '?'}: {_type(part)}{note}")
    about = function.get("description")
    return f"{function['name']}({', '.join(parts)})" + (f": {about}" if about else "")


# A caller's schema is any JSON: what is no schema is not shown here, and refused where the engine is to keep to it.


def _properties(schema: JsonObject) -> JsonObject:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: JsonObject) -> list[str]:
    found = schema.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _enum(schema: JsonObject) -> list[object]:
    found = schema.get("enum")
    return found if isinstance(found, list) else []


def _kinds(schema: JsonObject) -> list[str]:
    found = schema.get("type")
    return [kind for kind in (found if isinstance(found, list) else [found]) if isinstance(kind, str)]


def _type(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "any"
    if values := _enum(schema):
        return "|".join(json.dumps(value, ensure_ascii=False) for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items'))}"
    return "|".join(_kinds(schema)) or "any"


def _dummies(schema: JsonObject) -> JsonObject:
    properties = _properties(schema)
    names = [name for name in _required(schema) or properties if name in properties]
    return {name: _dummy(name, properties[name]) for name in names[:_MOST_DUMMIES]}


def _dummy(name: str, schema: Any) -> object:
    if not isinstance(schema, dict):
        return name.capitalize()
    if chosen := _enum(schema):
        return chosen[0]
    kind = next(iter(_kinds(schema)), "")
    values: dict[str, object] = {"integer": 7, "number": 7, "boolean": True, "array": [], "object": {}, "null": None}
    return values.get(kind, name.capitalize())
