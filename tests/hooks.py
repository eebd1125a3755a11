"""Webhook endpoints on real sockets: what they were sent, and what they answer, or do instead of it."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Json = dict[str, Any]


class Sent(NamedTuple):
    """One request to an endpoint, as it came. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> Json:
        event: Json = json.loads(self.body)
        return event


Answer = Callable[["Answering"], None]
"""Answers a request; what it does not answer stays unanswered."""


class Hook:
    """``with Hook() as hook:`` takes what is posted to ``hook.url``, and answers as ``hook.answer`` does."""

    def __init__(self, answer: Answer | None = None, *, host: str = "127.0.0.1") -> None:
        self.answer: Answer = answer or status(204)
        self.sent: list[Sent] = []
        self._changed = threading.Condition()
        hook = self

        class Handler(Answering):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                hook._note(Sent(self.path, headers, body, time.time()))
                with contextlib.suppress(OSError):
                    hook.answer(self)

            def do_GET(self) -> None:
                hook._note(Sent(self.path, {}, b"{}", time.time()))
                self.reply(200)

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://{host}:{self.port}/hook"

    def _note(self, sent: Sent) -> None:
        with self._changed:
            self.sent.append(sent)
            self._changed.notify_all()

    def wait(self, count: int, seconds: float = 60.0) -> list[Sent]:
        """What was sent, once it is so much."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.sent) >= count, seconds), self.sent
            return list(self.sent)

    def about(self, id: str, count: int = 1, seconds: float = 60.0) -> list[Sent]:
        """What was sent of one thing, once it is so much."""

        def found() -> list[Sent]:
            return [sent for sent in self.sent if sent.event["data"]["id"] == id]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, seconds), self.sent
            return found()

    def __enter__(self) -> "Hook":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Answering(BaseHTTPRequestHandler):
    """A request that is being answered."""

    protocol_version = "HTTP/1.1"

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def status(*codes: int, **headers: str) -> Answer:
    """Answers with these statuses, the last one for ever."""
    left = list(codes)

    def answer(request: Answering) -> None:
        request.reply(left.pop(0) if len(left) > 1 else left[0], **headers)

    return answer


def never(request: Answering) -> None:
    """Says nothing until the other side has left."""
    with contextlib.suppress(OSError):
        request.connection.settimeout(120)
        request.connection.recv(1)
    request.close_connection = True


def endless(request: Answering) -> None:
    """Answers 200, and then for ever."""
    request.send_response(200)
    request.end_headers()
    request.close_connection = True
    while True:
        request.wfile.write(b"x" * 65536)


def interim(request: Answering) -> None:
    """Says 100 for ever, as fast as it goes."""
    request.close_connection = True
    while True:
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 2600)


def slow_head(request: Answering) -> None:
    """A status line of which a character comes each second."""
    request.close_connection = True
    for character in b"HTTP/1.1 200 OK and many more words":
        request.wfile.write(bytes([character]))
        time.sleep(1)


class Listening:
    """A socket that counts who connects, and says nothing."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.connections = 0
        self._socket = socket.create_server((host, 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.close()

    def close(self) -> None:
        self._socket.close()
