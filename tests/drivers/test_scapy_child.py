"""Foreign link types, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.drivers import scapy_child
from inspector.drivers.packets import ACK, TCP, Packets, ends
from inspector.drivers.scapy_child import Dissector
from inspector.model import Address, Limits
from tests.drivers.crafted import CLIENT, SERVER, ip4, ip6, tcp

DOT11 = b"\x08\x02\x00\x00" + bytes(18) + b"\x10\x00" + b"\xaa\xaa\x03\0\0\0"
"""An 802.11 data frame's header (IEEE 802.11 section 9.3.2) with LLC and SNAP, without EtherType."""
FRAME = DOT11 + b"\x08\x00" + ip4(tcp(40000, 6667, 1, 1, ACK, b"over the air"))
WIFI = 105


@pytest.fixture
def dissector() -> Iterator[Dissector]:
    """A dissector whose child is ended with the test."""
    made = Dissector(Limits())
    yield made
    made.close()


def test_ip_is_found_in_a_foreign_link_layer(dissector: Dissector) -> None:
    """Plain 802.11 frames are read: packet after packet by the same child, IPv6 too; frames without IP give nothing."""
    packets = Packets(Limits(), dissector)
    for _ in range(3):
        found = packets.decode(0.0, WIFI, b"<" + FRAME + b">", 1, 1 + len(FRAME), len(FRAME))
        assert found is not None
        protocol, key, data, start, stop = found[:5]
        assert (protocol, ends(key)) == (TCP, (Address(CLIENT, 40000), Address(SERVER, 6667)))
        assert data[start:stop] == b"over the air"
    six = ip6(tcp(1, 2, 1, 1, ACK, b"six"))
    assert dissector(WIFI, DOT11 + b"\x86\xdd" + six) == six
    assert dissector(WIFI, DOT11 + b"\x08\x06" + bytes(28)) is None
    assert dissector(WIFI, b"") is None
    assert dissector(9999, FRAME) is None
    assert packets.unknown == {}
    assert dissector.usable


def test_broken_frames_are_survived(dissector: Dissector) -> None:
    """Damaged packets give nothing or something, and the child goes on."""
    for cut in range(0, len(FRAME), 7):
        dissector(WIFI, FRAME[:cut])
        dissector(WIFI, FRAME[:cut] + b"\xff" * 40)
    assert dissector(WIFI, FRAME) is not None


def test_the_child_has_no_network_and_no_files() -> None:
    """In the state in which it reads packets neither a socket nor a file can be opened."""
    program = """
import sys
from inspector.drivers import scapy_child

class Source:
    buffer = property(lambda self: self)
    def read(self, size):
        import os
        calls = (("socket", socket.socket), ("file", lambda: open("/dev/null")), ("pipe", os.pipe))
        for name, call in calls:
            try:
                call()
                said = "opened"
            except OSError:
                said = "refused"
            sys.stdout.write(f"{name} {said}\\n")
        sys.stdout.flush()
        return b""

sys.stdin = Source()
import socket
scapy_child.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.stdout.split("\n")[:3] == ["socket refused", "file refused", "pipe refused"]


def _child(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let every child run this program."""
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    monkeypatch.setattr(scapy_child, "_start", start)


@pytest.mark.parametrize("program", [
    "import time; time.sleep(60)",
    "raise SystemExit(0)",
    "import sys; sys.stdout.buffer.write(b'\\xff\\xff\\xff\\xff'); sys.stdout.flush(); sys.stdin.read()",
    "import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\5abc'); sys.stdout.flush()",
])
def test_a_child_that_fails_is_given_up(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that hang, die or lie are killed; after three of them packets are only counted."""
    _child(monkeypatch, program)
    dissector = Dissector(Limits(capture_dissect_seconds=0.2))
    packets = Packets(Limits(), dissector)
    for _ in range(5):
        assert packets.decode(0.0, WIFI, FRAME, 0, len(FRAME), len(FRAME)) is None
    assert not dissector.usable
    assert not dissector.missing
    assert packets.unknown == {WIFI: 3}
    dissector.close()


def test_without_scapy_packets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scapy is not installed the child says so, and is not asked again."""
    _child(monkeypatch, f"raise SystemExit({scapy_child.MISSING})")
    dissector = Dissector(Limits())
    packets = Packets(Limits(), dissector)
    for _ in range(3):
        assert packets.decode(0.0, WIFI, FRAME, 0, len(FRAME), len(FRAME)) is None
    assert dissector.missing
    assert packets.unknown == {WIFI: 3}
