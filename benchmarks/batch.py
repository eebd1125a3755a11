"""What batches cost: lines a second beside calling the upstream directly, CPU and memory, and what live requests feel.

The upstream answers after a while, as models do. Direct calls are as many at a time as the batch may have.
"""

import json
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpx

from benchmarks.load import cpu_seconds
from benchmarks.measure import (
    API_KEY,
    Program,
    Row,
    everloom,
    folder,
    machine,
    median,
    note,
    options,
    put,
    table,
    upstream,
)

CONCURRENCY = 32
UPSTREAM_SECONDS = 0.1
ENOUGH = 0.8
"""Of the lines a second that direct calls bring."""

MOST_ADDED = 1.25
"""Times the time to first byte that a live request has alone, at p95."""

MOST_MEMORY = 64 * 1024 * 1024
"""That fifty thousand lines may take beyond what a few take."""

_HEADERS = {"authorization": f"Bearer {API_KEY}"}
_QUESTION = [{"role": "user", "content": "Say three words about the sea, and say them slowly."}]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--lines", type=int, default=4000, help="of the batch that is timed")
    parser.add_argument(
        "--large", type=int, default=50_000, help="lines of the batch whose memory is measured; 0: none"
    )
    parser.add_argument("--live", type=int, default=100, help="live requests, alone and beside a batch")
    parser.add_argument("--local", action="store_true", help="beside a batch on the local model, too")
    chosen = parser.parse_args()
    rows = [*speed(chosen.lines, chosen.repetitions), *memory(chosen.large), *beside_upstream(chosen.live)]
    if chosen.local:
        rows += beside_local(chosen.live)
    print(f"{table(rows)}\n\n{machine()}")


def speed(lines: int, repetitions: int) -> list[Row]:
    """Lines a second, and CPU a line."""
    note("batches, lines a second")
    ratios, rates, directs, cpu = [], [], [], []
    with (
        folder() as data,
        upstream(words=8, delay=UPSTREAM_SECONDS) as up,
        everloom(data, upstream=up.url, batch_concurrency=CONCURRENCY) as server,
        _client(server) as http,
    ):
        body = json.dumps({"model": "gpt-4o", "messages": _QUESTION})
        run_batch(http, 200)  # The throttle has found out what the upstream bears.
        for _ in range(repetitions):
            direct = put(
                up.url,
                ["POST /v1/chat/completions"],
                body=body,
                connections=CONCURRENCY,
                seconds=5.0,
            ).rate
            before = sum(map(cpu_seconds, server.pids()))
            seconds = run_batch(http, lines)
            cpu.append((sum(map(cpu_seconds, server.pids())) - before) / lines)
            rates.append(lines / seconds)
            directs.append(direct)
            ratios.append(rates[-1] / direct)
    share = median(ratios)
    return [
        Row(
            f"batch of {lines} lines, lines a second",
            f"{median(rates):.0f}",
            f"{median(directs):.0f} called directly: {share:.0%}",
            f"at least {ENOUGH:.0%}",
            share >= ENOUGH,
        ),
        Row("CPU of the server a line", f"{median(cpu) * 1e3:.2f} ms"),
    ]


def memory(lines: int) -> list[Row]:
    """Resident memory while a large batch is worked on, beyond that of a small one."""
    if not lines:
        return []
    note("batches, memory")
    with (
        folder() as data,
        upstream(words=8) as up,
        everloom(data, upstream=up.url, batch_concurrency=CONCURRENCY) as server,
        _client(server) as http,
    ):
        small, _ = _watched(http, server, 500)
        large, seconds = _watched(http, server, lines)
    return [
        Row(
            f"memory at a batch of {lines} lines",
            f"{large / 2**20:.0f} MiB",
            f"{small / 2**20:.0f} MiB at 500",
            f"{MOST_MEMORY / 2**20:.0f} MiB more",
            large - small <= MOST_MEMORY,
        ),
        Row("the same, lines a second of an upstream that answers at once", f"{lines / seconds:.0f}"),
    ]


