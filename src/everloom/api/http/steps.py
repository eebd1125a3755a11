"""What a request passes between the socket and its handler: steps, each with the rest of the way behind it.

A step is ``async (request, next)``: it looks at the request, awaits ``next(request)`` for the answer, or does not, and
may look at that too. One that has nothing to await gives back ``next(request)`` itself, which saves a coroutine. The
ones here fill a handler's parameters and translate its answer; ``router.py`` finds the handler, ``auth.py`` opens the
door, ``responder.py`` sends and renders errors, ``metrics.py`` counts. ``app/http.py`` lists them in their order: a new
one is a file and a line there.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qsl

from everloom.api.http.binding import decode_query
from everloom.api.http.front import with_model
from everloom.api.http.paths import check_ids, wrong_prefix
from everloom.api.http.routes import Dialect, Request, Route
from everloom.requests.binding import decode_body

Next = Callable[[Request], Awaitable[Any]]


class Step(Protocol):
    def __call__(self, request: Request, next: Next) -> Awaitable[Any]: ...


def compose(steps: Sequence[Step], end: Next) -> Next:
    """One function of many: each step with the rest behind it, and ``end`` behind the last."""
    for step in reversed(steps):
        end = partial(step, next=end)
    return end


def translate(request: Request, next: Next) -> Awaitable[Any]:
    """Show the answer in the older form of the API that was asked for, if one was."""
    if request.dialect is None or request.route is None or request.route.api_family != "assistants":
        return next(request)
    return _translated(request, request.dialect, next)


async def _translated(request: Request, dialect: Dialect, next: Next) -> Any:
    return await dialect.down(request.context, await next(request))


def bind(request: Request, next: Next) -> Awaitable[Any]:
    """Fill the handler's parameters from path, query and body. Errors: 400 in the platform's words, 413."""
    route, arguments = request.route, request.arguments
    assert route is not None
    prefixes = route.prefixes if request.dialect is None or request.dialect.checks_ids else {}
    if foreign := check_ids(arguments, prefixes):
        return _imported(request, foreign, next)
    return _bound(request, route, next)


async def _imported(request: Request, foreign: Sequence[str], next: Next) -> Any:
    """As ``bind``, where ids are of another make: they may have been imported. Errors: 400 where nothing has them."""
    assert request.route is not None
    for name in foreign:
        id, noun = request.arguments[name], request.route.nouns[name]
        if not await request.context.store.all(noun, id=[id]):
            raise wrong_prefix(name, id, request.route.prefixes[name])
    return await _bound(request, request.route, next)


def _bound(request: Request, route: Route, next: Next) -> Awaitable[Any]:
    arguments = request.arguments
    if route.takes_ctx:
        arguments["ctx"] = request.context
    if route.takes_request is not None:
        arguments[route.takes_request] = request
    if route.query is not None:
        name, kind = route.query
        pairs = parse_qsl(request.query.decode("latin-1"), keep_blank_values=True) if request.query else ()
        arguments[name] = decode_query(pairs, kind)
    if route.body is not None:
        return _with_body(request, route, route.body, next)
    return next(request)


async def _with_body(request: Request, route: Route, kind: type[Any], next: Next) -> Any:
    request.raw_body = with_model(await request.read(request.ports.limits.body_bytes), request.deployment)
    request.arguments["body"] = _body(request, route, kind)
    return await next(request)


def _body(request: Request, route: Route, kind: type[Any]) -> Any:
    """The body as the handler wants it, through the dialect's own form of it where it has one."""
    if request.dialect is not None and route.name in request.dialect.bodies:
        older, up = request.dialect.bodies[route.name]
        return up(decode_body(request.raw_body, older))
    return request.raw_body if kind is bytes else decode_body(request.raw_body, kind)


def handle(request: Request) -> Awaitable[Any]:
    """The end of the way: the handler."""
    assert request.route is not None
    return request.route.handler(**request.arguments)
