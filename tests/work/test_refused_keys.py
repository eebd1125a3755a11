"""Who is refused a thousand times fills no audit log."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.kit.errors import Unauthorized
from everloom.objects.audit import Origin
from everloom.store.base import SYSTEM, Database
from everloom.work.organization import refused_keys
from everloom.work.organization.refused_keys import RefusedKeys
from tests.builders import fetched
from tests.organization import admin_of
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.store.databases import address, opened

WRONG = Unauthorized("no", code="invalid_api_key")
HERE = Origin(ip_address="192.0.2.1")


def test_they_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_keys, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(refused_keys, "LONGEST_PAUSE", 0.2)

    async def main(database: Database) -> None:
        refused = RefusedKeys(database.store(SYSTEM))
        refused.note(Unauthorized("no key"), HERE)
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 1:
            refused.note(WRONG, HERE)
            count += 1
            if count % 100 == 0:
                refused.note(Unauthorized("old", code="expired_api_key"), Origin(ip_address="192.0.2.2"))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.5)
        rows = await database.audit.rows(0, 1000)
        records: list[dict[str, Any]] = [msgspec.json.decode(row.body) for row in rows]
        assert {record["type"] for record in records} == {"login.failed"}
        wrong = [each["details"] for each in records if each["details"]["error_code"] == "invalid_api_key"]
        assert wrong[0]["error_message"].startswith("A request to")
        assert sum(int(each["error_message"].split()[0].replace("A", "1")) for each in wrong) == count
        assert len(wrong) <= 9
        assert {record["origin"]["ip_address"] for record in records} == {"192.0.2.1", "192.0.2.2"}

    asyncio.run(opened(address("sqlite", tmp_path), main))


def test_what_was_counted_is_told_at_the_end(tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        refused = RefusedKeys(database.store(SYSTEM))
        await refused.close(1)
        for _ in range(100):
            refused.note(WRONG, HERE)
            await asyncio.sleep(0.001)
        await refused.close(5)
        rows = await database.audit.rows(0, 1000)
        told = [msgspec.json.decode(row.body)["details"]["error_message"].split()[0] for row in rows]
        assert sum(int(each.replace("A", "1")) for each in told) == 100

    asyncio.run(opened(address("sqlite", tmp_path), main))


def test_a_server_that_stops_has_told_whom_it_refused(tmp_path: Path) -> None:
    with Everloom(tmp_path) as server:
        with client_of(server, "sk-wrong", beta=None) as nobody:
            for _ in range(50):
                assert nobody.get("/organization/users").status_code == 401
        server.stop()
        server.start()
        with admin_of(server) as admin:
            told = fetched(admin, "/organization/audit_logs", **{"event_types[]": "login.failed"})["data"]
    counts = [each["login.failed"]["error_message"].split()[0].replace("A", "1") for each in told]
    assert sum(map(int, counts)) == 50
