"""How an operation becomes a handler: ``route()``, what a handler may ask for, what it may answer.

A handler's parameters are bound by name and type:

- ``ctx: Context`` is the caller's project;
- ``call: Call`` is the request itself, for handlers that read headers or stream a body;
- a parameter named in the path (``{thread_id}``) is that segment, checked against the id's prefix;
- ``body: SomeStruct`` is the JSON body, any other Struct is filled from the query string.

It answers with a Struct or Page (rendered as JSON), ``bytes`` (JSON already), a ``Reply`` (bytes of another
kind), an ``EventStream`` or a ``Download``. Errors are raised (``kit/errors.py``) and rendered in ``server.py`` alone.
"""

import asyncio
import contextlib
import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from everloom.context import Context
from everloom.objects.keys import KeyHash

T = TypeVar("T")

Receive = Callable[[], Awaitable[Any]]
Handler = Callable[..., Awaitable[Any]]

CURRENT_DIALECT = "assistants=v2"


class ClientGone(Exception):
    """The client closed its connection before its request was whole, or before the answer was."""


class Call:
    """One HTTP request, beyond what is bound to a handler's parameters."""

    __slots__ = (
        *(
            "_endings",
            "_receive",
            "caller",
            "client",
            "deployment",
            "dialect",
            "headers",
            "method",
            "path",
            "query",
            "raw_body",
        ),
        "server",
    )

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.server: tuple[str, int | None] | None = scope.get("server")
        """The address that the client reached: what stands where its headers do not say."""
        self.client: str = (scope.get("client") or ("",))[0]
        """The address that asks: a proxy's, where one stands before us."""
        self.deployment: str | None = scope.get("deployment")
        """The model that the path names, as Azure's do."""
        self.caller: KeyHash | None = None
        self.dialect: Dialect | None = None
        self.raw_body: bytes = b""
        """The JSON body as it came, once it has been bound."""
        self._receive = receive
        self._endings: list[Callable[[], Awaitable[None]]] = []

    def header(self, name: bytes) -> str | None:
        """A header by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in blocks, as it arrives. Raises ``ClientGone`` when it breaks off."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            if block := message.get("body", b""):
                yield block

    async def disconnected(self) -> None:
        """Return when the client has gone; meaningful once the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which is cancelled when the client leaves meanwhile (``ClientGone``).

        For work on a body that has been read.
        """
        me = asyncio.current_task()
        assert me is not None
        left = False

        async def watch() -> None:
            nonlocal left
            await self.disconnected()
            left = True
            me.cancel()

        watcher = asyncio.create_task(watch())
        try:
            return await work
        except asyncio.CancelledError:
            if not left:
                raise
            me.uncancel()
            raise ClientGone from None
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have ``close`` awaited when the request has been answered, or has failed."""
        self._endings.append(close)

    async def end(self) -> None:
        """Await what ``at_end`` was given, the last first. Called by the server, once."""
        while self._endings:
            await self._endings.pop()()


class Reply(Struct, frozen=True):
    """An answer that is all there, and no JSON: a text, subtitles."""

    body: bytes
    content_type: str


class EventStream:
    """An answer of server-sent events: blocks of ready frames, sent as they come.

    ``close`` is awaited at the end, however it comes about: end of the frames, a client that left, a shutdown.
    """

    __slots__ = ("close", "frames", "headers")

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.frames = frames
        self.close = close
        self.headers = headers or {}


class Download:
    """An answer of bytes in blocks, with the headers that describe them."""

    __slots__ = ("blocks", "headers", "status")

    def __init__(self, blocks: AsyncIterator[bytes], headers: Mapping[str, str], status: int = 200) -> None:
        self.blocks = blocks
        self.headers = headers
        self.status = status


class Route:
    """One operation: where it is reached, who may call it, and how its handler's parameters are filled."""

    __slots__ = ("access", "body", "family", "handler", "method", "name", "path", "query", "takes_call", "takes_ctx")

    def __init__(self, method: str, path: str, handler: Handler, *, family: str, access: str) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.name = handler.__name__
        self.family = family
        self.access = access
        self.body: type[Any] | None = None
        self.query: tuple[str, type[Any]] | None = None
        self.takes_ctx = self.takes_call = False
        hints = typing.get_type_hints(handler)
        for name in inspect.signature(handler).parameters:
            kind = hints[name]
            if kind is Context:
                self.takes_ctx = True
            elif kind is Call:
                self.takes_call = True
            elif name == "body":
                self.body = kind
            elif f"{{{name}}}" not in path:
                self.query = (name, kind)


class Dialect:
    """An older form of some operations, told apart by a word of the ``OpenAI-Beta`` header.

    Inside there is only the newest form. A dialect brings routes of its own (which win over the
    common ones), the bodies its requests have (``bodies``: operation -> type and a translation
    upwards), and translates answers and events downwards.
    """

    def __init__(self, name: str, *, empty_threads_run: bool = False) -> None:
        self.name = name
        self.empty_threads_run = empty_threads_run
        self.routes: list[Route] = []
        self.bodies: dict[str, tuple[type[Any], Callable[[Any], Any]]] = {}
        self.down: Callable[[Context, Any], Awaitable[Any]] = _unchanged
        self.event: Callable[[Context, str, bytes], Awaitable[tuple[str, bytes]]] = _same_event

    def route(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """As ``route()``, for this dialect alone."""
        return _register(self.routes, method, path, family="assistants", access="project")

    def translates(self, operation: str, body: type[Struct]) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        """Say that ``operation`` (a handler's name) takes ``body`` here; the function turns it into the common one."""

        def register(up: Callable[[Any], Any]) -> Callable[[Any], Any]:
            self.bodies[operation] = (body, up)
            return up

        return register


async def _unchanged(ctx: Context, value: Any) -> Any:
    return value


async def _same_event(ctx: Context, name: str, data: bytes) -> tuple[str, bytes]:
    return name, data


ROUTES: list[Route] = []
"""Every common operation, filled as the tags' modules are imported."""


def route(method: str, path: str, *, family: str = "common", access: str = "project") -> Callable[[Handler], Handler]:
    """Make a function the handler of an operation.

    ``family="assistants"`` asks for the beta header and takes part in dialects. ``access`` is
    ``project`` (a project key), ``admin`` (an admin key) or ``open`` (no key; no ``/v1`` before the path).
    """
    return _register(ROUTES, method, path, family=family, access=access)


def _register(routes: list[Route], method: str, path: str, *, family: str, access: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        routes.append(Route(method, path, handler, family=family, access=access))
        return handler

    return register
