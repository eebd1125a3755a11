"""What was spent in the month that goes on, by the ledger and the prices of today."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

from everloom.kit.clock import now
from everloom.objects.ledger import DAY, LedgerQuery, LedgerRow, UsageKind
from everloom.objects.prices import Price, bill
from everloom.objects.quotas import NANO
from everloom.store.base import Ledger

_EVERYTHING: tuple[UsageKind, ...] = get_args(UsageKind)
_MEASURES = (
    *("requests", "input_tokens", "cached_tokens", "output_tokens", "input_audio_tokens", "output_audio_tokens"),
    *("images", "characters", "milliseconds", "bytes"),
)


def month_began() -> int:
    """The Unix second in which this calendar month, UTC's, began."""
    today = datetime.fromtimestamp(now(), UTC)
    return int(today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())


async def spent(ledger: Ledger, prices: Sequence[Price], project: str | None) -> int:
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
    items = (
        item
        for each in await ledger.total(asked)
        for item in bill(prices, each.group["kind"], each.group["model"], bool(each.group["batch"]), each.sums)
    )
    return round(sum(item.dollars for item in items) * NANO)


def cost_of(prices: Sequence[Price], row: LedgerRow) -> int:
    """What one row has cost: billionths of a dollar."""
    sums = {name: getattr(row, name) for name in _MEASURES}
    return round(sum(item.dollars for item in bill(prices, row.kind, row.model, row.batch, sums)) * NANO)
