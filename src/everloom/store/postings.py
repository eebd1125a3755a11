"""Postings: the rows by which objects are found by their terms, written with the objects themselves.

A list by terms walks the postings of one of them, in the order of the list, and asks for the others one by one.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from everloom.kit.errors import NO_JSON
from everloom.objects.base import Object
from everloom.store import sql
from everloom.store.kinds import KINDS, Kind
from everloom.store.sql import Dialect, Procedure, Statement
from everloom.store.terms import terms

_PIECE = 500
"""Objects read at a time where those of a whole table are posted."""


def post(dialect: Dialect, project: str, id: str, kind: Kind, thing: Object) -> Procedure[None]:
    """Of an object that has just been added."""
    if added := terms(project, kind, thing):
        yield _adding(dialect, project, id, kind, sorted(added))


def repost(
    dialect: Dialect, project: str, id: str, kind: Kind, before: set[bytes], after: set[bytes]
) -> Procedure[None]:
    """Of an object that has been changed, and whose row is locked."""
    if gone := before - after:
        yield from _removing(dialect, project, id, kind, sorted(gone))
    if added := after - before:
        yield _adding(dialect, project, id, kind, sorted(added))


def unpost(dialect: Dialect, project: str, kind: Kind, rows: Sequence[Any]) -> Procedure[None]:
    """Of objects that are about to go: their ids and bodies, which are locked. Those of a body that cannot be read
    lead nowhere from then on.
    """
    decode = msgspec.json.Decoder(kind.cls).decode
    for id, body in rows:
        with suppress(*NO_JSON):
            yield from _removing(dialect, project, id, kind, sorted(terms(project, kind, decode(body))))


def _adding(dialect: Dialect, project: str, id: str, kind: Kind, some: list[bytes]) -> Statement:
    return Statement(sql.post(dialect, kind, len(some)), [*_values(dialect, some), project, id], True)


def _removing(dialect: Dialect, project: str, id: str, kind: Kind, some: list[bytes]) -> Procedure[None]:
    if some:
        yield Statement(sql.unpost(dialect, kind, len(some)), [*_values(dialect, some), id, project, id], True)


def _values(dialect: Dialect, some: list[bytes]) -> list[Any]:
    return [some] if dialect == "postgresql" else some


def post_all(dialect: Dialect, kinds: Sequence[Kind]) -> Procedure[None]:
    """Post all that stands in the tables of these kinds, a piece at a time: for a migration. What cannot be read is
    found by nothing.
    """
    for kind in kinds:
        decode = msgspec.json.Decoder(kind.cls).decode
        place = ["", ""]
        while rows := (yield Statement(sql.piece(dialect, kind), [*place, _PIECE])):
            entries: list[tuple[bytes, int, str]] = []
            for project, id, rank, body in rows:
                with suppress(*NO_JSON):
                    entries += [(each, rank, id) for each in terms(project, kind, decode(body))]
            for some in _pieces(entries):
                yield Statement(sql.post_many(dialect, len(some)), _columns(dialect, some), True)
            place = [rows[-1][0], rows[-1][1]]


def _pieces(entries: list[tuple[bytes, int, str]]) -> Iterator[list[tuple[bytes, int, str]]]:
    for start in range(0, len(entries), _PIECE):
        yield entries[start : start + _PIECE]


def _columns(dialect: Dialect, entries: list[tuple[bytes, int, str]]) -> list[Any]:
    if dialect == "postgresql":
        return [list(column) for column in zip(*entries, strict=True)]
    return [value for entry in entries for value in entry]


POSTED = tuple(kind for kind in KINDS.values() if kind.terms)
"""The kinds whose objects have terms."""
