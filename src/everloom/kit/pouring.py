"""Blocks of bytes on their way from whoever has them to whoever takes them, without a task that is woken for each.

To pour is to call ``put`` with each block as it comes. ``put`` never waits: it says whether another block may follow at
once, and where none may, ``room`` is awaited before the next. Who only wants to know what has passed is told by
``seen``, of some of it at a time and not before it has been put; of all at the end, however that comes about.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Protocol

Put = Callable[[bytes], bool]
Room = Callable[[], Awaitable[None]]
Seen = Callable[[bytes], None]
Pour = Callable[[Put, Room], Awaitable[None]]


class Blocks(Protocol):
    """What comes in blocks. What can pour by itself has ``pour``, too, with the parameters of the function here."""

    def blocks(self) -> AsyncIterator[bytes]: ...


def _unseen(block: bytes) -> None:
    pass


def pour(source: Blocks, put: Put, room: Room, seen: Seen = _unseen) -> Awaitable[None]:
    """Pour what comes, to its end. Errors: those of ``source``, ``put`` and ``seen``."""
    own: Callable[[Put, Room, Seen], Awaitable[None]] | None = getattr(source, "pour", None)
    return _pour_each(source.blocks(), seen, put, room) if own is None else own(put, room, seen)


def each(blocks: AsyncIterable[bytes]) -> Pour:
    """Pours what is iterated over."""
    return partial(_pour_each, blocks, _unseen)


async def joined(source: Blocks) -> bytes:
    """All that comes."""
    blocks: list[bytes] = []

    def put(block: bytes) -> bool:
        blocks.append(block)
        return True

    await pour(source, put, _no_wait)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


async def _pour_each(blocks: AsyncIterable[bytes], seen: Seen, put: Put, room: Room) -> None:
    async for block in blocks:
        is_full = not put(block)
        seen(block)
        if is_full:
            await room()


async def _no_wait() -> None:
    pass
