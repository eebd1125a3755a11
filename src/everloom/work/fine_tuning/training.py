"""A job on its device: trained, told step by step, kept every now and then, and ended. Whoever is called for a job that
was left in the middle goes on behind its last kept state (docs/decisions/fine-tuning.md).
"""

import asyncio
import logging
import secrets
from contextlib import suppress
from pathlib import Path

from everloom.blobs.base import DamagedBlob
from everloom.bus.base import Watch
from everloom.context import Context, Ports
from everloom.context.caller import Caller
from everloom.kit.errors import ApiError, ModelAway, Unavailable
from everloom.kit.temporary_folders import own_folder
from everloom.objects.fine_tuning import FineTuningError, FineTuningJob, FineTuningWork, PreferenceHyperparameters
from everloom.store.base import Missing
from everloom.training.base import Finished, Paused, Trainer, TrainingFailed, TrainingRun, TrainingTask
from everloom.work.fine_tuning.artifacts import STATE, TRAINING, VALIDATION, lay_out
from everloom.work.fine_tuning.line import call_next
from everloom.work.fine_tuning.progress import Progress, TrainingSuperseded
from everloom.work.fine_tuning.validation import clear_up
from everloom.work.fine_tuning.verbs import IllegalJobTransition, topic, trainer_of
from everloom.work.organization.projects import refuse_archived

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often it is looked whether somebody has moved the job, should the call be lost."""

MOST_LOSSES = 5
"""Trainings that may break off one after the other with no state kept in between: then it is the work's own fault."""

_TRAINABLE = ("queued", "running")


async def train(ports: Ports, project: str, key: str) -> None:
    """Train the job ``key``, to its end or until it is paused."""
    if ports.leaving.is_set():  # Whoever comes next begins with it.
        await asyncio.Event().wait()
    store = ports.database.store(project)
    try:
        job, work = await store.get(FineTuningJob, key), await store.get(FineTuningWork, key)
        ctx = Context.for_caller(ports, Caller(project=project, key_id=work.key_id, user=work.user))
        if job.status in _TRAINABLE:
            await _Training(ctx, job, work).go()
        await call_next(ctx)
    except Missing as missing:
        if missing.cls not in (FineTuningJob, FineTuningWork):
            raise
        log.info("the fine-tuning job %s is gone", key)


