"""One connection, as uvicorn and httptools speak it, bounded in everything that a stranger may send or leave out.

uvicorn's own class takes heads of any length (httptools joins a long header piece by piece, which is quadratic), waits
for them for ever, queues any number of pipelined requests, and takes a client that has closed its sending half
for gone. What is bounded here costs an honest request a few additions; time is looked at once a second.
"""

import asyncio
import contextlib
import logging
import socket
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from everloom.api.http.metrics import observe
from everloom.cli.connection_limits import (
    CYCLE_BYTES,
    DISCARDED_BYTES,
    HEAD_BYTES,
    HEADER_BYTES,
    IDLE_FRAMING,
    LINGER_SECONDS,
    MAX_HEADERS,
    MAX_PIPELINED,
    PROBE_SECONDS,
    SLICE_BYTES,
    Entrance,
    Flow,
    Patience,
    Unread,
    client_address,
    socket_of,
)
from everloom.cli.cycles import OFFERED, JoinedWrites, JoiningCycle, UnframedCycle
from everloom.cli.gone import Gone
from everloom.cli.refusals import encoded, headers_too_long, timed_out, too_long, url_too_long
from everloom.kit.errors import ApiError, BadRequest

_NOTHING, _HEAD, _BODY = range(3)
"""Where in a request a connection's bytes are: before it, in its head, in its body."""

log = logging.getLogger(__name__)


