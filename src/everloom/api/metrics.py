"""``GET /metrics``: everything that this process counts, and those that share its port."""

import ipaddress
from collections.abc import AsyncIterator

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from everloom.api.http.auth import Auth
from everloom.api.http.routes import Download, Request, Routes
from everloom.context import Context

routes = Routes(access="open")

_FROM_ELSEWHERE = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"x-forwarded-host", b"via", b"origin")
"""Headers that a proxy adds, behind which every client seems to be on this machine; and what a browser adds, for a
page of somebody else's.
"""


@routes.get("/metrics")
async def metrics(ctx: Context, request: Request) -> Download:
    """All metrics of this process, or of all that share its port, in the Prometheus text format, for whom the settings
    let read them.
    """
    allowed = ctx.ports.limits.metrics
    if not (allowed == "open" or (allowed == "local" and _is_local(request))):
        auth = Auth(ctx.ports.database, ctx.ports.known_keys)
        await auth.caller(request.headers, "admin", "api.management.read")

    async def blocks() -> AsyncIterator[bytes]:
        yield generate_latest(_counted())

    return Download(blocks(), {"content-type": CONTENT_TYPE_LATEST})


def _counted() -> CollectorRegistry:
    """What is counted here; together with the others of ``serve --processes``, where there are some."""
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # prometheus_client says nothing of its types there
    except ValueError:  # There is no folder where they do.
        return REGISTRY
    return shared


def _is_local(request: Request) -> bool:
    if any(name in request.headers for name in _FROM_ELSEWHERE):
        return False
    try:
        address = ipaddress.ip_address(request.client)
    except ValueError:
        return not request.client  # A socket in the file system.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
