"""XMPP over HTTP: BOSH (XEP-0124, XEP-0206), as a carrier whose sessions outlive its connections (docs/decisions/0083).

A client asks with `<body rid sid>stanzas</body>` in a POST, the connection manager answers with a `<body>` of its own,
now or later. One session uses several connections, in turn or at once; its requests are numbered (`rid`). So the XMPP
decoder of a session lies in the memory that the worker's flows share, under the client's address, the server and the
`sid`. Each connection cuts its own HTTP into whole requests and responses, gives the stanzas of each to that decoder in
the order of the numbers, and has the frames judged.

What is untouched leaves as it came. A refused stanza is taken out of its body: an empty body is legal, a missing number
is not. What is said to the other side waits for the next body that goes there, on whatever connection. A request that
is sent again goes as it went the first time; other words under a used number are a fault. A session that we have not
seen from its beginning is answered with item-not-found, the protocol's own word for it.

All that peers may read differently is a fault (`inspector/wire/httpunits.py`). What a GET (HEAD, OPTIONS) brings is no
IM, and read by nobody: as the policy has it for unknown traffic it passes with its answer, whatever that holds, or is
answered with 403 by us. Of preflights and of errors of HTTP the words are taken out.

Versions seen: Prosody 0.12; libpurple 2, which sends one request behind the other on one connection.

Not decoded: the script form (XEP-0124 19), content codings (not offered, refused), several streams in one session
(section 20, refused), in-band bytestreams (refused), HTTP/1.0, responses without a length (refused), words in fields of
heads and in attributes of bodies.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Cut,
    Decoder,
    DecoderFactory,
    Edit,
    Event,
    Expect,
    FileOffer,
    Flow,
    Frame,
    Limits,
    Match,
    Memory,
    Message,
    Notice,
    Oddity,
    Opaque,
    PeerError,
    Send,
    SignOn,
    Spec,
    Tell,
    Verdict,
    Way,
    Went,
)
from inspector.model.clients import client_of
from inspector.wire import xml
from inspector.wire.carried import CarriedApart
from inspector.wire.httpunits import HttpFault, HttpUnit, HttpUnits
from inspector.wire.xml import ELEMENT, LANG, STREAMS, Splitter, XmlFault

NAME = "xmpp_bosh"
HTTPBIND = "http://jabber.org/protocol/httpbind"
STRIP_CODINGS = f"{NAME}.strip_codings"
CONTINUE = f"{NAME}.continue"
UNKNOWN_SESSION = f"{NAME}.unknown_session"
STRIP_WORDS = f"{NAME}.strip_words"

_BODY = f"{{{HTTPBIND}}}body"
_XBOSH = "{urn:xmpp:xbosh}"
_CLIENT = "jabber:client"
_ENDING = ("shutdown", "shutting", "drain", "stopp")
"""Words of a reason that is nobody's fault."""
_RID_MOST = 2 ** 53 - 1
_SID = 256
"""Characters of the longest session id that is remembered; real ones have 10 to 40."""
_POLL, _POLL_MOST = 0.05, 1.0
"""Seconds until the first look whether a request's turn has come, and between the last; each waits twice as long."""
_TRANSLATED, _STRIPPED = "xmpp.translate_sm", "xmpp.strip_sm"
_NO_STREAMS = frozenset({"xmpp.refuse_streams", "xmpp.refuse_blocks"})
_MISNAMED = b"text/xml; charset=utf-8"
"""libpurple says as a coding what the type is; no coding has a slash in its name (RFC 9110 8.4.1)."""
_HEX = b"0123456789abcdefABCDEF"
_PLAIN = 2048
"""Tags of a body that is parsed at once."""
_UTF8 = frozenset(b"='utf-8'" + more for more in (b"", b"standalone='yes'", b"standalone='no'"))
"""What may follow `encoding` in a declaration, without its blanks."""
_USUAL = frozenset({b"text/xml; charset=utf-8", b"text/xml", b"text/xml;charset=utf-8"})
_CONNECTION = frozenset({b"keep-alive", b"close", b"te"})
"""What `Connection` may say: some take the fields that it names out of the head (RFC 9110 7.6.1)."""
_PROBED = 32 * 1024
_PATHS = (b"bosh", b"http-bind", b"httpbind")
"""What the paths of connection managers have in them (Prosody, ejabberd, Openfire, Tigase)."""
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that bring nothing to the server (RFC 9110 9.2.1)."""
_FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
_POST = b"POST "
_PLACES = 16
_STEP = 64
"""Bytes that come before a coded body is looked at again, where no tag can have ended in them."""
_WORK = 1 << 20
"""Bytes of one coded body that are read again and again; what needs more is none of a page."""
_BLANK = (b"\n\r\n", b"\n\n")
"""What a head ends with."""
_UTF16 = b"\xff\xfe"
"""The bytes, in either order, of its mark."""
_MARKS = (b"httpbind", b"rid", b"&#")
"""What an opening tag of BOSH has in it; a reference may hide the others."""
_WHITES = tuple(bytes([each]) for each in xml.WHITE)
_LONGEST_MARK = max(map(len, _MARKS))
_WALKED = 64
"""Requests in front of the first one of BOSH that a probe looks behind."""


# -- bodies


class Body:
    """One `<body/>`: its attributes, its stanzas as the decoder inside reads them, its tags as they were written."""

    __slots__ = ("accept", "attributes", "closing", "digest", "opening", "stanzas", "text")

    def __init__(self, text: bytes, attributes: dict[str, str], stanzas: list[bytes], opening: bytes, closing: bytes,
                 accept: tuple[int, int] | None) -> None:
        self.text = text
        self.digest = hashlib.blake2b(text, digest_size=16).digest()
        self.attributes = attributes
        self.stanzas = stanzas
        self.opening = opening
        self.closing = closing
        self.accept = accept
        """Where in `text` the attribute `accept` stands."""


def read_body(data: bytes, depth: int, stanzas: int) -> Body:
    """Read a message's body: one element, nothing around it but white space and a declaration that says UTF-8.

    What inherits the namespace of the body is read as a stanza's: some servers do so. `depth`, `stanzas`: how deep a
    stanza may be, and how many there may be. Raises XmlFault.
    """
    text = data.strip(xml.WHITE)
    if text.startswith(b"<?xml"):
        declared, end, text = text.partition(b"?>")
        said = declared.lower().replace(b'"', b"'").partition(b"encoding")
        if not end or (said[1] and b"".join(said[2].split()) not in _UTF8):
            raise XmlFault("unsupported-encoding", "a declaration that names no UTF-8, or more behind it")
        text = text.lstrip(xml.WHITE)
    if b"<!" in text or b"<?" in text or text.count(b"<") > _PLAIN:
        # How deep a stanza is, and what else is wrong with it, the decoder inside says of what is no longer than that.
        splitter = Splitter(len(text) + 1, depth + 1)
        splitter.opened = True
        splitter.push(text)
        if splitter.take() != (ELEMENT, text):
            raise XmlFault("not-well-formed", "not one whole element")
    element = xml.reader(()).read(text)
    if element is None:
        raise XmlFault("not-well-formed", "not one whole element")
    if element.tag != _BODY:
        raise XmlFault("invalid-namespace", "no body of BOSH", "not_bosh")
    if len(element) > stanzas:
        raise XmlFault("policy-violation", f"more than {stanzas} stanzas", "too_many_stanzas")
    attributes = dict(element.items())
    if any(name[0] == "{" and name.startswith(_BODY[:-4]) for name in attributes):
        raise XmlFault("bad-format", "an attribute with the body's own namespace")
    pieces = [element.text, *(child.tail for child in element)]
    if any(piece and piece.strip(" \t\r\n") for piece in pieces):
        raise XmlFault("bad-format", "text between stanzas")
    opens = text.index(b">") + 1
    single, double = text.count(b"'", 0, opens), text.count(b'"', 0, opens)
    if single % 2 or double % 2 or (single and double):
        opens = xml.close_of(text, 0)  # a ">" in quotes, or quotes in quotes
    opening, closing = text[:opens], text[text.rfind(b"</"):]
    if opening.endswith(b"/>"):
        name = opening[1:-2].split(None, 1)[0]
        opening, closing = opening[:-2] + b">", b"</" + name + b">"
    accept = None
    if "accept" in attributes:
        span = xml.attribute(text, xml.Place(0, opens), "accept")
        if span is not None:
            accept = text.rindex(b"accept", 0, span[0]), span[1] + 1
    return Body(text, attributes, [_stanza(child) for child in element], opening, closing, accept)


def _stanza(child: Element) -> bytes:
    """A child of a body as a stanza of a stream of clients. Raises XmlFault."""
    for each in child.iter():
        if each.tag.startswith(f"{{{HTTPBIND}}}"):
            each.tag = f"{{{_CLIENT}}}{each.tag[len(HTTPBIND) + 2:]}"
    if child.tag.rpartition("}")[2] == "stream":
        raise XmlFault("bad-format", "a stream inside a body")
    return xml.write(child, _CLIENT)


def _elements(data: bytes) -> bytes:
    """Stanzas of the inner stream as children of a body, each with its namespaces; a stream's own tags are left out."""
    splitter = Splitter(len(data) + 1, 128)
    splitter.opened = True
    splitter.push(data)
    out: list[bytes] = []
    try:
        while (unit := splitter.take()) is not None:
            what, raw = unit
            if what is not ELEMENT:
                continue
            element = xml.reader(xml.CLIENT_STREAM).read(raw)
            if element is None:
                continue
            streams = f"{{{STREAMS}}}"
            if element.tag.startswith(streams) and not any(
                each.tag.startswith(streams) for child in element for each in child.iter()
            ):
                # Clients look for the name with its usual prefix.
                said = xml.write(element, STREAMS)
                local = element.tag[len(streams):].encode()
                said = b"<stream:" + local + f" xmlns:stream='{STREAMS}'".encode() + said[1 + len(local):]
                if said.endswith(b"</" + local + b">"):
                    said = said[:-len(local) - 1] + b"stream:" + local + b">"
                out.append(said)
            else:
                out.append(xml.write(element, ""))
    except XmlFault:
        return b""
    return b"".join(out)


