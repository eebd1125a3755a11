"""Transcription and translation by Whisper models on this machine: faster-whisper in child processes.

The library is an extra (``everloom[whisper]``) and is imported by the child alone. What it takes: ``docs/audio.md``.
"""

import asyncio
import os
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from everloom.kit.errors import ModelFailure
from everloom.models.base import Capability, Form
from everloom.models.local import LocalModels
from everloom.models.memory_budget import MemoryBudget
from everloom.models.transcription.answer import LocalTranscript, answer
from everloom.models.transcription.pool import TranscriberPool
from everloom.models.transcription.request import read_wish

_SILENCE_S = 1200.0
"""Half a minute of audio takes the largest models minutes on a few cores."""

_STOP_S = 20.0
"""A model of gigabytes is not loaded again for everyone who hangs up; between two segments it can stop."""

_ENGINE_BYTES = 400 * 1024 * 1024
"""What the libraries take, and an hour of sound, beside a model."""

_CAPABILITIES: frozenset[Capability] = frozenset({"transcribe"})


class WhisperBackend(LocalModels):
    """Folders of Whisper models in CTranslate2's form, by name. Each has a child of its own, one file at a time,
    with ``threads`` (default: one a processor). ``budget``: the memory they have together with the other models here.
    """

    max_concurrency: int | None = 1

    def __init__(self, folders: Mapping[str, Path], budget: MemoryBudget, *, threads: int | None = None) -> None:
        count = threads or os.cpu_count() or 1
        self._models = {name: _Whisper(name, folder, budget, count) for name, folder in folders.items()}
        super().__init__(folders, _CAPABILITIES, [model.transcribers for model in self._models.values()])

    async def transcribe(self, form: Form, *, translate: bool = False) -> LocalTranscript:
        """createTranscription and createTranslation.

        Errors: as ``TranscriberPool.transcribe``; 503 without the library.
        """
        name = form.get("model") or ""
        wish = read_wish(form, translate=translate)
        if find_spec("faster_whisper") is None:
            text = f"The model `{name}` needs faster-whisper: install it with pip install 'everloom[whisper]'."
            raise ModelFailure(text, status=503, code="missing_library")
        return await answer(name, await self._models[name].transcribers.transcribe(wish.job), wish)


class _Whisper:
    """One folder, as it takes part in the memory budget."""

    def __init__(self, name: str, folder: Path, budget: MemoryBudget, threads: int) -> None:
        self.name = name
        self._folder = folder
        self.transcribers = TranscriberPool(
            name,
            "whisper_child",
            (str(folder), str(threads)),
            most=1,
            silence_s=_SILENCE_S,
            stop_s=_STOP_S,
            room=partial(budget.use, self),
        )

    @property
    def pid(self) -> int | None:
        return next(iter(self.transcribers.pids), None)

    async def estimate(self) -> int:
        """The model's file, which is read whole, and what it works with."""
        try:
            return _ENGINE_BYTES + (await asyncio.to_thread((self._folder / "model.bin").stat)).st_size
        except OSError as error:
            raise ModelFailure(f"The model `{self.name}` cannot be read: {error}", status=503) from error

    async def unload(self) -> None:
        await self.transcribers.unload()
