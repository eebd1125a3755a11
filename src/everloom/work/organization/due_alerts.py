"""Spend alerts that are due: each is sent once a month, by the write that says so in its budget's row."""

import logging
from collections.abc import Sequence
from contextlib import suppress

from everloom.context import Ports
from everloom.context.admission.budgets import month_of
from everloom.kit.clock import now
from everloom.objects.organization import ORGANIZATION
from everloom.objects.projects import Project
from everloom.objects.quotas import NANO, Spend
from everloom.objects.rules import SpendAlert
from everloom.store.base import SYSTEM, Change, Missing, Operation
from everloom.work.organization.mail import letter

log = logging.getLogger(__name__)

_CENT = NANO // 100


class _Sent(Exception):
    """Somebody else has just sent it."""


async def due_alerts(ports: Ports, budget_id: str) -> list[str]:
    """The ids of a budget's alerts whose amount has been spent in this month, and that have not been sent in it."""
    store = ports.database.store(SYSTEM)
    try:
        spend = await store.get(Spend, budget_id)
    except Missing:
        return []
    if spend.month != month_of(now()):
        return []
    alerts = await store.all(SpendAlert, project_id="" if budget_id == ORGANIZATION else budget_id)
    return [
        alert.id for alert in alerts if spend.settled >= alert.threshold_amount * _CENT and alert.id not in spend.alerts
    ]


async def send_alerts(ports: Ports, budget_id: str, alert_ids: Sequence[str]) -> None:
    """Send alerts of a budget, each with the write that says that it was sent; one that was is left alone."""
    store = ports.database.store(SYSTEM)
    for alert_id in alert_ids:

        def mark(spend: Spend, alert_id: str = alert_id) -> None:
            if alert_id in spend.alerts:
                raise _Sent
            spend.alerts.append(alert_id)

        try:
            alert, spend = await store.get(SpendAlert, alert_id), await store.get(Spend, budget_id)
            whose = "Your organization" if not alert.project_id else await _named(ports, alert.project_id)
            await store.write(Change(Spend, budget_id, mark), *_letters(ports, whose, alert, spend))
        except (_Sent, Missing):
            continue
        log.warning("%s has spent $%.2f in %s: %s", whose, spend.settled / NANO, spend.month, alert.id)


def _letters(ports: Ports, whose: str, alert: SpendAlert, spend: Spend) -> list[Operation]:
    """A mail to each recipient; where no mail server is set, the log alone tells of the alert."""
    spent, threshold = spend.settled / NANO, alert.threshold_amount / 100
    channel = alert.notification_channel
    subject = f"{channel.subject_prefix or ''} {whose} has spent ${threshold:,.2f} this month".strip()
    text = (
        f"{whose} has spent ${spent:,.2f} in {spend.month} (UTC), and you asked to hear of ${threshold:,.2f}.\n\n"
        "Nothing is stopped by this. A spend limit would refuse requests.\n"
    )
    return [each for to in channel.recipients for each in letter(ports, to, subject, text)]


async def _named(ports: Ports, project_id: str) -> str:
    with suppress(Missing):
        return f"Project {(await ports.database.store(SYSTEM).get(Project, project_id)).name}"
    return f"Project {project_id}"
