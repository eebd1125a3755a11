"""Jobs in one process: the outbox is the queue, and no other record is kept of them.

A job's row goes when its function has returned; so a killed process leaves the rows of what it had in hand, and the
next one takes them up. There is no list of those that have ended: each start is a row of its own, and to look at a
key once too often costs little.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence

from everloom.jobs.base import CONCURRENCY, JobFunction, Outbox
from everloom.jobs.keeping import keep_outbox
from everloom.jobs.patience import until_available
from everloom.kit.ids import second_of
from everloom.objects.jobs import Backlog, Job, JobsLoad, Lane, LaneLoad

_log = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds between two looks into the outbox: for rows that nobody told of, and after an outage."""

_PAGE = 500
"""Jobs read at a time, beside those that are known. Of each lane this many wait in memory at most, or so."""

_UNWIND = 5.0
"""Seconds in which an abandoned job must let go."""


class _Turn:
    """A key that waits or is executed: the jobs that no look has answered yet, and the execution under way."""

    __slots__ = ("task", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Job] = []
        self.task: asyncio.Task[None] | None = None


class _Line:
    """A lane: the names of keys that wait, in their order, and how many are executed."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.names: deque[str] = deque()
        self.known: set[str] = set()
        """Ids of rows that wait or are in hand, or whose row has not been struck off yet."""
        self.in_hand = 0
        """Rows of keys that are executed, or were and have not been struck off."""
        self.more = False
        """Whether there are, or may be, rows behind those that are known."""

    @property
    def hungry(self) -> bool:
        """Whether rows are to be fetched before the next look is due."""
        return self.more and len(self.names) < self.limit


class EmbeddedJobs:
    """The port's ``Jobs`` for the one process on a database. Functions run on the loop that called ``launch``.

    A function that is cancelled must let the cancellation through: its job is then left to the next process.
    """

    def __init__(self, outbox: Outbox, *, concurrency: Mapping[Lane, int] = CONCURRENCY) -> None:
        """``concurrency``: jobs of a lane in hand at once, where it is another number than usual."""
        self._outbox = outbox
        self._lines = {lane: _Line(limit) for lane, limit in {**CONCURRENCY, **concurrency}.items()}
        self._turns: dict[str, _Turn] = {}
        self._functions: Mapping[str, JobFunction] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._leaving = False
        self._ended: list[Job] = []
        self._awake = asyncio.Event()
        self._upkeep: asyncio.Task[None] | None = None

    async def launch(self, functions: Mapping[str, JobFunction], *, work: bool) -> None:
        """With ``work``, serve jobs and take up those in the outbox; else they stay there for a process that works."""
        self._functions = functions
        if work and not self._stopping:
            self._loop = asyncio.get_running_loop()
            self._upkeep = asyncio.create_task(
                keep_outbox(self._strike_off, self._look, self._awake, seconds=_LOOK, at_once=True, hungry=self._hungry)
            )

    def notice(self, jobs: Sequence[Job]) -> None:
        """See ``Jobs.notice``. Before ``launch`` it does nothing: the first look finds them."""
        loop = self._loop
        if loop is None:
            return
        if _running_loop() is loop:
            self._take(jobs)
        else:
            with contextlib.suppress(RuntimeError):  # it has ended: the next process finds them
                loop.call_soon_threadsafe(self._take, jobs)

    async def load(self) -> JobsLoad:
        """See ``Jobs.load``. The outbox has what is in hand, too."""
        now, backlog, waiting = time.time(), await self._outbox.backlog(), self._oldest_that_wait()
        lanes = {}
        for lane, line in self._lines.items():
            stands = backlog.get(lane, Backlog(0, now))
            count = max(0, stands.jobs - line.in_hand)
            since = waiting.get(lane, stands.since if not line.in_hand else now)
            lanes[lane] = LaneLoad(count, line.running, max(0.0, now - since) if count else 0.0)
        return JobsLoad(lanes, workers=int(self._upkeep is not None))

    def _oldest_that_wait(self) -> dict[Lane, float]:
        """Since when the oldest of each lane waits, of those that stand in line here."""
        oldest: dict[Lane, float] = {}
        for turn in self._turns.values():
            for job in turn.waiting[:1]:
                since = second_of(job.id) or time.time()
                oldest[job.lane] = min(since, oldest.get(job.lane, since))
        return oldest

    async def stop(self, grace: float) -> None:
        """Take nothing new; let jobs in hand go on for ``grace`` seconds, leave the rest in the outbox.

        Takes up to five seconds more where a job does not let itself be cancelled. Stopping twice is allowed.
        """
        self._stopping = True
        tasks = [turn.task for turn in self._turns.values() if turn.task is not None]
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        self._leaving = True
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_UNWIND)
            if stuck:
                _log.error("%d jobs do not let themselves be cancelled", len(stuck))
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
            self._upkeep = None
            try:
                await self._strike_off()
            except Exception as problem:
                # They are looked at once too often, by the next process.
                _log.warning("jobs that have ended could not be struck off: %s", problem)

    # --- taking ------------------------------------------------------------------------------------------------------

    def _take(self, jobs: Sequence[Job]) -> None:
        """Have jobs wait that were just told of."""
        if self._stopping:
            return
        for job in jobs:
            line = self._lines[job.lane]
            if line.more or len(line.known) >= 2 * _PAGE:
                line.more = True  # others stand before it, in the outbox; it is found there in its turn
            else:
                self._await_turn(job, line)
        self._begin_what_may()

    def _await_turn(self, job: Job, line: _Line) -> None:
        if job.id in line.known:
            return
        line.known.add(job.id)
        if job.kind not in self._functions:
            _log.error("nobody here knows how to do %s; it is left in the outbox", job.name)
            return
        turn = self._turns.setdefault(job.name, _Turn())
        turn.waiting.append(job)
        if turn.task is None:
            line.names.append(job.name)

    def _begin_what_may(self) -> None:
        if self._stopping:
            return
        for line in self._lines.values():
            while line.names and line.running < line.limit:
                name = line.names.popleft()
                turn = self._turns.get(name)
                # A key may stand in line twice; the first time has answered for the second.
                if turn is not None and turn.task is None and turn.waiting:
                    self._begin(name, turn, line)
            if line.hungry:
                self._awake.set()

    def _begin(self, name: str, turn: _Turn, line: _Line) -> None:
        jobs, turn.waiting = turn.waiting, []
        line.running += 1
        for job in jobs:
            self._lines[job.lane].in_hand += 1
        # An empty context: a job is no part of the request that started it.
        work = self._carry_out(name, turn, line, jobs)
        turn.task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())

    # --- carrying out ------------------------------------------------------------------------------------------------

    async def _carry_out(self, name: str, turn: _Turn, line: _Line, jobs: list[Job]) -> None:
        """Execute a key, for all the jobs that stood there when it began."""
        job = jobs[0]
        function = self._functions[job.kind]
        try:
            await until_available(f"job {name}", lambda: function(job.project, job.key))
        except asyncio.CancelledError:
            if self._leaving:
                raise
            _log.exception("job %s cancelled itself", name)
        except Exception:
            if not self._leaving:
                _log.exception("job %s failed", name)
        finally:
            turn.task = None
            line.running -= 1
        if self._leaving:  # Whatever came of it: the next process looks whether anything is left to do.
            return
        self._ended += jobs
        if not turn.waiting:
            self._turns.pop(name, None)
        else:
            self._lines[turn.waiting[0].lane].names.append(name)
        self._awake.set()
        self._begin_what_may()

    # --- the outbox --------------------------------------------------------------------------------------------------

    def _hungry(self) -> bool:
        return any(line.hungry for line in self._lines.values())

    async def _strike_off(self) -> None:
        while some := self._ended[:_PAGE]:
            await self._outbox.done([job.id for job in some])
            del self._ended[: len(some)]
            for job in some:
                self._lines[job.lane].known.discard(job.id)
                self._lines[job.lane].in_hand -= 1

    async def _look(self) -> None:
        for lane, line in self._lines.items():
            limit = len(line.known) + _PAGE
            rows = await self._outbox.waiting(lane, limit)
            line.more = len(rows) >= limit
            for job in rows:
                self._await_turn(job, line)
        self._begin_what_may()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
