"""Vectors in a SQLite file of their own: exact search in numpy, words in FTS5.

The file is its own because a large file's chunks take seconds to write, and a SQLite file has one writer:
in the store's file every run would wait for them. Writes go through one thread, reads through two.
What one store has is cached in memory up to ``cache_bytes``; a store that does not fit is read from disk,
piece by piece, at each search.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from everloom.kit import log
from everloom.kit.outages import outages
from everloom.vectors import sqlite_tables as tables
from everloom.vectors import sqlite_words
from everloom.vectors.base import Chunk, Found, Vector

if TYPE_CHECKING:
    from everloom.vectors.exact import Cache, Hit, Index

R = TypeVar("R")

_READERS = 2
_BUSY_SECONDS = 30.0
_WHAT = "its vectors"

AGAIN_SECONDS = 5.0
"""Until upkeep that failed is tried again."""


class SqliteVectors:
    """``Vectors`` in the file ``path``."""

    def __init__(self, path: Path, *, cache_bytes: int = 1024**3) -> None:
        self._path = path
        self._cache_bytes = cache_bytes
        self._cache: Cache | None = None
        self._loading = threading.Lock()
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._writer: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._writing: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop

    async def open(self) -> None:
        """Make the file where it is not there, and go on with what was being taken away or moved."""
        self._local = threading.local()
        self._writer = ThreadPoolExecutor(1, "everloom-vectors-write")
        self._readers = ThreadPoolExecutor(_READERS, "everloom-vectors-read")
        self._loop = asyncio.get_running_loop()
        await self._write(lambda connection: None)
        self._go_on()

    async def close(self) -> None:
        """Finish what is in hand and let go of the file."""
        writer, readers, self._writer, self._readers = self._writer, self._readers, None, None
        for threads in (writer, readers):
            if threads is not None:
                await asyncio.to_thread(threads.shutdown)
        self._cache = self._writing = None
        while self._opened:
            self._opened.pop().close()

    async def put(self, project: str, store: str, file_id: str, chunks: Sequence[Chunk]) -> None:
        """See ``Vectors.put``. ``ValueError`` for vectors of another size than the store's."""
        await self._write(lambda connection: tables.put(connection, project, store, file_id, chunks))

    async def remove(self, project: str, store: str, file_id: str | None = None) -> None:
        """See ``Vectors.remove``. A store's chunks cannot be found from now on; the disk is freed little by little."""
        if file_id is not None:
            await self._write(lambda connection: tables.remove_file(connection, project, store, file_id))
            return
        await self._write(lambda connection: tables.remove_set(connection, project, store))
        self._go_on()

    async def nearest(
        self, project: str, store: str, vector: Vector, limit: int, files: Collection[str] | None = None
    ) -> list[Found]:
        """See ``Vectors.nearest``."""
        return await self._read(lambda connection: self._nearest(connection, project, store, vector, limit, files))

    async def matching(
        self, project: str, store: str, words: str, limit: int, files: Collection[str] | None = None
    ) -> list[Found]:
        """See ``Vectors.matching``."""
        return await self._read(lambda connection: tables.matching(connection, project, store, words, limit, files))

    async def count(self, project: str, store: str) -> int:
        """See ``Vectors.count``."""
        found = await self._read(lambda connection: tables.find_set(connection, project, store))
        return found.chunks if found else 0

    # --- threads -----------------------------------------------------------------------------------------------------

    async def _write(self, do: Callable[[sqlite3.Connection], R]) -> R:
        if self._writer is None:
            raise RuntimeError("the vectors are not open")
        with outages(_WHAT):
            return await asyncio.get_running_loop().run_in_executor(self._writer, self._transact, do)

    async def _read(self, do: Callable[[sqlite3.Connection], R]) -> R:
        if self._readers is None:
            raise RuntimeError("the vectors are not open")
        with outages(_WHAT):
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._look, do)

    def _transact(self, do: Callable[[sqlite3.Connection], R]) -> R:
        if self._writing is None:
            self._writing = self._connect()
        connection = self._writing
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = do(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _look(self, do: Callable[[sqlite3.Connection], R]) -> R:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")  # one state of the file for all that is read
        try:
            return do(connection)
        finally:
            connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        self._opened.append(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -32000")
        if self._writing is None:  # the first one is the writer's
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.executescript(tables.SCHEMA + sqlite_words.SCHEMA)
            sqlite_words.prepare(connection)
        return connection

    def _sweep(self) -> None:
        try:
            more = self._transact(tables.free) or self._transact(sqlite_words.move)
        except sqlite3.Error as error:  # A full disk, for one: what is not done yet is found where it stands.
            log.outage("upkeep of the vectors", error)
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                self._loop.call_soon_threadsafe(self._loop.call_later, AGAIN_SECONDS, self._go_on)
        else:
            if more:
                self._go_on()

    def _go_on(self) -> None:
        writer = self._writer
        if writer is not None:
            with contextlib.suppress(RuntimeError):  # It is being closed.
                writer.submit(self._sweep)

    # --- nearness ----------------------------------------------------------------------------------------------------

    def _nearest(
        self,
        connection: sqlite3.Connection,
        project: str,
        store: str,
        vector: Vector,
        limit: int,
        files: Collection[str] | None,
    ) -> list[Found]:
        found = tables.find_set(connection, project, store)
        if found is None or not found.chunks:
            return []
        if len(vector) != found.dimensions:
            raise ValueError(f"the vectors of {store} have {found.dimensions} dimensions, not {len(vector)}")
        hits = self._hits(connection, found, vector, limit, files)
        scores = dict(hits)
        return [
            Found(file_id, position, text, min(1.0, max(-1.0, scores[number])))
            for number, file_id, position, text in tables.chunks_of(connection, [number for number, _ in hits])
        ]

    def _hits(
        self,
        connection: sqlite3.Connection,
        found: tables.SqliteSet,
        vector: Vector,
        limit: int,
        files: Collection[str] | None,
    ) -> "list[Hit]":
        from everloom.vectors import exact

        if found.vectors * found.dimensions * 4 > self._cache_bytes:
            pieces = tables.pieces(connection, found, exact.Index(found.dimensions))
            return exact.best((hit for piece in pieces for hit in piece.nearest(vector, limit, files)), limit)
        return self._index(connection, found).nearest(vector, limit, files)

    def _index(self, connection: sqlite3.Connection, found: tables.SqliteSet) -> "Index":
        """The store's vectors as this reader sees the file: from the cache, read on from where that ends."""
        from everloom.vectors import exact

        if self._cache is None:
            self._cache = exact.Cache(self._cache_bytes)
        if (index := self._fresh(found)) is not None:
            return index
        with self._loading:  # a store is read once, however many ask for it
            if (index := self._fresh(found)) is not None:
                return index
            known = self._cache.get(found.number)
            if known is None or known.removals != found.removals or known.version > found.version:
                known = exact.Index(found.dimensions)
            index = known
            for rows in tables.rows_behind(connection, found, known.last):
                index = index.extended(rows)
            index = index.extended(())  # never the cached one itself, whose version others compare
            index.version, index.removals = found.version, found.removals
            self._cache.keep(found.number, index)
            return index

    def _fresh(self, found: tables.SqliteSet) -> "Index | None":
        index = self._cache.get(found.number) if self._cache is not None else None
        return index if index is not None and index.version == found.version else None
