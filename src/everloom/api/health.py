"""``GET /healthz`` (the process is alive) and ``GET /readyz`` (it can serve)."""

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.kit.errors import ApiError

routes = Routes(access="open")


@routes.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop turns."""
    return {"status": "alive"}


@routes.get("/readyz")
async def readyz(ctx: Context) -> dict[str, str]:
    """Answers 200 while the database can be written; 503 otherwise. It is tried once a second at most."""
    try:
        await ctx.ports.readiness.ask(ctx.ports.database.touch)
    except Exception as error:
        raise ApiError(503, f"The database cannot be written: {error}", type="server_error") from error
    return {"status": "ready"}
