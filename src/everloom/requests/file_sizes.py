"""How many bytes a file of a request may have, wherever they come from."""

from collections.abc import AsyncIterable, AsyncIterator

from everloom.kit.errors import ApiError


async def at_most(limit: int, blocks: AsyncIterable[bytes], param: str) -> AsyncIterator[bytes]:
    """The blocks, as long as they are no more than ``limit`` bytes together. Errors: 413."""
    size = 0
    async for block in blocks:
        size += len(block)
        if size > limit:
            raise too_large(limit, size, param)
        yield block


def too_large(limit: int, size: int, param: str) -> ApiError:
    """The refusal of more bytes than there may be, of which ``size`` have been seen."""
    text = f"Maximum content size limit ({limit}) exceeded ({size} bytes read)"
    return ApiError(413, text, param=param, code="file_too_large")
