"""Answers in one write, beside the same answers as uvicorn itself would write them: a small application in a process of
its own that answers either way. Where these tests fail after an update of uvicorn, ``cli/cycles.py`` is to be read
beside the new ``RequestResponseCycle.send``.
"""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from everloom.api.http.whole_answers import rendered
from tests.servers import API_KEY, Everloom

PROGRAM = """
import asyncio, json, logging
from everloom.api.http.whole_answers import WHOLE, Outlet, rendered, stream_answer, whole_answer
from everloom.cli.server import Stop, listen, serve

sent, fulls, states = 0, 0, []

async def app(scope, receive, send):
    global sent, fulls
    way, status, size = scope["path"].strip("/").split("/")
    headers, body = [(b"content-type", b"text/plain"), (b"x-number", b"1, 2")], b"x" * int(size)
    if way == "sent":
        way, body = "parts", json.dumps(sent).encode()
    elif way == "fulls":
        way, body = "parts", json.dumps(fulls).encode()
    elif way == "states":
        way, body = "parts", json.dumps(states).encode()
        states.clear()
    elif way == "offered":
        way, body = "parts", json.dumps(WHOLE in scope.get("extensions", ())).encode()
    elif way == "log":
        way = "parts"
        logging.getLogger("uvicorn.access").addHandler(logging.NullHandler())
    elif way == "gone":
        way = "whole"
        while (await receive())["type"] != "http.disconnect":
            pass
    if way == "whole":
        await send(whole_answer(int(status), rendered(headers), body))
    elif way == "poured":
        outlet = Outlet()
        await send(stream_answer(int(status), rendered(headers), outlet))
        for block in (body, b"", body):
            if not outlet.put(block):
                fulls += 1
                await outlet.room()
        await send({"type": "http.response.body", "body": b""})
    elif way == "streamed":
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        for block in (body, b"", body):
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        if status not in ("204", "304"):
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": body})
    sent += way in ("whole", "poured")
    if scope["path"].startswith("/states"):
        return
    plain = (bool, int, bytes, type(None))
    states.append({name: str(value) for name, value in vars(send.__self__).items() if isinstance(value, plain)})

async def main():
    stop = Stop()
    stop.watch()
    listener = listen("127.0.0.1", 0)
    await serve(app, listener, stop, lambda: print(listener.getsockname()[1], flush=True))

import uvloop
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


BODILESS = (204, 304)


class Running:
    def __init__(self, folder: Path) -> None:
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self._errors = folder / "errors"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def told(self, data: bytes) -> bytes:
        """All that is answered to these bytes, till the server closes."""
        with self.open() as connection:
            connection.sendall(data)
            answer = b""
            while block := connection.recv(1 << 20):
                answer += block
            return answer

    def asked(self, path: str) -> Any:
        """What the application tells at this path."""
        return json.loads(self.told(request("GET", path, close=True)).partition(b"\r\n\r\n")[2])

    def until_sent(self, count: int) -> None:
        """Return once so many answers have been sent."""
        deadline = time.monotonic() + 30
        while self.asked("/sent/200/0") < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> str:
        """What it had to say on its standard error."""
        self.process.terminate()
        self.process.communicate(timeout=30)
        return self._errors.read_text()


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Running]:
    server = Running(folder)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("cycles")) as server:
        yield server


def request(method: str, path: str, *headers: str, version: str = "1.1", close: bool = False) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: x", *headers, *(["connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def asking(method: str, way: str, status: int, *headers: str, version: str) -> bytes:
    """A request to be answered one way or the other, and one behind it, which shows whether the connection stayed."""
    size = 0 if status in BODILESS else 1000
    first = request(method, f"/{way}/{status}/{size}", *headers, version=version)
    return first + request("GET", "/parts/200/3", close=True)


REQUESTS = [
    ("GET", (), "1.1"),
    ("GET", ("connection: close",), "1.1"),
    ("GET", ("connection: keep-alive",), "1.1"),
    ("HEAD", (), "1.1"),
    ("HEAD", ("connection: close",), "1.1"),
    ("POST", ("content-length: 0",), "1.1"),
    ("POST", ("content-length: 0", "expect: 100-continue"), "1.1"),
    ("GET", (), "1.0"),
    ("GET", ("connection: keep-alive",), "1.0"),
]


@pytest.mark.parametrize(
    ("method", "headers", "version", "status"),
    [
        (*asked, status)
        for asked in REQUESTS
        for status in (200, 204, 304, 404, 500)
        # To the first version of HTTP a body without a length is one that the connection's end ends: UnframedCycle.
        if status not in BODILESS or asked[2] != "1.0"
    ],
)
def test_an_answer_in_one_write_is_uvicorns_own(
    running: Running, method: str, headers: tuple[str, ...], version: str, status: int
) -> None:
    parts = running.told(asking(method, "parts", status, *headers, version=version))
    by_uvicorn = running.asked("/states/200/0")[0]
    whole = running.told(asking(method, "whole", status, *headers, version=version))
    in_one = running.asked("/states/200/0")[0]
    assert whole.startswith(b"HTTP/1.1 %d " % status)
    assert whole == parts
    assert in_one == by_uvicorn


@pytest.mark.parametrize(
    ("method", "headers", "version", "status"), [(*asked, status) for asked in REQUESTS for status in (200, 500)]
)
def test_a_stream_is_uvicorns_own(
    running: Running, method: str, headers: tuple[str, ...], version: str, status: int
) -> None:
    streamed = running.told(asking(method, "streamed", status, *headers, version=version))
    by_uvicorn = running.asked("/states/200/0")[0]
    poured = running.told(asking(method, "poured", status, *headers, version=version))
    by_plain_calls = running.asked("/states/200/0")[0]
    assert poured.startswith(b"HTTP/1.1 %d " % status)
    assert poured == streamed
    assert by_plain_calls == by_uvicorn


def test_who_does_not_read_a_stream_is_told_to_have_no_room(running: Running) -> None:
    size, before, full = 8_000_000, running.asked("/sent/200/0"), running.asked("/fulls/200/0")
    with running.open() as connection:
        connection.sendall(request("GET", f"/poured/200/{size}", close=True))
        while running.asked("/fulls/200/0") == full:
            time.sleep(0.01)
        assert running.asked("/sent/200/0") == before
        got = 0
        while block := connection.recv(1 << 20):
            got += len(block)
    assert got > 2 * size
    running.until_sent(before + 1)


def test_requests_in_a_row_are_answered_in_their_order(running: Running) -> None:
    sizes = [1, 20_000, 0, 300, 70_000]
    asked = [request("GET", f"/whole/200/{size}") for size in sizes]
    answer = running.told(b"".join(asked) + request("GET", "/whole/404/7", close=True))
    assert [int(size) for size in re.findall(rb"content-length: (\d+)", answer)] == [*sizes, 7]
    assert answer.endswith(b"\r\n\r\nxxxxxxx")
    assert len(re.findall(rb"HTTP/1.1 (?:200|404) ", answer)) == len(sizes) + 1


def test_who_does_not_read_is_sent_no_more(running: Running) -> None:
    size, count, before = 8_000_000, 12, running.asked("/sent/200/0")
    with running.open() as connection:
        connection.sendall(request("GET", f"/whole/200/{size}") * count)
        running.until_sent(before + 1)
        assert running.asked("/sent/200/0") < before + count  # Others are answered, and what waits is not made.
        got = 0
        while got < size * count:
            got += len(connection.recv(1 << 20))
    running.until_sent(before + count)


def test_who_has_left_is_sent_nothing(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        with running.open() as connection:
            connection.sendall(request("GET", "/gone/200/1000"))
        running.until_sent(1)
        assert running.end() == ""


def test_an_access_log_has_uvicorn_write(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        assert running.asked("/offered/200/0") is True
        running.told(request("GET", "/log/200/0", close=True))
        assert running.asked("/offered/200/0") is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nset-cookie: a=b"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0"),
        (b"x\r\ny", b"a"),
        (b"x: y\r\nz", b"a"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
    ],
)
def test_no_header_breaks_out_of_its_line(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="no header"):
        rendered([(b"content-type", b"text/plain"), (name, value)])


def test_what_a_header_may_hold() -> None:
    headers = [(b"x-Given", b"\tcaf\xe9 \xff, 'q'"), (b"empty", b"")]
    assert rendered(headers) == b"x-Given: \tcaf\xe9 \xff, 'q'\r\nempty: \r\n"


def test_everlooms_answers_are_well_framed(server: Everloom) -> None:
    url = server.url
    with contextlib.closing(httpx.Client(headers={"authorization": f"Bearer {API_KEY}"})) as client:
        for method, path, status in (("GET", "/models", 200), ("GET", "/nowhere", 404), ("OPTIONS", "/models", 204)):
            answer = client.request(method, url + path)
            assert answer.status_code == status
            assert ("content-length" in answer.headers) == (status != 204)
            assert "transfer-encoding" not in answer.headers
            assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]
