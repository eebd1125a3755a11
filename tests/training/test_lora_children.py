"""The server's end of a training child, whatever the child does: none of it needs torch."""

import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from everloom.kit.errors import BadRequest, ModelAway
from everloom.models.files.weights import MINILM
from everloom.training.base import Stepped, TrainingEvent, TrainingFailed, TrainingTask
from everloom.training.lora.trainer import LoraTrainer
from tests.loops import on_a_loop
from tests.models.gguf_bert import write_gguf
from tests.models.gguf_tiny import tiny_gguf
from tests.training.lines import chats, write_lines
from tests.weights import default_gguf, default_weights

HERE = Path(__file__).parent


def script(folder: Path, *command: str) -> str:
    """A program that runs a command, whatever it is called with."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    path.chmod(0o755)
    return str(path)


def standing_in(folder: Path, mode: str) -> str:
    return script(folder, sys.executable, str(HERE / "standing_in_child.py"), mode)


def trainer_of(path: Path, **more: Any) -> LoraTrainer:
    async def path_of(model: str) -> Path:
        return path

    return LoraTrainer({"tiny"}, path_of, **more)


def task(home: Path, **more: Any) -> TrainingTask:
    given = {"training": chats(home / "training.jsonl"), "folder": home / "work", "method": "supervised"}
    return TrainingTask(job_id="ftjob_1", base="tiny", **(given | more))


async def all_of(events: AsyncIterator[TrainingEvent]) -> list[TrainingEvent]:
    return [event async for event in events]


async def note(events: AsyncIterator[TrainingEvent], told: list[TrainingEvent]) -> None:
    async for event in events:
        told.append(event)


@pytest.mark.parametrize(
    "mode", ["climbs", "names-nothing", "links", "long", "deep", "negative", "opens-again", "dies", "full", "half"]
)
@on_a_loop
async def test_a_child_that_misbehaves_is_ended_and_the_job_goes_on_later(mode: str, tmp_path: Path) -> None:
    run = trainer_of(default_gguf(), python=standing_in(tmp_path, mode)).train(task(tmp_path))
    told: list[TrainingEvent] = []
    with pytest.raises(ModelAway, match=r"behind step [01] \(.+\)"):
        await note(run.events(), told)
    assert run.pid is None
    assert all(isinstance(event, Stepped) for event in told)
    assert len(told) == (mode == "dies")
    left = {file.name for file in (tmp_path / "work").iterdir()}
    assert left <= {"checkpoint-1.gguf"}


@on_a_loop
async def test_it_is_the_works_own_error_where_lines_are_no_examples(tmp_path: Path) -> None:
    trainer = trainer_of(default_gguf(), python=standing_in(tmp_path, "idles"))
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    for bad in ({"messages": [{"role": "user", "content": [image]}]}, {"prompt": 1}, [], {"messages": 7}):
        good = {"prompt": "a", "completion": "b"}
        file = write_lines(tmp_path / "bad.jsonl", [good, bad])
        with pytest.raises(TrainingFailed, match="Line 2 of the file") as failed:
            await all_of(trainer.train(task(tmp_path, training=file)).events())
        assert (failed.value.code, failed.value.param) == ("invalid_file", "training_file")


@on_a_loop
async def test_too_little_memory_is_told_before_a_child_begins(tmp_path: Path) -> None:
    trainer = trainer_of(default_gguf(), python="/nowhere/python", memory=200 << 20)
    with pytest.raises(TrainingFailed, match=r"takes at least 1\.\d+ GB") as failed:
        await all_of(trainer.train(task(tmp_path)).events())
    assert failed.value.code == "insufficient_memory"


@on_a_loop
async def test_a_python_without_the_extra_is_told_at_once(tmp_path: Path) -> None:
    bare = script(tmp_path, sys.executable, "-I", "-S", "-c", "print('torch,peft')")
    with pytest.raises(BadRequest, match=r"everloom\[finetune\].*torch,peft") as refused:
        await trainer_of(default_gguf(), python=bare).check("tiny", "supervised")
    assert refused.value.param == "model"
    with pytest.raises(BadRequest, match="finetune_python"):
        await trainer_of(default_gguf(), python="/nowhere/python").check("tiny", "supervised")


@on_a_loop
async def test_models_that_cannot_be_trained_are_told_at_once(tmp_path: Path) -> None:
    whole = script(tmp_path, sys.executable, "-c", "print()")
    embeds, other, odd, cut = (tmp_path / name for name in ("embeds", "other", "odd", "cut"))
    write_gguf(embeds, *default_weights().fetch(MINILM))
    other.write_bytes(tiny_gguf().replace(b"llama", b"mamba"))
    odd.write_bytes(tiny_gguf())
    cut.write_bytes(default_gguf().read_bytes()[:1_000_000])
    for path, why in (
        (embeds, "embeddings"),
        (other, "feed_forward_length"),
        (odd, "feed_forward_length"),
        (cut, "early"),
    ):
        with pytest.raises(BadRequest, match=why) as refused:
            await trainer_of(path, python=whole).check("tiny", "supervised")
        assert refused.value.param == "model"
    await trainer_of(default_gguf(), python=whole).check("tiny", "supervised")
