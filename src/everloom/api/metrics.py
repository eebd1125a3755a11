"""``GET /metrics``: everything that this process counts."""

from collections.abc import AsyncIterator

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from everloom.api.http.routes import Download, Routes

routes = Routes(access="open")


@routes.get("/metrics")
async def metrics() -> Download:
    """All metrics of this process, in the Prometheus text format."""

    async def blocks() -> AsyncIterator[bytes]:
        yield generate_latest()

    return Download(blocks(), {"content-type": CONTENT_TYPE_LATEST})
