"""What a tree of processes uses. A process may end between any two looks; then it uses nothing."""

import contextlib
import os
from collections.abc import Iterator

import psutil


def children(pid: int) -> list[int]:
    """The processes that a process has started, or that were left to it; none once it is gone.

    psutil looks for them among all processes of the machine: 42 ms where there are 288, and we look every moment.
    """
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found


def tree(pid: int) -> Iterator[int]:
    """The process and all below it."""
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children(one)


def processor_seconds(pids: list[int]) -> float:
    """Of the processes, and of the children they have waited for."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def resident(pids: list[int]) -> int:
    """Bytes in memory; pages that several share are counted for each. Quick."""
    size = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            size += psutil.Process(pid).memory_info().rss
    return size


def proportional(pids: list[int]) -> int:
    """Bytes in memory, shared pages divided among those who share them. Slow: call it when ``resident`` is too much."""
    size = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            size += psutil.Process(pid).memory_full_info().pss
    return size


def main_thread(pid: int) -> str:
    """The state of a process' main thread as proc(5) has it: ``Z`` ended, ``T`` stopped; empty for no process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
    return ""


def grandchildren(pid: int) -> list[int]:
    """The processes that a process' children have started."""
    return [below for child in children(pid) for below in children(child)]
