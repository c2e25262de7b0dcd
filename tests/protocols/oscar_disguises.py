"""How a text can be disguised in OSCAR: charsets, fragments, HTML, channels, rooms, old ICQ messages."""

from __future__ import annotations

import html
import struct
from collections.abc import Callable

from inspector.model import DOWN, UP, Way
from inspector.wire.tlv import pack
from tests.evasion.reading import decoded, generous, renderings
from tests.evasion.ways import Disguise, Said

Item = tuple[Way, int, bytes]
COOKIE = b"1234567\0"
HELLO = b"\0\0\0\1"
_GUIDS = {name: bytes.fromhex(f"0946{name}4c7f11d18222444553540000") for name in ("1343", "1345", "1349")}
_CHAT = bytes.fromhex("748f2420628711d18222444553540000")
_CHARSETS = {2: "utf-16-be", 3: "cp1252", 0x0D: "utf-8"}


def _u16(number: int) -> bytes:
    return struct.pack(">H", number)


def _s8(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _snac(family: int, sub: int, body: bytes = b"", request: int = 1) -> bytes:
    return struct.pack(">HHHI", family, sub, 0, request) + body


def _info(name: bytes, *tlvs: bytes) -> bytes:
    return _s8(name) + struct.pack(">HH", 0, len(tlvs)) + b"".join(tlvs)


def _fragment(text: bytes, charset: int = 0) -> bytes:
    return struct.pack(">BBHHH", 1, 1, len(text) + 4, charset, 0) + text


def _block(*fragments: bytes) -> bytes:
    return pack(2, b"\x05\x01\0\x01\x01" + b"".join(fragments))


def numbered(items: list[Item], ups: int = 0, downs: int = 0) -> Said:
    counts = {UP: ups, DOWN: downs}
    said: Said = []
    for way, channel, payload in items:
        said.append((way, struct.pack(">BBHH", 0x2A, channel, counts[way] & 0xFFFF, len(payload)) + payload))
        counts[way] += 1
    return said


_TICKET = pack(6, b"\xc0\xff\xee" * 20)
_AIM: list[Item] = [
    (DOWN, 1, HELLO), (UP, 1, HELLO + _TICKET),
    (DOWN, 2, _snac(1, 0x0F, _info(b"Alice Adams", pack(1, _u16(0x10))), 0)), (UP, 2, _snac(1, 2)),
]
_ICQ: list[Item] = [
    (DOWN, 1, HELLO), (UP, 1, HELLO + pack(1, b"123456") + pack(2, b"\x86\x54\xe2\xb5") + pack(3, b"ICQ Inc.")),
    (DOWN, 2, _snac(1, 0x0F, _info(b"123456", pack(1, _u16(0x50))), 0)), (UP, 2, _snac(1, 2)),
]
_ROOM: list[Item] = [
    *_AIM[:2], (UP, 2, _snac(1, 2)),
    (DOWN, 2, _snac(0x0E, 2, _u16(4) + _s8(b"!aol://2719:10-4-garden") + _u16(0) + b"\2" + _u16(0))),
    (DOWN, 2, _snac(0x0E, 3, _info(b"alice", pack(1, _u16(0x10))) + _info(b"bob", pack(1, _u16(0x10))))),
]


# -- the reader


def _payloads(data: bytes) -> list[bytes]:
    found = []
    while len(data) >= 6 and data[0] == 0x2A:
        size = int.from_bytes(data[4:6])
        found.append(data[6:6 + size])
        data = data[6 + size:]
    return found


def _joined(payload: bytes) -> list[str]:
    """Texts of fragments that follow one another."""
    found: list[str] = []
    run = ""
    at = 0
    while at < len(payload):
        size = int.from_bytes(payload[at + 2:at + 4])
        if payload[at:at + 2] == b"\1\1" and 4 <= size <= len(payload) - at - 4:
            text = payload[at + 8:at + 4 + size]
            codec = _CHARSETS.get(int.from_bytes(payload[at + 4:at + 6]))
            run += text.decode(codec, "ignore") if codec else decoded(text)[0]
            at += 4 + size
        else:
            if run:
                found.append(run)
            run = ""
            at += 1
    return [*found, run]


def _rtf(text: str) -> str:
    """The words of RTF as a client shows them: groups and control words left out, escapes undone."""
    out = []
    at = 0
    while at < len(text):
        if text[at] in "{}\r\n":
            at += 1
        elif text.startswith("\\'", at):
            out.append(bytes((int(text[at + 2:at + 4], 16),)).decode("cp1252"))
            at += 4
        elif text[at] == "\\":
            end = at + 1
            while end < len(text) and text[end].isalpha():
                end += 1
            word, start = text[at + 1:end], end
            while end < len(text) and (text[end].isdigit() or text[end] == "-"):
                end += 1
            if word == "u":
                out.append(chr(int(text[start:end]) & 0xFFFF))
                end += text[end:end + 1] == "?"
            at = end + (text[end:end + 1] == " ")
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def read(data: bytes) -> list[str]:
    """What any client might show of each frame, and of its fragments together."""
    shown: list[str] = []
    for payload in _payloads(data):
        shown += generous(payload)
        shown += [form for text in _joined(payload) for form in renderings(text)]
        at = payload.find(b"{\\rtf")
        if at >= 0:
            shown.append(_rtf(payload[at:payload.rfind(b"}") + 1].decode("latin-1")))
    return shown


# -- the writer

Fragments = Callable[[str], tuple[bytes, ...] | None]


def _coded(codec: str, charset: int, change: Callable[[str], str] = str) -> Fragments:
    def made(text: str) -> tuple[bytes, ...] | None:
        try:
            return (_fragment(change(text).encode(codec), charset),)
        except UnicodeEncodeError:
            return None

    return made


def _html(change: Callable[[str], str]) -> Fragments:
    return _coded("utf-8", 0x0D, lambda text: f"<HTML><BODY>{change(text)}</BODY></HTML>")


def _tagged(tag: str) -> Callable[[str], str]:
    return lambda text: "".join(f"{html.escape(char)}{tag}" for char in text)


def _mixed(text: str) -> tuple[bytes, ...]:
    """Fragments of five characters, each in another charset."""
    found = []
    for number, at in enumerate(range(0, len(text), 5)):
        piece = text[at:at + 5]
        charset = (0x0D, 2)[number % 2]
        found.append(_fragment(piece.encode(_CHARSETS[charset]), charset))
    return tuple(found)


def _im(way: Way, fragments: tuple[bytes, ...], more: bytes = b"", name: bytes = b"bob") -> bytes:
    if way is UP:
        return _snac(4, 6, COOKIE + _u16(1) + _s8(name) + _block(*fragments) + (more or b"\0\3\0\0"), 0x56)
    who = _info(name, pack(1, _u16(0x10)), pack(3, b"\x55\x86\xc0\0"))
    return _snac(4, 7, COOKIE + _u16(1) + who + _block(*fragments) + more, 0x80001234)


def _bytes(text: str) -> bytes:
    return html.escape(text).encode()


_TEXTS: dict[str, Fragments] = {
    "ASCII": _coded("ascii", 0),
    "UTF-8": _coded("utf-8", 0x0D),
    "UTF-16": _coded("utf-16-be", 2),
    "Latin-1": _coded("latin-1", 3),
    "UTF-8 labelled as ASCII": _coded("utf-8", 0),
    "CP1252 labelled as ASCII": _coded("cp1252", 0, lambda text: "“café” " + text),
    "UTF-16 labelled as ASCII": _coded("utf-16-be", 0),
    "UTF-16, little end first": _coded("utf-16-le", 2),
    "UTF-16 with a byte order mark": _coded("utf-16", 2),
    "ASCII labelled as UTF-16": lambda text: (
        (_fragment(text.encode().ljust((len(text) + 1) // 2 * 2), 2),) if text.isascii() else None),
    "an unknown charset": _coded("utf-8", 0x4444),
    "NUL between the letters": _coded("ascii", 0, lambda text: "\0".join(text)),
    "two fragments": lambda text: (_fragment(text[:9].encode(), 0), _fragment(text[9:].encode(), 0)),
    "a fragment each letter": lambda text: tuple(_fragment(char.encode(), 0x0D) for char in text),
    "fragments in other charsets": _mixed,
    "empty fragments between": lambda text: tuple(
        piece for char in text for piece in (_fragment(char.encode("utf-16-be"), 2), _fragment(b"", 0))),
    "behind five thousand letters": _coded("utf-8", 0x0D, lambda text: "la la " * 850 + text),
    "HTML": _html(html.escape),
    "HTML in small letters without an end": _coded("utf-8", 0, lambda text: "<html><font size=3>" + html.escape(text)),
    "HTML references, decimal": _html(lambda text: "".join(f"&#{ord(char)};" for char in text)),
    "HTML references, hexadecimal": _html(lambda text: "".join(f"&#x{ord(char):x};" for char in text)),
    "HTML references without semicolon": _html(lambda text: "".join(f"&#{ord(char)}<B></B>" for char in text)),
    "HTML, bold tags inside the words": _html(_tagged("<B></B>")),
    "HTML, fonts inside the words": _html(_tagged('<FONT COLOR="#ff0000">')),
    "HTML, tags nobody knows inside the words": _html(_tagged("<x>")),
    "HTML, comments inside the words": _html(_tagged("<!-- - -->")),
    "HTML, comments with a sign inside the words": _html(_tagged("<!-- > -->")),
    "HTML, attributes with a sign": _html(_tagged('<b title=">">')),
    "HTML, broken tags": _html(_tagged("</>")),
    "HTML, line breaks as blanks": _html(lambda text: html.escape(text).replace(" ", "<BR>")),
    "HTML, blanks that do not break": _html(lambda text: html.escape(text).replace(" ", "&nbsp;")),
    "HTML, white space that is shown as one blank": _html(lambda text: html.escape(text).replace(" ", " \r\n\t ")),
    "HTML, invisible words between": _html(_tagged('<span style="display:none"></span>')),
    "HTML, fragments inside a tag": lambda text: (
        _fragment(b"<HTML><FONT ", 0), _fragment(b"COLOR=red>" + _bytes(text[:9]) + b"<B", 0),
        _fragment(b">" + _bytes(text[9:]), 0)),
    "HTML in UTF-16": _coded("utf-16-be", 2, lambda text: f"<HTML><B>{html.escape(text)}</B></HTML>"),
    "HTML, link": _html(lambda text: f'<A HREF="{html.escape(text)}">here</A>'),
    "HTML, link with references": _html(
        lambda text: '<A HREF="' + "".join(f"&#{ord(char)};" for char in text) + '">here</A>'),
    "HTML, link without quotes": _html(
        lambda text: f"<A HREF={html.escape(text)}>here</A>" if " " not in text else html.escape(text)),
}

Payload = Callable[[Way, str], bytes | None]


def _proposal(way: Way, service: bytes, *tlvs: bytes) -> bytes:
    inner = pack(5, _u16(0) + COOKIE + service + b"".join((pack(0x0A, _u16(1)), pack(0x0F, b""), *tlvs)))
    if way is UP:
        return _snac(4, 6, COOKIE + _u16(2) + _s8(b"bob") + b"\0\3\0\0" + inner, 0x77)
    return _snac(4, 7, COOKIE + _u16(2) + _info(b"bob", pack(1, _u16(0x10))) + inner, 0x80001235)


def _relay(text: bytes, kind: int = 1, guid: bytes = b"", plugin: bytes = bytes(16)) -> bytes:
    head = struct.pack("<HH", 0x1B, 8) + plugin + bytes(9) + struct.pack("<H", 0x0E) + bytes(14)
    head += struct.pack("<BBHHH", kind, 0, 0, 1, len(text) + 1) + text + b"\0"
    if kind == 1:
        head += struct.pack("<II", 0, 0xFFFFFF)
    return head + (struct.pack("<I", len(guid)) + guid if guid else b"")


def _old(way: Way, text: bytes, kind: int) -> bytes:
    inner = pack(5, struct.pack("<IBBH", 654321, kind, 0, len(text) + 1) + text + b"\0")
    if way is UP:
        return _snac(4, 6, COOKIE + _u16(4) + _s8(b"654321") + inner, 0x60)
    return _snac(4, 7, COOKIE + _u16(4) + _info(b"654321", pack(1, _u16(0x50))) + inner, 0x60)


def _icq(type_: int, body: bytes) -> bytes:
    inner = struct.pack("<IHH", 123456, type_, 2) + body
    return pack(1, struct.pack("<H", len(inner)) + inner)


def _words_in_room(way: Way, text: bytes, charset: bytes) -> bytes:
    words = pack(5, pack(2, charset) + pack(3, b"en") + pack(1, text))
    sender = pack(3, _info(b"bob", pack(1, _u16(0x10)))) if way is DOWN else b""
    return _snac(0x0E, 5 if way is UP else 6, COOKIE + _u16(3) + sender + pack(1, b"") + pack(6, b"") + words, 7)


_UTF8 = b"{0946134E-4C7F-11D1-8222-444553540000}"
_RTF = b"{97B12751-243C-4334-AD22-D6ABF73F1492}"


def _rtf_escaped(text: str) -> bytes:
    return ("{\\rtf1\\ansi " + "".join(f"\\'{ord(c):02x}" if ord(c) < 128 else f"\\u{ord(c)}?" for c in text)
            + "}").encode()


def _rtf_grouped(text: str) -> bytes | None:
    if not text.isascii():
        return None
    return ("{\\rtf1\\ansi\\deff0{\\fonttbl{\\f0 Arial;}}\\pard " + "".join(
        f"{{\\b {c}}}" if c != "\n" else "\\par " for c in text) + "}").encode()


_OTHERS: dict[str, tuple[list[Item], Payload]] = {
    "automatic answer": (_AIM, lambda way, text: _im(way, (_fragment(_bytes(text)),), b"\0\4\0\0")),
    "stored for somebody who is away": (_AIM, lambda way, text: _im(
        way, (_fragment(_bytes(text)),), b"\0\6\0\0" if way is UP else pack(0x16, b"\x55\x86\xc0\0"))),
    "typing as it is written": (_AIM, lambda way, text: _im(
        way, (_fragment(b"hi"), _fragment(_bytes(text))), b"\0\x0b\0\0")),
    "old ICQ message": (_ICQ, lambda way, text: _old(way, text.encode(), 1)),
    "old ICQ link": (_ICQ, lambda way, text: _old(way, b"look\xfe" + text.encode(), 4)),
    "old ICQ authorization request": (_ICQ, lambda way, text: _old(
        way, b"rose\xfeRosa\xfeRed\xferosa@x.example\xfe1\xfe" + text.encode(), 6)),
    "old ICQ message added": (_ICQ, lambda way, text: _old(way, b"rose\xfeRosa\xfeRed\xfe" + text.encode(), 0x0C)),
    "old ICQ message of an unknown kind": (_ICQ, lambda way, text: _old(way, text.encode(), 0x77)),
    "ICQ message": (_ICQ, lambda way, text: _im(way, (_fragment(text.encode(), 0),), name=b"654321")),
    "ICQ message in Windows-1251": (_ICQ, lambda way, text: _im(
        way, (_fragment("привет ".encode("cp1251") + text.encode(), 3),), name=b"654321") if text.isascii() else None),
    "server relay": (_ICQ, lambda way, text: _proposal(way, _GUIDS["1349"], pack(0x2711, _relay(text.encode())))),
    "server relay, UTF-8": (_ICQ, lambda way, text: _proposal(
        way, _GUIDS["1349"], pack(0x2711, _relay(text.encode(), 1, _UTF8)))),
    "server relay, automatic answer": (_ICQ, lambda way, text: _proposal(
        way, _GUIDS["1349"], pack(0x2711, _relay(text.encode(), 0xE8)))),
    "server relay, RTF": (_ICQ, lambda way, text: _proposal(
        way, _GUIDS["1349"], pack(0x2711, _relay(b"{\\rtf1 " + text.encode() + b"}", 1, _RTF)))
        if text.isascii() and "\n" not in text and "\\" not in text else None),
    "server relay, RTF with escapes": (_ICQ, lambda way, text: _proposal(
        way, _GUIDS["1349"], pack(0x2711, _relay(_rtf_escaped(text), 1, _RTF)))),
    "server relay, RTF with groups": (_ICQ, lambda way, text: None if (said := _rtf_grouped(text)) is None
                                      else _proposal(way, _GUIDS["1349"], pack(0x2711, _relay(said, 1, _RTF)))),
    "answer to a message": (_ICQ, lambda way, text: _snac(
        4, 0x0B, COOKIE + _u16(2) + _s8(b"654321") + _u16(3) + _relay(text.encode(), 0xE8), 0x61)),
    "room": (_ROOM, lambda way, text: _words_in_room(way, b"<HTML>" + _bytes(text) + b"</HTML>", b"utf-8")),
    "room, UTF-16": (_ROOM, lambda way, text: _words_in_room(way, text.encode("utf-16-be"), b"unicode-2-0")),
    "invitation to a room": (_AIM, lambda way, text: _proposal(
        way, _CHAT, pack(0x0C, text.encode()), pack(0x0D, b"utf-8"),
        pack(0x2711, _u16(4) + _s8(b"!aol://2719:10-4-garden") + _u16(0)))),
    "description of an offered file": (_AIM, lambda way, text: _proposal(
        way, _GUIDS["1343"], pack(0x0C, text.encode()), pack(0x0D, b"utf-8"),
        pack(0x2711, struct.pack(">HHI", 1, 1, 900) + b"list.txt\0"))),
    "name of an offered file": (_AIM, lambda way, text: _proposal(
        way, _GUIDS["1343"], pack(0x2711, struct.pack(">HHI", 1, 1, 900) + text.encode() + b"\0"))),
    "proposal of a direct IM": (_AIM, lambda way, text: _proposal(way, _GUIDS["1345"], pack(0x0C, text.encode()))),
}
_UP: dict[str, tuple[list[Item], Payload]] = {
    "away text": (_AIM, lambda way, text: _snac(2, 4, pack(3, b'text/aolrtf; charset="us-ascii"') + pack(
        4, b"<HTML>" + _bytes(text)))),
    "away text, UTF-16": (_AIM, lambda way, text: _snac(2, 4, pack(3, b'text/aolrtf; charset="unicode-2-0"') + pack(
        4, text.encode("utf-16-be")))),
    "profile": (_AIM, lambda way, text: _snac(2, 4, pack(1, b'text/aolrtf; charset="utf-8"') + pack(2, _bytes(text)))),
    "status": (_AIM, lambda way, text: None if len(text.encode()) > 200 else _snac(1, 0x1E, pack(
        0x1D, _u16(2) + b"\4" + bytes((len(text.encode()) + 4,)) + _u16(len(text.encode())) + text.encode()
        + b"\0\0"))),
    "SMS": (_ICQ, lambda way, text: _snac(0x15, 2, _icq(0x7D0, _u16(0x8214) + b"\0\1\0\x16" + bytes(14) + (
        b"<icq_sms_message><destination>+15550100</destination><text>" + _bytes(text)
        + b"</text><encoding>utf8</encoding></icq_sms_message>")), 3)),
    "about me": (_ICQ, lambda way, text: _snac(0x15, 2, _icq(
        0x7D0, struct.pack("<HH", 0x406, len(text.encode()) + 1) + text.encode() + b"\0"), 5)),
    "request to a contact": (_AIM, lambda way, text: _snac(
        0x13, 0x18, _s8(b"dave") + _u16(len(text.encode())) + text.encode() + _u16(0), 11)),
    "note on a contact": (_AIM, lambda way, text: _snac(0x13, 8, _u16(4) + b"Dave" + struct.pack(">HHH", 1, 7, 0) + (
        _u16(len(pack(0x13C, text.encode()))) + pack(0x13C, text.encode())), 9)),
}
_DOWN: dict[str, tuple[list[Item], Payload]] = {
    "stored message": (_ICQ, lambda way, text: _snac(0x15, 3, _icq(
        0x41, struct.pack("<IHBBBBBBH", 654321, 2003, 5, 17, 9, 30, 1, 0, len(text.encode()) + 1) + text.encode()
        + b"\0"), 0x10002)),
    "away text": (_AIM, lambda way, text: _snac(2, 6, _info(b"bob", pack(1, _u16(0x10))) + pack(
        3, b'text/aolrtf; charset="utf-8"') + pack(4, _bytes(text)))),
    "refusal of a contact": (_AIM, lambda way, text: _snac(
        0x13, 0x1B, _s8(b"dave") + b"\0" + _u16(len(text.encode())) + text.encode())),
    "words of a server": (_AIM, lambda way, text: _snac(1, 0x13, _u16(5) + pack(0x0B, text.encode()))),
}


def _disguise(way: Way, before: list[Item], payload: Payload) -> Disguise:
    ups = sum(side is UP for side, *_ in before)
    downs = len(before) - ups

    def say(text: str) -> Said | None:
        said = payload(way, text)
        return None if said is None or len(said) > 8000 else numbered([(way, 2, said)], ups, downs)

    def harmless(number: int) -> bytes:
        if before is _ROOM:
            inner = _words_in_room(way, b"the tulips are out", b"utf-8")
        else:
            inner = _im(way, (_fragment(b"the tulips are out"),), name=b"bob" if before is _AIM else b"654321")
        return numbered([(way, 2, inner)])[0][1]

    def mend(said: Said) -> Said:
        counts = {UP: ups, DOWN: downs}
        out: Said = []
        for side, data in said:
            out.append((side, data[:2] + _u16(counts[side] & 0xFFFF) + data[4:]))
            counts[side] += 1
        return out

    return Disguise(way, say, read, numbered(before), harmless=harmless, mend=mend)


def _instant(fragments: Fragments) -> Payload:
    def payload(way: Way, text: str) -> bytes | None:
        made = fragments(text)
        return None if made is None else _im(way, made)

    return payload


DISGUISES: dict[str, Disguise] = {
    **{f"{name}, {side}": _disguise(way, _AIM, _instant(fragments))
       for way, side in ((UP, "up"), (DOWN, "down")) for name, fragments in _TEXTS.items()},
    **{f"{name}, up": _disguise(UP, *made) for name, made in {**_OTHERS, **_UP}.items()},
    **{f"{name}, down": _disguise(DOWN, *made) for name, made in {**_OTHERS, **_DOWN}.items()},
}
