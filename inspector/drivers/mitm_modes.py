"""How a client tells where it wants to go: SOCKS5 (RFC 1928), HTTP CONNECT (RFC 9110, 9.3.6), and a redirected socket.

The two dialogs are sans-I/O: bytes in, what to say out. Not spoken: SOCKS4, SOCKS5 authentication, BIND and UDP
ASSOCIATE, and any other HTTP method; each is refused in the mode's own words.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import NamedTuple, Protocol

import h11

REFUSED, UNRESOLVED, UNREACHABLE = "refused", "unresolved", "unreachable"
"""Why a target was not reached: by policy, no address, no answer."""

MAX_DIALOG = 16 * 1024
"""Longest handshake: more than any CONNECT request with its headers."""


class Said(NamedTuple):
    """What a dialog makes of the client's bytes."""

    send: bytes = b""
    target: tuple[str, int] | None = None
    """Where the client wants to go; to be followed by `answer`."""
    rest: bytes = b""
    """What the client sent behind its request."""
    refused: str = ""
    """Why the connection is to be closed, one sentence."""


class Dialog(Protocol):
    """The server side of a handshake."""

    def receive(self, data: bytes) -> Said: ...

    def answer(self, outcome: str) -> bytes:
        """The answer to the request: outcome "" or REFUSED, UNRESOLVED, UNREACHABLE."""
        ...


def could_be_hello(seen: bytes) -> bool:
    """Whether a client's first bytes may be (the beginning of) a TLS record with a ClientHello (RFC 8446, 5.1)."""
    return seen[:1] in (b"", b"\x16") and seen[1:2] in (b"", b"\x03") and seen[2:3] in (b"", b"\0", b"\1", b"\2", b"\3")


_SOCKS_OUTCOME = {"": 0, REFUSED: 2, UNRESOLVED: 4, UNREACHABLE: 5}
"""RFC 1928, 6: succeeded, not allowed by ruleset, host unreachable, connection refused."""


class SocksDialog:
    """SOCKS5 without authentication, CONNECT only."""

    __slots__ = ("_buffer", "_greeted")

    def __init__(self) -> None:
        self._buffer = b""
        self._greeted = False

    def receive(self, data: bytes) -> Said:
        self._buffer += data
        send = b""
        if not self._greeted:
            head = self._buffer[:2]
            if head[:1] not in (b"", b"\x05"):
                return Said(refused="not SOCKS5")
            if len(head) < 2 or len(self._buffer) < 2 + head[1]:
                return Said()
            if 0 not in self._buffer[2:2 + head[1]]:
                return Said(b"\x05\xff", refused="the SOCKS client wants to authenticate; only 'none' is spoken")
            self._buffer = self._buffer[2 + head[1]:]
            self._greeted = True
            send = b"\x05\x00"
        return self._request(send)

    def _request(self, send: bytes) -> Said:
        buffer = self._buffer
        if len(buffer) < 5:
            return Said(send)
        version, command, _, kind, first = buffer[:5]
        if version != 5:
            return Said(send + self._reply(1), refused="not a SOCKS5 request")
        if command != 1:
            return Said(send + self._reply(7), refused="a SOCKS command other than CONNECT")
        size = {1: 4, 3: 1 + first, 4: 16}.get(kind)
        if size is None:
            return Said(send + self._reply(8), refused="a SOCKS address of unknown type")
        end = 4 + size + 2
        if len(buffer) < end:
            return Said(send)
        address, rest = buffer[4:4 + size], buffer[end:]
        (port,) = struct.unpack_from("!H", buffer, end - 2)
        if kind == 3:
            host = address[1:].decode("utf-8", "replace")
        else:
            host = str(ipaddress.ip_address(address))
        self._buffer = b""
        if not host or not port or not _speakable(host):
            return Said(send + self._reply(1), refused="a SOCKS request without a usable address")
        return Said(send, (host, port), rest)

    @staticmethod
    def _reply(code: int) -> bytes:
        return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))

    def answer(self, outcome: str) -> bytes:
        return self._reply(_SOCKS_OUTCOME[outcome])


_HTTP_OUTCOME = {
    "": b"HTTP/1.1 200 Connection established\r\n\r\n",
    REFUSED: b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    UNRESOLVED: b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    UNREACHABLE: b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
}
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BAD_METHOD = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class ConnectDialog:
    """HTTP/1.1 CONNECT."""

    __slots__ = ("_http",)

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_DIALOG)

    def receive(self, data: bytes) -> Said:
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # h11 keeps the error in a frame of it, and that keeps all who called
            return Said(_BAD_REQUEST, refused="not a valid HTTP request")
        if not isinstance(event, h11.Request):
            return Said()
        if event.method != b"CONNECT":
            return Said(_BAD_METHOD, refused="an HTTP method other than CONNECT")
        target = split_target(event.target.decode("ascii", "replace"))
        if target is None:
            return Said(_BAD_REQUEST, refused="a CONNECT without host and port")
        return Said(b"", target, self._http.trailing_data[0])

    def answer(self, outcome: str) -> bytes:
        return _HTTP_OUTCOME[outcome]


def split_target(text: str) -> tuple[str, int] | None:
    """"host:port" or "[v6]:port" as (host, port); None if it is neither."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        return None
    if host.startswith("[") and host.endswith("]"):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            return None
    return (host, int(port)) if host and _speakable(host) else None


def _speakable(host: str) -> bool:
    """No controls, spaces or NUL: the host goes to the resolver and into the log."""
    return len(host) <= 255 and all(char.isalnum() or char in "-._:%" for char in host)


SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h; the same number in netfilter_ipv6/ip6_tables.h"""


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """Where a redirected connection was going. Raises OSError for one that was not redirected by netfilter.

    A v4 connection accepted on a v6 socket (::ffff:…) has its answer at the v4 level.
    """
    if sock.family == socket.AF_INET or "." in sock.getsockname()[0]:
        raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        port, packed = struct.unpack_from("!2xH4s", raw)
    else:
        raw = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        port, packed = struct.unpack_from("!2xH4x16s", raw)
    return str(ipaddress.ip_address(packed)), port
