"""What has been spent in the month that goes on, by the ledger and the prices of today."""

from datetime import UTC, datetime
from typing import get_args

from everloom.context import Context
from everloom.kit.clock import now
from everloom.objects.ledger import DAY, LedgerQuery, UsageKind
from everloom.objects.prices import bill

_EVERYTHING: tuple[UsageKind, ...] = get_args(UsageKind)


def month_began() -> int:
    """The Unix second in which this calendar month, UTC's, began."""
    today = datetime.fromtimestamp(now(), UTC)
    return int(today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())


async def spent_cents(ctx: Context, project_id: str | None) -> float:
    """US cents that a project, or with None the whole organization, has spent since this month began.

    One query over the ledger's sums, exact to what has been entered by now.
    """
    asked = LedgerQuery(
        start=month_began(),
        end=now() + 1,
        width=DAY,
        kinds=_EVERYTHING,
        group_by=("kind", "model", "batch"),
        where={} if project_id is None else {"project": [project_id]},
    )
    prices = ctx.ports.limits.prices
    sums = await ctx.ports.database.ledger.total(asked)
    items = (
        item
        for each in sums
        for item in bill(prices, each.group["kind"], each.group["model"], bool(each.group["batch"]), each.sums)
    )
    return sum(item.dollars for item in items) * 100
