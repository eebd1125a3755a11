"""Servers killed at any moment leave no sandbox behind; nobody else's processes are ended."""

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.sandbox import orphans
from everloom.sandbox.base import SandboxDied
from tests.bubblewrap import Bench, bench

SERVER = """
import asyncio, os, sys
from pathlib import Path
user, folder = int(sys.argv[1]), Path(sys.argv[2])
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
from everloom.sandbox.pool import JupyterSandboxes

async def main():
    sandboxes = JupyterSandboxes(folder, pool=2, python=Path(sys.argv[3]))
    await sandboxes.open()
    print(sandboxes.available(), flush=True)
    async with sandboxes.session("one") as session:
        async for _ in session.run("import subprocess; c = subprocess.Popen(['sleep', '1000'])"):
            pass
        print(session.place.box.process.pid, session.place.box.init, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
NOBODY = 65534


@contextlib.contextmanager
def server(folder: Path, user: int = 0) -> Iterator["subprocess.Popen[str]"]:
    """A server of ours that has sandboxes, once it has told so."""
    command = [sys.executable, "-c", SERVER, str(user), str(folder), sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            if (told := process.stdout.readline().strip()) != "None":
                pytest.skip(told or "nobody may not read this Python's libraries")
            yield process
        finally:
            process.kill()


def below(pid: int) -> dict[int, int]:
    """The processes under a process, with the moment of each one's start."""
    found: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split()):
                found |= {child: started(child)} | below(child)
    return found


