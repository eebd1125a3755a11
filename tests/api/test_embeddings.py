"""Embeddings through HTTP: on the local model, and on an upstream."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from everloom.api import embeddings
from everloom.models.files.weights import CL100K as CL100K_WEIGHT
from everloom.models.files.weights import EMBEDDING_MODEL
from everloom.models.memory_budget import MemoryBudget, budget_of_machine
from everloom.models.minilm.backend import MiniLMBackend
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from tests import meanings
from tests.replies import Fails
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.serving import KEY, Serving
from tests.stores import a_store, found
from tests.weights import default_weights

ALIAS = "text-embedding-3-small"
CL100K = [791, 4062, 14198, 374]
"""Tokens as LangChain makes them for the platform's models; every one of them is a token of MiniLM's, too."""
TEXT = "The quick brown is"
OTHER = "text-similarity"
"""A name that is no OpenAI model's."""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    backend = MiniLMBackend(EMBEDDING_MODEL, default_weights(), MemoryBudget(budget_of_machine()))
    names = Models([(EMBEDDING_MODEL, backend, None)], [("*text-*", EMBEDDING_MODEL)])
    with Serving(tmp_path_factory.mktemp("embeddings"), names, embeddings.routes) as server:
        yield server.url


@pytest.fixture
def sdk(local: str) -> Iterator[openai.OpenAI]:
    """Not strict: by its own types what it decodes afterwards may not be base64."""
    with openai.OpenAI(base_url=local, api_key=KEY, max_retries=0) as client:
        yield client


