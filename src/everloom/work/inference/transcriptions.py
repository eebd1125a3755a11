"""Have audio transcribed or translated, metered. Callers: transcriptions, translations, batches."""

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Protocol, runtime_checkable

import msgspec

from everloom.context import Context
from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.models.base import Answer, Form
from everloom.work.inference.metering import asked, count_audio, refused, unreadable

_EDGE_BYTES = 4096
"""Where the length of the audio stands in an answer: near its beginning (duration) or at its end (usage)."""

_LONGEST = 32 * 1024 * 1024
"""Bytes of a whole answer: two hours of talk with the time of every word are five million."""

_SECONDS = re.compile(rb'"(?:duration|seconds)"\s*:\s*"?([0-9]{1,9}(?:\.[0-9]{1,30})?)')
_LAST_EVENTS = (b"transcript.text.done", b"[DONE]", b'"error"')


_TEXTS = ("text", "srt", "vtt")
"""Formats that are no JSON."""


@runtime_checkable
class _Timed(Protocol):
    """An answer that knows how long its audio was."""

    seconds: float | None


class Transcription:
    """An answer whose audio is counted once it is closed. It must be closed, whether or not it was read; ``held`` is
    let go of then.

    ``json``: whether it is to be an object, where it is no stream. The other formats are plain text, also where a
    server calls them HTML (whisper.cpp does), which a browser would run.
    """

    def __init__(self, answer: Answer, held: ExitStack, *, json: bool) -> None:
        self.content_type = answer.content_type if answer.content_type != "text/html" else "text/plain"
        self._json = json
        self.model = answer.model
        self._answer = answer
        self._held = held
        self._head = self._tail = b""
        self._outcome = "closed"
        self._counted = False

    @property
    def streams(self) -> bool:
        """Whether the blocks are events, to be handed on as they come."""
        return self.content_type.startswith("text/event-stream")

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. ``ModelFailure`` when the model's server fails, or leaves off, in the middle."""
        try:
            async for block in self._answer.blocks():
                if len(self._head) < _EDGE_BYTES:
                    self._head += block[: _EDGE_BYTES - len(self._head)]
                self._tail = (self._tail + block)[-_EDGE_BYTES:]
                yield block
            if self.streams and not any(event in self._head + self._tail for event in _LAST_EVENTS):
                text = f"The model {self.model} broke off its answer: the stream ended before its last event"
                raise ModelFailure(text, code="upstream_broken")
        except ApiError:
            self._outcome = "failed"
            raise
        self._outcome = "completed"

    async def whole(self) -> bytes:
        """The body of an answer that is no stream."""
        body = bytearray()
        async for block in self.blocks():
            body += block
            if len(body) > _LONGEST:
                self._outcome = "failed"
                text = f"The model {self.model} answered with more than {_LONGEST} bytes."
                raise ModelFailure(text, code="upstream_broken")
        if self._json:
            self._check(bytes(body))
            self.content_type = "application/json"
        return bytes(body)

    def _check(self, body: bytes) -> None:
        try:
            body.decode()
            _in_json.decode(body)
        except NO_JSON as error:
            self._outcome = "failed"
            raise unreadable(self.model) from error

    async def close(self) -> None:
        """Let go of the answer, and count what was heard."""
        with self._held:
            await self._answer.close()
        if self._counted:
            return
        self._counted = True
        asked(self.model, self._outcome)
        if (seconds := self._seconds()) is not None:
            count_audio(self.model, seconds)

    def _seconds(self) -> float | None:
        """What the backend says; else what stands in the answer. Inside JSON's strings quotation marks are escaped."""
        if isinstance(self._answer, _Timed):
            return self._answer.seconds
        found = _SECONDS.search(self._head) or _SECONDS.search(self._tail)
        return float(found[1]) if found and "json" in self.content_type else None


class _InJson(msgspec.Struct):
    """An answer, read only as far as it takes to know that it is one."""

    text: str


_in_json = msgspec.json.Decoder(_InJson)


async def transcribe(ctx: Context, model: str, form: Form, *, translate: bool = False) -> Transcription:
    """Have ``model`` write down, or translate, the file of a checked form, in the project's turn. Errors: 404
    ``model_not_found``, the platform's 4xx, ``ModelFailure``. The answer must be closed.
    """
    backend, own = ctx.models.resolve(model, "transcribe")
    with ExitStack() as held:
        try:
            held.enter_context(await ctx.ports.turns.place(ctx.project, backend, own))
            answer = await backend.transcribe(form.naming(own), translate=translate)
        except ApiError as error:
            refused(own, error)
            raise
        return Transcription(answer, held.pop_all(), json=form.get("response_format") not in _TEXTS)
