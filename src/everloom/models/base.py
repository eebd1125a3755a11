"""The models' ports. The wire form of the reference is the common tongue: a request body goes in, the
answer's bytes come out, so that what needs no change passes through untouched.

Every adapter is a ``Backend``, and beyond that what its capabilities say: it chats, completes, embeds, moderates,
speaks, transcribes or draws. ``registry.Models`` finds the one that does what is asked under a model's name.
Contract suites: ``tests/contracts/``.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from everloom.kit.errors import NotFound
from everloom.objects.base import JsonObject
from everloom.objects.catalogue import CatalogueEntry
from everloom.objects.models import Model

Capability = Literal["chat", "complete", "embed", "moderate", "speak", "transcribe", "draw"]
"""What can be asked of a model: the verb of the port that answers."""


class Answer(Protocol):
    """A model's answer on its way. Close it early and the model stops."""

    content_type: str
    model: str
    """The name of the model that really answers."""

    def blocks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, cut anywhere. A broken upstream raises ``ModelFailure`` here."""
        ...

    async def close(self) -> None:
        """Let go of the answer; the model's work on it ends within a token."""
        ...


@runtime_checkable
class MadeAhead(Protocol):
    """An answer that its model may have finished long before a slow client has taken it."""

    def when_made(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called when the model is done with it, now if it is."""
        ...


class Traits(Struct, frozen=True, kw_only=True):
    """``context_window``: tokens that prompt and answer may have together.

    ``chooses_tools``: whether the model was trained to call tools when they are needed; one that was not is
    better given what it needs. ``takes_effort``: whether it may be told how hard to think (``reasoning_effort``); one
    that does not think at all refuses to be.
    """

    context_window: int
    chooses_tools: bool = True
    takes_effort: bool = True


class FormFile(Struct, frozen=True, kw_only=True):
    """A file of a form. It lies at ``path`` (``size`` bytes) until the request has been answered."""

    field: str
    filename: str
    content_type: str
    path: Path
    size: int
    param: str | None = None
    """Where it stands in the request, where that was no form."""

    @property
    def called(self) -> str:
        """What errors call it."""
        return self.param or self.field


class Form(Struct, frozen=True, kw_only=True):
    """A multipart request of the reference, checked: its fields as they were named and sent, and its files. What came
    as JSON stands here as the form that says the same.
    """

    fields: tuple[tuple[str, str], ...]
    files: tuple[FormFile, ...]

    def get(self, name: str) -> str | None:
        """The first field of this name."""
        return next((value for key, value in self.fields if key == name), None)

    def all(self, name: str) -> list[str]:
        """The fields of a list, which clients call ``name`` or ``name[]``."""
        return [value for key, value in self.fields if key in (name, f"{name}[]")]

    def file(self, name: str) -> FormFile | None:
        """The first file of this name."""
        return next((file for file in self.files if file.field == name), None)

    def naming(self, model: str) -> "Form":
        """The same form for another model."""
        kept = tuple(field for field in self.fields if field[0] != "model")
        return Form(fields=(("model", model), *kept), files=self.files)


class Backend(Protocol):
    """One server of models. In requests to it, ``model`` is the backend's own name.

    One that works on this machine says on how many requests at once: ``works_here``. Lines of batches make room there
    for live requests.
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def models(self) -> Sequence[Model]:
        """What it serves right now."""
        ...

    def capabilities(self, model: str) -> Collection[Capability]:
        """What may be asked of a model, as far as is known without asking it."""
        ...


class Chats(Backend, Protocol):
    """Offers ``chat``."""

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> Answer:
        """createChatCompletion. Returns once the model has accepted the request; with ``stream`` the blocks
        are server-sent events that end in ``data: [DONE]``. Errors: ``ApiError`` in the platform's words.

        ``raw`` is ``body`` as its sender wrote it, for a backend that hands requests on unread.
        """
        ...

    async def count(self, body: JsonObject) -> int:
        """The tokens of the prompt that ``chat(body)`` would read: exact locally, an upper estimate upstream."""
        ...

    async def traits(self, model: str) -> Traits:
        """What one should know of a model before asking it."""
        ...


@runtime_checkable
class Adapts(Protocol):
    """A backend that serves tuned models as adapters over one of its own."""

    def adopt(self, name: str, base: str, adapter: Path) -> None:
        """Serve the model ``name`` from now on: the file ``adapter`` over the model ``base``. Again is no error;
        nothing is loaded before it is asked. Errors: ``ModelFailure`` for a base that is none of its own.
        """
        ...

    def forget(self, name: str) -> None:
        """Serve it no longer; a name that is not there is no error."""
        ...


class Completes(Backend, Protocol):
    """Offers ``complete``."""

    async def complete(self, body: JsonObject, raw: bytes | None = None) -> Answer:
        """createCompletion; as ``chat``. A server that has chat completions alone raises ``NoSuchEndpoint``."""
        ...


class Embeds(Backend, Protocol):
    """Offers ``embed``."""

    async def embed(self, body: JsonObject, *, asked_as: str | None = None) -> bytes:
        """createEmbedding: the whole answer, with ``encoding_format`` float or base64 as asked (a server that knows no
        base64 answers with numbers). Errors: as ``chat``; 400 with code ``context_length_exceeded`` when a text is
        longer than the model reads.

        ``asked_as``: the name the caller knows the model by. Where that is another model's, so are tokens that stand in
        place of a text: a backend that has tokens of its own reads those of OpenAI's models, and refuses others. It
        fills its vectors up to the size of an OpenAI model of that name. None: as the model's own name.
        """
        ...


class Moderates(Backend, Protocol):
    """Offers ``moderate``."""

    async def moderate(self, body: JsonObject) -> bytes:
        """createModeration: the whole answer. Errors: as ``chat``."""
        ...


class LimitedConcurrency(Backend, Protocol):
    """One whose requests may have to wait for each other."""

    max_concurrency: int | None
    """How many requests a model works on at once, while the others wait here, in this process; the first is served
    first, whosever it is. None: they do not wait here. ``fair_queue.py`` sees to it that projects take turns.
    """


class Speaks(LimitedConcurrency, Protocol):
    """Offers ``speak``."""

    async def speak(self, body: JsonObject) -> Answer:
        """createSpeech. Returns with the first sound; the blocks are the audio in the format asked for."""
        ...


class Transcribes(LimitedConcurrency, Protocol):
    """Offers ``transcribe``."""

    async def transcribe(self, form: Form, *, translate: bool = False) -> Answer:
        """createTranscription, or createTranslation, in the ``response_format`` asked for."""
        ...


class Draws(LimitedConcurrency, Protocol):
    """Offers ``draw``."""

    async def generate_image(self, body: JsonObject) -> Answer:
        """createImage. With ``stream`` the blocks are server-sent events. Errors: as ``chat``."""
        ...

    async def edit_image(self, form: Form) -> Answer:
        """createImageEdit; as ``generate_image``."""
        ...

    async def vary_image(self, form: Form) -> Answer:
        """createImageVariation, which has no stream."""
        ...


class ModelPulls(Protocol):
    """What a running server can have fetched: the models of a catalogue."""

    def entries(self) -> list[CatalogueEntry]:
        """Each of them, and how far it is. Blocking (milliseconds)."""
        ...

    async def pull(self, name: str) -> CatalogueEntry:
        """Begin to fetch one, unless it is here or on its way. Errors: 404, 400 where there is no room for it."""
        ...

    async def close(self) -> None:
        """End what is under way; the next pull goes on with it."""
        ...


class NoPulls:
    """The ``ModelPulls`` of a process that fetches nothing."""

    def entries(self) -> list[CatalogueEntry]:
        """See ``ModelPulls.entries``."""
        return []

    async def pull(self, name: str) -> CatalogueEntry:
        """See ``ModelPulls.pull``."""
        raise NotFound(f"The catalogue has no model '{name}'.", param="model", code="model_not_found")

    async def close(self) -> None:
        """See ``ModelPulls.close``."""
