"""TCP streams put together again."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.drivers.reassembly import Reassembly
from inspector.model import DOWN, UP, Address, Limits
from tests.drivers.crafted import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, Wire, ip4, ip6, tcp, udp


def test_a_whole_conversation() -> None:
    """Both ways in order, across the wrap of the client's numbers, ends, counters, who is the client."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"NICK a\r\n", 1)
    wire.down(1, b":srv hello\r\n", 9)
    wire.up(9, b"QUIT\r\n", 13)
    wire.down(13, b"", 15, FIN | ACK)
    wire.up(15, b"", 14, FIN | ACK)
    wire.down(14, b"", 16)
    flow = wire.finish()
    assert [(c.way, c.data, c.gap) for c in flow.chunks] == [
        (UP, b"NICK a\r\n", 0), (DOWN, b":srv hello\r\n", 0), (UP, b"QUIT\r\n", 0),
    ]
    assert flow.ends == [DOWN, UP]
    track = flow.track
    assert (track.client, track.server) == (Address(CLIENT, 40000), Address(SERVER, 6667))
    assert (track.packets, track.bytes, track.from_start, track.ended) == (9, 26, True, True)
    assert flow.chunks[0].at == pytest.approx(1000.04)
    assert len(wire.flows) == 1


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_delivery_gives_the_same_stream(data: bytes, draw: st.DataObject) -> None:
    """Segments cut anywhere, repeated, overlapping, in any order: the stream comes out once and in order."""
    cuts = sorted(draw.draw(st.sets(st.integers(1, len(data)), max_size=8)) | {0, len(data)})
    segments = list(pairwise(cuts))
    extra = draw.draw(st.lists(st.tuples(st.integers(0, len(data)), st.integers(0, 20)), max_size=6))
    segments += [(at, min(len(data), at + size)) for at, size in extra]
    wire = Wire()
    wire.shake()
    for begin, end in draw.draw(st.permutations(segments)):
        wire.up(1 + begin, data[begin:end], 1)
    flow = wire.finish()
    assert flow.up == data
    assert flow.oddities == []


@given(st.lists(st.tuples(
    st.booleans(), st.integers(-3, 3) | st.integers(-2**31, 2**31), st.binary(max_size=8), st.integers(-3, 3),
    st.sampled_from([ACK, ACK | FIN, SYN, SYN | ACK, RST, RST | ACK, 0, FIN, PSH | ACK]), st.floats(-5, 400),
), max_size=30))
def test_any_segments_are_survived(segments: list[tuple[bool, int, bytes, int, int, float]]) -> None:
    """Hostile segments: no exception, each flow told gone once, time never runs back within it."""
    wire = Wire(Limits(capture_flow_segments=4, capture_flow_bytes=16))
    wire.shake()
    for upward, seq, data, ack, flags, after in segments:
        (wire.up if upward else wire.down)(seq, data, ack, flags, after)
    wire.reassembly.finish()
    for flow in wire.flows:
        assert flow.gone_at is not None
        times = [c.at for c in flow.chunks]
        assert times == sorted(times)
        assert all(c.gap >= 0 for c in flow.chunks)
    assert (wire.reassembly._held, wire.reassembly._recent) == (0, 0)


def test_a_hole_that_is_filled_is_no_gap() -> None:
    """A lost segment that is sent again comes in its place; what came after waits for it."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"one ", 1)
    wire.up(9, b"three", 1)
    assert wire.flows[0].up == b"one "
    wire.up(5, b"two ", 1)
    assert wire.finish().up == b"one two three"


def test_a_hole_that_the_receiver_has_is_a_gap() -> None:
    """The receiver's ACK passes bytes that the capture lost: a gap, told with what follows, soon but not at once."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"one ", 1)
    wire.up(9, b"three", 1)
    wire.down(1, b"", 14)
    assert wire.flows[0].up == b"one "
    for _ in range(8):
        wire.down(1, b"", 14)
    assert wire.flows[0].up == b"one [4]three"


def test_a_segment_captured_behind_its_ack_is_no_gap() -> None:
    """Captures on several queues put a segment behind the ACK for it."""
    wire = Wire()
    wire.shake()
    wire.down(1, b"", 5)
    wire.up(1, b"late", 1)
    assert wire.finish().up == b"late"


