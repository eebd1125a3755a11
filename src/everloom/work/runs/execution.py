"""The loop of a run. It keeps no state of its own: where the run is stands in the store, so a worker that
takes it up after a crash does what the first one would have done next (docs/decisions/re-entry.md).
"""

import asyncio
import logging
import math
import secrets
from contextlib import aclosing, suppress
from typing import Any

from msgspec import structs

from everloom.bus.base import Watch
from everloom.context import Context, Ports
from everloom.context.ledger import entered, rows_of
from everloom.context.metering import UsageRecord
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, ModelAway, Unavailable
from everloom.objects.messages import IncompleteReason, Message
from everloom.objects.runs import (
    TERMINAL,
    Generation,
    IncompleteRun,
    RequiredAction,
    RequiredCall,
    RequiredCalls,
    Run,
    RunError,
    RunLease,
    RunStatus,
)
from everloom.objects.steps import RunStep, StepError, StepStatus
from everloom.objects.tools import EstimatedUsage, Usage
from everloom.store.base import Add, Change, Enter, Missing, Operation, Written
from everloom.tools.base import ToolFailure
from everloom.work.inference.chat import Heard, stream_chunks
from everloom.work.organization.projects import refuse_archived
from everloom.work.runs.answer import RunAnswer
from everloom.work.runs.away import ModelPatience
from everloom.work.runs.deadline import seconds_left
from everloom.work.runs.ending import STEP_STATUS, deletion_error, model_error, step_error, without
from everloom.work.runs.forced_search import forced_search
from everloom.work.runs.prompt import Prompt, PromptTooLong, build
from everloom.work.runs.recovery import recovery_of
from everloom.work.runs.requested_calls import required_of, undeclared
from everloom.work.runs.run_log import log_rest
from everloom.work.runs.state import RunState, load
from everloom.work.runs.texts import CUT_CALL, FILTERED, OUR_FAULT
from everloom.work.runs.tool_calls import Pending, close_step, pending_calls, ready, run_tool_calls
from everloom.work.runs.verbs import RUN_JOB, IllegalTransition, beginning, ending, moving
from everloom.work.runs.writer import RunWriter, Superseded

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often an executor looks whether its run was cancelled, should the call to it be lost."""


async def execute(ports: Ports, project: str, key: str) -> None:
    """Bring a run to its end or to its next pause. ``key``: see ``RUN_JOB``."""
    ctx = Context.of(ports, project)
    run_id = key.partition(".")[0]
    execution = Execution(ctx, run_id)
    try:
        await execution.go()
    except Superseded:
        log.info("run %s went on elsewhere, or is gone", run_id)
    except Missing as missing:
        if missing.cls is not Run:
            raise
        log.info("run %s is gone", run_id)
    finally:
        await execution.writer.clear()
        execution.hand_over()


class Execution:
    """One executor's hold on one run."""

    def __init__(self, ctx: Context, run_id: str) -> None:
        self._ctx = ctx
        self._run_id = run_id
        self.writer = RunWriter(ctx, run_id, secrets.token_hex(8))
        self._answer: RunAnswer | None = None
        self._heard = Heard()
        self._patience: ModelPatience
        self._named: tuple[str, ...] = ()
        self._done = False
        self._answered_by = ""
        self._spent: list[UsageRecord] = []
        """What the model was asked and is not in the ledger yet: entered with what comes of it."""

    def hand_over(self) -> None:
        """Enter what could not be entered with anything: the run went on elsewhere, or its end could not be kept."""
        for record in self._spent:
            self._ctx.ports.gate.meter.on_record(record)

    async def go(self) -> None:
        """Do what the run's state asks for until it asks for nothing more."""
        # Watched before the first look, so that a cancellation between a look and the wait behind it is not lost.
        with self._ctx.ports.bus.watch(f"cancel:{self._run_id}") as calls:
            run = await self._ctx.store.get(Run, self._run_id)
            if self._rests(run):
                return
            run, lease = await self._take(run)
            self._ctx = self._ctx.acting_for(lease.key_id, lease.user)
            self._patience = ModelPatience(RUN_JOB, lease)
            self._named = lease.named
            while not self._rests(run):
                # Somebody may move the run between the look and the act: then look again.
                with suppress(IllegalTransition):
                    await self._act(run, calls)
                if self._done:
                    return
                run = await self._ctx.store.get(Run, self._run_id)

    async def _take(self, seen: Run) -> tuple[Run, RunLease]:
        """Become the run's holder, and begin it in the same write where it waits for that."""
        if seen.status == "queued" and self._left(seen) > 0:
            # Who held it before may have moved it since the look: then it is begun by nobody, and taken as it is.
            with suppress(IllegalTransition):
                return await self.writer.acquire(beginning(seen))
        return await self.writer.acquire()

    def _left(self, run: Run) -> float:
        return seconds_left(self._ctx.ports, self._ctx.project, run)

    def _rests(self, run: Run) -> bool:
        """Whether there is nothing to do for an executor: the run is over, or waits for its caller and may."""
        return run.status in TERMINAL or (run.status == "requires_action" and self._left(run) > 0)

    async def _act(self, run: Run, calls: Watch) -> None:
        if run.status == "cancelling":
            await self._end(run, "cancelled", "run_cancelled")
        elif self._left(run) <= 0:
            await self._end(run, "expired", "run_expired", self._patience.error)
        else:
            if run.status == "queued":
                run = (await self.writer.commit(begun := beginning(run)))[begun]
            await self._guarded(run, calls)

    async def _guarded(self, run: Run, calls: Watch) -> None:
        """One round of work, under the run's deadline and an ear for its cancellation."""
        generation = asyncio.create_task(self._advance(run))
        disturbed = asyncio.create_task(self._disturbed(calls))
        left = self._left(run)
        try:
            done, _ = await asyncio.wait(
                {generation, disturbed},
                timeout=None if left == math.inf else max(0.0, left),
                return_when=asyncio.FIRST_COMPLETED,
            )
        except asyncio.CancelledError:
            await _stop(generation)
            raise
        finally:
            await _stop(disturbed)
        if generation.done():
            await generation
            return
        await _stop(generation)
        deleted = disturbed.result() if disturbed in done else None
        run = await self._ctx.store.get(Run, self._run_id)
        if run.status == "cancelling":
            await self._end(run, "cancelled", "run_cancelled")
        elif run.status == "in_progress" and deleted is not None:
            await self._end_deleted(run, deleted)
        elif run.status == "in_progress":
            await self._end(run, "expired", "run_expired", self._patience.error)

    async def _disturbed(self, calls: Watch) -> Missing | None:
        """Return once the run is no longer to go on; what is missing where something of it was deleted."""
        while True:
            await calls.wait(LOOK_SECONDS)
            with suppress(Unavailable):  # the work itself finds out soon enough, or never needs to know
                run = await self._ctx.store.get(Run, self._run_id)
                if run.status != "in_progress":
                    return None
                if (deleted := await self._deleted()) is not None:
                    return deleted

    async def _deleted(self) -> Missing | None:
        """The message that is being written, if somebody has deleted it."""
        if self._answer is None or (place := self._answer.open_message) is None:
            return None
        message_id, step_id = place
        try:
            await self._ctx.store.get(Message, message_id)
        except Missing:
            try:  # Both are kept in one write, which may be still to come.
                await self._ctx.store.get(RunStep, step_id)
                await self._ctx.store.get(Message, message_id)
            except Missing as missing:
                return missing if missing.cls is Message else None
        return None

    async def _advance(self, run: Run) -> None:
        """Answer the calls that are this server's to answer, or else ask the model once; or wait for it."""
        try:
            try:
                await self._advance_once(run)
            except ModelAway as away:
                await self._wait(run, away)
        except ToolFailure as error:
            await self._end(run, "failed", "run_failed", RunError(code="server_error", message=str(error)))
        except PromptTooLong as error:
            await self._too_long(run, error)
        except (IllegalTransition, Superseded, Unavailable):
            raise
        except Missing as missing:
            if missing.cls is Run:
                raise
            await self._end_deleted(run, missing)
        except ApiError as error:
            await self._end(run, "failed", "run_failed", model_error(error))
        except Exception:
            log.exception("run %s failed", run.id)
            await self._end(run, "failed", "run_failed", RunError(code="server_error", message=OUR_FAULT))

    async def _advance_once(self, run: Run) -> None:
        await refuse_archived(self._ctx)
        state = await load(self._ctx, run, self._named)
        if (pending := pending_calls(state)) is not None:
            await self._run_tools(state, pending)
        else:
            await self._generate(state)
        if kept := self._patience.answered():
            self.writer.enqueue(*kept)

    async def _wait(self, run: Run, away: ModelAway) -> None:
        """Ask again later, for as long as the run may live. Errors: ``away``; ``Missing`` where that makes no sense."""
        await self.writer.clear()
        self._answer = None  # What was told of it is told anew (``recovery_of``).
        for message_id in (await recovery_of(self._ctx, await load(self._ctx, run))).message_ids:
            await self._ctx.store.get(Message, message_id)
        if put_off := await self._patience.wait(away):
            await self._leave(*put_off)

    async def _generate(self, state: RunState) -> None:
        run = state.run
        await ready(self._ctx, run)
        async with self._ctx.ask("chat", run.model) as model:
            chooses_tools = (await model.traits()).chooses_tools
        if search := await forced_search(self._ctx, state, chooses_tools=chooses_tools):
            await self.writer.commit(*search)
            return
        prompt = await build(self._ctx, state)
        answer = await self._listen(state, prompt)
        await self._conclude(state, answer)

    async def _run_tools(self, state: RunState, pending: Pending) -> None:
        """Answer this server's calls of a step, then pause for the caller's, or close the step and go on."""
        await run_tool_calls(self._ctx, state, pending, self.writer)
        if required := required_of(pending.calls):
            await self._leave(self._requiring(required))
        else:
            await self.writer.commit(close_step(pending))

    async def _listen(self, state: RunState, prompt: Prompt) -> RunAnswer:
        recovery = await recovery_of(self._ctx, state)
        answer = RunAnswer(state, recovery.steps, prompt)
        self._answer = answer
        before = recovery.retract()
        reader = prompt.reader
        self._heard = Heard()
        ctx = self._ctx.keeping(self._spent.append)
        async with aclosing(stream_chunks(ctx, prompt.body, self._heard)) as chunks:
            async for chunk in chunks:
                if operations := answer.take(reader.take(chunk) if reader else chunk):
                    self.writer.enqueue(*before, *operations)
                    before = []
                if reader and reader.done:
                    answer.usage = await self._cost(prompt, reader.pieces)
                    break
        self.writer.enqueue(*before, *answer.ensure_step())
        return answer

    async def _cost(self, prompt: Prompt, written: int) -> Usage:
        """The tokens of an answer that was not heard to its end."""
        async with self._ctx.ask("chat", prompt.body["model"]) as model:
            read = await model.count(prompt.body)
        return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)

    async def _conclude(self, state: RunState, answer: RunAnswer) -> None:
        """Keep the whole generation and the state it leads to in one write."""
        run = state.run
        usage = answer.usage or Usage()
        reason = answer.finish_reason or "stop"
        spent = answer.generation(usage, reason)
        total = state.usage + usage
        self._answer = None
        self._count(usage)
        if reason == "length":
            cut = answer.break_off("failed", "max_tokens", CUT_CALL) if answer.calls else answer.complete("max_tokens")
            details = IncompleteRun(reason="max_completion_tokens")
            await self._leave(*cut, Add(spent), ending(run.id, "incomplete", total, incomplete_details=details))
        elif reason == "content_filter":
            error = RunError(code="server_error", message=FILTERED)
            end = ending(run.id, "failed", total, last_error=error)
            await self._leave(*answer.complete("content_filter"), Add(spent), end)
        elif answer.calls and (works := answer.calls.works(now())):
            await self._commit(answer.calls.fill(), Add(spent), *works)
        elif answer.calls and (unknown := undeclared(run, answer.calls.whole())):
            error = RunError(code="server_error", message=f"The model called {unknown}, and the run has no functions.")
            cut = answer.break_off("failed", "run_failed", step_error(error))
            await self._leave(*cut, Add(spent), ending(run.id, "failed", total, last_error=error))
        elif answer.calls:
            required = required_of(answer.calls.whole())
            await self._leave(answer.calls.fill(), Add(spent), self._requiring(required))
        else:
            await self._leave(*answer.complete(), Add(spent), ending(run.id, "completed", total))

    async def _too_long(self, run: Run, error: PromptTooLong) -> None:
        if error.budget is not None:
            details = IncompleteRun(reason=error.budget)
            await self._end(run, "incomplete", "max_tokens", incomplete=details)
        else:
            await self._end(run, "failed", "run_failed", RunError(code="invalid_prompt", message=str(error)))

    async def _end_deleted(self, run: Run, missing: Missing) -> None:
        """End the run since something that it needs was deleted."""
        await self.writer.clear()
        self._answer = None  # What it knows may not have been kept; the store tells what is open.
        log.info("run %s ends: %s", run.id, missing)
        await self._end(run, "failed", "run_failed", deletion_error(missing))

    async def _end(
        self,
        run: Run,
        status: RunStatus,
        reason: IncompleteReason,
        error: RunError | None = None,
        incomplete: IncompleteRun | None = None,
    ) -> None:
        """End the run before its answer is whole; open steps end with it, in the same write, if they are there."""
        deleted: list[Missing] = []
        while True:
            # Anew: what this round has concluded may have been kept as it was cut off.
            state = await load(self._ctx, run)
            spent = self._cut_short()
            broken = await self._broken_off(state, STEP_STATUS.get(status, "failed"), reason, step_error(error))
            total = state.usage if spent is None else state.usage + spent.usage
            end = ending(run.id, status, total, last_error=error, incomplete_details=incomplete)
            kept = [] if spent is None else [Add(spent)]
            try:
                return await self._leave(*without(deleted, broken), *kept, end)
            except Missing as missing:
                if missing.cls is Run or len(deleted) > len(broken):
                    raise
                deleted.append(missing)
                await self.writer.clear()
                self._answer = None

    def _cut_short(self) -> Generation | None:
        """What an answer has cost that was begun, and left before its end."""
        if self._answer is None or not self._answer.begun or (usage := self._heard.usage) is None:
            return None
        self._answer.usage = usage
        self._count(usage)
        return self._answer.generation(usage, "closed")

    async def _broken_off(
        self, state: RunState, status: StepStatus, reason: IncompleteReason, error: StepError | None
    ) -> list[Operation]:
        """What closes all that is open of the run."""
        broken = self._answer.break_off(status, reason, error) if self._answer is not None else []
        return broken or (await recovery_of(self._ctx, state)).break_off(status, reason, error)

    async def _leave(self, *operations: Operation) -> None:
        """A write that ends or pauses the run: whoever takes it up again is told so by a job of its own."""
        written = await self._commit(*operations)
        self._done = True
        log_rest(operations, written, self._ctx.project, self._answered_by)

    async def _commit(self, *operations: Operation) -> Written:
        """A write, and in it what the model has cost until now."""
        spent = [*self._spent]
        self._answered_by = spent[-1].model if spent else self._answered_by
        written = await self.writer.commit(*operations, Enter(rows_of(spent)))
        entered(spent)
        del self._spent[: len(spent)]
        return written

    def _count(self, usage: Usage) -> None:
        """An answer that was left as soon as enough was heard of it cost what its generation says."""
        if self._spent and isinstance(self._spent[-1].usage, EstimatedUsage):
            self._spent[-1].usage = EstimatedUsage(**structs.asdict(usage))

    def _requiring(self, required: list[RequiredCall]) -> Change[Run]:
        """The change by which the run waits for its caller."""
        action = RequiredAction(submit_tool_outputs=RequiredCalls(tool_calls=required))
        return moving(self._run_id, "requires_action", required_action=action)


async def _stop(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; what it died of does not matter any more."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
