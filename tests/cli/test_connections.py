"""What strangers may do with connections: bare sockets against a small application in a process of its own."""

import contextlib
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from everloom.cli.connection_limits import Patience, client_address

PROGRAM = """
import asyncio, sys
from everloom.cli.connection_limits import ConnectionLimits, raise_file_limit
from everloom.cli.server import Stop, listen, serve

most = 400 if "wide" in sys.argv else 120
limits = ConnectionLimits(per_address=most, head_seconds=1.5, idle_seconds=6, rest_seconds=4, least_rate=1000)
left = 0

async def app(scope, receive, send):
    global left
    path = scope["path"]
    if path == "/left":
        return await whole(send, b"%d" % left)
    if path == "/refused":
        return await whole(send, b"no", 401)
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            left += 1
            return
        size, more = size + len(message["body"]), message["more_body"]
    if path == "/flood":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        return await send({"type": "http.response.body", "body": b""})
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    if path in ("/stream", "/slow"):
        gone = asyncio.ensure_future(receive())
        work = asyncio.ensure_future(asyncio.sleep(1.0 if scope["query_string"] == b"" else 30))
        await asyncio.wait([gone, work], return_when="FIRST_COMPLETED")
        left += gone.done()
        gone.cancel(), work.cancel()
    if path == "/stream":
        await send({"type": "http.response.body", "body": b"told ", "more_body": True})
        return await send({"type": "http.response.body", "body": b"%d" % size})
    await whole(send, b"%d" % size)

async def whole(send, body, status=200):
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

async def main():
    stop = Stop()
    stop.watch()
    listener = listen("127.0.0.1", 0)
    await serve(app, listener, stop, lambda: print(listener.getsockname()[1], flush=True), limits)

if "raise" in sys.argv:
    raise_file_limit()
import uvloop
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


class Running:
    def __init__(self, folder: Path, *arguments: str, files: tuple[int, int] | None = None) -> None:
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=None if files is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files),
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def told(self, *data: bytes, half: bool = False) -> bytes:
        """All that is answered to these bytes, till the server closes."""
        with self.open() as connection:
            with contextlib.suppress(OSError):
                for piece in data:
                    connection.sendall(piece)
                if half:
                    connection.shutdown(socket.SHUT_WR)
            return everything(connection)

    def memory(self) -> int:
        """Resident bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024

    def latency(self) -> float:
        """Seconds that the server works while another client's request waits for its answer; what else the machine
        does meanwhile is not in it.
        """
        before = self._worked()
        assert self.told(GET) == b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n0"
        return self._worked() - before

    def _worked(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def left(self) -> int:
        return int(self.told(b"GET /left HTTP/1.1\r\nconnection: close\r\n\r\n").rpartition(b"\r\n")[2])

    def until_left(self, count: int) -> None:
        deadline = time.monotonic() + 30
        while self.left() != count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.left() == count


GET = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
PLAIN_GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"


def everything(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError):
        while block := connection.recv(1 << 20):
            answer += block
    return answer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = Running(tmp_path_factory.mktemp("connections"))
    yield server
    server.process.kill()
    server.process.communicate()


def endless(start: bytes, piece: bytes, most: int = 30_000_000) -> Iterator[bytes]:
    yield start
    for _ in range(most // len(piece)):
        yield piece


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        pytest.param(
            PLAIN_GET[:-2], b"".join(b"x-%06d: " % n + b"a" * 1000 + b"\r\n" for n in range(100)), 431, id="headers"
        ),
        pytest.param(PLAIN_GET[:-2] + b"x: ", b"a" * 100_000, 431, id="header"),
        pytest.param(PLAIN_GET[:-2], b"a:\r\n" * 10_000, 431, id="tiny"),
        pytest.param(PLAIN_GET[:-2], b"a" * 50_000, 431, id="name"),
        pytest.param(b"GET /", b"a" * 50_000, 414, id="path"),
        pytest.param(b"GET /?", b"%41&" * 10_000, 414, id="query"),
        pytest.param(b"", b"\r\n" * 50_000, 400, id="nothing"),
        pytest.param(CHUNKED + b"1;x=", b"a" * 50_000, 400, id="extension"),
        pytest.param(CHUNKED + b"1\r\na\r\n0\r\n", b"x-trailer: " + b"a" * 1000 + b"\r\n", 431, id="trailers"),
        pytest.param(CHUNKED + b"1\r\na\r\n0\r\nx: ", b"a" * 50_000, 400, id="trailer"),
        pytest.param(CHUNKED, b"0" * 50_000, 400, id="size"),
        pytest.param(b"", b"\x16\x03\x01\x02\x00\x01" * 1000, 400, id="tls"),
    ],
)
def test_what_never_ends_is_cut_and_costs_nothing(running: Running, start: bytes, piece: bytes, status: int) -> None:
    before = running.memory()
    slow: list[float] = []
    watching = threading.Thread(target=lambda: slow.extend(running.latency() for _ in range(5)))
    watching.start()
    answer = running.told(*endless(start, piece))
    watching.join()
    last = answer.rpartition(b"HTTP/1.1 ")[2]
    assert last.startswith(b"%d " % status), answer[:300]
    assert b'"error":{"message":"' in last
    assert max(slow) < 1
    assert running.memory() - before < 8_000_000


