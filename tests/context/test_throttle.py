"""How many lines of batches a backend is asked at a time."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from everloom.context import throttle as throttles
from everloom.context.throttle import FIRST_LINES, BrokenOff, Throttle, Throttles
from everloom.context.traffic import LiveTraffic
from tests.loops import on_a_loop


class Elsewhere:
    """A backend that is a server somewhere."""


class Here:
    """A backend on this machine, which works on so many requests at once."""

    works_here = 4


class Lines:
    """Lines that are under way until they are let go; ``most`` were so at a time."""

    def __init__(self, throttle: Throttle) -> None:
        self.under_way = self.most = 0
        self.end = asyncio.Event()
        self._throttle = throttle

    def begin(self, count: int) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self._line()) for _ in range(count)]

    async def _line(self) -> None:
        await self._throttle.run(self._ask)
        self._throttle.answered()

    async def _ask(self) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.end.wait()
            await a_moment()
        finally:
            self.under_way -= 1


async def a_moment() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@on_a_loop
async def test_a_backend_is_asked_few_lines_first_and_more_as_it_answers() -> None:
    throttle = Throttle(Elsewhere(), LiveTraffic(), 32)
    lines = Lines(throttle)
    tasks = lines.begin(40)
    await a_moment()
    assert lines.under_way == FIRST_LINES
    lines.end.set()
    await asyncio.gather(*tasks)
    assert FIRST_LINES < lines.most <= 32


@on_a_loop
async def test_who_is_cancelled_while_live_traffic_breaks_a_line_off_stays_cancelled() -> None:
    """Else a line whose batch is over would be asked once more, and its segment never end."""
    backend = Here()
    all = Throttles(LiveTraffic())
    lines = Lines(all.of(backend))
    (task,) = lines.begin(1)
    await a_moment()
    all.traffic.enter(backend)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_a_loop
async def test_live_traffic_breaks_off_the_lines_of_a_model_of_this_machine() -> None:
    backend = Here()
    all = Throttles(LiveTraffic())
    lines = Lines(all.of(backend))
    tasks = lines.begin(8)
    await a_moment()
    assert lines.under_way == Here.works_here - 1
    slot = all.traffic.enter(backend)
    await a_moment()
    assert lines.under_way == 0
    slot.free()
    lines.end.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes if one is not None] == [BrokenOff] * 3


@on_a_loop
async def test_a_backend_that_says_nothing_is_given_one_line_more_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that four that hang do not stand in the way of all others until their time is over."""
    monkeypatch.setattr(throttles, "_SILENT_SECONDS", 0.0)
    monkeypatch.setattr(throttles, "HERE_LIVE_SECONDS", 0.002)
    throttle = Throttle(Elsewhere(), LiveTraffic(), 8)
    lines = Lines(throttle)
    tasks = lines.begin(20)
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if lines.under_way == 8:
            break
    await asyncio.sleep(0.02)
    assert lines.most == 8
    lines.end.set()
    await asyncio.gather(*tasks)


@on_a_loop
async def test_a_line_that_hangs_beside_live_traffic_takes_no_place_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a live request that goes on for minutes one line had stood for all, and its batch's others behind it."""
    now = [1000.0]
    monkeypatch.setattr(throttles, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(throttles, "HERE_LIVE_SECONDS", 0.002)
    monkeypatch.setattr(throttles, "_SILENT_SECONDS", 1e9)
    backend = Elsewhere()
    all = Throttles(LiveTraffic())
    all.traffic.enter(backend)
    throttle = all.of(backend)
    hanging, others = Lines(throttle), Lines(throttle)
    stuck = hanging.begin(1)
    await a_moment()
    others.end.set()
    tasks = others.begin(6)
    now[0] += throttles.LONG_SECONDS - 1
    await asyncio.sleep(0.05)
    assert (hanging.under_way, others.most) == (1, 0)
    now[0] += 1
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    assert (hanging.under_way, others.most) == (1, 1)
    hanging.end.set()
    await asyncio.gather(*stuck)


@on_a_loop
async def test_it_is_known_for_how_long_nobody_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(throttles, "time", SimpleNamespace(monotonic=lambda: now[0]))
    throttle = Throttle(Elsewhere(), LiveTraffic(), 32)
    assert throttle.failing_for() == 0
    throttle.failed()
    now[0] += 50
    throttle.failed()
    assert throttle.failing_for() == 50
    throttle.answered()
    assert throttle.failing_for() == 0
    throttle.failed()
    now[0] += 3600
    throttle.failed()  # An outage of its own: nobody has asked for an hour.
    assert throttle.failing_for() == 0
    now[0] += 5
    throttle.reached()
    assert throttle.failing_for() == 0
