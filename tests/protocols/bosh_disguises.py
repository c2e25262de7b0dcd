"""BOSH for tests, by a writer and a reader of their own (XEP-0124, XEP-0206), and how a text can be disguised in it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import quoteattr, unescape

from inspector.model import DOWN, UP, Way
from inspector.wire.xml import CLOSE, HEADER, STREAMS, Splitter
from tests.evasion.ways import Disguise, Said
from tests.protocols import xmpp_disguises

HTTPBIND = "http://jabber.org/protocol/httpbind"
SPACES = re.compile(rb"xmlns:\w+=(?:'[^']*'|\"[^\"]*\")")
PREFLIGHT = (
    b"OPTIONS /http-bind HTTP/1.1\r\nHost: chat.example.com\r\nOrigin: https://page.example\r\n"
    b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
)
ALLOWED = (
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def chunked(body: bytes, size: int = 7) -> bytes:
    """A body in chunks of `size` bytes."""
    out = b""
    for at in range(0, len(body), size):
        piece = body[at:at + size]
        out += b"%x\r\n" % len(piece) + piece + b"\r\n"
    return out + b"0\r\n\r\n"


def message(first: bytes, body: bytes, more: Iterable[bytes] = (), *, chunks: int = 0) -> bytes:
    """An HTTP message. `chunks`: of so many bytes; 0: with a length."""
    lines = [first, *more, b"Content-Type: text/xml; charset=utf-8"]
    lines.append(b"Transfer-Encoding: chunked" if chunks else b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (chunked(body, chunks) if chunks else body)


def tag(attributes: dict[str, object], inside: bytes = b"", more: bytes = b"") -> bytes:
    """A `<body>`."""
    said = "".join(f" {name}={quoteattr(str(value))}" for name, value in attributes.items())
    return f"<body{said} xmlns='{HTTPBIND}'".encode() + more + (b">" + inside + b"</body>" if inside else b"/>")


def post(rid: int, inside: bytes = b"", *, sid: str | None = "s1", chunks: int = 0, more: bytes = b"",
         head: Iterable[bytes] = (), **attributes: object) -> bytes:
    """A request."""
    named = {"rid": rid, **({"sid": sid} if sid is not None else {}), **attributes}
    return message(b"POST /http-bind HTTP/1.1", tag(named, inside, more), (b"Host: chat.example.com", *head),
                   chunks=chunks)


def answer(inside: bytes = b"", *, chunks: int = 0, status: bytes = b"200 OK", more: bytes = b"",
           **attributes: object) -> bytes:
    """A response."""
    return message(b"HTTP/1.1 " + status, tag(attributes, inside, more), chunks=chunks)


def create(rid: int, *, to: str = "example.com", **more: object) -> bytes:
    """The request that begins a session."""
    return message(b"POST /http-bind HTTP/1.1", tag(
        {"rid": rid, "to": to, "wait": 60, "hold": 1, "ver": "1.6", **more}, b"",
        b" xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'"), (b"Host: chat.example.com",))


def created(sid: str = "s1", inside: bytes = b"", **more: object) -> bytes:
    """Its answer."""
    return message(b"HTTP/1.1 200 OK", tag(
        {"sid": sid, "wait": 60, "requests": 2, "inactivity": 60, "from": "example.com", **more}, inside,
        f" xmlns:stream='{STREAMS}'".encode()))


def restart(rid: int, sid: str = "s1") -> bytes:
    """The request after a login."""
    return post(rid, sid=sid, more=b" xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true'", to="example.com")


def bound(said: Said, *, sid: str = "s1", rid: int = 1000, chunks: int = 0, poll: bool = False) -> Said:
    """A conversation in streams as one over BOSH on one connection: a request for each unit that goes up, answered
    with all that comes down before the next. `poll`: it ends with a request that waits for its answer."""
    splits = {way: Splitter(1 << 20, 64) for way in (UP, DOWN)}
    prefixes = {UP: b"", DOWN: b""}
    units: list[tuple[Way, str, bytes]] = []
    for way, data in said:
        splits[way].push(data)
        while (unit := splits[way].take()) is not None:
            what, raw = unit
            if what == HEADER:
                prefixes[way] = b"".join(b" " + each for each in SPACES.findall(raw))
            if raw.strip():
                units.append((way, what, raw))
    out: Said = []
    begun = asked = False
    waiting: list[bytes] = []
    first = True

    def answered() -> None:
        nonlocal asked, begun, first
        inside = b"".join(waiting)
        waiting.clear()
        if first:
            out.append((DOWN, created(sid, inside)))
            first = False
        else:
            out.append((DOWN, answer(inside, more=prefixes[DOWN], chunks=chunks)))
        asked = False

    for way, what, raw in units:
        if way is DOWN:
            if what not in (HEADER, CLOSE):
                waiting.append(_declared(raw))
            if not asked and waiting:
                out.append((UP, post(rid, sid=sid, more=prefixes[UP])))
                rid, asked = rid + 1, True
            continue
        if asked:
            answered()
        if what == HEADER:
            out.append((UP, restart(rid, sid) if begun else create(rid)))
            begun = True
        elif what == CLOSE:
            out.append((UP, post(rid, sid=sid, type="terminate")))
        else:
            out.append((UP, post(rid, _declared(raw), sid=sid, chunks=chunks, more=prefixes[UP])))
        rid, asked = rid + 1, True
    if asked:
        answered()
    if poll:
        out.append((UP, post(rid, sid=sid)))
    return out


def _declared(raw: bytes) -> bytes:
    """The unit with the namespace of its stream, where it says none."""
    match = re.match(rb"<([^\s/>]+)", raw)
    assert match is not None
    if b":" in match[1] or re.search(rb"\sxmlns\s*=", raw[:raw.index(b">")]):
        return raw
    return raw[:match.end()] + b" xmlns='jabber:client'" + raw[match.end():]


# -- the reader


def bodies(data: bytes) -> list[bytes]:
    """The bodies of the HTTP messages that came, whole ones, chunks put together."""
    found: list[bytes] = []
    while b"\r\n\r\n" in data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        if re.search(rb"(?i)\ntransfer-encoding: *chunked", head):
            body = b""
            while True:
                line, _, data = data.partition(b"\r\n")
                if not line or not int(line, 16):
                    data = data[2:]
                    break
                body += data[:int(line, 16)]
                data = data[int(line, 16) + 2:]
        else:
            size = int(length[1]) if length else 0
            body, data = data[:size], data[size:]
        found.append(body)
    return found


def inside(body: bytes) -> bytes:
    """What stands in a `<body>`."""
    start = body.find(b"<body")
    opens = re.compile(rb"<[^\s/>]*body(?:[^'\">]|'[^']*'|\"[^\"]*\")*>").search(body)
    if opens is None or body[opens.end() - 2:opens.end()] == b"/>":
        return b"" if start >= 0 or opens else body
    return body[opens.end():body.rfind(b"</")]


def read(data: bytes) -> list[str]:
    """What a client would show of the bodies that came; of others it shows the words."""
    shown: list[str] = []
    for body in bodies(data):
        said = inside(body)
        try:
            shown += xmpp_disguises.read(said)
        except ParseError:
            shown.append(unescape(said.decode("utf-8", "replace")))
        if b"httpbind" not in body:
            shown.append(unescape(body.decode("utf-8", "replace")))
    return shown


# -- disguises

_NUMBER = itertools.count()
_RID = re.compile(rb"rid=\"\d+\"")
_MORE = xmpp_disguises.MORE.encode()
Wrap = Callable[[Way, bytes, int, str], Said | None]
"""(way, stanza, number, sid) -> the units that carry it."""


def _one(way: Way, stanza: bytes, rid: int, sid: str) -> Said:
    said = _declared(stanza)
    return [(way, post(rid, said, sid=sid, more=_MORE) if way is UP else answer(said, more=_MORE))]


def _chunks(way: Way, stanza: bytes, rid: int, sid: str) -> Said:
    said = _declared(stanza)
    return [(way, post(rid, said, sid=sid, chunks=3, more=_MORE) if way is UP else answer(said, chunks=3, more=_MORE))]


def _inherited(way: Way, stanza: bytes, rid: int, sid: str) -> Said:
    """The stanza, and all in it, inherit the namespace of the body."""
    return [(way, post(rid, stanza, sid=sid) if way is UP else answer(stanza))]


def _prefixed(way: Way, stanza: bytes, rid: int, sid: str) -> Said:
    """The body has a prefix, and the default namespace is the stanzas'."""
    named = f" rid=\"{rid}\" sid='{sid}'" if way is UP else ""
    text = f"<h:body{named} xmlns:h='{HTTPBIND}' xmlns='jabber:client'>".encode() + stanza + b"</h:body>"
    first = b"POST /http-bind HTTP/1.1" if way is UP else b"HTTP/1.1 200 OK"
    return [(way, message(first, text, (b"Host: chat.example.com",) if way is UP else ()))]


