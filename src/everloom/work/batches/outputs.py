"""The end of a batch: what came of its lines becomes two files, in the write that says so."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, NotFound, Unavailable
from everloom.kit.ids import new_id
from everloom.objects.base import PageQuery, encode
from everloom.objects.batches import (
    Batch,
    BatchAnswer,
    BatchSegment,
    BatchStatus,
    BatchWork,
    EnqueuedTokens,
    LineError,
    LineOutput,
    answer_id,
    part_of,
)
from everloom.objects.files import File
from everloom.store.base import Change, Missing, Operation, Remove
from everloom.work.batches.segments import line_of, lines_of
from everloom.work.batches.verbs import moving
from everloom.work.files.blobs import NewBlob, discard
from everloom.work.files.deadlines import adding

log = logging.getLogger(__name__)

_ANSWERS_AT_ONCE = 50
_BYTES_AT_ONCE = 4 * 1024 * 1024
"""Of answers that are read together, about: the next ones are taken to be as long as the last were."""

_ENDS_OF_LINES = {character.encode(): f"\\u{ord(character):04x}".encode() for character in "\x85\u2028\u2029"}

_NOT_EXECUTED = {
    "expired": LineError(
        code="batch_expired",
        message="This request could not be executed before the completion window expired.",
    ),
    "cancelled": LineError(
        code="batch_cancelled", message="This request was not executed, since the batch was cancelled."
    ),
}


async def close_segments(ctx: Context, batch: Batch) -> None:
    """Have nothing more be kept of a batch's lines."""

    def close(segment: BatchSegment) -> None:
        segment.closed = True

    segments = await ctx.store.all(BatchSegment, batch_id=batch.id)
    if open := [segment.id for segment in segments if not segment.closed]:
        await ctx.store.write(*(Change(BatchSegment, id, close) for id in open))


async def finish(ctx: Context, batch: Batch, plan: BatchWork, status: BatchStatus) -> None:
    """Write the files of a batch of which nothing more is kept, and end it. Files that would be empty are not made.

    Errors: ``Unavailable`` too where nothing was heard of this process for so long that its drafts were given up.
    """
    try:
        await _finish(ctx, batch, plan, status)
    except ApiError as error:
        if error.code != "request_timeout":
            raise
        raise Unavailable("its files", error) from error


async def _finish(ctx: Context, batch: Batch, plan: BatchWork, status: BatchStatus) -> None:
    segments = await ctx.store.all(BatchSegment, batch_id=batch.id)
    async with AsyncExitStack() as stack:
        operations: list[Operation] = []
        ids: dict[str, str] = {}
        for name, failed in (("output", False), ("error", True)):
            blob = await stack.enter_async_context(NewBlob(ctx, new_id("file-"), digest=True))
            size = await blob.put(_lines(ctx, batch, segments, status, failed=failed))
            if size:
                made = File(
                    id=blob.id,
                    created_at=now(),
                    bytes=size,
                    filename=f"{batch.id}_{name}.jsonl",
                    purpose="batch_output",
                )
                operations += [*adding(made, plan.output_expires_after), *blob.kept()]
                ids[f"{name}_file_id"] = blob.id
        if plan.queue_id:
            operations.append(Change(EnqueuedTokens, plan.queue_id, lambda queue: _forget(queue, batch.id)))
        await ctx.store.write(*operations, moving(batch.id, status, **ids))


def _forget(queue: EnqueuedTokens, batch_id: str) -> None:
    queue.tokens.pop(batch_id, None)


async def _lines(
    ctx: Context, batch: Batch, segments: Sequence[BatchSegment], status: BatchStatus, *, failed: bool
) -> AsyncIterator[bytes]:
    """The lines of one of the files, some at a time."""
    after: str | None = None
    limit = 1
    while True:
        page = await ctx.store.find(
            BatchAnswer, PageQuery(limit=limit, order="asc", after=after), part=part_of(batch.id, failed=failed)
        )
        if page.bodies:
            block = b"".join(_line(bytes(answer.output)) for answer in page.decode())
            limit = max(1, min(_ANSWERS_AT_ONCE, 2 * limit, _BYTES_AT_ONCE * len(page.bodies) // len(block)))
            yield block
        if not page.has_more:
            break
        after = page.last_id
    if failed and (error := _NOT_EXECUTED.get(status)) is not None:
        async for line in _not_executed(ctx, batch, segments, error):
            yield line


def _line(output: bytes) -> bytes:
    """A line of a file. Programs read it by ``splitlines`` or the SDK's ``iter_lines``, which end a line at characters
    that JSON has as they are: they are escaped.
    """
    for character, escaped in _ENDS_OF_LINES.items():
        output = output.replace(character, escaped)
    return output + b"\n"


async def _not_executed(
    ctx: Context, batch: Batch, segments: Sequence[BatchSegment], error: LineError
) -> AsyncIterator[bytes]:
    for segment in segments:
        if len(segment.done) == segment.count:
            continue
        done = set(segment.done)
        try:
            async for raw in lines_of(ctx, batch, segment):
                if raw.number not in done:
                    name = line_of(raw).custom_id
                    output = LineOutput(id=new_id("batch_req_"), custom_id=name, response=None, error=error)
                    yield _line(encode(output))
        except FileNotFoundError:  # What is done is to be had all the same.
            log.error("the input file of %s is gone: which of its lines were not executed is not told", batch.id)
            return


async def clear_up(ctx: Context, batch: Batch) -> None:
    """Take away what only the work on a batch needed, some at a time: nobody is to wait for it."""
    for segment in await ctx.store.all(BatchSegment, batch_id=batch.id):
        answers = [answer_id(batch.id, number) for number in segment.done]
        with suppress(NotFound):  # Somebody else was faster.
            await ctx.store.write(Remove(BatchAnswer, answers), Remove(BatchSegment, segment.id))
        await asyncio.sleep(0)
    try:
        await ctx.store.get(File, batch.input_file_id)
    except Missing:
        if not await ctx.store.all(Batch, input_file_id=batch.input_file_id, open=True):
            await discard(ctx, batch.input_file_id)  # It was deleted while the batch was at it.
