"""Speech: what a request may say (CreateSpeechRequest).

Which voices there are is the model's affair: names that an upstream may know pass to it unread.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from everloom.objects.base import JsonObject
from everloom.requests.binding import decode_body


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


def read(raw: bytes) -> JsonObject:
    """The body of a createSpeech request as a model is asked it, every member as it was sent but for nulls.

    Errors: the platform's 400.
    """
    decode_body(raw, NewSpeech)
    sent: JsonObject = msgspec.json.decode(raw)
    return {name: value for name, value in sent.items() if value is not None}
