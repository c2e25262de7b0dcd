"""Reading capture files."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.drivers.pcap import Capture, CaptureError, find, is_capture, open_capture
from inspector.model import Limits
from tests.drivers.crafted import block, enhanced, interface, pcap, section

FRAMES = [(1000.25, b"first frame"), (1001.5, b""), (1002.000001, b"third")]


def read(data: bytes, limits: Limits | None = None) -> tuple[list[tuple[float, int, bytes, int]], str | None]:
    """([(time, link type, packet, bytes on the wire)], fault)."""
    capture = Capture(io.BytesIO(data), "x", limits or Limits())
    packets = [(at, link, data[a:b], wire) for at, link, data, a, b, wire in capture]
    assert capture.packets == len(packets)
    return packets, capture.fault


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_both_byte_orders_and_resolutions(order: str, nano: bool) -> None:
    """Times, link type, lengths and bytes come out the same whatever machine wrote the file."""
    packets, fault = read(pcap(FRAMES, 113, order=order, nano=nano))
    assert fault is None
    assert [packet[1:] for packet in packets] == [(113, frame, len(frame)) for _, frame in FRAMES]
    assert [packet[0] for packet in packets] == pytest.approx([at for at, _ in FRAMES], abs=1e-6)


def test_nanoseconds_are_not_lost() -> None:
    """A nanosecond capture keeps its fraction as far as a float can."""
    packets, _ = read(pcap([(12.123456789, b"x")], nano=True))
    assert packets[0][0] == pytest.approx(12.123456789, abs=1e-9)


def test_the_patched_pcap_with_longer_record_headers() -> None:
    """Magic 0xa1b2cd34: eight bytes more before each packet."""
    data = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    data += struct.pack("<IIII", 5, 0, 3, 3) + b"patched!" + b"abc"
    assert read(data) == ([(5.0, 1, b"abc", 3)], None)


def test_a_snapped_packet_tells_its_length_on_the_wire() -> None:
    """The last field is what was on the wire, not what was kept."""
    packets, fault = read(pcap([(1.0, b"0123456789")], snap=4))
    assert (packets, fault) == ([(1.0, 1, b"0123", 10)], None)


def test_many_blocks_of_reading() -> None:
    """Packets that lie across the borders of what is read at a time come out whole."""
    frames = [(float(n), bytes([n % 251]) * (n * 7 % 60000)) for n in range(200)]
    packets, fault = read(pcap(frames))
    assert fault is None
    assert [(at, data) for at, _, data, _ in packets] == frames


def test_a_truncated_pcap_gives_what_is_whole_and_says_so() -> None:
    """Cut anywhere: all whole packets, and a fault unless the cut is at a packet's end."""
    data = pcap(FRAMES)
    ends = [24]
    for _, frame in FRAMES:
        ends.append(ends[-1] + 16 + len(frame))
    for cut in range(24, len(data) + 1):
        packets, fault = read(data[:cut])
        assert len(packets) == sum(end <= cut for end in ends[1:])
        assert (fault is None) == (cut in ends), cut
    assert read(data[:20]) == ([], "ends inside its header (after 0 packets)")


def test_a_length_that_cannot_be_is_not_believed() -> None:
    """A record of four gigabytes ends the reading; nothing of that size is kept."""
    data = pcap(FRAMES[:1]) + struct.pack("<IIII", 1, 1, 2**32 - 1, 2**32 - 1) + b"x" * 100
    packets, fault = read(data)
    assert len(packets) == 1
    assert fault is not None and "capture_packet_bytes" in fault


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_blocks_of_all_kinds(order: str) -> None:
    """Enhanced, simple and obsolete packet blocks, several interfaces with their own time, foreign blocks between."""
    nine = struct.pack(order + "HHB3x", 9, 1, 9)
    half = struct.pack(order + "HHB3x", 9, 1, 0x80 | 1)
    offset = struct.pack(order + "HHq", 14, 8, 1000)
    data = section(order)
    data += interface(1, options=nine, order=order) + interface(101, options=half + offset, order=order)
    data += enhanced(b"nano", 3_000_000_001, order=order)
    data += block(5, b"statistics", order)
    data += block(0xBAD, b"custom data", order)
    data += enhanced(b"half seconds", 3, number=1, order=order)
    data += block(3, struct.pack(order + "I", 6) + b"simple", order)
    data += block(2, struct.pack(order + "HHIIII", 0, 7, 0, 4_000_000_000, 3, 9) + b"old", order)
    packets, fault = read(data)
    assert fault is None
    assert packets == [
        (pytest.approx(3.000000001, abs=1e-9), 1, b"nano", 4), (1001.5, 101, b"half seconds", 12),
        (1001.5, 1, b"simple", 6), (4.0, 1, b"old", 9),
    ]


def test_a_simple_packet_is_cut_by_the_first_interface() -> None:
    """A simple packet block has no captured length: the interface's snap length cuts it."""
    data = section() + interface(snap=4) + block(3, struct.pack("<I", 10) + b"0123")
    assert read(data) == ([(0.0, 1, b"0123", 10)], None)


def test_sections_start_afresh() -> None:
    """A second section, of the other byte order too, has its own interfaces."""
    data = section("<") + interface(1) + enhanced(b"a", 1_000_000)
    data += section(">") + interface(113, order=">") + enhanced(b"b", 2_000_000, order=">")
    assert read(data) == ([(1.0, 1, b"a", 1), (2.0, 113, b"b", 1)], None)


