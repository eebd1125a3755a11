"""Many clients of several servers at once, each with a key of its own or one for all, who ask models in all ways."""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.builders import Json

WAYS = ("plain", "streamed", "left")
"""Read to the end; streamed, and read to the end; streamed, and left in the middle."""


@dataclass
class Crowd:
    """``clients`` of servers (by their base URLs), with the keys in turn; each asks until ``done`` or refused for good.

    ``refused``: the error codes of 429 answers, and how often; ``answered``: by way.
    """

    urls: Sequence[str]
    keys: Sequence[str]
    clients: int = 64
    ways: Sequence[str] = WAYS
    body: Json = field(default_factory=lambda: ask("Hello!"))
    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    """When each admitted request was sent and answered, by the steady clock: the middle of both."""
    messages: set[str] = field(default_factory=set)

    def run(self, done: Callable[[], bool], *, persist: bool = False) -> None:
        """Ask until ``done``; without ``persist`` a client that is refused goes home."""
        asyncio.run(self._run(done, persist))

    async def _run(self, done: Callable[[], bool], persist: bool) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            numbers = itertools.cycle(range(len(self.urls)))
            await asyncio.gather(
                *(
                    self._client(session, self.urls[next(numbers)], self.keys[number % len(self.keys)], done, persist)
                    for number in range(self.clients)
                )
            )

    async def _client(
        self, session: aiohttp.ClientSession, url: str, key: str, done: Callable[[], bool], persist: bool
    ) -> None:
        dice = random.Random(f"{url} {key} {id(self)}")
        while not done():
            way = dice.choice(self.ways)
            try:
                went_home = await self._ask(session, url, key, way)
            except (aiohttp.ClientError, OSError, TimeoutError) as gone:
                self.others[type(gone).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            if went_home and not persist:
                return
            if went_home:
                await asyncio.sleep(0.02)

    async def _ask(self, session: aiohttp.ClientSession, url: str, key: str, way: str) -> bool:
        body = self.body if way == "plain" else self.body | {"stream": True}
        began = time.monotonic()
        headers = {"authorization": f"Bearer {key}"}
        async with session.post(f"{url}/chat/completions", json=body, headers=headers) as answer:
            if answer.status == 429:
                error = (await answer.json())["error"]
                self.refused[error["code"]] += 1
                self.messages.add(error["message"])
                return True
            if answer.status != 200:
                self.others[str(answer.status)] += 1
                return False
            await self._read(answer, way)
        self.answered[way] += 1
        self.times.append((began + time.monotonic()) / 2)
        return False

    @staticmethod
    async def _read(answer: aiohttp.ClientResponse, way: str) -> None:
        if way == "left":
            with contextlib.suppress(aiohttp.ClientError):
                await answer.content.readany()
            answer.close()
        else:
            await answer.read()


def ask(text: str, **fields: Any) -> Json:
    """A chat completion request."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **fields}
