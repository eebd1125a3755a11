"""``GET /healthz`` (the process is alive) and ``GET /readyz`` (it can serve)."""

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.kit.errors import ApiError
from everloom.objects.base import PageQuery
from everloom.objects.keys import Project

routes = Routes(access="open")


@routes.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop turns."""
    return {"status": "alive"}


@routes.get("/readyz")
async def readyz(ctx: Context) -> dict[str, str]:
    """Answers 200 when the database answers; 503 otherwise."""
    try:
        await ctx.store.find(Project, PageQuery(limit=1))
    except Exception as error:
        raise ApiError(503, f"The database does not answer: {error}", type="server_error") from error
    return {"status": "ready"}
