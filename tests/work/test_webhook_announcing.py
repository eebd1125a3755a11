"""Every way by which a run ends, or comes to wait for its caller, is announced, once, in the write that brings it."""

from typing import Any

import msgspec
import pytest

from everloom.context import Context
from everloom.objects.runs import (
    NEXT,
    TERMINAL,
    FunctionCall,
    RequiredAction,
    RequiredCall,
    RequiredCalls,
    Run,
    RunStatus,
    ToolOutput,
)
from everloom.objects.webhooks import EVENT_TYPES, NewWebhookEndpoint, WebhookDelivery
from everloom.store.base import Add, Change
from everloom.store.sql import Procedure, Statement
from everloom.work.runs.forced_end import end_without_executor
from everloom.work.runs.verbs import IllegalTransition, cancel, ending, expire_queued, moving, submit
from everloom.work.webhooks.announcing import RUN_TYPES
from everloom.work.webhooks.endpoints import create
from tests.scripted import ScriptedUpstream
from tests.store.things import a_run, a_thread
from tests.work.test_ingest import on_a_server
from tests.work.test_webhook_delivery import Endpoints


def test_every_state_in_which_a_run_stays_by_itself_has_a_type() -> None:
    assert set(RUN_TYPES) == TERMINAL | {"requires_action"}
    assert set(RUN_TYPES.values()) == {type for type in EVENT_TYPES if type.startswith("thread.run.")}


async def listening(ctx: Context) -> Context:
    ctx = Context.of(msgspec.structs.replace(ctx.ports, courier=Endpoints()), "proj_a")
    await create(ctx, NewWebhookEndpoint(url="https://example.org/", name="n", event_types=[*EVENT_TYPES]))
    return ctx


async def kept(ctx: Context, status: RunStatus = "queued") -> Run:
    thread = a_thread()
    run = msgspec.structs.replace(a_run(thread.id), status=status)
    await ctx.store.write(Add(thread), Add(run))
    return run


async def told(ctx: Context, run: Run) -> list[str]:
    """What was announced of a run."""
    bodies = [msgspec.json.decode(each.body) for each in await ctx.store.all(WebhookDelivery)]
    return [body["type"] for body in bodies if body["data"] == {"id": run.id, "thread_id": run.thread_id}]


@on_a_server
async def test_each_move_to_such_a_state_is_announced_and_no_other(ctx: Context, upstream: ScriptedUpstream) -> None:
    ctx = await listening(ctx)
    for before, states in NEXT.items():
        for after in states:
            run = await kept(ctx, before)
            await ctx.store.write(moving(run.id, after), log=run.id)
            assert await told(ctx, run) == ([RUN_TYPES[after]] if after in RUN_TYPES else [])
            if after in TERMINAL:
                with pytest.raises(IllegalTransition):
                    await ctx.store.write(ending(run.id, "failed", None), log=run.id)
                assert len(await told(ctx, run)) == 1


@on_a_server
async def test_ends_without_an_executor_are_announced(ctx: Context, upstream: ScriptedUpstream) -> None:
    ctx = await listening(ctx)
    run = await kept(ctx)
    assert await expire_queued(ctx, run.id)
    assert not await expire_queued(ctx, run.id)
    assert await told(ctx, run) == ["thread.run.expired"]

    run = await kept(ctx)
    await cancel(ctx, run.thread_id, run.id)
    assert await told(ctx, run) == ["thread.run.cancelled"]

    states: list[tuple[RunStatus, str]] = [("in_progress", "expired"), ("cancelling", "cancelled")]
    for status, end in states:
        run = await kept(ctx, status)
        assert await end_without_executor(ctx, run)
        assert not await end_without_executor(ctx, run)
        assert await told(ctx, run) == [f"thread.run.{end}"]

    run = await kept(ctx, "requires_action")
    call = RequiredCall(id="call_1", function=FunctionCall(name="f", arguments="{}"))
    action = RequiredAction(submit_tool_outputs=RequiredCalls(tool_calls=[call]))
    await ctx.store.write(Change(Run, run.id, lambda run: setattr(run, "required_action", action)))
    await submit(ctx, run.thread_id, run.id, [ToolOutput(tool_call_id="call_1")])  # whose step is gone
    assert await told(ctx, run) == ["thread.run.failed"]


def spoiling() -> Procedure[None]:
    yield Statement("UPDATE webhook_states SET body = ?", [b"{"], True)


@on_a_server
async def test_what_cannot_be_read_of_an_endpoint_ends_no_write(ctx: Context, upstream: ScriptedUpstream) -> None:
    ctx = await listening(ctx)
    run = await kept(ctx)

    database: Any = ctx.ports.database
    await database.write(spoiling)
    assert await expire_queued(ctx, run.id)
    assert await told(ctx, run) == []
