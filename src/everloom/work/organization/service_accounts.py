"""Service accounts of projects, and the keys that they alone have."""

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_id
from everloom.objects.audit import AuditEvent
from everloom.objects.base import Page, PageQuery, encode
from everloom.objects.keys import Key
from everloom.objects.service_accounts import (
    CreatedServiceAccount,
    NewServiceAccount,
    NewServiceAccountKey,
    ProjectServiceAccount,
    ServiceAccount,
    ServiceAccountChanges,
    ServiceAccountKey,
)
from everloom.store.base import Add, Change, Operation, Remove
from everloom.work.organization.audit import event, key_details, recorded, requested
from everloom.work.organization.new_keys import check_scopes, expiry, new_key, new_secret
from everloom.work.organization.projects import open_project, the_open_project

_KEY_NAME = "Secret Key"
"""What a key is called that nobody has named."""


async def create_service_account(ctx: Context, project_id: str, asked: NewServiceAccount) -> CreatedServiceAccount:
    """A service account and, unless it is asked for alone, its first key, whose secret is in this answer only.

    Errors: 400 for the life of a key that is not made, and where the project is archived; 404.
    """
    alone = asked.create_service_account_only
    if alone and asked.expires_in_seconds is not None:
        text = "'expires_in_seconds' cannot be used with 'create_service_account_only', which makes no key."
        raise BadRequest(text, param="expires_in_seconds", code="invalid_value")
    account = ServiceAccount(
        id=new_id("svc_acct_"),
        created_at=now(),
        project_id=project_id,
        name=asked.name,
        role="none" if alone else "member",
    )
    details = {"id": account.id, "data": {"role": account.role, "name": account.name}}
    told = recorded(ctx, "service_account.created", details, project=project_id)
    operations: list[Operation] = [open_project(project_id), Add(account), told]
    key: ServiceAccountKey | None = None
    if not alone:
        secret = new_secret("service_account")
        kept = new_key(
            secret,
            owner_id=account.id,
            project_id=project_id,
            name=_KEY_NAME,
            expires_at=expiry(asked.expires_in_seconds),
        )
        operations += [Add(kept), recorded(ctx, "api_key.created", key_details(kept), project=project_id)]
        key = _once(kept, secret)
    await ctx.store.write(*operations)
    return CreatedServiceAccount(
        id=account.id, name=account.name, role=account.role, created_at=account.created_at, api_key=key
    )


async def list_service_accounts(ctx: Context, project_id: str, page: PageQuery) -> Page[ServiceAccount]:
    """A page of a project's service accounts. Errors: 400 where it is archived, 404."""
    await the_open_project(ctx, project_id)
    found = await ctx.store.find(ServiceAccount, page, project_id=project_id)
    return found.with_bodies([encode(_shown(account)) for account in found.decode()])


async def retrieve_service_account(ctx: Context, project_id: str, account_id: str) -> ProjectServiceAccount:
    """A service account. Errors: 400 where its project is archived, 404."""
    await the_open_project(ctx, project_id)
    return _shown(await ctx.store.get(ServiceAccount, account_id, project_id=project_id))


async def update_service_account(
    ctx: Context, project_id: str, account_id: str, asked: ServiceAccountChanges
) -> ProjectServiceAccount:
    """Give a service account another name or role. Errors: 400 where its project is archived, 404."""

    def edit(account: ServiceAccount) -> None:
        if isinstance(asked.name, str):
            account.name = asked.name
        if isinstance(asked.role, str):
            account.role = asked.role

    change = Change(ServiceAccount, account_id, edit, project_id=project_id)
    details = {"id": account_id, "changes_requested": requested(asked)}
    told = recorded(ctx, "service_account.updated", details, project=project_id)
    written = await ctx.store.write(open_project(project_id), change, told)
    return _shown(written[change])


async def delete_service_account(ctx: Context, project_id: str, account_id: str) -> None:
    """Take a service account away, and its keys with it. Errors: 400 where its project is archived, 404."""

    def closed(key: Key) -> AuditEvent:
        return event(ctx, "api_key.deleted", {"id": key.id}, project=project_id)

    await ctx.store.write(
        open_project(project_id),
        Change(ServiceAccount, account_id, project_id=project_id),
        Remove(ServiceAccount, account_id),
        recorded(ctx, "service_account.deleted", {"id": account_id}, project=project_id),
        Remove(Key, owner_id=account_id, audit=closed),
    )
    ctx.ports.known_keys.forget()


async def create_service_account_key(
    ctx: Context, project_id: str, account_id: str, asked: NewServiceAccountKey
) -> ServiceAccountKey:
    """Another key of a service account; its secret is in this answer only. Errors: 400 for a scope that there is not,
    and where the project is archived; 404.
    """
    if fault := check_scopes(asked.scopes):
        raise fault
    secret = new_secret("service_account")
    key = new_key(
        secret,
        owner_id=account_id,
        project_id=project_id,
        name=asked.name or _KEY_NAME,
        permissions="all" if asked.scopes is None else "restricted",
        scopes=asked.scopes or (),
        expires_at=expiry(asked.expires_in_seconds),
    )
    account = Change(ServiceAccount, account_id, project_id=project_id)
    told = recorded(ctx, "api_key.created", key_details(key), project=project_id)
    await ctx.store.write(open_project(project_id), account, Add(key), told)
    return _once(key, secret)


def _shown(account: ServiceAccount) -> ProjectServiceAccount:
    return ProjectServiceAccount(id=account.id, name=account.name, role=account.role, created_at=account.created_at)


def _once(key: Key, secret: str) -> ServiceAccountKey:
    return ServiceAccountKey(
        value=secret, name=key.name, created_at=key.created_at, expires_at=key.expires_at, id=key.id
    )
