"""Whose turn it is where models share one engine: requests of one adapter at a time.

llama.cpp reads and writes in one step only what has the same adapters on, and goes on with the first kind until it is
through; a kind that is always asked again would keep the others waiting for ever. So the engine is given one kind at
a time, and they take turns here.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

TURN_S = 1.0
"""Seconds from a turn's beginning in which newcomers of its kind still join, while others wait."""


class AdapterTurns:
    """``places`` requests of one kind at once. When they are through it is the turn of whoever waits longest, together
    with all who wait for the same; nobody waits for more than ``joining`` seconds and what has begun by then.
    """

    def __init__(self, places: int, *, joining: float = TURN_S) -> None:
        self._places = places
        self._joining = joining
        self._kind: Hashable = None
        self._running = 0
        self._since = 0.0
        """When the turn began, by the monotonic clock."""
        self._waiting: deque[tuple[Hashable, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def turn(self, kind: Hashable) -> AsyncIterator[None]:
        """Wait for a place among requests of this kind, and have it."""
        await self._enter(kind)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, kind: Hashable) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((kind, called))
        self._admit()
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():  # let in at the moment when it stopped waiting
                self._leave()
            else:
                self._waiting.remove((kind, called))
                self._admit()
            raise

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        """Let in who may come in now."""
        begins = not self._running
        if self._waiting and begins:
            self._kind, self._since = self._waiting[0][0], time.monotonic()
        for kind, called in list(self._waiting):
            if self._running == self._places:
                return
            if called.done() or kind != self._kind or not (begins or self._still_joined()):
                continue  # done: it has been cancelled, and will hear of it
            self._waiting.remove((kind, called))
            self._running += 1
            called.set_result(None)

    def _still_joined(self) -> bool:
        """Whether newcomers join the turn: while no other kind waits, and a little longer."""
        others = any(kind != self._kind for kind, _ in self._waiting)
        return not others or time.monotonic() - self._since < self._joining
