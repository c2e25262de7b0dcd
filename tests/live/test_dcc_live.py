"""Files and chats between clients of IRC, through the running gateway: strict clients of ours and libpurple, ngircd
between them; addresses as they stand (socks5) and written anew with leased ports (reverse, transparent)."""

from __future__ import annotations

import hashlib
import io
import ipaddress
import os
import re
import shutil
import socket
import tarfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Start
from tests.live.peers import ROOT, Child, GatewayChild, Namespaces, Ngircd, Servers, need, now
from tests.live.test_modes import Irc, by_socks, plain
from tests.live.test_purple_live import purplebot, wait
from tests.ports import free_port, free_ports

__all__ = ["purplebot"]

pytestmark = pytest.mark.live

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
POLICY: dict[str, Any] = {
    "files": [{"when": {"file.name": "*stream*"}, "mode": "stream"}, {"when": {"protocol": "irc"}, "mode": "spool"}],
    "rules": [
        {"name": "malware", "when": {"finding.severity": ["high", "critical"]}, "then": "block"},
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact"},
        {"name": "forbidden", "when": {"event": "message", "text": "forbidden fruit"}, "then": "block",
         "notify": "Not delivered, reference {reference}."},
    ],
}


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def harmless(size: int) -> bytes:
    """Bytes that repeat nothing and mean nothing."""
    block = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(2048))
    return (block * (size // len(block) + 1))[:size]


MALWARE = {
    "eicar.com": EICAR,
    "eicar.zip": zipped("inner.zip", zipped("eicar.com", EICAR)),
    "holiday.jpg": tarred("eicar.com", EICAR),
}


PROXY = """<?xml version='1.0' encoding='UTF-8' ?>
<pref version='1' name='/'>
 <pref name='purple'>
  <pref name='proxy'>
   <pref name='type' type='string' value='socks5'/>
   <pref name='host' type='string' value='127.0.0.1'/>
   <pref name='port' type='int' value='{port}'/>
  </pref>
 </pref>
</pref>
"""


class Net:
    """A gateway and how its clients reach servers and each other through it."""

    def __init__(self, mode: str, gateway: GatewayChild, port: int, ngircd: Ngircd) -> None:
        self.mode = mode
        self.gateway = gateway
        self._port = port
        self._ngircd = ngircd
        self._made = 0
        self._open: list[socket.socket] = []

    def _connection(self, host: str, port: int) -> socket.socket:
        if self.mode == "socks5":
            return by_socks(self._port, host, port)
        return plain(port, host)

    def join(self, name: str) -> Irc:
        """A person on IRC, under a nick that nobody else has."""
        self._made += 1
        sock = (
            self._connection("127.0.0.1", self._ngircd.port) if self.mode == "socks5" else plain(self._port))
        self._open.append(sock)
        return Irc(sock, f"{name}{self.mode[0]}{self._made}").sign_on()

    def purple(self, program: Path, folder: Path, name: str, *options: str) -> Child:
        """A running libpurple, its nick being its name; it takes every file that it is offered."""
        state = folder / name
        state.mkdir()
        port = self._port
        if self.mode == "socks5":
            port = self._ngircd.port
            (state / "prefs.xml").write_text(PROXY.format(port=self._port))
        return Child(name, [
            str(program), str(state), "prpl-irc", f"{name}@127.0.0.1", "", "90", f"i:port={port}", "b:ssl=0",
            "s:encoding=UTF-8", *options], folder)

    def reach(self, address: tuple[str, int]) -> socket.socket:
        """A direct connection, as a client makes it."""
        sock = self._connection(*address)
        sock.settimeout(30)
        self._open.append(sock)
        return sock

    def leave(self) -> None:
        for sock in self._open:
            sock.close()
        self._open.clear()


@pytest.fixture(scope="module", params=["socks5", "reverse"])
def gateway_of_mode(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ngircd: Ngircd, servers: Servers,
) -> Iterator[Net]:
    """A running gateway in each mode, with the pack that knows EICAR."""
    folder = tmp_path_factory.mktemp("dcc_gateway")
    shutil.copytree(ROOT / "signatures" / "core", folder / "signatures" / "core")
    port = free_port()
    listener: dict[str, Any] = {"mode": request.param, "address": f"127.0.0.1:{port}"}
    if request.param == "reverse":
        leased = free_ports(100)
        listener |= {"upstream": f"127.0.0.1:{ngircd.port}", "lease_ports": f"{leased[0]}-{leased[-1]}"}
    else:
        listener["destinations"] = {"allow": ["0.0.0.0/0"]}  # libpurple names another address of this machine
    gateway = GatewayChild(folder, [listener], policy=POLICY, tls={"upstream_ca": str(servers.ca_file)})
    yield Net(request.param, gateway, port, ngircd)
    assert gateway.stop() == 0, gateway.child.text()


@pytest.fixture
def net(gateway_of_mode: Net) -> Iterator[Net]:
    """The gateway, with nobody connected."""
    yield gateway_of_mode
    gateway_of_mode.leave()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """The other end of a transfer."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


# -- clients


OFFER = re.compile(
    "\x01DCC (?P<type>[A-Z]+) (?P<name>\\S+) (?P<host>\\d+) (?P<port>\\d+)"
    "(?: (?P<size>\\d+))?(?: (?P<token>\\d+))?\x01")


def offered(line: str) -> dict[str, Any]:
    """A DCC request as a client reads it."""
    found = OFFER.search(line)
    assert found is not None, line
    words: dict[str, Any] = found.groupdict()
    words["address"] = str(ipaddress.IPv4Address(int(words["host"]))), int(words["port"])
    return words


def number(host: str = "127.0.0.1") -> int:
    return int(ipaddress.IPv4Address(host))


def listening() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.settimeout(30)
    return sock


def give(sock: socket.socket, content: bytes) -> int:
    """Send a file block by block, each only when all before it is acknowledged; the last total heard."""
    sock.settimeout(30)
    heard = sent = 0
    try:
        while sent < len(content) or heard < len(content):
            piece = content[sent:sent + 65536]
            sock.sendall(piece)
            sent += len(piece)
            while heard < sent:
                ack = sock.recv(4, socket.MSG_WAITALL)
                if len(ack) < 4:
                    return heard
                total = int.from_bytes(ack)
                assert heard <= total <= sent, (heard, total, sent)
                heard = total
    except OSError:
        pass
    finally:
        sock.close()
    return heard


def give_once(listener: socket.socket, content: bytes) -> int:
    """Send a file to the first who connects."""
    with listener:
        return give(listener.accept()[0], content)


def take(sock: socket.socket, size: int) -> bytes:
    """Receive a file, acknowledged in running totals, until it is whole or the other one closes."""
    got = b""
    try:
        while len(got) < size or not size:
            data = sock.recv(65536)
            if not data:
                break
            got += data
            sock.sendall(len(got).to_bytes(4))
    except OSError:
        pass
    finally:
        sock.close()
    return got


def take_once(listener: socket.socket, size: int) -> bytes:
    with listener:
        return take(listener.accept()[0], size)


def chat_on(one: Irc, other: Irc) -> None:
    """Both sessions still carry words."""
    one.say(f"PRIVMSG {other.nick} :still here {one.nick}")
    other.wait(f"still here {one.nick}")
    other.say(f"PRIVMSG {one.nick} :me too {other.nick}")
    one.wait(f"me too {other.nick}")


def send(net: Net, alice: Irc, bob: Irc, threads: ThreadPoolExecutor, name: str, content: bytes) -> tuple[bytes, int]:
    """Alice offers, Bob takes: (what Bob got, what Alice heard acknowledged)."""
    listener = listening()
    alice.say(f"PRIVMSG {bob.nick} :\x01DCC SEND {name} {number()} {listener.getsockname()[1]} {len(content)}\x01")
    offer = offered(bob.wait("DCC SEND"))
    assert (offer["name"], int(offer["size"])) == (name, len(content))
    if net.mode == "reverse":
        assert int(offer["port"]) != listener.getsockname()[1]
    heard: Future[int] = threads.submit(give_once, listener, content)
    got = take(net.reach(offer["address"]), len(content))
    return got, heard.result(40)


# -- files


@pytest.mark.parametrize("name", ["roses.bin", "roses.stream"])
@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 5_000_000])
def test_a_harmless_file_arrives_as_it_was_sent(net: Net, threads: ThreadPoolExecutor, size: int, name: str) -> None:
    """Byte-identical, its sender acknowledged to the end, its event complete with its hash."""
    alice, bob = net.join("alice"), net.join("bob")
    since = now()
    content = harmless(size)
    got, heard = send(net, alice, bob, threads, name, content)
    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(content).hexdigest()
    assert heard == size
    row = net.gateway.wait_row("file", after=since, state="transferred", name=name)
    assert (row["complete"], row["size"], row["sha256"]) == (True, size, hashlib.sha256(content).hexdigest())
    assert (row["sender"], row["recipients"]) == (alice.nick, [bob.nick])
    chat_on(alice, bob)


@pytest.mark.parametrize("name", list(MALWARE))
def test_malware_is_refused_and_both_are_told(net: Net, threads: ThreadPoolExecutor, name: str) -> None:
    """Plain, in a zip in a zip, in an archive under another name: nothing of it arrives, and the talk goes on."""
    alice, bob = net.join("alice"), net.join("bob")
    since = now()
    got, _ = send(net, alice, bob, threads, name, MALWARE[name])
    assert got == b""
    row = net.gateway.wait_row("verdict", after=since, action="block", sender=alice.nick)
    assert row["rule"] == "malware"
    for person in (alice, bob):
        assert row["reference"] in person.wait("eference")
    chat_on(alice, bob)


def test_streamed_malware_lacks_its_end(net: Net, threads: ThreadPoolExecutor) -> None:
    """What leaves before the verdict is no usable archive: its directory is at the end."""
    alice, bob = net.join("alice"), net.join("bob")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("padding.bin", harmless(400_000))
        archive.writestr("eicar.com", EICAR)
    since = now()
    got, _ = send(net, alice, bob, threads, "stream.zip", out.getvalue())
    assert len(out.getvalue()) - len(got) >= 64 * 1024 - 4096
    assert EICAR not in got
    row = net.gateway.wait_row("verdict", after=since, action="block", sender=alice.nick)
    for person in (alice, bob):
        assert row["reference"] in person.wait("eference")
    chat_on(alice, bob)


def test_a_passive_file_is_sent_by_the_one_who_connects(net: Net, threads: ThreadPoolExecutor) -> None:
    """Reverse DCC: harmless passes, malware does not."""
    alice, bob = net.join("alice"), net.join("bob")
    for token, (name, content) in enumerate((("roses.bin", harmless(100_000)), ("eicar.com", EICAR)), 71):
        since = now()
        alice.say(f"PRIVMSG {bob.nick} :\x01DCC SEND {name} {number()} 0 {len(content)} {token}\x01")
        offer = offered(bob.wait("DCC SEND"))
        assert (offer["port"], offer["token"]) == ("0", str(token))
        listener = listening()
        got: Future[bytes] = threads.submit(take_once, listener, len(content))
        port = listener.getsockname()[1]
        bob.say(f"PRIVMSG {alice.nick} :\x01DCC SEND {name} {number()} {port} {len(content)} {token}\x01")
        answer = offered(alice.wait("DCC SEND"))
        heard = give(net.reach(answer["address"]), content)
        if content is EICAR:
            assert got.result(40) == b""
            row = net.gateway.wait_row("verdict", after=since, action="block", sender=alice.nick)
            for person in (alice, bob):
                assert row["reference"] in person.wait("eference")
        else:
            assert got.result(40) == content
            assert heard == len(content)
            row = net.gateway.wait_row("file", after=since, state="transferred", name=name)
            assert (row["complete"], row["sender"], row["recipients"]) == (True, alice.nick, [bob.nick])
    chat_on(alice, bob)


@pytest.mark.parametrize("name", ["roses.bin", "roses.stream", "eicar.com"])
def test_a_sender_who_does_not_listen(net: Net, threads: ThreadPoolExecutor, name: str) -> None:
    """TSEND without a size: all is sent at once and the connection closed; what is held arrives after that."""
    alice, bob = net.join("alice"), net.join("bob")
    since = now()
    content = MALWARE.get(name, harmless(400_000))

    def give_at_once(listener: socket.socket) -> None:
        with listener:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(content)

    listener = listening()
    alice.say(f"PRIVMSG {bob.nick} :\x01DCC TSEND {name} {number()} {listener.getsockname()[1]}\x01")
    offer = offered(bob.wait("DCC TSEND"))
    given = threads.submit(give_at_once, listener)
    got = b""
    with net.reach(offer["address"]) as sock:
        while data := sock.recv(65536):
            got += data
    given.result(30)
    if name in MALWARE:
        assert got == b""
        row = net.gateway.wait_row("verdict", after=since, action="block", sender=alice.nick)
        for person in (alice, bob):
            assert row["reference"] in person.wait("eference")
    else:
        assert hashlib.sha256(got).hexdigest() == hashlib.sha256(content).hexdigest()
        row = net.gateway.wait_row("file", after=since, state="transferred", name=name)
        assert (row["complete"], row["size"]) == (True, len(content))
    chat_on(alice, bob)


@pytest.mark.parametrize("name", ["roses.bin", "roses.stream"])
def test_who_sends_more_than_he_offered(net: Net, threads: ThreadPoolExecutor, name: str) -> None:
    """What was offered arrives, and nothing behind it."""
    alice, bob = net.join("alice"), net.join("bob")
    content = harmless(100_000)
    listener = listening()
    alice.say(f"PRIVMSG {bob.nick} :\x01DCC SEND {name} {number()} {listener.getsockname()[1]} {len(content)}\x01")
    offer = offered(bob.wait("DCC SEND"))
    threads.submit(give_once, listener, content + EICAR)
    got = take(net.reach(offer["address"]), 2 * len(content))
    assert got == content
    chat_on(alice, bob)


def test_a_transfer_is_not_resumed(net: Net) -> None:
    """RESUME does not arrive; who asked is told, and may take the whole."""
    alice, bob = net.join("alice"), net.join("bob")
    with listening() as listener:
        alice.say(f"PRIVMSG {bob.nick} :\x01DCC SEND a.bin {number()} {listener.getsockname()[1]} 9000\x01")
        offer = offered(bob.wait("DCC SEND"))
        bob.say(f"PRIVMSG {alice.nick} :\x01DCC RESUME a.bin {offer['port']} 4000\x01")
        bob.wait("cannot be resumed")
    chat_on(bob, alice)
    assert not any("RESUME" in line for line in alice.lines)


# -- chats


def line_of(sock: socket.socket, words: str) -> str:
    """The next line with these words."""
    deadline = time.monotonic() + 20
    data = b""
    while True:
        assert time.monotonic() < deadline
        piece = sock.recv(1)
        assert piece, f"the chat ended before {words!r}: {data!r}"
        data += piece
        if piece == b"\n":
            line, data = data.decode().rstrip("\r\n"), b""
            if words in line:
                return line


@pytest.mark.parametrize("passive", [False, True])
def test_a_direct_chat_is_read_masked_and_refused(
    net: Net, threads: ThreadPoolExecutor, *, passive: bool,
) -> None:
    """DCC CHAT is a conversation like any other: a card number is masked, a refused line does not arrive, its writer is
    told, and the chat goes on."""
    alice, bob = net.join("alice"), net.join("bob")
    since = now()
    listener = listening()
    port = listener.getsockname()[1]
    if passive:
        alice.say(f"PRIVMSG {bob.nick} :\x01DCC CHAT chat {number()} 0 9\x01")
        assert "DCC CHAT chat" in bob.wait("DCC CHAT")
        bob.say(f"PRIVMSG {alice.nick} :\x01DCC CHAT chat {number()} {port} 9\x01")
        address = offered(alice.wait("DCC CHAT"))["address"]
    else:
        alice.say(f"PRIVMSG {bob.nick} :\x01DCC CHAT chat {number()} {port}\x01")
        address = offered(bob.wait("DCC CHAT"))["address"]
    accepted: Future[tuple[socket.socket, Any]] = threads.submit(listener.accept)
    connected = net.reach(address)
    here, _ = accepted.result(30)
    here.settimeout(20)
    with here, listener:
        # Who offered an active chat listens; in a passive one he connects.
        hers, his = (connected, here) if passive else (here, connected)
        hers.sendall(b"hello bob\r\n")
        assert line_of(his, "hello") == "hello bob"
        his.sendall(b"my card is 4111 1111 1111 1111 thanks\n")
        assert line_of(hers, "my card") == "my card is ******************* thanks"
        hers.sendall(b"some forbidden fruit\r\nstill here\r\n")
        assert line_of(his, "") == "still here"
        row = net.gateway.wait_row("verdict", after=since, action="block", sender=alice.nick)
        assert (row["protocol"], row["kind"], row["recipients"]) == ("irc", "chat", [bob.nick])
        assert row["reference"] in line_of(hers, "eference")
    chat_on(alice, bob)


# -- behind a redirect


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Sockets that are made here belong to this network namespace."""
    home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        os.setns(there, os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(home, os.CLONE_NEWNET)
    finally:
        os.close(home)
        os.close(there)


@pytest.mark.netns
def test_transparent(
    namespaces: Namespaces, start_gateway: Start, tmp_path: Path, threads: ThreadPoolExecutor,
) -> None:
    """Alice sits behind the gateway, Bob beside the server. What she takes is redirected like anything else of hers;
    what she gives is fetched from a leased port of the gateway, whose address he reads."""
    need("ngircd")
    config = tmp_path / "ngircd.conf"
    config.write_text(f"[Global]\nName = irc.test\nInfo = a test\nListen = {namespaces.SERVER}\nPorts = 6667\n"
                      "[Limits]\nMaxConnectionsIP = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n")
    server = Child("ngircd", [
        *namespaces.inside(namespaces.srv), shutil.which("ngircd") or "/usr/sbin/ngircd", "-n", "-f", str(config),
    ], tmp_path)
    signatures = tmp_path / "packs"
    shutil.copytree(ROOT / "signatures" / "core", signatures / "core")
    listener = {
        "mode": "transparent", "address": "0.0.0.0:9300", "clients": ["10.77.1.0/24"], "lease_ports": "9400-9409",
        "destinations": {"deny": ["own"]},
    }
    try:
        with inside(namespaces.srv):
            server.wait_port(namespaces.SERVER, 6667)
        gateway = start_gateway(
            listener, prefix=namespaces.inside(namespaces.gw), policy=POLICY, signatures=str(signatures))
        namespaces.redirect([6667, 7777], 9300)
        with inside(namespaces.cli), plain(6667, namespaces.SERVER) as one:
            alice = Irc(one, "alice").sign_on()
            with inside(namespaces.srv), plain(6667, namespaces.SERVER) as two:
                bob = Irc(two, "bob").sign_on()
                for name, content in (("roses.bin", harmless(200_000)), ("eicar.zip", MALWARE["eicar.zip"])):
                    for giver, taker, home in ((bob, alice, namespaces.cli), (alice, bob, namespaces.srv)):
                        since = now()
                        place = namespaces.SERVER if giver is bob else namespaces.CLIENT
                        with inside(namespaces.srv if giver is bob else namespaces.cli):
                            listens = socket.create_server((place, 7777))
                        listens.settimeout(30)
                        giver.say(
                            f"PRIVMSG {taker.nick} :\x01DCC SEND {name} {number(place)} 7777 {len(content)}\x01")
                        offer = offered(taker.wait("DCC SEND"))
                        leased = offer["address"][0] == "10.77.2.1" and 9400 <= offer["address"][1] <= 9409
                        assert leased if giver is alice else offer["address"] == (place, 7777)
                        heard = threads.submit(give_once, listens, content)
                        with inside(home):
                            sock = plain(offer["address"][1], offer["address"][0])
                        sock.settimeout(30)
                        got = take(sock, len(content))
                        heard.result(40)
                        if name == "roses.bin":
                            assert got == content
                            row = gateway.wait_row("file", after=since, state="transferred", name=name)
                            assert (row["complete"], row["sender"]) == (True, giver.nick)
                        else:
                            assert got == b""
                            row = gateway.wait_row("verdict", after=since, action="block", sender=giver.nick)
                            for person in (alice, bob):
                                assert row["reference"] in person.wait("eference")
                        chat_on(alice, bob)
    finally:
        server.stop()


# -- libpurple


@pytest.mark.parametrize("name", ["roses.bin", *MALWARE])
def test_libpurple_sends_to_libpurple(net: Net, purplebot: Path, tmp_path: Path, name: str) -> None:
    """Real client code on both ends: the harmless file is the same, of the refused one nothing usable is there; both go
    on answering, and both are shown the reference."""
    content = MALWARE.get(name, harmless(300_000))
    (tmp_path / name).write_bytes(content)
    tag = f"{net.mode[0]}{[*MALWARE, name].index(name)}"
    since = now()
    bob = net.purple(purplebot, tmp_path, f"pbob{tag}", "echo=1")
    alice = None
    try:
        wait(bob, "SIGNED-ON")
        alice = net.purple(
            purplebot, tmp_path, f"palice{tag}", f"peer=pbob{tag}", "msg=a file for you", "delay=1", "echo=1",
            f"file={tmp_path / name}")
        wait(bob, "FILE-REQ", name)
        received = tmp_path / f"pbob{tag}" / f"recv-{name}"
        if name in MALWARE:
            row = net.gateway.wait_row("verdict", 40, since, action="block", sender=f"palice{tag}")
            for one in (alice, bob):
                wait(one, row["reference"])
            assert not received.exists() or received.read_bytes() == b""
            assert "FILE-RECV-COMPLETE" not in bob.text()
        else:
            wait(bob, "FILE-RECV-COMPLETE")
            wait(alice, "FILE-SEND-COMPLETE")
            assert received.read_bytes() == content
            row = net.gateway.wait_row("file", after=since, state="transferred", name=name)
            assert (row["complete"], row["sender"]) == (True, f"palice{tag}")
        carol = net.join("carol")
        for nick in (f"palice{tag}", f"pbob{tag}"):
            carol.say(f"PRIVMSG {nick} :how are you")
            carol.wait("echo: how are you")
    finally:
        for child in (alice, bob):
            if child is not None:
                child.stop()
