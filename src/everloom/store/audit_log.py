"""The ``AuditLog`` of a database, over the two ways in which that runs procedures."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from everloom.objects.audit import ROW_BYTES, AuditHead, AuditPage, AuditQuery, AuditRow, Checkpoint
from everloom.store import audit, audit_pages
from everloom.store.sql import Dialect, Procedure

R = TypeVar("R")


class Runs(Protocol):
    """Runs what a function makes: as a read, or in a transaction; again if need be."""

    async def read(self, procedure: Callable[[], Procedure[R]]) -> R: ...

    async def write(self, procedure: Callable[[], Procedure[R]]) -> R: ...


class StoredAuditLog:
    """See ``AuditLog``."""

    def __init__(self, dialect: Dialect, runs: Runs) -> None:
        self._dialect: Dialect = dialect
        self._runs = runs

    async def find(self, query: AuditQuery) -> AuditPage:
        """See ``AuditLog.find``."""
        return await self._runs.read(partial(audit_pages.find, self._dialect, query))

    async def rows(self, after: int, limit: int, size: int = ROW_BYTES) -> list[AuditRow]:
        """See ``AuditLog.rows``."""
        return await self._runs.read(partial(audit.rows, self._dialect, after, limit, size))

    async def count(self, until: int) -> int:
        """See ``AuditLog.count``."""
        return await self._runs.read(partial(audit.count, self._dialect, until))

    async def index_faults(self) -> list[str]:
        """See ``AuditLog.index_faults``."""
        return await self._runs.read(partial(audit.index_faults, self._dialect))

    async def head(self) -> AuditHead:
        """See ``AuditLog.head``."""
        return await self._runs.read(partial(audit.head, self._dialect))

    async def checkpoints(self, after: int = 0) -> list[Checkpoint]:
        """See ``AuditLog.checkpoints``."""
        return await self._runs.read(partial(audit.checkpoints, self._dialect, after))

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> bool:
        """See ``AuditLog.keep_checkpoint``."""
        return await self._runs.write(partial(audit.keep_checkpoint, self._dialect, checkpoint))

    async def is_behind(self, sink: str) -> bool:
        """See ``AuditLog.is_behind``."""
        return await self._runs.read(partial(audit.is_behind, self._dialect, sink))

    async def claim(self, sink: str, holder: str, seconds: int) -> int | None:
        """See ``AuditLog.claim``."""
        return await self._runs.write(partial(audit.claim, self._dialect, sink, holder, seconds))

    async def delivered(self, sink: str, holder: str, seq: int) -> bool:
        """See ``AuditLog.delivered``."""
        return await self._runs.write(partial(audit.delivered, self._dialect, sink, holder, seq))

    async def release(self, sink: str, holder: str) -> None:
        """See ``AuditLog.release``."""
        await self._runs.write(partial(audit.release, self._dialect, sink, holder))
