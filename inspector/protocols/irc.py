"""IRC, client to server: RFC 1459, RFC 2812, modern ircds and IRCv3.

A line is a frame. The usual line, one message to one target without tags, goes a short way: its head (all before the
text) was read once and is looked up again; anything else is parsed in full. What a refusal or a mask needs (where a
text lies, in which charset) is found again from the raw line in `apply`, so that a message that passes does not pay.

Sources: RFC 1459 2.3, 4; RFC 2812 2.3, 3; IRCv3 message-tags, capability-negotiation, sasl-3.1, batch, multiline,
labeled-response, echo-message, standard-replies, chathistory; the CTCP and DCC drafts of modern-irc.

Identity: 001 claims a nick; 900 (or an account seen on the own JOIN or ACCOUNT) authenticates an account, and then
`SignOn.user` is the account: a nick may be anybody's, policy must not take it for a name that was proved.

Never in an event: passwords (PASS, OPER, AUTHENTICATE, services), channel keys.

DCC offers are announced (`Expect`), and their addresses written anew where a port of ours can be leased; `dcc` reads
the connections.

Not decoded: server-to-server links (told, `undecryptable`), WebSocket framing, the text of the MOTD, WHO and LIST
answers; a client that ends its lines with a lone CR is always one line behind.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from inspector.model import (
    BROKEN,
    CLEAR,
    DOWN,
    FIRST,
    LAST,
    MORE,
    PASSED,
    UP,
    WHOLE,
    Act,
    Action,
    Can,
    Chunk,
    Copy,
    Edit,
    Encryption,
    Event,
    Expect,
    FileOffer,
    Flow,
    Frame,
    GroupChange,
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
    Presence,
    Send,
    SignOn,
    Spec,
    StartTls,
    Text,
    Typing,
    Unreleased,
    Verdict,
    Way,
    expect_key,
)
from inspector.wire import dcc
from inspector.wire.irctext import (
    CODES,
    ENCRYPTED_STARTS,
    encryption_of,
    fit,
    masked,
    other_reading,
    plain_of,
    shown,
    texts_of,
    wire,
    written,
)
from inspector.wire.lines import Lines
from inspector.wire.patterns import IRC_DOWN_LINE, IRC_UP_LINE, IRC_WORDS_LINE

PAYLOAD = 510
"""Bytes of a line without tags and line end that every server takes (RFC 1459 2.3)."""
HEADS = 128
"""Heads of plain messages remembered per way of a session; all are forgotten when full."""
HEAD_BYTES = 256
"""A longer head is not remembered: what a peer can make a session keep has a bound."""
OWN_NAME = b"inspector"
"""The source of own notices while the server's name is not known."""
DROP_NUL = "irc.drop_nul"
STRICT_DCC = "irc.strict_dcc"
REFUSE_RESUME = "irc.refuse_resume"
_UNREADABLE = "Your offer was not passed on: its connection could not be followed."
_TOO_LONG = "Your offer was not passed on: the file's name is too long, or there are too many offers at a time."
_NO_RESUME = "Transfers cannot be resumed here: please get the whole file anew."
MOST_EVENTS = 256
"""Events of one line; with more, its CTCP pieces are read as one text."""
_SEGMENTS = 16
"""CTCP pieces of one line that are told apart."""

_SERVICES = frozenset({
    "nickserv", "ns", "authserv", "auth", "chanserv", "cs", "userserv", "us", "q", "x", "l", "login", "opserv", "os",
    "*status", "*controlpanel",
})
_SECRET_VERBS = {
    # verb -> how many words behind it may be secret
    "identify": 2, "id": 2, "login": 2, "auth": 2, "authcookie": 2, "register": 3, "ghost": 2, "recover": 2,
    "release": 2, "regain": 2, "sidentify": 2, "setpass": 3, "resetpass": 3, "pass": 3, "newpass": 3, "drop": 2,
    "verify": 3, "confirm": 2, "group": 2, "logon": 2, "set": 4, "cert": 2, "adduser": 3,
}
_SHOWN_OPTIONS = frozenset({
    "greet", "entrymsg", "entry", "url", "desc", "description", "topic", "mlock", "greeting", "usergreeting", "welcome",
    "info", "infoline", "property", "website", "www", "signkick", "motd",
})
"""What SET of a service sets for others to read."""
_SECRET_COMMANDS = frozenset({
    "PASS", "OPER", "AUTHENTICATE", "AUTH", "LOGIN", "IDENTIFY", "WEBIRC", "PROXY", "DIE", "RESTART", "REGISTER",
    "VERIFY",
})
_SERVICE_COMMANDS = {
    "NS": "NickServ", "NICKSERV": "NickServ", "CS": "ChanServ", "CHANSERV": "ChanServ", "MS": "MemoServ",
    "MEMOSERV": "MemoServ", "OS": "OperServ", "OPERSERV": "OperServ", "BS": "BotServ", "BOTSERV": "BotServ",
    "HS": "HostServ", "HOSTSERV": "HostServ", "AUTHSERV": "AuthServ", "USERSERV": "UserServ", "ZNC": "*status",
}
_LINK_COMMANDS = frozenset({
    "SERVER", "SID", "SVINFO", "SJOIN", "UID", "EUID", "BURST", "EOB", "SVSNICK", "ENDBURST", "FJOIN", "BMASK", "TMODE",
})
_SILENT = frozenset({
    "PING", "PONG", "CAP", "WHO", "WHOIS", "WHOWAS", "NAMES", "LIST", "LUSERS", "MOTD", "VERSION", "STATS", "TIME",
    "TRACE", "ADMIN", "INFO", "ISON", "USERHOST", "USERIP", "MONITOR", "LINKS", "MAP", "RULES", "MARKREAD",
    "CHATHISTORY", "PROTOCTL", "CAPAB", "REHASH", "SERVLIST", "SQUIT", "CONNECT", "ERROR", "WATCH", "SILENCE",
    "ACCEPT", "CODEPAGE", "FAIL", "WARN", "NOTE", "ACK", "CHGHOST",
})
"""Commands whose parameters are names and marks, not words to a person."""
_RFC1459 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ[]\\~", "abcdefghijklmnopqrstuvwxyz{}|^")
_RFC1459_STRICT = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ[]\\", "abcdefghijklmnopqrstuvwxyz{}|")
_ASCII = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_CASEMAPPINGS = {"rfc1459": _RFC1459, "rfc1459-strict": _RFC1459_STRICT, "ascii": _ASCII}


# -- a line


class Line(msgspec.Struct, gc=False):
    """A parsed line; offsets are into its raw bytes."""

    tags: bytes
    """Between `@` and its blank, b"" without."""
    source: bytes | None
    command: str
    """Upper case; "" when there is none."""
    params: list[bytes]
    spans: list[tuple[int, int]]
    """Where each parameter stands, without its colon."""
    colon: bool
    """Whether the last parameter has a colon in front; without one there are blanks in it only of surplus ones."""
    body: int
    """Where the tags end."""
    end: int
    """Where the line end begins."""


def parse(raw: bytes) -> Line | None:
    """A line with its line end; None for a blank one (RFC 1459 2.3.1, IRCv3 message-tags). Blanks are runs of 0x20."""
    end = len(raw)
    while end and raw[end - 1] in b"\r\n":
        end -= 1
    i = _skip(raw, 0, end)
    if i == end:
        return None
    tags = b""
    source: bytes | None = None
    if raw[i] == 64:
        j = _word(raw, i, end)
        tags = raw[i + 1:j]
        i = _skip(raw, j, end)
    body = i
    if i < end and raw[i] == 58:
        j = _word(raw, i, end)
        source = raw[i + 1:j]
        i = _skip(raw, j, end)
    j = _word(raw, i, end)
    command = raw[i:j].decode("latin-1").upper()
    params: list[bytes] = []
    spans: list[tuple[int, int]] = []
    colon = False
    while True:
        i = _skip(raw, j, end)
        if i == end:
            break
        if raw[i] == 58:
            colon = True
            params.append(raw[i + 1:end])
            spans.append((i + 1, end))
            break
        j = _word(raw, i, end)
        params.append(raw[i:j])
        spans.append((i, j))
    words = _WORDS_AT.get(command)
    if words is not None and len(params) > words + 1:
        # Some servers (InspIRCd) pass on surplus parameters as the rest of the last one.
        start = spans[words][0]
        params[words:], spans[words:], colon = [raw[start:end]], [(start, end)], False
    return Line(tags, source, command, params, spans, colon, body, end)


_WORDS_AT = {
    "PRIVMSG": 1, "NOTICE": 1, "SQUERY": 1, "CPRIVMSG": 2, "CNOTICE": 2, "TOPIC": 1, "PART": 1, "KICK": 2, "REMOVE": 2,
    "KNOCK": 1, "REDACT": 2, "USER": 3,
    **dict.fromkeys(("QUIT", "AWAY", "SETNAME", "WALLOPS", "OPERWALL", "GLOBOPS", "LOCOPS", "CHATOPS"), 0),
}
"""Command -> which of its parameters is its words, the last one there should be."""


def _skip(raw: bytes, i: int, end: int) -> int:
    while i < end and raw[i] == 32:
        i += 1
    return i


def _word(raw: bytes, i: int, end: int) -> int:
    j = raw.find(b" ", i, end)
    return end if j < 0 else j


_ESCAPES = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}


def unescape(value: str) -> str:
    """A tag's value as meant (IRCv3 message-tags, escaping values)."""
    if "\\" not in value:
        return value
    out: list[str] = []
    chars = iter(value)
    for char in chars:
        if char == "\\":
            char = next(chars, "")
            out.append(_ESCAPES.get(char, char))
        else:
            out.append(char)
    return "".join(out)


def tags_of(raw: bytes) -> dict[str, str]:
    """Tags with their values unescaped; of a key that stands twice the last one counts."""
    tags: dict[str, str] = {}
    for pair in raw.decode("utf-8", "replace").split(";"):
        key, _, value = pair.partition("=")
        if key:
            tags[key] = unescape(value)
    return tags


def _when(value: str | None) -> float | None:
    """Seconds of a server-time tag (ISO 8601 with Z); None where there is none or it is no time."""
    if not value:
        return None
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# -- what apply needs to know of a frame


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where one text of an event lies in the raw line."""

    start: int
    end: int


class _Note(msgspec.Struct, frozen=True):
    """Of a frame that took the long way: how a verdict is carried out."""

    mode: str
    """targets, channels: the events are each about an entry of the first parameter; line: about the whole line; strip:
    about the whole line, but only its text may go."""
    places: tuple[tuple[_Place | None, ...], ...] = ()
    """Per event, per text."""
    units: tuple[int, ...] = ()
    """Per event: which entry of the first parameter it is about."""
    entries: tuple[bytes, ...] = ()
    about: str = ""
    """Whom or what a notice is about, when it is not the target."""
    links: tuple[_Link | None, ...] = ()
    """Per event: the DCC connection that it arranges."""
    multi: _Multi | None = None
    index: int = 0
    words: int = 1
    """Which parameter is the text."""


class _Link(msgspec.Struct, frozen=True):
    """A DCC request that arranges a connection: what of its line may have to be written anew."""

    type: str
    """SEND, CHAT …, RESUME, ACCEPT."""
    offer: FileOffer | None
    """What will come; RESUME, ACCEPT: None."""
    host: str
    """Where the offerer means."""
    port: int
    addresses: tuple[str, ...]
    """host:port as written, and as meant."""
    host_at: dcc.Span
    port_at: dcc.Span
    """Places in the raw line."""
    reverse: bool = False
    """An answer to a passive offer: the offerer connects."""
    offset: int = 0
    token: str | None = None


class _Known(msgspec.Struct):
    """An offer that was passed on."""

    offer: FileOffer | None
    real: int = 0
    """The port its offerer listens on."""
    seen: int = 0
    """The port that was passed on."""
    addresses: tuple[str, ...] = ()
    """What its connection may be known by."""
    offset: int = 0
    told: bool = False
    """The other one was told that he cannot resume it."""


class _Tls(msgspec.Struct, frozen=True):
    """A 670 that starts TLS."""

    nick: bytes


class _Batch:
    """An open BATCH of one way."""

    __slots__ = ("copy", "multi", "type")

    def __init__(self, kind: str, copy: Copy, multi: _Multi | None) -> None:
        self.type = kind
        self.copy = copy
        self.multi = multi


class _Multi:
    """The lines of one draft/multiline message so far."""

    __slots__ = (
        "apart", "bytes", "command", "group", "label", "msgid", "offsets", "pieces", "sender", "target", "tight",
        "when", "words",
    )

    def __init__(self, group: str, target: bytes, sender: str | None, tags: dict[str, str]) -> None:
        self.group = group
        self.target = target
        self.sender = sender
        self.label = tags.get("label")
        self.msgid = tags.get("msgid")
        self.when = _when(tags.get("time"))
        self.command = "PRIVMSG"
        self.pieces: list[str] = []
        self.offsets: list[int] = []
        """Where each line's text begins in the joined text."""
        self.apart: list[int] = []
        """The same where every line is one of its own."""
        self.tight = False
        """Somewhere two lines were put together without a blank."""
        self.bytes = 0
        self.words: list[str] = []
        """Of client-only tags of the line that opens the batch."""

    def add(self, plain: str, concat: bool) -> None:
        """One more line; joined by a line feed unless `concat` (IRCv3 multiline)."""
        at = self.offsets[-1] + len(self.pieces[-1]) if self.pieces else 0
        self.apart.append(self.apart[-1] + len(self.pieces[-1]) + 1 if self.pieces else 0)
        if self.pieces and not concat:
            self.pieces[-1] += "\n"
            at += 1
        elif self.pieces and not (plain[:1].isspace() or self.pieces[-1][-1:].isspace()):
            self.tight = True
        self.offsets.append(at)
        self.pieces.append(plain)


