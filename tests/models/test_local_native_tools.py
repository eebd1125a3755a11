"""Functions on a model whose chat template knows tools: llama.cpp's own handling, and ours where it has none."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.models.gguf_template import KNOWS_TOOLS, with_template
from tests.models.local_model import Local, function, loaded, user
from tests.weights import default_gguf

WEATHER = function("get_weather", "Get the current weather of a city", city={"type": "string", "maxLength": 20})
ADD = function("add", "Add two numbers", a={"type": "integer", "maximum": 99}, b={"type": "integer", "maximum": 99})
TOOLS = [WEATHER, ADD]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    path = with_template(default_gguf(), tmp_path_factory.mktemp("model") / "tools.gguf", KNOWS_TOOLS)
    with loaded(path=path) as local:
        yield local


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
