"""What came of lines, kept as it comes: many in a write, each once, with what it has used."""

import asyncio
from collections.abc import Sequence

from msgspec import Raw

from everloom.context import Context
from everloom.context.ledger import entered, rows_of
from everloom.kit.backoff import Backoff
from everloom.kit.clock import now
from everloom.kit.errors import Unavailable
from everloom.kit.log import outage
from everloom.objects.base import encode
from everloom.objects.batches import Batch, BatchAnswer, BatchSegment, BatchUsage, answer_id
from everloom.store.base import Add, Change, Enter, Missing
from everloom.work.batches.asking import LineAnswer

GATHER_SECONDS = 0.02
AT_ONCE = 64
BYTES_AT_ONCE = 8 * 1024 * 1024
"""Answers that are written together, but for one that is longer alone."""


class SegmentClosed(Exception):
    """Nothing more is kept of a segment: its batch was cancelled, or its time is over."""


class _Twice(Exception):
    """Some lines were answered by another executor, too."""


class AnswerWriter:
    """Keeps the answers of one segment. ``done`` are the numbers of those that stand, ``batch`` is as it was last
    written.
    """

    def __init__(self, ctx: Context, batch: Batch, segment: BatchSegment) -> None:
        self.batch = batch
        self.done = set(segment.done)
        self._ctx = ctx
        self._segment_id = segment.id
        self._waiting: list[tuple[LineAnswer, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, answered: LineAnswer) -> None:
        """Return once it stands in the database, however long that is away. Errors: ``SegmentClosed``."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((answered, kept))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await kept

    async def finish(self) -> None:
        """Keep what waits; for whoever does not wait for ``keep`` any more."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            some = self._take_some()
            try:
                await self._keep([answered for answered, _ in some])
            except BaseException as problem:
                for _, kept in some:
                    if not kept.done():
                        kept.set_exception(problem)
                        kept.exception()  # Who was cancelled does not ask.
                if not isinstance(problem, Exception):
                    raise
                continue
            for _, kept in some:
                if not kept.done():
                    kept.set_result(None)

    def _take_some(self) -> list[tuple[LineAnswer, asyncio.Future[None]]]:
        count = size = 0
        for answered, _ in self._waiting[:AT_ONCE]:
            size += answered.size
            if count and size > BYTES_AT_ONCE:
                break
            count += 1
        some = self._waiting[:count]
        del self._waiting[:count]
        return some

    async def _keep(self, some: Sequence[LineAnswer]) -> None:
        backoff = Backoff()
        records = [record for answered in some for record in answered.records]
        enter, closed = Enter(rows_of(records)), False
        while True:
            fresh = [answered for answered in some if answered.number not in self.done]
            try:
                if closed:
                    await self._ctx.store.write(enter)
                else:
                    await self._write_once(fresh, enter)
                break
            except _Twice:
                continue  # What it has cost is entered all the same.
            except (SegmentClosed, Missing):
                closed = True
            except Unavailable as away:
                outage("answers of batches", away)
                await asyncio.sleep(backoff.pause())
        entered(records)
        if closed:
            raise SegmentClosed

    async def _write_once(self, some: Sequence[LineAnswer], enter: Enter) -> None:
        numbers = {answered.number for answered in some}
        answers = [self._answer(answered) for answered in some]

        def note(segment: BatchSegment) -> None:
            if segment.closed:
                raise SegmentClosed
            if twice := numbers.intersection(segment.done):
                self.done |= twice
                raise _Twice
            segment.done = sorted({*segment.done, *numbers})

        def count(batch: Batch) -> None:
            failed = sum(answered.failed for answered in some)
            batch.request_counts.failed += failed
            batch.request_counts.completed += len(some) - failed
            batch.usage = _added(batch.usage or BatchUsage(), some)

        change, segment = Change(Batch, self.batch.id, count), Change(BatchSegment, self._segment_id, note)
        written = await self._ctx.store.write(segment, change, *answers, enter)
        self.batch, self.done = written[change], set(written[segment].done)

    def _answer(self, answered: LineAnswer) -> Add[BatchAnswer]:
        answer = BatchAnswer(
            id=answer_id(self.batch.id, answered.number),
            created_at=now(),
            batch_id=self.batch.id,
            failed=answered.failed,
            output=Raw(encode(answered.output)),
        )
        return Add(answer, rank=answered.number)


def _added(usage: BatchUsage, some: Sequence[LineAnswer]) -> BatchUsage:
    for record in (record for answered in some for record in answered.records):
        if record.usage is not None:
            usage.input_tokens += record.usage.prompt_tokens
            usage.output_tokens += record.usage.completion_tokens
            usage.total_tokens += record.usage.prompt_tokens + record.usage.completion_tokens
        if record.details is not None:
            usage.input_tokens_details.cached_tokens += record.details.cached
            usage.output_tokens_details.reasoning_tokens += record.details.thought
    return usage
