"""A client and a server that compress (XEP-0138), a session of the engine between them, and what each of them reads.

Both write with zlib directly, in any style; what the gateway sends them is read with zlib and nothing of ours.
"""

from __future__ import annotations

import base64
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Any

from inspector.classify.probes import classifier
from inspector.engine.kit import HOLDING, Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Address,
    Chunk,
    Cut,
    Deliver,
    Effect,
    Flow,
    Hold,
    Input,
    Judge,
    Judged,
    Kept,
    Limits,
    Note,
    Rules,
    Scan,
    Secured,
    Send,
    Spool,
    StartTls,
    Unspool,
    Unspooled,
    WakeAt,
    Way,
    Woke,
)
from inspector.model.verdicts import FileReport
from inspector.protocols.xmpp import EDITS, SPEC
from tests.engine.toy import ToyPolicy, ToyScanner

AT = 1_000_000.0
STREAM = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
COMPRESS = "http://jabber.org/protocol/compress"
OFFER = "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>"
ASK = f"<compress xmlns='{COMPRESS}'><method>zlib</method></compress>"
ANSWER = f"<compressed xmlns='{COMPRESS}'/>"
ME = "alice@example.com/desk"
BOB = "bob@example.org/phone"
OPEN = frozenset(edit.name for edit in EDITS if edit.default) - {"xmpp.strip_compression"}
"""The edits of an operator who lets compression stand."""

Said = list[tuple[Way, str]]


def head(way: Way, ns: str = "jabber:client") -> str:
    who = "to='example.com'" if way is UP else "from='example.com' id='s-71'"
    return f"<?xml version='1.0'?><stream:stream {who} version='1.0' xmlns='{ns}' xmlns:stream='{STREAM}'>"


def features(*inner: str) -> str:
    return f"<stream:features>{''.join(inner)}</stream:features>"


