"""How an operation becomes a handler: ``Routes``, what a handler may ask for, what it may answer.

A tag's module has one table of its own and fills it beside its handlers::

    routes = Routes(permission="threads", api_family="assistants", ids={"thread_id": Thread})

    @routes.get("/threads/{thread_id}")
    async def get_thread(ctx: Context, thread_id: str) -> Thread: ...

A handler's parameters are bound by name and type:

- ``ctx: Context`` is the caller's project;
- a parameter of type ``Request`` is the request itself, for handlers that read headers or stream a body;
- a parameter named in the path (``{thread_id}``) is that segment, checked against the prefix of its noun's ids;
- ``body: SomeStruct`` is the JSON body, ``body: bytes`` the same unread, for what ``requests/`` reads;
- any other Struct is filled from the query string.

It answers with a Struct or Page (rendered as JSON), ``bytes`` (JSON already), a ``Reply`` (bytes of another kind), an
``EventStream`` or a ``Download``. Errors are raised (``kit/errors.py``) and rendered in ``responder.py`` alone.
"""

import asyncio
import contextlib
import inspect
import time
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, MutableMapping
from typing import Any, Literal, TypeVar

from msgspec import Struct

from everloom.api.http.whole_answers import WHOLE
from everloom.context import Context, Ports
from everloom.context.caller import Caller
from everloom.kit.errors import ApiError
from everloom.kit.pouring import Pour
from everloom.objects.base import Object
from everloom.objects.keys import Access, PermissionGroup
from everloom.store.kinds import KINDS

T = TypeVar("T")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
H = TypeVar("H", bound=Callable[..., Awaitable[Any]])

ApiFamily = Literal["common", "assistants"]
"""The assistants family asks for the beta header and takes part in dialects."""

WHEN_GONE = "everloom.when_gone"
"""Of a scope: a function to which one gives what is to be called once, when the client has left, or None. A task that
asks ``receive`` for it costs a tenth of a request that is passed through.
"""

CURRENT_DIALECT = "assistants=v2"


class ClientGone(Exception):
    """The client closed its connection before its request was whole, or before the answer was."""


class Request:
    """One HTTP request, on its way through the steps (``steps.py``) to its handler and back."""

    __slots__ = (
        *("_endings", "_receive", "_when_gone", "arguments", "caller", "client", "context", "deployment", "dialect"),
        *("error", "headers", "id", "method", "path", "ports", "query", "raw_body", "route", "send", "server"),
        *("started", "status", "takes_whole"),
    )

    context: Context
    """The caller's project, once it is known who calls."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, ports: Ports) -> None:
        self.started = time.perf_counter()
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
        self._when_gone: Callable[[Callable[[], object] | None], None] | None = scope.get(WHEN_GONE)
        self.ports = ports
        self.route: Route | None = None
        self.arguments: dict[str, Any] = {}
        """What the handler will be called with: the path's ids at first, then what is bound."""
        self.caller: Caller | None = None
        self.dialect: Dialect | None = None
        self.raw_body: bytes = b""
        """The JSON body as it came, once it has been bound."""
        self.id = ""
        """What the client sees in ``x-request-id``."""
        self.status = 0
        """Of the answer, once that has begun; 499 where the client left before."""
        self.error: ApiError | None = None
        """What it was answered with, or broke off with, where that was an error."""
        self.send = send
        self.takes_whole = WHOLE in scope.get("extensions", ())
        """Whether ``send`` takes an answer as one message (``whole_answers.py``)."""
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

    async def read(self, limit: int) -> bytes:
        """The body, whole. Errors: 413 past ``limit`` bytes, ``ClientGone``."""
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        blocks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            block = message.get("body", b"")
            size += len(block)
            if size > limit:
                raise _too_large(limit)
            blocks.append(block)
            more = message.get("more_body", False)
        return b"".join(blocks)

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

        def leave() -> None:
            nonlocal left
            left = True
            me.cancel()

        async with self._watched(leave):
            try:
                return await work
            except asyncio.CancelledError:
                if not left:
                    raise
                me.uncancel()
                raise ClientGone from None

    def _watched(self, leave: Callable[[], None]) -> "_Watch | _WatchByTask":
        """Have ``leave`` called when the client goes while the block runs."""
        return _WatchByTask(self, leave) if self._when_gone is None else _Watch(self._when_gone, leave)

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have ``close`` awaited when the request has been answered, or has failed."""
        self._endings.append(close)

    async def end(self) -> None:
        """Await what ``at_end`` was given, the last first. Called by the server, once."""
        while self._endings:
            await self._endings.pop()()
        self.arguments = {}  # It may be one of them, and would keep its body till the garbage collector comes by.


class _Watch:
    """By the server's word (``WHEN_GONE``)."""

    __slots__ = ("_leave", "_when_gone")

    def __init__(self, when_gone: Callable[[Callable[[], object] | None], None], leave: Callable[[], None]) -> None:
        self._when_gone = when_gone
        self._leave = leave

    async def __aenter__(self) -> None:
        self._when_gone(self._leave)

    async def __aexit__(self, *_: object) -> None:
        self._when_gone(None)


class _WatchByTask:
    """By asking an ASGI server that tells nothing of itself, in a task of its own."""

    __slots__ = ("_leave", "_request", "_task")

    def __init__(self, request: Request, leave: Callable[[], None]) -> None:
        self._request = request
        self._leave = leave

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        await self._request.disconnected()
        self._leave()


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"Request body too large. The limit is {limit} bytes.", code="request_too_large")


