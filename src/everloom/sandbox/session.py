"""What one conversation has of a sandbox: its kernel, its attached files, what its code has made."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol

from everloom.sandbox.base import Made, Output, Printed, SandboxDied, SandboxHeld, SandboxLimits, Seen
from everloom.sandbox.names import free_name

_DATA = "/mnt/data"
_LEFT_OUT = "[{} files more were written; they are not kept: there are too many, or together they are too large.]\n"
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
    async def settle(self) -> bool: ...
    def look_after(self) -> None: ...
    async def close(self) -> None: ...


class JupyterSession:
    """A ``Session``. When the kernel dies the next call has a new one, and says so."""

    def __init__(self, start: Callable[[], Awaitable[RunningKernel]], limits: SandboxLimits, note: str = "") -> None:
        self._start = start
        self._limits = limits
        self.place: RunningKernel | None = None
        self._note = _RENEWED.format(note) if note else ""
        self._put: dict[str, str] = {}
        self._seen: Seen = {}
        self._room = 0
        """Bytes that may still be read of the files that the last call made."""

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
        until = asyncio.get_running_loop().time() + timeout
        for again in (False, True):
            place = await self._live()
            if self._note:
                yield Printed(self._note)
                self._note = ""
            try:
                left = max(1.0, until - asyncio.get_running_loop().time()) if again else timeout
                async with contextlib.aclosing(place.run(code, left)) as outputs:
                    async for shown in outputs:
                        yield shown
                break
            except SandboxDied as death:
                await self.end(str(death))
                if again or not isinstance(death, SandboxHeld):
                    raise
        if left_out := self._choose(await self._look())[1]:
            yield Printed(_LEFT_OUT.format(left_out))

    async def changed(self) -> list[Made]:
        """Files in /mnt/data that are new or changed since this was last asked, attached ones only if changed."""
        if self.place is None or not self.place.alive:
            return []
        now = await self._look()
        chosen, _ = self._choose(now)
        self._seen = now
        self._room = self._limits.disk
        return chosen

    async def _look(self) -> Seen:
        """What stands in /mnt/data; as it was when last seen, if the kernel does not let anybody look."""
        try:
            return self._seen if self.place is None else await self.place.files.look()
        except SandboxDied as death:
            await self.end(str(death))
        except OSError:
            pass
        return self._seen

    def _choose(self, now: Seen) -> tuple[list[Made], int]:
        """What is new or changed and to be kept, and how many files are not, since they are too many or too large."""
        new = [(path, found[1]) for path, found in sorted(now.items()) if self._seen.get(path) != found]
        chosen: list[Made] = []
        room = self._limits.disk
        for path, size in new[: self._limits.made]:
            if (room := room - size) < 0:
                break
            chosen.append(Made(path.rpartition("/")[2], f"{_DATA}/{path}", size))
        return chosen, len(new) - len(chosen)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """The content of a file of ``changed``. Errors: ``FileNotFoundError``, also for what is no regular file.

        It ends where all that was read since ``changed`` is more than a sandbox may hold: a file without content takes
        no room there, and may grow while it is read.
        """
        if self.place is None:
            raise FileNotFoundError(path)
        async for block in self.place.files.read(path):
            if (room := self._room) <= 0:
                return
            self._room -= len(block)
            yield block[:room]

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
        elif not await self.place.settle():
            return await self._live()
        return self.place
