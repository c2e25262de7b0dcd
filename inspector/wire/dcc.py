"""DCC requests as they stand in CTCP: `TYPE argument host port [size [token]]`, read and written.

Sources: the DCC draft of modern-irc (which says itself that it is unfinished); for port 0 and tokens the page on
reverse DCC of visualirc.net. What makes no sense is None, never an error.
"""

from __future__ import annotations

import ipaddress

import msgspec

from inspector.wire.irctext import plain_of, shown

Span = tuple[int, int]
NOWHERE: Span = (0, 0)
ANY = "0.0.0.0"  # noqa: S104  (what clients write that do not know their own address)
_Word = tuple[bytes, int]
"""(a word, where it begins)."""


class Request(msgspec.Struct, frozen=True):
    """A DCC request taken apart."""

    type: str
    """SEND, CHAT, RESUME …, upper case."""
    name: str
    """The file's name as its receiver would see it; CHAT: the keyword."""
    host: str | None
    """An address in RFC 5952 form or a lower-case host name."""
    port: int | None
    """0: the other side is to listen."""
    size: int | None
    """RESUME and ACCEPT: the position."""
    token: str | None
    host_at: Span = NOWHERE
    """Where the host stands in what was parsed."""
    port_at: Span = NOWHERE
    ambiguous: bool = False
    """Other clients, which read from the left, would connect to another address."""

    @property
    def sane(self) -> bool:
        """Whether it says where to connect, the same to everybody."""
        return self.host is not None and self.port is not None and not self.ambiguous


def parse(words: bytes) -> Request:
    """What stands behind `DCC `; read from the right, because names with blanks are not always quoted."""
    tokens = _words(words)
    kind = tokens.pop(0)[0] if tokens else b""
    type_ = kind.decode("latin-1").upper()
    name, tail = _quoted(words, tokens)
    if type_ in ("RESUME", "ACCEPT"):
        return _resume(type_, name, tail)
    counts = (4, 3, 2) if name is None else (len(tail),)
    for count in counts:
        if not 2 <= count <= 4 or len(tail) < count + (1 if name is None else 0):
            continue
        if count == 2 and name is None and len(tail) > 3:
            continue  # without a size nothing tells a name with blanks from the numbers
        args = tail[len(tail) - count:]
        host, port = address(args[0][0]), number(args[1][0], 65535)
        size = number(args[2][0], (1 << 64) - 1) if count > 2 else None
        if host is None or port is None or (count > 2 and size is None):
            continue
        token = shown(args[3][0]) if count > 3 else None
        if type_ in ("CHAT", "SCHAT") and count == 3:
            size, token = None, shown(args[2][0])
        before = b" ".join(word for word, _ in tail[:len(tail) - count]) if name is None else name
        return Request(
            type_, plain_of(before), host, port, size, token, _span(args[0]), _span(args[1]),
            _read_otherwise(tokens, host, port))
    if name is None:
        name = tail[0][0] if tail else b""
    return Request(type_, plain_of(name), None, None, None, None)


def _words(data: bytes) -> list[_Word]:
    found: list[_Word] = []
    at = 0
    for word in data.split(b" "):
        if word:
            found.append((word, at))
        at += len(word) + 1
    return found


def _span(word: _Word) -> Span:
    return word[1], word[1] + len(word[0])


def _quoted(words: bytes, tokens: list[_Word]) -> tuple[bytes | None, list[_Word]]:
    """(the name in quotes, what stands behind it); no name where nothing is quoted."""
    if not tokens or tokens[0][0][:1] != b'"':
        return None, tokens
    start = tokens[0][1]
    close = words.find(b'"', start + 1)
    if close < 0:
        return None, tokens
    behind = [(word, close + 1 + at) for word, at in _words(words[close + 1:])]
    return words[start + 1:close], behind


def _read_otherwise(tokens: list[_Word], host: str, port: int) -> bool:
    """Whether a client that takes the first word for the name reads another address."""
    if len(tokens) < 3:
        return False
    other, where = address(tokens[1][0]), number(tokens[2][0], 65535)
    return other is not None and where is not None and (other, where) != (host, port)


def _resume(type_: str, name: bytes | None, tail: list[_Word]) -> Request:
    if name is None:
        count = next((
            c for c in (3, 2)
            if len(tail) > c and all(number(w.rstrip(b"T"), (1 << 64) - 1) is not None for w, _ in tail[-c:])
        ), max(len(tail) - 1, 0))
        at = len(tail) - count
        name, tail = b" ".join(word for word, _ in tail[:at]), tail[at:]
    port = number(tail[0][0], 65535) if tail else None
    position = number(tail[1][0], (1 << 64) - 1) if len(tail) > 1 else None
    return Request(
        type_, plain_of(name), None, port, position, shown(tail[2][0]) if len(tail) > 2 else None,
        port_at=_span(tail[0]) if tail else NOWHERE)


def number(word: bytes, most: int) -> int | None:
    """A decimal number without sign; None when it is none or above `most`."""
    if not word.isdigit() or len(word) > 20:
        return None
    value = int(word)
    return value if value <= most else None


def address(word: bytes) -> str | None:
    """An IPv4 address as a decimal number (some clients send it signed), IPv6 text, dotted quad, or a host name."""
    digits = word.removeprefix(b"-")
    if digits.isdigit():
        if len(digits) > 10:
            return None
        value = int(word)
        if value < 0:
            value += 1 << 32
        return str(ipaddress.IPv4Address(value)) if 0 <= value < 1 << 32 else None
    try:
        name = word.decode("ascii")
    except UnicodeDecodeError:
        return None
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        if isinstance(ip, ipaddress.IPv6Address):
            if ip.scope_id is not None:
                return None
            return str(ip.ipv4_mapped or ip)
        return str(ip)
    if "." in name and len(name) <= 255 and name.replace(".", "").replace("-", "").isalnum() and not name[-1].isdigit():
        return name.lower()
    return None


def written(ip: str, like: bytes) -> bytes:
    """An address for a request, in the form of the one it takes the place of: IPv4 as a decimal number where that one
    was not a dotted quad, IPv6 as text. Raises ValueError when `ip` is no address."""
    ours = ipaddress.ip_address(ip)
    if ours.version == 4 and not (b"." in like and like.replace(b".", b"").isdigit()):
        return str(int(ours)).encode()
    return str(ours).encode()


def joined(host: str, port: int) -> str:
    """host:port as expectations are known by, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tricks(name: str) -> tuple[str, ...]:
    """What of a file name is meant to mislead: a path, an escaped NUL, turned writing, controls, blanks or dots at the
    end, an endless run of blanks."""
    found = []
    if "/" in name or "\\" in name or name in ("..", "."):
        found.append("path")
    if "%00" in name:
        found.append("escaped_nul")
    if any(char in _TURNS for char in name):
        found.append("turned")
    if name and name[-1] in " .\xa0":
        found.append("trailing")
    if "     " in name:
        found.append("blanks")
    return tuple(found)


_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
