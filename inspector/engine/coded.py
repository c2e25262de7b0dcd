"""A session whose two sides have agreed to write in another coding from some byte on (Recode; docs/decisions/0084).

The decoder, the queues, what waits aside and what is held know nothing of it: what comes is read before them, and what
leaves is written behind them, in the order in which it leaves. A way begins to be written behind the effect at which
both sides switch, and not a byte earlier.
"""

from __future__ import annotations

from collections.abc import Iterator

from inspector.model import DOWN, UP, Chunk, Coding, Effect, PeerError, Send, Way

_NEVER = 1 << 62


class Coded:
    """The coding of one session."""

    __slots__ = ("_coding", "_lost", "_since")

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._since = [_NEVER, _NEVER]
        """Per way: the first effect of this step that is to be written in it."""
        self._lost = [False, False]

    def is_of(self, coding: Coding) -> bool:
        return self._coding is coding

    def begin(self, way: Way, at: int) -> None:
        """What is sent that way behind the first `at` effects of this step is written in it."""
        self._since[way] = min(self._since[way], at)

    def lose(self, way: Way) -> None:
        """Bytes of that way were lost: what comes behind them cannot be read."""
        self._lost[way] = True

    def read(self, chunk: Chunk) -> Iterator[Chunk | PeerError]:
        """What was said with these bytes; a PeerError is the last, and nothing comes behind it."""
        way, at = chunk.way, chunk.at
        if self._lost[way]:
            return
        for piece in self._coding.read(way, chunk.data):
            if isinstance(piece, PeerError):
                self._lost[way] = True
                yield piece
                return
            yield Chunk(way, at, piece)

    def written(self, effects: list[Effect]) -> list[Effect]:
        """The effects of a step as they leave; neighbours that go the same way become one."""
        since = self._since
        out: list[Effect] = []
        waiting: list[bytes] = []
        whose = UP
        for index, effect in enumerate(effects):
            if type(effect) is Send and index >= since[effect.way]:
                if waiting and whose is not effect.way:
                    out.append(Send(whose, self._coding.write(whose, b"".join(waiting))))
                    waiting.clear()
                whose = effect.way
                waiting.append(effect.data)
                continue
            if waiting:
                out.append(Send(whose, self._coding.write(whose, b"".join(waiting))))
                waiting.clear()
            out.append(effect)
        if waiting:
            out.append(Send(whose, self._coding.write(whose, b"".join(waiting))))
        for way in (UP, DOWN):
            if since[way] != _NEVER:
                since[way] = 0
        return out


__all__ = ["Coded"]
