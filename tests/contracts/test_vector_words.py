"""The index of words in SQLite: each store's its own, and a file of an earlier release moves over to that."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from everloom.vectors import sqlite, sqlite_words
from everloom.vectors.base import Chunk, Vectors
from everloom.vectors.exact import pack
from everloom.vectors.sqlite import SqliteVectors

EARLIER = """
CREATE TABLE sets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, store TEXT NOT NULL,
    dimensions INTEGER NOT NULL, chunks INTEGER NOT NULL DEFAULT 0, vectors INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0, removals INTEGER NOT NULL DEFAULT 0, UNIQUE (project, store));
CREATE TABLE gone (number INTEGER PRIMARY KEY);
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, set_number INTEGER NOT NULL, file_id TEXT NOT NULL,
    position INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX ix_chunks_set ON chunks (set_number);
CREATE INDEX ix_chunks_file ON chunks (set_number, file_id);
CREATE TABLE texts (number INTEGER PRIMARY KEY, place TEXT NOT NULL, text TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5(
    place, text, content='texts', content_rowid='number', tokenize="unicode61 remove_diacritics 2");
"""
"""What the release before 2026-12 made."""

TEXTS = ("Déjà vu in the harbour", "a boat, a second boat", "the night train", "boat and train")


def a_chunk(position: int, text: str) -> Chunk:
    return Chunk(position, text, [[1.0, 0.0]])


def an_earlier_file(path: Path) -> None:
    """Two stores with the same four texts, taken in turns, and one that is being taken away."""
    with closing(sqlite3.connect(path)) as file, file:
        file.executescript(EARLIER)
        for number, store in enumerate(("a", "b"), start=1):
            row = (number, "p", store, 2, len(TEXTS), len(TEXTS))
            file.execute(
                "INSERT INTO sets (number, project, store, dimensions, chunks, vectors) VALUES (?,?,?,?,?,?)", row
            )
        file.execute("INSERT INTO gone VALUES (3)")
        for position, text in enumerate(TEXTS):
            for set_number in (1, 2, 3):
                number = position * 3 + set_number
                data = pack(a_chunk(position, text), 2)
                file.execute(
                    "INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", (number, set_number, f"f{position}", position, data)
                )
                file.execute("INSERT INTO texts VALUES (?, ?, ?)", (number, f"s{set_number}", text))
                file.execute(
                    "INSERT INTO words (rowid, place, text) VALUES (?, ?, ?)", (number, f"s{set_number}", text)
                )


async def hits(vectors: Vectors, store: str, query: str) -> list[str]:
    return [found.text for found in await vectors.matching("p", store, query, 10)]


async def until(path: Path, done: Callable[[sqlite3.Connection], bool]) -> None:
    deadline = time.monotonic() + 60
    with closing(sqlite3.connect(path)) as file:
        while not done(file):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def has_moved(file: sqlite3.Connection) -> bool:
    return not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchall()


def test_an_earlier_file_moves_over(tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    an_earlier_file(path)

    async def check() -> None:
        vectors = SqliteVectors(path)
        await vectors.open()
        await until(path, has_moved)
        for store in ("a", "b"):
            assert await hits(vectors, store, "boat") == [TEXTS[1], TEXTS[3]]
            assert await hits(vectors, store, "DEJA") == [TEXTS[0]]
        await vectors.close()
        with closing(sqlite3.connect(path)) as file:
            assert file.execute("SELECT count(*) FROM chunks").fetchone() == (8,), "what was gone has gone"
            file.execute("INSERT INTO store_words (store_words) VALUES ('integrity-check')")

    asyncio.run(check())


@pytest.mark.parametrize("moved", range(5))
def test_it_is_searched_and_changed_while_it_moves(moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk in a transaction, and the process dies behind ``moved`` of them."""
    path = tmp_path / "vectors.db"
    an_earlier_file(path)
    monkeypatch.setattr(sqlite_words, "_MOVED", 1)
    go_on, left = sqlite_words.move, [moved]

    def some(connection: sqlite3.Connection) -> bool:
        left[0] -= 1
        return left[0] >= 0 and go_on(connection)

    async def change() -> None:
        vectors = SqliteVectors(path)
        await vectors.open()
        await until(path, lambda file: left[0] < 0)
        assert await hits(vectors, "a", "boat") == [TEXTS[1], TEXTS[3]]
        await vectors.put("p", "a", "f1", [a_chunk(0, "a boat that was put anew")])
        await vectors.remove("p", "a", "f0")
        await vectors.put("p", "a", "new", [a_chunk(0, "a new harbour")])
        assert await hits(vectors, "a", "boat") == ["boat and train", "a boat that was put anew"]
        assert await hits(vectors, "a", "harbour deja") == ["a new harbour"]
        await vectors.remove("p", "b")
        await vectors.close()

    async def go_on_from_there() -> None:
        vectors = SqliteVectors(path)
        await vectors.open()
        await until(path, has_moved)
        assert set(await hits(vectors, "a", "boat")) == {"boat and train", "a boat that was put anew"}
        assert await hits(vectors, "a", "harbour deja") == ["a new harbour"]
        assert await hits(vectors, "b", "boat") == []
        await until(path, lambda file: file.execute("SELECT count(*) FROM chunks").fetchone() == (4,))
        await vectors.close()

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_words, "move", some)
        asyncio.run(change())
    asyncio.run(go_on_from_there())
    with closing(sqlite3.connect(path)) as file:
        held = file.execute("SELECT count(*) FROM store_words").fetchone()
        assert held == (4,), "nothing is left of what was taken out, wherever it stood"


def test_moving_is_tried_again_after_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vectors.db"
    an_earlier_file(path)
    move, failures = sqlite_words.move, [sqlite3.OperationalError("database or disk is full")] * 2

    def failing(connection: sqlite3.Connection) -> bool:
        if failures:
            raise failures.pop()
        return move(connection)

    async def check() -> None:
        vectors = SqliteVectors(path)
        await vectors.open()
        await until(path, has_moved)
        assert not failures
        assert await hits(vectors, "a", "boat") == [TEXTS[1], TEXTS[3]]
        await vectors.close()

    monkeypatch.setattr(sqlite_words, "move", failing)
    monkeypatch.setattr(sqlite, "AGAIN_SECONDS", 0.01)
    asyncio.run(check())


def test_words_of_others_weigh_nothing(tmp_path: Path) -> None:
    """How a store ranks does not tell what stands in the others."""

    async def check() -> None:
        vectors = SqliteVectors(tmp_path / "vectors.db")
        await vectors.open()
        texts = ["boat boat boat", "train", "boat train", "harbour", "snow"]
        await vectors.put("p", "mine", "f", [a_chunk(at, text) for at, text in enumerate(texts)])
        alone = await vectors.matching("p", "mine", "boat train", 10)
        for other in range(20):
            await vectors.put("q", f"other{other}", "f", [a_chunk(at, "train train") for at in range(20)])
        assert await vectors.matching("p", "mine", "boat train", 10) == alone
        await vectors.close()

    asyncio.run(check())
