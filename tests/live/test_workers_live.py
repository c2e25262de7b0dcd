"""Two workers before a real Prosody and ngircd: what begins in one is finished in the other.

The kernel chooses the worker by the client's address, with a key that is new at each start: two addresses of this
machine are looked for whose connections come to different workers. The first worker is that of `here`, the other that
of `there`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from inspector.app.control import ask
from inspector.app.errors import UserError
from tests.live.peers import GatewayChild, Ngircd, Servers, now

pytest.importorskip("slixmpp", reason="slixmpp is not installed (make test installs it)")

from tests.live.test_dcc_live import give_once, harmless, number, offered, take
from tests.live.test_modes import Irc
from tests.live.test_upload_live import UploadProsody
from tests.ports import free_port, free_ports

pytestmark = pytest.mark.live

POLICY = {
    "files": [{"when": {"file.name": "*"}, "mode": "spool"}],
    "rules": [
        {"name": "waits", "when": {"event": "message", "text": "(?i)wait for it"}, "then": "hold"},
        {"name": "plans wait", "when": {"event": "file", "file.name": "plan*", "file.complete": True},
         "then": "hold"},
        {"name": "not by bob", "when": {"event": "message", "user": "bob@localhost", "text": "(?i)by alice only"},
         "then": "block"},
        {"name": "a card number in pieces", "when": {"finding.rule": "dlp.card_number", "event": "message"},
         "then": "block"},
    ],
}
PATIENCE = 60.0
SM = "urn:xmpp:sm:3"


def dial(host: str, port: int, to: str = "127.0.0.1") -> socket.socket:
    """A connection from an address of this machine."""
    return socket.create_connection((to, port), 20, (host, 0))


class Xmpp:
    """A bare client of Prosody, from an address of its own: plain text, SASL PLAIN."""

    def __init__(self, port: int, name: str, host: str, resource: str = "", previous: str = "") -> None:
        """`previous`: of a managed session that it tries to resume."""
        self.name, self.host = name, host
        self.sock = dial(host, port)
        self.buffer = ""
        self._open()
        token = base64.b64encode(f"\0{name}\0secret".encode()).decode()
        self.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        self.hear("<success")
        self._open()
        if previous:
            self.write(f"<resume xmlns='{SM}' h='0' previd='{previous}'/>")
            self.refused = self.hear("</failed>")
        wish = f"<resource>{resource}</resource>" if resource else ""
        self.write(f"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wish}</bind></iq>")
        self.jid = self.hear("</jid>").partition("<jid>")[2].partition("<")[0]
        self.write("<presence/>")
        self.hear("<presence")

    def _open(self) -> None:
        self.buffer = ""
        self.write("<stream:stream to='localhost' version='1.0' xmlns='jabber:client'"
                   " xmlns:stream='http://etherx.jabber.org/streams'>")
        self.hear("</stream:features>")

    def write(self, text: str) -> None:
        self.sock.sendall(text.encode())

    def hear(self, words: str, seconds: float = 20) -> str:
        """What came up to and with these words."""
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

    def manage(self) -> str:
        """Begin stream management (XEP-0198); the identifier by which the session is resumed."""
        self.write(f"<enable xmlns='{SM}' resume='true'/>")
        self.hear("<enabled")
        found = re.search(r"\bid=['\"]([^'\"]+)", self.hear(">"))
        assert found is not None
        return found[1]

    def vanish(self) -> None:
        """Be gone without a word, with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def say(self, to: str, text: str) -> str:
        """The id of the message."""
        ident = f"m{time.monotonic_ns()}"
        self.write(f"<message type='chat' id='{ident}' to='{to}'><body>{text}</body></message>")
        return ident

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self.write("<presence type='unavailable'/></stream:stream>")
            self.sock.settimeout(5)
            while self.sock.recv(4096):
                pass
        self.sock.close()


