"""Requests as other servers' clients write them: packed bodies, doubled slashes, Azure's shapes, .NET's file names."""

import gzip
import json
import zlib
from typing import Any

import httpx
import openai
import pytest

from tests.api.test_transport import raw
from tests.batches import a_line, ended, jsonl
from tests.builders import a_run, a_thread, an_assistant, fetched, posted, refused, run_path, settled
from tests.offers import wav
from tests.scripted import Says, ScriptedUpstream
from tests.servers import API_KEY, Everloom

BODY = json.dumps({"metadata": {"packed": "yes " * 100}}).encode()


def deflated(data: bytes, kind: int) -> bytes:
    packer = zlib.compressobj(wbits=kind)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY[:50], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(BODY[50:], mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", deflated(BODY, -15)),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY, 0, mtime=0)),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_packed_bodies(http: httpx.Client, encoding: str, packed: bytes, size: int) -> None:
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    headers = {"content-type": "application/json", "content-encoding": encoding}
    for content in (packed, iter(pieces)):
        answer = http.post("/threads", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["metadata"] == {"packed": "yes " * 100}


def test_a_packed_body_that_is_no_body(http: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    whole = gzip.compress(BODY)
    for broken in (b"no gzip at all", whole[:-1], whole[:30], whole[:-5] + b"xxxxx", whole + b"more", BODY):
        refused(
            http.post("/threads", content=broken, headers=headers), 400, "Content-Encoding", code="invalid_encoding"
        )
    assert http.post("/threads", content=b"", headers=headers).status_code == 200
    headers["content-encoding"] = "deflate"
    refused(http.post("/threads", content=zlib.compress(BODY) * 2, headers=headers), 400, code="invalid_encoding")
    for encoding in ("br", "zstd", "gzip, gzip"):
        answer = http.post("/threads", content=whole, headers=headers | {"content-encoding": encoding})
        refused(answer, 415, "gzip and deflate", code="unsupported_encoding")
        assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_packed_body_is_bounded_as_others_are(http: httpx.Client) -> None:
    bomb = gzip.compress(b'{"metadata": {"x": "' + b"a" * 500_000_000 + b'"}}', 9)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused(http.post("/threads", content=bomb, headers=headers), 413, code="request_too_large")
    boundary = "b"
    form = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--{boundary}\r\n'
        'content-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    ).encode()
    headers["content-type"] = f"multipart/form-data; boundary={boundary}"
    packed = gzip.compress(form + b"a" * 1_000_000 + f"\r\n--{boundary}--\r\n".encode())
    assert http.post("/files", content=packed, headers=headers).json()["bytes"] == 1_000_000
    bomb = gzip.compress(form + b"a" * 600_000_000, 9)
    refused(http.post("/files", content=bomb, headers=headers), 413)


@pytest.mark.parametrize("path", ["//v1/threads", "//v1//threads", "/v1//threads", "//threads"])
def test_doubled_slashes(http: httpx.Client, server: Everloom, path: str) -> None:
    thread = posted(http, "/threads")
    root = server.url.removesuffix("/v1")
    headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
    assert httpx.get(f"{root}{path}/{thread['id']}", headers=headers).json() == thread


def test_a_stream_for_the_first_version(server: Everloom, upstream: ScriptedUpstream) -> None:
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    upstream.script(Says("one two three"))
    answer = raw(
        server,
        f"POST /v1/chat/completions HTTP/1.0\r\nauthorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}".encode(),
    )
    head, _, events = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert all(line.startswith(b"data: ") for line in events.split(b"\n") if line)
    assert events.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/threads/runs"])
def test_who_closes_its_half_gets_its_stream(server: Everloom, http: httpx.Client, path: str) -> None:
    assistant = an_assistant(http)
    messages = [{"role": "user", "content": "hi"}]
    body: dict[str, Any] = {"model": "gpt-4o", "stream": True, "messages": messages}
    if path.endswith("runs"):
        body = {"assistant_id": assistant["id"], "stream": True, "thread": {"messages": messages}}
    text = json.dumps(body)
    answer = raw(
        server,
        f"POST {path} HTTP/1.1\r\nauthorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\n"
        f"openai-beta: assistants=v2\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode(),
        close=True,
    )
    assert b"[DONE]" in answer


# --- Azure's shapes ------------------------------------------------------------------------------------------------


@pytest.fixture
def azure(server: Everloom) -> Any:
    root = server.url.removesuffix("/v1")
    with openai.AzureOpenAI(azure_endpoint=root, api_key=API_KEY, api_version="2024-10-21", max_retries=0) as client:
        yield client


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # The client's own, of the whole Assistants API.
def test_the_client_for_azure_runs_unchanged(azure: openai.AzureOpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("Hello there."))
    answer = azure.chat.completions.create(model="deployed", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hello there."
    assert upstream.requests[-1].body["model"] == "deployed"
    assert azure.embeddings.create(model="scripted", input="x").data[0].embedding
    assistant = azure.beta.assistants.create(model="deployed", name="Az")
    thread = azure.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
    run = azure.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=100)
    assert run.status == "completed"
    assert len(azure.beta.threads.messages.list(thread.id).data) == 2
    with azure.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        assert stream.get_final_run().status == "completed"
    assert azure.files.create(file=("a.txt", b"x"), purpose="assistants").id in {file.id for file in azure.files.list()}
    assert azure.models.list().data
    with pytest.raises(openai.AuthenticationError):
        azure.with_options(api_key="sk-wrong-0123456789").models.list()


@pytest.mark.parametrize("prefix", ["/openai", "/openai/v1", "/v1", "", "/api/projects/mine", "/openai//"])
@pytest.mark.parametrize("headers", [{"api-key": API_KEY}, {"authorization": f"Bearer {API_KEY}"}])
def test_azures_paths(server: Everloom, prefix: str, headers: dict[str, str]) -> None:
    url = server.url.removesuffix("/v1") + prefix
    answer = httpx.post(f"{url}/threads?api-version=2024-05-01-preview", json={"metadata": {"a": "b"}}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"] == {"a": "b"}
    listed = httpx.get(f"{url}/assistants?api-version=v1&limit=1", headers=headers)
    assert listed.json()["object"] == "list"


def test_the_deployment_is_the_model(server: Everloom, upstream: ScriptedUpstream) -> None:
    url = server.url.removesuffix("/v1") + "/openai/deployments"
    headers = {"api-key": API_KEY}
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    for body in (chat, chat | {"model": "another"}, chat | {"user": "u" * 1_500_000, "model": "another"}):
        answer = httpx.post(f"{url}/mine/chat/completions?api-version=1", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        assert upstream.requests[-1].body["model"] == "mine"
    packed = gzip.compress(json.dumps(chat).encode())
    answer = httpx.post(
        f"{url}/packed/chat/completions?api-version=1",
        content=packed,
        headers=headers | {"content-encoding": "gzip", "content-type": "application/json"},
    )
    assert answer.status_code == 200
    assert upstream.requests[-1].body["model"] == "packed"
    for broken in (b"", b"[]", b"{", b"x" * 1_500_000):
        answer = httpx.post(f"{url}/mine/chat/completions?api-version=1", content=broken, headers=headers)
        assert answer.status_code == 400
    assert httpx.post(f"{url}/mine/nowhere?api-version=1", json={}, headers=headers).status_code == 404


def test_a_deployment_that_transcribes(server: Everloom, upstream: ScriptedUpstream) -> None:
    from aiohttp import web

    upstream.serve("/audio/transcriptions", lambda request: web.json_response({"text": request.field("model")}))
    url = server.url.removesuffix("/v1") + "/openai/deployments/whisper-mine/audio/transcriptions?api-version=1"
    for data in ({}, {"model": "whisper-mine"}):
        answer = httpx.post(url, files={"file": ("a.wav", wav(1))}, data=data, headers={"api-key": API_KEY})
        assert answer.json() == {"text": "whisper-mine"}, answer.text


def test_azures_first_assistants_are_those_of_v1(server: Everloom, http: httpx.Client) -> None:
    """``@azure/openai-assistants`` and .NET's first client send no beta header: their ``api-version`` is what tells."""
    root = server.url.removesuffix("/v1") + "/openai"
    upload = {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "assistants"}}
    with httpx.Client(base_url=root, headers={"api-key": API_KEY}, timeout=30) as client:
        old, new = "?api-version=2024-02-15-preview", "?api-version=2024-05-01-preview"
        file = client.post(f"/files{old}", **upload).json()["id"]
        body = {"model": "gpt-4o", "tools": [{"type": "code_interpreter"}], "file_ids": [file]}
        made = client.post(f"/assistants{old}", json=body)
        assert made.status_code == 200, made.text
        assert made.json()["file_ids"] == [file]
        assert client.get(f"/assistants/{made.json()['id']}/files{old}&limit=1").json()["data"][0]["id"] == file
        seen = client.get(f"/assistants/{made.json()['id']}{new}").json()
        assert seen["tool_resources"] == {"code_interpreter": {"file_ids": [file]}}
        for query in (new, "?api-version=v1", "?api-version=2024-02", "", "?api-version=2024-02-15-preview,v1"):
            refused(client.post(f"/assistants{query}", json=body), 400, "Unknown parameter: 'file_ids'.")
        said = client.get(f"/assistants/{made.json()['id']}{old}", headers={"openai-beta": "assistants=v2"})
        assert said.json() == seen  # what a client says itself goes before


@pytest.mark.parametrize("name", ["/chat/completions", "/v1/chat/completions"])
def test_batches_as_programs_for_azure_write_them(
    azure: openai.AzureOpenAI, http: httpx.Client, upstream: ScriptedUpstream, name: str
) -> None:
    lines = jsonl([a_line(1) | {"url": name}, a_line(2) | {"url": name}])
    file = azure.files.create(file=("lines.jsonl", lines), purpose="batch")
    made = azure.post(
        "/batches",
        cast_to=openai.types.Batch,
        body={"input_file_id": file.id, "endpoint": name, "completion_window": "24h"},
    )
    assert made.endpoint == "/v1/chat/completions"
    batch = ended(http, made.to_dict())
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


# --- engines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_the_engine_is_the_model(server: Everloom, upstream: ScriptedUpstream, prefix: str) -> None:
    """``openai.Embedding.create(engine=…)`` of the SDKs before 1.0."""
    url = server.url.removesuffix("/v1") + f"{prefix}/engines"
    headers = {"authorization": f"Bearer {API_KEY}"}
    body = {"messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{url}/mine/chat/completions", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    assert upstream.requests[-1].body["model"] == "mine"
    answer = httpx.post(f"{url}/scripted/embeddings", json={"input": ["a", "b"]}, headers=headers, timeout=30)
    assert len(answer.json()["data"]) == 2
    assert upstream.embeddings[-1].body["model"] == "scripted"
    for other in ("mine/threads", "mine/chat/completions/x", "mine/files", "a/b/embeddings"):
        refused(httpx.post(f"{url}/{other}", json={}, headers=headers), 404, "Invalid URL")


# --- names of files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ('filename="plain.txt"', "plain.txt"),
        ("filename=plain.txt; filename*=utf-8''plain.txt", "plain.txt"),
        ("filename=\"=?utf-8?B?w6RvLnR4dA==?=\"; filename*=utf-8''%C3%A4o.txt", "äo.txt"),
        ("filename*=UTF-8'en'%e2%82%ac%20rates.txt; filename=\"EURO rates.txt\"", "€ rates.txt"),
        ("filename*=iso-8859-1''%A3.txt", "£.txt"),
        ('filename*=nonsense; filename="spare.txt"', "spare.txt"),
        ("filename*=x-none''a.txt; filename=\"spare.txt\"", "spare.txt"),
        ('filename="=?utf-8?B?w6RvLnR4dA==?="', "äo.txt"),
        ('filename="=?UTF-8?Q?=C3=A4_b.txt?="', "ä b.txt"),
        ('filename="=?utf-8?B?w6Q=?= =?utf-8?B?by50eHQ=?="', "äo.txt"),
        ('filename="=?iso-8859-1?Q?=A3.txt?="', "£.txt"),
        ('filename="=?broken?=.txt"', "=?broken?=.txt"),
        ('filename="a \\"quoted\\" name.txt"', 'a "quoted" name.txt'),
        ('filename="a; b=c.txt"', "a; b=c.txt"),
        ('filename="C:\\new\\table.txt"', "table.txt"),
        ('filename="\\\\server\\share\\x.txt"', "x.txt"),
        ('filename="back\\\\slash.txt"', "slash.txt"),
        ('filename="übung.txt"', "übung.txt"),
        ("FileName=upper.txt", "upper.txt"),
        ("filename = spaced.txt", "spaced.txt"),
    ],
)
def test_names_of_files(http: httpx.Client, sent: str, name: str) -> None:
    part = "--b\r\nContent-Disposition: form-data; name="
    content = f"{part}purpose\r\n\r\nassistants\r\n{part}file; {sent}\r\n\r\nx\r\n--b--\r\n".encode()
    answer = http.post("/files", content=content, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["filename"] == name


# --- cursors -------------------------------------------------------------------------------------------------------


def test_a_cursor_of_another_thread_is_refused(http: httpx.Client) -> None:
    assistant = an_assistant(http)
    first, second = a_thread(http, "one", "two"), a_thread(http, "three", "four")
    runs = [settled(http, a_run(http, thread, assistant), "completed") for thread in (first, second)]
    for path, other in (
        (f"/threads/{first['id']}/messages", f"/threads/{second['id']}/messages"),
        (f"/threads/{first['id']}/runs", f"/threads/{second['id']}/runs"),
        (f"{run_path(runs[0])}/steps", f"{run_path(runs[1])}/steps"),
    ):
        id = fetched(http, other)["data"][0]["id"]
        for name in ("after", "before"):
            for order in ("asc", "desc"):
                answer = http.get(path, params={name: id, "order": order})
                refused(answer, 400, f"found with id '{id}'", param=name)
        own = fetched(http, path)["data"][-1]["id"]
        assert fetched(http, path, after=own)["data"] == []
