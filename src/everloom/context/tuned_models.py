"""Models that were tuned here, found by their names: their rows are remembered for a moment, their bytes are fetched
from the blobs once in a process, and whoever serves their base serves them.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from everloom.blobs.base import Blobs
from everloom.kit.errors import ApiError, ModelFailure
from everloom.kit.locks import KeyedLocks
from everloom.kit.outages import outages
from everloom.kit.temporary_folders import write_file
from everloom.models.base import Adapts, Capability
from everloom.models.registry import Models, ServedModel, UnknownModel
from everloom.objects.fine_tuning import PREFIX, TunedModel
from everloom.objects.models import Model
from everloom.objects.organization import ORGANIZATION
from everloom.store.base import Database, Missing, Store

REMEMBERED_SECONDS = 2.0
"""How long a row counts as it was: a model that is deleted elsewhere answers nobody here after that."""

_MOST_REMEMBERED = 10_000


def is_tuned(name: str) -> bool:
    """Whether a name may be that of a tuned model."""
    return name.startswith(PREFIX)


class TunedModels:
    """The tuned models of all projects. ``folder`` keeps the bytes of those that were asked for here."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs = blobs
        self._folder = folder
        self._known: dict[tuple[str, str], tuple[TunedModel | None, float]] = {}
        self._elsewhere: dict[tuple[str, str], tuple[bool, float]] = {}
        self._locks = KeyedLocks()
        self._prepared: set[str] = set()

    async def find(self, store: Store, models: Models, name: str, capability: Capability) -> ServedModel | None:
        """Who serves a project a name of such a model; None where the project has none of this name.

        Errors: as ``Models.find``; 503 where its base is not served here any more.
        """
        tuned = await self._row(store, name)
        if tuned is None:
            return None
        if not models.permits(name, tuned.base):
            raise models.unknown(name, capability)
        served = _serving_base(models, tuned, capability)
        if tuned.upstream_model:
            return ServedModel(served.backend, tuned.upstream_model, name)
        backend = served.backend
        if not isinstance(backend, Adapts):
            raise ModelFailure(f"The base of the model `{name}` is served by nothing that takes adapters.", status=503)
        backend.adopt(name, served.backend_model, await self._path(tuned))
        return ServedModel(backend, name, name)

    async def prepare(
        self, database: Database, models: Models, found: ServedModel, capability: Capability | None
    ) -> None:
        """Have a moderation guard ready that the operator has set to such a model, whichever project made it. Everybody
        else finds those of his own project alone. Errors: 404.
        """
        if not isinstance(found.backend, Adapts):
            return  # An upstream's own.
        if capability != "moderate":
            raise models.unknown(found.backend_model, capability)
        if found.backend_model not in self._prepared:
            for _, tuned in await database.across(TunedModel, id=found.backend_model):
                found.backend.adopt(tuned.id, tuned.base, await self._path(tuned))
                self._prepared.add(tuned.id)

    async def are_elsewhere(self, database: Database, project: str, names: Collection[str]) -> set[str]:
        """Those of these names that are of other projects' models, here or at the upstream that has trained them: a
        server that answers for whatever name is not to be asked by them.
        """
        found = set()
        for name in filter(is_tuned, names):
            known, until = self._elsewhere.get((project, name), (False, 0.0))
            if time.monotonic() >= until:
                rows = await database.across(TunedModel, id=name) + await database.across(
                    TunedModel, upstream_model=name
                )
                known = bool(rows) and all(owner != project for owner, _ in rows)
                if len(self._elsewhere) >= _MOST_REMEMBERED:
                    self._elsewhere.clear()
                self._elsewhere[project, name] = (known, time.monotonic() + REMEMBERED_SECONDS)
            if known:
                found.add(name)
        return found

    async def list(self, store: Store, models: Models) -> list[Model]:
        """Those of a project."""
        return [shown(tuned) for tuned in await store.all(TunedModel) if models.permits(tuned.id, tuned.base)]

    async def get(self, store: Store, models: Models, name: str) -> Model | None:
        """One of a project's, None where there is none of this name."""
        tuned = await self._row(store, name)
        return None if tuned is None or not models.permits(name, tuned.base) else shown(tuned)

    def forget(self, store: Store, tuned: TunedModel, models: Models) -> None:
        """A model is deleted: nobody in this process is to ask it any more."""
        self._known.pop((store.project, tuned.id), None)
        self._prepared.discard(tuned.id)
        try:
            backend = models.find(tuned.base, "chat").backend
        except ApiError:
            backend = None
        if isinstance(backend, Adapts):
            backend.forget(tuned.id)
        if tuned.adapter:
            self._file(tuned).unlink(missing_ok=True)

    async def sweep(self, database: Database) -> None:
        """Take away, at a start, the bytes of models that are gone."""
        kept = {tuned.adapter async for _, tuned in database.walk(TunedModel)}
        for file in await asyncio.to_thread(lambda: list(self._folder.glob("adapter-*"))):
            if file.stem not in kept:
                await asyncio.to_thread(file.unlink, True)

    async def _row(self, store: Store, name: str) -> TunedModel | None:
        key = (store.project, name)
        known, until = self._known.get(key, (None, 0.0))
        if time.monotonic() < until:
            return known
        try:
            known = await store.get(TunedModel, name)
        except Missing:
            known = None
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = (known, time.monotonic() + REMEMBERED_SECONDS)
        return known

    async def _path(self, tuned: TunedModel) -> Path:
        """Its bytes on this machine's disk, fetched at the first use. Errors: 503 where they are gone or damaged."""
        path = self._file(tuned)
        async with self._locks.of(tuned.adapter):
            if await asyncio.to_thread(_size, path) != tuned.bytes:  # A power cut may have left a part of it.
                await self._fetch(tuned, path)
        return path

    def _file(self, tuned: TunedModel) -> Path:
        return self._folder / f"{tuned.adapter}.gguf"

    async def _fetch(self, tuned: TunedModel, path: Path) -> None:
        draft = path.with_suffix(f".{os.getpid()}.part")
        digest = hashlib.sha256()
        try:
            with outages("the disk"):
                await asyncio.to_thread(self._folder.mkdir, 0o700, parents=True, exist_ok=True)
                size = await write_file(draft, _bounded(self._blobs.read(tuned.adapter), tuned.bytes, digest))
                if size != tuned.bytes or digest.hexdigest() != tuned.sha256:
                    raise ModelFailure(f"The bytes of the model `{tuned.id}` are damaged.", status=503)
                await asyncio.to_thread(draft.rename, path)
        except FileNotFoundError as gone:
            raise ModelFailure(f"The bytes of the model `{tuned.id}` are gone.", status=503) from gone
        finally:
            await asyncio.to_thread(draft.unlink, True)


def _size(path: Path) -> int:
    """Of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


async def _bounded(blocks: AsyncIterator[bytes], size: int, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    read = 0
    async for block in blocks:
        read += len(block)
        if read > size:
            return
        await asyncio.to_thread(digest.update, block)
        yield block


def _serving_base(models: Models, tuned: TunedModel, capability: Capability) -> ServedModel:
    try:
        return models.find(tuned.base, capability)
    except UnknownModel as unknown:
        text = f"The model `{tuned.id}` cannot be served: its base `{tuned.base}` is not served here any more."
        raise ModelFailure(text, status=503) from unknown


def shown(tuned: TunedModel) -> Model:
    """A tuned model as lists of models have it."""
    return Model(id=tuned.id, created=tuned.created_at, owned_by=ORGANIZATION)
