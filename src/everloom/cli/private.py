"""The data folder is for its owner alone: what a start finds there is put right, what is made later is made so."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from everloom.config import ADDED_FILE, AUDIT_KEY_FILE, WITNESS_FILE, Settings

UMASK = 0o077

_OWN = (ADDED_FILE, AUDIT_KEY_FILE, WITNESS_FILE, f".{ADDED_FILE}.lock", "jobs.db*", "vectors.db*", "everloom.lock")
"""Files beside the database, which is called as the settings say; and the list of models in the data folder."""

_JOURNALS = ("", "-wal", "-shm", "-journal")
_SQLITE = b"SQLite format 3\0"

_logger = logging.getLogger(__name__)


def make_private(settings: Settings) -> None:
    """Take everything of ours from group and others. Blocking.

    The data folder may hold what is not ours (it may be somebody's home), so only what we make is touched, and no
    folder that everybody shares.
    """
    for path in _ours(settings):
        try:
            _take_from_others(path)
        except FileNotFoundError:
            continue  # A journal of SQLite's that another process has just put away.
        except OSError as error:
            _logger.warning("%s stays readable to others: %s", path, error.strerror)


def _ours(settings: Settings) -> Iterator[Path]:
    folders = {settings.data} | ({settings.sqlite_file.parent} if settings.sqlite_file else set())
    for folder in filter(os.path.isdir, folders):  # Which is False where one may not look.
        if folder == settings.data:
            yield folder
        for name in _OWN:
            yield from folder.glob(name)
    if (file := settings.sqlite_file) is not None and _is_database(file):
        yield from (file.with_name(file.name + end) for end in _JOURNALS)
    trees = [settings.data / "models", settings.data / "weights", settings.data / "blobs"]
    for tree in dict.fromkeys([*trees, *([settings.blob_folder] if settings.blob_folder else [])]):
        if os.path.isdir(tree) and not tree.is_symlink():
            yield tree
            for parent, folders_in, files in os.walk(tree):
                yield from (Path(parent, name) for name in (*folders_in, *files))


def _is_database(path: Path) -> bool:
    """Whether a file is one of SQLite's, or empty, as one is at first: a setting may name any file by mistake."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) in (_SQLITE, b"")
    except OSError:
        return False


def _take_from_others(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode) or mode & stat.S_ISVTX:
        return
    wanted = mode & (0o700 if stat.S_ISDIR(mode) else 0o600)
    if stat.S_IMODE(mode) != wanted:
        path.chmod(wanted)
