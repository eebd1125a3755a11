"""The supervisor of child processes, with children that behave, that lie, and that will not go."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.models.subprocesses import process as supervising
from everloom.models.subprocesses.framing import LONGEST, framed
from everloom.models.subprocesses.pool import ChildPool, PoolFull
from everloom.models.subprocesses.process import ChildLost, ChildProcess, ChildSilent, bare_environment
from tests.models.test_local_process import alive, wait_for_end

READY = b'{"ready": true}'

ECHO = """
import sys, time
from everloom.models.subprocesses.framing import ParentPipe
parent = ParentPipe()
print("noise for standard error")
parent.say(b'{"ready": true}')
for frame in parent.frames():
    time.sleep(0.05)
    parent.say(frame)
"""
RAW = f"import os, sys, time; write = lambda data: os.write(1, data); write({framed(READY)!r})\n"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RAW + "while True: time.sleep(1)"


def child_of(script: str, load_s: float = 20, **more: Any) -> ChildProcess[Any]:
    command = (sys.executable, "-c", script)
    more = {"environment": bare_environment(), "quiet": True, **more}
    return ChildProcess(command, msgspec.json.decode, load_s=load_s, **more)


def run(script: str, scenario: Callable[[ChildProcess[Any]], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        child = child_of(script, **more)
        try:
            await scenario(child)
        finally:
            await child.end(at_once=True)
            assert child.pid is None

    asyncio.run(main())


def test_it_is_started_at_need_and_answers() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        assert child.pid is None
        assert await child.ready() == {"ready": True}
        pid = child.pid
        assert await child.ready() == {"ready": True}
        for size in (0, 1, 100_000):
            await child.tell(bytes(size))
            assert await child.receive(10) == bytes(size)
        assert child.pid == pid
        await child.end()
        assert pid is not None
        assert not alive(pid)
        await child.ready()
        assert child.pid != pid

    run(ECHO, scenario)


def test_whoever_stops_waiting_loses_nothing() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        await child.ready()
        size = 300_000
        told = [bytes([number]) * size for number in range(20)]

        async def tell() -> None:
            for frame in told:
                await child.tell(frame)

        telling = asyncio.create_task(tell())
        heard = []
        while len(heard) < 20:
            try:
                heard.append(await child.receive(0.02))
            except ChildSilent:
                continue
        await telling
        assert heard == told

    run(ECHO, scenario)


def test_whoever_stops_waiting_for_its_start_leaves_it_loading() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.ready(), 0.05)
        pid = child.pid
        assert await child.ready() == {"ready": True}
        assert pid in (None, child.pid)

    run("import time; time.sleep(0.3)\n" + ECHO, scenario)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit(7)", "ended with status 7"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("import os, time; os.close(1); time.sleep(60)", "closed its output"),
        ("import os; os.write(1, b'x')", "ended with status 0"),
        (f"import os, time; os.write(1, {framed(b'no json')!r}); time.sleep(60)", "cannot be read"),
        ("import os, time; os.write(1, b'Traceback (most recent'); time.sleep(60)", "cannot be read"),
        (f"import os, time; os.write(1, {framed(b'[' * 100_000)[:60_000]!r} + b'[' * 50_000)", "cannot be read"),
    ],
)
def test_what_becomes_of_a_child_is_told(script: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        with pytest.raises(ChildLost, match=reason):
            await child.ready()
        assert child.pid is None

    with caplog.at_level(logging.WARNING):
        run(script, scenario)
    assert "the child process" in caplog.text


def test_no_room_is_made_for_what_a_child_promises() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        await child.ready()
        with pytest.raises(ChildLost, match="cannot be read"):
            await child.receive(10)

    promise = (LONGEST + 1).to_bytes(4, "little")
    run(RAW + f"write({promise!r}); time.sleep(60)", scenario)
    run(RAW + f"write({framed(bytes(2000))!r}); time.sleep(60)", scenario, longest=1000)


def test_a_program_that_is_not_there() -> None:
    async def main() -> None:
        child = ChildProcess(("no such program",), bytes, load_s=1)
        with pytest.raises(OSError, match="No such file"):
            await child.ready()
        with pytest.raises(ChildLost):
            await child.receive()
        await child.end()

    asyncio.run(main())


def test_silence_has_an_end_and_the_child_lives() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        await child.ready()
        with pytest.raises(ChildSilent, match=r"0\.05 seconds"):
            await child.receive(0.05)
        await child.tell(b"x")
        assert await child.receive(10) == b"x"

    run(ECHO, scenario)


def test_a_start_has_its_time() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        with pytest.raises(ChildSilent):
            await child.ready()

    run("import time; time.sleep(60)", scenario, load_s=0.2)


def test_one_that_does_not_go_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "EXIT_S", 0.3)

    async def scenario(child: ChildProcess[Any]) -> None:
        await child.ready()
        pid = child.pid
        begun = time.monotonic()
        await child.end()
        assert pid is not None
        assert not alive(pid)
        assert time.monotonic() - begun < 30

    run(STUBBORN, scenario)


def test_whoever_waits_for_one_that_is_ended_is_told() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        for at_once in (False, True):
            await child.ready()
            waiting = asyncio.create_task(child.receive())
            await asyncio.sleep(0)
            await child.end(at_once=at_once)
            with pytest.raises(ChildLost):
                await waiting

    run(ECHO, scenario)


def test_a_dead_child_hears_nothing_and_says_so() -> None:
    async def scenario(child: ChildProcess[Any]) -> None:
        await child.ready()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        assert await child.gone(5)
        child.send(b"anybody?")
        with pytest.raises(ChildLost, match="SIGKILL"):
            await child.receive(5)

    run(ECHO, scenario)


def test_it_has_nothing_of_the_servers_environment() -> None:
    script = "import json, os\n" + ECHO.replace("b'{\"ready\": true}'", "json.dumps(sorted(os.environ)).encode()")

    async def scenario(child: ChildProcess[Any]) -> None:
        assert set(await child.ready()) <= {"PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUTF8", "LC_CTYPE"}

    run(script, scenario)


def test_none_outlives_a_killed_server() -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.models.test_subprocesses import ECHO, child_of\n"
        "async def main():\n"
        "    child = child_of(ECHO)\n"
        "    await child.ready()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert alive(pid)
        server.kill()
    assert wait_for_end(pid)


# --- several --------------------------------------------------------------------------------------------------------


class Room:
    """Counts who is in it."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            yield
        finally:
            self.inside -= 1


