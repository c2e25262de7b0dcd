"""A message that waits for a reviewer, and is delivered when he says so: ngircd, Prosody and the OSCAR simulators."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.live import oscar_sim as sim
from tests.live.peers import GatewayChild, Ngircd, Prosody, Servers, now
from tests.live.test_modes import Irc, plain
from tests.ports import free_port

pytestmark = pytest.mark.live

POLICY = {
    "rules": [
        {"name": "waits", "when": {"event": "message", "text": "(?i)wait for it"}, "then": "hold"},
        {"name": "greets", "when": {"event": "message", "text": "(?i)strange greeting"}, "then": "hold"},
    ],
}


class Peer(Protocol):
    """A signed-on user."""

    name: str

    def say(self, to: str, text: str) -> None: ...
    def hear(self, words: str) -> str: ...
    def leave(self) -> None: ...


class IrcPeer:
    """A bare client of ngircd."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.sock = plain(port)
        self.irc = Irc(self.sock, name).sign_on()

    def say(self, to: str, text: str) -> None:
        self.irc.say(f"PRIVMSG {to} :{text}")

    def hear(self, words: str) -> str:
        return self.irc.wait(words, 20)

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self.irc.say("QUIT :bye")
            self.sock.settimeout(5)
            while self.sock.recv(4096):
                pass
        self.sock.close()


