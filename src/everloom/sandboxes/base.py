"""The sandboxes' port: a session a thread, in which code runs, sees its files and leaves files behind.

Adapter: ``bubblewrap`` (a Jupyter kernel inside namespaces of its own); tests: ``tests/sandboxes``.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct


class Text(Struct, frozen=True):
    """What code printed, returned or raised."""

    text: str


class Image(Struct, frozen=True):
    """What code plotted."""

    png: bytes


Output = Text | Image


class Made(Struct, frozen=True):
    """A file that code wrote: its path below ``/mnt/data``, and its size in bytes."""

    name: str
    size: int


class SandboxDied(Exception):
    """The kernel was killed at a limit; the text says which. The next run starts a new one."""


class Session(Protocol):
    """One kernel and its ``/mnt/data``."""

    async def has(self, name: str) -> bool:
        """Whether a file of this name was put here before."""
        ...

    async def put(self, name: str, blocks: AsyncIterator[bytes]) -> None:
        """Place a file under ``name`` (any text; made safe)."""
        ...

    def run(self, code: str, *, seconds: float) -> AsyncIterator[Output]:
        """Run code, ``seconds`` at most; its outputs as they come. Errors of the code are outputs; ``SandboxDied``."""
        ...

    async def changed(self) -> list[Made]:
        """The regular files that code wrote or changed since the last question."""
        ...

    def read(self, name: str) -> AsyncIterator[bytes]:
        """The bytes of a file that ``changed`` named."""
        ...


class Sandboxes(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def available(self) -> str | None:
        """None where code can run; otherwise the reason why not, and what would help."""
        ...

    def session(self, key: str) -> AbstractAsyncContextManager[Session]:
        """The session of ``key``, for one call at a time; its state stays for the next, until it is idle too long."""
        ...
