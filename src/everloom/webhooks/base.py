"""The courier's port: it takes events to the URLs that projects have named, which may lead anywhere. Adapter:
``http.py``.
"""

from collections.abc import Mapping
from typing import Protocol


class Undelivered(Exception):
    """An endpoint has not answered. Why is told to whoever has named the URL, and tells nothing of other servers."""


class Courier(Protocol):
    def problem(self, url: str) -> str | None:
        """What is wrong with a URL that events are to be sent to, as far as that shows before its name is looked up."""
        ...

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send a body, and say with which status it was answered. Errors: ``Undelivered``.

        Takes a quarter of a minute at most. Where the name leads is looked at when it is connected to, so that no name
        leads to this machine or its neighbours; a redirect is an answer as any other.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class NoCourier:
    """The ``Courier`` of a process that sends nothing."""

    def problem(self, url: str) -> str | None:
        """See ``Courier.problem``."""
        return "this server sends no webhooks"

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """See ``Courier.post``."""
        raise Undelivered("this server sends no webhooks")

    async def close(self) -> None:
        """See ``Courier.close``."""
