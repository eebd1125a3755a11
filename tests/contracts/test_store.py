"""The store's contract: what a write means, on every adapter. Pages: ``test_store_pages.py``."""

import asyncio

import pytest

from everloom.kit.errors import BadRequest, NotFound
from everloom.objects.base import Object, PageQuery, encode
from everloom.objects.files import File
from everloom.objects.messages import Message
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import VectorStoreFile, file_key
from everloom.store.base import (
    Absent,
    Add,
    Change,
    Conflict,
    Database,
    DropLog,
    Event,
    Missing,
    Pack,
    Remove,
    Retract,
    Store,
    Tell,
    Written,
    change_one,
)
from everloom.work.salvage import salvage
from tests.store.databases import on_every_database
from tests.store.things import a_file, a_message, a_run, a_thread


async def _ids(store: Store, cls: type[Object]) -> list[str]:
    return [thing.id for thing in await store.all(cls)]


@on_every_database
async def test_what_was_added_is_found_again(database: Database) -> None:
    store = database.store("proj_a")
    thread = a_thread(metadata={'what\'s "this"; --': "\0 ü \U0001f600"})
    added = Add(thread)
    assert (await store.write(added))[added] == thread
    assert await store.get(Thread, thread.id) == thread
    assert await store.all(Thread) == [thread]
    assert store.project == "proj_a"


@on_every_database
async def test_what_is_not_there_is_said_in_the_platforms_words(database: Database) -> None:
    store = database.store("proj_a")
    message = a_message("thread_1")
    await store.write(Add(message))
    with pytest.raises(NotFound, match=r"^No thread found with id 'thread_\{x\}'\.$"):
        await store.get(Thread, "thread_{x}")
    with pytest.raises(Missing, match=r"^No such File object: file-x$") as missing:
        await store.get(File, "file-x")
    assert (missing.value.cls, missing.value.key, missing.value.noun) == (File, "file-x", "file")
    key = file_key("vs_1", "file-x")
    with pytest.raises(Missing, match=r"^No vector store file found with id 'file-x'\.$") as missing:
        await store.get(VectorStoreFile, key)
    assert (missing.value.key, missing.value.id) == (key, "file-x")
    with pytest.raises(NotFound, match=message.id):
        await store.get(Message, message.id, thread_id="thread_2")
    with pytest.raises(NotFound, match="No message found with id 'a\0b'"):
        await store.get(Message, "a\0b")
    assert await store.get(Message, message.id, thread_id="thread_1") == message


@on_every_database
async def test_another_projects_objects_do_not_exist(database: Database) -> None:
    mine, theirs = database.store("proj_a"), database.store("proj_b")
    thread, message = a_thread(), a_message("thread_1")
    await mine.write(Add(thread), Add(message, tell=("thread.message.created",)), log="run_1")
    with pytest.raises(NotFound):
        await theirs.get(Thread, thread.id)
    with pytest.raises(NotFound):
        await theirs.write(Change(Thread, thread.id, lambda thread: None))
    with pytest.raises(NotFound):
        await theirs.write(Remove(Thread, thread.id))
    nothing = Remove(Message, thread_id="thread_1")
    assert (await theirs.write(nothing, DropLog("run_1")))[nothing] == 0
    assert await theirs.all(Message) == []
    assert (await theirs.find(Message, PageQuery(), thread_id="thread_1")).bodies == []
    assert await theirs.events("run_1") == []
    await theirs.write(Absent(Message, lambda found: Conflict(found.id)), Add(thread))
    assert await mine.get(Message, message.id) == message
    assert len(await mine.events("run_1")) == 1
    assert await database.across(Thread) == [("proj_a", thread), ("proj_b", thread)]


@on_every_database
async def test_an_id_is_given_once_in_a_project(database: Database) -> None:
    store = database.store("proj_a")
    thread = a_thread()
    await store.write(Add(thread))
    with pytest.raises(Conflict):
        await store.write(Add(a_thread()), Add(a_thread(id=thread.id, metadata={"a": "b"})))
    assert await store.all(Thread) == [thread]


@on_every_database
async def test_a_change_is_kept_with_its_columns(database: Database) -> None:
    store = database.store("proj_a")
    run = a_run("thread_1")
    await store.write(Add(run))

    def finish(run: Run) -> None:
        run.status = "completed"
        run.completed_at = 7

    changed = await change_one(store, Change(Run, run.id, finish, thread_id="thread_1", active=True))
    assert (changed.status, changed.completed_at) == ("completed", 7)
    assert await store.get(Run, run.id, active=False) == changed
    assert await store.all(Run, active=True) == []
    with pytest.raises(NotFound):
        await store.write(Change(Run, run.id, finish, active=True))
    assert await change_one(store, Change(Run, run.id)) == changed


