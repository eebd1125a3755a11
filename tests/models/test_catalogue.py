"""The real models of the catalogue, where somebody has pulled them.

``EVERLOOM_TEST_CATALOGUE`` names the folder of weights (``weights`` in a data folder) that they were pulled into.
"""

import json
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from everloom.models.files.catalogue import PIPER_JOE, QWEN_CODER, WHISPER_BASE, WHISPER_TINY_EN, CatalogueModel
from everloom.models.files.weights import Weights
from tests.servers import Everloom
from tests.servers import http as client_of

FOLDER = os.environ.get("EVERLOOM_TEST_CATALOGUE", "")
FUNCTIONS = [
    {
        "name": "get_weather",
        "description": "Get the current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}},
    },
]
ASKED = {"model": "gpt-4o", "temperature": 0, "max_tokens": 100}


def needs(*models: CatalogueModel) -> pytest.MarkDecorator:
    """Skip where one of them was not pulled, or what it needs is not installed."""
    missing = [
        model.name
        for model in models
        if not FOLDER
        or not Weights(Path(FOLDER)).has(model.weight)
        or (model.library and find_spec(model.library) is None)
    ]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not here (EVERLOOM_TEST_CATALOGUE)")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = {"weights": FOLDER, "fetch_weights": "false"}
    with Everloom(tmp_path_factory.mktemp("pulled"), **settings) as server, client_of(server) as http:
        http.timeout = httpx.Timeout(120)
        yield http


def asked(http: httpx.Client, question: str, **more: Any) -> dict[str, Any]:
    tools = [{"type": "function", "function": function} for function in FUNCTIONS]
    body = {**ASKED, "messages": [{"role": "user", "content": question}], "tools": tools, **more}
    choice: dict[str, Any] = http.post("/chat/completions", json=body).raise_for_status().json()["choices"][0]
    return choice


@needs(QWEN_CODER)
def test_it_answers_for_a_platforms_model(http: httpx.Client) -> None:
    body = {**ASKED, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    answer = http.post("/chat/completions", json=body).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert "qwen2.5-coder-0.5b" in [model["id"] for model in http.get("/models").json()["data"]]


@needs(QWEN_CODER)
@pytest.mark.parametrize(
    ("question", "call"),
    [
        ("What's the weather in Oslo?", ("get_weather", {"city": "Oslo"})),
        ("What is 17 plus 25?", ("add", {"a": 17, "b": 25})),
    ],
)
def test_its_calls_are_calls(http: httpx.Client, question: str, call: tuple[str, Any]) -> None:
    """Whether by its own choice, which it writes in a form of its own, or forced."""
    name, arguments = call
    for more in ({}, {"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": name}}}):
        choice = asked(http, question, **more)
        (made,) = choice["message"]["tool_calls"]
        assert made["function"]["name"] == name, more
        assert json.loads(made["function"]["arguments"]) == arguments, more
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None


@needs(QWEN_CODER)
def test_a_fence_of_something_else_is_streamed(http: httpx.Client) -> None:
    tools = [{"type": "function", "function": function} for function in FUNCTIONS]
    question = "Write a Python function that reverses a string. Answer with a code block only."
    body = {**ASKED, "messages": [{"role": "user", "content": question}], "tools": tools, "stream": True}
    with http.stream("POST", "/chat/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    pieces = [choice["delta"].get("content") for line in lines for choice in json.loads(line)["choices"]]
    assert "```" in "".join(filter(None, pieces))
    assert len([piece for piece in pieces if piece]) > 10


@pytest.mark.parametrize(
    "ear", [pytest.param(ear.name, marks=needs(PIPER_JOE, ear)) for ear in (WHISPER_BASE, WHISPER_TINY_EN)]
)
def test_what_the_voice_says_is_heard_word_for_word(http: httpx.Client, ear: str) -> None:
    text = "The library opens at nine in the morning and closes at eight in the evening."
    sound = http.post("/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": text}).raise_for_status()
    files = {"file": ("speech.mp3", sound.content)}
    heard = http.post("/audio/transcriptions", data={"model": ear}, files=files).json()["text"]
    assert words(heard) == words(text.replace("nine", "9").replace("eight", "8")) or words(heard) == words(text)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
