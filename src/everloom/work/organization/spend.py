"""What has been spent in the month that goes on, by the ledger and the prices of today."""

from everloom.context import Context
from everloom.context.admission.spending import spent
from everloom.objects.quotas import NANO


async def spent_cents(ctx: Context, project_id: str | None) -> float:
    """US cents that a project, or with None the whole organization, has spent since this month began.

    One query over the ledger's sums, exact to what has been entered by now.
    """
    return await spent(ctx.ports.database.ledger, ctx.ports.prices, project_id) / (NANO / 100)
