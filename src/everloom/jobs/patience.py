"""How long a job waits for what it stands on: as long as that is away."""

import asyncio
from collections.abc import Awaitable, Callable

from everloom.kit import log
from everloom.kit.backoff import LONGEST_PAUSE, Backoff
from everloom.kit.errors import Unavailable


async def until_available(name: str, call: Callable[[], Awaitable[None]]) -> None:
    """Await ``call()``, again and again while it raises ``Unavailable``; what else it raises comes through."""
    clock = asyncio.get_running_loop().time
    backoff = Backoff()
    while True:
        began = clock()
        try:
            await call()
            return
        except Unavailable as away:
            log.outage(name, away)
        if clock() - began > LONGEST_PAUSE:  # it had got on: this is another outage
            backoff.renew()
        await asyncio.sleep(backoff.pause())
