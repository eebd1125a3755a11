"""What Assistants, files, uploads and vector stores gained until their last day: taken, kept, shown and obeyed."""

import time

import httpx
import pytest

from tests.api.test_uploads import a_part, an_upload, complete
from tests.builders import Json, a_run, a_thread, an_assistant, fetched, posted, refused, settled
from tests.scripted import ScriptedUpstream
from tests.stores import a_file, counts, ready

HOUR = {"anchor": "created_at", "seconds": 3600}

# --- how hard to think -----------------------------------------------------------------------------------------------


def test_an_assistants_effort_is_kept_and_shown(http: httpx.Client) -> None:
    assistant = an_assistant(http, reasoning_effort="low")
    assert assistant["reasoning_effort"] == "low"
    path = f"/assistants/{assistant['id']}"
    assert fetched(http, path) == assistant
    assert fetched(http, "/assistants", limit=1)["data"] == [assistant]
    assert posted(http, path, {"name": "A"})["reasoning_effort"] == "low"
    for effort in ("none", "minimal", "medium", "high", "xhigh", "max"):
        assert posted(http, path, {"reasoning_effort": effort})["reasoning_effort"] == effort
    assert "reasoning_effort" not in posted(http, path, {"reasoning_effort": None})
    refused(http.post(path, json={"reasoning_effort": "some"}), 400, param="reasoning_effort", code="invalid_value")


