"""What a verb works with: one caller's store and models, and the ports of the whole server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

from msgspec import Struct, field
from msgspec.structs import replace

from everloom.blobs.base import Blobs
from everloom.bus.base import Bus
from everloom.context.asking import Asking
from everloom.context.bound_models import (
    BOUND,
    ChatModel,
    CompletionModel,
    EmbeddingModel,
    ImageModel,
    ModelGate,
    ModerationModel,
    SpeechModel,
    TranscriptionModel,
)
from everloom.context.caller import Caller
from everloom.context.known_keys import KnownKeys
from everloom.context.known_rules import KnownRules
from everloom.context.metering import UsageRecord
from everloom.context.outgoing import Outgoing
from everloom.context.pricing import PriceList
from everloom.context.tuned_models import TunedModels, is_tuned
from everloom.evidence.base import Evidence
from everloom.jobs.base import Jobs
from everloom.kit.deadlines import Deadlines
from everloom.kit.lately import Lately
from everloom.kit.locks import KeyedLocks
from everloom.kit.shared_check import SharedCheck
from everloom.mail.base import Mailer
from everloom.models.base import Capability, ModelPulls, NoPulls
from everloom.models.registry import Models, ServedModel
from everloom.objects.audit import AuditVerification, Origin
from everloom.objects.findings import Finding, FindingList
from everloom.objects.fine_tuning import is_own
from everloom.objects.jobs import JobsLoad
from everloom.objects.model_names import plain_name
from everloom.objects.rules import Ceiling, shared_limits
from everloom.sandbox.base import Sandboxes
from everloom.store.base import Database, Store
from everloom.training.base import Trainer
from everloom.vectors.base import Vectors
from everloom.webhooks.base import Courier, NoCourier

_NOWHERE = Origin()

FILES_AT_ONCE = 4
"""Files that one process reads into vector stores at a time, however many jobs it has."""

AWAY_SECONDS = 2.0

LOAD_SECONDS = 3.0
"""Between two looks for what there is to do: whoever asks sooner is told what was found last."""

_MOST_NAMES = 1000
"""Of models that one project has asked for in two seconds, remembered with what limits them."""


class ServerLimits(Struct, frozen=True, kw_only=True):
    """What an operator may set about runs and requests. Times in seconds, sizes in bytes."""

    run_expires: int = 600
    compact_events_after: int = 3600
    """When the log of a run that has ended is compacted; 0: never."""
    search_first: Literal["auto", "always", "never"] = "auto"
    """Whether a run with file search begins with one, on the user's message, instead of leaving it to the model:
    ``auto`` does so for models that were not trained to call tools."""
    body_bytes: int = 64 * 1024 * 1024
    file_bytes: int = 512 * 1024 * 1024
    metrics: Literal["local", "admin", "open"] = "local"
    """Who may read what the server counts: this machine and admin keys, admin keys, everybody."""
    ceilings: tuple[Ceiling, ...] = ()
    """What projects may ask of models at the most, the first that fits a name."""
    public_url: str = ""
    """Base URL (with its version) that clients know the server by; empty: as each request's headers say."""
    former_ids: frozenset[str] = frozenset()
    """Organizations and projects of before, which programs may still name in headers."""
    embedding_model: str = "all-minilm-l6-v2"
    """Makes the vectors of stores that are made from now on; a store keeps the one it began with."""


class ServerLoad(Struct, frozen=True):
    """What all processes on the database have to do: jobs, and runs that have not ended, by their status."""

    jobs: JobsLoad
    runs: Mapping[str, int]


