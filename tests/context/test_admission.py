"""The arithmetic of limits and budgets, and what processes that share them may take together."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from everloom.context import admission
from everloom.context.admission import Admission, Need, Ticket
from everloom.context.admission.clock import JUMP_SECONDS, SETTLING_SECONDS, SteadyWallClock
from everloom.context.admission.rates import duration
from everloom.context.admission.registration import is_dead, registration
from everloom.context.admission.reservations import ReservationLine
from everloom.context.admission.tickets import Experience
from everloom.context.admission.windows import DAY, MINUTE, SLICE_SECONDS, Ask, free_at, now_in, take
from everloom.context.caller import Caller
from everloom.context.known_rules import KnownRules
from everloom.context.pricing import PriceList
from everloom.kit.errors import ApiError
from everloom.objects.ledger import LedgerRow
from everloom.objects.organization import ORGANIZATION
from everloom.objects.prices import Price
from everloom.objects.quotas import NANO, RateWindows, Reservation, ServerProcess, Spend
from everloom.objects.rules import Limits, NotificationChannel, Rules, SpendAlert
from everloom.store.base import SYSTEM, Add, Change, Database, Operation, Remove
from everloom.store.sqlite import SqliteDatabase

PRICES = PriceList((Price(model="m", input=10.0, output=100.0),), defaults=False)
CALLER = Caller(project="proj_a", key_id="key_a", user="user_a")


# --- windows ---------------------------------------------------------------------------------------------------------


def windows() -> RateWindows:
    return RateWindows(id="proj_a/m", created_at=0)


def asked(limit: int, most: int = 1, least: int = 1, **more: object) -> Ask:
    fields: dict[str, object] = {"back": {}, "more": 0}
    return Ask(MINUTE, limit, least, most, **(fields | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_no_minute_sees_more_than_the_limit_and_pressure_gets_nearly_all_of_it(seed: int) -> None:
    dice, row, limit = random.Random(seed), windows(), random.Random(seed).choice([3, 60, 1000])
    now, spent = 1_000_000.0, []
    while now < 1_000_300:
        now += dice.random() * 0.3
        got = take(row, "requests", asked(limit, dice.randint(1, 20)), now_in(row, now))
        # A slice may be spent until a second later.
        spent += [now + dice.random() * SLICE_SECONDS for _ in range(got.amount)]
    spent.sort()
    for place, at in enumerate(spent):
        if place >= limit:
            assert at - spent[place - limit] >= 60
    assert len(spent) >= 5 * limit * 0.95
    assert len(row.windows["requests"]) < 260


def test_what_is_given_back_can_be_taken_again() -> None:
    row = windows()
    first = take(row, "tokens", asked(100, most=100), 1000.0)
    assert (first.amount, take(row, "tokens", asked(100), 1001.0).amount) == (100, 0)
    again = take(row, "tokens", asked(100, most=50, back={first.at: 40}), 1002.0)
    assert (again.amount, again.used) == (40, 100)


def test_what_is_owed_counts_beyond_the_limit() -> None:
    row = windows()
    assert take(row, "tokens", asked(100, most=0, more=150), 1000.0).used == 150
    assert take(row, "tokens", asked(100), 1050.0).amount == 0
    assert take(row, "tokens", asked(100, most=100), 1062.0).amount == 100


def test_when_there_will_be_room() -> None:
    row = windows()
    take(row, "requests", asked(3, most=2), 1000.0)
    taken = take(row, "requests", asked(3), 1010.0)
    assert free_at(taken, MINUTE, 3, 1) == 1061.0
    assert free_at(taken, MINUTE, 3, 3) == 1071.0
    assert free_at(taken, MINUTE, 3, 4) == float("inf")
    assert free_at(taken, MINUTE, 4, 1) == 0.0


def test_a_day_is_counted_in_few_entries() -> None:
    row = windows()
    for minute in range(3000):
        take(row, "requests_day", asked(10**6)._replace(span=DAY), 1_000_000.0 + minute * 60)
    assert len(row.windows["requests_day"]) < 300


def test_a_clock_that_others_have_set_wrong_is_not_waited_for() -> None:
    row = windows()
    take(row, "requests", asked(1), now_in(row, 1_000_000.0))
    assert now_in(row, 999_940.0) == 1_000_000.0  # A minute back: nothing is forgotten.
    assert now_in(row, 900_000.0) == 900_000.0
    assert take(row, "requests", asked(1), now_in(row, 900_001.0)).amount == 0
    assert take(row, "requests", asked(1), now_in(row, 900_062.0)).amount == 1


def test_the_clock_neither_goes_back_nor_jumps() -> None:
    wall, steady = 1000.0, 0.0
    clock = SteadyWallClock(wall=lambda: wall, steady=lambda: steady)
    steady, wall = 10.0, 950.0
    assert clock.now() == 1010.0
    wall = 1012.0
    assert clock.now() == 1012.0  # Corrected.
    wall = 1012.0 + JUMP_SECONDS + 86_400
    assert clock.now() == 1012.0
    steady, wall = 10.0 + SETTLING_SECONDS + 1, wall + SETTLING_SECONDS + 1
    assert clock.now() == wall


def test_durations_as_the_platform_writes_them() -> None:
    times = (0, 0.017, 0.9999, 1, 1.5, 59.9, 60, 360, 3_600, 86_399.5)
    words = ["0ms", "17ms", "1s", "1s", "1.5s", "59.9s", "1m0s", "6m0s", "1h0m0s", "23h59m59.5s"]
    assert list(map(duration, times)) == words


def test_what_was_exceptional_is_forgotten_and_nonsense_bounded() -> None:
    experience, need = Experience(), Need(10, 0, 1)

    def answered(read: int, written: int) -> None:
        row = LedgerRow(at=0, project="a", kind="chat", input_tokens=read, output_tokens=written)
        experience.learn(need, row)

    answered(10**9, 10**9)
    assert experience.amounts(need)[:3] == (1, 80, 131_072)
    assert [experience.tokens(need, limit) for limit in (20, 1000, 10**6)] == [20, 250, 26_307]
    for _ in range(1500):
        answered(10, 20)
    assert experience.amounts(need)[:3] == (1, 11, 1024)
    assert experience.tokens(need, 1000) < 40


# --- processes -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def doors(path: Path, count: int = 1) -> AsyncIterator[tuple[Database, list[Admission]]]:
    """Processes, as far as limits and budgets know, on one database."""
    database = SqliteDatabase(path / "a.db", synchronous="NORMAL")
    await database.open()
    opened = [Admission() for _ in range(count)]
    for door in opened:
        door.open(database, KnownRules(database.store(SYSTEM)), PRICES, ())
    try:
        yield database, opened
    finally:
        for door in opened:
            await door.close()
        await database.close()


async def admitted(door: Admission, need: Need | None = None, caller: Caller = CALLER) -> Ticket:
    ticket = await door.admit(caller, "chat", "m", "m", need or Need(10, 10, 1))
    assert ticket is not None
    return ticket


def used(ticket: Ticket, read: int = 10, written: int = 10) -> None:
    ticket.settle(LedgerRow(at=0, project="proj_a", kind="chat", model="m", input_tokens=read, output_tokens=written))
    ticket.release()


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_all_that_was_reserved_goes_when_it_is_idle(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            store = database.store(SYSTEM)
            used(await admitted(door))
            (row,) = await store.all(Reservation)
            assert row.amounts[0] >= 1
            assert len(await store.all(ServerProcess)) == 1

            async def gone() -> bool:
                return not await store.all(Reservation) and not await store.all(ServerProcess)

            await until(gone)
            used(await admitted(door))
            assert len(await store.all(Reservation)) == 1

    asyncio.run(main())


def test_reservations_cover_what_is_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            tickets = await asyncio.gather(*(admitted(door, Need(7, 5, 1)) for _ in range(40)))
            (row,) = await database.store(SYSTEM).all(Reservation)
            assert [least <= most for least, most in zip((40, 280, 200), row.amounts[:3], strict=True)] == [True] * 3
            for ticket in tickets:
                used(ticket)

    asyncio.run(main())


def test_who_was_held_for_dead_goes_on_under_another_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            store = database.store(SYSTEM)
            await store.write(Add(Rules(id="proj_a", created_at=0, spend_limit=100)))
            used(await admitted(door))
            (before,) = await store.all(ServerProcess)
            await store.write(Remove(ServerProcess, before.id), Remove(Reservation, process_id=before.id))
            await asyncio.gather(*(admitted(door) for _ in range(20)))
            (after,) = await store.all(ServerProcess)
            assert after.id != before.id
            assert {row.process_id for row in await store.all(Reservation)} == {after.id}

    asyncio.run(main())


@pytest.mark.parametrize("keys", [1, 16])
def test_processes_together_spend_a_budget_and_no_more_than_one_request_beyond(tmp_path: Path, keys: int) -> None:
    spent: list[int] = []
    refused: list[str | None] = []

    async def buyer(door: Admission, number: int) -> None:
        caller = Caller(project="proj_a", key_id=f"key_{number % keys}", user="")
        while True:
            try:
                ticket = await admitted(door, Need(random.randrange(10, 60), random.choice([0, 100]), 1), caller)
            except ApiError as refusal:
                refused.append(refusal.code)
                return
            await asyncio.sleep(random.random() * 0.02)
            row = LedgerRow(at=0, project="proj_a", kind="chat", model="m", input_tokens=20, output_tokens=50)
            spent.append(ticket.account.paid(row))
            ticket.settle(row)
            ticket.release()

    async def main() -> None:
        async with doors(tmp_path, 3) as (database, opened):
            store = database.store(SYSTEM)
            await store.write(Add(Rules(id="proj_a", created_at=0, spend_limit=100)))
            await asyncio.gather(*(buyer(opened[number % 3], number) for number in range(48)))
            assert NANO <= sum(spent) <= NANO + max(spent)
            assert refused == ["project_spend_limit_exceeded"] * 48

            async def reported() -> bool:
                return (await store.get(Spend, "proj_a")).settled == sum(spent)

            await until(reported)

    asyncio.run(main())


def test_an_alert_is_due_until_it_was_sent(tmp_path: Path) -> None:
    heard: list[tuple[str, list[str]]] = []

    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            store = database.store(SYSTEM)
            channel = NotificationChannel(recipients=["a@example.org"])
            alert = SpendAlert(
                id="alert_1", created_at=0, project_id="", threshold_amount=1, notification_channel=channel
            )
            await store.write(Add(alert))

            async def on_alert(budget: str, alerts: object) -> None:
                heard.append((budget, list(alerts)))  # type: ignore[call-overload]

            door.on_alert = on_alert
            for _ in range(20):
                used(await admitted(door), written=10)

            async def told() -> bool:
                return bool(heard)

            await until(told)
            assert heard[0] == (ORGANIZATION, ["alert_1"])

    asyncio.run(main())


def test_a_request_that_is_left_while_it_waits_reserves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            store = database.store(SYSTEM)
            await store.write(Add(Rules(id="proj_a", created_at=0, spend_limit=1)))
            holder = await admitted(door, Need(10, 99, 1))  # Nearly all of a cent.
            waiting = asyncio.create_task(admitted(door, Need(10, 99, 1)))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            used(holder, written=1)
            used(await admitted(door, Need(10, 95, 1)), written=1)

    asyncio.run(main())


def test_limits_that_change_hold_for_the_next_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            store = database.store(SYSTEM)
            limits = {"m": Limits(max_requests_per_1_minute=2)}
            await store.write(Add(Rules(id="proj_a", created_at=0, rate_limits=limits)))
            for _ in range(2):
                used(await admitted(door))
            with pytest.raises(ApiError, match="Limit 2, Used 2"):
                await admitted(door)
            assert door._rules is not None
            await store.write(Remove(Rules, "proj_a"))
            door._rules.forget()
            used(await admitted(door))

    asyncio.run(main())


def test_a_clock_that_is_set_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    here = registration()
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: time.time() + 5)
    assert not is_dead(here)


def test_who_is_alive() -> None:
    here = registration()
    assert not is_dead(here)
    here.started -= 100
    assert is_dead(here)
    there = registration()
    there.place = "elsewhere"
    assert not is_dead(there)
    there.until = 0
    assert is_dead(there)
    assert not is_dead(there, by_time=False)


def test_no_answer_is_reserved_for_beyond_what_a_model_can_say() -> None:
    assert Experience().amounts(Need(10, 10**30, 2))[:3] == (1, 10, 2 * 2**20)


def test_nobody_holds_of_one_budget_what_is_of_no_use_for_want_of_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path, 2) as (database, (one, other)):
            store = database.store(SYSTEM)
            await store.write(Add(Rules(id=ORGANIZATION, created_at=0, spend_limit=100)))
            await store.write(Add(Rules(id="proj_a", created_at=0, spend_limit=60)))
            elsewhere = await admitted(other, Need(0, 7000, 1), Caller(project="proj_b", key_id="key_b", user=""))
            large = asyncio.create_task(admitted(one, Need(0, 5000, 1)))  # Fits its project's, not the organization's.
            await asyncio.sleep(0.5)
            assert not large.done()
            async with asyncio.timeout(10):
                used(await admitted(other, Need(0, 2000, 1)), written=1)
            assert not large.done()
            used(elsewhere, written=1)
            used(await large, written=1)

    asyncio.run(main())


def test_who_waits_hears_of_a_raised_limit(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            store = database.store(SYSTEM)
            await store.write(Add(Rules(id="proj_a", created_at=0, spend_limit=1)))
            holder = await admitted(door, Need(10, 99, 1))
            waiting = asyncio.create_task(admitted(door, Need(10, 99, 1)))
            await asyncio.sleep(0.2)

            def raised(rules: Rules) -> None:
                rules.spend_limit = 10

            await store.write(Change(Rules, "proj_a", raised))
            async with asyncio.timeout(10):
                used(await waiting)
            used(holder)

    asyncio.run(main())


def test_nobody_is_let_in_by_a_limit_that_was_lowered(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            store, rules = database.store(SYSTEM), KnownRules(database.store(SYSTEM))
            await store.write(Add(Rules(id="proj_a", created_at=0, spend_limit=1000)))
            for _ in range(20):
                used(await admitted(door, Need(10, 99, 1)), written=99)

            def lowered(rules: Rules) -> None:
                rules.spend_limit = 1

            await store.write(Change(Rules, "proj_a", lowered))
            assert (await rules.of("proj_a")).project.spend_limit == 1
            await asyncio.sleep(2.1)  # What a process remembers of rules is as old at the most.
            with pytest.raises(ApiError, match="spend limit of"):
                await admitted(door, Need(10, 99, 1))

    asyncio.run(main())


def test_one_that_cannot_be_written_for_takes_none_of_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (_, (door,)):
            broken = Caller(project="proj_a", key_id="key_broken", user="")
            line = ReservationLine.change

            def change(self: ReservationLine, process: str, wanted: Sequence[int] = ()) -> Operation:
                if self._new.key_id == "key_broken":
                    raise ValueError("this cannot be kept")
                return line(self, process, wanted)

            monkeypatch.setattr(ReservationLine, "change", change)
            asked = [admitted(door, caller=broken if place == 3 else CALLER) for place in range(6)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [isinstance(answer, Ticket) for answer in answers] == [True, True, True, False, True, True]
            assert isinstance(answers[3], ValueError)

    asyncio.run(main())


def test_who_has_waited_for_what_others_have_reserved_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 0.3)

    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            await database.store(SYSTEM).write(Add(Rules(id="proj_a", created_at=0, spend_limit=1)))
            holder = await admitted(door, Need(10, 99, 1))
            with pytest.raises(ApiError, match="is reserved by requests") as refused:
                await admitted(door, Need(10, 99, 1))
            assert (refused.value.headers["x-should-retry"], refused.value.headers["retry-after"]) == ("true", "1")
            used(holder, written=100)
            with pytest.raises(ApiError, match="has reached its spend limit") as refused:
                await admitted(door, Need(10, 99, 1))
            assert refused.value.headers["x-should-retry"] == "false"

    asyncio.run(main())


def test_experience_refuses_nobody_for_good() -> None:
    experience, need = Experience(), Need(100, 50, 1)
    experience.learn(need, LedgerRow(at=0, project="a", kind="chat", input_tokens=300, output_tokens=50))
    assert [experience.tokens(need, limit) for limit in (10_000, 200, 100)] == [350, 200, 150]
    silent = Need(100, 0, 1)
    assert [experience.tokens(silent, limit) for limit in (10_000, 200, 100)] == [323, 200, 100]


def test_what_one_request_leaves_of_what_it_had_beyond_the_limit_is_nobodys(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as (database, (door,)):
            await database.store(SYSTEM).write(Add(Rules(id="proj_a", created_at=0, spend_limit=1)))
            large = await admitted(door, Need(10, 0, 1))  # Ten cents, of one.
            others = [asyncio.create_task(admitted(door, Need(10, 50, 1))) for _ in range(3)]
            await asyncio.sleep(0.5)
            used(large, written=90)
            done, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED, timeout=10)
            await asyncio.sleep(0.2)
            (last,) = done
            assert not any(task.done() for task in waiting)
            used(await last, written=50)
            refused = await asyncio.gather(*waiting, return_exceptions=True)
            assert [isinstance(each, ApiError) for each in refused] == [True, True]

    asyncio.run(main())
