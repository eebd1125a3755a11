"""The lines of webhook endpoints: who delivers, when it is tried again, and when it is given up."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from everloom.context import Context
from everloom.context.outgoing import Outgoing
from everloom.objects.webhooks import HOLD_SECONDS, NewWebhookEndpoint, WebhookDelivery, WebhookState
from everloom.store.base import LONGEST_WAIT, Change
from everloom.webhooks.base import Undelivered
from everloom.work.webhooks.announcing import WEBHOOK_JOB, announced
from everloom.work.webhooks.delivery import AT_ONCE, GIVE_UP_SECONDS, LONGEST_PAUSE, deliver
from everloom.work.webhooks.endpoints import create, delete
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import on_a_server


class Endpoints:
    """The courier, and the world behind it: answers with ``status``, or as ``answer`` says."""

    def __init__(self) -> None:
        self.status: int | Exception = 204
        self.sent: list[str] = []
        self.active = self.most = 0
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    def problem(self, url: str) -> str | None:
        return None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.active += 1
        self.most = max(self.most, self.active)
        self.asked.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            self.sent.append(headers["webhook-id"])
            if isinstance(self.status, Exception):
                raise self.status
            return self.status
        finally:
            self.active -= 1

    async def close(self) -> None: ...


Check = Callable[[Context, Endpoints, str], Awaitable[None]]


def with_an_endpoint(check: Check) -> Callable[[Path], None]:
    """A test on a store with one endpoint, and jobs that nobody works on but the test."""

    @on_a_server
    async def test(ctx: Context, upstream: ScriptedUpstream) -> None:
        world = Endpoints()
        ctx = Context.of(msgspec.structs.replace(ctx.ports, courier=world), "proj_a")
        asked = NewWebhookEndpoint(url="https://example.org/", name="n", event_types=["batch.completed"])
        await check(ctx, world, (await create(ctx, asked)).id)

    test.__name__ = check.__name__
    return test


async def tell(ctx: Context, count: int = 1) -> list[WebhookDelivery]:
    for number in range(count):
        await ctx.store.write(announced("batch.completed", id=f"batch_{number}"))
    return await ctx.store.all(WebhookDelivery)


async def state_of(ctx: Context, endpoint: str) -> WebhookState:
    return await ctx.store.get(WebhookState, endpoint)


async def looks(ctx: Context) -> int:
    """Jobs that stand in the outbox, those that are put off among them."""
    text = "SELECT COUNT(*) FROM outbox WHERE kind = ?"
    database: Any = ctx.ports.database
    return int(database._reader.execute(text, [WEBHOOK_JOB]).fetchone()[0])


async def age(ctx: Context, delivery: WebhookDelivery, seconds: float, **fields: Any) -> None:
    def edit(delivery: WebhookDelivery) -> None:
        delivery.created_at -= int(seconds)
        delivery.due_at = 0.0
        for name, value in fields.items():
            setattr(delivery, name, value)

    await ctx.store.write(Change(WebhookDelivery, delivery.id, edit))


async def unpause(ctx: Context, endpoint: str, **fields: Any) -> None:
    def edit(state: WebhookState) -> None:
        state.paused_until = 0.0
        for name, value in fields.items():
            setattr(state, name, value)

    await ctx.store.write(Change(WebhookState, endpoint, edit))


@with_an_endpoint
async def test_a_line_is_delivered_some_at_a_time_and_each_once(ctx: Context, world: Endpoints, endpoint: str) -> None:
    waiting = await tell(ctx, 3 * AT_ONCE + 2)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert sorted(world.sent) == sorted(each.id for each in waiting)
    assert world.most == AT_ONCE
    assert await ctx.store.all(WebhookDelivery) == []
    assert (await state_of(ctx, endpoint)).holder == ""


@with_an_endpoint
async def test_an_endpoint_that_fails_is_asked_once_and_pauses(ctx: Context, world: Endpoints, endpoint: str) -> None:
    await tell(ctx, 1)
    world.status = Undelivered("gone")
    await deliver(ctx.ports, ctx.project, endpoint)
    await tell(ctx, 5)
    state = await state_of(ctx, endpoint)
    assert (len(world.sent), state.failures, state.holder) == (1, 1, "")
    assert 0 < state.paused_until - time.time() <= 1
    for _ in range(3):
        await deliver(ctx.ports, ctx.project, endpoint)  # too early
    assert len(world.sent) == 1
    for tries in range(2, 5):
        await unpause(ctx, endpoint)
        await deliver(ctx.ports, ctx.project, endpoint)
        assert (len(world.sent), (await state_of(ctx, endpoint)).failures) == (tries, tries)
    world.status = 200
    await unpause(ctx, endpoint)
    await deliver(ctx.ports, ctx.project, endpoint)
    state = await state_of(ctx, endpoint)
    assert (state.failures, state.failing_since, state.paused_until) == (0, 0.0, 0.0)
    left = await ctx.store.all(WebhookDelivery)
    assert all(each.due_at > time.time() and each.tries == 1 for each in left)  # those that failed, in their own time
    assert len(left) == 4
    for each in left:
        await age(ctx, each, 0)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert await ctx.store.all(WebhookDelivery) == []


@with_an_endpoint
async def test_many_who_come_in_vain_leave_one_look_behind_them(ctx: Context, world: Endpoints, endpoint: str) -> None:
    await tell(ctx)
    world.status = 500
    await deliver(ctx.ports, ctx.project, endpoint)
    before = await looks(ctx)
    await tell(ctx, 20)
    for _ in range(20):
        await deliver(ctx.ports, ctx.project, endpoint)
    assert await looks(ctx) == before


@with_an_endpoint
async def test_of_many_events_few_start_a_job_and_none_is_missed(ctx: Context, world: Endpoints, endpoint: str) -> None:
    await tell(ctx, 20)
    assert await looks(ctx) == 1
    world.gate = asyncio.Event()
    delivering = asyncio.create_task(deliver(ctx.ports, ctx.project, endpoint))
    await world.asked.wait()
    waiting = await tell(ctx, 30)
    assert await looks(ctx) == 1
    world.gate.set()
    await delivering
    assert sorted(world.sent) == sorted(each.id for each in waiting)
    await tell(ctx)
    assert await looks(ctx) == 2
    await unpause(ctx, endpoint, called_at=time.time() - LONGEST_WAIT)  # a call that nobody has heard for so long
    await tell(ctx)
    assert await looks(ctx) == 3


@with_an_endpoint
async def test_pauses_grow_to_an_hour_for_an_event_and_end_after_three_days(
    ctx: Context, world: Endpoints, endpoint: str
) -> None:
    (delivery,) = await tell(ctx)
    world.status = 503
    await age(ctx, delivery, GIVE_UP_SECONDS - 60, tries=50)
    await deliver(ctx.ports, ctx.project, endpoint)
    (again,) = await ctx.store.all(WebhookDelivery)
    assert (again.id, again.body, again.tries) == (delivery.id, delivery.body, 51)
    assert LONGEST_PAUSE / 2 - 5 <= again.due_at - time.time() <= LONGEST_PAUSE
    await age(ctx, again, 120)
    await unpause(ctx, endpoint)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert await ctx.store.all(WebhookDelivery) == []
    assert len(world.sent) == 1  # its time was over before the second


@with_an_endpoint
async def test_what_waited_for_us_is_tried_once_however_old(ctx: Context, world: Endpoints, endpoint: str) -> None:
    (delivery,) = await tell(ctx)
    await age(ctx, delivery, 10 * GIVE_UP_SECONDS)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert world.sent == [delivery.id]
    waiting = await tell(ctx, 20)
    for each in waiting:
        await age(ctx, each, 2 * GIVE_UP_SECONDS)
    await unpause(ctx, endpoint, failures=100, failing_since=time.time() - 2 * GIVE_UP_SECONDS)
    world.status = 500
    await deliver(ctx.ports, ctx.project, endpoint)
    assert await ctx.store.all(WebhookDelivery) == []  # none of them was ever tried: the endpoint failed all the time
    assert world.sent == [delivery.id]


@with_an_endpoint
async def test_one_process_at_a_time_delivers_and_hears_of_others_who_came(
    ctx: Context, world: Endpoints, endpoint: str
) -> None:
    other = Context.of(msgspec.structs.replace(ctx.ports, outgoing=Outgoing()), ctx.project)
    first = await tell(ctx)
    world.gate = asyncio.Event()
    holding = asyncio.create_task(deliver(ctx.ports, ctx.project, endpoint))
    await world.asked.wait()
    both = await tell(ctx)
    await deliver(other.ports, ctx.project, endpoint)
    assert world.sent == []
    world.gate.set()
    await holding
    assert world.sent == [each.id for each in both]
    assert both[0] == first[0]
    # One that has died holds the line for a while, and not for longer.
    await unpause(ctx, endpoint, holder="dead", held_until=time.time() + HOLD_SECONDS)
    await tell(ctx)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert len(world.sent) == 2
    state = await state_of(ctx, endpoint)
    assert 0 < state.next_look - time.time() <= min(HOLD_SECONDS, LONGEST_WAIT)
    await unpause(ctx, endpoint, held_until=time.time())
    await deliver(ctx.ports, ctx.project, endpoint)
    assert len(world.sent) == 3


@with_an_endpoint
async def test_clocks_that_were_set_back_hold_nothing_up(ctx: Context, world: Endpoints, endpoint: str) -> None:
    (delivery,) = await tell(ctx)
    tomorrow = time.time() + 86_400
    await unpause(ctx, endpoint, holder="dead", held_until=tomorrow, next_look=tomorrow)
    await ctx.store.write(Change(WebhookState, endpoint, lambda state: setattr(state, "paused_until", tomorrow)))
    await age(ctx, delivery, 0, due_at=tomorrow)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert world.sent == [delivery.id]


@with_an_endpoint
async def test_who_finds_no_place_comes_again(ctx: Context, world: Endpoints, endpoint: str) -> None:
    await tell(ctx)
    before = await looks(ctx)
    projects = ctx.ports.outgoing.projects
    with projects.take("proj_b"):
        taken = [projects.take(ctx.project) for _ in range(16)]
        assert all(place.__enter__() for place in taken)
        await deliver(ctx.ports, ctx.project, endpoint)
        await deliver(ctx.ports, ctx.project, endpoint)
        assert (world.sent, await looks(ctx)) == ([], before + 1)
        for place in taken:
            place.__exit__(None, None, None)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert len(world.sent) == 1
    failing = [ctx.ports.outgoing.failing.take(ctx.project) for _ in range(8)]
    assert all(place.__enter__() for place in failing)
    await tell(ctx)
    await unpause(ctx, endpoint, failures=1)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert len(world.sent) == 1
    for place in failing:
        place.__exit__(None, None, None)
    await deliver(ctx.ports, ctx.project, endpoint)
    assert len(world.sent) == 2


@with_an_endpoint
async def test_a_deleted_endpoint_takes_what_waits_with_it(ctx: Context, world: Endpoints, endpoint: str) -> None:
    await tell(ctx, 3)
    world.gate = asyncio.Event()
    holding = asyncio.create_task(deliver(ctx.ports, ctx.project, endpoint))
    await world.asked.wait()
    await delete(ctx, endpoint)
    world.status = 500
    world.gate.set()
    await holding
    assert await ctx.store.all(WebhookDelivery) == []
    assert await ctx.store.all(WebhookState) == []


@with_an_endpoint
async def test_what_nobody_has_thought_of_is_tried_again(ctx: Context, world: Endpoints, endpoint: str) -> None:
    await tell(ctx)
    before = await looks(ctx)
    world.status = RuntimeError("a fault")
    logging.getLogger("everloom").setLevel(logging.CRITICAL)
    await deliver(ctx.ports, ctx.project, endpoint)
    logging.getLogger("everloom").setLevel(logging.NOTSET)
    assert await looks(ctx) == before + 1
    world.status = 204
    await deliver(ctx.ports, ctx.project, endpoint)
    assert await ctx.store.all(WebhookDelivery) == []


@with_an_endpoint
async def test_no_endpoint_of_another_project_hears_of_it(ctx: Context, world: Endpoints, endpoint: str) -> None:
    other = Context.of(ctx.ports, "proj_b")
    await other.store.write(announced("batch.completed", id="batch_1"))
    await ctx.store.write(announced("batch.failed", id="batch_1"))
    assert await ctx.store.all(WebhookDelivery) == await other.store.all(WebhookDelivery) == []
    assert await looks(ctx) == 0
