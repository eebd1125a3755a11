"""Serving until told to stop, with a small application of the test's own in a process of its own."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.cli import CommandError
from everloom.cli.server import base_url, listen

PROGRAM = """
import asyncio, sys
from everloom.cli.server import Stop, base_url, listen, serve

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    pieces = {"/slow": 40, "/endless": 10_000}.get(scope["path"], 1)
    for number in range(pieces):
        await send({"type": "http.response.body", "body": b"%d\\n" % number, "more_body": number + 1 < pieces})
        await asyncio.sleep(0.05 if pieces > 1 else 0)

async def main():
    stop = Stop()
    stop.watch()
    listener = listen("127.0.0.1", 0)
    await serve(app, listener, stop, lambda: print(listener.getsockname()[1], flush=True))
    return 130 if stop.insisted else 0

sys.exit(asyncio.run(main()))
"""


class Running:
    def __init__(self, folder: Path) -> None:
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[http.client.HTTPResponse]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path)
            yield connection.getresponse()

    def until_deaf(self) -> None:
        """Return when nobody new is let in, which is the first thing that a signal does."""
        deadline = time.monotonic() + 30
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                socket.create_connection(("127.0.0.1", self.port), timeout=30).close()
                assert time.monotonic() < deadline
                time.sleep(0.01)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path)
    yield server
    server.process.kill()
    server.process.communicate()


def test_it_answers_at_once_after_the_ready_line(running: Running) -> None:
    with running.open("/") as response:
        assert (response.status, response.read()) == (200, b"0\n")
        assert response.headers["server"] is None
        assert response.headers["date"] is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_an_open_stream_end(running: Running, number: signal.Signals) -> None:
    with running.open("/slow") as response:
        assert response.readline() == b"0\n"
        running.process.send_signal(number)
        rest = response.read()
    assert rest.splitlines()[-1] == b"39"
    assert running.process.wait(30) == 0


def test_after_a_signal_nobody_new_is_served(running: Running) -> None:
    with running.open("/slow") as response:
        response.readline()
        running.process.send_signal(signal.SIGTERM)
        running.until_deaf()
        assert response.read().splitlines()[-1] == b"39"


def test_a_second_interrupt_ends_it_at_once(running: Running) -> None:
    with running.open("/endless") as response:
        response.readline()
        running.process.send_signal(signal.SIGINT)
        running.until_deaf()
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 130


def test_an_idle_connection_does_not_hold_up_the_end(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"0\n"
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0
    connection.close()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CommandError, match=f"^port {port} on 127.0.0.1 is taken; name another with --port"):
            listen("127.0.0.1", port)


def test_addresses_that_are_not_ours() -> None:
    with pytest.raises(CommandError, match=r"^this machine has no address 192.0.2.1"):
        listen("192.0.2.1", 0)
    with pytest.raises(CommandError, match=r"^no such address: no.such.host.invalid"):
        listen("no.such.host.invalid", 0)


def test_the_base_url_names_the_real_port() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert base_url("127.0.0.1", listener) == f"http://127.0.0.1:{port}/v1"
        assert base_url("::1", listener) == f"http://[::1]:{port}/v1"
