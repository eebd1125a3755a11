"""A line of the log for each run that has ended, or waits for its caller: what came of it, by which model."""

import logging
from typing import Any

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import Unavailable
from everloom.objects.runs import Run
from everloom.store.base import Missing

log = logging.getLogger("everloom.runs")


async def log_rest(ctx: Context, run_id: str, answered_by: str) -> None:
    """As ``log_end``, of a run that its executor has just brought there. It is read only where the log is."""
    if not log.isEnabledFor(logging.INFO):
        return
    try:
        log_end(await ctx.store.get(Run, run_id), ctx.project, answered_by)
    except (Missing, Unavailable) as gone:  # Its end is kept; the line is not worth more.
        log.info("run %s has come to rest, and cannot be read: %s", run_id, gone)


def log_end(run: Run, project: str, answered_by: str = "") -> None:
    """Log a run that has just come to rest. ``answered_by``: the model that has answered, by its own name."""
    failed = run.status in ("failed", "expired")
    log.log(logging.WARNING if failed else logging.INFO, "run %s", run.status, extra=_fields(run, project, answered_by))


def _fields(run: Run, project: str, answered_by: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"run_id": run.id, "thread_id": run.thread_id}
    fields |= {"assistant_id": run.assistant_id, "project_id": project}
    fields["seconds"] = now() - run.created_at
    fields["model"] = run.model if answered_by in ("", run.model) else f"{run.model} -> {answered_by}"
    if run.usage is not None:
        fields["tokens_read"], fields["tokens_written"] = run.usage.prompt_tokens, run.usage.completion_tokens
    if run.incomplete_details is not None:
        fields["reason"] = run.incomplete_details.reason
    if run.last_error is not None:
        fields["error"] = f"{run.last_error.code}: {run.last_error.message}"
    return fields
