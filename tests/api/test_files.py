"""The Files tag over real HTTP: what clients rely on, and what a hostile one may try."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

MIB = 1024 * 1024
SMALL_LIMIT = 12 * MIB


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server that takes files up to ``SMALL_LIMIT``, and that only these tests use."""
    with Everloom(tmp_path_factory.mktemp("small"), max_file_bytes=SMALL_LIMIT) as server:
        yield server


@pytest.fixture
def small_http(small: Everloom) -> Iterator[httpx.Client]:
    with client_of(small, beta=None) as client:
        yield client


def upload(http: httpx.Client, content: Any = b"hello", name: str = "a.txt", purpose: str = "assistants") -> Any:
    response = http.post("/files", data={"purpose": purpose}, files={"file": (name, content)})
    assert response.status_code == 200, response.text
    return response.json()


def blobs(server: Everloom) -> list[str]:
    return sorted(path.name for path in (server.data / "blobs").iterdir())


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holds()


def error_of(response: httpx.Response) -> tuple[int, str | None, str | None, str]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["param"], error["code"], error["message"]


# --- the five operations -------------------------------------------------------------------------------------------


def test_a_file_goes_in_and_comes_out(http: httpx.Client) -> None:
    content = bytes(range(256)) * 1000
    before = int(time.time())
    file = upload(http, content, "data.bin")
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": 256_000,
        "created_at": file["created_at"],
        "filename": "data.bin",
        "purpose": "assistants",
        "status": "processed",
        "status_details": None,
    }
    assert file["id"].startswith("file-")
    assert before <= file["created_at"] <= time.time()
    assert http.get(f"/files/{file['id']}").json() == file
    answer = http.get(f"/files/{file['id']}/content")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="data.bin"'
    assert answer.headers["content-length"] == "256000"


def test_the_official_client_walks_through(server: Everloom, tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n')
    with openai.OpenAI(base_url=server.url, api_key=API_KEY, max_retries=0) as client:
        file = client.files.create(file=path, purpose="fine-tune")
        assert (file.filename, file.purpose, file.bytes) == ("training.jsonl", "fine-tune", 35)
        assert client.files.retrieve(file.id) == file
        assert client.files.content(file.id).read() == path.read_bytes()
        assert file.id in [listed.id for listed in client.files.list(purpose="fine-tune", limit=1)]
        assert client.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)


@pytest.mark.parametrize("order", [("purpose", "file"), ("file", "purpose")])
def test_the_fields_may_come_in_any_order(http: httpx.Client, order: tuple[str, str]) -> None:
    parts = {"purpose": (None, b"vision"), "file": ("x.png", b"\x89PNG")}
    response = http.post("/files", files=[(name, parts[name]) for name in order])
    assert response.status_code == 200
    assert (response.json()["filename"], response.json()["purpose"]) == ("x.png", "vision")


@pytest.mark.parametrize("purpose", ["assistants", "batch", "evals", "fine-tune", "user_data", "vision"])
def test_each_purpose_of_an_upload(http: httpx.Client, purpose: str) -> None:
    file = upload(http, b"{}\n", "lines.jsonl", purpose)
    assert file["purpose"] == purpose
    # SDKs can ask for evals, and do not know them in what they are shown: no list of others is to have one.
    http.delete(f"/files/{file['id']}")


def test_an_empty_file_is_a_file(http: httpx.Client) -> None:
    file = upload(http, b"", "nothing.txt")
    assert file["bytes"] == 0
    answer = http.get(f"/files/{file['id']}/content")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_a_list_is_paged_and_filtered(small_http: httpx.Client) -> None:
    for file in small_http.get("/files").json()["data"]:
        small_http.delete(f"/files/{file['id']}")
    empty = small_http.get("/files").json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    ids = [upload(small_http, name=f"{number}.txt")["id"] for number in range(5)]
    other = upload(small_http, name="v.png", purpose="vision")["id"]

    page = small_http.get("/files").json()
    assert [file["id"] for file in page["data"]] == [other, *reversed(ids)]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (other, ids[0], False)
    page = small_http.get("/files", params={"limit": 2, "order": "asc", "purpose": "assistants"}).json()
    assert [file["id"] for file in page["data"]] == ids[:2]
    assert page["has_more"] is True
    page = small_http.get("/files", params={"limit": 10, "order": "asc", "after": ids[3]}).json()
    assert [file["id"] for file in page["data"]] == [ids[4], other]
    assert small_http.get("/files", params={"purpose": "batch_output"}).json()["data"] == []


