"""OSCAR, the protocol of AIM 1 to 7 and ICQ 2000 and later, over TCP.

A stream is a row of FLAP frames (0x2A, channel, number, length); channel 2 carries SNACs (family, subtype, flags,
request id). Integers are big-endian, those inside ICQ's own blocks (family 0x15, ICBM channel 4, server relay)
little-endian. Sources: the fact sheet on OSCAR, whose sections are named where they matter ("sheet 7.2"), drawn
from captures, clients and servers; its makers never published all of it.

Frames are numbered in each direction without a hole, so taking one out or putting one in renumbers all that follow. A
frame of ours is numbered when it is sent: while frames of that way are still with the engine, what we have to say waits
in `_owed` and leaves behind the last of them, in the same list of acts.

Identity: a name given in a login is claimed; 01/0F (self info), a login that was answered with a cookie, and a
connection that begins with a cookie we saw issued are authenticated.

Never in an event: passwords, digests, cookies of a login (only a hash of them is remembered).

Not decoded: TOC and OSCAR inside HTTP (told, `undecryptable`), the login by web pages of AIM 6.2 and later (what
follows it is read, its user known from 01/0F), side connections of ICQ clients (those of AIM are oft.py's), icons,
directory and white-pages searches, advertisements, the words of an RTF message as such.
"""

from __future__ import annotations

import hashlib
import html
import ipaddress
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from inspector.model import (
    BROKEN,
    CLEAR,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    CallSetup,
    Can,
    Chunk,
    ContactChange,
    Copy,
    Edit,
    Encryption,
    Event,
    Expect,
    FileOffer,
    Flow,
    Frame,
    GroupChange,
    Identity,
    Kind,
    Limits,
    Match,
    Memory,
    Message,
    Notice,
    Oddity,
    Opaque,
    PeerError,
    Presence,
    Send,
    SignOn,
    Spec,
    Text,
    Typing,
    Unreleased,
    Verdict,
    Way,
    expect_key,
)
from inspector.wire import htmltext, markup
from inspector.wire.htmltext import UTF16, decode, encode, otherwise, scalars
from inspector.wire.patterns import HTML_TAG
from inspector.wire.tlv import Change, Length, Tlv, first, pack, rewrite, string8, string16, walk, walk_counted

_FLAP = struct.Struct(">BBHH")
_SNAC = struct.Struct(">HHHI")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_L16 = struct.Struct("<H")
_L32 = struct.Struct("<I")

STAR = 0x2A
HELLO, DATA, ERROR, CLOSE, KEEP_ALIVE = 1, 2, 3, 4, 5
"""Channels of FLAP."""
FLAP_LENGTH: Length = (4, 2)
NAME = b"policy-gateway"
"""Who notices of ours come from. No account can have a `-` in its name, so nobody can write in our name, and an answer
is returned by the server."""
DROP_LYING = "oscar.drop_lying"
KEEP_PATH = "oscar.keep_path"
DENIED = 0x000D
"""Error code of a refusal: request denied."""
OWED = 32
"""Frames of ours that wait; a client that makes more be owed has its later ones dropped."""
CANCEL_SECONDS = 10.0
"""One cancel in so long is sent up, at most: the client's sending is limited by the server, and these are counted."""
ARS_PORT = 5190
"""Where AOL's relay of side connections listens; a proposal names only its address."""
BLOCKS = 16
"""Blocks of one message that are read, but for plain texts, which all are; no client writes two."""
TEXTS = 64
"""Texts of one event that are told apart."""
PLACES = 4
"""Addresses of one proposal that are expected: clients and server write three, and we know where the client is."""
LINKS = 32
"""Links of one text that are told."""
PLACEHOLDER_BYTES = 1000
WINDOW = 0x1000
"""Frames that a gap may have swallowed, at most, for a number to tell that the next ones follow."""

_FAMILIES = frozenset({*range(0x01, 0x0C), 0x0D, 0x0E, 0x0F, 0x10, 0x13, 0x15, 0x17, 0x18, 0x22, 0x25})
_SUBTYPES = 0x40
_ICBM_OUT, _ICBM_IN = 0x00040006, 0x00040007


def _guid(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))


_SERVICES = {
    _guid(f"0946{short}-4C7F-11D1-8222-444553540000"): name for short, name in (
        ("1341", "talk"), ("1343", "send_file"), ("1344", "icq_direct"), ("1345", "direct_im"), ("1346", "icon"),
        ("1347", "add_ins"), ("1348", "get_file"), ("1349", "relay"), ("134A", "games"), ("134B", "contacts"),
        ("0001", "secureim"), ("0100", "video"), ("0101", "video"), ("0102", "video"), ("F004", "screen"),
    )
} | {
    _guid("09460105-4C7F-11D1-8222-444545535400"): "video",
    _guid("748F2420-6287-11D1-8222-444553540000"): "chat",
    _guid("F2E7C7F4-FEAD-4DFB-B235-36798BDF0000"): "trilliancrypt",
}
_ONCE = frozenset({0x02, 0x03, 0x04, 0x05, 0x0A, 0x0D, 0x10, 0x16, 0x17, 0x2711, 0x2712})
"""What a proposal says once: addresses, port, stage, a charset, that it is proxied, the service's own data, that one's
charset."""
_UTF8_GUID = b"{0946134E-"
_RTF_GUID = b"{97B12751-"
_ICQ_STATES = ((0x0001, "away"), (0x0002, "dnd"), (0x0004, "away"), (0x0010, "busy"), (0x0020, "free_for_chat"))
_TYPING = {0: "active", 1: "paused", 2: "composing", 0x0F: "gone"}
_FIELD = 0xFE
"""Between the fields of an old ICQ message."""


# -- texts in their charsets


def _decoded(data: bytes, codec: str) -> str:
    return data.decode(codec, "surrogatepass" if codec == UTF16 else "strict")


_CHARSETS = {"unicode-2-0": 2, "utf-16be": 2, "iso-8859-1": 3, "utf-8": 0x0D, "us-ascii": 0}


def _charset_of(name: bytes) -> int:
    """A charset by its name, or by the parameter of a MIME type (`text/aolrtf; charset="unicode-2-0"`)."""
    word = name.decode("latin-1").lower().rpartition("charset=")[2].strip(' "\0')
    return _CHARSETS.get(word, 0)


def name_of(data: bytes) -> str:
    """A screen name for comparing: without blanks, lower case (sheet 6)."""
    try:
        name = data.decode()
    except UnicodeDecodeError:
        name = data.decode("latin-1")
    return scalars("".join(name.split()).lower().replace("\0", ""))


