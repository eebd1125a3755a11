"""The Users tag: who belongs to the organization."""

from everloom.api.http.paging import AfterQuery
from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page
from everloom.objects.users import User, UserChanges
from everloom.work.organization import users

routes = Routes(access="admin")


class UsersQuery(AfterQuery, frozen=True, kw_only=True):
    """``emails`` keeps the users who have one of them."""

    emails: list[str] | None = None


@routes.get("/organization/users")
async def list_users(ctx: Context, query: UsersQuery) -> Page[User]:
    """list-users."""
    if query.emails is not None:
        return await ctx.store.find(User, query.page, email=[email.lower() for email in query.emails])
    return await ctx.store.find(User, query.page)


@routes.get("/organization/users/{user_id}")
async def retrieve_user(ctx: Context, user_id: str) -> User:
    """retrieve-user."""
    return await ctx.store.get(User, user_id)


@routes.post("/organization/users/{user_id}")
async def modify_user(ctx: Context, user_id: str, body: UserChanges) -> User:
    """modify-user."""
    return await users.modify_user(ctx, user_id, body)


@routes.delete("/organization/users/{user_id}")
async def delete_user(ctx: Context, user_id: str) -> Deleted:
    """delete-user."""
    await users.delete_user(ctx, user_id)
    return Deleted(id=user_id, object="organization.user.deleted")
