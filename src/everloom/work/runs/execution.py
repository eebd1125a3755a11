"""The loop of a run. It keeps no state of its own: where the run is stands in the store, so a worker that
takes it up after a crash does what the first one would have done next (DESIGN section 4, "by re-entry").
"""

import asyncio
import logging
import secrets
from contextlib import aclosing, suppress
from typing import Any, Literal

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, NotFound
from everloom.kit.ids import new_id
from everloom.objects.messages import IncompleteReason
from everloom.objects.runs import (
    TERMINAL,
    Generation,
    IncompleteRun,
    RequiredAction,
    RequiredCalls,
    Run,
    RunError,
    RunStatus,
)
from everloom.objects.steps import StepError, StepStatus
from everloom.objects.tools import Usage
from everloom.store.base import Add, Change, Operation
from everloom.work.inference.chat import stream_chunks
from everloom.work.runs.answer import RunAnswer
from everloom.work.runs.citations import Citations
from everloom.work.runs.forced_search import search_first
from everloom.work.runs.prompt import NoRoom, Prompt, build
from everloom.work.runs.prompted_tools import READERS
from everloom.work.runs.recovery import leftovers
from everloom.work.runs.requested_calls import required_of
from everloom.work.runs.tool_calls import Pending, ToolFailure, close_step, pending_calls, perform, ready
from everloom.work.runs.verbs import Illegal, move
from everloom.work.runs.writer import Journal, Superseded

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
    except (Superseded, NotFound):
        log.info("run %s went on elsewhere, or is gone", run_id)
    finally:
        await execution.journal.close()


