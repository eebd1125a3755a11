"""From what a handler returned, or raised, to what the client receives. Errors are rendered here, once."""

import contextlib
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from everloom.api.http.routes import ClientGone, Download, EventStream, Reply, Request, Send
from everloom.api.http.steps import Next
from everloom.api.http.whole_answers import Outlet, rendered, stream_answer, whole_answer
from everloom.context.current_request import asked, tickets
from everloom.kit import sse
from everloom.kit.errors import ApiError, Unavailable
from everloom.kit.log import outage
from everloom.kit.outages import disk_is_away
from everloom.kit.pouring import Pour, each
from everloom.objects.base import Page

Headers = list[tuple[bytes, bytes]]

log = logging.getLogger(__name__)

SERVER_ERROR = (
    "The server had an error processing your request. Sorry about that! You can retry your request, or tell the "
    "operator of this server if the error persists. (Please include the request ID {id} in your report.)"
)

_numbers = random.Random()
"""Seeded by the system. Of ids of requests, which are no secrets and need not ask it each time."""

_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # or nginx keeps events back until it has some kilobytes of them
]
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
]
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"*, authorization"),
    (b"access-control-max-age", b"86400"),
]


class Responder:
    """Sends the answers of one server. ``organization`` is its name in headers."""

    def __init__(self, organization: str) -> None:
        self._common = [
            *_CORS,
            (b"openai-version", b"2020-10-01"),
            (b"openai-organization", organization.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        self._common_lines = rendered(self._common)

    async def respond(self, request: Request, next: Next) -> None:
        """The step that sends what the rest of the way brings, an answer or an error, and then clears up."""
        request.id = f"req_{_numbers.getrandbits(128):032x}"
        tickets.set([])
        asked.set([])
        try:
            if request.method == "OPTIONS":
                await self._whole(request, 204, b"", _PREFLIGHT)
            else:
                await self._answer(request, await next(request))
        except ClientGone:
            request.status = 499
        except ApiError as error:
            await self._error(request, error)
            _let_go(error)
        except Exception as error:
            await self._error(request, _fault(request, error))
            _let_go(error)
        finally:
            await request.end()

    async def _answer(self, request: Request, result: Any) -> None:
        """Send whatever a handler returned."""
        if isinstance(result, EventStream):
            await self._events(request, result)
        elif isinstance(result, Download):
            await self._download(request, result)
        elif isinstance(result, Page):
            await self._whole(request, 200, result.encode(), [_JSON])
        elif isinstance(result, bytes):
            await self._whole(request, 200, result, [_JSON])
        elif isinstance(result, Reply):
            content_type = (b"content-type", result.content_type.encode("latin-1"))
            await self._whole(request, 200, result.body, [content_type])
        else:
            await self._whole(request, 200, _encode(result), [_JSON])

    async def _error(self, request: Request, error: ApiError) -> None:
        """Send an error. An answer that has begun is left without an end, which breaks its connection off."""
        request.error = error
        if request.status:
            log.warning("an answer broke off (%s): %s", request.id, error.message)
            return
        extra = [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
        await self._whole(request, error.status, _encode(error.envelope()), [_JSON, *extra])

    async def _whole(self, request: Request, status: int, body: bytes, headers: Headers) -> None:
        """Send an answer that is all there."""
        if request.takes_whole:
            lines = self._lines(request, headers)
            request.status = status
            await request.send(whole_answer(status, lines, body))
            return
        length = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
        await self._start(request, status, [*headers, *length])
        await request.send({"type": "http.response.body", "body": body})

    def _lines(self, request: Request, headers: Headers) -> bytes:
        """The head of this answer, but for its framing."""
        own = rendered(_own(request, headers))
        return b"%b%bx-request-id: %b\r\n" % (own, self._common_lines, request.id.encode())

    async def _begin(self, request: Request, status: int, headers: Headers) -> "Outlet | _Messages":
        """Send the head of an answer that comes bit by bit; where the rest goes."""
        if not request.takes_whole:
            await self._start(request, status, headers)
            return _Messages(request.send)
        outlet, lines = Outlet(), self._lines(request, headers)
        request.status = status
        await request.send(stream_answer(status, lines, outlet))
        return outlet

    async def _start(self, request: Request, status: int, headers: Headers) -> None:
        request.status = status
        all_headers = [*_own(request, headers), *self._common, (b"x-request-id", request.id.encode())]
        await request.send({"type": "http.response.start", "status": status, "headers": all_headers})

    async def _events(self, request: Request, stream: EventStream) -> None:
        headers = [*_EVENTS]
        try:
            outlet = await self._begin(request, 200, headers + _pairs(stream.headers))
            await _until_gone(request, stream.frames, outlet)
        except (ApiError, Unavailable) as error:
            if isinstance(error, Unavailable):
                outage("a stream", error)
                error = error.answer()
            request.error = error
            body = sse.frame(_encode(error.envelope()), event="error")
            await request.send({"type": "http.response.body", "body": body})
        finally:
            if stream.close is not None:
                await stream.close()

    async def _download(self, request: Request, download: Download) -> None:
        await self._start(request, download.status, _pairs(download.headers))
        await _until_gone(request, each(download.blocks), _Messages(request.send))


def _own(request: Request, headers: Headers) -> Headers:
    """The headers of this very answer: its own, those that say what is left of its limits, and how long it took."""
    if admitted := tickets.get():
        headers = [*headers, *admitted[0].headers()]
    return [*headers, (b"openai-processing-ms", b"%d" % ((time.perf_counter() - request.started) * 1000))]


def _fault(request: Request, error: Exception) -> ApiError:
    """What is answered where the request is not to blame: 503 for what comes back by itself, else 500."""
    if disk_is_away(error):  # the disk that a form is laid on, for one
        error = Unavailable("its disk", error)
    if isinstance(error, Unavailable):
        outage(f"{request.method} {request.path}", error)
        return error.answer()
    log.error("%s %s failed (%s)", request.method, request.path, request.id, exc_info=error)
    return ApiError(500, SERVER_ERROR.format(id=request.id), type="server_error")


def _let_go(error: BaseException) -> None:
    """Part an error that has been answered from the frames it came through. Where one of them knows it by name they
    hold each other, and what stands in them (a body of megabytes) till the garbage collector comes by.
    """
    met: list[BaseException] = [error]
    for one in met:
        one.__traceback__ = None
        met += [other for other in (one.__cause__, one.__context__) if other is not None and other not in met]


class _Messages:
    """An outlet by messages of ASGI's own: a block waits for its room to be sent."""

    __slots__ = ("_block", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._block = b""

    def put(self, block: bytes) -> bool:
        self._block = block
        return False

    async def room(self) -> None:
        await self._send({"type": "http.response.body", "body": self._block, "more_body": True})


async def _until_gone(request: Request, pour: Pour, outlet: Outlet | _Messages) -> None:
    """Send blocks until they end or the client leaves, whichever is first."""
    with contextlib.suppress(ClientGone):
        await request.unless_gone(_all(request, pour, outlet))


async def _all(request: Request, pour: Pour, outlet: Outlet | _Messages) -> None:
    await pour(outlet.put, outlet.room)
    await request.send({"type": "http.response.body", "body": b""})


def _pairs(headers: Mapping[str, str]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
