"""Reading a run's log of events, from any place in it, until the run pauses or ends."""

import asyncio
from collections.abc import AsyncIterator

from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.objects.events import EventName
from everloom.objects.runs import TERMINAL, Run
from everloom.store.base import Event
from everloom.work.runs.folding import behind

LAST: frozenset[EventName] = frozenset(
    {
        "thread.run.requires_action",
        "thread.run.completed",
        "thread.run.incomplete",
        "thread.run.failed",
        "thread.run.cancelled",
        "thread.run.expired",
    }
)
"""Events behind which a stream ends: the run is over, or waits for its caller."""

KEEP_ALIVE_SECONDS = 15.0

_BATCH = 100
"""Events read at a time: what a replay makes others wait for is the work on so many of them."""


async def follow(ctx: Context, run_id: str, after: int = 0) -> AsyncIterator[list[Event]]:
    """The events behind ``after``, in batches as they come; an empty batch every 15 s of silence.

    Ends behind the last event of ``LAST`` that has nothing behind it, and when the run is gone or over. What was
    told before the call and what is told after it are read the same way, from the store, so nothing falls between.
    """
    with ctx.ports.bus.watch(run_id) as watch:
        while True:
            events = await _events(ctx, run_id, after)
            if events:
                yield events
                after = events[-1].seq
                if len(events) == _BATCH:
                    await asyncio.sleep(0)
                    continue
                if events[-1].name in LAST:
                    return
            elif await _over(ctx, run_id):
                async for batch in _rest(ctx, run_id, after):
                    yield batch
                return
            if not await watch.wait(KEEP_ALIVE_SECONDS):
                yield []


async def _over(ctx: Context, run_id: str) -> bool:
    """Whether nothing will be told of a run any more."""
    try:
        return (await ctx.store.get(Run, run_id)).status in TERMINAL
    except NotFound:
        return True


async def _rest(ctx: Context, run_id: str, after: int) -> AsyncIterator[list[Event]]:
    while events := await _events(ctx, run_id, after):
        yield events
        after = events[-1].seq
        await asyncio.sleep(0)


async def _events(ctx: Context, run_id: str, after: int) -> list[Event]:
    """The next events behind ``after``; of what the first was folded from, the reader may have some already."""
    events = await ctx.store.events(run_id, after, _BATCH)
    return [behind(events[0], after), *events[1:]] if events else events
