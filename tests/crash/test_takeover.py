"""A worker dies in the middle of an answer; another takes the run over while a client is streaming it."""

import json
from pathlib import Path
from typing import Any

import httpx

from tests.builders import a_thread, an_assistant, fetched, run_path
from tests.postgres import fresh_database
from tests.replies import Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

SAID = "one two three four five six seven eight nine ten"


class Listener:
    """What a client makes of a stream: objects by id, a message's text grown from its deltas."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.seen: list[int] = []
        self.run: Any = None
        self.texts: dict[str, str] = {}

    def hear(self, lines: Any) -> None:
        event = ""
        for line in lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.seen.append(int(value))
            elif name == "event":
                event = value
                self.names.append(event)
            elif name == "data" and event != "done":
                self._take(event, json.loads(value))

    def _take(self, event: str, data: Any) -> None:
        if event == "thread.message.created":
            self.texts[data["id"]] = ""
        elif event == "thread.message.delta":
            self.texts[data["id"]] += data["delta"]["content"][0]["text"]["value"]
        elif event.startswith("thread.run.") and ".step." not in event:
            self.run = data


def test_a_stream_follows_the_run_from_a_dead_worker_to_the_next(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.rule(lambda body: Slow(0.1, Says(SAID)))
        settings = {"upstream": upstream.url, "database": fresh_database()}
        dying = Everloom(tmp_path, command="worker", module="tests.crash.dying", test_die_after=9, **settings)
        second = Everloom(tmp_path, command="worker", **settings)
        with Everloom(tmp_path, arguments=("--no-worker",), **settings) as server, dying, client_of(server) as http:
            listener = Listener()
            body = {"assistant_id": an_assistant(http)["id"], "stream": True}
            thread = a_thread(http, "Count.")
            path = f"/threads/{thread['id']}/runs?ids=true"
            with http.stream("POST", path, json=body, timeout=60) as answer:
                assert dying.wait() == -9
                with second:
                    listener.hear(answer.iter_lines())
                    check(http, listener)
        assert len(upstream.requests) == 2


def check(http: httpx.Client, listener: Listener) -> None:
    assert listener.names[-2:] == ["thread.run.completed", "done"]
    assert len(listener.seen) == len(listener.names) - 1
    assert listener.seen == sorted(set(listener.seen))
    # The client was told of the message twice: once by each worker, under one id.
    assert listener.names.count("thread.message.created") == 2
    (step,) = fetched(http, f"{run_path(listener.run)}/steps")["data"]
    assert step["status"] == "completed"
    (message,) = fetched(http, f"/threads/{listener.run['thread_id']}/messages", run_id=listener.run["id"])["data"]
    assert listener.texts == {message["id"]: SAID}
    assert message["content"][0]["text"]["value"] == SAID
    again = Listener()
    again.hear(http.get(f"{run_path(listener.run)}/events").text.splitlines())
    assert again.names.count("thread.message.created") == 1
    assert again.texts == listener.texts
