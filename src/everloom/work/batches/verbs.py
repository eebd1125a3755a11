"""The verbs of a batch that its caller speaks: create, cancel, retry. The work itself is in ``execution.py``."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct

from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import NO_JSON, BadRequest, NotFound
from everloom.kit.ids import new_id
from everloom.objects.batches import BY_NAME, NEXT, WINDOW_SECONDS, Batch, BatchStatus, BatchWork, NewBatch
from everloom.objects.files import File
from everloom.objects.jobs import Lane
from everloom.store.base import Add, Change, Start
from everloom.work.files.blobs import NewBlob, read_file
from everloom.work.files.lines import LineSplitter
from everloom.work.webhooks.announcing import announced_batch

BATCH_JOB = "batch"
"""Jobs of this kind have a batch's id as their key: somebody has to look what is next for it."""

LANE: Lane = "background"
"""Of looks for which nobody waits. Lines have a lane of their own, in which they may take a day."""


class IllegalBatchTransition(Exception):
    """A batch is no longer where somebody wanted to move it from."""

    def __init__(self, batch: Batch, status: BatchStatus) -> None:
        super().__init__(f"{batch.id} is {batch.status} and cannot become {status}")
        self.batch = batch


def move(batch: Batch, status: BatchStatus, **fields: Any) -> None:
    """Move a batch, and note when. Errors: ``IllegalBatchTransition``."""
    if status not in NEXT[batch.status]:
        raise IllegalBatchTransition(batch, status)
    batch.status = status
    setattr(batch, f"{status}_at", now())
    for name, value in fields.items():
        setattr(batch, name, value)


def moving(batch_id: str, status: BatchStatus, **fields: Any) -> Change[Batch]:
    """Part of a write that moves a batch, and announces its end to webhooks."""
    return Change(Batch, batch_id, lambda batch: move(batch, status, **fields), then=announced_batch)


async def create(ctx: Context, new: NewBatch, base_url: str) -> Batch:
    """createBatch: what is in the file is looked at by the batch itself. Errors: 400 for a file of another purpose."""
    file = await _input_file(ctx, new.input_file_id)
    batch, work, start = _composed(ctx, new, base_url)
    # The file is locked, so that whoever deletes it sees this batch, or is seen.
    await ctx.store.write(Change(File, file.id), Add(batch), work, start)
    return batch


def _composed(ctx: Context, new: NewBatch, base_url: str) -> tuple[Batch, Add[BatchWork], Start]:
    """A batch to be added, and what is kept with it."""
    created = now()
    batch = Batch(
        id=new_id("batch_"),
        created_at=created,
        endpoint=BY_NAME[new.endpoint],
        input_file_id=new.input_file_id,
        completion_window=new.completion_window,
        expires_at=created + WINDOW_SECONDS,
        metadata=new.metadata,
    )
    work = BatchWork(
        id=batch.id,
        created_at=created,
        key_id=ctx.caller.key_id,
        user=ctx.caller.user,
        base_url=base_url,
        output_expires_after=new.output_expires_after,
    )
    return batch, Add(work), Start(BATCH_JOB, batch.id, LANE)


async def _input_file(ctx: Context, file_id: str) -> File:
    try:
        file = await ctx.store.get(File, file_id)
    except NotFound as missing:
        raise BadRequest(missing.message, param="input_file_id", code="invalid_input_file_id") from missing
    if file.purpose != "batch":
        text = f"Invalid input file purpose: expected 'batch', but the file {file.id} has '{file.purpose}'."
        raise BadRequest(text, param="input_file_id", code="invalid_file_purpose")
    return file


async def cancel(ctx: Context, batch_id: str) -> Batch:
    """cancelBatch: what is answered stays. A batch that is being cancelled stays as it is. Errors: 404; 400 for one
    that has ended.
    """
    change = Change(Batch, batch_id, _cancel)
    try:
        batch: Batch = (await ctx.store.write(change, Start(BATCH_JOB, batch_id)))[change]
    except IllegalBatchTransition as refused:
        text = f"Cannot cancel a batch with status '{refused.batch.status}'."
        raise BadRequest(text, code="invalid_batch_status") from refused
    except _CancelsAlready:
        return await ctx.store.get(Batch, batch_id)
    ctx.ports.bus.wake(topic(batch_id))
    return batch


