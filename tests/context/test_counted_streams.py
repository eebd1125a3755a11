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
    usage = UsageFilter()
    return b"".join(map(usage.shown, blocks)) + usage.rest()


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


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    "usage",
    [
        b"event: usage\nid: 7\n" + USAGE,
        b": soon\nevent: usage\nretry: 10\n" + USAGE,
        USAGE[:-1] + b"id: 7\n: that was it\n\n",
        b"id: 7\n" + USAGE[:-1] + b"event: usage\n\n",
        USAGE.replace(b'"choices":[]', b'"choices":null'),
    ],
)
def test_all_lines_of_the_event_of_a_usage_go(usage: bytes, end: bytes) -> None:
    before, behind = b"id: 6\n" + CHUNK, b"event: end\n" + DONE
    stream = (before + usage + behind).replace(b"\n", end)
    shown = (before + behind).replace(b"\n", end)
    assert through(stream) == shown
    # A comment may have gone before it was known what it stands before; it says nothing.
    assert through(*lines_of(stream)).replace(b": soon" + end, b"") == shown
    for cut in range(1, len(lines_of(stream))):
        lines = lines_of(stream)
        parts = b"".join(lines[:cut]), b"".join(lines[cut:])
        assert through(*parts).replace(b": soon" + end, b"") == shown


def test_events_without_an_empty_line_between_them() -> None:
    chunk, usage, done = (event[:-1] for event in (CHUNK, USAGE, DONE))
    for cut in (lambda stream: [stream], lines_of):
        assert through(*cut(chunk + b"id: 1\n" + usage + b"id: 2\n" + done)) == chunk + done


def test_what_stands_before_data_waits_for_it_and_no_longer() -> None:
    shown = UsageFilter().shown
    assert shown(b": alive\n") == b": alive\n"
    assert shown(b"event: a\n") == b""
    assert shown(CHUNK) == b"event: a\n" + CHUNK
    assert through(CHUNK, b"event: a\n") == CHUNK + b"event: a\n"
    endless = UsageFilter()
    assert sum(len(endless.shown(b"id: 1\n")) for _ in range(2000)) > 2000 * 6 - 5000


@pytest.mark.parametrize(
    ("with_null", "without"),
    [
        (b'{"usage":null,"id":"c"}', b'{"id":"c"}'),
        (b'{ "usage" : null , "id":"c"}', b'{ "id":"c"}'),
        (b'{"id":"c","usage":null,"choices":[]}', b'{"id":"c","choices":[]}'),
        (b'{"usage":null}', b"{}"),
        (b'{"id":"c", "usage": null }', b'{"id":"c" }'),
    ],
)
def test_a_usage_of_nothing_goes_wherever_it_stands(with_null: bytes, without: bytes) -> None:
    assert through(b"data: " + with_null + b"\n\n") == b"data: " + without + b"\n\n"


def test_a_usage_beside_words_stays() -> None:
    both = CHUNK.replace(b"}]}", b'}],"usage":{"prompt_tokens":1}}')
    assert through(both) == both


@pytest.mark.parametrize(
    "text", ['"choices":[],"usage":{}', 'a ,"usage":null b', "\n\n", '","usage":null', '{"usage":null,']
)
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