def test_a_hole_without_anything_behind_it_is_told_at_the_end() -> None:
    """The last bytes of a way are missing: the gap comes with its end."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"abc", 1)
    wire.down(1, b"", 9)
    flow = wire.finish()
    assert flow.up == b"abc[5]"


def test_an_unanswered_hole_is_a_gap_in_time() -> None:
    """One way captured only: a hole that is not filled within limits.capture_hole_seconds is a gap."""
    wire = Wire()
    wire.shake()
    wire.up(3, b"cd", 1)
    wire.up(5, b"ef", 1, after=29.0)
    assert wire.flows[0].up == b""
    wire.up(7, b"gh", 1, after=2.0)
    assert wire.flows[0].up == b"[2]cdefgh"


@pytest.mark.parametrize("limits", [
    Limits(capture_flow_segments=4), Limits(capture_flow_bytes=8), Limits(capture_held_bytes=450),
])
def test_what_waits_for_a_hole_is_bounded(limits: Limits) -> None:
    """Too many segments, too many bytes, or too many of all flows together: the hole is given up."""
    wire = Wire(limits)
    wire.shake()
    for number in range(5):
        wire.up(3 + 2 * number, b"ab", 1)
    assert wire.flows[0].up == b"[2]" + b"ab" * 5


def test_snapped_segments_are_gaps_at_their_end() -> None:
    """What the snap length cut off is a gap before the next bytes, and nothing waits for it."""
    wire = Wire()
    wire.shake()
    for number in range(3):
        frame = ip4(tcp(40000, 6667, 2**32 - 7 + 1 + 10 * number, 5001, ACK, b"0123456789"))
        wire.at += 0.01
        wire.reassembly.run([(wire.at, 101, frame[:-4], 0, len(frame) - 4, len(frame))])
    flow = wire.finish()
    assert flow.up == b"012345[4]012345[4]012345[4]"
    assert [c.data for c in flow.chunks] == [b"012345"] * 3 + [b""]
    assert flow.track.bytes == 30


def test_the_first_bytes_win() -> None:
    """What was delivered is what the receiver read: different bytes sent again are told, not used."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"PRIVMSG amy :good\r\n", 1)
    wire.up(1, b"PRIVMSG amy :evil\r\n", 1)
    wire.up(14, b"evil\r\nQUIT\r\n", 1)
    flow = wire.finish()
    assert flow.up == b"PRIVMSG amy :good\r\nQUIT\r\n"
    assert flow.oddities == ["tcp.overlap_conflict"] * 2


def test_the_first_of_the_waiting_bytes_win() -> None:
    """Two different contents of a place behind a hole: the first stays, the conflict is told."""
    wire = Wire()
    wire.shake()
    wire.up(4, b"def", 1)
    wire.up(3, b"CDEFG", 1)
    wire.up(9, b"ij", 1)
    wire.up(5, b"EFGHIJK", 1)
    wire.up(1, b"ab", 1)
    flow = wire.finish()
    assert flow.up == b"abCdefGHijK"
    assert flow.oddities == ["tcp.overlap_conflict"] * 3


def test_a_flow_tells_only_some_oddities() -> None:
    """A flood of conflicts is a few rows."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"good", 1)
    for _ in range(100):
        wire.up(1, b"evil", 1)
    assert len(wire.finish().oddities) == 8


def test_keep_alives_and_probes_are_no_conflict() -> None:
    """A keep-alive repeats the byte before with any content; a zero window probe is followed by the same byte."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"abc", 1)
    wire.up(3, b"\0", 1)
    wire.up(3, b"", 1)
    wire.up(4, b"d", 1)
    wire.up(4, b"def", 1)
    flow = wire.finish()
    assert flow.up == b"abcdef"
    assert flow.oddities == []


def test_comparing_is_bounded() -> None:
    """Bytes further back than limits.capture_recent_bytes cannot be compared any more; the stream stays right."""
    wire = Wire(Limits(capture_recent_bytes=250))
    wire.shake()
    for number in range(10):
        wire.up(1 + 4 * number, b"abcd", 1)
    wire.up(1, b"EVIL", 1)
    wire.up(33, b"EVILEVILgood", 1)
    flow = wire.finish()
    assert flow.up == b"abcd" * 10 + b"good"
    assert flow.oddities == ["tcp.overlap_conflict"]


@pytest.mark.parametrize(("first", "servers", "client"), [
    ("up", frozenset({6667}), CLIENT), ("down", frozenset({6667}), CLIENT),
    ("up", frozenset({40000}), SERVER), ("down", frozenset(), SERVER),
])
def test_joined_in_the_middle(first: str, servers: frozenset[int], client: str) -> None:
    """Without a SYN a known port tells the server, else the first to be seen is the client; both ways are read."""
    wire = Wire(servers=servers)
    for side in (first, "up", "down"):
        if side == "up":
            wire.up(100, b"from client", 500)
        else:
            wire.down(500, b"from server", 100)
    flow = wire.finish()
    assert flow.track.client.ip == client
    assert not flow.track.from_start
    assert {flow.up, flow.down} == {b"from client", b"from server"}


