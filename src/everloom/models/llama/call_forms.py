"""Forms of function calls by models that do not keep to the marks of their template; ``tool_calls.py`` reads them.

Qwen2.5-Coder, for one, writes the JSON of a call in a fence, between ``<tools>`` tags, or with nothing around it.
"""

from collections.abc import Collection
from typing import NamedTuple

from msgspec import Struct


class CallForm(Struct, frozen=True, kw_only=True):
    """What stands before the JSON of calls, what may stand between (as a fence's language), and what ends them."""

    opens: str
    between: tuple[str, ...] = ("[",)
    closes: tuple[str, ...] = ()


FENCED = CallForm(opens="```", between=("json", "["), closes=("```",))
TAGGED = CallForm(opens="<tools>", closes=("</tools>", "</tool_call>"))
BARE = CallForm(opens="")
"""The answer begins with the call."""


class Head(NamedTuple):
    """The beginning of a call: where its object begins, the function's name, and where the arguments begin."""

    start: int
    name: str
    arguments: int


_LONGEST_HEAD = 256
_BEFORE_NAME = ("{", '"name"', ":", '"')
_BEHIND_NAME = (",", '"arguments"', ":", "{")


def read_head(text: str, names: Collection[str], between: tuple[str, ...]) -> Head | bool:
    """The head of a call of one of ``names`` at the beginning of ``text``; True while it may become one, else False."""
    text, at = text[:_LONGEST_HEAD], 0
    for word in between:
        at = _past_space(text, at)
        if text.startswith(word, at):
            at += len(word)
        elif word.startswith(text[at:]):
            return len(text) < _LONGEST_HEAD
    start = _past_space(text, at)
    found = _words(text, start, _BEFORE_NAME)
    if isinstance(found, bool):
        return found
    end = text.find('"', found)
    if end < 0:
        return len(text) < _LONGEST_HEAD and any(name.startswith(text[found:]) for name in names)
    if text[found:end] not in names:
        return False
    behind = _words(text, end + 1, _BEHIND_NAME)
    return behind if isinstance(behind, bool) else Head(start, text[found:end], behind - 1)


def _words(text: str, at: int, words: tuple[str, ...]) -> int | bool:
    """Where text stands behind these words with white space before each; True while they may follow, else False."""
    for word in words:
        at = _past_space(text, at)
        if not text.startswith(word, at):
            return word.startswith(text[at:]) and len(text) < _LONGEST_HEAD
        at += len(word)
    return at


def _past_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


class JsonObjectEnd:
    """Finds the end of a JSON object in a text that comes piece by piece, the object from its first character on."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def find(self, piece: str) -> int | None:
        """How many characters of the next piece still belong to the object; None when it does not end in it."""
        for position, char in enumerate(piece):
            if self._ends_at(char):
                return position + 1
        return None

    def _ends_at(self, char: str) -> bool:
        if self._quoted:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._quoted = False
            return False
        if char == '"':
            self._quoted = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            return self._depth == 0
        return False
