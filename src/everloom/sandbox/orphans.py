"""Sandboxes that have outlived their server and their guardian.

Each sandbox has a record in the server's data folder, where no sandbox and no stranger can write: the process that
became bwrap, when it was started (a number alone may be another's later), in which boot of the machine, and its user.
Its guardian holds a lock on the record for as long as it lives, and ends the sandbox itself; so what is locked is none
of our business, and what is not locked has nobody.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

_TICK = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60
"""In which all processes of a sandbox that we look for were started."""
_END_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Record(Struct):
    """As launch_child.py writes it."""

    boot: str
    pid: int
    start: int
    """Ticks of the clock since the boot."""
    user: int


def new_record(folder: Path) -> str:
    """The path of a record that a guardian is to write; empty when there can be none."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        _log.warning("no sandbox can be recorded in %s: %s", folder, error.strerror)
        return ""
    return str(folder / secrets.token_hex(8))


def sweep(folder: Path) -> int:
    """End what is left of servers that are gone; how many processes were ended."""
    with contextlib.suppress(FileNotFoundError):
        return sum(end(path) for path in folder.iterdir() if not path.name.startswith(".") or _is_old(path))
    return 0


def end(path: Path) -> int:
    """End the sandbox of a record, unless it has a guardian; how many processes were ended."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ended = 0
        with contextlib.suppress(msgspec.DecodeError):
            record = msgspec.json.decode(os.read(file, 1 << 12), type=Record)
            if record.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip():
                ended = _end_all(record)
        path.unlink(missing_ok=True)
        return ended
    except OSError:  # It is locked, or cannot be.
        return 0
    finally:
        os.close(file)


def _is_old(path: Path) -> bool:
    """Whether a file is no record that is being made."""
    try:
        return time.time() - path.stat().st_mtime > _START_SECONDS
    except OSError:
        return False


def _end_all(record: Record) -> int:
    ended: set[int] = set()
    until = time.monotonic() + _END_SECONDS
    while (left := list(_left(record))) and time.monotonic() < until:
        for pid in left:
            _kill(pid, record)
        ended.update(left)
        time.sleep(0.01)
    if ended:
        _log.warning("a sandbox without a server was ended: processes %s", ", ".join(map(str, sorted(ended))))
    return len(ended)


def _left(record: Record) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and _is_of(int(name), record):
            yield int(name)


def _is_of(pid: int, record: Record) -> bool:
    """Whether a process is the recorded one, or process 1 of a sandbox that it has made.

    The latter has kept the recorded one's session, whose number is given to nobody while one of it lives; whoever has
    it later was not started in the same minute by the same user to be process 1 in a namespace of its own.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, *fields = file.read().rpartition(")")[2].split()
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.split(":", 1) for line in file if ":" in line)
        session, start = int(fields[2]), int(fields[18])
        numbers = status["NSpid"].split()
        user = int(status["Uid"].split()[0])
    except (OSError, ValueError, KeyError, IndexError):
        return False
    if state == "Z" or user != record.user or session != record.pid:
        return False
    if pid == record.pid:
        return start == record.start
    within = record.start <= start <= record.start + _START_SECONDS * _TICK
    return within and len(numbers) > 1 and numbers[-1] == "1"


def _kill(pid: int, record: Record) -> None:
    """End a process; looks again when its number can no longer become another's."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _is_of(pid, record):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
    finally:
        os.close(process)
