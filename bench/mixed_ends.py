"""Both ends of the mixed soak: chat sessions that number what they say, servers that check what came, and the ledger.

Every message has a number and belongs to a kind. What passes must come to the server byte for byte as it was written,
is answered there, and the answer must come back as it was written; of what is masked the server gets the masked bytes;
what is refused never comes; what is held comes once, after its release. The ledger knows what became of each.

Clients connect from addresses of loopback of their own (127.1.0.0/16), so that the kernel spreads them over the
workers. Not decoded: what is of no use here. Replies are known by their number, notices by the reference in them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import random
import re
import ssl
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from bench.texts import everyday, flap

WORDS = {
    "pass": "", "mask": "my card is 4111111111111111 and", "refuse": "wombat parade", "hold": "platypus parade",
}
"""Kind -> words that the policy knows it by."""
MASKED = (b"4111111111111111", b"*" * 16)
NUMBER = re.compile(rb"(?:no|re)(\d+)x")
REFERENCE = re.compile(rb"eference ([A-Z0-9]{4}-[A-Z0-9]{4})")
LINE = re.compile(rb"[^\r\n]*(?:\r?\n|\r(?!\n)(?=.))", re.DOTALL)
"""A line of IRC; a lone CR ends it, too, as for most servers."""
STREAM = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    b"%s='bench.test'%s version='1.0'>"
)
SASL = b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
BIND = b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
TLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
FRAMING = b"urn:ietf:params:xml:ns:xmpp-framing"
IBB = b"http://jabber.org/protocol/ibb"
IBB_BLOCK = 8192
HARMFUL = b"tulips-that-bite"
"""A file with these bytes is refused."""
PATIENCE = 60.0
"""Seconds until an answer that did not come in a living session is called lost: the machine is shared."""
DOWN_EVERY = 30
"""Of so many messages that pass, one is answered with another one beside that the gateway must hold on its way down."""
FLOOD = 3000
"""Messages that a server writes to somebody who does not read."""


class Gone(Exception):
    """The peer has ended the connection."""


@dataclass(slots=True)
class Said:
    """One message that is not settled yet."""

    kind: str
    session: Session
    at: float
    unit: bytes
    """As it must come to the server."""
    answer: bytes = b""
    """As it must come back."""


@dataclass(eq=False)
class Session:
    """One connection of a client, as the ledger knows it."""

    kind: str
    user: str
    client: tuple[str, int] = ("", 0)
    """Its address and port."""
    began: float = field(default_factory=time.time)
    signed_on: float = 0.0
    ended: float = 0.0
    how: str = ""
    """polite, cut (by us), broken (by us: bytes of no protocol), gateway (it ended one that did nothing wrong)."""
    waiting: set[int] = field(default_factory=set)
    """Numbers of what must still be answered."""


@dataclass
class Ledger:
    """What was said, and what became of it."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    open: dict[int, Said] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    """Those that have ended and are not explained yet."""
    told: set[str] = field(default_factory=set)
    """References that clients have read."""
    held: dict[int, Session] = field(default_factory=dict)
    """Numbers of what was to be held, and of what was to be refused."""
    refused: dict[int, Session] = field(default_factory=dict)
    inbound: set[int] = field(default_factory=set)
    """Of what is held, what the server has written: it comes to a client."""
    came: Counter[int] = field(default_factory=Counter)
    """Times that what was to be held or refused came to the server."""
    waits: list[float] = field(default_factory=list)
    """Seconds of round trips since the last look."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 -> harmless or harmful, of files on their way."""
    late: dict[int, Said] = field(default_factory=dict)
    """What was under way when its session ended: it may still come, once."""
    number: int = 0

    def fault(self, words: str) -> None:
        """Something that must not be."""
        self.counts["faults"] += 1
        if len(self.faults) < 200:
            self.faults.append(words)

    def say(self, kind: str, session: Session, made: Callable[[str], bytes], dice: random.Random) -> bytes:
        """A new message of a kind; `made` writes the text as a unit of the protocol."""
        self.number += 1
        number = self.number
        words = dice.choice(everyday(500, 160))
        unit = made(f"no{number}x {WORDS[kind]} {words}".replace("  ", " "))
        self.counts[f"said {kind}"] += 1
        if kind in ("hold", "refuse"):
            (self.held if kind == "hold" else self.refused)[number] = session
        else:
            expected = unit.replace(*MASKED) if kind == "mask" else unit
            self.open[number] = Said(kind, session, time.perf_counter(), expected)
            session.waiting.add(number)
        return unit

    def arrived(self, unit: bytes, answer: Callable[[bytes], bytes]) -> bytes | None:
        """The server has a unit with a text; the unit that it answers, None: nothing."""
        if REFERENCE.search(unit):
            self.counts["writers outside were told"] += 1
            return None
        found = NUMBER.search(unit)
        if found is None:
            self.fault(f"a text without a number came to the server: {unit[:80]!r}")
            return None
        number = int(found[1])
        if number in self.held or number in self.refused:
            self.came[number] += 1
            if number in self.inbound:
                self.fault(f"no{number}x, written by the server, came to the server")
            return None
        said = self.open.get(number)
        if said is None and (late := self.late.pop(number, None)) is not None and not late.answer:
            if unit != late.unit:
                self.fault(f"no{number}x ({late.kind}) came changed: {unit!r} instead of {late.unit!r}")
            self.counts["came when its session had ended"] += 1
            return None
        if said is None:
            self.fault(f"no{number}x came twice, or after its session had ended: {unit[:80]!r}")
            return None
        if said.answer:
            self.fault(f"no{number}x came twice")
            return None
        if unit != said.unit:
            self.fault(f"no{number}x ({said.kind}) came changed: {unit!r} instead of {said.unit!r}")
        self.counts[f"came {said.kind}"] += 1
        said.answer = answer(b"re%dx %b" % (number, unit[found.end():found.end() + 80].partition(b"<")[0].strip()))
        return said.answer

    def beside(self, unit: bytes, answer: Callable[[bytes], bytes]) -> bytes | None:
        """What the server writes beside its answer, now and then."""
        found = NUMBER.search(unit)
        said = self.open.get(int(found[1])) if found else None
        if said is None or said.kind != "pass" or self.counts["came pass"] % DOWN_EVERY:
            return None
        self.number += 1
        self.counts["said hold, by the server"] += 1
        self.held[self.number] = said.session
        self.inbound.add(self.number)
        return answer(b"no%dx %b, says the server" % (self.number, WORDS["hold"].encode()))

    def inside(self, number: int) -> None:
        """A client has read something that the server has written of itself."""
        self.came[number] += 1
        if number not in self.inbound:
            self.fault(f"no{number}x came to a client, and was not written for one")

    def back(self, unit: bytes) -> None:
        """A client has read an answer."""
        found = NUMBER.search(unit)
        said = self.open.get(int(found[1])) if found else None
        if found is not None and said is None and int(found[1]) in self.late:
            self.counts["answered when its session had ended"] += 1
            return
        if found is None or said is None:
            self.fault(f"an answer to nothing came: {unit[:80]!r}")
            return
        if unit != said.answer:
            self.fault(f"re{int(found[1])}x came changed: {unit!r} instead of {said.answer!r}")
        self.counts["answered"] += 1
        self.waits.append(time.perf_counter() - said.at)
        said.session.waiting.discard(int(found[1]))
        del self.open[int(found[1])]

    def read(self, unit: bytes) -> None:
        """A client has read what the gateway says."""
        self.told.update(found.decode() for found in REFERENCE.findall(unit))

    def end(self, session: Session, how: str) -> None:
        """A session has ended; what it waits for will not come any more."""
        session.ended, session.how = time.time(), how
        self.counts[f"ended {session.kind} {how}"] += 1
        for number in session.waiting:
            said = self.late[number] = self.open.pop(number)
            what = "came, the answer is lost" if said.answer else "did not come"
            self.counts[f"unanswered, session ended ({how}): {what}"] += 1
            if how == "polite":
                self.fault(f"no{number}x ({said.kind}, {session.kind}, {session.user}): {what}, its session lived for "
                           f"{PATIENCE:g} seconds")
        session.waiting.clear()
        if session.signed_on:
            self.sessions.append(session)


