"""The jobs' contract, over both engines, each on its own database; where a process must die, a real one does.

Every job is started as everywhere: by a write of the store.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from everloom.bus.memory import MemoryBus
from everloom.jobs.base import JobFunction, Jobs
from everloom.jobs.dbos import DbosJobs
from everloom.kit.errors import Unavailable
from everloom.objects.jobs import JobsLoad, LaneLoad
from everloom.objects.threads import Thread
from everloom.store.base import Add, Database, Start
from tests.contracts.engines import engine_on, launched, opened, recording, start
from tests.postgres import fresh_database
from tests.store.things import a_thread

ROOT = Path(__file__).parents[2]

PATIENCE = 30.0
"""Seconds in which what is waited for comes on any machine."""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "jobs.sqlite") if request.param == "sqlite" else fresh_database()


async def until(true: Callable[[], bool], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


class Process:
    """One ``job_process``."""

    def __init__(self, database: str, folder: Path, *options: str) -> None:
        command = [sys.executable, "-W", "error", "-m", "tests.contracts.job_process", database, str(folder), *options]
        self._stderr = (folder / "stderr").open("a")
        self._popen = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True
        )
        self.pid = str(self._popen.pid)
        self.expect("launched")

    def expect(self, line: str) -> None:
        assert self._popen.stdout
        assert self._popen.stdout.readline().strip() == line

    def do(self, command: str) -> None:
        """Send a command and wait until it is done."""
        assert self._popen.stdin
        self._popen.stdin.write(command + "\n")
        self._popen.stdin.flush()
        self.expect(command)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._popen.pid, number)

    def kill(self) -> None:
        self._popen.kill()
        self.close()

    def stop(self, grace: float) -> None:
        self.do(f"stop {grace}")
        assert self._popen.wait(PATIENCE) == 0
        self.close()

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout, self._stderr):
            if stream and not stream.closed:
                stream.close()


class World:
    """A database, and processes that use it."""

    def __init__(self, database: str, folder: Path, stack: ExitStack) -> None:
        self.database = database
        self.folder = folder
        self._stack = stack

    def process(self, *options: str) -> Process:
        process = Process(self.database, self.folder, *options)
        self._stack.callback(process.close)
        return process

    def release(self) -> None:
        (self.folder / "release").touch()

    def log(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in self.log())

    def wait(self, line: str, times: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until the log has ``times`` lines that start so."""
        deadline = time.monotonic() + seconds
        while self.count(line) < times:
            assert time.monotonic() < deadline, (line, self.log(), (self.folder / "stderr").read_text())
            time.sleep(0.02)


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(database, tmp_path, stack)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[World]:
    """A world with room for several workers, which only PostgreSQL has."""
    with ExitStack() as stack:
        yield World(fresh_database(), tmp_path, stack)


async def outbox(database: Database) -> list[str]:
    """The keys that stand in it."""
    return [job.key for lane in ("live", "background") for job in await database.waiting(lane, 1000)]


