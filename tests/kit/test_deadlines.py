"""Deadlines by a wall clock that others may set, counted by one that nobody can."""

from everloom.kit.deadlines import JUMP_SECONDS, SETTLING_SECONDS, Deadlines

DAY = 86_400.0


class Clocks:
    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.steady = 50.0

    def deadlines(self) -> Deadlines:
        return Deadlines(wall=lambda: self.wall, steady=lambda: self.steady)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_what_is_left_goes_down_with_the_steady_clock() -> None:
    clocks = Clocks()
    deadlines, at = clocks.deadlines(), clocks.wall + 600
    assert deadlines.left("run", 1, at, 600) == 600
    clocks.pass_(100)
    for jump in (DAY, -2 * DAY):
        clocks.wall += jump
        assert deadlines.left("run", 1, at, 600) == 500
    clocks.pass_(501)
    assert deadlines.left("run", 1, at, 600) == -1
    assert deadlines.left("file", 1, at, 600) == 600  # another kind, first heard of a day after the clock was set back


def test_a_deadline_that_is_moved_is_counted_anew_and_no_longer_than_a_life() -> None:
    clocks = Clocks()
    deadlines = clocks.deadlines()
    assert deadlines.left("run", 1, clocks.wall + 600, 600) == 600
    assert deadlines.left("run", 1, clocks.wall + 900, 600) == 600
    assert deadlines.left("run", 1, clocks.wall - 5, 600) == -5
    deadlines.forget_but("run", {2})
    assert deadlines.left("run", 1, clocks.wall - 5, 600) == -5


def test_a_jump_is_seen_and_passes() -> None:
    clocks = Clocks()
    deadlines = clocks.deadlines()
    assert not deadlines.unsettled()
    for jump in (DAY, -DAY):
        clocks.wall += jump
        assert deadlines.unsettled()
        clocks.pass_(SETTLING_SECONDS - 1)
        assert deadlines.unsettled()
        clocks.pass_(1)
        assert not deadlines.unsettled()
    clocks.wall += JUMP_SECONDS / 2  # as clocks are corrected
    assert not deadlines.unsettled()
    clocks.wall += JUMP_SECONDS / 2
    assert not deadlines.unsettled()


def test_what_lasts_was_named_at_every_call() -> None:
    clocks = Clocks()
    deadlines = clocks.deadlines()
    assert deadlines.lasting("run", {1, 2}, 15) == set()
    clocks.pass_(10)
    assert deadlines.lasting("run", {1, 3}, 15) == set()
    clocks.pass_(5)
    assert deadlines.lasting("run", {1, 2, 3}, 15) == {1}
    clocks.pass_(10)
    assert deadlines.lasting("run", {2, 3}, 15) == {3}
    assert deadlines.lasting("file", {2}, 0) == {2}


def test_who_stands_in_a_line_waits_for_those_before_him() -> None:
    clocks = Clocks()
    deadlines = clocks.deadlines()
    assert deadlines.standing("file", [1, 2, 3]) == {1: 0, 2: 0, 3: 0}
    clocks.pass_(100)
    assert deadlines.standing("file", [1, 2, 3, 4]) == {1: 100, 2: 100, 3: 100, 4: 0}
    clocks.pass_(100)
    assert deadlines.standing("file", [1, 3, 4]) == {1: 200, 3: 0, 4: 0}
    clocks.pass_(7)
    assert deadlines.standing("file", [1, 3]) == {1: 207, 3: 7}
