"""Several real models with memory for one of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from everloom.kit.errors import ModelFailure
from everloom.models.llama.backend import LlamaBackend
from everloom.models.memory_budget import MemoryBudget, available, budget_of_machine, resident
from everloom.models.minilm.backend import MiniLMBackend
from tests.models.local_model import user
from tests.models.test_local_process import wait_for_end
from tests.weights import default_gguf, default_weights

ONE = 500_000_000
"""Bytes: room for one of them with four slots of 1 024 tokens (about 290 MB), and for the small one beside it."""


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Path]:
    """The same model in two files."""
    paths = {name: tmp_path / f"{name}.gguf" for name in ("a", "b")}
    for path in paths.values():
        path.symlink_to(default_gguf())
    return paths


def run(paths: dict[str, Any], work: Callable[[LlamaBackend], Awaitable[None]], limit: int = ONE) -> None:
    async def main() -> None:
        backend = LlamaBackend(paths, default_weights(), context=1024, budget=MemoryBudget(limit))
        try:
            await work(backend)
        finally:
            await backend.close()

    asyncio.run(main())


async def ask(backend: LlamaBackend, model: str, **body: Any) -> bytes:
    asked = {"model": model, "messages": user("Hello"), "temperature": 0, "max_tokens": 4, **body}
    answer = await backend.chat(asked)
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


def test_two_take_turns_where_there_is_room_for_one(two: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        seen = set()
        for name in "abab":
            assert b'"choices"' in await ask(backend, name)
            (pid,) = backend.children()
            assert resident(pid) > 100_000_000
            seen.add(pid)
        assert len(seen) == 4
        assert all(wait_for_end(pid) for pid in seen - set(backend.children()))

    run(two, work)


def test_with_room_for_both_both_stay(two: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        for name in "abab":
            await ask(backend, name)
        first = backend.children()
        await ask(backend, "a")
        assert len(first) == 2
        assert backend.children() == first

    run(two, work, 2 * ONE)


def test_a_stream_is_finished_before_its_model_goes(two: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        answer = await backend.chat(
            {"model": "a", "messages": user("Count to 100"), "max_tokens": 60, "stream": True, "n": 2}
        )
        other = asyncio.create_task(ask(backend, "b"))
        blocks = []
        async for block in answer.blocks():
            blocks.append(block)
            await asyncio.sleep(0.01)
        said = b"".join(blocks)
        await answer.close()
        assert said.endswith(b"data: [DONE]\n\n")
        assert said.count(b'"finish_reason":"') == 2
        assert b'"choices"' in await asyncio.wait_for(other, 60)

    run(two, work)


def test_whoever_reads_slowly_holds_no_memory(two: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        answer = await backend.chat({"model": "a", "messages": user("Hello"), "max_tokens": 20, "stream": True})
        assert b'"choices"' in await asyncio.wait_for(ask(backend, "b"), 60)
        said = b"".join([block async for block in answer.blocks()])
        assert said.endswith(b"data: [DONE]\n\n")
        await answer.close()

    run(two, work)


def test_many_at_once_on_both_all_get_their_answers(two: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        said = await asyncio.wait_for(asyncio.gather(*(ask(backend, name) for name in "abababab")), 120)
        assert all(b'"choices"' in answer for answer in said)
        assert len(backend.children()) == 1

    run(two, work)


def test_a_model_larger_than_all_the_memory_is_refused(two: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        with pytest.raises(ModelFailure, match="local_memory") as refused:
            await ask(backend, "a")
        assert refused.value.status == 503
        assert backend.children() == []

    run(two, work, 100_000_000)


def test_preload_loads_what_fits(two: dict[str, Path]) -> None:
    async def main() -> None:
        budget = MemoryBudget(450_000_000)
        backend = LlamaBackend(two, default_weights(), context=1024, budget=budget)
        small = MiniLMBackend("small", default_weights(), budget)
        try:
            await budget.preload([*backend.loadable().values(), *small.loadable().values()])
            first = backend.children(), small.children()
            assert list(map(len, first)) == [1, 1]  # a, and the small one that fits beside it
            await small.embed({"model": "small", "input": "x"})
            await ask(backend, "a")
            assert (backend.children(), small.children()) == first
        finally:
            await backend.close()
            await small.close()

    asyncio.run(main())


def test_the_estimate_is_about_what_it_takes(two: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        await ask(backend, "a")
        model = backend._models["a"]
        estimate, measured = await model.estimate(), resident(model.pid)
        assert 0.75 < estimate / measured < 1.35

    run(two, work)


def test_the_machine_has_memory() -> None:
    assert 10**8 < available() < 2**50
    assert budget_of_machine() >= 2**30
