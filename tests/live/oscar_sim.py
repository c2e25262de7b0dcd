"""OSCAR as its strictest peers speak it: a server with login, sessions and rooms, its clients, and their transfers.

No server or client of it is packaged; both ends are written from the sheet. A frame out of its turn, an answer nobody
asked for, a request answered twice or never, a cookie that was not issued, a list that does not fill its frame: each
ends the test.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from inspector.wire.tlv import pack, walk, walk_counted

SECONDS = 20.0
HELLO = b"\0\0\0\1"
SIGN_ON, DATA, CLOSE, KEEP_ALIVE = 1, 2, 4, 5
SEND_FILE = bytes.fromhex("094613434c7f11d18222444553540000")
DIRECT_IM = bytes.fromhex("094613454c7f11d18222444553540000")
MD5_SALT = b"AOL Instant Messenger (SM)"
ROAST = bytes.fromhex("f32681c43986db9271a3b9e6537a957c")
PUSH = 0x80000000
PROPOSE, CANCEL, ACCEPT = 0, 1, 2
_FLAP = struct.Struct(">BBHH")
_SNAC = struct.Struct(">HHHI")


def u16(number: int) -> bytes:
    return struct.pack(">H", number)


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def string8(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return bytes([len(data)]) + data


def user_info(name: str) -> bytes:
    return string8(name) + struct.pack(">HH", 0, 1) + pack(1, u16(0x10))


def password(name: str) -> bytes:
    """What a user signs on with; no log may ever hold it."""
    return f"sesame-{name[::-1]}".encode()


def plain_name(data: bytes) -> str:
    return data.decode().replace(" ", "").lower()


def lists(data: bytes, at: int = 0) -> list[tuple[int, bytes]]:
    """The entries of a list that fills the data to its end; one that does not ends the test."""
    found, true = walk(data, at, len(data))
    assert true, f"a list that lies: {data[at:].hex()}"
    return [(kind, data[start:end]) for kind, start, end in found]


def one(tlvs: list[tuple[int, bytes]], kind: int) -> bytes | None:
    """The only value of a kind."""
    values = [value for each, value in tlvs if each == kind]
    assert len(values) < 2, f"two values of type {kind:#x}"
    return values[0] if values else None


def take8(data: bytes, at: int) -> tuple[bytes, int]:
    """(a string with an 8-bit length, where it ends)."""
    stop = at + 1 + data[at]
    assert stop <= len(data)
    return data[at + 1:stop], stop


def take_info(data: bytes, at: int) -> tuple[str, int]:
    """(the name in a user-info block, where the block ends)."""
    name, at = take8(data, at)
    _, stop, true = walk_counted(data, at + 4, len(data), int.from_bytes(data[at + 2:at + 4]))
    assert true
    return plain_name(name), stop


@dataclass
class Snac:
    """One SNAC as it came."""

    family: int
    sub: int
    request: int
    body: bytes

    @property
    def kind(self) -> tuple[int, int]:
        return self.family, self.sub

    @staticmethod
    def read(payload: bytes) -> Snac:
        assert len(payload) >= 10, "a short SNAC"
        family, sub, flags, request = _SNAC.unpack_from(payload)
        at = 10
        if flags & 0x8000:
            at = 12 + int.from_bytes(payload[10:12])
            assert at <= len(payload)
            lists(payload[12:at])
        return Snac(family, sub, request, payload[at:])


class End:
    """One end of a connection: it numbers what it sends, and checks the numbers of what it gets."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.sock.settimeout(SECONDS)
        self.number = number
        self.last: int | None = None
        self._lock = threading.Lock()

    def send(self, payload: bytes, channel: int = DATA) -> None:
        with self._lock:
            frame = _FLAP.pack(0x2A, channel, self.number & 0xFFFF, len(payload)) + payload
            self.number += 1
            self.sock.sendall(frame)

    def snac(self, family: int, sub: int, body: bytes, request: int) -> None:
        self.send(_SNAC.pack(family, sub, 0, request) + body)

    def next(self) -> tuple[int, bytes]:
        """(channel, payload) of the next frame. Raises EOFError at the end, TimeoutError when none comes."""
        star, channel, number, length = _FLAP.unpack(exactly(self.sock, 6))
        assert star == 0x2A
        assert channel in (SIGN_ON, DATA, CLOSE, KEEP_ALIVE), f"channel {channel}"
        assert self.last is None or number == (self.last + 1) & 0xFFFF, f"{number:04x} after {self.last:04x}"
        self.last = number
        return channel, exactly(self.sock, length)

    def close(self) -> None:
        # What another thread reads must end too.
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes. Raises EOFError when they do not come."""
    data = bytearray()
    while len(data) < size:
        more = sock.recv(min(size - len(data), 1 << 16))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


# -- how peers reach each other


class Net(Protocol):
    """Where a peer is: how it connects and where it can be reached."""

    address: str

    def connect(self, host: str, port: int) -> socket.socket: ...

    def listen(self, port: int = 0) -> socket.socket: ...


class Direct:
    """A host without a proxy."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address

    def connect(self, host: str, port: int) -> socket.socket:
        return socket.create_connection((host, port), SECONDS)

    def listen(self, port: int = 0) -> socket.socket:
        listener = socket.create_server((self.address, port))
        listener.settimeout(SECONDS)
        return listener


