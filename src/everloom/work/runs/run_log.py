"""A line of the log for each run that has ended, or waits for its caller: what came of it, by which model."""

import logging
from collections.abc import Iterable
from typing import Any

from prometheus_client import Counter

from everloom.kit.clock import now
from everloom.objects.runs import TERMINAL, Run
from everloom.store.base import Change, Operation, Written

log = logging.getLogger("everloom.runs")

_ENDS = Counter("everloom_run_ends", "Runs that this process has brought to their end", ["status"])
for _status in TERMINAL:
    _ENDS.labels(_status)


def log_rest(operations: Iterable[Operation], written: Written, project: str, answered_by: str) -> None:
    """As ``log_end``, of the run that a write of its executor has brought there."""
    for each in operations:
        if isinstance(each, Change) and each.cls is Run:
            log_end(written[each], project, answered_by)


def log_end(run: Run, project: str, answered_by: str = "") -> None:
    """Log a run that has just come to rest. ``answered_by``: the model that has answered, by its own name."""
    if run.status in TERMINAL:
        _ENDS.labels(run.status).inc()
    level = logging.WARNING if run.status in ("failed", "expired") else logging.INFO
    if log.isEnabledFor(level):
        log.log(level, "run %s", run.status, extra=_fields(run, project, answered_by))


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
