"""Models: ``GET /models`` and ``GET /models/{model}`` (listModels, retrieveModel)."""

from everloom.api.http import route
from everloom.context import Context
from everloom.objects.models import Model, ModelList


@route("GET", "/models")
async def list_models(ctx: Context) -> ModelList:
    """listModels: every model of this server by name, in one list without pages."""
    return ModelList(data=await ctx.models.list())


@route("GET", "/models/{model}")
async def retrieve_model(ctx: Context, model: str) -> Model:
    """retrieveModel: also by an alias, under the name asked for."""
    return await ctx.models.get(model)
