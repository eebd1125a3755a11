"""What a process knows of the rules of projects, and for how long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from everloom.context import Context
from everloom.context.known_rules import KnownRules
from everloom.kit.clock import now
from everloom.objects.organization import ORGANIZATION
from everloom.objects.rules import Limits, NotificationChannel, Rules, SpendAlert
from everloom.store.base import SYSTEM, Add, Store
from everloom.store.sqlite import SqliteDatabase
from tests.blobs import ports_of

Scenario = Callable[[Store, KnownRules], Awaitable[None]]


def run(scenario: Scenario, folder: Path) -> None:
    async def main() -> None:
        database = SqliteDatabase(folder / "everloom.db", synchronous="NORMAL")
        await database.open()
        try:
            store = database.store(SYSTEM)
            await scenario(store, KnownRules(store))
        finally:
            await database.close()

    asyncio.run(main())


def rules(id: str, limit: int) -> Rules:
    return Rules(id=id, created_at=now(), spend_limit=limit, rate_limits={"m": Limits(max_requests_per_1_day=limit)})


def alert(id: str, project: str) -> SpendAlert:
    channel = NotificationChannel(recipients=["a@b.c"])
    return SpendAlert(id=id, created_at=now(), project_id=project, threshold_amount=1, notification_channel=channel)


def test_a_project_is_known_with_its_organization(tmp_path: Path) -> None:
    async def scenario(store: Store, known: KnownRules) -> None:
        alerts = [alert("alert_1", "proj_a"), alert("alert_2", "proj_b"), alert("alert_3", "")]
        await store.write(*map(Add, [rules("proj_a", 1), rules("proj_b", 2), rules(ORGANIZATION, 3), *alerts]))
        a, c = await known.of("proj_a"), await known.of("proj_c")
        assert (a.project.spend_limit, a.organization.spend_limit) == (1, 3)
        assert a.project.rate_limits == {"m": Limits(max_requests_per_1_day=1)}
        assert [each.id for each in a.alerts] == ["alert_1"]
        assert [each.id for each in a.organization_alerts] == ["alert_3"]
        assert (c.project, c.alerts) == (Rules(id="proj_c", created_at=0), ())
        assert c.organization.spend_limit == 3
        system = await known.of(SYSTEM)
        assert (system.alerts, len(system.organization_alerts), system.project.spend_limit) == ((), 1, None)

    run(scenario, tmp_path)


def test_it_is_asked_once_for_two_seconds(tmp_path: Path) -> None:
    async def scenario(store: Store, known: KnownRules) -> None:
        assert known.recall("proj_a") is None
        first = await known.of("proj_a")
        assert known.recall("proj_a") is first
        assert await known.of("proj_a") is first
        assert 0 < first.until - time.monotonic() <= 2
        await store.write(Add(rules("proj_a", 1)))
        assert (await known.of("proj_a")).project.spend_limit is None
        first.until = 0.0  # Two seconds later.
        assert known.recall("proj_a") is None
        assert (await known.of("proj_a")).project.spend_limit == 1
        known.forget()
        assert known.recall("proj_a") is None

    run(scenario, tmp_path)


def test_what_was_read_before_a_change_is_not_remembered_after_it(tmp_path: Path) -> None:
    class Slow:
        """The store, which another writes to between two reads of one look."""

        def __init__(self, store: Store) -> None:
            self._store = store
            self.known: Any = None

        async def all(self, cls: Any, **where: Any) -> Any:
            found = await self._store.all(cls, **where)
            if cls is Rules and not found:
                await self._store.write(Add(rules("proj_a", 1)))
                self.known.forget()
            return found

    async def scenario(store: Store, _: KnownRules) -> None:
        slow: Any = Slow(store)
        slow.known = known = KnownRules(slow)
        assert (await known.of("proj_a")).project.spend_limit is None
        assert known.recall("proj_a") is None
        assert (await known.of("proj_a")).project.spend_limit == 1

    run(scenario, tmp_path)


def test_a_process_does_not_remember_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everloom.context.known_rules._REMEMBER_PROJECTS", 3)

    async def scenario(store: Store, known: KnownRules) -> None:
        for number in range(10):
            await known.of(f"proj_{number}")
        assert sum(known.recall(f"proj_{number}") is not None for number in range(10)) <= 3

    run(scenario, tmp_path)


def test_a_context_asks_for_rules_where_it_needs_models(tmp_path: Path) -> None:
    """And nowhere else: what asks no model pays nothing."""

    async def main() -> None:
        database = SqliteDatabase(tmp_path / "everloom.db", synchronous="NORMAL")
        await database.open()
        try:
            ctx = Context.of(ports_of(database, tmp_path / "blobs"), "proj_a")
            await ctx.store.all(Rules)
            assert ctx.ports.rules.recall("proj_a") is None
        finally:
            await database.close()

    asyncio.run(main())
