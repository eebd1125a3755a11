"""Requests no official client sends, over a bare socket where need be: each gets the platform's error."""

import base64
import json
import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.builders import a_thread, an_assistant, fetched, posted, refused
from tests.scripted import Fails, ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.servers import http as client_of

BETA = {"openai-beta": "assistants=v2"}


def raw(server: Everloom, data: bytes, *, close: bool = False) -> bytes:
    """What the server answers to these very bytes; with ``close`` our half is closed behind them."""
    parts = urlsplit(server.url)
    with closing(socket.create_connection((parts.hostname, parts.port), timeout=10)) as connection:
        connection.sendall(data)
        if close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(65536):
            answer += block
        return answer


def request(method: str, path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: x",
        f"authorization: Bearer {API_KEY}",
        "openai-beta: assistants=v2",
        "connection: close",
        "content-type: application/json",
        f"content-length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_every_answer_has_the_platforms_headers(http: httpx.Client) -> None:
    for answer in (http.get("/threads"), http.get("/threads/thread_x"), http.get("/nowhere")):
        assert answer.headers["x-request-id"].startswith("req_")
        assert len(answer.headers["x-request-id"]) == 36
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["openai-organization"]
        assert answer.headers["openai-processing-ms"].isdigit()
        assert answer.headers["access-control-allow-origin"] == "*"


def test_a_browser_may_ask(http: httpx.Client) -> None:
    answer = http.options(
        "/threads", headers={"origin": "https://app.example", "access-control-request-method": "POST"}
    )
    assert answer.status_code == 204
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]  # Browsers refuse one that is said twice.
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize(
    ("header", "message", "code"),
    [
        (None, "You didn't provide an API key.", None),
        ("", "You didn't provide an API key.", None),
        ("Bearer", "You didn't provide an API key.", None),
        ("Digest x", "You didn't provide an API key.", None),
        ("Basic !!!", "You didn't provide an API key.", None),
        ("Bearer sk-wrong-0123456789abcdef", "Incorrect API key provided: sk-wrong***cdef.", "invalid_api_key"),
        ("Bearer " + "x" * 4000, "Incorrect API key provided", "invalid_api_key"),
    ],
)
def test_without_a_good_key_nothing_opens(server: Everloom, header: str | None, message: str, code: str | None) -> None:
    headers = BETA if header is None else BETA | {"authorization": header}
    error = refused(httpx.get(f"{server.url}/threads", headers=headers), 401, message, code=code)
    assert "wrong-0123456789" not in error["message"]


def test_a_key_also_comes_as_a_password(server: Everloom) -> None:
    token = base64.b64encode(f":{API_KEY}".encode()).decode()
    answer = httpx.get(f"{server.url}/threads", headers=BETA | {"authorization": f"Basic {token}"})
    assert answer.status_code == 200


def test_an_admin_key_is_no_project_key(server: Everloom) -> None:
    headers = BETA | {"authorization": f"Bearer {ADMIN_KEY}"}
    refused(httpx.get(f"{server.url}/threads", headers=headers), 403, "insufficient permissions")


@pytest.mark.parametrize(
    ("name", "code"), [("openai-organization", "mismatched_organization"), ("openai-project", "mismatched_project")]
)
def test_organization_and_project_must_match(http: httpx.Client, name: str, code: str) -> None:
    refused(http.get("/threads", headers={name: "org-other"}), 401, "should match", code=code)
    own = {"openai-organization": http.get("/threads").headers["openai-organization"], "openai-project": "proj_default"}
    assert http.get("/threads", headers={name: own[name]}).status_code == 200


def test_headers_may_name_what_was_before(tmp_path: Path) -> None:
    with Everloom(tmp_path, fetch_weights="no", former_ids="org-old, proj_old") as server, client_of(server) as http:
        before = {"openai-organization": "org-old", "openai-project": "proj_old"}
        assert http.get("/threads", headers=before).status_code == 200
        error = refused(http.get("/threads", headers=before | {"openai-project": "proj_other"}), 401)
        assert "EVERLOOM_FORMER_IDS" in error["message"]


@pytest.mark.parametrize("beta", [None, "", "assistants=v3", "realtime=v1", "assistants"])
def test_the_beta_header_is_asked_for(server: Everloom, beta: str | None) -> None:
    headers = {"authorization": f"Bearer {API_KEY}"} | ({} if beta is None else {"openai-beta": beta})
    error = refused(httpx.get(f"{server.url}/assistants", headers=headers), 400, code="invalid_beta")
    assert error["message"].startswith("You must provide the 'OpenAI-Beta' header to access the Assistants API.")


