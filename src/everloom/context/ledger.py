"""From the record of a request to its row in the ledger; and rows of requests that nothing else is kept of."""

import asyncio
import logging
from collections.abc import Sequence

from prometheus_client import Counter

from everloom.context.admission import Ticket
from everloom.context.metering import UsageRecord
from everloom.kit.backoff import Backoff
from everloom.kit.errors import Unavailable
from everloom.kit.log import outage
from everloom.models.usage import MOST_BELIEVED
from everloom.objects.ledger import LedgerRow
from everloom.objects.tools import EstimatedUsage, Usage
from everloom.store.registers import Ledger

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.03
"""How long a row waits for others to be written with, at most; 50 ms after its request's end it stands in the table."""

ROWS_AT_ONCE = 1000
MOST_WAITING = 200_000
"""Rows that wait while the database is away, some 100 MB; what comes then is lost, and counted as such."""

_LONGEST_NAME = 256
_LOST = Counter("everloom_ledger_lost", "Rows of the ledger that found no room while the database was away")


def row_of(record: UsageRecord) -> LedgerRow | None:
    """What a request has used; None for one that was refused, or failed before there was anything of an answer."""
    used = record.usage or record.characters or record.images or record.audio_seconds
    if record.outcome == "refused" or (record.outcome == "failed" and not used):
        return None
    usage, details, caller = record.usage or Usage(), record.details, record.caller
    return LedgerRow(
        at=record.ended_at,
        id=record.entry_id,
        project=caller.project,
        kind=record.capability,
        key_id=caller.key_id,
        user_id=caller.user,
        model=record.model[:_LONGEST_NAME],
        batch=caller.batch,
        estimated=isinstance(record.usage, EstimatedUsage) or (record.outcome == "closed" and not used),
        size=record.size[:_LONGEST_NAME],
        source=record.source,
        input_tokens=_believed(usage.prompt_tokens),
        output_tokens=_believed(usage.completion_tokens),
        cached_tokens=0 if details is None else details.cached,
        input_audio_tokens=0 if details is None else details.heard,
        output_audio_tokens=0 if details is None else details.spoken,
        images=record.images or 0,
        characters=record.characters or 0,
        milliseconds=round((record.audio_seconds or 0) * 1000),
    )


def settled(record: UsageRecord) -> LedgerRow | None:
    """As ``row_of``, and what was reserved for it is settled by it."""
    row = row_of(record)
    if record.ticket is not None:
        record.ticket.settle(row)
    return row


def rows_of(records: Sequence[UsageRecord]) -> tuple[LedgerRow, ...]:
    """The rows of those that have used anything, to be entered now; what was reserved for them is settled."""
    return tuple(row for record in records if (row := settled(record)) is not None)


def entered(records: Sequence[UsageRecord]) -> None:
    """The rows of these stand in the ledger: nothing needs to be reserved for them any more."""
    for record in records:
        if record.ticket is not None:
            record.ticket.release()


def _believed(number: int) -> int:
    return min(max(number, 0), MOST_BELIEVED)


class LedgerBuffer:
    """Writes rows soon, many at once, in the order they come. While the database is away they wait for it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[LedgerRow] = []
        self._tickets: list[Ticket | None] = []
        """Of the rows, in the same order."""
        self._writing: asyncio.Task[None] | None = None

    def take(self, record: UsageRecord) -> None:
        """Enter what a request has used, soon. Never raises, and never waits."""
        if (row := settled(record)) is None:
            entered((record,))
            return
        if len(self._waiting) >= MOST_WAITING:
            _LOST.inc()
            entered((record,))
            return
        self._waiting.append(row)
        self._tickets.append(record.ticket)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def close(self, grace: float) -> None:
        """Write what waits; what cannot be written in ``grace`` seconds is lost."""
        if self._writing is None:
            return
        done, _ = await asyncio.wait({self._writing}, timeout=grace)
        if not done:
            log.error("the ledger has lost %d rows: the database is away", len(self._waiting))
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)  # Before each write: one that follows at once would have few rows.
            rows = self._waiting[:ROWS_AT_ONCE]
            await self._append(rows)
            for ticket in self._tickets[: len(rows)]:
                if ticket is not None:
                    ticket.release()
            del self._waiting[: len(rows)], self._tickets[: len(rows)]

    async def _append(self, rows: Sequence[LedgerRow]) -> None:
        """Once, or again until the database is back: a row that stands already is not entered twice."""
        backoff = Backoff()
        while True:
            try:
                return await self._ledger.append(rows)
            except Unavailable as away:
                outage("the ledger", away)
                await asyncio.sleep(backoff.pause())
            except Exception:
                log.exception("the ledger has lost %d rows", len(rows))
                _LOST.inc(len(rows))
                return None
