"""Any OpenAI-compatible inference server, over HTTP.

Requests and answers pass through as bytes wherever nothing must change: a streamed answer is handed on in
the blocks in which it arrives, unparsed. What the port promises beyond that is kept here: retries before the
answer has begun, errors in the platform's words, no hang without an end, no cut-off answer taken for a whole one.
"""

from collections.abc import Collection, Sequence
from typing import get_args

import aiohttp
import msgspec

from everloom.kit.errors import ModelFailure
from everloom.models.base import Capability, Form, Traits
from everloom.models.tokens import estimate, known_window
from everloom.models.upstream.http import Card, Payload, UpstreamAnswer, UpstreamServer
from everloom.objects.base import JsonObject
from everloom.objects.models import Model

DEFAULT_WINDOW = 128_000

_CAPABILITIES: frozenset[Capability] = frozenset(get_args(Capability))


class UpstreamBackend:
    """One OpenAI-compatible server. ``base_url`` ends where ``/chat/completions`` begins (``https://host/v1``).

    ``model``: the one name to ask for, whatever was asked of us. ``context_window``: tokens, where the server's own
    word and the well-known names do not say. ``timeout``: seconds of silence, before an answer and between two blocks
    of it, after which the server counts as hanging. ``retries``: after the first attempt, on connection errors, 429
    and 5xx, as long as no answer has begun.
    """

    max_concurrency: int | None = None

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        model: str | None = None,
        context_window: int | None = None,
        timeout: float = 300.0,
        retries: int = 2,
    ) -> None:
        self._server = UpstreamServer(base_url, api_key, timeout, retries)
        self._model = model
        self._window = context_window

    async def open(self) -> None:
        """Make the connection pool; connects to nothing yet."""
        await self._server.open()

    async def close(self) -> None:
        """Close every connection, and with them the answers under way."""
        await self._server.close()

    def capabilities(self, model: str) -> Collection[Capability]:
        """Everything: which of it the server really has, it says when it is asked."""
        return _CAPABILITIES

    async def models(self) -> Sequence[Model]:
        """What the server lists, read again after half a minute. ``ModelFailure`` when it does not answer."""
        cards = await self._server.cards()
        if self._model is not None:
            cards = [card for card in cards if card.id == self._model] or [Card(id=self._model)]
        host = self._server.host
        return [Model(id=card.id, created=card.created or 0, owned_by=card.owned_by or host) for card in cards]

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> UpstreamAnswer:
        """Ask, and return once the server has accepted. ``raw`` goes out untouched unless the model's name changes."""
        return await self._ask("/chat/completions", body, raw, "chat completions")

    async def complete(self, body: JsonObject, raw: bytes | None = None) -> UpstreamAnswer:
        """As ``chat``; many servers of today have no such endpoint (``NoSuchEndpoint``)."""
        return await self._ask("/completions", body, raw, "completions")

    async def embed(self, body: JsonObject, *, asked_as: str | None = None) -> bytes:
        """The server's answer as it stands. Whose tokens it reads is known to nobody but it and its callers."""
        return await self._whole("/embeddings", body, "embeddings")

    async def moderate(self, body: JsonObject) -> bytes:
        """The server's answer as it stands."""
        return await self._whole("/moderations", body, "moderations")

    async def speak(self, body: JsonObject) -> UpstreamAnswer:
        """The server's audio as it comes."""
        return await self._ask("/audio/speech", body, None, "speech")

    async def transcribe(self, form: Form, *, translate: bool = False) -> UpstreamAnswer:
        """The server's answer as it comes, a stream too, which has another end than ``[DONE]``. The audio is sent from
        the disk in blocks.
        """
        kind = "translations" if translate else "transcriptions"
        return await self._server.ask(f"/audio/{kind}", *self._form(form), kind)

    async def generate_image(self, body: JsonObject) -> UpstreamAnswer:
        """The server's answer as it comes; a stream of images ends without a ``[DONE]``."""
        own = self._model or body["model"]
        data = msgspec.json.encode({**body, "model": own})
        return await self._server.ask("/images/generations", data, own, "images")

    async def edit_image(self, form: Form) -> UpstreamAnswer:
        """The server's answer as it comes. The images are sent from the disk in blocks."""
        return await self._server.ask("/images/edits", *self._form(form), "image edits")

    async def vary_image(self, form: Form) -> UpstreamAnswer:
        """The server's answer as it comes."""
        return await self._server.ask("/images/variations", *self._form(form), "image variations")

    async def count(self, body: JsonObject) -> int:
        """The prompt's tokens, by an upper estimate from its characters (``tokens.py``)."""
        return estimate(body)

    async def traits(self, model: str) -> Traits:
        """The window as set, else as the server lists it, else as well known, else 128 000."""
        if self._window is not None:
            return Traits(context_window=self._window)
        try:
            cards = await self._server.cards()
        except ModelFailure:
            cards = []
        listed = next((card.window() for card in cards if card.id == (self._model or model)), None)
        return Traits(context_window=listed or known_window(model) or DEFAULT_WINDOW)

    async def _ask(self, path: str, body: JsonObject, raw: bytes | None, what: str) -> UpstreamAnswer:
        own = self._model or body["model"]
        if own != body["model"]:
            body, raw = {**body, "model": own}, None
        data = msgspec.json.encode(body) if raw is None else raw
        return await self._server.ask(path, data, own, what, streams=bool(body.get("stream")))

    async def _whole(self, path: str, body: JsonObject, what: str) -> bytes:
        own = self._model or body["model"]
        return await self._server.whole(path, msgspec.json.encode({**body, "model": own}), own, what)

    def _form(self, form: Form) -> tuple[Payload, str]:
        """The form for this server, written anew for every attempt, and the model it names."""
        own = self._model or form.get("model") or ""
        named = form.naming(own)

        def payload() -> aiohttp.FormData:
            data = aiohttp.FormData(quote_fields=False)  # names as they are, in UTF-8, which is what clients send
            for name, value in named.fields:
                data.add_field(name, value)
            for file in named.files:
                # As browsers write it: a backslash before the mark is not understood by all who read forms.
                name = file.filename.replace('"', "%22")
                data.add_field(file.field, file.path.open("rb"), filename=name, content_type=file.content_type)
            return data

        return payload, own
