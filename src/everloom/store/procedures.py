"""The store's verbs as procedures: generators of statements that are sent the rows of each.

All that a verb means stands here once. An adapter runs a procedure over its own connection, in whatever
way its driver waits; what a procedure raises is the verb's answer, and rolls a transaction back.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_rank, rank_at, rank_of
from everloom.objects.audit import AuditEvent
from everloom.objects.base import Object, Page, PageQuery, encode
from everloom.store import audit, ledger, outbox, sql
from everloom.store.base import (
    Absent,
    Add,
    Audit,
    Change,
    Conflict,
    DropLog,
    Enter,
    Event,
    Missing,
    Operation,
    Present,
    Remove,
    Retract,
    Start,
    Tell,
    Written,
)
from everloom.store.kinds import KINDS, Kind
from everloom.store.sql import Dialect, Procedure, Statement

T = TypeVar("T", bound=Object)

_SCAN = 500
"""Rows read at a time where objects are chosen by their metadata."""

_FIRST_RANK = rank_at(1_735_689_600)
"""2025-01-01: no id of our make is older."""

_ID_DIGITS = 24
_LAST_SEQ = 2**63 - 1
_DAY = 86_400


class _Tagged(Struct):
    metadata: dict[str, str] | None = None


_tags = msgspec.json.Decoder(_Tagged)


class _Named(Struct):
    id: str


_named = msgspec.json.Decoder(_Named)
"""Only the two ends of a page need their ids: read from the bodies, they cost less than a column of all the rows."""


_decoders: "dict[type[Any], msgspec.json.Decoder[Any]]" = {cls: msgspec.json.Decoder(cls) for cls in KINDS}


def decoder(cls: type[T]) -> "msgspec.json.Decoder[T]":
    """Reads the stored bodies of a kind."""
    return _decoders[cls]


def get(dialect: Dialect, project: str, cls: type[T], id: str, where: Mapping[str, Any]) -> Procedure[T]:
    """``Store.get``."""
    kind = KINDS[cls]
    fits, parameters = sql.conditions(dialect, kind, where)
    rows = yield Statement(sql.get(dialect, kind, fits), [project, id, *parameters])
    if not rows:
        raise _missing(kind, id)
    return decoder(cls).decode(rows[0][0])


def everything(dialect: Dialect, project: str, cls: type[T], where: Mapping[str, Any]) -> Procedure[list[T]]:
    """``Store.all``."""
    kind = KINDS[cls]
    fits, parameters = sql.conditions(dialect, kind, where)
    rows = yield Statement(sql.everything(dialect, kind, fits), [project, *parameters])
    decode = decoder(cls).decode
    return [decode(body) for (body,) in rows]


def across(dialect: Dialect, cls: type[T], limit: int, where: Mapping[str, Any]) -> Procedure[list[tuple[str, T]]]:
    """``Database.across``."""
    kind = KINDS[cls]
    fits, parameters = sql.conditions(dialect, kind, where)
    rows = yield Statement(sql.across(dialect, kind, fits), [*parameters, limit])
    decode = decoder(cls).decode
    return [(project, decode(body)) for project, body in rows]


def events(dialect: Dialect, project: str, log: str, after: int, limit: int) -> Procedure[list[Event]]:
    """``Store.events``."""
    rows = yield Statement(sql.events(dialect), [project, log, min(after, _LAST_SEQ), limit])
    return [Event(seq, name, data) for seq, name, data in rows]


def last_seq(dialect: Dialect, project: str, log: str) -> Procedure[int]:
    """``Store.last_seq``."""
    rows = yield Statement(sql.last_seq(dialect), [project, log])
    seq: int = rows[0][0]
    return seq


def find(
    dialect: Dialect,
    project: str,
    cls: type[T],
    page: PageQuery,
    metadata: Mapping[str, str] | None,
    where: Mapping[str, Any],
) -> Procedure[Page[T]]:
    """``Store.find``: one query for the page and one object more, which says whether there are others."""
    kind = KINDS[cls]
    backward = page.before is not None and page.after is None
    order = page.order
    after, before = page.after, page.before
    if backward:  # walk away from the cursor, turn the page round at the end
        order = "asc" if order == "desc" else "desc"
        after, before = before, None
    if metadata:
        bodies = yield from _tagged(dialect, project, kind, where, order, (after, before), page.limit + 1, metadata)
    else:
        text, parameters = _page(dialect, project, kind, "body", where, order, after, before)
        bodies = [body for (body,) in (yield Statement(text, [*parameters, page.limit + 1]))]
    if not bodies and (after or before):
        yield from _check_cursors(dialect, project, kind, page, where)
    has_more = len(bodies) > page.limit
    if has_more:
        bodies.pop()
    if backward:
        bodies.reverse()
    return Page(
        bodies,
        decoder(cls),
        first_id=_named.decode(bodies[0]).id if bodies else None,
        last_id=_named.decode(bodies[-1]).id if bodies else None,
        has_more=has_more,
    )


def _page(
    dialect: Dialect,
    project: str,
    kind: Kind,
    columns: str,
    where: Mapping[str, Any],
    order: str,
    after: str | None,
    before: str | None,
    rank: int | None = None,
) -> tuple[str, list[Any]]:
    """The page's text and all its parameters but the limit; ``rank`` is that of ``after`` where known."""
    fits, parameters = sql.conditions(dialect, kind, where)
    parameters.insert(0, project)
    parent = _parent(where)
    of = () if parent is None else (where[parent],)
    if after is not None:
        parameters += (*of, project, after, own_rank(kind, after) if rank is None else rank, after)
    if before is not None:
        parameters += (*of, project, before, own_rank(kind, before), before)
    return sql.page(dialect, kind, columns, fits, order, after is not None, before is not None, parent), parameters


