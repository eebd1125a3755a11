"""How an answer is written: uvicorn's cycle of a request and its response, with fewer packets and for older clients."""

import asyncio
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from everloom.api.http.whole_answers import STREAM, WHOLE
from everloom.kit.pouring import Put

OFFERED: dict[str, dict[object, object]] = {WHOLE: {}}
"""The extensions of ASGI that these cycles know."""

_BODILESS = (204, 304)
"""Statuses whose answers have no body, nor say how long it is."""


class JoinedWrites:
    """What the cycles of a connection write to: a head that ``hold_next`` told of goes out with what follows it.

    Two writes are two calls of the system and two packets, and wake the client twice: a tenth of a short request.
    """

    __slots__ = ("_head", "_hold_next", "unheld")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.unheld = transport
        """For what is written behind a head that has gone out."""
        self._hold_next = False
        self._head = b""

    def hold_next(self) -> None:
        """Have the next write wait for the one behind it, which will come."""
        self._hold_next = True

    def write(self, data: bytes) -> None:
        if self._hold_next:
            self._hold_next, self._head = False, data
        elif self._head:
            self.unheld.writelines((self._head, data))
            self._head = b""
        else:
            self.unheld.write(data)

    def close(self) -> None:
        self.unheld.close()

    def is_closing(self) -> bool:
        return self.unheld.is_closing()


class JoiningCycle(RequestResponseCycle):
    """Sends an answer that is all there in one write; of others that tell their length, the head together with what
    comes first of the body. Blocks of a stream are written as they are put.
    """

    async def send(self, message: Any) -> None:
        if message["type"] == STREAM:
            if not self.disconnected:
                self._begin_stream(message["status"], message["lines"])
            message["outlet"].put, message["outlet"].room = self._putting(), self.flow.drain
            return
        if message["type"] == WHOLE:
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
            if not self.disconnected:
                self._send_whole(message["status"], message["lines"], message["body"])
            return
        if message["type"] == "http.response.start" and self.scope["method"] != "HEAD" and _has_length(message):
            self.transport.hold_next()  # type: ignore[attr-defined]  # It is given one that has it.
        await super().send(message)

    def _putting(self) -> Put:
        """What writes a block of the stream that has begun, and says whether another may follow at once."""
        write, flow = self.transport.unheld.write, self.flow  # type: ignore[attr-defined]  # As above.

        def put(block: bytes) -> bool:
            if block and not self.disconnected:
                write(b"%x\r\n%b\r\n" % (len(block), block))
            return not flow.write_paused

        def put_plain(block: bytes) -> bool:
            if block and not self.disconnected and self.scope["method"] != "HEAD":
                write(block)
            return not flow.write_paused

        return put if self.chunked_encoding else put_plain

    def _begin_stream(self, status: int, lines: bytes) -> None:
        """What ``send`` of uvicorn comes to, for the head of an answer that does not tell its length."""
        self._begin()
        framing = b""
        if self.chunked_encoding is None and self.scope["method"] != "HEAD":
            self.chunked_encoding, framing = True, b"transfer-encoding: chunked\r\n"
        close = b"" if self.keep_alive else b"connection: close\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], lines, close, framing, b"\r\n")))

    def _begin(self) -> None:
        if self.response_started:
            raise RuntimeError("an answer was sent behind the beginning of another")
        self.response_started, self.waiting_for_100_continue = True, False

    def _send_whole(self, status: int, lines: bytes, body: bytes) -> None:
        """What ``send`` of uvicorn comes to, for an answer's two messages, and leaves behind."""
        self._begin()
        self.chunked_encoding = None if status in _BODILESS else False
        length = b"" if status in _BODILESS else b"content-length: %d\r\n" % len(body)
        close = b"" if self.keep_alive else b"connection: close\r\n"
        if status in _BODILESS or self.scope["method"] == "HEAD":
            body = b""
        self.transport.write(b"".join((STATUS_LINE[status], lines, length, close, b"\r\n", body)))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class UnframedCycle(JoiningCycle):
    """Answers HTTP/1.0, which knows no chunks: what has no length ends with its connection."""

    _unframed = False

    async def send(self, message: Any) -> None:
        if message["type"] == STREAM or (message["type"] == "http.response.start" and not _has_length(message)):
            self._unframed, self.chunked_encoding = True, False
            self.expected_content_length = sys.maxsize
        elif self._unframed and not message.get("more_body", False):
            await super().send(message | {"more_body": True})
            self.expected_content_length = 0
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await super().send(message)


def _has_length(start: Any) -> bool:
    return any(name.lower() == b"content-length" for name, _ in start["headers"])