def _references(way: Way, stanza: bytes, rid: int, sid: str) -> Said:
    """The namespace of the body is written in references, behind a declaration."""
    named = f" rid=\"{rid}\" sid='{sid}'" if way is UP else ""
    space = HTTPBIND.replace("b", "&#x62;").replace("j", "&#106;")
    text = f"<?xml version='1.0'?>\n<body{named}\n\txmlns = \"{space}\" >".encode() + _declared(stanza) + b"</body >\n"
    first = b"POST /http-bind HTTP/1.1" if way is UP else b"HTTP/1.1 200 OK"
    return [(way, message(first, text, (b"Host: chat.example.com",) if way is UP else ()))]


def _among_others(way: Way, stanza: bytes, rid: int, sid: str) -> Said:
    """In a body with others in front of it and behind it."""
    other = b"<presence xmlns='jabber:client'><priority>1</priority></presence>"
    said = other + _declared(stanza) + other
    return [(way, post(rid, said, sid=sid) if way is UP else answer(said))]


def _terminating(way: Way, stanza: bytes, rid: int, sid: str) -> Said:
    """In the last body of the session."""
    said = _declared(stanza)
    return [(way, post(rid, said, sid=sid, type="terminate") if way is UP else answer(said, type="terminate"))]


def _not_ok(way: Way, stanza: bytes, _rid: int, _sid: str) -> Said | None:
    """In a response that is an error of HTTP."""
    return None if way is UP else [(way, answer(_declared(stanza), status=b"404 Not Found"))]


