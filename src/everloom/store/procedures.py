"""The store's verbs as procedures: generators of statements that are sent the rows of each.

All that a verb means stands here once. An adapter runs a procedure over its own connection, in whatever
way its driver waits; what a procedure raises is the verb's answer, and rolls a transaction back.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec

from everloom.kit.errors import NO_JSON
from everloom.kit.ids import new_rank
from everloom.objects.audit import AuditEvent
from everloom.objects.base import Object, encode
from everloom.store import audit, ledger, outbox, packing, postings, sql
from everloom.store.base import (
    Absent,
    Add,
    Audit,
    Change,
    Conflict,
    DropLog,
    Each,
    Enter,
    Missing,
    Operation,
    Pack,
    Present,
    Remove,
    Retract,
    Start,
    Tell,
    Written,
)
from everloom.store.kinds import KINDS, Kind, own_rank
from everloom.store.sql import Dialect, Procedure, Statement
from everloom.store.telling import Telling
from everloom.store.terms import terms

T = TypeVar("T", bound=Object)

_FIRST = (-1, "", "")
"""A rank, an id and a project before all others."""

_PIECE = 500
"""Objects read at a time where a whole table is walked."""

_Held = dict[tuple[str, str], tuple[Mapping[str, Any], bytes]]
"""Rows that one write has locked, by table and id: which columns fitted, and the body as it stands now. Nobody else
changes them until the transaction ends, so they need not be read twice.
"""


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
        raise missing(kind, id)
    return decoder(cls).decode(rows[0][0])


def everything(dialect: Dialect, project: str, cls: type[T], where: Mapping[str, Any]) -> Procedure[list[T]]:
    """``Store.all``."""
    kind = KINDS[cls]
    fits, parameters = sql.conditions(dialect, kind, where, project)
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


def tally(dialect: Dialect, cls: type[Any], name: str, where: Mapping[str, Any]) -> Procedure[dict[str, int]]:
    """``Database.tally``."""
    kind = KINDS[cls]
    if name not in cls.__struct_fields__:
        raise ValueError(f"{cls.__name__} has no {name}")
    fits, parameters = sql.conditions(dialect, kind, where)
    rows = yield Statement(sql.tally(dialect, kind, name, fits), parameters)
    return {value: count for value, count in rows if isinstance(value, str)}


def piece(
    dialect: Dialect, cls: type[T], place: tuple[Any, ...], where: Mapping[str, Any]
) -> Procedure[tuple[list[tuple[str, T]], tuple[Any, ...] | None]]:
    """Of ``Database.walk``: some objects behind a place (an empty one to begin with), and the place of the last of them
    where there may be more.
    """
    kind = KINDS[cls]
    fits, parameters = sql.conditions(dialect, kind, where)
    start = place or (_FIRST if fits else _FIRST[1:])
    rows = yield Statement(sql.piece(dialect, kind, fits), [*start, *parameters, _PIECE])
    decode = decoder(cls).decode
    found = [(project, decode(body)) for project, _, _, body in rows]
    if len(rows) < _PIECE:
        return found, None
    project, id, rank, _ = rows[-1]
    return found, (rank, id, project) if fits else (project, id)


def write(dialect: Dialect, project: str, operations: Sequence[Operation], log: str | None) -> Procedure[Written]:
    """``Store.write``, to be run inside a transaction."""
    told = any(isinstance(operation, Tell | Retract) or getattr(operation, "tell", ()) for operation in operations)
    if told and log is None:
        raise ValueError("these operations tell something: name the log")
    telling = Telling(dialect, project, log)
    if told and dialect == "postgresql":
        yield Statement(sql.LOCK_LOG, [f"{project}/{log}"])
    held = yield from _lock_in_order(dialect, project, operations)
    apply = _APPLY | {Change: partial(_change, held=held)}
    results: list[Any] = []
    events: list[AuditEvent] = []
    starts: list[Start] = []
    ahead = deque(operations)
    while ahead:
        operation = ahead.popleft()
        if type(operation) is Tell:
            telling.say((operation.name,), operation.data)
            results.append(None)
            continue
        if type(operation) is Audit:
            events += operation.events
            results.append(None)
            continue
        if type(operation) is Remove:
            held.clear()
            if operation.audit is not None:
                events += map(operation.audit, (yield from _gone(dialect, project, operation)))
        results.append((yield from apply[type(operation)](dialect, project, operation, telling)))
        if type(operation) is Start:
            starts.append(operation)
        elif type(operation) is Change and operation.then is not None:
            ahead += operation.then(results[-1])
        elif type(operation) is Each:
            ahead += results[-1]
    yield from telling.append()
    if events:
        yield from audit.append(dialect, events)
    return Written(operations, results[: len(operations)], starts)


def _lock_in_order(dialect: Dialect, project: str, operations: Sequence[Operation]) -> Procedure[_Held]:
    """PostgreSQL: lock rows that would be changed out of order in order, so that two writes cannot wait for each other.

    What was locked; it is read by this once.
    """
    held: _Held = {}
    changes = [operation for operation in operations if isinstance(operation, Change)]
    ordered = sorted(changes, key=lambda change: (KINDS[change.cls].table, change.id))
    if dialect == "postgresql" and changes != ordered:
        for change in ordered:
            yield from _locked(dialect, project, change, held)
    return held


def _locked(dialect: Dialect, project: str, change: Change[Any], held: _Held) -> Procedure[bytes | None]:
    """The body that is to be changed, None where nothing fits; the row is locked until the transaction ends."""
    kind = KINDS[change.cls]
    place = (kind.table, change.id)
    found = held.get(place)
    if found is None or found[0] != change.where:
        fits, parameters = sql.conditions(dialect, kind, change.where)
        rows = yield Statement(sql.get(dialect, kind, fits, lock=True), [project, change.id, *parameters])
        if not rows:
            return None
        found = held[place] = (change.where, rows[0][0])
    return found[1]


def _add(dialect: Dialect, project: str, add: Add[Any], telling: Telling) -> Procedure[Any]:
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
    if kind.terms:
        yield from postings.post(dialect, project, key, kind, thing)
    telling.say(add.tell, body)
    return thing


def _change(dialect: Dialect, project: str, change: Change[Any], telling: Telling, held: _Held) -> Procedure[Any]:
    kind = KINDS[change.cls]
    body = yield from _locked(dialect, project, change, held)
    if body is None:
        raise missing(kind, change.id)
    thing = decoder(change.cls).decode(body)
    if change.edit is not None:
        before = _columns(kind, thing)
        had = terms(project, kind, thing) if kind.terms else None
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
        if body != old:
            held[kind.table, change.id] = ({}, body)
        if had is not None and body != old:
            yield from postings.repost(dialect, project, change.id, kind, had, terms(project, kind, thing))
    telling.say(change.tell, body)
    return thing


def _gone(dialect: Dialect, project: str, remove: Remove[Any]) -> Procedure[list[Any]]:
    """What is about to go, and goes by this write alone."""
    kind = KINDS[remove.cls]
    fits, parameters = sql.conditions(dialect, kind, _going(remove))
    rows = yield Statement(sql.everything(dialect, kind, fits, lock=True), [project, *parameters])
    return [decoder(remove.cls).decode(body) for (body,) in rows]


def _going(remove: Remove[Any]) -> dict[str, Any]:
    return remove.where if remove.id is None else {"id": remove.id, **remove.where}


def _remove(dialect: Dialect, project: str, remove: Remove[Any], telling: Telling) -> Procedure[int]:
    kind = KINDS[remove.cls]
    fits, parameters = sql.conditions(dialect, kind, _going(remove))
    if kind.terms:
        rows = yield Statement(sql.going(dialect, kind, fits), [project, *parameters])
        yield from postings.unpost(dialect, project, kind, rows)
    count: int = yield Statement(sql.remove(dialect, kind, fits), [project, *parameters], True)
    if isinstance(remove.id, str) and not count:
        raise missing(kind, remove.id)
    return count


def _absent(dialect: Dialect, project: str, absent: Absent[Any], telling: Telling) -> Procedure[None]:
    kind = KINDS[absent.cls]
    fits, parameters = sql.conditions(dialect, kind, absent.where)
    rows = yield Statement(sql.first(dialect, kind, fits), [project, *parameters])
    if rows:
        raise absent.error(decoder(absent.cls).decode(rows[0][0]))


def _present(dialect: Dialect, project: str, present: Present[Any], telling: Telling) -> Procedure[None]:
    kind = KINDS[present.cls]
    fits, parameters = sql.conditions(dialect, kind, present.where)
    if not (yield Statement(sql.first(dialect, kind, fits), [project, *parameters])):
        raise present.error


def _each(dialect: Dialect, project: str, each: Each[Any], telling: Telling) -> Procedure[list[Operation]]:
    kind = KINDS[each.cls]
    fits, parameters = sql.conditions(dialect, kind, each.where, project)
    following: list[Operation] = []
    for (body,) in (yield Statement(sql.everything(dialect, kind, fits, lock=True), [project, *parameters])):
        with suppress(*NO_JSON):
            following += each.then(decoder(each.cls).decode(body))
    return following


def _retract(dialect: Dialect, project: str, retract: Retract, telling: Telling) -> Procedure[None]:
    yield from telling.retract(retract)


def _drop_log(dialect: Dialect, project: str, drop: DropLog, telling: Telling) -> Procedure[None]:
    yield from telling.drop(drop)


def _pack(dialect: Dialect, project: str, pack: Pack, telling: Telling) -> Procedure[None]:
    yield from packing.pack(dialect, project, pack)


def _start(dialect: Dialect, project: str, start: Start, telling: Telling) -> Procedure[None]:
    yield from outbox.start(dialect, project, start)


def _enter(dialect: Dialect, project: str, enter: Enter, telling: Telling) -> Procedure[None]:
    yield from ledger.append(dialect, enter.rows)


_APPLY: dict[type[Any], Callable[[Dialect, str, Any, Telling], Procedure[Any]]] = {
    Add: _add,
    Remove: _remove,
    Absent: _absent,
    Present: _present,
    Each: _each,
    Retract: _retract,
    DropLog: _drop_log,
    Pack: _pack,
    Start: _start,
    Enter: _enter,
}


def _columns(kind: Kind, thing: Object) -> list[Any]:
    values = [getattr(thing, name) for name in kind.index]
    return [int(value) if isinstance(value, bool) else value for value in values]


def missing(kind: Kind, key: str) -> Missing:
    """What to say of an object that is not there."""
    shown = key if kind.key == "id" else key.rpartition(".")[2]
    return Missing(kind.missing.format(noun=kind.noun, id=shown), kind.cls, key, kind.noun)
