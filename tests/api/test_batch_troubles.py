"""What may come between a batch and its end: bad input, people who change their minds, limits, models that go."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from everloom.context.throttle import MOST_LINES
from tests.bad_upstream import bad_upstream
from tests.batches import a_batch, a_line, an_input, ended, jsonl, lines_of
from tests.builders import Json, posted
from tests.organization import PROJECTS, a_project, admin_of, an_account
from tests.postgres import fresh_database
from tests.replies import Fails, Hangs, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def done(http: httpx.Client, batch: Json) -> int:
    """Lines that have an answer."""
    counts = http.get(f"/batches/{batch['id']}").json()["request_counts"]
    return int(counts["completed"] + counts["failed"])


def status(http: httpx.Client, batch: Json) -> str:
    return str(http.get(f"/batches/{batch['id']}").json()["status"])


@pytest.fixture
def team(each_server: Everloom, upstream: ScriptedUpstream) -> Iterator[tuple[httpx.Client, httpx.Client, Json]]:
    """A client of the organization, one of a project of its own, and that project."""
    with admin_of(each_server) as admin:
        project = a_project(admin)
        with client_of(each_server, an_account(admin, project)["api_key"]["value"]) as http:
            yield admin, http, project


def said(body: Json) -> str:
    return str(body["messages"][-1]["content"])


# --- input -----------------------------------------------------------------------------------------------------------


def test_a_line_of_sixty_megabytes_is_a_request_like_any(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Says(f"{len(said(body))}"))
    lines = [a_line(1, "x" * 60_000_000), a_line(2, "xx")]
    batch = ended(http, a_batch(http, lines))
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    found = lines_of(http, batch["output_file_id"])
    texts = [found[name]["response"]["body"]["choices"][0]["message"]["content"] for name in ("line-1", "line-2")]
    assert texts == ["60000000", "2"]


def test_a_line_longer_than_a_request_may_be_is_told(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with (
        Everloom(tmp_path, upstream=upstream.url, max_body_bytes=1_000_000) as server,
        client_of(server) as http,
    ):
        lines = [a_line(1), a_line(2, "x" * 2_000_000), a_line(3), a_line(4, "y" * 1_100_000)]
        batch = ended(http, a_batch(http, lines))
        assert batch["status"] == "failed"
        assert [(error["code"], error["line"]) for error in batch["errors"]["data"]] == [
            ("line_too_long", 2),
            ("line_too_long", 4),
        ]
    assert not upstream.requests


def test_fifty_thousand_lines_and_no_more(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    content = jsonl([a_line(0)])
    many = b"".join(content.replace(b"line-0", b"line-%d" % number) for number in range(50_001))
    batch = ended(http, a_batch(http, many))
    assert batch["status"] == "failed"
    assert [error["code"] for error in batch["errors"]["data"]] == ["too_many_tasks"]
    assert not upstream.requests


# --- input files that go ---------------------------------------------------------------------------------------------


def test_a_file_deleted_before_anybody_looks_fails_its_batch(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    server = Everloom(tmp_path, arguments=("--no-worker",), upstream=upstream.url)
    with server, client_of(server) as http:
        file_id = an_input(http, [a_line(1)])
        batch = a_batch(http, file_id)  # type: ignore[arg-type]
        assert http.delete(f"/files/{file_id}").status_code == 200
        assert status(http, batch) == "validating"
    with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
        batch = ended(http, batch)
        assert batch["status"] == "failed"
        assert [error["code"] for error in batch["errors"]["data"]] == ["file_not_found"]
        until(lambda: not list((tmp_path / "blobs").glob(f"{file_id}*")))
    assert not upstream.requests


def test_two_batches_of_a_file_that_was_deleted_both_end(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Slow(0.05))
    file_id = an_input(http, [a_line(number) for number in range(150)])
    two = [a_batch(http, file_id) for _ in range(2)]  # type: ignore[arg-type]
    until(lambda: all(done(http, batch) > 0 for batch in two))
    assert http.delete(f"/files/{file_id}").status_code == 200
    for batch in two:
        assert ended(http, batch)["request_counts"] == {"total": 150, "completed": 150, "failed": 0}


# --- cancelling ------------------------------------------------------------------------------------------------------


def test_a_batch_that_nobody_has_looked_at_is_cancelled(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    server = Everloom(tmp_path, arguments=("--no-worker",), upstream=upstream.url)
    with server, client_of(server) as http:
        batch = a_batch(http, [a_line(1)])
        for _ in range(2):
            assert posted(http, f"/batches/{batch['id']}/cancel")["status"] == "cancelling"
    with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
        batch = ended(http, batch)
        assert batch["status"] == "cancelled"
        assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)
        assert posted(http, f"/batches/{batch['id']}/cancel")["status"] == "cancelled"
    assert not upstream.requests


# --- the organization ------------------------------------------------------------------------------------------------


def test_a_project_that_is_archived_asks_no_more(
    team: tuple[httpx.Client, httpx.Client, Json], each_server: Everloom, upstream: ScriptedUpstream
) -> None:
    admin, http, project = team
    upstream.rule(lambda body: Hangs() if "hang" in said(body) else Says("done"))
    lines = [a_line(number, "quick" if number < 3 else "hang") for number in range(100)]
    batch = a_batch(http, lines)
    until(lambda: done(http, batch) == 3 and upstream.active > 0)
    posted(admin, f"{PROJECTS}/{project['id']}/archive")
    until(lambda: upstream.active == 0)
    asked = len(upstream.requests)
    until(lambda: kept_batch(each_server, batch)["status"] == "cancelled")
    assert kept_batch(each_server, batch)["request_counts"] == {"total": 100, "completed": 3, "failed": 0}
    assert len(upstream.requests) == asked
    assert not [line for line in each_server.output if "Traceback" in line]


def kept_batch(server: Everloom, batch: Json) -> Json:
    """A batch as it stands in the database: nobody's key opens it any more."""
    import sqlite3

    asked = f"SELECT body FROM batches WHERE id = '{batch['id']}'"
    database = server._environment.get("EVERLOOM_DATABASE")
    if database is None:
        with closing(sqlite3.connect(server.data / "everloom.db")) as connection:
            (body,) = connection.execute(asked).fetchone()
    else:
        with psycopg.connect(database) as other:
            row = other.execute(asked.encode()).fetchone()
            assert row is not None
            (body,) = row
    found: Json = json.loads(bytes(body))
    return found


