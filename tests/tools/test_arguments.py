"""The text inside a call's arguments, however the pieces are cut."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from everloom.tools.arguments import TextField


@example("\\", False, [1])
@example("\\u12 😀", True, [1])
@given(st.text(max_size=60), st.booleans(), st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_the_pieces_give_the_text(text: str, ascii_only: bool, cuts: list[int]) -> None:
    text = text.encode("utf-8", "ignore").decode()
    written = json.dumps({"code": text, "more": 1}, ensure_ascii=ascii_only)
    field, shown, position = TextField("code"), "", 0
    while position < len(written):
        size = cuts[position % len(cuts)]
        shown += field.feed(written[position : position + size])
        position += size
    assert shown == text
    assert field.value() == text
    assert field.written == written


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("print(1)", "print(1)"),
        ('"print(1)"', "print(1)"),
        ('{"other": 1}', ""),
        ('{"code": 7}', "7"),
        ('{"code": "x = 1', "x = 1"),
        ('{"code": "a\nb"}', "a\nb"),
        (r'{"code": "C:\\users"}', "C:\\users"),
        (r'{"code": "\ud83d!"}', "?!"),
        (r'{"code": "find(\d, \\d, \n)"}', "find(\\d, \\d, \n)"),
        ("", ""),
    ],
)
def test_what_models_write_instead(written: str, value: str) -> None:
    field = TextField("code")
    field.feed(written)
    assert field.value() == value
