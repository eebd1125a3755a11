"""Reading function calls out of a model's text while it is still being written."""

import re
from collections.abc import Sequence

from msgspec import Struct

from everloom.models.llama.call_forms import BARE, FENCED, TAGGED, CallForm, JsonObjectEnd, read_head
from everloom.models.llama.grammar import CALL_CLOSES, CALL_OPENS, MOST_CALLS
from everloom.models.llama.tool_arguments import ToolSchemas

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]{1,64})"\s*,\s*"arguments"\s*:\s*(?=\{)')
_LONGEST_HEAD = 256
_AFTER = re.compile(r"\s*\}?\s*" + re.escape(CALL_CLOSES) + r"\s*")
_MARKS = (CALL_OPENS, FENCED.opens, TAGGED.opens)
_FORMS = {form.opens: form for form in (FENCED, TAGGED)}


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
    """Splits an answer into text and calls, piece by piece: those in the format of ``llama/tools_prompt.py`` and,
    where ``schemas`` are given, those in the forms of ``call_forms.py`` whose arguments fit.

    Text is held back only while it may still turn out to be a call; what only looks like one stays text.
    ``must_call``: the answer is calls and nothing else, so a cut-off beginning of one is not shown as text.
    ``most``: what the model calls beyond so many is not told.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        must_call: bool = False,
        schemas: ToolSchemas | None = None,
        most: int = MOST_CALLS,
    ) -> None:
        self._names = frozenset(names)
        self._must_call = must_call
        self._schemas = None if must_call else schemas
        self._most = most
        self._marks = _MARKS if self._schemas else (CALL_OPENS,)
        self._held = ""
        self._opened = ""  # the mark behind which ``_held`` begins
        self._reading = self._read_text if self._schemas is None else self._read_beginning
        self._count = 0
        self._trim = False  # white space after a call is layout
        self._end = JsonObjectEnd()
        self._form = BARE
        self._called = ""
        self._arguments = 0  # where they begin in ``_held``
        self._seen = 0  # how much of ``_held`` was looked through for the end of the call

    def feed(self, piece: str) -> list[Event]:
        """The events that ``piece`` completes."""
        self._held += piece
        events: list[Event] = []
        while self._reading(events):
            pass
        return [event for event in events if isinstance(event, PlainText) or event.index < self._most]

    def end(self) -> list[Event]:
        """What is left when the answer is over."""
        held, self._held = self._opened + self._held, ""
        undecided = (self._read_text, self._read_beginning, self._read_head, self._read_other_head, self._read_other)
        if self._reading in undecided and held and not self._must_call:
            return [PlainText(held)]
        if self._must_call and self._count == 0 and len(self._names) == 1:
            return [CallBegins(0, next(iter(self._names)))]
        return []

    def _read_beginning(self, events: list[Event]) -> bool:
        """An answer may begin with a call that has nothing around it, and with white space that belongs to a call."""
        text = self._held.lstrip()
        if not text or any(mark != text and mark.startswith(text) for mark in self._marks):
            return False
        if text[0] in "{[":
            self._read_in(BARE)
        else:
            mark = next((mark for mark in self._marks if text.startswith(mark)), "")
            self._open(mark, self._held[: len(self._held) - len(text)]) if mark else self._read_on()
            self._held = text[len(mark) :] if mark else self._held
        return True

    def _read_text(self, events: list[Event]) -> bool:
        if self._trim:
            self._held = self._held.lstrip()
            self._trim = not self._held
        places = ((self._held.find(mark), mark) for mark in self._marks)
        place, mark = min((found for found in places if found[0] >= 0), default=(-1, ""))
        if mark:
            before, self._held = self._held[:place], self._held[place + len(mark) :]
            self._open(mark)
        else:
            keep = max(_overlap(self._held, mark) for mark in self._marks)
            before, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        if before and not self._must_call:
            events.append(PlainText(before))
        return bool(mark)

    def _read_on(self) -> None:
        self._opened, self._reading = "", self._read_text

    def _open(self, mark: str, space: str = "") -> None:
        if mark == CALL_OPENS:
            self._reading = self._read_head
        else:
            self._read_in(_FORMS[mark])
        self._opened = space + mark

    def _read_in(self, form: CallForm) -> None:
        self._form, self._opened, self._reading = form, form.opens, self._read_other_head

    def _read_head(self, events: list[Event]) -> bool:
        head = _HEAD.match(self._held[:_LONGEST_HEAD])
        if head is not None and head[1] in self._names:
            events.append(CallBegins(self._count, head[1]))
            self._held, self._opened, self._reading = self._held[head.end() :], "", self._read_arguments
            self._end = JsonObjectEnd()
            return True
        if head is None and len(self._held) < _LONGEST_HEAD and CALL_CLOSES not in self._held:
            return False
        self._give_up(events, 0)
        return True

    def _read_arguments(self, events: list[Event]) -> bool:
        end = self._end.find(self._held)
        piece, self._held = self._held[:end], "" if end is None else self._held[end:]
        if piece:
            events.append(CallGoesOn(self._count, piece))
        if end is not None:
            self._reading = self._read_after
        return end is not None

    def _read_after(self, events: list[Event]) -> bool:
        closed = _AFTER.match(self._held)
        if closed is None:
            return False
        self._count += 1
        self._held, self._reading, self._trim = self._held[closed.end() :], self._read_text, True
        return True

    def _read_other_head(self, events: list[Event]) -> bool:
        assert self._schemas is not None
        head = read_head(self._held, self._schemas.names, self._form.between)
        if isinstance(head, bool):
            if not head:
                self._give_up(events, 0 if self._opened else 1)
            return not head
        start, self._called, self._arguments = head
        self._end, self._seen, self._reading = JsonObjectEnd(), start, self._read_other
        return True

    def _read_other(self, events: list[Event]) -> bool:
        """A call in another form is told when it is whole, since its arguments have to fit."""
        assert self._schemas is not None
        end = self._end.find(self._held[self._seen :])
        if end is None:
            self._seen = len(self._held)
            return False
        end += self._seen
        arguments = self._held[self._arguments : end - 1].rstrip()
        if not self._schemas.fits(self._called, arguments):
            self._give_up(events, end)
            return True
        events += [CallBegins(self._count, self._called), CallGoesOn(self._count, arguments)]
        self._count += 1
        self._held, self._opened, self._reading = self._held[end:], "", self._read_behind_other
        return True

    def _read_behind_other(self, events: list[Event]) -> bool:
        """The form's end, or another call in it."""
        self._held = self._held.lstrip(" \t\r\n,]")
        if not self._held:
            return False
        if self._held[0] == "{":
            self._form = CallForm(opens="", between=(), closes=self._form.closes)
            self._read_in(self._form)
            return True
        closed = next((mark for mark in self._form.closes if self._held.startswith(mark)), "")
        if not closed and any(mark.startswith(self._held) for mark in self._form.closes):
            return False
        self._held, self._trim = self._held[len(closed) :], True
        self._read_on()
        return True

    def _give_up(self, events: list[Event], size: int) -> None:
        """So much of what is held is text, and the mark before it."""
        text, self._held = self._opened + self._held[:size], self._held[size:]
        if text:
            events.append(PlainText(text))
        self._read_on()


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of ``text`` are a beginning of ``mark``."""
    return next((size for size in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:size])), 0)
