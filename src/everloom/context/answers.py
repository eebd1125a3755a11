"""Answers of models on their way, each recorded once at its real end: read out, broken off, or left by its caller.

An answer passes through in the bytes it comes in. What it cost is read from the ends of those bytes, never chunk by
chunk.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

import msgspec

from everloom.context.metering import Meter, UsageRecord
from everloom.context.seen_words import seen_tokens
from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.kit.pouring import Put, Room, Seen, joined, pour
from everloom.kit.tail import Tail
from everloom.models.base import Answer
from everloom.models.failures import unreadable
from everloom.models.fair_queue import Slot
from everloom.models.usage import usage_of
from everloom.objects.tools import EstimatedUsage, Usage

_TAIL_BYTES = 4096
"""Where the usage of a stream stands: in its last event but one."""

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class MeteredAnswer:
    """An answer that must be closed, whether or not it was read to its end; then it is recorded, once.

    It holds its caller's turn at the model until then, where there is one (``slot``).
    """

    def __init__(self, answer: Answer, record: UsageRecord, meter: Meter, slot: Slot | None = None) -> None:
        self.content_type = answer.content_type
        self.model = answer.model
        self._answer = answer
        self._record = record
        self._meter = meter
        self._slot = slot
        self._closed = False
        self.hides_usage = False
        """Whether its stream tells a usage that its caller did not ask for."""

    @property
    def usage(self) -> Usage | None:
        """The tokens it cost; None until it is closed."""
        return self._record.usage if self._closed else None

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. ``ModelFailure`` when the model's server fails in the middle of it."""
        look = self._look
        try:
            async for block in self._answer.blocks():
                look(block)
                yield block
            self._look_at_end()
        except ApiError:
            self._record.outcome = "failed"
            raise
        self._record.outcome = "completed"

    async def pour(self, put: Put, room: Room, seen: Seen) -> None:
        """As ``blocks``, by ``kit/pouring.py``."""

        def looked(blocks: bytes) -> None:
            self._look(blocks)
            seen(blocks)

        try:
            await pour(self._answer, put, room, looked)
            self._look_at_end()
        except ApiError:
            self._record.outcome = "failed"
            raise
        self._record.outcome = "completed"

    async def close(self) -> None:
        """Let go of the answer: the model stops, and what it cost is recorded. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._answer.close()
        finally:
            if self._slot is not None:
                self._slot.free()
            try:
                await self._settle()
            finally:
                self._meter.record(self._record)

    def _look(self, block: bytes) -> None:
        """Take from a block, or from several, what the record needs."""

    def _look_at_end(self) -> None:
        """Errors: ``ModelFailure`` for an answer that has ended too early."""

    async def _settle(self) -> None:
        """Fill in what the answer cost."""

    def _is_left(self) -> bool:
        """Whether its caller has closed it before its end, and before it told what it costs."""
        return self._record.outcome == "closed" and self._record.usage is None


class CompletionAnswer(MeteredAnswer):
    """A chat completion, or a completion. ``count`` tells the prompt's tokens where the answer does not."""

    def __init__(
        self,
        answer: Answer,
        record: UsageRecord,
        meter: Meter,
        count: Callable[[], Awaitable[int]],
        *,
        streams: bool,
        hides_usage: bool = False,
    ) -> None:
        super().__init__(answer, record, meter)
        self.hides_usage = hides_usage
        self._count = count
        self._streams = streams
        self._tail = Tail(_TAIL_BYTES)
        self._events = 0
        self._bytes = 0

    async def whole(self) -> bytes:
        """The body of an answer that is not streamed: one JSON object, or ``ModelFailure``."""
        data = await joined(self)
        try:
            data.decode()  # what is passed on unread is not looked at by the decoder
            self._record.believe(_completion_of.decode(data).usage)
        except NO_JSON as error:
            self._record.outcome = "failed"
            raise unreadable(self.model) from error
        return data

    def _look(self, block: bytes) -> None:
        self._events += block.count(b"data:")
        self._bytes += len(block)
        self._tail.add(block)

    async def _settle(self) -> None:
        if self._record.usage is None:
            self._record.believe(told_at_end(self._tail.end()))
        self._record.usage = self._record.usage or await self._estimate()

    async def _estimate(self) -> EstimatedUsage:
        """About what an answer without a usage cost."""
        prompt = await self._count()
        written = seen_tokens(self._tail.end(), self._events, self._bytes) if self._streams else self._bytes // 4
        if (ticket := self._record.ticket) is not None:
            written = ticket.at_most(written, heard=self._streams)
            if self._record.outcome == "closed":
                written = ticket.at_least(written)
        return EstimatedUsage(prompt_tokens=prompt, completion_tokens=written, total_tokens=prompt + written)


class _Completion(msgspec.Struct):
    """A whole answer, read only as far as it takes to know that it is one."""

    choices: list[msgspec.Raw]
    usage: Any = None


_completion_of = msgspec.json.Decoder(_Completion)
_decode_first = json.JSONDecoder().raw_decode


def usage_at_end(tail: bytes) -> Usage | None:
    """The last usage in the end of an answer, streamed or not; None where there is none."""
    return usage_of(told_at_end(tail))


def told_at_end(tail: bytes) -> Any:
    """As ``usage_at_end``, in the server's own form.

    The text of an answer cannot be taken for it: inside JSON strings every quotation mark is escaped.
    """
    found = list(_USAGE.finditer(tail))
    if not found:
        return None
    try:
        value, _ = _decode_first(tail[found[-1].end() - 1 :].decode("utf-8", "replace"))
    except (ValueError, *NO_JSON):
        return None
    return value