# -- sessions


class _Left(msgspec.Struct, frozen=True):
    """Stanzas of what was released, as children of a body. `flow`: of the connection that it was given to."""

    data: bytes
    flow: str


class _Once:
    """What was said under one number one way, and what was sent for it."""

    __slots__ = ("body", "decided", "digest", "lost")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.decided = False
        self.body: bytes | None = None
        """What was sent in its place; None: what came."""
        self.lost = False
        """That was too much to be kept."""


class _Turn:
    """One number: its request and its response."""

    __slots__ = ("down", "up")

    def __init__(self, up: _Once) -> None:
        self.up = up
        self.down: _Once | None = None


class _Through:
    """The memory that the decoder of a session has: that of the connection which is read or written just now, where the
    engine hears what came of it."""

    __slots__ = ("now",)

    def __init__(self, now: Memory) -> None:
        self.now = now

    def get(self, key: str, at: float) -> object | None:
        return self.now.get(key, at)

    def put(self, key: str, value: object, until: float) -> None:
        self.now.put(key, value, until)

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        return self.now.lease(expect, way, at)


class _Session:
    """One session of BOSH, for as long as the memory keeps it."""

    __slots__ = (
        "dropped", "inner", "keys", "left", "loose", "make", "next", "origin", "over", "owed", "sid", "sign_on",
        "stream", "through", "turns", "until",
    )

    def __init__(
        self, make: Callable[[bool, Memory], Decoder], memory: Memory, rid: int, *, loose: bool = False,
    ) -> None:
        self.through = _Through(memory)
        self.make = make
        self.inner = make(not loose, self.through)
        self.loose = loose
        """Not seen from its beginning."""
        self.next = rid
        """The number whose turn it is."""
        self.turns: OrderedDict[int, _Turn] = OrderedDict()
        self.sid: str | None = None
        self.stream: str | None = None
        """The name of its stream, where the server can have several in one session."""
        self.origin = ""
        """The `from` of the answer that began it."""
        self.keys = False
        """Its requests are protected by a sequence of keys (XEP-0124 15)."""
        self.sign_on: SignOn | None = None
        self.over = False
        self.until = 0.0
        self.owed: tuple[list[bytes], list[bytes]] = ([], [])
        """Stanzas of ours that wait for the next body of their way."""
        self.dropped = False
        """There was no room for one; told once, with the next body."""
        self.left: tuple[dict[str, _Left], dict[str, _Left]] = ({}, {})
        """What was released, by its hold, and waits for the next body of its way, whichever connection has it."""

    def owe(self, way: Way, data: bytes, limits: Limits) -> None:
        """Have stanzas said with the next body that goes that way."""
        if sum(map(len, self.owed[way])) + len(data) <= limits.bosh_owed_bytes:
            self.owed[way].append(data)
        else:
            self.dropped = True

    def take_left(self, way: Way) -> tuple[list[bytes], list[Act]]:
        """What was released for the body that goes now, and the news that it has gone; none where the session ends."""
        waits = self.left[way]
        if not waits or self.over or not self.inner.ready(way):
            return [], []
        data = [each.data for each in waits.values()]
        news: list[Act] = [Went(hold, each.flow, sent=True) for hold, each in waits.items()]
        waits.clear()
        return data, news

    def drop_left(self) -> list[Act]:
        """The session is over: nothing of what waits has gone, nor will."""
        news: list[Act] = [Went(hold, each.flow, sent=False) for waits in self.left for hold, each in waits.items()]
        for waits in self.left:
            waits.clear()
        return news

    def begin(self, rid: int, digest: bytes, limits: Limits) -> _Once:
        """A request with a new number."""
        once = _Once(digest)
        self.turns[rid] = _Turn(once)
        self.next = max(self.next, rid + 1)
        while len(self.turns) > limits.bosh_turns:
            self.turns.popitem(last=False)
        return once

    def decided(self, once: _Once, body: bytes | None, limits: Limits) -> None:
        """What was sent for it; the oldest that differs from what came is forgotten first."""
        once.decided, once.body = True, body
        if body is None:
            return
        room = limits.bosh_kept_bytes
        for turn in reversed(self.turns.values()):
            for each in (turn.up, turn.down):
                if each is not None and each.body is not None:
                    room -= len(each.body)
                    if room < 0:
                        each.body, each.lost = None, True

    def hurt(self) -> None:
        """Bytes that its decoder cannot go on from: where the policy lets them pass, a fresh one reads on."""
        self.inner = self.make(False, self.through)


class _Client:
    """The sessions of one client, whatever servers they are at: names of servers are his to make up. They make room for
    each other only, those without a user first. Keys: his address, the server and the sid."""

    __slots__ = ("known", "unsigned")

    def __init__(self) -> None:
        self.known: OrderedDict[str, _Session] = OrderedDict()
        """What was heard of last at the end."""
        self.unsigned: OrderedDict[str, _Session] = OrderedDict()

    def get(self, key: str, at: float) -> _Session | None:
        """A session that lives."""
        found = self.known.get(key) or self.unsigned.get(key)
        return found if found is not None and not found.over and found.until >= at else None

    def heard_of(self, key: str, session: _Session, at: float, limits: Limits) -> None:
        """Keep it (anew). What is over, or was not heard of for too long, goes."""
        session.until = at + limits.bosh_seconds
        self.known.pop(key, None)
        self.unsigned.pop(key, None)
        table = self.unsigned if session.sign_on is None else self.known
        if not session.over:
            table[key] = session
        for each, most in ((self.known, limits.bosh_sessions), (self.unsigned, limits.bosh_logins)):
            while each and (len(each) > most or (first := next(iter(each.values()))).over or first.until < at):
                each.popitem(last=False)


