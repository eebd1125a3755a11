"""The upstream backend against a scripted server: bytes, retries, failures, hangs, cancellation."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.lost_attempts import hearing_of_lost
from everloom.models.upstream.backend import UpstreamBackend
from everloom.models.upstream.errors import LONGEST_ASKED_WAIT_SECONDS, backoff
from tests.scripted import Breaks, Calls, Fails, Garbage, Hangs, Reply, Says, ScriptedUpstream, Slow

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}
STREAMED: dict[str, Any] = {**BODY, "stream": True}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@contextlib.asynccontextmanager
async def opened(upstream: ScriptedUpstream, **options: Any) -> AsyncIterator[UpstreamBackend]:
    backend = UpstreamBackend(upstream.url, **options)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def read(backend: UpstreamBackend, body: dict[str, Any], raw: bytes | None = None) -> bytes:
    answer = await backend.chat(body, raw)
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


def ask(upstream: ScriptedUpstream, body: dict[str, Any] = BODY, raw: bytes | None = None, **options: Any) -> bytes:
    async def main() -> bytes:
        async with opened(upstream, **options) as backend:
            return await read(backend, body, raw)

    return asyncio.run(main())


def refused(upstream: ScriptedUpstream, *replies: Reply, body: dict[str, Any] = BODY, **options: Any) -> ApiError:
    upstream.script(*replies)
    with pytest.raises(ApiError) as caught:
        ask(upstream, body, **options)
    return caught.value


def test_request_bytes_go_out_as_they_came(upstream: ScriptedUpstream) -> None:
    raw = b'{ "messages":[{"role":"user","content":"H\\u00e9"}],"temperature":1.00, "model" : "gpt-4o" }'
    ask(upstream, msgspec.json.decode(raw), raw)
    assert upstream.requests[0].raw == raw


def test_the_answer_comes_back_untouched(upstream: ScriptedUpstream) -> None:
    upstream.script(Says("It rains in Ålesund."))
    answer = msgspec.json.decode(ask(upstream))
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "It rains in Ålesund."
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


def test_a_stream_comes_back_untouched(upstream: ScriptedUpstream) -> None:
    upstream.script(Says("one two three"))
    data = ask(upstream, STREAMED)
    assert data.count(b"data: ") == 6
    assert data.endswith(b"data: [DONE]\n\n")


def test_a_fixed_model_replaces_only_the_name(upstream: ScriptedUpstream) -> None:
    ask(upstream, {**BODY, "seed": 7}, b"{}", model="qwen")
    assert upstream.requests[0].body == {**BODY, "seed": 7, "model": "qwen"}


def test_the_key_goes_along(upstream: ScriptedUpstream) -> None:
    ask(upstream, api_key="secret")
    assert upstream.requests[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("reply", [Fails(500), Fails(503), Fails(429), Breaks(0)], ids=lambda reply: repr(reply)[:12])
def test_retries_before_the_answer_begins(upstream: ScriptedUpstream, reply: Reply) -> None:
    upstream.script(reply, reply, Says("at last"))
    assert b"at last" in ask(upstream)
    assert len(upstream.requests) == 3


def test_retries_end(upstream: ScriptedUpstream) -> None:
    error = refused(upstream, Fails(500), Fails(500), retries=1)
    assert (error.status, error.type, error.code) == (502, "server_error", "upstream_error")
    assert "The server had an error" in error.message
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("replies", "answering", "lost"),
    [
        ([Breaks(), Breaks(), Says("Hi")], 0.0, 2),
        ([Breaks(), Says("Hi")], 60.0, 0),  # Sooner than a model answers.
        ([Fails(500), Fails(429), Says("Hi")], 0.0, 0),
        ([Fails(400)], 0.0, 0),
        ([Breaks()] * 3, 0.0, 3),
        ([Hangs()], 60.0, 1),
        ([Breaks(2)], 60.0, 0),  # Of an answer that has begun, whoever reads it knows what came.
    ],
    ids=str,
)
def test_attempts_are_lost_of_which_nobody_tells_what_they_cost(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, replies: list[Reply], answering: float, lost: int
) -> None:
    monkeypatch.setattr("everloom.models.upstream.http._ANSWERING_SECONDS", answering)
    monkeypatch.setattr("everloom.models.upstream.errors.FIRST_WAIT_SECONDS", 0.01)
    upstream.script(*replies)
    found: list[int] = []
    with hearing_of_lost(lambda: found.append(1)), contextlib.suppress(ApiError):
        ask(upstream, timeout=0.5)
    assert len(found) == lost


def test_who_reaches_nobody_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everloom.models.upstream.http._ANSWERING_SECONDS", 0.0)

    async def main(url: str) -> None:
        backend = UpstreamBackend(url, retries=0)
        await backend.open()
        with hearing_of_lost(lambda: pytest.fail("nobody has had it")), pytest.raises(ModelFailure):
            await read(backend, BODY)
        await backend.close()

    for url in ("http://127.0.0.1:9/v1", "http://nowhere.invalid/v1", "nonsense"):
        asyncio.run(main(url))


def test_waits_as_long_as_the_upstream_asks(upstream: ScriptedUpstream) -> None:
    upstream.script(Fails(429, retry_after=0.6), Says("now"))
    started = time.monotonic()
    assert b"now" in ask(upstream)
    assert time.monotonic() - started >= 0.6


def test_does_not_wait_for_minutes(upstream: ScriptedUpstream) -> None:
    error = refused(upstream, Fails(429, retry_after=300))
    assert (error.status, error.code, error.headers["retry-after"]) == (429, "rate_limit_exceeded", "300")
    assert len(upstream.requests) == 1


def test_backoff_grows_and_stays_bounded() -> None:
    waits = [backoff(attempt, {}) or 0 for attempt in range(20)]
    assert 0.125 <= waits[0] <= 0.25
    assert waits[3] > waits[0]
    assert max(waits) <= 8
    assert backoff(0, {"retry-after-ms": "40"}) == 0.04
    assert backoff(0, {"retry-after": str(LONGEST_ASKED_WAIT_SECONDS + 1)}) is None
    assert backoff(0, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert backoff(0, {"retry-after": "soon"}) is not None


def test_an_exhausted_quota_is_not_asked_again(upstream: ScriptedUpstream) -> None:
    body = {"error": {"message": "You exceeded your current quota.", "type": "insufficient_quota", "param": None}}
    body["error"]["code"] = "insufficient_quota"
    error = refused(upstream, Fails(429, body))
    assert (error.status, error.type, error.code) == (429, "insufficient_quota", "insufficient_quota")
    assert len(upstream.requests) == 1


def test_a_refusal_is_passed_on_word_by_word(upstream: ScriptedUpstream) -> None:
    fields = {
        "message": "This model's maximum context length is 8192 tokens.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    error = refused(upstream, Fails(400, {"error": fields}))
    assert error.status == 400
    assert error.envelope() == {"error": fields}
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        ({"detail": [{"loc": ["body"], "msg": "bad"}]}, '[{"loc":["body"],"msg":"bad"}]'),
        ({"error": "no such model"}, "no such model"),
        ("plain words", "plain words"),
    ],
)
def test_other_servers_errors_get_our_envelope(upstream: ScriptedUpstream, body: Any, message: str) -> None:
    error = refused(upstream, Fails(422, body))
    assert (error.status, error.message) == (422, message)
    assert set(error.envelope()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_upstream_key_is_not_the_callers_fault(upstream: ScriptedUpstream, status: int) -> None:
    error = refused(upstream, Fails(status))
    assert (error.status, error.type, error.code) == (502, "server_error", "upstream_refused")
    assert "refused this server's own key" in error.message


@pytest.mark.parametrize("status", [302, 404])
def test_a_wrong_base_url_is_said_so(upstream: ScriptedUpstream, status: int) -> None:
    error = refused(upstream, Fails(status, "<html>nginx</html>"))
    assert (error.status, error.code) == (502, "upstream_unreachable")
    assert "html" not in error.message


def test_nobody_listens(upstream: ScriptedUpstream) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        backend = UpstreamBackend(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=1)

        async def main() -> None:
            await backend.open()
            try:
                with pytest.raises(ModelFailure) as caught:
                    await backend.chat(BODY)
                assert (caught.value.status, caught.value.code) == (502, "upstream_unreachable")
            finally:
                await backend.close()

        asyncio.run(main())


@pytest.mark.parametrize("after", [0, 2])
def test_a_hanging_stream_ends(upstream: ScriptedUpstream, after: int) -> None:
    error = refused(upstream, Hangs(after), body=STREAMED, timeout=0.3)
    assert (error.status, error.code) == (504, "upstream_timeout")
    assert upstream.wait(lambda: len(upstream.disconnects) == 1)


def test_a_slow_stream_is_no_hanging_one(upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.15))
    assert ask(upstream, STREAMED, timeout=0.5).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [True, False])
def test_a_broken_answer_is_told(upstream: ScriptedUpstream, stream: bool) -> None:
    error = refused(upstream, Breaks(3), body={**BODY, "stream": stream})
    assert (error.status, error.code) == (502, "upstream_broken")
    assert len(upstream.requests) == 1, "what has begun is not asked for again"


def test_garbage_passes_through_unread(upstream: ScriptedUpstream) -> None:
    upstream.script(Garbage(1))
    assert b'data: {"id":"chatcmpl-\n\n' in ask(upstream, STREAMED)


def test_a_stream_that_ends_politely_but_early_is_broken(upstream: ScriptedUpstream) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {}\n\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        backend = UpstreamBackend(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await backend.open()
        try:
            with pytest.raises(ModelFailure, match=r"ended before \[DONE\]"):
                await read(backend, STREAMED)
        finally:
            await backend.close()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_closing_stops_the_upstream(upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.05, Says("word " * 1000)))

    async def main() -> None:
        async with opened(upstream) as backend:
            answer = await backend.chat(STREAMED)
            await anext(answer.blocks())
            assert upstream.active == 1
            await answer.close()
            gone = await asyncio.to_thread(upstream.wait, lambda: upstream.active == 0, 1.0)
            assert gone
            assert len(upstream.disconnects) == 1

    asyncio.run(main())


def test_one_connection_serves_many_requests(upstream: ScriptedUpstream) -> None:
    async def main() -> None:
        async with opened(upstream) as backend:
            for _ in range(3):
                await read(backend, BODY)
                await read(backend, STREAMED)
            assert backend._server._connections is not None
            assert len(backend._server._connections._open) == 1

    asyncio.run(main())


def test_the_list_of_models_is_kept_for_a_while(upstream: ScriptedUpstream) -> None:
    async def main() -> None:
        async with opened(upstream) as backend:
            lists = await asyncio.gather(*(backend.models() for _ in range(5)))
            assert [model.id for model in lists[4]] == ["gpt-4o", "gpt-4-turbo", "scripted"]
            assert (lists[0][0].created, lists[0][0].owned_by) == (1_700_000_000, "scripted")
            assert upstream.model_lists == 1

    asyncio.run(main())


def test_the_context_window(upstream: ScriptedUpstream) -> None:
    async def main() -> None:
        async with opened(upstream) as backend, opened(upstream, context_window=4000) as small:
            names = ("gpt-4", "gpt-4-0613", "gpt-4-32k", "gpt-4o-mini", "ft:gpt-3.5-turbo:me::x", "gpt-3.5-turbo-0301")
            windows = [(await backend.traits(name)).context_window for name in names]
            assert windows == [8192, 8192, 32768, 128000, 16385, 4096]
            assert (await backend.traits("something-else")).context_window == 128_000
            assert (await small.traits("gpt-4")).context_window == 4000

    asyncio.run(main())


def test_the_estimate_is_an_upper_one(upstream: ScriptedUpstream) -> None:
    async def main() -> None:
        async with opened(upstream) as backend:
            english = "The quick brown fox jumps over the lazy dog. " * 20  # 10 tokens a sentence
            assert 200 <= await backend.count({"messages": [{"role": "user", "content": english}]}) <= 400
            chinese = "你好世界" * 100
            assert await backend.count({"messages": [{"role": "user", "content": chinese}]}) >= 500
            image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
            assert await backend.count({"messages": [{"role": "user", "content": [image]}]}) < 2000
            calls = Calls(("f", {})).calls
            assert await backend.count({"messages": [], "tools": [{"function": {"name": calls[0][0]}}]}) > 12

    asyncio.run(main())
