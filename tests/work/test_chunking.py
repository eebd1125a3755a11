"""Text in chunks: all of it, in order, no longer than asked, at borders where there are any."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from everloom.work.vector_stores.chunking import chunk, count, spans, windows

PROSE = (
    "The ferry leaves Bergen at nine. It calls at every island on the way, and the captain knows each of them by name; "
    "nobody has ever seen a map on board.\n\nIn winter there is no ferry. Letters wait. What is urgent goes by sledge, "
    "which takes three days (four in March).\n"
)
TEXTS = st.one_of(
    st.text(),
    st.text(st.sampled_from("ab \n\t.!?é你😀\u0301\u200d\ufe0f한ก")),
    st.lists(st.sampled_from([PROSE, "x" * 50, "def f():\n    return 1\n", "你好。", "\n\n", "    "])).map("".join),
)
SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@settings(deadline=None)
@given(TEXTS, SIZES)
@example("word " * 100, (1, 0))
@example("   ", (5, 2))
def test_nothing_is_lost_and_nothing_moves(text: str, sizes: tuple[int, int]) -> None:
    found = list(spans(text, *sizes))
    assert bool(found) == bool(text)
    reached = 0
    for begin, end in found:
        assert begin <= reached < end
        reached = end
    assert reached == len(text)
    assert [begin for begin, _ in found] == sorted({begin for begin, _ in found})


@settings(deadline=None)
@given(TEXTS, SIZES)
def test_no_chunk_is_longer_and_overlaps_are_as_asked(text: str, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    found = list(spans(text, size, overlap))
    longest_word = 8
    for begin, end in found:
        assert count(text[begin:end]) <= max(size, longest_word)
    for (_, end), (begin, _) in pairwise(found):
        assert count(text[begin:end]) <= overlap
        before = count(text[:begin])
        assert count(text[:end]) - before >= min(overlap, before) - longest_word


@settings(deadline=None)
@given(TEXTS, st.integers(1, 40))
def test_windows_joined_are_the_text(text: str, size: int) -> None:
    pieces = windows(text, size)
    assert "".join(pieces) == text
    assert all(pieces)
    assert len(pieces) < 2 or not any(piece.isspace() for piece in pieces)


@settings(deadline=None)
@given(TEXTS, SIZES)
def test_chunks_are_the_slices_that_say_something(text: str, sizes: tuple[int, int]) -> None:
    assert chunk(text, *sizes) == [
        piece for begin, end in spans(text, *sizes) if (piece := text[begin:end]) and not piece.isspace()
    ]


@settings(deadline=None)
@given(st.text(st.sampled_from("ae\u0301\u0308o\U0001f469\U0001f3fd\u200d\U0001f467\ufe0fहिन्दी "), max_size=200), SIZES)
def test_what_belongs_to_a_character_stays_with_it(text: str, sizes: tuple[int, int]) -> None:
    for begin, _ in spans(text, *sizes):
        if begin and len(text) - len(text.lstrip("\u0301\u0308\u200d\ufe0f\U0001f3fd")) <= begin:
            stuck = unicodedata.category(text[begin]).startswith("M") and not text[begin - 1].isspace()
            run = len(text[:begin]) - len(text[:begin].rstrip("\u0301\u0308िी्\ufe0f\U0001f3fd\u200d"))
            assert not stuck or run >= 16


def test_the_defaults_are_the_platform_s() -> None:
    text = "".join(f"{number}. {PROSE}" for number in range(60))
    chunks = chunk(text)
    assert 3_000 < count(text) < 5_500
    assert all(560 <= count(piece) <= 800 for piece in chunks[:-1])
    for before, after in pairwise(chunks):
        shared = next(size for size in range(len(after), 0, -1) if before.endswith(after[:size]))
        assert 390 <= count(after[:shared]) <= 400


def test_a_short_text_is_one_chunk() -> None:
    assert chunk(PROSE) == [PROSE]
    assert windows(PROSE) == [PROSE]


@pytest.mark.parametrize("text", ["", "  \n ", "\n" * 100_000])
def test_no_text_is_no_chunk(text: str) -> None:
    assert chunk(text) == []


def test_chunks_end_with_paragraphs_where_they_can() -> None:
    text = "".join(f"Point {number} says this and that about ships.\n\n" for number in range(400))
    assert all(piece.endswith("ships.\n\n") for piece in chunk(text))


def test_chunks_end_with_sentences_where_there_are_no_paragraphs() -> None:
    text = "".join(f'He said "{number} ships, at most." Nobody believed it. ' for number in range(300))
    assert all(piece.endswith(('." ', "it. ")) for piece in chunk(text))


def test_chunks_end_with_lines_where_there_are_no_sentences() -> None:
    text = "".join(f"    total[{number}] = left + right\n" for number in range(600))
    assert all(piece.endswith("right\n") for piece in chunk(text))


def test_chinese_ends_with_its_own_full_stop() -> None:
    text = "人人生而自由在尊严和权利上一律平等。" * 200
    assert all(piece.endswith("。") for piece in chunk(text))


def test_chunks_begin_and_end_with_words() -> None:
    words = ["ship", "harbour", "Bergen", "nine", "o'clock"] * 1000
    for piece in chunk(" ".join(words), 100, 50):
        assert set(piece.split()) <= set(words)


@pytest.mark.parametrize(("size", "overlap"), [(800, 800), (10, 11), (0, 0), (100, -1)])
def test_sizes_that_cannot_be(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        chunk("text", size, overlap)


def test_windows_are_about_equal() -> None:
    [text] = chunk(PROSE * 9, 800, 400)
    sizes = [count(piece) for piece in windows(text)]
    assert len(sizes) == -(-count(text) // 240)
    assert max(sizes) <= 240
    assert min(sizes) > 0.6 * max(sizes)


@pytest.mark.parametrize(
    "text",
    [
        PROSE * 6_000,
        "x" * 5_000_000,
        " " * 5_000_000 + "end",
        "é\u0301" * 500_000,
        "-" * 3_000_000,
        "你" * 500_000,
        "\U0001f469\u200d" * 500_000,
        "A" * 2_000_000,
    ],
    ids=["prose", "one word", "spaces", "accents", "dashes", "chinese", "joiners", "capitals"],
)
def test_megabytes_of_anything_come_to_an_end(text: str) -> None:
    """Seconds where the time grows with the text; hours where it grew with its square."""
    assert sum(map(len, chunk(text, 800, 0))) >= len(text.strip())


def test_the_same_text_gives_the_same_chunks() -> None:
    assert chunk(PROSE * 100, 200, 50) == chunk("".join([PROSE] * 100), 200, 50)
