"""OSCAR: what is read out of frames, and how they are refused, masked, numbered and answered."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session as EngineSession
from inspector.engine.world import SharedMemory, World
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    CallSetup,
    Chunk,
    ContactChange,
    Encryption,
    Event,
    Expect,
    FileOffer,
    Flow,
    Frame,
    GroupChange,
    Input,
    Kept,
    Limits,
    Match,
    Message,
    Note,
    Notice,
    Opaque,
    Presence,
    Rules,
    Scan,
    Scanned,
    Send,
    SignOn,
    Text,
    Typing,
    Verdict,
    Way,
)
from inspector.protocols import oscar
from inspector.protocols.oscar import DROP_LYING, KEEP_PATH, NAME, SPEC, OscarDecoder, name_of, probe
from inspector.wire.tlv import first, pack, walk
from tests.engine.toy import ToyPolicy, ToyScanner
from tests.protocols.oscar_disguises import DISGUISES as DISGUISES

Said = list[tuple[Way, bytes]]
Item = tuple[Way, int, bytes]


# -- what peers write


def snac(family: int, sub: int, body: bytes = b"", request: int = 1, flags: int = 0) -> bytes:
    return struct.pack(">HHHI", family, sub, flags, request) + body


def flap(number: int, payload: bytes, channel: int = 2) -> bytes:
    return struct.pack(">BBHH", 0x2A, channel, number & 0xFFFF, len(payload)) + payload


def up(payload: bytes, channel: int = 2) -> Item:
    return (UP, channel, payload)


def down(payload: bytes, channel: int = 2) -> Item:
    return (DOWN, channel, payload)


def numbered(items: Sequence[Item], ups: int = 0x7FF0, downs: int = 0xFFF0) -> Said:
    """Frames with their numbers; both counters wrap in a longer talk."""
    counts = {UP: ups, DOWN: downs}
    said: Said = []
    for way, channel, payload in items:
        said.append((way, flap(counts[way], payload, channel)))
        counts[way] += 1
    return said


def s8(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return bytes([len(data)]) + data


def s16(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(data)) + data


def u16(number: int) -> bytes:
    return struct.pack(">H", number)


def info(name: str, *tlvs: bytes) -> bytes:
    return s8(name) + struct.pack(">HH", 0, len(tlvs)) + b"".join(tlvs)


def fragment(text: bytes, charset: int = 0) -> bytes:
    return struct.pack(">BBHHH", 1, 1, len(text) + 4, charset, 0) + text


def block(*fragments: bytes) -> bytes:
    return pack(2, b"\x05\x01\0\x01\x01" + b"".join(fragments))


COOKIE = b"1234567\0"


def im(to: str, *fragments: bytes, more: bytes = b"\0\3\0\0", request: int = 0x56, channel: int = 1) -> bytes:
    return snac(4, 6, COOKIE + u16(channel) + s8(to) + block(*fragments) + more, request)


def heard(sender: str, *fragments: bytes, more: bytes = b"") -> bytes:
    who = info(sender, pack(1, u16(0x10)), pack(3, b"\x55\x86\xc0\0"))
    return snac(4, 7, COOKIE + u16(1) + who + block(*fragments) + more, 0x80001234)


def guid(short: str) -> bytes:
    return bytes.fromhex(f"0946{short}4c7f11d18222444553540000")


CHAT = bytes.fromhex("748f2420628711d18222444553540000")
TRILLIAN = bytes.fromhex("f2e7c7f4fead4dfbb23536798bdf0000")


def proposal(service: bytes, *tlvs: bytes, status: int = 0, cookie: bytes = COOKIE) -> bytes:
    return pack(5, u16(status) + cookie + service + b"".join(tlvs))


def offered(to: str, service: bytes, *tlvs: bytes, status: int = 0, more: bytes = b"\0\3\0\0") -> bytes:
    return snac(4, 6, COOKIE + u16(2) + s8(to) + more + proposal(service, *tlvs, status=status), 0x77)


def offer(sender: str, service: bytes, *tlvs: bytes, status: int = 0) -> bytes:
    return snac(4, 7, COOKIE + u16(2) + info(sender, pack(1, u16(0x10))) + proposal(service, *tlvs, status=status),
                0x80001235)


def file_tlvs(name: bytes = b"recipe of soup.txt", size: int = 12008, number: int = 1) -> tuple[bytes, ...]:
    return (
        pack(0x0A, u16(number)), pack(0x0F, b""), pack(0x02, b"\0\0\0\0"), pack(0x03, b"\x0a\0\0\x05"),
        pack(0x04, b"\xc0\0\2\x09"), pack(0x05, u16(5190)),
        pack(0x2711, struct.pack(">HHI", 1, 1, size) + name + b"\0"),
    )


def relay(text: bytes, kind: int = 1, guid_text: bytes = b"", flags: int = 0, plugin: bytes = bytes(16)) -> bytes:
    head = struct.pack("<HH", 0x1B, 8) + plugin + bytes(9) + struct.pack("<H", 0x0E) + bytes(14)
    head += struct.pack("<BBHHH", kind, flags, 0, 1, len(text) + 1) + text + b"\0"
    if kind == 1:
        head += struct.pack("<II", 0, 0xFFFFFF)
    if guid_text:
        head += struct.pack("<I", len(guid_text)) + guid_text
    return head


UTF8 = b"{0946134E-4C7F-11D1-8222-444553540000}"
RTF = b"{97B12751-243C-4334-AD22-D6ABF73F1492}"


def icq4(uin: int, text: bytes, kind: int = 1, flags: int = 0) -> bytes:
    return pack(5, struct.pack("<IBBH", uin, kind, flags, len(text) + 1) + text + b"\0")


def icq(type_: int, body: bytes, uin: int = 123456) -> bytes:
    block_ = struct.pack("<IHH", uin, type_, 2) + body
    return pack(1, struct.pack("<H", len(block_)) + block_)


def stored(sender: int, text: bytes) -> bytes:
    return icq(0x41, struct.pack("<IHBBBBBBH", sender, 2003, 5, 17, 9, 30, 1, 0, len(text) + 1) + text + b"\0")


def room_words(text: bytes, *tlvs: bytes, sender: bytes = b"", charset: bytes = b"us-ascii") -> bytes:
    words = pack(5, pack(2, charset) + pack(3, b"en") + pack(1, text))
    return COOKIE + u16(3) + (pack(3, sender) if sender else b"") + pack(1, b"") + b"".join(tlvs) + words


def item(name: str, kind: int = 0, *attributes: bytes) -> bytes:
    return s16(name) + struct.pack(">HHH", 1, 7, kind) + s16(b"".join(attributes))


TICKET = b"\xc0\xff\xee" * 60
HELLO = b"\0\0\0\1"
HTML = b'<HTML><BODY BGCOLOR="#ffffff"><FONT FACE="Arial">%s</FONT></BODY></HTML>'

LOGIN: list[Item] = [
    down(HELLO, 1), up(HELLO, 1),
    up(snac(0x17, 6, pack(1, b"Alice Adams") + pack(0x4B, b""), 1)),
    down(snac(0x17, 7, s16("3141592653"), 1)),
    up(snac(0x17, 2, pack(1, b"Alice Adams") + pack(0x25, b"0123456789abcdef") + pack(0x4C, b""), 2)),
    down(snac(0x17, 3, pack(1, b"Alice Adams") + pack(5, b"bos.example.net:5191") + pack(6, TICKET), 2)),
    down(b"", 4),
]
BOS: list[Item] = [
    down(HELLO + b"\x80\1\0\4\0\0\0\2", 1), up(HELLO + pack(6, TICKET), 1),
    down(snac(1, 3, u16(1) + u16(4), 0x80000001)),
    up(snac(1, 0x17, u16(1) + u16(4), 0x17)),
    down(snac(1, 0x13, u16(5) + pack(0x0B, b"Mind the step."), 0x80000002)),
    down(snac(1, 0x0F, info("Alice Adams", pack(1, u16(0x10))), 0)),
    up(snac(1, 2, struct.pack(">HHHH", 1, 4, 0x110, 1), 2)),
]
CHATTER: list[Item] = [
    *BOS,
    down(snac(3, 0x0B, info("bob", pack(1, u16(0x10)), pack(4, u16(12)))
              + info("Carol", pack(1, u16(0x30)), pack(0x1D, u16(2) + b"\4\x0e" + s16("in the shed!"))))),
    up(snac(4, 0x14, bytes(8) + u16(1) + s8("Bob") + u16(2))),
    up(im("Bob", fragment(b"the secret plan of the garden"))),
    down(snac(4, 0x0C, COOKIE + u16(1) + s8("bob"), 0x56)),
    down(heard("bob", fragment(HTML % b"thanks &amp; <B>see</B> you<BR>at <A HREF=\"http://x.example/?a=1&amp;b=2\">x</A>"))),
    up(im("bob", fragment("schöne Grüße an alle".encode("utf-16-be"), 2))),
    up(im("bob", fragment(b"first half and "), fragment("zweite Hälfte".encode("latin-1"), 3))),
    down(heard("bob", fragment("wörter in utf-8 geschrieben".encode(), 0x0D), more=pack(0x16, b"\x55\x86\xc0\0"))),
    up(im("bob", fragment(b"am away, back soon"), more=b"\0\4\0\0")),
    up(snac(2, 4, pack(1, b'text/aolrtf; charset="us-ascii"') + pack(2, b"<HTML>I grow tulips</HTML>")
            + pack(3, b'text/aolrtf; charset="unicode-2-0"') + pack(4, "bin im Gewächshaus".encode("utf-16-be")))),
    down(snac(2, 6, info("bob", pack(1, u16(0x10))) + pack(3, b"text/aolrtf") + pack(4, b"<B>mowing</B> the lawn"))),
    up(snac(2, 4, pack(5, guid("1343") + guid("0001")))),
    up(snac(1, 0x1E, pack(0x1D, u16(2) + b"\4\x12" + s16("watering them"[:14]) + b"\0\0\0"))),
    up(snac(0x13, 8, item("Dave", 0, pack(0x131, "Dave der Gärtner".encode()), pack(0x13C, b"met on Sunday")), 9)),
    down(snac(0x13, 0x0E, u16(0), 9)),
    up(snac(0x13, 8, item("mallory", 3) + item("trent", 2), 10)),
    up(snac(0x13, 0x18, s8("dave") + s16("please let me see you") + u16(0), 11)),
    down(snac(0x13, 0x1B, s8("dave") + b"\0" + s16("rather not, sorry"))),
    up(offered("bob", guid("1343"), *file_tlvs())),
    down(offer("bob", guid("1343"), *file_tlvs(), status=2)),
    down(offer("bob", guid("1345"), *file_tlvs()[:6])),
    down(offer("bob", CHAT, pack(0x0A, u16(1)), pack(0x0C, b"come to the garden room"), pack(0x0D, b"us-ascii"),
               pack(0x2711, u16(4) + s8("!aol://2719:10-4-garden") + u16(0)))),
    down(snac(4, 1, u16(4) + pack(0x1B, b"not logged on here"), 0x57)),
    up(snac(3, 4, s8("erin") + s8("frank"))), up(snac(9, 7, s8("mallory"))),
    down(snac(3, 0x0C, info("bob", pack(1, u16(0))))),
    up(b"", 5), down(b"", 5),
    up(b"", 4),
]
ICQ: list[Item] = [
    down(HELLO, 1), up(HELLO + pack(1, b"123456") + pack(2, b"\x86\x54\xe2\xb5") + pack(3, b"ICQ Inc."), 1),
    down(snac(1, 0x0F, info("123456", pack(1, u16(0x50)), pack(6, b"\0\0\0\1")), 0)),
    up(snac(1, 2, b"", 2)),
    up(snac(0x15, 2, icq(0x3C, b""), 0x10002)),
    down(snac(0x15, 3, stored(654321, "привет из теплицы".encode("cp1251")), 0x10002, 1)),
    down(snac(0x15, 3, stored(654322, b"the tulips need water"), 0x10002, 1)),
    down(snac(0x15, 3, icq(0x42, b"\0"), 0x10002)),
    up(im("654321", fragment("вечером приду".encode("cp1251"), 3))),
    up(im("654321", fragment(b"if a <b then c & d"))),
    down(snac(4, 7, COOKIE + u16(4) + info("654321", pack(1, u16(0x50)))
              + icq4(654321, b"look at this page\xfehttp://tulips.example/", 4))),
    up(snac(4, 6, COOKIE + u16(4) + s8("654321") + icq4(123456, b"an old kind of message"), 0x60)),
    down(offer("654321", guid("1349"), pack(0x0A, u16(1)), pack(0x2711, relay("через сервер".encode(), 1, UTF8)))),
    down(offer("654321", guid("1349"), pack(0x0A, u16(1)), pack(0x2711, relay(b"{\\rtf1 some words here}", 1, RTF)))),
    up(snac(4, 0x0B, COOKIE + u16(2) + s8("654321") + u16(3) + relay(b"gone to the market", 0xE8, flags=3))),
    down(snac(4, 7, COOKIE + u16(4) + info("654321", pack(1, u16(0x50)))
              + icq4(654321, b"rose\xfeRosa\xfeRed\xferosa@x.example\xfe1\xfelet me in please", 6))),
    up(snac(0x15, 2, icq(0x7D0, u16(0x8214) + b"\0\1\0\x16" + bytes(14)
                         + b"<icq_sms_message><destination>+15550100</destination><text>call me back soon</text>"
                           b"<encoding>utf8</encoding></icq_sms_message>"), 3)),
    up(snac(0x15, 2, icq(0x7D0, struct.pack("<HH", 0x42E, 7) + b"geheim\0"), 4)),
    up(snac(0x15, 2, icq(0x7D0, struct.pack("<HH", 0x406, 20) + b"I like flower beds.\0"), 5)),
]
ROOM: list[Item] = [
    down(HELLO, 1), up(HELLO + pack(6, b"room ticket"), 1),
    up(snac(1, 2, b"", 2)),
    down(snac(0x0E, 2, u16(4) + s8("!aol://2719:10-4-garden") + u16(0) + b"\2" + u16(0))),
    down(snac(0x0E, 3, info("alice", pack(1, u16(0x10))) + info("bob", pack(1, u16(0x10))))),
    up(snac(0x0E, 5, room_words(b"<HTML>what a lovely room</HTML>", pack(6, b"")), 7)),
    down(snac(0x0E, 6, room_words("grüß euch alle".encode("utf-16-be"), sender=info("bob", pack(1, u16(0x10))),
                                  charset=b"unicode-2-0"))),
    down(snac(0x0E, 4, info("bob", pack(1, u16(0x10))))),
    up(b"", 4),
]
TALKS: dict[str, Said] = {
    "login": numbered(LOGIN), "chatter": numbered(CHATTER), "icq": numbered(ICQ), "room": numbered(ROOM),
    "joined": [
        *numbered(BOS),
        (UP, b"".join(data for _, data in numbered([up(im("bob", fragment(b"good morning all")))] * 2, 0x7FF3))),
        (DOWN, b"".join(data for _, data in numbered([down(heard("bob", fragment(b"and to you")))] * 3, 0, 0xFFF4))),
    ],
}


# -- a session between two strict peers


class Session:
    """A decoder after a sign-on; what it sends is read by peers that check each number."""

    def __init__(
        self, before: Sequence[Item] = BOS, edits: frozenset[str] = frozenset(),
        memory: SharedMemory | None = None, from_start: bool = True,
    ) -> None:
        self.memory = SharedMemory(100) if memory is None else memory
        flow = Flow("f", Address("10.0.0.5", 40000), Address("192.0.2.1", 5190), opened=1.0, from_start=from_start)
        self.decoder = OscarDecoder(flow, Limits(), self.memory, edits)
        self.numbers = {UP: 10, DOWN: 0xFFFE}
        self.seen: dict[Way, int | None] = {UP: None, DOWN: None}
        self.at = 100.0
        self.ticket = b""
        self.events: list[Event] = []
        self.expects: list[Expect] = []
        for way, channel, payload in before:
            self.say(way, payload, channel=channel)

    def write(self, way: Way, payload: bytes, channel: int = 2) -> bytes:
        """The next frame of a peer."""
        data = flap(self.numbers[way], payload, channel)
        self.numbers[way] += 1
        return data

    def feed(self, way: Way, data: bytes) -> list[Frame]:
        frames = self.decoder.feed(Chunk(way, self.at, data))
        self.events += [event for frame in frames for event in frame.events]
        return frames

    def apply(self, frame: Frame, verdict: Verdict = PASSED) -> list[tuple[Way, int, bytes]]:
        """(way, channel, payload) of what is sent; the numbers are checked."""
        sent: list[tuple[Way, int, bytes]] = []
        acts: list[Act] = self.decoder.apply(frame, tuple(verdict for _ in frame.events))
        for act in acts:
            if isinstance(act, Send):
                sent.append((act.way, *self.check(act)))
            elif isinstance(act, Expect):
                self.expects.append(act)
        return sent

    def check(self, act: Send) -> tuple[int, bytes]:
        """(channel, payload) of one frame in its turn."""
        star, channel, number, length = struct.unpack_from(">BBHH", act.data)
        assert (star, length) == (0x2A, len(act.data) - 6)
        last = self.seen[act.way]
        assert last is None or number == (last + 1) & 0xFFFF
        self.seen[act.way] = number
        return channel, act.data[6:]

    def say(
        self, way: Way, payload: bytes, verdict: Verdict = PASSED, channel: int = 2,
    ) -> list[tuple[Way, int, bytes]]:
        """One frame, judged and passed on."""
        (frame,) = self.feed(way, self.write(way, payload, channel))
        return self.apply(frame, verdict)


class Leases(SharedMemory):
    """A decoders' memory whose listener leases these addresses, one after the other; None is left when none is."""

    def __init__(self, *addresses: Address) -> None:
        super().__init__(100)
        self.addresses = list(addresses)
        self.leased: list[tuple[Expect, Way]] = []

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        assert at
        self.leased.append((expect, way))
        return self.addresses.pop(0) if self.addresses else None


