"""What a tree of processes uses, read from /proc."""

import contextlib
import os
from collections.abc import Iterator

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


def _gone() -> contextlib.suppress:
    """A process may end between any two looks, and its files be empty then."""
    return contextlib.suppress(OSError, ValueError, IndexError)


def children(pid: int) -> list[int]:
    """The processes that a process has started, or that were left to it; none once it is gone."""
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
    ticks = 0
    for pid in pids:
        with _gone(), open(f"/proc/{pid}/stat") as file:
            # Behind the name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17.
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return ticks / _TICK


def resident(pids: list[int]) -> int:
    """Bytes in memory; pages that several share are counted for each. Quick."""
    pages = 0
    for pid in pids:
        with _gone(), open(f"/proc/{pid}/statm") as file:
            pages += int(file.read().split()[1])
    return pages * _PAGE


def proportional(pids: list[int]) -> int:
    """Bytes in memory, shared pages divided among those who share them. Slow: call it when ``resident`` is too much."""
    size = 0
    for pid in pids:
        with _gone(), open(f"/proc/{pid}/smaps_rollup") as file:
            size += sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
    return size


def main_thread(pid: int) -> str:
    """The state of a process' main thread as proc(5) has it: ``Z`` ended, ``T`` stopped; empty for no process."""
    with _gone(), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
    return ""


def grandchildren(pid: int) -> list[int]:
    """The processes that a process' children have started."""
    return [below for child in children(pid) for below in children(child)]
