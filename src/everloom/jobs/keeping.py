"""The loop in which an engine keeps the outbox: what has ended is struck off, what was not told is looked for."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from everloom.kit import log
from everloom.kit.errors import Unavailable

_GATHERED = 0.1
"""Seconds in which rows that are to be struck off come together: a commit to disk is dear, and others wait for it."""

_log = logging.getLogger(__name__)


async def keep_outbox(
    strike_off: Callable[[], Awaitable[None]],
    look: Callable[[], Awaitable[None]],
    awake: asyncio.Event,
    *,
    seconds: float,
    at_once: bool = False,
    hungry: Callable[[], bool] = lambda: False,
) -> None:
    """Strike off whenever ``awake`` is set, look every so many ``seconds`` and while ``hungry``, until cancelled.

    ``at_once``: whether the first look comes now.

    Whatever fails, jobs must go on: an outage is waited out, anything else is logged and tried again.
    """
    clock = asyncio.get_running_loop().time
    due = clock() if at_once else clock() + seconds
    while True:
        awake.clear()
        try:
            await strike_off()
            if clock() >= due or hungry():
                due = clock() + seconds
                await look()
        except Unavailable as away:
            log.outage("the outbox", away)
            await asyncio.sleep(seconds)
        except Exception:
            _log.exception("the outbox could not be looked into; trying again")
            await asyncio.sleep(seconds)
        await asyncio.sleep(_GATHERED)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - clock())):
                await awake.wait()
