"""``everloom backup``: what a server needs to go on elsewhere, in a folder that is one, beside a running server.

Everything is of one moment. While the database takes no write of anybody's (milliseconds, in which a server's writes
wait) a snapshot of it is begun, and one of the vectors. Bytes of files never change, so a hard link to each holds it
from before that moment on, whoever deletes the file: all are linked first, and those that are new in the moment itself.
A row is written behind its bytes and its chunks, and taken away before them, so each object that a row of the snapshot
names is there. A checkpoint of the audit log reaches the database before the witness, and its key is older than both:
key and witness are copied in the same moment, and the witness knows nothing that the copy does not. All of it is then
copied at leisure, into a folder beside the one that was asked for, which gets its name when it is whole.
"""

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from msgspec import Struct

from everloom import __version__
from everloom.cli import CommandError
from everloom.cli.backup_files import FolderClaim, copied, copied_database, held, link_all, synced, written
from everloom.config import ADDED_FILE, AUDIT_KEY_FILE, WITNESS_FILE, Settings
from everloom.objects.base import encode
from everloom.store.sqlite_file import BUSY_SECONDS

DATABASE = "everloom.db"
VECTORS = "vectors.db"
BLOBS = "blobs"
MANIFEST = "backup.json"
_STAGING = ".backup"
"""In the folder of the blobs: the links to those that belong to the backup. No blob has a dot in its name."""

Told = Callable[[str, int, int], None]


class BackupReport(Struct, kw_only=True):
    """What a backup has (Unix seconds, bytes); ``left_out`` says what it has not, and where that is."""

    created_at: int
    everloom: str
    files: int
    bytes: int
    contains: list[str]
    left_out: list[str]


class Backup:
    """One backup of what these settings name, into the folder ``target``, which is not there or empty. ``told`` hears
    of each step how far it is. Blocking. Errors: ``CommandError``; ``OSError``, ``sqlite3.Error`` with nothing left.
    """

    def __init__(self, settings: Settings, target: Path, told: Told) -> None:
        self._settings = settings
        self._target = target.expanduser().absolute()
        self._told = told
        self._contains: list[str] = []
        self._files = self._bytes = 0

    def make(self) -> BackupReport:
        """Make it; what it has."""
        self._check_target()
        part = self._target.with_name(f".{self._target.name}.part")
        with FolderClaim(part) as claim:
            report = self._fill(part)
            written(part / MANIFEST, encode(report))
            claim.give_up()
            synced(part)
            os.replace(part, self._target)  # Onto an empty folder, too; one that is not empty any more is left.
        synced(self._target.parent)
        return report

    def _check_target(self) -> None:
        target = self._target
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise CommandError(f"{target} is no folder; name one of its own for a backup")
        if target.is_dir() and any(target.iterdir()):
            raise CommandError(f"{target} is not empty; name a folder of its own for a backup")
        for folder in (self._settings.data / "models", self._settings.blob_folder):
            if folder is not None and target.resolve().is_relative_to(folder.resolve()):
                raise CommandError(f"{target} lies in {folder}, which is backed up itself; name another place")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.is_dir():
            _see_that_it_can_be_replaced(target)

    def _fill(self, part: Path) -> BackupReport:
        blobs = self._settings.blob_folder
        with contextlib.ExitStack() as stack:
            links = None
            if blobs is not None and blobs.is_dir():
                links = stack.enter_context(held(blobs / _STAGING))
                link_all(blobs, links)
            snapshots = self._the_moment(stack, part, links)
            at = int(time.time())
            self._ask_for_room(links, snapshots)
            for name, source in snapshots.items():
                copied_database(source, part / name, partial(self._told, name))
                self._note(name, part / name)
            if links is not None:
                self._copy_all(links, part / BLOBS, "files")
        self._copy_models(part)
        left_out = list(_left_out(self._settings))
        return BackupReport(
            created_at=at,
            everloom=__version__,
            files=self._files,
            bytes=self._bytes,
            contains=self._contains,
            left_out=left_out,
        )

    def _the_moment(self, stack: contextlib.ExitStack, part: Path, links: Path | None) -> dict[str, sqlite3.Connection]:
        """Snapshots of the databases, their files and their evidence of one moment."""
        file = self._settings.sqlite_file
        if file is None:
            self._copy_evidence(part)
            return {}
        lock = stack.enter_context(_opened(file))
        lock.execute("BEGIN IMMEDIATE")
        snapshots = {}
        for name, path in ((DATABASE, file), (VECTORS, file.with_name(VECTORS))):
            if path.is_file():
                snapshots[name] = stack.enter_context(_opened(path))
                snapshots[name].execute("BEGIN")
                snapshots[name].execute("SELECT count(*) FROM sqlite_master").fetchone()  # Begins it indeed.
        if links is not None and self._settings.blob_folder is not None:
            link_all(self._settings.blob_folder, links)
        self._copy_evidence(part)
        lock.execute("ROLLBACK")
        return snapshots

    def _copy_evidence(self, part: Path) -> None:
        """Key, its mark and witness, in this order: a mark that is gone has left its checkpoint with the witness."""
        data, witness = self._settings.data, self._settings.audit_witness
        names = [data / AUDIT_KEY_FILE, data / f"{AUDIT_KEY_FILE}.unused"] if not self._settings.audit_key.name else []
        if witness == data / WITNESS_FILE:
            names += [witness, *sorted(data.glob(f"{WITNESS_FILE}.until-*"))]
        for path in names:
            with contextlib.suppress(FileNotFoundError):
                copied(path, part / path.name)
                self._note(path.name, part / path.name)

    def _copy_models(self, part: Path) -> None:
        data = self._settings.data
        if (data / ADDED_FILE).is_file():
            copied(data / ADDED_FILE, part / ADDED_FILE)
            self._note(ADDED_FILE, part / ADDED_FILE)
        if (data / "models").is_dir():
            self._copy_all(data / "models", part / "models", "models")

    def _copy_all(self, source: Path, target: Path, step: str) -> None:
        """The files of a folder and of those in it; what is on its way there has a name that begins with a dot."""
        paths = [path for path in _files_in(source) if path.is_file()]
        total, done = sum(path.stat().st_size for path in paths), 0
        target.mkdir(mode=0o700)
        for path in paths:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            done += copied(path, copy)
            self._files += 1
            self._told(step, done, total)
        self._bytes += done
        self._contains.append(f"{target.name}/")
        for folder, _, _ in os.walk(target):
            synced(Path(folder))

    def _note(self, name: str, path: Path) -> None:
        self._contains.append(name)
        self._files += 1
        self._bytes += path.stat().st_size

    def _ask_for_room(self, links: Path | None, snapshots: dict[str, sqlite3.Connection]) -> None:
        needed = sum(path.stat().st_size for path in _files_in(links)) if links is not None else 0
        needed += sum(path.stat().st_size for path in _files_in(self._settings.data / "models") if path.is_file())
        for connection in snapshots.values():
            (pages,), (size,) = (
                connection.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size")
            )
            needed += pages * size
        free = shutil.disk_usage(self._target.parent).free
        if needed > free:
            raise CommandError(
                f"a backup takes {needed / 1e9:.1f} GB, and {self._target.parent} has {free / 1e9:.1f} free"
            )


