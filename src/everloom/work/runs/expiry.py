"""Upkeep of runs by what stands in the store: deadlines that pass, and cancellations that nobody answers.

The deadline is the run's own ``expires_at``, so the timer is as durable as the run, and every process
may look: whoever is first moves the run, the others find it moved.
"""

from contextlib import suppress

from everloom.context import Ports
from everloom.kit.clock import now
from everloom.objects.runs import Run, RunLease
from everloom.store.base import Add, Change, Conflict, Missing, Start
from everloom.work.runs.verbs import RUN_JOB

LOOK_SECONDS = 1.0

OVERDUE_SECONDS = 2
"""An executor ends its own run at the deadline; this long after it, somebody else does."""

AGAIN_SECONDS = 30
"""Whoever was called to end a run has this long before somebody else is."""


async def sweep(ports: Ports) -> None:
    """Look over all active runs."""
    for project, run in await ports.database.across(Run, active=True):
        await look(ports, project, run)


async def look(ports: Ports, project: str, run: Run) -> None:
    """Call somebody to end one active run that is overdue, or was cancelled.

    Whoever works on it has heard of either, or knows the time. This one takes the run from an executor that hangs.
    """
    late = -1 if run.expires_at is None else now() - run.expires_at
    overdue = (late >= 0 and run.status in ("queued", "requires_action")) or late >= OVERDUE_SECONDS
    if not overdue and run.status != "cancelling":
        return
    store = ports.database.store(project)
    call = Start(RUN_JOB, f"{run.id}.end")
    try:
        _check(await store.get(RunLease, run.id))  # in most looks this is the end of it, and nothing is written
        await store.write(Change(RunLease, run.id, _call), call)
    except _Called:
        return
    except Missing:
        lease = RunLease(id=run.id, created_at=now(), called_at=now())
        with suppress(Missing, Conflict):  # the run is gone, or others have given it a lease
            await store.write(Change(Run, run.id), Add(lease), call)


class _Called(Exception):
    """Somebody was called a moment ago."""


def _check(lease: RunLease) -> None:
    if now() - lease.called_at < AGAIN_SECONDS:
        raise _Called


def _call(lease: RunLease) -> None:
    _check(lease)
    lease.called_at = now()
