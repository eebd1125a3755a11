"""What was spent in the month that goes on, by the ledger and the prices of today."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from everloom.context.pricing import PriceList
from everloom.kit.clock import now
from everloom.objects.ledger import DAY, MEASURES, LedgerQuery, LedgerRow, LedgerSum, UsageKind
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
    where: dict[str, list[Any]] = {} if project is None else {"project": [project]}
    sums = await _sums(ledger, prices, ("kind", "model", "batch"), where)
    return round(sum(_dollars(prices, each) for each in sums) * NANO)


async def spent_each(ledger: Ledger, prices: PriceList, projects: Sequence[str]) -> dict[str, int]:
    """As ``spent``, of each of some projects; those that have spent nothing are left out. One query as well."""
    spending: dict[str, float] = defaultdict(float)
    for each in await _sums(ledger, prices, ("project", "kind", "model", "batch"), {"project": list(projects)}):
        spending[each.group["project"]] += _dollars(prices, each)
    return {project: round(dollars * NANO) for project, dollars in spending.items()}


async def _sums(
    ledger: Ledger, prices: PriceList, group_by: tuple[str, ...], where: dict[str, list[Any]]
) -> list[LedgerSum]:
    asked = LedgerQuery(
        start=month_began(), end=now() + 1, width=DAY, kinds=_EVERYTHING, group_by=group_by, where=where
    )
    sums = await ledger.total(asked)
    await prices.learn({each.group["model"] for each in sums})
    return sums


def _dollars(prices: PriceList, each: LedgerSum) -> float:
    return prices.dollars(each.group["kind"], each.group["model"], bool(each.group["batch"]), each.sums)


def cost_of(prices: PriceList, row: LedgerRow) -> int:
    """What one row has cost: billionths of a dollar."""
    sums = {name: getattr(row, name) for name in MEASURES}
    return round(prices.dollars(row.kind, row.model, row.batch, sums) * NANO)
