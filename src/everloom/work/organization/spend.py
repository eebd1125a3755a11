"""What has been spent in the month that goes on, by the ledger and the prices of today."""

from collections.abc import Sequence

from everloom.context import Context
from everloom.context.admission.spending import spent, spent_each
from everloom.objects.quotas import NANO

_CENT = NANO / 100


async def spent_cents(ctx: Context, project_id: str | None) -> float:
    """US cents that a project, or with None the whole organization, has spent since this month began.

    One query over the ledger's sums, exact to what has been entered by now.
    """
    return await spent(ctx.ports.database.ledger, ctx.ports.prices, project_id) / _CENT


async def spent_cents_each(ctx: Context, project_ids: Sequence[str]) -> dict[str, float]:
    """As ``spent_cents``, of some projects; one query, too."""
    if not project_ids:
        return {}
    found = await spent_each(ctx.ports.database.ledger, ctx.ports.prices, project_ids)
    return {project: billionths / _CENT for project, billionths in found.items()}
