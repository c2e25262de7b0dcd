"""Hosts, addresses and links: finding them in a text, and one spelling for each.

Sources: WHATWG URL Standard §3.5 (host parsing: percent-encoding, numbers as IPv4 addresses), §4.4 (backslashes and
surplus slashes), RFC 3986 §6.2 (normalisation), UTS 46 (internationalised names), RFC 5952 (IPv6).

A link's one spelling is host[:port]/path[?query]: http and https are one, since a link is written without it as well;
user information, fragment, default port and the dot at a name's end are left out; percent-encoded unreserved
characters are decoded.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import idna
import msgspec

from inspector.scan import borders, linear
from inspector.wire.patterns import HOST, HOST_SIX

LINK_BYTES = 2048
"""Longest link that is looked at; what is longer is cut."""

TESTS = (
    rb"[0-9A-Za-z_\x80-\xff]\.[0-9A-Za-z_%\x80-\xff]", rb"[0-9a-fA-F:]:[0-9a-fA-F:]{1,4}:", rb":[/\x5c]{1,3}[0-9]",
    rb"[pPsS]:[0-9]", rb"@%?[0-9]", rb":[/\x5c]{1,3}%3", rb"\xe3\x80\x82", rb"%2[eE]", rb"%[eE][fF]%[bB][cC]%8[eE]",
    rb"%[eE]3%80%82",
)
"""What must be in a text for a host to be in it: a dot between two letters, two colons of an IPv6 address, a number
behind a scheme or an @, an ideographic full stop, an encoded dot or number."""

_WIDE_HOST = linear.pattern(rb"(?i)[a-z0-9_\-.%\x80-\xff]*[\x80-\xff][a-z0-9_\-.%\x80-\xff]*")
_PERCENT_HOST = linear.pattern(rb"(?i)[a-z0-9_\-.%\x80-\xff]*%[0-9a-f]{2}[a-z0-9_\-.%\x80-\xff]*")
_NUMBER_HOST = linear.pattern(
    rb"(?i)(?:[a-z]:[/\\]+|(?:https?|ftps?|wss?):)(?:[^\s/\\]{0,256}@)?(0x[0-9a-f]{1,24}|[0-9]{1,24})\.?(?:[^0-9a-z.]|$)"
)
_OCTETS = frozenset(map(str, range(256)))
_HYPHEN, _LOW_LINE = b"-_"
_NAME, _NAMES = 253, 4096
"""Characters of the longest name (RFC 1035 2.3.4), and names whose spelling is remembered."""
_PORT_DIGITS = 12
_ENDS_LINK = bytes(0x20 if byte <= 0x20 or byte in b'<>"' else byte for byte in range(256))
"""Controls, blanks and the signs around a link, as blanks."""
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CLOSING = b".,;:!?)]}'*_"
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses as networks without IPv4 write them (RFC 6052 2.1)."""
_DEFAULT_PORTS = ("80", "443", "")


class Link(msgspec.Struct, frozen=True, gc=False):
    """A host in a text, with what follows it."""

    host: str
    """Lower case, in ASCII; an address in its shortest form."""
    is_address: bool
    start: int
    end: int
    """End of the host."""
    port: str
    tail: bytes
    """Path and query as written; cut at the end of the link."""

    def spellings(self) -> Iterator[str]:
        """The spellings under which a list may have the link: as it is, without closing signs, without the query."""
        tail = self.tail
        if not tail or (b"?" not in tail and tail[-1] not in _CLOSING):
            yield link_key(self.host, self.port, tail)
            return
        seen: set[str] = set()
        while True:
            for one in (tail, tail.partition(b"?")[0]):
                key = link_key(self.host, self.port, one)
                if key not in seen:
                    seen.add(key)
                    yield key
            if not tail or tail[-1] not in _CLOSING or len(seen) > 16:
                return
            tail = tail[:-1]


def link_key(host: str, port: str, tail: bytes) -> str:
    """The one spelling of a link."""
    if b"%" not in tail and b"\\" not in tail and b"#" not in tail and b"/." not in tail and tail[:1] in (b"/", b""):
        path, mark, query = tail or b"/", b"", b""
    else:
        path, mark, query = _plain(tail)
    port = port.lstrip("0")
    where = host if port in _DEFAULT_PORTS else f"{host}:{port}"
    return where + (path + mark + query).decode("latin-1")


