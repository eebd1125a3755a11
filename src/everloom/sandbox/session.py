"""What one conversation has of a sandbox: its kernel, its attached files, what its code has made."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol

from everloom.sandbox.base import Made, Output, Printed, SandboxDied, Seen
from everloom.sandbox.names import free_name

_DATA = "/mnt/data"
_RENEWED = "[A new sandbox was started; variables and files of the last one are gone. {}]\n"


class Files(Protocol):
    """/mnt/data of a kernel, from outside."""

    async def names(self) -> set[str]: ...
    async def write(self, name: str, blocks: AsyncIterator[bytes]) -> None: ...
    def read(self, path: str) -> AsyncIterator[bytes]: ...
    async def look(self) -> Seen: ...


class RunningKernel(Protocol):
    """A kernel, wherever it runs."""

    @property
    def files(self) -> Files: ...
    @property
    def alive(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    def run(self, code: str, timeout: float) -> AsyncGenerator[Output]: ...
    def look_after(self) -> None: ...
    async def close(self) -> None: ...


class JupyterSession:
    """A ``Session``. When the kernel dies the next call has a new one, and says so."""

    def __init__(self, start: Callable[[], Awaitable[RunningKernel]], note: str = "") -> None:
        self._start = start
        self.place: RunningKernel | None = None
        self._note = _RENEWED.format(note) if note else ""
        self._put: dict[str, str] = {}
        self._seen: Seen = {}

    async def put(self, name: str, blocks: AsyncIterator[bytes], key: str = "") -> str:
        """Place an attached file into /mnt/data under its own name, made harmless; its path there.

        ``key`` says which file it is (its id), where two may have the same name. Errors: ``SandboxFull``,
        ``SandboxUnavailable``.
        """
        files = (await self._live()).files
        key = key or name
        kept = self._put.get(key) or free_name(name, await files.names())
        await files.write(kept, blocks)
        self._put[key] = kept
        if kept in (now := await files.look()):
            self._seen[kept] = now[kept]
        return f"{_DATA}/{kept}"

    def has(self, key: str) -> bool:
        """Whether this file was put into the kernel that there is now."""
        return self.place is not None and self.place.alive and key in self._put

    async def run(self, code: str, timeout: float = 120.0) -> AsyncGenerator[Output]:
        """What the code shows, as it comes; its own errors are logs too. ``timeout`` in seconds.

        Whoever leaves before the end (``aclose``) interrupts the code. Errors: ``SandboxDied`` when a limit ended
        the kernel, ``SandboxUnavailable``.
        """
        place = await self._live()
        if self._note:
            yield Printed(self._note)
            self._note = ""
        try:
            async with contextlib.aclosing(place.run(code, timeout)) as outputs:
                async for shown in outputs:
                    yield shown
        except SandboxDied as death:
            await self.end(str(death))
            raise

    async def changed(self) -> list[Made]:
        """Files in /mnt/data that are new or changed since this was last asked, attached ones only if changed."""
        if self.place is None or not self.place.alive:
            return []
        before, self._seen = self._seen, await self.place.files.look()
        return [
            Made(path.rpartition("/")[2], f"{_DATA}/{path}", now[1])
            for path, now in sorted(self._seen.items())
            if before.get(path) != now
        ]

    def read(self, path: str) -> AsyncIterator[bytes]:
        """The content of a file of ``changed``. Errors: ``FileNotFoundError``, also for what is no regular file."""
        if self.place is None:
            raise FileNotFoundError(path)
        return self.place.files.read(path)

    async def end(self, why: str = "") -> None:
        """Let the kernel go; with a reason, the next call tells it."""
        if self.place is not None:
            place, self.place = self.place, None
            self._put, self._seen = {}, {}
            if why:
                self._note = _RENEWED.format(why)
            await place.close()

    async def _live(self) -> RunningKernel:
        if self.place is not None and not self.place.alive:
            await self.end(self.place.reason or "It had ended between two calls.")
        if self.place is None:
            self.place = await self._start()
        return self.place
