"""The client: raw HTTP/1.1 over kept connections, in a process of its own so that its CPU is not the server's.

Reads one ``Load`` as JSON from standard input, prints one ``Result``. A full HTTP client costs more a request than
the servers measured here; this one costs about 15 µs, and says what it cost, so that one can see what was the limit.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from msgspec import Struct


class Load(Struct, kw_only=True):
    """``requests`` are sent round by round over so many ``connections`` for ``seconds``, after ``warm_up`` uncounted.

    A request is ``METHOD path``, a body and the extra header lines; times in seconds. ``pids`` are the processes
    whose CPU is read at both ends of the measured time.
    """

    host: str
    port: int
    requests: list[str]
    headers: list[str] = []
    body: str = ""
    connections: int = 16
    warm_up: float = 0.3
    seconds: float = 2.0
    pids: list[int] = []


class Result(Struct, kw_only=True):
    """What came of it. ``events`` are the server-sent events among the answers; ``cpu`` seconds for each pid."""

    requests: int
    failures: int
    events: int
    seconds: float
    p50: float
    p99: float
    cpu: list[float]
    client_cpu: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def cpu_seconds(pid: int) -> float:
    """The CPU a process has used so far, all of its threads, in seconds (Linux; elsewhere 0)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except (OSError, ValueError):  # a thread that has just ended
            continue
    return total / 1e9


class _Tally:
    def __init__(self) -> None:
        self.counting = False
        self.times: list[float] = []
        self.failures = 0
        self.events = 0


class _Connection(asyncio.Protocol):
    """One kept connection: sends the next request when the answer to the last one is whole."""

    def __init__(self, requests: "cycle[bytes]", tally: _Tally) -> None:
        self._requests = requests
        self._tally = tally
        self._head = b""
        self._awaited: int | None = None
        """How many bytes of the body are still to come; None where its end has to be looked for."""
        self._tail = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _ask(self) -> None:
        assert self._transport is not None
        self._head, self._tail, self._in_body = b"", b"", False
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._begin(head)
        if self._tally.counting:
            self._tally.events += data.count(b"data: ")
        if self._awaited is not None:
            self._awaited -= len(data)
            if self._awaited <= 0:
                self._end()
        else:
            self._tail = (self._tail + data)[-7:]
            if self._tail.endswith(b"\r\n0\r\n\r\n"):
                self._end()

    def _begin(self, head: bytes) -> None:
        self._in_body = True
        self._ok = head.startswith(b"HTTP/1.1 200")
        _, _, length = head.lower().partition(b"content-length:")
        self._awaited = int(length.partition(b"\r\n")[0]) if length else None

    def _end(self) -> None:
        if self._tally.counting:
            self._tally.times.append(time.perf_counter() - self._asked)
            self._tally.failures += not self._ok
        self._ask()


def _request(load: Load, request: str) -> bytes:
    body = load.body.encode()
    lines = [f"{request} HTTP/1.1", f"host: {load.host}:{load.port}", *load.headers]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def run(load: Load) -> Result:
    """Put the load on."""
    loop = asyncio.get_running_loop()
    tally = _Tally()
    requests = cycle([_request(load, request) for request in load.requests])
    connections = []
    for _ in range(load.connections):
        _, connection = await loop.create_connection(lambda: _Connection(requests, tally), load.host, load.port)
        connections.append(connection)
    await asyncio.sleep(load.warm_up)
    before, own, started = list(map(cpu_seconds, load.pids)), time.process_time(), time.perf_counter()
    tally.counting = True
    await asyncio.sleep(load.seconds)
    tally.counting = False
    seconds = time.perf_counter() - started
    cpu = [after - early for early, after in zip(before, map(cpu_seconds, load.pids), strict=True)]
    own = time.process_time() - own
    for connection in connections:
        connection.close()
    times = sorted(tally.times)
    return Result(
        requests=len(times),
        failures=tally.failures,
        events=tally.events,
        seconds=seconds,
        p50=quantile(times, 0.5),
        p99=quantile(times, 0.99),
        cpu=cpu,
        client_cpu=own,
    )


def quantile(times: Sequence[float], part: float) -> float:
    """The value below which ``part`` of the sorted ``times`` lie; 0 where there are none."""
    return times[min(len(times) - 1, int(len(times) * part))] if times else 0.0


def main() -> None:
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(run(load))
    os.write(1, msgspec.json.encode(result))


if __name__ == "__main__":
    main()
