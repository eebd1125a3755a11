"""What a server does again and again beside its requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from everloom.kit import log
from everloom.kit.errors import Unavailable

_log = logging.getLogger(__name__)


async def every(seconds: float, what: str, sweep: Callable[[], Awaitable[None]], *, share: float = 1.0) -> None:
    """Sweep, then pause for ``seconds``, until cancelled; whatever a sweep raises, the next one comes.

    ``what`` names it in the log. ``share``: of the time, the sweep takes this much at most; a slow one pauses longer.
    """
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            await sweep()
        except Unavailable as away:
            log.outage(what, away)
        except Exception:
            _log.exception("%s failed; trying again", what)
        await asyncio.sleep(max(seconds, (clock() - began) / share))
