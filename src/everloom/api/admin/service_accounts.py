"""The Project service accounts tag: a project's users that are programs."""

from everloom.api.http.paging import AfterQuery
from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page
from everloom.objects.service_accounts import (
    CreatedServiceAccount,
    NewServiceAccount,
    NewServiceAccountKey,
    ProjectServiceAccount,
    ServiceAccount,
    ServiceAccountChanges,
    ServiceAccountKey,
)
from everloom.work.organization import service_accounts

routes = Routes(access="admin")


@routes.get("/organization/projects/{project_id}/service_accounts")
async def list_project_service_accounts(ctx: Context, project_id: str, query: AfterQuery) -> Page[ServiceAccount]:
    """list-project-service-accounts."""
    return await service_accounts.list_service_accounts(ctx, project_id, query.page)


@routes.post("/organization/projects/{project_id}/service_accounts")
async def create_project_service_account(
    ctx: Context, project_id: str, body: NewServiceAccount
) -> CreatedServiceAccount:
    """create-project-service-account."""
    return await service_accounts.create_service_account(ctx, project_id, body)


@routes.get("/organization/projects/{project_id}/service_accounts/{service_account_id}")
async def retrieve_project_service_account(
    ctx: Context, project_id: str, service_account_id: str
) -> ProjectServiceAccount:
    """retrieve-project-service-account."""
    return await service_accounts.retrieve_service_account(ctx, project_id, service_account_id)


@routes.post("/organization/projects/{project_id}/service_accounts/{service_account_id}")
async def update_project_service_account(
    ctx: Context, project_id: str, service_account_id: str, body: ServiceAccountChanges
) -> ProjectServiceAccount:
    """update-project-service-account, of the newest reference."""
    return await service_accounts.update_service_account(ctx, project_id, service_account_id, body)


@routes.delete("/organization/projects/{project_id}/service_accounts/{service_account_id}")
async def delete_project_service_account(ctx: Context, project_id: str, service_account_id: str) -> Deleted:
    """delete-project-service-account."""
    await service_accounts.delete_service_account(ctx, project_id, service_account_id)
    return Deleted(id=service_account_id, object="organization.project.service_account.deleted")


@routes.post("/organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys")
async def create_project_service_account_api_key(
    ctx: Context, project_id: str, service_account_id: str, body: NewServiceAccountKey
) -> ServiceAccountKey:
    """CreateanAPIkeyforaserviceaccount, of the newest reference."""
    return await service_accounts.create_service_account_key(ctx, project_id, service_account_id, body)
