"""The ASGI application: finds the route, opens the door, binds, answers. Errors are rendered here, once."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from everloom.api.http.auth import Auth
from everloom.api.http.binding import decode_body, decode_query
from everloom.api.http.front import as_ours, with_model
from everloom.api.http.metrics import observe
from everloom.api.http.paths import Paths, check_ids
from everloom.api.http.routes import CURRENT_DIALECT, Call, ClientGone, Dialect, Download, EventStream, Reply, Route
from everloom.context import Context, Ports
from everloom.kit import sse
from everloom.kit.errors import ApiError, BadRequest
from everloom.objects.base import Page

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

log = logging.getLogger(__name__)

NO_BETA = (
    "You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by setting the header "
    "'OpenAI-Beta: assistants=v2'."
)
SERVER_ERROR = (
    "The server had an error processing your request. Sorry about that! You can retry your request, or tell the "
    "operator of this server if the error persists. (Please include the request ID {id} in your report.)"
)
BODY_BLOCK_SECONDS = 60.0
"""How long a client may keep silent in the middle of a JSON body."""

_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
]
_PREFLIGHT = [
    *_CORS,
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"*, authorization"),
    (b"access-control-max-age", b"86400"),
]


class Server:
    """The application that an ASGI server runs. ``ports`` must be open before the first request."""

    def __init__(self, ports: Ports, auth: Auth, routes: Iterable[Route], dialects: Iterable[Dialect] = ()) -> None:
        self._ports = ports
        self._auth = auth
        self._paths = Paths(routes)
        self._dialects = {dialect.name: (dialect, Paths(dialect.routes)) for dialect in dialects}
        self._common = [
            *_CORS,
            (b"openai-version", b"2020-10-01"),
            (b"openai-organization", auth.slug.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"Everloom speaks HTTP, not {scope['type']}")
        started = time.perf_counter()
        scope, receive = as_ours(scope, receive)
        exchange = Exchange(send, [*self._common, (b"x-request-id", b"req_" + secrets.token_hex(16).encode())], started)
        route: Route | None = None
        call = Call(scope, receive)
        try:
            if scope["method"] == "OPTIONS":
                await exchange.whole(204, b"", _PREFLIGHT)
                return
            route, params = self._find(call)
            await self._answer(route, params, call, exchange, receive)
        except ClientGone:
            exchange.status = 499
        except ApiError as error:
            await exchange.error(error)
        except Exception:
            log.exception("%s %s failed (%s)", scope["method"], scope["path"], exchange.request_id)
            await exchange.error(
                ApiError(500, SERVER_ERROR.format(id=exchange.request_id), type="server_error"),
            )
        finally:
            await call.end()
            observe(route.name if route else "none", exchange.status, time.perf_counter() - started)

    def _find(self, call: Call) -> tuple[Route, dict[str, str]]:
        """The route of a call: a dialect's own before the common one."""
        for name in _beta_words(call.headers):
            if name == CURRENT_DIALECT:
                break
            if name in self._dialects:
                call.dialect, paths = self._dialects[name]
                if (found := paths.match(call.method, call.path)) is not None:
                    return found
                break
        else:
            found = self._paths.find(call.method, call.path)
            if found[0].family == "assistants":
                raise BadRequest(NO_BETA, code="invalid_beta")
            return found
        return self._paths.find(call.method, call.path)

    async def _answer(
        self, route: Route, params: dict[str, str], call: Call, exchange: "Exchange", receive: Receive
    ) -> None:
        context: Context | None = None
        arguments: dict[str, Any] = params
        if route.access != "open":
            call.caller = await self._auth.caller(call.headers, route.access)
            context = Context.of(self._ports, call.caller.project_id or "")
        else:
            context = Context.of(self._ports, "")
        check_ids(params)
        if route.takes_ctx:
            arguments["ctx"] = context
        if route.takes_call:
            arguments["call"] = call
        if route.query is not None:
            name, kind = route.query
            pairs = parse_qsl(call.query.decode("latin-1"), keep_blank_values=True) if call.query else ()
            arguments[name] = decode_query(pairs, kind)
        if route.body is not None:
            call.raw_body = with_model(await self._body(call, receive), call.deployment)
            arguments["body"] = _decode(route, call)
        result = await route.handler(**arguments)
        if call.dialect is not None and route.family == "assistants":
            result = await call.dialect.down(context, result)
        await exchange.answer(result, call)

    async def _body(self, call: Call, receive: Receive) -> bytes:
        limit = self._ports.limits.body_bytes
        declared = call.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        blocks: list[bytes] = []
        size = 0
        more = True
        while more:
            async with asyncio.timeout(BODY_BLOCK_SECONDS):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            block = message.get("body", b"")
            size += len(block)
            if size > limit:
                raise _too_large(limit)
            blocks.append(block)
            more = message.get("more_body", False)
        return b"".join(blocks)


