"""Connections between two AIM users that nobody announced, through the running gateway by SOCKS: several files on one,
a resumed one, direct IM with pictures. What conversations announce is in test_oscar_live.py."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.live.peers import ROOT, GatewayChild, now
from tests.live.test_modes import by_socks
from tests.ports import free_port
from tests.protocols.test_oft import COOKIE, direct, header, noise, picture, slow_checksum, with_pictures

pytestmark = pytest.mark.live

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
POLICY: dict[str, Any] = {
    "files": [{"when": {"file.name": "*stream*"}, "mode": "stream"}, {"when": {"protocol": "oscar"}, "mode": "spool"}],
    "rules": [
        {"name": "malware", "when": {"event": "file", "finding.rule": "core.eicar"}, "then": "block"},
        {"name": "names", "when": {"event": "file", "file.name": "*.scr"}, "then": "block"},
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact"},
        {"name": "forbidden", "when": {"event": "message", "text": "forbidden fruit"}, "then": "block"},
    ],
}
HARMLESS = noise(200_000)


class Pair:
    """The two ends of a connection through the gateway: `near` connected, `far` listened."""

    def __init__(self, gateway: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(10)
            self.near = by_socks(gateway, "127.0.0.1", listener.getsockname()[1])
            self.far, _ = listener.accept()
        for sock in (self.near, self.far):
            sock.settimeout(20)

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def over(self, sock: socket.socket) -> bytes:
        """All that one end still reads until the connection closes."""
        got = b""
        try:
            while data := sock.recv(65536):
                got += data
        except ConnectionError:
            pass
        return got


def read(sock: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        data = sock.recv(size - len(got))
        assert data, f"the connection ended after {len(got)} of {size} bytes"
        got += data
    return got


@pytest.fixture(scope="module")
def socks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayChild, int]]:
    """A running gateway for clients that use SOCKS, with the pack that knows EICAR."""
    folder = tmp_path_factory.mktemp("oft_gateway")
    shutil.copytree(ROOT / "signatures" / "core", folder / "signatures" / "core")
    port = free_port()
    gateway = GatewayChild(folder, [{
        "mode": "socks5", "address": f"127.0.0.1:{port}", "destinations": {"allow": ["127.0.0.0/8"]},
    }], policy=POLICY)
    yield gateway, port
    assert gateway.stop() == 0, gateway.child.text()


@pytest.fixture
def pair(socks: tuple[GatewayChild, int]) -> Iterator[Pair]:
    """A connection with nothing said on it."""
    with closing(Pair(socks[1])) as made:
        yield made


def offer(sender: socket.socket, receiver: socket.socket, name: str, content: bytes) -> None:
    """A prompt and its ack arrive as they were written."""
    prompt = header(0x0101, len(content), name, check=slow_checksum(content))
    sender.sendall(prompt)
    assert read(receiver, 256) == prompt
    ack = header(0x0202, len(content), name, cookie=COOKIE)
    receiver.sendall(ack)
    assert read(sender, 256) == ack


def test_several_files_on_one_connection_until_one_is_refused(socks: tuple[GatewayChild, int], pair: Pair) -> None:
    """Harmless ones arrive byte by byte, and their sender is told so; of the refused one nothing does."""
    since = now()
    for name, content in (("one.bin", HARMLESS), ("empty", b""), ("two.stream", HARMLESS)):
        offer(pair.far, pair.near, name, content)
        pair.far.sendall(content)
        assert read(pair.near, len(content)) == content
        done = header(0x0204, len(content), name, received=len(content), received_check=slow_checksum(content))
        pair.near.sendall(done)
        assert read(pair.far, 256) == done
    offer(pair.far, pair.near, "holiday.jpg", EICAR)
    pair.far.sendall(EICAR)
    assert pair.over(pair.near) == b""
    assert pair.over(pair.far) == b""
    gateway = socks[0]
    for name, complete in (("one.bin", True), ("empty", True), ("two.stream", True), ("holiday.jpg", True)):
        row = gateway.wait_row("file", after=since, name=name, state="transferred")
        assert (row["complete"], row["protocol"]) == (complete, "oscar")
    assert gateway.wait_row("verdict", after=since, rule="malware")["did"] == "block"


def test_a_name_that_is_refused_does_not_reach_the_receiver(socks: tuple[GatewayChild, int], pair: Pair) -> None:
    """The prompt is the offer: it does not leave, and the connection closes. Here the one who connected sends."""
    since = now()
    pair.near.sendall(header(0x0101, 500, "holiday.scr"))
    assert pair.over(pair.far) == b""
    assert pair.over(pair.near) == b""
    assert socks[0].wait_row("verdict", after=since, rule="names")["did"] == "block"


def test_who_asks_for_the_rest_is_sent_the_whole(socks: tuple[GatewayChild, int], pair: Pair) -> None:
    """A sender that starts where the request says starts at the beginning, and the file is judged whole."""
    since, size = now(), len(HARMLESS)
    prompt = header(0x0101, size, "resumed.bin")
    pair.far.sendall(prompt)
    assert read(pair.near, 256) == prompt
    pair.near.sendall(header(0x0205, size, "resumed.bin", received=150_000, received_check=0x12340000))
    asked = read(pair.far, 256)
    start = int.from_bytes(asked[60:64])
    assert (asked[6:8], start, asked[64:68]) == (b"\2\5", 0, b"\xff\xff\0\0")
    accept = header(0x0106, size, "resumed.bin", received=start)
    pair.far.sendall(accept)
    assert read(pair.near, 256) == accept
    pair.near.sendall(header(0x0207, size, "resumed.bin", received=start))
    assert int.from_bytes(read(pair.far, 256)[60:64]) == start
    pair.far.sendall(HARMLESS[start:])
    assert read(pair.near, size) == HARMLESS
    row = socks[0].wait_row("file", after=since, name="resumed.bin", state="transferred")
    assert (row["complete"], row["size"]) == (True, size)


def test_direct_im_is_a_conversation_like_any_other(socks: tuple[GatewayChild, int], pair: Pair) -> None:
    """Words pass, are masked, are refused; pictures come with their words, or end the connection."""
    since = now()
    for sock, other, name in ((pair.near, pair.far, "amy"), (pair.far, pair.near, "ben")):
        hello = direct(name, flags=0x60)
        sock.sendall(hello)
        assert read(other, 76) == hello
    spoken = direct("amy", b"<HTML>Is the <B>bench</B> dry?</HTML>")
    pair.near.sendall(spoken + direct("amy", b"some forbidden fruit") + direct("amy", b"4111 1111 1111 1111"))
    assert read(pair.far, len(spoken)) == spoken
    masked = direct("amy", b"*******************")
    assert read(pair.far, len(masked)) == masked
    shown = direct("ben", with_pictures(b'Look <IMG SRC="bench.gif" ID="1">', picture(1, HARMLESS)))
    pair.far.sendall(shown)
    assert read(pair.near, len(shown)) == shown
    words = b"And this"
    pair.far.sendall(direct("ben", with_pictures(words, picture(1, EICAR))))
    left = pair.over(pair.near)
    assert left.endswith(words + b"<BINARY>")
    assert pair.over(pair.far) == b""
    gateway = socks[0]
    assert gateway.wait_row("file", after=since, name="bench.gif", state="transferred")["complete"]
    assert gateway.wait_row("verdict", after=since, rule="forbidden", sender="amy")["did"] == "block"
    assert gateway.wait_row("verdict", after=since, rule="cards")["did"] == "redact"
    assert gateway.wait_row("verdict", after=since, rule="malware")["did"] == "block"
