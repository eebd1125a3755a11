"""What all processes on the database have to do: for whoever watches the server, and for its own log."""

import asyncio
import logging

from everloom.context import Ports, ServerLoad
from everloom.objects.runs import NEXT, TERMINAL, Run

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0

PATIENCE_SECONDS = 5.0
"""So long something may wait without it meaning anything: workers are started anew, and take a moment to begin."""

AGAIN_SECONDS = 300.0
"""Between two warnings, while nothing changes."""


async def look(ports: Ports) -> ServerLoad:
    """What there is to do, as of a moment ago. Errors: what the database raised; ``TimeoutError`` where it hangs."""
    return await ports.load.ask(lambda: _look(ports))


async def _look(ports: Ports) -> ServerLoad:
    jobs = await ports.jobs.load()
    found = await ports.database.tally(Run, "status", active=True)
    return ServerLoad(jobs, {status: found.get(status, 0) for status in NEXT if status not in TERMINAL})


async def warn_of_idle_queues(ports: Ports) -> None:
    """Say it in the log, at once and then seldom, while jobs wait and nobody works. Runs until it is cancelled."""
    clock = asyncio.get_running_loop().time
    warned = float("-inf")
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            jobs = await asyncio.wait_for(ports.jobs.load(), LOOK_SECONDS)  # Of runs the warning says nothing.
        except Exception:
            continue  # The database is away, which those say who need it.
        late = [load for load in jobs.lanes.values() if load.waiting and load.oldest >= PATIENCE_SECONDS]
        if jobs.workers or not late:
            if warned > 0 and jobs.workers:
                log.warning("a worker lives again (there are %d)", jobs.workers)
                warned = float("-inf")
            continue
        if clock() - warned < AGAIN_SECONDS:
            continue
        warned = clock()
        waiting, oldest = sum(load.waiting for load in late), max(load.oldest for load in late)
        text = "no worker lives, and jobs wait: %d, the oldest for %d seconds; start 'everloom worker', or a server"
        log.warning(f"{text} without --no-worker", waiting, oldest)
