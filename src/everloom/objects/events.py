"""The names of the events that a run's log keeps (AssistantStreamEvent), and which one tells each state of a noun."""

from typing import Literal

from everloom.objects.runs import RunStatus
from everloom.objects.steps import StepStatus

EventName = Literal[
    "thread.created",
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.requires_action",
    "thread.run.cancelling",
    "thread.run.cancelled",
    "thread.run.failed",
    "thread.run.completed",
    "thread.run.incomplete",
    "thread.run.expired",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.run.step.delta",
    "thread.run.step.completed",
    "thread.run.step.failed",
    "thread.run.step.cancelled",
    "thread.run.step.expired",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.message.incomplete",
]

RUN_EVENTS: dict[RunStatus, EventName] = {
    "queued": "thread.run.queued",
    "in_progress": "thread.run.in_progress",
    "requires_action": "thread.run.requires_action",
    "cancelling": "thread.run.cancelling",
    "cancelled": "thread.run.cancelled",
    "failed": "thread.run.failed",
    "completed": "thread.run.completed",
    "incomplete": "thread.run.incomplete",
    "expired": "thread.run.expired",
}
"""What is told when a run comes to a state."""

STEP_EVENTS: dict[StepStatus, EventName] = {
    "in_progress": "thread.run.step.in_progress",
    "cancelled": "thread.run.step.cancelled",
    "failed": "thread.run.step.failed",
    "completed": "thread.run.step.completed",
    "expired": "thread.run.step.expired",
}
"""What is told when a step comes to a state."""

STEP_OPENED: tuple[EventName, ...] = ("thread.run.step.created", "thread.run.step.in_progress")
"""What is told of a step that has been begun."""
