"""Blobs over obstore: one adapter for a folder, memory and S3.

obstore drives the Rust object_store crate and releases the interpreter while it works, so no threads
of ours are needed. A put becomes visible whole or not at all: a folder gets a temporary file that is
renamed at the end, S3 a single request or, above ``PART_BYTES``, a multipart upload.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import GenericError
from obstore.store import LocalStore, MemoryStore, ObjectStore, S3Store

from everloom.kit.errors import Unavailable
from everloom.kit.outages import is_away

PART_BYTES = 8 * 1024 * 1024
"""What is held in memory before it goes out to S3, which takes parts of 5 MiB and more, and at most 10 000 of them."""

FOLDER_PART_BYTES = 1024 * 1024
"""The same for a folder, where larger pieces gain nothing and many puts at once would hold them all."""

PARTS_AT_ONCE = 2
BLOCK_BYTES = 1024 * 1024

_UNFINISHED = "#1"
"""What object_store puts behind the name of a file that it is still writing. (A test holds that.)"""

_REFUSED = re.compile(r"status code: 4(?!29)\d\d")
"""What an error's text says when S3 has answered that it does not like the request, and never will."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class ObjectBlobs:
    """The ``Blobs`` port over any object store of obstore's. ``folder`` is where a local one keeps its files."""

    def __init__(self, store: ObjectStore, *, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder
        self._part_bytes = PART_BYTES if folder is None else FOLDER_PART_BYTES

    @classmethod
    def at(cls, url: str, **s3: Any) -> "ObjectBlobs":
        """Open ``file:///folder`` (made where absent), ``memory:///`` or ``s3://bucket/prefix``.

        S3 takes its credentials, region and endpoint from the usual ``AWS_*`` variables, or from
        ``s3``: the arguments of obstore's ``S3Store``. A bucket should have a lifecycle rule that
        drops incomplete multipart uploads: one that was broken off is never visible, but S3 bills
        its parts. Raises ``ValueError`` for any other scheme.
        """
        parts = urlsplit(url)
        if parts.scheme == "file":
            folder = Path(unquote(parts.path))
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(LocalStore(folder), folder=folder)
        if parts.scheme == "memory":
            return cls(MemoryStore())
        if parts.scheme == "s3":
            return cls(S3Store(parts.netloc, prefix=parts.path.strip("/") or None, **s3))
        raise ValueError(f"blobs live at file:///…, s3://… or memory:///, not at {url!r}")

    async def put(self, name: str, data: AsyncIterator[bytes]) -> int:
        """Keep the bytes, a block at a time; returns how many. When ``data`` raises, nothing is left behind."""
        writer = obstore.open_writer_async(
            self._store, _checked(name), buffer_size=self._part_bytes, max_concurrency=PARTS_AT_ONCE
        )
        size = 0
        try:
            async for block in data:
                with _outages():
                    size += await writer.write(block)
            with _outages():
                await writer.close()
        except BaseException:
            # A writer that goes away unclosed takes its temporary file along; the traceback would keep it alive.
            del writer
            raise
        if self._folder is not None:
            with _outages():
                await asyncio.to_thread(_sync, self._folder, name)
        return size

    async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes in blocks of a megabyte or so; ``FileNotFoundError`` where there are none.

        ``offset`` and ``length`` in bytes; what lies beyond the end is left out.
        """
        if self._folder is not None:
            async for piece in _read_file(self._folder / _checked(name), offset, length):
                yield piece
            return
        with _outages():
            if offset == 0 and length is None:
                result = await obstore.get_async(self._store, _checked(name))
            else:
                size = (await obstore.head_async(self._store, _checked(name)))["size"]
                end = size if length is None else min(size, offset + length)
                if offset >= end:
                    return
                result = await obstore.get_async(self._store, name, options={"range": (offset, end)})
            blocks = aiter(result.stream(min_chunk_size=BLOCK_BYTES))
        while True:
            with _outages():
                block = await anext(blocks, None)
            if block is None:
                return
            # Memory gives all it has at once.
            for start in range(0, len(block), BLOCK_BYTES):
                yield bytes(block[start : start + BLOCK_BYTES])

    async def remove(self, name: str) -> None:
        """Forget the bytes, and those of a put that was killed; a name that is not there is no error."""
        with contextlib.suppress(FileNotFoundError), _outages():
            await obstore.delete_async(self._store, _checked(name))
        if self._folder is not None:
            with _outages():
                await asyncio.to_thread((self._folder / (name + _UNFINISHED)).unlink, missing_ok=True)


async def _read_file(path: Path, offset: int, length: int | None) -> AsyncIterator[bytes]:
    """What stands in a file now; not by obstore, whose streams never end where a file gets shorter under them."""
    with _outages():
        file = await asyncio.to_thread(path.open, "rb")
    with file:
        file.seek(offset)
        left = os.fstat(file.fileno()).st_size - offset if length is None else length
        while left > 0:
            with _outages():
                block = await asyncio.to_thread(file.read, min(left, BLOCK_BYTES))
            if not block:
                return
            left -= len(block)
            yield block


@contextlib.contextmanager
def _outages() -> Iterator[None]:
    """Raise ``Unavailable`` where the store is full, broken, or cannot be reached. A writer raises plain OSErrors."""
    try:
        yield
    except (GenericError, OSError) as error:
        plain = isinstance(error, GenericError) or (type(error) is OSError and error.errno is None)
        if is_away(error) or (plain and not _REFUSED.search(str(error))):
            raise Unavailable("its files", str(error).partition("\n")[0]) from error
        raise


def _checked(name: str) -> str:
    """The name, if it is one of ours: ids have no dots and no slashes, so none can lead out of the folder."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a blob's name: {name[:200]!r}")
    return name


def _sync(folder: Path, name: str) -> None:
    """Have a file survive a power cut, its name in the folder included."""
    for path in (folder / name, folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
