"""Chat completions through HTTP: what is refused, what passes through, what happens when somebody breaks off."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from prometheus_client import REGISTRY

from everloom.api import chat
from everloom.kit.sse import DataLines
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from tests.scripted import Breaks, Calls, Fails, Garbage, Hangs, Says, ScriptedUpstream, Slow
from tests.serving import KEY, Serving
from tests.spec.oracle import CheckedTransport

HELLO: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def server(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    backend = UpstreamBackend(upstream.url, retries=0, timeout=3)
    models = Models([("gpt-4o", backend, None)], [("gpt-4-turbo", "gpt-4o")])
    with Serving(tmp_path_factory.mktemp("chat"), models, chat.routes) as serving:
        yield serving


@pytest.fixture
def http(server: Serving, upstream: ScriptedUpstream) -> Iterator[httpx.Client]:
    upstream.reset()
    with httpx.Client(
        base_url=server.url, headers={"authorization": f"Bearer {KEY}"}, timeout=10, transport=CheckedTransport()
    ) as client:
        yield client


@pytest.fixture
def sdk(server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:
        yield client


def post(http: httpx.Client, **more: Any) -> httpx.Response:
    return http.post("/chat/completions", json={**HELLO, **more})


def events(response: httpx.Response) -> list[Any]:
    data = DataLines().feed(response.content)
    return [line if line == b"[DONE]" else json.loads(line) for line in data]


def test_the_sdk_reads_a_completion(sdk: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(Says("It rains."))
    completion = sdk.chat.completions.create(**HELLO)
    assert completion.choices[0].message.content == "It rains."
    assert completion.usage is not None
    assert completion.usage.total_tokens == 4


def test_the_sdk_reads_a_stream(sdk: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"}), text="Let me see."))
    with sdk.chat.completions.stream(model="gpt-4o", messages=HELLO["messages"], tools=[TOOL]) as stream:
        stream.until_done()
        message = stream.get_final_completion().choices[0].message
    assert message.content == "Let me see."
    assert message.tool_calls is not None
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}


def test_bytes_pass_through_both_ways(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    raw = b'{"messages" : [{"content":"H\\u00e9llo","role":"user","name":"a"}], "temperature":1.00,\n"model":"gpt-4o"}'
    response = http.post("/chat/completions", content=raw, headers={"content-type": "application/json"})
    direct = httpx.post(upstream.url + "/chat/completions", content=raw)
    assert [request.raw for request in upstream.requests] == [raw, raw]
    assert re.sub(rb'"created": \d+', b"", response.content) == re.sub(rb'"created": \d+', b"", direct.content)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")


def test_an_alias_replaces_the_name_and_nothing_else(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    raw = b'{"temperature":1.00,"model":"gpt-4-turbo","messages":[{"role":"user","content":"H\\u00e9"}]}'
    assert http.post("/chat/completions", content=raw).status_code == 200
    assert upstream.requests[0].raw == raw.replace(b"gpt-4-turbo", b"gpt-4o")


def test_a_stream_passes_through(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    response = post(http, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    told = events(response)
    assert told[-1] == b"[DONE]"
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in told[:-1]) == "You said: Hello!"
    assert not any("usage" in event for event in told[:-1]), "nobody asked for it"


def test_usage_in_a_stream_when_asked_for(http: httpx.Client) -> None:
    told = events(post(http, stream=True, stream_options={"include_usage": True}))
    assert told[-2]["choices"] == []
    assert told[-2]["usage"]["total_tokens"] == 5


def test_every_call_is_metered(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    def counted(direction: str) -> float:
        labels = {"direction": direction, "model": "gpt-4o"}
        return REGISTRY.get_sample_value("everloom_model_tokens_total", labels) or 0

    for more, written in (
        ({}, 5),
        ({"stream": True, "stream_options": {"include_usage": True}}, 5),
        ({"stream": True}, 5),  # an estimate: the scripted server sends a word an event
    ):
        before = counted("prompt"), counted("completion")
        upstream.script(Says("one two three four five", prompt_tokens=9))
        assert post(http, **more).status_code == 200
        assert upstream.wait(lambda: counted("completion") > before[1])  # noqa: B023 - called at once
        assert counted("completion") - before[1] == written
        assert counted("prompt") - before[0] >= 9


REFUSED = [
    ({"messages": []}, "messages", "Invalid 'messages': empty array."),
    ({"messages": "hi"}, "messages", "Invalid type for 'messages': expected an array of objects, but got a string"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "Invalid value: 'robot'."),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "Missing required parameter: 'messages[0].content'."),
    ({"temperature": 3}, "temperature", "Invalid 'temperature': decimal above maximum value."),
    ({"n": 129}, "n", "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 129 instead."),
    ({"top_p": -1}, "top_p", "Invalid 'top_p': decimal below minimum value."),
    ({"stop": ["a"] * 5}, "stop", "Invalid 'stop': array too long. Expected an array with maximum length 4"),
    ({"tools": [TOOL] * 129}, "tools", "Invalid 'tools': array too long. Expected an array with maximum length 128"),
    ({"tools": [{"type": "retrieval"}]}, "tools[0].type", "Invalid value: 'retrieval'."),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "Invalid 'tools[0]"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "Invalid 'top_logprobs': integer above maximum value."),
    ({"top_logprobs": 2}, "top_logprobs", "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."),
    ({"stream_options": {}}, "stream_options", "The 'stream_options' parameter is only allowed when 'stream'"),
    ({"tool_choice": "auto"}, "tool_choice", "Invalid value for 'tool_choice': 'tool_choice' is only allowed when"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "tool_choice",
        "Tool choice 'x' not found in 'tools' parameter.",
    ),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "Setting 'max_tokens' and 'max_completion_tokens'"),
    ({"response_format": {"type": "json_object"}}, "messages", "'messages' must contain the word 'json'"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "Invalid value: 'xml'."),
    ({"metadata": {"k": 1}}, "metadata.k", "Invalid type for 'metadata.k': expected a string, but got an integer"),
    ({"logit_bias": {"50256": 101}}, "logit_bias.50256", "Invalid 'logit_bias.50256': integer above maximum value."),
    ({"n": 200}, "n", "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 200 instead."),
    ({"metadata": {"k": "v"}}, "metadata", "The 'metadata' parameter is only allowed when 'store' is enabled."),
    ({"logit_bias": {"hello": 1}}, "logit_bias", "Invalid key in 'logit_bias': hello. You should only be submitting"),
    ({"logit_bias": {"-1": 1}}, "logit_bias", "Invalid key in 'logit_bias': -1."),
    ({"logit_bias": {"²": 1}}, "logit_bias", "Invalid key in 'logit_bias': ²."),
    ({"logit_bias": {"9" * 1000: 1}}, "logit_bias", "Invalid key in 'logit_bias': 9999999999"),
    ({"modalities": ["text", "audio"]}, "audio", "Missing required parameter: 'audio'."),
    ({"modalities": ["smell"]}, "modalities[0]", "Invalid value: 'smell'."),
    ({"service_tier": "gold"}, "service_tier", "Invalid value: 'gold'."),
    ({"functions": [{"name": "f"}], "tools": [TOOL]}, "functions", "'functions' and 'tools' cannot both be"),
    ({"function_call": "auto"}, "function_call", "Invalid value for 'function_call': 'function_call' is only"),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call", "Invalid value for 'function_"),
    ({"best_of": 2}, "best_of", "Unknown parameter: 'best_of'."),
    ({"stream": "yes"}, "stream", "Invalid type for 'stream': expected a boolean, but got a string instead."),
]


@pytest.mark.parametrize(
    ("more", "param", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_refused_in_the_platforms_words(
    http: httpx.Client, upstream: ScriptedUpstream, more: dict[str, Any], param: str, message: str
) -> None:
    response = post(http, **more)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"].startswith(message)
    assert upstream.requests == []


def test_a_mass_of_sequences_to_stop_at_are_refused_at_once(http: httpx.Client) -> None:
    began = time.monotonic()
    response = post(http, stop=["x"] * 900_000)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "array_above_max_length")
    assert time.monotonic() - began < 20


def test_no_model(http: httpx.Client) -> None:
    response = http.post("/chat/completions", json={"messages": HELLO["messages"]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"


def test_a_model_nobody_serves(http: httpx.Client) -> None:
    response = post(http, model="gpt-5")
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["code"] == "model_not_found"
    assert error["message"].startswith("The model `gpt-5` does not exist or you do not have access to it.")


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "tool", "content": "x", "tool_call_id": "call_1"}], "Invalid parameter: messages with role 'tool'"),
        ([{"role": "assistant", "tool_calls": [CALL]}], "An assistant message with 'tool_calls' must be followed by"),
        (
            [{"role": "assistant", "tool_calls": [CALL]}, {"role": "user", "content": "x"}],
            "An assistant message with 'tool_calls' must be followed by",
        ),
    ],
)
def test_tool_calls_and_their_answers_belong_together(http: httpx.Client, messages: Any, message: str) -> None:
    response = post(http, messages=messages)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)


def test_everything_the_reference_and_later_sdks_allow_is_passed_on(
    http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    body = {
        **HELLO,
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Answer as json."}]},
            {"role": "system", "content": "Be brief.", "name": "boss"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "annotations": []},
            {"role": "tool", "content": "Rain.", "tool_call_id": "call_1"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "3"},
        ],
        "frequency_penalty": 0.5,
        "presence_penalty": -2,
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "top_logprobs": 20,
        "max_completion_tokens": 5,
        "n": 2,
        "modalities": ["text"],
        "seed": -7,
        "user": "u",
        "prediction": {"type": "content", "content": "x"},
        "response_format": {"type": "json_object"},
        "service_tier": "flex",
        "stop": ["a", "b"],
        "temperature": 2,
        "top_p": 0,
        "store": False,
        "stream": False,
        "tools": [TOOL],
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "metadata": {},
        "reasoning_effort": "low",
        "verbosity": "high",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "prompt_cache_retention": "24h",
        "web_search_options": {},
    }
    response = http.post("/chat/completions", json=body)
    assert response.status_code == 200, response.text
    assert upstream.requests[0].body == body
    assert len(response.json()["choices"]) == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Fails(400, {"error": {"message": "No.", "code": "nope"}}), 400, "nope"),
        (Fails(500), 502, "upstream_error"),
        (Fails(401), 502, "upstream_refused"),
        (Fails(429, retry_after=30), 429, "rate_limit_exceeded"),
        (Breaks(0), 502, "upstream_unreachable"),
        (Hangs(0), 504, "upstream_timeout"),
    ],
    ids=["400", "500", "401", "429", "breaks", "hangs"],
)
def test_an_upstream_that_refuses(
    http: httpx.Client, upstream: ScriptedUpstream, stream: bool, reply: Any, status: int, code: str
) -> None:
    upstream.script(reply, reply)  # The second for who was asked over a kept connection and cut it at once.
    response = post(http, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers["content-type"] == "application/json"
    assert response.headers.get("retry-after") == ("30" if status == 429 else None)


@pytest.mark.parametrize("reply", [Breaks(3), Garbage(), Hangs(3)], ids=["breaks", "garbage", "hangs"])
def test_an_answer_that_fails_in_the_middle(http: httpx.Client, upstream: ScriptedUpstream, reply: Any) -> None:
    upstream.script(reply)
    response = post(http)
    assert response.status_code in (502, 504)
    assert response.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(("reply", "code"), [(Breaks(3), "upstream_broken"), (Hangs(3), "upstream_timeout")])
def test_a_stream_that_fails_in_the_middle_says_so(
    http: httpx.Client, sdk: openai.OpenAI, upstream: ScriptedUpstream, reply: Any, code: str
) -> None:
    upstream.script(reply, reply)
    told = events(post(http, stream=True))
    assert len(told) == 4, "what came whole is handed on"
    assert set(told[-1]["error"]) == {"message", "type", "param", "code"}
    assert told[-1]["error"]["code"] == code
    with pytest.raises(openai.APIError, match="upstream"):
        list(sdk.chat.completions.create(**HELLO, stream=True))


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_model(server: Serving, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.disconnects.clear()
    upstream.script(Slow(0.05 if stream else 5, Says("word " * 1000)))
    address = urlsplit(server.url)
    connection = HTTPConnection(address.hostname or "", address.port)
    leaving = "I shall leave."  # Others may be noticed late to have left: they were an earlier test's.
    body = json.dumps({**HELLO, "messages": [{"role": "user", "content": leaving}], "stream": stream})
    connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"})
    if stream:
        connection.getresponse().read(10)
    else:
        assert upstream.wait(lambda: upstream.active == 1)
    connection.close()

    def left() -> bool:
        return any(leaving.encode() in request.raw for request in upstream.disconnects)

    assert upstream.wait(left)
    assert upstream.wait(lambda: upstream.active == 0)


def test_many_streams_at_once(server: Serving, upstream: ScriptedUpstream) -> None:
    upstream.script(*[Slow(0.2)] * 50)

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:

            async def one() -> int:
                stream = await client.chat.completions.create(**HELLO, stream=True)
                return len([chunk async for chunk in stream])

            assert set(await asyncio.gather(*(one() for _ in range(50)))) == {10}

    asyncio.run(main())
    assert upstream.most_active > 25  # On a busy machine the last may begin when the first have ended.
