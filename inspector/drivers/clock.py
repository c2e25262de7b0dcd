"""The gateway's clock: seconds since the epoch that never run back, whatever is done to the wall clock.

It runs with the monotonic clock and begins at the wall clock's time. When the wall clock is set, or the machine was
suspended, it does not jump after it: every time-out counted with it would be over, or begin anew. It goes a little
faster or slower instead, by RATE at most, until both agree. `Alarms` looks at it each second and tells of jumps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

RATE = 0.05
"""Part of the time by which it may go faster or slower: an hour is made up in 20, a time-out errs by no more."""
AHEAD = 4.0
"""Seconds in which a small difference is made up: gently, lest it swings."""


class Clock:
    """Never runs back. Called for every read of a socket: one addition and one multiplication."""

    __slots__ = ("_at", "_mono", "_rate", "_since", "_wall")

    def __init__(self, wall: Callable[[], float] = time.time, mono: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._mono = mono
        self._at = wall()
        self._since = mono()
        self._rate = 1.0

    def __call__(self) -> float:
        return self._at + (self._mono() - self._since) * self._rate

    def follow(self) -> float:
        """Choose the rate anew; to be called about once a second. Returns the seconds that the wall clock is ahead."""
        now = self()
        mono = self._mono()
        ahead = self._wall() - now
        # From here on with another rate: no jump, and never below what was said before.
        self._at, self._since = now, mono
        self._rate = 1.0 + max(-RATE, min(RATE, ahead / AHEAD))
        return ahead
