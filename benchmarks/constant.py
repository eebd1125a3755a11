"""Everloom with three routes more, which show what a list costs at least.

They go through the same HTTP server, the same application and the same rendering as every other route. Two answer a
ready page without looking anything up, the third adds the least that a database can be asked: the list's one query,
on a bare connection. ``BENCHMARK_PAGE`` names the file whose bytes are answered, ``BENCHMARK_DATABASE`` the database.
"""

import os
import sqlite3
from functools import cache
from pathlib import Path

from everloom.api.http.routes import route
from everloom.cli import main
from everloom.objects.steps import RunStep
from everloom.store import sql
from everloom.store.kinds import KINDS
from everloom.work.keys import DEFAULT_PROJECT


@cache
def _page() -> bytes:
    return Path(os.environ["BENCHMARK_PAGE"]).read_bytes()


@route("GET", "/benchmark/constant", access="open")
async def constant() -> bytes:
    """The page, to anyone."""
    return _page()


@route("GET", "/benchmark/constant-with-key")
async def constant_with_key() -> bytes:
    """The page, to who has a key."""
    return _page()


@route("GET", "/benchmark/bare-query/{run_id}")
async def bare_query(run_id: str) -> bytes:
    """The bodies of a run's newest steps, with commas between them."""
    rows = _connection().execute(_QUERY, (DEFAULT_PROJECT, run_id, 21)).fetchall()
    return b",".join([body for (body,) in rows[:20]])


_QUERY = sql.page("sqlite", KINDS[RunStep], "body", ("run_id = ?",), "desc", False, False)


@cache
def _connection() -> sqlite3.Connection:
    connection = sqlite3.connect(os.environ["BENCHMARK_DATABASE"], isolation_level=None)
    connection.execute("PRAGMA cache_size = -16000")
    return connection


if __name__ == "__main__":
    main()
