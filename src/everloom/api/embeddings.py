"""Embeddings: ``POST /embeddings`` (createEmbedding)."""

from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.requests.embeddings import read
from everloom.work.inference import embeddings

routes = Routes(permission="model")


@routes.post("/embeddings")
async def create_embedding(ctx: Context, call: Request, body: bytes) -> bytes:
    """createEmbedding. A client that goes away stops the model."""
    return await call.unless_gone(embeddings.embeddings(ctx, read(body)))
