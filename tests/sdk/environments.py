"""A virtual environment for each version of the official SDK, made when a test first needs it and kept.

Kept in the user's cache folder, one folder for each Python version and list of requirements. Making one
needs a package index; without it the test fails with what pip said, since a walk that did not run
proves nothing.
"""

import fcntl
import hashlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

WEEK_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Sdk:
    """A version of openai-python as a program of its time installed it, and the beta word that it sends."""

    name: str
    requirements: tuple[str, ...]
    beta: str
    floating: bool = False
    """Whether the requirement means another version from time to time: then it is made anew every week."""

    def __str__(self) -> str:
        return self.name


FIRST = Sdk("openai-1.20.0", ("openai==1.20.0", "httpx<0.28"), "assistants=v1")
"""The last one that speaks v1. It passes an argument to httpx that 0.28 no longer takes."""

OF_DECEMBER_2024 = Sdk("openai-1.57.4", ("openai==1.57.4", "httpx<0.28"), "assistants=v2")
"""The one of the month whose reference we follow."""

NEWEST = Sdk("openai-newest", ("openai",), "assistants=v2", floating=True)

SDKS = (FIRST, NEWEST)
ALL = (FIRST, OF_DECEMBER_2024, NEWEST)


def python_of(sdk: Sdk) -> Path:
    """The Python of an environment in which this SDK is installed."""
    folder = user_cache_path("everloom-tests", appauthor=False) / "sdk"
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / _key(sdk)
    with (folder / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "made").is_file():
            _make(sdk, home)
    return home / "bin" / "python"


def _key(sdk: Sdk) -> str:
    parts = [sys.version, sys.base_prefix, *sdk.requirements]
    if sdk.floating:
        parts.append(str(int(time.time() / WEEK_SECONDS)))
    return f"{sdk.name}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def _make(sdk: Sdk, home: Path) -> None:
    """Install in place, since an environment cannot be moved; the file ``made`` says that it is whole."""
    run(sys.executable, "-m", "venv", "--clear", str(home))
    run(str(home / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *sdk.requirements)
    (home / "made").touch()


def run(*command: str) -> None:
    """Run a command to its end, which must be a good one."""
    with tempfile.TemporaryFile("w+") as output:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        output.seek(0)
        assert ended.returncode == 0, f"{' '.join(command)} failed:\n{output.read()[-4000:]}"