class Execution:
    """One executor's hold on one run."""

    def __init__(self, ctx: Context, run_id: str) -> None:
        self._ctx = ctx
        self._run_id = run_id
        self.journal = Journal(ctx, run_id, secrets.token_hex(8))
        self._answer: RunAnswer | None = None
        self._holds = False

    async def go(self) -> None:
        """Do what the run's state asks for until it asks for nothing more."""
        while True:
            run = await self._ctx.store.get(Run, self._run_id)
            overdue = run.expires_at is not None and run.expires_at <= now()
            if run.status in TERMINAL or (run.status == "requires_action" and not overdue):
                return
            if not self._holds:
                await self.journal.take()
                self._holds = True
            # Somebody may move the run between the look and the act: then look again.
            with suppress(Illegal):
                await self._act(run, overdue=overdue)

    async def _act(self, run: Run, *, overdue: bool) -> None:
        if run.status == "cancelling":
            await self._end("cancelled", "run_cancelled")
        elif overdue:
            await self._end("expired", "run_expired")
        else:
            if run.status == "queued":
                run = await self._move("in_progress", started_at=run.started_at or now())
            await self._guarded(run)

    async def _guarded(self, run: Run) -> None:
        """One stretch of work, under the run's deadline and an ear for its cancellation."""
        generation = asyncio.create_task(self._advance(run))
        cancelled = asyncio.create_task(self._cancelled())
        left = None if run.expires_at is None else max(0.0, run.expires_at - now())
        try:
            await asyncio.wait({generation, cancelled}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _stop(generation)
            raise
        finally:
            await _stop(cancelled)
        if generation.done():
            await generation
            return
        await _stop(generation)
        run = await self._ctx.store.get(Run, self._run_id)
        if run.status == "cancelling":
            await self._end("cancelled", "run_cancelled")
        elif run.status == "in_progress":
            await self._end("expired", "run_expired")

    async def _cancelled(self) -> None:
        """Return once the run is no longer to go on."""
        with self._ctx.ports.bus.watch(f"cancel:{self._run_id}") as watch:
            while True:
                run = await self._ctx.store.get(Run, self._run_id)
                if run.status != "in_progress":
                    return
                await watch.wait(LOOK_SECONDS)

    async def _advance(self, run: Run) -> None:
        """Answer the calls that are this server's to answer, or else ask the model once."""
        try:
            if (pending := await pending_calls(self._ctx, run)) is not None:
                await self._perform(run, pending)
            else:
                await self._generate(run)
        except ToolFailure as error:
            await self._end("failed", "run_failed", RunError(code="server_error", message=str(error)))
        except NoRoom as error:
            await self._no_room(error)
        except (Illegal, Superseded):
            raise
        except ApiError as error:
            await self._end("failed", "run_failed", _run_error(error))
        except Exception:
            log.exception("run %s failed", run.id)
            await self._end("failed", "run_failed", RunError(code="server_error", message=_OUR_FAULT))

    async def _generate(self, run: Run) -> None:
        await ready(self._ctx, run)
        backend, model = self._ctx.models.resolve(run.model, "chat")
        chooses_tools = (await backend.traits(model)).chooses_tools
        if search := await search_first(self._ctx, run, chooses_tools=chooses_tools):
            await self.journal.write(*search)
            return
        prompt = await build(self._ctx, run)
        answer = await self._listen(run, prompt)
        await self._conclude(run, prompt, answer)

    async def _perform(self, run: Run, pending: Pending) -> None:
        """Answer this server's calls of a step, then pause for the caller's, or close the step and go on."""
        await perform(self._ctx, run, pending, self.journal)
        if required := required_of(pending.calls):
            action = RequiredAction(submit_tool_outputs=RequiredCalls(tool_calls=required))
            await self.journal.write(self._moving("requires_action", required_action=action))
        else:
            await self.journal.write(close_step(pending))

    async def _listen(self, run: Run, prompt: Prompt) -> RunAnswer:
        left = await leftovers(self._ctx, run)
        answer = RunAnswer(run, left.steps, Citations(prompt.sources))
        self._answer = answer
        before = left.sweep()
        reader = READERS[prompt.form]() if prompt.form else None
        async with aclosing(stream_chunks(self._ctx.models, prompt.body)) as chunks:
            async for chunk in chunks:
                if operations := answer.take(reader.take(chunk) if reader else chunk):
                    self.journal.put(*before, *operations)
                    before = []
                if reader and reader.done:
                    answer.usage = await self._cost(prompt, reader.pieces)
                    break
        self.journal.put(*before, *answer.ensure_step())
        return answer

    async def _cost(self, prompt: Prompt, written: int) -> Usage:
        """The tokens of an answer that was not heard to its end."""
        backend, model = self._ctx.models.resolve(prompt.body["model"], "chat")
        read = await backend.count({**prompt.body, "model": model})
        return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)

    async def _conclude(self, run: Run, prompt: Prompt, answer: RunAnswer) -> None:
        """Keep the whole generation and the state it leads to in one write."""
        usage = answer.usage or Usage()
        reason = answer.finish_reason or "stop"
        spent = Generation(
            id=new_id("gen_"),
            created_at=now(),
            run_id=run.id,
            step_id=answer.step_id,
            model=run.model,
            usage=usage,
            finish_reason=reason,
            dropped_messages=prompt.dropped,
        )
        total = sum((generation.usage for generation in prompt.generations), usage)
        self._answer = None
        if reason == "length":
            cut = answer.break_off("failed", "max_tokens", _CUT_CALL) if answer.calls else answer.complete("max_tokens")
            details = IncompleteRun(reason="max_completion_tokens")
            await self.journal.write(*cut, Add(spent), self._ending("incomplete", total, incomplete_details=details))
        elif reason == "content_filter":
            error = RunError(code="server_error", message=_FILTERED)
            end = self._ending("failed", total, last_error=error)
            await self.journal.write(*answer.complete("content_filter"), Add(spent), end)
        elif answer.calls:
            follow: list[Operation] = answer.calls.works(now())
            if not follow:
                action = RequiredAction(submit_tool_outputs=RequiredCalls(tool_calls=required_of(answer.calls.whole())))
                follow = [self._moving("requires_action", required_action=action)]
            await self.journal.write(answer.calls.fill(), Add(spent), *follow)
        else:
            await self.journal.write(*answer.complete(), Add(spent), self._ending("completed", total))

    async def _no_room(self, error: NoRoom) -> None:
        if error.budget:
            details = IncompleteRun(reason="max_prompt_tokens")
            await self._end("incomplete", "max_tokens", incomplete=details)
        else:
            await self._end("failed", "run_failed", RunError(code="invalid_prompt", message=str(error)))

    async def _end(
        self,
        status: RunStatus,
        reason: IncompleteReason,
        error: RunError | None = None,
        incomplete: IncompleteRun | None = None,
    ) -> None:
        """End the run before its answer is whole; open steps end with it, in the same write."""
        generations = await self._ctx.store.all(Generation, run_id=self._run_id)
        total = sum((generation.usage for generation in generations), Usage())
        step_status = _STEP_STATUS.get(status, "failed")
        broken: list[Operation] = []
        if self._answer is not None:
            broken = self._answer.break_off(step_status, reason, _step_error(error))
        if not broken:
            run = await self._ctx.store.get(Run, self._run_id)
            left = await leftovers(self._ctx, run)
            broken = left.break_off(step_status, reason, _step_error(error))
        await self.journal.write(*broken, self._ending(status, total, last_error=error, incomplete_details=incomplete))

    async def _move(self, status: RunStatus, **fields: Any) -> Run:
        (run,) = await self.journal.write(self._moving(status, **fields))
        assert isinstance(run, Run)
        return run

    def _ending(self, status: RunStatus, usage: Usage, **fields: Any) -> Change[Run]:
        """The change that ends the run: its time, its usage, no deadline and no question any more."""
        # The reference has no time for ``incomplete``; the platform was recorded to fill this one (older form).
        name = "completed_at" if status == "incomplete" else f"{status}_at"
        ended = {name: now()} if name in Run.__struct_fields__ else {}
        return self._moving(status, usage=usage, expires_at=None, required_action=None, **ended, **fields)

    def _moving(self, status: RunStatus, **fields: Any) -> Change[Run]:
        return Change(Run, self._run_id, lambda run: move(run, status, **fields), tell=(f"thread.run.{status}",))


_FILTERED = "The model's answer was stopped by its content filter."
_OUR_FAULT = "The server had an error while it worked on this run. The operator finds it in the server's log."
_CUT_CALL = StepError(code="server_error", message="The answer reached its token limit in the middle of a call.")
_STEP_STATUS: dict[RunStatus, StepStatus] = {"cancelled": "cancelled", "expired": "expired"}


def _run_error(error: ApiError) -> RunError:
    """How a run says that its model could not be asked."""
    if error.status == 429:
        return RunError(code="rate_limit_exceeded", message=error.message)
    return RunError(code="invalid_prompt" if 400 <= error.status < 500 else "server_error", message=error.message)


def _step_error(error: RunError | None) -> StepError | None:
    if error is None:
        return None
    code: Literal["server_error", "rate_limit_exceeded"] = "server_error"
    return StepError(code="rate_limit_exceeded" if error.code == "rate_limit_exceeded" else code, message=error.message)


async def _stop(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; what it died of does not matter any more."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
