"""What the log tells of requests and runs, on a terminal and as JSON."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from everloom.work.organization.establishing import DEFAULT_PROJECT
from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, posted, settled
from tests.replies import Calls, Fails, Hangs, Says
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

SECRET = "What nobody is to read in a log"


@pytest.fixture
def talking(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Everloom]:
    aliases = '[aliases]\nmine = "gpt-4o"\n'
    (tmp_path / "settings.toml").write_text(aliases)
    arguments = ("--config", str(tmp_path / "settings.toml"))
    settings = {"upstream": upstream.url, "log_level": "info", "log_format": "json"}
    with Everloom(tmp_path, arguments=arguments, **settings) as server:
        yield server


@pytest.fixture
def http(talking: Everloom) -> Iterator[httpx.Client]:
    with client_of(talking) as client:
        yield client


def line_of(server: Everloom, **fields: object) -> Json:
    """The line with these fields, which comes soon."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines: list[Json] = [json.loads(each) for each in server.output if each.startswith("{")]
        for line in lines:
            if all(line.get(name) == value for name, value in fields.items()):
                return line
        time.sleep(0.02)
    raise AssertionError(f"nothing of {fields} in {''.join(server.output)}")


def ask(http: httpx.Client, **fields: object) -> httpx.Response:
    messages = [{"role": "user", "content": SECRET}]
    return http.post("/chat/completions", json={"model": "mine", "messages": messages, **fields})


def test_a_request_is_told_with_who_asked_and_what_it_cost(
    talking: Everloom, http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    for stream in (False, True):
        upstream.script(Says("Two words", prompt_tokens=11))
        answer = ask(http, stream=stream)
        line = line_of(talking, request_id=answer.headers["x-request-id"])
        assert line["message"] == "POST /v1/chat/completions"
        assert (line["level"], line["status"], line["project_id"]) == ("info", 200, DEFAULT_PROJECT)
        assert line["key_id"].startswith("key_")
        assert line["model"] == "mine -> gpt-4o"
        assert (line["tokens_read"], line["tokens_written"]) == (11, 2)
        assert 0 < line["ms"] < 20_000
    told = "".join(talking.output)
    assert SECRET not in told
    assert API_KEY not in told.partition("ready on")[2]


def test_what_went_wrong_is_told(talking: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    bad = http.post("/assistants", json={})
    line = line_of(talking, request_id=bad.headers["x-request-id"])
    assert (line["level"], line["status"]) == ("info", 400)
    assert "model" in line["error"]
    nobody = http.get("/threads/thread_x?signature=hidden", headers={"authorization": "Bearer sk-nobody"})
    line = line_of(talking, request_id=nobody.headers["x-request-id"])
    assert (line["status"], line["message"]) == (401, "GET /v1/threads/thread_x")
    assert "project_id" not in line
    assert "sk-nobody" not in json.dumps(line)
    upstream.script(*[Fails(500)] * 8)
    failed = ask(http)
    line = line_of(talking, request_id=failed.headers["x-request-id"])
    assert line["level"] == "warning"
    assert line["status"] == failed.status_code >= 500
    assert line["model"] == "mine -> gpt-4o"
    assert any("is tried again" in each for each in talking.output)


def test_a_stream_that_is_left_is_told(talking: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs(2, Says("one two three four")))
    with http.stream(
        "POST",
        "/chat/completions",
        json={"model": "mine", "messages": [{"role": "user", "content": "?"}], "stream": True},
    ) as answer:
        next(answer.iter_bytes())
    assert line_of(talking, request_id=answer.headers["x-request-id"])["status"] == 200


def test_the_end_of_a_run_is_told(talking: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("Sunny.", prompt_tokens=5), Fails(400), Calls(("weather", {})))
    assistant = an_assistant(http, model="mine")
    run = settled(http, a_run(http, assistant=assistant), "completed")
    line = line_of(talking, run_id=run["id"])
    assert line["message"] == "run completed"
    assert line["thread_id"] == run["thread_id"]
    assert (line["assistant_id"], line["project_id"]) == (assistant["id"], DEFAULT_PROJECT)
    assert (line["model"], line["tokens_read"], line["tokens_written"]) == ("mine -> gpt-4o", 5, 1)
    failed = settled(http, a_run(http, assistant=assistant), "failed")
    line = line_of(talking, run_id=failed["id"])
    assert (line["level"], line["message"]) == ("warning", "run failed")
    assert line["error"].startswith("invalid_prompt")
    asking = settled(http, a_run(http, assistant=an_assistant(http, tools=[WEATHER])), "requires_action")
    assert line_of(talking, run_id=asking["id"])["message"] == "run requires_action"
    posted(http, f"/threads/{asking['thread_id']}/runs/{asking['id']}/cancel")
    line_of(talking, run_id=asking["id"], message="run cancelled")


def test_lines_on_a_terminal(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """One line each, whatever a path brings; nothing of what only looks whether the server is there, nor of a page's
    files.
    """
    with Everloom(tmp_path, upstream=upstream.url, log_level="info") as server, client_of(server) as http:
        a_thread(http, SECRET)
        for path in ("/healthz", "/console/"):
            httpx.get(server.url.removesuffix("/v1") + path).raise_for_status()
        http.get("/threads/" + "%0d%0aINFO everything burns%1b[2J" + "x" * 5000)
    told = [line for line in server.output if " everloom.requests: " in line]
    assert len(told) == 2
    assert " INFO everloom.requests: POST /v1/threads status=200 ms=" in told[0]
    assert "\\r\\nINFO everything burns\\x1b" in told[1]
    assert len(told[1]) < 800


def test_what_fails_is_told_where_only_warnings_are(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    settings = {"upstream": upstream.url, "log_level": "warning", "log_format": "json"}
    with Everloom(tmp_path, **settings) as server, client_of(server) as http:
        upstream.script(Says("Sunny."), Fails(400))
        settled(http, a_run(http), "completed")
        failed = settled(http, a_run(http), "failed")
        assert line_of(server, run_id=failed["id"])["level"] == "warning"
    assert sum("everloom.runs" in line for line in server.output) == 1
