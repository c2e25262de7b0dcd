"""One flow from its first byte to its last: inputs in, effects out.

Theory of operation
-------------------
A session is *probing* until a protocol is recognised, then *decoding*, or it is *passing* (given up as not ours, or
told by the driver that nobody will read it), and at the end *over*.

Each frame of the decoder becomes an `Item` when something about it has to wait: a scan, a durable row, the user's
sign-on, the rest of its group, or an item in front of it. One queue per way; a frame leaves when its verdict is in and
all before it have left; the other way goes on. The usual frame waits for nothing and never becomes an item.

What a decoder wants to say to the *other* side than the frame's reader (a notice, an error) is held until that side's
queue is empty and the decoder is ready there; the answer that belongs to an edit is part of a negotiation and goes at
once.

Bytes withheld while probing are handed to the decoder from byte 0; bytes that had already left are judged and marked
`late`: nothing can be done about them any more, and the log says so.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from inspector.engine import rows, windows
from inspector.engine.coded import Coded
from inspector.engine.covers import bare, digest_of
from inspector.engine.files import FileDesk, named_file
from inspector.engine.holding import NOTICE_FILE_HOLD, NOTICE_HOLD, Holding, went
from inspector.engine.items import Group, Item
from inspector.engine.kit import Kit
from inspector.engine.probing import Probing
from inspector.engine.world import LeasingMemory, Paths, Tally, World, offer_key
from inspector.model import (
    BROKEN,
    DOWN,
    FILE_CONTENT,
    PASSED,
    UP,
    Act,
    Action,
    Arrived,
    Came,
    Can,
    Chunk,
    Closed,
    Coding,
    Context,
    Cover,
    Cut,
    Decoder,
    Effect,
    Event,
    Evidence,
    Expect,
    File,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Finding,
    Finish,
    Flow,
    Frame,
    Guess,
    Input,
    Judged,
    Kept,
    Killed,
    Limits,
    Match,
    Message,
    Note,
    Notice,
    Opaque,
    PeerError,
    Recode,
    Released,
    Rules,
    Scan,
    ScanFailed,
    Scanned,
    Secured,
    Send,
    SignOn,
    Spec,
    Spliced,
    StartTls,
    Tell,
    Told,
    Troubled,
    Typing,
    Unspooled,
    Verdict,
    WakeAt,
    Way,
    Went,
    Woke,
    community_id,
)

PROBING, DECODING, PASSING, OVER = range(4)

NOTICE_BLOCK = "Your message was not delivered: company policy. Reference {reference}."
NOTICE_WARN = "Your message was delivered, but it is against company policy. Reference {reference}."
NOTICE_FAILED = "Your message was not delivered: it could not be checked. Reference {reference}."

_NOTHING = Can()
_NAME = 3071
"""Characters of the longest name of a person or conversation that the world keeps: a JID's (RFC 7622 3.1)."""
_HEAR_SECONDS = 0.002
"""After so long it is looked again whether other workers have told what an account wrote there."""
_FULL_SECONDS = 0.05
"""After so long it is looked again whether a full queue has room for more of a compressed read."""
_PASSED = (PASSED,)
_ALWAYS_LOGGED = (SignOn, FileOffer, File)


