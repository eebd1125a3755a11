"""What a key opens at this moment: that is decided by the key, its owner and its project together."""

from everloom.kit.clock import now
from everloom.kit.errors import NotFound, Unauthorized
from everloom.objects.base import PageQuery
from everloom.objects.keys import Key
from everloom.objects.projects import Project
from everloom.objects.service_accounts import ServiceAccount
from everloom.objects.users import Membership, User, membership_key
from everloom.store.base import Change, Store

USE_SECONDS = 60
"""How exactly it is known when a key was last used: no more is written for one key in this time."""


async def key_of(store: Store, secret_hash: str) -> Key | None:
    """The key with this hash, if there is one. One query by an index."""
    return (await store.find(Key, PageQuery(limit=1), secret_hash=secret_hash)).first()


async def owner_of(store: Store, key: Key) -> User | ServiceAccount:
    """Who has a key that opens something. Errors: ``Unauthorized``, why it opens nothing."""
    if key.expires_at is not None and key.expires_at <= now():
        raise Unauthorized("This API key has expired.", code="expired_api_key")
    owner: User | ServiceAccount | None = None
    try:
        if key.project_id and (await store.get(Project, key.project_id)).status == "archived":
            raise Unauthorized(
                "The project of this API key has been archived and is no longer accessible.", code="project_archived"
            )
        owner = await _owner_with_access(store, key)
    except NotFound:
        pass
    if owner is None:
        text = "The owner of this API key has no access to what it opens any more."
        raise Unauthorized(text, code="key_owner_without_access")
    return owner


async def _owner_with_access(store: Store, key: Key) -> User | ServiceAccount | None:
    """The owner of a key, who may still do what it opens. Errors: ``NotFound`` where there is no such owner."""
    if is_service_account(key.owner_id):
        account = await store.get(ServiceAccount, key.owner_id)
        return account if account.role != "none" else None
    user = await store.get(User, key.owner_id)
    if user.role == "owner":
        return user
    place = membership_key(key.project_id, key.owner_id)
    return user if key.project_id and await store.all(Membership, id=place) else None


def is_service_account(owner_id: str) -> bool:
    """Whether an owner is one, and no person."""
    return owner_id.startswith("svc_acct_")


def is_stale(key: Key) -> bool:
    """Whether it is long enough ago that a key's use was written down."""
    return key.last_used_at is None or now() - key.last_used_at >= USE_SECONDS


async def note_use(store: Store, key_id: str) -> None:
    """Write down that a key is being used. Errors: ``NotFound`` where it has been deleted meanwhile."""

    def edit(key: Key) -> None:
        if is_stale(key):
            key.last_used_at = now()

    await store.write(Change(Key, key_id, edit))
