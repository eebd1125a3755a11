"""What the operator's own hand makes: the organization at the first start, and keys by the command line."""

import secrets
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct

from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.base import PageQuery
from everloom.objects.keys import Key, Permissions
from everloom.objects.organization import ORGANIZATION, Organization
from everloom.objects.projects import Project
from everloom.objects.users import Membership, User
from everloom.store.base import SYSTEM, Add, Change, Conflict, Database, Operation, Remove, Store
from everloom.work.organization.new_keys import new_key, new_secret, secret_hash

DEFAULT_PROJECT = "proj_default"
"""The id of the project that the first start makes: fixed, so that two servers starting at once make one."""

FIRST_OWNER = "user-owner"
"""The id of the user whom the first start makes, and to whom a migration gives the keys that stood before."""


class _Setting(Struct, frozen=True):
    """A key that a setting gives: the setting's name is the key's, too, and its id is fixed, so that servers that start
    together make one.
    """

    name: str
    id: str
    project_id: str


_API_KEY = _Setting("EVERLOOM_API_KEY", "key_everloom_api_key", DEFAULT_PROJECT)
_ADMIN_KEY = _Setting("EVERLOOM_ADMIN_KEY", "key_everloom_admin_key", SYSTEM)


class FirstKeys(Struct, frozen=True, kw_only=True):
    """What the first start made, to be shown once; None for a key that the settings gave."""

    api_key: str | None
    admin_key: str | None


async def first_start(database: Database, *, api_key: str = "", admin_key: str = "") -> FirstKeys | None:
    """Make the organization and its first keys, once in a database's life; None at every later start.

    Keys that are given exist from now on, in place of the ones that earlier settings gave.
    """
    first = FirstKeys(
        api_key=None if api_key else new_secret("project"), admin_key=None if admin_key else new_secret("admin")
    )
    keys: list[Operation] = []
    if first.api_key:
        keys.append(Add(new_key(first.api_key, owner_id=FIRST_OWNER, project_id=DEFAULT_PROJECT, name="first key")))
    if first.admin_key:
        keys.append(Add(new_key(first.admin_key, owner_id=FIRST_OWNER, name="first admin key")))
    store = database.store(SYSTEM)
    await establish(store)
    fresh = await _begin(store, *keys)
    if api_key:
        await _keep_setting(store, api_key, _API_KEY)
    if admin_key:
        await _keep_setting(store, admin_key, _ADMIN_KEY)
    return first if fresh and keys else None


async def establish(store: Store) -> None:
    """Have the organization stand, with its owner and the default project."""
    default = Project(id=DEFAULT_PROJECT, created_at=now(), name="Default project")
    try:
        await store.write(Add(default), *_organization(started=False))
    except Conflict:
        with suppress(Conflict):  # It stands, unless the project is older than organizations are.
            await store.write(*_organization(started=True))


class _Started(Exception):
    """There has been a key already."""


async def _begin(store: Store, *keys: Operation) -> bool:
    """Keep the first keys of all, and say that there are any; False where that was said before."""

    def edit(organization: Organization) -> None:
        if organization.started:
            raise _Started
        organization.started = True

    try:
        await store.write(Change(Organization, ORGANIZATION, edit), *keys)
    except _Started:
        return False
    return True


def _organization(*, started: bool) -> list[Operation]:
    made = now()
    secret = secrets.token_hex(32)
    return [
        Add(Organization(id=ORGANIZATION, created_at=made, name="everloom", secret=secret, started=started)),
        Add(User(id=FIRST_OWNER, created_at=made, name="Owner", email="owner@localhost", role="owner")),
        Add(Membership(id=FIRST_OWNER, created_at=made, project_id=DEFAULT_PROJECT, role="owner")),
    ]


async def _keep_setting(store: Store, secret: str, setting: _Setting) -> None:
    """Have the key of a setting stand, and the one that the setting gave earlier no longer."""
    wanted = secret_hash(secret)
    given = [key for key in await store.all(Key, project_id=setting.project_id) if key.name == setting.name]
    if [key.secret_hash for key in given] == [wanted]:
        return
    operations: list[Operation] = [Remove(Key, [key.id for key in given])] if given else []
    if all(key in given for key in await store.all(Key, secret_hash=wanted)):  # Else somebody made it by a command.
        owner = await _an_owner(store)
        key = new_key(secret, owner_id=owner, project_id=setting.project_id, name=setting.name, id=setting.id)
        operations.append(Add(key))
    with suppress(Conflict):  # Another server has just done the same.
        await store.write(*operations)


async def create_key(
    database: Database,
    *,
    project: str | None = None,
    name: str = "",
    permissions: Permissions = "all",
    scopes: Sequence[str] = (),
) -> tuple[str, Key]:
    """A new key of the project called ``project`` (made when there is none), by default the default project's."""
    store = database.store(SYSTEM)
    await establish(store)
    await _begin(store)
    secret = new_secret("project")
    key = new_key(
        secret,
        owner_id=await _an_owner(store),
        project_id=DEFAULT_PROJECT if project is None else (await _project(store, project)).id,
        name=name or "everloom keys create",
        permissions=permissions,
        scopes=scopes,
    )
    await store.write(Add(key))
    return secret, key


async def create_admin_key(database: Database, *, name: str = "") -> tuple[str, Key]:
    """A new key of the organization's half of the API; it opens no project."""
    store = database.store(SYSTEM)
    await establish(store)
    await _begin(store)
    secret = new_secret("admin")
    key = new_key(secret, owner_id=await _an_owner(store), name=name or "everloom keys create --admin")
    await store.write(Add(key))
    return secret, key


async def _project(store: Store, name: str) -> Project:
    found = await store.all(Project, name=name, status="active")
    if found:
        return found[0]
    project = Project(id=new_id("proj_"), created_at=now(), name=name)
    await store.write(Add(project))
    return project


async def _an_owner(store: Store) -> str:
    """The id of the owner who has been there longest, to whom the operator's keys belong. There always is one."""
    owner = (await store.find(User, PageQuery(limit=1, order="asc"), role="owner")).first()
    assert owner is not None
    return owner.id
