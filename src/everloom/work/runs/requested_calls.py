"""The calls of one answer: a step that grows call by call, piece by piece."""

import msgspec

from everloom.kit.ids import new_id
from everloom.objects.chat import ToolCallChunk
from everloom.objects.runs import FunctionCall, RequiredCall, Run, ToolWork
from everloom.objects.steps import (
    CallDelta,
    FunctionStepCall,
    RunStep,
    RunStepDelta,
    StepCall,
    StepDetailsDelta,
    ToolCalls,
    ToolCallsDelta,
)
from everloom.store.base import Add, Change, Operation, Tell
from everloom.tools.base import Draft
from everloom.tools.registry import draft

_encode = msgspec.json.Encoder().encode


def step_delta(step_id: str, call: CallDelta) -> Tell:
    """The event that says what one call of a step grew by."""
    delta = StepDetailsDelta(step_details=ToolCallsDelta(tool_calls=[call]))
    return Tell("thread.run.step.delta", _encode(RunStepDelta(id=step_id, delta=delta)))


class RequestedCalls:
    """What a model asks for in one answer, by its own tools' shapes."""

    def __init__(self, run: Run, step: RunStep) -> None:
        self.step = step
        self._run = run
        self._drafts: list[Draft] = []
        self._positions: dict[int, int] = {}

    def take(self, chunk: ToolCallChunk) -> list[Operation]:
        """Grow by one piece of one call."""
        function = chunk.function
        deltas: list[CallDelta | None] = []
        if (position := self._positions.get(chunk.index)) is None:
            position = self._positions[chunk.index] = len(self._drafts)
            id = chunk.id if chunk.id and chunk.id.startswith("call_") else new_id("call_")
            self._drafts.append(draft(self._run.tools, id, function.name or "" if function else ""))
            deltas.append(self._drafts[position].begin(position))
        if function and function.arguments:
            deltas.append(self._drafts[position].grow(position, function.arguments))
        return [step_delta(self.step.id, delta) for delta in deltas if delta is not None]

    def whole(self) -> list[StepCall]:
        """The calls as the step keeps them, without outputs."""
        return [draft.whole() for draft in self._drafts]

    def fill(self) -> Change[RunStep]:
        """Put the whole calls into their step; it stays open until they are answered."""
        details = ToolCalls(tool_calls=self.whole())

        def edit(step: RunStep) -> None:
            step.step_details = details

        return Change(RunStep, self.step.id, edit)

    def works(self, created_at: int) -> list[Operation]:
        """The calls that this server answers itself, to be kept before the first of them starts."""
        return [
            Add(
                ToolWork(
                    id=new_id("work_"),
                    call_id=work.id,
                    created_at=created_at,
                    run_id=self._run.id,
                    step_id=self.step.id,
                    type=str(work.whole().__struct_config__.tag),
                    arguments=work.arguments,
                )
            )
            for work in self._drafts
            if not isinstance(work.whole(), FunctionStepCall)
        ]


def required_of(calls: list[StepCall]) -> list[RequiredCall]:
    """The calls among these that the run's caller has to answer."""
    return [
        RequiredCall(id=call.id, function=FunctionCall(name=call.function.name, arguments=call.function.arguments))
        for call in calls
        if isinstance(call, FunctionStepCall)
    ]