@pytest.mark.parametrize(("limit", "code"), [(0, "integer_below_min_value"), (10_001, "integer_above_max_value")])
def test_the_bounds_of_a_page(http: httpx.Client, limit: int, code: str) -> None:
    assert error_of(http.get("/files", params={"limit": limit}))[:3] == (400, "limit", code)
    assert http.get("/files", params={"limit": 10_000}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=990-", (990, 1000)),
        ("bytes=-7", (993, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=500-99999999999", (500, 1000)),
        ("bytes=9-3", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("lines=1-2", None),
    ],
)
def test_a_download_goes_on_where_it_broke_off(http: httpx.Client, asked: str, span: tuple[int, int] | None) -> None:
    content = bytes(index % 251 for index in range(1000))
    path = f"/files/{upload(http, content)['id']}/content"
    answer = http.get(path, headers={"range": asked})
    if span is None:
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["accept-ranges"] == "bytes"
        return
    start, end = span
    assert (answer.status_code, answer.content) == (206, content[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1000"
    assert answer.headers["content-length"] == str(end - start)
    conditional = http.get(path, headers={"range": asked, "if-range": '"x"'})
    assert (conditional.status_code, conditional.content) == (200, content)


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(http: httpx.Client, asked: str) -> None:
    answer = http.get(f"/files/{upload(http, b'x' * 1000)['id']}/content", headers={"range": asked})
    assert error_of(answer)[0] == 416
    assert answer.headers["content-range"] == "bytes */1000"


def test_a_deleted_file_is_gone_everywhere(http: httpx.Client, old_http: httpx.Client, server: Everloom) -> None:
    gone, kept = upload(http)["id"], upload(http)["id"]
    new = {
        "model": "m",
        "tools": [{"type": "code_interpreter"}],
        "tool_resources": {"code_interpreter": {"file_ids": [gone, kept]}},
    }
    assistant = http.post("/assistants", json=new).json()["id"]
    old = old_http.post(
        "/assistants", json={"model": "m", "tools": [{"type": "code_interpreter"}], "file_ids": [gone, kept]}
    ).json()
    assert old["file_ids"] == [gone, kept]

    assert http.delete(f"/files/{gone}").json() == {"id": gone, "object": "file", "deleted": True}
    shown = http.get(f"/assistants/{assistant}").json()
    assert shown["tool_resources"] == {"code_interpreter": {"file_ids": [kept]}}
    assert old_http.get(f"/assistants/{old['id']}").json()["file_ids"] == [kept]
    assert gone not in blobs(server)
    assert kept in blobs(server)
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        status, _, _, message = error_of(http.request(method, f"/files/{gone}{path}"))
        assert (status, message) == (404, f"No such File object: {gone}")


def test_a_deleted_file_is_gone_from_threads(http: httpx.Client, old_http: httpx.Client, server: Everloom) -> None:
    gone, kept = upload(http)["id"], upload(http)["id"]
    code = {"code_interpreter": {"file_ids": [gone, kept]}}
    named = http.post("/threads", json={"tool_resources": code, "metadata": {"owner": gone}}).json()
    attachments = [{"file_id": id, "tools": [{"type": "code_interpreter"}]} for id in (gone, kept)]
    message = {"role": "user", "content": "Hi", "attachments": attachments}
    gathered = http.post("/threads", json={"messages": [message], "metadata": {"owner": gone}}).json()
    assert named["tool_resources"] == gathered["tool_resources"] == code
    (said,) = old_http.get(f"/threads/{gathered['id']}/messages").json()["data"]

    assert http.delete(f"/files/{gone}").status_code == 200
    left = {"code_interpreter": {"file_ids": [kept]}}
    for thread in (named, gathered):
        path = f"/threads/{thread['id']}"
        assert http.get(path).json()["tool_resources"] == left
        assert http.post(path, json={"metadata": {"owner": gone, "seen": "yes"}}).json()["tool_resources"] == left
    listed = http.get("/threads", params={"metadata[owner]": gone}).json()["data"]
    assert [thread["tool_resources"] for thread in listed] == [left, left]
    files = f"/threads/{gathered['id']}/messages/{said['id']}/files"
    assert [file["id"] for file in old_http.get(files).json()["data"]] == [kept]
    assert error_of(old_http.get(f"{files}/{gone}"))[0] == 404
    again = http.post(f"/threads/{named['id']}", json={"tool_resources": left})
    assert again.json()["tool_resources"] == left


@pytest.mark.parametrize("id", ["file-nope", "nope", "file-%2e%2e%2f", "%2e%2e", "a" * 500, "file-%00"])
def test_ids_that_lead_nowhere(http: httpx.Client, id: str) -> None:
    for path in (f"/files/{id}", f"/files/{id}/content"):
        assert http.get(path).status_code in (400, 404)


def test_many_uploads_at_once(http: httpx.Client) -> None:
    contents = [str(number).encode() * (50_000 + number) for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        files = list(threads.map(lambda content: upload(http, content), contents))
        read = list(threads.map(lambda file: http.get(f"/files/{file['id']}/content").content, files))
    assert read == contents


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("a b;c=d.txt", "a b;c=d.txt"),
        ("größe 本.txt", "größe 本.txt"),
        ("x" * 200 + ".txt", "x" * 200 + ".txt"),
        (".hidden", ".hidden"),
    ],
)
def test_a_filename_is_data_never_a_path(http: httpx.Client, server: Everloom, sent: str, kept: str) -> None:
    file = upload(http, b"content", sent)
    assert file["filename"] == kept
    assert file["id"] in blobs(server)
    answer = http.get(f"/files/{file['id']}/content")
    assert answer.content == b"content"
    disposition = answer.headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.count('"') == 2
    if kept.isascii() and ";" not in kept:
        assert disposition == f'attachment; filename="{kept}"'
    else:
        assert "; filename*=UTF-8''" in disposition


def test_a_filename_has_an_end(small_http: httpx.Client, small: Everloom) -> None:
    before = blobs(small)
    form = {"purpose": (None, b"assistants"), "file": ("x" * 10_000, b"hello")}
    assert small_http.post("/files", files=form).status_code == 400
    form["file"] = ("x" * 600, b"hello")
    assert error_of(small_http.post("/files", files=form))[:3] == (400, "file", "string_above_max_length")
    form["file"] = ("folder/..", b"hello")
    assert error_of(small_http.post("/files", files=form))[:3] == (400, "file", "invalid_value")
    assert blobs(small) == before


# --- forms that are wrong ------------------------------------------------------------------------------------------

FILE = ("file", ("a.txt", b"hello"))
PURPOSE = ("purpose", (None, b"assistants"))
PURPOSES = "Supported values are: 'assistants', 'batch', 'evals', 'fine-tune', 'user_data', and 'vision'."


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([FILE], (400, "purpose", "missing_required_parameter", "Missing required parameter: 'purpose'.")),
        ([PURPOSE], (400, "file", "missing_required_parameter", "Missing required parameter: 'file'.")),
        (
            [FILE, ("purpose", (None, b"world domination"))],
            (400, "purpose", "invalid_value", f"Invalid value: 'world domination'. {PURPOSES}"),
        ),
        (
            [("purpose", (None, b"batch_output")), FILE],
            (400, "purpose", "invalid_value", f"Invalid value: 'batch_output'. {PURPOSES}"),
        ),
        ([FILE, PURPOSE, ("x", (None, b"1"))], (400, "x", "unknown_parameter", "Unknown parameter: 'x'.")),
        (
            [("file", (None, b"text")), PURPOSE],
            (400, "file", "invalid_type", "Invalid type for 'file': expected a file, but got a string instead."),
        ),
        (
            [FILE, ("purpose", ("p.txt", b"assistants"))],
            (400, "purpose", "invalid_type", "Invalid type for 'purpose': expected a string, but got a file instead."),
        ),
        ([FILE, FILE, PURPOSE], (400, "file", "invalid_value", "Invalid 'file': too many files. Expected one file.")),
        (
            [FILE, ("purpose", (None, b"\xff"))],
            (400, "purpose", "invalid_value", "Invalid 'purpose': string is not valid UTF-8."),
        ),
        (
            [FILE, ("purpose", (None, b"batch"))],
            (400, None, None, "Invalid file format for Batch API. Must be .jsonl"),
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_form_is_refused_and_nothing_stays(
    small_http: httpx.Client, small: Everloom, parts: list[Any], expected: tuple[Any, ...]
) -> None:
    before = blobs(small)
    assert error_of(small_http.post("/files", files=parts)) == expected
    assert blobs(small) == before


HEAD = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
TAIL = b'\r\n--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--B--\r\n'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"purpose": "assistants"}'),
        ("application/x-www-form-urlencoded", b"purpose=assistants"),
        ("text/plain; boundary=B", HEAD + b"x" + TAIL),
        ("multipart/form-data", HEAD + b"x" + TAIL),
        ("multipart/form-data; boundary=", HEAD + b"x" + TAIL),
        ("multipart/form-data; boundary=" + "B" * 5000, HEAD + b"x" + TAIL),
        ("multipart/form-data; boundary=C", HEAD + b"x" + TAIL),
        ("multipart/form-data; boundary=B", b""),
        ("multipart/form-data; boundary=B", b"no form at all"),
        ("multipart/form-data; boundary=B", HEAD),
        ("multipart/form-data; boundary=B", HEAD + b"x" * (9 * MIB)),
        ("multipart/form-data; boundary=B", (HEAD + b"x" + TAIL)[:-6]),
        ("multipart/form-data; boundary=B", b"--B\r\n\r\nx\r\n--B--\r\n"),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: attachment; name="file"\r\n\r\nx\r\n--B--'),
        ("multipart/form-data; boundary=B", b"--B\r\n" + b"X: y\r\n" * 100 + b"\r\nx\r\n--B--"),
        ("multipart/form-data; boundary=B", b"--B\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--B--"),
        ("multipart/form-data; boundary=B", b"--B--\r\n"),
        ("multipart/form-data; boundary=B", HEAD.replace(b"a.txt", b"") + TAIL),
        ("multipart/form-data; boundary=B", HEAD.replace(b"file", b"x" * 3000) + b"x" + TAIL),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_what_is_no_form_is_refused_and_nothing_stays(
    small_http: httpx.Client, small: Everloom, content_type: str, body: bytes
) -> None:
    before = blobs(small)
    status, _, _, message = error_of(small_http.post("/files", content=body, headers={"content-type": content_type}))
    assert status == 400
    assert message
    eventually(lambda: blobs(small) == before)


def test_a_form_in_the_smallest_pieces(small_http: httpx.Client) -> None:
    content = b"a\r\n--\r\n-B\r\n\r\r\n\r\n--A" * 20

    def pieces() -> Iterator[bytes]:
        body = b"\r\n" + HEAD + content + TAIL + b"epilogue"
        for start in range(0, len(body), 3):
            yield body[start : start + 3]

    response = small_http.post(
        "/files", content=pieces(), headers={"content-type": 'multipart/form-data; boundary="B"'}
    )
    assert response.status_code == 200
    assert small_http.get(f"/files/{response.json()['id']}/content").content == content


# --- size and silence ----------------------------------------------------------------------------------------------


def test_the_limit_is_exact(small_http: httpx.Client, small: Everloom) -> None:
    before = blobs(small)
    file = upload(small_http, b"x" * SMALL_LIMIT)
    assert file["bytes"] == SMALL_LIMIT
    over = small_http.post(
        "/files", data={"purpose": "assistants"}, files={"file": ("a.txt", b"x" * (SMALL_LIMIT + 1))}
    )
    status, param, _, message = error_of(over)
    assert (status, param) == (413, "file")
    assert message.startswith(f"Maximum content size limit ({SMALL_LIMIT}) exceeded")
    eventually(lambda: set(blobs(small)) - set(before) == {file["id"]})


def test_a_declared_length_is_refused_before_the_bytes_come(small: Everloom) -> None:
    with _connection(small) as connection:
        connection.sendall(_request_head("Content-Length: 99999999999\r\n"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_large_file_is_never_held_in_memory(http: httpx.Client, server: Everloom) -> None:
    def form() -> Iterator[bytes]:
        yield HEAD
        for _ in range(192):
            yield b"\r\nabcdefg" * (MIB // 9)
        yield TAIL

    before = _peak_memory(server)
    response = http.post("/files", content=form(), headers={"content-type": "multipart/form-data; boundary=B"})
    size = 192 * 9 * (MIB // 9)
    assert response.json()["bytes"] == size
    with http.stream("GET", f"/files/{response.json()['id']}/content") as answer:
        assert sum(map(len, answer.iter_raw())) == size
    assert _peak_memory(server) - before < 80 * MIB
    http.delete(f"/files/{response.json()['id']}")


def _peak_memory(server: Everloom) -> int:
    status = Path(f"/proc/{server.pid}/status")
    if not status.exists():
        pytest.skip("no /proc to read the server's memory from")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("sent", [0, 10, 9 * MIB], ids=["nothing", "a little", "a part and more"])
def test_a_client_that_leaves_in_the_middle_leaves_nothing(
    small: Everloom, small_http: httpx.Client, sent: int
) -> None:
    before, listed = blobs(small), small_http.get("/files").json()["data"]
    with _connection(small) as connection:
        connection.sendall(_request_head(f"Content-Length: {10 * MIB}\r\n") + HEAD + b"x" * sent)
        if sent > 8 * MIB:
            eventually(lambda: blobs(small) != before)
    eventually(lambda: blobs(small) == before)
    assert small_http.get("/files").json()["data"] == listed
    assert upload(small_http)["bytes"] == 5


def test_a_refusal_reaches_a_client_that_is_still_sending(small: Everloom) -> None:
    form = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nnonsense\r\n' + HEAD
    with _connection(small) as connection:
        connection.sendall(_request_head(f"Content-Length: {10 * MIB}\r\n") + form)
        connection.sendall(b"x" * (10 * MIB - len(form)))
        answer = connection.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 400 ")


@contextlib.contextmanager
def _connection(server: Everloom) -> Iterator[socket.socket]:
    address = urlsplit(server.url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80), timeout=20) as connection:
        yield connection


def _request_head(headers: str) -> bytes:
    return (
        f"POST /v1/files HTTP/1.1\r\nHost: everloom\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\n{headers}\r\n"
    ).encode()