@on_every_database
async def test_what_an_edit_raises_leaves_nothing_written(database: Database) -> None:
    store = database.store("proj_a")
    thread, message = a_thread(), a_message("thread_1")
    await store.write(Add(thread), Add(message))
    refusal = BadRequest("no", param="status")

    def refuse(thread: Thread) -> None:
        thread.metadata = {"half": "done"}
        raise refusal

    with pytest.raises(BadRequest) as raised:
        await store.write(
            Add(a_thread(), tell=("thread.created",)),
            Remove(Message, message.id),
            Tell("delta", b"{}"),
            Change(Thread, thread.id, refuse),
            log="run_1",
        )
    assert raised.value is refusal
    assert await store.all(Thread) == [thread]
    assert await store.all(Message) == [message]
    assert await store.events("run_1") == []


@on_every_database
async def test_an_edit_cannot_give_another_id(database: Database) -> None:
    store = database.store("proj_a")
    thread = a_thread()
    await store.write(Add(thread))
    with pytest.raises(ValueError, match="thread_other"):
        await store.write(Change(Thread, thread.id, lambda thread: setattr(thread, "id", "thread_other")))
    assert await _ids(store, Thread) == [thread.id]


@on_every_database
async def test_absent_raises_what_is_made_of_the_first_that_fits(database: Database) -> None:
    store = database.store("proj_a")
    runs = [a_run("thread_1"), a_run("thread_1"), a_run("thread_2", status="completed")]
    await store.write(*map(Add, runs))
    with pytest.raises(BadRequest, match=f"^{runs[0].id}$"):
        await store.write(
            Absent(Run, lambda run: BadRequest(run.id), thread_id="thread_1", active=True), Add(a_thread())
        )
    assert await store.all(Thread) == []
    fits = Absent(Run, lambda run: BadRequest(run.id), thread_id="thread_2", active=True)
    removed = Remove(Run, active=True)
    assert (await store.write(fits, removed))[removed] == 2


@on_every_database
async def test_remove_takes_one_or_all_that_fit(database: Database) -> None:
    store = database.store("proj_a")
    messages = [a_message(thread) for thread in ("thread_1", "thread_2", "thread_1", "thread_3", "thread_4")]
    await store.write(*map(Add, messages))
    assert await _removed(store, Remove(Message, messages[0].id, thread_id="thread_1")) == 1
    with pytest.raises(NotFound, match=messages[0].id):
        await store.write(Remove(Message, messages[0].id))
    with pytest.raises(NotFound, match=messages[1].id):
        await store.write(Remove(Message, messages[1].id, thread_id="thread_1"))
    assert await _removed(store, Remove(Message, thread_id=["thread_1", "thread_2", "thread_9"])) == 2
    assert await _removed(store, Remove(Message, [messages[0].id, "msg_x"], thread_id="thread_1")) == 0
    assert await _removed(store, Remove(Message, [])) == 0
    assert await _ids(store, Message) == [message.id for message in messages[3:]]
    assert await _removed(store, Remove(Message)) == 2
    await store.write()


@on_every_database
async def test_salvage_writes_what_can_be_written(database: Database) -> None:
    store = database.store("proj_a")
    thread, message = a_thread(), a_message("thread_1")
    await store.write(Add(thread), Add(message))
    wanted = Change(Thread, thread.id, lambda thread: thread.metadata.update(a="b"))
    end = Change(Message, message.id, lambda message: setattr(message, "status", "incomplete"))
    gone = [Change(Message, "msg_gone"), Remove(Run, "run_gone"), Change(Thread, "thread_gone")]
    assert (await salvage(store, [gone[0], end, *gone[1:], wanted], wanted)).metadata == {"a": "b"}
    assert (await store.get(Message, message.id)).status == "incomplete"
    lost = Change(Thread, "thread_gone")
    with pytest.raises(Missing, match="thread_gone"):
        await salvage(store, [gone[0], lost, Remove(Message, message.id)], lost)
    assert await _ids(store, Message) == [message.id]


async def _removed(store: Store, remove: Remove[Message]) -> int:
    return (await store.write(remove))[remove]


@on_every_database
async def test_operations_apply_in_order_and_see_each_other(database: Database) -> None:
    store = database.store("proj_a")
    run = a_run("thread_1")
    add, again = Add(run), Add(a_run("thread_1", id=run.id))
    change = Change(Run, run.id, lambda run: setattr(run, "status", "completed"))
    remove = Remove(Run, run.id)
    written = await store.write(add, change, Absent(Run, lambda run: Conflict(run.id), active=True), remove, again)
    assert written[add] is run
    assert written[change].status == "completed"
    assert written[remove] == 1
    assert written[again].status == "queued"
    assert (await store.get(Run, run.id)).status == "queued"


