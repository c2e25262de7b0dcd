"""The two ends of the bench's file transfers, each a process of its own.

    python -m bench.file_ends server SIZE                    prints the ports of all methods as one JSON line
    python -m bench.file_ends METHOD PORT[,PORT] SOCKS SIZE  one transfer; prints its seconds
    python -m bench.file_ends small PORT CONNECTIONS SECONDS SIZE    small uploads, in turn on each connection;
        SIZE 0: documents, pictures, archives and programs of 20 KiB

METHOD: dcc (IRC, then the server's end sends down), oft, bytestream, http, ibb (all up). SOCKS: the port of a SOCKS5
listener to go through, or 0. A transfer begins with its first byte and ends when its receiver has all of it and has
said so in the protocol's own way. The content is random and the same each time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import cast

METHODS = ("dcc", "oft", "bytestream", "http", "ibb")
BLOCK = 1 << 20
IBB_BLOCK = 49152
NAME = hashlib.sha1(b"bench").hexdigest().encode()
STREAM = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    b"%s='bench.test'%s version='1.0'>"
)
HTTP_OK = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


@cache
def block() -> bytes:
    """One piece of the content."""
    return random.Random(1).randbytes(BLOCK)


def content(size: int) -> Iterator[bytes]:
    """The content, in pieces."""
    for start in range(0, size, BLOCK):
        yield block()[:min(BLOCK, size - start)]


@cache
def mixed() -> list[tuple[str, bytes]]:
    """Small files of the kinds that people send."""
    from bench import file_rules

    return file_rules.files(200)


def oft_header(kind: int, size: int, received: int = 0) -> bytes:
    """A header of OFT with the checksum of the content."""
    def check(length: int) -> int:
        whole, rest = divmod(length, BLOCK)
        total = 0
        for data, times in ((block(), whole), (block()[:rest], 1)):
            total += times * (256 * sum(data[::2]) + sum(data[1::2]))
        return (0xFFFF - total % 0xFFFF or 0xFFFF) << 16

    raw = b"OFT2" + struct.pack(">HH8sI4H", 256, kind, b"bench00\0", 0, 1, 1, 1, 1)
    raw += struct.pack(">10I", size, size, 0, check(size), 0xFFFF0000, 0, 0, 0xFFFF0000, received,
                       check(received) if received else 0xFFFF0000)
    raw += b"Cool FileXfer".ljust(32, b"\0") + b"\x20\x1c\x11" + bytes(69 + 16 + 4)
    return (raw + b"file.bin").ljust(256, b"\0")


def take(sock: socket.socket, size: int) -> None:
    """So many bytes, thrown away."""
    room = bytearray(1 << 18)
    while size:
        got = sock.recv_into(room, min(size, len(room)))
        if not got:
            raise ConnectionError(f"the connection ended, {size} bytes are missing")
        size -= got


def until(sock: socket.socket, end: bytes) -> bytes:
    """What comes, to `end`."""
    got = b""
    while end not in got:
        data = sock.recv(65536)
        if not data:
            raise ConnectionError(f"the connection ended in front of {end!r}: {got[-200:]!r}")
        got += data
    return got


# -- the far end


class Ends:
    """The servers, one thread a connection."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ports: dict[str, int] = {}
        for name in ("dcc_content", "dcc", "oft", "bytestream", "http", "ibb"):
            serve: Callable[[socket.socket], None] = getattr(self, name)

            class Handler(socketserver.BaseRequestHandler):
                def handle(self, serve: Callable[[socket.socket], None] = serve) -> None:
                    self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    try:
                        serve(self.request)
                    except (OSError, struct.error, IndexError):
                        # The connection ended, in front of what it was for or in its middle.
                        pass

            server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            server.request_queue_size = 100
            self.ports[name] = server.server_address[1]
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def dcc(self, sock: socket.socket) -> None:
        """An IRC server that offers a file as soon as somebody is there; the port that is offered comes in his NICK."""
        head = until(sock, b"USER ")
        nick = head.partition(b"NICK ")[2].split()[0].decode()
        port = int(nick.rpartition("_")[2])
        lines = [f":irc.bench.test 001 {nick} :Welcome", f":irc.bench.test 422 {nick} :No message of the day",
                 f":bob!bob@bench.test PRIVMSG {nick} :\x01DCC SEND file.bin 2130706433 {port} {self.size}\x01"]
        sock.sendall("".join(f"{line}\r\n" for line in lines).encode())
        sock.recv(100)

    def dcc_content(self, sock: socket.socket) -> None:
        """The sender of DCC: all of it, then the last acknowledgement."""
        def send() -> None:
            for piece in content(self.size):
                sock.sendall(piece)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        last = b""
        while not last.endswith(struct.pack(">I", self.size)):
            data = sock.recv(65536)
            if not data:
                return
            last = (last + data)[-8:]
        sending.join()

    def oft(self, sock: socket.socket) -> None:
        head = sock.recv(256, socket.MSG_WAITALL)
        size: int = struct.unpack_from(">I", head, 32)[0]
        sock.sendall(oft_header(0x0202, size))
        take(sock, size)
        sock.sendall(oft_header(0x0204, size, size))
        sock.recv(1)

    def bytestream(self, sock: socket.socket) -> None:
        take(sock, 3)
        sock.sendall(b"\5\0")
        take(sock, 47)
        sock.sendall(b"\5\0\0\3\x28" + NAME + b"\0\0")
        while sock.recv(1 << 18):
            pass

    def http(self, sock: socket.socket) -> None:
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                data = sock.recv(65536)
                if not data:
                    return
                held += data
            head, _, held = held.partition(b"\r\n\r\n")
            size = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
            take(sock, max(0, size - len(held)))
            held = held[size:]
            sock.sendall(HTTP_OK)

    def ibb(self, sock: socket.socket) -> None:
        """A server that signs on, and then is everybody to whom something is said: each iq gets its result."""
        until(sock, b">")
        sasl = b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
        sock.sendall(STREAM % (b"from", b" id='s1'") + b"<stream:features>" + sasl + b"</stream:features>")
        until(sock, b"</auth>")
        sock.sendall(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        until(sock, b">")
        sock.sendall(STREAM % (b"from", b" id='s2'") + b"<stream:features>"
                     b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
        until(sock, b"</iq>")
        sock.sendall(b"<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                     b"<jid>amy@bench.test/desk</jid></bind></iq>")
        held = b""
        while data := sock.recv(1 << 18):
            held += data
            *stanzas, held = held.split(b"</iq>")
            for stanza in stanzas:
                ident = stanza.partition(b" id='")[2].partition(b"'")[0]
                sock.sendall(
                    b"<iq type='result' id='%s' from='bob@bench.test/barn' to='amy@bench.test/desk'/>" % ident)


# -- the near end


def connect(port: int, socks: int) -> socket.socket:
    """A connection to a port of loopback, through a SOCKS5 listener where one is named."""
    sock = socket.create_connection(("127.0.0.1", socks or port), 120)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if socks:
        sock.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + struct.pack(">H", port))
        take(sock, 2 + 10)
    return sock


def send_all(sock: socket.socket, size: int) -> None:
    for piece in content(size):
        sock.sendall(piece)


def dcc(ports: list[int], socks: int, size: int) -> float:
    with connect(ports[0], socks) as irc:
        irc.sendall(b"NICK amy_%d\r\nUSER amy 0 * :Amy\r\n" % ports[1])
        until(irc, b"DCC SEND")
        with connect(ports[1], socks) as sock:
            start = time.perf_counter()
            room = bytearray(1 << 18)
            seen = 0
            while seen < size:
                got = sock.recv_into(room)
                if not got:
                    raise ConnectionError(f"the file ended at {seen}")
                seen += got
                sock.sendall(struct.pack(">I", seen & 0xFFFFFFFF))
            return time.perf_counter() - start


def oft(ports: list[int], socks: int, size: int) -> float:
    first = oft_header(0x0101, size)
    with connect(ports[0], socks) as sock:
        start = time.perf_counter()
        sock.sendall(first)
        take(sock, 256)
        send_all(sock, size)
        take(sock, 256)
        return time.perf_counter() - start


def bytestream(ports: list[int], socks: int, size: int) -> float:
    with connect(ports[0], socks) as sock:
        sock.sendall(b"\5\1\0")
        take(sock, 2)
        sock.sendall(b"\5\1\0\3\x28" + NAME + b"\0\0")
        take(sock, 47)
        start = time.perf_counter()
        send_all(sock, size)
        sock.shutdown(socket.SHUT_WR)
        if sock.recv(1):
            raise ConnectionError("the receiver has something to say")
        return time.perf_counter() - start


def http(ports: list[int], socks: int, size: int) -> float:
    with connect(ports[0], socks) as sock:
        start = time.perf_counter()
        sock.sendall(b"PUT /file.bin HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n" % size)
        send_all(sock, size)
        answer = until(sock, b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 201 "):
            raise ConnectionError(answer.decode())
        return time.perf_counter() - start


def ibb(ports: list[int], socks: int, size: int) -> float:
    with connect(ports[0], socks) as sock:
        sock.sendall(STREAM % (b"to", b""))
        until(sock, b"</stream:features>")
        secret = base64.b64encode(b"\0amy\0secret")
        sock.sendall(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>" % secret)
        until(sock, b"<success")
        sock.sendall(STREAM % (b"to", b""))
        until(sock, b"</stream:features>")
        sock.sendall(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                     b"<resource>desk</resource></bind></iq>")
        until(sock, b"</iq>")
        start = time.perf_counter()
        to = b"<iq type='set' to='bob@bench.test/barn' id='%s'>"
        sock.sendall(to % b"o" + b"<open xmlns='http://jabber.org/protocol/ibb' sid='s' block-size='%d' stanza='iq'/>"
                     b"</iq>" % IBB_BLOCK)
        until(sock, b"id='o'")
        piece = base64.b64encode(block()[:IBB_BLOCK])
        count, waiting = size // IBB_BLOCK, 0
        answers = b""
        for number in range(count):
            sock.sendall(b"%s<data xmlns='http://jabber.org/protocol/ibb' sid='s' seq='%d'>%s</data></iq>" % (
                to % b"d", number & 0xFFFF, piece))
            waiting += 1
            # As clients do that are in a hurry: a few blocks ahead of their answers.
            while waiting >= 8:
                answers += sock.recv(65536)
                waiting -= answers.count(b"id='d'")
                answers = answers[answers.rfind(b"id='d'") + 6:] if b"id='d'" in answers else answers[-200:]
        sock.sendall(to % b"c" + b"<close xmlns='http://jabber.org/protocol/ibb' sid='s'/></iq>")
        until(sock, b"id='c'")
        return time.perf_counter() - start


# -- many small files


class Uploader(asyncio.Protocol):
    """One connection that uploads small files one after the other, all different."""

    def __init__(self, number: int, size: int) -> None:
        self.size = size
        self.count = number << 32
        self.done = 0
        self.began = 0.0
        self.waits: list[float] = []
        self.buffer = b""
        self.failed = ""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.next()

    def next(self) -> None:
        self.count += 1
        self.began = time.perf_counter()
        if self.size:
            at = self.count * 7919 % (BLOCK - self.size)
            name, body = "file.bin", b"%016x" % self.count + block()[at:at + self.size - 16]
        else:
            name, body = mixed()[self.count * 7 % len(mixed())]
            name = "file." + name.rpartition(".")[2]
        head = b"PUT /%s HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n" % (name.encode(), len(body))
        self.transport.write(head + body)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if b"\r\n\r\n" not in self.buffer:
            return
        if not self.buffer.startswith(b"HTTP/1.1 201 "):
            self.failed = self.buffer.decode("utf-8", "replace")
            self.transport.close()
            return
        self.buffer = b""
        self.done += 1
        self.waits.append(time.perf_counter() - self.began)
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed = self.failed or f"the connection ended after {self.done} files: {exc}"


async def small(port: int, connections: int, seconds: float, size: int) -> None:
    """Uploads for `seconds` after a warm-up; prints "go" at its start and a JSON line at its end."""
    loop = asyncio.get_running_loop()
    mixed()
    clients: list[Uploader] = []
    for number in range(connections):
        client = Uploader(number + 1, size)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        clients.append(client)
    await asyncio.sleep(2)
    for client in clients:
        client.done, client.waits = 0, []
    print("go", flush=True)
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    wall = time.perf_counter() - start
    waits = sorted(wait for client in clients for wait in client.waits)
    print(json.dumps({
        "files": len(waits), "wall": wall, "failed": next((c.failed for c in clients if c.failed), ""),
        "p50": waits[len(waits) // 2] if waits else 0, "p99": waits[len(waits) * 99 // 100] if waits else 0,
    }), flush=True)


def main() -> None:
    what = sys.argv[1]
    if what == "server":
        print(json.dumps(Ends(int(sys.argv[2])).ports), flush=True)
        sys.stdin.read()
    elif what == "small":
        asyncio.run(small(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
    else:
        transfer = {"dcc": dcc, "oft": oft, "bytestream": bytestream, "http": http, "ibb": ibb}[what]
        ports = [int(port) for port in sys.argv[2].split(",")]
        print(transfer(ports, int(sys.argv[3]), int(sys.argv[4])), flush=True)


if __name__ == "__main__":
    main()
