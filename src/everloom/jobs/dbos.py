"""Jobs on DBOS Transact: SQLite for one process, PostgreSQL for many.

DBOS keeps which jobs there are and who has them; a job's progress stands in our own store.
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from everloom.jobs.base import JobFunction
from everloom.jobs.engine import Engine
from everloom.jobs.janitor import Janitor, Presence

_log = logging.getLogger(__name__)

_UNWIND = 5.0
"""Seconds in which an abandoned job must let go."""


class DbosJobs:
    """The port's ``Jobs``. Job functions run on the loop that called ``launch``; one ``DbosJobs`` a process at a time.

    A function that is cancelled must let the cancellation through: its job is then left to the next worker.
    """

    def __init__(
        self,
        database: str | Path,
        *,
        executor_id: str | None = None,
        concurrency: int = 64,
        stale: float = 5.0,
        keep: float = 3600.0,
    ) -> None:
        """``database``: path of an SQLite file of the jobs' own, or ``postgresql://…``, which may be shared.

        ``executor_id``: begins this process's name among the workers, which is a new one at each start.
        ``concurrency``: jobs in hand at once. ``stale``: seconds without a sign of life after which a worker's
        jobs go to others. ``keep``: seconds for which ended jobs are remembered, so that a second start does nothing.
        """
        self._url, self._embedded = _url(database)
        self._executor = f"{executor_id or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._concurrency = concurrency
        self._stale = stale
        self._keep = keep
        self._functions: Mapping[str, JobFunction] = {}
        self._work = False
        self._launching = False
        self._stopping = False
        self._closing = asyncio.Lock()
        self._closed = False
        self._room = asyncio.Semaphore(concurrency)
        self._launched: asyncio.Future[None] | None = None
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._left: set[asyncio.Task[None]] = set()
        self._beginning = 0
        self._loop: asyncio.AbstractEventLoop
        self._engine: Engine
        self._janitor: Janitor | None = None
        self._presence: Presence | None = None
        self._giving_back: set[asyncio.Task[None]] = set()

    async def launch(self, functions: Mapping[str, JobFunction], *, work: bool) -> None:
        """Open the engine (about a second, in a thread); with ``work``, serve jobs and take up stranded ones.

        May run as a task beside the rest of a server's start: ``start`` waits for it.
        """
        self._launching = True
        self._loop = asyncio.get_running_loop()
        self._functions = functions
        self._work = work
        self._engine = Engine(self._url, self._executor, self._bridge, concurrency=self._concurrency, work=work)
        launched = self._up()
        try:
            await self._engine.open()
            if work:
                await self._take_up()
        except BaseException as problem:
            if not launched.done():
                launched.set_exception(problem if isinstance(problem, Exception) else RuntimeError("not launched"))
                launched.exception()
            raise
        launched.set_result(None)

    async def start(self, kind: str, project: str, key: str) -> None:
        """Have ``functions[kind](project, key)`` run; durable when it returns, and only the first call counts.

        Before ``launch`` has ended it waits; after ``stop`` has begun the job is kept for the next worker.
        Raises KeyError for an unknown kind, RuntimeError when the engine has stopped.
        """
        await asyncio.shield(self._up())
        if kind not in self._functions:
            raise KeyError(kind)
        full = len(self._in_hand) + self._beginning >= self._concurrency
        # Where there is no other worker a job that finds no room waits here; else whoever has room may take it.
        here = self._work and not self._stopping and (self._embedded or not full)
        self._beginning += here
        try:
            await self._engine.begin(_name(kind, project, key), kind, project, key, here=here)
        finally:
            self._beginning -= here

    async def stop(self, grace: float) -> None:
        """Take nothing new; let jobs in hand go on for ``grace`` seconds, leave the rest for the next worker.

        Takes up to five seconds more where a job does not let itself be cancelled. Stopping twice is allowed.
        """
        self._stopping = True
        async with self._closing:
            launched = self._up()
            if not self._launching and not launched.done():
                launched.set_exception(RuntimeError("the job engine was stopped before it was launched"))
            await asyncio.wait([launched])
            if self._closed or not self._launching:
                launched.exception()
                return
            try:
                if launched.exception() is None:
                    await self._finish(grace)
            finally:
                await self._engine.close()
                self._closed = True

    async def _finish(self, grace: float) -> None:
        self._engine.take_nothing_new()
        if self._in_hand and grace > 0:
            await asyncio.wait(list(self._in_hand.values()), timeout=grace)
        await self._leave(list(self._in_hand.values()))
        await self._in_thread(self._engine.await_last_answer)
        await self._engine.settle(2.0)
        await self._in_thread(self._sign_off)

    def _up(self) -> asyncio.Future[None]:
        if self._launched is None:
            self._launched = asyncio.get_running_loop().create_future()
        return self._launched

    async def _take_up(self) -> None:
        if not self._embedded:
            self._presence = Presence(self._engine.database, self._executor, self._stale)
        self._janitor = Janitor(
            self._engine, self._presence, stale=self._stale, keep=self._keep, lost=self._after_being_taken_for_dead
        )
        await self._in_thread(lambda: self._janitor.start(self._executor) if self._janitor else None)

    def _sign_off(self) -> None:
        """Leave the workers; blocks."""
        try:
            if self._janitor:
                self._janitor.stop()
            self._give_back()
            if self._presence:
                self._presence.end()
        except Exception as problem:
            # It costs time only: the others take us for dead after a while, or the next launch finds the jobs.
            _log.warning("could not sign off: %s", problem)

    def _give_back(self) -> None:
        """Let the next worker have our jobs at once; blocks."""
        self._engine.requeue([job for job, _ in self._engine.pending([self._executor])])

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await self._loop.run_in_executor(None, work)

    async def _bridge(self, kind: str, project: str, key: str) -> None:
        """Run a job on the server's loop, from the engine's."""
        if self._stopping or self._loop.is_closed():
            raise asyncio.CancelledError
        # An empty context, or else the job would start others as children of its own workflow.
        job = self._carry_out(kind, project, key)
        future = contextvars.Context().run(asyncio.run_coroutine_threadsafe, job, self._loop)
        await asyncio.wrap_future(future)

    async def _carry_out(self, kind: str, project: str, key: str) -> None:
        name = _name(kind, project, key)
        task = asyncio.current_task()
        assert task
        if earlier := self._in_hand.get(name):
            # It was taken over from us and has come back; the two must not run side by side.
            await self._leave([earlier])
        self._in_hand[name] = task
        try:
            async with self._room:
                if self._stopping:
                    raise asyncio.CancelledError
                await self._functions[kind](project, key)
        except asyncio.CancelledError:
            if self._stopping or task in self._left:
                raise
            _log.exception("job %s cancelled itself", name)
            raise RuntimeError("cancelled itself") from None
        except Exception:
            if task not in self._left:
                _log.exception("job %s failed", name)
                raise
        finally:
            if self._in_hand.get(name) is task:
                del self._in_hand[name]
        if task in self._left:
            # Whatever came of it: it was told to leave, so the next worker looks whether anything is left to do.
            raise asyncio.CancelledError

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
            task = self._loop.create_task(self._let_go())
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(begin)

    async def _let_go(self) -> None:
        await self._leave(list(self._in_hand.values()))
        # Those that we began since we woke up are still ours, and now nobody does them.
        await self._in_thread(self._give_back)


def _name(kind: str, project: str, key: str) -> str:
    return f"{kind}:{project}:{key}"


def _url(database: str | Path) -> tuple[str, bool]:
    """SQLAlchemy's URL, and whether it is a file of one process."""
    text = str(database)
    for scheme in ("postgresql://", "postgres://"):
        if text.startswith(scheme):
            return "postgresql+psycopg://" + text.removeprefix(scheme), False
    path = Path(text.removeprefix("sqlite:///")).absolute()
    return f"sqlite:///{path}", True
