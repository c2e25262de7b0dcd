"""XMPP in WebSockets through the gateway, in front of Prosody's mod_websocket: a raw client of our own."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.model import UP
from tests.live.peers import BLOCK, GatewayChild, Prosody, Servers, now
from tests.live.test_modes import plain
from tests.ports import free_port
from tests.protocols.websocket_frames import FRAMING, REQUEST, frame

pytestmark = pytest.mark.live

POLICY = {**BLOCK, "rules": [
    *BLOCK["rules"],  # type: ignore[misc]
    {"name": "waits", "when": {"event": "message", "text": "(?i)wait for it"}, "then": "hold"},
]}


class WebSocketPeer:
    """Signed on with SASL PLAIN; each message is one frame (Prosody takes no fragments)."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.sock = plain(port)
        self.buffer = b""
        self.sock.sendall(REQUEST.replace(b"chat.example.com", b"localhost"))
        while b"\r\n\r\n" not in self.buffer:
            self._more(20)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.head = head.decode()
        assert self.head.startswith("HTTP/1.1 101 "), self.head
        self._open()
        token = base64.b64encode(f"\0{name}\0secret".encode()).decode()
        self.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        self.until("<success")
        self._open()
        self.write("<iq type='set' id='b1' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        self.until("</jid>")
        self.write("<presence xmlns='jabber:client'/>")
        self.until("<presence")

    def _open(self) -> None:
        self.write(f"<open xmlns='{FRAMING}' to='localhost' version='1.0'/>")
        assert self.until("<open ").startswith("<open ")
        self.until("features")

    def write(self, text: str) -> None:
        self.sock.sendall(frame(UP, text.encode()))

    def _more(self, seconds: float) -> None:
        self.sock.settimeout(seconds)
        data = self.sock.recv(65536)
        assert data, f"{self.name}'s connection ended: {self.buffer!r}"
        self.buffer += data

    def message(self, deadline: float) -> str:
        """The next text message, strictly read: unmasked, one whole frame, no reserved bits."""
        while True:
            data = self.buffer
            size, at = (data[1], 2) if len(data) > 1 else (0, 2)
            if size == 126:
                size, at = int.from_bytes(data[2:4]), 4
            elif size == 127:
                size, at = int.from_bytes(data[2:10]), 10
            assert size < 128 or at > 2, "the server's frames are not masked"
            if len(data) < at or len(data) < at + size:
                left = deadline - time.monotonic()
                assert left > 0, f"{self.name} has read only {data!r}"
                self._more(left)
                continue
            self.buffer = data[at + size:]
            if data[0] == 0x81:
                return data[at:at + size].decode()
            assert data[0] in (0x88, 0x89, 0x8A), f"not a frame that we can read: {data[0]:#x}"

    def until(self, words: str, seconds: float = 20) -> str:
        """The message that has those words."""
        deadline = time.monotonic() + seconds
        while words not in (text := self.message(deadline)):
            pass
        return text

    def say(self, to: str, text: str) -> None:
        self.write(f"<message xmlns='jabber:client' type='chat' id='m{time.monotonic_ns()}' to='{to}@localhost'>"
                   f"<body>{text}</body></message>")

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self.write(f"<close xmlns='{FRAMING}'/>")
            self.sock.sendall(frame(UP, b"\x03\xe8", 8))
            self.sock.settimeout(5)
            while self.sock.recv(4096):
                pass
        self.sock.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[tuple[GatewayChild, int]]:
    """The gateway in front of a Prosody with WebSockets, and its port."""
    folder: Path = tmp_path_factory.mktemp("websocket")
    prosody = Prosody(tmp_path_factory.mktemp("prosody-websocket"), servers, websocket=True)
    try:
        port = free_port()
        gateway = GatewayChild(folder, [
            {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{prosody.http_port}"},
        ], policy=POLICY)
        yield gateway, port
        assert gateway.stop() == 0, gateway.child.text()
    finally:
        prosody.child.stop()


@pytest.fixture
def pair(site: tuple[GatewayChild, int]) -> Iterator[tuple[WebSocketPeer, WebSocketPeer]]:
    """alice and bob."""
    both = WebSocketPeer(site[1], "alice"), WebSocketPeer(site[1], "bob")
    yield both
    for each in both:
        each.leave()


def test_messages_pass_are_masked_and_are_refused(
    site: tuple[GatewayChild, int], pair: tuple[WebSocketPeer, WebSocketPeer],
) -> None:
    """The reader's client gets frames that a strict one takes, the writer is told in one; there is no extension."""
    gateway, since = site[0], now()
    alice, bob = pair
    assert "extensions" not in alice.head.lower()
    alice.say("bob", "good morning")
    assert "<body>good morning</body>" in bob.until("morning")
    alice.say("bob", "my card is 4111 1111 1111 1111 as ever")
    said = bob.until("my card")
    assert "4111 1111" not in said
    assert "as ever</body>" in said
    alice.say("bob", "the forbidden fruit")
    row = gateway.wait_row("verdict", after=since, did="block")
    assert row["reference"] in alice.until(row["reference"])
    alice.say("bob", "and on it goes")
    assert "fruit" not in bob.until("on it goes")
    alice.leave()
    flow = gateway.wait_row("flow", after=since, state="end", protocol="xmpp")
    assert flow["carried"] == ["xmpp_websocket"]
    assert flow["user"].startswith("alice@localhost")


def test_a_held_message_is_released_into_the_websocket(
    site: tuple[GatewayChild, int], pair: tuple[WebSocketPeer, WebSocketPeer],
) -> None:
    """Its writer is told that it waits, its reader reads it after the release."""
    gateway, since = site[0], now()
    alice, bob = pair
    alice.say("bob", "wait for it: roses")
    row = gateway.wait_row("verdict", after=since, did="hold", protocol="xmpp")
    assert row["reference"] in alice.until(row["reference"])
    alice.say("bob", "meanwhile")
    assert "roses" not in bob.until("meanwhile")
    done = gateway.inspector("quarantine", "release", row["held"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alice@localhost" in bob.until("roses")
    deadline = time.monotonic() + 20
    while True:
        done = gateway.inspector("quarantine", "list", "--format", "jsonl")
        if {"id": row["held"], "state": "delivered"}.items() <= {
            key: value for item in map(json.loads, done.stdout.splitlines()) if item["id"] == row["held"]
            for key, value in item.items()
        }.items():
            break
        assert time.monotonic() < deadline, done.stdout
        time.sleep(0.1)
