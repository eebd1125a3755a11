"""``everloom serve`` and ``everloom worker``, from the start to the last line."""

import contextlib
import http.client
import json
import re
import signal
import socket
import stat
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from everloom.work.organization.establishing import DEFAULT_PROJECT
from tests.cli.programs import Program, everloom, running
from tests.postgres import fresh_database
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom

READY = "everloom: ready on "
SAID = ["everloom: console", "everloom: ready"]
"""What a start says that makes no keys."""


def get(url: str, path: str, key: str = "", **headers: str) -> tuple[int, dict[str, object]]:
    """Status and body of a GET below the base URL."""
    address = urlsplit(url)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)) as connection:
        connection.request("GET", address.path + path, headers={"authorization": f"Bearer {key}", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def end(program: Program, number: signal.Signals = signal.SIGTERM) -> int:
    program.process.send_signal(number)
    return program.process.wait(30)


def test_first_start_prints_keys_once_and_then_the_ready_line(tmp_path: Path) -> None:
    with running(tmp_path, "serve", "--port", "0") as program:
        url = program.until(READY)
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/v1", url)
        told = [line.split() for line in program.lines]
        assert told[0] == ["Base", "URL:", url]
        key, admin = told[1][-1], told[2][-1]
        assert re.fullmatch(r"sk-proj-\w{48}", key)
        assert re.fullmatch(r"sk-admin-\w{48}", admin)
        assert get(url, "/models", key)[0] == 200
        assert get(url, "/models", admin)[0] == 403
        assert get(url, "/models", "sk-wrong")[0] == 401
        assert end(program) == 0
        assert "sk-" not in program.errors
    with running(tmp_path, "serve", "--port", "0") as program:
        url = program.until(READY)
        assert [line.partition(" on ")[0] for line in program.lines] == SAID
        assert get(url, "/models", key)[0] == 200


def test_keys_of_the_settings_are_not_printed(tmp_path: Path) -> None:
    with running(tmp_path, "serve", "--port", "0", api_key="sk-mine", admin_key="sk-boss") as program:
        url = program.until(READY)
        assert [line.partition(" on ")[0] for line in program.lines] == SAID
        assert get(url, "/models", "sk-mine")[0] == 200
        assert end(program, signal.SIGINT) == 0


def test_keys_create_beside_a_running_server(tmp_path: Path) -> None:
    with running(tmp_path, "serve", "--port", "0", api_key="sk-mine") as program:
        url = program.until(READY)
        same = everloom(tmp_path, "keys", "create").stdout.strip()
        other = everloom(tmp_path, "keys", "create", "--project", "Second").stdout.strip()
        assert get(url, "/models", same, **{"openai-project": DEFAULT_PROJECT})[0] == 200
        assert get(url, "/models", other)[0] == 200
        status, body = get(url, "/models", other, **{"openai-project": DEFAULT_PROJECT})
        assert (status, body["error"]["code"]) == (401, "mismatched_project")  # type: ignore[index]  # JSON


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = everloom(tmp_path, "serve", "--port", port)
    assert done.returncode == 1
    assert (
        done.stderr == f"everloom: port {port} on 127.0.0.1 is taken; name another with --port (0 takes a free one)\n"
    )
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    done = everloom(tmp_path, "serve", "--port", "0")
    assert done.returncode == 1
    assert done.stderr.startswith("everloom: cannot start: ")
    assert "Traceback" not in done.stderr


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    done = everloom(tmp_path, "serve", "--port", "0", database="postgresql://me:hush@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("everloom: cannot start: ")
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_without_weights_starts_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(name, text)
    with running(tmp_path, "serve", "--port", "0", api_key="sk-mine", fetch_weights="true") as program:
        url = program.until(READY)
        deadline = time.monotonic() + 60
        while "could not be fetched" not in program.errors and time.monotonic() < deadline:
            assert get(url, "/models", "sk-mine")[0] == 200
            time.sleep(0.1)
        assert end(program) == 0
        assert "could not be fetched with pip" in program.errors


def test_server_and_worker_apart_on_postgresql(tmp_path: Path) -> None:
    url = fresh_database()
    (tmp_path / "worker").mkdir()
    with ScriptedUpstream() as upstream:
        settings = {"database": url, "upstream": upstream.url, "api_key": "sk-mine"}
        with running(tmp_path, "serve", "--port", "0", "--no-worker", **settings) as server:
            base = server.until(READY)
            with running(tmp_path / "worker", "worker", **settings) as worker:
                worker.until("everloom: worker ready")
                assert get(base, "/models", "sk-mine")[0] == 200
                assert end(worker) == 0
            assert end(server) == 0


def test_one_server_a_folder(tmp_path: Path) -> None:
    with Everloom(tmp_path, upstream="http://127.0.0.1:9/v1") as first:
        second = Everloom(tmp_path, upstream="http://127.0.0.1:9/v1")
        with pytest.raises(AssertionError, match="another server works on"):
            second.start()
        first.kill()
        with second:
            assert second.url


def test_clients_do_not_take_the_files_that_the_job_engine_needs(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream, contextlib.ExitStack() as stack:
        settings = {"api_key": "sk-mine", "upstream": upstream.url}
        program = stack.enter_context(running(tmp_path, "serve", "--port", "0", files=64, **settings))
        address = urlsplit(url := program.until(READY))
        for _ in range(80):  # While the engine starts beside the first requests.
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
        headers = {"authorization": "Bearer sk-mine", "openai-beta": "assistants=v2"}
        with httpx.Client(base_url=url, headers=headers, timeout=20) as http:
            statuses = []
            deadline = time.monotonic() + 60
            while statuses[-5:] != [200] * 5 and time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    statuses.append(http.get("/assistants", headers={"connection": "close"}).status_code)
                time.sleep(0.2)
            assert set(statuses) <= {503, 200}
            assert statuses[-1] == 200  # Those who say nothing have had to leave.
            assistant = http.post("/assistants", json={"model": "gpt-4o"}).json()
            body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "hi"}]}}
            assert "thread.run.completed" in http.post("/threads/runs", json={**body, "stream": True}).text


