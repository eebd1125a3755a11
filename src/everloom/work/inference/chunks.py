"""A streamed chat completion, read as the servers of this world write it.

What comes out are ``ChatChunk``s in the reference's form, whatever came in: chunks without choices, contents in parts,
calls without numbers, usage under other names, errors in any envelope, one whole answer in place of a stream.
Chunks that keep to the form cost one decoding.
"""

import json
from typing import Any

import msgspec
from msgspec.structs import asdict

from everloom.kit.errors import NO_JSON, ModelFailure
from everloom.kit.foreign_errors import told_error
from everloom.kit.sse import DONE, EventData
from everloom.models.failures import failed_midway, unreadable
from everloom.models.usage import usage_of
from everloom.objects.base import JsonObject
from everloom.objects.chat import ChatChunk, ChatDelta, ChunkChoice, FunctionChunk, ToolCallChunk
from everloom.work.inference.call_numbering import CallNumbering

_WHOLE_BYTES = 64 * 1024 * 1024
"""The longest answer that comes whole where a stream was asked for."""

_MOST_LINES = 200
_MOST_IN_LINES = 1024 * 1024
"""Lines of one event's data, and their bytes where there are several: each one more may be tried as the last."""

_HIGH, _LOW = "\ud800", "\udc00"


class ChunkReader:
    """Blocks of bytes in, chunks out. ``model`` is named in errors."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._events = EventData()
        self._lines: list[bytes] = []
        self._whole: bytearray | None = None
        self._begun = False
        self._calls: dict[int, CallNumbering] = {}
        self._halves: dict[tuple[int, str], str] = {}
        self.heard = False
        """Whether there was any answer."""

    def feed(self, block: bytes) -> list[ChatChunk]:
        """The chunks that ``block`` completes. Errors: ``ModelFailure``, in the server's words where it has some."""
        if not self._begun and block.strip(_BLANK):
            self._begun = True
            if block.lstrip(_BLANK).startswith(b"{"):
                self._whole = bytearray()
        if self._whole is None:
            return self._read(block)
        self._whole += block
        if len(self._whole) > _WHOLE_BYTES:
            raise self._broken(f"an answer of more than {_WHOLE_BYTES} bytes")
        return []

    def end(self) -> list[ChatChunk]:
        """The chunks that only the end of the answer completes."""
        if self._whole is not None:
            chunks = [self._chunk(_parsed(bytes(self._whole)), "", whole=True)]
        else:
            chunks = self._read(b"", ended=True)
            if self._lines:
                raise unreadable(self._model)
        late = [
            ChunkChoice(index=index, delta=ChatDelta(tool_calls=pieces))
            for index, calls in self._calls.items()
            if (pieces := calls.end(self._model))
        ]
        return [*chunks, ChatChunk(choices=late)] if late else chunks

    def _read(self, block: bytes, *, ended: bool = False) -> list[ChatChunk]:
        try:
            lines = self._events.feed(block, ended=ended)
        except ValueError as error:
            raise self._broken(str(error)) from error
        return [chunk for event, data, _ in lines if (chunk := self._take(event, data)) is not None]

    def _take(self, event: str, data: bytes | None) -> ChatChunk | None:
        """One line of data, or (None) the end of an event; most events have one line, some have JSON on several."""
        if data is None:
            if self._lines:
                raise unreadable(self._model)
            return None
        if not self._lines:
            if data in (b"", DONE):
                return None
            if not event and (chunk := _in_form(data)) is not None and not self._halves:
                self.heard = True
                return chunk
        self._lines.append(data)
        if len(self._lines) > _MOST_LINES or (len(self._lines) > 1 and sum(map(len, self._lines)) > _MOST_IN_LINES):
            raise unreadable(self._model)
        try:
            value = _parsed(b"\n".join(self._lines))
        except ValueError:
            return None  # It may go on; if not, the event's end will tell.
        self._lines.clear()
        return None if value is None else self._chunk(value, event)

    def _chunk(self, value: Any, event: str, *, whole: bool = False) -> ChatChunk:
        if not isinstance(value, dict):
            raise unreadable(self._model)
        text = told_error(value)
        if text is None and event == "error":
            text = msgspec.json.encode(value).decode()
        if text is not None:
            raise failed_midway(self._model, text.encode())
        choices = value.get("choices")
        if choices is None:
            choices = []
        if not isinstance(choices, list) or (whole and not choices):
            raise unreadable(self._model)
        self.heard = True
        read = [self._choice(choice, whole=whole) for choice in choices if isinstance(choice, dict)]
        return ChatChunk(choices=read, usage=usage_of(value.get("usage")), model=_text_or_none(value.get("model")))

    def _choice(self, choice: JsonObject, *, whole: bool) -> ChunkChoice:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        delta = choice.get("delta") or choice.get("message") or {}
        if not isinstance(delta, dict):
            raise unreadable(self._model)
        reason = _text_or_none(choice.get("finish_reason"))
        if reason == "error":
            told = told_error(choice) or told_error(delta) or "It ended with the reason 'error'."
            raise failed_midway(self._model, told.encode())
        whole = whole or "message" in choice
        return ChunkChoice(index=index, delta=self._delta(index, delta, whole=whole), finish_reason=reason)

    def _delta(self, index: int, delta: JsonObject, *, whole: bool) -> ChatDelta:
        content = self._joined(index, "content", _text_of_parts(delta.get("content")))
        refusal = self._joined(index, "refusal", _text_or_none(delta.get("refusal")))
        calls = delta.get("tool_calls")
        calls = [calls] if isinstance(calls, dict) else calls or []
        if not calls and isinstance(delta.get("function_call"), dict):
            calls = [{"function": delta["function_call"]}]
        if not isinstance(calls, list):
            raise unreadable(self._model)
        pieces = [self._call(index, position, call, whole=whole) for position, call in enumerate(calls)]
        numbering = self._calls.setdefault(index, CallNumbering()) if pieces else None
        return ChatDelta(content=content, refusal=refusal, tool_calls=numbering.place(pieces) if numbering else None)

    def _call(self, choice: int, position: int, call: Any, *, whole: bool) -> ToolCallChunk:
        if not isinstance(call, dict):
            raise unreadable(self._model)
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        number = call.get("index")
        number = position if whole else number if isinstance(number, int) else NO_INDEX
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        arguments = self._joined(choice, f"call {number}", arguments)
        name = _text_or_none(function.get("name"))
        return ToolCallChunk(
            index=number, id=_text_or_none(call.get("id")), function=FunctionChunk(name=name, arguments=arguments)
        )

    def _joined(self, choice: int, what: str, piece: str | None) -> str | None:
        """The piece as text that can be kept: halves of a character that came in two pieces are put together."""
        if not piece:
            return piece
        text = self._halves.pop((choice, what), "") + piece
        if _HIGH <= text[-1] < _LOW:
            self._halves[choice, what] = text[-1]
            text = text[:-1]
        if text.isascii():
            return text
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _broken(self, what: str) -> ModelFailure:
        return ModelFailure(f"The model {self._model} sent {what}.", code="upstream_broken")


