"""Models bound to who asks: what is refused, what is answered and what it costs is recorded as that caller's.

A model holds its caller's turn until a verb has brought an answer on its way: from then on the answer holds it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import msgspec
from msgspec import Struct, field

from everloom.context.admission import Admission, Need, Ticket, needs
from everloom.context.answers import CompletionAnswer, ImageAnswer, MeteredAnswer, TranscriptionAnswer
from everloom.context.caller import Caller
from everloom.context.counted_streams import Counted, renamed
from everloom.context.current_request import noted, noted_record
from everloom.context.metering import Meter, Outcome, UsageRecord, lost_attempt
from everloom.context.throttle import Throttles
from everloom.context.traffic import LiveTraffic
from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.models.base import (
    Answer,
    Capability,
    Chats,
    Completes,
    Draws,
    Embeds,
    Form,
    MadeAhead,
    Moderates,
    Speaks,
    Traits,
    Transcribes,
)
from everloom.models.embedding_format import encoded
from everloom.models.failures import unreadable
from everloom.models.fair_queue import FairQueue, Slot
from everloom.models.lost_attempts import hearing_of_lost
from everloom.models.missing_endpoints import MissingEndpoints, says_no_endpoint
from everloom.models.registry import ServedModel
from everloom.models.tokens import estimate_input
from everloom.objects.base import JsonObject
from everloom.objects.tools import EstimatedUsage

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")


def _throttles() -> Throttles:
    return Throttles(LiveTraffic())


class ModelGate(Struct, frozen=True, kw_only=True):
    """What all requests of a process to models pass, and what is remembered of them."""

    queue: FairQueue = field(default_factory=FairQueue)
    """Where the requests of projects wait for models of this machine."""
    meter: Meter = field(default_factory=Meter)
    missing_endpoints: MissingEndpoints = field(default_factory=MissingEndpoints)
    """Backends without completions."""
    uncounted_streams: MissingEndpoints = field(default_factory=MissingEndpoints)
    """Backends that refuse to count what a stream costs."""
    silent_on_probabilities: MissingEndpoints = field(default_factory=MissingEndpoints)
    """Backends whose chat tells no log probabilities."""
    admission: Admission = field(default_factory=Admission)
    """Whose requests are let through now, by limits and budgets."""
    throttles: Throttles = field(default_factory=_throttles)
    """How many lines of batches backends are asked at a time, beside live requests."""


class BoundModel(Generic[B]):
    """A model as one caller asks it. ``name`` is what the caller calls it, ``backend_model`` what its backend does."""

    capability: ClassVar[Capability]
    queued: ClassVar[bool] = False
    """Whether its backends may have few requests at a time (``LimitedConcurrency``)."""

    def __init__(self, found: ServedModel, name: str, caller: Caller, gate: ModelGate) -> None:
        self.name = name
        self.limited_as: str | None = None if caller.batch else found.model
        """What rate limits know it by; None where they do not concern what is asked: batches have a limit of their own.
        """
        self.backend_model = found.backend_model
        self._ticket: Ticket | None = None
        self._slot: Slot | None = None
        self._presence: Slot | None = None
        self._backend: B = found.backend
        self._caller = caller
        self._gate = gate

    async def wait_for_turn(self) -> None:
        """Return when the caller's project may ask. Errors: 503 ``overloaded`` when too many of it wait."""
        backend: Any = self._backend
        try:
            self._slot = await self._gate.queue.slot(self._caller.project, backend, self.backend_model)
        except ApiError:
            self._end("failed")
            raise

    def release(self) -> None:
        """Give the turn back, where no answer has taken it."""
        if self._slot is not None:
            self._slot.free()

    def _take_slot(self) -> Slot | None:
        """The turn, for the answer that is on its way."""
        slot, self._slot = self._slot, None
        return slot

    async def _ask(self, need: Need, verb: Callable[P, Awaitable[A]], *asked: P.args, **more: P.kwargs) -> A:
        """What a verb of the backend answers. Every request to a model passes here: what it needs is reserved before
        the verb, and what brings no answer is recorded behind it. Errors: 429 of limits and budgets, too.
        """
        admitted = False
        try:
            door, ask = self._gate.admission, (self._caller, self.capability, self.limited_as, self.backend_model, need)
            self._ticket = door.try_admit(*ask) or await door.admit(*ask)
            if self._ticket is not None:
                noted(self._ticket)
            admitted = True
            if not self._caller.batch:
                self._presence = self._gate.throttles.traffic.enter(self._backend)
            with hearing_of_lost(self._lose):
                return await verb(*asked, **more)
        except ApiError as error:
            self._end("failed" if error.status >= 500 else "refused")
            raise
        except asyncio.CancelledError:
            if admitted:  # Who left while waiting has asked nobody.
                self._leave()
            raise
        except BaseException:
            if self._ticket is not None:
                self._ticket.cancel()
            if self._presence is not None:
                self._presence.free()
            raise

    def _record(self, model: str, outcome: Outcome = "closed") -> UsageRecord:
        record = UsageRecord(
            caller=self._caller,
            capability=self.capability,
            model=model,
            outcome=outcome,
            ticket=self._ticket,
            presence=self._presence,
        )
        self._ticket = self._presence = None
        noted_record(self.name, record)
        return record

    def _leave(self) -> None:
        """Record a request whose caller left before its first word: nobody will tell what its model does with it, so it
        has used what was reserved.
        """
        record = self._record(self.backend_model)
        record.believe_reserved()
        self._gate.meter.record(record)

    def _lose(self) -> None:
        """Record an attempt that broke off when the model's server had the request: it may have used what was reserved
        for the whole of it, whatever comes of the next.
        """
        if self._ticket is not None:
            self._gate.meter.record(lost_attempt(self._caller, self.capability, self.backend_model, self._ticket))

    def _end(self, outcome: Outcome) -> None:
        self._gate.meter.record(self._record(self.backend_model, outcome))


