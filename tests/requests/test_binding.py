"""Requests are bound, or refused in the platform's words."""

import json
from typing import Annotated, Any

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject, Metadata
from everloom.objects.messages import NewMessage
from everloom.objects.tools import ResponseFormat, Tool, ToolChoice
from everloom.requests.binding import MAX_CONTAINERS, MAX_NESTING, MAX_VALUES, decode_body


class Request(Struct, kw_only=True, forbid_unknown_fields=True):
    """A request with a field of each sort."""

    model: str
    tools: Annotated[list[Tool], Meta(max_length=2)] = []
    metadata: Metadata | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = 1.0
    n: Annotated[int, Meta(ge=1, le=128)] = 1
    stop: str | list[str] | None = None
    instructions: Annotated[str, Meta(max_length=10)] | None = None
    response_format: ResponseFormat | None = None
    tool_choice: ToolChoice | None = None
    messages: Annotated[list[NewMessage], Meta(min_length=2)] | None = None
    name: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    assistant_id: str | None = None
    file_ids: list[str] = []
    stream: bool | None = None


def refused(body: bytes, type: type[Any] = Request) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decode_body(body, type)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    return caught.value


def with_model(**members: Any) -> bytes:
    return json.dumps({"model": "m", **members}).encode()


FUNCTION = {"type": "function", "function": {"name": "f"}}
IMAGE = {"type": "image_file", "image_file": {"file_id": "file-1"}}

