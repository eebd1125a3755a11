"""What a training leaves and needs on the disk, as blobs that every process of the server can read."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.kit.outages import outages
from everloom.kit.temporary_folders import write_file
from everloom.objects.files import File
from everloom.objects.fine_tuning import FineTuningWork, TunedModel
from everloom.store.base import Add, Operation
from everloom.training.base import Artifact
from everloom.work.files.blobs import NewBlob, read_file
from everloom.work.fine_tuning.events import step_metrics
from everloom.work.fine_tuning.validation import file_of

_BLOCK = 1024 * 1024

TRAINING, VALIDATION, STATE = "training.jsonl", "validation.jsonl", "state"
"""Names in a training's folder."""


async def lay_out(ctx: Context, work: FineTuningWork, folder: Path) -> None:
    """Lay a job's files into a folder, and the state from which it is to go on.

    Errors: ``Unavailable`` where the disk is full, ``DamagedBlob``, ``FileNotFoundError``.
    """
    with outages("the disk"):
        await write_file(folder / TRAINING, read_file(ctx, file_of(work, "training_file")))
        if work.validation_file is not None:
            await write_file(folder / VALIDATION, read_file(ctx, file_of(work, "validation_file")))
        if work.state:
            await write_file(folder / STATE, ctx.ports.blobs.read(work.state))


async def blocks_of(path: Path) -> AsyncIterator[bytes]:
    """The bytes of a file."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block
    finally:
        await asyncio.to_thread(file.close)


class KeptArtifacts(AsyncExitStack):
    """Blobs on their way to be kept in one write: ``async with … as kept``, then ``*kept.operations`` in it.
    Left without that write, they are gone.
    """

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._ctx = ctx

    async def __aenter__(self) -> "KeptArtifacts":
        await super().__aenter__()
        return self

    async def model(self, name: str, work: FineTuningWork, artifact: Artifact) -> None:
        """A tuned model under ``name``."""
        model = TunedModel(
            id=name, created_at=now(), base=work.base, job_id=work.id, upstream_model=artifact.upstream_model
        )
        if artifact.path is not None:
            blob = await self.enter_async_context(NewBlob(self._ctx, new_id("adapter-")))
            digest = hashlib.sha256()
            model.adapter, model.bytes = blob.id, await blob.put(_digested(artifact.path, digest))
            model.sha256 = digest.hexdigest()
            self.operations += blob.kept()
        self.operations.append(Add(model))

    async def step_metrics(self, job_id: str) -> str:
        """The file of all steps; its id."""
        blob = await self.enter_async_context(NewBlob(self._ctx, new_id("file-"), digest=True))
        size = await blob.put(step_metrics(self._ctx, job_id))
        file = File(id=blob.id, created_at=now(), bytes=size, filename="step_metrics.csv", purpose="fine-tune-results")
        self.operations += [Add(file), *blob.kept()]
        return file.id


async def _digested(path: Path, digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for block in blocks_of(path):
        await asyncio.to_thread(digest.update, block)
        yield block