class ChatModel(BoundModel[Chats]):
    """One that chats."""

    capability = "chat"

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> CompletionAnswer:
        """The answer to a chat completion request, as the request says. It must be closed.

        ``raw`` is the same body as the caller wrote it; it is passed on as it stands where the model's name need not
        change. Errors: the platform's 4xx, ``ModelFailure``.
        """
        if body.get("model") != self.backend_model:
            body = {**body, "model": self.backend_model}
            raw = None if raw is None else renamed(raw, self.backend_model)
        asked = Counted(body, raw, self._backend, self._gate.uncounted_streams)
        answer = await self._ask(needs.of_chat(body), asked.ask, self._backend.chat)
        record, count = self._record(answer.model), partial(self._backend.count, body)
        return CompletionAnswer(
            answer, record, self._gate.meter, count, streams=bool(body.get("stream")), hides_usage=asked.unasked
        )

    async def count(self, body: JsonObject) -> int:
        """The tokens of the prompt that ``chat(body)`` would read: exact locally, an upper estimate upstream."""
        return await self._backend.count({**body, "model": self.backend_model})

    async def traits(self) -> Traits:
        """What one should know of it before asking it."""
        return await self._backend.traits(self.backend_model)


class NoCompletions(Exception):
    """A model's server has no completions: nothing was asked of it, and nothing recorded."""


class CompletionModel(BoundModel[Completes]):
    """One that goes on with texts."""

    capability = "complete"

    async def complete(self, body: JsonObject, raw: bytes | None = None) -> CompletionAnswer:
        """As ``ChatModel.chat``, for a completion request. Errors: ``NoCompletions`` too, remembered for a while."""
        if body.get("model") != self.backend_model:
            body, raw = {**body, "model": self.backend_model}, None
        asked = Counted(body, raw, self._backend, self._gate.uncounted_streams)
        answer = await self._ask(needs.of_completion(body), asked.ask, self._complete)
        record, count = self._record(answer.model), partial(_count_prompts, body)
        return CompletionAnswer(
            answer, record, self._gate.meter, count, streams=bool(body.get("stream")), hides_usage=asked.unasked
        )

    async def _complete(self, body: JsonObject, raw: bytes | None) -> Answer:
        if self._backend in self._gate.missing_endpoints:
            raise NoCompletions
        try:
            return await self._backend.complete(body, raw)
        except ApiError as error:
            if not says_no_endpoint(error):
                raise
            self._gate.missing_endpoints.add(self._backend)
            raise NoCompletions from error


async def _count_prompts(body: JsonObject) -> int:
    """An upper estimate of the prompts' tokens."""
    return needs.of_completion(body).input_tokens


class EmbeddingModel(BoundModel[Embeds]):
    """One that makes vectors."""

    capability = "embed"

    async def embed(self, body: JsonObject, *, plain: bool = False) -> bytes:
        """The answer to a createEmbedding request, as the model's server gave it; the numbers of one that knows no
        base64 are encoded, where that was asked for. Errors: as ``ChatModel.chat``.

        ``plain``: for vector stores: vectors of the model's own size, whatever the name is that it is asked by, and
        however many were asked for of late.
        """
        asked = {**body, "model": self.backend_model}
        named = None if plain else self.name
        self.limited_as = None if plain else self.limited_as
        answer = await self._ask(needs.of_embedding(body), self._backend.embed, asked, asked_as=named)
        record = self._record(self.backend_model, "failed")
        try:
            answer, told = encoded(answer, body.get("encoding_format"))
            record.believe(told)
            record.outcome = "completed"
        except (*NO_JSON, OverflowError) as error:
            raise unreadable(self.backend_model) from error
        finally:
            self._gate.meter.record(record)
        return answer