def beside_upstream(live: int) -> list[Row]:
    """Time to first byte of live requests to an upstream that slows down under load."""
    note("live requests beside a batch, an upstream")
    with (
        folder() as data,
        Program("-m", "benchmarks.slowing", ready=r"slowing: ready on (\S+)") as up,
        everloom(data, upstream=up.url, batch_concurrency=64) as server,
        _client(server) as http,
    ):
        return [_beside(http, live, "an upstream that slows down", "gpt-4o", 20_000)]


def beside_local(live: int) -> list[Row]:
    """Time to first byte of live requests to the local model."""
    note("live requests beside a batch, the local model")
    with folder() as data, everloom(data, preload="true", fetch_weights="true") as server, _client(server) as http:
        return [_beside(http, live, "the local model", "smollm2-135m", 2_000, max_tokens=16, temperature=0)]


def _beside(http: httpx.Client, live: int, where: str, model: str, lines: int, **fields: Any) -> Row:
    _first_bytes(http, 5, model, fields)
    alone = _first_bytes(http, live, model, fields)
    batch = _create(http, lines, model, fields)
    _wait(http, batch, lambda found: found["request_counts"]["completed"] > 0)
    beside = _first_bytes(http, live, model, fields)
    done = http.get(f"/batches/{batch}").json()["request_counts"]["completed"]
    http.post(f"/batches/{batch}/cancel")
    ratio = _p95(beside) / _p95(alone)
    return Row(
        f"first byte of a live request beside a batch, p95, {where}",
        f"{_p95(beside) * 1e3:.0f} ms ({done} lines done meanwhile)",
        f"{_p95(alone) * 1e3:.0f} ms alone: {ratio:.2f} times",
        f"{MOST_ADDED} times",
        ratio <= MOST_ADDED,
    )


def _first_bytes(http: httpx.Client, count: int, model: str, fields: dict[str, Any]) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        body = {"model": model, "messages": _QUESTION, "stream": True, **fields}
        with http.stream("POST", "/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            blocks = answer.iter_raw()
            next(blocks)
            times.append(time.perf_counter() - began)
            for _ in blocks:
                pass
        time.sleep(0.05)
    return times


def _p95(times: Iterable[float]) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def _client(server: Program) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=_HEADERS, timeout=300)


def _create(http: httpx.Client, lines: int, model: str = "gpt-4o", fields: dict[str, Any] | None = None) -> str:
    body = {"model": model, "messages": _QUESTION, **(fields or {})}
    request = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    content = "".join(json.dumps({"custom_id": f"line-{number}", **request}) + "\n" for number in range(lines))
    file = http.post("/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}).json()
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return str(http.post("/batches", json=asked).raise_for_status().json()["id"])


def _wait(http: httpx.Client, batch: str, is_so: Any) -> dict[str, Any]:
    while not is_so(found := http.get(f"/batches/{batch}").raise_for_status().json()):
        if found["status"] in ("failed", "cancelled", "expired"):
            raise SystemExit(f"the batch ended as {found['status']}: {found['errors']}")
        time.sleep(0.02)
    return dict(found)


def run_batch(http: httpx.Client, lines: int) -> float:
    """Seconds from the creation of a batch to its end; its upload is not counted."""
    batch = _create(http, lines)
    began = time.perf_counter()
    found = _wait(http, batch, lambda found: found["status"] == "completed")
    if found["request_counts"]["completed"] != lines:
        raise SystemExit(f"not all lines were answered: {found['request_counts']}")
    return time.perf_counter() - began


def _watched(http: httpx.Client, server: Program, lines: int) -> tuple[int, float]:
    """The most memory while a batch is worked on, and the seconds it took."""
    most, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.2):
            most = max(most, server.memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        seconds = run_batch(http, lines)
    finally:
        ended.set()
        watcher.join()
    return most, seconds


if __name__ == "__main__":
    main()
