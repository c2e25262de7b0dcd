"""XMPP in WebSockets: RFC 7395 over RFC 6455, as a carrier (docs/decisions/0082).

The handshake is read as HTTP/1.1 heads, of which only those go on that every server reads alike (RFC 9112 3, 5.1, 5.2,
6.3: no folded lines, no bare CR or LF, no blank before a colon, no body), and nothing of the client's behind its
request before the answer. Behind it each text message is one XML element, whole. To the XMPP decoder `<open/>` is a
stream header and `<close/>` the end of the stream; what it changes or says is written as messages of their own.
`Sec-WebSocket-Extensions` is taken out of the client's request (an edit): a message compressed with the one before it
could not be changed.

Sources: RFC 6455 4.1, 5.2 to 5.5, 7.4; RFC 7395 3.1 to 3.6. Not read: the words of pings and of closing frames (at most
125 bytes, shown to nobody; told as oddities where they are longer than a reason needs).
"""

from __future__ import annotations

import hashlib
import struct

from inspector.model import DOWN, UP, Chunk, Edit, Flow, Limits, Match, Oddity, PeerError, Spec, Way
from inspector.model.carriers import Unit
from inspector.wire import xml
from inspector.wire.carried import Carried
from inspector.wire.xml import CLOSE, HEADER, STREAMS, Splitter, XmlFault

NAME = "xmpp_websocket"
STRIP_EXTENSIONS = f"{NAME}.strip_extensions"
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_CONTROLS = frozenset((_CLOSE, _PING, _PONG))
_CONTROL_BYTES = 125
_HEAD_END = b"\r\n\r\n"
_DEPTH = 64
_PROBED = 32 * 1024
"""Bytes of a head that are waited for: as many as servers take."""
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What a field's name is made of (RFC 9110 5.6.2)."""


