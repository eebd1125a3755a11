"""Query strings are bound, or refused in the platform's words."""

import pytest
from msgspec import Struct

from everloom.api.http.binding import decode_query
from everloom.kit.errors import BadRequest
from everloom.objects.base import PageQuery


class Query(PageQuery, frozen=True, kw_only=True):
    include: list[str] = []
    numbers: list[int] = []
    metadata: dict[str, str] | None = None
    effective_at: dict[str, int] | None = None
    stream: bool = False
    start_time: int | None = None
    share: float | None = None


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], Query()),
        ([("limit", "5"), ("order", "asc"), ("after", "x,y")], Query(limit=5, order="asc", after="x,y")),
        ([("limit", "5"), ("limit", "6")], Query(limit=6)),
        ([("include[]", "a"), ("include[]", "b")], Query(include=["a", "b"])),
        ([("include", "a"), ("include", "b")], Query(include=["a", "b"])),
        ([("include", "a,b")], Query(include=["a", "b"])),
        ([("include[0]", "a[*].b,c")], Query(include=["a[*].b,c"])),
        ([("numbers", "1,2"), ("numbers[]", "-3")], Query(numbers=[1, 2, -3])),
        ([("metadata[a b]", "1"), ("metadata[c]", "")], Query(metadata={"a b": "1", "c": ""})),
        ([("metadata", "x"), ("metadata[a]", "b")], Query(metadata={"a": "b"})),
        ([("metadata", "null")], Query(metadata=None)),
        ([("metadata[]", "x")], Query(metadata={"": "x"})),
        ([("metadata[a]", "null")], Query(metadata={"a": "null"})),
        ([("effective_at[gte]", "5")], Query(effective_at={"gte": 5})),
        ([("stream", "true"), ("share", "0.5"), ("start_time", "7")], Query(stream=True, share=0.5, start_time=7)),
        ([("unknown", "1"), ("limit[x]", "y"), ("[", "z"), ("", "")], Query()),
    ],
    ids=str,
)
def test_a_query_is_bound(pairs: list[tuple[str, str]], expected: Query) -> None:
    assert decode_query(pairs, Query) == expected


@pytest.mark.parametrize(
    ("pairs", "param", "code", "message"),
    [
        (
            [("limit", "abc")],
            "limit",
            "invalid_type",
            "Invalid type for 'limit': expected an integer, but got a string instead.",
        ),
        ([("limit", "1.5")], "limit", "invalid_type", "Invalid type for 'limit': expected an integer"),
        ([("limit", "٣")], "limit", "invalid_type", "Invalid type for 'limit': expected an integer"),
        (
            [("limit", "0")],
            "limit",
            "integer_below_min_value",
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
        ([("limit", "101")], "limit", "integer_above_max_value", "Invalid 'limit': integer above maximum value."),
        ([("limit", "9" * 30)], "limit", "integer_above_max_value", "Invalid 'limit': integer above maximum value."),
        ([("limit", "9" * 9999)], "limit", "invalid_type", "Invalid type for 'limit': expected an integer"),
        (
            [("order", "up")],
            "order",
            "invalid_value",
            "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.",
        ),
        ([("numbers", "1,x")], "numbers[1]", "invalid_type", "Invalid type for 'numbers[1]': expected an integer"),
        ([("effective_at[gt]", "x")], "effective_at.gt", "invalid_type", "Invalid type for 'effective_at.gt'"),
        ([("metadata", "x")], "metadata", "invalid_type", "Invalid type for 'metadata': expected an object, but got a"),
        ([("stream", "perhaps")], "stream", "invalid_type", "Invalid type for 'stream': expected a boolean"),
        ([("share", "1e9999")], "share", "invalid_type", "Invalid type for 'share': expected a decimal"),
        ([("after", "a\0b")], "after", "invalid_value", "Invalid 'after': string contains a null character."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_query_is_refused(pairs: list[tuple[str, str]], param: str, code: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_query(pairs, Query)
    assert caught.value.message.startswith(message)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_a_missing_query_parameter_is_named() -> None:
    class Usage(Struct):
        start_time: int

    with pytest.raises(BadRequest, match="Missing required parameter: 'start_time'"):
        decode_query([], Usage)
