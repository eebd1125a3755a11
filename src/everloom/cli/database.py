"""The database as commands open it, and the command that needs nothing else: migrations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from everloom.cli import CommandError
from everloom.config import Settings
from everloom.context import Ports
from everloom.kit import log
from everloom.store.base import Database


@asynccontextmanager
async def opened_ports(settings: Settings) -> AsyncIterator[Ports]:
    """The ports of the settings, of which the database alone is open, its schema up to date.

    A ``CommandError`` where it cannot be opened.
    """
    from everloom.app import build

    log.setup("warning", settings.log_format)
    try:
        ports = build(settings).ports
        await ports.database.open()
    except Exception as error:
        raise CommandError(log.mask(f"cannot open the database: {str(error) or type(error).__name__}")) from error
    try:
        yield ports
    finally:
        await ports.database.close()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database of the settings, as ``opened_ports`` has it."""
    async with opened_ports(settings) as ports:
        yield ports.database


async def bring_up_to_date(settings: Settings) -> str:
    """Migrate; what to say about it."""
    async with opened(settings):
        return "The database's schema is up to date."
