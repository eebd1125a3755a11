"""How many lines of batches a backend is asked at a time: as many as it bears, and few or none beside live requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from everloom.context.traffic import LiveTraffic

T = TypeVar("T")

FIRST_LINES = 4.0
MOST_LINES = 32
"""At a time, of one backend by one process, where the settings say nothing."""

BESIDE_LIVE = 8
"""Of what a server elsewhere bears, one in so many is used beside live requests."""

LIVE_SECONDS = 2.0
"""So long after a live request to a server elsewhere the next one is expected."""

HERE_LIVE_SECONDS = 2.0
"""And on this machine, which is free again at once: but whoever asks every other second is not to meet lines each time,
since a step of the engine is not broken off.
"""
LONG_SECONDS = 20.0
"""A line that takes longer counts no more among the few beside live requests: if it hangs, and those go on, nothing
else would be asked until its time is over.
"""
_LOOK_SECONDS = 0.25

_CALM_SECONDS = 1.0
"""After a refusal the same trouble counts once in so long."""

_SILENT_SECONDS = 5.0
"""After so long without a word a backend is given one line more: it may be slow, and bear many all the same."""

_FORGOTTEN_SECONDS = 120.0
"""Failures that lie so far apart are no one outage: nobody may have asked in between."""


class BrokenOff(Exception):
    """A line made room for a live request; it is asked again later."""


class Throttle:
    """The lines at one backend. Its limit rises with each answer until it is told of trouble, which halves it (additive
    increase, multiplicative decrease: Chiu and Jain 1989); at first it doubles with each round (slow start).

    A model of this machine (``Backend.works_here``) gets as many lines as it works on at once but one, and none beside
    live requests: those that it has are broken off when one comes.
    """

    def __init__(self, backend: Any, traffic: LiveTraffic, most: int) -> None:
        here: int | None = getattr(backend, "works_here", None)
        self._backend = backend
        self._traffic = traffic
        self._is_here = here is not None
        self._most = float(most if here is None else max(1, here - 1))
        self._limit = self._most if here is not None else min(FIRST_LINES, self._most)
        self._starts_slowly = True
        self.answers = 0
        """Lines that were answered well."""
        self._troubled = float("-inf")
        self._failing_since: float | None = None
        self._failed = float("-inf")
        self._heard = time.monotonic()
        self._tasks: dict[asyncio.Task[Any], float] = {}
        """Since when each is asked."""
        self._broken: set[asyncio.Task[Any]] = set()
        self._running = 0
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives, once there is room for it. Errors: ``BrokenOff``."""
        await self._enter()
        task: asyncio.Task[T] = asyncio.ensure_future(ask())
        self._tasks[task] = time.monotonic()
        try:
            return await task
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if task in self._broken and not (asking and asking.cancelling()):
                raise BrokenOff from None
            raise
        finally:
            self._heard = time.monotonic()
            self._tasks.pop(task, None)
            self._broken.discard(task)
            self._running -= 1
            self._wake()

    def answered(self) -> None:
        """A line was answered well."""
        self.answers += 1
        self.reached()
        if not self._is_here and self._running + 1 >= int(self._limit):  # What is not used is not known to be borne.
            self._limit = min(self._most, self._limit + (1.0 if self._starts_slowly else 1.0 / self._limit))
            self._wake()

    def reached(self) -> None:
        """The backend has worked on a line, whatever it made of it."""
        self._failing_since = None

    def failing_for(self) -> float:
        """Seconds since when every line has failed, or was refused for want of room; 0 where the last one has not."""
        return 0.0 if self._failing_since is None else time.monotonic() - self._failing_since

    def failed(self) -> None:
        """A line has failed, or was refused for want of room."""
        now = time.monotonic()
        if self._failing_since is None or now - self._failed >= _FORGOTTEN_SECONDS:
            self._failing_since = now
        self._failed = now

    def troubled(self) -> None:
        """There is too much, or so it seems."""
        now = time.monotonic()
        if not self._is_here and now - self._troubled >= _CALM_SECONDS:
            self._troubled, self._starts_slowly = now, False
            self._limit = max(1.0, self._limit / 2)

    def traffic_changed(self) -> None:
        """The first live request has come, or the last one has left."""
        if self._is_here and self._traffic.is_live(self._backend):
            for task in self._tasks:
                if not task.done():
                    self._broken.add(task)
                    task.cancel()
        self._wake()

    def _has_room(self) -> bool:
        limit = int(self._limit)
        if self._running >= limit:
            return False
        if not self._traffic.is_live(self._backend, HERE_LIVE_SECONDS if self._is_here else LIVE_SECONDS):
            return True
        if self._is_here:
            return False
        long_ago = time.monotonic() - LONG_SECONDS
        hanging = sum(began <= long_ago for began in self._tasks.values())
        return self._running - hanging < max(1, limit // BESIDE_LIVE)

    async def _enter(self) -> None:
        if not self._waiting and self._has_room():
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        self._look_later()
        try:
            await turn
        except BaseException:
            self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled():
                self._running -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._has_room():
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                self._running += 1
                turn.set_result(None)
        if self._waiting:
            self._look_later()

    def _look_later(self) -> None:
        """Live traffic is over some time after its last request, of which nobody tells."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(min(HERE_LIVE_SECONDS / 2, _LOOK_SECONDS), self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        if not self._is_here and self._running >= int(self._limit) and now - self._heard >= _SILENT_SECONDS:
            self._heard, self._limit = now, min(self._most, self._limit + 1)
        self._wake()


class Throttles:
    """The throttles of one process, by backend."""

    def __init__(self, traffic: LiveTraffic) -> None:
        self.most = MOST_LINES
        self.traffic = traffic
        self._throttles: dict[Any, Throttle] = {}
        traffic.on_change = self._changed

    def of(self, backend: Any) -> Throttle:
        """That of a backend."""
        if (throttle := self._throttles.get(backend)) is None:
            throttle = self._throttles[backend] = Throttle(backend, self.traffic, self.most)
        return throttle

    def _changed(self, backend: Any) -> None:
        if (throttle := self._throttles.get(backend)) is not None:
            throttle.traffic_changed()
