"""LoRA with the real torch, over models of a few thousand numbers and, once, over the default model."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from everloom.kit.errors import ModelAway
from everloom.training.base import (
    Began,
    CheckpointMade,
    Finished,
    Saved,
    Stepped,
    TrainingEvent,
    TrainingFailed,
    TrainingTask,
    Warned,
)
from everloom.training.lora.gguf_model import read_model
from everloom.training.lora.trainer import LoraRun, LoraTrainer
from tests.loops import on_a_loop
from tests.training.answering import answers
from tests.training.environment import python_with_finetuning
from tests.training.lines import ANSWER, QUESTIONS, chat, chats, preferences, write_lines
from tests.weights import default_gguf

gguf = pytest.importorskip("gguf", reason="makes the models that are trained")


@pytest.fixture(scope="module")
def python() -> str:
    return python_with_finetuning()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    from tests.training.tiny_model import tiny_model

    return tiny_model(tmp_path / "tiny.gguf")


def trainer_of(path: Path, python: str, **more: Any) -> LoraTrainer:
    async def path_of(model: str) -> Path:
        return path

    return LoraTrainer({"tiny"}, path_of, python=python, **({"threads": 1} | more))


def task(home: Path, **more: Any) -> TrainingTask:
    """Ten steps in two passes."""
    given = {"training": chats(home / "training.jsonl"), "folder": home / "work", "method": "supervised"}
    given |= {"n_epochs": 2, "batch_size": 2, "seed": 5}
    return TrainingTask(job_id="ftjob_1", base="tiny", **(given | more))


async def all_of(events: AsyncIterator[TrainingEvent]) -> list[TrainingEvent]:
    return [event async for event in events]


def losses(events: list[TrainingEvent]) -> dict[int, float]:
    return {event.metrics.step: event.metrics.train_loss or 0 for event in events if isinstance(event, Stepped)}


@on_a_loop
async def test_one_that_is_killed_goes_on_as_if_nothing_had_been(tiny: Path, python: str, tmp_path: Path) -> None:
    trainer = trainer_of(tiny, python, save_steps=3)
    whole = await all_of(trainer.train(task(tmp_path, folder=tmp_path / "whole")).events())
    assert isinstance(whole[-1], Finished)
    assert [event.step for event in whole if isinstance(event, Saved)] == [3, 5, 8, 10]
    run = trainer.train(task(tmp_path))
    told: list[TrainingEvent] = []
    with pytest.raises(ModelAway, match="SIGKILL"):
        await _until_killed(run, told)
    state = [event for event in told if isinstance(event, Saved)][-1].state
    rest = await all_of(trainer.train(task(tmp_path, state=state)).events())
    began = next(event for event in rest if isinstance(event, Began))
    assert began.step == 3
    assert losses(told) | losses(rest) == losses(whole)
    assert isinstance(rest[-1], Finished)
    assert rest[-1].trained_tokens == whole[-1].trained_tokens
    assert _numbers(rest) == _numbers(whole)


async def _until_killed(run: LoraRun, told: list[TrainingEvent]) -> None:
    async for event in run.events():
        told.append(event)
        if isinstance(event, Stepped) and event.metrics.step == 4 and run.pid is not None:
            os.kill(run.pid, signal.SIGKILL)


def _numbers(events: list[TrainingEvent]) -> list[list[float]]:
    """Of the tuned model's adapter."""
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.artifact.path is not None
    tensors = gguf.GGUFReader(finished.artifact.path).tensors
    assert len(tensors) == 2 * 7 * 2
    return [tensor.data.flatten().tolist() for tensor in tensors]


@on_a_loop
async def test_preferences_are_learned(tiny: Path, python: str, tmp_path: Path) -> None:
    pairs = preferences(tmp_path / "pairs.jsonl")
    given = {"method": "dpo", "training": pairs, "validation": pairs, "n_epochs": 3, "learning_rate_multiplier": 20.0}
    events = await all_of(trainer_of(tiny, python).train(task(tmp_path, **given)).events())
    found = list(losses(events).values())
    assert found[0] == pytest.approx(0.6931, abs=1e-3)  # the logarithm of two, before anything is preferred
    assert found[-1] < 0.6
    made = [event.metrics for event in events if isinstance(event, CheckpointMade)]
    assert len(made) == 3
    assert made[-1].full_valid_mean_token_accuracy == 1.0
    assert made[-1].valid_loss is not None
    began = next(event for event in events if isinstance(event, Began))
    assert (began.beta, began.total_steps) == (0.1, 15)


