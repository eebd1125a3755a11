"""What is next for a fine-tuning job, as long as it has no device: its files are looked at, it stands in line, and at
its end what only its work needed is taken away.
"""

import asyncio
import logging
from contextlib import suppress

from everloom.blobs.base import DamagedBlob
from everloom.context import Context, Ports
from everloom.context.caller import Caller
from everloom.kit.clock import now
from everloom.kit.errors import ApiError
from everloom.objects.files import File
from everloom.objects.fine_tuning import FineTuningError, FineTuningJob, FineTuningWork
from everloom.store.base import Change, Missing, Operation
from everloom.work.files.blobs import discard, doom, read_file
from everloom.work.files.lines import LineSplitter, is_utf_16
from everloom.work.fine_tuning.events import told
from everloom.work.fine_tuning.examples import (
    FEWEST_EXAMPLES,
    LONGEST_LINE,
    MOST_EXAMPLES,
    ExampleChecker,
    ExampleFault,
    ExampleFormat,
)
from everloom.work.fine_tuning.line import call_next
from everloom.work.fine_tuning.verbs import IllegalJobTransition, moving, topic
from everloom.work.organization.projects import refuse_archived

log = logging.getLogger(__name__)

_FAULTS_TOLD = 20
"""In events; the job's error has the first few."""

_FAULTS_IN_ERROR = 5


async def look(ports: Ports, project: str, key: str) -> None:
    """Bring the job ``key`` as far as it goes without a device."""
    store = ports.database.store(project)
    try:
        job, work = await store.get(FineTuningJob, key), await store.get(FineTuningWork, key)
        ctx = Context.for_caller(ports, Caller(project=project, key_id=work.key_id, user=work.user))
        if job.status == "validating_files":
            try:
                await _validate(ctx, job, work)
            except IllegalJobTransition:
                job = await store.get(FineTuningJob, key)  # It was cancelled meanwhile.
        if not job.open:
            await clear_up(ctx, work)
        await call_next(ctx)
    except Missing:
        log.info("the fine-tuning job %s is gone", key)


def file_of(work: FineTuningWork, param: str) -> File:
    """A job's ``training_file`` or ``validation_file``, to be read even where its owner has deleted it since."""
    id, size = getattr(work, param), getattr(work, param.removesuffix("file") + "bytes")
    return File(id=id, created_at=work.created_at, bytes=size, filename="", purpose="fine-tune")


async def _validate(ctx: Context, job: FineTuningJob, work: FineTuningWork) -> None:
    error: FineTuningError | None = None
    operations: list[Operation] = []
    wanted: tuple[ExampleFormat, ...] = ("preference",) if job.method.type == "dpo" else ("chat", "completion")
    for param in ("training_file", "validation_file"):
        if getattr(work, param) is None or error is not None:
            continue
        operations.append(told(job.id, f"Validating {param.replace('_', ' ')}: {getattr(work, param)}"))
        checker = ExampleChecker(wanted)
        try:
            await refuse_archived(ctx)
            await _read(ctx, file_of(work, param), checker)
            error = _verdict(checker, param)
        except FileNotFoundError:
            error = _error(param, f"The file {getattr(work, param)} was deleted.", code="file_not_found")
        except DamagedBlob as damaged:
            error = _error(param, str(damaged))
        except ApiError as refused:
            error = _error(param, refused.message, code=refused.code or "invalid_request")
        operations += [told(job.id, str(fault), level="error") for fault in checker.faults[:_FAULTS_TOLD]]
        wanted = wanted if checker.format is None else (checker.format,)
    if error is None:
        end: list[Operation] = [moving(job.id, "queued"), told(job.id, "Files validated, moving job to queued state")]
    else:
        end = [moving(job.id, "failed", error=error), told(job.id, error.message, level="error")]
    await ctx.store.write(*operations, *end)
    ctx.ports.bus.wake(topic(job.id))
    if error is not None:
        await clear_up(ctx, work)


async def _read(ctx: Context, file: File, checker: ExampleChecker) -> None:
    splitter, is_first = LineSplitter(LONGEST_LINE), True
    async for block in read_file(ctx, file):
        if is_first and is_utf_16(block):
            checker.faults.append(ExampleFault("The file is encoded in UTF-16. It has to be JSON Lines in UTF-8."))
            return
        is_first = False
        await asyncio.to_thread(checker.take, splitter.feed(block))
        if checker.is_full:
            return
    await asyncio.to_thread(checker.take, splitter.finish())


def _verdict(checker: ExampleChecker, param: str) -> FineTuningError | None:
    """What the job fails of, in the platform's words."""
    name = param.replace("_", " ")
    if checker.faults:
        shown = " ".join(map(str, checker.faults[:_FAULTS_IN_ERROR]))
        more = len(checker.faults) - _FAULTS_IN_ERROR
        rest = f" (and {more}{' or more' if checker.is_full else ''} other faults; see the job's events)"
        return _error(param, f"The job failed due to an invalid {name}. {shown}{rest if more > 0 else ''}")
    if checker.count > MOST_EXAMPLES:
        return _error(param, f"{name.capitalize()} has more than the {MOST_EXAMPLES} examples it may have")
    fewest = FEWEST_EXAMPLES if param == "training_file" else 1
    if checker.count < fewest:
        counted = f"has {checker.count} example(s), but must have at least {fewest} example(s)"
        return _error(param, f"{name.capitalize()} {counted}", code="invalid_n_examples")
    return None


def _error(param: str, message: str, code: str = "") -> FineTuningError:
    return FineTuningError(code=code or f"invalid_{param}", message=message, param=param)


async def clear_up(ctx: Context, work: FineTuningWork) -> None:
    """Take away what only the work on a job needed that has ended."""
    work = await ctx.store.get(FineTuningWork, work.id)
    state = work.state

    def close(work: FineTuningWork) -> None:
        if not work.open:
            raise _Cleared
        work.open = work.in_line = False
        work.state, work.called_at = "", now()

    if work.open:
        with suppress(_Cleared):
            await ctx.store.write(Change(FineTuningWork, work.id, close), *([doom(state)] if state else []))
            if state:
                await discard(ctx, state)
    for id in filter(None, {work.training_file, work.validation_file}):
        await _release(ctx, id)


class _Cleared(Exception):
    """Somebody else was faster."""


async def _release(ctx: Context, file_id: str) -> None:
    """Take away the bytes of a file that was deleted while the job read it, unless another still does."""
    try:
        await ctx.store.get(File, file_id)
    except Missing:
        for column in ("training_file", "validation_file"):
            if await ctx.store.all(FineTuningWork, open=True, **{column: file_id}):
                return
        await discard(ctx, file_id)