HEADS: Said = [(UP, head(UP)), (DOWN, head(DOWN))]
PLAIN = base64.b64encode(b"\0alice\0pw").decode()
LOGIN: Said = [
    (DOWN, features(f"<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>", OFFER)),
    (UP, f"<auth xmlns='{SASL}' mechanism='PLAIN'>{PLAIN}</auth>"),
    (DOWN, f"<success xmlns='{SASL}'/>"), *HEADS,
]
BOUND: Said = [
    (DOWN, features(f"<bind xmlns='{BIND}'/>", "<sm xmlns='urn:xmpp:sm:3'/>", OFFER)),
    (UP, f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    (DOWN, f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
]


def chat(way: Way, text: str, ident: str = "m1") -> str:
    ends = f"to='{BOB}'" if way is UP else f"from='{BOB}' to='{ME}'"
    return f"<message {ends} id='{ident}' type='chat'><body>{text}</body></message>"


class Reader:
    """What one end reads: plain up to the switch, a zlib stream behind it."""

    def __init__(self) -> None:
        self.wire = b""
        self.words = b""
        self.inflate: zlib._Decompress | None = None

    def take(self, data: bytes) -> None:
        self.wire += data
        if self.inflate is not None:
            self.words += self.inflate.decompress(data)
            return
        self.words += data

    def switch(self) -> None:
        """From here on it is compressed."""
        assert self.inflate is None
        self.inflate = zlib.decompressobj()


class Peers:
    """The two ends and the session. Rows are kept, holds are stored and files judged clean at once."""

    def __init__(
        self, edits: Iterable[str] = OPEN, *, policy: ToyPolicy | None = None, limits: Limits | None = None,
        world: World | None = None, dry: bool = False, number: int = 0, port: int = 5222, archive: str = "none",
    ) -> None:
        self.limits = limits or Limits()
        self.world = world or World(self.limits)
        flow = Flow(f"f{number}", Address("10.0.0.1", 40000), Address("192.0.2.1", port), opened=AT)
        kit = Kit(classifier((SPEC,)), Rules(1, policy or ToyPolicy(), ToyScanner()), self.limits, archive=archive,
                  edits=frozenset(edits), specs={"xmpp": SPEC}, driver_can=HOLDING)
        self.session = Session(flow, kit, self.world, dry=dry)
        self.at = AT
        self.readers = {UP: Reader(), DOWN: Reader()}
        """Of what goes that way."""
        self.deflate: dict[Way, Any] = {}
        self.effects: list[Effect] = []
        self.rows: list[dict[str, Any]] = []
        self.spools: dict[str, list[Spool]] = {}
        self.over = False

    # -- what they say

    def feed(self, way: Way, data: bytes) -> bytes:
        """Bytes of the end that writes `way`; the words that the other end reads of it, and of what was said in
        answer to him."""
        before = len(self.readers[way].words)
        self.at += 0.001
        self.step(Chunk(way, self.at, data))
        return self.readers[way].words[before:]

    def say(self, way: Way, text: str | bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
        """The same with words: compressed once both have agreed."""
        return self.feed(way, self.pressed(way, text, flush))

    def pressed(self, way: Way, text: str | bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
        """What goes over the wire for them."""
        data = text.encode() if isinstance(text, str) else text
        deflate = self.deflate.get(way)
        return data if deflate is None else deflate.compress(data) + deflate.flush(flush)

    def talk(self, said: Iterable[tuple[Way, str]]) -> Peers:
        for way, text in said:
            self.say(way, text)
        return self

    def squeeze(self, behind: str = "") -> Peers:
        """Both agree to compress. `behind`: what the server says at once behind its word, in the same bytes."""
        assert self.say(UP, ASK) == ASK.encode()
        self.begin()
        data = ANSWER.encode() + (self.pressed(DOWN, behind) if behind else b"")
        got = self.feed(DOWN, data)
        assert got == ANSWER.encode() + behind.encode()
        return self

    def begin(self, level: int = 6) -> None:
        self.deflate = {way: zlib.compressobj(level) for way in (UP, DOWN)}

    def signed(self) -> Peers:
        """Logged in, compressed, bound."""
        self.talk([*HEADS, *LOGIN, (DOWN, features(OFFER))]).squeeze()
        return self.talk([*HEADS, *BOUND])

    # -- the driver's part

    def step(self, given: Input) -> None:
        waiting: deque[Input] = deque([given])
        while waiting and not self.over:
            for effect in self.session.step(waiting.popleft(), self.world):
                self.effects.append(effect)
                if isinstance(effect, Send):
                    self._send(effect)
                elif isinstance(effect, Note):
                    self.rows.append(effect.row)
                    if effect.durable:
                        waiting.append(Kept(effect.id, self.at))
                elif isinstance(effect, Hold | Deliver):
                    waiting.append(Kept(effect.id, self.at))
                elif isinstance(effect, Scan):
                    self.scanning(effect, waiting)
                elif isinstance(effect, Spool):
                    self.spools.setdefault(effect.file, []).append(effect)
                elif isinstance(effect, Judge):
                    waiting.append(Judged(effect.file, self.at, FileReport(size=1, sha256="0", sha1="0", md5="0")))
                elif isinstance(effect, Unspool):
                    held = b"".join(record.raw for record in self.spools.pop(effect.file, []))
                    waiting.append(Unspooled(effect.file, self.at, held, end=True))
                elif isinstance(effect, StartTls):
                    self.readers[DOWN].take(effect.proceed)
                    waiting.append(Secured(self.at))
                elif isinstance(effect, WakeAt):
                    if effect.at <= self.at:
                        waiting.append(Woke(self.at))
                elif isinstance(effect, Cut):
                    self.over = True

    def scanning(self, effect: Scan, waiting: deque[Input]) -> None:
        """What is done with a text that is scanned elsewhere: nothing, until a test says."""

    def _send(self, effect: Send) -> None:
        reader, data = self.readers[effect.way], effect.data
        if effect.way is DOWN and reader.inflate is None and self.deflate and ANSWER.encode() in data:
            plain, _, data = data.partition(ANSWER.encode())
            assert data == b"", "what is compressed is not sent together with what is not"
            reader.take(plain + ANSWER.encode())
            for each in self.readers.values():
                each.switch()
            return
        reader.take(data)

    def troubles(self) -> list[tuple[str, str | None]]:
        return [(row["name"], row["detail"]) for row in self.rows if row["event"] == "trouble"]

    def did(self) -> list[str]:
        return [row["did"] for row in self.rows if row["event"] == "verdict"]