class Socks(Direct):
    """A host whose connections are made by a SOCKS5 proxy."""

    def __init__(self, proxy: int) -> None:
        super().__init__()
        self.proxy = proxy

    def connect(self, host: str, port: int) -> socket.socket:
        sock = super().connect("127.0.0.1", self.proxy)
        try:
            sock.sendall(b"\5\1\0")
            assert exactly(sock, 2) == b"\5\0"
            sock.sendall(b"\5\1\0\1" + socket.inet_aton(host) + u16(port))
            answer = exactly(sock, 10)
            if answer[1]:
                raise ConnectionRefusedError(answer[1])
        except BaseException:
            sock.close()
            raise
        return sock


class Namespace(Direct):
    """A host that is a network namespace."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(address)
        self.name = name

    def _inside[T](self, make: Callable[[], T]) -> T:
        """What `make` gives, run in a thread that is in the namespace. Raises what it raises."""
        result: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                with Path("/run/netns", self.name).open("rb") as space:
                    os.setns(space.fileno(), os.CLONE_NEWNET)
                result.append(make())
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if raised:
            raise raised[0]
        return result[0]

    def connect(self, host: str, port: int) -> socket.socket:
        return self._inside(lambda: Direct.connect(self, host, port))

    def listen(self, port: int = 0) -> socket.socket:
        return self._inside(lambda: Direct.listen(self, port))


# -- the server


@dataclass
class Meter:
    """Rate class 3 as AOL had it (sheet 12): a moving average of milliseconds between messages."""

    level: float = 4500.0
    last: float | None = None
    count: int = 0
    window, alert, limit, disconnect = 20, 2500.0, 2000.0, 1500.0

    def add(self) -> float:
        now = time.monotonic() * 1000
        if self.last is not None:
            self.level = min(4500.0, (self.level * (self.window - 1) + now - self.last) / self.window)
        self.last = now
        self.count += 1
        return self.level


@dataclass
class _Signed:
    """Who is signed on."""

    end: End
    seen_at: str
    """The address the server sees him at."""
    meter: Meter = field(default_factory=Meter)
    ids: set[int] = field(default_factory=set)


class Server:
    """Login, sessions and rooms; faults of its threads are kept.

    `host`: how its clients are told to reach the session server. `secure`: TLS from the first byte on.
    """

    def __init__(
        self, net: Net, host: str, ports: tuple[int, int] = (0, 0), secure: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.secure = secure
        self.login_socket, self.session_socket = (net.listen(port) for port in ports)
        self.port: int = self.login_socket.getsockname()[1]
        self.session_port: int = self.session_socket.getsockname()[1]
        self.users: dict[str, _Signed] = {}
        self.rooms: dict[str, dict[str, End]] = {}
        self.faults: list[BaseException] = []
        self.closed: list[str] = []
        """Who closed with a frame of channel 4."""
        self.tickets: dict[bytes, tuple[str, str]] = {}
        """Cookie -> (user, room or ""): each is good for one connection."""
        self.issued: list[bytes] = []
        self._pushes = 0
        self._lock = threading.Lock()
        self._ends: list[End] = []
        for listener, serve in ((self.login_socket, self._login), (self.session_socket, self._session)):
            threading.Thread(target=self._accept, args=(listener, serve), daemon=True).start()

    def stop(self) -> None:
        """Close everything; raises the first fault."""
        for listener in (self.login_socket, self.session_socket):
            listener.close()
        for end in self._ends:
            end.close()
        if self.faults:
            raise self.faults[0]

    def _accept(self, listener: socket.socket, serve: Callable[[End, bytes], None]) -> None:
        listener.settimeout(None)
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._serve, args=(sock, serve), daemon=True).start()

    def _serve(self, sock: socket.socket, serve: Callable[[End, bytes], None]) -> None:
        end = End(sock, 0xFFFC)
        self._ends.append(end)
        try:
            if self.secure is not None:
                end.sock = self.secure.wrap_socket(sock, server_side=True)
            end.sock.settimeout(60)
            end.send(HELLO + pack(0x8001, u32(2)), SIGN_ON)
            channel, hello = end.next()
            assert channel == SIGN_ON
            assert hello[:4] == HELLO
            serve(end, hello)
        except (EOFError, OSError):
            return
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            end.close()

    def push(self) -> int:
        """The next request id of the server's own."""
        with self._lock:
            self._pushes += 1
            return PUSH | self._pushes

    def _ticket(self, name: str, room: str = "") -> bytes:
        cookie = os.urandom(256)
        self.tickets[cookie] = name, room
        self.issued.append(cookie)
        return cookie

    def _next(self, end: End) -> Snac:
        """The next SNAC; a client's request has no bit 31. Raises EOFError at the end."""
        while True:
            channel, payload = end.next()
            if channel == KEEP_ALIVE:
                assert payload == b""
                continue
            if channel == CLOSE:
                raise EOFError(CLOSE)
            assert channel == DATA
            got = Snac.read(payload)
            assert not got.request & PUSH, f"{got.family:04x}/{got.sub:04x} with a request id of the server's"
            return got

    def migrate(self, name: str) -> None:
        """01/12: send a user to go on elsewhere."""
        body = u16(2) + u16(1) + u16(4) + self._redirect(name, self._ticket(name))[4 + len(name):]
        self.users.pop(name).end.snac(1, 0x12, body, self.push())

    def _redirect(self, name: str, cookie: bytes) -> bytes:
        secure = pack(0x8E, b"\2") if self.secure is not None else b""
        return pack(1, name.encode()) + pack(5, f"{self.host}:{self.session_port}".encode()) + pack(6, cookie) + secure

    def _login(self, end: End, hello: bytes) -> None:
        """MD5, or for an ICQ number the password in the hello (sheet 5.1)."""
        said = lists(hello, 4)
        if said:
            name, roasted = one(said, 1), one(said, 2)
            assert name is not None
            assert roasted is not None
            bare = bytes(byte ^ ROAST[at % 16] for at, byte in enumerate(roasted))
            assert bare == password(name.decode())
            end.send(self._redirect(name.decode(), self._ticket(name.decode())), CLOSE)
            return
        asked = self._next(end)
        assert asked.kind == (0x17, 6)
        wanted = one(lists(asked.body), 1)
        key = os.urandom(18).hex().encode()
        end.snac(0x17, 7, u16(len(key)) + key, asked.request)
        proof = self._next(end)
        assert proof.kind == (0x17, 2)
        said = lists(proof.body)
        name = one(said, 1)
        assert name is not None
        assert name == wanted
        assert one(said, 0x4C) == b""
        digest = hashlib.md5(key + hashlib.md5(password(plain_name(name))).digest() + MD5_SALT).digest()
        assert one(said, 0x25) == digest
        end.snac(0x17, 3, self._redirect(plain_name(name), self._ticket(plain_name(name))), proof.request)
        end.send(b"", CLOSE)
        with suppress(EOFError, OSError):
            end.next()

    def _session(self, end: End, hello: bytes) -> None:
        cookie = one(lists(hello, 4), 6)
        assert cookie in self.tickets, "a cookie that was not issued, or is used a second time"
        name, room = self.tickets.pop(cookie)
        end.snac(1, 3, b"".join(map(u16, (1, 2, 3, 4, 9, 0x13))), self.push())
        try:
            if room:
                self._room(end, name, room)
            else:
                self._bos(end, name)
        except EOFError as ended:
            if ended.args == (CLOSE,):
                self.closed.append(name)
            raise
        finally:
            if room:
                self.rooms[room].pop(name, None)
                for other in list(self.rooms[room].values()):
                    with suppress(OSError):
                        other.snac(0x0E, 4, user_info(name), self.push())

    def _ready(self, end: End, name: str) -> None:
        """The exchange up to 01/02."""
        while True:
            asked = self._next(end)
            match asked.kind:
                case (1, 0x17):
                    end.snac(1, 0x18, asked.body, asked.request)
                case (1, 6):
                    rates = u16(1) + u32(20) + b"".join(map(u32, (3100, 2500, 2000, 1500, 4500, 4500))) + u32(0) + b"\0"
                    end.snac(1, 7, u16(1) + u16(3) + rates[2:] + u16(3) + u16(2) + struct.pack(">4H", 4, 6, 0x0E, 5),
                             asked.request)
                case (1, 8):
                    pass
                case (1, 0x0E):
                    end.snac(1, 0x0F, user_info(name), asked.request)
                case (1, 2):
                    assert asked.body
                    assert len(asked.body) % 8 == 0
                    return
                case _:
                    raise AssertionError(f"{asked.family:04x}/{asked.sub:04x} before the client is ready")

    def _bos(self, end: End, name: str) -> None:
        self._ready(end, name)
        signed = self.users[name] = _Signed(end, end.sock.getpeername()[0])
        while True:
            asked = self._next(end)
            match asked.kind:
                case (4, 6):
                    if self._metered(signed, asked):
                        self._message(signed, name, asked)
                case (1, 4):
                    self._service(end, name, asked)
                case (1, 0x0E):
                    end.snac(1, 0x0F, user_info(name), asked.request)
                case (4, 0x14):
                    to, at = take8(asked.body, 10)
                    assert len(asked.body) == at + 2
                    self.users[plain_name(to)].end.snac(
                        4, 0x14, asked.body[:10] + string8(name) + asked.body[at:], self.push())
                case _:
                    end.snac(asked.family, 1, u16(1), asked.request)

    def _metered(self, signed: _Signed, asked: Snac) -> bool:
        """Whether the message may pass; who sends much too much is thrown out."""
        level = signed.meter.add()
        if level < Meter.disconnect:
            signed.end.send(b"", CLOSE)
            raise EOFError
        if level < Meter.limit:
            signed.end.snac(1, 0x0A, u16(3) + bytes(35), self.push())
            signed.end.snac(4, 1, u16(2), asked.request)
            return False
        return True

    def _message(self, signed: _Signed, name: str, asked: Snac) -> None:
        body = asked.body
        channel = int.from_bytes(body[8:10])
        wire, at = take8(body, 10)
        tlvs = lists(body, at)
        to = self.users.get(plain_name(wire))
        if to is None:
            signed.end.snac(4, 1, u16(4), asked.request)
            return
        content = one(tlvs, 2 if channel == 1 else 5)
        assert content is not None
        if channel == 1:
            at = 0
            while at < len(content):
                size = int.from_bytes(content[at + 2:at + 4])
                assert content[at:at + 2] in (b"\5\1", b"\1\1")
                at += 4 + size
            assert at == len(content), "fragments that lie"
        else:
            content = self._proposal(content, body[:8], signed)
        more = b"".join(pack(kind, value) for kind, value in tlvs if kind not in (2, 3, 5))
        answer = body[:10] + user_info(name) + pack(2 if channel == 1 else 5, content) + more
        if one(tlvs, 3) is not None:
            signed.end.snac(4, 0x0C, body[:11 + len(wire)], asked.request)
        to.end.snac(4, 7, answer, self.push())

    @staticmethod
    def _proposal(content: bytes, cookie: bytes, signed: _Signed) -> bytes:
        """A rendezvous message as it is passed on: with the address the server sees the sender at (sheet 7.3)."""
        assert content[2:10] == cookie
        assert int.from_bytes(content[:2]) in (PROPOSE, CANCEL, ACCEPT)
        tlvs = lists(content, 26)
        if int.from_bytes(content[:2]) != PROPOSE or content[10:26] not in (SEND_FILE, DIRECT_IM):
            return content
        seen = socket.inet_aton(signed.seen_at)
        host, port = one(tlvs, 2), one(tlvs, 5)
        for kind, value in ((0x16, host), (0x17, port)):
            check = one(tlvs, kind)
            assert check is None or (value is not None and check == bytes(byte ^ 0xFF for byte in value))
        kept = [(kind, seen if kind == 3 else value) for kind, value in tlvs if kind != 4]
        return content[:26] + b"".join(pack(kind, value) for kind, value in [*kept, (4, seen)])

    def _service(self, end: End, name: str, asked: Snac) -> None:
        """01/04: a room has a connection of its own."""
        assert asked.body[:2] == u16(0x0E)
        wanted = one(lists(asked.body, 2), 1)
        assert wanted is not None
        room, at = take8(wanted, 2)
        assert len(wanted) == at + 2
        cookie = self._ticket(name, room.decode())
        end.snac(1, 5, pack(0x0D, u16(0x0E)) + self._redirect(name, cookie)[4 + len(name):], asked.request)

    def _room(self, end: End, name: str, room: str) -> None:
        self._ready(end, name)
        members = self.rooms.setdefault(room, {})
        members[name] = end
        end.snac(0x0E, 2, u16(4) + string8(room) + u16(0) + b"\2" + u16(0), self.push())
        for other in list(members.values()):
            end_names = list(members) if other is end else [name]
            other.snac(0x0E, 3, b"".join(map(user_info, end_names)), self.push())
        while True:
            asked = self._next(end)
            assert asked.kind == (0x0E, 5)
            tlvs = lists(asked.body, 10)
            words = one(tlvs, 5)
            assert words is not None
            assert one(lists(words), 1) is not None
            heard = asked.body[:10] + pack(3, user_info(name)) + pack(1, b"") + pack(5, words)
            for who, other in list(members.items()):
                if who != name or one(tlvs, 6) is not None:
                    other.snac(0x0E, 6, heard, self.push())


