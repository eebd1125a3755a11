"""What every trainer promises (``training/base.py``): LoRA on this machine, and another server's fine-tuning."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from everloom.kit.errors import ModelAway
from everloom.training.base import (
    Began,
    CheckpointMade,
    Finished,
    Paused,
    Saved,
    Stepped,
    Trainer,
    TrainingEvent,
    TrainingFailed,
    TrainingRun,
    TrainingTask,
)
from everloom.training.lora.trainer import LoraTrainer
from everloom.training.upstream.trainer import UpstreamTrainer
from tests.loops import on_a_loop
from tests.training.environment import python_with_finetuning
from tests.training.fine_tuning_server import FineTuningServer
from tests.training.lines import chats


class Opened(NamedTuple):
    """A trainer of the model ``tiny``. ``ends``: whether nothing of a run is left anywhere."""

    trainer: Trainer
    ends: Callable[[TrainingRun], bool]


@contextlib.asynccontextmanager
async def _lora(folder: Path) -> AsyncIterator[Opened]:
    python = python_with_finetuning()
    pytest.importorskip("gguf", reason="makes the model that is trained")
    from tests.training.tiny_model import tiny_model

    path = tiny_model(folder / "tiny.gguf")

    async def path_of(model: str) -> Path:
        return path

    trainer = LoraTrainer({"tiny"}, path_of, python=python, threads=1)
    yield Opened(trainer, lambda run: getattr(run, "pid", 0) is None)


@contextlib.asynccontextmanager
async def _upstream(folder: Path) -> AsyncIterator[Opened]:
    async with FineTuningServer() as server:
        trainer = UpstreamTrainer({"tiny": "gpt-4o-mini"}, server.url, poll_s=0.01, patience_s=5)
        yield Opened(trainer, lambda run: all(job["status"] == "cancelled" for job in server.jobs.values()))


each = pytest.mark.parametrize("opened", [_lora, _upstream], ids=["lora", "upstream"])
Opening = Callable[[Path], contextlib.AbstractAsyncContextManager[Opened]]


def task(home: Path, **more: Any) -> TrainingTask:
    """Four steps in two passes."""
    given = {"training": chats(home / "training.jsonl"), "n_epochs": 2, "batch_size": 5, "seed": 3}
    given["folder"] = home / "work"
    return TrainingTask(job_id="ftjob_1", base="tiny", method="supervised", **(given | more))


async def _all(events: AsyncIterator[TrainingEvent]) -> list[TrainingEvent]:
    return [event async for event in events]


@each
@on_a_loop
async def test_a_training_is_told_from_its_beginning_to_its_end(opened: Opening, tmp_path: Path) -> None:
    async with opened(tmp_path) as (trainer, _):
        assert trainer.trains("tiny")
        assert not trainer.trains("another")
        await trainer.check("tiny", "supervised")
        events = [event async for event in trainer.train(task(tmp_path)).events()]
    began = [event for event in events if isinstance(event, Began)]
    assert [event.step for event in began] == [0]
    steps = [event.metrics.step for event in events if isinstance(event, Stepped)]
    assert steps == [1, 2, 3, 4]
    assert all(event.metrics.train_loss is not None for event in events if isinstance(event, Stepped))
    made = [event for event in events if isinstance(event, CheckpointMade)]
    assert [(event.metrics.step, event.last) for event in made] == [(2, False), (4, True)]
    assert isinstance(events[-1], Finished)
    assert events[-1].artifact == made[-1].artifact != made[0].artifact
    assert events[-1].trained_tokens > 0


@each
@on_a_loop
async def test_one_that_is_paused_goes_on_where_it_stood(opened: Opening, tmp_path: Path) -> None:
    async with opened(tmp_path) as (trainer, _):
        run = trainer.train(task(tmp_path))
        events = []
        async for event in run.events():
            events.append(event)
            if isinstance(event, Stepped) and event.metrics.step == 1:
                run.pause()
        assert isinstance(events[-1], Paused)
        saved = [event for event in events if isinstance(event, Saved)][-1]
        assert saved.state.is_file()
        told = {event.metrics.step for event in events if isinstance(event, Stepped)}
        state = tmp_path / "carried"  # as another machine is given it
        state.write_bytes(saved.state.read_bytes())
        run = trainer.train(task(tmp_path, state=state, folder=tmp_path / "other"))
        again = [event async for event in run.events()]
    assert isinstance(again[-1], Finished)
    told |= {event.metrics.step for event in again if isinstance(event, Stepped)}
    assert told == {1, 2, 3, 4}
    assert any(isinstance(event, Began) for event in again)
    assert max(event.metrics.step for event in again if isinstance(event, CheckpointMade)) == 4


@each
@on_a_loop
async def test_one_that_is_closed_is_gone(opened: Opening, tmp_path: Path) -> None:
    async with opened(tmp_path) as (trainer, ends):
        run = trainer.train(task(tmp_path, n_epochs=50))
        events = run.events()
        while not isinstance(await anext(events), Stepped):
            pass
        await run.cancel()
        with pytest.raises(ModelAway):
            await _all(events)
        assert ends(run)
        assert list((tmp_path / "work").glob("*.partial")) == []
        await run.cancel()


@on_a_loop
async def test_files_that_hold_no_examples_are_the_works_own_error(tmp_path: Path) -> None:
    async with _lora(tmp_path) as (trainer, _):
        file = tmp_path / "bad.jsonl"
        file.write_text('{"messages": [{"role": "user", "content": "x"}]}\n')
        with pytest.raises(TrainingFailed, match="anything to learn") as failed:
            await _all(trainer.train(task(tmp_path, training=file)).events())
        assert failed.value.param == "training_file"
