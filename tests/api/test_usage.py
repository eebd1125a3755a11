"""Usage and costs: what the upstream counted is what the ledger sums, in the buckets that the platform drew."""

import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, fetched, posted, refused, run_path, settled
from tests.leaving import leaves
from tests.organization import a_project, an_account
from tests.pictures import drawing
from tests.replies import Calls, Fails, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of
from tests.spec.spec import needs_spec
from tests.spec.traffic import recorded
from tests.stores import a_store
from tests.weights import default_weights

KINDS = (
    "completions",
    "embeddings",
    "moderations",
    "images",
    "audio_speeches",
    "audio_transcriptions",
    "vector_stores",
    "code_interpreter_sessions",
    "file_search_calls",
    "web_search_calls",
)
DAY = 86_400
ASK: Json = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}


class Team:
    """A project of its own on a server: its API, and what the organization is told of it."""

    def __init__(self, http: httpx.Client, admin: httpx.Client, project: str) -> None:
        self.http = http
        self.admin = admin
        self.project = project

    def used(self, kind: str, **query: Any) -> list[Json]:
        """The results of today's bucket."""
        found = page(self.admin, kind, start_time=midnight(), project_ids=self.project, **query)
        results: list[Json] = [result for bucket in found["data"] for result in bucket["results"]]
        return results

    def waits_for(self, kind: str, requests: int, seconds: float = 60.0) -> Json:
        """The one result of today's bucket, as soon as it has so many requests."""
        deadline = time.monotonic() + seconds
        while True:
            results = self.used(kind)
            if results and results[0].get("num_model_requests", results[0].get("sessions")) >= requests:
                (result,) = results
                return result
            assert time.monotonic() < deadline, results
            time.sleep(0.01)


def midnight() -> int:
    return int(time.time()) // DAY * DAY


def page(admin: httpx.Client, kind: str, **query: Any) -> Json:
    return fetched(admin, "/organization/costs" if kind == "costs" else f"/organization/usage/{kind}", **query)


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server, ADMIN_KEY, beta=None) as client:
        yield client


@pytest.fixture
def team(each_server: Everloom, admin: httpx.Client, upstream: ScriptedUpstream) -> Iterator[Team]:
    """A project that has used nothing yet."""
    project = a_project(admin)
    with client_of(each_server, an_account(admin, project)["api_key"]["value"]) as http:
        yield Team(http, admin, project["id"])


# --- what is counted -----------------------------------------------------------------------------------------------


def test_chat_completions_are_summed_as_the_upstream_counted_them(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.script(*(Says("one two three", prompt_tokens=11) for _ in range(3)), Says("four five", prompt_tokens=7))
    posted(team.http, "/chat/completions", ASK)
    counted = ASK | {"stream": True, "stream_options": {"include_usage": True}}
    assert team.http.post("/chat/completions", json=counted).status_code == 200
    posted(team.http, "/chat/completions", ASK | {"store": True})
    posted(team.http, "/chat/completions", ASK | {"model": "gpt-4-turbo"})
    result = team.waits_for("completions", 4)
    assert (result["input_tokens"], result["output_tokens"]) == (40, 11)
    assert result["object"] == "organization.usage.completions.result"
    assert [result[key] for key in ("project_id", "user_id", "api_key_id", "model", "batch")] == [None] * 5
    by_model = {result["model"]: result for result in team.used("completions", group_by="model")}
    assert {model: result["input_tokens"] for model, result in by_model.items()} == {"gpt-4-turbo": 7, "gpt-4o": 33}
    (only,) = team.used("completions", models="gpt-4-turbo", group_by="project_id,batch")
    assert (only["output_tokens"], only["project_id"], only["batch"]) == (2, team.project, False)
    assert team.used("completions", batch="true") == []
    assert len(team.used("completions", batch="false")) == 1


def test_a_row_stands_in_the_ledger_soon_after_its_request(team: Team, upstream: ScriptedUpstream) -> None:
    posted(team.http, "/chat/completions", ASK)
    team.waits_for("completions", 1, seconds=1)


def test_cached_and_spoken_tokens_are_told(team: Team, upstream: ScriptedUpstream) -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 5},
        "completion_tokens_details": {"audio_tokens": 3},
    }
    answer = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": None}, "finish_reason": "stop",
             "logprobs": None}
        ],
        "usage": {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59} | details,
    }  # fmt: skip
    upstream.script(Fails(200, answer))
    posted(team.http, "/chat/completions", ASK)
    result = team.waits_for("completions", 1)
    numbers = {name: value for name, value in result.items() if isinstance(value, int)}
    assert numbers == {
        "input_tokens": 50,
        "output_tokens": 9,
        "input_cached_tokens": 40,
        "input_audio_tokens": 5,
        "output_audio_tokens": 3,
        "num_model_requests": 1,
    }


