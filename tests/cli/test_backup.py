"""``everloom backup``: of one moment, beside a server in a storm, and a server that goes on from it."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.programs import environment, everloom
from tests.postgres import fresh_database
from tests.replies import Json, Reply, Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom

PATIENCE = 120
HEADERS = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
ENDED = ("completed", "failed", "incomplete", "expired", "cancelled")


def backup(folder: Path, data: Path, target: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "everloom", "backup", str(target), "--json"]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, data=str(data), **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def made_folder(parent: Path) -> Path:
    """The data folder, empty."""
    (parent / "data").mkdir()
    return parent / "data"


class Storm:
    """Clients that upload and delete files and run an assistant, and remember what was acknowledged."""

    def __init__(self, url: str) -> None:
        self.files: dict[str, bytes] = {}
        self.deleted: set[str] = set()
        self.kept: set[str] = set()
        """Every second file, never deleted: a slow backup would otherwise outlive all that was there before it."""
        self.runs: dict[str, str] = {}
        """The runs that were acknowledged, with their threads."""
        self.told = threading.Condition()
        self.faults: list[str] = []
        self._url = url
        self._over = threading.Event()

    @contextmanager
    def raging(self, assistant: str) -> Iterator["Storm"]:
        threads = [threading.Thread(target=self._upload, args=(seed,)) for seed in range(3)]
        threads += [threading.Thread(target=self._run, args=(assistant,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def until(self, files: int, runs: int, deleted: int) -> None:
        """Wait until so much has been acknowledged."""
        with self.told:
            enough = self.told.wait_for(lambda: self.faults or self._has(files, runs, deleted), PATIENCE)
        assert enough
        assert self.faults == []

    def _has(self, files: int, runs: int, deleted: int) -> bool:
        return len(self.files) >= files and len(self.runs) >= runs and len(self.deleted) >= deleted

    def _upload(self, seed: int) -> None:
        chance = random.Random(seed)
        with httpx.Client(base_url=self._url, headers=HEADERS, timeout=PATIENCE) as client:
            while not self._over.is_set():
                content = chance.randbytes(chance.choice((10, 1000, 300_000)))
                answer = client.post("/files", files={"file": ("a.bin", content)}, data={"purpose": "user_data"})
                if not self._right(answer):
                    return
                with self.told:
                    self.files[answer.json()["id"]] = content
                    if len(self.files) % 2:
                        self.kept.add(answer.json()["id"])
                    left = [id for id in self.files if id not in self.deleted | self.kept]
                    doomed = [chance.choice(left)] if left and chance.random() < 0.4 else []
                    self.deleted.update(doomed)
                    self.told.notify_all()
                if not all(self._right(client.delete(f"/files/{id}")) for id in doomed):
                    return

    def _run(self, assistant: str) -> None:
        with httpx.Client(base_url=self._url, headers=HEADERS, timeout=PATIENCE) as client:
            while not self._over.is_set():
                thread = {"messages": [{"role": "user", "content": "Go on"}]}
                answer = client.post("/threads/runs", json={"assistant_id": assistant, "thread": thread})
                if not self._right(answer):
                    return
                with self.told:
                    self.runs[answer.json()["id"]] = answer.json()["thread_id"]
                    self.told.notify_all()

    def _right(self, answer: httpx.Response) -> bool:
        if answer.status_code != 200:
            with self.told:
                self.faults.append(answer.text)
                self.told.notify_all()
        return answer.status_code == 200


def _slowly(body: Json) -> Reply:
    return Slow(0.05, Says("one two three four five six seven eight nine ten"))


def test_a_server_goes_on_from_a_backup_that_was_made_in_a_storm(tmp_path: Path) -> None:
    copy = tmp_path / "backups" / "copy"
    with ScriptedUpstream() as upstream:
        upstream.rule(_slowly)
        settings = {"upstream": upstream.url, "embedding_model": "scripted"}
        with Everloom(made_folder(tmp_path), **settings) as server:
            made = httpx.post(f"{server.url}/assistants", headers=HEADERS, json={"model": "gpt-4o"}, timeout=PATIENCE)
            with Storm(server.url).raging(made.json()["id"]) as storm:
                storm.until(files=40, runs=20, deleted=10)
                with storm.told:
                    files, runs = dict(storm.files), dict(storm.runs)
                done = backup(tmp_path, tmp_path / "data", copy)
                with storm.told:
                    gone = set(storm.deleted)
                storm.until(files=len(storm.files) + 5, runs=len(storm.runs) + 5, deleted=0)
        assert done.returncode == 0, done.stderr
        assert {"everloom.db", "vectors.db", "blobs/", "audit-key.pem"} <= set(json.loads(done.stdout)["contains"])
        assert [path.name for path in copy.parent.iterdir()] == ["copy"]
        assert not (tmp_path / "data" / "blobs" / ".backup").exists()
        assert all(path.stat().st_mode & 0o077 == 0 for path in [copy, *copy.rglob("*")])
        verified = everloom(tmp_path, "audit", "verify", data=str(copy))
        assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
        with Everloom(copy, **settings) as server:
            assert len(set(files) & storm.kept) >= 20
            _look_at_files(server.url, storm, set(files) - gone)
            _look_at_runs(server.url, runs)
        verified = everloom(tmp_path, "audit", "verify", data=str(copy))
        assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout


def _look_at_files(url: str, storm: Storm, wanted: set[str]) -> None:
    """Those that were acknowledged are there, and each that is there has its bytes."""
    with httpx.Client(base_url=url, headers=HEADERS, timeout=PATIENCE) as client:
        listed = {file["id"] for file in client.get("/files").json()["data"]}
        assert wanted - listed == set()
        for id in listed:
            content = client.get(f"/files/{id}/content")
            assert content.status_code == 200, id
            if id in storm.files:
                assert hashlib.sha256(content.content).digest() == hashlib.sha256(storm.files[id]).digest()


def _look_at_runs(url: str, wanted: dict[str, str]) -> None:
    """Those that were acknowledged are there, and come to their end."""
    until = time.monotonic() + PATIENCE
    with httpx.Client(base_url=url, headers=HEADERS, timeout=PATIENCE) as client:
        for id, thread in wanted.items():
            run = {"status": "queued"}
            while run["status"] not in ENDED:
                assert time.monotonic() < until, f"{id} is {run['status']}"
                run = client.get(f"/threads/{thread}/runs/{id}", params={"wait": 10}).json()
            assert run["status"] == "completed"


def test_a_backup_refuses_what_would_be_lost_and_leaves_nothing(tmp_path: Path) -> None:
    with Everloom(made_folder(tmp_path), fetch_weights="false"):
        pass
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").touch()
    done = backup(tmp_path, tmp_path / "data", full)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{full} is not empty" in done.stderr
    done = backup(tmp_path, tmp_path / "data", tmp_path / "data" / "blobs" / "copy")
    assert done.returncode == 1
    assert "is backed up itself" in done.stderr
    done = backup(tmp_path, tmp_path / "nowhere", tmp_path / "copy")
    assert done.returncode == 1
    assert "nothing has been started on" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "full"]


def test_what_a_killed_backup_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    with Everloom(made_folder(tmp_path), fetch_weights="false"):
        pass
    (tmp_path / ".copy.part" / "blobs").mkdir(parents=True)
    (tmp_path / ".copy.part" / "blobs" / "file-half").write_text("ha")
    (tmp_path / "data" / "blobs" / ".backup").mkdir()
    (tmp_path / "data" / "blobs" / ".backup" / "file-stale").write_text("stale")
    done = backup(tmp_path, tmp_path / "data", tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "copy" / "blobs").iterdir()) == []
    assert not (tmp_path / ".copy.part").exists()
    assert not (tmp_path / "data" / "blobs" / ".backup").exists()


@pytest.mark.parametrize("place", [".copy.part", "data/blobs/.backup"])
@pytest.mark.parametrize("kind", ["link", "folder of another"])
def test_nothing_is_taken_away_or_written_where_others_have_laid_something(
    tmp_path: Path, place: str, kind: str
) -> None:
    with Everloom(made_folder(tmp_path), fetch_weights="false"):
        pass
    theirs = tmp_path / "theirs"
    if kind == "link":
        (tmp_path / place).symlink_to(theirs)
    elif os.geteuid() == 0:
        theirs = tmp_path / place
    else:
        pytest.skip("only root makes folders of others")
    theirs.mkdir()
    (theirs / "precious").write_text("mine")
    if kind != "link":
        os.chown(theirs, 65534, 65534)
    done = backup(tmp_path, tmp_path / "data", tmp_path / "copy")
    assert done.returncode == 1
    assert "is in the way" in done.stderr
    assert [path.name for path in theirs.iterdir()] == ["precious"]
    assert not (tmp_path / "copy").exists()


def test_a_disk_that_is_mounted_where_the_backup_is_to_be_is_told_at_once(tmp_path: Path) -> None:
    with Everloom(made_folder(tmp_path), fetch_weights="false"):
        pass
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("this user may mount nothing")
    try:
        done = backup(tmp_path, tmp_path / "data", disk)
        assert done.returncode == 1
        assert f"{disk} is where a disk is mounted; name a folder on it" in done.stderr
        assert list(disk.iterdir()) == []
        assert backup(tmp_path, tmp_path / "data", disk / "today").returncode == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    disk.chmod(0o750)
    assert backup(tmp_path, tmp_path / "data", disk).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "disk"]


def test_what_is_elsewhere_is_named(tmp_path: Path) -> None:
    database = fresh_database()
    (tmp_path / "disk" / "large").mkdir(parents=True)
    (tmp_path / "disk" / "large" / "model.gguf").write_bytes(b"weights")
    models = made_folder(tmp_path) / "models"
    models.mkdir()
    (models / "linked").symlink_to(tmp_path / "disk" / "large")
    with Everloom(tmp_path / "data", database=database, fetch_weights="false") as server:
        files = {"file": ("a.txt", b"bytes")}
        made = httpx.post(
            f"{server.url}/files", headers=HEADERS, files=files, data={"purpose": "user_data"}, timeout=PATIENCE
        )
        done = backup(tmp_path, tmp_path / "data", tmp_path / "copy", database=database)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "everloom.db" not in report["contains"]
    assert "pg_dump" in report["left_out"][0]
    assert f"the folder behind the link {models / 'linked'}" in report["left_out"]
    assert (tmp_path / "copy" / "blobs" / made.json()["id"]).read_bytes() == b"bytes"
