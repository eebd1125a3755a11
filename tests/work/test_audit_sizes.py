"""Events of any size: what is written is bounded, and of what was written before there was a bound few at once."""

import hashlib
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from everloom.evidence.webhook import WebhookSink
from everloom.objects.audit import DETAIL_BYTES, GENESIS, PAGE_BYTES, ROW_BYTES, AuditHead, AuditQuery, bounded
from everloom.objects.base import JsonObject, encode
from everloom.store.base import SYSTEM, Audit, Database
from everloom.work.organization import audit_logs, audit_sinks
from tests.audited import AuditedDatabase, an_event
from tests.receivers import Webhook
from tests.store.databases import every_adapter

NAMES = [f"{number:0256}" for number in range(1000)]


def test_details_of_any_size_are_few() -> None:
    small: JsonObject = {"id": "x", "data": {"names": NAMES[:50], "text": "t" * 2000}}
    assert bounded(small) is small
    (found,) = [bounded({"id": "x", "data": {"model_ids": NAMES, "mode": "allow_list"}})]
    digest = hashlib.sha256(encode(NAMES)).hexdigest()
    assert found == {
        "id": "x",
        "data": {"model_ids": {"count": 1000, "sha256": digest, "first": NAMES[:3]}, "mode": "allow_list"},
    }
    text = "\N{SNOWMAN}" * 100_000
    cut = bounded({"id": "x", "text": text})["text"]
    assert cut == {"characters": 100_000, "sha256": hashlib.sha256(encode(text)).hexdigest(), "first": text[:256]}


def some(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(5 if depth else 2)
    if kind == 0:
        return "x" * int(chance.expovariate(0.0005))
    if kind == 1:
        return chance.randrange(10**9)
    if kind == 2:
        return [some(chance, depth - 1) for _ in range(int(chance.expovariate(0.1)))]
    return {f"{number}": some(chance, depth - 1) for number in range(int(chance.expovariate(0.1)))}


def test_whatever_the_details_are() -> None:
    chance = random.Random(7)
    cut = 0
    for _ in range(300):
        details = {"id": "x", "data": some(chance, 4)}
        found = bounded(details)
        cut += found != details
        assert len(encode(found)) <= DETAIL_BYTES
        assert found["id"] == "x"
    assert cut > 50


def of_before(log: AuditedDatabase, monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    """Events as they were written when nothing bounded them."""
    with monkeypatch.context() as patch:
        patch.setattr("everloom.store.audit.bounded", lambda details: details)

        async def write(database: Database) -> None:
            for number, size in enumerate(sizes):
                details = {"id": f"r{number}", "data": "x" * size}
                await database.store(SYSTEM).write(Audit((an_event(details=details),)))

        log.run(write)


@every_adapter
def test_long_events_of_before_are_read_listed_and_sent_in_parts(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditedDatabase(adapter, tmp_path)
    of_before(log, monkeypatch, [10, PAGE_BYTES * 2, *[PAGE_BYTES // 3] * 12, ROW_BYTES + 1, 10, 10])
    log.sign()
    assert log.verify().faults == ()

    async def look(database: Database) -> None:
        audit = database.audit
        after, parts = 0, []
        while rows := await audit.rows(after, 100):
            parts.append([row.seq for row in rows])
            assert len(rows) == 1 or sum(len(row.body) for row in rows) <= ROW_BYTES
            after = rows[-1].seq
        assert [seq for part in parts for seq in part] == list(range(1, 18))
        assert len(parts) == 4
        for backward in (False, True):
            found: list[str] = []
            place: dict[str, str] = {"before": (await audit.rows(0, 1))[0].id} if backward else {}
            while True:
                page = await audit_logs.list_audit_logs(audit, AuditQuery(limit=100, **place))
                events = page.decode()
                assert len(events) == 1 or sum(map(len, page.bodies)) <= PAGE_BYTES
                ids = [event["project.updated"]["id"] for event in events]
                found = [*ids, *found] if backward else [*found, *ids]
                if not page.has_more:
                    break
                place = {"before": events[0]["id"]} if backward else {"after": events[-1]["id"]}
            assert found == [f"r{number}" for number in range(16, 0 if backward else -1, -1)]

    log.run(look)
    with Webhook() as receiver:
        sink = WebhookSink(receiver.url)

        async def send(database: Database) -> None:
            await audit_sinks.sweep(log.ports(database, sink))
            await sink.close()

        log.run(send)
        assert [event["chain"]["seq"] for event in receiver.events] == list(range(1, 18))
        assert len(receiver.tokens) > 10


def test_much_is_read_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    of_before(log, monkeypatch, [1_000_000] * 60)
    log.evidence().signer.sign(AuditHead(1, GENESIS), 1)
    tracemalloc.start()
    assert log.verify(log.key, witness=False).rows == 60
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000
