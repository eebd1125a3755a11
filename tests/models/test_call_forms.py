"""Calls without the marks: in fences, in tags, with nothing around. Forms as Qwen2.5-Coder-0.5B wrote them."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloom.models.llama.chat import ChoiceReader
from everloom.models.llama.request import EngineRequest
from everloom.models.llama.tool_arguments import ToolSchemas
from everloom.models.llama.tool_calls import CallBegins, CallGoesOn, CallReader, Event, PlainText

SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city"],
    },
    "add": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}},
}

FENCED = '```json\n{\n  "name": "get_weather",\n  "arguments": {\n    "city": "Oslo",\n    "unit": "c"\n  }\n}\n```'
TAGGED = '<tools>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tools>'
BARE = '{"name": "add", "arguments": {"a": 17, "b": 25}}'
MARKED = '<tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>'


def reader(most: int = 8) -> CallReader:
    return CallReader(list(SCHEMAS), schemas=ToolSchemas(SCHEMAS), most=most)


def told(events: list[Event]) -> tuple[str, list[tuple[str, Any]]]:
    """The text, and the calls with their arguments read."""
    calls: list[list[str]] = []
    for event in events:
        if isinstance(event, CallBegins):
            assert event.index == len(calls)
            calls.append([event.name, ""])
        elif isinstance(event, CallGoesOn):
            assert event.index == len(calls) - 1
            calls[-1][1] += event.arguments
    text = "".join(event.text for event in events if isinstance(event, PlainText))
    return text, [(name, json.loads(arguments)) for name, arguments in calls]


def read(pieces: list[str], most: int = 8) -> tuple[str, list[tuple[str, Any]]]:
    reads = reader(most)
    return told([event for piece in pieces for event in reads.feed(piece)] + reads.end())


OSLO = ("get_weather", {"city": "Oslo", "unit": "c"})
SUM = ("add", {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        (FENCED, "", [OSLO]),
        ("\n" + FENCED + "\n", "", [OSLO]),
        (FENCED.replace("json", ""), "", [OSLO]),
        (FENCED.removesuffix("```"), "", [OSLO]),
        (TAGGED, "", [SUM]),
        (TAGGED.replace("</tools>", "</tool_call>"), "", [SUM]),
        (BARE, "", [("add", {"a": 17, "b": 25})]),
        (f" {BARE}\n{BARE}", "", [("add", {"a": 17, "b": 25})] * 2),
        (f"Let me look.\n{FENCED}\n{FENCED}", "Let me look.\n", [OSLO, OSLO]),
        (f"```json\n{BARE}\n{BARE}\n```", "", [("add", {"a": 17, "b": 25})] * 2),
        (f"```json\n[{BARE}, {BARE}]\n```\nDone.", "Done.", [("add", {"a": 17, "b": 25})] * 2),
        (f"[{BARE}]", "", [("add", {"a": 17, "b": 25})]),
        (TAGGED + FENCED + MARKED, "", [SUM, OSLO, ("add", {"a": 3})]),
        ('```\n{"name": "add", "arguments": {}}```', "", [("add", {})]),
        (
            '```json\n{"name": "get_weather", "arguments": {"city": "```}\\"{"}}\n```',
            "",
            [("get_weather", {"city": '```}"{'})],
        ),
    ],
)
def test_calls_are_read(text: str, said: str, calls: list[tuple[str, Any]]) -> None:
    assert read([text]) == (said, calls)
    assert read(list(text)) == (said, calls)


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "hello", "arguments": {}}\n```',  # nobody's name
        '{"name": "hello", "arguments": {"message": "Hello!"}}',
        '```json\n{"name": "get_weather", "arguments": {"unit": "c"}}\n```',  # a city is required
        '```json\n{"name": "get_weather", "arguments": {"city": 7}}\n```',
        '```json\n{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "k"}}\n```',
        '```json\n{"name": "add", "arguments": [1, 2]}\n```',
        '```json\n{"name": "add", "arguments": {"a": 1}, "why": "so"}\n```',
        '```json\n{"name": "add", "arguments": {"a": 1}, "arguments": {}}\n```',
        '```json\n{"name": "add", "arguments": {"a": 1]}\n```',
        '```json\n{"name": "add", "arguments": {"a": 01}}\n```',
        '```json\n{"name": "add", "arguments": {"a": 1',  # cut
        '```json\n{"name": "add"}\n```',
        '```json\n{"city": "Oslo"}\n```',
        "```python\nprint({})\n```\n\nand ```\nmore",
        "``` ```` `````",
        "<tools> <tool <tools",
        f"See: {BARE}",  # within a text it is an example
        "{}",
        "[1, 2]",
        "  \n ",
        " {",
        '{"name": "add", "arguments": {"a": ' + '{"a": ' * 2000,
        "```json" + " " * 1000 + BARE,
        '{"name": "' + "get_" * 200,
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert read([text]) == (text, [])
    assert read(list(text)) == (text, [])


PIECES = [
    *(
        FENCED,
        TAGGED,
        BARE,
        MARKED,
        "Sure. ",
        "\n",
        " ",
        "```",
        "`",
        "<tools>",
        "</tools>",
        "<tool",
        "{",
        "}",
        "]",
        ",",
        "[",
        '"',
    ),
    *(
        '{"name": "add", "arguments": {',
        '"a": 1}}',
        '{"name": "nobody"',
        "```json\n",
        "json",
        "x",
        "</tool_call>",
        "<tool_call>",
    ),
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.lists(st.integers(0, 300), max_size=12))
def test_wherever_it_is_cut_it_reads_the_same(whole: str, cuts: list[int]) -> None:
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(whole)}), len(whole)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)]
    reads = [read_loosely(pieces), read_loosely([whole]), read_loosely(list(whole))]
    assert reads[0] == reads[1] == reads[2]


def read_loosely(pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """As ``read``, but a marked call may be cut off in its arguments."""
    reads = reader()
    events = [event for piece in pieces for event in reads.feed(piece)] + reads.end()
    calls: dict[int, tuple[str, str]] = {}
    for event in events:
        if isinstance(event, CallBegins):
            calls[event.index] = (event.name, "")
        elif isinstance(event, CallGoesOn):
            calls[event.index] = calls[event.index][0], calls[event.index][1] + event.arguments
    return "".join(event.text for event in events if isinstance(event, PlainText)), list(calls.values())


def test_text_is_held_back_only_while_undecided() -> None:
    reads = reader()
    assert reads.feed("Look: ``") == [PlainText("Look: ")]
    assert reads.feed("`") == []
    assert reads.feed("js") == []
    assert reads.feed("on\n{") == []
    assert reads.feed('"name": "get_time') == [PlainText("```"), PlainText('json\n{"name": "get_time')]
    assert reads.feed("```py") == [PlainText("```"), PlainText("py")]
    assert reads.feed("<to") == []
    assert reads.feed("nne>") == [PlainText("<tonne>")]
    assert reads.feed('```{"name": "add", "arguments": {"a": 1}') == []
    assert reads.feed("}") == [CallBegins(0, "add"), CallGoesOn(0, '{"a": 1}')]
    assert reads.feed("```") == []
    assert reads.feed("\n\nThat") == [PlainText("That")]


def test_calls_beyond_the_most_are_not_told() -> None:
    assert read([f"{FENCED}\n{TAGGED}\n{MARKED} and"], most=1) == ("and", [OSLO])


def test_without_schemas_only_marks_are_read() -> None:
    reads = CallReader(list(SCHEMAS))
    assert told(reads.feed(FENCED + MARKED) + reads.end()) == (FENCED, [("add", {"a": 3})])


@pytest.mark.parametrize(
    ("schema", "arguments", "fits"),
    [
        ({"properties": {"a": {"pattern": "^x+$"}}}, '{"a": "xx"}', True),
        ({"properties": {"a": {"pattern": "^x+$"}}}, '{"a": "y"}', False),
        ({"properties": {"a": {"pattern": "(?=x)y", "type": "string"}}}, '{"a": "z"}', True),  # cannot be checked
        ({"properties": {"a": {"pattern": "(?=x)y", "type": "string"}}}, '{"a": 1}', False),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, '{"a": "' + "a" * 20_000 + '!"}', False),  # at once
        ({"properties": {"a": {"format": "date"}}}, '{"a": "soon"}', True),  # a format is a remark
        ({"properties": {"a": {"$ref": "#"}}, "additionalProperties": False}, '{"a": {"a": {"b": 1}}}', False),
        ({"$ref": "http://127.0.0.1:1/nothing"}, "{}", True),  # nothing is fetched
        ({"type": "nonsense"}, "{}", True),
        ({}, "[]", False),
        ({}, "{", False),
        ({}, '{"a": ' * 100_000, False),
        ({}, '{"a": ' * 100_000 + "1" + "}" * 100_000, False),
    ],
)
def test_arguments_are_held_against_the_schema(schema: dict[str, Any], arguments: str, fits: bool) -> None:
    assert ToolSchemas({"f": schema}).fits("f", arguments) is fits


def test_log_probabilities_come_with_the_text_they_were_held_back_with() -> None:
    request = EngineRequest(body={}, names=list(SCHEMAS), schemas=ToolSchemas(SCHEMAS))

    def tokens(*texts: str) -> list[str]:
        reads = ChoiceReader(0, request, 0)
        told = []
        for text in texts:
            token = {"token": text, "logprob": -1.0, "bytes": [], "top_logprobs": []}
            choice = {"delta": {"content": text}, "logprobs": {"content": [token]}}
            step = reads.read(json.dumps({"choices": [choice]}).encode())
            told += [token["token"] for token in step.logprobs or []]
        return told

    assert tokens("A", "``", "`", "py", " b") == ["A", "``", "`", "py", " b"]
    assert tokens(BARE[:20], BARE[20:], "\n", "Done") == ["\n", "Done"]