def test_a_model_is_told_the_effort(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    careful, plain = an_assistant(http, reasoning_effort="high"), an_assistant(http)
    for assistant, asked, told in (
        (careful, {}, "high"),
        (careful, {"reasoning_effort": "none"}, "none"),
        (plain, {}, None),
    ):
        run = a_run(http, a_thread(http, "Think."), assistant, **asked)
        assert run.get("reasoning_effort") == told
        assert settled(http, run, "completed").get("reasoning_effort") == told
        assert upstream.requests[-1].body.get("reasoning_effort") == told
    body = {"assistant_id": plain["id"], "reasoning_effort": "low", "thread": {"messages": [HELLO]}}
    assert posted(http, "/threads/runs", body)["reasoning_effort"] == "low"


HELLO = {"role": "user", "content": "Hi"}


def test_v1_has_no_effort(http: httpx.Client, old_http: httpx.Client) -> None:
    assistant = an_assistant(http, reasoning_effort="low")
    assert "reasoning_effort" not in fetched(old_http, f"/assistants/{assistant['id']}")
    assert "reasoning_effort" not in a_run(old_http, a_thread(old_http, "Hi"), assistant)
    posted(old_http, f"/assistants/{assistant['id']}", {"name": "A"})
    assert fetched(http, f"/assistants/{assistant['id']}")["reasoning_effort"] == "low"


# --- files that expire -----------------------------------------------------------------------------------------------


def upload(http: httpx.Client, **fields: str) -> httpx.Response:
    return http.post("/files", data={"purpose": "assistants", **fields}, files={"file": ("a.txt", b"hello")})


def test_a_file_says_when_it_expires(http: httpx.Client) -> None:
    answer = upload(http, **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592000"})
    file = answer.json()
    assert file["expires_at"] == file["created_at"] + 2_592_000
    assert fetched(http, f"/files/{file['id']}") == file
    assert fetched(http, "/files", limit=1)["data"] == [file]
    for nothing in ({}, {"expires_after": "null"}, {"expires_after[anchor]": "null", "expires_after[seconds]": "null"}):
        assert "expires_at" not in upload(http, **nothing).json()


@pytest.mark.parametrize(
    ("anchor", "seconds", "param", "code"),
    [
        ("created_at", "3599", "expires_after.seconds", "integer_below_min_value"),
        ("created_at", "2592001", "expires_after.seconds", "integer_above_max_value"),
        ("created_at", "soon", "expires_after.seconds", "invalid_type"),
        ("created_at", None, "expires_after.seconds", "missing_required_parameter"),
        (None, "3600", "expires_after.anchor", "missing_required_parameter"),
        ("last_active_at", "3600", "expires_after.anchor", "invalid_value"),
    ],
)
def test_a_time_that_cannot_be(
    http: httpx.Client, anchor: str | None, seconds: str | None, param: str, code: str
) -> None:
    before = fetched(http, "/files", limit=1)["first_id"]
    given = {"anchor": anchor, "seconds": seconds}
    fields = {f"expires_after[{name}]": value for name, value in given.items() if value is not None}
    refused(upload(http, **fields), 400, param=param, code=code)
    assert fetched(http, "/files", limit=1)["first_id"] == before


def test_forms_name_nothing_else(http: httpx.Client) -> None:
    refused(upload(http, **{"expires_after[days]": "1"}), 400, param="expires_after[days]", code="unknown_parameter")
    refused(upload(http, expires_after="3600"), 400, param="expires_after", code="invalid_type")


def test_an_upload_becomes_a_file_that_expires(http: httpx.Client) -> None:
    id = an_upload(http, 5, expires_after={"anchor": "created_at", "seconds": 7200}, purpose="user_data")
    done = complete(http, id, [a_part(http, id, b"hello")])
    file = done["file"]
    assert done["purpose"] == file["purpose"] == "user_data"
    assert file["expires_at"] == file["created_at"] + 7200
    assert fetched(http, f"/files/{file['id']}") == file
    body = {"filename": "a.txt", "purpose": "evals", "bytes": 1, "mime_type": "text/plain"}
    wrong = {**body, "expires_after": {**HOUR, "seconds": 60}}
    refused(http.post("/uploads", json=wrong), 400, param="expires_after.seconds", code="integer_below_min_value")
    assert posted(http, "/uploads", {**body, "expires_after": None})["purpose"] == "evals"


# --- vector stores ---------------------------------------------------------------------------------------------------


def test_a_store_has_a_description(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores", {"name": "facts", "description": "What is known."})
    assert store["description"] == "What is known."
    assert fetched(http, f"/vector_stores/{store['id']}")["description"] == "What is known."
    assert "description" not in posted(http, "/vector_stores", {"description": None})


def test_a_batch_whose_files_have_settings_of_their_own(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores")
    one, other = a_file(http, "The capital of Norway is Oslo."), a_file(http, "Bananas are yellow.")
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}
    files = [
        {"file_id": one, "attributes": {"about": "Norway", "year": 2026}, "chunking_strategy": static},
        {"file_id": other, "attributes": None, "chunking_strategy": None},
    ]
    path = f"/vector_stores/{store['id']}"
    batch = posted(http, f"{path}/file_batches", {"files": files})
    batch = ready(http, batch, f"{path}/file_batches/{batch['id']}")
    assert batch["file_counts"] == counts(completed=2)
    first = fetched(http, f"{path}/files/{one}")
    assert (first["attributes"], first["chunking_strategy"]) == ({"about": "Norway", "year": 2026}, static)
    assert fetched(http, f"{path}/files/{other}")["attributes"] == {}


@pytest.mark.parametrize("member", ["file_ids", "files"])
def test_a_batch_may_have_two_thousand_files(http: httpx.Client, member: str) -> None:
    path = f"/vector_stores/{posted(http, '/vector_stores')['id']}/file_batches"
    ids = [f"file-{number}" for number in range(2001)]
    named = ids if member == "file_ids" else [{"file_id": id} for id in ids]
    refused(http.post(path, json={member: named}), 400, param=member, code="array_above_max_length")
    refused(http.post(path, json={member: named[:2000]}), 404, "No such File object: file-0")


USUAL: Json = {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}}


def test_a_search_shows_how_it_ranks(http: httpx.Client) -> None:
    """As the platform was recorded to fill it in."""
    own = {"ranker": "auto", "score_threshold": 0.5}
    for given, shown in (
        ({}, USUAL),
        ({"file_search": {}}, USUAL),
        ({"file_search": None}, USUAL),
        ({"file_search": {"max_num_results": 3}}, {**USUAL, "max_num_results": 3}),
        ({"file_search": {"ranking_options": own}}, {"ranking_options": own}),
        ({"file_search": {"ranking_options": {"score_threshold": 0.5}}}, {"ranking_options": own}),
    ):
        tools = [{"type": "file_search", **given}]
        assistant = an_assistant(http, tools=tools)
        assert assistant["tools"] == [{"type": "file_search", "file_search": shown}]
        assert fetched(http, f"/assistants/{assistant['id']}") == assistant
        run = a_run(http, a_thread(http, "Hi"), assistant)
        assert run["tools"] == assistant["tools"]


def test_the_time_of_a_file_is_counted_from_when_it_was_made(http: httpx.Client) -> None:
    begun = int(time.time())
    id = an_upload(http, 1, expires_after=HOUR)
    time.sleep(1.1)
    file = complete(http, id, [a_part(http, id, b"x")])["file"]
    assert file["expires_at"] == file["created_at"] + 3600 >= begun + 1 + 3600
