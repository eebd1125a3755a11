"""nginx and Caddy for the tests: real ones, in front of a real server, on ports of their own.

``python -m tests.proxies install`` fetches them where they are missing and the machine allows it (root, apt-get).
"""

import contextlib
import functools
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests import packages
from tests.servers import ROOT, START_SECONDS

DEPLOY = ROOT / "deploy"
NAME = "everloom.example.org"
"""The host that the files of deploy/ name."""


def install() -> None:
    """Install with apt-get what is not here; nothing is started."""
    if missing := [name for name in ("nginx", "caddy") if not program_of(name)]:
        # One by one: not every distribution has both.
        packages.install(" and no ".join(missing), *((name,) for name in missing), must=False)


def program_of(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Proxy:
    """A proxy that is running: where it listens, with ``/v1``, and what makes its certificate a good one."""

    url: str
    trust: ssl.SSLContext | bool = True


@contextlib.contextmanager
def default_nginx(server: str, folder: Path, path: str = "/") -> Iterator[Proxy]:
    """nginx as its package sets it up, and one line, ``proxy_pass``, that has it hand on everything to ``server``, or
    what is asked below a path that the server hears nothing of.
    """
    port = packages.free_port()
    site = f"server {{ listen 127.0.0.1:{port}; location {path} {{ proxy_pass {_origin(server)}/; }} }}"
    with _nginx(site, port, folder):
        yield Proxy(f"http://127.0.0.1:{port}{path}v1")


@contextlib.contextmanager
def our_nginx(server: str, folder: Path) -> Iterator[Proxy]:
    """nginx by ``deploy/nginx.conf``: its ports, its certificate and the server's address put in, all else as it is."""
    port, plain = packages.free_port(), packages.free_port()
    site = (DEPLOY / "nginx.conf").read_text()
    site = re.sub(r"\n *listen \[::\].*", "", site)
    site = _put(site, "listen 443 ", f"listen 127.0.0.1:{port} ")
    site = _put(site, "listen 80;", f"listen 127.0.0.1:{plain};")
    site = _put(site, "server 127.0.0.1:8080;", f"server {urlsplit(server).netloc};")
    chain, key, trust = _certificate(folder)
    site = _put(site, f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(chain))
    site = _put(site, f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(key))
    with _nginx(site.replace(NAME, "localhost"), port, folder):
        yield Proxy(f"https://localhost:{port}/v1", trust)


@contextlib.contextmanager
def our_caddy(server: str, folder: Path) -> Iterator[Proxy]:
    """Caddy by ``deploy/Caddyfile``: its port, a certificate and the server's address put in, all else as it is."""
    port = packages.free_port()
    chain, key, trust = _certificate(folder)
    site = (DEPLOY / "Caddyfile").read_text()
    site = _put(site, f"\n{NAME} {{", f"\nhttps://localhost:{port} {{\n\ttls {chain} {key}")
    site = _put(site, "reverse_proxy 127.0.0.1:8080", f"reverse_proxy {urlsplit(server).netloc}")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + site)
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with _running("caddy", ("run", "--config", str(folder / "Caddyfile")), port, folder, **home):
        yield Proxy(f"https://localhost:{port}/v1", trust)


def _put(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def _nginx(site: str, port: int, folder: Path) -> contextlib.AbstractContextManager[None]:
    """nginx with a site, its own files in a folder, all other settings being what the package has or the program."""
    folder.joinpath("site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""  # its workers write into our folder
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/nginx.pid;\nevents {{ }}\n"
        f"http {{\naccess_log off;\n{places}gzip on;\nsendfile on;\ntcp_nopush on;\ninclude {folder}/site.conf;\n}}\n"
    )
    return _running("nginx", ("-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")), port, folder)


@contextlib.contextmanager
def _running(name: str, arguments: tuple[str, ...], port: int, folder: Path, **environment: str) -> Iterator[None]:
    """A program until the context ends, from when it takes connections; skips the test where there is none."""
    program = program_of(name)
    if program is None:
        pytest.skip(f"there is no {name} here (python -m tests.proxies install)")
    log = folder / f"{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=os.environ | environment
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _takes_connections(port):
            assert process.poll() is None, f"{name} has ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{name} takes no connections:\n{log.read_text()}"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _takes_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), START_SECONDS):
        return True
    return False


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


def _certificate(folder: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """A certificate of ``localhost``, its key, and what trusts it."""
    made = _authority().issue_cert("localhost")
    chain, key = folder / "chain.pem", folder / "key.pem"
    made.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    trust = ssl.create_default_context()
    _authority().configure_trust(trust)
    return chain, key, trust


def _origin(server: str) -> str:
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.netloc}"


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m tests.proxies install")
    install()