def pooled(scenario: Callable[[ChildPool[ChildProcess[Any]]], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        pool = ChildPool(lambda: child_of(ECHO), **{"most": 2, **more})
        try:
            await scenario(pool)
        finally:
            await pool.close()
            assert pool.pids == []

    asyncio.run(main())


def test_children_are_shared_and_no_more_than_so_many() -> None:
    room = Room()

    async def scenario(pool: ChildPool[ChildProcess[Any]]) -> None:
        async def work(number: int) -> int:
            child = await pool.take()
            try:
                await child.ready()
                await child.tell(b"%d" % number)
                return int(await child.receive(10))
            finally:
                await pool.put_back(child)

        assert await asyncio.gather(*map(work, range(8))) == list(range(8))
        assert len(pool.pids) == 2
        assert (room.most, room.inside) == (2, 0)

    pooled(scenario, room=room.enter)


def test_a_queue_has_an_end_and_who_leaves_it_makes_room() -> None:
    async def scenario(pool: ChildPool[ChildProcess[Any]]) -> None:
        first = await pool.take()
        waiting = [asyncio.create_task(pool.take()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(PoolFull):
            await pool.take()
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        third = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        await pool.put_back(first)
        await pool.put_back(await waiting[1])
        await pool.put_back(await third)

    pooled(scenario, most=1, longest_queue=2)


def test_what_is_unfit_or_dead_is_not_used_again() -> None:
    async def scenario(pool: ChildPool[ChildProcess[Any]]) -> None:
        seen = []
        for fit in (False, True, True):
            child = await pool.take()
            await child.ready()
            assert child.pid is not None
            seen.append(child.pid)
            await pool.put_back(child, fit=fit)
        assert seen[0] != seen[1] == seen[2]
        os.kill(seen[2], signal.SIGKILL)
        assert await asyncio.to_thread(wait_for_end, seen[2])
        assert await child.gone(60)  # Now the loop has heard of it, too.
        child = await pool.take()
        await child.ready()
        assert child.pid not in seen
        await pool.put_back(child)

    pooled(scenario, most=1)


def test_idle_ones_are_ended() -> None:
    async def scenario(pool: ChildPool[ChildProcess[Any]]) -> None:
        child = await pool.take()
        await child.ready()
        await pool.put_back(child)
        [pid] = pool.pids
        assert await asyncio.to_thread(wait_for_end, pid)
        assert pool.pids == []

    pooled(scenario, idle_s=0.1)


def test_what_is_closed_ends_those_at_work() -> None:
    async def scenario(pool: ChildPool[ChildProcess[Any]]) -> None:
        child = await pool.take()
        await child.ready()

        async def work() -> None:
            try:
                with pytest.raises(ChildLost):
                    await child.receive()
            finally:
                await pool.put_back(child, fit=False)

        pool.later(work())
        await asyncio.sleep(0.05)
        await pool.close()
        assert pool.pids == []

    pooled(scenario)