PATH = frozenset({KEEP_PATH})


def event_of(payload: bytes, way: Way = UP, before: Sequence[Item] = BOS) -> Event:
    """The one event of a SNAC."""
    session = Session(before)
    (frame,) = session.feed(way, session.write(way, payload))
    (event,) = frame.events
    assert [odd.name for odd in frame.oddities] == []
    return event


def plain(event: Event, part: str = "body") -> list[str]:
    return [text.plain for text in event.texts if text.part == part]


def message(payload: bytes, way: Way = UP, before: Sequence[Item] = BOS) -> Message:
    event = event_of(payload, way, before)
    assert isinstance(event, Message)
    return event


BLOCK = Verdict(Action.BLOCK, "r", reference="ABCD-EFGH", notice="Refused, reference ABCD-EFGH.")
SILENT = Verdict(Action.BLOCK, "r", reference="ABCD-EFGH")
PLACEHOLDER = Verdict(Action.BLOCK, "r", placeholder="[removed <by> policy & co, ABCD-EFGH]")
WARN = Verdict(Action.WARN, "r", notice="Against policy.")


def stars(*masks: tuple[int, int, int]) -> Verdict:
    return Verdict(Action.REDACT, "r", masks=masks)


def head(payload: bytes) -> tuple[int, int, int]:
    """(family, subtype, request id)."""
    family, sub, _, request = struct.unpack_from(">HHHI", payload)
    return family, sub, request


# -- who is who


def test_login_is_claimed_then_authenticated_and_the_cookie_is_remembered() -> None:
    """BUCP: claimed by 17/06, authenticated by the cookie of 17/03; the redirect is expected and knows its user."""
    session = Session(LOGIN)
    assert session.events == [
        SignOn(user="aliceadams", identity="claimed", mechanism="bucp-md5"),
        SignOn(user="aliceadams", identity="authenticated", mechanism="login"),
    ]
    (expect,) = session.expects
    assert (expect.address, expect.what, expect.by) == ("bos.example.net:5191", "oscar", "aliceadams")
    assert expect.key
    assert TICKET.hex() not in expect.key
    second = Session(BOS[:2], memory=session.memory)
    assert second.events == [SignOn(user="aliceadams", identity="authenticated", mechanism="cookie")]


def test_an_unknown_cookie_waits_for_self_info() -> None:
    """Without the login only 01/0F says who it is; said again it is no news, another name is."""
    session = Session(BOS[:4])
    assert session.events == []
    for name in ("Alice Adams", "aliceadams", "Bob"):
        session.say(DOWN, snac(1, 0x0F, info(name), 0))
    assert [(e.user, e.identity, e.mechanism) for e in session.events if isinstance(e, SignOn)] == [
        ("aliceadams", "authenticated", "01/0F"), ("bob", "authenticated", "01/0F")]


def test_roasted_login_and_its_answer_on_channel_4() -> None:
    """The name is claimed in the hello, authenticated by the cookie of the closing frame; no password anywhere."""
    session = Session(ICQ[:2])
    closing = pack(1, b"123456") + pack(5, b"192.0.2.7") + pack(6, TICKET)
    session.say(DOWN, closing, channel=4)
    assert session.events == [
        SignOn(user="123456", identity="claimed", mechanism="roasted"),
        SignOn(user="123456", identity="authenticated", mechanism="login"),
    ]
    assert [e.address for e in session.expects] == ["192.0.2.7:5190"]
    assert not session.decoder.ready(DOWN)


def test_a_refused_login_authenticates_nobody() -> None:
    """Without a cookie there is no redirect and no proof."""
    session = Session([*LOGIN[:5], down(snac(0x17, 3, pack(1, b"Alice Adams") + pack(8, u16(5)), 2))])
    assert [e.identity for e in session.events if isinstance(e, SignOn)] == ["claimed"]
    assert session.expects == []


def test_a_service_connection_knows_user_and_room() -> None:
    """01/04 names the room, 01/05 gives the cookie; the connection that shows it belongs to that user and room."""
    session = Session()
    session.say(UP, snac(1, 4, u16(0x0E) + pack(1, u16(4) + s8("!aol://2719:10-4-garden") + u16(0)), 77))
    reply = pack(0x0D, u16(0x0E)) + pack(5, b"chat.example.net") + pack(6, b"room ticket")
    session.say(DOWN, snac(1, 5, reply, 77))
    assert session.expects[-1].address == "chat.example.net:5190"
    room = Session(ROOM[:3], memory=session.memory)
    room.say(UP, snac(0x0E, 5, room_words(b"hello you all"), 7))
    assert room.events == [
        SignOn(user="aliceadams", identity="authenticated", mechanism="cookie"),
        Message(sender="aliceadams", recipients=("!aol://2719:10-4-garden",), conversation="!aol://2719:10-4-garden",
                texts=(Text("body", "hello you all"),), id=COOKIE.hex()),
    ]


@pytest.mark.parametrize("way", [UP, DOWN])
def test_who_closes_has_parted(way: Way) -> None:
    """Channel 4 of either side: nothing is released behind it. A keep-alive is none."""
    session = Session()
    session.feed(way, session.write(way, b"", 5))
    assert not session.decoder.parted
    session.feed(way, session.write(way, b"", 4))
    assert session.decoder.parted


def test_words_of_a_room_are_released_in_that_room_only() -> None:
    """A user may be in several rooms, each with its own connection; what waited from one is not said in another."""
    room = Session(ROOM[:5])
    frame, = room.feed(UP, room.write(UP, snac(0x0E, 5, room_words(b"hello you all"), 7)))
    kept = room.decoder.keep([frame], 0)
    assert kept is not None
    assert Session(ROOM[:6]).decoder.release(kept, UP)
    cellar = down(snac(0x0E, 2, u16(4) + s8("!aol://2719:10-4-cellar") + u16(0) + b"\2" + u16(0)))
    other = [*ROOM[:3], cellar, *ROOM[4:6]]
    assert Session(other).decoder.release(kept, UP) is None
    assert Session().decoder.release(kept, UP) is None
    assert Session(ROOM[:6]).decoder.release(kept[:5], UP) is None


def test_migration_is_a_redirect() -> None:
    """01/12 has a list of families in front of its host and cookie."""
    session = Session()
    session.say(DOWN, snac(1, 0x12, u16(2) + u16(1) + u16(4) + pack(5, b"bos2.example.net:443") + pack(6, b"new")))
    assert session.expects[-1].address == "bos2.example.net:443"


def redirect(host: bytes, *more: bytes) -> bytes:
    """17/03 with a host, a cookie and more."""
    return snac(0x17, 3, pack(1, b"Alice Adams") + pack(5, host) + pack(6, TICKET) + b"".join(more), 2)


