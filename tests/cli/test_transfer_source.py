"""A server that objects are fetched from and that does what it should not."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from everloom.cli import CommandError, transfer_source
from everloom.cli.transfer_source import RemoteSource, SourceRefused, path_of, source_at
from tests.bad_upstream import BadUpstream, bad_upstream


def asked(server: BadUpstream, ask: Callable[[RemoteSource], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with source_at(server.url, "secret", None, print) as source:
            return await ask(source)

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def _few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_source, "TRIES", 2)
    monkeypatch.setattr(transfer_source, "MOST_BYTES", 1000)


def test_a_redirect_is_not_followed() -> None:
    with bad_upstream() as server, bad_upstream() as other:
        other.says(b"{}")
        server.head = f"HTTP/1.1 302 Found\r\nlocation: {other.url}\r\ncontent-length: 0\r\n\r\n".encode()
        with pytest.raises(SourceRefused, match="/x: 302"):
            asked(server, lambda source: source.get("/x"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": "%s"}' % (b"x" * 2000), "more than 1000 bytes"),
        (b"[]", "no JSON object"),
        (b"{", "asked 2 times in vain: an answer that is no JSON"),
        (b"[" * 900, "asked 2 times in vain: an answer that is no JSON"),
    ],
)
def test_answers_that_are_none(body: bytes, why: str) -> None:
    with bad_upstream() as server:
        server.says(body)
        with pytest.raises(CommandError, match=why):
            asked(server, lambda source: source.get("/x"))


def test_halves_of_characters_can_be_kept() -> None:
    with bad_upstream() as server:
        server.says(rb'{"a\udfff": ["\ud800", "\ud83d\ude00", "\u0000"]}')
        assert asked(server, lambda source: source.get("/x")) == {"a\ufffd": ["\ufffd", "\U0001f600", "\0"]}


def test_a_list_without_an_end_ends() -> None:
    async def all_of(source: RemoteSource) -> int:
        return sum([len(page) async for page in source.pages("/threads")])

    with bad_upstream() as server:
        server.says(json.dumps({"data": [{"id": "a"}, 7], "has_more": True}).encode())
        assert asked(server, all_of) == 2
        server.says(json.dumps({"data": "all"}).encode())
        with pytest.raises(CommandError, match="no list"):
            asked(server, all_of)


def test_a_list_that_goes_round_in_a_circle_ends() -> None:
    async def all_of(source: RemoteSource) -> list[str]:
        read: list[str] = []
        async for page in source.pages("/threads"):
            read += [thing["id"] for thing in page]
            server.says(json.dumps({"data": [{"id": "ab"[len(read) % 2]}], "has_more": True}).encode())
        return read

    with bad_upstream() as server:
        server.says(json.dumps({"data": [{"id": "a"}], "has_more": True}).encode())
        assert asked(server, all_of) == ["a", "b", "a"]


def test_a_download_stops_where_a_file_should_end(tmp_path: Path) -> None:
    with bad_upstream() as server:
        server.says(b"x" * 5000, b"y" * 5_000_000)
        asked(server, lambda source: source.download("/files/a/content", tmp_path / "a", 10))
        assert 10 < (tmp_path / "a").stat().st_size < 2_000_000


def test_paths_of_any_ids() -> None:
    assert path_of("threads", "a/../b?c#d e", "messages") == "/threads/a%2F..%2Fb%3Fc%23d%20e/messages"
