"""How a tuned model goes: its row, and its bytes with it."""

from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.objects.base import Deleted
from everloom.objects.fine_tuning import TunedModel
from everloom.store.base import Missing, Remove
from everloom.work.files.blobs import discard, doom


async def delete_model(ctx: Context, name: str) -> Deleted:
    """deleteModel: requests that it is answering go on, or end; none begins any more. Errors: 404."""
    try:
        tuned = await ctx.store.get(TunedModel, name)
        await ctx.store.write(Remove(TunedModel, name), *([doom(tuned.adapter)] if tuned.adapter else []))
    except Missing as missing:
        raise NotFound(f"The model '{name}' does not exist", param="model", code="model_not_found") from missing
    ctx.ports.tuned.forget(ctx.store, tuned, await ctx.models())
    if tuned.adapter:
        await discard(ctx, tuned.adapter)
    return Deleted(id=name, object="model")
