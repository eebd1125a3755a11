"""Commands on disks without room: each says so in a line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import environment, everloom

EVERLOOM = f"{sys.executable} -m everloom"


def in_a_disk(folder: Path, size: int, disk: Path, script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """What a script of the shell says where ``disk`` is a file system of its own, as bubblewrap mounts it."""
    if not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed (python -m tests.bubblewrap install)")
    disk.mkdir(exist_ok=True)
    command = ["bwrap", "--dev-bind", "/", "/", "--size", str(size), "--tmpfs", str(disk), "--", "sh", "-c", script]
    environ = environment(folder) | variables
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=240)


def test_a_database_without_room_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    commands = ["users list", "keys create", "usage", "webhooks list", "export out", "import in"]
    data = tmp_path / "data"
    fill = f"cat /dev/zero > {data}/filled 2>/dev/null; truncate -s -36K {data}/filled"  # room to open it, and no more
    script = "; ".join([f"{EVERLOOM} migrate", fill, *(f"{EVERLOOM} {command}" for command in commands)])
    done = in_a_disk(tmp_path, 4_000_000, data, script)
    assert done.returncode == 1
    told = f"everloom: not done: its database is away: database or disk is full ({data / 'everloom.db'})"
    assert done.stderr.splitlines() == [told] * len(commands)


def test_an_import_without_room_for_what_it_reads_names_the_folder(tmp_path: Path) -> None:
    text = {"role": "user", "text": "x" * 10_000, "created_at": 1_700_000_000}
    given = tmp_path / "texts.jsonl"
    given.write_text("".join(json.dumps({**text, "thread_id": f"thread_{number}"}) + "\n" for number in range(2500)))
    assert everloom(tmp_path, "migrate").returncode == 0
    little = tmp_path / "little"
    done = in_a_disk(tmp_path, 1_000_000, little, f"{EVERLOOM} import {given}", TMPDIR=str(little))
    assert done.returncode == 1
    told = f"everloom: the import failed in the temporary folder {little} (TMPDIR): database or disk is full\n"
    assert done.stderr == told
    done = everloom(tmp_path, "import", str(given), "--json")
    assert json.loads(done.stdout)["taken"]["thread.message"] == 2500
