"""Packets and captures made by hand, for the tests of reading them."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field

from inspector.drivers.packets import ACK, FIN, PSH, RST, SYN
from inspector.drivers.pcap import Packet
from inspector.drivers.reassembly import Reassembly, Track
from inspector.model import DOWN, UP, Chunk, Limits, Way

CLIENT, SERVER = "10.0.0.5", "192.0.2.7"


def tcp(sport: int, dport: int, seq: int, ack: int, flags: int, data: bytes = b"", options: bytes = b"") -> bytes:
    """A TCP segment (RFC 9293 §3.1), checksum left 0."""
    offset = (5 + len(options) // 4) << 4
    head = struct.pack("!HHIIBBHHH", sport, dport, seq % 2**32, ack % 2**32, offset, flags, 65535, 0, 0)
    return head + options + data


def udp(sport: int, dport: int, data: bytes) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def ip4(
    data: bytes, source: str = CLIENT, target: str = SERVER, protocol: int = 6, *, ident: int = 1, fragment: int = 0,
    options: bytes = b"", total: int | None = None,
) -> bytes:
    """An IPv4 packet (RFC 791); `fragment`: flags and offset as they stand on the wire."""
    length = 20 + len(options) + len(data) if total is None else total
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, length, ident, fragment, 64, protocol, 0)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + options + data


def ip6(data: bytes, source: str = "2001:db8::5", target: str = "2001:db8::7", protocol: int = 6) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(data), protocol, 64)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + data


def ether(data: bytes, kind: int = 0x0800) -> bytes:
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02" + kind.to_bytes(2) + data


def pcap(
    frames: list[tuple[float, bytes]], link: int = 1, *, order: str = "<", nano: bool = False, snap: int | None = None,
) -> bytes:
    """A classic capture file; `snap` cuts the packets."""
    out = struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snap or 65535, link)
    for at, frame in frames:
        seconds, fraction = divmod(round(at * (10**9 if nano else 10**6)), 10**9 if nano else 10**6)
        kept = frame if snap is None else frame[:snap]
        out += struct.pack(order + "IIII", seconds, fraction, len(kept), len(frame)) + kept
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block around its body."""
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, *, snap: int = 0, options: bytes = b"", order: str = "<") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order)


def enhanced(frame: bytes, ticks: int, *, number: int = 0, order: str = "<", wire: int | None = None) -> bytes:
    body = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), wire or len(frame))
    return block(6, body + frame, order)


@dataclass
class Heard:
    """What one flow gave to its sink."""

    track: Track
    chunks: list[Chunk] = field(default_factory=list)
    ends: list[Way] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    gone_at: float | None = None
    enough: int | None = None
    """Give the flow up after this many chunks."""

    def chunk(self, chunk: Chunk) -> None:
        assert self.gone_at is None
        self.chunks.append(chunk)
        if self.enough is not None and len(self.chunks) >= self.enough:
            self.track.feeding = False

    def closed(self, way: Way, at: float) -> None:
        assert way not in self.ends
        self.ends.append(way)

    def oddity(self, name: str, detail: str, way: Way, at: float) -> None:
        self.oddities.append(name)

    def gone(self, at: float) -> None:
        assert self.gone_at is None
        self.gone_at = at

    def text(self, way: Way) -> bytes:
        """What that way said, a gap written as [n]."""
        return b"".join((b"[%d]" % c.gap if c.gap else b"") + c.data for c in self.chunks if c.way is way)

    @property
    def up(self) -> bytes:
        return self.text(UP)

    @property
    def down(self) -> bytes:
        return self.text(DOWN)


class Wire:
    """A reassembly under test, fed segment by segment; each packet comes 0.01 s after the one before."""

    def __init__(self, limits: Limits | None = None, servers: frozenset[int] = frozenset(), enough: int | None = None,
                 idle: float | None = None) -> None:
        self.flows: list[Heard] = []
        self.at = 1000.0
        self.enough = enough
        patience = None if idle is None else (lambda track: idle)
        self.reassembly = Reassembly(limits or Limits(), self._begin, servers, patience)

    def _begin(self, track: Track) -> Heard:
        self.flows.append(Heard(track, enough=self.enough))
        return self.flows[-1]

    def packet(self, frame: bytes, after: float = 0.01, link: int = 101) -> None:
        self.at += after
        self.reassembly.run([_packet(self.at, frame, link)])

    def up(self, seq: int, data: bytes = b"", ack: int = 0, flags: int = ACK, after: float = 0.01) -> None:
        """A segment of the client (10.0.0.5:40000), its sequence number counted from the SYN's 0."""
        self.packet(ip4(tcp(40000, 6667, ISN_UP + seq, ISN_DOWN + ack, flags, data)), after)

    def down(self, seq: int, data: bytes = b"", ack: int = 0, flags: int = ACK, after: float = 0.01) -> None:
        self.packet(ip4(tcp(6667, 40000, ISN_DOWN + seq, ISN_UP + ack, flags, data), SERVER, CLIENT), after)

    def shake(self) -> None:
        """The three-way handshake: both ways go on at 1."""
        self.up(0, flags=SYN)
        self.down(0, ack=1, flags=SYN | ACK)
        self.up(1, ack=1)

    def finish(self) -> Heard:
        """End of the capture; the first flow."""
        self.reassembly.finish()
        return self.flows[0]


ISN_UP, ISN_DOWN = 2**32 - 7, 5000
"""The client's numbers wrap soon."""


def _packet(at: float, frame: bytes, link: int) -> Packet:
    return at, link, b"junk" + frame + b"junk", 4, 4 + len(frame), len(frame)


__all__ = ["ACK", "CLIENT", "FIN", "PSH", "RST", "SERVER", "SYN", "Heard", "Wire", "block", "enhanced", "ether",
           "interface", "ip4", "ip6", "pcap", "section", "tcp", "udp"]
