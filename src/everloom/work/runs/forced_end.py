"""The end of a run that its executors cannot bring about (``work/last_resort.py``)."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import NO_JSON
from everloom.objects.events import EventName
from everloom.objects.messages import IncompleteMessage, IncompleteReason, Message
from everloom.objects.runs import Run, RunLease, RunStatus
from everloom.objects.steps import RunStep, StepStatus
from everloom.objects.tools import Usage
from everloom.store.base import Change, Missing, Operation, Remove
from everloom.work.runs.answer import break_step
from everloom.work.runs.ending import STEP_STATUS
from everloom.work.runs.recovery import recovery_of
from everloom.work.runs.run_log import log_end
from everloom.work.runs.state import load
from everloom.work.runs.verbs import IllegalTransition, disturb, ending
from everloom.work.salvage import salvage

log = logging.getLogger(__name__)


async def end_without_executor(ctx: Context, run: Run) -> bool:
    """End a run whose time is over by a plain write, whoever holds it; open steps and messages end with it.

    Its lease is taken away from its executors, and what of it is missing or cannot be read is passed over. Whether it
    was still to be ended.
    """
    status: RunStatus = "cancelled" if run.status == "cancelling" else "expired"
    step_status = STEP_STATUS[status]
    usage: Usage | None = None
    try:
        state = await load(ctx, run)
        usage = state.usage
        broken: list[Operation] = (await recovery_of(ctx, state)).break_off(step_status, _REASONS[status], None)
    except NO_JSON as problem:
        log.error("run %s cannot be read whole: %s", run.id, problem)
        broken = []
    known = {(each.cls, each.id) for each in broken if isinstance(each, Change)}
    broken += [each for each in await _open(ctx, run, step_status) if (each.cls, each.id) not in known]
    end = ending(run.id, status, usage)
    try:
        ended = await salvage(ctx.store, [*broken, Remove(RunLease, [run.id]), end], end, log=run.id)
    except (Missing, IllegalTransition):
        return False  # somebody else was faster
    log_end(ended, ctx.project)
    disturb(ctx, run.id)
    ctx.ports.bus.wake(run.id)
    return True


_REASONS: Mapping[RunStatus, IncompleteReason] = {"cancelled": "run_cancelled", "expired": "run_expired"}


async def _open(ctx: Context, run: Run, status: StepStatus) -> list[Change[Any]]:
    """What ends those steps and messages of a run that can be read and are open, each as it stands."""

    def end(message: Message) -> None:
        message.status, message.incomplete_at = "incomplete", now()
        message.incomplete_details = IncompleteMessage(reason=_REASONS[run_status])

    run_status: RunStatus = "cancelled" if status == "cancelled" else "expired"
    opened: list[Change[Any]] = []
    for cls, id in await _told(ctx, run):
        try:
            thing = await ctx.store.get(cls, id)
        except (Missing, *NO_JSON):
            continue
        if isinstance(thing, Message) and thing.status == "in_progress":
            opened.append(Change(Message, id, end, tell=("thread.message.incomplete",)))
        elif isinstance(thing, RunStep) and thing.status == "in_progress":
            opened.append(break_step(id, status))
    return opened


class _Named(Struct):
    id: str


_named = msgspec.json.Decoder(_Named)


async def _told(ctx: Context, run: Run) -> list[tuple[type[RunStep | Message], str]]:
    """The steps and messages of which a run's log tells: in a list of rows one that is spoilt hides the others."""
    found: dict[tuple[type[RunStep | Message], str], None] = {}
    after = 0
    while events := await ctx.store.events(run.id, after):
        after = events[-1].seq
        for event in events:
            if (cls := _OPENED.get(event.name)) is not None:
                found[cls, _named.decode(event.data).id] = None
    return list(reversed(found))  # a message before its step, as executors end them


_OPENED: Mapping[EventName, type[RunStep | Message]] = {
    "thread.run.step.created": RunStep,
    "thread.message.created": Message,
}