FAULTS: list[tuple[dict[str, Any], str | None, str | None, str]] = [
    ({"x": 1}, "x", "unknown_parameter", "Unknown parameter: 'x'."),
    (
        {"tools": [{"type": "code_interpreter", "x": 1}]},
        "tools[0].x",
        "unknown_parameter",
        "Unknown parameter: 'tools[0].x'.",
    ),
    (
        {"tools": [FUNCTION, {"type": "retrieval"}]},
        "tools[1].type",
        "invalid_value",
        "Invalid value: 'retrieval'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
    ),
    ({"tools": [{}]}, "tools[0].type", "missing_required_parameter", "Missing required parameter: 'tools[0].type'."),
    (
        {"tools": [{"type": "function"}]},
        "tools[0].function",
        "missing_required_parameter",
        "Missing required parameter: 'tools[0].function'.",
    ),
    (
        {"tools": [{"type": 3}]},
        "tools[0].type",
        "invalid_type",
        "Invalid type for 'tools[0].type': expected a string, but got an integer instead.",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
        "invalid_value",
        "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern",
    ),
    (
        {"tools": [FUNCTION] * 3},
        "tools",
        "array_above_max_length",
        "Invalid 'tools': array too long. Expected an array with maximum length 2, but got an array with length 3 "
        "instead.",
    ),
    (
        {"tools": "all"},
        "tools",
        "invalid_type",
        "Invalid type for 'tools': expected an array of objects, but got a string instead.",
    ),
    (
        {"model": None},
        "model",
        "invalid_type",
        "Invalid type for 'model': expected a string, but got null instead.",
    ),
    (
        {"metadata": {"modified": True}},
        "metadata.modified",
        "invalid_type",
        "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
    ),
    (
        {"metadata": {f"k{number}": "" for number in range(17)}},
        "metadata",
        "object_above_max_properties",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object "
        "with 17 properties instead.",
    ),
    (
        {"metadata": {"k": "v" * 513}},
        "metadata.k",
        "string_above_max_length",
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, but got a string with "
        "length 513 instead.",
    ),
    (
        {"metadata": {"k" * 65: "v"}},
        "metadata",
        "string_above_max_length",
        "Invalid property name in 'metadata': string too long. Expected a string with maximum length 64, but got a "
        "string with length 65 instead.",
    ),
    (
        {"temperature": 10**400},
        "temperature",
        "decimal_above_max_value",
        f"Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 1{'0' * 255}... instead.",
    ),
    (
        {"temperature": 3.5},
        "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3.5 instead.",
    ),
    (
        {"temperature": -1},
        "temperature",
        "decimal_below_min_value",
        "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -1 instead.",
    ),
    (
        {"temperature": "hot"},
        "temperature",
        "invalid_type",
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
    ),
    ({"n": True}, "n", "invalid_type", "Invalid type for 'n': expected an integer, but got a boolean instead."),
    ({"n": 1.0}, "n", "invalid_type", "Invalid type for 'n': expected an integer, but got a decimal instead."),
    (
        {"tools": [{"type": "function", "function": None}]},
        "tools[0].function",
        "invalid_type",
        "Invalid type for 'tools[0].function': expected an object, but got null instead.",
    ),
    (
        {"file_ids": [None]},
        "file_ids[0]",
        "invalid_type",
        "Invalid type for 'file_ids[0]': expected a string, but got null instead.",
    ),
    (
        {"n": 0},
        "n",
        "integer_below_min_value",
        "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    ),
    (
        {"n": 130},
        "n",
        "integer_above_max_value",
        "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 130 instead.",
    ),
    (
        {"stop": 1},
        "stop",
        "invalid_type",
        "Invalid type for 'stop': expected one of an array of strings or string, but got an integer instead.",
    ),
    (
        {"stop": ["a", {}]},
        "stop[1]",
        "invalid_type",
        "Invalid type for 'stop[1]': expected a string, but got an object instead.",
    ),
    (
        {"instructions": "x" * 11},
        "instructions",
        "string_above_max_length",
        "Invalid 'instructions': string too long. Expected a string with maximum length 10, but got a string with "
        "length 11 instead.",
    ),
    (
        {"response_format": "json"},
        "response_format",
        "invalid_value",
        "Invalid value: 'json'. Supported values are: 'auto'.",
    ),
    (
        {"tool_choice": {"type": "x"}},
        "tool_choice.type",
        "invalid_value",
        "Invalid value: 'x'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
    ),
    (
        {"tool_choice": []},
        "tool_choice",
        "invalid_type",
        "Invalid type for 'tool_choice': expected one of an object or string, but got an array instead.",
    ),
    (
        {"messages": []},
        "messages",
        "empty_array",
        "Invalid 'messages': empty array. Expected an array with minimum length 2, but got an empty array instead.",
    ),
    (
        {"messages": [{"role": "user", "content": "x"}]},
        "messages",
        "array_below_min_length",
        "Invalid 'messages': array too short. Expected an array with minimum length 2, but got an array with length 1 "
        "instead.",
    ),
    (
        {"messages": [{"role": "user", "content": [IMAGE, IMAGE, {"type": "text", "text": 5}]}, {}]},
        "messages[0].content[2].text",
        "invalid_type",
        "Invalid type for 'messages[0].content[2].text': expected a string, but got an integer instead.",
    ),
    (
        {"messages": [{"role": "user", "content": 5}, {}]},
        "messages[0].content",
        "invalid_type",
        "Invalid type for 'messages[0].content': expected one of an array of objects or string, but got an integer "
        "instead.",
    ),
    (
        {"messages": [{"role": "system", "content": "x"}, {}]},
        "messages[0].role",
        "invalid_value",
        "Invalid value: 'system'. Supported values are: 'assistant' and 'user'.",
    ),
    (
        {"name": ""},
        "name",
        "empty_string",
        "Invalid 'name': empty string. Expected a string with minimum length 1, but got an empty string instead.",
    ),
    (
        {"stream": "yes"},
        "stream",
        "invalid_type",
        "Invalid type for 'stream': expected a boolean, but got a string instead.",
    ),
    (
        {"assistant_id": "asst_\0"},
        "assistant_id",
        "invalid_value",
        "Invalid 'assistant_id': string contains a null character.",
    ),
    ({"file_ids": ["ok", "\0"]}, "file_ids[1]", "invalid_value", "Invalid 'file_ids[1]': string contains a null"),
]


@pytest.mark.parametrize(("members", "param", "code", "message"), FAULTS, ids=[str(case[0])[:50] for case in FAULTS])
def test_a_fault_is_named(members: dict[str, Any], param: str, code: str, message: str) -> None:
    error = refused(with_model(**members))
    assert error.message.startswith(message)
    assert (error.param, error.code) == (param, code)


def test_a_missing_parameter_is_named() -> None:
    error = refused(b"{}")
    assert error.message == "Missing required parameter: 'model'."
    assert (error.param, error.code) == ("model", "missing_required_parameter")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"nonsense",
        b"[]",
        b'"text"',
        b"null",
        b"{",
        b'{"model": "m",}',
        b'{"model": "m"} more',
        b'{"model": "m", "n": NaN}',
        b'{"model": "m", "n": Infinity}',
        b'{"model": "m", "temperature": 1e999}',
        b'{"model": "m", "n": ' + b"9" * 5000 + b"}",
        b'{"model": "\xff"}',
        b'{"model": "\xed\xa0\x80"}',
        b'{"model": "\\ud800"}',
        b'{"model": "\\udc00 "}',
        b'{"model": "a\x00b"}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
        b'{"model": "m", "metadata": ' + b"[" * 100_000,
        b'{"model": "m", "stop": ' + b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    error = refused(body)
    assert "could not parse the JSON body" in error.message or "nested too deeply" in error.message
    assert error.param is None


def test_nothing_will_do_where_nothing_is_required() -> None:
    class Optional(Struct, forbid_unknown_fields=True):
        metadata: Metadata | None = None

    assert decode_body(b"", Optional) == Optional()
    assert decode_body(b" \n", Optional) == Optional()
    assert refused(b"[]", Optional).param is None


def test_values_that_are_fine_pass() -> None:
    body = with_model(temperature=1, metadata=None, stop=["a"], messages=None, response_format="auto", tools=[FUNCTION])
    bound = decode_body(body, Request)
    assert (bound.temperature, bound.metadata, bound.stop, bound.name) == (1.0, None, ["a"], UNSET)
    assert isinstance(bound.temperature, float)


def test_sixteen_pairs_of_metadata_pass() -> None:
    pairs = {f"{'k' * 60}{number}": "v" * 512 for number in range(16)}
    assert decode_body(with_model(metadata=pairs), Request).metadata == pairs


def test_the_last_of_two_members_counts() -> None:
    assert decode_body(b'{"model": "a", "model": "b"}', Request).model == "b"
    assert decode_body(b'{"model": 1, "model": "b"}', Request).model == "b"
    assert refused(b'{"model": "a", "model": 1}').param == "model"


def test_null_characters_may_stand_in_text_but_not_in_ids() -> None:
    assert decode_body(with_model(instructions="a\0b"), Request).instructions == "a\0b"
    assert refused(with_model(assistant_id="a\0b")).param == "assistant_id"


def test_lengths_are_counted_in_characters() -> None:
    assert decode_body(with_model(instructions="🧵" * 10), Request).instructions == "🧵" * 10
    assert "length 11" in refused(with_model(instructions="🧵" * 11)).message


def test_what_a_caller_wrote_is_not_echoed_at_length() -> None:
    error = refused(with_model(response_format="x" * 100_000))
    assert len(error.message) < 1000
    error = refused(with_model(**{"x" * 100_000: 1}))
    assert len(error.message) < 1000
    assert error.param is not None
    assert len(error.param) < 1000


class Anything(Struct, forbid_unknown_fields=True):
    schema: JsonObject


def nested(depth: int) -> bytes:
    return b'{"schema": {"a": ' + b"[" * depth + b"]" * depth + b"}}"


def test_depth_is_bounded_where_any_json_may_stand() -> None:
    assert decode_body(nested(MAX_NESTING - 2), Anything).schema
    assert "nested too deeply" in refused(nested(MAX_NESTING - 1), Anything).message
    assert "nested too deeply" in refused(nested(900), Anything).message
    assert "nested too deeply" in refused(nested(100_000), Anything).message


def test_the_number_of_arrays_and_objects_is_bounded_where_any_json_may_stand() -> None:
    body = b'{"schema": {"a": [' + b"[]," * MAX_CONTAINERS + b"[]]}}"
    assert "too many arrays and objects" in refused(body, Anything).message
    text = json.dumps({"schema": {"a": "[" * MAX_CONTAINERS + '"{' * 200 + "\\" * 201}}).encode()
    assert decode_body(text, Anything).schema


def test_width_is_no_depth() -> None:
    wide = json.dumps({"schema": {"a": [[] for _ in range(1000)], "text": '["{[' * 1000, "b\\": "\\"}})
    assert len(decode_body(wide.encode(), Anything).schema["a"]) == 1000


@pytest.mark.parametrize("value", [b"1", b'""', b"null"])
def test_a_body_of_crumbs_is_refused_before_it_is_decoded(value: bytes) -> None:
    body = b'{"model": "m", "stop": [' + (value + b",") * (2 * MAX_VALUES) + value + b"]}"
    assert "too many values" in refused(body).message


def test_commas_and_quotation_marks_of_a_text_are_no_values() -> None:
    text = json.dumps({"model": "m", "assistant_id": 'a,"' * (2 * MAX_VALUES)}).encode()
    assert len(decode_body(text, Request).assistant_id or "") == 6 * MAX_VALUES
