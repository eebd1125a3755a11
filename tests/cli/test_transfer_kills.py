"""Imports that are killed, and several at once, as processes of their own on either database."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.programs import environment, everloom
from tests.postgres import fresh_database
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.work.test_transfer import T0, a_run, a_thread, many


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"database": fresh_database()} if request.param == "postgres" else {}


def an_import(folder: Path, given: Path, settings: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "everloom", "import", str(given), "--json"]
    env = environment(folder, **settings)
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def exported(folder: Path, name: str, settings: dict[str, str]) -> dict[str, bytes]:
    done = everloom(folder, "export", name, **settings)
    assert done.returncode == 0, done.stderr
    return {
        str(path.relative_to(folder / name)): path.read_bytes() for path in (folder / name).rglob("*") if path.is_file()
    }


def test_two_at_once_and_one_killed_end_as_one_alone(tmp_path: Path, settings: dict[str, str]) -> None:
    given = many(tmp_path, 3000)
    (tmp_path / "alone").mkdir()
    assert everloom(tmp_path / "alone", "migrate").returncode == 0
    assert everloom(tmp_path / "alone", "import", str(given)).returncode == 0
    expected = exported(tmp_path / "alone", "out", {})
    assert everloom(tmp_path, "migrate", **settings).returncode == 0
    chance = random.Random(3)
    for _ in range(2):
        killed = an_import(tmp_path, given, settings)
        time.sleep(chance.uniform(1.5, 4))
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    reports = []
    for each in [an_import(tmp_path, given, settings) for _ in range(2)]:
        out, err = each.communicate(timeout=180)
        assert each.returncode == 0, err + out[:2000]
        reports.append(json.loads(out))
    total = {"file": 5, "thread.message": 3000}  # Threads that were made of messages stand, and are no records.
    for report in reports:
        done = {name: report["taken"].get(name, 0) + report["unchanged"].get(name, 0) for name in total}
        assert done == total
    assert exported(tmp_path, "out", settings) == expected


def test_ids_of_another_make_are_answered_for(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """Beside a running server, which goes on with a thread of which nobody there knew."""
    lines = [a_thread("conversation 7", T0), a_run("lauf:1", thread_id="conversation 7", status="queued")]
    lines.append({"thread_id": "conversation 7", "id": "m-1", "role": "user", "text": "Hi", "created_at": T0})
    (tmp_path / "dump.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "data").mkdir()
    with Everloom(tmp_path / "data", upstream=upstream.url) as server, client_of(server) as http:
        assert json.loads(server.command("import", str(tmp_path / "dump.jsonl"), "--json"))["unfinished"] == 1
        path = "/threads/conversation%207"
        assert http.get(path).json()["id"] == "conversation 7"
        assert http.get(f"{path}/runs/lauf:1").json()["status"] == "expired"
        assert [each["id"] for each in http.get(f"{path}/messages").json()["data"]] == ["m-1"]
        assert http.get(f"{path}/messages/m-1").json()["content"][0]["text"]["value"] == "Hi"
        assert http.get(f"{path}/messages", params={"after": "m-1"}).json()["data"] == []
        refused = http.get("/threads/conversation%208")
        assert refused.status_code == 400
        assert "Expected an ID that begins with 'thread'" in refused.json()["error"]["message"]
        assistant = http.post("/assistants", json={"model": "gpt-4o"}).json()
        run = http.post(f"{path}/runs", json={"assistant_id": assistant["id"]}, params={"wait": 20}).json()
        deadline = time.monotonic() + 30
        while http.get(f"{path}/runs/{run['id']}").json()["status"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(http.get(f"{path}/messages").json()["data"]) == 2
