"""What is told of a fine-tuning job: its events, and the file of all steps that they become."""

from collections.abc import AsyncIterator
from typing import Literal

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.base import JsonObject, PageQuery
from everloom.objects.fine_tuning import FineTuningJobEvent
from everloom.store.base import Add

_COLUMNS = (
    "step",
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
"""Of ``step_metrics.csv``, in the platform's order; what it calls train_accuracy the events call
train_mean_token_accuracy.
"""

Level = Literal["info", "warn", "error"]

_KEYS = {"train_accuracy": "train_mean_token_accuracy"}
_LONGEST_MESSAGE = 4000


def told(
    job_id: str, message: str, *, level: Level = "info", data: JsonObject | None = None
) -> Add[FineTuningJobEvent]:
    """Part of a write that tells something; of a step where there is ``data``."""
    event = FineTuningJobEvent(
        id=new_id("ftevent-"),
        created_at=now(),
        level=level,
        message=message[:_LONGEST_MESSAGE],
        type="message" if data is None else "metrics",
        data=data,
        fine_tuning_job_id=job_id,
    )
    return Add(event)


async def step_metrics(ctx: Context, job_id: str) -> AsyncIterator[bytes]:
    """``step_metrics.csv``: a line a step."""
    yield (",".join(_COLUMNS) + "\n").encode()
    after: str | None = None
    while True:
        page = await ctx.store.find(
            FineTuningJobEvent, PageQuery(limit=100, order="asc", after=after), fine_tuning_job_id=job_id
        )
        for event in page.decode():
            if event.data is not None:
                values = (event.data.get(_KEYS.get(column, column)) for column in _COLUMNS)
                yield (",".join(map(_cell, values)) + "\n").encode()
        if not page.has_more:
            return
        after = page.last_id


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
