"""Requests for vectors that come together share the model's work, and nothing else."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from everloom.kit.errors import ModelFailure
from everloom.models.files.weights import MINILM
from everloom.models.minilm.batching import BATCH_TEXTS, BatchQueue, EmbeddingRequest, Input, weight
from everloom.models.minilm.engine import MiniLMEngine, TooLong, UnknownTokens
from tests.weights import default_weights


def lots_of(*requests: list[str], free: int = 1) -> list[list[tuple[int, str]]]:
    """What goes out together, until nothing waits: (which request, text)."""

    async def main() -> list[list[tuple[int, str]]]:
        queue, made = BatchQueue(), []
        for texts in requests:
            made.append(EmbeddingRequest(texts, asyncio.get_running_loop().create_future()))
            queue.add(made[-1])
        lots = []
        while lot := queue.next_batch(free):
            lots.append([(made.index(request), str(request.inputs[place])) for request, place in lot])
        assert len(queue) == 0
        return lots

    return asyncio.run(main())


def test_short_requests_go_out_together() -> None:
    assert lots_of(*(["rain"] for _ in range(20))) == [
        [(number, "rain") for number in range(16)],
        [(number, "rain") for number in range(16, 20)],
    ]


def test_a_search_stands_in_the_next_lot() -> None:
    [first, *rest] = lots_of([f"passage {number}" for number in range(100)], ["rain"])
    assert (1, "rain") in first[:2]
    assert sum(map(len, rest)) == 101 - BATCH_TEXTS


def test_texts_keep_their_order() -> None:
    texts = [f"text {number}" for number in range(50)]
    assert [text for lot in lots_of(texts, free=2) for _, text in lot] == texts


def test_long_texts_go_out_alone() -> None:
    assert [len(lot) for lot in lots_of(["word " * 500, "rain", "word " * 300, "word " * 300])] == [1, 2, 1]


def test_few_texts_are_shared_out_among_free_threads() -> None:
    assert len(lots_of(["a"] * 8, free=2)[0]) == 4
    assert [len(lot) for lot in lots_of(["a"] * 3, free=4)] == [1, 1, 1]


def test_a_text_weighs_as_its_tokens_do() -> None:
    assert (weight("rain"), weight("雨雨雨雨"), weight([1, 2, 3])) == (4, 12, 12)


def test_who_leaves_waits_no_longer() -> None:
    async def main() -> None:
        queue = BatchQueue()
        gone, stays = (EmbeddingRequest(["a"] * 100, asyncio.get_running_loop().create_future()) for _ in range(2))
        queue.add(gone)
        queue.add(stays)
        queue.next_batch(1)
        queue.drop(gone)
        queue.drop(gone)
        assert len(queue) == 100 - BATCH_TEXTS // 2
        assert {request for request, _ in queue.next_batch(1)} == {stays}

    asyncio.run(main())


@asynccontextmanager
async def engine(threads: int = 2) -> AsyncIterator[MiniLMEngine]:
    made = MiniLMEngine(*default_weights().fetch(MINILM), threads=threads)
    try:
        yield made
    finally:
        await made.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(work(), 60)

    asyncio.run(main())


def test_everybody_gets_their_own() -> None:
    async def main() -> None:
        async with engine() as model:
            texts = [f"question number {number}" for number in range(40)]
            together = await asyncio.gather(*(model.embed([text]) for text in texts))
            alone = await model.embed([texts[17]])
            assert [len(made.vectors) for made in together] == [1] * 40
            assert len({made.vectors[0] for made in together}) == 40
            assert together[17].tokens == alone.tokens == 5

    run(main)


def test_nobody_fails_of_anothers_text() -> None:
    async def main() -> None:
        async with engine(threads=1) as model:
            inputs: list[list[Input]] = [
                ["rain"],
                ["word " * 600],
                [[1, 99_999]],
                ["\ud800"],
                ["word " * 100_000],
                ["sun", "x"],
            ]
            said = await asyncio.gather(*map(model.embed, inputs), return_exceptions=True)
            kinds = [type(one).__name__ for one in said]
            assert kinds == ["Embeddings", "TooLong", "UnknownTokens", "UnicodeEncodeError", "TooLong", "Embeddings"]
            assert isinstance(said[1], TooLong)
            assert said[1].tokens == 602

    run(main)


def test_a_child_that_dies_under_several_requests_is_started_again_for_all() -> None:
    async def main() -> None:
        async with engine() as model:
            await model.ready()
            asked = [asyncio.create_task(model.embed(["word " * 300] * 3)) for _ in range(4)]
            await asyncio.sleep(0.05)
            assert model.pid is not None
            os.kill(model.pid, signal.SIGKILL)
            assert [made.tokens for made in await asyncio.gather(*asked)] == [906] * 4

    run(main)


def test_what_is_closed_answers_nobody_and_may_be_opened_again() -> None:
    async def main() -> None:
        async with engine() as model:
            asked = [asyncio.create_task(model.embed(["word " * 300] * 20)) for _ in range(3)]
            await asyncio.sleep(0.5)
            await model.close()
            said = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(one, ModelFailure) for one in said)
            assert model.pid is None
            assert (await model.embed(["rain"])).tokens == 3

    run(main)


def test_a_cancelled_request_leaves_the_model_to_others() -> None:
    async def main() -> None:
        async with engine() as model:
            await model.ready()
            file = asyncio.create_task(model.embed(["word " * 300] * 500))
            await asyncio.sleep(0.1)
            file.cancel()
            with pytest.raises(asyncio.CancelledError):
                await file
            # All of it would take a minute, and each lot of it goes before what comes later.
            assert len((await asyncio.wait_for(model.embed(["word " * 300] * 4), 20)).vectors) == 4

    run(main)


def test_unknown_tokens_are_told() -> None:
    async def main() -> None:
        async with engine() as model:
            with pytest.raises(UnknownTokens):
                await model.embed([[5, 30_522]])

    run(main)
