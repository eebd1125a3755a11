"""``everloom serve`` or ``worker`` over a store that kills its process right after a chosen event is kept.

``python -m tests.crash.dying serve|worker --data DIR [--port N]``, with ``EVERLOOM_TEST_DIE_AFTER=n``: the
process is gone, as by ``kill -9``, once the n-th event of a run has been committed. Runs that began in an
earlier process are left alone, so that one start both recovers the last victim and makes the next.
Only the composition is the test's; every part composed is the real one.
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
from everloom.cli.server import Stop, base_url, listen, serve
from everloom.config import load
from everloom.objects.base import Object, Page, PageQuery
from everloom.objects.jobs import Job, Lane
from everloom.store.base import Add, Change, Database, Event, Operation, Store, Tell, Written
from everloom.work.organization.establishing import first_start


class DyingStore:
    """A store that counts the events of each log it has seen begin."""

    def __init__(self, inner: Store, after: int, told: dict[str, int], anywhere: bool) -> None:
        self.project = inner.project
        self._inner = inner
        self._after = after
        self._told = told
        self._anywhere = anywhere

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
        names = [name for operation in operations for name in _told(operation)]
        if log is not None and (self._anywhere or log in self._told or "thread.run.created" in names):
            self._told[log] = self._told.get(log, 0) + len(names)
            if self._told[log] >= self._after:
                os.kill(os.getpid(), signal.SIGKILL)
        return written


def _told(operation: Operation) -> tuple[str, ...]:
    if isinstance(operation, Tell):
        return (operation.name,)
    return tuple(operation.tell) if isinstance(operation, Add | Change) else ()


class DyingDatabase:
    """A database whose stores count together. ``anywhere``: runs that others began count too."""

    def __init__(self, inner: Database, after: int, *, anywhere: bool) -> None:
        self._inner = inner
        self._after = after
        self._anywhere = anywhere
        self._told: dict[str, int] = {}
        self.on_start = inner.on_start
        self.ledger = inner.ledger

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    def store(self, project: str) -> Store:
        return DyingStore(self._inner.store(project), self._after, self._told, self._anywhere)

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


async def main(command: str, data: Path) -> None:
    settings = load({"data": data, "port": 0})
    after = int(os.environ["EVERLOOM_TEST_DIE_AFTER"])
    app = build(settings)
    database = DyingDatabase(app.ports.database, after, anywhere=command == "worker")
    app = App(settings, msgspec.structs.replace(app.ports, database=database))
    stop = Stop()
    stop.watch()
    if command == "worker":
        await app.start(worker=True)
        print("everloom: worker ready", flush=True)
        await stop.asked.wait()
    else:
        await app.start()
        await first_start(app.ports.database, api_key=settings.api_key, admin_key=settings.admin_key)
        listener = listen(settings.host, settings.port)
        url = base_url(settings.host, listener)
        await serve(app.asgi, listener, stop, lambda: print(f"everloom: ready on {url}", flush=True))
    await app.stop(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve", "worker"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments.command, arguments.data))
