"""Streams are counted by what their servers say of them, and show it to those alone who have asked for it."""

import json
from typing import Any

import httpx
import pytest

from everloom.context.counted_streams import UsageFilter
from tests.crowd import ask
from tests.replies import Says
from tests.scripted import ScriptedUpstream

CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"


def through(*blocks: bytes) -> bytes:
    shown = UsageFilter().shown
    return b"".join(map(shown, blocks))


def lines_of(stream: bytes) -> list[bytes]:
    return stream.splitlines(keepends=True)


def test_the_event_of_a_usage_goes_with_the_empty_line_behind_it() -> None:
    assert through(CHUNK + USAGE + DONE) == CHUNK + DONE
    assert through(*lines_of(CHUNK + USAGE + DONE)) == CHUNK + DONE
    spaced = USAGE.replace(b":[]", b" : [ ]").replace(b'"usage":', b'"usage": ')
    assert through(spaced, DONE) == DONE
    assert through(USAGE.replace(b"\n", b"\r\n") + DONE) == DONE
    assert through(*lines_of(USAGE.replace(b"\n", b"\r\n")), DONE) == DONE


def test_a_usage_of_nothing_goes() -> None:
    with_null = CHUNK.replace(b"}]}", b'}],"usage":null}')
    assert through(with_null) == CHUNK
    assert through(with_null.replace(b',"usage":null', b', "usage" : null')) == CHUNK


def test_a_usage_beside_words_stays() -> None:
    both = CHUNK.replace(b"}]}", b'}],"usage":{"prompt_tokens":1}}')
    assert through(both) == both


@pytest.mark.parametrize("text", ['"choices":[],"usage":{}', 'a ,"usage":null b', "\n\n", '","usage":null'])
def test_what_an_answer_says_stays(text: str) -> None:
    chunk: Any = {"choices": [{"index": 0, "delta": {"content": text}}]}
    line = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    assert through(line, USAGE, line) == line * 2


def test_a_caller_who_did_not_ask_hears_no_usage(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    for options in ({}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
        upstream.script(Says("one two three"))
        answer = http.post("/chat/completions", json=ask("Hello!", stream=True, **options))
        assert upstream.requests[-1].body["stream_options"] == {"include_usage": True}
        assert "usage" not in answer.text
        assert answer.text.endswith("data: [DONE]\n\n")
        assert answer.text.count("\n\n") == answer.text.count("data: ")


def test_who_asked_hears_it(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    wanted = {"stream_options": {"include_usage": True}}
    answer = http.post("/chat/completions", json=ask("Hello!", stream=True, **wanted))
    assert '"usage":{"prompt_tokens"' in answer.text.replace(" ", "")


def test_what_the_caller_wrote_goes_out_as_it_was(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    body = b'{ "model":"gpt-4o","messages":[{"role":"user","content":"\\u00e9 1.0"}], "n":1,"stream":true }\n'
    http.post("/chat/completions", content=body, headers={"content-type": "application/json"})
    assert upstream.requests[-1].raw == body.rstrip()[:-1] + b',"stream_options":{"include_usage":true}}'
