"""``everloom audit``, beside a server and without one."""

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from tests.cli.programs import everloom
from tests.cli.test_organization import as_json, refused, told
from tests.organization import a_project, admin_of
from tests.postgres import fresh_database
from tests.receivers import Webhook
from tests.servers import ROOT, Everloom


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_listed(tmp_path: Path) -> None:
    made = as_json(tmp_path, "projects", "create", "Mine")
    told(tmp_path, "projects", "archive", made["id"])
    found = as_json(tmp_path, "audit", "list", "--project", "Mine")
    assert [event["type"] for event in found] == ["project.archived", "project.created"]
    assert found == as_json(tmp_path, "audit", "list", "--limit", "2")
    heads, first, second = told(tmp_path, "audit", "list", "--resource", made["id"]).splitlines()
    assert heads.split() == ["EFFECTIVE", "TYPE", "RESOURCE", "PROJECT", "ACTOR", "FROM", "ID"]
    assert first.split()[2:6] == ["project.archived", made["id"], "Mine", "operator"]
    assert second.split()[-1] == found[1]["id"]
    assert len(as_json(tmp_path, "audit", "list", "--type", "project.created", "--type", "user.added")) == 4
    assert as_json(tmp_path, "audit", "list", "--actor", "somebody@example.org") == []
    assert len(as_json(tmp_path, "audit", "list", "--actor", "operator", "--since", "2025-01-01")) == 5
    assert as_json(tmp_path, "audit", "list", "--until", "2025-01-01T00:00:00+01:00") == []
    assert "Supported values are:" in refused(tmp_path, "audit", "list", "--type", "project.exploded")
    assert "no projects are called 'Other'" in refused(tmp_path, "audit", "list", "--project", "Other")
    assert refused(tmp_path, "audit", "list", "--since", "yesterday").startswith("everloom: --since: expected Unix")


def test_events_are_exported(tmp_path: Path) -> None:
    told(tmp_path, "projects", "create", "Mine")
    found = lines(told(tmp_path, "audit", "export"))
    assert [event["chain"]["seq"] for event in found] == [1, 2, 3, 4]
    assert found[3]["project.created"]["data"]["name"] == "Mine"
    assert found[3]["origin"]["user_agent"].startswith("everloom/")
    assert len(found[3]["chain"]["hash"]) == 64
    told(tmp_path, "audit", "export", "--out", str(tmp_path / "out.jsonl"))
    assert lines((tmp_path / "out.jsonl").read_text()) == found
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600
    assert told(tmp_path, "audit", "export", "--until", "100") == ""
    assert lines(told(tmp_path, "audit", "export", "--since", "100")) == found


