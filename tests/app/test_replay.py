"""`inspector replay`, through gateways of a few lines."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from inspector.app.cli import main
from inspector.app.errors import UserError
from inspector.app.replay import Player, address, play
from inspector.model import DOWN, UP, Limits
from tests.drivers.crafted import ACK, CLIENT, FIN, SERVER, ip4, pcap, tcp, udp
from tests.test_golden import PCAPS

RAW = PCAPS / "tcp" / "raw.pcap"

Change = Callable[[bytes], bytes | None]
"""What the gateway makes of bytes it read: None ends the session."""


class Gateway:
    """Relays SOCKS5 or CONNECT sessions, in threads that end with their sessions."""

    def __init__(self, scheme: str, status: int = 0, change: Change = lambda data: data) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", self._listener.getsockname()[1])
        self._scheme = scheme
        self._status = status
        self._change = change
        self.relayed = [b"", b""]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for sock in self._sockets:
            sock.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            with suppress(OSError, ValueError, IndexError):
                self._greet(client)
                continue
            client.close()

    def _greet(self, client: socket.socket) -> None:
        client.settimeout(10)
        if self._scheme == "socks5":
            if client.recv(3) != b"\x05\x01\x00":
                raise ValueError
            client.sendall(b"\x05\x00")
            asked = client.recv(10)
            client.sendall(bytes((5, self._status, 0, 1)) + bytes(6))
            port = int.from_bytes(asked[8:10])
        else:
            asked = client.recv(4096)
            if not asked.startswith(b"CONNECT "):
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                raise ValueError
            client.sendall(b"HTTP/1.1 %d words\r\n\r\n" % (self._status or 200))
            port = int(asked.split()[1].rpartition(b":")[2])
        if self._status:
            raise ValueError
        server = socket.create_connection(("127.0.0.1", port), 10)
        self._sockets += [client, server]
        for way, source, target in ((UP, client, server), (DOWN, server, client)):
            thread = threading.Thread(target=self._relay, args=(way, source, target))
            self._threads.append(thread)
            thread.start()

    def _relay(self, way: int, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.relayed[way] += data
                changed = self._change(data)
                if changed is None:
                    source.shutdown(socket.SHUT_RDWR)
                    break
                target.sendall(changed)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def gateway(scheme: str, status: int = 0, change: Change = lambda data: data) -> Iterator[Gateway]:
    """A running gateway."""
    made = Gateway(scheme, status, change)
    try:
        yield made
    finally:
        made.stop()


def replayed(path: Path, through: Gateway, scheme: str | None = None, quiet: float = 0.3) -> Player:
    """A player that has played a capture."""
    player = Player(through.address, scheme, quiet)
    assert play(str(path), player, Limits()) is None
    player.end()
    return player


@pytest.mark.parametrize("scheme", ["socks5", "connect"])
@pytest.mark.parametrize("told", [True, False])
def test_both_sides_are_played(scheme: str, told: bool) -> None:
    """Through either kind of listener, found out where it is not told, every byte goes its way, in the order of the
    capture."""
    order: list[bytes] = []

    def listen(data: bytes) -> bytes:
        order.append(data)
        return data

    with gateway(scheme, change=listen) as through:
        player = replayed(RAW, through, scheme if told else None)
    (played,) = player.sessions
    assert (played.cut, played.refused) == (False, None)
    assert played.sent == played.received == [len(through.relayed[UP]), len(through.relayed[DOWN])]
    assert through.relayed[UP].startswith(b"NICK amy\r\n") and through.relayed[UP].endswith(b"QUIT :home\r\n")
    assert b"".join(order).index(b"001 amy") < b"".join(order).index(b"JOIN #garden") < b"".join(order).index(b"tulips")
    assert "played (up" in played.line()


def test_what_is_refused_does_not_stop_the_talk() -> None:
    """The gateway keeps a message and answers it, and changes another: the rest is played all the same."""
    def change(data: bytes) -> bytes:
        return data.replace(b"PRIVMSG bob :Have you seen the purple elephant?\r\n", b"").replace(b"Lovely!", b"*******")

    with gateway("socks5", change=change) as through:
        (played,) = replayed(RAW, through).sessions
    assert through.relayed[UP].endswith(b"QUIT :home\r\n")
    assert not played.cut
    assert played.sent[UP] - played.received[UP] == 49
    assert "changed on its way" in played.line()


def test_a_session_that_the_gateway_cuts() -> None:
    """After a cut nothing more is sent, and that is told."""
    with gateway("socks5", change=lambda data: None if b"purple" in data else data) as through:
        (played,) = replayed(RAW, through).sessions
    assert played.cut
    assert b"Sunday" not in through.relayed[UP]
    assert "cut by the gateway" in played.line()


def test_sessions_of_a_capture_go_on_together(tmp_path: Path) -> None:
    """Two sessions whose packets alternate are two connections; UDP is not played."""
    frames = []
    for number in range(4):
        for port in (40000, 40001):
            frames.append((1.0 + number, ip4(tcp(port, 6667, 1 + 6 * number, 1, ACK, b"%d-%d\n" % (number, port)[:6]))))
    frames.append((9.0, ip4(udp(1, 2, b"not this"), protocol=17)))
    (tmp_path / "x").write_bytes(pcap(frames, 101))
    with gateway("connect") as through:
        player = replayed(tmp_path / "x", through)
    assert [played.sent for played in player.sessions] == [played.received for played in player.sessions]
    assert len(player.sessions) == 2


def test_a_half_close_is_played(tmp_path: Path) -> None:
    """The client's FIN goes to the server before the server's last words."""
    frames = [ip4(tcp(40000, 6667, 1, 1, ACK, b"ask")), ip4(tcp(40000, 6667, 4, 1, ACK | FIN)),
              ip4(tcp(6667, 40000, 1, 5, ACK, b"answer"), SERVER, CLIENT),
              ip4(tcp(6667, 40000, 7, 5, ACK | FIN), SERVER, CLIENT)]
    (tmp_path / "x").write_bytes(pcap([(1.0 + n, frame) for n, frame in enumerate(frames)], 101))
    with gateway("socks5") as through:
        (played,) = replayed(tmp_path / "x", through).sessions
    assert (played.sent, played.received) == ([3, 6], [3, 6])


def test_megabytes_both_ways(tmp_path: Path) -> None:
    """Long chunks do not block each other."""
    frames, at = [], [1, 1]
    for number in range(400):
        way = number // 100 % 2
        ports, ends = ((40000, 6667), (CLIENT, SERVER)) if way == 0 else ((6667, 40000), (SERVER, CLIENT))
        segment = tcp(*ports, at[way], at[1 - way], ACK, bytes([number % 256]) * 9000)
        frames.append((1.0 + number / 100, ip4(segment, *ends)))
        at[way] += 9000
    (tmp_path / "x").write_bytes(pcap(frames, 101))
    with gateway("socks5") as through:
        (played,) = replayed(tmp_path / "x", through, quiet=5.0).sessions
    assert played.received == [1_800_000, 1_800_000]


@pytest.mark.parametrize(("scheme", "status", "said"), [
    ("socks5", 2, "rules do not allow"), ("socks5", 5, "SOCKS5 reply 5"), ("connect", 403, "HTTP status '403'"),
])
def test_a_gateway_that_refuses(scheme: str, status: int, said: str) -> None:
    """A refused connection is told with its reason, and is not tried again for each chunk."""
    with gateway(scheme, status) as through:
        (played,) = replayed(RAW, through).sessions
    assert played.refused is not None and said in played.refused
    assert said in played.line()


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a session on stdout, exit 0; exit 1 when a session could not be opened."""
    with gateway("socks5") as through:
        assert main(["replay", str(RAW), "--through", f"socks5://127.0.0.1:{through.address[1]}"]) == 0
    assert capsys.readouterr().out.startswith("10.0.0.5 40000 > 10.0.0.7 6667: played")
    assert main(["replay", str(RAW), "--through", f"socks5://127.0.0.1:{through.address[1]}"]) == 1
    assert "cannot be reached" in capsys.readouterr().out


