"""A server that objects are fetched from: asked patiently, and believed in nothing but what it answers.

No answer is held that is larger than it may be, no redirect is followed, since the key is for this server alone, and of
what its objects say nothing is fetched: not a URL in a message, not a path in an id.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from everloom.api.http.routes import CURRENT_DIALECT
from everloom.cli import CommandError
from everloom.cli.client import CONNECT_SECONDS, MOST_BYTES, SILENT_SECONDS, Json, fit
from everloom.cli.tables import printable
from everloom.kit.backoff import Backoff
from everloom.kit.bounded_heads import BoundedHeads
from everloom.kit.errors import NO_JSON
from everloom.kit.log import mask
from everloom.models.upstream.errors import asked_wait

TRIES = 10
"""How often something is asked of a server that is away or has enough of us."""

LONGEST_WAIT = 300.0
"""Seconds that are waited at the most before it is asked again, whatever it says."""

PAGE = 100
_LONGEST_PAUSE = 30.0
_TOLD_PAUSE = 5.0
"""Seconds from which on somebody who looks on is told that it waits, and what for."""
_BUSY = frozenset({408, 409, 429})


class SourceRefused(CommandError):
    """What a server does not give: ``code`` is its status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Away(Exception):
    """Nothing came of a request that may be made again, after so many seconds if it said so."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class RemoteSource:
    """One server. Errors of all: ``SourceRefused``; ``CommandError`` where it stays away."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, query: dict[str, str], tell: Callable[[str], None]
    ) -> None:
        self._session = session
        self._url = url
        self._query = query
        self._tell = tell
        self._form = CURRENT_DIALECT

    async def is_older(self) -> bool:
        """Whether it speaks nothing but the form of 2023, which it is asked in from here on."""
        from everloom.api.v1 import DIALECT

        for form, older in ((CURRENT_DIALECT, False), (DIALECT.name, True)):
            self._form = form
            try:
                await self.get("/assistants", limit="1")
            except SourceRefused as refused:
                if refused.code == 400:
                    continue
                break  # It has no assistants, or no ear for this key: whoever lists them hears of it.
            return older
        self._form = CURRENT_DIALECT
        return False

    async def get(self, path: str, **query: str) -> Json:
        """A JSON object."""
        return await self._patiently(lambda: self._json(path, query))

    async def pages(self, path: str, **query: str) -> AsyncIterator[list[Json]]:
        """The objects of a list, oldest first, a page at a time."""
        after: dict[str, str] = {}
        ends: set[str] = set()  # Of pages that were read: a list that comes back to one has no end.
        while True:
            page = await self.get(path, limit=str(PAGE), order="asc", **after, **query)
            things = page.get("data")
            if not isinstance(things, list):
                raise CommandError(f"{self._url}{path} answered with no list")
            found = [thing for thing in things if isinstance(thing, dict)]
            yield found
            last = found[-1].get("id") if found else None
            if not page.get("has_more") or not isinstance(last, str) or last in ends:
                return
            ends.add(last)
            after = {"after": last}

    async def download(self, path: str, target: Path, most: int) -> None:
        """Write an answer to a file; of more bytes than ``most`` no more than one block beyond them."""
        await self._patiently(lambda: self._download(path, target, most))

    async def _json(self, path: str, query: dict[str, str]) -> Json:
        async with self._asked(path, query) as response:
            held = await _read(response)
            if len(held) > MOST_BYTES:
                raise CommandError(f"{self._url}{path} answered with more than {MOST_BYTES} bytes")
        try:
            answer = _parsed(held)
        except (ValueError, RecursionError) as error:
            raise _Away("an answer that is no JSON") from error
        if not isinstance(answer, dict):
            raise CommandError(f"{self._url}{path} answered with no JSON object")
        return answer

    async def _download(self, path: str, target: Path, most: int) -> Json:
        size = 0
        async with self._asked(path, {}) as response:
            with target.open("wb") as file:
                async for block in response.content.iter_chunked(1024 * 1024):
                    await asyncio.to_thread(file.write, block)
                    if (size := size + len(block)) > most:
                        break
        return {}

    async def _patiently(self, ask: Any) -> Json:
        backoff = Backoff(longest=_LONGEST_PAUSE)
        why = ""
        for _ in range(TRIES):
            try:
                answer: Json = await ask()
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                why = str(error) or type(error).__name__
                await self._wait(backoff.pause(), why)
            except _Away as away:
                why = str(away)
                pause = backoff.pause()
                await self._wait(pause if away.after is None else min(away.after, LONGEST_WAIT), why)
            else:
                return answer
        text = f"{self._url} was asked {TRIES} times in vain: {why}"
        raise CommandError(f"{text}; what was imported so far stands, begin it again to go on")

    async def _wait(self, pause: float, why: str) -> None:
        if pause >= _TOLD_PAUSE:
            self._tell(mask(f"waiting {pause:.0f} s for {self._url}: {printable(why)}"))
        await asyncio.sleep(pause)

    @asynccontextmanager
    async def _asked(self, path: str, query: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        params, form = {**query, **self._query}, {"openai-beta": self._form}
        asked = self._session.get(self._url + path, params=params, headers=form, allow_redirects=False)
        async with asked as response:
            if response.status in _BUSY or response.status >= 500:
                raise _Away(f"{response.status} {await _words(response)}".strip(), asked_wait(response.headers))
            if response.status != 200:
                raise SourceRefused(f"{path}: {await _words(response) or response.status}", response.status)
            yield response


@asynccontextmanager
async def source_at(
    url: str, key: str, api_version: str | None, tell: Callable[[str], None]
) -> AsyncIterator[RemoteSource]:
    """A server by its base URL. ``api_version`` is Azure's, whose key goes into a header of its own; ``tell`` hears
    what is waited for.
    """
    query = {} if api_version is None else {"api-version": api_version}
    key = fit(key)
    headers = {"authorization": f"Bearer {key}"} if api_version is None else {"api-key": key}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
    async with aiohttp.ClientSession(connector=BoundedHeads(), headers=headers, timeout=timeout) as session:
        yield RemoteSource(session, url.rstrip("/"), query, tell)


def path_of(*parts: str) -> str:
    """A path of these segments, whatever characters ids have."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _parsed(held: bytes) -> Any:
    """JSON; halves of characters, which nothing can keep, are U+FFFD. Errors: ``ValueError``, ``RecursionError``."""
    try:
        return msgspec.json.decode(held)
    except NO_JSON:
        text = json.dumps(json.loads(held), ensure_ascii=False)
        return json.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    held = bytearray()
    async for block in response.content.iter_any():
        held += block
        if len(held) > MOST_BYTES:
            break
    return bytes(held)


async def _words(response: aiohttp.ClientResponse) -> str:
    """What an error's answer says."""
    try:
        error = json.loads(await _read(response))["error"]
        words = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return printable(" ".join(words.split()))[:500] if isinstance(words, str) else ""