# --- transcriptions --------------------------------------------------------------------------------------------------

_EDGE_BYTES = 4096
"""Where the length of the audio stands in an answer: near its beginning (duration) or at its end (usage)."""

_LONGEST = 32 * 1024 * 1024
"""Bytes of a whole answer: two hours of talk with the time of every word are five million."""

_SECONDS = re.compile(rb'"(?:duration|seconds)"\s*:\s*"?([0-9]{1,9}(?:\.[0-9]{1,30})?)')
_LAST_EVENTS = (b"transcript.text.done", b"[DONE]", b'"error"')


@runtime_checkable
class _Timed(Protocol):
    """An answer that knows how long its audio was."""

    seconds: float | None


class TranscriptionAnswer(MeteredAnswer):
    """A transcription or translation, whose audio is counted, and tokens where its model is paid by those.

    ``json``: whether it is to be an object, where it is no stream. The other formats are plain text, also where a
    server calls them HTML (whisper.cpp does), which a browser would run.
    """

    def __init__(self, answer: Answer, record: UsageRecord, meter: Meter, slot: Slot | None, *, json: bool) -> None:
        super().__init__(answer, record, meter, slot)
        if answer.content_type == "text/html":
            self.content_type = "text/plain"
        self._json = json
        self._head = self._tail = b""

    @property
    def streams(self) -> bool:
        """Whether the blocks are events, to be handed on as they come."""
        return self.content_type.startswith("text/event-stream")

    async def whole(self) -> bytes:
        """The body of an answer that is no stream."""
        body = bytearray()
        async for block in self.blocks():
            body += block
            if len(body) > _LONGEST:
                self._record.outcome = "failed"
                text = f"The model {self.model} answered with more than {_LONGEST} bytes."
                raise ModelFailure(text, code="upstream_broken")
        if self._json:
            self._check(bytes(body))
            self.content_type = "application/json"
        return bytes(body)

    def _check(self, body: bytes) -> None:
        try:
            body.decode()
            _transcription_of.decode(body)
        except NO_JSON as error:
            self._record.outcome = "failed"
            raise unreadable(self.model) from error

    def _look(self, block: bytes) -> None:
        if len(self._head) < _EDGE_BYTES:
            self._head += block[: _EDGE_BYTES - len(self._head)]
        self._tail = (self._tail + block)[-_EDGE_BYTES:]

    def _look_at_end(self) -> None:
        if self.streams and not any(event in self._head + self._tail for event in _LAST_EVENTS):
            text = f"The model {self.model} broke off its answer: the stream ended before its last event"
            raise ModelFailure(text, code="upstream_broken")

    async def _settle(self) -> None:
        self._record.audio_seconds = self._seconds()
        if "json" in self.content_type or self.streams:
            self._record.believe(told_at_end(self._tail))
        if self._is_left() and not isinstance(self._answer, _Timed):
            self._record.believe_reserved()

    def _seconds(self) -> float | None:
        """What the backend says; else what stands in the answer. Inside JSON's strings quotation marks are escaped."""
        if isinstance(self._answer, _Timed):
            return self._answer.seconds
        found = _SECONDS.search(self._head) or _SECONDS.search(self._tail)
        return float(found[1]) if found and "json" in self.content_type else None


class _Transcription(msgspec.Struct):
    """An answer, read only as far as it takes to know that it is one."""

    text: str


_transcription_of = msgspec.json.Decoder(_Transcription)


# --- images ----------------------------------------------------------------------------------------------------------

_COMPLETED = re.compile(rb'"type"\s*:\s*"image_(?:generation|edit)\.completed"')


class ImageAnswer(MeteredAnswer):
    """An answer with images, which are counted."""

    def __init__(self, answer: Answer, record: UsageRecord, meter: Meter, slot: Slot | None = None) -> None:
        super().__init__(answer, record, meter, slot)
        self.has_base64 = False
        """Whether an image came in base64; known once the whole answer has been read."""
        self._images = 0
        self._tail = b""

    async def whole(self) -> bytes:
        """The body of an answer that is no stream."""
        try:
            data = await joined(self._answer)
            answer = await asyncio.to_thread(_images_in, data)
        except ApiError:
            self._record.outcome = "failed"
            raise
        except NO_JSON as error:
            self._record.outcome = "failed"
            raise unreadable(self.model) from error
        self._record.outcome = "completed"
        self._images = len(answer.data)
        self._record.believe(answer.usage)
        self.has_base64 = any(image.b64_json != _NULL for image in answer.data)
        return data

    def _look(self, block: bytes) -> None:
        window = self._tail + block
        for found in _COMPLETED.finditer(window):
            self._images += found.end() > len(self._tail)
        self._tail = window[-_TAIL_BYTES:]

    async def _settle(self) -> None:
        self._record.images = self._images
        if self._record.usage is None:
            self._record.believe(told_at_end(self._tail))
        if self._is_left():
            self._record.believe_reserved()


_NULL = msgspec.Raw(b"null")


class _Image(msgspec.Struct):
    b64_json: msgspec.Raw = _NULL


class _Images(msgspec.Struct):
    """An answer, read only as far as it takes to count it."""

    data: list[_Image]
    usage: Any = None


_images_of = msgspec.json.Decoder(_Images)


def _images_in(data: bytes) -> _Images:
    data.decode()  # base64 is not looked at by the decoder
    return _images_of.decode(data)
