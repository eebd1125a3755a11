"""Whatever JSON comes, binding and the types agree about it, and a refusal always has words."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from everloom.api.http.binding import decode_query
from everloom.kit.errors import BadRequest
from everloom.objects.assistants import AssistantChanges, NewAssistant
from everloom.objects.messages import NewMessage
from everloom.objects.tools import Tool
from everloom.requests.binding import decode_body
from tests.api.test_binding_query import Query
from tests.requests.test_binding import FUNCTION, IMAGE, Anything, Request

REAL: list[Any] = [NewMessage, NewAssistant, AssistantChanges, Request, list[Tool], Anything]
_WORDS = st.sampled_from(
    ["type", "function", "code_interpreter", "file_search", "name", "text", "user", "role", "content", "image_file"]
) | st.sampled_from(
    [
        "file_id",
        "assistant",
        "model",
        "tools",
        "metadata",
        "temperature",
        "n",
        "stop",
        "messages",
        "attachments",
        "schema",
    ]
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | _WORDS
)
JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS | st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)


def fault_of(attempt: Callable[[], Any]) -> BadRequest | None:
    try:
        attempt()
    except BadRequest as error:
        return error
    return None


def _near(value: Any) -> st.SearchStrategy[Any]:
    """Values that a request takes, with any one of their members replaced by whatever."""

    def replaced(spoiled: tuple[str, Any]) -> Any:
        return value | {spoiled[0]: spoiled[1]}

    return st.tuples(st.sampled_from(sorted(value)) | _WORDS, JSON).map(replaced)


NEAR = st.one_of(
    _near({"role": "user", "content": [IMAGE], "attachments": [{"file_id": "f", "tools": [{"type": "file_search"}]}]}),
    _near({"model": "m", "tools": [FUNCTION], "metadata": {"a": "b"}, "temperature": 1}),
    _near({"schema": {"type": "object"}}),
)


def _with_fewer_nulls(value: Any) -> Iterator[Any]:
    """The value without some of its members that are null, in each way there is (up to eight of them)."""
    places = [(*path, name) for path, name in _nulls(value)][:8]
    for count in range(1, len(places) + 1):
        for some in itertools.combinations(places, count):
            yield _without(value, (), set(some))


def _nulls(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    for name, inner in _members(value):
        if isinstance(value, dict) and inner is None:
            yield path, name
        yield from _nulls(inner, (*path, name))


def _without(value: Any, path: tuple[Any, ...], places: set[tuple[Any, ...]]) -> Any:
    kept = [(name, _without(inner, (*path, name), places)) for name, inner in _members(value)]
    if isinstance(value, dict):
        return {name: inner for name, inner in kept if (*path, name) not in places}
    return [inner for _, inner in kept] if isinstance(value, list) else value


def _members(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())


def _is_taken(value: Any, kind: Any) -> bool:
    try:
        msgspec.json.decode(json.dumps(value), type=kind)
    except msgspec.MsgspecError:
        return False
    return True


def _agrees(body: bytes, kind: Any) -> None:
    try:
        expected = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = fault_of(lambda: decode_body(body, kind))
        if error is None:  # A null was in its way that counts as not given, in one of the many places.
            assert any(_is_taken(each, kind) for each in _with_fewer_nulls(json.loads(body)))
            return
        assert error.message
        assert isinstance(error.param, str | None)
    else:
        assert decode_body(body, kind) == expected


@settings(deadline=None, max_examples=150)
@given(value=JSON | NEAR, kind=st.sampled_from(REAL))
def test_binding_agrees_with_the_types_about_any_json(value: Any, kind: Any) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    # Null characters in ids are refused on top of what the types say.
    _agrees(body.replace(b"\\u0000", b"0"), kind)


@settings(deadline=None, max_examples=100)
@given(value=NEAR, kind=st.sampled_from(REAL), data=st.data())
def test_binding_survives_any_damage_to_a_body(value: Any, kind: Any, data: st.DataObject) -> None:
    body = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    error = fault_of(lambda: decode_body(bytes(body), kind))
    assert error is None or (error.message and isinstance(error.param, str | None))


_NAMES = st.sampled_from(["limit", "include[]", "include", "metadata[a]", "metadata", "order", "share", "numbers"])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(_NAMES, st.text())))
def test_binding_survives_any_query(pairs: list[tuple[str, str]]) -> None:
    error = fault_of(lambda: decode_query(pairs, Query))
    assert error is None or error.param