def test_low_ports_are_servers() -> None:
    """Without a SYN and a known port, the one port below 1024 is the server's."""
    wire = Wire()
    wire.packet(ip4(tcp(443, 50000, 1, 1, ACK, b"x"), SERVER, CLIENT))
    assert wire.finish().track.server == Address(SERVER, 443)


def test_only_the_answer_to_the_syn_was_captured() -> None:
    """A SYN with ACK comes from the server, and its ACK tells where the client begins."""
    wire = Wire()
    wire.down(0, ack=1, flags=SYN | ACK)
    wire.up(1, b"abc", 1)
    flow = wire.finish()
    assert flow.track.client.ip == CLIENT
    assert flow.track.from_start
    assert flow.up == b"abc"


def test_data_in_the_syn() -> None:
    """TCP Fast Open (RFC 7413): the SYN's data is the first of the stream."""
    wire = Wire()
    wire.up(0, b"early ", flags=SYN)
    wire.down(0, ack=7, flags=SYN | ACK)
    wire.up(7, b"bird", 1)
    assert wire.finish().up == b"early bird"


def test_reset_ends_both_ways() -> None:
    """A RST where the receiver waits ends the flow; what comes after it is only counted."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"abc", 1)
    wire.down(1, b"", 4, RST | ACK)
    wire.up(4, b"more", 1)
    flow = wire.finish()
    assert flow.up == b"abc"
    assert sorted(flow.ends) == [UP, DOWN]
    assert flow.track.packets == 6


def test_a_forged_reset_does_not_end_a_flow() -> None:
    """A RST that the receiver would not believe (RFC 5961) is told, and the flow is read on."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"abc", 1)
    wire.down(1, b"", 4)
    wire.up(5000, b"", 1, RST)
    wire.up(4, b"def", 1)
    flow = wire.finish()
    assert flow.up == b"abcdef"
    assert flow.oddities == ["tcp.stray_reset"]


def test_a_refused_connection() -> None:
    """SYN, RST: a flow without bytes."""
    wire = Wire()
    wire.up(0, flags=SYN)
    wire.packet(ip4(tcp(6667, 40000, 0, 2**32 - 6, RST | ACK), SERVER, CLIENT))
    flow = wire.finish()
    assert (flow.chunks, flow.oddities, flow.track.packets) == ([], [], 2)


def test_fin_before_the_last_bytes() -> None:
    """A FIN that overtakes data ends its way when the data is there."""
    wire = Wire()
    wire.shake()
    wire.up(4, b"", 1, FIN | ACK)
    assert wire.flows[0].ends == []
    wire.up(1, b"abc", 1)
    assert (wire.flows[0].up, wire.flows[0].ends) == (b"abc", [UP])
    wire.up(4, b"behind the end", 1)
    assert wire.finish().up == b"abc"


def test_half_close_lets_the_other_way_go_on() -> None:
    """After the client's FIN the server may still talk."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"", 1, FIN | ACK)
    wire.down(1, b"still here", 2)
    flow = wire.finish()
    assert flow.down == b"still here"
    assert flow.ends == [UP, DOWN]


@pytest.mark.parametrize("ended", [True, False])
def test_a_new_connection_on_the_same_ports(ended: bool) -> None:
    """Ports used again make a new flow, at once after an end, else when the other side answers the new SYN."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"old", 1)
    if ended:
        wire.up(4, b"", 1, RST)
    wire.up(700000, flags=SYN)
    wire.down(900000, ack=700001, flags=SYN | ACK)
    wire.up(700001, b"new", 900001)
    wire.down(900001, b"answer", 700004)
    wire.reassembly.finish()
    assert [(flow.up, flow.down) for flow in wire.flows] == [(b"old", b""), (b"new", b"answer")]
    assert [flow.track.packets for flow in wire.flows] == [5 if ended else 4, 4]
    assert wire.flows[1].track.opened == pytest.approx(1000.06 if ended else 1000.05)


def test_a_new_connection_of_which_only_one_way_is_seen() -> None:
    """Only the client's packets were captured: going on behind the new SYN makes the new flow."""
    wire = Wire()
    wire.up(0, flags=SYN)
    wire.up(1, b"old", 1)
    wire.up(700000, flags=SYN)
    wire.up(700001, b"new", 900001)
    wire.reassembly.finish()
    assert [flow.up for flow in wire.flows] == [b"old", b"new"]


