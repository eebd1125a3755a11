"""``everloom import`` and ``everloom export``: what leaves one server comes into another as it was."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from tests.builders import WEATHER, Json, a_run, a_thread, fetched, posted, run_path, settled
from tests.cli.programs import everloom, running
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of
from tests.stores import a_file, a_store, files_in, found, ready


def taken(folder: Path, *arguments: str, status: int = 0) -> Any:
    done = everloom(folder, "import", *arguments, "--json")
    assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr
    return json.loads(done.stdout)


def a_server(folder: Path, upstream: ScriptedUpstream) -> Everloom:
    folder.mkdir(exist_ok=True)
    return Everloom(folder, upstream=upstream.url, embedding_model="scripted")


def walked(http: httpx.Client, path: str, **query: Any) -> list[Json]:
    """All of a list, by pages, newest first."""
    found: list[Json] = []
    after: dict[str, Any] = {}
    while True:
        page = fetched(http, path, limit=7, **after, **query)
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


def all_of(http: httpx.Client) -> dict[str, bytes]:
    """Every object of a project as the API shows it, by its path, and the lists by theirs."""
    paths = ["/assistants", "/threads", "/files", "/vector_stores"]
    shown: dict[str, bytes] = {}
    for path in paths:
        for each in walked(http, path):
            own = f"{path}/{each['id']}"
            shown[own] = http.get(own).content
            if path == "/files":
                shown[f"{own}/content"] = http.get(f"{own}/content").content
            for inner in {"/threads": ("messages", "runs"), "/vector_stores": ("files",)}.get(path, ()):
                paths.append(f"{own}/{inner}")
            if path.endswith("/runs"):
                paths.append(f"{own}/steps")
        shown[path] = json.dumps([each["id"] for each in walked(http, path)]).encode()
    return shown


def rain(body: Json) -> Calls | Says:
    told = any(message["role"] == "tool" for message in body["messages"][-1:])
    return Calls(("weather", {"city": "Oslo"})) if body.get("tools") and not told else Says("Rain.")


def a_history(http: httpx.Client, old_http: httpx.Client, upstream: ScriptedUpstream) -> None:
    """Objects of all kinds, made through the API in both of its forms."""
    file = a_file(http, "The moon is a harsh mistress. " * 20, "moon.txt")
    code = {"type": "code_interpreter"}
    older = posted(old_http, "/assistants", {"model": "gpt-4o", "tools": [code, WEATHER], "file_ids": [file]})
    posted(
        http, "/assistants", {"model": "gpt-4o", "metadata": {"a": "b"}, "temperature": 0.3, "reasoning_effort": "low"}
    )
    store = a_store(http, "Dogs bark.", "Cats meow.", name="pets", metadata={"kind": "animals"})
    posted(http, f"/vector_stores/{store['id']}/files", {"file_id": file, "attributes": {"year": 1966}})
    ready(http, store)
    searching = {
        "tools": [{"type": "file_search"}],
        "tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}},
    }
    thread = a_thread(
        http, "one", "two", "three", metadata={"owner": "known"}, tool_resources=searching["tool_resources"]
    )
    attachments = [{"file_id": file, "tools": [code, {"type": "file_search"}]}]
    path = f"/threads/{thread['id']}/messages"
    content = [
        {"type": "text", "text": "看 🙂"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    posted(http, path, {"role": "user", "content": content, "attachments": attachments, "metadata": {"n": "1"}})
    upstream.rule(rain)
    run = settled(http, a_run(http, thread, older, tools=[WEATHER]), "requires_action")
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"} for call in calls]
    posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    settled(http, run, "completed")
    posted(
        old_http, f"/threads/{a_thread(http)['id']}/messages", {"role": "user", "content": "old", "file_ids": [file]}
    )
    for store in walked(http, "/vector_stores"):
        ready(http, store)


def a_dump(folder: Path) -> Path:
    """A thread of elsewhere, with citations, of ids that were not made here."""
    quote = {"type": "file_citation", "text": "【13†source】", "start_index": 2, "end_index": 13}
    target = {"type": "file_path", "text": "sandbox:/mnt/data/a.csv", "start_index": 13, "end_index": 36}
    annotations = [
        quote | {"file_citation": {"file_id": "file-gone", "quote": "said"}},
        target | {"file_path": {"file_id": "file-gone"}},
    ]
    value = "x 【13†source】sandbox:/mnt/data/a.csv"
    message = {"id": "msg_of_elsewhere", "object": "thread.message", "created_at": 1_700_000_000, "role": "assistant"}
    content = [{"type": "text", "text": {"value": value, "annotations": annotations}}]
    path = folder / "dump.json"
    path.write_text(json.dumps(message | {"thread_id": "thread_of_elsewhere", "content": content}))
    return path


def test_what_is_exported_comes_out_byte_for_byte(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with (
        a_server(tmp_path / "a", upstream) as source,
        client_of(source) as http,
        client_of(source, beta="assistants=v1") as old_http,
    ):
        a_history(http, old_http, upstream)
        source.command("import", str(a_dump(tmp_path)))
        expected = all_of(http)
        concerned = [path for path in expected if path.startswith(("/assistants/", "/threads/"))]
        older = {path: old_http.get(path).json() for path in concerned}
        said = source.command("export", str(tmp_path / "out"))
        assert "thread.run.step" in said
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"contents", "batches.jsonl", *(f"{name}s.jsonl" for name in NAMES)}
    with a_server(tmp_path / "b", upstream) as target, client_of(target) as http:
        report = json.loads(target.command("import", str(tmp_path / "out"), "--json"))
        assert report["faults"] == []
        assert report["unchanged"] == {}
        assert sum(report["taken"].values()) == sum(
            len(path.read_bytes().splitlines()) for path in (tmp_path / "out").glob("*.jsonl")
        )
        for store in walked(http, "/vector_stores"):
            ready(http, store)
        assert all_of(http) == expected
        with client_of(target, beta="assistants=v1") as old_http:
            assert {path: old_http.get(path).json() for path in older} == older
        (pets,) = [store for store in walked(http, "/vector_stores") if store["name"] == "pets"]
        assert len(files_in(http, pets)) == 3
        assert found(http, pets, "bark")
        again = json.loads(target.command("import", str(tmp_path / "out"), "--json"))
        assert again["taken"] == {}
        assert again["unchanged"] == report["taken"]
        target.command("export", str(tmp_path / "back"))
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert (tmp_path / "back" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()


NAMES = (
    *("assistant", "assistant-file", "file", "thread", "thread-message", "thread-run", "thread-run-step"),
    *("vector_store", "vector_store-file"),
    *("fine_tuning-job", "fine_tuning-job-event", "fine_tuning-job-checkpoint"),
)


# --- from a server ---------------------------------------------------------------------------------------------------


def test_a_server_is_fetched_from_byte_for_byte(
    tmp_path: Path, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_KEY", API_KEY)
    with (
        a_server(tmp_path / "a", upstream) as source,
        client_of(source) as http,
        client_of(source, beta="assistants=v1") as old_http,
    ):
        a_history(http, old_http, upstream)
        expected = all_of(http)
        (tmp_path / "b").mkdir()
        with Everloom(tmp_path / "b", upstream=upstream.url, embedding_model="scripted") as target:
            arguments = ("import", "--from", source.url, "--key-env", "SOURCE_KEY", "--json")
            report = json.loads(target.command(*arguments))
            assert report["faults"] == []
            with client_of(target) as copy:
                for store in walked(copy, "/vector_stores"):
                    ready(copy, store)
                assert all_of(copy) == expected
                again = json.loads(target.command(*arguments))
                assert again["taken"] == {}
                thread = json.loads(expected["/threads"])[-1]
                message = posted(http, f"/threads/{thread}/messages", {"role": "user", "content": "said since"})
                third = json.loads(target.command(*arguments))
                assert third["taken"] == {"thread.message": 1}
                assert fetched(copy, f"/threads/{thread}/messages/{message['id']}") == message


class Flaky(ThreadingHTTPServer):
    """A server with threads of many messages that answers now and then with 429, 500, or breaks off in an answer; from
    ``left`` answers on it is away.
    """

    daemon_threads = True

    def __init__(self, handler: "type[FlakyHandler] | None" = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or FlakyHandler)
        self.left = 10**9
        self.pause_ms = 20
        self.asked: list[str] = []
        self.bad = 0
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/openai"


def said_in(thread: str) -> list[Json]:
    own = {"object": "thread.message", "thread_id": thread, "role": "user", "metadata": {}, "attachments": []}
    return [
        own | {"id": f"msg-{thread}-{n}", "created_at": 1_700_000_000 + n // 3, "content": [text(f"{thread} {n}")]}
        for n in range(250)
    ]


def text(value: str) -> Json:
    return {"type": "text", "text": {"value": value, "annotations": []}}


class FlakyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Flaky

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        flaky = self.server
        flaky.asked.append(self.path)
        flaky.headers.append(dict(self.headers))
        flaky.left -= 1
        turn = len(flaky.asked)
        if flaky.left < 0 or turn % 5 == 3:
            flaky.bad += 1
            return self._answer(429 if turn % 2 else 500, {"error": {"message": "Enough of you."}}, retry=True)
        path, _, query = self.path.removeprefix("/openai").partition("?")
        asked = dict(parse_qsl(query))
        if turn % 7 == 5:
            flaky.bad += 1
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{")
            return None
        parts = path.strip("/").split("/")
        if parts[0] != "threads" or len(parts) == 1:
            return self._answer(404, {"error": {"message": "Resource not found"}})
        if len(parts) == 2:
            own = {"object": "thread", "created_at": 1_700_000_000, "metadata": {}, "tool_resources": {}}
            return self._answer(200, {"id": parts[1], **own})
        things = said_in(parts[1]) if parts[2] == "messages" else []
        if asked["order"] == "desc":
            things.reverse()
        ids = [each["id"] for each in things]
        start = ids.index(asked["after"]) + 1 if "after" in asked else 0
        end = start + int(asked["limit"])
        return self._answer(200, {"object": "list", "data": things[start:end], "has_more": end < len(things)})

    def _answer(self, status: int, body: Json, *, retry: bool = False) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        if retry:
            self.send_header("retry-after-ms", str(self.server.pause_ms))
        self.end_headers()
        self.wfile.write(data)


def test_a_source_that_refuses_and_breaks_off_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SOURCE_KEY", "secret-of-azure")
    with Flaky() as flaky:
        threading.Thread(target=flaky.serve_forever, daemon=True).start()
        ids = [f"thread-{n}" for n in range(6)]
        runs = [json.dumps({"object": "thread.run", "id": f"run-{id}", "thread_id": id}) for id in ids[2:]]
        (tmp_path / "ids.txt").write_text("# those of the customer\n" + "\n".join([*ids[:3], *runs]) + "\n")
        version = ("--api-version", "2024-05-01-preview")
        arguments = ("import", "--from", flaky.url, "--threads", "ids.txt", *version, "--json")
        flaky.left = 30
        everloom(tmp_path, "migrate")
        done = everloom(tmp_path, *arguments)
        assert done.returncode == 1
        assert "OPENAI_API_KEY" in done.stderr
        arguments = (*arguments, "--key-env", "SOURCE_KEY")
        done = everloom(tmp_path, *arguments)
        assert done.returncode == 1
        assert "times in vain: " in done.stderr
        assert "begin it again to go on" in done.stderr
        assert "secret-of-azure" not in done.stderr + done.stdout
        broken_at = len(flaky.asked)
        flaky.left = 10**9
        done = everloom(tmp_path, *arguments)
        report = json.loads(done.stdout)
        assert 0 < report["unchanged"]["thread"] < 6
        assert report["unchanged"]["thread"] + report["taken"]["thread"] == 6
        missing = [fault["id"] for fault in report["faults"]]
        assert missing == ["/files", "/vector_stores", "/assistants"]
        assert flaky.bad > 10
        assert len(flaky.asked) > broken_at
        assert all("api-version=2024-05-01-preview" in path for path in flaky.asked)
        assert {each.get("api-key") for each in flaky.headers} == {"secret-of-azure"}
        assert not any("authorization" in {name.lower() for name in each} for each in flaky.headers)
        done = everloom(tmp_path, "export", "out", "--json")
        assert json.loads(done.stdout)["written"] == {"thread": 6, "thread.message": 1500}
        lines = (tmp_path / "out" / "thread-messages.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines[:250]] == [each["id"] for each in said_in("thread-0")]


class Partial(FlakyHandler):
    """Lists objects of which it does not give what belongs to them, and ids that none can have."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        stores = [{"id": id, "object": "vector_store", "created_at": 1_700_000_000, "name": "a"} for id in PARTIAL_IDS]
        threads = [{"id": id, "object": "thread", "created_at": 1_700_000_000} for id in PARTIAL_IDS]
        path = self.path.partition("?")[0]
        lists: dict[str, list[Json]] = {"/vector_stores": stores, "/threads": threads, "/vector_stores/b/files": []}
        lists |= {path: [] for path in ("/files", "/assistants", "/threads/b/messages", "/threads/b/runs")}
        if (found := lists.get(path.removeprefix("/openai"))) is None:
            return self._answer(404, {"error": {"message": "Gone."}})
        return self._answer(200, {"object": "list", "data": found, "has_more": False})


