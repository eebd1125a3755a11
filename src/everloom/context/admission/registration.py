"""How this process is known to the others: by a row that says until when it is alive, and where to look for it."""

import os
import socket
from functools import lru_cache
from pathlib import Path

import psutil

from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.quotas import ServerProcess

ALIVE_SECONDS = 120
"""How long a process that says nothing counts as alive. A clock that is set back by a minute ends nobody."""

RENEW_SECONDS = 15.0


def registration() -> ServerProcess:
    """A fresh row of this process."""
    return ServerProcess(
        id=new_id("proc_"),
        created_at=now(),
        until=now() + ALIVE_SECONDS,
        place=place(),
        pid=os.getpid(),
        started=_started(os.getpid()),
    )


def renew(process: ServerProcess) -> None:
    """Put off the time at which a process counts as dead, if that was not done a moment ago."""
    if process.until < now() + ALIVE_SECONDS - RENEW_SECONDS or process.until > now() + ALIVE_SECONDS:
        process.until = now() + ALIVE_SECONDS


def is_dead(process: ServerProcess, *, by_time: bool = True) -> bool:
    """Whether a process is no more: at once where it can be looked for, else (``by_time``) when it was silent long."""
    if process.place != place():
        return by_time and process.until < now()
    try:
        return abs(_started(process.pid) - process.started) > 1.0
    except (OSError, psutil.NoSuchProcess):
        return True


def _started(pid: int) -> float:
    """When a process began, since the machine did: no clock that is set moves it. Unix time where there is no Linux."""
    if not Path("/proc/self/stat").exists():
        return float(psutil.Process(pid).create_time())
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


@lru_cache(maxsize=1)
def place() -> str:
    """This machine since its start, and the namespace of process ids on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{int(psutil.boot_time())}"
