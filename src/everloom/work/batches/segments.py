"""The lines of one segment of a batch: asked side by side, each kept as it is answered. A segment that was left in the
middle is entered again, and goes on with the lines that have no answer yet (docs/decisions/batches.md).
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from everloom.context import Context, Ports
from everloom.context.caller import Caller
from everloom.kit.errors import NO_JSON, ApiError, Unavailable
from everloom.objects.batches import Batch, BatchLine, BatchSegment, BatchWork, segment_id
from everloom.store.base import Change, Missing, Operation, Start
from everloom.work.batches.answers import AnswerWriter, SegmentClosed
from everloom.work.batches.asking import LineAsker, PutOff
from everloom.work.batches.deadline import is_over
from everloom.work.batches.endpoints import ENDPOINTS, LineEndpoint
from everloom.work.batches.verbs import BATCH_JOB, LANE, IllegalBatchTransition, moving, topic
from everloom.work.files.lines import LineSplitter, RawLine
from everloom.work.organization.projects import refuse_archived

log = logging.getLogger(__name__)

LINES_JOB = "batch_lines"
"""Jobs of this kind have a segment's id as their key."""

SIDE_BY_SIDE = 4
"""Segments of one batch that are worked on at a time, by however many processes; each starts the one that is so many
behind it. So no batch fills the line of jobs, and another one gets on beside it.
"""

LINES_IN_HAND = 64
BYTES_IN_HAND = 16 * 1024 * 1024
"""Lines that one segment has read and not kept an answer of, at the most; a single one may be longer."""

SHORTEST_PUT_OFF = 5.0
LONGEST_PUT_OFF = 60.0
"""Seconds after which a segment is looked at again whose model answered nobody."""

LOOK_SECONDS = 5.0
"""How often it is looked whether the batch is still to be worked on, should the call be lost."""

_line = msgspec.json.Decoder(BatchLine)


async def work(ports: Ports, project: str, key: str) -> None:
    """Have the lines of the segment ``key`` answered."""
    store = ports.database.store(project)
    try:
        segment = await store.get(BatchSegment, key)
        batch, plan = await store.get(Batch, segment.batch_id), await store.get(BatchWork, segment.batch_id)
    except Missing:
        return  # It has ended meanwhile.
    caller = Caller(project=project, key_id=plan.key_id, user=plan.user, batch=True)
    ctx = Context.for_caller(ports, caller)
    if segment.closed or batch.status != "in_progress" or is_over(ports, project, batch):
        return
    if len(segment.done) < segment.count and not await _work(ctx, batch, plan, segment):
        return
    await _go_on(ctx, batch.id, plan, segment)


async def _work(ctx: Context, batch: Batch, plan: BatchWork, segment: BatchSegment) -> bool:
    """Whether all is answered; else it is to be left."""
    if not await _is_wanted(ctx, batch):
        return False
    with ctx.ports.bus.watch(topic(batch.id)) as calls:
        working = asyncio.create_task(_answer_lines(ctx, batch, plan, segment))
        try:
            while not working.done():
                called = asyncio.create_task(calls.wait(LOOK_SECONDS))
                await asyncio.wait({working, called}, return_when=asyncio.FIRST_COMPLETED)
                called.cancel()
                with suppress(Unavailable):
                    if not working.done() and not await _is_wanted(ctx, batch):
                        return False
        finally:
            working.cancel()
            (result,) = await asyncio.gather(working, return_exceptions=True)
    if isinstance(result, SegmentClosed):
        return False
    if isinstance(result, BaseException):
        raise result
    return result


async def _is_wanted(ctx: Context, batch: Batch) -> bool:
    """Whether the batch is still to be worked on. A project that is archived asks nothing any more: what is answered
    is kept as of a batch that was cancelled.
    """
    try:
        batch = await ctx.store.get(Batch, batch.id)
        if batch.status != "in_progress" or is_over(ctx.ports, ctx.project, batch):
            return False
        await refuse_archived(ctx)
    except Missing:
        return False
    except ApiError:
        with suppress(Missing, IllegalBatchTransition):  # Another segment was faster.
            await ctx.store.write(moving(batch.id, "cancelling"), Start(BATCH_JOB, batch.id, LANE))
        return False
    return True


