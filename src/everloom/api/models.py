"""Models: ``GET /models``, ``GET`` and ``DELETE /models/{model}`` (listModels, retrieveModel, deleteModel)."""

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.context.tuned_models import is_tuned
from everloom.kit.errors import Forbidden
from everloom.objects.base import Deleted
from everloom.objects.models import Model, ModelList
from everloom.work.fine_tuning import models as tuned_models

routes = Routes(permission="model")


@routes.get("/models")
async def list_models(ctx: Context) -> ModelList:
    """listModels: every model of this server by name, in one list without pages."""
    models = await ctx.models()
    listed = await models.list()
    hidden = await ctx.ports.tuned.are_elsewhere(ctx.ports.database, ctx.project, [model.id for model in listed])
    own = await ctx.ports.tuned.list(ctx.store, models)
    return ModelList(data=[*(model for model in listed if model.id not in hidden), *own])


@routes.get("/models/{model}")
async def retrieve_model(ctx: Context, model: str) -> Model:
    """retrieveModel: also by an alias, under the name asked for."""
    models = await ctx.models()
    if is_tuned(target := models.target(model)):
        if (tuned := await ctx.ports.tuned.get(ctx.store, models, target)) is not None:
            return Model(id=model, created=tuned.created, owned_by=tuned.owned_by)
        await ctx.served(model, None)  # Refused where it is nobody's, or another project's.
    return await models.get(model)


@routes.delete("/models/{model}")
async def delete_model(ctx: Context, model: str) -> Deleted:
    """deleteModel: of models that were tuned here alone. What else is listed belongs to the server."""
    if not is_tuned(model) and model in {listed.id for listed in await (await ctx.models()).list()}:
        raise Forbidden(
            f"You have insufficient permissions for this operation. The model '{model}' cannot be deleted: it belongs "
            "to this server. Only fine-tuned models can be deleted.",
        )
    return await tuned_models.delete_model(ctx, model)
