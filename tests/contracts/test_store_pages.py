"""The store's contract: pages, exact to the object in both directions, on every adapter."""

import json
from typing import Any

import pytest

from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_rank, rank_at
from everloom.objects.base import PageQuery
from everloom.objects.messages import Message
from everloom.objects.threads import Thread
from everloom.store.base import Add, Database, Remove, Store
from tests.store.databases import on_every_database
from tests.store.things import a_message, a_thread


async def _page(store: Store, **query: Any) -> list[str]:
    page = await store.find(Message, PageQuery(**query), thread_id="thread_1")
    ids = [message.id for message in page.decode()]
    assert (page.first_id, page.last_id) == ((ids[0], ids[-1]) if ids else (None, None))
    return [*ids, "…"] if page.has_more else ids


async def _ten(store: Store) -> list[str]:
    messages = [a_message("thread_1", created_at=1) for _ in range(10)]
    await store.write(*map(Add, messages), Add(a_message("thread_2")))
    return [message.id for message in messages]


@on_every_database
async def test_ten_thousand_messages_are_paged_exactly_in_both_directions(database: Database) -> None:
    store = database.store("proj_a")
    ids: list[str] = []
    for _ in range(20):
        messages = [a_message("thread_1") for _ in range(500)]
        await store.write(*map(Add, messages))
        ids += [message.id for message in messages]
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        onward: list[str] = []
        while True:
            page = await _page(store, limit=100, order=order, after=onward[-1] if onward else None)
            onward += page[:100]
            if page[-1] != "…":
                break
        assert onward == expected
        back = [expected[-1]]
        while len(page := await _page(store, limit=99, order=order, before=back[0])) > 0:
            back = page[:99] + back
        assert back == expected


@on_every_database
async def test_a_hundred_objects_of_one_second_keep_their_order(database: Database) -> None:
    store = database.store("proj_a")
    ids = []
    for _ in range(100):
        message = a_message("thread_1", created_at=1_750_000_000)
        ids.append(message.id)
        await store.write(Add(message))
    assert await _page(store, limit=100, order="asc") == ids
    assert await _page(store, limit=100) == ids[::-1]
    assert await _page(store, limit=30, order="asc", after=ids[49]) == [*ids[50:80], "…"]


@on_every_database
async def test_pages_after_before_and_between(database: Database) -> None:
    store = database.store("proj_a")
    ids = await _ten(store)
    assert await _page(store, limit=3) == [ids[9], ids[8], ids[7], "…"]
    assert await _page(store, limit=3, after=ids[7]) == [ids[6], ids[5], ids[4], "…"]
    assert await _page(store, limit=3, after=ids[2]) == [ids[1], ids[0]]
    assert await _page(store, after=ids[0]) == []
    # before: those nearest to the cursor, still in the list's order
    assert await _page(store, limit=3, before=ids[4]) == [ids[7], ids[6], ids[5], "…"]
    assert await _page(store, limit=3, before=ids[7]) == [ids[9], ids[8]]
    assert await _page(store, limit=3, order="asc", before=ids[4]) == [ids[1], ids[2], ids[3], "…"]
    assert await _page(store, limit=10, order="asc", after=ids[2], before=ids[6]) == ids[3:6]
    assert await _page(store, limit=2, order="asc", after=ids[2], before=ids[6]) == [*ids[3:5], "…"]
    assert await _page(store, limit=10, after=ids[6], before=ids[2]) == ids[3:6][::-1]
    assert await _page(store, after=ids[2], before=ids[6]) == []


@on_every_database
async def test_a_cursor_that_is_gone_still_says_where(database: Database) -> None:
    store = database.store("proj_a")
    ids = await _ten(store)
    await store.write(Remove(Message, ids[5]))
    assert await _page(store, order="asc", after=ids[5]) == ids[6:]
    assert await _page(store, order="asc", before=ids[5]) == ids[:5]


@on_every_database
async def test_a_cursor_that_means_nothing_is_refused(database: Database) -> None:
    store = database.store("proj_a")
    await _ten(store)
    for query in ({"after": "msg_abc"}, {"before": "msg_abc"}, {"after": "thread_" + "z" * 24}, {"after": "\0"}):
        ((param, cursor),) = query.items()
        with pytest.raises(BadRequest, match=f"^Invalid '{param}': No message found with id '{cursor}'") as raised:
            await _page(store, **query)
        assert raised.value.param == param


