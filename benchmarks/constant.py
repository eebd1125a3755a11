"""Everloom with two routes more, which answer a ready page without looking anything up.

They go through the same HTTP server, the same application and the same rendering as every other route, so what they
cost is what a request costs at least. ``BENCHMARK_PAGE`` names the file whose bytes they answer.
"""

import os
from functools import cache
from pathlib import Path

from everloom.api.http import route
from everloom.cli import main


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


if __name__ == "__main__":
    main()
