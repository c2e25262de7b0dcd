"""From a captured packet to its TCP segment or UDP datagram.

Link types (https://www.tcpdump.org/linktypes.html): Ethernet with VLAN tags (802.1Q, QinQ), PPPoE, MPLS, LLC/SNAP;
Linux cooked v1 and v2; raw IP; BSD loopback; PPP. Network: IPv4 with options and fragments (RFC 791), IPv6 with
extension headers and fragments (RFC 8200; overlapping fragments are refused, RFC 5722), IP in IP (4, 41).

Not decoded: ESP, GRE and other tunnels, SCTP, ICMP. Checksums are not verified: captures on the sending machine carry
wrong ones, because the network card fills them in later.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Protocol

from inspector.model import Address, Limits

TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

Datagram = tuple[int, bytes, bytes, int, int, int, int, int, int]
"""(TCP or UDP, key, buffer, start, stop, missing, seq, ack, flags) of one segment; the last three are 0 for UDP.

The payload is buffer[start:stop], `missing` bytes of it were not captured. `key` = source address, destination address,
source port, destination port as they stand on the wire (12 bytes for IPv4, 36 for IPv6).
"""

Where = tuple[int, int] | None
"""(EtherType, offset of what follows), None: not understood."""

_IPV4, _IPV6 = 0x0800, 0x86DD
_TAGS = frozenset((0x8100, 0x88A8, 0x9100, 0x9200))
_WORD = struct.Struct("!H").unpack_from
_SEQ = struct.Struct("!HHIIBB").unpack_from
_FRAME = struct.Struct("!12xHBxHxxHxB14xIIBB").unpack_from
"""Ethernet, IPv4 without options, TCP: EtherType, version and length, total length, fragment, protocol, seq, ack …"""
_IP4 = struct.Struct("!BxHHHxB").unpack_from
_IP6 = struct.Struct("!IHB").unpack_from
_AF6 = frozenset((10, 23, 24, 28, 30))
"""AF_INET6 of Linux, Windows, BSDs and macOS in a loopback header."""
_HEADERS = 16
"""Extension headers, tags or labels in a row that are followed."""


def ends(key: bytes) -> tuple[Address, Address]:
    """(source, destination) of a key."""
    if len(key) == 12:
        return (
            Address(inet_ntop(AF_INET, key[:4]), key[8] << 8 | key[9]),
            Address(inet_ntop(AF_INET, key[4:8]), key[10] << 8 | key[11]),
        )
    return (
        Address(inet_ntop(AF_INET6, key[:16]), key[32] << 8 | key[33]),
        Address(inet_ntop(AF_INET6, key[16:32]), key[34] << 8 | key[35]),
    )


def turned(key: bytes) -> bytes:
    """The key of the other direction."""
    if len(key) == 12:
        return key[4:8] + key[:4] + key[10:] + key[8:10]
    return key[16:32] + key[:16] + key[34:] + key[32:34]


def community(key: bytes, transport: str) -> bytes:
    """model.community_id from a key: it is made for every flow of a capture."""
    if len(key) == 12:
        one, two = key[:4] + key[8:10], key[4:8] + key[10:]
    else:
        one, two = key[:16] + key[32:34], key[16:32] + key[34:]
    if one > two:
        one, two = two, one
    proto = b"\x11\0" if transport == "udp" else b"\x06\0"
    raw = b"\0\0" + one[:-2] + two[:-2] + proto + one[-2:] + two[-2:]
    return b"1:" + base64.b64encode(hashlib.sha1(raw, usedforsecurity=False).digest())


# -- link layers: (buffer, start, stop) -> Where


def _ethernet(data: bytes, start: int, stop: int) -> Where:
    if stop - start < 14:
        return None
    return _typed(data, data[start + 12] << 8 | data[start + 13], start + 14, stop)


def _typed(data: bytes, kind: int, at: int, stop: int) -> Where:
    """Follow tags, PPPoE, MPLS and SNAP from an EtherType to IP."""
    for _ in range(_HEADERS):
        if kind in (_IPV4, _IPV6):
            return kind, at
        if kind in _TAGS:
            if stop - at < 4:
                return None
            kind, at = _WORD(data, at + 2)[0], at + 4
        elif kind == 0x8864:  # PPPoE session (RFC 2516 §4): six bytes, then PPP
            return _ppp(data, at + 6, stop)
        elif kind in (0x8847, 0x8848):
            return _mpls(data, at, stop)
        elif kind <= 1500 and data[at:at + 6] == b"\xaa\xaa\x03\0\0\0" and stop - at >= 8:  # LLC and SNAP (RFC 1042)
            kind, at = _WORD(data, at + 6)[0], at + 8
        else:
            return None
    return None


def _ppp(data: bytes, at: int, stop: int) -> Where:
    """PPP in HDLC-like framing or without (RFC 1662): address and control, and the first byte, may be left out."""
    if data[at:at + 2] == b"\xff\x03":
        at += 2
    if stop - at < 2:
        return None
    if data[at] & 1:
        kind, at = data[at], at + 1
    else:
        kind, at = _WORD(data, at)[0], at + 2
    if kind == 0x21:
        return _IPV4, at
    if kind == 0x57:
        return _IPV6, at
    if kind in (0x281, 0x283):
        return _mpls(data, at, stop)
    return None


def _mpls(data: bytes, at: int, stop: int) -> Where:
    """A stack of labels (RFC 3032), then IP, or Ethernet behind a control word (RFC 4448)."""
    for _ in range(_HEADERS):
        if stop - at < 5:
            return None
        at += 4
        if data[at - 2] & 1:
            nibble = data[at] >> 4
            if nibble == 0:
                return _ethernet(data, at + 4, stop)
            return _raw(data, at, stop)
    return None


def _raw(data: bytes, start: int, stop: int) -> Where:
    if stop > start:
        nibble = data[start] >> 4
        if nibble == 4:
            return _IPV4, start
        if nibble == 6:
            return _IPV6, start
    return None


def _loopback(data: bytes, start: int, stop: int) -> Where:
    """The address family in the byte order of the capturing machine (NULL), or the network's (LOOP)."""
    if stop - start < 5:
        return None
    family = int.from_bytes(data[start:start + 4], "little")
    if family > 0xFFFF:
        family = int.from_bytes(data[start:start + 4], "big")
    if family == 2:
        return _IPV4, start + 4
    if family in _AF6:
        return _IPV6, start + 4
    return None