class XmppPeer:
    """A bare client of Prosody: plain text, SASL PLAIN."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.sock = plain(port)
        self.buffer = ""
        self._open()
        token = base64.b64encode(f"\0{name}\0secret".encode()).decode()
        self._write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        self._until("<success")
        self._open()
        self._write("<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        self._until("</jid>")
        self._write("<presence/>")
        self._until("<presence")

    def _open(self) -> None:
        self.buffer = ""
        self._write(
            "<stream:stream to='localhost' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>")
        self._until("</stream:features>")

    def _write(self, text: str) -> None:
        self.sock.sendall(text.encode())

    def _until(self, words: str, seconds: float = 20) -> str:
        deadline = time.monotonic() + seconds
        while words not in self.buffer:
            left = deadline - time.monotonic()
            assert left > 0, f"{self.name} read no {words!r} but {self.buffer!r}"
            self.sock.settimeout(left)
            data = self.sock.recv(65536)
            assert data, f"{self.name}'s stream ended before {words!r}: {self.buffer!r}"
            self.buffer += data.decode()
        before, _, self.buffer = self.buffer.partition(words)
        return before + words

    def say(self, to: str, text: str) -> None:
        self._write(f"<message type='chat' id='m{time.monotonic_ns()}' to='{to}@localhost'>"
                    f"<body>{text}</body></message>")

    def hear(self, words: str) -> str:
        return self._until(words)

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self._write("<presence type='unavailable'/></stream:stream>")
            self.sock.settimeout(5)
            while self.sock.recv(4096):
                pass
        self.sock.close()


class OscarPeer:
    """A simulated client of the simulated server."""

    def __init__(self, net: sim.Net, server: sim.Server, name: str) -> None:
        self.name = name
        self.client = sim.Client(net, server.host, server.port, name)

    def say(self, to: str, text: str) -> None:
        self.client.say(to, text.encode(), acknowledge=False)

    def hear(self, words: str) -> str:
        while True:
            sender, text = self.client.message()
            if words in text.decode():
                return f"{sender} {text.decode()}"

    def leave(self) -> None:
        self.client.close()


@dataclass
class Site:
    """A gateway in front of the three servers; `stop` and `start` it again."""

    folder: Path
    listeners: list[dict[str, Any]]
    tls: dict[str, Any]
    ports: dict[str, int]
    gateway: GatewayChild
    oscar: sim.Server
    servers: dict[str, int]

    def restart(self, *, kill: bool = False) -> None:
        if kill:
            self.gateway.child.process.kill()
            self.gateway.child.process.wait()
        else:
            assert self.gateway.stop() == 0, self.gateway.child.text()
        self.gateway = GatewayChild(self.folder, self.listeners, policy=POLICY, tls=self.tls)

    def peer(self, protocol: str, name: str, *, outside: bool = False) -> Peer:
        """Sign on; `outside`: not through the gateway."""
        port = (self.servers if outside else self.ports)[protocol]
        if protocol == "irc":
            return IrcPeer(port, name)
        if protocol == "xmpp":
            return XmppPeer(port, name)
        return OscarPeer(sim.Direct() if outside else sim.Socks(port), self.oscar, name)

    def waiting(self, since: str, protocol: str) -> dict[str, Any]:
        """The newest verdict that held something, and what the list says of it."""
        row = self.gateway.wait_row("verdict", after=since, did="hold", protocol=protocol)
        done = self.gateway.inspector("quarantine", "list", "--format", "jsonl")
        assert done.returncode == 0, done.stderr
        items = [json.loads(line) for line in done.stdout.splitlines()]
        found: dict[str, Any] = next(item for item in items if item["id"] == row["held"])
        assert found["reference"] == row["reference"]
        return found

    def quarantine(self, *argv: str) -> tuple[int, str]:
        done = self.gateway.inspector("quarantine", *argv)
        return done.returncode, done.stdout + done.stderr

    def until(self, ident: str, state: str, seconds: float = 20) -> None:
        """Until an item is in that state."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.gateway.inspector("quarantine", "list", "--format", "jsonl")
            states = {item["id"]: item["state"] for item in map(json.loads, done.stdout.splitlines())}
            if states.get(ident) == state:
                return
            assert time.monotonic() < deadline, f"{ident} is not {state}: {states}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, ngircd: Ngircd, prosody: Prosody, servers: Servers,
) -> Iterator[Site]:
    """The gateway of this file."""
    folder = tmp_path_factory.mktemp("hold")
    ports = {name: free_port() for name in ("irc", "xmpp", "oscar")}
    oscar = sim.Server(sim.Direct(), "127.0.0.1")
    listeners: list[dict[str, Any]] = [
        {"mode": "reverse", "address": f"127.0.0.1:{ports['irc']}", "upstream": f"127.0.0.1:{ngircd.port}"},
        {"mode": "reverse", "address": f"127.0.0.1:{ports['xmpp']}", "upstream": f"localhost:{prosody.port}"},
        {"mode": "socks5", "address": f"127.0.0.1:{ports['oscar']}", "destinations": {"allow": ["127.0.0.0/8"]}},
    ]
    tls = {"upstream_ca": str(servers.ca_file)}
    gateway = GatewayChild(folder, listeners, policy=POLICY, tls=tls)
    made = Site(folder, listeners, tls, ports, gateway, oscar,
                {"irc": ngircd.port, "xmpp": prosody.port, "oscar": oscar.port})
    yield made
    assert made.gateway.stop() == 0, made.gateway.child.text()
    oscar.stop()


Meet = Callable[..., Peer]


