"""``everloom doctor`` on machines where something is missing."""

import http.client
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import environment, everloom
from tests.postbox import Postbox
from tests.postgres import fresh_database
from tests.scripted import ScriptedUpstream


def found(done: "subprocess.CompletedProcess[str]", subject: str) -> str:
    """The one line about the subject, with its level in front and its remedy behind."""
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line[8:].startswith(subject)]
    remedy = lines[at + 1] if lines[at + 1].startswith("        ->") else ""
    return " ".join((lines[at] + remedy).split())


@pytest.fixture
def port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_a_fresh_machine_is_fine_and_stays_as_it_was(tmp_path: Path, port: str) -> None:
    done = everloom(tmp_path, "doctor", port=port)
    assert done.returncode == 0
    assert done.stdout.endswith("\nEverything needed is here.\n")
    assert found(done, "database").endswith("everloom.db (made at first start)")
    assert "'everloom models pull'" in found(done, "default models' weights")
    assert found(done, "local engine") == "ok local engine: llama.cpp loads"
    assert found(done, f"port {port}") == f"ok port {port} on 127.0.0.1 is free"
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_none(tmp_path: Path, port: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "everloom.db").write_text("not a database, and longer than a header of one would be" * 40)
    done = everloom(tmp_path, "doctor", port=port)
    assert done.returncode == 1
    assert "file is not a database" in found(done, "database")


@pytest.mark.parametrize(
    ("revision", "level", "says"),
    [("9999", "broken", "install the Everloom that wrote it"), ("0000", "note", "'everloom migrate'")],
)
def test_a_schema_of_another_time(tmp_path: Path, port: str, revision: str, level: str, says: str) -> None:
    assert everloom(tmp_path, "migrate").returncode == 0
    assert found(everloom(tmp_path, "doctor", port=port), "database").startswith("ok")
    connection = sqlite3.connect(tmp_path / "data" / "everloom.db")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    done = everloom(tmp_path, "doctor", port=port)
    assert done.returncode == (1 if level == "broken" else 0)
    line = found(done, "database")
    assert line.startswith(level)
    assert says in line


def test_postgresql(tmp_path: Path, port: str) -> None:
    url = fresh_database()
    empty = everloom(tmp_path, "doctor", port=port, database=url)
    assert "empty (its schema is made at first start)" in found(empty, "database: PostgreSQL")
    assert everloom(tmp_path, "migrate", database=url).returncode == 0
    made = everloom(tmp_path, "doctor", port=port, database=url)
    assert found(made, "database: PostgreSQL").startswith("ok")
    assert ", schema " in found(made, "database: PostgreSQL")


def test_postgresql_that_is_not_there(tmp_path: Path, port: str) -> None:
    done = everloom(tmp_path, "doctor", port=port, database="postgresql://me:hush@127.0.0.1:1/none")
    assert done.returncode == 1
    assert found(done, "database").startswith("broken database: PostgreSQL cannot be reached")
    assert "hush" not in done.stdout


def test_an_upstream_and_its_models(tmp_path: Path, port: str) -> None:
    with ScriptedUpstream() as upstream:
        done = everloom(tmp_path, "doctor", port=port, upstream=upstream.url)
    assert done.returncode == 0
    assert found(done, "upstream").startswith("ok upstream")
    assert " models (" in found(done, "upstream")
    assert "not needed" in found(done, "local models")


@pytest.mark.parametrize("key", ["", "sk-of-the-upstream"])
def test_an_upstream_whose_url_has_a_user(tmp_path: Path, port: str, key: str) -> None:
    with ScriptedUpstream() as upstream:
        url = upstream.url.replace("//", "//somebody:with-a-password@")
        done = everloom(tmp_path, "doctor", port=port, upstream=url, upstream_key=key)
    assert found(done, "upstream").startswith("ok upstream")
    assert "with-a-password" not in done.stdout


def test_an_upstream_that_is_not_there(tmp_path: Path, port: str) -> None:
    done = everloom(tmp_path, "doctor", port=port, upstream=f"http://127.0.0.1:{port}/v1")
    assert done.returncode == 1
    assert "cannot be reached" in found(done, "upstream")


def test_a_model_file_that_is_not_there(tmp_path: Path, port: str) -> None:
    (tmp_path / "everloom.toml").write_text('[[models]]\nid="mine"\nbackend="local"\npath="mine.gguf"\n')
    done = everloom(tmp_path, "doctor", port=port)
    assert done.returncode == 1
    assert f"{tmp_path}/mine.gguf does not exist" in found(done, "model mine")


def test_a_port_that_somebody_else_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = everloom(tmp_path, "doctor", port=port)
    assert done.returncode == 1
    assert "is taken" in found(done, f"port {port}")
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", int(port), timeout=1).connect()


def test_a_mail_server_is_tried(tmp_path: Path, port: str) -> None:
    settings = {"port": port, "mail_from": "Everloom <everloom@example.org>"}
    with Postbox() as box:
        done = everloom(tmp_path, "doctor", smtp_url=f"smtp://127.0.0.1:{box.port}", **settings)
        said = f"ok mail: 127.0.0.1:{box.port}, not encrypted, from Everloom <everloom@example.org>"
        assert found(done, "mail") == said
        assert box.mails == []
    done = everloom(tmp_path, "doctor", smtp_url=f"smtp://a:secret-of-mail@127.0.0.1:{box.port}", **settings)
    assert done.returncode == 1
    assert "broken mail: 127.0.0.1" in found(done, "mail")
    assert "EVERLOOM_SMTP_URL" in found(done, "mail")
    assert "secret-of-mail" not in done.stdout


def in_a_disk(folder: Path, *disk: str) -> "subprocess.CompletedProcess[str]":
    """What the doctor says where the folder is a file system of its own, as bubblewrap mounts it."""
    if not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed (python -m tests.bubblewrap install)")
    data = folder / "data"
    data.mkdir(exist_ok=True)
    fill = f"(head -c 1000000 /dev/zero > {data}/filled) 2>/dev/null; {sys.executable} -m everloom doctor"
    command = ["bwrap", "--dev-bind", "/", "/", *disk, str(data), "--", "sh", "-c", fill]
    environ = environment(folder, port="0")
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120)


def test_a_full_disk_is_a_fault(tmp_path: Path) -> None:
    done = in_a_disk(tmp_path, "--size", "65536", "--tmpfs")
    assert done.returncode == 1
    line = found(done, "data:")
    assert line.startswith("broken data: ")
    assert "0 MB free, and nothing can be written: No space left on device" in line
    assert f"-> make room on the disk of {tmp_path / 'data'} (df -h {tmp_path / 'data'})" in line
    assert "EVERLOOM_DATA, --data" in line


def test_a_disk_that_is_nearly_full_is_a_fault(tmp_path: Path) -> None:
    done = in_a_disk(tmp_path, "--size", "20000000", "--tmpfs")
    assert done.returncode == 1
    assert "19 MB free: the disk is full, and what is kept there has to wait" in found(done, "data:")


def test_a_disk_with_little_room_is_noted(tmp_path: Path) -> None:
    done = in_a_disk(tmp_path, "--size", "500000000", "--tmpfs")
    assert found(done, "data:").startswith("note data: ")
    assert "make room" in found(done, "data:")


def test_a_read_only_disk_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = in_a_disk(tmp_path, "--ro-bind", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "is on a read-only disk -> mount it to be written, or name another folder" in found(done, "data:")
