"""Files on their way into a backup: copies that survive a power cut, for their owner alone."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from everloom.cli import CommandError
from everloom.kit.files import sync_folder

_PAGES = 2000
"""Of a database, copied before it is told how far it is."""

_CLAIM = ".claim"


class FolderClaim:
    """A folder that is being filled by this process alone, empty at first: what a killed one left of it goes. Left by
    an error it is taken away. Errors: ``CommandError`` where another process fills it, or where somebody else's folder
    or a link to one has its name: what is in that is not ours to take away, and what we write is not theirs to hold.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = -1

    def __enter__(self) -> "FolderClaim":
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise CommandError(f"{self._folder} is in the way, and no folder of this user; see what it is")
        self._folder.chmod(0o700)
        self._file = os.open(self._folder / _CLAIM, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise CommandError(f"another backup is filling {self._folder}") from error
        _empty(self._folder)
        return self

    def give_up(self) -> None:
        """The folder is whole, and is to have another name."""
        (self._folder / _CLAIM).unlink()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._file)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name == _CLAIM:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """A folder for links that is there as long as the context."""
    with FolderClaim(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def link_all(folder: Path, links: Path) -> None:
    """Hold each file of a folder that is not held yet, by a hard link, or by a copy where the file system has none.
    Files with a dot or a ``#`` in their names are nobody's, or not whole.
    """
    known = {entry.name for entry in os.scandir(links)}
    for entry in os.scandir(folder):
        if entry.name in known or "." in entry.name or "#" in entry.name or not entry.is_file(follow_symlinks=False):
            continue
        try:
            os.link(entry.path, links / entry.name)
        except FileNotFoundError:
            continue  # Deleted just now, its row before it.
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                copied(Path(entry.path), links / entry.name)


def copied(source: Path, target: Path) -> int:
    """Copy a file to a new one; how many bytes it has. Errors: ``OSError``."""
    with source.open("rb") as file:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            shutil.copyfileobj(file, copy, 1024 * 1024)
            copy.flush()
            os.fsync(copy.fileno())
            return copy.tell()


def written(path: Path, data: bytes) -> None:
    """Write a new file."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copied_database(source: sqlite3.Connection, target: Path, told: Callable[[int, int], None]) -> None:
    """Copy what a connection sees, which is one snapshot while it is in a transaction. Errors: ``sqlite3.Error``.

    Whether the copy is sound is not asked: ``quick_check`` of SQLite 3.40 finds NULLs that are not there in tables like
    ours, without rowids and with another order of columns in their keys.
    """
    written(target, b"")
    connection = sqlite3.connect(target)
    try:
        source.backup(connection, pages=_PAGES, progress=lambda status, left, all: told(all - left, all))
    finally:
        connection.close()
    for path in (target, target.parent):
        synced(path)


def synced(path: Path) -> None:
    """Have a file or a folder's names survive a power cut. Errors: ``OSError``."""
    sync_folder(path)
