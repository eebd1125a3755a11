"""What comes for one request, for whoever reads more slowly than a kernel writes."""

import asyncio
import contextlib
from collections import deque

from everloom.sandbox.base import Output, Picture, Printed

_ROOM = 1 << 20
"""Characters and bytes that may wait; one thing larger than that waits alone."""
_APART = 16
"""Texts that wait each for itself; further ones are joined, so that many small ones cost no more than a few."""


class Inbox:
    """``get`` gives what ``put`` took. It ends when the kernel has replied and is idle, or with ``cut``."""

    def __init__(self, last_words: float) -> None:
        self._last_words = last_words
        """Seconds to wait, in all, for what a call showed, once its reply is there."""
        self._waiting: deque[list[str] | Picture] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._hurried = False
        self.left = False
        """Whether nobody takes anything any more."""
        self._closed = False
        self.replied = False
        self.idle = False
        self.lost = False
        """Whether something that was to be shown was not kept."""

    async def put(self, shown: Output) -> None:
        """Keep something; waits for room."""
        while self._size > _ROOM and not (self.left or self._closed or self._hurried):
            self._room.clear()
            await self._room.wait()
        if self.left or self._closed:
            return
        if self._size > _ROOM:
            self.lost = True
        elif isinstance(shown, Picture):
            self._waiting.append(shown)
            self._size += len(shown.png)
        else:
            last = self._waiting[-1] if len(self._waiting) >= _APART else None
            if isinstance(last, list):
                last.append(shown.text)
            else:
                self._waiting.append([shown.text])
            self._size += len(shown.text)
        self._news.set()

    async def get(self) -> Output | None:
        """The next thing; None at the end."""
        loop = asyncio.get_running_loop()
        while not self._waiting:
            if self._closed or (self.replied and self.idle):
                return None
            self._news.clear()
            since = loop.time()
            try:
                async with asyncio.timeout(self._last_words if self.replied else None):
                    await self._news.wait()
            except TimeoutError:  # The word that it is idle was lost, and perhaps more.
                self.lost = True
                return None
            if self.replied:
                self._last_words -= loop.time() - since
        first = self._waiting.popleft()
        shown = first if isinstance(first, Picture) else Printed("".join(first))
        self._size -= len(shown.png if isinstance(shown, Picture) else shown.text)
        self._room.set()
        return shown

    def end(self, *, replied: bool = False, idle: bool = False) -> None:
        """Note what the kernel said of the request's end."""
        self.replied |= replied
        self.idle |= idle
        self._news.set()

    def hurry(self) -> None:
        """Let ``put`` wait no more: what finds no room is lost."""
        self._hurried = True
        self._room.set()

    def close(self) -> None:
        """The kernel is gone: nothing more will come; what waits can still be had."""
        self._closed = True
        self._news.set()
        self._room.set()

    def leave(self) -> None:
        """Nobody takes anything any more."""
        self.left = True
        self._room.set()

    async def over(self) -> None:
        """Wait for the reply, and a moment for the kernel to be idle: before that it may refuse what comes next."""
        while not (self.replied or self._closed):
            self._news.clear()
            await self._news.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._last_words):
                while not (self.idle or self._closed):
                    self._news.clear()
                    await self._news.wait()
