"""From link layers to TCP segments and UDP datagrams."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.drivers.packets import ACK, LINKS, PSH, TCP, UDP, Packets, community, ends, turned
from inspector.model import Address, Limits, community_id
from tests.drivers.crafted import CLIENT, SERVER, ether, ip4, ip6, tcp, udp

SEGMENT = tcp(40000, 6667, 0x01020304, 0x05060708, ACK | PSH, b"NICK amy\r\n")
FOUR, SIX = ip4(SEGMENT), ip6(SEGMENT)
SAID = (TCP, Address(CLIENT, 40000), Address(SERVER, 6667), b"NICK amy\r\n", 0, 0x01020304, 0x05060708, ACK | PSH)
SAID_SIX = (TCP, Address("2001:db8::5", 40000), Address("2001:db8::7", 6667), *SAID[3:])

Said = tuple[int, Address, Address, bytes, int, int, int, int] | None


def decode(
    frame: bytes, link: int = 1, wire: int | None = None, packets: Packets | None = None, at: float = 0.0,
) -> Said:
    """(protocol, source, target, payload, missing, seq, ack, flags) of a packet that stands between others."""
    data = b"\xff" * 7 + frame + b"\xff" * 80
    packets = packets or Packets(Limits())
    found = packets.decode(at, link, data, 7, 7 + len(frame), wire or len(frame))
    if found is None:
        return None
    protocol, key, buffer, start, stop, missing, seq, ack, flags = found
    return protocol, *ends(key), buffer[start:stop], missing, seq, ack, flags


VLAN = b"\x00\x0a"
WRAPPED = {
    "ethernet": (1, ether(FOUR)),
    "ethernet, padded": (1, ether(ip4(tcp(1, 2, 3, 4, ACK, b"x"))) + bytes(20)),
    "vlan": (1, ether(VLAN + b"\x08\x00" + FOUR, 0x8100)),
    "qinq": (1, ether(VLAN + b"\x81\x00" + VLAN + b"\x08\x00" + FOUR, 0x88A8)),
    "old qinq": (1, ether(VLAN + b"\x81\x00" + VLAN + b"\x08\x00" + FOUR, 0x9100)),
    "pppoe": (1, ether(b"\x11\x00\x12\x34" + (len(FOUR) + 2).to_bytes(2) + b"\x00\x21" + FOUR, 0x8864)),
    "pppoe in vlan": (1, ether(VLAN + b"\x88\x64\x11\x00\x12\x34\x00\x99\x00\x21" + FOUR, 0x8100)),
    "pppoe, short protocol": (1, ether(b"\x11\x00\x12\x34\x00\x99\x21" + FOUR, 0x8864)),
    "mpls": (1, ether(b"\x00\x01\x00\x40\x00\x02\x01\x40" + FOUR, 0x8847)),
    "ethernet in mpls": (1, ether(b"\x00\x02\x01\x40\0\0\0\0" + ether(FOUR), 0x8847)),
    "snap": (1, ether(b"\xaa\xaa\x03\0\0\0\x08\x00" + FOUR, len(FOUR) + 8)),
    "cooked": (113, bytes(14) + b"\x08\x00" + FOUR),
    "cooked with vlan": (113, bytes(14) + b"\x81\x00" + VLAN + b"\x08\x00" + FOUR),
    "cooked v2": (276, b"\x08\x00" + bytes(18) + FOUR),
    "raw": (101, FOUR),
    "raw of BSD": (12, FOUR),
    "raw of OpenBSD": (14, FOUR),
    "IPv4": (228, FOUR),
    "null, little": (0, b"\x02\0\0\0" + FOUR),
    "null, big": (0, b"\0\0\0\x02" + FOUR),
    "loop": (108, b"\0\0\0\x02" + FOUR),
    "ppp": (9, b"\xff\x03\x00\x21" + FOUR),
    "cisco hdlc": (104, b"\x0f\x00\x08\x00" + FOUR),
    "pppoe without ethernet": (51, b"\x11\x00\x12\x34\x00\x99\x00\x21" + FOUR),
    "options": (1, ether(ip4(SEGMENT, options=bytes(8)))),
    "tcp options": (1, ether(ip4(tcp(40000, 6667, 0x01020304, 0x05060708, ACK | PSH, b"NICK amy\r\n", bytes(12))))),
    "IP in IP": (1, ether(ip4(FOUR, "203.0.113.1", "203.0.113.2", 4))),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_segment_is_found_in_every_wrapping(name: str) -> None:
    """Addresses, ports, numbers and payload are the same whatever link layer carried them; padding is cut off."""
    link, frame = WRAPPED[name]
    if name == "ethernet, padded":
        assert decode(frame, link) == (TCP, Address(CLIENT, 1), Address(SERVER, 2), b"x", 0, 3, 4, ACK)
    else:
        assert decode(frame, link) == SAID


@pytest.mark.parametrize("frame", [
    (1, ether(SIX, 0x86DD)), (101, SIX), (229, SIX), (0, b"\x1e\0\0\0" + SIX), (108, b"\0\0\0\x1e" + SIX),
    (0, b"\x18\0\0\0" + SIX), (0, b"\x0a\0\0\0" + SIX), (1, ether(b"\x11\x00\x12\x34\x00\x99\x00\x57" + SIX, 0x8864)),
    (1, ether(b"\x00\x02\x01\x40" + SIX, 0x8847)), (1, ether(ip4(SIX, protocol=41))),
])
def test_ipv6_is_found_in_every_wrapping(frame: tuple[int, bytes]) -> None:
    """The same for IPv6."""
    assert decode(frame[1], frame[0]) == SAID_SIX


@pytest.mark.parametrize("headers", [
    [(0, b"\0\0\1\4\0\0\0\0")], [(43, bytes(8))], [(60, bytes(24))], [(0, bytes(8)), (60, bytes(8)), (43, bytes(16))],
    [(51, bytes(24))], [(135, bytes(8))], [(44, bytes(8))],
])
def test_ipv6_extension_headers_are_followed(headers: list[tuple[int, bytes]]) -> None:
    """Hop-by-hop, routing, destination options, authentication, mobility, and a fragment header of a whole packet."""
    data = SEGMENT
    following = 6
    for kind, body in reversed(headers):
        length = len(body) // 4 - 2 if kind == 51 else 0 if kind == 44 else len(body) // 8 - 1
        data = bytes((following, length)) + body[2:] + data
        following = kind
    assert decode(ip6(data, protocol=following), 101) == SAID_SIX


def test_udp() -> None:
    """Datagrams on the short and the long way; trailing bytes behind the datagram's own length are not its."""
    said = (UDP, Address(CLIENT, 5060), Address(SERVER, 5061), b"a datagram long enough", 0, 0, 0, 0)
    data = udp(5060, 5061, b"a datagram long enough")
    assert decode(ether(ip4(data, protocol=17))) == said
    assert decode(ip4(data, protocol=17), 101) == said
    assert decode(ether(ip4(data + b"behind", protocol=17))) == said
    assert decode(ether(ip4(udp(5060, 5061, b""), protocol=17))) == (*said[:3], b"", 0, 0, 0, 0)


