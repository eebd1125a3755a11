"""What is done to a text before native code reads it."""

import pytest

from everloom.models.speech.child import plain
from everloom.models.speech.piper_child import pieces


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Hello, world!\nAnd you?", "Hello, world!\nAnd you?"),
        ("\x01 90P\x00 loud\x7f\x85", "  90P  loud  "),
        ("a\u00a0b\u2003c\u2028d\te", "a b c d e"),
        ("नमस्ते é", "नमस्ते é"),
        ("_-\u093fह \u0301", "_-ह "),
        ("a" * 130, "a" * 64 + " " + "a" * 64 + " aa"),
        ("A.B." * 8, "A.B." * 8),
        ("A.B." * 17, "A B " * 17),
        ("x" + "ß." * 40, "xß " + "ß " * 39),
        ("é.é. " * 20 + "End. It is.", "é é  " * 20 + "End. It is."),
        ("e.g. the U.S.A., 1.2.3.4", "e.g. the U.S.A., 1.2.3.4"),
    ],
)
def test_what_is_no_text_is_left_out(text: str, read: str) -> None:
    assert plain(text) == read


def test_texts_are_cut_at_sentences_then_between_words() -> None:
    assert list(pieces("One. Two! Three? \n\n Four… 五。六")) == ["One.", "Two!", "Three?", "Four…", "五。", "六"]
    long = " ".join(["word"] * 500)
    assert "".join(pieces(long)).split() == long.split()
    assert max(map(len, pieces(long))) <= 300
    assert list(map(len, pieces("x" * 700))) == [300, 300, 100]
    assert list(pieces(" \n ")) == []