def test_captures_without_sessions_and_broken_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to play, a missing file and a truncated one are one sentence each, exit 1."""
    (tmp_path / "udp").write_bytes(pcap([(1.0, ip4(udp(1, 2, b"x"), protocol=17))], 101))
    (tmp_path / "cut").write_bytes(pcap([(1.0, ip4(udp(1, 2, b"x"), protocol=17))], 101)[:-3])
    faults = {"udp": "there is no TCP session", "missing": "no such file", "cut": "ends inside a packet"}
    for name, said in faults.items():
        assert main(["replay", str(tmp_path / name), "--through", "127.0.0.1:1"]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(("text", "meant"), [
    ("socks5://127.0.0.1:1080", (("127.0.0.1", 1080), "socks5")), ("127.0.0.1:1080", (("127.0.0.1", 1080), None)),
    ("connect://[::1]:8118", (("::1", 8118), "connect")), ("http://gw:8118", (("gw", 8118), "connect")),
])
def test_addresses(text: str, meant: tuple[tuple[str, int], str | None]) -> None:
    """Scheme, host and port."""
    assert address(text) == meant


@pytest.mark.parametrize("text", ["", "1080", "socks4://127.0.0.1:1080", "127.0.0.1:0", "127.0.0.1:x", ":1080", "://a:1"])
def test_wrong_addresses(text: str) -> None:
    """Anything else is wrong use."""
    with pytest.raises(UserError) as wrong:
        address(text)
    assert wrong.value.exit == 2
