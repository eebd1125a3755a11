"""One server of several processes beside one of one: what more of them answer, and what a request costs then.

``python -m benchmarks.processes --processes 1,2,4``: ``serve --processes`` on PostgreSQL, chats passed through and runs
on new threads, each load from many connections, the servers in turns. CPU is that of all processes of a server. Client,
upstream and PostgreSQL are on the same machine: where all its cores are busy, more processes do not answer more, and
what is to be seen is that a request costs no more.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from benchmarks.load import Result
from benchmarks.measure import HEADERS, Program, Row, everloom, folder, machine, median, note, options, put, table
from benchmarks.passthrough import chat
from benchmarks.peers import ASK, compiled
from benchmarks.runs import an_assistant, streamed_runs, url_of

WORDS = 8
CHATS, RUNS = 64, 16
"""Connections."""

CLAIM = 1.15
"""What a request may cost of what it costs one process."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--processes", default="1,2,4", help="how many, one server for each")
    chosen = parser.parse_args()
    counts = [int(count) for count in chosen.processes.split(",")]
    print(f"{table([*measure(counts, chosen.repetitions, chosen.seconds)])}\n\n{machine()}")


def measure(counts: Sequence[int], repetitions: int, seconds: float) -> Iterator[Row]:
    """The table's rows."""
    chats: dict[int, list[Result]] = {count: [] for count in counts}
    runs: dict[int, list[Result]] = {count: [] for count in counts}
    with contextlib.ExitStack() as stack:
        up = stack.enter_context(compiled(WORDS, 0))
        servers: dict[int, Program] = {}
        for count in counts:
            if (url := stack.enter_context(url_of("PostgreSQL"))) is None:
                yield Row("several processes", "skipped: no PostgreSQL here")
                return
            home = stack.enter_context(folder())
            servers[count] = stack.enter_context(everloom(home, upstream=up.url, database=url, processes=count))
        assistants = {count: asyncio.run(an_assistant(server)) for count, server in servers.items()}
        for number in range(repetitions):
            note(f"round {number + 1} of {repetitions}")
            for count, server in servers.items():
                fields = {"headers": HEADERS, "body": chat(), "seconds": seconds, "pids": server.pids()}
                chats[count].append(put(server.url, ASK, connections=CHATS, **fields))
                runs[count].append(streamed_runs(server, assistants[count], RUNS, seconds))
    yield from _rows(f"chats passed through, {CHATS} connections", chats, 1e6, "µs")
    yield from _rows(f"streamed runs on new threads, {RUNS} connections", runs, 1e3, "ms")


def _rows(what: str, results: dict[int, list[Result]], unit: float, name: str) -> Iterator[Row]:
    """Against the first, of the same round."""
    first = next(iter(results.values()))
    for count, some in results.items():
        rate = median(one.rate / other.rate for one, other in zip(some, first, strict=True))
        cost = median(_cpu(one) / _cpu(other) for one, other in zip(some, first, strict=True))
        cpu = median(map(_cpu, some)) * unit
        yield Row(
            f"{what}: {count} process{'es' * (count > 1)}",
            f"{median(one.rate for one in some):,.0f}/s, {cpu:.2f} {name} of CPU each, "
            f"p99 {median(one.p99 for one in some) * 1e3:.1f} ms",
            f"{rate:.2f} × as many as the first, {cost:.2f} × its CPU",
            "" if some is first else f"at most {CLAIM:g} × the CPU",
            None if some is first else cost <= CLAIM,
        )


def _cpu(result: Result) -> float:
    return sum(result.cpu) / result.requests


if __name__ == "__main__":
    main()
