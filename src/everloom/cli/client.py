"""A server asked over HTTP, as any client would."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from everloom.cli import CommandError
from everloom.cli.tables import printable
from everloom.config import Settings, official_variables
from everloom.kit.sse import DONE, EventData, Line
from everloom.objects.model_entries import http_problem

CONNECT_SECONDS = 10
SILENT_SECONDS = 300
"""How long a server may say nothing within an answer."""

MOST_BYTES = 64 * 1024 * 1024
"""Of an answer that is held in memory."""

_LONGEST_NUMBER = 20
"""Digits of the number of an event."""

Json = dict[str, Any]


class ServerAway(CommandError):
    """A server that did not answer, or could not for the moment: asked again, it may."""


def own_url(settings: Settings) -> str:
    """The base URL of a server with these settings, for a client on the same machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}/v1" if ":" in host else f"http://{host}:{settings.port}/v1"


def fit(key: str) -> str:
    """A key that a header can have. Errors: ``CommandError`` for one with what a clipboard or a terminal has added."""
    if not (key.isascii() and key.isprintable()):
        raise CommandError("the key holds characters that no key has; was it pasted whole, and nothing else?")
    return key


@contextlib.asynccontextmanager
async def project_client(
    settings: Settings, url: str | None, key: str | None, **headers: str
) -> "AsyncIterator[Client]":
    """A client with a project's key, by flags, settings or the variables of the official SDKs. Of those, the URL counts
    for their key alone: no other key is for whoever is named there. Errors: ``CommandError`` where there is no key.
    """
    secret, base = key or settings.api_key, url
    if not secret:
        named, secret = official_variables()
        base = url or named
    if not secret:
        raise CommandError(
            "a server is asked with a project's key: --key, EVERLOOM_API_KEY or OPENAI_API_KEY "
            "('everloom serve' has shown one at its first start, 'everloom keys create' makes another)"
        )
    address = (base or own_url(settings)).rstrip("/")
    if problem := http_problem(address):
        raise CommandError(problem)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
    headers["authorization"] = f"Bearer {fit(secret)}"
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Client(session, address)


class Client:
    """Requests to one server. An error answer is a ``CommandError`` with the server's words; ``ServerAway`` where it is
    none that stands.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str, **query: str) -> Json:
        return await self._json("GET", path, params=query)

    async def post(self, path: str, body: Json | None = None) -> Json:
        return await self._json("POST", path, json=body) if body is not None else await self._json("POST", path)

    async def delete(self, path: str) -> Json:
        return await self._json("DELETE", path)

    async def upload(self, path: str, file: Path, **fields: str) -> Json:
        """Send a file in a form, as its member ``file`` behind these ``fields``."""
        form = aiohttp.FormData(fields, quote_fields=False)
        with file.open("rb") as opened:
            form.add_field("file", opened, filename=file.name, content_type="application/octet-stream")
            return await self._json("POST", path, data=form)

    async def download(self, path: str, target: Path) -> None:
        """Write what is answered to a file: whole, or not at all."""
        scratch = target.with_name(f".{target.name}.part")
        try:
            async with self._asked("GET", path) as response:
                with scratch.open("wb") as file:
                    async for block in response.content.iter_any():
                        file.write(block)
            scratch.replace(target)
        except OSError as error:
            raise CommandError(f"{target} cannot be written: {error.strerror or error}") from error
        finally:
            scratch.unlink(missing_ok=True)

    async def stream(
        self, method: str, path: str, body: Json | None = None, **query: str
    ) -> AsyncIterator[tuple[int | None, Json]]:
        """The objects that a streamed request tells, one after the other, each with its number where it has one."""
        more = {} if body is None else {"json": body}
        lines, told = EventData(MOST_BYTES), b""
        async with self._asked(method, path, params=query, **more) as response:
            async for block in response.content.iter_any():
                for line in self._lines(lines, block):
                    if line.data is not None:
                        told = line.data
                    elif told:
                        if told != DONE:
                            yield _number(line.id), self._object(told)
                        told = b""

    def _lines(self, lines: EventData, block: bytes) -> list[Line]:
        try:
            return lines.feed(block)
        except ValueError as error:
            raise CommandError(f"{self._url} told {error}") from error

    def _object(self, told: bytes) -> Json:
        try:
            thing = json.loads(told)
        except (ValueError, RecursionError):
            thing = None
        if not isinstance(thing, dict):
            raise CommandError(f"{self._url} told something that is no JSON object")
        return thing

    async def _json(self, method: str, path: str, **more: Any) -> Json:
        async with self._asked(method, path, **more) as response:
            return await self._read(response)

    @contextlib.asynccontextmanager
    async def _asked(self, method: str, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, self._url + path, **more) as response:
                if response.status != 200:
                    raise _refusal(response.status, await self._read(response))
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            why = str(error) or type(error).__name__
            hint = "; is 'everloom serve' running?" if isinstance(error, aiohttp.ClientConnectorError) else ""
            raise ServerAway(f"{self._url} cannot be asked: {why}{hint}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> Json:
        held = bytearray()
        async for block in response.content.iter_any():
            held += block
            if len(held) > MOST_BYTES:
                raise CommandError(f"{self._url} answered with more than {MOST_BYTES} bytes")
        try:
            answer = json.loads(held)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            failed = ServerAway if response.status >= 500 else CommandError
            raise failed(f"{self._url} answered {response.status} with something that is no JSON object")
        return answer


def _number(id: str) -> int | None:
    return int(id) if id.isascii() and id.isdigit() and len(id) < _LONGEST_NUMBER else None


def _refusal(status: int, answer: Json) -> CommandError:
    error = answer.get("error")
    words = error.get("message") if isinstance(error, dict) else None
    kind = ServerAway if status >= 500 or status == 429 else CommandError
    said = printable(" ".join(words.split())) if isinstance(words, str) else ""
    return kind(f"the server refused: {said or status}")
