"""Bytes on the disk that are not those that were uploaded: whoever would read them says so and does without."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.builders import Json, a_run, an_assistant, fetched, posted, refused, settled
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file, counts, ready

TEXT = "Bananas are yellow and grow in bunches.\n" * 100


@pytest.fixture
def http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


def blob(server: Everloom, file_id: str) -> Path:
    return server.data / "blobs" / file_id


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def emptied(data: bytes) -> bytes:
    return b""


def grown(data: bytes) -> bytes:
    return data + b"And apples are red."


def altered(data: bytes) -> bytes:
    return data.replace(b"yellow", b"purple")


each_damage = pytest.mark.parametrize(
    "damage", [truncated, emptied, grown, altered], ids=lambda damage: damage.__name__
)


@each_damage
def test_a_damaged_file_is_not_indexed(each_server: Everloom, http: httpx.Client, damage: object) -> None:
    assert callable(damage)
    file_id, whole = a_file(http, TEXT), a_file(http, TEXT)
    path = blob(each_server, file_id)
    path.write_bytes(damage(path.read_bytes()))
    store = ready(http, posted(http, "/vector_stores", {"file_ids": [file_id, whole]}))
    assert store["file_counts"] == counts(completed=1, failed=1)
    file = fetched(http, f"/vector_stores/{store['id']}/files/{file_id}")
    assert file["status"] == "failed"
    assert file["last_error"]["code"] == "server_error"
    assert "damaged" in file["last_error"]["message"]
    refused(http.get(f"/vector_stores/{store['id']}/files/{file_id}/content"), 400, "damaged")


def test_what_was_uploaded_in_parts_is_held_against_its_digest_too(each_server: Everloom, http: httpx.Client) -> None:
    begun = {"filename": "a.txt", "purpose": "assistants", "bytes": len(TEXT), "mime_type": "text/plain"}
    upload = posted(http, "/uploads", begun)
    part = http.post(f"/uploads/{upload['id']}/parts", files={"data": ("a", TEXT.encode())}).json()
    file_id = posted(http, f"/uploads/{upload['id']}/complete", {"part_ids": [part["id"]]})["file"]["id"]
    path = blob(each_server, file_id)
    path.write_bytes(altered(path.read_bytes()))
    store = ready(http, posted(http, "/vector_stores", {"file_ids": [file_id]}))
    assert store["file_counts"] == counts(failed=1)


def test_a_damaged_picture_is_left_out(each_server: Everloom, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    answer = http.post("/files", files={"file": ("dot.png", png)}, data={"purpose": "vision"})
    file_id = answer.json()["id"]
    path = blob(each_server, file_id)
    path.write_bytes(truncated(png))
    content: list[Json] = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_file", "image_file": {"file_id": file_id}},
    ]
    thread = posted(http, "/threads", {"messages": [{"role": "user", "content": content}]})
    assert settled(http, a_run(http, thread, an_assistant(http)))["status"] == "completed"
    (_, asked) = upstream.requests[-1].body["messages"]
    assert "damaged" in str(asked["content"])
    assert "base64" not in str(asked["content"])
