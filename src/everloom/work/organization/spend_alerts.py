"""Spend alerts of projects, and (None) of the organization, whose project is ``SYSTEM``."""

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_id
from everloom.objects.base import JsonObject, Page, PageQuery, encode
from everloom.objects.rules import NotificationChannel, SpendAlert
from everloom.objects.spending import MAX_ALERTS, NewSpendAlert, ShownSpendAlert, shown
from everloom.store.base import SYSTEM, Add, Change, Operation, Remove, Written
from everloom.work.organization.projects import open_project, the_open_project
from everloom.work.organization.rules import updated


async def list_spend_alerts(ctx: Context, project_id: str | None, page: PageQuery) -> Page[SpendAlert]:
    """A page of alerts. Errors: 400 where the project is archived, 404."""
    await _look(ctx, project_id)
    found = await ctx.store.find(SpendAlert, page, project_id=project_id or SYSTEM)
    return found.with_bodies([encode(shown(alert)) for alert in found.decode()])


async def create_spend_alert(ctx: Context, project_id: str | None, asked: NewSpendAlert) -> ShownSpendAlert:
    """A new alert. Errors: 400 where there are too many, and where the project is archived; 404."""
    await _look(ctx, project_id)
    # Not counted in the write itself: many who ask at once may have a few more.
    if len(await ctx.store.all(SpendAlert, project_id=project_id or SYSTEM)) >= MAX_ALERTS:
        raise BadRequest(f"There are {MAX_ALERTS} spend alerts at the most.", code="too_many_spend_alerts")
    alert = SpendAlert(
        id=new_id("alert_"),
        created_at=now(),
        project_id=project_id or SYSTEM,
        threshold_amount=asked.threshold_amount,
        notification_channel=_channel(asked),
    )
    await _write(ctx, project_id, Add(alert), _told(alert.id, asked))
    return shown(alert)


async def retrieve_spend_alert(ctx: Context, project_id: str | None, alert_id: str) -> ShownSpendAlert:
    """An alert. Errors: 404; 400 where the project is archived."""
    await _look(ctx, project_id)
    return shown(await ctx.store.get(SpendAlert, alert_id, project_id=project_id or SYSTEM))


async def update_spend_alert(
    ctx: Context, project_id: str | None, alert_id: str, asked: NewSpendAlert
) -> ShownSpendAlert:
    """Have an alert say what is asked for. Errors: 404; 400 where the project is archived."""

    def edit(alert: SpendAlert) -> None:
        alert.threshold_amount = asked.threshold_amount
        alert.notification_channel = _channel(asked)

    change = Change(SpendAlert, alert_id, edit, project_id=project_id or SYSTEM)
    written = await _write(ctx, project_id, change, _told(alert_id, asked))
    return shown(written[change])


async def delete_spend_alert(ctx: Context, project_id: str | None, alert_id: str) -> None:
    """Take an alert away. Errors: 404; 400 where the project is archived."""
    removed = Remove(SpendAlert, alert_id, project_id=project_id or SYSTEM)
    await _write(ctx, project_id, removed, {"id": alert_id, "deleted": True})


def _channel(asked: NewSpendAlert) -> NotificationChannel:
    channel = asked.notification_channel
    return NotificationChannel(recipients=list(channel.recipients), subject_prefix=channel.subject_prefix)


def _told(alert_id: str, asked: NewSpendAlert) -> JsonObject:
    return {"id": alert_id, "threshold_amount": asked.threshold_amount, "recipients": _channel(asked).recipients}


async def _write(ctx: Context, project_id: str | None, operation: Operation, changes: JsonObject) -> Written:
    held = [] if project_id is None else [open_project(project_id)]
    written = await ctx.store.write(*held, operation, updated(ctx, project_id, {"spend_alert": changes}))
    ctx.ports.rules.forget()
    return written


async def _look(ctx: Context, project_id: str | None) -> None:
    if project_id is not None:
        await the_open_project(ctx, project_id)
