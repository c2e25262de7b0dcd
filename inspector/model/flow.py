"""Flows and the bytes that travel in them."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import struct
from enum import IntEnum

import msgspec

from inspector.model.events import Expect


class Way(IntEnum):
    """Direction inside a flow: UP is client to server, DOWN is server to client."""

    UP = 0
    DOWN = 1

    @property
    def other(self) -> Way:
        return DOWN if self is UP else UP


UP = Way.UP
DOWN = Way.DOWN


class Address(msgspec.Struct, frozen=True):
    """One end of a flow. `ip` is in RFC 5952 form."""

    ip: str
    port: int


class Flow(msgspec.Struct, frozen=True):
    """One connection (or datagram conversation) as the gateway sees it."""

    id: str
    client: Address
    server: Address
    transport: str = "tcp"
    """"tcp" or "udp"."""
    opened: float = 0.0
    """Seconds since the epoch."""
    server_name: str | None = None
    """Name the client asked for (SOCKS/CONNECT host, TLS SNI), None when it named only an address."""
    tls: bool = False
    """Whether TLS was terminated before the first byte given to the session."""
    listener: str | None = None
    """The listener's configured address, None offline."""
    file: str | None = None
    """The capture the flow came from, None live."""
    from_start: bool = True
    """False when the flow was joined in its middle (a capture without its SYN)."""
    expected: Expect | None = None
    """The announcement that this connection answers (a file's, a redirect's)."""
    reverse: bool = False
    """The client connects to us as to the server: where it is sent on to lies past us, unless the address is ours."""
    same_certificate: bool = False
    """The client was shown the certificate that the server has shown us: what is bound to it holds end to end."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Bytes of one way with their time.

    `at` is in seconds since the epoch and never runs back within a session. `gap` counts bytes that were lost
    *before* `data` (captures and queues only). `end`: nothing more comes that way.
    """

    way: Way
    at: float
    data: bytes
    gap: int = 0
    end: bool = False


def flow_id(client: Address, server: Address, transport: str, opened: float) -> str:
    """The identifier of a flow, made without chance: a hash of the five-tuple and its first time (16 hex digits)."""
    text = f"{transport} {client.ip} {client.port} {server.ip} {server.port} {opened:.6f}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def community_id(client: Address, server: Address, transport: str, seed: int = 0) -> str | None:
    """Community ID flow hash, version 1 (github.com/corelight/community-id-spec); None without two addresses."""
    try:
        a, b = _packed(client.ip), _packed(server.ip)
    except ValueError:
        return None
    one, two = (a, client.port), (b, server.port)
    if one > two:
        one, two = two, one
    proto = 17 if transport == "udp" else 6
    raw = struct.pack("!H", seed) + one[0] + two[0] + struct.pack("!BBHH", proto, 0, one[1], two[1])
    return "1:" + base64.b64encode(hashlib.sha1(raw, usedforsecurity=False).digest()).decode()


def _packed(ip: str) -> bytes:
    """The bytes of an address. Raises ValueError. (`ipaddress` takes ten times as long; captures have many.)"""
    parts = ip.split(".")
    if len(parts) == 4 and ip.isascii() and ip.replace(".", "").isdigit():
        return bytes(map(int, parts))
    return ipaddress.ip_address(ip).packed
