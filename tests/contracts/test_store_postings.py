"""The store's contract: what is found by its terms (pairs of metadata, files that are named), on every adapter."""

import random
from itertools import chain, repeat
from typing import Any

import pytest

from everloom.kit.errors import BadRequest
from everloom.kit.ids import rank_at
from everloom.objects.assistants import Assistant
from everloom.objects.base import PageQuery
from everloom.objects.fine_tuning import FineTuningJob
from everloom.objects.stored_completions import StoredCompletion
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import VectorStoreFile
from everloom.store.base import Add, Change, Conflict, Database, Each, Remove, Store
from tests.store.databases import on_every_database
from tests.store.things import a_completion, a_job, a_thread, an_assistant


async def _ids(store: Store, cls: type[Any], metadata: dict[str, str] | None, **query: Any) -> list[str]:
    where = {name: query.pop(name) for name in ("model",) if name in query}
    page = await store.find(cls, PageQuery(**query), metadata=metadata, **where)
    ids = [thing.id for thing in page.decode()]
    assert (page.first_id, page.last_id) == ((ids[0], ids[-1]) if ids else (None, None))
    return [*ids, "…"] if page.has_more else ids


@on_every_database
async def test_a_thread_is_found_by_the_pairs_it_has_now(database: Database) -> None:
    store = database.store("proj_a")
    thread = a_thread(metadata={"user": "a", "app": "x"})
    await store.write(Add(thread), Add(a_thread()))

    def edit(thread: Thread) -> None:
        thread.metadata = {"user": "b", "app": "x"}

    await store.write(Change(Thread, thread.id, edit))
    assert await _ids(store, Thread, {"user": "a"}) == []
    assert await _ids(store, Thread, {"user": "b"}) == await _ids(store, Thread, {"app": "x"}) == [thread.id]

    def clear(thread: Thread) -> None:
        thread.metadata = {}

    with pytest.raises(Conflict):
        await store.write(Change(Thread, thread.id, clear), Add(a_thread(id=thread.id, metadata={"user": "c"})))
    assert await _ids(store, Thread, {"user": "b"}) == [thread.id]
    assert await _ids(store, Thread, {"user": "c"}) == []
    await store.write(Remove(Thread, thread.id), Add(a_thread(id=thread.id, metadata={"user": "d"})))
    assert await _ids(store, Thread, {"user": "b"}) == []
    assert await _ids(store, Thread, {"user": "d"}) == [thread.id]
    await store.write(Change(Thread, thread.id, clear))
    assert await _ids(store, Thread, {"user": "d"}) == []


@on_every_database
async def test_a_pair_is_one_of_its_project_its_kind_and_all_its_characters(database: Database) -> None:
    one, other = database.store("proj_a"), database.store("proj_b")
    long = {"k" * 64: "\U0001f600" * 512}
    metadata = {"a": "b\0c", "ab": "c", "": "empty", "ü\0": "NUL", **long}
    thread = a_thread(metadata=metadata)
    theirs = a_thread(id=thread.id, metadata={"a": "b\0"})
    await one.write(Add(thread), Add(a_completion("m", metadata={"kind": "completion"})))
    await other.write(Add(theirs))
    for key, value in metadata.items():
        assert await _ids(one, Thread, {key: value}) == [thread.id], repr(key)
    assert await _ids(other, Thread, {"a": "b\0"}) == [theirs.id]
    for strange in ({"a": "b"}, {"a": "b\0"}, {"a": "bc"}, {"a": "b\ufffdc"}, {"abc": ""}, {"kind": "completion"}):
        assert await _ids(one, Thread, strange) == []
    assert await _ids(one, Thread, metadata) == [thread.id]
    assert await _ids(other, Thread, long) == []