class _Asked(msgspec.Struct):
    """A request that waits for its response. `session` None: a preflight, or one of no BOSH."""

    session: _Session | None
    rid: int = 0
    creates: bool = False
    expects: bool = False
    other: bool = False
    """It is of no BOSH: its answer passes as it comes."""
    bodiless: bool = False
    """It was HEAD."""
    refused: bool = False
    """It was answered by us."""


class _Waiting(msgspec.Struct):
    """A request whose turn has not come."""

    unit: HttpUnit
    body: Body
    until: float
    poll: float


class _Block:
    """A request or response of a session, while the frames of its stanzas are judged."""

    __slots__ = ("body", "came", "fine", "inner", "once", "out", "session", "unit", "unoffered", "without")

    def __init__(self, unit: HttpUnit, body: Body, session: _Session, once: _Once | None) -> None:
        self.unit = unit
        self.body = body
        self.session = session
        self.inner = session.inner
        self.once = once
        self.fine = True
        """Its reader takes what is in it: it is no error of HTTP."""
        self.without: tuple[bytes, ...] = ()
        """Fields of the head that are taken out."""
        self.unoffered = False
        """The attribute `accept` is taken out."""
        self.out: list[bytes] = []
        self.came: list[bytes] = []


class _Part(msgspec.Struct, frozen=True):
    """The `note` of a frame of a block."""

    block: _Block
    frame: Frame | None
    last: bool


class _Other(msgspec.Struct, frozen=True):
    """The `note` of a request of no BOSH. `alone`: an answer of ours to it has its place."""

    asked: _Asked
    alone: bool


class _Plain(msgspec.Struct, frozen=True):
    """The `note` of what is sent as it stands here."""

    sends: tuple[Send, ...]
    answers: bool = False
    """It is the response to a request, ours or the server's."""


