"""Tuned models beside their base in one engine: real adapters over the real default model."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from everloom.kit.errors import BadRequest, ModelFailure, NotFound
from everloom.models.llama.backend import LlamaBackend
from everloom.models.memory_budget import MemoryBudget
from tests.models.gguf_lora import head_keys, write_adapter, write_tensors
from tests.models.local_model import NAME, Local, function, loaded, user
from tests.weights import default_gguf, default_weights

ONE, TWO = "ft:smollm2-135m:org::one", "ft:smollm2-135m:org::two"
TALE: dict[str, Any] = {"messages": user("Tell me of Paris."), "logprobs": True, "top_logprobs": 2, "max_tokens": 8}

NOISE = 0.05
"""What is read or written together with other texts, or goes on from kept keys, is rounded differently."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(folder / f"{seed}.gguf", seed=seed) for seed, name in enumerate((ONE, TWO))}


@pytest.fixture(scope="module")
def local(files: dict[str, Path]) -> Iterator[Local]:
    with loaded(context=1024) as local:
        for name, path in files.items():
            local.backend.adopt(name, NAME, path)
        yield local


def said(answer: bytes) -> tuple[str, list[Any]]:
    """An answer's text and the log probabilities of all that it considered."""
    choice = json.loads(answer)["choices"][0]
    return choice["message"]["content"], choice["logprobs"]["content"]


def likely(answer: bytes) -> list[float]:
    """How sure the model was of its first two words."""
    return [token["logprob"] for token in said(answer)[1][:2]]


def alone(path: Path) -> tuple[str, list[Any]]:
    """What a tuned model says in an engine that was never asked anything else."""
    with loaded(context=1024) as fresh:
        fresh.backend.adopt(ONE, NAME, path)
        return said(fresh.run(fresh.bytes(model=ONE, **TALE)))


def test_models_over_one_base_never_go_on_from_each_others_keys(local: Local, files: dict[str, Path]) -> None:
    with loaded(context=1024) as fresh:
        expected = {NAME: said(fresh.run(fresh.bytes(**TALE)))}
    expected |= {name: alone(path) for name, path in files.items()}
    assert len({text for text, _ in expected.values()}) == 3
    for name in (NAME, ONE, NAME, TWO, NAME, TWO, ONE, TWO, NAME, ONE):
        assert said(local.run(local.bytes(model=name, **TALE))) == expected[name], name
    assert len(local.backend.children()) == 1


def test_asked_at_the_same_time_each_answers_as_if_alone(local: Local) -> None:
    names = [NAME, ONE, TWO, NAME, ONE, TWO, NAME, ONE]
    expected = {name: likely(local.run(local.bytes(model=name, **TALE))) for name in names}
    assert expected[NAME] != pytest.approx(expected[ONE], abs=NOISE)
    assert expected[ONE] != pytest.approx(expected[TWO], abs=NOISE)
    assert expected[TWO] != pytest.approx(expected[NAME], abs=NOISE)

    async def together() -> list[bytes]:
        return await asyncio.gather(*(local.bytes(model=name, **TALE) for name in names))

    for name, answer in zip(names, local.run(together()), strict=True):
        assert likely(answer) == pytest.approx(expected[name], abs=NOISE), name


def test_the_same_tokens_read_again_are_not_computed_again(local: Local) -> None:
    asked: dict[str, Any] = {"model": ONE, "messages": user("Once more, word for word, please."), "max_tokens": 1}
    local.chat(**asked)
    usage = local.chat(**asked).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens


def test_a_tuned_model_is_a_model_as_its_base_is(local: Local) -> None:
    backend = local.backend
    body = {"model": ONE, "messages": user("Hello")}
    assert [model.id for model in local.run(backend.models())] == [NAME]  # whose the others are it does not know
    assert backend.capabilities(ONE) == backend.capabilities(NAME)
    assert local.run(backend.count(body)) == local.run(backend.count({**body, "model": NAME}))
    assert local.run(backend.traits(ONE)) == local.run(backend.traits(NAME))
    with pytest.raises(BadRequest, match="makes no embeddings"):
        local.run(backend.embed({"model": ONE, "input": "a"}))


def test_it_names_itself_and_another_fingerprint(local: Local) -> None:
    prints = {}
    for name in (NAME, ONE, TWO):
        answer = local.chat(model=name, messages=user("Hi"), max_tokens=1)
        assert answer.model == name
        prints[name] = answer.system_fingerprint
    assert len(set(prints.values())) == 3


