"""The index of words in the file of ``sqlite.py``: FTS5, in which every store has words of its own.

A word is kept with its set's number in front (``s12xboat``), so that what a search costs, and how it ranks, depends on
its own store alone. Files of earlier releases have one list of every store's words (``words``), in which a search met
all of them: their sets move over piece by piece (``sets.upto``), and are searched where they stand until they have.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable
from typing import Any, Protocol

from everloom.vectors import words

SCHEMA = "CREATE VIRTUAL TABLE IF NOT EXISTS store_words USING fts5(text, content='', tokenize='ascii');"
"""``ascii`` ends a word at a space, a mark or a sign of ASCII; all else was done by ``words.split``."""

_MOVED = 500
"""Chunks that move over in one transaction: others' writes come in between."""

_EARLIER = "SELECT 1 FROM sqlite_master WHERE name = 'words'"


class WordSet(Protocol):
    """A set, of whose chunks those up to ``upto`` are in this index; None: all of them."""

    @property
    def number(self) -> int: ...
    @property
    def upto(self) -> int | None: ...


def prepare(connection: sqlite3.Connection) -> None:
    """Note, in a file of an earlier release, that all of its sets have to move."""
    if "upto" in {row[1] for row in connection.execute("PRAGMA table_info(sets)")}:
        return
    connection.execute("BEGIN IMMEDIATE")
    for table in ("sets", "gone"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN upto INTEGER")
        connection.execute(f"UPDATE {table} SET upto = 0")
    connection.execute("COMMIT")


def add(connection: sqlite3.Connection, found: WordSet, number: int, text: str) -> None:
    """Index a new chunk."""
    if found.upto is None:
        _add(connection, found.number, number, text)
    else:
        row = (number, _place(found), text)
        connection.execute("INSERT INTO words (rowid, place, text) VALUES (?, ?, ?)", row)


def remove(connection: sqlite3.Connection, found: WordSet, numbers: Iterable[int]) -> None:
    """Take chunks out, whose texts stand there still: FTS5 is told what it indexed."""
    for number in numbers:
        for (text,) in connection.execute("SELECT text FROM texts WHERE number = ?", (number,)).fetchall():
            if found.upto is None or number <= found.upto:
                row: tuple[Any, ...] = (number, _tokens(found.number, text))
                connection.execute("INSERT INTO store_words (store_words, rowid, text) VALUES ('delete', ?, ?)", row)
            if found.upto is not None:
                row = (number, _place(found), text)
                connection.execute("INSERT INTO words (words, rowid, place, text) VALUES ('delete', ?, ?, ?)", row)


def frequency(connection: sqlite3.Connection, found: WordSet, term: str) -> int:
    """In how many of the set's chunks a term stands, counted to where it is common in any case."""
    table = _table(found)
    (count,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT ?)",
        (_match(found, [term]), words.ENOUGH + 1),
    ).fetchone()
    return int(count)


def best(
    connection: sqlite3.Connection, found: WordSet, terms: Collection[str], limit: int, files: Collection[str] | None
) -> list[int]:
    """The numbers of up to ``limit`` chunks with any of the terms, by BM25; of these ``files`` alone, if given."""
    table = _table(found)
    sql = f"SELECT c.number FROM {table} JOIN chunks c ON c.number = {table}.rowid WHERE {table} MATCH ?"
    parameters: list[Any] = [_match(found, terms)]
    if files is not None:
        sql += " AND c.file_id IN (SELECT value FROM json_each(?))"
        parameters.append(json.dumps(list(files)))
    weights = "" if found.upto is None else ", 0.0, 1.0"
    sql += f" ORDER BY bm25({table}{weights}), c.number LIMIT ?"
    return [number for (number,) in connection.execute(sql, [*parameters, limit])]


def move(connection: sqlite3.Connection) -> bool:
    """Have some chunks of an earlier release's file move over; whether there may be more to do."""
    row = connection.execute("SELECT number, upto FROM sets WHERE upto IS NOT NULL LIMIT 1").fetchone()
    if row is None:
        if connection.execute(f"{_EARLIER} AND NOT EXISTS (SELECT 1 FROM gone WHERE upto IS NOT NULL)").fetchone():
            connection.execute("DROP TABLE words")
        return False
    number, upto = row
    chunks = connection.execute(
        "SELECT number, text FROM chunks JOIN texts USING (number) WHERE set_number = ? AND number > ?"
        " ORDER BY number LIMIT ?",
        (number, upto, _MOVED),
    ).fetchall()
    for chunk, text in chunks:
        _add(connection, number, chunk, text)
    reached = chunks[-1][0] if len(chunks) == _MOVED else None
    connection.execute("UPDATE sets SET upto = ? WHERE number = ?", (reached, number))
    return True


def _add(connection: sqlite3.Connection, set_number: int, number: int, text: str) -> None:
    row = (number, _tokens(set_number, text))
    connection.execute("INSERT INTO store_words (rowid, text) VALUES (?, ?)", row)


def _tokens(set_number: int, text: str) -> str:
    return " ".join(f"s{set_number}x{word}" for word in words.split(text))


def _table(found: WordSet) -> str:
    return "store_words" if found.upto is None else "words"


def _place(found: WordSet) -> str:
    return f"s{found.number}"


def _match(found: WordSet, terms: Collection[str]) -> str:
    """Terms are letters and digits alone, so quotes around them are all it takes."""
    if found.upto is None:
        return " OR ".join(f'"s{found.number}x{term}"' for term in terms)
    return f'place : "{_place(found)}" AND text : (' + " OR ".join(f'"{term}"' for term in terms) + ")"
