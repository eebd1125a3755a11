"""Asking a model and metering it, against a scripted server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from everloom.context import Context
from everloom.context.answers import usage_at_end
from everloom.kit.errors import ModelFailure, NotFound
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.chat import ChatChunk
from everloom.objects.tools import EstimatedUsage, Usage
from everloom.work.inference.chat import ask, stream_chunks
from tests.asking import asking
from tests.replies import Fails
from tests.scripted import Breaks, Calls, Garbage, Reply, Says, ScriptedUpstream, Slow

HELLO: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello!"}]}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@contextlib.asynccontextmanager
async def serving(upstream: ScriptedUpstream) -> AsyncIterator[Context]:
    backend = UpstreamBackend(upstream.url, retries=0)
    models = Models([("gpt-4o", backend, None)], [("gpt-4", "gpt-4o")])
    await models.open()
    try:
        yield asking(models)
    finally:
        await models.close()


def chunks(upstream: ScriptedUpstream, reply: Reply) -> list[ChatChunk]:
    upstream.script(reply)

    async def main() -> list[ChatChunk]:
        async with serving(upstream) as ctx:
            return [chunk async for chunk in stream_chunks(ctx, HELLO)]

    return asyncio.run(main())


def test_chunks_end_with_the_usage(upstream: ScriptedUpstream) -> None:
    told = chunks(upstream, Says("one two three", prompt_tokens=11))
    assert "".join(choice.delta.content or "" for chunk in told for choice in chunk.choices) == "one two three"
    assert told[-2].choices[0].finish_reason == "stop"
    assert told[-1].usage == Usage(prompt_tokens=11, completion_tokens=3, total_tokens=14)
    assert upstream.requests[0].body == {
        **HELLO,
        "model": "gpt-4o",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_chunks_of_calls(upstream: ScriptedUpstream) -> None:
    told = chunks(upstream, Calls(("weather", {"city": "Oslo"}), ("time", {})))
    pieces = [call for chunk in told for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert {call.index for call in pieces} == {0, 1}
    assert [call.function.name for call in pieces if call.function and call.function.name] == ["weather", "time"]


@pytest.mark.parametrize("reply", [Breaks(2), Garbage(0), Garbage(2)], ids=str)
def test_chunks_that_break(upstream: ScriptedUpstream, reply: Reply) -> None:
    with pytest.raises(ModelFailure) as caught:
        chunks(upstream, reply)
    assert caught.value.code == "upstream_broken"


def test_leaving_the_chunks_stops_the_model(upstream: ScriptedUpstream) -> None:
    upstream.script(Slow(0.05, Says("word " * 1000)))

    async def main() -> None:
        async with serving(upstream) as ctx, contextlib.aclosing(stream_chunks(ctx, HELLO)) as told:
            async for chunk in told:
                assert chunk.choices
                break
        assert await asyncio.to_thread(upstream.wait, lambda: len(upstream.disconnects) == 1)

    asyncio.run(main())


def test_a_stream_without_usage_is_estimated(upstream: ScriptedUpstream) -> None:
    """Of a server that knows no ``stream_options``, and is asked again without them."""
    refusal = {"error": {"message": "Unknown field: stream_options", "type": "invalid_request_error"}}
    upstream.script(Fails(422, refusal), Says("one two three four five"))

    async def main() -> Usage | None:
        async with serving(upstream) as ctx:
            answer = await ask(ctx, {**HELLO, "stream": True})
            assert not answer.hides_usage
            assert "stream_options" not in upstream.requests[-1].body
            assert answer.model == "gpt-4o"
            assert [block async for block in answer.blocks()]
            assert answer.usage is None
            await answer.close()
            await answer.close()
            return answer.usage

    usage = asyncio.run(main())
    assert isinstance(usage, EstimatedUsage)
    assert usage.completion_tokens == 5
    assert usage.prompt_tokens > 0


def test_a_model_nobody_serves(upstream: ScriptedUpstream) -> None:
    async def main() -> None:
        async with serving(upstream) as ctx:
            await ask(ctx, {**HELLO, "model": "gpt-7"})

    with pytest.raises(NotFound):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\ndata: [DONE]\n\n', (1, 2, 3)),
        (b'{"usage":{"total_tokens":1}}\n{"usage": {"total_tokens":9,"details":{"cached":{}}}, "id":1}', (9, 0, 9)),
        (b'{"usage":{"total_tokens":5}}\n{"usage":null}', (5, 0, 5)),
        (b'{"content":"\\"usage\\":{\\"total_tokens\\":7}"}', None),
        (b'"usage":{"total_to', None),
        (b'"usage":{"total_tokens":"many"}', None),
        (b"", None),
    ],
)
def test_the_usage_at_the_end(tail: bytes, usage: tuple[int, int, int] | None) -> None:
    found = usage_at_end(tail)
    assert (found and (found.prompt_tokens, found.completion_tokens, found.total_tokens)) == usage
