"""Upkeep of the logs of runs: some time after its end a run's log is folded and packed.

Nothing is told to it any more by then, so it is read at leisure and replaced in one write, in which the mark of its
wait goes: whoever comes second, in this process or another, finds no mark and writes nothing. Who reads the log
meanwhile goes on behind the event that was read last, whichever form it has (``work/runs/events.py``).
"""

import asyncio
import logging
from contextlib import suppress

from everloom.context import Ports
from everloom.kit.clock import now
from everloom.kit.errors import Unavailable
from everloom.objects.runs import EndedLog
from everloom.store.base import Missing, Pack, Remove, Store
from everloom.work.runs.folding import Folding

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
LOOK_SHARE = 0.2
"""The part of its time that a worker may spend with it, where a database has many logs of old."""

_ROUND = 400
"""Logs looked at in a sweep, …"""

_AT_ONCE = 8
"""… so many of them at a time, which makes few commits of many writes, …"""

_BATCH = 100
"""… and the events of one that are folded before others have their turn."""


async def sweep(ports: Ports) -> None:
    """Compact logs that are due, those first that have waited longest."""
    seconds = ports.limits.compact_events_after
    if not seconds:
        return
    found = await ports.database.across(EndedLog, limit=_ROUND, waiting=True)
    # In the future only where the clock was set back since.
    due = [(project, ended.id) for project, ended in found if not 0 <= now() - ended.created_at < seconds]
    for first in range(0, len(due), _AT_ONCE):
        some = due[first : first + _AT_ONCE]
        await asyncio.gather(*(_compact(ports.database.store(project), run_id) for project, run_id in some))


async def _compact(store: Store, run_id: str) -> None:
    """Compact one log; one that cannot be stays as it is, and before nobody's turn."""
    try:
        await compact(store, run_id)
    except Unavailable:
        raise
    except Exception:
        log.exception("the log of the run %s cannot be compacted", run_id)
        await store.write(Remove(EndedLog, [run_id]))


async def compact(store: Store, run_id: str) -> None:
    """Fold and pack the log of a run that has ended, unless that has been done."""
    folding, after = Folding(), 0
    while events := await store.events(run_id, after, _BATCH):
        after = events[-1].seq
        folding.take(events)
        await asyncio.sleep(0)
    with suppress(Missing):  # another was first, or the run is gone
        await store.write(Remove(EndedLog, run_id), Pack(run_id, folding.events()))