def test_tools_schemas_choices_and_streams(local: Local) -> None:
    tool = function("add", "Add two numbers.", a={"type": "integer"}, b={"type": "integer"})
    called = local.chat(model=ONE, messages=user("1 + 2?"), tools=[tool], tool_choice="required", max_tokens=60)
    assert called.choices[0].message.tool_calls
    assert called.choices[0].message.tool_calls[0].function.name == "add"
    schema = {"type": "object", "properties": {"n": {"enum": [3, 5]}}, "required": ["n"], "additionalProperties": False}
    wished = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    formed = local.chat(model=TWO, messages=user("A number."), response_format=wished, max_tokens=30, n=2)
    assert [json.loads(choice.message.content or "")["n"] in (3, 5) for choice in formed.choices] == [True, True]
    whole = local.chat(model=ONE, messages=user("Hello")).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in local.stream(model=ONE, messages=user("Hello"))]
    assert "".join(pieces) == whole


def test_completions_of_tuned_models(local: Local) -> None:
    async def complete(name: str) -> Any:
        asked = {"model": name, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8}
        answer = await local.backend.complete({**asked, "logprobs": 1, "echo": True})
        return json.loads(b"".join([block async for block in answer.blocks()]))["choices"][0]

    told = {name: local.run(complete(name)) for name in (NAME, ONE, TWO, NAME)}
    likely = {tuple(choice["logprobs"]["token_logprobs"][1:5]) for choice in told.values()}
    assert len(likely) == 3


