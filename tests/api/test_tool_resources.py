"""Vector stores of assistants and threads: named, described, and grown from what messages bring."""

from collections.abc import Iterator

import httpx
import pytest

from tests.builders import Json, a_thread, an_assistant, fetched, posted, refused
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file, a_store, counts, files_in, found, ready


@pytest.fixture
def http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


SEARCH = [{"type": "file_search"}]


def searching(*store_ids: str) -> Json:
    return {"file_search": {"vector_store_ids": list(store_ids)}}


def described(http: httpx.Client, *texts: str) -> Json:
    return {"file_search": {"vector_stores": [{"file_ids": [a_file(http, text) for text in texts]}]}}


def store_of(http: httpx.Client, thing: Json) -> Json:
    """The vector store of an assistant or a thread, once it has read its files."""
    (id,) = thing["tool_resources"]["file_search"]["vector_store_ids"]
    return ready(http, {"id": id})


def attached(file_id: str, *tools: str) -> Json:
    return {"file_id": file_id, "tools": [{"type": tool} for tool in tools]}


def test_stores_are_named(http: httpx.Client) -> None:
    store = a_store(http, "apples")
    assistant = an_assistant(http, tools=SEARCH, tool_resources=searching(store["id"]))
    assert assistant["tool_resources"] == searching(store["id"])
    thread = a_thread(http, tool_resources=searching(store["id"]))
    assert thread["tool_resources"] == searching(store["id"])
    changed = posted(http, f"/threads/{thread['id']}", {"tool_resources": searching()})
    assert changed["tool_resources"] == searching()
    changed = posted(http, f"/assistants/{assistant['id']}", {"tool_resources": searching(store["id"])})
    assert changed["tool_resources"] == searching(store["id"])


@pytest.mark.parametrize("path", ["/assistants", "/threads"])
def test_stores_that_are_not_there_are_refused(http: httpx.Client, path: str) -> None:
    body: Json = {"model": "gpt-4o"} if path == "/assistants" else {}
    answer = http.post(path, json=body | {"tool_resources": searching("vs_nowhere")})
    refused(answer, 404, "vs_nowhere", param="tool_resources.file_search.vector_store_ids[0]")
    both = {"file_search": {"vector_store_ids": [a_store(http)["id"]], "vector_stores": [{"file_ids": []}]}}
    refused(http.post(path, json=body | {"tool_resources": both}), 400, "exclude each other")
    nowhere = {"file_search": {"vector_stores": [{"file_ids": ["file-nowhere"]}]}}
    refused(http.post(path, json=body | {"tool_resources": nowhere}), 404, "file-nowhere")


def test_stores_are_made_where_they_are_described(http: httpx.Client) -> None:
    assistant = an_assistant(http, tools=SEARCH, tool_resources=described(http, "apples", "pears"))
    store = store_of(http, assistant)
    assert (store["file_counts"], store["expires_after"]) == (counts(completed=2), None)
    thread = a_thread(http, tool_resources=described(http, "plums"))
    store = store_of(http, thread)
    assert store["expires_after"] == {"anchor": "last_active_at", "days": 7}
    assert store["expires_at"] == store["last_active_at"] + 7 * 86400
    assert len(found(http, store, "plums")) == 1


def test_a_message_gives_its_files_to_the_threads_store(http: httpx.Client) -> None:
    thread = a_thread(http, "Hi")
    one, two, code = (a_file(http, text) for text in ("apples", "pears", "1,2,3"))
    path = f"/threads/{thread['id']}"
    files = [attached(one, "file_search"), attached(code, "code_interpreter")]
    posted(http, f"{path}/messages", {"role": "user", "content": "Look", "attachments": files})
    thread = fetched(http, path)
    assert thread["tool_resources"]["code_interpreter"] == {"file_ids": [code]}
    store = store_of(http, thread)
    assert store["expires_after"] == {"anchor": "last_active_at", "days": 7}
    assert files_in(http, store) == [one]
    files = [attached(two, "code_interpreter", "file_search")]
    posted(http, f"{path}/messages", {"role": "user", "content": "Look", "attachments": files})
    again = store_of(http, fetched(http, path))
    assert again["id"] == store["id"]
    assert set(files_in(http, store)) == {one, two}


