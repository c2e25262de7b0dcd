"""Two counts of one way of a stream: what its writer has sent, and what its reader was sent by us.

Where stanzas are counted (XEP-0198) both ends must go on counting right after we took one out (the writer has counted
it, the reader never got it) or put one in (the reader counts what the writer never sent). What a reader says he has is
translated into the writer's count: the most of the writer's units of which all that went on are among them. A unit that
was taken out counts as had as soon as all before it are.
"""

from __future__ import annotations

_RANGE = 1 << 32
"""Counts on the wire begin again behind 2^32 - 1 (XEP-0198 §4)."""
_HALF = _RANGE >> 1


class Counts:
    """The counts of one way, and where they went apart. Bounded: the oldest places are forgotten first, and then less
    is said to be had than is."""

    __slots__ = ("_apart", "_had", "_limit", "_said", "_unsure", "reached", "written")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.written = 0
        """Units that the writer has sent."""
        self.reached = 0
        """Units that the reader was sent."""
        self._apart = [(0, 0)]
        """(reached, written): from the first on, both run alike to the next."""
        self._said = 0
        """What the reader was known to have."""
        self._had = 0
        """The same in the writer's count."""
        self._unsure = 0
        """Units that were taken out and may go on all the same, at a time that is not known here."""

    @property
    def alike(self) -> bool:
        """Whether both counts are the same, and nothing that is not acknowledged lies where they were not."""
        return len(self._apart) == 1 and self._apart[0][0] == self._apart[0][1] and not self._unsure

    def copy(self) -> Counts:
        """The same counts, to ask what would be."""
        other = Counts(self._limit)
        other.written, other.reached, other._said, other._had = self.written, self.reached, self._said, self._had
        other._apart, other._unsure = list(self._apart), self._unsure
        return other

    def passed(self) -> None:
        """A unit went on."""
        self.written += 1
        self.reached += 1

    def taken(self, *, kept: bool = False) -> None:
        """A unit of the writer's does not go on. `kept`: it may still do so later."""
        self.written += 1
        self._from(self.reached, self.written)
        if kept:
            self._unsure += 1

    def added(self) -> None:
        """The reader got a unit that the writer did not send."""
        self.reached += 1
        self._from(self.reached, self.written)

    def released(self, number: int) -> None:
        """So many of the units that were kept have gone on by now."""
        number = min(number, self._unsure)
        self._unsure -= number
        if number:
            self.reached += number
            self._from(self.reached, self.written)

    def had(self, count: int) -> int:
        """The writer's count (0 to 2^32 - 1) for a count that the reader gave; it never goes back, and never beyond
        what was written."""
        behind = (self.reached - count) % _RANGE
        if behind < _HALF:
            said = self.reached - behind
        else:
            # More than we know of: of what was kept some has gone on. Else it is a lie, and all is all.
            more = min(_RANGE - behind, self._unsure)
            self._unsure -= more
            self.reached += more
            self._apart = [(had + more, written) for had, written in self._apart]
            said = self.reached
        if said >= self._said:
            self._said = said
            apart = self._apart
            past = 0
            while len(apart) > past + 1 and apart[past + 1][0] <= said:
                past += 1
            if past:
                del apart[:past]
            first, least = apart[0]
            if first <= said:
                most = apart[1][1] if len(apart) > 1 else self.written
                self._had = max(self._had, min(least + said - first, most))
        return self._had % _RANGE

    def resume(self, count: int) -> int:
        """The stream goes on behind what the reader says he has; the writer sends the rest again. Returns the writer's
        count."""
        had = self.had(count)
        self.written = self._had
        self.reached = self._said
        self._unsure = 0
        self._apart = [(self._said, self._had)]
        return had

    def _from(self, reached: int, written: int) -> None:
        apart = self._apart
        if apart[-1][0] == reached:
            apart[-1] = (reached, written)
            return
        apart.append((reached, written))
        if len(apart) > self._limit:
            del apart[0]
