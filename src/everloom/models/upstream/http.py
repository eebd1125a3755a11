"""One OpenAI-compatible server over HTTP: connections, attempts, refusals, and answers on their way."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Struct

from everloom.kit.bounded_heads import BoundedHeads
from everloom.kit.errors import NO_JSON, ApiError, ModelAway, ModelFailure
from everloom.kit.log import outage
from everloom.kit.pouring import Put, Room, Seen, joined, pour
from everloom.kit.tail import Tail
from everloom.models.lost_attempts import note_lost
from everloom.models.upstream.connection import Disconnected, Silent, Unconnected
from everloom.models.upstream.connections import Connections
from everloom.models.upstream.errors import ERROR_BYTES, backoff, refusal, worth_retrying
from everloom.models.upstream.response import Response

CONNECT_SECONDS = 10.0
LIST_SECONDS = 5.0
LIST_FRESH_SECONDS = 30.0
LIST_FAILED_SECONDS = 5.0
"""How long the list of models is taken from memory, and how long a failure to read it is."""

LIST_BYTES = 16 * 1024 * 1024
"""The longest list of models that is read."""

REFUSED_SECONDS = 10.0
"""How long an error may take to be told; what has come by then is taken for it."""

ANSWER_BYTES = 256 * 1024 * 1024
"""The longest answer handed on: no model says so much, a broken server may."""

_END = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\]")
"""On a line of its own: a model may say the word, too."""

_END_EVENT = b"data: [DONE]\n\n"
_END_BYTES = 16 * 1024
"""How much of a stream's end is looked through for it: what may come behind the reason is a usage."""

_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')

_ANSWERING_SECONDS = 0.25
"""Behind which a model may have worked on a request whose connection breaks. Sooner it was a proxy before a server that
is gone, or a kept connection that had just been closed: an outage is not to spend anybody's budget.
"""

Payload = Callable[[], bytes | aiohttp.FormData]
"""Makes the body of a request, anew for every attempt: a form can be sent only once."""


class UpstreamServer:
    """The server at ``base_url``, and the connections to it. Parameters as in ``UpstreamBackend``."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float, retries: int) -> None:
        self.host = urlsplit(base_url).hostname or base_url
        self._base = base_url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        self._retries = retries
        self._connections: Connections | None = None
        """For JSON, which is nearly all."""
        self._session: aiohttp.ClientSession | None = None
        """For forms, and for the list of models."""
        self._listed: tuple[float, list[Card] | ModelFailure] = (0.0, [])
        self._listing = asyncio.Lock()

    async def open(self) -> None:
        """Make the connection pool; connects to nothing yet."""
        headers = {"accept-encoding": "identity", "user-agent": "everloom"}
        if self._api_key:
            headers["authorization"] = f"Bearer {self._api_key}"
        self._connections = Connections(self._base, headers, CONNECT_SECONDS, self._timeout)
        self._session = aiohttp.ClientSession(
            connector=BoundedHeads(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=self._timeout),
            headers=headers,
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close every connection, and with them the answers under way."""
        if self._connections is not None:
            self._connections.close()
            self._connections = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self, path: str, payload: bytes | Payload, model: str, what: str, *, streams: bool = False
    ) -> "UpstreamAnswer":
        """POST ``payload`` and return once the server has accepted. ``what`` names the operation in errors."""
        response = await self._post(path, payload, what)
        return UpstreamAnswer(response, model, self.host, self._timeout, streams=streams)

    async def whole(self, path: str, payload: bytes | Payload, model: str, what: str) -> bytes:
        """As ``ask``, read to its end."""
        answer = await self.ask(path, payload, model, what)
        try:
            return await joined(answer)
        except ModelFailure:
            note_lost()
            raise
        finally:
            await answer.close()

    async def cards(self) -> "list[Card]":
        """What the server lists, read again after half a minute. ``ModelFailure`` when it does not answer."""
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

    async def _read_models(self) -> "list[Card]":
        try:
            async with self._open_session().get(
                self._base + "/models", timeout=aiohttp.ClientTimeout(total=LIST_SECONDS), allow_redirects=False
            ) as response:
                body = await _beginning(FormResponse(response), LIST_BYTES)
                if response.status != 200:
                    raise ModelFailure(f"The upstream {self.host} answered {response.status} to GET /models.")
                return msgspec.json.decode(body, type=_Cards).data
        except (aiohttp.ClientError, TimeoutError, Silent, Unconnected, Disconnected, *NO_JSON) as error:
            raise ModelFailure(f"The models of the upstream {self.host} could not be read: {error!r}") from error

    async def _post(self, path: str, payload: bytes | Payload, what: str) -> "Response | FormResponse":
        """The server's 200, after as many attempts as it takes and is allowed."""
        attempt = 0
        while True:
            began = time.monotonic()
            try:
                response = await self._send(path, payload)
                if response.status == 200:
                    return response
                error, headers_said = await self._refused(response, what)
                retry = worth_retrying(response.status, error)
            except Silent as silent:
                note_lost()
                raise _silent(self.host, self._timeout) from silent
            except (Unconnected, Disconnected) as failure:
                unreachable = _unreachable(self.host, failure)
                if unreachable.reached and time.monotonic() - began >= _ANSWERING_SECONDS:
                    note_lost()
                error, headers_said, retry = unreachable, {}, True
            wait = backoff(attempt, headers_said)
            if not retry or wait is None or attempt >= self._retries:
                raise error
            outage(f"a request to {self.host}", f"{error.message} It is tried again in {wait:.1f} s.")
            await asyncio.sleep(wait)
            attempt += 1

    async def _send(self, path: str, payload: bytes | Payload) -> "Response | FormResponse":
        """One attempt. Errors: ``Unconnected``, ``Silent``, ``Disconnected``."""
        if isinstance(payload, bytes):
            if self._connections is None:
                raise _not_open()
            return await self._connections.post(path, payload)
        with _translated():
            post = self._open_session().post(self._base + path, data=payload(), allow_redirects=False)
            return FormResponse(await post)

    async def _refused(self, response: "Response | FormResponse", what: str) -> tuple[ApiError, Mapping[str, str]]:
        try:
            body = await _beginning(response, ERROR_BYTES, REFUSED_SECONDS)
        finally:
            response.close()
        return refusal(response.status, body, response.headers, self.host, what), response.headers

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise _not_open()
        return self._session