def _see_that_it_can_be_replaced(empty: Path) -> None:
    """Better now than when all has been copied, and to another disk than is meant. Errors: ``CommandError``."""
    mode = stat.S_IMODE(empty.stat().st_mode)
    try:
        empty.rmdir()
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise CommandError(
                f"{empty} is where a disk is mounted; name a folder on it, as {empty / 'today'}"
            ) from error
        raise
    empty.mkdir(mode=mode)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _files_in(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _linked_folders(folder: Path) -> Iterator[Path]:
    for parent, folders, _ in os.walk(folder):
        yield from (path for name in sorted(folders) if (path := Path(parent, name)).is_symlink())


def _left_out(settings: Settings) -> Iterator[str]:
    """What no folder of ours has: where it is, and what the operator does about it."""
    if settings.sqlite_file is None:
        yield (
            f"the database, {settings.database_place}: pg_dump it before this backup, never after: of what "
            "is uploaded between there is a file too many then, of what is deleted one too few"
        )
    if settings.blob_folder is None:
        yield f"the files, {settings.blobs}: the bucket's versioning or replication keeps them"
    if settings.audit_key.name:
        yield f"the audit log's key, {settings.audit_key}: yours to keep"
    if settings.audit_witness != settings.data / WITNESS_FILE:
        yield f"the audit log's witness, {settings.audit_witness}: yours to keep, as it was at this moment or before"
    linked = [entry.path for entry in settings.models if entry.path and not entry.path.is_relative_to(settings.data)]
    yield from (f"the model {path}, which lies outside the data folder" for path in linked)
    yield from (f"the folder behind the link {path}" for path in _linked_folders(settings.data / "models"))
    yield f"the weights in {settings.weights}: they are fetched again"
    yield "the settings: environment and everloom.toml"
