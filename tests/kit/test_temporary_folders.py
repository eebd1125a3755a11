"""Folders of forms, when nobody was left to take them away."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from everloom.kit.temporary_folders import sweep_folders


def folder(root: Path, pid: int | str, age: float) -> Path:
    made = root / f"everloom-form-{pid}-abc"
    made.mkdir()
    (made / "0").write_bytes(b"somebody's voice")
    os.utime(made, (time.time() - age, time.time() - age))
    return made


def test_the_folders_of_processes_that_were_killed_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = folder(tmp_path, gone.pid, 7200)
    nobodys = folder(tmp_path, "x", 7200)
    fresh = folder(tmp_path, f"{gone.pid}-fresh", 60)
    mine = folder(tmp_path, os.getpid(), 7200)
    (tmp_path / "something else").mkdir()
    sweep_folders()
    assert not dead.exists()
    assert not nobodys.exists()
    assert fresh.exists()
    assert mine.exists()
    assert (tmp_path / "something else").exists()
