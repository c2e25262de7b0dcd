"""DCC SEND and CHAT: the connections that are announced on IRC.

SEND is a raw stream of bytes from the one who offered, answered by running totals of 32 bits (big-endian, modulo 2^32);
CHAT is lines. Neither says what it is: what is read here was announced (`Flow.expected`), and whatever passes on an
announced connection is content. A side that ought to acknowledge and does not is read as the sender of a file, too.

A file ends with its announced size, because some senders wait for their receiver to close; without a size it ends when
its sender closes. What comes behind the end belongs to no file: it is refused. While a file is held its sender is
acknowledged by us, and the receiver's acknowledgements are kept from then on.

Sources: the DCC draft of modern-irc; for TSEND (no acknowledgements) and reverse connections the page on reverse DCC of
visualirc.net. `Expect.key` is the type of the request (SEND, TSEND, SSEND, CHAT …); the offset of a resumed transfer is
in memory under `expect_key("dcc", address)`.

Not decoded: TLS that was not opened (SSEND, SCHAT: told, `undecryptable`); what VOICE, VIDEO and WBOARD mean by their
bytes (read as content); sizes that were announced modulo 2^32.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from inspector.model import (
    DOWN,
    FIRST,
    LAST,
    UP,
    WHOLE,
    Act,
    Action,
    Can,
    Chunk,
    Cut,
    Decoder,
    Edit,
    Encryption,
    Event,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Kind,
    Limits,
    Match,
    Memory,
    Message,
    Notice,
    Oddity,
    Opaque,
    Part,
    PeerError,
    Send,
    Spec,
    Text,
    Unreleased,
    Verdict,
    Way,
    Wordless,
    expect_key,
)
from inspector.wire import dcc
from inspector.wire.irctext import encryption_of, masked, plain_of, texts_of, wire, written
from inspector.wire.lines import Lines

ACK_BYTES = 4
SLACK_BYTES = 1 << 20
"""A capture may lack data that was acknowledged, or have it later."""
OWN_NAME = b"-inspector- "
"""In front of lines of ours: the other one must not seem to have said them."""
NO_NESTED = "dcc.no_nested"
NESTED = "Offers inside of a direct chat are not passed on; please make the offer on IRC itself."
_TLS_TYPES = frozenset({"SSEND", "SCHAT", "STSEND"})
_MODULUS = 1 << 32


def _undecryptable(flow: Flow, sender: Way | None, way: Way, data: bytes) -> bool:
    """Whether the first bytes of the one who connects are TLS that nobody opened."""
    if way is not UP or data[:2] != b"\x16\x03":
        return False
    expected = flow.expected
    return sender is not UP or (expected is not None and expected.key in _TLS_TYPES)


# -- SEND


class _Ack(msgspec.Struct, frozen=True, gc=False):
    """Of a frame with content."""

    total: int | None
    """What its sender is told when it is held; None: nothing."""


class _Side:
    """One way of a transfer."""

    __slots__ = ("content", "ended", "gap", "got", "last", "name", "offer", "offset", "rest", "started")

    def __init__(self) -> None:
        self.content = False
        """Reads as a file; else as acknowledgements."""
        self.name = ""
        self.offer = FileOffer()
        self.offset = 0
        self.got = 0
        """Bytes of content seen or lost."""
        self.started = False
        self.ended = False
        self.gap = False
        self.rest = b""
        """Bytes of an acknowledgement that is not whole."""
        self.last = 0
        """The highest total acknowledged."""


class FileDecoder(Wordless):
    """One connection of DCC SEND."""

    __slots__ = ("_acking", "_expected", "_flow", "_limits", "_memory", "_names", "_sender", "_sides", "undecryptable")

    def __init__(self, flow: Flow, limits: Limits, memory: Memory) -> None:
        self._flow = flow
        self._limits = limits
        self._memory = memory
        self._expected = flow.expected
        self._sides = (_Side(), _Side())
        self._acking = False
        """We have answered the sender: his receiver does not any more."""
        self._names = 0
        self._sender: Way | None = None
        """Who sends the announced file: the one who listens, or (reverse) the one who connects; None: not known yet."""
        if flow.expected is not None:
            self._sender = UP if flow.expected.reverse else DOWN
            self._sides[self._sender].content = True
        self.undecryptable: str | None = None

    # -- bytes to frames

    def feed(self, chunk: Chunk) -> list[Frame]:
        """Frames of content of at most `part_bytes`, never copied when they came so; acknowledgements that came
        together are one frame."""
        way, data = chunk.way, chunk.data
        side = self._sides[way]
        frames: list[Frame] = []
        if data and not side.started and not side.last and _undecryptable(self._flow, self._sender, way, data):
            self.undecryptable = "TLS that was not opened"
        if self._sender is None:
            if not data:
                return frames
            self._sender = way
            side.content = True
        if not side.content:
            data = self._acks(side, chunk, frames)
            if not data:
                return frames
            self._turn(way, side, chunk, frames)
        elif chunk.gap and not side.ended:
            self._part(way, side, chunk, b"", frames, gap=chunk.gap)
        self._content(way, side, chunk, data, frames)
        if chunk.end and side.content:
            self._close(way, side, chunk, frames)
        return frames

    def _content(self, way: Way, side: _Side, chunk: Chunk, data: bytes, frames: list[Frame]) -> None:
        most = self._limits.part_bytes
        at = 0
        while at < len(data):
            if not side.started:
                self._start(way, side, chunk, frames)
            room = self._room(side)
            if side.ended:
                self._excess(way, side, chunk, data[at:at + most], frames)
                at += most
                continue
            upto = min(len(data), at + (most if room is None else min(most, room)))
            self._part(way, side, chunk, data if upto - at == len(data) else data[at:upto], frames)
            at = upto

    def _room(self, side: _Side) -> int | None:
        """Bytes until the announced size; None where it is not known. (0 is announced by those who do not know.)"""
        size = side.offer.size
        if not size or side.offset >= size:
            return None
        return max(size - side.offset - side.got, 0)

    def _part(self, way: Way, side: _Side, chunk: Chunk, data: bytes, frames: list[Frame], gap: int = 0) -> None:
        if not side.started:
            self._start(way, side, chunk, frames)
        side.got += len(data) + gap
        side.gap = side.gap or gap > 0
        total: int | None = None
        if way is self._sender and (self._expected is None or self._expected.key != "TSEND"):
            total = (side.offset + side.got) % _MODULUS
        frames.append(Frame(
            way, chunk.at, data, "dcc.data", (FilePart(transfer=side.name, data=data, gap=gap),), note=_Ack(total)))
        if self._room(side) == 0:
            self._end(way, side, chunk, frames)

    def _start(self, way: Way, side: _Side, chunk: Chunk, frames: list[Frame]) -> None:
        side.started = True
        self._names += 1
        side.name = str(self._names)
        expected = self._expected
        if way is self._sender and expected is not None and expected.offer is not None:
            side.offer = expected.offer
            offset = self._memory.get(expect_key("dcc", expected.address), chunk.at)
            if isinstance(offset, int):
                side.offset = offset
            start = FileStart(transfer=side.name, offer=side.offer, expected=expected, offset=side.offset)
            frames.append(Frame(way, chunk.at, b"", "dcc.start", (start,)))
            return
        side.offer = self._unoffered(way)
        start = FileStart(transfer=side.name, offer=side.offer, expected=expected)
        frames.append(Frame(way, chunk.at, b"", "dcc.start", (side.offer, start)))

    def _unoffered(self, way: Way) -> FileOffer:
        """The offer that nobody made, of what comes all the same."""
        offer = self._expected.offer if self._expected is not None else None
        address = dcc.joined(self._flow.server.ip, self._flow.server.port)
        if offer is None:
            return FileOffer(method="dcc", address=address, answerable=False)
        back = way is not self._sender
        return FileOffer(
            sender=(offer.recipients[0] if offer.recipients else None) if back else offer.sender,
            recipients=((offer.sender,) if offer.sender else ()) if back else offer.recipients,
            conversation=offer.conversation, method="dcc", address=address, answerable=False)

    def _end(self, way: Way, side: _Side, chunk: Chunk, frames: list[Frame]) -> None:
        side.ended = True
        size = side.offer.size
        whole = side.offset + side.got
        detail = ""
        if side.offset:
            detail = f"resumed at {side.offset} bytes"
        elif side.gap:
            detail = "bytes are missing"
        elif size is not None and whole != size:
            detail = f"{whole} of {size} bytes"
        frames.append(Frame(
            way, chunk.at, b"", "dcc.end",
            (FileEnd(transfer=side.name, complete=not detail, detail=detail),)))

    def _excess(self, way: Way, side: _Side, chunk: Chunk, data: bytes, frames: list[Frame]) -> None:
        """More than was announced, behind the end: of a transfer that never began, so it is refused."""
        part = FilePart(transfer=f"{side.name}+", data=data)
        frames.append(Frame(
            way, chunk.at, data, "dcc.excess", (part,), (Oddity("dcc.excess"),), note=_Ack(None)))

    def _close(self, way: Way, side: _Side, chunk: Chunk, frames: list[Frame]) -> None:
        if not side.started and way is self._sender:
            self._start(way, side, chunk, frames)
        if side.started and not side.ended:
            self._end(way, side, chunk, frames)

    # -- the other way

    def _acks(self, side: _Side, chunk: Chunk, frames: list[Frame]) -> bytes:
        """Frames of acknowledgements; what is left is none, and what it is instead is content."""
        if chunk.gap:
            side.gap = True
            self._quiet(side, chunk, frames)
        data = side.rest + chunk.data
        side.rest = b""
        upto = 0
        if side.gap:
            upto = len(data)  # where one begins is not known any more
        else:
            most = self._plausible()
            while upto + ACK_BYTES <= len(data):
                total = int.from_bytes(data[upto:upto + ACK_BYTES])
                if total and most is not None and not side.last <= total <= most:
                    break
                side.last = max(side.last, total)
                upto += ACK_BYTES
        step = self._limits.part_bytes
        for at in range(0, upto, step):
            frames.append(Frame(chunk.way, chunk.at, data[at:min(at + step, upto)], "dcc.ack"))
        rest = data[upto:]
        assert self._sender is not None
        if len(rest) >= ACK_BYTES or (rest and chunk.end and not self._sides[self._sender].started):
            return rest
        side.rest = rest
        if chunk.end:
            self._quiet(side, chunk, frames)
        return b""

    def _quiet(self, side: _Side, chunk: Chunk, frames: list[Frame]) -> None:
        if side.rest:
            frames.append(Frame(chunk.way, chunk.at, side.rest, "dcc.ack", oddities=(Oddity("dcc.cut_ack"),)))
            side.rest = b""

    def _plausible(self) -> int | None:
        """The highest total that may be acknowledged; None: they have begun anew at 0, or have 64 bits."""
        assert self._sender is not None
        sent = self._sides[self._sender]
        seen = sent.offset + sent.got
        if self._flow.file is not None:
            offer = self._expected.offer if self._expected is not None else None
            seen = max(seen, (offer.size if offer is not None else None) or 0) + SLACK_BYTES
        return None if seen >= _MODULUS else seen

    def _turn(self, way: Way, side: _Side, chunk: Chunk, frames: list[Frame]) -> None:
        """What ought to be acknowledgements is content: the announced file from the wrong end, or one of its own."""
        assert self._sender is not None
        side.content = True
        if self._sides[self._sender].started:
            name = "dcc.both_ways"
        else:
            name = "dcc.wrong_way"
            self._sides[self._sender].content = False
            self._sender = way
        frames.append(Frame(way, chunk.at, b"", "dcc.turned", oddities=(Oddity(name),)))

    def pending(self, way: Way) -> int:
        """Bytes of an acknowledgement that is not whole yet."""
        return len(self._sides[way].rest)

    # -- verdicts to bytes

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """Content as it came, with our own acknowledgement while it is held; a refusal ends the connection."""
        worst = max((verdict.action for verdict in verdicts), default=Action.PASS)
        if worst >= Action.BLOCK:
            return [Cut("a file was refused")]
        if not frame.raw or (frame.kind == "dcc.ack" and self._acking):
            return []
        acts: list[Act] = [Send(frame.way, frame.raw)]
        note = frame.note
        if worst is Action.HOLD and type(note) is _Ack and note.total is not None:
            self._acking = True
            acts.append(Send(frame.way.other, note.total.to_bytes(ACK_BYTES)))
        return acts


# -- CHAT


class ChatDecoder(Unreleased):
    """One connection of DCC CHAT: lines of two people."""

    __slots__ = (
        "_armoured", "_conversation", "_dropping", "_edits", "_flow", "_lines", "_opened", "_own", "_partway",
        "_people", "undecryptable",
    )

    def __init__(
        self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str], expected: Expect, offer: FileOffer,
    ) -> None:
        self._flow = flow
        self._edits = edits
        self._lines = (Lines(limits.dcc_line_bytes), Lines(limits.dcc_line_bytes))
        self._conversation = offer.conversation
        offerer = UP if expected.reverse else DOWN
        other = offer.recipients[0] if offer.recipients else None
        self._people: tuple[str | None, str | None] = (
            (offer.sender, other) if offerer is UP else (other, offer.sender))
        """Who speaks UP, who DOWN."""
        ends = (("connector", UP), ("listener", DOWN))
        self._own = frozenset(
            way for end, way in ends if memory.get(f"dcc:{end}:{expected.address}", flow.opened) is not None
        ) or frozenset((offerer if offer.answerable else offerer.other,))
        """The ways that users of ours speak: theirs are the sessions in which the chat was arranged."""
        self._armoured = [False, False]
        self._dropping = [False, False]
        self._partway = [False, False]
        self._opened = [False, False]
        self.undecryptable: str | None = None

    # -- bytes to frames

    def feed(self, chunk: Chunk) -> list[Frame]:
        """A frame a line; a line longer than `dcc_line_bytes` comes in parts, each read for itself."""
        way, lines = chunk.way, self._lines[chunk.way]
        frames: list[Frame] = []
        if chunk.data and not self._opened[way]:
            self._opened[way] = True
            if _undecryptable(self._flow, None, way, chunk.data):
                self.undecryptable = "TLS that was not opened"
        if chunk.gap:
            rest = lines.flush()
            if rest is not None:
                frames.append(self._line(chunk, *rest, Oddity("dcc.partial_line")))
        frames += [self._line(chunk, raw, part) for raw, part in lines.feed(chunk.data)]
        if chunk.end:
            rest = lines.flush()
            if rest is not None:
                frames.append(self._line(chunk, *rest, Oddity("dcc.unended_line")))
        return frames

    def _line(self, chunk: Chunk, raw: bytes, part: Part, *oddities: Oddity) -> Frame:
        way, at = chunk.way, chunk.at
        if part is FIRST:
            oddities = (*oddities, Oddity("dcc.endless_line"))
        end = len(raw)
        while end and raw[end - 1] in b"\r\n":
            end -= 1
        start = 0
        kind: Kind = "chat"
        verb = ""
        if raw[:1] == b"\x01":
            name, _, rest = raw[1:end].partition(b" ")
            verb = name.rstrip(b"\x01").decode("latin-1").upper()
            start = end - len(rest)
            kind = "action" if verb == "ACTION" else kind
            if end > start and raw[end - 1] == 1:
                end -= 1
        data = raw[start:end]
        texts = texts_of("body", data)
        if part != WHOLE:
            texts = tuple(msgspec.structs.replace(text, editable=False) for text in texts)
        place = (start, end)
        speaker, hearer = self._people[way], self._people[way.other]
        recipients = (hearer,) if hearer is not None else ()
        answerable = way in self._own
        event: Event
        edit = None
        if verb == "DCC":
            edit = NO_NESTED if NO_NESTED in self._edits else None
            return self._nested(chunk, raw, data, part, oddities, edit)
        if verb and verb != "ACTION":
            word = verb.lower() if verb.isalnum() and verb.isascii() and len(verb) <= 16 else "unknown"
            event = Opaque(
                kind=f"ctcp.{word}", sender=speaker, recipients=recipients, texts=texts, answerable=answerable,
                personal=True)
        elif texts:
            event = Message(
                kind=kind, sender=speaker, recipients=recipients, conversation=self._conversation, texts=texts,
                encryption=self._cipher(way, texts[0].plain), written=written(data, texts), answerable=answerable)
        else:
            return Frame(way, at, raw, "dcc.line", oddities=oddities, part=part)
        return Frame(way, at, raw, "dcc.line", (event,), oddities, part, note=place)

    def _nested(
        self, chunk: Chunk, raw: bytes, data: bytes, part: Part, oddities: tuple[Oddity, ...], edit: str | None,
    ) -> Frame:
        """An offer inside of the chat."""
        way = chunk.way
        request = dcc.parse(data)
        speaker, hearer = self._people[way], self._people[way.other]
        chat = request.type in ("CHAT", "SCHAT")
        host, port = request.host, request.port
        texts = (Text("file_name", request.name, None, False),) if request.name and not chat else ()
        offer = FileOffer(
            sender=speaker, recipients=(hearer,) if hearer is not None else (), conversation=self._conversation,
            file_name="" if chat else request.name, size=request.size, method="dcc_chat" if chat else "dcc",
            address=dcc.joined(host, port) if host is not None and port else None, id=request.token,
            texts=texts or ((Text("file_name", plain_of(data), None, False),) if plain_of(data) else ()),
            answerable=way in self._own)
        expect = None
        if offer.address is not None:
            expected = self._flow.expected
            expect = Expect(
                offer.address, "dcc", expected.by if expected else None, request.type, offer,
                expected.flow if expected else None, expected.identity if expected else "unknown")
        return Frame(
            way, chunk.at, raw, "dcc.line", (offer,), (*oddities, Oddity("dcc.nested_offer")), part, edit=edit,
            note=expect)

    def _cipher(self, way: Way, plain: str) -> Encryption:
        if self._armoured[way]:
            self._armoured[way] = not plain.startswith("-----END PGP")
            return Encryption("metadata", "openpgp")
        encryption = encryption_of(plain)
        self._armoured[way] = encryption.scheme == "openpgp"
        return encryption

    def pending(self, way: Way) -> int:
        """Bytes held that are not yet a line."""
        return self._lines[way].pending

    # -- verdicts to bytes

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """The line as it is, masked, replaced or gone; and what its writer is told."""
        way = frame.way
        verdict = verdicts[0] if verdicts else None
        acts: list[Act] = []
        if frame.edit is not None:
            self._dropping[way] = frame.part in (FIRST, "more")
            acts.append(Send(way.other, OWN_NAME + wire(NESTED) + b"\n"))
            return acts
        out: bytes | None = frame.raw
        if verdict is not None and verdict.action >= Action.REDACT:
            out = self._changed(frame, verdict)
        if frame.part == WHOLE:
            if out is not None:
                acts.append(Send(way, out))
        else:
            acts += self._piece(frame, out)
        if verdict is not None and verdict.notice and verdict.action is not Action.PASS:
            acts.append(Send(way.other, OWN_NAME + wire(verdict.notice) + b"\n"))
        if out is frame.raw and isinstance(frame.note, Expect):
            acts.append(frame.note)
        return acts

    def _piece(self, frame: Frame, out: bytes | None) -> list[Act]:
        """A part of a long line: behind a refused part nothing of it follows; what of it was sent gets its end."""
        way = frame.way
        if out is None:
            self._dropping[way] = True
        acts: list[Act] = []
        if not self._dropping[way]:
            acts.append(Send(way, out or b""))
            self._partway[way] = frame.part != LAST
        elif frame.part == LAST:
            if self._partway[way]:
                acts.append(Send(way, b"\n"))
            self._partway[way] = False
        if frame.part == LAST:
            self._dropping[way] = False
        return acts

    def _changed(self, frame: Frame, verdict: Verdict) -> bytes | None:
        raw = frame.raw
        if verdict.action is Action.REDACT and type(frame.note) is tuple and all(m[0] == 0 for m in verdict.masks):
            start, end = frame.note
            return raw[:start] + masked(raw[start:end], [(a, b) for _, a, b in verdict.masks]) + raw[end:]
        if verdict.placeholder and frame.part == WHOLE and not isinstance(frame.note, Expect):
            end = len(raw.rstrip(b"\r\n"))
            return wire(verdict.placeholder) + (raw[end:] or b"\n")
        return None

    def ready(self, way: Way) -> bool:
        """Not inside of a line that is passed on in parts."""
        return not self._partway[way]

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """A line of ours."""
        return [Send(way, OWN_NAME + wire(message.text) + b"\n")]

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """A last line to users of ours."""
        del fault
        line = OWN_NAME + (wire(reason) or b"Closed") + b"\n"
        return [
            Send(way, b"\n" + line if self._partway[way] else line)
            for way in (UP, DOWN) if way.other in self._own
        ]


def decoder(flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> Decoder:
    """The decoder of what was announced; what nobody announced is read as a file."""
    expected = flow.expected
    if expected is not None and expected.offer is not None and expected.offer.method == "dcc_chat":
        return ChatDecoder(flow, limits, memory, edits, expected, expected.offer)
    return FileDecoder(flow, limits, memory)


def probe(up: bytes, down: bytes) -> Match:
    """Its bytes say nothing: it is read where it was announced."""
    del up, down
    return Match.NO


SPEC = Spec(
    name="dcc",
    title="DCC",
    probe=probe,
    decoder=decoder,
    signs_on=False,
    can={
        "message": Can(drop=True, mask=True, placeholder=True, notify=True, hold=True, inject=True),
        "opaque": Can(drop=True, mask=True, notify=True),
        "file": Can(drop=True, notify=True),
    },
    edits=(Edit(NO_NESTED, "an offer inside of a DCC CHAT is not passed on: its connection would not be ours to see"),),
    not_decoded=("TLS that was not opened", "the meaning of VOICE, VIDEO and WBOARD", "sizes modulo 2^32"),
    parent="irc",
    expected_only=True,
)
