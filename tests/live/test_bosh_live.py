"""XMPP over HTTP (BOSH) through the gateway, in front of Prosody's mod_bosh: a small client of our own."""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.live.peers import BLOCK, Child, GatewayChild, Prosody, Servers, now
from tests.live.test_hold_live import XmppPeer
from tests.live.test_modes import plain
from tests.live.test_purple_live import LIFE, purplebot, wait
from tests.ports import free_port
from tests.protocols.bosh_disguises import create, post, restart

pytestmark = pytest.mark.live
__all__ = ["purplebot"]

POLICY = {**BLOCK, "rules": [
    *BLOCK["rules"],  # type: ignore[misc]
    {"name": "waits", "when": {"event": "message", "text": "(?i)wait for it"}, "then": "hold"},
    {"name": "hers", "when": {"event": "message", "user": "alice@localhost", "text": "(?i)only mine"}, "then": "block"},
]}
Site = tuple[GatewayChild, int, int]
BIND = "urn:ietf:params:xml:ns:xmpp-bind"


class BoshPeer:
    """Signed on with SASL PLAIN; asks on two connections in turn, as browsers do, one of which waits at the server."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.port = port
        self.rid = 731_000
        self.sid = ""
        self.idle: list[socket.socket] = []
        self.busy: list[socket.socket] = []
        self.buffers: dict[socket.socket, bytes] = {}
        self.heads: list[str] = []
        self.heard: list[str] = []
        self._send(create(self.rid, to="localhost"))
        said = self._answer(20)
        self.sid = ElementTree.fromstring(said).get("sid") or ""
        assert self.sid, said
        if "features" not in said:
            self.until("features")
        token = base64.b64encode(f"\0{name}\0secret".encode()).decode()
        self.ask(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        self.until("<success")
        self.rid += 1
        self._send(restart(self.rid, self.sid))
        self.until("features")
        self.ask(f"<iq type='set' id='b1' xmlns='jabber:client'><bind xmlns='{BIND}'/></iq>")
        self.until("</jid>")
        self.ask("<presence xmlns='jabber:client'/>")
        self.until("<presence")
        self.poll()

    def _send(self, data: bytes, where: socket.socket | None = None) -> None:
        if where is None and not self.idle:
            sock = plain(self.port)
            self.buffers[sock] = b""
            self.idle.append(sock)
        sock = where or self.idle.pop(0)
        if sock in self.idle:
            self.idle.remove(sock)
        sock.sendall(data)
        self.busy.append(sock)

    def ask(self, inside: str = "", **attributes: object) -> None:
        """The next request, on a connection that is free."""
        while len(self.busy) > 1:
            self._answer(20)  # no more than two at a time
        self.rid += 1
        self._send(post(self.rid, inside.encode(), sid=self.sid, **attributes))  # type: ignore[arg-type]

    def poll(self) -> None:
        """Have one request wait at the server."""
        if not self.busy:
            self.ask()

    def _answer(self, seconds: float) -> str:
        """The next response on any connection, strictly read."""
        deadline = time.monotonic() + seconds
        while True:
            for sock in self.busy:
                head, end, rest = self.buffers[sock].partition(b"\r\n\r\n")
                if end:
                    length = next(int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n")
                                  if line.startswith(b"content-length"))
                    if len(rest) >= length:
                        assert len(rest) == length, "bytes behind a response"
                        self.buffers[sock] = b""
                        self.busy.remove(sock)
                        self.idle.append(sock)
                        self.heads.append(head.decode())
                        said = rest.decode()
                        ElementTree.fromstring(said)
                        self.heard.append(said)
                        return said
            left = deadline - time.monotonic()
            assert left > 0, f"{self.name} has heard only {self.heard[-3:]!r}"
            for sock in select.select(self.busy, [], [], left)[0]:
                data = sock.recv(65536)
                assert data, f"{self.name}'s connection ended: {self.heard[-2:]!r}"
                self.buffers[sock] += data

    def until(self, words: str, seconds: float = 20) -> str:
        """The body that has those words; those before it are remembered."""
        deadline = time.monotonic() + seconds
        for said in self.heard[-6:]:
            if words in said:
                return said
        while True:
            self.poll()
            said = self._answer(deadline - time.monotonic())
            if words in said:
                self.poll()
                return said

    def say(self, to: str, text: str) -> None:
        self.ask(f"<message xmlns='jabber:client' type='chat' id='m{time.monotonic_ns()}' to='{to}@localhost'>"
                 f"<body>{text}</body></message>")

    def leave(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.ask(type="terminate")
            while self.busy:
                self._answer(5)
        for sock in self.buffers:
            sock.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Site]:
    """The gateway in front of a Prosody with BOSH, its port, and the server's own."""
    folder: Path = tmp_path_factory.mktemp("bosh")
    prosody = Prosody(tmp_path_factory.mktemp("prosody-bosh"), servers, bosh=True)
    try:
        port = free_port()
        gateway = GatewayChild(folder, [
            {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{prosody.http_port}",
             "protocols": ["xmpp_bosh"]},
        ], policy=POLICY)
        yield gateway, port, prosody.port
        assert gateway.stop() == 0, gateway.child.text()
    finally:
        prosody.child.stop()


