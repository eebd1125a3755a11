"""The last resort: whatever has happened, nothing stays unfinished half a minute past its time.

All that is looked at here has somebody else who ends it in time: executors and ``runs/expiry.py`` end runs, jobs read
files, requests and ``files/uploads.py`` end uploads, engines do jobs. What they have left, for a fault that nobody has
thought of, is ended here: by plain writes, which ask nobody who may hang and do without what is missing or cannot be
read. How often it had to be is counted; every count is a fault to be found.
"""

import logging
from collections.abc import Awaitable, Mapping

from prometheus_client import Counter

from everloom.context import Context, Ports
from everloom.kit.errors import Unavailable
from everloom.objects.jobs import Job, Lane
from everloom.objects.runs import TERMINAL, Run
from everloom.objects.uploads import UploadTally
from everloom.objects.vector_stores import IndexTask, VectorStoreFile
from everloom.store.base import Remove
from everloom.work.files import uploads
from everloom.work.runs.deadline import RUNS, seconds_left
from everloom.work.runs.forced_end import end_without_executor
from everloom.work.runs.verbs import RUN_JOB
from everloom.work.vector_stores.ingest import give_up
from everloom.work.vector_stores.stores import INGEST_JOB

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
FILES_LOOK_SECONDS = 3.0
FILES_LOOK_SHARE = 0.02
"""The part of its time that a worker may spend with looking for files, of which there may be many."""

PATIENCE_SECONDS = 10.0
SEEN_SECONDS = 15.0
"""Past its deadline something is left alone for the first, and for so long must it have been seen like that: a server
that has just started, or has its database back, gets to its work.
"""

FILE_SECONDS = 3600.0
"""What a file has to be read into a store, from its task on …"""

STANDING_SECONDS = 600.0
"""… and more while files are read that stand before it: its time is not over until so long behind the last of those."""

STUCK_JOB_SECONDS = 24 * 3600.0
"""What a job of the background may stand in its line, with nothing left to do, until it is struck off."""

_ACTED = Counter("everloom_last_resort", "Things that nobody else has ended in their time", ["what"])
_NOUNS = ("run", "file", "index task", "upload", "job")
for _noun in _NOUNS:
    _ACTED.labels(_noun)

_ROWS = 500


async def sweep(ports: Ports) -> None:
    """End runs, uploads and jobs that are overdue."""
    if ports.deadlines.unsettled():
        return
    await _sweep_runs(ports)
    await _sweep_uploads(ports)
    await _sweep_jobs(ports)


async def sweep_files(ports: Ports) -> None:
    """End files in stores that nobody reads."""
    if not ports.deadlines.unsettled():
        await _sweep_index_tasks(ports)
        await _sweep_files(ports)


async def _count(what: str, id: str, attempt: Awaitable[bool]) -> None:
    """Await an attempt to end something, and count it if it was still to be ended."""
    try:
        if await attempt:
            _ACTED.labels(what).inc()
            log.error("the last resort had to end the %s %s", what, id)
    except Unavailable:
        raise
    except Exception:
        log.exception("the end of the %s %s failed; it will be tried again", what, id)


# --- runs ------------------------------------------------------------------------------------------------------------


async def _sweep_runs(ports: Ports) -> None:
    overdue = {
        (project, run.id): run
        for project, run in await ports.database.across(Run, active=True)
        if _left(ports, project, run) <= -PATIENCE_SECONDS
    }
    for project, id in ports.deadlines.lasting("overdue run", overdue.keys(), SEEN_SECONDS):
        await _count("run", id, end_without_executor(Context.of(ports, project), overdue[project, id]))


def _left(ports: Ports, project: str, run: Run) -> float:
    """As ``seconds_left``; a run that has lost its deadline has the one that it was given."""
    if run.expires_at is not None:
        return seconds_left(ports, project, run)
    life = ports.limits.run_expires
    return ports.deadlines.left(RUNS, (project, run.id), run.created_at + life, life)


# --- files in stores -------------------------------------------------------------------------------------------------


