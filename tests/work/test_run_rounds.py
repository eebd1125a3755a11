"""What a run costs: each round looks its run up once, and asks for nothing that cannot be there."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.messages import Message
from everloom.objects.runs import Generation, Run, RunLease, ToolWork
from everloom.objects.steps import RunStep
from everloom.objects.threads import Thread
from everloom.objects.tools import FileSearchTool, Tool
from everloom.store.base import Add, Database, Event, Operation, Store, Written
from everloom.work.runs.execution import execute
from everloom.work.runs.verbs import cancel
from tests.replies import Calls, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.store.things import a_run
from tests.work.test_ingest import a_server, on_a_server

LOOKED_AT = (Run, RunStep, Generation, ToolWork)


class CountingStore:
    """A store that counts its reads by what is read."""

    def __init__(self, inner: Store, reads: Counter[type[Any]]) -> None:
        self.project = inner.project
        self._inner = inner
        self._reads = reads

    async def get(self, cls: type[Any], id: str, **where: Any) -> Any:
        self._reads[cls] += 1
        return await self._inner.get(cls, id, **where)

    async def find(self, cls: type[Any], page: Any, **where: Any) -> Any:
        self._reads[cls] += 1
        return await self._inner.find(cls, page, **where)

    async def all(self, cls: type[Any], **where: Any) -> list[Any]:
        self._reads[cls] += 1
        return await self._inner.all(cls, **where)

    async def events(self, log: str, after: int = 0, limit: int = 1000) -> list[Event]:
        self._reads[Event] += 1
        return await self._inner.events(log, after, limit)

    async def last_seq(self, log: str) -> int:
        return await self._inner.last_seq(log)

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        return await self._inner.write(*operations, log=log)


class CountingDatabase:
    def __init__(self, inner: Database) -> None:
        self.reads: Counter[type[Any]] = Counter()
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def store(self, project: str) -> CountingStore:
        return CountingStore(self._inner.store(project), self.reads)


class OvertakenStore(CountingStore):
    """A store of an executor that another one overtakes right before its first write."""

    def __init__(self, inner: Store, overtake: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(inner, Counter())
        self._overtake = overtake
        self._overtaken = False

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        if not self._overtaken:
            self._overtaken = True
            await self._overtake()
        return await super().write(*operations, log=log)


class OvertakenDatabase:
    def __init__(self, inner: Database, overtake: Callable[[], Awaitable[Any]]) -> None:
        self._inner = inner
        self._overtake = overtake
        self.store = lambda project: OvertakenStore(self._inner.store(project), self._overtake)


class Died(Exception):
    """The end of an executor."""


class DyingStore(CountingStore):
    """A store of an executor that does not live to see what came of its first write."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner, Counter())

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        await super().write(*operations, log=log)
        raise Died


class DyingDatabase:
    def __init__(self, inner: Database) -> None:
        self.store = lambda project: DyingStore(inner.store(project))


async def a_kept_run(ctx: Context, **fields: Any) -> Run:
    thread = Thread(id=new_id("thread_"), created_at=now())
    run = a_run(thread.id, instructions="Be brief.", **fields)
    lease = RunLease(id=run.id, created_at=run.created_at, holder="")
    await ctx.store.write(Add(thread), Add(run), Add(lease))
    return run


async def reads_of(ctx: Context, *tools: Tool) -> dict[type[Any], int]:
    """How often an executor reads each noun, from a queued run to its end."""
    run = await a_kept_run(ctx, tools=list(tools))
    counting: Any = CountingDatabase(ctx.ports.database)
    await execute(msgspec.structs.replace(ctx.ports, database=counting), ctx.project, run.id)
    assert (await ctx.store.get(Run, run.id)).status == "completed"
    assert [message.status for message in await ctx.store.all(Message, run_id=run.id)] == ["completed"]
    return {cls: counting.reads[cls] for cls in (*LOOKED_AT, Event)}


def reads(folder: Path, script: list[Reply], *tools: Tool) -> dict[type[Any], int]:
    async def main() -> dict[type[Any], int]:
        with ScriptedUpstream() as upstream:
            async with a_server(folder, upstream) as ctx:
                upstream.script(*script)
                return await reads_of(ctx, *tools)

    return asyncio.run(main())


def test_a_run_of_one_round_is_looked_up_once(tmp_path: Path) -> None:
    assert reads(tmp_path, [Says("Hello.")]) == {Run: 1, RunStep: 1, Generation: 0, ToolWork: 0, Event: 0}


def test_a_run_of_three_rounds_is_looked_up_three_times(tmp_path: Path) -> None:
    script = [Calls(("file_search", {"query": "boats"})), Says("Nothing there.")]
    expected = {Run: 3, RunStep: 3, Generation: 2, ToolWork: 2, Event: 0}
    assert reads(tmp_path, script, FileSearchTool()) == expected


@on_a_server
async def test_an_executor_that_looked_before_another_was_done_asks_nothing(
    ctx: Context, upstream: ScriptedUpstream
) -> None:
    upstream.script(Says("Hello."), Says("Hello."))
    for number, status in enumerate(("queued", "in_progress"), 1):
        run = await a_kept_run(ctx, status=status)
        late: Any = OvertakenDatabase(ctx.ports.database, partial(execute, ctx.ports, ctx.project, run.id))
        await execute(msgspec.structs.replace(ctx.ports, database=late), ctx.project, run.id)
        assert (await ctx.store.get(Run, run.id)).status == "completed"
        assert len(upstream.requests) == number
        assert len(await ctx.store.all(RunStep, run_id=run.id)) == 1
        names = [event.name for event in await ctx.store.events(run.id)]
        assert names.count("thread.run.in_progress") == (status == "queued")


@on_a_server
async def test_a_run_that_is_cancelled_behind_the_look_is_not_begun(ctx: Context, upstream: ScriptedUpstream) -> None:
    run = await a_kept_run(ctx)
    late: Any = OvertakenDatabase(ctx.ports.database, partial(cancel, ctx, run.thread_id, run.id))
    await execute(msgspec.structs.replace(ctx.ports, database=late), ctx.project, run.id)
    assert (await ctx.store.get(Run, run.id)).status == "cancelled"
    assert not upstream.requests


@on_a_server
async def test_a_run_is_begun_in_the_write_that_takes_it(ctx: Context, upstream: ScriptedUpstream) -> None:
    run = await a_kept_run(ctx)
    upstream.script(Says("Hello."))
    dying: Any = DyingDatabase(ctx.ports.database)
    with pytest.raises(Died):
        await execute(msgspec.structs.replace(ctx.ports, database=dying), ctx.project, run.id)
    assert (await ctx.store.get(Run, run.id)).status == "in_progress"
    assert (await ctx.store.get(RunLease, run.id)).holder
    assert [event.name for event in await ctx.store.events(run.id)] == ["thread.run.in_progress"]
    await execute(ctx.ports, ctx.project, run.id)
    assert (await ctx.store.get(Run, run.id)).status == "completed"
