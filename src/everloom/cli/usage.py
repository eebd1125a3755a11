"""``everloom usage``: what a running server says was used, as a table or as it came."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp

from everloom.cli import CommandError
from everloom.config import Settings
from everloom.kit.clock import now

DAY = 86_400
SECONDS = 60

Json = dict[str, Any]


def run_usage(
    settings: Settings, kind: str, *, days: int, group_by: str, url: str | None, key: str | None, as_json: bool
) -> None:
    """Print the last ``days`` of a kind of usage, or of ``costs``. Errors: ``CommandError``, what the server said."""
    secret = key or settings.admin_key
    if not secret:
        raise CommandError("an admin key is needed: --key, or EVERLOOM_ADMIN_KEY ('everloom keys create --admin')")
    base = (url or f"http://{settings.host}:{settings.port}/v1").rstrip("/")
    path = f"{base}/organization/{'costs' if kind == 'costs' else f'usage/{kind}'}"
    query = {"start_time": str((now() // DAY - days + 1) * DAY), "limit": "31"}
    if group_by:
        query["group_by"] = group_by
    buckets = asyncio.run(_buckets(path, query, secret))
    if as_json:
        print(json.dumps(buckets, indent=2))
    else:
        _show(buckets, kind)


async def _buckets(path: str, query: Json, key: str) -> list[Json]:
    """Those of all pages."""
    found: list[Json] = []
    headers = {"authorization": f"Bearer {key}"}
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
    Console().print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | dict) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"${value['value']:.6f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
