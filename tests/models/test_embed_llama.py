"""An embedding model of one's own, as a GGUF file: llama.cpp serves it as it serves those that chat."""

import asyncio
import base64
import json
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloom.kit.errors import BadRequest
from everloom.models.files.gguf import read_head
from everloom.models.files.weights import MINILM
from everloom.models.llama.backend import LlamaBackend
from tests.models.gguf_bert import write_gguf
from tests.models.reference_bert import Bert
from tests.weights import default_weights


class Own:
    """A backend of one such model, and a loop to run it in."""

    def __init__(self, runner: asyncio.Runner, path: Path) -> None:
        self.runner = runner
        self.backend = LlamaBackend({"own": path}, default_weights())

    def ask(self, input: Any, **more: Any) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.runner.run(self.backend.embed({"model": "own", "input": input, **more})))
        return said

    def vectors(self, input: Any) -> np.ndarray:
        return np.array([item["embedding"] for item in self.ask(input)["data"]])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    path = tmp_path_factory.mktemp("gguf") / "own.gguf"
    write_gguf(path, *default_weights().fetch(MINILM))
    head = read_head(path)
    assert (head.context, head.embeds) == (512, True)
    with asyncio.Runner() as runner:
        model = Own(runner, path)
        try:
            yield model
        finally:
            runner.run(model.backend.close())


def test_its_vectors_are_the_model_s(own: Own) -> None:
    texts = ["The quick brown fox.", "naïve café 你好 한국어", "rain"]
    bert = Bert(*default_weights().fetch(MINILM))
    assert (own.vectors(texts) * np.array([bert.embed(text) for text in texts])).sum(axis=1).min() > 0.999


def test_many_texts_come_back_in_order_and_counted(own: Own) -> None:
    texts = [f"text number {number}" for number in range(40)]
    said = own.ask(texts)
    assert [item["index"] for item in said["data"]] == list(range(40))
    assert said["usage"] == {"prompt_tokens": 200, "total_tokens": 200}
    assert own.vectors(texts)[37] @ own.vectors(texts[37])[0] > 0.9999


def test_both_encodings_carry_the_same_floats(own: Own) -> None:
    [encoded] = own.ask("The same text.", encoding_format="base64")["data"]
    [plain] = own.ask("The same text.")["data"]
    assert list(struct.unpack("<384f", base64.b64decode(encoded["embedding"]))) == list(array("f", plain["embedding"]))


def test_its_own_tokens_are_read(own: Own) -> None:
    assert own.vectors("Hello")[0] @ own.vectors([7592])[0] > 0.9999


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"input": "word " * 600}, "input", "maximum context length is 512 tokens, however you requested 602"),
        ({"input": ["a", ""]}, "input", "none of them empty"),
        ({"input": [1, 99_999]}, "input", "token ids that this model does not have"),
        ({"input": "a", "dimensions": 256}, "dimensions", "does not support specifying dimensions"),
    ],
)
def test_what_cannot_be_done_is_refused(own: Own, body: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        own.ask(**body)
    assert caught.value.param == param


def test_it_does_not_chat(own: Own) -> None:
    body = {"model": "own", "messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(BadRequest, match="not a chat model"):
        own.runner.run(own.backend.chat(body))
