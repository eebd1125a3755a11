"""The Admin API keys tag, of the newest reference: keys of the organization's half of the API."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.keys import AdminApiKey, Key, NewAdminApiKey
from everloom.work.organization import keys

routes = Routes(access="admin")


class AdminKeysQuery(Struct, frozen=True, kw_only=True):
    """The list parameters of admin keys, the one list of this half that has an order."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "asc"
    after: str | None = None


@routes.get("/organization/admin_api_keys")
async def list_admin_api_keys(ctx: Context, query: AdminKeysQuery) -> Page[Key]:
    """admin-api-keys-list."""
    return await keys.list_admin_keys(ctx, PageQuery(limit=query.limit, order=query.order, after=query.after))


@routes.post("/organization/admin_api_keys")
async def create_admin_api_key(ctx: Context, body: NewAdminApiKey) -> AdminApiKey:
    """admin-api-keys-create."""
    return await keys.create_admin_key(ctx, body)


@routes.get("/organization/admin_api_keys/{key_id}")
async def retrieve_admin_api_key(ctx: Context, key_id: str) -> AdminApiKey:
    """admin-api-keys-get."""
    return await keys.retrieve_admin_key(ctx, key_id)


@routes.delete("/organization/admin_api_keys/{key_id}")
async def delete_admin_api_key(ctx: Context, key_id: str) -> Deleted:
    """admin-api-keys-delete."""
    await keys.delete_admin_key(ctx, key_id)
    return Deleted(id=key_id, object="organization.admin_api_key.deleted")
