"""A toy protocol, a toy policy and a toy scanner: the engine's tests need no real ones.

Lines: `HELLO name` (up), `ME name` (down: sign-on), `SAY to text`, `PART g to text` / `DONE g to text` (a group), `TLS`
(down: start TLS), `BAD` (a fault), anything else is a line without events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspector.classify.probes import classifier
from inspector.engine.covers import digest_of_texts
from inspector.engine.kit import ALL, Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    BROKEN,
    DOWN,
    UP,
    Act,
    Action,
    Address,
    Can,
    Chunk,
    Context,
    Cover,
    Event,
    FileMode,
    FileOffer,
    Finding,
    Flow,
    Frame,
    Limits,
    Match,
    Memory,
    Message,
    Notice,
    Oddity,
    PeerError,
    Rules,
    ScanFailed,
    Send,
    SignOn,
    Spec,
    StartTls,
    Text,
    Unreleased,
    Verdict,
    Way,
)
from tests.playbook import START


class ToyDecoder(Unreleased):
    """Reads lines."""

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        self.held = [b"", b""]
        self.signed = not flow.from_start
        self.undecryptable: str | None = None

    def feed(self, chunk: Chunk) -> list[Frame]:
        data = self.held[chunk.way] + chunk.data
        *lines, rest = data.split(b"\n")
        if chunk.end and rest:
            lines, rest = [*lines, rest], b""
            self.held[chunk.way] = b""
            return [self._frame(chunk, line, b"" if line is lines[-1] else b"\n") for line in lines]
        self.held[chunk.way] = rest
        frames = []
        for index, line in enumerate(lines):
            if line == b"BAD":
                self.held[chunk.way] = b""
                raw = b"\n".join(lines[index:]) + b"\n" + rest
                frames.append(Frame(chunk.way, chunk.at, raw, BROKEN, fault=PeerError("toy.bad")))
                return frames
            frames.append(self._frame(chunk, line, b"\n"))
        return frames

    def _frame(self, chunk: Chunk, line: bytes, end: bytes) -> Frame:
        word, _, rest = line.partition(b" ")
        raw = line + end
        way, at = chunk.way, chunk.at
        if word == b"ME":
            self.signed = True
            return Frame(way, at, raw, "toy.ME", (SignOn(user=rest.decode(), identity="authenticated"),))
        if word == b"SAY":
            return Frame(way, at, raw, "toy.SAY", (self._message(rest),))
        if word in (b"PART", b"DONE"):
            group, _, words = rest.partition(b" ")
            last = word == b"DONE"
            return Frame(way, at, raw, "toy.PART", (self._message(words),) if last else (), (),
                         "last" if last else "more", group.decode())
        if word == b"TWO":
            one, _, two = rest.partition(b"|")
            return Frame(way, at, raw, "toy.TWO", (self._message(one), self._message(two)), units=(0, 0))
        if word == b"ANS":
            return Frame(way, at, raw, "toy.ANS", (self._message(rest),), stays=True)
        if word == b"ODD":
            return Frame(way, at, raw, "toy.ODD", (), (Oddity("toy.odd", "so odd"),))
        return Frame(way, at, raw, "toy." + word.decode("ascii", "replace"))

    @staticmethod
    def _message(words: bytes) -> Message:
        to, _, text = words.decode("utf-8", "replace").partition(" ")
        return Message(recipients=(to,), conversation=to, texts=(Text("body", text),))

    def pending(self, way: Way) -> int:
        return len(self.held[way])

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        if frame.kind == "toy.TLS":
            return [StartTls("toy.example", b"GO\n", b"NO\n")]
        if not verdicts or not frame.events:
            if verdicts and verdicts[0].action is Action.BLOCK:
                return []
            return [Send(frame.way, frame.raw)]
        acts: list[Act] = []
        verdict = verdicts[0] if frame.units is None else max(verdicts, key=lambda one: one.action)
        if verdict.action is Action.BLOCK:
            if verdict.placeholder:
                acts.append(Send(frame.way, b"SAY " + verdict.placeholder.encode() + b"\n"))
        elif verdict.action is Action.REDACT:
            message = frame.events[0]
            assert isinstance(message, Message)
            plain = message.texts[0].plain
            for _, start, end in verdict.masks:
                plain = plain[:start] + "*" * (end - start) + plain[end:]
            acts.append(Send(frame.way, f"SAY {message.recipients[0]} {plain}\n".encode()))
        else:
            acts.append(Send(frame.way, frame.raw))
        if verdict.notice:
            acts.append(Send(DOWN, b"NOTE " + verdict.notice.encode() + b"\n"))
        return acts

    def ready(self, way: Way) -> bool:
        return self.signed

    def inject(self, message: Notice, way: Way) -> list[Act]:
        return [Send(way, b"NOTE " + message.text.encode() + b"\n")]

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        return b"".join(frame.raw for frame in frames)

    def release(self, kept: bytes, way: Way) -> list[Act] | None:
        if b"elsewhere" in kept:
            return None
        answer = Send(way.other, b"OK\n")
        return [answer] if kept == b"ANSWERS ONLY\n" else [Send(way, b"LATE " + kept), answer]

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        return [Send(DOWN, b"BYE " + reason.encode() + b"\n"), Send(UP, b"BYE\n")]


def toy_probe(up: bytes, down: bytes) -> Match:
    """HELLO anywhere at a line's start settles it; a part of it needs more."""
    if b"HELLO " in up:
        return Match.STRONG
    if up.startswith(b"HI "):
        return Match.WEAK
    return Match.MORE if b"HELLO ".startswith(up) else Match.NO


