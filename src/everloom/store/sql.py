"""The store's SQL, text by text: one builder for both databases, each text built once and kept.

Names of tables and columns come from ``kinds.py`` alone; everything a caller says is a parameter.
"""

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

from everloom.store.kinds import Kind
from everloom.store.terms import asked

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


def conditions(
    dialect: Dialect, kind: Kind, where: Mapping[str, Any], project: str | None = None
) -> tuple[tuple[str, ...], list[Any]]:
    """``where`` as conditions and their parameters. ``ValueError`` for a column that the kind has not.

    Booleans stand in the text, since only that lets a partial index be used. With a project, a kind's terms may be
    asked for as columns may.
    """
    texts: list[str] = []
    parameters: list[Any] = []
    for column, value in where.items():
        if project is not None and column in kind.terms:
            texts.append("id IN (SELECT id FROM postings WHERE term = ?)")
            parameters.append(asked(project, kind, column, value))
            continue
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
    walked: bool = False,
    terms: int = 0,
) -> str:
    """``columns`` in ``order``; parameters: project, those of ``fits``, ``terms`` of them that a row must have too, of
    each position, then the limit. ``walked``: it is a term's postings that are walked, and this term is the first
    parameter of all.

    A position has project and id, a rank and the id; before them, where there is one, what ``parent`` must be.
    """
    onward, back = (">", "<") if order == "asc" else ("<", ">")
    text = f"SELECT {columns} FROM {kind.table}"
    if walked:
        text = f"SELECT {columns} FROM postings AS p CROSS JOIN {kind.table}"
    at = "p" if walked else kind.table
    joined = f"p.term = ? AND {kind.table}.id = p.id AND " if walked else ""
    text += f" WHERE {joined}project = ?{_and(fits)}{_HAS_TERM.format(at=at) * terms}"
    for there, side in ((after, onward), (before, back)):
        if there:
            rank = f"CASE WHEN {parent} = ? THEN rank ELSE {_FAR[side]} END" if parent else "rank"
            text += f" AND ({at}.rank, {at}.id) {side} {_POSITION.format(table=kind.table, rank=rank)}"
    return numbered(dialect, f"{text} ORDER BY {at}.rank {order}, {at}.id {order} LIMIT ?")


_HAS_TERM = (
    " AND (SELECT 1 FROM postings AS q WHERE q.term = ? AND q.rank = {at}.rank AND q.id = {at}.id LIMIT 1) IS NOT NULL"
)
"""In a form that no planner makes a join of, which would read all that have the term."""


@_keep
def merged(dialect: Dialect, pages: tuple[str, ...], order: str) -> str:
    """The first of several pages of ``rank, id, body``, in SQLite's style, whose rows are different ones; parameters:
    theirs, then the limit. Each walks an index of its own.
    """
    parts = " UNION ALL ".join(f"SELECT * FROM ({page}) AS page_{number}" for number, page in enumerate(pages))
    return numbered(dialect, f"SELECT body FROM ({parts}) AS merged ORDER BY rank {order}, id {order} LIMIT ?")


@_keep
def count(dialect: Dialect, kind: Kind | None, fits: tuple[str, ...]) -> str:
    """How many fit, or how many have a term (without a kind); parameters: project and those of ``fits``, or the term,
    then the number beyond which nobody cares.
    """
    some = "postings WHERE term = ?" if kind is None else f"{kind.table} WHERE project = ?{_and(fits)}"
    return numbered(dialect, f"SELECT COUNT(*) FROM (SELECT 1 FROM {some} LIMIT ?) AS counted")


@_keep
def everything(dialect: Dialect, kind: Kind, fits: tuple[str, ...], *, lock: bool = False) -> str:
    """All bodies of a project that fit, oldest first; ``lock`` as in ``get``."""
    text = f"SELECT body FROM {kind.table} WHERE project = ?{_and(fits)} ORDER BY rank, id"
    if lock and dialect == "postgresql":
        text += " FOR UPDATE"
    return numbered(dialect, text)


@_keep
def first(dialect: Dialect, kind: Kind, fits: tuple[str, ...], count: int = 1) -> str:
    """The oldest body that fits, or so many of them."""
    return everything(dialect, kind, fits) + f" LIMIT {count}"


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
def going(dialect: Dialect, kind: Kind, fits: tuple[str, ...]) -> str:
    """``id, body`` of what fits, locked until the transaction ends; parameters: project and those of ``fits``."""
    text = f"SELECT id, body FROM {kind.table} WHERE project = ?{_and(fits)}"
    return numbered(dialect, text + (" FOR UPDATE" if dialect == "postgresql" else ""))


@_keep
def post(dialect: Dialect, kind: Kind, count: int) -> str:
    """Posts an object; parameters: its new terms (PostgreSQL: a list of them), project, id."""
    given = "unnest(?::bytea[]) AS given(term)"
    if dialect == "sqlite":
        given = f"(SELECT column1 AS term FROM (VALUES {', '.join(['(?)'] * count)})) AS given"
    return numbered(
        dialect,
        f"INSERT INTO postings (term, rank, id) SELECT given.term, rank, id FROM {given}, {kind.table}"
        " WHERE project = ? AND id = ? ON CONFLICT (term, rank, id) DO NOTHING",
    )


