"""What a start says of what it stands on: what it cannot open, by name, place and setting; models that cannot work."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from everloom.config import Settings
from everloom.models.registry import Models
from everloom.models.unavailable import UnavailableBackend

_logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0


class CannotOpen(Exception):
    """Something that a server stands on is not there: the text names it, where it was looked for, and the setting."""


@contextlib.contextmanager
def opening_database(settings: Settings) -> Iterator[None]:
    """Have a database that does not answer, lets nobody in, or is none told with its place. Where there is no file,
    the system tells its name.
    """
    try:
        yield
    except Exception as error:
        if settings.sqlite_file is not None:
            stranger = isinstance(error, sqlite3.Error)
        else:
            stranger = isinstance(error, OSError | TimeoutError) or type(error).__module__.startswith("asyncpg")
        if not stranger:
            raise
        place = settings.database_place
        text = f"the database at {place} (EVERLOOM_DATABASE) cannot be opened: {str(error) or type(error).__name__}"
        raise CannotOpen(text) from error


def warn_of_models(settings: Settings, models: Models, unusable: Mapping[str, UnavailableBackend]) -> None:
    """Say which models of the settings cannot answer, rather than at their first request."""
    for name, backend in unusable.items():
        _logger.warning("the model %s cannot be used: %s", name, backend.reason)
    for pattern, target in settings.aliases:
        if not models.serves(target):
            _logger.warning("the alias %s leads to %s, which nobody serves", pattern, target)


async def warn_of_upstreams(settings: Settings) -> None:
    """Say which upstreams take no connection now. They are asked all the same, whenever a request comes."""
    asked = {settings.upstream: "EVERLOOM_UPSTREAM"} if settings.upstream else {}
    for entry in settings.models:
        if entry.backend == "upstream" and entry.base_url:
            asked.setdefault(entry.base_url, f"the [[models]] table of {entry.id}")
    await asyncio.gather(*(_warn_of_upstream(url, setting) for url, setting in asked.items()))


async def _warn_of_upstream(url: str, setting: str) -> None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
        writer.close()
    except (OSError, TimeoutError, UnicodeError) as error:
        problem = str(error) or f"no connection in {_CONNECT_SECONDS:g} seconds"
        _logger.warning("the upstream %s:%d (%s) does not answer: %s", parts.hostname, port, setting, problem)