@on_every_database
async def test_pages_of_several_pairs_are_exact_whichever_is_the_rarest(database: Database) -> None:
    store = database.store("proj_a")
    chance = random.Random(7)
    things = [
        a_completion(
            chance.choice("aaab"),
            metadata={"app": "x", "user": str(chance.randrange(9)), "odd": str(number % 2)},
            id=f"chatcmpl-{number:03}",
        )
        for number in range(240)
    ]
    # Many of one second, which lists order by their ids.
    await store.write(*(Add(thing, rank=rank_at(1_700_000_000 + number // 50)) for number, thing in enumerate(things)))
    for _ in range(40):
        asked = {
            name: value
            for name, value in (("app", "x"), ("user", str(chance.randrange(10))), ("odd", chance.choice("01")))
            if chance.random() < 0.6
        } or {"app": "x"}
        model = chance.choice((["a"], ["b"], ["a", "b"], ["c", "b"], None))
        fitting = [
            thing.id
            for thing in things
            if asked.items() <= thing.metadata.items() and (model is None or thing.model in model)
        ]
        where = {} if model is None else {"model": model}
        walked: list[str] = []
        order = chance.choice(("asc", "desc"))
        expected = fitting if order == "asc" else fitting[::-1]
        for _ in range(len(things)):
            after = {"after": walked[-1]} if walked else {}
            page = await _ids(store, StoredCompletion, asked, order=order, limit=7, **after, **where)
            walked += [id for id in page if id != "…"]
            if page[-1:] != ["…"]:
                break
        assert walked == expected
        if len(expected) > 3:
            back = await _ids(store, StoredCompletion, asked, order=order, limit=2, before=expected[3], **where)
            assert back == [*expected[1:3], "…"]
            between = {"after": expected[0], "before": expected[3]}
            assert await _ids(store, StoredCompletion, asked, order=order, **between, **where) == expected[1:3]


@on_every_database
async def test_a_cursor_may_be_one_that_has_gone_or_carries_other_pairs(database: Database) -> None:
    store = database.store("proj_a")
    threads = [a_thread(metadata={"user": user}) for user in "ababa"]
    await store.write(*map(Add, threads))
    await store.write(Remove(Thread, threads[2].id))
    assert await _ids(store, Thread, {"user": "a"}, order="asc", after=threads[1].id) == [threads[4].id]
    assert await _ids(store, Thread, {"user": "a"}, order="asc", after=threads[2].id) == [threads[4].id]
    with pytest.raises(BadRequest, match="after"):
        await _ids(store, Thread, {"user": "a"}, after="thread_nowhere")


@on_every_database
async def test_those_without_any_pair_are_found_where_lists_ask_for_them(database: Database) -> None:
    store = database.store("proj_a")
    jobs = [a_job(metadata={"a": "b"}), a_job(), a_job(metadata={})]
    await store.write(*map(Add, jobs))
    assert await _ids(store, FineTuningJob, {}) == [jobs[2].id, jobs[1].id]

    def tag(job: FineTuningJob) -> None:
        job.metadata = {"a": "b"}

    await store.write(Change(FineTuningJob, jobs[1].id, tag))
    assert await _ids(store, FineTuningJob, {}) == [jobs[2].id]
    assert await _ids(store, FineTuningJob, {"a": "b"}) == [jobs[1].id, jobs[0].id]
    with pytest.raises(ValueError, match="threads"):
        await _ids(store, Thread, {})


@on_every_database
async def test_a_list_of_several_values_of_a_column_is_one_list(database: Database) -> None:
    store = database.store("proj_a")
    models = ["a", "b", "c", "a", "b", "a"]
    things = [a_completion(model) for model in models]
    await store.write(*map(Add, things))
    ids = [thing.id for thing in things]
    assert await _ids(store, StoredCompletion, None, model=["a", "b"], order="asc") == [*ids[:2], *ids[3:]]
    assert await _ids(store, StoredCompletion, None, model=["b", "c"], limit=2) == [ids[4], ids[2], "…"]
    assert await _ids(store, StoredCompletion, None, model=["b", "c"], limit=2, after=ids[2]) == [ids[1]]
    assert await _ids(store, StoredCompletion, None, model=["b", "c", "b"], before=ids[2]) == [ids[4]]
    assert await _ids(store, StoredCompletion, None, model=["d", "e"]) == []
    many = [f"m{number}" for number in range(60)] + ["c"]
    assert await _ids(store, StoredCompletion, None, model=many) == [ids[2]]


@on_every_database
async def test_who_names_a_file_is_found_by_it(database: Database) -> None:
    store = database.store("proj_a")
    holders = [an_assistant("file-1", "file-2"), an_assistant("file-2"), an_assistant()]
    await store.write(*map(Add, holders))
    await database.store("proj_b").write(Add(an_assistant("file-1")))
    assert [holder.id for holder in await store.all(Assistant, code_file_ids="file-2")] == [
        holder.id for holder in holders[:2]
    ]

    def let_go(assistant: Assistant) -> list[Change[Assistant]]:
        def edit(assistant: Assistant) -> None:
            resources = assistant.tool_resources.code_interpreter
            assert resources
            resources.file_ids.remove("file-2")

        return [Change(Assistant, assistant.id, edit)]

    await store.write(Each(Assistant, let_go, code_file_ids="file-2"))
    assert await store.all(Assistant, code_file_ids="file-2") == []
    assert [holder.id for holder in await store.all(Assistant, code_file_ids="file-1")] == [holders[0].id]


@on_every_database
async def test_rows_are_found_by_a_state_across_projects(database: Database) -> None:
    for project in ("proj_a", "proj_b"):
        files = [
            VectorStoreFile(id=f"file-{number}", created_at=1, vector_store_id=f"vs_{number % 2}", status=status)
            for number, status in enumerate(("in_progress", "completed", "in_progress"))
        ]
        await database.store(project).write(*map(Add, files))
    store = database.store("proj_a")
    found = await store.find(VectorStoreFile, PageQuery(), vector_store_id="vs_0", status="in_progress")
    assert [file.id for file in found.decode()] == ["file-2", "file-0"]
    found = await store.find(VectorStoreFile, PageQuery(), vector_store_id="vs_1", status="in_progress")
    assert found.decode() == []
    await store.write(Change(VectorStoreFile, "vs_0.file-0", _complete))
    open = await database.across(VectorStoreFile, open=True)
    assert {(project, file.id) for project, file in open} == {
        ("proj_a", "file-2"),
        ("proj_b", "file-0"),
        ("proj_b", "file-2"),
    }


def _complete(file: VectorStoreFile) -> None:
    file.status = "completed"


@on_every_database
async def test_all_of_a_kind_are_walked_some_at_a_time(database: Database) -> None:
    files = [
        VectorStoreFile(id=f"file-{number}", created_at=1, vector_store_id="vs_1", status=status)
        for number, status in enumerate(chain(repeat("in_progress", 1100), repeat("completed", 50)))
    ]
    for project in ("proj_a", "proj_b"):  # two that share ids and ranks, as they may have been imported
        await database.store(project).write(*(Add(file, rank=number // 300) for number, file in enumerate(files)))
    for count, where in ((1150, {}), (1100, {"open": True})):
        walked = [(project, file.id) async for project, file in database.walk(VectorStoreFile, **where)]
        assert sorted(walked) == sorted(
            (project, file.id) for project in ("proj_a", "proj_b") for file in files[:count]
        )
    assert [each async for each in database.walk(Assistant)] == []
