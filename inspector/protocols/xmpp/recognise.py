"""Whether the first bytes of a flow are XMPP (RFC 6120 §4.2)."""

from __future__ import annotations

from inspector.model import Match
from inspector.protocols.xmpp.names import STREAM
from inspector.wire import xml
from inspector.wire.xml import STREAMS, XmlFault

_PROBED = 10240
"""Bytes of a side looked at: a header longer than the 10000 of RFC 6120 §13.12 is refused anyway."""
_PREAMBLES = ((b"<!--", b"-->"), (b"<?", b"?>"), (b"<!DOCTYPE", b">"))


def probe(up: bytes, down: bytes) -> Match:
    """Whether the first bytes of a flow are an XMPP stream: a header bound to the streams namespace, on either side.

    The server never speaks first. Stanzas without a header (a flow joined in its middle) are WEAK.
    """
    above = _looks(up)
    if above is Match.STRONG or not down:
        return above
    below = _looks(down)
    if below is Match.STRONG:
        return below
    if not up.strip(xml.WHITE):
        return below
    if above is Match.NO or below is Match.NO:
        return Match.NO
    return max(above, below)


def _looks(data: bytes) -> Match:
    head = data[:_PROBED]
    if xml.BOM.startswith(head):
        return Match.MORE
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        # UTF-16 is against RFC 6120 §11.6 but expat reads it: the stream must not escape by it.
        head = head.decode("utf-16", "ignore").encode("utf-8", "ignore")
    body = head.removeprefix(xml.BOM)
    more = Match.MORE if len(head) < _PROBED else Match.NO
    while True:
        body = body.lstrip(xml.WHITE)
        if not body:
            return more
        for opening, closing in _PREAMBLES:
            if body.startswith(opening):
                end = body.find(closing)
                if end < 0:
                    return more
                body = body[end + len(closing):]
                break
            if opening.startswith(body):
                return more
        else:
            break
    if body[:1] != b"<":
        return Match.NO
    size = next((i for i in range(1, min(len(body), 256)) if body[i] in b" \t\r\n/>"), 0)
    name = body[1:size] if size else body[1:]
    local = name.rpartition(b":")[2]
    if not size:
        return more if len(name) < 64 and (b":" not in name or b"stream".startswith(local)) else Match.NO
    if local == b"stream":
        end = xml.close_of(body, 0)
        if end < 0:
            if len(head) < _PROBED:
                return Match.MORE
            return Match.STRONG if STREAMS.encode() in body else Match.NO
        try:
            header = xml.read_header(body[:end])
        except XmlFault:
            return Match.STRONG if STREAMS.encode() in body[:end] else Match.NO
        return Match.STRONG if header.name == STREAM else Match.NO
    if name in (b"message", b"presence", b"iq"):
        tag = body[:body.find(b">")] if b">" in body else body[:512]
        return Match.WEAK if any(word in tag for word in (b" to=", b" from=", b" type=", b" id=")) else Match.NO
    return Match.NO
