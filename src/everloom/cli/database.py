"""Commands that need nothing but the database: keys and migrations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from everloom.cli import CommandError
from everloom.cli.operator import operator_origin
from everloom.config import Settings
from everloom.context import Ports
from everloom.kit import log
from everloom.objects.keys import Permissions
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


async def create(
    settings: Settings,
    project: str | None,
    *,
    admin: bool,
    name: str = "",
    read_only: bool = False,
    scopes: tuple[str, ...] = (),
) -> str:
    """A new key's secret."""
    from everloom.work.organization import establishing
    from everloom.work.organization.new_keys import check_scopes

    if fault := check_scopes(scopes):
        raise CommandError(fault.message)
    permissions: Permissions = "read_only" if read_only else "restricted" if scopes else "all"
    async with opened(settings) as database:
        if admin:
            secret, _ = await establishing.create_admin_key(database, name=name, origin=operator_origin())
        else:
            secret, _ = await establishing.create_key(
                database, project=project, name=name, permissions=permissions, scopes=scopes, origin=operator_origin()
            )
    return secret


async def bring_up_to_date(settings: Settings) -> str:
    """Migrate; what to say about it."""
    async with opened(settings):
        return "The database's schema is up to date."
