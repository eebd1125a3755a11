"""Keys as the organization sees and deletes them: those of projects, and admin keys."""

from collections.abc import Sequence

from msgspec import UNSET

from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.objects.base import Page, PageQuery, encode
from everloom.objects.keys import (
    AdminApiKey,
    AdminKeyOwner,
    Key,
    KeyOwner,
    KeyUser,
    NewAdminApiKey,
    OwnerAccess,
    ProjectApiKey,
)
from everloom.objects.projects import Project
from everloom.objects.service_accounts import ServiceAccount
from everloom.objects.users import Membership, User, membership_key
from everloom.store.base import SYSTEM, Add, Change, Remove
from everloom.work.organization.access import is_service_account
from everloom.work.organization.audit import key_details, recorded
from everloom.work.organization.new_keys import expiry, new_key, new_secret
from everloom.work.organization.projects import open_project


async def list_project_keys(ctx: Context, project_id: str, page: PageQuery) -> Page[Key]:
    """A page of a project's keys. Errors: 404."""
    await ctx.store.get(Project, project_id)
    return await shown_page(ctx, await ctx.store.find(Key, page, project_id=project_id))


async def project_keys_by_access(ctx: Context, project_id: str, wanted: OwnerAccess) -> list[Key]:
    """All keys of a project whose owners have access to it, or have none, oldest first. Errors: 404."""
    await ctx.store.get(Project, project_id)
    keys = await ctx.store.all(Key, project_id=project_id)
    ids = {key.id for key in await _shown(ctx, keys) if key.owner_project_access == wanted}
    return [key for key in keys if key.id in ids]


async def shown_page(ctx: Context, page: Page[Key]) -> Page[Key]:
    """A page of keys of one project, as they are shown."""
    return page.with_bodies([encode(key) for key in await _shown(ctx, page.decode())])


async def retrieve_project_key(ctx: Context, project_id: str, key_id: str) -> ProjectApiKey:
    """A key of a project. Errors: 404."""
    await ctx.store.get(Project, project_id)
    (key,) = await _shown(ctx, [await ctx.store.get(Key, key_id, project_id=project_id)])
    return key


async def delete_project_key(ctx: Context, project_id: str, key_id: str) -> None:
    """Have a key open nothing any more. Errors: 400 for a service account's and in an archived project; 404."""
    key = Change(Key, key_id, _refuse_service_accounts, project_id=project_id)
    told = recorded(ctx, "api_key.deleted", {"id": key_id}, project=project_id)
    await ctx.store.write(open_project(project_id), key, Remove(Key, key_id), told)
    ctx.ports.known_keys.forget()


def _refuse_service_accounts(key: Key) -> None:
    if is_service_account(key.owner_id):
        raise BadRequest("API keys cannot be deleted for service accounts, please delete the service account")


async def _shown(ctx: Context, keys: Sequence[Key]) -> list[ProjectApiKey]:
    """Keys of projects with their owners, each kind of owner read at once."""
    accounts = {each.id: each for each in await ctx.store.all(ServiceAccount, id=_owners(keys, accounts=True))}
    users = {each.id: each for each in await ctx.store.all(User, id=_owners(keys, accounts=False))}
    places = [membership_key(key.project_id, key.owner_id) for key in keys]
    roles = {place.key: place for place in await ctx.store.all(Membership, id=places)}
    shown = []
    for key in keys:
        if (account := accounts.get(key.owner_id)) is not None:
            owner = KeyOwner(type="service_account", service_account=_account(account))
            active = account.role != "none"
        elif (user := users.get(key.owner_id)) is not None:
            place = roles.get(membership_key(key.project_id, key.owner_id))
            owner = KeyOwner(type="user", user=_user(user, place))
            active = place is not None or user.role == "owner"
        else:
            continue  # Its owner has been deleted in between, and it with him.
        shown.append(
            ProjectApiKey(
                id=key.id,
                created_at=key.created_at,
                last_used_at=key.last_used_at,
                expires_at=key.expires_at,
                name=key.name,
                redacted_value=key.redacted_value,
                owner_project_access="active" if active else "inactive",
                owner=owner,
            )
        )
    return shown


def _owners(keys: Sequence[Key], *, accounts: bool) -> list[str]:
    return sorted({key.owner_id for key in keys if is_service_account(key.owner_id) == accounts})


def _account(account: ServiceAccount) -> KeyUser:
    return KeyUser(
        object="organization.project.service_account",
        id=account.id,
        name=account.name,
        created_at=account.created_at,
        role=account.role,
    )


def _user(user: User, place: Membership | None) -> KeyUser:
    """An owner of the organization is one of each project, in it or not."""
    return KeyUser(
        object="organization.project.user",
        id=user.id,
        name=user.name,
        email=user.email,
        created_at=user.created_at,
        added_at=place.created_at if place else user.created_at,
        role=place.role if place else "owner" if user.role == "owner" else "member",
    )


async def list_admin_keys(ctx: Context, page: PageQuery) -> Page[Key]:
    """A page of admin keys."""
    found = await ctx.store.find(Key, page, project_id=SYSTEM)
    keys = found.decode()
    users = {user.id: user for user in await ctx.store.all(User, id=_owners(keys, accounts=False))}
    return found.with_bodies([encode(_admin_key(key, users[key.owner_id])) for key in keys if key.owner_id in users])


async def create_admin_key(ctx: Context, asked: NewAdminApiKey) -> AdminApiKey:
    """A new admin key of whoever asks; its secret is in this answer only."""
    secret = new_secret("admin")
    key = new_key(secret, owner_id=ctx.caller.user, name=asked.name, expires_at=expiry(asked.expires_in_seconds))
    owner = Change(User, key.owner_id)
    written = await ctx.store.write(owner, Add(key), recorded(ctx, "api_key.created", key_details(key)))
    return _admin_key(key, written[owner], secret)


async def retrieve_admin_key(ctx: Context, key_id: str) -> AdminApiKey:
    """An admin key. Errors: 404."""
    key = await ctx.store.get(Key, key_id, project_id=SYSTEM)
    return _admin_key(key, await ctx.store.get(User, key.owner_id))


async def delete_admin_key(ctx: Context, key_id: str) -> None:
    """Have an admin key open nothing any more, be it the one that asks. Errors: 404."""
    await ctx.store.write(Remove(Key, key_id, project_id=SYSTEM), recorded(ctx, "api_key.deleted", {"id": key_id}))
    ctx.ports.known_keys.forget()


def _admin_key(key: Key, owner: User, secret: str | None = None) -> AdminApiKey:
    return AdminApiKey(
        id=key.id,
        name=key.name,
        redacted_value=key.redacted_value,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        owner=AdminKeyOwner(id=owner.id, name=owner.name, created_at=owner.created_at, role=owner.role),
        value=UNSET if secret is None else secret,
    )
