"""The audit log's contract: an event stands if its write came about, in one chain without a gap, whoever writes."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from everloom.kit.errors import BadRequest
from everloom.objects.audit import (
    GENESIS,
    AuditActor,
    AuditEvent,
    AuditEventType,
    AuditPage,
    AuditQuery,
    AuditRecord,
    AuditRow,
    Origin,
    chained,
    row_of,
)
from everloom.objects.projects import Project
from everloom.store import audit_pages
from everloom.store.base import SYSTEM, Absent, Add, Audit, Change, Conflict, Database, Remove
from tests.audited import an_event, write
from tests.store.databases import address, database_at, every_adapter, on_every_database, opened


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


# --- pages ---------------------------------------------------------------------------------------------------------

KINDS: tuple[AuditEventType, ...] = ("user.added", "user.deleted", "project.updated", "project.archived")


def some_events(chance: random.Random, count: int) -> list[AuditEvent]:
    """Of a few actors, projects and resources, most of them often and some seldom."""

    def one(what: str) -> str:
        return f"{what}{min(int(chance.expovariate(0.5)), 9)}"

    return [
        an_event(
            one("resource"),
            chance.choice(KINDS),
            project_id=one("proj_") if chance.random() < 0.7 else "",
            actor=AuditActor(type="api_key", id=one("user-"), key_id=one("key_"), email=f"{one('u')}@example.org"),
        )
        for _ in range(count)
    ]


def some_query(chance: random.Random, rows: Sequence[AuditRow]) -> AuditQuery:
    def some(*values: str) -> tuple[str, ...]:
        return tuple(chance.sample(values, chance.choice([0, 0, 1, 1, 2, 5]) % (len(values) + 1)))

    def cursor() -> str | None:
        return chance.choice(rows).id if chance.random() < 0.3 else None

    def time() -> int | None:
        return chance.choice(rows).effective_at + chance.randrange(-1, 2) if chance.random() < 0.3 else None

    names = [str(number) for number in range(11)]
    return AuditQuery(
        limit=chance.choice([1, 7, 100]),
        after=cursor(),
        before=cursor(),
        since=time(),
        until=time(),
        types=some(*KINDS),
        project_ids=some(*(f"proj_{name}" for name in names)),
        actor_ids=some(*(f"user-{name}" for name in names), *(f"key_{name}" for name in names)),
        actor_emails=some(*(f"u{name}@example.org" for name in names)),
        resource_ids=some(*(f"resource{name}" for name in names)),
    )


def expected(rows: Sequence[AuditRow], query: AuditQuery) -> AuditPage:
    """The same page, in Python."""
    seqs = {row.id: row.seq for row in rows}

    def fits(row: AuditRow) -> bool:
        return (
            (query.after is None or row.seq < seqs[query.after])
            and (query.before is None or row.seq > seqs[query.before])
            and (query.since is None or row.effective_at >= query.since)
            and (query.until is None or row.effective_at <= query.until)
            and (not query.types or row.type in query.types)
            and (not query.project_ids or row.project_id in query.project_ids)
            and (not query.actor_ids or not {row.actor_id, row.key_id}.isdisjoint(query.actor_ids))
            and (not query.actor_emails or row.actor_email in query.actor_emails)
            and (not query.resource_ids or row.resource_id in query.resource_ids)
        )

    found = [row for row in reversed(rows) if fits(row)]
    backward = query.before is not None and query.after is None
    page = found[-query.limit :] if backward else found[: query.limit]
    return AuditPage(page, len(found) > len(page))


@pytest.mark.parametrize("few", [20, 1000])
@every_adapter
def test_every_page_is_what_it_should_be(
    few: int, adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_pages, "FEW", few)
    monkeypatch.setattr(audit_pages, "MERGED", 4)
    chance = random.Random(few)
    clock = 1_750_000_000
    monkeypatch.setattr("everloom.store.audit.time.time", lambda: clock)

    async def main(database: Database) -> None:
        nonlocal clock
        for _ in range(40):
            clock += chance.randrange(-30, 60)
            await database.store(SYSTEM).write(Audit(tuple(some_events(chance, 15))))
        rows = await chain(database)
        for _ in range(400):
            query = some_query(chance, rows)
            assert await database.audit.find(query) == expected(rows, query), query

    asyncio.run(opened(address(adapter, tmp_path), main))


@on_every_database
async def test_a_cursor_that_is_no_event(database: Database) -> None:
    await write(database, "one")
    for query in (AuditQuery(after="proj_1"), AuditQuery(before="audit_log-0123")):
        with pytest.raises(BadRequest, match="No audit log found with id"):
            await database.audit.find(query)
