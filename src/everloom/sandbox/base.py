"""The sandboxes' port: other people's code is run in one, a conversation each. Knows no runs.

Adapter: ``pool.py``, Jupyter kernels in bubblewrap or behind a gateway.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct


class SandboxLimits(Struct, frozen=True):
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
    made: int = 1_000
    """Files a call that are kept; all of them together have at most ``disk`` bytes."""
    seconds: float = 120
    """Seconds a call."""
    grace: float = 3
    """Seconds that a call has to end after an interrupt."""
    take_up: float = 20
    """Seconds until a kernel must have begun with a call."""
    message: int = 16 << 20
    """Bytes of one message from a kernel."""
    parts: int = 64
    """Parts of one message."""
    sent: int = 64 << 20
    """Bytes that a call may send us, whether they are shown or not: reading them takes the server's time."""
    sent_ever: int = 4 << 30
    """Bytes that a sandbox may send us in its life."""
    kernels: int = 16
    """Sandboxes at once; the one idle longest makes room for the next."""


class Printed(Struct, frozen=True):
    """Text as it came: standard output and error, the repr of the last value, a traceback."""

    text: str


class Picture(Struct, frozen=True):
    """A picture that the code showed."""

    png: bytes


Output = Printed | Picture


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


class SandboxHeld(SandboxDied):
    """The kernel was ended because it did not begin with the code."""


class SandboxUnavailable(Exception):
    """Code cannot be run on this machine; the message is a sentence that says why."""


class SandboxFull(Exception):
    """A file does not fit into the sandbox; the message is a sentence."""


class Session(Protocol):
    """What one conversation has of a sandbox. State is kept from call to call; a call in a new kernel says so first."""

    async def put(self, name: str, blocks: AsyncIterator[bytes], key: str = "") -> str:
        """Place an attached file into /mnt/data under its own name, made harmless; its path there.

        ``key`` says which file it is (its id), where two may have the same name. Errors: ``SandboxFull``,
        ``SandboxUnavailable``.
        """
        ...

    def has(self, key: str) -> bool:
        """Whether this file was put into the kernel that there is now."""
        ...

    def run(self, code: str, timeout: float = 120.0) -> AsyncGenerator[Output]:
        """What the code shows, as it comes; its own errors are logs too. ``timeout`` in seconds.

        Whoever leaves before the end (``aclose``) interrupts the code. Errors: ``SandboxDied`` when a limit ended
        the kernel, ``SandboxUnavailable``.
        """
        ...

    async def changed(self) -> list[Made]:
        """Files in /mnt/data that are new or changed since this was last asked, attached ones only if changed."""
        ...

    def read(self, path: str) -> AsyncIterator[bytes]:
        """The content of a file of ``changed``. Errors: ``FileNotFoundError``, also for what is no regular file."""
        ...


class Sandboxes(Protocol):
    """The sandboxes of a server. Open it before use."""

    async def open(self) -> None:
        """Look whether sandboxes can be had here. Raises nothing: ``available`` tells."""
        ...

    async def close(self) -> None: ...

    def available(self) -> str | None:
        """None when code can be run; else the reason why not, a sentence."""
        ...

    def session(self, key: Hashable) -> AbstractAsyncContextManager[Session]:
        """The session of a conversation, for one call at a time. Errors: ``SandboxUnavailable``."""
        ...
