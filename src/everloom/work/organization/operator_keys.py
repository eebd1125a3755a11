"""Keys that the operator makes, by the command line: his own, or a user's. No operation makes those of users."""

from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.objects.keys import NewOperatorKey
from everloom.objects.users import Membership, User, membership_key
from everloom.store.base import Add, Change, Operation, Present
from everloom.work.organization.audit import key_details, recorded
from everloom.work.organization.establishing import an_owner, begin
from everloom.work.organization.new_keys import check_scopes, new_key, new_secret
from everloom.work.organization.projects import open_project


async def create_project_key(ctx: Context, project_id: str, asked: NewOperatorKey, user_id: str | None = None) -> str:
    """A new key of a project, by default of the owner who has been there longest; its secret.

    Errors: 400 for a user who is not in the project and owns nothing, for an archived project, for scopes that there
    are not; 404.
    """
    if fault := check_scopes(asked.scopes):
        raise fault
    secret = new_secret("project")
    key = new_key(
        secret,
        owner_id=user_id or await an_owner(ctx.store),
        project_id=project_id,
        name=asked.name,
        permissions=asked.permissions,
        scopes=asked.scopes,
    )
    told = recorded(ctx, "api_key.created", key_details(key), project=project_id)
    let_in = await _let_in(ctx, project_id, key.owner_id)
    await begin(ctx.store)
    await ctx.store.write(open_project(project_id), *let_in, Add(key), told)
    return secret


async def _let_in(ctx: Context, project_id: str, user_id: str) -> tuple[Operation, ...]:
    """Part of a write that needs a user who may enter a project: a key of anybody else's would open nothing."""
    user = await ctx.store.get(User, user_id)
    if user.role == "owner":
        return (Change(User, user_id, _refuse_all_but_owners),)
    text = f"{user.email} is not in the project: 'everloom projects add' lets users in."
    error = BadRequest(text, param="user", code="user_not_in_project")
    return Change(User, user_id), Present(Membership, error, id=membership_key(project_id, user_id))


async def create_admin_key(ctx: Context, name: str, user_id: str | None = None) -> str:
    """A new key of the organization's half of the API, by default of the owner who has been there longest; its secret.

    Errors: 400 for a user who is no owner; 404.
    """
    secret = new_secret("admin")
    key = new_key(secret, owner_id=user_id or await an_owner(ctx.store), name=name)
    owner = Change(User, key.owner_id, _refuse_all_but_owners)
    await begin(ctx.store)
    await ctx.store.write(owner, Add(key), recorded(ctx, "api_key.created", key_details(key)))
    return secret


def _refuse_all_but_owners(user: User) -> None:
    if user.role != "owner":
        text = f"{user.email} does not own the organization: 'everloom users role' makes owners."
        raise BadRequest(text, param="user", code="user_not_owner")