@on_every_database
async def test_what_came_of_a_write_is_asked_for_by_its_operations(database: Database) -> None:
    store = database.store("proj_a")
    threads = [a_thread(), a_thread()]
    first, second = (Add(thread) for thread in threads)
    written = await store.write(first, second)
    assert [written[second], written[first]] == threads[::-1]
    with pytest.raises(KeyError):
        written[Add(threads[0])]  # equal to the one that was written, but another


@on_every_database
async def test_events_carry_the_stored_bytes_in_order(database: Database) -> None:
    store = database.store("proj_a")
    run, message = a_run("thread_1"), a_message("thread_1", "\0")
    await store.write(Add(run, tell=("thread.run.created", "thread.run.queued")), log=run.id)
    changed = await change_one(
        store,
        Change(Run, run.id, lambda run: setattr(run, "started_at", 5), tell=("thread.run.in_progress",)),
        log=run.id,
    )
    await store.write(Add(message, tell=("thread.message.created",)), Tell("delta", b'{"x":1}'), log=run.id)
    assert await store.events(run.id) == [
        Event(1, "thread.run.created", encode(run)),
        Event(2, "thread.run.queued", encode(run)),
        Event(3, "thread.run.in_progress", encode(changed)),
        Event(4, "thread.message.created", encode(message)),
        Event(5, "delta", b'{"x":1}'),
    ]
    assert [event.seq for event in await store.events(run.id, after=1, limit=2)] == [2, 3]
    assert await store.events(run.id, after=10**30) == []
    assert await store.events("run_other") == []


@on_every_database
async def test_retracted_events_keep_their_numbers(database: Database) -> None:
    store = database.store("proj_a")
    await store.write(*(Tell("delta", b"%d" % number) for number in range(1, 6)), log="run_1")
    await store.write(Tell("other", b"1"), log="run_2")
    await store.write(Retract(3), Tell("again", b"3"), log="run_1")
    assert await store.events("run_1", limit=3) == [
        Event(1, "delta", b"1"),
        Event(2, "delta", b"2"),
        Event(6, "again", b"3"),
    ]
    await store.write(Retract(1), log="run_1")
    await store.write(Tell("new", b""), log="run_1")
    assert await store.events("run_1") == [Event(7, "new", b"")]
    assert len(await store.events("run_2")) == 1
    await store.write(DropLog("run_1"))
    assert await store.events("run_1") == []


@on_every_database
async def test_the_last_number_of_a_log_is_the_highest_that_was_given(database: Database) -> None:
    store = database.store("proj_a")
    assert await store.last_seq("run_1") == 0
    await store.write(*(Tell("thread.message.delta", b"%d" % number) for number in range(1, 6)), log="run_1")
    await store.write(Tell("thread.message.delta", b"1"), log="run_2")
    assert [await store.last_seq("run_1"), await store.last_seq("run_2")] == [5, 1]
    assert await database.store("proj_b").last_seq("run_1") == 0
    await store.write(Retract(4), log="run_1")
    assert await store.last_seq("run_1") == 5
    await store.write(DropLog("run_1"))
    assert await store.last_seq("run_1") == 0


@on_every_database
async def test_a_packed_log_is_read_like_any_other(database: Database) -> None:
    store = database.store("proj_a")
    events = [Event(seq, "thread.run.created", b"%d" % seq * 5000) for seq in range(3, 60, 2)]
    events.append(Event(70, "thread.message.delta", b'{"a"}', (3, 0, 2**40)))
    await store.write(*(Tell("thread.run.created", b"before") for _ in range(80)), log="run_1")
    await store.write(Tell("thread.run.created", b"other"), log="run_2")
    await store.write(Pack("run_1", tuple(events)))
    assert await store.events("run_1") == events
    for after in (0, 2, 3, 4, 31, 58, 59, 69, 70, 71):
        behind = [event for event in events if event.seq > after]
        assert await store.events("run_1", after) == behind
        assert await store.events("run_1", after, limit=4) == behind[:4]
    assert await store.last_seq("run_1") == 70
    assert await store.events("run_2") == [Event(1, "thread.run.created", b"other")]
    await store.write(Pack("run_2", ()))
    assert await store.events("run_2") == []
    await store.write(DropLog("run_1"))
    assert await store.events("run_1") == []


@on_every_database
async def test_slips_of_the_programmer_are_refused(database: Database) -> None:
    store = database.store("proj_a")
    with pytest.raises(ValueError, match="log"):
        await store.write(Tell("delta", b"{}"))
    with pytest.raises(ValueError, match="log"):
        await store.write(Add(a_thread(), tell=("thread.created",)))
    with pytest.raises(ValueError, match="log"):
        await store.write(Retract(1))
    with pytest.raises(ValueError, match="no column 'role'"):
        await store.all(Message, role="user")
    assert await store.all(Thread) == []


