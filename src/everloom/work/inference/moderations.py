"""Moderations of models. Callers: moderations, batches."""

from everloom.context import Context
from everloom.objects.base import JsonObject


async def moderations(ctx: Context, body: JsonObject) -> bytes:
    """The answer to a createModeration request, as the model's server gave it.

    Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``.
    """
    async with ctx.ask("moderate", body["model"]) as model:
        return await model.moderate(body)
