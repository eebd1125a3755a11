"""Models that a server can be given out of its package index."""

from typing import Literal

from msgspec import Struct

PullStatus = Literal["available", "in_progress", "completed", "failed"]


class CatalogueEntry(Struct, frozen=True, kw_only=True):
    """A model of the catalogue on this server, an extension. ``does`` is what it is for; ``bytes`` what it takes of the
    disk, ``received_bytes`` how much of it has come.

    ``completed``: its files are here. ``usable``: what it needs besides is installed (``extra``).
    """

    object: Literal["organization.model"] = "organization.model"
    id: str
    does: str
    about: str
    licence: str
    extra: str | None
    usable: bool
    status: PullStatus
    bytes: int
    received_bytes: int
    error: str | None


class CatalogueList(Struct, frozen=True, kw_only=True):
    """All of it."""

    data: list[CatalogueEntry]
    object: Literal["list"] = "list"
