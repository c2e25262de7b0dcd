"""WebSocket frames for tests, by a writer and a reader of their own (RFC 6455, RFC 7395)."""

from __future__ import annotations

import re
import struct

from inspector.model import DOWN, UP, Way
from inspector.wire.xml import CLOSE, HEADER, Splitter

Said = list[tuple[Way, bytes]]

FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
SPACES = re.compile(rb"xmlns(?::\w+)?=(?:'[^']*'|\"[^\"]*\")")
KEY = b"\x11\x92\x03\xf4"
REQUEST = (
    b"GET /xmpp-websocket HTTP/1.1\r\nHost: chat.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\nOrigin: https://chat.example.com\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"
)
HANDSHAKE: Said = [(UP, REQUEST), (DOWN, RESPONSE)]


def frame(way: Way, payload: bytes, kind: int = 1, *, whole: bool = True) -> bytes:
    """One frame; the client's is masked."""
    size, mask = len(payload), 0x80 if way is UP else 0
    head = bytes((kind | (0x80 if whole else 0),))
    if size < 126:
        head += bytes((mask | size,))
    elif size < 65536:
        head += struct.pack(">BH", mask | 126, size)
    else:
        head += struct.pack(">BQ", mask | 127, size)
    if not mask:
        return head + payload
    return head + KEY + bytes(byte ^ KEY[at % 4] for at, byte in enumerate(payload))


def messages(data: bytes) -> list[bytes]:
    """The text messages in frames of one way, behind a head of HTTP or not."""
    if data.startswith((b"GET ", b"HTTP/")):
        data = data[data.index(b"\r\n\r\n") + 4:]
    found: list[bytes] = []
    parts = b""
    while len(data) > 1:
        first, second, at = data[0], data[1], 2
        size = second & 0x7F
        if size == 126:
            size, at = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10]), 10
        key = data[at:at + 4] if second & 0x80 else b""
        at += len(key)
        payload = data[at:at + size]
        if key:
            payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        data = data[at + size:]
        if first & 0x0F < 3:
            parts += payload
            if first & 0x80:
                found.append(parts)
                parts = b""
    return found


def framed(said: Said, *, fragments: int = 1) -> Said:
    """A conversation in streams as one in WebSockets: each unit in a message, its namespaces in its own tag."""
    splits = {way: Splitter(1 << 20, 64) for way in (UP, DOWN)}
    heads = {UP: b"", DOWN: b""}
    out: Said = []
    for way, data in said:
        split = splits[way]
        split.push(data)
        while (unit := split.take()) is not None:
            what, raw = unit
            if what == HEADER:
                tag = raw[raw.index(b"<stream:stream"):-1]
                heads[way] = b"".join(b" " + each for each in SPACES.findall(tag))
                rest = re.sub(rb"\s+" + SPACES.pattern, b"", tag[len(b"<stream:stream"):])
                text = b"<open xmlns='" + FRAMING.encode() + b"'" + rest + b"/>"
            elif what == CLOSE:
                text = b"<close xmlns='" + FRAMING.encode() + b"'/>"
            else:
                text = _declared(raw, heads[way]) if raw.strip() else raw
            size = max(1, -(-len(text) // fragments))
            pieces = [text[at:at + size] for at in range(0, len(text), size)]
            for index, piece in enumerate(pieces):
                out.append((way, frame(way, piece, 0 if index else 1, whole=index == len(pieces) - 1)))
    return out




def _declared(raw: bytes, spaces: bytes) -> bytes:
    """The unit with what its stream had declared."""
    match = re.match(rb"<[^\s/>]+", raw)
    assert match is not None
    tag = raw[:raw.index(b">")]
    own = b"".join(
        b" " + each for each in SPACES.findall(spaces) if each.partition(b"=")[0] + b"=" not in tag
    )
    return raw[:match.end()] + own + raw[match.end():]
