"""Sessions that have ended and are not freed: what the collector is there for, if there ever is any.

A session that is over is freed by reference counting (decision 74). Whether that is so is counted, not believed: who
leaves is looked after by a weak reference until he is gone.
"""

from __future__ import annotations

import weakref


class Departed:
    """Counts what has been told to be over and is still there."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: set[weakref.ref[object]] = set()

    def add(self, *parts: object) -> None:
        """These are over; nobody should hold them any more in a moment."""
        for part in parts:
            self._left.add(weakref.ref(part, self._left.discard))

    def __len__(self) -> int:
        """How many are still there."""
        return len(self._left)
