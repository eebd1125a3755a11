"""What somebody who looks after a server is told of it."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """``broken`` keeps the server from working with its settings; ``note`` is something that is off, or short, and
    keeps nothing else from working. ``remedy``: what puts it right, a command where there is one.
    """

    level: Literal["ok", "note", "broken"]
    text: str
    remedy: str = ""


class ShownFinding(Struct, frozen=True, kw_only=True):
    """A finding as the API shows it. ``subject`` is what it is about."""

    object: Literal["organization.finding"] = "organization.finding"
    level: Literal["ok", "note", "broken"]
    subject: str
    text: str
    remedy: str | None


class FindingList(Struct, frozen=True, kw_only=True):
    """All findings of one look, made at ``created_at``."""

    object: Literal["list"] = "list"
    created_at: int
    data: Sequence[ShownFinding]
