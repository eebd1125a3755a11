"""DBOS in a thread of its own, on a loop of its own: all that touches DBOS stands here.

Why a thread: DBOS makes its thread pool the default executor of whatever loop it works on, and takes
most of a second to import and launch; on the server's loop both would be felt by every request. The
jobs' own coroutines run on the server's loop, where their resources live (see ``dbos.py``).
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

Perform = Callable[[str, str, str], Awaitable[None]]
"""Takes a job's kind, project and key; runs on the engine's loop."""

_QUEUE = "everloom"
_VERSION = "1"
"""DBOS recovers only work of its own application version. Ours carries no state, so any release may go on with it."""
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_LOST_PATIENCE = 60
"""Seconds after which a forgotten database transaction of ours is ended by the server."""
_one_at_a_time = threading.Lock()
_log = logging.getLogger(__name__)


class Engine:
    """One DBOS, from ``open`` to ``close``. DBOS is a singleton, so a process has one engine at a time."""

    def __init__(self, url: str, executor: str, perform: Perform, *, concurrency: int, work: bool) -> None:
        """``url``: SQLAlchemy's, ``sqlite:///PATH`` or ``postgresql+psycopg://…``; ``work``: ask the queue for jobs."""
        self._url = url
        self._executor = executor
        self._perform = perform
        self._concurrency = concurrency
        self._work = work
        # A look costs 3 ms of CPU. With SQLite nobody else fills the queue: it serves a relaunch only.
        self._polling = 0.2 if url.startswith("sqlite") else 0.05
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="everloom-jobs", daemon=True)
        self._stop_events: list[threading.Event] = []
        self._serving: asyncio.Task[None] | None = None
        self._workflow: Callable[[str, str, str], Coroutine[Any, Any, None]]
        self.database: sa.Engine

    async def open(self) -> None:
        """Start DBOS; raises what hindered it, RuntimeError where another engine is open in this process."""
        if not _one_at_a_time.acquire(blocking=False):
            self._loop.close()
            raise RuntimeError("a process has room for one job engine at a time")
        self._thread.start()
        await asyncio.shield(asyncio.wrap_future(self._ready))

    async def begin(self, workflow_id: str, kind: str, project: str, key: str, *, here: bool) -> None:
        """Keep the job; then run it here at once, or leave it to whichever worker asks the queue first.

        Nothing happens where the id is known already. The caller's cancellation does not undo it.
        """
        coroutine = self._begin(workflow_id, (kind, project, key), here)
        try:
            kept = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise RuntimeError("the job engine has stopped") from None
        await asyncio.shield(asyncio.wrap_future(kept))

    def take_nothing_new(self) -> None:
        """Ask the queue for no more jobs; what it gives on a question asked already may still come."""
        for event in self._stop_events:
            event.set()

    def await_last_answer(self) -> None:
        """Wait until nothing can come any more, after ``take_nothing_new``; blocks."""
        _join("queue-worker-")

    def pending(self, executors: list[str] | None = None) -> list[tuple[str, str]]:
        """(workflow id, executor id) of the jobs that these executors, or any, have begun and not ended.

        Blocks on the database; call it from a thread without an event loop, like the two below.
        """
        from dbos import DBOS

        rows = DBOS.list_workflows(status="PENDING", executor_id=executors, load_input=False, load_output=False)
        return [(row.workflow_id, row.executor_id or "") for row in rows]

    def requeue(self, workflow_ids: list[str]) -> None:
        """Give jobs back to the queue; what they had begun may record nothing any more."""
        from dbos import DBOS

        for start in range(0, len(workflow_ids), 500):
            DBOS.resume_workflows(workflow_ids[start : start + 500], queue_name=_QUEUE)

    def purge(self, age: float, batch: int) -> int:
        """Forget up to ``batch`` jobs that ended over ``age`` seconds ago; how many they were."""
        from dbos import DBOS

        before = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
        rows = DBOS.list_workflows(
            status=_ENDED, completed_before=before, limit=batch, load_input=False, load_output=False
        )
        if rows:
            DBOS.delete_workflows([row.workflow_id for row in rows])
        return len(rows)

    async def settle(self, timeout: float) -> None:
        """Wait until what has ended is recorded as ended, ``timeout`` seconds at most."""
        settled = asyncio.run_coroutine_threadsafe(self._settle(timeout), self._loop)
        await asyncio.wrap_future(settled)

    async def close(self) -> None:
        """Stop DBOS and disconnect. Jobs in hand are abandoned as they are; none is marked ended."""
        if not self._thread.ident:
            return
        with contextlib.suppress(RuntimeError):
            # Where it could not be opened, the thread has ended by itself and closed its loop.
            self._loop.call_soon_threadsafe(self._closing.set)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        try:
            try:
                with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                    runner.run(self._serve())
            finally:
                self._destroy()
        except Exception as problem:
            if self._ready.done():
                _log.exception("the job engine did not end in order")
            else:
                self._ready.set_exception(problem)
        finally:
            _one_at_a_time.release()

    async def _serve(self) -> None:
        self._serving = asyncio.current_task()
        await self._launch()
        self._ready.set_result(None)
        await self._closing.wait()

    async def _launch(self) -> None:
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        _quieten()
        self.database = connect(self._url)
        config = DBOSConfig(
            name="everloom",
            system_database_engine=self.database,
            application_version=_VERSION,
            executor_id=self._executor,
            serializer=DBOSPortableJSONSerializer(),
            # Only DBOS's events and messages would be notified about, and we use neither.
            use_listen_notify=False,
            notification_listener_polling_interval_sec=0.2,
            scheduler_polling_interval_sec=3600.0,
            log_level="ERROR",
        )
        dbos = DBOS(config=config)
        self._stop_events = dbos.background_thread_stop_events
        perform = self._perform

        # A job that takes the process down with it is tried for ever: its store says when it is too late.
        @DBOS.workflow(name="perform", max_recovery_attempts=None)
        async def workflow(kind: str, project: str, key: str) -> None:
            await perform(kind, project, key)

        self._workflow = workflow
        DBOS.listen_queues([_QUEUE] if self._work else [])
        # Called on this loop, so that DBOS runs the workflows it dequeues on it.
        DBOS.launch()
        if self._work:
            await DBOS.register_queue_async(
                _QUEUE,
                worker_concurrency=self._concurrency,
                polling_interval_sec=self._polling,
                on_conflict="always_update",
            )

    async def _begin(self, workflow_id: str, job: tuple[str, str, str], here: bool) -> None:
        from dbos import DBOS, SetWorkflowID

        with SetWorkflowID(workflow_id):
            if here:
                await DBOS.start_workflow_async(self._workflow, *job)
            else:
                await DBOS.enqueue_workflow_async(_QUEUE, self._workflow, *job)

    async def _settle(self, timeout: float) -> None:
        others = asyncio.all_tasks() - {self._serving, asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=timeout)

    def _destroy(self) -> None:
        from dbos import DBOS

        try:
            DBOS.destroy(destroy_registry=True)
            # They may hold connections, which must be given back before the pool is closed.
            _join("dbos-executor-")
        finally:
            if hasattr(self, "database"):
                self.database.dispose()