class Domains:
    """An XMPP server for whichever domain it is asked for: it believes every key and writes down what is said to it."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self.listening.getsockname()[1]
        self.said: dict[str, str] = {}
        """By the domain that the stream is for."""
        self._threads = ThreadPoolExecutor(8)
        self._threads.submit(self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listening.accept()
                self._threads.submit(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        text, answered = "", 0
        with sock, contextlib.suppress(OSError):
            sock.settimeout(PATIENCE)
            while "<db:result" not in text or ">key<" not in text:
                if not (data := sock.recv(65536)):
                    return
                text += data.decode()
                if "<stream:stream" in text and not answered:
                    answered = 1
                    sock.sendall(stream("id='s1' version='1.0'") + b"<stream:features/>")
            found = re.search(r"<db:result[^>]*from='([^']+)'[^>]*to='([^']+)'", text)
            assert found is not None
            mine, to = found.groups()
            sock.sendall(f"<db:result type='valid' from='{to}' to='{mine}'/>".encode())
            self.said[to] = ""
            while data := sock.recv(65536):
                self.said[to] += data.decode()

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self._threads.shutdown(wait=False)


def stream(more: str) -> bytes:
    """The head of a stream between servers."""
    return (f"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"
            f" xmlns:db='jabber:server:dialback' {more}>").encode()


def server(port: int, host: str, mine: str, to: str) -> socket.socket:
    """The stream of a server that has proved to be `mine`."""
    sock = dial(host, port)
    sock.sendall(stream(f"from='{mine}' to='{to}' version='1.0'"))
    text = ""
    for words in ("<stream:features/>", "type='valid'"):
        if words != "<stream:features/>":
            sock.sendall(f"<db:result from='{mine}' to='{to}'>key</db:result>".encode())
        while words not in text:
            data = sock.recv(65536)
            assert data, text
            text += data.decode()
    return sock


_slots = itertools.count(1)


@dataclass
class Site:
    """The gateway; `here` and `there` are addresses whose clients different workers have."""

    gateway: GatewayChild
    ports: dict[str, int]
    ngircd: Ngircd
    domains: Domains
    here: str = ""
    there: str = ""

    @property
    def control(self) -> Path:
        return self.gateway.folder / "control.sock"

    def workers(self) -> dict[int, dict[str, Any]]:
        """seat -> the worker that serves it, asked now."""
        with contextlib.suppress(UserError):
            return {one["seat"]: one for one in ask(self.control, "status", 20)["workers"] if one["state"] == "serving"}
        return {}

    def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"{what}\n{self.gateway.child.text()[-3000:]}"
            time.sleep(0.05)

    def look(self) -> None:
        """Find two addresses of different workers."""
        self.until(lambda: len(self.workers()) == 2, "no two workers")
        found: dict[int, str] = {}
        for n in range(2, 60):
            self.until(lambda: not sum(one["sessions"] for one in self.workers().values()), "sessions are left")
            with contextlib.closing(dial(f"127.0.0.{n}", self.ports["irc"])) as sock:
                client = Irc(sock, f"scout{n}").sign_on()
                seat = next(seat for seat, one in self.workers().items() if one["sessions"])
                client.say("QUIT :bye")
            found.setdefault(seat, f"127.0.0.{n}")
            if len(found) == 2:
                self.here, self.there = found[0], found[1]
                self.until(lambda: not sum(one["sessions"] for one in self.workers().values()), "sessions are left")
                return
        raise AssertionError("all clients came to one worker")

    def sessions(self) -> dict[str, int]:
        """Where how many sessions are."""
        found = self.workers()
        return {"here": found[0]["sessions"], "there": found[1]["sessions"]}

    def items(self) -> dict[str, dict[str, Any]]:
        """What is or was held, by id."""
        return {item["id"]: item for item in ask(self.control, "holds", 20)}

    def held(self, since: str, **fields: Any) -> dict[str, Any]:
        """The item of the newest verdict that held something."""
        row = self.gateway.wait_row("verdict", after=since, did="hold", **fields)
        return self.items()[row["held"]]

    def release(self, item: dict[str, Any]) -> str:
        done = self.gateway.inspector("quarantine", "release", item["id"])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_in(self, item: dict[str, Any], state: str) -> None:
        self.until(lambda: self.items()[item["id"]]["state"] == state, f"not {state}")

    def restart(self) -> None:
        """A rolling restart, to its end."""
        old, since = {one["pid"] for one in ask(self.control, "workers")}, now()
        ask(self.control, "restart", 120)
        self.gateway.wait_row("restart", after=since)
        self.until(lambda: not old & {one["pid"] for one in ask(self.control, "workers")}, "old workers go on")

    def slot(self, who: Xmpp, name: str, size: int) -> tuple[str, dict[str, str], str]:
        """(where a file is put, with which headers, where it is had)."""
        ident = f"slot{next(_slots)}"
        who.write(f"<iq type='get' id='{ident}' to='upload.localhost'><request xmlns='urn:xmpp:http:upload:0'"
                  f" filename='{name}' size='{size}' content-type='application/octet-stream'/></iq>")
        answer = who.hear("</iq>").replace('"', "'")
        while ident not in answer:
            answer = who.hear("</iq>").replace('"', "'")
        headers = dict(re.findall(r"<header name='([^']+)'>([^<]*)</header>", answer))
        put, get = re.findall(r"url='([^']+)'", answer)
        return put.replace("&amp;", "&"), headers, get.replace("&amp;", "&")

    def http(self, host: str, method: str, url: str, body: bytes | None = None,
             headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """One request from an address: (status, body)."""
        parts = urlsplit(url)
        line = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30, source_address=(host, 0))
        try:
            line.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body,
                         {**(headers or {}), "Host": parts.netloc})
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, ngircd: Ngircd, servers: Servers) -> Iterator[Site]:
    """The gateway of this file."""
    folder = tmp_path_factory.mktemp("workers_live")
    leased = free_ports(40)
    ports = {name: free_port() for name in ("irc", "leasing", "socks", "xmpp", "http", "servers")}
    prosody = UploadProsody(folder, servers, f"http://127.0.0.1:{ports['http']}/")
    domains = Domains()
    try:
        at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        listeners: list[dict[str, Any]] = [
            {"mode": "reverse", "address": at["irc"], "upstream": f"127.0.0.1:{ngircd.port}"},
            {"mode": "reverse", "address": at["leasing"], "upstream": f"127.0.0.1:{ngircd.port}",
             "lease_ports": f"{leased[0]}-{leased[-1]}"},
            {"mode": "socks5", "address": at["socks"], "destinations": {"allow": ["127.0.0.0/8"]}},
            {"mode": "reverse", "address": at["xmpp"], "upstream": f"127.0.0.1:{prosody.port}"},
            {"mode": "reverse", "address": at["http"], "upstream": f"127.0.0.1:{prosody.http}",
             "protocols": ["http_upload"]},
            {"mode": "reverse", "address": at["servers"], "upstream": f"127.0.0.1:{domains.port}"},
        ]
        gateway = GatewayChild(
            folder / "gateway", listeners, policy=POLICY, workers=2, archive="full", limits={"restart_seconds": 1},
            tls={"upstream_ca": str(servers.ca_file)})
        site = Site(gateway, ports, ngircd, domains)
        try:
            site.look()
            yield site
        finally:
            code = gateway.stop()
        assert code == 0, gateway.child.text()
        done = gateway.inspector("verify")
        assert done.returncode == 0, done.stdout
        assert "Traceback" not in gateway.child.text()
        assert "internal error" not in gateway.child.text()
    finally:
        domains.close()
        prosody.child.stop()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The gateway, with nobody connected."""
    yield running
    running.until(lambda: not sum(one["sessions"] for one in running.workers().values()), "sessions are left")


