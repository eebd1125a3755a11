"""What comes in blocks and cannot pour by itself, poured all the same."""

import asyncio
from collections.abc import AsyncIterator

from everloom.kit.pouring import each, joined, pour


class Source:
    async def blocks(self) -> AsyncIterator[bytes]:
        for block in (b"a", b"bc", b"", b"d"):
            yield block


def test_room_is_awaited_behind_each_block_that_fills_it() -> None:
    told: list[bytes] = []

    def put(block: bytes) -> bool:
        told.append(block)
        return len(block) != 1

    async def room() -> None:
        told.append(b"room")

    async def main() -> None:
        await pour(Source(), put, room, lambda block: told.append(b"seen " + block))
        assert told == [b"a", b"seen a", b"room", b"bc", b"seen bc", b"", b"seen ", b"d", b"seen d", b"room"]
        told.clear()
        await each(Source().blocks())(put, room)
        assert told == [b"a", b"room", b"bc", b"", b"d", b"room"]
        assert await joined(Source()) == b"abcd"

    asyncio.run(main())
