"""Boxes of several workers, inside one process."""

from __future__ import annotations

from inspector.drivers.boxes import box


class Boxed:
    """A box for each of some workers."""

    def __init__(self, count: int) -> None:
        self.boxes = [box() for _ in range(count)]
        self.writes = {number: ends[1] for number, ends in enumerate(self.boxes)}

    def others(self, number: int) -> set[int]:
        """The workers beside one."""
        return self.writes.keys() - {number}

    def close(self) -> None:
        for ends in self.boxes:
            for one in ends:
                one.close()
