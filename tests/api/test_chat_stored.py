"""Chat completions with ``store: true``, through HTTP: what is kept, what it looks like, and what is not kept."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.builders import Json, fetched, posted
from tests.scripted import Breaks, Calls, Fails, Garbage, Says, ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

HELLO: Json = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}], "store": True}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def stored(http: httpx.Client, **more: Any) -> Json:
    """A completion that is kept."""
    return posted(http, "/chat/completions", {**HELLO, **more})


def streamed(http: httpx.Client, **more: Any) -> tuple[list[Json], str]:
    """The chunks of a stream that is kept, and the end of it."""
    response = http.post("/chat/completions", json={**HELLO, "stream": True, **more})
    *events, last = [event.strip().removeprefix("data: ") for event in response.text.split("\n\n") if event]
    return [json.loads(event) for event in events], last


def tagged(http: httpx.Client, tag: str, **query: Any) -> list[str]:
    page = fetched(http, "/chat/completions", **{"metadata[test]": tag, **query})
    return [completion["id"] for completion in page["data"]]


def test_an_answer_is_kept_as_it_was_given(each_server: Everloom, upstream: ScriptedUpstream) -> None:
    with client_of(each_server) as http:
        asked = {"metadata": {"team": "a"}, "seed": 7, "temperature": 0.5, "user": "u-1", "tools": [TOOL]}
        answer = stored(http, **asked)
        kept = fetched(http, f"/chat/completions/{answer['id']}")
        assert {name: kept[name] for name in answer} == answer
        assert kept["metadata"] == {"team": "a"}
        assert (kept["seed"], kept["temperature"], kept["top_p"]) == (7, 0.5, 1.0)
        assert (kept["input_user"], kept["tools"], kept["tool_choice"]) == ("u-1", [TOOL], None)
        assert answer["id"] in [one["id"] for one in fetched(http, "/chat/completions", limit=100)["data"]]


def test_the_models_server_hears_nothing_of_it(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    answer = stored(http, metadata={"a": "b"}, logit_bias={"7": 3}, temperature=1)
    asked = upstream.requests[0].body
    assert set(asked) == {"model", "messages", "logit_bias", "temperature"}
    again = stored(http, metadata={"a": "b"}, logit_bias={"7": 3}, temperature=1)
    assert answer["id"] != again["id"], "though the upstream gives the same id to the same request"


def test_without_store_nothing_is_kept(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    raw = b'{"store" : false, "messages":[{"content":"Hi","role":"user"}],\n"model":"gpt-4o"}'
    response = http.post("/chat/completions", content=raw, headers={"content-type": "application/json"})
    assert upstream.requests[0].raw == raw
    missing = http.get(f"/chat/completions/{response.json()['id']}")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == f"No chat completion found with id '{response.json()['id']}'."


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_is_kept_before_it_ends(http: httpx.Client, upstream: ScriptedUpstream, usage: bool) -> None:
    upstream.script(Says("It will rain.", prompt_tokens=9))
    with http.stream("POST", "/chat/completions", json=_streaming(usage)) as response:
        lines = [line for line in response.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        (id,) = {chunk["id"] for chunk in chunks}
    kept = fetched(http, f"/chat/completions/{id}")
    (choice,) = kept["choices"]
    assert choice["message"] == {"role": "assistant", "content": "It will rain.", "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    assert kept["usage"]["prompt_tokens"] == 9
    assert kept["object"] == "chat.completion"
    told = [chunk.get("usage", "none") for chunk in chunks]
    assert told == [*[None] * (len(told) - 1), kept["usage"]] if usage else ["none"] * len(told)


def _streaming(usage: bool) -> Json:
    return {**HELLO, "stream": True, **({"stream_options": {"include_usage": True}} if usage else {})}


def test_calls_and_choices_of_a_stream_are_put_together(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    reply = Calls(("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"}), text="Let me see.")
    upstream.script(reply)
    whole = stored(http, tools=[TOOL], n=2)
    upstream.script(reply)
    chunks, last = streamed(http, tools=[TOOL], n=2)
    assert last == "[DONE]"
    kept = fetched(http, f"/chat/completions/{chunks[0]['id']}")
    for choice in [*whole["choices"], *kept["choices"]]:
        for call in choice["message"]["tool_calls"]:
            call["id"] = "call"
    assert kept["choices"] == whole["choices"]


def test_what_breaks_off_is_not_kept(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    replies: list[Breaks | Garbage] = [Breaks(3), Garbage(2)]
    for number, reply in enumerate(replies):
        upstream.script(reply)
        tag = f"broken-{number}"
        chunks, last = streamed(http, metadata={"test": tag})
        assert json.loads(last)["error"]["type"] == "server_error"
        assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
        assert tagged(http, tag) == []
    upstream.script(Fails(400))
    assert http.post("/chat/completions", json={**HELLO, "metadata": {"test": "refused"}}).status_code == 400
    assert tagged(http, "refused") == []


def test_lists_are_filtered_and_paged(each_server: Everloom, upstream: ScriptedUpstream) -> None:
    with client_of(each_server) as http:
        ids = [stored(http, metadata={"test": "pages", "number": str(n % 2)})["id"] for n in range(5)]
        other = stored(http, model="scripted", metadata={"test": "pages"})["id"]
        assert tagged(http, "pages") == [*ids, other], "the oldest first"
        assert tagged(http, "pages", order="desc") == [other, *reversed(ids)]
        assert tagged(http, "pages", model="gpt-4o", limit=2, after=ids[1]) == ids[2:4]
        assert tagged(http, "pages", model="scripted") == [other]
        assert tagged(http, "pages", model="never-served") == []
        assert tagged(http, "pages", **{"metadata[number]": "1"}) == [ids[1], ids[3]]
        first = fetched(http, "/chat/completions", model="gpt-4o", limit=1, **{"metadata[test]": "pages"})
        assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[0], ids[0], True)
        assert http.get("/chat/completions", params={"limit": 101}).json()["error"]["param"] == "limit"
        assert http.get("/chat/completions", params={"after": "x"}).json()["error"]["param"] == "after"


def test_metadata_is_replaced_and_nothing_else(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    answer = stored(http, metadata={"a": "1"})
    path = f"/chat/completions/{answer['id']}"
    before = fetched(http, path)
    changed = posted(http, path, {"metadata": {"b": "2"}})
    assert changed == fetched(http, path) == {**before, "metadata": {"b": "2"}}
    assert posted(http, path, {"metadata": None})["metadata"] == {}
    for body, param in (({}, "metadata"), ({"metadata": {}, "model": "x"}, "model"), ({"metadata": 1}, "metadata")):
        refused = http.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    missing = http.post("/chat/completions/chatcmpl-none", json={"metadata": {}})
    assert missing.status_code == 404


def test_a_completion_is_deleted_with_its_messages(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    path = f"/chat/completions/{stored(http)['id']}"
    gone = http.delete(path).json()
    assert gone == {"id": path.rpartition("/")[2], "object": "chat.completion.deleted", "deleted": True}
    assert [http.request(*asked).status_code for asked in (("GET", path), ("GET", path + "/messages"))] == [404, 404]
    assert http.delete(path).status_code == 404


def test_the_messages_of_a_completion(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    parts = [{"type": "text", "text": "And this?"}, image]
    messages: list[Json] = [
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "Rain.", "tool_call_id": "call_1"},
    ]
    id = stored(http, messages=messages)["id"]
    path = f"/chat/completions/{id}/messages"
    page = fetched(http, path)
    assert [message["id"] for message in page["data"]] == [f"{id}-{place}" for place in range(4)]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (f"{id}-0", f"{id}-3", False)
    system, user, assistant, tool = page["data"]
    assert (system["content"], system["name"], system["content_parts"]) == ("Be brief.", "boss", None)
    assert (user["content"], user["content_parts"]) == (None, parts)
    assert (assistant["content"], assistant["tool_calls"]) == (None, [call])
    assert (tool["content"], tool["tool_call_id"]) == ("Rain.", "call_1")
    assert [one["id"] for one in fetched(http, path, order="desc", limit=2)["data"]] == [f"{id}-3", f"{id}-2"]
    rest = fetched(http, path, order="desc", after=f"{id}-2")
    assert [one["id"] for one in rest["data"]] == [f"{id}-1", f"{id}-0"]
    assert fetched(http, path, after=f"{id}-3")["data"] == []
    for after in (f"{id}-4", f"{id}-{'9' * 30}", "x", f"{id}-²", "chatcmpl-x-0"):
        refused = http.get(path, params={"after": after})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "after")


def test_metadata_needs_store(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    for more in ({}, {"store": False}, {"store": None}):
        refused = http.post("/chat/completions", json={**HELLO, "store": None, "metadata": {"a": "b"}, **more})
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, "metadata")
        assert error["message"] == "The 'metadata' parameter is only allowed when 'store' is enabled."
    assert upstream.requests == []


def test_the_sdk_walks_stored_completions(server: Everloom, upstream: ScriptedUpstream) -> None:
    with openai.OpenAI(base_url=server.url, api_key=API_KEY, max_retries=0) as sdk:
        asked: Any = {"model": "gpt-4o", "messages": HELLO["messages"], "store": True, "metadata": {"test": "sdk"}}
        made = [sdk.chat.completions.create(**asked) for _ in range(3)]
        listed = list(sdk.chat.completions.list(metadata={"test": "sdk"}, limit=2, order="desc"))
        assert [one.id for one in listed] == [one.id for one in reversed(made)]
        id = made[0].id
        assert sdk.chat.completions.retrieve(id).choices == made[0].choices
        assert sdk.chat.completions.update(id, metadata={"test": "done"}).id == id
        assert [message.id for message in sdk.chat.completions.messages.list(id)] == [f"{id}-0"]
        assert sdk.chat.completions.delete(id).deleted
