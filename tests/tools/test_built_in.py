"""Each tool of the reference has its line in the registry; what a model that calls no tools writes becomes a call."""

import json
from typing import Any, get_args

import pytest

from everloom.objects.chat import ChatChunk, ChatDelta, ChunkChoice
from everloom.objects.runs import Source, ToolWork
from everloom.objects.steps import StepCall
from everloom.objects.tools import (
    CodeInterpreterTool,
    FileSearchTool,
    FunctionDefinition,
    FunctionName,
    FunctionTool,
    NamedToolChoice,
    Tool,
)
from everloom.tools.code_interpreter import CodeFenceReader, CodeInterpreter
from everloom.tools.file_search import CitedAnswerReader, FileSearch
from everloom.tools.registry import BUILT_IN, built_in, choice, draft, offers, tag

FUNCTION = FunctionTool(function=FunctionDefinition(name="weather"))
HELD = [FUNCTION, CodeInterpreterTool(), FileSearchTool()]


def test_every_tool_of_the_reference_is_one_of_these() -> None:
    known = {"function", *(tool.type for tool in BUILT_IN)}
    assert {tag(tool) for tool in get_args(Tool)} == {tag(call) for call in get_args(StepCall)} == known
    assert set(get_args(NamedToolChoice.__annotations__["type"])) == known


def test_a_model_that_does_not_choose_tools_is_offered_the_callers_functions_alone() -> None:
    names = [offer["function"]["name"] for offer in offers(HELD, chooses_tools=True)]
    assert names == ["weather", "code_interpreter", "file_search"]
    assert [offer["function"]["name"] for offer in offers(HELD, chooses_tools=False)] == ["weather"]
    assert built_in([FUNCTION]) == []


def test_a_choice_of_a_tool_of_ours_is_one_of_a_function() -> None:
    assert choice("auto") == "auto"
    named = {"type": "function", "function": {"name": "file_search"}}
    assert choice(NamedToolChoice(type="file_search")) == named
    weather = NamedToolChoice(type="function", function=FunctionName(name="weather"))
    assert choice(weather) == {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize("type", ["code_interpreter", "file_search"])
def test_a_call_is_of_the_tool_that_the_run_holds(type: str) -> None:
    taken = FunctionTool(function=FunctionDefinition(name=type))
    assert tag(draft(HELD, "call_1", type).whole()) == type
    assert tag(draft([FUNCTION], "call_1", type).whole()) == "function"
    assert tag(draft([*HELD, taken], "call_1", type).whole()) == "function"


def read(reader: CitedAnswerReader | CodeFenceReader, *pieces: str) -> tuple[list[str], list[Any]]:
    """The words and the calls that a reader makes of an answer."""
    words, calls = [], []
    for number, piece in enumerate(pieces, start=1):
        ended = "stop" if number == len(pieces) else None
        chunk = ChatChunk(choices=[ChunkChoice(delta=ChatDelta(content=piece), finish_reason=ended)])
        (seen,) = reader.take(chunk).choices
        words += [seen.delta.content] if seen.delta.content else []
        calls += seen.delta.tool_calls or []
    assert reader.pieces == len(pieces)
    return words, calls


def test_a_fence_becomes_a_call_and_the_rest_is_not_waited_for() -> None:
    reader = CodeFenceReader()
    words, calls = read(reader, "So: `", "``python\nprint(1)\n`", "``")
    assert "".join(words) == "So: "
    (call,) = calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("code_interpreter", {"code": "print(1)"})
    assert reader.done


def test_words_without_a_fence_stay_words() -> None:
    reader = CodeFenceReader()
    assert read(reader, "Use `", "x` here.") == (["Use ", "`x` here."], [])
    assert not reader.done


def test_an_answer_in_the_form_is_followed_by_its_mark() -> None:
    words, calls = read(CitedAnswerReader(), '{"answer": "In 19', '02.", "source": "【1:0†a.', 'txt】"}')
    assert ("".join(words), calls) == ("In 1902.【1:0†a.txt】", [])


def test_what_was_found_stands_before_the_question() -> None:
    source = Source(mark="【1:0†a.txt】", file_id="file-1")
    work = a_work("file_search", "【1:0†a.txt】\nBoats.", source)
    body: dict[str, Any] = {}
    messages = [{"role": "user", "content": "What lies there?"}]
    assert FileSearch().show(body, messages, [work]) is not None
    assert messages[0]["content"].endswith("【1:0†a.txt】\nBoats.\n\nAnswer from these passages: What lies there?")
    form = body["response_format"]["json_schema"]["schema"]
    assert form["properties"]["source"]["enum"] == ["【1:0†a.txt】"]
    assert FileSearch().show({"tools": []}, [{"role": "user", "content": "?"}], [work]) is None
    assert FileSearch().show({}, [{"role": "assistant", "content": "!"}], [work]) is None


def test_a_search_is_made_of_what_was_asked() -> None:
    call = FileSearch().first_call("call_1", "  Where are the boats? ")
    assert call is not None
    assert json.loads(call.arguments) == {"query": "Where are the boats?"}
    assert FileSearch().first_call("call_1", " \n ") is None
    assert CodeInterpreter().first_call("call_1", "Where are the boats?") is None


def test_code_is_asked_for_where_it_is_forced() -> None:
    messages = [{"role": "user", "content": "2 + 2?"}]
    CodeInterpreter().invite(messages, forced=False)
    assert messages == [{"role": "user", "content": "2 + 2?"}]
    CodeInterpreter().invite(messages, forced=True)
    asked = {"role": "user", "content": "2 + 2?\n\nAnswer with a ```python block."}
    assert messages == [{"role": "system", "content": "You answer with Python code."}, asked]
    CodeInterpreter().show({}, messages, [a_work("code_interpreter", "4")])
    assert messages[1]["content"].endswith("\n\nThe code has been run. Its output:\n4")
    instructed = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    CodeInterpreter().invite(instructed, forced=True)
    assert instructed == [{"role": "system", "content": "Be brief.\n\nYou answer with Python code."}, asked]


def a_work(type: str, output: str, *sources: Source) -> ToolWork:
    return ToolWork(
        id="work_1",
        created_at=0,
        run_id="run_1",
        step_id="step_1",
        call_id="call_1",
        type=type,
        arguments="",
        output=output,
        sources=list(sources),
    )
