"""One spelling for http and https addresses that two protocols must agree on (RFC 3986 3, 6.2).

What announces an address (an upload slot) and what is later asked for (a request line and its Host) are compared by
`Url.key`: host in lower case, port always there, user information and fragment left out, unreserved characters
decoded and all others that need it percent-encoded with capital digits.
"""

from __future__ import annotations

from typing import Final

import msgspec

URL_BYTES: Final = 8192
"""Longest address that is read."""
_PORTS: Final = {"http": 80, "https": 443}
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT: Final = _UNRESERVED | frozenset(b"!$&'()*+,;=:@/?[]")
_HEX: Final = "0123456789ABCDEF"


class Url(msgspec.Struct, frozen=True):
    """An address as two programs that spell it differently would both find it."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without its brackets."""
    port: int
    target: str
    """Path and query, beginning with "/"."""

    @property
    def address(self) -> str:
        """host:port, an IPv6 address in brackets."""
        return place(self.host, self.port)

    @property
    def key(self) -> str:
        """host:port/path?query: the same for http and https, which differ in their port."""
        return self.address + self.target


def place(host: str, port: int | str) -> str:
    """host:port in the one spelling of side connections: lower case, no dot at the end, IPv6 in brackets."""
    host = host.strip().removeprefix("[").removesuffix("]").lower().removesuffix(".")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read(url: str) -> Url | None:
    """Parse an http or https address; None when it is none."""
    url = url.strip()
    scheme, sign, rest = url.partition("://")
    scheme = scheme.lower()
    if not sign or scheme not in _PORTS or len(url) > URL_BYTES:
        return None
    rest = rest.partition("#")[0]
    end = min((at for at in (rest.find("/"), rest.find("?"), rest.find("\\")) if at >= 0), default=len(rest))
    authority, target = rest[:end].rpartition("@")[2], rest[end:]
    if authority.startswith("["):
        host, _, after = authority[1:].partition("]")
        number = after.removeprefix(":")
        if after and not after.startswith(":"):
            return None
    else:
        host, _, number = authority.partition(":")
    host = host.lower().removesuffix(".")
    if not host or any(c <= " " for c in host):
        return None
    if number and not (number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) < 65536):
        return None
    return Url(scheme, host, int(number) if number else _PORTS[scheme], spelled(target))


def shown(url: str) -> str:
    """An address of any scheme as the log may have it: who signs on there, what signs it and the key behind it (user
    information, query, fragment) are secrets."""
    scheme, sign, rest = url.partition("#")[0].partition("?")[0].partition("://")
    if not sign:
        return scheme
    end = min((at for at in (rest.find("/"), rest.find("\\")) if at >= 0), default=len(rest))
    return f"{scheme}://{rest[:end].rpartition('@')[2]}{rest[end:]}"


def spelled(target: str) -> str:
    """Path and query of a request in one spelling (RFC 3986 6.2.2); the fragment is left out."""
    data = target.partition("#")[0].encode("utf-8", "replace").replace(b"\\", b"/")
    if not data.startswith(b"/"):
        data = b"/" + data
    if _KEPT.issuperset(data):
        return data.decode()
    out: list[str] = []
    at, size = 0, len(data)
    while at < size:
        byte = data[at]
        at += 1
        if byte == 0x25 and (value := _triplet(data, at)) >= 0:
            at += 2
            out.append(chr(value) if value in _UNRESERVED else f"%{_HEX[value >> 4]}{_HEX[value & 15]}")
        elif byte in _KEPT:
            out.append(chr(byte))
        else:
            out.append(f"%{_HEX[byte >> 4]}{_HEX[byte & 15]}")
    return "".join(out)


def _triplet(data: bytes, at: int) -> int:
    """The value of two hexadecimal digits; -1: there are none."""
    high, low = _HEX.find(chr(data[at]).upper()) if at < len(data) else -1, -1
    if high >= 0 and at + 1 < len(data):
        low = _HEX.find(chr(data[at + 1]).upper())
    return high * 16 + low if high >= 0 and low >= 0 else -1
