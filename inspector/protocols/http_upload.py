"""Uploads and downloads of XMPP's HTTP file upload (XEP-0363) on their HTTP/1.1 leg (RFC 9110, RFC 9112).

Only where a slot was announced, or on a listener for it alone. Heads are read by h11; bodies are framed here, so that
what leaves is byte for byte what came. Every body is a file, whoever sends it and whatever the method or status: what
was announced has its offer, anything else one of its own.

A gateway and the server behind it must agree where a request ends, or a second one hides in the body of the first. So
all that readers are known to read differently is a fault: two lengths, a length with Transfer-Encoding, any coding but
`chunked`, chunk extensions and trailers, folded fields, bare LF or CR, fields whose names differ from the framing ones
by `_` alone, bodies of GET and HEAD, tunnels, upgrades (101), other versions, more requests than `limits.http_requests`
at a time, and responses that nobody asked for and that are not the last (RFC 9112 11.2).

A request that is held until its file is judged is answered with 100 Continue by us where its client waits for that; the
server's own is swallowed. A refusal is a 403 where no byte of a response has left, else the end alone.

Never in an event: Authorization, cookies, queries (they carry signatures of slots).

Not decoded: HTTP/2 and 3, content codings but gzip and deflate (told: the file is not complete), parts of
multipart/byteranges and of forms as files of their own.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Sequence

import h11
import msgspec

from inspector.model import (
    BROKEN,
    DOWN,
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
    Notice,
    Oddity,
    PeerError,
    Send,
    Spec,
    Text,
    Unreleased,
    Verdict,
    Way,
    expect_key,
)
from inspector.wire import urls

METHODS = (b"GET", b"HEAD", b"PUT", b"POST", b"PATCH", b"DELETE", b"OPTIONS")
"""What a first request may begin with, for the probe."""
_BODILESS = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"})
"""Servers read a body of these, or take it for the next request."""
_FRAMING = (b"content-length", b"transfer-encoding")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_CHUNK_LINE = 18
"""16 digits and CRLF; what is longer is no size."""
_LENGTH_DIGITS = 15
_BOMB_BYTES = 1 << 20
"""Below this a content coding may be as dense as it likes."""
_NAME = 255
_DISPOSITION = 2048
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_HEAD, _BODY, _OVER, _DEAD, _LOST = range(5)
"""What a way waits for: a head, a body, nothing more; or it is not read any more, behind a fault or a gap."""

_Field = tuple[bytes, bytes]
"""(name in lower case, value without white space around it)."""


class _Request:
    """What is remembered of a request until its response has come."""

    __slots__ = ("closes", "continued", "expected", "expects", "head", "name", "number", "url")

    def __init__(self, number: int, method: bytes, closes: bool, expects: bool) -> None:
        self.number = number
        self.head = method
        self.closes = closes
        self.expects = expects
        """Its client waits for 100 Continue."""
        self.continued = False
        """We have said 100 Continue."""
        self.url: str | None = None
        """Without its query."""
        self.name = ""
        """The last segment of its path."""
        self.expected: Expect | None = None


class _Note(msgspec.Struct, frozen=True):
    """What `apply` needs to know of a frame."""

    request: _Request | None
    begins: bool = False
    ends: bool = False
    status: int = 0
    elsewhere: Expect | None = None
    """Of a redirect: the connection that whoever follows it makes."""


class _Coding:
    """A content coding that is undone while it comes, within bounds."""

    __slots__ = ("_bound", "_burst", "_in", "_inflate", "_out", "_ratio", "why")

    def __init__(self, name: bytes, limits: Limits) -> None:
        self._inflate = zlib.decompressobj(31 if name == b"gzip" else 15)
        self._bound = limits.archive_bytes
        self._ratio = limits.archive_ratio
        self._burst = limits.http_decoded_bytes
        self._in = 0
        self._out = 0
        self.why = ""
        """Why no more of it is undone."""

    def undo(self, data: bytes, size: int) -> list[bytes]:
        """What `data` becomes, in pieces of at most `size` bytes."""
        out: list[bytes] = []
        burst = 0
        self._in += len(data)
        full = False
        while (data or full) and not self.why:
            if self._inflate.eof:
                if data:
                    self.why = "bytes follow the end of its content coding"
                break
            try:
                piece = self._inflate.decompress(data, size)
            except zlib.error:
                self.why = "its content coding is damaged"
                break
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            if piece:
                out.append(piece)
            full = len(piece) == size
            burst += len(piece)
            self._out += len(piece)
            if burst > self._burst or self._out > max(_BOMB_BYTES, self._in * self._ratio) or self._out > self._bound:
                self.why = "its content coding unpacks to more than is read"
            elif not piece and not self._inflate.eof:
                break
        return out

    def finish(self) -> str:
        """Why the whole was not undone; empty: it was."""
        return self.why or ("" if self._inflate.eof else "its content coding has no end")


class _Body:
    """The body under way in one direction."""

    __slots__ = ("chunk", "chunked", "coding", "detail", "left", "stage", "transfer")

    def __init__(self, transfer: str, length: int | None, chunked: bool) -> None:
        self.transfer = transfer
        self.left = length
        """Bytes to come; None: to the end of the connection, or of the chunks."""
        self.chunked = chunked
        self.stage = "size"
        """Of chunks: size, data, end."""
        self.chunk = 0
        """Bytes to come of the chunk."""
        self.coding: _Coding | None = None
        self.detail = ""
        """Why the file is not complete."""


class _Side:
    """One way of the connection."""

    __slots__ = ("body", "closes", "ended", "held", "note", "seen", "state")

    def __init__(self, state: int) -> None:
        self.state = state
        self.held = bytearray()
        self.seen = 0
        """Bytes of `held` that have been looked at."""
        self.body: _Body | None = None
        self.note = _Note(None)
        """Of the message under way."""
        self.closes = False
        """Nothing may follow the message under way."""
        self.ended = False


def probe(up: bytes, down: bytes) -> Match:
    """A request line of HTTP/1; asked only where a listener is for uploads alone."""
    if not up:
        return Match.NO if down else Match.MORE
    line, end, _ = up.partition(b"\r\n")
    method, space, rest = line.partition(b" ")
    if not space and not end:
        return Match.MORE if any(known.startswith(method) for known in METHODS) else Match.NO
    if method not in METHODS or (rest and not rest.startswith((b"/", b"h", b"H", b"*"))):
        return Match.NO
    if not end:
        return Match.MORE
    return Match.STRONG if rest.endswith((b" HTTP/1.1", b" HTTP/1.0")) else Match.NO


# -- heads


def _fields(raw: bytes) -> list[_Field] | PeerError:
    """The fields of a whole head, read strictly: each line ends in CRLF, begins with a name and has a colon."""
    lines = raw[:-4].split(b"\r\n")
    fields: list[_Field] = []
    for number, line in enumerate(lines):
        if b"\n" in line or b"\r" in line or b"\0" in line:
            return PeerError("http_upload.line_end", "a bare CR, LF or NUL in a head")
        if not line:
            return PeerError("http_upload.empty_line", "an empty line in front of a head")
        if line[0] in b" \t":
            return PeerError("http_upload.folded", "a folded field")
        if not number:
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            return PeerError("http_upload.field", "a field without a colon")
        name = name.lower()
        if name not in _FRAMING and name.strip().replace(b"_", b"-") in _FRAMING:
            return PeerError("http_upload.framing", "a field that some servers take for its length")
        fields.append((name, value.strip(b" \t")))
    return fields


def _framing(fields: list[_Field], version: bytes) -> tuple[int | None, bool] | PeerError:
    """(length, chunked) of a message; (None, False): neither is said."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if codings:
        if lengths:
            return PeerError("http_upload.framing", "both a length and Transfer-Encoding")
        if len(codings) > 1 or codings[0].lower() != b"chunked" or version != b"1.1":
            return PeerError("http_upload.framing", "a Transfer-Encoding that is not chunked alone")
        return None, True
    if not lengths:
        return None, False
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _LENGTH_DIGITS:
        return PeerError("http_upload.framing", "a length that is not one number")
    return int(lengths[0]), False


