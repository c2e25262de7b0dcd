"""The clients of the bench, one process.

    python -m bench.load PORT xmpp|rulewords|links|irc|oscar|blob plain|starttls SESSIONS SECONDS PID

Signs SESSIONS clients on, lets them play ping-pong (a new text when the answer is in), and after a warm-up reads the
CPU time of process PID and its children at the start and the end of SECONDS. Prints one JSON line. With SECONDS 0 the
sessions stay idle until standard input ends ("ready" is printed when all have signed on).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
import sys
import time
from typing import cast

from bench import texts
from bench.processes import cpu_seconds, family

WARM_UP = 0.4
XMPP = ("xmpp", "rulewords", "links")
"""Kinds of traffic that are XMPP; they differ in their texts."""
HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    b"to='bench.test' version='1.0'>"
)


class Client(asyncio.Protocol):
    """One session. `ready` is done when it has signed on; `count` grows by two with each round trip."""

    def __init__(self, kind: str, secure: bool, number: int) -> None:
        self.kind = kind
        self.user = f"u{number:03}"
        self.secure = secure
        self.stage = "hello"
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.count = 0
        self.size = 0
        self.answer = texts.SIZE
        self.talking = False
        self.buffer = b""
        self.transport: asyncio.Transport
        self.messages: texts.Messages | texts.Icbm
        if kind in XMPP:
            self.messages = texts.xmpp(self.user, number, kind != "rulewords", kind == "links")
        elif kind == "oscar":
            self.messages = texts.Icbm(True, self.user, number, 2)
        else:
            self.messages = texts.irc(self.user, number) if kind == "irc" else texts.blob(number)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.stage != "hello":
            return
        if self.kind in XMPP:
            self.transport.write(HEADER)
        elif self.kind == "irc":
            self.transport.write(f"NICK {self.user}\r\nUSER {self.user} 0 * :{self.user}\r\n".encode())
        elif self.kind == "oscar":
            hello = b"\0\0\0\1" + struct.pack(">HH", 6, 8) + self.user.encode().rjust(8, b".")
            self.transport.write(texts.flap(0, 1, hello))
        else:
            self.ready.set_result(None)
            self.talking = True

    def data_received(self, data: bytes) -> None:
        if self.talking:
            self.size += len(data)
            while self.size >= self.answer:
                self.size -= self.answer
                self.count += 2
                self.transport.write(self.messages.next())
            return
        self.buffer += data
        if self.kind == "irc":
            if b" 422 " in self.buffer and self.buffer.endswith(b"\n"):
                self.signed_on()
        elif self.kind == "oscar":
            if len(self.buffer) >= 10 + 6 + 10 and self.buffer[-2:] == b"\0\x10":
                # Client ready: from now on messages, as any client sends them.
                self.transport.write(texts.flap(1, 2, struct.pack(">HHHIHHHH", 1, 2, 0, 2, 4, 1, 1, 1)))
                self.signed_on()
        else:
            self.xmpp()

    def signed_on(self) -> None:
        self.buffer = b""
        self.talking = True
        self.ready.set_result(None)

    def begin(self) -> None:
        """The first message."""
        self.transport.write(self.messages.next())

    def xmpp(self) -> None:
        seen = self.buffer
        if self.stage == "hello" and b"</stream:features>" in seen:
            self.stage = "auth"
            if self.secure:
                self.stage = "tls"
                self.transport.write(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            else:
                self.auth()
        elif self.stage == "tls" and b"<proceed" in seen:
            self.stage = "handshake"
            task = asyncio.ensure_future(self.start_tls())
            task.add_done_callback(self.secured)
        elif self.stage == "tls again" and b"</stream:features>" in seen:
            self.stage = "auth"
            self.auth()
        elif self.stage == "auth" and b"<success" in seen:
            self.stage = "restart"
            self.transport.write(HEADER)
        elif self.stage == "restart" and b"</stream:features>" in seen:
            self.stage = "bind"
            self.transport.write(
                b"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%s-desk</resource>"
                b"</bind></iq>" % self.user.encode()
            )
        elif self.stage == "bind" and b"</iq>" in seen:
            self.signed_on()
            return
        else:
            return
        self.buffer = b""

    def auth(self) -> None:
        import base64

        secret = base64.b64encode(f"\0{self.user}\0secret".encode())
        self.transport.write(
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>" % secret
        )

    async def start_tls(self) -> asyncio.Transport:
        # What the gateway shows is its own authority's: the bench measures, it does not verify.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self.transport, self, context, server_hostname="bench.test")
        return cast(asyncio.Transport, transport)

    def secured(self, task: asyncio.Task[asyncio.Transport]) -> None:
        if error := task.exception():
            self.fail(f"TLS: {error}")
            return
        self.transport = task.result()
        self.stage = "tls again"
        self.transport.write(HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(f"the connection ended at {self.stage!r} after {self.count} messages: {exc} {self.buffer[-200:]!r}")

    def fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(why))


async def main(port: int, kind: str, security: str, sessions: int, seconds: float, pid: int) -> None:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for number in range(1, sessions + 1):
        client = Client(kind, security == "starttls", number)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        clients.append(client)
        if number % 10 == 0:
            await asyncio.wait_for(asyncio.gather(*(client.ready for client in clients[-10:])), 60)
    await asyncio.wait_for(asyncio.gather(*(client.ready for client in clients)), 60)
    if not seconds:
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        print(json.dumps({"lost": sum(client.transport.is_closing() for client in clients)}), flush=True)
        return
    for client in clients:
        client.begin()
    if kind == "blob":
        # An unknown flow is looked at until 64 KiB a way: the figure is what relaying costs after that.
        while min(client.count for client in clients) < 2 * 65536 // texts.SIZE + 10:
            await asyncio.sleep(0.1)
    await asyncio.sleep(WARM_UP)
    before, start = sum(client.count for client in clients), time.perf_counter()
    cpu = cpu_seconds(family(pid))
    await asyncio.sleep(seconds)
    spent = cpu_seconds(family(pid)) - cpu
    messages, wall = sum(client.count for client in clients) - before, time.perf_counter() - start
    stalled = sum(client.count == 0 for client in clients)
    print(json.dumps({"messages": messages, "cpu": spent, "wall": wall, "stalled": stalled}), flush=True)


if __name__ == "__main__":
    import uvloop

    _, port, kind, security, sessions, seconds, pid = sys.argv
    uvloop.run(main(int(port), kind, security, int(sessions), float(seconds), int(pid)))
