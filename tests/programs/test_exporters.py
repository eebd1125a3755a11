"""What exporters and scripts that watch spending ask of usage and costs, as their source has it.

- openai-exporter 0.0.9 (foxdalas/openai-exporter, a Prometheus exporter): its requests, its reading of answers.
- The usage notebook of OpenAI's cookbook (``completions_usage_api.ipynb``).
- LiteLLM's spend capture rate, and the habits of smaller scripts: ``QUERIES``.

Datadog's, Grafana's and Vantage's own integrations are not public; by their documents they ask the same two paths.
"""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.builders import Json, posted
from tests.organization import a_name, admin_of
from tests.replies import Says
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of

DAY = 86_400
ASK: Json = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}


class Watched:
    """A project that has asked a model and made an embedding, and the organization's client."""

    def __init__(self, admin: httpx.Client, project: str, account: Json, began: int) -> None:
        self.admin = admin
        self.project = project
        self.account = account
        self.began = began

    def get(self, path: str, **headers: str) -> Json:
        """An answer that must be a good one. The path with its query goes out as it is written here."""
        answer = self.admin.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found


@pytest.fixture
def watched(each_server: Everloom, upstream: ScriptedUpstream) -> Iterator[Watched]:
    began = int(time.time()) // 60 * 60
    upstream.script(Says("one two three", prompt_tokens=1000))
    with admin_of(each_server) as admin:
        project = posted(admin, "/organization/projects", {"name": a_name("watched")})["id"]
        account = posted(admin, f"/organization/projects/{project}/service_accounts", {"name": "robot"})
        with client_of(each_server, account["api_key"]["value"]) as robot:
            posted(robot, "/chat/completions", ASK)
            posted(robot, "/embeddings", {"model": "scripted", "input": "one two three"})
        found = Watched(admin, project, account, began)
        end = time.monotonic() + 60
        while not all(_results(found.get(_asked(kind, found))) for kind in ("completions", "embeddings")):
            assert time.monotonic() < end
        yield found


def _asked(kind: str, watched: Watched) -> str:
    return f"/organization/usage/{kind}?start_time={watched.began}&project_ids={watched.project}"


def _results(page: Json) -> list[Json]:
    return [result for bucket in page["data"] for result in bucket["results"]]


# --- openai-exporter -------------------------------------------------------------------------------------------------

KINDS = (
    *("completions", "embeddings", "moderations", "images", "audio_speeches", "audio_transcriptions"),
    "vector_stores",
)
TOKENS = ("input_tokens", "output_tokens", "input_cached_tokens", "input_audio_tokens", "output_audio_tokens")


