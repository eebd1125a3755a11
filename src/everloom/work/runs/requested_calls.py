"""The calls of one answer: a step that grows call by call, piece by piece."""

from collections.abc import Iterable

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
from everloom.objects.tools import FunctionTool
from everloom.store.base import Add, Change, Operation, Tell
from everloom.tools.base import Draft
from everloom.tools.registry import draft, tag

_encode = msgspec.json.Encoder().encode


def step_delta(step_id: str, call: CallDelta) -> Tell:
    """The event that says what one call of a step grew by."""
    delta = StepDetailsDelta(step_details=ToolCallsDelta(tool_calls=[call]))
    return Tell("thread.run.step.delta", _encode(RunStepDelta(id=step_id, delta=delta)))


class RequestedCalls:
    """What a model asks for in one answer, by its own tools' shapes.

    ``used`` are the ids of the run's earlier calls: servers that name every first call ``call_0`` would otherwise have
    two calls share an output.
    """

    def __init__(self, run: Run, step: RunStep, used: Iterable[str] = ()) -> None:
        self.step = step
        self._run = run
        self._drafts: list[Draft] = []
        self._positions: dict[int, int] = {}
        self._used = set(used)

    def take(self, chunk: ToolCallChunk) -> list[Operation]:
        """Grow by one piece of one call."""
        function = chunk.function
        deltas: list[CallDelta | None] = []
        if (position := self._positions.get(chunk.index)) is None:
            position = self._positions[chunk.index] = len(self._drafts)
            id = chunk.id if chunk.id and chunk.id.startswith("call_") else new_id("call_")
            id = new_id("call_") if id in self._used else id
            self._used.add(id)
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
            work_of(self.step, call, created_at)
            for call in self._drafts
            if not isinstance(call.whole(), FunctionStepCall)
        ]


def work_of(step: RunStep, call: Draft, created_at: int) -> Add[ToolWork]:
    """A call that this server is to answer, kept."""
    return Add(
        ToolWork(
            id=new_id("work_"),
            call_id=call.id,
            created_at=created_at,
            run_id=step.run_id,
            step_id=step.id,
            type=tag(call.whole()),
            arguments=call.arguments,
        )
    )


def undeclared(run: Run, calls: list[StepCall]) -> str:
    """The name of a function that a model calls in a run without any; empty where there are some, whose program can say
    what is wrong with the name.
    """
    if any(isinstance(tool, FunctionTool) for tool in run.tools):
        return ""
    return next((f"'{call.function.name}'" for call in calls if isinstance(call, FunctionStepCall)), "")


def required_of(calls: list[StepCall]) -> list[RequiredCall]:
    """The calls among these that the run's caller has to answer."""
    return [
        RequiredCall(id=call.id, function=FunctionCall(name=call.function.name, arguments=call.function.arguments))
        for call in calls
        if isinstance(call, FunctionStepCall)
    ]
