"""The tables of ``sqlite.py``, and what is read and written in them. Transactions are their caller's."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from everloom.vectors import sqlite_words, words
from everloom.vectors.base import Chunk, Found

if TYPE_CHECKING:
    from everloom.vectors.exact import Index, Row

_PIECE = 20_000
"""Chunks read at a time."""

_SWEPT = 500
"""Chunks of a store that is gone which are taken away in one transaction: others' writes come in between."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS sets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, store TEXT NOT NULL,
    dimensions INTEGER NOT NULL, chunks INTEGER NOT NULL DEFAULT 0, vectors INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0, removals INTEGER NOT NULL DEFAULT 0, upto INTEGER, UNIQUE (project, store));
CREATE TABLE IF NOT EXISTS gone (number INTEGER PRIMARY KEY, upto INTEGER);
CREATE TABLE IF NOT EXISTS chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, set_number INTEGER NOT NULL, file_id TEXT NOT NULL,
    position INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS ix_chunks_set ON chunks (set_number);
CREATE INDEX IF NOT EXISTS ix_chunks_file ON chunks (set_number, file_id);
CREATE TABLE IF NOT EXISTS texts (number INTEGER PRIMARY KEY, place TEXT NOT NULL, text TEXT NOT NULL);
"""


class SqliteSet(NamedTuple):
    number: int
    dimensions: int
    chunks: int
    vectors: int
    version: int
    removals: int
    upto: int | None
    """See ``sqlite_words.py``."""


def find_set(connection: sqlite3.Connection, project: str, store: str) -> SqliteSet | None:
    row = connection.execute(
        "SELECT number, dimensions, chunks, vectors, version, removals, upto FROM sets WHERE project = ? AND store = ?",
        (project, store),
    ).fetchone()
    return SqliteSet(*row) if row else None


def rows_behind(connection: sqlite3.Connection, found: SqliteSet, after: int) -> "Iterator[list[Row]]":
    from everloom.vectors.exact import Row

    cursor = connection.execute(
        "SELECT number, file_id, data FROM chunks WHERE set_number = ? AND number > ? ORDER BY number",
        (found.number, after),
    )
    while rows := cursor.fetchmany(_PIECE):
        yield [Row(*row) for row in rows]


def pieces(connection: sqlite3.Connection, found: SqliteSet, empty: "Index") -> "Iterator[Index]":
    for rows in rows_behind(connection, found, 0):
        yield empty.extended(rows)


def chunks_of(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[tuple[int, str, int, str]]:
    """``number, file_id, position, text`` of chunks, in the order asked for."""
    marks = ", ".join("?" * len(numbers))
    rows = connection.execute(
        f"SELECT number, file_id, position, text FROM chunks JOIN texts USING (number) WHERE number IN ({marks})",
        numbers,
    ).fetchall()
    places = {number: place for place, number in enumerate(numbers)}
    return sorted(rows, key=lambda row: places[row[0]])


# --- writing ---------------------------------------------------------------------------------------------------------


def put(connection: sqlite3.Connection, project: str, store: str, file_id: str, chunks: Sequence[Chunk]) -> None:
    from everloom.vectors.exact import pack

    remove_file(connection, project, store, file_id)
    if not chunks:
        return
    dimensions = len(chunks[0].vectors[0]) if chunks[0].vectors else 0
    connection.execute(
        "INSERT INTO sets (project, store, dimensions) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (project, store, dimensions),
    )
    found = find_set(connection, project, store)
    assert found is not None
    vectors = 0
    for chunk in chunks:
        data = pack(chunk, found.dimensions)
        vectors += len(chunk.vectors)
        number = connection.execute(
            "INSERT INTO chunks (set_number, file_id, position, data) VALUES (?, ?, ?, ?)",
            (found.number, file_id, chunk.position, data),
        ).lastrowid
        assert number is not None
        text = words.clean(chunk.text)
        connection.execute(
            "INSERT INTO texts (number, place, text) VALUES (?, ?, ?)", (number, f"s{found.number}", text)
        )
        sqlite_words.add(connection, found, number, text)
    connection.execute(
        "UPDATE sets SET chunks = chunks + ?, vectors = vectors + ?, version = version + 1 WHERE number = ?",
        (len(chunks), vectors, found.number),
    )


def remove_file(connection: sqlite3.Connection, project: str, store: str, file_id: str) -> None:
    found = find_set(connection, project, store)
    if found is None:
        return
    rows = connection.execute(
        "SELECT number, length(data) FROM chunks WHERE set_number = ? AND file_id = ?", (found.number, file_id)
    ).fetchall()
    if not rows:
        return
    _take_away(connection, found, [number for number, _ in rows])
    vectors = sum(size for _, size in rows) // (found.dimensions * 2)
    connection.execute(
        "UPDATE sets SET chunks = chunks - ?, vectors = vectors - ?, version = version + 1, removals = removals + 1"
        " WHERE number = ?",
        (len(rows), vectors, found.number),
    )


def remove_set(connection: sqlite3.Connection, project: str, store: str) -> None:
    found = find_set(connection, project, store)
    if found is not None:
        connection.execute("DELETE FROM sets WHERE number = ?", (found.number,))
        connection.execute("INSERT INTO gone (number, upto) VALUES (?, ?)", (found.number, found.upto))


def free(connection: sqlite3.Connection) -> bool:
    """Take away some chunks of a store that is gone; whether there may be more."""
    row = connection.execute("SELECT number, upto FROM gone LIMIT 1").fetchone()
    if row is None:
        return False
    gone = _Gone(*row)
    chunks = connection.execute(
        "SELECT number FROM chunks WHERE set_number = ? LIMIT ?", (gone.number, _SWEPT)
    ).fetchall()
    _take_away(connection, gone, [number for (number,) in chunks])
    if len(chunks) < _SWEPT:
        connection.execute("DELETE FROM gone WHERE number = ?", (gone.number,))
    return True


class _Gone(NamedTuple):
    number: int
    upto: int | None


def _take_away(connection: sqlite3.Connection, found: SqliteSet | _Gone, numbers: Sequence[int]) -> None:
    sqlite_words.remove(connection, found, numbers)
    for number in numbers:
        connection.execute("DELETE FROM texts WHERE number = ?", (number,))
        connection.execute("DELETE FROM chunks WHERE number = ?", (number,))


# --- words -----------------------------------------------------------------------------------------------------------


def matching(
    connection: sqlite3.Connection, project: str, store: str, query: str, limit: int, files: Collection[str] | None
) -> list[Found]:
    found = find_set(connection, project, store)
    if found is None:
        return []
    terms = words.terms(query)
    frequencies = {term: sqlite_words.frequency(connection, found, term) for term in terms}
    worth, chosen = words.weigh(frequencies, found.chunks)
    if not chosen:
        return []
    numbers = sqlite_words.best(connection, found, chosen, limit, files)
    measure = words.share(worth)
    hits = [
        Found(file_id, position, text, measure(text)) for _, file_id, position, text in chunks_of(connection, numbers)
    ]
    return sorted(hits, key=lambda hit: -hit.score)  # of equals, BM25's order stays
