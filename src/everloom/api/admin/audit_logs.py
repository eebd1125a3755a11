"""The Audit logs tag: what was done to the organization, the newest first."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.audit import AuditQuery, AuditVerification
from everloom.objects.base import Page
from everloom.work.organization import audit_logs
from everloom.work.organization.own_verification import verify_own_log

routes = Routes(access="admin")


class TimeRange(Struct, frozen=True, kw_only=True):
    """Bounds of a Unix second; all that are given count."""

    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None

    @property
    def since(self) -> int | None:
        """The first second in it."""
        bounds = [each for each in (self.gte, None if self.gt is None else self.gt + 1) if each is not None]
        return max(bounds) if bounds else None

    @property
    def until(self) -> int | None:
        """The last second in it."""
        bounds = [each for each in (self.lte, None if self.lt is None else self.lt - 1) if each is not None]
        return min(bounds) if bounds else None


class AuditLogsQuery(Struct, frozen=True, kw_only=True):
    """What events are asked for. ``tenant_only``, of the newest reference, asks for those that there are none of."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: str | None = None
    before: str | None = None
    effective_at: TimeRange = TimeRange()
    project_ids: list[str] = []
    event_types: list[str] = []
    actor_ids: list[str] = []
    actor_emails: list[str] = []
    resource_ids: list[str] = []
    tenant_only: bool = False


@routes.get("/organization/audit_logs")
async def list_audit_logs(ctx: Context, query: AuditLogsQuery) -> Page[Any]:
    """list-audit-logs."""
    asked = AuditQuery(
        limit=query.limit,
        after=query.after,
        before=query.before,
        since=query.effective_at.since,
        until=query.effective_at.until,
        types=tuple(query.event_types),
        project_ids=tuple(query.project_ids),
        actor_ids=tuple(query.actor_ids),
        actor_emails=tuple(email.lower() for email in query.actor_emails),  # As they are kept.
        resource_ids=tuple(query.resource_ids),
    )
    return await audit_logs.list_audit_logs(ctx.ports.database.audit, asked, tenant_only=query.tenant_only)


@routes.get("/organization/audit_logs/verification")
async def get_audit_log_verification(ctx: Context) -> AuditVerification:
    """No operation of the reference: whether the log is what was written, by this server's own key and witness."""
    return await verify_own_log(ctx.ports)
