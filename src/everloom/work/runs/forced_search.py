"""A search before the first word, for models that cannot be trusted to ask for one."""

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.base import PageQuery, encode
from everloom.objects.events import STEP_OPENED
from everloom.objects.messages import Message, TextContent
from everloom.objects.runs import Run, ToolWork
from everloom.objects.steps import FileSearchDelta, FileSearchOutcome, FileSearchStepCall, RunStep, ToolCalls
from everloom.objects.tools import FileSearchTool
from everloom.store.base import Add, Operation
from everloom.work.runs.requested_calls import step_delta
from everloom.work.runs.state import RunState

_LONGEST_QUERY = 2000


async def forced_search(ctx: Context, state: RunState, *, chooses_tools: bool) -> list[Operation]:
    """The step and the call of a search on the user's last message; nothing where the model asks for itself."""
    run = state.run
    mode = ctx.ports.limits.search_first
    if mode == "never" or (mode == "auto" and chooses_tools):
        return []
    if not any(isinstance(tool, FileSearchTool) for tool in run.tools) or run.tool_choice == "none":
        return []
    if state.works or not (query := await _question(ctx, run)):
        return []
    made = now()
    call = FileSearchStepCall(id=new_id("call_"), file_search=FileSearchOutcome())
    step = RunStep(
        id=new_id("step_"),
        created_at=made,
        run_id=run.id,
        assistant_id=run.assistant_id,
        thread_id=run.thread_id,
        type="tool_calls",
        expires_at=run.expires_at,
        step_details=ToolCalls(tool_calls=[call]),
    )
    arguments = encode({"query": query}).decode()
    work = ToolWork(
        id=new_id("work_"),
        call_id=call.id,
        created_at=made,
        run_id=run.id,
        step_id=step.id,
        type="file_search",
        arguments=arguments,
    )
    return [Add(step, tell=STEP_OPENED), step_delta(step.id, FileSearchDelta(index=0, id=call.id)), Add(work)]


async def _question(ctx: Context, run: Run) -> str:
    """What the user said last."""
    page = await ctx.store.find(Message, PageQuery(limit=20), thread_id=run.thread_id)
    for message in page.decode():
        if message.role == "user":
            texts = [part.text.value for part in message.content if isinstance(part, TextContent)]
            return "\n".join(texts)[:_LONGEST_QUERY].strip()
    return ""
