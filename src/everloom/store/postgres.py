"""The store in a PostgreSQL database, for several processes at once.

A write is one READ COMMITTED transaction: ``Change`` locks its row, and whoever tells takes the log's
lock first, so events are numbered in the order in which they can be seen. Where PostgreSQL ends a
transaction because others were in its way, it is begun again, so edits may be called more than once.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it ships no annotations

from everloom.kit.errors import Unavailable
from everloom.kit.outages import is_away
from everloom.kit.pools import ACQUIRE_SECONDS, close_pool
from everloom.objects.base import Object, Page, PageQuery
from everloom.objects.jobs import Backlog, Job, Lane
from everloom.objects.ledger import LedgerQuery, LedgerRow, LedgerSum
from everloom.store import ledger, migrations, outbox, packing, pages, procedures, sql
from everloom.store.audit_log import StoredAuditLog
from everloom.store.base import Event, Operation, Written, started
from everloom.store.postings import POSTED, post_all
from everloom.store.sql import Procedure, Statement

T = TypeVar("T", bound=Object)
R = TypeVar("R")

_TRIES = 8
_PAUSES = (0.0, 0.01, 0.1)
"""Seconds before a read is tried again: at once, and then more patiently."""

_PATIENCE = 30.0
"""Seconds for one statement, all of which take milliseconds. A server that is cut off says nothing, and without this
nobody would ever know.
"""
_MIGRATION_PATIENCE = 3600.0

_MIGRATION_LOCK = 0x65766572_6C6F6F6D
"""``everloom`` in ASCII: the advisory lock under which one process brings the schema up to date."""

_SESSION = {"application_name": "everloom", "jit": "off"}

_IN_THE_WAY = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)
"""The server went away, or closed a connection that was waiting in the pool (which asyncpg may notice too late)."""


class PostgresDatabase:
    """A ``Database`` at ``url`` (``postgresql://user:password@host:port/name``), over ``connections`` at most.

    ``read_only`` touches nothing.
    """

    def __init__(self, url: str, *, connections: int = 16, read_only: bool = False) -> None:
        self._url = url
        self._read_only = read_only
        self._connections = connections
        self._pool: Any = None
        self.on_start: Callable[[Sequence[Job]], None] = lambda jobs: None
        self.ledger = PostgresLedger(self)
        self.audit = StoredAuditLog("postgresql", self)

    async def open(self) -> None:
        """Connect and migrate. ``migrations.TooNew`` if a later program made the schema."""
        pool = await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._connections,
            statement_cache_size=512,
            command_timeout=_PATIENCE,
            reset=_reset,
            server_settings=_SESSION | ({"default_transaction_read_only": "on"} if self._read_only else {}),
        )
        try:
            async with pool.acquire() as connection:
                if self._read_only:
                    migrations.check(await _revision(connection))
                else:
                    await _migrate(connection)
        except BaseException:
            await pool.close()
            raise
        self._pool = pool

    async def close(self) -> None:
        """Finish what is in hand and disconnect."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await close_pool(pool)

    def store(self, project: str) -> "PostgresStore":
        """One project's view; costs nothing."""
        return PostgresStore(self, project)

    async def across(self, cls: type[T], limit: int = 1000, **where: Any) -> list[tuple[str, T]]:
        """See ``Database.across``."""
        return await self.read(lambda: procedures.across("postgresql", cls, limit, where))

    async def walk(self, cls: type[T], **where: Any) -> AsyncIterator[tuple[str, T]]:
        """See ``Database.walk``."""
        place: tuple[Any, ...] | None = ()
        while place is not None:
            found, place = await self.read(partial(procedures.piece, "postgresql", cls, place, where))
            for each in found:
                yield each

    async def tally(self, cls: type[Any], name: str, **where: Any) -> dict[str, int]:
        """See ``Database.tally``."""
        return await self.read(lambda: procedures.tally("postgresql", cls, name, where))

    async def touch(self) -> None:
        """See ``Database.touch``."""
        await self.write(outbox.touch)

    async def waiting(self, lane: Lane, limit: int) -> list[Job]:
        """See ``Database.waiting``."""
        return await self.read(lambda: outbox.waiting("postgresql", lane, limit))

    async def backlog(self) -> dict[Lane, Backlog]:
        """See ``Database.backlog``."""
        return await self.read(lambda: outbox.backlog("postgresql"))

    async def done(self, ids: Sequence[str]) -> None:
        """See ``Database.done``."""
        # One statement, which may be made again: it needs no transaction, whose two ends would be trips of their own.
        await self.read(lambda: outbox.done("postgresql", ids))

    async def read(self, procedure: Callable[[], Procedure[R]]) -> R:
        """Run what ``procedure`` makes; again, a few times, if the connection turns out to be dead."""
        try:
            for pause in _PAUSES:
                try:
                    return await self._read(procedure())
                except _LOST:
                    await asyncio.sleep(pause)
            return await self._read(procedure())
        except Exception as error:
            _raise_outage(error)
            raise

    async def write(self, procedure: Callable[[], Procedure[R]]) -> R:
        """Run what ``procedure`` makes in a transaction; again if others were in its way or it could not begin.

        Errors: ``Unavailable`` also where the connection was lost in the commit, which may have come about: nobody
        knows, so whoever wrote looks into the store before it goes on.
        """
        try:
            return await self._write(procedure)
        except Exception as error:
            _raise_outage(error)
            raise

    async def _write(self, procedure: Callable[[], Procedure[R]]) -> R:
        for last in (False,) * (_TRIES - 1) + (True,):
            transaction = None
            try:
                async with self._connection() as connection:
                    transaction = _Transaction(connection)
                    return await transaction.run(procedure())
            except _IN_THE_WAY:
                if last:
                    raise
            except _LOST:
                if last or (transaction is not None and transaction.begun):  # it may have been committed
                    raise
            await asyncio.sleep(random.uniform(0.001, 0.05))
        raise AssertionError("unreachable: the last try returns or raises")

    async def _read(self, procedure: Procedure[R]) -> R:
        async with self._connection() as connection:
            return await _run(connection, procedure)

    def _connection(self) -> Any:
        if self._pool is None:
            raise RuntimeError("the database is not open")
        return self._pool.acquire(timeout=ACQUIRE_SECONDS)


class PostgresStore:
    """A ``Store``: one project's objects in a ``PostgresDatabase``."""

    __slots__ = ("_database", "project")

    def __init__(self, database: PostgresDatabase, project: str) -> None:
        self._database = database
        self.project = project

    async def get(self, cls: type[T], id: str, **where: Any) -> T:
        """See ``Store.get``."""
        return await self._database.read(lambda: procedures.get("postgresql", self.project, cls, id, where))

    async def find(
        self, cls: type[T], page: PageQuery, *, metadata: dict[str, str] | None = None, **where: Any
    ) -> Page[T]:
        """See ``Store.find``."""
        return await self._database.read(lambda: pages.find("postgresql", self.project, cls, page, metadata, where))

    async def all(self, cls: type[T], **where: Any) -> list[T]:
        """See ``Store.all``."""
        return await self._database.read(lambda: procedures.everything("postgresql", self.project, cls, where))

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        """See ``Store.write``. Edits may be called more than once, each time on a fresh object."""
        written = await self._database.write(lambda: procedures.write("postgresql", self.project, operations, log))
        if written.starts and (jobs := started(self.project, written)):
            self._database.on_start(jobs)
        return written

    async def events(self, log: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """See ``Store.events``."""
        return await self._database.read(lambda: packing.events("postgresql", self.project, log, after, limit))

    async def last_seq(self, log: str) -> int:
        """See ``Store.last_seq``."""
        return await self._database.read(lambda: packing.last_seq("postgresql", self.project, log))


class PostgresLedger:
    """The ``Ledger`` in a ``PostgresDatabase``."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def append(self, rows: Sequence[LedgerRow]) -> None:
        """See ``Ledger.append``."""
        await self._database.write(lambda: ledger.append("postgresql", rows))

    async def total(self, query: LedgerQuery) -> list[LedgerSum]:
        """See ``Ledger.total``."""
        return await self._database.read(lambda: ledger.total("postgresql", query))

    async def roll(self, before: int) -> int:
        """See ``Ledger.roll``."""
        return await self._database.write(lambda: ledger.roll("postgresql", before))


def _raise_outage(error: Exception) -> None:
    """Raise ``Unavailable`` in place of an error that means so: those of asyncpg itself are of lost connections."""
    if is_away(error) or isinstance(error, _LOST):
        raise Unavailable("its database", error) from error


class _Transaction:
    """A procedure in a transaction of its own."""

    __slots__ = ("_connection", "begun")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.begun = False

    async def run(self, procedure: Procedure[R]) -> R:
        """Commit what it does, or roll back and raise what it raises."""
        try:
            statement = next(procedure)
        except StopIteration as end:
            nothing: R = end.value
            return nothing
        locks = statement.text is sql.LOCK_LOG
        begin = sql.begin_with_lock(_storable(statement.parameters[0])) if locks else "BEGIN"
        try:
            await self._connection.execute(begin)
            self.begun = True
            result = await _go_on(self._connection, procedure, [] if locks else statement)
            await self._connection.execute("COMMIT")
        except BaseException:
            # Whether it has begun is not known where that was cancelled. A lost connection is the pool's to end.
            with contextlib.suppress(*_LOST):
                await self._connection.execute("ROLLBACK")
            raise
        return result


async def _run(connection: Any, procedure: Procedure[R]) -> R:
    return await _go_on(connection, procedure, None)


async def _go_on(connection: Any, procedure: Procedure[R], sent: Any) -> R:
    """Run a procedure to its end, which waits for ``sent``; or the statement that it has given already."""
    try:
        statement = sent if isinstance(sent, Statement) else procedure.send(sent)
        while True:
            parameters = [_storable(value) for value in statement.parameters]
            if statement.counts:
                status = await connection.execute(statement.text, *parameters)
                statement = procedure.send(int(status.rpartition(" ")[2]))
            else:
                statement = procedure.send(await connection.fetch(statement.text, *parameters))
    except StopIteration as end:
        result: R = end.value
        return result


def _storable(value: Any) -> Any:
    """PostgreSQL's text holds no NUL; it is written and sought as U+FFFD (bodies keep theirs, escaped)."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    return [_storable(one) for one in value] if isinstance(value, list) else value


async def _reset(connection: Any) -> None:
    """What a connection needs between two users: nothing, unless the last one was cut off in a transaction."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def _migrate(connection: Any) -> None:
    if await _revision(connection) == migrations.NEWEST:
        return
    # The lock is taken before the transaction, which sees at its start what the last holder has made.
    await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK, timeout=_MIGRATION_PATIENCE)
    try:
        async with connection.transaction():
            revision = await _revision(connection)
            if revision != migrations.NEWEST:
                for statement in await asyncio.to_thread(migrations.statements, "postgresql", revision):
                    await connection.execute(statement, timeout=_MIGRATION_PATIENCE)
                if migrations.is_to_be_posted(revision):
                    await _run(connection, post_all("postgresql", POSTED))
                    await connection.execute("ANALYZE postings", timeout=_MIGRATION_PATIENCE)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _MIGRATION_LOCK)


async def _revision(connection: Any) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval(migrations.READ)
    return revision
