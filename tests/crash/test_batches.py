"""A short storm over a batch, the same every time as far as chance goes; the long ones are begun by hand
(``batch_storm.py``).
"""

from pathlib import Path

import pytest

from tests.crash.batch_storm import TROUBLES, weather
from tests.postgres import fresh_database


@pytest.mark.parametrize("on", ["sqlite", "postgres"])
def test_every_line_is_answered_once_whatever_dies(on: str, tmp_path: Path) -> None:
    told = weather(300, 6, 7, tmp_path, fresh_database() if on == "postgres" else None)
    assert told.wrong == []
    assert told.kills > 0
    assert 4 <= told.kills + told.cuts <= 6  # The last of them may find it done.
    assert set(TROUBLES) <= set(told.outcomes)
    assert len(told.errors) > 0
