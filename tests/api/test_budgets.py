"""Budgets: what projects and the organization may spend in a month, whoever asks, in whatever way, by any server."""

import base64
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.builders import Json, a_run, a_thread, an_assistant, fetched, posted, settled
from tests.crowd import Crowd, ask
from tests.leaving import leaves, until
from tests.organization import PROJECTS, a_project, admin_of, an_account, refused
from tests.pictures import png
from tests.postbox import Postbox, text_of
from tests.postgres import fresh_database
from tests.replies import Breaks, Calls, Fails, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_store

PRICES = """
[[prices]]
model = "gpt-4o"
input = 100.0
output = 1000.0

[[prices]]
model = "file_search"
call = 0.05
"""
"""A tenth of a cent a token of an answer: a budget of dollars is spent in seconds."""

LIMIT: Json = {"currency": "USD", "interval": "month"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def priced(
    request: pytest.FixtureRequest, _upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Everloom]:
    """A server whose upstream's answers cost something."""
    folder = tmp_path_factory.mktemp("priced")
    (folder / "everloom.toml").write_text(PRICES)
    settings: dict[str, Any] = {"default_prices": "false", "embedding_model": "scripted"}
    if request.param == "postgres":
        settings["database"] = fresh_database()
    with Everloom(folder, upstream=_upstream.url, **settings) as server:
        yield server


@pytest.fixture
def admin(priced: Everloom, upstream: ScriptedUpstream) -> Iterator[httpx.Client]:
    with admin_of(priced) as client:
        yield client


def limited(admin: httpx.Client, cents: int) -> tuple[Json, str]:
    """A project with a budget, and a key of it."""
    project = a_project(admin)
    posted(admin, f"{PROJECTS}/{project['id']}/spend_limit", LIMIT | {"threshold_amount": cents})
    return project, an_account(admin, project)["api_key"]["value"]


def spent(admin: httpx.Client, project: str) -> float:
    """US dollars of this month, by the costs."""
    begin = time.strftime("%Y-%m-01", time.gmtime())
    start = int(time.mktime(time.strptime(begin, "%Y-%m-%d")) - time.timezone)
    page = fetched(admin, "/organization/costs", start_time=start, project_ids=project, limit=60)
    results = [result for bucket in page["data"] for result in bucket["results"]]
    return sum(float(result["amount"]["value"]) for result in results)


def test_a_project_that_has_spent_its_budget_is_refused(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    project, key = limited(admin, 1)
    upstream.script(Says("one two three four five six seven eight nine ten", prompt_tokens=10))
    with client_of(priced, key) as http:
        assert http.post("/chat/completions", json=ask("Hello!")).status_code == 200
        answer = http.post("/chat/completions", json=ask("Hello!"))
        text = refused(answer, 429, "project_spend_limit_exceeded")
        assert "spend limit of $0.01" in text
        assert answer.json()["error"]["type"] == "insufficient_quota"
        assert answer.headers["x-should-retry"] == "false"
        run = settled(http, a_run(http, a_thread(http, "Hi"), an_assistant(http, model="gpt-4o")))
        assert run["status"] == "failed"
        assert run["last_error"]["code"] == "rate_limit_exceeded"
        assert "spend limit" in run["last_error"]["message"]
        # What costs nothing is answered all the same.
        assert http.post("/chat/completions", json=ask("Hello!", model="gpt-4-turbo")).status_code == 200
    shown = fetched(admin, f"{PROJECTS}/{project['id']}/spend_limit")
    assert shown["enforcement"] == {"status": "enforcing"}
    assert spent(admin, project["id"]) == pytest.approx(0.011)


def test_a_raised_limit_lets_in_again(priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream) -> None:
    project, key = limited(admin, 1)
    upstream.script(Says("word " * 20, prompt_tokens=10))
    with client_of(priced, key) as http:
        assert http.post("/chat/completions", json=ask("Hello!")).status_code == 200
        assert http.post("/chat/completions", json=ask("Hello!")).status_code == 429
        posted(admin, f"{PROJECTS}/{project['id']}/spend_limit", LIMIT | {"threshold_amount": 100})
        assert http.post("/chat/completions", json=ask("Hello!")).status_code == 200


def test_a_budget_counts_what_was_spent_before_there_was_one(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    project = a_project(admin)
    key = an_account(admin, project)["api_key"]["value"]
    upstream.script(Says("word " * 20, prompt_tokens=10))
    with client_of(priced, key) as http:
        assert http.post("/chat/completions", json=ask("Hello!")).status_code == 200
        time.sleep(0.2)
        posted(admin, f"{PROJECTS}/{project['id']}/spend_limit", LIMIT | {"threshold_amount": 1})
        refused(http.post("/chat/completions", json=ask("Hello!")), 429, "project_spend_limit_exceeded")


def test_a_request_waits_for_what_others_have_reserved(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    """Sixteen at once that would each take all of the budget at worst, and a hundredth of it in truth: none is
    refused.
    """
    _, key = limited(admin, 200)
    upstream.rule(lambda body: Slow(0.02, Says("one two three", prompt_tokens=10)))
    left = [16]

    def served() -> bool:
        left[0] -= 1
        return left[0] < 0

    crowd = Crowd([priced.url], [key], clients=16, ways=("plain",), body=ask("Hello!", max_tokens=1900))
    crowd.run(served)
    assert sum(crowd.answered.values()) == 16
    assert not crowd.refused


def test_three_servers_together_keep_a_budget(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """64 clients of each, whole, streamed and left in the middle: no more is spent than one request a key too much."""
    (tmp_path / "everloom.toml").write_text(PRICES)
    settings = {"upstream": upstream.url, "database": fresh_database()}
    upstream.rule(lambda body: Slow(0.005, Says("one two three four five six", prompt_tokens=20)))
    with ExitStack() as stack:
        servers = [stack.enter_context(Everloom(tmp_path, **settings))]
        more = [Everloom(tmp_path, arguments=("--no-worker",), **settings) for _ in range(2)]
        servers += [stack.enter_context(server) for server in more]
        admin = stack.enter_context(admin_of(servers[0]))
        project, key = limited(admin, 500)
        end = time.monotonic() + 60
        crowd = Crowd([server.url for server in servers], [key], clients=192)
        crowd.run(lambda: time.monotonic() > end)
        time.sleep(0.5)
        dearest, cost = 0.1 * 0.02 + 1024 * 0.001, spent(admin, project["id"])
    assert set(crowd.refused) == {"project_spend_limit_exceeded"}
    assert not crowd.others
    assert 5.0 <= cost <= 5.0 + dearest, (cost, crowd)
    counted = sum(0.02 * 0.1 + 0.006 for _ in upstream.requests)
    assert cost <= counted * 1.5, (cost, counted)


def test_the_organization_has_a_budget_of_its_own(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    (tmp_path / "everloom.toml").write_text(PRICES)
    upstream.rule(lambda body: Says("word " * 20, prompt_tokens=10))
    with Everloom(tmp_path, upstream=upstream.url) as server, admin_of(server) as admin, client_of(server) as http:
        posted(admin, "/organization/spend_limit", LIMIT | {"threshold_amount": 5})
        while (answer := http.post("/chat/completions", json=ask("Hello!"))).status_code == 200:
            assert len(upstream.requests) < 10
        refused(answer, 429, "organization_spend_limit_exceeded")
        assert len(upstream.requests) == 3


def test_a_run_pays_for_its_searches_and_ends_where_its_budget_does(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    project = a_project(admin)
    key = an_account(admin, project)["api_key"]["value"]
    upstream.rule(lambda body: Calls(("file_search", {"query": "boats"}), prompt_tokens=10))
    with client_of(priced, key) as http:
        store = a_store(http, "The harbour holds many boats in summer.")
        resources = {"file_search": {"vector_store_ids": [store["id"]]}}
        assistant = an_assistant(http, model="gpt-4o", tools=[{"type": "file_search"}], tool_resources=resources)
        posted(admin, f"{PROJECTS}/{project['id']}/spend_limit", LIMIT | {"threshold_amount": 20})
        run = settled(http, a_run(http, a_thread(http, "Boats?"), assistant))
    assert run["status"] == "failed"
    assert run["last_error"]["code"] == "rate_limit_exceeded"
    assert "spend limit of $0.20" in run["last_error"]["message"]
    searches = len(upstream.requests)
    assert 3 <= searches <= 4  # Five cents each, and a little for the tokens.
    assert run["usage"]["total_tokens"] > 0
    assert 0.15 < spent(admin, project["id"]) < 0.26


@pytest.mark.parametrize("name", ["m" * 257, "\u200b" * 3000, "gpt-4o\n"])
def test_a_name_that_no_model_has_is_kept_nowhere(priced: Everloom, admin: httpx.Client, name: str) -> None:
    _, key = limited(admin, 100)
    with client_of(priced, key) as http:
        answer = http.post("/chat/completions", json=ask("Hello!", model=name))
        refused(answer, 404, "model_not_found")
        assert len(answer.content) < 2000


def test_no_call_of_an_answer_goes_beyond_the_budget(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    project, key = limited(admin, 20)
    upstream.rule(lambda body: Calls(*[("file_search", {"query": "boats"})] * 30, prompt_tokens=10))
    with client_of(priced, key) as http:
        store = a_store(http, "The harbour holds many boats in summer.")
        resources = {"file_search": {"vector_store_ids": [store["id"]]}}
        assistant = an_assistant(http, model="gpt-4o", tools=[{"type": "file_search"}], tool_resources=resources)
        run = settled(http, a_run(http, a_thread(http, "Boats?"), assistant, max_completion_tokens=50))
    assert run["status"] == "failed"
    assert run["last_error"]["code"] == "rate_limit_exceeded"
    assert "spend limit of $0.20" in run["last_error"]["message"]
    assert 0.15 < spent(admin, project["id"]) <= 0.25


def test_an_alert_is_mailed_once_however_many_servers_see_it(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    (tmp_path / "everloom.toml").write_text(PRICES)
    upstream.rule(lambda body: Says("one two three", prompt_tokens=10))
    with Postbox() as box, ExitStack() as stack:
        mail = {"smtp_url": f"smtp://127.0.0.1:{box.port}?starttls=never", "mail_from": "everloom@example.org"}
        settings = {"upstream": upstream.url, "database": fresh_database(), **mail}
        servers = [stack.enter_context(Everloom(tmp_path, **settings)) for _ in range(2)]
        admin = stack.enter_context(admin_of(servers[0]))
        project = a_project(admin)
        key = an_account(admin, project)["api_key"]["value"]
        for path, cents, prefix in (
            (f"{PROJECTS}/{project['id']}/spend_alerts", 5, "Team"),
            ("/organization/spend_alerts", 8, "All"),
            ("/organization/spend_alerts", 1_000_000, "Never"),
        ):
            channel = {"type": "email", "recipients": ["finance@example.org"], "subject_prefix": prefix}
            posted(admin, path, LIMIT | {"threshold_amount": cents, "notification_channel": channel})
        end = time.monotonic() + 4
        crowd = Crowd([server.url for server in servers], [key], clients=16, ways=("plain",))
        crowd.run(lambda: time.monotonic() > end)
        mails = box.wait(2)
        time.sleep(2)
        assert not crowd.refused
        subjects = sorted(mail["Subject"] for mail in box.mails)
    assert subjects[0] == "All Your organization has spent $0.08 this month"
    assert subjects[1].startswith("Team Project ")
    assert len(subjects) == 2
    assert "has spent $" in text_of(mails[0])


def test_pictures_that_are_paid_by_the_token_are_refused_too(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    cost = {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}
    answer = {"created": 1, "data": [{"b64_json": base64.b64encode(png()).decode()}], "usage": cost}
    upstream.serve("/images/generations", lambda request: web.json_response(answer))
    _, key = limited(admin, 1)
    asked = {"model": "gpt-4o", "prompt": "A cat", "response_format": "b64_json"}
    with client_of(priced, key) as http:
        assert http.post("/images/generations", json=asked).status_code == 200
        refused(http.post("/images/generations", json=asked), 429, "project_spend_limit_exceeded")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_leaves_before_the_answer_pays_what_was_reserved(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream, stream: bool
) -> None:
    """Nobody will tell what the model has done by then; it may have been all that it was allowed."""
    project, key = limited(admin, 5)
    upstream.rule(lambda body: Hangs())
    asked = ask("Hello!", max_tokens=20, stream=stream)
    with client_of(priced, key) as http:

        def asks_and_leaves(nth: int) -> None:
            leaves(http, "/chat/completions", lambda: len(upstream.requests) == nth, json=asked)
            until(lambda: spent(admin, project["id"]) >= 0.02 * nth)

        for nth in (1, 2, 3):
            asks_and_leaves(nth)
        refused(http.post("/chat/completions", json=asked), 429, "project_spend_limit_exceeded")
    assert len(upstream.requests) == 3


def test_an_attempt_that_broke_off_is_paid_for_as_reserved(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    """What the upstream counts of it nobody will tell; an error that it answers has cost nothing."""
    project = a_project(admin)
    answer = Says("one two three", prompt_tokens=10)
    with client_of(priced, an_account(admin, project)["api_key"]["value"]) as http:
        upstream.script(Fails(500), answer)
        assert http.post("/chat/completions", json=ask("Hello!", max_tokens=20)).status_code == 200
        until(lambda: spent(admin, project["id"]) == pytest.approx(0.004))
        upstream.script(Breaks(seconds=0.5), answer)
        assert http.post("/chat/completions", json=ask("Hello!", max_tokens=20)).status_code == 200
    until(lambda: spent(admin, project["id"]) >= 0.004 * 2 + 0.02)
    asked = {"start_time": int(time.time()) - 86_400, "project_ids": project["id"]}
    buckets = fetched(admin, "/organization/usage/completions", **asked)["data"]
    assert sum(result["num_model_requests"] for bucket in buckets for result in bucket["results"]) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_nobody_has_counted_costs_no_more_than_was_allowed(
    priced: Everloom, admin: httpx.Client, upstream: ScriptedUpstream, *, stream: bool
) -> None:
    project, key = limited(admin, 500)
    upstream.rule(lambda body: Breaks(1, Says("x" * 100_000 + " y")))
    with client_of(priced, key) as http:
        answer = http.post("/chat/completions", json=ask("Hello!", max_tokens=7, stream=stream))
        assert answer.status_code == (200 if stream else 502)
    until(lambda: spent(admin, project["id"]) > 0)
    assert spent(admin, project["id"]) <= 8 * (7 * 0.001 + 20 * 0.0001)  # As often as it was asked.
