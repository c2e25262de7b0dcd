"""SOCKS5 bytestreams: handshake, both ways of a file, announcements, lies about sizes, refusals."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from inspector.engine.world import SharedMemory
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Action,
    Address,
    Chunk,
    Cut,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Limits,
    Match,
    Notice,
    Send,
    Verdict,
    Way,
    expect_key,
)
from inspector.protocols.bytestream import SPEC, BytestreamDecoder
from tests.protocols.contract import AT, Said, contents, cut, joined, read

NAME = hashlib.sha1(b"sid1amy@garden.example/deskbob@meadow.example/barn").hexdigest().encode()
HELLO, METHOD = b"\x05\x01\x00", b"\x05\x00"
ASK = b"\x05\x01\x00\x03\x28" + NAME + b"\0\0"
REPLY = b"\x05\x00\x00\x03\x28" + NAME + b"\0\0"
SHAKE: Said = [(UP, HELLO), (DOWN, METHOD), (UP, ASK), (DOWN, REPLY)]
SEEDS = b"one sack of barley, two of rye, and a little clover for the bees\n" * 40
OFFER = FileOffer(
    sender="amy@garden.example/desk", recipients=("bob@meadow.example/barn",), file_name="seeds.txt", size=len(SEEDS),
    method="s5b", id="sid1",
)
ANNOUNCED = Expect("192.0.2.1:4000", "bytestream", by="amy@garden.example", key=NAME.decode(), offer=OFFER, flow="c")

TALKS: dict[str, Said] = {
    "download": [*SHAKE, (DOWN, SEEDS)],
    "upload": [*SHAKE, (UP, SEEDS[:1000]), (UP, SEEDS[1000:])],
    "many-methods": [(UP, b"\x05\x03\x02\x00\x01"), *SHAKE[1:3], (DOWN, REPLY + SEEDS)],
}
DISGUISES: dict[str, object] = {}
"""It carries files alone: no text."""
EXPECTED = dict.fromkeys(TALKS, ANNOUNCED) | {
    # Of pcaps/bytestream: the names are others, the sizes end the files.
    name: msgspec.structs.replace(ANNOUNCED, key=None, offer=msgspec.structs.replace(OFFER, size=size))
    for name, size in (("proxy-1", 1720), ("proxy-2", 29))
}


def decoder(
    expected: Expect | None = ANNOUNCED, memory: SharedMemory | None = None, limits: Limits | None = None,
    from_start: bool = True,
) -> BytestreamDecoder:
    flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 4000), opened=AT, expected=expected,
                from_start=from_start)
    return BytestreamDecoder(flow, limits or Limits(), memory or SharedMemory(100), frozenset())


def ended(dec: BytestreamDecoder, way: Way) -> list[Frame]:
    return dec.feed(Chunk(way, AT, b"", end=True))


def events(frames: list[Frame]) -> list[object]:
    return [event for frame in frames for event in frame.events if not isinstance(event, FilePart)]


def test_the_handshake_and_the_announced_file() -> None:
    """Four units, then the file: who and what its announcement says, ended at its size."""
    frames = read(decoder(), TALKS["download"])
    assert [frame.kind for frame in frames] == [
        "bytestream.greeting", "bytestream.method", "bytestream.request", "bytestream.reply", "bytestream.start",
        "bytestream.data", "bytestream.end",
    ]
    assert events(frames) == [
        FileStart(transfer="d0", offer=OFFER, expected=ANNOUNCED), FileEnd(transfer="d0", complete=True),
    ]
    assert contents(frames) == {(DOWN, "d0"): SEEDS}


def test_the_announcement_is_found_by_the_name() -> None:
    """The name in the request finds the expectation in the memory; it wins over the address's."""
    other = msgspec.structs.replace(ANNOUNCED, offer=msgspec.structs.replace(OFFER, file_name="other.txt"))
    memory = SharedMemory(10)
    memory.put(expect_key("bytestream", NAME.decode()), other, AT + 10)
    upper = [(way, data.replace(NAME, NAME.upper())) for way, data in TALKS["upload"]]
    for said in (TALKS["upload"], upper):
        start = events(read(decoder(memory=memory), said))[0]
        assert isinstance(start, FileStart)
        assert start.expected == other


def test_an_announcement_of_another_name_is_not_this_file() -> None:
    """At an expected address, but with another name: a file that nobody announced, told as an offer of its own."""
    foreign = msgspec.structs.replace(ANNOUNCED, key="0" * 40)
    for expected in (foreign, None):
        dec = decoder(expected)
        frames = read(dec, TALKS["upload"]) + ended(dec, UP)
        offer, start, end = events(frames)
        assert offer == FileOffer(method="s5b", address="192.0.2.1:4000", id=NAME.decode(), answerable=False)
        assert start == FileStart(transfer="u0", offer=offer)
        assert end == FileEnd(transfer="u0")
        assert contents(frames) == {(UP, "u0"): SEEDS}