def started(pid: int) -> int:
    """The moment of a process' start; -1 if there is none, or it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if state == "Z" else int(fields[18])
    except (OSError, IndexError):
        return -1


def left(pids: dict[int, int], seconds: float = 5.0) -> list[str]:
    """Which of the processes are still there after a time."""
    until = time.monotonic() + seconds
    while (there := [pid for pid, start in pids.items() if start > 0 and started(pid) == start]) and (
        time.monotonic() < until
    ):
        time.sleep(0.05)
    return [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200] for pid in there]


def users() -> list[int]:
    return [0, NOBODY] if os.geteuid() == 0 else [0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        with contextlib.suppress(PermissionError):
            above.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.mark.parametrize("user", users())
def test_a_server_killed_around_a_start_leaves_nothing(folder: Path, user: int) -> None:
    rng = random.Random(user)
    for _ in range(4):
        with server(folder, user) as process:
            deadline = time.monotonic() + 60
            aim = rng.choice(["bwrap", "launch_child"])
            while time.monotonic() < deadline and not any(aim in line for line in lines(process.pid)):
                time.sleep(0.001)
            time.sleep(rng.choice([0, 0.001, 0.003, 0.006, 0.01, 0.02, 0.05]))
            seen = below(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            # What they start after this look is found from them.
            for pid in list(seen):
                seen |= below(pid)
        assert left(seen) == []
        assert records(folder) == []


def lines(pid: int) -> list[str]:
    found = []
    for child in below(pid):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{child}/cmdline").read_text())
    return found


def records(folder: Path, seconds: float = 5.0) -> list[str]:
    """Records that are still there after a time."""
    until = time.monotonic() + seconds
    place = folder / "sandboxes"
    while place.exists() and (found := os.listdir(place)) and time.monotonic() < until:
        time.sleep(0.05)
    return found if place.exists() else []


@pytest.mark.parametrize("user", users())
def test_a_running_sandbox_ends_with_its_server(folder: Path, user: int) -> None:
    with server(folder, user) as process:
        assert process.stdout
        process.stdout.readline()
        seen = below(process.pid)
        assert any("sleep" in line for line in lines(process.pid))
        os.kill(process.pid, signal.SIGKILL)
    assert left(seen) == []
    assert records(folder) == []


@pytest.mark.parametrize("user", users())
def test_what_has_lost_its_guardian_too_is_ended_at_the_next_start(folder: Path, user: int) -> None:
    with server(folder, user) as process:
        assert process.stdout
        guardian, init = map(int, process.stdout.readline().split())
        (monitor,) = [pid for pid in below(guardian) if init in below(pid)]
        start, began = started(init), started(guardian)
        # As if the one had died before the other was bound to it: nobody tells process 1 of the sandbox.
        os.kill(process.pid, signal.SIGSTOP)
        record = json.loads(next((folder / "sandboxes").iterdir()).read_bytes())
        assert orphans.sweep(folder / "sandboxes") == 0, "it has a guardian"
        assert started(init) == start
        for number in (guardian, monitor):
            os.kill(number, signal.SIGSTOP)
        copy = folder / "sandboxes" / "copy"
        copy.write_text(json.dumps(record | {"pid": pid_of_session(init)}))
        try:
            assert orphans.end(copy) >= 1
            assert left({init: start}) == []
            assert not copy.exists()
        finally:
            for number in (guardian, monitor):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGCONT)
    assert left({guardian: began}) == []


def pid_of_session(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])


def test_a_guardian_killed_leaves_nothing(tmp_path: Path) -> None:
    with bench(tmp_path) as box:
        pid = box.process()
        (guardian,) = [found for found in below(os.getpid()) if pid in below(found) and "launch_child" in line(found)]
        seen = below(guardian)
        os.kill(guardian, signal.SIGKILL)
        assert left(seen) == []
        with contextlib.suppress(SandboxDied):
            box.run("1")
        assert box.logs("'next'").endswith("'next'\n")
        assert len(os.listdir(tmp_path / "sandboxes")) == 1


def line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_closed_server_keeps_no_record(tmp_path: Path) -> None:
    with bench(tmp_path) as box:
        box.run("1")
        (record,) = (tmp_path / "sandboxes").iterdir()
        assert record.stat().st_mode & 0o777 == 0o600
        assert record.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(tmp_path / "sandboxes") == []


BOOT = "/proc/sys/kernel/random/boot_id"


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that nobody may end, in a session of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        assert process.poll() is None, "a stranger's process was ended"
        process.kill()


@pytest.mark.parametrize(
    "wrong", [{"boot": "another"}, {"user": 1}, {"start": 1}, {"start": -100_000}, {"pid": 1}], ids=str
)
def test_a_process_that_is_not_the_recorded_one_is_left_alone(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]", wrong: dict[str, object]
) -> None:
    true = {"boot": Path(BOOT).read_text().strip(), "pid": stranger.pid, "start": started(stranger.pid)}
    record = tmp_path / "record"
    record.write_text(json.dumps(true | {"user": os.geteuid()} | wrong))
    assert orphans.sweep(tmp_path) == 0
    assert not record.exists()


def test_a_record_with_a_lock_has_a_guardian(tmp_path: Path, stranger: "subprocess.Popen[bytes]") -> None:
    record = tmp_path / "record"
    told = {"boot": Path(BOOT).read_text().strip(), "pid": stranger.pid, "start": started(stranger.pid)}
    record.write_text(json.dumps(told | {"user": os.geteuid()}))
    with record.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert orphans.sweep(tmp_path) == 0
    assert record.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_record_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "record").write_text(content)
    (tmp_path / ".being-made").write_text(content)
    assert orphans.sweep(tmp_path) == 0
    assert os.listdir(tmp_path) == [".being-made"]
    assert orphans.sweep(tmp_path / "nowhere") == 0


def test_a_running_bench_is_left_alone_by_another(tmp_path: Path) -> None:
    with bench(tmp_path) as first:
        first.run("x = 1")
        with bench(tmp_path) as second:
            second.run("x = 2")
            assert first.logs("x") == "1\n"
        assert first.logs("x") == "1\n"


def test_a_bench_has_its_guardian_outside(tmp_path: Path) -> None:
    def user(pid: int) -> int:
        return os.stat(f"/proc/{pid}").st_uid

    with bench(tmp_path) as box:
        own = guardian_of(box)
        assert user(own) == os.geteuid()
        assert os.readlink(f"/proc/{own}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        if os.geteuid() == 0:
            assert user(box.process()) != 0


def guardian_of(box: Bench) -> int:
    pid = box.process()
    return next(found for found in below(os.getpid()) if pid in below(found))
