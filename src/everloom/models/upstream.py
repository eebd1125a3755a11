"""Any OpenAI-compatible inference server, over HTTP.

Requests and answers pass through as bytes wherever nothing must change: a streamed answer is handed on in
the blocks in which it arrives, unparsed. What the port promises beyond that is kept here: retries before the
answer has begun, errors in the platform's words, no hang without an end, no cut-off answer taken for a whole one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Struct

from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.base import Traits
from everloom.models.tokens import estimate, known_window
from everloom.models.upstream_errors import ERROR_BYTES, backoff, refusal, worth_retrying
from everloom.objects.base import JsonObject
from everloom.objects.models import Model

CONNECT_SECONDS = 10.0
LIST_SECONDS = 5.0
LIST_FRESH_SECONDS = 30.0
LIST_FAILED_SECONDS = 5.0
"""How long the list of models is taken from memory, and how long a failure to read it is."""

ANSWER_BYTES = 256 * 1024 * 1024
"""The longest answer handed on: no model says so much, a broken server may."""

DEFAULT_WINDOW = 128_000

_END = b"[DONE]"
_END_BYTES = 32


class UpstreamBackend:
    """One OpenAI-compatible server. ``base_url`` ends where ``/chat/completions`` begins (``https://host/v1``).

    ``model``: the one name to ask for, whatever was asked of us. ``context_window``: tokens, where the server's own
    word and the well-known names do not say. ``timeout``: seconds of silence, before an answer and between two blocks
    of it, after which the server counts as hanging. ``retries``: after the first attempt, on connection errors, 429
    and 5xx, as long as no answer has begun.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        model: str | None = None,
        context_window: int | None = None,
        timeout: float = 300.0,
        retries: int = 2,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._chat_url = self._base + "/chat/completions"
        self._embed_url = self._base + "/embeddings"
        self._models_url = self._base + "/models"
        self._host = urlsplit(self._base).hostname or self._base
        self._api_key = api_key
        self._model = model
        self._window = context_window
        self._timeout = timeout
        self._retries = retries
        self._session: aiohttp.ClientSession | None = None
        self._listed: tuple[float, list[_Card] | ModelFailure] = (0.0, [])
        self._listing = asyncio.Lock()

    async def open(self) -> None:
        """Make the connection pool; connects to nothing yet."""
        headers = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "everloom"}
        if self._api_key:
            headers["authorization"] = f"Bearer {self._api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=self._timeout),
            headers=headers,
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close every connection, and with them the answers under way."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def chat(self, body: JsonObject, raw: bytes | None = None) -> "UpstreamAnswer":
        """Ask, and return once the server has accepted. ``raw`` goes out untouched unless the model's name changes."""
        own = self._model or body["model"]
        if own != body["model"]:
            body, raw = {**body, "model": own}, None
        response = await self._post(self._chat_url, msgspec.json.encode(body) if raw is None else raw)
        return UpstreamAnswer(response, own, self._host, self._timeout, streams=bool(body.get("stream")))

    async def embed(self, body: JsonObject) -> bytes:
        """The server's answer as it stands."""
        own = self._model or body["model"]
        response = await self._post(self._embed_url, msgspec.json.encode({**body, "model": own}))
        answer = UpstreamAnswer(response, own, self._host, self._timeout, streams=False)
        try:
            return b"".join([block async for block in answer.blocks()])
        finally:
            await answer.close()

    async def count(self, body: JsonObject) -> int:
        """The prompt's tokens, by an upper estimate from its characters (``tokens.py``)."""
        return estimate(body)

    async def traits(self, model: str) -> Traits:
        """The window as set, else as the server lists it, else as well known, else 128 000."""
        if self._window is not None:
            return Traits(context_window=self._window)
        try:
            cards = await self._cards()
        except ModelFailure:
            cards = []
        listed = next((card.window() for card in cards if card.id == (self._model or model)), None)
        return Traits(context_window=listed or known_window(model) or DEFAULT_WINDOW)

    async def models(self) -> Sequence[Model]:
        """What the server lists, read again after half a minute. ``ModelFailure`` when it does not answer."""
        cards = await self._cards()
        if self._model is not None:
            cards = [card for card in cards if card.id == self._model] or [_Card(id=self._model)]
        return [Model(id=card.id, created=card.created or 0, owned_by=card.owned_by or self._host) for card in cards]

    async def _cards(self) -> "list[_Card]":
        async with self._listing:
            until, listed = self._listed
            if time.monotonic() > until:
                try:
                    listed = await self._read_models()
                    until = time.monotonic() + LIST_FRESH_SECONDS
                except ModelFailure as failure:
                    listed = failure
                    until = time.monotonic() + LIST_FAILED_SECONDS
                self._listed = until, listed
        if isinstance(listed, ModelFailure):
            raise listed
        return listed

    async def _read_models(self) -> "list[_Card]":
        try:
            async with self._open_session().get(
                self._models_url, timeout=aiohttp.ClientTimeout(total=LIST_SECONDS), allow_redirects=False
            ) as response:
                body = await response.read()
                if response.status != 200:
                    raise ModelFailure(f"The upstream {self._host} answered {response.status} to GET /models.")
                return msgspec.json.decode(body, type=_Cards).data
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise ModelFailure(f"The models of the upstream {self._host} could not be read: {error!r}") from error

    async def _post(self, url: str, data: bytes) -> aiohttp.ClientResponse:
        """The server's 200, after as many attempts as it takes and is allowed."""
        attempt = 0
        while True:
            try:
                response = await self._open_session().post(url, data=data, allow_redirects=False)
                if response.status == 200:
                    return response
                error, headers = await self._refused(response)
                retry = worth_retrying(response.status, error)
            except aiohttp.SocketTimeoutError as timeout:
                raise _silent(self._host, self._timeout) from timeout
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as failure:
                error, headers, retry = _unreachable(self._host, failure), {}, True
            wait = backoff(attempt, headers)
            if not retry or wait is None or attempt >= self._retries:
                raise error
            await asyncio.sleep(wait)
            attempt += 1

    async def _refused(self, response: aiohttp.ClientResponse) -> tuple[ApiError, Mapping[str, str]]:
        try:
            body = await response.content.read(ERROR_BYTES)
        except (aiohttp.ClientError, TimeoutError):
            body = b""
        finally:
            response.close()
        what = "embeddings" if str(response.url) == self._embed_url else "chat completions"
        return refusal(response.status, body, response.headers, self._host, what), response.headers

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the upstream backend is not open")
        return self._session


