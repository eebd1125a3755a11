"""What the first start makes: the organization and its first keys, and the keys that the settings give."""

import secrets
from contextlib import suppress
from functools import partial

from msgspec import Struct

from everloom.kit.clock import now
from everloom.objects.audit import AuditEvent, Origin
from everloom.objects.base import PageQuery
from everloom.objects.keys import Key
from everloom.objects.organization import ORGANIZATION, Organization
from everloom.objects.projects import Project
from everloom.objects.users import Membership, User
from everloom.store.base import SYSTEM, Add, Audit, Change, Conflict, Database, Operation, Remove, Store
from everloom.work.organization.audit import by_operator, key_details, operator_event
from everloom.work.organization.new_keys import new_key, new_secret, secret_hash

_NOWHERE = Origin()

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


async def first_start(
    database: Database, *, api_key: str = "", admin_key: str = "", origin: Origin = _NOWHERE
) -> FirstKeys | None:
    """Make the organization and its first keys, once in a database's life; None at every later start.

    Keys that are given exist from now on, in place of the ones that earlier settings gave. ``origin`` says in the audit
    log by which command the operator does so, here and below.
    """
    first = FirstKeys(
        api_key=None if api_key else new_secret("project"), admin_key=None if admin_key else new_secret("admin")
    )
    keys: list[Operation] = []
    if first.api_key:
        key = new_key(first.api_key, owner_id=FIRST_OWNER, project_id=DEFAULT_PROJECT, name="first key")
        keys += _made(key, origin)
    if first.admin_key:
        keys += _made(new_key(first.admin_key, owner_id=FIRST_OWNER, name="first admin key"), origin)
    store = database.store(SYSTEM)
    await establish(store, origin)
    fresh = await begin(store, *keys)
    if api_key:
        await _keep_setting(store, api_key, _API_KEY, origin)
    if admin_key:
        await _keep_setting(store, admin_key, _ADMIN_KEY, origin)
    return first if fresh and keys else None


def _made(key: Key, origin: Origin) -> list[Operation]:
    return [Add(key), by_operator("api_key.created", key_details(key), origin, project=key.project_id)]


async def establish(store: Store, origin: Origin = _NOWHERE) -> None:
    """Have the organization stand, with its owner and the default project."""
    try:
        await store.write(*_default_project(origin), *_organization(origin, started=False))
    except Conflict:
        with suppress(Conflict):  # It stands, unless the project is older than organizations are.
            await store.write(*_organization(origin, started=True))


def _default_project(origin: Origin) -> tuple[Add[Project], Audit]:
    project = Project(id=DEFAULT_PROJECT, created_at=now(), name="Default project")
    details = {"id": project.id, "data": {"name": project.name, "title": project.name}}
    return Add(project), by_operator("project.created", details, origin, project=project.id)


class _Started(Exception):
    """There has been a key already."""


async def begin(store: Store, *keys: Operation) -> bool:
    """Keep the first keys of all, and say that there are any, so that no start makes some; False where that was said
    before.
    """

    def edit(organization: Organization) -> None:
        if organization.started:
            raise _Started
        organization.started = True

    try:
        await store.write(Change(Organization, ORGANIZATION, edit), *keys)
    except _Started:
        return False
    return True


def _organization(origin: Origin, *, started: bool) -> list[Operation]:
    made = now()
    secret = secrets.token_hex(32)
    owner = {"id": FIRST_OWNER, "data": {"role": "owner"}}
    return [
        Add(Organization(id=ORGANIZATION, created_at=made, name="everloom", secret=secret, started=started)),
        Add(User(id=FIRST_OWNER, created_at=made, name="Owner", email="owner@localhost", role="owner")),
        Add(Membership(id=FIRST_OWNER, created_at=made, project_id=DEFAULT_PROJECT, role="owner")),
        by_operator("user.added", owner, origin),
        by_operator("user.added", owner, origin, project=DEFAULT_PROJECT),
    ]


async def _keep_setting(store: Store, secret: str, setting: _Setting, origin: Origin) -> None:
    """Have the key of a setting stand, and the one that the setting gave earlier no longer."""
    wanted = secret_hash(secret)
    given = [key for key in await store.all(Key, project_id=setting.project_id) if key.name == setting.name]
    if [key.secret_hash for key in given] == [wanted]:
        return
    operations: list[Operation] = []
    if given:
        operations.append(Remove(Key, [key.id for key in given], audit=partial(_closed, origin)))
    if all(key in given for key in await store.all(Key, secret_hash=wanted)):  # Else somebody made it by a command.
        owner = await an_owner(store)
        key = new_key(secret, owner_id=owner, project_id=setting.project_id, name=setting.name, id=setting.id)
        operations += _made(key, origin)
    with suppress(Conflict):  # Another server has just done the same.
        await store.write(*operations)


def _closed(origin: Origin, key: Key) -> AuditEvent:
    return operator_event("api_key.deleted", {"id": key.id}, origin, project=key.project_id)


async def an_owner(store: Store) -> str:
    """The id of the owner who has been there longest, to whom the operator's keys belong. There always is one."""
    owner = (await store.find(User, PageQuery(limit=1, order="asc"), role="owner")).first()
    assert owner is not None
    return owner.id
