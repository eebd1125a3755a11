"""What a run works with is deleted while it works: the run ends, says what is missing, and its thread is free.

What a run only reads (an assistant, files, stores, what others have said) it does without; what it writes it cannot.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

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
from tests.replies import Calls, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file, ready

WORDS = Says("one two three four five six seven eight")


@pytest.fixture
def http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


def deleted(http: httpx.Client, path: str) -> None:
    answer = http.delete(path)
    assert answer.status_code == 200, answer.text


def message_of(http: httpx.Client, run: Json) -> Json:
    """The message that a run is writing, once it has begun."""
    deadline = time.monotonic() + 20
    while not (found := fetched(http, f"/threads/{run['thread_id']}/messages", run_id=run["id"])["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    message: Json = found[0]
    return message


def is_free(http: httpx.Client, upstream: ScriptedUpstream, thread_id: str) -> None:
    """A thread takes messages, and a run on it comes to its end."""
    path = f"/threads/{thread_id}"
    posted(http, f"{path}/messages", {"role": "user", "content": "And now?"})
    upstream.script(Says("Now it goes."))
    run = posted(http, f"{path}/runs", {"assistant_id": an_assistant(http)["id"]})
    assert settled(http, run)["status"] == "completed"


def failed_for(http: httpx.Client, run: Json, id: str) -> Json:
    """The run, ended at once, with words that say what was deleted."""
    run = settled(http, run, seconds=12)
    assert run["status"] == "failed"
    assert run["last_error"]["code"] == "server_error"
    assert id in run["last_error"]["message"]
    assert "was deleted" in run["last_error"]["message"]
    assert run["failed_at"] is not None
    assert run["expires_at"] is run["required_action"] is None
    for step in fetched(http, f"{run_path(run)}/steps")["data"]:
        assert step["status"] in ("completed", "failed")
    return run


# --- what a run writes -----------------------------------------------------------------------------------------------


def test_a_deleted_message_ends_the_run_that_writes_it(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(4))
    run = a_run(http)
    message = message_of(http, run)
    deleted(http, f"/threads/{run['thread_id']}/messages/{message['id']}")
    run = failed_for(http, run, message["id"])
    (step,) = fetched(http, f"{run_path(run)}/steps")["data"]
    assert step["status"] == "failed"
    assert step["last_error"] == run["last_error"]
    assert upstream.wait(lambda: len(upstream.disconnects) == 1)
    refused(http.post(f"{run_path(run)}/cancel"), 400, "Cannot cancel run with status 'failed'")
    is_free(http, upstream, run["thread_id"])


def test_its_stream_ends(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(4))
    body = {"assistant_id": an_assistant(http)["id"], "stream": True}
    thread = a_thread(http, "Hi")
    names: list[str] = []
    data: Any = None
    with http.stream("POST", f"/threads/{thread['id']}/runs", json=body, timeout=15) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            elif line.startswith("data: {"):
                data = json.loads(line.removeprefix("data: "))
            if names[-1:] == ["thread.message.delta"] and names.count("thread.message.delta") == 1 and not line:
                deleted(http, f"/threads/{thread['id']}/messages/{data['id']}")
    assert names[-3:] == ["thread.run.step.failed", "thread.run.failed", "done"]
    assert data["status"] == "failed"
    assert "was deleted" in data["last_error"]["message"]
    is_free(http, upstream, thread["id"])


def test_a_message_may_go_with_its_last_words(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    """While the answer still comes, so that a write finds the message missing, whether or not anybody has looked."""
    upstream.rule(lambda body: Slow(0.02, WORDS))
    for _ in range(4):
        run = a_run(http)
        message = message_of(http, run)
        deleted(http, f"/threads/{run['thread_id']}/messages/{message['id']}")
        failed_for(http, run, message["id"])
    upstream.rule(lambda body: None)
    is_free(http, upstream, run["thread_id"])


def test_a_message_may_go_before_the_calls_that_follow_it(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.05, Calls(("weather", {"city": "Oslo"}), text="I look it up for you, one moment please.")))
    run = a_run(http, tools=[WEATHER])
    message = message_of(http, run)
    deleted(http, f"/threads/{run['thread_id']}/messages/{message['id']}")
    failed_for(http, run, message["id"])
    is_free(http, upstream, run["thread_id"])


def test_a_run_whose_message_is_gone_can_be_cancelled(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(4))
    run = a_run(http)
    message = message_of(http, run)
    with httpx.Client(base_url=http.base_url, headers=http.headers) as other:
        deleted(http, f"/threads/{run['thread_id']}/messages/{message['id']}")
        other.post(f"{run_path(run)}/cancel")  # 400 where it has failed already
    assert settled(http, run, seconds=12)["status"] in ("cancelled", "failed")
    is_free(http, upstream, run["thread_id"])


# --- what a run reads ------------------------------------------------------------------------------------------------

Moment = Callable[[httpx.Client, ScriptedUpstream, "Scene"], None]


class Scene:
    """A run with all that it may look at: an assistant that searches, a store, a file in it and one on the thread."""

    def __init__(self, http: httpx.Client) -> None:
        self.file = a_file(http, "Bananas are yellow.")
        self.store = ready(http, posted(http, "/vector_stores", {"file_ids": [self.file]}))["id"]
        search = {"file_search": {"vector_store_ids": [self.store]}}
        tools: list[Json] = [{"type": "file_search"}, WEATHER]
        self.assistant = an_assistant(http, tools=tools, tool_resources=search)["id"]
        self.thread = a_thread(http, "What colour are bananas?")["id"]
        self.message = fetched(http, f"/threads/{self.thread}/messages")["data"][0]["id"]
        self.run: Json = {}

    def begin(self, http: httpx.Client) -> None:
        self.run = posted(http, f"/threads/{self.thread}/runs", {"assistant_id": self.assistant})

    def path(self, what: str) -> str:
        """Where what is to vanish is found."""
        return {
            "message": f"/threads/{self.thread}/messages/{self.message}",
            "thread": f"/threads/{self.thread}",
            "assistant": f"/assistants/{self.assistant}",
            "file": f"/files/{self.file}",
            "store": f"/vector_stores/{self.store}",
        }[what]


def before_the_first_word(http: httpx.Client, upstream: ScriptedUpstream, scene: Scene) -> None:
    upstream.script(Slow(0.4, Says("Yellow, all.")))
    scene.begin(http)
    assert upstream.wait(lambda: len(upstream.requests) == 1)


def in_the_middle(http: httpx.Client, upstream: ScriptedUpstream, scene: Scene) -> None:
    upstream.script(Slow(0.1, WORDS))
    scene.begin(http)
    message_of(http, scene.run)


def while_a_tool_runs(http: httpx.Client, upstream: ScriptedUpstream, scene: Scene) -> None:
    upstream.embeddings.clear()
    upstream.embedding_delay = 0.5
    upstream.script(Calls(("file_search", {"query": "bananas"})), Says("Yellow."))
    scene.begin(http)
    assert upstream.wait(lambda: len(upstream.embeddings) == 1)


def while_it_waits_for_its_caller(http: httpx.Client, upstream: ScriptedUpstream, scene: Scene) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"})), Says("It rains."))
    scene.begin(http)
    scene.run = settled(http, scene.run, "requires_action")


MOMENTS: list[Moment] = [
    before_the_first_word,
    in_the_middle,
    while_a_tool_runs,
    while_it_waits_for_its_caller,
]

each_moment = pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)


def submitted(http: httpx.Client, run: Json) -> httpx.Response:
    calls = (run["required_action"] or {"submit_tool_outputs": {"tool_calls": []}})["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"} for call in calls]
    return http.post(f"{run_path(run)}/submit_tool_outputs", json={"tool_outputs": outputs})


@each_moment
@pytest.mark.parametrize("what", ["message", "assistant", "file", "store"])
def test_a_run_does_without_what_it_only_reads(
    http: httpx.Client, upstream: ScriptedUpstream, what: str, moment: Moment
) -> None:
    scene = Scene(http)
    moment(http, upstream, scene)
    deleted(http, scene.path(what))
    if scene.run["status"] == "requires_action":
        assert submitted(http, scene.run).status_code == 200
    assert settled(http, scene.run)["status"] == "completed"
    is_free(http, upstream, scene.thread)


@each_moment
def test_a_thread_takes_its_runs_along(http: httpx.Client, upstream: ScriptedUpstream, moment: Moment) -> None:
    scene = Scene(http)
    moment(http, upstream, scene)
    with http.stream("GET", f"{run_path(scene.run)}/events", timeout=15) as events:
        lines = events.iter_lines()
        next(lines)
        deleted(http, scene.path("thread"))
        assert "event: done" in list(lines) or moment is while_it_waits_for_its_caller
    refused(http.get(run_path(scene.run)), 404)
    refused(submitted(http, scene.run), 404)
    assert upstream.wait(lambda: upstream.active == 0)