def _parent(where: Mapping[str, Any]) -> str | None:
    """The column that says which list it is (a thread's messages): a cursor of another list is none of this one's."""
    return next((column for column, value in where.items() if column.endswith("_id") and isinstance(value, str)), None)


def _tagged(
    dialect: Dialect,
    project: str,
    kind: Kind,
    where: Mapping[str, Any],
    order: str,
    cursors: tuple[str | None, str | None],
    wanted: int,
    metadata: Mapping[str, str],
) -> Procedure[list[bytes]]:
    """The first ``wanted`` bodies that carry all the pairs of ``metadata``, read in pieces.

    Chosen here, not in SQL: the databases' own JSON refuses texts (a NUL) that are lawful in a body.
    """
    after, before = cursors
    rank: int | None = None
    found: list[bytes] = []
    while True:
        text, parameters = _page(dialect, project, kind, "id, body, rank", where, order, after, before, rank)
        rows = yield Statement(text, [*parameters, _SCAN])
        for row in rows:
            pairs = _tags.decode(row[1]).metadata or {}
            if all(pairs.get(key) == value for key, value in metadata.items()):
                found.append(row[1])
        if len(rows) < _SCAN or len(found) >= wanted:
            return found[:wanted]
        after, rank = rows[-1][0], rows[-1][2]


def _check_cursors(
    dialect: Dialect, project: str, kind: Kind, page: PageQuery, where: Mapping[str, Any]
) -> Procedure[None]:
    """An empty page may come of a cursor that means nothing: a row of another list, or no row and no id of our make."""
    parent = _parent(where)
    fits, parameters = sql.conditions(dialect, kind, {parent: where[parent]} if parent else {})
    for name in ("after", "before"):
        if (id := getattr(page, name)) is not None:
            rows = yield Statement(sql.get(dialect, kind, ()), [project, id])
            if rows and fits:
                rows = yield Statement(sql.get(dialect, kind, fits), [project, id, *parameters])
            elif not rows and own_rank(kind, id) is not None:
                continue  # It has been deleted, and its id still says where it stood.
            if not rows:
                raise BadRequest(f"Invalid '{name}': {_missing(kind, id).message}", param=name)


def own_rank(kind: Kind, id: str) -> int | None:
    """The rank inside an id that a server of ours made, None for one that came from elsewhere."""
    if len(id) != len(kind.prefix) + _ID_DIGITS or not id.startswith(kind.prefix):
        return None
    rank = rank_of(id)
    if rank is None or not _FIRST_RANK <= rank <= rank_at(int(time.time()) + _DAY):
        return None
    return rank


def write(dialect: Dialect, project: str, operations: Sequence[Operation], log: str | None) -> Procedure[Written]:
    """``Store.write``, to be run inside a transaction."""
    told = any(isinstance(operation, Tell | Retract) or getattr(operation, "tell", ()) for operation in operations)
    if told:
        if log is None:
            raise ValueError("these operations tell something: name the log")
        if dialect == "postgresql":
            yield Statement(sql.LOCK_LOG, [f"{project}/{log}"])
    if dialect == "postgresql":
        yield from _lock_in_order(project, operations)
    results: list[Any] = []
    events: list[AuditEvent] = []
    for operation in operations:
        if type(operation) is Audit:
            events += operation.events
            results.append(None)
            continue
        if type(operation) is Remove and operation.audit is not None:
            events += map(operation.audit, (yield from _gone(dialect, project, operation)))
        apply = _APPLY[type(operation)]
        results.append((yield from apply(dialect, project, operation, log)))
    if events:
        yield from audit.append(dialect, events)
    return Written(operations, results)


def _lock_in_order(project: str, operations: Sequence[Operation]) -> Procedure[None]:
    """Lock rows that would be changed out of order in order, so that two writes cannot wait for each other."""
    rows = [(KINDS[change.cls].table, change.id, change.cls) for change in operations if isinstance(change, Change)]
    ordered = sorted(rows, key=lambda row: row[:2])
    if rows != ordered:
        for _, id, cls in ordered:
            yield Statement(sql.get("postgresql", KINDS[cls], (), lock=True), [project, id])