def scraped(watched: Watched, kind: str, start: int, end: int) -> list[Json]:
    """All results of a kind between two moments, read as its structs do: what is absent is zero or empty."""
    found, page = [], ""
    while True:
        query = f"start_time={start}&end_time={end}&bucket_width=1m&limit=1440"
        query += "&group_by=project_id,user_id,api_key_id,model,batch"
        answer = watched.get(f"/organization/usage/{kind}?{query}{page}")
        for bucket in answer["data"]:
            assert type(bucket["start_time"]) is type(bucket["end_time"]) is int
            for result in bucket["results"]:
                assert all(type(result.get(name, 0)) is int for name in (*TOKENS, "num_model_requests"))
                texts = ("project_id", "user_id", "api_key_id", "model")
                assert all(isinstance(result.get(name), str | None) for name in texts)
                assert isinstance(result.get("batch"), bool | None)
                found.append(result)
        if not answer["has_more"]:
            return found
        page = f"&page={answer['next_page']}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_exporter_scrapes_a_kind(watched: Watched, kind: str) -> None:
    now = int(time.time())
    scraped(watched, kind, now // 60 * 60 - 60, now // 60 * 60)  # as it does each minute
    mine = [each for each in scraped(watched, kind, now - 3 * DAY, now + 60) if each["project_id"] == watched.project]
    if kind == "completions":
        (told,) = mine
        assert {name: told[name] for name in TOKENS} == dict.fromkeys(TOKENS, 0) | {
            "input_tokens": 1000,
            "output_tokens": 3,
        }
        assert (told["model"], told["batch"], told["user_id"]) == ("gpt-4o", False, watched.account["id"])
        # The names that it puts beside ids.
        project, key = told["project_id"], told["api_key_id"]
        assert watched.get(f"/organization/projects/{project}")["name"].startswith("watched ")
        assert watched.get(f"/organization/projects/{project}/api_keys/{key}")["name"]
        assert watched.admin.get(f"/organization/api_keys/{key}").status_code == 404  # it passes that over
    elif kind == "embeddings":
        assert [(each["model"], each["num_model_requests"]) for each in mine] == [("scripted", 1)]
    else:
        assert mine == []


def test_the_exporter_reads_costs(watched: Watched) -> None:
    start = int(time.time()) // 60 * 60 - 60
    path = f"/organization/costs?start_time={start}&end_time={start + 60 + DAY}&group_by=project_id"
    results = [each for each in _results(watched.get(path)) if each["project_id"] == watched.project]
    (told,) = results
    assert float(told["amount"]["value"]) == pytest.approx(0.0025 + 0.00003)
    assert (told["amount"]["currency"], told["line_item"], told["organization_id"]) == ("usd", None, "org-everloom")


# --- the cookbook ----------------------------------------------------------------------------------------------------


def walked(watched: Watched, path: str, params: dict[str, Any]) -> list[Json]:
    """All buckets, by ``requests``: lists as repeated names, the cursor as another parameter."""
    buckets: list[Json] = []
    params = dict(params)
    while True:
        answer = watched.admin.get(path, params=params, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text
        buckets += answer.json()["data"]
        if not (cursor := answer.json().get("next_page")):
            return buckets
        params["page"] = cursor


def test_the_notebook_of_the_cookbook(watched: Watched) -> None:
    start = int(time.time()) - 30 * DAY
    usage = "/organization/usage/completions"
    buckets = walked(watched, usage, {"start_time": start, "bucket_width": "1d", "limit": 7})
    assert len(buckets) in (31, 32)
    assert all(before["end_time"] == after["start_time"] for before, after in pairwise(buckets))
    grouped = {"start_time": start, "bucket_width": "1d", "group_by": ["model", "project_id"], "limit": 7}
    results = [each for bucket in walked(watched, usage, grouped) for each in bucket["results"]]
    assert ("gpt-4o", watched.project) in {(each["model"], each["project_id"]) for each in results}
    costs = {"start_time": start, "bucket_width": "1d", "limit": 30, "group_by": ["line_item"]}
    spent = [each for bucket in walked(watched, "/organization/costs", costs) for each in bucket["results"]]
    assert {"gpt-4o, input", "gpt-4o, output"} <= {each["line_item"] for each in spent}


# --- how others write it ---------------------------------------------------------------------------------------------

QUERIES = [
    # LiteLLM: closed days up to now, one or several projects.
    "costs?start_time={week}&end_time={midnight}&bucket_width=1d&limit=180&project_ids={project}&project_ids=proj_b",
    # Spend of the month, to now, to the end of today, to no end.
    "costs?start_time={month}&bucket_width=1d&limit=31",
    "costs?start_time={month}&end_time={now}&bucket_width=1d&limit=31",
    "costs?start_time={month}&end_time={tonight}&bucket_width=1d&limit=180",
    "costs?start_time={month}&limit=35&project_ids={project}",
    # Lists with brackets, plain and encoded, and as one text.
    "costs?start_time={week}&limit=31&project_ids[]={project}&group_by[]=line_item&group_by[]=project_id",
    "costs?start_time={week}&project_ids%5B%5D={project}&group_by%5B%5D=line_item&group_by%5B%5D=api_key_id",
    "costs?start_time={week}&group_by=project_id%2Cline_item&page=",
    "usage/completions?start_time={week}&bucket_width=1d&limit=31&group_by[]=model",
    "usage/completions?start_time={week}&bucket_width=1h&limit=168&group_by=model&group_by=service_tier",
    "usage/completions?start_time={week}&end_time={now}&limit=31&models=gpt-4o&models=gpt-4o-mini&batch=false",
    "usage/completions?start_time={week}&bucket_width=1d&user_ids={account}&api_key_ids={key}",
    "usage/images?start_time={week}&group_by=size&group_by=source&sources=image.generation&sizes=1024x1024",
    "usage/vector_stores?start_time={week}&group_by=project_id",
    "usage/code_interpreter_sessions?start_time={week}&bucket_width=1m&limit=60",
    "usage/file_search_calls?start_time={week}&group_by=api_key_id&group_by=project_id",
    "usage/web_search_calls?start_time={week}&group_by=api_key_id&group_by=project_id&group_by=model",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_habit(watched: Watched, query: str) -> None:
    now = int(time.time())
    midnight = now // DAY * DAY
    times = {"now": now, "midnight": midnight, "tonight": midnight + DAY - 1, "week": now - 7 * DAY}
    ids = {"project": watched.project, "account": watched.account["id"], "key": watched.account["api_key"]["id"]}
    path = "/organization/" + query.format(month=midnight - 29 * DAY, **times, **ids)
    headers = {"content-type": "application/json", "openai-organization": "org-everloom"}
    found = watched.get(path, **headers)
    assert found["object"] == "page"
    assert found["data"]
    assert found["has_more"] is (found["next_page"] is not None)


REFUSED = [
    ("costs?limit=31", "Missing required parameter: 'start_time'."),
    ("costs?start_time=1730419200.5", "Invalid type for 'start_time': expected an integer, but got a string instead."),
    ("costs?start_time=2024-11-01", "Invalid type for 'start_time': expected an integer, but got a string instead."),
    ("costs?start_time=1730419200&limit=1000", "Expected a value <= 180, but got 1000 instead."),
    ("costs?start_time=1730419200&group_by[]=model", "Invalid value: 'model'."),
    ("usage/completions?start_time=1730419200&limit=1000", "Expected a value <= 31, but got 1000 instead."),
    ("usage/decisions?start_time=1730419200", "Invalid URL (GET /v1/organization/usage/decisions)"),
]


@pytest.mark.parametrize(("query", "message"), REFUSED)
def test_what_is_refused_is_refused_in_clear_words(server: Everloom, query: str, message: str) -> None:
    """Also for the platform's own newest SDK, which asks for decisions."""
    with client_of(server, ADMIN_KEY, beta=None) as admin:
        answer = admin.get(f"/organization/{query}")
        assert answer.status_code == (404 if "decisions" in query else 400)
        assert message in answer.json()["error"]["message"]
