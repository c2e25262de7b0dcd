"""SOCKS5 bytestreams of XMPP (XEP-0065): one file over a connection that begins like SOCKS5.

Only what XEP-0065 makes of SOCKS5 is ours: no authentication, CONNECT to a name of 40 hexadecimal digits (SHA-1 of the
stream's id and both JIDs) at port 0. Then the connection is the file's bytes, nothing else (RFC 1928, XEP-0065 5.3 and
6.3; the fact sheet on XMPP, section 8).

Who sends the file cannot be seen in the handshake: it may be the one who listens, and where a proxy stands between them
sender and receiver both connect, with the same name. So the way that speaks first is the announced file's; bytes of the
other way are another one, that nobody announced. A file ends at the announced size (senders wait for their receiver to
close, who waits for the file), else where its way ends. What comes behind the announced size is a fault: the file was
judged without it.

Not decoded: SOCKS5 for anything else, UDP associations (mode='udp'), authentication between client and proxy.
"""

from __future__ import annotations

from collections.abc import Sequence

from inspector.model import (
    BROKEN,
    UP,
    Act,
    Action,
    Can,
    Chunk,
    Cut,
    Event,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Limits,
    Match,
    Memory,
    Oddity,
    PeerError,
    Send,
    Spec,
    Verdict,
    Way,
    Wordless,
    expect_key,
)

REQUEST = b"\x05\x01\x00\x03\x28"
"""CONNECT to a name of 40 characters."""
_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_REPLIES = ("", "failed", "not_allowed", "no_network", "no_host", "refused", "expired", "command", "address_type")
_HELLO, _ASK, _CONTENT, _OVER, _DEAD = range(5)
"""Where a way is: before the greeting (the choice of method), before the request (the reply), in the file, behind it,
behind a fault."""


def _is_hash(name: bytes) -> bool:
    return len(name) == 40 and _DIGITS.issuperset(name)


def _greeting(up: bytes) -> int:
    """Length of the client's greeting; 0: not whole yet; -1: none."""
    if up[:1] != b"\x05":
        return -1 if up else 0
    if len(up) < 2:
        return 0
    if not up[1]:
        return -1
    size = 2 + up[1]
    if len(up) < size:
        return 0
    return size if 0 in up[2:size] else -1


def probe(up: bytes, down: bytes) -> Match:
    """STRONG only once the request is seen: ordinary SOCKS5 begins with the same bytes."""
    if not up:
        return Match.MORE if not down else Match.NO
    size = _greeting(up)
    if size <= 0:
        return Match.MORE if not size else Match.NO
    ask = up[size:size + 47]
    if not REQUEST.startswith(ask[:5]) or not _DIGITS.issuperset(ask[5:45]) or not b"\0\0".startswith(ask[45:47]):
        return Match.NO
    if not b"\x05\x00".startswith(down[:2]):
        return Match.NO
    return Match.STRONG if len(ask) == 47 else Match.MORE


class _File:
    """The file of one way."""

    __slots__ = ("lost", "offer", "seen", "transfer")

    def __init__(self, transfer: str, offer: FileOffer) -> None:
        self.transfer = transfer
        self.offer = offer
        self.seen = 0
        self.lost = False
        """Bytes are missing: by a gap, or because the connection was joined in its middle."""


