"""OSCAR through the running gateway: a simulated server and two simulated clients that check each other's numbers.

No server or client of it is packaged; both ends are written from the sheet, as strict as its strictest peer: a frame
out of its turn ends the test.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from inspector.store.sqlite import Reader
from inspector.wire.tlv import pack
from tests.live.peers import GatewayChild, free_port
from tests.protocols.test_oscar import (
    HELLO,
    fragment,
    guid,
    head,
    im,
    info,
    offered,
    s16,
    snac,
    u16,
)

pytestmark = pytest.mark.live

POLICY = {
    "rules": [
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact"},
        {"name": "forbidden", "when": {"event": "message", "text": "(?i)forbidden fruit"}, "then": "block",
         "notify": "Refused, reference {reference}."},
        {"name": "no files", "when": {"event": "file"}, "then": "block", "notify": "No files, reference {reference}."},
        {"name": "end", "when": {"event": "message", "text": "cut the line"}, "then": "cut"},
    ],
}
SECONDS = 10.0


class End:
    """One end of a connection: it numbers what it sends, and checks the numbers of what it gets."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.sock.settimeout(SECONDS)
        self.number = number
        self.last: int | None = None
        self.lock = threading.Lock()

    def send(self, payload: bytes, channel: int = 2) -> None:
        with self.lock:
            frame = struct.pack(">BBHH", 0x2A, channel, self.number & 0xFFFF, len(payload)) + payload
            self.number += 1
            self.sock.sendall(frame)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def next(self) -> tuple[int, bytes]:
        """(channel, payload) of the next frame. Raises EOFError at the end, TimeoutError when none comes."""
        star, channel, number, length = struct.unpack(">BBHH", self._exactly(6))
        assert star == 0x2A
        assert self.last is None or number == (self.last + 1) & 0xFFFF, f"{number:04x} after {self.last:04x}"
        self.last = number
        return channel, self._exactly(length)

    def until(self, family: int, sub: int) -> bytes:
        """The next SNAC of this kind."""
        while True:
            channel, payload = self.next()
            if channel == 2 and head(payload)[:2] == (family, sub):
                return payload


class Server:
    """Signs on whoever comes, sends messages on, acknowledges; faults of its threads are kept."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.users: dict[str, End] = {}
        self.faults: list[BaseException] = []
        self.closed: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(End(sock, 0xFFFE),), daemon=True).start()

    def _serve(self, end: End) -> None:
        name = ""
        try:
            end.send(HELLO, 1)
            _, hello = end.next()
            if hello == HELLO:
                self._login(end)
                return
            name = hello[8:].partition(b" ")[2].decode()
            self.users[name] = end
            end.send(snac(1, 0x0F, info(name, pack(1, u16(0x10))), 0))
            while True:
                channel, payload = end.next()
                if channel == 4:
                    self.closed.append(name)
                    return
                if channel == 2 and head(payload)[:2] == (4, 6):
                    self._pass_on(end, name, payload)
        except (EOFError, OSError):
            return
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            end.sock.close()

    def _login(self, end: End) -> None:
        asked = end.until(0x17, 6)
        end.send(snac(0x17, 7, s16("3141592653"), head(asked)[2]))
        proof = end.until(0x17, 2)
        name = proof[14:14 + proof[13]]
        end.send(snac(0x17, 3, pack(1, name) + pack(5, b"127.0.0.1:%d" % self.port) + pack(6, b"ticket " + name), 2))
        end.send(b"", 4)

    def _pass_on(self, end: End, name: str, payload: bytes) -> None:
        size = payload[20]
        to = payload[21:21 + size].decode()
        rest = payload[21 + size:]
        self.users[to].send(snac(4, 7, payload[10:20] + info(name, pack(1, u16(0x10))) + rest, 0x80000001))
        end.send(snac(4, 0x0C, payload[10:21 + size], head(payload)[2]))


class Client:
    """Signs on through the gateway's SOCKS listener: login server, redirect, session."""

    def __init__(self, proxy: int, server: int, name: str) -> None:
        login = End(self._socks(proxy, server), 0x7FFE)
        login.send(HELLO, 1)
        login.send(snac(0x17, 6, pack(1, name.encode()), 1))
        login.until(0x17, 7)
        login.send(snac(0x17, 2, pack(1, name.encode()) + pack(0x25, bytes(16)) + pack(0x4C, b""), 2))
        reply = login.until(0x17, 3)
        assert login.next() == (4, b"")
        login.sock.close()
        self.end = End(self._socks(proxy, int(reply.partition(b"127.0.0.1:")[2][:5])), 0x56C2)
        self.end.send(HELLO + pack(6, b"ticket " + name.encode()), 1)
        self.end.until(1, 0x0F)
        self.end.send(snac(1, 2, b"", 3))

    @staticmethod
    def _socks(proxy: int, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", proxy), SECONDS)
        sock.sendall(b"\5\1\0")
        assert sock.recv(2) == b"\5\0"
        sock.sendall(b"\5\1\0\1\x7f\0\0\1" + u16(port))
        assert sock.recv(10)[:2] == b"\5\0"
        return sock


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayChild]:
    listener = {"mode": "socks5", "address": f"127.0.0.1:{free_port()}", "destinations": {"allow": ["127.0.0.0/8"]}}
    child = GatewayChild(tmp_path_factory.mktemp("oscar"), [listener], policy=POLICY, archive="full")
    child.port = int(str(listener["address"]).rpartition(":")[2])  # type: ignore[attr-defined]
    yield child
    child.stop()