def test_a_batch_outlives_the_key_it_was_made_with(
    team: tuple[httpx.Client, httpx.Client, Json], each_server: Everloom, upstream: ScriptedUpstream
) -> None:
    admin, http, project = team
    upstream.rule(lambda body: Slow(0.05))
    batch = a_batch(http, [a_line(number) for number in range(200)])
    until(lambda: done(http, batch) > 0)
    accounts = f"{PROJECTS}/{project['id']}/service_accounts"
    (account,) = admin.get(accounts).json()["data"]
    assert admin.delete(f"{accounts}/{account['id']}").status_code == 200
    until(lambda: http.get(f"/batches/{batch['id']}").status_code == 401)
    with client_of(each_server, an_account(admin, project)["api_key"]["value"]) as other:
        batch = ended(other, batch)
    assert batch["request_counts"] == {"total": 200, "completed": 200, "failed": 0}


def test_a_model_that_a_project_may_not_use_fails_its_batch(
    team: tuple[httpx.Client, httpx.Client, Json], upstream: ScriptedUpstream
) -> None:
    admin, http, project = team
    path = f"{PROJECTS}/{project['id']}/model_permissions"
    posted(admin, path, {"mode": "deny_list", "model_ids": ["gpt-4o"]})
    time.sleep(2.1)  # a process may know the rules of before for two seconds
    batch = ended(http, a_batch(http, [a_line(1), a_line(2)]))
    assert batch["status"] == "failed"
    (error,) = batch["errors"]["data"]
    assert (error["code"], error["param"], error["line"]) == ("model_not_found", "body.model", 1)
    assert not upstream.requests


def test_a_model_that_is_forbidden_in_the_middle_refuses_what_is_left(
    team: tuple[httpx.Client, httpx.Client, Json], upstream: ScriptedUpstream
) -> None:
    admin, http, project = team
    upstream.rule(lambda body: Slow(0.2))
    batch = a_batch(http, [a_line(number) for number in range(700)])
    until(lambda: done(http, batch) > 0)
    posted(admin, f"{PROJECTS}/{project['id']}/model_permissions", {"mode": "deny_list", "model_ids": ["gpt-4o"]})
    batch = ended(http, batch)
    assert batch["status"] == "completed"
    counts = batch["request_counts"]
    assert counts["completed"] + counts["failed"] == 700
    assert counts["failed"] > 100
    errors = lines_of(http, batch["error_file_id"])
    assert {line["response"]["body"]["error"]["code"] for line in errors.values()} == {"model_not_found"}