class WebSocketCarrier:
    """One connection."""

    __slots__ = ("_buffer", "_closed", "_counts", "_edits", "_flow", "_fragment", "_header", "_limits", "_looked",
                 "_open", "_refused", "undecryptable")

    def __init__(self, flow: Flow, limits: Limits, edits: frozenset[str]) -> None:
        self._flow = flow
        self._limits = limits
        self._edits = edits
        self._buffer = [bytearray(), bytearray()]
        self._looked = [0, 0]
        """Bytes of the buffer in which a head's end was looked for."""
        self._open = [not flow.from_start, not flow.from_start]
        """Per way: the handshake is over."""
        self._fragment: list[bytearray | None] = [None, None]
        """A message of which not all fragments are there."""
        self._header: list[xml.Header | None] = [None, None]
        """The inner header of each way, for what is written anew."""
        self._closed = [False, False]
        self._refused = False
        """There is no WebSocket."""
        self._counts = 0
        self.undecryptable: str | None = None

    # -- reading

    def feed(self, chunk: Chunk) -> list[Unit]:
        way, at = chunk.way, chunk.at
        buffer = self._buffer[way]
        buffer += chunk.data
        units: list[Unit] = []
        start = 0
        reading = self.undecryptable is None
        while start < len(buffer):
            if self.undecryptable is not None:
                # What stands behind the reason waits until the engine has heard it: it may be the end of all.
                if reading and not chunk.end:
                    break
                if self._refused and way is UP:
                    # A second request, of a WebSocket that nobody here would read.
                    units.append(self._fault(way, at, start, "after_a_refusal"))
                    start = len(buffer)
                    break
                units.append(Unit(way, at, bytes(buffer[start:])))
                start = len(buffer)
                break
            if not self._open[way]:
                found = self._head(way, at, start)
            elif self._open[DOWN]:
                found = self._frame(way, at, start)
            else:
                # Without a 101 it would be the next request, which others read otherwise (RFC 6455 4.1).
                found = self._fault(way, at, start, "before_the_answer")
            if found is None:
                break
            start += len(found.raw)
            units.append(found)
            if found.fault is not None:
                break
        del buffer[:start]
        return units

    def _head(self, way: Way, at: float, start: int) -> Unit | None:
        """The request, or the response, that opens it."""
        buffer, most = self._buffer[way], self._limits.http_head_bytes
        end = buffer.find(_HEAD_END, max(start, self._looked[way] - 3), start + most)
        if end < 0:
            if len(buffer) - start >= most:
                return self._fault(way, at, start, "head_too_long")
            self._looked[way] = len(buffer)
            return None
        raw = bytes(buffer[start:end + 4])
        lines = raw[:-4].split(b"\r\n")
        fields = head_fields(lines)
        if fields is None:
            return self._fault(way, at, start, "bad_head")
        self._open[way] = True
        extended = b"sec-websocket-extensions" in fields
        if way is UP:
            if not is_request(lines[0], fields):
                return self._fault(way, at, start, "not_a_websocket")
            if extended and STRIP_EXTENSIONS in self._edits:
                kept = [line for line in lines if line.partition(b":")[0].lower() != b"sec-websocket-extensions"]
                return Unit(way, at, raw, edit=STRIP_EXTENSIONS, edited=b"\r\n".join(kept) + _HEAD_END)
            return Unit(way, at, raw)
        status = lines[0].split(b" ", 2)
        if len(status) < 2 or status[0] not in (b"HTTP/1.1", b"HTTP/1.0") or not self._open[UP]:
            return self._fault(way, at, start, "not_a_websocket")
        speaks = fields.get(b"sec-websocket-protocol", [b"xmpp"])
        if status[1] != b"101" or [each.lower() for each in fields.get(b"upgrade", ())] != [b"websocket"]:
            self.undecryptable = "the server did not open the WebSocket"
            self._refused = True
        elif extended:
            self.undecryptable = "a WebSocket with an extension"
        elif [each.lower() for each in speaks] != [b"xmpp"]:
            self.undecryptable = "a WebSocket that speaks another protocol"
        return Unit(way, at, raw)

    def _frame(self, way: Way, at: float, start: int) -> Unit | None:
        """One WebSocket frame (RFC 6455 5.2)."""
        buffer = self._buffer[way]
        have = len(buffer) - start
        if have < 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        kind, whole, length = first & 0x0F, bool(first & 0x80), second & 0x7F
        size = 2 + {126: 2, 127: 8}.get(length, 0)
        masked = bool(second & 0x80)
        if have < size:
            return None
        if length == 126:
            length = int.from_bytes(buffer[start + 2:start + 4])
        elif length == 127:
            length = int.from_bytes(buffer[start + 2:start + 10])
        head = size + (4 if masked else 0)
        why = ""
        if first & 0x70:
            why = "reserved_bits"
        elif masked is not (way is UP):
            why = "wrong_mask"
        elif kind in _CONTROLS and (not whole or length > _CONTROL_BYTES):
            why = "bad_control_frame"
        elif kind not in _CONTROLS and kind not in (0, _TEXT):
            why = "not_text"
        elif (kind == 0) is not (self._fragment[way] is not None) and kind not in _CONTROLS:
            why = "bad_fragment"
        elif head + length + len(self._fragment[way] or b"") > self._limits.frame_bytes:
            why = "too_long"
        if why:
            return self._fault(way, at, start, why)
        if have < head + length:
            return None
        raw = bytes(buffer[start:start + head + length])
        payload = raw[head:]
        if masked:
            payload = _masked(payload, raw[size:head])
        if kind in _CONTROLS:
            self._closed[way] |= kind == _CLOSE
            odd = (Oddity(f"{NAME}.words_in_control_frame"),) if length > 64 else ()
            return Unit(way, at, raw, more=self._fragment[way] is not None, oddities=odd)
        fragment = self._fragment[way]
        if fragment is None and whole:
            return self._message(way, at, start, raw, payload)
        if fragment is None:
            self._fragment[way] = bytearray(payload)
            return Unit(way, at, raw, more=True)
        fragment += payload
        if not whole:
            return Unit(way, at, raw, more=True)
        self._fragment[way] = None
        return self._message(way, at, start, raw, bytes(fragment))

    def _message(self, way: Way, at: float, start: int, raw: bytes, payload: bytes) -> Unit:
        """A whole message: one element (RFC 7395 3.3)."""
        text = payload.strip(xml.WHITE)
        if not text:
            return Unit(way, at, raw)
        tag = text[1:text.find(b">") if b">" in text else len(text)]
        local = tag.split(None, 1)[0].rstrip(b"/").rpartition(b":")[2] if tag.strip() else b""
        if local in (b"open", b"close"):
            try:
                element = xml.reader(()).read(text)
            except XmlFault:
                element = None
            # In another namespace it is no stanza either (RFC 6120 8: message, presence, iq).
            if element is None or len(element) or element.tag not in (f"{{{FRAMING}}}open", f"{{{FRAMING}}}close"):
                return self._fault(way, at, start, "bad_framing")
            if local == b"close":
                # RFC 7395 3.6.1: the client goes on elsewhere, perhaps not through us.
                odd = (Oddity(f"{NAME}.sent_elsewhere"),) if element.get("see-other-uri") else ()
                return Unit(way, at, raw, b"</stream:stream>", whole=True, oddities=odd)
            attributes = "".join(
                f" {'xml:lang' if name == xml.LANG else name}='{xml.escape(value)}'"
                for name, value in element.items() if name == xml.LANG or name[:1] != "{"
            )
            header = f"<stream:stream{attributes} xmlns='jabber:client' xmlns:stream='{STREAMS}'>".encode()
            self._header[way] = xml.read_header(header)
            return Unit(way, at, raw, header, whole=True)
        if text[:1] != b"<" or text[1:2] in (b"!", b"?", b"/") or b"stream" in local.lower():
            return self._fault(way, at, start, "bad_framing")
        return Unit(way, at, raw, text, whole=True)

    def _fault(self, way: Way, at: float, start: int, name: str) -> Unit:
        return Unit(way, at, bytes(self._buffer[way][start:]), fault=PeerError(f"{NAME}.{name}"))

    def pending(self, way: Way) -> int:
        return len(self._buffer[way])

    def rest(self, way: Way) -> bytes:
        data = bytes(self._buffer[way])
        self._buffer[way].clear()
        self._looked[way] = 0
        self._fragment[way] = None
        return data

    # -- writing

    def wrap(self, way: Way, data: bytes) -> bytes:
        """Each inner unit as one text message; a stream header is `<open/>`, its end `<close/>`."""
        header = self._header[way]
        splitter = Splitter(max(len(data) + 1, 16), _DEPTH)
        splitter.opened = header is not None
        out: list[bytes] = []
        splitter.push(data)
        try:
            while (unit := splitter.take()) is not None:
                what, raw = unit
                if what == HEADER:
                    header = xml.read_header(raw)
                    attributes = "".join(
                        f" {'xml:lang' if name == xml.LANG else name}='{xml.escape(value)}'"
                        for name, value in header.attributes.items() if name == xml.LANG or name[:1] != "{"
                    )
                    out.append(self._said(way, f"<open xmlns='{FRAMING}'{attributes}/>".encode()))
                elif what == CLOSE:
                    out.append(self._said(way, f"<close xmlns='{FRAMING}'/>".encode()))
                elif raw.strip(xml.WHITE):
                    spaces = header.namespaces if header is not None else xml.CLIENT_STREAM
                    element = xml.reader(spaces).read(raw)
                    if element is not None:
                        out.append(self._said(way, xml.write(element, "")))
        except XmlFault:
            return b""
        return b"".join(out)

    def _said(self, way: Way, text: bytes, kind: int = _TEXT) -> bytes:
        """A whole message in one frame; the client's are masked, with a key that its peer cannot foresee."""
        size = len(text)
        mask = 0x80 if way is UP else 0
        head = bytes((0x80 | kind,))
        if size < 126:
            head += bytes((mask | size,))
        elif size < 65536:
            head += struct.pack(">BH", mask | 126, size)
        else:
            head += struct.pack(">BQ", mask | 127, size)
        if not mask:
            return head + text
        self._counts += 1
        key = hashlib.blake2b(text, digest_size=4, key=f"{self._flow.id}{self._counts}".encode()[:64]).digest()
        return head + key + _masked(text, key)

    def ready(self, way: Way) -> bool:
        return (
            self._open[UP] and self._open[DOWN] and self._fragment[way] is None and not self._closed[way]
            and self.undecryptable is None and not self._buffer[way]
        )

    @property
    def parted(self) -> bool:
        """Whether one side has sent its closing frame (RFC 6455 5.5.1)."""
        return self._closed[UP] or self._closed[DOWN]

    def finish(self) -> list[tuple[Way, bytes]]:
        """A closing frame to both (1008: policy)."""
        if not (self._open[UP] and self._open[DOWN]) or self.undecryptable is not None:
            return []
        return [(way, self._said(way, struct.pack(">H", 1008), _CLOSE)) for way in (DOWN, UP) if not self._closed[way]]


