"""Batches as a program sees them."""

import json
import time
from collections.abc import Iterable
from typing import Any

import httpx

from tests.replies import Json

ENDED = ("completed", "failed", "expired", "cancelled")


def a_line(number: int | str, text: str = "Hello!", **body: Any) -> Json:
    """A request for a chat completion."""
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **body}
    return {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": asked}


def jsonl(lines: Iterable[Json]) -> bytes:
    """An input file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def an_input(http: httpx.Client, content: bytes | Iterable[Json]) -> str:
    """The id of an uploaded input file."""
    data = content if isinstance(content, bytes) else jsonl(content)
    answer = http.post("/files", files={"file": ("in.jsonl", data)}, data={"purpose": "batch"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def a_batch(
    http: httpx.Client, content: bytes | str | Iterable[Json], endpoint: str = "/v1/chat/completions", **more: Any
) -> Json:
    """A batch that was just made, of this content or of the file with this id."""
    file_id = content if isinstance(content, str) else an_input(http, content)
    asked = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **more}
    answer = http.post("/batches", json=asked)
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


def ended(http: httpx.Client, batch: Json, seconds: float = 60) -> Json:
    """A batch once it has ended."""
    deadline = time.monotonic() + seconds
    while (found := http.get(f"/batches/{batch['id']}").json())["status"] not in ENDED:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return dict(found)


def lines_of(http: httpx.Client, file_id: str | None) -> dict[str, Json]:
    """The lines of an output or error file, by custom_id; each stands there once."""
    if file_id is None:
        return {}
    text = http.get(f"/files/{file_id}/content").text
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found