@pytest.mark.parametrize("adapter", ["sqlite", "postgresql"])
def test_a_server_signs_when_it_stops_and_anybody_can_verify(adapter: str, tmp_path: Path) -> None:
    settings = {"database": fresh_database()} if adapter == "postgresql" else {}
    data = tmp_path / "data"
    data.mkdir()
    with Everloom(data, **settings) as server, admin_of(server) as admin:
        project = a_project(admin)
        assert server.stop() == 0
    key, witness = data / "audit-key.pem", data / "audit-witness.jsonl"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (key, witness)] == [0o600, 0o600]
    done = everloom(tmp_path, "audit", "verify", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    rows, signed = done.stdout.splitlines()
    assert rows.startswith("6 rows are good; the hash of the last is ")
    assert signed.startswith("Signed up to row 6, at 20")
    # As an auditor would, who has the public key and a copy of the witness.
    public = tmp_path / "public.pem"
    public.write_text(told(tmp_path, "audit", "public-key"))
    assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----\n")
    shutil.move(witness, tmp_path / "copy.jsonl")
    key.unlink()
    options = ("--public-key", str(public), "--witness", str(tmp_path / "copy.jsonl"))
    report = everloom(tmp_path, "audit", "verify", "--json", *options, **settings)
    assert report.returncode == 0, report.stdout
    assert json.loads(report.stdout) | {"hash": "", "signed": {}} == {
        "rows": 6,
        "hash": "",
        "signed": {},
        "faults": [],
        "notes": [],
    }
    keyless = everloom(tmp_path, "audit", "verify", **settings)
    assert keyless.returncode == 1
    assert keyless.stdout.startswith(f"note: there is no key in {key}, so that no signature can be looked at\n")
    assert "FAULT: a checkpoint of row 6 in the database bears no signature of a key that was given" in keyless.stdout
    missing = everloom(tmp_path, "audit", "verify", "--public-key", str(public), **settings)
    assert missing.returncode == 1
    assert missing.stdout.splitlines()[:2] == [
        f"note: {witness}: No such file or directory",
        "FAULT: there is no witness: nothing outside the database says what stood in it",
    ]
    listed = everloom(tmp_path, "audit", "list", "--json", "--resource", project["id"], **settings)
    assert len(json.loads(listed.stdout)) == 1


def test_a_log_that_nobody_has_signed_yet(tmp_path: Path) -> None:
    told(tmp_path, "projects", "create", "Mine")
    done = everloom(tmp_path, "audit", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 rows are good" in done.stdout
    assert done.stdout.splitlines()[-1] == "No checkpoint vouches for any of them."
    named = refused(tmp_path, "audit", "public-key")
    assert named == f"everloom: there is no key in {tmp_path / 'data' / 'audit-key.pem'} yet: " + (
        "it is made by the first server that signs\n"
    )
    none = everloom(tmp_path, "audit", "verify", "--public-key", str(tmp_path / "none.pem"))
    assert none.stderr == f"everloom: no key in {tmp_path / 'none.pem'}: No such file or directory\n"
    with closing(sqlite3.connect(tmp_path / "data" / "everloom.db")) as database, database:
        database.execute("UPDATE audit_events SET type = 'user.deleted' WHERE seq = 2")
    assert everloom(tmp_path, "audit", "verify").returncode == 1


def test_a_witness_that_was_emptied_is_begun_anew_by_the_operator_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with Everloom(data) as server:
        server.stop()
    witness = data / "audit-witness.jsonl"
    before = witness.read_text()
    witness.write_text("")
    with closing(sqlite3.connect(data / "everloom.db")) as database, database:
        database.execute("DELETE FROM audit_checkpoints")
    done = everloom(tmp_path, "audit", "verify")
    assert done.returncode == 1
    assert "FAULT: the witness remembers nothing" in done.stdout
    with Everloom(data) as server:
        server.stop()
        assert "nothing is signed until 'everloom audit accept' says that all is well" in "".join(server.output)
    assert witness.read_text() == ""
    assert told(tmp_path, "audit", "accept") == "Accepted, and signed up to row 5.\n"
    assert everloom(tmp_path, "audit", "verify").returncode == 0
    assert len(witness.read_text().splitlines()) == 1
    assert witness.read_text() != before


def test_an_export_to_nowhere(tmp_path: Path) -> None:
    told(tmp_path, "projects", "create", "Mine")
    text = refused(tmp_path, "audit", "export", "--out", str(tmp_path / "none" / "x"))
    assert text == f"everloom: cannot write {tmp_path / 'none' / 'x'}: No such file or directory\n"


def test_what_was_changed_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Everloom(tmp_path / "data") as server:
        server.stop()
    with closing(sqlite3.connect(tmp_path / "data" / "everloom.db")) as database, database:
        database.execute("UPDATE audit_events SET type = 'user.deleted' WHERE seq = 2")
    done = everloom(tmp_path, "audit", "verify")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "FAULT: row 2 was changed: its columns (type) are not what it says"
    assert json.loads(everloom(tmp_path, "audit", "verify", "--json").stdout)["faults"][0]["seq"] == 2


def test_verifying_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Everloom(tmp_path / "data") as server:
        server.stop()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    done = everloom(tmp_path, "audit", "verify")
    assert done.returncode == 0
    assert {name: (tmp_path / "data" / name).stat().st_mtime_ns for name in before} == before


def test_there_is_no_database(tmp_path: Path) -> None:
    told = everloom(tmp_path, "audit", "list").stderr
    assert told.startswith(f"everloom: nothing has been started on {tmp_path / 'data' / 'everloom.db'}: ")
    assert not (tmp_path / "data").exists()


def pem(path: Path, key: Any, encryption: KeySerializationEncryption | None = None) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return path


def test_a_key_and_a_witness_of_the_settings(tmp_path: Path) -> None:
    key = pem(tmp_path / "key.pem", Ed25519PrivateKey.generate())
    data = tmp_path / "data"
    data.mkdir()
    settings = {"audit_key": str(key), "audit_witness": str(tmp_path / "elsewhere" / "witness.jsonl")}
    with Everloom(data, **settings) as server:
        server.stop()
    assert not (data / "audit-key.pem").exists()
    assert len((tmp_path / "elsewhere" / "witness.jsonl").read_text().splitlines()) == 1
    assert everloom(tmp_path, "audit", "verify", **settings).returncode == 0
    assert everloom(tmp_path, "audit", "public-key", **settings).stdout.startswith("-----BEGIN PUBLIC KEY-----")
    missing = everloom(tmp_path, "serve", "--port", "0", audit_key=str(tmp_path / "none.pem"))
    assert missing.stderr == f"everloom: cannot start: audit_key: there is no file {tmp_path / 'none.pem'}\n"


def test_keys_that_cannot_sign(tmp_path: Path) -> None:
    kind = pem(tmp_path / "ec.pem", generate_private_key(SECP256R1()))
    assert "has no Ed25519 key" in everloom(tmp_path, "audit", "public-key", audit_key=str(kind)).stderr
    locked = pem(tmp_path / "locked.pem", Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret"))
    assert "is encrypted" in everloom(tmp_path, "audit", "public-key", audit_key=str(locked)).stderr
    (tmp_path / "text.pem").write_text("no key")
    assert everloom(tmp_path, "audit", "public-key", audit_key=str(tmp_path / "text.pem")).returncode == 1


def test_a_server_sends_its_events_to_a_sink(tmp_path: Path) -> None:
    with Webhook() as receiver:
        settings = {"audit_sink": receiver.url, "audit_sink_token": "a-token-of-the-sink"}
        with Everloom(tmp_path, **settings) as server, admin_of(server) as admin:
            project = a_project(admin)
            deadline = time.monotonic() + 60
            while len(receiver.events) < 6 and time.monotonic() < deadline:
                time.sleep(0.05)
            receiver.statuses = [503] * 3
            a_project(admin)
            while len(receiver.events) < 7 and time.monotonic() < deadline:
                time.sleep(0.05)
        assert receiver.events[5]["project.created"]["id"] == project["id"]
        assert receiver.events[5]["origin"]["ip_address"] == "127.0.0.1"
        assert [event["chain"]["seq"] for event in receiver.events] == list(range(1, 8))
        assert set(receiver.tokens) == {"Bearer a-token-of-the-sink"}
        assert "a-token-of-the-sink" not in "".join(server.output)
        assert "key=hush" not in "".join(server.output)
    assert receiver.events[5]["id"] in told(tmp_path, "audit", "export", "--data", str(tmp_path))


@pytest.mark.parametrize("sink", ["syslog://host", "syslog+tcp://", "syslog+tcp://host:many", "ftp://host", "/dev/log"])
def test_sinks_that_there_are_not(tmp_path: Path, sink: str) -> None:
    done = everloom(tmp_path, "audit", "list", audit_sink=sink)
    assert done.returncode == 2
    assert "EVERLOOM_AUDIT_SINK: expected syslog+udp://HOST:PORT" in done.stderr


def test_a_start_does_not_load_what_signs(tmp_path: Path) -> None:
    program = "import sys; import everloom.app, everloom.cli.audit; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert done.stdout == "False\n"
