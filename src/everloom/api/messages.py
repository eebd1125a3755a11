"""The Messages tag: what was said in a thread."""

from typing import Annotated

from msgspec import UNSET, Meta

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, MetadataChange, Page, PageQuery
from everloom.objects.messages import Message, NewMessage
from everloom.objects.threads import Thread
from everloom.store.base import Change, Remove, change_one
from everloom.work.runs.verbs import disturb
from everloom.work.threads import messages

routes = Routes(permission="threads", api_family="assistants", ids={"thread_id": Thread, "message_id": Message})


class MessageQuery(PageQuery, frozen=True, kw_only=True):
    """``run_id`` asks for the messages of one run alone."""

    run_id: Annotated[str, Meta(max_length=128)] | None = None


@routes.post("/threads/{thread_id}/messages")
async def create_message(ctx: Context, thread_id: str, body: NewMessage) -> Message:
    """createMessage. Errors: 400 while a run holds the thread."""
    await ctx.store.get(Thread, thread_id)
    return await messages.append(ctx, thread_id, body)


@routes.get("/threads/{thread_id}/messages")
async def list_messages(ctx: Context, thread_id: str, page: MessageQuery) -> Page[Message]:
    """listMessages."""
    await ctx.store.get(Thread, thread_id)
    if page.run_id is not None:
        return await ctx.store.find(Message, page, thread_id=thread_id, run_id=page.run_id)
    return await ctx.store.find(Message, page, thread_id=thread_id)


@routes.get("/threads/{thread_id}/messages/{message_id}")
async def get_message(ctx: Context, thread_id: str, message_id: str) -> Message:
    """getMessage."""
    await ctx.store.get(Thread, thread_id)
    return await ctx.store.get(Message, message_id, thread_id=thread_id)


@routes.post("/threads/{thread_id}/messages/{message_id}")
async def modify_message(ctx: Context, thread_id: str, message_id: str, body: MetadataChange) -> Message:
    """modifyMessage: the metadata alone."""

    def edit(message: Message) -> None:
        if body.metadata is not UNSET:
            message.metadata = body.metadata or {}

    await ctx.store.get(Thread, thread_id)
    return await change_one(ctx.store, Change(Message, message_id, edit, thread_id=thread_id))


@routes.delete("/threads/{thread_id}/messages/{message_id}")
async def delete_message(ctx: Context, thread_id: str, message_id: str) -> Deleted:
    """deleteMessage. A run that is writing it ends."""
    await ctx.store.get(Thread, thread_id)
    message = Change(Message, message_id, thread_id=thread_id)
    written = await ctx.store.write(message, Remove(Message, message_id))
    if (run_id := written[message].run_id) is not None and written[message].status == "in_progress":
        disturb(ctx, run_id)
    return Deleted(id=message_id, object="thread.message.deleted")