class BoshDecoder:
    """One connection."""

    __slots__ = (
        "_asked", "_dead", "_edits", "_expected", "_flow", "_left", "_limits", "_loose", "_make", "_memory", "_open",
        "_owing", "_place", "_request", "_seek", "_session", "_units", "_user", "_waits", "due",
    )

    def __init__(
        self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str], inner: DecoderFactory,
    ) -> None:
        self._flow = flow
        self._limits = limits
        self._memory = memory
        self._edits = edits
        # Nothing is counted over HTTP, and a file would be spread over sessions of the engine.
        within = edits | _NO_STREAMS
        if _TRANSLATED in within:
            within = within - {_TRANSLATED} | {_STRIPPED}

        def make(from_start: bool, through: Memory) -> Decoder:
            return inner(msgspec.structs.replace(flow, from_start=from_start), limits, through, frozenset(within))

        self._make = make
        self._place = f"{flow.client.ip} {flow.server_name or flow.server.ip}:{flow.server.port} "
        """What stands before the sid in the key of a session."""
        self._units = tuple(HttpUnits(limits.http_head_bytes, limits.frame_bytes) for _ in (UP, DOWN))
        self._asked: deque[_Asked] = deque()
        """Requests that were read and whose responses were not."""
        self._session: _Session | None = None
        self._user: SignOn | None = None
        """Who this connection's engine knows to be signed on."""
        self._open = 0
        """Blocks that were read and are not decided."""
        self._owing = 0
        """Requests that were read and whose responses have not left."""
        self._waits: _Waiting | None = None
        self.due: float | None = None
        """When `feed` wants to be called again though nothing may have come."""
        self._request: HttpUnit | None = None
        """The head of the last of BOSH."""
        self._expected = False
        """100 Continue was said for the request under way."""
        self._loose = not flow.from_start
        self._seek = [self._loose, self._loose]
        """Looking for the beginning of a message."""
        self._dead = [False, False]
        self._left: dict[str, _Session] = {}
        """Where what was given to this connection waits, by its hold."""

    @property
    def undecryptable(self) -> str | None:
        """Why the session cannot be judged, for the engine."""
        session = self._session
        return None if session is None else getattr(session.inner, "undecryptable", None)

    # -- reading

    def feed(self, chunk: Chunk) -> list[Frame]:
        """The frames of the requests or responses that this chunk completes."""
        way, at = chunk.way, chunk.at
        units, frames = self._units[way], list[Frame]()
        if chunk.gap:
            held = self._rest(way)
            if held:
                self._spilled(way, at, held, "lost", frames)
            self._loose = self._seek[way] = True
            self._asked.clear()
            self._owing = 0
        units.push(chunk.data)
        if self._dead[way]:
            self._spilled(way, at, units.rest(), "rest", frames)
            return frames
        if self._seek[way] and not self._found(way, at, frames):
            return frames
        step = self._up if way is UP else self._down
        try:
            while step(at, frames, chunk.end):
                pass
        except HttpFault as fault:
            self._break(way, at, b"", PeerError(f"{NAME}.{fault.name}"), frames)
        if self._waits is not None and units.pending > self._limits.frame_bytes:
            self._break(way, at, self._waits.unit.raw, PeerError(f"{NAME}.too_much_waits"), frames)
        return frames

    def _rest(self, way: Way) -> bytes:
        """All bytes held of a way."""
        held = b""
        if way is UP and self._waits is not None:
            held, self._waits, self.due = self._waits.unit.raw, None, None
        return held + self._units[way].rest()

    def _spilled(self, way: Way, at: float, data: bytes, kind: str, frames: list[Frame]) -> None:
        size = self._limits.part_bytes
        for start in range(0, len(data), size):
            frames.append(Frame(way, at, data[start:start + size], f"{NAME}.{kind}"))

    def _found(self, way: Way, at: float, frames: list[Frame]) -> bool:
        """Whether a message begins in what is held; what stands in front of it is passed over."""
        units = self._units[way]
        held, token = units.rest(), b"POST /" if way is UP else b"HTTP/1.1 "
        start = held.find(token)
        if start < 0:
            keep = next((size for size in range(len(token) - 1, 0, -1) if held.endswith(token[:size])), 0)
            start = len(held) - keep
        if start:
            self._spilled(way, at, held[:start], "skipped", frames)
            frames[-1] = msgspec.structs.replace(frames[-1], oddities=(Oddity(f"{NAME}.resync"),))
        units.push(held[start:])
        if len(held) - start < len(token):
            return False
        self._seek[way] = False
        return True

    def _break(self, way: Way, at: float, raw: bytes, fault: PeerError, frames: list[Frame]) -> bool:
        """Nothing more is read that way. `raw`: what was taken and is in no frame."""
        self._dead[way] = True
        if way is UP:
            self._waits = self.due = None
        frames.append(Frame(way, at, raw + self._units[way].rest(), BROKEN, fault=fault))
        return False

    def _wrong(self, way: Way, at: float, unit: HttpUnit, name: str, frames: list[Frame], detail: str = "") -> bool:
        return self._break(way, at, unit.raw, PeerError(f"{NAME}.{name}", detail), frames)

    # -- requests

    def _up(self, at: float, frames: list[Frame], end: bool) -> bool:
        """Read the next request; whether there may be one more."""
        waits = self._waits
        if waits is not None:
            if self.due is not None and at < self.due and not end:
                return False
            self._waits = self.due = None
            return self._numbered(at, waits.unit, waits.body, frames, waits if not end else _Waiting(
                waits.unit, waits.body, at, _POLL))
        self._forget_refused()
        units = self._units[UP]
        unit = units.take(request=True)
        if unit is None:
            self._expectant(at, frames)
            return False
        said, self._expected = self._expected, False
        words = unit.first.split(b" ")
        if len(words) != 3 or words[2] != b"HTTP/1.1" or words[1][:1] != b"/":
            return self._wrong(UP, at, unit, "head", frames)
        if len(unit.fields.get(b"host", ())) != 1 or b"upgrade" in unit.fields or (
            b"connection" in unit.fields and set(unit.words(b"connection")) - _CONNECTION
        ):
            return self._wrong(UP, at, unit, "head", frames)
        if len(self._asked) >= self._limits.http_requests:
            return self._wrong(UP, at, unit, "too_many_requests", frames)
        if words[0] == b"OPTIONS" and not unit.body and b"post" in unit.words(b"access-control-request-method"):
            self._asked.append(_Asked(None))
            self._owing += 1
            frames.append(Frame(UP, at, unit.raw, f"{NAME}.preflight", note=_Plain((Send(UP, unit.raw),))))
            return True
        if words[0] in _SAFE and not unit.body and b"transfer-encoding" not in unit.fields and not _script(words[1]):
            asked = _Asked(None, other=True, bodiless=words[0] == b"HEAD")
            frames.append(Frame(UP, at, unit.raw, f"{NAME}.other", note=_Other(asked, not self._owing),
                                unread="a request that is none of BOSH, between those that are"))
            self._asked.append(asked)
            self._owing += 1
            return True
        if words[0] != b"POST":
            return self._wrong(UP, at, unit, "other_request", frames)
        if (why := _coded(unit)) or set(unit.words(b"expect")) - {b"100-continue"}:
            return self._wrong(UP, at, unit, why or "expectation", frames)
        try:
            body = read_body(unit.body, self._limits.xmpp_depth, self._limits.bosh_stanzas)
        except XmlFault as fault:
            return self._wrong(UP, at, unit, fault.name, frames, fault.detail)
        if said:
            unit = HttpUnit(unit.raw, unit.head, unit.first, {**unit.fields, b"expect": []}, unit.body)
        return self._numbered(at, unit, body, frames, None if not end else _Waiting(unit, body, at, _POLL))

    def _expectant(self, at: float, frames: list[Frame]) -> None:
        """A client that waits for 100 Continue is told so by us: the request is sent on when it is judged."""
        fields = self._units[UP].fields
        if fields is None or self._expected or CONTINUE not in self._edits or self._asked or self._owing:
            return
        if [each.lower() for each in fields.get(b"expect", ())] == [b"100-continue"]:
            self._expected = True
            frames.append(Frame(UP, at, b"", f"{NAME}.expect", edit=CONTINUE, note=_Plain(
                (Send(DOWN, b"HTTP/1.1 100 Continue\r\n\r\n"),))))

    def _numbered(self, at: float, unit: HttpUnit, body: Body, frames: list[Frame], waited: _Waiting | None) -> bool:
        """A request of BOSH: is it its turn? `waited` None: it has just come."""
        get = body.attributes.get
        rid, sid, limits = _number(get("rid")), get("sid"), self._limits
        if rid is None:
            return self._wrong(UP, at, unit, "bad_rid", frames)
        if sid is None:
            session: _Session | None = self._created(at, body, rid)
            if session is None:
                return self._wrong(UP, at, unit, "bad_body", frames)
        else:
            session = self._known(sid, rid, at)
        if session is None:
            return self._refused(at, unit, "unknown_session", frames)
        if session is not self._session and self._session is not None and (
            self._asked or self._open or self._owing
        ):
            # The engine knows one user a connection: what is not decided would be judged as another's.
            return self._wrong(UP, at, unit, "another_session", frames)
        turn = session.turns.get(rid) if sid is not None else None
        if turn is not None:
            if turn.up.digest != body.digest:
                # The server may take either.
                return self._wrong(UP, at, unit, "other_words", frames)
            if turn.up.lost:
                return self._refused(at, unit, "forgotten", frames)
            if not turn.up.decided:
                return self._wait(at, unit, body, waited, frames)
            self._session = session
            self._ask(session, rid, unit)
            sent = self._head_edited(unit, turn.up.body)
            frames.append(Frame(
                UP, at, unit.raw, f"{NAME}.again", (), (Oddity(f"{NAME}.sent_again"),),
                edit=STRIP_CODINGS if sent != unit.raw and turn.up.body is None else None,
                note=_Plain((Send(UP, sent),))))
            return True
        if rid < session.next and self._flow.file is None:
            return self._refused(at, unit, "old_number", frames)
        # Where bytes were let pass unread, numbers may have gone with them.
        if rid > session.next and self._flow.file is None and not self._loose:
            if rid - session.next > limits.bosh_ahead:
                return self._refused(at, unit, "number_ahead", frames)
            return self._wait(at, unit, body, waited, frames)
        return self._read_request(at, unit, body, session, rid, frames)

    def _wait(self, at: float, unit: HttpUnit, body: Body, waited: _Waiting | None, frames: list[Frame]) -> bool:
        """One that comes before those in front of it, or again before the first was decided."""
        if waited is None:
            waited = _Waiting(unit, body, at + self._limits.bosh_wait_seconds, _POLL)
        if at >= waited.until:
            return self._refused(at, unit, "out_of_turn", frames)
        self._waits = waited
        self.due = at + waited.poll
        waited.poll = min(2 * waited.poll, _POLL_MOST)
        return False

    def _created(self, at: float, body: Body, rid: int) -> _Session | None:
        """A session that begins with this request; None: its stream's header would be none."""
        session = _Session(self._make, self._memory, rid)
        return session if _opened(session, UP, at, body.attributes) else None

    def _known(self, sid: str, rid: int, at: float) -> _Session | None:
        """The session of that name; None: it did not begin here, or is forgotten."""
        client = self._client(at)
        found = client.get(self._place + sid, at)
        if found is None:
            if (not self._loose and self._flow.file is None) or len(sid) > _SID:
                return None
            # Of a capture, or of what a fault that was let pass has left: read from its middle.
            found = _Session(self._make, self._memory, rid, loose=True)
            found.sid = sid
        client.heard_of(self._place + sid, found, at, self._limits)
        return found

    def _client(self, at: float) -> _Client:
        """The sessions of this connection's client."""
        key = f"bosh:{client_of(self._flow.client.ip)}"
        found = self._memory.get(key, at)
        if not isinstance(found, _Client):
            found = _Client()
        self._memory.put(key, found, at + self._limits.bosh_seconds)
        return found

    def _refused(self, at: float, unit: HttpUnit, name: str, frames: list[Frame]) -> bool:
        """Not sent on: answered by us in the protocol's words (XEP-0124 17.2), where that answer has its place."""
        if self._owing or UNKNOWN_SESSION not in self._edits:
            return self._wrong(UP, at, unit, name, frames)
        self._owing += 1
        frames.append(Frame(
            UP, at, unit.raw, f"{NAME}.refused", (), (Oddity(f"{NAME}.{name}"),), edit=UNKNOWN_SESSION,
            note=_Plain((Send(DOWN, _response("item-not-found")),), answers=True)))
        return True

    def _ask(self, session: _Session, rid: int, unit: HttpUnit, *, creates: bool = False) -> None:
        self._request = HttpUnit(b"", unit.head, unit.first, {}, b"")
        self._owing += 1
        self._asked.append(_Asked(session, rid, creates, bool(unit.words(b"expect")) and CONTINUE not in self._edits))

    def _head_edited(self, unit: HttpUnit, body: bytes | None) -> bytes:
        """The request with what is not offered taken out of its head."""
        without = self._without(unit)
        return unit.raw if body is None and not without else unit.written(body, without)

    def _without(self, unit: HttpUnit) -> tuple[bytes, ...]:
        gone: list[bytes] = []
        if STRIP_CODINGS in self._edits:
            gone += [name for name in (b"accept-encoding", b"te") if name in unit.fields]
        if CONTINUE in self._edits and b"expect" in unit.fields:
            gone.append(b"expect")
        return tuple(gone)

    def _read_request(
        self, at: float, unit: HttpUnit, body: Body, session: _Session, rid: int, frames: list[Frame],
    ) -> bool:
        get = body.attributes.get
        stream = get("stream")
        restart = get(f"{_XBOSH}restart") in ("true", "1")
        creates = "sid" not in body.attributes
        if (stream is not None and stream != session.stream) or (
            session.stream is not None and not creates and not restart and get("to") is not None
        ):
            return self._wrong(UP, at, unit, "second_stream", frames)
        if restart and not session.loose and not (
            _opened(session, UP, at, body.attributes) and _opened(session, DOWN, at, {"from": session.origin})
        ):
            session.hurt()
            return self._wrong(UP, at, unit, "restart", frames)
        session.keys = session.keys or get("newkey") is not None
        self._session = session
        block = _Block(unit, body, session, session.begin(rid, body.digest, self._limits))
        block.without = self._without(unit)
        edit = None
        if block.without:
            edit = STRIP_CODINGS if block.without[0] != b"expect" else CONTINUE
        if not self._stanzas(UP, at, block, frames, edit):
            return False
        if get("type") == "terminate":
            session.over = True
        self._ask(session, rid, unit, creates=creates)
        return True

    # -- responses

    def _down(self, at: float, frames: list[Frame], _end: bool) -> bool:
        """Read the next response; whether there may be one more."""
        self._forget_refused()
        if self._asked and self._asked[0].other:
            return self._other(at, self._asked[0], frames)
        unit = self._units[DOWN].take(request=False)
        if unit is None:
            return False
        words = unit.first.split(b" ", 2)
        if len(words) < 2 or words[0] != b"HTTP/1.1" or len(words[1]) != 3 or not words[1].isdigit():
            return self._wrong(DOWN, at, unit, "head", frames)
        status = int(words[1])
        if status < 200:
            if status != 100 or not self._asked or not self._asked[0].expects:
                return self._wrong(DOWN, at, unit, "interim", frames)
            frames.append(Frame(DOWN, at, unit.raw, f"{NAME}.interim", note=_Plain((Send(DOWN, unit.raw),))))
            return True
        if self._asked:
            asked = self._asked.popleft()
        elif self._loose:
            asked = _Asked(self._session or _Session(self._make, self._memory, 0, loose=True))
        else:
            return self._wrong(DOWN, at, unit, "nobody_asked", frames)
        session = asked.session
        if session is None:
            return self._wordless(at, unit, "preflight", frames)
        why, detail = _coded(unit), ""
        try:
            body = read_body(unit.body if not why else b"", self._limits.xmpp_depth, self._limits.bosh_stanzas)
        except XmlFault as fault:
            if not why:
                why, detail = fault.name, fault.detail
            if status == 200:
                return self._wrong(DOWN, at, unit, why, frames, detail)
            return self._wordless(
                at, unit, "error", frames, (Oddity(f"{NAME}.http_error", f"status {status}"),))
        return self._read_response(at, unit, body, session, asked, frames, status)

    def _wordless(
        self, at: float, unit: HttpUnit, kind: str, frames: list[Frame], oddities: tuple[Oddity, ...] = (),
    ) -> bool:
        """A response whose body nobody here reads: the client learns its status, and none of its words."""
        if unit.body and STRIP_WORDS not in self._edits:
            return self._wrong(DOWN, at, unit, "other_response", frames)
        sent = unit.written(b"", (b"content-encoding",)) if unit.body else unit.raw
        frames.append(Frame(DOWN, at, unit.raw, f"{NAME}.{kind}", (), oddities, edit=STRIP_WORDS if unit.body else None,
                            note=_Plain((Send(DOWN, sent),), answers=True)))
        return True

    def _forget_refused(self) -> None:
        """What was answered by us waits for no answer of the server."""
        while self._asked and self._asked[0].refused:
            self._asked.popleft()

    def _other(self, at: float, asked: _Asked, frames: list[Frame]) -> bool:
        """More of the answer to a request of no BOSH, as it comes."""
        part = self._units[DOWN].take_part(self._limits.part_bytes, bodiless=asked.bodiless)
        if part is None:
            return False
        data, first, ended = part
        if first:
            words = first.split(b" ", 2)
            if len(words) < 2 or words[0] != b"HTTP/1.1" or len(words[1]) != 3 or not words[1].isdigit() or (
                words[1] == b"101"
            ):
                return self._break(DOWN, at, data, PeerError(f"{NAME}.head"), frames)
            ended = ended and words[1][:1] != b"1"
        if ended:
            self._asked.popleft()
        frames.append(Frame(DOWN, at, data, f"{NAME}.other", note=_Plain((Send(DOWN, data),), answers=ended)))
        return True

    def _read_response(
        self, at: float, unit: HttpUnit, body: Body, session: _Session, asked: _Asked, frames: list[Frame],
        status: int,
    ) -> bool:
        get = body.attributes.get
        sid, terminates = get("sid"), get("type") == "terminate"
        if asked.creates and not terminates:
            if sid is None or not sid or len(sid) > _SID:
                return self._wrong(DOWN, at, unit, "no_sid", frames)
            known = self._client(at).get(self._place + sid, at)
            if known is not None and known is not session:
                # A creation that was sent again: its session lives, and knows who is signed on.
                session = self._session = known
            else:
                session.sid, session.stream, session.origin = sid, get("stream"), get("from", "")
                if not _opened(session, DOWN, at, body.attributes):
                    return self._wrong(DOWN, at, unit, "bad_body", frames)
        elif sid is not None and session.sid is not None and sid != session.sid:
            return self._wrong(DOWN, at, unit, "another_session", frames)
        if session.sid is not None:
            self._client(at).heard_of(self._place + session.sid, session, at, self._limits)
        once = _Once(body.digest)
        turn = session.turns.get(asked.rid)
        if turn is not None:
            before = turn.down
            if before is not None and before.digest == once.digest and before.decided and not before.lost:
                sent = unit.raw if before.body is None else unit.written(before.body)
                frames.append(Frame(DOWN, at, unit.raw, f"{NAME}.again", (), (Oddity(f"{NAME}.sent_again"),),
                                    note=_Plain((Send(DOWN, sent),), answers=True)))
                return True
            turn.down = once
        block = _Block(unit, body, session, once)
        block.fine = status == 200
        edit = None
        if body.accept is not None and STRIP_CODINGS in self._edits:
            block.unoffered, edit = True, STRIP_CODINGS
        odd: tuple[Oddity, ...] = ()
        if get("condition") == "see-other-uri":
            # The client goes on elsewhere, perhaps not through us.
            odd = (Oddity(f"{NAME}.sent_elsewhere"),)
        if not self._stanzas(DOWN, at, block, frames, edit, odd):
            return False
        if terminates:
            session.over = True
        return True

    # -- what is inside

    def _stanzas(
        self, way: Way, at: float, block: _Block, frames: list[Frame], edit: str | None,
        odd: tuple[Oddity, ...] = (),
    ) -> bool:
        """The frames of a block: the inner ones, the last of them with the outer bytes. False: it holds a fault, and is
        one as a whole."""
        session, inner, raw = block.session, block.inner, block.unit.raw
        session.through.now = self._memory
        read: list[Frame] = []
        for stanza in block.body.stanzas:
            found = inner.feed(Chunk(way, at, stanza))
            fault = next((each.fault for each in found if each.fault is not None), None)
            if fault is None and inner.pending(way):
                fault = PeerError(f"{NAME}.half_stanza")
            if fault is not None:
                session.hurt()
                return self._break(way, at, raw, fault, frames)
            read += found
        if way is UP and session.sign_on is None and not session.loose and any(
            _personal(event) for each in read for event in each.events
        ):
            # The sign-on may come on another connection, whose engine's session this one's words do not wait for.
            session.hurt()
            return self._break(way, at, raw, PeerError(f"{NAME}.before_sign_on"), frames)
        before = session.sign_on
        for each in read:
            for event in each.events:
                if type(event) is SignOn:
                    session.sign_on = event
        if session.sign_on is not before:
            self._user = session.sign_on
            if session.sid is not None:
                self._client(at).heard_of(self._place + session.sid, session, at, self._limits)
        elif before is not None and before is not self._user:
            # This connection's part of the engine does not know yet who is signed on.
            self._user = before
            frames.append(Frame(
                way, at, b"", f"{NAME}.user", (msgspec.structs.replace(before, again=True),), note=_Plain(())))
        if session.dropped:
            session.dropped = False
            odd = (*odd, Oddity(f"{NAME}.notice_dropped"))
        self._open += 1
        last = len(read) - 1
        for index, each in enumerate(read):
            ends = index == last
            frames.append(msgspec.structs.replace(
                each, raw=raw if ends else b"", note=_Part(block, each, ends),
                edit=each.edit or (edit if ends else None),
                oddities=(*each.oddities, *odd) if ends else each.oddities))
        if not read:
            frames.append(Frame(way, at, raw, f"{NAME}.body", (), odd, edit=edit, note=_Part(block, None, True)))
        return True

    def pending(self, way: Way) -> int:
        waits = self._waits
        return self._units[way].pending + (len(waits.unit.raw) if waits is not None and way is UP else 0)

    # -- writing

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        note, way = frame.note, frame.way
        if isinstance(note, _Plain):
            if note.answers:
                self._owing = max(self._owing - 1, 0)  # of what was let pass nobody knows who had asked
            return list(note.sends)
        if isinstance(note, _Other):
            return self._answered(frame, note, verdicts)
        if not isinstance(note, _Part):
            return [Send(way, frame.raw)] if frame.raw else []
        block, session = note.block, note.block.session
        session.through.now = self._memory
        acts: list[Act] = []
        if note.frame is not None:
            for act in block.inner.apply(note.frame, verdicts):
                if isinstance(act, Expect | Cut | Tell):
                    acts.append(act)
                elif not isinstance(act, Send):
                    acts.append(Cut("TLS or compression inside a carrier"))
                elif act.way is way:
                    block.out.append(act.data)
                else:
                    session.owe(act.way, act.data, self._limits)
            block.came.append(note.frame.raw)
        if note.last:
            left, news = session.take_left(way) if block.fine else ([], [])
            acts = [Send(way, self._finished(way, block, left)), *news, *acts]
            if session.over:
                acts += session.drop_left()
        return acts

    def _answered(self, frame: Frame, note: _Other, verdicts: Sequence[Verdict]) -> list[Act]:
        """A request of no BOSH: sent on, or answered by us; where another answer is due, only its connection ends."""
        if not verdicts or verdicts[0].action is not Action.BLOCK:
            return [Send(UP, frame.raw)]
        note.asked.refused = True
        if not note.alone:
            return [Cut("a request of no BOSH")]
        self._owing = max(self._owing - 1, 0)
        return [Send(DOWN, _FORBIDDEN)]

    def _finished(self, way: Way, block: _Block, left: list[bytes]) -> bytes:
        """What a block leaves as: as it came, or with another body. `left`: what was released and goes with it."""
        session, body = block.session, block.body
        self._open = max(self._open - 1, 0)
        if way is DOWN:
            self._owing = max(self._owing - 1, 0)
        out, more = b"".join(block.out), tuple(session.owed[way])
        session.owed[way].clear()
        opening, said = body.opening, None
        if block.unoffered and body.accept is not None:
            start, end = body.accept
            opening = opening[:start] + opening[end:]
            said = body.text[:start] + body.text[end:]
        if more or left or out != b"".join(block.came):
            said = opening + b"".join((*map(_elements, (out, *more)), *left)) + body.closing
        if block.once is not None:
            session.decided(block.once, said, self._limits)
        if said is None and not block.without:
            return block.unit.raw
        return block.unit.written(said, block.without)

    def ready(self, way: Way) -> bool:
        """Whether something may be left for the next body of that way."""
        session = self._session
        return (
            session is not None and session.sign_on is not None and not session.over and not self._dead[way]
            and session.inner.ready(way)
            and sum(len(each.data) for each in session.left[way].values()) < self._limits.inject_bytes
        )

    @property
    def parted(self) -> bool:
        """Whether the session has ended (model.Decoder.release)."""
        return self._session is not None and self._session.over

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """Nothing at once: it goes with the next body of the session."""
        session = self._session
        if session is not None and not session.over:
            for act in session.inner.inject(message, way):
                if isinstance(act, Send):
                    session.owe(act.way, act.data, self._limits)
        return []

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        """What the inner decoder keeps."""
        inner = [each.note.frame for each in frames if isinstance(each.note, _Part) and each.note.frame is not None]
        last = frames[-1].note
        if len(inner) != len(frames) or not isinstance(last, _Part):
            return None
        return last.block.inner.keep(inner, index)

    def release(self, kept: bytes, way: Way) -> list[Act] | None:  # noqa: ARG002 - the contract's shape
        """Nothing can be sent at once: it is left (`leave`)."""
        return None

    def leave(self, kept: bytes, way: Way, hold: str) -> bool:
        """Leave it with the session, for its next body that way (model.Decoder.release)."""
        session = self._session
        if session is None or not self.ready(way):
            return False
        data = list[bytes]()
        for act in session.inner.release(kept, way) or ():
            if isinstance(act, Send) and act.way is way:
                data.append(act.data)
            elif isinstance(act, Send):
                session.owe(act.way, act.data, self._limits)
        said = _elements(b"".join(data))
        if not said:
            return False
        session.left[way][hold] = _Left(said, self._flow.id)
        for each in [each for each, where in self._left.items() if each not in where.left[UP] | where.left[DOWN]]:
            del self._left[each]
        self._left[hold] = session
        return True

    def take_back(self, hold: str) -> bool:
        """Whether it had not gone; then it never will."""
        session = self._left.pop(hold, None)
        gone = [waits.pop(hold, None) for waits in session.left] if session is not None else []
        return any(each is not None for each in gone)

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """The end of the session: the response that is due says so, a request of ours the server."""
        session = self._session
        acts: list[Act] = []
        condition = "policy-violation"
        if fault is None and any(word in reason.lower() for word in _ENDING):
            condition = "system-shutdown"
        words = b""
        if session is not None and not session.over:
            words = b"".join(session.owed[DOWN]) + b"".join(
                act.data for act in session.inner.close(reason, fault) if isinstance(act, Send) and act.way is DOWN)
            farewell = self._farewell(session)
            session.over = True
            acts += session.drop_left()
            if farewell:
                acts.append(Send(UP, farewell))
        if self._owing > 0 and not (self._asked and self._asked[0].other):
            acts.insert(0, Send(DOWN, _response(condition, _elements(words))))
        return acts

    def _farewell(self, session: _Session) -> bytes:
        """A request of ours that ends the session; b"": its keys are not ours, or it has none yet."""
        if session.sid is None or session.keys or self._request is None or session.loose:
            return b""
        rid = next((rid for rid, turn in session.turns.items() if not turn.up.decided), session.next)
        body = f"<body rid='{rid}' sid='{xml.escape(session.sid)}' type='terminate' xmlns='{HTTPBIND}'/>"
        return self._request.written(body.encode(), (b"expect", b"accept-encoding", b"te"))


