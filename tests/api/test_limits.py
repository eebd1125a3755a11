"""Rate limits: how many requests, tokens, images and megabytes models are asked, by project, whoever answers."""

import io
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.builders import Json, a_run, a_thread, an_assistant, posted, settled
from tests.crowd import Crowd, ask
from tests.organization import PROJECTS, a_project, admin_of, an_account, refused
from tests.pictures import drawing
from tests.postgres import fresh_database
from tests.replies import Fails, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_store

LIMIT = "x-ratelimit-limit-requests"


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client


class Team:
    """A project with limits, and its API."""

    def __init__(self, admin: httpx.Client, http: httpx.Client, project: Json) -> None:
        self.admin = admin
        self.http = http
        self.project = project

    def limit(self, model: str = "gpt-4o", **limits: int) -> None:
        posted(self.admin, f"{PROJECTS}/{self.project['id']}/rate_limits/rl-{model}", limits)


@pytest.fixture
def team(each_server: Everloom, admin: httpx.Client) -> Iterator[Team]:
    project = a_project(admin)
    key = an_account(admin, project)["api_key"]["value"]
    with client_of(each_server, key) as http:
        yield Team(admin, http, project)


def test_requests_past_the_limit_are_refused_in_the_platforms_words(team: Team) -> None:
    team.limit(max_requests_per_1_minute=3)
    for remaining in (2, 1, 0):
        answer = team.http.post("/chat/completions", json=ask("Hello!"))
        assert answer.status_code == 200
        assert answer.headers[LIMIT] == "3"
        assert answer.headers["x-ratelimit-remaining-requests"] == str(remaining)
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    answer = team.http.post("/chat/completions", json=ask("Hello!"))
    text = refused(answer, 429, "rate_limit_exceeded")
    assert text.startswith(
        "Rate limit reached for gpt-4o in organization org-everloom on requests per min (RPM): Limit 3, Used 3, "
        "Requested 1. Please try again in "
    )
    assert answer.json()["error"]["type"] == "requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 62
    assert int(answer.headers["retry-after-ms"]) <= 62_000
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


def test_each_model_and_project_has_limits_of_its_own(team: Team, each_server: Everloom) -> None:
    team.limit(max_requests_per_1_minute=1)
    assert team.http.post("/chat/completions", json=ask("Hello!")).status_code == 200
    assert team.http.post("/chat/completions", json=ask("Hello!")).status_code == 429
    assert team.http.post("/chat/completions", json=ask("Hello!", model="gpt-4-turbo")).status_code == 200
    other = an_account(team.admin, a_project(team.admin))["api_key"]["value"]
    with client_of(each_server, other) as http:
        assert http.post("/chat/completions", json=ask("Hello!")).status_code == 200


def test_answers_tell_of_limits_that_there_are_not(team: Team) -> None:
    answer = team.http.post("/chat/completions", json=ask("Hello!"))
    assert answer.headers[LIMIT] == "1000000000"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "999999999"
    assert LIMIT not in team.http.get("/models").headers


def test_streams_tell_of_their_limits_too(team: Team) -> None:
    team.limit(max_tokens_per_1_minute=1000)
    with team.http.stream("POST", "/chat/completions", json=ask("Hello!", stream=True)) as answer:
        assert answer.headers["x-ratelimit-limit-tokens"] == "1000"


def test_tokens_are_reserved_by_estimate_and_settled_by_truth(team: Team, upstream: ScriptedUpstream) -> None:
    team.limit(max_tokens_per_1_minute=1000)
    upstream.script(*(Says("one two three", prompt_tokens=7) for _ in range(2)))
    answer = team.http.post("/chat/completions", json=ask("Hello!", max_tokens=900))
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) <= 100
    deadline = time.monotonic() + 20
    while True:  # What was not used comes back within a moment.
        answer = team.http.post("/chat/completions", json=ask("Hello!", max_tokens=900))
        if answer.status_code == 200:
            break
        assert refused(answer, 429, "rate_limit_exceeded").find("on tokens per min (TPM): Limit 1000") > 0
        assert answer.json()["error"]["type"] == "tokens"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_never_fits_is_refused_as_too_large(team: Team, upstream: ScriptedUpstream) -> None:
    team.limit(max_tokens_per_1_minute=100)
    answer = team.http.post("/chat/completions", json=ask("Hello!", max_tokens=101))
    assert refused(answer, 429, "rate_limit_exceeded").startswith("Request too large for gpt-4o in organization")
    assert answer.headers["x-should-retry"] == "false"
    assert upstream.requests == []


