"""Rate limits of projects: shown for each model that a project may see, lowered and raised up to the organization's."""

from everloom.context import Context
from everloom.kit.errors import BadRequest, NotFound
from everloom.models.base import Capability
from everloom.models.registry import Models, UnknownModel
from everloom.objects.model_names import plain_name
from everloom.objects.rate_limits import MAX_LIMITED, PREFIX, ProjectRateLimit, RateLimitChanges
from everloom.objects.rules import LIMITS, Limits, Rules, ceiling_of, limits_of, own_limits
from everloom.requests.validation import invalid
from everloom.work.organization.audit import recorded
from everloom.work.organization.rules import change_rules, rules_of

_CONCERNS: dict[str, set[Capability]] = {
    "max_images_per_1_minute": {"draw"},
    "max_audio_megabytes_per_1_minute": {"transcribe"},
    "batch_1_day_max_input_tokens": {"chat", "complete", "embed", "moderate"},
}
"""The limits that only some models have: those that do one of these."""


async def list_rate_limits(ctx: Context, project_id: str) -> list[ProjectRateLimit]:
    """The rate limits of a project, by id. Errors: 400 where it is archived, 404."""
    rules = await rules_of(ctx, project_id)
    models = ctx.ports.models.seen_by(project_id, rules.models)
    shown = [_shown(ctx, models, rules, model.id) for model in await models.list()]
    return sorted(shown, key=lambda limit: limit.id)


async def update_rate_limit(
    ctx: Context, project_id: str, rate_limit_id: str, asked: RateLimitChanges
) -> ProjectRateLimit:
    """Set some of the limits that a project has for a model, and for whatever else leads to that model.

    Errors: 400 for what is beyond the organization's limits, and where the project is archived; 404 also for a model
    that the project may not see.
    """
    rules = await rules_of(ctx, project_id)
    models = ctx.ports.models.seen_by(project_id, rules.models)
    name = await _model(models, rate_limit_id)
    kept_as = models.limited_as(name)
    given = {limit: number for limit in LIMITS if (number := getattr(asked, limit)) is not None}
    ceiling = ceiling_of(ctx.ports.limits.ceilings, kept_as)
    for limit, number in given.items():
        if (most := getattr(ceiling, limit, None)) is not None and number > most:
            raise _beyond(limit, number, most)

    def edit(rules: Rules) -> None:
        limits = own_limits(rules, kept_as) or Limits()
        others = {other: limits for other, limits in rules.rate_limits.items() if plain_name(other) != kept_as}
        rules.rate_limits = others | {kept_as: limits}
        if len(rules.rate_limits) > MAX_LIMITED:
            raise BadRequest(f"A project has limits of its own for {MAX_LIMITED} models at the most.")
        for limit, number in given.items():
            setattr(limits, limit, number)

    if given:
        details = {"id": rate_limit_id, "changes_requested": given}
        told = recorded(ctx, "rate_limit.updated", details, project=project_id)
        rules = await change_rules(ctx, project_id, edit, told)
    return _shown(ctx, models, rules, name)


async def _model(models: Models, rate_limit_id: str) -> str:
    """The model that the id of a rate limit names. Errors: 404."""
    name = rate_limit_id.removeprefix(PREFIX)
    try:
        if name != rate_limit_id:
            return (await models.get(name)).id
    except UnknownModel:
        pass
    raise NotFound(f"No rate limit found with id '{rate_limit_id}'.")


def _beyond(limit: str, number: int, most: int) -> BadRequest:
    text = (
        f"integer above maximum value. Expected a value <= {most}, but got {number} instead. "
        "A project's limits may be raised up to the organization's."
    )
    return invalid(limit, text, "integer_above_max_value")


def _shown(ctx: Context, models: Models, rules: Rules, name: str) -> ProjectRateLimit:
    limits = limits_of(ctx.ports.limits.ceilings, rules, models.limited_as(name))
    backend, backend_model = models.resolve(name)
    does = set(backend.capabilities(backend_model))
    numbers = {limit: getattr(limits, limit) for limit in LIMITS if limit not in _CONCERNS or _CONCERNS[limit] & does}
    return ProjectRateLimit(id=PREFIX + name, model=name, **numbers)
