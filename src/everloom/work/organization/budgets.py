"""What is left of this month's budgets: of the organization's, and of each project's."""

from everloom.context import Context
from everloom.context.admission.spending import month_began
from everloom.objects.base import PageQuery
from everloom.objects.organization import ORGANIZATION, Organization
from everloom.objects.projects import Project
from everloom.objects.rules import Rules
from everloom.objects.spending import MonthlyBudget, MonthlyBudgetPage, SpendLimitEnforcement
from everloom.work.organization.rules import rules_of
from everloom.work.organization.spend import spent_cents, spent_cents_each


async def retrieve_budget(ctx: Context) -> MonthlyBudget:
    """The organization's, over all of its projects."""
    organization = await ctx.store.get(Organization, ORGANIZATION)
    limit = (await rules_of(ctx, None)).spend_limit
    return _budget(organization.id, organization.name, await spent_cents(ctx, None), limit)


async def list_budgets(ctx: Context, query: PageQuery) -> MonthlyBudgetPage:
    """A page of the projects that are open, each with what it has spent: two queries, however many there are."""
    page = await ctx.store.find(Project, query, status="active")
    projects = page.decode()
    ids = [project.id for project in projects]
    rules = {each.id: each for each in await ctx.store.all(Rules, id=ids)} if ids else {}
    spent = await spent_cents_each(ctx, ids)
    data = []
    for project in projects:
        limit = rules[project.id].spend_limit if project.id in rules else None
        data.append(_budget(project.id, project.name, spent.get(project.id, 0.0), limit))
    return MonthlyBudgetPage(data=data, first_id=page.first_id, last_id=page.last_id, has_more=page.has_more)


def _budget(id: str, name: str, spent: float, limit: int | None) -> MonthlyBudget:
    status = SpendLimitEnforcement(status="inactive" if limit is None or spent < limit else "enforcing")
    return MonthlyBudget(
        id=id,
        name=name,
        spent_amount=round(spent, 6),
        threshold_amount=limit,
        interval_start=month_began(),
        enforcement=status,
    )