def _plain(tail: bytes) -> tuple[bytes, bytes, bytes]:
    """Path, question mark and query in their one spelling."""
    tail = tail.replace(b"\\", b"/").partition(b"#")[0]
    path, mark, query = tail.partition(b"?")
    return _undotted(_decoded(path)) or b"/", mark, _decoded(query)


def _undotted(path: bytes) -> bytes:
    """A path without its `.` and `..` (RFC 3986 5.2.4)."""
    if b"/." not in path:
        return path
    out: list[bytes] = []
    pieces = path.split(b"/")
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        if piece in (b".", b".."):
            if piece == b".." and len(out) > 1:
                out.pop()
            if last:
                out.append(b"")
        else:
            out.append(piece)
    return b"/".join(out)


def _decoded(text: bytes) -> bytes:
    """Percent-encoded unreserved characters decoded, the digits of all others in capitals."""
    if b"%" not in text:
        return text
    out = bytearray()
    i = 0
    while i < len(text):
        if text[i] == 0x25 and len(two := text[i + 1:i + 3]) == 2:
            try:
                byte = int(two, 16)
            except ValueError:
                byte = -1
            if byte >= 0:
                out += bytes((byte,)) if byte in _UNRESERVED else text[i:i + 3].upper()
                i += 3
                continue
        out.append(text[i])
        i += 1
    return bytes(out)


def host(text: str, strict: bool = False) -> tuple[str, bool] | None:
    """(one spelling, whether an address) of a host's name or address; None: it is none.

    `strict`: for lists: no numbers as addresses, only names that can exist.
    """
    return _remembered(text, strict) if len(text) <= _NAME else _host(text, strict)


def _host(text: str, strict: bool) -> tuple[str, bool] | None:
    if "%" in text:
        if strict:
            return None
        text = unquote_to_bytes(text).decode("utf-8", "replace")
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError, ValueError, IndexError):
            return None
    text = text.lower()
    if text.endswith("."):
        text = text[:-1]
    if not text or len(text) > _NAME:
        return None
    last = text.rsplit(".", 1)[-1]
    if last.isdigit() or last.startswith("0x"):
        if strict:
            return None
        number = address(text)
        return (number, True) if number else None
    if any(not label or len(label) > 63 for label in text.split(".")):
        return None
    return text, False


_remembered = functools.lru_cache(maxsize=_NAMES)(_host)
"""Talk and logs name the same few hosts again and again."""


def address(text: str) -> str | None:
    """An IPv4 address in any of its spellings (decimal, hexadecimal, octal parts, fewer than four) as four numbers."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    if len(parts) == 4 and _OCTETS.issuperset(parts):
        return text
    numbers: list[int] = []
    for part in parts:
        try:
            if part[:2] in ("0x", "0X"):
                numbers.append(int(part[2:] or "0", 16))
            elif len(part) > 1 and part[0] == "0":
                numbers.append(int(part, 8))
            elif part.isascii() and part.isdigit() and len(part) <= 12:
                numbers.append(int(part))
            else:
                return None
        except ValueError:
            return None
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        return None
    value = numbers[-1] + sum(number << (8 * (3 - i)) for i, number in enumerate(numbers[:-1]))
    return str(ipaddress.IPv4Address(value))


def ip(text: str) -> str | None:
    """The one spelling of an IPv4 or IPv6 address in its usual form; None: it is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        if found in _TRANSLATED:
            return str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    return str(found)


