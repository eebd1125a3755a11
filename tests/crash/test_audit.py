"""``kill -9`` between and within writes to the organization: what was answered is told, and the chain is whole."""

import asyncio
import os
import random
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from everloom.evidence.keys import PublicKey
from everloom.evidence.witness import read_witness
from everloom.objects.projects import Project
from everloom.objects.service_accounts import ServiceAccount
from everloom.store.base import SYSTEM, Database
from everloom.work.organization.audit_verification import verify
from tests.api.test_audit_logs import asked, events
from tests.builders import Json, posted
from tests.organization import PROJECTS, a_name, a_project, admin_of, an_account
from tests.postgres import fresh_database
from tests.servers import ADMIN_KEY, Everloom
from tests.store.databases import opened

ROUNDS = 5


def _make_things(url: str, made: list[str]) -> None:
    """Projects and accounts until the server is gone; those that were answered."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as admin:
        try:
            while True:
                project = admin.post(PROJECTS, json={"name": a_name()}).json()
                made.append(project["id"])
                path = f"{PROJECTS}/{project['id']}/service_accounts"
                made.append(admin.post(path, json={"name": "robot"}).json()["id"])
        except httpx.TransportError:
            return


@pytest.mark.parametrize("adapter", ["sqlite", "postgresql"])
def test_killed_while_things_are_made(adapter: str, tmp_path: Path) -> None:
    settings = {"database": fresh_database()} if adapter == "postgresql" else {}
    made: list[str] = []
    for round in range(ROUNDS):
        server = Everloom(tmp_path, **settings).start()
        threads = [threading.Thread(target=_make_things, args=(server.url, made)) for _ in range(4)]
        for thread in threads:
            thread.start()
        said, deadline = len(made), time.monotonic() + 60
        while len(made) < said + 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(round).random() * 0.6)
        server.kill()
        for thread in threads:
            thread.join(60)
    with Everloom(tmp_path, **settings):
        pass  # It stops as it should, and signs.
    asyncio.run(
        opened(settings.get("database", str(tmp_path / "everloom.db")), lambda each: _is_whole(each, tmp_path, made))
    )


async def _is_whole(database: Database, folder: Path, made: list[str]) -> None:
    key = PublicKey.read(folder / "audit-key.pem")
    found = await verify(database.audit, read_witness(folder / "audit-witness.jsonl")[0], key.has_signed)
    assert found.faults == ()
    assert found.signed is not None
    assert found.signed.seq == found.rows
    rows = await database.audit.rows(0, 1_000_000)
    told = [row.resource_id for row in rows if row.type in ("project.created", "service_account.created")]
    store = database.store(SYSTEM)
    standing = [thing.id for cls in (Project, ServiceAccount) for thing in await store.all(cls)]
    assert len(made) > ROUNDS
    assert set(made) <= set(told)
    assert sorted(told) == sorted(standing), "an event for each thing that stands, and for nothing else"


def test_a_clock_that_goes_back_changes_no_order(tmp_path: Path) -> None:
    with Everloom(tmp_path, module="tests.crash.jumping") as server, admin_of(server) as admin:
        project = a_project(admin)
        path = f"{PROJECTS}/{project['id']}"
        names = ["before", "back", "back again", "forwards"]
        posted(admin, path, {"name": names[0]})
        for name, jump in zip(names[1:], (signal.SIGUSR2, signal.SIGUSR2, signal.SIGUSR1), strict=True):
            os.kill(server.pid, jump)
            time.sleep(0.2)
            posted(admin, path, {"name": name})
        an_account(admin, project)
        mine = [("project_ids[]", project["id"]), ("event_types[]", "project.updated")]
        found = events(admin, mine)
        assert [event["project.updated"]["changes_requested"]["name"] for event in found] == names
        times = [event["effective_at"] for event in found]
        assert times[1] < times[0]
        assert times[2] < times[1]
        assert times[3] > times[2]
        paged: list[Json] = []
        page = asked(admin, mine, limit=1)
        while page["data"]:
            paged += page["data"]
            page = asked(admin, mine, limit=1, after=page["last_id"])
        assert paged == found[::-1]
        between = [*mine, ("effective_at[gte]", times[2]), ("effective_at[lt]", times[0])]
        assert events(admin, between) == found[1:]
        assert server.stop() == 0
    assert Everloom(tmp_path).command("audit", "verify").startswith(f"{len(paged) + 5 + 3} rows are good")
