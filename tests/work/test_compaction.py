"""Logs of runs that have ended: folded and packed once, and read to the same end whenever and from wherever."""

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from functools import wraps
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.base import PageQuery
from everloom.objects.messages import Message, TextContent
from everloom.objects.runs import EndedLog, Generation, Run, RunLease
from everloom.objects.steps import RunStep
from everloom.objects.threads import Thread
from everloom.objects.tools import FunctionDefinition, FunctionTool
from everloom.store.base import Add, Change, Event, Store
from everloom.work.runs.compaction import compact, sweep
from everloom.work.runs.events import follow
from everloom.work.runs.execution import execute
from everloom.work.threads.threads import remove_thread
from tests.replies import Calls, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.servers import ROOT
from tests.store.databases import address, database_at, every_adapter
from tests.store.things import a_message, a_run
from tests.work.test_folding import rebuilt
from tests.work.test_ingest import a_server

DELTAS = 300
POEM = Says(" ".join(f"word{number}" for number in range(DELTAS)), chunks=DELTAS)
VERSE = Says(" ".join(f"word{number}" for number in range(40)), chunks=40)
KEPT_BYTES = 12 * 1024
"""What a run of so many deltas may keep."""

WEATHER = FunctionTool(function=FunctionDefinition(name="weather"))

Check = Callable[[Context, str], Awaitable[None]]


@asynccontextmanager
async def on(where: str, folder: Path, *script: Reply) -> AsyncIterator[Context]:
    """Everything below the API over the database at ``where``."""
    warnings.simplefilter("ignore", DeprecationWarning)
    with ScriptedUpstream() as upstream:
        upstream.script(*script)
        async with a_server(folder, upstream) as ctx:
            database = database_at(where)
            await database.open()
            try:
                limits = msgspec.structs.replace(ctx.ports.limits, compact_events_after=60)
                ports = msgspec.structs.replace(ctx.ports, database=database, limits=limits)
                yield Context.of(ports, ctx.project)
            finally:
                await database.close()


def on_both(*script: Reply) -> Callable[[Check], Any]:
    def decorate(check: Check) -> Any:
        @every_adapter
        @wraps(check)
        def test(adapter: str, tmp_path: Path) -> None:
            async def main() -> None:
                where = address(adapter, tmp_path)
                async with on(where, tmp_path, *script) as ctx:
                    await check(ctx, where)

            asyncio.run(main())

        del test.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for the check's parameters
        return test

    return decorate


async def an_ended_run(ctx: Context, **fields: Any) -> Run:
    """A run that has been executed to its end or its pause."""
    thread = Thread(id=new_id("thread_"), created_at=now())
    run = a_run(thread.id, instructions="Be brief.", **fields)
    told = ("thread.run.created", "thread.run.queued")
    question = a_message(thread.id, "Say something long.")
    lease = RunLease(id=run.id, created_at=now())
    await ctx.store.write(Add(thread), Add(question), Add(run, tell=told), Add(lease), log=run.id)
    await execute(ctx.ports, ctx.project, run.id)
    return await ctx.store.get(Run, run.id)


async def ended_long_ago(ctx: Context, run: Run) -> None:
    def edit(ended: EndedLog) -> None:
        ended.created_at -= 60

    await ctx.store.write(Change(EndedLog, run.id, edit))


async def waiting(ctx: Context) -> list[str]:
    return [ended.id for _, ended in await ctx.ports.database.across(EndedLog, waiting=True)]


async def told(ctx: Context, run: Run, after: int = 0) -> list[Event]:
    return [event async for batch in follow(ctx, run.id, after) for event in batch]


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def collapsed(events: list[Event]) -> list[str]:
    """Their names, without the repetitions one after another."""
    found = names(events)
    return [name for place, name in enumerate(found) if place == 0 or found[place - 1] != name]


async def kept_bytes(store: Store, run: Run) -> int:
    """All that the database has of a run and its thread, without its own overhead."""
    size = 0
    for cls, where in ((Message, {"thread_id": run.thread_id}), (RunStep, {"run_id": run.id})):
        page: Any = await store.find(cls, PageQuery(limit=100), **where)
        size += sum(map(len, page.bodies))
    for thing in (
        run,
        await store.get(Thread, run.thread_id),
        await store.get(RunLease, run.id),
        *await store.all(Generation, run_id=run.id),
    ):
        size += len(msgspec.json.encode(thing))
    return size


async def log_rows(where: str, run: Run) -> tuple[int, int]:
    """Rows and bytes of a run's log, as they stand in the database."""
    size = "SUM(LENGTH(project) + LENGTH(log) + 8 + LENGTH(name) + LENGTH(data))"
    text = f"SELECT COUNT(*), {size} FROM events WHERE log = '{run.id}'"
    if "://" not in where:
        with closing(sqlite3.connect(where)) as connection:
            found = connection.execute(text).fetchone()
    else:
        database = await asyncpg.connect(where)
        found = await database.fetchrow(text)
        await database.close()
    return found[0], found[1]


