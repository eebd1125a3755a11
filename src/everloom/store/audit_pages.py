"""Pages of the audit log by what they are filtered for, in the order of the chain, whatever the clock has said.

Each filter has an index of its own. One that matches few rows is read whole, and the others are asked of those. Where
there is one alone that matches many, the newest of each of its values are merged; where all of several match many, the
database chooses. Whole rows are read for the page alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.objects.audit import PAGE_BYTES, AuditPage, AuditQuery, AuditRow
from everloom.objects.base import encode
from everloom.store.audit import row_columns, row_from, that_fit
from everloom.store.sql import Dialect, Procedure, Statement, numbered

_keep = lru_cache(maxsize=512)

FEW = 1000
"""Rows that are read whole, some milliseconds."""

MERGED = 50
"""Values whose rows are merged."""

_ONE_OF = "IN (SELECT value FROM json_each(?))"

_FIRST, _LAST = -(2**63), 2**63 - 1


class _Filter(NamedTuple):
    """A condition on some columns, each of which may fulfil it, and its parameters for each."""

    columns: tuple[str, ...]
    test: str
    parameters: tuple[Any, ...]
    values: tuple[str, ...] = ()
    """What the columns may be, where it says so."""

    @property
    def text(self) -> str:
        return f"({' OR '.join(f'{column} {self.test}' for column in self.columns)})"

    @property
    def all_parameters(self) -> tuple[Any, ...]:
        return self.parameters * len(self.columns)


_CHAIN = _Filter(("seq",), "> ?", (0,))
"""The chain counts from 1: a row before it is somebody else's."""


def find(dialect: Dialect, query: AuditQuery) -> Procedure[AuditPage]:
    """``AuditLog.find``."""
    after = yield from _place(dialect, "after", query.after)
    before = yield from _place(dialect, "before", query.before)
    backward = before is not None and after is None
    filters = _filters(dialect, query)
    bounds = [
        _CHAIN,
        *(_Filter(("seq",), sign, (seq,)) for sign, seq in (("< ?", after), ("> ?", before)) if seq is not None),
    ]
    order = "ASC" if backward else "DESC"
    count = query.limit + 1
    if (driver := (yield from _rarest(dialect, filters))) is not None:
        rest = [one for one in (*filters, *bounds) if one is not driver]
        text = _of_few(dialect, driver.text, tuple(one.text for one in rest), order)
        parameters = [*driver.all_parameters, *_parameters(rest), count]
    elif len(filters) == 1 and 0 < len(filters[0].values) * len(filters[0].columns) <= MERGED:
        text, parameters = _merging(dialect, filters[0], bounds, order, count)
    else:
        filters = [_unindexed(one) if _reaches_now(query, one) else one for one in filters]
        text = _of_many(dialect, tuple(one.text for one in (*filters, *bounds)), order)
        parameters = [*_parameters([*filters, *bounds]), count]
    rows = yield Statement(text, parameters)
    seqs = that_fit(rows[: query.limit], PAGE_BYTES)
    found = yield from _whole(dialect, seqs)
    return AuditPage(found, len(rows) > len(seqs))


def _whole(dialect: Dialect, seqs: Sequence[int]) -> Procedure[list[AuditRow]]:
    """These rows, the newest first."""
    test, values = ("= ANY(?)", list(seqs)) if dialect == "postgresql" else (_ONE_OF, encode(seqs).decode())
    text = f"SELECT {row_columns(dialect)} FROM audit_events WHERE seq {test} ORDER BY seq DESC"
    rows = yield Statement(numbered(dialect, text), [values])
    return [row_from(row) for row in rows]


def _parameters(filters: Sequence[_Filter]) -> list[Any]:
    return [value for one in filters for value in one.all_parameters]


def _place(dialect: Dialect, name: str, id: str | None) -> Procedure[int | None]:
    """Where a cursor stands. No event ever goes, so that one which is not there is none of this list."""
    if id is None:
        return None
    rows = yield Statement(numbered(dialect, "SELECT seq FROM audit_events WHERE id = ? AND seq > 0"), [id])
    if not rows:
        raise BadRequest(f"Invalid '{name}': No audit log found with id '{id}'.", param=name)
    seq: int = rows[0][0]
    return seq