async def _sweep_index_tasks(ports: Ports) -> None:
    """Fail the files of tasks that are overdue, and have another try at forgetting what was to be forgotten."""
    tasks = {(project, task.id): task for project, task in await ports.database.across(IndexTask)}
    ports.deadlines.forget_but("index task", tasks.keys())
    standing = ports.deadlines.standing("index task", list(tasks))
    overdue = {
        key
        for key, task in tasks.items()
        if standing[key] >= STANDING_SECONDS
        and ports.deadlines.left("index task", key, task.created_at + FILE_SECONDS, FILE_SECONDS) <= -PATIENCE_SECONDS
    }
    for project, id in ports.deadlines.lasting("overdue index task", overdue, SEEN_SECONDS):
        task, ctx = tasks[project, id], Context.of(ports, project)
        if task.verb == "put":
            file = f"{task.file_id} in {task.vector_store_id}"
            await _count("file", file, give_up(ctx, task.vector_store_id, task.file_id))
        await _count("index task", id, _drop(ctx, task))


async def _drop(ctx: Context, task: IndexTask) -> bool:
    """Have an end with a task; whether it still stood there."""
    if task.verb == "forget":
        await ctx.ports.vectors.remove(ctx.project, task.vector_store_id, task.file_id or None)
    remove = Remove(IndexTask, [task.id])
    return (await ctx.store.write(remove))[remove] > 0


async def _sweep_files(ports: Ports) -> None:
    """Fail the files that are to be read and have no task."""
    found = await ports.database.across(VectorStoreFile, open=True)
    files = {(project, file.key): file for project, file in found}
    lost = set()
    for (project, key), file in files.items():
        if ports.deadlines.left("file", (project, key), file.created_at + FILE_SECONDS, FILE_SECONDS) <= 0:
            store = ports.database.store(project)
            if not await store.all(IndexTask, vector_store_id=file.vector_store_id, file_id=file.id):
                lost.add((project, key))
    ports.deadlines.forget_but("file", files.keys())
    for project, key in ports.deadlines.lasting("lost file", lost, SEEN_SECONDS):
        file = files[project, key]
        lost_file = give_up(Context.of(ports, project), file.vector_store_id, file.id)
        await _count("file", f"{file.id} in {file.vector_store_id}", lost_file)


# --- uploads ---------------------------------------------------------------------------------------------------------


async def _sweep_uploads(ports: Ports) -> None:
    """End uploads past the time in which the ordinary sweep does."""
    life = uploads.LIFE_SECONDS + uploads.COMPOSING_SECONDS
    open = await ports.database.across(UploadTally, open=True)
    ports.deadlines.forget_but("upload", {(project, tally.id) for project, tally in open})
    overdue = {
        (project, tally.id)
        for project, tally in open
        if not tally.ended
        and ports.deadlines.left("upload", (project, tally.id), tally.expires_at + uploads.COMPOSING_SECONDS, life)
        <= -PATIENCE_SECONDS
    }
    for project, id in ports.deadlines.lasting("overdue upload", overdue, SEEN_SECONDS):
        await _count("upload", id, uploads.give_up(Context.of(ports, project), id))


# --- jobs ------------------------------------------------------------------------------------------------------------


async def _sweep_jobs(ports: Ports) -> None:
    """Strike jobs off that stand in the outbox though there is nothing left to do for them."""
    idle: list[Job] = []
    run_seconds = ports.limits.run_expires + PATIENCE_SECONDS + SEEN_SECONDS
    patience: Mapping[Lane, float] = {"live": run_seconds, "background": STUCK_JOB_SECONDS}
    for lane, seconds in patience.items():
        rows = await ports.database.waiting(lane, _ROWS)
        old = ports.deadlines.lasting(f"{lane} job", {job.id for job in rows}, seconds)
        idle += [job for job in rows if job.id in old and await _is_idle(ports, job)]
    for job in idle:
        await _count("job", job.name, _strike_off(ports, job))


async def _strike_off(ports: Ports, job: Job) -> bool:
    await ports.database.done([job.id])
    return True


async def _is_idle(ports: Ports, job: Job) -> bool:
    """Whether what a job is about has ended, or is gone. Of a kind that this program does not know nobody can say."""
    store = ports.database.store(job.project)
    if job.kind == RUN_JOB:
        return all(run.status in TERMINAL for run in await store.all(Run, id=[job.key.partition(".")[0]]))
    return job.kind == INGEST_JOB and not await store.all(IndexTask, job=job.key)
