"""Compressed XMPP (XEP-0138) through the gateway: Prosody behind a front of ours, a client of our own.

Prosody's module for compression left its distribution, so the front speaks it in Prosody's place: it offers it behind
the login, inflates what comes and deflates what goes with zlib alone. No client library of today asks for it, either.
"""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.peers import BLOCK, GatewayChild, Prosody, Servers, now
from tests.live.test_modes import plain
from tests.live.test_xmpp_live import until
from tests.ports import free_port
from tests.protocols.zlib_talks import ANSWER, ASK, OFFER, TLS

pytestmark = pytest.mark.live

POLICY = {**BLOCK, "rules": [
    *BLOCK["rules"],  # type: ignore[misc]
    {"name": "waits", "when": {"event": "message", "text": "(?i)wait for it"}, "then": "hold"},
]}
STREAM = (
    b"<?xml version='1.0'?><stream:stream %b='localhost' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'%b>"
)
BIND = b"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
PROCEED = f"<proceed xmlns='{TLS}'/>".encode()


class Front:
    """A server that compresses, in front of Prosody. With a `context` it asks for STARTTLS first."""

    def __init__(self, prosody: Prosody, context: ssl.SSLContext | None) -> None:
        self.port = free_port()
        self.seen = b""
        """What clients have said inside compressed streams."""
        self._prosody = prosody
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._over = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        self._over = True
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        self._listener.settimeout(0.1)
        while not self._over:
            with contextlib.suppress(TimeoutError):
                sock = self._listener.accept()[0]
                thread = threading.Thread(target=self._serve, args=(sock,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._prosody.port), 10) as back:
            sock.settimeout(10)
            if self._context is not None:
                until(sock, b">", b"<stream:stream")
                sock.sendall(STREAM % (b"from", b" id='f1'") + (
                    f"<stream:features><starttls xmlns='{TLS}'><required/></starttls></stream:features>").encode())
                until(sock, b"/>", b"<starttls")
                sock.sendall(PROCEED)
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                self._relay(sock, back)

    def _relay(self, sock: socket.socket, back: socket.socket) -> None:
        inflate, deflate = zlib.decompressobj(), zlib.compressobj()
        pressed = begun = False
        asked, opening = b"", b""
        while not self._over:
            waiting = isinstance(sock, ssl.SSLSocket) and sock.pending()
            readable = select.select([sock, back], [], [], 0 if waiting else 0.1)[0]
            if waiting or sock in readable:
                data = sock.recv(65536)
                if not data:
                    return
                if pressed:
                    data = inflate.decompress(data)
                    self.seen += data
                    if not begun and data:
                        # Prosody knows of no new stream: what it has said of the one that is open is said again.
                        begun = True
                        data = data.partition(b"xmlns:stream='http://etherx.jabber.org/streams'>")[2]
                        sock.sendall(deflate.compress(opening) + deflate.flush(zlib.Z_SYNC_FLUSH))
                    back.sendall(data)
                elif (asked + data).startswith(b"<compress"):
                    asked += data
                    if asked.endswith(b"</compress>"):
                        assert asked == ASK.encode()
                        sock.sendall(ANSWER.encode())
                        pressed = True
                else:
                    back.sendall(data)
            if back in readable:
                data = back.recv(65536)
                if not data:
                    return
                if not pressed:
                    opening = (opening + data)[(opening + data).rfind(b"<?xml"):]
                    data = data.replace(b"</stream:features>", OFFER.encode() + b"</stream:features>")
                    sock.sendall(data)
                else:
                    sock.sendall(deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))


