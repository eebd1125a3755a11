"""Upkeep of runs by what stands in the store: deadlines that pass, and cancellations that nobody answers.

The deadline is the run's own ``expires_at``, so the timer is as durable as the run, and every process
may look: whoever is first moves the run, the others find it moved. A clock that is set to another day ends no run
(``docs/decisions/deadlines.md``).
"""

from contextlib import suppress

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.objects.runs import Run, RunLease
from everloom.store.base import Add, Change, Conflict, Missing, Start
from everloom.work.runs.deadline import RUNS, seconds_left
from everloom.work.runs.verbs import RUN_JOB, expire_queued

LOOK_SECONDS = 1.0

OVERDUE_SECONDS = 2
"""An executor ends its own run at the deadline; this long after it, somebody else does."""

AGAIN_SECONDS = 30
"""Whoever was called to end a run has this long before somebody else is."""


async def sweep(ports: Ports) -> None:
    """Look over all active runs."""
    active = await ports.database.across(Run, active=True)
    ports.deadlines.forget_but(RUNS, {(project, run.id) for project, run in active})
    unsettled = ports.deadlines.unsettled()
    for project, run in active:
        await look(ports, project, run, unsettled=unsettled)


async def look(ports: Ports, project: str, run: Run, *, unsettled: bool = False) -> None:
    """Call somebody to end one active run that is overdue, or was cancelled.

    Whoever works on it has heard of either, or knows the time. This one takes the run from an executor that hangs.
    ``unsettled``: the wall clock has jumped, so that nothing is overdue which this process did not know before.
    """
    left = seconds_left(ports, project, run)
    overdue = left <= (0 if run.status in ("queued", "requires_action") else -OVERDUE_SECONDS)
    if (unsettled or not overdue) and run.status != "cancelling":
        return
    if run.status == "queued" and await expire_queued(Context.of(ports, project), run.id):
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
    if 0 <= now() - lease.called_at < AGAIN_SECONDS:  # in the future only where the clock was set back
        raise _Called


def _call(lease: RunLease) -> None:
    _check(lease)
    lease.called_at = now()
