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
from everloom.objects.assistants import Assistant
from everloom.objects.base import PageQuery, encode
from everloom.objects.keys import Key
from everloom.objects.projects import Project
from everloom.objects.runs import EndedLog
from everloom.objects.threads import Thread
from everloom.objects.users import User
from everloom.objects.vector_stores import VectorStoreFile
from everloom.store import migrations
from everloom.store.base import SYSTEM, Database
from everloom.store.kinds import KINDS, own_rank
from everloom.work.organization.access import key_of, owner_of
from everloom.work.organization.establishing import DEFAULT_PROJECT, FIRST_OWNER, first_start
from everloom.work.organization.new_keys import secret_hash
from tests.store.databases import address, every_adapter, opened
from tests.store.things import a_thread, an_assistant

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
    made_at(where, "0004", rows(), monkeypatch)


def made_at(where: str, revision: str, filling: list[tuple[str, list[Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an earlier revision, with these rows."""
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "NEWEST", revision)
        texts = migrations.history("postgresql" if "://" in where else "sqlite", None)
    if "://" in where:
        asyncio.run(_fill_postgres(where, texts, filling))
        return
    Path(where).parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(where)) as connection, connection:
        for text in texts:
            connection.execute(text)
        for text, row in filling:
            connection.execute(text, row)


async def _fill_postgres(where: str, texts: list[str], filling: list[tuple[str, list[Any]]]) -> None:
    connection = await asyncpg.connect(where)
    try:
        for text in texts:
            await connection.execute(text)
        for text, row in filling:
            head, *rest = text.split("?")
            await connection.execute(head + "".join(f"${n}{part}" for n, part in enumerate(rest, 1)), *row)
    finally:
        await connection.close()


@every_adapter
def test_logs_of_runs_that_have_ended_wait_to_be_compacted(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = address(adapter, tmp_path)
    text = "INSERT INTO runs (project, id, rank, body, thread_id, active) VALUES (?, ?, ?, ?, ?, ?)"
    runs = [("proj_2", 'run_"odd\\', 7, b"{}", "thread_1", 0), ("proj_1", "run_2", 5, b"{}", "thread_2", 0)]
    runs.append(("proj_1", "run_3", 1, b"{}", "thread_3", 1))
    made_at(where, "0014", [(text, list(row)) for row in runs], monkeypatch)

    async def look(database: Database) -> None:
        found = await database.across(EndedLog, waiting=True)
        assert found == [(project, EndedLog(id=id, created_at=0)) for project, id, *_ in (runs[1], runs[0])]

    asyncio.run(opened(where, look))
    asyncio.run(opened(where, look))


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


def rows_of_0014() -> list[tuple[str, list[Any]]]:
    """More threads than are read at a time, of two projects, one that cannot be read; a file that is being read."""
    text = "INSERT INTO threads (project, id, rank, body) VALUES (?, ?, ?, ?)"
    found: list[tuple[str, list[Any]]] = []
    for number in range(1100):
        thread = a_thread(metadata={"user": str(number % 100), "odd": "a\0b"} if number % 2 else {})
        found.append((text, [f"proj_{number // 600}", thread.id, own_rank(KINDS[Thread], thread.id), encode(thread)]))
    found.append((text, ["proj_0", "thread_broken", 5, b'{"id":"thread_broken","created']))
    holder = an_assistant("file-1")
    text = "INSERT INTO assistants (project, id, rank, body) VALUES (?, ?, ?, ?)"
    found.append((text, ["proj_0", holder.id, new_rank(), encode(holder)]))
    for number, status in enumerate(("completed", "in_progress")):
        file = VectorStoreFile(id=f"file-{number}", created_at=1, vector_store_id="vs_1", status=status)
        row = ["proj_0", file.key, new_rank(), encode(file), "vs_1", file.id, status]
        text = "INSERT INTO vector_store_files (project, id, rank, body, vector_store_id, file_id, status)"
        found.append((f"{text} VALUES (?, ?, ?, ?, ?, ?, ?)", row))
    return found


@every_adapter
def test_what_stood_before_is_found_by_its_terms(adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = address(adapter, tmp_path)
    rows = rows_of_0014()
    made_at(where, "0014", rows, monkeypatch)
    fitting = [row[1] for text, row in rows if "threads" in text and row[0] == "proj_0" and b'"user":"7"' in row[3]]
    assert len(fitting) == 6

    async def look(database: Database) -> None:
        store = database.store("proj_0")
        for pairs in ({"user": "7"}, {"user": "7", "odd": "a\0b"}):
            page = await store.find(Thread, PageQuery(order="asc"), metadata=pairs)
            assert [thread.id for thread in page.decode()] == fitting
        page = await database.store("proj_1").find(Thread, PageQuery(limit=100), metadata={"odd": "a\0b"})
        assert (len(page.bodies), page.has_more) == (100, True)
        assert len(await store.all(Assistant, code_file_ids="file-1")) == 1
        assert [file.id for _, file in await database.across(VectorStoreFile, open=True)] == ["file-1"]

    asyncio.run(opened(where, look))
    asyncio.run(opened(where, look))
