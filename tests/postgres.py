"""A PostgreSQL for the tests: one throw-away cluster a process, a new empty database a call.

``EVERLOOM_TEST_POSTGRES`` names an existing server instead. ``python -m tests.postgres install``
fetches PostgreSQL where it is missing and the machine allows it (root, apt-get).
"""

import atexit
import contextlib
import functools
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from tests import packages

_USER = "everloom"
_UNPRIVILEGED = ("postgres", "nobody")
_made = contextlib.ExitStack()


def fresh_database() -> str:
    """The ``postgresql://…`` URL of a new, empty database; skips the test, with the reason, where none can be had."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    server = os.environ.get("EVERLOOM_TEST_POSTGRES")
    if server:
        _made.callback(_drop, server, name)
    else:
        server = _cluster()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def clean_up() -> None:
    """Take the cluster and its databases away. At the end of a process it is done without being asked, but pytest-xdist
    gives its workers no time for that.
    """
    _made.close()
    _cluster.cache_clear()


atexit.register(clean_up)


def install() -> None:
    """Install PostgreSQL with apt-get, unless its programs are here or a server is named already."""
    if not os.environ.get("EVERLOOM_TEST_POSTGRES") and not _programs():
        packages.install("PostgreSQL", ("postgresql",))


@functools.cache
def _cluster() -> str:
    cluster = Cluster()
    _made.callback(cluster.remove)
    return cluster.url


class Cluster:
    """A PostgreSQL of one's own, started; it can be stopped and started again. Skips the test where none can be had."""

    def __init__(self) -> None:
        programs = _programs()
        if not programs:
            pytest.skip("PostgreSQL's initdb and pg_ctl are not installed (python -m tests.postgres install)")
        account = _account()
        if os.geteuid() == 0 and account is None:
            pytest.skip("PostgreSQL refuses to run as root, and there is no unprivileged account to run it as")
        self._programs = programs
        self._home = Path(tempfile.mkdtemp(prefix="everloom-pg-"))
        self._home.chmod(0o700)
        if account:
            shutil.chown(self._home, account, _group(account))
        self._run = functools.partial(_run, account, self._home)
        options = ("-U", _USER, "-A", "trust", "--locale=C", "-E", "UTF8", "--no-sync")
        self._run(programs / "initdb", "-D", self._home / "data", *options)
        for attempt in range(5):
            self._port = packages.free_port()
            with _retry_unless(attempt == 4):
                self.start()
                self.url = f"postgresql://{_USER}@127.0.0.1:{self._port}/postgres"
                return

    def start(self) -> None:
        """Start it, on the port it had."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._home} -c max_connections=300 -c shared_buffers=32MB"
        self._pg_ctl("-l", self._home / "log", "-o", options, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """Shut it down; connections are broken off."""
        self._pg_ctl("-m", mode, "-w", "stop")

    def remove(self) -> None:
        """Stop it, and take its files away."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self._home, ignore_errors=True)

    def _pg_ctl(self, *arguments: str | Path) -> None:
        self._run(self._programs / "pg_ctl", "-D", self._home / "data", *arguments)


@contextlib.contextmanager
def _retry_unless(last: bool) -> Iterator[None]:
    """Let a failed start pass, since the free port may have been taken meanwhile; but not the last one."""
    try:
        yield
    except subprocess.CalledProcessError:
        if last:
            raise


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _run(account: str | None, home: Path, *command: str | Path) -> None:
    output = home / "output"
    # Output goes to a file: the server keeps its standard output open, so a pipe would never end.
    with output.open("wb") as sink:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=home,
            user=account,
            group=_group(account) if account else None,
            extra_groups=[] if account else None,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(home)},
        )
    if done.returncode:
        print(output.read_text(errors="replace"), file=sys.stderr)
        done.check_returncode()


def _account() -> str | None:
    """The account to drop to: none unless we are root, whom PostgreSQL refuses."""
    import pwd

    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in _UNPRIVILEGED if name in known), None)


def _group(account: str) -> int:
    """The id of the account's own group."""
    import pwd

    return pwd.getpwnam(account).pw_gid


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl: on the path, or where Debian keeps each version, newest first."""
    folders = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    debian = glob.glob("/usr/lib/postgresql/*/bin")
    folders += [Path(path) for path in sorted(debian, key=lambda path: -int(path.split("/")[4]))]
    return next((path for path in folders if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m tests.postgres install")
    install()
