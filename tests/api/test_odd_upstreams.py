"""Runs on upstreams as they are: what they mean counts, and where they fail the run says so in their words."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.bad_upstream import BadUpstream, bad_upstream
from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, fetched, posted, run_path, settled
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

SSE = b"text/event-stream"


@pytest.fixture(scope="module")
def upstream() -> Iterator[BadUpstream]:
    with bad_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: BadUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    with Everloom(tmp_path_factory.mktemp("odd"), upstream=upstream.url, fetch_weights="no") as server:
        yield server


@pytest.fixture
def http(server: Everloom) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def stream(*chunks: Any, done: bool = True) -> bytes:
    lines = [b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks]
    return b"".join([*lines, b"data: [DONE]\n\n" if done else b""])


def says(text: str, finish: str | None = "stop", **fields: Any) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **fields}


def run_of(http: httpx.Client, **fields: Any) -> Json:
    return settled(http, a_run(http, a_thread(http, "Hi"), an_assistant(http, **fields)))


def answer_of(http: httpx.Client, run: Json) -> str:
    message = fetched(http, f"/threads/{run['thread_id']}/messages")["data"][0]
    text: str = message["content"][0]["text"]["value"]
    return text


def test_a_stream_that_said_why_it_ended_is_complete(http: httpx.Client, upstream: BadUpstream) -> None:
    upstream.says(stream(says("Hello"), {"usage": {"input_tokens": 3.0, "output_tokens": 4}}, done=False), kind=SSE)
    run = run_of(http)
    assert run["status"] == "completed"
    assert answer_of(http, run) == "Hello"
    assert run["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_a_passed_through_stream_is_given_its_end(server: Everloom, upstream: BadUpstream) -> None:
    upstream.says(stream(says("Hello"), done=False), kind=SSE)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {API_KEY}"}) as http:
        assert http.post("/chat/completions", json=body).text.endswith("data: [DONE]\n\n")


def test_a_whole_answer_is_passed_through_as_a_stream(server: Everloom, upstream: BadUpstream) -> None:
    message = {"role": "assistant", "content": "Hello"}
    whole = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {API_KEY}"}) as http:
        upstream.says(json.dumps(whole).encode())
        told, done = http.post("/chat/completions", json=body).text.strip().split("\n\n")
        assert done == "data: [DONE]"
        chunk = json.loads(told.removeprefix("data: "))
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["choices"] == [{"index": 0, "delta": message, "finish_reason": "stop"}]
        for nonsense in (b'{"error": {"message": "No room."}}', b"nothing", b"[]", b'{"choices": [1]}'):
            upstream.says(nonsense)
            answer = http.post("/chat/completions", json=body)
            assert answer.text.startswith("data: {")


def test_a_stream_that_broke_off_is_not(http: httpx.Client, upstream: BadUpstream) -> None:
    upstream.says(stream(says("Hel", finish=None), done=False), kind=SSE)
    run = run_of(http)
    assert run["status"] == "failed"
    assert "broke off" in run["last_error"]["message"]


def test_one_whole_answer_is_an_answer(http: httpx.Client, upstream: BadUpstream) -> None:
    whole = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    upstream.says(json.dumps(whole).encode())
    run = run_of(http)
    assert (run["status"], answer_of(http, run)) == ("completed", "Hello")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": {"message": "No room."}}', b"application/json"),
        (b'{"object": "error", "message": "No room."}', b"application/json"),
        (stream(says("Hel", finish=None), {"error": "No room."}), SSE),
        (stream({"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "No room."}}]}), SSE),
        (b'event: error\ndata: {"message": "No room."}\n\ndata: [DONE]\n\n', SSE),
    ],
)
def test_a_failure_is_told_in_the_upstreams_words(
    http: httpx.Client, upstream: BadUpstream, body: bytes, kind: bytes
) -> None:
    upstream.says(body, kind=kind)
    run = run_of(http)
    assert run["status"] == "failed"
    assert "No room." in run["last_error"]["message"]


def test_two_rounds_with_one_id_keep_their_outputs_apart(http: httpx.Client, upstream: BadUpstream) -> None:
    function = {"name": "weather", "arguments": ""}
    call = {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "call_0", "function": function}]}}]}
    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    upstream.says(stream(call, end), kind=SSE)
    run = a_run(http, a_thread(http, "Hi"), an_assistant(http, tools=[WEATHER]))
    ids = []
    for output in ("rain", "snow"):
        (asked,) = settled(http, run, "requires_action")["required_action"]["submit_tool_outputs"]["tool_calls"]
        assert asked["function"]["arguments"] == "{}"
        ids.append(asked["id"])
        if output == "snow":
            upstream.says(stream(says("Both.")), kind=SSE)
        outputs = [{"tool_call_id": asked["id"], "output": output}]
        posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    assert len(set(ids)) == 2
    assert settled(http, run, "completed")["status"] == "completed"
    steps = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
    calls = [step["step_details"]["tool_calls"][0] for step in steps if step["type"] == "tool_calls"]
    assert [(call["id"], call["function"]["output"]) for call in calls] == list(zip(ids, ("rain", "snow"), strict=True))
