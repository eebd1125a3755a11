"""What the HTTP floor counts with Prometheus, and has logged."""

import time
from functools import lru_cache

from prometheus_client import Histogram

from everloom.api.http.request_log import log_request
from everloom.api.http.routes import Request
from everloom.api.http.steps import Next

_SECONDS = Histogram(
    "everloom_http_request_seconds",
    "Time from the request's first byte to the answer's last, streams included",
    ["operation", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10, 60, 600),
)


@lru_cache(maxsize=2048)
def _child(operation: str, status: int) -> Histogram:
    return _SECONDS.labels(operation, str(status))


def observe(operation: str, status: int, seconds: float) -> None:
    """Count one request."""
    _child(operation, status).observe(seconds)


async def record(request: Request, next: Next) -> None:
    """The step that counts a request and logs it, whatever became of it; outermost, so that it sees that."""
    try:
        await next(request)
    finally:
        operation = "none" if request.route is None else request.route.name
        seconds = time.perf_counter() - request.started
        observe(operation, request.status, seconds)
        log_request(request, seconds)
