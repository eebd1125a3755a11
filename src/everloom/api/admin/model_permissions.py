"""Model permissions of projects: three operations of the Projects tag, of the newest reference."""

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.model_permissions import ModelPermissionsDeleted, NewModelPermissions, ProjectModelPermissions
from everloom.work.organization import model_permissions

routes = Routes(access="admin")


@routes.get("/organization/projects/{project_id}/model_permissions")
async def retrieve_project_model_permissions(ctx: Context, project_id: str) -> ProjectModelPermissions:
    """retrieve-project-model-permissions."""
    return await model_permissions.retrieve_model_permissions(ctx, project_id)


@routes.post("/organization/projects/{project_id}/model_permissions")
async def update_project_model_permissions(
    ctx: Context, project_id: str, body: NewModelPermissions
) -> ProjectModelPermissions:
    """update-project-model-permissions."""
    return await model_permissions.set_model_permissions(ctx, project_id, body)


@routes.delete("/organization/projects/{project_id}/model_permissions")
async def delete_project_model_permissions(ctx: Context, project_id: str) -> ModelPermissionsDeleted:
    """delete-project-model-permissions."""
    await model_permissions.delete_model_permissions(ctx, project_id)
    return ModelPermissionsDeleted()
