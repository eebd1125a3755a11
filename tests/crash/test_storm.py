"""A short storm, the same every time as far as chance goes; the long ones are begun by hand (``storm.py``)."""

from pathlib import Path

from tests.crash.storm import weather

SECONDS = 25.0
LEAST = 6


def test_a_storm_loses_nothing_and_leaves_nothing_stuck(tmp_path: Path) -> None:
    ledger, done, wrong = weather(SECONDS, 7, tmp_path, LEAST)
    assert wrong == []
    assert sum(done.values()) >= LEAST
    assert ledger.ended["conversation"] > 0
    assert len(ledger.checks) >= LEAST