def test_the_first_messages_of_a_thread_bring_files(http: httpx.Client) -> None:
    message = {"role": "user", "content": "Look", "attachments": [attached(a_file(http, "apples"), "file_search")]}
    thread = posted(http, "/threads", {"messages": [message]})
    assert len(found(http, store_of(http, thread), "apples")) == 1
    both = posted(http, "/threads", {"messages": [message], "tool_resources": described(http, "pears")})
    assert store_of(http, both)["file_counts"] == counts(completed=2)


def test_a_thread_made_with_a_run_brings_files(http: httpx.Client) -> None:
    assistant = an_assistant(http, tools=SEARCH)
    message = {"role": "user", "content": "Look", "attachments": [attached(a_file(http, "apples"), "file_search")]}
    store = a_store(http, "pears")
    run = posted(
        http,
        "/threads/runs",
        {
            "assistant_id": assistant["id"],
            "thread": {"messages": [message]},
            "tool_resources": searching(store["id"]),
        },
    )
    thread = fetched(http, f"/threads/{run['thread_id']}")
    assert thread["tool_resources"] == searching(store["id"])
    assert store_of(http, thread)["file_counts"] == counts(completed=2)


def test_a_store_that_was_deleted_is_made_anew(http: httpx.Client) -> None:
    thread = a_thread(http, "Hi", tool_resources=described(http, "apples"))
    old = store_of(http, thread)
    assert http.delete(f"/vector_stores/{old['id']}").status_code == 200
    files = [attached(a_file(http, "pears"), "file_search")]
    posted(http, f"/threads/{thread['id']}/messages", {"role": "user", "content": "Look", "attachments": files})
    new = store_of(http, fetched(http, f"/threads/{thread['id']}"))
    assert new["id"] != old["id"]
    assert new["file_counts"] == counts(completed=1)


# --- retrieval, as the first form of the API had it ------------------------------------------------------------------


@pytest.fixture
def old_http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server, beta="assistants=v1") as client:
        yield client


def test_retrieval_searches_the_files_of_an_assistant(http: httpx.Client, old_http: httpx.Client) -> None:
    one, two, three = (a_file(http, text) for text in ("apples", "pears", "plums"))
    body = {"model": "gpt-4o", "tools": [{"type": "retrieval"}], "file_ids": [one, two]}
    assistant = posted(old_http, "/assistants", body)
    assert assistant["file_ids"] == [one, two]
    path = f"/assistants/{assistant['id']}"
    store = store_of(http, fetched(http, path))
    assert set(files_in(http, store)) == {one, two}
    posted(old_http, f"{path}/files", {"file_id": three})
    store = store_of(http, fetched(http, path))
    assert set(files_in(http, store)) == {one, two, three}
    assert old_http.delete(f"{path}/files/{one}").status_code == 200
    assert set(files_in(http, store)) == {two, three}
    posted(old_http, path, {"file_ids": [three]})
    assert files_in(http, store) == [three]
    assert [result["filename"] for result in found(http, store_of(http, fetched(http, path)), "plums")] == ["text.txt"]


def test_retrieval_begins_when_the_tool_comes(http: httpx.Client, old_http: httpx.Client) -> None:
    one = a_file(http, "apples")
    assistant = posted(old_http, "/assistants", {"model": "gpt-4o", "file_ids": [one]})
    path = f"/assistants/{assistant['id']}"
    assert fetched(http, path)["tool_resources"] == {}
    posted(old_http, path, {"tools": [{"type": "retrieval"}]})
    assert files_in(http, store_of(http, fetched(http, path))) == [one]