def test_a_forged_syn_does_not_split_a_flow() -> None:
    """A SYN that the other side does not take up leaves the flow whole (RFC 5961 section 4)."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"first ", 1)
    wire.up(700000, flags=SYN)
    wire.down(1, b"", 7)
    wire.up(7, b"second", 1)
    flow = wire.finish()
    assert len(wire.flows) == 1
    assert flow.up == b"first second"


def test_repeated_handshakes_are_one_flow() -> None:
    """SYN and its answer sent again do not begin anything."""
    wire = Wire()
    wire.up(0, flags=SYN)
    wire.up(0, flags=SYN)
    wire.down(0, ack=1, flags=SYN | ACK)
    wire.down(0, ack=1, flags=SYN | ACK)
    wire.up(1, b"abc", 1)
    assert wire.finish().up == b"abc"
    assert len(wire.flows) == 1


def test_made_up_headers_are_read_by_order() -> None:
    """Some loopback sniffers write headers without ACK and with useless numbers: the order of packets counts."""
    wire = Wire()
    wire.packet(ip4(tcp(40000, 6667, 0, 0, SYN)))
    wire.packet(ip4(tcp(6667, 40000, 0, 0, SYN | ACK), SERVER, CLIENT))
    wire.packet(ip4(tcp(40000, 6667, 0, 0, 0, b"one ")))
    wire.packet(ip4(tcp(40000, 6667, 0x04000000, 0, 0, b"two")))
    wire.packet(ip4(tcp(6667, 40000, 99, 0, 0, b"answer"), SERVER, CLIENT))
    flow = wire.finish()
    assert (flow.up, flow.down, flow.oddities) == (b"one two", b"answer", ["tcp.made_up_headers"])


def test_data_without_ack_in_a_true_flow_is_left_out() -> None:
    """No TCP takes a segment without ACK: forged bytes of that kind do not get into the stream."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"good ", 1)
    wire.up(6, b"EVIL!", flags=0)
    wire.up(6, b"again", 1)
    flow = wire.finish()
    assert (flow.up, flow.oddities) == (b"good again", ["tcp.no_ack"])


def test_a_flow_that_is_given_up_is_counted_on() -> None:
    """When nobody listens any more bytes are dropped, packets and bytes are counted, the next flow is heard again."""
    wire = Wire(enough=2)
    wire.shake()
    wire.up(1, b"a", 1)
    wire.up(3, b"c", 1)
    wire.up(2, b"b", 1)
    wire.up(4, b"d", 1)
    wire.up(5, b"", 1, FIN | ACK)
    wire.down(1, b"", 6, FIN | ACK)
    assert (wire.flows[0].up, wire.flows[0].track.packets, wire.flows[0].track.bytes) == (b"ab", 9, 4)
    wire.up(700000, flags=SYN)
    wire.up(700001, b"new", 1)
    wire.reassembly.finish()
    assert [flow.up for flow in wire.flows] == [b"ab", b"new"]


def test_silent_flows_end() -> None:
    """A flow that was silent too long is over; what comes then is another one, joined in its middle."""
    wire = Wire(idle=100.0)
    wire.shake()
    wire.up(1, b"abc", 1)
    wire.up(4, b"def", 1, after=99.0)
    wire.up(7, b"ghi", 1, after=700.0)
    wire.reassembly.finish()
    assert [(flow.up, flow.track.from_start) for flow in wire.flows] == [(b"abcdef", True), (b"ghi", False)]
    assert wire.flows[0].gone_at == pytest.approx(1099.04)


