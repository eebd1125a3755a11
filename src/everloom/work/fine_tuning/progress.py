"""What is told of a training, kept in the store as it comes: by the executor that came last, and nobody else."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import structs

from everloom.context import Context
from everloom.kit.backoff import Backoff
from everloom.kit.clock import now
from everloom.kit.errors import Unavailable
from everloom.kit.ids import new_id
from everloom.kit.log import outage
from everloom.objects.fine_tuning import (
    FineTuningError,
    FineTuningJob,
    FineTuningJobCheckpoint,
    FineTuningMethod,
    FineTuningWork,
    PreferenceHyperparameters,
    checkpoint_name,
)
from everloom.store.base import Add, Change, Conflict, Operation
from everloom.training.base import (
    Began,
    CheckpointMade,
    Finished,
    Metrics,
    Saved,
    Stepped,
    TrainingEvent,
    Warned,
)
from everloom.work.files.blobs import NewBlob, discard, doom
from everloom.work.fine_tuning.artifacts import KeptArtifacts, blocks_of
from everloom.work.fine_tuning.events import told
from everloom.work.fine_tuning.verbs import move, moving, older_form, topic

T = TypeVar("T")

_GATHERED_SECONDS = 1.0
"""In which steps come together that are told in one write."""

_SIGN_SECONDS = 60.0
"""Between two signs of life of an executor whose steps take longer."""


class TrainingSuperseded(Exception):
    """Another executor has taken the job over, or it has ended: this one must not write any more."""


class Progress:
    """An executor's pen: it has ``begin``, ``take`` for each event in its order, and ``fail``."""

    def __init__(self, ctx: Context, job: FineTuningJob, work: FineTuningWork, holder: str) -> None:
        self._ctx = ctx
        self._job = job
        self._work = work
        self._holder = holder
        self._total = 0
        self._last: CheckpointMade | None = None
        self._waiting: list[Operation] = []
        self._step = self._kept_step = work.told_step
        """The last step that was heard of, and the last one that is kept with what was heard."""
        self._seconds = 0.0
        self._written = time.monotonic()

    async def begin(self) -> tuple[FineTuningJob, FineTuningWork]:
        """Take the job over from whoever had it. Errors: ``IllegalJobTransition`` where it is not to be trained."""

        def hold(work: FineTuningWork) -> None:
            work.holder, work.in_line, work.called_at = self._holder, False, now()

        def start(job: FineTuningJob) -> None:
            if job.status != "running":
                move(job, "running")

        job, work = Change(FineTuningJob, self._job.id, start), Change(FineTuningWork, self._job.id, hold)
        written = await self._ctx.store.write(work, job)
        self._job, self._work = written[job], written[work]
        self._ctx.ports.bus.wake(topic(self._job.id))
        return self._job, self._work

    async def take(self, event: TrainingEvent) -> None:
        """Keep what has happened. Errors: ``TrainingSuperseded``."""
        if isinstance(event, Stepped):
            await self._stepped(event)
            return
        await self.flush()
        match event:
            case Began():
                await self._began(event)
            case Saved():
                await self._patiently(lambda: self._saved(event))
            case CheckpointMade():
                self._last = event
                if not event.last:  # That one is kept at the end.
                    await self._patiently(lambda: self._checkpoint(event))
            case Warned():
                await self._write(told(self._job.id, event.message, level="warn"))
            case Finished():
                await self._patiently(lambda: self._finished(event))

    async def lost(self) -> int:
        """Note that the training broke off; how often it has since it last got on."""

        def note(work: FineTuningWork) -> None:
            self._check(work)
            work.losses += 1

        change = Change(FineTuningWork, self._job.id, note)
        return (await self._ctx.store.write(change))[change].losses

    async def waits(self, why: str) -> None:
        """Tell why the training does not go on for now, once for each reason."""
        await self.flush()
        if why != self._work.waits_for:
            text = f"The training waits, and goes on from its last state: {why}"

            def note(work: FineTuningWork) -> None:
                work.waits_for = why

            await self._ctx.store.write(*self._held(note), told(self._job.id, text, level="warn"))

    async def sign(self) -> None:
        """Say that this executor is alive, where it has had nothing to tell for a while: a step may take long."""
        if time.monotonic() - self._written >= _SIGN_SECONDS:
            await self._ctx.store.write(*self._held())
            self._written = time.monotonic()

    async def fail(self, error: FineTuningError) -> None:
        """End the job. Errors: ``TrainingSuperseded`` where it has ended, or another has it."""
        self._waiting = []
        end = moving(self._job.id, "failed", error=error), told(self._job.id, error.message, level="error")
        await self._patiently(lambda: self._ctx.store.write(*self._held(), *end))
        self._ctx.ports.bus.wake(topic(self._job.id))

    # --- events -------------------------------------------------------------------------------------------------------

    async def _began(self, event: Began) -> None:
        self._total = event.total_steps

        def choose(job: FineTuningJob) -> None:
            _choose(job.method, event)
            job.hyperparameters = older_form(job.method)
            job.estimated_finish = _after(event.seconds)

        if event.step:
            text = f"Fine-tuning job goes on behind step {event.step} of {event.total_steps}"
        else:
            text = "Fine-tuning job started"
        await self._write(
            Change(FineTuningJob, self._job.id, choose), told(self._job.id, text), told(self._job.id, _plan(event))
        )

    async def _stepped(self, event: Stepped) -> None:
        step, self._seconds = event.metrics.step, event.seconds
        if step > self._step:  # Else it was told by who had the job before.
            self._step = step
            self._waiting.append(_metrics_event(self._job.id, event, self._total))
        if time.monotonic() - self._written >= _GATHERED_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Tell of the steps that were gathered."""
        if not self._waiting:
            return
        operations, self._waiting = self._waiting, []
        self._kept_step = self._step
        finish = _after(self._seconds)

        def estimate(job: FineTuningJob) -> None:
            if job.status == "running":
                job.estimated_finish = finish

        await self._write(Change(FineTuningJob, self._job.id, estimate), *operations)

    async def _saved(self, event: Saved) -> None:
        before = self._work.state
        work = await self._ctx.store.get(FineTuningWork, self._job.id)
        if work.state == before:  # Else it was kept at the last try, and the answer was lost.
            work = await self._keep_state(event, before)
        self._work = work
        if before:
            with suppress(Unavailable):  # It is doomed: a sweep takes it away.
                await discard(self._ctx, before)

    async def _keep_state(self, event: Saved, before: str) -> FineTuningWork:
        async with NewBlob(self._ctx, new_id("state-")) as blob:
            await blob.put(blocks_of(event.state))

            def note(work: FineTuningWork) -> None:
                work.state, work.state_step, work.losses, work.waits_for = blob.id, event.step, 0, ""

            held = self._held(note)
            written = await blob.keep(*held, *([doom(before)] if before else []))
        kept: FineTuningWork = written[held[0]]
        return kept

    async def _checkpoint(self, event: CheckpointMade) -> None:
        step = event.metrics.step
        name = checkpoint_name(self._work.stem, step)
        try:
            async with KeptArtifacts(self._ctx) as kept:
                await kept.model(name, self._work, event.artifact)
                text = f"Checkpoint created at step {step} with Snapshot ID: {name}"
                operations = [_checkpoint_of(self._job.id, name, event.metrics), told(self._job.id, text)]
                await self._ctx.store.write(*self._held(), *kept.operations, *operations)
        except Conflict:
            return  # It was kept by who had the job before.

    async def _finished(self, event: Finished) -> None:
        name = self._work.stem
        metrics = self._last.metrics if self._last is not None else Metrics(step=self._step or self._total)
        async with KeptArtifacts(self._ctx) as kept:
            await kept.model(name, self._work, event.artifact)
            file_id = await kept.step_metrics(self._job.id)
            await self._ctx.store.write(
                *self._held(),
                *kept.operations,
                _checkpoint_of(self._job.id, name, metrics),
                told(self._job.id, f"New fine-tuned model created: {name}"),
                moving(
                    self._job.id,
                    "succeeded",
                    fine_tuned_model=name,
                    result_files=[file_id],
                    trained_tokens=event.trained_tokens,
                ),
                told(self._job.id, "The job has successfully completed"),
            )
        self._ctx.ports.bus.wake(topic(self._job.id))

    # --- writes -------------------------------------------------------------------------------------------------------

    async def _write(self, *operations: Operation) -> None:
        """Keep what is told, however long the database is away meanwhile: the training goes on."""

        async def write() -> None:
            await self._ctx.store.write(*self._held(), *operations)

        try:
            await self._patiently(write)
        except Conflict:
            return  # It had been kept, and the answer was lost.
        finally:
            self._written = time.monotonic()

    def _held(self, edit: Callable[[FineTuningWork], None] | None = None) -> list[Change[Any]]:
        """Part of each write: that the job is this executor's still, and open."""

        def hold(work: FineTuningWork) -> None:
            self._check(work)
            work.called_at, work.told_step = now(), max(work.told_step, self._kept_step)
            if edit is not None:
                edit(work)

        return [
            Change(FineTuningWork, self._job.id, hold),
            Change(FineTuningJob, self._job.id, _refuse_ended),
        ]

    def _check(self, work: FineTuningWork) -> None:
        if work.holder != self._holder:
            raise TrainingSuperseded("another has it")

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff()
        while True:
            try:
                return await call()
            except Unavailable as away:
                outage(f"what is told of {self._job.id}", away)
            await asyncio.sleep(backoff.pause())


