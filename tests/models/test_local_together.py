"""Several requests at once on one model: they share its steps, and the loop stays free for everything else."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.models.local_model import Local, loaded, user


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with loaded(context=512, slots=2) as local:
        yield local


async def words(local: Local, name: str, order: list[str], **body: object) -> None:
    asked = local.request(messages=user("Count from one to ten"), max_tokens=24, stream=True, **body)
    answer = await local.backend.chat(asked)
    try:
        async for _ in answer.blocks():
            order.append(name)
    finally:
        await answer.close()


def test_answers_come_side_by_side(local: Local) -> None:
    order: list[str] = []

    async def both() -> None:
        await asyncio.gather(words(local, "a", order), words(local, "b", order))

    local.run(both())
    turns = sum(before != after for before, after in pairwise(order))
    assert turns > 10, "one after the other would be a single turn"


def test_other_work_goes_on_between_two_words(local: Local) -> None:
    order: list[str] = []

    async def beside() -> None:
        talking = asyncio.create_task(words(local, "word", order))
        while not talking.done():
            order.append("tick")
            await asyncio.sleep(0)
        await talking

    local.run(beside())
    first = order.index("word")
    last = len(order) - 1 - order[::-1].index("word")
    between = order[first:last]
    assert between.count("word") > 10
    assert between.count("tick") > between.count("word")


def test_who_leaves_the_queue_makes_no_room_for_nothing(local: Local) -> None:
    order: list[str] = []

    async def many() -> None:
        tasks = [asyncio.create_task(words(local, str(number), order)) for number in range(10)]
        await asyncio.sleep(0.05)
        for task in tasks[1:9]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    local.run(many())
    assert order.count("0") > 10
    assert order.count("9") > 10
