"""How long a job waits for what it stands on: as long as that is away."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from everloom.kit import log
from everloom.kit.errors import Unavailable

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds. Bounded, so that all goes on soon after the end of an outage; growing, so that it is not made longer."""


async def until_available(name: str, call: Callable[[], Awaitable[None]]) -> None:
    """Await ``call()``, again and again while it raises ``Unavailable``; what else it raises comes through."""
    clock = asyncio.get_running_loop().time
    pause = FIRST_PAUSE
    while True:
        began = clock()
        try:
            await call()
            return
        except Unavailable as away:
            log.outage(name, away)
        if clock() - began > LONGEST_PAUSE:  # it had got on: this is another outage
            pause = FIRST_PAUSE
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, LONGEST_PAUSE)