# -- the client

_ANSWERS = {
    (0x17, 6): (0x17, 7), (0x17, 2): (0x17, 3), (1, 0x17): (1, 0x18), (1, 6): (1, 7), (1, 0x0E): (1, 0x0F),
    (1, 4): (1, 5), (4, 6): (4, 0x0C),
}
_PUSHED = {(1, 3), (1, 0x0A), (1, 0x0F), (1, 0x12), (1, 0x13), (3, 0x0B), (3, 0x0C), (4, 7), (4, 0x14),
           (0x0E, 2), (0x0E, 3), (0x0E, 4), (0x0E, 6)}


class Connection:
    """A client's connection: every request is answered once, and nothing is answered that was not asked."""

    def __init__(self, sock: socket.socket, number: int, hello: bytes) -> None:
        self.end = End(sock, number)
        self.open: dict[int, tuple[int, int]] = {}
        """Request id -> the kind that waits for an answer."""
        self.unacknowledged: set[int] = set()
        """Requests that only an error answers."""
        self.heard: list[Snac] = []
        """What came and was not yet asked for."""
        self._request = 0
        try:
            self.end.send(hello, SIGN_ON)
            channel, said = self.end.next()
            assert channel == SIGN_ON
            assert said[:4] == HELLO
        except BaseException:
            self.end.close()
            raise

    def request(self, family: int, sub: int, body: bytes = b"", *, answered: bool = True) -> int:
        """Send a SNAC; returns its request id."""
        self._request += 1
        if answered:
            self.open[self._request] = family, sub
        else:
            self.unacknowledged.add(self._request)
        self.end.snac(family, sub, body, self._request)
        return self._request

    def read(self) -> Snac:
        """The next SNAC, checked. Raises EOFError at the end (also of channel 4)."""
        while True:
            channel, payload = self.end.next()
            if channel == CLOSE:
                raise EOFError(CLOSE)
            if channel == KEEP_ALIVE:
                continue
            got = Snac.read(payload)
            if got.request & PUSH:
                assert got.kind in _PUSHED, f"{got.family:04x}/{got.sub:04x} pushed"
            elif got.request in self.unacknowledged:
                assert got.sub == 1, f"an answer to what needs none: {got}"
                self.unacknowledged.discard(got.request)
            else:
                asked = self.open.pop(got.request, None)
                assert asked is not None, f"an answer nobody asked for: {got}"
                assert got.kind == _ANSWERS.get(asked) or got.kind == (asked[0], 1), f"{got} answers {asked}"
            return got

    def until(self, family: int, sub: int) -> Snac:
        """The next SNAC of this kind; others are kept for later."""
        for index, got in enumerate(self.heard):
            if got.kind == (family, sub):
                return self.heard.pop(index)
        while True:
            got = self.read()
            if got.kind == (family, sub):
                return got
            self.heard.append(got)

    def settle(self) -> None:
        """All requests so far are answered, once: a last one is asked and answered, and none is open."""
        self.request(1, 0x0E)
        self.until(1, 0x0F)
        deadline = time.monotonic() + SECONDS
        while self.open and time.monotonic() < deadline:
            self.heard.append(self.read())
        assert self.open == {}

    def ready(self) -> Connection:
        """Itself, after the exchange up to 01/02; closed when that fails."""
        try:
            self._exchange()
        except BaseException:
            self.end.close()
            raise
        return self

    def _exchange(self) -> None:
        """Several requests at once, as clients do (sheet 5)."""
        self.until(1, 3)
        self.request(1, 0x17, struct.pack(">4H", 1, 4, 4, 1))
        self.until(1, 0x18)
        self.request(1, 6)
        self.request(1, 0x0E)
        self.until(1, 7)
        self.request(1, 8, u16(3), answered=False)
        self.until(1, 0x0F)
        self.request(1, 2, struct.pack(">8H", 1, 4, 0x110, 0x8F1, 4, 1, 0x110, 0x8F1), answered=False)


