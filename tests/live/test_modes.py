"""Each way that a client comes to us, with real servers, on both kinds of I/O."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.conftest import Start
from tests.live.peers import ROOT, Child, GatewayChild, Namespaces, Ngircd, Servers
from tests.ports import free_port

pytestmark = pytest.mark.live


@pytest.fixture(params=[("fast", "asyncio"), ("fast", "uvloop"), ("stock", "asyncio")], ids="-".join)
def io(request: pytest.FixtureRequest) -> dict[str, str]:
    """The kinds of I/O and event loop."""
    kind, loop = request.param
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed (make test installs it)")
    return {"io": kind, "loop": loop}


class Irc:
    """A bare IRC client over a connected socket."""

    def __init__(self, sock: socket.socket, nick: str) -> None:
        self.sock = sock
        self.nick = nick
        self.sock.settimeout(10)
        self.lines: list[str] = []
        self._rest = b""

    def say(self, *lines: str) -> None:
        self.sock.sendall("".join(line + "\r\n" for line in lines).encode())

    def sign_on(self) -> Irc:
        self.say(f"NICK {self.nick}", f"USER {self.nick} 0 * :{self.nick}")
        self.wait(" 001 ")
        return self

    def wait(self, words: str, seconds: float = 10) -> str:
        """The next line that holds `words`."""
        deadline = time.monotonic() + seconds
        while True:
            while self.lines:
                line = self.lines.pop(0)
                if words in line:
                    return line
            left = deadline - time.monotonic()
            assert left > 0, f"{self.nick} got no line with {words!r}"
            self.sock.settimeout(left)
            data = self.sock.recv(65536)
            assert data, f"{self.nick}'s connection ended before {words!r}"
            *whole, self._rest = (self._rest + data).split(b"\r\n")
            for raw in whole:
                text = raw.decode(errors="replace")
                if text.startswith("PING"):
                    self.say("PONG" + text[4:])
                self.lines.append(text)


def talk(alice: Irc, bob: Irc, gateway: GatewayChild) -> None:
    """A message that passes, one that is refused with a notice, and the session that goes on."""
    alice.say(f"PRIVMSG {bob.nick} :hello bob")
    assert bob.wait("PRIVMSG").endswith("PRIVMSG " + bob.nick + " :hello bob")
    alice.say(f"PRIVMSG {bob.nick} :some forbidden fruit")
    refusal = alice.wait("eference")
    alice.say(f"PRIVMSG {bob.nick} :still here")
    assert bob.wait("PRIVMSG").endswith(":still here")
    row = gateway.wait_row("verdict", action="block", sender=alice.nick)
    assert row["reference"] in refusal
    assert (row["protocol"], row["rule"]) == ("irc", "forbidden")


def plain(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), 10)


def by_socks(port: int, host: str, target: int) -> socket.socket:
    sock = plain(port)
    sock.sendall(b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + target.to_bytes(2))
    assert sock.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
    reply = sock.recv(10, socket.MSG_WAITALL)
    assert reply[:2] == b"\x05\x00", reply
    return sock


def by_connect(port: int, host: str, target: int) -> socket.socket:
    sock = plain(port)
    sock.sendall(f"CONNECT {host}:{target} HTTP/1.1\r\nHost: {host}:{target}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 200"), head
    return sock


def test_reverse(ngircd: Ngircd, start_gateway: Start, io: dict[str, str]) -> None:
    """Clients connect to the gateway instead of the server."""
    port = free_port()
    gateway = start_gateway(
        {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{ngircd.port}"}, **io)
    with plain(port) as one, plain(port) as two:
        talk(Irc(one, "alice").sign_on(), Irc(two, "bob").sign_on(), gateway)


def test_reverse_on_ipv6(ngircd: Ngircd, start_gateway: Start) -> None:
    """A listener on ::1."""
    port = free_port("::1")
    gateway = start_gateway(
        {"mode": "reverse", "address": f"[::1]:{port}", "upstream": f"127.0.0.1:{ngircd.port}"})
    with plain(port, "::1") as one, plain(port, "::1") as two:
        talk(Irc(one, "alice6").sign_on(), Irc(two, "bob6").sign_on(), gateway)


def test_reverse_with_tls_from_byte_0(
    ngircd: Ngircd, servers: Servers, start_gateway: Start, io: dict[str, str],
) -> None:
    """The client speaks TLS to our certificate, we to the server's; the words are inspected all the same."""
    port = free_port()
    gateway = start_gateway(
        {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"localhost:{ngircd.tls_port}"},
        tls={"intercept": "all"}, **io)
    context = ssl.create_default_context(cafile=str(gateway.authority))
    with (
        context.wrap_socket(plain(port), server_hostname="localhost") as one,
        context.wrap_socket(plain(port), server_hostname="localhost") as two,
    ):
        talk(Irc(one, "alice").sign_on(), Irc(two, "bob").sign_on(), gateway)


