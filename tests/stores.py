"""Vector stores as tests need them, made through the API, and waited for."""

import time
from typing import Any

import httpx

from tests.builders import Json, fetched, posted


def a_file(http: httpx.Client, text: str | bytes = "Hello world!", name: str = "text.txt") -> str:
    data = text.encode() if isinstance(text, str) else text
    answer = http.post("/files", files={"file": (name, data)}, data={"purpose": "assistants"})
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["id"]
    return id


def a_store(http: httpx.Client, *texts: str, **fields: Any) -> Json:
    """A store whose files have been read."""
    ids = [a_file(http, text, f"file{place}.txt") for place, text in enumerate(texts)]
    return ready(http, posted(http, "/vector_stores", {"file_ids": ids, **fields}))


def ready(http: httpx.Client, thing: Json, path: str | None = None, seconds: float = 60) -> Json:
    """Wait until a store, a file or a batch is no longer in progress."""
    path = path or f"/vector_stores/{thing['id']}"
    deadline = time.monotonic() + seconds
    while (thing := fetched(http, path))["status"] == "in_progress":
        assert time.monotonic() < deadline, thing
        time.sleep(0.02)
    return thing


def counts(**some: int) -> Json:
    return {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": sum(some.values())} | some


def files_in(http: httpx.Client, store: Json, **query: Any) -> list[str]:
    return [file["id"] for file in fetched(http, f"/vector_stores/{store['id']}/files", **query)["data"]]


def found(http: httpx.Client, store: Json, query: str | list[str], **fields: Any) -> list[Json]:
    page = posted(http, f"/vector_stores/{store['id']}/search", {"query": query, **fields})
    data: list[Json] = page["data"]
    return data