@pytest.fixture
def meet(site: Site) -> Iterator[Callable[[str, str], Xmpp]]:
    """Signs users of Prosody on; all leave with the test."""
    with ExitStack() as stack:
        def sign_on(name: str, host: str) -> Xmpp:
            peer = Xmpp(site.ports["xmpp"], name, host)
            stack.callback(peer.leave)
            return peer

        yield sign_on


Meet = Callable[[str, str], Xmpp]


def test_what_is_held_here_is_released_where_its_writer_is_signed_on(site: Site, meet: Meet) -> None:
    """Held in one worker, released when its writer has left it and is signed on in the other: it goes out there, in her
    name, once; the reader's leg, in the first worker again, is covered by the release."""
    since = now()
    alice, bob = meet("alice", site.here), meet("bob", site.here)
    assert site.sessions() == {"here": 2, "there": 0}
    alice.say("bob@localhost", "wait for it: roses")
    item = site.held(since, protocol="xmpp")
    alice.hear(item["reference"])
    alice.leave()
    again = meet("alice", site.there)
    assert site.sessions() == {"here": 1, "there": 1}
    assert "sent" in site.release(item)
    assert "alice@localhost" in bob.hear("roses")
    site.is_in(item, "delivered")
    again.say("bob@localhost", "the end")
    assert "roses" not in bob.hear("the end")
    site.gateway.wait_row("review", after=since, hold=item["id"], step="delivered")  # it may lag by one commit
    steps = [row["step"] for row in site.gateway.rows("review") if row["hold"] == item["id"]]
    assert steps == ["held", "released", "delivering", "delivered"]
    assert len(site.items()) == 1  # the second leg was not held