class _CancelsAlready(Exception):
    """It has been said before."""


def _cancel(batch: Batch) -> None:
    if batch.status in ("cancelling", "cancelled"):
        raise _CancelsAlready
    move(batch, "cancelling")


def topic(batch_id: str) -> str:
    """What the bus is told on when a batch's state changes."""
    return f"batch:{batch_id}"


# --- again ---------------------------------------------------------------------------------------------------------


class _Told(Struct):
    custom_id: str


_told = msgspec.json.Decoder(_Told)


async def retry(ctx: Context, batch_id: str, base_url: str) -> Batch:
    """A batch of those lines of another one that are in its error file (an operation of this server's own): its input
    file is made anew of them. Errors: 404, also for an input file that is gone; 400 where there are none.
    """
    batch = await ctx.store.get(Batch, batch_id)
    if batch.open:
        raise BadRequest(f"The batch is still '{batch.status}'.", code="invalid_batch_status")
    if batch.error_file_id is None:
        return await _retry_whole(ctx, batch, base_url)
    errors, file = await ctx.store.get(File, batch.error_file_id), await ctx.store.get(File, batch.input_file_id)
    work = await ctx.store.get(BatchWork, batch_id)
    try:
        return await _retry_failed(ctx, batch, work, errors, file, base_url)
    except FileNotFoundError as error:  # Somebody has deleted one of them meanwhile.
        raise NotFound(f"The files of the batch {batch_id} are gone.") from error
    except DamagedBlob as error:
        raise BadRequest(str(error), code="invalid_file") from error


async def _retry_failed(ctx: Context, batch: Batch, work: BatchWork, errors: File, file: File, base_url: str) -> Batch:
    longest = ctx.ports.limits.body_bytes
    failed = {_told.decode(line).custom_id async for line in _lines(ctx, errors, 2 * longest)}
    async with NewBlob(ctx, new_id("file-"), digest=True) as blob:
        size = await blob.put(_chosen(ctx, file, longest, failed))
        again = File(id=blob.id, created_at=now(), bytes=size, filename=f"{batch.id}_retry.jsonl", purpose="batch")
        retried, planned, start = _composed(ctx, _again(batch, work, again.id), base_url)
        await blob.keep(Add(again), Add(retried), planned, start)
    return retried


async def _retry_whole(ctx: Context, batch: Batch, base_url: str) -> Batch:
    """As ``retry``, for a batch that has ended before its file was looked at: all its lines are asked again."""
    if batch.status not in ("cancelled", "expired") or batch.request_counts.total:
        refused = batch.status == "failed"
        text = "was asked: its input file was refused" if refused else "has failed"
        raise BadRequest(f"No request of this batch {text}.", code="nothing_to_retry")
    work = await ctx.store.get(BatchWork, batch.id)
    return await create(ctx, _again(batch, work, batch.input_file_id), base_url)


def _again(batch: Batch, work: BatchWork, file_id: str) -> NewBatch:
    return NewBatch(
        input_file_id=file_id,
        endpoint=batch.endpoint,
        completion_window=batch.completion_window,
        metadata=batch.metadata,
        output_expires_after=work.output_expires_after,
    )


async def _lines(ctx: Context, file: File, longest: int) -> AsyncIterator[bytes]:
    splitter = LineSplitter(longest)
    async for block in read_file(ctx, file):
        for line in splitter.feed(block):
            if line.data is not None:
                yield line.data
    for line in splitter.finish():
        if line.data is not None:
            yield line.data


async def _chosen(ctx: Context, file: File, longest: int, ids: set[str]) -> AsyncIterator[bytes]:
    async for line in _lines(ctx, file, longest):
        try:
            if _told.decode(line).custom_id in ids:
                yield line + b"\n"
        except NO_JSON:
            continue