@on_a_loop
async def test_qwen2_and_parts_of_batches(python: str, tmp_path: Path) -> None:
    from tests.training.tiny_model import tiny_model

    path = tiny_model(tmp_path / "qwen.gguf", "qwen2")
    lines = [chat("Say it.", "word " * length) for length in (1, 5, 30, 30, 200, 900)]
    given = {"training": write_lines(tmp_path / "lines.jsonl", lines), "batch_size": 6, "n_epochs": 4}
    events = await all_of(trainer_of(path, python, context=256).train(task(tmp_path, **given)).events())
    assert [event.message for event in events if isinstance(event, Warned)] == [
        "1 of 6 examples of the training file are longer than 256 tokens; their ends were cut off."
    ]
    found = losses(events)
    assert found[4] < found[1]
    (checkpoint, *_) = [event.artifact.path for event in events if isinstance(event, CheckpointMade)]
    assert checkpoint is not None
    assert read_model(checkpoint).keys["general.architecture"] == "qwen2"


@on_a_loop
async def test_a_disk_that_fills_is_waited_out(tiny: Path, python: str, tmp_path: Path) -> None:
    small = tmp_path / "small"  # files end at 64 blocks of 512 bytes
    small.write_text(f'#!/bin/sh\nulimit -f 64\nexec {shlex.quote(python)} "$@"\n')
    small.chmod(0o755)
    with pytest.raises(ModelAway, match="File too large"):
        await all_of(trainer_of(tiny, str(small), save_steps=1).train(task(tmp_path)).events())
    assert list((tmp_path / "work").iterdir()) == []
    events = await all_of(trainer_of(tiny, python).train(task(tmp_path)).events())
    assert isinstance(events[-1], Finished)


@on_a_loop
async def test_states_that_are_none_are_refused(tiny: Path, python: str, tmp_path: Path) -> None:
    state = tmp_path / "state-1.pt"
    state.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(TrainingFailed, match="cannot be gone on from") as failed:
        await all_of(trainer_of(tiny, python).train(task(tmp_path, state=state)).events())
    assert failed.value.code == "state_damaged"


@on_a_loop
async def test_examples_too_long_for_the_memory_are_told(tiny: Path, python: str, tmp_path: Path) -> None:
    trainer = trainer_of(tiny, python, memory=_just_enough(tiny))
    with pytest.raises(TrainingFailed, match="GB of memory for its longest example") as failed:
        await all_of(trainer.train(task(tmp_path)).events())
    assert failed.value.code == "insufficient_memory"


def _just_enough(path: Path) -> int:
    from everloom.training.lora.plan import memory_need

    return memory_need(read_model(path).shape(), 4).of(2, sparing=True)


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.training.test_lora_training import task, trainer_of

async def main():
    run = trainer_of(Path(sys.argv[1]), sys.argv[2]).train(task(Path(sys.argv[3]), n_epochs=1000))
    async for event in run.events():
        print(run.pid, flush=True)

asyncio.run(main())
"""


def test_a_server_that_dies_takes_its_training_along(tiny: Path, python: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tiny), python, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(30)


@on_a_loop
async def test_the_default_model_learns_and_the_engine_serves_it(python: str, tmp_path: Path) -> None:
    given = {"n_epochs": 6, "batch_size": 5, "learning_rate_multiplier": 2.0}
    trainer = trainer_of(default_gguf(), python, threads=0)
    events = await all_of(trainer.train(task(tmp_path, **given)).events())
    finished = events[-1]
    assert isinstance(finished, Finished)
    found = losses(events)
    assert found[12] < found[1] / 4
    tuned = answers(default_gguf(), finished.artifact.path, QUESTIONS[:3])
    plain = answers(default_gguf(), None, QUESTIONS[:3])
    assert tuned == [ANSWER] * 3, json.dumps(tuned)
    assert ANSWER not in plain
