"""The calls that this server answers itself, each kept before it starts and after it ends."""

from msgspec import Struct

from everloom.context import Context
from everloom.kit.clock import now
from everloom.objects.runs import Run, ToolWork
from everloom.objects.steps import FunctionStepCall, RunStep, StepCall, ToolCalls
from everloom.objects.tools import Usage
from everloom.store.base import Change, Operation
from everloom.tools.base import Outcome
from everloom.tools.registry import built_in, tool_of
from everloom.work.runs.state import RunState
from everloom.work.runs.tool_costs import cost_of_call
from everloom.work.runs.tool_execution import RunToolExecution, RunToolHost
from everloom.work.runs.writer import RunWriter


class Pending(Struct, frozen=True):
    """A step whose calls are whole and not all answered; ``usage`` is what asking for them cost."""

    step: RunStep
    calls: list[StepCall]
    works: list[ToolWork]
    usage: Usage


def pending_calls(state: RunState) -> Pending | None:
    """The calls of a run that wait for this server, if there are any."""
    for step in state.steps:
        if step.status == "in_progress" and isinstance(step.step_details, ToolCalls):
            works = [work for work in state.works if work.step_id == step.id]
            if works:
                spent = [spent for spent in state.generations if spent.step_id == step.id]
                return Pending(step, step.step_details.tool_calls, works, spent[0].usage if spent else Usage())
    return None


async def ready(ctx: Context, run: Run) -> None:
    """Wait for what the run's tools need. Errors: ``ToolFailure`` when it will not come."""
    host = RunToolHost(ctx, run)
    for tool in built_in(run.tools):
        await tool.ready(host)


async def run_tool_calls(ctx: Context, state: RunState, pending: Pending, writer: RunWriter) -> None:
    """Answer each call that has not ended, one after the other."""
    ordinals = {work.id: number for number, work in enumerate(state.works, start=1)}
    for work in pending.works:
        if work.ended_at is not None:
            continue
        index = next(position for position, call in enumerate(pending.calls) if call.id == work.call_id)
        execution = RunToolExecution(ctx, state.run, pending.step, index, work, ordinals[work.id], writer)
        async with cost_of_call(ctx, state.run, work) as cost:
            await writer.commit(Change(ToolWork, work.id, _start), *cost.begun())
            cost.settle()
            outcome = await tool_of(work.type).run(execution)
            await writer.commit(*_ended(execution, outcome), *cost.ended(execution.searched))
            cost.settle()


def _start(work: ToolWork) -> None:
    work.started_at = work.started_at or now()


def _ended(execution: RunToolExecution, outcome: Outcome) -> list[Operation]:
    def fill(step: RunStep) -> None:
        assert isinstance(step.step_details, ToolCalls)
        step.step_details.tool_calls[execution.index] = outcome.call

    def end(work: ToolWork) -> None:
        work.ended_at = now()
        work.output = outcome.output
        work.sources = outcome.sources

    return [
        Change(RunStep, execution.step.id, fill),
        Change(ToolWork, execution.work.id, end),
    ]


def close_step(pending: Pending) -> Change[RunStep]:
    """Complete a step all of whose calls this server has answered."""
    assert not any(isinstance(call, FunctionStepCall) for call in pending.calls)

    def edit(step: RunStep) -> None:
        step.status = "completed"
        step.completed_at = now()
        step.usage = pending.usage

    return Change(RunStep, pending.step.id, edit, tell=("thread.run.step.completed",))