def asked(url: str, **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(f"{url}/embeddings", json={"model": EMBEDDING_MODEL, **body}, headers=headers, timeout=120)


# --- the local model -------------------------------------------------------------------------------------------------


def test_texts_by_the_sdk(sdk: openai.OpenAI) -> None:
    """Which asks for base64, and reads it."""
    one = sdk.embeddings.create(model=ALIAS, input="It rains.", user="somebody")
    two = sdk.embeddings.create(model=EMBEDDING_MODEL, input=["It rains.", "sun"], encoding_format="float")
    assert [len(item.embedding) for item in two.data] == [384, 384]
    assert one.data[0].embedding[:384] == pytest.approx(two.data[0].embedding, abs=1e-6)
    assert (one.model, one.usage.prompt_tokens, one.usage.total_tokens) == (EMBEDDING_MODEL, 5, 5)
    assert [item.index for item in two.data] == [0, 1]


def test_numbers_by_the_sdk_in_strict_mode(local: str) -> None:
    with openai.OpenAI(base_url=local, api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        said = client.embeddings.create(model=ALIAS, input=["a", "b"], encoding_format="float", dimensions=384)
    assert [(item.index, len(item.embedding)) for item in said.data] == [(0, 384), (1, 384)]


def test_tokens_of_the_model_s_own(local: str) -> None:
    text, tokens, lists = (asked(local, input=given).json() for given in ("hello", [7592], [[7592], [7592]]))
    assert text["data"] == tokens["data"]
    assert lists["usage"] == {"prompt_tokens": 6, "total_tokens": 6}


@pytest.mark.parametrize("given", [CL100K, [CL100K, CL100K]])
def test_tokens_of_openai_under_its_models_name_are_read(local: str, given: Any) -> None:
    """As LangChain sends them."""
    plain = asked(local, model=ALIAS, input=TEXT).json()
    answer = asked(local, model=ALIAS, input=given).json()
    assert [item["embedding"] for item in answer["data"]] == [plain["data"][0]["embedding"]] * len(answer["data"])
    assert len(answer["data"]) == (2 if given[0] == CL100K else 1)
    assert answer["usage"]["prompt_tokens"] == len(answer["data"]) * plain["usage"]["prompt_tokens"]


def test_tokens_that_end_within_a_character(local: str) -> None:
    """A list cut at a fixed length: the rest of the character is unreadable, the text before it is not."""
    cat = [9468, 238, 230]  # three tokens of one character
    whole, cut = (vectors(asked(local, model=ALIAS, input=[*CL100K, *tokens])) for tokens in (cat, cat[:2]))
    assert whole == vectors(asked(local, model=ALIAS, input=f"{TEXT}\N{CAT}"))
    assert cut == vectors(asked(local, model=ALIAS, input=f"{TEXT}\N{REPLACEMENT CHARACTER}"))


@pytest.mark.parametrize("given", [[100_256], [[791], [200_000]], [2**31 - 1]])
def test_ids_that_openai_never_had_are_refused(local: str, given: Any) -> None:
    answer = asked(local, model=ALIAS, input=given)
    assert answer.status_code == 400
    assert "check_embedding_ctx_length=False" in answer.json()["error"]["message"]


@pytest.mark.parametrize("given", [CL100K, [CL100K, CL100K]])
def test_tokens_under_another_model_s_name_are_not_misread(local: str, given: Any) -> None:
    answer = asked(local, model=OTHER, input=given)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == ("input", "invalid_request_error")
    assert f"`{EMBEDDING_MODEL}`" in error["message"]
    assert "check_embedding_ctx_length=False" in error["message"]
    assert asked(local, input=given).status_code == 200


def test_the_vocabulary_is_the_published_one() -> None:
    """By the hash that OpenAI's own tokenizer holds its download against."""
    [path] = default_weights().fetch(CL100K_WEIGHT)
    published = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == published


# --- sizes -----------------------------------------------------------------------------------------------------------


def vectors(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    read = []
    for item in answer.json()["data"]:
        embedding = item["embedding"]
        if isinstance(embedding, str):
            data = base64.b64decode(embedding)
            embedding = list(struct.unpack(f"<{len(data) // 4}f", data))
        read.append(embedding)
    return read


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize(
    ("model", "dimensions", "size"),
    [
        (EMBEDDING_MODEL, None, 384),
        (EMBEDDING_MODEL, 384, 384),
        (EMBEDDING_MODEL, 1536, 1536),
        (OTHER, None, 384),
        (ALIAS, None, 1536),
        (ALIAS, 384, 384),
        (ALIAS, 512, 512),
        ("text-embedding-3-large", None, 3072),
        ("text-embedding-3-large", 1024, 1024),
        ("text-embedding-ada-002", None, 1536),
        ("openai/text-embedding-3-small", None, 1536),
    ],
)
def test_vectors_are_filled_up_with_zeros(
    local: str, model: str, dimensions: int | None, size: int, encoding: str
) -> None:
    """Products and cosines stay what they were."""
    texts = ["A cat sleeps.", "A dog barks."]
    plain = vectors(asked(local, input=texts))
    wanted = {} if dimensions is None else {"dimensions": dimensions}
    filled = vectors(asked(local, model=model, input=texts, encoding_format=encoding, **wanted))
    assert [len(vector) for vector in filled] == [size, size]
    for before, after in zip(plain, filled, strict=True):
        assert after[:384] == pytest.approx(before, abs=1e-6)
        assert not any(after[384:])


def test_zeros_behind_many_vectors(local: str) -> None:
    made = vectors(asked(local, model=ALIAS, input=["a"] * 40, encoding_format="base64"))
    assert {len(vector) for vector in made} == {1536}


@pytest.mark.parametrize("model", [EMBEDDING_MODEL, ALIAS])
@pytest.mark.parametrize(
    ("dimensions", "says"),
    [(256, "does not support specifying dimensions"), (5000, "Must be less than or equal to 4096"), (2**62, "4096")],
)
def test_sizes_that_are_refused(local: str, model: str, dimensions: int, says: str) -> None:
    answer = asked(local, model=model, input="a", dimensions=dimensions)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dimensions")
    assert says in answer.json()["error"]["message"]


def test_2048_inputs(local: str) -> None:
    answer = asked(local, input=["a"] * 2048, encoding_format="base64").json()
    assert [item["index"] for item in answer["data"]] == list(range(2048))
    assert {len(base64.b64decode(item["embedding"])) for item in answer["data"]} == {4 * 384}
    assert answer["usage"]["total_tokens"] == 3 * 2048


EMPTY = "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."


@pytest.mark.parametrize(
    ("body", "param", "code", "says"),
    [
        (
            {"input": ["a"] * 3000},
            "input",
            "array_above_max_length",
            "Invalid 'input': array too long. Expected an array with maximum length 2048, but got an array with length "
            "3000 instead.",
        ),
        ({"input": [1] * 2049}, "input", "array_above_max_length", "but got an array with length 2049 instead."),
        ({"input": ""}, "input", None, EMPTY),
        ({"input": []}, "input", None, EMPTY),
        ({"input": ["a", ""]}, "input", None, EMPTY),
        ({"input": [[1], []]}, "input", None, "('input[1]' is empty.)"),
        ({"input": None}, "input", "invalid_type", "but got null instead."),
        ({"input": {"a": 1}}, "input", "invalid_type", "but got an object instead."),
        ({"input": ["a", 1]}, "input[1]", "invalid_type", "expected a string, but got an integer instead."),
        ({"input": [[1], "a"]}, "input[1]", "invalid_type", "expected an array of integers, but got a string"),
        ({"input": [True]}, "input[0]", "invalid_type", "but got a boolean instead."),
        ({"input": [1.5]}, "input[0]", "invalid_type", "but got a decimal instead."),
        ({"input": [-1]}, "input[0]", "integer_below_min_value", "Expected a value >= 0"),
        ({"input": [[2**70]]}, "input[0][0]", "integer_above_max_value", "Expected a value <= 2147483647"),
        ({}, "input", "missing_required_parameter", "Missing required parameter: 'input'."),
        ({"input": "a", "model": None}, "model", "invalid_type", "expected a string, but got null instead."),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "invalid_value", "are: 'base64' and 'float'."),
        ({"input": "a", "dimensions": 0}, "dimensions", "integer_below_min_value", "Expected a value >= 1"),
        ({"input": "a", "dimensions": 256}, "dimensions", None, "does not support specifying dimensions"),
        ({"input": "a", "truncate": True}, "truncate", "unknown_parameter", "Unknown parameter: 'truncate'."),
        ({"input": "word " * 600}, "input", "context_length_exceeded", "maximum context length is 512 tokens"),
        ({"input": "word " * 200_000}, "input", "context_length_exceeded", "maximum context length is 512 tokens"),
        ({"input": [99_999_999]}, "input", None, "token ids that this model does not have"),
    ],
)
def test_what_is_refused(local: str, body: dict[str, Any], param: str, code: str | None, says: str) -> None:
    answer = asked(local, **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert says in error["message"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


def test_nobody_makes_embeddings_under_this_name(local: str) -> None:
    answer = asked(local, model="gpt-4o", input="a")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert f"EVERLOOM_ALIASES='gpt-4o={EMBEDDING_MODEL}'" in answer.json()["error"]["message"]


def test_many_clients_at_once_get_their_own(local: str) -> None:
    async def main() -> list[dict[str, Any]]:
        async with openai.AsyncOpenAI(base_url=local, api_key=KEY, max_retries=0) as client:
            texts = [f"question {number}" for number in range(64)]
            said = await asyncio.gather(*(client.embeddings.create(model=ALIAS, input=text) for text in texts))
            return [one.model_dump() for one in said]

    answers = asyncio.run(main())
    alone = asked(local, model=ALIAS, input="question 33").json()["data"][0]["embedding"]
    assert answers[33]["data"][0]["embedding"] == pytest.approx(alone, abs=1e-5)
    assert {answer["usage"]["prompt_tokens"] for answer in answers} == {4}


def test_a_store_keeps_vectors_of_the_models_own_size(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """Whatever name its embedding model is asked by: the zeros would take four times the room."""
    settings = {"upstream": upstream.url, "embedding_model": ALIAS, "aliases": f"{ALIAS}={EMBEDDING_MODEL}"}
    with Everloom(tmp_path, weights=default_weights().folder, **settings) as server, client_of(server) as http:
        store = a_store(http, "The harbour holds many boats.", "Trains leave every hour.")
        assert found(http, store, "ships in a port")[0]["filename"] == "file0.txt"
        assert len(vectors(http.post("/embeddings", json={"model": ALIAS, "input": "a"}))[0]) == 1536
    with contextlib.closing(sqlite3.connect(tmp_path / "vectors.db")) as database:
        assert database.execute("SELECT DISTINCT dimensions FROM sets").fetchall() == [(384,)]


# --- an upstream -----------------------------------------------------------------------------------------------------


@pytest.fixture
def upstream_url(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[str]:
    with Serving(
        tmp_path, Models([], [("mine", "scripted")], default=UpstreamBackend(upstream.url)), embeddings.routes
    ) as server:
        yield server.url


def test_the_upstream_gets_what_was_asked(upstream_url: str, upstream: ScriptedUpstream) -> None:
    body = {"input": [CL100K], "encoding_format": "float", "dimensions": 2, "user": "u", "model": "mine"}
    answer = asked(upstream_url, **body)
    assert answer.status_code == 200
    assert upstream.embeddings[0].body == body | {"model": "scripted"}
    plain = asked(upstream_url, input="rain", model="scripted")
    assert upstream.embeddings[1].body == {"input": "rain", "model": "scripted"}
    assert plain.content == json.dumps(meanings.answer(upstream.embeddings[1].body)).encode()


def test_what_the_upstream_refuses_is_told(upstream_url: str, upstream: ScriptedUpstream) -> None:
    error = {"message": "batch size 32 exceeded", "type": "invalid_request_error", "param": "input", "code": None}
    upstream.embedding_fails = Fails(400, {"error": error})
    answer = asked(upstream_url, input=["a"] * 33)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_the_whole_server(server: Everloom, upstream: ScriptedUpstream) -> None:
    with client_of(server, beta=None) as http:
        answer = http.post("/embeddings", json={"model": "any", "input": ["rain", "sun"], "encoding_format": "base64"})
        assert answer.status_code == 200
        vector = struct.unpack("<64f", base64.b64decode(answer.json()["data"][1]["embedding"]))
        assert list(vector) == pytest.approx(meanings.vector("sun"))
        metrics = httpx.get(server.url.removesuffix("/v1") + "/metrics").text
        assert 'everloom_model_tokens_total{direction="prompt",model="any"} 2.0' in metrics
