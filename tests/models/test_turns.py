"""Projects take turns at models that do few things at once."""

import asyncio

import pytest

from everloom.kit.errors import ApiError
from everloom.models.base import LimitedConcurrency
from everloom.models.fair_queue import MOST_WAITING, FairQueue, Slot
from everloom.models.memory_budget import MemoryBudget
from everloom.models.speech.espeak import EspeakBackend
from everloom.models.speech.piper import PiperBackend
from everloom.models.transcription.sphinx import SphinxBackend
from everloom.models.unavailable import UnavailableBackend
from everloom.models.upstream.backend import UpstreamBackend

OTHER = UpstreamBackend("http://127.0.0.1:9/v1")


class Crowd:
    """Requests by name, in the order in which they got their places."""

    def __init__(self, backend: LimitedConcurrency) -> None:
        self.turns = FairQueue()
        self.there: list[str] = []
        self._backend = backend
        self._places: dict[str, Slot] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, project: str, *names: str) -> None:
        for name in names:
            self._tasks[name] = asyncio.create_task(self._one(project, name))
        await settled()

    async def _one(self, project: str, name: str) -> None:
        self._places[name] = await self.turns.slot(project, self._backend, "m")
        self.there.append(name)

    async def go(self, name: str) -> None:
        self._places.pop(name).free()
        await settled()

    def leave(self, name: str) -> None:
        self._tasks[name].cancel()

    async def refusal(self, name: str) -> ApiError:
        with pytest.raises(ApiError) as refused:
            await self._tasks[name]
        return refused.value


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def two_at_once() -> SphinxBackend:
    assert SphinxBackend.max_concurrency == 2
    return SphinxBackend()


def test_a_project_has_as_many_there_as_the_model_works_on() -> None:
    async def scenario() -> None:
        crowd = Crowd(two_at_once())
        await crowd.come("a", "a1", "a2", "a3", "a4")
        assert crowd.there == ["a1", "a2"]
        await crowd.come("b", "b1", "b2", "b3")
        assert crowd.there == ["a1", "a2", "b1", "b2"]
        await crowd.go("a2")
        await crowd.go("a1")
        assert crowd.there[4:] == ["a3", "a4"]
        await crowd.go("b1")
        assert crowd.there[6:] == ["b3"]

    asyncio.run(scenario())


def test_a_place_is_given_once() -> None:
    async def scenario() -> None:
        turns, backend = FairQueue(), two_at_once()
        first = await turns.slot("a", backend, "m")
        with await turns.slot("a", backend, "m") as second:
            second.free()
        first.free()
        first.free()
        crowd = Crowd(backend)
        crowd.turns = turns
        await crowd.come("a", "a1", "a2", "a3")
        assert crowd.there == ["a1", "a2"]

    asyncio.run(scenario())


def test_a_full_line_is_full_for_its_own_project() -> None:
    async def scenario() -> None:
        crowd = Crowd(two_at_once())
        await crowd.come("a", *(f"a{number}" for number in range(MOST_WAITING + 2)))
        await crowd.come("a", "late")
        error = await crowd.refusal("late")
        assert (error.status, error.code, error.type) == (503, "overloaded", "server_error")
        assert int(error.headers["retry-after"]) > 0
        await crowd.come("b", "b1")
        assert crowd.there == ["a0", "a1", "b1"]
        await crowd.go("a0")
        await crowd.come("a", "a99")
        for number in range(1, MOST_WAITING + 2):
            await crowd.go(f"a{number}")
        assert crowd.there[-1] == "a99"

    asyncio.run(scenario())


def test_who_leaves_takes_no_place() -> None:
    async def scenario() -> None:
        crowd = Crowd(two_at_once())
        await crowd.come("a", "a1", "a2", "a3", "a4", "a5")
        crowd.leave("a3")
        await crowd.go("a1")
        assert crowd.there == ["a1", "a2", "a4"]
        await crowd.go("a2")
        await crowd.go("a4")
        await crowd.come("a", "a6", "a7")
        assert crowd.there[3:] == ["a5", "a6"]

    asyncio.run(scenario())


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_place_that_comes_while_one_leaves_goes_on(leaves_first: bool) -> None:
    async def scenario() -> None:
        turns, backend = FairQueue(), PiperBackend({}, MemoryBudget(1))
        place = await turns.slot("a", backend, "m")
        leaving, staying = (asyncio.create_task(turns.slot("a", backend, "m")) for _ in range(2))
        await settled()
        for step in (leaving.cancel, place.free) if leaves_first else (place.free, leaving.cancel):
            step()
        (await staying).free()
        assert leaving.cancelled()
        (await asyncio.wait_for(turns.slot("a", backend, "m"), 1)).free()

    asyncio.run(scenario())


def test_models_have_lines_of_their_own() -> None:
    async def scenario() -> None:
        turns, backend = FairQueue(), PiperBackend({}, MemoryBudget(1))
        places = [await turns.slot("a", backend, model) for model in ("one", "two")]
        places.append(await turns.slot("a", PiperBackend({}, MemoryBudget(1)), "one"))
        assert len(places) == 3

    asyncio.run(scenario())


def test_upstreams_are_asked_at_once() -> None:
    async def scenario() -> None:
        turns = FairQueue()
        for backend in (OTHER, UnavailableBackend("m", "it is not there")):
            for place in [await turns.slot("a", backend, "m") for _ in range(100)]:
                place.free()
        assert OTHER.max_concurrency is None

    asyncio.run(scenario())


def test_espeak_speaks_at_once_what_its_processes_can() -> None:
    assert EspeakBackend().max_concurrency in (1, 2, 3, 4)
