"""Batches through HTTP, on both databases, with a real upstream."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.batches import a_batch, a_line, an_input, ended, jsonl, lines_of
from tests.postgres import fresh_database
from tests.replies import Fails, Hangs, Json, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def batching(
    request: pytest.FixtureRequest, _upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Everloom]:
    settings = {"database": fresh_database()} if request.param == "postgres" else {}
    with Everloom(
        tmp_path_factory.mktemp("batching"), upstream=_upstream.url, embedding_model="scripted", **settings
    ) as server:
        yield server


@pytest.fixture
def http(batching: Everloom, upstream: ScriptedUpstream) -> Iterator[httpx.Client]:
    with client_of(batching) as client:
        yield client


def text_of(line: Json) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


def test_every_line_is_answered_once(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Says(f"You said {body['messages'][0]['content']}", prompt_tokens=3))
    made = a_batch(http, [a_line(number, f"word{number}") for number in range(250)], metadata={"a": "b"})
    assert made["object"] == "batch"
    assert made["status"] == "validating"
    assert made["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert made["expires_at"] == made["created_at"] + 86_400
    batch = ended(http, made)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 250, "completed": 250, "failed": 0}
    assert batch["error_file_id"] is None
    assert batch["errors"] is None
    assert batch["metadata"] == {"a": "b"}
    assert batch["model"] == "gpt-4o"
    assert batch["usage"]["input_tokens"] == 750
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
    lines = lines_of(http, batch["output_file_id"])
    assert {name: text_of(line) for name, line in lines.items()} == {
        f"line-{number}": f"You said word{number}" for number in range(250)
    }
    first = lines["line-0"]
    assert first["error"] is None
    assert first["id"].startswith("batch_req_")
    assert first["response"]["status_code"] == 200
    assert first["response"]["request_id"].startswith("req_")
    assert len(upstream.requests) == 250
    file = http.get(f"/files/{batch['output_file_id']}").json()
    assert file["purpose"] == "batch_output"
    assert file["filename"] == f"{batch['id']}_output.jsonl"


def test_no_answer_ends_its_line_early(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    text = "one\u2028two\u2029three\x85four \\\u2028 \\u2028 \x1c \v \f"
    upstream.rule(lambda body: Says(text, chunks=1) if body["messages"][0]["content"] == text else Fails(400))
    asked = [a_line(text, text), a_line("\u2028", "refused")]
    batch = ended(http, a_batch(http, asked))
    answered = lines_of(http, batch["output_file_id"])
    assert {name: text_of(line) for name, line in answered.items()} == {f"line-{text}": text}
    assert set(lines_of(http, batch["error_file_id"])) == {"line-\u2028"}


def test_lines_that_are_refused_stand_in_the_error_file(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    lines = [a_line(1), a_line(2, temperature=9), a_line(3, stream=True), a_line(4)]
    batch = ended(http, a_batch(http, lines))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    assert set(lines_of(http, batch["output_file_id"])) == {"line-1", "line-4"}
    errors = lines_of(http, batch["error_file_id"])
    assert set(errors) == {"line-2", "line-3"}
    for name, param in (("line-2", "temperature"), ("line-3", "stream")):
        assert errors[name]["error"] is None
        assert errors[name]["response"]["status_code"] == 400
        assert errors[name]["response"]["body"]["error"]["param"] == param


def test_what_comes_back_by_itself_is_asked_again(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Fails(500, "no"), Fails(429, "later", retry_after=1), Fails(503, "away"))
    batch = ended(http, a_batch(http, [a_line(number) for number in range(3)]))
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        (b"", [("empty_file", None)]),
        (b"\n\r\n  \n", [("empty_file", None)]),
        (b"{nope}\n", [("invalid_json_line", 1)]),
        (b'{"a": 1}\n[]\n', [("missing_required_parameter", 1), ("invalid_json_line", 2)]),
        (jsonl([a_line(1)]) + b"\n\n\xff\xfe{\n", [("invalid_json_line", 4)]),
        (jsonl([a_line(1), a_line(2), a_line(1)]), [("duplicate_custom_id", 3)]),
        (jsonl([a_line(1), a_line(2) | {"url": "/v1/embeddings"}]), [("url_mismatch", 2)]),
        (jsonl([a_line(1) | {"method": "GET"}]), [("invalid_method", 1)]),
        (jsonl([a_line(1), a_line(2, model="gpt-4-turbo")]), [("mismatched_model", 2)]),
        (jsonl([a_line(1) | {"body": {"messages": []}}]), [("missing_required_parameter", 1)]),
        (jsonl([a_line(1) | {"body": "x"}]), [("invalid_type", 1)]),
        (jsonl([a_line(1) | {"custom_id": 7}]), [("invalid_type", 1)]),
        (jsonl([a_line(1) | {"custom_id": "x" * 513}]), [("invalid_custom_id", 1)]),
        (jsonl([a_line(1) | {"body": {"model": 7, "messages": []}}]), [("invalid_type", 1)]),
        (jsonl([a_line(1)]).decode().encode("utf-16"), [("invalid_json_line", 1)]),
        (b'{"custom_id":' + b"[" * 100_000 + b"\n", [("invalid_json_line", 1)]),
    ],
)
def test_a_bad_file_makes_a_failed_batch(
    http: httpx.Client, upstream: ScriptedUpstream, content: bytes, errors: list[tuple[str, int | None]]
) -> None:
    batch = ended(http, a_batch(http, content))
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["errors"]["object"] == "list"
    assert [(error["code"], error["line"]) for error in batch["errors"]["data"]] == errors
    assert all(error["message"] for error in batch["errors"]["data"])
    assert batch["output_file_id"] is None
    assert not upstream.requests


@pytest.mark.parametrize("change", ["bom", "crlf", "blank", "no end"])
def test_files_as_programs_write_them(http: httpx.Client, upstream: ScriptedUpstream, change: str) -> None:
    content = jsonl([a_line(1), a_line(2)])
    match change:
        case "bom":
            content = b"\xef\xbb\xbf" + content
        case "crlf":
            content = content.replace(b"\n", b"\r\n")
        case "blank":
            content = b"\n \n" + content.replace(b"\n", b"\n\n\t\n")
        case _:
            content = content[:-1]
    batch = ended(http, a_batch(http, content))
    assert batch["status"] == "completed"
    assert set(lines_of(http, batch["output_file_id"])) == {"line-1", "line-2"}


def test_create_refuses_what_can_be_no_batch(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    good = {
        "input_file_id": an_input(http, [a_line(1)]),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    other = http.post("/files", files={"file": ("a.txt", b"x")}, data={"purpose": "assistants"}).json()["id"]
    for change, param in (
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"input_file_id": other}, "input_file_id"),
        ({"endpoint": "/v1/audio/speech"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "output_expires_after.seconds"),
        ({"nonsense": 1}, "nonsense"),
    ):
        answer = http.post("/batches", json=good | change)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param
    assert http.get("/batches/batch_none").status_code == 404


def test_cancel_keeps_what_is_done(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Hangs() if "hang" in body["messages"][0]["content"] else Says("done"))
    lines = [a_line(number, "quick") for number in range(5)] + [a_line(number, "hang") for number in range(5, 100)]
    batch = a_batch(http, lines)
    deadline = time.monotonic() + 30
    while http.get(f"/batches/{batch['id']}").json()["request_counts"]["completed"] < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = http.post(f"/batches/{batch['id']}/cancel")
    assert answer.json()["status"] == "cancelling"
    assert answer.json()["cancelling_at"] is not None
    assert http.post(f"/batches/{batch['id']}/cancel").status_code == 200
    batch = ended(http, batch)
    assert batch["status"] == "cancelled"
    assert batch["request_counts"] == {"total": 100, "completed": 5, "failed": 0}
    assert len(lines_of(http, batch["output_file_id"])) == 5
    errors = lines_of(http, batch["error_file_id"])
    assert len(errors) == 95
    assert {line["error"]["code"] for line in errors.values()} == {"batch_cancelled"}
    assert {line["response"] for line in errors.values()} == {None}
    deadline = time.monotonic() + 60
    while upstream.active:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert http.post(f"/batches/{batch['id']}/cancel").status_code == 200


def test_only_failed_lines_are_asked_again(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Fails(400, "bad words") if "bad" in body["messages"][0]["content"] else Says("fine"))
    lines = [a_line(number, "bad" if number % 3 == 0 else "good") for number in range(9)]
    batch = ended(http, a_batch(http, lines, metadata={"night": "1"}))
    assert batch["request_counts"] == {"total": 9, "completed": 6, "failed": 3}
    upstream.rule(lambda body: Says("better"))
    again = http.post(f"/batches/{batch['id']}/retry")
    assert again.status_code == 200, again.text
    batch = ended(http, again.json())
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert batch["metadata"] == {"night": "1"}
    assert set(lines_of(http, batch["output_file_id"])) == {"line-0", "line-3", "line-6"}
    refused = http.post(f"/batches/{batch['id']}/retry")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "nothing_to_retry"


def test_the_input_file_may_be_deleted_in_the_middle(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Slow(0.05))
    file_id = an_input(http, [a_line(number) for number in range(400)])
    batch = a_batch(http, file_id)
    deadline = time.monotonic() + 30
    while not (found := http.get(f"/batches/{batch['id']}").json())["in_progress_at"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    assert http.delete(f"/files/{file_id}").status_code == 200
    assert http.get(f"/files/{file_id}").status_code == 404
    batch = ended(http, batch)
    assert batch["request_counts"] == {"total": 400, "completed": 400, "failed": 0}


def test_other_endpoints(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    vectors = {
        "custom_id": "v",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "scripted", "input": ["one", "two"]},
    }
    batch = ended(http, a_batch(http, [vectors], "/v1/embeddings"))
    assert batch["status"] == "completed", batch["errors"]
    body = lines_of(http, batch["output_file_id"])["v"]["response"]["body"]
    assert [len(item["embedding"]) > 0 for item in body["data"]] == [True, True]
    judged = {"custom_id": "m", "method": "POST", "url": "/v1/moderations", "body": {"input": "I like boats."}}
    batch = ended(http, a_batch(http, [judged], "/v1/moderations"))
    assert batch["status"] == "completed", batch["errors"]
    assert lines_of(http, batch["output_file_id"])["m"]["response"]["body"]["results"][0]["flagged"] is False
    prompt = {
        "custom_id": "c",
        "method": "POST",
        "url": "/v1/completions",
        "body": {"model": "gpt-4o", "prompt": "Once"},
    }
    batch = ended(http, a_batch(http, [prompt], "/v1/completions"))
    assert batch["status"] == "completed", batch["errors"]
    assert lines_of(http, batch["output_file_id"])["c"]["response"]["body"]["object"] == "text_completion"


def test_batches_are_listed_from_the_newest(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    made = [a_batch(http, [a_line(1)])["id"] for _ in range(3)]
    page = http.get("/batches", params={"limit": 2}).json()
    assert [batch["id"] for batch in page["data"]] == [made[2], made[1]]
    assert page["has_more"] is True
    page = http.get("/batches", params={"limit": 1, "after": page["last_id"]}).json()
    assert [batch["id"] for batch in page["data"]] == [made[0]]
    assert page["first_id"] == page["last_id"] == made[0]


def test_a_batch_that_was_cancelled_before_its_file_was_looked_at_is_asked_again_whole(
    http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    made = a_batch(http, [a_line(number) for number in range(20_000)])
    assert http.post(f"/batches/{made['id']}/cancel").json()["status"] == "cancelling"
    batch = ended(http, made)
    assert batch["status"] == "cancelled"
    again = http.post(f"/batches/{made['id']}/retry")
    assert again.status_code == 200, again.text
    lines = 20_000 if batch["error_file_id"] is None else len(lines_of(http, batch["error_file_id"]))
    deadline = time.monotonic() + 60
    while not (total := http.get(f"/batches/{again.json()['id']}").json()["request_counts"]["total"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert total == lines
    http.post(f"/batches/{again.json()['id']}/cancel")
    assert ended(http, again.json())["status"] == "cancelled"
    refused = http.post(f"/batches/{made['id']}/retry", json={"metadata": {"a": "b"}})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "metadata"


def test_a_batch_is_waited_for(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    batch = a_batch(http, [a_line(1)])
    seen = [batch["status"]]
    while seen[-1] != "completed":
        seen.append(http.get(f"/batches/{batch['id']}", params={"wait": 30}).json()["status"])
        assert len(seen) < 10
    for wrong in ("-1", "61", "nan", "soon"):
        assert http.get(f"/batches/{batch['id']}", params={"wait": wrong}).status_code == 400
