"""What a server says of itself to its organization: what is missing, and whether its audit log is whole."""

import sqlite3
import time
from pathlib import Path

import httpx

from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of


def test_the_findings_are_those_of_the_command(tmp_path: Path) -> None:
    upstream = "http://me:hush-hush@127.0.0.1:9/v1"
    with Everloom(tmp_path, upstream=upstream) as server:
        with client_of(server, ADMIN_KEY, beta=None) as admin:
            answer = admin.get("/organization/doctor")
            again = admin.get("/organization/doctor").json()
        with client_of(server) as project:
            refused = project.get("/organization/doctor")
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "missing_scope")
            assert str(tmp_path) not in refused.text
        assert answer.status_code == 200
        assert "hush" not in answer.text
        found = {each["subject"]: each for each in answer.json()["data"]}
        assert found["data"]["level"] == "ok"
        assert str(tmp_path) in found["data"]["text"]
        assert found["database"]["text"].startswith(str(tmp_path / "everloom.db"))
        (away,) = [each for name, each in found.items() if name.startswith("upstream")]
        assert away["level"] == "broken"
        assert "EVERLOOM_UPSTREAM" in away["remedy"]
        assert not any(name.startswith("port") for name in found)
        assert again["created_at"] == answer.json()["created_at"]


def test_nobody_without_a_key_is_told_anything(server: Everloom) -> None:
    for path in ("/organization/doctor", "/organization/audit_logs/verification"):
        answer = httpx.get(server.url + path)
        assert (answer.status_code, "data" in answer.json()) == (401, False)


def test_an_audit_log_is_found_whole_and_then_touched(tmp_path: Path) -> None:
    with Everloom(tmp_path) as server, client_of(server, ADMIN_KEY, beta=None) as admin:
        made = admin.post("/organization/projects", json={"name": "One"}).json()
        found = verification(admin)
        assert (found["status"], found["faults"], found["faults_total"]) == ("completed", [], 0)
        assert found["rows"] >= 5
        assert len(found["hash"]) == 64
        assert abs(found["verified_at"] - time.time()) < 60
        first = verification(admin)
        assert first == found  # It is read once in a while, however many ask.
    connection = sqlite3.connect(tmp_path / "everloom.db")
    with connection:
        body = connection.execute("SELECT seq, body FROM audit_events ORDER BY seq DESC LIMIT 1").fetchone()
        changed = body[1].replace(b"One", b"Two")
        assert changed != body[1]
        connection.execute("UPDATE audit_events SET body = ? WHERE seq = ?", (changed, body[0]))
    connection.close()
    with Everloom(tmp_path) as server, client_of(server, ADMIN_KEY, beta=None) as admin:
        assert admin.get("/organization/projects").json()["data"][0]["id"] in (made["id"], "proj_default")
        found = verification(admin)
        assert found["status"] == "completed"
        assert found["faults_total"] >= 1
        assert any(fault["seq"] == body[0] and "was changed" in fault["text"] for fault in found["faults"])


def verification(admin: httpx.Client) -> dict[str, object]:
    """What came of it, however long it takes."""
    deadline = time.monotonic() + 60
    while True:
        answer = admin.get("/organization/audit_logs/verification")
        assert answer.status_code == 200
        found: dict[str, object] = answer.json()
        if found["status"] == "completed":
            return found
        assert time.monotonic() < deadline