class _Case:
    """One line on its long way from bytes to frame."""

    __slots__ = (
        "about", "at", "copy", "edit", "entries", "events", "fault", "group", "line", "links", "mode", "multi",
        "oddities", "part", "places", "raw", "tags", "tls", "units", "way", "words",
    )

    def __init__(self, way: Way, at: float, raw: bytes, line: Line) -> None:
        self.way = way
        self.at = at
        self.raw = raw
        self.line = line
        self.tags: dict[str, str] = tags_of(line.tags) if line.tags else {}
        self.copy: Copy = "no"
        self.events: list[Event] = []
        self.places: list[tuple[_Place | None, ...]] = []
        self.units: list[int] = []
        self.links: list[_Link | None] = []
        self.entries: tuple[bytes, ...] = ()
        self.oddities: list[Oddity] = []
        self.mode = "line"
        self.about = ""
        self.edit: str | None = None
        self.group: str | None = None
        self.part: Part = WHOLE
        self.multi: tuple[_Multi, int] | None = None
        self.fault: PeerError | None = None
        self.tls: _Tls | None = None
        self.words = 1

    def add(
        self, event: Event, places: Sequence[_Place | None] = (), unit: int = 0, link: _Link | None = None,
    ) -> None:
        self.events.append(event)
        self.places.append(tuple(places))
        self.units.append(unit)
        self.links.append(link)

    def param(self, index: int) -> str:
        return shown(self.line.params[index]) if index < len(self.line.params) else ""

    def text(self, index: int, part: str) -> tuple[tuple[Text, ...], tuple[_Place | None, ...]]:
        """Parameter `index` as a text with its place; nothing when it is not there or empty."""
        if index >= len(self.line.params) or not self.line.params[index]:
            return (), ()
        start, end = self.line.spans[index]
        texts = texts_of(part, self.line.params[index]) or (Text(part, ""),)
        return texts, (_Place(start, end), *(None for _ in texts[1:]))


# -- the decoder


_Head = tuple[str | None, tuple[str, ...], str, Copy, bool]
"""What the head of a plain message says: sender, recipients, conversation, copy, answerable."""


