"""Upkeep of runs by what stands in the store: deadlines that pass, runs that nobody works on.

The deadline is the run's own ``expires_at``, so the timer is as durable as the run, and every process
may look: whoever is first moves the run, the others find it moved.
"""

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.objects.runs import Run
from everloom.objects.steps import RunStep
from everloom.work.runs.verbs import RUN_JOB

LOOK_SECONDS = 1.0
STRANDED_SECONDS = 3
"""A queued run this old has no job: its server died between keeping the run and handing it over."""

OVERDUE_SECONDS = 2
"""An executor ends its own run at the deadline; this long after it, somebody else does."""


async def sweep(ports: Ports) -> None:
    """Look over all active runs."""
    for project, run in await ports.database.across(Run, active=True):
        await look(ports, project, run)


async def look(ports: Ports, project: str, run: Run) -> None:
    """Do what one active run needs from outside, if anything."""
    late = 0 if run.expires_at is None else now() - run.expires_at
    if (late >= 0 and run.status in ("queued", "requires_action")) or late >= OVERDUE_SECONDS:
        await ports.jobs.start(RUN_JOB, project, f"{run.id}.expire")
    elif run.status == "queued" and now() - run.created_at >= STRANDED_SECONDS:
        await ports.jobs.start(RUN_JOB, project, await job_key(Context.of(ports, project), run))
    elif run.status == "cancelling":
        # Whoever works on it has been woken. A second executor takes the run from one that hangs or is dead.
        await ports.jobs.start(RUN_JOB, project, f"{run.id}.cancel")


async def job_key(ctx: Context, run: Run) -> str:
    """The key under which a queued run was, or should have been, handed to the jobs."""
    steps = [step for step in await ctx.store.all(RunStep, run_id=run.id) if step.type == "tool_calls"]
    return f"{run.id}.{steps[-1].id}" if steps else run.id
