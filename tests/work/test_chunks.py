"""Streams as servers of all sorts write them, read into the reference's chunks."""

import json
from typing import Any

import pytest

from everloom.kit.errors import ModelFailure
from everloom.models.usage import usage_of
from everloom.objects.chat import ChatChunk
from everloom.work.inference.chunks import ChunkReader

SIZES = (1, 7, 100_000)


def read(stream: bytes, size: int = 100_000) -> list[ChatChunk]:
    reader = ChunkReader("m")
    chunks = []
    for start in range(0, len(stream), size):
        chunks += reader.feed(stream[start : start + size])
    return chunks + reader.end()


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def delta(**fields: Any) -> Any:
    return {"choices": [{"index": 0, "delta": fields}]}


def called(*pieces: Any) -> list[Any]:
    """A chunk for each piece of a call."""
    return [delta(tool_calls=[piece]) for piece in pieces]


def call(arguments: Any = None, *, index: int | None = None, id: str | None = None, name: str | None = None) -> Any:
    told: Any = {"function": {}}
    if index is not None:
        told["index"] = index
    if id is not None:
        told["id"] = id
    if name is not None:
        told["function"]["name"] = name
    if arguments is not None:
        told["function"]["arguments"] = arguments
    return told


def text(chunks: list[ChatChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def calls(chunks: list[ChatChunk]) -> list[tuple[str | None, str | None, str]]:
    """(id, name, arguments) of each call by its number, which must begin with its name."""
    found: dict[int, list[Any]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for piece in choice.delta.tool_calls or ():
                assert piece.function is not None
                if piece.index not in found:
                    assert piece.function.name
                    found[piece.index] = [piece.id, piece.function.name, ""]
                found[piece.index][2] += piece.function.arguments or ""
    assert list(found) == list(range(len(found)))
    return [(id, name, arguments) for id, name, arguments in found.values()]


CALLS: dict[str, tuple[list[Any], list[tuple[str | None, str, str]]]] = {
    "as the reference has them": (
        [
            delta(tool_calls=[call("", index=0, id="a", name="f")]),
            delta(tool_calls=[call('{"x":', index=0)]),
            delta(tool_calls=[call("1}", index=0)]),
            delta(tool_calls=[call("{}", index=1, id="b", name="g")]),
        ],
        [("a", "f", '{"x":1}'), ("b", "g", "{}")],
    ),
    "index always 0, a new id each": (
        [
            delta(tool_calls=[call("{}", index=0, id="a", name="f")]),
            delta(tool_calls=[call("[]", index=0, id="b", name="f")]),
        ],
        [("a", "f", "{}"), ("b", "f", "[]")],
    ),
    "no index, no id, a new name": (
        [
            delta(tool_calls=[call("{}", name="f")]),
            delta(tool_calls=[call("[1", name="g")]),
            delta(tool_calls=[call("]")]),
        ],
        [(None, "f", "{}"), (None, "g", "[1]")],
    ),
    "no index, the same name again behind whole arguments": (
        [delta(tool_calls=[call("{}", name="f")]), delta(tool_calls=[call("[]", name="f")])],
        [(None, "f", "{}"), (None, "f", "[]")],
    ),
    "two in one chunk without index or id": (
        [delta(tool_calls=[call("{}", name="f"), call("[]", name="f")])],
        [(None, "f", "{}"), (None, "f", "[]")],
    ),
    "id and name with every piece": (
        [
            delta(tool_calls=[call('{"x"', index=0, id="a", name="f")]),
            delta(tool_calls=[call(":1}", index=0, id="a", name="f")]),
        ],
        [("a", "f", '{"x":1}')],
    ),
    "the name again with every piece": (
        [
            delta(tool_calls=[call('{"x"', index=0, id="a", name="f")]),
            delta(tool_calls=[call(":1}", index=0, name="f")]),
        ],
        [("a", "f", '{"x":1}')],
    ),
    "a name that comes late": (
        [delta(tool_calls=[call('{"x"', index=0, id="a")]), delta(tool_calls=[call(":1}", index=0, name="f")])],
        [("a", "f", '{"x":1}')],
    ),
    "arguments as an object": (
        [delta(tool_calls=[call({"x": 1}, index=0, id="a", name="f")])],
        [("a", "f", '{"x":1}')],
    ),
    "arguments null": ([delta(tool_calls=[call(None, index=0, id="a", name="f")])], [("a", "f", "{}")]),
    "arguments empty": ([delta(tool_calls=[call("", index=0, id="a", name="f")])], [("a", "f", "{}")]),
    "the first form of calls": (
        [delta(function_call={"name": "f", "arguments": ""}), delta(function_call={"arguments": "{}"})],
        [(None, "f", "{}")],
    ),
    "one call, not in a list": ([delta(tool_calls=call("{}", id="a", name="f"))], [("a", "f", "{}")]),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_told_apart(name: str, size: int) -> None:
    chunks, expected = CALLS[name]
    assert calls(read(sse(*chunks), size)) == expected


TEXTS: dict[str, bytes] = {
    "as the reference has it": sse(delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo 😀")),
    "null where nothing is": sse({"choices": None}, {"choices": [{"delta": None}]}, None, delta(content="Hello 😀")),
    "contents in parts": sse(delta(content=[{"type": "text", "text": "Hello"}, {"text": {"value": " 😀"}}])),
    "halves of a character": b'data: {"choices":[{"delta":{"content":"Hello \\ud83d"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\ndata: [DONE]\n\n',
    "several lines of data": b'data: {"choices":[{"delta":\ndata: {"content":"Hello'
    b' \xf0\x9f\x98\x80"}}\ndata: ]}\n\ndata: [DONE]\n\n',
    "no line between events": b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n'
    b'data: {"choices":[{"delta":{"content":" \xf0\x9f\x98\x80"}}]}\ndata: [DONE]\n',
    "carriage returns": sse(delta(content="Hello "), delta(content="😀")).replace(b"\n", b"\r\n"),
    "a comment and other fields": b": hi\nid: 1\nevent: message\n" + sse(delta(content="Hello 😀")),
    "one whole answer": json.dumps(
        {"choices": [{"message": {"content": "Hello 😀"}, "finish_reason": "stop"}]}
    ).encode(),
    "no end of line": sse(delta(content="Hello 😀")).removesuffix(b"\n\ndata: [DONE]\n\n"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_read_whole(name: str, size: int) -> None:
    assert text(read(TEXTS[name], size)) == "Hello 😀"


def test_half_a_character_without_its_other_half_can_be_kept() -> None:
    first, second = (
        b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"a\\ud83d", b"b\\ude00")
    )
    stream = first + second
    assert text(read(stream)) == "a\ufffdb\ufffd"


ERRORS: dict[str, bytes] = {
    "wrapped": sse({"error": {"message": "No room.", "code": 500}}),
    "wrapped text": sse({"error": "No room."}),
    "wrapped twice": sse({"error": {"error": {"message": "No room."}}}),
    "unwrapped": sse({"object": "error", "message": "No room.", "code": 500}),
    "typed": sse({"type": "error", "error": {"type": "overloaded_error", "message": "No room."}}),
    "detail": sse({"detail": "No room."}),
    "message alone": sse({"message": "No room.", "code": "x"}),
    "a named event": b'event: error\ndata: {"message": "No room."}\n\n',
    "the reason of a choice": sse(
        {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "No room."}}]}
    ),
    "a whole body": b'{"error": {"message": "No room."}}',
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_told_in_the_servers_words(name: str) -> None:
    with pytest.raises(ModelFailure, match=r"No room\."):
        read(ERRORS[name])


@pytest.mark.parametrize(
    "stream",
    [
        b"data: nonsense\n\n",
        b"data: []\n\n",
        b'data: {"choices": 1}\n\n',
        b'data: {"choices": [{"delta": 1}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": 1}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: {\n" * 300,
        b'{"choices": []}',
        sse(delta(tool_calls=[call("{}", index=0, id="a")])),
    ],
)
def test_nonsense_is_a_failure_of_the_model(stream: bytes) -> None:
    with pytest.raises(ModelFailure):
        read(stream)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((-5, -7, -12), (0, 0, 0)),
        ((10**30, 1, 10**30 + 1), (1_000_000_000, 1, 1_000_000_001)),
        ((3, 4, 107), (3, 104, 107)),
        ((3, 4, 7), (3, 4, 7)),
    ],
)
def test_numbers_that_cannot_be_are_nobodys_usage(told: tuple[int, ...], expected: tuple[int, ...]) -> None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    (chunk,) = read(sse({"choices": [], "usage": dict(zip(names, told, strict=True))}))
    assert chunk.usage is not None
    assert tuple(getattr(chunk.usage, name) for name in names) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, (3, 4, 7)),
        ({"prompt_tokens": 3.0, "completion_tokens": 4.0}, (3, 4, 7)),
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 7)),
        ({"prompt_tokens": "3", "completion_tokens": None}, (3, 0, 3)),
        ({"prompt_tokens": -1, "completion_tokens": 1e300}, (0, 1_000_000_000, 1_000_000_000)),
        ({"prompt_tokens": 10**400}, (1_000_000_000, 0, 1_000_000_000)),
        ({"prompt_tokens": float("nan")}, None),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 107}, (3, 104, 107)),
        ({"completion_tokens": 4, "total_tokens": 9}, (5, 4, 9)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 2}, (3, 4, 7)),
        ({"prompt_tokens": 3, "cache_read_input_tokens": 2}, (3, 0, 3)),
        ({"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 100}, (123, 0, 123)),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_read_under_any_name(told: Any, expected: tuple[int, int, int] | None) -> None:
    usage = usage_of(told)
    found = None if usage is None else (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    assert found == expected
