"""Whose turn it is in an engine that several tuned models share."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from everloom.models.llama.turns import AdapterTurns


class Crowd:
    """Requests that stay in until they are let go, and who is in."""

    def __init__(self, turns: AdapterTurns) -> None:
        self._turns = turns
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.inside: list[str] = []

    async def come(self, *names: str) -> None:
        """Requests of the kind of their first letter."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._stay(name))
            await self.settle()

    async def _stay(self, name: str) -> None:
        async with self._turns.turn(name[0]):
            self.inside.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.inside.remove(name)

    async def go(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self.tasks[name]
        await self.settle()

    async def give_up(self, name: str) -> None:
        self.tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[name]
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


def crowd(work: Callable[[Crowd], Coroutine[Any, Any, None]], places: int = 2, joining: float = 0.0) -> None:
    async def main() -> None:
        there = Crowd(AdapterTurns(places, joining=joining))
        await work(there)
        while there.inside:
            await there.go(*there.inside)
        assert all(task.done() for task in there.tasks.values())

    asyncio.run(main())


def test_one_kind_at_a_time_and_who_waits_longest_is_next_with_all_of_the_same() -> None:
    async def work(there: Crowd) -> None:
        await there.come("a1", "b1", "c1", "b2")
        assert there.inside == ["a1"]
        await there.go("a1")
        assert there.inside == ["b1", "b2"]
        await there.go("b1")
        assert there.inside == ["b2"]
        await there.go("b2")
        assert there.inside == ["c1"]

    crowd(work)


def test_alone_a_kind_has_all_places_and_no_more() -> None:
    async def work(there: Crowd) -> None:
        await there.come("a1", "a2", "a3")
        assert there.inside == ["a1", "a2"]
        await there.go("a1")
        assert there.inside == ["a2", "a3"]

    crowd(work)


def test_newcomers_do_not_keep_the_others_out() -> None:
    async def work(there: Crowd) -> None:
        await there.come("a1", "b1", "a2")
        assert there.inside == ["a1"]
        await there.come("a3")
        await there.go("a1")
        assert there.inside == ["b1"]
        await there.go("b1")
        assert there.inside == ["a2", "a3"]

    crowd(work)


def test_newcomers_join_a_turn_that_has_just_begun() -> None:
    async def work(there: Crowd) -> None:
        await there.come("a1", "b1", "a2")
        assert there.inside == ["a1", "a2"]

    crowd(work, joining=3600)


@pytest.mark.parametrize("who", ["b1", "a1", "b2"])
def test_who_gives_up_takes_nobody_along(who: str) -> None:
    async def work(there: Crowd) -> None:
        await there.come("a1", "b1", "b2", "c1")
        await there.give_up(who)
        seen = []
        while there.inside:
            seen += there.inside
            await there.go(*there.inside)
        assert sorted(seen) == sorted({"a1", "b1", "b2", "c1"} - {who})

    crowd(work)


def test_who_gives_up_at_the_moment_of_being_let_in_leaves_the_place_to_others() -> None:
    async def work(there: Crowd) -> None:
        await there.come("a1", "b1", "c1")
        there._ends["a1"].set()
        await there.tasks["a1"]  # b1 is let in, and has not run yet
        await there.give_up("b1")
        assert there.inside == ["c1"]

    crowd(work)
