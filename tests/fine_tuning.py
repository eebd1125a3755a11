"""Fine-tuning as a program sees it, and servers that have their jobs taken by a scripted upstream."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.replies import Json
from tests.servers import Everloom
from tests.training.fine_tuning_server import FineTuningServer

BASE = "tuned-base"
"""A model whose jobs the upstream takes."""

ENDED = ("succeeded", "failed", "cancelled")


def an_example(number: int = 0, answer: str = "Ahoy!") -> Json:
    messages = [{"role": "user", "content": f"Question {number}"}, {"role": "assistant", "content": answer}]
    return {"messages": messages}


def examples(count: int = 10) -> list[Json]:
    return [an_example(number) for number in range(count)]


def a_training_file(http: httpx.Client, content: bytes | Iterable[Json] | None = None) -> str:
    """The id of an uploaded file of examples."""
    lines = examples() if content is None else content
    data = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    answer = http.post("/files", files={"file": ("train.jsonl", data)}, data={"purpose": "fine-tune"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def a_job(http: httpx.Client, content: bytes | str | Iterable[Json] | None = None, **more: Any) -> Json:
    """A job that was just made, of these examples or of the file with this id."""
    file_id = content if isinstance(content, str) else a_training_file(http, content)
    answer = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": file_id, **more})
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


def until(http: httpx.Client, job: Json, *states: str, seconds: float = 120) -> Json:
    """A job once it is in one of these states, or has ended."""
    deadline = time.monotonic() + seconds
    while (found := http.get(f"/fine_tuning/jobs/{job['id']}").json())["status"] not in (*states, *ENDED):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert not states or found["status"] in states, found
    return dict(found)


def reached(look: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def events_of(http: httpx.Client, job: Json) -> list[Json]:
    """A job's events, oldest first."""
    found: list[Json] = []
    after: dict[str, str] = {}
    while True:
        page = http.get(f"/fine_tuning/jobs/{job['id']}/events", params={"limit": "100", **after}).json()
        found += page["data"]
        if not page["has_more"]:
            return found[::-1]
        after = {"after": page["data"][-1]["id"]}


def messages_of(http: httpx.Client, job: Json) -> list[str]:
    """What they say."""
    return [event["message"] for event in events_of(http, job)]


@contextlib.contextmanager
def fine_tuning_upstream(**more: Any) -> Iterator[FineTuningServer]:
    """The scripted upstream on a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(call: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call(), loop).result(30)

    server = FineTuningServer(**more)
    run(server.__aenter__)
    try:
        yield server
    finally:
        run(server.__aexit__)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def tuning_server(folder: Path, trainer: FineTuningServer, /, **settings: Any) -> Everloom:
    """A server whose model ``BASE`` is trained by an upstream, beside one that is not, not yet started."""
    let_be_tuned(folder, trainer.url)
    with (folder / "everloom.toml").open("a") as file:
        file.write(f'[[models]]\nid = "plain-upstream"\nbackend = "upstream"\nbase_url = "{trainer.url}"\n')
    return Everloom(folder, **settings)


def let_be_tuned(folder: Path, upstream: str, model: str = BASE) -> Path:
    """Settings, in the folder of a server's data, by which the upstream at a URL trains a model; the folder."""
    entry = f'id = "{model}"\nbackend = "upstream"\nbase_url = "{upstream}"\nfine_tuning = true\n'
    (folder / "everloom.toml").write_text(f"[[models]]\n{entry}")
    return folder
