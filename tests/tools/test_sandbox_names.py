"""Names of attached files: whatever is given, one harmless part of a path."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloom.sandbox.names import free_name, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("sales 2024.csv", "sales 2024.csv"),
        ("Übersicht.xlsx", "Übersicht.xlsx"),
        ("archive.tar.gz", "archive.tar.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\data.csv", "data.csv"),
        ("a\0b\nc.csv", "abc.csv"),
        ("\u202egnp.exe", "gnp.exe"),
        (".bashrc", "bashrc"),
        ("..", "file"),
        ("", "file"),
        ("/", "file"),
        ("\ud800", "file"),
    ],
)
def test_a_name_keeps_what_is_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_long_name_keeps_its_suffix() -> None:
    assert safe_name("ü" * 10_000 + ".csv") == "ü" * 98 + ".csv"
    assert len(safe_name("a." + "b" * 10_000)) == 200


@given(st.text(st.characters(), max_size=300), st.sets(st.integers(2, 5)))
def test_any_name_is_one_part_of_a_path(name: str, taken: set[int]) -> None:
    safe = safe_name(name)
    assert safe not in ("", ".", "..")
    assert not set("/\\\0") & set(safe)
    assert not [sign for sign in safe if unicodedata.category(sign)[0] == "C"]
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 240
    other = free_name(name, {safe})
    assert other != safe
    assert len(other.encode()) <= 250


def test_numbers_stand_before_the_suffix() -> None:
    assert free_name("a.csv", set()) == "a.csv"
    assert free_name("a.csv", {"a.csv", "a-2.csv"}) == "a-3.csv"
    assert free_name("README", {"README"}) == "README-2"
