"""What was spent in the month that goes on, by the ledger and the prices of today."""

from datetime import UTC, datetime
from typing import get_args

from everloom.context.pricing import PriceList
from everloom.kit.clock import now
from everloom.objects.ledger import DAY, MEASURES, LedgerQuery, LedgerRow, UsageKind
from everloom.objects.quotas import NANO
from everloom.store.registers import Ledger

_EVERYTHING: tuple[UsageKind, ...] = get_args(UsageKind)


def month_began() -> int:
    """The Unix second in which this calendar month, UTC's, began."""
    today = datetime.fromtimestamp(now(), UTC)
    return int(today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())


async def spent(ledger: Ledger, prices: PriceList, project: str | None) -> int:
    """What a project, or with None the whole organization, has spent since this month began: billionths of a dollar.

    One query over the ledger's sums, exact to what has been entered by now.
    """
    asked = LedgerQuery(
        start=month_began(),
        end=now() + 1,
        width=DAY,
        kinds=_EVERYTHING,
        group_by=("kind", "model", "batch"),
        where={} if project is None else {"project": [project]},
    )
    sums = await ledger.total(asked)
    await prices.learn({each.group["model"] for each in sums})
    costs = (
        prices.dollars(each.group["kind"], each.group["model"], bool(each.group["batch"]), each.sums) for each in sums
    )
    return round(sum(costs) * NANO)


def cost_of(prices: PriceList, row: LedgerRow) -> int:
    """What one row has cost: billionths of a dollar."""
    sums = {name: getattr(row, name) for name in MEASURES}
    return round(prices.dollars(row.kind, row.model, row.batch, sums) * NANO)
