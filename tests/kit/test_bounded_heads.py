"""Answers that begin late or never, over connections that are used again."""

import asyncio

import aiohttp
import pytest

from everloom.kit.bounded_heads import MOST_BYTES, BoundedHeads
from tests.bad_upstream import BadUpstream, bad_upstream
from tests.hooks import Hook, interim

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def lengths(url: str, count: int = 1) -> list[int]:
    """How many bytes the bodies of so many answers have."""

    async def main() -> list[int]:
        async with aiohttp.ClientSession(connector=BoundedHeads()) as session:
            return [len(await (await session.post(url)).read()) for _ in range(count)]

    return asyncio.run(main())


def says(server: BadUpstream, interims: int, *bodies: bytes) -> None:
    server.says(*bodies)
    server.head = INTERIM * interims + server.head


def test_interim_answers_are_passed_over_and_a_body_may_be_long() -> None:
    with bad_upstream() as server:
        says(server, 1000, b"x" * 3_000_000)
        assert lengths(server.url) == [3_000_000]


def test_each_answer_of_a_connection_has_its_own_bound() -> None:
    with Hook(lambda request: request.reply(200, b"x" * 10_000)) as hook:
        assert lengths(hook.url, 20) == [10_000] * 20


def test_who_begins_no_answer_is_cut() -> None:
    with bad_upstream() as server:
        says(server, MOST_BYTES // len(INTERIM) + 1, b"late")
        with pytest.raises(aiohttp.ClientError):
            lengths(server.url)
    with Hook(interim) as hook, pytest.raises(aiohttp.ClientError):
        lengths(hook.url)
