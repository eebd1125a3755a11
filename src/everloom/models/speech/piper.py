"""Speech by piper voices, from files that the operator names (extra ``[piper]``). Limits: ``docs/audio.md``."""

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from everloom.kit.errors import ModelFailure
from everloom.models.base import Answer, Capability
from everloom.models.local import LocalModels
from everloom.models.memory_budget import MemoryBudget
from everloom.models.speech import request as speech_request
from everloom.models.speech.child import Order, Ready
from everloom.models.speech.pool import SpeakerPool
from everloom.models.speech.request import VOICES, SpeechEvents
from everloom.objects.base import JsonObject

_SPEAKS: frozenset[Capability] = frozenset({"speak"})
_ENGINE_BYTES = 100 * 1024 * 1024
"""What onnxruntime and FFmpeg take beside a voice."""

_INSTALL = "pip install 'everloom[piper]'"


class PiperBackend(LocalModels):
    """Voices by name: each ``.onnx`` file, its ``.onnx.json`` beside it, in a child process; one text at a time.

    ``budget``: the memory they have together with the other models on this machine.
    """

    max_concurrency: int | None = 1

    def __init__(self, voices: Mapping[str, Path], budget: MemoryBudget) -> None:
        self._voices = {name: _Voice(name, path, budget) for name, path in voices.items()}
        super().__init__(voices, _SPEAKS, [voice.speakers for voice in self._voices.values()])

    async def speak(self, body: JsonObject) -> Answer:
        """createSpeech. Each of the platform's voices is the file's one, or one of its speakers, who have names too."""
        asked = speech_request.read(body)
        speakers = self._voices[asked.model].speakers
        voice = _speaker(asked.voice, await speakers.known())
        order = Order(number=0, text=asked.text, voice=voice, format=asked.format, speed=asked.speed)
        speech = await speakers.say(order, asked.content_type, asked.model)
        return SpeechEvents(speech) if asked.streams else speech


class _Voice:
    """One file, as it takes part in the memory budget."""

    def __init__(self, name: str, path: Path, budget: MemoryBudget) -> None:
        self.name = name
        self._path = path
        child = ("-m", "everloom.models.speech.piper_child", str(path))
        room = partial(budget.use, self)
        self.speakers = SpeakerPool(f"The voice `{name}`", *child, most=1, install=_INSTALL, room=room)

    @property
    def pid(self) -> int | None:
        return next(iter(self.speakers.pids), None)

    async def estimate(self) -> int:
        try:
            return _ENGINE_BYTES + 2 * (await asyncio.to_thread(self._path.stat)).st_size
        except OSError as error:
            raise ModelFailure(f"The voice `{self.name}` cannot be read: {error}", status=503) from error

    async def unload(self) -> None:
        await self.speakers.unload()


def _speaker(name: str, known: Ready) -> str:
    """The file's name of a speaker; empty where there is but one."""
    if name in known.voices:
        return name
    if name not in VOICES:
        shown = ", ".join(f"'{speaker}'" for speaker in known.voices[:20])
        raise speech_request.unknown_voice(name, f"Its own speakers are {shown}." if shown else "It has one speaker.")
    return known.voices[VOICES.index(name) % len(known.voices)] if known.voices else ""
