"""The store's SQL, text by text: one builder for both databases, each text built once and kept.

Names of tables and columns come from ``kinds.py`` alone; everything a caller says is a parameter.
"""

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

from everloom.store.kinds import Kind

R = TypeVar("R")

Dialect = Literal["sqlite", "postgresql"]


class Statement(NamedTuple):
    """SQL to be run. The procedure is sent its rows or, with ``counts``, the number of rows it touched."""

    text: str
    parameters: Sequence[Any]
    counts: bool = False


Procedure = Generator[Statement, Any, R]
"""What a verb of the store is made of: see ``procedures.py``."""

_keep = lru_cache(maxsize=2048)

_POSITION = "(COALESCE((SELECT {rank} FROM {table} WHERE project = ? AND id = ?), ?), ?)"
"""Where a cursor stands: the rank of its row, or the given one where the row is gone, and its id."""

_FAR = {">": 2**63 - 1, "<": -1}
"""Where the row of another list stands: behind everything, so that no row follows it."""


def conditions(dialect: Dialect, kind: Kind, where: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Any]]:
    """``where`` as conditions and their parameters. ``ValueError`` for a column that the kind has not.

    Booleans stand in the text, since only that lets a partial index be used.
    """
    texts: list[str] = []
    parameters: list[Any] = []
    for column, value in where.items():
        if column not in kind.index and column != "id":
            raise ValueError(f"{kind.table} has no column {column!r}")
        if value is None:
            texts.append(f"{column} IS NULL")
        elif value is True or value is False:
            texts.append(f"{column} = {value:d}")
        elif not isinstance(value, list | tuple):
            texts.append(f"{column} = ?")
            parameters.append(value)
        elif dialect == "postgresql":
            texts.append(f"{column} = ANY(?)")
            parameters.append(list(value))
        else:
            texts.append(f"{column} IN ({', '.join('?' * len(value))})")
            parameters.extend(value)
    return tuple(texts), parameters


@_keep
def get(dialect: Dialect, kind: Kind, fits: tuple[str, ...], *, lock: bool = False) -> str:
    """The body of (project, id) if it fits; ``lock`` keeps others from changing it until the transaction ends."""
    text = f"SELECT body FROM {kind.table} WHERE project = ? AND id = ?{_and(fits)}"
    if lock and dialect == "postgresql":  # SQLite's one writer needs no locks
        text += " FOR UPDATE"
    return numbered(dialect, text)


@_keep
def page(
    dialect: Dialect,
    kind: Kind,
    columns: str,
    fits: tuple[str, ...],
    order: str,
    after: bool,
    before: bool,
    parent: str | None = None,
) -> str:
    """``columns`` in ``order``; parameters: project, those of ``fits``, of each position, then the limit.

    A position has project and id, a rank and the id; before them, where there is one, what ``parent`` must be.
    """
    onward, back = (">", "<") if order == "asc" else ("<", ">")
    text = f"SELECT {columns} FROM {kind.table} WHERE project = ?{_and(fits)}"
    for there, side in ((after, onward), (before, back)):
        if there:
            rank = f"CASE WHEN {parent} = ? THEN rank ELSE {_FAR[side]} END" if parent else "rank"
            text += f" AND (rank, id) {side} {_POSITION.format(table=kind.table, rank=rank)}"
    return numbered(dialect, f"{text} ORDER BY rank {order}, id {order} LIMIT ?")


@_keep
def everything(dialect: Dialect, kind: Kind, fits: tuple[str, ...], *, lock: bool = False) -> str:
    """All bodies of a project that fit, oldest first; ``lock`` as in ``get``."""
    text = f"SELECT body FROM {kind.table} WHERE project = ?{_and(fits)} ORDER BY rank, id"
    if lock and dialect == "postgresql":
        text += " FOR UPDATE"
    return numbered(dialect, text)


@_keep
def first(dialect: Dialect, kind: Kind, fits: tuple[str, ...]) -> str:
    """The oldest body that fits."""
    return everything(dialect, kind, fits) + " LIMIT 1"


