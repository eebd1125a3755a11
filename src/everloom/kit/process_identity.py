"""Which process did something, told so that others on the machine can see whether it still lives. Linux tells; where a
system does not, nobody is known, and nobody is taken for dead.
"""

import os
from pathlib import Path


def this_process() -> str:
    """This process among all of all machines: the boot, the namespace of its id, the id, and when it was started, since
    ids are given again. Empty where the system does not say.
    """
    try:
        return f"{_place()} {os.getpid()} {_start(os.getpid())}"
    except (OSError, IndexError):
        return ""


def has_ended(process: str) -> bool:
    """Whether a process of this machine, and of this namespace of ids, is no more. False for whoever is not known."""
    try:
        place, pid, start = process.rsplit(" ", 2)
        if place != _place():
            return False
        return _start(int(pid)) != start  # One that nobody has waited for yet has no start.
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"


def _start(pid: int) -> str:
    """In ticks since the boot, behind the name of the program, which may have any characters."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
