"""The vectors' port: chunks of text with their vectors, searched by nearness and by words.

A chunk longer than the embedding model reads at once has several vectors; its nearest one counts.
Adapters: ``sqlite.py`` (exact search in numpy, FTS5) and ``postgres.py`` (pgvector where it is installed,
exact where not; full-text search of PostgreSQL); contract suite: ``tests/contracts/test_vectors.py``.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct

Vector = Sequence[float]
"""Unit length; all vectors of one store have the same number of dimensions."""


class Chunk(Struct, frozen=True):
    """A piece of a file. ``position`` counts the pieces of the file from 0; ``vectors`` are one or more."""

    position: int
    text: str
    vectors: Sequence[Vector]


class Found(Struct, frozen=True):
    """A chunk that answers a query. ``score``: cosine for nearness (-1..1), 0..1 for words, higher is better."""

    file_id: str
    position: int
    text: str
    score: float


class Vectors(Protocol):
    """``project`` and ``store`` (a vector store's id) together name where chunks are."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def put(self, project: str, store: str, file_id: str, chunks: Sequence[Chunk]) -> None:
        """Keep a file's chunks in place of those it had there; all of them or none. Durable when it returns."""
        ...

    async def remove(self, project: str, store: str, file_id: str | None = None) -> None:
        """Forget a file's chunks, or the whole store's."""
        ...

    async def nearest(
        self, project: str, store: str, vector: Vector, limit: int, files: Collection[str] | None = None
    ) -> list[Found]:
        """The chunks nearest to ``vector``, best first; among ``files`` alone where given."""
        ...

    async def matching(
        self, project: str, store: str, words: str, limit: int, files: Collection[str] | None = None
    ) -> list[Found]:
        """The chunks that hold words of ``words`` (any text a user wrote), best first."""
        ...

    async def count(self, project: str, store: str) -> int:
        """How many chunks a store has."""
        ...