def test_a_release_covers_in_workers_that_come_later(site: Site, meet: Meet) -> None:
    """Released while its writer is away, then all workers are exchanged with the hold waiting: it goes out at her next
    sign-on, and the reader's leg passes in a worker that did not live when it was released. One that was taken back
    covers nothing there."""
    since = now()
    alice, bob = meet("alice", site.here), meet("bob", site.there)
    alice.say("bob@localhost", "wait for it: tulips")
    item = site.held(since, protocol="xmpp")
    alice.hear(item["reference"])
    alice.say("bob@localhost", "wait for it: thistles")
    site.until(lambda: len([one for one in site.items().values() if one["state"] == "held"]) == 2, "not held")
    other = next(one for one in site.items().values() if one["state"] == "held" and one["id"] != item["id"])
    alice.leave()
    bob.leave()
    site.release(item)
    site.release(other)
    done = site.gateway.inspector("quarantine", "deny", other["id"])
    assert done.returncode == 0, done.stderr
    assert site.items()[item["id"]]["state"] == "released"
    before = set(site.items())
    site.restart()
    bob = meet("bob", site.there)
    alice = meet("alice", site.here)
    assert site.sessions() == {"here": 1, "there": 1}
    assert "alice@localhost" in bob.hear("tulips")
    site.is_in(item, "delivered")
    assert set(site.items()) == before
    alice.say("bob@localhost", "wait for it: thistles")
    site.until(lambda: len(site.items()) == len(before) + 1, "a release that was taken back covers")
    alice.say("bob@localhost", "the end")
    assert "thistles" not in bob.hear("the end")
    for one in site.items().values():
        if one["state"] == "held":
            ask(site.control, "hold.deny", 20, id=one["id"])


def test_a_message_is_judged_in_the_worker_of_each_leg(site: Site, meet: Meet) -> None:
    """Up in one worker, down in the other: it comes once, each leg has its row in the chain of its worker; what a rule
    says of a user holds in both."""
    since = now()
    alice, bob = meet("alice", site.here), meet("bob", site.there)
    alice.say("bob@localhost", "a word for bob")
    assert bob.hear("for bob</body>").count("<message") == 1
    bob.say(alice.jid, "another one by alice only")
    refused = site.gateway.wait_row("verdict", after=since, did="block", rule="not by bob")
    bob.hear(refused["reference"])
    bob.leave()
    bob = meet("bob", site.here)
    later = now()
    bob.say(alice.jid, "and once more by alice only")
    refused = site.gateway.wait_row("verdict", after=later, did="block", rule="not by bob")
    bob.hear(refused["reference"])
    bob.say(alice.jid, "the end")
    assert "by alice only" not in alice.hear("the end")
    site.until(lambda: len([1 for row in site.gateway.rows("message")
                            if row["t"] > since and row["text"] == "a word for bob"]) == 2, "no two legs")


CARD = ("4000 00", "10 3421", " 0005")
"""A number that is nobody's; the third piece makes it one."""
SPLIT = "a card number in pieces"


def test_a_card_number_in_pieces_through_two_workers_is_refused(site: Site, meet: Meet) -> None:
    """Three pieces from two devices of one account, here, there and here again: the last one is refused, its row names
    the two others, and the reader gets no third piece. Then a piece through the first worker alone, the rest through
    the other one, at which she signs on only now."""
    since = now()
    phone, bob = meet("alice", site.here), meet("bob", site.here)
    desk = meet("alice", site.there)
    assert site.sessions() == {"here": 2, "there": 1}
    names: list[str] = []
    for client, piece in zip((phone, desk, phone), CARD, strict=True):
        names.append(client.say("bob@localhost", piece))
        if len(names) < 3:
            bob.hear(f"{piece}</body>")
    row = site.gateway.wait_row("verdict", after=since, rule=SPLIT)
    assert row["did"] == "block"
    assert f"begun in {names[0]}, {names[1]}" in row["findings"][0]["detail"]
    phone.hear(row["reference"])
    phone.say("bob@localhost", "the end")
    assert "0005" not in bob.hear("the end")
    phone.leave()
    desk.leave()

    later = now()
    phone = meet("alice", site.here)
    names = [phone.say(bob.jid, CARD[0])]
    bob.hear(f"{CARD[0]}</body>")
    phone.leave()
    desk = meet("alice", site.there)
    names.append(desk.say(bob.jid, CARD[1]))
    bob.hear(f"{CARD[1]}</body>")
    desk.say(bob.jid, CARD[2])
    row = site.gateway.wait_row("verdict", after=later, rule=SPLIT)
    assert f"begun in {names[0]}, {names[1]}" in row["findings"][0]["detail"]
    desk.hear(row["reference"])