class ModerationModel(BoundModel[Moderates]):
    """One that judges texts."""

    capability = "moderate"

    async def moderate(self, body: JsonObject) -> bytes:
        """The answer to a createModeration request, as the model's server gave it. Errors: as ``ChatModel.chat``."""
        asked = {**body, "model": self.backend_model}
        answer = await self._ask(needs.of_moderation(body), self._backend.moderate, asked)
        try:
            _moderation_of.decode(answer)
        except NO_JSON as error:
            self._end("failed")
            raise unreadable(self.backend_model) from error
        record, tokens = self._record(self.backend_model, "completed"), estimate_input(body.get("input"))
        record.usage = EstimatedUsage(prompt_tokens=tokens, total_tokens=tokens)
        self._gate.meter.record(record)
        return answer


class _Moderation(Struct):
    """An answer, read only as far as it takes to know that it is one."""

    id: str
    model: str
    results: list[msgspec.Raw]


_moderation_of = msgspec.json.Decoder(_Moderation)

_WORDS = re.compile(r"text/|application/(?:.+\+)?(?:json|xml)$")
"""Media types of pages and errors that came with status 200."""


class SpeechModel(BoundModel[Speaks]):
    """One that speaks."""

    capability = "speak"
    queued = True

    async def speak(self, body: JsonObject) -> MeteredAnswer:
        """The sound that a createSpeech request asks for; returns with the first of it. It must be closed.

        The turn is over when the model has made the last, however slowly it is listened to. Errors: as
        ``ChatModel.chat``.
        """
        answer = await self._ask(needs.of_speech(body), self._backend.speak, {**body, "model": self.backend_model})
        if answer.content_type != "text/event-stream" and _WORDS.match(answer.content_type):
            await answer.close()
            self._end("failed")
            text = f"The model {self.backend_model} answered with {answer.content_type}, no sound."
            raise ModelFailure(text, code="upstream_broken")
        slot = self._take_slot()
        if slot is not None and isinstance(answer, MadeAhead):
            answer.when_made(slot.free)
        record = self._record(self.backend_model)
        record.characters = len(body["input"])
        return MeteredAnswer(answer, record, self._gate.meter, slot)


_TEXTS = ("text", "srt", "vtt")
"""Formats of transcripts that are no JSON."""


class TranscriptionModel(BoundModel[Transcribes]):
    """One that hears."""

    capability = "transcribe"
    queued = True

    async def transcribe(self, form: Form, *, translate: bool = False) -> TranscriptionAnswer:
        """The file of a checked form written down, or translated. It must be closed. Errors: as ``ChatModel.chat``."""
        asked, need = form.naming(self.backend_model), needs.of_transcription(form)
        answer = await self._ask(need, self._backend.transcribe, asked, translate=translate)
        json = form.get("response_format") not in _TEXTS
        record = self._record(answer.model)
        return TranscriptionAnswer(answer, record, self._gate.meter, self._take_slot(), json=json)


_ALWAYS_BYTES = re.compile(r"(?:.*/)?(?:chatgpt|gpt)-image")
"""Models whose servers answer in base64 alone, and refuse to be asked for it."""


_USUAL_SIZE = "1024x1024"
"""What the reference says a model draws where nothing is said."""


class ImageModel(BoundModel[Draws]):
    """One that makes images. Every answer must be closed. Errors: as ``ChatModel.chat``."""

    capability = "draw"
    queued = True

    async def generate(self, body: JsonObject) -> ImageAnswer:
        """createImage."""
        kept = {name: value for name, value in body.items() if self._takes(name)}
        asked = {**kept, "model": self.backend_model}
        answer = await self._ask(needs.of_images(body.get("n")), self._backend.generate_image, asked)
        return self._drawn(answer, "image.generation", body.get("size"))

    async def edit(self, form: Form) -> ImageAnswer:
        """createImageEdit."""
        answer = await self._ask(needs.of_images(form.get("n")), self._backend.edit_image, self._form(form))
        return self._drawn(answer, "image.edit", form.get("size"))

    async def vary(self, form: Form) -> ImageAnswer:
        """createImageVariation."""
        answer = await self._ask(needs.of_images(form.get("n")), self._backend.vary_image, self._form(form))
        return self._drawn(answer, "image.variation", form.get("size"))

    def _drawn(self, answer: Answer, source: str, size: str | None) -> ImageAnswer:
        record = self._record(answer.model)
        record.source, record.size = source, size or _USUAL_SIZE
        return ImageAnswer(answer, record, self._gate.meter, self._take_slot())

    def _form(self, form: Form) -> Form:
        kept = tuple(field for field in form.fields if self._takes(field[0]))
        return Form(fields=kept, files=form.files).naming(self.backend_model)

    def _takes(self, parameter: str) -> bool:
        return parameter != "response_format" or not _ALWAYS_BYTES.match(self.backend_model)


BOUND: dict[Capability, type[BoundModel[Any]]] = {
    bound.capability: bound
    for bound in (
        *(ChatModel, CompletionModel, EmbeddingModel, ModerationModel),
        *(SpeechModel, TranscriptionModel, ImageModel),
    )
}