def _cooked(data: bytes, start: int, stop: int) -> Where:
    if stop - start < 16:
        return None
    return _typed(data, _WORD(data, start + 14)[0], start + 16, stop)


def _cooked2(data: bytes, start: int, stop: int) -> Where:
    if stop - start < 20:
        return None
    return _typed(data, _WORD(data, start)[0], start + 20, stop)


def _chdlc(data: bytes, start: int, stop: int) -> Where:
    if stop - start < 4:
        return None
    return _typed(data, _WORD(data, start + 2)[0], start + 4, stop)


LINKS: dict[int, Callable[[bytes, int, int], Where]] = {
    0: _loopback, 108: _loopback, 1: _ethernet, 9: _ppp, 50: _ppp, 104: _chdlc,
    51: lambda data, start, stop: _ppp(data, start + 6, stop),
    12: _raw, 14: _raw, 101: _raw, 228: _raw, 229: _raw, 113: _cooked, 276: _cooked2,
}
"""Link types that are read here; others are work for scapy_child."""


class Dissect(Protocol):
    """Finds the IP packet inside a packet of a foreign link type (`scapy_child`)."""

    @property
    def usable(self) -> bool: ...
    def __call__(self, link: int, packet: bytes) -> bytes | None: ...


class Packets:
    """Decodes packets; keeps IP fragments until their datagram is whole. One per capture."""

    def __init__(self, limits: Limits, dissect: Dissect | None = None) -> None:
        """`dissect` finds IP in packets of link types that are not read here."""
        self.dissect = dissect
        self._limits = limits
        self._pieces: dict[bytes, _Pieces] = {}
        self._held = 0
        self.strange: dict[str, int] = {}
        """Oddities that belong to no flow: name and number of packets."""
        self.unknown: dict[int, int] = {}
        """Link types that are not read here, and the number of their packets."""

    def decode(self, at: float, link: int, data: bytes, start: int, stop: int, wire: int) -> Datagram | None:
        """The segment or datagram that a packet carries or completes; None: none, or not understood."""
        if link == 1 and stop - start >= 54:
            # The short way for Ethernet, IPv4 without options, TCP or UDP; the long way does the same, and all else.
            kind, version, total, fragment, protocol, seq, ack, offset, flags = _FRAME(data, start)
            if kind == 0x0800 and version == 0x45 and not fragment & 0x3FFF:
                end = start + 14 + total
                if end <= stop:
                    if protocol == 6:
                        head = start + 34 + (offset >> 4) * 4
                        if offset >= 0x50 and head <= end:
                            return 6, data[start + 26:start + 38], data, head, end, 0, seq, ack, flags
                    elif protocol == 17 and seq >> 16 == total - 20 >= 8:  # what is `seq` in TCP begins with the length
                        return 17, data[start + 26:start + 38], data, start + 42, end, 0, 0, 0, 0
        reader = LINKS.get(link)
        if reader is None:
            return self._foreign(at, link, data[start:stop])
        where = reader(data, start, stop)
        if where is None:
            return None
        kind, at_ip = where
        if kind == _IPV4:
            return self._ip4(at, data, at_ip, stop, wire - (at_ip - start), 0)
        return self._ip6(at, data, at_ip, stop, wire - (at_ip - start), 0)

    def _foreign(self, at: float, link: int, packet: bytes) -> Datagram | None:
        if self.dissect is not None:
            inner = self.dissect(link, packet)
            if inner is not None:
                return self.decode(at, 101, inner, 0, len(inner), len(inner))
        if self.dissect is None or not self.dissect.usable:
            self.unknown[link] = self.unknown.get(link, 0) + 1
        return None

    def _odd(self, name: str) -> None:
        self.strange[name] = self.strange.get(name, 0) + 1

    def _ip4(self, at: float, data: bytes, start: int, stop: int, wire: int, depth: int) -> Datagram | None:
        """`wire`: bytes that were on the wire from `start` on."""
        if stop - start < 20:
            return None
        version, total, ident, fragment, protocol = _IP4(data, start)[:5]
        head = (version & 15) * 4
        if version >> 4 != 4 or head < 20:
            return None
        if total == 0:  # filled in by the network card (segmentation offload)
            total = wire
        if total < head or start + head > stop:
            return None
        end = min(stop, start + total)
        missing = max(0, min(total, wire) - (end - start))
        addresses = data[start + 12:start + 20]
        if fragment & 0x3FFF:
            name = b"4" + addresses + ident.to_bytes(2) + bytes((protocol,))
            piece = data[start + head:end]
            whole = self._piece(at, name, (fragment & 0x1FFF) * 8, bool(fragment & 0x2000), piece, missing, protocol)
            if whole is None:
                return None
            return self._above(at, protocol, addresses, whole, 0, len(whole), 0, depth)
        return self._above(at, protocol, addresses, data, start + head, end, missing, depth)

    def _ip6(self, at: float, data: bytes, start: int, stop: int, wire: int, depth: int) -> Datagram | None:
        if stop - start < 40:
            return None
        version, length, protocol = _IP6(data, start)
        if version >> 28 != 6:
            return None
        total = 40 + length if length else wire  # 0: a jumbogram or segmentation offload
        end = min(stop, start + total)
        missing = max(0, min(total, wire) - (end - start))
        addresses = data[start + 8:start + 40]
        return self._ip6_next(at, protocol, addresses, data, start + 40, end, missing, depth)

    def _ip6_next(
        self, at: float, protocol: int, addresses: bytes, data: bytes, start: int, end: int, missing: int, depth: int,
    ) -> Datagram | None:
        """Follow the extension headers (RFC 8200 §4)."""
        for _ in range(_HEADERS):
            if protocol in (0, 43, 60, 135, 139, 140):
                if end - start < 8:
                    return None
                protocol, start = data[start], start + 8 + data[start + 1] * 8
            elif protocol == 51:  # authentication header (RFC 4302 §2.2): length in 4-byte words minus 2
                if end - start < 8:
                    return None
                protocol, start = data[start], start + (data[start + 1] + 2) * 4
            elif protocol == 44:
                if end - start < 8:
                    return None
                protocol, place = data[start], _WORD(data, start + 2)[0]
                if place & 0xFFF9 == 0:  # an atomic fragment (RFC 6946) is whole
                    start += 8
                    continue
                name = b"6" + addresses + data[start + 4:start + 8]
                piece = data[start + 8:end]
                whole = self._piece(at, name, place & 0xFFF8, bool(place & 1), piece, missing, protocol)
                if whole is None:
                    return None
                first = self._first_protocol
                return self._ip6_next(at, first, addresses, whole, 0, len(whole), 0, depth + 1) if depth < 4 else None
            else:
                return self._above(at, protocol, addresses, data, start, end, missing, depth)
            if start > end:
                return None
        return None

    def _above(
        self, at: float, protocol: int, addresses: bytes, data: bytes, start: int, end: int, missing: int, depth: int,
    ) -> Datagram | None:
        if protocol == TCP:
            if end - start < 20:
                return None
            _, _, seq, ack, offset, flags = _SEQ(data, start)
            head = start + (offset >> 4) * 4
            if offset < 0x50 or head > end:
                return None
            return TCP, addresses + data[start:start + 4], data, head, end, missing, seq, ack, flags
        if protocol == UDP:
            if end - start < 8:
                return None
            length = _WORD(data, start + 4)[0]
            if length >= 8 and start + length < end:
                end, missing = start + length, 0
            return UDP, addresses + data[start:start + 4], data, start + 8, end, missing, 0, 0, 0
        if protocol == 4 and depth < 4:
            return self._ip4(at, data, start, end, end - start + missing, depth + 1)
        if protocol == 41 and depth < 4:
            return self._ip6(at, data, start, end, end - start + missing, depth + 1)
        return None

    # -- fragments

    _first_protocol = 0

    def _piece(
        self, at: float, name: bytes, offset: int, more: bool, piece: bytes, missing: int, protocol: int,
    ) -> bytes | None:
        """Keep a fragment; the whole payload when it is the last one missing. `_first_protocol` is then that of the
        first fragment (RFC 8200 §4.5). Fragments cut by the snap length, or with overlaps that differ, never become
        whole: what a receiver makes of them depends on the receiver."""
        limits = self._limits
        held = self._pieces.get(name)
        if held is not None and (at - held.at > limits.capture_hole_seconds or at < held.at):
            self._forget(name)
            held = None
        if offset + len(piece) > limits.capture_fragment_bytes or missing or (more and len(piece) % 8) or not piece:
            self._odd("ip.bad_fragment")
            return None
        while self._held >= limits.capture_fragments:
            oldest = next(iter(self._pieces))
            self._forget(oldest)
            self._odd("ip.fragments_dropped")
            if oldest == name:
                return None
        if held is None:
            held = self._pieces[name] = _Pieces(at)
        for begin, other in held.pieces.items():
            if begin < offset + len(piece) and offset < begin + len(other):
                if begin == offset and other == piece:
                    return None  # the same packet captured twice
                self._odd("ip.fragment_overlap")
                self._forget(name)
                return None
        held.pieces[offset] = piece
        held.bytes += len(piece)
        self._held += 1
        if offset == 0:
            held.protocol = protocol
        if not more:
            held.total = offset + len(piece)
        if held.total < 0 or held.bytes < held.total:
            return None
        whole = b"".join(held.pieces[begin] for begin in sorted(held.pieces))
        self._first_protocol = held.protocol
        good = held.bytes == held.total and 0 in held.pieces
        self._forget(name)
        return whole if good else None

    def _forget(self, name: bytes) -> None:
        self._held -= len(self._pieces.pop(name).pieces)


class _Pieces:
    """Fragments of one datagram by their offset."""

    __slots__ = ("at", "bytes", "pieces", "protocol", "total")

    def __init__(self, at: float) -> None:
        self.at = at
        self.pieces: dict[int, bytes] = {}
        self.bytes = 0
        self.total = -1
        self.protocol = 0