def test_the_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(tmp_path, "serve", "--port", "0", api_key="sk-mine") as program:
        url = program.until(READY)
        upload(url, "sk-mine")
        assert end(program) == 0
    (data / "models").mkdir()
    for name in ("models.toml", "models/a.gguf", "blobs/old", "mine.txt", "everloom.db-wal"):
        (data / name).write_text("")
    for path in (data, *data.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with running(tmp_path, "serve", "--port", "0", api_key="sk-mine") as program:
        url = program.until(READY)
        upload(url, "sk-mine")
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (data, *data.rglob("*"))}
        assert modes.pop(data / "mine.txt") == 0o644
        assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
        assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
        assert len([path for path in modes if path.parent == data / "blobs"]) == 3
        assert {"everloom.db", "vectors.db", "everloom.lock"} < {path.name for path in modes}


def test_a_shared_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o1777)
    with running(tmp_path, "serve", "--port", "0") as program:
        program.until(READY)
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o1777
        assert stat.S_IMODE((tmp_path / "data" / "everloom.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("setting", ["data", "database"])
def test_a_file_of_somebody_elses_is_left_as_it_is(tmp_path: Path, setting: str) -> None:
    """Root's slip of a setting had taken ``/etc/passwd`` from everybody."""
    theirs = {tmp_path / name: b"root:x:0:0:root:/root:/bin/bash\n" for name in ("accounts", "accounts-old")}
    for path, content in theirs.items():
        path.write_bytes(content)
        path.chmod(0o644)
    place = str(tmp_path / "accounts") if setting == "data" else f"sqlite:///{tmp_path / 'accounts'}"
    done = everloom(tmp_path, "serve", "--port", "0", **{setting: place})
    assert done.returncode == 1
    assert str(tmp_path / "accounts") in done.stderr
    for path, content in theirs.items():
        assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (0o644, content)


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    # A name that is too long is refused by the system as a closed folder is, and to root, too.
    done = everloom(tmp_path, "serve", "--port", "0", data=str(tmp_path / "closed" / ("x" * 300) / "data"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"everloom: {tmp_path / 'closed'}")
    assert done.stderr.count("\n") == 1


def upload(url: str, key: str) -> None:
    files = {"file": ("a.txt", b"hello")}
    headers = {"authorization": f"Bearer {key}"}
    assert httpx.post(f"{url}/files", data={"purpose": "assistants"}, files=files, headers=headers).status_code == 200
