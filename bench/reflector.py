"""The server of the bench: signs anybody on, and answers each message with another one of the same size.

    python -m bench.reflector xmpp|rulewords|links|irc|oscar|blob [CERTIFICATE KEY]

Prints its port. XMPP requires STARTTLS where there is a certificate. It counts bytes, not stanzas: all messages of the
bench are texts.SIZE bytes long.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import struct
import sys
from typing import cast

from bench import texts

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    b"id='s1' from='bench.test' version='1.0'>"
)
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
MECHANISMS = b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
BIND = b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
numbers = itertools.count(1)


class Reflector(asyncio.Protocol):
    """One connection. `talking` once sign-on is done: from then on bytes are only counted."""

    def __init__(self, kind: str, context: ssl.SSLContext | None) -> None:
        self.kind = kind
        self.context = context
        self.number = next(numbers)
        self.talking = False
        self.secured = context is None
        self.signed_on = False
        self.owed = 0
        self.buffer = b""
        self.transport: asyncio.Transport
        self.messages: texts.Messages | texts.Icbm = texts.blob(self.number)
        if kind == "blob":
            self.talking = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.talking:
            self.owed += len(data)
            answers = []
            while self.owed >= texts.SIZE:
                self.owed -= texts.SIZE
                answers.append(self.messages.next())
            if answers:
                self.transport.write(b"".join(answers))
            return
        self.buffer += data
        if self.kind == "irc":
            self.irc()
        elif self.kind == "oscar":
            self.oscar()
        else:
            self.xmpp()

    def irc(self) -> None:
        if b"USER " not in self.buffer or not self.buffer.endswith(b"\n"):
            return
        nick = self.buffer.partition(b"NICK ")[2].split()[0].decode()
        host = ":irc.bench.test"
        lines = [f"001 {nick} :Welcome", f"002 {nick} :Your host", f"003 {nick} :Created today",
                 f"004 {nick} irc.bench.test 1 o o", f"422 {nick} :No message of the day"]
        self.transport.write("".join(f"{host} {line}\r\n" for line in lines).encode())
        self.messages = texts.irc(nick, self.number + 100_000, f":{nick}!{nick}@host.bench.test ")
        self.talking = True

    def oscar(self) -> None:
        """FLAP's hello, then who the user is (01/0F); what the client says is ready is behind its hello."""
        hello = self.buffer.find(b"\0\6\0\x08")
        if hello < 0 or len(self.buffer) < hello + 12:
            return
        name = self.buffer[hello + 4:hello + 12].lstrip(b".").decode()
        if len(self.buffer) == hello + 12 and not self.owed:
            user = bytes([len(name)]) + name.encode() + struct.pack(">HHHHH", 0, 1, 1, 2, 0x10)
            info = struct.pack(">HHHI", 1, 15, 0, 1) + user
            self.transport.write(texts.flap(0, 1, b"\0\0\0\1") + texts.flap(1, 2, info))
        # What is behind the hello: the client's word that it is ready, 24 bytes.
        elif len(self.buffer) >= hello + 12 + 24:
            self.messages = texts.Icbm(False, name, self.number + 100_000, 2)
            self.talking = True
            rest = self.buffer[hello + 36:]
            if rest:
                self.data_received(rest)

    def xmpp(self) -> None:
        if self.buffer.rstrip().endswith(b">") and b"<stream:stream" in self.buffer:
            features = BIND if self.signed_on else MECHANISMS if self.secured else STARTTLS
            self.transport.write(HEADER + b"<stream:features>" + features + b"</stream:features>")
        elif b"<starttls" in self.buffer:
            self.transport.write(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            self.secured = True
            self.task = asyncio.ensure_future(self.secure())
        elif b"</auth>" in self.buffer:
            self.signed_on = True
            self.transport.write(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        elif b"</iq>" in self.buffer:
            user = self.buffer.partition(b"<resource>")[2].partition(b"-")[0].decode()
            self.transport.write(
                b"<iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                b"<jid>%s@bench.test/desk</jid></bind></iq>" % user.encode()
            )
            self.messages = texts.xmpp(
                user, self.number + 100_000, self.kind != "rulewords", self.kind == "links")
            self.talking = True
        else:
            return
        self.buffer = b""

    async def secure(self) -> None:
        assert self.context
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self.transport, self, self.context, server_side=True)
        self.transport = cast(asyncio.Transport, transport)


async def main(kind: str, certificate: str | None, key: str | None) -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Reflector(kind, context), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    arguments = [*sys.argv[1:], None, None]
    uvloop.run(main(str(arguments[0]), arguments[1], arguments[2]))