@pytest.mark.parametrize(
    ("before", "payload", "channel", "address"),
    [
        (LOGIN[:5], redirect(b"bos.example.net:5191"), 2, "bos.example.net:5191"),
        (LOGIN[:5], redirect(b"bos.example.net"), 2, "bos.example.net:5190"),
        (ICQ[:2], pack(1, b"123456") + pack(5, b"192.0.2.7:443") + pack(6, TICKET), 4, "192.0.2.7:443"),
        (BOS, snac(1, 5, pack(0x0D, u16(0x0E)) + pack(5, b"chat.example.net:23") + pack(6, TICKET), 9, 0), 2,
         "chat.example.net:23"),
        (BOS, snac(1, 5, u16(6) + pack(1, u16(3)) + pack(5, b"chat.example.net:23") + pack(6, TICKET), 9, 0x8000), 2,
         "chat.example.net:23"),
        (BOS, snac(1, 0x12, u16(1) + u16(4) + pack(5, b"new.example.net:80") + pack(6, TICKET)), 2,
         "new.example.net:80"),
    ],
)
def test_redirects_lead_to_leased_ports(before: Sequence[Item], payload: bytes, channel: int, address: str) -> None:
    """Every redirect, its lengths true again; the lease knows the real place, the user, and the cookie's hash."""
    memory = Leases(Address("203.0.113.4", 9401))
    session = Session(before, edits=PATH, memory=memory)
    ((way, _, sent),) = session.say(DOWN, payload, channel=channel)
    ((expect, reader),) = memory.leased
    assert (way, reader, expect.what, expect.address, expect.flow) == (DOWN, DOWN, "oscar", address, "f")
    assert expect in session.expects
    assert expect.by in ("aliceadams", "123456")
    again = Session(before)
    again.say(DOWN, sent, channel=channel)
    assert [e.address for e in again.expects] == ["203.0.113.4:9401"]
    host = address.encode() if address.encode() in payload else b"bos.example.net"
    assert sent == payload.replace(pack(5, host), pack(5, b"203.0.113.4:9401"))


def test_without_a_lease_a_redirect_is_left_alone() -> None:
    """No port is free, or the connection passes through us anyway; with the edit off nobody is asked."""
    payload = redirect(b"bos.example.net:5191")
    memory = Leases()
    assert Session(LOGIN[:5], edits=PATH, memory=memory).say(DOWN, payload) == [(DOWN, 2, payload)]
    assert len(memory.leased) == 1
    memory = Leases(Address("203.0.113.4", 9401))
    assert Session(LOGIN[:5], memory=memory).say(DOWN, payload) == [(DOWN, 2, payload)]
    assert memory.leased == []


@pytest.mark.parametrize("host", [b"", b":5190", b"bos:0", b"bos:99999", b"a b:5190", b"bos\r\n:5190", b"x" * 300])
def test_an_address_that_is_none_is_told(host: bytes) -> None:
    """Nothing is expected there, nothing leased."""
    memory = Leases(Address("203.0.113.4", 9401))
    session = Session(LOGIN[:5], edits=PATH, memory=memory)
    (frame,) = session.feed(DOWN, session.write(DOWN, redirect(host)))
    assert [o.name for o in frame.oddities] == ["oscar.redirect"]
    assert len(session.apply(frame)) == 1
    assert (session.expects, memory.leased) == ([], [])


def test_every_host_of_a_redirect_is_ours() -> None:
    """Readers differ in which of two they take."""
    session = Session(LOGIN[:5], edits=PATH, memory=Leases(Address("203.0.113.4", 9401)))
    ((_, _, sent),) = session.say(DOWN, redirect(b"one.example.net:1", pack(5, b"two.example.net:2")))
    assert sent.count(b"203.0.113.4:9401") == 2
    assert b"example.net" not in sent


@pytest.mark.parametrize(
    ("more", "added"),
    [((pack(0x8E, b"\2"),), True), ((pack(0x8E, b"\2"), pack(0x8D, b"bos.example.net")), False),
     ((pack(0x8E, b"\0"),), False), ((), False)],
)
def test_a_redirect_to_tls_keeps_the_name_of_the_certificate(more: tuple[bytes, ...], added: bool) -> None:
    """TLS stays TLS on both legs; the client must ask for the real server's name, not for that of our address."""
    session = Session(LOGIN[:5], edits=PATH, memory=Leases(Address("203.0.113.4", 9401)))
    ((_, _, sent),) = session.say(DOWN, redirect(b"bos.example.net:5191", *more))
    assert (pack(0x8D, b"bos.example.net") in sent) is (added or len(more) == 2)
    tlvs, true = walk(sent, 10, len(sent))
    assert true
    assert [kind for kind, _, _ in tlvs].count(0x8D) == (added or len(more) == 2)


def leased_session(ticket: bytes = TICKET, memory: SharedMemory | None = None) -> Session:
    """A connection to a port that was leased for the holder of a cookie."""
    session = Session([], memory=memory)
    announced = Session(LOGIN)
    expect = announced.expects[0]
    assert expect.key == oscar._hash(TICKET)
    flow = Flow("g", Address("10.0.0.5", 40001), Address("192.0.2.1", 5191), opened=1.0, expected=expect)
    session.decoder = OscarDecoder(flow, Limits(), session.memory, frozenset())
    session.ticket = HELLO + pack(6, ticket)
    return session


def test_a_leased_connection_is_confirmed_by_its_cookie() -> None:
    """The right one goes on, and its user is known even where the memory of the login is lost."""
    session = leased_session()
    session.say(DOWN, HELLO, channel=1)
    session.say(UP, session.ticket, channel=1)
    assert session.events == [SignOn(user="aliceadams", identity="authenticated", mechanism="cookie")]
    session.say(UP, im("bob", fragment(b"hello")))


@pytest.mark.parametrize(
    ("hello", "channel"),
    [(HELLO + pack(6, b"another ticket"), 1), (HELLO, 1), (HELLO + pack(1, b"bob") + pack(2, b"x"), 1), (b"", 1),
     (im("bob", fragment(b"hello")), 2), (HELLO + pack(6, TICKET), 2), (HELLO + pack(6, TICKET), 4)],
)
def test_a_leased_connection_of_somebody_else_is_broken(hello: bytes, channel: int) -> None:
    """Another cookie, none, another login, no hello at all: nothing of it is passed on, and no cookie is told."""
    session = leased_session()
    data = flap(1, hello, channel) + flap(2, im("bob", fragment(b"hello")))
    for cut in (len(data), 1):
        session = leased_session()
        frames = [f for i in range(0, len(data), cut) for f in session.feed(UP, data[i:i + cut])]
        assert frames[0].kind == BROKEN
        assert frames[0].fault is not None
        assert frames[0].fault.name == "oscar.cookie"
        assert "ticket" not in repr(frames[0].fault)
        assert all(f.events == () for f in frames)


def test_no_secret_reaches_an_event_or_an_oddity() -> None:
    """Passwords, digests and cookies of every login, also broken ones."""
    said = [*LOGIN, *BOS, *ICQ]
    for cut in (0, 1, 5):
        for way, channel, payload in said:
            session = Session(before=[])
            frames = session.feed(way, session.write(way, payload[:len(payload) - cut], channel))
            for frame in frames:
                told = repr((frame.events, frame.oddities, frame.fault, frame.kind))
                for secret in ("c0ffee", "\\xc0\\xff\\xee", "0123456789abcdef", "geheim", "\\x86T"):
                    assert secret not in told


# -- messages


@pytest.mark.parametrize(
    ("fragments", "want"),
    [
        ([fragment(b"plain words")], "plain words"),
        ([fragment(b"&gt;:-) no tag at all")], ">:-) no tag at all"),
        ([fragment("grüße".encode("cp1252"))], "grüße"),
        ([fragment("grüße".encode())], "grüße"),
        ([fragment("grüße \U0001f337".encode("utf-16-be"), 2)], "grüße \U0001f337"),
        ([fragment("grüße".encode("utf-16-be") + b"x", 2)], "grüße"),
        ([fragment("grüße".encode("latin-1"), 3)], "grüße"),
        ([fragment("grüße".encode(), 0x0D)], "grüße"),
        ([fragment("grüße".encode("latin-1"), 0x0D)], "grüße"),
        ([fragment("grüße".encode(), 0x77)], "grüße"),
        ([fragment(b"\x81\x8d\xfe")], "\x81\x8dþ"),
        ([fragment(b"\xd8\0\0a", 2)], "\ufffda"),
        ([fragment(b"\0s\0e\0c\0r\0e\0t")], "secret"),
        ([fragment(b"one "), fragment("zwei ".encode("utf-16-be"), 2), fragment(b"three")], "one zwei three"),
        ([fragment(HTML % b"a<BR>b &amp; <I>c</I>")], "a\nb & c"),
        ([fragment(b"<HTML><BODY><HTML><BODY>twice</BODY></HTML></BODY></HTML>")], "twice"),
        ([fragment(b"pur<x>ple")], "purple"),
    ],
)
def test_texts_of_channel_1(fragments: list[bytes], want: str) -> None:
    """Every charset, wrong labels, several fragments, HTML and its lack."""
    event = message(im("Bob", *fragments))
    assert plain(event) == [want]
    assert (event.sender, event.recipients, event.conversation) == ("aliceadams", ("bob",), "bob")


def test_nul_in_front_of_some_letters_may_be_utf_16() -> None:
    """Clients that leave NUL out read one text, clients that take it for UTF-16 another one: both are looked at."""
    assert plain(message(im("Bob", fragment(b"se\0cr\0et")))) == ["secret", "\u7365c\u7200\u6574"]


def test_every_block_and_every_hidden_corner_is_read() -> None:
    """A second text block, links, comments and unknown tags are texts of the event."""
    two = message(im("bob", fragment(b"harmless"), more=block(fragment(b"the other one"))))
    assert plain(two) == ["harmless", "the other one"]
    event = message(im("bob", fragment(b'<A HREF="http://x.example/">x</A><!-- deep --><q word>y')))
    assert plain(event) == ["xy"]
    assert plain(event, "url") == ["http://x.example/"]
    assert [(t.plain, t.editable) for t in event.texts if t.part == "markup"] == [("-- deep -- word", False)]


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (HTML % b"plain <B>words</B> &amp; more", None), (b"&gt;:-)", None), (b"I <3 you", None),
        (b"one<BR>two", "one<BR>two"), (b"&lt;b&gt;", "&lt;b&gt;"), (b"a&nbsp;b", "a&nbsp;b"),
    ],
)
def test_what_the_wire_has_is_kept_where_showing_it_loses_something(words: bytes, written: str | None) -> None:
    """Breaks, brackets and other references: evidence of the markup; tags that only format are no loss."""
    assert message(im("bob", fragment(words))).written == written
    assert message(snac(0x0E, 5, room_words(words))).written == written


def test_half_a_character_is_no_loss_of_markup() -> None:
    """A lone surrogate cannot be written in the log: what is shown instead is what the wire has, too."""
    assert message(im("bob", fragment(b"\0g\0o\xd8\0 <", 2))).written is None
    assert message(im("bob", fragment(b"\0g\0o\xd8\0", 2), fragment(b"\0!", 2))).written is None


def test_proposals_wait_for_the_sign_on() -> None:
    """What is for a person is marked so, whatever it is."""
    event = event_of(offered("bob", bytes(16), pack(0x0C, b"words")))
    assert isinstance(event, Opaque)
    assert event.personal


def test_icq_texts_are_not_html_unless_they_say_so() -> None:
    """Between two numbers a bracket is a bracket; Russian is Windows-1251."""
    assert plain(message(im("654321", fragment(b"if a <b then")), before=ICQ[:4])) == ["if a <b then"]
    assert plain(message(im("654321", fragment(HTML % b"yes &amp; no")), before=ICQ[:4])) == ["yes & no"]
    assert plain(message(im("654321", fragment("вечер".encode("cp1251"), 3)), before=ICQ[:4])) == ["вечер"]


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        (b"?OTR:AAMDJ+MVmSfjFZcAAAAAAQ.", "otr"), (b"-----BEGIN PGP MESSAGE-----", "openpgp"),
        (b"Content-Type: application/pkcs7-mime; name=x", "secureim"), (b"*** Encrypted :x", "pidgin-encryption"),
        (b"words", None),
    ],
)
def test_encrypted_texts_are_told(text: bytes, scheme: str | None) -> None:
    """By the way they begin."""
    assert message(im("bob", fragment(text))).encryption.scheme == scheme


