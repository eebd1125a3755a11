"""Chat completions passed through to an upstream: what Everloom adds, whole and streamed, beside the upstream alone.

The upstream is the tests' scripted one in a process of its own. Where it answers as fast as it can, several chunks
come in one block and go out in one; the thousand open streams show what a chunk costs that comes alone.
"""

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.load import Result
from benchmarks.measure import (
    HEADERS,
    Program,
    Row,
    everloom,
    folder,
    machine,
    median,
    note,
    options,
    put,
    repeated,
    table,
    upstream,
)

ASK = ["POST /v1/chat/completions"]
WORDS = 400
"""Of a streamed answer, each a chunk."""

SLOW_WORDS = 40
SLOW_DELAY = 0.5
"""Of each of the many open streams: seconds between two chunks."""

ADDED_MS = 1.0
CPU_MS = 0.5
CHUNK_US = 10.0
"""The design's budget."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--streams", type=int, default=1000, help="open at once")
    chosen = parser.parse_args()
    rows = measure(chosen.repetitions, chosen.seconds, chosen.streams)
    print(f"{table(rows)}\n\n{machine()}")


def measure(repetitions: int, seconds: float, streams: int = 1000) -> list[Row]:
    """The table's rows."""
    return [
        *_whole(repetitions, seconds),
        *_streamed(repetitions, seconds),
        *_open_streams(streams, seconds),
    ]


def chat(**fields: Any) -> str:
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the capital?"}], **fields})


def _whole(repetitions: int, seconds: float) -> Iterator[Row]:
    note("chat completions, whole")
    with folder() as home, upstream(words=8) as up, everloom(home, upstream=up.url) as server:
        cases = _cases(up, server, seconds, chat(), (1, 16))
        results = repeated(repetitions, cases)
    direct, through = results["direct", 1], results["through", 1]
    added = median(b.p50 - a.p50 for a, b in zip(direct, through, strict=True)) * 1e3
    yield Row(
        "chat completion, one client: added at p50",
        f"{added:.2f} ms",
        f"upstream alone {median(r.p50 for r in direct) * 1e3:.2f} ms, "
        f"through Everloom {median(r.p50 for r in through) * 1e3:.2f} ms",
        f"at most {ADDED_MS:g} ms",
        added <= ADDED_MS,
    )
    direct, through = results["direct", 16], results["through", 16]
    cpu = median(r.cpu[1] / r.requests for r in through) * 1e3
    yield Row(
        "chat completion, 16 clients: CPU a request",
        f"{cpu:.2f} ms; {median(r.rate for r in through):,.0f} requests/s",
        f"upstream alone {median(r.cpu[0] / r.requests for r in direct) * 1e3:.2f} ms; "
        f"{median(r.rate for r in direct):,.0f} requests/s",
        f"at most {CPU_MS:g} ms",
        cpu <= CPU_MS,
    )


def _streamed(repetitions: int, seconds: float) -> Iterator[Row]:
    for burst in (1, 16):
        note(f"streams, {burst} chunks a write")
        with folder() as home, upstream(words=WORDS, burst=burst) as up, everloom(home, upstream=up.url) as server:
            results = repeated(repetitions, _cases(up, server, seconds, chat(stream=True), (8,)))
        direct, through = results["direct", 8], results["through", 8]
        cpu = median(r.cpu[1] / r.events for r in through) * 1e6
        yield Row(
            f"streamed chunks, 8 streams as fast as they come, {burst} in each write of the upstream",
            f"{_events(through):,.0f} chunks/s, {cpu:.1f} µs of CPU each",
            f"upstream alone {_events(direct):,.0f} chunks/s, "
            f"{median(r.cpu[0] / r.events for r in direct) * 1e6:.1f} µs",
            f"at most {CHUNK_US:g} µs",
            cpu <= CHUNK_US,
        )


def _open_streams(streams: int, seconds: float) -> Iterator[Row]:
    note(f"{streams} open streams")
    body = chat(stream=True)
    with (
        folder() as home,
        upstream(words=SLOW_WORDS, delay=SLOW_DELAY) as up,
        everloom(home, upstream=up.url) as server,
    ):
        memory: list[tuple[float, int]] = []
        stop = threading.Event()
        watch = threading.Thread(target=_watch, args=(server, memory, stop))
        watch.start()
        try:
            fields = {"connections": streams, "warm_up": 6.0, "seconds": SLOW_WORDS * SLOW_DELAY + 2 * seconds}
            result = put(server.url, ASK, headers=HEADERS, body=body, pids=[server.pid], **fields)
        finally:
            stop.set()
            watch.join()
    start = memory[0][1]
    begun = median(size for at, size in memory if 6 <= at - memory[0][0] <= 9)
    last = median(size for _, size in memory[-10:])
    yield Row(
        f"{streams:,} open streams, a chunk each every {SLOW_DELAY:g} s: memory",
        f"{(begun - start) / streams / 1024:.0f} KiB a stream; {(last - begun) / 1e6:+.1f} MB from then to the end",
        f"{start / 1e6:.0f} MB before, {last / 1e6:.0f} MB at the end",
        "flat",
    )
    yield Row(
        "the same: chunks that come alone",
        f"{result.events / result.seconds:,.0f} chunks/s, {result.cpu[0] / result.events * 1e6:.0f} µs of CPU each, "
        f"{result.cpu[0] / result.seconds:.0%} of a core",
        f"{streams / SLOW_DELAY:,.0f} chunks/s sent",
    )


def _watch(server: Program, memory: list[tuple[float, int]], stop: threading.Event) -> None:
    while not stop.wait(0.2):
        memory.append((time.monotonic(), server.memory()))


def _cases(
    up: Program, server: Program, seconds: float, body: str, clients: tuple[int, ...]
) -> dict[Any, Callable[[], Result]]:
    fields = {"headers": HEADERS, "body": body, "seconds": seconds, "pids": [up.pid, server.pid]}
    return {
        (way, connections): functools.partial(put, url, ASK, connections=connections, **fields)
        for connections in clients
        for way, url in (("direct", up.url), ("through", server.url))
    }


def _events(results: list[Result]) -> float:
    return median(result.events / result.seconds for result in results)


if __name__ == "__main__":
    main()
