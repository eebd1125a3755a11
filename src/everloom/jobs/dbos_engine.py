"""DBOS in a thread of its own, on a loop of its own: all that touches DBOS stands here.

Why a thread: DBOS makes its thread pool the default executor of whatever loop it works on, and takes
most of a second to import and launch; on the server's loop both would be felt by every request. The
jobs' own coroutines run on the server's loop, where their resources live (see ``dbos.py``).
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from everloom.kit import log
from everloom.objects.jobs import Backlog, Job, Lane

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dbos import DBOS

T = TypeVar("T")
Perform = Callable[[Job], Awaitable[None]]
"""Runs on the engine's loop."""

_QUEUES: dict[Lane, str] = {
    "live": "everloom",
    "background": "everloom-background",
    "batch": "everloom-batch",
    "outgoing": "everloom-outgoing",
    "training": "everloom-training",
}
_LANES: dict[str, Lane] = {queue: lane for lane, queue in _QUEUES.items()}
_VERSION = "1"
"""DBOS recovers only work of its own application version. Ours carries no state, so any release may go on with it."""
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_LOST_PATIENCE = 60
"""Seconds after which a forgotten database transaction of ours is ended by the server."""
_one_at_a_time = threading.Lock()
_log = logging.getLogger(__name__)


class Claim(NamedTuple):
    """Jobs that this process has taken out of a queue."""

    owner: str
    """The word by which DBOS knows this claim from a later one of the same jobs."""
    jobs: Sequence[str]
    """Their ids."""


