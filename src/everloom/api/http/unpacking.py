"""Bodies that come packed, unpacked block by block: whoever counts their bytes counts those that come out."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from everloom.kit.errors import ApiError, BadRequest

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BLOCK_BYTES = 64 * 1024
"""What is unpacked at once: a thousandth of a body may be in one packed block, and others have their turn between."""

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Unpacked:
    """``receive`` for a body of this ``Content-Encoding``, which the handler reads as if it had come unpacked.

    Errors (at the first read): 415 for what is neither gzip nor deflate; 400 where it is not what it says it is.
    """

    def __init__(self, encoding: bytes, receive: Receive) -> None:
        self._encoding = encoding
        self._receive = receive
        self._packed = b""
        self._more = True
        self._ended = False
        self._unpack: Any = None

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._ended:
            return await self._receive()
        if self._encoding not in (b"gzip", b"x-gzip", b"deflate"):
            text = "Unsupported Content-Encoding. This server takes gzip and deflate."
            raise ApiError(415, text, code="unsupported_encoding", headers={"accept-encoding": "gzip, deflate"})
        while True:
            if self._more and len(self._packed) < (2 if self._unpack is None else 1):
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._packed += message.get("body", b"")
                self._more = message.get("more_body", False)
                continue
            await asyncio.sleep(0)
            block = self._next()
            if not block and not self._packed and not self._more:
                self._ended = True
                self._refuse_half()
            if block or self._ended:
                return {"type": "http.request", "body": block, "more_body": not self._ended}

    def _next(self) -> bytes:
        if self._unpack is None or (self._unpack.eof and self._packed):
            if not self._packed:
                return b""
            self._begin()
        try:
            block: bytes = self._unpack.decompress(self._packed, BLOCK_BYTES)
        except zlib.error as error:
            raise _broken() from error
        self._packed = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
        return block

    def _begin(self) -> None:
        """A new packet: the body's first, or another member of a gzip file."""
        if self._unpack is not None and self._encoding == b"deflate":
            raise _broken()
        kind = _GZIP
        if self._encoding == b"deflate":  # By the standard with zlib's frame; some leave it out.
            first, second = self._packed[0], self._packed[1] if len(self._packed) > 1 else 0
            kind = _ZLIB if first & 15 == 8 and (first * 256 + second) % 31 == 0 else _RAW
        self._unpack = zlib.decompressobj(kind)

    def _refuse_half(self) -> None:
        if self._unpack is not None and not self._unpack.eof:
            raise _broken()


def _broken() -> BadRequest:
    return BadRequest("The request's body is not what its Content-Encoding says.", code="invalid_encoding")
