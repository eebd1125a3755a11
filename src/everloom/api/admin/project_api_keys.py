"""The Project API keys tag: keys are seen and deleted here, and made with service accounts or by the command line."""

from typing import Literal

from everloom.api.http.paging import AfterQuery, paginate
from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page
from everloom.objects.keys import Key, OwnerAccess, ProjectApiKey
from everloom.work.organization import keys

routes = Routes(access="admin")


class ProjectKeysQuery(AfterQuery, frozen=True, kw_only=True):
    """``owner_project_access`` keeps the keys whose owners have access to the project, or have none."""

    owner_project_access: OwnerAccess | Literal["any"] = "any"


@routes.get("/organization/projects/{project_id}/api_keys")
async def list_project_api_keys(ctx: Context, project_id: str, query: ProjectKeysQuery) -> Page[Key]:
    """list-project-api-keys."""
    if query.owner_project_access == "any":
        return await keys.list_project_keys(ctx, project_id, query.page)
    found = await keys.project_keys_by_access(ctx, project_id, query.owner_project_access)
    return await keys.shown_page(ctx, paginate(found, Key, query.page))


@routes.get("/organization/projects/{project_id}/api_keys/{key_id}")
async def retrieve_project_api_key(ctx: Context, project_id: str, key_id: str) -> ProjectApiKey:
    """retrieve-project-api-key."""
    return await keys.retrieve_project_key(ctx, project_id, key_id)


@routes.delete("/organization/projects/{project_id}/api_keys/{key_id}")
async def delete_project_api_key(ctx: Context, project_id: str, key_id: str) -> Deleted:
    """delete-project-api-key."""
    await keys.delete_project_key(ctx, project_id, key_id)
    return Deleted(id=key_id, object="organization.project.api_key.deleted")
