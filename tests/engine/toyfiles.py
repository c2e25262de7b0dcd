"""A toy protocol with files, for the engine's tests.

Lines: `FILE t name size` begins one whose way is its own until its end, `IN t name size` one between other lines,
`PART t words` is content, `LAST t words` content and end, `CLOSE t` the end, `SHORT t` an end that came too early.
Anything else is as in the toy protocol. A held part is answered with `ACK`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from inspector.classify.probes import classifier
from inspector.engine.kit import ALL, Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    FILE_CONTENT,
    Act,
    Action,
    Can,
    Chunk,
    Context,
    Event,
    Expect,
    File,
    FileEnd,
    FileMode,
    FileOffer,
    FilePart,
    FileStart,
    Finding,
    Flow,
    Frame,
    Limits,
    Match,
    Notice,
    Rules,
    Send,
    Spec,
    Text,
    Verdict,
    Way,
)
from tests.engine.toy import FLOW, ToyDecoder, ToyPolicy, ToyScanner


class ToyFileDecoder(ToyDecoder):
    """Lines with files in them. `raw`: there is never a place for words of ours, as on a raw connection."""

    raw: bool
    slots: ClassVar[dict[str, Expect]] = {}
    """Name -> what announced a file of that name, where its connection was not announced itself."""

    def _frame(self, chunk: Chunk, line: bytes, end: bytes) -> Frame:
        word, _, rest = line.partition(b" ")
        ident, _, words = rest.partition(b" ")
        raw, transfer = line + end, ident.decode()
        events: tuple[Event, ...]
        if word in (b"FILE", b"IN"):
            name, _, size = words.decode().partition(" ")
            known = self.flow.expected or self.slots.get(name)
            offer = known.offer if known is not None and known.offer is not None else FileOffer(
                sender="ann", recipients=("bob",), file_name=name, size=int(size) if size else None, method="toy",
                texts=(Text("file_name", name.replace("_", " ")),))
            self.raw = self.raw or name == "raw"
            events = (FileStart(transfer=transfer, offer=offer, expected=known, inband=word == b"IN"),)
            if known is None:
                events = (offer, *events)
        elif word == b"PART":
            events = (FilePart(transfer=transfer, data=words),)
        elif word == b"LAST":
            events = (FilePart(transfer=transfer, data=words), FileEnd(transfer=transfer))
        elif word in (b"CLOSE", b"SHORT"):
            events = (FileEnd(transfer=transfer, complete=word == b"CLOSE"),)
        else:
            return super()._frame(chunk, line, end)
        return Frame(chunk.way, chunk.at, raw, "toy." + word.decode(), events)

    def __init__(self, flow: Flow, limits: Limits, memory: object, edits: frozenset[str]) -> None:
        super().__init__(flow, limits, memory, edits)  # type: ignore[arg-type]
        self.flow = flow
        self.signed = True
        self.raw = False

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        if not any(isinstance(event, FILE_CONTENT) for event in frame.events):
            return super().apply(frame, verdicts)
        worst = max(v.action for v in verdicts)
        if worst >= Action.BLOCK:
            return [Send(frame.way.other, b"REFUSED\n")] if any(isinstance(e, FileEnd) for e in frame.events) else []
        acts: list[Act] = [Send(frame.way, frame.raw)]
        if worst is Action.HOLD and any(isinstance(event, FilePart) for event in frame.events):
            acts.append(Send(frame.way.other, b"ACK\n"))
        acts += [
            Send(frame.way.other, b"WARNED\n") for event, verdict in zip(frame.events, verdicts, strict=True)
            if isinstance(event, FileOffer) and verdict.action is Action.WARN and verdict.notice]
        return acts

    def ready(self, way: Way) -> bool:
        return not self.raw

    def inject(self, message: Notice, way: Way) -> list[Act]:
        if message.about is not None and way == 0:
            return [Send(way, b"CANCEL\n")]
        return super().inject(message, way)


def toy_probe(up: bytes, down: bytes) -> Match:
    return Match.STRONG if b"\n" in up or b"\n" in down else Match.MORE


FILES = Spec(
    name="toyfiles", title="Toy files", probe=toy_probe, decoder=ToyFileDecoder, signs_on=False, parent="toy",
    can={"message": Can(drop=True, mask=True, notify=True), "file": Can(drop=True, notify=True)},
)


class FilePolicy(ToyPolicy):
    """A file whose name begins with `bad` is refused when offered, of `odd` its sender is warned; findings refuse its
    content; the mode is fixed."""

    def __init__(self, mode: FileMode = "spool", enforce: bool = True, trouble: dict[str, str] | None = None) -> None:
        super().__init__(enforce, trouble)
        self.mode: FileMode = mode
        self.seen: list[File] = []
        self.hold_offers = False

    def file_mode(self, offer: FileOffer, context: Context, way: Way, at: float) -> FileMode:
        return self.mode

    def decide(
        self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> Verdict | None:
        if isinstance(event, File):
            self.seen.append(event)
            if any(f.rule == "toy.cut" for f in findings):
                return Verdict(Action.CUT, "cut files", findings=findings)
            if findings:
                return Verdict(Action.BLOCK, "bad files", findings=findings)
            if event.file_name.startswith("hold"):
                return Verdict(Action.HOLD, "held files")
            return None
        if isinstance(event, FileOffer):
            if event.file_name.startswith("hold") and self.hold_offers:
                return Verdict(Action.HOLD, "held files")
            if event.file_name.startswith("odd"):
                return Verdict(Action.WARN, "odd names")
            return Verdict(Action.BLOCK, "bad names") if event.file_name.startswith("bad") else None
        return super().decide(event, context, way, at, findings)


def file_session(
    mode: FileMode = "spool", *, dry: bool = False, enforce: bool = True, expected: Expect | None = None,
    limits: Limits | None = None, trouble: dict[str, str] | None = None, spec: Spec = FILES, driver_can: Can = ALL,
) -> tuple[Session, World, FilePolicy]:
    """A session of the toy protocol with files."""
    policy = FilePolicy(mode, enforce, trouble)
    kit = Kit(classifier((spec,)), Rules(1, policy, ToyScanner()), limits or Limits(), specs={"toyfiles": spec},
              driver_can=driver_can)
    world = World(kit.limits)
    if expected is not None:
        world.expect(expected, 2_000_000.0)
    return Session(FLOW, kit, world, dry=dry), world, policy
