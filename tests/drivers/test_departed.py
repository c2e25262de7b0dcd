"""What is over and still there is counted, until it is gone."""

from __future__ import annotations

import gc

from inspector.drivers.departed import Departed


class Part:
    """Of a session."""

    other: Part | None = None


def test_who_is_held_counts_until_he_is_let_go() -> None:
    """By reference counting at once; what is a cycle by the collector; nothing is held by the count itself."""
    gc.disable()
    try:
        departed = Departed()
        held, alone = Part(), Part()
        one, two = Part(), Part()
        one.other, two.other = two, one
        departed.add(held, alone, one)
        assert len(departed) == 3
        del alone
        assert len(departed) == 2
        del one, two
        assert len(departed) == 2
        gc.collect()
        assert len(departed) == 1
        del held
        assert len(departed) == 0
    finally:
        gc.enable()
