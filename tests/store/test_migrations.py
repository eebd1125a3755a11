"""What a migration makes of the rows that stood before it."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from everloom.kit.ids import new_rank
from everloom.objects.keys import Key
from everloom.objects.projects import Project
from everloom.objects.users import User
from everloom.store import migrations
from everloom.store.base import SYSTEM, Database
from everloom.work.organization.access import key_of, owner_of
from everloom.work.organization.establishing import DEFAULT_PROJECT, FIRST_OWNER, first_start
from everloom.work.organization.new_keys import secret_hash
from tests.store.databases import address, every_adapter, opened

KEYS = {
    "sk-proj-first": ("project", DEFAULT_PROJECT, "first key"),
    "sk-admin-first": ("admin", None, "first admin key"),
    "sk-of-settings": ("project", DEFAULT_PROJECT, "EVERLOOM_API_KEY"),
    "sk-second": ("project", "proj_2", "a 'quoted' näme"),
}


def rows() -> list[tuple[str, list[Any]]]:
    """What stood in a database of revision 0004: statements with their parameters, in SQLite's style."""
    found: list[tuple[str, list[Any]]] = []
    for id, name in ((DEFAULT_PROJECT, "Default project"), ("proj_2", "Second")):
        body = {"id": id, "created_at": 5, "object": "organization.project", "name": name, "status": "active"}
        row = [SYSTEM, id, new_rank(), msgspec.json.encode(body | {"archived_at": None}), name]
        found.append(("INSERT INTO projects (project, id, rank, body, name) VALUES (?, ?, ?, ?, ?)", row))
    for secret, (scope, project_id, name) in KEYS.items():
        body = {"id": secret_hash(secret), "created_at": 6, "scope": scope, "project_id": project_id, "name": name}
        body["redacted_value"] = "***"
        row = [SYSTEM, secret_hash(secret), new_rank(), msgspec.json.encode(body), scope, project_id]
        text = "INSERT INTO key_hashes (project, id, rank, body, scope, project_id) VALUES (?, ?, ?, ?, ?, ?)"
        found.append((text, row))
    return found


def at_0004(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database as the program before organizations left it."""
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "NEWEST", "0004")
        texts = migrations.statements("postgresql" if "://" in where else "sqlite", None)
    if "://" in where:
        asyncio.run(_fill_postgres(where, texts))
        return
    Path(where).parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(where)) as connection, connection:
        for text in texts:
            connection.execute(text)
        for text, row in rows():
            connection.execute(text, row)


async def _fill_postgres(where: str, texts: list[str]) -> None:
    connection = await asyncpg.connect(where)
    try:
        for text in texts:
            await connection.execute(text)
        for text, row in rows():
            head, *rest = text.split("?")
            await connection.execute(head + "".join(f"${n}{part}" for n, part in enumerate(rest, 1)), *row)
    finally:
        await connection.close()


@every_adapter
def test_keys_and_projects_are_carried_over(adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = address(adapter, tmp_path)
    at_0004(where, monkeypatch)
    ids: dict[str, str] = {}

    async def look(database: Database) -> None:
        store = database.store(SYSTEM)
        assert await first_start(database, api_key="sk-of-settings") is None, (
            "a start after a migration is no first one"
        )
        assert [(project.id, project.status) for project in await store.all(Project, status="active")] == [
            (DEFAULT_PROJECT, "active"),
            ("proj_2", "active"),
        ]
        assert [(user.id, user.role) for user in await store.all(User)] == [(FIRST_OWNER, "owner")]
        keys = await store.all(Key)
        assert len(keys) == len({key.id for key in keys}) == len(KEYS)
        for secret, (scope, project_id, name) in KEYS.items():
            key = await key_of(store, secret_hash(secret))
            assert key is not None
            assert key.id.startswith("key_")
            assert len(key.id) == 28
            assert secret_hash(secret)[:8] not in key.id
            assert await store.get(Key, key.id) == key
            assert (key.access, key.project_id, key.name) == (scope, project_id or SYSTEM, name)
            assert (key.created_at, key.owner_id, key.permissions) == (6, FIRST_OWNER, "all")
            assert (await owner_of(store, key)).id == FIRST_OWNER
            assert ids.setdefault(secret, key.id) == key.id

    asyncio.run(opened(where, look))
    asyncio.run(opened(where, look))
