"""The events of runs as they happen, read on from where a connection broke."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

from everloom.cli.client import Client, Json, ServerAway
from everloom.kit.backoff import Backoff

PATIENCE_SECONDS = 60.0
"""How long a server may be away in the middle of a run."""


class RunStream:
    """The runs of one thread. ``run`` is the newest of them as it was told last; ``broken`` is called when a connection
    broke, before the server is asked again.
    """

    def __init__(self, client: Client, thread_id: str, broken: Callable[[], Awaitable[None]] | None = None) -> None:
        self._client = client
        self._runs = f"/threads/{quote(thread_id, safe='')}/runs"
        self._broken = broken
        self._last = 0
        self.run: Json = {}

    @property
    def path(self) -> str:
        """The run's path."""
        return f"{self._runs}/{quote(self.run['id'], safe='')}"

    async def begin(self, asked: Json) -> AsyncIterator[Json]:
        """What a new run tells until its end or its next pause. Errors of all: ``CommandError``."""
        self.run = {}
        async for thing in self._follow(self._runs, asked):
            yield thing

    async def submit(self, outputs: list[Json]) -> AsyncIterator[Json]:
        """What the run tells behind the outputs of its calls."""
        async for thing in self._follow(f"{self.path}/submit_tool_outputs", {"tool_outputs": outputs}):
            yield thing

    async def cancel(self) -> None:
        """Have the run end."""
        if self.run and self.run["status"] in ("queued", "in_progress", "requires_action"):
            await self._client.post(f"{self.path}/cancel")

    async def _follow(self, path: str, body: Json) -> AsyncIterator[Json]:
        try:
            async for thing in self._noted(self._client.stream("POST", path, body | {"stream": True}, ids="true")):
                yield thing
            return
        except ServerAway:
            if not self.run:
                raise
        backoff, given_up = Backoff(), time.monotonic() + PATIENCE_SECONDS
        if self._broken is not None:
            await self._broken()
        while True:
            try:
                events = self._client.stream("GET", f"{self.path}/events", after=str(self._last))
                async for thing in self._noted(events):
                    backoff.renew()
                    given_up = time.monotonic() + PATIENCE_SECONDS
                    yield thing
                return
            except ServerAway:
                if time.monotonic() > given_up:
                    raise
                await asyncio.sleep(backoff.pause())

    async def _noted(self, events: AsyncIterator[tuple[int | None, Json]]) -> AsyncIterator[Json]:
        async for number, thing in events:
            if number is not None:
                self._last = number
            if thing.get("object") == "thread.run":
                self.run = thing
            yield thing
