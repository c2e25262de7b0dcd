"""Ways round the gateway: each test fails when one opens."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.conftest import Start
from tests.live.peers import Child, GatewayChild, Ngircd, Prosody, Servers, now
from tests.live.test_modes import SERVER, Irc, by_socks, plain
from tests.ports import free_port

pytestmark = pytest.mark.live


@pytest.fixture(params=["fast", "stock"], scope="module")
def io(request: pytest.FixtureRequest) -> str:
    """Both kinds of I/O."""
    return str(request.param)


class Shared(GatewayChild):
    """One gateway for most of these tests: a listener of each kind."""

    def __init__(self, folder: Path, kind: str, servers: Servers, upstream: dict[str, int]) -> None:
        self.ports = {name: free_port() for name in (*upstream, "socks5", "connect", "socks5 wide", "connect wide")}
        explicit = [
            {"mode": name, "address": f"127.0.0.1:{self.ports[name]}"} for name in ("socks5", "connect")
        ] + [
            {"mode": name, "address": f"127.0.0.1:{self.ports[name + ' wide']}",
             "destinations": {"allow": ["0.0.0.0/0", "::/0", "localhost"], "deny": []}}
            for name in ("socks5", "connect")
        ]
        super().__init__(
            folder, [*(reverse(self.ports[name], port) for name, port in upstream.items()), *explicit], io=kind,
            tls={"upstream_ca": str(servers.ca_file), "intercept": "all"})


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, servers: Servers, ngircd: Ngircd,
    prosody: Prosody, prosody_tls: Prosody, sink: int, io: str,
) -> Iterator[Shared]:
    """The gateway, on one kind of I/O after the other."""
    gateway = Shared(tmp_path_factory.mktemp(f"shared_{io}"), io, servers, {
        "irc": ngircd.port, "irc tls": ngircd.tls_port, "xmpp": prosody.port, "xmpp secure": prosody_tls.port,
        "sink": sink,
    })
    yield gateway
    gateway.stop()


def reverse(port: int, upstream: int, **more: object) -> dict[str, object]:
    return {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"localhost:{upstream}", **more}


def ended(sock: socket.socket) -> bytes:
    """What a peer still says until its end (or its reset)."""
    got = b""
    try:
        while data := sock.recv(65536):
            got += data
    except ConnectionError:
        pass
    return got


def test_two_tls_alerts_do_not_free_a_session(
    servers: Servers, shared: Shared,
) -> None:
    """A client that rejects our certificate twice gets no way past us: the third time it sees our certificate again,
    and what it says then is inspected. The log proposes an exception, for a person to decide."""
    gateway, port = shared, shared.ports["irc tls"]
    stranger = ssl.create_default_context(cafile=str(servers.ca_file))
    for _ in range(3):
        with plain(port) as sock, pytest.raises(ssl.SSLCertVerificationError):
            stranger.wrap_socket(sock, server_hostname="localhost")
    assert gateway.wait_row("proposal", name="localhost")["count"] == 2
    with plain(port) as sock, pytest.raises(ssl.SSLCertVerificationError):
        stranger.wrap_socket(sock, server_hostname="localhost")
    trusting = ssl.create_default_context(cafile=str(gateway.authority))
    with trusting.wrap_socket(plain(port), server_hostname="localhost") as sock:
        alice = Irc(sock, "alice").sign_on()
        alice.say("PRIVMSG alice :forbidden fruit")
        alice.wait("eference")


@pytest.fixture(scope="module")
def patient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An IRC server of ours that skips what it does not know; its port."""
    port = free_port()
    child = Child("irc", [sys.executable, "-c", SERVER, str(port)], tmp_path_factory.mktemp("irc"))
    try:
        child.wait_port("127.0.0.1", port)
        yield port
    finally:
        child.stop()


