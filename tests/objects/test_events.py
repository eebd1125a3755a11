"""The names of events: those of the reference, one for every state that is told."""

from typing import get_args

from everloom.objects.events import RUN_EVENTS, STEP_EVENTS, STEP_OPENED, EventName
from everloom.objects.runs import RunStatus
from everloom.objects.steps import StepStatus
from tests.spec.overlay import document
from tests.spec.spec import needs_spec

NAMES = frozenset(get_args(EventName))


def test_every_state_has_its_event() -> None:
    assert {status: f"thread.run.{status}" for status in get_args(RunStatus)} == RUN_EVENTS
    assert {status: f"thread.run.step.{status}" for status in get_args(StepStatus)} == STEP_EVENTS
    assert {*RUN_EVENTS.values(), *STEP_EVENTS.values(), *STEP_OPENED} <= NAMES


@needs_spec
def test_the_names_are_the_references() -> None:
    schemas = document("assistants=v2")["components"]["schemas"]
    published = {
        name
        for schema in ("ThreadStreamEvent", "RunStreamEvent", "RunStepStreamEvent", "MessageStreamEvent")
        for kind in schemas[schema].get("oneOf", [schemas[schema]])
        for name in kind["properties"]["event"]["enum"]
    }
    assert published == NAMES