def test_an_answer_that_was_longer_than_thought_counts_whole(team: Team, upstream: ScriptedUpstream) -> None:
    team.limit(max_tokens_per_1_minute=300)
    upstream.script(Says("word " * 290, prompt_tokens=7))
    assert team.http.post("/chat/completions", json=ask("Hello!")).status_code == 200
    deadline = time.monotonic() + 20
    while team.http.post("/chat/completions", json=ask("Hello! " * 20)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_failed_requests_count_as_requests_and_cost_no_tokens(team: Team, upstream: ScriptedUpstream) -> None:
    team.limit(max_requests_per_1_minute=2, max_tokens_per_1_minute=1000)
    upstream.script(Fails(400, {"error": {"message": "No.", "type": "invalid_request_error"}}))
    assert team.http.post("/chat/completions", json=ask("Hello!", max_tokens=900)).status_code == 400
    time.sleep(0.8)
    assert team.http.post("/chat/completions", json=ask("Hello!", max_tokens=900)).status_code == 200
    assert team.http.post("/chat/completions", json=ask("Hello!", max_tokens=9)).status_code == 429


def test_requests_a_day_images_and_audio_are_limited(team: Team, upstream: ScriptedUpstream) -> None:
    team.limit(max_requests_per_1_day=1)
    assert team.http.post("/chat/completions", json=ask("Hello!")).status_code == 200
    text = refused(team.http.post("/chat/completions", json=ask("Hello!")), 429, "rate_limit_exceeded")
    assert "requests per day (RPD): Limit 1, Used 1" in text
    upstream.serve("/images/generations", drawing)
    team.limit("scripted", max_images_per_1_minute=3)
    two: Json = {"model": "scripted", "prompt": "A cat", "n": 2, "response_format": "b64_json"}
    assert team.http.post("/images/generations", json=two).status_code == 200
    text = refused(team.http.post("/images/generations", json=two), 429, "rate_limit_exceeded")
    assert "images per min (IPM): Limit 3, Used 2, Requested 2" in text


def test_limits_take_effect_and_go(team: Team) -> None:
    team.limit(max_requests_per_1_minute=0)
    assert team.http.post("/chat/completions", json=ask("Hello!")).status_code == 429
    team.limit(max_requests_per_1_minute=1_000_000_000)
    _until(lambda: team.http.post("/chat/completions", json=ask("Hello!")).status_code == 200)


def test_a_run_past_the_limit_fails_and_says_why(team: Team) -> None:
    team.limit(max_requests_per_1_minute=0)
    assistant = an_assistant(team.http, model="gpt-4o")
    run = settled(team.http, a_run(team.http, a_thread(team.http, "Hi"), assistant))
    assert run["status"] == "failed"
    assert run["last_error"]["code"] == "rate_limit_exceeded"
    assert "requests per min (RPM): Limit 0" in run["last_error"]["message"]


def _until(true: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_servers_together_keep_a_limit(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """Never more than the limit, and never less than 95 % of it, by 64 clients of two processes."""
    settings = {"upstream": upstream.url, "database": fresh_database()}
    limit = 400
    with Everloom(tmp_path, **settings) as one, Everloom(tmp_path, arguments=("--no-worker",), **settings) as two:
        with admin_of(one) as admin:
            project = a_project(admin)
            keys = [an_account(admin, project)["api_key"]["value"] for _ in range(4)]
            limits = {"max_requests_per_1_minute": limit}
            posted(admin, f"{PROJECTS}/{project['id']}/rate_limits/rl-gpt-4o", limits)
        until = time.monotonic() + 8
        crowd = Crowd([one.url, two.url], keys)
        crowd.run(lambda: time.monotonic() > until, persist=True)
    admitted = sum(crowd.answered.values())
    assert limit * 0.95 <= admitted <= limit, crowd
    assert len(upstream.requests) <= limit
    assert set(crowd.refused) == {"rate_limit_exceeded"}
    assert not crowd.others


def test_a_sound_counts_by_its_size(team: Team, upstream: ScriptedUpstream) -> None:
    team.limit("scripted", max_audio_megabytes_per_1_minute=1)
    sound = _silence(seconds=20)
    assert 500_000 < len(sound) < 1_000_000
    upstream.serve("/audio/transcriptions", lambda request: web.json_response({"text": "Hi."}))
    first = team.http.post("/audio/transcriptions", data={"model": "scripted"}, files={"file": ("a.wav", sound)})
    assert first.status_code == 200
    again = team.http.post("/audio/transcriptions", data={"model": "scripted"}, files={"file": ("a.wav", sound)})
    assert "audio bytes per min: Limit 1000000" in refused(again, 429, "rate_limit_exceeded")


def _silence(seconds: int) -> bytes:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 16_000 * seconds))
    return sound.getvalue()


def test_vector_stores_read_on_whatever_may_be_asked_of_their_model(each_server: Everloom, team: Team) -> None:
    team.limit("scripted", max_requests_per_1_minute=0)
    assert team.http.post("/embeddings", json={"model": "scripted", "input": "Hi"}).status_code == 429
    assert a_store(team.http, "The harbour holds many boats.")["file_counts"]["completed"] == 1
