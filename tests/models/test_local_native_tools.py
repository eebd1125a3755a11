"""Functions on a model whose chat template knows tools: llama.cpp's own handling, and ours where it has none."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from everloom.kit.errors import BadRequest
from tests.models.gguf_template import KNOWS_TOOLS, with_template
from tests.models.local_model import NAME, Local, function, loaded, user
from tests.weights import default_gguf

WEATHER = function("get_weather", "Get the current weather of a city", city={"type": "string", "maxLength": 20})
ADD = function("add", "Add two numbers", a={"type": "integer", "maximum": 99}, b={"type": "integer", "maximum": 99})
TOOLS = [WEATHER, ADD]


FORMS = {"ours": KNOWS_TOOLS, "another": KNOWS_TOOLS.replace("tool_call>", "function_call>")}
"""Templates that write calls between the marks that we read ourselves, or others, which llama.cpp reads."""


@pytest.fixture(scope="module", params=FORMS)
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    path = with_template(default_gguf(), tmp_path_factory.mktemp("model") / "tools.gguf", FORMS[request.param])
    with loaded(path=path) as local:
        local.run(local.backend.preload())
        yield local


def marks_calls(local: Local) -> bool:
    return local.run(local.run(local.backend._models[NAME].engine()).plain.ready()).marks_calls


def exchange(name: str, asked: str, **arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return [*user(asked), {"role": "assistant", "content": None, "tool_calls": [call]}]


PRACTICE = [
    *exchange("get_weather", "What is the weather in Oslo?", city="Oslo"),
    *exchange("add", "Add 1 and 2.", a=1, b=2),
    *exchange("get_weather", "What is the weather in Rome?", city="Rome"),
    *exchange("get_weather", "What is the weather in Bonn?", city="Bonn"),
]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_call_is_made(local: Local, choice: Any) -> None:
    answer = local.chat(messages=user("What is 3 plus 9?"), tools=TOOLS, tool_choice=choice, max_tokens=60)
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    jsonschema.validate(json.loads(call.function.arguments), schemas[call.function.name])


def test_calls_in_the_models_own_format_are_read(local: Local) -> None:
    asked: dict[str, Any] = {"messages": [*PRACTICE, *user("What is the weather in Paris?")], "tools": TOOLS}
    (choice,) = local.chat(**asked, max_tokens=60).choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.id.startswith("call_")
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    chunks = local.stream(**asked, max_tokens=60)
    calls = [call.function for chunk in chunks for call in chunk.choices[0].delta.tool_calls or [] if call.function]
    assert [piece.name for piece in calls if piece.name] == ["get_weather"]
    assert json.loads("".join(piece.arguments or "" for piece in calls)) == {"city": "Paris"}


def test_the_count_is_exact_with_tools_and_results(local: Local) -> None:
    messages = [*PRACTICE, {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}]
    for choice in ("auto", "required", "none"):
        asked: dict[str, Any] = {"messages": messages, "tools": TOOLS, "tool_choice": choice}
        usage = local.chat(**asked, max_tokens=1).usage
        assert usage is not None
        assert usage.prompt_tokens == local.run(local.backend.count(local.request(**asked)))


def test_what_needs_our_reader_of_calls_is_refused_without_it(local: Local) -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for name, more in (("logprobs", {"logprobs": True}), ("response_format", {"response_format": format})):
        asked: dict[str, Any] = {"messages": user("Say hello"), "tools": TOOLS, "max_tokens": 12, **more}
        if marks_calls(local):
            assert local.chat(**asked).choices[0].message.content
            continue
        with pytest.raises(BadRequest) as caught:
            local.chat(**asked)
        assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")


def test_log_probabilities_beside_tools(local: Local) -> None:
    if not marks_calls(local):
        return
    (choice,) = local.chat(messages=user("Hi"), tools=TOOLS, logprobs=True, top_logprobs=1, max_tokens=4).choices
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content


def doubling(depth: int) -> dict[str, Any]:
    """A schema whose references, written out, double at every step."""
    parts = {
        f"d{step}": {"type": "object", "properties": {key: {"$ref": f"#/$defs/d{step + 1}"} for key in "ab"}}
        for step in range(depth)
    }
    return {"$defs": {**parts, f"d{depth}": {"type": "string"}}, "$ref": "#/$defs/d0"}


NODE = {"type": "object", "properties": {"next": {"$ref": "#"}, "value": {"type": "integer"}}}


@pytest.mark.parametrize(
    "parameters",
    [
        doubling(20),
        NODE,
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"$ref": "#/properties/a"}]}}},
        {
            "type": "object",
            "allOf": [{"anyOf": [{"properties": {f"p{i}{j}": {}}} for j in range(4)]} for i in range(20)],
        },
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 100_000, "pattern": "^a+$"}}},
        {"type": "object", "properties": {"a": {"type": "integer", "maximum": 10**300}}},
    ],
    ids=["doubling", "recursive", "loop", "product", "long", "large"],
)
def test_no_functions_schema_keeps_the_engine_busy(local: Local, parameters: dict[str, Any]) -> None:
    pid = local.backend.children()
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    began = time.monotonic()
    with contextlib.suppress(BadRequest):
        assert local.chat(messages=user("Hi"), tools=[tool], max_tokens=4).choices
    assert time.monotonic() - began < 30, "a prompt of some hundred tokens, on busy processors"
    assert local.chat(messages=user("Hi"), max_tokens=1).choices
    assert local.backend.children() == pid
