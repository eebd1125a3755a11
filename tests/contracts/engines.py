"""Both adapters of the jobs' port, each over the store that it comes with."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from everloom.bus.base import Bus
from everloom.bus.memory import MemoryBus
from everloom.bus.postgres import PostgresBus
from everloom.jobs.base import CONCURRENCY, JobFunction, Jobs
from everloom.jobs.dbos import DbosJobs
from everloom.jobs.embedded import EmbeddedJobs
from everloom.objects.jobs import Lane
from everloom.store.base import Database, Start
from tests.store.databases import database_at


def engine_on(
    database: Database,
    where: str,
    *,
    concurrency: Mapping[Lane, int] = CONCURRENCY,
    stale: float = 5.0,
    deaf: bool = False,
) -> Jobs:
    """The engine for an open database, which hears of its starts as in ``app``; not yet launched.

    ``deaf``: no call reaches other processes, and none of theirs this one.
    """
    jobs: Jobs
    if "://" in where:
        bus = MemoryBus() if deaf else PostgresBus(where)
        jobs = _DbosJobsWithBus(where, database, bus, concurrency=concurrency, stale=stale)
    else:
        jobs = EmbeddedJobs(database, concurrency=concurrency)
    database.on_start = jobs.notice
    return jobs


class _DbosJobsWithBus(DbosJobs):
    """The engine for many processes, with a bus of its own, which is open as long as the engine is."""

    def __init__(
        self, where: str, database: Database, bus: Bus, *, concurrency: Mapping[Lane, int], stale: float
    ) -> None:
        super().__init__(where, database, bus, concurrency=concurrency, stale=stale)
        self._bus = bus

    async def launch(self, functions: Mapping[str, JobFunction], *, work: bool) -> None:
        await self._bus.open()
        await super().launch(functions, work=work)

    async def stop(self, grace: float) -> None:
        await super().stop(grace)
        await self._bus.close()


@asynccontextmanager
async def opened(where: str) -> AsyncIterator[Database]:
    """The database at a path or a URL."""
    database = database_at(where)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def launched(
    where: str, functions: Mapping[str, JobFunction], *, concurrency: Mapping[Lane, int] = CONCURRENCY
) -> AsyncIterator[Database]:
    """A database whose jobs are worked on; stopped at the end, with a second's grace."""
    async with opened(where) as database:
        jobs = engine_on(database, where, concurrency=concurrency)
        await jobs.launch(functions, work=True)
        try:
            yield database
        finally:
            await jobs.stop(1)


async def start(database: Database, kind: str, key: str, *, project: str = "proj_1", lane: Lane = "live") -> None:
    """Start a job as everybody does, with a write."""
    await database.store(project).write(Start(kind, key, lane))


def recording(calls: list[str]) -> Callable[[str, str], Awaitable[None]]:
    """A job that only says that it was called."""

    async def job(project: str, key: str) -> None:
        calls.append(key)

    return job