@pytest.mark.parametrize(("tail", "said"), [
    (block(6, struct.pack("<IIIII", 7, 0, 0, 1, 1) + b"x"), "not true to its interface"),
    (block(6, struct.pack("<IIIII", 0, 0, 0, 500, 500) + b"x"), "not true to its interface or length"),
    (block(6, b"short"), "too short"),
    (struct.pack("<II", 6, 13) + bytes(20), "impossible length 13"),
    (struct.pack("<II", 6, 0) + bytes(20), "impossible length 0"),
    (struct.pack("<II", 9, 0xFFFFFFF0) + bytes(20), "has a block of 4294967280 bytes"),
    (struct.pack("<II", 6, 1 << 24) + bytes(20), "capture_packet_bytes"),
    (struct.pack("<II", 9, 100) + bytes(20), "ends inside a block"),
    (struct.pack("<II", 9, 16) + b"abcd" + struct.pack("<I", 20), "two lengths differ"),
    (struct.pack("<III", 0x0A0D0D0A, 28, 0) + bytes(16), "without byte order"),
    (block(1, b"x"), "broken or one too many interface"),
    (b"tail", "ends inside a block"),
])
def test_broken_pcapng_gives_what_came_before(tail: bytes, said: str) -> None:
    """Whatever is wrong, the packets before it are given out, and a sentence says what it was."""
    packets, fault = read(section() + interface() + enhanced(b"good", 1_000_000) + tail)
    assert packets == [(1.0, 1, b"good", 4)]
    assert fault is not None and said in fault and "after 1 packets" in fault


def test_gzip_is_unpacked_on_the_way() -> None:
    """A packed capture, also in several members, reads like a plain one."""
    data = pcap(FRAMES)
    packed = gzip.compress(data[:40]) + gzip.compress(data[40:])
    assert read(packed) == read(data)


def test_broken_gzip_gives_what_could_be_unpacked() -> None:
    """A packed capture that was cut, or whose bytes are wrong, gives its beginning and a fault."""
    frames = [(float(n), os.urandom(1000)) for n in range(50)]
    packed = gzip.compress(pcap(frames))
    packets, fault = read(packed[:30000])
    assert 20 < len(packets) < 50
    assert fault is not None and "read on" in fault
    broken = bytearray(packed)
    broken[15000:15100] = bytes(100)
    packets, fault = read(bytes(broken))
    assert len(packets) < 50
    assert fault is not None


@pytest.mark.parametrize(("data", "said"), [(b"", "is empty"), (b"GIF89a....", "is not a capture")])
def test_what_is_no_capture(data: bytes, said: str) -> None:
    """Other files end with a sentence, not with an exception."""
    packets, fault = read(data)
    assert packets == []
    assert fault is not None and fault.startswith(said)


@given(st.binary(max_size=400), st.sampled_from([pcap([]), section(), section() + interface(), section(">"), b""]))
def test_any_bytes_end_in_packets_or_a_fault(tail: bytes, head: bytes) -> None:
    """Hostile files: no exception, nothing given out that lies outside the buffer."""
    for _, _, packet, wire in read(head + tail)[0]:
        assert len(packet) <= wire


def test_captures_are_found_by_content(tmp_path: Path) -> None:
    """A folder stands for the captures in it and below, in the order of their names; other files are passed over."""
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_bytes(pcap(FRAMES))
    (tmp_path / "b" / "x.bin").write_bytes(section())
    (tmp_path / "b" / "packed").write_bytes(gzip.compress(pcap(FRAMES)))
    (tmp_path / "c.pcap").write_text("no capture, whatever the name says")
    (tmp_path / "d.gz").write_bytes(gzip.compress(b"no capture either"))
    (tmp_path / "e.gz").write_bytes(b"\x1f\x8bnot even packed")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "f").symlink_to(tmp_path / "gone")
    assert [name for name, _ in find([str(tmp_path)])] == [
        str(tmp_path / name) for name in ("a.txt", "b/packed", "b/x.bin")
    ]


def test_a_named_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """A file named by the user is opened whatever it holds; what does not exist is an error; - is stdin."""
    (tmp_path / "x").write_bytes(b"no capture")
    assert list(find([str(tmp_path / "x"), "-"])) == [(str(tmp_path / "x"), tmp_path / "x"), ("-", None)]
    with pytest.raises(CaptureError, match="no such file"):
        list(find([str(tmp_path / "missing")]))
    with pytest.raises(CaptureError, match="missing"):
        open_capture("missing", tmp_path / "missing", Limits())


def test_progress_is_told(tmp_path: Path) -> None:
    """`tick` is called with the bytes of the file that are read, packed bytes where it is packed."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(pcap([(1.0, os.urandom(60000))] * 40)))
    said: list[int] = []
    capture = open_capture("x", tmp_path / "x.gz", Limits())
    capture.tick = said.append
    for _ in capture:
        pass
    capture.close()
    assert said == sorted(said)
    assert said[-1] == (tmp_path / "x.gz").stat().st_size


def test_is_capture_knows_all_magics() -> None:
    """Both formats in both byte orders, and the variants."""
    for magic in (0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34):
        assert is_capture(magic.to_bytes(4, "little")) and is_capture(magic.to_bytes(4, "big"))
    assert is_capture(section())
    assert not is_capture(b"\0\0\0\0")
