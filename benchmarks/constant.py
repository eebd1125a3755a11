"""Everloom with three routes more, which show what a list costs at least.

They go through the same HTTP server, the same application and the same rendering as every other route. Two answer a
ready page without looking anything up, the third adds the least that a database can be asked: the list's one query,
on a bare connection. ``BENCHMARK_PAGE`` names the file whose bytes are answered, ``BENCHMARK_DATABASE`` the database.
"""

import argparse
import os
import sqlite3
import sys
from functools import cache
from pathlib import Path

from everloom.api.http.routes import Routes
from everloom.app import build
from everloom.app.http import ROUTES
from everloom.cli.serve import run_serve
from everloom.config import load
from everloom.objects.steps import RunStep
from everloom.store import sql
from everloom.store.kinds import KINDS
from everloom.work.organization.establishing import DEFAULT_PROJECT

routes = Routes(permission="threads")
unlocked = Routes(access="open")


@cache
def _page() -> bytes:
    return Path(os.environ["BENCHMARK_PAGE"]).read_bytes()


@unlocked.get("/benchmark/constant")
async def constant() -> bytes:
    """The page, to anyone."""
    return _page()


@routes.get("/benchmark/constant-with-key")
async def constant_with_key() -> bytes:
    """The page, to who has a key."""
    return _page()


@routes.get("/benchmark/bare-query/{run_id}")
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


def main() -> None:
    """``everloom serve``, with these routes too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    settings = load({"data": given.data, "port": given.port}, file=None)
    sys.exit(run_serve(settings, lambda settings: build(settings, (*ROUTES, *routes, *unlocked))))


if __name__ == "__main__":
    main()