def test_what_is_long_and_within_the_limits_is_taken(running: Running) -> None:
    lines = b"".join(b"x-%02d: " % n + b"a" * 15_000 + b"\r\n" for n in range(4))
    assert b"200 OK" in running.told(GET[:-2] + lines + b"\r\n")
    for size, length in ((1, 1000), (700, 16_000)):  # All of it in a head's time, on a slow machine too.
        head = GET[:-2] + b"x: " + b"a" * length + b"\r\n\r\n"
        assert b"200 OK" in running.told(*(head[start : start + size] for start in range(0, len(head), size)))
    assert b"431 " in running.told(GET[:-2] + b"x: " + b"a" * 17_000 + b"\r\n\r\n")
    lines = b"".join(b"x-%02d: " % n + b"a" * 15_000 + b"\r\n" for n in range(5))
    assert b"431 " in running.told(GET[:-2] + lines + b"\r\n")
    assert b"431 " in running.told(GET[:-2] + b"a: b\r\n" * 300 + b"\r\n")
    trailers = CHUNKED + b"3;quality=1\r\nabc\r\n0\r\nx-checksum: 1\r\n\r\n"
    assert running.told(trailers).endswith(b"\r\n\r\n3")


def test_a_head_comes_within_its_time(running: Running) -> None:
    with running.open() as silent, running.open() as slow:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in PLAIN_GET * 3:
                slow.sendall(bytes([byte]))
                time.sleep(0.1)
                if time.monotonic() - started > 6:
                    break
        answer = everything(slow)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b'"code":"request_timeout"' in answer
        assert everything(silent) == b""


def test_an_answered_connection_rests_for_its_time(running: Running) -> None:
    with running.open() as connection:
        for _ in range(2):
            connection.sendall(PLAIN_GET)
            assert connection.recv(1000).endswith(b"\r\n\r\n0")
            time.sleep(2.5)  # More than a head may take, and less than a rest.
        connection.sendall(PLAIN_GET)
        assert connection.recv(1000).endswith(b"\r\n\r\n0")
        assert everything(connection) == b"", "it is closed without a word"


def test_a_body_makes_progress(running: Running) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    with running.open() as silent, running.open() as dripping, running.open() as slow:
        left = running.left()
        for connection in (silent, dripping, slow):
            connection.sendall(head)
        with contextlib.suppress(OSError):
            for number in range(50):
                dripping.sendall(b"a" * 10)
                if number < 40:
                    slow.sendall(b"a" * 2500)  # Ten times the least rate, where it is a tenth of what others send.
                time.sleep(0.1)
        for connection in (silent, dripping):
            assert everything(connection).startswith(b"HTTP/1.1 408 ")
        assert slow.recv(1000).endswith(b"\r\n\r\n100000")
    running.until_left(left + 2)