@pytest.fixture
def pair(site: Site) -> Iterator[tuple[BoshPeer, BoshPeer]]:
    """alice and bob."""
    both = BoshPeer(site[1], "alice"), BoshPeer(site[1], "bob")
    yield both
    for each in both:
        each.leave()


def test_messages_pass_are_masked_and_are_refused_on_two_connections(
    site: Site, pair: tuple[BoshPeer, BoshPeer],
) -> None:
    """The reader's client gets bodies that a strict one takes; the writer is told in an answer to any of his requests;
    a rule about a user holds on each of his connections; he signs on once."""
    gateway, since = site[0], now()
    alice, bob = pair
    alice.say("bob", "good morning")
    assert "<body>good morning</body>" in bob.until("morning")
    alice.say("bob", "my card is 4111 1111 1111 1111 as ever")
    said = bob.until("my card")
    assert "4111 1111" not in said
    assert "as ever</body>" in said
    alice.say("bob", "the forbidden fruit")
    row = gateway.wait_row("verdict", after=since, did="block")
    assert row["reference"] in alice.until(row["reference"])
    for number in range(3):
        alice.say("bob", f"this is only mine {number}")
        alice.say("bob", f"and only mine {number}, too")
        alice.say("bob", f"and on it goes {number}")
        assert "mine" not in bob.until(f"goes {number}")
    refused = [row for row in gateway.rows("verdict") if row["t"] > since and row["rule"] == "hers"]
    assert {row["user"].partition("/")[0] for row in refused} == {"alice@localhost"}
    assert len({row["flow"] for row in refused}) == 2
    assert not any("fruit" in said or "mine" in said for said in bob.heard)
    alice.leave()
    for flow in {row["flow"] for row in refused}:
        row = gateway.wait_row("flow", after=since, state="end", flow=flow)
        assert row["carried"] == ["xmpp_bosh"]
        assert row["user"].startswith("alice@localhost")


def test_he_signs_on_once(site: Site, pair: tuple[BoshPeer, BoshPeer]) -> None:
    """There is one row of it for each session, however many connections it uses."""
    gateway = site[0]
    alice, bob = pair
    for number in range(3):
        alice.say("bob", f"word {number}")
        bob.until(f"word {number}")
    assert len(alice.buffers) == 2
    users = [row["user"] for row in gateway.rows("sign_on")]
    assert len(users) == len(set(users))


def test_a_held_message_is_released_into_the_session(
    site: Site, pair: tuple[BoshPeer, BoshPeer],
) -> None:
    """Its writer is told that it waits, its reader reads it after the release, and only then it is delivered."""
    gateway, since = site[0], now()
    alice, bob = pair
    alice.say("bob", "wait for it: roses")
    row = gateway.wait_row("verdict", after=since, did="hold", protocol="xmpp")
    assert row["reference"] in alice.until(row["reference"])
    alice.say("bob", "meanwhile")
    assert "roses" not in bob.until("meanwhile")
    done = gateway.inspector("quarantine", "release", row["held"])
    assert done.returncode == 0, done.stdout + done.stderr
    # It goes up with the next request, on whichever connection; it may come in one body with what was said there.
    alice.say("bob", "and then")
    bob.until("and then")
    released = next((said for said in bob.heard if "roses" in said), None) or bob.until("roses")
    assert "alice@localhost" in released
    deadline = time.monotonic() + 20
    while True:
        done = gateway.inspector("quarantine", "list", "--format", "jsonl")
        states = {item["id"]: item["state"] for item in map(json.loads, done.stdout.splitlines())}
        if states[row["held"]] == "delivered":
            break
        assert time.monotonic() < deadline, done.stdout
        time.sleep(0.1)