@pytest.fixture(params=["irc", "xmpp", "oscar"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def meet(site: Site, protocol: str) -> Iterator[Meet]:
    """Signs users on; all leave with the test."""
    with ExitStack() as stack:
        def sign_on(name: str, **more: Any) -> Peer:
            peer = site.peer(protocol, name, **more)
            stack.callback(peer.leave)
            return peer

        yield sign_on


def test_a_held_message_is_delivered_when_it_is_released(site: Site, protocol: str, meet: Meet) -> None:
    """The writer reads that it waits; its reader reads it after the release, from its writer, once; the leg that
    follows is not held again; a second release says no."""
    since = now()
    alice, bob = meet("alice"), meet("bob")
    alice.say("bob", "wait for it: roses")
    item = site.waiting(since, protocol)
    assert item["reference"] in alice.hear(item["reference"])
    alice.say("bob", "and meanwhile this")
    assert "roses" not in bob.hear("and meanwhile this")
    assert (item["state"], item["protocol"], item["rule"]) == ("held", protocol, "waits")
    code, said = site.quarantine("release", item["id"])
    assert code == 0, said
    assert "alice" in bob.hear("roses")
    site.until(item["id"], "delivered")
    code, said = site.quarantine("release", item["id"])
    assert code == 1
    assert "already" in said or "delivered" in said
    alice.say("bob", "the end")
    assert "roses" not in bob.hear("the end")
    site.gateway.wait_row("review", after=since, hold=item["id"], step="delivered")
    steps = [row["step"] for row in site.gateway.rows("review") if row["hold"] == item["id"]]
    assert [step for step in steps if step != "delivering"] == ["held", "released", "delivered"]


def test_a_writer_who_has_left_has_his_message_sent_at_his_next_sign_on(
    site: Site, protocol: str, meet: Meet,
) -> None:
    """Released while nobody is there; the gateway was restarted in between."""
    since = now()
    alice, bob = meet("alice"), meet("bob")
    alice.say("bob", "wait for it: tulips")
    item = site.waiting(since, protocol)
    alice.hear(item["reference"])
    alice.leave()
    bob.leave()
    site.restart()
    code, said = site.quarantine("release", item["reference"])
    assert code == 0, said
    assert "queue" in said or "sign" in said
    bob = meet("bob")
    meet("alice")
    assert "alice" in bob.hear("tulips")
    site.until(item["id"], "delivered")


def test_what_comes_from_outside_is_released_to_its_reader(site: Site, protocol: str, meet: Meet) -> None:
    """A message on its way down goes into the reader's session."""
    since = now()
    bob, eve = meet("bob"), meet("carol", outside=True)
    eve.say("bob", "a strange greeting, says carol")
    item = site.waiting(since, protocol)
    eve.say("bob", "are you there?")
    assert "strange" not in bob.hear("are you there?")
    code, said = site.quarantine("release", item["id"])
    assert code == 0, said
    assert "carol" in bob.hear("says carol")
    site.until(item["id"], "delivered")


def test_a_denied_message_is_delivered_to_nobody(site: Site, protocol: str, meet: Meet) -> None:
    """Its writer is told; it cannot be released any more."""
    since = now()
    alice, bob = meet("alice"), meet("bob")
    alice.say("bob", "wait for it: thistles")
    item = site.waiting(since, protocol)
    alice.hear(item["reference"])
    code, said = site.quarantine("deny", item["id"])
    assert code == 0, said
    assert item["reference"] in alice.hear(item["reference"])
    code, said = site.quarantine("release", item["id"])
    assert code == 1, said
    alice.say("bob", "the end")
    assert "thistles" not in bob.hear("the end")


def test_a_gateway_that_was_killed_has_lost_nothing(site: Site, protocol: str, meet: Meet) -> None:
    """What waited waits on, and is delivered once."""
    since = now()
    alice, bob = meet("alice"), meet("bob")
    alice.say("bob", "wait for it: lilies")
    item = site.waiting(since, protocol)
    alice.hear(item["reference"])
    site.restart(kill=True)
    code, said = site.quarantine("release", item["id"])
    assert code == 0, said
    bob = meet("bob")
    alice = meet("alice")
    assert "alice" in bob.hear("lilies")
    site.until(item["id"], "delivered")
    alice.say("bob", "the end")
    assert "lilies" not in bob.hear("the end")


def test_what_waits_is_encrypted_on_the_disk(site: Site, protocol: str, meet: Meet) -> None:
    """No file of the quarantine holds a word of it, and nobody else may read them."""
    since = now()
    alice = meet("alice")
    alice.say("bob", "wait for it: chrysanthemums")
    item = site.waiting(since, protocol)
    alice.hear(item["reference"])
    files = [path for path in (site.folder / "var" / "quarantine").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert b"chrysanthemums" not in path.read_bytes(), path
        assert path.stat().st_mode & 0o077 == 0, path
    code, said = site.quarantine("show", item["id"])
    assert code == 0
    assert "chrysanthemums" in said
    assert site.gateway.wait_row("review", after=since, hold=item["id"], step="shown")["by"]
    code, said = site.quarantine("deny", item["id"])
    assert code == 0, said