@on_every_database
async def test_a_cursor_of_another_list_is_refused(database: Database) -> None:
    store = database.store("proj_a")
    ids = await _ten(store)
    other = a_message("thread_2")
    await store.write(Add(other), Add(a_message("thread_1", id="msg_last")))
    for query in ({"after": other.id}, {"before": other.id}, {"after": ids[2], "before": other.id}):
        for order in ("asc", "desc"):
            with pytest.raises(BadRequest, match=f"No message found with id '{other.id}'"):
                await _page(store, order=order, **query)
    page = await store.find(Message, PageQuery(after=other.id, order="asc"))  # Of all lists it is one.
    assert [message.id for message in page.decode()] == ["msg_last"]
    await store.write(Remove(Message, other.id))
    assert await _page(store, order="asc", after=other.id) == ["msg_last"]


@on_every_database
async def test_objects_from_elsewhere_stand_where_they_are_put(database: Database) -> None:
    store = database.store("proj_a")
    mine = a_message("thread_1")
    await store.write(Add(mine))
    old = [a_message("thread_1", id=f"msg_{name}") for name in ("zzz", "aaa", "mmm")]
    await store.write(*(Add(message, rank=rank_at(1_700_000_000)) for message in old))
    late = a_message("thread_1", id="msg_000")
    await store.write(Add(late))
    assert await _page(store, order="asc") == ["msg_aaa", "msg_mmm", "msg_zzz", mine.id, "msg_000"]
    assert await _page(store, order="asc", after="msg_mmm") == ["msg_zzz", mine.id, "msg_000"]
    assert await _page(store, before="msg_mmm") == ["msg_000", mine.id, "msg_zzz"]
    moved = a_message("thread_1")
    await store.write(Add(moved, rank=new_rank() + (1 << 40)), Add(a_message("thread_1", id="msg_001")))
    assert (await _page(store))[0] == moved.id
    assert await _page(store, after=moved.id, limit=1) == ["msg_001", "…"]


@on_every_database
async def test_bodies_are_sent_on_as_they_were_stored(database: Database) -> None:
    store = database.store("proj_a")
    message = a_message("thread_1", 'quo"te \n ü', metadata={"k": "v"})
    await store.write(Add(message))
    page = await store.find(Message, PageQuery(), thread_id="thread_1")
    listed = json.loads(page.encode())
    assert listed["data"][0]["content"][0]["text"]["value"] == 'quo"te \n ü'
    assert {key: listed[key] for key in ("object", "first_id", "last_id", "has_more")} == {
        "object": "list",
        "first_id": message.id,
        "last_id": message.id,
        "has_more": False,
    }
    empty = await store.find(Message, PageQuery(), thread_id="thread_none")
    assert json.loads(empty.encode()) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@on_every_database
async def test_pages_by_metadata(database: Database) -> None:
    store = database.store("proj_a")
    odd = "a.b\"c'] $ -- \0"
    threads = [
        a_thread(metadata={"user": str(number % 300), odd: "x" if number % 2 else "y"}) for number in range(1300)
    ]
    for at in range(0, 1300, 100):
        await store.write(*map(Add, threads[at : at + 100]))

    async def ids(metadata: dict[str, str], **query: Any) -> tuple[list[str], bool]:
        page = await store.find(Thread, PageQuery(order="asc", **query), metadata=metadata)
        return [thread.id for thread in page.decode()], page.has_more

    seventh = [threads[at].id for at in (7, 307, 607, 907, 1207)]
    assert await ids({"user": "7"}) == (seventh, False)
    assert await ids({"user": "7"}, limit=2) == (seventh[:2], True)
    assert await ids({"user": "7"}, limit=2, after=seventh[1]) == (seventh[2:4], True)
    assert await ids({"user": "7"}, limit=2, before=seventh[3]) == (seventh[1:3], True)
    assert await ids({"user": "7", odd: "x"}) == (seventh, False)
    assert await ids({"user": "7", odd: "y"}) == ([], False)
    assert await ids({"nobody": "7"}) == ([], False)
    with pytest.raises(BadRequest):
        await ids({"user": "7"}, after="thread_nowhere")
