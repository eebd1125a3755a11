"""Requests read from their bytes alone, as a batch's line brings them: what a model is asked, or the platform's 400."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from everloom.kit.errors import BadRequest
from everloom.requests import chat, completions, embeddings, images, moderations, speech

Read = Callable[[bytes], dict[str, Any]]

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}


@pytest.mark.parametrize(
    ("read", "sent", "asked"),
    [
        (chat.read, {**HELLO, "seed": None, "top_p": 1}, {**HELLO, "seed": None, "top_p": 1}),
        (completions.read, {"model": "m", "prompt": ["a", "b"]}, {"model": "m", "prompt": ["a", "b"]}),
        (embeddings.read, {"model": "m", "input": "a", "user": None}, {"model": "m", "input": "a"}),
        (moderations.read, {"input": "a"}, {"model": "omni-moderation-latest", "input": "a"}),
        (images.read, {"prompt": "a cat"}, {"prompt": "a cat", "model": "dall-e-2"}),
        (images.read, {"prompt": "a cat", "model": None, "background": "auto"}, None),
        (speech.read, {"model": "m", "input": "a", "voice": "alloy"}, {"model": "m", "input": "a", "voice": "alloy"}),
    ],
)
def test_what_is_asked_of_a_model(read: Read, sent: dict[str, Any], asked: dict[str, Any] | None) -> None:
    assert read(msgspec.json.encode(sent)) == (asked or {**sent, "model": "gpt-image-1"})


@pytest.mark.parametrize(
    ("read", "sent", "param", "code"),
    [
        (chat.read, {"model": "m"}, "messages", "missing_required_parameter"),
        (chat.read, {**HELLO, "top_logprobs": 1}, "top_logprobs", "invalid_value"),
        (chat.read, {**HELLO, "n": "1"}, "n", "invalid_type"),
        (completions.read, {"model": "m", "prompt": ["a", 1]}, "prompt[1]", "invalid_type"),
        (embeddings.read, {"model": "m", "input": ""}, "input", None),
        (moderations.read, {"input": []}, "input", "empty_array"),
        (images.read, {"prompt": "a", "size": "1x1", "model": "dall-e-2"}, "size", "invalid_value"),
        (speech.read, {"model": "m", "input": "a", "voice": ""}, "voice", "empty_string"),
    ],
)
def test_what_is_refused(read: Read, sent: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        read(msgspec.json.encode(sent))
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize("read", [chat.read, completions.read, embeddings.read, images.read, moderations.read])
def test_what_is_no_json(read: Read) -> None:
    with pytest.raises(BadRequest):
        read(b"{")