@on_both(POEM)
async def test_a_long_answer_keeps_little_and_is_replayed(ctx: Context, where: str) -> None:
    run = await an_ended_run(ctx)
    live = await told(ctx, run)
    assert names(live).count("thread.message.delta") > DELTAS * 0.8, "pieces that come together are one delta"
    rows, size = await log_rows(where, run)
    assert rows == len(live)
    assert size > 50_000
    await sweep(ctx.ports)
    assert await waiting(ctx) == [run.id], "its time has not come"
    assert await told(ctx, run) == live
    await ended_long_ago(ctx, run)
    await sweep(ctx.ports)
    assert await waiting(ctx) == []
    rows, size = await log_rows(where, run)
    assert rows == 1
    assert size + await kept_bytes(ctx.store, run) <= KEPT_BYTES
    again = await told(ctx, run)
    assert names(again) == collapsed(live)
    assert [event for event in again if not event.pieces] == [event for event in live if "delta" not in event.name]
    assert rebuilt(spoken(again)) == rebuilt(spoken(live))
    (message,) = await ctx.store.all(Message, run_id=run.id)
    assert isinstance(message.content[0], TextContent)
    assert rebuilt(spoken(again))["content"][0]["text"]["value"] == message.content[0].text.value == POEM.text
    assert await ctx.store.last_seq(run.id) == live[-1].seq == again[-1].seq
    await sweep(ctx.ports)
    assert await told(ctx, run) == again


def spoken(events: list[Event]) -> list[Event]:
    return [event for event in events if event.name.startswith("thread.message")]


@on_both(POEM)
async def test_a_reader_goes_on_in_the_middle(ctx: Context, where: str) -> None:
    """Whoever has read some of the deltas gets the rest of the text, and nothing twice."""
    run = await an_ended_run(ctx)
    live = await told(ctx, run)
    reading = follow(ctx, run.id)
    begun = await anext(reading)
    assert 0 < len(spoken(begun)) < DELTAS
    await compact(ctx.store, run.id)
    rest = [event async for batch in reading for event in batch]
    whole = rebuilt(spoken(live))
    assert len(rest) < DELTAS - len(begun)
    assert rebuilt(spoken([*begun, *rest])) == whole
    for place in range(1, len(live), 13):
        rest = await told(ctx, run, live[place - 1].seq)
        assert rebuilt(spoken([*live[:place], *rest])) == whole
        assert names(rest) == collapsed(live[place:])
    assert await told(ctx, run, live[-1].seq) == []


@on_both(Calls(("weather", {"city": "Oslo", "days": list(range(60))}), ("weather", {"city": "Rome"})))
async def test_a_run_that_has_not_ended_is_left_alone(ctx: Context, where: str) -> None:
    run = await an_ended_run(ctx, tools=[WEATHER])
    assert run.status == "requires_action"
    live = await told(ctx, run)
    assert await waiting(ctx) == []
    await sweep(ctx.ports)
    assert await told(ctx, run) == live


@on_both(VERSE, VERSE)
async def test_two_workers_at_once_fold_once(ctx: Context, where: str) -> None:
    runs = [await an_ended_run(ctx) for _ in range(2)]
    live = [await told(ctx, run) for run in runs]
    other = database_at(where)
    await other.open()
    try:
        for run in runs:
            await ended_long_ago(ctx, run)
        ports = msgspec.structs.replace(ctx.ports, database=other)
        await asyncio.gather(sweep(ctx.ports), sweep(ports), sweep(ctx.ports), sweep(ports))
    finally:
        await other.close()
    assert await waiting(ctx) == []
    for run, events in zip(runs, live, strict=True):
        assert (await log_rows(where, run))[0] == 1
        assert rebuilt(spoken(await told(ctx, run))) == rebuilt(spoken(events))


@on_both(VERSE, VERSE)
async def test_a_thread_that_goes_meanwhile_leaves_nothing(ctx: Context, where: str) -> None:
    for _ in range(2):
        run = await an_ended_run(ctx)
        await asyncio.gather(compact(ctx.store, run.id), remove_thread(ctx, run.thread_id))
        assert (await log_rows(where, run))[0] == 0
        assert await waiting(ctx) == []


@on_both(VERSE)
async def test_never(ctx: Context, where: str) -> None:
    run = await an_ended_run(ctx)
    live = await told(ctx, run)
    await ended_long_ago(ctx, run)
    limits = msgspec.structs.replace(ctx.ports.limits, compact_events_after=0)
    await sweep(msgspec.structs.replace(ctx.ports, limits=limits))
    assert await told(ctx, run) == live
    assert await waiting(ctx) == [run.id]


@on_both(VERSE)
async def test_killed_in_the_middle(ctx: Context, where: str) -> None:
    """``kill -9`` when the old log is gone and the new one stands, before the commit: the old one stands."""
    run = await an_ended_run(ctx)
    live = await told(ctx, run)
    command = [sys.executable, "-m", "tests.work.dying_compaction", where, ctx.project, run.id]
    killed = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert re.fullmatch(rb"packed\n", killed.stdout)
    assert await told(ctx, run) == live
    assert await waiting(ctx) == [run.id]
    await ended_long_ago(ctx, run)
    await sweep(ctx.ports)
    assert await waiting(ctx) == []
    assert rebuilt(spoken(await told(ctx, run))) == rebuilt(spoken(live))
