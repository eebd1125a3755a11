"""Who answers for which model name, and what that costs, by the settings."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import get_args

from everloom.app.pulled import PulledModels
from everloom.app.start_faults import warn_of_models
from everloom.app.training import build_trainers
from everloom.config import Settings
from everloom.context.pricing import PriceList
from everloom.models.base import Backend
from everloom.models.chat_moderation import ChatModeration
from everloom.models.diffusers.backend import DiffusersBackend, PipelineSettings
from everloom.models.files.formats import Format, format_of
from everloom.models.files.weights import DEFAULT_MODEL, EMBEDDING_MODEL, SMOLLM2, Weight, Weights
from everloom.models.llama.backend import LlamaBackend
from everloom.models.llama.sampling import Sampling
from everloom.models.memory_budget import MemoryBudget, Preloadable, budget_of_machine
from everloom.models.minilm.backend import MiniLMBackend
from everloom.models.minilm.moderation import MODERATION_MODEL, MiniLMModeration
from everloom.models.registry import Models
from everloom.models.speech.espeak import ESPEAK_MODEL, EspeakBackend
from everloom.models.speech.piper import PiperBackend
from everloom.models.transcription.sphinx import SPHINX_MODEL, SphinxBackend
from everloom.models.transcription.whisper import WhisperBackend
from everloom.models.unavailable import UnavailableBackend
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.model_entries import SAMPLING, ModelEntry
from everloom.training.base import Trainer

Preload = Callable[[], Awaitable[None]]
"""Loads the models that can be loaded before anybody asks for them, as far as there is room. ``ModelFailure`` when one
cannot be.
"""


def build_models(settings: Settings) -> tuple[Models, Preload, Sequence[Trainer]]:
    """Every model of a server, not yet open, what loads some of them beforehand, and who trains others from them."""
    pulled = PulledModels(settings)
    pulled.tell()
    paths, unusable = _on_this_machine(settings, pulled)
    budget = MemoryBudget(settings.local_memory or budget_of_machine(), idle=settings.local_idle)
    local = _local(settings, paths["gguf"], budget)
    minilm = MiniLMBackend(EMBEDDING_MODEL, Weights(settings.weights), budget)
    machine: dict[Format, Backend] = {
        "gguf": local,
        "diffusers": _diffusers(settings, paths["diffusers"], budget),
        "piper": PiperBackend(paths["piper"], budget),
        "whisper": WhisperBackend(paths["whisper"], budget, threads=settings.local_threads or None),
    }
    named = _named(settings, paths, unusable, machine, pulled)
    named += [(EMBEDDING_MODEL, minilm, None)]
    if EMBEDDING_MODEL not in {entry.id for entry in settings.models}:  # The heads fit that one model's vectors.
        named.append((MODERATION_MODEL, MiniLMModeration(minilm.embed, EMBEDDING_MODEL), None))
    # A model file under the embedding model's name stands in its place.
    loadable: Mapping[str, Preloadable] = {**minilm.loadable(), **local.loadable()}
    order = dict.fromkeys((*pulled.chats, DEFAULT_MODEL, EMBEDDING_MODEL, *paths["gguf"]))
    preload = partial(budget.preload, [loadable[name] for name in order])
    default = None
    if settings.upstream:
        default = UpstreamBackend(settings.upstream, settings.upstream_key or None, timeout=settings.upstream_timeout)
    projects = {entry.id: entry.projects for entry in settings.models if entry.projects}
    stand_ins = stand_ins_of(settings, pulled)
    models = Models(named, settings.aliases, default=default, stand_ins=stand_ins, projects=projects)
    warn_of_models(settings, models, unusable)
    return models, preload, build_trainers(settings, local)


def _named(
    settings: Settings,
    paths: dict[Format, dict[str, Path]],
    unusable: Mapping[str, Backend],
    machine: Mapping[Format, Backend],
    pulled: PulledModels,
) -> list[tuple[str, Backend, str | None]]:
    """Who answers for which names, those of the settings first."""
    local = machine["gguf"]
    assert isinstance(local, LlamaBackend)
    answering: dict[str, Backend] = dict(unusable)
    for format, named_paths in paths.items():
        for name in named_paths:
            answering[name] = machine.get(format) or UnavailableBackend(name, f"this server cannot use {format} models")
    answering |= _samples_nobody(settings, local)
    named: list[tuple[str, Backend, str | None]] = []
    for entry in settings.models:
        backend: Backend = answering.get(entry.id, local) if entry.backend == "local" else _upstream(entry, settings)
        own = entry.id if entry.backend == "local" and entry.path else entry.model
        named.append((entry.id, _guarding(entry, backend), own))
    # Where a name is not known, the first model that could answer is told: the pulled one.
    named += [(model.name, machine[model.format], None) for model in pulled.usable]
    named += [
        (DEFAULT_MODEL, local, None),
        (ESPEAK_MODEL, EspeakBackend(), None),
        (SPHINX_MODEL, SphinxBackend(), None),
    ]
    return [*named, *((model.name, machine[model.format], None) for model in pulled.unusable)]


def build_prices(settings: Settings) -> PriceList:
    """What models cost by these settings: which of their names, in the ledger, are of models of this machine, and where
    the others are served.
    """
    local = {DEFAULT_MODEL, EMBEDDING_MODEL, MODERATION_MODEL, ESPEAK_MODEL, SPHINX_MODEL}
    local |= {name for _, name, _ in PulledModels(settings).paths()}
    upstreams = []
    for entry in settings.models:
        if entry.backend == "local":
            local.add(entry.id if entry.path else entry.model or entry.id)
        elif entry.base_url:
            upstreams.append((entry.model or entry.id, entry.base_url))
    if settings.upstream:
        upstreams.append(("*", settings.upstream))
    return PriceList(settings.prices, local=local, upstreams=upstreams, defaults=settings.default_prices)


def stand_ins_of(settings: Settings, pulled: PulledModels) -> list[tuple[str, str]]:
    """Who answers where a program asks for a model by the platform's name for it, and the settings do not say."""
    patterns, moderation = ("omni-moderation-*", "text-moderation-*"), settings.moderation_model
    if any(fnmatchcase(moderation, pattern) for pattern in patterns):
        return pulled.stand_ins()
    return [*((pattern, moderation) for pattern in patterns), *pulled.stand_ins()]