def test_snapped_packets_say_how_much_is_missing() -> None:
    """What the snap length cut off is counted, but not what IP never said was there."""
    frame = ether(FOUR)
    for cut in range(1, 10):
        assert decode(frame[:-cut], wire=len(frame)) == (*SAID[:3], b"NICK amy\r\n"[:-cut], cut, *SAID[5:])
    assert decode(frame[:40], wire=len(frame)) is None
    assert decode(ether(SIX, 0x86DD)[:-4], wire=len(SIX) + 14) == (*SAID_SIX[:3], b"NICK a", 4, *SAID_SIX[5:])


def test_offloaded_packets_have_no_length() -> None:
    """Total length 0 (the network card fills it in): the packet's own length counts."""
    assert decode(ether(ip4(SEGMENT, total=0))) == SAID
    assert decode(ip4(SEGMENT, total=0), 101) == SAID


@pytest.mark.parametrize("frame", [
    b"", ether(b""), ether(b"\x45" + bytes(10)), ether(ip4(SEGMENT[:19])), ether(ip4(SEGMENT, protocol=1)),
    ether(b"\x35" + FOUR[1:]), ether(b"\x44" + FOUR[1:]), ether(ip4(SEGMENT, total=19)), ether(SIX[:39], 0x86DD),
    ether(ip4(tcp(1, 2, 3, 4, 0)[:12] + b"\x40" + bytes(7))), ether(ip4(tcp(1, 2, 3, 4, 0)[:12] + b"\xf0" + bytes(7))),
    ether(ip4(b"1234567", protocol=17)), ether(b"\x08\x06" + bytes(40), 0x0806), ether(b"\x00\x02" * 40, 0x8847),
    ether(VLAN * 2, 0x8100), ether(ip6(b"\x06\xff" + bytes(20), protocol=0), 0x86DD), ether(bytes(60), 0x8864),
    ether((VLAN + b"\x81\x00") * 40 + b"\x08\x00" + FOUR, 0x8100),
])
def test_what_is_broken_or_foreign_is_left_out(frame: bytes) -> None:
    """Short, inconsistent or unknown packets give nothing, and no exception."""
    assert decode(frame) is None


@given(st.sampled_from(sorted(LINKS)), st.sampled_from([b"", *(frame for _, frame in WRAPPED.values())]),
       st.binary(max_size=120), st.integers(0, 120))
def test_any_bytes_are_survived(link: int, frame: bytes, noise: bytes, at: int) -> None:
    """Damaged packets of every link type: no exception, and nothing outside the packet is given out."""
    frame = frame[:at] + noise + frame[at + len(noise):]
    found = Packets(Limits()).decode(0.0, link, b"<" + frame + b">", 1, 1 + len(frame), len(frame))
    if found is not None:
        _, key, data, start, stop, missing, _, _, _ = found
        assert len(key) in (12, 36)
        assert 0 <= start <= stop <= len(data)
        assert missing >= 0


