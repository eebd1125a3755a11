"""Every adapter of the models' ports, with a model on it, for the contract suites."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from everloom.models.base import Capability
from everloom.models.chat_moderation import ChatModeration
from everloom.models.diffusers.backend import DiffusersBackend, PipelineSettings
from everloom.models.files.weights import DEFAULT_MODEL, EMBEDDING_MODEL, MINILM, SMOLLM2
from everloom.models.llama.backend import LlamaBackend
from everloom.models.memory_budget import MemoryBudget, budget_of_machine
from everloom.models.minilm.backend import MiniLMBackend
from everloom.models.minilm.moderation import MODERATION_MODEL, MiniLMModeration
from everloom.models.speech.espeak import ESPEAK_MODEL, EspeakBackend
from everloom.models.speech.piper import PiperBackend
from everloom.models.transcription.sphinx import SPHINX_MODEL, SphinxBackend
from everloom.models.transcription.whisper import WhisperBackend
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.moderations import CATEGORIES
from tests.models import whisper_model
from tests.models.gguf_bert import write_gguf
from tests.models.image_environment import python_with_diffusers
from tests.models.sounds import a_piper_voice
from tests.models.test_diffusers import HERE, pipeline_in, python_standing_in
from tests.offers import serve_all
from tests.replies import Says
from tests.scripted import ScriptedUpstream
from tests.weights import default_weights


class Opened(NamedTuple):
    """An open backend and the name of a model on it. ``run`` runs a test's coroutine in the backend's event loop."""

    backend: Any
    model: str
    run: Callable[[Coroutine[Any, Any, None]], None]


Opening = contextlib.AbstractAsyncContextManager[tuple[Any, str]]


@contextlib.asynccontextmanager
async def _open(backend: Any, model: str) -> AsyncIterator[tuple[Any, str]]:
    await backend.open()
    try:
        yield backend, model
    finally:
        await backend.close()


def _budget() -> MemoryBudget:
    return MemoryBudget(budget_of_machine())


@contextlib.asynccontextmanager
async def _upstream(folder: Path) -> AsyncIterator[tuple[Any, str]]:
    with ScriptedUpstream() as server:
        serve_all(server)
        async with _open(UpstreamBackend(server.url, retries=0), "gpt-4o") as opened:
            yield opened


def _llama(folder: Path) -> Opening:
    return _open(LlamaBackend({DEFAULT_MODEL: SMOLLM2}, default_weights(), budget=_budget()), DEFAULT_MODEL)


def _llama_embedding(folder: Path) -> Opening:
    """A file of vectors that llama.cpp makes."""
    path = folder / "own.gguf"
    write_gguf(path, *default_weights().fetch(MINILM))
    return _open(LlamaBackend({"own": path}, default_weights(), budget=_budget()), "own")


def _minilm(folder: Path) -> Opening:
    return _open(MiniLMBackend(EMBEDDING_MODEL, default_weights(), _budget()), EMBEDDING_MODEL)


@contextlib.asynccontextmanager
async def _heads(folder: Path) -> AsyncIterator[tuple[Any, str]]:
    async with _minilm(folder) as (minilm, model), _open(MiniLMModeration(minilm.embed, model), MODERATION_MODEL) as it:
        yield it


@contextlib.asynccontextmanager
async def _guard(folder: Path) -> AsyncIterator[tuple[Any, str]]:
    """A chat model that finds violence where somebody speaks of killing."""

    def scores(body: dict[str, Any]) -> Says:
        violent = "kill" in body["messages"][-1]["content"]
        found = dict.fromkeys(CATEGORIES, 0) | {"violence": 9 if violent else 1}
        return Says(msgspec.json.encode(found).decode())

    with ScriptedUpstream() as server:
        server.rule(scores)
        async with _open(ChatModeration(UpstreamBackend(server.url, retries=0)), "gpt-4o") as opened:
            yield opened


def _espeak(folder: Path) -> Opening:
    return _open(EspeakBackend(), ESPEAK_MODEL)


def _piper(folder: Path) -> Opening:
    pytest.importorskip("piper", reason="piper is an extra")
    pytest.importorskip("onnx", reason="makes the voice")
    return _open(PiperBackend({"tone": a_piper_voice(folder / "tone.onnx")}, _budget()), "tone")


def _sphinx(folder: Path) -> Opening:
    return _open(SphinxBackend(), SPHINX_MODEL)


def _whisper(folder: Path) -> Opening:
    pytest.importorskip("faster_whisper", reason="needs the extra [whisper]")
    made = whisper_model.make(folder / "model")
    return _open(WhisperBackend({"whisper-tiny": made}, _budget(), threads=1), "whisper-tiny")


def _drawing(pipeline: Path, python: str) -> Opening:
    settings = {"tiny": PipelineSettings(folder=pipeline, steps=4)}
    return _open(DiffusersBackend(settings, MemoryBudget(8 << 30), python=python), "tiny")


def _diffusers(folder: Path) -> Opening:
    """The child as it is, over a diffusers that draws one colour."""
    return _drawing(pipeline_in(folder), python_standing_in(folder))


def _real_diffusers(folder: Path) -> Opening:
    """A pipeline of random weights."""
    python = python_with_diffusers()
    subprocess.run([python, str(HERE / "tiny_pipeline.py"), str(folder / "tiny")], check=True, stdout=sys.stderr)
    return _drawing(folder / "tiny", python)


ADAPTERS: dict[Capability, dict[str, Callable[[Path], Opening]]] = {
    "chat": {"upstream": _upstream, "llama": _llama},
    "complete": {"upstream": _upstream, "llama": _llama},
    "embed": {"upstream": _upstream, "minilm": _minilm, "llama": _llama_embedding},
    "moderate": {"upstream": _upstream, "minilm": _heads, "guard": _guard},
    "speak": {"upstream": _upstream, "espeak": _espeak, "piper": _piper},
    "transcribe": {"upstream": _upstream, "sphinx": _sphinx, "whisper": _whisper},
    "draw": {"upstream": _upstream, "diffusers": _diffusers, "real diffusers": _real_diffusers},
}
"""Who offers what. A new adapter stands here, and passes."""

EVERY = [(offer, name) for offer, found in ADAPTERS.items() for name in found]


def of(offer: Capability) -> pytest.MarkDecorator:
    """The test, for each adapter that offers this."""
    found = ADAPTERS[offer]
    return pytest.mark.parametrize("opened", [(offer, name) for name in found], ids=list(found), indirect=True)


class Adapters:
    """Those that a test has asked for, each opened once, in one event loop: a model loads once."""

    def __init__(self, runner: asyncio.Runner, folder: Callable[[], Path]) -> None:
        self._runner = runner
        self._folder = folder
        self._open = contextlib.AsyncExitStack()
        self._opened: dict[Callable[[Path], Opening], Opened] = {}

    def opened(self, offer: Capability, name: str) -> Opened:
        """The adapter, open. One that cannot be had on this machine skips the test and says why."""
        make = ADAPTERS[offer][name]
        if make not in self._opened:
            backend, model = self._runner.run(self._open.enter_async_context(make(self._folder())))
            self._opened[make] = Opened(backend, model, self._runner.run)
        return self._opened[make]

    def close(self) -> None:
        """Close all of them."""
        self._runner.run(self._open.aclose())