def _opened(session: _Session, way: Way, at: float, attributes: dict[str, str]) -> bool:
    """Give the inner decoder a stream header that says what a body's attributes say. Whether it took it."""
    said = "".join(
        f" {'xml:lang' if name == LANG else name}='{xml.escape(attributes[name])}'"
        for name in ("to", "from", LANG) if attributes.get(name)
    )
    header = f"<stream:stream{said} version='1.0' xmlns='{_CLIENT}' xmlns:stream='{STREAMS}'>".encode()
    for frame in session.inner.feed(Chunk(way, at, header)):
        if frame.fault is not None:
            return False
        session.inner.apply(frame, [PASSED] * len(frame.events))
    return not session.inner.pending(way)


def _personal(event: Event) -> bool:
    """Whether nothing of it may leave before the sign-on is judged, as the engine has it."""
    return isinstance(event, Message | FileOffer) or (isinstance(event, Opaque) and event.personal)


def _number(text: str | None) -> int | None:
    """A rid as all servers read it: digits alone (XEP-0124 14.1); None: it is none."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 16 or (text[0] == "0" and text != "0"):
        return None
    number = int(text)
    return number if number <= _RID_MOST else None


def _script(target: bytes) -> bool:
    """Whether the target of a request may hold a body, as in the script form (XEP-0124 19)."""
    return b"<" in target or b"%3c" in target.lower()


def _coded(unit: HttpUnit) -> str:
    """Why the body's bytes are not what its readers read; "": they are."""
    if b"content-encoding" in unit.fields and set(unit.words(b"content-encoding")) - {b"identity", _MISNAMED}:
        return "content_coding"
    for value in unit.fields.get(b"content-type", ()):
        if value in _USUAL:
            continue
        for parameter in value.lower().split(b";")[1:]:
            name, _, said = parameter.strip(b" \t").partition(b"=")
            if name.strip() == b"charset" and said.strip(b" \t\"'") not in (b"utf-8", b"utf8", b"us-ascii"):
                return "charset"
    return ""