def _filters(dialect: Dialect, query: AuditQuery) -> list[_Filter]:
    found = []
    for columns, values in (
        (("type",), query.types),
        (("project_id",), query.project_ids),
        (("actor_id", "key_id"), query.actor_ids),
        (("actor_email",), query.actor_emails),
        (("resource_id",), query.resource_ids),
    ):
        values = tuple(dict.fromkeys(values))
        if len(values) == 1:
            found.append(_Filter(columns, "= ?", values, values))
        elif values and dialect == "postgresql":
            found.append(_Filter(columns, "= ANY(?)", (list(values),), values))
        elif values:
            found.append(_Filter(columns, _ONE_OF, (encode(values).decode(),), values))
    if query.since is not None or query.until is not None:
        since = _FIRST if query.since is None else query.since
        until = _LAST if query.until is None else query.until
        found.append(_Filter(("effective_at",), "BETWEEN ? AND ?", (_within(since), _within(until))))
    return found


def _reaches_now(query: AuditQuery, one: _Filter) -> bool:
    """Whether a filter is a time that goes on: its rows are the newest, and walking the chain finds them at once."""
    return one.columns == ("effective_at",) and (query.until is None or query.until >= now())


def _unindexed(one: _Filter) -> _Filter:
    """The same, in words that keep a database from looking for an index."""
    return one._replace(columns=tuple(f"{column} + 0" for column in one.columns))


def _within(number: int) -> int:
    return min(max(number, _FIRST), _LAST)


def _rarest(dialect: Dialect, filters: Sequence[_Filter]) -> Procedure[_Filter | None]:
    """The filter that the fewest rows match, if those are few."""
    found, least = None, FEW
    for one in filters:
        rows = yield Statement(_count(dialect, one.columns, one.test), [*one.all_parameters, least])
        if rows[0][0] < least:
            found, least = one, rows[0][0]
    return found


@_keep
def _count(dialect: Dialect, columns: tuple[str, ...], test: str) -> str:
    """How many rows a filter matches; parameters: its own, and beyond how many nobody cares."""
    some = " UNION ALL ".join(f"SELECT 1 FROM audit_events WHERE {column} {test}" for column in columns)
    return numbered(dialect, f"SELECT COUNT(*) FROM (SELECT 1 FROM ({some}) AS fitting LIMIT ?) AS counted")


# --- texts ---------------------------------------------------------------------------------------------------------

_FOUND_BY = "seq, type, effective_at, project_id, key_id, actor_id, actor_email, resource_id"


@_keep
def _of_few(dialect: Dialect, driver: str, rest: tuple[str, ...], order: str) -> str:
    few = f"WITH few AS MATERIALIZED (SELECT {_FOUND_BY} FROM audit_events WHERE {driver})"
    return numbered(
        dialect, f"{few} {_sizes(f'SELECT seq FROM few{_where(rest)} ORDER BY seq {order} LIMIT ?', order)}"
    )


@_keep
def _of_many(dialect: Dialect, filters: tuple[str, ...], order: str) -> str:
    return numbered(
        dialect, _sizes(f"SELECT seq FROM audit_events{_where(filters)} ORDER BY seq {order} LIMIT ?", order)
    )


def _merging(
    dialect: Dialect, one: _Filter, bounds: Sequence[_Filter], order: str, count: int
) -> tuple[str, list[Any]]:
    """The first of each value in each column, and of those the first."""
    each = [value for _ in one.columns for value in one.values]
    text = _merged(dialect, one.columns, len(one.values), tuple(bound.text for bound in bounds), order)
    return text, [part for value in each for part in (value, *_parameters(bounds), count)] + [count]


@_keep
def _merged(dialect: Dialect, columns: tuple[str, ...], values: int, bounds: tuple[str, ...], order: str) -> str:
    parts = [
        f"SELECT seq FROM (SELECT seq FROM audit_events{_where((f'{column} = ?', *bounds))}"
        f" ORDER BY seq {order} LIMIT ?) AS part"
        for column in columns
        for _ in range(values)
    ]
    return numbered(
        dialect,
        _sizes(f"SELECT seq FROM ({' UNION '.join(parts)}) AS parts ORDER BY seq {order} LIMIT ?", order),
    )


def _sizes(seqs: str, order: str) -> str:
    return f"SELECT seq, LENGTH(body) FROM audit_events WHERE seq IN ({seqs}) ORDER BY seq {order}"


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
