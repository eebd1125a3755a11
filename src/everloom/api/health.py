"""``GET /healthz`` (the process is alive) and ``GET /readyz`` (it can serve)."""

from everloom.api.http.routes import route
from everloom.context import Context
from everloom.kit.errors import ApiError
from everloom.objects.base import PageQuery
from everloom.objects.keys import Project


@route("GET", "/healthz", access="open")
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop turns."""
    return {"status": "alive"}


@route("GET", "/readyz", access="open")
async def readyz(ctx: Context) -> dict[str, str]:
    """Answers 200 when the database answers; 503 otherwise."""
    try:
        await ctx.store.find(Project, PageQuery(limit=1))
    except Exception as error:
        raise ApiError(503, f"The database does not answer: {error}", type="server_error") from error
    return {"status": "ready"}