TOY = Spec(
    name="toy", title="Toy", probe=toy_probe, decoder=ToyDecoder, ports=frozenset({7777}),
    can={
        "message": Can(drop=True, mask=True, placeholder=True, notify=True, hold=True, inject=True),
        "sign_on": Can(),
    },
)


class ToyPolicy:
    """The text itself says what is to be done: `block`, `mask`, `warn`, `cut`, `shadow`, `hold`."""

    digest = "sha256:toy"

    def __init__(self, enforce: bool = True, trouble: dict[str, str] | None = None, deny: str = "") -> None:
        self.enforce = enforce
        self.deny = deny
        self.trouble = {"unclassified": "pass", "gap": "pass", "malformed": "cut", "scanner_failed": "block",
                        "store_failed": "block", **(trouble or {})}
        self.users: list[str | None] = []

    def enter(self, context: Context) -> None:
        self.users.append(context.user)

    def decide(
        self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> Verdict | None:
        if isinstance(event, SignOn):
            return Verdict(Action.CUT, "no entry") if event.user == self.deny else None
        words = event.texts[0].plain.split() if event.texts else []
        for word in ("block", "warn", "cut", "hold"):
            action = Action[word.upper()]
            if word in words:
                return Verdict(action, f"{word} rule", findings=findings)
        if "mask" in words:
            spans = tuple(s for f in findings for s in f.spans)
            return Verdict(Action.REDACT, "mask rule", masks=spans, findings=findings)
        return None

    def file_mode(self, offer: FileOffer, context: Context, way: Way, at: float) -> FileMode:
        return "pass"

    def on_trouble(self, name: str, protocol: str | None) -> str:
        return self.trouble.get(name, "cut")


class ToyScanner:
    """Finds `secret`; a text that begins with `long` has to be scanned elsewhere; `broken` fails."""

    packs: tuple[str, ...] = ("toy@1",)
    digest: str | None = None
    files = None

    def quick(self, texts: Sequence[Text]) -> tuple[Finding, ...] | None:
        plain = texts[0].plain
        if plain.startswith("long"):
            return None
        if plain.startswith("broken"):
            raise ScanFailed("the toy broke")
        return self.full(texts)

    def full(self, texts: Sequence[Text]) -> tuple[Finding, ...]:
        plain = texts[0].plain
        at = plain.find("secret")
        return (Finding("yara", "toy.secret", "high", spans=((0, at, at + 6),)),) if at >= 0 else ()


FLOW = Flow(id="f1", client=Address("10.0.0.1", 1111), server=Address("192.0.2.1", 4000), opened=1_000_000.0)


def toy_kit(
    policy: ToyPolicy | None = None, archive: str = "none", limits: Limits | None = None, driver_can: Can = ALL,
) -> Kit:
    return Kit(classifier((TOY,)), Rules(1, policy or ToyPolicy(), ToyScanner()), limits or Limits(), archive=archive,
               driver_can=driver_can)


def toy_session(
    kit: Kit | None = None, *, flow: Flow = FLOW, dry: bool = False, named_im: bool = False,
) -> tuple[Session, World]:
    kit = kit or toy_kit()
    world = World(kit.limits)
    return Session(flow, kit, world, dry=dry, named_im=named_im), world


def cover(**more: Any) -> Cover:
    """A release of ann's words to bob."""
    given: dict[str, Any] = {
        "hold": "h1", "reference": "AAAA-BBBB", "protocol": "toy", "sender": "ann",
        "digest": digest_of_texts((Text("body", "please hold this"),)), "recipients": ("bob",), "until": START + 600,
        **more}
    return Cover(**given)