def connect(url: str) -> "sa.Engine":
    """A pool of connections as DBOS needs them.

    DBOS's own for SQLite keeps a rollback journal, where a write costs several times as much as with
    WAL. ``synchronous`` stays FULL: a started job must survive a power cut, as the row it is about does.
    """
    import sqlalchemy as sa

    if not url.startswith("sqlite"):
        options = f"-c idle_in_transaction_session_timeout={_LOST_PATIENCE * 1000}"
        return sa.create_engine(
            url,
            pool_size=8,
            max_overflow=8,
            pool_pre_ping=True,
            connect_args={"application_name": "everloom-jobs", "connect_timeout": 10, "options": options},
        )
    # Few connections: writers that wait for the pool are served in turn, those that wait for SQLite are not.
    engine = sa.create_engine(url, pool_size=2, max_overflow=0)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        if sqlite3.sqlite_version_info < (3, 42):
            # From Python 3.12 on DBOS reads the clock with unixepoch('subsec'), which older SQLites (that of
            # Debian 12 among them) answer with NULL.
            connection.create_function("unixepoch", 1, lambda _subsec: round(time.time(), 3))
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _join(prefix: str) -> None:
    """Wait for DBOS's threads of this name, ten seconds at most."""
    deadline = time.monotonic() + 10
    while threads := [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]:
        if time.monotonic() > deadline:
            _log.warning("%d threads %s… have not ended", len(threads), prefix)
            return
        # Looked at and not joined, since one that is being started this moment cannot be joined.
        time.sleep(0.005)


class _ToldAlready(logging.Filter):
    """Drops what is told elsewhere: a failed job is logged with its name, a failed launch is raised."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.msg.startswith(("Exception encountered in asynchronous workflow", "DBOS failed to launch"))


_told_already = _ToldAlready()


def _quieten() -> None:
    """Let DBOS's log go where ours goes; where the logger has no handler, DBOS adds one for the console."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.addFilter(_told_already)
