"""The one way to a model: its name resolved, its turn waited for, and all that is asked of it metered."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from everloom.context.bound_models import BoundModel, ModelGate
from everloom.context.caller import Caller
from everloom.models.base import Capability
from everloom.models.registry import ServedModel

M = TypeVar("M", bound=BoundModel[Any])


class Asking(Generic[M]):
    """``async with`` it, and the model may be asked. An answer that is on its way may leave the block: the turn is its
    own until it is closed.

    Errors: 404 ``model_not_found``, 400 for a model that does something else, 503 ``overloaded`` where too many
    requests of the project wait already.
    """

    __slots__ = ("_bound", "_caller", "_find", "_gate", "_model", "_name")

    def __init__(
        self,
        bound: type[M],
        name: str,
        find: Callable[[str, Capability], Awaitable[ServedModel]],
        caller: Caller,
        gate: ModelGate,
    ) -> None:
        self._bound = bound
        self._name = name
        self._find = find
        self._caller = caller
        self._gate = gate

    async def __aenter__(self) -> M:
        found = await self._find(self._name, self._bound.capability)
        self._model = self._bound(found, self._name, self._caller, self._gate)
        if self._bound.queued:
            await self._model.wait_for_turn()
        return self._model

    async def __aexit__(self, *_: object) -> None:
        self._model.release()