class IrcDecoder(Unreleased):
    """One IRC connection between a client and a server."""

    __slots__ = (
        "_account",
        "_announced",
        "_armoured",
        "_asked_behind",
        "_asked_tls",
        "_batches",
        "_broken",
        "_caps",
        "_careful",
        "_casemap",
        "_chantypes",
        "_dropping",
        "_edits",
        "_flow",
        "_heads",
        "_identify",
        "_leased",
        "_limits",
        "_lines",
        "_link",
        "_marked",
        "_mechanism",
        "_memory",
        "_midway",
        "_network",
        "_nick",
        "_offers",
        "_offers_since",
        "_partway",
        "_passive",
        "_registered",
        "_serial",
        "_server",
        "_slow",
        "_statusmsg",
        "_stop",
        "parted",
        "undecryptable",
    )

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        self._flow = flow
        self._memory = memory
        self._limits = limits
        self._edits = edits
        self._lines = (Lines(limits.irc_line_bytes), Lines(limits.irc_line_bytes))
        self._heads: tuple[dict[bytes, _Head], dict[bytes, _Head]] = ({}, {})
        self._careful = [not flow.from_start, not flow.from_start]
        """Per way: the next line may be the rest of one whose beginning is not known."""
        self._midway = not flow.from_start
        self._nick: str | None = None
        self._registered = False
        self._account: str | None = None
        self._mechanism: str | None = None
        self._server: bytes | None = None
        self._network = flow.server_name or flow.server.ip
        self._caps: frozenset[str] = frozenset()
        self._casemap = _RFC1459
        self._chantypes = "#&+!"
        self._statusmsg = "@+%~"
        self._batches: tuple[dict[str, _Batch], dict[str, _Batch]] = ({}, {})
        self._serial = 0
        self._armoured: frozenset[tuple[Way, str | None, str]] = frozenset()
        """(way, sender, target) inside a PGP armour."""
        self._identify = False
        """The server puts + or - before every text (CAPAB IDENTIFY-MSG)."""
        self._marked = 0 if not flow.from_start else -1
        """Texts in a row that bore such a mark, in a flow joined in its middle; -1: it is known that they need not."""
        self._offers = 0
        self._offers_since = 0.0
        self._passive: dict[str, _Known] = {}
        """Passive DCC offers that wait for their answer, by their tokens, the oldest first."""
        self._announced: dict[str, _Known] = {}
        """Active DCC offers that were passed on, by the way of the offer and its port, the oldest first."""
        self._leased: tuple[float, ...] = ()
        """When ports were leased that may still be held."""
        self._asked_tls = False
        """STARTTLS was sent and not answered yet."""
        self._asked_behind = False
        """The client went on in plain text behind its STARTTLS."""
        self._stop = False
        """The line just read is STARTTLS or 670: nothing may follow it in the same read."""
        self._broken = False
        self._slow = [not flow.from_start, not flow.from_start]
        """Per way: something is going on that the short way does not know."""
        self._link = False
        self.undecryptable: str | None = None
        """Why this connection cannot be judged, for the engine."""
        self.parted = False
        """The client has said QUIT, or the server ERROR (RFC 2812 3.1.7, 3.7.4): nothing behind it is read."""
        self._dropping = [False, False]
        """The rest of an over-long line is not passed on."""
        self._partway = [False, False]
        """A part of an over-long line was passed on, its end was not."""

    # -- bytes to frames

    def feed(self, chunk: Chunk) -> list[Frame]:
        """One frame a line; a line longer than `irc_line_bytes` comes in parts."""
        way, data = chunk.way, chunk.data
        lines = self._lines[way]
        if not (lines.busy or self._slow[way] or chunk.gap or chunk.end):
            size = len(data)
            if size and data.find(b"\n") == size - 1 and size <= lines.limit:
                start = data.find(b" ") + 1 if data[0] == 64 else 0
                head = data.find(b" :", start)
                known = self._heads[way].get(data[start:head]) if head > 0 else None
                if known is not None:
                    frame = self._short(way, chunk.at, data, head, known, start)
                    if frame is not None:
                        return [frame]
                cr = data.find(b"\r")
                if cr < 0 or cr == size - 2:
                    return [self._long(way, chunk.at, data)]
        return self._feed(chunk, lines)

    def _feed(self, chunk: Chunk, lines: Lines) -> list[Frame]:
        way, at = chunk.way, chunk.at
        frames: list[Frame] = []
        if chunk.gap:
            self._lost(way, at, lines, frames)
        if self._asked_tls and way is UP and chunk.data:
            self._asked_behind = True
        pieces = lines.feed(chunk.data)
        unended = None
        if chunk.end:
            unended = lines.flush()
            if unended is not None:
                pieces.append(unended)
        for index, (raw, part) in enumerate(pieces):
            self._stop = False
            if part is not WHOLE:
                frames.append(self._piece(way, at, raw, part))
            elif self._careful[way]:
                frames.append(self._resync(way, at, raw))
            else:
                frames.append(self._frame(way, at, raw))
            if frames[-1].fault is not None or (self._stop and not self._broken):
                rest = b"".join(piece for piece, _ in pieces[index + 1:])
                held = lines.flush()
                if held is not None:
                    rest += held[0]
                if frames[-1].fault is not None:
                    frames[-1] = msgspec.structs.replace(frames[-1], raw=raw + rest)
                    return frames
                if rest:
                    frames.append(self._injection(way, at, rest))
                    return frames
        if unended is not None:
            frames[-1] = msgspec.structs.replace(
                frames[-1], oddities=(*frames[-1].oddities, Oddity("irc.unended_line")))
        return frames

    def _injection(self, way: Way, at: float, raw: bytes) -> Frame:
        self._broken = True
        self._asked_tls = False
        self._set_slow()
        fault = PeerError("irc.starttls_injection", "plain text where TLS has to begin")
        return Frame(way, at, raw, BROKEN, fault=fault)

    def pending(self, way: Way) -> int:
        """Bytes held that are not yet a line."""
        return self._lines[way].pending

    def _set_slow(self) -> None:
        for way in (UP, DOWN):
            self._slow[way] = (
                self._careful[way] or self._asked_tls or self._identify or bool(self._armoured) or self._link
                or (way is DOWN and (self._marked >= 0 or (self._midway and self._nick is None)))
            )

    def _lost(self, way: Way, at: float, lines: Lines, frames: list[Frame]) -> None:
        """Bytes are missing: the line they cut through is not read, the next one is looked at with care."""
        rest = lines.flush()
        if rest is not None:
            frames.append(Frame(way, at, rest[0], "irc.partial", oddities=(Oddity("irc.partial_line"),)))
        self._careful[way] = True
        self._set_slow()

    def _resync(self, way: Way, at: float, raw: bytes) -> Frame:
        """The first line after a hole: taken for one if it looks like one from its start."""
        self._careful[way] = False
        self._set_slow()
        line = parse(raw)
        if line is not None and (
            line.command in _HANDLERS[way] or line.command in _SILENT or line.command in _SECRET_COMMANDS
            or (way is DOWN and line.source is not None and len(line.command) == 3 and line.command.isdigit())
        ):
            return self._frame(way, at, raw)
        if line is None:
            return Frame(way, at, raw, "irc.empty")
        return Frame(way, at, raw, "irc.partial", oddities=(Oddity("irc.partial_line"),))

    def _piece(self, way: Way, at: float, raw: bytes, part: Part) -> Frame:
        """A part of an over-long line: the first is read as a line, the others as words."""
        self._careful[way] = False
        if part is FIRST:
            frame = self._frame(way, at, raw)
            events = tuple(
                msgspec.structs.replace(e, texts=tuple(msgspec.structs.replace(t, editable=False) for t in e.texts))
                for e in frame.events
            )
            if frame.fault is not None:
                return frame
            if frame.group is not None:
                # It leaves alone, without waiting for the rest of its message: so it is judged alone.
                plain = plain_of(raw)
                events = (Opaque(kind="endless_line", texts=(Text("body", plain, None, False),), answerable=False),)
            links = frame.note.links if type(frame.note) is _Note else ()
            return Frame(
                way, at, raw, frame.kind, events, (*frame.oddities, Oddity("irc.endless_line")), FIRST,
                edit=frame.edit or (STRICT_DCC if any(links) and STRICT_DCC in self._edits else None),
                note=_Note("line", links=links),
            )
        plain = plain_of(raw).strip()
        words: tuple[Event, ...] = ()
        if plain:
            words = (Opaque(kind="endless_line", texts=(Text("body", plain, None, False),), answerable=False),)
        return Frame(way, at, raw, "irc.endless", words, (), part, note=_Note("line"))

    def _frame(self, way: Way, at: float, raw: bytes) -> Frame:
        """One line: the short way for a plain message whose head is known, else the long one."""
        if not self._slow[way] and raw[-1] == 10 and len(raw) <= self._limits.irc_line_bytes:
            start = raw.find(b" ") + 1 if raw[0] == 64 else 0
            head = raw.find(b" :", start)
            known = self._heads[way].get(raw[start:head]) if head > 0 else None
            if known is not None:
                frame = self._short(way, at, raw, head, known, start)
                if frame is not None:
                    return frame
        return self._long(way, at, raw)

    @staticmethod
    def _short(way: Way, at: float, raw: bytes, head: int, known: _Head, start: int) -> Frame | None:
        """A plain message: text without codes or a stray CR behind a known head, which may have a server's tags in
        front (`start` bytes); None: not so plain after all."""
        data = raw[head + 2:-2 if raw[-2] == 13 else -1]
        if len(data.translate(None, CODES)) != len(data):
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        if not text or text.startswith(ENCRYPTED_STARTS):
            return None
        sender, recipients, conversation, copy, answerable = known
        if start:
            raw_tags = raw[1:start - 1]
            if not _plain_tags(raw_tags):
                return None
            tags = tags_of(raw_tags)
            return Frame(way, at, raw, "irc.PRIVMSG", (Message(
                sender=sender, recipients=recipients, conversation=conversation, texts=(Text("body", text),), copy=copy,
                answerable=answerable, id=tags.get("msgid") or tags.get("label"), sent_at=_when(tags.get("time")),
            ),))
        return Frame(way, at, raw, "irc.PRIVMSG", (Message(
            sender=sender, recipients=recipients, conversation=conversation, texts=(Text("body", text),), copy=copy,
            answerable=answerable,
        ),))

    def _long(self, way: Way, at: float, raw: bytes) -> Frame:
        if way is UP and raw[:2] == b"\x16\x03" and self.undecryptable is None:
            self.undecryptable = "TLS that was not opened"
        line = parse(raw)
        if line is None:
            return Frame(way, at, raw, "irc.empty")
        if line.command in _SILENT and not line.tags and len(raw) < PAYLOAD and raw[-1] == 10 and b"\0" not in raw and (
            line.command not in _HANDLERS[way]
        ) and (way is DOWN or line.source is None):
            return Frame(way, at, raw, f"irc.{line.command}")
        case = _Case(way, at, raw, line)
        if b"\0" in raw:
            case.oddities.append(Oddity("irc.nul"))
            if DROP_NUL in self._edits:
                case.edit = DROP_NUL
        if line.end - line.body > PAYLOAD:
            case.oddities.append(Oddity("irc.long_line", f"{line.end - line.body} bytes"))
        if raw[line.end:] == b"\r":
            case.oddities.append(Oddity("irc.lone_cr"))
        command = line.command
        if way is UP and line.source is not None and not self._link:
            case.oddities.append(Oddity("irc.client_source"))
        if case.tags and "batch" in case.tags:
            self._in_batch(case)
        if command in _LINK_COMMANDS and way is UP and not self._registered and len(line.params) >= 2:
            self._link = True
            self.undecryptable = "a link between two servers"
            self._set_slow()
        if self._link and command in _LINK_COMMANDS:
            self._linked(case)
        else:
            handler = _HANDLERS[way].get(command)
            if handler is not None:
                handler(self, case)
            elif way is DOWN and len(command) == 3 and command.isdigit():
                self._numeric(case)
            elif command not in _SILENT:
                self._unknown(case)
        if case.fault is not None:
            return Frame(way, at, raw, BROKEN, fault=case.fault)
        if case.tags:
            self._tag_words(case)
        if line.params and not line.colon and b" :" in line.params[-1]:
            self._surplus(case)
        if command == "PRIVMSG" and len(case.events) == 1 and _plain_tags(line.tags):
            self._remember(case)
        return Frame(
            way, at, raw,
            f"irc.{command}" if command.isalnum() and command.isascii() and len(command) <= 20 else "irc.unknown",
            tuple(case.events), tuple(case.oddities), case.part, case.group, None, case.edit, self._note(case),
            tuple(case.units) if len(case.events) > 1 and case.mode != "strip" else None,
            case.mode == "strip",
        )

    def _note(self, case: _Case) -> object:
        if case.tls is not None:
            return case.tls
        if case.multi is None and not case.events:
            return None
        return _Note(
            case.mode, tuple(case.places), tuple(case.units), case.entries, case.about,
            tuple(case.links) if any(case.links) else (), case.multi[0] if case.multi else None,
            case.multi[1] if case.multi else 0, case.words,
        )

    def _remember(self, case: _Case) -> None:
        """Keep the head of a plain message for the short way."""
        line, event = case.line, case.events[0]
        if (
            type(event) is not Message or event.kind != "chat" or case.oddities or not line.colon
            or len(line.params) != 2 or line.spans[1][0] != case.raw.find(b" :", line.body) + 2
            or self._slow[case.way] or _service(event.recipients[0]) or event.encryption is not CLEAR
            or line.spans[1][0] - line.body > HEAD_BYTES
            or line.body != (len(line.tags) + 2 if line.tags else 0)
        ):
            return
        heads = self._heads[case.way]
        if len(heads) >= HEADS:
            heads.clear()
        heads[case.raw[line.body:line.spans[1][0] - 2]] = (
            event.sender, event.recipients, event.conversation or "", event.copy, event.answerable)

    def _forget(self) -> None:
        """Something changed that heads were read by."""
        for heads in self._heads:
            heads.clear()

    # -- names

    def fold(self, name: str) -> str:
        """A nick or channel as the network compares it (005 CASEMAPPING)."""
        return name.translate(self._casemap)

    def _is_channel(self, name: str) -> bool:
        bare = name.lstrip(self._statusmsg) if name[:1] not in self._chantypes else name
        return bare[:1] in self._chantypes and bare != ""

    def _conversation(self, target: str, sender: str | None, way: Way, copy: Copy) -> str:
        """Network, and the channel or the other one's nick."""
        if self._is_channel(target):
            peer = target if target[:1] in self._chantypes else target.lstrip(self._statusmsg)
        elif way is UP or copy == "echo" or sender is None or self._is_own(sender):
            peer = target
        else:
            peer = sender
        return f"{self._network}/{self.fold(peer)}"

    def _is_own(self, name: str | None) -> bool:
        return name is not None and self._nick is not None and self.fold(name) == self.fold(self._nick)

    def _is_server(self, source: bytes | None) -> bool:
        """Whether a source is a server's: no user part, and a name with a dot or the server's own."""
        if source is None:
            return True
        if b"!" in source or b"@" in source:
            return False
        return b"." in source or b":" in source or source == self._server

    def _sender(self, case: _Case) -> str | None:
        source = case.line.source
        if case.way is UP and not self._link:
            return self._nick
        if source is None:
            return None
        return shown(source.partition(b"!")[0].partition(b"@")[0]) or None

    def _renamed(self, nick: str) -> None:
        self._nick = nick
        self._forget()
        self._set_slow()

    def _signed(self, case: _Case, mechanism: str | None) -> None:
        """Say who the user is now."""
        if self._nick is None:
            return
        if self._account is not None:
            case.add(SignOn(
                user=self._account, identity="authenticated", mechanism=self._mechanism or mechanism,
            ))
        else:
            case.add(SignOn(user=self._nick, identity="claimed", mechanism=mechanism))

    def _logged_in(self, case: _Case, account: str, mechanism: str) -> None:
        if account in ("", "*", "0") or account == self._account:
            return
        self._account = account
        self._mechanism = mechanism
        if self._registered:
            self._signed(case, mechanism)

    def _logged_out(self, case: _Case) -> None:
        if self._account is not None:
            self._account = None
            if self._registered:
                self._signed(case, case.line.command)

    # -- words

    def _message(self, case: _Case) -> None:
        """PRIVMSG, NOTICE and their kin: an event per target and CTCP piece."""
        line, way = case.line, case.way
        at = 2 if line.command in ("CPRIVMSG", "CNOTICE") else 1
        if len(line.params) <= at:
            return
        case.words = at
        sender = self._sender(case)
        quiet = line.command.endswith("NOTICE")
        # Servers speak by NOTICE; a PRIVMSG of which the source is missing is somebody's words all the same.
        server = way is DOWN and self._is_server(line.source) and (quiet or line.source is not None)
        targets = self._targets(case)
        start, end = line.spans[at]
        if way is DOWN and not server:
            start += self._mark(line.params[at])
            self._learn(case, targets)
            self._copied(case, sender, targets)
        data = case.raw[start:end]
        if case.multi is not None:
            self._multi_line(case, case.multi[0], data)
            return
        pieces = _pieces(data)
        if len(pieces) * len(targets) > MOST_EVENTS:
            offers = [p for p in pieces if data[p[1]:p[1] + 4].upper() == b"DCC "]
            pieces = [(False, 0, len(data)), *offers[:MOST_EVENTS]]
            if len(pieces) * len(targets) > MOST_EVENTS:
                targets = targets[:1]
        case.mode = "targets"
        for unit, target in enumerate(targets):
            recipients = (target,) if unit < len(targets) - 1 or len(targets) == len(case.entries) else tuple(
                shown(e) for e in case.entries[unit:])
            for ctcp, first, last in pieces:
                place = _Place(start + first, start + last)
                self._piece_of(case, sender, recipients, unit, quiet, server, ctcp, place)

    def _targets(self, case: _Case) -> list[str]:
        """The targets told apart; the last one stands for all behind it when there are too many."""
        entries = tuple(t for t in case.line.params[0].split(b",") if t)
        case.entries = entries
        if len(entries) > self._limits.irc_targets:
            case.oddities.append(Oddity("irc.many_targets", f"{len(entries)} targets"))
            entries = entries[:self._limits.irc_targets]
        return [shown(entry) for entry in entries]

    def _piece_of(
        self, case: _Case, sender: str | None, recipients: tuple[str, ...], unit: int, quiet: bool, server: bool,
        ctcp: bool, place: _Place,
    ) -> None:
        target = recipients[0]
        data = case.raw[place.start:place.end]
        answerable = case.way is UP and case.copy == "no"
        conversation = self._conversation(target, sender, case.way, case.copy)
        if ctcp:
            name, _, rest = data.partition(b" ")
            verb = name.decode("latin-1").upper()
            place = _Place(place.end - len(rest), place.end)
            if verb == "DCC":
                self._dcc(case, sender, recipients, conversation, unit, place, quiet)
                return
            if verb != "ACTION":
                texts = texts_of("body", rest)
                word = verb.lower() if verb.isalnum() and verb.isascii() and len(verb) <= 16 else "unknown"
                case.add(Opaque(
                    kind=f"ctcp.{word}" if not quiet else f"ctcp_reply.{word}", sender=sender, recipients=recipients,
                    texts=texts, answerable=answerable and not quiet, personal=True,
                ), (place, None)[:len(texts)], unit)
                return
            data = rest
        if _service(target) and self._secret(case, sender, recipients, unit, data):  # never a password in an event
            return
        texts = texts_of("body", data)
        encryption = self._cipher(case.way, sender, target, texts[0].plain if texts else "")
        kind: Kind = "action" if ctcp else "notice" if quiet else "chat"
        if server or (quiet and case.way is DOWN and not self._registered and not self._midway):
            kind = "server"
        case.add(Message(
            kind=kind, sender=sender, recipients=recipients, conversation=conversation,
            texts=texts, id=case.tags.get("msgid") or case.tags.get("label"),
            copy=case.copy, encryption=encryption, sent_at=_when(case.tags.get("time")), answerable=answerable,
            written=written(data, texts), sealed=None if encryption is CLEAR else "",
        ), (place, None)[:len(texts)], unit)

    def _cipher(self, way: Way, sender: str | None, target: str, plain: str) -> Encryption:
        key = (way, sender, target)
        if key in self._armoured:
            if plain.startswith("-----END PGP"):
                self._armoured -= {key}
                self._set_slow()
            return Encryption("metadata", "openpgp")
        encryption = encryption_of(plain)
        if encryption.scheme == "openpgp" and len(self._armoured) < self._limits.irc_batches:
            self._armoured |= {key}
            self._forget()
            self._set_slow()
        return encryption

    def _mark(self, text: bytes) -> int:
        """1 if the text begins with an IDENTIFY-MSG mark, which is no part of it.

        Known from 290 or CAP; a flow joined in its middle is believed to have it once eight texts in a row bore one.
        """
        bears = text[:1] in (b"+", b"-")
        if self._marked >= 0:
            self._marked = self._marked + 1 if bears else -1
            if self._marked >= 8:
                self._identify_on()
            elif self._marked < 0:
                self._set_slow()
        return 1 if self._identify and bears else 0

    def _identify_on(self) -> None:
        self._identify = True
        self._marked = -1
        self._forget()
        self._set_slow()

    def _learn(self, case: _Case, targets: list[str]) -> None:
        """A flow joined late: what is said to a nick on the way down is said to the own one."""
        if self._nick is not None or not self._midway or not targets:
            return
        if not self._is_channel(targets[0]) and targets[0][:1] not in "*$":
            self._registered = True
            self._renamed(targets[0])
            self._signed(case, case.line.command)

    def _copied(self, case: _Case, sender: str | None, targets: list[str]) -> None:
        """Echoes of own messages (echo-message, self-message)."""
        if case.copy == "no" and self._is_own(sender) and (
            "echo-message" in self._caps or not (targets and self._is_own(targets[0]))
        ):
            case.copy = "echo"

    def _secret(self, case: _Case, sender: str | None, recipients: tuple[str, ...], unit: int, data: bytes) -> bool:
        """A password told to a service: only what follows it may be seen."""
        plain = plain_of(data)
        rest = _without_secret(plain)
        if len(recipients[0].partition("@")[0]) == 1 and not plain[:5].lower().startswith(("auth ", "login")):
            return False
        if rest is None:
            return False
        case.add(Opaque(
            kind="credentials", sender=sender, recipients=recipients,
            texts=(Text("body", rest, None, False),) if rest else (), answerable=False,
        ), (None,) if rest else (), unit)
        return True

    def _dcc(
        self, case: _Case, sender: str | None, recipients: tuple[str, ...], conversation: str, unit: int, place: _Place,
        quiet: bool,
    ) -> None:
        """A DCC request; NOTICE is read like PRIVMSG, as some clients do."""
        words = case.raw[place.start:place.end]
        request = dcc.parse(words)
        chat = request.type in ("CHAT", "SCHAT")
        named = request.name
        if not request.sane:
            named = plain_of(words.strip(b" ").partition(b" ")[2])  # no offer that makes sense: all of it is words
        elif chat and named.lower() in ("chat", "wboard"):
            named = ""
        texts = (Text("file_name", named, None, False),) if named else ()
        answerable = case.way is UP and not quiet
        if request.type in ("RESUME", "ACCEPT", "REJECT"):
            name = named or plain_of(words)
            if request.type == "RESUME" and REFUSE_RESUME in self._edits:
                case.edit = case.edit or REFUSE_RESUME
            case.add(Opaque(
                kind=f"dcc.{request.type.lower()}", sender=sender, recipients=recipients,
                texts=(Text("file_name", name, None, False),), answerable=answerable,
            ), (None,), unit, self._resumption(request, place))
            return
        method = "dcc_chat" if chat else "dcc"
        meant = self._meant(case, request)
        address = dcc.joined(meant, request.port) if meant is not None and request.port else None
        before = self._passive.get(self._token(request.token, case.way.other)) if address is not None else None
        answered = before.offer if before is not None and request.token is not None else None
        if answered is not None and (answered.method, _bare(answered.file_name)) == (
            method, _bare("" if chat else request.name)
        ):
            self._passive.pop(self._token(request.token, case.way.other))
            link = self._arranged(
                case, request, place, msgspec.structs.replace(answered, address=address), meant, before)
            case.add(Opaque(
                kind="dcc.answer", sender=sender, recipients=recipients, texts=texts, answerable=answerable,
            ), (None,) if texts else (), unit, link)
            return
        offer = FileOffer(
            sender=sender, recipients=recipients, conversation=conversation, file_name="" if chat else request.name,
            size=request.size, method=method, address=address, id=request.token, texts=texts, answerable=answerable,
        )
        self._tricks(case, request, chat)
        if request.sane and request.port == 0 and request.token is not None:
            if len(self._passive) >= self._limits.dcc_offers:
                del self._passive[next(iter(self._passive))]
            self._passive[self._token(request.token, case.way)] = _Known(offer)
        case.add(offer, (None,) if texts else (), unit, self._arranged(case, request, place, offer, meant, None))

    def _meant(self, case: _Case, request: dcc.Request) -> str | None:
        """The host where the offerer listens; 0 is written by those who do not know their own (sheet 7)."""
        if request.host != dcc.ANY:
            return request.host
        return self._flow.client.ip if case.way is UP else _source_host(case.line.source) or request.host

    def _arranged(
        self, case: _Case, request: dcc.Request, place: _Place, offer: FileOffer, meant: str | None,
        before: _Known | None,
    ) -> _Link | None:
        """The connection that a request arranges; with the strict edit a request that nobody could follow is not passed
        on: clients read more into it than we do."""
        strict = STRICT_DCC if STRICT_DCC in self._edits else None
        if not request.sane or meant is None or request.host is None or request.port is None:
            case.oddities.append(Oddity(
                "irc.dcc_ambiguous" if request.ambiguous else "irc.dcc_malformed", request.type[:16]))
            case.edit = case.edit or strict
            return None
        if not request.port or case.copy == "echo":
            return None
        server = self._flow.server
        if request.port == server.port and server.ip in (meant, request.host):
            # Where people sign on nobody takes a file: what is announced there would be taken for one.
            case.oddities.append(Oddity("irc.dcc_server"))
            case.edit = case.edit or strict
            return None
        if case.at - self._offers_since > self._limits.expect_seconds:
            self._offers, self._offers_since = 0, case.at
        if self._offers >= self._limits.dcc_offers:
            case.oddities.append(Oddity("irc.many_offers"))
            case.edit = case.edit or strict
            return None
        self._offers += 1
        self._bounced(case, meant, request.port)
        own = dcc.joined(meant, request.port)
        written_as = dcc.joined(request.host, request.port)
        at = place.start
        return _Link(
            request.type, offer, meant, request.port, (written_as,) if written_as == own else (written_as, own),
            (request.host_at[0] + at, request.host_at[1] + at), (request.port_at[0] + at, request.port_at[1] + at),
            reverse=before is not None, offset=before.offset if before is not None else 0, token=request.token)

    def _resumption(self, request: dcc.Request, place: _Place) -> _Link | None:
        if request.port is None or request.type == "REJECT":
            return None
        at = place.start
        return _Link(
            request.type, None, "", request.port, (), dcc.NOWHERE,
            (request.port_at[0] + at, request.port_at[1] + at), offset=request.size or 0, token=request.token)

    @staticmethod
    def _tricks(case: _Case, request: dcc.Request, chat: bool) -> None:
        tricks = () if chat else dcc.tricks(request.name)
        if tricks:
            case.oddities.append(Oddity("irc.dcc_name", " ".join(tricks)))
        if request.type in _TLS_TYPES:
            case.oddities.append(Oddity("irc.dcc_tls", request.type))

    def _bounced(self, case: _Case, host: str, port: int) -> None:
        """Tell addresses that lead somewhere else than to the offerer (FTP bounce), and ports of servers."""
        if port < 1024:
            case.oddities.append(Oddity("irc.dcc_low_port", str(port)))
        ip = _ip(host)
        if ip is None:
            return
        own = self._flow.client.ip if case.way is UP else _source_host(case.line.source)
        if own is not None and own != host:
            case.oddities.append(Oddity("irc.dcc_foreign_address"))
        server = _ip(self._flow.server.ip)
        if case.way is DOWN and not ip.is_global and server is not None and server.is_global:
            case.oddities.append(Oddity("irc.dcc_private_address"))

    @staticmethod
    def _token(token: str | None, way: Way) -> str:
        return f"{int(way)} {(token or '').rstrip('T')[:64]}"

    def _tagmsg(self, case: _Case) -> None:
        tags = case.tags
        sender = self._sender(case)
        targets = self._targets(case) if case.line.params else []
        if case.way is DOWN:
            self._copied(case, sender, targets)
        case.mode = "targets"
        state = tags.get("+typing") or tags.get("+draft/typing")
        for unit, target in enumerate(targets):
            if state is not None:
                case.add(Typing(state=state[:16], sender=sender, recipients=(target,)), (), unit)
            for key in ("+draft/react", "+react", "+draft/unreact"):
                if key in tags:
                    case.add(Message(
                        kind="reaction", sender=sender, recipients=(target,),
                        conversation=self._conversation(target, sender, case.way, case.copy),
                        texts=(Text("reaction", tags[key], None, False),) if tags[key] else (),
                        id=tags.get("msgid") or tags.get("label"), copy=case.copy,
                        replaces=tags.get("+draft/reply") or tags.get("+reply"),
                        answerable=case.way is UP and case.copy == "no",
                    ), (None,) if tags[key] else (), unit)

    def _tag_words(self, case: _Case) -> None:
        """Client-only tags may carry anything: what is not known is looked at."""
        known = _KNOWN_TAGS if case.line.command == "TAGMSG" else _REFERENCES
        words = [
            value or key[1:] for key, value in case.tags.items()
            if key[:1] == "+" and (key not in known or len(value) > 64 or " " in value)
        ]
        if len(words) > _SEGMENTS:
            words[_SEGMENTS - 1:] = ["\n".join(words[_SEGMENTS - 1:])]
        if words and case.multi is not None and case.part != LAST:
            case.multi[0].words += words  # judged with the message
        elif words:
            for unit in range(max(1, min(len(case.entries), self._limits.irc_targets))):
                case.add(Opaque(
                    kind="tags", sender=self._sender(case),
                    recipients=(shown(case.entries[unit]),) if case.entries else (),
                    texts=tuple(Text("tag", value, None, False) for value in words), answerable=False,
                ), [None] * len(words), unit)

    def _surplus(self, case: _Case) -> None:
        """Parameters behind the one that should be the last, as servers join them: without the colon."""
        words, sign, rest = case.line.params[-1].partition(b" :")
        joined = b" ".join((*words.split(b" "), rest) if sign else (words,))
        if any(_service(shown(entry)) for entry in case.entries) and _without_secret(plain_of(joined)) is not None:
            return
        texts = tuple(msgspec.structs.replace(text, editable=False) for text in texts_of("body", joined))
        for unit in range(max(1, min(len(case.entries), self._limits.irc_targets))):
            case.add(Opaque(
                kind="surplus", sender=self._sender(case), texts=texts, answerable=False,
                recipients=(shown(case.entries[unit]),) if case.entries else (),
            ), [None] * len(texts), unit)

    # -- batches

    def _batch(self, case: _Case) -> None:
        """BATCH +ref type … opens, BATCH -ref closes (IRCv3 batch, multiline, chathistory)."""
        params, way = case.line.params, case.way
        if not params or len(params[0]) < 2:
            return
        ref = shown(params[0][1:])
        batches = self._batches[way]
        if params[0][:1] == b"+":
            kind = case.param(1).lower()
            parent = batches.get(case.tags.get("batch", ""))
            copy: Copy = parent.copy if parent else "no"
            if "chathistory" in kind or "playback" in kind:
                copy = "history"
            multi: _Multi | None = None
            if len(batches) >= self._limits.irc_batches or ref in batches:
                case.oddities.append(Oddity("irc.many_batches"))
                return
            if kind in ("draft/multiline", "multiline") and len(params) > 2:
                self._serial += 1
                multi = _Multi(f"{int(way)}.{self._serial}", params[2], self._sender(case), case.tags)
                case.group, case.part, case.multi = multi.group, FIRST, (multi, -1)
            batches[ref] = _Batch(kind, copy, multi)
            self._forget()
        elif params[0][:1] == b"-":
            batch = batches.pop(ref, None)
            if batch is not None and batch.multi is not None:
                case.copy = batch.copy
                self._multi_end(case, batch.multi)

    def _in_batch(self, case: _Case) -> None:
        batch = self._batches[case.way].get(case.tags["batch"])
        if batch is None:
            return
        case.copy = batch.copy
        multi = batch.multi
        if multi is not None and case.line.command in ("PRIVMSG", "NOTICE") and self._of_multi(case, multi):
            case.multi = (multi, len(multi.pieces))
            case.group, case.part = multi.group, MORE
            multi.command = case.line.command

    def _of_multi(self, case: _Case, multi: _Multi) -> bool:
        """Whether a line is nothing but a piece of its multiline message. Servers that know no batches take each line
        for itself: what says more, or to somebody else, is judged as the line it is."""
        params = case.line.params
        target = shown(multi.target)
        return (
            len(params) > 1 and self.fold(shown(params[0])) == self.fold(target) and not _service(target)
            and b"\x01" not in params[1] and other_reading(params[1]) is None
            and not any(key[:1] == "+" for key in case.tags)
        )

    def _multi_line(self, case: _Case, multi: _Multi, data: bytes) -> None:
        multi.bytes += len(case.raw)
        multi.add(plain_of(data), "draft/multiline-concat" in case.tags or "multiline-concat" in case.tags)
        if multi.bytes + len(case.raw) > self._limits.group_bytes * 3 // 4:
            # Rather judged in two than refused whole: what is there is one message, the rest another.
            for ref, batch in tuple(self._batches[case.way].items()):
                if batch.multi is multi:
                    del self._batches[case.way][ref]
            case.oddities.append(Oddity("irc.long_batch"))
            self._multi_end(case, multi)

    def _multi_end(self, case: _Case, multi: _Multi) -> None:
        case.group, case.part = multi.group, LAST
        case.multi = (multi, -1 if case.line.command == "BATCH" else len(multi.pieces) - 1)
        text = "".join(multi.pieces)
        # Where the batch is not known each line is a message: a word may end, or begin, where lines are put together.
        texts: tuple[Text, ...] = (Text("body", text),) if text else ()
        if texts and multi.tight:
            texts = (*texts, Text("body", "\n".join(piece.removesuffix("\n") for piece in multi.pieces)))
        target = shown(multi.target)
        if case.way is DOWN:
            self._copied(case, multi.sender, [target])
        sender = multi.sender if multi.sender is not None or case.way is DOWN else self._nick
        case.add(Message(
            kind="notice" if multi.command == "NOTICE" else "chat", sender=sender, recipients=(target,),
            conversation=self._conversation(target, sender, case.way, case.copy),
            texts=texts, id=multi.msgid or multi.label, copy=case.copy,
            encryption=encryption_of(text), sent_at=multi.when, answerable=case.way is UP and case.copy == "no",
        ), [None] * len(texts))
        if multi.words:
            case.add(Opaque(
                kind="tags", sender=sender, recipients=(target,), answerable=False,
                texts=tuple(Text("tag", word, None, False) for word in multi.words),
            ), [None] * len(multi.words))

    # -- channels and people

    def _topic(self, case: _Case) -> None:
        texts, places = case.text(1, "topic")
        if len(case.line.params) < 2:
            return
        self._topic_event(case, case.param(0), self._sender(case), texts, places, "no")
        case.mode = "line" if case.way is UP else "strip"
        case.words = 1

    def _topic_event(
        self, case: _Case, channel: str, sender: str | None, texts: tuple[Text, ...], places: tuple[_Place | None, ...],
        copy: Copy,
    ) -> None:
        case.about = channel
        case.add(Message(
            kind="topic", sender=sender, recipients=(channel,), conversation=f"{self._network}/{self.fold(channel)}",
            texts=texts, id=case.tags.get("msgid") or case.tags.get("label"), copy=case.copy if copy == "no" else copy,
            sent_at=_when(case.tags.get("time")), encryption=encryption_of(texts[0].plain) if texts else CLEAR,
            answerable=case.way is UP,
        ), places)

    def _join(self, case: _Case) -> None:
        """Keys are passwords: never shown. The account and realname of extended-join are taken."""
        if not case.line.params:
            return
        sender = self._sender(case)
        case.mode = "channels" if case.way is UP else "strip"
        if case.way is DOWN and len(case.line.params) > 2:
            if self._is_own(sender):
                self._logged_in(case, case.param(1), "JOIN")
            texts, places = case.text(2, "realname")
            case.words = 2
        else:
            texts, places = (), ()
        for unit, channel in enumerate(self._targets(case)):
            if channel == "0" and case.way is UP:  # RFC 2812 3.2.1: leave them all
                case.add(GroupChange(action="leave", group="*", member=sender), (), unit)
                continue
            case.add(GroupChange(action="join", group=channel, member=sender, texts=texts), places, unit)

    def _part(self, case: _Case) -> None:
        texts, places = case.text(1, "reason")
        case.mode = "strip"
        if case.line.params:
            for unit, channel in enumerate(self._targets(case)):
                case.about = channel
                case.add(GroupChange(
                    action="leave", group=channel, member=self._sender(case), texts=texts if unit == 0 else ()),
                    places if unit == 0 else (), unit)

    def _kick(self, case: _Case) -> None:
        texts, places = case.text(2, "reason")
        if len(case.line.params) < 2:
            return
        case.words = 2
        case.mode = "line" if case.way is UP else "strip"
        case.about = case.param(0)
        for index, victim in enumerate(case.param(1).split(",")[:self._limits.irc_targets]):
            case.add(GroupChange(
                action="kick", group=case.param(0), member=victim, texts=texts if index == 0 else ()),
                places if index == 0 else ())

    def _quit(self, case: _Case) -> None:
        texts, places = case.text(0, "reason")
        case.words = 0
        case.mode = "strip"
        self.parted = self.parted or case.way is UP
        case.add(Presence(sender=self._sender(case), availability="offline", texts=texts), places)

    def _server_ends(self, case: _Case) -> None:
        """ERROR: its words are to nobody in particular."""
        del case
        self.parted = True

    def _away(self, case: _Case) -> None:
        texts, places = case.text(0, "away")
        sender = self._sender(case)
        case.words = 0
        case.mode = "line" if case.way is UP else "strip"
        case.about = "AWAY"
        if texts:
            case.add(Message(
                kind="away", sender=sender, texts=texts, copy=case.copy, answerable=case.way is UP,
                encryption=encryption_of(texts[0].plain), id=case.tags.get("label"),
            ), places)
        else:
            case.add(Presence(sender=sender, availability="online"))

    def _invite(self, case: _Case) -> None:
        if len(case.line.params) < 2:
            return
        case.about = case.param(0)
        case.words = -1
        case.add(Message(
            kind="invite", sender=self._sender(case), recipients=(case.param(0),),
            conversation=f"{self._network}/{self.fold(case.param(1))}", copy=case.copy, answerable=case.way is UP,
        ))

    def _nick_change(self, case: _Case) -> None:
        nick = case.param(0)
        if not nick:
            return
        sender = self._sender(case)
        case.about = "NICK"
        case.words = -1
        if case.way is DOWN:
            case.mode = "strip"
            if self._is_own(sender):
                self._renamed(nick)
                self._signed(case, "NICK")
        case.add(GroupChange(
            action="nick", group="", member=sender, texts=(Text("nick", nick, None, False),)), (None,))

    def _mode(self, case: _Case) -> None:
        params = case.line.params
        if case.way is UP and len(params) < 2:
            return
        if not params or not self._is_channel(case.param(0)):
            return
        case.about = case.param(0)
        case.mode = "line" if case.way is UP else "strip"
        case.words = -1
        words = " ".join(_mode_words([shown(p) for p in params[1:]]))
        case.add(GroupChange(
            action="mode", group=case.param(0), member=self._sender(case),
            texts=(Text("mode", words, None, False),) if words else ()), (None,) if words else ())

    def _realname(self, case: _Case) -> None:
        """USER and SETNAME: people write all sorts of things there."""
        index = 3 if case.line.command == "USER" else 0
        texts, places = case.text(index, "realname")
        case.words = index
        case.mode = "line" if case.way is UP and case.line.command != "USER" else "strip"
        case.about = case.line.command
        if texts:
            case.add(Opaque(
                kind="realname", sender=self._sender(case), texts=texts, answerable=self._registered), places)

    def _broadcast(self, case: _Case) -> None:
        """WALLOPS and its kin."""
        texts, places = case.text(0, "body")
        case.words = 0
        server = case.way is DOWN and self._is_server(case.line.source)
        case.about = case.line.command
        if texts:
            case.add(Message(
                kind="server" if server else "notice", sender=self._sender(case), texts=texts, copy=case.copy,
                answerable=case.way is UP), places)

    def _knock(self, case: _Case) -> None:
        texts, places = case.text(1, "body")
        case.about = case.param(0)
        if case.line.params:
            case.add(Message(
                kind="notice", sender=self._sender(case), recipients=(case.param(0),), texts=texts,
                conversation=f"{self._network}/{self.fold(case.param(0))}", answerable=case.way is UP), places)

    def _redact(self, case: _Case) -> None:
        """REDACT target msgid [:reason] (IRCv3 draft)."""
        texts, places = case.text(2, "reason")
        if len(case.line.params) < 2:
            return
        case.about = case.param(0)
        case.words = 2
        case.add(Message(
            kind="correction", sender=self._sender(case), recipients=(case.param(0),), replaces=case.param(1),
            conversation=self._conversation(case.param(0), self._sender(case), case.way, case.copy), texts=texts,
            answerable=case.way is UP), places)

    def _metadata(self, case: _Case) -> None:
        texts, places = case.text(3, "body")
        case.about = "METADATA"
        case.words = 3
        if texts:
            case.add(Opaque(
                kind="metadata", sender=self._sender(case), recipients=(case.param(0),), texts=texts), places)

    def _account_change(self, case: _Case) -> None:
        """ACCOUNT of account-notify: somebody logged in or out."""
        if self._is_own(self._sender(case)):
            account = case.param(0)
            if account in ("*", ""):
                self._logged_out(case)
            else:
                self._logged_in(case, account, "ACCOUNT")

    def _service_command(self, case: _Case) -> None:
        """NS IDENTIFY … and its kin: like a message to the service, without its passwords."""
        name = _SERVICE_COMMANDS[case.line.command]
        words = b" ".join(case.line.params)
        plain = plain_of(words)
        case.about = name
        case.words = -1
        rest = _without_secret(plain)
        text = plain if rest is None else rest
        case.add(Opaque(
            kind="service" if rest is None else "credentials", sender=self._sender(case), recipients=(name,),
            texts=(Text("body", text, None, False),) if text else (), answerable=rest is None,
        ), (None,) if text else ())

    def _credentials(self, case: _Case) -> None:
        """PASS, OPER, AUTHENTICATE …: noted by what they are, never by what they say."""
        if case.line.command == "AUTHENTICATE" and case.way is UP:
            name = case.param(0)
            if 0 < len(name) <= 20 and name.replace("-", "").isalnum() and name.isupper():
                self._mechanism = name

    def _user_query(self, case: _Case) -> None:
        """A command nobody told us of, or HELPOP: its words are looked at."""
        self._unknown(case)

    def _unknown(self, case: _Case) -> None:
        words = b" ".join(case.line.params)
        command = case.line.command
        known = command.isalnum() and command.isascii() and len(command) <= 20
        if not known:
            words = case.raw[case.line.body:case.line.end]
        texts = tuple(msgspec.structs.replace(text, editable=False) for text in texts_of("body", words))
        case.about = command if known else "command"
        case.mode = "line"
        case.words = -1
        if any(text.plain.strip() for text in texts):
            case.add(Opaque(
                kind=command.lower() if known else "unknown", sender=self._sender(case),
                texts=texts, answerable=case.way is UP and self._registered,
            ), [None] * len(texts))

    def _linked(self, case: _Case) -> None:
        """A server-to-server link: told, passed, not understood."""
        case.oddities.append(Oddity("irc.server_link", case.line.command))
        case.mode = "line"
        case.add(Opaque(
            kind="server_link", encryption=Encryption("metadata", None), answerable=False))

    # -- negotiation

    def _starttls(self, _case: _Case) -> None:
        if not self._registered and not self._flow.tls:
            self._asked_tls = True
            self._asked_behind = False
            self._stop = True
            self._set_slow()

    def _cap(self, case: _Case) -> None:
        """CAP <nick> ACK|DEL :caps."""
        if len(case.line.params) < 3:
            return
        verb = case.param(1).upper()
        names = case.param(len(case.line.params) - 1).split()
        if verb == "ACK":
            for name in names[:64]:
                if name[:1] == "-":
                    self._caps -= {name[1:]}
                elif len(self._caps) < 128:
                    self._caps |= {name.lstrip("~=")}
            if "identify-msg" in self._caps:
                self._identify_on()
        elif verb == "DEL":
            self._caps -= set(names)
        self._forget()

    def _numeric(self, case: _Case) -> None:
        """Server replies; only the few that carry a user's words or identity make events."""
        number = case.line.command
        if self._server is None and case.line.source is not None and self._is_server(case.line.source):
            self._server = case.line.source
            if self._flow.server_name is None:
                self._network = shown(case.line.source)
                self._forget()
        nick = case.param(0)
        if self._asked_tls and (
            number in ("670", "691") or number in _WELCOME or b"STARTTLS" in (p.upper() for p in case.line.params)
        ):
            # Any other numeric answers something that stood in front of STARTTLS.
            self._asked_tls = False
            self._set_slow()
            if number == "670":
                if self._asked_behind and not self._broken:
                    self._broken = True
                    case.fault = PeerError("irc.starttls_injection", "plain text behind STARTTLS")
                else:
                    self._stop = True
                    case.tls = _Tls(case.line.params[0] if case.line.params else b"")
                return
        welcome = number in _WELCOME and not self._registered
        late = self._nick is None and self._midway and case.line.source is not None
        if nick not in ("", "*") and (welcome or late):
            self._registered = True
            self._link = False
            self.undecryptable = None
            self._renamed(nick)
            self._signed(case, number)
        handler = _NUMERICS.get(number)
        if handler is not None:
            handler(self, case)

    def _isupport(self, case: _Case) -> None:
        """005: what of it changes how names are read."""
        for param in case.line.params[1:]:
            key, _, value = shown(param).partition("=")
            if key == "NETWORK" and value:
                self._network = value
            elif key == "CASEMAPPING":
                self._casemap = _CASEMAPPINGS.get(value.lower(), self._casemap)
            elif key == "CHANTYPES":
                self._chantypes = value[:16]
            elif key == "STATUSMSG" and value:
                self._statusmsg = value[:16]
        self._forget()

    def _reply_topic(self, case: _Case) -> None:
        texts, places = case.text(2, "topic")
        case.mode = "strip"
        case.words = 2
        if texts:
            self._topic_event(case, case.param(1), None, texts, places, "history")

    def _reply_away(self, case: _Case) -> None:
        texts, places = case.text(2, "away")
        case.mode = "strip"
        case.words = 2
        if texts:
            case.add(Message(
                kind="away", sender=case.param(1), recipients=(case.param(0),), texts=texts, answerable=False,
                encryption=encryption_of(texts[0].plain)), places)

    def _reply_whois(self, case: _Case) -> None:
        texts, places = case.text(5, "realname")
        case.mode = "strip"
        case.words = 5
        if texts:
            case.add(Opaque(kind="realname", sender=case.param(1), texts=texts, answerable=False), places)

    def _reply_metadata(self, case: _Case) -> None:
        """760, 761: target, key, visibility and value, with or without the client's nick in front (IRCv3 metadata)."""
        case.mode = "strip"
        case.words = len(case.line.params) - 1
        texts, places = case.text(case.words, "body") if case.words > 2 else ((), ())
        if texts:
            case.add(Opaque(
                kind="metadata", sender=case.param(case.words - 3), texts=texts, answerable=False), places)

    def _reply_url(self, case: _Case) -> None:
        """328: the address that a channel's founder gave it, told to each who joins."""
        texts, places = case.text(2, "url")
        case.mode = "strip"
        case.words = 2
        if texts:
            case.add(Opaque(
                kind="channel_url", recipients=(case.param(0),), texts=texts, answerable=False), places)

    def _reply_account(self, case: _Case) -> None:
        """330 nick account :is logged in as."""
        if len(case.line.params) > 3 and self._is_own(case.param(1)):
            self._logged_in(case, case.param(2), "330")

    def _reply_logged_in(self, case: _Case) -> None:
        """900 nick mask account :You are now logged in."""
        if len(case.line.params) > 3:
            self._logged_in(case, case.param(2), self._mechanism or "900")

    def _reply_logged_out(self, case: _Case) -> None:
        self._logged_out(case)

    def _reply_capab(self, case: _Case) -> None:
        """290 IDENTIFY-MSG: every text gets a mark in front from now on."""
        if b"IDENTIFY-MSG" in case.line.params[1:]:
            self._identify_on()

    # -- verdicts to bytes

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """The line as it is, changed, or gone; and what its writer is told."""
        for verdict in verdicts:
            if verdict.action is not Action.PASS:
                return self._carry(frame, verdicts)
        note = frame.note
        if note is None and frame.edit is None and frame.part == WHOLE:
            return [Send(frame.way, frame.raw)]
        return self._passing(frame, note)

    def _passing(self, frame: Frame, note: object) -> list[Act]:
        way = frame.way
        if frame.edit is not None:
            return self._withheld(frame, note)
        if type(note) is _Tls:
            failure = b":" + (self._server or OWN_NAME) + b" 691 " + (note.nick or b"*") + b" :STARTTLS failed\r\n"
            return [StartTls(self._flow.server_name, frame.raw, failure)]
        if frame.part != WHOLE and frame.group is None:
            return self._pass_part(frame)
        if type(note) is _Note and note.links:
            return self._carry(frame, [PASSED] * len(frame.events))
        return [Send(way, frame.raw)]

    def _pass_part(self, frame: Frame) -> list[Act]:
        way, note = frame.way, frame.note
        if not self._dropping[way]:
            self._partway[way] = frame.part != LAST
            acts: list[Act] = [Send(way, frame.raw)]
            for link in note.links if type(note) is _Note else ():
                if link is not None and link.offer is not None:
                    acts += self._expects(link, link.offer)
            return acts
        return self._drop_part(frame)

    def _withheld(self, frame: Frame, note: object) -> list[Act]:
        """A line that an edit does not pass on; who wrote it is told where he can do something about it."""
        if frame.part != WHOLE:
            return self._drop_part(frame)
        links = note.links if type(note) is _Note else ()
        if frame.edit == STRICT_DCC:
            return [Send(DOWN, self._notice(_UNREADABLE, "", "PRIVMSG", Action.BLOCK))] if frame.way is UP else []
        if frame.edit != REFUSE_RESUME:
            return []
        if frame.way is UP:
            return [Send(DOWN, self._notice(_NO_RESUME, "", "PRIVMSG", Action.BLOCK))]
        for link in links:
            known = self._known(link, UP) if link is not None and link.type == "RESUME" else None
            if known is not None and known.offer is not None and not known.told:
                known.told = True
                return self._to_peer(_NO_RESUME, known.offer)
        return []

    # -- DCC connections

    def _known(self, link: _Link, way: Way) -> _Known | None:
        """The offer that went `way` and that a RESUME or ACCEPT is about."""
        if link.port == 0:
            return self._passive.get(self._token(link.token, way))
        return self._announced.get(f"{int(way)} {'seen' if link.type == 'RESUME' else 'real'} {link.port}")

    def _remember_offer(self, way: Way, known: _Known) -> None:
        for key in (f"{int(way)} seen {known.seen}", f"{int(way)} real {known.real}"):
            self._announced.pop(key, None)
            if len(self._announced) >= 2 * self._limits.dcc_offers:
                del self._announced[next(iter(self._announced))]
            self._announced[key] = known

    def _expects(self, link: _Link, offer: FileOffer) -> list[Expect]:
        """What is announced: a connection to the address as written, and as meant."""
        by, identity = self._account or self._nick, "authenticated" if self._account is not None else "claimed"
        return [
            Expect(address, "dcc", by, link.type, offer, self._flow.id, identity, None, link.reverse)  # type: ignore[arg-type]
            for address in link.addresses
        ]

    def _connect(
        self, link: _Link, raw: bytes, way: Way, at: float,
    ) -> tuple[list[Act], list[tuple[int, int, bytes]]] | None:
        """Announce the connection of a request that passes: (acts, what of its line is written anew); None: this
        session has used up its share of ports.

        Where a port of ours is leased, the connection to the offerer goes to his own address, whatever he wrote: nobody
        is led to a third. An address of ours that comes back from the server stands for the one behind it. Which ends
        are users of ours is left in memory: they can be told of lines that do not arrive.
        """
        until = at + self._limits.expect_seconds
        if link.offer is None:
            return [], self._translated(link, way, until)
        expects = self._expects(link, link.offer)
        real: Expect | None
        if way is UP:
            real = msgspec.structs.replace(expects[-1], address=dcc.joined(self._flow.client.ip, link.port))
        else:
            real = self._behind(link, expects[-1], at)
        self._leased = tuple(since for since in self._leased if since + self._limits.lease_seconds > at)
        if len(self._leased) >= self._limits.dcc_leases:
            return None
        leased = self._memory.lease(real, way, at) if real is not None else None
        known = _Known(link.offer, link.port, link.port, (*link.addresses, *((real.address,) if real else ())))
        changes: list[tuple[int, int, bytes]] = []
        if leased is not None:
            self._leased += (at,)
            self._memory.put(f"dcc:ours:{dcc.joined(leased.ip, leased.port)}", real, until)
            known.seen = leased.port
            changes = [(*link.host_at, dcc.written(leased.ip, raw[slice(*link.host_at)])),
                       (*link.port_at, str(leased.port).encode())]
        self._remember_offer(way, known)
        for address in known.addresses if link.offer.method == "dcc_chat" else ():
            self._memory.put(f"dcc:{'listener' if way is UP else 'connector'}:{address}", True, until)
        if link.offset:
            self._resumed(known, link.offset, until)
        return list(expects), changes

    def _behind(self, link: _Link, expect: Expect, at: float) -> Expect | None:
        """Where a connection to an address from outside is to go, None: nowhere that we would make one to."""
        for address in link.addresses:
            ours = self._memory.get(f"dcc:ours:{address}", at)
            if isinstance(ours, Expect) and self._told_apart(ours.address):
                return ours
        ip = _ip(link.host)
        if ip is not None and (ip.is_unspecified or ip.is_multicast):
            return None
        server = _ip(self._flow.server.ip)
        if ip is not None and (ip.is_loopback or ip.is_link_local) and not (server is not None and server.is_loopback):
            return None
        return expect

    def _told_apart(self, address: str) -> bool:
        """Whether an address is another one than that of our client: leases tell their clients by it. (Two behind one
        translated address meet over two leases, and their file is judged twice.)"""
        own = _ip(self._flow.client.ip)
        same = address.startswith(dcc.joined(self._flow.client.ip, 0)[:-1])
        return not same or (own is not None and own.is_loopback)

    def _translated(self, link: _Link, way: Way, until: float) -> list[tuple[int, int, bytes]]:
        """RESUME and ACCEPT name the offer by its port: each side by the one it knows."""
        accept = link.type == "ACCEPT"
        known = self._known(link, way if accept else way.other)
        if known is None:
            return []
        if accept:
            known.offset = link.offset
            self._resumed(known, link.offset, until)
        port = known.seen if accept else known.real
        if port in (0, link.port):
            return []
        return [(*link.port_at, str(port).encode())]

    def _resumed(self, known: _Known, offset: int, until: float) -> None:
        for address in known.addresses:
            self._memory.put(expect_key("dcc", address), offset, until)

    def _drop_part(self, frame: Frame) -> list[Act]:
        """Nothing more of this line; what of it was sent gets its end."""
        way = frame.way
        self._dropping[way] = frame.part != LAST
        if frame.part == LAST and self._partway[way]:
            self._partway[way] = False
            return [Send(way, b"\r\n")]
        return []

    def _carry(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        note = frame.note
        line = parse(frame.raw)
        if line is None:
            return self._passing(frame, note)
        if type(note) is not _Note:
            start, end = line.spans[1]
            note = _Note("targets", ((_Place(start, end),),), (0,), (line.params[0],))
        if note.multi is not None:
            acts = self._carry_multi(frame, line, note, note.multi, verdicts)
        elif frame.part != WHOLE:
            refused = _worst(verdicts, Action.REDACT)
            if refused is None:
                acts = self._pass_part(frame)
                refused = verdicts[0]
            else:
                acts = self._drop_part(frame)
            acts += self._told(frame.way, [(refused, note.about or _first(line))], line, False)
        elif note.mode == "targets":
            acts = self._carry_targets(frame, line, note, verdicts)
        elif note.mode == "channels":
            acts = self._carry_channels(frame, line, note, verdicts)
        else:
            acts = self._carry_line(frame, line, note, verdicts)
        if frame.edit is not None:
            acts = [act for act in acts if isinstance(act, Send) and act.way is not frame.way]
        return acts

    def _carry_targets(self, frame: Frame, line: Line, note: _Note, verdicts: Sequence[Verdict]) -> list[Act]:
        """Only the refused targets go; targets that get different texts get lines of their own."""
        way, raw = frame.way, frame.raw
        count = max(note.units, default=0) + 1
        refused: list[Verdict | None] = [None] * count
        spans: list[dict[_Place, list[tuple[int, int]]]] = [{} for _ in range(count)]
        told: list[tuple[Verdict, str]] = []
        links: list[list[_Link]] = [[] for _ in range(count)]
        for i, verdict in enumerate(verdicts):
            unit = note.units[i]
            action = verdict.action
            bad = action >= Action.HOLD
            if action is Action.REDACT:
                for text, start, end in verdict.masks:
                    place = note.places[i][text] if text < len(note.places[i]) else None
                    if place is None:
                        bad = True
                    else:
                        spans[unit].setdefault(place, []).append((start, end))
            if bad:
                refused[unit] = refused[unit] or verdict
            if action is not Action.PASS and verdict.notice:
                told.append((verdict, _shown_entry(note, unit)))
            link = note.links[i] if i < len(note.links) else None
            if link is not None and not bad:
                links[unit].append(link)
        lines: dict[bytes | None, list[bytes]] = {}
        expects: list[Act] = []
        for unit in range(count):
            verdict_ = refused[unit]
            text_: bytes | None = None
            changes: list[tuple[int, int, bytes]] = []
            withheld = False
            if frame.edit is None and verdict_ is None:
                for link in links[unit]:
                    done = self._connect(link, raw, way, frame.at)
                    if done is None:
                        withheld = True
                        break
                    expects += done[0]
                    changes += done[1]
            if changes and (spans[unit] or line.end - line.body + _grown(changes) > max(PAYLOAD, line.end - line.body)):
                # A mask over an address that is written anew, or a line that would be cut behind us.
                withheld = True
            if withheld:
                told.append((_WITHHELD, _shown_entry(note, unit)))
                continue
            if verdict_ is not None:
                if not verdict_.placeholder or note.words >= len(line.params):
                    continue
                text_ = self._placeholder(raw, line, note.words, verdict_.placeholder)
            elif spans[unit]:
                text_ = _edited(raw, *line.spans[note.words], spans[unit])
            elif changes:
                text_ = _rewritten(raw, *line.spans[note.words], changes)
            entries = note.entries[unit:] if unit == count - 1 else note.entries[unit:unit + 1]
            lines.setdefault(text_, []).extend(entries)
        acts: list[Act] = []
        for text_, kept in lines.items():
            out = raw if text_ is None else with_param(raw, line, note.words, text_)
            if len(kept) != len(note.entries):
                start, end = line.spans[0]
                out = out[:start] + b",".join(kept) + out[end:]
            if acts:
                out = _without_label(out, line)
            acts.append(Send(way, out))
        gone = not acts
        return acts + expects + self._told(way, told, line, gone)

    def _carry_channels(self, frame: Frame, line: Line, note: _Note, verdicts: Sequence[Verdict]) -> list[Act]:
        """JOIN: only the refused channels go, each with its key."""
        keys = line.params[1].split(b",") if len(line.params) > 1 else []
        kept: list[tuple[bytes, bytes]] = []
        told: list[tuple[Verdict, str]] = []
        bad: dict[int, Verdict] = {}
        for i, verdict in enumerate(verdicts):
            unit = note.units[i]
            if verdict.action >= Action.REDACT:
                bad.setdefault(unit, verdict)
            if verdict.action is not Action.PASS and verdict.notice:
                told.append((verdict, shown(note.entries[unit]) if unit < len(note.entries) else ""))
        last = max(note.units, default=0)
        for index, entry in enumerate(note.entries):
            if min(index, last) not in bad:
                kept.append((entry, keys[index] if index < len(keys) else b""))
        acts: list[Act] = []
        if len(kept) == len(note.entries):
            acts.append(Send(frame.way, frame.raw))
        elif kept:
            # Channels with a key stand first, or a key would go to a channel without.
            kept.sort(key=lambda pair: not pair[1])
            out = frame.raw[:line.spans[0][0]] + b",".join(c for c, _ in kept)
            with_keys = [k for _, k in kept if k]
            if with_keys:
                out += b" " + b",".join(with_keys)
            acts.append(Send(frame.way, out + frame.raw[line.end:]))
        return acts + self._told(frame.way, told, line, not acts)

    def _carry_line(self, frame: Frame, line: Line, note: _Note, verdicts: Sequence[Verdict]) -> list[Act]:
        way, raw = frame.way, frame.raw
        refused = _worst(verdicts, Action.HOLD)
        spans: dict[_Place, list[tuple[int, int]]] = {}
        for i, verdict in enumerate(verdicts):
            if verdict.action is Action.REDACT:
                for text, start, end in verdict.masks:
                    place = note.places[i][text] if text < len(note.places[i]) else None
                    if place is None:
                        refused = refused or verdict
                    else:
                        spans.setdefault(place, []).append((start, end))
        out: bytes | None = raw
        if refused is not None:
            out = self._refused_line(way, raw, line, note, refused)
        elif spans:
            out = raw
            for place in sorted(spans, key=lambda p: -p.start):
                out = out[:place.start] + masked(out[place.start:place.end], spans[place]) + out[place.end:]
        acts: list[Act] = [] if out is None else [Send(way, out)]
        told = [(v, note.about) for v in verdicts if v.action is not Action.PASS and v.notice]
        return acts + self._told(way, told, line, out is None)

    def _refused_line(self, way: Way, raw: bytes, line: Line, note: _Note, verdict: Verdict) -> bytes | None:
        there = 0 <= note.words < len(line.params)
        if way is DOWN and verdict.placeholder and there:
            return with_param(raw, line, note.words, self._placeholder(raw, line, note.words, verdict.placeholder))
        if note.mode == "strip":
            # What happened has to be told, or the two sides fall out of step; only the words go.
            out = raw
            if there:
                empty = b"*" if line.command in ("AWAY", "301", "USER", "JOIN", "SETNAME", "311") else b""
                out = with_param(raw, line, note.words, empty)
            return _without_words(out, line)
        return None

    def _carry_multi(
        self, frame: Frame, line: Line, note: _Note, multi: _Multi, verdicts: Sequence[Verdict],
    ) -> list[Act]:
        """A unit of a multiline message: the verdict on the whole stands for each of its lines."""
        way, last = frame.way, frame.part == LAST
        verdict = max(verdicts, key=lambda v: v.action)
        told: list[tuple[Verdict, str]] = []
        if last and verdict.notice:
            told.append((verdict, shown(multi.target)))
        if verdict.action >= Action.HOLD:
            acts: list[Act] = []
            if way is DOWN and verdict.placeholder and last:
                nick = (multi.sender or shown(self._server or OWN_NAME)).encode()
                head = b":" + nick + b" " + multi.command.encode() + b" " + multi.target + b" :"
                acts.append(Send(DOWN, head + fit(wire(verdict.placeholder), PAYLOAD - len(head)) + b"\r\n"))
            return acts + self._told(way, told, line, last, multi.label)
        out = frame.raw
        if verdict.action is Action.REDACT and note.index >= 0 and len(line.params) > 1:
            begins = multi.offsets[note.index], multi.apart[note.index]
            length = len(multi.pieces[note.index])
            spans = [
                (max(s - at, 0), e - at) for index, s, e in verdict.masks
                if e > (at := begins[index == 1]) and s < at + length
            ]
            if spans:  # line breaks in a span stay: they are what holds the lines apart
                start, end = line.spans[1]
                out = with_param(out, line, 1, masked(out[start:end], spans))
        return [Send(way, out), *self._told(way, told, line, False, multi.label)]

    def _placeholder(self, raw: bytes, line: Line, index: int, text: str) -> bytes:
        start, end = line.spans[index]
        mark = raw[start:start + 1] if self._identify and line.command in ("PRIVMSG", "NOTICE") else b""
        room = PAYLOAD - (line.end - line.body) + (end - start) - 1
        return fit(mark + wire(text), room)

    def _told(
        self, way: Way, told: Sequence[tuple[Verdict, str]], line: Line, gone: bool, label: str | None = None,
    ) -> list[Act]:
        """Notices to the writer; a label is answered on exactly one line when the server will not answer it."""
        raw_label = _label(line.tags) if label is None else label.encode()
        acts: list[Act] = []
        if way is UP:
            for verdict, about in told:
                if verdict.notice:
                    acts.append(Send(DOWN, self._notice(
                        verdict.notice, about, line.command, verdict.action, raw_label if gone and not acts else b"")))
        if gone and raw_label and not acts:
            acts.append(Send(DOWN, b"@label=" + raw_label + b" :" + (self._server or OWN_NAME) + b" ACK\r\n"))
        return acts

    def _notice(self, text: str, about: str, command: str, action: Action, label: bytes = b"") -> bytes:
        """A NOTICE from the server, or a standard reply where the client speaks them; 510 bytes at most."""
        target = fit(wire(about).replace(b" ", b""), 64)
        source = b":" + (self._server or OWN_NAME)
        tag = b"@label=" + label + b" " if label else b""
        if "standard-replies" in self._caps:
            word = b" FAIL " if action >= Action.HOLD else b" WARN "
            name = command if command != "BATCH" else "PRIVMSG"
            head = source + word + name.encode("latin-1", "replace") + b" POLICY_VIOLATION "
            head += target + b" :" if target and target[:1] != b":" else b":"
            body = wire(text)
        else:
            head = source + b" NOTICE " + (self._nick or "*").encode() + b" :"
            body = b"[" + target + b"] " + wire(text) if target else wire(text)
        return tag + head + fit(body, PAYLOAD - len(head)) + b"\r\n"

    def ready(self, way: Way) -> bool:
        """Registered, and not inside a line that is passed on in parts."""
        known = self._registered or self._midway
        return known and not self._partway[way] and not self._asked_tls and not self._link

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """A NOTICE to the user; on the way up only about a message or a file, to whom it is about."""
        about = message.about
        target = about.recipients[0] if about is not None and about.recipients else ""
        text = message.text
        if isinstance(about, FileOffer):
            ours = self._is_own(target) or (self._is_channel(target) and not self._is_own(about.sender or ""))
            if message.reader is not None and ours is (way is DOWN):
                text = message.reader
            if not text:
                return []
            if way is UP:
                return self._apart(self._to_peer(text, about))
            if self._is_own(target):
                target = about.sender or ""
        if way is DOWN:
            return self._apart([Send(DOWN, self._notice(text, target, "PRIVMSG", Action.WARN))])
        return self._apart(_said_to(target, text))

    def _apart(self, acts: list[Act]) -> list[Act]:
        """Lines of our own, not behind a line that not every reader takes for ended."""
        first = acts[0] if acts else None
        if isinstance(first, Send) and self._lines[first.way].ragged:
            acts[0] = Send(first.way, b"\r\n" + first.data)
        return acts

    def _to_peer(self, text: str, offer: FileOffer) -> list[Act]:
        """Tell the other one of an offer; a channel is not told."""
        own = not offer.recipients or self._is_own(offer.recipients[0])
        target = (offer.sender or "") if own else offer.recipients[0]
        if self._is_own(target) or self._is_channel(target):
            return []
        return _said_to(target, text)

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        """Lines without tags but the time they were written at, one target each; of words to people and topics only."""
        frame = frames[-1]
        event, note, way = frame.events[index], frame.note, frame.way
        target: bytes | None = None
        if type(note) is _Note:
            if any(note.links):
                return None
            if note.mode == "targets" and note.multi is None:
                unit, last = note.units[index], max(note.units)
                target = b",".join(note.entries[unit:] if unit == last else note.entries[unit:unit + 1])
        out: list[bytes] = []
        for each in frames if type(event) is Message else ():
            line = parse(each.raw)
            if line is None or line.command not in _KEPT or len(line.params) < 2:
                continue
            text = line.params[1]
            head = line.command.encode() + b" " + (target if target is not None else line.params[0]) + b" :"
            if way is DOWN:
                if line.source is None:
                    continue
                when = datetime.fromtimestamp(max(0.0, each.at), UTC).isoformat(timespec="milliseconds")
                head = b"@time=" + when.replace("+00:00", "Z").encode() + b" :" + line.source + b" " + head
                if self._identify and line.command != "TOPIC":
                    text = text[1:]
            if out and b"multiline-concat" in line.tags and len(out[-1]) + len(text) <= PAYLOAD:
                out[-1] += text
            else:
                out.append(head + text)
        return b"".join(line + b"\r\n" for line in out) or None

    def release(self, kept: bytes, way: Way) -> list[Act] | None:
        """The lines as this connection would have them: its nick, its capabilities."""
        acts: list[Act] = []
        for raw in kept.split(b"\n"):
            line = parse(raw)
            if line is None or len(line.params) < 2:
                continue
            if way is UP:
                acts.append(Send(UP, raw[line.body:line.end] + b"\r\n"))
                continue
            target, text = line.params[0], line.params[1]
            if not self._is_channel(shown(target).lstrip(self._statusmsg)) and self._nick is not None:
                target = self._nick.encode()
            if self._identify and line.command != "TOPIC":
                text = b"-" + text
            tags = raw[:line.body] if "server-time" in self._caps else b""
            head = b":" + (line.source or b"") + b" " + line.command.encode() + b" " + target + b" :"
            acts.append(Send(DOWN, tags + head + fit(text, max(PAYLOAD, line.end - line.body) - len(head)) + b"\r\n"))
        return self._apart(acts) or None

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """ERROR to the client, QUIT to the server (sheet 10)."""
        words = wire(reason) or b"Policy violation"
        down = b"\r\n" if self._partway[DOWN] or self._lines[DOWN].ragged else b""
        up = b"\r\n" if self._partway[UP] or self._lines[UP].ragged else b""
        head = b"ERROR :Closing Link: " + (self._nick or "*").encode() + b" ("
        down += head + fit(words, PAYLOAD - len(head) - 1) + b")\r\n"
        del fault
        return [Send(DOWN, down), Send(UP, up + b"QUIT :Closed\r\n")]


_KEPT = frozenset(("PRIVMSG", "NOTICE", "TOPIC"))
"""What can be sent later."""

# -- small helpers


def _pieces(data: bytes) -> list[tuple[bool, int, int]]:
    """(is CTCP, start, end) of the pieces of a text: CTCP requests between 0x01, words around them."""
    if b"\x01" not in data:
        return [(False, 0, len(data))]
    parts = data.split(b"\x01")
    pieces: list[tuple[bool, int, int]] = []
    at = 0
    whole = len(parts) > 2 * _SEGMENTS + 1 or bool(parts[0].strip())
    if whole:
        # Old clients read CTCP inside a text; what is shown of it is the whole text without the marks.
        pieces.append((False, 0, len(data)))
    for index, part in enumerate(parts):
        # Clients disagree on how marks pair: an offer is one wherever it stands.
        if part[:4].upper() == b"DCC ":
            if index:
                pieces.append((True, at, at + len(part)))
        elif not whole and index and part.strip():
            pieces.append((index % 2 == 1, at, at + len(part)))
        at += len(part) + 1
    return pieces or [(False, 0, len(data))]


def _said_to(target: str, text: str) -> list[Act]:
    if not target or " " in target or "," in target:
        return []
    head = b"NOTICE " + fit(wire(target), 200) + b" :"
    return [Send(UP, head + fit(wire(text), PAYLOAD - len(head)) + b"\r\n")]


def _shown_entry(note: _Note, unit: int) -> str:
    return shown(note.entries[unit]) if unit < len(note.entries) else ""


def _grown(changes: Sequence[tuple[int, int, bytes]]) -> int:
    """By how many bytes a line grows."""
    return sum(len(new) - (end - start) for start, end, new in changes)


def _rewritten(raw: bytes, start: int, end: int, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The text raw[start:end] with its addresses written anew."""
    out = raw[:end]
    for first, last, new in sorted(changes, reverse=True):
        out = out[:first] + new + out[last:]
    return out[start:]


def _bare(name: str) -> str:
    """A file name as clients repeat it: blanks may have become underscores, case may differ."""
    return name.replace(" ", "_").lower()


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _source_host(source: bytes | None) -> str | None:
    """The address in `nick!user@host`, where the host is one and not a name or a cloak."""
    host = source.rpartition(b"@")[2] if source is not None and b"@" in source else b""
    found = dcc.address(host) if b"." in host or b":" in host else None
    return found if found is not None and _ip(found) is not None else None


def _edited(raw: bytes, start: int, end: int, spans: dict[_Place, list[tuple[int, int]]]) -> bytes:
    """The text raw[start:end] with its places masked."""
    out = raw[:end]
    for place in sorted(spans, key=lambda p: -p.start):
        out = out[:place.start] + masked(out[place.start:place.end], spans[place]) + out[place.end:]
    return out[start:]


def with_param(raw: bytes, line: Line, index: int, value: bytes) -> bytes:
    """The line with another value for a parameter, with a colon where the value needs one."""
    start, end = line.spans[index]
    colon = line.colon and index == len(line.params) - 1
    if not colon and (not value or b" " in value or value[:1] == b":"):
        value = b":" + value
    return raw[:start] + value + raw[end:]


def _plain_tags(tags: bytes) -> bool:
    """Whether tags are such as only say when, who and which: no client-only tag, no batch, no NUL."""
    return b"+" not in tags and b"batch=" not in tags and 0 not in tags


def _label(tags: bytes) -> bytes:
    for pair in tags.split(b";"):
        if pair.startswith(b"label="):
            return pair[6:][:64]
    return b""


def _without_label(raw: bytes, line: Line) -> bytes:
    if not line.tags or b"label=" not in line.tags:
        return raw
    rest = b";".join(pair for pair in line.tags.split(b";") if not pair.startswith(b"label="))
    return (b"@" + rest + b" " if rest else b"") + raw[line.body:]


def _without_words(raw: bytes, line: Line) -> bytes:
    """The line without its client-only tags."""
    if b"+" not in line.tags:
        return raw
    rest = b";".join(pair for pair in line.tags.split(b";") if pair[:1] != b"+")
    return (b"@" + rest + b" " if rest else b"") + raw[line.body:]


def _worst(verdicts: Sequence[Verdict], least: Action) -> Verdict | None:
    worst = max(verdicts, key=lambda v: v.action)
    return worst if worst.action >= least else None


def _first(line: Line) -> str:
    return shown(line.params[0].partition(b",")[0]) if line.params else ""


def _service(target: str) -> bool:
    return target.partition("@")[0].lower() in _SERVICES


def _without_secret(plain: str) -> str | None:
    """A command to a service without its passwords; None when it has none."""
    words = plain.split()
    count = _SECRET_VERBS.get(words[0].lower()) if words else None
    if count is None:
        return None
    options = [word.lower() for word in words[1:4]]
    if words[0].lower() == "set" and _SHOWN_OPTIONS.intersection(options[:2]) and "pass" not in " ".join(options):
        return None
    return " ".join(words[count + 1:])


def _mode_words(params: list[str]) -> list[str]:
    """Mode changes with their arguments, the channel key left out."""
    out = params[:1]
    rest = params[1:]
    keyed = "k" in (params[0] if params else "")
    if not keyed:
        return out + rest
    adding, at = True, 0
    for char in params[0]:
        if char in "+-":
            adding = char == "+"
        elif char == "k":
            at += 1
        elif char in "beIqaohvfjJL" or (char == "l" and adding):
            if at < len(rest):
                out.append(rest[at])
            at += 1
    return out


_REFERENCES = frozenset({"+draft/reply", "+reply", "+draft/channel-context"})
_KNOWN_TAGS = _REFERENCES | {"+typing", "+draft/typing", "+draft/react", "+react", "+draft/unreact"}
"""Client-only tags that are read as what they are."""
_WITHHELD = Verdict(Action.BLOCK, notice=_TOO_LONG)
_TLS_TYPES = frozenset({"SSEND", "SCHAT", "STSEND"})
_WELCOME = frozenset({"001", "002", "003", "004", "005", "251", "372", "375", "376", "422"})
"""Numerics that only a registered client gets; servers that leave out 001 exist."""

_Handler = Callable[[IrcDecoder, _Case], None]
_D = IrcDecoder
_COMMON: dict[str, _Handler] = {
    "PRIVMSG": _D._message, "NOTICE": _D._message, "SQUERY": _D._message, "CPRIVMSG": _D._message,
    "CNOTICE": _D._message, "TAGMSG": _D._tagmsg, "BATCH": _D._batch, "TOPIC": _D._topic, "JOIN": _D._join,
    "PART": _D._part, "KICK": _D._kick, "QUIT": _D._quit, "AWAY": _D._away, "INVITE": _D._invite,
    "NICK": _D._nick_change, "MODE": _D._mode, "SETNAME": _D._realname, "WALLOPS": _D._broadcast,
    "OPERWALL": _D._broadcast, "GLOBOPS": _D._broadcast, "LOCOPS": _D._broadcast, "CHATOPS": _D._broadcast,
    "KNOCK": _D._knock, "REDACT": _D._redact, "METADATA": _D._metadata,
    **dict.fromkeys(_SERVICE_COMMANDS, _D._service_command),
    **dict.fromkeys(_SECRET_COMMANDS, _D._credentials),
}
"""Both ways: a capture may have its ends the wrong way round, and a secret is one there, too."""
_HANDLERS: tuple[dict[str, _Handler], dict[str, _Handler]] = (
    {
        **_COMMON, "USER": _D._realname, "STARTTLS": _D._starttls, "REMOVE": _D._kick,
    },
    {**_COMMON, "CAP": _D._cap, "ACCOUNT": _D._account_change, "ERROR": _D._server_ends},
)
_NUMERICS: dict[str, _Handler] = {
    "005": _D._isupport, "290": _D._reply_capab, "301": _D._reply_away, "311": _D._reply_whois,
    "314": _D._reply_whois, "328": _D._reply_url, "760": _D._reply_metadata, "761": _D._reply_metadata,
    "330": _D._reply_account, "332": _D._reply_topic, "900": _D._reply_logged_in, "901": _D._reply_logged_out,
}


# -- recognising


PROBE_BYTES = 8192
"""Bytes looked at by the probe at each end of what came one way."""
_FOREIGN = (b"220", b"+OK", b"* OK", b"HTTP/", b"SSH-", b"RFB ", b"<?xml", b"<stream", b"\x16\x03")


def probe(up: bytes, down: bytes) -> Match:
    """IRC on any port, from the first lines of either side (sheet 2).

    Two different registration commands, or a server's numeric, are proof; one line alone is a hint. Lines that are no
    commands may stand in front: servers skip them.
    """
    if down[:64].lstrip(b"\r\n ").startswith(_FOREIGN):
        return Match.NO
    seen: set[bytes] = set()
    words = said = 0
    window = _window(up)
    for found in IRC_UP_LINE.finditer(window):
        seen.add(found.group(1).upper())
        if len(seen) > 1:
            break
    for found in IRC_WORDS_LINE.finditer(window):
        words += 2 if b"\x01DCC " in found.group() else 1
        if words > 1:
            break
    window = _window(down)
    for found in IRC_DOWN_LINE.finditer(window):
        said += 2 if found.group(2) or found.group(1) in (b"001", b"002", b"003", b"004", b"005") else 1
        if said > 1:
            break
    if not said and IRC_WORDS_LINE.search(window):
        words += 1
    if (seen or words) and not said and up[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<stream")):
        # Attributes may hold line feeds, IRC servers skip lines they do not know: the server's answer tells.
        return Match.MORE
    registering = len(seen)
    if max(registering, said, words) >= 2 or sum(map(bool, (registering, said, words))) >= 2:
        return Match.STRONG
    if (registering and seen != {b"PASS"}) or said or words:
        return Match.WEAK
    if not up and not down:
        return Match.MORE
    if len(up) + len(down) < 512 and _texty(up) and _texty(down) and b"\n" not in up.strip() + down.strip():
        return Match.MORE
    if seen:
        return Match.MORE
    return Match.NO


def _window(data: bytes) -> bytes:
    """What of the first bytes is looked at: the probe is asked again with each chunk, so a beginning and an end do."""
    if len(data) <= 2 * PROBE_BYTES:
        return data
    return data[:PROBE_BYTES] + b"\n" + data[-PROBE_BYTES:]


def _texty(data: bytes) -> bool:
    return not data[:1] or data[0] >= 32 or data[0] in b"\r\n\t\x0b\x0c"


_ALL = Can(drop=True, mask=True, placeholder=True, notify=True, hold=True, inject=True)
_REQUEST = Can(drop=True, mask=True, notify=True)

SPEC = Spec(
    name="irc",
    title="IRC",
    probe=probe,
    decoder=IrcDecoder,
    ports=frozenset({194, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669}),
    tls_ports=frozenset({6697, 994, 6679, 6699}),
    alpn=frozenset({"irc"}),
    signs_on=True,
    can={
        "message": _ALL,
        "presence": _REQUEST,
        "group": _REQUEST,
        "contact": _REQUEST,
        "file": Can(drop=True, notify=True, hold=True),
        "file.dcc": Can(drop=True, notify=True, hold=True),
        "typing": Can(drop=True),
        "opaque": Can(drop=True, mask=True, placeholder=True, notify=True),
    },
    edits=(
        Edit(DROP_NUL, "a line with a NUL is not passed on: servers hang or cut at it"),
        Edit(STRICT_DCC, "a DCC offer is not passed on where clients might read another address in it than we do, or "
             "where no end of offers comes: its connection would be nobody's"),
        Edit(REFUSE_RESUME, "DCC RESUME is not passed on: a file is seen whole or not at all"),
    ),
    not_decoded=("server-to-server links", "WebSocket framing", "MOTD, WHO and LIST texts"),
)