def test_who_comes_back_from_another_address_begins_anew(site: Site, meet: Meet) -> None:
    """His managed session is not known there: he is told so, binds again, and what had been sent to him meanwhile comes
    from the server, read by us. Nothing is lost and nothing comes unread."""
    since = now()
    bob = meet("bob", site.there)
    phone = Xmpp(site.ports["xmpp"], "alice", site.here, "phone")
    previous = phone.manage()
    bob.say(phone.jid, "are you there")
    phone.hear("are you there</body>")
    phone.vanish()
    site.until(lambda: site.sessions()["here"] == 0, "the session goes on")
    bob.say(phone.jid, "said while away")
    again = Xmpp(site.ports["xmpp"], "alice", site.there, "phone", previous)
    try:
        assert "item-not-found" in again.refused
        assert again.jid == phone.jid
        again.hear("said while away</body>")
        # Rows of passed messages lag.
        site.gateway.wait_row("message", after=since, text="said while away", way="down")
        rows = [row for row in site.gateway.rows("message") if row["t"] > since and row["text"] == "said while away"]
        down = [row for row in rows if row["way"] == "down"]
        assert [row["user"] for row in down] == [again.jid]
    finally:
        again.leave()


def test_a_refusal_between_servers_is_told_through_the_other_worker(site: Site) -> None:
    """The stream of one server is here, the one of the way back there: who wrote what was refused is told."""
    since = now()
    with ExitStack() as stack:
        there = stack.enter_context(contextlib.closing(server(site.ports["servers"], site.here, "a.test", "b.test")))
        stack.enter_context(contextlib.closing(server(site.ports["servers"], site.there, "b.test", "a.test")))
        assert site.sessions() == {"here": 1, "there": 1}
        there.sendall(b"<message type='chat' id='s1' from='al@a.test' to='bo@b.test'><body>4000 0010 3421 0005</body>"
                      b"</message><message type='chat' id='s2' from='al@a.test' to='bo@b.test'><body>hello</body>"
                      b"</message>")
        row = site.gateway.wait_row("verdict", after=since, rule=SPLIT)
        assert row["sender"] == "al@a.test"
        site.until(lambda: row["reference"] in site.domains.said["a.test"], "the writer is not told")
        told = site.domains.said["a.test"]
        assert "from='bo@b.test' to='al@a.test'" in told
        assert "id='s1'" in told
        site.until(lambda: "hello" in site.domains.said["b.test"], "what passes does not")
        assert "3421" not in site.domains.said["b.test"]


def test_an_upload_that_one_worker_offers_another_one_knows(site: Site, meet: Meet) -> None:
    """A slot is asked for in one worker and used in the other: the file has its sender; a held one's sender is
    told where he is signed on, and after its release the same content passes in both workers."""
    since, content = now(), os.urandom(100_000)
    alice = meet("alice", site.here)
    put, headers, get = site.slot(alice, "notes.txt", len(content))
    assert site.http(site.there, "PUT", put, content, headers)[0] == 201
    row = site.gateway.wait_row("file", after=since, state="transferred", name="notes.txt")
    assert row["sender"].partition("/")[0] == "alice@localhost"
    assert site.http(site.there, "GET", get)[1] == content
    put, headers, _ = site.slot(alice, "plan.txt", len(content))
    status, text = site.http(site.there, "PUT", put, content, headers)
    assert status == 403
    item = site.held(since, rule="plans wait")
    assert item["reference"].encode() in text
    alice.hear(item["reference"])
    site.release(item)
    assert "plan.txt was released" in alice.hear("plan.txt was released")
    for host in (site.there, site.here):
        put, headers, _ = site.slot(alice, "plan.txt", len(content))
        assert site.http(host, "PUT", put, content, headers)[0] == 201, host
    site.is_in(item, "delivered")


