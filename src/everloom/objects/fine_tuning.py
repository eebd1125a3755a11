"""Fine-tuning: jobs, their events and checkpoints, the models that come of them, and what is kept but never shown."""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from everloom.objects.base import JsonObject, Metadata, Object
from everloom.objects.jobs import Lane

FineTuningStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]

NEXT: dict[FineTuningStatus, frozenset[FineTuningStatus]] = {
    "validating_files": frozenset({"queued", "failed", "cancelled"}),
    "queued": frozenset({"running", "paused", "failed", "cancelled"}),
    "running": frozenset({"succeeded", "paused", "failed", "cancelled"}),
    "paused": frozenset({"queued", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""Where a job may go from each state. Those with nothing behind them are terminal. ``paused`` is what the newest
reference's example of pauseFineTuningJob answers.
"""

TERMINAL = frozenset(status for status, after in NEXT.items() if not after)

Auto = Literal["auto"]
Epochs = Annotated[int, Meta(ge=1, le=50)] | Auto
BatchSize = Annotated[int, Meta(ge=1, le=256)] | Auto
LearningRateMultiplier = Annotated[float, Meta(gt=0, le=1000)] | Auto
Beta = Annotated[float, Meta(gt=0, le=2)] | Auto
"""How the numbers of a training are given: by the caller, or to be chosen (docs/fine-tuning.md)."""


class Hyperparameters(Struct, kw_only=True, forbid_unknown_fields=True):
    """The numbers of a supervised training; ``auto`` until the server has chosen."""

    n_epochs: Epochs = "auto"
    batch_size: BatchSize = "auto"
    learning_rate_multiplier: LearningRateMultiplier = "auto"


class PreferenceHyperparameters(Hyperparameters, kw_only=True, forbid_unknown_fields=True):
    """Those of a training by preferences, ``beta`` with them."""

    beta: Beta = "auto"


class SupervisedMethod(Struct, kw_only=True, forbid_unknown_fields=True):
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)


class PreferenceMethod(Struct, kw_only=True, forbid_unknown_fields=True):
    hyperparameters: PreferenceHyperparameters = field(default_factory=PreferenceHyperparameters)


class FineTuningMethod(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a model is trained: on answers (``supervised``) or on pairs of a better and a worse one (``dpo``)."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedMethod | None = None
    dpo: PreferenceMethod | None = None
    reinforcement: JsonObject | None = None


class FineTuningError(Struct, kw_only=True):
    """Why a job has failed; ``param`` names the file that was at fault."""

    code: str
    message: str
    param: str | None = None


class FineTuningJob(Object, kw_only=True):
    """A model being made of a base model and examples (FineTuningJob). ``model`` is the base; ``method`` and
    ``metadata`` are of the newest reference. ``hyperparameters`` is the older place of the method's.
    """

    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    status: FineTuningStatus = "validating_files"
    training_file: str
    validation_file: str | None = None
    hyperparameters: Hyperparameters
    method: FineTuningMethod
    seed: int
    organization_id: str
    fine_tuned_model: str | None = None
    result_files: list[str] = []
    trained_tokens: int | None = None
    estimated_finish: int | None = None
    finished_at: int | None = None
    error: FineTuningError | None = None
    integrations: list[JsonObject] = []
    metadata: Metadata | None = None
    user_provided_suffix: str | None = None

    @property
    def open(self) -> bool:
        """Whether something is still to come of it."""
        return self.status not in TERMINAL

    @property
    def running(self) -> bool:
        """Whether it is being trained."""
        return self.status == "running"

    @property
    def untagged(self) -> bool:
        """Whether it has no metadata, which lists can ask for."""
        return not self.metadata


class NewFineTuningJob(Struct, kw_only=True, forbid_unknown_fields=True):
    """A job to be (CreateFineTuningJobRequest). ``hyperparameters`` is the older place of what ``method`` holds."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    training_file: str
    validation_file: str | None = None
    hyperparameters: Hyperparameters | None = None
    method: FineTuningMethod | None = None
    suffix: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2_147_483_647)] | None = None
    integrations: list[JsonObject] | None = None
    metadata: Metadata | None = None


class FineTuningJobEvent(Object, kw_only=True):
    """What happened to a job (FineTuningJobEvent). ``data`` of a ``metrics`` event has a step's numbers."""

    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    level: Literal["info", "warn", "error"] = "info"
    message: str
    type: Literal["message", "metrics"] = "message"
    data: JsonObject | None = None
    fine_tuning_job_id: str


class FineTuningJobCheckpoint(Object, kw_only=True):
    """A model as it was at the end of an epoch, to be used like the tuned one (FineTuningJobCheckpoint)."""

    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, int | float]
    step_number: int


class FineTuningWork(Object, kw_only=True):
    """How a job is to be worked on; its id is the job's.

    ``key_id`` and ``user`` are of who made it. ``base`` is the trainer's own name of the model, ``stem`` what the names
    of its models begin with. Of its files the ids stand here too (``training_file``, ``validation_file``), with their
    sizes: one that is deleted meanwhile keeps its bytes until the end.

    ``lane`` is where it waits for its turn: for a device of ours, or an upstream's answers.

    ``holder`` is a random word of the executor that came last; ``in_line`` since a turn to be trained was asked for.
    ``called_at`` (Unix seconds) is when somebody last had it looked at. ``told_step`` is the last step that was told
    of; ``state`` is the blob of all up to ``state_step``. ``losses`` counts trainings that broke off since it last got
    on, ``waits_for`` is why the last one did.
    """

    key_id: str
    user: str
    base: str
    stem: str
    training_file: str
    training_bytes: int
    validation_file: str | None = None
    validation_bytes: int = 0
    lane: Lane = "training"
    open: bool = True
    holder: str = ""
    in_line: bool = False
    called_at: int = 0
    told_step: int = 0
    state: str = ""
    state_step: int = 0
    losses: int = 0
    waits_for: str = ""


class TunedModel(Object, kw_only=True):
    """A model that a job has made; its id is the name that it is asked by (``ft:…``).

    Its bytes are a blob (``adapter``, with their count and SHA-256 in hex) that lies over the model ``base``; or else
    an upstream has it, under the name ``upstream_model``.
    """

    base: str
    job_id: str
    adapter: str = ""
    bytes: int = 0
    sha256: str = ""
    upstream_model: str = ""


PREFIX = "ft:"
"""What the names of tuned models begin with."""


OWNER = "everloom"
"""What stands in the owner's place in the names that are given here: the organization's name in headers."""


def is_own(name: str) -> bool:
    """Whether a name is one that is given here: nobody else answers for it, were it deleted a hundred times."""
    parts = name.split(":")
    return name.startswith(PREFIX) and len(parts) > 3 and parts[2] == OWNER


_LONGEST_PART = 100


def tuned_part(text: str) -> str:
    """A base's name, or a suffix, as it stands in the name of a tuned model: what would end a part of it, or a path, is
    a hyphen.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:_LONGEST_PART]


def checkpoint_name(model: str, step: int) -> str:
    """What the model of a checkpoint is called, beside the ``model`` that its job ended with."""
    return f"{model}:ckpt-step-{step}"
