"""Several processes on one database: starting together, and one of them killed in the middle of a write."""

import asyncio
import subprocess
import sys
from pathlib import Path

from everloom.objects.messages import Message
from everloom.objects.threads import Thread
from everloom.store.base import Add, Database
from tests.store.databases import address, database_at, every_adapter, opened
from tests.store.things import a_thread

ROOT = Path(__file__).parents[2]


@every_adapter
def test_a_killed_process_has_lost_nothing_it_acknowledged(adapter: str, tmp_path: Path) -> None:
    where = address(adapter, tmp_path)
    acknowledged: list[tuple[str, str]] = []
    for _ in range(2):  # the second finds what the first left behind
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.writer", where], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process, process.stdout as lines:
            pairs = [next(lines) for _ in range(300)]
            process.kill()
            pairs += [line for line in lines if line.endswith("\n")]
        assert process.returncode == -9
        acknowledged += [(thread, message) for thread, message in map(str.split, pairs)]
    assert len(acknowledged) >= 600

    async def check(database: Database) -> None:
        store = database.store("proj_a")
        threads = {thread.id for thread in await store.all(Thread)}
        messages = {message.id: message for message in await store.all(Message)}
        assert threads >= {thread for thread, _ in acknowledged}
        assert messages.keys() >= {message for _, message in acknowledged}
        # whole writes or nothing: no message without its thread and its event
        assert {message.thread_id for message in messages.values()} == threads
        for message in messages.values():
            assert [event.seq for event in await store.events(message.thread_id)] == [1]

    asyncio.run(opened(where, check))


@every_adapter
def test_processes_that_start_together_make_the_tables_once(adapter: str, tmp_path: Path) -> None:
    where = address(adapter, tmp_path)
    command = [sys.executable, "-m", "tests.store.writer", where]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    first = []
    for process in processes:
        assert process.stdout is not None
        with process, process.stdout as lines:
            first.append(lines.readline().split())
            process.kill()
    assert [len(words) for words in first] == [2, 2, 2, 2]

    async def check(database: Database) -> None:
        for thread, _ in first:
            assert (await database.store("proj_a").get(Thread, thread)).id == thread

    asyncio.run(opened(where, check))


@every_adapter
def test_two_databases_on_one_address_see_each_other(adapter: str, tmp_path: Path) -> None:
    where = address(adapter, tmp_path)

    async def check(one: Database) -> None:
        other = database_at(where)
        await other.open()
        threads = [a_thread() for _ in range(40)]
        await asyncio.gather(
            *((one if n % 2 else other).store("proj_a").write(Add(thread)) for n, thread in enumerate(threads))
        )
        expected = sorted(thread.id for thread in threads)
        for database in (one, other):
            assert sorted(thread.id for thread in await database.store("proj_a").all(Thread)) == expected
        await other.close()
        await other.close()

    asyncio.run(opened(where, check))


@every_adapter
def test_a_database_opens_again_in_another_loop(adapter: str, tmp_path: Path) -> None:
    database = database_at(address(adapter, tmp_path))
    thread = a_thread()

    async def write() -> None:
        await database.open()
        await database.store("proj_a").write(Add(thread))
        await database.close()

    async def read() -> Thread:
        await database.open()
        found = await database.store("proj_a").get(Thread, thread.id)
        await database.close()
        return found

    asyncio.run(write())
    assert asyncio.run(read()) == thread


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "everloom.db"
    # The bound on the size of files stands for the disk; both refuse in the middle of a commit.
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, 2_500_000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import asyncio; from tests.store import writer; asyncio.run(writer._main(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "Unavailable: its database is away" in done.stderr
    acknowledged = {line.split()[0] for line in done.stdout.splitlines()}
    assert len(acknowledged) > 20

    async def check(database: Database) -> None:
        store = database.store("proj_a")
        assert {thread.id for thread in await store.all(Thread)} >= acknowledged
        await store.write(Add(a_thread()))

    asyncio.run(opened(str(path), check))
