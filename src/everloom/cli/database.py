"""Commands that need nothing but the database: keys and migrations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from everloom.cli import CommandError
from everloom.config import Settings
from everloom.kit import log
from everloom.store.base import Database


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database of the settings, its schema up to date; a ``CommandError`` where it cannot be opened."""
    from everloom.app import build

    log.setup("warning", settings.log_format)
    try:
        database = build(settings).ports.database
        await database.open()
    except Exception as error:
        raise CommandError(log.mask(f"cannot open the database: {str(error) or type(error).__name__}")) from error
    try:
        yield database
    finally:
        await database.close()


async def create(settings: Settings, project: str | None, *, admin: bool) -> str:
    """A new key's secret."""
    from everloom.work.organization import establishing

    async with opened(settings) as database:
        if admin:
            secret, _ = await establishing.create_admin_key(database)
        else:
            secret, _ = await establishing.create_key(database, project=project)
    return secret


async def bring_up_to_date(settings: Settings) -> str:
    """Migrate; what to say about it."""
    async with opened(settings):
        return "The database's schema is up to date."
