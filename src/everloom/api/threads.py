"""The Threads tag: conversations, and (ours) the list of them that the platform never gave."""

from msgspec import UNSET

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.threads import NewThread, Thread, ThreadChanges
from everloom.store.base import Add, Change, change_one
from everloom.work.threads.deleted_files import page_without_deleted_files, without_deleted_files
from everloom.work.threads.resources import settle_resources
from everloom.work.threads.threads import compose_thread, remove_thread

routes = Routes(permission="threads", api_family="assistants", ids={"thread_id": Thread})


class ThreadQuery(PageQuery, frozen=True, kw_only=True):
    """``metadata[key]=value`` keeps the threads whose metadata has all of these pairs."""

    metadata: dict[str, str] = {}


@routes.get("/threads")
async def list_threads(ctx: Context, page: ThreadQuery) -> Page[Thread]:
    """An extension: the project's threads, filtered by metadata."""
    found = await ctx.store.find(Thread, page, metadata=page.metadata or None)
    return await page_without_deleted_files(ctx, found)


@routes.post("/threads")
async def create_thread(ctx: Context, body: NewThread) -> Thread:
    """createThread."""
    thread, messages = await compose_thread(ctx, body)
    await ctx.store.write(Add(thread), *map(Add, messages))
    return thread


@routes.get("/threads/{thread_id}")
async def get_thread(ctx: Context, thread_id: str) -> Thread:
    """getThread."""
    return await without_deleted_files(ctx, await ctx.store.get(Thread, thread_id))


@routes.post("/threads/{thread_id}")
async def modify_thread(ctx: Context, thread_id: str, body: ThreadChanges) -> Thread:
    """modifyThread."""
    resources = None if body.tool_resources is UNSET else await settle_resources(ctx, body.tool_resources)

    def edit(thread: Thread) -> None:
        if body.metadata is not UNSET:
            thread.metadata = body.metadata or {}
        if resources is not None:
            thread.tool_resources = resources

    return await without_deleted_files(ctx, await change_one(ctx.store, Change(Thread, thread_id, edit)))


@routes.delete("/threads/{thread_id}")
async def delete_thread(ctx: Context, thread_id: str) -> Deleted:
    """deleteThread: the thread, and with it its messages and runs."""
    await remove_thread(ctx, thread_id)
    return Deleted(id=thread_id, object="thread.deleted")
