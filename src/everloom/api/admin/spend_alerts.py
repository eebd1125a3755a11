"""The Spend alerts tag, of the newest reference: who hears when as much has been spent in a month."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.rules import SpendAlert
from everloom.objects.spending import NewSpendAlert, ShownSpendAlert
from everloom.work.organization import spend_alerts

routes = Routes(access="admin")


class SpendAlertsQuery(Struct, frozen=True, kw_only=True):
    """The list parameters of spend alerts."""

    limit: Annotated[int, Meta(ge=0, le=100)] = 20
    order: Literal["asc", "desc"] = "asc"
    after: str | None = None
    before: str | None = None

    @property
    def page(self) -> PageQuery:
        """As the store wants it."""
        return PageQuery(limit=self.limit, order=self.order, after=self.after, before=self.before)


@routes.get("/organization/spend_alerts")
async def list_organization_spend_alerts(ctx: Context, query: SpendAlertsQuery) -> Page[SpendAlert]:
    """list-organization-spend-alerts."""
    return await spend_alerts.list_spend_alerts(ctx, None, query.page)


@routes.post("/organization/spend_alerts")
async def create_organization_spend_alert(ctx: Context, body: NewSpendAlert) -> ShownSpendAlert:
    """create-organization-spend-alert."""
    return await spend_alerts.create_spend_alert(ctx, None, body)


@routes.get("/organization/spend_alerts/{alert_id}")
async def retrieve_organization_spend_alert(ctx: Context, alert_id: str) -> ShownSpendAlert:
    """retrieve-organization-spend-alert."""
    return await spend_alerts.retrieve_spend_alert(ctx, None, alert_id)


@routes.post("/organization/spend_alerts/{alert_id}")
async def update_organization_spend_alert(ctx: Context, alert_id: str, body: NewSpendAlert) -> ShownSpendAlert:
    """update-organization-spend-alert."""
    return await spend_alerts.update_spend_alert(ctx, None, alert_id, body)


@routes.delete("/organization/spend_alerts/{alert_id}")
async def delete_organization_spend_alert(ctx: Context, alert_id: str) -> Deleted:
    """delete-organization-spend-alert."""
    await spend_alerts.delete_spend_alert(ctx, None, alert_id)
    return Deleted(id=alert_id, object="organization.spend_alert.deleted")


@routes.get("/organization/projects/{project_id}/spend_alerts")
async def list_project_spend_alerts(ctx: Context, project_id: str, query: SpendAlertsQuery) -> Page[SpendAlert]:
    """list-project-spend-alerts."""
    return await spend_alerts.list_spend_alerts(ctx, project_id, query.page)


@routes.post("/organization/projects/{project_id}/spend_alerts")
async def create_project_spend_alert(ctx: Context, project_id: str, body: NewSpendAlert) -> ShownSpendAlert:
    """create-project-spend-alert."""
    return await spend_alerts.create_spend_alert(ctx, project_id, body)


@routes.get("/organization/projects/{project_id}/spend_alerts/{alert_id}")
async def retrieve_project_spend_alert(ctx: Context, project_id: str, alert_id: str) -> ShownSpendAlert:
    """retrieve-project-spend-alert."""
    return await spend_alerts.retrieve_spend_alert(ctx, project_id, alert_id)


@routes.post("/organization/projects/{project_id}/spend_alerts/{alert_id}")
async def update_project_spend_alert(
    ctx: Context, project_id: str, alert_id: str, body: NewSpendAlert
) -> ShownSpendAlert:
    """update-project-spend-alert."""
    return await spend_alerts.update_spend_alert(ctx, project_id, alert_id, body)


@routes.delete("/organization/projects/{project_id}/spend_alerts/{alert_id}")
async def delete_project_spend_alert(ctx: Context, project_id: str, alert_id: str) -> Deleted:
    """delete-project-spend-alert."""
    await spend_alerts.delete_spend_alert(ctx, project_id, alert_id)
    return Deleted(id=alert_id, object="project.spend_alert.deleted")