def test_lines_say_that_the_budget_is_spent(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    (tmp_path / "everloom.toml").write_text('[[prices]]\nmodel = "gpt-4o"\ninput = 1000.0\noutput = 1000.0\n')
    upstream.rule(lambda body: Says("one two three", prompt_tokens=100))  # ten cents, of a batch five
    with (
        Everloom(tmp_path, upstream=upstream.url, default_prices="false") as server,
        admin_of(server) as admin,
    ):
        project = a_project(admin)
        limit = {"threshold_amount": 300, "currency": "USD", "interval": "month"}
        posted(admin, f"{PROJECTS}/{project['id']}/spend_limit", limit)
        with client_of(server, an_account(admin, project)["api_key"]["value"]) as http:
            batch = ended(http, a_batch(http, [a_line(number, max_tokens=5) for number in range(100)]))
            assert batch["status"] == "completed"
            counts = batch["request_counts"]
            assert counts["total"] == counts["completed"] + counts["failed"] == 100
            assert 20 <= counts["completed"] <= 60
            errors = lines_of(http, batch["error_file_id"])
            assert len(errors) == counts["failed"]
            for line in errors.values():
                assert line["response"]["status_code"] == 429
                assert line["response"]["body"]["error"]["code"] == "project_spend_limit_exceeded"


def test_what_open_batches_ask_is_limited(
    team: tuple[httpx.Client, httpx.Client, Json], upstream: ScriptedUpstream
) -> None:
    admin, http, project = team
    upstream.rule(lambda body: Hangs())
    path = f"{PROJECTS}/{project['id']}/rate_limits/rl-gpt-4o"
    limits = {"max_requests_per_1_minute": 1000, "batch_1_day_max_input_tokens": 1000}
    assert admin.post(path, json=limits).status_code == 200
    time.sleep(2.1)
    lines = [a_line(number, "word " * 50) for number in range(10)]
    first = a_batch(http, lines)
    until(lambda: status(http, first) == "in_progress")
    second = ended(http, a_batch(http, lines))
    assert second["status"] == "failed"
    assert [error["code"] for error in second["errors"]["data"]] == ["token_limit_exceeded"]
    posted(http, f"/batches/{first['id']}/cancel")
    assert ended(http, first)["status"] == "cancelled"
    upstream.rule(lambda body: Says("yes"))
    third = ended(http, a_batch(http, lines))
    assert third["request_counts"] == {"total": 10, "completed": 10, "failed": 0}


def test_names_that_nobody_knows_have_no_limit_of_their_own(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    (tmp_path / "everloom.toml").write_text('[[limits]]\nmodel = "*"\nbatch_1_day_max_input_tokens = 1000\n')
    upstream.rule(lambda body: Hangs())
    with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
        lines = [[a_line(number, "word " * 50, model=name) for number in range(10)] for name in ("one-7b", "two-7b")]
        first = a_batch(http, lines[0])
        until(lambda: status(http, first) == "in_progress")
        second = ended(http, a_batch(http, lines[1]))
        assert [error["code"] for error in second["errors"]["data"]] == ["token_limit_exceeded"]


def test_the_bytes_of_a_batchs_files_are_gone_when_it_is_asked_again(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    upstream.rule(lambda body: Fails(400, "no"))
    with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
        batch = ended(http, a_batch(http, [a_line(1)]))
        (blob,) = tmp_path.rglob(str(batch["input_file_id"]))
        kept = blob.read_bytes()
        blob.write_bytes(kept.replace(b"Hello", b"hello"))
        assert http.post(f"/batches/{batch['id']}/retry").status_code == 400
        blob.unlink()
        assert http.post(f"/batches/{batch['id']}/retry").status_code == 404
        blob.write_bytes(kept)
        assert http.post(f"/batches/{batch['id']}/retry").status_code == 200


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_server_that_is_stopped_leaves_its_batch_to_another(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Slow(0.05))
    settings: dict[str, Any] = {"upstream": upstream.url, "database": fresh_database()}
    with Everloom(tmp_path, **settings) as one, Everloom(tmp_path, **settings) as other:
        with client_of(one) as http:
            batch = a_batch(http, [a_line(number) for number in range(400)])
            until(lambda: done(http, batch) > 50)
        assert one.stop() == 0
        with client_of(other) as http:
            batch = ended(http, batch)
            assert batch["request_counts"] == {"total": 400, "completed": 400, "failed": 0}
            assert len(lines_of(http, batch["output_file_id"])) == 400
    assert 400 <= len(upstream.requests) <= 400 + MOST_LINES


@pytest.mark.parametrize(
    ("url", "body", "answer"),
    [
        (
            "/v1/embeddings",
            {"model": "bad", "input": "one"},
            b'{"object":"list","data":[{"object":"\xff\xfe","index":0,"embedding":[0.5]}],"model":"bad",'
            b'"usage":{"prompt_tokens":1,"total_tokens":1}}',
        ),
        (
            "/v1/chat/completions",
            {"model": "bad", "messages": [{"role": "user", "content": "Hi"}]},
            b'{"id":"a","object":"chat.completion","created":1,"model":"bad","choices":[{"index":0,"finish_reason":'
            b'"stop","message":{"role":"assistant","content":"\xff\xfe"}}]}',
        ),
    ],
)
def test_nothing_stands_in_a_file_that_is_no_utf_8(
    tmp_path: Path, upstream: ScriptedUpstream, url: str, body: Json, answer: bytes
) -> None:
    with bad_upstream() as bad:
        bad.says(answer)
        models = f'[[models]]\nid = "bad"\nbackend = "upstream"\nbase_url = "{bad.url}"\n'
        (tmp_path / "everloom.toml").write_text(models)
        with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
            lines = [{"custom_id": "one", "method": "POST", "url": url, "body": body}]
            batch = a_batch(http, lines, url)
            until(lambda: status(http, batch) == "in_progress")
            time.sleep(3)
            if status(http, batch) == "in_progress":  # it is asked again, as long as its server answers nobody
                bad.says(answer.replace(b"\xff\xfe", b"fine"))
            batch = ended(http, batch)
            assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
            content = http.get(f"/files/{batch['output_file_id']}/content").content
            assert json.loads(content.decode())["response"]["status_code"] == 200
            assert content.count(b"\n") == 1
