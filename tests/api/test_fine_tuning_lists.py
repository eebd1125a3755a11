"""Lists of fine-tuning: jobs by their metadata, and pages of what is told of a job, on both databases."""

import uuid
from typing import Any

import httpx
import pytest

from tests.builders import Json, refused
from tests.fine_tuning import a_job, a_training_file, until
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of


@pytest.fixture
def http(each_server: Everloom, upstream: ScriptedUpstream) -> Any:
    """A client of a project of its own."""
    key = each_server.command("keys", "create", "--project", f"tuning {uuid.uuid4()}").strip()
    with client_of(each_server, key, beta=None) as client:
        yield client


def listed(http: httpx.Client, path: str = "/fine_tuning/jobs", **query: Any) -> Json:
    answer = http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    page: Json = answer.json()
    assert page["object"] == "list"
    return page


def ids(page: Json) -> list[str]:
    return [each["id"] for each in page["data"]]


def test_jobs_are_found_by_their_metadata(http: httpx.Client) -> None:
    file = a_training_file(http)
    given: list[Json | None] = [{"team": "a", "run": "1"}, {"team": "b"}, None, {"team": "a", "run": "2"}, {}]
    made = [until(http, a_job(http, file, metadata=metadata))["id"] for metadata in given]
    assert ids(listed(http)) == made[::-1]
    assert ids(listed(http, **{"metadata[team]": "a"})) == [made[3], made[0]]
    assert ids(listed(http, **{"metadata[team]": "a", "metadata[run]": "1"})) == [made[0]]
    assert ids(listed(http, **{"metadata[team]": "c"})) == []
    assert ids(listed(http, metadata="null")) == [made[4], made[2]]
    page = listed(http, **{"metadata[team]": "a", "limit": 1})
    assert (ids(page), page["has_more"]) == ([made[3]], True)
    page = listed(http, **{"metadata[team]": "a", "limit": 1, "after": made[3]})
    assert (ids(page), page["has_more"]) == ([made[0]], False)
    page = listed(http, metadata="null", after=made[4])
    assert (ids(page), page["has_more"]) == ([made[2]], False)
    refused(http.get("/fine_tuning/jobs", params={"metadata": "team"}), 400, param="metadata")
    refused(http.get("/fine_tuning/jobs", params={"metadata[team": "a"}), 400)


def test_pages_of_jobs_and_cursors_that_are_none(http: httpx.Client) -> None:
    file = a_training_file(http)
    made = [a_job(http, file)["id"] for _ in range(3)]
    page = listed(http, limit=2)
    assert (ids(page), page["has_more"]) == (made[:0:-1], True)
    page = listed(http, limit=2, after=made[1])
    assert (ids(page), page["has_more"]) == ([made[0]], False)
    jobs = "/fine_tuning/jobs"
    refused(http.get(jobs, params={"after": "ftjob-nobody"}), 400, "Could not find fine tune", param="after")
    for place in (jobs, f"{jobs}/{made[0]}/events", f"{jobs}/{made[0]}/checkpoints"):
        for limit in ("0", "101", "many"):
            refused(http.get(place, params={"limit": limit}), 400, param="limit")
    for place in ("events", "checkpoints"):
        refused(http.get(f"{jobs}/{made[0]}/{place}", params={"after": "nobody"}), 400, param="after")
        refused(http.get(f"{jobs}/ftjob-nobody/{place}"), 404, "Could not find fine tune: ftjob-nobody")
    for id in made:
        until(http, {"id": id})


def test_events_come_newest_first_and_keep_their_order(http: httpx.Client) -> None:
    job = until(http, a_job(http))
    path = f"/fine_tuning/jobs/{job['id']}/events"
    whole = listed(http, path, limit=100)
    assert whole["has_more"] is False
    assert len({event["created_at"] for event in whole["data"]}) < len(whole["data"])  # many share a second
    assert [event["created_at"] for event in whole["data"]] == sorted(
        (event["created_at"] for event in whole["data"]), reverse=True
    )
    messages = [event["message"] for event in whole["data"]]
    model = f"New fine-tuned model created: {job['fine_tuned_model']}"
    assert messages[:2] == ["The job has successfully completed", model]
    assert messages[-1] == f"Created fine-tuning job: {job['id']}"
    steps = [event["data"]["step"] for event in whole["data"] if event["type"] == "metrics"]
    assert steps == sorted(steps, reverse=True)
    assert {event["data"] is None for event in whole["data"] if event["type"] == "message"} == {True}
    assert {event["fine_tuning_job_id"] for event in whole["data"]} == {job["id"]}
    found: list[str] = []
    query: Json = {"limit": 3}
    while (page := listed(http, path, **query))["has_more"]:
        assert len(page["data"]) == 3
        found += ids(page)
        query["after"] = found[-1]
    assert found + ids(page) == ids(whole)
    made = listed(http, f"/fine_tuning/jobs/{job['id']}/checkpoints", limit=1)
    assert made["has_more"] is True
    assert made["data"][0]["fine_tuned_model_checkpoint"] == job["fine_tuned_model"]


def test_the_header_of_older_assistants_changes_nothing(http: httpx.Client) -> None:
    job = until(http, a_job(http))
    for path in ("", f"/{job['id']}", f"/{job['id']}/events", f"/{job['id']}/checkpoints"):
        plain = http.get(f"/fine_tuning/jobs{path}")
        older = http.get(f"/fine_tuning/jobs{path}", headers={"openai-beta": "assistants=v1"})
        assert (older.status_code, older.text) == (plain.status_code, plain.text) == (200, plain.text)