@pytest.mark.parametrize("way", ["socks", "leasing"])
def test_a_file_that_is_announced_here_is_read_there(site: Site, way: str) -> None:
    """DCC: the address as it stands, by SOCKS, and one of ours: the connection of a client of the other worker is that
    file, from its sender."""
    since, content = now(), harmless(300_000)
    with ExitStack() as stack, ThreadPoolExecutor(1) as threads:
        def join(name: str, host: str) -> Irc:
            sock = reach(host, ("127.0.0.1", site.ngircd.port)) if way == "socks" else dial(host, site.ports["leasing"])
            stack.enter_context(contextlib.closing(sock))
            return Irc(sock, name).sign_on()

        def reach(host: str, to: tuple[str, int]) -> socket.socket:
            if way != "socks":
                return dial(host, to[1], to[0])
            sock = stack.enter_context(contextlib.closing(dial(host, site.ports["socks"])))
            sock.sendall(b"\5\1\0")
            assert sock.recv(2, socket.MSG_WAITALL) == b"\5\0"
            sock.sendall(b"\5\1\0\1" + socket.inet_aton(to[0]) + to[1].to_bytes(2))
            answer = sock.recv(10, socket.MSG_WAITALL)
            assert answer[:2] == b"\5\0", answer
            return sock

        alice, bob = join(f"alice{way}", site.here), join(f"bob{way}", site.there)
        assert site.sessions() == {"here": 1, "there": 1}
        for name, passes in (("roses.bin", True), ("plan.bin", False)):
            listener = socket.create_server((site.here, 0))
            listener.settimeout(30)
            port = listener.getsockname()[1]
            alice.say(f"PRIVMSG {bob.nick} :\x01DCC SEND {name} {number(site.here)} {port} {len(content)}\x01")
            offer = offered(bob.wait("DCC SEND"))
            assert (int(offer["port"]) == port) == (way == "socks")
            heard = threads.submit(give_once, listener, content)
            got = take(reach(site.there, offer["address"]), len(content))
            assert got == (content if passes else b"")
            heard.result(40)
            if passes:
                row = site.gateway.wait_row("file", after=since, state="transferred", name=name)
                assert (row["sender"], row["recipients"]) == (alice.nick, [bob.nick])
            else:
                item = site.held(since, rule="plans wait")
                alice.wait(item["reference"])


def test_a_worker_that_is_killed_loses_nothing_that_waits(site: Site, meet: Meet) -> None:
    """What its clients had written waits on, and is delivered through the worker that takes its place; the reader's
    session in the other worker went on."""
    since = now()
    alice, bob = meet("alice", site.here), meet("bob", site.there)
    alice.say("bob@localhost", "wait for it: lilies")
    item = site.held(since, protocol="xmpp")
    alice.hear(item["reference"])
    victim = site.workers()[0]
    os.kill(victim["pid"], signal.SIGKILL)
    alice.sock.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        while alice.sock.recv(4096):
            pass
    meet("alice", site.here)
    assert site.workers()[0]["pid"] != victim["pid"]
    assert "sent" in site.release(item)
    assert "alice@localhost" in bob.hear("lilies")
    site.is_in(item, "delivered")


def test_it_is_told_as_one(site: Site, meet: Meet) -> None:
    """One log with a chain for each worker, one list of what was held."""
    since = now()
    here, there = meet("alice", site.here), meet("bob", site.there)
    for who, to in ((here, "bob"), (there, "alice")):
        who.say(f"{to}@localhost", "wait for it: asters")
        who.hear("waits for")
    site.gateway.wait_row("review", after=since, step="held")
    rows = [row for row in site.gateway.rows() if row["t"] > since]
    assert {row["event"] for row in rows} >= {"message", "verdict", "review"}
    assert {row["user"].partition("@")[0] for row in rows if row["event"] == "verdict"} == {"alice", "bob"}
    done = site.gateway.inspector("quarantine", "list", "--format", "jsonl")
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == len(site.items()) >= 2