@pytest.mark.parametrize(("service", "scheme"), [(guid("0001"), "secureim"), (TRILLIAN, "trilliancrypt")])
def test_key_exchanges_are_told(service: bytes, scheme: str) -> None:
    """SecureIM and TrillianCrypt begin with a proposal of their own."""
    event = event_of(offered("bob", service))
    assert isinstance(event, Opaque)
    assert event.encryption == Encryption("none", scheme)


def test_the_ability_to_encrypt_is_told_and_can_be_taken_away() -> None:
    """SecureIM among the capabilities: an event; refused, the list goes on without it."""
    session = Session()
    payload = snac(2, 4, pack(5, guid("1343") + guid("0001") + guid("1345")))
    assert session.say(UP, payload, SILENT) == [(UP, 2, snac(2, 4, pack(5, guid("1343") + guid("1345"))))]
    assert session.events[-1] == Opaque(
        kind="capability", sender="aliceadams", id="secureim", encryption=Encryption("none", "secureim"))


def test_marks_of_a_message() -> None:
    """An automatic answer cannot be noticed; a stored one has its time; the id is the cookie."""
    auto = message(im("bob", fragment(b"away"), more=b"\0\4\0\0"))
    assert (auto.kind, auto.answerable, auto.id) == ("auto_response", False, COOKIE.hex())
    late = message(heard("Bob B", fragment(b"late"), more=b"\0\6\0\0" + pack(0x16, b"\x55\x86\xc0\0")), DOWN)
    assert (late.sender, late.recipients, late.sent_at) == ("bobb", ("aliceadams",), 1434894336.0)


def test_the_sender_of_a_flow_joined_late_is_not_guessed() -> None:
    """Without a sign-on the own name is not known."""
    assert message(im("bob", fragment(b"x")), before=[up(HELLO, 1)]).sender is None
    assert message(heard("bob", fragment(b"x")), DOWN, before=[down(HELLO, 1)]).recipients == ()


@given(
    way=st.sampled_from((UP, DOWN)), name=st.sampled_from(("bob", "654321", "B ob")),
    user=st.sampled_from((BOS, ICQ[:4], [])), charset=st.sampled_from((0, 2, 3, 0x0D, 0x102)),
    text=st.lists(st.sampled_from((b"a", b"<b>", b"<br>", b"&amp;", b"\0", b"\xe4", b"\xd8\0", b"<", b"<a href=x>",
                                   b"?OTR", b"<x y>")), max_size=6),
    more=st.sampled_from((b"", b"\0\3\0\0", b"\0\4\0\0", b"\0\x16\0\4\0\0\0\1", b"\1\2\0\0", b"\0", b"\0\2\0\0",
                          b"\0\2\0\x09\1\1\0\5\0\0\0\0x", b"\0\3\0\x09")),
)
def test_the_short_way_says_what_the_long_one_says(
    way: Way, name: str, user: Sequence[Item], charset: int, text: list[bytes], more: bytes,
) -> None:
    """Whatever the message, reading it with and without the short way gives the same events."""
    words = fragment(b"".join(text), charset)
    payload = im(name, words, more=more) if way is UP else heard(name, words, more=more)
    short, long = Session(user), Session(user)
    data = short.write(way, payload)
    (one,) = short.feed(way, data)
    long.numbers[way] += 1
    long.decoder._expected[way] = 0x1234  # another number than the next is no matter for the short way
    (two,) = long.feed(way, data)
    assert one.events == two.events
    assert one.kind == two.kind


# -- rendezvous


def test_a_file_offer_has_name_size_and_address() -> None:
    """The address that the server saw goes before the one that was written; all are expected."""
    session = Session()
    session.say(UP, offered("Bob", guid("1343"), *file_tlvs(b"garden\1soup.txt")))
    assert session.events[-1] == FileOffer(
        sender="aliceadams", recipients=("bob",), conversation="bob", file_name="garden/soup.txt", size=12008,
        method="oft", address="192.0.2.9:5190", id=COOKIE.hex(),
        texts=(Text("file_name", "garden/soup.txt", None, False),))
    assert [e.address for e in session.expects] == ["192.0.2.9:5190", "10.0.0.5:5190"]
    (expect, _) = session.expects
    assert (expect.what, expect.by, expect.key, expect.flow) == ("oft", "aliceadams", COOKIE.hex(), "f")
    assert (expect.identity, expect.offer, expect.reverse) == ("authenticated", session.events[-1], False)


def test_a_counter_proposal_belongs_to_the_first_offer() -> None:
    """The answerer's own address (request number 2) is no new offer: its connection carries the first one's file, and
    the one who connects sends it; a third request turns it round again. Cookies of the other direction are others."""
    session = Session()
    session.say(UP, offered("Bob", guid("1343"), *file_tlvs()))
    first_offer, events = session.events[-1], len(session.events)
    session.say(DOWN, offer("bob", guid("1343"), pack(0x0A, u16(2)), pack(4, b"\xc6\x33\x64\7"), pack(5, u16(4443))))
    third = (pack(0x0A, u16(3)), pack(0x10, b""), pack(2, b"\xc0\0\2\x63"), pack(5, u16(7)))
    session.say(UP, offered("Bob", guid("1343"), *third))
    assert len(session.events) == events
    assert [(e.address, e.reverse) for e in session.expects] == [
        ("192.0.2.9:5190", False), ("10.0.0.5:5190", False), ("198.51.100.7:4443", True), ("192.0.2.99:5190", False)]
    assert all(isinstance(e.offer, FileOffer) and e.offer.file_name == "recipe of soup.txt" for e in session.expects)
    assert session.expects[2].offer == first_offer
    assert session.expects[3].offer.method == "ars"  # type: ignore[union-attr]
    assert session.memory.get(f"expect:oft:{COOKIE.hex()}", session.at) == session.expects[3]
    session.say(DOWN, offer("bob", guid("1343"), *file_tlvs(b"other.txt")))
    assert isinstance(session.events[-1], FileOffer)


def test_a_counter_proposal_may_bring_news() -> None:
    """Another name or size than the first offer's is an offer that is judged; so is one whose first was not seen."""
    session = Session()
    session.say(UP, offered("Bob", guid("1343"), *file_tlvs()))
    session.say(DOWN, offer("bob", guid("1343"), *file_tlvs(b"worse.exe", number=2)))
    event = session.events[-1]
    assert isinstance(event, FileOffer)
    assert (event.sender, event.recipients, event.file_name) == ("aliceadams", ("bob",), "worse.exe")
    session = Session()
    session.say(UP, offered("Bob", guid("1343"), pack(0x0A, u16(2)), pack(3, b"\x0a\0\0\5"), pack(5, u16(4443))))
    event = session.events[-1]
    assert isinstance(event, FileOffer)
    assert (event.sender, event.recipients) == ("bob", ("aliceadams",))
    assert session.expects[-1].reverse


def test_a_cancelled_proposal_is_forgotten_and_proposals_are_few() -> None:
    """After a decline a later stage is an offer of its own; of many proposals the oldest are forgotten."""
    session = Session()
    session.say(UP, offered("Bob", guid("1343"), *file_tlvs()))
    session.say(DOWN, offer("bob", guid("1343"), status=1))
    session.say(DOWN, offer("bob", guid("1343"), pack(0x0A, u16(2)), pack(4, b"\xc6\x33\x64\7"), pack(5, u16(4443))))
    assert sum(isinstance(e, FileOffer) for e in session.events) == 2
    for number in range(200):
        session.say(UP, offered(f"peer{number}", guid("1343"), *file_tlvs()))
    assert len(session.decoder._offers) == Limits().oscar_offers


def test_who_asks_for_a_file_is_sent_to() -> None:
    """In a request for a file the one who connects to the asker sends it."""
    session = Session()
    session.say(UP, offered("Bob", guid("1348"), *file_tlvs()))
    assert {e.reverse for e in session.expects} == {True}


def test_file_names_in_utf_16() -> None:
    """A list entry beside it names its charset; what a reader without it would see is a text too."""
    data = struct.pack(">HHI", 1, 1, 5) + "Grüße.exe\0".encode("utf-16-be")
    event = event_of(offered("bob", guid("1343"), pack(0x2711, data), pack(0x2712, b"unicode-2-0")))
    assert isinstance(event, FileOffer)
    assert event.file_name == "Grüße.exe"
    data = struct.pack(">HHI", 1, 1, 5) + b"evil.exe"
    event = event_of(offered("bob", guid("1343"), pack(0x2711, data), pack(0x2712, b"unicode-2-0")))
    assert plain(event, "data") == ["evil.exe"]


def test_file_names_that_do_not_end_and_bytes_behind_them() -> None:
    """A name without NUL ends with its list; what is hidden behind NUL is a text too."""
    data = pack(0x2711, struct.pack(">HHI", 1, 1, 5) + b"a.txt")
    event = event_of(offered("bob", guid("1343"), data))
    assert isinstance(event, FileOffer)
    assert (event.file_name, event.address) == ("a.txt", None)
    event = event_of(offered("bob", guid("1343"), pack(0x2711, struct.pack(">HHI", 1, 1, 5) + b"a.txt\0b.exe\0")))
    assert plain(event, "data") == ["b.exe"]


def test_offers_through_the_relay_and_direct_im() -> None:
    """ARS: what stands for the port is a PIN; direct IM is an offer of a connection."""
    event = event_of(offered("bob", guid("1343"), pack(0x10, b""), pack(2, b"\xc0\0\2\1"), pack(5, u16(4711))))
    assert isinstance(event, FileOffer)
    assert (event.method, event.address) == ("ars", "192.0.2.1:5190")
    event = event_of(offered("bob", guid("1345"), *file_tlvs()[:6]))
    assert isinstance(event, FileOffer)
    assert (event.method, event.file_name) == ("direct_im", "")


def test_invitations_calls_and_unknown_services() -> None:
    """Each proposal is an event with the words in it."""
    room = pack(0x2711, u16(4) + s8("!aol://1:2-garden") + u16(0))
    invite = event_of(offer("bob", CHAT, pack(0x0C, b"do <B>come</B>"), room), DOWN)
    assert isinstance(invite, Message)
    assert (invite.kind, invite.conversation, plain(invite)) == ("invite", "!aol://1:2-garden", ["do come"])
    call = event_of(offer("bob", guid("1341"), pack(0x0C, b"talk to me")), DOWN)
    assert isinstance(call, CallSetup)
    assert (call.media, plain(call, "description")) == (("audio",), ["talk to me"])
    other = event_of(offer("bob", bytes(16), pack(0x0C, b"what is this"), pack(0x2711, b"\1\2hidden words")), DOWN)
    assert isinstance(other, Opaque)
    assert [t.plain for t in other.texts] == ["what is this", "\1\2hidden words"]
    contacts = pack(0x2711, s16("Friends") + u16(2) + s16("dave") + s16("erin"))
    sent = event_of(offer("bob", guid("134b"), contacts), DOWN)
    assert [t.plain for t in sent.texts] == ["Friends\ndave\nerin"]


def test_answers_to_proposals_are_no_events_but_their_words_are() -> None:
    """Accepting says nothing; declining may say why."""
    session = Session()
    session.say(DOWN, offer("bob", guid("1343"), status=2))
    assert not any(isinstance(e, FileOffer) for e in session.events)
    said = event_of(offer("bob", guid("1343"), pack(0x0C, b"no thanks"), status=1), DOWN)
    assert plain(said, "description") == ["no thanks"]


# -- ICQ


def test_icq_messages_by_type() -> None:
    """Text, link, request to be a contact, web page to pager; in a channel-4 block and through the server."""
    link = message(snac(4, 7, COOKIE + u16(4) + info("654321") + icq4(654321, b"look\xfehttp://x.example/", 4)), DOWN,
                   ICQ[:4])
    assert [(t.part, t.plain) for t in link.texts] == [("body", "look"), ("url", "http://x.example/")]
    pager = message(snac(4, 7, COOKIE + u16(4) + info("654321")
                         + icq4(1, b"Rosa\xfe\xfe\xferosa@x.example\xfe10.0.0.1\xfecall home", 0x0D)), DOWN, ICQ[:4])
    assert plain(pager) == ["call home"]
    request = event_of(snac(4, 7, COOKIE + u16(4) + info("654321")
                            + icq4(1, b"rose\xfeRosa\xfeRed\xfer@x.example\xfe1\xfelet me in", 6)), DOWN, ICQ[:4])
    assert isinstance(request, Presence)
    assert (request.availability, plain(request, "reason")) == ("subscribe", ["let me in"])
    via = message(offer("654321", guid("1349"), pack(0x2711, relay("привет".encode(), 1, UTF8))), DOWN, ICQ[:4])
    assert (via.sender, plain(via)) == ("654321", ["привет"])
    rtf = message(offer("654321", guid("1349"), pack(0x2711, relay(b"{\\rtf1 x}", 1, RTF))), DOWN, ICQ[:4])
    assert not rtf.texts[0].editable