class Session:
    """One flow. `step` takes one input and returns the finished list of its effects."""

    __slots__ = (
        "_account", "_away", "_behind", "_bytes", "_closed", "_coded", "_decoder", "_desk", "_ended", "_finished",
        "_groups", "_guess", "_hearing", "_holding", "_ids", "_late", "_leasing", "_n", "_named_im", "_offered",
        "_paths", "_probe", "_queued", "_queues", "_shared", "_signed", "_state", "_tally", "_told", "_wake", "context",
        "dry", "flow", "kit", "spec",
    )

    def __init__(
        self, flow: Flow, kit: Kit, world: World, *, dry: bool = False,
        listener_protocols: frozenset[str] = frozenset(), named_im: bool = False, paths: Paths | None = None,
    ) -> None:
        """`dry`: decide and log, send nothing (captures). `named_im`: what is not recognised here is cut. `paths`: what
        may be leased for side connections."""
        self.flow = flow
        self.dry = dry
        self.context = Context(flow)
        self.context.listener_protocols = listener_protocols
        self.kit = kit
        self._named_im = named_im
        self._paths = paths
        self._desk: FileDesk | None = None
        self._holding: Holding | None = None
        self._behind: Callable[[bytes], bool] | None = None
        """Of what passes unrecognised: whether IM begins in the next bytes that go up."""
        self._coded: Coded | None = None
        """What both sides write in, once they have agreed on it."""
        self._offered: tuple[tuple[FileOffer, str], ...] | None = None
        """Offers whose rows have just been made, and their ids."""
        self._leasing: LeasingMemory | None = None
        self._state = PROBING
        self._probe: Probing | None = Probing()
        self._guess: Guess | None = None
        self.spec: Spec | None = None
        self._decoder: Decoder | None = None
        self._tally: Tally = world.tally(None)
        self._queues: list[deque[Item] | None] = [None, None]
        self._queued = [0, 0]
        self._away: list[list[Send] | None] = [None, None]
        """Own notices that wait for a unit boundary, per way."""
        self._groups: dict[str, Group] | None = None
        self._late = [0, 0]
        """Bytes per way that had left before the protocol was recognised."""
        self._signed = False
        self._account: str | None = None
        """Who writes here, in whichever of his sessions, if he has proved it."""
        self._shared: str | None = None
        """The account whose session this is to other workers."""
        self._hearing = False
        """A sign-on waits for what other workers have to tell."""
        self._closed = [False, False]
        self._finished = [False, False]
        self._ended = False
        self._bytes = 0
        self._n = 0
        self._ids = 0
        self._wake: float | None = None
        self._told: set[str] | None = None
        self.enter(kit.rules)

    # -- what a driver may ask

    @property
    def over(self) -> bool:
        """Nothing will come of this session any more."""
        return self._state == OVER

    @property
    def decoding(self) -> bool:
        """A protocol was recognised and its decoder reads every byte."""
        return self._state == DECODING

    @property
    def settled(self) -> bool:
        """No longer probing: decoding, or given up."""
        return self._probe is None

    def queued(self, way: Way) -> int:
        """Bytes of that way that wait for a verdict: above `limits.way_bytes` the driver stops reading that way.

        More than `limits.waiting_frames` frames count as too many bytes: tiny frames cost memory by their number. So do
        compressed bytes of which not all is read.
        """
        queue, coded = self._queues[way], self._coded
        if (queue is not None and len(queue) > self.kit.limits.waiting_frames) or (
            coded is not None and coded.waits(way)
        ):
            return max(self._queued[way], self.kit.limits.way_bytes + 1)
        if self._desk is not None:
            return self._queued[way] + self._desk.held(way)
        return self._queued[way]

    @property
    def bytes(self) -> int:
        """Bytes seen so far, both ways."""
        return self._bytes

    # -- the step

    def step(self, inp: Input, world: World) -> list[Effect]:
        """Take one input; the effects are to be carried out in order. Never raises for peer bytes."""
        out: list[Effect] = []
        if type(inp) is Chunk:
            self._bytes += len(inp.data)
            if self._state == DECODING:
                if self._coded is None:
                    self._feed(inp, world, out)
                else:
                    self._feed_coded(inp, world, out)
            elif self._state == PROBING:
                self._probing(inp, world, out)
            elif self._state == PASSING and inp.data:
                if self._behind is not None and inp.way is UP and self._begins(inp, world, out):
                    return out
                out.append(Send(inp.way, inp.data))
            return out if self._coded is None else self._coded.written(out)
        if self._state == OVER:
            if type(inp) is Released:
                out.append(Came(inp.held.id, False))
            return out
        match inp:
            case Closed():
                self._close(inp, world, out)
            case Scanned():
                self._scanned(inp, world, out)
            case Kept():
                self._kept(inp, world, out)
            case Woke():
                self._woke(inp.at, world, out)
            case Secured():
                if not inp.ok:
                    self.note_trouble("tls_failed", inp.detail, "cut", inp.at, out)
                    self.cut(inp.at, world, out, polite=False, reason=inp.detail or "TLS failed")
                elif inp.same and (secured := getattr(self._decoder, "secured", None)) is not None:
                    secured()
            case Spliced():
                self._splice(inp, out)
            case Troubled():
                self._trouble(inp.name, inp.detail, inp.at, world, out)
            case Killed():
                self.cut(inp.at, world, out, reason=inp.reason)
            case Judged():
                if self._desk is not None:
                    self._desk.judged(inp, world, out)
            case Unspooled():
                if self._desk is not None:
                    self._desk.unspooled(inp, world, out)
            case Told():
                self._be_told(inp, out)
            case Released():
                self._be_released(inp, out)
        return out if self._coded is None else self._coded.written(out)

    # -- probing

    def _probing(self, chunk: Chunk, world: World, out: list[Effect]) -> None:
        probe = self._probe
        assert probe is not None
        limits = self.kit.limits
        if probe.since is None:
            probe.since = chunk.at
            probe.until = chunk.at + limits.probe_hold_seconds
            self._announced(chunk.at, world)
        if chunk.gap and not probe.upto[UP] and not probe.upto[DOWN]:
            chunk = msgspec.structs.replace(chunk, gap=0)
        probe.add(chunk)
        seen = probe.upto[chunk.way]
        seen += chunk.data
        guess = self._look_at(probe)
        if guess is not None and guess.settled:
            self._adopt(guess, world, out)
            return
        if probe.released:
            if self._behind is not None and chunk.way is UP and self._begins(chunk, world, out):
                return
            if chunk.data:
                out.append(Send(chunk.way, chunk.data))
            late = chunk.at - probe.since > limits.probe_seconds
            if late or max(len(probe.upto[UP]), len(probe.upto[DOWN])) > limits.probe_bytes:
                self._give_up()
            return
        held = len(probe.upto[UP]) + len(probe.upto[DOWN])
        if held > limits.probe_hold_bytes or chunk.at >= (probe.until or 0.0):
            self._undecided(chunk.at, world, out)
        elif guess is not None and guess.match is Match.NO and not self._named_im and (
            self._on_trouble("unclassified", self.kit.rules) == "pass"
        ):
            self._release(out)
        else:
            self.wake_at(probe.until, out)

    def _look_at(self, probe: Probing, *, always: bool = False) -> Guess | None:
        """Ask the probes, unless that would cost more than a fair multiple of the bytes that came (None then): one byte
        a segment must not make recognition quadratic."""
        limits = self.kit.limits
        up, down = probe.upto
        came = len(up) + len(down)
        if not always and probe.looked + came > limits.probe_look_bytes + came * limits.probe_look_ratio:
            return None
        probe.looked += came
        guess = self._by_announcement(probe)
        if guess is None:
            guess = self.kit.classify(bytes(up), bytes(down), self.flow, self.context.listener_protocols)
        self._guess = guess
        return guess

    def _announced(self, at: float, world: World) -> None:
        """Whether somebody announced this connection: what is not recognised on it must not slip through."""
        flow = self.flow
        if flow.expected is None:
            found = world.expected(flow, at)
            spec = self.kit.specs.get(found.what) if found is not None else None
            # Many users are sent to the same server: only what belongs to one conversation is known by its address.
            if found is None or spec is None or spec.parent is None:
                return
            self.flow = self.context.flow = msgspec.structs.replace(flow, expected=found)
        self._named_im = True

    def _by_announcement(self, probe: Probing) -> Guess | None:
        """The protocol that was announced, unless its first bytes say that it is something else."""
        expected = self.flow.expected
        spec = self.kit.specs.get(expected.what) if expected is not None else None
        if spec is None or expected is None:
            return None
        # Bytes that could still become it are it: whoever makes the connection may wait for an answer to them.
        if not spec.expected_only and spec.probe(bytes(probe.upto[UP]), bytes(probe.upto[DOWN])) is Match.NO:
            return None
        evidence = Evidence(f"{spec.name}.announced", f"announced as {spec.title} in a conversation", 0.99)
        return Guess(spec, Match.STRONG, 0.99, True, (evidence,))

    def _undecided(self, at: float, world: World, out: list[Effect]) -> None:
        """The time or size for withholding is over."""
        assert self._probe is not None
        self._look_at(self._probe, always=True)
        if self._guess is not None and self._guess.spec is not None:
            self._adopt(self._guess, world, out)
            return
        if self._named_im and self.kit.rules.policy.enforce:
            # What is named as IM and is not recognised must not slip through on junk (design section 5, Probing).
            self.note_trouble("unclassified", "not recognised on a port or listener named as IM", "cut", at, out)
            self.cut(at, world, out, reason="unclassified")
            return
        action = self._on_trouble("unclassified", self.kit.rules)
        if action in ("cut", "block"):
            self.note_trouble("unclassified", "no protocol recognised", "cut", at, out)
            self.cut(at, world, out, reason="unclassified")
            return
        self._release(out)

    def _release(self, out: list[Effect]) -> None:
        probe = self._probe
        assert probe is not None
        probe.released = True
        first = bytes(probe.upto[UP])
        for spec in self.kit.specs.values():
            if spec.behind is not None and (looks_on := spec.behind(first)) is not None:
                self._behind = looks_on
        for chunk in probe.chunks:
            if chunk.data:
                out.append(Send(chunk.way, chunk.data))
        if probe.since is not None:
            # Its first bytes are kept for late recognition only so long, even when nothing more comes.
            self.wake_at(probe.since + self.kit.limits.probe_seconds, out)

    def _begins(self, chunk: Chunk, world: World, out: list[Effect]) -> bool:
        """Whether this connection ends here: a protocol of ours begins behind what passed unread. Its client asks again
        on another connection, where it is read from the beginning; here half of what is said would be missing."""
        assert self._behind is not None
        if not self._behind(chunk.data):
            return False
        self._behind = None
        action = "cut" if self.kit.rules.policy.enforce else "pass"
        self.note_trouble("unclassified", "IM behind other traffic on one connection", action, chunk.at, out)
        if action == "cut":
            self.cut(chunk.at, world, out, reason="unclassified")
        return self._state == OVER

    def _give_up(self) -> None:
        self._probe = None
        self._state = PASSING

    def _adopt(self, guess: Guess, world: World, out: list[Effect]) -> None:
        """A protocol is recognised: its decoder reads from byte 0."""
        probe, spec = self._probe, guess.spec
        assert probe is not None
        assert spec is not None
        self._guess, self.spec, self._probe, self._behind = guess, spec, None, None
        context = self.context
        context.protocol = spec.parent or spec.carries or spec.name
        context.confidence = guess.confidence
        expected = self.flow.expected
        if expected is not None and spec.parent is not None:
            context.user, context.identity = expected.by, expected.identity
            self._account = windows.account_of(expected.by, expected.identity)
        self.enter(self.kit.rules)
        self._tally = world.tally(spec.name)
        self._tally.sessions += 1
        self._signed = not spec.signs_on or not self.flow.from_start
        self._decoder = self._new_decoder(spec, self.flow, world)
        self._state = DECODING
        self._note_living(probe.chunks[-1].at if probe.chunks else self.flow.opened, out)
        if probe.released:
            # All but the chunk that brought the recognition has left already.
            for chunk in probe.chunks[:-1]:
                self._late[chunk.way] += len(chunk.data)
        for chunk in probe.chunks:
            if self._state == DECODING:
                self._feed(chunk, world, out)

    def _new_decoder(self, spec: Spec, flow: Flow, world: World) -> Decoder:
        if self._paths is not None and self._leasing is None:
            self._leasing = LeasingMemory(world.memory, self._paths)
        return spec.decoder(flow, self.kit.limits, self._leasing or world.memory, self.kit.edits)

    # -- decoding

    def _feed(self, chunk: Chunk, world: World, out: list[Effect]) -> None:
        decoder = self._decoder
        assert decoder is not None
        if chunk.gap:
            self._trouble("gap", f"{chunk.gap} bytes lost", chunk.at, world, out)
            if self._state != DECODING:
                return
        for frame in decoder.feed(chunk):
            if self._state != DECODING:
                return
            self._take(frame, world, out)
        if self._desk is not None and self._state == DECODING:
            self._desk.speak(chunk.way.other, chunk.at, world, out)
            self._desk.speak(chunk.way, chunk.at, world, out)
        if self._holding is not None and self._state == DECODING:
            self._holding.speak(out)
        spec = self.spec
        if spec is not None and spec.carries is not None and (due := getattr(decoder, "due", None)) is not None:
            self.wake_at(due, out)
        reason = getattr(decoder, "undecryptable", None)
        if reason and self._state == DECODING and (self._told is None or "undecryptable" not in self._told):
            if self._recoded(decoder, chunk.at, world, out):
                return
            self._tell("undecryptable")
            self._trouble("undecryptable", reason, chunk.at, world, out)
            if self._state == DECODING and not chunk.end:
                # What a decoder kept back behind the reason goes on now.
                self._feed(Chunk(chunk.way, chunk.at, b""), world, out)

    def _feed_coded(self, chunk: Chunk, world: World, out: list[Effect]) -> None:
        """Bytes in the coding that both sides have agreed on."""
        coded = self._coded
        assert coded is not None
        if chunk.gap:
            coded.lose(chunk.way)
            self._feed(Chunk(chunk.way, chunk.at, b"", chunk.gap), world, out)
            if self._state == DECODING:
                self.note_trouble("undecryptable", "bytes of a compressed stream were lost", "cut", chunk.at, out)
                self.cut(chunk.at, world, out, reason="undecryptable")
        coded.add(chunk.way, chunk.data)
        self._read_on(coded, chunk.way, chunk.at, world, out)

    def _read_on(self, coded: Coded, way: Way, at: float, world: World, out: list[Effect]) -> None:
        """One piece of what has come; of a capture all."""
        limits, queue = self.kit.limits, self._queues[way]
        if queue is not None and not self.dry and coded.waits(way) and (
            self._queued[way] > limits.way_bytes or len(queue) > limits.waiting_frames
        ):
            self.wake_at(at + _FULL_SECONDS, out)
            return
        while self._state == DECODING and (piece := coded.take(way)) is not None:
            if isinstance(piece, PeerError):
                # Whatever the policy says: it cannot be passed on, as the other side has a stream of ours.
                self.note_trouble("malformed", str(piece), "cut", at, out)
                self.cut(at, world, out, reason="malformed", fault=piece)
                break
            self._feed(Chunk(way, at, piece), world, out)
            if not self.dry and coded.goes_on(way):
                if self._state == DECODING:
                    self.wake_at(at, out)
                return
        if coded.closing[way]:
            coded.closing[way] = False
            self._close(Closed(way, at), world, out)

    def _recoded(self, decoder: Decoder, at: float, world: World, out: list[Effect]) -> bool:
        """What comes from here on is read in another coding. False: nobody can (see Recode)."""
        take = getattr(decoder, "recoded", None)
        if take is None or not self._may_recode() or (taken := take()) is None:
            return False
        coding, kept = taken
        if self._coded is None:
            # The server writes in it already, whatever waits on its way to the client.
            self._coded = Coded(coding)
            self._coded.begin(UP, len(out))
        for way, data in zip((UP, DOWN), kept, strict=True):
            if data and self._state == DECODING:
                self._feed_coded(Chunk(way, at, data), world, out)
        return True

    def _may_recode(self) -> bool:
        """Not where bytes in the coding have left already, as somebody else's."""
        return not any(self._late)

    def _begin_coding(self, coding: Coding, at: float, world: World, out: list[Effect]) -> None:
        """What is sent from here on is written in it."""
        if self._coded is None and self._may_recode():
            self._coded = Coded(coding)
        coded = self._coded
        if coded is not None and not coded.is_of(coding):
            self.note_trouble("malformed", "a coding inside another", "cut", at, out)
            self.cut(at, world, out, reason="malformed")
        elif coded is not None:
            for way in (UP, DOWN):
                coded.begin(way, len(out))

    def _take(self, frame: Frame, world: World, out: list[Effect]) -> None:
        """One frame: judge it; send it at once if nothing has to wait."""
        way = frame.way
        if frame.oddities:
            self._oddities(frame, out)
        left = self._late[way]
        if left:
            # A frame whose bytes stand in one behind it (of the same body) may have left with them.
            left = min(left, len(frame.raw)) or (1 if frame.events and not frame.raw else 0)
            self._late[way] -= min(left, len(frame.raw))
        if frame.fault is not None:
            self._fault(frame, left, world, out)
            return
        events = frame.events
        if events:
            kind = type(events[-1])
            if kind is FilePart or kind is FileStart or kind is FileEnd:
                if self._desk is None:
                    self._desk = FileDesk(self)
                self._desk.take(frame, left, world, out)
                return
        if frame.group is None and not left and not self._queues[way]:
            if not events:
                self.deliver(frame, self._judge_unread(frame, 0, out) if frame.unread else (), 0, world, out)
                return
            if len(events) == 1 and (self._signed or not self._must_sign(events[0], way)):
                self._take_one(frame, events[0], world, out)
                return
        if frame.group is None and not events:
            if self._queues[way]:
                item = self._decided(frame, left)
                item.verdicts = list(self._judge_unread(frame, left, out))
                self.enqueue(item)
            else:
                self.deliver(frame, self._judge_unread(frame, left, out), left, world, out)
            return
        self._judge(Item(frame, self.kit.rules, left), world, out)

    def _judge_unread(self, frame: Frame, left: int, out: list[Effect]) -> tuple[Verdict, ...]:
        """The verdict on what is of no IM: what is unknown passes or not, inside a session as beside it. One row."""
        if not frame.unread or left:
            return ()
        enforces = self.kit.rules.policy.enforce
        action = "block" if self._named_im and enforces else self._on_trouble("unclassified", self.kit.rules)
        action = action if action == "pass" else "block"
        if self._tell(f"unclassified {action}"):
            self.note_trouble("unclassified", frame.unread, action, frame.at, out)
        else:
            troubles = self._tally.troubles
            troubles["unclassified", action] = troubles.get(("unclassified", action), 0) + 1
        return () if action == "pass" or self.dry else (Verdict(Action.BLOCK),)

    def _take_one(self, frame: Frame, event: Event, world: World, out: list[Effect]) -> None:
        """The path of nearly every message: one event, nothing in front of it, findings at once, nothing to say."""
        kit, context, way, at = self.kit, self.context, frame.way, frame.at
        rules = kit.rules
        kind = type(event)
        if kind is SignOn:
            self._judge(Item(frame, rules, 0), world, out)
            return
        if kind is Message:
            event = self._marked(event, way, at, world)
        if context.policy is not rules.policy:
            self.enter(rules)
        try:
            findings = rules.scanner.quick(event.texts) if event.texts and not self.unread() else ()
            if findings is not None and kind is Message:
                findings = self._joined(event, findings, way, at, world, rules)  # type: ignore[arg-type]
        except ScanFailed:
            findings = None
        if findings is None:
            self._judge(Item(frame, rules, 0), world, out)
            return
        judged = event if not kit.never_inspect or not self.unread() else msgspec.structs.replace(event, texts=())
        if rules.policy.decide(judged, context, way, at, findings) is not None:
            item = Item(frame, rules, 0)
            item.findings.append(findings)
            self._judge(item, world, out)
            return
        tally = self._tally
        tally.passed += 1
        if kind is Message:
            tally.messages += 1
            self._remember(event, way, at, world)  # type: ignore[arg-type]
        if self._logged(event):
            self._archive(event, frame, rules, findings, at, out)
            if self._offered is not None:
                self._link_offers(world, at)
        if not self.dry and self._signed and self._away[way] is None:
            # What `_deliver` would do, for the one thing that nearly every message is: sent on as it came.
            acts = self._decoder.apply(frame, _PASSED)  # type: ignore[union-attr]
            if len(acts) == 1:
                act = acts[0]
                if type(act) is Send and act.way is way:
                    out.append(act)
                    return
            if self.arranged(acts, frame.at, world, out):
                self._act(acts, frame, world, out)
        else:
            self.deliver(frame, _PASSED, 0, world, out)

    def item(self, frame: Frame, left: int) -> Item:
        return Item(frame, self.kit.rules, left)

    def _decided(self, frame: Frame, left: int) -> Item:
        item = Item(frame, self.kit.rules, left)
        item.verdicts = []
        return item

    def _quick(self, event: Event, rules: Rules) -> tuple[Finding, ...] | None:
        """Findings at once, or None when the scan has to be done elsewhere."""
        texts = event.texts
        if not texts or self.unread():
            return ()
        return rules.scanner.quick(texts)

    def unread(self) -> bool:
        never = self.kit.never_inspect
        return bool(never) and not never.isdisjoint(self.context.groups)

    def _must_sign(self, event: Event, way: Way) -> bool:
        """Nothing of the user's leaves before his sign-on is judged (design section 3)."""
        if way is not UP or self.dry:
            return False
        return isinstance(event, Message | FileOffer) or (isinstance(event, Opaque) and event.personal)

    def enter(self, rules: Rules) -> None:
        rules.policy.enter(self.context)
        self.context.policy = rules.policy

    def _note_living(self, at: float, out: list[Effect]) -> None:
        """Have the store remember that this session lives: if we are killed, the next start says that it was lost."""
        if not self.dry:
            row = self.flow_row(at, "open")
            out.append(Note(0, row))

    def _signing_on(self, event: SignOn, at: float, rules: Rules, world: World) -> None:
        context = self.context
        until = at + self.kit.limits.idle_seconds
        if context.user is not None and context.user != event.user:
            world.signed_off(context.user, self.flow.id, until, at)
        context.user = event.user
        context.identity = event.identity
        self._account = windows.account_of(event.user, event.identity)
        world.signed_on(event.user, self.flow.id, until, at)
        self._share(self._account, at, world)
        self.enter(rules)

    def _share(self, account: str | None, at: float, world: World) -> None:
        """Whose session this is to other workers, from now on."""
        neighbours = world.neighbours
        if neighbours is None or self._shared == account:
            return
        if self._shared is not None:
            neighbours.signed_off(self._shared, at)
        self._shared = account
        if account is not None:
            neighbours.signed_on(account, at)

    def _hears(self, item: Item, at: float, world: World, out: list[Effect]) -> bool:
        """Whether a sign-on waits: what the account has just written through other workers is not all known here, and
        nothing of his leaves before he is signed on."""
        neighbours = world.neighbours
        if neighbours is None or self.dry:
            return False
        for event in item.frame.events:
            if type(event) is SignOn and (account := windows.account_of(event.user, event.identity)) is not None:
                self._share(account, at, world)
                if neighbours.waits(account, at):
                    item.hears = self._hearing = True
                    self.wake_at(at + _HEAR_SECONDS, out)
                    return True
        return False

    def _hear(self, at: float, world: World, out: list[Effect]) -> None:
        """Look whether what sign-ons wait for is there."""
        self._hearing = False
        for way in (UP, DOWN):
            for item in tuple(self._queues[way] or ()):
                if item.hears and self._state == DECODING:
                    item.hears = False
                    self._scan(item, at, world, out)
            if self._state == DECODING:
                self.pump(way, world, out, at)

    def _marked(self, event: Event, way: Way, at: float, world: World) -> Event:
        """The second leg of a message that crossed the gateway going up already is a copy of it (design section 5)."""
        if type(event) is not Message or event.copy != "no" or not event.texts:
            return event
        key = hash((self.context.protocol, event.texts[0].plain))
        if way is UP:
            sender, conversation = event.sender or self.context.user or "", event.conversation
            if len(sender) > _NAME or (conversation is not None and len(conversation) > _NAME):
                return event  # names so long are nobody's, and the world must not keep them
            world.legs.put(key, (self.flow.id, sender, conversation), at + self.kit.limits.leg_seconds)
            return event
        leg = world.legs.get(key, at)
        if leg is None or leg[0] == self.flow.id:
            return event
        sender = (event.sender or "").partition("/")[0].lower()
        if leg[1].partition("/")[0].lower() != sender and leg[2] != event.conversation:
            return event
        return msgspec.structs.replace(event, copy="leg")

    def _writer(self, event: Message, way: Way) -> str:
        """Who writes: the authenticated account, else what the wire or the address says."""
        if way is UP:
            user, sender = self.context.user, event.sender
            if sender and user and sender != user and (own := bare(sender)).endswith(f"@{user}"):
                return own  # a server speaks for its people: each of them writes for himself
            return self._account or self.flow.client.ip
        # In a room what looks like a resource is somebody's name there.
        return (event.sender or "") if event.in_room else bare(event.sender)

    def _joined(
        self, event: Message, findings: tuple[Finding, ...], way: Way, at: float, world: World, rules: Rules,
    ) -> tuple[Finding, ...]:
        """What a short message completes of those before it, beside what is in itself."""
        limits = self.kit.limits
        text = windows.words(event)
        if len(text) > limits.window_piece_chars or not windows.telling(text):
            return findings
        key = windows.key_of(event, self.context.protocol, way, self._writer(event, way))
        if key is None or self.unread():
            return findings
        neighbours, account = world.neighbours, self._account
        if neighbours is not None and account is not None and account in neighbours.accounts:
            neighbours.announce(account, key, windows.piece(event, at, text))
        window = world.windows.get(key, at)
        if not window:
            return findings
        more = windows.look(window, text, at, rules, limits)
        return (*findings, *more) if more else findings

    def _remember(self, event: Message, way: Way, at: float, world: World) -> None:
        """A short text that is delivered may be a piece of something."""
        limits = self.kit.limits
        text = windows.piece_of(event, limits) if event.texts else None
        if text is None or self.unread():
            return
        key = windows.key_of(event, self.context.protocol, way, self._writer(event, way))
        if key is None:
            return
        window, piece = world.windows.get(key, at), windows.piece(event, at, text)
        neighbours, account = world.neighbours, self._account
        if neighbours is not None and account is not None:
            if window is None:
                neighbours.begun(account, key, at)
            if account in neighbours.accounts:
                neighbours.delivered(account, key, piece)
        if window is None:
            window = deque()
        world.windows.put(key, window, at + limits.window_seconds)
        windows.remember(window, piece, limits)

    def _forget(self, event: Message, way: Way, at: float, world: World) -> None:
        """A text that is not delivered may have been announced to other workers as a piece."""
        neighbours, account = world.neighbours, self._account
        if neighbours is None or account is None or account not in neighbours.accounts:
            return
        key = windows.key_of(event, self.context.protocol, way, self._writer(event, way))
        if key is not None:
            neighbours.refused(account, key, windows.piece(event, at, windows.words(event)))

    def _logged(self, event: Event) -> bool:
        """Whether an event that passes has rows of its own."""
        kind = type(event)
        if kind is SignOn and event.again:  # type: ignore[union-attr]
            return False
        return kind in _ALWAYS_LOGGED or (self.kit.archive != "none" and kind is not Typing)

    def _judge(self, item: Item, world: World, out: list[Effect]) -> None:
        """A frame that has something to say or to wait for: scan, decide, note, queue."""
        frame = item.frame
        way = frame.way
        if frame.group is not None and not self._into_group(item, world, out):
            return
        events = frame.events
        gone = 0 < item.left == len(frame.raw)
        if not self._signed and not gone and any(self._must_sign(e, way) for e in events) and not any(
            type(e) is SignOn for e in events
        ):
            item.signing = True
            item.deadline = frame.at + self.kit.limits.sign_on_seconds
            self.wake_at(item.deadline, out)
        self.enqueue(item)
        if item.findings:
            self.decide(item, frame.at, world, out)
        elif not item.signing:
            self._scan(item, frame.at, world, out)
        self.pump(way, world, out, frame.at)

    def _scan(self, item: Item, at: float, world: World, out: list[Effect]) -> None:
        frame, rules = item.frame, item.rules
        if self._hears(item, at, world, out):
            return
        if self.context.policy is not rules.policy:
            self.enter(rules)
        for index, event in enumerate(frame.events):
            if type(event) is SignOn:
                self._signing_on(event, at, rules, world)
                self._note_living(at, out)
            try:
                quick = self._quick(event, rules)
                if quick is not None and type(event) is Message:
                    quick = self._joined(event, quick, frame.way, frame.at, world, rules)
                findings: tuple[Finding, ...] | str | None = quick
            except ScanFailed as failure:
                findings = str(failure) or "the scan failed"
            if findings is None:
                self._ids += 1
                if item.scans is None:
                    item.scans = {}
                item.scans[self._ids] = index
                item.findings.append(())
                out.append(Scan(self._ids, event, event.texts, rules))
            else:
                item.findings.append(findings)
        if item.scans:
            item.deadline = at + self.kit.limits.scan_seconds
            self.wake_at(item.deadline, out)
        else:
            self.decide(item, at, world, out)

    def _unsign(self, world: World, out: list[Effect], at: float) -> None:
        """The sign-on is known: what waited for it is scanned now."""
        queue = self._queues[UP]
        for item in tuple(queue or ()):
            if item.signing:
                item.signing = False
                item.deadline = None
                self._scan(item, at, world, out)
        if queue:
            self.pump(UP, world, out, at)

    def decide(self, item: Item, at: float, world: World, out: list[Effect]) -> None:
        """All findings are in: a verdict per event, its rows, and what is to be done."""
        frame, rules, way = item.frame, item.rules, item.frame.way
        policy, context = rules.policy, self.context
        if context.policy is not policy:
            self.enter(rules)
        judged_all: list[tuple[Event, Verdict | None, tuple[Finding, ...]]] = []
        covers: dict[int, Cover] = {}
        for event, findings in zip(frame.events, item.findings, strict=True):
            event = self._marked(event, way, frame.at, world)
            asked: Verdict | None
            if type(findings) is str:
                asked = self.failed_scan(event, findings, way, frame.at, policy_rules=rules, out=out,
                                          name=item.trouble)
                found: tuple[Finding, ...] = (rows.UNSCANNED,)
            else:
                assert isinstance(findings, tuple)
                found = findings
                judged = msgspec.structs.replace(event, texts=()) if self.unread() else event
                asked = policy.decide(judged, context, way, frame.at, found)
            if asked is not None and asked.action is Action.HOLD and type(event) is Message:
                cover = self.cover(event, way, at, world)
                if cover is not None:
                    covers[len(judged_all)] = cover
            judged_all.append((event, asked, found))
        dids = [
            PASSED if asked is None or index in covers else self.did(item, event, asked)
            for index, (event, asked, _) in enumerate(judged_all)
        ]
        done = _together(frame, dids)
        if frame.stays:
            done = [Action.REDACT if action in (Action.BLOCK, Action.HOLD) else action for action in done]
        for (event, _, _), action in zip(judged_all, done, strict=True):
            if type(event) is not Message:
                continue
            if action < Action.REDACT:
                self._remember(event, way, frame.at, world)
            else:
                self._forget(event, way, frame.at, world)
        for index in tuple(covers):
            if done[index] < Action.HOLD:
                # Of what its writer had to send again, that is its delivery.
                out.append(Came(covers[index].hold, True))
            else:
                del covers[index]  # it is kept by what stands beside it
        verdicts = [
            self.outcome(item, event, asked, found, at, out, did, action, index, covers.get(index))
            for index, ((event, asked, found), did, action) in enumerate(zip(judged_all, dids, done, strict=True))
        ]
        item.verdicts = verdicts
        if self._holding is not None:
            self._holding.beside(item, out)
        if self._offered is not None:
            self._link_offers(world, frame.at)
        if item.group is not None:
            for other in item.group.items:
                other.verdicts = verdicts
                other.kept = item.kept
                if other is not item:
                    other.deadline = None

    def failed_scan(
        self, event: Event, failure: str, way: Way, at: float, *, policy_rules: Rules, out: list[Effect],
        name: str = "scanner_failed",
    ) -> Verdict:
        """The verdict on what was not scanned: it has its row whatever comes of it."""
        action = policy_rules.policy.on_trouble(name, self.context.protocol)
        done = action if policy_rules.policy.enforce else "pass"
        self.note_trouble(name, failure, done, at, out, follows=True)
        if action == "pass":
            said = policy_rules.policy.decide(event, self.context, way, at, ())
            return said or Verdict(Action.PASS, reason=f"{name}: {failure}")
        return Verdict(
            {"cut": Action.CUT, "hold": Action.HOLD}.get(action, Action.BLOCK), rule=None,
            reason=f"{name}: {failure}", notice=None if action == "hold" else NOTICE_FAILED,
        )

    def did(self, item: Item, event: Event, asked: Verdict) -> Verdict:
        """What can be done of what was asked: degraded to what protocol and driver can, and to what has not left."""
        if not item.rules.policy.enforce and asked.action is not Action.PASS:
            return Verdict(Action.PASS)
        if 0 < item.left == len(item.frame.raw):
            return Verdict(Action.PASS)
        if item.solid and (asked.masks or asked.action is Action.REDACT):
            asked = msgspec.structs.replace(asked, action=max(asked.action, Action.BLOCK), masks=())
        did = self._degrade(asked, event, item)
        gone = item.left or (item.group is not None and any(each.left for each in item.group.items))
        if gone and did.action >= Action.REDACT:
            # A part of it has left: what keeps it from its reader is that the rest never comes.
            return Verdict(Action.CUT, reason=asked.reason)
        return did

    def outcome(
        self, item: Item, event: Event, asked: Verdict | None, findings: tuple[Finding, ...], at: float,
        out: list[Effect], did: Verdict, done: Action, index: int = 0, cover: Cover | None = None,
    ) -> Verdict:
        """One event's rows and counts. `did`: what the decoder is told; `done`: what comes of it, with the verdicts
        on what goes with it. `cover`: the release that lets it pass."""
        frame, rules, way = item.frame, item.rules, item.frame.way
        tally = self._tally
        if type(event) is Message:
            tally.messages += 1
        tally.events[event.name] = tally.events.get(event.name, 0) + 1
        if asked is None:
            tally.passed += 1
            if self._logged(event):
                late = 0 < item.left == len(frame.raw)
                self._archive(event, frame, rules, findings, at, out, late=late, done=done, item=item, index=index)
            return PASSED
        noted = self._note_event(event, frame, findings, out)
        verdict = asked
        for hit in verdict.hits:
            key = (hit.rule, "shadow" if hit.mode == "shadow" else hit.action.name.lower())
            tally.rules[key] = tally.rules.get(key, 0) + 1
        ident = self._ident()
        reference = _reference(ident)
        mode = "enforce"
        if not rules.policy.enforce and verdict.action is not Action.PASS:
            mode = "monitor"
        elif verdict.action is Action.PASS and not verdict.masks and any(h.mode == "shadow" for h in verdict.hits):
            mode = "shadow"
        late = 0 < item.left == len(frame.raw)
        name = done.name.lower()
        tally.actions[name] = tally.actions.get(name, 0) + 1
        verdict = msgspec.structs.replace(verdict, reference=reference)
        notice = did.notice
        if notice == NOTICE_HOLD and done is not Action.HOLD:
            notice = NOTICE_BLOCK  # it is refused with what stands beside it, or goes on without its words
        elif did.action <= Action.WARN and done >= Action.HOLD:
            notice = None  # it is not delivered, and what stands beside it says so
        if notice is not None:
            notice = notice.replace("{reference}", reference)
        row = rows.of_verdict(
            event, ident, noted, at, way, self.context, verdict, done, rules, findings,
            late=late, mode=mode, notice=notice, latency=None if self.dry else round(max(0.0, at - frame.at), 6),
        )
        if cover is not None:
            row["held"], row["reason"] = cover.hold, f"released by review, reference {cover.reference}"
        if did.action is Action.HOLD and done is Action.HOLD and not self.dry:
            if self._holding is None:
                self._holding = Holding(self)
            self._holding.take(item, index, event, asked, row, reference, at, out, findings)
        elif did.action >= Action.REDACT and not self.dry:
            self.note_durably(item, row, at, out)
        else:
            self._note_verdict(item, index, row, done, out)
        if did.action is Action.HOLD:
            # To the decoder it is a refusal: what becomes of it is not its concern.
            did = msgspec.structs.replace(did, action=Action.BLOCK)
        placeholder = did.placeholder
        if placeholder is not None:
            placeholder = placeholder.replace("{reference}", reference)
        return msgspec.structs.replace(did, reference=reference, notice=notice, placeholder=placeholder)

    def _note_verdict(
        self, item: Item | None, index: int, row: dict[str, Any], done: Action, out: list[Effect],
    ) -> None:
        """A row that nothing waits for, unless its event waits with what is held beside it."""
        if done is Action.HOLD and item is not None and not self.dry:
            if self._holding is None:
                self._holding = Holding(self)
            self._holding.wait_beside(index, row)
        else:
            out.append(Note(0, row))

    def note_durably(self, item: Item, row: dict[str, Any], at: float, out: list[Effect]) -> None:
        """A row that `item` waits for."""
        ident = self.next_id()
        self.wait_for(item, ident, at, out)
        out.append(Note(ident, row, True))

    def wait_for(self, item: Item, ident: int, at: float, out: list[Effect]) -> None:
        """`item` goes nowhere before Kept(ident)."""
        kept = item.kept
        if kept is None:
            kept = item.kept = set()
            if item.group is not None:
                for other in item.group.items:
                    other.kept = kept
        kept.add(ident)
        item.deadline = at + self.kit.limits.store_seconds
        self.wake_at(item.deadline, out)

    def _archive(
        self, event: Event, frame: Frame, rules: Rules, findings: tuple[Finding, ...], at: float, out: list[Effect],
        *, late: bool = False, done: Action = Action.PASS, item: Item | None = None, index: int = 0,
    ) -> None:
        """The rows of an event that no rule has a say of."""
        noted = self._note_event(event, frame, findings, out, said=False)
        if self.kit.archive == "none" or type(event) is not Message:
            return
        row = rows.of_verdict(
            event, self._ident(), noted, at, frame.way, self.context, PASSED, done, rules, findings,
            late=late, mode="enforce", notice=None, latency=None if self.dry else round(max(0.0, at - frame.at), 6),
        )
        self._note_verdict(item, index, row, done, out)

    def _degrade(self, asked: Verdict, event: Event, item: Item) -> Verdict:
        """What is not possible becomes the next safe thing (design section 5, Outcome)."""
        way = item.frame.way
        if type(event) is File:
            # Its last frame is still here: it can be refused whatever the protocol. What has left in part is not held.
            if asked.action is Action.HOLD and self.kit.driver_can.hold and item.file is not None and (
                item.file.mode == "spool" and event.complete
            ):
                said = asked.notice if asked.notice is not None else named_file(NOTICE_FILE_HOLD, event.file_name)
                return msgspec.structs.replace(asked, masks=(), notice=said)
            refused = asked.action in (Action.REDACT, Action.HOLD)
            return msgspec.structs.replace(
                asked, action=Action.BLOCK if refused else asked.action, masks=())
        spec = self.spec
        assert spec is not None
        can = spec.can.get(f"{event.name}.{getattr(event, 'kind', '')}") or spec.can.get(event.name, _NOTHING)
        driver = self.kit.driver_can
        action, masks = asked.action, asked.masks
        if masks and action < Action.REDACT:
            action = Action.REDACT
        if action is Action.REDACT and (not masks or not can.mask or not driver.mask):
            action = Action.BLOCK
        if action is Action.HOLD and type(event) is FileOffer and driver.hold and self._can_wait(event, way):
            # Its content is what waits; it is taken whole when it comes.
            return Verdict(Action.PASS, reason=asked.reason, hits=asked.hits)
        if action is Action.HOLD and not (driver.hold and driver.drop and type(event) is Message):
            action = Action.BLOCK
        refusable = driver.drop and (can.drop or (can.placeholder and asked.placeholder))
        if action in (Action.BLOCK, Action.HOLD) and not refusable:
            action = Action.CUT
        if type(event) is SignOn and action >= Action.REDACT:
            action = Action.CUT
        notice = asked.notice
        # In a session our user writes UP; in a direct conversation the decoder knows which of the two he is.
        ours = way is UP if spec.parent is None else getattr(event, "answerable", True)
        if notice is None and ours:
            if asked.action is Action.WARN:
                notice = NOTICE_WARN
            elif action is Action.HOLD:
                notice = NOTICE_HOLD
            elif action is Action.BLOCK:
                notice = NOTICE_BLOCK
        # Where a direct conversation has no place for words of ours, they are said where it was offered.
        expected = self.flow.expected
        sayable = can.notify or (
            type(event) is Message and spec.parent is not None and expected is not None and event.sender == expected.by
        )
        if not notice or not sayable or not driver.notify or not getattr(event, "answerable", True):
            notice = None
        return msgspec.structs.replace(
            asked, action=action, masks=masks if action is Action.REDACT else (), notice=notice,
            placeholder=asked.placeholder if can.placeholder and driver.placeholder else None,
        )

    # -- queues

    def enqueue(self, item: Item) -> None:
        way = item.frame.way
        queue = self._queues[way]
        if queue is None:
            queue = self._queues[way] = deque()
        queue.append(item)
        self._queued[way] += len(item.frame.raw)

    def pump(self, way: Way, world: World, out: list[Effect], at: float) -> None:
        """Let go what is decided, in order."""
        queue = self._queues[way]
        while queue and self._state == DECODING:
            item = queue[0]
            if item.verdicts is None or item.kept:
                break
            if item.file is not None and (self._desk is None or not self._desk.release(item, out)):
                break
            queue.popleft()
            item.group = None  # which holds it
            self._queued[way] -= len(item.frame.raw)
            self.deliver(item.frame, tuple(item.verdicts), item.left, world, out)
        if not queue:
            self._queues[way] = None
            self._speak(way, out)
            if self._holding is not None and self._state == DECODING:
                self._holding.speak(out)
            if self._closed[way] and self._state == DECODING:
                self.finish(way, world, out, at)

    def deliver(
        self, frame: Frame, verdicts: tuple[Verdict, ...], left: int, world: World, out: list[Effect],
    ) -> None:
        """The verdicts are in: let the decoder write."""
        for verdict in verdicts:
            if verdict.action is Action.CUT:
                self.cut(frame.at, world, out, reason=verdict.reason or "policy", verdict=verdict)
                if self._state == OVER:
                    return
        way = frame.way
        decoder = self._decoder
        assert decoder is not None
        if frame.kind == BROKEN:
            # Let pass by policy: the decoder that made it is gone.
            out.append(Send(way, frame.raw[left:]))
            return
        acts = decoder.apply(frame, verdicts)
        if not self.arranged(acts, frame.at, world, out):
            for act in acts:
                if isinstance(act, Went):
                    out.extend(went(act, sent=False))
            return
        if self.flow.expected is not None and verdicts and not self.dry:
            self._tell_conversation(frame, verdicts, out)
        if self.dry or left:
            self._look(acts, frame, left, world, out)
        else:
            self._act(acts, frame, world, out)
        if not self._signed and any(type(event) is SignOn for event in frame.events):
            self._signed = True
            self._unsign(world, out, frame.at)
        if self.kit.driver_can.hold and verdicts and any(type(event) is SignOn for event in frame.events):
            self._arrived(out)

    def _act(self, acts: list[Act], frame: Frame, world: World, out: list[Effect]) -> None:
        """Carry out what the decoder wants for a frame."""
        way = frame.way
        for act in acts:
            if isinstance(act, Send):
                if act.way is way or (
                    (frame.edit is not None or frame.unread or self._raw(frame)) and not self._finished[act.way]
                ):
                    out.append(act)
                else:
                    self.aside(act, out)
            elif isinstance(act, Cut):
                self.cut(frame.at, world, out, polite=False, reason=act.reason)
                return
            elif isinstance(act, Went):
                out.extend(went(act, sent=act.sent))
            elif isinstance(act, Recode):
                self._begin_coding(act.coding, frame.at, world, out)
            elif isinstance(act, StartTls) and self._coded is not None:
                self.cut(frame.at, world, out, reason="TLS inside a compressed stream")
                return
            else:
                out.append(act)
        if self._away[way] is not None:
            self._speak(way, out)

    def _tell_conversation(self, frame: Frame, verdicts: tuple[Verdict, ...], out: list[Effect]) -> None:
        """A direct conversation may have no place for words of ours: its writer is told where it was offered."""
        expected = self.flow.expected
        spec = self.spec
        if expected is None or expected.flow is None or expected.flow == self.flow.id or spec is None:
            return
        if spec.can.get("message", _NOTHING).notify:
            return  # said on the spot
        for event, verdict in zip(frame.events, verdicts, strict=False):
            if type(event) is not Message or event.sender != expected.by:
                continue  # the other one's session is not the one where it was offered
            if verdict.notice is not None and verdict.action is not Action.PASS:
                out.append(Tell(expected.flow, Notice(verdict.notice)))

    def _raw(self, frame: Frame) -> bool:
        """Whether a frame is content of a side connection: its refusal is an answer and always has a place."""
        spec, events = self.spec, frame.events
        return bool(events) and spec is not None and spec.parent is not None and isinstance(events[-1], FILE_CONTENT)

    def _look(self, acts: list[Act], frame: Frame, left: int, world: World, out: list[Effect]) -> None:
        """A frame of a capture, or one that had left (in part) before its protocol was known."""
        for act in acts:
            if isinstance(act, StartTls):
                if self.dry:
                    self._give_up_reading()
                else:
                    out.append(act)
                    return
        if not self.dry and left < len(frame.raw):
            out.append(Send(frame.way, frame.raw[left:]))
        for act in acts:
            if isinstance(act, Recode):
                self._begin_coding(act.coding, frame.at, world, out)
            elif isinstance(act, Went) and not self.dry:
                out.extend(went(act, sent=False))

    def arranged(self, acts: list[Act], at: float, world: World, out: list[Effect]) -> bool:
        """Remember what a frame announces, before any of it leaves: a side connection that we could not lead through us
        or would not know must not be announced. False: the session has ended."""
        for act in acts:
            if isinstance(act, Expect) and not self._expect(act, at, world):
                self._trouble("overload", "no room for an announced connection", at, world, out)
                if self._state != DECODING:
                    return False
        leasing = self._leasing
        if leasing is not None and leasing.failed:
            leasing.failed = 0
            self._trouble("overload", "no port to lease for a side connection", at, world, out)
        return self._state == DECODING

    def _expect(self, act: Expect, at: float, world: World) -> bool:
        client, ip = act.client, self.flow.client.ip
        own = f"[{ip}]:" if ":" in ip else f"{ip}:"
        if client is None and not self.dry and not act.address.startswith(own):
            # Whose address it is not cannot announce what others connect to: it stands for this client's own way there.
            client = ip
        if act.flow is None or client != act.client:
            act = msgspec.structs.replace(act, flow=act.flow or self.flow.id, client=client)
        spec, limits = self.kit.specs.get(act.what), self.kit.limits
        if spec is not None and spec.parent is None:
            return world.expect(act, at + limits.expect_seconds, ip, at, redirect=True)
        return world.expect(act, at + limits.offer_seconds, ip, at)

    def _be_told(self, inp: Told, out: list[Effect]) -> None:
        """Say to the people of this session what became of a file that was offered here."""
        decoder = self._decoder
        if self._state != DECODING or decoder is None or self.dry:
            return
        acts = decoder.inject(inp.notice, DOWN)
        if isinstance(inp.notice.about, FileOffer):
            acts = [*acts, *decoder.inject(inp.notice, UP)]
        for act in acts:
            if isinstance(act, Send):
                self.aside(act, out)

    # -- what waits for a reviewer

    def cover(self, event: Message | File, way: Way, at: float, world: World) -> Cover | None:
        """The release that lets this pass (issued by a reviewer for what went before)."""
        if not world.covers or self.dry:
            return None
        context = self.context
        return world.covers.find(event, digest_of(event), context.protocol, context.user, way, self.flow.id, at)

    def _be_released(self, inp: Released, out: list[Effect]) -> None:
        if self._holding is None:
            self._holding = Holding(self)
        if self._state == DECODING and not self.dry:
            self._holding.release(inp, out)
        else:
            out.append(Came(inp.held.id, False))

    def _arrived(self, out: list[Effect]) -> None:
        """Somebody is here: what was released for him may come."""
        context = self.context
        if self._state == DECODING and not self.dry and context.user is not None and context.protocol is not None and (
            self.spec is not None and self.spec.parent is None
        ):
            out.append(Arrived(context.protocol, context.user, context.identity, self.flow.client.ip))

    def _can_wait(self, offer: FileOffer, way: Way) -> bool:
        """Whether the content of an offered file will surely pass through us, to be held when it comes: inside this
        session, or where its address is led through a port of ours. An offer of which that is not sure is refused."""
        assert self.spec is not None
        can = self.spec.can.get(f"file.{offer.method}", _NOTHING)
        led = self._paths is not None and (way is DOWN or self._paths.up is not None)
        return can.hold and (can.inject or led)

    def would_hold(self, offer: FileOffer, way: Way, at: float) -> bool:
        """Whether the policy would hold such a file, by what is known before it comes."""
        rules = self.kit.rules
        if not self.kit.driver_can.hold or self.dry:
            return False
        asked = rules.policy.decide(offer, self.context, way, at, ())
        return asked is not None and asked.action is Action.HOLD

    def can_hold(self, event: Message) -> bool:
        """Whether the protocol can send such a message later."""
        assert self.spec is not None
        return (self.spec.can.get(f"{event.name}.{event.kind}") or self.spec.can.get(event.name, _NOTHING)).hold

    @property
    def names_messages(self) -> bool:
        """Whether a message sent twice under one id is known by its reader."""
        return self.spec is not None and self.spec.names_messages

    @property
    def decoder(self) -> Decoder | None:
        return self._decoder

    @property
    def limits(self) -> Limits:
        return self.kit.limits

    def next_id(self) -> int:
        """The id of an effect that is answered."""
        self._ids += 1
        return self._ids

    def closed(self, way: Way) -> bool:
        """Nothing more comes that way."""
        return self._closed[way]

    def finished(self, way: Way) -> bool:
        """Nothing more is sent that way."""
        return self._finished[way]

    def waits(self, way: Way) -> bool:
        """Whether frames of that way wait for something."""
        return bool(self._queues[way])

    def has_room(self, way: Way) -> bool:
        """Whether something of ours may be sent that way now: nothing waits there, and the decoder is ready."""
        decoder = self._decoder
        return (
            self._state == DECODING and self._signed and not self._finished[way] and not self._queues[way]
            and self._away[way] is None and decoder is not None and decoder.ready(way)
        )

    def count_refused(self) -> None:
        """What was to be held is blocked."""
        actions = self._tally.actions
        actions["hold"] = actions.get("hold", 0) - 1
        actions["block"] = actions.get("block", 0) + 1

    @staticmethod
    def refusal(reference: str) -> str:
        """What the sender of a refused message is told."""
        return NOTICE_BLOCK.replace("{reference}", reference)

    def _give_up_reading(self) -> None:
        """Offline, what follows a StartTls cannot be read."""
        self._state = PASSING

    def aside(self, act: Send, out: list[Effect]) -> None:
        """Bytes of our own for the other side: at a unit boundary only, and not behind its end."""
        way = act.way
        if self._finished[way]:
            self._count_oddity("engine.notice_dropped")
            return
        waiting = self._away[way]
        if waiting is None:
            waiting = self._away[way] = []
        if sum(len(s.data) for s in waiting) + len(act.data) <= self.kit.limits.inject_bytes:
            waiting.append(act)
        else:
            self._count_oddity("engine.notice_dropped")
        self._speak(way, out)

    def _speak(self, way: Way, out: list[Effect]) -> None:
        waiting = self._away[way]
        decoder = self._decoder
        if waiting and not self._queues[way] and decoder is not None and decoder.ready(way):
            out.extend(waiting)
            self._away[way] = None

    # -- groups

    def _into_group(self, item: Item, world: World, out: list[Effect]) -> bool:
        """Collect a unit of a group; True when it is the last and the whole is to be judged."""
        frame = item.frame
        name = f"{frame.way}:{frame.group}"
        if self._groups is None:
            self._groups = {}
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(frame.at + self.kit.limits.group_seconds)
        group.items.append(item)
        group.bytes += len(frame.raw)
        item.group = group
        if frame.part in ("last", "whole"):
            del self._groups[name]
            return True
        self.enqueue(item)
        item.deadline = group.until
        self.wake_at(group.until, out)
        if group.bytes > self.kit.limits.group_bytes:
            self._broken_group(name, frame.at, world, out)
        return False

    def _broken_group(self, name: str, at: float, world: World, out: list[Effect]) -> None:
        """A group that is too long, or never ends, is refused whole: its text was not judged."""
        assert self._groups is not None
        group = self._groups.pop(name)
        if not self.kit.rules.policy.enforce:
            self.note_trouble("malformed", "a message spread over several units does not end", "pass", at, out)
            for item in group.items:
                item.verdicts, item.deadline = [], None
            self.pump(group.items[0].frame.way, world, out, at)
            return
        self.note_trouble("malformed", "a message spread over several units does not end", "cut", at, out)
        self.cut(at, world, out, reason="malformed", fault=PeerError("engine.group_unclosed"))

    # -- answers

    def _scanned(self, inp: Scanned, world: World, out: list[Effect]) -> None:
        for queue in self._queues:
            for item in queue or ():
                if item.scans and inp.id in item.scans:
                    index = item.scans.pop(inp.id)
                    item.findings[index] = self._answered(item, index, inp, world)
                    if not item.scans:
                        item.deadline = None
                        self.decide(item, inp.at, world, out)
                        self.pump(item.frame.way, world, out, inp.at)
                    return

    def _answered(self, item: Item, index: int, inp: Scanned, world: World) -> tuple[Finding, ...] | str:
        """What a scan elsewhere has found, and what its message completes of those before it."""
        event, frame = item.frame.events[index], item.frame
        if inp.failure is not None:
            item.trouble = inp.trouble
            return inp.failure
        if type(event) is not Message:
            return inp.findings
        try:
            return self._joined(event, inp.findings, frame.way, frame.at, world, item.rules)
        except ScanFailed as failure:
            return str(failure) or "the scan failed"

    def _kept(self, inp: Kept, world: World, out: list[Effect]) -> None:
        if self._holding is not None and self._holding.kept(inp, out):
            return
        for item in self._desk.beside() if self._desk is not None else ():
            if item.kept and inp.id in item.kept:
                item.kept.discard(inp.id)
                if not inp.ok:
                    self._store_failed(item, inp.at, world, out)
                if not item.kept and self._desk is not None and self._state == DECODING:
                    self._desk.kept(item, inp.at, world, out)
                return
        for queue in self._queues:
            for item in queue or ():
                if item.kept and inp.id in item.kept:
                    item.kept.discard(inp.id)
                    if not inp.ok:
                        self._store_failed(item, inp.at, world, out)
                    elif not item.kept:
                        item.deadline = None
                    self.pump(item.frame.way, world, out, inp.at)
                    return

    def _store_failed(self, item: Item, at: float, world: World, out: list[Effect]) -> None:
        """The row of a refusing or masking verdict could not be written: never delivered unless the policy says so."""
        items = [item] if item.group is None else item.group.items
        for each in items:
            each.kept = each.deadline = None
        if self._holding is not None:
            self._holding.unwritten(item, at, out)
        action = self._on_trouble("store_failed", item.rules)
        self.note_trouble("store_failed", "a verdict's row could not be written", action, at, out)
        if action == "cut":
            self.cut(at, world, out, reason="store_failed")
        elif action != "pass" and item.verdicts is not None:
            refused = list(item.verdicts)
            for index, event in enumerate(items[-1].frame.events):
                verdict = refused[index]
                if verdict.action is Action.REDACT:
                    # The sender of what was to be masked is told now, whatever the rule says: it does not arrive.
                    text = NOTICE_FAILED.replace("{reference}", verdict.reference)
                    said = self._degrade(Verdict(Action.BLOCK, notice=text), event, items[-1])
                    refused[index] = msgspec.structs.replace(
                        verdict, action=said.action, masks=(), notice=said.notice)
            for each in items:
                each.verdicts = refused

    def _woke(self, at: float, world: World, out: list[Effect]) -> None:
        self._wake = None
        if self._hearing and self._state == DECODING:
            self._hear(at, world, out)
        probe = self._probe
        if self._state == PROBING and probe is not None and not probe.released:
            if probe.until is not None and probe.until <= at:
                self._undecided(at, world, out)
            elif probe.until is not None:
                self.wake_at(probe.until, out)
        elif self._state == PROBING and probe is not None and probe.since is not None:
            over = probe.since + self.kit.limits.probe_seconds
            if over <= at:
                self._give_up()
            else:
                self.wake_at(over, out)
        due = getattr(self._decoder, "due", None)
        if due is not None and self._state == DECODING:
            if due <= at:
                self._feed(Chunk(UP, at, b""), world, out)
            else:
                self.wake_at(due, out)
        for way in (UP, DOWN) if self._coded is not None else ():
            if self._coded is not None and self._coded.waits(way):
                self._read_on(self._coded, way, at, world, out)
        if self._desk is not None and self._state == DECODING:
            self._desk.woke(at, world, out)
            for item in self._desk.beside() if self._desk is not None else ():
                if item.kept and item.deadline is not None and item.deadline <= at:
                    self._store_failed(item, at, world, out)
                    if self._desk is not None:
                        self._desk.kept(item, at, world, out)
        if self._groups:
            for name, group in tuple(self._groups.items()):
                if group.until <= at and self._state == DECODING:
                    self._broken_group(name, at, world, out)
        for way in (UP, DOWN):
            for item in tuple(self._queues[way] or ()):
                if item.deadline is None or self._state != DECODING:
                    continue
                if item.deadline > at:
                    self.wake_at(item.deadline, out)
                elif item.signing:
                    self._wait_no_more(at, world, out)
                elif item.scans:
                    for index in item.scans.values():
                        item.findings[index] = "no answer in time"
                    item.scans = None
                    item.deadline = None
                    self.decide(item, at, world, out)
                elif item.kept:
                    self._store_failed(item, at, world, out)
            if self._state == DECODING:
                self.pump(way, world, out, at)

    def _wait_no_more(self, at: float, world: World, out: list[Effect]) -> None:
        """The sign-on did not come in time: the messages in front are judged without a user.

        What stands behind them may be the very login they should have waited for, so what comes after that waits anew.
        """
        waiting = True
        for item in tuple(self._queues[UP] or ()):
            if not item.signing:
                waiting = False
            elif waiting:
                item.signing = False
                item.deadline = None
                self._scan(item, at, world, out)
            else:
                item.deadline = at + self.kit.limits.sign_on_seconds
                self.wake_at(item.deadline, out)

    def _judge_unsigned(self, at: float, world: World, out: list[Effect]) -> None:
        for item in tuple(self._queues[UP] or ()):
            if item.signing and self._state == DECODING:
                item.signing = False
                item.deadline = None
                self._scan(item, at, world, out)
        if self._state == DECODING:
            self.pump(UP, world, out, at)

    def wake_at(self, at: float | None, out: list[Effect]) -> None:
        if at is not None and (self._wake is None or at < self._wake):
            self._wake = at
            out.append(WakeAt(at))

    # -- trouble

    def _fault(self, frame: Frame, left: int, world: World, out: list[Effect]) -> None:
        fault = frame.fault
        assert fault is not None
        name = "injection" if "injection" in fault.name else "malformed"
        action = self._on_trouble(name, self.kit.rules)
        action = "pass" if action == "pass" else "cut"
        self.note_trouble(name, str(fault), action, frame.at, out)
        if self.dry:
            self._resume(frame, world, out)
            return
        if action == "cut":
            self.cut(frame.at, world, out, reason=name, fault=fault)
            return
        if self._queues[frame.way]:
            self.enqueue(self._decided(frame, left))
        else:
            self.deliver(frame, (), left, world, out)
        self._resume(frame, world, out)

    def _resume(self, broken: Frame, world: World, out: list[Effect]) -> None:
        """After a fault that the policy lets pass, a fresh decoder reads on from the middle: the rest of the session
        is still inspected. Half a unit that the old one holds of the other way is handed over."""
        spec, old = self.spec, self._decoder
        assert spec is not None
        assert old is not None
        other = broken.way.other
        held = b"".join(frame.raw for frame in old.feed(Chunk(other, broken.at, b"", 1)))
        decoder = self._new_decoder(spec, msgspec.structs.replace(self.flow, from_start=False), world)
        self._decoder = decoder
        if held:
            for frame in decoder.feed(Chunk(other, broken.at, held)):
                if self._state == DECODING:
                    self._take(frame, world, out)

    def _trouble(self, name: str, detail: str, at: float, world: World, out: list[Effect]) -> None:
        """Trouble of the flow itself: the policy says what follows; an internal error always cuts."""
        action = self._on_trouble(name, self.kit.rules)
        action = "pass" if action == "pass" else "cut"
        self.note_trouble(name, detail, action, at, out)
        if action == "cut" and not self.dry:
            self.cut(at, world, out, reason=name, polite=name != "internal")

    def _on_trouble(self, name: str, rules: Rules) -> str:
        """What the policy wants; one that does not enforce lets pass what is not our own safety."""
        if name in ("internal", "injection"):
            return "cut"
        return rules.policy.on_trouble(name, self.context.protocol) if rules.policy.enforce else "pass"

    def note_trouble(
        self, name: str, detail: str, action: str, at: float, out: list[Effect], *, follows: bool = False,
    ) -> None:
        """A row of trouble. What is done about it is noticed by nobody before the row is on disk: it is a barrier, or
        (`follows`) the durable row of a verdict comes behind it. A store that fails is the exception: no row of that
        could be waited for."""
        key = (name, action)
        self._tally.troubles[key] = self._tally.troubles.get(key, 0) + 1
        row = rows.head("trouble", self._ident(), at, self.flow)
        row |= {"protocol": self.context.protocol, "user": self.context.user, "name": name, "detail": detail or None,
                "did": action}
        waits = action != "pass" and not self.dry and name != "store_failed"
        out.append(Note(0, row, needed=waits and follows, barrier=waits and not follows))

    def _oddities(self, frame: Frame, out: list[Effect]) -> None:
        for oddity in frame.oddities:
            self._count_oddity(oddity.name)
            if self._tell(oddity.name):
                row = rows.head("oddity", self._ident(), frame.at, self.flow)
                row |= {"protocol": self.context.protocol, "name": oddity.name, "detail": oddity.detail or None}
                out.append(Note(0, row))

    def _count_oddity(self, name: str) -> None:
        self._tally.oddities[name] = self._tally.oddities.get(name, 0) + 1

    def _tell(self, name: str) -> bool:
        """True the first time: each kind of oddity is one row a session, however often it is counted."""
        if self._told is None:
            self._told = set()
        if name in self._told:
            return False
        self._told.add(name)
        return True

    # -- endings

    def _splice(self, inp: Spliced, out: list[Effect]) -> None:
        for way in (UP, DOWN):
            self._queues[way] = None
            self._queued[way] = 0
        if self._state == PROBING:
            self.context.protocol = inp.protocol
        elif self._told is None or "spliced" not in self._told:
            self._tell("spliced")
            row = rows.head("oddity", self._ident(), inp.at, self.flow)
            row |= {"protocol": self.context.protocol, "name": f"{inp.protocol}.unread", "detail": inp.why}
            out.append(Note(0, row))
        self._probe = None
        self._state = PASSING

    def _close(self, inp: Closed, world: World, out: list[Effect]) -> None:
        way, coded = inp.way, self._coded
        if self._closed[way]:
            return
        if coded is not None and coded.waits(way) and self._state == DECODING:
            coded.closing[way] = True
            return
        self._closed[way] = True
        if self._state == PROBING:
            probe = self._probe
            assert probe is not None
            if probe.chunks and not probe.released:
                self._undecided(inp.at, world, out)
            elif not probe.chunks:
                # An empty file is a connection that was announced, and on which nothing was said.
                self._announced(inp.at, world)
                guess = self._by_announcement(probe)
                if guess is not None and guess.settled:
                    self._adopt(guess, world, out)
        if self._state == DECODING:
            self._feed(Chunk(way, inp.at, b"", 0, True), world, out)
            # The sign-on that messages wait for may never come now: they are judged, and logged, without a user.
            if way is DOWN:
                self._judge_unsigned(inp.at, world, out)
            if self._state == DECODING and not self._queues[way]:
                self.finish(way, world, out, inp.at)
        elif self._state != OVER:
            self.finish(way, world, out, inp.at)

    def finish(self, way: Way, world: World, out: list[Effect], at: float) -> None:
        if self._finished[way] or (self._desk is not None and self._desk.busy(way)):
            return
        self._finished[way] = True
        self._away[way] = None
        out.append(Finish(way))
        if all(self._finished):
            self._end(at, world, out)

    def cut(
        self, at: float, world: World, out: list[Effect], *, reason: str, polite: bool = True,
        fault: PeerError | None = None, verdict: Verdict | None = None,
    ) -> None:
        """End the session: the protocol's own last words to both sides, then Cut."""
        if self._state == OVER:
            return
        if self.dry:
            # A capture is only looked at: the verdict is logged, the reading goes on.
            return
        if polite and self._decoder is not None:
            words = reason
            if verdict is not None and verdict.reference:
                words = verdict.notice or f"Closed by company policy, reference {verdict.reference}."
                words = words.replace("{reference}", verdict.reference)
            for act in self._decoder.close(words, fault):
                if isinstance(act, Send) and not self._finished[act.way]:
                    out.append(act)
                elif isinstance(act, Went):
                    out.extend(went(act, sent=act.sent))
        self._end(at, world, out)
        out.append(Cut(reason))

    def _end(self, at: float, world: World, out: list[Effect]) -> None:
        if self._ended:
            return
        self._ended = True
        if self._holding is not None:
            self._holding.end(at, out)
            self._holding = None
        if self._desk is not None:
            self._desk.end(at, out)
            self._desk = None
        if self.context.user is not None and (self.spec is None or self.spec.parent is None):
            world.signed_off(self.context.user, self.flow.id, at + self.kit.limits.idle_seconds, at)
        self._share(None, at, world)
        out.append(Note(0, self.flow_row(at)))
        self._state = OVER
        self._decoder = None
        self._probe = None
        self._behind = None
        for queue in self._queues:
            for item in queue or ():
                item.group = None
        self._queues = [None, None]
        self._queued = [0, 0]
        self._groups = None
        self._away = [None, None]

    def flow_row(self, at: float, state: str = "end") -> dict[str, Any]:
        """The row of the flow itself. `at`: its end. `state` "open": while it lives, with an id of its own."""
        flow, guess = self.flow, self._guess
        row = rows.head("flow", self._ident() if state == "end" else f"{flow.id}-open", at, flow)
        named = guess if self.spec is not None else None
        row |= {
            "state": state, "opened": flow.opened, "transport": flow.transport,
            "client": {"ip": flow.client.ip, "port": flow.client.port},
            "server": {"ip": flow.server.ip, "port": flow.server.port},
            "server_name": flow.server_name, "tls": flow.tls, "listener": flow.listener,
            "community_id": community_id(flow.client, flow.server, flow.transport),
            "protocol": self.context.protocol, "application": self.context.application,
            "confidence": named.confidence if named else 0.0,
            "evidence": [
                {"rule": e.rule, "text": e.text, "points": e.points} for e in (named.evidence if named else ())
            ],
            "carried": [s.name] if (s := self.spec) is not None and (s.parent or s.carries) else [],
            "user": self.context.user, "packets": None, "bytes": self._bytes,
            "packets_to_verdict": None,
        }
        return row

    def _note_event(
        self, event: Event, frame: Frame, findings: tuple[Finding, ...], out: list[Effect], *, said: bool = True,
    ) -> str:
        """The event's row. Not `said`: no rule had a say, so it is an archive's row, with text if it is full."""
        ident = self._ident()
        text = (said or self.kit.archive != "metadata") and not self.unread()
        row = rows.of_event(event, ident, frame.at, frame.way, self.context, text=text)
        # For `privacy.text: masked`; a finding without a place means that nothing of the text may be shown.
        if findings and text and isinstance(event, Message):
            # Spans are places in the plain text: what is masked must be what was searched.
            row["text"] = rows.main_text(event)
        row["spans"] = None if any(not f.spans for f in findings) else [span for f in findings for span in f.spans]
        out.append(Note(0, row))
        if type(event) is FileOffer:
            self._offered = (*(self._offered or ()), (event, ident))
        return ident

    def _link_offers(self, world: World, at: float) -> None:
        """What was offered here may be transferred elsewhere: its row is to be found then."""
        for event, ident in self._offered or ():
            world.offers.put(offer_key(self.flow.id, event), ident, at + self.kit.limits.offer_seconds)
        self._offered = None

    def note_file(self, event: File, way: Way, at: float, out: list[Effect]) -> None:
        """The row of a file that was not judged."""
        out.append(Note(0, rows.of_event(event, self._ident(), at, way, self.context, text=not self.unread())))

    def _ident(self) -> str:
        self._n += 1
        return f"{self.flow.id}-{self._n}"


def _together(frame: Frame, dids: list[Verdict]) -> list[Action]:
    """What comes of each event: nothing of a frame is delivered when one verdict cuts, nothing of a unit of it that is
    refused, whatever was said of the rest."""
    done = [did.action for did in dids]
    if len(done) < 2:
        return done
    worst = max(done)
    if worst is Action.CUT:
        return [worst] * len(done)
    if worst < Action.HOLD or frame.units is None:
        return done
    refused: dict[int, Action] = {}
    for unit, action in zip(frame.units, done, strict=True):
        if action >= Action.HOLD:
            # What is refused with what waits is refused: a release would let it go, too.
            refused[unit] = max(action, refused.get(unit, action))
    for unit, action in zip(frame.units, done, strict=True):
        if action is Action.REDACT and refused.get(unit) is Action.HOLD:
            refused[unit] = Action.BLOCK  # as it would the words that are to be masked
    return [refused.get(unit, action) for unit, action in zip(frame.units, done, strict=True)]


def _reference(ident: str) -> str:
    """What a person quotes: eight letters and digits made from the verdict's id."""
    letters = base64.b32encode(hashlib.blake2b(ident.encode(), digest_size=5).digest()).decode()
    return f"{letters[:4]}-{letters[4:8]}"
