"""The oracle itself: what it lets pass, and what it does not."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.spec.oracle import CheckedTransport, check_body, check_event, operation_of
from tests.spec.overlay import FILES, OVERLAYS, Dialect, Json, document
from tests.spec.spec import needs_spec

pytestmark = needs_spec

THREAD = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}, "tool_resources": {}}
EMPTY: Json = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
ERROR = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}}
JSON = "application/json"


@pytest.mark.parametrize("dialect", FILES)
def test_every_patch_says_why_and_finds_its_place(dialect: Dialect) -> None:
    assert document(dialect)["openapi"].startswith("3.0")
    assert all(patch.why for patch in OVERLAYS[dialect])


@pytest.mark.parametrize(
    ("dialect", "method", "path", "operation"),
    [
        ("assistants=v2", "GET", "/threads/thread_1/messages", "listMessages"),
        ("assistants=v2", "POST", "/threads/runs", "createThreadAndRun"),
        ("assistants=v2", "POST", "/threads/thread_1", "modifyThread"),
        ("assistants=v2", "GET", "/models/org/name", "retrieveModel"),
        ("assistants=v2", "GET", "/threads", "listThreads"),
        ("assistants=v2", "GET", "/assistants/asst_1/files", None),
        ("assistants=v1", "GET", "/assistants/asst_1/files", "listAssistantFiles"),
        ("assistants=v2", "GET", "/healthz", None),
    ],
)
def test_operations_are_found_by_their_paths(dialect: Dialect, method: str, path: str, operation: str | None) -> None:
    assert operation_of(dialect, method, path) == operation


def whole(body: Any, operation: str = "getThread", status: int = 200, media: str = JSON) -> None:
    check_body("assistants=v2", operation, status, media, json.dumps(body).encode(), "here")


def test_good_bodies_pass() -> None:
    whole(THREAD)
    whole(EMPTY, "listAssistants")
    whole(EMPTY | {"data": [THREAD], "first_id": "thread_1"}, "listThreads")
    whole(ERROR, status=404)


@pytest.mark.parametrize(
    ("body", "more", "place"),
    [
        ({**THREAD, "created_at": "1"}, {}, r"\$\.created_at: '1' is not of type 'integer'"),
        ({**THREAD, "object": "threads"}, {}, r"\$\.object"),
        (
            {name: value for name, value in THREAD.items() if name != "metadata"},
            {},
            "'metadata' is a required property",
        ),
        (THREAD, {"operation": "getAssistant"}, r"\$"),
        (THREAD, {"media": "text/html"}, "'text/html' instead of application/json"),
        (THREAD, {"status": 404}, "'error' is a required property"),
        ({"error": {"message": "No."}}, {"status": 400}, r"\$\.error"),
        (EMPTY | {"data": [{**THREAD, "id": None}]}, {"operation": "listThreads"}, r"\$\.data\[0\]\.id"),
    ],
)
def test_bad_bodies_are_refused_with_the_place(body: Any, more: dict[str, Any], place: str) -> None:
    with pytest.raises(AssertionError, match=place):
        whole(body, **more)


def event(name: str, data: Any, operation: str = "createRun", dialect: Dialect = "assistants=v2") -> None:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    check_event(dialect, operation, name, raw, "here")


def test_events_are_held_against_what_they_carry() -> None:
    delta = {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": []}}
    event("thread.created", THREAD)
    event("thread.message.delta", delta)
    event("error", ERROR)
    event("done", b"[DONE]")
    event("", b"[DONE]", "createChatCompletion")
    event("", ERROR, "createChatCompletion")
    for name, data, fault in [
        ("thread.message.delta", THREAD, r"\$"),
        ("thread.run.paused", {}, "no such event"),
        ("done", b"[END]", "END"),
        ("thread.created", b"{", "not JSON"),
    ]:
        with pytest.raises(AssertionError, match=fault):
            event(name, data)
    with pytest.raises(AssertionError, match="no such event"):
        event("thread.run.incomplete", {}, dialect="assistants=v1")
    with pytest.raises(AssertionError, match="'choices' is a required property"):
        event("", {"id": "1", "created": 1, "model": "m", "object": "chat.completion.chunk"}, "createChatCompletion")


class Wrong(BaseHTTPRequestHandler):
    """A server that answers a thread's text where its number should be, whole or as an event."""

    def do_GET(self) -> None:
        stream = self.path.endswith("/events")
        body = json.dumps(THREAD | {"created_at": "today"})
        data = (f"event: thread.created\ndata: {body}\n\n" if stream else body).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8" if stream else JSON)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def wrong() -> Iterator[httpx.Client]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Wrong) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}/v1", transport=CheckedTransport()) as client:
            yield client
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/threads/thread_1", "/threads/thread_1/runs/run_1/events"])
def test_a_test_that_reads_a_wrong_answer_fails(wrong: httpx.Client, path: str) -> None:
    with pytest.raises(AssertionError, match=rf"GET /v1{path} -> 200.* \$\.created_at: 'today'"):
        wrong.get(path)