@_keep
def across(dialect: Dialect, kind: Kind, fits: tuple[str, ...]) -> str:
    """``project, body`` of every project, oldest first; parameters: those of ``fits``, then the limit."""
    some = f" WHERE {' AND '.join(fits)}" if fits else ""
    return numbered(dialect, f"SELECT project, body FROM {kind.table}{some} ORDER BY rank, id LIMIT ?")


@_keep
def add(dialect: Dialect, kind: Kind) -> str:
    """Inserts project, id, rank, body and the index columns, unless (project, id) stands already."""
    columns = ("project", "id", "rank", "body", *kind.index)
    return numbered(
        dialect,
        f"INSERT INTO {kind.table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        " ON CONFLICT (project, id) DO NOTHING",
    )


@_keep
def change(dialect: Dialect, kind: Kind, columns: tuple[str, ...]) -> str:
    """Sets the body and ``columns`` of (project, id)."""
    sets = ", ".join(f"{column} = ?" for column in ("body", *columns))
    return numbered(dialect, f"UPDATE {kind.table} SET {sets} WHERE project = ? AND id = ?")


@_keep
def remove(dialect: Dialect, kind: Kind, fits: tuple[str, ...]) -> str:
    """Deletes what fits in a project."""
    return numbered(dialect, f"DELETE FROM {kind.table} WHERE project = ?{_and(fits)}")


@_keep
def tell(dialect: Dialect) -> str:
    """Appends to a log; parameters: project, log, project, log, name, data."""
    return numbered(
        dialect,
        "INSERT INTO events (project, log, seq, name, data) VALUES (?, ?,"
        " (SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE project = ? AND log = ?), ?, ?)",
    )


@_keep
def retract(dialect: Dialect) -> str:
    """Blanks a log's events from a seq on; their rows stay, so that no seq is given twice."""
    text = f"UPDATE events SET name = '', data = {_EMPTY[dialect]} WHERE project = ? AND log = ? AND seq >= ?"
    return numbered(dialect, text)


@_keep
def drop_log(dialect: Dialect) -> str:
    """Deletes a log; parameters: project, log."""
    return numbered(dialect, "DELETE FROM events WHERE project = ? AND log = ?")


@_keep
def events(dialect: Dialect) -> str:
    """``seq, name, data`` behind a seq; parameters: project, log, seq, limit."""
    return numbered(
        dialect,
        "SELECT seq, name, data FROM events"
        " WHERE project = ? AND log = ? AND seq > ? AND name <> '' ORDER BY seq LIMIT ?",
    )


@_keep
def last_seq(dialect: Dialect) -> str:
    """The highest seq of a log, 0 where it has none; parameters: project, log."""
    return numbered(dialect, "SELECT COALESCE(MAX(seq), 0) FROM events WHERE project = ? AND log = ?")


@_keep
def start(dialect: Dialect) -> str:
    """Puts a job into the outbox: id, project, kind, key, lane, due. A write that is made again brings the same ids."""
    return numbered(
        dialect,
        "INSERT INTO outbox (id, project, kind, key, lane, due) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )


@_keep
def waiting(dialect: Dialect) -> str:
    """The oldest jobs of a lane whose time has come; parameters: lane, the latest time, one beyond all, limit."""
    text = (
        "SELECT id, project, kind, key, lane FROM outbox WHERE lane = ? AND (due <= ? OR due > ?) ORDER BY id LIMIT ?"
    )
    return numbered(dialect, text)


DONE: dict[Dialect, str] = {
    "sqlite": "DELETE FROM outbox WHERE id = ?",
    "postgresql": "DELETE FROM outbox WHERE id = ANY($1)",
}
"""Takes jobs out of the outbox: SQLite one at a time, PostgreSQL a list of them."""

TOUCH = "UPDATE alembic_version SET version_num = version_num"
"""A write like any other, of the smallest table there is."""

LOCK_LOG = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
"""PostgreSQL: one transaction at a time appends to a log, so that what has a lower seq is seen no later."""

_EMPTY = {"sqlite": "x''", "postgresql": "''"}


def _and(fits: tuple[str, ...]) -> str:
    return "".join(f" AND {fit}" for fit in fits)


def numbered(dialect: Dialect, text: str) -> str:
    """The text with its parameters as the database's driver writes them."""
    if dialect == "sqlite":
        return text
    head, *rest = text.split("?")
    return head + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