@pytest.mark.parametrize("beta", ["assistants=v2", "realtime=v1, assistants=v2", "assistants=v2;other=1"])
def test_the_beta_header_may_hold_more(server: Everloom, beta: str) -> None:
    headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": beta}
    assert httpx.get(f"{server.url}/assistants", headers=headers).status_code == 200


def test_unknown_paths_and_methods(http: httpx.Client) -> None:
    refused(http.get("/nowhere"), 404, "Invalid URL (GET /v1/nowhere)")
    refused(http.get("/threads/thread_x/nowhere"), 404, "Invalid URL")
    answer = http.put("/threads")
    refused(answer, 405, "Not allowed to PUT on /v1/threads.", code="method_not_supported")
    assert answer.headers["allow"] == "GET, POST"


def test_paths_are_also_found_without_their_prefix(server: Everloom) -> None:
    root = server.url.removesuffix("/v1")
    answer = httpx.get(f"{root}/assistants", headers=BETA | {"authorization": f"Bearer {API_KEY}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"null", b'{"a": NaN}', b"\xff\xfe", b'{"name": "\xc3\x28"}', b"[" * 100_000]
)
def test_bodies_that_are_no_objects(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/assistants", content=body, headers={"content-type": "application/json"})
    refused(answer, 400, type="invalid_request_error")


def test_a_body_cut_off_in_the_middle_keeps_nothing(server: Everloom, http: httpx.Client) -> None:
    before = fetched(http, "/threads", limit=1)["first_id"]
    body = json.dumps({"metadata": {"cut": "off"}}).encode()
    answer = raw(server, request("POST", "/v1/threads", body[:10], length=len(body)), close=True)
    assert b"200 OK" not in answer
    assert fetched(http, "/threads", limit=1)["first_id"] == before


def test_a_body_too_large_is_refused_before_it_is_read(server: Everloom) -> None:
    answer = raw(server, request("POST", "/v1/threads", b"{", length=10**10))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"request_too_large"' in answer


def test_a_body_too_large_in_pieces_is_cut_short(tmp_path, upstream) -> None:  # type: ignore[no-untyped-def]
    with Everloom(tmp_path, upstream=upstream.url, max_body_bytes=100_000) as server:

        def pieces():  # type: ignore[no-untyped-def]
            for _ in range(1000):
                yield b" " * 10_000

        headers = BETA | {"authorization": f"Bearer {API_KEY}"}
        try:
            answer = httpx.post(f"{server.url}/threads", content=pieces(), headers=headers)
        except httpx.TransportError:  # The server may close its side before all was sent.
            return
        refused(answer, 413, code="request_too_large")


def test_no_line_breaks_out_of_metadata_into_headers(http: httpx.Client) -> None:
    evil = "x\r\nset-cookie: a=b\r\n\r\n<html>"
    thread = posted(http, "/threads", {"metadata": {"k": evil}})
    assert thread["metadata"] == {"k": evil}
    answer = http.get(f"/threads/{thread['id']}")
    assert "set-cookie" not in answer.headers
    assert fetched(http, "/threads", **{"metadata[k]": evil})["data"] == [thread]


@pytest.mark.parametrize(
    ("path", "param", "prefix"),
    [
        ("/threads/undefined", "thread_id", "thread"),
        ("/assistants/thread_1", "assistant_id", "asst"),
        ("/threads/thread_1/runs/x", "run_id", "run"),
        ("/threads/thread_1/runs/run_1/steps/x", "step_id", "step"),
        ("/threads/thread_1/messages/x", "message_id", "msg"),
    ],
)
def test_an_id_with_the_wrong_prefix(http: httpx.Client, path: str, param: str, prefix: str) -> None:
    shown = path.rsplit("/", 1)[1]
    message = f"Invalid '{param}': '{shown}'. Expected an ID that begins with '{prefix}'."
    refused(http.get(path), 400, message, param=param)


@pytest.mark.parametrize("id", ["thread_" + "x" * 5000, "thread_%00", "thread_..%2f..%2fetc", "thread_\u202e"])
def test_ids_that_no_object_has(http: httpx.Client, id: str) -> None:
    assert http.get(f"/threads/{id}").status_code in (400, 404)


def test_limits_of_the_reference(http: httpx.Client) -> None:
    long, many = "x" * 300_000, [{"type": "function", "function": {"name": f"f{n}"}} for n in range(129)]
    for body, param, code in (
        ({"model": "gpt-4o", "instructions": long}, "instructions", "string_above_max_length"),
        ({"model": "gpt-4o", "tools": many}, "tools", "array_above_max_length"),
        ({"model": "gpt-4o", "metadata": {str(n): "" for n in range(17)}}, "metadata", "object_above_max_properties"),
        ({"model": "gpt-4o", "metadata": {"k" * 65: ""}}, "metadata", None),
        ({"model": "gpt-4o", "metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
        ({"model": "gpt-4o", "metadata": {"k": True}}, "metadata.k", "invalid_type"),
        ({"model": "gpt-4o", "temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"model": "gpt-4o", "surprise": 1}, "surprise", "unknown_parameter"),
        ({"model": "gpt-4o", "file_ids": []}, "file_ids", "unknown_parameter"),
        ({}, "model", "missing_required_parameter"),
    ):
        error = refused(http.post("/assistants", json=body), 400)
        assert error["param"] == param or code is None, error
        assert code is None or error["code"] == code, error
    refused(http.get("/assistants", params={"limit": 101}), 400, param="limit")
    refused(http.get("/assistants", params={"limit": 0}), 400, param="limit")
    refused(http.get("/assistants", params={"limit": "many"}), 400, param="limit")
    refused(http.get("/assistants", params={"order": "sideways"}), 400, param="order")


def test_ten_thousand_messages_stay_a_thread(http: httpx.Client) -> None:
    thread = a_thread(http, *[f"message {number}" for number in range(10_000)])
    page = fetched(http, f"/threads/{thread['id']}/messages", limit=100)
    assert page["data"][0]["content"][0]["text"]["value"] == "message 9999"
    seen = 0
    while page["data"]:
        seen += len(page["data"])
        page = fetched(http, f"/threads/{thread['id']}/messages", limit=100, after=page["last_id"])
    assert seen == 10_000
    assistant = an_assistant(http)
    body = {"assistant_id": assistant["id"], "stream": True}
    assert "thread.run.completed" in http.post(f"/threads/{thread['id']}/runs", json=body).text
    assert http.delete(f"/threads/{thread['id']}").json()["deleted"] is True


def test_health_and_metrics(server: Everloom) -> None:
    root = server.url.removesuffix("/v1")
    assert httpx.get(f"{root}/healthz").status_code == 200
    assert httpx.get(f"{root}/readyz").json() == {"status": "ready"}
    metrics = httpx.get(f"{root}/metrics").text
    assert 'everloom_http_request_seconds_count{operation="readyz",status="200"}' in metrics


@pytest.mark.parametrize(
    "header",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=192.0.2.1"},
        {"via": "1.1 p"},
        {"origin": "https://a.example"},
        {"host": "a.example:8080"},
        {"host": "127.0.0.1.a.example"},
        {"host": "[::1"},
    ],
    ids=lambda header: "-".join(*header.items()),
)
def test_metrics_are_for_this_machine_and_admin_keys(server: Everloom, header: dict[str, str]) -> None:
    url = server.url.removesuffix("/v1") + "/metrics"
    refused(httpx.get(url, headers=header), 401, "You didn't provide an API key.")
    refused(httpx.get(url, headers=header | {"authorization": f"Bearer {API_KEY}"}), 403)
    assert httpx.get(url, headers=header | {"authorization": f"Bearer {ADMIN_KEY}"}).status_code == 200


@pytest.mark.parametrize("host", ["localhost:1", "everloom.localhost", "127.0.0.1", "[::1]:8080"])
def test_metrics_are_read_by_any_name_of_this_machine(server: Everloom, host: str) -> None:
    url = server.url.removesuffix("/v1") + "/metrics"
    assert httpx.get(url, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(("allowed", "status"), [("admin", 401), ("open", 200)])
def test_who_may_read_metrics_is_a_setting(tmp_path, upstream, allowed: str, status: int) -> None:  # type: ignore[no-untyped-def]
    with Everloom(tmp_path, upstream=upstream.url, metrics=allowed) as server:
        url = server.url.removesuffix("/v1") + "/metrics"
        assert httpx.get(url).status_code == status
        assert httpx.get(url, headers={"x-forwarded-for": "192.0.2.1"}).status_code == status
        assert httpx.get(url, headers={"authorization": f"Bearer {ADMIN_KEY}"}).status_code == 200


def test_names_that_callers_make_up_are_not_counted(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    messages = [{"role": "user", "content": "hi"}]
    body = {"error": {"message": "no such model", "type": "invalid_request_error", "param": None, "code": None}}
    for number in range(20):
        upstream.script(Fails(404, body))
        answer = http.post("/chat/completions", json={"model": f"made-up-{number}", "messages": messages})
        assert answer.status_code == 404, answer.text
    assert http.post("/chat/completions", json={"model": "really-there", "messages": messages}).status_code == 200
    assert http.post("/chat/completions", json={"model": "x" * 5000, "messages": messages}).status_code < 500
    metrics = httpx.get(str(http.base_url).partition("/v1")[0] + "/metrics").text
    assert "made-up" not in metrics
    assert "xxxx" not in metrics
    assert 'everloom_model_requests_total{model="really-there",outcome="completed"} 1.0' in metrics