def _guarding(entry: ModelEntry, backend: Backend) -> Backend:
    """The backend of an entry, or what asks it to moderate."""
    if not entry.guard or not isinstance(backend, LlamaBackend | UpstreamBackend):
        return backend
    prompt = entry.guard_prompt.read_text(encoding="utf-8") if entry.guard_prompt else None
    return ChatModeration(backend, prompt, opens=entry.backend == "upstream")


def _on_this_machine(
    settings: Settings, pulled: PulledModels
) -> tuple[dict[Format, dict[str, Path]], dict[str, UnavailableBackend]]:
    """The local models' paths by name, sorted by format; and those whose path holds no model, with the reason."""
    paths: dict[Format, dict[str, Path]] = {format: {} for format in get_args(Format)}
    for format, name, path in pulled.paths():
        paths[format][name] = path
    unusable = {}
    for entry in settings.models:
        if entry.backend != "local" or entry.path is None:
            continue
        try:
            paths[format_of(entry.path)][entry.id] = entry.path
        except (OSError, ValueError) as error:
            unusable[entry.id] = UnavailableBackend(entry.id, str(error))
    return paths, unusable


def _diffusers(settings: Settings, paths: dict[str, Path], budget: MemoryBudget) -> DiffusersBackend:
    entries = {entry.id: entry for entry in settings.models}
    pipelines = {
        name: PipelineSettings(folder=path, steps=entries[name].steps, guidance=entries[name].guidance)
        for name, path in paths.items()
    }
    python = sys.executable if settings.images_python == Path() else str(settings.images_python)
    return DiffusersBackend(pipelines, budget, python=python)


def _upstream(entry: ModelEntry, settings: Settings) -> Backend:
    return UpstreamBackend(
        entry.base_url or settings.upstream,
        entry.api_key or None,
        context_window=entry.context_window,
        timeout=settings.upstream_timeout,
    )


def _samples_nobody(settings: Settings, local: LlamaBackend) -> dict[str, UnavailableBackend]:
    """Entries without a path, which say how a model samples, where there is no such model."""
    none = "there is no path, and no local model of this name that is the server's own"
    entries = [entry for entry in settings.models if entry.backend == "local" and not (entry.path or entry.model)]
    return {entry.id: UnavailableBackend(entry.id, none) for entry in entries if entry.id not in local.loadable()}


def _local(settings: Settings, paths: dict[str, Path], budget: MemoryBudget) -> LlamaBackend:
    default: dict[str, Path | Weight] = {DEFAULT_MODEL: SMOLLM2}
    return LlamaBackend(
        default | paths,
        Weights(settings.weights),
        slots=settings.local_slots,
        context=settings.local_context,
        threads=settings.local_threads or None,
        budget=budget,
        sampling={entry.id: Sampling(**{name: getattr(entry, name) for name in SAMPLING}) for entry in settings.models},
    )