def test_unknown_link_types_are_counted() -> None:
    """Packets of link types that are not read here are counted by type."""
    packets = Packets(Limits())
    assert decode(FOUR, 147, packets=packets) is None
    assert decode(FOUR, 147, packets=packets) is None
    assert packets.unknown == {147: 2}


def test_keys_turn() -> None:
    """The key of the answer is the key with its ends exchanged."""
    for frame in (FOUR, SIX):
        found = Packets(Limits()).decode(0.0, 101, frame, 0, len(frame), len(frame))
        assert found is not None
        assert ends(turned(found[1])) == ends(found[1])[::-1]
        assert turned(turned(found[1])) == found[1]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_community_id_of_a_key(transport: str) -> None:
    """The same as the model's, for both directions."""
    for frame in (FOUR, SIX):
        found = Packets(Limits()).decode(0.0, 101, frame, 0, len(frame), len(frame))
        assert found is not None
        wanted = community_id(*ends(found[1]), transport)
        assert wanted is not None
        assert community(found[1], transport) == community(turned(found[1]), transport) == wanted.encode()


# -- fragments

LONG = tcp(40000, 6667, 1, 1, ACK, bytes(range(256)) * 8)


def pieces4(size: int = 504, ident: int = 9, protocol: int = 6, data: bytes = LONG) -> list[bytes]:
    """The fragments of an IPv4 packet."""
    return [
        ip4(data[at:at + size], ident=ident, protocol=protocol,
            fragment=at // 8 | (0x2000 if at + size < len(data) else 0))
        for at in range(0, len(data), size)
    ]


def pieces6(size: int = 504) -> list[bytes]:
    return [
        ip6(struct.pack("!BBHI", 6, 0, at | (at + size < len(LONG)), 77) + LONG[at:at + size], protocol=44)
        for at in range(0, len(LONG), size)
    ]


@pytest.mark.parametrize("pieces", [pieces4(), pieces6()])
def test_fragments_in_any_order(pieces: list[bytes]) -> None:
    """The datagram comes with its last missing fragment, whatever the order; a fragment seen twice does no harm."""
    for order in itertools.permutations(pieces):
        packets = Packets(Limits())
        said = [decode(piece, 101, packets=packets) for piece in (order[0], *order)]
        assert said[:-1] == [None] * (len(said) - 1)
        last = said[-1]
        assert last is not None and last[3] == bytes(range(256)) * 8
        assert packets.strange == {}


def test_fragments_of_different_datagrams_do_not_mix() -> None:
    """Identifier and protocol are part of a fragment's name."""
    packets = Packets(Limits())
    ones, twos = pieces4(ident=1), pieces4(ident=1, protocol=17, data=udp(1, 2, bytes(2060)))
    others = pieces4(ident=2, data=LONG[:20] + bytes(2048))
    said = [decode(piece, 101, packets=packets) for trio in zip(ones, twos, others, strict=True) for piece in trio]
    assert said[:-3] == [None] * (len(said) - 3)
    assert [(one[0], one[3]) for one in said[-3:] if one] == [
        (TCP, bytes(range(256)) * 8), (UDP, bytes(2060)), (TCP, bytes(2048)),
    ]


def test_overlapping_fragments_never_become_whole() -> None:
    """What a receiver makes of an overlap depends on the receiver: such a datagram is left out and told."""
    packets = Packets(Limits())
    first, *rest = pieces4()
    evil = ip4(b"E" * 504, ident=9, fragment=0x2000 | 8)
    assert [decode(piece, 101, packets=packets) for piece in (first, evil, *rest)] == [None] * (len(rest) + 2)
    assert packets.strange == {"ip.fragment_overlap": 1}


@pytest.mark.parametrize("bad", [
    ip4(b"x" * 12, fragment=0x2000),  # a middle fragment that is no multiple of eight
    ip4(b"x" * 64, fragment=8191),  # beyond the longest datagram
    ip4(b"", fragment=0x2000),
])
def test_impossible_fragments_are_told(bad: bytes) -> None:
    """Fragments that no sender makes are left out and counted."""
    packets = Packets(Limits())
    assert decode(bad, 101, packets=packets) is None
    assert packets.strange == {"ip.bad_fragment": 1}


def test_fragments_are_bounded() -> None:
    """No more than limits.capture_fragments are held; the oldest datagram leaves first; late ones start afresh."""
    packets = Packets(Limits(capture_fragments=10))
    for ident in range(100):
        decode(pieces4(ident=ident)[0], 101, packets=packets)
    assert packets.strange == {"ip.fragments_dropped": 90}
    said = [decode(piece, 101, packets=packets) for piece in pieces4(ident=99)[1:]]
    assert said[-1] is not None
    assert [decode(piece, 101, packets=packets) for piece in pieces4(ident=0)[1:]][-1] is None


def test_fragments_do_not_wait_for_ever() -> None:
    """A fragment that comes limits.capture_hole_seconds after the first belongs to another datagram."""
    packets = Packets(Limits())
    first, *rest = pieces4()
    decode(first, 101, packets=packets, at=0.0)
    assert [decode(piece, 101, packets=packets, at=31.0) for piece in rest][-1] is None
    assert decode(first, 101, packets=packets, at=32.0) is not None
