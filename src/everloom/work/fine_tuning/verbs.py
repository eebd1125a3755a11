"""The verbs of a fine-tuning job that its caller speaks: create, cancel, pause, resume. What becomes of it then is in
``validation.py`` and ``training.py``.
"""

import secrets
from typing import Any, get_args

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, NotFound
from everloom.kit.ids import new_id, random_digits
from everloom.objects.files import File
from everloom.objects.fine_tuning import (
    NEXT,
    OWNER,
    PREFIX,
    TERMINAL,
    FineTuningJob,
    FineTuningMethod,
    FineTuningStatus,
    FineTuningWork,
    Hyperparameters,
    NewFineTuningJob,
    PreferenceMethod,
    SupervisedMethod,
    tuned_part,
)
from everloom.objects.jobs import Lane
from everloom.objects.organization import ORGANIZATION
from everloom.store.base import Add, Change, Missing, Operation, Start
from everloom.training.base import Method, Trainer
from everloom.work.fine_tuning.events import told
from everloom.work.webhooks.announcing import announced_job

FINE_TUNING_JOB = "fine_tuning"
"""Jobs of this kind have a fine-tuning job's id as their key: somebody has to look what is next for it."""

TRAINING_JOB = "training"
"""Jobs of this kind, with the same keys, have a device for as long as it takes."""

_DIGITS = 8


class IllegalJobTransition(Exception):
    """A job is no longer where somebody wanted to move it from."""

    def __init__(self, job: FineTuningJob, status: FineTuningStatus) -> None:
        super().__init__(f"{job.id} is {job.status} and cannot become {status}")
        self.job = job


def move(job: FineTuningJob, status: FineTuningStatus, **fields: Any) -> None:
    """Move a job, and note when it has ended. Errors: ``IllegalJobTransition``."""
    if status not in NEXT[job.status]:
        raise IllegalJobTransition(job, status)
    job.status = status
    if status != "running":
        job.estimated_finish = None
    if status in TERMINAL:
        job.finished_at = now()
    for name, value in fields.items():
        setattr(job, name, value)


def moving(job_id: str, status: FineTuningStatus, **fields: Any) -> Change[FineTuningJob]:
    """Part of a write that moves a job, and announces its end to webhooks."""
    return Change(FineTuningJob, job_id, lambda job: move(job, status, **fields), then=announced_job)


def topic(job_id: str) -> str:
    """What the bus is told on when somebody has moved a job."""
    return f"fine_tuning:{job_id}"


async def the_job(ctx: Context, job_id: str) -> FineTuningJob:
    """A job of this project. Errors: 404 in the platform's words."""
    try:
        return await ctx.store.get(FineTuningJob, job_id)
    except Missing as missing:
        raise _not_found(missing) from missing


def _not_found(missing: Missing) -> NotFound:
    return NotFound(missing.message, param="fine_tune_id", code="fine_tune_not_found")


# --- create -----------------------------------------------------------------------------------------------------------


async def create(ctx: Context, new: NewFineTuningJob) -> FineTuningJob:
    """createFineTuningJob: what is in the files is looked at by the job itself.

    Errors: 400 for files that are not there or of another purpose, for what cannot be trained, and for what this server
    has not; nothing is kept then.
    """
    method = _method(new)
    if new.integrations:
        text = "Integrations are not supported on this server: metrics are in the job's events and its result file."
        raise BadRequest(text, param="integrations", code="unsupported_parameter")
    base, trainer = await _trainable(ctx, new.model, _method_name(method))
    training = await _file(ctx, new.training_file, "training_file")
    validation = None if new.validation_file is None else await _file(ctx, new.validation_file, "validation_file")
    job = FineTuningJob(
        id=new_id("ftjob-"),
        created_at=now(),
        model=base,
        training_file=training.id,
        validation_file=None if validation is None else validation.id,
        hyperparameters=older_form(method),
        method=method,
        seed=secrets.randbelow(2_147_483_648) if new.seed is None else new.seed,
        organization_id=ORGANIZATION,
        metadata=new.metadata,
        user_provided_suffix=new.suffix,
    )
    await ctx.store.write(
        Change(File, training.id),  # Locked, so that whoever deletes it sees this job, or is seen.
        *([] if validation is None or validation.id == training.id else [Change(File, validation.id)]),
        Add(job),
        Add(_work(ctx, job, new.suffix, training, validation, "training" if trainer.works_here else "outgoing")),
        told(job.id, f"Created fine-tuning job: {job.id}"),
        Start(FINE_TUNING_JOB, job.id, "background"),
    )
    return job


def _work(
    ctx: Context, job: FineTuningJob, suffix: str | None, training: File, validation: File | None, lane: Lane
) -> FineTuningWork:
    return FineTuningWork(
        id=job.id,
        created_at=job.created_at,
        key_id=ctx.caller.key_id,
        user=ctx.caller.user,
        base=job.model,
        stem=tuned_name(job.model, suffix),
        training_file=training.id,
        training_bytes=training.bytes,
        validation_file=None if validation is None else validation.id,
        validation_bytes=0 if validation is None else validation.bytes,
        lane=lane,
    )


def tuned_name(base: str, suffix: str | None) -> str:
    """A fresh name for a model tuned from ``base``."""
    return PREFIX + ":".join((tuned_part(base), OWNER, tuned_part(suffix or ""), random_digits(_DIGITS)))


