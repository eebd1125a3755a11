"""The jobs' contract, over both databases; where a process must die, a real one does."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from everloom.jobs.base import JobFunction
from everloom.jobs.dbos import DbosJobs
from tests.postgres import fresh_database

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "jobs.sqlite") if request.param == "sqlite" else fresh_database()


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
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
        assert self._popen.wait(10) == 0
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

    def wait(self, line: str, times: int = 1, seconds: float = 10.0) -> None:
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


def test_a_job_runs_once_on_the_servers_loop(database: str) -> None:
    calls: list[tuple[str, str, bool]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def job(project: str, key: str) -> None:
            calls.append((project, key, asyncio.get_running_loop() is loop))

        jobs = DbosJobs(database)
        await jobs.launch({"run": job}, work=True)
        for _ in range(3):
            await jobs.start("run", "proj_1", "run_1")
        await until(lambda: bool(calls))
        await jobs.start("run", "proj_1", "run_1")
        await asyncio.sleep(0.3)
        await jobs.stop(1)

    asyncio.run(main())
    assert calls == [("proj_1", "run_1", True)]


def test_projects_and_kinds_do_not_collide(database: str) -> None:
    calls: list[str] = []

    def job(kind: str) -> JobFunction:
        async def call(project: str, key: str) -> None:
            calls.append(f"{kind} {project} {key}")

        return call

    async def main() -> None:
        jobs = DbosJobs(database)
        await jobs.launch({"run": job("run"), "batch": job("batch")}, work=True)
        for kind, project in [("run", "proj_1"), ("run", "proj_2"), ("batch", "proj_1")]:
            await jobs.start(kind, project, "same")
        await until(lambda: len(calls) == 3)
        with pytest.raises(KeyError):
            await jobs.start("unheard of", "proj_1", "same")
        await jobs.stop(1)

    asyncio.run(main())
    assert sorted(calls) == ["batch proj_1 same", "run proj_1 same", "run proj_2 same"]


def test_a_start_before_the_engine_is_up_waits_for_it(database: str) -> None:
    calls: list[str] = []

    async def job(project: str, key: str) -> None:
        calls.append(key)

    async def main() -> None:
        jobs = DbosJobs(database)
        early = asyncio.create_task(jobs.start("run", "proj_1", "run_1"))
        await asyncio.sleep(0)
        launch = asyncio.create_task(jobs.launch({"run": job}, work=True))
        await asyncio.sleep(0)
        assert not early.done()
        await asyncio.gather(launch, early)
        await until(lambda: bool(calls))
        await jobs.stop(1)

    asyncio.run(main())
    assert calls == ["run_1"]


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
        jobs = DbosJobs(database, concurrency=16)
        await jobs.launch({"run": job}, work=True)
        await asyncio.gather(*(jobs.start("run", "proj_1", f"run_{number}") for number in range(200)))
        await until(lambda: len(ended) == 200, 60)
        await jobs.stop(1)

    asyncio.run(main())
    assert 1 < width[1] <= 16


def test_a_job_may_start_others(database: str) -> None:
    calls: list[str] = []

    async def main() -> None:
        jobs = DbosJobs(database)

        async def parent(project: str, key: str) -> None:
            await jobs.start("child", project, f"{key}_a")
            await jobs.start("child", project, f"{key}_a")
            calls.append(key)

        async def child(project: str, key: str) -> None:
            calls.append(key)

        await jobs.launch({"parent": parent, "child": child}, work=True)
        await jobs.start("parent", "proj_1", "one")
        await until(lambda: len(calls) == 2)
        await jobs.stop(1)

    asyncio.run(main())
    assert sorted(calls) == ["one", "one_a"]


def test_a_caller_that_goes_away_does_not_undo_its_start(database: str) -> None:
    calls: list[str] = []

    async def job(project: str, key: str) -> None:
        calls.append(key)

    async def main() -> None:
        jobs = DbosJobs(database)
        await jobs.launch({"run": job}, work=True)
        caller = asyncio.create_task(jobs.start("run", "proj_1", "run_1"))
        await asyncio.sleep(0.001)
        caller.cancel()
        await until(lambda: bool(calls))
        await jobs.stop(1)
        assert caller.cancelled()

    asyncio.run(main())
    assert calls == ["run_1"]


def test_a_job_that_raises_is_logged_and_does_not_come_back(database: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    async def main() -> None:
        async def broken(project: str, key: str) -> None:
            calls.append(key)
            raise ValueError("this job is broken")

        async def cancels_itself(project: str, key: str) -> None:
            calls.append(key)
            raise asyncio.CancelledError

        jobs = DbosJobs(database)
        await jobs.launch({"broken": broken, "cancels": cancels_itself}, work=True)
        await jobs.start("broken", "proj_1", "one")
        await jobs.start("cancels", "proj_1", "two")
        await until(lambda: len(calls) == 2)
        await jobs.stop(1)
        again = DbosJobs(database)
        await again.launch({"broken": broken, "cancels": cancels_itself}, work=True)
        await again.start("broken", "proj_1", "one")
        await asyncio.sleep(0.6)
        await again.stop(1)

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert calls == ["one", "two"]
    failures = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in failures] == [
        "job broken:proj_1:one failed",
        "job cancels:proj_1:two cancelled itself",
    ]


def test_what_stop_left_is_done_by_the_next(database: str) -> None:
    entered: list[int] = []

    async def main() -> None:
        released = asyncio.Event()

        async def job(project: str, key: str) -> None:
            entered.append(len(entered))
            await released.wait()
            entered.append(-1)

        first = DbosJobs(database)
        await first.launch({"run": job}, work=True)
        await first.start("run", "proj_1", "run_1")
        await until(lambda: entered == [0])
        begun = time.monotonic()
        await first.stop(0.2)
        assert 0.2 <= time.monotonic() - begun < 3
        with pytest.raises(RuntimeError, match="stopped"):
            await first.start("run", "proj_1", "run_2")
        released.set()
        second = DbosJobs(database)
        await second.launch({"run": job}, work=True)
        await until(lambda: entered == [0, 1, -1])
        await second.stop(1)

    asyncio.run(main())
    assert entered == [0, 1, -1]


def test_stop_waits_for_jobs_in_hand_and_keeps_new_ones_for_the_next(database: str) -> None:
    ended: list[str] = []

    async def job(project: str, key: str) -> None:
        await asyncio.sleep(0.3)
        ended.append(key)

    async def main() -> None:
        first = DbosJobs(database)
        await first.launch({"run": job}, work=True)
        await first.start("run", "proj_1", "one")
        await asyncio.sleep(0.05)
        stop = asyncio.create_task(first.stop(10))
        await asyncio.sleep(0.05)
        await first.start("run", "proj_1", "two")
        await stop
        assert ended == ["one"]
        second = DbosJobs(database)
        await second.launch({"run": job}, work=True)
        await until(lambda: ended == ["one", "two"])
        await second.stop(10)

    asyncio.run(main())
    assert ended == ["one", "two"]


def test_nothing_is_left_open(database: str) -> None:
    async def job(project: str, key: str) -> None:
        pass

    async def main() -> None:
        for number in range(2):
            jobs = DbosJobs(database)
            await jobs.launch({"run": job}, work=True)
            await jobs.start("run", "proj_1", f"run_{number}")
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
            deadline = time.monotonic() + 10
            # A server process outlives its connection by a moment.
            while admin.execute(query).fetchone() != (1,):
                assert time.monotonic() < deadline
                time.sleep(0.05)
    else:
        assert not Path(database + "-wal").exists(), "the last connection to close removes it"


def test_an_engine_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        lost = DbosJobs("postgresql://nobody@127.0.0.1:1/nothing")
        start = asyncio.create_task(lost.start("run", "proj_1", "run_1"))
        with pytest.raises(Exception, match="refused"):
            await lost.launch({}, work=True)
        with pytest.raises(Exception, match="refused"):
            await start
        await lost.stop(1)
        good, second = DbosJobs(tmp_path / "a.sqlite"), DbosJobs(tmp_path / "b.sqlite")
        await good.launch({}, work=True)
        with pytest.raises(RuntimeError, match="one job engine at a time"):
            await second.launch({}, work=True)
        await second.stop(1)
        await good.stop(1)

    asyncio.run(main())
    assert (tmp_path / "a.sqlite").exists()


def test_an_engine_that_is_never_launched_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        jobs = DbosJobs(tmp_path / "jobs.sqlite")
        start = asyncio.create_task(jobs.start("run", "proj_1", "run_1"))
        await asyncio.sleep(0)
        await jobs.stop(1)
        with pytest.raises(RuntimeError, match="stopped before it was launched"):
            await start

    asyncio.run(main())
    assert not (tmp_path / "jobs.sqlite").exists()


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
    world.wait("ended run_1", seconds=15)
    second.do("start slow run_1")
    second.stop(5)
    assert world.count("entered run_1") == 2
    assert world.count("ended run_1") == 1
    assert world.count("entered run_2") == 1


def test_a_job_is_durable_when_start_returns(world: World) -> None:
    first = world.process("--no-work")
    for number in range(5):
        first.do(f"start quick run_{number}")
    first.kill()
    assert not world.log()
    second = world.process()
    world.wait("ended", 5)
    second.stop(5)
    assert world.count("entered") == 5


def test_a_job_started_where_nobody_works_is_done_by_a_worker(world: World) -> None:
    worker, server = world.process(), world.process("--no-work")
    server.do("start quick run_1")
    world.wait("ended run_1")
    assert world.log() == [f"entered run_1 {worker.pid}", f"ended run_1 {worker.pid}"]
    server.stop(1)
    worker.stop(1)


def test_a_broken_job_does_not_come_back_in_another_process(world: World) -> None:
    first = world.process()
    first.do("start broken run_1")
    world.wait("entered run_1")
    first.stop(1)
    second = world.process()
    second.do("start broken run_1")
    time.sleep(0.6)
    second.stop(1)
    assert world.count("entered run_1") == 1


def test_a_worker_takes_over_from_a_killed_one(workers: World) -> None:
    first, second = workers.process(), workers.process()
    for number in range(3):
        first.do(f"start slow run_{number}")
    second.do("start slow other")
    workers.wait("entered", 4)
    first.kill()
    killed = time.monotonic()
    workers.wait("entered run_", 6, seconds=15)
    assert time.monotonic() - killed < 10
    workers.release()
    workers.wait("ended", 4)
    second.stop(5)
    assert workers.count("entered") == 7
    assert {line.split()[-1] for line in workers.log() if line.startswith("ended")} == {second.pid}


def test_a_worker_that_stops_hands_its_jobs_over_at_once(workers: World) -> None:
    first, second = workers.process(), workers.process()
    first.do("start slow run_1")
    workers.wait("entered run_1")
    first.stop(0.1)
    stopped = time.monotonic()
    workers.wait("entered run_1", 2)
    assert time.monotonic() - stopped < 2, "without waiting for the dead man's time"
    workers.release()
    workers.wait("ended run_1")
    second.stop(5)
    assert workers.count("cancelled run_1") == 1


def test_a_worker_taken_for_dead_lets_go_when_it_wakes(workers: World) -> None:
    first, second = workers.process(), workers.process()
    first.do("start slow run_1")
    workers.wait("entered run_1")
    first.signal(signal.SIGSTOP)
    workers.wait("entered run_1", 2, seconds=15)
    first.signal(signal.SIGCONT)
    workers.wait(f"cancelled run_1 {first.pid}", seconds=15)
    workers.release()
    workers.wait("ended run_1")
    first.do("start quick run_2")
    workers.wait("ended run_2")
    first.stop(5)
    second.stop(5)
    assert workers.count("ended run_1") == 1
    assert f"ended run_1 {second.pid}" in workers.log()


def test_ended_jobs_are_forgotten_after_a_while(database: str) -> None:
    calls: list[str] = []

    async def job(project: str, key: str) -> None:
        calls.append(key)

    async def main() -> tuple[int, int]:
        jobs = DbosJobs(database)
        await jobs.launch({"run": job}, work=True)
        for number in range(5):
            await jobs.start("run", "proj_1", f"run_{number}")
        await until(lambda: len(calls) == 5)
        await asyncio.sleep(0.3)
        engine = jobs._engine
        young = await asyncio.to_thread(engine.purge, 60.0, 3)
        old = [await asyncio.to_thread(engine.purge, 0.0, 3) for _ in range(3)]
        await jobs.start("run", "proj_1", "run_0")
        await until(lambda: len(calls) == 6)
        await jobs.stop(1)
        return young, sum(old)

    assert asyncio.run(main()) == (0, 5)
    assert calls.count("run_0") == 2