@dataclass
class Proposal:
    """A file that is offered, as its reader sees it."""

    sender: str
    cookie: bytes
    number: int
    hosts: tuple[str, ...]
    port: int
    name: str
    size: int


class Client:
    """A user: signs on at the login server, is sent on, and talks."""

    def __init__(
        self, net: Net, host: str, port: int, name: str, secure: tuple[ssl.SSLContext, str] | None = None,
        cookie: bytes = b"",
    ) -> None:
        """`secure`: TLS from the first byte on, and the name that the login server's certificate must have. `cookie`:
        shown in place of the one that was issued."""
        self.net = net
        self.name = name
        self.redirected: list[tuple[str, int]] = []
        """Where the servers said to go on."""
        self.secure = secure
        self.certificate = secure[1] if secure is not None else ""
        issued = self._sign_on(host, port)
        cookie = cookie or issued
        self.bos = Connection(self._go_on(), 0x56C2, HELLO + pack(6, cookie)).ready()
        self.bos.settle()
        self._messages = 0

    def _connect(self, host: str, port: int) -> socket.socket:
        sock = self.net.connect(host, port)
        if self.secure is None:
            return sock
        try:
            return self.secure[0].wrap_socket(sock, server_hostname=self.certificate)
        except BaseException:
            sock.close()
            raise

    def _go_on(self) -> socket.socket:
        """A connection to where the last redirect leads."""
        return self._connect(*self.redirected[-1])

    def _sign_on(self, host: str, port: int) -> bytes:
        """The login; returns the cookie."""
        sock = self._connect(host, port)
        name = self.name.encode()
        if self.name.isdigit():
            roasted = bytes(byte ^ ROAST[at % 16] for at, byte in enumerate(password(self.name)))
            login = Connection(sock, 1, HELLO + pack(1, name) + pack(2, roasted) + pack(3, b"ICQ Inc."))
            channel, said = login.end.next()
            assert channel == CLOSE
        else:
            login = Connection(sock, 0x7FFE, HELLO)
            login.request(0x17, 6, pack(1, name) + pack(0x4B, b""))
            key = login.until(0x17, 7).body[2:]
            digest = hashlib.md5(key + hashlib.md5(password(self.name)).digest() + MD5_SALT).digest()
            login.request(0x17, 2, pack(1, name) + pack(0x25, digest) + pack(0x4C, b"") + pack(3, b"Simulated"))
            said = login.until(0x17, 3).body
            assert login.end.next() == (CLOSE, b"")
        login.end.close()
        return self._sent_on(said)

    def _sent_on(self, said: bytes) -> bytes:
        """Remember where a redirect leads; returns its cookie."""
        tlvs = lists(said)
        host, cookie = one(tlvs, 5), one(tlvs, 6)
        assert host is not None
        assert cookie is not None
        name, _, port = host.decode().rpartition(":")
        self.redirected.append((name, int(port)))
        assert any(one(tlvs, 0x8E) or b"") is (self.secure is not None)
        self.certificate = (one(tlvs, 0x8D) or name.encode()).decode()
        return cookie

    def close(self) -> None:
        self.bos.end.close()

    def migrate(self) -> None:
        """Go on where the server's 01/12 says."""
        body = self.bos.until(1, 0x12).body
        cookie = self._sent_on(body[2 + 2 * int.from_bytes(body[:2]):])
        self.bos.end.close()
        self.bos = Connection(self._go_on(), 0x0100, HELLO + pack(6, cookie)).ready()
        self.bos.settle()

    def say(self, to: str, text: bytes, charset: int = 0, *, acknowledge: bool = True) -> int:
        """A message; returns its request id."""
        self._messages += 1
        block = b"\5\1\0\1\1" + struct.pack(">BBHHH", 1, 1, len(text) + 4, charset, 0) + text
        body = b"%07d\0" % self._messages + u16(1) + string8(to) + pack(2, block)
        return self.bos.request(4, 6, body + (pack(3, b"") if acknowledge else b""), answered=acknowledge)

    def message(self) -> tuple[str, bytes]:
        """(sender, text) of the next message of channel 1."""
        while True:
            body = self.bos.until(4, 7).body
            if body[8:10] == u16(1):
                break
        sender, at = take_info(body, 10)
        block = one(lists(body, at), 2)
        assert block is not None
        start = 4 + int.from_bytes(block[2:4])
        assert start + 4 + int.from_bytes(block[start + 2:start + 4]) == len(block)
        return sender, block[start + 8:]

    def rendezvous(self) -> tuple[str, bytes]:
        """(sender, the block) of the next message of channel 2."""
        body = self.bos.until(4, 7).body
        assert body[8:10] == u16(2), f"not a rendezvous: {body!r}"
        sender, at = take_info(body, 10)
        block = one(lists(body, at), 5)
        assert block is not None
        assert block[2:10] == body[:8]
        return sender, block

    def join(self, room: str) -> Connection:
        """A connection to a room."""
        self.bos.request(1, 4, u16(0x0E) + pack(1, u16(4) + string8(room) + u16(0)))
        cookie = self._sent_on(self.bos.until(1, 5).body)
        connection = Connection(self._go_on(), 7, HELLO + pack(6, cookie)).ready()
        assert room.encode() in connection.until(0x0E, 2).body
        connection.until(0x0E, 3)
        return connection

    # files

    def propose(self, to: str, listener: socket.socket, name: str, size: int, *, cookie: bytes = b"7654321\0",
                number: int = 1, service: bytes = SEND_FILE) -> bytes:
        """Offer a file (or, as request number 2, another way to it), or direct IM; returns the cookie."""
        port: int = listener.getsockname()[1]
        # As captured: only the entry that the server overwrites holds an address.
        tlvs = [(0x0A, u16(number)), (0x0F, b""), (2, bytes(4)), (0x16, b"\xff" * 4),
                (3, socket.inet_aton(self.net.address)), (5, u16(port)), (0x17, u16(port ^ 0xFFFF))]
        if number == 1 and service == SEND_FILE:
            tlvs.append((0x2711, struct.pack(">HHI", 1, 1, size) + name.encode() + b"\0"))
        block = u16(PROPOSE) + cookie + service + b"".join(pack(kind, value) for kind, value in tlvs)
        self.bos.request(4, 6, cookie + u16(2) + string8(to) + pack(3, b"") + pack(5, block))
        return cookie

    def proposed(self, service: bytes = SEND_FILE) -> Proposal:
        """The next offer of a file, or of direct IM."""
        sender, block = self.rendezvous()
        assert block[:2] == u16(PROPOSE), f"no proposal: {block!r}"
        assert block[10:26] == service
        tlvs = lists(block, 26)
        hosts = [value for kind in (4, 3, 2) if (value := one(tlvs, kind)) is not None and any(value)]
        number, port, data = one(tlvs, 0x0A), one(tlvs, 5), one(tlvs, 0x2711) or bytes(9)
        assert number is not None
        assert port is not None
        for kind, value in ((0x16, one(tlvs, 2)), (0x17, port)):
            check = one(tlvs, kind)
            assert check is None or (value is not None and check == bytes(byte ^ 0xFF for byte in value))
        return Proposal(
            sender, block[2:10], int.from_bytes(number), tuple(dict.fromkeys(map(socket.inet_ntoa, hosts))),
            int.from_bytes(port), data[8:].rstrip(b"\0").decode(), int.from_bytes(data[4:8]))

    def answer(self, to: str, cookie: bytes, status: int) -> None:
        """Accept or cancel."""
        reason = pack(0x0B, u16(1)) if status == CANCEL else b""
        block = u16(status) + cookie + SEND_FILE + reason
        self.bos.request(4, 6, cookie + u16(2) + string8(to) + pack(5, block), answered=False)

    def cancelled(self) -> tuple[str, bytes]:
        """(who, cookie) of the next cancel."""
        sender, block = self.rendezvous()
        assert block[:2] == u16(CANCEL), f"no cancel: {block!r}"
        assert block[10:26] == SEND_FILE
        assert one(lists(block, 26), 0x0B) == u16(1)
        return sender, block[2:10]


