"""Vectors of the local model: the published weights, and nothing between them and the reference's wire form."""

import asyncio
import base64
import json
import math
import os
import signal
import struct
import subprocess
import sys
from array import array
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from openai.types import CreateEmbeddingResponse

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.files.weights import EMBEDDING_MODEL, MINILM
from everloom.models.llama.backend import LlamaBackend
from everloom.models.memory_budget import MemoryBudget, budget_of_machine
from everloom.models.minilm.backend import MiniLMBackend
from everloom.models.minilm.engine import MiniLMEngine
from everloom.models.registry import Models
from tests.models.reference_bert import Bert
from tests.weights import default_gguf, default_weights

T = TypeVar("T")

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "rain",
    "It rained in Oslo on Tuesday, and the trams ran late; nobody minded.",
    "def add(a: int, b: int) -> int:\n    return a + b",
    "naïve café ÉCOLE Straße İstanbul",
    "你好世界 こんにちは 한국어 텍스트",
    "Привет, мир! ¿Qué? «test» — “quotes” …",
    "😀 emoji 👩‍👩‍👧 and \u200b zero width",
    "$5.00 is 100% of [x] nothing: a+b=c ^ ` | ~",
    "word " * 60,
]


class Embedder:
    """The backends of both default models, and a loop to run them in."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        weights = default_weights()
        budget = MemoryBudget(budget_of_machine())
        self.backend = MiniLMBackend(EMBEDDING_MODEL, weights, budget)
        self.chat = LlamaBackend({"chat": default_gguf()}, weights, budget=budget)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def ask(self, input: Any, **more: Any) -> dict[str, Any]:
        body = {"model": EMBEDDING_MODEL, "input": input, **more}
        backend = self.chat if body["model"] == "chat" else self.backend
        said: dict[str, Any] = json.loads(self.run(backend.embed(body)))
        return said

    def vectors(self, input: Any) -> np.ndarray:
        return np.array([item["embedding"] for item in self.ask(input)["data"]])


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    with asyncio.Runner() as runner:
        local = Embedder(runner)
        try:
            yield local
        finally:
            runner.run(local.backend.close())
            runner.run(local.chat.close())


@pytest.fixture(scope="module")
def bert() -> Bert:
    return Bert(*default_weights().fetch(MINILM))


def test_the_vectors_are_those_of_the_published_weights(embedder: Embedder, bert: Bert) -> None:
    ours = embedder.vectors(TEXTS)
    theirs = np.array([bert.embed(text) for text in TEXTS])
    assert (ours * theirs).sum(axis=1).min() >= 0.999


def test_a_text_is_read_to_its_end(embedder: Embedder) -> None:
    """The tokenizer's file says to cut at 128 tokens."""
    start = "word " * 200
    one, other = embedder.vectors([start + "about the weather in Norway", start + "about the price of copper"])
    assert one @ other < 0.999


def test_near_in_meaning_is_near(embedder: Embedder) -> None:
    rain, wet, tax = embedder.vectors(["It rains in Norway.", "The weather in Oslo is wet.", "The tax form is due."])
    assert rain @ wet > rain @ tax + 0.2


def test_the_answer_is_the_reference_s(embedder: Embedder) -> None:
    said = embedder.ask(["one", "two words"])
    assert set(said) == {"object", "data", "model", "usage"}
    answer = CreateEmbeddingResponse.model_validate(said, strict=True)
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.model == EMBEDDING_MODEL
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3 + 4
    for item in answer.data:
        assert len(item.embedding) == 384
        assert math.isclose(math.hypot(*item.embedding), 1, abs_tol=1e-5)


def test_both_encodings_carry_the_same_floats(embedder: Embedder) -> None:
    text = "The same text."
    [encoded] = embedder.ask(text, encoding_format="base64")["data"]
    [plain] = embedder.ask([text], encoding_format="float")["data"]
    assert (
        list(struct.unpack("<384f", base64.b64decode(encoded["embedding"]))) == array("f", plain["embedding"]).tolist()
    )


def test_many_texts_come_back_in_order(embedder: Embedder) -> None:
    texts = [f"text number {number} {'longer ' * (number % 7)}" for number in range(100)]
    together = embedder.vectors(texts)
    assert [item["index"] for item in embedder.ask(texts[:40])["data"]] == list(range(40))
    alone = np.array([embedder.vectors(texts[at])[0] for at in (0, 15, 16, 63, 99)])
    assert (together[[0, 15, 16, 63, 99]] * alone).sum(axis=1).min() > 0.9999


