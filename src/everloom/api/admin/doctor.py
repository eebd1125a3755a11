"""No tag of the reference: what is missing on this server, and how to get it, as ``everloom doctor`` says it."""

from functools import partial

from everloom.api.http.routes import Routes
from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.log import mask
from everloom.objects.findings import Finding, FindingList, ShownFinding

routes = Routes(access="admin")


@routes.get("/organization/doctor")
async def get_doctor(ctx: Context) -> FindingList:
    """What was found when somebody asked last: it is looked for once in ten seconds at most, as it starts programs."""
    return await ctx.ports.examined.ask(partial(_examine, ctx.ports))


async def _examine(ports: Ports) -> FindingList:
    return FindingList(created_at=now(), data=[_shown(finding) for finding in await ports.examine()])


def _shown(finding: Finding) -> ShownFinding:
    subject, _, rest = mask(finding.text).partition(": ")
    return ShownFinding(
        level=finding.level,
        subject=subject if rest else "",
        text=rest or subject,
        remedy=mask(finding.remedy) or None,
    )
