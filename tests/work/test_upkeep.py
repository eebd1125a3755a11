"""What a worker does every now and then: whatever fails, it goes on, and says so once."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from everloom.context import Ports
from everloom.kit.errors import Unavailable
from everloom.work.upkeep import Upkeep, every

NOWHERE: Any = None


def swept(rounds: int, sweep: Callable[[int], Awaitable[None]], **fields: Any) -> list[float]:
    """When each of so many rounds began, in seconds."""
    begun: list[float] = []

    async def main() -> None:
        enough = asyncio.Event()

        async def one(ports: Ports) -> None:
            assert ports is NOWHERE
            begun.append(time.monotonic())
            if len(begun) > rounds:
                enough.set()
                await asyncio.sleep(3600)
            await sweep(len(begun))

        task = asyncio.create_task(every(Upkeep("things", fields.pop("seconds", 0.0), one, **fields), NOWHERE))
        await enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    return begun[:rounds]


def test_what_fails_is_said_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    failures = {1: "no disk", 2: "no disk", 3: "no net", 5: "no net", 6: "no net"}

    async def sweep(number: int) -> None:
        if number in failures:
            raise OSError(failures[number])

    with caplog.at_level(logging.INFO):
        assert len(swept(7, sweep)) == 7
    said = [(record.getMessage(), str(record.exc_info[1]) if record.exc_info else "") for record in caplog.records]
    failed, well = "looking after things failed; trying again", ("looking after things goes well again", "")
    assert said == [(failed, "no disk"), (failed, "no net"), well, (failed, "no net"), well]


def test_an_outage_is_told_as_one_and_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    async def sweep(number: int) -> None:
        if number < 3:
            raise Unavailable("its database", "refused")

    assert len(swept(4, sweep)) == 4
    assert not any(record.exc_info for record in caplog.records)


def test_a_sweep_takes_no_more_than_its_share_of_the_time() -> None:
    async def sweep(number: int) -> None:
        await asyncio.sleep(0.02)

    first, second = swept(2, sweep, share=0.1)
    assert second - first >= 0.2
    first, second = swept(2, sweep, seconds=0.1)
    assert second - first >= 0.12
