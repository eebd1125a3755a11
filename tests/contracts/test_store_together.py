"""The store's contract: what is done together in one write, or by several at once, is as if done one by one."""

import asyncio
from collections.abc import Callable

import pytest

from everloom.kit.errors import NotFound
from everloom.objects.assistants import Assistant
from everloom.objects.messages import Message
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.store.base import Add, Change, Database, DropLog, Event, Missing, Remove, Retract, Start, Tell
from tests.contracts.test_store_starts import heard
from tests.store.databases import on_every_database
from tests.store.things import a_message, a_run, a_thread


@on_every_database
async def test_all_that_one_write_tells_stands_in_its_order(database: Database) -> None:
    store = database.store("proj_a")
    thread = a_thread()
    tells = [Tell("thread.message.delta", b"%d" % number) for number in range(150)]
    await store.write(Tell("thread.message.delta", b"first"), log="run_1")
    await store.write(*tells[:75], Add(thread, tell=("thread.created",)), *tells[75:], log="run_1")
    events = await store.events("run_1")
    assert [event.seq for event in events] == list(range(1, 153))
    told = [event.data for event in events if event.name == "thread.message.delta"]
    assert told == [b"first", *(tell.data for tell in tells)]
    assert events[76].name == "thread.created"


@on_every_database
async def test_one_write_may_tell_any_number_of_events(database: Database) -> None:
    store = database.store("proj_a")
    for count in range(1, 100):
        tells = [Tell("thread.message.delta", b"%d" % number) for number in range(count)]
        await store.write(*tells, log=f"run_{count}")
        events = await store.events(f"run_{count}")
        assert [(event.seq, event.data) for event in events] == [(n + 1, tell.data) for n, tell in enumerate(tells)]


@on_every_database
async def test_what_a_write_told_before_it_retracts_goes_too(database: Database) -> None:
    store = database.store("proj_a")
    await store.write(Tell("thread.message.delta", b"1"), Tell("thread.message.delta", b"2"), log="run_1")
    await store.write(
        Tell("thread.message.delta", b"3"), Retract(2), Tell("thread.message.delta", b"again"), log="run_1"
    )
    assert await store.events("run_1") == [
        Event(1, "thread.message.delta", b"1"),
        Event(4, "thread.message.delta", b"again"),
    ]
    await store.write(Tell("thread.message.delta", b"4"), DropLog("run_1"), log="run_1")
    assert await store.events("run_1") == []


@on_every_database
async def test_who_fails_takes_nobody_along_and_nothing_is_done_twice(database: Database) -> None:
    told = heard(database)
    store = database.store("proj_a")
    thread = a_thread(metadata={"count": "0"})
    await store.write(Add(thread))

    def count(thread: Thread) -> None:
        thread.metadata["count"] = str(int(thread.metadata["count"]) + 1)

    async def good(number: int) -> None:
        change = Change(Thread, thread.id, count, tell=("thread.created",))
        await store.write(change, Start("run", f"run_{number}"), log="run_1")

    async def bad(number: int) -> None:
        with pytest.raises(NotFound):
            await store.write(
                Change(Thread, thread.id, count, tell=("thread.created",)),
                Start("run", f"bad_{number}"),
                Change(Assistant, "asst_none"),
                log="run_1",
            )

    await asyncio.gather(*((bad if number % 3 == 1 else good)(number) for number in range(60)))
    assert (await store.get(Thread, thread.id)).metadata == {"count": "40"}
    assert [event.seq for event in await store.events("run_1")] == list(range(1, 41))
    waiting = await database.waiting("live", 100)
    assert sorted(job.key for job in told) == sorted(job.key for job in waiting)
    assert sorted(job.key for job in waiting) == sorted(f"run_{number}" for number in range(60) if number % 3 != 1)


@on_every_database
async def test_a_write_that_comes_back_to_a_row_finds_it_as_it_left_it(database: Database) -> None:
    store = database.store("proj_a")
    thread, other = a_thread(id="thread_b"), a_thread(id="thread_a")
    run = a_run(thread.id)
    await store.write(Add(thread), Add(other), Add(run))

    def noting(word: str) -> Callable[[Thread], None]:
        def note(thread: Thread) -> None:
            thread.metadata[word] = ",".join(sorted(thread.metadata))

        return note

    def complete(run: Run) -> None:
        run.status = "completed"

    # Out of order, so that PostgreSQL locks them all before the first is changed.
    await store.write(
        Change(Thread, thread.id, noting("one")),
        Change(Thread, other.id, noting("two")),
        Change(Thread, thread.id, noting("three")),
    )
    assert (await store.get(Thread, thread.id)).metadata == {"one": "", "three": "one"}
    assert (await store.get(Thread, other.id)).metadata == {"two": ""}
    with pytest.raises(Missing):
        await store.write(
            Change(Run, run.id, complete), Change(Thread, other.id), Change(Run, run.id, complete, active=True)
        )
    assert await store.get(Run, run.id) == run
    await store.write(
        Change(Thread, thread.id, noting("four")),
        Change(Thread, other.id),
        Remove(Thread, thread.id),
        Add(a_thread(id=thread.id)),
        Change(Thread, thread.id, noting("five")),
    )
    assert (await store.get(Thread, thread.id)).metadata == {"five": ""}


@on_every_database
async def test_all_of_a_thread_is_read_however_much_it_is(database: Database) -> None:
    store = database.store("proj_a")
    for count, size in ((0, 10), (3, 10), (33, 10), (3, 200_000)):
        thread = a_thread()
        messages = [a_message(thread.id, "x" * size) for _ in range(count)]
        await store.write(*map(Add, messages), Add(a_message("thread_2")))
        assert await store.all(Message, thread_id=thread.id) == messages
