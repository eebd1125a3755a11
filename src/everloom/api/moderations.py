"""Moderations: ``POST /moderations`` (createModeration)."""

from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.objects.base import JsonObject
from everloom.requests.moderations import read

routes = Routes(permission="model")


@routes.post("/moderations")
async def create_moderation(ctx: Context, call: Request, body: bytes) -> bytes:
    """createModeration. A client that goes away stops the model."""
    return await call.unless_gone(_moderated(ctx, read(body)))


async def _moderated(ctx: Context, request: JsonObject) -> bytes:
    async with ctx.ask("moderate", request["model"]) as model:
        return await model.moderate(request)