async def _unexamined() -> Sequence[Finding]:
    return ()


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
    rules: KnownRules
    """What holds for projects, as it was a moment ago."""
    tuned: TunedModels
    """Models that were made here."""
    scratch: Path = Path()
    """Where trainings have folders, on this machine's disk."""
    trainers: Sequence[Trainer] = ()
    """Who makes them, the first that trains a base."""
    prices: PriceList = field(default_factory=PriceList)
    """What models cost here."""
    mailer: Mailer | None = None
    """Sends mail, where a mail server is set."""
    courier: Courier = field(default_factory=NoCourier)
    """Takes events to webhook endpoints."""
    outgoing: Outgoing = field(default_factory=Outgoing)
    """What of them is under way."""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the process is to stop: who waits for something that may take its time answers now."""
    gate: ModelGate = field(default_factory=ModelGate)
    """What the requests of all callers to models pass."""
    known_keys: KnownKeys = field(default_factory=KnownKeys)
    """Which keys of callers were good a moment ago."""
    readiness: SharedCheck[None] = field(default_factory=SharedCheck)
    """Whether the database can be written."""
    examine: Callable[[], Awaitable[Sequence[Finding]]] = _unexamined
    """Finds out what is missing here, by the settings."""
    examined: SharedCheck[FindingList] = field(default_factory=lambda: SharedCheck(seconds=10.0, patience=60.0))
    """What was found last."""
    pulls: ModelPulls = field(default_factory=NoPulls)
    """Fetches models of the catalogue while the server runs."""
    verified: SharedCheck[AuditVerification] = field(
        default_factory=lambda: SharedCheck(seconds=10.0, patience=10.0, share=0.1)
    )
    """Whether the audit log was whole when it was read last. Who asks while it is read does not wait for long."""
    load: SharedCheck[ServerLoad] = field(default_factory=lambda: SharedCheck(seconds=LOAD_SECONDS, patience=5.0))
    """What all processes on the database have to do."""
    away_models: Lately = field(default_factory=lambda: Lately(AWAY_SECONDS))
    """Embedding models that were away a moment ago: of a thousand files that wait for one, one asks."""
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FILES_AT_ONCE))
    """Held while a file is read into a vector store."""
    completing: KeyedLocks = field(default_factory=KeyedLocks)
    """Held, by project and id, while an upload is put together."""
    evidence: Evidence | None = None
    """What of the audit log stands outside the database; None where nothing does."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    """What this process knows of the deadlines of others."""


class Context(Struct, frozen=True, kw_only=True):
    """One caller's view of the server, for one request or one job: its project's store, and models to be asked."""

    caller: Caller
    store: Store
    ports: Ports
    unasked: bool = False
    """Whether this is what the server does by itself for a project: see ``of_the_server``."""
    origin: Origin = _NOWHERE
    """Where the request came from, in requests of the organization's half and by signed links; elsewhere empty."""

    @property
    def project(self) -> str:
        """The project whose objects these are."""
        return self.caller.project

    async def models(self) -> Models:
        """The models that this project may know of, by the settings and the permissions of a moment ago."""
        if self.unasked:
            return self.ports.models.seen_by(self.project)
        rules = self.ports.rules
        known = rules.recall(self.project) or await rules.of(self.project)
        if known.models is None:
            known.models = self.ports.models.seen_by(self.project, known.project.models)
        models: Models = known.models
        return models

    async def served(self, name: str, capability: Capability | None) -> ServedModel:
        """Who answers this project for a name, be it of a model that was tuned here. Errors: as ``Models.find``.

        The name of such a model is an exact one: aliases with wildcards, and upstreams that answer for whatever name,
        have no say in it, nor where the project has none of this name.
        """
        models = await self.models()
        target = models.target(name)
        if not is_tuned(target) or not models.permits(name):
            found = models.find(name, capability)
            return found if not is_tuned(found.backend_model) else await self._prepared(models, found, capability)
        tuned = await self.ports.tuned.find(self.store, models, target, capability or "chat")
        if tuned is not None:
            return tuned
        if await self.ports.tuned.are_elsewhere(self.ports.database, self.project, [target]):
            raise models.unknown(name, capability, telling=False)
        found = models.find(name, capability)
        if is_own(target) and not models.names(target):  # It is gone, or made up, unless an upstream lists it.
            listed = found.backend_model == target and await models.lists(found)
            if not listed:
                raise models.unknown(name, capability, telling=False)
        return await self._prepared(models, found, capability)

    async def _prepared(self, models: Models, found: ServedModel, capability: Capability | None) -> ServedModel:
        if is_tuned(found.backend_model):
            await self.ports.tuned.prepare(self.ports.database, models, found, capability)
        return found

    async def find(self, name: str, capability: Capability) -> ServedModel:
        """Who answers this project for a name; its ``model`` is the name that the project's limits know it by.

        All spellings that servers take for one model have one name there. Models that nobody knows of share that of the
        pattern that limits them: callers may make up as many names as they like. Errors: as ``Models.find``.
        """
        if self.unasked:
            return await self.served(name, capability)
        rules = self.ports.rules
        known = rules.recall(self.project)
        if known is not None and (remembered := known.found.get((name, capability))) is not None:
            return cast(ServedModel, remembered)
        found = await self.served(name, capability)
        models = await self.models()
        known = rules.recall(self.project) or await rules.of(self.project)
        if (limited_as := known.limited_as.get(found.model)) is None:
            if len(known.limited_as) >= _MOST_NAMES:
                known.limited_as.clear()
            pattern = shared_limits(self.ports.limits.ceilings, known.project, found.model)
            shares = pattern is not None and not await models.knows(found)
            limited_as = pattern if pattern is not None and shares else plain_name(found.model)
            known.limited_as[found.model] = limited_as
        answering = found._replace(model=limited_as)
        if not is_tuned(found.backend_model):  # Such a one may have to be made ready, each time.
            if len(known.found) >= _MOST_NAMES:
                known.found.clear()
            known.found[name, capability] = answering
        return answering

    @overload
    def ask(self, capability: Literal["chat"], name: str) -> Asking[ChatModel]: ...
    @overload
    def ask(self, capability: Literal["complete"], name: str) -> Asking[CompletionModel]: ...
    @overload
    def ask(self, capability: Literal["embed"], name: str) -> Asking[EmbeddingModel]: ...
    @overload
    def ask(self, capability: Literal["moderate"], name: str) -> Asking[ModerationModel]: ...
    @overload
    def ask(self, capability: Literal["speak"], name: str) -> Asking[SpeechModel]: ...
    @overload
    def ask(self, capability: Literal["transcribe"], name: str) -> Asking[TranscriptionModel]: ...
    @overload
    def ask(self, capability: Literal["draw"], name: str) -> Asking[ImageModel]: ...

    def ask(self, capability: Capability, name: str) -> Asking[Any]:
        """``async with ctx.ask("chat", name) as model: answer = await model.chat(body)``

        The model that ``name`` stands for, bound to this caller: whatever it is asked is limited and metered as the
        caller's. Errors: as ``Asking``.
        """
        return Asking(BOUND[capability], name, self.find, self.caller, self.ports.gate)

    def acting_for(self, key_id: str, user: str) -> "Context":
        """The same view for whoever began what a job goes on with."""
        return replace(self, caller=Caller(project=self.project, key_id=key_id, user=user))

    def keeping(self, keep: Callable[[UsageRecord], None]) -> "Context":
        """The same view for somebody who enters into the ledger himself what he asks of models: ``Meter.aside``."""
        gate = replace(self.ports.gate, meter=self.ports.gate.meter.aside(keep))
        return replace(self, ports=replace(self.ports, gate=gate))

    def of_the_server(self) -> "Context":
        """The same view for what the server does for a project with a model that the operator has chosen and nobody has
        asked for by name: the project's model permissions do not hold.
        """
        return replace(self, unasked=True)

    @staticmethod
    def of(ports: Ports, project: str, origin: Origin = _NOWHERE) -> "Context":
        """The view of ``project`` itself, without a key, as upkeep needs it; costs nothing."""
        return Context.for_caller(ports, Caller(project=project), origin)

    @staticmethod
    def for_caller(ports: Ports, caller: Caller, origin: Origin = _NOWHERE) -> "Context":
        """The view of whoever asks."""
        return Context(caller=caller, store=ports.database.store(caller.project), ports=ports, origin=origin)