def _not_open() -> RuntimeError:
    return RuntimeError("the upstream backend is not open")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """aiohttp's errors in the words of ``connection.py``."""
    try:
        yield
    except aiohttp.SocketTimeoutError as timeout:
        raise Silent from timeout
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, TimeoutError) as error:
        raise Unconnected(str(error) or repr(error)) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise Disconnected(repr(error)) from error


class FormResponse:
    """The answer to a form, which aiohttp sends: as ``Response``."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.content_type
        self._response = response

    @property
    def is_read(self) -> bool:
        """Whether all of it has come, and been taken."""
        return self._response.content.at_eof()

    async def blocks(self) -> AsyncGenerator[bytes]:
        """As ``Response.blocks``."""
        with _translated():
            async for block in self._response.content.iter_any():
                yield block

    def close(self) -> None:
        """Cut the connection, unless the answer has come to its end."""
        self._response.close()


_WHOLE = "application/json"
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)


@lru_cache(maxsize=64)
def _safe_type(media_type: str) -> str:
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream"


class UpstreamAnswer:
    """An answer on its way from an upstream; ``close`` cuts the connection, which is how the server learns to stop."""

    def __init__(
        self, response: Response | FormResponse, model: str, host: str, timeout: float, *, streams: bool
    ) -> None:
        self.content_type = _safe_type(response.content_type)
        self.model = model
        self._response = response
        self._host = host
        self._timeout = timeout
        self._size = 0
        self._must_end = streams and self.content_type != _WHOLE
        """Whether it is a stream, which tells its end."""
        self._tail = Tail(_END_BYTES)

    async def blocks(self) -> AsyncGenerator[bytes]:
        """The body as it arrives. A stream that ends before ``[DONE]`` broke off, however politely.

        Unless it had said why it ended: then the ``[DONE]`` that its callers wait for is added. Some servers answer a
        stream's request with one whole answer; that is passed on as it is.
        """
        try:
            async for block in self._response.blocks():
                self._note(block)
                yield block
        except (Silent, Unconnected, Disconnected) as error:
            raise self._told(error) from error
        if self._lacks_end():
            yield _END_EVENT

    async def pour(self, put: Put, room: Room, seen: Seen) -> None:
        """As ``blocks``, by ``kit/pouring.py``."""

        def noted(blocks: bytes) -> None:
            self._note(blocks)
            seen(blocks)

        try:
            await pour(self._response, put, room, noted)
        except (Silent, Unconnected, Disconnected) as error:
            raise self._told(error) from error
        if self._lacks_end():
            seen(_END_EVENT)
            if not put(_END_EVENT):
                await room()

    def _note(self, block: bytes) -> None:
        """Errors: ``ModelFailure`` behind ``ANSWER_BYTES``."""
        self._size += len(block)
        if self._size > ANSWER_BYTES:
            raise ModelFailure(f"The upstream {self._host} sent more than {ANSWER_BYTES} bytes.")
        if self._must_end:
            self._tail.add(block)

    def _told(self, error: Exception) -> ModelFailure:
        """What callers are told of a fault of the connection."""
        return _silent(self._host, self._timeout) if isinstance(error, Silent) else _broken(self._host, str(error))

    def _lacks_end(self) -> bool:
        """Whether the end that callers wait for is to be added. Errors: ``ModelAway`` for a stream that broke off."""
        if not self._must_end or _END.search(tail := self._tail.end()):
            return False
        if not _FINISHED.search(tail):
            raise _broken(self._host, "the stream ended before [DONE]")
        return True

    async def close(self) -> None:
        """Let go: a connection whose answer was read to its end is kept for the next request."""
        if not self._response.is_read:
            self._response.close()


class Card(Struct, kw_only=True):
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
    data: list[Card]


async def _beginning(response: Response | FormResponse, most: int, seconds: float | None = None) -> bytes:
    """The body as far as ``most`` bytes. With ``seconds`` what came until then, or until it broke off."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds), contextlib.aclosing(response.blocks()) as blocks:
            async for block in blocks:
                body += block
                if len(body) >= most:
                    break
    except (Silent, Unconnected, Disconnected, TimeoutError):
        if seconds is None:
            raise
    return bytes(body[:most])


def _silent(host: str, seconds: float) -> ModelFailure:
    text = f"The upstream {host} has sent nothing for {seconds:g} seconds."
    return ModelFailure(text, status=504, code="upstream_timeout")


def _unreachable(host: str, failure: Unconnected | Disconnected) -> ModelAway:
    """The failure of a request that was not answered; it has reached nobody only where there was no connection."""
    text = f"The upstream {host} could not be reached: {failure}"
    return ModelAway(text, code="upstream_unreachable", reached=isinstance(failure, Disconnected))


def _broken(host: str, what: str) -> ModelAway:
    return ModelAway(f"The upstream {host} broke off its answer: {what}", code="upstream_broken", reached=True)
