"""Transcription and translation by Whisper models on this machine: faster-whisper in child processes.

The library is an extra (``everloom[whisper]``) and is imported by the child alone. What it takes: ``docs/audio.md``.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from everloom.kit.clock import now
from everloom.kit.errors import ModelFailure
from everloom.models.base import Form, Offer
from everloom.models.hearing import read_wish
from everloom.models.listening import Listeners
from everloom.models.local_transcript import LocalTranscript, answer
from everloom.objects.models import Model

_SILENCE_S = 1200.0
"""Half a minute of audio takes the largest models minutes on a few cores."""

_STOP_S = 20.0
"""A model of gigabytes is not loaded again for everyone who hangs up; between two segments it can stop."""

_OFFERS: frozenset[Offer] = frozenset({"transcribe"})


class WhisperBackend:
    """Folders of Whisper models in CTranslate2's form, by name. Each has a child of its own, one file at a time,
    with ``threads`` (default: one a processor).
    """

    def __init__(self, folders: Mapping[str, Path], *, threads: int | None = None) -> None:
        self._since = now()
        self._listeners = {
            name: Listeners(
                name,
                "whisper_child",
                (str(folder), str(threads or os.cpu_count() or 1)),
                most=1,
                silence_s=_SILENCE_S,
                stop_s=_STOP_S,
            )
            for name, folder in folders.items()
        }

    async def open(self) -> None:
        """Nothing is loaded before it is asked for."""

    async def close(self) -> None:
        """End the children."""
        for listeners in self._listeners.values():
            await listeners.close()

    async def models(self) -> Sequence[Model]:
        """All of them, loaded or not."""
        return [Model(id=name, created=self._since, owned_by="everloom") for name in self._listeners]

    def offers(self, model: str) -> Collection[Offer]:
        return _OFFERS if model in self._listeners else ()

    async def transcribe(self, form: Form, *, translate: bool = False) -> LocalTranscript:
        """createTranscription and createTranslation. Errors: as ``Listeners.hear``; 503 without the library."""
        name = form.get("model") or ""
        wish = read_wish(form, translate=translate)
        if find_spec("faster_whisper") is None:
            text = f"The model `{name}` needs faster-whisper: install it with pip install 'everloom[whisper]'."
            raise ModelFailure(text, status=503, code="missing_library")
        return await answer(name, await self._listeners[name].hear(wish.job), wish)
