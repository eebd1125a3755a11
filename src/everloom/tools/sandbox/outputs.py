"""What comes out of a sandbox, and how much of everything there may be."""

from msgspec import Struct


class Limits(Struct, frozen=True):
    """What one sandbox may use; bytes, seconds and counts."""

    memory: int = 1 << 30
    """Bytes in RAM, over all its processes."""
    disk: int = 1 << 30
    """Bytes of all that it writes: /mnt/data, /tmp and shared memory together. Held in RAM, beside ``memory``."""
    entries: int = 10_000
    """Files and folders that it may have."""
    file: int = 512 << 20
    """Bytes of one file."""
    cpu: float = 300
    """Seconds of processor time a call, over all its processes."""
    idle_cpu: float = 30
    """Seconds of processor time that what a call left running may use until the next one."""
    processes: int = 128
    """Processes and threads."""
    open_files: int = 256
    """Open files a process."""
    logs: int = 200_000
    """Characters of logs a call."""
    images: int = 20
    """Images a call."""
    kernels: int = 16
    """Sandboxes at once; the one idle longest makes room for the next."""


class Logs(Struct, frozen=True):
    """Text as it came: standard output and error, the repr of the last value, a traceback."""

    text: str


class Image(Struct, frozen=True):
    """A picture that the code showed."""

    png: bytes


Output = Logs | Image


class Made(Struct, frozen=True):
    """A file in /mnt/data that the code wrote or changed."""

    name: str
    """Without folders."""
    path: str
    """``/mnt/data/…``"""
    size: int
    """Bytes."""


Seen = dict[str, tuple[int, int, int]]
"""Path below /mnt/data -> inode, size in bytes, time of change (which the code cannot set)."""


class SandboxDied(Exception):
    """The kernel is gone, and its variables and files with it; the message is a sentence that says why."""


class SandboxUnavailable(Exception):
    """Code cannot be run on this machine; the message is a sentence that says why."""


class SandboxFull(Exception):
    """A file does not fit into the sandbox; the message is a sentence."""