def test_icq_file_requests_are_offers() -> None:
    """From client to client, through the server or in an old block: with name and size where they stand."""
    tail = bytes(4) + struct.pack("<H", 9) + b"tool.exe\0" + struct.pack("<II", 4711, 0)
    request = relay(b"please take it", 3)
    said = offer("654321", guid("1349"), pack(0x0A, u16(1)), pack(0x2711, request + tail))
    event = event_of(said, DOWN, ICQ[:4])
    assert isinstance(event, FileOffer)
    assert (event.sender, event.file_name, event.size, event.method) == ("654321", "tool.exe", 4711, "icq")
    assert plain(event, "description") == ["please take it"]
    event = event_of(snac(4, 6, COOKIE + u16(4) + s8("654321") + icq4(1, b"take it\xfetool.exe", 3)), UP, ICQ[:4])
    assert isinstance(event, FileOffer)
    assert (event.file_name, event.size, event.recipients) == ("tool.exe", None, ("654321",))


def test_icq_plugins_show_their_words() -> None:
    """Type 0x1A: what is readable in the plug-in's data, not to be changed in place."""
    tail = b"\x3a\0" + bytes(20) + b"<N><QUERY>&lt;Q&gt;</QUERY></N>"
    event = event_of(offer("654321", guid("1349"), pack(0x2711, relay(b"", 0x1A) + tail)), DOWN, ICQ[:4])
    assert isinstance(event, Opaque)
    assert event.kind == "icq.plugin"
    assert event.texts[0].plain.endswith("<N><QUERY>&lt;Q&gt;</QUERY></N>")
    assert not event.texts[0].editable


def test_automatic_away_words_in_an_answer() -> None:
    """04/0B with reason 3: words nobody may be answered for."""
    event = message(snac(4, 0x0B, COOKIE + u16(2) + s8("654321") + u16(3) + relay(b"gone", 0xE8)), before=ICQ[:4])
    assert (event.kind, event.answerable, plain(event)) == ("auto_response", False, ["gone"])
    quiet = Session(ICQ[:4])
    quiet.say(UP, snac(4, 0x0B, COOKIE + u16(2) + s8("654321") + u16(1)))
    assert not any(isinstance(e, Message) for e in quiet.events)


def test_offline_messages_and_short_messages() -> None:
    """15/03 with its date; an SMS with number and text; a change of password is nothing."""
    event = message(snac(0x15, 3, stored(654321, b"water them"), 1, 1), DOWN, ICQ[:4])
    assert (event.sender, event.recipients, event.sent_at) == ("654321", ("123456",), 1053163800.0)
    session = Session(ICQ)
    sms = [e for e in session.events if isinstance(e, Message) and e.recipients == ("+15550100",)]
    assert [plain(e) for e in sms] == [["call me back soon"]]
    assert "geheim" not in repr(session.events)


def test_words_of_icq_requests_are_read_whatever_stands_beside_them() -> None:
    """15/02 with a byte behind its list, with two blocks, with two texts in one: a server that minds neither sends
    them all the same."""
    def asked(words: bytes) -> bytes:
        return icq(0x7D0, u16(0x8214) + b"<icq_sms_message>" + words + b"</icq_sms_message>")

    for body in (
        asked(b"<text>the plan</text>") + b"\0", asked(b"<text>hi</text>") + asked(b"<text>the plan</text>"),
        asked(b"<text>hi</text><text>the plan</text>"), pack(1, b"\0") + asked(b"<text>the plan</text>"),
    ):
        session = Session(ICQ[:4])
        session.say(UP, snac(0x15, 2, body))
        found = [text.plain for e in session.events if isinstance(e, Message) for text in e.texts]
        assert any("the plan" in text for text in found), body


# -- rooms, presence, lists, profiles


def test_words_in_a_room() -> None:
    """Sender from his user info; the own words come back as an echo; charsets by name."""
    session = Session(ROOM)
    chats = [e for e in session.events if isinstance(e, Message)]
    assert [(e.sender, plain(e)) for e in chats] == [(None, ["what a lovely room"]), ("bob", ["grüß euch alle"])]
    joins = [(e.action, e.member) for e in session.events if isinstance(e, GroupChange)]
    assert joins == [("join", "alice"), ("join", "bob"), ("leave", "bob")]
    own = Session()
    own.say(DOWN, snac(0x0E, 6, room_words(b"my own words", sender=info("Alice Adams"))))
    assert isinstance(own.events[-1], Message)
    assert own.events[-1].copy == "echo"


def test_a_room_that_is_made_has_a_name() -> None:
    """0D/08 with its topic."""
    event = event_of(snac(0x0D, 8, u16(4) + s8("create") + u16(0xFFFF) + b"\1" + u16(1) + pack(0xD3, b"garden party")))
    assert isinstance(event, GroupChange)
    assert (event.action, event.group, plain(event, "topic")) == ("create", "garden party", ["garden party"])


def test_presence_and_status_words() -> None:
    """Several blocks in one frame; away, idle and ICQ's states; words of a status."""
    session = Session()
    session.say(DOWN, snac(3, 0x0B, info("bob", pack(1, u16(0x30))) + info("Carol", pack(4, u16(9)))
                           + info("654321", pack(6, b"\0\0\0\x13"), pack(0x1D, u16(2) + b"\4\6" + s16("busy")))))
    assert session.events[-4:] == [
        Presence(sender="bob", recipients=("aliceadams",), availability="away"),
        Presence(sender="carol", recipients=("aliceadams",), availability="idle"),
        Presence(sender="654321", recipients=("aliceadams",), availability="away"),
        Message(kind="status", sender="654321", recipients=("aliceadams",), texts=(Text("status", "busy"),),
                answerable=False),
    ]
    session.say(UP, snac(1, 0x1E, pack(6, b"\0\0\0\2")))
    assert session.events[-1] == Presence(sender="aliceadams", availability="dnd")


def test_typing() -> None:
    """The same layout both ways."""
    assert event_of(snac(4, 0x14, bytes(8) + u16(1) + s8("B ob") + u16(1))) == Typing(
        state="paused", sender="aliceadams", recipients=("bob",))
    assert event_of(snac(4, 0x14, bytes(8) + u16(1) + s8("bob") + u16(0x0F)), DOWN) == Typing(
        state="gone", sender="bob", recipients=("aliceadams",))


def test_contact_lists() -> None:
    """Contacts, groups, permits, denies, ignores; aliases and notes are texts."""
    session = Session()
    session.say(UP, snac(0x13, 8, item("Dave", 0, pack(0x131, b"Davy"), pack(0x13C, b"nice")) + item("Pals", 1)
                         + item("mallory", 3) + item("trent", 2) + item("eve", 0x0E)))
    session.say(UP, snac(0x13, 0x0A, item("mallory", 3)))
    session.say(UP, snac(9, 8, s8("eve")))
    found = [(e.action, e.contact) for e in session.events if isinstance(e, ContactChange)]
    assert found == [("add", "dave"), ("add", "Pals"), ("block", "mallory"), ("unblock", "trent"), ("block", "eve"),
                     ("unblock", "mallory"), ("unblock", "eve")]
    assert [t.plain for e in session.events if isinstance(e, ContactChange) for t in e.texts] == [
        "Davy", "nice", "Pals"]


def test_profiles_away_words_and_requests() -> None:
    """Own and others', in the charset their MIME type names; reasons of requests and of refusals."""
    session = Session(CHATTER)
    words = [(e.name, getattr(e, "kind", ""), t.plain) for e in session.events for t in e.texts]
    for expected in (
        ("opaque", "profile", "I grow tulips"), ("message", "away", "bin im Gewächshaus"),
        ("message", "away", "mowing the lawn"), ("message", "status", "watering them"),
        ("message", "server", "Mind the step."), ("presence", "", "please let me see you"),
        ("presence", "", "rather not, sorry"), ("opaque", "error", "not logged on here"),
    ):
        assert expected in words


MANY = {
    "contacts": snac(3, 4, s8("a") * 1500), "items": snac(0x13, 8, struct.pack("!H1sHHHH", 1, b"a", 0, 1, 0, 0) * 1500),
}


@pytest.mark.parametrize("what", MANY)
@pytest.mark.parametrize("size", [1 << 20, 1000])
def test_a_frame_of_more_events_than_are_read_is_none(what: str, size: int) -> None:
    """What stands behind the last one that is read could be anything: the session ends, and nothing of it is sent."""
    session = Session()
    data = session.write(UP, MANY[what]) + session.write(UP, im("bob", fragment(b"the secret plan")))
    frames = [frame for at in range(0, len(data), size) for frame in session.feed(UP, data[at:at + size])]
    assert frames[0].fault is not None and frames[0].fault.name == "oscar.many_events"
    assert not any(frame.events for frame in frames)
    assert b"".join(frame.raw for frame in frames) == data


# -- writing


def test_a_refused_message_is_taken_out_and_the_numbers_close_up() -> None:
    """Error and notice to the sender from our name, in that order; what follows is renumbered, both ways."""
    session = Session()
    error, notice = session.say(UP, im("bob", fragment(b"the secret plan"), request=0x56), BLOCK)
    assert error == (DOWN, 2, snac(4, 1, u16(0x0D), 0x56))
    assert notice[:2] == (DOWN, 2)
    assert head(notice[2])[:2] == (4, 7)
    assert b"Refused, reference ABCD-EFGH." in notice[2]
    assert s8(NAME) in notice[2]
    assert notice[2].endswith(b"\0\4\0\0"), "an automatic message: no client answers it"
    for way in (UP, DOWN, UP, DOWN):
        payload = im("bob", fragment(b"hello")) if way is UP else heard("bob", fragment(b"hello"))
        assert session.say(way, payload) == [(way, 2, payload)]


def test_a_silent_refusal_acknowledges() -> None:
    """Nothing is told: the host acknowledgement that was asked for comes, with request id, cookie and name."""
    session = Session()
    assert session.say(UP, im("Bob", fragment(b"the secret plan"), request=0x99), SILENT) == [
        (DOWN, 2, snac(4, 0x0C, COOKIE + u16(1) + s8("Bob"), 0x99))]
    assert session.say(UP, im("Bob", fragment(b"the secret plan"), more=b""), SILENT) == []


def test_a_refused_message_to_the_user_is_gone_or_a_placeholder() -> None:
    """Nothing goes to its sender: that would be sent in the user's name."""
    session = Session()
    assert session.say(DOWN, heard("bob", fragment(b"bad words")), SILENT) == []
    ((way, _, payload),) = session.say(DOWN, heard("bob", fragment(HTML % b"bad words")), PLACEHOLDER)
    assert way is DOWN
    assert plain(message(payload, DOWN)) == ["[removed <by> policy & co, ABCD-EFGH]"]
    assert b"bad words" not in payload


def test_a_placeholder_beyond_ascii_changes_the_charset() -> None:
    """A fragment in ASCII becomes one in UTF-16."""
    verdict = Verdict(Action.BLOCK, "r", placeholder="entfernt: Größe")
    session = Session()
    ((_, _, payload),) = session.say(UP, im("bob", fragment(b"bad "), fragment(b"words")), verdict)
    assert plain(message(payload)) == ["entfernt: Größe"]


@pytest.mark.parametrize(
    ("words", "mask", "want"),
    [
        ([fragment(b"my card 4111")], (0, 8, 12), [fragment(b"my card ****")]),
        ([fragment("größe".encode(), 0x0D)], (0, 2, 3), [fragment(b"gr*\xc3\x9fe", 0x0D)]),
        ([fragment("größe \U0001f337!".encode("utf-16-be"), 2)], (0, 6, 7),
         [fragment("größe *!".encode("utf-16-be"), 2)]),
        ([fragment(b"<B>se</B>cret &amp; more")], (0, 0, 8), [fragment(b"<B>**</B>****** more")]),
        ([fragment(b"one two "), fragment("drei".encode("utf-16-be"), 2)], (0, 4, 10),
         [fragment(b"one ****"), fragment("**ei".encode("utf-16-be"), 2)]),
        ([fragment(b'<A HREF="http://x.example/">x</A>')], (1, 0, 7),
         [fragment(b'<A HREF="*******x.example/">x</A>')]),
        ([fragment(b"a<BR>b")], (0, 0, 3), [fragment(b"*<BR>*")]),
        ([fragment(b"&lt;&lt;x")], (0, 0, 2), [fragment(b"**x")]),
    ],
)
def test_masks_keep_charset_and_markup(words: list[bytes], mask: tuple[int, int, int], want: list[bytes]) -> None:
    """One star a character, tags stay, every length is true."""
    session = Session()
    assert session.say(UP, im("bob", *words), stars(mask)) == [(UP, 2, im("bob", *want))]