@pytest.fixture
def talk(gateway: GatewayChild) -> Iterator[tuple[Server, End, End]]:
    """A server, and two users signed on at it through the gateway."""
    server = Server()
    proxy: int = gateway.port  # type: ignore[attr-defined]
    with ExitStack() as stack:
        stack.callback(server.listener.close)
        ends = [Client(proxy, server.port, name).end for name in ("amy", "ben")]
        for end in ends:
            stack.callback(end.sock.close)
        yield server, ends[0], ends[1]
    assert server.faults == []


def row_of(gateway: GatewayChild, event: str, **fields: Any) -> dict[str, Any]:
    """The row of the log with these fields, when it is there. Raises AssertionError."""
    deadline = time.monotonic() + SECONDS
    while True:
        with Reader(gateway.folder / "events.db") as reader:
            rows: list[dict[str, Any]] = [json.loads(line) for _, line in reader.select(after=0)]
        for row in rows:
            if row["event"] == event and all(row.get(name) == value for name, value in fields.items()):
                return row
        assert time.monotonic() < deadline, f"no {event} with {fields}"
        time.sleep(0.05)


def exchange(one: End, two: End) -> None:
    """Both ways, with acknowledgements: the session goes on."""
    for sender, reader, to in ((one, two, "ben"), (two, one, "amy")):
        sender.send(im(to, fragment(b"and it goes on"), request=0x99))
        assert b"and it goes on" in reader.until(4, 7)
        assert head(sender.until(4, 0x0C)) == (4, 0x0C, 0x99)


def test_messages_pass_both_ways(talk: tuple[Server, End, End], gateway: GatewayChild) -> None:
    """Login, redirect and chat; the log knows both users, from the cookie."""
    _, amy, ben = talk
    exchange(amy, ben)
    row = row_of(gateway, "message", text="and it goes on", sender="amy", recipients=["ben"])
    assert (row["protocol"], row["user"], row["identity"]) == ("oscar", "amy", "authenticated")


def test_a_card_number_is_masked(talk: tuple[Server, End, End]) -> None:
    """In the text's own charset, with the HTML around it; the server acknowledges it as usual."""
    _, amy, ben = talk
    amy.send(im("ben", fragment(b"<HTML>my card: 4111 <B>1111</B> 1111 1111</HTML>")))
    assert b"<HTML>my card: *****<B>****</B>**********</HTML>" in ben.until(4, 7)
    amy.until(4, 0x0C)
    exchange(amy, ben)


def test_a_refused_message_is_answered_and_the_session_goes_on(
    talk: tuple[Server, End, End], gateway: GatewayChild,
) -> None:
    """Error and notice for the sender, nothing for the reader, numbers without a hole on all four legs."""
    _, amy, ben = talk
    for _ in range(3):
        amy.send(im("ben", fragment(b"have some forbidden fruit"), request=0x55))
        assert amy.until(4, 1) == snac(4, 1, u16(0x0D), 0x55)
        notice = amy.until(4, 7)
        reference = notice.partition(b"reference ")[2][:9].decode()
        assert row_of(gateway, "verdict", reference=reference)["did"] == "block"
        exchange(amy, ben)


def test_a_refused_offer_is_cancelled(talk: tuple[Server, End, End]) -> None:
    """The sender's client reads a cancel with the offer's cookie; the reader learns nothing."""
    _, amy, ben = talk
    amy.send(offered("ben", guid("1343"), pack(0x0A, u16(1)), pack(0x05, u16(5190)), pack(
        0x2711, struct.pack(">HHI", 1, 1, 5) + b"a.exe\0")))
    amy.until(4, 0x0C)
    assert u16(1) + b"1234567\0" + guid("1343") in amy.until(4, 7)
    assert b"No files" in amy.until(4, 7)
    exchange(amy, ben)


def test_a_cut_closes_with_channel_4(talk: tuple[Server, End, End]) -> None:
    """Both peers get the closing frame in its turn."""
    server, amy, ben = talk
    amy.send(im("ben", fragment(b"now cut the line")))
    with pytest.raises(EOFError):
        while True:
            channel, _ = amy.next()
            if channel == 4:
                amy.next()
    assert channel == 4
    ben.send(b"", 5)
    assert server.faults == []
