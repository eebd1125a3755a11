"""Chat completions on the model that comes with the install, through HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.builders import Json, fetched, posted
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.weights import default_weights

HELLO: Json = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    weights = default_weights().folder
    folder = tmp_path_factory.mktemp("local")
    with Everloom(folder, weights=weights, aliases="gpt-4o=smollm2-135m") as server, client_of(server) as client:
        yield client


def test_an_answer_is_kept(http: httpx.Client) -> None:
    asked = {**HELLO, "model": "gpt-4o", "store": True, "metadata": {"a": "b"}, "user": "u", "service_tier": "auto"}
    answer = posted(http, "/chat/completions", {**asked, "logprobs": True, "n": 2})
    kept = fetched(http, f"/chat/completions/{answer['id']}")
    assert {name: kept[name] for name in answer} == answer
    assert (kept["service_tier"], kept["input_user"], kept["metadata"]) == ("default", "u", {"a": "b"})
    listed = fetched(http, "/chat/completions", model="gpt-4o", **{"metadata[a]": "b"})["data"]
    assert listed == [kept], "by the alias it was asked under"


def test_a_stream_is_kept_as_the_whole_answer_would_be(http: httpx.Client) -> None:
    asked = {**HELLO, "store": True, "temperature": 0, "logprobs": True, "top_logprobs": 1}
    whole = posted(http, "/chat/completions", asked)
    response = http.post("/chat/completions", json={**asked, "stream": True})
    *chunks, last = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    assert last == "[DONE]"
    assert not any("usage" in json.loads(chunk) for chunk in chunks)
    kept = fetched(http, f"/chat/completions/{json.loads(chunks[0])['id']}")
    assert kept["choices"][0]["message"] == whole["choices"][0]["message"]
    told = [choice["logprobs"] for choice in (kept["choices"][0], whole["choices"][0])]
    assert [[token["token"] for token in logprobs["content"]] for logprobs in told] == [
        [token["token"] for token in told[0]["content"]]
    ] * 2
    assert kept["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages.[0].content.[0].type"),
        ({"messages": [{"role": "user", "content": [SOUND]}]}, "messages.[0].content.[0].type"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities"),
        ({"prediction": {"type": "content", "content": "Hello"}}, "prediction"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"n": 200}, "n"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}},
            "response_format",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(http: httpx.Client, more: dict[str, Any], param: str) -> None:
    for stream in (False, True):
        refused = http.post("/chat/completions", json={**HELLO, **more, "stream": stream})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == param
