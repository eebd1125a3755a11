"""From the queues of an engine to this process: jobs are claimed when somebody calls that some are there.

Whoever puts a job into a queue calls, once it stands there. A call may be lost, so a look goes round by itself every
few seconds, for all queues in one statement.
"""

import asyncio
from collections.abc import Callable
from typing import get_args

from everloom.jobs.base import Calls
from everloom.jobs.dbos_engine import Engine
from everloom.kit import log
from everloom.objects.jobs import Lane

_LOOK = 2.0
"""Seconds between two looks that nobody called for: what a lost call costs a job that waits."""

_PAUSE = 0.02
"""Seconds between two claims of a lane, in which calls come together: each is two transactions."""

_WATCH = 600.0
"""Seconds for which a call is waited for at a time."""

_LANES: tuple[Lane, ...] = get_args(Lane)


class Dispatcher:
    """A worker's claims: as many of a lane as there is room for, and the next as soon as there is room again."""

    def __init__(
        self, calls: Calls, engine: Callable[[], Engine], room: Callable[[Lane], int], *, forget: float
    ) -> None:
        """``room``: how many more of a lane may be taken in hand, but for those on their way. ``forget``: seconds after
        which a job that was claimed and has not arrived is not waited for: the janitor has put it back.
        """
        self._calls = calls
        self._engine = engine
        self._room = room
        self._forget = forget
        self._due = {lane: asyncio.Event() for lane in _LANES}
        self._behind: set[Lane] = set()
        """Lanes in which there may be more than there was room for."""
        self._coming: dict[str, tuple[Lane, float]] = {}
        """Jobs that were claimed and are not in hand yet, and since when."""

    def call(self, lane: Lane) -> None:
        """Have some process claim what now stands in a lane's queue; from any thread. Never raises."""
        try:
            self._calls.wake(_topic(lane))
        except RuntimeError as problem:  # a loop that is closed this moment; a look finds them
            log.outage(f"calling for jobs of the lane {lane}", problem)

    def arrived(self, job: str) -> None:
        """The job with this id is in hand."""
        self._coming.pop(job, None)

    def has_room(self, lane: Lane) -> None:
        """A place of a lane is free again."""
        if lane in self._behind:
            self._behind.discard(lane)
            self._due[lane].set()

    async def keep(self) -> None:
        """Claim until cancelled; a claim under way goes on, and is given back by whoever stops the engine."""
        async with asyncio.TaskGroup() as tasks:
            for lane in _LANES:
                tasks.create_task(self._listen(lane))
                tasks.create_task(self._serve(lane))
            tasks.create_task(self._look())

    async def _listen(self, lane: Lane) -> None:
        with self._calls.watch(_topic(lane)) as watch:
            while True:
                if await watch.wait(_WATCH):
                    self._due[lane].set()

    async def _look(self) -> None:
        while True:
            try:
                for lane in await self._engine().queued():
                    self._due[lane].set()
            except Exception as problem:
                log.outage("the jobs' queues", problem)
            await asyncio.sleep(_LOOK)

    async def _serve(self, lane: Lane) -> None:
        due = self._due[lane]
        while True:
            await due.wait()
            due.clear()
            room = self._room(lane) - self._on_their_way(lane)
            if room <= 0:
                self._behind.add(lane)
                continue
            try:
                if await self._claim(lane, room) >= room:
                    due.set()
            except Exception as problem:
                log.outage(f"the queue of the lane {lane}", problem)
            await asyncio.sleep(_PAUSE)

    async def _claim(self, lane: Lane, room: int) -> int:
        """How many jobs were claimed and begun."""
        claim = await self._engine().claim(lane, room)
        if claim.jobs:
            now = asyncio.get_running_loop().time()
            # Before any of them can arrive.
            self._coming.update((job, (lane, now)) for job in claim.jobs)
            await self._engine().dispatch(claim)
        return len(claim.jobs)

    def _on_their_way(self, lane: Lane) -> int:
        since = asyncio.get_running_loop().time() - self._forget
        self._coming = {job: came for job, came in self._coming.items() if came[1] > since}
        return sum(place == lane for place, _ in self._coming.values())


def _topic(lane: Lane) -> str:
    return f"jobs {lane}"
