"""Webhooks: where a project is told of what happens in it (WebhookEndpoint of the SDK), and what is told."""

from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.objects.base import Object

WebhookEventType = Literal[
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "thread.run.completed",
    "thread.run.failed",
    "thread.run.requires_action",
    "thread.run.expired",
    "thread.run.cancelled",
    "thread.run.incomplete",
]
"""What this server tells of. Those of runs are ours: the platform has none."""

EVENT_TYPES: tuple[WebhookEventType, ...] = get_args(WebhookEventType)

MAX_ENDPOINTS = 20
"""Of a project."""

_NAME = Meta(min_length=1, max_length=256)
_URL = Meta(min_length=1, max_length=2048)
_TYPES = Meta(min_length=1, max_length=64)


class WebhookEndpoint(Object, kw_only=True):
    """Where a project's events are sent, and which of them. ``signing_secret_hint`` tells secrets apart."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    event_types: list[str]
    name: str
    signing_secret_hint: str | None = None
    url: str
    updated_at: int


class WebhookEndpointWithSecret(WebhookEndpoint, kw_only=True):
    """An endpoint as it is shown once: when it is made, and when its secret is rotated."""

    signing_secret: str


class OldSecret(Struct, kw_only=True):
    """A secret that signs beside the one that has replaced it, until a Unix second."""

    secret: str
    until: int


HOLD_SECONDS = 20.0
"""How long a line is held after its last write: longer than an endpoint may take. A killed process holds it so long."""

LONGEST_SILENCE = 60.0
"""Seconds between two tries at an endpoint that fails."""


class WebhookState(Object, kw_only=True):
    """What the server knows of an endpoint, whose id it has, and shows nobody. Times in Unix seconds.

    ``event_types`` are the endpoint's. ``holder`` is the process that delivers to it, until ``held_until`` unless it
    says so again; ``again`` tells it that more has come. ``failures`` are those since the last success, of which
    ``failing_since`` is the first; nothing is sent before ``paused_until``. A job is going to look by ``next_look``;
    one was started at ``called_at`` and has not looked yet.

    Whoever writes any of that holds the row's lock: so each delivery is seen by a look behind its write, though not
    each has a job of its own.
    """

    event_types: list[str]
    secret: str
    old_secrets: list[OldSecret] = []
    holder: str = ""
    held_until: float = 0.0
    again: bool = False
    failures: int = 0
    failing_since: float = 0.0
    paused_until: float = 0.0
    next_look: float = 0.0
    called_at: float = 0.0

    def is_held(self, at: float) -> bool:
        """Whether somebody is delivering. (A time further off was written before the clock was set back; so below.)"""
        return self.holder != "" and 0 < self.held_until - at <= HOLD_SECONDS

    def is_paused(self, at: float) -> bool:
        """Whether the endpoint has failed so lately that it is not asked."""
        return 0 < self.paused_until - at <= LONGEST_SILENCE

    def is_looked_at(self, at: float, by: float) -> bool:
        """Whether a job is going to look by a time."""
        return at < self.next_look <= by

    def is_called(self, at: float) -> bool:
        """Whether a job is about to look."""
        return 0 <= at - self.called_at < LONGEST_SILENCE


class WebhookDelivery(Object, kw_only=True):
    """An event on its way to an endpoint. ``body`` is the JSON that is sent and signed, the same at each try.

    Its id is the ``webhook-id`` of all of them, and its rank its place in the endpoint's line: when it is ``due_at``.
    """

    endpoint_id: str
    type: str
    body: str
    tries: int = 0
    due_at: float = 0.0


class WebhookEvent(Struct, kw_only=True):
    """An event as it is sent (WebhookBatchCompleted and its like). ``data`` has the id of what it tells of."""

    id: str
    object: Literal["event"] = "event"
    created_at: int
    type: str
    data: dict[str, Any]


class NewWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An endpoint to be."""

    event_types: Annotated[list[WebhookEventType], _TYPES]
    name: Annotated[str, _NAME]
    url: Annotated[str, _URL]


class WebhookEndpointChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be otherwise about an endpoint; what is left out stays."""

    event_types: Annotated[list[WebhookEventType], _TYPES] | UnsetType = UNSET
    name: Annotated[str, _NAME] | UnsetType = UNSET
    url: Annotated[str, _URL] | UnsetType = UNSET


class SecretRotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a secret is rotated: whether the one before signs for 24 hours more."""

    keep_old_secret_active_for_24_hours: bool = False


class WebhookTest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which event a sample is to be sent."""

    event_type: WebhookEventType


class WebhookTestResult(Struct, kw_only=True):
    """What an endpoint has answered to a sample, whatever that was (WebhookEndpointTestResult)."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_type: str
    status_code: int
    success: Literal[True] = True
    webhook_endpoint_id: str


class WebhookEventTypes(Struct, kw_only=True):
    """The types that an endpoint can have (WebhookEventTypeList)."""

    object: Literal["list"] = "list"
    data: tuple[str, ...] = EVENT_TYPES