class Exchange:
    """The sending half of one request."""

    __slots__ = ("_headers", "_send", "_started", "sent", "status")

    def __init__(self, send: Send, headers: Headers, started: float) -> None:
        self._send = send
        self._headers = headers
        self._started = started
        self.status = 0
        self.sent = False

    @property
    def request_id(self) -> str:
        """What the client sees in ``x-request-id``."""
        return self._headers[-1][1].decode()

    async def answer(self, result: Any, call: Call) -> None:
        """Send whatever a handler returned."""
        if isinstance(result, EventStream):
            await self._events(result, call)
        elif isinstance(result, Download):
            await self._download(result, call)
        elif isinstance(result, Page):
            await self.whole(200, result.encode(), [_JSON])
        elif isinstance(result, bytes):
            await self.whole(200, result, [_JSON])
        elif isinstance(result, Reply):
            await self.whole(200, result.body, [(b"content-type", result.content_type.encode("latin-1"))])
        else:
            await self.whole(200, _encode(result), [_JSON])

    async def error(self, error: ApiError) -> None:
        """Send an error. An answer that has begun is left without an end, which breaks its connection off."""
        if self.sent:
            log.warning("an answer broke off (%s): %s", self.request_id, error.message)
            return
        extra = [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
        await self.whole(error.status, _encode(error.envelope()), [_JSON, *extra])

    async def whole(self, status: int, body: bytes, headers: Headers) -> None:
        """Send an answer that is all there."""
        length = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
        await self._start(status, [*headers, *length])
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Headers) -> None:
        self.status = status
        self.sent = True
        elapsed = b"%d" % ((time.perf_counter() - self._started) * 1000)
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, (b"openai-processing-ms", elapsed), *self._headers],
            }
        )

    async def _events(self, stream: EventStream, call: Call) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        try:
            await self._start(200, headers + _pairs(stream.headers))
            await self._until_gone(stream.frames, call)
        except ApiError as error:
            body = sse.frame(_encode(error.envelope()), event="error")
            await self._send({"type": "http.response.body", "body": body})
        finally:
            if stream.close is not None:
                await stream.close()

    async def _until_gone(self, frames: AsyncIterator[bytes], call: Call) -> None:
        """Send frames until they end or the client leaves, whichever is first."""
        with contextlib.suppress(ClientGone):
            await call.unless_gone(self._all(frames))

    async def _all(self, frames: AsyncIterator[bytes]) -> None:
        async for frame in frames:
            await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _download(self, download: Download, call: Call) -> None:
        await self._start(download.status, _pairs(download.headers))
        await self._until_gone(download.blocks, call)


def _decode(route: Route, call: Call) -> Any:
    """The body as the handler wants it, through the dialect's own form of it where it has one."""
    if call.dialect is not None and route.name in call.dialect.bodies:
        kind, up = call.dialect.bodies[route.name]
        return up(decode_body(call.raw_body, kind))
    assert route.body is not None
    return decode_body(call.raw_body, route.body)


def _beta_words(headers: dict[bytes, bytes]) -> list[str]:
    """The assistants' words of the beta header, which may list other betas too."""
    value = headers.get(b"openai-beta")
    if value is None:
        return []
    words = value.decode("latin-1").replace(";", ",").split(",")
    return [word.strip() for word in words if word.strip().startswith("assistants=")]


def _pairs(headers: Mapping[str, str]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"Request body too large. The limit is {limit} bytes.", code="request_too_large")
