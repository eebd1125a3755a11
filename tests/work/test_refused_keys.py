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


def test_what_is_counted_at_the_end_is_told(tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        refused = RefusedKeys(database.store(SYSTEM))
        await refused.close()
        for _ in range(10):
            refused.note(WRONG, HERE)
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        for _ in range(300):
            refused.note(WRONG, HERE)
        await refused.close()
        await refused.close()
        rows = await database.audit.rows(0, 1000)
        texts = [msgspec.json.decode(row.body)["details"]["error_message"].split()[0] for row in rows]
        assert sum(int(text.replace("A", "1")) for text in texts) == 310

    asyncio.run(opened(address("sqlite", tmp_path), main))