def test_a_stream_that_is_left_in_the_middle_has_cost_something(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.05, Says("word " * 1000)))
    with team.http.stream("POST", "/chat/completions", json=ASK | {"stream": True}) as answer:
        next(answer.iter_bytes())
    result = team.waits_for("completions", 1)
    assert result["input_tokens"] > 0


def test_who_leaves_before_the_first_word_has_asked(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.script(Hangs())
    leaves(team.http, "/chat/completions", lambda: len(upstream.requests) == 1, json=ASK)
    team.waits_for("completions", 1)


def test_what_was_refused_is_not_counted(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.script(Fails(400), Says("Hi"))
    assert team.http.post("/chat/completions", json=ASK).status_code == 400
    assert team.http.post("/chat/completions", json={"model": "gpt-4o"}).status_code == 400
    posted(team.http, "/chat/completions", ASK)
    assert team.waits_for("completions", 1)["num_model_requests"] == 1


def test_a_run_with_functions_is_counted_with_its_rounds(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"}), prompt_tokens=20), Says("Rain in Oslo.", prompt_tokens=30))
    run = settled(team.http, a_run(team.http, assistant=an_assistant(team.http, tools=[WEATHER])))
    result = team.waits_for("completions", 1)
    assert result["input_tokens"] == 20
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"} for call in calls]
    posted(team.http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    run = settled(team.http, run, "completed")
    (result,) = team.used("completions")  # kept in the write that ended the run, so it is there at once
    usage = run["usage"]
    assert (result["input_tokens"], result["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert (result["input_tokens"], result["num_model_requests"]) == (50, 2)
    (by_key,) = team.used("completions", group_by=["api_key_id"])
    assert by_key["api_key_id"]


def test_a_run_that_is_cancelled_in_the_middle_is_counted_once(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.02, Says("word " * 2000)))
    run = a_run(team.http)
    settled(team.http, run, "in_progress")
    assert upstream.wait(lambda: len(upstream.requests) == 1)
    posted(team.http, f"{run_path(run)}/cancel")
    settled(team.http, run, "cancelled")
    result = team.waits_for("completions", 1)
    time.sleep(0.2)
    assert team.used("completions") == [result]
    assert (result["num_model_requests"], result["input_tokens"] > 0) == (1, True)


def test_a_run_that_fails_at_its_model_costs_nothing(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.script(Fails(400))
    settled(team.http, a_run(team.http), "failed")
    time.sleep(0.2)
    assert team.used("completions") == []


def test_file_search_is_counted_and_so_are_its_embeddings(team: Team, upstream: ScriptedUpstream) -> None:
    store = a_store(team.http, "apples are red")
    upstream.script(Calls(("file_search", {"query": "apples"})), Says("Red."))
    resources = {"tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}}}
    assistant = an_assistant(team.http, tools=[{"type": "file_search"}], **resources)
    settled(team.http, a_run(team.http, a_thread(team.http, "What are apples?"), assistant), "completed")
    assert team.waits_for("completions", 2)["num_model_requests"] == 2
    mine = [json.loads(asked.raw) for asked in upstream.embeddings]
    assert team.waits_for("embeddings", len(mine))["num_model_requests"] == len(mine)
    costs = page(team.admin, "costs", start_time=midnight(), project_ids=team.project, group_by="line_item")
    assert "file_search, calls" in {result["line_item"] for result in costs["data"][-1]["results"]}
    groups = ["vector_store_id", "project_id", "model"]
    (result,) = team.used("file_search_calls", group_by=groups, vector_store_ids=[store["id"], "vs_other"])
    assert result["object"] == "organization.usage.file_searches.result"
    assert (result["num_requests"], result["vector_store_id"]) == (1, store["id"])
    assert team.used("file_search_calls", vector_store_ids="vs_other") == []


def test_a_search_of_several_stores_is_one_call_and_of_none_of_them(team: Team, upstream: ScriptedUpstream) -> None:
    assistants, threads = a_store(team.http, "apples are red"), a_store(team.http, "pears are green")
    upstream.script(Calls(("file_search", {"query": "apples"})), Says("Red."))
    resources = [{"file_search": {"vector_store_ids": [store["id"]]}} for store in (assistants, threads)]
    assistant = an_assistant(team.http, tools=[{"type": "file_search"}], tool_resources=resources[0])
    thread = a_thread(team.http, "What are apples?", tool_resources=resources[1])
    settled(team.http, a_run(team.http, thread, assistant), "completed")
    (result,) = team.used("file_search_calls", group_by="vector_store_id")
    assert (result["num_requests"], result["vector_store_id"]) == (1, None)


def test_nothing_searches_the_web(team: Team) -> None:
    groups = ["project_id", "user_id", "api_key_id", "model", "context_level", "api_source"]
    assert team.used("web_search_calls", group_by=groups, context_levels=["low", "high"], models="gpt-4o") == []


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")
def test_a_thread_that_runs_code_has_one_session(team: Team, upstream: ScriptedUpstream) -> None:
    code = ("code_interpreter", {"code": "print(1)"})
    upstream.script(Calls(code), Calls(code), Says("One."), Calls(code), Says("One."))
    assistant = an_assistant(team.http, tools=[{"type": "code_interpreter"}])
    thread = a_thread(team.http, "What is one?")
    for _ in range(2):
        settled(team.http, a_run(team.http, thread, assistant), "completed", seconds=90)
    (result,) = team.used("code_interpreter_sessions", group_by="project_id")
    assert (result["sessions"], result["num_sessions"], result["project_id"]) == (1, 1, team.project)
    assert team.used("completions")[0]["num_model_requests"] == 5


def test_embeddings_are_summed_as_the_upstream_counted_them(team: Team, upstream: ScriptedUpstream) -> None:
    told = [posted(team.http, "/embeddings", {"model": "scripted", "input": text}) for text in ("one", ["two three"])]
    result = team.waits_for("embeddings", 2)
    assert result["input_tokens"] == sum(each["usage"]["prompt_tokens"] for each in told)
    assert result["object"] == "organization.usage.embeddings.result"


def test_images_are_counted_by_size_and_source(team: Team, upstream: ScriptedUpstream) -> None:
    upstream.serve("/images/generations", drawing)
    posted(team.http, "/images/generations", {"prompt": "An otter", "n": 3, "size": "256x256", "model": "dall-e-2"})
    posted(team.http, "/images/generations", {"prompt": "An otter", "model": "dall-e-3"})
    result = team.waits_for("images", 2)
    assert (result["images"], result["size"], result["source"]) == (4, None, None)
    by_size = team.used("images", group_by="size,source")
    assert [(one["size"], one["source"], one["images"]) for one in by_size] == [
        ("1024x1024", "image.generation", 1),
        ("256x256", "image.generation", 3),
    ]
    assert [one["images"] for one in team.used("images", sizes="256x256", sources=["image.generation"])] == [3]
    assert team.used("images", sources="image.edit") == []


def test_moderations_are_counted(team: Team) -> None:
    posted(team.http, "/moderations", {"input": "Have a great day!", "model": "minilm-moderation"})
    result = team.waits_for("moderations", 1, seconds=20)
    assert (result["num_model_requests"], result["input_tokens"] > 0) == (1, True)


def test_what_a_kind_cannot_be_told_apart_by_is_passed_over(team: Team) -> None:
    """An exporter asks every kind in the same words."""
    posted(team.http, "/chat/completions", ASK)
    posted(team.http, "/embeddings", {"model": "scripted", "input": "one"})
    team.waits_for("completions", 1)
    team.waits_for("embeddings", 1)
    groups = "project_id,user_id,api_key_id,model,batch,service_tier,api_source,size,vector_store_id"
    (told,) = team.used("completions", group_by=groups)
    assert (told["project_id"], told["model"], told["batch"]) == (team.project, "gpt-4o", False)
    assert (told["service_tier"], told["api_source"]) == (None, "unlabeled")
    (plain,) = team.used("completions")
    assert (plain["batch"], {"service_tier", "api_source"} & plain.keys()) == (None, set())
    (embedded,) = team.used("embeddings", group_by=groups, models="scripted")
    assert (embedded["project_id"], embedded["model"], "batch" in embedded) == (team.project, "scripted", False)
    for kind in KINDS:
        team.used(kind, group_by=groups)


# --- buckets -------------------------------------------------------------------------------------------------------


def test_buckets_lie_as_they_were_recorded(admin: httpx.Client) -> None:
    """The first begins when one says and ends with its day; the last ends now; empty ones are there."""
    now = int(time.time())
    start = midnight() - 2 * DAY - 49_537
    found = page(admin, "audio_speeches", start_time=start, project_ids=["proj_nobody"])
    edges = [(bucket["start_time"], bucket["end_time"]) for bucket in found["data"]]
    assert edges[:3] == [
        (start, midnight() - 2 * DAY),
        (midnight() - 2 * DAY, midnight() - DAY),
        (midnight() - DAY, midnight()),
    ]
    assert edges[3][0] == midnight()
    assert now <= edges[3][1] <= now + 5
    assert found["object"] == "page"
    assert [bucket["object"] for bucket in found["data"]] == ["bucket"] * 4
    assert [bucket["results"] for bucket in found["data"]] == [[]] * 4
    assert (found["has_more"], found["next_page"]) == (False, None)


@pytest.mark.parametrize(
    ("width", "seconds", "usual", "most"), [("1d", DAY, 7, 31), ("1h", 3600, 24, 168), ("1m", 60, 60, 1440)]
)
def test_pages_have_so_many_buckets(admin: httpx.Client, width: str, seconds: int, usual: int, most: int) -> None:
    start = midnight() - 40 * DAY + 7
    first = page(admin, "completions", start_time=start, bucket_width=width)
    assert len(first["data"]) == usual
    assert first["has_more"]
    assert first["next_page"].startswith("page_")
    second = page(admin, "completions", start_time=start, bucket_width=width, page=first["next_page"], limit=most)
    assert second["data"][0]["start_time"] == first["data"][-1]["end_time"]
    edges = [(bucket["start_time"], bucket["end_time"]) for bucket in [*first["data"], *second["data"]]]
    assert edges[0] == (start, start - start % seconds + seconds)
    assert all(end == after for (_, end), (after, _) in pairwise(edges))
    query = {"start_time": start, "bucket_width": width, "limit": most + 1}
    error = refused(admin.get("/organization/usage/completions", params=query), 400)
    assert error["message"] == (
        f"Invalid 'limit': integer above maximum value. Expected a value <= {most}, but got {most + 1} instead."
    )
    assert (error["param"], error["code"]) == ("limit", "integer_above_max_value")


def test_all_pages_together_are_the_whole(admin: httpx.Client, team: Team) -> None:
    posted(team.http, "/chat/completions", ASK)
    team.waits_for("completions", 1)
    end = int(time.time()) + 1
    query: Json = {"start_time": midnight() - 3 * DAY + 5, "end_time": end, "project_ids[]": team.project}
    whole = page(admin, "completions", **query)
    found, cursor = [], None
    while True:
        more: Json = {} if cursor is None else {"page": cursor}
        one = page(admin, "completions", **query, limit=1, **more)
        assert len(one["data"]) == 1
        found += one["data"]
        if (cursor := one["next_page"]) is None:
            break
        assert one["has_more"]
    assert [bucket["results"] for bucket in found] == [bucket["results"] for bucket in whole["data"]]
    assert [bucket["start_time"] for bucket in found] == [bucket["start_time"] for bucket in whole["data"]]


def test_hours_and_minutes_hold_what_the_day_holds(team: Team) -> None:
    before = int(time.time()) - 1
    posted(team.http, "/chat/completions", ASK)
    day = team.waits_for("completions", 1)
    for width in ("1h", "1m"):
        found = page(team.admin, "completions", start_time=before, bucket_width=width, project_ids=team.project)
        results = [result for bucket in found["data"] for result in bucket["results"]]
        assert sum(result["input_tokens"] for result in results) == day["input_tokens"]
    ended = page(team.admin, "completions", start_time=before - 60, end_time=before, project_ids=team.project)
    assert [bucket["end_time"] for bucket in ended["data"]][-1] == before
    assert all(bucket["results"] == [] for bucket in ended["data"])


def test_a_time_to_come_has_no_buckets(admin: httpx.Client) -> None:
    assert page(admin, "images", start_time=int(time.time()) + DAY)["data"] == []
    assert page(admin, "images", start_time=int(time.time()) + DAY)["has_more"] is False


@needs_spec
@pytest.mark.parametrize("kind", ["audio_transcriptions", "completions", "embeddings", "images", "vector_stores"])
def test_answers_have_the_members_that_were_recorded(kind: str, team: Team, upstream: ScriptedUpstream) -> None:
    exchange = next(each for each in recorded() if each.path.startswith(f"/organization/usage/{kind}"))
    told = exchange.json()
    start = told["data"][0]["start_time"]
    stop = told["data"][-1]["end_time"]
    found = page(team.admin, kind, start_time=start, end_time=stop)
    assert found.keys() == told.keys()
    bare = [[{**bucket, "results": []} for bucket in each["data"]] for each in (found, told)]
    assert bare[0] == bare[1]
    upstream.serve("/images/generations", drawing)
    if kind in ("completions", "images", "embeddings"):
        posted(team.http, "/chat/completions", ASK)
        posted(team.http, "/images/generations", {"prompt": "An otter"})
        posted(team.http, "/embeddings", {"model": "scripted", "input": "one"})
        result = team.waits_for(kind, 1)
        shown = next(result for bucket in told["data"] for result in bucket["results"])
        assert result.keys() == shown.keys()
        assert [key for key, value in result.items() if value is None] == [key for key in result if shown[key] is None]


# --- costs ---------------------------------------------------------------------------------------------------------


def test_costs_are_whole_days(team: Team) -> None:
    posted(team.http, "/chat/completions", ASK)
    team.waits_for("completions", 1)
    found = page(team.admin, "costs", start_time=midnight() - DAY + 77, project_ids=team.project)
    assert [(bucket["start_time"], bucket["end_time"]) for bucket in found["data"]] == [
        (midnight() - DAY, midnight()),
        (midnight(), midnight() + DAY),
    ]
    (result,) = found["data"][1]["results"]
    assert result["object"] == "organization.costs.result"
    assert result["amount"]["currency"] == "usd"
    assert result["amount"]["value"] > 0  # gpt-4o at an upstream, by what is published
    assert (result["line_item"], result["project_id"]) == (None, None)


def test_costs_are_the_prices_of_the_settings(tmp_path: Any, upstream: ScriptedUpstream) -> None:
    file = tmp_path / "everloom.toml"
    file.write_text(
        '[[prices]]\nmodel = "gpt-4o*"\ninput = 2.5\noutput = 10\n[[prices]]\nmodel = "dall-e-2"\nimage = 0.02\n'
    )
    with (
        Everloom(tmp_path, arguments=("--config", str(file)), upstream=upstream.url) as server,
        client_of(server) as http,
        client_of(server, ADMIN_KEY, beta=None) as admin,
    ):
        upstream.serve("/images/generations", drawing)
        upstream.script(Says("one two three", prompt_tokens=1000))
        posted(http, "/chat/completions", ASK)
        posted(http, "/images/generations", {"prompt": "An otter", "n": 2})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = page(admin, "costs", start_time=midnight(), group_by=["line_item", "project_id"])
            amounts = {one["line_item"]: one["amount"]["value"] for one in found["data"][0]["results"]}
            if len(amounts) == 3:
                break
        assert amounts == pytest.approx({"gpt-4o, input": 0.0025, "gpt-4o, output": 0.00003, "dall-e-2, images": 0.04})
        (whole,) = page(admin, "costs", start_time=midnight())["data"][0]["results"]
        assert whole["amount"]["value"] == pytest.approx(0.04253)
        assert (whole["quantity"], whole["quantity_unit"]) == (None, None)
        assert not {"user_id", "api_source"} & whole.keys()
        groups = {"group_by": ["line_item", "user_id", "api_source"]}
        asked = groups | {"line_items[]": ["gpt-4o, input", "dall-e-2, images"]}
        some = page(admin, "costs", start_time=midnight(), **asked)["data"][0]["results"]
        shown = [(one["line_item"], one["quantity"], one["quantity_unit"]) for one in some]
        assert shown == [("dall-e-2, images", 2, "images"), ("gpt-4o, input", 1000, "tokens")]
        assert {one["user_id"] for one in some} == {"user-owner"}
        assert {one["api_source"] for one in some} == {"unlabeled"}


def test_models_of_upstreams_cost_what_is_published_and_those_of_this_machine_nothing(
    tmp_path: Any, upstream: ScriptedUpstream
) -> None:
    settings = {
        "upstream": upstream.url,
        "weights": default_weights().folder,
        "aliases": "text-embedding-*=all-minilm-l6-v2",
    }
    with (
        Everloom(tmp_path, **settings) as server,
        client_of(server) as http,
        client_of(server, ADMIN_KEY, beta=None) as admin,
    ):
        upstream.script(Says("one two three", prompt_tokens=1000))
        posted(http, "/chat/completions", ASK | {"model": "gpt-4o-2024-08-06"})
        posted(http, "/chat/completions", ASK | {"model": "nobodys-model"})
        posted(http, "/embeddings", {"model": "text-embedding-3-small", "input": "apples"})
        deadline = time.monotonic() + 60
        lines: dict[str, float] = {}
        while len(lines) < 5 and time.monotonic() < deadline:
            found = page(admin, "costs", start_time=midnight(), group_by="line_item")
            lines = {one["line_item"]: one["amount"]["value"] for one in found["data"][0]["results"]}
        assert lines == pytest.approx(
            {
                "gpt-4o-2024-08-06, input": 0.0025,
                "gpt-4o-2024-08-06, output": 0.00003,
                "nobodys-model, input": 0,
                "nobodys-model, output": 0,
                "all-minilm-l6-v2, input": 0,
            }
        )


# --- what is refused -----------------------------------------------------------------------------------------------

START = {"start_time": "1739096063"}


@pytest.mark.parametrize("kind", [*KINDS, "costs"])
def test_admin_keys_alone_may_ask(kind: str, each_server: Everloom) -> None:
    path = "/organization/costs" if kind == "costs" else f"/organization/usage/{kind}"
    with client_of(each_server) as project:
        refused(project.get(path, params=START), 403)
    with client_of(each_server, "sk-none") as nobody:
        refused(nobody.get(path, params=START), 401)


BAD: list[tuple[str, Json, str, str, str]] = [
    ("completions", {}, "Missing required parameter: 'start_time'.", "start_time", "missing_required_parameter"),
    ("completions", {"start_time": "soon"}, "expected an integer, but got a string", "start_time", "invalid_type"),
    ("completions", {"start_time": "-1"}, "Expected a value >= 0", "start_time", "integer_below_min_value"),
    ("completions", {"start_time": "1" + "0" * 29}, "Expected a value <=", "start_time", "integer_above_max_value"),
    ("completions", START | {"end_time": "1739096062"}, "Expected a value > 1739096063", "end_time",
     "integer_below_min_value"),
    ("completions", START | {"end_time": "1739096063"}, "Invalid 'end_time'", "end_time", "integer_below_min_value"),
    ("completions", START | {"limit": "0"}, "Expected a value >= 1", "limit", "integer_below_min_value"),
    ("completions", START | {"bucket_width": "1w"}, "Supported values are: '1d', '1h', and '1m'.", "bucket_width",
     "invalid_value"),
    ("completions", START | {"group_by": "colour"}, "Invalid value: 'colour'.", "group_by[0]", "invalid_value"),
    ("embeddings", START | {"group_by": ["model", "hue"]}, "Invalid value: 'hue'.", "group_by[1]", "invalid_value"),
    ("vector_stores", START | {"group_by[]": "line_item"}, "Invalid value", "group_by[0]", None),
    ("web_search_calls", START | {"context_levels": "huge"}, "Supported values are: 'high', 'low', and 'medium'.",
     "context_levels[0]", "invalid_value"),
    ("completions", {"start_time": "1739096063.5"}, "expected an integer, but got a string", "start_time",
     "invalid_type"),
    ("images", START | {"sources": "image.dream"}, "Supported values are: 'image.edit', 'image.generation', and "
     "'image.variation'.", "sources[0]", "invalid_value"),
    ("completions", START | {"batch": "perhaps"}, "expected a boolean", "batch", "invalid_type"),
    ("completions", START | {"page": "page_AAAAAAZ"}, "Invalid 'page'", "page", "invalid_value"),
    ("completions", START | {"page": "\u00e9\u00e9\u00e9"}, "Invalid 'page'", "page", "invalid_value"),
    ("costs", START | {"bucket_width": "1h"}, "Invalid value: '1h'", "bucket_width", "invalid_value"),
    ("costs", START | {"limit": "181"}, "Expected a value <= 180", "limit", "integer_above_max_value"),
    ("costs", START | {"group_by": "model"}, "Invalid value: 'model'.", "group_by[0]", "invalid_value"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "query", "message", "param", "code"), BAD)
def test_bad_queries_are_refused(
    server: Everloom, kind: str, query: Json, message: str, param: str, code: str | None
) -> None:
    path = "/organization/costs" if kind == "costs" else f"/organization/usage/{kind}"
    with client_of(server, ADMIN_KEY, beta=None) as admin:
        error = refused(admin.get(path, params=query), 400, message)
    assert error["param"] == param
    assert code is None or error["code"] == code


def test_cursors_of_other_lists_are_refused(admin: httpx.Client) -> None:
    start = midnight() - 30 * DAY
    cursor = page(admin, "completions", start_time=start)["next_page"]
    others: list[tuple[str, Json]] = [
        ("embeddings", {"start_time": start}),
        ("completions", {"start_time": start + 1}),
        ("completions", {"start_time": start, "models": "gpt-4o"}),
        ("completions", {"start_time": start, "bucket_width": "1h"}),
        ("completions", {"start_time": start, "group_by": "model"}),
    ]
    for kind, query in others:
        answer = admin.get(f"/organization/usage/{kind}", params=query | {"page": cursor})
        refused(answer, 400, "Invalid 'page'", param="page")
    assert page(admin, "completions", start_time=start, page=cursor, limit=2)["data"]


def test_lists_are_taken_in_every_way_that_clients_write_them(admin: httpx.Client) -> None:
    for query in (
        {"group_by": "model,project_id"},
        {"group_by[]": ["model", "project_id"]},
        {"group_by": ["model", "project_id"]},
    ):
        page(admin, "completions", start_time=midnight(), **query)


def test_days_are_those_of_utc() -> None:
    assert datetime.fromtimestamp(midnight(), UTC).hour == 0
