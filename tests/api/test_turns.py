"""A project that asks a model of this machine for very much keeps no other project waiting behind it."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from everloom.models.fair_queue import MOST_WAITING
from tests.recordings import spoken
from tests.servers import API_KEY, Everloom

LONG = "The quick brown fox jumps over the lazy dog. " * 90

Ask = Callable[[httpx.AsyncClient], Coroutine[Any, Any, httpx.Response]]


@pytest.fixture(scope="module")
def other_key(sqlite_server: Everloom) -> str:
    return sqlite_server.command("keys", "create", "--project", f"other-{uuid.uuid4()}").strip()


def client(server: Everloom, key: str) -> httpx.AsyncClient:
    # What is not read shall wait at the server, not in the system's buffers.
    transport = httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=None), socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)]
    )
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=120, transport=transport)


@asynccontextmanager
async def asked_by_the_busy(server: Everloom, ask: Ask, many: int) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """So many requests under way, one of them answered; those that are left at the end leave."""
    async with client(server, API_KEY) as busy:
        tasks = [asyncio.create_task(ask(busy)) for _ in range(many)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def say(text: str) -> Ask:
    body = {"model": "espeak-ng", "input": text, "voice": "alloy"}
    return lambda http: http.post("/audio/speech", json=body)


def test_a_short_speech_waits_for_no_projects_thirty_long_ones(server: Everloom, other_key: str) -> None:
    async def scenario() -> None:
        async with asked_by_the_busy(server, say(LONG), 30) as long, client(server, other_key) as other:
            assert (await say("Hello.")(other)).status_code == 200
            assert sum(not task.done() for task in long) >= 20
        async with client(server, API_KEY) as again:
            assert (await asyncio.wait_for(say("Hello.")(again), 20)).status_code == 200

    asyncio.run(scenario())


def test_who_listens_slowly_holds_up_not_even_its_own_project(server: Everloom) -> None:
    """Seven megabytes each, which a client leaves where they are."""
    body = {"model": "espeak-ng", "input": LONG[: len(LONG) // 2], "voice": "alloy", "response_format": "wav"}

    async def scenario() -> None:
        async with client(server, API_KEY) as http, AsyncExitStack() as slow:
            begun = []
            for _ in range(4):
                answer = await slow.enter_async_context(http.stream("POST", "/audio/speech", json=body))
                begun.append(answer.aiter_raw())  # let go of it, and the answer is closed
                assert await anext(begun[-1])
            assert (await asyncio.wait_for(say("Hello.")(http), 20)).status_code == 200

    asyncio.run(scenario())


def test_a_line_of_transcriptions_is_full_for_one_project_alone(server: Everloom, other_key: str) -> None:
    recording = spoken()

    def ask(http: httpx.AsyncClient) -> Coroutine[Any, Any, httpx.Response]:
        files = {"file": ("speech.wav", recording)}
        return http.post("/audio/transcriptions", data={"model": "pocketsphinx"}, files=files)

    async def scenario() -> None:
        async with asked_by_the_busy(server, ask, MOST_WAITING + 12) as many, client(server, other_key) as other:
            assert (await ask(other)).status_code == 200
            assert sum(not task.done() for task in many) >= 20
            refused = [task.result() for task in many if task.done() and task.result().status_code != 200]
            assert len(refused) >= 5
            for answer in refused:
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
                assert int(answer.headers["retry-after"]) > 0
        async with client(server, API_KEY) as again:
            assert (await asyncio.wait_for(ask(again), 20)).status_code == 200

    asyncio.run(scenario())
