"""Spend limits of projects and of the organization, held against what the ledger says has been spent this month."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.builders import Json, fetched, posted
from tests.organization import PROJECTS, a_project, admin_of, an_account, refused
from tests.replies import Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

ORGANIZATION = "/organization/spend_limit"


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client
        client.delete(ORGANIZATION)


@pytest.fixture(params=["project", "organization"])
def place(request: pytest.FixtureRequest, admin: httpx.Client) -> tuple[str, str]:
    """Where a limit is, and what it is called."""
    if request.param == "organization":
        return ORGANIZATION, "organization.spend_limit"
    return f"{PROJECTS}/{a_project(admin)['id']}/spend_limit", "project.spend_limit"


def asked(cents: object) -> Json:
    return {"threshold_amount": cents, "currency": "USD", "interval": "month"}


def test_a_limit_is_set_replaced_shown_and_taken_away(admin: httpx.Client, place: tuple[str, str]) -> None:
    path, object = place
    whose = "The organization" if path == ORGANIZATION else "The project proj_"
    for answer in (admin.get(path), admin.delete(path)):
        text = refused(answer, 404, "spend_limit_not_found")
        assert text.startswith(whose)
        assert text.endswith(" has no spend limit.")
    for cents in (10_000_000, 9_000_000, 10**12):  # Others have spent something of the organization's.
        shown = {"object": object, **asked(cents), "enforcement": {"status": "inactive"}}
        assert posted(admin, path, asked(cents)) == shown
        assert fetched(admin, path) == shown
    assert admin.delete(path).json() == {"object": f"{object}.deleted", "deleted": True}
    refused(admin.get(path), 404)
    refused(admin.delete(path), 404)


def test_what_can_be_no_limit_changes_nothing(admin: httpx.Client, place: tuple[str, str]) -> None:
    path, _ = place
    stands = posted(admin, path, asked(500))
    for cents in (0, -1, 1.5, "100", True, None, 10**12 + 1, 10**30, [1]):
        assert "threshold_amount" in refused(admin.post(path, json=asked(cents)), 400)
    for name in ("threshold_amount", "currency", "interval"):
        without = {key: value for key, value in asked(1).items() if key != name}
        assert name in refused(admin.post(path, json=without), 400, "missing_required_parameter")
    for wrong in ({"currency": "EUR"}, {"currency": "usd"}, {"interval": "day"}):
        refused(admin.post(path, json=asked(1) | wrong), 400, "invalid_value")
    refused(admin.post(path, json=asked(1) | {"more": 1}), 400, "unknown_parameter")
    refused(admin.post(path, content=b"[1]"), 400)
    assert fetched(admin, path) == stands


def test_limits_of_nothing_and_of_what_is_closed(admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}/spend_limit"
    posted(admin, path, asked(5))
    posted(admin, ORGANIZATION, asked(6))
    posted(admin, f"{PROJECTS}/{project['id']}/archive")
    for answer in (admin.get(path), admin.post(path, json=asked(1)), admin.delete(path)):
        refused(answer, 400, "project_archived")
    for nothing in ("proj_nothing", "org-everloom"):
        path = f"{PROJECTS}/{nothing}/spend_limit"
        for answer in (admin.get(path), admin.post(path, json=asked(1)), admin.delete(path)):
            text = refused(answer, 404)
            assert "spend limit" not in text
    assert fetched(admin, ORGANIZATION)["threshold_amount"] == 6


def test_many_who_set_the_first_limit_at_once_are_all_answered(admin: httpx.Client) -> None:
    path = f"{PROJECTS}/{a_project(admin)['id']}"
    with ThreadPoolExecutor(8) as pool:
        limits = list(pool.map(lambda cents: admin.post(f"{path}/spend_limit", json=asked(cents)), range(1, 9)))
        rates = list(
            pool.map(
                lambda number: admin.post(f"{path}/rate_limits/rl-gpt-4o", json={f"max_requests_per_1_{number}": 4}),
                ("minute", "day"),
            )
        )
    assert {answer.status_code for answer in (*limits, *rates)} == {200}
    assert fetched(admin, f"{path}/spend_limit")["threshold_amount"] in range(1, 9)
    (limit,) = [each for each in fetched(admin, f"{path}/rate_limits")["data"] if each["model"] == "gpt-4o"]
    assert (limit["max_requests_per_1_minute"], limit["max_requests_per_1_day"]) == (4, 4)


def test_a_limit_that_has_been_reached_is_enforcing(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    (tmp_path / "everloom.toml").write_text('[[prices]]\nmodel = "*"\ninput = 100\n')
    with Everloom(tmp_path, upstream=upstream.url) as server, admin_of(server) as admin:
        project, other = a_project(admin), a_project(admin)
        key = an_account(admin, project)["api_key"]["value"]
        paths = {each["id"]: f"{PROJECTS}/{each['id']}/spend_limit" for each in (project, other)}
        for path in (*paths.values(), ORGANIZATION):
            assert posted(admin, path, asked(10))["enforcement"]["status"] == "inactive"
        with client_of(server, key) as http:
            upstream.script(Says("Hi.", prompt_tokens=1000))  # ten cents
            posted(http, "/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]})
        deadline = time.monotonic() + 60
        while fetched(admin, ORGANIZATION)["enforcement"]["status"] == "inactive":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert fetched(admin, paths[project["id"]])["enforcement"]["status"] == "enforcing"
        assert fetched(admin, paths[other["id"]])["enforcement"]["status"] == "inactive"
        assert posted(admin, paths[project["id"]], asked(11))["enforcement"]["status"] == "inactive"


def all_budgets(admin: httpx.Client) -> Iterator[Json]:
    query: Json = {"limit": 100}
    while True:
        page = fetched(admin, "/organization/budgets", **query)
        yield from page["data"]
        if not page["has_more"]:
            return
        query["after"] = page["last_id"]


def test_budgets_say_what_was_spent_beside_what_may_be(
    each_server: Everloom, admin: httpx.Client, upstream: ScriptedUpstream
) -> None:
    project, other = a_project(admin), a_project(admin)
    key = an_account(admin, project)["api_key"]["value"]
    before = fetched(admin, "/organization/budget")
    assert before["threshold_amount"] is None
    posted(admin, ORGANIZATION, asked(10**11))
    posted(admin, f"{PROJECTS}/{project['id']}/spend_limit", asked(1))
    upstream.script(Says("yes"))
    with client_of(each_server, key) as http:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi " * 100}]}
        assert http.post("/chat/completions", json=body).status_code == 200
    deadline = time.monotonic() + 60
    while True:  # The ledger is written behind the answer.
        budgets = {each["id"]: each for each in all_budgets(admin)}
        if budgets[project["id"]]["spent_amount"] or time.monotonic() > deadline:
            break
    mine = budgets[project["id"]]
    assert (mine["name"], mine["threshold_amount"], mine["currency"]) == (project["name"], 1, "USD")
    assert mine["spent_amount"] > 0
    assert mine["enforcement"] == {"status": "enforcing" if mine["spent_amount"] >= 1 else "inactive"}
    assert (budgets[other["id"]]["spent_amount"], budgets[other["id"]]["threshold_amount"]) == (0, None)
    whole = fetched(admin, "/organization/budget")
    assert whole["threshold_amount"] == 10**11
    assert whole["spent_amount"] >= before["spent_amount"] + mine["spent_amount"] - 0.001
    page = fetched(admin, "/organization/budgets", limit=1)
    assert (len(page["data"]), page["has_more"], page["first_id"]) == (1, True, page["data"][0]["id"])
    behind = fetched(admin, "/organization/budgets", limit=1, after=page["last_id"])
    assert behind["data"][0]["id"] != page["last_id"]
