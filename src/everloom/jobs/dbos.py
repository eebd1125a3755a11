"""Jobs on DBOS Transact, for many processes on one PostgreSQL.

DBOS keeps which jobs there are and who has them; they come to it from the outbox (``relay.py``), and how far a job is
stands in our own store.
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

from everloom.jobs.base import AT_HOME, CONCURRENCY, Calls, JobFunction, Outbox
from everloom.jobs.dbos_engine import Engine, alone
from everloom.jobs.dispatcher import Dispatcher
from everloom.jobs.janitor import Janitor, Presence
from everloom.jobs.patience import until_available
from everloom.jobs.relay import Relay
from everloom.objects.jobs import Backlog, Job, JobsLoad, Lane, LaneLoad

_log = logging.getLogger(__name__)

_UNWIND = 5.0
"""Seconds in which an abandoned job must let go."""


class DbosJobs:
    """The port's ``Jobs``. Job functions run on the loop that called ``launch``; one ``DbosJobs`` a process at a time.

    A function that is cancelled must let the cancellation through: its job is then left to the next worker.
    """

    def __init__(
        self,
        url: str,
        outbox: Outbox,
        calls: Calls,
        *,
        executor_id: str | None = None,
        concurrency: Mapping[Lane, int] = CONCURRENCY,
        stale: float = 5.0,
        keep: float = 600.0,
    ) -> None:
        """``url``: ``postgresql://…``, of a database that may be shared; ``outbox``: where its jobs come from.
        ``calls``: how processes wake each other, open from before ``launch`` until after ``stop``.

        ``executor_id``: begins this process's name among the workers, which is a new one at each start.
        ``concurrency``: jobs of a lane in hand at once, where not as usual. ``stale``: seconds without a sign of life
        after which a worker's jobs go to others. ``keep``: seconds for which ended jobs are remembered.
        """
        self._url = "postgresql+psycopg://" + url.partition("://")[2]
        self._executor = f"{executor_id or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._concurrency = {**CONCURRENCY, **concurrency}
        self._stale, self._keep = stale, keep
        self._functions: Mapping[str, JobFunction] = {}
        self._work = self._stopping = self._open = False
        self._opening = asyncio.Lock()
        self._room = {lane: asyncio.Semaphore(limit) for lane, limit in self._concurrency.items()}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._next: set[tuple[str, Lane]] = set()  # keys for whose turn somebody waits
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._called: set[str] = set()  # in hand, or on their way to a loop that is busy
        self._left: set[asyncio.Task[None]] = set()
        self._taken: Counter[Lane] = Counter()
        self._early: list[Job] = []
        self._relay = Relay(outbox, self._hand_over)
        self._dispatcher = Dispatcher(calls, lambda: self._engine, self._room_for, forget=stale)
        self._keeping: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine
        self._among_workers: tuple[Presence, Janitor] | None = None
        self._giving_back: set[asyncio.Task[None]] = set()

    async def launch(self, functions: Mapping[str, JobFunction], *, work: bool) -> None:
        """Open the engine (about a second, in a thread); with ``work``, serve jobs and take up stranded ones.

        May run as a task beside the rest of a server's start: jobs that are started meanwhile wait for it. Where it
        raises it may be called again.
        """
        self._loop = asyncio.get_running_loop()
        self._functions = functions
        self._work = work
        async with self._opening:
            if self._stopping:
                return
            self._engine = Engine(self._url, self._executor, self._bridge, on_queued=self._dispatcher.call)
            try:
                await self._engine.open()
                if work:
                    await self._take_up()
            except BaseException:
                await self._engine.close()
                raise
            self._open = True
            early, self._early = self._early, []
            self._relay.take(early)
            self._keeping = [asyncio.create_task(self._relay.keep())]
            if work:
                self._keeping.append(asyncio.create_task(self._dispatcher.keep()))

    def notice(self, jobs: Sequence[Job]) -> None:
        """See ``Jobs.notice``. After ``stop`` it does nothing: another process's sweep finds them."""
        loop = self._loop
        if loop is None or loop.is_closed():
            self._early += jobs
            return
        with contextlib.suppress(RuntimeError):  # closed this moment
            loop.call_soon_threadsafe(self._hear, jobs)

    def _hear(self, jobs: Sequence[Job]) -> None:
        if not self._keeping:
            self._early += jobs
        elif not self._stopping:
            self._relay.take(jobs)

    async def load(self) -> JobsLoad:
        """See ``Jobs.load``. What the outbox has is on its way into the queues; for a moment it stands in both."""
        now, outbox = time.time(), await self._relay.outbox.backlog()
        queued: Mapping[Lane, Backlog] = {}
        running: Mapping[Lane, int] = {}
        workers = 0
        if self._open:
            queued, running, workers = await asyncio.get_running_loop().run_in_executor(None, self._look)
        lanes = {}
        for lane in self._concurrency:
            stands = [where[lane] for where in (outbox, queued) if lane in where]
            oldest = max((now - one.since for one in stands), default=0.0)
            lanes[lane] = LaneLoad(sum(one.jobs for one in stands), running.get(lane, 0), max(0.0, oldest))
        return JobsLoad(lanes, workers)

    def _look(self) -> tuple[Mapping[Lane, Backlog], Mapping[Lane, int], int]:
        """What ``load`` asks the engine's tables; blocks."""
        queued, running = self._engine.loads()
        with alone(self._engine.database) as connection:
            workers = Presence(self._engine.database, self._executor, self._stale).alive(connection)
        return queued, running, workers

    def _room_for(self, lane: Lane) -> int:
        return self._concurrency[lane] - self._taken[lane]

    async def _hand_over(self, job: Job) -> None:
        """Have the engine keep a job: executed here at once where there is room, else by whoever has some."""
        if job.kind not in self._functions:
            raise KeyError(f"nobody here knows how to do {job.name}")
        room = AT_HOME.get(job.lane, self._concurrency[job.lane])
        here = self._work and not self._stopping and self._taken[job.lane] < room
        self._taken[job.lane] += here
        try:
            await self._engine.begin(job, here=here)
        finally:
            if here:
                self._give_up_place(job.lane)

    def _give_up_place(self, lane: Lane) -> None:
        self._taken[lane] -= 1
        self._dispatcher.has_room(lane)

    async def stop(self, grace: float) -> None:
        """Take nothing new; let jobs in hand go on for ``grace`` seconds, leave the rest for the next worker.

        Takes up to five seconds more where a job does not let itself be cancelled. Stopping twice is allowed.
        """
        self._stopping = True
        async with self._opening:
            if not self._open:
                return
            self._open = False
            try:
                await self._finish(grace)
            finally:
                await self._engine.close()

    async def _finish(self, grace: float) -> None:
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await self._relay.finish(_UNWIND)
        if self._in_hand and grace > 0:
            await asyncio.wait(list(self._in_hand.values()), timeout=grace)
        await self._leave(list(self._in_hand.values()))
        await self._engine.settle(2.0)
        await self._in_thread(self._sign_off)

    async def _take_up(self) -> None:
        presence = Presence(self._engine.database, self._executor, self._stale)
        janitor = Janitor(
            self._engine,
            presence,
            stale=self._stale,
            keep=self._keep,
            in_hand=self._called.copy,
            lost=self._after_being_taken_for_dead,
        )
        self._among_workers = presence, janitor
        await self._in_thread(janitor.start)

    def _sign_off(self) -> None:
        """Leave the workers; blocks."""
        try:
            if self._among_workers:
                self._among_workers[1].stop()
            self._give_back()
            if self._among_workers:
                self._among_workers[0].end()
        except Exception as problem:
            # It costs time only: the others take us for dead after a while, or the next launch finds the jobs.
            _log.warning("could not sign off: %s", problem)

    def _give_back(self) -> None:
        """Let the next worker have our jobs at once; blocks."""
        self._engine.requeue([job for job, _ in self._engine.pending([self._executor])])

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, work)

    async def _bridge(self, job: Job) -> None:
        """Run a job on the server's loop, from the engine's."""
        if self._stopping or self._loop is None or self._loop.is_closed():
            raise asyncio.CancelledError
        if job.kind not in self._functions:
            # A later program's: it stays begun and not in hand, so the janitor puts it back into its queue.
            _log.error("nobody here knows how to do %s; it is left to another worker", job.name)
            raise asyncio.CancelledError
        self._called.add(job.id)
        try:
            # An empty context, or else the job would start others as children of its own workflow.
            future = contextvars.Context().run(asyncio.run_coroutine_threadsafe, self._carry_out(job), self._loop)
            await asyncio.wrap_future(future)
        finally:
            self._called.discard(job.id)

    async def _carry_out(self, job: Job) -> None:
        task = asyncio.current_task()
        assert task
        if earlier := self._in_hand.get(job.id):
            # It was taken over from us and has come back; the two must not run side by side.
            await self._leave([earlier])
        self._in_hand[job.id] = task
        self._taken[job.lane] += 1
        self._dispatcher.arrived(job.id)
        try:
            await self._execute(job)
        except asyncio.CancelledError:
            if self._stopping or task in self._left:
                raise
            _log.exception("job %s cancelled itself", job.name)
            raise RuntimeError("cancelled itself") from None
        except Exception:
            if task not in self._left:
                _log.exception("job %s failed", job.name)
                raise
        finally:
            self._give_up_place(job.lane)
            if self._in_hand.get(job.id) is task:
                del self._in_hand[job.id]
        if task in self._left:
            # Whatever came of it: it was told to leave, so the next worker looks whether anything is left to do.
            raise asyncio.CancelledError

    async def _execute(self, job: Job) -> None:
        """Call the job's function in its key's turn, and again as long as what it stands on is away.

        Not where another of the lane waits for that turn: it has not looked yet, and answers for both. So a key that is
        started often keeps two places at most from the others.
        """
        function = self._functions[job.kind]
        turn = self._turns.setdefault(job.name, asyncio.Lock())
        if (place := (job.name, job.lane)) in self._next:
            return
        async with contextlib.AsyncExitStack() as held:
            self._next.add(place)
            try:
                await held.enter_async_context(turn)
                await held.enter_async_context(self._room[job.lane])
            finally:
                self._next.discard(place)
            if self._stopping:
                raise asyncio.CancelledError
            await until_available(f"job {job.name}", lambda: function(job.project, job.key))

    async def _leave(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Cancel jobs without any of them being marked as ended."""
        tasks = list(tasks)
        self._left.update(tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_UNWIND)
            if stuck:
                _log.error("%d jobs do not let themselves be cancelled", len(stuck))
            self._left.difference_update(set(tasks) - stuck)

    def _after_being_taken_for_dead(self) -> None:
        """Others have our jobs now (called in the janitor's thread): stop them here."""

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(self._let_go())
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)

        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(begin)

    async def _let_go(self) -> None:
        await self._leave(list(self._in_hand.values()))
        # Those that we began since we woke up are still ours, and now nobody does them.
        await self._in_thread(self._give_back)
