"""Pages of the audit log by what they are filtered for, in the order of the chain, whatever the clock has said.

Each filter has an index of its own. One that matches few is read whole, and the others are asked of those rows; where
all match many, the chain is walked from its end until a page is full.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from everloom.kit.errors import BadRequest
from everloom.objects.audit import AuditPage, AuditQuery
from everloom.objects.base import encode
from everloom.store.sql import Dialect, Procedure, Statement, numbered

_keep = lru_cache(maxsize=512)

FEW = 1000
"""Rows that are read whole, some milliseconds."""

_FIRST, _LAST = -(2**63), 2**63 - 1


class _Filter(NamedTuple):
    """A condition on some columns, each of which may fulfil it, and its parameters for each."""

    columns: tuple[str, ...]
    test: str
    parameters: tuple[Any, ...]

    @property
    def text(self) -> str:
        return f"({' OR '.join(f'{column} {self.test}' for column in self.columns)})"

    @property
    def values(self) -> tuple[Any, ...]:
        return self.parameters * len(self.columns)


def find(dialect: Dialect, query: AuditQuery) -> Procedure[AuditPage]:
    """``AuditLog.find``."""
    after = yield from _place(dialect, "after", query.after)
    before = yield from _place(dialect, "before", query.before)
    backward = before is not None and after is None
    filters = _filters(dialect, query)
    bounds = [_Filter(("seq",), sign, (seq,)) for sign, seq in (("< ?", after), ("> ?", before)) if seq is not None]
    driver = yield from _rarest(dialect, filters)
    text, parameters = _page(dialect, driver, [*filters, *bounds], "ASC" if backward else "DESC")
    rows = yield Statement(text, [*parameters, query.limit + 1])
    bodies = [body for (body,) in rows[: query.limit]]
    return AuditPage(bodies[::-1] if backward else bodies, len(rows) > query.limit)


def _place(dialect: Dialect, name: str, id: str | None) -> Procedure[int | None]:
    """Where a cursor stands. No event ever goes, so that one which is not there is none of this list."""
    if id is None:
        return None
    rows = yield Statement(numbered(dialect, "SELECT seq FROM audit_events WHERE id = ?"), [id])
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
        if len(values) == 1:
            found.append(_Filter(columns, "= ?", values))
        elif values and dialect == "postgresql":
            found.append(_Filter(columns, "= ANY(?)", (list(values),)))
        elif values:
            found.append(_Filter(columns, "IN (SELECT value FROM json_each(?))", (encode(values).decode(),)))
    if query.since is not None or query.until is not None:
        since = _FIRST if query.since is None else query.since
        until = _LAST if query.until is None else query.until
        found.append(_Filter(("effective_at",), "BETWEEN ? AND ?", (_within(since), _within(until))))
    return found


def _within(number: int) -> int:
    return min(max(number, _FIRST), _LAST)


def _rarest(dialect: Dialect, filters: Sequence[_Filter]) -> Procedure[_Filter | None]:
    """The filter that the fewest rows match, if those are few."""
    found, least = None, FEW
    for one in filters:
        rows = yield Statement(_count(dialect, one.columns, one.test), [*one.values, least])
        if rows[0][0] < least:
            found, least = one, rows[0][0]
    return found


@_keep
def _count(dialect: Dialect, columns: tuple[str, ...], test: str) -> str:
    """How many rows a filter matches; parameters: its own, and beyond how many nobody cares."""
    some = " UNION ALL ".join(f"SELECT 1 FROM audit_events WHERE {column} {test}" for column in columns)
    return numbered(dialect, f"SELECT COUNT(*) FROM (SELECT 1 FROM ({some}) AS fitting LIMIT ?) AS counted")


def _page(dialect: Dialect, driver: _Filter | None, filters: Sequence[_Filter], order: str) -> tuple[str, list[Any]]:
    """The page's text and all its parameters but the limit."""
    rest = [one for one in filters if one is not driver]
    parameters = [*(driver.values if driver else ()), *(value for one in rest for value in one.values)]
    return _text(dialect, driver.text if driver else "", tuple(one.text for one in rest), order), parameters


@_keep
def _text(dialect: Dialect, driver: str, rest: tuple[str, ...], order: str) -> str:
    few = f"WITH few AS MATERIALIZED (SELECT * FROM audit_events WHERE {driver}) " if driver else ""
    where = f" WHERE {' AND '.join(rest)}" if rest else ""
    source = "few" if driver else "audit_events"
    return numbered(dialect, f"{few}SELECT body FROM {source}{where} ORDER BY seq {order} LIMIT ?")
