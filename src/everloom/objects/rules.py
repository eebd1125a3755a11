"""The rules of projects and of the organization: how much may be asked of which models, and what it may cost."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta, Struct

from everloom.objects.base import Object

UNLIMITED = 1_000_000_000
"""Shown as the limit of what nobody has limited; so much, or more, means: not limited."""

HIGHEST = 1_000_000_000_000
"""The highest limit that can be set: the platform's largest are tokens of batches, some ten thousand millions."""

Limit = Annotated[int, Meta(ge=0, le=HIGHEST)]
"""0: nothing at all."""


class Limits(Struct, kw_only=True):
    """What may be asked of one model; None: not set here."""

    max_requests_per_1_minute: Limit | None = None
    max_tokens_per_1_minute: Limit | None = None
    max_images_per_1_minute: Limit | None = None
    max_audio_megabytes_per_1_minute: Limit | None = None
    max_requests_per_1_day: Limit | None = None
    batch_1_day_max_input_tokens: Limit | None = None


LIMITS = Limits.__struct_fields__
"""Their names."""


class Ceiling(Limits, kw_only=True, forbid_unknown_fields=True):
    """A ``[[limits]]`` table of the settings: what every project may at the most, and does by default, ask of the
    models whose name fits ``model``, a pattern as in ``fnmatch``.
    """

    model: str


class ModelPermissions(Struct, kw_only=True):
    """Which models a project may use: those that are named, or all but those."""

    mode: Literal["allow_list", "deny_list"]
    model_ids: list[str]


class Rules(Object, kw_only=True):
    """What holds for one project (``id`` is the project's), or for the organization (``ORGANIZATION``): one row, read
    at once.
    """

    rate_limits: dict[str, Limits] = {}
    """By model; only what was set by hand."""
    spend_limit: int | None = None
    """US cents a calendar month, UTC's."""
    models: ModelPermissions | None = None


class NotificationChannel(Struct, kw_only=True):
    """Who is told that an alert's amount has been reached (SpendAlertNotificationChannel)."""

    type: Literal["email"] = "email"
    recipients: list[str]
    subject_prefix: str | None = None


class SpendAlert(Object, kw_only=True):
    """An amount of US cents; whoever is named hears when as much has been spent in a calendar month, UTC's.

    ``project_id`` is empty for the organization's.
    """

    project_id: str
    threshold_amount: int
    interval: Literal["month"] = "month"
    currency: Literal["USD"] = "USD"
    notification_channel: NotificationChannel


def ceiling_of(ceilings: Sequence[Ceiling], model: str) -> Ceiling | None:
    """The first ceiling whose pattern fits a model's name."""
    return next((each for each in ceilings if fnmatchcase(model, each.model)), None)


def limits_of(ceilings: Sequence[Ceiling], rules: Rules, model: str) -> Limits:
    """What a project with these rules may ask of a model: every limit a number, ``UNLIMITED`` where there is none.

    ``model`` is the name that ``Models.limited_as`` gives. What was set by hand holds, but never beyond the ceiling.
    """
    own, ceiling = rules.rate_limits.get(model), ceiling_of(ceilings, model)
    return Limits(**{name: _least(getattr(own, name, None), getattr(ceiling, name, None)) for name in LIMITS})


def _least(*numbers: int | None) -> int:
    return min((number for number in numbers if number is not None), default=UNLIMITED)
