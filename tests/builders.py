"""Objects as tests need them, made through the API like any program would make them."""

import json
import time
from typing import Any

import httpx

Json = dict[str, Any]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def an_assistant(http: httpx.Client, **fields: Any) -> Json:
    """An assistant on the scripted upstream."""
    return posted(http, "/assistants", {"model": "gpt-4o", "instructions": "Be brief.", **fields})


def a_thread(http: httpx.Client, *texts: str, **fields: Any) -> Json:
    """A thread in which a user has said these texts."""
    messages = [{"role": "user", "content": text} for text in texts]
    return posted(http, "/threads", {"messages": messages, **fields})


def a_run(http: httpx.Client, thread: Json | None = None, assistant: Json | None = None, **fields: Any) -> Json:
    """A run just begun."""
    thread = thread or a_thread(http, "Hi")
    assistant = assistant or an_assistant(http)
    return posted(http, f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **fields})


def run_path(run: Json) -> str:
    """Where a run is found."""
    return f"/threads/{run['thread_id']}/runs/{run['id']}"


def settled(http: httpx.Client, run: Json, *statuses: str, seconds: float = 60.0) -> Json:
    """Wait until a run has one of these statuses (by default any in which it stays by itself)."""
    wanted = statuses or ("completed", "failed", "incomplete", "expired", "cancelled", "requires_action")
    deadline = time.monotonic() + seconds
    while True:
        run = fetched(http, run_path(run))
        if run["status"] in wanted:
            return run
        assert time.monotonic() < deadline, f"the run stayed {run['status']}, wanted {wanted}"
        time.sleep(0.02)


def posted(http: httpx.Client, path: str, body: Json | None = None) -> Json:
    """The answer to a POST that must be good."""
    return _good(http.post(path, json={} if body is None else body))


def fetched(http: httpx.Client, path: str, **query: Any) -> Json:
    """The answer to a GET that must be good."""
    return _good(http.get(path, params=query))


def _good(answer: httpx.Response) -> Json:
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def refused(answer: httpx.Response, status: int, message: str | None = None, **fields: Any) -> Json:
    """An error of the platform's envelope; ``message`` is what its text must hold."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    (error,) = answer.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert message is None or message in error["message"], error
    assert {name: error[name] for name in fields} == fields
    found: Json = error
    return found


def events_of(answer: httpx.Response) -> list[tuple[str, Any]]:
    """The (event, data) pairs of a finished stream."""
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            data = fields["data"]
            found.append((fields["event"], data if data == "[DONE]" else json.loads(data)))
    return found
