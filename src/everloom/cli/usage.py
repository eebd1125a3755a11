"""``everloom usage``: what was used, by this machine's database or a server elsewhere, as a table or in JSON."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp
from msgspec import to_builtins

from everloom.cli import CommandError
from everloom.cli.client import fit, own_url
from everloom.config import Settings
from everloom.kit.clock import now

DAY = 86_400
SECONDS = 60

Json = dict[str, Any]


def run_usage(
    settings: Settings, kind: str, *, days: int, group_by: str, url: str | None, key: str | None, as_json: bool
) -> None:
    """Print the last ``days`` of a kind of usage, or of ``costs``: as the database of the settings has it or, with a
    ``url`` or a ``key``, as a running server says. Errors: ``CommandError``, what was refused.
    """
    query = {"start_time": str((now() // DAY - days + 1) * DAY), "limit": "31"}
    if group_by:
        query["group_by"] = group_by
    path = f"/organization/{'costs' if kind == 'costs' else f'usage/{kind}'}"
    asking = _asked(settings, path, query, url, key) if url or key else _read(settings, path, query)
    buckets = asyncio.run(asking)
    if as_json:
        print(json.dumps(buckets, indent=2))
    else:
        _show(buckets, kind)


async def _read(settings: Settings, path: str, query: Json) -> list[Json]:
    """The buckets of all pages, by the database."""
    from everloom.api.admin.usage import routes
    from everloom.api.http.binding import decode_query
    from everloom.cli.telling import organization

    (route,) = [each for each in routes if each.path == path]
    assert route.query is not None
    found: list[Json] = []
    async with organization(settings) as ctx:
        while True:
            asked = decode_query(list(query.items()), route.query[1])
            page: Json = to_builtins(await route.handler(ctx=ctx, query=asked))
            found += page["data"]
            if page["next_page"] is None:
                return found
            query = {**query, "page": page["next_page"]}


async def _asked(settings: Settings, path: str, query: Json, url: str | None, key: str | None) -> list[Json]:
    """The buckets of all pages, by a server."""
    secret = key or settings.admin_key
    if not secret:
        raise CommandError(
            "a server is asked with an admin key: --key, or EVERLOOM_ADMIN_KEY ('everloom keys create --admin'); "
            "without --url the database of the settings is read"
        )
    base = (url or own_url(settings)).rstrip("/")
    return await _buckets(base + path, query, secret)


async def _buckets(path: str, query: Json, key: str) -> list[Json]:
    """Those of all pages."""
    found: list[Json] = []
    headers = {"authorization": f"Bearer {fit(key)}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(SECONDS)) as session:
        while True:
            page = await _page(session, path, query)
            found += page["data"]
            if page["next_page"] is None:
                return found
            query = {**query, "page": page["next_page"]}


async def _page(session: aiohttp.ClientSession, path: str, query: Json) -> Json:
    try:
        async with session.get(path, params=query) as answer:
            page: Json = await answer.json()
            if answer.status != 200:
                raise CommandError(page["error"]["message"])
    except (aiohttp.ClientError, ValueError, KeyError, TimeoutError) as error:
        raise CommandError(f"{path} cannot be asked: {error}") from error
    return page


def _show(buckets: list[Json], kind: str) -> None:
    from rich.console import Console
    from rich.table import Table

    rows = [(bucket, result) for bucket in buckets for result in bucket["results"]]
    if not rows:
        print(f"No {kind.replace('_', ' ')} in this time.")
        return
    shown = [name for name in rows[0][1] if name != "object" and any(row[name] is not None for _, row in rows)]
    table = Table()
    table.add_column("day (UTC)", no_wrap=True)
    for name in shown:
        side: Literal["left", "right"] = "right" if _is_number(rows[0][1][name]) else "left"
        table.add_column(name.replace("_", " "), justify=side, overflow="fold")  # Never a number without its end.
    for bucket, result in rows:
        day = datetime.fromtimestamp(bucket["start_time"], UTC).strftime("%Y-%m-%d")
        table.add_row(day, *(_text(result[name]) for name in shown))
    # Into a file or a pipe no line is broken: who reads it there looks for whole ids.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | dict) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"${value['value']:.6f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
