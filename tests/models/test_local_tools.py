"""Functions called by a model whose chat template knows none."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from everloom.kit.errors import ApiError
from tests.models.local_model import Local, function, loaded, user

STRING = {"type": "string", "maxLength": 20}
INTEGER = {"type": "integer", "minimum": 0, "maximum": 1000}
WEATHER = function("get_weather", "Get the current weather of a city", city=STRING)
ADD = function("add", "Add two numbers", a=INTEGER, b=INTEGER)
MAIL = function("send_email", "Send an email to somebody", to=STRING, subject=STRING)
TOOLS = [WEATHER, ADD, MAIL]


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with loaded() as local:
        yield local


def call_of(local: Local, **body: Any) -> tuple[str, Any]:
    """The one call of an answer: name and arguments, the shape checked."""
    (choice,) = local.chat(**{"max_tokens": 80, **body}).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.id.startswith("call_")
    return call.function.name, json.loads(call.function.arguments)


def forced(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool["function"]["name"]}}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["function"]["name"])
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_forced_function_is_called_by_its_schema(local: Local, tool: dict[str, Any], temperature: float) -> None:
    name, arguments = call_of(
        local, messages=user("Do it."), tools=TOOLS, tool_choice=forced(tool), temperature=temperature
    )
    assert name == tool["function"]["name"]
    jsonschema.validate(arguments, tool["function"]["parameters"])


def test_a_required_call_is_one_of_them(local: Local) -> None:
    name, arguments = call_of(local, messages=user("What is 3 plus 9?"), tools=TOOLS, tool_choice="required")
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    jsonschema.validate(arguments, schemas[name])


def test_the_stream_tells_the_same_call(local: Local) -> None:
    asked: dict[str, Any] = {"messages": user("What is 3 plus 9?"), "tools": TOOLS, "tool_choice": forced(ADD)}
    _, whole = call_of(local, **asked)
    chunks = local.stream(**asked, max_tokens=80)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert (deltas[0].role, deltas[0].content) == ("assistant", None)
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert (calls[0].type, calls[0].index, calls[0].function and calls[0].function.name) == ("function", 0, "add")
    assert [call.id is not None for call in calls] == [True] + [False] * (len(calls) - 1)
    pieces = [call.function.arguments or "" for call in calls if call.function]
    assert len(pieces) > 2
    assert json.loads("".join(pieces)) == whole
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert not any(delta.content for delta in deltas)


def test_unasked_it_may_call_and_the_text_holds_no_marks(local: Local) -> None:
    asked = ("What is the weather in Paris?", "Add 17 and 25.", "Write an email to bob@example.com about the meeting")
    called = []
    for question in asked:
        (choice,) = local.chat(messages=user(question), tools=TOOLS, max_tokens=60).choices
        calls = choice.message.tool_calls or []
        called += [call.function.name for call in calls if call.type == "function"]
        assert "<tool_" not in (choice.message.content or "")
        assert (choice.finish_reason == "tool_calls") == bool(calls)
    assert called
    assert set(called) <= {"get_weather", "add", "send_email"}


def test_with_none_no_function_is_called_or_told_of(local: Local) -> None:
    asked = {"messages": user("What is 3 plus 9?"), "tools": TOOLS, "tool_choice": "none"}
    (choice,) = local.chat(**asked).choices
    assert choice.message.tool_calls is None
    bare = local.run(local.backend.count(local.request(messages=user("What is 3 plus 9?"))))
    assert local.run(local.backend.count(local.request(**asked))) == bare


def history() -> list[dict[str, Any]]:
    def call(id: str, city: str) -> dict[str, Any]:
        arguments = json.dumps({"city": city})
        return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}

    return [
        *user("What is the weather in Paris and in Rome?"),
        {"role": "assistant", "content": None, "tool_calls": [call("call_1", "Paris"), call("call_2", "Rome")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 21 degrees"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "Rain"}]},
    ]


def test_results_are_read_and_counted_exactly(local: Local) -> None:
    for tools in (TOOLS, None):
        answer = local.chat(messages=history(), tools=tools, max_tokens=4)
        assert answer.usage is not None
        counted = local.run(local.backend.count(local.request(messages=history(), tools=tools)))
        assert answer.usage.prompt_tokens == counted


def test_the_old_way_of_functions(local: Local) -> None:
    asked: dict[str, Any] = {
        "messages": [*user("Hi"), {"role": "function", "name": "add", "content": "3"}],
        "functions": [tool["function"] for tool in TOOLS],
        "function_call": {"name": "add"},
        "max_tokens": 80,
    }
    (choice,) = local.chat(**asked).choices
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert choice.message.function_call.name == "add"
    chunks = local.stream(**asked)
    pieces = [chunk.choices[0].delta.function_call for chunk in chunks if chunk.choices[0].delta.function_call]
    assert "".join(piece.arguments or "" for piece in pieces) == choice.message.function_call.arguments


def test_a_function_without_parameters_gets_none(local: Local) -> None:
    ping = {"type": "function", "function": {"name": "ping"}}
    assert call_of(local, messages=user("Ping!"), tools=[ping], tool_choice="required") == ("ping", {})


def test_a_pattern_is_kept_where_it_can_be(local: Local) -> None:
    code = {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"}
    tool = function("book", "Book a seat", code=code)
    _, arguments = call_of(local, messages=user("Book me a seat"), tools=[tool], tool_choice="required")
    jsonschema.validate(arguments, tool["function"]["parameters"])


def test_a_pattern_that_cannot_be_kept_is_given_up_unless_strict(local: Local) -> None:
    tool = function("book", "Book a seat", code={"type": "string", "pattern": "^(?=A)[A-Z]{3}$", "maxLength": 9})
    name, arguments = call_of(local, messages=user("Book me a seat"), tools=[ADD, tool], tool_choice=forced(tool))
    assert (name, list(arguments)) == ("book", ["code"])
    strict = {"type": "function", "function": {**tool["function"], "strict": True}}
    with pytest.raises(ApiError) as caught:
        local.chat(messages=user("Book me a seat"), tools=[ADD, strict])
    error = caught.value
    assert (error.status, error.param, error.code) == (
        400,
        "tools[1].function.parameters",
        "invalid_function_parameters",
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": [1]},
        {"properties": {"a": {}}, "required": 5},
        {"properties": {"a": {}}, "required": [{"b": 1}]},
        {"properties": {"a": {"enum": 5}}},
        {"properties": {"a": {"type": {"b": 1}}}},
        {"properties": {"a": {"type": ["string", 5]}}},
    ],
    ids=json.dumps,
)
def test_what_is_no_schema_is_refused(local: Local, parameters: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(ApiError) as caught:
        local.chat(messages=user("Hello"), tools=[tool], max_tokens=1)
    assert (caught.value.status, caught.value.code) == (400, "invalid_function_parameters")


def test_schemas_with_references_are_kept(local: Local) -> None:
    tool = function("walk", "Walk", where={"$ref": "#/$defs/Place"})
    place = {"type": "object", "properties": {"x": INTEGER, "y": INTEGER}, "required": ["x", "y"]}
    tool["function"]["parameters"]["$defs"] = {"Place": place}
    _, arguments = call_of(local, messages=user("Walk to 3 4"), tools=[tool, ADD], tool_choice=forced(tool))
    jsonschema.validate(arguments, tool["function"]["parameters"])


def test_a_schema_and_functions_together(local: Local) -> None:
    schema = {"type": "object", "properties": {"said": STRING}, "required": ["said"], "additionalProperties": False}
    format = {"type": "json_schema", "json_schema": {"name": "saying", "schema": schema}}
    (choice,) = local.chat(messages=user("Hello"), tools=TOOLS, response_format=format, max_tokens=60).choices
    if choice.message.content:
        jsonschema.validate(json.loads(choice.message.content), schema)
    else:
        assert choice.message.tool_calls


def test_a_choice_of_an_unknown_function_is_refused(local: Local) -> None:
    with pytest.raises(ApiError) as caught:
        local.chat(messages=user("Hi"), tools=TOOLS, tool_choice={"type": "function", "function": {"name": "sing"}})
    assert (caught.value.status, caught.value.param) == (400, "tool_choice")
