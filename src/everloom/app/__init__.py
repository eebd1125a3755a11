"""The composition root: settings in, a server out. The only package that names adapters; ``models.py`` names those
that answer for models, ``http.py`` the tags of the reference that are answered.
"""

import asyncio
import fcntl
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from everloom.api.console import console_routes
from everloom.api.http.routes import Route
from everloom.app.http import ROUTES, build_server
from everloom.app.models import Preload, build_models, build_prices
from everloom.app.start_faults import opening_database, warn_of_upstreams
from everloom.blobs.obstore import ObjectBlobs
from everloom.bus.base import Bus
from everloom.bus.memory import MemoryBus
from everloom.config import AUDIT_KEY_FILE, Settings
from everloom.context import Ports, ServerLimits
from everloom.context.known_rules import KnownRules
from everloom.context.ledger import LedgerBuffer
from everloom.context.tuned_models import TunedModels
from everloom.evidence.base import Evidence, Sink
from everloom.evidence.keys import KeyFile
from everloom.evidence.syslog import SyslogSink
from everloom.evidence.webhook import WebhookSink
from everloom.evidence.witness import WitnessFile
from everloom.jobs.base import Jobs
from everloom.jobs.embedded import EmbeddedJobs
from everloom.kit.temporary_folders import sweep_folders
from everloom.mail.base import Mailer, mail_sender, mail_server
from everloom.mail.smtp import SmtpMailer
from everloom.models.files.pulling import Pulls
from everloom.objects.findings import Finding
from everloom.sandbox.base import Sandboxes
from everloom.sandbox.pool import JupyterSandboxes
from everloom.store.base import SYSTEM, Database
from everloom.store.sqlite import SqliteDatabase
from everloom.vectors.base import Vectors
from everloom.vectors.sqlite import SqliteVectors
from everloom.webhooks.http import HttpCourier
from everloom.work import last_resort
from everloom.work.batches import deadline as batch_deadlines
from everloom.work.batches import execution as batches
from everloom.work.batches import segments as batch_segments
from everloom.work.batches.verbs import BATCH_JOB
from everloom.work.files import blobs as kept_blobs
from everloom.work.files import uploads as kept_uploads
from everloom.work.fine_tuning import line as training_line
from everloom.work.fine_tuning import training, validation
from everloom.work.fine_tuning.verbs import FINE_TUNING_JOB, TRAINING_JOB
from everloom.work.inference import images as kept_images
from everloom.work.load import warn_of_idle_queues
from everloom.work.organization import audit_sinks, checkpoints, mail
from everloom.work.organization.due_alerts import send_alerts
from everloom.work.runs import compaction, expiry
from everloom.work.runs.execution import execute
from everloom.work.runs.verbs import RUN_JOB
from everloom.work.threads import files as kept_files
from everloom.work.upkeep import Upkeep, every
from everloom.work.usage import ledger, quotas
from everloom.work.vector_stores import ingest
from everloom.work.vector_stores.stores import INGEST_JOB
from everloom.work.webhooks.announcing import WEBHOOK_JOB
from everloom.work.webhooks.delivery import deliver

log = logging.getLogger(__name__)

LAUNCH_PAUSE = 2.0
"""Seconds before a job engine that could not be launched is launched again."""

CHECKPOINT_GRACE = 5.0
"""Seconds that the last checkpoint may take at the end; what it would have signed waits for the next start."""

LEDGER_GRACE = 5.0
"""Seconds that a database has at the end to take the last rows of the ledger."""

JOBS = {
    RUN_JOB: execute,
    INGEST_JOB: ingest.ingest,
    mail.MAIL_JOB: mail.deliver,
    BATCH_JOB: batches.look,
    batch_segments.LINES_JOB: batch_segments.work,
    FINE_TUNING_JOB: validation.look,
    TRAINING_JOB: training.train,
    WEBHOOK_JOB: deliver,
}
"""What a worker serves."""