async def emptied(database: Database) -> None:
    async with asyncio.timeout(PATIENCE):
        while await outbox(database):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def test_a_job_runs_once_on_the_servers_loop(database: str) -> None:
    calls: list[tuple[str, str, bool]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def job(project: str, key: str) -> None:
            calls.append((project, key, asyncio.get_running_loop() is loop))

        async with launched(database, {"run": job}) as store:
            await start(store, "run", "run_1")
            await until(lambda: bool(calls))
            await emptied(store)
            await asyncio.sleep(2.5)  # the sweeps come by
        assert calls == [("proj_1", "run_1", True)]

    asyncio.run(main())


def test_no_key_is_ever_used_up(database: str) -> None:
    calls: list[str] = []

    async def main() -> None:
        async with launched(database, {"run": recording(calls)}) as store:
            for number in range(1, 4):
                await start(store, "run", "run_1")
                await until(lambda number=number: len(calls) == number)  # type: ignore[misc]  # it knows no defaults

    asyncio.run(main())
    assert calls == ["run_1"] * 3


def test_a_start_while_its_key_is_executed_has_it_looked_at_once_more(database: str) -> None:
    """What the execution under way has seen may be older than the start; and two never run side by side."""
    seen: list[int] = []
    state, width = 0, [0, 0]

    async def main() -> None:
        nonlocal state
        entered, released = asyncio.Event(), asyncio.Event()

        async def job(project: str, key: str) -> None:
            width[0] += 1
            width[1] = max(width)
            seen.append(state)
            entered.set()
            await released.wait()
            width[0] -= 1

        async with launched(database, {"run": job}) as store:
            await start(store, "run", "run_1")
            await entered.wait()
            state = 1
            for _ in range(3):
                await start(store, "run", "run_1")
            await asyncio.sleep(0.3)
            assert seen == [0]
            released.set()
            await until(lambda: seen[-1] == 1)
            await emptied(store)

    asyncio.run(main())
    assert seen[:2] == [0, 1]
    assert width[1] == 1


def test_a_key_that_is_started_often_does_not_keep_the_places_of_others(database: str) -> None:
    entered: list[str] = []

    async def main() -> None:
        released = asyncio.Event()

        async def job(project: str, key: str) -> None:
            entered.append(key)
            await released.wait()

        async with launched(database, {"run": job}, concurrency={"live": 3, "background": 1, "batch": 1}) as store:
            await start(store, "run", "often")
            await until(lambda: entered == ["often"])
            for _ in range(12):
                await start(store, "run", "often")
            await start(store, "run", "other")
            await until(lambda: entered == ["often", "other"])
            released.set()
            await emptied(store)
            await until(lambda: len(entered) > 2)

    asyncio.run(main())


def test_projects_and_kinds_do_not_collide(database: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def job(kind: str) -> JobFunction:
        async def call(project: str, key: str) -> None:
            calls.append(f"{kind} {project} {key}")

        return call

    async def main() -> None:
        async with launched(database, {"run": job("run"), "batch": job("batch")}) as store:
            await start(store, "unheard of", "another")
            for kind, project in [("run", "proj_1"), ("run", "proj_2"), ("batch", "proj_1")]:
                await start(store, kind, "same", project=project)
            await until(lambda: len(calls) == 3)
            await until(lambda: "nobody here knows how to do unheard of:proj_1:another" in caplog.text)
            assert "another" in await outbox(store), "a later program may know it"

    asyncio.run(main())
    assert sorted(calls) == ["batch proj_1 same", "run proj_1 same", "run proj_2 same"]


def test_a_start_before_the_engine_is_up_waits_for_it(database: str) -> None:
    calls: list[str] = []

    async def main() -> None:
        async with opened(database) as store:
            jobs = engine_on(store, database)
            await start(store, "run", "before")
            launch = asyncio.create_task(jobs.launch({"run": recording(calls)}, work=True))
            await start(store, "run", "meanwhile")
            await launch
            await until(lambda: len(calls) == 2)
            await jobs.stop(1)

    asyncio.run(main())
    assert sorted(calls) == ["before", "meanwhile"]


def test_two_hundred_jobs_at_once_never_exceed_the_limit(database: str) -> None:
    ended: set[str] = set()
    width: list[int] = [0, 0]

    async def job(project: str, key: str) -> None:
        width[0] += 1
        width[1] = max(width)
        await asyncio.sleep(0.01)
        width[0] -= 1
        ended.add(key)

    async def main() -> None:
        async with launched(database, {"run": job}, concurrency={"live": 16, "background": 1, "batch": 1}) as store:
            await asyncio.gather(*(start(store, "run", f"run_{number}") for number in range(200)))
            await until(lambda: len(ended) == 200, 60)

    asyncio.run(main())
    assert 1 < width[1] <= 16


def test_background_jobs_never_stand_in_front_of_live_ones(database: str) -> None:
    ended: list[str] = []
    width: list[int] = [0, 0]

    async def main() -> None:
        released = asyncio.Event()

        async def slow(project: str, key: str) -> None:
            width[0] += 1
            width[1] = max(width)
            await released.wait()
            width[0] -= 1
            ended.append(key)

        functions = {"slow": slow, "run": recording(ended)}
        async with launched(database, functions, concurrency={"live": 4, "background": 2, "batch": 1}) as store:
            many = [Start("slow", f"slow_{number}", "background") for number in range(1200)]
            await store.store("proj_1").write(*many)
            await until(lambda: width[0] == 2)
            for number in range(8):
                await start(store, "run", f"run_{number}")
            await until(lambda: len(ended) == 8)
            assert width == [2, 2]
            released.set()
            await until(lambda: len(ended) >= 8 + 20)
            assert width[1] == 2
            ended.clear()

    asyncio.run(main())


def test_more_jobs_than_are_held_in_memory_are_all_done_oldest_first(tmp_path: Path) -> None:
    calls: list[str] = []

    async def main() -> None:
        async with launched(str(tmp_path / "jobs.sqlite"), {"run": recording(calls)}) as store:
            for lot in range(6):
                keys = [f"run_{lot * 500 + number:05}" for number in range(500)]
                await store.store("proj_1").write(*(Start("run", key) for key in keys))
            await until(lambda: len(calls) == 3000, 60)
            await emptied(store)

    asyncio.run(main())
    assert len(set(calls)) == 3000
    drift = max(abs(place - int(key[4:])) for place, key in enumerate(calls))
    assert drift < 200, "as many as are done at once may change places, and no more"


def test_a_job_may_start_others(database: str) -> None:
    calls: list[str] = []

    async def main() -> None:
        async with opened(database) as store:
            jobs = engine_on(store, database)

            async def parent(project: str, key: str) -> None:
                await start(store, "child", f"{key}_a", project=project)
                calls.append(key)

            await jobs.launch({"parent": parent, "child": recording(calls)}, work=True)
            await start(store, "parent", "one")
            await until(lambda: len(calls) == 2)
            await jobs.stop(1)

    asyncio.run(main())
    assert sorted(calls) == ["one", "one_a"]


def test_a_caller_that_goes_away_leaves_both_the_write_and_its_job_or_neither(database: str) -> None:
    calls: list[str] = []

    async def main() -> None:
        async with launched(database, {"run": recording(calls)}) as store:
            view = store.store("proj_1")
            threads = [a_thread() for _ in range(8)]
            for number, thread in enumerate(threads):
                caller = asyncio.create_task(view.write(Add(thread), Start("run", thread.id)))
                await asyncio.sleep(0.0005 * number)
                caller.cancel()
                await asyncio.gather(caller, return_exceptions=True)
            await asyncio.sleep(0.5)
            kept = {thread.id for thread in await view.all(Thread)}
            await until(lambda: set(calls) == kept)

    asyncio.run(main())


def test_a_job_that_raises_is_logged_and_does_not_come_back(database: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    async def main() -> None:
        async def broken(project: str, key: str) -> None:
            calls.append(key)
            raise ValueError("this job is broken")

        async def cancels_itself(project: str, key: str) -> None:
            calls.append(key)
            raise asyncio.CancelledError

        functions = {"broken": broken, "cancels": cancels_itself}
        async with launched(database, functions) as store:
            await start(store, "broken", "one")
            await until(lambda: len(calls) == 1)
            await start(store, "cancels", "two")
            await until(lambda: len(calls) == 2)
            await emptied(store)
            await asyncio.sleep(0.3)
        async with launched(database, functions):
            await asyncio.sleep(2.5)

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert calls == ["one", "two"]
    failures = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in failures] == [
        "job broken:proj_1:one failed",
        "job cancels:proj_1:two cancelled itself",
    ]


def test_a_job_whose_ground_is_away_is_called_until_it_is_back(database: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[float] = []

    async def job(project: str, key: str) -> None:
        calls.append(time.monotonic())
        if len(calls) < 5:
            raise Unavailable("the store", "nobody answers")

    async def main() -> None:
        async with launched(database, {"run": job}) as store:
            await start(store, "run", "run_1")
            await until(lambda: len(calls) == 5)
            await emptied(store)

    asyncio.run(main())
    pauses = [later - earlier for earlier, later in pairwise(calls)]
    assert pauses[0] < pauses[3] > 0.9, "first at once, then with more patience"
    assert not [record for record in caplog.records if record.exc_info]


def test_what_stop_left_is_done_by_the_next(database: str) -> None:
    entered: list[int] = []

    async def main() -> None:
        released = asyncio.Event()

        async def job(project: str, key: str) -> None:
            entered.append(len(entered))
            await released.wait()
            entered.append(-1)

        async with opened(database) as store:
            first = engine_on(store, database)
            await first.launch({"run": job}, work=True)
            await start(store, "run", "run_1")
            await until(lambda: entered == [0])
            begun = time.monotonic()
            await first.stop(0.2)
            assert time.monotonic() - begun >= 0.2
            released.set()
            second = engine_on(store, database)
            await second.launch({"run": job}, work=True)
            await until(lambda: entered == [0, 1, -1])
            await second.stop(1)

    asyncio.run(main())
    assert entered == [0, 1, -1]


def test_stop_waits_for_jobs_in_hand_and_keeps_new_ones_for_the_next(database: str) -> None:
    ended: list[str] = []

    async def main() -> None:
        entered = asyncio.Event()

        async def job(project: str, key: str) -> None:
            entered.set()
            await asyncio.sleep(0.3)
            ended.append(key)

        async with opened(database) as store:
            first = engine_on(store, database)
            await first.launch({"run": job}, work=True)
            await start(store, "run", "one")
            await entered.wait()
            stop = asyncio.create_task(first.stop(10))
            await asyncio.sleep(0.05)
            await start(store, "run", "two")
            await stop
            assert ended == ["one"]
            second = engine_on(store, database)
            await second.launch({"run": job}, work=True)
            await until(lambda: ended == ["one", "two"])
            await second.stop(10)

    asyncio.run(main())
    assert ended == ["one", "two"]


def test_nothing_is_left_open(database: str) -> None:
    calls: list[str] = []

    async def main() -> None:
        for number in range(2):
            async with opened(database) as store:
                jobs = engine_on(store, database)
                await jobs.launch({"run": recording(calls)}, work=True)
                await start(store, "run", f"run_{number}")
                await jobs.stop(1)
                await jobs.stop(1)

    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
    assert set(threading.enumerate()) == before
    if database.startswith("postgresql"):
        with closing(psycopg.connect(database, autocommit=True)) as admin:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            deadline = time.monotonic() + PATIENCE
            # A server process outlives its connection by a moment.
            while admin.execute(query).fetchone() != (1,):
                assert time.monotonic() < deadline
                time.sleep(0.05)
    else:
        assert not Path(database + "-wal").exists(), "the last connection to close removes it"


def test_an_engine_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(str(tmp_path / "some.sqlite")) as store:
            lost = DbosJobs("postgresql://nobody@127.0.0.1:1/nothing", store, MemoryBus())
            with pytest.raises(Exception, match="refused"):
                await lost.launch({}, work=True)
            await lost.stop(1)
        where = fresh_database()
        async with opened(where) as store:
            good, second = engine_on(store, where), engine_on(store, where)
            await good.launch({}, work=True)
            with pytest.raises(RuntimeError, match="one job engine at a time"):
                await second.launch({}, work=True)
            await second.stop(1)
            await good.stop(1)

    asyncio.run(main())


def test_an_engine_that_is_never_launched_keeps_nobody_waiting(database: str) -> None:
    async def main() -> None:
        async with opened(database) as store:
            jobs = engine_on(store, database)
            await start(store, "run", "run_1")
            async with asyncio.timeout(PATIENCE):
                await jobs.stop(10 * PATIENCE)
            assert await outbox(store) == ["run_1"]

    asyncio.run(main())


def test_a_job_of_a_killed_process_is_entered_again_and_ends_once(world: World) -> None:
    first = world.process()
    first.do("start slow run_1")
    first.do("start quick run_2")
    world.wait("entered run_1")
    world.wait("ended run_2")
    time.sleep(0.2)
    first.kill()
    world.release()
    second = world.process()
    world.wait("ended run_1")
    second.stop(5)
    assert world.count("entered run_1") == 2
    assert world.count("ended run_1") == 1
    assert world.count("entered run_2") == 1


def test_a_job_is_durable_when_its_write_returns(world: World) -> None:
    first = world.process("--no-work")
    for number in range(5):
        first.do(f"start quick run_{number}")
    first.kill()
    assert not world.log()
    second = world.process()
    world.wait("ended", 5)
    second.stop(5)
    assert world.count("entered") == 5


def test_a_process_killed_before_its_engine_has_heard_of_a_job_loses_nothing(world: World) -> None:
    for lane in ("live", "background"):
        dying = world.process("--no-work", "--die")
        with pytest.raises(AssertionError):
            dying.do(f"start quick {lane} {lane}")
        dying.close()
    assert not world.log()
    second = world.process()
    world.wait("ended", 2)
    second.stop(5)
    assert world.count("entered") == 2


def test_a_worker_finds_what_a_server_left_that_died_before_it_handed_over(workers: World) -> None:
    worker = workers.process()
    dying = workers.process("--no-work", "--die")
    with pytest.raises(AssertionError):
        dying.do("start quick run_1")
    workers.wait("ended run_1")
    worker.stop(5)
    assert workers.count("entered") == 1


def test_a_job_started_where_nobody_works_is_done_by_a_worker(world: World) -> None:
    worker, server = world.process(), world.process("--no-work")
    server.do("start quick run_1")
    world.wait("ended run_1")
    assert world.log() == [f"entered run_1 {worker.pid}", f"ended run_1 {worker.pid}"]
    server.stop(1)
    worker.stop(1)


def test_a_worker_that_hears_no_call_finds_what_was_queued(workers: World) -> None:
    worker, server = workers.process("--deaf"), workers.process("--no-work")
    for number in range(3):
        server.do(f"start quick run_{number}")
    server.do("start quick other background")
    workers.wait("ended", 4)
    server.stop(1)
    worker.stop(1)
    assert workers.count("entered") == 4


def test_a_broken_job_does_not_come_back_in_another_process(world: World) -> None:
    first = world.process()
    first.do("start broken run_1")
    world.wait("entered run_1")
    first.stop(1)
    second = world.process()
    time.sleep(2.5)
    second.stop(1)
    assert world.count("entered run_1") == 1


def test_a_worker_takes_over_from_a_killed_one(workers: World) -> None:
    first, second = workers.process(), workers.process()
    for number in range(3):
        first.do(f"start slow run_{number}")
    second.do("start slow other")
    workers.wait("entered", 4)
    first.kill()
    workers.wait("entered run_", 6)
    workers.release()
    workers.wait("ended", 4)
    second.stop(5)
    assert workers.count("entered") == 7
    assert {line.split()[-1] for line in workers.log() if line.startswith("ended")} == {second.pid}


def test_a_worker_that_stops_hands_its_jobs_over_at_once(workers: World) -> None:
    first, second = (workers.process("--stale", str(10 * PATIENCE)) for _ in range(2))
    first.do("start slow run_1")
    workers.wait("entered run_1")
    first.stop(0.1)
    workers.wait("entered run_1", 2)  # Without waiting for the dead man's time.
    workers.release()
    workers.wait("ended run_1")
    second.stop(5)
    assert workers.count("cancelled run_1") == 1


def test_a_worker_taken_for_dead_lets_go_when_it_wakes(workers: World) -> None:
    first, second = workers.process(), workers.process()
    first.do("start slow run_1")
    workers.wait("entered run_1")
    first.signal(signal.SIGSTOP)
    workers.wait("entered run_1", 2)
    first.signal(signal.SIGCONT)
    workers.wait(f"cancelled run_1 {first.pid}")
    workers.release()
    workers.wait("ended run_1")
    first.do("start quick run_2")
    workers.wait("ended run_2")
    first.stop(5)
    second.stop(5)
    assert workers.count("ended run_1") == 1
    assert f"ended run_1 {second.pid}" in workers.log()


def test_a_job_on_its_way_to_a_busy_loop_is_not_taken_for_lost() -> None:
    """Between the engine's begin and the job's first step lies all that the loop is busy with."""
    entered: list[str] = []
    where = fresh_database()
    begun = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING'"

    async def main() -> None:
        released = asyncio.Event()

        async def job(project: str, key: str) -> None:
            entered.append(key)
            await released.wait()

        async with launched(where, {"run": job}) as store:
            await store.store("proj_1").write(*(Start("run", key, "background") for key in ("one", "two")))
            for _ in range(10):  # They are handed to the engine's thread.
                await asyncio.sleep(0)
            with closing(psycopg.connect(where, autocommit=True)) as admin:
                deadline = time.monotonic() + PATIENCE
                while admin.execute(begun).fetchone() != (2,):
                    assert time.monotonic() < deadline
            time.sleep(4)  # noqa: ASYNC251 - a loop that is busy for several rounds of the janitor
            await until(lambda: len(entered) >= 2)
            released.set()
            await emptied(store)

    asyncio.run(main())
    assert sorted(entered) == ["one", "two"]


def test_an_idle_worker_asks_its_database_little() -> None:
    where = fresh_database()
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"

    def transactions() -> int:
        with closing(psycopg.connect(where, autocommit=True)) as admin:
            found = admin.execute(query).fetchone()
            assert found
            return int(found[0])

    async def main() -> float:
        async with launched(where, {}):
            await asyncio.sleep(3)  # its start
            before, began = transactions(), time.monotonic()
            await asyncio.sleep(5)
            return (transactions() - before) / (time.monotonic() - began)

    assert asyncio.run(main()) < 25, "a second; it was a hundred where each queue was asked by itself"


def test_ended_jobs_are_forgotten_after_a_while() -> None:
    calls: list[str] = []
    where = fresh_database()

    async def main() -> tuple[int, int]:
        async with opened(where) as store:
            jobs = DbosJobs(where, store, MemoryBus())
            store.on_start = jobs.notice
            await jobs.launch({"run": recording(calls)}, work=True)
            for number in range(5):
                await start(store, "run", f"run_{number}")
            await until(lambda: len(calls) == 5)
            engine = jobs._engine
            young = await asyncio.to_thread(engine.purge, 10 * PATIENCE, 3)
            old = 0
            async with asyncio.timeout(PATIENCE):
                while old < 5:
                    old += await asyncio.to_thread(engine.purge, 0.0, 3)
            old += await asyncio.to_thread(engine.purge, 0.0, 3)
            await jobs.stop(1)
        return young, old

    assert asyncio.run(main()) == (0, 5)


def test_a_server_on_sqlite_loads_neither_dbos_nor_its_drivers() -> None:
    program = (
        "import sys, pathlib; from everloom.app import build; from everloom.config import load\n"
        "build(load({'data': pathlib.Path(sys.argv[1])}))\n"
        "print(sorted({'dbos', 'psycopg', 'sqlalchemy', 'asyncpg'} & sys.modules.keys()))"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOM_")}
        done = subprocess.run(
            [sys.executable, "-c", program, folder],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "[]\n"


async def loaded(jobs: Jobs, **lanes: tuple[int, int]) -> JobsLoad:
    """What there is to do, as soon as so much of these lanes waits and is in hand."""
    async with asyncio.timeout(PATIENCE):
        while True:
            load = await jobs.load()
            if all((load.lanes[lane].waiting, load.lanes[lane].running) == two for lane, two in lanes.items()):
                return load
            await asyncio.sleep(0.05)


def test_what_there_is_to_do_is_told_by_lane(database: str) -> None:
    """Before anybody works all wait; then one is in hand, one stands behind it, and one of another lane has no room."""

    async def check() -> None:
        began, going_on = asyncio.Event(), asyncio.Event()

        async def job(project: str, key: str) -> None:
            began.set()
            await going_on.wait()

        async with opened(database) as store:
            idle = engine_on(store, database)
            await idle.launch({"a": job, "b": job}, work=False)
            await start(store, "a", "one")
            load = await loaded(idle, live=(1, 0), background=(0, 0))
            assert load.workers == 0
            assert 0 <= load.lanes["live"].oldest < PATIENCE
            assert set(load.lanes) == {"live", "background", "batch", "outgoing", "training"}
            await idle.stop(0)
            jobs = engine_on(store, database, concurrency={"live": 1, "background": 0})
            await jobs.launch({"a": job, "b": job}, work=True)
            try:
                await asyncio.wait_for(began.wait(), PATIENCE)
                await start(store, "a", "two")
                await start(store, "b", "three", lane="background")
                assert (await loaded(jobs, live=(1, 1), background=(1, 0))).workers == 1
                going_on.set()
                assert (await loaded(jobs, live=(0, 0))).lanes["live"] == LaneLoad()
            finally:
                await jobs.stop(1)
            assert (await jobs.load()).workers == 0

    asyncio.run(check())
