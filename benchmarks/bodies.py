"""Memory while much passes: runs, chats of a megabyte, the same refused, and uploads of parts of 4 MB; and a rest.

What a server keeps of a request once it has been answered is what grows here. Before all that it is left alone: what it
takes of a core, and of memory, while nobody asks for anything.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.load import cpu_seconds
from benchmarks.measure import HEADERS, Program, Row, everloom, folder, machine, note, options, table, upstream

REST_SECONDS, IDLE_SHARE, IDLE_MB = 30.0, 0.01, 110
"""How long it is left alone, and what it may take of a core and of memory then."""

RUNS = 1000
CHATS = 240
CHAT_BYTES = 1_000_000
UPLOADS = 200
PART_BYTES = 4 * 1024 * 1024

FLAT_MB = 30.0
"""What counts as flat: a few bodies under way, and what the allocator keeps of them."""

_BOUNDARY = "benchmark-boundary"


def main() -> None:
    options(__doc__).parse_args()
    print(f"{table(list(measure()))}\n\n{machine()}")


def measure() -> Iterator[Row]:
    """The table's rows."""
    with folder() as home, upstream(words=8) as up, everloom(home, upstream=up.url) as server:
        assistant = _post(server, "/assistants", b'{"model": "gpt-4o"}')["id"]
        _run(server, assistant)
        yield from _rest(server)
        yield _row(f"{RUNS:,} streamed runs on new threads", server, RUNS, lambda: _run(server, assistant))
        yield _row(
            f"{CHATS} chats of {CHAT_BYTES / 1e6:g} MB passed through", server, CHATS, lambda: _chat(server, "user")
        )
        yield _row(f"{CHATS} such chats refused", server, CHATS, lambda: _chat(server, "nobody"))
        yield _row(f"{UPLOADS} uploads of {PART_BYTES / 1e6:.1f} MB", server, UPLOADS, lambda: _upload(server))


def _rest(server: Program) -> Iterator[Row]:
    note("a rest")
    time.sleep(5)  # What it does once behind its first work.
    used = cpu_seconds(server.pid)
    time.sleep(REST_SECONDS)
    share, megabytes = (cpu_seconds(server.pid) - used) / REST_SECONDS, server.memory() / 1e6
    yield Row("idle: of a core", f"{share:.1%}", "", f"at most {IDLE_SHARE:.0%}", share <= IDLE_SHARE)
    yield Row("idle: memory", f"{megabytes:.0f} MB", "", f"at most {IDLE_MB} MB", megabytes <= IDLE_MB)


def _run(server: Program, assistant: str) -> None:
    thread = {"messages": [{"role": "user", "content": "Hello."}]}
    body = {"assistant_id": assistant, "thread": thread, "stream": True}
    with _opened(server, "/threads/runs", json.dumps(body).encode()) as answer:
        if b"event: thread.run.completed" not in answer.read():
            raise SystemExit("a run has not been completed")


def _row(what: str, server: Program, times: int, do: Callable[[], None]) -> Row:
    note(what)
    for _ in range(5):
        do()
    before = most = server.memory()
    for _ in range(times):
        do()
        most = max(most, server.memory())
    grown = (most - before) / 1e6
    return Row(f"{what}: memory", f"{grown:+.0f} MB", f"{before / 1e6:.0f} MB before", "flat", grown <= FLAT_MB)


def _chat(server: Program, role: str) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": role, "content": "x" * CHAT_BYTES}]}
    with suppress(urllib.error.HTTPError):
        _post(server, "/chat/completions", json.dumps(body).encode())


def _upload(server: Program) -> None:
    asked = {"purpose": "assistants", "filename": "a.txt", "bytes": PART_BYTES, "mime_type": "text/plain"}
    upload = _post(server, "/uploads", json.dumps(asked).encode())["id"]
    head = f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="data"; filename="part"\r\n\r\n'.encode()
    form = head + b"x" * PART_BYTES + f"\r\n--{_BOUNDARY}--\r\n".encode()
    part = _post(server, f"/uploads/{upload}/parts", form, f"multipart/form-data; boundary={_BOUNDARY}")["id"]
    _post(server, f"/uploads/{upload}/complete", json.dumps({"part_ids": [part]}).encode())


def _post(server: Program, path: str, body: bytes, kind: str = "application/json") -> Any:
    with _opened(server, path, body, kind) as answer:
        return json.loads(answer.read())


def _opened(server: Program, path: str, body: bytes, kind: str = "application/json") -> Any:
    headers = dict(header.split(": ") for header in HEADERS) | {"content-type": kind}
    return urllib.request.urlopen(urllib.request.Request(server.url + path, body, headers), timeout=60)


if __name__ == "__main__":
    main()
