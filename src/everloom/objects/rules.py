"""The rules of projects and of the organization: how much may be asked of which models, and what it may cost."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from everloom.objects.base import Object
from everloom.objects.model_names import WILDCARDS, fits, plain_name

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
    """By model, in plain spelling (``model_names``) since there is one; only what was set by hand."""
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
    """The first ceiling whose pattern fits a model's name, however that is spelled; for a pattern, that ceiling."""
    if WILDCARDS.search(model) and (own := next((each for each in ceilings if each.model == model), None)):
        return own
    return next((each for each in ceilings if fits(model, each.model)), None)


def limits_of(ceilings: Sequence[Ceiling], rules: Rules, model: str) -> Limits:
    """What a project with these rules may ask of a model: every limit a number, ``UNLIMITED`` where there is none.

    ``model`` is a name in any spelling, or the pattern of a ceiling. What was set by hand holds, but never beyond the
    ceiling.
    """
    own, ceiling = own_limits(rules, model), ceiling_of(ceilings, model)
    return Limits(**{name: _least(getattr(own, name, None), getattr(ceiling, name, None)) for name in LIMITS})


def own_limits(rules: Rules, model: str) -> Limits | None:
    """What was set by hand for a model, under whatever spellings of its name: of several numbers the least."""
    plain = plain_name(model)
    found = [limits for name, limits in rules.rate_limits.items() if plain_name(name) == plain]
    if len(found) < 2:
        return found[0] if found else None
    numbers = {name: [number for each in found if (number := getattr(each, name)) is not None] for name in LIMITS}
    return Limits(**{name: min(given) for name, given in numbers.items() if given})


def shared_limits(ceilings: Sequence[Ceiling], rules: Rules, model: str) -> str | None:
    """The pattern under whose limits a model comes with all others of which nobody knows whether they are models; None
    where it is named: by a limit of the project's or by a ceiling, or where nothing limits it.
    """
    ceiling = ceiling_of(ceilings, model)
    if ceiling is None or not WILDCARDS.search(ceiling.model) or own_limits(rules, model) is not None:
        return None
    return ceiling.model


def _least(*numbers: int | None) -> int:
    return min((number for number in numbers if number is not None), default=UNLIMITED)
