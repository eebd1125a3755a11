"""``GET /metrics``: everything that this process counts."""

import ipaddress
from collections.abc import AsyncIterator

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from everloom.api.http.auth import Auth
from everloom.api.http.routes import Call, Download, route
from everloom.context import Context

_FROM_ELSEWHERE = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"x-forwarded-host", b"via", b"origin")
"""Headers that a proxy adds, behind which every client seems to be on this machine; and what a browser adds, for a
page of somebody else's.
"""


@route("GET", "/metrics", access="open")
async def metrics(ctx: Context, call: Call) -> Download:
    """All metrics of this process, in the Prometheus text format, for whom the settings let read them."""
    allowed = ctx.ports.limits.metrics
    if not (allowed == "open" or (allowed == "local" and _is_local(call))):
        await Auth(ctx.ports.database).caller(call.headers, "admin")

    async def blocks() -> AsyncIterator[bytes]:
        yield generate_latest()

    return Download(blocks(), {"content-type": CONTENT_TYPE_LATEST})


def _is_local(call: Call) -> bool:
    if any(name in call.headers for name in _FROM_ELSEWHERE):
        return False
    try:
        address = ipaddress.ip_address(call.client)
    except ValueError:
        return not call.client  # A socket in the file system.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
