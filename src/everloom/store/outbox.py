"""The outbox's procedures: jobs that were started by writes, taken by job engines, and struck off."""

import time
from collections.abc import Sequence

from everloom.kit.ids import second_of
from everloom.objects.jobs import Backlog, Job, Lane
from everloom.store import sql
from everloom.store.base import LONGEST_WAIT, Start
from everloom.store.sql import Dialect, Procedure, Statement


def start(dialect: Dialect, project: str, job: Start) -> Procedure[None]:
    """A ``Start`` of a write: keep the job until it is done."""
    due = time.time_ns() // 1_000_000 + round(min(job.after, LONGEST_WAIT) * 1000) if job.after else 0
    yield Statement(sql.start(dialect), [job.id, project, job.kind, job.key, job.lane, due], True)


def touch() -> Procedure[None]:
    """``Database.touch``."""
    yield Statement(sql.TOUCH, (), True)


def waiting(dialect: Dialect, lane: Lane, limit: int) -> Procedure[list[Job]]:
    """``Database.waiting``."""
    now = time.time_ns() // 1_000_000
    # Nobody is made to wait for longer, so what is due later was written before the clock was set back.
    rows = yield Statement(sql.waiting(dialect), [lane, now, now + LONGEST_WAIT * 1000, limit])
    return [Job(*row) for row in rows]


def backlog(dialect: Dialect) -> Procedure[dict[Lane, Backlog]]:
    """``Database.backlog``."""
    now = time.time_ns() // 1_000_000
    rows = yield Statement(sql.backlog(dialect), [now, now + LONGEST_WAIT * 1000])
    return {lane: Backlog(jobs, _since(first, due, now)) for lane, jobs, first, due in rows}


def _since(first: str | None, due: int | None, now: int) -> float:
    times = [now]
    if first is not None and (second := second_of(first)) is not None:
        times.append(round(second * 1000))
    if due is not None:
        times.append(due)
    return min(times) / 1000


def done(dialect: Dialect, ids: Sequence[str]) -> Procedure[None]:
    """``Database.done``."""
    for parameter in [list(ids)] if dialect == "postgresql" else ids:
        yield Statement(sql.DONE[dialect], [parameter], True)
