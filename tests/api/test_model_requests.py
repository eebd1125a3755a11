"""``GET …/model_requests``, held against what the model's server has really received."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.test_run_search import a_searcher, citing
from tests.builders import (
    WEATHER,
    Json,
    a_run,
    a_thread,
    an_assistant,
    fetched,
    posted,
    refused,
    run_path,
    settled,
)
from tests.conftest import PATIENCE_S
from tests.replies import Breaks, Calls, Hangs, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32

OURS = {
    *("id", "object", "created_at", "run_id", "thread_id", "step_id", "exact", "dropped", "missing"),
    *("finish_reason", "usage"),
}


@pytest.fixture
def http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


def told(http: httpx.Client, run: Json, **query: object) -> list[Json]:
    """The requests of a run, the first of them first."""
    page = fetched(http, f"{run_path(run)}/model_requests", **{"order": "asc"} | query)
    assert page["object"] == "list"
    found: list[Json] = page["data"]
    return found


def received(upstream: ScriptedUpstream) -> list[Json]:
    """The bodies that the model's server was sent, without what asks it to stream."""
    return [
        {name: value for name, value in request.body.items() if name not in ("stream", "stream_options")}
        for request in upstream.requests
    ]


def sent(request: Json) -> Json:
    return {name: value for name, value in request.items() if name not in OURS}


def held(http: httpx.Client, run: Json, upstream: ScriptedUpstream) -> list[Json]:
    """The requests of a run, each the very one that was received."""
    requests = told(http, run)
    assert [sent(request) for request in requests] == received(upstream)
    assert all(request["exact"] for request in requests), requests
    assert all(request["missing"] == {"messages": 0, "files": []} for request in requests)
    return requests


