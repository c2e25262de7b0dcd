"""Files in text: mail (RFC 5322, RFC 2045-2047) and RTF (objects in hexadecimal, RTF 1.9.1 "Objects").

Mail is cut at its boundaries, by lines, without a tree: each part that has a body is a member, its transfer encoding
undone. Uuencoded files in a text are read too.

Not decoded: S/MIME and OpenPGP (told as encrypted), yEnc, charsets.
"""

from __future__ import annotations

import binascii
import quopri

from inspector.scan import linear
from inspector.scan.archives import Box
from inspector.scan.content import Content

_MOST = 64 * 1024 * 1024
_HEAD = 64 * 1024
_PARTS = 1000
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_TEMPLATE = b"\\*\\template"
_OBJECT_BYTES = 16 * 1024 * 1024
_ENCODED_WORD = linear.pattern(rb"=\?([A-Za-z0-9_\-]{1,40})\?([BbQq])\?([^?]{0,400})\?=")
_NO_DIGITS = linear.pattern(rb"\\[A-Za-z]+-?[0-9]* ?|\\'[0-9A-Fa-f]{2}|\\|[^0-9A-Fa-f\\]+")
"""What may stand between the digits of an object: control words, escapes, anything else."""
_CHARSETS = {
    b"utf-8": "utf-8", b"us-ascii": "utf-8", b"iso-8859-1": "latin-1", b"windows-1252": "cp1252", b"utf-7": "utf-7",
    b"utf-16": "utf-16", b"utf-16le": "utf-16-le", b"utf-16be": "utf-16-be",
}
"""Charsets of names that are told apart; of others the ASCII, which is what an ending is made of."""
_LINES = 2000
_PADDINGS = 10_000
"""Places with padding behind which base64 is begun anew."""
_TEMPLATES = 64
_SPELLINGS = 8
_SEMICOLON = linear.pattern(rb';(?:[^";]|"(?:[^"\\]|\\.)*")*')
_BEGIN = (b"begin ", b"begin-base64 ")
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_OTHERS = bytes(set(range(256)) - set(_LETTERS))


def open_mail(content: Content, box: Box) -> None:
    """The parts of a mail."""
    data = content.read(0, _MOST)
    if content.size > _MOST:
        box.tell("budget", "high", f"only the first {_MOST} bytes of the mail are opened")
    at = len(data) - len(data.lstrip(b"\xef\xbb\xbf \t\r\n"))
    parts = 0
    boundaries: set[bytes] = set()
    end = _part(data, at, box, boundaries, parts)
    while end < len(data):
        line = data.find(b"\n--", end)
        if line < 0:
            break
        stop = data.find(b"\n", line + 1)
        stop = len(data) if stop < 0 else stop
        mark = data[line + 3:stop].strip()
        end = stop
        if mark in boundaries:
            parts += 1
            if parts > _PARTS:
                box.tell("too_many", "high", f"more than {_PARTS} parts in a mail")
                break
            end = _part(data, stop + 1, box, boundaries, parts)


def _part(data: bytes, at: int, box: Box, boundaries: set[bytes], number: int) -> int:
    """One part from its header on; returns where the next boundary is looked for.

    Of a field that stands there twice readers take the first or the last: so all count.
    """
    head_end, body = _blank(data, at)
    if body == at and at + _HEAD < len(data):
        box.tell("damaged", "low", "a header of the mail without an end")
    fields = _fields(data[at:min(head_end, at + _HEAD)])
    kinds = fields.get(b"content-type", [b"text/plain"])
    lowered = [kind.lower().lstrip() for kind in kinds]
    for kind in kinds:
        boundaries.update(filter(None, _parameters(kind, b"boundary")))
    if any(kind.startswith((b"application/pkcs7-mime", b"application/x-pkcs7-mime", b"multipart/encrypted"))
           for kind in lowered):
        box.encrypted("the mail")
    if all(kind.startswith(b"multipart/") for kind in lowered):
        return max(at, body - 1)
    end = _end(data, body, boundaries)
    raw = data[body:end]
    encoding = b" ".join(fields.get(b"content-transfer-encoding", [])).lower()
    said = [name for field in fields.get(b"content-disposition", []) for name in _parameters(field, b"filename")]
    said += [name for kind in kinds for name in _parameters(kind, b"name")]
    names = list(dict.fromkeys(_decoded_name(name) for name in said if name))
    forms = []
    if b"base64" in encoding:
        forms += _base64(raw)
    if b"quoted-printable" in encoding:
        forms.append(quopri.decodestring(raw))
    if not forms or any(word in encoding for word in (b"7bit", b"8bit", b"binary", b"uu")):
        forms.append(raw)
        _uuencoded(raw, box)
    forms = [form for form in forms if form.strip()]
    for name in names[1:]:
        box.name_only(name)
    named = names[0] if names else f"part {number}.eml" if any(k.startswith(b"message/") for k in lowered) else ""
    for form in forms:
        box.member(named or f"part {number}", [form], max(1, end - body), named=bool(names))
    return max(at, end - 1)


