"""Runs that search files, on either database: steps, citations, ``include[]``, both forms of the API."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.test_vector_stores import a_file, a_store, ready
from tests.builders import (
    WEATHER,
    Json,
    a_run,
    a_thread,
    an_assistant,
    events_of,
    fetched,
    posted,
    run_path,
    settled,
)
from tests.replies import Calls, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"


@pytest.fixture
def http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


def citing(body: Json) -> Reply:
    """Ask for a search, then answer with the first mark that it gave."""
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if not results:
        return Calls(("file_search", {"query": "harbour boats"}))
    marks = re.findall("【[^】]+】", results[-1])
    return Says(
        f"Boats lie in the harbour{marks[0]}. Nobody said{'【9:9†no.txt】'} more." if marks else "Nothing found."
    )


def a_searcher(http: httpx.Client, **fields: Any) -> tuple[Json, Json]:
    """An assistant over a store with two files, and the store."""
    store = a_store(http, "The harbour holds many boats in summer.", "Trains leave the station every hour.")
    resources = {"file_search": {"vector_store_ids": [store["id"]]}}
    return an_assistant(http, tools=[{"type": "file_search"}], tool_resources=resources, **fields), store


def test_the_answer_cites_what_was_found(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(citing)
    assistant, _ = a_searcher(http)
    run = settled(http, a_run(http, a_thread(http, "What lies in the harbour?"), assistant))
    assert run["status"] == "completed", run
    search, message = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
    assert search["status"] == "completed"
    (call,) = search["step_details"]["tool_calls"]
    best, *_ = call["file_search"]["results"]
    assert best["file_name"] == "file0.txt"
    assert best["score"] > 0
    assert "content" not in best
    assert call["file_search"]["ranking_options"]["ranker"] == "default_2024_08_21"
    told = fetched(http, f"{run_path(run)}/steps/{search['id']}", **{"include[]": INCLUDE})
    texts = told["step_details"]["tool_calls"][0]["file_search"]["results"][0]["content"]
    assert texts == [{"type": "text", "text": "The harbour holds many boats in summer."}]
    path = f"/threads/{run['thread_id']}/messages/{message['step_details']['message_creation']['message_id']}"
    (part,) = fetched(http, path)["content"]
    (cited,) = part["text"]["annotations"]
    assert part["text"]["value"][cited["start_index"] : cited["end_index"]] == cited["text"]
    assert cited["file_citation"]["file_id"] == best["file_id"]
    assert sum(step["usage"]["total_tokens"] for step in (search, message)) == run["usage"]["total_tokens"]
    with client_of_v1(http) as old:
        (part,) = fetched(old, path)["content"]
        assert part["text"]["annotations"][0]["file_citation"]["quote"].startswith("The harbour holds")
        (step,) = fetched(old, f"{run_path(run)}/steps", order="asc", limit=1)["data"]
        assert step["step_details"]["tool_calls"] == [{"id": call["id"], "type": "retrieval", "retrieval": {}}]


def client_of_v1(http: httpx.Client) -> httpx.Client:
    headers = {**http.headers, "openai-beta": "assistants=v1"}
    return httpx.Client(base_url=http.base_url, headers=headers, timeout=30)


def test_the_stream_tells_the_search_and_the_citation(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(citing)
    assistant, _ = a_searcher(http)
    thread = a_thread(http, "What lies in the harbour?")
    body = {"assistant_id": assistant["id"], "stream": True}
    events = events_of(http.post(f"/threads/{thread['id']}/runs", json=body))
    names = [name for name, _ in events if name != "thread.message.delta"]
    assert names[3:8] == [
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.step.completed",
        "thread.run.step.created",
    ]
    texts = [data["delta"]["content"][0]["text"] for name, data in events if name == "thread.message.delta"]
    for text in texts:  # Programs add up the values, unguarded, and take the mark for its annotation's.
        for annotation in text.get("annotations", []):
            assert text["value"] == annotation["text"]
    annotations = [annotation for text in texts for annotation in text.get("annotations", [])]
    stored = dict(events)["thread.message.completed"]["content"][0]["text"]["annotations"]
    assert [{**annotation, "index": None} for annotation in annotations] == [{**a, "index": None} for a in stored]
    assert [annotation["index"] for annotation in annotations] == [0]
    value = dict(events)["thread.message.completed"]["content"][0]["text"]["value"]
    assert "".join(text["value"] for text in texts) == value
    assert re.fullmatch("【\\d+:\\d+†source】", annotations[0]["text"])


def test_a_files_own_attachment_is_searched(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(citing)
    file_id = a_file(http, "In the harbour lies one boat, the Albatross.", "boat.txt")
    attachment = {"file_id": file_id, "tools": [{"type": "file_search"}]}
    message = {"role": "user", "content": "Which boat?", "attachments": [attachment]}
    thread = posted(http, "/threads", {"messages": [message]})
    (store_id,) = fetched(http, f"/threads/{thread['id']}")["tool_resources"]["file_search"]["vector_store_ids"]
    store = ready(http, {"id": store_id})
    assert store["expires_after"] == {"anchor": "last_active_at", "days": 7}
    run = settled(http, a_run(http, thread, an_assistant(http, tools=[{"type": "file_search"}])))
    assert run["status"] == "completed"
    answer = fetched(http, f"/threads/{thread['id']}/messages")["data"][0]
    assert answer["content"][0]["text"]["annotations"][0]["file_citation"]["file_id"] == file_id


def test_search_and_function_in_one_answer(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Calls(("file_search", {"query": "boats"}), ("weather", {"city": "Oslo"})), Says("Fine."))
    assistant, _ = a_searcher(http)
    tools = [{"type": "file_search"}, WEATHER]
    run = settled(http, a_run(http, a_thread(http, "Boats and weather?"), assistant, tools=tools))
    (required,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert required["function"]["name"] == "weather"
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["status"] == "in_progress"
    assert step["step_details"]["tool_calls"][0]["file_search"]["results"]
    outputs = [{"tool_call_id": required["id"], "output": "rain"}]
    posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    assert settled(http, run)["status"] == "completed"
    sent = upstream.requests[-1].body["messages"]
    assert [message["role"] for message in sent[-3:]] == ["assistant", "tool", "tool"]


def test_a_model_that_does_not_choose_is_given_what_was_found(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.script(Says("Boats."))
    settings = {"upstream": upstream.url, "embedding_model": "scripted", "search_first": "always"}
    with Everloom(tmp_path, **settings) as server, client_of(server) as http:
        assistant, _ = a_searcher(http)
        run = settled(http, a_run(http, a_thread(http, "What lies in the harbour?"), assistant))
        assert run["status"] == "completed"
        search, _ = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
        assert search["usage"]["total_tokens"] == 0
        assert "The harbour holds many boats" in str(upstream.requests[0].body["messages"])


def test_a_store_that_is_gone_holds_nothing(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    assistant, store = a_searcher(http)
    assert http.delete(f"/vector_stores/{store['id']}").json()["deleted"] is True
    upstream.rule(citing)
    run = settled(http, a_run(http, a_thread(http, "What lies in the harbour?"), assistant))
    assert run["status"] == "completed"
    (search, _) = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
    assert search["step_details"]["tool_calls"][0]["file_search"]["results"] == []