def test_old_icq_messages_are_masked_with_little_endian_lengths() -> None:
    """An entity in the length of a channel-4 text; the length of the relay's."""
    session = Session(ICQ[:4])
    sent = session.say(DOWN, snac(4, 7, COOKIE + u16(4) + info("654321") + icq4(654321, "größe".encode())),
                       stars((0, 2, 4)))
    assert sent == [(DOWN, 2, snac(4, 7, COOKIE + u16(4) + info("654321") + icq4(654321, b"gr**e")))]
    sent = session.say(DOWN, offer("654321", guid("1349"), pack(0x2711, relay("größe".encode(), 1, UTF8))),
                       stars((0, 2, 4)))
    assert sent == [(DOWN, 2, offer("654321", guid("1349"), pack(0x2711, relay(b"gr**e", 1, UTF8))))]


def test_an_offline_message_is_never_taken_out_of_its_row() -> None:
    """Its words go, the answer stays: the client waits for the row's end."""
    session = Session(ICQ[:4])
    ((_, _, payload),) = session.say(DOWN, snac(0x15, 3, stored(654321, b"bad words"), 1, 1), SILENT)
    assert len(payload) == len(snac(0x15, 3, stored(654321, b"")))
    assert b"bad" not in payload


def test_a_warning_passes_the_message() -> None:
    """The message goes on, the notice follows it."""
    session = Session()
    passed, notice = session.say(UP, im("bob", fragment(b"hello")), WARN)
    assert passed == (UP, 2, im("bob", fragment(b"hello")))
    assert b"Against policy." in notice[2]


def test_a_notice_waits_for_frames_that_the_engine_still_has() -> None:
    """Frames of that way that were read but not judged leave first, numbered; the notice is behind the last."""
    session = Session()
    waiting = session.feed(DOWN, session.write(DOWN, heard("bob", fragment(b"one")))
                           + session.write(DOWN, heard("bob", fragment(b"two"))))
    assert not session.decoder.ready(DOWN)
    assert session.say(UP, im("bob", fragment(b"the secret plan")), BLOCK) == []
    first_one = session.apply(waiting[0])
    assert [head(p)[:2] for _, _, p in first_one] == [(4, 7)]
    behind = session.apply(waiting[1])
    assert [head(p)[:2] for _, _, p in behind] == [(4, 7), (4, 1), (4, 7)]
    session.say(DOWN, heard("bob", fragment(b"three")))


def test_frames_of_a_decoder_that_met_a_fault_are_written_by_the_next() -> None:
    """The engine lets a fault pass: what it still has of the old decoder leaves through the new one, which is ready."""
    old, new = Session(), Session([], from_start=False)
    waiting = old.feed(DOWN, old.write(DOWN, heard("bob", fragment(b"one"))))
    assert [head(p)[:2] for _, _, p in new.apply(waiting[0])] == [(4, 7)]
    new.numbers[DOWN] = old.numbers[DOWN]
    new.say(DOWN, heard("bob", fragment(b"two")))
    assert new.decoder.ready(DOWN)


def test_what_is_owed_is_bounded() -> None:
    """However many messages are refused while the other way waits."""
    session = Session()
    session.feed(DOWN, session.write(DOWN, heard("bob", fragment(b"one"))))
    for _ in range(100):
        assert session.say(UP, im("bob", fragment(b"the secret plan")), BLOCK) == []
    assert len(session.decoder._owed[DOWN]) == oscar.OWED


def test_a_refused_offer_is_cancelled_for_its_sender() -> None:
    """He gets the acknowledgement, a cancel in the peer's name with cookie and service, and the notice."""
    session = Session()
    ack, cancel, notice = session.say(UP, offered("Bob", guid("1343"), *file_tlvs()), BLOCK)
    assert head(ack[2]) == (4, 0x0C, 0x77)
    tlvs, _ = walk(cancel[2], 10 + 10 + 4 + 4 + 6, len(cancel[2]))
    place = first(tlvs, 5)
    assert place
    value = cancel[2][place[0]:place[1]]
    assert value == u16(1) + COOKIE + guid("1343") + pack(0x0B, u16(1))
    assert b"Refused" in notice[2]
    assert session.expects == []


def test_a_refused_offer_to_the_user_is_cancelled_at_its_sender_but_seldom() -> None:
    """One frame to the server in ten seconds at most, without asking for an acknowledgement; its answer is ours."""
    session = Session()
    ((way, _, payload),) = session.say(DOWN, offer("bob", guid("1343"), *file_tlvs()), SILENT)
    assert way is UP
    assert head(payload)[:2] == (4, 6)
    assert session.say(DOWN, offer("bob", guid("1343"), *file_tlvs()), SILENT) == []
    session.at += oscar.CANCEL_SECONDS
    assert len(session.say(DOWN, offer("bob", guid("1343"), *file_tlvs()), SILENT)) == 1
    assert session.say(DOWN, snac(4, 1, u16(4), head(payload)[2])) == []
    error = snac(4, 1, u16(4), 3)
    assert session.say(DOWN, error) == [(DOWN, 2, error)]
    session.say(UP, im("bob", fragment(b"hello")))


def place_of(payload: bytes, kind: int) -> bytes:
    """The first value of this kind in a proposal."""
    tlvs, _ = walk(payload, payload.index(guid("1343")) + 16, len(payload))
    found = first(tlvs, kind)
    assert found
    return payload[found[0]:found[1]]


@pytest.mark.parametrize("way", [UP, DOWN])
def test_addresses_of_a_proposal_lead_to_leased_ports(way: Way) -> None:
    """Each address that is there, the port and the complements of both; all else stays as it was. What our client says
    of himself is not believed: the lease leads to where he is."""
    checks = pack(0x16, b"\xf5\xff\xff\xfa"), pack(0x17, u16(0xFFFF ^ 5190))
    tlvs = (*file_tlvs(), *checks) if way is DOWN else (pack(2, b"\x0a\0\0\5"), pack(3, b"\x0a\1\1\1"), *checks,
                                                      pack(5, u16(5190)), *file_tlvs()[-1:])
    memory = Leases(Address("203.0.113.4", 9402))
    session = Session(edits=PATH, memory=memory)
    payload = offer("bob", guid("1343"), *tlvs) if way is DOWN else offered("bob", guid("1343"), *tlvs)
    ((_, _, sent),) = session.say(way, payload)
    assert len(sent) == len(payload)
    ours = b"\xcb\0\x71\4"
    assert place_of(sent, 3) == ours
    assert place_of(sent, 2) == (ours if way is UP else bytes(4))
    assert place_of(sent, 5) == u16(9402)
    assert place_of(sent, 0x16) == bytes(byte ^ 0xFF for byte in ours)
    assert place_of(sent, 0x17) == u16(9402 ^ 0xFFFF)
    assert place_of(sent, 0x2711) == place_of(payload, 0x2711)
    ((expect, reader),) = memory.leased
    assert reader is way
    assert expect.address == ("192.0.2.9:5190" if way is DOWN else "10.0.0.5:5190")
    assert expect.offer == session.events[-1]
    assert expect in session.expects


def test_an_offer_that_waited_for_the_sign_on_is_announced_by_its_user() -> None:
    """A client may offer before the server said who he is: the frame waits, and the announcement knows him."""
    memory = Leases(Address("203.0.113.4", 9402))
    session = Session(BOS[:4], edits=PATH, memory=memory)
    (waiting,) = session.feed(UP, session.write(UP, offered("bob", guid("1343"), *file_tlvs())))
    session.say(DOWN, snac(1, 0x0F, info("Alice Adams"), 0))
    session.apply(waiting)
    assert {(e.by, e.identity) for e in (*session.expects, memory.leased[0][0])} == {("aliceadams", "authenticated")}


def test_a_refused_or_proxied_proposal_leases_nothing() -> None:
    """A lease is taken only for what is passed on and would connect to the address that it names."""
    memory = Leases(Address("203.0.113.4", 9402))
    session = Session(edits=PATH, memory=memory)
    session.say(DOWN, offer("bob", guid("1343"), *file_tlvs()), SILENT)
    payload = offer("bob", guid("1343"), pack(0x10, b""), pack(2, b"\xc0\0\2\1"), pack(5, u16(4711)))
    assert session.say(DOWN, payload) == [(DOWN, 2, payload)]
    assert memory.leased == []


def test_who_offers_without_end_takes_no_ports_from_others() -> None:
    """So many leases a session at a time; then a proposal is refused and cancelled, until the first are over."""
    memory = Leases(*(Address("203.0.113.4", 9400 + number) for number in range(100)))
    session = Session(edits=PATH, memory=memory)
    for number in range(20):
        sent = session.say(DOWN, offer(f"peer{number}", guid("1343"), *file_tlvs()))
        assert any(way is DOWN for way, _, _ in sent) is (number < Limits().oscar_leases)
    assert len(memory.leased) == Limits().oscar_leases
    session.at += Limits().lease_seconds + 1
    assert [way for way, _, _ in session.say(DOWN, offer("late", guid("1343"), *file_tlvs()))] == [DOWN]


@pytest.mark.parametrize("twice", [
    pack(0x2711, struct.pack(">HHI", 1, 1, 5) + b"b.exe\0"), pack(0x0A, u16(2)), pack(0x2712, b"us-ascii") * 2,
    pack(5, u16(80)), pack(4, b"\xc0\0\2\1"), pack(0x16, bytes(4)) * 2,
])
def test_what_a_proposal_says_twice_is_a_lie(twice: bytes) -> None:
    """Readers differ in which they take; so is a second proposal in one frame."""
    session = Session(edits=frozenset({DROP_LYING}))
    (frame,) = session.feed(UP, session.write(UP, offered("bob", guid("1343"), *file_tlvs(), twice)))
    assert frame.edit == DROP_LYING
    two = proposal(guid("1343"), *file_tlvs())
    (frame,) = session.feed(UP, session.write(UP, offered("bob", guid("1343"), *file_tlvs(), more=two)))
    assert frame.edit == DROP_LYING


def test_a_warned_proposal_still_keeps_to_our_path() -> None:
    """A warning passes the frame: with the leased address all the same."""
    session = Session(edits=PATH, memory=Leases(Address("203.0.113.4", 9402)))
    sent = session.say(UP, offered("bob", guid("1343"), *file_tlvs()), WARN)
    ups = [payload for way, _, payload in sent if way is UP]
    assert [place_of(payload, 5) for payload in ups] == [u16(9402)]
    assert len(session.expects) == 2


def test_a_refused_transfer_is_cancelled_at_both_ends() -> None:
    """Its content came and was refused: our user gets a cancel in the peer's name and the notice, the peer a cancel;
    both only about a proposal that passed here, and the peer's seldom."""
    session = Session()
    session.say(DOWN, offer("Bob", guid("1343"), *file_tlvs()))
    about = session.events[-1]
    assert isinstance(about, FileOffer)
    session.at += 60
    session.say(DOWN, b"", channel=5)
    told = [session.check(act) for act in session.decoder.inject(Notice("No.", about), DOWN) if isinstance(act, Send)]
    assert [head(payload)[:2] for _, payload in told] == [(4, 7), (4, 7)]
    assert u16(1) + COOKIE + guid("1343") + pack(0x0B, u16(1)) in told[0][1]
    assert told[0][1][20:24] == s8("Bob")
    assert b"[bob] No." in told[1][1]
    up_acts = session.decoder.inject(Notice("No.", about), UP)
    ((_, payload),) = [session.check(act) for act in up_acts if isinstance(act, Send)]
    assert head(payload)[:2] == (4, 6)
    assert payload[20:24] == s8("Bob")
    assert u16(1) + COOKIE + guid("1343") + pack(0x0B, u16(1)) in payload
    assert session.decoder.inject(Notice("No.", about), UP) == []
    other = FileOffer(sender="carol", id=about.id)
    assert session.decoder.inject(Notice("No.", other), UP) == []
    assert len(session.decoder.inject(Notice("No.", other), DOWN)) == 1