def _blank(data: bytes, at: int) -> tuple[int, int]:
    """Where the header ends and the body begins; a header without an end is none."""
    best = (at, at) if at + _HEAD < len(data) else (len(data), len(data))
    most = min(len(data), at + _HEAD)
    for mark in (b"\r\n\r\n", b"\n\n"):
        here = data.find(mark, at, most)
        if here >= 0:
            best, most = (here, here + len(mark)), here
    if data[at:at + 1] == b"\n" or data[at:at + 2] == b"\r\n":
        return at, at + (1 if data[at:at + 1] == b"\n" else 2)
    return best


def _end(data: bytes, body: int, boundaries: set[bytes]) -> int:
    """Where a part's body ends: at the next line that is one of the boundaries."""
    at = body - 1
    while boundaries:
        at = data.find(b"\n--", max(at, 0))
        if at < 0:
            break
        stop = data.find(b"\n", at + 1)
        mark = data[at + 3:len(data) if stop < 0 else stop].strip()
        if mark in boundaries or mark.removesuffix(b"--") in boundaries:
            return max(body, at)
        at += 3
    return len(data)


def _fields(head: bytes) -> dict[bytes, list[bytes]]:
    """Header fields, unfolded, by small names, in their order."""
    fields: dict[bytes, list[bytes]] = {}
    last: list[bytes] | None = None
    for line in head.strip(b"\r\n").replace(b"\r\n", b"\n").split(b"\n")[:_LINES]:
        if line[:1] in (b" ", b"\t") and last is not None:
            last[-1] += b" " + line.strip()
        else:
            name, colon, value = line.partition(b":")
            last = fields.setdefault(name.strip().lower(), []) if colon else None
            if last is not None:
                last.append(value.strip())
    return fields


def _parameters(field: bytes, name: bytes) -> list[bytes]:
    """The values of a parameter of a header field in each way that readers find them: as it stands, each time; the
    pieces of RFC 2231 joined in their order; and cut at each semicolon, as those do who know no quotes."""
    found: list[bytes] = []
    pieces: dict[int, bytes] = {}
    for part in (*_SEMICOLON.findall(field), *field.split(b";")[1:]):
        key, mark, value = part.lstrip(b";").partition(b"=")
        key, value = key.strip().lower(), value.strip().strip(b'"').replace(b"\\", b"")
        if not mark:
            continue
        if key == name:
            found.append(value)
        elif key.startswith(name + b"*"):
            place = key[len(name) + 1:].rstrip(b"*")
            if key.endswith(b"*") and value.count(b"'") >= 2 and place in (b"", b"0"):
                value = value.split(b"'", 2)[2]
            if not place:
                found.append(value)
            elif place.isdigit() and len(place) < 4:
                pieces.setdefault(int(place), value)
    if pieces:
        found.append(b"".join(pieces[number] for number in sorted(pieces)))
    return list(dict.fromkeys(found))[:_SPELLINGS]


def _decoded_name(raw: bytes) -> str:
    """A file name with its encoded words (RFC 2047) and percent escapes (RFC 2231) undone."""
    out = ""
    at = 0
    for match in _ENCODED_WORD.finditer(raw):
        between = raw[at:match.start()]
        out += between.decode("utf-8", "replace") if between.strip() else ""
        body = match.group(3)
        try:
            data = binascii.a2b_base64(body) if match.group(2) in b"Bb" else quopri.decodestring(body, header=True)
        except binascii.Error:
            data = body
        out += data.decode(_CHARSETS.get(match.group(1).lower(), "utf-8"), "replace")
        at = match.end()
    rest = raw[at:]
    if b"%" in rest:
        first, *pieces = rest.split(b"%")
        for piece in pieces:
            try:
                first += binascii.unhexlify(piece[:2]) + piece[2:]
            except binascii.Error:
                first += b"%" + piece
        rest = first
    return out + rest.decode("utf-8", "replace")


