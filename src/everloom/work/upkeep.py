"""What a worker does every now and then, by what stands in the store: deadlines that pass, leavings of the dead."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from msgspec import Struct

from everloom.context import Ports
from everloom.kit.errors import Unavailable
from everloom.kit.log import outage

log = logging.getLogger(__name__)


class Upkeep(Struct, frozen=True):
    """A sweep, and the seconds between its end and its next beginning.

    ``share`` of the time is the most that it may take: behind a sweep that took long the pause is longer.
    """

    what: str
    seconds: float
    sweep: Callable[[Ports], Awaitable[None]]
    share: float = 1.0


async def every(upkeep: Upkeep, ports: Ports) -> None:
    """Sweep until cancelled, whatever fails. A failure is logged when it begins, not again at each round."""
    loop = asyncio.get_running_loop()
    failing = ""
    while True:
        before = loop.time()
        try:
            await upkeep.sweep(ports)
        except Unavailable as away:
            outage(upkeep.what, away)
        except Exception as error:
            if repr(error) != failing:
                log.exception("looking after %s failed; trying again", upkeep.what)
            failing = repr(error)
        else:
            if failing:
                log.warning("looking after %s goes well again", upkeep.what)
            failing = ""
        await asyncio.sleep(max(upkeep.seconds, (loop.time() - before) * (1 / upkeep.share - 1)))