def test_what_comes_down_is_masked_refused_held_and_released(
    site: Site, pair: tuple[BoshPeer, BoshPeer],
) -> None:
    """Of somebody outside, whose own words pass no gateway: stars, nothing, and later than it came."""
    gateway, _, server = site
    since = now()
    _, bob = pair
    carol = XmppPeer(server, "carol")
    try:
        carol.say("bob", "my card is 4111 1111 1111 1111 as ever")
        said = bob.until("my card")
        assert "4111 1111" not in said
        assert "as ever</body>" in said
        carol.say("bob", "the forbidden fruit")
        carol.say("bob", "wait for it: tulips")
        carol.say("bob", "and nothing else")
        bob.until("nothing else")
        row = gateway.wait_row("verdict", after=since, did="hold", way="down")
        assert row["user"].startswith("bob@localhost")
        done = gateway.inspector("quarantine", "release", row["held"])
        assert done.returncode == 0, done.stdout + done.stderr
        # It comes with a body that has something else to say, once the release has gone its way.
        released, number, deadline = None, 0, time.monotonic() + 20
        while released is None:
            assert time.monotonic() < deadline, bob.heard[-6:]
            number += 1
            carol.say("bob", f"so {number}.")
            bob.until(f"so {number}.")
            released = next((said for said in bob.heard if "tulips" in said), None)
            time.sleep(0.05)
        assert "carol@localhost" in released
        assert not any("fruit" in said for said in bob.heard)
    finally:
        carol.leave()


def test_a_session_that_began_elsewhere_is_refused(site: Site) -> None:
    """In the protocol's own words; the server has not heard of it."""
    sock = plain(site[1])
    sock.sendall(post(77, b"<message xmlns='jabber:client' to='bob@localhost'><body>hello</body></message>",
                      sid="of-somebody-else"))
    sock.settimeout(20)
    data = b""
    while b"</body>" not in data and b"/>" not in data:
        more = sock.recv(65536)
        assert more, data
        data += more
    sock.close()
    assert b"condition='item-not-found'" in data
    assert b"type='terminate'" in data


def test_a_page_on_a_connection_of_bosh_is_refused_in_http_and_the_session_goes_on(
    site: Site, pair: tuple[BoshPeer, BoshPeer],
) -> None:
    """The listener is for BOSH alone: a browser that asks for something else there is told so, and loses nothing."""
    gateway, since = site[0], now()
    alice, bob = pair
    alice.say("bob", "before")
    bob.until("before")
    while not alice.idle:
        alice._answer(20)
    for sock in alice.idle:
        sock.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.settimeout(20)
        said = b""
        while b"\r\n\r\n" not in said:
            more = sock.recv(65536)
            assert more, "the connection ended"
            said += more
        assert said == b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        sock.settimeout(None)
    alice.say("bob", "after")
    bob.until("after")
    assert gateway.wait_row("trouble", after=since, name="unclassified")["did"] == "block"


def test_libpurple_chats_over_http(site: Site, purplebot: Path, tmp_path: Path) -> None:
    """A real client, which sends one request behind the other on the same connection: what passes arrives, the card
    number with stars, the refused message not, and its writer is shown the reference."""
    gateway, port, server = site
    since = now()
    bob = XmppPeer(server, "bob")
    alice = None
    state = tmp_path / "alice"
    state.mkdir()
    try:
        alice = Child("alice", [
            str(purplebot), str(state), "prpl-jabber", "alice@localhost/purple", "secret", LIFE,
            f"s:bosh_url=http://127.0.0.1:{port}/http-bind", "s:connection_security=opportunistic_tls",
            "b:auth_plain_in_clear=1", "peer=bob@localhost", "msg=the forbidden fruit, card 4111 1111 1111 1111", "n=1",
            "delay=1", "echo=1"], tmp_path)
        wait(alice, "SIGNED-ON")
        row = gateway.wait_row("verdict", 60, after=since, did="block")
        assert row["user"] == "alice@localhost/purple"
        # Prosody answers a request only when it has answered those in front of it on the connection.
        bob.say("alice", "all of 4111 1111 1111 1111")
        assert "*******" in wait(alice, "RECV", "all of")
        wait(alice, "Your message was not delivered", row["reference"])
        assert "echo: all of" in bob.hear("</body>")
    finally:
        if alice is not None:
            alice.stop()
        bob.leave()