def _base64(raw: bytes) -> list[bytes]:
    """Base64 as readers take it: what is no letter of it is skipped, an end in mid-group is cut. Where padding stands
    in the middle, some go on behind it and some begin anew: both."""
    clean = raw.translate(None, _OTHERS)
    forms = [_unlettered(clean)]
    first, *pieces = raw.split(b"=", _PADDINGS)
    pieces = [piece for piece in (one.translate(None, _OTHERS) for one in pieces) if piece]
    if pieces:
        forms.append(b"".join(map(_unlettered, (first.translate(None, _OTHERS), *pieces))))
    return forms


def _unlettered(clean: bytes) -> bytes:
    return binascii.a2b_base64(clean[:len(clean) // 4 * 4] + _tail(clean))


def _tail(clean: bytes) -> bytes:
    rest = clean[len(clean) // 4 * 4:]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _uuencoded(raw: bytes, box: Box) -> None:
    """Files in a text between "begin MODE NAME" and "end"."""
    at = 0 if raw.startswith(_BEGIN) else _next_begin(raw, 0)
    while at >= 0:
        stop = raw.find(b"\n", at, at + 1024)
        words = raw[at:max(stop, at)].strip().split(b" ", 2)
        if len(words) == 3 and words[1].isdigit():
            close = raw.find(b"\nend", stop)
            close = len(raw) if close < 0 else close
            out = bytearray()
            if words[0] == b"begin-base64":
                close = len(raw) if (end := raw.find(b"\n====", stop)) < 0 else end
                out += _base64(raw[stop + 1:close])[0]
            for line in raw[stop + 1:close].split(b"\n") if not out else ():
                try:
                    out += binascii.a2b_uu(line.rstrip(b"\r"))
                except binascii.Error:
                    break
            if out:
                box.member(words[2].decode("utf-8", "replace"), [bytes(out)], len(out))
            stop = close
        at = _next_begin(raw, max(stop, at))


def _next_begin(raw: bytes, at: int) -> int:
    found = [place + 1 for mark in _BEGIN if (place := raw.find(b"\n" + mark, at)) >= 0]
    return min(found, default=-1)


def open_uu(content: Content, box: Box) -> None:
    """A text that is nothing but uuencoded files, or one of base64 (POSIX uuencode)."""
    data = content.read(0, _MOST)
    if content.size > _MOST:
        box.tell("budget", "high", f"only the first {_MOST} bytes of the text are opened")
    _uuencoded(data.lstrip(), box)


def open_rtf(content: Content, box: Box) -> None:
    """Objects in an RTF: hexadecimal digits behind \\objdata, whatever is between them; templates from elsewhere."""
    data = content.read(0, _MOST)
    if content.size > _MOST:
        box.tell("budget", "high", f"only the first {_MOST} bytes of the RTF are opened")
    place = data.find(_TEMPLATE)
    for _ in range(_TEMPLATES):
        if place < 0:
            break
        target = data[place + len(_TEMPLATE):place + len(_TEMPLATE) + 2048].partition(b"}")[0].strip()
        if b"://" in target or b"\\u" in target or b"\\'" in target or target.startswith(b"\\\\\\\\"):
            box.tell("external_link", "medium", target[:80].decode("utf-8", "replace"))
            break
        place = data.find(_TEMPLATE, place + 1)
    else:
        box.tell("too_many", "high", f"more than {_TEMPLATES} templates in the RTF")
    number = 0
    at = data.find(b"\\objdata")
    while at >= 0:
        begin = at + 8
        at = data.find(b"\\objdata", begin)
        # What follows the object gives digits too; they come behind its end and do no harm.
        stop = min(begin + _OBJECT_BYTES, at if at >= 0 else len(data))
        if stop - begin < 32:
            continue
        digits = _NO_DIGITS.sub(b"", data[begin:stop])
        digits = digits[: len(digits) // 2 * 2]
        box.spend(len(digits))
        if len(digits) < 32:
            continue
        number += 1
        raw = binascii.unhexlify(digits)
        box.tell("embedded_object", "medium", f"object {number} in the RTF")
        ole = raw.find(_OLE)
        if ole < 0:
            # A number directly behind the word is none of its content, and may be an odd one.
            other = binascii.unhexlify(digits[1:-1])
            if (ole := other.find(_OLE)) >= 0:
                raw = other
        box.member(f"object {number}", [raw[ole:] if ole >= 0 else raw], len(digits), named=False)
