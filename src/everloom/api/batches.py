"""The Batch tag: files of requests that are answered within a day, each once."""

from msgspec import Struct

from everloom.api.http.addresses import base_url
from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.objects.base import Page, PageQuery
from everloom.objects.batches import TERMINAL, Batch, BatchRetry, NewBatch
from everloom.work.batches import verbs
from everloom.work.changes import WaitSeconds, until_changed

routes = Routes(permission="model")


@routes.post("/batches")
async def create_batch(ctx: Context, call: Request, body: NewBatch) -> Batch:
    """createBatch. What is wrong with the file's lines makes a failed batch, and no refusal."""
    return await verbs.create(ctx, body, base_url(ctx, call))


@routes.get("/batches")
async def list_batches(ctx: Context, page: PageQuery) -> Page[Batch]:
    """listBatches."""
    return await ctx.store.find(Batch, page)


class BatchQuery(Struct, frozen=True, kw_only=True):
    """``wait``: so many seconds, at most, until the batch's state is another than it is now."""

    wait: WaitSeconds = 0.0


@routes.get("/batches/{batch_id}")
async def retrieve_batch(ctx: Context, call: Request, batch_id: str, query: BatchQuery) -> Batch:
    """retrieveBatch. With ``wait``, an extension, once the batch has come to another state, or can come to none."""

    async def look() -> Batch:
        return await ctx.store.get(Batch, batch_id)

    if not query.wait:
        return await look()
    changed = until_changed(
        ctx, verbs.topic(batch_id), look, lambda batch: batch.status, seconds=query.wait, final=TERMINAL
    )
    return await call.unless_gone(changed)


@routes.post("/batches/{batch_id}/cancel")
async def cancel_batch(ctx: Context, batch_id: str) -> Batch:
    """cancelBatch."""
    return await verbs.cancel(ctx, batch_id)


@routes.post("/batches/{batch_id}/retry")
async def retry_batch(ctx: Context, call: Request, batch_id: str, body: BatchRetry) -> Batch:
    """A new batch of those requests that have failed; the reference has no such operation."""
    return await verbs.retry(ctx, batch_id, base_url(ctx, call))