def _masked(data: bytes, key: bytes) -> bytes:
    """RFC 6455 5.3, all bytes at once."""
    size = len(data)
    if not size:
        return b""
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(pad)).to_bytes(size)


def head_fields(lines: list[bytes]) -> dict[bytes, list[bytes]] | None:
    """The fields of a head, names in lower case; None: somebody could read it otherwise, or it has a body."""
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            return None
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, _TOKEN):
            return None
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    if b"transfer-encoding" in fields:
        return None
    # A refusal may well have a body; a request may not.
    if lines[0].startswith(b"GET ") and any(size != b"0" for size in fields.get(b"content-length", ())):
        return None
    return fields


def is_request(first: bytes, fields: dict[bytes, list[bytes]]) -> bool:
    """Whether the head of a request asks for a WebSocket that speaks XMPP, and for nothing else."""
    words = first.split(b" ")
    speaks = b",".join(fields.get(b"sec-websocket-protocol", ())).lower().split(b",")
    return (
        len(words) == 3 and words[0] == b"GET" and bool(words[1]) and words[2] == b"HTTP/1.1"
        and [each.lower() for each in fields.get(b"upgrade", ())] == [b"websocket"]
        and b"xmpp" in [each.strip() for each in speaks]
    )


def probe(up: bytes, down: bytes) -> Match:  # noqa: ARG001 - the contract's shape
    """A GET that asks for the sub-protocol xmpp. Read as the most forgiving server reads it (one opens a WebSocket that
    no `Upgrade` asks for): what is strange about it is the decoder's to refuse, and does not make it somebody else's.
    """
    head = up[:_PROBED].lstrip(b"\r\n")
    if not (head[:4].upper() == b"GET " or b"GET ".startswith(head[:4].upper())):
        return Match.NO
    head, end, _ = head.replace(b"\r", b"").partition(b"\n\n")
    if b"\0" in head and not end:
        return Match.NO
    if not end:
        return Match.MORE if len(up) < _PROBED else Match.NO
    for line in head.replace(b"\n ", b" ").replace(b"\n\t", b" ").lower().split(b"\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip() == b"sec-websocket-protocol" and b"xmpp" in value.replace(b",", b" ").split():
            return Match.STRONG
    return Match.NO


SPEC = Spec(
    name=NAME,
    title="XMPP in WebSockets",
    probe=probe,
    decoder=Carried(NAME, WebSocketCarrier),
    carries="xmpp",
    not_decoded=("permessage-deflate", "binary messages", "words in pings and closing frames"),
    edits=(
        Edit(STRIP_EXTENSIONS, "extensions (permessage-deflate) are taken out of the client's request: a message that "
             "is compressed with those before it could not be changed"),
    ),
)
