"""The clock of events: never back, never a jump."""

from __future__ import annotations

import random

from inspector.drivers.clock import RATE, Clock


class Hands:
    """A wall clock and a monotonic one, moved by hand."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.mono = 50.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.mono)


def test_it_goes_with_the_wall_clock() -> None:
    """Where nothing jumps both are the same."""
    hands = Hands()
    clock = hands.clock()
    for _ in range(100):
        hands.go(1.0)
        assert abs(clock.follow()) < 1e-6
    assert abs(clock() - hands.wall) < 1e-6


def test_a_jump_forward_is_made_up_slowly() -> None:
    """After a minute forward no time-out is over at once: in a second it gains a twentieth, and it is there in 21
    minutes."""
    hands = Hands()
    clock = hands.clock()
    hands.wall += 60.0
    assert abs(clock.follow() - 60.0) < 1e-6
    before = clock()
    hands.go(1.0)
    assert abs(clock() - before - (1 + RATE)) < 1e-6
    for _ in range(21 * 60):
        clock.follow()
        hands.go(1.0)
    assert abs(clock.follow()) < 0.01


def test_a_jump_back_never_makes_it_run_back() -> None:
    """After an hour back it goes on, slower, and never says a time before one that it has said."""
    hands = Hands()
    clock = hands.clock()
    last = clock()
    hands.wall -= 3600.0
    for _ in range(100):
        clock.follow()
        hands.go(1.0)
        now = clock()
        assert now > last
        last = now
    assert abs(last - hands.wall - 3600.0 + 100 * RATE) < 1e-3


def test_it_never_runs_back_whatever_the_wall_clock_does() -> None:
    """Random jumps, looks at odd times."""
    hands, rnd = Hands(), random.Random(7)
    clock = hands.clock()
    last = clock()
    for _ in range(5000):
        if rnd.random() < 0.05:
            hands.wall += rnd.uniform(-1e5, 1e5)
        if rnd.random() < 0.5:
            clock.follow()
        hands.go(rnd.uniform(0.0, 3.0))
        now = clock()
        assert now >= last
        last = now