def test_a_file_in_each_way() -> None:
    """The way that speaks first is the announced file's; the other one's bytes are read as well."""
    dec = decoder()
    frames = read(dec, [*SHAKE, (UP, SEEDS[:100]), (DOWN, b"back"), (UP, SEEDS[100:])]) + ended(dec, DOWN)
    starts = [event for event in events(frames) if isinstance(event, FileStart)]
    assert [(start.transfer, start.expected) for start in starts] == [("u0", ANNOUNCED), ("d0", None)]
    assert contents(frames) == {(UP, "u0"): SEEDS, (DOWN, "d0"): b"back"}


def test_bytes_before_the_reply_are_read() -> None:
    """A client that does not wait for the reply hides nothing: it is content at once."""
    frames = read(decoder(), [*SHAKE[:3], (UP, SEEDS), SHAKE[3]])
    assert contents(frames) == {(UP, "u0"): SEEDS}
    assert all(frame.fault is None for frame in frames)


def test_more_than_announced_is_a_fault() -> None:
    """What comes behind the announced size was not judged with the file: it never passes, in the same read or later."""
    at_once = read(decoder(), [*SHAKE, (DOWN, SEEDS + b"more")])
    assert contents(at_once) == {(DOWN, "d0"): SEEDS}
    assert at_once[-1].fault is not None
    assert (at_once[-1].fault.name, at_once[-1].raw) == ("bytestream.excess", b"more")
    dec = decoder()
    read(dec, TALKS["download"])
    later = dec.feed(Chunk(DOWN, AT, b"more"))
    assert [frame.fault.name for frame in later if frame.fault] == ["bytestream.excess"]
    behind = dec.feed(Chunk(DOWN, AT, b"x" * 200_000))
    assert {frame.kind for frame in behind} == {"bytestream.unread"}
    assert max(len(frame.raw) for frame in behind) == Limits().part_bytes


def test_less_than_announced_is_not_complete() -> None:
    """A way that ends early ends its file, not complete; an empty announcement is a lie when bytes come."""
    dec = decoder()
    read(dec, [*SHAKE, (DOWN, SEEDS[:99])])
    assert events(ended(dec, DOWN)) == [
        FileEnd(transfer="d0", complete=False, detail=f"99 bytes came, {len(SEEDS)} were announced")]
    assert ended(dec, DOWN) == []
    empty = msgspec.structs.replace(ANNOUNCED, offer=msgspec.structs.replace(OFFER, size=0))
    dec = decoder(empty)
    assert contents(read(dec, [*SHAKE, (DOWN, SEEDS)])) == {(DOWN, "d0"): SEEDS}
    (end,) = events(ended(dec, DOWN))
    assert isinstance(end, FileEnd)
    assert not end.complete


def test_lost_bytes_are_told_and_the_file_is_not_complete() -> None:
    """A gap inside the file is in front of the next part; it counts for the size."""
    dec = decoder()
    read(dec, [*SHAKE, (DOWN, SEEDS[:100])])
    frames = dec.feed(Chunk(DOWN, AT, SEEDS[150:], gap=50))
    parts = [event for frame in frames for event in frame.events if isinstance(event, FilePart)]
    assert [(part.gap, part.data) for part in parts] == [(50, SEEDS[150:])]
    assert events(frames) == [FileEnd(transfer="d0", complete=False, detail="bytes are missing")]


def test_joined_in_the_middle() -> None:
    """Without its beginning a connection is content from the first byte seen, and never complete."""
    dec = decoder(from_start=False)
    frames = dec.feed(Chunk(DOWN, AT, SEEDS)) + ended(dec, DOWN)
    assert contents(frames) == {(DOWN, "d0"): SEEDS}
    assert events(frames)[-1] == FileEnd(transfer="d0", complete=False, detail="bytes are missing")


def test_a_gap_in_the_handshake() -> None:
    """What follows a hole in the handshake is read as content; nothing is thrown away."""
    dec = decoder()
    frames = dec.feed(Chunk(UP, AT, HELLO + ASK[:9])) + dec.feed(Chunk(UP, AT, b"words", gap=38))
    assert joined([(frame.way, frame.raw) for frame in frames], UP) == HELLO + ASK[:9] + b"words"
    assert contents(frames) == {(UP, "u0"): b"words"}


@pytest.mark.parametrize(("way", "before", "bytes_", "name"), [
    (UP, [], b"GET / HTTP/1.1\r\n", "greeting"),
    (UP, [], b"\x05\x00", "greeting"),
    (UP, [], b"\x05\x01\x02", "greeting"),
    (UP, [], b"\x04\x01\0\0\x0a\0\0\1\0", "greeting"),
    (DOWN, [], b"\x04\x00", "method"),
    (DOWN, [], b"\x05\x02", "method"),
    (UP, [(UP, HELLO)], b"\x05\x01\x00\x01\x0a\0\0\1\0\x50", "request"),
    (UP, [(UP, HELLO)], b"\x05\x02\x00\x03\x28" + NAME + b"\0\0", "request"),
    (UP, [(UP, HELLO)], b"\x05\x01\x00\x03\x0bexample.net\0\x50", "request"),
    (UP, [(UP, HELLO)], b"\x05\x01\x00\x03\x28" + b"g" * 40 + b"\0\0", "request"),
    (UP, [(UP, HELLO)], ASK[:-2] + b"\0\x50", "request"),
    (DOWN, [(DOWN, METHOD)], b"\x05\x09\x00", "reply"),
    (DOWN, [(DOWN, METHOD)], b"\x05\x00\x01", "reply"),
    (DOWN, [(DOWN, METHOD)], b"\x05\x00\x00\x02\x00", "reply"),
])
def test_what_is_not_a_bytestream_is_a_fault(way: Way, before: Said, bytes_: bytes, name: str) -> None:
    """Ordinary SOCKS5, other versions, authentication, other commands and ports: one fault, whole or byte by byte."""
    for size in (len(bytes_), 1):
        dec = decoder()
        read(dec, before)
        frames = read(dec, cut([(way, bytes_)], lambda size=size: size))  # type: ignore[misc]
        faults = [frame.fault.name for frame in frames if frame.fault]
        assert faults == [f"bytestream.{name}"]
        assert contents(frames) == {}


