"""The Assistants tag: an assistant is a model, its instructions and its tools."""

from msgspec import UNSET

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.assistants import Assistant, AssistantChanges, NewAssistant
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.files import AssistantFile
from everloom.store.base import Add, Change, Remove, change_one
from everloom.work.inference.chat import check_model
from everloom.work.threads.deleted_files import page_without_deleted_files, without_deleted_files
from everloom.work.threads.resources import settle_resources

routes = Routes(permission="assistants", api_family="assistants", ids={"assistant_id": Assistant})


@routes.post("/assistants")
async def create_assistant(ctx: Context, body: NewAssistant) -> Assistant:
    """createAssistant. Errors: 400 for a model nobody serves, 404 for a file that is not there."""
    await check_model(ctx, body.model)
    assistant = Assistant(
        id=new_id("asst_"),
        created_at=now(),
        name=body.name,
        description=body.description,
        model=body.model,
        instructions=body.instructions,
        tools=body.tools,
        tool_resources=await settle_resources(ctx, body.tool_resources),
        metadata=body.metadata or {},
        top_p=1.0 if body.top_p is None else body.top_p,
        temperature=1.0 if body.temperature is None else body.temperature,
        response_format=body.response_format or "auto",
        reasoning_effort=body.reasoning_effort or UNSET,
    )
    await ctx.store.write(Add(assistant))
    return assistant


@routes.get("/assistants")
async def list_assistants(ctx: Context, page: PageQuery) -> Page[Assistant]:
    """listAssistants."""
    return await page_without_deleted_files(ctx, await ctx.store.find(Assistant, page))


@routes.get("/assistants/{assistant_id}")
async def get_assistant(ctx: Context, assistant_id: str) -> Assistant:
    """getAssistant."""
    return await without_deleted_files(ctx, await ctx.store.get(Assistant, assistant_id))


@routes.post("/assistants/{assistant_id}")
async def modify_assistant(ctx: Context, assistant_id: str, body: AssistantChanges) -> Assistant:
    """modifyAssistant. Runs that have begun keep the settings they began with."""
    if body.model is not UNSET:
        await check_model(ctx, body.model)
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    if body.tool_resources is not UNSET:
        given["tool_resources"] = await settle_resources(ctx, body.tool_resources)
    if body.metadata is None:
        given["metadata"] = {}

    def edit(assistant: Assistant) -> None:
        for name, value in given.items():
            if value is not UNSET:
                setattr(assistant, name, _DEFAULTS.get(name) if value is None else value)

    return await without_deleted_files(ctx, await change_one(ctx.store, Change(Assistant, assistant_id, edit)))


_DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "response_format": "auto", "reasoning_effort": UNSET}
"""What null stands for, where it is not null itself."""


@routes.delete("/assistants/{assistant_id}")
async def delete_assistant(ctx: Context, assistant_id: str) -> Deleted:
    """deleteAssistant. Its threads and runs stay: they are the thread's."""
    await ctx.store.write(
        Remove(Assistant, assistant_id),
        Remove(AssistantFile, assistant_id=assistant_id),
    )
    return Deleted(id=assistant_id, object="assistant.deleted")