def test_the_model_s_own_tokens_are_read(embedder: Embedder, bert: Bert) -> None:
    ids = bert.tokens("Hello, world!")[1:-1]
    by_text, by_ids, by_lists = (embedder.vectors(input)[0] for input in ("Hello, world!", ids, [ids, ids]))
    assert by_text @ by_ids > 0.99999
    assert by_text @ by_lists > 0.99999


def test_a_text_of_512_tokens_is_read_and_a_longer_one_refused(embedder: Embedder) -> None:
    assert embedder.ask("word " * 510)["usage"]["prompt_tokens"] == 512
    with pytest.raises(BadRequest, match="maximum context length is 512 tokens, however you requested 513") as caught:
        embedder.ask(["short", "word " * 511])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"input": ""}, "input", "none of them empty"),
        ({"input": []}, "input", "none of them empty"),
        ({"input": ["a", ""]}, "input", "none of them empty"),
        ({"input": [[]]}, "input", "none of them empty"),
        ({"input": {"a": 1}}, "input", "must be a text"),
        ({"input": [1, 99_999]}, "input", "token ids that this model does not have"),
        ({"input": "a", "dimensions": 256}, "dimensions", "does not support specifying dimensions"),
        ({"input": "a", "model": "chat"}, "model", "makes no embeddings"),
    ],
)
def test_what_cannot_be_done_is_refused(embedder: Embedder, body: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        embedder.ask(**body)
    assert caught.value.param == param


def test_its_own_number_of_dimensions_may_be_asked_for(embedder: Embedder) -> None:
    assert len(embedder.ask("a", dimensions=384)["data"][0]["embedding"]) == 384


def test_it_does_not_chat(embedder: Embedder) -> None:
    names = Models([(EMBEDDING_MODEL, embedder.backend, None), ("chat", embedder.chat, None)])
    for verb in ("chat", "complete"):
        with pytest.raises(BadRequest, match="On this server `chat` does") as refused:
            names.resolve(EMBEDDING_MODEL, verb)
        assert refused.value.code == "invalid_model"
    assert names.resolve(EMBEDDING_MODEL, "embed") == (embedder.backend, EMBEDDING_MODEL)


def test_a_search_does_not_wait_for_a_file(embedder: Embedder) -> None:
    """A short request that comes while a long one is under way is done long before it."""

    async def main() -> list[str]:
        done: list[str] = []

        async def ask(name: str, texts: list[str]) -> None:
            await embedder.backend.embed({"model": EMBEDDING_MODEL, "input": texts})
            done.append(name)

        async with asyncio.TaskGroup() as both:
            both.create_task(ask("file", ["a rather long text " * 20] * 160))
            await asyncio.sleep(0.2)
            both.create_task(ask("search", ["rain"]))
        return done

    assert embedder.run(main()) == ["search", "file"]


def test_a_killed_child_is_started_again(embedder: Embedder) -> None:
    before = embedder.vectors("rain")[0]
    for pid in embedder.backend.children():
        os.kill(pid, signal.SIGKILL)
    assert before @ embedder.vectors("rain")[0] > 0.99999


@pytest.mark.parametrize("damage", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 64])
def test_damaged_weights_are_a_failure(tmp_path: Path, damage: bytes) -> None:
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(damage)
    engine = MiniLMEngine(broken, default_weights().fetch(MINILM)[1])

    async def main() -> None:
        with pytest.raises(ModelFailure, match="cannot be loaded"):
            await engine.embed(["a"])
        assert engine.pid is None

    asyncio.run(main())


def test_the_child_ends_with_the_pipe() -> None:
    """However the parent goes, its end of the pipe goes with it."""
    files = map(str, default_weights().fetch(MINILM))
    command = [sys.executable, "-m", "everloom.models.minilm.child", *files, "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert b"ready" in child.stdout.read(11)
        child.stdin.close()
        assert child.wait(10) == 0


def test_a_loop_ends_that_was_never_closed() -> None:
    """As after a failed start of the server: the child goes with the loop's pipes, and nothing waits for it."""
    script = (
        "import asyncio, sys, pathlib\n"
        "from everloom.models.minilm.engine import MiniLMEngine\n"
        "asyncio.run(MiniLMEngine(*map(pathlib.Path, sys.argv[1:])).embed(['a']))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, default_weights().fetch(MINILM))]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