def test_no_cancel_goes_up_while_the_server_limits_the_client() -> None:
    """After 01/0A said limited; when it is cleared, again."""
    session = Session()
    session.say(DOWN, snac(1, 0x0A, u16(3) + bytes(35), 0x80000009))
    assert session.say(DOWN, offer("bob", guid("1343"), *file_tlvs()), SILENT) == []
    session.say(DOWN, snac(1, 0x0A, u16(4) + bytes(35), 0x80000009))
    assert len(session.say(DOWN, offer("bob", guid("1343"), *file_tlvs()), SILENT)) == 1


def test_a_refused_counter_offer_becomes_a_cancel() -> None:
    """At a later stage the reader waits for an answer to his own proposal: it is a cancel."""
    session = Session()
    sent = session.say(UP, offered("Bob", guid("1343"), *file_tlvs(number=2)), SILENT)
    ups = [payload for way, _, payload in sent if way is UP]
    assert len(ups) == 1
    assert head(ups[0]) == (4, 6, 0x77)
    assert u16(1) + COOKIE + guid("1343") in ups[0]


def test_refused_requests_are_answered() -> None:
    """A change of the list by 13/0E with an error for each item, a room's words and other requests by their error."""
    session = Session()
    assert session.say(UP, snac(0x13, 8, item("dave") + item("erin"), 9), SILENT) == [
        (DOWN, 2, snac(0x13, 0x0E, u16(0x0A) * 2, 9))]
    assert session.say(UP, snac(0x13, 0x18, s8("dave") + s16("x") + u16(0), 11), SILENT) == [
        (DOWN, 2, snac(0x13, 1, u16(0x0D), 11))]
    assert session.say(UP, snac(4, 0x14, bytes(8) + u16(1) + s8("bob") + u16(2)), SILENT) == []


def test_refused_words_of_a_profile_are_emptied() -> None:
    """The SNAC also says what the client can: it goes on, without the refused words."""
    session = Session()
    payload = snac(2, 4, pack(4, b"bad away words") + pack(5, bytes(16)))
    assert session.say(UP, payload, SILENT) == [(UP, 2, snac(2, 4, pack(4, b"") + pack(5, bytes(16))))]


@pytest.mark.parametrize(
    "payload",
    [
        offer("bob", CHAT, pack(0x0C, b"come to us"), pack(0x2711, u16(4) + s8("!aol://1:2-x") + u16(0))),
        offer("654321", guid("1349"), pack(0x2711, relay(b"words", 0x1A) + b"<N>more words</N>")),
        offer("bob", bytes(16), pack(0x0C, b"what is this"), pack(0x2711, b"hidden words")),
    ],
)
def test_a_placeholder_never_leaves_half_of_a_refused_frame(payload: bytes) -> None:
    """An invitation, a plug-in's data, an unknown service: other words than the text would still arrive."""
    session = Session()
    sent = session.say(DOWN, payload, PLACEHOLDER)
    assert [p for way, _, p in sent if way is DOWN] == []


def test_refused_own_state_is_taken_out() -> None:
    """A state without words has nothing that could be emptied."""
    session = Session()
    assert session.say(UP, snac(1, 0x1E, pack(6, b"\0\0\0\2")), SILENT) == []


def test_ends_the_wrong_way_round_are_read_all_the_same() -> None:
    """The subtype tells who writes: a capture joined late may take the server for the client."""
    session = Session([], from_start=False)
    (frame,) = session.feed(UP, session.write(UP, heard("bob", fragment(b"words"))))
    assert [(e.sender, plain(e)) for e in frame.events if isinstance(e, Message)] == [("bob", ["words"])]
    (frame,) = session.feed(DOWN, session.write(DOWN, im("bob", fragment(b"words"))))
    assert [(e.recipients, plain(e)) for e in frame.events if isinstance(e, Message)] == [(("bob",), ["words"])]


def test_refused_presence_is_cut_out_of_its_frame() -> None:
    """One block of several goes, the others stay."""
    session = Session()
    both = snac(3, 0x0B, info("bob", pack(1, u16(0x10))) + info("carol", pack(1, u16(0x10))))
    (frame,) = session.feed(DOWN, session.write(DOWN, both))
    acts = session.decoder.apply(frame, (SILENT, PASSED))
    assert [session.check(a) for a in acts if isinstance(a, Send)] == [
        (2, snac(3, 0x0B, info("carol", pack(1, u16(0x10)))))]
    (frame,) = session.feed(DOWN, session.write(DOWN, both))
    assert session.decoder.apply(frame, (SILENT, SILENT)) == []


def test_a_notice_in_a_room_is_words_in_the_room() -> None:
    """A chat connection knows no messages from person to person."""
    session = Session(ROOM[:5])
    sent = session.say(UP, snac(0x0E, 5, room_words(b"bad words here"), 7), BLOCK)
    assert [head(p)[:2] for _, _, p in sent] == [(0x0E, 1), (0x0E, 6)]
    reader = Session(ROOM[:5])
    reader.say(DOWN, sent[1][2])
    assert isinstance(reader.events[-1], Message)
    assert (reader.events[-1].sender, plain(reader.events[-1])) == (NAME.decode(), ["Refused, reference ABCD-EFGH."])


def test_notices_are_written_for_their_reader() -> None:
    """HTML towards AIM, plain towards ICQ, UTF-16 beyond ASCII, no line ends; nothing is injected up."""
    session = Session()
    (act,) = session.decoder.inject(Notice("a < b & c\r\nd"), DOWN)
    assert isinstance(act, Send)
    channel, payload = session.check(act)
    assert (channel, plain(message(payload, DOWN))) == (2, ["a < b & c  d"])
    assert b"a &lt; b &amp; c" in payload
    icq_session = Session(ICQ[:4])
    (act,) = icq_session.decoder.inject(Notice("Größe < 2"), DOWN)
    assert isinstance(act, Send)
    assert "Größe < 2".encode("utf-16-be") in act.data
    assert session.decoder.inject(Notice("x"), UP) == []


def test_closing_is_channel_4_to_both_in_order() -> None:
    """A last word to the client, then the closing frames, with the next numbers; nothing after that."""
    session = Session()
    acts = session.decoder.close("Closed by policy.\r\n")
    sent = [(a.way, *session.check(a)) for a in acts if isinstance(a, Send)]
    assert [(way, channel) for way, channel, _ in sent] == [(DOWN, 2), (DOWN, 4), (UP, 4)]
    assert not session.decoder.ready(DOWN)
    assert session.decoder.close("again") == []
    assert Session([]).decoder.close("early") == []


# -- with the engine


