"""No tag of the reference: models out of the package index, and how far each has come."""

import asyncio
import logging

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.catalogue import CatalogueEntry, CatalogueList

log = logging.getLogger(__name__)

routes = Routes(access="admin")


@routes.get("/organization/models")
async def list_catalogue_models(ctx: Context) -> CatalogueList:
    """The catalogue of ``everloom models list --available``."""
    return CatalogueList(data=await asyncio.to_thread(ctx.ports.pulls.entries))


@routes.post("/organization/models/{model}/pull")
async def pull_catalogue_model(ctx: Context, model: str) -> CatalogueEntry:
    """Have it fetched, as ``everloom models pull`` does; the server answers for it after its next start."""
    entry = await ctx.ports.pulls.pull(model)
    if entry.status == "in_progress":
        log.info("the model %s is being pulled", entry.id)
    return entry
