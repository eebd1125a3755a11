"""Moderations: ``POST /moderations`` (createModeration)."""

from everloom.api.http.routes import Call, route
from everloom.context import Context
from everloom.requests.moderations import read
from everloom.work.inference import moderations


@route("POST", "/moderations")
async def create_moderation(ctx: Context, call: Call, body: bytes) -> bytes:
    """createModeration. A client that goes away stops the model."""
    return await call.unless_gone(moderations.moderations(ctx.models, read(body)))
