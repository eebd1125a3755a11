"""Models: ``GET /models``, ``GET`` and ``DELETE /models/{model}`` (listModels, retrieveModel, deleteModel)."""

from typing import NoReturn

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.kit.errors import Forbidden, NotFound
from everloom.objects.models import Model, ModelList

routes = Routes(permission="model")


@routes.get("/models")
async def list_models(ctx: Context) -> ModelList:
    """listModels: every model of this server by name, in one list without pages."""
    return ModelList(data=await (await ctx.models()).list())


@routes.get("/models/{model}")
async def retrieve_model(ctx: Context, model: str) -> Model:
    """retrieveModel: also by an alias, under the name asked for."""
    return await (await ctx.models()).get(model)


@routes.delete("/models/{model}")
async def delete_model(ctx: Context, model: str) -> NoReturn:
    """deleteModel: of fine-tuned models alone, and none has been made here. What is listed belongs to the server."""
    if model in {listed.id for listed in await (await ctx.models()).list()}:
        raise Forbidden(
            f"You have insufficient permissions for this operation. The model '{model}' cannot be deleted: it belongs "
            "to this server. Only fine-tuned models can be deleted.",
        )
    raise NotFound(f"The model '{model}' does not exist", param="model", code="model_not_found")
