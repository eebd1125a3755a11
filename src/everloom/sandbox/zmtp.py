"""A client's half of ZeroMQ's wire protocol (rfc.zeromq.org/spec/23, ZMTP 3.0) over a Unix socket.

Whoever stands at the other end may mean harm, so nothing is kept that was not asked for: libzmq would gather one
message's parts without end, and can limit neither their number nor their sum.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from msgspec import Struct

_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_GREETING = _SIGNATURE + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_MORE, _LONG, _COMMAND = 1, 2, 4
_BLOCK = 1 << 16
_BUFFER = 1 << 16
"""Bytes that may wait unread in this process, or twice as many."""
_COMMANDS = 1 << 10
"""Bytes of a command; we need one, which is short."""


class ZmtpError(Exception):
    """The other end does not speak the protocol."""


Part = bytes | bytearray
"""Of a message, as it came; a long one is not copied."""


class MessageLimits(Struct, frozen=True):
    """What one message may bring."""

    bytes: int
    parts: int


class KernelConnection:
    """One connection, as a DEALER or a SUB. ``heard`` is told of bytes as they come, of those thrown away too."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: MessageLimits,
        heard: Callable[[int], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._heard = heard
        self.within = False
        """Whether a message has begun to come and has not ended."""

    @classmethod
    async def open(
        cls, path: str, kind: str, limits: MessageLimits, heard: Callable[[int], None]
    ) -> "KernelConnection":
        """Connect to a socket's path. ``kind``: ``DEALER``, or ``SUB``, which then gets everything.

        Errors: ``OSError``, ``EOFError``, ``ZmtpError``.
        """
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, path)
            reader, writer = await asyncio.open_unix_connection(sock=client, limit=_BUFFER)
        except BaseException:
            client.close()
            raise
        self = cls(reader, writer, limits, heard)
        try:
            await self._shake_hands(kind)
        except BaseException:
            self.close()
            raise
        return self

    async def send(self, parts: Sequence[Part]) -> None:
        """Send a message; waits while the other end reads nothing. Errors: ``OSError``."""
        for number, part in enumerate(parts):
            self._writer.write(_frame(part, _MORE if number < len(parts) - 1 else 0))
        await self._writer.drain()

    async def receive(self) -> list[Part] | None:
        """The parts of the next message; None for one that passes the limits, which is not kept.

        Errors: ``EOFError`` at the end, ``OSError``, ``ZmtpError``.
        """
        parts: list[Part] | None = []
        room, more = self._limits.bytes, True
        while more:
            flags, size = await self._head()
            if flags & _COMMAND:
                await self._command(size)
                continue
            more, room = bool(flags & _MORE), room - size
            self.within = True
            if parts is not None and (room < 0 or len(parts) == self._limits.parts):
                parts = None
            part = await self._body(size, keep=parts is not None)
            if parts is not None:
                parts.append(part)
        self.within = False
        return parts

    def close(self) -> None:
        """Let it go at once, whatever was still to be sent."""
        self._writer.transport.abort()

    async def _shake_hands(self, kind: str) -> None:
        self._writer.write(_GREETING)
        greeting = await self._reader.readexactly(len(_GREETING))
        if greeting[0] != _SIGNATURE[0] or greeting[10] < 3 or greeting[12:32] != _GREETING[12:32]:
            raise ZmtpError("no greeting of ZMTP 3 without security")
        ready = b"\x05READY" + _property("Socket-Type", kind.encode()) + _property("Identity", b"")
        self._writer.write(_frame(ready, _COMMAND))
        flags, size = await self._head()
        if not flags & _COMMAND or not (await self._command(size)).startswith(b"\x05READY"):
            raise ZmtpError("not ready")
        if kind == "SUB":
            self._writer.write(_frame(b"\x01", 0))
        await self._writer.drain()

    async def _head(self) -> tuple[int, int]:
        """Flags and size of the next frame."""
        flags = (await self._reader.readexactly(1))[0]
        if flags & ~(_MORE | _LONG | _COMMAND) or (flags & _COMMAND and flags & _MORE):
            raise ZmtpError("no frame")
        width = 8 if flags & _LONG else 1
        size = int.from_bytes(await self._reader.readexactly(width), "big")
        self._heard(1 + width)
        return flags, size

    async def _command(self, size: int) -> Part:
        if size > _COMMANDS:
            raise ZmtpError("a command that is too long")
        return await self._body(size, keep=True)

    async def _body(self, size: int, *, keep: bool) -> Part:
        kept = bytearray()
        while size > 0:
            block = await self._reader.read(min(size, _BLOCK))
            if not block:
                raise EOFError
            self._heard(len(block))
            size -= len(block)
            if keep:
                kept += block
        return kept if len(kept) > _BLOCK else bytes(kept)


def _frame(body: Part, flags: int) -> bytes:
    if len(body) < 256:
        return b"".join((bytes((flags, len(body))), body))
    return b"".join((bytes((flags | _LONG,)), len(body).to_bytes(8, "big"), body))


def _property(name: str, value: bytes) -> bytes:
    return bytes((len(name),)) + name.encode() + len(value).to_bytes(4, "big") + value
