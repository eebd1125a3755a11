"""Projects and keys: those of the first start, those of the settings, and new ones.

A key is seen once, when it is made; the store keeps its SHA-256 only. Keys are 48 random base62
digits (286 bits), so a plain hash withstands guessing and no slow one is needed.
"""

import hashlib
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from everloom.kit.clock import now
from everloom.kit.ids import new_id, random_digits
from everloom.objects.keys import KeyHash, Project
from everloom.store.base import SYSTEM, Add, Conflict, Database, Remove

DEFAULT_PROJECT = "proj_default"
"""The id of the project that the first start makes: fixed, so that two servers starting at once make one."""

_PREFIX = {"project": "sk-proj-", "admin": "sk-admin-"}
_OF_SETTINGS = {"project": "EVERLOOM_API_KEY", "admin": "EVERLOOM_ADMIN_KEY"}

Scope = Literal["project", "admin"]


class FirstKeys(Struct, frozen=True, kw_only=True):
    """What the first start made, to be shown once; None for a key that the settings gave."""

    api_key: str | None
    admin_key: str | None


def secret_id(secret: str) -> str:
    """The id under which a key's hash is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def redacted(secret: str) -> str:
    """A key as lists show it (``sk-abc...wxyz``); a short one, which that would give away, not at all."""
    return f"{secret[:6]}...{secret[-4:]}" if len(secret) >= 24 else "***"


def key_hash(secret: str, *, scope: Scope, project_id: str | None, name: str) -> KeyHash:
    """What is kept of a key."""
    return KeyHash(
        id=secret_id(secret),
        created_at=now(),
        scope=scope,
        project_id=project_id,
        name=name,
        redacted_value=redacted(secret),
    )


async def first_start(database: Database, *, api_key: str = "", admin_key: str = "") -> FirstKeys | None:
    """Make the default project and its first keys, once in a database's life; None at every later start.

    Keys that are given exist from now on, in place of the ones that earlier settings gave.
    """
    secrets = {scope: _PREFIX[scope] + random_digits(48) for scope in _PREFIX}
    first = FirstKeys(
        api_key=None if api_key else secrets["project"], admin_key=None if admin_key else secrets["admin"]
    )
    made = [Add(_default_project())]
    hashes = []
    if first.api_key:
        hashes.append(Add(key_hash(first.api_key, scope="project", project_id=DEFAULT_PROJECT, name="first key")))
    if first.admin_key:
        hashes.append(Add(key_hash(first.admin_key, scope="admin", project_id=None, name="first admin key")))
    try:
        await database.store(SYSTEM).write(*made, *hashes)
        fresh = True
    except Conflict:
        fresh = False
    if api_key:
        await _keep_setting(database, api_key, "project")
    if admin_key:
        await _keep_setting(database, admin_key, "admin")
    return first if fresh and (first.api_key or first.admin_key) else None


def _default_project() -> Project:
    return Project(id=DEFAULT_PROJECT, created_at=now(), name="Default project")


async def _keep_setting(database: Database, secret: str, scope: Scope) -> None:
    """Have the key of the settings stand, and the one that earlier settings gave no longer."""
    store = database.store(SYSTEM)
    name = _OF_SETTINGS[scope]
    stale = [key for key in await store.all(KeyHash, scope=scope) if key.name == name and key.id != secret_id(secret)]
    for key in stale:
        await store.write(Remove(KeyHash, id=key.id))
    project_id = DEFAULT_PROJECT if scope == "project" else None
    with suppress(Conflict):  # It stands already, from an earlier start or because somebody made it.
        await store.write(Add(key_hash(secret, scope=scope, project_id=project_id, name=name)))


async def create_key(database: Database, *, project: str | None = None, name: str = "") -> tuple[str, KeyHash]:
    """A new key of the project called ``project`` (made when there is none), by default the default project's."""
    if project is None:
        with suppress(Conflict):  # It stands, as it does after any start.
            await database.store(SYSTEM).write(Add(_default_project()))
        project_id = DEFAULT_PROJECT
    else:
        project_id = (await _project(database, project)).id
    return await _create(database, "project", project_id, name or "everloom keys create")


async def create_admin_key(database: Database, *, name: str = "") -> tuple[str, KeyHash]:
    """A new key of the organization's half of the API; it opens no project."""
    return await _create(database, "admin", None, name or "everloom keys create --admin")


async def _create(database: Database, scope: Scope, project_id: str | None, name: str) -> tuple[str, KeyHash]:
    secret = _PREFIX[scope] + random_digits(48)
    kept = key_hash(secret, scope=scope, project_id=project_id, name=name)
    await database.store(SYSTEM).write(Add(kept))
    return secret, kept


async def _project(database: Database, name: str) -> Project:
    store = database.store(SYSTEM)
    found = [project for project in await store.all(Project, name=name) if project.status == "active"]
    if found:
        return found[0]
    project = Project(id=new_id("proj_"), created_at=now(), name=name)
    await store.write(Add(project))
    return project
