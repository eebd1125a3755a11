"""Both adapters of the store's port, opened for a test."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path

import pytest

from everloom.store.base import Database
from everloom.store.postgres import PostgresDatabase
from everloom.store.sqlite import SqliteDatabase
from tests.postgres import fresh_database

ADAPTERS = ("sqlite", "postgresql")

every_adapter = pytest.mark.parametrize("adapter", ADAPTERS)


def address(adapter: str, folder: Path) -> str:
    """A new empty database: a file's path or a URL."""
    return fresh_database() if adapter == "postgresql" else str(folder / "data" / "everloom.db")


def database_at(address: str) -> Database:
    """The database, not yet open."""
    return PostgresDatabase(address) if "://" in address else SqliteDatabase(Path(address))


async def opened(address: str, check: Callable[[Database], Awaitable[None]]) -> None:
    """Run ``check`` on the open database."""
    database = database_at(address)
    await database.open()
    try:
        await check(database)
    finally:
        await database.close()


def on_every_database(check: Callable[[Database], Awaitable[None]]) -> Callable[[str, Path], None]:
    """Make a test of a coroutine that takes an open database: once an adapter, each time on an empty one."""

    @every_adapter
    @wraps(check)
    def test(adapter: str, tmp_path: Path) -> None:
        asyncio.run(opened(address(adapter, tmp_path), check))

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for the coroutine's parameters
    return test