def test_files_of_old_messages_are_searched_too(http: httpx.Client, old_http: httpx.Client) -> None:
    one = a_file(http, "apples")
    body = {"messages": [{"role": "user", "content": "Look", "file_ids": [one]}]}
    thread = posted(old_http, "/threads", body)
    assert files_in(http, store_of(http, fetched(http, f"/threads/{thread['id']}"))) == [one]


# --- kinds of files that cannot be searched --------------------------------------------------------------------------


def unsupported(answer: httpx.Response) -> None:
    text = "Files with extensions [.csv] are not supported for retrieval."
    refused(answer, 400, text, param="file_ids", code="unsupported_file")


def test_attachments_that_cannot_be_searched_are_refused(http: httpx.Client) -> None:
    table, thread, assistant = a_file(http, "1,2,3", "t.csv"), a_thread(http)["id"], an_assistant(http, tools=SEARCH)
    for tools in (["file_search"], ["code_interpreter", "file_search"]):
        message = {"role": "user", "content": "Look", "attachments": [attached(table, *tools)]}
        unsupported(http.post(f"/threads/{thread}/messages", json=message))
        unsupported(http.post("/threads", json={"messages": [message]}))
        run = {"assistant_id": assistant["id"]}
        unsupported(http.post(f"/threads/{thread}/runs", json=run | {"additional_messages": [message]}))
        unsupported(http.post("/threads/runs", json=run | {"thread": {"messages": [message]}}))
    resources = {"file_search": {"vector_stores": [{"file_ids": [table]}]}}
    unsupported(http.post("/threads", json={"tool_resources": resources}))
    unsupported(http.post("/assistants", json={"model": "gpt-4o", "tools": SEARCH, "tool_resources": resources}))
    assert fetched(http, f"/threads/{thread}")["tool_resources"] == {}
    assert fetched(http, f"/threads/{thread}/messages")["data"] == []
    message = {"role": "user", "content": "Look", "attachments": [attached(table, "code_interpreter")]}
    assert posted(http, f"/threads/{thread}/messages", message)["attachments"] == message["attachments"]


def test_an_older_assistant_searches_no_table(each_server: Everloom, http: httpx.Client) -> None:
    table, text = a_file(http, "1,2,3", "t.csv"), a_file(http, "apples")
    with client_of(each_server, beta="assistants=v1") as old:
        retrieval: Json = {"model": "gpt-4o", "tools": [{"type": "retrieval"}]}
        newest = fetched(old, "/assistants", limit=1)["first_id"]
        unsupported(old.post("/assistants", json=retrieval | {"file_ids": [text, table]}))
        assert fetched(old, "/assistants", limit=1)["first_id"] == newest
        assistant = posted(old, "/assistants", retrieval | {"file_ids": [text]})
        path = f"/assistants/{assistant['id']}"
        unsupported(old.post(f"{path}/files", json={"file_id": table}))
        unsupported(old.post(path, json={"file_ids": [table]}))
        assert fetched(old, path)["file_ids"] == [text]
        coder = posted(old, "/assistants", {"model": "gpt-4o", "file_ids": [table]})
        unsupported(old.post(f"/assistants/{coder['id']}", json={"tools": [{"type": "retrieval"}]}))
        assert fetched(old, f"/assistants/{coder['id']}")["tools"] == []


def test_an_older_messages_table_is_for_the_code_interpreter(each_server: Everloom, http: httpx.Client) -> None:
    table, text = a_file(http, "1,2,3", "t.csv"), a_file(http, "apples")
    with client_of(each_server, beta="assistants=v1") as old:
        thread = posted(old, "/threads")["id"]
        message = {"role": "user", "content": "Look", "file_ids": [table, text]}
        made = posted(old, f"/threads/{thread}/messages", message)
    assert made["file_ids"] == [table, text]
    seen = fetched(http, f"/threads/{thread}/messages/{made['id']}")
    both = attached(text, "code_interpreter", "file_search")
    assert seen["attachments"] == [attached(table, "code_interpreter"), both]
    assert files_in(http, store_of(http, fetched(http, f"/threads/{thread}"))) == [text]
