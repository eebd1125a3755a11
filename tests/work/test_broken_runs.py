"""Runs whose own rows are lost or spoilt, as no request can bring about: they end all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from everloom.context import Context
from everloom.objects.messages import Message
from everloom.objects.runs import Run, RunLease, ToolOutput
from everloom.objects.steps import RunStep
from everloom.objects.threads import Thread
from everloom.objects.tools import FileSearchTool, FunctionDefinition, FunctionTool
from everloom.store.base import Change, Missing, Remove, change_one
from everloom.work.runs.execution import execute
from everloom.work.runs.verbs import submit
from everloom.work.threads.threads import remove_thread
from tests.replies import Calls, Hangs, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import a_server
from tests.work.test_run_rounds import a_kept_run

WEATHER = FunctionTool(function=FunctionDefinition(name="weather"))


Check = Callable[[Context, Run, ScriptedUpstream], Awaitable[None]]


def on_a_run(folder: Path, script: list[Reply], check: Check) -> None:
    """A run that nobody works on but the test."""

    async def main() -> None:
        with ScriptedUpstream() as upstream:
            async with a_server(folder, upstream) as ctx:
                upstream.script(*script)
                await check(ctx, await a_kept_run(ctx, tools=[WEATHER]), upstream)

    asyncio.run(main())


async def names(ctx: Context, run: Run) -> list[str]:
    return [event.name for event in await ctx.store.events(run.id)]


def test_a_run_without_a_lease_gets_one(tmp_path: Path) -> None:
    async def check(ctx: Context, run: Run, upstream: ScriptedUpstream) -> None:
        await ctx.store.write(Remove(RunLease, run.id))
        await execute(ctx.ports, ctx.project, run.id)
        assert (await ctx.store.get(Run, run.id)).status == "completed"
        assert (await ctx.store.get(RunLease, run.id)).holder

    on_a_run(tmp_path, [Says("Hello.")], check)


@pytest.mark.parametrize("cls", [RunStep, Message])
def test_a_run_ends_whose_step_or_message_is_gone(tmp_path: Path, cls: type[RunStep] | type[Message]) -> None:
    async def check(ctx: Context, run: Run, upstream: ScriptedUpstream) -> None:
        executing = asyncio.create_task(execute(ctx.ports, ctx.project, run.id))
        with ctx.ports.bus.watch(run.id) as watch:
            while not (found := await ctx.store.all(cls, run_id=run.id)):
                await watch.wait(10)
        await ctx.store.write(Remove(cls, found[0].id))
        ctx.ports.bus.wake(f"cancel:{run.id}")
        if cls is RunStep:  # nobody looks for it: the end of the answer finds it missing
            executing.cancel()
            await asyncio.gather(executing, return_exceptions=True)
            upstream.script(Says("Hello."))
            executing = asyncio.create_task(execute(ctx.ports, ctx.project, run.id))
        await executing
        run = await ctx.store.get(Run, run.id)
        assert run.status == ("completed" if cls is RunStep else "failed")
        assert (run.last_error is None) is (cls is RunStep)

    on_a_run(tmp_path, [Hangs(3)], check)


def test_a_run_that_waits_for_calls_that_are_gone_fails(tmp_path: Path) -> None:
    async def check(ctx: Context, run: Run, upstream: ScriptedUpstream) -> None:
        await execute(ctx.ports, ctx.project, run.id)
        waiting = await ctx.store.get(Run, run.id)
        assert waiting.required_action is not None
        (call,) = waiting.required_action.submit_tool_outputs.tool_calls
        (step,) = await ctx.store.all(RunStep, run_id=run.id)
        await ctx.store.write(Remove(RunStep, step.id))
        failed = await submit(ctx, run.thread_id, run.id, [ToolOutput(tool_call_id=call.id, output="rain")])
        assert failed == await ctx.store.get(Run, run.id)
        assert failed.status == "failed"
        assert failed.last_error is not None
        assert (failed.last_error.code, failed.required_action, failed.active) == ("server_error", None, False)
        assert (await names(ctx, run))[-1] == "thread.run.failed"

    on_a_run(tmp_path, [Calls(("weather", {"city": "Oslo"}))], check)


def test_a_run_without_its_thread_fails(tmp_path: Path) -> None:
    async def check(ctx: Context, run: Run, upstream: ScriptedUpstream) -> None:
        await change_one(ctx.store, Change(Run, run.id, lambda run: setattr(run, "tools", [FileSearchTool()])))
        await ctx.store.write(Remove(Thread, run.thread_id))
        await execute(ctx.ports, ctx.project, run.id)
        run = await ctx.store.get(Run, run.id)
        assert run.last_error is not None
        assert run.thread_id in run.last_error.message

    on_a_run(tmp_path, [], check)


def test_a_thread_goes_though_a_lease_is_lost(tmp_path: Path) -> None:
    async def check(ctx: Context, run: Run, upstream: ScriptedUpstream) -> None:
        await ctx.store.write(Remove(RunLease, run.id))
        await remove_thread(ctx, run.thread_id)
        for cls, id in ((Thread, run.thread_id), (Run, run.id)):
            with pytest.raises(Missing):
                await ctx.store.get(cls, id)
        await execute(ctx.ports, ctx.project, run.id)

    on_a_run(tmp_path, [], check)
