"""A write of what matters, with as much of the rest as can be: for ends that must come about."""

from collections.abc import Sequence
from typing import TypeVar

from everloom.kit.errors import NO_JSON
from everloom.objects.base import Object
from everloom.store.base import Change, Missing, Operation, Store

T = TypeVar("T", bound=Object)


async def salvage(store: Store, operations: Sequence[Operation], wanted: Change[T], *, log: str | None = None) -> T:
    """A write of ``wanted``, which is one of the operations, and of as many of the others as can be: those that ask for
    what is missing, or cannot be read, are left out.

    What came of ``wanted``. Errors: ``Missing`` and what cannot be read, where it is that of ``wanted`` itself.
    """
    while True:
        try:
            return (await store.write(*operations, log=log))[wanted]
        except (Missing, *NO_JSON) as problem:
            if isinstance(problem, Missing):
                kept = [each for each in operations if each is wanted or not problem.concerns(each)]
            else:
                kept = [each for each in operations if each is wanted or await _is_legible(store, each)]
            if len(kept) == len(operations):
                raise
            operations = kept


async def _is_legible(store: Store, operation: Operation) -> bool:
    """Whether an operation does not ask for an object that is missing or cannot be read."""
    if isinstance(operation, Change):
        try:
            await store.get(operation.cls, operation.id)
        except (Missing, *NO_JSON):
            return False
    return True