class BytestreamDecoder(Wordless):
    """One connection of a SOCKS5 bytestream, whichever side sends."""

    __slots__ = ("_ended", "_expected", "_files", "_flow", "_held", "_key", "_limits", "_memory", "_refused", "_state")

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        del edits
        self._flow = flow
        self._limits = limits
        self._memory = memory
        self._expected: Expect | None = flow.expected
        self._key: str | None = None
        """The name asked for, lower case."""
        self._held = (bytearray(), bytearray())
        start = _HELLO if flow.from_start else _CONTENT
        self._state = [start, start]
        self._files: list[_File | None] = [None, None]
        self._ended = [False, False]
        self._refused = False

    # -- bytes to frames

    def feed(self, chunk: Chunk) -> list[Frame]:
        """Frames of the handshake, then parts of the file as they come."""
        way, at, data = chunk.way, chunk.at, chunk.data
        frames: list[Frame] = []
        state = self._state[way]
        if state < _CONTENT:
            if chunk.gap:
                self._lose(way, at, frames)
            elif data:
                held = self._held[way]
                held += data
                data = self._shake(way, at, frames)
            state = self._state[way]
        if state == _CONTENT and (data or (chunk.gap and self._files[way] is not None)):
            self._content(way, at, data, chunk.gap, frames)
        elif data and state == _OVER:
            frames.append(self._fault(way, at, data, "excess", "more came than the size that was announced"))
        elif data and state == _DEAD:
            frames.append(Frame(way, at, data, "bytestream.unread", oddities=(Oddity("bytestream.unread"),)))
        if chunk.end and not self._ended[way]:
            self._end(way, at, frames)
        return self._bounded(frames)

    def _bounded(self, frames: list[Frame]) -> list[Frame]:
        """Bytes that are not read, in parts that are not too long."""
        size = self._limits.part_bytes
        if not frames or frames[-1].kind != "bytestream.unread" or len(frames[-1].raw) <= size:
            return frames
        last = frames.pop()
        for start in range(0, len(last.raw), size):
            frames.append(Frame(last.way, last.at, last.raw[start:start + size], last.kind, oddities=last.oddities))
        return frames

    def _fault(self, way: Way, at: float, raw: bytes, name: str, detail: str) -> Frame:
        self._state[way] = _DEAD
        return Frame(way, at, raw, BROKEN, fault=PeerError(f"bytestream.{name}", detail))

    def _lose(self, way: Way, at: float, frames: list[Frame]) -> None:
        """Bytes of the handshake were lost: what follows is the file, as far as can be told."""
        held = self._held[way]
        if held:
            frames.append(Frame(way, at, bytes(held), "bytestream.damaged", oddities=(Oddity("bytestream.damaged"),)))
            held.clear()
        self._state[way] = _CONTENT

    def _shake(self, way: Way, at: float, frames: list[Frame]) -> bytes:
        """As much of the handshake as is whole; returns what of the file came with its end."""
        held = self._held[way]
        while held and self._state[way] < _CONTENT:
            unit = self._unit(way, bytes(held[:300]))
            if isinstance(unit, PeerError):
                raw = bytes(held)
                held.clear()
                self._state[way] = _DEAD
                frames.append(Frame(way, at, raw, BROKEN, fault=unit))
                return b""
            size, kind, oddities = unit
            if not size:
                return b""
            frames.append(Frame(way, at, bytes(held[:size]), f"bytestream.{kind}", oddities=oddities))
            del held[:size]
            self._state[way] += 1
            if kind == "refused":
                self._state[way] = _OVER
        rest = bytes(held)
        held.clear()
        return rest

    def _unit(self, way: Way, data: bytes) -> tuple[int, str, tuple[Oddity, ...]] | PeerError:
        """(length, kind, oddities) of the handshake's next unit of a way; length 0: it is not whole."""
        if self._state[way] == _HELLO:
            return self._greet(data) if way is UP else self._method(data)
        return self._request(data) if way is UP else self._reply(data)

    def _greet(self, data: bytes) -> tuple[int, str, tuple[Oddity, ...]] | PeerError:
        size = _greeting(data)
        if size < 0:
            return PeerError("bytestream.greeting", "not a SOCKS5 greeting that offers no authentication")
        return size, "greeting", ()

    def _method(self, data: bytes) -> tuple[int, str, tuple[Oddity, ...]] | PeerError:
        if data[0] != 5:
            return PeerError("bytestream.method", "not a choice of SOCKS5")
        if len(data) < 2:
            return 0, "", ()
        if data[1] == 0xFF:
            return 2, "refused", (Oddity("bytestream.refused", "no acceptable method"),)
        if data[1]:
            return PeerError("bytestream.method", f"method {data[1]}: XEP-0065 knows no authentication")
        return 2, "method", ()

    def _request(self, data: bytes) -> tuple[int, str, tuple[Oddity, ...]] | PeerError:
        if not REQUEST.startswith(data[:5]) or not _DIGITS.issuperset(data[5:45]) or data[45:47].strip(b"\0"):
            return PeerError("bytestream.request", "not CONNECT to 40 hexadecimal digits at port 0")
        if len(data) < 47:
            return 0, "", ()
        self._key = data[5:45].decode().lower()
        return 47, "request", ()

    def _reply(self, data: bytes) -> tuple[int, str, tuple[Oddity, ...]] | PeerError:
        """The reply (RFC 1928 6): it should repeat the name; servers that give an address of theirs are told."""
        if data[0] != 5 or (len(data) > 1 and data[1] > 8) or (len(data) > 2 and data[2]):
            return PeerError("bytestream.reply", "not a reply of SOCKS5")
        if len(data) < 5:
            return 0, "", ()
        sizes = {1: 10, 3: 7 + data[4], 4: 22}
        if data[3] not in sizes:
            return PeerError("bytestream.reply", f"address type {data[3]}")
        size = sizes[data[3]]
        if len(data) < size:
            return 0, "", ()
        if data[1]:
            return size, "refused", (Oddity("bytestream.refused", _REPLIES[data[1]]),)
        name = data[5:size - 2].lower() if data[3] == 3 else b""
        if self._key is not None and name != self._key.encode():
            return size, "reply", (Oddity("bytestream.reply_address", "the reply does not repeat the name"),)
        return size, "reply", ()

    # -- the file

    def _start(self, way: Way, at: float, frames: list[Frame]) -> _File:
        """The way speaks: what it says is the announced file, or one that nobody announced."""
        expected = None if any(self._files) else self._announced(at)
        events: tuple[Event, ...]
        if expected is not None and expected.offer is not None:
            file = _File(f"{'ud'[way]}0", expected.offer)
            events = (FileStart(transfer=file.transfer, offer=file.offer, expected=expected),)
        else:
            offer = FileOffer(
                method="s5b", address=f"{self._flow.server.ip}:{self._flow.server.port}", id=self._key,
                answerable=False,
            )
            file = _File(f"{'ud'[way]}0", offer)
            events = (offer, FileStart(transfer=file.transfer, offer=offer, expected=expected))
        file.lost = not self._flow.from_start
        self._files[way] = file
        frames.append(Frame(way, at, b"", "bytestream.start", events))
        return file

    def _announced(self, at: float) -> Expect | None:
        """What announced this connection: by its name, else by its address where no name contradicts."""
        if self._key is not None:
            known = self._memory.get(expect_key("bytestream", self._key), at)
            if isinstance(known, Expect):
                return known
        expected = self._expected
        if expected is None or self._key is None or expected.key is None or expected.key.lower() == self._key:
            return expected
        return None

    def _content(self, way: Way, at: float, data: bytes, gap: int, frames: list[Frame]) -> None:
        file = self._files[way] or self._start(way, at, frames)
        if gap:
            file.lost = True
            file.seen += gap
        # A size of nothing is no size: whatever comes is told, to its end, as more than was announced.
        size = file.offer.size or None
        keep = len(data) if size is None else max(0, min(len(data), size - file.seen))
        part = self._limits.part_bytes
        for start in range(0, keep, part):
            piece = data if keep == len(data) <= part else data[start:min(start + part, keep)]
            event = FilePart(transfer=file.transfer, data=piece, gap=gap)
            gap = 0
            frames.append(Frame(way, at, piece, "bytestream.data", (event,)))
        file.seen += keep
        if gap:
            event = FilePart(transfer=file.transfer, data=b"", gap=gap)
            frames.append(Frame(way, at, b"", "bytestream.data", (event,)))
        if size is not None and file.seen >= size:
            self._state[way] = _OVER
            frames.append(self._ending(way, at, file))
            if keep < len(data):
                frames.append(
                    self._fault(way, at, data[keep:], "excess", "more came than the size that was announced"))

    def _ending(self, way: Way, at: float, file: _File) -> Frame:
        size = file.offer.size
        if file.lost:
            detail = "bytes are missing"
        elif size is not None and file.seen != size:
            detail = f"{file.seen} bytes came, {size} were announced"
        else:
            detail = ""
        event = FileEnd(transfer=file.transfer, complete=not detail, detail=detail)
        return Frame(way, at, b"", "bytestream.end", (event,))

    def _end(self, way: Way, at: float, frames: list[Frame]) -> None:
        self._ended[way] = True
        held = self._held[way]
        if held:
            frames.append(Frame(way, at, bytes(held), "bytestream.damaged", oddities=(Oddity("bytestream.damaged"),)))
            held.clear()
        file = self._files[way]
        if file is not None and self._state[way] == _CONTENT:
            frames.append(self._ending(way, at, file))
            self._state[way] = _OVER

    def pending(self, way: Way) -> int:
        """Bytes of the handshake held."""
        return len(self._held[way])

    # -- frames to bytes

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """A refusal ends the connection, there are no words for it; after it nothing more is sent."""
        if self._refused:
            return []
        if any(verdict.action >= Action.BLOCK for verdict in verdicts):
            self._refused = True
            return [Cut("the file was refused")]
        return [Send(frame.way, frame.raw)] if frame.raw else []


SPEC = Spec(
    name="bytestream",
    title="SOCKS5 bytestream (XEP-0065)",
    probe=probe,
    decoder=BytestreamDecoder,
    signs_on=False,
    can={"file": Can(drop=True, hold=True)},
    not_decoded=("SOCKS5 for anything else", "UDP associations", "authentication between client and proxy"),
    parent="xmpp",
)
