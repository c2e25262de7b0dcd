"""A session of the engine with its driver's part played at once, under a policy that refuses or masks what is found."""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

from inspector import policy
from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Address,
    Chunk,
    Cut,
    Expect,
    File,
    Flow,
    Input,
    Judge,
    Judged,
    Kept,
    Limits,
    Note,
    Rules,
    Scan,
    ScanFailed,
    Scanned,
    Send,
    Spec,
    Spool,
    Unspool,
    Unspooled,
    WakeAt,
    Way,
    Woke,
)
from inspector.protocols.registry import BY_NAME, SPECS
from inspector.scan.files import FileJudge
from tests.evasion.targets import scanner

AT = 1_800_000_000.0
EDITS = frozenset(edit.name for spec in SPECS for edit in spec.edits if edit.default)


@functools.cache
def rules(action: str) -> Rules:
    """Whatever is found is refused ("block") or masked ("redact")."""
    text = f"rules:\n  - {{name: found, when: {{finding.severity: [low, medium, high, critical]}}, then: {action}}}\n"
    return Rules(1, policy.compile(text, "evasion.yaml"), scanner())


@functools.cache
def judge() -> FileJudge:
    """What judges the content of in-band files."""
    files = scanner().files
    assert files is not None
    return FileJudge(files.blob)


class Line:
    """A session between a client inside and a server outside."""

    def __init__(
        self, spec: Spec, action: str, expected: Expect | None = None, world: World | None = None, number: int = 0,
        off: frozenset[str] = frozenset(),
    ) -> None:
        self.rules = rules(action)
        limits = Limits()
        self.world = world or World(limits)
        port = min(spec.ports) if spec.ports else 4000
        flow = Flow(
            f"f{number}", Address("10.0.0.5", 40000 + number), Address("192.0.2.1", port), opened=AT, expected=expected)
        self.session = Session(
            flow, Kit(classifier(SPECS), self.rules, limits, edits=EDITS - off, specs=BY_NAME), self.world)
        self.sent = {UP: bytearray(), DOWN: bytearray()}
        self.rows: list[dict[str, Any]] = []
        self.spools: dict[str, list[Spool]] = {}
        self.at = AT
        self.over = False

    def feed(self, way: Way, data: bytes) -> None:
        """Bytes of a peer; nothing once the session is over."""
        if self.over:
            return
        self.at += 0.001
        self._step(Chunk(way, self.at, data))

    def wait(self) -> None:
        """Time passes: whatever was waiting for it goes its way."""
        self.at += 60
        if not self.over:
            self._step(Woke(self.at))

    def _step(self, given: Input) -> None:
        waiting: deque[Input] = deque([given])
        while waiting:
            for effect in self.session.step(waiting.popleft(), self.world):
                if isinstance(effect, Send):
                    self.sent[effect.way] += effect.data
                elif isinstance(effect, Note):
                    self.rows.append(effect.row)
                    if effect.durable:
                        waiting.append(Kept(effect.id, self.at))
                elif isinstance(effect, Scan):
                    try:
                        waiting.append(Scanned(effect.id, self.at, self.rules.scanner.full(effect.texts)))
                    except ScanFailed as failure:
                        waiting.append(Scanned(effect.id, self.at, failure=str(failure)))
                elif isinstance(effect, Spool):
                    self.spools.setdefault(effect.file, []).append(effect)
                elif isinstance(effect, Judge):
                    waiting.append(self._judged(effect.file, effect.about))
                elif isinstance(effect, Unspool):
                    held = b"".join(record.raw for record in self.spools.pop(effect.file, []))
                    waiting.append(Unspooled(effect.file, self.at, held, end=True))
                elif isinstance(effect, WakeAt):
                    if effect.at <= self.at:
                        waiting.append(Woke(self.at))
                elif isinstance(effect, Cut):
                    self.over = True

    def _judged(self, file: str, about: File) -> Judged:
        content = b"".join(record.content for record in self.spools.get(file, []))
        return Judged(file, self.at, judge().judge(content, about))

    @property
    def outcome(self) -> str:
        """What became of it: refused, masked, cut; "passed" when no rule spoke."""
        done = {row["did"] for row in self.rows if row["event"] == "verdict"}
        if self.over:
            return "cut"
        return "refused" if "block" in done else "masked" if "redact" in done else "passed"