# -- OFT (sheet 9)

PROMPT, ACK, DONE = 0x0101, 0x0202, 0x0204


def checksum(data: bytes) -> int:
    """OFT's checksum: from 0xFFFF, bytes subtracted in turn as high and low, a borrow carried round."""
    value = 0xFFFF
    for at, byte in enumerate(data):
        value -= byte if at & 1 else byte << 8
        if value < 0:
            value += 0xFFFF
    return value << 16


def oft_header(kind: int, cookie: bytes, name: str, size: int, digest: int, received: int = 0, got: int = 0xFFFF0000,
               flags: int = 0x20) -> bytes:
    head = b"OFT2" + struct.pack(">HH8sHHHHHHIIIIIIIIII", 256, kind, cookie, 0, 0, 1, 1, 1, 1, size, size, 0x3B9ACA00,
                                 digest, 0xFFFF0000, 0, 0, 0xFFFF0000, received, got)
    head += b"Cool FileXfer".ljust(32, b"\0") + bytes([flags, 0x1C, 0x11]) + bytes(69 + 16) + struct.pack(">HH", 0, 0)
    head += name.encode().ljust(64, b"\0")
    assert len(head) == 256
    return head


@dataclass
class Header:
    """What of an OFT header is looked at."""

    kind: int
    cookie: bytes
    size: int
    digest: int
    received: int
    got: int
    name: str

    @staticmethod
    def read(sock: socket.socket) -> Header:
        head = exactly(sock, 8)
        assert head[:4] == b"OFT2"
        length, kind = struct.unpack_from(">HH", head, 4)
        data = head + exactly(sock, length - 8)
        size, _, digest = struct.unpack_from(">III", data, 32)
        received, got = struct.unpack_from(">II", data, 60)
        return Header(kind, data[8:16], size, digest, received, got, data[192:].rstrip(b"\0").decode())