def test_a_plain_run_has_one(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    assistant = an_assistant(http, instructions="Be brief.", temperature=0.5, response_format={"type": "json_object"})
    thread = a_thread(http, "Hello, in JSON", metadata={})
    posted(http, f"/threads/{thread['id']}/messages", {"role": "assistant", "content": "Yes?"})
    run = settled(http, a_run(http, thread, assistant, additional_instructions="And kind.", max_completion_tokens=500))
    (request,) = held(http, run, upstream)
    assert request["messages"] == [
        {"role": "system", "content": "Be brief.\nAnd kind."},
        {"role": "user", "content": "Hello, in JSON"},
        {"role": "assistant", "content": "Yes?"},
    ]
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert (request["object"], request["step_id"]) == ("thread.run.model_request", step["id"])
    assert (request["run_id"], request["thread_id"]) == (run["id"], thread["id"])
    assert request["usage"] == run["usage"]
    assert request["dropped"] == {"messages": 0, "has_more": False}
    assert run["created_at"] <= request["created_at"] <= run["completed_at"]


def test_what_was_said_after_the_run_is_not_in_it(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    thread = a_thread(http, "First")
    first = settled(http, a_run(http, thread))
    posted(http, f"/threads/{thread['id']}/messages", {"role": "user", "content": "Second"})
    held(http, first, upstream)
    second = settled(http, a_run(http, thread))
    assert [sent(request) for run in (first, second) for request in told(http, run)] == received(upstream)


def test_function_calls_over_several_rounds(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(
        Calls(("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"}), text="Let me look."),
        Calls(("weather", {"city": "Bern"})),
        Says("It rains everywhere."),
    )
    assistant = an_assistant(http, tools=[WEATHER])
    run = a_run(http, a_thread(http, "Where does it rain?"), assistant, tool_choice="required")
    for _ in range(2):
        run = settled(http, run, "requires_action")
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        assert [sent(request) for request in told(http, run)] == received(upstream)
        outputs = [{"tool_call_id": call["id"], "output": f"rain {call['id']}"} for call in calls]
        posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    requests = held(http, settled(http, run), upstream)
    assert [request["finish_reason"] for request in requests] == ["tool_calls", "tool_calls", "stop"]
    assert [request.get("tool_choice") for request in requests] == ["required", None, None]
    assert [len(request["messages"]) for request in requests] == [2, 6, 8]


def test_pages(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"})), Says("Rain."))
    run = settled(http, a_run(http, a_thread(http, "Hi"), an_assistant(http, tools=[WEATHER])), "requires_action")
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"}]
    posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    run = settled(http, run)
    path = f"{run_path(run)}/model_requests"
    first = fetched(http, path, limit=1)
    rest = fetched(http, path, limit=1, after=first["last_id"])
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [*first["data"], *rest["data"]] == told(http, run)[::-1]
    refused(http.get(path, params={"limit": 101}), 400)
    refused(http.get(path, params={"after": "gen_none"}), 400, "No model request found with id 'gen_none'.")
    refused(http.get(path, params={"after": "gen_nothing"}), 400)
    refused(http.get(path.replace(run["id"], "run_nothing")), 404)
    other = a_thread(http)
    refused(http.get(path.replace(run["thread_id"], other["id"])), 404)


def test_a_file_search(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(citing)
    assistant, _ = a_searcher(http)
    run = settled(http, a_run(http, a_thread(http, "What lies in the harbour?"), assistant))
    _, answered = held(http, run, upstream)
    assert "The harbour holds many boats" in answered["messages"][-1]["content"]
    assert answered["tools"][0]["function"]["name"] == "file_search"


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")
def test_code(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    def rule(body: Json) -> Reply:
        done = any(message["role"] == "tool" for message in body["messages"])
        return Says("It is 42.") if done else Calls(("code_interpreter", {"code": "print(6 * 7)"}))

    upstream.rule(rule)
    assistant = an_assistant(http, tools=[{"type": "code_interpreter"}])
    run = settled(http, a_run(http, a_thread(http, "What is 6 * 7?"), assistant), seconds=90)
    _, answered = held(http, run, upstream)
    assert answered["messages"][-1]["content"] == "42\n"


def test_the_last_messages_alone(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    thread = a_thread(http, *(f"Message {number}" for number in range(7)))
    strategy = {"type": "last_messages", "last_messages": 3}
    run = settled(http, a_run(http, thread, truncation_strategy=strategy))
    (request,) = held(http, run, upstream)
    assert [message["content"] for message in request["messages"][1:]] == ["Message 4", "Message 5", "Message 6"]
    assert request["dropped"] == {"messages": 0, "has_more": True}
    strategy["last_messages"] = 8  # As many as there are by now, with the answer.
    run = settled(http, a_run(http, thread, truncation_strategy=strategy))
    (request,) = told(http, run)
    assert len(request["messages"]) == 9
    assert request["dropped"] == {"messages": 0, "has_more": False}


def test_what_did_not_fit(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    thread = a_thread(http, *(f"{number} " + "word " * 60 for number in range(20)))
    run = settled(http, a_run(http, thread, max_prompt_tokens=256))
    (request,) = held(http, run, upstream)
    assert 0 < len(request["messages"]) < 10
    assert request["dropped"]["messages"] + request["dropped"]["has_more"] > 0


def test_what_has_been_deleted_since_is_said_to_be_missing(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upload = http.post("/files", data={"purpose": "vision"}, files={"file": ("a.png", PNG)}).json()
    thread = a_thread(http, "One", "Two", "Three")
    picture = {"type": "image_file", "image_file": {"file_id": upload["id"], "detail": "low"}}
    content = [{"type": "text", "text": "Look"}, picture]
    posted(http, f"/threads/{thread['id']}/messages", {"role": "user", "content": content})
    run = settled(http, a_run(http, thread))
    (request,) = told(http, run)
    assert request["exact"]
    assert request["messages"][-1]["content"] == content
    (really,) = received(upstream)
    assert really["messages"][-1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert request["messages"][:-1] == really["messages"][:-1]
    assert http.delete(f"/files/{upload['id']}").status_code == 200
    (request,) = told(http, run)
    assert (request["exact"], request["missing"]) == (False, {"messages": 0, "files": [upload["id"]]})
    messages = fetched(http, f"/threads/{thread['id']}/messages", order="asc")["data"]
    for number, left in ((0, "Two"), (3, "Two"), (1, "Three")):  # The oldest, the newest, and one between.
        assert http.delete(f"/threads/{thread['id']}/messages/{messages[number]['id']}").status_code == 200
        (request,) = told(http, run)
        assert not request["exact"]
        assert request["messages"][1]["content"] == left
    assert request["missing"]["messages"] == 3
    assert len(request["messages"]) == 2


def test_an_answer_that_broke_off_is_asked_for_again_and_told_once(
    http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Breaks(after_chunks=2), Says("Whole."))
    run = settled(http, a_run(http, a_thread(http, "Hi")), seconds=60)
    (request,) = told(http, run)
    first, second = received(upstream)
    assert sent(request) == first == second


def test_a_run_that_another_process_went_on_with(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"})), Hangs(after_chunks=3), Says("Rain."))
    server = Everloom(tmp_path, upstream=upstream.url, run_expires=120)
    with server, client_of(server) as http:
        run = settled(http, a_run(http, a_thread(http, "Hi"), an_assistant(http, tools=[WEATHER])), "requires_action")
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": call["id"], "output": "rain"}]
        posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
        assert upstream.wait(lambda: len(upstream.requests) == 2, PATIENCE_S)
        server.kill()
    with server, client_of(server) as http:
        run = settled(http, run, "completed", seconds=PATIENCE_S)
        first, cut, whole = received(upstream)
        assert cut == whole
        assert [sent(request) for request in told(http, run)] == [first, whole]
        assert all(request["exact"] for request in told(http, run))


def test_the_rights_of_reading_a_run(each_server: Everloom, upstream: ScriptedUpstream) -> None:
    with client_of(each_server) as http:
        run = settled(http, a_run(http, a_thread(http, "Hi")))
        path = f"{run_path(run)}/model_requests"
        answers = [http.get(path, headers={"authorization": "Bearer sk-wrong"})]
        answers.append(http.get(path, headers={"openai-beta": ""}))
        assert [answer.status_code for answer in answers] == [401, 400]
        with client_of(each_server, beta="assistants=v1") as old:
            assert old.get(path).json()["data"] == told(http, run)
