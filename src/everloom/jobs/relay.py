"""From the outbox to an engine that keeps jobs in tables of its own: each row is handed over, and then goes.

The engine knows a job by its row's id, so one that is handed over twice (by a process that died before it struck the
row off, or by two that found it) is one job all the same.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import get_args

from everloom.jobs.base import Outbox
from everloom.jobs.keeping import keep_outbox
from everloom.kit import log
from everloom.objects.jobs import Job, Lane

_log = logging.getLogger(__name__)

_SWEEP = 1.0
"""Seconds between two looks for rows that their own process did not hand over."""

_PAGE = 500
"""Rows looked at and struck off at a time."""

_AT_ONCE = 16
"""Jobs of a lane that are being handed over at a time: as many as the engine has connections. Those behind them would
only stand in its way, and in that of the other lanes' jobs.
"""

_LANES: tuple[Lane, ...] = get_args(Lane)


class Relay:
    """Hands over what this process has started at once, and what others left behind after a second or two."""

    def __init__(self, outbox: Outbox, hand_over: Callable[[Job], Awaitable[None]]) -> None:
        """``hand_over`` returns once the engine keeps the job for good."""
        self.outbox = outbox
        self._hand_over = hand_over
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._room = {lane: asyncio.Semaphore(_AT_ONCE) for lane in _LANES}
        self._handed: list[str] = []
        self._seen: set[str] = set()
        self._awake = asyncio.Event()

    def take(self, jobs: Sequence[Job]) -> None:
        """Begin to hand jobs over, on the running loop."""
        for job in jobs:
            if job.id not in self._tasks:
                self._tasks[job.id] = asyncio.create_task(self._hand(job))

    async def keep(self) -> None:
        """Strike off what was handed over, and sweep, until cancelled."""
        await keep_outbox(self._strike_off, self._sweep, self._awake, seconds=_SWEEP)

    async def finish(self, timeout: float) -> None:
        """Wait for what is being handed over, ``timeout`` seconds at most; what is left the others sweep."""
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await self._strike_off()
        except Exception as problem:
            _log.warning("jobs that were handed over could not be struck off: %s", problem)

    async def _hand(self, job: Job) -> None:
        try:
            async with self._room[job.lane]:
                await self._hand_over(job)
            self._handed.append(job.id)
            self._awake.set()
        except Exception as problem:
            log.outage(f"handing over {job.name}", problem)  # The row stands: a sweep comes by.
        finally:
            del self._tasks[job.id]

    async def _strike_off(self) -> None:
        while some := self._handed[:_PAGE]:
            await self.outbox.done(some)
            del self._handed[: len(some)]

    async def _sweep(self) -> None:
        """Hand over what stood there a sweep ago already: what is younger, its own process is about to."""
        seen: set[str] = set()
        for lane in _LANES:
            found = await self.outbox.waiting(lane, _PAGE)
            seen.update(job.id for job in found)
            self.take([job for job in found if job.id in self._seen])
        self._seen = seen
