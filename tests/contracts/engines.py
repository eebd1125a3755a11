"""Both adapters of the jobs' port, each over the store that it comes with."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from everloom.bus.postgres import PostgresBus
from everloom.jobs.base import CONCURRENCY, JobFunction, Jobs
from everloom.jobs.dbos import DbosJobs
from everloom.jobs.embedded import EmbeddedJobs
from everloom.objects.jobs import Lane
from everloom.store.base import Database, Start
from tests.store.databases import database_at


def engine_on(
    database: Database, where: str, *, concurrency: Mapping[Lane, int] = CONCURRENCY, stale: float = 5.0
) -> Jobs:
    """The engine for an open database, which hears of its starts as in ``app``; not yet launched."""
    jobs: Jobs
    if "://" in where:
        jobs = _DbosJobsWithBus(where, database, concurrency=concurrency, stale=stale)
    else:
        jobs = EmbeddedJobs(database, concurrency=concurrency)
    database.on_start = jobs.notice
    return jobs


class _DbosJobsWithBus(DbosJobs):
    """The engine for many processes, with a bus of its own, which is open as long as the engine is."""

    def __init__(self, where: str, database: Database, *, concurrency: Mapping[Lane, int], stale: float) -> None:
        self._bus = PostgresBus(where)
        super().__init__(where, database, self._bus, concurrency=concurrency, stale=stale)

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