def find(data: bytes) -> Iterator[Link]:
    """Every host in a text, whether it stands in a link or alone."""
    for match in HOST.finditer(data):
        start, end = match.span(1)
        if not _border(data, start, end):
            continue
        text = data[start:end].decode("ascii")
        linked = data[max(start - 1, 0):start] in (b"/", b"@", b"\\")
        last = text.rsplit(".", 1)[-1]
        if (last.isdigit() or last[:2].lower() == "0x") and not linked and not _four(text):
            continue
        found = host(text)
        if found is not None:
            yield _link(found, data, start, end)
    if not data.isascii():
        yield from _wide(data)
    if b"%" in data:
        yield from _encoded(data)
    if b":" in data:
        for match in _NUMBER_HOST.finditer(data):
            number = address(match.group(1).decode("ascii").lower())
            if number is not None:
                yield _link((number, True), data, match.start(1), match.end(1))
    if b"::" in data or data.count(b":") > 6:
        for match in HOST_SIX.finditer(data):
            text = match.group().decode("ascii")
            six = ip(text) if "::" in text or text.count(":") >= 6 else None  # else a time of day
            if six is not None:
                end = match.end() + (data[match.end():match.end() + 1] == b"]")
                yield _link((six, True), data, match.start(), end)


def _encoded(data: bytes) -> Iterator[Link]:
    """Names whose dots are percent-encoded, and encoded numbers as addresses."""
    for match in _PERCENT_HOST.finditer(data):
        start, end = match.span()
        text = unquote_to_bytes(match.group()).decode("utf-8", "replace")
        if "." in text or "。" in text or "．" in text or "｡" in text:
            if b"." not in match.group().strip(b"."):
                found = host(text)
                if found is not None and "." in found[0]:
                    yield _link(found, data, start, end)
        elif data[max(start - 1, 0):start] in (b"/", b"@", b"\\"):
            number = address(text.lower())
            if number is not None:
                yield _link((number, True), data, start, end)


def _four(text: str) -> bool:
    """Four decimal numbers: what is an address in a text without being a link (1.2.3 is a version)."""
    parts = text.split(".")
    return len(parts) == 4 and (_OCTETS.issuperset(parts) or all(part.isdigit() and len(part) <= 3 for part in parts))


def _link(found: tuple[str, bool], data: bytes, start: int, end: int) -> Link:
    port, rest = b"", b""
    at = end
    if data[at:at + 1] == b":":
        at += 1
        digits = data[at:at + _PORT_DIGITS]
        port = digits[:len(digits) - len(digits.lstrip(b"0123456789"))]
        at += len(port)
    if data[at:at + 1] in (b"/", b"\\", b"?", b"#"):
        # By hand: RE2's wrapper takes ten times as long for it.
        rest = data[at:end + LINK_BYTES]
        rest = rest[:len(rest.translate(_ENDS_LINK).partition(b" ")[0])]
    return Link(found[0], found[1], start, end, port.decode("ascii"), rest)


def _border(data: bytes, start: int, end: int) -> bool:
    """Whether a host of ASCII letters ends where its letters end: not in the middle of a word of an alphabet.

    A letter of a script that is written without spaces (Thai and beyond in the code charts) is a border.
    """
    # Nearly always there is ASCII on both sides.
    first, last = data[start - 1] if start else 0, data[end] if end < len(data) else 0
    if first < 0x80 and last < 0x80:
        return first not in (_HYPHEN, _LOW_LINE)
    before, after = borders.before(data, start), borders.after(data, end)
    if before in ("-", "_") or (not before.isascii() and borders.in_word(before)):
        return False
    return after.isascii() or not borders.in_word(after)


def _wide(data: bytes) -> Iterator[Link]:
    """Names with letters beyond ASCII."""
    for match in _WIDE_HOST.finditer(data):
        text = match.group().decode("utf-8", "replace")
        at = match.start()
        word_start = at
        word = ""
        for c in [*text, " "]:
            if c.isalnum() or c in "-_.%。．｡\u200b\u00ad" or "\u0300" <= c <= "\u036f":
                if not word:
                    word_start = at
                word += c
            else:
                yield from _wide_word(data, word, word_start)
                word = ""
            at += len(c.encode("utf-8")) if c != "\ufffd" else 1
        yield from _wide_word(data, word, word_start)


def _wide_word(data: bytes, word: str, start: int) -> Iterator[Link]:
    bare = word.rstrip(".")
    if bare.isascii() or not 3 < len(bare) < 254 or not any(dot in bare[1:-1] for dot in ".。．｡"):
        return
    found = host(bare)
    if found is not None and "." in found[0]:
        yield _link(found, data, start, start + len(bare.encode("utf-8")))
