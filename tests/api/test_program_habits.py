"""What programs and typed clients do beside the reference, and models too: each once broke one."""

import threading
from typing import Any

import httpx
import pytest

from tests.api.test_odd_upstreams import SSE, says, stream
from tests.bad_upstream import bad_upstream
from tests.builders import WEATHER, a_run, a_thread, an_assistant, fetched, posted, run_path, settled
from tests.replies import Calls, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of


@pytest.mark.parametrize("query", ["after=&limit=1", "before=&limit=1", "limit=1&order=&run_id=", "limit="])
def test_an_empty_parameter_is_not_given(http: httpx.Client, query: str) -> None:
    thread = a_thread(http, "one", "two")
    answer = http.get(f"/threads/{thread['id']}/messages?{query}")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == (2 if query == "limit=" else 1)


@pytest.mark.parametrize("path", ["/assistants", "/vector_stores", "/files", "/chat/completions", "/threads"])
def test_an_empty_cursor_is_none(http: httpx.Client, path: str) -> None:
    an_assistant(http), a_thread(http, "Hi"), posted(http, "/vector_stores")
    http.post("/files", files={"file": ("a.txt", b"a")}, data={"purpose": "assistants"})
    assert fetched(http, f"{path}?after=&limit=5")["data"] == fetched(http, f"{path}?limit=5")["data"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/assistants", {"model": "gpt-4o", "tools": [{"type": "code_interpreter", "function": None}]}),
        ("/assistants", {"model": "gpt-4o", "response_format": {"type": "text", "json_schema": None}}),
        ("/assistants", {"model": "gpt-4o", "file_ids": None}),
        (
            "/threads",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "image_url": None}]}]},
        ),
    ],
)
def test_null_for_a_member_of_another_form_is_not_given(http: httpx.Client, path: str, body: Any) -> None:
    posted(http, path, body)


def test_a_byte_order_mark_is_passed_over(http: httpx.Client) -> None:
    answer = http.post("/threads", content=b'\xef\xbb\xbf{"metadata": {"a": "b"}}')
    assert answer.json()["metadata"] == {"a": "b"}


def test_a_function_that_nobody_declared_ends_its_run(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Calls(("python", {"code": "1"})))
    run = settled(http, a_run(http))
    assert run["status"] == "failed"
    assert run["last_error"]["message"] == "The model called 'python', and the run has no functions."
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["status"] == "failed"
    upstream.script(Calls(("python", {"code": "1"})))
    assert settled(http, a_run(http, tools=[WEATHER]))["status"] == "requires_action"


def test_what_a_cancelled_run_wrote_is_counted(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.05, Says("word " * 400)))
    run = a_run(http)
    path = f"/threads/{run['thread_id']}/messages"
    assert upstream.wait(lambda: len(fetched(http, path)["data"]) == 2, 20)
    upstream.wait(lambda: False, 1)
    posted(http, f"{run_path(run)}/cancel")
    usage = settled(http, run, "cancelled")["usage"]
    assert usage["prompt_tokens"] > 0
    assert 0 < usage["completion_tokens"] < 400
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["usage"] == usage


def test_what_is_as_the_default_has_it_is_not_said_to_the_model(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    settled(http, a_run(http, assistant=an_assistant(http, tools=[WEATHER])))
    words = {"temperature", "top_p", "parallel_tool_calls", "tool_choice"}
    assert not words & set(upstream.requests[-1].body)
    asked = {"temperature": 0.5, "top_p": 0.5, "parallel_tool_calls": False, "tool_choice": "none"}
    settled(http, a_run(http, assistant=an_assistant(http, tools=[WEATHER]), **asked))
    assert {word: upstream.requests[-1].body[word] for word in words} == asked


@pytest.mark.parametrize("whole", [False, True])
def test_a_temperature_of_one_that_a_run_names_is_said_to_the_model(
    http: httpx.Client, upstream: ScriptedUpstream, whole: bool
) -> None:
    assistant = an_assistant(http, temperature=1)
    settled(http, a_run(http, assistant=assistant, temperature=None))
    assert "temperature" not in upstream.requests[-1].body
    if whole:
        thread = {"messages": [{"role": "user", "content": "Hi"}]}
        asked = {"assistant_id": assistant["id"], "thread": thread, "temperature": 1}
        run = posted(http, "/threads/runs", asked)
    else:
        run = a_run(http, assistant=assistant, temperature=1)
    assert settled(http, run)["temperature"] == 1
    assert upstream.requests[-1].body["temperature"] == 1
    assert "top_p" not in upstream.requests[-1].body


def test_tokens_that_nobody_counted_are_no_fewer_than_the_text_has(tmp_path_factory: pytest.TempPathFactory) -> None:
    with bad_upstream() as upstream:
        upstream.says(stream(says("word " * 400)), kind=SSE)
        with (
            Everloom(tmp_path_factory.mktemp("counts"), upstream=upstream.url, fetch_weights="no") as server,
            client_of(server) as http,
        ):
            assert settled(http, a_run(http))["usage"]["completion_tokens"] >= 400


def test_silence_says_nothing_to_readers_of_pairs_of_lines(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    """Longer than a comment is due; with ids one comes, and no empty line behind it."""
    upstream.rule(lambda body: Hangs())
    assistant = an_assistant(http)
    told: dict[bool, str] = {}

    def hear(ids: bool) -> None:
        thread = f"/threads/{a_thread(http, 'Hi')['id']}/runs"
        path = f"{thread}{'?ids=true' if ids else ''}"
        ending = threading.Timer(17, lambda: posted(http, f"{thread}/{fetched(http, thread)['data'][0]['id']}/cancel"))
        ending.start()
        told[ids] = http.post(path, json={"assistant_id": assistant["id"], "stream": True}, timeout=90).text
        ending.join()

    threads = [threading.Thread(target=hear, args=(ids,)) for ids in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for line in told[False].split("\n") if line]
    assert [line.partition(":")[0] for line in lines] == ["event", "data"] * (len(lines) // 2)
    assert "\n\n: keep-alive\nevent: " in told[True], told[True]
