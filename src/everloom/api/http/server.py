"""The ASGI application: each request through the steps, one after another. What they are is told in ``app``."""

from collections.abc import Awaitable, Callable, Sequence

from everloom.api.http.front import as_ours
from everloom.api.http.routes import Receive, Request, Scope, Send
from everloom.api.http.steps import Step, compose, handle
from everloom.context import Ports


async def _nothing() -> None:
    pass


class Server:
    """The application that an ASGI server runs. ``ports`` must be open before the first request.

    ``steps`` are what a request passes on its way to its handler, outermost first, and what its answer passes on the
    way back, innermost first.
    """

    def __init__(self, ports: Ports, steps: Sequence[Step], close: Callable[[], Awaitable[None]] = _nothing) -> None:
        self.close = close
        """What is to be done behind the last request, while the ports are open."""
        self._ports = ports
        self._answer = compose(steps, handle)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"Everloom speaks HTTP, not {scope['type']}")
        scope, receive = as_ours(scope, receive)
        await self._answer(Request(scope, receive, send, self._ports))
