"""Speech: ``POST /audio/speech`` (createSpeech).

Which voices there are is the model's affair: names that an upstream may know pass to it unread.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from everloom.api.http.proxying import frames
from everloom.api.http.routes import Download, EventStream, Request, Routes
from everloom.context import Context
from everloom.work.inference import speech

routes = Routes()


class CustomVoice(Struct, forbid_unknown_fields=True):
    """A voice that somebody keeps on the platform."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]


class NewSpeech(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateSpeechRequest of December 2024, and since: any voice, ``instructions``, ``stream_format``."""

    model: str
    input: Annotated[str, Meta(min_length=1, max_length=4096)]
    voice: Annotated[str, Meta(min_length=1, max_length=256)] | CustomVoice
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    instructions: Annotated[str, Meta(max_length=4096)] = ""
    stream_format: Literal["sse", "audio"] = "audio"


@routes.post("/audio/speech")
async def create_speech(ctx: Context, call: Request, body: NewSpeech) -> Download | EventStream:
    """createSpeech. The sound goes out as it is made; a client that goes away stops the model."""
    answer = await call.unless_gone(speech.speak(ctx, msgspec.json.decode(call.raw_body)))
    if answer.content_type == "text/event-stream":
        return EventStream(frames(answer), answer.close)
    call.at_end(answer.close)
    return Download(answer.blocks(), {"content-type": answer.content_type})
