"""What assistants and runs are refused for, in the words the platform has for them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from everloom.api import assistants, runs, threads
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from tests.builders import WEATHER, a_run, a_thread, posted, refused, run_path, settled
from tests.replies import Calls, Json, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.serving import KEY, Serving

REQUESTED = "The requested model 'gpt-9' does not exist. (On this server: to let a model of this server answer for it, "


@pytest.fixture(params=["assistants=v1", "assistants=v2"])
def few(request: pytest.FixtureRequest, tmp_path: Any, upstream: ScriptedUpstream) -> Iterator[httpx.Client]:
    """A client of a server with one model."""
    models = Models([("gpt-4o", UpstreamBackend(upstream.url), None)])
    routes = [*assistants.routes, *threads.routes, *runs.routes]
    headers = {"authorization": f"Bearer {KEY}", "openai-beta": request.param}
    with Serving(tmp_path, models, routes) as server, httpx.Client(base_url=server.url, headers=headers) as client:
        yield client


def test_a_model_that_nobody_serves(few: httpx.Client) -> None:
    assistant, thread = posted(few, "/assistants", {"model": "gpt-4o"}), posted(few, "/threads")
    asked = {"model": "gpt-9", "assistant_id": assistant["id"]}
    for path, body in {
        "/assistants": {"model": "gpt-9"},
        f"/assistants/{assistant['id']}": {"model": "gpt-9"},
        f"/threads/{thread['id']}/runs": asked,
        "/threads/runs": asked,
    }.items():
        refused(few.post(path, json=body), 400, REQUESTED, param="model", code="model_not_found")


SAID = [{"role": "assistant", "content": "Shall I?"}]
NOTHING = "Run creation requires a Thread with a user message or an assistant with instructions."


def test_a_thread_in_which_no_user_has_spoken(http: httpx.Client) -> None:
    assistant = posted(http, "/assistants", {"model": "gpt-4o"})
    thread = posted(http, "/threads", {"messages": SAID * 3})
    asked: Json = {"assistant_id": assistant["id"]}
    path = f"/threads/{thread['id']}/runs"
    for body in (asked, {**asked, "additional_messages": SAID}):
        refused(http.post(path, json=body), 400, NOTHING, param=None, code="invalid_thread")
    for created in ({}, {"thread": {"messages": SAID}}):
        refused(http.post("/threads/runs", json={**asked, **created}), 400, NOTHING, code="invalid_thread")
    settled(http, posted(http, path, {**asked, "instructions": "Go on."}), "completed")
    settled(http, posted(http, path, {**asked, "additional_messages": [{"role": "user", "content": "Do."}]}))
    settled(http, posted(http, path, asked), "completed")


def test_a_user_who_spoke_long_ago(http: httpx.Client) -> None:
    assistant = posted(http, "/assistants", {"model": "gpt-4o"})
    thread = posted(http, "/threads", {"messages": [{"role": "user", "content": "Hi"}, *SAID * 130]})
    settled(http, posted(http, f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}), "completed")


def test_v1_lets_such_threads_run(http: httpx.Client, old_http: httpx.Client) -> None:
    assistant = posted(old_http, "/assistants", {"model": "gpt-4o"})
    thread = posted(http, "/threads", {"messages": SAID})
    asked = {"assistant_id": assistant["id"]}
    settled(old_http, posted(old_http, f"/threads/{thread['id']}/runs", asked), "completed")
    settled(old_http, posted(old_http, "/threads/runs", asked), "completed")


def test_v1_looks_an_id_up_whatever_it_begins_with(http: httpx.Client, old_http: httpx.Client) -> None:
    run = settled(http, a_run(http))
    thread = f"/threads/{run['thread_id']}"
    for path, missing in {
        "/assistants/123": "No assistant found with id '123'.",
        "/threads/123": "No thread found with id '123'.",
        f"{thread}/messages/123": "No message found with id '123'.",
        f"{thread}/runs/123": "No run found with id '123'.",
        f"{thread}/runs/{run['id']}/steps/123": "No run step found with id '123'.",
    }.items():
        refused(old_http.get(path), 404, missing, type="invalid_request_error", param=None, code=None)
        refused(http.get(path), 400, "Expected an ID that begins with", code="invalid_value")


def _one_call(body: Json) -> Calls | Says:
    told = body["messages"][-1]["role"] == "tool"
    return Says("Rain.") if told else Calls(("weather", {"city": "Oslo"}))


def test_the_budget_of_an_answer_that_a_call_used_up_is_named(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(_one_call)
    run = settled(http, a_run(http, tools=[WEATHER], max_completion_tokens=1), "requires_action")
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain"}]}
    posted(http, f"{run_path(run)}/submit_tool_outputs", outputs)
    run = settled(http, run, "incomplete")
    assert run["incomplete_details"] == {"reason": "max_completion_tokens"}


def test_the_budget_of_prompts_that_a_call_used_up_is_named(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(_one_call)
    run = settled(http, a_run(http, a_thread(http, "Hi"), tools=[WEATHER], max_prompt_tokens=40))
    if run["status"] == "requires_action":
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain " * 100}]}
        posted(http, f"{run_path(run)}/submit_tool_outputs", outputs)
        run = settled(http, run, "incomplete")
    assert run["incomplete_details"] == {"reason": "max_prompt_tokens"}


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("undefined", "undefined"),
        ("EMPTY", "EMPTY"),
        ("YOUR_API_KEY", "YOUR_API_KEY"),
        ("your-api-key-here", "your-api***here"),
        ("sk-wrong-0123456789abcdef", "sk-wrong***cdef"),
    ],
)
def test_a_wrong_key_is_shown_as_the_platform_shows_it(server: Everloom, key: str, shown: str) -> None:
    answer = httpx.get(f"{server.url}/models", headers={"authorization": f"Bearer {key}"})
    refused(answer, 401, f"Incorrect API key provided: {shown}. You can find", code="invalid_api_key")
