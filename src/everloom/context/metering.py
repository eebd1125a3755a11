"""What requests to models cost: a record each, told to Prometheus and the ledger once the request has ended."""

import copy
from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct, field
from prometheus_client import Counter

from everloom.context.admission import Ticket
from everloom.context.caller import Caller
from everloom.kit.clock import now
from everloom.models.base import Capability
from everloom.models.fair_queue import Slot
from everloom.models.usage import MOST_BELIEVED, TokenDetails, details_of, usage_of
from everloom.objects.ledger import new_entry_id
from everloom.objects.tools import Usage

_REQUESTS = Counter("everloom_model_requests", "Requests to models", ["model", "outcome"])
_TOKENS = Counter("everloom_model_tokens", "Tokens read (prompt) and written (completion)", ["direction", "model"])
_IMAGES = Counter("everloom_model_images", "Images made", ["model"])
_CHARACTERS = Counter("everloom_model_characters", "Characters spoken", ["model"])
_HEARD = Counter("everloom_model_audio_seconds", "Seconds of audio transcribed or translated", ["model"])

_MODELS_COUNTED = 200
"""An upstream may serve any name that a caller makes up: behind so many the metrics say ``other``."""

_LONGEST_COUNTED = 128

Outcome = Literal["completed", "closed", "refused", "failed"]
"""``closed``: by the caller, before the end."""


class UsageRecord(Struct, kw_only=True):
    """One request to a model: who asked for what, how it came out and what it cost, each where it applies.

    ``model`` is the one that really answered. Numbers in answers are read, never made up; where a server tells no
    tokens, ``usage`` is an ``EstimatedUsage``.
    """

    caller: Caller
    capability: Capability
    model: str
    outcome: Outcome = "closed"
    usage: Usage | None = None
    details: TokenDetails | None = None
    characters: int | None = None
    images: int | None = None
    audio_seconds: float | None = None
    size: str = ""
    source: str = ""
    """Of images: how large they were asked to be, and ``image.generation``, ``image.edit`` or ``image.variation``."""
    ended_at: int = 0
    """Unix seconds; 0 until it is recorded."""
    entry_id: int = field(default_factory=new_entry_id)
    """Of its row in the ledger, however often that is entered."""
    ticket: Ticket | None = None
    """What was reserved for it; released when its row stands in the ledger."""
    presence: Slot | None = None
    """Of a live request: that it is among those which its model is asked."""

    def believe(self, told: Any) -> None:
        """Take what a server tells of its usage, in whatever form."""
        self.usage, self.details = usage_of(told), details_of(told)

    def believe_reserved(self) -> None:
        """Its caller has left, and nobody tells what its model has done by then: it has used what was reserved, where
        no more is known.
        """
        if self.ticket is None:
            return
        need = self.ticket.need
        self.usage = self.usage or self.ticket.reserved_usage()
        self.images = max(self.images or 0, need.images) or None
        self.characters = self.characters or need.characters or None
        if need.milliseconds and self.audio_seconds is None:
            self.audio_seconds = need.milliseconds / 1000


def lost_attempt(caller: Caller, capability: Capability, model: str, ticket: Ticket) -> UsageRecord:
    """Of an attempt that nobody tells the cost of: it may have used what was reserved for the whole request."""
    record = UsageRecord(caller=caller, capability=capability, model=model, outcome="failed", ticket=ticket)
    record.believe_reserved()
    record.ticket = None  # Which is the request's, not one attempt's.
    return record


class Meter:
    """Takes every record of a process, each once. ``on_record`` hears of it behind the metrics: the ledger."""

    def __init__(self) -> None:
        self.on_record: Callable[[UsageRecord], None] = lambda record: None
        self._models: set[str] = set()
        self._counters: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        """By their labels: to look them up here costs a fifth of what it costs there."""

    def record(self, record: UsageRecord) -> None:
        """Count a request that has ended."""
        record.ended_at = now()
        if record.presence is not None:
            record.presence.free()
        model = self._label(record.model, served=record.outcome in ("completed", "closed"))
        self._count(_REQUESTS, 1, model, record.outcome)
        if (usage := record.usage) is not None:
            self._count(_TOKENS, _believed(usage.prompt_tokens), "prompt", model)
            self._count(_TOKENS, _believed(usage.completion_tokens), "completion", model)
        if record.characters is not None:
            self._count(_CHARACTERS, record.characters, model)
        if record.images is not None:
            self._count(_IMAGES, record.images, model)
        if record.audio_seconds is not None:
            self._count(_HEARD, record.audio_seconds, model)
        self.on_record(record)

    def aside(self, keep: Callable[[UsageRecord], None]) -> "Meter":
        """One that counts with this one, and whose records ``keep`` takes in place of the ledger: whoever keeps what
        came of a request enters what it cost in the same write.
        """
        other = copy.copy(self)
        other.on_record = keep
        return other

    def _count(self, counter: Counter, amount: float, *labels: str) -> None:
        key = (counter, labels)
        if (child := self._counters.get(key)) is None:
            child = self._counters[key] = counter.labels(*labels)
        child.inc(amount)

    def _label(self, model: str, *, served: bool) -> str:
        """The model's label. A name that nobody has answered for yet is none: it may be a caller's invention."""
        if model in self._models:
            return model
        if served and len(self._models) < _MODELS_COUNTED and len(model) <= _LONGEST_COUNTED:
            self._models.add(model)
            return model
        return "other"


def _believed(number: int) -> int:
    """A server's own number, as far as a counter can take it."""
    return min(max(number, 0), MOST_BELIEVED)
