"""The audit log's contract: an event stands if its write came about, in one chain without a gap, whoever writes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from everloom.objects.audit import (
    BY_OPERATOR,
    GENESIS,
    AuditActor,
    AuditEvent,
    AuditEventType,
    AuditRecord,
    AuditRow,
    Origin,
    chained,
    row_of,
)
from everloom.objects.base import JsonObject
from everloom.objects.projects import Project
from everloom.store.base import SYSTEM, Absent, Add, Audit, Change, Conflict, Database, Remove
from tests.store.databases import address, database_at, every_adapter, on_every_database


def an_event(id: str = "proj_1", type: AuditEventType = "project.updated", **fields: object) -> AuditEvent:
    details: JsonObject = {"id": id}
    return msgspec.structs.replace(AuditEvent(type=type, details=details, actor=BY_OPERATOR), **fields)


def a_project(id: str, name: str = "A project") -> Project:
    return Project(id=id, created_at=1, name=name)


async def chain(database: Database) -> list[AuditRow]:
    """All rows; they must be one chain, its columns what its bodies say, and the head its end."""
    rows = await database.audit.rows(0, 100_000)
    hash = GENESIS
    for place, row in enumerate(rows, 1):
        record = msgspec.json.decode(row.body, type=AuditRecord)
        hash = chained(hash, row.body)
        assert row == row_of(record, row.body, hash)
        assert row.seq == place
    head = await database.audit.head()
    assert (head.seq, head.hash) == (len(rows), hash)
    return rows


@on_every_database
async def test_an_event_stands_with_its_write(database: Database) -> None:
    store = database.store(SYSTEM)
    project = a_project("proj_1")
    actor = AuditActor(type="api_key", id="user-1", key_id="key_1", email="a@example.org")
    origin = Origin(ip_address="192.0.2.1", user_agent="curl", forwarded_for="198.51.100.7")
    made = an_event(type="project.created", project_id="proj_1", actor=actor, origin=origin)
    await store.write(Audit((made,)), Add(project))
    with pytest.raises(Conflict):
        await store.write(Add(project), Audit((an_event(),)))

    def rename(project: Project) -> None:
        project.name = "renamed"

    changed = Change(Project, "proj_1", rename)
    written = await store.write(changed, Audit((an_event(project_id="proj_1"), an_event("none", project_id="none"))))
    assert written[changed].name == "renamed"
    first, second, third = await chain(database)
    assert (first.id, first.type, first.project_id, first.key_id) == (made.id, "project.created", "proj_1", "key_1")
    assert (first.actor_id, first.actor_email, first.resource_id) == ("user-1", "a@example.org", "proj_1")
    records = [msgspec.json.decode(row.body, type=AuditRecord) for row in (first, second, third)]
    assert [record.project and record.project.name for record in records] == ["A project", "renamed", ""]
    assert (records[0].origin, records[0].actor) == (origin, actor)
    assert records[0].effective_at <= records[1].effective_at


@on_every_database
async def test_each_object_that_goes_has_an_event(database: Database) -> None:
    store = database.store(SYSTEM)
    await store.write(*(Add(a_project(f"proj_{number}", f"name {number % 2}")) for number in range(5)))
    removal = Remove(Project, name="name 1", audit=lambda project: an_event(project.id))
    written = await store.write(removal, Audit((an_event("after"),)))
    assert written[removal] == 2
    assert [row.resource_id for row in await chain(database)] == ["proj_1", "proj_3", "after"]
    one = Remove(Project, "proj_0", audit=lambda project: an_event(project.id))
    assert (await store.write(one))[one] == 1
    several = Remove(Project, ["proj_2", "proj_9"], audit=lambda project: an_event(project.id))
    assert (await store.write(several))[several] == 1
    assert [row.resource_id for row in await chain(database)][3:] == ["proj_0", "proj_2"]


@on_every_database
async def test_texts_that_databases_do_not_like(database: Database) -> None:
    texts = ["it's", 'a "name"', "null \0 in it", "\ud7ff \U0001f600 \u2028", ""]
    for text in texts:
        await database.store(SYSTEM).write(Audit((an_event("x", details={"id": text, "data": {"name": text}}),)))
    rows = await database.audit.rows(0, 100)
    assert [msgspec.json.decode(row.body)["details"]["id"] for row in rows] == texts


async def _write_many(database: Database, name: str, count: int) -> None:
    """Events with good writes, and with some that are refused."""
    store = database.store(SYSTEM)
    for number in range(count):
        id = f"proj_{name}_{number}"
        if number % 3:
            await store.write(Add(a_project(id)), Audit((an_event(id), an_event(id))))
        else:
            taken = Absent(Project, lambda _: Conflict("there are projects"))
            with pytest.raises(Conflict):
                await store.write(Add(a_project(id)), Audit((an_event(id),)), taken)
        if number % 5 == 0:  # As verbs do that lock rows first.
            shared = Change(Project, "proj_shared", lambda project: None)
            await store.write(shared, Audit((an_event("proj_shared"),)))


@every_adapter
def test_four_writers_on_two_connections_make_one_chain(adapter: str, tmp_path: Path) -> None:
    where = address(adapter, tmp_path)

    async def main() -> Sequence[AuditRow]:
        databases = [database_at(where), database_at(where)]
        for database in databases:
            await database.open()
        try:
            await databases[0].store(SYSTEM).write(Add(a_project("proj_shared")))
            await asyncio.gather(*(_write_many(databases[number % 2], str(number), 60) for number in range(4)))
            return await chain(databases[1])
        finally:
            for database in databases:
                await database.close()

    rows = asyncio.run(main())
    assert len(rows) == 4 * (40 * 2 + 12)
    ids = [row.resource_id for row in rows]
    for number in range(4):
        own = [id for id in ids if id.startswith(f"proj_{number}_")]
        assert own == [f"proj_{number}_{each}" for each in range(60) if each % 3 for _ in range(2)]
    assert len({row.id for row in rows}) == len(rows)