UPKEEP = (
    Upkeep("runs", expiry.LOOK_SECONDS, expiry.sweep),
    Upkeep("logs of runs", compaction.LOOK_SECONDS, compaction.sweep, share=compaction.LOOK_SHARE),
    Upkeep("vector stores", ingest.LOOK_SECONDS, ingest.sweep, share=ingest.LOOK_SHARE),
    Upkeep("batches", batch_deadlines.LOOK_SECONDS, batch_deadlines.sweep),
    Upkeep("fine-tuning jobs", training_line.LOOK_SECONDS, training_line.sweep),
    Upkeep("uploads", kept_uploads.LOOK_SECONDS, kept_uploads.sweep),
    Upkeep("files", kept_files.LOOK_SECONDS, kept_files.sweep),
    Upkeep("blobs", kept_blobs.LOOK_SECONDS, kept_blobs.sweep),
    Upkeep("images", kept_images.LOOK_SECONDS, kept_images.sweep),
    Upkeep("the ledger", ledger.LOOK_SECONDS, ledger.roll, share=ledger.LOOK_SHARE),
    Upkeep("bytes in use", ledger.SAMPLE_SECONDS, ledger.sample, share=ledger.LOOK_SHARE),
    Upkeep("dead processes", quotas.BURY_SECONDS, quotas.bury),
    Upkeep("budgets", quotas.COMPARE_SECONDS, quotas.compare, share=quotas.COMPARE_SHARE),
    Upkeep("rate limits", quotas.PURGE_SECONDS, quotas.purge),
    Upkeep("the audit log", checkpoints.LOOK_SECONDS, checkpoints.sweep),
    Upkeep("the audit log's sink", audit_sinks.LOOK_SECONDS, audit_sinks.sweep),
    Upkeep("what others have left", last_resort.LOOK_SECONDS, last_resort.sweep),
    Upkeep(
        "files that others have left",
        last_resort.FILES_LOOK_SECONDS,
        last_resort.sweep_files,
        share=last_resort.FILES_LOOK_SHARE,
    ),
)
"""What it looks after, besides."""


class App:
    """A server of these settings, as an ASGI application that answers ``routes``, and as a worker."""

    def __init__(
        self, settings: Settings, ports: Ports, preload: Preload | None = None, routes: Iterable[Route] = ROUTES
    ) -> None:
        self.settings = settings
        self.ports = ports
        self._preload = preload
        self.asgi = build_server(ports, routes)
        self._tasks: list[asyncio.Task[None]] = []
        self._claim: IO[str] | None = None
        self._works = False
        ports.gate.throttles.most = settings.batch_concurrency
        self._ledger = LedgerBuffer(ports.database.ledger)
        ports.gate.meter.on_record = self._ledger.take
        ports.gate.admission.on_alert = partial(send_alerts, ports)

    async def start(self, *, worker: bool | None = None) -> None:
        """Open every port. ``worker`` says whether this process executes runs; by default as the settings say.

        The job engine of PostgreSQL takes a second to load, so it starts beside the first requests: a job that is
        started meanwhile waits for it.
        """
        ports = self.ports
        if (file := self.settings.sqlite_file) is not None:
            self._claim = claim(file.with_name("everloom.lock"))
        work = self.settings.worker if worker is None else worker
        with opening_database(self.settings):
            await ports.database.open()
        await ports.bus.open()
        await ports.models.open()
        await ports.vectors.open()
        ports.gate.admission.open(ports.database, ports.rules, ports.prices, ports.limits.ceilings)
        self._tasks.append(asyncio.create_task(self._launch(work)))
        self._tasks.append(asyncio.create_task(warn_of_upstreams(self.settings)))
        await asyncio.to_thread(sweep_folders)
        await ports.tuned.sweep(ports.database)
        if self.settings.preload and self._preload is not None:
            await self._preload()

    async def _launch(self, work: bool) -> None:
        self._works = work
        if work:  # Before the first job, which may be a run that asks for it.
            await self.ports.sandboxes.open()
        await self._launch_jobs(work)
        if work:
            await asyncio.gather(*(every(upkeep, self.ports) for upkeep in UPKEEP))
        await warn_of_idle_queues(self.ports)

    async def _launch_jobs(self, work: bool) -> None:
        """Open the job engine; where its database is away in this very moment, as soon as it is back."""
        functions = {name: partial(job, self.ports) for name, job in JOBS.items()}
        while True:
            try:
                return await self.ports.jobs.launch(functions, work=work)
            except Exception as problem:
                log.warning("the job engine cannot be launched; trying again: %s", problem)
                await asyncio.sleep(LAUNCH_PAUSE)

    def leave(self) -> None:
        """Have requests that wait for something answer now: the process is to stop."""
        self.ports.leaving.set()

    async def stop(self, grace: float) -> None:
        """Let work in hand go on for ``grace`` seconds, leave the rest to the next worker, close every port."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("the worker had stopped: %r", result)
        for close in (
            self.ports.jobs.stop(grace),
            self.ports.courier.close(),
            self.ports.sandboxes.close(),
            self.ports.pulls.close(),
            self.ports.models.close(),
            self.ports.vectors.close(),
            self.ports.bus.close(),
            self._ledger.close(LEDGER_GRACE),
            self.ports.gate.admission.close(),
            self._tell_refused(),
            self._close_evidence(),
            self.ports.database.close(),
        ):
            try:
                await close
            except Exception:
                log.exception("closing failed")
        if self._claim is not None:
            self._claim.close()

    async def _tell_refused(self) -> None:
        async with asyncio.timeout(CHECKPOINT_GRACE):
            await self.asgi.close()

    async def _close_evidence(self) -> None:
        """Sign the end of the audit log, where this process has done so before."""
        try:
            if self._works:
                async with asyncio.timeout(CHECKPOINT_GRACE):
                    await checkpoints.at_stop(self.ports)
        finally:
            if self.ports.evidence is not None and self.ports.evidence.sink is not None:
                await self.ports.evidence.sink.close()


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


def build(settings: Settings, routes: Iterable[Route] = ROUTES) -> App:
    """The server that the settings describe, not yet started, with ``routes`` for the reference's, and the console."""
    file = settings.sqlite_file
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database: Database = SqliteDatabase(file)
        bus: Bus = MemoryBus()
        jobs: Jobs = EmbeddedJobs(database)
        vectors: Vectors = SqliteVectors(file.with_name("vectors.db"))
    else:
        database, bus, jobs, vectors = _postgres(settings.database)
    database.on_start = jobs.notice
    models, preload, trainers = build_models(settings)
    blobs = ObjectBlobs.at(settings.blobs)
    running = sandboxes(settings)
    ports = Ports(
        database=database,
        bus=bus,
        jobs=jobs,
        blobs=blobs,
        models=models,
        tuned=TunedModels(blobs, settings.data / "adapters"),
        trainers=trainers,
        scratch=settings.data / "training",
        vectors=vectors,
        sandboxes=running,
        examine=partial(_examined, settings, running),
        pulls=Pulls(settings.weights),
        rules=KnownRules(database.store(SYSTEM)),
        evidence=evidence(settings),
        limits=_limits(settings),
        prices=build_prices(settings),
        mailer=mailer(settings),
        courier=HttpCourier(private=settings.webhooks_allow_private),
    )
    return App(settings, ports, preload, (*routes, *console_routes()) if settings.console else routes)


