"""SQLite: ``Store.all`` of little, which is read where it is asked for while others wait."""

from collections.abc import Mapping
from typing import Any, TypeVar

from everloom.objects.base import Object
from everloom.store import sql
from everloom.store.kinds import KINDS
from everloom.store.procedures import decoder
from everloom.store.sql import Procedure, Statement

T = TypeVar("T", bound=Object)

_FEW = 32
_FEW_BYTES = 256 * 1024
"""Objects, and bytes of them, that are read and decoded in half a millisecond at most."""


def is_bounded(where: Mapping[str, Any]) -> bool:
    """Whether an index leads to the first objects that fit, and past nothing else."""
    return len(where) == 1 and all(isinstance(value, str) for value in where.values())


def few(project: str, cls: type[T], where: Mapping[str, Any]) -> Procedure[list[T] | None]:
    """``Store.all``, or None where that is more than a few objects, or they are long."""
    kind = KINDS[cls]
    fits, parameters = sql.conditions("sqlite", kind, where, project)
    rows = yield Statement(sql.first("sqlite", kind, fits, _FEW + 1), [project, *parameters])
    if len(rows) > _FEW or sum(len(body) for (body,) in rows) > _FEW_BYTES:
        return None
    decode = decoder(cls).decode
    return [decode(body) for (body,) in rows]