def send_file(sock: socket.socket, cookie: bytes, name: str, data: bytes) -> None:
    """The sender's side, strict. Raises EOFError when the reader goes away."""
    with sock:
        sock.settimeout(SECONDS)
        digest = checksum(data)
        sock.sendall(oft_header(PROMPT, bytes(8), name, len(data), digest))
        ack = Header.read(sock)
        assert (ack.kind, ack.cookie, ack.size) == (ACK, cookie, len(data))
        sock.sendall(data)
        done = Header.read(sock)
        assert (done.kind, done.cookie) == (DONE, cookie)
        assert (done.received, done.got) == (len(data), digest)
        assert sock.recv(1) == b""


def receive_file(sock: socket.socket, proposal: Proposal) -> bytes:
    """The reader's side, strict; returns the content. Raises EOFError when it does not come whole."""
    with sock:
        sock.settimeout(SECONDS)
        prompt = Header.read(sock)
        assert prompt.kind == PROMPT
        if proposal.name:
            assert (prompt.name, prompt.size) == (proposal.name, proposal.size)
        sock.sendall(oft_header(ACK, proposal.cookie, prompt.name, prompt.size, prompt.digest))
        data = exactly(sock, prompt.size)
        assert checksum(data) == prompt.digest
        sock.sendall(oft_header(DONE, proposal.cookie, prompt.name, prompt.size, prompt.digest, len(data),
                                prompt.digest, 0x21))
        return data


def reach(net: Net, proposal: Proposal) -> socket.socket:
    """A connection to one of the places that a proposal names. Raises OSError when there is none."""
    error: OSError | None = None
    for host in proposal.hosts:
        assert ipaddress.ip_address(host)
        try:
            return net.connect(host, proposal.port)
        except OSError as failed:
            error = failed
    raise error or OSError("no address")
