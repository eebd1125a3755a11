"""The trainers' port: examples go in, a tuned model and its checkpoints come out, told step by step.

A trainer keeps nothing about a job. It works in a folder that the job lends it, says when a state is saved from which
it could go on (``Saved``), and goes on from one that it is given, in another process or on another machine, as if it
had not stopped. Adapters: ``lora/`` (LoRA on this machine's models, in a child process) and ``upstream/`` (another
server's fine-tuning). Contract suite: ``tests/contracts/test_training.py``.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

Method = Literal["supervised", "dpo"]


class TrainingTask(Struct, frozen=True, kw_only=True):
    """What is to be trained.

    ``base`` is the trainer's own name of the model. ``training`` and ``validation`` are JSON Lines that have been
    checked. Numbers are None for ``auto``: the trainer chooses and tells what it chose (``Began``). ``beta`` weighs the
    preference of dpo. ``folder`` is the task's own, for whatever the trainer writes; ``state`` is the file of a
    ``Saved`` from which to go on, None to begin.
    """

    job_id: str
    base: str
    method: Method
    training: Path
    validation: Path | None = None
    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    beta: float | None = None
    seed: int = 0
    suffix: str = ""
    folder: Path
    state: Path | None = None


class Metrics(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known at a step (FineTuningJobCheckpoint.metrics). Losses are means over tokens (over pairs in dpo)."""

    step: int
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class Artifact(Struct, frozen=True, kw_only=True):
    """A tuned model: a file of an adapter over the base (``path``), or a name that an upstream knows it by."""

    path: Path | None = None
    upstream_model: str = ""


class Began(Struct, frozen=True, kw_only=True):
    """Training has begun, or goes on behind ``step``. What was ``auto`` has numbers now; ``tokens`` are those of one
    pass over the examples, ``bytes`` the memory it expects to need, ``seconds`` how long the rest may take.
    """

    step: int
    total_steps: int
    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    beta: float | None = None
    examples: int
    tokens: int
    device: str
    bytes: int
    seconds: float


class Stepped(Struct, frozen=True, kw_only=True):
    """A step is done. ``trained_tokens`` are those of all steps so far, ``seconds`` how long the rest may take."""

    metrics: Metrics
    trained_tokens: int
    seconds: float


class Saved(Struct, frozen=True, kw_only=True):
    """All up to ``step`` is in the file ``state``, which stays until the next ``Saved`` has been taken: when the event
    behind that is asked for. A checkpoint of the same step was told before.
    """

    step: int
    state: Path


class CheckpointMade(Struct, frozen=True, kw_only=True):
    """A model at the end of an epoch; ``last``: the tuned model itself."""

    metrics: Metrics
    artifact: Artifact
    last: bool = False


class Warned(Struct, frozen=True, kw_only=True):
    """Something that the job's owner ought to know, in a sentence."""

    message: str


class Finished(Struct, frozen=True, kw_only=True):
    """All is done. ``artifact`` is that of the last checkpoint."""

    trained_tokens: int
    artifact: Artifact


class Paused(Struct, frozen=True, kw_only=True):
    """It has stopped because it was told to, behind its last ``Saved``."""


TrainingEvent = Began | Stepped | Saved | CheckpointMade | Warned | Finished | Paused


class TrainingFailed(Exception):
    """The work's own error, in words for the job's owner: it would fail again."""

    def __init__(self, message: str, *, code: str = "training_failed", param: str | None = None) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param


class TrainingRun(Protocol):
    """Training that is under way."""

    def events(self) -> AsyncIterator[TrainingEvent]:
        """What happens, in order; ends with ``Finished`` or ``Paused``. A step that was told may be told again by a run
        that went on from an earlier state, and so may a checkpoint. Errors: ``TrainingFailed``; ``ModelAway`` for what
        comes back by itself, as a child that was killed or an upstream that is down.
        """
        ...

    def pause(self) -> None:
        """Have it save its state behind the step under way, and end in ``Paused``."""
        ...

    async def cancel(self) -> None:
        """End it at once; when this returns nothing of it runs any more, here or at an upstream. ``events`` ends in
        ``ModelAway`` then, as behind ``close``. Errors: ``ModelAway`` where an upstream could not be told.
        """
        ...

    async def close(self) -> None:
        """Let go of it: when this returns nothing of it runs here any more. What an upstream is at goes on there, for
        whoever goes on from the last state.
        """
        ...


class Trainer(Protocol):
    """Trains models of one kind."""

    @property
    def works_here(self) -> bool:
        """Whether it needs a device of this machine; one that does not waits for another server most of the time."""
        ...

    def trains(self, model: str) -> bool:
        """Whether a model of this (own) name is one of its."""
        ...

    async def check(self, model: str, method: Method) -> None:
        """Refuse at once what cannot be trained here. Errors: ``BadRequest``, with what an operator can do."""
        ...

    def train(self, task: TrainingTask) -> TrainingRun:
        """Begin, or go on from ``task.state``."""
        ...
