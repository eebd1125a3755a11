"""The ports of what has tables of its own, for all projects: what was used, and what was done to the organization."""

from collections.abc import Sequence
from typing import Protocol

from everloom.objects.audit import ROW_BYTES, AuditHead, AuditPage, AuditQuery, AuditRow, Checkpoint
from everloom.objects.ledger import LedgerQuery, LedgerRow, LedgerSum


class Ledger(Protocol):
    """What all projects have used: rows with columns of their own, and their sums by hour and day."""

    async def append(self, rows: Sequence[LedgerRow]) -> None:
        """Keep many rows in one write. Durable when it returns; those that stand already are left as they are."""
        ...

    async def total(self, query: LedgerQuery) -> list[LedgerSum]:
        """The sums of the groups that have any, in the order of their buckets: exact, whatever has been rolled up."""
        ...

    async def roll(self, before: int) -> int:
        """Add the oldest rows of before a second, some of one hour, to the sums; how many, 0 when there are no more."""
        ...


class AuditLog(Protocol):
    """The chain of audit events, which is only ever appended to (``Audit`` in a write), and what is known about it."""

    async def find(self, query: AuditQuery) -> AuditPage:
        """A page of events, the newest first, cut where it has ``PAGE_BYTES``. Errors: ``BadRequest`` for a cursor that
        is no event's id.
        """
        ...

    async def rows(self, after: int, limit: int, size: int = ROW_BYTES) -> list[AuditRow]:
        """The rows behind a seq, in order, as they stand there: what is of another type than it was written is None.

        Of ``limit`` rows as many as have ``size`` bytes together; one at least, where there is one.
        """
        ...

    async def count(self, until: int) -> int:
        """How many rows there are up to a seq, be they part of the chain or not."""
        ...

    async def index_faults(self) -> list[str]:
        """What is wrong with the indexes by which pages are found, in the database's own words."""
        ...

    async def head(self) -> AuditHead:
        """The chain's newest row, as the chain says it."""
        ...

    async def checkpoints(self, after: int = 0) -> list[Checkpoint]:
        """Those that were kept for rows behind a seq, in order."""
        ...

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> bool:
        """Keep a checkpoint; False where one by the same key, for this row or a later one, stands already."""
        ...

    async def is_behind(self, sink: str) -> bool:
        """Whether there are events that a sink has not been sent."""
        ...

    async def claim(self, sink: str, holder: str, seconds: int) -> int | None:
        """Be the one that sends to a sink, for so many seconds from now: behind which seq to go on.

        None while another holder is. The holder claims again before the time is over.
        """
        ...

    async def delivered(self, sink: str, holder: str, seq: int) -> bool:
        """Keep that a sink has all events up to a seq. False for who does not hold it any more: nothing is kept."""
        ...

    async def release(self, sink: str, holder: str) -> None:
        """Let others send to a sink."""
        ...
