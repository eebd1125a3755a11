"""Usage by day and model of a month, and by hour, from ledgers of several sizes on both databases.

``python -m benchmarks.usage --rows 1000000,10000000``: rows entered for a month, of 50 projects with 4 keys each and 10
models, so that every hour has all of them. They are written by the databases themselves, then rolled up as the server
does it, and asked for as the endpoints do. What is shown is the median of ``--repetitions`` queries.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from everloom.objects.ledger import DAY, DIMENSIONS, HOUR, MEASURES, LedgerQuery
from everloom.objects.usage import CompletionsUsage
from everloom.store.postgres import PostgresDatabase
from everloom.store.sql import Statement
from everloom.store.sqlite import SqliteDatabase

START = 1_738_368_000
MONTH = 30 * DAY
PIECE = 250_000
"""Rows in one transaction."""

Databases = SqliteDatabase | PostgresDatabase

QUERIES: dict[str, dict[str, Any]] = {
    "a month by day and model": {"group_by": ("model",)},
    "a month by day, project and model": {"group_by": ("project", "model")},
    "a month by day and model of 5 projects": {
        "group_by": ("model",),
        "where": {"project": [f"proj_{number}" for number in range(5)]},
    },
    "a month from 10:17:36 on": {"start": START + 37_056, "end": START + 29 * DAY + 54_321, "group_by": ("model",)},
    "a week by hour and model": {"end": START + 7 * DAY, "width": HOUR, "group_by": ("model",)},
    "a day by minute": {"start": START + 9 * DAY, "end": START + 10 * DAY, "width": 60},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="100000,1000000", help="rows entered, sizes in turn")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--folder", default=None, help="where SQLite's files are made; by default the system's")
    chosen = parser.parse_args()
    print(f"{'database':12}{'rows':>12}  {'what':44}{'ms':>10}")
    for name in chosen.databases.split(","):
        for rows in map(int, chosen.rows.split(",")):
            with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
                asyncio.run(_measure(name, Path(folder), rows, chosen.repetitions))


async def _measure(name: str, folder: Path, rows: int, repetitions: int) -> None:
    def show(what: str, milliseconds: float) -> None:
        print(f"{name:12}{rows:>12,}  {what:44}{milliseconds:>10.1f}", flush=True)

    database = _database(name, folder)
    await database.open()
    try:
        await _fill(database, name, rows, show)
        usual = {"start": START, "end": START + MONTH, "width": DAY, "kinds": CompletionsUsage.kinds}
        for what, asked in QUERIES.items():
            query = LedgerQuery(**usual | {"measures": tuple(CompletionsUsage.sums.values())} | asked)
            taken = []
            for _ in range(repetitions):
                began = time.perf_counter()
                await database.ledger.total(query)
                taken.append((time.perf_counter() - began) * 1000)
            show(what, statistics.median(taken))
    finally:
        await database.close()


def _database(name: str, folder: Path) -> Databases:
    if name == "sqlite":
        return SqliteDatabase(folder / "everloom.db", synchronous="NORMAL")
    from tests.postgres import fresh_database

    return PostgresDatabase(fresh_database())


async def _fill(database: Databases, name: str, rows: int, show: Callable[[str, float], None]) -> None:
    began = time.perf_counter()
    for first in range(0, rows, PIECE):
        await write(database, ledger_rows(name, first, min(first + PIECE, rows), rows))
    show("entering them, all together", (time.perf_counter() - began) * 1000)
    transactions = []
    while True:
        began = time.perf_counter()
        if not await database.ledger.roll(START + MONTH):
            break
        transactions.append((time.perf_counter() - began) * 1000)
    show("rolling them up, all together", sum(transactions))
    show("rolling up, the median transaction", statistics.median(transactions))
    if name == "postgresql":
        await write(database, "ANALYZE")


async def write(database: Databases, text: str) -> None:
    def procedure() -> Any:
        yield Statement(text, (), True)

    if isinstance(database, SqliteDatabase):
        await database.write(procedure)
    else:
        async with database._connection() as connection:
            await connection.execute(text, timeout=600)


def ledger_rows(name: str, first: int, end: int, rows: int, start: int = START) -> str:
    """An INSERT of the rows from ``first`` to before ``end`` of all ``rows``, in the order of their time, which is the
    month behind ``start``.
    """
    numbers = f"generate_series({first}::bigint, {end - 1}) AS numbers(n)"
    if name == "sqlite":
        numbers = (
            f"(WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {end - 1})"
            " SELECT n FROM numbers) AS numbers"
        )
    key = "(n * 7919 % 200)"
    texts = {
        "kind": "'chat'",
        "project": f"'proj_' || {key} / 4",
        "key_id": f"'key_' || {key}",
        "user_id": "''",
        "model": "'model-' || (n / 200 % 10)",
        "batch": "0",
        "estimated": "0",
        "size": "''",
        "source": "''",
    }
    measures = {"requests": "1", "input_tokens": "n % 1000", "output_tokens": "n % 300"}
    values = [*(texts[column] for column in DIMENSIONS), *(measures.get(column, "0") for column in MEASURES)]
    columns = ", ".join(("at", "id", *DIMENSIONS, *MEASURES))
    at = f"{start} + CAST(n AS BIGINT) * {MONTH} / {rows}"
    return f"INSERT INTO ledger ({columns}, rolled) SELECT {at}, n, {', '.join(values)}, 0 FROM {numbers}"


if __name__ == "__main__":
    main()
