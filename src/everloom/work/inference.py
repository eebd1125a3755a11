"""Ask a model and meter it. Callers: chat completions, the run loop, batches; file search for its vectors.

An answer passes through in the bytes it comes in. What it cost is read from the end of those bytes, never chunk by
chunk; where a server does not say, it is estimated, and the number is an ``EstimatedUsage``.
"""

import base64
import json
import math
import re
import sys
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import lru_cache

import msgspec
from prometheus_client import Counter

from everloom.kit.errors import ApiError, ModelFailure
from everloom.kit.sse import DONE, DataLines
from everloom.models.base import Answer, Backend
from everloom.models.registry import Models
from everloom.objects.base import JsonObject
from everloom.objects.chat import ChatChunk
from everloom.objects.tools import Usage

_REQUESTS = Counter("everloom_model_requests", "Requests to models", ["model", "outcome"])
_TOKENS = Counter("everloom_model_tokens", "Tokens read (prompt) and written (completion)", ["direction", "model"])

_MODELS_COUNTED = 500
"""Model names come from callers: behind so many different ones the metrics say ``other``."""

_TAIL_BYTES = 4096
"""Where the usage of a stream stands: in its last event but one."""

_TEXTS_AT_ONCE = 64
"""Texts in one request for vectors: enough to keep a server busy, few enough to lose little when it fails."""

_TOO_LONG = re.compile(r"context (?:length|size|window)|maximum .*tokens|is too (?:long|large)")
"""How servers that give no code say that a text is longer than the model reads."""

_SHORTEST_HALVED = 16

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class EstimatedUsage(Usage, kw_only=True):
    """Tokens that nobody counted: the prompt's from its characters, the answer's from the events of its stream."""


class Metered:
    """An answer whose cost is known once it is closed. ``usage`` is None until then.

    ``close`` must be awaited, whether or not the answer was read to its end; it counts once.
    """

    def __init__(self, answer: Answer, backend: Backend, body: JsonObject) -> None:
        self.content_type = answer.content_type
        self.model = answer.model
        self.usage: Usage | None = None
        self._answer = answer
        self._backend = backend
        self._body = body
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
            self._found = _envelope.decode(data).usage
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._outcome = "failed"
            raise _unreadable(self.model) from error
        return data

    async def close(self) -> None:
        """Let go of the answer, and count what it cost."""
        await self._answer.close()
        if self.usage is not None:
            return
        self.usage = self._found or usage_at_end(self._tail) or await self._estimate()
        _REQUESTS.labels(_counted(self.model), self._outcome).inc()
        count_tokens(self.model, self.usage)

    async def _estimate(self) -> EstimatedUsage:
        """About what a stream without a usage cost: most servers send a token an event."""
        prompt = await self._backend.count(self._body)
        # Beside the tokens there are the events that open and end a stream.
        written = max(0, self._events - 3) if self._body.get("stream") else self._bytes // 4
        return EstimatedUsage(prompt_tokens=prompt, completion_tokens=written, total_tokens=prompt + written)


async def ask(models: Models, body: JsonObject, raw: bytes | None = None) -> Metered:
    """Have the model that ``body`` names answer a chat completion request, as the request says.

    ``raw`` is the same body as the caller wrote it; it is passed on as it stands where the model's name need not
    change. Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``. The answer must be closed.
    """
    backend, own = models.resolve(body["model"])
    if own != body["model"]:
        body = {**body, "model": own}
        raw = None if raw is None else _renamed(raw, own)
    try:
        answer = await backend.chat(body, raw)
    except ApiError as error:
        _REQUESTS.labels(_counted(own), "failed" if error.status >= 500 else "refused").inc()
        raise
    return Metered(answer, backend, body)


async def stream_chunks(models: Models, body: JsonObject) -> AsyncGenerator[ChatChunk]:
    """The chunks of a streamed answer, decoded; the last one always carries the usage.

    Close the iterator early (``contextlib.aclosing``) and the model stops. Errors: as ``ask``; an answer that breaks
    off, is no JSON or tells of an error raises ``ModelFailure``.
    """
    answer = await ask(models, {**body, "stream": True, "stream_options": {"include_usage": True}})
    last: ChatChunk | None = None
    try:
        lines = DataLines()
        async for block in answer.blocks():
            for data in _cut(lines, block, answer.model):
                if data and data != DONE:
                    last = _decode(data, answer.model)
                    yield last
    finally:
        await answer.close()
    if last is None:
        raise ModelFailure(f"The model {answer.model} answered without a single event.", code="upstream_broken")
    if last.usage is None:
        yield ChatChunk(usage=answer.usage, model=answer.model)


async def embeddings(models: Models, body: JsonObject) -> bytes:
    """The answer to a createEmbedding request, as the model's server gave it. Errors: as ``ask``."""
    backend, own = models.resolve(body["model"])
    try:
        answer = await backend.embed({**body, "model": own})
        usage = _vectors_of.decode(answer).usage
    except ApiError as error:
        _REQUESTS.labels(_counted(own), "failed" if error.status >= 500 else "refused").inc()
        raise
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _REQUESTS.labels(_counted(own), "failed").inc()
        raise _unreadable(own) from error
    _REQUESTS.labels(_counted(own), "completed").inc()
    count_tokens(own, usage)
    return answer


