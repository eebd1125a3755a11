"""The composition root: settings in, a server out. The only package that names adapters; ``models.py`` names those
that answer for models.
"""

import asyncio
import fcntl
import logging
from functools import partial
from pathlib import Path
from typing import IO

from everloom.api import (
    assistants,
    chat,
    completions,
    embeddings,
    files,
    health,
    image_files,
    images,
    messages,
    metrics,
    moderations,
    runs,
    speech,
    threads,
    transcriptions,
    uploads,
    vector_store_files,
    vector_stores,
)
from everloom.api import models as models_tag
from everloom.api.http.auth import Auth
from everloom.api.http.routes import ROUTES
from everloom.api.http.server import Server
from everloom.api.http.spool import sweep_forms
from everloom.api.v1 import DIALECT
from everloom.app.models import build_models
from everloom.blobs.obstore import ObjectBlobs
from everloom.bus.base import Bus
from everloom.bus.memory import MemoryBus
from everloom.config import Settings
from everloom.context import Ports, ServerLimits
from everloom.jobs.base import Jobs
from everloom.jobs.dbos import DbosJobs
from everloom.models.llama.backend import LocalBackend
from everloom.sandbox.base import Sandboxes
from everloom.sandbox.pool import JupyterSandboxes
from everloom.store.base import Database
from everloom.store.sqlite import SqliteDatabase
from everloom.vectors.base import Vectors
from everloom.vectors.sqlite import SqliteVectors
from everloom.work.files.uploads import watch as watch_uploads
from everloom.work.inference.images import watch as watch_images
from everloom.work.runs import expiry
from everloom.work.runs.execution import execute
from everloom.work.runs.verbs import RUN_JOB
from everloom.work.vector_stores import ingest
from everloom.work.vector_stores.stores import INGEST_JOB

log = logging.getLogger(__name__)

TAGS = (
    assistants,
    chat,
    completions,
    embeddings,
    files,
    health,
    image_files,
    images,
    messages,
    metrics,
    models_tag,
    moderations,
    runs,
    speech,
    threads,
    transcriptions,
    uploads,
    vector_store_files,
    vector_stores,
)
"""The modules whose import fills ``ROUTES``."""

JOBS = {RUN_JOB: execute, INGEST_JOB: ingest.ingest}
"""What a worker serves."""


class App:
    """A server of these settings, as an ASGI application and as a worker."""

    def __init__(self, settings: Settings, ports: Ports, local: LocalBackend | None = None) -> None:
        self.settings = settings
        self.ports = ports
        self._local = local
        self.asgi = Server(ports, Auth(ports.database), ROUTES, [DIALECT])
        self._tasks: list[asyncio.Task[None]] = []
        self._claim: IO[str] | None = None

    async def start(self, *, worker: bool | None = None) -> None:
        """Open every port. ``worker`` says whether this process executes runs; by default as the settings say.

        The job engine takes a second to load, so it starts beside the first requests: a job that is
        started meanwhile waits for it.
        """
        ports = self.ports
        if (file := self.settings.sqlite_file) is not None:
            self._claim = claim(file.with_name("everloom.lock"))
        work = self.settings.worker if worker is None else worker
        await ports.database.open()
        await ports.bus.open()
        await ports.models.open()
        await ports.vectors.open()
        self._tasks.append(asyncio.create_task(self._launch(work)))
        await asyncio.to_thread(sweep_forms)
        if self.settings.preload and self._local is not None:
            await self._local.preload()

    async def _launch(self, work: bool) -> None:
        if work:  # Before the first job, which may be a run that asks for it.
            await self.ports.sandboxes.open()
        await self.ports.jobs.launch({name: partial(job, self.ports) for name, job in JOBS.items()}, work=work)
        if work:
            watches = (expiry.watch, ingest.watch, watch_uploads, watch_images)
            await asyncio.gather(*(watch(self.ports) for watch in watches))

    async def stop(self, grace: float) -> None:
        """Let work in hand go on for ``grace`` seconds, leave the rest to the next worker, close every port."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("the worker had stopped: %r", result)
        for close in (
            self.ports.jobs.stop(grace),
            self.ports.sandboxes.close(),
            self.ports.models.close(),
            self.ports.vectors.close(),
            self.ports.bus.close(),
            self.ports.database.close(),
        ):
            try:
                await close
            except Exception:
                log.exception("closing failed")
        if self._claim is not None:
            self._claim.close()


def claim(lock: Path) -> IO[str]:
    """Hold a data folder for this process, as long as the file stays open.

    Two servers on one SQLite file would take each other's runs. Errors: ``RuntimeError`` while another holds it.
    """
    file = lock.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RuntimeError(
            f"another server works on {lock.parent}; two need PostgreSQL, or folders of their own"
        ) from None
    return file


def build(settings: Settings) -> App:
    """The server that the settings describe, not yet started."""
    file = settings.sqlite_file
    jobs: Jobs
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database: Database = SqliteDatabase(file)
        bus: Bus = MemoryBus()
        jobs = DbosJobs(file.with_name("jobs.db"), executor_id="embedded")
        vectors: Vectors = SqliteVectors(file.with_name("vectors.db"))
    else:
        database, bus, vectors = _postgres(settings.database)
        jobs = DbosJobs(settings.database)
    models, local = build_models(settings)
    ports = Ports(
        database=database,
        bus=bus,
        jobs=jobs,
        blobs=ObjectBlobs.at(settings.blobs),
        models=models,
        vectors=vectors,
        sandboxes=sandboxes(settings),
        limits=ServerLimits(
            run_expires=settings.run_expires,
            body_bytes=settings.max_body_bytes,
            file_bytes=settings.max_file_bytes,
            embedding_model=settings.embedding_model,
            search_first=settings.search_first,
            metrics=settings.metrics,
            public_url=settings.public_url,
        ),
    )
    return App(settings, ports, local)


def sandboxes(settings: Settings) -> Sandboxes:
    """Where code runs by these settings, not yet open."""
    return JupyterSandboxes(
        settings.data,
        python=None if settings.sandbox_python == Path() else settings.sandbox_python,
        idle=settings.sandbox_idle,
        gateway=settings.sandbox_gateway or None,
        gateway_token=settings.sandbox_gateway_token or None,
    )


def _postgres(url: str) -> tuple[Database, Bus, Vectors]:
    # Imported where it is used: the driver costs a fifth of a second that a server on SQLite need not spend.
    from everloom.bus.postgres import PostgresBus
    from everloom.store.postgres import PostgresDatabase
    from everloom.vectors.postgres import PostgresVectors

    return PostgresDatabase(url), PostgresBus(url), PostgresVectors(url)
