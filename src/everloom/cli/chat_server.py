"""Which server ``everloom chat`` speaks to: one that is named, the one that runs on this machine, or one of its own."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from everloom.cli.client import CONNECT_SECONDS, own_url
from everloom.cli.own_server import OwnServer
from everloom.cli.telling import organization
from everloom.config import Settings, official_variables
from everloom.objects.keys import Key, NewOperatorKey
from everloom.work.organization.establishing import DEFAULT_PROJECT
from everloom.work.organization.keys import delete_project_key
from everloom.work.organization.new_keys import secret_hash
from everloom.work.organization.operator_keys import create_project_key

KEY_NAME = "everloom chat"


@contextmanager
def server_to_ask(
    settings: Settings, url: str | None, key: str | None, data: Path | None, config: Path | None
) -> Iterator[tuple[str | None, str | None]]:
    """Base URL and key for ``project_client``. Where none is named and none runs at the address of the settings, one is
    started on their data, with a key of the default project, and both end with the context. Errors: ``CommandError``.
    """
    named = url or (official_variables()[0] if not (key or settings.api_key) else "")
    if named or _somebody_listens(settings):
        yield url, key
        return
    _fetch_weights(settings)
    flags = [part for flag, path in (("--data", data), ("--config", config)) if path for part in (flag, str(path))]
    with TemporaryDirectory(prefix="everloom-chat-") as folder:
        server = OwnServer(flags, None, log=Path(folder) / "server.log")
        try:
            base = server.start()
            for line in server.said:  # Of the first start: keys that are shown this once.
                if not line.startswith(("everloom:", "Base URL:")):
                    print(line, file=sys.stderr)
            with _some_key(settings, key) as secret:
                yield base, secret
        finally:
            server.stop()


def _somebody_listens(settings: Settings) -> bool:
    address = urlsplit(own_url(settings))
    try:
        socket.create_connection((address.hostname, settings.port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _fetch_weights(settings: Settings) -> None:
    from everloom.app.pulled import missing, unneeded
    from everloom.cli.weights import fetch

    if settings.fetch_weights and not unneeded(settings) and missing(settings):
        fetch(settings.weights)


@contextmanager
def _some_key(settings: Settings, key: str | None) -> Iterator[str]:
    """The key that was named, or one that is there as long as the context."""
    if given := key or settings.api_key:
        yield given
        return
    secret = asyncio.run(_make_key(settings))
    try:
        yield secret
    finally:
        asyncio.run(_delete_key(settings, secret))


async def _make_key(settings: Settings) -> str:
    async with organization(settings) as ctx:
        return await create_project_key(ctx, DEFAULT_PROJECT, NewOperatorKey(name=KEY_NAME))


async def _delete_key(settings: Settings, secret: str) -> None:
    async with organization(settings) as ctx:
        for key in await ctx.store.all(Key, secret_hash=secret_hash(secret)):
            await delete_project_key(ctx, DEFAULT_PROJECT, key.id)