class Engine:
    """One DBOS, from ``open`` to ``close``. DBOS is a singleton, so a process has one engine at a time."""

    def __init__(self, url: str, executor: str, perform: Perform, *, on_queued: Callable[[Lane], None]) -> None:
        """``url``: SQLAlchemy's, ``postgresql+psycopg://…``; ``on_queued``: told, from any thread, of lanes in whose
        queues jobs now stand.
        """
        self._url = url
        self._executor = executor
        self._perform = perform
        self._on_queued = on_queued
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="everloom-jobs", daemon=True)
        self._serving: asyncio.Task[None] | None = None
        self._dbos: DBOS
        self._workflow: Callable[[str, str, str, Lane], Coroutine[Any, Any, None]]
        self.database: sa.Engine

    async def open(self) -> None:
        """Start DBOS; raises what hindered it, RuntimeError where another engine is open in this process."""
        if not _one_at_a_time.acquire(blocking=False):
            self._loop.close()
            raise RuntimeError("a process has room for one job engine at a time")
        self._thread.start()
        await asyncio.shield(asyncio.wrap_future(self._ready))

    async def begin(self, job: Job, *, here: bool) -> None:
        """Keep the job; then run it here at once, or leave it to whichever worker asks its queue first.

        Nothing happens where its id is known already. The caller's cancellation does not undo it.
        """
        await self._on_own_loop(self._begin(job, here))

    async def queued(self) -> list[Lane]:
        """The lanes in whose queues something stands."""
        return await self._on_own_loop(asyncio.to_thread(self._queued))

    async def claim(self, lane: Lane, room: int) -> Claim:
        """Have the oldest jobs of a lane's queue, ``room`` at most, belong to this process; then ``dispatch`` them.

        The caller's cancellation does not undo it: what is claimed and not dispatched the janitor puts back.
        """
        return await self._on_own_loop(asyncio.to_thread(self._claim, lane, room))

    async def dispatch(self, claim: Claim) -> None:
        """Run what was claimed, here."""
        await self._on_own_loop(asyncio.to_thread(self._dispatch, claim))

    def pending(self, executors: list[str] | None = None) -> list[tuple[str, str]]:
        """(workflow id, executor id) of the jobs that these executors, or any, have begun and not ended.

        Blocks on the database; call it from a thread without an event loop, like the two below.
        """
        from dbos import DBOS

        rows = DBOS.list_workflows(status="PENDING", executor_id=executors, load_input=False, load_output=False)
        return [(row.workflow_id, row.executor_id or "") for row in rows]

    def loads(self) -> tuple[dict[Lane, Backlog], Counter[Lane]]:
        """What stands in the queues, and how many of each lane are begun and not ended. Blocks, too."""
        from dbos import DBOS
        from sqlalchemy import text

        statement = text(
            "SELECT queue_name, count(*), min(created_at) FROM dbos.workflow_status"
            " WHERE status = 'ENQUEUED' GROUP BY queue_name"
        )
        with alone(self.database) as connection:
            rows = connection.execute(statement).all()
        queued = {_LANES[name]: Backlog(jobs, since / 1000) for name, jobs, since in rows if name in _LANES}
        begun = DBOS.list_workflows(status="PENDING", load_output=False)
        return queued, Counter(_lane_of(row.input) for row in begun)

    def requeue(self, workflow_ids: list[str]) -> None:
        """Give jobs back to their queues; what they had begun may record nothing any more."""
        from dbos import DBOS

        for start in range(0, len(workflow_ids), 500):
            rows = DBOS.list_workflows(workflow_ids=workflow_ids[start : start + 500], load_output=False)
            lanes: dict[Lane, list[str]] = {}
            for row in rows:
                lanes.setdefault(_lane_of(row.input), []).append(row.workflow_id)
            for lane, ids in lanes.items():
                DBOS.resume_workflows(ids, queue_name=_QUEUES[lane])
                self._on_queued(lane)

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
        self._dbos = DBOS(config=config)
        perform = self._perform

        # A job that takes the process down with it is tried for ever: its store says when it is too late.
        @DBOS.workflow(name="perform", max_recovery_attempts=None)
        async def workflow(kind: str, project: str, key: str, lane: Lane = "live") -> None:
            await perform(Job(DBOS.workflow_id or "", project, kind, key, lane))

        self._workflow = workflow
        DBOS.listen_queues([])
        with _without_patience():
            DBOS.launch()  # On this loop, so that DBOS runs the workflows it dequeues on it.
        self._end_polling()

    def _end_polling(self) -> None:
        """End the threads in which DBOS asks, each second or oftener, for what we do not use or ask for ourselves:
        queues, schedules, delays, timeouts.
        """
        for event in (*self._dbos.background_thread_stop_events, self._dbos._background_jobs_stop_event):
            event.set()

    async def _on_own_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await on the server's loop what goes on on the engine's, whether the caller is cancelled or not."""
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise RuntimeError("the job engine has stopped") from None
        return await asyncio.shield(asyncio.wrap_future(future))

    async def _begin(self, job: Job, here: bool) -> None:
        from dbos import DBOS, SetWorkflowID

        arguments = (job.kind, job.project, job.key, job.lane)
        with SetWorkflowID(job.id):
            if here:
                await DBOS.start_workflow_async(self._workflow, *arguments)
            else:
                await DBOS.enqueue_workflow_async(_QUEUES[job.lane], self._workflow, *arguments)
                self._on_queued(job.lane)

    def _queued(self) -> list[Lane]:
        from sqlalchemy import text

        statement = text("SELECT DISTINCT queue_name FROM dbos.workflow_status WHERE status = 'ENQUEUED'")
        with alone(self.database) as connection:
            return [_LANES[name] for name in connection.execute(statement).scalars() if name in _LANES]

    def _claim(self, lane: Lane, room: int) -> Claim:
        from dbos._queue import _INTERNAL_QUEUE_CONSTRUCTION, Queue

        queue = Queue(_QUEUES[lane], worker_concurrency=room, token=_INTERNAL_QUEUE_CONSTRUCTION)
        owner = str(uuid.uuid4())
        ids, _ = self._dbos._sys_db.start_queued_workflows(
            queue, self._executor, _VERSION, None, owner_xid=owner, is_latest_version=True
        )
        return Claim(owner, ids)

    def _dispatch(self, claim: Claim) -> None:
        from dbos._core import execute_dequeued_workflow

        for status in self._dbos._sys_db.get_workflow_statuses(list(claim.jobs)):
            try:
                execute_dequeued_workflow(self._dbos, status, claim.owner)
            except Exception:
                # It stays begun and not in hand, so the janitor puts it back into its queue.
                _log.exception("job %s could not be begun", status["workflow_uuid"])

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


@contextlib.contextmanager
def _without_patience() -> Iterator[None]:
    """Have the DBOS that is launched here raise where its database is away.

    Its own patience grows to a minute and a half, during which a thread is held. Ours is shorter: the launch is tried
    again, the relay hands over again, and the janitor puts back what nobody has in hand.
    """
    from dbos._sys_db import SystemDatabase

    patient = SystemDatabase.create
    impatient = staticmethod(partial(patient, retry_connection_errors=False))
    SystemDatabase.create = impatient  # type: ignore[method-assign]  # its configuration has no word for it
    try:
        yield
    finally:
        SystemDatabase.create = staticmethod(patient)  # type: ignore[method-assign]  # as it was


@contextlib.contextmanager
def alone(database: "sa.Engine") -> "Iterator[sa.Connection]":
    """A connection for statements that are a transaction each, which saves the round trips of its two ends."""
    with database.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def connect(url: str) -> "sa.Engine":
    """A pool of connections as DBOS needs them."""
    import sqlalchemy as sa

    options = f"-c idle_in_transaction_session_timeout={_LOST_PATIENCE * 1000}"
    return sa.create_engine(
        url,
        pool_size=8,
        max_overflow=8,
        pool_pre_ping=True,
        connect_args={"application_name": "everloom-jobs", "connect_timeout": 10, "options": options},
    )


def _lane_of(inputs: Any) -> Lane:
    """The lane among a workflow's arguments; those of earlier programs have none."""
    arguments: Sequence[Any] = inputs["args"] if inputs else ()
    return cast(Lane, arguments[3]) if len(arguments) > 3 else "live"


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
    """Drops what is told elsewhere: a failed job is logged with its name, a failed launch is raised, and that the
    database is away is said as seldom as everybody else says it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if any(mark in text for mark in _AWAY):
            log.outage("the job engine", text.partition("\n")[0])
            return False
        return not text.startswith(("Exception encountered in asynchronous workflow", "DBOS failed to launch"))


_AWAY = ("(psycopg.OperationalError)", "(psycopg.errors.", "(psycopg_pool.", "QueuePool limit")
"""What SQLAlchemy puts before the driver's words when a statement failed."""

_told_already = _ToldAlready()


def _quieten() -> None:
    """Let DBOS's log go where ours goes; where the logger has no handler, DBOS adds one for the console."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.addFilter(_told_already)