class Stream:
    """Bytes both ways."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.buffer = b""

    async def more(self) -> None:
        """Read; raises Gone."""
        try:
            data = await self.reader.read(65536)
        except (OSError, ssl.SSLError):
            data = b""
        if not data:
            raise Gone
        self.buffer += data

    async def unit(self) -> bytes:
        """The next unit of the protocol; raises Gone."""
        raise NotImplementedError

    async def until(self, size: int) -> None:
        """Until so many bytes are there; raises Gone."""
        while len(self.buffer) < size:
            await self.more()

    def write(self, unit: bytes) -> None:
        """Write a unit, as it is here."""
        self.put(unit)

    def put(self, data: bytes) -> None:
        """Write bytes; those of a connection that has ended are lost."""
        if not self.writer.transport.is_closing():
            self.writer.write(data)

    def close(self) -> None:
        self.writer.close()


class Stanzas(Stream):
    """XMPP over TCP: stream heads, stream ends and whole stanzas."""

    async def unit(self) -> bytes:
        """The next one, without white space between them; raises Gone."""
        while True:
            found = self._cut()
            if found is not None:
                return found
            await self.more()

    def _cut(self) -> bytes | None:
        self.buffer = text = self.buffer.lstrip()
        if text.startswith(b"<?xml"):
            head = text.find(b"<stream:stream")
            end = text.find(b">", head) + 1 if head > 0 else 0
        else:
            end = text.find(b">") + 1
            if end and not text.startswith((b"</", b"<stream:stream")) and text[end - 2:end - 1] != b"/":
                name = re.match(rb"<([\w:]+)", text)
                if name is None:
                    raise Gone
                tag = b"</%b>" % name[1]
                at = text.find(tag)
                end = at + len(tag) if at >= 0 else 0
        if not end:
            return None
        self.buffer = text[end:]
        return text[:end]


class Frames(Stream):
    """XMPP in WebSocket frames (RFC 7395), each message in one frame; `client`: ours are masked."""

    client = True

    async def unit(self) -> bytes:
        """The next text message; raises Gone."""
        while True:
            await self.until(2)
            kind, second, at = self.buffer[0] & 15, self.buffer[1], 2
            size = second & 127
            if size >= 126:
                more = 2 if size == 126 else 8
                await self.until(at + more)
                size, at = int.from_bytes(self.buffer[at:at + more]), at + more
            key = b""
            if second & 128:
                await self.until(at + 4)
                key, at = self.buffer[at:at + 4], at + 4
            await self.until(at + size)
            data, self.buffer = self.buffer[at:at + size], self.buffer[at + size:]
            if kind == 8:
                raise Gone
            if kind == 1:
                return masked(data, key) if key else data

    def write(self, unit: bytes) -> None:
        self.put(self.frame(unit))

    def frame(self, unit: bytes, kind: int = 1) -> bytes:
        """One whole frame."""
        bit, size = 128 if self.client else 0, len(unit)
        head = bytes((128 | kind,)) + (
            bytes((bit | size,)) if size < 126 else struct.pack(">BH", bit | 126, size) if size < 65536
            else struct.pack(">BQ", bit | 127, size))
        return head + b"\x11\x92\x03\xf4" + masked(unit, b"\x11\x92\x03\xf4") if bit else head + unit


def masked(data: bytes, key: bytes) -> bytes:
    """RFC 6455 5.3."""
    whole = int.from_bytes((key * (len(data) // 4 + 1))[:len(data)])
    return (int.from_bytes(data) ^ whole).to_bytes(len(data))


class Lines(Stream):
    """IRC."""

    async def unit(self) -> bytes:
        """The next line with its end; raises Gone."""
        while (found := LINE.match(self.buffer)) is None:
            await self.more()
        self.buffer = self.buffer[found.end():]
        return found[0]


class Flaps(Stream):
    """OSCAR: the payload of the next frame; what is written gets a number."""

    sequence = 0

    async def unit(self) -> bytes:
        """Channel and payload; raises Gone."""
        await self.until(6)
        size = int.from_bytes(self.buffer[4:6])
        await self.until(6 + size)
        unit, self.buffer = self.buffer[1:2] + self.buffer[6:6 + size], self.buffer[6 + size:]
        return unit

    def write(self, unit: bytes) -> None:
        """`unit`: channel and payload."""
        self.sequence = self.sequence + 1 & 0x7FFF
        self.put(flap(self.sequence, unit[0], unit[1:]))


def icbm(up: bool, name: str, text: str) -> bytes:
    """An instant message on channel 1 of ICBM, behind the number of its FLAP channel."""
    snac = struct.pack(">HHHI", 4, 6 if up else 7, 0, 1) + hashlib.sha256(text.encode()).digest()[:8] + b"\0\1"
    snac += bytes([len(name)]) + name.encode()
    if not up:
        snac += struct.pack(">HHHHHHH", 0, 2, 1, 2, 0x10, 3, 4) + b"\x3f\0\0\0"
    words = text.encode()
    parts = struct.pack(">BBHBBBHHH", 5, 1, 1, 1, 1, 1, len(words) + 4, 0, 0) + words
    return b"\2" + snac + struct.pack(">HH", 2, len(parts)) + parts


# -- clients


class Client:
    """A chat client: signs on, says what it is asked to say, and reads what comes."""

    kind = ""

    def __init__(self, ledger: Ledger, user: str, host: str, dice: random.Random) -> None:
        self.ledger, self.host, self.dice = ledger, host, dice
        self.session = Session(self.kind, user)
        self.wire: Stream
        self.leaving = ""
        self.over = asyncio.Event()
        """The connection has ended, or nothing is read of it any more."""

    async def connect(self, port: int) -> None:
        """Raises OSError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(self.host, 0))
        self.session.client = writer.get_extra_info("sockname")[:2]
        self.wire = self.made(reader, writer)

    def made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        raise NotImplementedError

    async def sign_on(self) -> None:
        """Raises Gone."""
        raise NotImplementedError

    def compose(self, text: str) -> bytes:
        """A unit with this text."""
        raise NotImplementedError

    def bye(self) -> None:
        """The protocol's own last words."""
        raise NotImplementedError

    def heard(self, unit: bytes) -> None:
        """A unit came."""
        found = NUMBER.search(unit)
        if found is None or REFERENCE.search(unit):
            self.ledger.read(unit)
        elif found[0].startswith(b"re"):
            self.ledger.back(unit)
        else:
            self.ledger.inside(int(found[1]))

    async def begin(self, port: int) -> None:
        """Connect, sign on and listen. Raises OSError, Gone."""
        await self.connect(port)
        try:
            async with asyncio.timeout(PATIENCE):
                await self.sign_on()
        except TimeoutError:
            self.wire.close()
            raise Gone from None
        except Gone:
            self.wire.close()
            raise
        self.session.signed_on = time.time()
        self.task = asyncio.ensure_future(self.listen())

    async def listen(self) -> None:
        """Read until the end."""
        try:
            while True:
                self.heard(await self.wire.unit())
        except Gone:
            if not self.leaving:
                self.ledger.end(self.session, "gateway")
                self.wire.close()
            self.over.set()

    def say(self, kind: str) -> None:
        """A message of a kind."""
        self.wire.write(self.ledger.say(kind, self.session, self.compose, self.dice))

    async def settled(self) -> None:
        """Until all that must be answered is answered, or the session has ended, or too long."""
        until = time.monotonic() + PATIENCE
        while self.session.waiting and not self.over.is_set() and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def leave(self) -> None:
        """Wait for what is under way and go politely."""
        await self.settled()
        if self.over.is_set():
            return
        self.leaving = "polite"
        self.ledger.end(self.session, "polite")
        self.bye()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), 20)
        self.drop()

    async def cut(self) -> None:
        """Write half a message and go, with an RST or a FIN."""
        if self.over.is_set():
            return
        self.leaving = "cut"
        unit = self.compose("and then there was nothing more to be")
        self.wire.put(unit[:len(unit) // 2])
        self.ledger.end(self.session, "cut")
        if self.dice.random() < 0.5 and not self.wire.writer.transport.is_closing():
            self.wire.writer.transport.abort()
        self.drop()

    async def spoil(self) -> None:
        """Bytes of no protocol in the middle of a session."""
        if self.over.is_set():
            return
        self.leaving = "broken"
        self.ledger.end(self.session, "broken")
        self.wire.put(self.dice.randbytes(self.dice.randrange(20, 3000)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), 5)
        self.drop()

    def drop(self) -> None:
        """Read no more."""
        self.wire.close()
        self.task.cancel()
        self.over.set()


class Xmpp(Client):
    """XMPP over plain TCP."""

    kind = "xmpp"
    answers: dict[bytes, asyncio.Future[bytes]]

    def made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        self.answers = {}
        return Stanzas(reader, writer)

    async def open(self) -> None:
        self.wire.write(STREAM % (b"to", b""))
        await self.find(b"<stream:features>")

    async def find(self, words: bytes) -> bytes:
        while words not in (unit := await self.wire.unit()):
            if unit.startswith((b"</stream:stream", b"<close", b"<failure")):
                raise Gone
        return unit

    async def secure(self) -> None:
        """Nothing to do."""

    async def sign_on(self) -> None:
        await self.open()
        await self.secure()
        secret = base64.b64encode(f"\0{self.session.user}\0secret".encode())
        self.wire.write(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%b</auth>" % secret)
        await self.find(b"<success")
        await self.open()
        self.wire.write(b"<iq type='set' id='b1' xmlns='jabber:client'>"
                        b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>desk</resource></bind></iq>")
        await self.find(b"</iq>")

    def compose(self, text: str) -> bytes:
        return (f"<message xmlns='jabber:client' type='chat' id='m{text.split()[0]}' to='amy@bench.test'>"
                f"<body>{text}</body></message>").encode()

    def bye(self) -> None:
        self.wire.write(b"</stream:stream>")

    def heard(self, unit: bytes) -> None:
        if unit.startswith(b"<iq"):
            found = re.search(rb" id=['\"]([^'\"]*)", unit[:200])
            answer = self.answers.pop(found[1], None) if found else None
            if answer is not None and not answer.done():
                answer.set_result(unit)
            self.ledger.read(unit)
        elif unit.startswith((b"</stream:stream", b"<close")):
            raise Gone
        else:
            super().heard(unit)

    async def ask(self, ident: bytes, unit: bytes) -> bytes:
        """An iq and its answer. Raises Gone, TimeoutError."""
        answer = self.answers[ident] = asyncio.get_running_loop().create_future()
        self.wire.write(unit)
        over = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait({answer, over}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            self.answers.pop(ident, None)
        if not answer.done():
            if self.over.is_set():
                raise Gone
            raise TimeoutError
        found: bytes = answer.result()
        return found

    async def give(self, content: bytes) -> str:
        """A file in-band (XEP-0047): taken, refused, or ended."""
        sid = hashlib.sha256(content).hexdigest()[:16].encode()
        head = b"<iq xmlns='jabber:client' type='set' to='bob@bench.test/barn' id='%b'>"
        try:
            unit = b"<open xmlns='%b' sid='%b' block-size='%d' stanza='iq'/></iq>" % (IBB, sid, IBB_BLOCK)
            done = await self.ask(sid + b"o", head % (sid + b"o") + unit)
            for number, at in enumerate(range(0, len(content), IBB_BLOCK)):
                if b"type='error'" in done[:300] or b'type="error"' in done[:300]:
                    return "refused"
                ident = b"%b%d" % (sid, number)
                done = await self.ask(ident, head % ident + b"<data xmlns='%b' sid='%b' seq='%d'>%b</data></iq>" % (
                    IBB, sid, number, base64.b64encode(content[at:at + IBB_BLOCK])))
            last = await self.ask(sid + b"c", head % (sid + b"c") + b"<close xmlns='%b' sid='%b'/></iq>" % (IBB, sid))
        except Gone:
            return "ended"
        except TimeoutError:
            return "unanswered"
        errors = [b"type='error'" in one[:300] or b'type="error"' in one[:300] for one in (done, last)]
        return "refused" if any(errors) else "taken"


class Starttls(Xmpp):
    """XMPP with STARTTLS on both legs."""

    kind = "starttls"
    trust: ssl.SSLContext

    async def secure(self) -> None:
        self.wire.write(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        await self.find(b"<proceed")
        try:
            await self.wire.writer.start_tls(self.trust, server_hostname="bench.test")
        except (OSError, ssl.SSLError):
            raise Gone from None
        await self.open()


class WebSocket(Xmpp):
    """XMPP in WebSocket frames."""

    kind = "websocket"

    def made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        self.answers = {}
        return Frames(reader, writer)

    async def connect(self, port: int) -> None:
        await super().connect(port)
        self.wire.put(
            b"GET /xmpp-websocket HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n")

    async def sign_on(self) -> None:
        while b"\r\n\r\n" not in self.wire.buffer:
            await self.wire.more()
        head, _, self.wire.buffer = self.wire.buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Gone
        await super().sign_on()

    async def open(self) -> None:
        self.wire.write(b"<open xmlns='%b' to='bench.test' version='1.0'/>" % FRAMING)
        await self.find(b"features")

    def bye(self) -> None:
        self.wire.write(b"<close xmlns='%b'/>" % FRAMING)


class Irc(Client):
    """IRC."""

    kind = "irc"

    def made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        return Lines(reader, writer)

    async def sign_on(self) -> None:
        user = self.session.user
        self.wire.write(f"NICK {user}\r\nUSER {user} 0 * :{user}\r\n".encode())
        while b" 422 " not in await self.wire.unit():
            pass

    def compose(self, text: str) -> bytes:
        return f"PRIVMSG amy :{text}\r\n".encode()

    def bye(self) -> None:
        self.wire.write(b"QUIT :bye\r\n")


class Oscar(Client):
    """OSCAR, from the connection to the BOS server on."""

    kind = "oscar"

    def made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        return Flaps(reader, writer)

    async def sign_on(self) -> None:
        self.wire.write(b"\1\0\0\0\1" + struct.pack(">HH", 6, 8) + self.session.user.encode().rjust(8, b"."))
        while not (await self.wire.unit()).startswith(b"\2\0\1\0\x0f"):
            pass
        self.wire.write(b"\2" + struct.pack(">HHHIHHHH", 1, 2, 0, 2, 4, 1, 1, 1))

    def compose(self, text: str) -> bytes:
        return icbm(True, "amy", text)

    def bye(self) -> None:
        self.wire.write(b"\4")


KINDS: tuple[type[Client], ...] = (Xmpp, Starttls, WebSocket, Irc, Oscar)


# -- servers


def stanza(user: str, text: bytes) -> bytes:
    """A message of the server's to a user."""
    return (b"<message xmlns='jabber:client' from='amy@bench.test/desk' to='%b@bench.test/desk' type='chat'>"
            b"<body>%b</body></message>") % (user.encode(), text)


def privmsg(nick: bytes, text: bytes) -> bytes:
    """The same in IRC."""
    return b":amy!amy@bench.test PRIVMSG %b :%b\r\n" % (nick, text)


class Servers:
    """A server of each protocol on a port of its own; they check what comes and answer it."""

    def __init__(self, ledger: Ledger, context: ssl.SSLContext) -> None:
        self.ledger, self.context = ledger, context
        self.ports: dict[str, int] = {}
        self.living = 0
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listen."""
        for kind in ("xmpp", "starttls", "websocket", "irc", "oscar", "upload"):
            await self._listen(kind, getattr(self, kind))

    async def _listen(
        self, kind: str, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ) -> None:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.living += 1
            # What is no sense is what strange clients say: the connection ends.
            with contextlib.suppress(Gone, OSError, ssl.SSLError, ValueError, IndexError):
                await serve(reader, writer)
            self.living -= 1
            writer.close()

        server = await asyncio.start_server(guarded, "127.0.0.1", 0, backlog=1024)
        self._servers.append(server)
        self.ports[kind] = server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        for server in self._servers:
            server.close()

    def arrived(self, wire: Stream, unit: bytes, answer: Callable[[bytes], bytes]) -> None:
        """Check a unit with a text, and answer it."""
        said = self.ledger.arrived(unit, answer)
        if said is not None:
            wire.write(said)
            more = self.ledger.beside(unit, answer)
            if more is not None:
                wire.write(more)

    async def xmpp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Plain."""
        await self._xmpp(Stanzas(reader, writer), secured=True)

    async def starttls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """STARTTLS is required."""
        await self._xmpp(Stanzas(reader, writer), secured=False)

    async def websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Behind an upgrade of HTTP."""
        wire = Frames(reader, writer)
        wire.client = False
        while b"\r\n\r\n" not in wire.buffer:
            await wire.more()
        wire.buffer = wire.buffer.partition(b"\r\n\r\n")[2]
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n")
        await self._xmpp(wire, secured=True)

    async def _xmpp(self, wire: Stanzas | Frames, *, secured: bool) -> None:
        user, signed_on, framed = "", False, isinstance(wire, Frames)
        files: dict[bytes, bytes] = {}
        while True:
            unit = await wire.unit()
            if b"<stream:stream" in unit[:200] or unit.startswith(b"<open "):
                features = BIND if signed_on else SASL if secured else TLS
                if framed:
                    wire.write(b"<open xmlns='%b' from='bench.test' id='s1' version='1.0'/>" % FRAMING)
                    wire.write(b"<stream:features xmlns:stream='http://etherx.jabber.org/streams'>%b"
                               b"</stream:features>" % features)
                else:
                    wire.write(STREAM % (b"from", b" id='s1'") + b"<stream:features>" + features
                               + b"</stream:features>")
            elif unit.startswith(b"<starttls"):
                wire.write(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                await wire.writer.start_tls(self.context)
                secured = True
            elif unit.startswith(b"<auth"):
                name = base64.b64decode(unit.partition(b">")[2].partition(b"<")[0]).split(b"\0")[1]
                user, signed_on = name.decode(), True
                wire.write(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            elif unit.startswith(b"<iq"):
                await self._iq(wire, unit, user, files)
            elif unit.startswith(b"<message"):
                if b">flood me<" in unit:
                    await self._flood(wire, user)
                else:
                    self.arrived(wire, unit, partial(stanza, user))
            elif unit.startswith((b"</stream:stream", b"<close")):
                wire.write(b"<close xmlns='%b'/>" % FRAMING if framed else b"</stream:stream>")
                return

    async def _iq(self, wire: Stanzas | Frames, unit: bytes, user: str, files: dict[bytes, bytes]) -> None:
        found = re.search(rb" id=['\"]([^'\"]*)", unit)
        ident = found[1] if found else b""
        jid = b"%b@bench.test/desk" % user.encode()
        if b"<bind" in unit:
            wire.write(b"<iq xmlns='jabber:client' type='result' id='%b'>"
                       b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>%b</jid></bind></iq>" % (ident, jid))
            return
        if IBB in unit:
            named = re.search(rb"sid=['\"]([^'\"]*)", unit)
            sid = named[1] if named else b""
            if b"<open" in unit:
                files[sid] = b""
            elif b"<data" in unit:
                body = unit.partition(b"<data")[2].partition(b">")[2].partition(b"<")[0]
                files[sid] = files.get(sid, b"") + base64.b64decode(body)
            elif b"<close" in unit:
                self.taken("ibb", files.pop(sid, b""))
        if b"type='set'" in unit[:200] or b'type="set"' in unit[:200]:
            wire.write(b"<iq xmlns='jabber:client' type='result' id='%b' from='bob@bench.test/barn' to='%b'/>" % (
                ident, jid))

    async def _flood(self, wire: Stanzas | Frames, user: str) -> None:
        """More than anybody takes who does not read."""
        for number in range(FLOOD):
            wire.write(stanza(user, b"flood %d %b" % (number, b"z" * 900)))
            await wire.writer.drain()

    async def irc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Welcomes everybody."""
        wire, nick = Lines(reader, writer), b"*"
        while True:
            line = await wire.unit()
            verb, _, rest = line.strip().partition(b" ")
            if verb == b"NICK":
                nick = rest
            elif verb == b"USER":
                for words in (b"001 %b :Welcome", b"002 %b :Your host", b"422 %b :No message of the day"):
                    wire.write(b":irc.bench.test " + words % nick + b"\r\n")
            elif verb == b"PRIVMSG":
                self.arrived(wire, line, partial(privmsg, nick))
            elif verb == b"QUIT":
                return
            elif found := NUMBER.search(line):
                self.ledger.fault(f"no{int(found[1])}x came in a line of another kind: {line!r}")

    async def oscar(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tells everybody who he is."""
        wire = Flaps(reader, writer)
        hello = await wire.unit()
        name = hello[-8:].lstrip(b".").decode("latin-1")
        wire.write(b"\1\0\0\0\1")
        wire.write(b"\2" + struct.pack(">HHHI", 1, 15, 0, 1) + bytes([len(name)]) + name.encode("latin-1")
                   + struct.pack(">HHHHH", 0, 1, 1, 2, 0x10))
        while True:
            unit = await wire.unit()
            if unit.startswith(b"\4"):
                return
            if unit.startswith(b"\2\0\4\0\6"):
                self.arrived(wire, unit, lambda text: icbm(False, "amy", text.decode("latin-1")))

    async def upload(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes what is PUT (XEP-0363)."""
        wire = Stream(reader, writer)
        while True:
            while b"\r\n\r\n" not in wire.buffer:
                await wire.more()
            head, _, wire.buffer = wire.buffer.partition(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await wire.until(size)
            content, wire.buffer = wire.buffer[:size], wire.buffer[size:]
            self.taken("upload", content)
            wire.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    def taken(self, way: str, content: bytes) -> None:
        """A whole file has come; one without a byte is what is left of one that was refused."""
        if not content:
            self.ledger.counts[f"files came empty {way}"] += 1
            return
        kind = self.ledger.files.get(hashlib.sha256(content).hexdigest())
        if kind == "harmless":
            self.ledger.counts[f"files came {way}"] += 1
        else:
            self.ledger.fault(f"{way}: {'a harmful file came' if kind else 'a file came that nobody sent so'} "
                              f"({len(content)} bytes)")


async def put(port: int, host: str, content: bytes) -> str:
    """A file uploaded over HTTP: taken, refused, ended or unanswered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    try:
        head = b"PUT /file.bin HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n" % len(content)
        writer.write(head + content)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(b"\r\n\r\n")
        return "taken" if answer.startswith(b"HTTP/1.1 201 ") else "refused"
    except TimeoutError:
        return "unanswered"
    except (OSError, asyncio.IncompleteReadError):
        return "ended"
    finally:
        writer.close()
