"""Moderations: ``POST /moderations`` (createModeration)."""

from everloom.api.http.routes import Call, route
from everloom.context import Context
from everloom.objects.base import JsonObject
from everloom.requests.moderations import read


@route("POST", "/moderations")
async def create_moderation(ctx: Context, call: Call, body: bytes) -> bytes:
    """createModeration. A client that goes away stops the model."""
    return await call.unless_gone(_moderated(ctx, read(body)))


async def _moderated(ctx: Context, request: JsonObject) -> bytes:
    async with ctx.ask("moderate", request["model"]) as model:
        return await model.moderate(request)
