"""Receivers that take a connection and not the events, that have no room, and that answer with garbage."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from everloom.evidence.base import Sink, SinkAway
from everloom.evidence.syslog import SyslogSink
from everloom.evidence.webhook import WebhookSink
from everloom.work.organization import audit_sinks
from tests.audited import AuditedDatabase
from tests.receivers import Json, SyslogTcp, datagrams, frames, parsed

Handle = Callable[[socket.socket], None]


def an_export(number: int = 1, text: str = "") -> Json:
    return {
        "id": f"audit_log-{number}",
        "type": "project.created",
        "effective_at": 1_735_689_599,
        "project.created": {"id": "proj_1", "data": {"name": text}},
        "chain": {"seq": number, "hash": "00"},
    }


def send(sink: Sink, *events: Json) -> None:
    async def main() -> None:
        try:
            await sink.send(events)
        finally:
            await sink.close()

    asyncio.run(main())


@contextlib.contextmanager
def listening(handle: Handle, path: Path | None = None) -> Iterator[str]:
    """Each connection is handled; the address of it."""
    family = socket.AF_INET if path is None else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0) if path is None else str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        handle(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"syslog+unix://{path}" if path else f"syslog+tcp://127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def close_at_once(connection: socket.socket) -> None:
    connection.close()


def close_in_the_middle(connection: socket.socket) -> None:
    connection.recv(10)


def half_close(connection: socket.socket) -> None:
    """It says that it will say nothing, and reads nothing either."""
    connection.shutdown(socket.SHUT_WR)
    gone.wait(10)


def half_close_and_read(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65_536):
        pass


gone = threading.Event()


@pytest.mark.parametrize("handle", [close_at_once, close_in_the_middle, half_close, half_close_and_read])
@pytest.mark.parametrize("size", [1, 200_000])
@pytest.mark.parametrize("of_this_machine", [False, True])
def test_who_hangs_up_before_we_end_has_not_read(
    handle: Handle, size: int, of_this_machine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everloom.evidence.syslog.SECONDS", 0.5)
    gone.clear()
    with listening(handle, tmp_path / "log" if of_this_machine else None) as url:
        for _ in range(3):
            with pytest.raises(SinkAway):
                send(SyslogSink(url), an_export(text="x" * size))
        gone.set()


def test_nothing_is_lost_with_receivers_that_do_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sinks, "LONGEST_PAUSE", 0.1)
    log = AuditedDatabase("sqlite", tmp_path)
    names = [f"r{number}" for number in range(130)]
    log.write(*names)
    found: list[Json] = []
    bad = [half_close_and_read, close_at_once, close_in_the_middle, close_at_once]

    def handle(connection: socket.socket) -> None:
        if bad:
            bad.pop()(connection)
            return
        found.extend(map(parsed, frames(connection)))

    with listening(handle) as url:
        log.run(lambda database: audit_sinks.sweep(log.ports(database, SyslogSink(url))))
    assert [event["project.updated"]["id"] for event in found] == names


def test_an_event_that_no_datagram_holds_is_named_and_the_others_follow(tmp_path: Path) -> None:
    large = an_export(2, "x" * 300_000)
    for path in (None, tmp_path / "log"):
        with datagrams(path) as (url, receiver):
            send(SyslogSink(url), an_export(1), large, an_export(3))
            first, second, third = (parsed(receiver.recv(1 << 20)) for _ in range(3))
        assert (first, third) == (an_export(1), an_export(3))
        assert second.pop("too_large")["bytes"] > 300_000
        assert second == {name: large[name] for name in ("id", "type", "effective_at", "chain")} | {
            "project.created": {"id": "proj_1"}
        }


def test_a_second_that_no_calendar_has() -> None:
    receiver = SyslogTcp()
    send(SyslogSink(receiver.url), an_export() | {"effective_at": 10**30}, an_export() | {"effective_at": -1})
    receiver.close()
    assert len(receiver.events) == 2


# --- webhooks ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_webhook(most: int) -> Iterator[tuple[str, list[Json]]]:
    """An endpoint that answers 413 to more bytes than that."""
    found: list[Json] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:

            body = self.rfile.read(int(self.headers["content-length"]))
            if len(body) <= most:
                found.extend(json.loads(body)["data"])
            self.send_response(204 if len(body) <= most else 413)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", found
    server.shutdown()
    server.server_close()


def test_a_batch_that_is_too_large_is_sent_in_parts() -> None:
    events = [an_export(number, "x" * (2000 if number == 5 else 10)) for number in range(9)]
    with a_webhook(1000) as (url, found):
        send(WebhookSink(url), *events)
    assert [event["id"] for event in found] == [event["id"] for event in events]
    assert [number for number, event in enumerate(found) if "too_large" in event] == [5]
    with a_webhook(10) as (url, found), pytest.raises(SinkAway, match="it answered 413"):
        send(WebhookSink(url), events[0])


@pytest.mark.parametrize(
    "garbage", [b"\x1b[31m" + b"A" * 500_000 + b"\r\n\r\n", b"HTTP/1.1 200 \x1b]0;x\x07\r\nA: \xff\r\n"]
)
def test_what_garbage_says_is_short_and_has_no_secrets(garbage: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(65_536)
        with contextlib.suppress(OSError):
            connection.sendall(garbage)

    with listening(handle) as url:
        where = url.replace("syslog+tcp://", "http://me:pa55word@") + "/hook?tok=a-s3cret/word&b=other-s3cret"
        with pytest.raises(SinkAway) as told:
            send(WebhookSink(where, ""), an_export())
    text = str(told.value)
    assert len(text) <= 301
    assert text.isprintable()
    for secret in ("s3cret", "pa55word"):
        assert secret not in text
    assert told.value.__cause__ is None
