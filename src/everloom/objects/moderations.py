"""The noun of Moderations: what a model says of texts, and the categories it says it in."""

from typing import Literal

from msgspec import Struct, field

from everloom.kit.ids import new_id

InputType = Literal["text", "image"]

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "sexual",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm/intent",
    "self-harm/instructions",
    "self-harm",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""All of them, in the order in which the reference's example shows them."""

SEEN = frozenset({"sexual", "self-harm/intent", "self-harm/instructions", "self-harm", "violence", "violence/graphic"})
"""The categories that the reference lets images be judged by; the others are for text alone."""

FLAGGED_FROM = 0.5
"""The score from which on a category is flagged, by every model of this server's own."""


class ModerationResult(Struct, kw_only=True):
    """What is said of one input. Scores lie between 0 and 1."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[InputType]]


class Moderation(Struct, kw_only=True):
    """CreateModerationResponse. ``model`` is the one that really judged."""

    id: str = field(default_factory=lambda: new_id("modr-"))
    model: str
    results: list[ModerationResult]


def scored(scores: dict[str, float], kinds: frozenset[InputType] = frozenset({"text"})) -> ModerationResult:
    """A result from the scores of all categories, for an input of these kinds."""
    shown = {name: scores[name] for name in CATEGORIES}
    categories = {name: score >= FLAGGED_FROM for name, score in shown.items()}
    both: tuple[InputType, ...] = ("text", "image")
    applied = {
        name: [kind for kind in both if kind in kinds and (kind == "text" or name in SEEN)] for name in CATEGORIES
    }
    return ModerationResult(
        flagged=any(categories.values()),
        categories=categories,
        category_scores=shown,
        category_applied_input_types=applied,
    )
