"""Receivers of audit events on real sockets, that can be told to refuse, to be slow, and to be gone."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_SYSLOG = re.compile(
    rb"<(?P<priority>\d+)>1 (?P<time>\S+) (?P<host>\S+) (?P<app>\S+) (?P<pid>\S+) (?P<id>\S+) - (?P<text>.*)", re.DOTALL
)


def parsed(message: bytes) -> Json:
    """The event in a message of RFC 5424, whose head must be right."""
    found = _SYSLOG.fullmatch(message)
    assert found is not None, message
    event: Json = json.loads(found["text"])
    assert (found["priority"], found["app"], found["id"].decode()) == (b"109", b"everloom", event["type"][:32])
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["time"])
    return event


class Webhook:
    """An HTTP endpoint. ``statuses`` are what it answers next, before it answers 204; ``path`` is asked for."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.tokens: list[str | None] = []
        self.statuses: list[int] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook?key=hush"

    def start(self) -> "Webhook":
        """Listen, where it has listened before."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                receiver.tokens.append(self.headers["authorization"])
                if status == 204 or status == 0:
                    assert self.headers["content-type"] == "application/json"
                    receiver.events += body["data"]
                if status == 0:  # Taken, and nobody ever hears of it.
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Be gone; the port stays ours to listen on again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> "Webhook":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class SyslogTcp:
    """A syslog server as RFC 6587 has it, that reads each connection to its end; ``cut`` connections it breaks off."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.connections = 0
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"syslog+tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection:
                    if self.cut:
                        self.cut -= 1
                        connection.recv(1)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        continue
                    self.events += map(parsed, frames(connection))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def frames(connection: socket.socket) -> Iterator[bytes]:
    """The messages of a connection, by their octet counts."""
    with connection.makefile("rb") as stream:
        while count := _count(stream):
            yield stream.read(count)


def _count(stream: Any) -> int:
    digits = b""
    while (digit := stream.read(1)) not in (b" ", b""):
        digits += digit
    return int(digits or 0)


@contextlib.contextmanager
def datagrams(path: Path | None = None) -> Iterator[tuple[str, socket.socket]]:
    """A socket for datagrams, by UDP or at a path, and the URL of the sink that it is."""
    family = socket.AF_INET if path is None else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(20)
        receiver.bind(("127.0.0.1", 0) if path is None else str(path))
        url = f"syslog+unix://{path}" if path else f"syslog+udp://127.0.0.1:{receiver.getsockname()[1]}"
        yield url, receiver