@on_every_database
async def test_where_takes_none_and_several_values(database: Database) -> None:
    store = database.store("proj_a")
    messages = [a_message("thread_1", run_id=run) for run in (None, "run_1", "run_2", "run_3")]
    await store.write(*map(Add, messages))
    assert await store.all(Message, run_id=None) == messages[:1]
    assert await store.all(Message, run_id=["run_1", "run_3"]) == [messages[1], messages[3]]
    assert await store.all(Message, run_id=("run_2",), thread_id="thread_1") == [messages[2]]
    assert await store.all(Message, run_id=[]) == []
    assert await store.all(Message, id=[messages[0].id, "a\0b"]) == messages[:1]


@on_every_database
async def test_across_sees_every_project_oldest_first(database: Database) -> None:
    runs = [a_run("thread_1", status=status) for status in ("queued", "completed", "in_progress")]
    for number, run in enumerate(runs):
        await database.store(f"proj_{9 - number}").write(Add(run))
    assert await database.across(Run, active=True) == [("proj_9", runs[0]), ("proj_7", runs[2])]
    assert await database.across(Run, 1) == [("proj_9", runs[0])]


@on_every_database
async def test_of_fifty_writers_each_succeeds_or_fails_alone(database: Database) -> None:
    store = database.store("proj_a")
    files = [a_file() for _ in range(25)]
    outcomes = await asyncio.gather(*(store.write(Add(file)) for file in files * 2), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 25
    assert sum(isinstance(outcome, Written) for outcome in outcomes) == 25
    assert sorted(await _ids(store, File)) == sorted(file.id for file in files)


@on_every_database
async def test_of_twenty_runs_begun_at_once_one_gets_the_thread(database: Database) -> None:
    store = database.store("proj_a")
    thread = a_thread()
    await store.write(Add(thread))

    async def begin() -> str:
        run = a_run(thread.id)
        await store.write(
            Change(Thread, thread.id),
            Absent(Run, lambda active: BadRequest(active.id), thread_id=thread.id, active=True),
            Add(run, tell=("thread.run.created",)),
            log=run.id,
        )
        return run.id

    outcomes = await asyncio.gather(*(begin() for _ in range(20)), return_exceptions=True)
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert all(outcome.message == winner for outcome in outcomes if isinstance(outcome, BadRequest))
    assert sum(isinstance(outcome, BadRequest) for outcome in outcomes) == 19
    assert await _ids(store, Run) == [winner]


@on_every_database
async def test_changes_at_once_are_all_kept(database: Database) -> None:
    store = database.store("proj_a")
    thread = a_thread(metadata={"count": "0"})
    await store.write(Add(thread))

    def count(thread: Thread) -> None:
        thread.metadata["count"] = str(int(thread.metadata["count"]) + 1)

    await asyncio.gather(*(store.write(Change(Thread, thread.id, count)) for _ in range(60)))
    assert (await store.get(Thread, thread.id)).metadata == {"count": "60"}


@on_every_database
async def test_who_locks_in_other_orders_gets_through(database: Database) -> None:
    store = database.store("proj_a")
    threads = [a_thread(), a_thread()]
    await store.write(*map(Add, threads))

    def touch(thread: Thread) -> None:
        thread.metadata["n"] = str(int(thread.metadata.get("n", "0")) + 1)

    changes = [Change(Thread, thread.id, touch) for thread in threads]
    await asyncio.gather(*(store.write(*changes[:: 1 if n % 2 else -1]) for n in range(20)))
    assert [thread.metadata for thread in await store.all(Thread)] == [{"n": "20"}] * 2


@on_every_database
async def test_a_reader_of_a_growing_log_misses_nothing(database: Database) -> None:
    store = database.store("proj_a")

    async def tell(writer: int) -> None:
        for number in range(10):
            await store.write(Tell("delta", b"%d" % writer), Tell("delta", b"%d" % number), log="run_1")

    writers = [asyncio.create_task(tell(writer)) for writer in range(10)]
    seen: list[Event] = []
    while len(seen) < 200:
        seen += await store.events("run_1", after=seen[-1].seq if seen else 0)
        await asyncio.sleep(0.002)
    await asyncio.gather(*writers)
    assert [event.seq for event in seen] == list(range(1, 201))
    for writer in range(10):  # each writer's pairs stand together, its numbers in order
        mine = [seen[at + 1].data for at in range(0, 200, 2) if seen[at].data == b"%d" % writer]
        assert mine == [b"%d" % number for number in range(10)]


@on_every_database
async def test_a_caller_that_goes_away_harms_nobody(database: Database) -> None:
    store = database.store("proj_a")
    tasks = [asyncio.create_task(store.write(Add(a_thread()))) for _ in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    thread = a_thread()
    await store.write(Add(thread))
    assert await store.get(Thread, thread.id) == thread
    assert len(await store.all(Thread)) >= 21
