"""The Uploads tag over real HTTP: parts in any order and side by side, and whatever a client may do wrong."""

import contextlib
import hashlib
import random
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.test_files import eventually
from tests.builders import Json, fetched, posted, refused
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

MIB = 1024 * 1024
PART_LIMIT = 64 * MIB


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server that only these tests use, so that its blobs can be counted."""
    with Everloom(tmp_path_factory.mktemp("uploads")) as server:
        yield server


@pytest.fixture
def http(alone: Everloom) -> Iterator[httpx.Client]:
    with client_of(alone, beta=None) as client:
        yield client


def blobs(server: Everloom) -> set[str]:
    return {path.name for path in (server.data / "blobs").iterdir()}


def an_upload(http: httpx.Client, size: int, **fields: Any) -> str:
    body = {"filename": "a.txt", "purpose": "assistants", "bytes": size, "mime_type": "text/plain", **fields}
    id: str = posted(http, "/uploads", body)["id"]
    return id


def a_part(http: httpx.Client, upload: str, data: bytes) -> str:
    answer = http.post(f"/uploads/{upload}/parts", files={"data": data})
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["id"]
    return id


def complete(http: httpx.Client, upload: str, parts: list[str], **fields: Any) -> Json:
    return posted(http, f"/uploads/{upload}/complete", {"part_ids": parts, **fields})


def content(http: httpx.Client, upload: Json) -> bytes:
    return http.get(f"/files/{upload['file']['id']}/content").content


# --- the four operations ---------------------------------------------------------------------------------------------


def test_an_upload_becomes_a_file(each_server: Everloom) -> None:
    with client_of(each_server, beta=None) as http:
        body = {"filename": "lines.jsonl", "purpose": "batch", "bytes": 10, "mime_type": "text/jsonl"}
        upload = posted(http, "/uploads", body)
        assert upload == {
            "id": upload["id"],
            "object": "upload",
            "bytes": 10,
            "created_at": upload["created_at"],
            "filename": "lines.jsonl",
            "purpose": "batch",
            "status": "pending",
            "expires_at": upload["created_at"] + 3600,
            "file": None,
        }
        assert upload["id"].startswith("upload_")
        second, first = a_part(http, upload["id"], b"world"), a_part(http, upload["id"], b"hello")
        part = http.post(f"/uploads/{upload['id']}/parts", files={"data": b"never named"}).json()
        assert part == {
            "id": part["id"],
            "object": "upload.part",
            "created_at": part["created_at"],
            "upload_id": upload["id"],
        }
        assert part["id"].startswith("part_")
        done = complete(http, upload["id"], [first, second], md5=hashlib.md5(b"helloworld").hexdigest().upper())
        file = done["file"]
        assert done == upload | {"status": "completed", "file": file}
        assert file == fetched(http, f"/files/{file['id']}")
        assert (file["filename"], file["purpose"], file["bytes"]) == ("lines.jsonl", "batch", 10)
        assert file["status"] == "processed"
        assert content(http, done) == b"helloworld"
        assert file["id"] in [listed["id"] for listed in fetched(http, "/files", purpose="batch")["data"]]


def test_parts_go_when_their_upload_ends(http: httpx.Client, alone: Everloom) -> None:
    before = blobs(alone)
    upload = an_upload(http, 5)
    parts = [a_part(http, upload, b"hello"), a_part(http, upload, b"not named")]
    assert blobs(alone) - before == set(parts)
    done = complete(http, upload, parts[:1])
    assert blobs(alone) - before == {done["file"]["id"]}
    cancelled = an_upload(http, 5)
    a_part(http, cancelled, b"hello")
    assert posted(http, f"/uploads/{cancelled}/cancel")["status"] == "cancelled"
    assert blobs(alone) - before == {done["file"]["id"]}


def test_parts_in_parallel_and_in_any_order(each_server: Everloom) -> None:
    pieces = [bytes([number]) * (300_000 + number) for number in range(24)]
    data = b"".join(pieces)
    with client_of(each_server, beta=None) as http:
        upload = an_upload(http, len(data))
        order = random.Random(5).sample(range(24), 24)
        with ThreadPoolExecutor(8) as threads:
            ids = dict(zip(order, threads.map(lambda number: a_part(http, upload, pieces[number]), order), strict=True))
        done = complete(http, upload, [ids[number] for number in range(24)], md5=hashlib.md5(data).hexdigest())
        assert content(http, done) == data


def test_a_part_may_be_a_field_of_text_as_in_the_reference(http: httpx.Client) -> None:
    upload = an_upload(http, 4)
    part = http.post(f"/uploads/{upload}/parts", files={"data": (None, b"aGVs")})
    assert part.status_code == 200
    assert content(http, complete(http, upload, [part.json()["id"]])) == b"aGVs"


def test_nothing_at_all_is_a_file_too(http: httpx.Client) -> None:
    assert content(http, complete(http, an_upload(http, 0), [])) == b""
    upload = an_upload(http, 0)
    assert content(http, complete(http, upload, [a_part(http, upload, b"")])) == b""


def test_the_same_completion_again_is_answered_again(http: httpx.Client) -> None:
    """A client that never got the answer asks again, and so does every SDK."""
    upload = an_upload(http, 5)
    parts = [a_part(http, upload, b"hel"), a_part(http, upload, b"lo")]
    done = complete(http, upload, parts)
    assert complete(http, upload, parts) == done
    for other in ({"part_ids": parts[::-1]}, {"part_ids": parts, "md5": "0" * 32}):
        refused(
            http.post(f"/uploads/{upload}/complete", json=other),
            400,
            message="Cannot complete upload with status 'completed'.",
        )


def test_of_many_completions_one_wins(each_server: Everloom) -> None:
    with client_of(each_server, beta=None) as http:
        before = {file["id"] for file in fetched(http, "/files")["data"]}
        upload = an_upload(http, 2 * MIB)
        ids = [a_part(http, upload, b"a" * MIB), a_part(http, upload, b"b" * MIB)]
        orders = [ids, ids[::-1]] * 4
        with ThreadPoolExecutor(8) as threads:
            answers = list(
                threads.map(lambda ids: http.post(f"/uploads/{upload}/complete", json={"part_ids": ids}), orders)
            )
        good = [(order, answer) for order, answer in zip(orders, answers, strict=True) if answer.status_code == 200]
        assert {answer.status_code for answer in answers} == {200, 400}
        (winner,) = {answer.text for _, answer in good}
        assert all(order == good[0][0] for order, _ in good)
        made = {file["id"] for file in fetched(http, "/files")["data"]} - before
        assert len(made) == 1
        assert made.pop() in winner
        assert content(http, good[0][1].json())[:1] == (b"a" if good[0][0] == ids else b"b")


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bytes": 8 * 1024**3 + 1}, {"param": "bytes", "code": "integer_above_max_value"}),
        ({"bytes": -1}, {"param": "bytes", "code": "integer_below_min_value"}),
        ({"bytes": "5"}, {"param": "bytes", "code": "invalid_type"}),
        ({"purpose": "assistants_output"}, {"param": "purpose", "code": "invalid_value"}),
        ({"purpose": "batch"}, {"param": None, "code": None}),
        ({"filename": ""}, {"param": "filename", "code": "invalid_value"}),
        ({"filename": "../.."}, {"param": "filename", "code": "invalid_value"}),
        ({"filename": "x" * 10_000}, {"param": "filename", "code": "string_above_max_length"}),
        ({"filename": 5}, {"param": "filename", "code": "invalid_type"}),
        ({"mime_type": None}, {"param": "mime_type", "code": "invalid_type"}),
        ({"owner": "me"}, {"param": "owner", "code": "unknown_parameter"}),
    ],
    ids=str,
)
def test_a_wrong_upload_is_refused(http: httpx.Client, change: Json, expected: Json) -> None:
    good = {"filename": "a.txt", "purpose": "assistants", "bytes": 5, "mime_type": "text/plain"}
    refused(http.post("/uploads", json=good | change), 400, **expected)
    for name in good:
        without = {key: value for key, value in good.items() if key != name}
        refused(http.post("/uploads", json=without), 400, param=name, code="missing_required_parameter")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\secret\\a.txt", "a.txt"),
        ("a\0b.txt", "ab.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("line\r\nbreak.txt", "linebreak.txt"),
        ("größe 本.txt", "größe 本.txt"),
    ],
)
def test_a_filename_is_data_never_a_path(http: httpx.Client, alone: Everloom, sent: str, kept: str) -> None:
    upload = an_upload(http, 1, filename=sent)
    done = complete(http, upload, [a_part(http, upload, b"x")])
    assert (done["filename"], done["file"]["filename"]) == (kept, kept)
    assert done["file"]["id"] in blobs(alone)
    answer = http.get(f"/files/{done['file']['id']}/content")
    assert answer.content == b"x"
    assert answer.headers["content-disposition"].isascii()


def test_a_completion_names_parts_that_are_there_once_and_enough(http: httpx.Client, alone: Everloom) -> None:
    upload, other = an_upload(http, 10), an_upload(http, 5)
    first, second, foreign = (
        a_part(http, upload, b"hello"),
        a_part(http, upload, b"world"),
        a_part(http, other, b"hello"),
    )
    before = blobs(alone)
    for ids, place, text in (
        ([first, foreign], 1, f"no part found with id '{foreign}' in this upload."),
        (["part_nope", second], 0, "no part found with id 'part_nope' in this upload."),
        ([first, ""], 1, "no part found with id '' in this upload."),
        ([first, "x" * 5000], 1, "no part found with id '" + "x" * 128 + "' in this upload."),
        ([first, first], 1, f"part '{first}' is named more than once."),
    ):
        param = f"part_ids[{place}]"
        answer = http.post(f"/uploads/{upload}/complete", json={"part_ids": ids})
        refused(answer, 400, f"Invalid '{param}': {text}", param=param, code="invalid_value")
    for ids, size in (([], 0), ([first], 5)):
        text = f"The number of bytes uploaded ({size}) does not match the number of bytes that the upload was created"
        refused(http.post(f"/uploads/{upload}/complete", json={"part_ids": ids}), 400, text, param="part_ids")
    wrong = {"part_ids": [first, second], "md5": hashlib.md5(b"worldhello").hexdigest()}
    refused(http.post(f"/uploads/{upload}/complete", json=wrong), 400, param="md5", code="invalid_value")
    refused(http.post(f"/uploads/{upload}/complete", json={**wrong, "md5": "nope"}), 400, param="md5")
    # None of these has ended it, or left anything.
    assert blobs(alone) == before
    assert content(http, complete(http, upload, [first, second])) == b"helloworld"


def test_what_has_ended_takes_nothing_more(http: httpx.Client, alone: Everloom) -> None:
    cancelled, completed = an_upload(http, 5), an_upload(http, 5)
    posted(http, f"/uploads/{cancelled}/cancel")
    complete(http, completed, [a_part(http, completed, b"hello")])
    before = blobs(alone)
    for upload, status in ((cancelled, "cancelled"), (completed, "completed")):
        for path, verb, sent in (
            ("parts", "add parts to", {"files": {"data": b"x"}}),
            ("complete", "complete", {"json": {"part_ids": []}}),
            ("cancel", "cancel", {}),
        ):
            answer = http.post(f"/uploads/{upload}/{path}", **sent)
            refused(answer, 400, f"Cannot {verb} upload with status '{status}'.", param=None, code=None)
    assert blobs(alone) == before


def test_uploads_that_nobody_made(http: httpx.Client) -> None:
    for path, sent in (("parts", {"files": {"data": b"x"}}), ("complete", {"json": {"part_ids": []}}), ("cancel", {})):
        answer = http.post(f"/uploads/upload_nope/{path}", **sent)
        refused(answer, 404, "No upload found with id 'upload_nope'.")
        assert http.get(f"/uploads/upload_nope/{path}").status_code == 405


def test_a_part_of_another_project_is_no_part(http: httpx.Client, alone: Everloom) -> None:
    key = alone.command("keys", "create", "--project", f"other-{uuid.uuid4()}").strip()
    upload = an_upload(http, 5)
    part = a_part(http, upload, b"hello")
    with client_of(alone, key, beta=None) as theirs:
        own = an_upload(theirs, 5)
        refused(
            theirs.post(f"/uploads/{own}/complete", json={"part_ids": [part]}), 400, f"no part found with id '{part}'"
        )
        for path, sent in (
            ("parts", {"files": {"data": b"x"}}),
            ("complete", {"json": {"part_ids": [part]}}),
            ("cancel", {}),
        ):
            refused(theirs.post(f"/uploads/{upload}/{path}", **sent), 404, f"No upload found with id '{upload}'.")
    assert content(http, complete(http, upload, [part])) == b"hello"


# --- forms, sizes and silence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("x", (None, b"1"))], {"param": "x", "code": "unknown_parameter"}),
        ([("data", b"1"), ("x", (None, b"1"))], {"param": "x", "code": "unknown_parameter"}),
        ([("data", b"1"), ("data", b"2")], {"param": "data", "code": "invalid_value"}),
    ],
    ids=str,
)
def test_a_wrong_form_leaves_nothing(http: httpx.Client, alone: Everloom, parts: Any, expected: Json) -> None:
    upload = an_upload(http, 1)
    before = blobs(alone)
    refused(http.post(f"/uploads/{upload}/parts", files=parts), 400, **expected)
    refused(http.post(f"/uploads/{upload}/parts", json={"data": "x"}), 400)
    empty: Any = {"content": b"--B--\r\n", "headers": {"content-type": "multipart/form-data; boundary=B"}}
    refused(http.post(f"/uploads/{upload}/parts", **empty), 400, param="data", code="missing_required_parameter")
    eventually(lambda: blobs(alone) == before)


HEAD = b'--B\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\n'
TAIL = b"\r\n--B--\r\n"


def test_the_limit_of_a_part_is_exact_and_its_memory_bounded(http: httpx.Client, alone: Everloom) -> None:
    def form(size: int) -> Iterator[bytes]:
        yield HEAD
        for _ in range(size // MIB):
            yield b"x" * MIB
        yield b"x" * (size % MIB) + TAIL

    headers = {"content-type": "multipart/form-data; boundary=B"}
    upload = an_upload(http, 6 * PART_LIMIT)
    before, peak = blobs(alone), _peak_memory(alone)
    over = http.post(f"/uploads/{upload}/parts", content=form(PART_LIMIT + 1), headers=headers)
    refused(over, 413, f"Maximum content size limit ({PART_LIMIT}) exceeded", param="data")
    eventually(lambda: blobs(alone) == before)

    def send(_: int) -> str:
        answer = http.post(f"/uploads/{upload}/parts", content=form(PART_LIMIT), headers=headers)
        assert answer.status_code == 200, answer.text
        id: str = answer.json()["id"]
        return id

    with ThreadPoolExecutor(3) as threads:
        ids = list(threads.map(send, range(6)))
    done = complete(http, upload, ids, md5=_md5_of_x(6 * PART_LIMIT))
    with http.stream("GET", f"/files/{done['file']['id']}/content") as answer:
        assert sum(map(len, answer.iter_raw())) == 6 * PART_LIMIT
    assert _peak_memory(alone) - peak < 100 * MIB
    http.delete(f"/files/{done['file']['id']}")
    assert blobs(alone) == before


def _md5_of_x(size: int) -> str:
    digest = hashlib.md5()
    for _ in range(size // MIB):
        digest.update(b"x" * MIB)
    return digest.hexdigest()


def _peak_memory(server: Everloom) -> int:
    status = Path(f"/proc/{server.pid}/status")
    if not status.exists():
        pytest.skip("no /proc to read the server's memory from")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("sent", [0, 10, 9 * MIB], ids=["nothing", "a little", "megabytes"])
def test_a_client_that_leaves_in_the_middle_of_a_part_leaves_nothing(
    http: httpx.Client, alone: Everloom, sent: int
) -> None:
    upload = an_upload(http, 5)
    before = blobs(alone)
    with _connection(alone) as connection:
        connection.sendall(_request_head(upload, 10 * MIB) + HEAD + b"x" * sent)
        if sent > MIB:
            eventually(lambda: blobs(alone) != before)
    eventually(lambda: blobs(alone) == before)
    assert content(http, complete(http, upload, [a_part(http, upload, b"hello")])) == b"hello"


def test_a_part_that_comes_too_late_is_refused_though_it_began_in_time(http: httpx.Client, alone: Everloom) -> None:
    upload = an_upload(http, 5)
    before = blobs(alone)
    body = HEAD + b"hello" + TAIL
    with _connection(alone) as connection:
        connection.sendall(_request_head(upload, len(body)) + body[:-10])
        eventually(lambda: len(blobs(alone)) >= len(before))
        posted(http, f"/uploads/{upload}/cancel")
        connection.sendall(body[-10:])
        answer = connection.recv(10_000)
    assert b"HTTP/1.1 400 " in answer
    eventually(lambda: blobs(alone) == before)


@contextlib.contextmanager
def _connection(server: Everloom) -> Iterator[socket.socket]:
    address = urlsplit(server.url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80), timeout=20) as connection:
        yield connection


def _request_head(upload: str, length: int) -> bytes:
    return (
        f"POST /v1/uploads/{upload}/parts HTTP/1.1\r\nHost: everloom\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