PARTIAL_IDS = ("a", "b", "..", "x" * 100_000, "\ud800\n", "")


def test_what_a_server_does_not_give_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_KEY", "secret")
    everloom(tmp_path, "migrate")
    with Flaky(Partial) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = everloom(tmp_path, "import", "--from", server.url, "--key-env", "SOURCE_KEY", "--json")
        report = json.loads(done.stdout)
        assert report["taken"] == {"vector_store": 2, "thread": 1}
        assert report["skipped"] == {"": 1, "vector_store": 4, "thread": 5}
        gone = [fault["id"] for fault in report["faults"] if "Gone." in fault["why"]]
        assert gone == ["/vector_stores/a/files", "a"]
        asked_of = {path.split("/")[3] for path in server.asked if path.count("/") > 3}
        assert asked_of == {"a", "b"}


def test_who_looks_on_is_told_what_an_import_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_KEY", "Enough of you")  # Which it says again.
    everloom(tmp_path, "migrate")
    with Flaky() as flaky:
        threading.Thread(target=flaky.serve_forever, daemon=True).start()
        flaky.left, flaky.pause_ms = 0, 3_600_000
        arguments = ("--from", flaky.url, "--key-env", "SOURCE_KEY", "--api-version", "2024-05-01-preview", "--json")
        with running(tmp_path, "import", *arguments) as importing:
            until = time.monotonic() + 60
            while "\n" not in importing.errors:
                assert time.monotonic() < until
                time.sleep(0.05)
        assert importing.errors.startswith(f"waiting 300 s for {flaky.url}: 429 ***")