@_keep
def unpost(dialect: Dialect, kind: Kind, count: int) -> str:
    """Takes postings of an object away while its row stands; parameters: the terms as in ``post``, id, project, id."""
    given = "= ANY(?)" if dialect == "postgresql" else f"IN ({', '.join('?' * count)})"
    return numbered(
        dialect,
        f"DELETE FROM postings WHERE term {given} AND id = ?"
        f" AND rank = (SELECT rank FROM {kind.table} WHERE project = ? AND id = ?)",
    )


@_keep
def post_many(dialect: Dialect, count: int) -> str:
    """Adds postings; parameters: ``term, rank, id`` of each, or (PostgreSQL) the three columns as lists."""
    rows = f"VALUES {', '.join(['(?, ?, ?)'] * count)}"
    if dialect == "postgresql":
        rows = "SELECT * FROM unnest(?::bytea[], ?::bigint[], ?::text[])"
    return numbered(dialect, f"INSERT INTO postings (term, rank, id) {rows} ON CONFLICT (term, rank, id) DO NOTHING")


@_keep
def piece(dialect: Dialect, kind: Kind, fits: tuple[str, ...] = ()) -> str:
    """``project, id, rank, body`` of all projects behind a place; parameters: the place, those of ``fits``, the limit.

    A place is a project and an id; where something has to fit, a rank, an id and a project, as in partial indexes.
    """
    by, place = ("rank, id, project", "?, ?, ?") if fits else ("project, id", "?, ?")
    text = f"SELECT project, id, rank, body FROM {kind.table} WHERE ({by}) > ({place}){_and(fits)}"
    return numbered(dialect, f"{text} ORDER BY {by} LIMIT ?")


_INTO_EVENTS = "INSERT INTO events (project, log, seq, name, data) VALUES "

TELL_ONE = f"{_INTO_EVENTS}(?, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE project = ? AND log = ?), ?, ?)"
"""SQLite: appends an event to a log: project, log, project, log, name, data."""


@_keep
def tell_behind(count: int) -> str:
    """SQLite: appends so many events to a log: project, log, its last seq, then name and data of each."""
    return _INTO_EVENTS + ", ".join(f"(?1, ?2, ?3 + {n}, ?{2 * n + 2}, ?{2 * n + 3})" for n in range(1, count + 1))


TELL = (
    "INSERT INTO events (project, log, seq, name, data)"
    " SELECT $1::text, $2::text, n + (SELECT COALESCE(MAX(seq), 0) FROM events WHERE project = $1 AND log = $2),"
    " name, data FROM unnest($3::text[], $4::bytea[]) WITH ORDINALITY AS told (name, data, n)"
)
"""PostgreSQL: appends events to a log: project, log, the names, the data of each."""


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
def put_event(dialect: Dialect) -> str:
    """Puts a row into a log; parameters: project, log, seq, name, data."""
    return numbered(dialect, "INSERT INTO events (project, log, seq, name, data) VALUES (?, ?, ?, ?, ?)")


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


@_keep
def backlog(dialect: Dialect) -> str:
    """Of each lane that has any: how many jobs' time has come, the oldest id of those that were not put off, and the
    earliest time of those that were; parameters: the latest time, one beyond all.
    """
    text = (
        "SELECT lane, count(*), min(CASE WHEN due = 0 THEN id END), min(CASE WHEN due > 0 THEN due END)"
        " FROM outbox WHERE due <= ? OR due > ? GROUP BY lane"
    )
    return numbered(dialect, text)


@_keep
def tally(dialect: Dialect, kind: Kind, name: str, fits: tuple[str, ...]) -> str:
    """How many objects have each value of a text in their bodies, in all projects; parameters: those of ``fits``."""
    read = {
        "sqlite": f"json_extract(CAST(body AS TEXT), '$.{name}')",
        "postgresql": f"convert_from(body, 'UTF8')::jsonb ->> '{name}'",
    }
    some = f" WHERE {' AND '.join(fits)}" if fits else ""
    return numbered(dialect, f"SELECT {read[dialect]}, count(*) FROM {kind.table}{some} GROUP BY 1")


DONE: dict[Dialect, str] = {
    "sqlite": "DELETE FROM outbox WHERE id = ?",
    "postgresql": "DELETE FROM outbox WHERE id = ANY($1)",
}
"""Takes jobs out of the outbox: SQLite one at a time, PostgreSQL a list of them."""

TOUCH = "UPDATE alembic_version SET version_num = version_num"
"""A write like any other, of the smallest table there is."""

LOCK_LOG = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
"""PostgreSQL: one transaction at a time appends to a log, so that what has a lower seq is seen no later."""


def begin_with_lock(log: str) -> str:
    """PostgreSQL: ``BEGIN`` and ``LOCK_LOG`` in one trip, which takes no parameters; hexadecimal needs no quoting."""
    name = f"convert_from(decode('{log.encode().hex()}', 'hex'), 'UTF8')"
    return f"BEGIN; SELECT pg_advisory_xact_lock(hashtextextended({name}, 0))"


_EMPTY = {"sqlite": "x''", "postgresql": "''"}


def _and(fits: tuple[str, ...]) -> str:
    return "".join(f" AND {fit}" for fit in fits)


def numbered(dialect: Dialect, text: str) -> str:
    """The text with its parameters as the database's driver writes them."""
    if dialect == "sqlite":
        return text
    head, *rest = text.split("?")
    return head + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
