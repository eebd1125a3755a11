"""Whose turn it is to be trained: a project has one job in line or on a device, and the line is one for all projects.
So they take turns, however many jobs one of them has (docs/decisions/fine-tuning.md).
"""

import logging

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.errors import Unavailable
from everloom.objects.fine_tuning import FineTuningJob, FineTuningWork
from everloom.store.base import Change, Start
from everloom.work.fine_tuning.verbs import FINE_TUNING_JOB, TRAINING_JOB

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
MOST_AWAY = 16
"""Jobs that upstreams train at a time, of all projects, about: each has a place in a lane that others need."""

SILENT_SECONDS = 600
"""After so long without a word a job in line, or on a device, is called again. It costs a look where all is well."""


async def call_next(ctx: Context) -> None:
    """Put the oldest queued jobs of the project into their lines, where none of its is in it or trained."""
    jobs = await ctx.store.all(FineTuningJob, status=["queued", "running"])
    if not any(job.status == "queued" for job in jobs):
        return
    works = {work.id: work for work in await ctx.store.all(FineTuningWork, id=[job.id for job in jobs])}
    taken = {work.lane for job in jobs if (work := works.get(job.id)) and (work.in_line or job.status == "running")}
    for job in jobs:
        work = works.get(job.id)
        if work is not None and job.status == "queued" and work.lane not in taken:
            taken.add(work.lane)
            if work.lane == "training" or not await _is_full(ctx):
                await call(ctx, work)


async def _is_full(ctx: Context) -> bool:
    """Whether upstreams have enough to do; a sweep looks again."""
    return len(await ctx.ports.database.across(FineTuningJob, limit=MOST_AWAY, running=True)) >= MOST_AWAY


async def call(ctx: Context, work: FineTuningWork) -> None:
    """Have a job be trained when a device is free."""

    def enter(work: FineTuningWork) -> None:
        work.in_line, work.called_at = True, now()

    await ctx.store.write(Change(FineTuningWork, work.id, enter), Start(TRAINING_JOB, work.id, work.lane))


async def sweep(ports: Ports) -> None:
    """Call whoever was not called, of all projects: two that looked at the same time may each have counted on the
    other; and those again of whom nothing was heard for long.
    """
    for project, work in await ports.database.across(FineTuningWork, limit=10_000, open=True):
        try:
            await _look(Context.of(ports, project), work)
        except Unavailable:
            raise
        except Exception:
            log.exception("looking after the fine-tuning job %s failed; it will be tried again", work.id)


async def _look(ctx: Context, work: FineTuningWork) -> None:
    jobs = await ctx.store.all(FineTuningJob, id=[work.id])
    silent = abs(now() - work.called_at) > SILENT_SECONDS
    if not jobs:
        return
    status = jobs[0].status
    if status == "queued" and not work.in_line:
        await call_next(ctx)
    elif silent and (status == "running" or (status == "queued" and work.in_line)):
        await call(ctx, work)
    elif silent and status != "paused":  # To be looked at, or to be cleared up.

        def note(work: FineTuningWork) -> None:
            work.called_at = now()

        await ctx.store.write(Change(FineTuningWork, work.id, note), Start(FINE_TUNING_JOB, work.id, "background"))
