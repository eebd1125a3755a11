"""The audit log: how fast events are appended and verified, and how long pages of it take, on both databases.

``python -m benchmarks.audit --rows 200000``: so many events of 200 users on 2000 projects, a few of them rare. Some are
written as the server does it, each in a write of its own with 16 writers at a time; the rest many a transaction.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from everloom.evidence.keys import KeyFile, PublicKey
from everloom.objects.audit import AuditActor, AuditEvent, AuditEventType, AuditQuery, Origin
from everloom.objects.projects import Project
from everloom.store.base import SYSTEM, Add, Audit
from everloom.store.postgres import PostgresDatabase
from everloom.store.sqlite import SqliteDatabase
from everloom.work.organization.audit_verification import verify

Databases = SqliteDatabase | PostgresDatabase

SINGLE = 2000
WRITERS = 16
PIECE = 5000
USERS, PROJECTS = 200, 2000
TYPES: tuple[AuditEventType, ...] = ("api_key.created", "api_key.deleted", "user.added", "project.updated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--folder", default=None, help="where SQLite's files are made; by default the system's")
    chosen = parser.parse_args()
    for name in chosen.databases.split(","):
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            asyncio.run(_measure(name, Path(folder), chosen.rows, chosen.repetitions))


async def _measure(name: str, folder: Path, rows: int, repetitions: int) -> None:
    def show(what: str, value: float, unit: str) -> None:
        print(f"{name:12}{what:52}{value:>12,.1f} {unit}", flush=True)

    database = _database(name, folder)
    await database.open()
    try:
        chance = random.Random(1)
        began = time.perf_counter()
        await asyncio.gather(*(_write_some(database, chance, SINGLE // WRITERS) for _ in range(WRITERS)))
        show("appended with a write of its own each", SINGLE / (time.perf_counter() - began), "events/s")
        began = time.perf_counter()
        await _fill(database, chance, rows - SINGLE)
        show(f"appended {PIECE} a write", (rows - SINGLE) / (time.perf_counter() - began), "events/s")
        await _pages(database, rows, repetitions, show)
        await _verify(database, folder, show)
    finally:
        await database.close()


def _database(name: str, folder: Path) -> Databases:
    if name == "sqlite":
        return SqliteDatabase(folder / "everloom.db")
    from tests.postgres import fresh_database

    return PostgresDatabase(fresh_database())


def _event(chance: random.Random) -> AuditEvent:
    user, project = chance.randrange(USERS), chance.randrange(PROJECTS)
    rare, night = chance.random() < 0.0002, chance.random() < 0.05
    return AuditEvent(
        type="organization.updated" if rare else "project.archived" if night else chance.choice(TYPES),
        details={"id": f"key_{chance.getrandbits(64):x}", "data": {"name": "a name", "permissions": "all"}},
        actor=AuditActor(
            type="api_key",
            id="user-rare" if rare else "user-night" if night else f"user-{user}",
            key_id="key_rare" if rare else f"key_{user}",
            email="rare@example.org" if rare else f"user{user}@example.org",
        ),
        origin=Origin(ip_address="192.0.2.17", user_agent="OpenAI/Python 2.0.0"),
        project_id=f"proj_{project}",
    )


async def _write_some(database: Databases, chance: random.Random, count: int) -> None:
    store = database.store(SYSTEM)
    for _ in range(count):
        event = _event(chance)
        project = Project(id=f"proj_{event.id}", created_at=1, name="a project")
        await store.write(Add(project), Audit((event,)))


async def _fill(database: Databases, chance: random.Random, rows: int) -> None:
    store = database.store(SYSTEM)
    for done in range(0, rows, PIECE):
        await store.write(Audit(tuple(_event(chance) for _ in range(min(PIECE, rows - done)))))


async def _pages(database: Databases, rows: int, repetitions: int, show: Any) -> None:
    (first,) = await database.audit.rows(rows // 2, 1)
    now = int(time.time())
    queries = {
        "newest": AuditQuery(),
        "from the middle on": AuditQuery(after=first.id),
        "one resource": AuditQuery(resource_ids=(first.resource_id,)),
        "a project": AuditQuery(project_ids=("proj_7",)),
        "fifty projects": AuditQuery(project_ids=tuple(f"proj_{number}" for number in range(50))),
        "a rare type": AuditQuery(types=("organization.updated",)),
        "a frequent type": AuditQuery(types=("user.added",)),
        "two frequent types": AuditQuery(types=("user.added", "api_key.deleted")),
        "a type that there is not": AuditQuery(types=("login.failed",)),
        "an actor": AuditQuery(actor_ids=("user-3",)),
        "a rare actor": AuditQuery(actor_ids=("key_rare",)),
        "all actors": AuditQuery(actor_ids=tuple(f"user-{number}" for number in range(USERS))),
        "a rare address": AuditQuery(actor_emails=("rare@example.org",)),
        "an actor's events of a type in a project": AuditQuery(
            actor_ids=("user-3",), types=("user.added",), project_ids=("proj_7",)
        ),
        "a frequent type by a frequent actor who never": AuditQuery(actor_ids=("user-night",), types=("user.added",)),
        "a rare type by a frequent actor": AuditQuery(actor_ids=("user-3",), types=("organization.updated",)),
        "all time": AuditQuery(since=0, until=now + 60),
        "the first half, from its end": AuditQuery(until=first.effective_at - 1),
        "before all": AuditQuery(until=1000),
    }
    for what, query in queries.items():
        taken = []
        for _ in range(repetitions):
            began = time.perf_counter()
            await database.audit.find(query)
            taken.append((time.perf_counter() - began) * 1000)
        show(f"a page: {what}", statistics.median(taken), "ms")


async def _verify(database: Databases, folder: Path, show: Any) -> None:
    signer = KeyFile(folder / "key.pem", make=True)
    checkpoint = signer.sign(await database.audit.head(), int(time.time()))
    await database.audit.keep_checkpoint(checkpoint)
    key = PublicKey.read(folder / "key.pem")
    began = time.perf_counter()
    found = await verify(database.audit, [checkpoint], key.has_signed)
    assert not found.faults
    show("verified", found.rows / (time.perf_counter() - began), "rows/s")


if __name__ == "__main__":
    main()