@pytest.fixture(scope="module")
def junk_ports(tmp_path_factory: pytest.TempPathFactory, patient_server: int) -> Iterator[dict[bool, int]]:
    """The ports of a listener that is named as IM (True) and of one that is not."""
    ports = {True: free_port(), False: free_port()}
    gateway = GatewayChild(tmp_path_factory.mktemp("junk"), [
        reverse(ports[True], patient_server, protocols=["irc"]), reverse(ports[False], patient_server)])
    yield ports
    gateway.stop()


JUNK = {
    "blank lines": b"\r\n" * 100,
    "unknown words": b"XYZZY plugh\r\n" * 20,
    "6 KB of unknown words": b"XYZZY plugh\r\n" * 500,
    "40 KB of blanks": b"\r\n" * 20_000,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_junk_in_front_does_not_free_an_irc_session(
    patient_server: int, junk_ports: dict[bool, int], junk: bytes, named: bool,
) -> None:
    """Servers skip blank and unknown lines (this one without a throttle). Either the session is cut (a listener named
    as IM), or IRC is recognised behind the junk: in no case is the forbidden message delivered."""
    with plain(patient_server) as honest, plain(junk_ports[named]) as sly:
        bob = Irc(honest, "bob").sign_on()
        sly.settimeout(10)
        try:
            sly.sendall(junk)
            alice = Irc(sly, "alice").sign_on()
            alice.say("PRIVMSG bob :forbidden fruit")
            alice.wait("eference")
        except (AssertionError, OSError):
            assert named, "the session was cut on a listener that is not named as IM"
        bob.say("PRIVMSG bob :that was all")
        heard = bob.wait("PRIVMSG bob :")
        assert "forbidden" not in heard


STREAM = (
    "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


@pytest.mark.parametrize("front", [b" " * 300, b"\n" * 6000], ids=["short", "beyond the hold"])
def test_white_space_in_front_does_not_free_an_xmpp_session(
    shared: Shared, front: bytes,
) -> None:
    """XMPP servers skip white space before the stream: the session is recognised, or cut."""
    gateway = shared
    with plain(shared.ports["xmpp"]) as sock:
        try:
            sock.sendall(front + STREAM.encode())
            got = b""
            while b"</stream:features>" not in got:
                data = sock.recv(65536)
                if not data:
                    break
                got += data
        except ConnectionError:
            pass
        assert all(row["protocol"] == "xmpp" for row in sessions(gateway, shared.ports["xmpp"]))


def features(sock: socket.socket) -> bytes:
    sock.sendall(STREAM.encode())
    got = b""
    while b"</stream:features>" not in got:
        data = sock.recv(65536)
        assert data, got
        got += data
    return got


STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
INJECTED = b"<iq type='get' id='injected'><query xmlns='jabber:iq:version'/></iq>"


@pytest.mark.parametrize("together", [True, False], ids=["same segment", "next segment"])
def test_plain_text_behind_starttls_is_cut(
    shared: Shared, together: bool,
) -> None:
    """Words behind <starttls/> would be read by the server as if they had come through TLS: the session ends."""
    gateway, start = shared, now()
    with plain(shared.ports["xmpp"]) as sock:
        assert b"urn:ietf:params:xml:ns:xmpp-tls" in features(sock)
        if together:
            sock.sendall(STARTTLS + INJECTED)
        else:
            sock.sendall(STARTTLS)
            sock.sendall(INJECTED)
        assert b"<proceed" not in ended(sock) or not together
    # Whether it came before or after our <proceed/>: an injection, never a session that goes on
    assert gateway.wait_row("trouble", after=start, name="injection")["did"] == "cut"


def test_starttls_is_opened_and_inspected(
    shared: Shared,
) -> None:
    """The client sees a certificate of ours for the stream's name, and TLS with the server stands before <proceed/>."""
    context = ssl.create_default_context(cafile=str(shared.authority))
    with plain(shared.ports["xmpp secure"]) as sock:
        features(sock)
        sock.sendall(STARTTLS)
        assert b"<proceed" in sock.recv(65536)
        with context.wrap_socket(sock, server_hostname="localhost") as secure:
            assert b"SCRAM-SHA-1" in features(secure)


def socks_reply(port: int, host: str, target: int) -> int:
    """The code of the SOCKS reply."""
    with plain(port) as sock:
        try:
            address = b"\x01" + socket.inet_aton(host)
        except OSError:
            address = b"\x03" + bytes([len(host)]) + host.encode()
        sock.sendall(b"\x05\x01\x00\x05\x01\x00" + address + target.to_bytes(2))
        assert sock.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
        return sock.recv(10, socket.MSG_WAITALL)[1]


def connect_status(port: int, host: str, target: int) -> int:
    """The status of the CONNECT."""
    with plain(port) as sock:
        sock.sendall(f"CONNECT {host}:{target} HTTP/1.1\r\nHost: {host}:{target}\r\n\r\n".encode())
        return int(ended(sock)[9:12])


Ask = Callable[[int, str, int], int]


@pytest.mark.parametrize(("mode", "ask", "no"), [("socks5", socks_reply, 2), ("connect", connect_status, 403)])
def test_explicit_proxies_do_not_reach_inside(
    ngircd: Ngircd, shared: Shared, mode: str, ask: Ask, no: int,
) -> None:
    """Cloud metadata, loopback and private addresses, in every spelling and by names that resolve there: refused."""
    gateway, port, start = shared, shared.ports[mode], now()
    v6 = "[::1]" if mode == "connect" else "::1"
    hosts = ["169.254.169.254", "127.0.0.1", "localhost", "0.0.0.0", "10.0.0.1", v6, "127.1", socket.gethostname()]
    for host in hosts:
        assert ask(port, host, ngircd.port) == no, host
    gateway.wait_row("trouble", after=start, name="refused_destination")


@pytest.mark.parametrize(("mode", "ask", "no"), [("socks5", socks_reply, 2), ("connect", connect_status, 403)])
def test_explicit_proxies_do_not_reach_the_gateway_itself(
    shared: Shared, mode: str, ask: Ask, no: int,
) -> None:
    """Our listeners and our metrics port, by address and by name, though loopback and everything else is allowed."""
    gateway, port = shared, shared.ports[f"{mode} wide"]
    for host in ("127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0"):
        for own in (port, gateway.metrics):
            assert ask(port, host, own) == no, (host, own)


CRASH = """
from inspector.protocols import irc
feed = irc.IrcDecoder.feed
def broken(self, chunk):
    if b"boom" in chunk.data:
        raise ValueError("a secret: " + chunk.data.decode())
    return feed(self, chunk)
irc.IrcDecoder.feed = broken
"""


def test_an_exception_in_a_decoder_cuts(ngircd: Ngircd, start_gateway: Start, io: str) -> None:
    """A bug of ours frees nobody: the chunk is not relayed, nor the next one; both sides end; the log says internal,
    without the words; other sessions go on."""
    port = free_port()
    gateway = start_gateway(reverse(port, ngircd.port), io=io, patch=CRASH)
    with plain(port) as one, plain(port) as two:
        alice, bob = Irc(one, "alice").sign_on(), Irc(two, "bob").sign_on()
        alice.say("PRIVMSG bob :boom")
        try:
            alice.say("PRIVMSG bob :and on")
        except OSError:
            pass
        ended(one)
        row = gateway.wait_row("trouble", name="internal")
        assert row["did"] == "cut"
        bob.say("PRIVMSG bob :calm")
        assert bob.wait("PRIVMSG bob").endswith(":calm")
        assert "secret" not in gateway.child.text()
        assert all("secret" not in str(row) for row in gateway.rows())


SINK = """
import asyncio, sys
async def serve(reader, writer):
    first = await reader.read(1)
    if first == b"R":      # reads slowly, 64 KB in 50 ms
        while await reader.read(65536):
            await asyncio.sleep(0.05)
    elif first == b"N":    # never reads
        await asyncio.sleep(60)
    elif first == b"W":    # writes for ever
        try:
            while True:
                writer.write(b"w" * 65536)
                await writer.drain()
        except OSError:
            pass
    elif first == b"H":    # ends its side, then reads on
        writer.write_eof()
        while await reader.read(65536):
            pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=65536)
    await server.serve_forever()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that behaves as the first byte says."""
    port = free_port()
    child = Child("sink", [sys.executable, "-c", SINK, str(port)], tmp_path_factory.mktemp("sink"))
    try:
        child.wait_port("127.0.0.1", port)
        yield port
    finally:
        child.stop()


SESSIONS = 10


async def _pump(port: int, first: bytes, size: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that says `first` and then writes `size` bytes, or as many as are taken in 2 s; it does not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(first + b"x" * 5000 + b"\n")
    block = b"y" * 65535 + b"\n"
    try:
        async with asyncio.timeout(2):
            for _ in range(size // len(block)):
                writer.write(block)
                await writer.drain()
    except (TimeoutError, ConnectionError):
        pass
    return reader, writer


@pytest.mark.parametrize(
    ("first", "size"), [(b"N", 10 << 20), (b"R", 10 << 20), (b"W", 0), (b"H", 10 << 20)],
    ids=["10 MB to a peer that never reads", "slow reader", "a client that never reads", "half-closed by the server"],
)
def test_memory_stays_flat(shared: Shared, first: bytes, size: int) -> None:
    """Ten such sessions at once, inspected or not: bounded by the write buffers, not by what was sent."""
    gateway, port = shared, shared.ports["sink"]
    before = gateway.child.resident()

    async def scenario() -> int:
        pumps = await asyncio.gather(*(_pump(port, first, size) for _ in range(SESSIONS)))
        await asyncio.sleep(0)
        grown = gateway.child.resident() - before
        for _, writer in pumps:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()  # RST
        return grown

    grown = asyncio.run(scenario())
    assert grown < 30 << 20, f"{grown >> 20} MB for {SESSIONS} sessions"
    gone(gateway, port)


def test_half_close_and_rst_leave_nothing(shared: Shared) -> None:
    """900 sessions that end by half-close of either side or by RST: no session stays, memory comes back (a session that
    stayed would hold 10 KB and more: 9 MB of them)."""
    gateway, port = shared, shared.ports["sink"]

    def rounds(count: int) -> None:
        for index in range(count):
            sock = plain(port)
            sock.sendall(b"H" if index % 3 == 1 else b"x")
            if index % 3 == 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                sock.shutdown(socket.SHUT_WR)
                ended(sock)
            sock.close()

    rounds(400)
    gone(gateway, port)
    before = gateway.child.resident()
    rounds(900)
    gone(gateway, port)
    assert gateway.child.resident() - before < 4 << 20


def sessions(gateway: GatewayChild, port: int) -> list[dict[str, object]]:
    """The living sessions of a listener."""
    listed = gateway.inspector("sessions", "list", "--format", "jsonl").stdout
    return [row for row in map(json.loads, listed.splitlines()) if row["listener"] == f"127.0.0.1:{port}"]


def gone(gateway: GatewayChild, port: int, seconds: float = 20) -> None:
    """Until a listener has no session."""
    deadline = time.monotonic() + seconds
    while listed := sessions(gateway, port):
        assert time.monotonic() < deadline, listed


def test_a_name_is_judged_by_its_address(start_gateway: Start, ngircd: Ngircd) -> None:
    """An allowed name is a name: the address it resolves to is connected to and no other is looked up."""
    port = free_port()
    start_gateway({"mode": "socks5", "address": f"127.0.0.1:{port}", "destinations": {"allow": ["localhost"]}})
    with by_socks(port, "localhost", ngircd.port) as sock:
        Irc(sock, "alice").sign_on()
    assert socks_reply(port, "127.0.0.1", ngircd.port) == 2
