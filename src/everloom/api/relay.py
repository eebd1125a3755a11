"""A model's answer on its way to the client: read whole, or streamed in the blocks in which it comes."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from everloom.kit import sse
from everloom.kit.errors import ApiError
from everloom.objects.base import encode


class Relayed(Protocol):
    """What is asked of an answer here (``work.inference.Metered`` is one)."""

    def blocks(self) -> AsyncIterator[bytes]: ...

    async def whole(self) -> bytes: ...

    async def close(self) -> None: ...


async def read_whole(asked: Coroutine[Any, Any, Relayed]) -> bytes:
    """The body of the answer that ``asked`` brings, which is closed in any case."""
    answer = await asked
    try:
        return await answer.whole()
    finally:
        await answer.close()


async def frames(answer: Relayed) -> AsyncIterator[bytes]:
    """The stream as it comes, cut at line ends only, so that a failure in the middle can be told as an event."""
    rest = b""
    try:
        async for block in answer.blocks():
            if block.endswith(b"\n"):
                yield rest + block
                rest = b""
                continue
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                yield whole + newline
        if rest:
            yield rest + b"\n\n"
    except ApiError as error:
        yield b"\n" + sse.frame(encode(error.envelope()))
