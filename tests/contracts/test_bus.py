"""The bus's contract, over every adapter."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # asyncpg ships no types
import psycopg
import pytest

from everloom.bus.base import Bus
from everloom.bus.memory import MemoryBus
from everloom.bus.postgres import PostgresBus, pack
from tests.postgres import fresh_database


@pytest.fixture(params=["memory", "postgres"])
def bus(request: pytest.FixtureRequest) -> Callable[[], Bus]:
    """Makes a bus; every call's bus reaches the same topics where the adapter crosses processes."""
    if request.param == "memory":
        return MemoryBus
    url = fresh_database()
    return lambda: PostgresBus(url)


@asynccontextmanager
async def opened(*buses: Bus) -> Any:
    async with AsyncExitStack() as stack:
        for bus in buses:
            await bus.open()
            stack.push_async_callback(bus.close)
        yield


def with_bus(make: Callable[[], Bus], use: Callable[[Bus], Awaitable[None]]) -> None:
    async def main() -> None:
        bus = make()
        async with opened(bus):
            await use(bus)

    asyncio.run(main())


def test_a_waiter_is_woken(bus: Callable[[], Bus]) -> None:
    async def use(bus: Bus) -> None:
        with bus.watch("run_1") as watch:
            waiting = asyncio.create_task(watch.wait(60))
            await asyncio.sleep(0.01)
            bus.wake("run_1")
            async with asyncio.timeout(30):
                assert await waiting is True

    with_bus(bus, use)


def test_nobody_calls(bus: Callable[[], Bus]) -> None:
    async def use(bus: Bus) -> None:
        with bus.watch("run_1") as watch:
            bus.wake("run_2")
            begun = time.monotonic()
            assert await watch.wait(0.1) is False
            assert time.monotonic() - begun >= 0.09

    with_bus(bus, use)


def test_calls_between_two_waits_are_not_lost_and_count_once(bus: Callable[[], Bus]) -> None:
    async def use(bus: Bus) -> None:
        with bus.watch("run_1") as watch:
            bus.wake("run_1")
            bus.wake("run_1")
            await asyncio.sleep(0.15)
            assert await watch.wait(0) is True
            assert await watch.wait(0) is False

    with_bus(bus, use)


def test_everyone_on_a_topic_is_woken_and_nobody_else(bus: Callable[[], Bus]) -> None:
    async def use(bus: Bus) -> None:
        with bus.watch("run_1") as one, bus.watch("run_1") as two, bus.watch("run_2") as other:
            bus.wake("run_1")
            assert all(await asyncio.gather(one.wait(30), two.wait(30)))
            assert await other.wait(0.1) is False

    with_bus(bus, use)


def test_a_watch_begins_when_it_is_entered(bus: Callable[[], Bus]) -> None:
    async def use(bus: Bus) -> None:
        bus.wake("run_1")
        with bus.watch("run_1") as watch:
            assert await watch.wait(0.1) is False

    with_bus(bus, use)


def test_another_thread_may_wake(bus: Callable[[], Bus]) -> None:
    async def use(bus: Bus) -> None:
        with bus.watch("run_1") as watch:
            thread = threading.Thread(target=bus.wake, args=("run_1",))
            thread.start()
            assert await watch.wait(30) is True
            thread.join()

    with_bus(bus, use)


def test_a_closed_bus_is_silent(bus: Callable[[], Bus]) -> None:
    async def main() -> bool:
        it = bus()
        await it.open()
        await it.close()
        with it.watch("run_1") as watch:
            it.wake("run_1")
            return await watch.wait(0.05)

    assert asyncio.run(main()) is False


def test_another_process_is_woken_soon() -> None:
    """Two buses share nothing but the database, as two processes would."""
    url = fresh_database()

    async def main() -> list[float]:
        here, there = PostgresBus(url), PostgresBus(url)
        delays = []
        async with opened(here, there):
            with there.watch("run_1") as watch:
                for _ in range(20):
                    begun = time.monotonic()
                    here.wake("run_1")
                    assert await watch.wait(30)
                    delays.append(time.monotonic() - begun)
        return sorted(delays)

    delays = asyncio.run(main())
    assert delays[10] < 5, delays  # Half of them; a bus that is asked in turns takes them all longer.


def test_many_calls_are_few_notifications() -> None:
    url = fresh_database()

    async def main() -> tuple[int, int]:
        heard: list[str] = []
        listener = await asyncpg.connect(url)
        await listener.add_listener("everloom_bus", lambda *args: heard.append(args[3]))
        here, there = PostgresBus(url), PostgresBus(url)
        async with opened(here, there):
            with there.watch("run_199") as watch:
                for _ in range(20):
                    for number in range(200):
                        here.wake(f"run_{number}")
                assert await watch.wait(30)
                await asyncio.sleep(0.2)
        await listener.close()
        return len(heard), max(len(payload.encode()) for payload in heard)

    notifications, longest = asyncio.run(main())
    assert notifications <= 3
    assert longest < 8000


def test_packed_payloads_fit_and_lose_nothing() -> None:
    topics = [f"topic-{'é' * (number % 300)}-{number}" for number in range(500)]
    payloads = list(pack("me", topics))
    assert all(len(payload.encode()) < 8000 for payload in payloads)
    assert [topic for payload in payloads for topic in payload.split("\n")[1:]] == topics


@pytest.mark.parametrize("topic", ["a\nb", "x" * 1001])
def test_what_is_no_topic_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="not a topic"):
        PostgresBus("postgresql://nowhere").wake(topic)


def test_a_lost_connection_is_made_again_and_waiters_look_again() -> None:
    url = fresh_database()

    async def main() -> None:
        here, there = PostgresBus(url), PostgresBus(url)
        async with opened(here, there):
            with there.watch("run_1") as watch:
                with closing(psycopg.connect(url, autocommit=True)) as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                here.wake("run_1")
                assert await watch.wait(30), "woken by the reconnect or by the call sent after it"
                await asyncio.sleep(0.5)
                await watch.wait(0)
                here.wake("run_1")
                assert await watch.wait(30), "and calls go through again"

    asyncio.run(main())


def test_what_was_woken_before_close_is_sent() -> None:
    url = fresh_database()

    async def main() -> bool:
        here, there = PostgresBus(url), PostgresBus(url)
        async with opened(there):
            with there.watch("last") as watch:
                await here.open()
                here.wake("first")
                await asyncio.sleep(0.01)
                here.wake("last")
                await asyncio.sleep(0)
                await here.close()
                return await watch.wait(30)

    assert asyncio.run(main()) is True
