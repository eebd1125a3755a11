"""A real database and a real folder of blobs without a server around them, for tests of upkeep."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from everloom.blobs.obstore import ObjectBlobs
from everloom.context import Context, Ports
from everloom.context.known_rules import KnownRules
from everloom.objects.uploads import BlobDraft
from everloom.store.base import SYSTEM, Database
from everloom.store.sqlite import SqliteDatabase

Scenario = Callable[[Context, Path], Awaitable[None]]
"""Gets a project's view and the folder of the blobs."""


def run(scenario: Scenario, folder: Path) -> None:
    """Run it to its end."""

    async def main() -> None:
        database = SqliteDatabase(folder / "everloom.db", synchronous="NORMAL")
        await database.open()
        try:
            await scenario(Context.of(ports_of(database, folder / "blobs"), "proj_a"), folder / "blobs")
        finally:
            await database.close()

    asyncio.run(main())


def ports_of(database: Database, folder: Path) -> Ports:
    """Database and blobs; the other ports are not there, what a process holds by itself is."""
    others: dict[str, Any] = dict.fromkeys(field.name for field in msgspec.structs.fields(Ports) if field.required)
    rules = KnownRules(database.store(SYSTEM))
    return Ports(**others | {"database": database, "rules": rules, "blobs": ObjectBlobs.at(folder.as_uri())})


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    """Bytes as they are put."""
    for part in parts:
        yield part


async def drafts(ctx: Context) -> list[str]:
    """The blobs of a project that no object speaks of."""
    return [draft.id for draft in await ctx.store.all(BlobDraft)]


def names(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}
