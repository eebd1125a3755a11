"""Waiting, in a request, until something comes to another state."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from everloom.bus.base import Watch
from everloom.context import Context
from everloom.kit.errors import Unavailable

T = TypeVar("T")

LONGEST_WAIT = 60
LOOK_SECONDS = 5.0
"""How often who waits looks by itself, should the call be lost."""

WaitSeconds = Annotated[float, Meta(ge=0, le=LONGEST_WAIT)]
"""A request's ``wait``."""


async def until_changed(
    ctx: Context,
    topic: str,
    look: Callable[[], Awaitable[T]],
    state: Callable[[T], str],
    *,
    seconds: float,
    final: Collection[str] = (),
) -> T:
    """The thing that ``look`` reads, once its ``state`` is another than at the first look.

    At the latest after so many ``seconds``, at once where the state is one of ``final`` ones or the server is to stop.
    ``topic`` is that of the bus which is called behind each change. Nothing of the database is held between two looks.
    Errors: those of ``look``, for one that the thing is gone.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    with ctx.ports.bus.watch(topic) as watch:
        thing = await look()
        before = state(thing)
        while state(thing) == before not in final and (left := ends - loop.time()) > 0:
            if not await _called(ctx, watch, min(left, LOOK_SECONDS)):
                break
            thing = await look()
    return thing


async def unless_leaving(ctx: Context, asked: Coroutine[Any, Any, T]) -> T:
    """What comes of something that takes its time; broken off where the server is to stop meanwhile. Errors: 503."""
    task, leaving = asyncio.create_task(asked), asyncio.create_task(ctx.ports.leaving.wait())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Unavailable("this server", "it is stopping").answer()
        return await task
    finally:
        for each in (task, leaving):
            each.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _called(ctx: Context, watch: Watch, seconds: float) -> bool:
    """Wait for a call, or so long; whether there is any sense in going on."""
    leaving = ctx.ports.leaving
    if leaving.is_set():
        return False
    tasks = {asyncio.create_task(watch.wait(seconds)), asyncio.create_task(leaving.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return not leaving.is_set()
