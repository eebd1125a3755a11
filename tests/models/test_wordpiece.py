"""The embedding model's tokens, against a second reading of its tokenizer's file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloom.models.files.weights import MINILM
from everloom.models.minilm.wordpiece import WordPiece, words
from tests.models.reference_bert import Bert
from tests.weights import default_weights

BERT = Bert(*default_weights().fetch(MINILM))
PIECES = WordPiece(BERT.vocabulary)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("naïve CAFÉ", ["naive", "cafe"]),
        ("foo_bar(baz)->qux;", ["foo", "_", "bar", "(", "baz", ")", "-", ">", "qux", ";"]),
        ("你好 world", ["你", "好", "world"]),
        ("zero\u200bwidth\ufeff \x00\x07nul", ["zerowidth", "nul"]),
        ("tab\tnew\nline\u3000wide", ["tab", "new", "line", "wide"]),
        ("İstanbul Straße", ["istanbul", "straße"]),
        ("", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_tokens_known_by_heart() -> None:
    """From the model's published tokenizer: [CLS] hello , world ! [SEP]."""
    assert PIECES.tokens("Hello, world!") == [101, 7592, 1010, 2088, 999, 102]


def test_a_word_of_no_piece_and_an_endless_word_are_unknown() -> None:
    assert PIECES.tokens("a ሀ b") == [101, 1037, 100, 1038, 102]
    assert PIECES.tokens("x" * 101) == [101, 100, 102]
    assert 100 not in PIECES.tokens("x" * 100)


def test_marks_in_a_text_are_text() -> None:
    assert PIECES.tokens("[SEP]").count(102) == 1


def test_tokens_are_framed_once() -> None:
    assert PIECES.framed([7592]) == [101, 7592, 102]
    assert PIECES.framed([101, 7592, 102]) == [101, 7592, 102]


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(codec="utf-8", max_codepoint=0x24FF)))
def test_both_readings_agree(text: str) -> None:
    assert PIECES.tokens(text) == BERT.tokens(text)
