"""List run steps: 20 of them, with a key, from databases of several sizes, beside constant bytes of the same size.

``python -m benchmarks.steps --sizes 1000,100000,1000000``: how many steps are stored. Every run has 100, and ten runs
spread over the whole database are asked for in turn, the same number at every size. At the largest size a thousand
are, too: their pages leave the processor's caches between two requests for the same one, the constant bytes do not.
"""

import asyncio
import contextlib
import functools
import sqlite3
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.load import Result
from benchmarks.measure import (
    HEADERS,
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
)
from everloom.kit.ids import new_id
from everloom.objects.base import Object, encode
from everloom.objects.runs import Run
from everloom.objects.steps import MessageCreation, MessageReference, RunStep
from everloom.objects.tools import Usage
from everloom.store import sql
from everloom.store.kinds import KINDS
from everloom.store.procedures import own_rank
from everloom.store.sqlite import SqliteDatabase
from everloom.work.organization.establishing import DEFAULT_PROJECT

STEPS = 100
"""Of each run."""

TOGETHER = 10
"""Runs whose steps are made in turns, as on a server where so many run at once."""

FEW, MANY = 10, 1000
"""Runs that are asked for in turn."""


FLOOR = 0.6
"""Of constant bytes' requests a second, by the design's budget."""

FLAT = 0.9
"""What "flat" means here: the share of the largest database over that of the smallest."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--sizes", default="1000,100000,1000000", help="steps stored")
    chosen = parser.parse_args()
    rows = measure([int(size) for size in chosen.sizes.split(",")], chosen.repetitions, chosen.seconds)
    print(f"{table(rows)}\n\n{machine()}")


def measure(sizes: list[int], repetitions: int, seconds: float) -> list[Row]:
    """The table's rows."""
    cases: dict[Any, Callable[[], Result]] = {}
    with folder() as home, contextlib.ExitStack() as servers:
        for size in sizes:
            data = home / str(size)
            runs = seed(data, size)
            paths = _paths(_spread(runs, FEW))
            if size == sizes[-1] and len(runs) > FEW:
                paths |= {f"{kind} of many": requests for kind, requests in _paths(_spread(runs, MANY)).items()}
            known = {"BENCHMARK_PAGE": str(data / "page.json"), "BENCHMARK_DATABASE": str(data / "everloom.db")}
            server = servers.enter_context(everloom(data, "benchmarks.constant", known))
            _keep_page(data / "page.json", server.url.removesuffix("/v1") + paths["steps"][0].removeprefix("GET "))
            for kind, requests in paths.items():
                fields = {"headers": HEADERS, "seconds": seconds, "pids": [server.pid]}
                cases[size, kind] = functools.partial(put, server.url, requests, **fields)
        note("measuring")
        results = repeated(repetitions, cases)
    return list(_rows(sizes, results))


def seed(data: Path, size: int) -> list[Run]:
    """Make the database of a data folder and put ``size`` steps in it; their runs."""
    note(f"seeding {size:,} steps")
    file = data / "everloom.db"
    asyncio.run(_make(file))
    runs: list[Run] = []
    with sqlite3.connect(file, isolation_level=None) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        while len(runs) * STEPS < size:
            fresh = [_run() for _ in range(TOGETHER)]
            connection.execute("BEGIN")
            _insert(connection, fresh)
            _insert(connection, (_step(run, number) for number in range(STEPS) for run in fresh))
            connection.execute("COMMIT")
            runs += fresh
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return runs


