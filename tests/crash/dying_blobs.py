"""``everloom serve`` over a store and blobs that kill its process right after a chosen one of their doings.

``python -m tests.crash.dying_blobs serve --data DIR [--port N]``, with ``EVERLOOM_TEST_DIE_AFTER=n``: the process
is gone, as by ``kill -9``, once it has done the n-th of: a write committed, a block of a blob written, a blob
whole, a blob removed. It counts from its ready line on. Only the composition is the test's.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from everloom.app import App, build
from everloom.blobs.base import Blobs
from everloom.cli.server import Stop, base_url, listen, serve
from everloom.config import load
from everloom.objects.base import Object, Page, PageQuery
from everloom.objects.jobs import Job, Lane
from everloom.store.base import Database, Event, Operation, Store, Written
from everloom.work.organization.establishing import first_start


class Fate:
    """Counts what has been done, once it is told to begin, and ends the process."""

    def __init__(self, after: int) -> None:
        self._left = after
        self._armed = False

    def begin(self) -> None:
        self._armed = True

    def done(self) -> None:
        self._left -= self._armed
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingStore:
    def __init__(self, inner: Store, fate: Fate) -> None:
        self.project = inner.project
        self._inner = inner
        self._fate = fate

    async def get(self, cls: type[Any], id: str, **where: Any) -> Any:
        return await self._inner.get(cls, id, **where)

    async def find(
        self, cls: type[Any], page: PageQuery, *, metadata: dict[str, str] | None = None, **where: Any
    ) -> Page[Any]:
        return await self._inner.find(cls, page, metadata=metadata, **where)

    async def all(self, cls: type[Any], **where: Any) -> list[Any]:
        return await self._inner.all(cls, **where)

    async def events(self, log: str, after: int = 0, limit: int = 1000) -> list[Event]:
        return await self._inner.events(log, after, limit)

    async def last_seq(self, log: str) -> int:
        return await self._inner.last_seq(log)

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        written = await self._inner.write(*operations, log=log)
        self._fate.done()
        return written


class DyingDatabase:
    def __init__(self, inner: Database, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate
        self.on_start = inner.on_start
        self.ledger = inner.ledger

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    def store(self, project: str) -> Store:
        return DyingStore(self._inner.store(project), self._fate)

    async def across(self, cls: type[Any], limit: int = 1000, **where: Any) -> list[tuple[str, Object]]:
        return await self._inner.across(cls, limit, **where)

    def walk(self, cls: type[Any], **where: Any) -> AsyncIterator[tuple[str, Object]]:
        return self._inner.walk(cls, **where)

    async def touch(self) -> None:
        await self._inner.touch()

    async def waiting(self, lane: Lane, limit: int) -> list[Job]:
        return await self._inner.waiting(lane, limit)

    async def done(self, ids: Sequence[str]) -> None:
        await self._inner.done(ids)


class DyingBlobs:
    def __init__(self, inner: Blobs, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate

    async def put(self, name: str, data: AsyncIterator[bytes]) -> int:
        async def counted() -> AsyncIterator[bytes]:
            first = True
            async for block in data:
                yield block
                if first:  # Of the many that follow it none is different.
                    self._fate.done()
                first = False

        size = await self._inner.put(name, counted())
        self._fate.done()
        return size

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        return self._inner.read(name, offset=offset, length=length)

    async def remove(self, name: str) -> None:
        await self._inner.remove(name)
        self._fate.done()


async def main(data: Path) -> None:
    settings = load({"data": data, "port": 0})
    fate = Fate(int(os.environ["EVERLOOM_TEST_DIE_AFTER"]))
    ports = build(settings).ports
    database = DyingDatabase(ports.database, fate)
    app = App(settings, msgspec.structs.replace(ports, database=database, blobs=DyingBlobs(ports.blobs, fate)))
    stop = Stop()
    stop.watch()
    await app.start()
    await first_start(app.ports.database, api_key=settings.api_key, admin_key=settings.admin_key)
    listener = listen(settings.host, settings.port)
    url = base_url(settings.host, listener)

    def ready() -> None:
        fate.begin()
        print(f"everloom: ready on {url}", flush=True)

    await serve(app.asgi, listener, stop, ready)
    await app.stop(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments.data))