class Reply(Struct, frozen=True):
    """An answer that is all there, and no JSON: a text, subtitles."""

    body: bytes
    content_type: str


class EventStream:
    """An answer of server-sent events: blocks of ready frames, poured as they come.

    ``close`` is awaited at the end, however it comes about: end of the frames, a client that left, a shutdown.
    """

    __slots__ = ("close", "frames", "headers")

    def __init__(
        self,
        frames: Pour,
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

    __slots__ = (
        *("access", "api_family", "body", "handler", "method", "name", "nouns", "path", "prefixes", "query"),
        *("scope", "takes_ctx", "takes_request"),
    )

    def __init__(
        self,
        method: str,
        path: str,
        handler: Callable[..., Awaitable[Any]],
        *,
        scope: str = "",
        api_family: ApiFamily = "common",
        access: Access = "project",
        ids: Mapping[str, type[Object]] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.name = handler.__name__
        self.api_family = api_family
        self.access = access
        self.scope = scope
        """What a key must be allowed to do (``objects/keys.py``), in the words of refusals."""
        self.nouns = {name: noun for name, noun in (ids or {}).items() if f"{{{name}}}" in path}
        self.prefixes = {name: KINDS[noun].prefix for name, noun in self.nouns.items()}
        """What ids in the path begin with, where that is checked."""
        self.body: type[Any] | None = None
        self.query: tuple[str, type[Any]] | None = None
        self.takes_ctx = False
        self.takes_request: str | None = None
        """The name of the parameter that is the request itself."""
        hints = typing.get_type_hints(handler)
        for name in inspect.signature(handler).parameters:
            kind = hints[name]
            if kind is Context:
                self.takes_ctx = True
            elif kind is Request:
                self.takes_request = name
            elif name == "body":
                self.body = kind
            elif f"{{{name}}}" not in path:
                self.query = (name, kind)


def scope_of(method: str, permission: PermissionGroup | None, access: Access) -> str:
    """What an operation asks of a key: to read or write in a group, to ask a model, to manage the organization.

    ``ValueError`` where an operation on a project's objects is in no group.
    """
    if access == "open":
        return ""
    verb = "read" if method in ("GET", "HEAD") else "write"
    if access == "admin":
        return f"api.management.{verb}"
    if permission is None:
        raise ValueError("an operation for keys of projects needs a permission group")
    return "model.request" if permission == "model" and method == "POST" else f"api.{permission}.{verb}"


class Routes:
    """The operations of one tag, in the order they are written.

    ``permission`` names the group in which a restricted key needs a scope for them; it, ``api_family`` and ``access``
    hold for all of them, and a path of ``open`` ones has no ``/v1`` before it. ``ids`` says which nouns the ids in the
    paths are of. Ids of other nouns come in several makes and are looked up as they are.
    """

    def __init__(
        self,
        *,
        permission: PermissionGroup | None = None,
        api_family: ApiFamily = "common",
        access: Access = "project",
        ids: Mapping[str, type[Object]] | None = None,
    ) -> None:
        self._permission: PermissionGroup | None = permission
        self._api_family = api_family
        self._access = access
        self._ids = ids
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def get(self, path: str) -> Callable[[H], H]:
        """Make a function the handler of ``GET path``."""
        return self._add("GET", path)

    def head(self, path: str) -> Callable[[H], H]:
        """Make a function the handler of ``HEAD path``: that of GET, whose body the server beneath keeps back."""
        return self._add("HEAD", path)

    def post(self, path: str, *, reads: bool = False) -> Callable[[H], H]:
        """Make a function the handler of ``POST path``; ``reads``: it changes nothing, for all that it is posted."""
        return self._add("POST", path, reads=reads)

    def delete(self, path: str) -> Callable[[H], H]:
        """Make a function the handler of ``DELETE path``."""
        return self._add("DELETE", path)

    def _add(self, method: str, path: str, *, reads: bool = False) -> Callable[[H], H]:
        scope = scope_of("GET" if reads else method, self._permission, self._access)

        def add(handler: H) -> H:
            route = Route(
                method, path, handler, scope=scope, api_family=self._api_family, access=self._access, ids=self._ids
            )
            self._routes.append(route)
            return handler

        return add


class Dialect(Struct, frozen=True, kw_only=True, eq=False):
    """An older form of some operations, told apart by a word of the ``OpenAI-Beta`` header. Inside there is only the
    newest form: a dialect brings routes of its own, which win over the common ones; it translates the bodies of common
    operations upwards, and their answers and events downwards.
    """

    name: str
    other_names: tuple[str, ...]
    routes: tuple[Route, ...]
    bodies: Mapping[str, tuple[type[Struct], Callable[[Any], Any]]]
    """By operation (a handler's name): the body it takes here, and what turns that into the common one."""
    down: Callable[[Context, Any], Awaitable[Any]]
    """The answer of a handler, as it is shown here."""
    event: Callable[[Context, str, bytes], Awaitable[tuple[str, bytes] | None]]
    """An event of a stream, its name and its data, as it is told here; None for one that is not."""
    empty_threads_run: bool = False
    checks_ids: bool = True
    """Whether an id in a path that cannot be one is refused as such, or looked up and not found."""
