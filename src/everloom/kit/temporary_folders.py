"""Folders on this machine's disk that are a request's, and of those whose process was killed before it could take them
away.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

_PREFIX = "everloom-form-"
"""Of their names; behind it stand the process's id and something made up."""

_STALE_SECONDS = 3600
"""Folders younger than this are left alone: under another container's ids their process may well be alive."""


async def make_folder() -> Path:
    """A new folder, its owner's alone, for ``remove_folder``."""
    path = _new_path()
    await asyncio.to_thread(path.mkdir, 0o700)
    return path


async def remove_folder(path: Path) -> None:
    """Take away a folder and what is in it."""
    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


@contextlib.asynccontextmanager
async def temporary_folder() -> AsyncIterator[Path]:
    """A folder for as long as it takes."""
    path = _new_path()
    try:
        await asyncio.to_thread(path.mkdir, 0o700)
        yield path
    finally:
        await remove_folder(path)


@contextlib.asynccontextmanager
async def own_folder(parent: Path, name: str) -> AsyncIterator[Path]:
    """The folder ``name`` of somebody who is the only one to use it, empty, for as long as it takes: what a killed
    process left of it goes first.
    """
    path = parent / name
    await remove_folder(path)
    try:
        await asyncio.to_thread(path.mkdir, 0o700, parents=True)
        yield path
    finally:
        await remove_folder(path)


def _new_path() -> Path:
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"


async def write_file(path: Path, blocks: AsyncIterable[bytes]) -> int:
    """Write a new file of blocks as they come, beside the loop; how many bytes it has. What ``blocks`` raises comes
    through.
    """
    size = 0
    file = await asyncio.to_thread(path.open, "wb")
    try:
        async for block in blocks:
            size += len(block)
            await asyncio.to_thread(file.write, block)
    finally:
        await asyncio.to_thread(file.close)
    return size


def sweep_folders() -> None:
    """Take away the folders of processes that were killed. Blocking."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            old = time.time() - folder.stat().st_mtime > _STALE_SECONDS
            if old and not _alive(folder.name.removeprefix(_PREFIX).partition("-")[0]):
                shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: str) -> bool:
    """Whether a process of ours may have this id."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True  # It is somebody else's.
    return True
