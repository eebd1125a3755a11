"""deploy/everloom.service: what systemd says of it, and whether a sandbox can be made within its walls.

No systemd runs where tests do, so the walls are made here as it makes them: a mount namespace in which all but the
state folder is read-only, no capabilities, no new privileges, and the unit's own filter of system calls.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

UNIT = ROOT / "deploy" / "everloom.service"
NOBODY = 65534


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w*=", line)]
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines), "a setting stands there twice"
    return found


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
def test_systemd_understands_it(tmp_path: Path) -> None:
    """Word for word, but for a program and an account that are here."""
    text = UNIT.read_text().replace("/opt/everloom/bin/everloom", "/bin/true").replace("=everloom\n", "=root\n")
    (tmp_path / "everloom.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "everloom.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    about_it = [line for line in done.stderr.splitlines() if "everloom.service" in line]
    assert (done.returncode, about_it) == (0, []), done.stderr


def system_calls(given: str) -> list[str]:
    """The names that a filter lets through, its groups by systemd's own word."""
    found: list[str] = []
    for name in given.split():
        if name.startswith("@"):
            told = subprocess.run(
                ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, timeout=60, check=True
            )
            words = (line.strip() for line in told.stdout.splitlines()[1:])
            found += system_calls(" ".join(word for word in words if word and not word.startswith("#")))
        else:
            found.append(name)
    return found


WALLS = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/state /mnt/tree /mnt/venv /mnt/base
mount --bind "$STATE" /mnt/state
mount --bind "$TREE" /mnt/tree
mount --rbind "$VENV" /mnt/venv
mount --rbind "$BASE" /mnt/base
for home in /root /home; do mount -t tmpfs -o mode=755 tmpfs "$home"; done
mkdir -p "$BASE"  # Python itself may have stood there
mount --bind /mnt/base "$BASE"
chown "$ACCOUNT:$ACCOUNT" /mnt/state
mount -o remount,bind,ro /
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
mount -o remount,bind,ro /sys/fs/cgroup 2>/dev/null || true
$MORE
cd /mnt/state
exec setpriv --reuid "$ACCOUNT" --regid "$ACCOUNT" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \
  /mnt/venv/bin/python -B -c "$PROGRAM"
"""

PROGRAM = """
import asyncio, errno, os, socket
from pathlib import Path
import pyseccomp
walls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
for name in os.environ["CALLS"].split():
    try:
        walls.add_rule(pyseccomp.ALLOW, name)
    except Exception:
        pass  # of another processor
from everloom.sandbox.pool import JupyterSandboxes

async def main():
    walls.load()
    try:
        socket.sethostname("elsewhere")
    except PermissionError:
        print("no capability")
    try:
        Path("/usr/written").touch()
    except OSError as error:
        print(error.strerror)
    sandboxes = JupyterSandboxes(Path("/mnt/state"), pool=0)
    await sandboxes.open()
    print(sandboxes.available() or "available")
    if sandboxes.available():
        return
    async with sandboxes.session("one") as session:
        async for shown in session.run("import socket; print(6 * 7, socket.gethostname())"):
            print(shown.text, end="")
    await sandboxes.close()

asyncio.run(main())
"""


def within_walls(folder: Path, calls: str, more: str = "") -> list[str]:
    """What ``PROGRAM`` prints behind the unit's walls, with this filter and ``more`` of them."""
    shutil.copytree(ROOT / "src", folder / "tree", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "state").mkdir()
    places = {"STATE": folder / "state", "TREE": folder / "tree", "VENV": sys.prefix, "BASE": sys.base_prefix}
    words = {"ACCOUNT": str(NOBODY), "PROGRAM": PROGRAM, "CALLS": " ".join(system_calls(calls))}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", WALLS.replace("$MORE", more)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "/mnt/tree", **words, **{k: str(v) for k, v in places.items()}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if re.search(r"(unshare|mount): .*(not permitted|denied)", done.stderr):
        pytest.skip("this machine lets nobody mount")
    assert done.returncode == 0, done.stderr
    no_capability, read_only, *said = done.stdout.splitlines()
    assert (no_capability, read_only) == ("no capability", "Read-only file system")
    return said


walls = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("bwrap", "systemd-analyze", "setpriv", "unshare"))),
    reason="needs root, bwrap, systemd-analyze, setpriv and unshare",
)


@walls
def test_code_runs_within_its_walls(tmp_path: Path) -> None:
    given = settings()
    assert given["NoNewPrivileges"] == given["PrivateTmp"] == given["ProtectHome"] == "yes"
    assert (given["ProtectSystem"], given["CapabilityBoundingSet"]) == ("strict", "")
    hidden = "mount -t proc -o hidepid=invisible proc /proc"
    assert given["ProtectProc"] == "invisible"
    assert within_walls(tmp_path, given["SystemCallFilter"], hidden) == ["available", "42 sandbox"]


READ_ONLY = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys"


@walls
@pytest.mark.parametrize(
    ("calls", "more"),
    [
        pytest.param("@system-service sethostname", "", id="without @mount"),
        pytest.param("@system-service @mount", "", id="ProtectHostname"),
        pytest.param("@system-service @mount sethostname", READ_ONLY, id="ProtectKernelTunables"),
        pytest.param("@system-service @mount sethostname", "mount --bind /dev/null /proc/kmsg", id="ProtectKernelLogs"),
    ],
)
def test_what_it_leaves_out_would_switch_the_code_interpreter_off(tmp_path: Path, calls: str, more: str) -> None:
    """A newer kernel may come to allow one of them: then the unit has a wall too few."""
    (reason,) = within_walls(tmp_path, calls, more)
    assert "namespaces of their own" in reason
