"""What a key, rate limits, budgets and the ledger cost a chat completion that is passed through.

Beside it, in turns, the same server without all that (``ungoverned.py``), and the upstream alone. The project has
limits of requests and tokens and a budget, and the organization has one, all too high to be reached; the model has the
price that is published for it.
"""

import functools
import json
import urllib.request
from collections.abc import Callable
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
from benchmarks.passthrough import chat

GOVERNED, UNGOVERNED = ["POST /v1/chat/completions"], ["POST /benchmark/chat"]
CLIENTS = (1, 16)
SHARE = 0.15
ADDED_US = 60.0
"""The design's budget: of the ungoverned throughput, and at p50 of one client."""

ADMIN = {"authorization": "Bearer sk-benchmark-admin-0123456789", "content-type": "application/json"}


def main() -> None:
    parser = options(__doc__)
    chosen = parser.parse_args()
    print(f"{table(measure(chosen.repetitions, chosen.seconds))}\n\n{machine()}")


def measure(repetitions: int, seconds: float) -> list[Row]:
    """The table's rows."""
    note("chat completions, governed")
    with (
        folder() as one,
        folder() as other,
        upstream(words=8) as up,
        everloom(one, upstream=up.url) as governed,
        everloom(other, module="benchmarks.ungoverned", upstream=up.url) as ungoverned,
    ):
        _govern(governed)
        results = repeated(repetitions, _cases(up, governed, ungoverned, seconds))
    return _rows(results)


def _govern(server: Program) -> None:
    """Set limits and budgets that are not reached."""
    projects = "/v1/organization/projects"
    limits = {"max_requests_per_1_minute": 900_000_000, "max_tokens_per_1_minute": 900_000_000}
    budget = {"threshold_amount": 100_000_000, "currency": "USD", "interval": "month"}
    for path, body in (
        (f"{projects}/proj_default/rate_limits/rl-gpt-4o", limits),
        (f"{projects}/proj_default/spend_limit", budget),
        ("/v1/organization/spend_limit", budget),
    ):
        request = urllib.request.Request(server.url.removesuffix("/v1") + path, json.dumps(body).encode(), ADMIN)
        with urllib.request.urlopen(request) as answer:
            answer.read()


def _cases(up: Program, governed: Program, ungoverned: Program, seconds: float) -> dict[Any, Callable[[], Result]]:
    ways = {
        "alone": (up, GOVERNED),
        "governed": (governed, GOVERNED),
        "ungoverned": (ungoverned, UNGOVERNED),
    }
    fields = {"headers": HEADERS, "body": chat(), "seconds": seconds}
    return {
        (way, connections): functools.partial(
            put, program.url, path, connections=connections, pids=[program.pid], **fields
        )
        for connections in CLIENTS
        for way, (program, path) in ways.items()
    }


def _rows(results: dict[Any, list[Result]]) -> list[Row]:
    alone, free, held = (results[way, 1] for way in ("alone", "ungoverned", "governed"))
    added = median(b.p50 - a.p50 for a, b in zip(free, held, strict=True)) * 1e6
    many_free, many_held = results["ungoverned", 16], results["governed", 16]
    lost = 1 - median(b.rate / a.rate for a, b in zip(many_free, many_held, strict=True))
    cpu = [median(r.cpu[0] / r.requests for r in many) * 1e6 for many in (many_free, many_held)]
    return [
        Row(
            "chat completion, one client: what key, limits, budgets and ledger add at p50",
            f"{added:.0f} µs",
            f"upstream alone {median(r.p50 for r in alone) * 1e3:.2f} ms, ungoverned "
            f"{median(r.p50 for r in free) * 1e3:.2f} ms, governed {median(r.p50 for r in held) * 1e3:.2f} ms",
            f"at most {ADDED_US:g} µs",
            added <= ADDED_US,
        ),
        Row(
            "chat completion, 16 clients: throughput that they take",
            f"{lost:.0%}; {cpu[1]:.0f} µs of CPU a request",
            f"ungoverned {median(r.rate for r in many_free):,.0f} requests/s, {cpu[0]:.0f} µs; governed "
            f"{median(r.rate for r in many_held):,.0f} requests/s",
            f"at most {SHARE:.0%}",
            lost <= SHARE,
        ),
    ]


if __name__ == "__main__":
    main()
