"""A session whose two sides have agreed to write in another coding from some byte on (Recode; docs/decisions/0084).

The decoder, the queues, what waits aside and what is held know nothing of it: what comes is read before them, and what
leaves is written behind them, in the order in which it leaves. A way begins to be written behind the effect at which
both sides switch, and not a byte earlier.

Few bytes may become many: a piece is looked at in a turn, and the rest waits for the next ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from inspector.model import DOWN, UP, Coding, Effect, PeerError, Send, Way

_NEVER = 1 << 62

Piece = bytes | PeerError


class Coded:
    """The coding of one session."""

    __slots__ = ("_ahead", "_coding", "_lost", "_reads", "_since", "closing")

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._since = [_NEVER, _NEVER]
        """Per way: the first effect of this step that is to be written in it."""
        self._lost = [False, False]
        self._reads: tuple[deque[Iterator[Piece]], deque[Iterator[Piece]]] = (deque(), deque())
        """What has come and is not read to its end, per way."""
        self._ahead: list[Piece | None] = [None, None]
        """The next piece of it."""
        self.closing = [False, False]
        """The way's writer has closed it behind what waits."""

    def is_of(self, coding: Coding) -> bool:
        return self._coding is coding

    def begin(self, way: Way, at: int) -> None:
        """What is sent that way behind the first `at` effects of this step is written in it."""
        self._since[way] = min(self._since[way], at)

    def lose(self, way: Way) -> None:
        """Bytes of that way were lost, or cannot be read: nothing behind them can be."""
        self._lost[way] = True
        self._reads[way].clear()
        self._ahead[way] = None

    def add(self, way: Way, data: bytes) -> None:
        """Bytes have come."""
        if not self._lost[way]:
            self._reads[way].append(self._coding.read(way, data))
            if self._ahead[way] is None:
                self._look(way)

    def _look(self, way: Way) -> None:
        reads = self._reads[way]
        piece = None
        while reads and (piece := next(reads[0], None)) is None:
            reads.popleft()
        self._ahead[way] = piece

    def waits(self, way: Way) -> bool:
        """Whether there is a piece to be taken."""
        return self._ahead[way] is not None

    def goes_on(self, way: Way) -> bool:
        """Whether there is more to be read, in another turn: a fault needs none."""
        return isinstance(self._ahead[way], bytes)

    def take(self, way: Way) -> Piece | None:
        """The next piece of what was said; a PeerError is the last."""
        piece = self._ahead[way]
        if isinstance(piece, PeerError):
            self.lose(way)
        elif piece is not None:
            self._look(way)
        return piece

    def written(self, effects: list[Effect]) -> list[Effect]:
        """The effects of a step as they leave; neighbours that go the same way become one."""
        since = self._since
        out: list[Effect] = []
        waiting: list[bytes] = []
        whose = UP

        def write() -> None:
            if waiting:
                out.append(Send(whose, self._coding.write(whose, b"".join(waiting))))
                waiting.clear()

        for index, effect in enumerate(effects):
            if type(effect) is Send and index >= since[effect.way] and effect.data:
                if whose is not effect.way:
                    write()
                    whose = effect.way
                waiting.append(effect.data)
            else:
                write()
                out.append(effect)
        write()
        for way in (UP, DOWN):
            if since[way] != _NEVER:
                since[way] = 0
        return out


__all__ = ["Coded"]
