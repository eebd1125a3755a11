"""Who answers for which model name, by the settings."""

from pathlib import Path

from everloom.config import ModelEntry, Settings
from everloom.models.base import Backend
from everloom.models.local import LocalBackend
from everloom.models.registry import Models
from everloom.models.upstream import UpstreamBackend
from everloom.models.weights import DEFAULT_MODEL, EMBEDDING_MODEL, MINILM, SMOLLM2, Weight, Weights


def build_models(settings: Settings) -> tuple[Models, LocalBackend]:
    """Every model of a server, not yet open, and the backend of those that can be loaded beforehand."""
    local = _local(settings)
    named: list[tuple[str, Backend, str | None]] = []
    for entry in settings.models:
        backend: Backend = local if entry.backend == "local" else _upstream(entry, settings)
        named.append((entry.id, backend, entry.id if entry.backend == "local" else entry.model))
    named += [(DEFAULT_MODEL, local, None), (EMBEDDING_MODEL, local, None)]
    default = None
    if settings.upstream:
        default = UpstreamBackend(settings.upstream, settings.upstream_key or None, timeout=settings.upstream_timeout)
    projects = {entry.id: entry.projects for entry in settings.models if entry.projects}
    return Models(named, settings.aliases, default=default, projects=projects), local


def _upstream(entry: ModelEntry, settings: Settings) -> Backend:
    return UpstreamBackend(
        entry.base_url or settings.upstream,
        entry.api_key or None,
        context_window=entry.context_window,
        timeout=settings.upstream_timeout,
    )


def _local(settings: Settings) -> LocalBackend:
    models: dict[str, Path | Weight] = {DEFAULT_MODEL: SMOLLM2, EMBEDDING_MODEL: MINILM}
    models |= {entry.id: entry.path for entry in settings.models if entry.backend == "local" and entry.path}
    return LocalBackend(
        models,
        Weights(settings.weights),
        slots=settings.local_slots,
        context=settings.local_context,
        threads=settings.local_threads or None,
    )