async def _answer_lines(ctx: Context, batch: Batch, plan: BatchWork, segment: BatchSegment) -> bool:
    """Whether all is answered; else the rest is put off."""
    segment = await _entered(ctx, segment)
    writer = AnswerWriter(ctx, batch, segment)
    endpoint = ENDPOINTS[batch.endpoint]
    throttle = ctx.ports.gate.throttles.of(await _backend(ctx, batch, endpoint))
    asker = LineAsker(ctx, endpoint, throttle, plan.base_url, segment.failures)
    in_hand = _InHand()

    async def answer(raw: RawLine) -> None:
        try:
            await writer.keep(await asker.ask(raw.number, line_of(raw)))
        except PutOff:
            log.debug("line %d of %s is put off", raw.number, batch.id)
        finally:
            in_hand.leave(raw)

    try:
        async with asyncio.TaskGroup() as lines:
            async for raw in lines_of(ctx, batch, segment):
                if raw.number not in writer.done:
                    await in_hand.enter(raw)
                    if asker.lets_go.is_set():
                        in_hand.leave(raw)
                        break
                    lines.create_task(answer(raw))
    except BaseExceptionGroup as several:
        raise _first(several) from several
    finally:
        await writer.finish()
    if asker.lets_go.is_set() and len(writer.done) < segment.count:
        await _put_off(ctx, segment, asker.failures, throttle.failing_for())
        return False
    return True


async def _entered(ctx: Context, segment: BatchSegment) -> BatchSegment:
    """Note that somebody works on a segment, and tell the operator where another one had, who was killed."""

    def edit(segment: BatchSegment) -> None:
        segment.entered += 1

    change = Change(BatchSegment, segment.id, edit)
    segment = (await ctx.store.write(change))[change]
    if segment.entered > 1:
        left = segment.count - len(segment.done)
        log.info(
            "the segment %s is taken up again: %d of its %d lines are answered, and at most %d are asked again",
            *(segment.id, len(segment.done), segment.count, min(left, ctx.ports.gate.throttles.most)),
        )
    return segment


async def _backend(ctx: Context, batch: Batch, endpoint: LineEndpoint) -> Any:
    """What answers for the batch's model; None where nothing does any more, as each line will be told."""
    try:
        return (await ctx.served(batch.model or endpoint.default_model, endpoint.capability)).backend
    except ApiError:
        return None


async def _put_off(ctx: Context, segment: BatchSegment, failures: dict[int, int], failing_for: float) -> None:
    """Have the segment be looked at again after a while, and let others have its place."""

    def note(segment: BatchSegment) -> None:
        segment.failures, segment.entered = failures, 0

    pause = random.uniform(0.5, 1.0) * min(max(failing_for / 2, SHORTEST_PUT_OFF), LONGEST_PUT_OFF)
    await ctx.store.write(Change(BatchSegment, segment.id, note), Start(LINES_JOB, segment.id, "batch", after=pause))


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of what went wrong, what counts: that nothing more is wanted, or what is away. The input file is so where its
    bytes are not there: a batch keeps whoever deletes it from taking them, and what they stand on may come back.
    """
    found = [Unavailable("its files", one) if isinstance(one, FileNotFoundError) else one for one in several.exceptions]
    for kind in (SegmentClosed, Unavailable):
        for one in found:
            if isinstance(one, kind):
                return one
    return found[0]


class _InHand:
    """Bounds the lines that are held in memory."""

    def __init__(self) -> None:
        self._count = 0
        self._bytes = 0
        self._changed = asyncio.Event()

    async def enter(self, raw: RawLine) -> None:
        size = raw.end - raw.offset
        while self._count >= LINES_IN_HAND or (self._count and self._bytes + size > BYTES_IN_HAND):
            self._changed.clear()
            await self._changed.wait()
        self._count += 1
        self._bytes += size

    def leave(self, raw: RawLine) -> None:
        self._count -= 1
        self._bytes -= raw.end - raw.offset
        self._changed.set()


async def lines_of(ctx: Context, batch: Batch, segment: BatchSegment) -> AsyncIterator[RawLine]:
    """The lines of a segment, from the input file. Errors: ``FileNotFoundError``."""
    splitter = LineSplitter(ctx.ports.limits.body_bytes, number=segment.first, offset=segment.offset)
    async for block in ctx.ports.blobs.read(batch.input_file_id, offset=segment.offset, length=segment.length):
        for raw in splitter.feed(block):
            yield raw
    for raw in splitter.finish():
        yield raw


def line_of(raw: RawLine) -> BatchLine:
    """What a line asks. One that can be read no more, though it once was, asks nothing, which it is told."""
    try:
        return _line.decode(raw.data or b"")
    except NO_JSON:
        return BatchLine(custom_id="", method="POST", url="", body=Raw(b""))


async def _go_on(ctx: Context, batch_id: str, plan: BatchWork, segment: BatchSegment) -> None:
    """Start what comes behind a segment that is answered. It may be started twice, which does no harm."""
    number = int(segment.id.rpartition(".")[2]) + SIDE_BY_SIDE
    starts: list[Operation] = []
    if number < plan.segments:
        starts.append(Start(LINES_JOB, segment_id(batch_id, number), "batch"))
    with suppress(Missing):
        counts = (await ctx.store.get(Batch, batch_id)).request_counts
        if counts.completed + counts.failed >= counts.total:
            starts.append(Start(BATCH_JOB, batch_id, LANE))
    if starts:
        await ctx.store.write(*starts)
