"""What a test needs of the system, installed where the machine allows it, and a port that is free."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence


def install(what: str, *sets: Sequence[str], must: bool = True) -> None:
    """Install packages with apt-get, each set by itself; ``what`` they are is said where only somebody else could.

    ``must``: a set that cannot be had is an error, else the tests that need it are skipped. No package starts a server.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"no {what} here, and only root with apt-get could install it: its tests will be skipped")
        return
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-qq"], env=env, check=False)
    for packages in sets:
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        subprocess.run(command, env=env, check=must)


def free_port() -> int:
    """One of this machine's that nobody has a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