def _response(condition: str, inside: bytes = b"") -> bytes:
    """A whole response of ours that ends a session."""
    body = f"<body type='terminate' condition='{condition}' xmlns='{HTTPBIND}'>".encode() + inside + b"</body>"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nAccess-Control-Allow-Origin: *\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


# -- recognising


def probe(up: bytes, down: bytes) -> Match:  # noqa: ARG001 - the contract's shape
    """A POST whose body is `<body>` with a `rid` or the namespace of BOSH, behind other whole requests or not; the
    preflight of one. Read as the most forgiving server reads it: what is strange about it is the decoder's to refuse.
    """
    at = 0
    for _ in range(_WALKED):
        data = up[at:at + _PROBED].replace(b"\r\n", b"\n")
        blank = len(data) - len(data.lstrip(b"\r\n"))
        method, space, _ = data[blank:blank + 16].partition(b" ")
        method = method.upper()
        if not space:
            return Match.MORE if any(each.startswith(method) for each in (b"POST", b"OPTIONS")) else Match.NO
        if method not in (b"POST", b"OPTIONS", b"GET", b"HEAD"):
            return Match.NO
        end = data.find(b"\n\n", blank)
        if end < 0:
            return Match.MORE if method in (b"POST", b"OPTIONS") and len(data) < _PROBED else Match.NO
        head, body = data[blank:end].lower(), data[end + 2:]
        line = head.partition(b"\n")[0]
        if method == b"GET" and (b"%3cbody" in line or b"<body" in line):
            return Match.STRONG
        if method == b"OPTIONS" and b"access-control-request-method" in head and any(word in line for word in _PATHS):
            return Match.STRONG
        if method == b"POST":
            said = _looks(head, body)
            if said is not Match.NO:
                return said
        length = _length(head)
        behind = _behind(up, at)
        if behind < 0 or length is None or behind + length >= len(up):
            return Match.NO
        at = behind + length
    return Match.NO