class _Training:
    """One executor's hold on one job."""

    def __init__(self, ctx: Context, job: FineTuningJob, work: FineTuningWork) -> None:
        self._ctx = ctx
        self._job_id = job.id
        self._progress = Progress(ctx, job, work, secrets.token_hex(8))
        self._leaves = self._cancelled = False

    async def go(self) -> None:
        try:
            job, work = await self._progress.begin()
            with self._ctx.ports.bus.watch(topic(self._job_id)) as calls:
                await self._guarded(job, work, calls)
        except (TrainingSuperseded, IllegalJobTransition) as other:
            log.info("the training of %s is left: %s", self._job_id, other)
        except Unavailable:
            raise
        except Missing:
            raise
        except Exception:
            # A fault of ours ends the job: nobody is to wait for what comes to the same at each try.
            log.exception("training %s failed", self._job_id)
            text = "The server had an error while training. See its log, or create the job again."
            await self._fail(FineTuningError(code="server_error", message=text))
        if self._leaves:
            await asyncio.Event().wait()  # Until the process lets go: the next one goes on.
        work = await self._ctx.store.get(FineTuningWork, self._job_id)
        job = await self._ctx.store.get(FineTuningJob, self._job_id)
        if not job.open:
            await clear_up(self._ctx, work)

    async def _guarded(self, job: FineTuningJob, work: FineTuningWork, calls: Watch) -> None:
        try:
            await refuse_archived(self._ctx)
            if (trainer := trainer_of(self._ctx, work.base)) is None:
                text = f"The model {work.base} is not available for fine-tuning on this server any more."
                raise TrainingFailed(text, code="model_not_available", param="model")
            async with own_folder(self._ctx.ports.scratch, self._job_id) as folder:
                await lay_out(self._ctx, work, folder)
                await self._train(trainer, _task(job, work, folder), calls)
        except TrainingFailed as failed:
            code = f"invalid_{failed.param}" if failed.code == "invalid_file" and failed.param else failed.code
            await self._fail(FineTuningError(code=code, message=failed.message, param=failed.param))
        except (DamagedBlob, FileNotFoundError) as damaged:
            text = f"A file of the job cannot be read any more: {damaged}"
            await self._fail(FineTuningError(code="invalid_training_file", message=text, param="training_file"))
        except ModelAway as away:
            await self._away(away)
        except ApiError as refused:
            await self._fail(FineTuningError(code=refused.code or "training_failed", message=refused.message))

    async def _train(self, trainer: Trainer, task: TrainingTask, calls: Watch) -> None:
        run = trainer.train(task)
        following = asyncio.create_task(self._follow(run))
        listening = asyncio.create_task(self._listen(run, calls, can_pause=trainer.works_here))
        both = (following, listening)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not self._leaves and await self._is_cancelled():
                self._cancelled = True
                await self._cancel(run)
        finally:
            for each in both:
                each.cancel()
            results = await asyncio.gather(*both, return_exceptions=True)
            await run.close()
        for result in results:
            if isinstance(result, Exception) and not self._cancelled:
                raise result

    async def _is_cancelled(self) -> bool:
        try:
            return (await self._ctx.store.get(FineTuningJob, self._job_id)).status == "cancelled"
        except Unavailable:
            return False  # Whoever comes next finds out.

    async def _cancel(self, run: TrainingRun) -> None:
        """End what the job's caller has ended, wherever it runs."""
        try:
            await run.cancel()
        except ModelAway as away:
            log.warning("the training of %s has been cancelled here, and may go on elsewhere: %s", self._job_id, away)

    async def _follow(self, run: TrainingRun) -> None:
        async for event in run.events():
            await self._progress.take(event)
            if isinstance(event, Finished | Paused):
                return

    async def _listen(self, run: TrainingRun, calls: Watch, *, can_pause: bool) -> None:
        """Have the training stop where somebody has paused the job, or the process is to stop; return where the job
        has ended, or there is nothing to wait for.
        """
        told = False
        while True:
            await calls.wait(LOOK_SECONDS)
            status = "running"
            with suppress(Unavailable):
                status = (await self._ctx.store.get(FineTuningJob, self._job_id)).status
                await self._progress.sign()
            if status not in (*_TRAINABLE, "paused"):
                return
            self._leaves = self._leaves or self._ctx.ports.leaving.is_set()
            if self._leaves and not can_pause:
                return
            if not told and (status != "running" or self._leaves):
                told = True
                run.pause()

    async def _away(self, away: ModelAway) -> None:
        """Wait for a trainer that broke off or is away, unless it is the job that ends it each time."""
        losses = await self._progress.lost() if away.reached else 0
        if losses < MOST_LOSSES:
            await self._progress.waits(away.message)
            raise Unavailable("its trainer", away) from away
        text = f"The training broke off {losses} times one after the other; the last time: {away.message}"
        await self._fail(FineTuningError(code="training_failed", message=text))

    async def _fail(self, error: FineTuningError) -> None:
        with suppress(TrainingSuperseded):
            await self._progress.fail(error)


def _task(job: FineTuningJob, work: FineTuningWork, folder: Path) -> TrainingTask:
    method = job.method.dpo or job.method.supervised
    assert method is not None
    numbers = method.hyperparameters
    beta = numbers.beta if isinstance(numbers, PreferenceHyperparameters) else None
    return TrainingTask(
        job_id=job.id,
        base=work.base,
        method="dpo" if job.method.type == "dpo" else "supervised",
        training=folder / TRAINING,
        validation=None if work.validation_file is None else folder / VALIDATION,
        n_epochs=None if numbers.n_epochs == "auto" else numbers.n_epochs,
        batch_size=None if numbers.batch_size == "auto" else numbers.batch_size,
        learning_rate_multiplier=None
        if numbers.learning_rate_multiplier == "auto"
        else numbers.learning_rate_multiplier,
        beta=None if beta == "auto" else beta,
        seed=job.seed,
        suffix=job.user_provided_suffix or "",
        folder=folder,
        state=folder / STATE if work.state else None,
    )
