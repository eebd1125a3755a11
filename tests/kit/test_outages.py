"""What counts as an outage, how seldom it is spoken of, and how seldom a check is made."""

import asyncio
import errno
import io
import logging
import sqlite3
from collections.abc import Iterator

import asyncpg
import pytest

from everloom.kit import log
from everloom.kit.errors import Unavailable
from everloom.kit.outages import is_away, outages
from everloom.kit.shared_check import SharedCheck


def of_sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "error",
    [
        of_sqlite(sqlite3.SQLITE_FULL),
        of_sqlite(sqlite3.SQLITE_IOERR_WRITE),
        of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EIO, "broken"),
        ConnectionRefusedError(errno.ECONNREFUSED, "nobody there"),
        TimeoutError(),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
        asyncpg.DiskFullError("no space left on device"),
        asyncpg.ReadOnlySQLTransactionError("a standby"),
    ],
    ids=repr,
)
def test_what_comes_back_by_itself_is_away(error: Exception) -> None:
    with pytest.raises(Unavailable, match="its database is away"), outages("its database"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        of_sqlite(sqlite3.SQLITE_CORRUPT),
        of_sqlite(sqlite3.SQLITE_CONSTRAINT),
        sqlite3.ProgrammingError("closed"),
        FileNotFoundError(errno.ENOENT, "none"),
        PermissionError(errno.EACCES, "no"),
        asyncpg.UniqueViolationError("twice"),
        asyncpg.UndefinedTableError("none"),
        asyncpg.DataError("too long"),
        ValueError("wrong"),
    ],
    ids=repr,
)
def test_what_stays_wrong_is_not_away(error: Exception) -> None:
    assert not is_away(error)
    with pytest.raises(type(error)), outages("its database"):
        raise error


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged as a server logs it."""
    root, outage = logging.getLogger(), logging.getLogger("everloom.outage")
    kept, level = root.handlers[:], root.level
    log.setup("info")
    stream = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    root.handlers[:], root.level = kept, level
    outage.filters.clear()
    logging.getLogger("asyncpg.pool").filters.clear()


def test_of_an_outage_one_line_a_second_is_shown(lines: io.StringIO) -> None:
    for number in range(100):
        log.outage(f"job {number}", Unavailable("its database", "refused"))
        try:
            raise ConnectionRefusedError("no")
        except ConnectionRefusedError:
            logging.getLogger("asyncpg.pool").exception("cannot connect")
    shown = lines.getvalue().splitlines()
    assert len(shown) == 1
    assert "job 0 has to wait: its database is away: refused" in shown[0]
    asyncio.run(asyncio.sleep(1.05))
    log.outage("another", "still away")
    assert "(199 more such lines were left out)" in lines.getvalue()
    assert "Traceback" not in lines.getvalue()


def test_a_check_is_made_once_a_while_and_not_waited_for_in_vain() -> None:
    calls = 0

    async def main() -> None:
        nonlocal calls
        hang = asyncio.Event()
        checked = SharedCheck(seconds=0.1, patience=0.05)

        async def fails() -> None:
            nonlocal calls
            calls += 1
            raise Unavailable("its database", "refused")

        for _ in range(5):
            with pytest.raises(Unavailable):
                await checked.ask(fails)
        assert calls == 1
        await asyncio.sleep(0.11)

        async def hangs() -> None:
            nonlocal calls
            calls += 1
            await hang.wait()

        for _ in range(3):
            with pytest.raises(TimeoutError):
                await checked.ask(hangs)
        assert calls == 2
        hang.set()
        await checked.ask(hangs)

    asyncio.run(main())
