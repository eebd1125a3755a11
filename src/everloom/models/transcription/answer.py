"""The answer of a transcription made on this machine, whole or as a stream of events."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from everloom.kit import sse
from everloom.models.transcription.pool import ActiveTranscription
from everloom.models.transcription.request import TranscriptionRequest
from everloom.models.transcription.subtitles import Segment, Transcript, written
from everloom.objects.languages import LANGUAGES

_EVENTS = "text/event-stream"


class LocalTranscript:
    """An ``Answer``. ``body`` is None for a stream, whose blocks are made as the words come."""

    def __init__(self, model: str, active: ActiveTranscription, content_type: str, body: bytes | None) -> None:
        self.model = model
        self.content_type = content_type
        self.seconds: float | None = active.seconds
        self._active = active
        self._body = body

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body, or ``transcript.text.delta`` events and at the end ``transcript.text.done``."""
        if self._body is not None:
            yield self._body
            return
        text = ""
        async for segment in self._active.segments():
            delta = segment.text if text else segment.text.lstrip()
            text += delta
            yield _event(type="transcript.text.delta", delta=delta)
        yield _event(type="transcript.text.done", text=text.strip())

    async def close(self) -> None:
        """Let go; the child leaves the file if it is at it still."""
        await self._active.close()


async def answer(model: str, active: ActiveTranscription, wish: TranscriptionRequest) -> LocalTranscript:
    """The answer in the form that was wished for: a stream at once, anything else when all has been heard."""
    if wish.stream:
        return LocalTranscript(model, active, _EVENTS, None)
    try:
        segments: list[Segment] = [segment async for segment in active.segments()]
        transcript = Transcript(
            task="translate" if wish.job.translate else "transcribe",
            language="english" if wish.job.translate else LANGUAGES.get(active.language, active.language),
            seconds=active.seconds,
            segments=segments,
        )
        body, content_type = written(transcript, wish.format, wish.granularities)
    except BaseException:
        await active.close()
        raise
    return LocalTranscript(model, active, content_type, body)


def _event(**members: Any) -> bytes:
    return sse.frame(msgspec.json.encode(members))
