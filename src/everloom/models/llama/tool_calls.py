"""Reading function calls out of a model's text while it is still being written."""

import re
from collections.abc import Sequence

from msgspec import Struct

from everloom.models.llama.grammar import CALL_CLOSES, CALL_OPENS

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]{1,64})"\s*,\s*"arguments"\s*:\s*(?=\{)')
_LONGEST_HEAD = 256
_AFTER = re.compile(r"\s*\}?\s*" + re.escape(CALL_CLOSES) + r"\s*")


class PlainText(Struct, frozen=True):
    """A piece of the message."""

    text: str


class CallBegins(Struct, frozen=True):
    """The ``index``-th call of the answer, its arguments to follow."""

    index: int
    name: str


class CallGoesOn(Struct, frozen=True):
    """A piece of the arguments (JSON) of a call that has begun."""

    index: int
    arguments: str


Event = PlainText | CallBegins | CallGoesOn


class CallReader:
    """Splits an answer in the format of ``llama/tools_prompt.py`` into text and calls, piece by piece.

    Text is held back only while it may still turn out to be a call; what only looks like one stays text.
    ``must_call``: the answer is calls and nothing else, so a cut-off beginning of one is not shown as text.
    """

    def __init__(self, names: Sequence[str], *, must_call: bool = False) -> None:
        self._names = frozenset(names)
        self._must_call = must_call
        self._held = ""
        self._reading = self._read_text
        self._count = 0
        self._trim = False  # white space after a call is layout
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, piece: str) -> list[Event]:
        """The events that ``piece`` completes."""
        self._held += piece
        events: list[Event] = []
        while self._reading(events):
            pass
        return events

    def end(self) -> list[Event]:
        """What is left when the answer is over."""
        held, self._held = self._held, ""
        if self._reading == self._read_head:
            held = CALL_OPENS + held
        if self._reading in (self._read_text, self._read_head) and held and not self._must_call:
            return [PlainText(held)]
        if self._must_call and self._count == 0 and len(self._names) == 1:
            return [CallBegins(0, next(iter(self._names)))]
        return []

    def _read_text(self, events: list[Event]) -> bool:
        if self._trim:
            self._held = self._held.lstrip()
            self._trim = not self._held
        before, mark, after = self._held.partition(CALL_OPENS)
        if mark:
            self._held, self._reading = after, self._read_head
        else:
            keep = _overlap(before, CALL_OPENS)
            before, self._held = before[: len(before) - keep], before[len(before) - keep :]
        if before and not self._must_call:
            events.append(PlainText(before))
        return bool(mark)

    def _read_head(self, events: list[Event]) -> bool:
        head = _HEAD.match(self._held)
        if head is not None and head[1] in self._names:
            events.append(CallBegins(self._count, head[1]))
            self._held, self._reading, self._depth = self._held[head.end() :], self._read_arguments, 0
            return True
        if head is None and len(self._held) < _LONGEST_HEAD and CALL_CLOSES not in self._held:
            return False
        events.append(PlainText(CALL_OPENS))
        self._reading = self._read_text
        return True

    def _read_arguments(self, events: list[Event]) -> bool:
        for position, char in enumerate(self._held):
            if self._ends_at(char):
                self._go_on(events, position + 1)
                self._reading = self._read_after
                return True
        self._go_on(events, len(self._held))
        return False

    def _go_on(self, events: list[Event], end: int) -> None:
        piece, self._held = self._held[:end], self._held[end:]
        if piece:
            events.append(CallGoesOn(self._count, piece))

    def _ends_at(self, char: str) -> bool:
        """Whether ``char`` closes the object of the arguments."""
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

    def _read_after(self, events: list[Event]) -> bool:
        closed = _AFTER.match(self._held)
        if closed is None:
            return False
        self._count += 1
        self._held, self._reading, self._trim = self._held[closed.end() :], self._read_text, True
        return True


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of ``text`` are a beginning of ``mark``."""
    return next((size for size in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:size])), 0)