_WRAPS: dict[str, Wrap] = {
    "in chunks": _chunks, "inherited namespace": _inherited, "prefixed body": _prefixed,
    "references in the namespace": _references, "among other stanzas": _among_others, "last words": _terminating,
    "error of HTTP": _not_ok,
}


def _disguise(plain: Disguise, wrap: Wrap) -> Disguise:
    """A disguise of XMPP, in a body."""
    way, sid, rid = plain.way, f"d{next(_NUMBER)}", 1000
    before = bound(plain.before, sid=sid, rid=rid, poll=way is DOWN)
    used = sum(side is UP for side, _ in before)

    def say(text: str) -> Said | None:
        said = plain.say(text)
        if said is None or len(said) != 1:
            return None
        return wrap(way, said[0][1], rid + used, sid)

    def harmless(number: int) -> bytes:
        assert plain.harmless is not None
        return post(rid + used, _declared(plain.harmless(number)), sid=sid)

    def mend(said: Said) -> Said:
        return [(side, _RID.sub(b"rid=\"%d\"" % (rid + used + n), data, count=1))
                for n, (side, data) in enumerate(said)]

    return dataclasses.replace(
        plain, say=say, read=read, before=before, harmless=harmless if way is UP and plain.harmless else None,
        mend=mend if way is UP else None)


def _plain(way: Way) -> Disguise:
    return xmpp_disguises.DISGUISES["body, up" if way is UP else "body, down"]


DISGUISES: dict[str, Disguise] = {
    **{name: _disguise(each, _one) for name, each in xmpp_disguises.DISGUISES.items()
       if name.startswith(("body", "XHTML only", "CDATA", "room", "status", "namespace prefix", "references"))},
    **{f"{name}, {side}": _disguise(_plain(way), wrap) for name, wrap in _WRAPS.items()
       for way, side in ((UP, "up"), (DOWN, "down")) if wrap(way, b"<a/>", 1, "s") is not None},
}
