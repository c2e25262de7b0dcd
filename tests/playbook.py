"""Plays of the engine: what goes in, what comes out, compared as one script.

    play = Play(session, world)
    play >> up(b"SAY bob hi\\n") << sent_up(b"SAY bob hi\\n")
    play >> kept() << [...]

`<<` compares the effects of the last input, in order, against what is expected; a play whose last effects were never
compared is an error, so that nothing slips by a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import DOWN, UP, Chunk, Effect, Finish, Input, Note, Scan, Send, WakeAt

START = 1_000_000.0


def up(data: bytes, at: float = START, **more: Any) -> Chunk:
    """A chunk from the client."""
    return Chunk(UP, at, data, **more)


def down(data: bytes, at: float = START, **more: Any) -> Chunk:
    """A chunk from the server."""
    return Chunk(DOWN, at, data, **more)


def sent_up(data: bytes) -> Send:
    return Send(UP, data)


def sent_down(data: bytes) -> Send:
    return Send(DOWN, data)


class Row:
    """Matches a Note whose row has these values."""

    def __init__(self, event: str, durable: bool = False, **values: Any) -> None:
        self.values = {"event": event, **values}
        self.durable = durable

    def matches(self, effect: Effect) -> bool:
        return (isinstance(effect, Note) and effect.durable == self.durable
                and all(effect.row.get(k, None) == v for k, v in self.values.items()))

    def __repr__(self) -> str:
        return f"Row({self.values}, durable={self.durable})"


class Scanning:
    """Matches a Scan."""

    def matches(self, effect: Effect) -> bool:
        return isinstance(effect, Scan)

    def __repr__(self) -> str:
        return "Scanning()"


Expected = Effect | Row | Scanning | Sequence[Effect | Row | Scanning]


class Play:
    """One session under test. WakeAt and Finish effects are compared only where they are named."""

    def __init__(self, session: Session, world: World) -> None:
        self.session = session
        self.world = world
        self.last: list[Effect] = []
        self.notes: list[Note] = []
        self.scans: list[Scan] = []
        self.wake: float | None = None
        self._open = False

    def __rshift__(self, inp: Input) -> Play:
        if self._open and any(not isinstance(e, WakeAt) and not _living(e) for e in self.last):
            raise AssertionError(f"effects of the input before were never compared: {self.last}")
        self.last = self.session.step(inp, self.world)
        for effect in self.last:
            if isinstance(effect, Note):
                self.notes.append(effect)
            elif isinstance(effect, Scan):
                self.scans.append(effect)
            elif isinstance(effect, WakeAt):
                self.wake = effect.at
        self._open = True
        return self

    def __lshift__(self, expected: Expected) -> Play:
        wanted: list[Effect | Row | Scanning] = list(expected) if isinstance(expected, Sequence) else [expected]
        wanted = [w for w in wanted if not _living(w)]
        named = {type(w) for w in wanted}
        got = [e for e in self.last if (not isinstance(e, WakeAt | Finish) or type(e) in named) and not _living(e)]
        same = len(got) == len(wanted) and all(
            w.matches(g) if isinstance(w, Row | Scanning) else w == g for w, g in zip(wanted, got, strict=True)
        )
        if not same:
            raise AssertionError("expected:\n  " + _lines(wanted) + "\ngot:\n  " + _lines(got))
        self._open = False
        return self

    @property
    def durable(self) -> int:
        """The id of the last durable note."""
        return next(n.id for n in reversed(self.notes) if n.durable)


def _living(effect: object) -> bool:
    """The store's remembrance that a session lives is no row of the log."""
    return isinstance(effect, Note) and effect.row.get("state") == "open" and effect.row["event"] == "flow"


def _lines(things: Iterable[object]) -> str:
    return "\n  ".join(repr(t) for t in things) or "(nothing)"
