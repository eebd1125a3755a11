"""The Spend limits tag, of the newest reference: what a project, or the organization, may spend in a month."""

from everloom.api.http.paging import AfterQuery
from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.spending import MonthlyBudget, MonthlyBudgetPage, NewSpendLimit, SpendLimit, SpendLimitDeleted
from everloom.work.organization import budgets, spend_limits

routes = Routes(access="admin")


@routes.get("/organization/spend_limit")
async def get_organization_spend_limit(ctx: Context) -> SpendLimit:
    """Getorganizationspendlimit."""
    return await spend_limits.retrieve_spend_limit(ctx, None)


@routes.post("/organization/spend_limit")
async def update_organization_spend_limit(ctx: Context, body: NewSpendLimit) -> SpendLimit:
    """Updateorganizationspendlimit."""
    return await spend_limits.set_spend_limit(ctx, None, body)


@routes.delete("/organization/spend_limit")
async def delete_organization_spend_limit(ctx: Context) -> SpendLimitDeleted:
    """Deleteorganizationspendlimit."""
    await spend_limits.delete_spend_limit(ctx, None)
    return SpendLimitDeleted(object="organization.spend_limit.deleted")


@routes.get("/organization/projects/{project_id}/spend_limit")
async def get_project_spend_limit(ctx: Context, project_id: str) -> SpendLimit:
    """Getprojectspendlimit."""
    return await spend_limits.retrieve_spend_limit(ctx, project_id)


@routes.post("/organization/projects/{project_id}/spend_limit")
async def update_project_spend_limit(ctx: Context, project_id: str, body: NewSpendLimit) -> SpendLimit:
    """Updateprojectspendlimit."""
    return await spend_limits.set_spend_limit(ctx, project_id, body)


@routes.delete("/organization/projects/{project_id}/spend_limit")
async def delete_project_spend_limit(ctx: Context, project_id: str) -> SpendLimitDeleted:
    """Deleteprojectspendlimit."""
    await spend_limits.delete_spend_limit(ctx, project_id)
    return SpendLimitDeleted(object="project.spend_limit.deleted")


@routes.get("/organization/budget")
async def retrieve_budget(ctx: Context) -> MonthlyBudget:
    """No operation of the reference: what the organization has spent this month, and its limit if there is one."""
    return await budgets.retrieve_budget(ctx)


@routes.get("/organization/budgets")
async def list_budgets(ctx: Context, query: AfterQuery) -> MonthlyBudgetPage:
    """No operation of the reference: the same of each project that is open."""
    return await budgets.list_budgets(ctx, query.page)
