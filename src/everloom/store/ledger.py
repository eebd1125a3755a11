"""The ledger's SQL and procedures, for both databases (``Ledger`` in ``base.py`` says what they mean).

A query is one statement, so that it sees one state: whole days and hours come from the sums, what is not in those yet
and the odd minutes at both ends from the rows. ``docs/decisions/ledger.md`` has the numbers.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from msgspec.structs import astuple

from everloom.objects.ledger import DAY, DIMENSIONS, HOUR, MEASURES, LedgerQuery, LedgerRow, LedgerSum
from everloom.store.sql import Dialect, Procedure, Statement, numbered

_keep = lru_cache(maxsize=2048)

ROLLED_AT_ONCE = 5000
"""Rows that one transaction adds to the sums, or those of one second: some tens of milliseconds."""

LOCK = 0x65766572_6C656467
"""PostgreSQL's advisory lock under which one process at a time rolls rows up (``everledg`` in ASCII)."""

_COLUMNS = LedgerRow.__struct_fields__
_TEXTS = {"kind", "project", "key_id", "user_id", "model", "size", "source"}


def append(dialect: Dialect, rows: Sequence[LedgerRow]) -> Procedure[None]:
    """``Ledger.append``, to be run inside a transaction."""
    values = [astuple(row) for row in rows]
    if dialect == "sqlite":
        # Many in a statement, since each lets others run in between, at the expense of both; and few such statements,
        # since they are prepared once each.
        begin = 0
        for many in _AT_ONCE:
            while len(values) - begin >= many:
                some = values[begin : begin + many]
                yield Statement(_insert_values(many), [each for one in some for each in one], True)
                begin += many
    elif values:
        columns = [[_stored(each) for each in one] for one in zip(*values, strict=True)]
        yield Statement(_insert_arrays(), columns, True)