class _Piece(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a text that lie together."""

    start: int
    end: int
    codec: str
    lengths: tuple[Length, ...]
    """The length fields that enclose it, beside FLAP's."""
    charset: int = -1
    """Where its 16-bit charset stands; -1: nowhere."""


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where a text lies, and how it is written there."""

    pieces: tuple[_Piece, ...]
    form: str = "plain"
    """plain, html, or value (of an attribute, at `window` of the joined pieces)."""
    window: tuple[int, int] = (0, 0)

    def units(self, text: str) -> list[markup.Unit]:
        """Each character of the plain text with its place in the joined pieces."""
        if self.form == "html":
            return markup.units(text)
        if self.form == "value":
            return markup.units_of_value(text, *self.window)
        return [(char, i, i + 1) for i, char in enumerate(text) if char != "\0"]


_How = str | tuple[int, int, tuple[Length, ...]]
"""What a refusal of an event does: "drop" the frame, "strip" the event's words, or cut out this part of the frame, with
the lengths that enclose it."""


class _Path(msgspec.Struct, frozen=True, gc=False):
    """Where a frame says at which address a connection is to be made (sheet 5.2, 7.3)."""

    reader: Way
    """Who will make it: DOWN our client, UP somebody behind the server."""
    expect: Expect
    """What is to be leased for it."""
    names: tuple[tuple[int, int], ...] = ()
    """Values that are "host:port" in words."""
    hosts: tuple[tuple[int, int], ...] = ()
    """(offset, what each byte is XORed with) of IPv4 addresses."""
    ports: tuple[tuple[int, int], ...] = ()
    """The same of 16-bit ports."""
    certificate: str = ""
    """The name that the server's certificate will have, where the frame does not say it."""


class _Offered(msgspec.Struct, frozen=True):
    """A rendezvous proposal that was passed on."""

    event: FileOffer
    answer: tuple[bytes, bytes, bytes, int]
    """What a cancel of it says: `_Case.offer`."""


class _Case:
    """A frame on its way from bytes to events, and what `apply` needs to know of it."""

    __slots__ = (
        "at", "body", "end", "events", "expects", "family", "flags", "gone", "how", "lying", "many", "oddities",
        "offer", "offered", "path", "places", "raw", "request", "sub", "way",
    )

    def __init__(self, way: Way, at: float, raw: bytes) -> None:
        self.way = way
        self.at = at
        self.raw = raw
        self.body = 6
        self.end = len(raw)
        self.family = self.sub = self.flags = self.request = 0
        self.events: list[Event] = []
        self.places: list[tuple[_Place | None, ...]] = []
        self.how: list[_How] = []
        self.oddities: list[Oddity] = []
        self.expects: list[Expect] = []
        self.lying = False
        """A length leads out of what encloses it: readers may disagree about what it says."""
        self.many = False
        """It says more than is read: nothing of it is believed."""
        self.offer: tuple[bytes, bytes, bytes, int] | None = None
        """(cookie, service, peer's name, request number) of a rendezvous proposal."""
        self.path: _Path | None = None
        self.offered: tuple[_OfferKey, _Offered] | None = None
        """What is to be remembered when the frame is passed on."""
        self.gone: _OfferKey | None = None
        """The proposal that this frame ends."""

    def add(self, event: Event, places: Sequence[_Place | None] = (), how: _How = "drop") -> None:
        self.events.append(event)
        self.places.append(tuple(places))
        self.how.append(how)

    def odd(self, name: str, detail: str = "") -> None:
        self.oddities.append(Oddity(f"oscar.{name}", detail))

    def lie(self) -> None:
        if not self.lying:
            self.lying = True
            self.odd("lying_length", f"SNAC {self.family:04x}/{self.sub:04x}")

    def u16(self, at: int) -> int:
        return self.raw[at] << 8 | self.raw[at + 1]

    def walk(self, at: int, end: int) -> list[Tlv]:
        """A list that should fill the frame's bytes to `end`."""
        tlvs, true = walk(self.raw, at, end)
        if not true:
            self.lie()
        return tlvs

    def rest(self, start: int, at: int, end: int) -> tuple[tuple[Text, ...], tuple[_Place | None, ...]]:
        """A text that begins at `start` as a reader sees it who does not believe that it ends at `at`: nothing where
        nothing can be read behind that."""
        raw = self.raw
        if not any(byte > 32 for byte in raw[at:end]):
            return (), ()
        words = scalars(decode(raw[start:end], 0, False)[0])
        words = "".join(char if char.isprintable() else " " for char in words).strip()
        return ((Text("data", words, None, False),), (None,)) if words else ((), ())

    def field(
        self, start: int, end: int, lengths: tuple[Length, ...], part: str = "body", charset: int = 0,
        icq: bool = False, form: str = "plain",
    ) -> tuple[tuple[Text, ...], tuple[_Place | None, ...]]:
        """One text that lies together; nothing when it is empty. NUL at its end is none of it."""
        raw = self.raw
        if charset == 2:
            end -= (end - start) & 1
        else:
            while end > start and not raw[end - 1]:
                end -= 1
        if end <= start:
            return (), ()
        text, codec = decode(raw[start:end], charset, icq)
        return _texts((_Piece(start, end, codec, lengths),), text, part, form == "html")


def _texts(
    pieces: tuple[_Piece, ...], text: str, part: str, is_html: bool,
) -> tuple[tuple[Text, ...], tuple[_Place | None, ...]]:
    """The texts of joined pieces: what is shown, where links lead, what stands in unknown tags."""
    other = markup.rich(text) if text[:5] == "{\\rtf" else otherwise(text, pieces[0].codec)
    more: tuple[Text, ...] = () if not other else (Text(part, scalars(other), None, False),)
    if not is_html:
        plain = scalars(text if "\0" not in text else text.replace("\0", ""))
        return ((Text(part, plain), *more), (_Place(pieces), *(None for _ in more))) if plain else ((), ())
    plain = scalars(markup.shown(text))
    texts: list[Text] = []
    places: list[_Place | None] = []
    if plain:
        texts.append(Text(part, plain))
        places.append(_Place(pieces, "html"))
    if "<" in text:
        if "=" in text:
            for start, end in markup.links(text, LINKS):
                value = scalars(markup.references(text[start:end]))
                if value:
                    texts.append(Text("url", value))
                    places.append(_Place(pieces, "value", (start, end)))
        hidden = scalars(markup.hidden(text)).replace("\0", "")
        if hidden:
            texts.append(Text("markup", hidden, None, False))
            places.append(None)
        strict = markup.strict(text)
        if strict:
            texts.append(Text("markup", scalars(strict), None, False))
            places.append(None)
    return (*texts, *more), (*places, *(None for _ in more))


class _Words:
    """Texts of one event with their places, as they are found."""

    __slots__ = ("places", "texts")

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.places: list[_Place | None] = []

    def add(self, found: tuple[tuple[Text, ...], tuple[_Place | None, ...]]) -> None:
        self.texts += found[0]
        self.places += found[1]

    def few(self) -> tuple[tuple[Text, ...], tuple[_Place | None, ...]]:
        """All of them; of more than any client writes the later ones as one text that cannot be changed in place."""
        texts, places = self.texts, self.places
        if len(texts) > TEXTS:
            rest = Text(texts[TEXTS].part, "\n".join(text.plain for text in texts[TEXTS:]), None, False)
            texts, places = [*texts[:TEXTS], rest], [*places[:TEXTS], None]
        return tuple(texts), tuple(places)


def _written(text: str, texts: Sequence[Text]) -> str | None:
    """An HTML text as the wire has it, where taking its tags out is not all that was done to show it."""
    if not texts or texts[0].part != "body":
        return None
    plain = texts[0].plain
    text = scalars(text)
    bare = HTML_TAG.sub("", text)
    for reference, char in _REFERENCES:
        bare = bare.replace(reference, char)
    return None if bare == plain and not ("<" in plain and ">" in plain) else text.replace("\0", "")


_REFERENCES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&"))


_RAW = object()
"""The note of bytes that are no whole frame."""
_OfferKey = tuple[Way, str, bytes]
"""(who proposed: the way his proposal went, the other end, cookie): cookies repeat in both directions."""
_Peer = tuple[str, str | None, tuple[str, ...], bool]
"""What is remembered of a name on the wire: name, sender, recipients, whether texts are HTML."""
PEERS = 128
"""Names remembered per way; all are forgotten when full, or when the user becomes another."""


class _Login(msgspec.Struct, frozen=True):
    """What is remembered of a cookie that a server issued."""

    user: str | None
    identity: Identity
    family: int
    room: str | None


def _hash(cookie: bytes) -> str:
    """What is known of a cookie: never itself."""
    return hashlib.blake2b(cookie, digest_size=16).hexdigest()


def _key(cookie: bytes) -> str:
    """Where a cookie's login is remembered."""
    return "oscar.cookie:" + _hash(cookie)


def _shows(data: bytes, at: int, end: int, ticket: str) -> bool:
    """Whether the frame is a hello with the cookie of this hash."""
    cookie = first(walk(data, at + 10, end)[0], 0x06) if data[at + 1] == HELLO and end - at > 10 else None
    return cookie is not None and _hash(data[slice(*cookie)]) == ticket


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536


def _ipv4(host: str) -> bytes | None:
    """The four bytes of an address; None for a name or an address of another kind."""
    try:
        return ipaddress.IPv4Address(host).packed
    except ValueError:
        return None


# -- the decoder


class OscarDecoder(Unreleased):
    """One OSCAR connection between a client and a server: login, BOS, or a service (chat room, icons)."""

    __slots__ = (
        "_asked", "_begun", "_busy", "_cancelled", "_chat", "_dead", "_delta", "_edits", "_ended", "_expected", "_flow",
        "_held", "_identity", "_last", "_leases", "_limited", "_limits", "_lost", "_memory", "_need", "_now", "_offers",
        "_opaque", "_ours", "_out", "_owed", "_peers", "_pushes", "_room", "_skip", "_talking", "_ticket", "_user",
        "_window", "parted", "undecryptable",
    )

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        late = not flow.from_start
        self._flow = flow
        self._limits = limits
        self._memory = memory
        self._edits = edits
        self.undecryptable: str | None = None
        """Why this connection cannot be judged, for the engine."""
        # reading
        self._held = (bytearray(), bytearray())
        self._need = [6, 6]
        """Bytes that must be held before reading goes on."""
        self._busy = [True, True]
        """The short way through `feed` is closed: something is held, or the way has not begun."""
        self._begun = [late, late]
        self._lost = [late, late]
        """Where a frame begins is not known."""
        self._window = [WINDOW, WINDOW]
        self._skip = [0, 0]
        """Bytes of a damaged frame that are still to come."""
        self._dead = [False, False]
        self._opaque: str | None = None
        expected = flow.expected
        self._ticket = expected.key if expected is not None and expected.what == "oscar" and not late else None
        """The hash of the cookie that this connection must begin with: it was announced for nobody else."""
        self._expected: list[int | None] = [None, None]
        """The next number, as its writer counts."""
        # writing
        self._delta = [0, 0]
        """What is added to the numbers that pass."""
        self._last: list[int | None] = [None, None]
        """The number last sent."""
        self._out = [0, 0]
        """Frames given to the engine that have not come back to `apply`."""
        self._owed: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]] = ([], [])
        """(channel, payload) of frames of ours that wait, per way."""
        self._pushes = 0
        self._ours: dict[int, None] = {}
        """Request ids of our own frames to the server: their answers are not the client's."""
        self._now = 0.0
        """The time of the frame last applied."""
        self._cancelled = 0.0
        self._limited = False
        """The server has said that the client sends too much (sheet 12)."""
        self._offers: dict[_OfferKey, _Offered] = {}
        self._leases: list[float] = []
        """When ports were last leased for proposals."""
        # who and what
        self._user: str | None = None
        self._peers: tuple[dict[bytes, _Peer], dict[bytes, _Peer]] = ({}, {})
        self._identity: Identity = "unknown"
        self._chat = False
        self._room: str | None = None
        self._talking = late
        self._ended = False
        self.parted = False
        """Channel 4 has come (sheet 3): nothing behind it is read."""
        self._asked: dict[int, tuple[int, str | None]] = {}
        """Request id of 01/04 -> (family, room)."""

    # -- bytes to frames

    def feed(self, chunk: Chunk) -> list[Frame]:
        """One frame of ours for each FLAP frame."""
        way, data = chunk.way, chunk.data
        if not (self._busy[way] or chunk.gap or chunk.end):
            size = len(data)
            if size > 5 and data[0] == 42 and (data[4] << 8 | data[5]) == size - 6 and 0 < data[1] < 6:
                self._out[way] += 1
                return [self._frame(way, chunk.at, data)]
        frames = self._feed(chunk)
        self._out[way] += len(frames)
        return frames

    def _feed(self, chunk: Chunk) -> list[Frame]:
        way, at, data = chunk.way, chunk.at, chunk.data
        frames: list[Frame] = []
        held = self._held[way]
        if chunk.gap:
            self._gap(way, at, chunk.gap, frames)
        if self._opaque is not None or self._dead[way]:
            self._raw(way, at, bytes(held) + data, self._opaque or "unread", frames)
            held.clear()
            return frames
        if held:
            held += data
            if len(held) < self._need[way] and not chunk.end:
                return frames
            data = bytes(held)
            held.clear()
        pos, size = 0, len(data)
        if self._skip[way] and size:
            pos = min(self._skip[way], size)
            self._skip[way] -= pos
            self._raw(way, at, data[:pos], "damaged", frames)
        while pos < size:
            if self._lost[way]:
                pos = self._seek(way, at, data, pos, frames)
                if self._lost[way]:
                    break
                continue
            if data[pos] != STAR:
                if not self._begun[way] and self._foreign(way, at, data[pos:], frames):
                    return frames
                return self._fault(way, at, data[pos:], "not_flap", "a frame does not begin with 0x2A", frames)
            if size - pos < 6:
                self._need[way] = 6
                if size - pos > 1 and not 0 < data[pos + 1] < 6:
                    return self._fault(way, at, data[pos:], "channel", f"channel {data[pos + 1]}", frames)
                break
            if not 0 < data[pos + 1] < 6:
                return self._fault(way, at, data[pos:], "channel", f"channel {data[pos + 1]}", frames)
            stop = pos + 6 + (data[pos + 4] << 8 | data[pos + 5])
            if stop > size:
                self._need[way] = stop - pos
                break
            if self._ticket is not None and way is UP:
                if not _shows(data, pos, stop, self._ticket):
                    return self._fault(way, at, data[pos:], "cookie", "not the connection that was announced", frames)
                self._ticket = None
            self._begun[way] = True
            frame = self._frame(way, at, data[pos:stop])
            if frame.fault is not None:
                frames.append(msgspec.structs.replace(frame, raw=data[pos:]))
                return frames
            frames.append(frame)
            pos = stop
        if pos < size:
            if chunk.end:
                # Old servers close with a header without a length; a frame cut short is read by nobody.
                short = size - pos == 4 and data[pos + 1] == CLOSE
                self._raw(way, at, data[pos:], "close" if short else "truncated", frames)
            else:
                held += data[pos:]
        self._busy[way] = bool(held) or not self._begun[way] or self._lost[way] or bool(self._skip[way])
        return frames

    def _raw(self, way: Way, at: float, data: bytes, kind: str, frames: list[Frame]) -> None:
        """Bytes that are no frame, in parts that are not too long."""
        size = self._limits.part_bytes
        odd = (Oddity(f"oscar.{kind}"),)
        for start in range(0, len(data), size):
            frames.append(Frame(way, at, data[start:start + size], f"oscar.{kind}", (), odd, note=_RAW))

    def _fault(self, way: Way, at: float, data: bytes, name: str, detail: str, frames: list[Frame]) -> list[Frame]:
        frames.append(self._broken(way, at, data, name, detail))
        return frames

    def _broken(self, way: Way, at: float, data: bytes, name: str, detail: str) -> Frame:
        """The last frame of a way."""
        self._dead[way] = self._busy[way] = True
        return Frame(way, at, data, BROKEN, fault=PeerError(f"oscar.{name}", detail))

    def _foreign(self, way: Way, at: float, data: bytes, frames: list[Frame]) -> bool:
        """The first bytes are of what carries OSCAR, or of its cousin: told, and read no further."""
        if way is UP and data[0] == 70:
            self._opaque, self.undecryptable = "toc", "TOC, the text protocol of AIM, is not read"
        elif data[0] in (b"GP" if way is UP else b"H"):
            self._opaque, self.undecryptable = "http", "OSCAR inside HTTP is not read"
        else:
            return False
        assert self._opaque is not None
        self._raw(way, at, data, self._opaque, frames)
        return True

    def _gap(self, way: Way, at: float, gap: int, frames: list[Frame]) -> None:
        """Bytes were lost. Inside a frame whose length is known the next one is found by counting."""
        held = self._held[way]
        skip = self._skip[way]
        known = True
        if held:
            if len(held) >= 6 and not self._lost[way]:
                skip = self._need[way] - len(held)
                self._expected[way] = ((held[2] << 8 | held[3]) + 1) & 0xFFFF
            else:
                known = False
            self._raw(way, at, bytes(held), "damaged", frames)
            held.clear()
        self._begun[way] = True
        if known and skip and gap <= skip:
            self._skip[way] = skip - gap
        else:
            self._skip[way] = 0
            self._lost[way] = True
            self._window[way] = min(1 + gap // 6, WINDOW)

    def _seek(self, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """Where the next plausible frame begins; what is before it is given as it came."""
        start = pos
        expected = self._expected[way]
        found = data.find(b"*", pos)
        while found >= 0:
            answer, need = _plausible(data, found, expected, self._window[way], found == start)
            if answer is None:
                # Grown by a part each time: a peer that dribbles must not have all of it looked at for each byte.
                self._need[way] = max(need, (len(data) - found) * 9 // 8 if len(data) - found > 4096 else 0)
                break
            if answer:
                self._lost[way] = False
                self._expected[way] = None
                break
            found = data.find(b"*", found + 1)
        stop = found if found >= 0 else len(data)
        if stop > start:
            self._raw(way, at, data[start:stop], "unread", frames)
        return stop

    def _frame(self, way: Way, at: float, raw: bytes) -> Frame:
        """One whole FLAP frame."""
        number = raw[2] << 8 | raw[3]
        expected = self._expected[way]
        self._expected[way] = (number + 1) & 0xFFFF
        case: _Case | None = None
        channel, size = raw[1], len(raw)
        if channel == DATA:
            if size < 16:
                case = _Case(way, at, raw)
                case.odd("short_snac")
                kind = "oscar.snac"
            else:
                family, sub, flags, request = _SNAC.unpack_from(raw, 6)
                key = family << 16 | sub
                if key in (_ICBM_OUT, _ICBM_IN) and expected == number and not flags:
                    frame = self._simple(way, at, raw)
                    if frame is not None:
                        return frame
                kind = _KINDS.get(key) or f"oscar.{family:04x}.{sub:04x}"
                handler = _HANDLERS[way].get(key)
                if handler is None and sub == 1:
                    handler = OscarDecoder._error
                if handler is not None:
                    case = _Case(way, at, raw)
                    case.family, case.sub, case.flags, case.request = family, sub, flags, request
                    at_body = 16
                    if flags & 0x8000:
                        at_body = 18 + (raw[16] << 8 | raw[17]) if size >= 18 else size + 1
                    if at_body > size:
                        case.lie()
                        at_body = size
                    case.body = at_body
                    handler(self, case)
        elif channel == HELLO:
            kind = "oscar.hello"
            case = _Case(way, at, raw)
            self._hello(case)
        elif channel == CLOSE:
            kind = "oscar.close"
            case = _Case(way, at, raw)
            self.parted = True
            if way is DOWN:
                self._redirect(case, 0, walk(raw, 6, size)[0])
        else:
            kind = "oscar.error" if channel == ERROR else "oscar.keep_alive"
        if expected is not None and expected != number and not (expected == 0x8000 and number == 0):
            if case is None:
                case = _Case(way, at, raw)
            case.odd("sequence", f"number {number:04x}, expected {expected:04x}")
        if case is None:
            return Frame(way, at, raw, kind)
        if case.many:
            return self._broken(way, at, raw, "many_events", f"more than {self._limits.oscar_events} events in {kind}")
        edit = None
        if case.lying and DROP_LYING in self._edits and kind in _MESSAGES:
            edit = DROP_LYING
        elif case.path is not None and KEEP_PATH in self._edits:
            edit = KEEP_PATH
        return Frame(
            way, at, raw, kind, tuple(case.events), tuple(case.oddities), edit=edit, note=case,
        )

    def pending(self, way: Way) -> int:
        """Bytes held that are not yet a frame."""
        return len(self._held[way])

    # -- who is who

    def _sign(self, case: _Case, user: str, identity: Identity, mechanism: str) -> None:
        """The session's user is known, or another one, or better known."""
        if not user or (self._identity == "authenticated" and identity != "authenticated"):
            return
        if (user, identity) != (self._user, self._identity):
            self._user, self._identity = user, identity
            for peers in self._peers:
                peers.clear()
            case.add(SignOn(user=user, identity=identity, mechanism=mechanism), (), "keep")

    def _hello(self, case: _Case) -> None:
        """Channel 1: FLAP's version, then a cookie or an ICQ login (sheet 3, 5.1)."""
        if case.end < 10:
            case.odd("hello", "no version")
            return
        tlvs, true = walk(case.raw, 10, case.end)
        if not true:
            case.odd("hello", "its list does not end with it")
        if case.way is DOWN:
            return
        cookie = first(tlvs, 0x06)
        if cookie is not None:
            known = self._memory.get(_key(case.raw[slice(*cookie)]), case.at)
            expected = self._flow.expected
            if isinstance(known, _Login):
                self._chat = known.family == 0x0E
                self._room = known.room
                if known.user:
                    self._sign(case, known.user, known.identity, "cookie")
            elif expected is not None and expected.key == _hash(case.raw[slice(*cookie)]) and expected.by:
                self._sign(case, expected.by, expected.identity, "cookie")
            return
        name = first(tlvs, 0x01)
        if name is not None:
            self._sign(case, name_of(case.raw[slice(*name)]), "claimed", "roasted" if first(tlvs, 0x02) else "name")

    def _login(self, case: _Case) -> None:
        """17/06 and 17/02: the name that wants to sign on; the digest is not looked at."""
        name = first(walk(case.raw, case.body, case.end)[0], 0x01)
        if name is not None:
            self._sign(case, name_of(case.raw[slice(*name)]), "claimed", "bucp-md5")

    def _login_reply(self, case: _Case) -> None:
        self._redirect(case, 0, walk(case.raw, case.body, case.end)[0])

    def _redirect(self, case: _Case, family: int, tlvs: list[Tlv], room: str | None = None) -> None:
        """Where the client is sent next, with which cookie (17/03, channel 4, 01/05, 01/12)."""
        raw = case.raw
        cookie, host = first(tlvs, 0x06), first(tlvs, 0x05)
        if cookie is None or cookie[0] == cookie[1]:
            return
        if not family:
            name = first(tlvs, 0x01)
            user = name_of(raw[slice(*name)]) if name is not None else self._user
            if user:
                self._sign(case, user, "authenticated", "login")
        key = _key(raw[slice(*cookie)])
        until = case.at + self._limits.expect_seconds
        self._memory.put(key, _Login(self._user, self._identity, family, room), until)
        if host is None:
            return
        address = raw[slice(*host)].decode("latin-1").strip("\0 ")
        server, colon, port = address.rpartition(":")
        if not colon:
            server, port = address, str(self._flow.server.port)
        if not server or not server.isprintable() or " " in server or len(server) > 255 or not _is_port(port):
            case.odd("redirect", "an address that is none")
            return
        expect = Expect(
            f"{server}:{port}", "oscar", self._user, _hash(raw[slice(*cookie)]), flow=self._flow.id,
            identity=self._identity)
        case.expects.append(expect)
        tls, named = first(tlvs, 0x8E), first(tlvs, 0x8D)
        secret = tls is not None and any(raw[slice(*tls)]) and (named is None or named[0] == named[1])
        names = tuple((start, end) for kind, start, end in tlvs if kind == 0x05)
        case.path = _Path(DOWN, expect, names, certificate=server if secret else "")

    def _service_request(self, case: _Case) -> None:
        """01/04: which service the client asks for; of a chat room its name."""
        if case.end - case.body < 2:
            return
        family, room = case.u16(case.body), None
        value = first(walk(case.raw, case.body + 2, case.end)[0], 0x01)
        if family == 0x0E and value is not None and value[1] - value[0] > 3:
            name = string8(case.raw, value[0] + 2, value[1])
            room = _words(case.raw[slice(*name)]) if name is not None else None
        if len(self._asked) >= 64:
            del self._asked[next(iter(self._asked))]
        self._asked[case.request] = (family, room)

    def _service_reply(self, case: _Case) -> None:
        """01/05: the host and the cookie for a service."""
        tlvs = walk(case.raw, case.body, case.end)[0]
        family, room = self._asked.pop(case.request, (0, None))
        named = first(tlvs, 0x0D)
        if named is not None and named[1] - named[0] >= 2:
            family = case.u16(named[0])
        self._redirect(case, family or 0x01, tlvs, room)

    def _migration(self, case: _Case) -> None:
        """01/12: the client shall go on at another host."""
        if case.end - case.body < 2:
            return
        at = case.body + 2 + 2 * case.u16(case.body)
        self._redirect(case, 0x01, walk(case.raw, min(at, case.end), case.end)[0])

    def _rate(self, case: _Case) -> None:
        """01/0A: what the server thinks of how much the client sends: 2 warned, 3 limited (sheet 12)."""
        if case.end - case.body >= 2:
            self._limited = case.u16(case.body) in (2, 3)

    def _self_info(self, case: _Case) -> None:
        """01/0F: the server says who the user is."""
        info = self._info(case, case.body)
        if info is not None and info[0]:
            self._sign(case, info[0], "authenticated", "01/0F")

    def _online(self, case: _Case) -> None:
        del case
        self._talking = True

    def _info(self, case: _Case, at: int) -> tuple[str, int, list[Tlv], tuple[int, int]] | None:
        """A user-info block: (name, where it ends, its list, where the name lies); None when there is none."""
        raw, end = case.raw, case.end
        name = string8(raw, at, end)
        if name is None or name[1] + 4 > end:
            case.lie()
            return None
        tlvs, at, true = walk_counted(raw, name[1] + 4, end, case.u16(name[1] + 2))
        if not true:
            case.lie()
        return name_of(raw[name[0]:name[1]]), at, tlvs, name

    def _own(self) -> tuple[str, ...]:
        return (self._user,) if self._user is not None else ()

    # -- ICBM

    def _simple(self, way: Way, at: float, raw: bytes) -> Frame | None:
        """The usual message: channel 1, one ASCII or UTF-16 text; None for anything else. The same as `_icbm` says."""
        size = len(raw)
        if size < 32 or raw[25] != 1 or raw[24]:
            return None
        pos = 27 + raw[26]
        if pos + 4 > size or (way is UP) is not (raw[9] == 6):
            return None
        wire = raw[27:pos]
        if way is DOWN:
            count = raw[pos + 2] << 8 | raw[pos + 3]
            pos += 4
            while count:
                if pos + 4 > size:
                    return None
                pos += 4 + (raw[pos + 2] << 8 | raw[pos + 3])
                count -= 1
        start = stop = 0
        while pos + 4 <= size:
            begin = pos + 4
            end = begin + (raw[pos + 2] << 8 | raw[pos + 3])
            kind = raw[pos + 1]
            if raw[pos] or kind in (0x04, 0x16):
                return None
            if kind == 2:
                if start:
                    return None
                start, stop = begin, end
            pos = end
        if pos != size or not start:
            return None
        if start < stop and raw[start] == 5 and start + 4 <= stop:
            start += 4 + (raw[start + 2] << 8 | raw[start + 3])
        if start + 9 > stop or raw[start] != 1 or start + 4 + (raw[start + 2] << 8 | raw[start + 3]) != stop:
            return None
        data = raw[start + 8:stop]
        if raw[start + 5] == 2 and not raw[start + 4]:
            if len(data) & 1 or (data.isascii() and b"\0" not in data) or data[1::2].count(0) > 3:
                return None
            text = scalars(data.decode("utf-16-be", "surrogatepass"))
        elif data.isascii():
            text = data.decode("ascii")
            if not text.isprintable():
                return None
        else:
            return None
        peer = self._peers[way].get(wire) or self._meet(way, wire)
        if peer[3] or ("<" in text and markup.has_tags(text)):
            plain = markup.formatted(text)
            if not plain or ("<" in plain and ">" in plain):
                return None
        elif "\0" in text:
            return None
        else:
            plain = text
        self._talking = True
        return Frame(way, at, raw, _OUT_KIND if way is UP else _IN_KIND, (Message(
            sender=peer[1], recipients=peer[2], conversation=peer[0], texts=(Text("body", plain),),
            id=raw[16:24].hex(), encryption=htmltext.encryption(plain),
        ),))

    def _meet(self, way: Way, wire: bytes) -> _Peer:
        """What is to be known of the other end of a message."""
        peers = self._peers[way]
        if len(peers) >= PEERS:
            peers.clear()
        name = name_of(wire)
        is_html = not name.isdigit() or (self._user is not None and not self._user.isdigit())
        made = (name, self._user, (name,), is_html) if way is UP else (name, name, self._own(), is_html)
        peers[wire] = made
        return made

    def _again(self, frame: Frame) -> _Case:
        """A frame of the short way, read for its places as it was read then."""
        event = frame.events[0]
        assert isinstance(event, Message)
        case = _Case(frame.way, frame.at, frame.raw)
        case.family, case.sub, case.flags, case.request = _SNAC.unpack_from(frame.raw, 6)
        case.body = 16
        user = self._user
        self._user = event.sender if frame.way is UP else event.recipients[0] if event.recipients else None
        self._icbm(case)
        self._user = user
        return case

    def _icbm(self, case: _Case) -> None:
        """04/06 and 04/07: a message (sheet 7). A capture may have its ends the wrong way round: the subtype tells."""
        self._talking = True
        raw, at, end = case.raw, case.body, case.end
        if end - at < 11:
            case.lie()
            return
        cookie = raw[at:at + 8]
        channel = raw[at + 8] << 8 | raw[at + 9]
        out = case.sub == 6
        if out:
            name = string8(raw, at + 10, end)
            if name is None:
                case.lie()
                return
            peer, at = name_of(raw[name[0]:name[1]]), name[1]
        else:
            info = self._info(case, at + 10)
            if info is None:
                return
            peer, at, _, name = info
        tlvs, true = walk(raw, at, end)
        if not true:
            case.lie()
        sender, recipients = (self._user, (peer,)) if out else (peer, self._own())
        who = _Who(sender, recipients, peer, raw[name[0]:name[1]])
        sent_at: float | None = None
        kind: Kind = "chat"
        blocks: list[tuple[int, int]] = []
        wanted = 0x02 if channel == 1 else 0x05
        for type_, start, stop in tlvs:
            if type_ == wanted:
                blocks.append((start, stop))
            elif type_ == 0x04:
                kind = "auto_response"
            elif type_ == 0x16 and stop - start == 4:
                sent_at = float(_U32.unpack_from(raw, start)[0])
        if len(blocks) > (BLOCKS if channel != 2 else 1) and channel != 1:
            case.lie()
            blocks = blocks[:BLOCKS]
        if channel == 1:
            self._instant(case, who, cookie, blocks, kind, sent_at)
        elif channel == 2:
            for start, stop in blocks:
                self._rendezvous(case, who, cookie, start, stop, sent_at)
        elif channel == 4:
            for start, stop in blocks:
                self._icq(case, who, cookie, start, stop, kind, sent_at)
        else:
            case.odd("icbm_channel", f"channel {channel}")
            for type_, start, stop in tlvs:
                texts, places = case.field(start, stop, (FLAP_LENGTH, (start - 2, 2)))
                if texts:
                    case.add(Opaque(
                        kind=f"icbm.{channel}.{type_}", sender=sender, recipients=recipients, texts=texts,
                        personal=True,
                    ), places)

    def _instant(
        self, case: _Case, who: _Who, cookie: bytes, blocks: list[tuple[int, int]], kind: Kind, sent_at: float | None,
    ) -> None:
        """Channel 1: fragments of text, each with its charset; several blocks and several fragments are all read."""
        raw = case.raw
        words = _Words()
        written: str | None = None
        icq = who.peer.isdigit() and (self._user is None or self._user.isdigit())
        for start, stop in blocks:
            pieces: list[_Piece] = []
            said: list[str] = []
            at = start
            while at + 4 <= stop:
                begin = at + 4
                end = begin + (raw[at + 2] << 8 | raw[at + 3])
                if end > stop:
                    case.lie()
                    end = stop
                if raw[at] == 1 and end - begin >= 4:
                    charset = raw[begin] << 8 | raw[begin + 1]
                    until = end - ((end - begin) & 1) if charset == 2 else end
                    text, codec = decode(raw[begin + 4:until], charset, icq)
                    pieces.append(_Piece(
                        begin + 4, until, codec, (FLAP_LENGTH, (start - 2, 2), (at + 2, 2)), begin))
                    said.append(text)
                at = end
            if at != stop:
                case.lie()
            if pieces:
                joined = "".join(said)
                is_html = (not who.peer.isdigit() or (self._user is not None and not self._user.isdigit())
                           or markup.has_tags(joined))
                found = _texts(tuple(pieces), joined, "body", is_html)
                if is_html and not words.texts:
                    written = _written(joined, found[0])
                words.add(found)
        if not blocks:
            return
        texts, places = words.few()
        encryption = htmltext.encryption(texts[0].plain) if texts else CLEAR
        case.add(Message(
            kind=kind, sender=who.sender, recipients=who.recipients, conversation=who.peer, texts=texts,
            id=cookie.hex(), encryption=encryption, sent_at=sent_at, written=written,
            answerable=kind != "auto_response", sealed=None if encryption is CLEAR else "",
        ), places)

    def _rendezvous(
        self, case: _Case, who: _Who, cookie: bytes, start: int, stop: int, sent_at: float | None,
    ) -> None:
        """Channel 2: proposals of files, direct IM, chat rooms, calls; ICQ's messages through the server."""
        raw = case.raw
        if stop - start < 26:
            case.lie()
            return
        status = case.u16(start)
        service = raw[start + 10:start + 26]
        name = _SERVICES.get(service)
        tlvs = case.walk(start + 26, stop)
        once = [kind for kind, _, _ in tlvs if kind in _ONCE]
        if len(once) != len(set(once)):
            # Readers differ in which of two they take.
            case.lie()
        outer: tuple[Length, ...] = (FLAP_LENGTH, (start - 2, 2))
        charset = first(tlvs, 0x0D)
        label = _charset_of(raw[slice(*charset)]) if charset is not None else 0
        ident = raw[start + 2:start + 10].hex()
        words = _Words()
        for type_, a, b in tlvs:
            if type_ == 0x0C:
                part = "body" if name == "chat" else "description"
                found = case.field(a, b, (*outer, (a - 2, 2)), part, label, form="html")
                words.add(found)
        texts, places = words.few()
        if name == "relay":
            for type_, a, b in tlvs:
                if type_ == 0x2711:
                    self._relay(case, who, cookie, a, b, (*outer, (a - 2, 2)), sent_at)
            return
        way = UP if case.sub == 6 else DOWN
        if status != 0:
            if status != 2:
                mine, its = (way, who.peer, cookie), (way.other, who.peer, cookie)
                case.gone = its if its in self._offers else mine
            if texts:
                case.add(Opaque(
                    kind="rendezvous", sender=who.sender, recipients=who.recipients, texts=texts, id=ident,
                    personal=True,
                ), places, "strip")
            return
        stage = first(tlvs, 0x0A)
        number = max(case.u16(stage[0]), 1) if stage is not None and stage[1] - stage[0] == 2 else 1
        case.offer = (raw[start + 2:start + 10], service, who.wire, number)
        if name in ("send_file", "get_file", "direct_im"):
            self._file(case, who, name, tlvs, texts, places)
        elif name == "chat":
            data = first(tlvs, 0x2711)
            room = string8(raw, data[0] + 2, data[1]) if data is not None else None
            case.add(Message(
                kind="invite", sender=who.sender, recipients=who.recipients, texts=texts, id=ident,
                conversation=_words(raw[slice(*room)]) if room is not None else None,
            ), places)
        elif name in ("talk", "video", "screen"):
            media = {"talk": ("audio",), "video": ("video",)}.get(name, ("screen",))
            case.add(CallSetup(
                action="invite", sender=who.sender, recipients=who.recipients, media=media, id=ident, texts=texts,
            ), places)
        elif name in ("secureim", "trilliancrypt"):
            case.add(Opaque(
                kind="key_exchange", sender=who.sender, recipients=who.recipients, texts=texts, id=ident,
                encryption=Encryption("none", name), personal=True,
            ), places)
        else:
            more = self._service_data(case, name, tlvs)
            case.add(Opaque(
                kind=name or f"rendezvous.{service.hex()}", sender=who.sender, recipients=who.recipients,
                texts=texts + more, id=ident, personal=True,
            ), (*places, *(None for _ in more)))

    def _service_data(self, case: _Case, name: str | None, tlvs: list[Tlv]) -> tuple[Text, ...]:
        """The words in a proposal's own data: contacts that are sent, or the bytes of a service nobody knows."""
        data = first(tlvs, 0x2711)
        if data is None or name == "icon":
            return ()
        if name != "contacts":
            text = scalars(decode(case.raw[data[0]:data[1]], 0, False)[0]).replace("\0", " ").strip()
            return (Text("data", text, None, False),) if text else ()
        names: list[str] = []
        at = data[0]
        while at < data[1]:
            group = string16(case.raw, at, data[1])
            if group is None or group[1] + 2 > data[1]:
                break
            names.append(_words(case.raw[slice(*group)]))
            count, at = case.u16(group[1]), group[1] + 2
            while count and (each := string16(case.raw, at, data[1])) is not None:
                names.append(_words(case.raw[slice(*each)]))
                at = each[1]
                count -= 1
            if count:
                break
        return (Text("contacts", "\n".join(names), None, False),) if names else ()

    def _file(
        self, case: _Case, who: _Who, name: str, tlvs: list[Tlv], texts: tuple[Text, ...],
        places: tuple[_Place | None, ...],
    ) -> None:
        """An offer of a file or of a direct connection, with where it would come from (sheet 7.3, 9).

        The answer to a proposal may be one of his own address (request number 2), and the next one again of the first
        (3): they belong to the offer that the cookie names, and are no news of themselves.
        """
        assert case.offer is not None
        cookie, number = case.offer[0], case.offer[3]
        turned = not number & 1
        way = UP if case.sub == 6 else DOWN
        key = (way.other if turned else way, who.peer, cookie)
        known = self._offers.get(key) if number > 1 else None
        file_name, size, more = self._named_file(case, tlvs) if name != "direct_im" else ("", None, ())
        if file_name:
            texts, places = (Text("file_name", file_name, None, False), *texts), (None, *places)
        texts, places = (*texts, *more), (*places, *(None for _ in more))
        proxied = first(tlvs, 0x10) is not None
        method = "direct_im" if name == "direct_im" else "ars" if proxied else "oft"
        addresses = self._addresses(case, tlvs, way, proxied)
        if known is not None:
            first_one = known.event
            news = (file_name and file_name != first_one.file_name) or (size is not None and size != first_one.size)
            offer = msgspec.structs.replace(first_one, method=method)
        else:
            news = True
        if known is None or news or more or any(text.part != "file_name" for text in texts):
            sender, recipients = who.sender, who.recipients
            if turned:
                sender, recipients = (who.peer, self._own()) if way is UP else (self._user, (who.peer,))
            offer = FileOffer(
                sender=sender, recipients=recipients, conversation=who.peer, method=method, texts=texts,
                file_name=file_name or (known.event.file_name if known is not None else ""),
                size=size if size is not None or known is None else known.event.size,
                address=addresses[0] if addresses else None, id=cookie.hex(),
            )
            case.add(offer, places)
            case.offered = key, _Offered(offer, case.offer)
        expect = Expect(
            "", "oft", self._user, cookie.hex(), offer=offer, flow=self._flow.id, identity=self._identity,
            reverse=turned is not (name == "get_file"),
        )
        found = [msgspec.structs.replace(expect, address=address) for address in addresses if ":" in address]
        case.expects += found
        if found and not proxied:
            case.path = self._rendezvous_path(case, tlvs, way, found[0])

    def _named_file(self, case: _Case, tlvs: list[Tlv]) -> tuple[str, int | None, tuple[Text, ...]]:
        """(name, size, what else stands there) of a proposal's own data; 0x01 stands between the parts of a path."""
        raw = case.raw
        data = first(tlvs, 0x2711)
        if data is None or data[1] - data[0] < 8:
            return "", None, ()
        size = _U32.unpack_from(raw, data[0] + 4)[0]
        start = data[0] + 8
        label = first(tlvs, 0x2712)
        rest: list[str] = []
        if label is not None and _charset_of(raw[slice(*label)]) == 2:
            even = data[1] - ((data[1] - start) & 1)
            name, _, hidden = decode(raw[start:even], 2, False)[0].partition("\0")
            # A reader that does not know the label sees other words.
            rest = [hidden, decode(raw[start:data[1]], 0, False)[0]]
        else:
            end = raw.find(b"\0", start, data[1])
            end = data[1] if end < 0 else end
            name = decode(raw[start:end], 0, False)[0]
            rest = [decode(raw[end:data[1]], 0, False)[0]]
        name = scalars(name).replace("\1", "/")
        words = " ".join(" ".join(scalars(part).replace("\0", " ") for part in rest).split(" ")).strip()
        if not words or words.replace(" ", "") == name.replace(" ", ""):
            return name, size, ()
        return name, size, (Text("data", words, None, False),)

    def _addresses(self, case: _Case, tlvs: list[Tlv], way: Way, proxied: bool) -> list[str]:
        """"host:port" of all places where the connection may be made, most likely first; without a port, the host."""
        raw = case.raw
        ports = [case.u16(start) for kind, start, end in tlvs if kind == 0x05 and end - start == 2]
        hosts: list[str] = []
        for wanted in (0x04, 0x03, 0x02) if not proxied else (0x02,):
            for kind, start, end in tlvs:
                if kind == wanted and end - start == 4 and any(raw[start:end]) and len(hosts) < PLACES:
                    host = str(ipaddress.IPv4Address(raw[start:end]))
                    if host not in hosts:
                        hosts.append(host)
        if proxied:
            # Through AOL's relay: what stands for a port is a PIN there.
            return [f"{host}:{ARS_PORT}" for host in hosts]
        if way is UP and _ipv4(self._flow.client.ip) is not None and self._flow.client.ip not in hosts and ports:
            # What the server will write: where it sees the client.
            hosts = [*hosts[:PLACES - 1], self._flow.client.ip]
        if not ports or not ports[0]:
            return hosts
        return [f"{host}:{ports[0]}" for host in hosts]

    def _rendezvous_path(self, case: _Case, tlvs: list[Tlv], way: Way, expect: Expect) -> _Path:
        """Where a proposal's address stands. Of our own client we know better than he where he is."""
        raw = case.raw
        if way is UP and _ipv4(self._flow.client.ip) is not None:
            host, port = self._flow.client.ip, expect.address.rpartition(":")[2]
            expect = msgspec.structs.replace(expect, address=f"{host}:{port}")
        hosts: list[tuple[int, int]] = []
        ports: list[tuple[int, int]] = []
        for kind, start, end in tlvs:
            size = end - start
            if size == 4 and (kind in (0x03, 0x04) or (kind == 0x02 and any(raw[start:end]))):
                hosts.append((start, 0))
            elif size == 4 and kind == 0x16 and raw[start:end] != b"\xff\xff\xff\xff":
                hosts.append((start, 0xFF))
            elif size == 2 and kind in (0x05, 0x17):
                ports.append((start, 0xFF if kind == 0x17 else 0))
        return _Path(way, expect, (), tuple(hosts), tuple(ports))

    def _relay(
        self, case: _Case, who: _Who, cookie: bytes, start: int, stop: int, outer: tuple[Length, ...],
        sent_at: float | None, answer: bool = False,
    ) -> None:
        """An ICQ message through the server: two little-endian heads, then type, flags and text (sheet 7.3)."""
        raw = case.raw
        at = start
        plugin = b""
        for index in range(2):
            if at + 2 > stop:
                case.lie()
                return
            length = _L16.unpack_from(raw, at)[0]
            if not index:
                plugin = raw[at + 4:at + 20]
            at += 2 + length
        if at + 8 > stop:
            if at > stop or stop - start > 70:
                case.lie()
            return
        type_, flags = raw[at], raw[at + 1]
        length = _L16.unpack_from(raw, at + 6)[0]
        begin = at + 8
        end = begin + length
        if end > stop:
            if type_ != 0x1A:
                case.lie()
            end = stop
        lengths = (*outer, (at + 6, -2))
        tail = raw[end:stop]
        charset = 0x0D if _UTF8_GUID in tail[:64].upper() else 0
        if type_ == 0x1A or any(plugin):
            texts, places = case.field(begin, end, lengths, "body", charset, True)
            words = scalars(decode(tail, 0, True)[0])
            words = "".join(c if c.isprintable() or c in "\r\n\t" else " " for c in words).strip()
            if words:
                texts, places = (*texts, Text("data", words, None, False)), (*places, None)
            if texts:
                case.add(Opaque(
                    kind="icq.plugin", sender=who.sender, recipients=who.recipients, texts=texts, id=cookie.hex(),
                    answerable=not answer, personal=True,
                ), places, "drop" if not answer else "strip")
            return
        # Colours, and the name of a charset, stand behind a text; words do not.
        named = 12 + _L32.unpack_from(tail, 8)[0] if len(tail) >= 12 else 8
        usual = type_ == 1 and (len(tail) == named or len(tail) == 8) and not any(raw[end - 1:end])
        self._icq_message(case, who, cookie, type_, flags, begin, end, lengths, charset, sent_at,
                          editable=_RTF_GUID not in tail[:64].upper(), answer=answer, rest=0 if usual else stop)

    def _icq(
        self, case: _Case, who: _Who, cookie: bytes, start: int, stop: int, kind: Kind, sent_at: float | None,
    ) -> None:
        """Channel 4: an old ICQ message (sheet 7.4)."""
        raw = case.raw
        if stop - start < 8:
            case.lie()
            return
        type_, flags = raw[start + 4], raw[start + 5]
        length = _L16.unpack_from(raw, start + 6)[0]
        end = start + 8 + length
        if end > stop or type_ == 0x1A:
            if type_ != 0x1A:
                case.lie()
            end = stop
        lengths: tuple[Length, ...] = (FLAP_LENGTH, (start - 2, 2), (start + 6, -2))
        self._icq_message(case, who, cookie, type_, flags, start + 8, end, lengths, 0, sent_at,
                          answer=kind == "auto_response", editable=type_ != 0x1A, rest=stop)

    def _icq_message(
        self, case: _Case, who: _Who, cookie: bytes, type_: int, flags: int, begin: int, end: int,
        lengths: tuple[Length, ...], charset: int, sent_at: float | None, *, editable: bool = True,
        answer: bool = False, how: _How = "drop", rest: int = 0,
    ) -> None:
        """A message by ICQ's types; fields of the composed ones stand between 0xFE."""
        raw = case.raw
        type_ &= 0x7F if type_ < 0xE0 else 0xFF
        words = _Words()
        parts: Sequence[str] = _ICQ_PARTS.get(type_, ("body",))
        at = begin
        for index, part in enumerate(parts):
            stop = raw.find(_FIELD, at, end) if index < len(parts) - 1 else -1
            stop = end if stop < 0 else stop
            if part:
                is_html = part == "body" and charset != 2 and markup.has_tags(decode(raw[at:stop], charset, True)[0])
                found = case.field(at, stop, lengths, part, charset, True, "html" if is_html else "plain")
                words.add(found)
            at = stop + 1
            if stop == end:
                break
        if rest:
            words.add(case.rest(begin, end, rest))
        if type_ == 0x03 and not answer:
            self._icq_file(case, who, cookie, end, rest or end, words)
            return
        texts, places = words.few()
        if not editable:
            texts = tuple(Text(t.part, t.plain, None, False) for t in texts)
        if type_ in (0x06, 0x07, 0x08, 0x0C):
            case.add(Presence(
                sender=who.sender, recipients=who.recipients, texts=texts, availability=_AUTH[type_],
            ), places, how)
            return
        away = 0xE0 <= type_ <= 0xEF
        if away and not texts:
            return
        kind: Kind = "auto_response" if away or answer or flags & 0x03 == 0x03 else "chat"
        case.add(Message(
            kind=kind, sender=who.sender, recipients=who.recipients, conversation=who.peer, texts=texts,
            id=cookie.hex(), encryption=htmltext.encryption(texts[0].plain) if texts else CLEAR, sent_at=sent_at,
            answerable=kind == "chat",
        ), places, how if kind == "chat" or how != "drop" else "strip" if answer else "drop")

    def _icq_file(self, case: _Case, who: _Who, cookie: bytes, at: int, stop: int, words: _Words) -> None:
        """A request to take a file, from ICQ client to ICQ client: behind the description a port in four bytes, then,
        little-endian, the name with its length and the size. What has no name there may have it in its text."""
        raw = case.raw
        name, size = "", None
        if at + 6 <= stop:
            length = _L16.unpack_from(raw, at + 4)[0]
            if length and at + 6 + length + 4 <= stop:
                name = scalars(decode(raw[at + 6:at + 6 + length], 0, True)[0]).rstrip("\0")
                size = _L32.unpack_from(raw, at + 6 + length)[0]
        texts, places = words.few()
        if not name:
            name = next((text.plain for text in texts if text.part == "file_name"), "")
        elif not any(text.plain == name for text in texts):
            texts, places = (Text("file_name", name, None, False), *texts), (None, *places)
        case.add(FileOffer(
            sender=who.sender, recipients=who.recipients, conversation=who.peer, file_name=name, size=size,
            method="icq", id=cookie.hex(), texts=tuple(Text(t.part, t.plain, None, False) for t in texts),
        ), tuple(None for _ in places))

    def _client_error(self, case: _Case) -> None:
        """04/0B: a client's answer to a message; with reason 3 it has ICQ's automatic words (sheet 7.3)."""
        raw, at = case.raw, case.body
        name = string8(raw, at + 10, case.end)
        if name is None or name[1] + 2 > case.end or case.u16(name[1]) != 3 or case.end - name[1] < 6:
            return
        peer = name_of(raw[slice(*name)])
        sender, recipients = (self._user, (peer,)) if case.way is UP else (peer, self._own())
        start = name[1] + 2
        if case.end - start < 40:
            return
        self._relay(case, _Who(sender, recipients, peer, raw[slice(*name)]), raw[at:at + 8], start, case.end,
                    (FLAP_LENGTH,), None, answer=True)

    def _typing(self, case: _Case) -> None:
        """04/14: the same layout both ways."""
        raw, at = case.raw, case.body
        name = string8(raw, at + 10, case.end)
        if name is None or name[1] + 2 > case.end:
            case.odd("typing")
            return
        peer = name_of(raw[slice(*name)])
        sender, recipients = (self._user, (peer,)) if case.way is UP else (peer, self._own())
        case.add(Typing(state=_TYPING.get(case.u16(name[1]), "active"), sender=sender, recipients=recipients))

    def _error(self, case: _Case) -> None:
        """xx/01: why a request failed; the server's words with it."""
        if case.way is UP or case.end - case.body < 2 or case.request in self._ours:
            return
        words = _Words()
        for kind, start, end in case.walk(case.body + 2, case.end):
            if kind == 0x1B:
                found = case.field(start, end, (FLAP_LENGTH, (start - 2, 2)), "reason")
                words.add(found)
        texts, places = words.few()
        code = case.u16(case.body)
        case.add(Opaque(
            kind="error", texts=texts, recipients=self._own(), answerable=False,
            id=f"{case.family:02x}/{code:04x}",
        ), places, "strip")

    # -- chat rooms

    def _chat_message(self, case: _Case) -> None:
        """0E/05 and 0E/06: words in a room (sheet 7.5)."""
        self._talking = self._chat = True
        raw, at, end = case.raw, case.body, case.end
        if end - at < 10:
            case.lie()
            return
        cookie = raw[at:at + 8]
        tlvs, true = walk(raw, at + 10, end)
        if not true:
            case.lie()
        sender = self._user if case.sub == 5 else None
        kind: Kind = "chat"
        words = _Words()
        written: str | None = None
        for type_, start, stop in tlvs:
            if type_ == 0x07:
                kind = "auto_response"
            elif type_ == 0x03 and case.sub == 6:
                info = self._info(case, start)
                sender = info[0] if info is not None else None
            elif type_ == 0x05:
                inner, true = walk(raw, start, stop)
                if not true:
                    case.lie()
                label = first(inner, 0x02)
                charset = _charset_of(raw[slice(*label)]) if label is not None else 0
                for each, a, b in inner:
                    if each == 0x01:
                        found = case.field(
                            a, b, (FLAP_LENGTH, (start - 2, 2), (a - 2, 2)), "body", charset, form="html")
                        if not words.texts:
                            even = b - ((b - a) & 1) if charset == 2 else b
                            written = _written(decode(raw[a:even], charset, False)[0], found[0])
                        words.add(found)
        texts, places = words.few()
        copy: Copy = "echo" if case.sub == 6 and sender is not None and sender == self._user else "no"
        room = self._room
        case.add(Message(
            kind=kind, sender=sender, recipients=(room,) if room else (), conversation=room, texts=texts,
            id=cookie.hex(), copy=copy, encryption=htmltext.encryption(texts[0].plain) if texts else CLEAR,
            answerable=kind != "auto_response", written=written,
        ), places)

    def _chat_room(self, case: _Case) -> None:
        """0E/02: which room this connection is."""
        self._chat = True
        name = string8(case.raw, case.body + 2, case.end)
        if name is not None and self._room is None:
            self._room = _words(case.raw[slice(*name)])

    def _chat_users(self, case: _Case) -> None:
        """0E/03 and 0E/04: who came, who went."""
        self._chat = True
        action = "join" if case.sub == 3 else "leave"
        for name, _, unit in self._infos(case):
            case.add(GroupChange(action=action, group=self._room or "", member=name), (), (*unit, (FLAP_LENGTH,)))

    def _chat_create(self, case: _Case) -> None:
        """0D/08: a room is asked for by its name."""
        raw = case.raw
        cookie = string8(raw, case.body + 2, case.end)
        if cookie is None or cookie[1] + 5 > case.end:
            return
        name = first(walk(raw, cookie[1] + 5, case.end)[0], 0xD3)
        if name is not None:
            texts, places = case.field(*name, (FLAP_LENGTH, (name[0] - 2, 2)), "topic")
            case.add(GroupChange(
                action="create", group=_words(raw[slice(*name)]), member=self._user, texts=texts), places)

    # -- presence, lists, profiles

    def _infos(self, case: _Case) -> list[tuple[str, list[Tlv], tuple[int, int]]]:
        """User-info blocks back to back: (name, list, where the block lies)."""
        found: list[tuple[str, list[Tlv], tuple[int, int]]] = []
        at = case.body
        while at < case.end:
            if len(found) >= self._limits.oscar_events:
                case.many = True
                break
            info = self._info(case, at)
            if info is None:
                break
            found.append((info[0], info[2], (at, info[1])))
            at = info[1]
        return found

    def _presence(self, case: _Case) -> None:
        """03/0B and 03/0C: somebody came, changed or went; with the words of his status."""
        for name, tlvs, unit in self._infos(case):
            availability = "offline" if case.sub == 0x0C else _availability(case, tlvs)
            case.add(Presence(sender=name, recipients=self._own(), availability=availability), (),
                     (*unit, (FLAP_LENGTH,)))
            for kind, start, end in tlvs:
                if kind == 0x1D:
                    self._status(case, start, end, name, (FLAP_LENGTH, (start - 2, 2)))

    def _status(self, case: _Case, at: int, end: int, sender: str | None, outer: tuple[Length, ...]) -> None:
        """TLV 0x1D: icons and, as type 2, the words of a status."""
        raw = case.raw
        while at + 4 <= end:
            if len(case.events) >= 2 * self._limits.oscar_events:
                case.many = True
                return
            stop = at + 4 + raw[at + 3]
            if stop > end:
                case.lie()
                return
            if case.u16(at) == 2 and stop - at > 6:
                words = string16(raw, at + 4, stop)
                if words is None or not self._encodings(case, words[1], stop):
                    case.lie()
                if words is not None:
                    texts, places = case.field(*words, (*outer, (at + 3, 1), (at + 4, 2)), "status", 0x0D)
                    if texts:
                        case.add(Message(
                            kind="status", sender=sender, texts=texts, answerable=case.way is UP,
                            recipients=self._own() if case.way is DOWN else (),
                        ), places, "strip")
            at = stop
        if at != end and end - at < 4:
            case.lie()

    @staticmethod
    def _encodings(case: _Case, at: int, end: int) -> bool:
        """Whether what stands behind the words of a status is a counted list, or nothing."""
        if end - at < 2:
            return at == end
        _, at, true = walk_counted(case.raw, at + 2, end, case.u16(at))
        return true and at == end

    def _set_status(self, case: _Case) -> None:
        """01/1E: the own status, in a number and in words."""
        for kind, start, end in case.walk(case.body, case.end):
            if kind == 0x1D:
                self._status(case, start, end, self._user, (FLAP_LENGTH, (start - 2, 2)))
            elif kind == 0x06 and end - start == 4:
                case.add(Presence(
                    sender=self._user, availability=_icq_state(_U32.unpack_from(case.raw, start)[0])))

    def _set_info(self, case: _Case) -> None:
        """02/04: the own profile and away text; and that the client can encrypt, which may be taken out of the list."""
        tlvs = case.walk(case.body, case.end)
        self._profile(case, tlvs, self._user, ())
        for kind, start, end in tlvs:
            if kind != 0x05:
                continue
            for at in range(start, end - 15, 16):
                name = _SERVICES.get(case.raw[at:at + 16])
                if name in ("secureim", "trilliancrypt") and len(case.events) < 16:
                    case.add(Opaque(
                        kind="capability", sender=self._user, id=name, encryption=Encryption("none", name),
                    ), (), (at, at + 16, (FLAP_LENGTH, (start - 2, 2))))

    def _user_info(self, case: _Case) -> None:
        """02/06: another's profile and away text, as asked for."""
        info = self._info(case, case.body)
        if info is not None:
            self._profile(case, case.walk(info[1], case.end), info[0], self._own())

    def _profile(self, case: _Case, tlvs: list[Tlv], sender: str | None, recipients: tuple[str, ...]) -> None:
        charset = 0
        for kind, start, end in tlvs:
            if kind in (0x01, 0x03):
                charset = _charset_of(case.raw[start:end])
            elif kind in (0x02, 0x04):
                part = "profile" if kind == 2 else "away"
                texts, places = case.field(start, end, (FLAP_LENGTH, (start - 2, 2)), part, charset, form="html")
                if not texts:
                    continue
                if kind == 2:
                    case.add(Opaque(
                        kind="profile", sender=sender, recipients=recipients, texts=texts,
                        answerable=case.way is UP), places, "strip")
                else:
                    case.add(Message(
                        kind="away", sender=sender, recipients=recipients, texts=texts,
                        answerable=case.way is UP), places, "strip")

    def _names(self, case: _Case, action: str) -> None:
        at = case.body
        while (name := string8(case.raw, at, case.end)) is not None:
            if len(case.events) >= self._limits.oscar_events:
                case.many = True
                return
            case.add(ContactChange(
                action=action, contact=name_of(case.raw[slice(*name)]), sender=self._user), (),
                (at, name[1], (FLAP_LENGTH,)))
            at = name[1]

    def _buddies(self, case: _Case) -> None:
        """03/04 and 03/05: contacts for this session only."""
        self._names(case, "add" if case.sub == 4 else "remove")

    def _permissions(self, case: _Case) -> None:
        """09/05 to 09/08: whom the user lets see him."""
        self._names(case, {5: "unblock", 6: "block", 7: "block", 8: "unblock"}[case.sub])

    def _feedbag(self, case: _Case) -> None:
        """13/08, 09, 0A: the list on the server changes (sheet 8)."""
        raw, at = case.raw, case.body
        verb = {0x08: "add", 0x09: "update", 0x0A: "remove"}[case.sub]
        while at < case.end:
            name = string16(raw, at, case.end)
            if name is None or name[1] + 8 > case.end:
                case.lie()
                return
            kind, stop = case.u16(name[1] + 4), name[1] + 8 + case.u16(name[1] + 6)
            if stop > case.end:
                case.lie()
                stop = case.end
            if len(case.events) >= self._limits.oscar_events:
                case.many = True
                return
            action = verb
            if kind in (2, 3, 0x0E):
                action = "block" if (kind != 2) == (verb != "remove") else "unblock"
            words = _Words()
            if kind == 1:
                words.add(case.field(*name, (FLAP_LENGTH, (at, 2)), "group", 0x0D))
            for type_, start, end in case.walk(name[1] + 8, stop):
                part = _ATTRIBUTES.get(type_)
                if part is not None:
                    found = case.field(
                        start, end, (FLAP_LENGTH, (name[1] + 6, 2), (start - 2, 2)), part, 0x0D)
                    words.add(found)
            texts, places = words.few()
            if kind in (0, 1, 2, 3, 0x0E):
                contact = _words(raw[slice(*name)]) if kind == 1 else name_of(raw[slice(*name)])
                if contact:
                    case.add(ContactChange(action=action, contact=contact, sender=self._user, texts=texts), places)
            elif texts:
                case.add(Opaque(kind="feedbag", sender=self._user, texts=texts), places)
            at = stop

    def _authorise(self, case: _Case) -> None:
        """13/14 to 13/1C: asking to be a contact, and the answers, with their words."""
        raw = case.raw
        name = string8(raw, case.body, case.end)
        if name is None:
            case.lie()
            return
        peer = name_of(raw[slice(*name)])
        sender, recipients = (self._user, (peer,)) if case.way is UP else (peer, self._own())
        at = name[1]
        availability = {0x18: "subscribe", 0x19: "subscribe", 0x1C: "subscribe"}.get(case.sub, "subscribed")
        if case.sub in (0x1A, 0x1B) and at < case.end:
            availability = "subscribed" if raw[at] else "unsubscribed"
            at += 1
        texts: tuple[Text, ...] = ()
        places: tuple[_Place | None, ...] = ()
        reason = string16(raw, at, case.end)
        if reason is not None:
            texts, places = case.field(*reason, (FLAP_LENGTH, (at, 2)), "reason", 0x0D, True)
            at = reason[1]
        more = case.rest(reason[0] if reason is not None else at, at, case.end)
        texts, places = texts + more[0], places + more[1]
        case.add(Presence(sender=sender, recipients=recipients, availability=availability, texts=texts), places)

    def _words_of_server(self, case: _Case) -> None:
        """01/13 and 08/02: the message of the day and pop-ups."""
        at, body = (case.body + 2, 0x0B) if case.family == 1 else (case.body, 0x01)
        words = _Words()
        for kind, start, end in walk(case.raw, min(at, case.end), case.end)[0]:
            if kind == body or (case.family == 8 and kind == 2):
                found = case.field(
                    start, end, (FLAP_LENGTH, (start - 2, 2)), "body" if kind == body else "url", form="html")
                words.add(found)
        texts, places = words.few()
        if texts:
            case.add(Message(
                kind="server", recipients=self._own(), texts=texts, answerable=False), places)

    def _invitation(self, case: _Case) -> None:
        """06/02: somebody is invited to AIM by e-mail."""
        tlvs = walk(case.raw, case.body, case.end)[0]
        to = first(tlvs, 0x11)
        words = _Words()
        for kind, start, end in tlvs:
            if kind == 0x15:
                found = case.field(start, end, (FLAP_LENGTH, (start - 2, 2)))
                words.add(found)
        texts, places = words.few()
        case.add(Message(
            kind="invite", sender=self._user, recipients=(name_of(case.raw[slice(*to)]),) if to else (), texts=texts,
        ), places)

    # -- family 0x15

    def _icq_request(self, case: _Case) -> None:
        """15/02 and 15/03: ICQ's own requests and answers, little-endian (sheet 8)."""
        tlvs, true = walk(case.raw, case.body, case.end)
        blocks = [(start, end) for kind, start, end in tlvs if kind == 0x01]
        if not true or len(blocks) != 1 or blocks[0][1] - blocks[0][0] < 10:
            case.odd("icq_request")
        for start, end in blocks:
            if len(case.events) >= self._limits.oscar_events:
                case.many = True
                return
            if end - start >= 10:
                self._icq_block(case, start, end)

    def _icq_block(self, case: _Case, start: int, end: int) -> None:
        raw = case.raw
        uin = str(_L32.unpack_from(raw, start + 2)[0])
        type_ = _L16.unpack_from(raw, start + 6)[0]
        outer: tuple[Length, ...] = (FLAP_LENGTH, (start - 2, 2), (start, -2))
        at = start + 10
        if case.way is DOWN and self._user is None:
            self._sign(case, uin, "claimed", "icq")
        if case.way is DOWN and type_ == 0x0041:
            self._offline(case, at, end, outer)
        elif case.way is UP and type_ == 0x07D0 and at + 2 <= end:
            sub = _L16.unpack_from(raw, at)[0]
            if sub == 0x1482:
                self._sms(case, at + 2, end)
            elif sub in (0x0406, 0x0C3A):
                self._about(case, sub, at + 2, end, outer)

    def _offline(self, case: _Case, at: int, end: int, outer: tuple[Length, ...]) -> None:
        """A stored message: sender, date, type, flags, text. One of a row of answers: only its words can go."""
        raw = case.raw
        if at + 14 > end:
            case.odd("icq_request")
            return
        sender = str(_L32.unpack_from(raw, at)[0])
        year, month, day, hour, minute, type_, flags, length = struct.unpack_from("<HBBBBBBH", raw, at + 4)
        stop = at + 14 + length
        if stop > end:
            case.lie()
            stop = end
        try:
            sent_at: float | None = datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            sent_at = None
        self._icq_message(
            case, _Who(sender, self._own(), sender, b""), raw[at:at + 10], type_, flags, at + 14, stop,
            (*outer, (at + 12, -2)), 0, sent_at, how="strip", rest=end)

    def _sms(self, case: _Case, at: int, end: int) -> None:
        """A short message to a telephone: XML, with its number and its text."""
        xml = scalars(decode(case.raw[at:end], 0, True)[0])
        xml = xml[max(xml.find("<icq_sms_message"), 0):]
        to, text = _element(xml, "destination"), _element(xml, "text")
        whole = "".join(c if c.isprintable() or c in "\r\n\t" else " " for c in xml).strip()
        texts: tuple[Text, ...] = (Text("body", text, None, False),) if text else ()
        if whole and (not text or xml.count("<text") > 1):
            texts = (*texts, Text("data", whole, None, False))  # readers differ in which of two they take
        case.add(Message(
            sender=self._user, recipients=(to,) if to else (), conversation=to or None, texts=texts,
        ), tuple(None for _ in texts))

    def _about(self, case: _Case, sub: int, at: int, end: int, outer: tuple[Length, ...]) -> None:
        """What the user says of himself: 0x0406 one text, 0x0C3A little-endian type, length, value."""
        raw = case.raw
        words = _Words()
        if sub == 0x0406 and at + 2 <= end:
            stop = min(at + 2 + _L16.unpack_from(raw, at)[0], end)
            words.add(case.field(at + 2, stop, (*outer, (at, -2)), "profile", 0, True))
        while sub == 0x0C3A and at + 4 <= end:
            kind, length = struct.unpack_from("<HH", raw, at)
            stop = min(at + 4 + length, end)
            if kind == 0x0258 and stop - at > 6:
                found = case.field(
                    at + 6, stop, (*outer, (at + 2, -2), (at + 4, -2)), "profile", 0, True)
                words.add(found)
            at = stop
        texts, places = words.few()
        if texts:
            case.add(Opaque(kind="profile", sender=self._user, texts=texts), places, "strip")

    # -- frames to bytes

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """What leaves for a frame, numbered as its reader counts; then what of ours waited for it."""
        way, raw, note = frame.way, frame.raw, frame.note
        self._now = frame.at
        if self._out[way]:  # after a fault that was let pass, frames of the decoder before come here too
            self._out[way] -= 1
        calm = True
        for verdict in verdicts:
            if verdict is not PASSED and (verdict.action or verdict.notice):
                calm = False
        if note is None and calm and not self._delta[way] and not self._owed[UP] and not self._owed[DOWN]:
            self._last[way] = raw[2] << 8 | raw[3]
            return [Send(way, raw)]
        acts: list[Act] = []
        if note is _RAW:
            whole = frame.kind in ("oscar.close", "oscar.truncated")
            acts.append(Send(way, self._numbered(way, raw) if whole and len(raw) > 3 else raw))
        elif note is None and not calm:
            self._carry(self._again(frame), verdicts, acts)
        elif not isinstance(note, _Case):
            acts.append(Send(way, self._numbered(way, raw)))
        elif frame.edit == DROP_LYING or (frame.edit == KEEP_PATH and note.offer is not None and self._leased_up()):
            self._drop(note, None, acts)
        elif note.family and note.sub == 1 and way is DOWN and note.request in self._ours:
            # The server's answer to a frame of ours.
            del self._ours[note.request]
            self._delta[way] -= 1
        elif calm:
            changes = self._leased(note.path, note.at) if frame.edit is not None and note.path is not None else None
            acts.append(Send(way, self._numbered(way, (rewrite(raw, changes) or raw) if changes else raw)))
            self._passed(note, acts)
        else:
            self._carry(note, verdicts, acts, frame.edit is not None)
        if raw[1:2] == b"\x04" and frame.kind == "oscar.close":
            self._ended = True
        if self._owed[UP] or self._owed[DOWN]:
            self._settle(way, acts)
        return acts

    def _numbered(self, way: Way, raw: bytes) -> bytes:
        """The frame with the number that its reader expects."""
        number = (raw[2] << 8 | raw[3]) + self._delta[way] & 0xFFFF
        self._last[way] = number
        if not self._delta[way]:
            return raw
        return raw[:2] + _U16.pack(number) + raw[4:]

    def _push(self, way: Way, channel: int, payload: bytes) -> Send:
        """A frame of ours, behind the last that was sent."""
        number = ((self._last[way] or 0) + 1) & 0xFFFF
        self._last[way] = number
        self._delta[way] += 1
        return Send(way, _FLAP.pack(STAR, channel, number, len(payload)) + payload)

    def _say(self, way: Way, payload: bytes, acts: list[Act]) -> None:
        """Have a SNAC of ours said: now, or when the frames that the engine still has are through."""
        owed = self._owed[way]
        if not owed and self.ready(way):
            acts.append(self._push(way, DATA, payload))
        elif len(owed) < OWED:
            owed.append((DATA, payload))

    def _settle(self, way: Way, acts: list[Act]) -> None:
        for each in (way, way.other):
            owed = self._owed[each]
            if owed and self.ready(each):
                acts += [self._push(each, channel, payload) for channel, payload in owed]
                owed.clear()

    def _leased_up(self) -> bool:
        """Whether this session has had its share of ports: who offers without end takes none from others."""
        limits = self._limits
        self._leases = [at for at in self._leases if at > self._now - limits.lease_seconds]
        return len(self._leases) >= limits.oscar_leases

    def _leased(self, path: _Path, at: float) -> list[Change]:
        """An address of ours in place of the one in the frame, where the connection would not pass us otherwise."""
        address = self._memory.lease(self._signed(path.expect), path.reader, at)
        if address is None:
            return []
        changes: list[Change] = []
        if path.names:
            host = f"[{address.ip}]" if ":" in address.ip else address.ip
            words = f"{host}:{address.port}".encode()
            changes = [(start, end, words, (FLAP_LENGTH, (start - 2, 2))) for start, end in path.names]
            if path.certificate:
                at_end = path.names[0][1]
                changes.append((at_end, at_end, pack(0x8D, path.certificate.encode("latin-1")), (FLAP_LENGTH,)))
            return changes
        packed = _ipv4(address.ip)
        self._leases.append(self._now)
        if packed is not None:
            for start, mask in path.hosts:
                changes.append((start, start + 4, bytes(byte ^ mask for byte in packed), ()))
            for start, mask in path.ports:
                changes.append((start, start + 2, bytes(byte ^ mask for byte in _U16.pack(address.port)), ()))
        return changes

    def _signed(self, expect: Expect) -> Expect:
        """The announcement of a user who was not known yet when its frame was read."""
        if expect.by is not None or self._user is None:
            return expect
        return msgspec.structs.replace(expect, by=self._user, identity=self._identity)

    def _passed(self, case: _Case, acts: list[Act]) -> None:
        """What follows from a frame that went on."""
        for expect in map(self._signed, case.expects):
            acts.append(expect)
            if expect.offer is not None and expect.offer.method == "ars" and expect.key is not None:
                # At the relay it is known by its cookie.
                self._memory.put(expect_key("oft", expect.key), expect, case.at + self._limits.expect_seconds)
        if case.gone is not None:
            self._offers.pop(case.gone, None)
        if case.offered is not None:
            key, offered = case.offered
            self._offers.pop(key, None)
            if len(self._offers) >= self._limits.oscar_offers:
                del self._offers[next(iter(self._offers))]
            self._offers[key] = offered

    def _carry(self, case: _Case, verdicts: Sequence[Verdict], acts: list[Act], edited: bool = False) -> None:
        """Carry out verdicts of which one at least is no plain pass."""
        way, raw = case.way, case.raw
        hide: dict[tuple[_Piece, ...], list[tuple[int, int]]] = {}
        whole: dict[tuple[_Piece, ...], str] = {}
        cuts: list[tuple[int, int, tuple[Length, ...]]] = []
        gone = False
        worst: Verdict | None = None
        for event, places, how, verdict in zip(case.events, case.places, case.how, verdicts, strict=True):
            if verdict.action is Action.REDACT:
                _hide(raw, places, verdict, hide)
            elif verdict.action >= Action.HOLD and how != "keep":
                if worst is None or verdict.notice:
                    worst = verdict
                words = [place for place in places if place is not None]
                # What is hidden in tags goes with its text; other words without a place are not replaced by a text.
                blind = any(place is None and text.part != "markup"
                            for place, text in zip(places, event.texts, strict=True))
                if words and not blind and case.offer is None and (verdict.placeholder or how == "strip"):
                    for place in words:
                        whole.setdefault(place.pieces, "")
                    whole[words[0].pieces] = verdict.placeholder or ""
                elif isinstance(how, tuple):
                    cuts.append(how)
                else:
                    gone = True
        if cuts and sum(end - start for start, end, _ in cuts) >= case.end - case.body:
            gone = True
        new: bytes | None = None
        if not gone:
            leased = self._leased(case.path, case.at) if edited and worst is None and case.path is not None else []
            new = self._rewritten(raw, hide, whole, cuts, leased)
        if new is None:
            self._drop(case, worst, acts)
        else:
            acts.append(Send(way, self._numbered(way, new)))
            if worst is None:
                self._passed(case, acts)
        if way is UP:
            for event, verdict in zip(case.events, verdicts, strict=True):
                if verdict.notice:
                    self._notify(verdict.notice, event, acts)

    def _rewritten(
        self, raw: bytes, hide: dict[tuple[_Piece, ...], list[tuple[int, int]]],
        whole: dict[tuple[_Piece, ...], str], cuts: list[tuple[int, int, tuple[Length, ...]]],
        leased: list[Change],
    ) -> bytes | None:
        """The frame with stars, other words, other addresses, or parts cut out; None when it would be too long."""
        changes: list[Change] = [(start, end, b"", lengths) for start, end, lengths in cuts]
        for pieces, spans in hide.items():
            if pieces not in whole:
                changes += _starred(raw, pieces, spans)
        for pieces, words in whole.items():
            changes += _replaced(pieces, words)
        if cuts:
            gone = bytearray(len(raw))
            for start, end, _ in cuts:
                gone[start:end] = b"\1" * (end - start)
            changes = changes[:len(cuts)] + [change for change in changes[len(cuts):] if not gone[change[0]]]
        return rewrite(raw, changes + leased)

    def _drop(self, case: _Case, verdict: Verdict | None, acts: list[Act]) -> None:
        """Take a frame out; who waits for its answer gets one (sheet 13)."""
        way = case.way
        self._delta[way] -= 1
        offer = case.offer
        if offer is not None and offer[3] > 1:
            # The reader waits for this answer to his own proposal: it becomes a cancel, in the frame's place.
            self._delta[way] += 1
            body = self._cancel(case.way, offer)
            raw = case.raw[:6] + _SNAC.pack(case.family, case.sub, 0, case.request) + body
            raw = raw[:4] + _U16.pack(len(raw) - 6) + raw[6:]
            acts.append(Send(way, self._numbered(way, raw)))
        if way is DOWN:
            if offer is not None:
                self._cancel_up(offer, acts)
            return
        raw, at, end = case.raw, case.body, case.end
        denied = _SNAC.pack(case.family, 1, 0, case.request) + _U16.pack(DENIED)
        if (case.family, case.sub) == (4, 6):
            name = string8(raw, at + 10, end)
            if name is None:
                self._say(DOWN, denied, acts)
                return
            if (verdict is not None and verdict.notice is None) or offer is not None:
                if first(walk(raw, name[1], end)[0], 0x03) is not None:
                    ack = _SNAC.pack(4, 0x0C, 0, case.request) + raw[at:at + 10] + raw[name[0] - 1:name[1]]
                    self._say(DOWN, ack, acts)
            else:
                self._say(DOWN, denied, acts)
            if offer is not None:
                self._say(DOWN, _SNAC.pack(4, 7, 0, self._request()) + self._cancel(DOWN, offer), acts)
        elif case.family == 0x13 and 8 <= case.sub <= 0x0A:
            count = max(1, len(case.events))
            self._say(DOWN, _SNAC.pack(0x13, 0x0E, 0, case.request) + _U16.pack(0x000A) * count, acts)
        elif (case.family, case.sub) not in _UNANSWERED and (verdict is None or verdict.notice is not None
                                                            or case.family != 0x0E):
            self._say(DOWN, denied, acts)

    def _cancel_up(self, offer: tuple[bytes, bytes, bytes, int], acts: list[Act]) -> None:
        """Tell the peer that his proposal came to nothing, in the user's name: seldom, and never when the server has
        had enough of what the client sends."""
        if self._limited or self._now - self._cancelled < CANCEL_SECONDS:
            return
        self._cancelled = self._now
        self._say(UP, _SNAC.pack(4, 6, 0, self._asking()) + self._cancel(UP, offer), acts)

    def _asking(self) -> int:
        """A request id for a SNAC of ours to the server, whose answer the client does not see."""
        request = self._request() & 0x7FFFFFFF
        self._ours[request] = None
        while len(self._ours) > 64:
            del self._ours[next(iter(self._ours))]
        return request

    def _request(self) -> int:
        """A request id for a SNAC of ours: servers' own have bit 31 set."""
        self._pushes = (self._pushes + 1) & 0xFFFF
        return 0x80F00000 | self._pushes

    def _cancel(self, way: Way, offer: tuple[bytes, bytes, bytes, int]) -> bytes:
        """The body of a message that cancels a proposal: to the server about the peer, or to the client from him."""
        cookie, service, peer, _ = offer
        head = cookie + _U16.pack(2) + bytes([len(peer)]) + peer
        if way is DOWN:
            head += struct.pack(">HH", 0, 1) + pack(0x01, _U16.pack(0x0010))
        return head + pack(0x05, _U16.pack(1) + cookie + service + pack(0x0B, _U16.pack(1)))

    def _notify(self, text: str, event: Event | None, acts: list[Act]) -> None:
        """A word of ours to the client, about an event or in general."""
        peer = ""
        if isinstance(event, Message | FileOffer) and event.recipients and not self._chat:
            peer = event.recipients[0]
            if isinstance(event, FileOffer) and peer == self._user:
                peer = event.sender or ""
        self._say(DOWN, self._notice(f"[{peer}] {text}" if peer else text), acts)

    def _notice(self, text: str) -> bytes:
        """A notice as an automatic message from our name: no client answers those; in a room as words of the room."""
        line = "".join(" " if char in "\r\n\0" else char for char in text)[:PLACEHOLDER_BYTES]
        if self._chat or self._user is None or not self._user.isdigit():
            line = html.escape(line, quote=False)
        wide = not line.isascii()
        words = line.encode("utf-16-be", "replace") if wide else line.encode()
        request = self._request()
        cookie = b"PG" + f"{self._pushes:05d}".encode() + b"\0"
        info = bytes([len(NAME)]) + NAME + struct.pack(">HH", 0, 1) + pack(0x01, _U16.pack(0x0010))
        if self._chat:
            body = pack(0x03, info) + pack(0x01, b"") + pack(0x07, b"") + pack(
                0x05, pack(0x02, b"unicode-2-0" if wide else b"us-ascii") + pack(0x03, b"en") + pack(0x01, words))
            return _SNAC.pack(0x0E, 6, 0, request) + cookie + _U16.pack(3) + body
        block = b"\x05\x01\0\x01\x01" + struct.pack(">BBHHH", 1, 1, len(words) + 4, 2 if wide else 0, 0) + words
        return _SNAC.pack(4, 7, 0, request) + cookie + _U16.pack(1) + info + pack(0x02, block) + pack(0x04, b"")

    def ready(self, way: Way) -> bool:
        """The client is signed on, numbers are known, and no frame of that way is still to leave."""
        return (
            self._talking and not self._ended and self._out[way] == 0 and self._last[way] is not None
            and not self._lost[way] and not self._skip[way] and self._opaque is None
        )

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """A message from our name to the client; of a refused transfer, in front of it, a cancel from the peer. To the
        peer only that cancel goes: all else would be words of the user's, and count in his rate limit."""
        acts: list[Act] = []
        about = message.about
        offered: _Offered | None = None
        if isinstance(about, FileOffer):
            ends = {about.sender, *about.recipients}
            for (_, peer, _), each in self._offers.items():
                if each.event.id == about.id and peer in ends:
                    offered = each
        if way is UP:
            if offered is not None:
                self._cancel_up(offered.answer, acts)
            return acts
        if offered is not None:
            self._say(DOWN, _SNAC.pack(4, 7, 0, self._request()) + self._cancel(DOWN, offered.answer), acts)
        if message.text:
            self._notify(message.text, about, acts)
        return acts

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        """Family and subtype (16 bits each), the room (UTF-8 behind 16 bits of length; empty for a message) and the
        SNAC's body: of messages and of words in a room. A request for the host's acknowledgement (TLV 3 of 04/06) is
        not kept: it was answered."""
        frame = frames[-1]
        if len(frames) > 1 or type(frame.events[index]) is not Message or frame.note is _RAW:
            return None
        case = frame.note if isinstance(frame.note, _Case) else self._again(frame)
        kind, raw, at, end = (case.family, case.sub), frame.raw, case.body, case.end
        if kind not in _KEPT or case.lying or case.offer is not None:
            return None
        body = raw[at:end]
        room = (self._room or "").encode("utf-8", "surrogatepass") if kind[0] == 0x0E else b""
        if kind[0] == 0x0E and not 0 < len(room) < 0x10000:
            return None
        if kind == (4, 6):
            tlvs = at + 11 + raw[at + 10] if end - at > 10 else end
            found, true = walk(raw, tlvs, end)
            if not true:
                return None
            body = raw[at:tlvs] + b"".join(raw[start - 4:stop] for each, start, stop in found if each != 3)
        return _KIND.pack(*kind, len(room)) + room + body

    def release(self, kept: bytes, way: Way) -> list[Act] | None:
        """The SNAC with this session's numbers; words of a room only in a session of that room."""
        if not self.ready(way) or len(kept) < _KIND.size:
            return None
        family, sub, size = _KIND.unpack_from(kept)
        body = _KIND.size + size
        room = kept[_KIND.size:body].decode("utf-8", "surrogatepass")
        if (family, sub) not in _KEPT or (family == 0x0E) is not self._chat or (self._chat and room != self._room):
            return None
        acts: list[Act] = []
        request = self._asking() if way is UP else self._request()
        self._say(way, _SNAC.pack(family, sub, 0, request) + kept[body:], acts)
        return acts

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """A last word to the client, and channel 4 to both (sheet 3)."""
        del fault
        acts: list[Act] = []
        if self._ended or self._opaque is not None:
            return acts
        if self._talking and self._last[DOWN] is not None and reason:
            acts.append(self._push(DOWN, DATA, self._notice(reason)))
        for way in (DOWN, UP):
            if self._last[way] is not None:
                acts.append(self._push(way, CLOSE, b""))
        self._ended = True
        return acts


_KIND = struct.Struct(">HHH")
_KEPT = frozenset(((4, 6), (4, 7), (0x0E, 5), (0x0E, 6)))
"""What can be sent later."""

# -- small helpers


class _Who(msgspec.Struct, frozen=True, gc=False):
    """Both ends of a message."""

    sender: str | None
    recipients: tuple[str, ...]
    peer: str
    wire: bytes
    """The peer's name as the wire has it."""


def _words(data: bytes) -> str:
    """A name that is shown."""
    return scalars(decode(data, 0, False)[0]).replace("\0", "")


def _element(xml: str, name: str) -> str:
    """The text of an element without attributes; "" where there is none."""
    start = xml.find(f"<{name}>")
    if start < 0:
        return ""
    start += len(name) + 2
    end = xml.find(f"</{name}>", start)
    return html.unescape(xml[start:end if end >= 0 else len(xml)]).strip()


def _icq_state(status: int) -> str:
    """ICQ's status bits (the low half of the number)."""
    for bit, name in _ICQ_STATES:
        if status & 0xFFFF & bit:
            return name
    return "online"


def _availability(case: _Case, tlvs: list[Tlv]) -> str:
    """online, away, idle …, of a user-info block's list."""
    state = "online"
    for kind, start, end in tlvs:
        if kind == 0x01 and end - start == 2 and case.u16(start) & 0x0020:
            return "away"
        if kind == 0x06 and end - start == 4:
            state = _icq_state(_U32.unpack_from(case.raw, start)[0])
        elif kind == 0x04 and end - start == 2 and case.u16(start) and state == "online":
            state = "idle"
    return state


def _joined(raw: bytes, pieces: tuple[_Piece, ...]) -> str:
    return "".join(_decoded(raw[piece.start:piece.end], piece.codec) for piece in pieces)


def _hide(
    raw: bytes, places: Sequence[_Place | None], verdict: Verdict,
    hide: dict[tuple[_Piece, ...], list[tuple[int, int]]],
) -> None:
    """Add what masks of an event cover to `hide`: spans of the joined pieces, each to become one star."""
    by_text: dict[int, list[tuple[int, int]]] = {}
    for index, start, end in verdict.masks:
        by_text.setdefault(index, []).append((start, end))
    for index, spans in by_text.items():
        place = places[index] if 0 <= index < len(places) else None
        if place is None:
            continue
        units = place.units(_joined(raw, place.pieces))
        found = hide.setdefault(place.pieces, [])
        covered = bytearray(len(units))
        for start, end in spans:
            start, end = max(start, 0), min(end, len(units))
            covered[start:end] = b"\1" * (end - start)
        # A line break is no character that could be masked: it may be a tag.
        found += [(a, b) for (char, a, b), masked in zip(units, covered, strict=True) if masked and char != "\n"]


def _starred(raw: bytes, pieces: tuple[_Piece, ...], spans: list[tuple[int, int]]) -> list[Change]:
    """The pieces with one star for each span, in their own charsets."""
    changes: list[Change] = []
    texts = [_decoded(raw[piece.start:piece.end], piece.codec) for piece in pieces]
    chars = list("".join(texts))
    for start, end in spans:
        chars[start] = "*"
        chars[start + 1:end] = [""] * (end - start - 1)
    at = 0
    for piece, text in zip(pieces, texts, strict=True):
        new = "".join(chars[at:at + len(text)])
        at += len(text)
        if new != text:
            changes.append((piece.start, piece.end, encode(new, piece.codec), piece.lengths))
    return changes


def _replaced(pieces: tuple[_Piece, ...], words: str) -> list[Change]:
    """The pieces with other words in place of all of theirs, escaped: most clients show HTML."""
    words = "".join(" " if char in "\r\n\0" else char for char in words)
    small = any(length[0] != FLAP_LENGTH[0] and abs(length[1]) == 1 for length in pieces[0].lengths)
    words = html.escape(words[:100 if small else PLACEHOLDER_BYTES], quote=False)
    changes: list[Change] = []
    for index, piece in enumerate(pieces):
        new = words if index == 0 else ""
        codec = piece.codec
        if not new.isascii() and piece.charset >= 0 and codec != "utf-16-be":
            codec = "utf-16-be"
            changes.append((piece.charset, piece.charset + 2, b"\0\2", ()))
        changes.append((piece.start, piece.end, encode(new, codec), piece.lengths))
    return changes


_ICQ_PARTS: dict[int, tuple[str, ...]] = {
    0x03: ("description", "file_name"), 0x04: ("body", "url"),
    0x06: ("nick", "realname", "realname", "mail", "", "reason"), 0x0C: ("nick", "realname", "realname", "mail", ""),
    0x0D: ("realname", "", "", "mail", "", "body"), 0x0E: ("realname", "", "", "mail", "", "body"),
}
"""Fields of ICQ's composed messages, by type; "": not read. The last one has all that follows."""
_AUTH = {0x06: "subscribe", 0x07: "unsubscribed", 0x08: "subscribed", 0x0C: "subscribe"}
_ATTRIBUTES = {0x0131: "nick", 0x013C: "note", 0x0137: "mail", 0x013A: "phone"}
"""Attributes of a contact that are words of the user."""
_UNANSWERED = frozenset({(2, 4), (3, 4), (3, 5), (4, 0x14), (4, 0x0B), (1, 0x1E)})
"""Requests that no answer is owed to."""

_Handler = Callable[[OscarDecoder, _Case], None]
_D = OscarDecoder
_BOTH: dict[int, _Handler] = {
    _ICBM_OUT: _D._icbm, _ICBM_IN: _D._icbm, 0x000E0005: _D._chat_message, 0x000E0006: _D._chat_message,
    0x0004000B: _D._client_error, 0x00040014: _D._typing,
    0x00130008: _D._feedbag, 0x00130009: _D._feedbag, 0x0013000A: _D._feedbag,
    **dict.fromkeys((0x00130014, 0x00130015, 0x00130018, 0x00130019, 0x0013001A, 0x0013001B, 0x0013001C),
                    _D._authorise),
}
_HANDLERS: tuple[dict[int, _Handler], dict[int, _Handler]] = (
    {
        **_BOTH, 0x00010002: _D._online, 0x00010004: _D._service_request,
        0x0001001E: _D._set_status, 0x00020004: _D._set_info, 0x00030004: _D._buddies, 0x00030005: _D._buddies,
        0x00060002: _D._invitation, 0x00090005: _D._permissions, 0x00090006: _D._permissions,
        0x00090007: _D._permissions, 0x00090008: _D._permissions, 0x000D0008: _D._chat_create,
        0x00150002: _D._icq_request, 0x00170002: _D._login, 0x00170006: _D._login,
    },
    {
        **_BOTH, 0x00010005: _D._service_reply, 0x0001000A: _D._rate, 0x0001000F: _D._self_info,
        0x00010012: _D._migration, 0x00010013: _D._words_of_server, 0x00020006: _D._user_info,
        0x0003000B: _D._presence, 0x0003000C: _D._presence, 0x00080002: _D._words_of_server,
        0x000E0002: _D._chat_room, 0x000E0003: _D._chat_users, 0x000E0004: _D._chat_users,
        0x00150003: _D._icq_request, 0x00170003: _D._login_reply,
    },
)
_KINDS = {key: f"oscar.{key >> 16:04x}.{key & 0xFFFF:04x}" for handlers in _HANDLERS for key in handlers}
_OUT_KIND, _IN_KIND = _KINDS[_ICBM_OUT], _KINDS[_ICBM_IN]
_MESSAGES = frozenset(_KINDS[key] for key in (
    _ICBM_OUT, _ICBM_IN, 0x000E0005, 0x000E0006, 0x00020004, 0x00130008, 0x00130009, 0x0013000A, 0x00130018, 0x0013001A,
))
"""What is not passed on when its lengths lie: words of people, and nothing that would be waited for."""


# -- recognising


PROBE_BYTES = 4096
"""Bytes of each way that the probe looks at."""


def _plausible(
    data: bytes, at: int, expected: int | None, window: int, edge: bool,
) -> tuple[bool | None, int]:
    """(whether a frame begins at data[at], which is 0x2A; None: more bytes must tell, how many from there).

    `expected`: the number that would follow, if known; `window`: how many frames may be missing. `edge`: a segment
    begins here. No frame is believed by its own header alone: the next one must follow it, or the segment end with it.
    """
    size = len(data)
    rest = size - at
    if rest > 1 and not 0 < data[at + 1] < 6:
        return False, 0
    if rest < 6:
        return None, 6
    channel, number, length = data[at + 1], data[at + 2] << 8 | data[at + 3], data[at + 4] << 8 | data[at + 5]
    stop = at + 6 + length
    known = False
    if channel == DATA:
        if length < 10:
            return False, 0
        if rest < 10:
            return None, 10
        family, sub = data[at + 6] << 8 | data[at + 7], data[at + 8] << 8 | data[at + 9]
        if family not in _FAMILIES or not 0 < sub < _SUBTYPES:
            return False, 0
        known = True
        if expected is not None and (number - expected) & 0xFFFF < window:
            return True, 0
    elif channel == HELLO:
        if length < 4:
            return False, 0
        if rest < 10:
            return None, 10
        known = data[at + 6:at + 10] == b"\0\0\0\1"
        if not known:
            return False, 0
    elif channel == KEEP_ALIVE:
        known = edge and not length
    if stop == size:
        return (True, 0) if known else (None, stop - at + 4)
    if stop + 4 <= size:
        chained = (
            data[stop] == STAR and 0 < data[stop + 1] < 6
            and (data[stop + 2] << 8 | data[stop + 3]) == (number + 1) & 0xFFFF
        )
        return chained, 0
    if stop < size and data[stop] != STAR:
        return False, 0
    return None, stop - at + 4


def _hello_match(data: bytes) -> Match:
    """A FLAP hello at the beginning (sheet 2): ten bytes, and a list that fills the frame."""
    if data[1:2] not in (b"", b"\x01"):
        return Match.NO
    if len(data) < 10:
        bad = len(data) >= 6 and not 4 <= (data[4] << 8 | data[5]) <= 4096
        return Match.NO if bad or not b"\0\0\0\1".startswith(data[6:10]) else Match.MORE
    length = data[4] << 8 | data[5]
    if not 4 <= length <= 4096 or data[6:10] != b"\0\0\0\1":
        return Match.NO
    if length == 4:
        return Match.STRONG
    tlvs, true = walk(data, 10, 6 + length) if len(data) >= 6 + length else walk(data, 10, len(data))
    if len(data) >= 6 + length:
        return Match.STRONG if true else Match.NO
    return Match.WEAK if tlvs and tlvs[0][0] in (0x01, 0x06, 0x8001) else Match.MORE


def _middle_match(data: bytes) -> Match:
    """Frames in the middle of a stream: two that follow one another, the SNACs among them of known families."""
    at = data.find(b"*")
    best = Match.NO
    while at >= 0:
        if len(data) - at >= 10 and 0 < data[at + 1] < 6:
            stop = at + 6 + (data[at + 4] << 8 | data[at + 5])
            answer, _ = _plausible(data, at, None, 0, at == 0)
            if answer and stop < len(data):
                if data[at + 1] == DATA or (data[stop + 1] == DATA and _family(data, stop)):
                    return Match.STRONG
            elif answer and not at and data[1] == DATA:
                best = Match.WEAK
        at = data.find(b"*", at + 1)
    if best is Match.NO and data[:1] == b"*" and data[1:2] in (b"", b"\2", b"\5") and len(data) < 16:
        return Match.MORE
    return best


def _family(data: bytes, at: int) -> bool:
    return len(data) >= at + 10 and data[at + 6] << 8 | data[at + 7] in _FAMILIES and not data[at + 8]


def _carried(up: bytes) -> Match:
    """TOC, and OSCAR inside HTTP (sheet 1, 15)."""
    if b"FLAPON\r\n\r\n".startswith(up[:10]):
        return Match.STRONG if len(up) >= 10 else Match.MORE
    if up[:4] not in (b"GET ", b"POST"):
        return Match.NO
    head = up.partition(b"\r\n\r\n")[0].lower()
    line = head.partition(b"\r\n")[0]
    path = line.split(b" ")[1] if line.count(b" ") > 1 else b""
    for word, more in ((b"/monitor?sid=", 32), (b"/data?sid=", 32)):
        at = path.find(word)
        if at >= 0:
            sid = path[at + len(word):at + len(word) + more]
            if len(sid) == 32 and all(c in b"0123456789abcdef" for c in sid):
                return Match.STRONG
    hosts = (b"http.proxy.icq.com", b"aimhttp.oscar.aol.com")
    if path.endswith(b"/hello") and any(host in head for host in hosts):
        return Match.STRONG
    return Match.NO


def _way_match(data: bytes) -> Match:
    if not data:
        return Match.MORE
    if data[0] == STAR:
        match = _hello_match(data)
        if match is not Match.NO:
            return match
    return _middle_match(data[:PROBE_BYTES])


def probe(up: bytes, down: bytes) -> Match:
    """OSCAR on any port, from the first bytes of either side."""
    carried = _carried(up) if up[:1] in (b"F", b"G", b"P") else Match.NO
    if not up and not down:
        return Match.MORE
    found = [_way_match(data) for data in (up, down) if data]
    return max(carried, *found)


_ALL = Can(drop=True, mask=True, placeholder=True, notify=True, hold=True, inject=True)
_REQUEST = Can(drop=True, mask=True, notify=True)

SPEC = Spec(
    name="oscar",
    title="OSCAR (AIM, ICQ)",
    probe=probe,
    decoder=OscarDecoder,
    ports=frozenset({5190, 5191, 5192, 5193}),
    signs_on=True,
    can={
        "message": _ALL,
        "presence": _REQUEST,
        "contact": _REQUEST,
        "group": _REQUEST,
        "file": Can(drop=True, notify=True, hold=True),
        "file.oft": Can(drop=True, notify=True, hold=True),
        "call": Can(drop=True, notify=True),
        "typing": Can(drop=True),
        "opaque": Can(drop=True, mask=True, placeholder=True, notify=True),
        "opaque.error": Can(mask=True),
    },
    edits=(
        Edit(DROP_LYING, "a message whose lengths lead out of it is not passed on: readers disagree about it"),
        Edit(KEEP_PATH, "where a connection would not pass through us, the addresses of redirects and of proposals are "
                        "changed to a port of ours"),
    ),
    applications=("aim", "icq"),
    names_messages=True,
    not_decoded=(
        "TOC", "OSCAR inside HTTP", "web login", "side connections of ICQ clients", "icons", "directory searches",
        "advertisements", "RTF as such",
    ),
)