class HttpConnection(HttpToolsProtocol):
    """A client's connection. ``entrance`` is shared by all of a server's."""

    def __init__(self, entrance: Entrance, **given: Any) -> None:
        super().__init__(**given)
        self._entrance = entrance
        self._address = ""
        self._place = _NOTHING
        self._quiet = 0
        """Bytes since anything came of them: a head, or a piece of a body."""
        self._header_at = 0
        """How many of them had come when the last header was whole."""
        self._head_bytes = 0
        """Of its URL and its whole headers; then, of its trailers."""
        self._fault: ApiError | None = None
        """What a callback of the parser found, which can but stop it."""
        self._held = bytearray()
        """Bytes behind those that have been parsed; nothing is read while there are some."""
        self._deaf = False
        """Nothing that comes is a request any more."""
        self.half_closed = False
        """The client has said all it will say, and waits for an answer; or has left."""
        self._resting = False
        """It has had answers, and asks for nothing now."""
        self._received = self._discarded = self._counted = 0
        self._age = 0.0
        self._body_patience = Patience(entrance.limits.idle_seconds, entrance.limits.least_rate)
        self._answer = Unread(entrance.limits)
        self._body_bytes = self._body_seen = 0
        """Of the body that comes now, and what of it had come when it was looked at."""
        self._probe_age, self._probe_after = 0.0, PROBE_SECONDS

    def _has_enough(self) -> bool:
        """Whether nothing is to be read now."""
        return bool(self._held) or self.half_closed

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow = Flow(transport, self._has_enough)
        self._gone = Gone(self.flow)
        self._writes = JoinedWrites(transport)
        self._address = client_address(self.client)
        descriptor = socket_of(transport).fileno()
        refusal = self._entrance.enter(self._address, descriptor)
        if refusal is None:
            return
        if self._entrance.exhausted(descriptor):
            transport.abort()
        else:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone.tell()
        self._entrance.leave(self._address)
        self._entrance.half_closed.discard(self)
        self._count(0)
        self._held.clear()
        self.pipeline.clear()

    def resume_writing(self) -> None:
        self._answer.resumed = True
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discarded += len(data)
            if self._discarded > DISCARDED_BYTES:
                self.transport.abort()
        elif self._held or self.pipeline:
            self._hold(data)
        else:
            self._resting = False
            self._received += len(data)
            if len(data) > SLICE_BYTES:
                self._feed_slices(data)
            else:
                self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes always
        """Go on answering requests that came whole; but HTTP/1.0, as nginx by default speaks it, cannot be probed."""
        if (self.scope["http_version"] == "1.0") if self._answering else self._deaf:
            return False
        if not (self._held or self.pipeline or (self._answering and self._place != _BODY)):
            return False
        self.half_closed = True
        self._entrance.half_closed.add(self)
        self._probe()
        return True

    # --- parsing ---

    def _feed_slices(self, data: bytes) -> None:
        """Parse as long as what comes of it is used, and hold the rest."""
        view = memoryview(data)
        start = 0
        while start < len(view) and not self._deaf and not self.transport.is_closing():
            crumbs = self._place == _BODY and self._is_chunked()
            step = SLICE_BYTES if self._place != _BODY or crumbs else max(self._body_left(), SLICE_BYTES)
            self._feed(view[start : start + step])
            start += step
            if start < len(view) and (self.pipeline or (crumbs and not self._deaf)):
                self._hold(bytes(view[start:]))
                if not self.pipeline:
                    self.loop.call_soon(self._go_on)
                return

    def _hold(self, data: bytes) -> None:
        self._held += data
        self.flow.pause_reading()
        if not self._count(len(self._held)):
            self._stop_listening()

    def _go_on(self) -> None:
        """Parse what was held, once there is room for what comes of it."""
        if self.transport.is_closing() or self.pipeline or self._deaf or not self._held:
            return
        self._resting = False
        data = bytes(self._held)
        self._held.clear()
        self._count(0)
        self._received += len(data)
        self._feed_slices(data)
        if not self._held and not self.pipeline and (not self._answering or len(self.cycle.body) <= HIGH_WATER_LIMIT):
            self.flow.resume_reading()
        if self.half_closed and not self._held and (self._place == _BODY or not self._answering):
            self.transport.close()

    def _feed(self, data: bytes | memoryview) -> None:
        self._quiet += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(bytes(data)[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            log.debug("no HTTP: %r", error)
            self._refuse(self._fault or BadRequest("Could not parse the HTTP request.", code="invalid_http_request"))
            return
        if self._place == _HEAD:
            if self._quiet > HEAD_BYTES or self._quiet - self._header_at > HEADER_BYTES + SLICE_BYTES:
                self._refuse(headers_too_long())
            elif not self._count(self._quiet):
                self._refuse(ApiError(503, "This server is busy.", type="server_error", headers={"retry-after": "2"}))
        elif self._quiet > IDLE_FRAMING:
            self._refuse(too_long("The coding of the request's body"))

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """Take a request that offers another protocol (Java's client, HTTP/2) as if it had not.

        The parser would have it that no body belongs to it, so it is given the head again without the offer.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(ApiError(405, "This server is no proxy.", code="method_not_supported"))
            return
        kept = [b"%s: %s\r\n" % header for header in self.headers if header[0] not in (b"upgrade", b"http2-settings")]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # As uvicorn's own.
        self._quiet = 0
        self._feed(b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, self.url, b"".join(kept), rest))

    def _count(self, held: int) -> bool:
        """Have so many bytes of this connection's stand in the count of all."""
        more, self._counted = held - self._counted, held
        return not more or self._entrance.hold(more) or more < 0

    def _body_left(self) -> int:
        declared = next((value for name, value in self.headers if name == b"content-length"), b"0")
        return int(declared) - self._body_bytes  # The parser has seen that it is a number.

    def _is_chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.headers)

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not (self.access_log or self.server_state.default_headers):  # Both are for uvicorn's own way to write.
            self.scope["extensions"] = OFFERED
        self._place = _HEAD
        self._quiet = self._header_at = self._head_bytes = 0
        self._age = 0.0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > HEADER_BYTES:
            self._stop_parsing(url_too_long())

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name) + len(value) + 4
        self._head_bytes += size
        if self._place == _BODY:  # A trailer: nobody asks for any.
            if self._head_bytes > HEADER_BYTES:
                self._stop_parsing(headers_too_long())
            return
        if size > HEADER_BYTES or self._head_bytes > HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self._stop_parsing(headers_too_long())
        self._header_at = self._quiet
        # As uvicorn's own, which would be a call more for each header of each request.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop_parsing(too_long("The queue of requests on this connection"))
        super().on_headers_complete()
        self._place = _BODY
        self._quiet = self._head_bytes = self._body_bytes = self._body_seen = 0
        self._age = 0.0
        self._body_patience.renew()
        if self._counted or self.pipeline:
            self._count(len(self.pipeline) * CYCLE_BYTES)
        self._gone.offer(self.scope)  # type: ignore[arg-type]  # with a word of ours beside ASGI's
        # uvicorn names its class in the middle of what it does here.
        self.cycle.__class__ = UnframedCycle if self.scope["http_version"] == "1.0" else JoiningCycle
        self.cycle.transport = self._writes  # type: ignore[assignment]  # it has all that a cycle asks for

    def on_body(self, body: bytes) -> None:
        self._quiet = 0
        self._body_bytes += len(body)
        self._entrance.bodies.add(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._place = _NOTHING
        self._quiet = 0
        self._resting = not self._answering
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request, or rest. uvicorn sets a timer for that, which costs a twentieth of a short request;
        ``look`` comes by anyway.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._resting, self._age = not self.pipeline, 0.0
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        if self._counted:
            self._count(len(self._held) + len(self.pipeline) * CYCLE_BYTES)
        if self._held and not self.pipeline:
            self.loop.call_soon(self._go_on)
        elif self.half_closed and not self._held and not self._answering:
            self.transport.close()

    def _stop_parsing(self, fault: ApiError) -> None:
        self._fault = fault
        raise ValueError(fault.message)  # The parser stops at any error and says that there was one.

    # --- refusing ---

    def _refuse(self, error: ApiError) -> None:
        """Answer what cannot be served, and close; behind the answers to requests that came before it."""
        self._stop_listening()
        if self.transport.is_closing():
            return
        if self._place == _BODY and (self.pipeline or not self._answering or self.cycle.response_started):
            self.transport.close()
            return
        if self._answering:
            if self._place != _BODY:
                return  # The last of those requests closes.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        observe("none", error.status, self._age)
        self.transport.write(encoded(error))
        self._age = 0.0
        with contextlib.suppress(OSError, RuntimeError):
            self.transport.write_eof()

    def _stop_listening(self) -> None:
        self._deaf = True
        self._held.clear()
        self._count(0)
        if self._answering:
            self.cycle.keep_alive = False
        self.flow.resume_reading()

    # --- time ---

    def look(self, seconds: float) -> None:
        """Once a second: end the connection where its client has been too slow for too long."""
        if not self._answer.is_read(seconds, self.transport, self.flow):
            self.transport.abort()
            return
        if self.transport.is_closing():
            return
        if self._deaf:
            if not self._answering:
                self._age += seconds
                if self._age > LINGER_SECONDS:
                    self.transport.abort()
        elif self._place == _BODY:
            self._look_at_body(seconds)
        elif not self._answering:
            self._age += seconds
            limits = self._entrance.limits
            if self._age > (limits.rest_seconds if self._resting else limits.head_seconds):
                if self._resting or self._received == 0:
                    self.transport.close()
                else:
                    self._refuse(timed_out("the request"))

    def _look_at_body(self, seconds: float) -> None:
        moved, self._body_seen = self._body_bytes - self._body_seen, self._body_bytes
        if not self._answering and self._is_chunked():
            self._age += seconds  # It has its answer; crumbs that nobody wants are not parsed for long.
            if self._age > LINGER_SECONDS:
                self.transport.close()
        waits_for_us = self.flow.read_paused and not self.half_closed
        waits_for_us = waits_for_us or (self._answering and self.cycle.waiting_for_100_continue)
        if not waits_for_us and not self._body_patience.spend(seconds, moved):
            self._refuse(timed_out("the rest of the request"))

    # --- a client that has closed its sending half, or has left: both send the same ---

    def look_whether_gone(self, seconds: float) -> None:
        """Some times a second while the client is half closed: a client that left has reset what was sent to it."""
        if self.transport.is_closing():
            return
        if socket_of(self.transport).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
            return
        self._probe_age += seconds
        if self._probe_age > self._probe_after:
            self._probe_after *= 2  # Readers of chunks take a handful of zeros, not hundreds.
            self._probe()

    def _probe(self) -> None:
        """Send something that no program sees, for who has left to reset: an interim answer, or a zero before the
        length of the next chunk."""
        self._probe_age = 0.0
        if self.pipeline or not self._answering or self.flow.write_paused or self.scope["http_version"] != "1.1":
            return
        if not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif self.cycle.chunked_encoding and self.scope["method"] != "HEAD":
            self.transport.write(b"0")