def _value(fields: list[_Field], name: bytes) -> bytes:
    """The first field of that name; b"" when there is none."""
    return next((value for found, value in fields if found == name), b"")


def _words(fields: list[_Field], name: bytes) -> list[bytes]:
    """The comma-separated words of all fields of that name, in lower case."""
    return [word.strip(b" \t") for found, value in fields if found == name for word in value.lower().split(b",")]


def _media_type(fields: list[_Field]) -> str | None:
    value = _value(fields, b"content-type").partition(b";")[0].strip().lower()
    return value.decode() if value and value.isascii() and len(value) <= _NAME else None


def _unescaped(data: bytes) -> str:
    """Percent-decoded, as UTF-8."""
    first, *rest = data.split(b"%")
    out = [first]
    for piece in rest:
        if len(piece) >= 2 and piece[0] in _HEX and piece[1] in _HEX:
            out.append(bytes([int(piece[:2], 16)]) + piece[2:])
        else:
            out.append(b"%" + piece)
    return b"".join(out).decode("utf-8", "replace")


def _disposition(fields: list[_Field]) -> str:
    """The file name that Content-Disposition gives (RFC 6266): what the receiver will save it as."""
    value = _value(fields, b"content-disposition")[:_DISPOSITION]
    names: dict[bytes, str] = {}
    at = value.find(b";")
    while at >= 0:
        name, sign, rest = value[at + 1:].partition(b"=")
        if not sign:
            break
        name, rest = name.strip().lower(), rest.lstrip(b" \t")
        if rest.startswith(b'"'):
            end, piece = 1, bytearray()
            while end < len(rest) and rest[end] != 0x22:
                end += rest[end] == 0x5C
                piece += rest[end:end + 1]
                end += 1
            names.setdefault(name, bytes(piece).decode("utf-8", "replace"))
        else:
            end = rest.find(b";") if b";" in rest else len(rest)
            word = rest[:end].strip()
            names.setdefault(name, _unescaped(word.split(b"'", 2)[-1]) if name.endswith(b"*") else
                             word.decode("utf-8", "replace"))
        value, at = rest, rest.find(b";", end)
    return (names.get(b"filename*") or names.get(b"filename") or "")[:_NAME]


