"""Events for webhooks: kept, for each endpoint that wants them, in the write of what they tell."""

import time

from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.base import encode
from everloom.objects.batches import Batch, BatchStatus
from everloom.objects.fine_tuning import FineTuningJob, FineTuningStatus
from everloom.objects.runs import Run, RunStatus
from everloom.objects.webhooks import WebhookDelivery, WebhookEvent, WebhookEventType, WebhookState
from everloom.store.base import LONGEST_WAIT, Add, Change, Each, Operation, Start

WEBHOOK_JOB = "webhook"
"""Jobs of this kind have an endpoint's id as their key: see ``delivery.py``."""

RUN_TYPES: dict[RunStatus, WebhookEventType] = {
    "completed": "thread.run.completed",
    "failed": "thread.run.failed",
    "requires_action": "thread.run.requires_action",
    "expired": "thread.run.expired",
    "cancelled": "thread.run.cancelled",
    "incomplete": "thread.run.incomplete",
}
"""The states of a run that are announced: those in which it is over, or waits for its caller."""


BATCH_TYPES: dict[BatchStatus, WebhookEventType] = {
    "completed": "batch.completed",
    "failed": "batch.failed",
    "expired": "batch.expired",
    "cancelled": "batch.cancelled",
}
"""The states of a batch that are announced: those in which it has ended."""


FINE_TUNING_TYPES: dict[FineTuningStatus, WebhookEventType] = {
    "succeeded": "fine_tuning.job.succeeded",
    "failed": "fine_tuning.job.failed",
    "cancelled": "fine_tuning.job.cancelled",
}
"""The states of a fine-tuning job that are announced: those in which it has ended."""


def announced(type: WebhookEventType, **data: str) -> Each[WebhookState]:
    """Part of the write that brings about what is told: each of the project's endpoints that wants it gets a delivery,
    and is looked at. ``data`` is the event's: the id of what it tells of, for one.

    Endpoints are looked up in the write itself, so that none is missed that was made before, in whatever process.
    """
    made = now()
    event = WebhookEvent(id=new_id("evt_"), created_at=made, type=type, data=data)
    body = encode(event).decode()

    def deliver(state: WebhookState) -> list[Operation]:
        if type not in state.event_types:
            return []
        delivery = WebhookDelivery(id=new_id("wh_"), created_at=made, endpoint_id=state.id, type=type, body=body)
        return [Add(delivery), *_called(state)]

    return Each(WebhookState, deliver)


def _called(state: WebhookState) -> list[Operation]:
    """Have somebody look at a line: whoever holds it, once more; whoever is to come anyway; or else a job.

    Of ten thousand deliveries to one endpoint few start a job.
    """
    at = time.time()
    if state.is_held(at):
        return [] if state.again else [Change(WebhookState, state.id, _again)]
    if state.is_called(at) or (state.is_paused(at) and state.is_looked_at(at, at + LONGEST_WAIT)):
        return []

    def call(state: WebhookState) -> None:
        state.called_at = at

    return [Change(WebhookState, state.id, call), Start(WEBHOOK_JOB, state.id, "outgoing")]


def _again(state: WebhookState) -> None:
    state.again = True


def announced_run(run: Run) -> list[Operation]:
    """What follows from the state that a run has come to."""
    if (type := RUN_TYPES.get(run.status)) is None:
        return []
    return [announced(type, id=run.id, thread_id=run.thread_id)]


def announced_batch(batch: Batch) -> list[Operation]:
    """What follows from the state that a batch has come to."""
    type = BATCH_TYPES.get(batch.status)
    return [] if type is None else [announced(type, id=batch.id)]


def announced_job(job: FineTuningJob) -> list[Operation]:
    """What follows from the state that a fine-tuning job has come to."""
    type = FINE_TUNING_TYPES.get(job.status)
    return [] if type is None else [announced(type, id=job.id)]