def _stored(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


_AT_ONCE = (32, 8, 1)
"""Rows of one statement on SQLite, the most first."""

_INSERT = f"INSERT INTO ledger ({', '.join(_COLUMNS)}, rolled)"
_UNLESS_THERE = "ON CONFLICT (at, id) DO NOTHING"


@_keep
def _insert_values(many: int) -> str:
    """Inserts so many rows that do not stand yet, from their values one after another."""
    row = f"({'?, ' * len(_COLUMNS)}0)"
    return f"{_INSERT} VALUES {', '.join([row] * many)} {_UNLESS_THERE}"


@_keep
def _insert_arrays() -> str:
    """Inserts rows that do not stand yet, from an array a column."""
    arrays = (f"?::{'text' if column in _TEXTS else 'bigint'}[]" for column in _COLUMNS)
    return numbered("postgresql", f"{_INSERT} SELECT *, 0 FROM unnest({', '.join(arrays)}) {_UNLESS_THERE}")


# --- sums ----------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A stretch of time, and what is summed there."""

    of: Literal["rows", "fresh", "hours", "days"]
    start: int
    end: int


_FROM = {
    "rows": "ledger WHERE ",
    "fresh": "ledger WHERE rolled = 0 AND ",
    "hours": f"ledger_sums WHERE width = {HOUR} AND ",
    "days": f"ledger_sums WHERE width = {DAY} AND ",
}

_WIDTHS = {"hours": HOUR, "days": DAY}


def total(dialect: Dialect, query: LedgerQuery) -> Procedure[list[LedgerSum]]:
    """``Ledger.total``."""
    parts = list(_parts(query))
    if not parts:
        return []
    values = [[_stored(value) for value in some] for some in query.where.values()]
    filters = [values] if dialect == "postgresql" else values
    parameters = [each for part in parts for each in (part.start, part.end, *(one for some in filters for one in some))]
    shape = tuple((column, len(some) if dialect == "sqlite" else 0) for column, some in query.where.items())
    asked = (query.width, query.kinds, query.group_by, query.measures)
    rows = yield Statement(_sums(dialect, tuple(part.of for part in parts), *asked, shape), parameters)
    return _merged(rows, query)


def _parts(query: LedgerQuery) -> Iterator[_Part]:
    """The query's time in stretches, each summed from the widest sums that lie within it."""
    start, end = query.start, query.end
    first, last = -(-start // HOUR) * HOUR, end // HOUR * HOUR
    if query.width < HOUR or first >= last:
        if start < end:
            yield _Part("rows", start, end)
        return
    if start < first:
        yield _Part("rows", start, first)
    if last < end:
        yield _Part("rows", last, end)
    yield _Part("fresh", first, last)
    dawn, dusk = -(-first // DAY) * DAY, last // DAY * DAY
    if query.width < DAY or dawn >= dusk:
        yield _Part("hours", first, last)
        return
    if first < dawn:
        yield _Part("hours", first, dawn)
    yield _Part("days", dawn, dusk)
    if dusk < last:
        yield _Part("hours", dusk, last)


@_keep
def _sums(
    dialect: Dialect,
    parts: tuple[str, ...],
    width: int,
    kinds: tuple[str, ...],
    group_by: tuple[str, ...],
    measures: tuple[str, ...],
    filters: tuple[tuple[str, int], ...],
) -> str:
    """Bucket, kind, group and sums of each part; parameters, of each part: start, end, those of ``filters``.

    Kinds are merged afterwards: grouped by them too, SQLite reads sums by model in the order in which they lie.
    """
    if unknown := {*group_by, *(column for column, _ in filters)} - {*DIMENSIONS} | ({*measures} - {*MEASURES}):
        raise ValueError(f"the ledger has no {unknown}")
    sums = ", ".join(f"CAST(SUM({measure}) AS BIGINT)" for measure in measures)
    fits = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    for column, count in filters:
        fits += f" AND {column} " + (f"IN ({', '.join('?' * count)})" if dialect == "sqlite" else "= ANY(?)")
    texts = []
    for part in parts:
        bucket = "at" if width == _WIDTHS.get(part) else f"at - at % {width}"
        groups = ", ".join((bucket, "kind", *group_by))
        texts.append(f"SELECT {groups}, {sums} FROM {_FROM[part]}at >= ? AND at < ? AND {fits} GROUP BY {groups}")
    return numbered(dialect, " UNION ALL ".join(texts))


def _merged(rows: Sequence[Any], query: LedgerQuery) -> list[LedgerSum]:
    """One sum a bucket and group, in the order of these."""
    width = 2 + len(query.group_by)
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        key, numbers = (row[0], *row[2:width]), list(row[width:])
        if (known := sums.get(key)) is not None:
            numbers = [one + other for one, other in zip(known, numbers, strict=True)]
        sums[key] = numbers
    return [
        LedgerSum(
            at=key[0],
            group=dict(zip(query.group_by, key[1:], strict=True)),
            sums=dict(zip(query.measures, sums[key], strict=True)),
        )
        for key in sorted(sums)
    ]


# --- rolling up ----------------------------------------------------------------------------------------------------


def roll(dialect: Dialect, before: int) -> Procedure[int]:
    """``Ledger.roll``, to be run inside a transaction."""
    if dialect == "postgresql":
        yield Statement("SELECT pg_advisory_xact_lock($1)", [LOCK])
    ((first, last, count),) = yield Statement(_oldest(dialect), [before, ROLLED_AT_ONCE])
    if not count:
        return 0
    end = last if count == ROLLED_AT_ONCE and last > first else last + 1
    end = min(end, first - first % HOUR + HOUR, before)
    for text in _rolling(dialect):
        yield Statement(text, [first, end], True)
    moved: int = count
    return moved


@_keep
def _oldest(dialect: Dialect) -> str:
    """The first and last second of the oldest rows that are not in the sums, and their number; parameters: before what
    second, how many.
    """
    some = "SELECT at FROM ledger WHERE rolled = 0 AND at < ? ORDER BY at LIMIT ?"
    return numbered(dialect, f"SELECT MIN(at), MAX(at), COUNT(*) FROM ({some}) AS oldest")


@_keep
def _rolling(dialect: Dialect) -> tuple[str, ...]:
    """What adds the rows from one second to before another to the sums. On PostgreSQL one statement, since another
    transaction's rows may come between two.
    """
    fresh = "rolled = 0 AND at >= ? AND at < ?"
    if dialect == "sqlite":
        upserts = tuple(_upsert(width, f"ledger WHERE {fresh}") for width in (HOUR, DAY))
        return (*upserts, f"UPDATE ledger SET rolled = 1 WHERE {fresh}")
    columns = ", ".join(("at", *DIMENSIONS, *MEASURES))
    moved = f"moved AS (UPDATE ledger SET rolled = 1 WHERE {fresh} RETURNING {columns})"
    upsert = _upsert(DAY, "moved")
    return (numbered(dialect, f"WITH {moved}, hours AS ({_upsert(HOUR, 'moved')}) {upsert}"),)


def _upsert(width: int, source: str) -> str:
    columns = ", ".join((*DIMENSIONS, *MEASURES))
    sums = ", ".join(f"CAST(SUM({measure}) AS BIGINT)" for measure in MEASURES)
    added = ", ".join(f"{measure} = ledger_sums.{measure} + excluded.{measure}" for measure in MEASURES)
    groups = ", ".join(str(number) for number in range(2, 3 + len(DIMENSIONS)))
    return (
        f"INSERT INTO ledger_sums (width, at, {columns})"
        f" SELECT {width}, at - at % {width}, {', '.join(DIMENSIONS)}, {sums} FROM {source} GROUP BY {groups}"
        f" ON CONFLICT (width, at, {', '.join(DIMENSIONS)}) DO UPDATE SET {added}"
    )