async def embed(models: Models, model: str, texts: Sequence[str]) -> "list[array[float]]":
    """A vector of unit length (32-bit floats) for each text, whatever the model's server makes of lengths.

    A text that is longer than the model reads is halved as often as it takes; its vector is the mean of its parts'.
    Errors: as ``ask``; ``ValueError`` for an empty text.
    """
    if not all(texts):
        raise ValueError("an empty text has no vector")
    vectors: list[array[float]] = []
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        vectors += await _embed_lot(models, model, texts[begin : begin + _TEXTS_AT_ONCE])
    return vectors


async def _embed_lot(models: Models, model: str, texts: Sequence[str]) -> "list[array[float]]":
    try:
        answer = await embeddings(models, {"model": model, "input": list(texts), "encoding_format": "base64"})
    except ApiError as error:
        if error.code != "context_length_exceeded" and not _TOO_LONG.search(error.message):
            raise
        return await _embed_halves(models, model, texts)
    items = sorted(_vectors_of.decode(answer).data, key=lambda item: item.index)
    if len(items) != len(texts):
        raise _unreadable(model)
    return [_unit(_floats(item.embedding)) for item in items]


async def _embed_halves(models: Models, model: str, texts: Sequence[str]) -> "list[array[float]]":
    """What could not be done in one request: the lot in two, and in the end the one long text in two."""
    if len(texts) > 1:
        middle = len(texts) // 2
        return await _embed_lot(models, model, texts[:middle]) + await _embed_lot(models, model, texts[middle:])
    [text] = texts
    if len(text) < _SHORTEST_HALVED:
        raise ModelFailure(f"The model {model} calls a text of {len(text)} characters too long.")
    middle = len(text) // 2
    halves = await _embed_lot(models, model, [text[:middle], text[middle:]])
    return [_unit(array("f", map(sum, zip(*halves, strict=True))))]


def usage_at_end(tail: bytes) -> Usage | None:
    """The last usage in the end of an answer, streamed or not; None where there is none.

    The text of an answer cannot be taken for it: inside JSON strings every quotation mark is escaped.
    """
    found = list(_USAGE.finditer(tail))
    if not found:
        return None
    try:
        value, _ = _decode_first(tail[found[-1].end() - 1 :].decode("utf-8", "replace"))
        return msgspec.convert(value, Usage)
    except (ValueError, msgspec.ValidationError):
        return None


def count_tokens(model: str, usage: Usage) -> None:
    """Add what a call cost to the metrics."""
    name = _counted(model)
    _TOKENS.labels("prompt", name).inc(usage.prompt_tokens)
    _TOKENS.labels("completion", name).inc(usage.completion_tokens)


_decode_first = json.JSONDecoder().raw_decode


class _Envelope(msgspec.Struct):
    """A whole answer, read only as far as it takes to know that it is one."""

    choices: list[msgspec.Raw]
    usage: Usage | None = None


class _Event(ChatChunk):
    error: msgspec.Raw | None = None


class _Vector(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Vectors(msgspec.Struct):
    """An answer to createEmbedding. Servers that leave the usage out have counted nothing."""

    data: list[_Vector]
    usage: Usage = msgspec.field(default_factory=Usage)


_vectors_of = msgspec.json.Decoder(_Vectors)
_envelope = msgspec.json.Decoder(_Envelope)
_event = msgspec.json.Decoder(_Event)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _cut(lines: DataLines, block: bytes, model: str) -> list[bytes]:
    try:
        return lines.feed(block)
    except ValueError as error:
        raise ModelFailure(f"The model {model} sent {error}.", code="upstream_broken") from error


def _decode(data: bytes, model: str) -> ChatChunk:
    try:
        event = _event.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _unreadable(model) from error
    if event.error is not None:
        said = bytes(event.error)[:500].decode("utf-8", "replace")
        raise ModelFailure(f"The model {model} failed in the middle of its answer: {said}", code="upstream_error")
    return event


def _floats(embedding: str | list[float]) -> "array[float]":
    """Servers that know no base64 answer with numbers."""
    if isinstance(embedding, list):
        return array("f", embedding)
    floats = array("f", base64.b64decode(embedding))
    if sys.byteorder == "big":
        floats.byteswap()
    return floats


def _unit(vector: "array[float]") -> "array[float]":
    length = math.hypot(*vector)
    if length == 0 or abs(length - 1) < 1e-6:
        return vector
    return array("f", [value / length for value in vector])


def _unreadable(model: str) -> ModelFailure:
    return ModelFailure(f"The model {model} answered with something that is no JSON.", code="upstream_broken")


def _renamed(raw: bytes, own: str) -> bytes:
    """The request with another model name, every other byte of its members as it was."""
    members = _members.decode(raw)
    members["model"] = msgspec.Raw(msgspec.json.encode(own))
    return msgspec.json.encode(members)


_names: set[str] = set()


@lru_cache(maxsize=2 * _MODELS_COUNTED)
def _counted(model: str) -> str:
    if model in _names or len(_names) < _MODELS_COUNTED:
        _names.add(model)
        return model
    return "other"
