"""Spend limits: what a project, or the organization, may spend in a calendar month."""

from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.objects.rules import Rules
from everloom.objects.spending import NewSpendLimit, SpendLimit, SpendLimitEnforcement
from everloom.work.organization.rules import change_rules, rules_of, updated
from everloom.work.organization.spend import spent_cents


async def retrieve_spend_limit(ctx: Context, project_id: str | None) -> SpendLimit:
    """The limit of a project, or (None) of the organization. Errors: 404 also where there is none, 400 where the
    project is archived.
    """
    limit = (await rules_of(ctx, project_id)).spend_limit
    if limit is None:
        raise _none(project_id)
    return await _shown(ctx, project_id, limit)


async def set_spend_limit(ctx: Context, project_id: str | None, asked: NewSpendLimit) -> SpendLimit:
    """Set or replace a limit. Errors: 400 where the project is archived, 404."""

    def edit(rules: Rules) -> None:
        rules.spend_limit = asked.threshold_amount

    changes = {"spend_limit": {"threshold_amount": asked.threshold_amount}}
    await change_rules(ctx, project_id, edit, updated(ctx, project_id, changes))
    return await _shown(ctx, project_id, asked.threshold_amount)


async def delete_spend_limit(ctx: Context, project_id: str | None) -> None:
    """Take a limit away. Errors: 404 also where there is none, 400 where the project is archived."""

    def edit(rules: Rules) -> None:
        if rules.spend_limit is None:
            raise _none(project_id)
        rules.spend_limit = None

    await change_rules(ctx, project_id, edit, updated(ctx, project_id, {"spend_limit": None}))


def _none(project_id: str | None) -> NotFound:
    whose = "The organization" if project_id is None else f"The project {project_id}"
    return NotFound(f"{whose} has no spend limit.", code="spend_limit_not_found")


async def _shown(ctx: Context, project_id: str | None, limit: int) -> SpendLimit:
    spent = await spent_cents(ctx, project_id)
    return SpendLimit(
        object="organization.spend_limit" if project_id is None else "project.spend_limit",
        threshold_amount=limit,
        enforcement=SpendLimitEnforcement(status="enforcing" if spent >= limit else "inactive"),
    )
