"""Moderations: ``POST /moderations`` (createModeration)."""

from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.requests.moderations import read
from everloom.work.inference.moderations import moderations

routes = Routes(permission="model")


@routes.post("/moderations")
async def create_moderation(ctx: Context, call: Request, body: bytes) -> bytes:
    """createModeration. A client that goes away stops the model."""
    return await call.unless_gone(moderations(ctx, read(body)))