@pytest.mark.parametrize(("reply", "oddity"), [
    (b"\x05\x00\x00\x01\x0a\0\0\1\x13\x88", "bytestream.reply_address"),
    (b"\x05\x00\x00\x04" + b"\0" * 18, "bytestream.reply_address"),
    (b"\x05\x00\x00\x03\x04here\0\0", "bytestream.reply_address"),
    (b"\x05\x02\x00\x03\x28" + NAME + b"\0\0", "bytestream.refused"),
])
def test_replies_that_are_not_the_name(reply: bytes, oddity: str) -> None:
    """An address of the server's own and a refusal are told; content after a refusal is a fault."""
    dec = decoder()
    frames = read(dec, [*SHAKE[:3], (DOWN, reply)])
    assert [odd.name for odd in frames[-1].oddities] == [oddity]
    assert frames[-1].raw == reply
    more = dec.feed(Chunk(DOWN, AT, SEEDS))
    assert bool(more[-1].fault) == (oddity == "bytestream.refused")


def test_a_refusal_ends_the_connection() -> None:
    """Whichever event is refused: a cut, and nothing sent any more, in either way."""
    for index in (4, 6):
        dec = decoder(None if index == 4 else ANNOUNCED)
        frames = read(dec, TALKS["download"])
        acts = [dec.apply(frame, [PASSED] * len(frame.events)) for frame in frames[:index]]
        assert [act for some in acts[:4] for act in some] == [Send(way, data) for way, data in SHAKE]
        refusal = [Verdict(Action.BLOCK, "r")] * len(frames[index].events)
        assert dec.apply(frames[index], refusal) == [Cut("the file was refused")]
        assert dec.apply(frames[5], [PASSED]) == []
        assert dec.apply(Frame(UP, AT, b"x", "bytestream.data"), []) == []


def test_held_parts_are_what_will_be_sent() -> None:
    """HOLD gives the same sends as PASS: the engine keeps them."""
    dec = decoder()
    frames = read(dec, TALKS["download"])
    held = [act for frame in frames[4:] for act in dec.apply(frame, [Verdict(Action.HOLD)] * len(frame.events))]
    assert held == [Send(DOWN, SEEDS)]


def test_parts_are_no_copies_and_no_longer_than_a_part() -> None:
    """A read that is no longer than a part is its own part, not a copy; a longer one is cut."""
    big = msgspec.structs.replace(ANNOUNCED, offer=msgspec.structs.replace(OFFER, size=1 << 20))
    dec = decoder(big)
    read(dec, SHAKE)
    data = b"x" * 65536
    part = dec.feed(Chunk(DOWN, AT, data))[-1]
    assert isinstance(part.events[0], FilePart)
    assert part.raw is data
    assert part.events[0].data is data
    sizes = [len(frame.raw) for frame in dec.feed(Chunk(DOWN, AT, b"y" * 150_000))]
    assert sizes == [65536, 65536, 18928]


def test_the_probe_claims_no_ordinary_socks() -> None:
    """STRONG with the request alone; a greeting is MORE, other requests are NO, whatever the port."""
    assert SPEC.probe(HELLO, b"") is Match.MORE
    assert SPEC.probe(HELLO + ASK[:20], METHOD) is Match.MORE
    assert SPEC.probe(HELLO + ASK, METHOD) is Match.STRONG
    assert SPEC.probe(HELLO + b"\x05\x01\x00\x03\x0bexample.net\0\x50", METHOD) is Match.NO
    assert SPEC.probe(HELLO + ASK[:-1] + b"\x50", METHOD) is Match.NO
    assert SPEC.probe(HELLO + ASK, b"\x05\x02") is Match.NO
    assert SPEC.probe(b"\x05\x01\x02", b"") is Match.NO
    assert SPEC.probe(b"", b"\x05\x00") is Match.NO


def test_nothing_can_be_said_in_between() -> None:
    """No notices, no last words: every byte is the file's."""
    dec = decoder()
    assert not dec.ready(UP)
    assert not dec.ready(DOWN)
    assert dec.inject(Notice("x", OFFER), DOWN) == []
    assert dec.close("the end") == []