def test_an_ended_flow_is_soon_forgotten() -> None:
    """Late packets of an ended flow are counted with it; a minute later they are another flow."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"", 1, RST)
    wire.up(1, b"", 1)
    wire.up(1, b"", 1, after=61.0)
    wire.reassembly.finish()
    assert [flow.track.packets for flow in wire.flows] == [5, 1]


def test_flows_are_bounded_and_the_most_silent_leaves() -> None:
    """At limits.capture_flows the flows that are silent for longest are told gone."""
    wire = Wire(Limits(capture_flows=16))
    for port in range(100):
        wire.packet(ip4(tcp(40000 + port, 6667, 1, 1, ACK, b"x")))
        wire.packet(ip4(tcp(39999, 6667, 1 + port, 1, ACK, b"y")))
    assert len(wire.reassembly._tcp) <= 32
    assert wire.reassembly.evicted >= 84
    busy = [flow for flow in wire.flows if flow.track.client.port == 39999]
    assert [flow.up for flow in busy] == [b"y" * 100]
    wire.reassembly.finish()
    assert all(flow.gone_at is not None for flow in wire.flows)


def test_silent_flows_are_swept() -> None:
    """Flows that ended or fell silent leave while new ones come, not only at the end of the capture."""
    wire = Wire()
    for port in range(1100):
        wire.packet(ip4(tcp(10000 + port, 6667, 1, 1, ACK, b"x")), after=1.0)
    assert sum(flow.gone_at is not None for flow in wire.flows) >= 400
    assert wire.reassembly.evicted == 0


def test_udp_flows() -> None:
    """Datagrams of both ways are one flow, in order, each a chunk; an empty one is only counted."""
    wire = Wire()
    wire.packet(ip4(udp(5000, 53, b"question"), protocol=17))
    wire.packet(ip4(udp(53, 5000, b"answer"), SERVER, CLIENT, 17))
    wire.packet(ip4(udp(5000, 53, b""), protocol=17))
    wire.packet(ip4(udp(5000, 53, b"later"), protocol=17), after=601.0)
    wire.reassembly.finish()
    assert [(flow.up, flow.down) for flow in wire.flows] == [(b"question", b"answer"), (b"later", b"")]
    first = wire.flows[0].track
    assert (first.transport, first.packets, first.bytes) == ("udp", 3, 14)
    assert wire.flows[0].ends == [UP, DOWN]


def test_tcp_and_udp_of_the_same_ports_are_two_flows() -> None:
    """The transport is part of what makes a flow."""
    wire = Wire()
    wire.packet(ip4(udp(5000, 53, b"u"), protocol=17))
    wire.packet(ip4(tcp(5000, 53, 1, 1, ACK, b"t")))
    wire.reassembly.finish()
    assert sorted(flow.up for flow in wire.flows) == [b"t", b"u"]


def test_a_packet_to_itself() -> None:
    """Both ends the same (the LAND attack): one flow, no exception, told gone once."""
    wire = Wire()
    for flags in (SYN, SYN | ACK, ACK, FIN | ACK, RST):
        wire.packet(ip4(tcp(139, 139, 5, 5, flags, b"x"), CLIENT, CLIENT))
    wire.reassembly.finish()
    assert all(flow.gone_at is not None for flow in wire.flows)


def test_ipv6_flows() -> None:
    """Addresses come in RFC 5952 form."""
    wire = Wire()
    wire.packet(ip6(tcp(40000, 6667, 1, 1, ACK, b"x")))
    assert wire.finish().track.client == Address("2001:db8::5", 40000)


def test_wakes_come_with_the_capture_clock() -> None:
    """The clock is that of the packets: `woken` is called before the packet that reaches the time."""
    wire = Wire()
    calls: list[tuple[float, int]] = []
    wire.reassembly.wake = 1000.025
    wire.reassembly.woken = lambda at: calls.append((at, len(wire.flows[0].chunks)))
    wire.up(1, b"a", 1)
    wire.up(2, b"b", 1)
    wire.reassembly.woken(0.0)
    calls.clear()
    wire.up(3, b"c", 1)
    assert [heard for _, heard in calls] == [2]
    assert calls[0][0] == pytest.approx(1000.03)


def test_time_does_not_run_back_within_a_flow() -> None:
    """Packets with earlier times than the flow's last take its last time."""
    wire = Wire()
    wire.shake()
    wire.up(1, b"a", 1)
    wire.up(2, b"b", 1, after=-5.0)
    wire.down(1, b"c", 3)
    times = [c.at for c in wire.finish().chunks]
    assert times == [times[0]] * 3


def test_a_long_stream_in_disorder_takes_linear_time() -> None:
    """A megabyte in segments that all come in reverse within windows: put together right, in bounded memory."""
    data = random.Random(1).randbytes(1 << 20)
    wire = Wire()
    wire.shake()
    packets = []
    for window in range(0, len(data), 64 * 1024):
        for at in reversed(range(window, window + 64 * 1024, 1024)):
            frame = ip4(tcp(40000, 6667, (2**32 - 6 + at) % 2**32, 5001, ACK, data[at:at + 1024]))
            packets.append((1001.0, 101, frame, 0, len(frame), len(frame)))
    wire.reassembly.run(packets)
    assert wire.finish().up == data


def test_nothing_is_understood_of_other_packets() -> None:
    """Packets without TCP or UDP are counted."""
    reassembly = Reassembly(Limits(), lambda track: Wire()._begin(track))
    reassembly.run([(1.0, 1, b"\0" * 60, 0, 60, 60)])
    assert (reassembly.undecoded, reassembly.last) == (1, 1.0)
