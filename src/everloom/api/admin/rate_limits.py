"""Rate limits of projects: two operations of the Projects tag."""

from typing import Annotated

from msgspec import Meta, Struct

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.objects.rate_limits import PREFIX, ProjectRateLimit, ProjectRateLimitList, RateLimitChanges
from everloom.work.organization import rate_limits

routes = Routes(access="admin")


class RateLimitsQuery(Struct, frozen=True, kw_only=True):
    """The list parameters of rate limits, which stand in the order of their ids. The reference bounds no page."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str | None = None
    before: str | None = None


@routes.get("/organization/projects/{project_id}/rate_limits")
async def list_project_rate_limits(ctx: Context, project_id: str, query: RateLimitsQuery) -> ProjectRateLimitList:
    """list-project-rate-limits."""
    return _page(await rate_limits.list_rate_limits(ctx, project_id), query)


@routes.post("/organization/projects/{project_id}/rate_limits/{rate_limit_id}")
async def update_project_rate_limits(
    ctx: Context, project_id: str, rate_limit_id: str, body: RateLimitChanges
) -> ProjectRateLimit:
    """update-project-rate-limits. The id ends in a model's name, slashes and all."""
    return await rate_limits.update_rate_limit(ctx, project_id, rate_limit_id, body)


def _page(limits: list[ProjectRateLimit], query: RateLimitsQuery) -> ProjectRateLimitList:
    """The page between two cursors, whose models may have gone since. Errors: 400."""
    for name, cursor in (("after", query.after), ("before", query.before)):
        if cursor is not None and not cursor.startswith(PREFIX):
            raise BadRequest(f"Invalid '{name}': No rate limit found with id '{cursor[:128]}'.", param=name)
    inside = [
        limit for limit in limits if (query.after or "") < limit.id and (not query.before or limit.id < query.before)
    ]
    backward = query.before is not None and query.after is None
    cut = inside[-query.limit :] if backward else inside[: query.limit]
    return ProjectRateLimitList(
        data=cut,
        first_id=cut[0].id if cut else None,
        last_id=cut[-1].id if cut else None,
        has_more=len(inside) > len(cut),
    )