NO_INDEX = -1
"""The number of a call whose server gave it none."""

_BLANK = b" \t\r\n\xef\xbb\xbf"


class _InForm(ChatChunk, forbid_unknown_fields=False):
    """A chunk that keeps to the form, and that nothing else can be read in."""

    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    object: str | None = None


_decoder = msgspec.json.Decoder(_InForm)


def _in_form(data: bytes) -> ChatChunk | None:
    """The chunk, where it can be taken as it is: with choices, without calls, error or end by one."""
    if b"_call" in data or b'"message"' in data:
        return None
    try:
        chunk = _decoder.decode(data)
    except NO_JSON:
        return None
    if chunk.error is not msgspec.UNSET or chunk.object == "error" or not (chunk.choices or chunk.usage):
        return None
    if chunk.usage is not None and not (chunk.usage.total_tokens and usage_of(asdict(chunk.usage)) == chunk.usage):
        return None  # under other names, without a sum, or with numbers that cannot be
    return None if any(choice.finish_reason == "error" for choice in chunk.choices) else chunk


def _parsed(data: bytes) -> Any:
    """Any JSON, lone halves of characters too. Errors: ``ValueError``."""
    try:
        return msgspec.json.decode(data)
    except NO_JSON:
        try:
            return json.loads(data.decode("utf-8", "replace"))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _text_of_parts(content: Any) -> str | None:
    """A content as one text: servers of several vendors write it as a list of parts."""
    if not isinstance(content, list):
        return _text_or_none(content)
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        text = text.get("value") if isinstance(text, dict) else text
        texts.append(text if isinstance(text, str) else "")
    return "".join(texts)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