def run(work: Callable[[LlamaBackend], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        backend = LlamaBackend({NAME: default_gguf()}, default_weights(), context=512, slots=2, **settings)
        try:
            await work(backend)
        finally:
            await backend.close()

    asyncio.run(main())


async def ask(backend: LlamaBackend, name: str) -> Any:
    """How sure a model is of its first words, to be compared with what it says another time."""
    answer = await backend.chat({"model": name, "temperature": 0, **TALE})
    try:
        return likely(b"".join([block async for block in answer.blocks()]))
    finally:
        await answer.close()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.02)


def test_one_adopted_while_the_base_answers_is_there_and_the_answer_goes_on(files: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        long = {"model": NAME, "messages": user("Tell me a story."), "max_tokens": 300, "stream": True, "seed": 1}
        answer = await backend.chat(long)
        before = backend.children()
        backend.adopt(ONE, NAME, files[ONE])
        assert backend.children() == before
        assert await ask(backend, ONE)
        blocks = [block async for block in answer.blocks()]
        await answer.close()
        assert blocks[-1].endswith(b"data: [DONE]\n\n")
        await until(lambda: len(backend.children()) == 1)
        assert backend.children() != before

    run(work)


def test_with_memory_for_one_engine_the_next_one_waits_for_the_last(files: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        long = {"model": NAME, "messages": user("Tell me a story."), "max_tokens": 60, "stream": True, "seed": 1}
        answer = await backend.chat(long)
        before = backend.children()
        backend.adopt(ONE, NAME, files[ONE])
        tuned, base = asyncio.create_task(ask(backend, ONE)), asyncio.create_task(ask(backend, NAME))
        blocks = [block async for block in answer.blocks()]
        await answer.close()
        assert blocks[-1].endswith(b"data: [DONE]\n\n")
        assert await tuned
        assert await base
        assert len(backend.children()) == 1
        assert backend.children() != before

    run(work, budget=MemoryBudget(300_000_000))


def test_forgotten_in_the_middle_it_finishes_and_is_there_no_more(tmp_path: Path) -> None:
    async def work(backend: LlamaBackend) -> None:
        path = write_adapter(tmp_path / "gone.gguf", seed=5)
        backend.adopt(ONE, NAME, path)
        answer = await backend.chat({"model": ONE, "messages": user("Hi"), "max_tokens": 40, "stream": True})
        backend.forget(ONE)
        path.unlink()
        with pytest.raises(NotFound):
            await ask(backend, ONE)
        assert [block async for block in answer.blocks()][-1].endswith(b"data: [DONE]\n\n")
        await answer.close()
        assert backend.capabilities(ONE) == ()
        backend.forget(ONE)

    run(work)


def test_an_engine_killed_after_adapters_are_gone_serves_the_base_again(tmp_path: Path, files: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        path = write_adapter(tmp_path / "gone.gguf", seed=5)
        backend.adopt(ONE, NAME, path)
        backend.adopt(TWO, NAME, files[TWO])
        expected = await ask(backend, TWO)
        await ask(backend, ONE)
        backend.forget(ONE)
        path.unlink()
        for model in backend.loadable().values():
            await model.unload()
        assert await ask(backend, NAME)
        assert await ask(backend, TWO) == pytest.approx(expected, abs=NOISE)

    run(work)


def test_only_so_many_are_loaded_and_the_names_of_hundreds_cost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everloom.models.llama.adapters.MOST_LOADED", 2)
    paths = [write_adapter(tmp_path / f"{seed}.gguf", seed=seed) for seed in range(3)]

    async def work(backend: LlamaBackend) -> None:
        for number in range(500):
            backend.adopt(f"ft:{number}", NAME, paths[number % 3])
        assert backend.children() == []
        answers = [await ask(backend, f"ft:{number}") for number in range(3)]
        assert backend.children()
        for number in (2, 1, 0, 3):  # the last is another name for the first one's file
            assert await ask(backend, f"ft:{number}") == pytest.approx(answers[number % 3], abs=NOISE)
        await until(lambda: len(backend.children()) == 1)

    run(work)


def _not_numbers(path: Path) -> Path:
    data = write_adapter(path).read_bytes()
    at = len(data) // 2
    return _written(path, data[:at] + struct.pack("<f", float("nan")) * 4096 + data[at + 4 * 4096 :])


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BROKEN: dict[str, Callable[[Path], Path]] = {
    "missing": lambda path: path,
    "a folder": lambda path: path.parent,
    "empty": lambda path: _written(path, b""),
    "no GGUF": lambda path: _written(path, b"lora" * 100),
    "truncated": lambda path: _written(path, write_adapter(path).read_bytes()[:-4096]),
    "cut in its head": lambda path: _written(path, write_adapter(path).read_bytes()[:3000]),
    "another architecture": lambda path: write_adapter(path, keys={"general.architecture": "qwen2"}),
    "a whole model": lambda path: default_gguf(),
    "activated": lambda path: write_adapter(path, keys={"adapter.alora.invocation_tokens": 1}),
    "other sizes": lambda path: write_tensors(
        path,
        head_keys(),
        [
            ("blk.0.attn_q.weight.lora_a", (64, 8), bytes(64 * 8 * 4)),
            ("blk.0.attn_q.weight.lora_b", (8, 64), bytes(64 * 8 * 4)),
        ],
    ),
    "tensors of nothing": lambda path: write_tensors(
        path,
        head_keys(),
        [("blk.99.no.weight.lora_a", (8, 8), bytes(256)), ("blk.99.no.weight.lora_b", (8, 8), bytes(256))],
    ),
    "half a pair": lambda path: write_tensors(
        path, head_keys(), [("blk.0.attn_q.weight.lora_a", (576, 8), bytes(18432))]
    ),
    "claims to be huge": lambda path: _written(
        path, struct.pack("<4sIQQ", b"GGUF", 3, 1 << 60, 1 << 60) + b"\0" * 1000
    ),
    "a list without end": lambda path: _written(
        path,
        struct.pack("<4sIQQQ", b"GGUF", 3, 1, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 1 << 60) + b"\0" * 1000,
    ),
    "not numbers": _not_numbers,
}


def test_an_adapter_that_cannot_be_used_is_its_own_fault_alone(tmp_path: Path, files: dict[str, Path]) -> None:
    async def work(backend: LlamaBackend) -> None:
        backend.adopt(ONE, NAME, files[ONE])
        expected = {name: await ask(backend, name) for name in (NAME, ONE)}
        for number, (kind, make) in enumerate(BROKEN.items()):
            name = f"ft:{kind}"
            backend.adopt(name, NAME, make(tmp_path / f"{number}.gguf"))
            for _ in range(2):
                with pytest.raises(ModelFailure) as caught:
                    await ask(backend, name)
                assert caught.value.status == 503, kind
                assert name in caught.value.message, kind
            for other, before in expected.items():
                assert await ask(backend, other) == pytest.approx(before, abs=NOISE), kind
        await until(lambda: len(backend.children()) == 1)

    run(work)


def test_what_cannot_be_adopted(local: Local, files: dict[str, Path]) -> None:
    backend = local.backend
    for name, base in (("ft:new", "nobody"), ("ft:new", ONE), (NAME, NAME)):
        with pytest.raises(ModelFailure) as caught:
            backend.adopt(name, base, files[ONE])
        assert caught.value.status == 503
    assert backend.capabilities("ft:new") == ()


def test_adopting_the_same_again_loads_nothing_anew(local: Local, files: dict[str, Path]) -> None:
    local.run(local.bytes(model=ONE, messages=user("Hi"), max_tokens=1))
    before = local.backend.children()
    local.backend.adopt(ONE, NAME, files[ONE])
    local.run(local.bytes(model=ONE, messages=user("Hi"), max_tokens=1))
    assert local.backend.children() == before


def test_the_file_of_a_model(local: Local) -> None:
    assert local.run(local.backend.path_of(NAME)) == default_gguf()
    with pytest.raises(NotFound):
        local.run(local.backend.path_of("nobody"))
    with pytest.raises(BadRequest):
        local.run(local.backend.path_of(ONE))
