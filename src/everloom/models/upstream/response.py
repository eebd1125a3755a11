"""An upstream's answer between the connection it comes by and whoever reads it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import lru_cache
from typing import Protocol

from everloom.kit.pouring import Put, Room, Seen

HELD_BYTES = 256 * 1024
"""Of an answer that nobody has taken yet; then nothing more is read until somebody does."""

_SEEN_BLOCKS = 16
_SEEN_BYTES = 1024
"""After so many blocks, or one so large, ``pour`` tells what has passed: a chunk that comes alone finds nothing of ours
in the processor's caches, and pays for each thing that is looked at.
"""


class Held(Protocol):
    """The connection that an answer holds as long as it comes."""

    loop: asyncio.AbstractEventLoop

    def resume(self) -> None:
        """Read on."""
        ...

    def abort(self) -> None:
        """Cut it."""
        ...


@lru_cache(maxsize=64)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower() or "application/octet-stream"


class Response:
    """An answer that has begun. What is not read to its end must be closed."""

    def __init__(self, status: int, headers: Mapping[str, str], connection: Held) -> None:
        self.status = status
        self.headers = headers
        """By lower-case names; the first of several that are called the same."""
        self._connection = connection
        self._waiting: list[bytes] = []
        self._size = 0
        self._fault: Exception | None = None
        self._ended = False
        self._awaited: asyncio.Future[bool] | None = None
        """Of whoever reads; whether that is because ``_put`` wants no more for now."""
        self._put: Put | None = None
        """Takes blocks at once, while there is somebody to."""
        self._seen: Seen | None = None
        self._passed: list[bytes] = []
        """What has been put, and not been told to ``_seen`` yet."""

    @property
    def content_type(self) -> str:
        """Its media type without parameters, in lower case."""
        return _media_type(self.headers.get("content-type", ""))

    @property
    def is_read(self) -> bool:
        """Whether all of it has come, and been taken."""
        return self._ended and not self._waiting

    async def blocks(self) -> AsyncGenerator[bytes]:
        """The body as it comes, as much at a time as is there. Errors: ``Silent``, ``Disconnected``."""
        while True:
            if self._waiting:
                yield self._taken()
            elif self._has_ended():
                return
            else:
                self._awaited = awaited = self._connection.loop.create_future()
                await awaited

    async def pour(self, put: Put, room: Room, seen: Seen) -> None:
        """As ``blocks``; what comes is put from where it is parsed. Errors of ``put`` and ``seen``, too."""
        if self._ended and self._waiting:  # It has come whole, as most do that are no streams.
            block = self._taken()
            is_full = not put(block)
            seen(block)
            if is_full:
                await room()
            return
        self._seen = seen
        try:
            while True:
                if self._waiting:
                    block = self._taken()
                    is_full = not put(block)
                    self._note(block)
                elif self._has_ended():
                    return
                else:
                    self._awaited = awaited = self._connection.loop.create_future()
                    self._put = put
                    is_full = await awaited
                if is_full:
                    await room()
        finally:
            passed, self._passed, self._put, self._seen = self._passed, [], None, None  # They may hold this answer.
            if passed:
                seen(b"".join(passed))

    def _note(self, block: bytes) -> None:
        self._passed.append(block)
        if len(block) > _SEEN_BYTES or len(self._passed) >= _SEEN_BLOCKS:
            self._tell()

    def _tell(self) -> None:
        passed, self._passed = self._passed, []
        if passed and self._seen is not None:
            self._seen(b"".join(passed))

    def _taken(self) -> bytes:
        """All that waits."""
        block = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        if self._size > HELD_BYTES:
            self._connection.resume()
        self._size = 0
        return block

    def _has_ended(self) -> bool:
        """Whether nothing more comes. Errors: ``Silent``, ``Disconnected``."""
        if self._fault is not None:
            raise self._fault
        return self._ended

    def close(self) -> None:
        """Cut the connection, unless the answer has come to its end."""
        if not self._ended and self._fault is None:
            self._connection.abort()

    def take(self, block: bytes) -> bool:
        """Hand a block on to whoever reads; whether that is enough for now."""
        if (put := self._put) is not None:
            try:
                if not put(block):
                    self._wake(is_full=True)
                self._note(block)
            except Exception as error:
                self._wake(error)
            return False
        self._waiting.append(block)
        self._size += len(block)
        if self._awaited is not None:
            self._wake()
        return self._size > HELD_BYTES

    def end(self, fault: Exception | None = None) -> None:
        """Have the reader told that nothing more comes, and why."""
        self._fault, self._ended = fault, fault is None
        self._wake()

    def _wake(self, error: Exception | None = None, *, is_full: bool = False) -> None:
        awaited, self._awaited, self._put = self._awaited, None, None
        if awaited is None or awaited.done():
            return
        if error is None:
            awaited.set_result(is_full)
        else:
            awaited.set_exception(error)