@pytest.mark.parametrize("ask", [by_socks, by_connect])
def test_explicit_proxies(
    ngircd: Ngircd, start_gateway: Start, io: dict[str, str], ask: Callable[[int, str, int], socket.socket],
) -> None:
    """SOCKS5 and CONNECT, by address and by name, plain and TLS."""
    port = free_port()
    gateway = start_gateway(
        {"mode": "socks5" if ask is by_socks else "connect", "address": f"127.0.0.1:{port}",
         "destinations": {"allow": ["127.0.0.0/8", "::1"]}},
        tls={"intercept": "all"}, **io)
    with ask(port, "127.0.0.1", ngircd.port) as one, ask(port, "localhost", ngircd.port) as two:
        talk(Irc(one, "alice").sign_on(), Irc(two, "bob").sign_on(), gateway)
    context = ssl.create_default_context(cafile=str(gateway.authority))
    with context.wrap_socket(ask(port, "localhost", ngircd.tls_port), server_hostname="localhost") as sock:
        Irc(sock, "carol").sign_on()


CLIENT = """
import socket, ssl, sys
sys.path.insert(0, sys.argv[1])
from tests.live.test_modes import Irc, plain
host, port = sys.argv[2], int(sys.argv[3])
with plain(port, host) as one, plain(port, host) as two:
    alice, bob = Irc(one, "alice").sign_on(), Irc(two, "bob").sign_on()
    alice.say("PRIVMSG bob :hello bob")
    bob.wait("hello bob")
    alice.say("PRIVMSG bob :some forbidden fruit")
    print(alice.wait("eference"))
    alice.say("PRIVMSG bob :still here")
    bob.wait("still here")
"""

SERVER = """
import socket, sys, threading
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
peers, lock = {}, threading.Lock()
def serve(sock):
    nick = None
    for raw in sock.makefile("rb"):
        words = raw.decode().rstrip("\\r\\n").split(" ", 2)
        if words[0] == "NICK":
            nick = words[1]
            with lock:
                peers[nick] = sock
        elif words[0] == "USER":
            sock.sendall(f":irc.test 001 {nick} :welcome\\r\\n".encode())
        elif words[0] == "PRIVMSG":
            peers[words[1]].sendall(f":{nick}!u@h PRIVMSG {words[1]} {words[2]}\\r\\n".encode())
    sock.shutdown(socket.SHUT_RDWR)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@pytest.mark.netns
@pytest.mark.parametrize("kind", ["fast", "stock"])
def test_transparent(namespaces: Namespaces, start_gateway: Start, tmp_path: Path, kind: str) -> None:
    """Behind nftables' redirect, IPv4 and IPv6: the client speaks to the server's address and meets the gateway."""
    own = {"deny": ["own"]}
    server = Child("server", [*namespaces.inside(namespaces.srv), sys.executable, "-c", SERVER, "6667"], tmp_path)
    try:
        gateway = start_gateway(
            {"mode": "transparent", "address": "0.0.0.0:9300", "clients": ["10.77.1.0/24"], "destinations": own},
            {"mode": "transparent", "address": "[::]:9300", "clients": ["fd77:1::/64"], "destinations": own},
            prefix=namespaces.inside(namespaces.gw), io=kind)
        namespaces.redirect([6667], 9300)
        for host in (namespaces.SERVER, namespaces.SERVER6):
            done = subprocess.run(
                [*namespaces.inside(namespaces.cli), sys.executable, "-c", CLIENT, str(ROOT), host, "6667"],
                capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr + gateway.child.text()
            verdicts = [verdict for verdict in gateway.rows("verdict") if verdict["reference"] in done.stdout]
            assert [verdict["rule"] for verdict in verdicts] == ["forbidden"]
            flow = gateway.wait_row("flow", state="end", flow=verdicts[0]["flow"])
            assert (flow["protocol"], flow["server"]) == ("irc", {"ip": host, "port": 6667})
        # The listener itself, without the redirect: it would reach ourselves
        refused = subprocess.run(
            [*namespaces.inside(namespaces.cli), sys.executable, "-c", CLIENT, str(ROOT), "10.77.1.1", "9300"],
            capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode != 0
        assert gateway.wait_row("trouble", name="refused_destination")
    finally:
        server.stop()
