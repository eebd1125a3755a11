"""Sandboxes for the tests: bubblewrap installed where that can be done, one event loop for many tests."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from everloom.sandbox.base import Picture, Printed, SandboxLimits, Session
from everloom.sandbox.pool import JupyterSandboxes
from tests import packages

T = TypeVar("T")


def install() -> None:
    """Install bubblewrap and libseccomp with apt-get, unless they are here."""
    if not shutil.which("bwrap"):
        packages.install("bubblewrap", ("bubblewrap", "libseccomp2"))


class Bench:
    """Sandboxes, and a loop that they live in between the calls of a test."""

    def __init__(self, runner: asyncio.Runner, sandboxes: JupyterSandboxes) -> None:
        self.runner = runner
        self.sandboxes = sandboxes

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def run(self, code: str, key: str = "one", timeout: float = 30.0) -> list[Printed | Picture]:
        """What the code shows."""

        async def running() -> list[Printed | Picture]:
            async with self.sandboxes.session(key) as session:
                return [shown async for shown in session.run(code, timeout)]

        return self.do(running())

    def logs(self, code: str, key: str = "one", timeout: float = 30.0) -> str:
        """The text that the code shows."""
        return "".join(shown.text for shown in self.run(code, key, timeout) if isinstance(shown, Printed))

    def fails(self, code: str, error: str, key: str = "one") -> str:
        """Assert that the code's last line is this error of Python's."""
        told = self.logs(code, key)
        assert told.rstrip().splitlines()[-1].startswith(error), told
        return told

    def put(self, name: str, content: bytes, key: str = "one", file: str = "") -> str:
        async def putting() -> str:
            async with self.sandboxes.session(key) as session:
                return await session.put(name, blocks(content), file)

        return self.do(putting())

    def changed(self, key: str = "one") -> dict[str, bytes]:
        """Path -> content of what the code has made."""

        async def asking() -> dict[str, bytes]:
            async with self.sandboxes.session(key) as session:
                return {made.path: await content(session, made.path) for made in await session.changed()}

        return self.do(asking())

    def process(self, key: str = "one") -> int:
        """The host's number for the sandbox's Python."""

        async def asking() -> int:
            async with self.sandboxes.session(key) as session:
                async for _ in session.run("1"):
                    pass
                return int(session.place.box.first)  # type: ignore[union-attr]  # tests look behind the port

        return self.do(asking())


async def blocks(content: bytes) -> AsyncIterator[bytes]:
    """A file as it comes from the blob store."""
    for start in range(0, len(content), 1 << 16):
        yield content[start : start + (1 << 16)]


async def content(session: Session, path: str) -> bytes:
    return b"".join([block async for block in session.read(path)])


@contextmanager
def bench(folder: Path, limits: SandboxLimits | None = None, **options: Any) -> Iterator[Bench]:
    """Sandboxes in a loop; skips the test, with the reason, where they cannot be had."""
    with asyncio.Runner() as runner:
        sandboxes = JupyterSandboxes(folder, limits=limits, **{"pool": 0} | options)
        runner.run(sandboxes.open())
        try:
            if reason := sandboxes.available():
                pytest.skip(reason)
            yield Bench(runner, sandboxes)
        finally:
            runner.run(sandboxes.close())


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m tests.bubblewrap install")
    install()
