"""Vector stores over HTTP, on both databases: stores, files in them, batches, search."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.builders import Json, fetched, posted, refused
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file, a_store, counts, files_in, found, ready


@pytest.fixture
def http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


# --- stores ----------------------------------------------------------------------------------------------------------


def test_a_new_store_is_empty_and_complete(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores", {})
    assert store == {
        "id": store["id"],
        "object": "vector_store",
        "created_at": store["created_at"],
        "name": None,
        "usage_bytes": 0,
        "file_counts": counts(),
        "status": "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": store["created_at"],
        "metadata": {},
    }
    assert store["id"].startswith("vs_")
    assert fetched(http, f"/vector_stores/{store['id']}") == store
    assert fetched(http, "/vector_stores", limit=1)["data"] == [store]


def test_a_store_is_modified_and_deleted(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores", {"name": "one", "metadata": {"a": "b"}})
    path = f"/vector_stores/{store['id']}"
    assert posted(http, path, {"metadata": {"modified": "true"}})["name"] == "one"
    expiring = posted(http, path, {"name": "two", "expires_after": {"anchor": "last_active_at", "days": 7}})
    assert expiring["expires_at"] == expiring["last_active_at"] + 7 * 86400
    assert (expiring["name"], expiring["metadata"]) == ("two", {"modified": "true"})
    plain = posted(http, path, {"name": None, "expires_after": None, "metadata": None})
    assert (plain["name"], plain["expires_after"], plain["expires_at"], plain["metadata"]) == (None, None, None, {})
    answer = http.delete(path)
    assert answer.json() == {"id": store["id"], "object": "vector_store.deleted", "deleted": True}
    refused(http.get(path), 404, store["id"])
    refused(http.delete(path), 404, store["id"])


def test_a_store_with_files_has_read_them_soon(http: httpx.Client) -> None:
    store = a_store(http, "The capital of Norway is Oslo.", "Bananas are yellow.", name="facts")
    assert store["file_counts"] == counts(completed=2)
    assert store["status"] == "completed"
    assert store["usage_bytes"] > 2 * 64 * 4
    assert len(files_in(http, store)) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ({"expires_after": {"anchor": "last_active_at", "days": 366}}, "expires_after.days"),
        ({"file_ids": ["file-1"] * 501}, "file_ids"),
        ({"colour": "red"}, "colour"),
        ({"chunking_strategy": {"type": "static"}}, "chunking_strategy.static"),
    ],
)
def test_a_store_that_cannot_be_is_refused(http: httpx.Client, body: Json, param: str) -> None:
    refused(http.post("/vector_stores", json=body), 400, param=param)


def test_an_overlap_of_more_than_half_is_refused(http: httpx.Client) -> None:
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 401}}
    body = {"file_ids": [a_file(http)], "chunking_strategy": chunking}
    param = "chunking_strategy.static.chunk_overlap_tokens"
    refused(http.post("/vector_stores", json=body), 400, "at most half", param=param)


def test_files_that_are_not_there_are_refused(http: httpx.Client) -> None:
    before = fetched(http, "/vector_stores", limit=1)["first_id"]
    refused(http.post("/vector_stores", json={"file_ids": ["file-nowhere"]}), 404, "No such File object: file-nowhere")
    assert fetched(http, "/vector_stores", limit=1)["first_id"] == before
    store = posted(http, "/vector_stores")
    refused(http.post(f"/vector_stores/{store['id']}/files", json={"file_id": "file-nowhere"}), 404, "file-nowhere")
    file_id = a_file(http)
    refused(http.post("/vector_stores/vs_nowhere/files", json={"file_id": file_id}), 404, "vs_nowhere")
    refused(http.get(f"/vector_stores/{store['id']}/files/{file_id}"), 404, f"found with id '{file_id}'")


SUPPORTED_FILES = "https://platform.openai.com/docs/assistants/tools/file-search/supported-files"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a.csv"], ".csv"),
        (["a.txt", "B.XLSX", "c.csv", "d.tar.gz", "e.csv"], ".xlsx, .csv, .gz"),
        (["README"], "none"),
        (["notes.txt.bak"], ".bak"),
    ],
)
def test_kinds_that_are_not_read_are_refused_at_once(http: httpx.Client, names: list[str], shown: str) -> None:
    store = posted(http, "/vector_stores")
    path = f"/vector_stores/{store['id']}"
    ids = [a_file(http, "1,2", name) for name in names]
    each = [
        http.post("/vector_stores", json={"file_ids": ids}),
        http.post(f"{path}/file_batches", json={"file_ids": ids}),
        http.post(f"{path}/file_batches", json={"files": [{"file_id": id} for id in ids]}),
    ]
    if len(ids) == 1:
        each.append(http.post(f"{path}/files", json={"file_id": ids[0]}))
    for answer in each:
        assert answer.status_code == 400
        assert answer.json()["error"] == {
            "message": f"Files with extensions [{shown}] are not supported for retrieval. See {SUPPORTED_FILES}",
            "type": "invalid_request_error",
            "param": "file_ids",
            "code": "unsupported_file",
        }
    assert fetched(http, "/vector_stores", limit=1)["first_id"] == store["id"]
    assert fetched(http, path)["file_counts"] == counts()


def test_a_name_is_judged_by_its_last_extension_large_or_small(http: httpx.Client) -> None:
    ids = [a_file(http, "some words", name) for name in ("A.TXT", "table.csv.md", "Page.Json")]
    store = ready(http, posted(http, "/vector_stores", {"file_ids": ids}))
    assert store["file_counts"] == counts(completed=3)


def test_the_beta_header_is_not_needed(server: Everloom) -> None:
    for beta in (None, "assistants=v2", "assistants=v1"):
        with client_of(server, beta=beta) as http:
            assert posted(http, "/vector_stores")["object"] == "vector_store"


# --- files in a store ------------------------------------------------------------------------------------------------


def test_a_file_goes_in_is_read_and_comes_out(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores")
    path = f"/vector_stores/{store['id']}"
    file_id = a_file(http)
    file = posted(http, f"{path}/files", {"file_id": file_id})
    assert file == {
        "id": file_id,
        "object": "vector_store.file",
        "usage_bytes": 0,
        "created_at": file["created_at"],
        "vector_store_id": store["id"],
        "status": "in_progress",
        "last_error": None,
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        },
        "attributes": {},
    }
    done = ready(http, file, f"{path}/files/{file_id}")
    assert done == file | {"status": "completed", "usage_bytes": 12 + 64 * 4}
    store = fetched(http, path)
    assert (store["status"], store["usage_bytes"], store["file_counts"]) == ("completed", 268, counts(completed=1))
    assert [result["file_id"] for result in found(http, store, "hello world")] == [file_id]
    answer = http.delete(f"{path}/files/{file_id}")
    assert answer.json() == {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}
    store = fetched(http, path)
    assert (store["usage_bytes"], store["file_counts"]) == (0, counts())
    assert found(http, store, "hello world") == []
    refused(http.delete(f"{path}/files/{file_id}"), 404, file_id)
    assert fetched(http, f"/files/{file_id}")["id"] == file_id


def test_what_cannot_be_read_fails_and_says_why(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores")
    path = f"/vector_stores/{store['id']}"
    cases = [
        ("letter.docx", b"ID3", "invalid_file"),
        ("paper.pdf", b"no PDF at all", "invalid_file"),
        ("empty.txt", b" \n ", "invalid_file"),
    ]
    for name, data, code in cases:
        file_id = a_file(http, data, name)
        posted(http, f"{path}/files", {"file_id": file_id})
        file = ready(http, {}, f"{path}/files/{file_id}")
        assert (file["status"], file["last_error"]["code"], file["usage_bytes"]) == ("failed", code, 0), name
        assert file["last_error"]["message"]
    store = fetched(http, path)
    assert (store["status"], store["file_counts"]) == ("completed", counts(failed=3))


def test_a_file_that_is_put_in_again_is_read_again(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    store = a_store(http, "one two three " * 100)
    (file_id,) = files_in(http, store)
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    body = {"file_id": file_id, "chunking_strategy": chunking, "attributes": {"round": 2}}
    again = posted(http, f"/vector_stores/{store['id']}/files", body)
    assert (again["status"], again["chunking_strategy"], again["attributes"]) == ("in_progress", chunking, {"round": 2})
    store = ready(http, store)
    assert store["file_counts"] == counts(completed=1)
    results = found(http, store, "three", max_num_results=50)
    assert len(results) > 1
    assert all(result["attributes"] == {"round": 2} for result in results)


def test_files_are_listed_by_status_and_in_pages(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores")
    path = f"/vector_stores/{store['id']}/files"
    ids = [a_file(http, f"text {place}") for place in range(4)] + [a_file(http, "x", "a.pdf")]
    for file_id in ids:
        posted(http, path, {"file_id": file_id})
    ready(http, store)
    assert files_in(http, store) == ids[::-1]
    assert files_in(http, store, order="asc", limit=2) == ids[:2]
    assert files_in(http, store, order="asc", after=ids[1], limit=2) == ids[2:4]
    assert files_in(http, store, order="asc", before=ids[3], limit=2) == ids[1:3]
    assert files_in(http, store, filter="failed") == ids[4:]
    assert files_in(http, store, filter="completed", order="asc") == ids[:4]
    assert files_in(http, store, filter="in_progress") == []
    refused(http.get(path, params={"filter": "lost"}), 400, param="filter")
    page = fetched(http, path, limit=2)
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[4], ids[3], True)


def test_a_client_that_deletes_what_it_lists_meets_every_file(http: httpx.Client) -> None:
    store = a_store(http, *[f"text {place}" for place in range(5)])
    path = f"/vector_stores/{store['id']}/files"
    seen: list[str] = []
    query: Json = {"limit": 2}
    while page := fetched(http, path, **query)["data"]:
        for file in page:
            assert http.delete(f"{path}/{file['id']}").status_code == 200
            seen.append(file["id"])
        query["after"] = page[-1]["id"]
    assert len(set(seen)) == len(seen) == 5


def test_attributes_are_replaced(http: httpx.Client) -> None:
    store = a_store(http, "text")
    (file_id,) = files_in(http, store)
    path = f"/vector_stores/{store['id']}/files/{file_id}"
    attributes = {"author": "Ann", "year": 2024, "draft": False, "weight": 1.5}
    assert posted(http, path, {"attributes": attributes})["attributes"] == attributes
    assert posted(http, path, {"attributes": {"year": 2025}})["attributes"] == {"year": 2025}
    assert posted(http, path, {"attributes": None})["attributes"] == {}
    refused(http.post(path, json={"attributes": {"x": [1]}}), 400)
    refused(http.post(path, json={"attributes": {str(place): 1 for place in range(17)}}), 400, param="attributes")


def test_the_text_of_a_file_can_be_read(http: httpx.Client) -> None:
    store = a_store(http, "# Title\n\nsome words")
    (file_id,) = files_in(http, store)
    page = fetched(http, f"/vector_stores/{store['id']}/files/{file_id}/content")
    assert page["data"] == [{"type": "text", "text": "# Title\n\nsome words"}]


def test_a_deleted_file_leaves_every_store(http: httpx.Client) -> None:
    one, two = a_store(http, "apples are red"), posted(http, "/vector_stores")
    (file_id,) = files_in(http, one)
    posted(http, f"/vector_stores/{two['id']}/files", {"file_id": file_id})
    ready(http, two)
    assert len(found(http, two, "apples")) == 1
    assert http.delete(f"/files/{file_id}").status_code == 200
    for store in (one, two):
        assert fetched(http, f"/vector_stores/{store['id']}")["file_counts"] == counts()
        assert files_in(http, store) == []
        assert found(http, store, "apples") == []


def test_a_store_in_use_elsewhere_keeps_the_file(http: httpx.Client) -> None:
    one, two = a_store(http, "apples are red"), posted(http, "/vector_stores")
    (file_id,) = files_in(http, one)
    posted(http, f"/vector_stores/{two['id']}/files", {"file_id": file_id})
    ready(http, two)
    assert http.delete(f"/vector_stores/{one['id']}").status_code == 200
    assert [result["filename"] for result in found(http, two, "apples")] == ["file0.txt"]


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_read_together(http: httpx.Client) -> None:
    store = a_store(http, "there already")
    path = f"/vector_stores/{store['id']}/file_batches"
    ids = [a_file(http, f"text {place}") for place in range(25)]
    batch = posted(http, path, {"file_ids": [*ids, ids[0]], "attributes": {"lot": "a"}})
    assert batch["object"] == "vector_store.files_batch"
    assert batch["id"].startswith("vsfb_")
    assert (batch["vector_store_id"], batch["file_counts"]["total"]) == (store["id"], 25)
    batch = ready(http, batch, f"{path}/{batch['id']}")
    assert (batch["status"], batch["file_counts"]) == ("completed", counts(completed=25))
    assert fetched(http, f"/vector_stores/{store['id']}")["file_counts"] == counts(completed=26)
    page = fetched(http, f"{path}/{batch['id']}/files", order="asc", limit=20)
    assert [file["id"] for file in page["data"]] == ids[:20]
    assert all(file["attributes"] == {"lot": "a"} for file in page["data"])
    rest = fetched(http, f"{path}/{batch['id']}/files", order="asc", after=page["last_id"])
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == (ids[20:], False)
    assert fetched(http, f"{path}/{batch['id']}/files", filter="failed")["data"] == []
    done = posted(http, f"{path}/{batch['id']}/cancel")
    assert (done["status"], done["file_counts"]) == ("completed", counts(completed=25))


def test_a_batch_of_files_with_their_own_settings(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores")
    ids = [a_file(http), a_file(http)]
    files = [{"file_id": ids[0], "attributes": {"n": 0}}, {"file_id": ids[1]}]
    path = f"/vector_stores/{store['id']}/file_batches"
    batch = posted(http, path, {"files": files})
    ready(http, batch, f"{path}/{batch['id']}")
    shown = {file["id"]: file["attributes"] for file in fetched(http, f"/vector_stores/{store['id']}/files")["data"]}
    assert shown == {ids[0]: {"n": 0}, ids[1]: {}}
    refused(http.post(path, json={}), 400, param="file_ids")
    refused(http.post(path, json={"files": files, "file_ids": ids}), 400, param="files")
    refused(http.post(path, json={"file_ids": []}), 400, param="file_ids")
    refused(http.get(f"{path}/vsfb_nowhere"), 404, "vsfb_nowhere")


def test_a_batch_is_cancelled(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.embedding_delay = 0.5
    store = posted(http, "/vector_stores")
    ids = [a_file(http, f"text {place}") for place in range(12)]
    path = f"/vector_stores/{store['id']}/file_batches"
    batch = posted(http, path, {"file_ids": ids})
    cancelled = posted(http, f"{path}/{batch['id']}/cancel")
    assert cancelled["status"] == "cancelled"
    state = cancelled["file_counts"]
    assert state["in_progress"] == 0
    assert state["cancelled"] + state["completed"] == state["total"] == 12
    assert state["cancelled"] >= 8
    assert fetched(http, f"/vector_stores/{store['id']}")["file_counts"] == state
    upstream.embedding_delay = 0
    time.sleep(0.8)  # what was in hand has ended
    assert fetched(http, f"/vector_stores/{store['id']}")["file_counts"] == state
    assert len(found(http, store, "text", max_num_results=50)) == state["completed"]


# --- search ----------------------------------------------------------------------------------------------------------


def test_search_finds_the_best_first(http: httpx.Client) -> None:
    store = a_store(http, "Oslo is the capital of Norway.", "Bananas are yellow fruit.", "The order number is XK-4711.")
    page = posted(http, f"/vector_stores/{store['id']}/search", {"query": "capital of Norway"})
    assert page["object"] == "vector_store.search_results.page"
    assert (page["search_query"], page["has_more"], page["next_page"]) == (["capital of Norway"], False, None)
    scores = [result["score"] for result in page["data"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    first = page["data"][0]
    assert (first["filename"], first["attributes"]) == ("file0.txt", {})
    assert first["content"] == [{"type": "text", "text": "Oslo is the capital of Norway."}]
    assert found(http, store, "What about xk 4711?")[0]["filename"] == "file2.txt"
    assert len(found(http, store, "capital", max_num_results=1)) == 1
    both = found(http, store, ["capital of Norway", "yellow bananas"])
    assert {result["filename"] for result in both[:2]} == {"file0.txt", "file1.txt"}
    assert len(both) == len({result["file_id"] for result in both})


def test_a_threshold_leaves_out_what_fits_badly(http: httpx.Client) -> None:
    store = a_store(http, "Oslo is the capital of Norway.", "Bananas are yellow fruit.")
    results = found(http, store, "Oslo is the capital of Norway.", ranking_options={"score_threshold": 0.9})
    assert [result["filename"] for result in results] == ["file0.txt"]
    refused(
        http.post(
            f"/vector_stores/{store['id']}/search", json={"query": "x", "ranking_options": {"score_threshold": 2}}
        ),
        400,
        param="ranking_options.score_threshold",
    )


def eq(key: str, value: Any, type: str = "eq") -> Json:
    return {"type": type, "key": key, "value": value}


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        (eq("year", 2023), {"b"}),
        (eq("year", 2023, "ne"), {"a", "c", "d"}),
        (eq("year", 2023, "gte"), {"b", "c"}),
        (eq("year", 2023, "gt"), {"c"}),
        (eq("year", 2023, "lte"), {"a", "b"}),
        (eq("year", 2023, "lt"), {"a"}),
        (eq("year", [2022, 2024], "in"), {"a", "c"}),
        (eq("year", [2022, 2024], "nin"), {"b", "d"}),
        (eq("author", "Ann"), {"a", "c"}),
        (eq("author", "B", "gt"), {"b"}),
        (eq("draft", True), {"a"}),
        (eq("draft", 1), set()),
        (eq("year", "2023", "gt"), set()),
        ({"type": "and", "filters": [eq("author", "Ann"), eq("year", 2024)]}, {"c"}),
        ({"type": "or", "filters": [eq("author", "Bob"), eq("year", 2024)]}, {"b", "c"}),
        (
            {
                "type": "and",
                "filters": [
                    eq("year", 2030, "lt"),
                    {"type": "or", "filters": [eq("draft", True), eq("author", "Bob")]},
                ],
            },
            {"a", "b"},
        ),
    ],
)
def test_filters_choose_files(filtered: tuple[httpx.Client, Json], filter: Json, wanted: set[str]) -> None:
    http, store = filtered
    results = found(http, store, "apple pie", filters=filter, max_num_results=50)
    assert {result["filename"].removesuffix(".txt") for result in results} == wanted


FILED: dict[str, Json] = {
    "a": {"author": "Ann", "year": 2022, "draft": True},
    "b": {"author": "Bob", "year": 2023, "draft": False},
    "c": {"author": "Ann", "year": 2024},
    "d": {},
}


@pytest.fixture(scope="module")
def filtered(sqlite_server: Everloom) -> Iterator[tuple[httpx.Client, Json]]:
    """A store of four files with attributes."""
    with client_of(sqlite_server) as http:
        store = posted(http, "/vector_stores")
        for name, attributes in FILED.items():
            file_id = a_file(http, f"apple pie {name}", f"{name}.txt")
            posted(http, f"/vector_stores/{store['id']}/files", {"file_id": file_id, "attributes": attributes})
        yield http, ready(http, store)


@pytest.mark.parametrize(
    ("filter", "param"),
    [
        ({"type": "like", "key": "a", "value": "b"}, "filters.type"),
        ({"type": "eq", "key": "a"}, "filters.value"),
        ({"type": "eq", "key": 1, "value": 1}, "filters.key"),
        ({"type": "eq", "key": "a", "value": None}, "filters.value"),
        ({"type": "in", "key": "a", "value": "b"}, "filters.value"),
        ({"type": "eq", "key": "a", "value": 1, "more": 2}, "filters.more"),
        ({"type": "and", "filters": []}, "filters.filters"),
        ({"type": "or", "filters": [{"type": "eq", "key": "a", "value": 1}, 7]}, "filters.filters[1]"),
    ],
)
def test_a_filter_that_is_none_is_refused(filtered: tuple[httpx.Client, Json], filter: Json, param: str) -> None:
    http, store = filtered
    answer = http.post(f"/vector_stores/{store['id']}/search", json={"query": "x", "filters": filter})
    refused(answer, 400, param=param)


def test_a_search_of_nothing_finds_nothing(http: httpx.Client) -> None:
    store = posted(http, "/vector_stores")
    assert found(http, store, "anything") == []
    refused(http.post("/vector_stores/vs_nowhere/search", json={"query": "x"}), 404, "vs_nowhere")
    refused(http.post(f"/vector_stores/{store['id']}/search", json={}), 400, param="query")
    refused(http.post(f"/vector_stores/{store['id']}/search", json={"query": ""}), 400, param="query")
