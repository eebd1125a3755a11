"""One HTTP/1.1 connection to an upstream, parsed by httptools: a request, its answer, and then the next.

Everything that comes is a stranger's: heads, interim answers, the coding of a body and what comes unasked are bounded.
"""

import asyncio
import itertools
import select
from collections.abc import Callable, Mapping
from typing import cast

import httptools

from everloom.models.upstream.response import Response

HEAD_BYTES = 64 * 1024
"""Of an answer's head with all that comes before it, and of a body's coding around nothing."""

MAX_HEADERS = 256

_JOINED_BYTES = 32 * 1024
"""Up to here a body is copied behind its head, for one write of both."""


_LENIENCIES = {
    "lenient_headers": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
    "lenient_data_after_close": True,
}
"""What servers of small makes do and clients put up with: no request can be smuggled into an answer."""


class Unconnected(Exception):
    """No connection came about: nobody has heard of the request."""


class Silent(Exception):
    """Nothing has come for as long as one waits."""


class Disconnected(Exception):
    """The connection has ended, or spoken no HTTP, before the answer was whole."""


class Unheard(Disconnected):
    """The connection has ended before a byte of the answer."""


class Connection(asyncio.Protocol):
    """A connection that asks one thing at a time. ``timeout``: seconds of silence, after which it counts as hanging.

    ``when_free`` hears that another request may be sent, ``when_lost`` that none ever will.
    """

    def __init__(
        self, timeout: float, when_free: Callable[["Connection"], None], when_lost: Callable[["Connection"], None]
    ) -> None:
        self.idle_since = 0.0
        """By the loop's clock; to be set by whoever keeps it."""
        self._timeout = timeout
        self._when_free = when_free
        self._when_lost = when_lost
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = select.poll()
        """Tells what has come and has not been looked at yet."""
        self._begun: asyncio.Future[Response] | None = None
        """Of the request that is under way, as long as its answer has not begun."""
        self._response: Response | None = None
        self._blocks: list[bytes] = []
        self.on_body = self._blocks.append  # A call of Python's less for each chunk of a body.
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_LENIENCIES)
        self._headers: dict[str, str] = {}
        self._fault: Exception | None = None
        """What a callback of the parser found, which can but stop it."""
        self._head_bytes = self._quiet = 0
        """Of headers since the request was sent, and of whatever brought no body."""
        self._in_body = self._framed = self._complete = self._keeps = False
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._unsent = 0

    @property
    def is_usable(self) -> bool:
        """Whether a request may be sent.

        Not where something has come that nobody asked for, though the loop has not handed it over yet: it may be the
        end of the connection, or what would be taken for the answer.
        """
        if self._begun is not None or self._response is not None:
            return False
        if self._transport is None or self._transport.is_closing():
            return False
        return not self._unread.poll(0)

    async def ask(self, head: bytes, body: bytes) -> Response:
        """Send a request; its answer, once that has begun. Errors: ``Silent``, ``Disconnected``."""
        if self._transport is None:
            raise Unheard("it closed the connection")
        begun: asyncio.Future[Response] = self.loop.create_future()
        self._begun = begun
        self._head_bytes = self._quiet = 0
        self._in_body = self._framed = self._complete = self._keeps = False
        self._headers = {}
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        self._heard = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self._timeout, self._look)
        try:
            return await begun
        except (asyncio.CancelledError, GeneratorExit):
            self._give_up(begun)
            raise

    def abort(self) -> None:
        """Cut it, which is how the other side learns to stop."""
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, begun: "asyncio.Future[Response]") -> None:
        """Nobody waits for this answer any more. One that has come whole by now has left its connection to others."""
        if not begun.done() or begun.cancelled():
            self.abort()
        elif begun.exception() is None:
            begun.result().close()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused, self._heard = False, self.loop.time()
            self._transport.resume_reading()

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._response is None and self._begun is None:
            self.abort()  # Whatever this is, nobody has asked for it.
            return
        self._heard = self.loop.time()
        self._quiet += len(data)  # Until something comes of it.
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fault = self._fault or Disconnected(f"it speaks no HTTP: {error}")
        if self._blocks and self._response is not None:
            self._quiet = 0
            block = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
            self._blocks.clear()
            if self._response.take(block) and not self._complete and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        elif self._quiet > HEAD_BYTES and self._fault is None:
            self._fault = Disconnected(f"more than {HEAD_BYTES} bytes of it are no answer")
        if self._complete:
            self._keeps = self._keeps and self._fault is None  # What stands behind the answer is not of it.
            self._finish()
        elif self._fault is not None:
            self._fail(self._fault)

    def eof_received(self) -> None:
        """An answer that says nothing of its length ends so."""
        if self._response is not None and not self._framed:
            self._keeps = False
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        ended = Disconnected if self._begun is None or self._quiet else Unheard
        self._fail(ended(repr(exc) if exc is not None else "it closed the connection"))
        if self._timer is not None:
            self._timer.cancel()
        self._when_lost(self)

    def _finish(self) -> None:
        response, self._response = self._response, None
        assert response is not None
        if self._transport is not None:
            if self._transport.get_write_buffer_size():
                self._transport.abort()  # It has answered without hearing us out, and may take the rest for a request.
            elif self._keeps:
                self._when_free(self)
            else:
                self._transport.close()
        response.end()

    def _fail(self, fault: Exception) -> None:
        begun, self._begun = self._begun, None
        response, self._response = self._response, None
        if begun is not None and not begun.done():
            begun.set_exception(fault)
        if response is not None:
            response.end(fault)
        self.abort()

    def _look(self) -> None:
        """See whether the other side has been silent for too long; a timer a connection is enough for that."""
        self._timer = None
        if self._begun is None and self._response is None:
            return
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if self._paused or unsent != self._unsent:
            self._heard, self._unsent = self.loop.time(), unsent
        left = self._heard + self._timeout - self.loop.time()
        if left <= 0:
            self._fail(Silent())
        else:
            self._timer = self.loop.call_later(left, self._look)

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        if self._complete:
            self._stop("something stands behind its answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > HEAD_BYTES or len(self._headers) >= MAX_HEADERS:
            self._stop("its headers are too long")
        if self._in_body:
            return  # A trailer: nobody asks for any.
        key = name.decode("latin-1").strip().lower()
        if key not in self._headers:
            self._headers[key] = value.decode("latin-1").strip()
        if key == "content-length" or (key == "transfer-encoding" and b"chunked" in value.lower()):
            self._framed = True  # Also where the parser sees no chunks: what stands there is no body then.

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101 or status < 100:
                self._stop("it changed to another protocol" if status == 101 else f"{status} is no status")
            self._headers, self._framed = {}, False
            return
        self._in_body = True
        begun, self._begun = self._begun, None
        self._response = Response(status, self._headers, self)
        self._framed = self._framed or status in (204, 304)
        if begun is not None and not begun.done():
            begun.set_result(self._response)

    def on_message_complete(self) -> None:
        if self._in_body:
            self._complete = True
            self._keeps = self._parser.should_keep_alive()
        elif not self._parser.should_keep_alive():
            self._stop("it took leave before its answer")  # The parser would pass over all that comes behind.

    def _stop(self, why: str) -> None:
        self._fault = Disconnected(why)
        raise ValueError(why)  # The parser stops at any error and says that there was one.


def lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent. ``ValueError`` for one with an end of line in it."""
    if any(character in text for text in itertools.chain(*headers.items()) for character in "\r\n\0"):
        raise ValueError("a header has no line ends")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