def _add(dialect: Dialect, project: str, add: Add[Any], log: str | None) -> Procedure[Any]:
    thing = add.object
    kind = KINDS[type(thing)]
    body = encode(thing)
    key = getattr(thing, kind.key)
    rank = add.rank
    if rank is None:
        rank = own_rank(kind, key)
    row = [project, key, new_rank() if rank is None else rank, body, *_columns(kind, thing)]
    if not (yield Statement(sql.add(dialect, kind), row, True)):
        raise Conflict(f"{kind.noun} {key} stands already")
    yield from _tell(dialect, project, log, add.tell, body)
    return thing


def _change(dialect: Dialect, project: str, change: Change[Any], log: str | None) -> Procedure[Any]:
    kind = KINDS[change.cls]
    fits, parameters = sql.conditions(dialect, kind, change.where)
    rows = yield Statement(sql.get(dialect, kind, fits, lock=True), [project, change.id, *parameters])
    if not rows:
        raise _missing(kind, change.id)
    body = rows[0][0]
    thing = decoder(change.cls).decode(body)
    if change.edit is not None:
        before = _columns(kind, thing)
        change.edit(thing)
        if (key := getattr(thing, kind.key)) != change.id:
            raise ValueError(f"an edit made {change.id} into {key}")
        old, body = body, encode(thing)
        after = _columns(kind, thing)
        if before != after:
            text = sql.change(dialect, kind, kind.index)
            yield Statement(text, [body, *after, project, change.id], True)
        elif body != old:
            yield Statement(sql.change(dialect, kind, ()), [body, project, change.id], True)
    yield from _tell(dialect, project, log, change.tell, body)
    return thing


def _gone(dialect: Dialect, project: str, remove: Remove[Any]) -> Procedure[list[Any]]:
    """What is about to go, and goes by this write alone."""
    kind = KINDS[remove.cls]
    fits, parameters = sql.conditions(dialect, kind, _going(remove))
    rows = yield Statement(sql.everything(dialect, kind, fits, lock=True), [project, *parameters])
    return [decoder(remove.cls).decode(body) for (body,) in rows]


def _going(remove: Remove[Any]) -> dict[str, Any]:
    return remove.where if remove.id is None else {"id": remove.id, **remove.where}


def _remove(dialect: Dialect, project: str, remove: Remove[Any], log: str | None) -> Procedure[int]:
    kind = KINDS[remove.cls]
    fits, parameters = sql.conditions(dialect, kind, _going(remove))
    count: int = yield Statement(sql.remove(dialect, kind, fits), [project, *parameters], True)
    if isinstance(remove.id, str) and not count:
        raise _missing(kind, remove.id)
    return count


def _absent(dialect: Dialect, project: str, absent: Absent[Any], log: str | None) -> Procedure[None]:
    kind = KINDS[absent.cls]
    fits, parameters = sql.conditions(dialect, kind, absent.where)
    rows = yield Statement(sql.first(dialect, kind, fits), [project, *parameters])
    if rows:
        raise absent.error(decoder(absent.cls).decode(rows[0][0]))


def _present(dialect: Dialect, project: str, present: Present[Any], log: str | None) -> Procedure[None]:
    kind = KINDS[present.cls]
    fits, parameters = sql.conditions(dialect, kind, present.where)
    if not (yield Statement(sql.first(dialect, kind, fits), [project, *parameters])):
        raise present.error


def _say(dialect: Dialect, project: str, tell: Tell, log: str | None) -> Procedure[None]:
    yield from _tell(dialect, project, log, (tell.name,), tell.data)


def _retract(dialect: Dialect, project: str, retract: Retract, log: str | None) -> Procedure[None]:
    yield Statement(sql.retract(dialect), [project, log, retract.seq], True)


def _drop_log(dialect: Dialect, project: str, drop: DropLog, log: str | None) -> Procedure[None]:
    yield Statement(sql.drop_log(dialect), [project, drop.log], True)


def _start(dialect: Dialect, project: str, start: Start, log: str | None) -> Procedure[None]:
    yield from outbox.start(dialect, project, start)


def _enter(dialect: Dialect, project: str, enter: Enter, log: str | None) -> Procedure[None]:
    yield from ledger.append(dialect, enter.rows)


def _tell(dialect: Dialect, project: str, log: str | None, names: Sequence[str], data: bytes) -> Procedure[None]:
    for name in names:
        yield Statement(sql.tell(dialect), [project, log, project, log, name, data], True)


_APPLY: dict[type[Any], Callable[[Dialect, str, Any, str | None], Procedure[Any]]] = {
    Add: _add,
    Change: _change,
    Remove: _remove,
    Absent: _absent,
    Present: _present,
    Tell: _say,
    Retract: _retract,
    DropLog: _drop_log,
    Start: _start,
    Enter: _enter,
}


def _columns(kind: Kind, thing: Object) -> list[Any]:
    values = [getattr(thing, name) for name in kind.index]
    return [int(value) if isinstance(value, bool) else value for value in values]


def _missing(kind: Kind, key: str) -> Missing:
    shown = key if kind.key == "id" else key.rpartition(".")[2]
    return Missing(kind.missing.format(noun=kind.noun, id=shown), kind.cls, key, kind.noun)
