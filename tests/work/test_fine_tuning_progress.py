"""What is told of a training, kept by who came last, however the database's answers are lost."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import Unavailable
from everloom.objects.fine_tuning import (
    FineTuningError,
    FineTuningJob,
    FineTuningMethod,
    FineTuningWork,
    Hyperparameters,
    SupervisedMethod,
)
from everloom.objects.uploads import BlobDraft
from everloom.store.base import Add, Change, Operation, Store, Written
from everloom.training.base import Saved
from everloom.work.files.blobs import doom
from everloom.work.fine_tuning.progress import Progress, TrainingSuperseded
from everloom.work.fine_tuning.validation import clear_up
from everloom.work.fine_tuning.verbs import cancel
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import on_a_server

JOB = FineTuningJob(
    id="ftjob-1",
    created_at=1,
    model="base",
    status="queued",
    training_file="file-1",
    hyperparameters=Hyperparameters(),
    method=FineTuningMethod(type="supervised", supervised=SupervisedMethod()),
    seed=1,
    organization_id="org-1",
)
WORK = FineTuningWork(
    id=JOB.id, created_at=1, key_id="", user="", base="base", stem="ft:base:everloom::1", training_file="file-1",
    training_bytes=0, called_at=now(),
)  # fmt: skip


class LosesAnswers:
    """A store whose next write of a training comes about, and nobody hears of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.loses = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        written = await self._store.write(*operations, log=log)
        if self.loses and any(isinstance(each, Change) and each.cls is FineTuningWork for each in operations):
            self.loses -= 1
            raise Unavailable("the database", "its answer was lost")
        return written


async def begun(ctx: Context, holder: str) -> Progress:
    progress = Progress(ctx, await ctx.store.get(FineTuningJob, JOB.id), WORK, holder)
    await progress.begin()
    return progress


def state(folder: Path, text: str) -> Path:
    path = folder / text
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "states").mkdir()
    return tmp_path / "states"


def test_a_state_is_kept_once_where_the_answer_is_lost(folder: Path, tmp_path: Path) -> None:
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        store: Any = LosesAnswers(ctx.store)
        ctx = replace(ctx, store=store)
        await ctx.store.write(Add(JOB), Add(WORK))
        progress = await begun(ctx, "one")
        await progress.take(Saved(step=1, state=state(folder, "first")))
        store.loses = 1
        await progress.take(Saved(step=2, state=state(folder, "second")))
        work = await ctx.store.get(FineTuningWork, JOB.id)
        assert work.state_step == 2
        assert b"".join([block async for block in ctx.ports.blobs.read(work.state)]) == b"second"
        assert await ctx.store.all(BlobDraft) == []
        assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1
        assert (await ctx.store.get(FineTuningJob, JOB.id)).status == "running"

    on_a_server(check)(tmp_path)


def test_who_has_lost_a_job_cannot_fail_it(tmp_path: Path) -> None:
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        await ctx.store.write(Add(JOB), Add(WORK))
        former = await begun(ctx, "one")
        later = await begun(ctx, "two")
        error = FineTuningError(code="training_failed", message="It broke.")
        with pytest.raises(TrainingSuperseded):
            await former.fail(error)
        assert (await ctx.store.get(FineTuningJob, JOB.id)).status == "running"
        await later.fail(error)
        job = await ctx.store.get(FineTuningJob, JOB.id)
        assert (job.status, job.error) == ("failed", error)
        with pytest.raises(TrainingSuperseded):
            await later.fail(error)

    on_a_server(check)(tmp_path)


def test_two_who_clear_up_are_no_fault(folder: Path, tmp_path: Path) -> None:
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        await ctx.store.write(Add(JOB), Add(WORK))
        progress = await begun(ctx, "one")
        await progress.take(Saved(step=1, state=state(folder, "first")))
        await cancel(ctx, JOB.id)
        work = await ctx.store.get(FineTuningWork, JOB.id)

        class Late:
            """Sees the work as it stood before the other one was through."""

            def __getattr__(self, name: str) -> Any:
                return getattr(ctx.store, name)

            async def get(self, cls: Any, id: str, **where: Any) -> Any:
                return work if cls is FineTuningWork else await ctx.store.get(cls, id, **where)

        def close(work: FineTuningWork) -> None:
            work.open, work.state = False, ""

        await ctx.store.write(Change(FineTuningWork, JOB.id, close), doom(work.state))  # As far as the first one is.
        late: Any = Late()
        await clear_up(replace(ctx, store=late), work)
        assert [draft.id for draft in await ctx.store.all(BlobDraft)] == [work.state]  # That one takes it away.

    on_a_server(check)(tmp_path)
