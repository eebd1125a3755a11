"""How local models sample where a request does not say."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from everloom.models.files.gguf import read_head
from everloom.models.llama.sampling import Sampling, recommended
from tests.models.local_model import NAME, Local, loaded, user
from tests.weights import default_gguf

CAPITAL = user("What is the capital of France?")


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with loaded(context=512) as local:
        yield local


def answers(local: Local, count: int, **body: Any) -> list[str]:
    """One for each seed."""
    told = []
    for seed in range(count):
        asked = {"messages": CAPITAL, "temperature": None, "max_tokens": 24, "seed": seed, **body}
        told.append(local.chat(**asked).choices[0].message.content or "")
    return told


def test_the_default_model_knows_the_capital_of_france(local: Local) -> None:
    """Of ten seeds seven say it in a sentence, at the least: eight of ten were counted, and two at temperature 1."""
    assert answers(local, 1, temperature=0) == ["The capital of France is Paris."]
    assert sum("capital of France is Paris" in answer for answer in answers(local, 10)) >= 7


def test_a_conversation_without_a_system_text_is_given_one(local: Local) -> None:
    """The same tokens as where the caller says so; who has a text of his own is left alone."""
    said = {"role": "system", "content": "You are a helpful AI assistant."}
    alone = local.chat(messages=CAPITAL, max_tokens=1).usage
    named = local.chat(messages=[said, *CAPITAL], max_tokens=1).usage
    other = local.chat(messages=[{"role": "system", "content": "Hi."}, *CAPITAL], max_tokens=1).usage
    assert alone.prompt_tokens == named.prompt_tokens > other.prompt_tokens


def test_a_temperature_that_is_named_counts(local: Local) -> None:
    assert len(set(answers(local, 4, temperature=0))) == 1
    assert len(set(answers(local, 4, temperature=2, messages=user("Say a random word.")))) > 1


def test_what_the_operator_says_counts_where_the_caller_says_nothing() -> None:
    with loaded(context=512, sampling={NAME: Sampling(temperature=2, top_p=1)}) as local:
        assert len(set(answers(local, 4))) > 1
        assert len(set(answers(local, 4, temperature=0))) == 1
        assert len(set(answers(local, 4, top_p=1e-6))) == 1


def test_completions_sample_as_chats_do() -> None:
    async def complete(local: Local, seed: int, **body: Any) -> str:
        asked = {"model": NAME, "prompt": "The capital of France is", "max_tokens": 8, "seed": seed, **body}
        answer = await local.backend.complete(asked)
        text: str = json.loads(b"".join([block async for block in answer.blocks()]))["choices"][0]["text"]
        return text

    with loaded(context=512, sampling={NAME: Sampling(temperature=0)}) as local:
        assert len({local.run(complete(local, seed)) for seed in range(3)}) == 1
        assert len({local.run(complete(local, seed, temperature=2)) for seed in range(3)}) > 1


def test_named_before_the_models_own_before_the_references() -> None:
    own = Sampling(temperature=0.2, top_p=0.9, top_k=20)
    assert own.asked({}) == {"temperature": 0.2, "top_p": 0.9, "top_k": 20}
    assert own.asked({"temperature": None, "top_p": None}) == own.asked({})
    assert own.asked({"temperature": 1}) == {"temperature": 1, "top_p": 0.9, "top_k": 20}
    assert own.asked({"temperature": 0, "top_p": 0.5}) == {"temperature": 0, "top_p": 0.5, "top_k": 20}
    assert Sampling().asked({}) == {"temperature": 1, "top_p": 1}
    assert Sampling(temperature=0.0).over(own) == Sampling(temperature=0.0, top_p=0.9, top_k=20)


@pytest.mark.parametrize(
    ("general", "temperature", "top_p"),
    [
        ({"architecture": "llama", "name": "Smollm2 135M 8k Lc100K Mix1 Ep2", "basename": "smollm2"}, 0.2, 0.9),
        ({"architecture": "qwen2", "name": "Qwen2.5 Coder 0.5B Instruct"}, 0.7, 0.8),
        ({"architecture": "qwen2", "name": "model"}, 0.7, 0.8),
        ({"architecture": "qwen2", "name": "DeepSeek R1 Distill Qwen 7B"}, 0.6, 0.95),
        ({"architecture": "qwen3", "name": "Qwen3 8B"}, 0.6, 0.95),
        ({"architecture": "qwen3moe", "name": "Qwen3 30B A3B Instruct 2507"}, 0.7, 0.8),
        ({"architecture": "llama", "name": "Llama 3.2 1B Instruct"}, 0.6, 0.9),
        ({"architecture": "llama", "name": "Meta Llama 3.1 8B Instruct"}, 0.6, 0.9),
        ({"architecture": "gemma2", "name": "Gemma 2 2b It"}, 1.0, 0.95),
        ({"architecture": "phi3", "name": "Phi 3 Mini 4k Instruct"}, 0.0, None),
        ({"architecture": "phi3", "name": "Phi 4"}, None, None),
        ({"architecture": "llama", "name": "Mistral Nemo Instruct 2407"}, 0.3, None),
        ({"architecture": "llama", "name": "Mistral Small 24B Instruct 2501"}, 0.15, None),
        ({"architecture": "llama", "name": "Something of my own"}, None, None),
        ({}, None, None),
    ],
)
def test_families(general: dict[str, str | int | float], temperature: float | None, top_p: float | None) -> None:
    said = recommended(general)
    assert (said.temperature, said.top_p) == (temperature, top_p)


def test_what_the_file_says_goes_before_its_family() -> None:
    general: dict[str, str | int | float] = {"architecture": "llama", "basename": "smollm2"}
    told: dict[str, str | int | float] = {"sampling.temp": 0.30000001192092896, "sampling.top_k": 30}
    assert recommended(general | told) == Sampling(temperature=0.3, top_p=0.9, top_k=30)
    nonsense: dict[str, str | int | float] = {
        "sampling.temp": float("nan"),
        "sampling.top_p": -1,
        "sampling.top_k": "many",
        "sampling.min_p": 1e300,
        "sampling.penalty_repeat": float("inf"),
    }
    assert recommended(general | nonsense) == recommended(general)


def test_the_default_models_file_is_known() -> None:
    assert recommended(read_head(default_gguf()).general) == Sampling(temperature=0.2, top_p=0.9)
