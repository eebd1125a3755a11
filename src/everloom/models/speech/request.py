"""createSpeech as engines on this machine take it: what they honour, what they refuse, and the events of a stream."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from msgspec import Struct

from everloom.kit import sse
from everloom.kit.errors import BadRequest
from everloom.models.base import Answer, MadeAhead
from everloom.objects.base import JsonObject, encode

VOICES: Final = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin"),
    "cedar",
)
"""The platform's voices, of 2024 and since."""

CONTENT_TYPES: Final = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

_VOICE_SHOWN = 64


class SpeechRequest(Struct, frozen=True, kw_only=True):
    """What is to be spoken, and how. ``streams``: as server-sent events."""

    model: str
    text: str
    voice: str
    format: str
    speed: float
    streams: bool

    @property
    def content_type(self) -> str:
        """What the sound is, in HTTP's words."""
        return CONTENT_TYPES[self.format]


def read(body: JsonObject) -> SpeechRequest:
    """A checked createSpeech body. Errors: 400 for ``instructions`` and for somebody's own voice (``{"id": …}``)."""
    model = body["model"]
    if body.get("instructions"):
        text = f"Unsupported parameter: 'instructions' is not supported with the model `{model}`, which has one manner."
        raise BadRequest(text, param="instructions", code="unsupported_parameter")
    voice = body["voice"]
    if not isinstance(voice, str):
        raise unknown_voice(str(voice.get("id")), "This server keeps no voices of its own.")
    return SpeechRequest(
        model=model,
        text=body["input"].encode("utf-8", "replace").decode(),  # half a surrogate pair is no text
        voice=voice,
        format=body.get("response_format") or "mp3",
        speed=float(body.get("speed") or 1),
        streams=body.get("stream_format") == "sse",
    )


def unknown_voice(voice: str, more: str) -> BadRequest:
    """A voice that a model does not have; ``more`` says which it has beside the platform's."""
    words = ", ".join(f"'{name}'" for name in sorted(VOICES)[:-1])
    shown = voice if len(voice) <= _VOICE_SHOWN else voice[:_VOICE_SHOWN] + "…"
    text = f"Invalid value: '{shown}'. Supported values are: {words}, and '{max(VOICES)}'. {more}"
    return BadRequest(text, param="voice", code="invalid_value")


class Sound(Answer, MadeAhead, Protocol):
    """What a local engine says."""


class SpeechEvents:
    """Sound as server-sent events: a ``speech.audio.delta`` a block, and ``speech.audio.done``.

    The usage is nought: these engines read and write no tokens.
    """

    content_type = "text/event-stream"

    def __init__(self, sound: Sound) -> None:
        self.model = sound.model
        self._sound = sound

    def when_made(self, tell: Callable[[], None]) -> None:
        """As the sound's."""
        self._sound.when_made(tell)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The events. Errors: as the sound's."""
        async for block in self._sound.blocks():
            yield sse.frame(encode({"type": "speech.audio.delta", "audio": b64encode(block).decode()}))
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        yield sse.frame(encode({"type": "speech.audio.done", "usage": usage}))

    async def close(self) -> None:
        """Let go of the sound."""
        await self._sound.close()
