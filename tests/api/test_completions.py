"""Legacy completions through HTTP: what is refused, what passes through, what is built on chat."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from everloom.api import completions
from everloom.kit.sse import DataLines
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from tests.replies import Json
from tests.scripted import Breaks, Fails, Hangs, Request, Says, ScriptedUpstream
from tests.serving import KEY, Serving
from tests.spec.oracle import CheckedTransport

ONCE: Json = {"model": "instruct", "prompt": "Once upon a time"}
"""A request to an upstream that has the endpoint."""

TALK: Json = {"model": "talker", "prompt": "Hello!"}
"""A request to one that has chat completions alone."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def talker() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def server(
    upstream: ScriptedUpstream, talker: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    native = UpstreamBackend(upstream.url, retries=0, timeout=5)
    chats = UpstreamBackend(talker.url, retries=0, timeout=5)
    models = Models([("instruct", native, None), ("talker", chats, None)], [("davinci-002", "instruct")])
    with Serving(tmp_path_factory.mktemp("completions"), models, completions.routes) as serving:
        yield serving


@pytest.fixture
def http(server: Serving, upstream: ScriptedUpstream, talker: ScriptedUpstream) -> Iterator[httpx.Client]:
    upstream.reset()
    talker.reset()
    with httpx.Client(
        base_url=server.url, headers={"authorization": f"Bearer {KEY}"}, timeout=10, transport=CheckedTransport()
    ) as client:
        yield client


def ask(http: httpx.Client, base: Json = ONCE, **more: Any) -> httpx.Response:
    return http.post("/completions", json={**base, **more})


