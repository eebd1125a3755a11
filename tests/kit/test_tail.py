"""The end of what comes in blocks of any size."""

import pytest

from everloom.kit.tail import Tail


@pytest.mark.parametrize("step", [1, 7, 10, 19, 20, 21, 64, 1000])
def test_the_last_bytes_are_kept_however_they_come(step: int) -> None:
    data, tail = bytes(range(256)) * 4, Tail(10)
    assert tail.end() == b""
    for start in range(0, len(data), step):
        tail.add(data[start : start + step])
        assert tail.end() == data[: start + step][-10:]
        assert tail._bytes <= 20
