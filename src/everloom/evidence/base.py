"""The ports of evidence: who signs, what remembers, and where events are sent.

Adapters: ``keys.py``, ``witness.py``; sinks: ``syslog.py`` and ``webhook.py``.
"""

import secrets
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct, field

from everloom.objects.audit import AuditHead, Checkpoint
from everloom.objects.base import JsonObject


class Signer(Protocol):
    """Signs checkpoints with one key, which is made where there is none yet. Blocking."""

    def sign(self, head: AuditHead, at: int) -> Checkpoint:
        """That the chain ended so at this Unix second. Errors: ``OSError``, ``ValueError`` for a key that is none."""
        ...

    def has_signed(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is this key's."""
        ...

    def has_signed_before(self) -> bool | None:
        """Whether a checkpoint of the key has ever been kept; None where nobody knows."""
        ...

    def has_begun(self) -> None:
        """A checkpoint of it is kept, and the witness has it."""
        ...


class Witness(Protocol):
    """Remembers checkpoints where the database's owner need not reach: what was appended is never taken back.

    Blocking. Errors: ``OSError``.
    """

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Remember those that are not remembered yet. Durable when it returns."""
        ...

    def last(self) -> Checkpoint | None:
        """The one that was remembered last."""
        ...

    def all(self) -> list[Checkpoint]:
        """Everything that is remembered."""
        ...

    def illegible(self) -> dict[int, bytes]:
        """What stands there and is no checkpoint, by the number of its line."""
        ...

    def begin(self) -> None:
        """Put what is remembered aside, under another name, and remember nothing."""
        ...


class SinkAway(Exception):
    """A sink did not take what it was sent, or nobody knows whether it did: the same has to be sent again.

    Sinks say what they like, so of a text no more is kept than a line has room for.
    """

    def __init__(self, text: str) -> None:
        shown = "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_TEXT])
        super().__init__(shown if len(text) <= LONGEST_TEXT else f"{shown}…")


LONGEST_TEXT = 300


class Sink(Protocol):
    """Where events are sent besides."""

    name: str
    """What it is known by in the database; another address is another sink."""

    async def send(self, events: Sequence[JsonObject]) -> None:
        """Hand events over, in order. Errors: ``SinkAway``."""
        ...

    async def close(self) -> None: ...


def summary(event: JsonObject, size: int) -> JsonObject:
    """What is sent in place of an event that a sink has no room for: which it is, and where it stands in the chain."""
    type = event["type"]
    kept = {name: event[name] for name in ("id", "type", "effective_at", "chain") if name in event}
    details = event.get(type, {})
    return kept | {type: {"id": details["id"]} if "id" in details else {}, "too_large": {"bytes": size}}


def _new_holder() -> str:
    return secrets.token_hex(8)


class Evidence(Struct, frozen=True, kw_only=True):
    """That of one process."""

    signer: Signer
    witness: Witness
    sink: Sink | None = None
    holder: str = field(default_factory=_new_holder)
    """What this process is known by to the others, as the one that sends to the sink."""
