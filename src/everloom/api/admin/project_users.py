"""The Project users tag: who of the organization is in a project."""

from everloom.api.http.paging import AfterQuery
from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page
from everloom.objects.users import Membership, NewProjectUser, ProjectUser, ProjectUserChanges
from everloom.work.organization import project_users

routes = Routes(access="admin")


@routes.get("/organization/projects/{project_id}/users")
async def list_project_users(ctx: Context, project_id: str, query: AfterQuery) -> Page[Membership]:
    """list-project-users."""
    return await project_users.list_project_users(ctx, project_id, query.page)


@routes.post("/organization/projects/{project_id}/users")
async def create_project_user(ctx: Context, project_id: str, body: NewProjectUser) -> ProjectUser:
    """create-project-user."""
    return await project_users.create_project_user(ctx, project_id, body)


@routes.get("/organization/projects/{project_id}/users/{user_id}")
async def retrieve_project_user(ctx: Context, project_id: str, user_id: str) -> ProjectUser:
    """retrieve-project-user."""
    return await project_users.retrieve_project_user(ctx, project_id, user_id)


@routes.post("/organization/projects/{project_id}/users/{user_id}")
async def modify_project_user(ctx: Context, project_id: str, user_id: str, body: ProjectUserChanges) -> ProjectUser:
    """modify-project-user."""
    return await project_users.modify_project_user(ctx, project_id, user_id, body)


@routes.delete("/organization/projects/{project_id}/users/{user_id}")
async def delete_project_user(ctx: Context, project_id: str, user_id: str) -> Deleted:
    """delete-project-user."""
    await project_users.delete_project_user(ctx, project_id, user_id)
    return Deleted(id=user_id, object="organization.project.user.deleted")
