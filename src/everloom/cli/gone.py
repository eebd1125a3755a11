"""Who is told that a client has left, without asking for it all the time."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

from everloom.api.http.routes import WHEN_GONE


class Gone:
    """What one connection tells the request that is being answered on it, once that has been read."""

    __slots__ = ("_flow", "_hear", "_left")

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow
        self._hear: Callable[[], object] | None = None
        self._left = False

    def offer(self, scope: MutableMapping[str, Any]) -> None:
        """Let the application of this scope say who is to be told."""
        scope[WHEN_GONE] = self._when

    def tell(self) -> None:
        """The client has left."""
        self._left = True
        hear, self._hear = self._hear, None
        if hear is not None:
            hear()

    def _when(self, hear: Callable[[], object] | None) -> None:
        self._hear = hear
        if hear is not None and self._left:
            # Not at once: what is ended by it may have been done by then, and is not to be ended in what follows.
            asyncio.get_running_loop().call_soon(self.tell)
        elif hear is not None:
            self._flow.resume_reading()  # Or nobody would hear of it.
