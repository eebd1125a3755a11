"""From the start of the process to its ready line, and the memory it takes then, beside a bare server of two lines."""

import json
import time
import urllib.request
from collections.abc import Iterator

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
    table,
)
from everloom.config import load
from everloom.models.files.weights import SMOLLM2, Weights

START_SECONDS = 1.5
MEMORY_MB = 150.0
"""The design's budget."""

REQUESTS = 200
SETTLE_SECONDS = 2.0


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(repetitions=5)
    print(f"{table(measure(parser.parse_args().repetitions))}\n\n{machine()}")


def measure(repetitions: int) -> list[Row]:
    """The table's rows."""
    note("starts")
    bare, fresh, again, memory, used = [], [], [], [], []
    for _ in range(repetitions):
        with _bare() as server:
            bare.append((server.seconds, server.memory()))
        with folder() as home:
            with everloom(home) as server:
                fresh.append(server.seconds)
                memory.append(server.memory())
                _use(server)
                used.append(server.memory())
            with everloom(home) as server:
                again.append(server.seconds)
    return [
        *_starts(median(seconds for seconds, _ in bare), median(fresh), median(again)),
        *_memories(median(size for _, size in bare) / 1e6, median(memory) / 1e6, median(used) / 1e6),
        _with_model(),
    ]


def _bare() -> Program:
    return Program("-m", "benchmarks.bare", ready=r"bare: ready on (\S+)")


def _starts(bare: float, fresh: float, again: float) -> Iterator[Row]:
    for what, seconds in (("an empty data folder", fresh), ("a data folder in use", again)):
        yield Row(
            f"start to ready, {what}",
            f"{seconds:.2f} s ({seconds / bare:.1f} × bare)",
            f"bare uvicorn {bare:.2f} s",
            f"at most {START_SECONDS:g} s",
            seconds <= START_SECONDS,
        )


def _memories(bare: float, ready: float, used: float) -> Iterator[Row]:
    for what, megabytes in (("when ready", ready), (f"after {REQUESTS} requests", used)):
        yield Row(
            f"resident memory, no model loaded, {what}",
            f"{megabytes:.0f} MB",
            f"bare uvicorn {bare:.0f} MB",
            f"at most {MEMORY_MB:g} MB",
            megabytes <= MEMORY_MB,
        )


def _use(server: Program) -> None:
    """Make and list assistants, and wait until all that is loaded beside the first requests has been."""
    for number in range(REQUESTS):
        body = json.dumps({"model": "smollm2-135m", "name": str(number)}).encode() if number % 2 else None
        _ask(server, "/assistants", body)
    time.sleep(SETTLE_SECONDS)


def _with_model() -> Row:
    what = "resident memory with the default model loaded, its process included"
    weights = load({}).weights
    if not Weights(weights).has(SMOLLM2):
        return Row(what, "skipped: the weights are not here ('everloom models pull' fetches them)")
    note("a start with the model")
    size = sum(file.bytes for file in SMOLLM2.files) / 1e6
    with folder() as home, everloom(home, weights=weights, preload="true") as server:
        body = {"model": "smollm2-135m", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
        _ask(server, "/chat/completions", json.dumps(body).encode())
        return Row(
            what,
            f"{server.memory() / 1e6:.0f} MB, ready after {server.seconds:.2f} s",
            f"the weights' file {size:.0f} MB",
        )


def _ask(server: Program, path: str, body: bytes | None) -> None:
    headers = dict(header.split(": ") for header in HEADERS) | {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(server.url + path, body, headers), timeout=60) as answer:
        answer.read()


if __name__ == "__main__":
    main()
