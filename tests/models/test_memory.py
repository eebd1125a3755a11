"""The budget of memory, with models that take no time to load: who goes, who waits, and that nobody waits for ever."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from everloom.kit.errors import ModelFailure
from everloom.models import memory_budget
from everloom.models.memory_budget import MemoryBudget


class Thing:
    """Takes ``size`` bytes in no process that could be measured."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.loads = 0
        self.loaded = False

    @property
    def pid(self) -> int | None:
        return 2**30 if self.loaded else None

    async def estimate(self) -> int:
        await asyncio.sleep(0)
        return self.size

    async def unload(self) -> None:
        self.loaded = False
        await asyncio.sleep(0.01)

    def load(self) -> None:
        self.loads += not self.loaded
        self.loaded = True


async def use(budget: MemoryBudget, thing: Thing, seconds: float = 0.0) -> None:
    async with budget.use(thing):
        thing.load()
        await asyncio.sleep(seconds)
        assert thing.loaded, "unloaded while it was in use"


def test_the_least_recently_used_goes_first() -> None:
    async def run() -> list[str]:
        budget = MemoryBudget(30)
        a, b, c, d = (Thing(name, 10) for name in "abcd")
        for thing in (a, b, c, a, d):
            await use(budget, thing)
        return [thing.name for thing in (a, b, c, d) if thing.loaded]

    assert asyncio.run(run()) == ["a", "c", "d"]


def test_no_more_go_than_must() -> None:
    async def run() -> list[str]:
        budget = MemoryBudget(30)
        small, large, other = Thing("small", 5), Thing("large", 20), Thing("other", 10)
        for thing in (large, small, other):
            await use(budget, thing)
        return [thing.name for thing in (small, large, other) if thing.loaded]

    assert asyncio.run(run()) == ["small", "other"]


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    async def run() -> ModelFailure:
        budget = MemoryBudget(10**9)
        loaded = Thing("loaded", 5)
        await use(budget, loaded)
        with pytest.raises(ModelFailure) as refused:
            await use(budget, Thing("huge", 7 * 10**9))
        assert loaded.loaded
        return refused.value

    refused = asyncio.run(run())
    assert refused.status == 503
    assert "`huge` takes about 7.00 GB" in refused.message
    assert "1.00 GB together (setting local_memory, EVERLOOM_LOCAL_MEMORY)" in refused.message


def test_a_busy_model_cannot_keep_another_out() -> None:
    async def run() -> tuple[int, int]:
        budget = MemoryBudget(10)
        busy, other = Thing("busy", 10), Thing("other", 10)
        stop = asyncio.Event()

        async def overlapping() -> None:
            while not stop.is_set():
                await use(budget, busy, 0.02)

        clients = [asyncio.create_task(overlapping()) for _ in range(4)]
        for delay in (0.0, 0.005, 0.01):
            await asyncio.sleep(delay)
        for _ in range(3):
            await asyncio.wait_for(use(budget, other), 2)
        stop.set()
        await asyncio.gather(*clients)
        return busy.loads, other.loads

    busy, other = asyncio.run(run())
    assert other == 3
    assert 2 <= busy <= 4


def test_all_who_wait_for_a_model_come_in_together() -> None:
    async def run() -> tuple[int, int]:
        budget = MemoryBudget(10)
        a, b = Thing("a", 10), Thing("b", 10)
        await asyncio.gather(*(use(budget, thing, 0.01) for _ in range(20) for thing in (a, b)))
        return a.loads, b.loads

    a, b = asyncio.run(run())
    assert max(a, b) <= 2


def test_a_part_of_a_request_does_not_wait_for_who_waits_for_the_request() -> None:
    async def run() -> list[int]:
        budget = MemoryBudget(10)
        a, b = Thing("a", 10), Thing("b", 10)

        async def numbers() -> AsyncGenerator[int, None]:
            for number in range(3):
                await asyncio.sleep(0.01)
                assert a.loaded
                yield number

        async with budget.use(a) as held:
            a.load()
            waiting = asyncio.create_task(use(budget, b))
            await asyncio.sleep(0.01)
            stream = held.stream(numbers())
            said = [await asyncio.wait_for(anext(stream), 1)]
        said += [number async for number in stream]
        await asyncio.wait_for(waiting, 1)
        return said

    assert asyncio.run(run()) == [0, 1, 2]


def test_whoever_gives_up_waiting_stands_in_nobodys_way() -> None:
    async def run() -> None:
        budget = MemoryBudget(10)
        a, b, c = (Thing(name, 10) for name in "abc")
        async with budget.use(a):
            a.load()
            first = asyncio.create_task(use(budget, b))
            second = asyncio.create_task(use(budget, c))
            again = asyncio.create_task(asyncio.sleep(0.01))
            await again
            for task in (first, second):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await asyncio.wait_for(use(budget, a), 1)
        await asyncio.wait_for(use(budget, b), 1)
        assert not a.loaded

    asyncio.run(run())


def test_an_end_comes_also_where_no_room_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_S", 0.05)

    async def run() -> ModelFailure:
        budget = MemoryBudget(10)
        a = Thing("a", 10)
        async with budget.use(a):
            a.load()
            with pytest.raises(ModelFailure, match="found no room") as refused:
                await use(budget, Thing("b", 10))
            await asyncio.wait_for(use(budget, a), 1)
        return refused.value

    assert asyncio.run(run()).status == 503


def test_what_did_not_load_takes_no_room() -> None:
    async def run() -> None:
        budget = MemoryBudget(10)
        broken = Thing("broken", 10)
        async with budget.use(broken):
            pass
        other = Thing("other", 10)
        assert await budget.has_room(other)

    asyncio.run(run())


def test_an_unused_model_goes_after_its_time() -> None:
    async def run() -> None:
        budget = MemoryBudget(10, idle=0.05)
        a = Thing("a", 10)
        for _ in range(3):
            await use(budget, a)
            await asyncio.sleep(0.03)
        assert a.loads == 1
        await asyncio.sleep(0.05)
        assert not a.loaded
        await use(budget, a)
        assert a.loads == 2
        await budget.close()

    asyncio.run(run())
