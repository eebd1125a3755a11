"""Rate limits of projects as they are shown and set: a row for each model that a project may see."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from everloom.objects.rules import Limits

PREFIX = "rl-"
"""What the id of a rate limit has before the model's name."""

MAX_LIMITED = 1000
"""Models for which one project may have limits of its own."""


class ProjectRateLimit(Struct, kw_only=True):
    """What a project may ask of a model (ProjectRateLimit). What the model does not do at all is left out."""

    object: Literal["project.rate_limit"] = "project.rate_limit"
    id: str
    model: str
    max_requests_per_1_minute: int
    max_tokens_per_1_minute: int
    max_images_per_1_minute: int | UnsetType = UNSET
    max_audio_megabytes_per_1_minute: int | UnsetType = UNSET
    max_requests_per_1_day: int
    batch_1_day_max_input_tokens: int | UnsetType = UNSET


class ProjectRateLimitList(Struct, kw_only=True):
    """ProjectRateLimitListResponse."""

    object: Literal["list"] = "list"
    data: list[ProjectRateLimit]
    first_id: str | None
    last_id: str | None
    has_more: bool


class RateLimitChanges(Limits, kw_only=True, forbid_unknown_fields=True):
    """ProjectRateLimitUpdateRequest: what is left out stays."""
