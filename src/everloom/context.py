"""What a verb works with: one project's store, and the ports of the whole server."""

from typing import Literal

from msgspec import Struct, field

from everloom.blobs.base import Blobs
from everloom.bus.base import Bus
from everloom.jobs.base import Jobs
from everloom.models.fair_queue import Turns
from everloom.models.registry import Models
from everloom.sandbox.base import Sandboxes
from everloom.store.base import Database, Store
from everloom.vectors.base import Vectors


class ServerLimits(Struct, frozen=True, kw_only=True):
    """What an operator may set about runs and requests. Times in seconds, sizes in bytes."""

    run_expires: int = 600
    search_first: Literal["auto", "always", "never"] = "auto"
    """Whether a run with file search begins with one, on the user's message, instead of leaving it to the model:
    ``auto`` does so for models that were not trained to call tools."""
    body_bytes: int = 64 * 1024 * 1024
    file_bytes: int = 512 * 1024 * 1024
    metrics: Literal["local", "admin", "open"] = "local"
    """Who may read what the server counts: this machine and admin keys, admin keys, everybody."""
    public_url: str = ""
    """Base URL (with its version) that clients know the server by; empty: as each request's headers say."""
    embedding_model: str = "all-minilm-l6-v2"
    """Makes the vectors of stores that are made from now on; a store keeps the one it began with."""


class Ports(Struct, frozen=True, kw_only=True):
    """The adapters that ``app`` chose, shared by every request and job of a process."""

    database: Database
    bus: Bus
    jobs: Jobs
    blobs: Blobs
    models: Models
    vectors: Vectors
    sandboxes: Sandboxes
    limits: ServerLimits
    turns: Turns = field(default_factory=Turns)
    """Where the requests of projects wait for models of this machine."""


class Context(Struct, frozen=True, kw_only=True):
    """One project's view of the server, for one request or one job."""

    project: str
    store: Store
    ports: Ports

    @property
    def models(self) -> Models:
        """The models that this project may know of."""
        return self.ports.models.seen_by(self.project)

    @staticmethod
    def of(ports: Ports, project: str) -> "Context":
        """The view of ``project``; costs nothing."""
        return Context(project=project, store=ports.database.store(project), ports=ports)