def answered(http: httpx.Client, base: Json, **more: Any) -> Json:
    response = ask(http, base, **more)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def events(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    return [data if data == b"[DONE]" else json.loads(data) for data in DataLines().feed(response.content)]


def refusal(response: httpx.Response) -> tuple[int, str | None, str | None]:
    error = response.json()["error"]
    return response.status_code, error["param"], error["code"]


def words(request: Request) -> web.Response:
    """What an upstream with the endpoint answers; indented, as the platform does."""
    choice = {"text": " there was rain.", "index": 0, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": request.body["model"]}
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    if not request.body.get("stream"):
        body = json.dumps({**head, "choices": [choice], "usage": usage}, indent=2)
        return web.Response(text=body, content_type="application/json")
    chunks = [{**head, "choices": [{**choice, "text": text, "finish_reason": None}]} for text in (" there", " was")]
    data = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return web.Response(text=data, content_type="text/event-stream")


def counted(direction: str, model: str) -> float:
    return REGISTRY.get_sample_value("everloom_model_tokens_total", {"direction": direction, "model": model}) or 0


# --- refused before anybody is asked -------------------------------------------------------------------------------

REFUSED = [
    ({"prompt": []}, "prompt", "Invalid 'prompt': empty array."),
    ({"prompt": {}}, "prompt", "Invalid type for 'prompt'"),
    ({"prompt": [True]}, "prompt[0]", "Invalid type for 'prompt[0]'"),
    ({"prompt": ["a", 1]}, "prompt[1]", "Invalid type for 'prompt[1]': expected a string, but got an integer instead."),
    ({"prompt": [1, [2]]}, "prompt[1]", "Invalid type for 'prompt[1]': expected an integer, but got an array"),
    ({"prompt": [[]]}, "prompt[0]", "Invalid 'prompt[0]': empty array."),
    ({"prompt": [-1]}, "prompt[0]", "Invalid 'prompt[0]': integer below minimum value."),
    ({"prompt": [[2**40]]}, "prompt[0][0]", "Invalid 'prompt[0][0]': integer above maximum value."),
    ({"prompt": ["a"] * 2049}, "prompt", "Invalid 'prompt': too many completions. Expected at most 2048"),
    ({"prompt": ["a"] * 200, "n": 20}, "prompt", "Invalid 'prompt': too many completions."),
    ({"n": 200}, "n", "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 200 instead."),
    ({"logprobs": 6}, "logprobs", "Invalid 'logprobs': integer above maximum value. Expected a value <= 5, but got 6"),
    ({"best_of": 21}, "best_of", "Invalid 'best_of': integer above maximum value."),
    ({"best_of": 2, "n": 3}, "best_of", "You requested that the server return more choices than it will generate"),
    ({"best_of": 2, "stream": True}, "best_of", "Results cannot be streamed when 'best_of' is greater than 'n'."),
    ({"echo": True, "suffix": "."}, "suffix", "Setting 'echo' and 'suffix' at the same time is not supported."),
    ({"stream_options": {}}, "stream_options", "The 'stream_options' parameter is only allowed when 'stream'"),
    ({"stop": ["a"] * 5}, "stop", "Invalid 'stop': array too long."),
    ({"max_tokens": -1}, "max_tokens", "Invalid 'max_tokens': integer below minimum value."),
    ({"temperature": 2.1}, "temperature", "Invalid 'temperature': decimal above maximum value."),
    ({"logit_bias": {"50256": 101}}, "logit_bias.50256", "Invalid 'logit_bias"),
    ({"logit_bias": {"the": 1}}, "logit_bias", "Invalid key in 'logit_bias': the."),
    ({"messages": []}, "messages", "Unknown parameter: 'messages'."),
]


@pytest.mark.parametrize(("more", "param", "words"), REFUSED)
def test_what_is_refused(http: httpx.Client, upstream: ScriptedUpstream, more: Json, param: str, words: str) -> None:
    response = ask(http, ONCE, **more)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(words)
    assert upstream.others == []


def test_what_is_missing(http: httpx.Client) -> None:
    for name in ("model", "prompt"):
        response = http.post("/completions", json={key: value for key, value in ONCE.items() if key != name})
        assert refusal(response) == (400, name, "missing_required_parameter")
    assert refusal(ask(http, ONCE, model="nobody")) == (404, "model", "model_not_found")


# --- an upstream that has the endpoint -----------------------------------------------------------------------------


def test_bytes_pass_through_both_ways(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.serve("/completions", words)
    raw = (
        b'{"prompt" : [[1,2],[3]], "temperature":1.00,\n"model":"instruct","best_of":3,"n":2,"echo":true,"logprobs":5,'
        b'"frequency_penalty":-2,"presence_penalty":2,"logit_bias":{"50256":-100},"seed":-1,"stop":["a"],"top_p":0.5,'
        b'"user":"u","max_tokens":0}'
    )
    response = http.post("/completions", content=raw, headers={"content-type": "application/json"})
    direct = httpx.post(upstream.url + "/completions", content=raw)
    assert [request.raw for request in upstream.others] == [raw, raw]
    assert response.content == direct.content
    assert upstream.requests == []


def test_an_alias_names_the_model(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.serve("/completions", words)
    assert answered(http, ONCE, model="davinci-002", suffix="end")["model"] == "instruct"
    assert upstream.others[0].body == {**ONCE, "suffix": "end"}


def test_a_stream_passes_through(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.serve("/completions", words)
    told = events(ask(http, stream=True))
    assert [event["choices"][0]["text"] for event in told[:-1]] == [" there", " was"]
    assert told[-1] == b"[DONE]"


def test_every_call_is_metered(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.serve("/completions", words)
    before = counted("prompt", "instruct"), counted("completion", "instruct")
    answered(http, ONCE)
    assert upstream.wait(lambda: counted("completion", "instruct") > before[1])
    assert counted("prompt", "instruct") - before[0] == 4
    assert counted("completion", "instruct") - before[1] == 3
    ask(http, stream=True)  # says no usage: the prompt is estimated
    assert upstream.wait(lambda: counted("prompt", "instruct") > before[0] + 4)


def test_what_the_upstream_refuses_is_told(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    message = "This is a chat model and not supported in the completions endpoint."
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": None}
    upstream.serve("/completions", lambda _: web.json_response({"error": error}, status=404))
    response = ask(http)
    assert (response.status_code, response.json()) == (404, {"error": error})
    assert upstream.requests == [], "it has the endpoint: nobody asks its chat instead"


def test_a_client_that_leaves_stops_the_upstream(
    http: httpx.Client, server: Serving, upstream: ScriptedUpstream
) -> None:
    left: list[bool] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[]}\n\n'
                await asyncio.sleep(0.01)
        finally:
            left.append(True)

    upstream.serve("/completions", lambda _: web.Response(body=endless(), content_type="text/event-stream"))
    leave(server, {**ONCE, "stream": True})
    assert upstream.wait(lambda: left == [True])


def leave(server: Serving, body: Json, *, read: int = 100) -> None:
    """Ask, read a little of the answer (or nothing), and hang up."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    if read:
        response = connection.getresponse()
        response.read(read)
        response.close()
    else:
        time.sleep(0.3)
    connection.close()


# --- an upstream that has chat alone -------------------------------------------------------------------------------


def test_a_prompt_becomes_a_chat(http: httpx.Client, talker: ScriptedUpstream) -> None:
    talker.script(Says("It rains again.", prompt_tokens=9))
    parameters: Json = {
        "frequency_penalty": 0.5,
        "logit_bias": {"7": -100},
        "presence_penalty": 0.25,
        "seed": 7,
        "stop": ["zzz"],
        "temperature": 0.5,
        "top_p": 0.75,
        "user": "u",
    }
    told = answered(http, TALK, echo=True, max_tokens=5, best_of=0, **parameters)
    assert told["choices"] == [{"text": "Hello!It rains again.", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert told["usage"] == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert told["id"].startswith("cmpl-")
    assert (told["object"], told["model"]) == ("text_completion", "talker")
    (asked,) = talker.requests
    message = {"role": "user", "content": "Hello!"}
    assert asked.body == {"model": "talker", "messages": [message], "max_tokens": 5, **parameters}


def test_sixteen_tokens_where_nobody_says(http: httpx.Client, talker: ScriptedUpstream) -> None:
    talker.script(Says("word " * 30))
    choice = answered(http, TALK)["choices"][0]
    assert (len(choice["text"].split()), choice["finish_reason"]) == (16, "length")


def test_that_there_is_no_endpoint_is_remembered(http: httpx.Client, talker: ScriptedUpstream) -> None:
    answered(http, TALK)
    talker.others.clear()
    answered(http, TALK)
    assert talker.others == []
    assert len(talker.requests) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"detail": "Not Found"}),
        (405, {"detail": "Method Not Allowed"}),
        (404, {"error": {"message": "Invalid URL (POST /v1/completions)", "type": "invalid_request_error"}}),
        (404, {"error": {"message": "Unknown request URL: POST /completions.", "code": "unknown_url"}}),
        (301, {}),
    ],
)
def test_servers_say_in_many_ways_that_they_have_no_endpoint(
    status: int, body: Json, talker: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    talker.reset()
    talker.serve("/completions", lambda _: web.json_response(body, status=status))
    models = Models([("talker", UpstreamBackend(talker.url, retries=0), None)])
    with Serving(tmp_path_factory.mktemp("lacking"), models, completions.routes) as server:
        response = httpx.post(
            server.url + "/completions", json=TALK, headers={"authorization": f"Bearer {KEY}"}, timeout=10
        )
    assert response.json()["choices"][0]["text"] == "You said: Hello!"


def test_prompts_and_choices_are_numbered_prompt_by_prompt(http: httpx.Client, talker: ScriptedUpstream) -> None:
    told = answered(http, TALK, prompt=["A", "B", "C"], n=2)
    assert [(choice["index"], choice["text"]) for choice in told["choices"]] == [
        (index, f"You said: {text}") for index, text in enumerate("AABBCC")
    ]
    assert sorted(request.body["n"] for request in talker.requests) == [2, 2, 2]
    assert told["usage"]["completion_tokens"] == 3 * 2 * 3


def test_a_stream_of_many_prompts(http: httpx.Client) -> None:
    told = events(
        ask(http, TALK, prompt=["A", "B"], n=2, echo=True, stream=True, stream_options={"include_usage": True})
    )
    *chunks, last, done = told
    assert done == b"[DONE]"
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 12)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert len({(chunk["id"], chunk["created"], chunk["object"], chunk["model"]) for chunk in told[:-1]}) == 1
    texts: dict[int, str] = {}
    ends: list[int] = []
    for chunk in chunks:
        (choice,) = chunk["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        ends += [choice["index"]] if choice["finish_reason"] == "stop" else []
    assert texts == {0: "AYou said: A", 1: "AYou said: A", 2: "BYou said: B", 3: "BYou said: B"}
    assert sorted(ends) == [0, 1, 2, 3]


def test_a_stream_without_usage_tells_none(http: httpx.Client) -> None:
    *chunks, done = events(ask(http, TALK, stream=True))
    assert done == b"[DONE]"
    assert not any("usage" in chunk for chunk in chunks)


NOT_BY_CHAT = [
    ({"suffix": "end"}, "suffix"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"prompt": [[1, 2]]}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"echo": True, "logprobs": 0}, "logprobs"),
]


@pytest.mark.parametrize(("more", "param"), NOT_BY_CHAT)
def test_what_chat_cannot_do(http: httpx.Client, talker: ScriptedUpstream, more: Json, param: str) -> None:
    response = ask(http, TALK, **more)
    assert refusal(response) == (400, param, "unsupported_parameter")
    assert "chat completions alone" in response.json()["error"]["message"]
    assert talker.requests == []


@pytest.mark.parametrize("more", [{"logprobs": 2}, {"best_of": 2}, {"logprobs": 2, "stream": True}])
def test_log_probabilities_that_do_not_come(http: httpx.Client, talker: ScriptedUpstream, more: Json) -> None:
    """The scripted chat takes ``logprobs`` and tells none, as many servers do. It is paid for that once."""
    name = next(iter(more))
    for _ in range(3):
        response = ask(http, TALK, **more)
        assert refusal(response) == (400, name, "unsupported_parameter")
        assert "came without log probabilities" in response.json()["error"]["message"]
    assert len(talker.requests) <= 1


def probable(*tokens: tuple[bytes, float]) -> Json:
    def one(data: bytes, logprob: float) -> Json:
        return {"token": data.decode(errors="replace"), "logprob": logprob, "bytes": list(data)}

    return {
        "content": [
            {**one(data, logprob), "top_logprobs": [one(b"likelier", -0.01), one(data, logprob)]}
            for data, logprob in tokens
        ]
    }


@pytest.fixture
def teller() -> Iterator[ScriptedUpstream]:
    """A server with chat alone that tells log probabilities."""
    candidates = [
        ("worse", probable((b"wor", -2.0), (b"se", -3.0))),
        ("best", probable((b"best", -0.5))),
        ("é!", probable((b"\xc3", -1.0), (b"\xa9", -1.0), (b"!", -1.0))),
    ]

    def chat(request: Request) -> web.Response:
        n = request.body.get("n", 1)
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "logprobs": logprobs}
            | {"finish_reason": "stop"}
            for index, (text, logprobs) in enumerate(candidates[:n])
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": 6, "total_tokens": 7}
        return web.json_response({"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})

    with ScriptedUpstream() as teller:
        teller.serve("/telling/chat/completions", chat)
        yield teller


def test_log_probabilities_come_from_chat(teller: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> None:
    models = Models([("teller", UpstreamBackend(teller.url + "/telling", retries=0), None)])
    with (
        Serving(tmp_path_factory.mktemp("telling"), models, completions.routes) as server,
        httpx.Client(
            base_url=server.url, headers={"authorization": f"Bearer {KEY}"}, timeout=10, transport=CheckedTransport()
        ) as http,
    ):
        told = answered(http, {"model": "teller", "prompt": "Hi"}, n=3, logprobs=1)
        assert told["choices"][2]["logprobs"] == {
            "tokens": ["bytes:\\xc3", "bytes:\\xa9", "!"],
            "token_logprobs": [-1.0, -1.0, -1.0],
            "top_logprobs": [
                {"likelier": -0.01, "bytes:\\xc3": -1.0},
                {"likelier": -0.01, "bytes:\\xa9": -1.0},
                {"likelier": -0.01, "!": -1.0},
            ],
            "text_offset": [2, 3, 3],
        }
        assert teller.others[-1].body["top_logprobs"] == 1
        best = answered(http, {"model": "teller", "prompt": "Hi"}, best_of=3, n=2)
        assert [(choice["text"], choice["index"]) for choice in best["choices"]] == [("best", 0), ("é!", 1)]
        assert best["choices"][0]["logprobs"] is None
        assert best["usage"]["completion_tokens"] == 6
        alone = answered(http, {"model": "teller", "prompt": "Hi"}, logprobs=0)["choices"][0]["logprobs"]
        assert alone["top_logprobs"] == [{"wor": -2.0}, {"se": -3.0}]
        assert "top_logprobs" not in teller.others[-1].body


def test_a_server_that_gives_fewer_choices_is_found_out(http: httpx.Client, talker: ScriptedUpstream) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "choices": [choice]}
    talker.script(Fails(200, answer))
    assert refusal(ask(http, TALK, n=2)) == (502, None, "upstream_broken")
    talker.script(Fails(200, answer))
    assert "usage" not in answered(http, TALK), "what nobody counted is not made up"


def test_failures_of_the_chat_are_told(http: httpx.Client, talker: ScriptedUpstream) -> None:
    talker.script(Fails(429))
    assert refusal(ask(http, TALK)) == (429, None, "rate_limit_exceeded")
    talker.script(Breaks(after_chunks=3))
    told = events(ask(http, TALK, stream=True))
    assert told[-1]["error"]["code"] == "upstream_broken"
    talker.script(Fails(500))
    assert refusal(ask(http, TALK, stream=True)) == (502, None, "upstream_error")


@pytest.mark.parametrize("more", [{"stream": True, "prompt": ["A", "B"]}, {"prompt": ["A"] * 20}])
def test_a_client_that_leaves_stops_every_chat(
    http: httpx.Client, server: Serving, talker: ScriptedUpstream, more: Json
) -> None:
    talker.rule(lambda body: Hangs(after_chunks=3 if body.get("stream") else 0))
    asked = 2 if more.get("stream") else 8
    leave(server, {**TALK, **more}, read=100 if more.get("stream") else 0)
    assert talker.wait(lambda: len(talker.disconnects) == asked)
    assert talker.active == 0
    assert len(talker.requests) == asked, "a few at a time, and nobody asks on when the client has left"


def test_the_chats_of_a_completion_are_metered(http: httpx.Client, talker: ScriptedUpstream) -> None:
    before = counted("completion", "talker")
    talker.rule(lambda body: Says("one two three", prompt_tokens=5))
    answered(http, TALK, prompt=["A", "B"])
    assert talker.wait(lambda: counted("completion", "talker") - before == 6)


def test_the_sdk_reads_both(server: Serving, upstream: ScriptedUpstream, talker: ScriptedUpstream) -> None:
    upstream.reset()
    talker.reset()
    upstream.serve("/completions", words)
    with openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:
        native = client.completions.create(**ONCE)
        assert native.choices[0].text == " there was rain."
        chunks = list(client.completions.create(model="talker", prompt="Hi", stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == "You said: Hi"
