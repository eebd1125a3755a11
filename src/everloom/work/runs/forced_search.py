"""A search before the first word, for models that cannot be trusted to ask for one."""

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.base import PageQuery
from everloom.objects.events import STEP_OPENED
from everloom.objects.messages import Message, TextContent
from everloom.objects.runs import Run
from everloom.objects.steps import RunStep, ToolCalls
from everloom.store.base import Add, Operation
from everloom.tools.registry import built_in
from everloom.work.runs.requested_calls import step_delta, work_of
from everloom.work.runs.state import RunState


async def forced_search(ctx: Context, state: RunState, *, chooses_tools: bool) -> list[Operation]:
    """The step and the call of a search on the user's last message; nothing where the model asks for itself."""
    run, mode = state.run, ctx.ports.limits.search_first
    if mode == "never" or (mode == "auto" and chooses_tools):
        return []
    searches = [tool for tool in built_in(run.tools) if tool.opens_runs]
    if not searches or run.tool_choice == "none" or state.works:
        return []
    if (call := searches[0].first_call(new_id("call_"), await _question(ctx, run))) is None:
        return []
    made = now()
    step = RunStep(
        id=new_id("step_"),
        created_at=made,
        run_id=run.id,
        assistant_id=run.assistant_id,
        thread_id=run.thread_id,
        type="tool_calls",
        expires_at=run.expires_at,
        step_details=ToolCalls(tool_calls=[call.whole()]),
    )
    return [Add(step, tell=STEP_OPENED), step_delta(step.id, call.begin(0)), work_of(step, call, made)]


async def _question(ctx: Context, run: Run) -> str:
    """What the user said last."""
    page = await ctx.store.find(Message, PageQuery(limit=20), thread_id=run.thread_id)
    for message in page.decode():
        if message.role == "user":
            return "\n".join(part.text.value for part in message.content if isinstance(part, TextContent))
    return ""
