"""The Chat tag: completions, and those of them that are kept because ``store`` was asked for.

What is asked is checked in the platform's words (``requests/chat.py``), then goes to the model as the bytes it came in;
so does the answer on its way back. The operations on stored completions are of the newest reference.
"""

from typing import Literal

from everloom.api.http.proxying import frames
from everloom.api.http.routes import EventStream, Request, Routes
from everloom.context import Context
from everloom.kit.errors import ApiError
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.stored_completions import CompletionChanges, StoredCompletion, StoredMessages, StoredPrompt
from everloom.requests.chat import read_with_bytes
from everloom.store.base import Change, change_one
from everloom.work.inference import stored_completions
from everloom.work.inference.answers import read_whole

routes = Routes(permission="model")


class StoredQuery(PageQuery, frozen=True, kw_only=True):
    """Pages of what is stored begin with the oldest."""

    order: Literal["asc", "desc"] = "asc"


class CompletionQuery(StoredQuery, frozen=True, kw_only=True):
    """``model``: the one that answered, or an alias of it. ``metadata[key]=value``: pairs that all must be there."""

    model: str | None = None
    metadata: dict[str, str] = {}


@routes.post("/chat/completions")
async def create_chat_completion(ctx: Context, call: Request, body: bytes) -> bytes | EventStream:
    """createChatCompletion. A client that goes away stops the model."""
    request, raw = read_with_bytes(body)
    asked = stored_completions.ask_or_keep(ctx, request, raw)
    if request.get("stream"):
        answer = await call.unless_gone(asked)
        return EventStream(frames(answer), answer.close)
    return await call.unless_gone(read_whole(asked))


@routes.get("/chat/completions")
async def list_chat_completions(ctx: Context, page: CompletionQuery) -> Page[StoredCompletion]:
    """listChatCompletions."""
    where = {} if page.model is None else {"model": await _names(ctx, page.model)}
    return await ctx.store.find(StoredCompletion, page, metadata=page.metadata or None, **where)


async def _names(ctx: Context, model: str) -> list[str]:
    """The names that an answer to a request for ``model`` may carry."""
    try:
        return list({model, (await ctx.served(model, "chat")).backend_model})
    except ApiError:
        return [model]  # A model that is served no longer may have answered once.


@routes.get("/chat/completions/{completion_id}")
async def get_chat_completion(ctx: Context, completion_id: str) -> StoredCompletion:
    """getChatCompletion."""
    return await ctx.store.get(StoredCompletion, completion_id)


@routes.post("/chat/completions/{completion_id}")
async def update_chat_completion(ctx: Context, completion_id: str, body: CompletionChanges) -> StoredCompletion:
    """updateChatCompletion: its metadata."""

    def edit(completion: StoredCompletion) -> None:
        completion.metadata = body.metadata or {}

    return await change_one(ctx.store, Change(StoredCompletion, completion_id, edit))


@routes.delete("/chat/completions/{completion_id}")
async def delete_chat_completion(ctx: Context, completion_id: str) -> Deleted:
    """deleteChatCompletion: the completion, and its messages with it."""
    await stored_completions.remove(ctx, completion_id)
    return Deleted(id=completion_id, object="chat.completion.deleted")


@routes.get("/chat/completions/{completion_id}/messages")
async def get_chat_completion_messages(ctx: Context, completion_id: str, page: StoredQuery) -> StoredMessages:
    """getChatCompletionMessages: what the completion answers."""
    return stored_completions.messages(await ctx.store.get(StoredPrompt, completion_id), page)
