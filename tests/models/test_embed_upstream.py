"""Vectors from another server: what goes out, what comes back, and what its refusals become."""

import asyncio
import base64
import contextlib
import json
import math
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from everloom.kit.errors import ApiError, ModelFailure
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.work.inference.embeddings import embed, embeddings
from tests.asking import asking

Handler = Callable[[dict[str, Any]], web.Response]


@contextlib.asynccontextmanager
async def served(answer: Handler, **settings: Any) -> AsyncIterator[tuple[Models, list[dict[str, Any]]]]:
    """Models on a server that answers every request for vectors so; and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        return answer(asked[-1])

    app = web.Application()
    app.router.add_post("/v1/embeddings", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(host, port)] = [address[:2] for address in runner.addresses]
    backend = UpstreamBackend(f"http://{host}:{port}/v1", retries=0, **settings)
    models = Models([], default=backend)
    await models.open()
    try:
        yield models, asked
    finally:
        await models.close()
        await runner.cleanup()


def numbers(body: dict[str, Any]) -> web.Response:
    """A server that knows no base64, answers out of order and with vectors that are not of unit length."""
    data = [
        {"object": "embedding", "index": at, "embedding": [3.0, float(len(text))]}
        for at, text in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return web.json_response({"object": "list", "data": data[::-1], "model": body["model"], "usage": usage})


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_the_answer_passes_as_it_stands() -> None:
    async def main() -> None:
        async with served(lambda body: web.Response(body=b'{"data": [], "extra":  1}')) as (models, asked):
            said = await embeddings(asking(models), {"model": "text-embedding-3-small", "input": "a", "dimensions": 2})
            assert said == b'{"data": [], "extra":  1}'
            assert asked == [{"model": "text-embedding-3-small", "input": "a", "dimensions": 2}]

    run(main)


def test_a_model_s_own_name_goes_out() -> None:
    async def main() -> None:
        async with served(numbers, model="bge-small") as (models, asked):
            await embeddings(asking(models), {"model": "mine", "input": ["a"]})
            assert asked[0]["model"] == "bge-small"

    run(main)


def test_vectors_come_in_order_at_unit_length_and_in_lots() -> None:
    async def main() -> None:
        async with served(numbers) as (models, asked):
            vectors = await embed(asking(models), "any", ["x" * size for size in range(1, 131)])
            assert [len(body["input"]) for body in asked] == [64, 64, 2]
            assert {body["encoding_format"] for body in asked} == {"base64"}
            assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-6) for vector in vectors)
            assert [round(vector[1] / vector[0] * 3) for vector in vectors] == list(range(1, 131))

    run(main)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "too much", "code": "context_length_exceeded"}),
        (400, {"message": "This model's maximum context length is 100 tokens. However, you asked for 2", "code": 400}),
        (500, {"message": "input (200 tokens) is too large to process. increase the physical batch size"}),
    ],
)
def test_a_text_too_long_for_the_model_is_read_in_parts(status: int, error: dict[str, Any]) -> None:
    def short_sighted(body: dict[str, Any]) -> web.Response:
        if max(map(len, body["input"])) > 100:
            return web.json_response({"error": error}, status=status)
        return numbers(body)

    async def main() -> None:
        async with served(short_sighted) as (models, asked):
            first, long, last = await embed(asking(models), "any", ["a", "b" * 390, "c"])
            assert first == last
            assert math.isclose(math.hypot(*long), 1, abs_tol=1e-6)
            assert long[1] > first[1]
            assert "".join(text for body in asked[-6:] for text in body["input"] if "b" in text).endswith("b" * 98)

    run(main)


def test_a_server_that_calls_everything_too_long_is_given_up() -> None:
    refuse = web.json_response

    async def main() -> None:
        error = {"error": {"message": "no", "code": "context_length_exceeded"}}
        async with served(lambda body: refuse(error, status=400)) as (models, asked):
            with pytest.raises(ModelFailure, match="too long"):
                await embed(asking(models), "any", ["x" * 1000])
            assert len(asked) < 20

    run(main)


@pytest.mark.parametrize("answer", [b"not json", b'{"data": 5}', b'{"data": [{"index": 0}]}'])
def test_an_answer_that_is_none_is_a_failure(answer: bytes) -> None:
    async def main() -> None:
        async with served(lambda body: web.Response(body=answer)) as (models, _):
            with pytest.raises(ModelFailure):
                await embed(asking(models), "any", ["a"])

    run(main)


def test_too_few_vectors_are_a_failure() -> None:
    async def main() -> None:
        async with served(lambda body: web.json_response({"data": []})) as (models, _):
            with pytest.raises(ModelFailure):
                await embed(asking(models), "any", ["a"])

    run(main)


@pytest.mark.parametrize(("status", "shown"), [(404, 502), (429, 429), (500, 502), (401, 502)])
def test_refusals_become_the_platform_s(status: int, shown: int) -> None:
    async def main() -> None:
        async with served(lambda body: web.Response(status=status)) as (models, _):
            with pytest.raises(ApiError) as caught:
                await embed(asking(models), "any", ["a"])
            assert caught.value.status == shown
            assert status != 404 or "no embeddings at its base URL" in caught.value.message

    run(main)


def test_nothing_and_emptiness() -> None:
    async def main() -> None:
        async with served(numbers) as (models, asked):
            assert await embed(asking(models), "any", []) == []
            with pytest.raises(ValueError, match="empty text"):
                await embed(asking(models), "any", ["a", ""])
            assert asked == []
            assert isinstance((await embed(asking(models), "any", ["a"]))[0], array)

    run(main)


def test_numbers_become_base64_where_that_was_asked_for() -> None:
    """Node's SDK asks for it unasked and reads nothing else. What else the answer holds stays as it is."""

    def ollama(body: dict[str, Any]) -> web.Response:
        return web.Response(
            body=b'{"object":"list","data":[{"object":"embedding","embedding":[1, -0.5, 1e300],"index":0,'
            b'"x":"\\u00e9"}],"model":"m", "total_duration": 1.50, "usage":null}'
        )

    async def main() -> None:
        async with served(ollama) as (models, _):
            said = await embeddings(asking(models), {"model": "any", "input": "a", "encoding_format": "base64"})
            whole = json.loads(said)
            assert array("f", base64.b64decode(whole["data"][0].pop("embedding"))).tolist() == [1.0, -0.5, math.inf]
            assert whole["data"] == [{"object": "embedding", "index": 0, "x": "é"}]
            assert b'"total_duration":1.50' in said
            assert whole["usage"] is None
            numbers = await embeddings(asking(models), {"model": "any", "input": "a", "encoding_format": "float"})
            assert b'"embedding":[1, -0.5, 1e300]' in numbers

    run(main)


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"data":[{"embedding":[null]}]}', b'{"data":[{}]}', b'{"data":[1]'])
def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    async def main() -> None:
        async with served(lambda body: web.Response(body=answer)) as (models, _):
            with pytest.raises(ModelFailure):
                await embeddings(asking(models), {"model": "any", "input": "a", "encoding_format": "base64"})

    run(main)
