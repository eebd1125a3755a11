"""Batches and jobs of fine-tuning out of one server and into another: as history, with nothing begun."""

from pathlib import Path

import msgspec

from everloom.context import Context
from everloom.objects.base import PageQuery
from everloom.objects.batches import Batch, BatchWork, RequestCounts
from everloom.objects.fine_tuning import (
    FineTuningJob,
    FineTuningJobCheckpoint,
    FineTuningJobEvent,
    FineTuningMethod,
    FineTuningWork,
    Hyperparameters,
    SupervisedMethod,
)
from everloom.store.base import Add
from everloom.work.transfer.exporting import Exporting
from tests.work.test_transfer import T0, a_file, imported, served, written

FILES = ("file-in", "file-out", "file-train", "file-result")
KINDS = (Batch, FineTuningJob, FineTuningJobEvent, FineTuningJobCheckpoint)


def a_batch(id: str = "batch_a", status: str = "completed") -> Batch:
    made = {"id": id, "created_at": T0, "endpoint": "/v1/chat/completions", "input_file_id": "file-in"}
    made |= {"completion_window": "24h", "status": status, "expires_at": T0 + 86_400, "output_file_id": "file-out"}
    batch = msgspec.convert(made | {"metadata": {"of": "test"}}, Batch)
    batch.request_counts = RequestCounts(total=2, completed=2)
    return batch


def a_job(id: str = "ftjob-a", status: str = "succeeded") -> FineTuningJob:
    numbers = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.5}
    made = {"id": id, "created_at": T0, "model": "smollm2-135m", "status": status, "training_file": "file-train"}
    made |= {"hyperparameters": numbers, "seed": 7, "organization_id": "org-x", "result_files": ["file-result"]}
    made |= {"method": {"type": "supervised", "supervised": {"hyperparameters": numbers}}}
    return msgspec.convert(made | {"fine_tuned_model": "ft:x", "finished_at": T0 + 9}, FineTuningJob)


async def _bodies(ctx: Context) -> dict[str, bytes]:
    """As they are stored: what is decoded and encoded again may be as it was meant, and not as it is shown."""
    pages = [await ctx.store.find(cls, PageQuery(limit=100)) for cls in KINDS]
    return {msgspec.json.decode(body)["id"]: bytes(body) for page in pages for body in page.bodies}


def test_finished_ones_are_there_byte_for_byte_and_nothing_is_begun(tmp_path: Path) -> None:
    event = FineTuningJobEvent(id="ftevent-a", created_at=T0 + 1, message="Trained", fine_tuning_job_id="ftjob-a")
    checkpoint = FineTuningJobCheckpoint(
        id="ftckpt_a",
        created_at=T0 + 2,
        fine_tuned_model_checkpoint="ft:x:ckpt",
        fine_tuning_job_id="ftjob-a",
        metrics={"step": 3, "train_loss": 0.25},
        step_number=3,
    )
    expected: dict[str, bytes] = {}

    async def leave(ctx: Context) -> None:
        for id in FILES:
            written(tmp_path, id, f"bytes of {id}")
        records = [a_file(id, f"{id}.jsonl", len(f"bytes of {id}")) for id in FILES]
        await imported(ctx, written(tmp_path, "files.jsonl", *records))
        await ctx.store.write(*(Add(thing) for thing in (a_batch(), a_job(), event, checkpoint)))
        expected.update(await _bodies(ctx))
        (tmp_path / "out").mkdir()
        exporting = Exporting(ctx, tmp_path / "out")
        await exporting.export()
        assert (exporting.written["batch"], exporting.written["fine_tuning.job.event"]) == (1, 1)

    async def arrive(ctx: Context) -> None:
        report, faults = await imported(ctx, tmp_path / "out")
        assert faults == []
        assert report.taken == {"file": 4, **dict.fromkeys(("batch", "fine_tuning.job"), 1)} | dict.fromkeys(
            ("fine_tuning.job.event", "fine_tuning.job.checkpoint"), 1
        )
        assert await _bodies(ctx) == expected
        assert len(expected) == 4
        assert await ctx.store.all(FineTuningWork) == []
        assert [work.segments for work in await ctx.store.all(BatchWork)] == [0]
        again, faults = await imported(ctx, tmp_path / "out")
        assert (again.taken, faults) == ({}, [])
        assert again.unchanged.total() == 8

    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    served(tmp_path / "here", leave)
    served(tmp_path / "there", arrive)


def test_those_that_had_not_ended_are_ended(tmp_path: Path) -> None:
    old = msgspec.to_builtins(a_job("ftjob-old"))
    del old["method"]
    records = [msgspec.to_builtins(a_batch("batch_b", "in_progress")), msgspec.to_builtins(a_job("ftjob-b", "running"))]

    async def test(ctx: Context) -> None:
        report, faults = await imported(ctx, written(tmp_path, "saved.jsonl", *records, old))
        assert (report.taken, faults) == ({"batch": 1, "fine_tuning.job": 2}, [])
        (batch,) = await ctx.store.all(Batch)
        assert (batch.status, batch.expired_at) == ("expired", T0 + 86_400)
        jobs = {job.id: job for job in await ctx.store.all(FineTuningJob)}
        assert (jobs["ftjob-b"].status, jobs["ftjob-b"].fine_tuned_model) == ("cancelled", "ft:x")
        method = FineTuningMethod(
            type="supervised",
            supervised=SupervisedMethod(
                hyperparameters=Hyperparameters(n_epochs=3, batch_size=1, learning_rate_multiplier=1.5)
            ),
        )
        assert (jobs["ftjob-old"].status, jobs["ftjob-old"].method) == ("succeeded", method)

    served(tmp_path, test)