class Pressed:
    """A client that compresses behind its login."""

    def __init__(self, port: int, name: str, authority: Path | None) -> None:
        self.name = name
        self.sock: socket.socket = plain(port)
        self.words = b""
        self.inflate: zlib._Decompress | None = None
        self.deflate = zlib.compressobj()
        if authority is not None:
            self.open(b"<starttls")
            self.write(f"<starttls xmlns='{TLS}'/>".encode())
            self.until(PROCEED)
            context = ssl.create_default_context(cafile=str(authority))
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.open(b"<mechanism>PLAIN")
        token = base64.b64encode(f"\0{name}\0secret".encode())
        self.write(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + token + b"</auth>")
        self.until(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'")
        self.open(OFFER.encode())
        self.write(ASK.encode())
        self.until(ANSWER.encode())
        self.inflate = zlib.decompressobj()
        rest, self.words = self.words, b""
        self.words = self.inflate.decompress(rest)
        self.open(b"<bind")
        self.write(BIND)
        self.until(b"</jid>")
        self.write(b"<presence/>")
        self.until(b"<presence")

    def open(self, words: bytes) -> None:
        self.words = b""
        self.write(STREAM % (b"to", b""))
        self.until(words)
        self.until(b"</stream:features>")

    def write(self, data: bytes) -> None:
        if self.inflate is not None:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.sock.sendall(data)

    def until(self, words: bytes, seconds: float = 20) -> bytes:
        """What came, up to and with these words."""
        deadline = time.monotonic() + seconds
        while words not in self.words:
            left = deadline - time.monotonic()
            assert left > 0, f"{self.name} has read only {self.words!r}"
            self.sock.settimeout(left)
            data = self.sock.recv(65536)
            assert data, f"{self.name}'s connection ended: {self.words!r}"
            self.words += data if self.inflate is None else self.inflate.decompress(data)
        before, _, self.words = self.words.partition(words)
        return before + words

    def say(self, to: str, text: str) -> None:
        self.write(f"<message type='chat' id='m{time.monotonic_ns()}' to='{to}@localhost'><body>{text}</body></message>"
                   .encode())

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self.write(b"</stream:stream>")
            self.sock.settimeout(5)
            while self.sock.recv(4096):
                pass
        self.sock.close()


@dataclass
class Site:
    """A listener of the gateway, what stands behind it, and what its clients trust."""

    gateway: GatewayChild
    port: int
    front: Front
    authority: Path | None


@pytest.fixture(scope="module")
def sites(
    tmp_path_factory: pytest.TempPathFactory, servers: Servers, prosody: Prosody,
) -> Iterator[dict[str, Site]]:
    """One gateway in front of a front without TLS, and of one that asks for STARTTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*servers.certificate("localhost"))
    fronts = {"plain": Front(prosody, None), "starttls": Front(prosody, context)}
    try:
        ports = {name: free_port() for name in fronts}
        gateway = GatewayChild(tmp_path_factory.mktemp("zlib"), [
            {"mode": "reverse", "address": f"127.0.0.1:{ports[name]}", "upstream": f"localhost:{front.port}"}
            for name, front in fronts.items()
        ], policy=POLICY, edits={"xmpp.strip_compression": False},
            tls={"upstream_ca": str(servers.ca_file), "intercept": "all"})
        try:
            yield {name: Site(gateway, ports[name], front, gateway.authority if name == "starttls" else None)
                   for name, front in fronts.items()}
        finally:
            code = gateway.stop()
        assert code == 0, gateway.child.text()
    finally:
        for front in fronts.values():
            front.stop()


@pytest.fixture(params=["plain", "starttls"])
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    return sites[request.param]


@pytest.fixture
def pair(site: Site) -> Iterator[tuple[Pressed, Pressed]]:
    """alice and bob."""
    both = Pressed(site.port, "alice", site.authority), Pressed(site.port, "bob", site.authority)
    yield both
    for each in both:
        each.leave()


def test_messages_pass_are_masked_and_are_refused(site: Site, pair: tuple[Pressed, Pressed]) -> None:
    """Both read with zlib what the policy leaves; that the session is compressed has its row."""
    gateway, since, front = site.gateway, now(), site.front
    alice, bob = pair
    alice.say("bob", "good morning")
    assert b"<body>good morning</body>" in bob.until(b"</message>")
    alice.say("bob", "my card is 4111 1111 1111 1111 as ever")
    said = bob.until(b"</message>")
    assert b"<body>my card is ******************* as ever</body>" in said
    alice.say("bob", "the forbidden fruit")
    row = gateway.wait_row("verdict", after=since, did="block")
    alice.until(row["reference"].encode())
    for number in range(50):
        alice.say("bob", f"and on it goes, {number} times, " + "la la " * number)
    said = bob.until(b"goes, 49 times")
    assert b"fruit" not in said
    assert said.count(b"and on it goes") == 50
    assert b"fruit" not in front.seen
    assert b"4111 1111" not in front.seen
    gateway.wait_row("oddity", flow=row["flow"], name="xmpp.compressed_stream")
    alice.leave()
    flow = gateway.wait_row("flow", after=since, state="end", protocol="xmpp")
    assert flow["user"].startswith("alice@localhost")


def test_a_held_message_is_released_into_the_stream(site: Site, pair: tuple[Pressed, Pressed]) -> None:
    """Its writer is told that it waits, its reader reads it after the release."""
    gateway, since = site.gateway, now()
    alice, bob = pair
    alice.say("bob", f"wait for it: roses {site.port}")  # a release covers the same words said again
    row = gateway.wait_row("verdict", after=since, did="hold", protocol="xmpp")
    alice.until(row["reference"].encode())
    alice.say("bob", "meanwhile")
    assert b"roses" not in bob.until(b"meanwhile")
    done = gateway.inspector("quarantine", "release", row["held"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"alice@localhost" in bob.until(b"roses")
    deadline = time.monotonic() + 20
    while True:
        done = gateway.inspector("quarantine", "list", "--format", "jsonl")
        states = {item["id"]: item["state"] for item in map(json.loads, done.stdout.splitlines())}
        if states.get(row["held"]) == "delivered":
            break
        assert time.monotonic() < deadline, done.stdout
        time.sleep(0.1)


def test_a_bomb_and_a_broken_stream_end_their_own_session(site: Site, pair: tuple[Pressed, Pressed]) -> None:
    """The client reads a stream error; who compresses honestly beside him is not disturbed."""
    gateway, since = site.gateway, now()
    alice, bob = pair
    for data, name in ((b"\x07nonsense", "xmpp.deflated_broken"), (b"", "xmpp.deflated_too_much")):
        carol = Pressed(site.port, "carol", site.authority)
        if not data:
            data = carol.deflate.compress(b" " * (8 << 20)) + carol.deflate.flush(zlib.Z_SYNC_FLUSH)
        carol.sock.sendall(data)
        carol.until(b"</stream:error>")
        gateway.wait_row("trouble", after=since, name="malformed", detail=name)
        carol.sock.close()
    alice.say("bob", "all is well")
    bob.until(b"all is well")