def _method(new: NewFineTuningJob) -> FineTuningMethod:
    """How it is to be trained, with all numbers in their places."""
    method = new.method or FineTuningMethod(type="supervised")
    if method.type not in get_args(Method):
        text = f"The method '{method.type}' is not supported on this server. Supported values are: 'supervised', 'dpo'."
        raise BadRequest(text, param="method.type", code="unsupported_value")
    for name in ("supervised", "dpo", "reinforcement"):
        if name != method.type and getattr(method, name) is not None:
            text = f"Invalid 'method.{name}': the method's type is '{method.type}'."
            raise BadRequest(text, param=f"method.{name}", code="invalid_value")
    if new.method is not None and new.hyperparameters is not None:
        text = "'hyperparameters' and 'method' cannot be given together: the numbers of a method stand in it."
        raise BadRequest(text, param="hyperparameters", code="invalid_value")
    if method.type == "supervised":
        numbers = new.hyperparameters or Hyperparameters()
        return FineTuningMethod(
            type="supervised", supervised=method.supervised or SupervisedMethod(hyperparameters=numbers)
        )
    return FineTuningMethod(type="dpo", dpo=method.dpo or PreferenceMethod())


def _method_name(method: FineTuningMethod) -> Method:
    return "dpo" if method.type == "dpo" else "supervised"


def older_form(method: FineTuningMethod) -> Hyperparameters:
    """The numbers of a method as they stood before there were others."""
    chosen = method.dpo or method.supervised
    assert chosen is not None
    numbers = chosen.hyperparameters
    return Hyperparameters(
        n_epochs=numbers.n_epochs,
        batch_size=numbers.batch_size,
        learning_rate_multiplier=numbers.learning_rate_multiplier,
    )


async def _trainable(ctx: Context, name: str, method: Method) -> tuple[str, Trainer]:
    """The trained model's own name behind the one asked for, and who trains it."""
    if name.startswith(PREFIX):
        raise _unavailable(name, "a model that was tuned here cannot be tuned once more; begin with its base")
    try:
        base = (await ctx.models()).find(name, None).model
    except ApiError as unknown:
        raise _unavailable(name, "`GET /v1/models` lists those there are") from unknown
    trainer = trainer_of(ctx, base)
    if trainer is None:
        raise _unavailable(name, "chat models on this machine can be tuned, and those of upstreams that say so")
    await trainer.check(base, method)
    return base, trainer


def trainer_of(ctx: Context, base: str) -> Trainer | None:
    """Who trains a model, by its own name."""
    return next((trainer for trainer in ctx.ports.trainers if trainer.trains(base)), None)


def _unavailable(name: str, hint: str) -> BadRequest:
    text = f"Model {name[:128]} is not available for fine-tuning or does not exist. (On this server: {hint}.)"
    return BadRequest(text, param="model", code="model_not_available")


async def _file(ctx: Context, file_id: str, param: str) -> File:
    try:
        file = await ctx.store.get(File, file_id)
    except NotFound as missing:
        raise BadRequest(f"invalid {param}: {file_id[:128]}", param=param, code=f"invalid_{param}") from missing
    if file.purpose != "fine-tune":
        text = f"Invalid file purpose: expected 'fine-tune', but the file {file.id} has '{file.purpose}'."
        raise BadRequest(text, param=param, code="invalid_file_purpose")
    return file


# --- cancel, pause, resume --------------------------------------------------------------------------------------------


async def cancel(ctx: Context, job_id: str) -> FineTuningJob:
    """cancelFineTuningJob: at once; checkpoints stay. Errors: 404; 400 for one that has ended otherwise."""
    return await _moved(ctx, job_id, "cancelled", "cancel", "The job was cancelled.")


async def pause(ctx: Context, job_id: str) -> FineTuningJob:
    """pauseFineTuningJob: what is trained so far is kept. Errors: 404; 400 for one that is not queued or running."""
    return await _moved(ctx, job_id, "paused", "pause", "The job was paused.")


async def resume(ctx: Context, job_id: str) -> FineTuningJob:
    """resumeFineTuningJob: it queues again, and goes on where it stood. Errors: 404; 400 for one that is not paused."""
    return await _moved(ctx, job_id, "queued", "resume", "The job was resumed and is queued.")


async def _moved(ctx: Context, job_id: str, status: FineTuningStatus, verb: str, message: str) -> FineTuningJob:
    change = Change(FineTuningJob, job_id, lambda job: _move_by_caller(job, status), then=announced_job)
    operations: list[Operation] = [
        change,
        Change(FineTuningWork, job_id, _out_of_line),
        told(job_id, message),
        Start(FINE_TUNING_JOB, job_id, "background"),
    ]
    try:
        job: FineTuningJob = (await ctx.store.write(*operations))[change]
    except Missing as missing:
        raise _not_found(missing) from missing
    except _StandsSo:
        return await the_job(ctx, job_id)
    except IllegalJobTransition as refused:
        text = f"Cannot {verb} a fine-tuning job with status '{refused.job.status}'."
        raise BadRequest(text, code="invalid_job_status") from refused
    ctx.ports.bus.wake(topic(job_id))
    return job


class _StandsSo(Exception):
    """It has been said before."""


def _move_by_caller(job: FineTuningJob, status: FineTuningStatus) -> None:
    if job.status == status:
        raise _StandsSo
    if status == "queued" and job.status != "paused":  # A job whose files are looked at queues by itself.
        raise IllegalJobTransition(job, status)
    move(job, status)


def _out_of_line(work: FineTuningWork) -> None:
    work.in_line = False
