"""What a decoder and its session hold dies with the session, by reference counting: for every entry of the registry."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence

import pytest

from inspector.classify.probes import classifier
from inspector.engine.kit import HOLDING, Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    FILE_CONTENT,
    UP,
    Action,
    Chunk,
    Closed,
    Context,
    Effect,
    Event,
    FileReport,
    Finding,
    Hold,
    Input,
    Judge,
    Judged,
    Kept,
    Killed,
    Limits,
    Note,
    Rules,
    Scan,
    Scanned,
    Secured,
    SignOn,
    Spec,
    StartTls,
    Verdict,
    Way,
)
from inspector.protocols.registry import BY_NAME, SPECS
from tests.engine.toy import ToyPolicy, ToyScanner
from tests.protocols.contract import AT, Said, conversations, flow

FEW = 8
"""Conversations of each protocol."""


class Alike(ToyPolicy):
    """Decides alike of all that people say and send."""

    def __init__(self, action: Action) -> None:
        super().__init__()
        self.action = action

    def decide(
        self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> Verdict | None:
        if self.action is Action.PASS or isinstance(event, (SignOn, *FILE_CONTENT)):
            return None
        return Verdict(self.action, "all alike")


def answers(effects: Sequence[Effect], at: float) -> list[Input]:
    """What a driver would say to these effects."""
    said: list[Input] = []
    for effect in effects:
        if isinstance(effect, Hold) or (isinstance(effect, Note) and effect.durable and effect.id > 0):
            said.append(Kept(effect.id, at))
        elif isinstance(effect, Scan):
            said.append(Scanned(effect.id, at, (), None))
        elif isinstance(effect, Judge):
            said.append(Judged(effect.file, at, FileReport(size=1, sha256="0", sha1="1", md5="2"), None))
        elif isinstance(effect, StartTls):
            said.append(Secured(at, True))
    return said


def live(spec: Spec, name: str, said: Said, action: Action, end: bytes | None) -> None:
    """One session, to its end."""
    limits = Limits()
    kit = Kit(classifier(SPECS), Rules(1, Alike(action), ToyScanner()), limits, driver_can=HOLDING,
              edits=frozenset(edit.name for edit in spec.edits), specs=BY_NAME)
    world = World(limits)
    session = Session(flow(spec, talk=name), kit, world, listener_protocols=frozenset({spec.name}))
    at = AT

    def step(given: Input) -> None:
        waiting = [given]
        for _ in range(50):
            if not waiting:
                break
            waiting += answers(session.step(waiting.pop(0), world), at)

    for way, data in said:
        at += 0.1
        step(Chunk(way, at, data))
    if end is None:
        for way in (UP, DOWN):
            step(Closed(way, at))
    else:
        for way in (UP, DOWN):
            step(Chunk(way, at, end))
    step(Killed(at, "over"))
    assert session.over
    world.memory._entries.clear()  # what outlives its connection (BOSH) has its time, and then goes as well


WAYS = (
    (Action.PASS, None), (Action.BLOCK, b"\0\xff<>\r\n" * 9), (Action.HOLD, b"GET / HTTP/1.1\r\n\r\n"),
    (Action.CUT, None),
)
"""What becomes of messages, and what is said last (None: both sides close)."""


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_session_leaves_nothing_to_the_collector(spec: Spec) -> None:
    """Whatever was said, whatever became of it, and whether it ended well or malformed: no cycles."""
    talks = [("", []), *list(conversations(spec).items())[:FEW]]
    gc.collect()
    gc.freeze()  # what was there before is of no interest
    gc.disable()
    try:
        for name, said in talks:
            for action, end in WAYS:
                live(spec, name, said, action, end)
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                gc.set_debug(0)
                left = Counter(type(each).__qualname__ for each in gc.garbage if type(each).__module__ != "builtins")
                gc.garbage.clear()
                assert not left, (name, action, end)
    finally:
        gc.enable()
        gc.unfreeze()