def test_three_hundred_slow_clients_cost_the_others_nothing(tmp_path: Path) -> None:
    server = Running(tmp_path, "wide")
    try:
        usual = max(server.latency() for _ in range(20))
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        for connection in waiting:
            connection.sendall(b"POST / HTTP/1.1\r\nx: ")
        assert max(server.latency() for _ in range(20)) < usual + 0.3
        for connection in waiting:
            assert everything(connection).startswith(b"HTTP/1.1 408 ")
            connection.close()
    finally:
        server.process.kill()
        server.process.communicate()


def test_an_address_has_so_many_connections_and_no_more(running: Running) -> None:
    assert running.latency() < 5
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(running.open()) for _ in range(120)]
        many[-1].sendall(GET)
        assert everything(many[-1]).startswith(b"HTTP/1.1 200 ")
        one_more = [stack.enter_context(running.open()) for _ in range(3)]
        one_more[-1].sendall(GET)
        answer = everything(one_more[-1])
        assert answer.startswith(b"HTTP/1.1 429 "), answer
        assert b"retry-after: 2\r\n" in answer
        assert b'"code":"rate_limit_exceeded"' in answer
    deadline = time.monotonic() + 30
    while not running.told(GET).startswith(b"HTTP/1.1 200 ") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running.latency() < 5


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_who_is_one_client(client: str, counted: str) -> None:
    assert client_address((client, 1)) == counted
    assert client_address(None) == ""


def test_files_running_out_leave_room_for_work(tmp_path: Path) -> None:
    server = Running(tmp_path, files=(64, 64))
    try:
        with contextlib.ExitStack() as stack:
            many = [stack.enter_context(server.open()) for _ in range(60)]
            time.sleep(1)
            for connection in many:
                with contextlib.suppress(OSError):
                    connection.sendall(GET)
            answers = [everything(connection)[9:12] for connection in many]
        assert answers.count(b"200") >= 10
        assert answers.count(b"503") >= 1
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 40
        assert server.latency() < 5
    finally:
        server.process.kill()
        server.process.communicate()


def test_as_many_files_as_the_system_lets_be(tmp_path: Path) -> None:
    server = Running(tmp_path, "raise", files=(64, 300))
    try:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3] == "300"
    finally:
        server.process.kill()
        server.process.communicate()


def test_pipelined_requests_are_all_answered_in_bounded_memory(running: Running) -> None:
    count = 20_000
    before = running.memory()
    request = b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nabcd"
    with running.open() as connection:
        sender = threading.Thread(target=lambda: connection.sendall(request * count))
        sender.start()
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n4"
        left = count * len(answer)
        while left > 0:
            block = connection.recv(1 << 20)
            assert block, left
            left -= len(block)
        sender.join()
        assert left == 0
    assert running.memory() - before < 8_000_000


def test_a_million_requests_that_nobody_waits_for(running: Running) -> None:
    before = running.memory()
    with running.open() as connection:
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(b"GET /slow HTTP/1.1\r\n\r\n" * 1000)
        assert running.latency() < 1
    assert running.memory() - before < 8_000_000


def test_a_body_of_single_bytes(running: Running) -> None:
    before = running.memory()
    slow: list[float] = []
    watching = threading.Thread(target=lambda: slow.extend(running.latency() for _ in range(10)))
    watching.start()
    answer = running.told(CHUNKED, *[b"1\r\na\r\n" * 10_000] * 100, b"0\r\n\r\n")
    watching.join()
    assert answer.endswith(b"\r\n\r\n1000000")
    assert max(slow) < 1
    assert running.memory() - before < 8_000_000


def test_who_has_its_refusal_does_not_go_on_with_crumbs_for_long(running: Running) -> None:
    head = b"POST /refused HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    started = time.monotonic()
    with running.open() as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 15:
                connection.sendall(b"1\r\na\r\n" * 100)
                time.sleep(0.01)
    assert time.monotonic() - started < 15


def test_who_never_reads_its_answer_is_left(running: Running) -> None:
    before, usual = running.memory(), len(connections(running))
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(running.open()).sendall(b"GET /flood HTTP/1.1\r\n\r\n")
        time.sleep(0.5)
        assert running.latency() < 1
        assert running.memory() - before < 20_000_000
        assert len(connections(running)) >= usual + 20
        deadline = time.monotonic() + 60
        while len(connections(running)) > usual and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(connections(running)) <= usual


