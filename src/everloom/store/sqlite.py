"""The store in one SQLite file.

Writes go through one thread that puts all that wait into one commit, as if each were alone in it: a
commit to disk is dear, and a connection per writer would spend its time on 'database is locked'.
Reads by key, and the few objects of a run or a thread, take tens of microseconds, less than a change of
threads, so they run where they are asked; what turns out to be more, and what has no bound, runs in
threads. WAL keeps readers and the writer out of each other's way, and lets another process
(``everloom keys create``) work on the same file.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from everloom.kit.errors import Unavailable
from everloom.kit.outages import is_away, outages
from everloom.objects.base import Object, Page, PageQuery
from everloom.objects.jobs import Backlog, Job, Lane
from everloom.objects.ledger import LedgerQuery, LedgerRow, LedgerSum
from everloom.store import ledger, migrations, outbox, packing, pages, procedures
from everloom.store.audit_log import StoredAuditLog
from everloom.store.base import Event, Operation, Written, started
from everloom.store.few import few, is_bounded
from everloom.store.sql import Procedure
from everloom.store.sqlite_file import BUSY_SECONDS, mode, use_wal
from everloom.store.sqlite_schema import migrate, revision_of, roll_back

T = TypeVar("T", bound=Object)
R = TypeVar("R")

_GROUP = 256
"""Writes put into one commit at most, so that the first does not wait for ever for its answer."""

_WAL_PAGES = 4000
"""Of 4 KiB, in the log before they are copied into the file: nearly all are of few places that are written again and
again, and the fewer copies, the fewer times one waits for the disk."""

_SLOW_READERS = 2

_SHORT_PAGE = 100  # of objects; files come by 10,000

_WHAT = "its database"


class _Write(NamedTuple):
    make: Callable[[], Procedure[Any]]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    then: Callable[[Any], None] | None
    """Called with the result on the loop behind the commit, whether or not the caller has stayed."""


class _Outcome(NamedTuple):
    write: _Write
    result: Any
    error: BaseException | None


class SqliteDatabase:
    """A ``Database`` in the file ``path``, made with its folder where it is not there.

    With ``synchronous="FULL"`` what was acknowledged survives a power cut; with ``"NORMAL"`` it
    survives the end of the process, and commits cost a hundredth. ``read_only`` touches nothing.
    """

    def __init__(self, path: Path, *, synchronous: Literal["FULL", "NORMAL"] = "FULL", read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._synchronous = synchronous
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self.on_start: Callable[[Sequence[Job]], None] = lambda jobs: None
        self.ledger = SqliteLedger(self)
        self.audit = StoredAuditLog("sqlite", _Runs(self))

    async def open(self) -> None:
        """Make or migrate the file and start the writer. ``migrations.TooNew`` if a later program made it."""
        try:
            writing = await asyncio.to_thread(self._look if self._read_only else self._open)
            self._reader = self._connect(query_only=True)
        except BaseException:
            self._close_all()
            raise
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(_SLOW_READERS, "everloom-read")
        self._writer = threading.Thread(target=self._write_all, args=(writing,), name="everloom-write", daemon=True)
        self._writer.start()

    async def close(self) -> None:
        """Finish the writes and reads in hand and let go of the file."""
        writer, threads = self._writer, self._threads
        self._writer = self._threads = None
        if writer is None or threads is None:
            return
        self._waiting.put(None)
        await asyncio.to_thread(writer.join)
        await asyncio.to_thread(threads.shutdown)
        self._close_all()

    def store(self, project: str) -> "SqliteStore":
        """One project's view; costs nothing."""
        return SqliteStore(self, project)

    async def across(self, cls: type[T], limit: int = 1000, **where: Any) -> list[tuple[str, T]]:
        """See ``Database.across``."""
        return await self.aside(procedures.across("sqlite", cls, limit, where))

    async def walk(self, cls: type[T], **where: Any) -> AsyncIterator[tuple[str, T]]:
        """See ``Database.walk``."""
        place: tuple[Any, ...] | None = ()
        while place is not None:
            found, place = await self.aside(procedures.piece("sqlite", cls, place, where))
            for each in found:
                yield each

    async def tally(self, cls: type[Any], name: str, **where: Any) -> dict[str, int]:
        """See ``Database.tally``."""
        return await self.aside(procedures.tally("sqlite", cls, name, where))

    async def touch(self) -> None:
        """See ``Database.touch``."""
        await self.write(outbox.touch)

    async def waiting(self, lane: Lane, limit: int) -> list[Job]:
        """See ``Database.waiting``."""
        return await self.aside(outbox.waiting("sqlite", lane, limit))

    async def backlog(self) -> dict[Lane, Backlog]:
        """See ``Database.backlog``."""
        return await self.aside(outbox.backlog("sqlite"))

    async def done(self, ids: Sequence[str]) -> None:
        """See ``Database.done``."""
        await self.write(lambda: outbox.done("sqlite", ids))

    def here(self, procedure: Procedure[R]) -> R:
        """Run a short read in this thread."""
        if self._reader is None:
            raise RuntimeError("the database is not open")
        return _run(self._reader, procedure)

    async def aside(self, procedure: Procedure[R]) -> R:
        """Run a read of any length in a thread of its own."""
        if self._threads is None:
            raise RuntimeError("the database is not open")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run_aside, procedure)

    async def write(self, make: Callable[[], Procedure[R]], then: Callable[[R], None] | None = None) -> R:
        """Run what ``make`` makes in the writer's thread, in a transaction; again if others' failures were in its way.

        Durable when it returns, or when ``then`` is called.
        """
        if self._writer is None:
            raise RuntimeError("the database is not open")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.put(_Write(make, future, loop, then))
        return await future

    def _connect(self, *, query_only: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?{mode(self._path) if self._read_only else 'mode=rwc'}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions begin and end where this file says so
            check_same_thread=False,
            cached_statements=512,
        )
        self._opened.append(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA cache_size = -16000")
        if query_only:
            connection.execute("PRAGMA query_only = ON")
        return connection

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect(query_only=False)
        use_wal(connection)
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        migrate(connection, _run)
        return connection

    def _look(self) -> sqlite3.Connection:
        connection = self._connect(query_only=True)
        migrations.check(revision_of(connection))
        return connection

    def _close_all(self) -> None:
        self._reader = None
        while self._opened:
            self._opened.pop().close()

    def _run_aside(self, procedure: Procedure[R]) -> R:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            with outages(_WHAT):
                connection = self._local.connection = self._connect(query_only=True)
        return _run(connection, procedure)

    def _write_all(self, connection: sqlite3.Connection) -> None:
        """The writer's thread: until it is told to end, commit what waits."""
        ending = False
        while not ending:
            group: list[_Write] = []
            write = self._waiting.get()
            while write is not None:
                group.append(write)
                if len(group) == _GROUP or self._waiting.empty():
                    break
                write = self._waiting.get()
            ending = write is None
            if group:
                _answer(_commit(connection, group))


class SqliteStore:
    """A ``Store``: one project's objects in a ``SqliteDatabase``."""

    __slots__ = ("_database", "project")

    def __init__(self, database: SqliteDatabase, project: str) -> None:
        self._database = database
        self.project = project

    async def get(self, cls: type[T], id: str, **where: Any) -> T:
        """See ``Store.get``."""
        return self._database.here(procedures.get("sqlite", self.project, cls, id, where))

    async def find(
        self, cls: type[T], page: PageQuery, *, metadata: dict[str, str] | None = None, **where: Any
    ) -> Page[T]:
        """See ``Store.find``."""
        procedure = pages.find("sqlite", self.project, cls, page, metadata, where)
        # Where several conditions are to fit it is looked for what fits all of them.
        short = page.limit <= _SHORT_PAGE and (metadata is None or len(metadata) + len(where) <= 1)
        return self._database.here(procedure) if short else await self._database.aside(procedure)

    async def all(self, cls: type[T], **where: Any) -> list[T]:
        """See ``Store.all``."""
        found = self._database.here(few(self.project, cls, where)) if is_bounded(where) else None
        if found is None:
            return await self._database.aside(procedures.everything("sqlite", self.project, cls, where))
        return found

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        """See ``Store.write``. Edits and errors are called in the writer's thread, and maybe more than once, each time
        on a fresh object."""
        return await self._database.write(
            lambda: procedures.write("sqlite", self.project, operations, log), self._notice
        )

    def _notice(self, written: Written) -> None:
        if written.starts and (jobs := started(self.project, written)):
            self._database.on_start(jobs)

    async def events(self, log: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """See ``Store.events``."""
        return self._database.here(packing.events("sqlite", self.project, log, after, limit))

    async def last_seq(self, log: str) -> int:
        """See ``Store.last_seq``."""
        return self._database.here(packing.last_seq("sqlite", self.project, log))


class SqliteLedger:
    """The ``Ledger`` in a ``SqliteDatabase``."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def append(self, rows: Sequence[LedgerRow]) -> None:
        """See ``Ledger.append``."""
        await self._database.write(lambda: ledger.append("sqlite", rows))

    async def total(self, query: LedgerQuery) -> list[LedgerSum]:
        """See ``Ledger.total``."""
        return await self._database.aside(ledger.total("sqlite", query))

    async def roll(self, before: int) -> int:
        """See ``Ledger.roll``."""
        return await self._database.write(lambda: ledger.roll("sqlite", before))


class _Runs:
    """What the audit log runs its procedures by."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def read(self, procedure: Callable[[], Procedure[R]]) -> R:
        return await self._database.aside(procedure())

    async def write(self, procedure: Callable[[], Procedure[R]]) -> R:
        return await self._database.write(procedure)


def _run(connection: sqlite3.Connection, procedure: Procedure[R]) -> R:
    execute = connection.execute
    try:
        statement = next(procedure)
        while True:
            cursor = execute(statement.text, statement.parameters)
            statement = procedure.send(cursor.rowcount if statement.counts else cursor.fetchall())
    except StopIteration as end:
        result: R = end.value
        return result
    except sqlite3.Error as error:
        if is_away(error):
            raise Unavailable(_WHAT, error) from error
        raise


def _commit(connection: sqlite3.Connection, group: list[_Write]) -> list[_Outcome]:
    """All of the group in one transaction; if that itself fails, nobody in it has written anything.

    Nearly always all of a group succeed: only where one does not is all done again, each in a savepoint that it can be
    taken back to. A savepoint costs two statements, and copies of the pages that it shares with those before it.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [_Outcome(write, _run(connection, write.make()), None) for write in group]
        except BaseException:
            if len(group) == 1:  # What fails alone takes nobody along.
                raise
            roll_back(connection)
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [_save(connection, write) for write in group]
        connection.execute("COMMIT")
    except BaseException as error:
        roll_back(connection)
        if is_away(error):
            error = Unavailable(_WHAT, error)
        return [_Outcome(write, None, error) for write in group]
    return outcomes


def _save(connection: sqlite3.Connection, write: _Write) -> _Outcome:
    connection.execute("SAVEPOINT one")
    try:
        outcome = _Outcome(write, _run(connection, write.make()), None)
    except BaseException as error:
        if not connection.in_transaction:  # a full disk, for one, ends the whole transaction
            raise
        connection.execute("ROLLBACK TO one")
        outcome = _Outcome(write, None, error)
    connection.execute("RELEASE one")
    return outcome


def _answer(outcomes: list[_Outcome]) -> None:
    """Tell the writers' loops, each once; a loop that has ended has nobody waiting."""
    loops: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        loops.setdefault(outcome.write.loop, []).append(outcome)
    for loop, mine in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, mine)


def _settle(outcomes: list[_Outcome]) -> None:
    for write, result, error in outcomes:
        if write.future.done():  # cancelled meanwhile
            continue
        if error is None:
            write.future.set_result(result)
        else:
            write.future.set_exception(error)
    for write, result, error in outcomes:
        if write.then is not None and error is None:
            write.then(result)