@given(
    turns=st.lists(st.tuples(
        st.sampled_from((UP, UP, DOWN)),
        st.sampled_from((b"hello there", b"block it", b"warn me", b"long words", b"long block", b"secret mask")),
        st.integers(1, 2), st.integers(0, 3),
    ), max_size=8),
)
def test_numbers_hold_whatever_waits_for_what(turns: list[tuple[Way, bytes, int, int]]) -> None:
    """Slow scans and rows that wait for the disk, in any order: strict peers see no hole, and no refused word.

    A turn: a way, words, how many such frames come in one read, and how many waiting answers come after it.
    """
    kit = Kit(classifier((SPEC,)), Rules(1, ToyPolicy(), ToyScanner()), Limits())
    world = World(kit.limits)
    session = EngineSession(Flow("f", Address("10.0.0.5", 1), Address("192.0.2.1", 5190), opened=1.0), kit, world)
    readers = {UP: Session([]), DOWN: Session([])}
    waiting: list[Input] = []
    numbers = {UP: 3, DOWN: 9}

    def step(given_: Input) -> None:
        for effect in session.step(given_, world):
            if isinstance(effect, Send):
                readers[effect.way].check(effect)
                readers[effect.way].feed(effect.way, effect.data)
            elif isinstance(effect, Scan):
                waiting.append(Scanned(effect.id, 1.0))
            elif isinstance(effect, Note) and effect.durable:
                waiting.append(Kept(effect.id, 1.0))

    def write(way: Way, *payloads: tuple[int, bytes]) -> None:
        data = b""
        for channel, payload in payloads:
            data += flap(numbers[way], payload, channel)
            numbers[way] += 1
        step(Chunk(way, 1.0, data))

    for way, channel, payload in BOS:
        write(way, (channel, payload))
    for way, words, count, answers in turns:
        payload = im("bob", fragment(words)) if way is UP else heard("bob", fragment(words))
        write(way, *[(2, payload)] * count)
        for _ in range(answers):
            if waiting:
                step(waiting.pop(len(waiting) // 2))
    while waiting:
        step(waiting.pop())
    said = {way: [plain(e) for e in readers[way].events if isinstance(e, Message)] for way in (UP, DOWN)}
    for way in (UP, DOWN):
        assert not any("block" in word for words_ in said[way] for word in words_)
        passed = sum(count for w, words, count, _ in turns if w is way and b"block" not in words)
        assert sum(e.kind == "chat" for e in readers[way].events if isinstance(e, Message)) == passed
    told = [e for e in readers[DOWN].events if isinstance(e, Message) and e.sender == NAME.decode()]
    wanted = sum(count for w, words, count, _ in turns if w is UP and (b"block" in words or b"warn" in words))
    assert len(told) == wanted


# -- frames


def test_numbers_out_of_order_are_told() -> None:
    """Also 0x8000, where some clients begin again, but not that one."""
    session = Session()
    session.numbers[UP] += 5
    (frame,) = session.feed(UP, session.write(UP, b"", 5))
    assert [o.name for o in frame.oddities] == ["oscar.sequence"]
    session = Session([])
    frames = session.feed(UP, flap(0x7FFF, HELLO, 1) + flap(0, b"", 5))
    assert [o.name for f in frames for o in f.oddities] == []


@pytest.mark.parametrize("data", [b"X", b"\x2a\x06\0\1\0\0", b"\x2a\0", b"GET / HTTP/1.0"])
def test_what_is_no_frame_is_a_fault(data: bytes) -> None:
    """No resynchronising in a stream that was whole: 0x2A is no delimiter."""
    session = Session()
    (frame,) = session.feed(UP, data)
    assert frame.kind == BROKEN
    assert frame.fault is not None


def test_a_closing_frame_without_its_length_ends_cleanly() -> None:
    """Old servers close with four bytes; a few bytes before the end are a cut-off frame, no error."""
    session = Session()
    assert session.feed(DOWN, b"\x2a\4") == []
    frames = session.decoder.feed(Chunk(DOWN, 1.0, b"\0\x05", 0, True))
    assert [(f.kind, f.raw) for f in frames] == [("oscar.close", b"\x2a\4\0\x05")]
    frames = Session().decoder.feed(Chunk(DOWN, 1.0, b"\x2a", 0, True))
    assert [(f.kind, f.raw) for f in frames] == [("oscar.truncated", b"\x2a")]


def test_the_extra_block_of_a_snac_is_skipped() -> None:
    """Flag 0x8000: its length is its own; one that lies is told."""
    session = Session()
    extra = snac(4, 7, u16(14) + bytes(14) + heard("bob", fragment(b"behind it"))[10:], 1, 0x8000)
    (frame,) = session.feed(DOWN, session.write(DOWN, extra))
    assert plain(frame.events[0]) == ["behind it"]
    (frame,) = session.feed(DOWN, session.write(DOWN, snac(4, 7, u16(900) + bytes(14), 1, 0x8000)))
    assert [o.name for o in frame.oddities] == ["oscar.lying_length"]


def lying() -> list[tuple[str, Way, bytes]]:
    """Every length of a message made longer than what it encloses."""
    found: list[tuple[str, Way, bytes]] = []
    for name, way, payload, offsets in (
        ("im", UP, im("bob", fragment(b"secret words")), (20, 26, 35)),
        ("heard", DOWN, heard("bob", fragment(b"secret words")), (20, 30, 36, 44, 53)),
        ("relay", DOWN, offer("654321", guid("1349"), pack(0x2711, relay(b"secret words"))), ()),
        ("icq4", UP, snac(4, 6, COOKIE + u16(4) + s8("654321") + icq4(1, b"secret words")), ()),
        ("room", UP, snac(0x0E, 5, room_words(b"secret words")), ()),
    ):
        for at in offsets or range(24, len(payload) - 13):
            found.append((f"{name}-{at}", way, payload[:at] + b"\xff" + payload[at + 1:]))
    return found


@pytest.mark.parametrize(("way", "payload"), [(w, p) for _, w, p in lying()], ids=[n for n, _, _ in lying()])
def test_lying_lengths_at_every_level(way: Way, payload: bytes) -> None:
    """The frame is whole, whatever is in it; nothing is raised; a message that lies does not pass, others do."""
    session = Session(edits=frozenset({DROP_LYING}))
    (frame,) = session.feed(way, session.write(way, payload))
    lies = any(o.name == "oscar.lying_length" for o in frame.oddities)
    sent = [p for w, _, p in session.apply(frame) if w is way]
    assert (frame.edit == DROP_LYING) is lies
    assert sent == ([] if lies else [payload])
    session.say(way, im("bob", fragment(b"after")) if way is UP else heard("bob", fragment(b"after")))


def test_a_message_that_lies_is_refused_or_read_as_far_as_it_goes() -> None:
    """With the edit its sender is told; without it the words are read all the same."""
    payload = im("bob", fragment(b"secret words"))
    payload = payload.replace(b"\1\1\0\x10", b"\1\1\0\xff")
    session = Session(edits=frozenset({DROP_LYING}))
    assert session.say(UP, payload) == [(DOWN, 2, snac(4, 1, u16(0x0D), 0x56))]
    session = Session()
    (frame,) = session.feed(UP, session.write(UP, payload))
    assert plain(frame.events[0])[0].startswith("secret words")


HOSTILE: dict[str, Callable[[int], tuple[Way, bytes]]] = {
    "fragments": lambda n: (UP, snac(4, 6, COOKIE + u16(1) + s8("bob") + pack(2, fragment(b"a") * (n // 9)))),
    "blocks": lambda n: (UP, snac(4, 6, COOKIE + u16(1) + s8("bob") + pack(2, fragment(b"a")) * (n // 13))),
    "icq blocks": lambda n: (UP, snac(4, 6, COOKIE + u16(4) + s8("1") + icq4(1, b"a") * (n // 14))),
    "icq fields": lambda n: (UP, snac(4, 6, COOKIE + u16(4) + s8("1") + icq4(1, b"a\xfe" * (n // 2), 6))),
    "tags": lambda n: (UP, im("bob", fragment(b"<b>" * (n // 3)))),
    "links": lambda n: (UP, im("bob", fragment(b"<a href=x>" * (n // 10)))),
    "hidden": lambda n: (UP, im("bob", fragment(b"<x y>a" * (n // 6)))),
    "entities": lambda n: (UP, im("bob", fragment(b"&lt;" * (n // 4)))),
    "open tags": lambda n: (UP, im("bob", fragment(b"<a " * (n // 3)))),
    "attributes": lambda n: (UP, snac(0x13, 8, item("a", 0, *[pack(0x131, b"x")] * (n // 5)))),
    "items": lambda n: (UP, snac(0x13, 8, item("a") * (n // 11))),
    "names": lambda n: (UP, snac(3, 4, s8("a") * (n // 2))),
    "infos": lambda n: (DOWN, snac(3, 0x0B, info("a", pack(0x1D, u16(2) + b"\4\3" + s16("x"))) * (n // 17))),
    "reasons": lambda n: (DOWN, snac(4, 1, u16(4) + pack(0x1B, b"x") * (n // 5))),
    "contacts": lambda n: (DOWN, offer("b", guid("134b"), pack(0x2711, s16("g") + u16(n // 3) + s16("x") * (n // 3)))),
    "sms": lambda n: (UP, snac(0x15, 2, icq(0x7D0, u16(0x8214) + b"<text>" * (n // 6)))),
}
"""Frames of about n bytes that make the most of one thing."""


def seconds(make: Callable[[int], tuple[Way, bytes]], size: int, refused: bool) -> float:
    """The least time that reading such a frame takes, with refusing or masking all of it."""
    best = 9.0
    for _ in range(3):
        session = Session()
        way, payload = make(size)
        data = session.write(way, payload)
        start = time.process_time()
        (frame,) = session.feed(way, data)
        verdicts = [SILENT if refused else stars(*((i, 0, len(t.plain)) for i, t in enumerate(e.texts)))
                    for e in frame.events]
        session.decoder.apply(frame, verdicts)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_the_worst_frames_are_linear(name: str, refused: bool) -> None:
    """Sixteen times the bytes take nearer 16 than 256 times as long, and events stay few."""
    assert seconds(HOSTILE[name], 56000, refused) < 80 * max(seconds(HOSTILE[name], 3500, refused), 2e-4)
    session = Session()
    way, payload = HOSTILE[name](56000)
    (frame,) = session.feed(way, session.write(way, payload))
    assert len(frame.events) <= 2 * Limits().oscar_events + 1
    assert all(len(event.texts) <= oscar.TEXTS + oscar.LINKS + 2 for event in frame.events)


# -- joined late, holes


def test_a_flow_joined_late_begins_at_a_plausible_frame() -> None:
    """The rest of a frame, stars among it, is passed unread; from the first frame that another follows all is read."""
    session = Session([], from_start=False)
    junk = b"rest * of ** a frame \x2a\x02\0\1\0\4"
    one, two = session.write(UP, im("bob", fragment(b"first"))), session.write(UP, im("bob", fragment(b"second")))
    frames = session.feed(UP, junk + one + two)
    assert b"".join(f.raw for f in frames) == junk + one + two
    assert [plain(e) for f in frames for e in f.events] == [["first"], ["second"]]


def test_a_hole_inside_a_frame_is_counted_over() -> None:
    """The frame's length is known: the next one is found, its number checked."""
    session = Session()
    whole = session.write(UP, im("bob", fragment(b"damaged words")))
    then = session.write(UP, im("bob", fragment(b"after the hole")))
    frames = session.feed(UP, whole[:20])
    frames += session.decoder.feed(Chunk(UP, 1.0, whole[30:] + then, 10))
    assert [f.kind for f in frames] == ["oscar.damaged", "oscar.damaged", "oscar.0004.0006"]
    assert plain(frames[-1].events[0]) == ["after the hole"]
    assert [o.name for o in frames[-1].oddities] == []
    assert b"".join(f.raw for f in frames) == whole[:20] + whole[30:] + then


def test_after_a_hole_over_a_boundary_the_numbers_tell() -> None:
    """The next frame whose number fits is believed at once; one of long ago is not, alone."""
    session = Session()
    lost = session.write(UP, im("bob", fragment(b"lost")))
    then = session.write(UP, im("bob", fragment(b"after the hole")))
    (frame,) = session.decoder.feed(Chunk(UP, 1.0, then, len(lost)))
    assert plain(frame.events[0]) == ["after the hole"]
    session = Session()
    session.numbers[UP] += 9000
    old = session.write(UP, im("bob", fragment(b"old")))
    assert session.decoder.feed(Chunk(UP, 1.0, old[:-1], 10)) == []


@given(data=st.binary(max_size=300), cut=st.integers(1, 50))
def test_searching_loses_no_byte(data: bytes, cut: int) -> None:
    """Whatever comes after a hole, in whatever pieces: frames and pending are all of it."""
    session = Session([], from_start=False)
    data += session.write(UP, im("bob", fragment(b"x")))[:cut]
    out = b"".join(f.raw for i in range(0, len(data), cut) for f in session.feed(UP, data[i:i + cut]))
    assert data.startswith(out)
    assert len(out) + session.decoder.pending(UP) == len(data)


def test_a_long_frame_byte_by_byte_is_linear() -> None:
    """The longest frame there is, one byte a chunk, is one frame; what is held is never copied for each."""
    session = Session()
    data = session.write(UP, im("bob", fragment(b"x" * 60000)))
    frames = [f for i in range(len(data)) for f in session.feed(UP, data[i:i + 1])]
    assert [f.raw for f in frames] == [data]


# -- cousins and carriers


@pytest.mark.parametrize(
    ("first_bytes", "kind"),
    [
        (b"FLAPON\r\n\r\n", "toc"),
        (b"POST /data?sid=0123456789abcdef0123456789abcdef&seq=1 HTTP/1.1\r\n\r\n", "http"),
    ],
)
def test_toc_and_http_are_told_as_what_they_are(first_bytes: bytes, kind: str) -> None:
    """Recognised, passed unread, and the engine is told why; nothing is written into them."""
    assert probe(first_bytes, b"") is Match.STRONG
    session = Session([])
    frames = session.feed(UP, first_bytes) + session.feed(DOWN, b"anything")
    assert [f.kind for f in frames] == [f"oscar.{kind}"] * 2
    assert session.decoder.undecryptable
    assert frames[0].oddities[0].name == f"oscar.{kind}"
    assert [session.decoder.apply(f, ()) for f in frames] == [[Send(UP, first_bytes)], [Send(DOWN, b"anything")]]
    assert not session.decoder.ready(DOWN)
    assert session.decoder.close("x") == []


# -- recognising


HI = flap(0x1234, HELLO, 1)
MIDDLE = flap(7, im("bob", fragment(b"x"))) + flap(8, b"", 5)


@pytest.mark.parametrize(
    ("ups", "downs", "want"),
    [
        (HI, b"", Match.STRONG), (b"", HI, Match.STRONG),
        (b"", flap(0x7A2B, HELLO + b"\x80\1\0\4\0\0\0\2", 1), Match.STRONG),
        (flap(1, HELLO + pack(6, TICKET), 1), b"", Match.STRONG),
        (flap(1, HELLO + pack(6, TICKET), 1)[:40], b"", Match.WEAK),
        (flap(1, HELLO + pack(1, b"123456") + pack(2, b"\x86\x54"), 1), b"", Match.STRONG),
        (flap(1, HELLO + b"\0\6\0\xff\0", 1), b"", Match.NO),
        (flap(1, b"\0\0\0\2", 1), b"", Match.NO),
        (HI[:1], b"", Match.MORE), (HI[:6], b"", Match.MORE), (HI[:9], b"", Match.MORE),
        (b"", b"", Match.MORE),
        (MIDDLE, b"", Match.STRONG), (b"", b"junk * in front " + MIDDLE, Match.STRONG),
        (flap(7, im("bob", fragment(b"x"))), b"", Match.WEAK),
        (flap(7, snac(0x99, 6, bytes(20))) + flap(8, snac(0x98, 1)), b"", Match.NO),
        (flap(7, b"", 5), b"", Match.MORE),
        (b"FLAPON\r\n", b"", Match.MORE), (b"FLAPON\r\n\r\n", b"", Match.STRONG),
        (b"GET http://http.proxy.icq.com/hello HTTP/1.0\r\n\r\n", b"", Match.STRONG),
        (b"GET /monitor?sid=0123456789abcdef0123456789abcdef HTTP/1.0\r\n", b"", Match.STRONG),
        (b"GET /monitor?sid=short HTTP/1.0\r\n", b"", Match.NO),
        (b"GET /hello HTTP/1.1\r\nHost: www.example.net\r\n\r\n", b"", Match.NO),
        (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", Match.NO),
        (b"* OK ready\r\n" * 20, b"", Match.NO),
        (b"\x16\x03\x01\x00\xa5\x01", b"", Match.NO), (b"NICK joe\r\n", b":s NOTICE * :x\r\n", Match.NO),
        (b"OFT2\1\0\1\1" + bytes(248), b"", Match.NO),
    ],
)
def test_probe(ups: bytes, downs: bytes, want: Match) -> None:
    """From either side's first bytes or from the middle; other protocols are none, IMAP's stars and Redis' included."""
    assert probe(ups, downs) is want


@given(data=st.binary(max_size=400))
def test_probe_needs_more_than_a_star(data: bytes) -> None:
    """Random bytes behind a star are never surely OSCAR."""
    assert probe(b"*" + data, b"") is not Match.STRONG or data[:1] in (b"\1", b"\2", b"\5")


def test_names() -> None:
    """Names are compared without blanks and case."""
    assert name_of(b"Alice  Adams") == "aliceadams"
    assert name_of(b"\xe4 B") == "äb"


def test_the_spec_says_what_can_be_done() -> None:
    """Messages all; offers can be refused, not masked; errors of the server never refused."""
    assert SPEC.can["message"].placeholder
    assert not SPEC.can["file"].mask
    assert not SPEC.can["opaque.error"].drop
    assert {edit.name for edit in SPEC.edits} == {DROP_LYING, KEEP_PATH}
