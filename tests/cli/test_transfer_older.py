"""``everloom import --from``: a server of the form of 2023 alone; batches and jobs of fine-tuning as history."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.builders import WEATHER, a_run, a_thread, fetched, posted, settled
from tests.cli.test_transfer import a_server
from tests.replies import Says
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of
from tests.stores import a_file
from tests.work.test_transfer_history import a_batch, a_job

OLDER = "assistants=v1"
SINCE = ("/v1/vector_stores", "/v1/batches", "/v1/fine_tuning")
"""What such a server has not."""


class OlderServer(ThreadingHTTPServer):
    """Another server behind this one, which knows nothing of what came since."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Older)
        self.behind = behind.removesuffix("/v1")
        self.forms: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _Older(BaseHTTPRequestHandler):
    server: OlderServer

    def do_GET(self) -> None:
        form = self.headers.get("openai-beta", "")
        status, body = 404, b'{"error": {"message": "Unknown request URL"}}'
        if self.path.startswith(("/v1/assistants", "/v1/threads")) and form != OLDER:
            status, body = 400, b'{"error": {"message": "Unknown beta requested"}}'
        elif not self.path.startswith(SINCE):
            self.server.forms.append(form)
            headers = {"authorization": self.headers["authorization"], "openai-beta": form}
            answer = httpx.get(self.server.behind + self.path, headers=headers, timeout=60)
            status, body = answer.status_code, answer.content
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_of_the_older_form_is_fetched_from(
    tmp_path: Path, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_KEY", API_KEY)
    upstream.rule(lambda body: Says("It rains."))
    with (
        a_server(tmp_path / "a", upstream) as source,
        client_of(source) as http,
        client_of(source, beta=OLDER) as older,
        OlderServer(source.url) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = a_file(http, "The moon is a harsh mistress. " * 20, "moon.txt")
        tools = [{"type": "code_interpreter"}, WEATHER]
        assistant = posted(older, "/assistants", {"model": "gpt-4o", "tools": tools, "file_ids": [file]})
        thread = a_thread(older)
        posted(older, f"/threads/{thread['id']}/messages", {"role": "user", "content": "old", "file_ids": [file]})
        run = settled(older, a_run(older, thread, assistant), "completed")
        (tmp_path / "runs.jsonl").write_text(json.dumps(run) + "\n")
        paths = [f"/assistants/{assistant['id']}", f"/assistants/{assistant['id']}/files", f"/threads/{thread['id']}"]
        paths += [f"/threads/{thread['id']}/{noun}" for noun in ("messages", "runs", f"runs/{run['id']}/steps")]
        expected = [fetched(older, path) for path in paths]
        assert expected[0]["file_ids"] == [file]
        (tmp_path / "b").mkdir()
        with Everloom(tmp_path / "b", upstream=upstream.url, embedding_model="scripted") as target:
            ids = str(tmp_path / "runs.jsonl")
            arguments = ("import", "--from", server.url, "--key-env", "SOURCE_KEY", "--threads", ids, "--json")
            report = json.loads(target.command(*arguments))
            assert report["faults"] == []
            assert OLDER in server.forms
            with client_of(target, beta=OLDER) as copy:
                assert [fetched(copy, path) for path in paths] == expected
            assert json.loads(target.command(*arguments))["taken"] == {}
        server.shutdown()


def test_batches_and_jobs_are_fetched_as_history(
    tmp_path: Path, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_KEY", API_KEY)
    event = {"object": "fine_tuning.job.event", "id": "ftevent-a", "created_at": a_job().created_at, "level": "info"}
    event |= {"message": "Trained", "type": "message", "fine_tuning_job_id": a_job().id}
    records = [msgspec.to_builtins(a_batch()), msgspec.to_builtins(a_job()), event]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    paths = ("/batches", "/fine_tuning/jobs", f"/fine_tuning/jobs/{a_job().id}/events")
    with a_server(tmp_path / "a", upstream) as source, client_of(source) as http:
        source.command("import", str(tmp_path / "history.jsonl"))
        expected = [fetched(http, path)["data"] for path in paths]
        assert [len(data) for data in expected] == [1, 1, 1]
        (tmp_path / "b").mkdir()
        with Everloom(tmp_path / "b", upstream=upstream.url) as target, client_of(target) as copy:
            arguments = ("import", "--from", source.url, "--key-env", "SOURCE_KEY", "--json")
            report = json.loads(target.command(*arguments))
            assert report["faults"] == []
            assert [fetched(copy, path)["data"] for path in paths] == expected
            assert copy.post(f"/batches/{a_batch().id}/cancel").status_code == 400