def _spread(runs: list[Run], wanted: int) -> list[Run]:
    return runs[:: max(1, len(runs) // wanted)][:wanted]


async def _make(file: Path) -> None:
    database = SqliteDatabase(file)
    await database.open()
    await database.close()


def _insert(connection: sqlite3.Connection, things: Iterable[Object]) -> None:
    for thing in things:
        kind = KINDS[type(thing)]
        columns = [getattr(thing, name) for name in kind.index]
        row = [DEFAULT_PROJECT, thing.id, own_rank(kind, thing.id), encode(thing), *columns]
        connection.execute(sql.add("sqlite", kind), row)


def _run() -> Run:
    return Run(
        id=new_id("run_"),
        created_at=1_733_000_000,
        assistant_id=new_id("asst_"),
        thread_id=new_id("thread_"),
        status="completed",
        model="gpt-4o",
        instructions="You are a personal math tutor. When asked a question, write the solution in short sentences.",
        usage=Usage(prompt_tokens=1200, completion_tokens=340, total_tokens=1540),
    )


def _step(run: Run, number: int) -> RunStep:
    return RunStep(
        id=new_id("step_"),
        created_at=run.created_at + number,
        run_id=run.id,
        assistant_id=run.assistant_id,
        thread_id=run.thread_id,
        type="message_creation",
        status="completed",
        completed_at=run.created_at + number + 1,
        step_details=MessageCreation(message_creation=MessageReference(message_id=new_id("msg_"))),
        usage=Usage(prompt_tokens=123, completion_tokens=45, total_tokens=168),
    )


def _paths(runs: list[Run]) -> dict[str, list[str]]:
    return {
        "constant": ["GET /v1/benchmark/constant"],
        "with key": ["GET /v1/benchmark/constant-with-key"],
        "bare query": [f"GET /v1/benchmark/bare-query/{run.id}" for run in runs],
        "steps": [f"GET /v1/threads/{run.thread_id}/runs/{run.id}/steps" for run in runs],
    }


def _keep_page(file: Path, url: str) -> None:
    """Keep what the constant routes are to answer: a real page."""
    headers = dict(header.split(": ") for header in HEADERS)
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        page: bytes = answer.read()
    assert page.count(b'"thread.run.step"') == 20, page
    file.write_bytes(page)


def _rows(sizes: list[int], results: dict[tuple[int, str], list[Result]]) -> Iterator[Row]:
    for size in sizes:
        yield _row(f"list 20 run steps of {size:,} stored, requests/s", size, results, "")
    if (sizes[-1], "steps of many") in results:
        yield _row(f"the same of {sizes[-1]:,}, {MANY:,} runs in turn", sizes[-1], results, " of many")
    if len(sizes) > 1:
        first, last = (_share(results[size, "steps"], results[size, "constant"]) for size in (sizes[0], sizes[-1]))
        yield Row(
            f"the share of constant bytes at {sizes[-1]:,} stored, over that at {sizes[0]:,}",
            f"{last / first:.2f}",
            budget=f"flat: at least {FLAT:g}",
            met=last / first >= FLAT,
        )


def _row(what: str, size: int, results: dict[tuple[int, str], list[Result]], of: str) -> Row:
    constant, with_key, bare, steps = (
        results[size, kind + of] for kind in ("constant", "with key", "bare query", "steps")
    )
    share = _share(steps, constant)
    return Row(
        what,
        f"{_cost(steps)}: {share:.0%} of constant bytes",
        f"constant bytes {_cost(constant)}; with a key {_cost(with_key)}: {_share(with_key, constant):.0%}; "
        f"with a key and the bare query {_cost(bare)}: {_share(bare, constant):.0%}",
        f"at least {FLOOR:.0%}",
        share >= FLOOR,
    )


def _share(results: list[Result], whole: list[Result]) -> float:
    """Of the requests a second: the middle one of each repetition's own."""
    return median(one.rate / other.rate for one, other in zip(results, whole, strict=True))


def _cost(results: list[Result]) -> str:
    return f"{median(result.rate for result in results):,.0f}, {_cpu(results):.0f} µs of CPU each"


def _cpu(results: list[Result]) -> float:
    """Microseconds of the server's CPU a request."""
    return median(result.cpu[0] / result.requests * 1e6 for result in results)


if __name__ == "__main__":
    main()
