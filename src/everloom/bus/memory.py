"""A bus for one process: everybody who waits lives on one event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryWatch:
    """A waiter on one topic of one loop (the port's ``Watch``)."""

    __slots__ = ("_called", "_waiting")

    def __init__(self) -> None:
        self._called = False
        self._waiting: set[asyncio.Future[bool]] = set()

    def call(self) -> None:
        """Let the present wait, or else the next one, return."""
        self._called = True
        for waiting in self._waiting:
            _settle(waiting, True)

    async def wait(self, timeout: float) -> bool:
        """Wait for a call, ``timeout`` seconds at most; whether one came."""
        # By a future and a timer of its own: a stream waits for each of its batches.
        came = self._called
        if not came:
            loop = asyncio.get_running_loop()
            waiting = loop.create_future()
            self._waiting.add(waiting)
            timer = loop.call_later(timeout, _settle, waiting, False)
            try:
                came = await waiting
            finally:
                timer.cancel()
                self._waiting.discard(waiting)
        if came:
            self._called = False
        return came


def _settle(waiting: "asyncio.Future[bool]", came: bool) -> None:
    if not waiting.done():
        waiting.set_result(came)


class MemoryBus:
    """The port's ``Bus`` without a network; ``open`` it on the loop that waits."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: dict[str, set[MemoryWatch]] = {}

    async def open(self) -> None:
        """Take the running loop as the one that waits."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """From here on ``wake`` does nothing."""
        self._loop = None

    def wake(self, topic: str) -> None:
        """Wake the watchers of ``topic``; may be called from any thread. Does nothing on a closed bus."""
        loop = self._loop
        if loop is None:
            return
        if _running_loop() is loop:
            self._call(topic)
        else:
            loop.call_soon_threadsafe(self._call, topic)

    def wake_all(self) -> None:
        """Wake every watcher, since calls may have been missed; on the bus's own loop only."""
        for topic in self._watches:
            self._call(topic)

    @contextmanager
    def watch(self, topic: str) -> Iterator[MemoryWatch]:
        """Watch from the moment the context is entered."""
        watch = MemoryWatch()
        watches = self._watches.setdefault(topic, set())
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if not watches and self._watches.get(topic) is watches:
                del self._watches[topic]

    def _call(self, topic: str) -> None:
        for watch in self._watches.get(topic, ()):
            watch.call()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