def connections(running: Running) -> list[str]:
    """The server's sockets."""
    found = Path(f"/proc/{running.process.pid}/fd").iterdir()
    return [str(file) for file in found if "socket" in str(file.readlink())]


def test_who_reads_slowly_gets_it_all(running: Running) -> None:
    with running.open() as connection:
        connection.sendall(b"GET /flood HTTP/1.1\r\nconnection: close\r\n\r\n")
        size = 0
        until = time.monotonic() + 5
        while block := connection.recv(50_000 if time.monotonic() < until else 1 << 22):
            size += len(block)
            if time.monotonic() < until:
                time.sleep(0.05)
    assert size > 65536 * 10_000
    assert block == b""


@pytest.mark.parametrize("path", [b"/", b"/slow", b"/stream"])
def test_who_closes_its_half_gets_its_answer(running: Running, path: bytes) -> None:
    left = running.left()
    answer = running.told(b"POST %s HTTP/1.1\r\ncontent-length: 2\r\n\r\nab" % path, half=True)
    final = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert final.startswith(b"HTTP/1.1 200 OK\r\n")
    body = final.partition(b"\r\n\r\n")[2]
    if path == b"/stream":
        sizes = [int(line, 16) for line in body.split(b"\r\n")[::2] if line]
        assert sizes == [5, 1, 0]
        assert body.split(b"\r\n")[1::2][:2] == [b"told ", b"2"]
    else:
        assert body == b"2"
    assert running.left() == left


def test_pipelined_requests_before_a_half_close_are_answered(running: Running) -> None:
    assert running.told(b"GET /slow HTTP/1.1\r\n\r\n" * 2 + PLAIN_GET * 3000, half=True).count(b"200 OK") == 3002


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("path", [b"/slow?long", b"/stream?long"])
def test_who_leaves_is_noticed_all_the_same(running: Running, path: bytes, version: bytes) -> None:
    """Also a proxy that speaks HTTP/1.0 (nginx does by default), to which nothing can be sent that no client sees."""
    left = running.left()
    with running.open() as connection:
        connection.sendall(b"GET %s HTTP/%s\r\n\r\n" % (path, version))
        time.sleep(0.2)
    running.until_left(left + 1)


def test_who_leaves_after_its_half_is_noticed_too(running: Running) -> None:
    left = running.left()
    with running.open() as connection:
        connection.sendall(b"GET /slow?long HTTP/1.1\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.5)
        assert running.left() == left
    running.until_left(left + 1)


def test_half_a_request_is_none(running: Running) -> None:
    left = running.left()
    assert running.told(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nab", half=True) == b""
    assert running.told(b"POST / HTTP/1.1\r\ncontent-le", half=True) == b""
    running.until_left(left + 1)


def test_a_stream_without_chunks_for_the_first_version(running: Running) -> None:
    answer = running.told(b"GET /stream HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head
    assert body == b"told 0"
    assert running.told(b"GET / HTTP/1.0\r\n\r\n").endswith(b"content-length: 1\r\nconnection: close\r\n\r\n0")


def test_a_fault_in_a_later_request_spares_the_earlier(running: Running) -> None:
    answer = running.told(b"GET /slow HTTP/1.1\r\n\r\n", b"no HTTP at all\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n0")
    assert running.told(PLAIN_GET, b"no HTTP at all\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_offer_to_speak_something_else_is_passed_over(running: Running) -> None:
    head = b"POST / HTTP/1.1\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n"
    with running.open() as connection:
        for _ in range(2):
            connection.sendall(head + b"ab")
            answer = b""
            while not answer.endswith(b"\r\n\r\n2"):
                answer += connection.recv(1000)
                assert answer
    assert running.told((head + b"ab") * 2 + GET).count(b"200 OK") == 3


def test_patience() -> None:
    patience = Patience(10, 100)
    assert patience.spend(9, 0)
    assert not patience.spend(2, 50)
    patience.renew()
    for _ in range(100):
        assert patience.spend(1, 100)
    assert all(patience.spend(1, 50) for _ in range(19))
    assert not patience.spend(1, 50)
