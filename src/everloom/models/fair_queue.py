"""Whose turn it is at models that do few things at once: every project waits in a line of its own.

Such a model's backend serves who comes first. A project with a hundred long requests would keep all the others waiting
behind them, so it has no more of them there than the model works on at once; its others wait here.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType

from everloom.kit.errors import ModelFailure
from everloom.models.base import LimitedConcurrency

MOST_WAITING = 32
"""Requests of one project that wait for one model; behind them it is told to come again."""

RETRY_S = 10
"""When: by then one of a full line has had its turn, unless all are very long."""


class Slot:
    """A request's place at a model, held until ``free`` or the end of the ``with`` block."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None] | None = None) -> None:
        self._give_back = give_back

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.free()

    def free(self) -> None:
        """Let the project's next request have it. A second time does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class _Line:
    """One project's requests at one model: how many are there, and who waits, the first one first."""

    def __init__(self) -> None:
        self.taken = 0
        self.waiting: dict[asyncio.Future[None], None] = {}


_Key = tuple[LimitedConcurrency, str, str]


class FairQueue:
    """The lines at every model of a process. In one project's line who came first is served first."""

    def __init__(self) -> None:
        self._lines: dict[_Key, _Line] = {}

    async def slot(self, project: str, backend: LimitedConcurrency, model: str) -> Slot:
        """Return when the project may ask ``backend`` for its ``model``; at once where that has no queue here.

        Errors: 503 ``overloaded`` when too many of this project's requests wait.
        """
        if backend.max_concurrency is None:
            return Slot()
        key = (backend, model, project)
        line = self._lines.setdefault(key, _Line())
        if line.taken < backend.max_concurrency:
            line.taken += 1
        else:
            await self._turn(key, line)
        return Slot(partial(self._free, key, line))

    async def _turn(self, key: _Key, line: _Line) -> None:
        if len(line.waiting) >= MOST_WAITING:
            raise _overloaded(key[1])
        turn = asyncio.get_running_loop().create_future()
        line.waiting[turn] = None
        try:
            await turn
        except BaseException:
            line.waiting.pop(turn, None)
            if turn.done() and not turn.cancelled():  # It came in the moment of leaving.
                self._free(key, line)
            raise

    def _free(self, key: _Key, line: _Line) -> None:
        """The next one has the place. Who left while waiting, and has not been told yet, is passed over."""
        while line.waiting:
            turn = next(iter(line.waiting))
            del line.waiting[turn]
            if not turn.done():
                turn.set_result(None)
                return
        line.taken -= 1
        if not line.taken:
            del self._lines[key]


def _overloaded(model: str) -> ModelFailure:
    text = f"The model `{model}` is overloaded with other requests. You can retry your request."
    failure = ModelFailure(text, status=503, code="overloaded")
    failure.headers["retry-after"] = str(RETRY_S)
    return failure
