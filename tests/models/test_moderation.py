"""The local moderation model: how texts are cut, how scores are shown, and that it is as good as its page says."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from everloom.models.files.weights import MINILM
from everloom.models.minilm.engine import MiniLMEngine
from everloom.models.minilm.moderation import HEADS, WINDOW, Heads, shown, windows
from everloom.objects.moderations import CATEGORIES
from tests.weights import default_weights
from training.moderation import measuring
from training.moderation.sentences import LANGUAGES, LEARNT, blocks, parted, sentences, written_out

PAGE = Path(__file__).parent.parent.parent / "docs" / "moderation.md"

Table = dict[str, list[str]]


def rows(text: str) -> Table:
    """The cells behind each row's name, of all tables of a text."""
    found = {}
    for line in text.splitlines():
        if line.startswith("| "):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[name] = cells
    return found


def near(told: str, measured: str, by: float) -> bool:
    """Whether two cells say the same, up to what another processor's rounding may turn."""
    if told == measured:
        return True
    numbers = [re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", cell) for cell in (told, measured)]
    if None in numbers:
        return False
    one, other = (float(found[1]) / (100 if found[2] else 1) for found in numbers if found)
    return abs(one - other) <= by


async def measure() -> str:
    engine = MiniLMEngine(*default_weights().fetch(MINILM))
    try:
        return await measuring.report(engine, parted()[1])
    finally:
        await engine.close()


def test_the_page_tells_what_the_stored_heads_do() -> None:
    measured = rows(asyncio.run(measure()))
    told = rows(PAGE.read_text().partition("<!-- measured -->")[2].partition("<!-- end -->")[0])
    assert measured.keys() == told.keys()
    assert set(CATEGORIES) <= told.keys()
    wrong = {
        name: (cells, measured[name])
        for name, cells in told.items()
        for cell, now in zip(cells, measured[name], strict=True)
        # One sentence more or less of ten is a tenth; counts of sentences do not move.
        if not near(cell, now, by=0.1)
    }
    assert wrong == {}


def test_nothing_that_is_measured_on_was_learnt_from() -> None:
    learnt, measured = parted()
    seen = {sentence.text for sentence in sentences(learnt, LANGUAGES, LEARNT)}
    assert not seen & {sentence.text for sentence in measuring.test_set(measured)}
    assert {block.name for block in learnt}.isdisjoint(block.name for block in measured)
    kinds = {block.labels for block in measured}
    assert all(any(name in kind for kind in kinds) for name in ("hate", "sexual", "illicit", "violence", "self-harm"))


def test_no_sentence_is_both_sexual_and_of_a_child() -> None:
    assert not [block.name for block in blocks() if {"sexual", "minor"} <= block.labels]


def test_templates_are_written_out_in_full() -> None:
    assert sorted(written_out("{a|b} {c|d}", 9)) == ["a c", "a d", "b c", "b d"]
    assert len(list(written_out("{a|b|c} {d|e|f}", 5))) == 5
    assert list(written_out("as it stands", 5)) == ["as it stands"]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", []),
        (" \n ", []),
        ("Short. Also short. The third sentence is a little longer than these two.", 1),
        ("word " * 100, 4),
        ("x" * 1000, 7),
        ("一句话。" * 100, 12),
    ],
)
def test_windows(text: str, cut: list[str] | int) -> None:
    found = list(windows(text))
    assert found == cut if isinstance(cut, list) else len(found) == cut
    assert all(0 < len(window) <= WINDOW for window in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_score_is_a_half_at_its_threshold() -> None:
    assert shown(0.2, 0.2) == pytest.approx(0.5)
    assert shown(0.1, 0.2) < 0.5 < shown(0.3, 0.2)
    assert 0 <= shown(0, 0.2) < shown(1, 0.2) <= 1


def test_the_heads_are_small_and_whole() -> None:
    assert HEADS.stat().st_size < 100_000
    heads = msgspec.json.decode(HEADS.read_bytes(), type=Heads)
    assert {len(head.floats()) for head in heads.heads.values()} == {384}
    assert list(heads.scores([0.0] * 384)) == list(CATEGORIES)
    assert set(heads.thresholds) == set(CATEGORIES)


def test_a_server_starts_without_numpy() -> None:
    script = "import sys, everloom.app.models; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
