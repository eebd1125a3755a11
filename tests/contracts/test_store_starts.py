"""The store's contract: jobs are started by the write that needs them, on every adapter."""

import asyncio
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from everloom.kit.errors import NotFound
from everloom.objects.jobs import Job
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import IndexTask
from everloom.store import migrations
from everloom.store.base import LONGEST_WAIT, Absent, Add, Change, Database, Start
from tests.store.databases import address, every_adapter, on_every_database, opened
from tests.store.things import a_run, a_thread


def heard(database: Database) -> list[Job]:
    """All that the database tells of, from now on."""
    jobs: list[Job] = []

    def hear(some: Sequence[Job]) -> None:
        jobs.extend(some)

    database.on_start = hear
    return jobs


@on_every_database
async def test_a_job_is_kept_with_its_write_and_told_behind_it(database: Database) -> None:
    told = heard(database)
    store = database.store("proj_a")
    one, two = Start("run", "run_1"), Start("ingest", "task_1", "background")
    thread = a_thread()
    written = await store.write(one, keeping := Add(thread), two)
    assert written[keeping] == thread
    assert told == [
        Job(one.id, "proj_a", "run", "run_1", "live"),
        Job(two.id, "proj_a", "ingest", "task_1", "background"),
    ]
    assert await database.waiting("live", 10) == told[:1]
    assert await database.waiting("background", 10) == told[1:]
    await database.done([one.id, "job_unheard_of"])
    assert await database.waiting("live", 10) == []
    assert await database.waiting("background", 10) == told[1:]


@on_every_database
async def test_a_start_that_is_put_off_is_found_in_its_time(database: Database) -> None:
    told = heard(database)
    later, never = Start("run", "run_1", after=2.0), Start("run", "run_2", after=10**9)
    await database.store("proj_a").write(later, never)
    assert told == []
    assert await database.waiting("live", 10) == []
    async with asyncio.timeout(30):
        while not (found := await database.waiting("live", 10)):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)
    assert found == [Job(later.id, "proj_a", "run", "run_1", "live")]
    real = time.time_ns
    for seconds in (LONGEST_WAIT + 1, -86_400):  # Nothing is put off for longer, and a clock set back changes nothing.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda seconds=seconds: real() + seconds * 10**9)
            assert len(await database.waiting("live", 10)) == 2


@on_every_database
async def test_what_is_rolled_back_starts_nothing(database: Database) -> None:
    told = heard(database)
    store = database.store("proj_a")
    run = a_run("thread_1")
    await store.write(Add(run))

    def refuse(run: Run) -> None:
        raise ValueError("not this one")

    with pytest.raises(NotFound):
        await store.write(Start("run", "run_1"), Change(Thread, "thread_unheard_of"))
    with pytest.raises(ValueError, match="not this one"):
        await store.write(Start("run", run.id), Add(a_thread()), Change(Run, run.id, refuse))
    with pytest.raises(RuntimeError):
        await store.write(Start("run", run.id), Absent(Run, lambda run: RuntimeError(run.id), id=run.id))
    assert told == []
    assert await database.waiting("live", 10) == []
    assert await store.all(Thread) == []


@on_every_database
async def test_each_start_is_another_and_the_oldest_come_first(database: Database) -> None:
    stores = [database.store("proj_a"), database.store("proj_b")]
    for number in range(20):
        await stores[number % 2].write(Start("run", "the same"))
    jobs = await database.waiting("live", 100)
    assert [job.project for job in jobs] == ["proj_a", "proj_b"] * 10
    assert len({job.id for job in jobs}) == 20
    assert await database.waiting("live", 7) == jobs[:7]
    await database.done([job.id for job in jobs[:19]])
    assert await database.waiting("live", 100) == jobs[19:]


@on_every_database
async def test_a_write_that_is_made_again_starts_no_second_job(database: Database) -> None:
    """Where nobody knows whether a commit came about, the caller makes the same write again."""
    start = Start("run", "run_1")
    for _ in range(2):
        await database.store("proj_a").write(start)
    assert len(await database.waiting("live", 10)) == 1


@on_every_database
async def test_many_starts_at_once_are_all_kept(database: Database) -> None:
    told = heard(database)
    store = database.store("proj_a")
    starts = [Start("run", f"run_{number}") for number in range(200)]
    await asyncio.gather(*(store.write(Add(a_thread()), start) for start in starts))
    assert {job.id for job in told} == {start.id for start in starts}
    assert len(await database.waiting("live", 1000)) == 200
    await database.done([start.id for start in starts])
    assert await database.waiting("live", 1000) == []


@every_adapter
def test_what_was_under_way_under_an_earlier_program_is_started_by_the_migration(adapter: str, tmp_path: Path) -> None:
    where = address(adapter, tmp_path)
    queued, ended = a_run("thread_1"), a_run("thread_1", status="completed")
    tasks = [
        IndexTask(id=f"task_{id}", created_at=1, job=job, vector_store_id="vs_1", file_id="file-1", verb="put")
        for id, job in (("1", "task_1"), ("2", "task_1"), ("3", "task_3"))
    ]

    async def before(database: Database) -> None:
        await database.store("proj_a").write(Add(queued), Add(ended), *map(Add, tasks))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "NEWEST", "0001")
        patch.setattr(migrations, "statements", migrations.history)  # What an empty database gets now is the newest.
        asyncio.run(opened(where, before))
    found: list[Any] = []

    async def after(database: Database) -> None:
        jobs = chain(await database.waiting("live", 10), await database.waiting("background", 10))
        found.extend((job.project, job.kind, job.key, job.lane) for job in jobs)

    asyncio.run(opened(where, after))
    assert found == [
        ("proj_a", "run", queued.id, "live"),
        ("proj_a", "ingest", "task_1", "background"),
        ("proj_a", "ingest", "task_3", "background"),
    ]


@on_every_database
async def test_what_stands_in_the_outbox_is_counted_by_lane(database: Database) -> None:
    assert await database.backlog() == {}
    before = time.time()
    later = Start("run", "run_9", after=50)
    await database.store("proj_a").write(Start("run", "run_1"), Start("ingest", "task_1", "background"), later)
    await database.store("proj_b").write(Start("run", "run_1"))
    found = await database.backlog()
    assert {lane: each.jobs for lane, each in found.items()} == {"live": 2, "background": 1}
    assert all(before - 1 < each.since <= time.time() + 1 for each in found.values())
    await database.done([job.id for job in await database.waiting("live", 1)])
    assert (await database.backlog())["live"].jobs == 1


@on_every_database
async def test_objects_are_counted_by_what_they_say(database: Database) -> None:
    assert await database.tally(Run, "status", active=True) == {}
    statuses = ("queued", "queued", "in_progress", "failed")
    for project, status in zip(("proj_a", "proj_b", "proj_a", "proj_a"), statuses, strict=True):
        thread = a_thread()
        await database.store(project).write(Add(thread), Add(a_run(thread.id, status=status)))
    assert await database.tally(Run, "status", active=True) == {"queued": 2, "in_progress": 1}
    assert await database.tally(Run, "status", thread_id="thread_none") == {}
    with pytest.raises(ValueError, match="Run has no state"):
        await database.tally(Run, "state")
