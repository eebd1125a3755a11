"""What a verb works with: one project's store, and the ports of the whole server."""

from msgspec import Struct

from everloom.blobs.base import Blobs
from everloom.bus.base import Bus
from everloom.jobs.base import Jobs
from everloom.models.registry import Models
from everloom.store.base import Database, Store


class Limits(Struct, frozen=True, kw_only=True):
    """What an operator may set about runs and requests. Times in seconds, sizes in bytes."""

    run_expires: int = 600
    body_bytes: int = 64 * 1024 * 1024
    file_bytes: int = 512 * 1024 * 1024


class Ports(Struct, frozen=True, kw_only=True):
    """The adapters that ``app.py`` chose, shared by every request and job of a process."""

    database: Database
    bus: Bus
    jobs: Jobs
    blobs: Blobs
    models: Models
    limits: Limits


class Context(Struct, frozen=True, kw_only=True):
    """One project's view of the server, for one request or one job."""

    project: str
    store: Store
    ports: Ports

    @staticmethod
    def of(ports: Ports, project: str) -> "Context":
        """The view of ``project``; costs nothing."""
        return Context(project=project, store=ports.database.store(project), ports=ports)
