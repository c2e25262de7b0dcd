"""`inspector replay`: plays the TCP sessions of a capture through a running gateway, both sides, over loopback.

Each server of the capture gets a port on 127.0.0.1, the system's choice, the same for all its sessions (what spans
connections is known by it), and each session a client that reaches it through the gateway's SOCKS5 or CONNECT listener.
The bytes go in the order of the capture, all sessions together, as fast as they may: whoever speaks waits until what
was said to him before has arrived. The gateway may refuse, mask or answer itself; then nothing more comes, and after a
quiet time the talk goes on.

Not played: UDP, and bytes that the capture lost.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time
from argparse import Namespace
from collections import OrderedDict
from dataclasses import dataclass, field

from inspector.app.errors import FAILED, WRONG_USE, UserError
from inspector.app.places import load
from inspector.drivers.pcap import CaptureError, find, open_capture
from inspector.drivers.reassembly import Reassembly, Track
from inspector.model import DOWN, UP, Address, Chunk, Limits, Way

QUIET_SECONDS = 2.0
"""More than limits.probe_hold_seconds: bytes withheld while a flow is not recognised yet come after those."""
OPEN_SECONDS = 10.0
HOST = "127.0.0.1"
SERVERS = 200
"""Servers of a capture that keep their ports: each is an open socket."""
_KEPT = 256 * 1024
"""Bytes received last that are searched for what was sent."""


class Refused(Exception):
    """The gateway did not open a connection; the text is one sentence."""


@dataclass
class End:
    """One end of a session that is played."""

    sock: socket.socket
    received: int = 0
    """Bytes that arrived here."""
    expected: int = 0
    """Bytes that the other end has sent so far; what did not arrive in time is no longer counted."""
    awaited: list[bytes] = field(default_factory=list)
    """What the other end has sent and has not been seen here yet."""
    tail: bytes = b""
    closed: bool = False
    """The gateway has ended what comes here."""

    def look(self) -> None:
        """Tick off what has arrived."""
        if self.received == self.expected:
            self.awaited.clear()
            self.tail = b""
        while self.awaited:
            at = self.tail.find(self.awaited[0])
            if at < 0:
                return
            self.tail = self.tail[at + len(self.awaited.pop(0)):]


@dataclass
class Played:
    """What became of one session."""

    track: Track
    sent: list[int] = field(default_factory=lambda: [0, 0])
    received: list[int] = field(default_factory=lambda: [0, 0])
    cut: bool = False
    """The gateway ended it before the capture did."""
    refused: str | None = None

    def line(self) -> str:
        """One line for people."""
        client, server = self.track.client, self.track.server
        what = self.refused or ("cut by the gateway" if self.cut else "played")
        if self.refused is None and self.sent != self.received:
            what += ", changed on its way"
        up, down = (f"{self.received[way]} of {self.sent[way]} bytes arrived" for way in (UP, DOWN))
        return f"{client.ip} {client.port} > {server.ip} {server.port}: {what} (up {up}, down {down})"


class Player:
    """Plays flows as they come out of a reassembly, in the order of the capture."""

    def __init__(self, gateway: tuple[str, int], scheme: str | None = None, quiet: float = QUIET_SECONDS) -> None:
        """`scheme`: socks5 or connect; None: find out."""
        self.sessions: list[Played] = []
        self._gateway = gateway
        self._scheme = scheme
        self._quiet = quiet
        self._selector = selectors.DefaultSelector()
        self._listeners: OrderedDict[Address, socket.socket] = OrderedDict()
        """Server of the capture -> where it is played; the last SERVERS."""
        self._last = 0.0

    def begin(self, track: Track) -> Talker:
        """The sink of a flow."""
        track.feeding = track.transport == "tcp"
        played = Played(track)
        if track.feeding:
            self.sessions.append(played)
        return Talker(self, played)

    # -- opening

    def open(self, place: Address) -> tuple[End, End]:
        """(client, server), connected through the gateway. `place`: the server in the capture. Raises Refused."""
        listener = self._listeners.pop(place, None) or socket.create_server((HOST, 0))
        opened = False
        try:
            listener.settimeout(OPEN_SECONDS)
            client = self._through(listener.getsockname()[1])
            try:
                server = listener.accept()[0]
            except OSError:
                client.close()
                raise Refused("the gateway did not connect to the server") from None
            opened = True
        finally:
            if not opened:
                listener.close()  # a connection that comes later is nobody's
        self._listeners[place] = listener
        if len(self._listeners) > SERVERS:
            self._listeners.popitem(last=False)[1].close()
        ends = End(client), End(server)
        for end in ends:
            end.sock.setblocking(False)
            end.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end.sock, selectors.EVENT_READ, end)
        return ends

    def _through(self, port: int) -> socket.socket:
        """A connection to HOST:port by way of the gateway."""
        try:
            if self._scheme is None:
                self._scheme = "socks5" if self._speaks_socks() else "connect"
            sock = socket.create_connection(self._gateway, OPEN_SECONDS)
        except OSError as error:
            raise Refused(f"the gateway at {self._gateway[0]} port {self._gateway[1]} cannot be reached: "
                          f"{error.strerror or error}") from None
        try:
            refusal = _socks5(sock, port) if self._scheme == "socks5" else _connect(sock, port)
        except OSError as error:
            refusal = f"the gateway does not answer as a {self._scheme} listener ({error.strerror or error})"
        if refusal is not None:
            sock.close()
            raise Refused(refusal)
        return sock

    def _speaks_socks(self) -> bool:
        with socket.create_connection(self._gateway, OPEN_SECONDS) as sock:
            sock.sendall(b"\x05\x01\x00")
            with contextlib.suppress(OSError):
                return _exactly(sock, 2) == b"\x05\x00"
        return False

    # -- talking

    def take(self, seconds: float) -> bool:
        """Receive what there is, waiting for at most `seconds`; whether anything came."""
        came = False
        for key, _ in self._selector.select(seconds):
            end: End = key.data
            try:
                data = end.sock.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            came = True
            if not data:
                end.closed = True
                self._selector.unregister(end.sock)
                continue
            end.received += len(data)
            end.tail = (end.tail + data)[-_KEPT:]
            end.look()
        return came

    def settle(self, end: End) -> None:
        """Wait until all that was said to this end has arrived, or nothing comes any more."""
        deadline = time.monotonic() + self._quiet
        while end.awaited and not end.closed:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            before = end.received
            self.take(left)
            if end.received != before:
                deadline = time.monotonic() + self._quiet
        end.awaited.clear()
        end.expected = end.received
        end.tail = b""

    def send(self, end: End, data: bytes) -> bool:
        """Send all of it while receiving; False when the other side is gone."""
        view = memoryview(data)
        deadline = time.monotonic() + OPEN_SECONDS
        while view:
            try:
                count = end.sock.send(view)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                self.take(0.05)
                continue
            except OSError:
                return False
            view = view[count:]
            deadline = time.monotonic() + OPEN_SECONDS
        self.take(0)
        return True

    def close(self, end: End) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(end.sock)
        end.sock.close()

    def end(self) -> None:
        """Everything is played."""
        self._selector.close()
        for listener in self._listeners.values():
            listener.close()


class Talker:
    """The sink of one flow: plays it as it is read."""

    def __init__(self, player: Player, played: Played) -> None:
        self._player = player
        self._played = played
        self._ends: tuple[End, End] | None = None

    def chunk(self, chunk: Chunk) -> None:
        played = self._played
        if played.refused is not None or played.cut or not chunk.data:
            return
        if self._ends is None:
            try:
                self._ends = self._player.open(played.track.server)
            except Refused as refusal:
                played.refused = str(refusal)
                played.track.feeding = False
                return
        speaker, hearer = self._ends[chunk.way], self._ends[chunk.way.other]
        self._player.settle(speaker)
        if speaker.closed or hearer.closed or not self._player.send(speaker, chunk.data):
            played.cut = True
            return
        played.sent[chunk.way] += len(chunk.data)
        hearer.expected += len(chunk.data)
        hearer.awaited.append(chunk.data)
        hearer.look()

    def closed(self, way: Way, at: float) -> None:  # noqa: ARG002 - the shape of a Sink
        if self._ends is None or self._played.cut:
            return
        for end in self._ends:
            self._player.settle(end)
        speaker = self._ends[way]
        if speaker.closed and self._ends[way.other].closed:
            return
        with contextlib.suppress(OSError):
            speaker.sock.shutdown(socket.SHUT_WR)

    def oddity(self, name: str, detail: str, way: Way, at: float) -> None:
        """What was strange in the packets is not played."""

    def gone(self, at: float) -> None:  # noqa: ARG002 - the shape of a Sink
        if self._ends is None:
            return
        for end in self._ends:
            self._player.settle(end)
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + QUIET_SECONDS
        while not all(end.closed for end in self._ends) and time.monotonic() < deadline:
            self._player.take(0.1)
        for end in self._ends:
            self._player.close(end)
        self._played.received = [self._ends[DOWN].received, self._ends[UP].received]
        self._ends = None


def play(name: str, player: Player, limits: Limits) -> str | None:
    """Play a capture; the fault at which reading it ended, or None. Raises CaptureError."""
    for text, path in find([name]):
        capture = open_capture(text, path, limits)
        reassembly = Reassembly(limits, player.begin)
        reassembly.run(capture)
        reassembly.finish()
        capture.close()
        if capture.fault is not None:
            return f"{text} {capture.fault}"
    return None


def command(args: Namespace) -> int:
    """`inspector replay`: 0 when every session was opened and the capture read to its end, else 1."""
    limits: Limits = load(args.config).limits
    player = Player(*address(args.through))
    try:
        fault = play(args.capture, player, limits)
    except CaptureError as error:
        raise UserError(str(error)) from None
    finally:
        player.end()
    for played in player.sessions:
        print(played.line())
    if fault is not None:
        print(f"inspector: {fault}", file=sys.stderr)
    refused = [played for played in player.sessions if played.refused is not None]
    if not player.sessions and fault is None:
        raise UserError(f"{args.capture}: there is no TCP session in it", FAILED)
    return FAILED if fault is not None or refused else 0


def address(text: str) -> tuple[tuple[str, int], str | None]:
    """((host, port), scheme or None) of the words behind --through. Raises UserError."""
    scheme, sign, rest = text.rpartition("://")
    host, colon, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    known = {"": None, "socks5": "socks5", "connect": "connect", "http": "connect"}
    if scheme not in known or (sign and not scheme):
        raise UserError(f'--through: unknown scheme "{scheme}" (socks5:// or connect://)', WRONG_USE)
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f'--through: "{text}" is not an address with a port (like socks5://127.0.0.1:1080)', WRONG_USE)
    return (host, int(port)), known[scheme]


def _exactly(sock: socket.socket, size: int) -> bytes:
    """Raises ConnectionError when it ends before."""
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("it closed the connection")
        data += part
    return data


def _socks5(sock: socket.socket, port: int) -> str | None:
    """Ask for HOST:port (RFC 1928); why it was refused, or None."""
    sock.sendall(b"\x05\x01\x00")
    if _exactly(sock, 2) != b"\x05\x00":
        return "the gateway does not take SOCKS5 without authentication"
    sock.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(HOST) + port.to_bytes(2))
    _, status, _, kind = _exactly(sock, 4)
    if kind == 3:
        _exactly(sock, _exactly(sock, 1)[0] + 2)
    else:
        _exactly(sock, 18 if kind == 4 else 6)
    if status == 2:
        return "the gateway's rules do not allow it (has the listener 127.0.0.0/8 in destinations.allow?)"
    return None if status == 0 else f"the gateway refused it (SOCKS5 reply {status})"


def _connect(sock: socket.socket, port: int) -> str | None:
    """The same with HTTP CONNECT (RFC 9110 §9.3.6)."""
    sock.sendall(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if len(head) > 8192:
            return "the gateway's answer to CONNECT does not end"
        head += _exactly(sock, 1)
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if len(status) > 1 and status[1] == b"200":
        return None
    code = status[1].decode("ascii", "replace") if len(status) > 1 else "?"
    why = " (has the listener 127.0.0.0/8 in destinations.allow?)" if code == "403" else ""
    return f"the gateway refused it (HTTP status {code!r}){why}"