def _range(fields: list[_Field]) -> tuple[int, bool]:
    """(first byte, whether it is not all) that Content-Range says (RFC 9110 14.4)."""
    value = _value(fields, b"content-range")
    if not value:
        return 0, False
    unit, _, rest = value.partition(b" ")
    span, _, total = rest.partition(b"/")
    first, _, last = span.partition(b"-")
    if unit.lower() != b"bytes" or not all(n.isdigit() and len(n) <= _LENGTH_DIGITS for n in (first, last, total)):
        return 0, True
    return int(first), int(first) > 0 or int(last) + 1 != int(total)


def _response(status: str, text: str) -> bytes:
    """A whole response of ours, the last of its connection."""
    body = text.encode("utf-8", "replace")
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + body


# -- the decoder


class HttpUploadDecoder(Unreleased):
    """One HTTP/1.1 connection between a client and an upload host."""

    __slots__ = (
        "_answered", "_begun", "_count", "_flow", "_kept", "_limits", "_memory", "_refused", "_requests", "_sides",
        "_transfers", "undecryptable",
    )

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        del edits
        self._flow = flow
        self._limits = limits
        self._memory = memory
        start = _HEAD if flow.from_start else _LOST
        self._sides = (_Side(start), _Side(start))
        self.undecryptable: str | None = None
        """Live, what follows a fault that was let pass is read by nobody."""
        self._requests: deque[_Request] = deque()
        """Read, and not answered yet by what was read."""
        self._count = 0
        self._transfers = 0
        # writing
        self._answered = 0
        """Requests whose response has been given to `apply` whole."""
        self._begun = False
        """Bytes of the response that is due have left."""
        self._kept = 0
        """Bytes of it that are held."""
        self._refused = False

    # -- bytes to frames

    def feed(self, chunk: Chunk) -> list[Frame]:
        """Heads, parts of bodies, and an empty frame at each body's end."""
        way, at, data = chunk.way, chunk.at, chunk.data
        side = self._sides[way]
        frames: list[Frame] = []
        if chunk.gap:
            self._gap(side, way, at, chunk.gap, frames)
        if side.held and data:
            if side.state == _HEAD and not self._lost():
                side.held += data
                data = self._held_head(side, way, at, frames)
            else:
                data = bytes(side.held) + data
                side.held.clear()
        pos, size = 0, len(data)
        while pos < size:
            if side.state == _BODY:
                pos = self._body(side, way, at, data, pos, frames)
            elif side.state == _HEAD and not self._lost():
                end = data.find(b"\r\n\r\n", pos, pos + self._limits.http_head_bytes)
                if end < 0:
                    side.held += data[pos:]
                    side.seen = 0
                    self._unfinished(side, way, at, frames)
                    break
                self._head(side, way, at, data[pos:end + 4], frames)
                pos = end + 4
            else:
                if side.state == _OVER and not self._lost():
                    self._fault(side, way, at, data[pos:], PeerError(
                        "http_upload.behind_end", "bytes behind the last message of a connection"), frames)
                else:
                    self._unread(way, at, data[pos:], frames)
                break
            if side.state == _DEAD and pos < size:
                # The fault is the last frame: it has all the rest.
                last = frames.pop()
                frames.append(msgspec.structs.replace(last, raw=last.raw + data[pos:]))
                break
        if chunk.end and not side.ended:
            self._end(side, way, at, frames)
        return frames

    def _lost(self) -> bool:
        """Bytes are missing where a message begins: nobody knows any more which response is whose."""
        return _LOST in (self._sides[0].state, self._sides[1].state)

    def _unread(self, way: Way, at: float, data: bytes, frames: list[Frame]) -> None:
        size = self._limits.part_bytes
        odd = (Oddity("http_upload.unread"),)
        if self._flow.file is None:
            self.undecryptable = "HTTP that cannot be followed behind a fault"
        for start in range(0, len(data), size):
            frames.append(Frame(way, at, data[start:start + size], "http_upload.unread", oddities=odd))

    def _fault(self, side: _Side, way: Way, at: float, raw: bytes, fault: PeerError, frames: list[Frame]) -> None:
        side.state = _DEAD
        frames.append(Frame(way, at, raw, BROKEN, fault=fault))

    def _held_head(self, side: _Side, way: Way, at: float, frames: list[Frame]) -> bytes:
        """More of a head has come; returns what is behind it."""
        held = side.held
        end = held.find(b"\r\n\r\n", max(0, side.seen - 3), self._limits.http_head_bytes)
        if end < 0:
            self._unfinished(side, way, at, frames)
            return b""
        head, rest = bytes(held[:end + 4]), bytes(held[end + 4:])
        held.clear()
        side.seen = 0
        self._head(side, way, at, head, frames)
        if side.state == _DEAD and rest:
            frames.append(msgspec.structs.replace(frames.pop(), raw=head + rest))
            return b""
        return rest

    def _unfinished(self, side: _Side, way: Way, at: float, frames: list[Frame]) -> None:
        """A head whose end has not come: it may be too long already, or not HTTP at all."""
        held = side.held
        fault = None
        if len(held) >= self._limits.http_head_bytes:
            fault = PeerError("http_upload.head", "a head that does not end")
        elif held.count(b"\n", side.seen) != held.count(b"\r\n", max(0, side.seen - 1)):
            fault = PeerError("http_upload.line_end", "a bare LF in a head")
        side.seen = len(held)
        if fault is not None:
            raw = bytes(held)
            held.clear()
            self._fault(side, way, at, raw, fault, frames)

    # -- heads to events

    def _head(self, side: _Side, way: Way, at: float, raw: bytes, frames: list[Frame]) -> None:
        fields = _fields(raw)
        if isinstance(fields, PeerError):
            self._fault(side, way, at, raw, fields, frames)
            return
        frame = self._request(side, at, raw, fields) if way is UP else self._answer(side, at, raw, fields)
        if isinstance(frame, PeerError):
            self._fault(side, way, at, raw, frame, frames)
        else:
            frames.append(frame)

    def _request(self, side: _Side, at: float, raw: bytes, fields: list[_Field]) -> Frame | PeerError:
        """A request: what it asks for, and the file that comes with it."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw) + 1)
        try:
            connection.receive_data(raw)
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # h11 keeps the error in a frame of it, and that keeps all who called
            return PeerError("http_upload.request", "not a request of HTTP/1.1")
        if not isinstance(event, h11.Request) or event.http_version not in (b"1.0", b"1.1"):
            return PeerError("http_upload.request", "not a request of HTTP/1.1")
        if len(self._requests) >= self._limits.http_requests:
            return PeerError("http_upload.pipeline", "too many requests wait for their responses")
        framing = _framing(fields, event.http_version)
        if isinstance(framing, PeerError):
            return framing
        length, chunked = framing
        method = bytes(event.method)
        if method == b"CONNECT" or (method in _BODILESS and (length or chunked)):
            return PeerError("http_upload.request", "a tunnel, or a body where there is none")
        old = event.http_version == b"1.0"
        options = _words(fields, b"connection")
        closes = b"close" in options or (old and b"keep-alive" not in options)
        expects = not old and b"100-continue" in _words(fields, b"expect")
        request = _Request(self._count, method, closes, expects)
        fault = self._locate(request, bytes(event.target), _value(fields, b"host"), at)
        if fault is not None:
            return fault
        self._count += 1
        self._requests.append(request)
        side.closes = closes
        side.note = _Note(request)
        events: tuple[Event, ...] = ()
        oddities: tuple[Oddity, ...] = ()
        if length or chunked:
            side.state = _BODY
            side.body = _Body(self._transfer(UP), length, chunked)
            events, oddities = self._file(side.body, request, fields, request.name)
        else:
            side.state = _OVER if closes else _HEAD
        note = _Note(request, begins=True, ends=not events)
        return Frame(UP, at, raw, f"http_upload.{method.decode()[:32]}", events, oddities, note=note)

    def _locate(self, request: _Request, target: bytes, host: bytes, at: float) -> PeerError | None:
        """What the request asks for: its address, its announcement and its file's name."""
        scheme, sign, rest = target.partition(b"://")
        if sign and scheme.lower() in (b"http", b"https"):
            authority, slash, path = rest.partition(b"/")
            if authority.lower() != host.lower():
                return PeerError("http_upload.request", "the request line and Host name different hosts")
            target = slash + path
        elif not target.startswith(b"/") and target != b"*":
            return PeerError("http_upload.request", "a request for no path")
        if b"#" in target or b"@" in host or b"/" in host or not host.isascii() or not target.isascii():
            return PeerError("http_upload.request", "an address with user information or a fragment")
        if not host or target == b"*":
            return None
        schemes = ("https", "http") if self._flow.tls else ("http", "https")
        expected = self._flow.expected
        for scheme_name in schemes:
            # Both: TLS may have been ended in front of us, and the address without a port means another one then.
            url = urls.read(f"{scheme_name}://{host.decode()}{target.decode()}")
            if url is None:
                return None
            if request.url is None:
                request.url = f"{scheme_name}://{host.decode().lower()}{url.target.partition('?')[0]}"
                request.name = _unescaped(url.target.partition("?")[0].encode().rpartition(b"/")[2])[:_NAME]
            known = self._memory.get(expect_key("http_upload", url.key), at)
            if isinstance(known, Expect):
                request.expected = known
                break
            if expected is not None and expected.what == "http_upload" and expected.key == url.key:
                request.expected = expected
                break
        return None

    def _answer(self, side: _Side, at: float, raw: bytes, fields: list[_Field]) -> Frame | PeerError:
        """A response: whose it is, and the file that comes with it."""
        request = self._requests[0] if self._requests else None
        method = request.head if request is not None else b"GET"
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(raw) + 1)
        try:
            connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
            connection.receive_data(raw)
            event = connection.next_event()
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            error.__traceback__ = None
            return PeerError("http_upload.response", "not a response of HTTP/1.1")
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            return PeerError("http_upload.response", "not a response of HTTP/1.1")
        if event.http_version not in (b"1.0", b"1.1"):
            return PeerError("http_upload.response", "another version of HTTP")
        status = event.status_code
        framing = _framing(fields, event.http_version)
        if isinstance(framing, PeerError):
            return framing
        length, chunked = framing
        kind = f"http_upload.{status}"
        if status < 200:
            if status == 101 or length is not None or chunked:
                return PeerError("http_upload.upgrade", "another protocol, or a body where there is none")
            return Frame(DOWN, at, raw, kind, note=_Note(request, status=status))
        if status == 204 and (length or chunked):
            return PeerError("http_upload.framing", "a body where there is none")
        bare = method == b"HEAD" or status in (204, 304)
        old = event.http_version == b"1.0"
        options = _words(fields, b"connection")
        oddities: tuple[Oddity, ...] = ()
        if request is None:
            oddities = (Oddity("http_upload.unasked", "a response that nobody asked for"),)
        side.closes = request is None or b"close" in options or (old and b"keep-alive" not in options)
        side.note = _Note(request, status=status)
        events: tuple[Event, ...] = ()
        if bare or (not chunked and length == 0):
            self._whole(side)
        else:
            if length is None and not chunked:
                side.closes = True
            side.state = _BODY
            side.body = _Body(self._transfer(DOWN), length, chunked)
            # An error's text is no file of that name.
            asked = request is not None and method == b"GET" and status < 300
            name = _disposition(fields) or (request.name if request is not None and asked else "")
            events, odd = self._file(side.body, request, fields, name, asked=asked)
            oddities += odd
        elsewhere = self._elsewhere(request, fields) if status in _REDIRECTS else None
        note = _Note(request, begins=True, ends=not events, status=status, elsewhere=elsewhere)
        return Frame(DOWN, at, raw, kind, events, oddities, note=note)

    def _elsewhere(self, request: _Request | None, fields: list[_Field]) -> Expect | None:
        """Where a redirect leads (RFC 9110 10.2.2): a client that follows it must not leave our sight."""
        location = _value(fields, b"location")
        if request is None or not location.isascii():
            return None
        base = request.url or ""
        scheme, sign, rest = base.partition("://")
        target = location.decode()
        if target.startswith("//"):
            target = f"{scheme}:{target}"
        elif target.startswith("/"):
            target = f"{scheme}{sign}{rest.partition('/')[0]}{target}"
        url = urls.read(target)
        if url is None:
            return None
        announced = request.expected or self._flow.expected or Expect("", "http_upload", flow=self._flow.id)
        offer = request.expected.offer if request.expected is not None else None
        return msgspec.structs.replace(
            announced, address=url.address, what="http_upload", key=url.key, offer=offer, client=None)

    def _transfer(self, way: Way) -> str:
        self._transfers += 1
        return f"{'ud'[way]}{self._transfers}"

    def _file(
        self, body: _Body, request: _Request | None, fields: list[_Field], name: str, asked: bool = True,
    ) -> tuple[tuple[Event, ...], tuple[Oddity, ...]]:
        """The events with which a body begins."""
        oddities: list[Oddity] = []
        coding = _value(fields, b"content-encoding").lower()
        if len([1 for found, _ in fields if found == b"content-encoding"]) > 1:
            coding = b"several"
        coding = {b"x-gzip": b"gzip", b"identity": b""}.get(coding, coding)
        if coding in (b"gzip", b"deflate"):
            body.coding = _Coding(coding, self._limits)
        elif coding:
            body.detail = "its content coding is not read"
            oddities.append(Oddity("http_upload.coding"))
        offset, partial = _range(fields)
        if partial or _media_type(fields) == "multipart/byteranges":
            body.detail = body.detail or "a part of the file"
        size = body.left if not coding else None
        media = _media_type(fields)
        expected = request.expected if request is not None and asked else None
        announced = expected.offer if expected is not None else None
        if announced is not None:
            changes: dict[str, object] = {}
            if coding:
                changes["size"] = None
            elif announced.size is None:
                changes["size"] = size
            elif size is not None and size != announced.size and not partial:
                oddities.append(Oddity("http_upload.size", "its length is not what was announced"))
            if media not in (None, "application/octet-stream", announced.declared_type):
                changes["declared_type"] = media
            if name and announced.file_name and name != announced.file_name and request is not None and (
                    name != request.name):
                # What the receiver is told to save it as.
                changes["file_name"] = name
                changes["texts"] = (*announced.texts, Text("file_name", name))
            offer = msgspec.structs.replace(announced, **changes) if changes else announced
        else:
            offer = FileOffer(
                file_name=name, size=size, method="http_upload", declared_type=media,
                address=request.url if request is not None else None, answerable=False,
                texts=(Text("file_name", name),) if name else (),
            )
        start = FileStart(transfer=body.transfer, offer=offer, expected=expected, offset=offset)
        return ((start,) if announced is not None else (offer, start)), tuple(oddities)

    # -- bodies

    def _body(self, side: _Side, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """Some of a body; returns where reading goes on."""
        body = side.body
        assert body is not None
        if body.chunked:
            return self._chunks(side, body, way, at, data, pos, frames)
        part, size = self._limits.part_bytes, len(data)
        stop = size if body.left is None else min(size, pos + body.left)
        for start in range(pos, stop, part):
            end = min(start + part, stop)
            piece = data if not start and end == size else data[start:end]
            self._part(side, body, way, at, piece, piece, frames)
        if body.left is not None:
            body.left -= stop - pos
            if not body.left:
                self._ending(side, way, at, b"", frames)
        return stop

    def _part(
        self, side: _Side, body: _Body, way: Way, at: float, raw: bytes, data: bytes, frames: list[Frame],
    ) -> None:
        """One frame of content, and more without bytes of their own where a coding makes more of it."""
        pieces = [data] if body.coding is None else body.coding.undo(data, self._limits.part_bytes) or [b""]
        for piece in pieces:
            event = FilePart(transfer=body.transfer, data=piece)
            frames.append(Frame(way, at, raw, "http_upload.data", (event,), note=side.note))
            raw = b""

    def _chunks(self, side: _Side, body: _Body, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """Chunks (RFC 9112 7.1), read strictly: digits and CRLF, no extension, no trailer."""
        mark, size, part = pos, len(data), self._limits.part_bytes
        pieces: list[bytes] = []
        fault: PeerError | None = None
        hold = False
        while pos < size:
            if pos - mark > part - 64:
                self._part(side, body, way, at, data[mark:pos], b"".join(pieces), frames)
                mark, pieces = pos, []
            if body.stage == "data":
                count = min(body.chunk, size - pos, part - (pos - mark))
                pieces.append(data[pos:pos + count])
                pos += count
                body.chunk -= count
                if not body.chunk:
                    body.stage = "end"
            elif body.stage == "end":
                found = data[pos:pos + 2]
                if not b"\r\n".startswith(found):
                    fault = PeerError("http_upload.chunk", "a chunk that does not end where its size says")
                    break
                if len(found) < 2:
                    hold = True
                    break
                pos += 2
                body.stage = "size"
            else:
                end = data.find(b"\r\n", pos, pos + _CHUNK_LINE)
                digits = data[pos:end] if end >= 0 else data[pos:pos + _CHUNK_LINE].removesuffix(b"\r")
                if not _HEX.issuperset(digits) or (end >= 0 and not digits) or (end < 0 and len(digits) > 16):
                    fault = PeerError("http_upload.chunk", "a size of a chunk that is not hexadecimal digits alone")
                    break
                if end < 0:
                    hold = True
                    break
                count = int(digits, 16)
                if count:
                    pos = end + 2
                    body.chunk, body.stage = count, "data"
                    continue
                behind = data[end + 2:end + 4]
                if not b"\r\n".startswith(behind):
                    fault = PeerError("http_upload.chunk", "a trailer behind the last chunk")
                    break
                if len(behind) < 2:
                    hold = True
                    break
                if pos > mark:
                    self._part(side, body, way, at, data[mark:pos], b"".join(pieces), frames)
                self._ending(side, way, at, data[pos:end + 4], frames)
                return end + 4
        if pos > mark:
            self._part(side, body, way, at, data[mark:pos], b"".join(pieces), frames)
        if fault is not None:
            self._fault(side, way, at, data[pos:], fault, frames)
        elif hold:
            side.held += data[pos:]
        return size

    def _ending(self, side: _Side, way: Way, at: float, raw: bytes, frames: list[Frame], cut: str = "") -> None:
        """The file's last frame."""
        body = side.body
        assert body is not None
        detail = cut or body.detail or (body.coding.finish() if body.coding is not None else "")
        event = FileEnd(transfer=body.transfer, complete=not detail, detail=detail)
        note = _Note(side.note.request, ends=True, status=side.note.status)
        frames.append(Frame(way, at, raw, "http_upload.end", (event,), note=note))
        side.body = None
        if way is DOWN:
            self._whole(side)
        else:
            side.state = _OVER if side.closes else _HEAD

    def _whole(self, side: _Side) -> None:
        """A final response has been read to its end."""
        if side.note.request is not None:
            self._requests.popleft()
        side.state = _OVER if side.closes else _HEAD

    # -- gaps and ends

    def _gap(self, side: _Side, way: Way, at: float, gap: int, frames: list[Frame]) -> None:
        """Bytes were lost: inside a body of known length they are counted; else nothing can be told of what follows."""
        body = side.body
        if side.held:
            self._unread(way, at, bytes(side.held), frames)
            side.held.clear()
        elif body is not None and side.state == _BODY:
            known = body.chunk if body.chunked else body.left
            inside = body.stage == "data" if body.chunked else True
            if inside and (known is None or gap <= known):
                body.detail = "bytes are missing"
                if body.coding is not None:
                    body.coding.why = body.detail
                event = FilePart(transfer=body.transfer, data=b"", gap=gap)
                frames.append(Frame(way, at, b"", "http_upload.data", (event,), note=side.note))
                if body.chunked:
                    body.chunk -= gap
                    body.stage = "data" if body.chunk else "end"
                elif body.left is not None:
                    body.left -= gap
                    if not body.left:
                        self._ending(side, way, at, b"", frames)
                return
        if body is not None and side.state == _BODY:
            self._ending(side, way, at, b"", frames, "bytes are missing")
        if side.state != _DEAD:
            side.state = _LOST

    def _end(self, side: _Side, way: Way, at: float, frames: list[Frame]) -> None:
        """The way has ended: what was under way is whole, or broken off."""
        side.ended = True
        body = side.body
        if side.held:
            raw = bytes(side.held)
            side.held.clear()
            odd = (Oddity("http_upload.truncated"),)
            if body is None:
                frames.append(Frame(way, at, raw, "http_upload.truncated", oddities=odd))
            else:
                event = FilePart(transfer=body.transfer, data=b"")
                frames.append(Frame(way, at, raw, "http_upload.data", (event,), odd, note=side.note))
        if body is not None and side.state == _BODY:
            broken = body.chunked or body.left is not None
            self._ending(side, way, at, b"", frames, "it was broken off" if broken else "")
        if side.state in (_HEAD, _BODY):
            side.state = _OVER

    def pending(self, way: Way) -> int:
        """Bytes of a head, or of a chunk's size, held."""
        return len(self._sides[way].held)

    # -- frames to bytes

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """What came leaves as it came; a refusal is a 403 and the end."""
        if self._refused:
            return []
        note = frame.note
        if any(verdict.action >= Action.BLOCK for verdict in verdicts):
            return self._refuse(frame, verdicts)
        held = any(verdict.action is Action.HOLD for verdict in verdicts)
        acts: list[Act] = [Send(frame.way, frame.raw)] if frame.raw else []
        if not isinstance(note, _Note):
            return acts
        request = note.request
        if frame.way is UP:
            if held and note.begins and request is not None and request.expects and self._due(request):
                request.continued = True
                acts.append(Send(DOWN, CONTINUE))
            return acts
        if note.status == 100 and request is not None and request.continued:
            return []
        if note.elsewhere is not None:
            until = frame.at + self._limits.expect_seconds
            self._memory.put(expect_key("http_upload", note.elsewhere.key or ""), note.elsewhere, until)
            acts.append(note.elsewhere)
        if held:
            self._kept += len(frame.raw)
        elif frame.raw and note.status >= 200:
            self._begun = True
        if note.ends:
            self._answered += request is not None
            self._begun = False
            self._kept = 0
        return acts

    def _due(self, request: _Request) -> bool:
        """Whether the next response that the client waits for is the one to this request, and none of it has left."""
        return self._answered == request.number and not self._begun

    def _refuse(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """A 403 where one can be said, and the end of the connection."""
        self._refused = True
        verdict = max(verdicts, key=lambda each: each.action)
        note = frame.note
        request = note.request if isinstance(note, _Note) else None
        if frame.way is UP:
            possible = request is not None and self._due(request)
        else:
            # More than the tail of a streamed file may have left already.
            possible = not self._begun and self._kept <= self._limits.file_tail_bytes
        text = verdict.notice or "This file was refused by company policy."
        if not verdict.notice and verdict.reference:
            text = f"{text} Reference {verdict.reference}."
        acts: list[Act] = [Send(DOWN, _response("403 Forbidden", text + "\n"))] if possible else []
        return [*acts, Cut("the file was refused")]

    def ready(self, way: Way) -> bool:
        """Whether a response of ours could stand here: between the responses of the server."""
        side = self._sides[DOWN]
        return way is DOWN and side.state in (_HEAD, _OVER) and not side.held and not self._lost()

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """HTTP has no words that nobody asked for."""
        del message, way
        return []

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """An error for the request that waits, or that could not be read."""
        del reason
        if self._refused or self._begun or self._kept or not self.ready(DOWN):
            return []
        self._refused = True
        if fault is not None and self._sides[UP].state == _DEAD:
            return [Send(DOWN, _response("400 Bad Request", "This request cannot be read.\n"))]
        if self._count == self._answered:
            return []
        return [Send(DOWN, _response("403 Forbidden", "This connection was ended by company policy.\n"))]


SPEC = Spec(
    name="http_upload",
    title="HTTP file upload (XEP-0363)",
    probe=probe,
    decoder=HttpUploadDecoder,
    signs_on=False,
    can={"file": Can(drop=True, hold=True)},
    not_decoded=(
        "HTTP/2 and HTTP/3", "content codings but gzip and deflate", "parts of multipart bodies as files of their own",
    ),
    parent="xmpp",
    expected_only=True,
)
