"""Ask a model and meter it. Callers: chat completions, the run loop, batches.

An answer passes through in the bytes it comes in. What it cost is read from the end of those bytes, never chunk by
chunk; where a server does not say, it is estimated, and the number is an ``EstimatedUsage``.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial

import msgspec

from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.kit.sse import DataLines
from everloom.models.base import Answer
from everloom.models.registry import Models
from everloom.objects.base import JsonObject
from everloom.objects.chat import ChatChunk
from everloom.objects.tools import Usage
from everloom.work.inference.chunks import ChunkReader
from everloom.work.inference.metering import (
    EstimatedUsage,
    asked,
    count_tokens,
    refused,
    unreadable,
    usage_at_end,
)

_TAIL_BYTES = 4096
"""Where the usage of a stream stands: in its last event but one."""


class Metered:
    """An answer whose cost is known once it is closed. ``usage`` is None until then.

    ``count`` tells the prompt's tokens where the answer does not. ``close`` must be awaited, whether or not the answer
    was read to its end; it counts once.
    """

    def __init__(self, answer: Answer, count: Callable[[], Awaitable[int]], *, streams: bool) -> None:
        self.content_type = answer.content_type
        self.model = answer.model
        self.usage: Usage | None = None
        self._answer = answer
        self._count = count
        self._streams = streams
        self._tail = b""
        self._events = 0
        self._bytes = 0
        self._outcome = "closed"
        self._found: Usage | None = None

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. ``ModelFailure`` when the model's server fails in the middle of it."""
        try:
            async for block in self._answer.blocks():
                self._events += block.count(b"data:")
                self._bytes += len(block)
                self._tail = (self._tail + block)[-_TAIL_BYTES:] if len(block) < _TAIL_BYTES else block[-_TAIL_BYTES:]
                yield block
        except ApiError:
            self._outcome = "failed"
            raise
        self._outcome = "completed"

    async def whole(self) -> bytes:
        """The body of an answer that is not streamed: one JSON object, or ``ModelFailure``."""
        data = b"".join([block async for block in self.blocks()])
        try:
            data.decode()  # what is passed on unread is not looked at by the decoder
            self._found = _envelope.decode(data).usage
        except NO_JSON as error:
            self._outcome = "failed"
            raise unreadable(self.model) from error
        return data

    async def close(self) -> None:
        """Let go of the answer, and count what it cost."""
        await self._answer.close()
        if self.usage is not None:
            return
        self.usage = self._found or usage_at_end(self._tail) or await self._estimate()
        asked(self.model, self._outcome)
        count_tokens(self.model, self.usage)

    async def _estimate(self) -> EstimatedUsage:
        """About what a stream without a usage cost: most servers send a token an event."""
        prompt = await self._count()
        # Beside the tokens there are the events that open and end a stream.
        written = max(0, self._events - 3) if self._streams else self._bytes // 4
        return EstimatedUsage(prompt_tokens=prompt, completion_tokens=written, total_tokens=prompt + written)


async def ask(models: Models, body: JsonObject, raw: bytes | None = None) -> Metered:
    """Have the model that ``body`` names answer a chat completion request, as the request says.

    ``raw`` is the same body as the caller wrote it; it is passed on as it stands where the model's name need not
    change. Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``. The answer must be closed.
    """
    backend, own = models.resolve(body["model"], "chat")
    if own != body["model"]:
        body = {**body, "model": own}
        raw = None if raw is None else _renamed(raw, own)
    try:
        answer = await backend.chat(body, raw)
    except ApiError as error:
        refused(own, error)
        raise
    return Metered(answer, partial(backend.count, body), streams=bool(body.get("stream")))


async def stream_chunks(models: Models, body: JsonObject) -> AsyncGenerator[ChatChunk]:
    """The chunks of a streamed answer, decoded; the last one always carries the usage.

    Close the iterator early (``contextlib.aclosing``) and the model stops. Errors: as ``ask``; an answer that breaks
    off, is no JSON or tells of an error raises ``ModelFailure``.
    """
    answer = await ask(models, {**body, "stream": True, "stream_options": {"include_usage": True}})
    reader = ChunkReader(answer.model)
    told = False
    try:
        async for block in answer.blocks():
            for chunk in reader.feed(block):
                told = told or chunk.usage is not None
                yield chunk
        for chunk in reader.end():
            told = told or chunk.usage is not None
            yield chunk
    finally:
        await answer.close()
    if not reader.heard:
        raise ModelFailure(f"The model {answer.model} answered without a single event.", code="upstream_broken")
    if not told:
        yield ChatChunk(usage=answer.usage, model=answer.model)


class _Envelope(msgspec.Struct):
    """A whole answer, read only as far as it takes to know that it is one."""

    choices: list[msgspec.Raw]
    usage: Usage | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def cut(lines: DataLines, block: bytes, model: str) -> list[bytes]:
    """The payloads that ``block`` completes; ``ModelFailure`` for an event without an end."""
    try:
        return lines.feed(block)
    except ValueError as error:
        raise ModelFailure(f"The model {model} sent {error}.", code="upstream_broken") from error


def _renamed(raw: bytes, own: str) -> bytes:
    """The request with another model name, every other byte of its members as it was."""
    members = _members.decode(raw)
    members["model"] = msgspec.Raw(msgspec.json.encode(own))
    return msgspec.json.encode(members)
