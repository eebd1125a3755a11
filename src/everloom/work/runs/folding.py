"""Deltas put together: neighbours that make one text longer become one delta, which can be cut where a reader stands.

What is rebuilt from folded events is what is rebuilt from those that they were made of, from any of these on: the
folded delta has the seq of its last piece and knows how long each piece was (``Event.pieces``).
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from everloom.kit.errors import NO_JSON
from everloom.objects.messages import MessageDelta, RefusalContentDelta, TextContentDelta
from everloom.objects.steps import CodeInterpreterDelta, FunctionCallDelta, LogsDelta, RunStepDelta
from everloom.store.base import Event

_encode = msgspec.json.Encoder().encode
_decoders: dict[str, "msgspec.json.Decoder[Any]"] = {
    "thread.message.delta": msgspec.json.Decoder(MessageDelta),
    "thread.run.step.delta": msgspec.json.Decoder(RunStepDelta),
}


class Growth(Struct):
    """A delta by which one text grows. ``place`` says which text, ``plain`` whether the delta says nothing besides."""

    delta: MessageDelta | RunStepDelta
    place: tuple[Any, ...]
    plain: bool
    holder: Any
    field: str

    @property
    def text(self) -> str:
        """What it adds."""
        text: str = getattr(self.holder, self.field)
        return text

    def saying(self, text: str) -> bytes:
        """The delta with another text."""
        setattr(self.holder, self.field, text)
        return _encode(self.delta)


def growth_of(event: Event) -> Growth | None:
    """What an event adds to one text, None where it is no such delta."""
    if (decoder := _decoders.get(event.name)) is None:
        return None
    try:
        delta = decoder.decode(event.data)
    except NO_JSON:
        return None
    return _of_message(delta) if isinstance(delta, MessageDelta) else _of_step(delta)


def _of_message(delta: MessageDelta) -> Growth | None:
    if len(delta.delta.content) != 1:
        return None
    part = delta.delta.content[0]
    if isinstance(part, RefusalContentDelta):
        return Growth(delta, (delta.id, part.index, "refusal"), True, part, "refusal")
    if isinstance(part, TextContentDelta) and isinstance(part.text.value, str):
        plain = part.text.annotations is UNSET
        return Growth(delta, (delta.id, part.index, "text"), plain, part.text, "value")
    return None


def _of_step(delta: RunStepDelta) -> Growth | None:
    calls = delta.delta.step_details.tool_calls
    if len(calls) != 1:
        return None
    call = calls[0]
    if isinstance(call, FunctionCallDelta):
        function = call.function
        if isinstance(function.arguments, str) and not function.output:
            plain = call.id is UNSET and function.name is UNSET and function.output is UNSET
            return Growth(delta, (delta.id, call.index, "arguments"), plain, function, "arguments")
    elif isinstance(call, CodeInterpreterDelta):
        code = call.code_interpreter
        if isinstance(code.input, str):
            plain = call.id is UNSET and code.outputs is UNSET
            return None if code.outputs else Growth(delta, (delta.id, call.index, "input"), plain, code, "input")
        if code.outputs is not UNSET and len(code.outputs) == 1 and isinstance(logs := code.outputs[0], LogsDelta):
            return Growth(delta, (delta.id, call.index, logs.index), call.id is UNSET, logs, "logs")
    return None


class Folding:
    """Takes a log's events in their order; ``events`` are what is left of them."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._growth: Growth | None = None
        self._texts: list[str] = []

    def take(self, events: Iterable[Event]) -> None:
        """Go on with these."""
        for event in events:
            growth = None if event.pieces else growth_of(event)
            if growth is not None and self._goes_on(growth, event):
                self._texts.append(growth.text)
                self._events[-1] = event
                continue
            self._close()
            self._events.append(event)
            if growth is not None:
                self._growth, self._texts = growth, [growth.text]

    def events(self) -> tuple[Event, ...]:
        """All that was taken, folded."""
        self._close()
        return tuple(self._events)

    def _goes_on(self, growth: Growth, event: Event) -> bool:
        first = self._growth
        return (
            first is not None and growth.plain and growth.place == first.place and event.seq == self._events[-1].seq + 1
        )

    def _close(self) -> None:
        """Let the last event be the whole of what was put together."""
        if self._growth is not None and len(self._texts) > 1:
            last = self._events[-1]
            data = self._growth.saying("".join(self._texts))
            self._events[-1] = Event(last.seq, last.name, data, tuple(map(len, self._texts)))
        self._growth, self._texts = None, []


def behind(event: Event, after: int) -> Event:
    """What a reader has yet to hear of an event who has heard the log up to ``after``."""
    heard = after - (event.seq - len(event.pieces))
    if heard <= 0 or not event.pieces or (growth := growth_of(event)) is None:
        return event
    pieces = event.pieces[heard:]
    text = growth.text[sum(event.pieces[:heard]) :]
    return Event(event.seq, event.name, _only(growth).saying(text), pieces)


def _only(growth: Growth) -> Growth:
    """The growth alone: what its delta said besides came with its first piece."""
    delta = growth.delta
    if isinstance(delta, MessageDelta):
        part = delta.delta.content[0]
        if isinstance(part, TextContentDelta):
            part.text.annotations = UNSET
        return growth
    call = delta.delta.step_details.tool_calls[0]
    if isinstance(call, FunctionCallDelta):
        call.id = call.function.name = call.function.output = UNSET
    elif isinstance(call, CodeInterpreterDelta):
        call.id = UNSET
        if growth.field == "input":
            call.code_interpreter.outputs = UNSET
    return growth
