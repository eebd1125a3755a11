"""What a worker claims from an engine's queues, and when: over an engine that only notes what it is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from everloom.bus.memory import MemoryBus
from everloom.jobs import dispatcher
from everloom.jobs.dbos_engine import Claim, Engine
from everloom.jobs.dispatcher import Dispatcher
from everloom.objects.jobs import Lane
from tests.contracts.test_jobs import until


class Queues:
    """An engine's queues in memory, and the jobs that came out of them."""

    def __init__(self) -> None:
        self.standing: dict[Lane, list[str]] = {"live": [], "background": []}
        self.asked: list[tuple[Lane, int]] = []
        self.begun: list[str] = []
        self.away = 0
        """Claims that are to fail."""

    async def queued(self) -> list[Lane]:
        return [lane for lane, jobs in self.standing.items() if jobs]

    async def claim(self, lane: Lane, room: int) -> Claim:
        self.asked.append((lane, room))
        if self.away:
            self.away -= 1
            raise ConnectionError("nobody answers")
        jobs, self.standing[lane] = self.standing[lane][:room], self.standing[lane][room:]
        return Claim("owner", jobs)

    async def dispatch(self, claim: Claim) -> None:
        self.begun += claim.jobs


@asynccontextmanager
async def dispatching(queues: Queues, room: Callable[[Lane], int], forget: float = 60.0) -> AsyncIterator[Dispatcher]:
    bus = MemoryBus()
    await bus.open()
    claims = Dispatcher(bus, lambda: cast(Engine, queues), room, forget=forget)
    keeping = asyncio.create_task(claims.keep())
    try:
        await asyncio.sleep(0.1)
        yield claims
        assert not keeping.done()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await bus.close()


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the worker to calls alone, behind the look of its start."""
    monkeypatch.setattr(dispatcher, "_LOOK", 1e6)


@pytest.mark.usefixtures("no_look")
def test_a_lane_is_claimed_when_it_is_called_and_no_other() -> None:
    async def main() -> None:
        queues = Queues()
        async with dispatching(queues, lambda lane: 8) as claims:
            assert queues.asked == []
            queues.standing["live"] = ["one", "two"]
            claims.call("live")
            await until(lambda: queues.begun == ["one", "two"])
            assert queues.asked[0] == ("live", 8)
            assert {lane for lane, _ in queues.asked} == {"live"}

    asyncio.run(main())


def test_what_nobody_called_for_is_found_and_so_is_what_could_not_be_claimed() -> None:
    async def main() -> None:
        queues = Queues()
        queues.away = 2
        async with dispatching(queues, lambda lane: 8):
            queues.standing["background"] = ["one"]
            await until(lambda: queues.begun == ["one"])

    asyncio.run(main())


@pytest.mark.usefixtures("no_look")
def test_no_more_is_claimed_than_there_is_room_for_and_the_rest_when_there_is() -> None:
    taken = 0

    async def main() -> None:
        nonlocal taken
        queues = Queues()
        async with dispatching(queues, lambda lane: 3 - taken) as claims:
            queues.standing["live"] = [str(number) for number in range(7)]
            claims.call("live")
            await until(lambda: len(queues.begun) == 3)
            claims.call("live")
            await asyncio.sleep(0.2)
            assert len(queues.begun) == 3, "those on their way have their places"
            for job in queues.begun[:3]:
                taken += 1
                claims.arrived(job)
            claims.call("live")
            await asyncio.sleep(0.2)
            assert len(queues.begun) == 3
            taken -= 2
            claims.has_room("live")
            await until(lambda: len(queues.begun) == 5)

    asyncio.run(main())


def test_a_job_that_was_claimed_and_never_arrives_does_not_keep_its_place_for_ever() -> None:
    async def main() -> None:
        queues = Queues()
        async with dispatching(queues, lambda lane: 1, forget=0.5):
            queues.standing["live"] = ["lost", "next"]
            await until(lambda: queues.begun == ["lost", "next"])

    asyncio.run(main())
