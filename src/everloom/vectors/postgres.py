"""Vectors in PostgreSQL: pgvector's graph where the extension can be had, exact search in numpy where not.

With pgvector (0.8 or later) a small set is compared whole inside the database, a large one by HNSW with
iterative scan: without it a filtered search returned 2 to 6 of 10 rows. Which of the two a database works
with is settled when its tables are made. Words are an index of words of our own making (``words.py``), since
PostgreSQL's parser would keep ``name.py`` or ``a/b`` as one word, and its ranking does not know rarity.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]  # it ships no annotations

from everloom.kit.errors import Unavailable
from everloom.kit.outages import is_away
from everloom.kit.pools import ACQUIRE_SECONDS, close_pool
from everloom.vectors import postgres_tables as tables
from everloom.vectors import words
from everloom.vectors.base import Chunk, Found, Vector

if TYPE_CHECKING:
    from everloom.vectors.exact import Cache, Hit, Index, Row

_SCHEMA_LOCK = 0x65766572_76656373
"""``evervecs`` in ASCII: the advisory lock under which one process makes the tables."""

_PIECE = 5_000
"""Chunks read or written with one statement."""

_LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError)
"""The server went away, or closed a connection that was waiting in the pool."""


class PostgresVectors:
    """``Vectors`` at ``url``. ``extension=False`` does not even ask for pgvector.

    With it, sets of up to ``compared`` vectors are compared whole, in some 10 ms, and larger ones walked by the graph.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 8,
        cache_bytes: int = 1024**3,
        extension: bool = True,
        compared: int = 20_000,
    ) -> None:
        self._url = url
        self._connections = connections
        self._cache_bytes = cache_bytes
        self._extension = extension
        self._compared = compared
        self._cache: Cache | None = None
        self._loading = asyncio.Lock()
        self._graphs: set[int] = set()
        self._pool: Any = None
        self.with_points = False
        """Whether pgvector keeps the vectors; known once open."""

    async def open(self) -> None:
        """Connect, and make the tables where they are missing."""
        pool = await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._connections,
            server_settings={"application_name": "everloom-vectors", "jit": "off"},
        )
        try:
            async with pool.acquire() as connection:
                self.with_points = await _make(connection, self._extension)
        except BaseException:
            await pool.close()
            raise
        self._pool = pool

    async def close(self) -> None:
        """Finish what is in hand and disconnect."""
        pool, self._pool, self._cache = self._pool, None, None
        if pool is not None:
            await close_pool(pool)

    async def put(self, project: str, store: str, file_id: str, chunks: Sequence[Chunk]) -> None:
        """See ``Vectors.put``. ``ValueError`` for vectors of another size than the store's."""
        if not chunks:
            await self.remove(project, store, file_id)
            return
        dimensions = len(chunks[0].vectors[0]) if chunks[0].vectors else 0
        if self.with_points:
            await self._graph(dimensions)
        async with self._connection() as connection, connection.transaction():
            found = tables.PostgresSet(*await connection.fetchrow(tables.CLAIM, project, store, dimensions))
            await self._remove_file(connection, found, file_id)
            for start in range(0, len(chunks), _PIECE):
                await self._add(connection, found, file_id, chunks[start : start + _PIECE])
            vectors = sum(len(chunk.vectors) for chunk in chunks)
            await connection.execute(tables.COUNTS, found.number, len(chunks), vectors, 0)

    async def remove(self, project: str, store: str, file_id: str | None = None) -> None:
        """See ``Vectors.remove``."""
        async with self._connection() as connection, connection.transaction():
            row = await connection.fetchrow(tables.FIND + " FOR UPDATE", project, store)
            if row is None:
                return
            found = tables.PostgresSet(*row)
            if file_id is not None:
                await self._remove_file(connection, found, file_id)
                return
            await connection.execute("DELETE FROM vector_sets WHERE number = $1", found.number)
            await connection.execute("DELETE FROM vector_chunks WHERE set_number = $1", found.number)
            if self.with_points:
                await connection.execute("DELETE FROM vector_points WHERE set_number = $1", found.number)

    async def nearest(
        self, project: str, store: str, vector: Vector, limit: int, files: Collection[str] | None = None
    ) -> list[Found]:
        """See ``Vectors.nearest``."""
        found = await self._set(project, store)
        if found is None or not found.chunks:
            return []
        if len(vector) != found.dimensions:
            raise ValueError(f"the vectors of {store} have {found.dimensions} dimensions, not {len(vector)}")
        if self.with_points:
            hits = await self._near(found, vector, limit, files)
        else:
            hits = await self._exact(found, vector, limit, files)
        rows = {row["number"]: row for row in await self._fetch(tables.CHUNKS, [number for number, _ in hits])}
        return [
            Found(row["file_id"], row["position"], row["text"], min(1.0, max(-1.0, score)))
            for number, score in hits
            if (row := rows.get(number)) is not None  # taken away since
        ]

    async def matching(
        self, project: str, store: str, words: str, limit: int, files: Collection[str] | None = None
    ) -> list[Found]:
        """See ``Vectors.matching``."""
        found = await self._set(project, store)
        return [] if found is None else await self._matching(found, words, limit, files)

    async def count(self, project: str, store: str) -> int:
        """See ``Vectors.count``."""
        found = await self._set(project, store)
        return found.chunks if found else 0

    # --- connections -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection. Errors: ``Unavailable`` for what means that there is none, when it is taken or later."""
        if self._pool is None:
            raise RuntimeError("the vectors are not open")
        try:
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                yield connection
        except Exception as error:
            if is_away(error) or isinstance(error, _LOST):
                raise Unavailable("its vectors", error) from error
            raise

    async def _fetch(self, text: str, *parameters: Any) -> list[Any]:
        """The rows of a read; asked again if the connection turns out to be dead."""
        for pause in (0.0, 0.1):
            try:
                return await self._fetch_once(text, parameters)
            except Unavailable:
                await asyncio.sleep(pause)
        return await self._fetch_once(text, parameters)

    async def _fetch_once(self, text: str, parameters: Sequence[Any]) -> list[Any]:
        async with self._connection() as connection:
            rows: list[Any] = await connection.fetch(text, *parameters)
            return rows

    async def _set(self, project: str, store: str) -> tables.PostgresSet | None:
        rows = await self._fetch(tables.FIND, project, store)
        return tables.PostgresSet(*rows[0]) if rows else None

    # --- writing -----------------------------------------------------------------------------------------------------

    async def _graph(self, dimensions: int) -> None:
        """Have an index for vectors of this size. Made outside the write, since it locks the table."""
        if dimensions in self._graphs or not dimensions:
            return
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            if not await connection.fetchval("SELECT to_regclass($1)", f"ix_vector_points_{dimensions}"):
                await connection.execute(tables.graph(dimensions))
        self._graphs.add(dimensions)

    async def _add(self, connection: Any, found: tables.PostgresSet, file_id: str, chunks: Sequence[Chunk]) -> None:
        from everloom.vectors.exact import pack

        packed = [pack(chunk, found.dimensions) for chunk in chunks]
        rows = await connection.fetch(
            tables.ADD,
            found.number,
            file_id,
            [chunk.position for chunk in chunks],
            [words.clean(chunk.text, nul=False) for chunk in chunks],
            [" ".join({tables.lexeme(found.number, word) for word in words.split(chunk.text)}) for chunk in chunks],
            [None] * len(chunks) if self.with_points else packed,
        )
        if self.with_points:
            points = [
                (row["number"], found.number, file_id, found.dimensions, list(vector))
                for row, chunk in zip(rows, chunks, strict=True)
                for vector in chunk.vectors
            ]
            await connection.executemany(tables.ADD_POINT, points)

    async def _remove_file(self, connection: Any, found: tables.PostgresSet, file_id: str) -> None:
        if self.with_points:
            vectors = await connection.fetchval(tables.REMOVE_FILE_POINTS, found.number, file_id)
        else:
            vectors = await connection.fetchval(tables.FILE_BYTES, found.number, file_id) // (found.dimensions * 2)
        chunks = await connection.fetchval(tables.REMOVE_FILE, found.number, file_id)
        if chunks:
            await connection.execute(tables.COUNTS, found.number, -chunks, -vectors, 1)

    # --- nearness ----------------------------------------------------------------------------------------------------

    async def _near(
        self, found: tables.PostgresSet, vector: Vector, limit: int, files: Collection[str] | None
    ) -> "list[Hit]":
        asked: list[Any] = [found.number, list(vector)]
        narrowed = [] if files is None else [list(files)]
        if found.vectors > self._compared:
            some = limit * max(1, -(-found.vectors // found.chunks)) * 2  # several vectors may be of one chunk
            async with self._connection() as connection, connection.transaction(readonly=True):
                await connection.execute(
                    "SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL hnsw.max_scan_tuples = 100000;"
                    f" SET LOCAL hnsw.ef_search = {min(1000, max(100, some))}"
                )
                text = tables.graph_points(found.dimensions, files is not None)
                rows = await connection.fetch(text, *asked, some, *narrowed)
            if len(rows) >= min(limit, found.chunks):
                return [(row["chunk"], row["score"]) for row in rows[:limit]]
        rows = await self._fetch(tables.all_points(files is not None), *asked, limit, *narrowed)
        return [(row["chunk"], row["score"]) for row in rows]

    async def _exact(
        self, found: tables.PostgresSet, vector: Vector, limit: int, files: Collection[str] | None
    ) -> "list[Hit]":
        from everloom.vectors import exact

        if found.vectors * found.dimensions * 4 <= self._cache_bytes:
            index = await self._index(found)
            return await asyncio.to_thread(index.nearest, vector, limit, files)
        hits: list[Hit] = []
        empty = exact.Index(found.dimensions)
        async for rows in self._rows(found, 0):
            index = await asyncio.to_thread(empty.extended, rows)
            hits = exact.best([*hits, *await asyncio.to_thread(index.nearest, vector, limit, files)], limit)
        return hits

    async def _index(self, found: tables.PostgresSet) -> "Index":
        """The store's vectors, from the cache, read on from where that ends."""
        from everloom.vectors import exact

        if self._cache is None:
            self._cache = exact.Cache(self._cache_bytes)
        cache = self._cache
        async with self._loading:  # a store is read once, however many ask for it
            known = cache.get(found.number)
            if known is not None and known.version == found.version:
                return known
            if known is None or known.removals != found.removals:
                known = exact.Index(found.dimensions)
            index = known
            async for rows in self._rows(found, known.last):
                index = await asyncio.to_thread(index.extended, rows)
            index = index.extended(())  # never the cached one itself, whose version others compare
            index.version, index.removals = found.version, found.removals
            cache.keep(found.number, index)
            return index

    async def _rows(self, found: tables.PostgresSet, after: int) -> "AsyncIterator[list[Row]]":
        from everloom.vectors.exact import Row

        while rows := await self._fetch(tables.ROWS, found.number, after, _PIECE):
            yield [Row(*row) for row in rows]
            after = rows[-1]["number"]

    # --- words -------------------------------------------------------------------------------------------------------

    async def _matching(
        self, found: tables.PostgresSet, text: str, limit: int, files: Collection[str] | None
    ) -> list[Found]:
        terms = words.terms(text)
        queries = [tables.query(found.number, term) for term in terms]
        counted = await self._fetch(tables.FREQUENCIES, terms, queries, words.ENOUGH + 1)
        worth, chosen = words.weigh({row[0]: row[1] for row in counted}, found.chunks)
        if not chosen:
            return []
        parameters = ([tables.query(found.number, term) for term in chosen], list(chosen.values()), limit, words.ENOUGH)
        narrowed = () if files is None else (list(files),)
        hits = await self._fetch(tables.matching(files is not None), *parameters, *narrowed)
        rows = await self._fetch(tables.CHUNKS, [row["number"] for row in hits])
        measure = words.share(worth)
        held = [
            Found(row["file_id"], row["position"], row["text"], measure(row["text"]))
            for row in sorted(rows, key=lambda row: row["number"])
        ]
        return sorted(held, key=lambda one: -one.score)


async def _make(connection: Any, extension: bool) -> bool:
    """Make what is missing, one process at a time; whether pgvector keeps the vectors."""
    await connection.execute("SELECT pg_advisory_lock($1)", _SCHEMA_LOCK)
    try:
        made = await connection.fetchval("SELECT to_regclass('vector_chunks') IS NOT NULL")
        points = await connection.fetchval("SELECT to_regclass('vector_points') IS NOT NULL")
        if not made:
            points = extension and await _extended(connection)
        async with connection.transaction():
            for statement in (*tables.SCHEMA, *(tables.POINTS_SCHEMA if points else ())):
                await connection.execute(statement)
        return bool(points)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _SCHEMA_LOCK)


async def _extended(connection: Any) -> bool:
    """Whether pgvector is there, 0.8 or later, or can be made to be."""
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except asyncpg.PostgresError:
        return False  # not installed, or only an administrator may
    version = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    return tuple(int(part) for part in version.split(".")[:2]) >= (0, 8)
