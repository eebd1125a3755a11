"""The database as commands open it, and the command that needs nothing else: migrations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from everloom.cli import CommandError
from everloom.config import Settings
from everloom.context import Ports
from everloom.kit import log
from everloom.kit.errors import Unavailable

_CONNECT_SECONDS = 10.0


async def must_stand(settings: Settings) -> None:
    """A ``CommandError`` where no server and no 'migrate' has made a database yet: a folder or an address that was
    mistyped would be filled with a new one, and nobody would ask it for anything.
    """
    try:
        stands = await _stands(settings)
    except Exception as error:
        raise cannot_open(settings, error) from error
    if not stands:
        named = "--data, EVERLOOM_DATABASE" if settings.sqlite_file else "EVERLOOM_DATABASE"
        raise CommandError(
            f"nothing has been started on {settings.database_place}: no database is there. Is it the right one "
            f"({named})? A first 'everloom serve' makes one, and so does 'everloom migrate'"
        )


async def _stands(settings: Settings) -> bool:
    if (file := settings.sqlite_file) is not None:
        return file.exists()
    import asyncpg  # type: ignore[import-untyped]  # asyncpg ships no types

    connection = await asyncpg.connect(settings.database, timeout=_CONNECT_SECONDS)
    try:
        return bool(await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"))
    finally:
        await connection.close()


def cannot_open(settings: Settings, error: Exception) -> CommandError:
    """What to say of a database that was named and cannot be opened."""
    why = str(error) or type(error).__name__
    return CommandError(log.mask(f"cannot open the database {settings.database_place}: {why}"))


@asynccontextmanager
async def opened_ports(settings: Settings) -> AsyncIterator[Ports]:
    """The ports of the settings, of which the database alone is open, its schema up to date.

    A ``CommandError`` where there is none, or it cannot be opened, and where it is away (its disk full) meanwhile.
    """
    log.setup("warning", settings.log_format)
    await must_stand(settings)
    async with _opened(settings) as ports:
        try:
            yield ports
        except Unavailable as error:
            raise CommandError(log.mask(f"not done: {error} ({settings.database_place})")) from error


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Ports]:
    from everloom.app import build

    try:
        ports = build(settings).ports
        await ports.database.open()
    except Exception as error:
        raise cannot_open(settings, error) from error
    try:
        yield ports
    finally:
        await ports.database.close()


async def bring_up_to_date(settings: Settings) -> str:
    """Migrate, a database that is made for it too; what to say about it."""
    log.setup("warning", settings.log_format)
    async with _opened(settings):
        return f"The schema of {settings.database_place} is up to date."
