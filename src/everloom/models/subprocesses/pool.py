"""Child processes of one kind: started at need, each at one task at a time, kept for the next one, ended when idle."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import Any, Generic, Protocol, TypeVar


class Pooled(Protocol):
    """A child as a pool sees it."""

    @property
    def pid(self) -> int | None: ...

    async def end(self, *, at_once: bool = False) -> None: ...


Child = TypeVar("Child", bound=Pooled)


class PoolFull(Exception):
    """So many wait already that one's turn would be too long in coming."""


class ChildPool(Generic[Child]):
    """Up to ``most`` children, each made by ``make`` and started by whoever takes it.

    ``longest_queue``: how many may wait for one; None for any number. ``room``: what is held while a child is at work,
    by a model that shares the machine's memory with others. ``idle_s``: how long children are kept that nobody uses;
    None: until ``unload``.
    """

    def __init__(
        self,
        make: Callable[[], Child],
        *,
        most: int,
        longest_queue: int | None = None,
        room: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
        idle_s: float | None = None,
    ) -> None:
        self._make = make
        self._longest_queue = longest_queue
        self._room = room
        self._idle_s = idle_s
        self._free = asyncio.Semaphore(most)
        self._waiting = 0
        self._idle: list[Child] = []
        self._busy: dict[Child, AsyncExitStack] = {}
        """What is given back with each."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None

    @property
    def pids(self) -> list[int]:
        """The processes there are."""
        return [child.pid for child in (*self._idle, *self._busy) if child.pid is not None]

    async def take(self) -> Child:
        """A child for oneself, when one's turn has come; to be given to ``put_back``. Errors: ``PoolFull``."""
        if self._longest_queue is not None and self._waiting >= self._longest_queue:
            raise PoolFull
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        held = AsyncExitStack()
        try:
            await held.enter_async_context(self._room())
        except BaseException:
            self._free.release()
            raise
        living = [child for child in self._idle if child.pid is not None]
        child = living[-1] if living else self._make()
        self._idle = living[:-1]
        self._busy[child] = held
        return child

    async def put_back(self, child: Child, *, fit: bool = True) -> None:
        """Free a child for the next one; one that is not ``fit`` is ended."""
        try:
            if not fit:
                await child.end(at_once=True)
        finally:
            held = self._busy.pop(child)
            if fit and child.pid is not None:
                self._idle.append(child)
            self._free.release()
            await held.aclose()
        if self._reaper is not None:
            self._reaper.cancel()
        if self._idle_s is not None:
            loop = asyncio.get_running_loop()
            self._reaper = loop.call_later(self._idle_s, lambda: self.later(self.unload()))

    async def unload(self) -> None:
        """End the children that nobody uses."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(child.end() for child in idle))

    async def close(self) -> None:
        """End every child; what they were at fails."""
        if self._reaper is not None:
            self._reaper.cancel()
        await self.unload()
        await asyncio.gather(*(child.end() for child in self._busy))
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.unload()

    def later(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Beside a request, which may have been cancelled and waits for nothing any more. ``close`` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
