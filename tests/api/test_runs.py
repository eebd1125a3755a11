"""A run's life through HTTP, on either database."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import (
    WEATHER,
    a_run,
    a_thread,
    an_assistant,
    events_of,
    fetched,
    posted,
    refused,
    run_path,
    settled,
)
from tests.replies import Breaks, Calls, Fails, Garbage, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of


@pytest.fixture
def http(each_server: Everloom) -> Any:
    with client_of(each_server) as client:
        yield client


def test_a_run_answers_its_thread(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("It is four."))
    thread = a_thread(http, "What is two and two?")
    run = a_run(http, thread)
    assert run["status"] == "queued"
    assert run["expires_at"] == run["created_at"] + 600
    done = settled(http, run)
    assert done["status"] == "completed"
    assert done["usage"]["total_tokens"] == done["usage"]["prompt_tokens"] + done["usage"]["completion_tokens"] > 0
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["status"] == "completed"
    assert step["usage"] == done["usage"]
    answer, question = fetched(http, f"/threads/{thread['id']}/messages")["data"]
    assert answer["id"] == step["step_details"]["message_creation"]["message_id"]
    assert answer["content"] == [{"type": "text", "text": {"value": "It is four.", "annotations": []}}]
    assert question["role"] == "user"
    sent = upstream.requests[0].body
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is two and two?"},
    ]


def test_functions_are_asked_for_in_parallel_and_in_rounds(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(
        Calls(("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen"})),
        Calls(("weather", {"city": "Rome"})),
        Says("Rain, rain and sun."),
    )
    run = settled(http, a_run(http, assistant=an_assistant(http, tools=[WEATHER])))
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"])["city"] for call in calls] == ["Oslo", "Bergen"]
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["status"] == "in_progress"
    assert [call["function"]["output"] for call in step["step_details"]["tool_calls"]] == [None, None]
    outputs = [{"tool_call_id": call["id"], "output": f"rain {call['id']}"} for call in calls]
    assert posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})["status"] == "queued"
    run = settled(http, run)
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    output = {"tool_call_id": call["id"], "output": "sun"}
    posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": [output]})
    run = settled(http, run)
    assert run["status"] == "completed"
    steps = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
    assert [step["type"] for step in steps] == ["tool_calls", "tool_calls", "message_creation"]
    assert {step["status"] for step in steps} == {"completed"}
    assert sum(step["usage"]["total_tokens"] for step in steps) == run["usage"]["total_tokens"]
    first = steps[0]["step_details"]["tool_calls"]
    assert [call["function"]["output"] for call in first] == [output["output"] for output in outputs]
    roles = [message["role"] for message in upstream.requests[2].body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "tool"]


def test_a_stream_tells_everything_in_the_recorded_order(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("One two three"))
    thread, assistant = a_thread(http, "Count."), an_assistant(http)
    body = {"assistant_id": assistant["id"], "stream": True}
    events = events_of(http.post(f"/threads/{thread['id']}/runs", json=body))
    names = [name for name, _ in events]
    deltas = [data for name, data in events if name == "thread.message.delta"]
    assert [name for name in names if name != "thread.message.delta"] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        "done",
    ]
    assert deltas[0]["delta"]["content"][0]["text"]["annotations"] == []
    assert all("annotations" not in delta["delta"]["content"][0]["text"] for delta in deltas[1:])
    assert "".join(delta["delta"]["content"][0]["text"]["value"] for delta in deltas) == "One two three"
    told = dict(events)
    assert told["thread.run.completed"] == fetched(http, run_path(told["thread.run.created"]))
    assert told["thread.message.completed"] == fetched(
        http, f"/threads/{thread['id']}/messages/{told['thread.message.completed']['id']}"
    )


def test_the_events_can_be_read_again_from_any_place(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("One two three"))
    run = settled(http, a_run(http))
    again = http.get(f"{run_path(run)}/events")
    ids = [int(line[4:]) for line in again.text.splitlines() if line.startswith("id: ")]
    assert ids == sorted(set(ids))
    later = http.get(f"{run_path(run)}/events", headers={"last-event-id": str(ids[4])})
    assert events_of(later) == events_of(again)[5:]
    assert events_of(http.get(f"{run_path(run)}/events", headers={"last-event-id": str(ids[-1])})) == [
        ("done", "[DONE]")
    ]


@pytest.mark.parametrize("beta", ["assistants=v1", "assistants=v2"])
def test_a_stream_is_pairs_of_lines_unless_ids_are_asked_for(
    beta: str, server: Everloom, upstream: ScriptedUpstream
) -> None:
    """jvm-openai takes lines two by two; many readers look for ``event:`` at the start of a block."""
    upstream.rule(lambda body: Says("One two three"))
    with client_of(server, beta=beta) as http:
        assistant = an_assistant(http)
        body = {"assistant_id": assistant["id"], "stream": True, "thread": {"messages": [HELLO]}}
        plain = http.post("/threads/runs", json=body).text
        for block in plain.removesuffix("\n\n").split("\n\n"):
            assert [line.partition(": ")[0] for line in block.split("\n")] == ["event", "data"]
        assert plain.endswith("event: done\ndata: [DONE]\n\n")
        for ask in ({"params": {"ids": "true"}}, {"headers": {"last-event-id": ""}}):
            *blocks, done = http.post("/threads/runs", json=body, **ask).text.removesuffix("\n\n").split("\n\n")
            assert done == "event: done\ndata: [DONE]"
            for number, block in enumerate(blocks, start=1):
                lines = [line.partition(": ") for line in block.split("\n")]
                assert [name for name, _, _ in lines] == ["event", "data", "id"]
                assert int(lines[2][2]) >= number


HELLO = {"role": "user", "content": "Hi"}


def test_the_run_goes_on_when_its_reader_leaves(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.05, Says("One two three four five six")))
    thread, assistant = a_thread(http, "Count."), an_assistant(http)
    body = {"assistant_id": assistant["id"], "stream": True}
    with http.stream("POST", f"/threads/{thread['id']}/runs", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                run = json.loads(line[6:])
                break
    assert settled(http, run)["status"] == "completed"


def test_cancelling_stops_the_model(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(after_chunks=3))
    run = a_run(http)
    settled(http, run, "in_progress")
    assert upstream.wait(lambda: upstream.active == 1)
    assert posted(http, f"{run_path(run)}/cancel")["status"] == "cancelling"
    done = settled(http, run)
    assert done["status"] == "cancelled"
    assert done["cancelled_at"] is not None
    assert upstream.wait(lambda: len(upstream.disconnects) == 1)
    for step in fetched(http, f"{run_path(run)}/steps")["data"]:
        assert step["status"] == "cancelled"
    for message in fetched(http, f"/threads/{run['thread_id']}/messages", run_id=run["id"])["data"]:
        assert message["status"] == "incomplete"
        assert message["incomplete_details"] == {"reason": "run_cancelled"}
    refused(http.post(f"{run_path(run)}/cancel"), 400, "Cannot cancel run with status 'cancelled'.")


def test_a_run_that_waits_can_be_cancelled(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"})))
    run = settled(http, a_run(http, assistant=an_assistant(http, tools=[WEATHER])))
    posted(http, f"{run_path(run)}/cancel")
    assert settled(http, run, "cancelled")["required_action"] is None
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["status"] == "cancelled"


def test_a_thread_deleted_under_its_run_ends_everything(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(after_chunks=3))
    thread, assistant = a_thread(http, "Hi"), an_assistant(http)
    body = {"assistant_id": assistant["id"], "stream": True}
    with http.stream("POST", f"/threads/{thread['id']}/runs", json=body) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("event: thread.message.delta"))
        assert http.delete(f"/threads/{thread['id']}").json()["deleted"] is True
        assert list(lines)[-3:-1] == ["event: done", "data: [DONE]"]
    assert upstream.wait(lambda: len(upstream.disconnects) == 1)
    refused(http.get(f"/threads/{thread['id']}"), 404, f"No thread found with id '{thread['id']}'.")


def test_one_run_at_a_time_holds_its_thread(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(after_chunks=0))
    thread, assistant = a_thread(http, "Hi"), an_assistant(http)
    run = a_run(http, thread, assistant)
    refused(
        http.post(f"/threads/{thread['id']}/runs", json={"assistant_id": assistant["id"]}),
        400,
        f"Thread {thread['id']} already has an active run {run['id']}.",
    )
    refused(
        http.post(f"/threads/{thread['id']}/messages", json={"role": "user", "content": "More"}),
        400,
        f"Can't add messages to {thread['id']} while a run {run['id']} is active.",
    )
    refused(http.post(run_path(run), json={"metadata": {"a": "b"}}), 400, "Cannot update run with status")
    posted(http, f"{run_path(run)}/cancel")
    settled(http, run, "cancelled")
    assert posted(http, f"/threads/{thread['id']}/messages", {"role": "user", "content": "More"})
    assert posted(http, run_path(run), {"metadata": {"a": "b"}})["metadata"] == {"a": "b"}


@pytest.mark.parametrize("given", [[], ["call_other"], ["first"], ["first", "first"], ["first", "second", "call_x"]])
def test_outputs_for_the_wrong_calls_change_nothing(
    http: httpx.Client, upstream: ScriptedUpstream, given: list[str]
) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"})))
    run = settled(http, a_run(http, assistant=an_assistant(http, tools=[WEATHER])))
    calls = [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
    named = {"first": calls[0], "second": calls[1]}
    outputs = [{"tool_call_id": named.get(id, id), "output": "x"} for id in given]
    answer = http.post(f"{run_path(run)}/submit_tool_outputs", json={"tool_outputs": outputs})
    refused(answer, 400, f"Expected tool outputs for call_ids {calls}, got")
    assert fetched(http, run_path(run)) == run


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Fails(status=500), "server_error"),
        (Fails(status=429), "rate_limit_exceeded"),
        (Breaks(after_chunks=2), "server_error"),
        (Garbage(after_chunks=2), "server_error"),
    ],
)
def test_a_failing_model_fails_the_run_with_a_reason(
    http: httpx.Client, upstream: ScriptedUpstream, reply: Any, code: str
) -> None:
    upstream.script(*[reply] * 5)
    run = settled(http, a_run(http), seconds=40)
    assert run["status"] == "failed"
    assert run["last_error"]["code"] == code
    assert len(run["last_error"]["message"]) > 10
    assert run["failed_at"] is not None
    for step in fetched(http, f"{run_path(run)}/steps")["data"]:
        assert step["status"] == "failed"
        assert step["last_error"]["code"] == code
    for message in fetched(http, f"/threads/{run['thread_id']}/messages", run_id=run["id"])["data"]:
        assert message["incomplete_details"] == {"reason": "run_failed"}
    upstream.reset()
    assert settled(http, a_run(http, {"id": run["thread_id"]}))["status"] == "completed"


def test_token_budgets_hold_over_the_whole_run(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("One two three", finish="length"))
    run = settled(http, a_run(http, max_completion_tokens=16))
    assert run["status"] == "incomplete"
    assert run["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert upstream.requests[0].body["max_completion_tokens"] == 16
    (message,) = fetched(http, f"/threads/{run['thread_id']}/messages", run_id=run["id"])["data"]
    assert message["status"] == "incomplete"
    assert message["incomplete_details"] == {"reason": "max_tokens"}
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["status"] == "completed"


def test_a_prompt_over_its_budget_drops_the_oldest_and_then_gives_up(
    http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    thread = a_thread(http, *[f"{number} " + "word " * 100 for number in range(20)])
    run = settled(http, a_run(http, thread, max_prompt_tokens=1000))
    assert run["status"] == "completed"
    asked = [message["content"][:2] for message in upstream.requests[0].body["messages"][1:]]
    assert 0 < len(asked) < 20
    assert asked[-1] == "19"
    run = settled(http, a_run(http, thread, max_prompt_tokens=20))
    assert run["status"] == "incomplete"
    assert run["incomplete_details"] == {"reason": "max_prompt_tokens"}


def test_only_the_last_messages_when_asked_so(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    thread = a_thread(http, "one", "two", "three")
    settled(http, a_run(http, thread, truncation_strategy={"type": "last_messages", "last_messages": 2}))
    assert [message["content"] for message in upstream.requests[0].body["messages"][1:]] == ["two", "three"]


def test_a_run_takes_its_own_settings_over_the_assistants(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    thread = a_thread(http, "one")
    run = a_run(
        http,
        thread,
        model="gpt-4-turbo",
        instructions="Be long.",
        additional_instructions="And kind.",
        additional_messages=[{"role": "user", "content": "two"}],
        tools=[WEATHER],
        temperature=0.5,
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        metadata={"k": "v"},
    )
    assert run["instructions"] == "Be long.\nAnd kind."
    settled(http, run)
    sent = upstream.requests[0].body
    assert sent["model"] == "gpt-4-turbo"
    assert [message["content"] for message in sent["messages"]] == ["Be long.\nAnd kind.", "one", "two"]
    assert sent["temperature"] == 0.5
    assert sent["tools"] == [WEATHER]
    assert sent["tool_choice"]["function"]["name"] == "weather"
    assert sent["parallel_tool_calls"] is False
    assert sent["response_format"] == {"type": "json_object"}


def test_code_without_a_sandbox_fails_with_the_reason(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    settings = {"upstream": upstream.url, "sandbox_python": tmp_path / "no-such-python"}
    with Everloom(tmp_path, **settings) as server, client_of(server) as http:
        run = settled(http, a_run(http, assistant=an_assistant(http, tools=[{"type": "code_interpreter"}])))
        assert run["status"] == "failed"
        assert run["last_error"]["message"].startswith("The tool 'code_interpreter' is not available on this server:")


def test_steps_page_exactly_within_one_second(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*[Calls(("weather", {"city": str(number)})) for number in range(12)], Says("Done."))
    run = settled(http, a_run(http, assistant=an_assistant(http, tools=[WEATHER])))
    while run["status"] == "requires_action":
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        output = {"tool_call_id": call["id"], "output": "x"}
        posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": [output]})
        run = settled(http, run)
    everything = [step["id"] for step in fetched(http, f"{run_path(run)}/steps", limit=100, order="asc")["data"]]
    assert len(everything) == 13
    for order in ("asc", "desc"):
        expected = everything if order == "asc" else everything[::-1]
        seen: list[str] = []
        page = fetched(http, f"{run_path(run)}/steps", limit=4, order=order)
        while page["data"]:
            seen += [step["id"] for step in page["data"]]
            assert page["has_more"] == (len(seen) < 13)
            assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
            page = fetched(http, f"{run_path(run)}/steps", limit=4, order=order, after=seen[-1])
        assert seen == expected
        assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        before = fetched(http, f"{run_path(run)}/steps", limit=4, order=order, before=expected[8])
        assert [step["id"] for step in before["data"]] == expected[4:8]


def test_steps_are_found_through_their_own_thread_alone(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    run, other = settled(http, a_run(http)), a_thread(http)
    gone = f"No run found with id '{run['id']}'."
    for query in ({}, {"limit": 1, "order": "asc"}):
        refused(http.get(f"/threads/{other['id']}/runs/{run['id']}/steps", params=query), 404, gone)
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert fetched(http, f"{run_path(run)}/steps", after=step["id"])["data"] == []
    http.delete(f"/threads/{run['thread_id']}").raise_for_status()
    refused(http.get(f"{run_path(run)}/steps"), 404, gone)


def test_a_model_that_hangs_fails_the_run(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.script(*[Hangs(after_chunks=3)] * 5)
    with Everloom(tmp_path, upstream=upstream.url, upstream_timeout=1) as server, client_of(server) as http:
        run = settled(http, a_run(http))
        assert run["status"] == "failed"
        assert run["last_error"]["code"] == "server_error"
        (message,) = fetched(http, f"/threads/{run['thread_id']}/messages", run_id=run["id"])["data"]
        assert message["incomplete_details"] == {"reason": "run_failed"}


def test_a_run_over_its_deadline_expires(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"})), Hangs(after_chunks=3))
    with Everloom(tmp_path, upstream=upstream.url, run_expires=2) as server, client_of(server) as http:
        assistant = an_assistant(http, tools=[WEATHER])
        waiting = settled(http, a_run(http, assistant=assistant))
        hanging = a_run(http, assistant=assistant)
        started = time.monotonic()
        for run in (waiting, hanging):
            done = settled(http, run, "expired")
            assert done["required_action"] is None
            assert [step["status"] for step in fetched(http, f"{run_path(run)}/steps")["data"]] == ["expired"]
        assert time.monotonic() - started < 30, "the last resort was it that ended them"


def test_include_names_what_there_is_to_include(http: httpx.Client) -> None:
    run = settled(http, a_run(http))
    found = {"include[]": "step_details.tool_calls[*].file_search.results[*].content"}
    (step,) = fetched(http, f"{run_path(run)}/steps", **found)["data"]
    assert fetched(http, f"{run_path(run)}/steps/{step['id']}", **found) == step
    unknown = {"include[]": "step_details"}
    for answer in (
        http.get(f"{run_path(run)}/steps", params=unknown),
        http.get(f"{run_path(run)}/steps/{step['id']}", params=unknown),
        http.post(f"/threads/{run['thread_id']}/runs", params=unknown, json={"assistant_id": run["assistant_id"]}),
    ):
        refused(answer, 400, "Invalid value: 'step_details'.", param="include[0]", code="invalid_value")


@pytest.mark.parametrize("last", ["x", "-1", "\xb2", "9" * 19])
def test_a_last_event_id_that_is_none(http: httpx.Client, last: str) -> None:
    run = settled(http, a_run(http))
    answer = http.get(f"{run_path(run)}/events", headers={"last-event-id": last.encode("latin-1")})
    refused(answer, 400, "Invalid 'Last-Event-ID'", code="invalid_value")
