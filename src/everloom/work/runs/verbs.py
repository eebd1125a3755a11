"""The verbs of a run that its caller speaks: begin, cancel, submit. The loop itself is in ``runs/execution.py``."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_id, new_rank
from everloom.objects.assistants import Assistant
from everloom.objects.base import PageQuery
from everloom.objects.events import RUN_EVENTS
from everloom.objects.messages import Message
from everloom.objects.runs import (
    NEXT,
    EndedLog,
    Generation,
    NewRun,
    NewThreadRun,
    Run,
    RunError,
    RunLease,
    RunOptions,
    RunStatus,
    ToolOutput,
)
from everloom.objects.steps import FunctionStepCall, RunStep, ToolCalls
from everloom.objects.threads import NewThread, Thread
from everloom.objects.tools import FunctionTool, NamedToolChoice, Tool, ToolChoice, TruncationStrategy, Usage
from everloom.store.base import Absent, Add, Change, Missing, Operation, Start
from everloom.tools.registry import tag
from everloom.work.inference.chat import check_model
from everloom.work.runs.run_log import log_end
from everloom.work.threads.messages import claim, compose
from everloom.work.threads.resources import attach
from everloom.work.threads.threads import compose_thread
from everloom.work.walking import pages
from everloom.work.webhooks.announcing import announced_run

RUN_JOB = "run"
"""Jobs of this kind have a run's id as their key. With ``.end`` behind it another executor is called beside the one
that has the run, to take it over and end it.
"""


async def begin(ctx: Context, thread_id: str, new: NewRun, *, empty_threads: bool = False) -> Run:
    """Start a run on a thread (createRun).

    ``empty_threads`` lets it start where no user has said anything. Errors: 404 for the thread and the assistant;
    400 for a model nobody serves, and a thread that is held or has nothing to answer.
    """
    thread = await ctx.store.get(Thread, thread_id)
    run, assistant = await _compose_run(ctx, thread, new)
    if extra := new.additional_instructions:
        run.instructions = f"{run.instructions}\n{extra}" if run.instructions else extra
    messages = [await compose(ctx, thread_id, message) for message in new.additional_messages or ()]
    if not (empty_threads or assistant.instructions or run.instructions or _asks(messages)):
        await _check_asked(ctx, thread_id)
    await attach(ctx, thread_id, messages)
    await _keep(ctx, run, new, [claim(thread_id, *messages), _unheld(thread_id), *map(Add, messages)])
    return run


def _asks(messages: Sequence[Message]) -> bool:
    return any(message.role == "user" for message in messages)


async def _check_asked(ctx: Context, thread_id: str) -> None:
    """Ask that a user has said something in a thread: most often what stands last in it. Errors: 400."""
    newest = await ctx.store.find(Message, PageQuery(limit=1), thread_id=thread_id)
    if _asks(newest.decode()):
        return
    async for page in pages(ctx.store, Message, PageQuery(limit=100), thread_id=thread_id):
        if _asks(page.decode()):
            return
    raise _nothing_to_answer()


def _nothing_to_answer() -> BadRequest:
    text = "Run creation requires a Thread with a user message or an assistant with instructions."
    return BadRequest(text, code="invalid_thread")


async def begin_with_thread(ctx: Context, new: NewThreadRun, *, empty_threads: bool = False) -> Run:
    """Make a thread and start a run on it, or neither (createThreadAndRun). As ``begin``."""
    thread, messages = await compose_thread(ctx, new.thread or NewThread(), new.tool_resources)
    run, assistant = await _compose_run(ctx, thread, new)
    if not (empty_threads or assistant.instructions or run.instructions or _asks(messages)):
        raise _nothing_to_answer()
    await _keep(ctx, run, new, [Add(thread, tell=("thread.created",)), *map(Add, messages)])
    return run


async def _keep(ctx: Context, run: Run, new: RunOptions, before: Sequence[Operation]) -> None:
    """Keep the run, and with it that somebody has to work on it."""
    named = tuple(name for name in ("temperature", "top_p") if getattr(new, name) is not None)
    caller = ctx.caller
    await ctx.store.write(
        *before,
        Add(run, tell=("thread.run.created", "thread.run.queued")),
        Add(RunLease(id=run.id, created_at=run.created_at, key_id=caller.key_id, user=caller.user, named=named)),
        Start(RUN_JOB, run.id),
        log=run.id,
    )


def _unheld(thread_id: str) -> Absent[Run]:
    return Absent(
        Run,
        lambda run: BadRequest(f"Thread {thread_id} already has an active run {run.id}."),
        thread_id=thread_id,
        active=True,
    )


async def _compose_run(ctx: Context, thread: Thread, new: RunOptions) -> tuple[Run, Assistant]:
    """The run as it will be kept: the caller's options over the assistant's settings."""
    assistant = await ctx.store.get(Assistant, new.assistant_id)
    model = new.model or assistant.model
    await check_model(ctx, model)
    tools = assistant.tools if new.tools is None else new.tools
    made = now()
    run = Run(
        id=new_id("run_"),
        created_at=made,
        assistant_id=assistant.id,
        thread_id=thread.id,
        expires_at=made + ctx.ports.limits.run_expires,
        model=model,
        instructions=assistant.instructions if new.instructions is None else new.instructions,
        tools=tools,
        tool_resources=assistant.tool_resources,
        metadata=new.metadata or {},
        temperature=assistant.temperature if new.temperature is None else new.temperature,
        top_p=assistant.top_p if new.top_p is None else new.top_p,
        max_completion_tokens=new.max_completion_tokens,
        max_prompt_tokens=new.max_prompt_tokens,
        truncation_strategy=_truncation(new.truncation_strategy),
        response_format=new.response_format or assistant.response_format,
        tool_choice=_choice(new.tool_choice, tools),
        parallel_tool_calls=new.parallel_tool_calls is not False,
        reasoning_effort=new.reasoning_effort or assistant.reasoning_effort,
    )
    return run, assistant


def _truncation(strategy: TruncationStrategy | None) -> TruncationStrategy:
    if strategy is None:
        return TruncationStrategy()
    if strategy.type == "last_messages" and strategy.last_messages is None:
        raise BadRequest(
            "Missing required parameter: 'truncation_strategy.last_messages'.",
            param="truncation_strategy.last_messages",
            code="missing_required_parameter",
        )
    return strategy


def _choice(choice: ToolChoice | None, tools: Sequence[Tool]) -> ToolChoice:
    """The tool choice, if the tools can honour it."""
    if choice is None:
        return "auto"
    if choice == "required" and not tools:
        raise BadRequest("'tool_choice' is 'required', but no tools are given.", param="tool_choice")
    if isinstance(choice, NamedToolChoice):
        wanted = choice.function.name if choice.function is not UNSET else None
        if choice.type == "function" and wanted is None:
            raise BadRequest(
                "Missing required parameter: 'tool_choice.function'.",
                param="tool_choice.function",
                code="missing_required_parameter",
            )
        names = {tool.function.name if isinstance(tool, FunctionTool) else tag(tool) for tool in tools}
        if (wanted or choice.type) not in names:
            raise BadRequest(
                f"Tool choice '{wanted or choice.type}' not found in 'tools' parameter.", param="tool_choice"
            )
    return choice


async def cancel(ctx: Context, thread_id: str, run_id: str) -> Run:
    """Ask a run to stop (cancelRun); the answer says ``cancelling``, the end comes from whoever executes it. One that
    waits for its turn has nothing open, and ends in the same write.
    """
    while True:
        seen = (await ctx.store.get(Run, run_id, thread_id=thread_id)).status

        def edit(run: Run, seen: RunStatus = seen) -> None:
            if "cancelling" not in NEXT[run.status]:
                raise BadRequest(f"Cannot cancel run with status '{run.status}'.")
            if run.status != seen:
                raise _Moved
            run.status = "cancelling"
            run.required_action = None

        change = Change(Run, run_id, edit, tell=("thread.run.cancelling",), thread_id=thread_id)
        then: list[Operation] = [] if seen == "in_progress" else [Start(RUN_JOB, run_id)]
        if seen == "queued":
            then = [ending(run_id, "cancelled", await _spent(ctx, run_id))]
        try:
            written = await ctx.store.write(change, *then, log=run_id)
        except _Moved:
            continue
        disturb(ctx, run_id)
        ctx.ports.bus.wake(run_id)
        for end in then:
            if isinstance(end, Change):
                log_end(written[end], ctx.project)
        return written[change]


async def expire_queued(ctx: Context, run_id: str) -> bool:
    """End a run whose turn has not come in its time; whether it was still waiting for that."""

    def check(run: Run) -> None:
        if run.status != "queued":
            raise _Moved

    try:
        end = ending(run_id, "expired", await _spent(ctx, run_id))
        written = await ctx.store.write(Change(Run, run_id, check), end, log=run_id)
    except (Missing, _Moved):
        return False
    log_end(written[end], ctx.project)
    ctx.ports.bus.wake(run_id)
    return True


async def _spent(ctx: Context, run_id: str) -> Usage:
    """What the finished calls of a model have cost."""
    return sum((spent.usage for spent in await ctx.store.all(Generation, run_id=run_id)), Usage())


def disturb(ctx: Context, run_id: str) -> None:
    """Have whoever works on a run look at once whether it is to go on: it was cancelled, or lost what it writes."""
    ctx.ports.bus.wake(f"cancel:{run_id}")


class _Moved(Exception):
    """A run whose state has changed since it was looked at: look again."""


async def submit(ctx: Context, thread_id: str, run_id: str, outputs: Sequence[ToolOutput]) -> Run:
    """Answer the calls a run waits for, all of them at once (submitToolOuputsToRun), and let it go on.

    A run whose calls are gone (their step was deleted) can never be answered: it fails.
    """
    while True:
        try:
            return await _submit(ctx, thread_id, run_id, outputs)
        except _Moved:
            continue
        except Missing as missing:
            if missing.cls is Run:
                raise


async def _submit(ctx: Context, thread_id: str, run_id: str, outputs: Sequence[ToolOutput]) -> Run:
    run = await ctx.store.get(Run, run_id, thread_id=thread_id)
    steps = [step for step in await ctx.store.all(RunStep, run_id=run_id) if step.status == "in_progress"]
    spent = {generation.step_id: generation.usage for generation in await ctx.store.all(Generation, run_id=run_id)}
    if run.status != "requires_action":
        raise BadRequest(f'Runs in status "{run.status}" do not accept tool outputs.')
    if not steps:
        return await _unanswerable(ctx, run, sum(spent.values(), Usage()))
    step_id = steps[-1].id

    def check(run: Run) -> None:
        if run.required_action is None:
            raise BadRequest(f'Runs in status "{run.status}" do not accept tool outputs.')
        wanted = [call.id for call in run.required_action.submit_tool_outputs.tool_calls]
        if sorted(wanted) != sorted(output.tool_call_id for output in outputs):
            raise BadRequest(f"Expected tool outputs for call_ids {wanted}, got {[o.tool_call_id for o in outputs]}")

    def requeue(run: Run) -> None:
        move(run, "queued")
        run.required_action = None

    change = Change(Run, run_id, requeue, tell=("thread.run.queued",))
    written = await ctx.store.write(
        Start(RUN_JOB, run_id),
        Change(Run, run_id, check),
        _answered(step_id, outputs, spent.get(step_id)),
        change,
        log=run_id,
    )
    ctx.ports.bus.wake(run_id)
    return written[change]


def _answered(step_id: str, outputs: Sequence[ToolOutput], usage: Usage | None) -> Change[RunStep]:
    """The change that closes a step with the outputs of its calls; ``usage`` is what asking for them cost."""
    given = {output.tool_call_id: output.output for output in outputs}

    def fill(step: RunStep) -> None:
        assert isinstance(step.step_details, ToolCalls)
        for call in step.step_details.tool_calls:
            if isinstance(call, FunctionStepCall):
                call.function.output = given[call.id]
        step.status = "completed"
        step.completed_at = now()
        step.usage = usage

    return Change(RunStep, step_id, fill, tell=("thread.run.step.completed",))


async def _unanswerable(ctx: Context, waiting: Run, usage: Usage) -> Run:
    """End a run whose question has lost its step, if it still waits for the same answer. Errors: ``_Moved``."""

    def check(run: Run) -> None:
        if run.status != waiting.status or run.required_action != waiting.required_action:
            raise _Moved

    error = RunError(code="server_error", message="The run step whose calls were to be answered was deleted.")
    end = ending(waiting.id, "failed", usage, last_error=error)
    written = await ctx.store.write(Change(Run, waiting.id, check), end, log=waiting.id)
    log_end(written[end], ctx.project)
    ctx.ports.bus.wake(waiting.id)
    return written[end]


def moving(run_id: str, status: RunStatus, **fields: Any) -> Change[Run]:
    """The change that brings a run to ``status``, tells it, and announces it to webhooks where they hear of that."""
    return Change(Run, run_id, lambda run: move(run, status, **fields), tell=(RUN_EVENTS[status],), then=_following)


def _following(run: Run) -> list[Operation]:
    """Webhooks that hear of it, and at the end of a run its log, which waits to be compacted from then on."""
    if run.active:
        return [*announced_run(run)]
    return [*announced_run(run), Add(EndedLog(id=run.id, created_at=now()), rank=new_rank())]


def beginning(run: Run) -> Change[Run]:
    """The change by which a queued run is worked on."""
    return moving(run.id, "in_progress", started_at=run.started_at or now())


def ending(run_id: str, status: RunStatus, usage: Usage | None, **fields: Any) -> Change[Run]:
    """The change that ends a run: its time, its usage, no deadline and no question any more."""
    # The reference has no time for ``incomplete``; the platform was recorded to fill this one (older form).
    name = "completed_at" if status == "incomplete" else f"{status}_at"
    ended = {name: now()} if name in Run.__struct_fields__ else {}
    return moving(run_id, status, usage=usage, expires_at=None, required_action=None, **ended, **fields)


def move(run: Run, status: RunStatus, **fields: Any) -> None:
    """Bring a run to ``status`` if it may go there; ``fields`` are set beside it."""
    if status not in NEXT[run.status]:
        raise IllegalTransition(f"a run cannot go from {run.status} to {status}")
    run.status = status
    for name, value in fields.items():
        setattr(run, name, value)


class IllegalTransition(Exception):
    """A step of a run that its state does not allow: somebody else was faster."""
