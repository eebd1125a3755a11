"""What several speakers say at once, as one stream: the choices of an answer, each asked of a model by itself."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Generic, TypeVar

from everloom.kit.errors import ModelFailure

T = TypeVar("T")


class MergedStream(Generic[T]):
    """Pieces in the order in which they come. Each speaker is heard as fast as it speaks, so that a slow reader does
    not hold the model.
    """

    def __init__(self) -> None:
        self._said: asyncio.Queue[T | Exception | None] = asyncio.Queue()
        self._first: deque[T | None] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, speakers: Iterable[AsyncGenerator[T, None]], tells: Callable[[T], bool]) -> None:
        """Have them speak, and return with the first piece that ``tells`` something. Errors: theirs."""
        self._tasks = [asyncio.create_task(self._listen(speaker)) for speaker in speakers]
        try:
            while True:
                piece = await self._next()
                self._first.append(piece)
                if piece is None or tells(piece):
                    return
        except BaseException:
            await self.close()
            raise

    async def pieces(self) -> AsyncIterator[T]:
        """All that is said, from the first piece on. Errors: the speakers'."""
        speaking = len(self._tasks)
        while speaking:
            piece = self._first.popleft() if self._first else await self._next()
            if piece is None:
                speaking -= 1
            else:
                yield piece

    async def close(self) -> None:
        """Silence whoever still speaks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._said.put_nowait(ModelFailure("The answer was closed before its end."))  # for a reader that still waits

    async def _listen(self, speaker: AsyncGenerator[T, None]) -> None:
        try:
            async with aclosing(speaker):
                async for piece in speaker:
                    self._said.put_nowait(piece)
            self._said.put_nowait(None)
        except Exception as error:  # told to the reader, who raises it
            self._said.put_nowait(error)

    async def _next(self) -> T | None:
        """The next piece of any speaker; None when one of them has nothing more to say."""
        said = await self._said.get()
        if isinstance(said, Exception):
            raise said
        return said