def _after(seconds: float) -> int | None:
    """The time after so many seconds; None where it is not known how many."""
    return now() + round(seconds) if seconds else None


def _plan(began: Began) -> str:
    """What is going to be done, as far as its trainer knows."""
    tokens = f", {began.tokens} tokens an epoch" if began.tokens else ""
    memory = f", with about {began.bytes / 1e9:.1f} GB of memory" if began.bytes else ""
    minutes = max(1, round(began.seconds / 60))
    time = f", in about {minutes} minute{'s' * (minutes > 1)}" if began.seconds else ""
    steps = f"{began.n_epochs} epoch{'s' * (began.n_epochs > 1)} in {began.total_steps} steps of {began.batch_size}"
    return f"{began.examples} examples{tokens}: {steps}, on {began.device}{memory}{time}"


def _choose(method: FineTuningMethod, began: Began) -> None:
    """Put the numbers in that were chosen."""
    chosen = method.dpo or method.supervised
    assert chosen is not None
    numbers = chosen.hyperparameters
    numbers.n_epochs, numbers.batch_size = began.n_epochs, began.batch_size
    numbers.learning_rate_multiplier = began.learning_rate_multiplier
    if isinstance(numbers, PreferenceHyperparameters) and began.beta is not None:
        numbers.beta = began.beta


def _refuse_ended(job: FineTuningJob) -> None:
    if not job.open:
        raise TrainingSuperseded(f"it is {job.status}")


def _metrics_event(job_id: str, event: Stepped, total: int) -> Operation:
    numbers = {"total_steps": total, **_numbers(event.metrics)}
    losses = {"training": event.metrics.train_loss, "validation": event.metrics.valid_loss}
    shown = [f"{name} loss={loss:.2f}" for name, loss in losses.items() if loss is not None]
    return told(job_id, f"Step {event.metrics.step}/{total}: {', '.join(shown)}", data=numbers)


def _numbers(metrics: Metrics) -> dict[str, int | float]:
    return {name: value for name, value in structs.asdict(metrics).items() if value is not None}


def _checkpoint_of(job_id: str, name: str, metrics: Metrics) -> Operation:
    return Add(
        FineTuningJobCheckpoint(
            id=new_id("ftckpt_"),
            created_at=now(),
            fine_tuned_model_checkpoint=name,
            fine_tuning_job_id=job_id,
            metrics=_numbers(metrics),
            step_number=metrics.step,
        )
    )