class UpstreamAnswer:
    """An answer on its way from an upstream; ``close`` cuts the connection, which is how the server learns to stop."""

    def __init__(
        self, response: aiohttp.ClientResponse, model: str, host: str, timeout: float, *, streams: bool
    ) -> None:
        self.content_type = response.content_type
        self.model = model
        self._response = response
        self._host = host
        self._timeout = timeout
        self._streams = streams

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. A stream that ends before ``[DONE]`` broke off, however politely."""
        size, tail = 0, b""
        try:
            async for block in self._response.content.iter_any():
                size += len(block)
                if size > ANSWER_BYTES:
                    raise ModelFailure(f"The upstream {self._host} sent more than {ANSWER_BYTES} bytes.")
                tail = (tail + block)[-_END_BYTES:] if len(block) < _END_BYTES else block[-_END_BYTES:]
                yield block
        except TimeoutError as error:
            raise _silent(self._host, self._timeout) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _broken(self._host, repr(error)) from error
        if self._streams and _END not in tail:
            raise _broken(self._host, "the stream ended before [DONE]")

    async def close(self) -> None:
        """Let go: a connection whose answer was read to its end is kept for the next request."""
        if not self._response.content.at_eof():
            self._response.close()


class _Card(Struct, kw_only=True):
    """A model as servers list it; the window's size goes by several names."""

    id: str
    created: int | None = None
    owned_by: str | None = None
    max_model_len: int | None = None
    context_length: int | None = None
    context_window: int | None = None
    meta: dict[str, Any] | None = None

    def window(self) -> int | None:
        """Its context window in tokens, where the server says (vLLM, gateways, llama.cpp)."""
        trained = (self.meta or {}).get("n_ctx")
        listed = self.max_model_len or self.context_length or self.context_window
        return listed or (trained if isinstance(trained, int) else None)


class _Cards(Struct):
    data: list[_Card]


def _silent(host: str, seconds: float) -> ModelFailure:
    text = f"The upstream {host} has sent nothing for {seconds:g} seconds."
    return ModelFailure(text, status=504, code="upstream_timeout")


def _unreachable(host: str, error: BaseException) -> ModelFailure:
    return ModelFailure(
        f"The upstream {host} could not be reached: {error or repr(error)}", code="upstream_unreachable"
    )


def _broken(host: str, what: str) -> ModelFailure:
    return ModelFailure(f"The upstream {host} broke off its answer: {what}", code="upstream_broken")
