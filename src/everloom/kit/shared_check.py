"""A check that many ask for, made seldom."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedCheck(Generic[T]):
    """A check that is made once in ``seconds`` at most and waited for ``patience`` seconds, however many ask for it.

    ``share`` of the time is the most that it may take: one that took long is made again after a longer while.
    """

    def __init__(self, *, seconds: float = 1.0, patience: float = 2.0, share: float = 1.0) -> None:
        self._seconds = seconds
        self._patience = patience
        self._share = share
        self._again = 0.0
        self._check: asyncio.Future[T] | None = None

    async def ask(self, check: Callable[[], Awaitable[T]]) -> T:
        """What ``check`` returned when it was called last. Errors: what it raised; ``TimeoutError`` while it hangs."""
        clock = asyncio.get_running_loop().time
        under_way = self._check
        if under_way is None or (under_way.done() and clock() >= self._again):
            began = clock()
            under_way = self._check = asyncio.ensure_future(check())

            def ended(made: "asyncio.Future[T]") -> None:
                self._again = began + max(self._seconds, (clock() - began) / self._share)
                _heard(made)

            under_way.add_done_callback(ended)
        done, _ = await asyncio.wait({under_way}, timeout=self._patience)
        if not done:
            raise TimeoutError("no answer yet")
        return under_way.result()


def _heard(check: "asyncio.Future[Any]") -> None:
    """Have asyncio know that somebody looked: whoever asked may have left."""
    if not check.cancelled():
        check.exception()
