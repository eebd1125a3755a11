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


class Witness(Protocol):
    """Remembers checkpoints where the database's owner need not reach: what was appended is never taken back.

    Blocking. Errors: ``OSError``.
    """

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Remember those of rows behind the last that is remembered. Durable when it returns."""
        ...

    def last(self) -> Checkpoint | None:
        """The newest that is remembered."""
        ...


class SinkAway(Exception):
    """A sink did not take what it was sent, or nobody knows whether it did: the same has to be sent again."""


class Sink(Protocol):
    """Where events are sent besides."""

    name: str
    """What it is known by in the database; another address is another sink."""

    async def send(self, events: Sequence[JsonObject]) -> None:
        """Hand events over, in order. Errors: ``SinkAway``."""
        ...

    async def close(self) -> None: ...


def _new_holder() -> str:
    return secrets.token_hex(8)


class Evidence(Struct, frozen=True, kw_only=True):
    """That of one process."""

    signer: Signer
    witness: Witness
    sink: Sink | None = None
    holder: str = field(default_factory=_new_holder)
    """What this process is known by to the others, as the one that sends to the sink."""