async def _examined(settings: Settings, running: Sandboxes) -> Sequence[Finding]:
    from everloom.app.doctor import examined  # What it needs is no start's business.

    return await examined(settings, running)


def _limits(settings: Settings) -> ServerLimits:
    return ServerLimits(
        run_expires=settings.run_expires,
        compact_events_after=settings.compact_events_after,
        body_bytes=settings.max_body_bytes,
        file_bytes=settings.max_file_bytes,
        embedding_model=settings.embedding_model,
        search_first=settings.search_first,
        metrics=settings.metrics,
        ceilings=settings.limits,
        public_url=settings.public_url,
        former_ids=frozenset(settings.former_ids.replace(",", " ").split()),
    )


def mailer(settings: Settings) -> Mailer | None:
    """What sends mail by these settings."""
    return SmtpMailer(mail_server(settings.smtp_url), mail_sender(settings.mail_from)) if settings.smtp_url else None


def evidence(settings: Settings) -> Evidence:
    """What these settings have outside the database for the audit log. Errors: ``ValueError`` for a key that is not
    there, where a setting names one.
    """
    sink: Sink | None = None
    if settings.audit_sink.startswith("syslog"):
        sink = SyslogSink(settings.audit_sink)
    elif settings.audit_sink:
        sink = WebhookSink(settings.audit_sink, settings.audit_sink_token)
    return Evidence(signer=key_file(settings), witness=WitnessFile(settings.audit_witness), sink=sink)


def key_file(settings: Settings) -> KeyFile:
    """The key that signs by these settings: the one in the data folder is made at its first use."""
    if settings.audit_key == Path():
        return KeyFile(settings.data / AUDIT_KEY_FILE, make=True)
    if not settings.audit_key.is_file():
        raise ValueError(f"audit_key: there is no file {settings.audit_key}")
    return KeyFile(settings.audit_key, make=False)


def sandboxes(settings: Settings) -> Sandboxes:
    """Where code runs by these settings, not yet open."""
    return JupyterSandboxes(
        settings.data,
        python=None if settings.sandbox_python == Path() else settings.sandbox_python,
        idle=settings.sandbox_idle,
        gateway=settings.sandbox_gateway or None,
        gateway_token=settings.sandbox_gateway_token or None,
    )


def _postgres(url: str) -> tuple[Database, Bus, Jobs, Vectors]:
    # Imported where they are used: the driver and DBOS cost most of a second that a server on SQLite need not spend.
    from everloom.bus.postgres import PostgresBus
    from everloom.jobs.dbos import DbosJobs
    from everloom.store.postgres import PostgresDatabase
    from everloom.vectors.postgres import PostgresVectors

    database, bus = PostgresDatabase(url), PostgresBus(url)
    return database, bus, DbosJobs(url, database, bus), PostgresVectors(url)
