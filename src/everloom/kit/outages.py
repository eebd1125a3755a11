"""Which errors of disks and databases mean that something is away for a while, and nothing is wrong with the work."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from socket import gaierror

from everloom.kit.errors import Unavailable

_DISK = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ESTALE),
    }
)
"""Full, broken, or out of what the operating system lends."""

_SQLITE = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
        *(sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT),
    }
)
"""Primary result codes. (A file that is damaged, or none of SQLite's, stays so.)"""

_POSTGRES = ("08", "53", "57P", "58", "25006", "25P03", "40001", "40P01", "55P03")
"""Beginnings of SQLSTATEs: the connection, full or out of something, shutting down or not yet up, the system's own
errors, a standby that takes no writes yet, a transaction that was ended for waiting, others in the way for too long.
"""


def is_away(error: BaseException) -> bool:
    """Whether the same call may well succeed a little later, with nothing changed but what the server stands on."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE
    if (state := getattr(error, "sqlstate", None)) is not None:
        return str(state).startswith(_POSTGRES)
    return disk_is_away(error) or isinstance(error, ConnectionError | TimeoutError | gaierror)


def disk_is_away(error: BaseException) -> bool:
    """Whether an error says that the disk is full or broken, or the operating system out of what it lends."""
    return isinstance(error, OSError) and error.errno in _DISK


@contextmanager
def outages(what: str) -> Iterator[None]:
    """Raise ``Unavailable`` in place of what means that ``what`` is away (``its database``, for one)."""
    try:
        yield
    except Exception as error:
        if is_away(error):
            raise Unavailable(what, error) from error
        raise
