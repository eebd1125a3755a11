"""A model that was named and cannot be used: the server runs, and whoever asks for it learns why."""

from collections.abc import Collection, Sequence
from typing import NoReturn, get_args

from everloom.kit.clock import now
from everloom.kit.errors import ModelFailure
from everloom.models.base import Capability, Form, Traits
from everloom.objects.base import JsonObject
from everloom.objects.models import Model


class UnavailableBackend:
    """Answers everything with 503 and the reason, so that a disk that is not mounted stops no start.

    ``reason`` is a clause for an operator and a caller alike, such as "/models/a.gguf does not exist".
    """

    max_concurrency: int | None = None

    def __init__(self, name: str, reason: str) -> None:
        self._name = name
        self.reason = reason
        self._since = now()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def models(self) -> Sequence[Model]:
        """The model, as it was named."""
        return [Model(id=self._name, created=self._since, owned_by="everloom")]

    def capabilities(self, model: str) -> Collection[Capability]:
        """Everything, so that whatever is asked of it gets the reason."""
        return get_args(Capability)

    async def traits(self, model: str) -> Traits:
        self._fail()

    async def count(self, body: JsonObject) -> int:
        self._fail()

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> NoReturn:
        self._fail()

    async def complete(self, body: JsonObject, raw: bytes | None = None) -> NoReturn:
        self._fail()

    async def embed(self, body: JsonObject, *, asked_as: str | None = None) -> bytes:
        self._fail()

    async def moderate(self, body: JsonObject) -> bytes:
        self._fail()

    async def speak(self, body: JsonObject) -> NoReturn:
        self._fail()

    async def transcribe(self, form: Form, *, translate: bool = False) -> NoReturn:
        self._fail()

    async def generate_image(self, body: JsonObject) -> NoReturn:
        self._fail()

    async def edit_image(self, form: Form) -> NoReturn:
        self._fail()

    async def vary_image(self, form: Form) -> NoReturn:
        self._fail()

    def _fail(self) -> NoReturn:
        raise ModelFailure(f"The model `{self._name}` cannot be used: {self.reason}.", status=503)
