"""Taking a run up where its executor died: what stands half done, and how the next executor deals with it."""

import msgspec

from everloom.context import Context
from everloom.kit.clock import now
from everloom.objects.messages import (
    ContentDelta,
    ImageFileContent,
    ImageFileContentDelta,
    IncompleteMessage,
    IncompleteReason,
    Message,
    MessageDelta,
    Text,
    TextContent,
    TextContentDelta,
)
from everloom.objects.steps import MessageCreation, RunStep, StepError, StepStatus
from everloom.store.base import Change, Event, Operation, Remove, Retract
from everloom.work.runs.answer import break_step
from everloom.work.runs.state import RunState

_delta = msgspec.json.Decoder(MessageDelta)


class Recovery:
    """What was left in the middle of a generation: ``steps`` stand behind the run's last whole one, ``events`` is the
    log from where they begin.

    ``open`` are all steps that have not ended: those of ``steps``, and calls that wait for their outputs.
    """

    def __init__(self, steps: list[RunStep], open: list[RunStep], events: list[Event]) -> None:
        self.steps = steps
        self._open = open
        self._events = events

    @property
    def message_ids(self) -> list[str]:
        """Of the messages that were being written."""
        return [id for step in self.steps if (id := _message_id(step)) is not None]

    def retract(self) -> list[Operation]:
        """Take them back, to be told again from the start: in one write with what takes their place."""
        if not self.steps:
            return []
        operations: list[Operation] = [Remove(RunStep, step.id) for step in self.steps]
        operations += [Remove(Message, id) for id in self.message_ids]
        if self._events:
            operations.append(Retract(self._events[0].seq))
        return operations

    def break_off(self, status: StepStatus, reason: IncompleteReason, error: StepError | None) -> list[Operation]:
        """Close what is open with its run: messages keep what was told of them."""
        operations: list[Operation] = []
        for step in self._open:
            if (message_id := _message_id(step)) is not None:
                operations.append(self._end_message(message_id, reason))
            operations.append(break_step(step.id, status, error))
        return operations

    def _end_message(self, message_id: str, reason: IncompleteReason) -> Change[Message]:
        parts = self._parts(message_id)
        told = "".join(part.text.value or "" for part in parts if isinstance(part, TextContentDelta))
        pictures = [
            ImageFileContent(image_file=part.image_file) for part in parts if isinstance(part, ImageFileContentDelta)
        ]

        def edit(message: Message) -> None:
            message.content = [*pictures]
            if told:
                message.content.append(TextContent(text=Text(value=told)))
            message.status, message.incomplete_at = "incomplete", now()
            message.incomplete_details = IncompleteMessage(reason=reason)

        return Change(Message, message_id, edit, tell=("thread.message.incomplete",))

    def _parts(self, message_id: str) -> list[ContentDelta]:
        """What was told of a message, piece by piece."""
        deltas = [_delta.decode(event.data) for event in self._events if event.name == "thread.message.delta"]
        return [part for delta in deltas if delta.id == message_id for part in delta.delta.content]


def _message_id(step: RunStep) -> str | None:
    details = step.step_details
    return details.message_creation.message_id if isinstance(details, MessageCreation) else None


async def recovery_of(ctx: Context, state: RunState) -> Recovery:
    """What stands of a run behind its last whole generation, and behind calls that are whole."""
    whole = {generation.step_id for generation in state.generations} | {work.step_id for work in state.works}
    open = [step for step in state.steps if step.status == "in_progress"]
    behind = max((place for place, step in enumerate(state.steps, start=1) if step.id in whole), default=0)
    steps = state.steps[behind:]
    if not steps:
        return Recovery([], open, [])
    mark = steps[0].id.encode()
    after, events = 0, []
    while batch := await ctx.store.events(state.run.id, after):
        after = batch[-1].seq
        events += batch
    for position, event in enumerate(events):
        if event.name == "thread.run.step.created" and mark in event.data:
            return Recovery(steps, open, events[position:])
    return Recovery(steps, open, [])
