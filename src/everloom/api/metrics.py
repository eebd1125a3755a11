"""``GET /metrics``: everything that this process counts, and those that share its port."""

import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from everloom.api.http.auth import Auth
from everloom.api.http.routes import Download, Request, Routes
from everloom.context import Context, ServerLoad
from everloom.kit.log import outage
from everloom.objects.jobs import LaneLoad
from everloom.work.load import look

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

    found = await _load(ctx)

    async def blocks() -> AsyncIterator[bytes]:
        yield generate_latest(_counted())
        yield generate_latest(found)

    return Download(blocks(), {"content-type": CONTENT_TYPE_LATEST})


class _Load:
    """What all processes have to do, as Prometheus reads it: a look into the database, and no count of this process."""

    def __init__(self, load: ServerLoad | None) -> None:
        self._load = load

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self._load is None:
            return
        runs = GaugeMetricFamily("everloom_runs", "Runs that have not ended, on this database", labels=["status"])
        for status, count in self._load.runs.items():
            runs.add_metric([status], count)
        jobs = self._load.jobs
        yield runs
        yield GaugeMetricFamily("everloom_workers", "Workers on this database that live", value=jobs.workers)
        for name, what, read in _OF_LANES:
            family = GaugeMetricFamily(name, what, labels=["lane"])
            for lane, load in jobs.lanes.items():
                family.add_metric([lane], read(load))
            yield family


_OF_LANES: tuple[tuple[str, str, Callable[[LaneLoad], float]], ...] = (
    ("everloom_jobs_waiting", "Jobs on this database that no worker has in hand", lambda load: load.waiting),
    ("everloom_jobs_running", "Jobs on this database that a worker has in hand", lambda load: load.running),
    ("everloom_jobs_oldest_wait_seconds", "How long the oldest job has waited", lambda load: load.oldest),
)


async def _load(ctx: Context) -> Collector:
    """Nothing where the database is away: what this process has counted is told all the same."""
    try:
        return _Load(await look(ctx.ports))
    except Exception as problem:
        outage("the metrics of all processes", problem)
        return _Load(None)


def _counted() -> CollectorRegistry:
    """What is counted here; together with the others of ``serve --processes``, where there are some."""
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # prometheus_client says nothing of its types there
    except ValueError:  # There is no folder where they do.
        return REGISTRY
    return shared


def _is_local(request: Request) -> bool:
    if any(name in request.headers for name in _FROM_ELSEWHERE) or not _names_this_machine(request):
        return False
    try:
        address = ipaddress.ip_address(request.client)
    except ValueError:
        return not request.client  # A socket in the file system.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _names_this_machine(request: Request) -> bool:
    """Whether it was asked by an address, or as localhost: a name of somebody else's may lead a browser here, whose
    page then reads what it likes, and a proxy hands on the names that it has for the world.
    """
    try:
        host = urlsplit(f"//{request.header(b'host') or 'localhost'}").hostname or ""
        if host != "localhost" and not host.endswith(".localhost"):
            ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
