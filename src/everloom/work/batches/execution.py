"""What is next for a batch, by where it stands: its file is looked at, its segments are started, its files written. It
keeps no state of its own, so whoever is called for a batch goes on where the last one was.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from everloom.blobs.base import DamagedBlob
from everloom.context import Context, Ports
from everloom.context.caller import Caller
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, NotFound
from everloom.objects.batches import (
    Batch,
    BatchError,
    BatchErrors,
    BatchSegment,
    BatchUsage,
    BatchWork,
    EnqueuedTokens,
    RequestCounts,
    segment_id,
)
from everloom.objects.files import File
from everloom.objects.rules import UNLIMITED, limits_of
from everloom.store.base import Add, Change, Conflict, Missing, Operation, Start
from everloom.work.batches import outputs
from everloom.work.batches.checking import LineChecker
from everloom.work.batches.deadline import is_over
from everloom.work.batches.endpoints import ENDPOINTS
from everloom.work.batches.segments import LINES_JOB, SIDE_BY_SIDE
from everloom.work.batches.verbs import IllegalBatchTransition, move, moving, topic
from everloom.work.files.blobs import read_file
from everloom.work.files.lines import LineSplitter, is_utf_16, portions
from everloom.work.organization.projects import refuse_archived

log = logging.getLogger(__name__)

MOST_BYTES = 200 * 1024 * 1024
SEGMENT_LINES = 100
SEGMENT_BYTES = 16 * 1024 * 1024


async def look(ports: Ports, project: str, key: str) -> None:
    """Bring the batch ``key`` as far as it goes without anybody else."""
    store = ports.database.store(project)
    try:
        while True:
            batch, plan = await store.get(Batch, key), await store.get(BatchWork, key)
            ctx = Context.for_caller(ports, Caller(project=project, key_id=plan.key_id, user=plan.user, batch=True))
            with suppress(IllegalBatchTransition):  # Somebody has moved it between the look and the act.
                if not await _act(ctx, batch, plan):
                    return
    except Missing:
        log.info("the batch %s is gone", key)


async def _act(ctx: Context, batch: Batch, plan: BatchWork) -> bool:
    """The next step of a batch; whether there may be another."""
    match batch.status:
        case "validating":
            await _validate(ctx, batch)
        case "in_progress":
            counts = batch.request_counts
            if counts.completed + counts.failed >= counts.total:
                await ctx.store.write(moving(batch.id, "finalizing"))
            elif is_over(ctx.ports, ctx.project, batch):
                await outputs.close_segments(ctx, batch)
                await ctx.store.write(moving(batch.id, "finalizing"))
            else:
                return False
        case "finalizing":
            counts = batch.request_counts
            is_whole = counts.completed + counts.failed >= counts.total
            await outputs.finish(ctx, batch, plan, "completed" if is_whole else "expired")
        case "cancelling":
            await outputs.close_segments(ctx, batch)
            await outputs.finish(ctx, batch, plan, "cancelled")
        case _:
            await outputs.clear_up(ctx, batch)
            return False
    ctx.ports.bus.wake(topic(batch.id))
    return True


# --- validation ----------------------------------------------------------------------------------------------------


async def _validate(ctx: Context, batch: Batch) -> None:
    if is_over(ctx.ports, ctx.project, batch):
        await ctx.store.write(moving(batch.id, "expired"))
        return
    try:
        await refuse_archived(ctx)
        file = await ctx.store.get(File, batch.input_file_id)
        checker = await _checked(ctx, batch, file)
        errors = checker.errors
        if not errors and checker.model is not None:
            errors = await _unknown_model(ctx, batch, checker)
    except (NotFound, FileNotFoundError):
        errors = [BatchError(code="file_not_found", message=f"The input file {batch.input_file_id} was deleted.")]
    except DamagedBlob as damaged:
        errors = [BatchError(code="invalid_file", message=str(damaged))]
    except ApiError as refused:
        errors = [BatchError(code=refused.code or "invalid_request", message=refused.message)]
    if not errors:
        try:
            await _begin(ctx, batch, checker)
            return
        except _OverQueue as full:
            errors = [BatchError(code="token_limit_exceeded", message=str(full))]
    await ctx.store.write(moving(batch.id, "failed", errors=BatchErrors(data=errors)))


async def _checked(ctx: Context, batch: Batch, file: File) -> LineChecker:
    checker = LineChecker(batch.endpoint)
    if file.bytes > MOST_BYTES:
        text = f"The input file has {file.bytes} bytes. It may have {MOST_BYTES} (200 MB)."
        checker.errors.append(BatchError(code="file_too_large", message=text))
        return checker
    checker.counts_tokens = await _limits_queue(ctx)
    splitter = LineSplitter(ctx.ports.limits.body_bytes)
    is_first = True
    async for block in read_file(ctx, file):
        if is_first and is_utf_16(block):
            text = "The input file is encoded in UTF-16. It has to be JSON Lines in UTF-8."
            checker.errors.append(BatchError(code="invalid_json_line", message=text, line=1))
            return checker
        is_first = False
        await asyncio.to_thread(checker.take, splitter.feed(block))
        if checker.is_full:
            break
    await asyncio.to_thread(checker.take, splitter.finish())
    checker.finish()
    return checker


async def _unknown_model(ctx: Context, batch: Batch, checker: LineChecker) -> list[BatchError]:
    """What is wrong with the model that all lines ask."""
    try:
        await ctx.served(checker.model or "", ENDPOINTS[batch.endpoint].capability)
    except ApiError as error:
        line = checker.ends[0][0]
        return [BatchError(code=error.code or "invalid_model", message=error.message, param="body.model", line=line)]
    return []


async def _begin(ctx: Context, batch: Batch, checker: LineChecker) -> None:
    """Start the first segments, in the write that says that the file is right."""
    parts = portions(checker.ends, SEGMENT_LINES, SEGMENT_BYTES)
    segments = [
        BatchSegment(
            id=segment_id(batch.id, number),
            created_at=now(),
            batch_id=batch.id,
            offset=part.offset,
            length=part.length,
            first=part.first,
            count=part.lines,
        )
        for number, part in enumerate(parts)
    ]

    def edit(batch: Batch) -> None:
        usage, counts = BatchUsage(), RequestCounts(total=len(checker.ends))
        move(batch, "in_progress", request_counts=counts, usage=usage)
        if checker.model is not None:
            batch.model = checker.model

    def plan(work: BatchWork) -> None:
        work.segments = len(segments)

    await ctx.store.write(
        Change(Batch, batch.id, edit),
        Change(BatchWork, batch.id, plan),
        *await _enqueued(ctx, batch, checker),
        *(Add(segment, rank=number) for number, segment in enumerate(segments)),
        *(Start(LINES_JOB, segment.id, "batch") for segment in segments[:SIDE_BY_SIDE]),
    )


# --- the limit of what is enqueued -----------------------------------------------------------------------------------


class _OverQueue(Exception):
    """The open batches of a project would have more tokens than they may."""


async def _limits_queue(ctx: Context) -> bool:
    """Whether tokens of batches are limited for any model of the project."""
    rules = (await ctx.ports.rules.of(ctx.project)).project
    limits: Sequence[int | None] = [
        *(each.batch_1_day_max_input_tokens for each in ctx.ports.limits.ceilings),
        *(each.batch_1_day_max_input_tokens for each in rules.rate_limits.values()),
    ]
    return any(limit is not None for limit in limits)


async def _enqueued(ctx: Context, batch: Batch, checker: LineChecker) -> list[Operation]:
    """What enters a batch's tokens among those of the project's open ones. Errors of the write: ``_OverQueue``."""
    if not checker.counts_tokens or checker.model is None:
        return []
    model = (await ctx.find(checker.model, ENDPOINTS[batch.endpoint].capability)).model
    rules = (await ctx.ports.rules.of(ctx.project)).project
    limit = limits_of(ctx.ports.limits.ceilings, rules, model).batch_1_day_max_input_tokens or 0
    if limit >= UNLIMITED:
        return []
    key = f"{ctx.project}/{model}"
    with suppress(Conflict):
        await ctx.store.write(Add(EnqueuedTokens(id=key, created_at=now())))

    def edit(queue: EnqueuedTokens) -> None:
        others = sum(tokens for id, tokens in queue.tokens.items() if id != batch.id)
        if others + checker.tokens > limit:
            raise _OverQueue(
                f"Enqueued token limit reached for {model} in project {ctx.project}. Limit: {limit} enqueued tokens. "
                "Please try again once some in_progress batches have been completed."
            )
        queue.tokens[batch.id] = checker.tokens

    def note(work: BatchWork) -> None:
        work.queue_id = key

    return [Change(BatchWork, batch.id, note), Change(EnqueuedTokens, key, edit)]