def _behind(up: bytes, at: int) -> int:
    """Index behind the head that begins at `at`; -1: it is not there."""
    ends = [found + len(mark) for mark in (b"\r\n\r\n", b"\n\n") if (found := up.find(mark, at + 1)) >= 0]
    return min(ends, default=-1)


def _length(head: bytes) -> int | None:
    """The length of a body, None where it is not said in the usual way."""
    lines = [line.partition(b":") for line in head.split(b"\n")[1:]]
    if any(name.strip() == b"transfer-encoding" for name, _, _ in lines):
        return None
    said = [value.strip() for name, _, value in lines if name.strip() == b"content-length"]
    if not said:
        return 0
    return int(said[0]) if said[0].isdigit() and len(said[0]) < 10 else None


def _unchunked(body: bytes) -> bytes:
    """What the chunks in the beginning of a body hold, as far as they go; line ends are LF."""
    out, at = list[bytes](), 0
    while (end := body.find(b"\n", at)) >= 0:
        digits = body[at:end].partition(b";")[0].strip()
        if end == at or not digits:
            at = end + 1
            continue
        if digits.translate(None, _HEX) or len(digits) > 8:
            break
        out.append(body[end + 1:end + 1 + int(digits, 16)])
        at = end + 1 + int(digits, 16)
    return b"".join(out)


def _looks(head: bytes, body: bytes) -> Match:
    """Whether the beginning of a POST's body is BOSH's."""
    more = Match.MORE if len(body) < _PROBED else Match.NO
    if b"gzip" in head or b"deflate" in head:
        codings = [line.partition(b":")[2] for line in head.split(b"\n") if line.startswith(b"content-encoding")]
        if any(b"gzip" in each or b"deflate" in each for each in codings):
            try:
                body = zlib.decompressobj(47).decompress(body, 4096)
            except zlib.error:
                return Match.NO
    if b"transfer-encoding" in head:
        body = _unchunked(body)
    if len(body) == 1 and body in _UTF16:
        return more
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        body = body.decode("utf-16", "ignore").encode("utf-8", "ignore")
    said = _Opening(0).look(body)
    return more if said is Match.MORE else said


