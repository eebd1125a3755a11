"""Calls read out of text, piece by piece."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloom.models.llama.tool_calls import CallBegins, CallGoesOn, CallReader, PlainText

CALL = '<tool_call>{"name": "add", "arguments": {"a": "}\\"{", "b": [1, {}]}}</tool_call>'


def read(
    pieces: list[str], *, must_call: bool = False, names: tuple[str, ...] = ("add", "get")
) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls that a reader makes of ``pieces``."""
    reader = CallReader(names, must_call=must_call)
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.end()
    calls: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, CallBegins):
            assert event.index == len(calls)
            calls.append((event.name, ""))
        elif isinstance(event, CallGoesOn):
            assert event.index == len(calls) - 1
            calls[-1] = calls[-1][0], calls[-1][1] + event.arguments
    return "".join(event.text for event in events if isinstance(event, PlainText)), calls


@given(st.lists(st.integers(0, len(CALL) * 2 + 10), max_size=8))
def test_wherever_it_is_cut_it_reads_the_same(cuts: list[int]) -> None:
    whole = f"Sure.{CALL}\n{CALL}"
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)]
    text, calls = read(pieces)
    assert text == "Sure."
    assert [name for name, _ in calls] == ["add", "add"]
    assert json.loads(calls[1][1]) == {"a": '}"{', "b": [1, {}]}


@pytest.mark.parametrize(
    "text",
    [
        "a < b <tool <tool_ <tool_calls>",
        "<tool_call>",
        "<tool_call> is a mark</tool_call>",
        '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call> and more',
        "<tool_call>" + "x" * 1000,
        "ends in <tool_c",
    ],
)
def test_what_only_looks_like_a_call_stays_text(text: str) -> None:
    assert read(list(text)) == (text, [])
    assert read([text]) == (text, [])


def test_text_is_held_back_only_while_undecided() -> None:
    reader = CallReader(["add"])
    assert reader.feed("Look: <") == [PlainText("Look: ")]
    assert reader.feed("tool_x") == [PlainText("<tool_x")]
    assert reader.feed('<tool_call>{"name": "add", ') == []
    assert reader.feed('"arguments": {"a"') == [CallBegins(0, "add"), CallGoesOn(0, '{"a"')]
    assert reader.feed(": 1}") == [CallGoesOn(0, ": 1}")]
    assert reader.feed("}</tool_call>") == []
    assert reader.end() == []


def test_a_forced_call_cut_short_is_no_text() -> None:
    assert read(['<tool_call>{"na'], must_call=True) == ("", [])
    assert read(['<tool_call>{"na'], must_call=True, names=("add",)) == ("", [("add", "")])
    assert read([CALL[:50]], must_call=True) == ("", [("add", CALL[40:50])])
