"""``kill -9`` after the n-th stored event of a run, for every n; then the same end as if nothing had happened.

The run has three rounds: two calls in parallel, one call, a spoken answer. Its caller polls as the SDKs
do and submits outputs when asked, before the crash and after it.
"""

import json
import re
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, events_of, fetched, run_path
from tests.replies import Calls, Reply, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of

SAID = "It rains in Oslo and in Bergen, and the sun shines in Rome."


TRIES = 5
"""On a busy machine pieces of the text come together, so that a run may end in fewer events: then another is killed."""


def rounds(body: Json) -> Reply:
    """What the model says to a conversation: the same to the same, however often it is asked."""
    outputs = sum(message["role"] == "tool" for message in body["messages"])
    if outputs == 0:
        return Slow(0.01, Calls(("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen"})))
    if outputs == 2:
        return Slow(0.01, Calls(("weather", {"city": "Rome"})))
    return Slow(0.01, Says(SAID))


def drive(server: Everloom, run: Json) -> Json | None:
    """Be the run's caller until it has ended; None when the server dies before."""
    deadline = time.monotonic() + 60
    try:
        with client_of(server) as http:
            while True:
                run = fetched(http, run_path(run))
                if run["status"] == "requires_action":
                    answer(http, run)
                elif run["status"] not in ("queued", "in_progress"):
                    return run
                assert time.monotonic() < deadline, f"the run stayed {run['status']}"
                time.sleep(0.01)
    except httpx.TransportError:
        return None


def answer(http: httpx.Client, run: Json) -> None:
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": call["function"]["arguments"].upper()} for call in calls]
    http.post(f"{run_path(run)}/submit_tool_outputs", json={"tool_outputs": outputs})


def picture(server: Everloom, run: Json) -> Json:
    """All that can be seen of a run, its ids numbered in the order they appear and its times masked."""
    with client_of(server) as http:
        seen = {
            "run": fetched(http, run_path(run)),
            "steps": fetched(http, f"{run_path(run)}/steps", limit=100, order="asc")["data"],
            "messages": fetched(http, f"/threads/{run['thread_id']}/messages", limit=100, order="asc")["data"],
            "events": joined(events_of(http.get(f"{run_path(run)}/events"))),
        }
    text = json.dumps(seen)
    ids: dict[str, str] = {}
    text = re.sub(
        r"\b(thread|asst|run|step|msg|call)_[0-9A-Za-z]{8,}",
        lambda found: ids.setdefault(found[0], f"{found[1]}#{len(ids)}"),
        text,
    )
    found: Json = json.loads(re.sub(r'"(\w+_at)": \d+', r'"\1": 0', text))
    return found


def joined(events: list[tuple[str, Any]]) -> list[Any]:
    """The events, neighbouring deltas of one kind put together (how a text is cut is no part of the promise)."""
    found: list[Any] = []
    for name, data in events:
        if name == "thread.message.delta":
            text = data["delta"]["content"][0]["text"]["value"]
            if found and found[-1][0] == name:
                found[-1][1] += text
            else:
                found.append([name, text])
        else:
            found.append([name, data])
    return found


@pytest.fixture(scope="module")
def model() -> Any:
    with ScriptedUpstream() as upstream:
        upstream.rule(rounds)
        yield upstream


def test_killed_after_every_event(model: ScriptedUpstream, tmp_path: Path) -> None:
    with Everloom(tmp_path, upstream=model.url) as server, client_of(server) as http:
        assistant = an_assistant(http, tools=[WEATHER])
        calm = a_run(http, a_thread(http, "Where does it rain?"), assistant)
        assert drive(server, calm)
        undisturbed = picture(server, calm)
        once = used(server)
        total = len(events_of(http.get(f"{run_path(calm)}/events"))) - 1
    assert undisturbed["run"]["status"] == "completed"
    assert once["requests"] == 3
    assert total > 40
    victim: Json | None = None
    begun = 1
    for after in range(1, total + 1):
        for _ in range(TRIES):
            server = Everloom(tmp_path, module="tests.crash.dying", upstream=model.url, test_die_after=after)
            with server:
                if victim is not None:
                    victim = found(server, victim)
                    assert drive(server, victim), f"killed after event {after - 1}, the run's server died again"
                    assert picture(server, victim) == undisturbed, f"killed after event {after - 1}"
                victim = begin(server, assistant)
                begun += 1
                ended = None if victim["id"] is None else drive(server, victim)
                try:  # The end of a run may be seen in the moment before its server dies of its last event.
                    assert server.wait(30 if ended is None else 3) == -9
                    break
                except subprocess.TimeoutExpired:
                    assert ended is not None
        else:
            pytest.fail(f"{TRIES} runs ended before their event {after}")
    with Everloom(tmp_path, upstream=model.url) as server:
        assert victim is not None
        assert drive(server, victim)
        assert picture(server, victim) == undisturbed
        assert used(server) == {name: number * begun for name, number in once.items()}
        least = len(model.requests)
        assert told(server) >= least > once["requests"] * begun  # Of each kill one estimate, at most.


def used(server: Everloom) -> Json:
    """Tokens and requests in the ledger, without estimates: each answer that was kept is there once, with what came of
    it.
    """
    names = ("requests", "input_tokens", "output_tokens")
    sums = ", ".join(f"SUM({name})" for name in names)
    with sqlite3.connect(server.data / "everloom.db") as database:
        rows = database.execute(f"SELECT {sums} FROM ledger WHERE kind = 'chat' AND estimated = 0")
        return dict(zip(names, rows.fetchone(), strict=True))


def told(server: Everloom) -> int:
    """Requests, as the organization is told: what the model was asked and nothing was kept of is there, too."""
    with client_of(server, ADMIN_KEY, beta=None) as admin:
        start = int(time.time()) - 86_400
        buckets = fetched(admin, "/organization/usage/completions", start_time=start)["data"]
    return sum(result["num_model_requests"] for bucket in buckets for result in bucket["results"])


def begin(server: Everloom, assistant: Json) -> Json:
    """Start the run that the server is going to die in; it may die before it has answered."""
    with client_of(server) as http:
        thread = a_thread(http, "Where does it rain?")
        body = {"assistant_id": assistant["id"]}
        try:
            run: Json = http.post(f"/threads/{thread['id']}/runs", json=body).json()
        except httpx.TransportError:
            run = {"thread_id": thread["id"], "id": None}
    return run


def found(server: Everloom, run: Json) -> Json:
    """The run, looked up by its thread where its creation was never answered."""
    if run["id"] is not None:
        return run
    with client_of(server) as http:
        (kept,) = fetched(http, f"/threads/{run['thread_id']}/runs")["data"]
    return dict(kept)


def test_a_run_never_acknowledged_is_not_half_there(model: ScriptedUpstream, tmp_path: Path) -> None:
    """Killed between the write that keeps a run and the answer to its creation: it runs, and holds no lock for good."""
    server = Everloom(tmp_path, module="tests.crash.dying", upstream=model.url, test_die_after=1)
    with server, client_of(server) as http:
        assistant = an_assistant(http, tools=[WEATHER])
        thread = a_thread(http, "Hi")
        with pytest.raises(httpx.TransportError):
            a_run(http, thread, assistant)
        assert server.wait() == -9
    with Everloom(tmp_path, upstream=model.url) as server, client_of(server) as http:
        (run,) = fetched(http, f"/threads/{thread['id']}/runs")["data"]
        done = drive(server, run)
        assert done is not None
        assert done["status"] == "completed"