class _Opening:
    """Reads what a body begins with, as it comes, up to the end of its first tag; each byte a few times."""

    __slots__ = ("_at", "_named", "_sought", "_tag")

    def __init__(self, begin: int) -> None:
        self._at = begin
        """What is before it is known."""
        self._sought = begin
        """Up to here there is no end of what begins at `_at`."""
        self._tag = False
        """A tag begins at `_at`."""
        self._named = False
        """Its name is known: `body`."""

    def shift(self, gone: int) -> None:
        """So many bytes in front are no more."""
        self._at -= gone
        self._sought -= gone

    def look(self, data: bytes | bytearray) -> Match:
        """`data`: all bytes from what `begin` counts from."""
        while not self._tag:
            if data.startswith(xml.BOM, self._at):
                self._at += len(xml.BOM)
            while self._at < len(data) and data[self._at] in xml.WHITE:
                self._at += 1
            two = bytes(data[self._at:self._at + 2])
            if two in (b"", b"<") or xml.BOM.startswith(data[self._at:self._at + 3]):
                return Match.MORE
            if two[:1] != b"<":
                return Match.NO
            if two not in (b"<?", b"<!"):
                self._tag = True
                break
            closing = b"?>" if two == b"<?" else b">"
            if two == b"<!":
                if len(data) < self._at + 4 and b"<!--".startswith(data[self._at:]):
                    return Match.MORE
                closing = b"-->" if data.startswith(b"<!--", self._at) else b">"
            end = data.find(closing, max(self._sought - len(closing), self._at))
            self._sought = len(data)
            if end < 0:
                return Match.MORE
            self._at = self._sought = end + len(closing)
        return self._look_at_tag(data)

    def _look_at_tag(self, data: bytes | bytearray) -> Match:
        begin = max(self._sought, self._at + 1)
        end = data.find(b">", begin)
        whole = end if end >= 0 else len(data)
        if not self._named:
            while begin < whole and begin == self._at + 1 and data[begin] in xml.WHITE:
                self._at = begin
                begin += 1
            ends = min((found for each in _WHITES if (found := data.find(each, begin, whole)) >= 0), default=-1)
            if ends < 0 and end < 0:
                self._sought = whole
                return Match.MORE
            begin = ends if ends >= 0 else whole
            if bytes(data[self._at + 1:begin]).rstrip(b"/").rpartition(b":")[2] != b"body":
                return Match.NO
            self._named = True
        begin = max(begin - _LONGEST_MARK, self._at)
        if any(data.find(mark, begin, whole) >= 0 for mark in _MARKS):
            return Match.STRONG
        self._sought = whole
        return Match.MORE if end < 0 else Match.NO


class _Place:
    """Where in the buffer a POST may begin. `look` says what it is as far as it has come."""

    __slots__ = ("_begins", "_coded", "_lined", "_looked", "_opening", "_sought", "_work", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self._sought = start
        """Up to here its head has no end."""
        self._lined = False
        """Its first line is one of a request."""
        self._begins = -1
        """Where its body begins; -1: its head has no end yet."""
        self._coded = False
        """Its body is in chunks or compressed: it is read anew each time, so often that `_WORK` lasts."""
        self._opening: _Opening | None = None
        """Of another one, when it has begun: that is read as it comes."""
        self._looked = 0
        """Bytes of a coded body that were there when it was read last."""
        self._work = 0

    def shift(self, gone: int) -> None:
        """So many bytes in front are no more."""
        self.start -= gone
        self._sought -= gone
        if self._begins >= 0:
            self._begins -= gone
        if self._opening is not None:
            self._opening.shift(gone)

    def look(self, buffer: bytearray, *, tag_may_end: bool) -> Match:
        """`tag_may_end`: there is a `>` in what has come since the last time."""
        if self._begins < 0 and (said := self._look_at_head(buffer)) is not None:
            return said
        if self._opening is None and not self._coded:
            if len(buffer) == self._begins:
                return Match.MORE
            if buffer[self._begins] in _UTF16:
                self._coded = True
            else:
                self._opening = _Opening(self._begins)
        if self._opening is not None:
            return self._opening.look(buffer)
        size = len(buffer) - self.start
        if self._looked and not tag_may_end and size - self._looked < _STEP:
            return Match.MORE
        self._looked = size
        self._work += size
        if self._work > _WORK:
            return Match.STRONG
        head, _, body = bytes(buffer[self.start:]).replace(b"\r\n", b"\n").partition(b"\n\n")
        return _looks(head.lower(), body)

    def _look_at_head(self, buffer: bytearray) -> Match | None:
        """None: it has ended."""
        if not self._lined:
            line = buffer.find(b"\n", self._sought)
            if line < 0:
                self._sought = len(buffer)
                return Match.MORE
            if b" http/1." not in bytes(buffer[self.start:line]).rstrip(b"\r")[-12:].lower():
                return Match.NO
            self._lined, self._sought = True, line
        begin = max(self._sought - 2, self.start)
        ends = min((found + len(each) for each in _BLANK if (found := buffer.find(each, begin)) >= 0), default=-1)
        if ends < 0:
            self._sought = len(buffer)
            return Match.MORE
        self._begins = ends
        head = bytes(buffer[self.start:ends]).lower()
        self._coded = b"content-encoding" in head or b"transfer-encoding" in head
        return None


class _Behind:
    """Looks for a request of BOSH in all that goes up on a connection of HTTP that was not recognised.

    Framings are not followed: a head that two read differently would hide what is behind it. Each place where a POST
    may begin is looked at until it is seen to be none of BOSH, `_PROBED` bytes at most; the opening tag of a body is
    known before its last byte is sent, and the words are behind it. More than `_PLACES` at once are what no page sends.
    """

    __slots__ = ("_buffer", "_places")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._places: list[_Place] = []
        """Those that are not told yet, in their order."""

    def __call__(self, data: bytes) -> bool:
        """Whether it begins in `data`, which is not sent yet."""
        buffer, places = self._buffer, self._places
        at = max(len(buffer) - len(_POST) + 1, 0)
        buffer += data
        seen = bytes(buffer[at:]).upper()
        found = seen.find(_POST)
        while found >= 0:
            places.append(_Place(at + found))
            if len(places) > _PLACES and (self._look(b">" in data) or len(places) > _PLACES):
                return True
            found = seen.find(_POST, found + 1)
        if places and self._look(b">" in data):
            return True
        gone = places[0].start if places else len(buffer) - len(_POST) + 1
        if gone > 0:
            del buffer[:gone]
            for place in places:
                place.shift(gone)
        return False

    def _look(self, tag_may_end: bool) -> bool:
        """Forget the places that are none; whether one is."""
        buffer, left = self._buffer, list[_Place]()
        for place in self._places:
            said = place.look(buffer, tag_may_end=tag_may_end)
            if said is Match.STRONG:
                return True
            if said is Match.MORE and len(buffer) - place.start < _PROBED:
                left.append(place)
        self._places[:] = left
        return False


def behind(up: bytes) -> Callable[[bytes], bool] | None:
    """What looks on in a flow that was not recognised (Spec.behind): of HTTP/1, by its first line."""
    first = up[:_PROBED].lstrip(b"\r\n").partition(b"\n")[0]
    if b" http/1." not in first.lower():
        return None
    looks_on = _Behind()
    looks_on(up[-_PROBED:])
    return looks_on


def build(flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str], inner: DecoderFactory) -> Decoder:
    """A connection's decoder."""
    return BoshDecoder(flow, limits, memory, edits, inner)


SPEC = Spec(
    name=NAME,
    title="XMPP over HTTP (BOSH)",
    probe=probe,
    decoder=CarriedApart(build),
    carries="xmpp",
    behind=behind,
    not_decoded=(
        "the script form (XEP-0124 19): refused", "content codings: refused", "several streams in one session: refused",
        "in-band bytestreams over BOSH: refused", "requests of no BOSH (GET, HEAD, OPTIONS) and their answers: passed "
        "as the policy passes unknown traffic; other methods: refused",
        "HTTP/1.0, responses without a length: refused", "words in fields of heads and in attributes of bodies",
    ),
    edits=(
        Edit(STRIP_CODINGS, "Accept-Encoding, TE and the server's offer of codings (accept) are taken out: compressed "
             "bodies are not read"),
        Edit(CONTINUE, "a client that waits for 100 Continue is told so by the gateway, and Expect is taken out"),
        Edit(UNKNOWN_SESSION, "a request of a session that did not begin through the gateway, or out of its window, is "
             "answered with item-not-found; off: it is a fault"),
        Edit(STRIP_WORDS, "the bodies of answers to preflights and of errors of HTTP, which nobody here reads, are "
             "taken out; off: they are a fault"),
    ),
)
