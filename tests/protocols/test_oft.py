"""OFT, direct IM and the proxy: what is read of them, what the writer does with verdicts, lies."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import SharedMemory, World
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Action,
    Address,
    Chunk,
    Cut,
    Event,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileReport,
    FileStart,
    Finding,
    Flow,
    Frame,
    Judge,
    Judged,
    Kept,
    Limits,
    Match,
    Message,
    Notice,
    Rules,
    Send,
    Spool,
    Tell,
    Typing,
    Unspooled,
    Verdict,
    Way,
    expect_key,
)
from inspector.protocols import oft
from inspector.protocols.oft import SPEC, WHOLE_FILE, OftDecoder, probe
from tests.engine.toy import ToyScanner
from tests.engine.toyfiles import FilePolicy
from tests.playbook import Play
from tests.protocols.direct_disguises import OFT as DISGUISES  # noqa: F401 - read by the evasion suite

Said = list[tuple[Way, bytes]]
AT = 1_000_000.0
COOKIE = b"7174647\0"
BLOCK = Verdict(Action.BLOCK, "r")


# -- what peers write


def slow_checksum(content: bytes) -> int:
    """The sheet's loop, byte by byte."""
    found = 0xFFFF
    for index, byte in enumerate(content):
        found -= byte if index & 1 else byte << 8
        if found < 0:
            found += 0xFFFF
    return found << 16


def header(
    kind: int, size: int, name: str | bytes = "plan.txt", *, cookie: bytes = bytes(8), length: int = 256,
    check: int = 0, received: int = 0, received_check: int = 0xFFFF0000, total: int | None = None, flags: int = 0,
    encoding: int = 0, files: tuple[int, int] = (1, 1), fork: int = 0,
) -> bytes:
    """An OFT header (sheet 9)."""
    field = name if isinstance(name, bytes) else name.encode().replace(b"/", b"\1")
    raw = b"OFT2" + struct.pack(">HH8sI4H", length, kind, cookie, flags, *files, 1, 1)
    raw += struct.pack(">10I", size if total is None else total, size, 0, check, 0xFFFF0000, fork, 0, 0xFFFF0000,
                       received, received_check)
    raw += b"Cool FileXfer".ljust(32, b"\0") + b"\x20\x1c\x11" + bytes(69 + 16) + struct.pack(">HH", encoding, 0)
    assert len(raw) == 192
    return (raw + field).ljust(length, b"\0")


def sent(
    sender: Way, content: bytes, name: str | bytes = "plan.txt", *, cookie: bytes = COOKIE,
    prompt_cookie: bytes = bytes(8), files: tuple[int, int] = (1, 1), total: int | None = None,
) -> Said:
    """One file from its prompt to its done."""
    size, check = len(content), slow_checksum(content)
    receiver = sender.other

    def head(kind: int, received: int = 0, received_check: int = 0, cookie: bytes = cookie) -> bytes:
        return header(kind, size, name, cookie=cookie, check=check, received=received, received_check=received_check,
                      files=files, total=total)

    return [
        (sender, head(0x0101, cookie=prompt_cookie)), (receiver, head(0x0202)),
        *([(sender, content)] if content else []), (receiver, head(0x0204, size, check)),
    ]


def direct(
    name: str, payload: bytes = b"", *, flags: int = 0, charset: int = 0, length: int | None = None, head: int = 76,
) -> bytes:
    """An ODC frame (sheet 9)."""
    size = len(payload) if length is None else length
    raw = b"ODC2" + struct.pack(">HHHH8s8xIHxxxxH", head, 1, 6, 0, COOKIE, size, charset, flags)
    raw = raw.ljust(44, b"\0") + name.encode().ljust(32, b"\0")
    return raw.ljust(head, b"\0") + payload


def picture(number: int, data: bytes, size: int | None = None) -> bytes:
    return b'<DATA ID="%d" SIZE="%d">%s</DATA>' % (number, len(data) if size is None else size, data)


def with_pictures(words: bytes, *pictures: bytes) -> bytes:
    return words + b"<BINARY>" + b"".join(pictures) + b"</BINARY>"


def proxy(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHIH", len(payload) + 10, 0x044A, kind, 0, 0x0220) + payload


def noise(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


PIXELS = b"GIF89a" + noise(600)
CONTENT = b"The plan of the garden.\r\n" * 90 + noise(301)
OFFER = FileOffer(
    sender="amy", recipients=("bob",), conversation="bob", file_name="plan.txt", size=len(CONTENT), method="oft",
    address="192.0.2.1:4443", id=COOKIE.hex())
ANNOUNCED = Expect("192.0.2.1:4443", "oft", "amy", COOKIE.hex(), OFFER, "c", "authenticated")
DIRECT = Expect("192.0.2.1:4443", "oft", "amy", COOKIE.hex(), FileOffer(
    sender="amy", recipients=("bob",), conversation="bob", method="direct_im", id=COOKIE.hex()), "c", "authenticated")

HANDSHAKE: Said = [(UP, direct("bob", flags=0x60)), (DOWN, direct("Amy", flags=0x60))]
TALKS: dict[str, Said] = {
    "listener sends": sent(DOWN, CONTENT),
    "connector sends": sent(UP, CONTENT, prompt_cookie=COOKIE),
    "nobody announced it": sent(DOWN, CONTENT, "photos/garden.jpg"),
    "several files": [
        *sent(UP, CONTENT, "trip/one.jpg", files=(3, 3), total=9000), *sent(UP, b"", "trip/empty", files=(3, 2)),
        *sent(UP, noise(77), "trip/two.jpg", files=(3, 1), total=9000),
    ],
    "resumed": [
        (DOWN, header(0x0101, len(CONTENT), check=slow_checksum(CONTENT))),
        (UP, header(0x0205, len(CONTENT), cookie=COOKIE, received=2000, received_check=0x12340000)),
        (DOWN, header(0x0106, len(CONTENT), cookie=COOKIE, received=2000)),
        (UP, header(0x0207, len(CONTENT), cookie=COOKIE, received=2000)),
        (DOWN, CONTENT[2000:]),
        (UP, header(0x0204, len(CONTENT), cookie=COOKIE, received=len(CONTENT))),
    ],
    "has it already": [
        (DOWN, header(0x0101, 50)), (UP, header(0x0204, 50, received=50)), *sent(DOWN, CONTENT, "other.bin"),
    ],
    "listing": [
        (DOWN, header(0x1108, 40, "listing.txt")), (UP, header(0x1209, 40, "listing.txt")), (DOWN, b"x" * 40),
        (UP, header(0x120B, 40, "listing.txt", received=40)), (UP, header(0x120C, 5, "a.txt")),
        *sent(DOWN, b"hello", "a.txt"),
    ],
    "direct im": [
        *HANDSHAKE, (UP, direct("Bob", flags=0x0E)),
        (UP, direct("bob", b"<HTML><BODY>Have you seen the <B>purple</B> elephant &amp; co?</BODY></HTML>")),
        (DOWN, direct("A my", flags=0x0A)), (DOWN, direct("A my", flags=0x06)),
        (DOWN, direct("A my", "Нет, не видела".encode("utf-16-be"), charset=2)),
        (UP, direct("bob", "Tschüß, see <A HREF=\"http://garden.example/\">this</A>".encode("latin-1"), charset=3)),
        (DOWN, direct("A my", b"I am in the garden just now", flags=1)),
    ],
    "pictures": [
        *HANDSHAKE,
        (DOWN, direct("amy", with_pictures(
            b'<HTML><BODY>Look at this <IMG SRC="rose.gif" ID="1" DATASIZE="606"> and that</BODY></HTML>',
            picture(1, PIXELS), b"\r\n", picture(2, CONTENT), picture(3, b"")))),
        (UP, direct("bob", b"They are quite lovely")),
    ],
    "proxy, sender": [
        (UP, proxy(2, b"\3amy" + COOKIE + b"\0\1\0\x10" + bytes(16))), (DOWN, proxy(3, b"\x12\x34\x0a\0\0\x09")),
        (DOWN, proxy(5)), *sent(UP, CONTENT),
    ],
    "proxy, receiver": [
        (UP, proxy(4, b"\3bob\x12\x34" + COOKIE + b"\0\1\0\x10" + bytes(16))), (DOWN, proxy(5)), *sent(DOWN, CONTENT),
    ],
    "proxy, direct im": [
        (UP, proxy(4, b"\3bob\x12\x34" + COOKIE)), (DOWN, proxy(5)), *HANDSHAKE,
        (UP, direct("bob", b"We meet at the old mill")),
    ],
}
EXPECTED: dict[str, Expect] = {
    "listener sends": ANNOUNCED, "connector sends": ANNOUNCED, "resumed": ANNOUNCED, "direct im": DIRECT,
    "pictures": DIRECT,
}


# -- helpers


def flow(expected: Expect | None = None, from_start: bool = True) -> Flow:
    return Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 4443), opened=AT, from_start=from_start,
                expected=expected)


def decoder(
    expected: Expect | None = None, edits: Iterable[str] = (), memory: SharedMemory | None = None,
    limits: Limits | None = None, from_start: bool = True,
) -> OftDecoder:
    return OftDecoder(flow(expected, from_start), limits or Limits(), memory or SharedMemory(10), frozenset(edits))


def play(dec: OftDecoder, said: Said) -> list[Frame]:
    return [frame for way, data in said for frame in dec.feed(Chunk(way, AT, data))]


def events(frames: Iterable[Frame]) -> list[Event]:
    return [event for frame in frames for event in frame.events]


def of[T](kind: type[T], frames: Iterable[Frame]) -> list[T]:
    return [event for event in events(frames) if isinstance(event, kind)]


def oddities(frames: Iterable[Frame]) -> list[str]:
    return [odd.name for frame in frames for odd in frame.oddities]


def content(frames: Iterable[Frame]) -> dict[str, bytes]:
    found: dict[str, bytes] = {start.transfer: b"" for start in of(FileStart, frames)}
    for part in of(FilePart, frames):
        found[part.transfer] += part.data
    return found


def written(dec: OftDecoder, frames: Iterable[Frame], verdict: Verdict = PASSED) -> Said:
    return [
        (act.way, act.data) for frame in frames for act in dec.apply(frame, [verdict] * len(frame.events))
        if isinstance(act, Send)
    ]


# -- files


def test_the_file_that_was_announced_is_read_without_another_offer() -> None:
    """Start, parts and end on the sender's way; who and to whom from the announcement; nothing offered twice."""
    frames = play(decoder(ANNOUNCED), TALKS["listener sends"])
    assert of(FileOffer, frames) == []
    start, = of(FileStart, frames)
    assert (start.offer.sender, start.offer.recipients, start.offer.file_name) == ("amy", ("bob",), "plan.txt")
    assert start.expected is ANNOUNCED
    assert (start.offset, start.inband) == (0, False)
    assert content(frames) == {"1": CONTENT}
    assert of(FileEnd, frames) == [FileEnd(transfer="1")]
    assert all(frame.way is DOWN for frame in frames if frame.events)
    assert oddities(frames) == []


def test_a_file_of_another_name_or_size_than_announced_is_an_offer_of_its_own() -> None:
    """A proposal of plan.txt does not let another name, or another size, pass unjudged."""
    for name, body in (("plan.exe", CONTENT), ("plan.txt", CONTENT + b"x")):
        frames = play(decoder(ANNOUNCED), sent(DOWN, body, name))
        offer, = of(FileOffer, frames)
        assert (offer.file_name, offer.size, offer.sender) == (name, len(body), "amy")
        assert frames[0].events == (offer,)
        assert of(FileStart, frames)[0].offer == offer


def test_a_file_that_nobody_announced_offers_itself() -> None:
    """The prompt is the offer, with the address it comes from; the path is shown with slashes."""
    frames = play(decoder(), TALKS["nobody announced it"])
    offer, = of(FileOffer, frames)
    assert offer.file_name == "photos/garden.jpg"
    assert offer.texts[0].plain == "photos/garden.jpg"
    assert (offer.method, offer.size, offer.address) == ("oft", len(CONTENT), "192.0.2.1:4443")
    assert content(frames) == {"1": CONTENT}


def test_either_end_may_be_the_sender() -> None:
    """The one who connects sends: parts are on its way."""
    frames = play(decoder(ANNOUNCED), TALKS["connector sends"])
    assert {frame.way for frame in frames if frame.events} == {UP}
    assert content(frames) == {"1": CONTENT}


def test_several_files_follow_one_another() -> None:
    """Each has its prompt, its transfer, its end; an empty one is a file as well."""
    frames = play(decoder(), TALKS["several files"])
    assert content(frames) == {"1": CONTENT, "2": b"", "3": noise(77)}
    assert [offer.file_name for offer in of(FileOffer, frames)] == ["trip/one.jpg", "trip/empty", "trip/two.jpg"]
    assert [end.complete for end in of(FileEnd, frames)] == [True, True, True]


def test_an_empty_file_at_the_end_is_told_when_its_sender_closes() -> None:
    """There is no content to wait for: the end of the way tells that it is over."""
    dec = decoder()
    frames = play(dec, sent(DOWN, b"", "empty"))
    assert of(FileStart, frames) == []
    frames = dec.feed(Chunk(DOWN, AT, b"", 0, True))
    assert [type(event) for event in events(frames)] == [FileStart, FileEnd]
    unasked = decoder()
    play(unasked, [(DOWN, header(0x0101, 0, "empty"))])
    assert unasked.feed(Chunk(DOWN, AT, b"", 0, True)) == []


def test_a_receiver_that_has_the_file_gets_none_of_it() -> None:
    """Done in answer to a prompt: no transfer, and the next prompt is read as one."""
    frames = play(decoder(), TALKS["has it already"])
    assert content(frames) == {"1": CONTENT}


def test_a_listing_is_a_file() -> None:
    """The listing of shared files travels as content between headers of its own."""
    frames = play(decoder(), TALKS["listing"])
    assert content(frames) == {"1": b"x" * 40, "2": b"hello"}
    assert oddities(frames) == []


def test_a_truncated_file_is_not_complete() -> None:
    """The sender closes before all came."""
    dec = decoder()
    frames = play(dec, TALKS["nobody announced it"][:2]) + dec.feed(Chunk(DOWN, AT, CONTENT[:100]))
    assert of(FileEnd, frames) == []
    end, = of(FileEnd, dec.feed(Chunk(DOWN, AT, b"", 0, True)))
    assert (end.complete, end.detail) == (False, f"{len(CONTENT) - 100} bytes did not come")


def test_content_that_was_not_asked_for_is_read_all_the_same() -> None:
    """A sender that does not wait, or looks like one because the ack was lost, hides nothing: not even behind bytes
    that look like a header."""
    disguised = header(0x0106, 3000, received=0) + noise(2744)
    frames = play(decoder(), [(DOWN, header(0x0101, 3000)), (DOWN, disguised), (UP, header(0x0202, 3000))])
    assert content(frames) == {"1": disguised}
    assert "oft.early_content" in oddities(frames)
    assert of(FileEnd, frames)[0].complete


def test_bytes_behind_the_content_are_a_fault() -> None:
    """A size that lies: what follows the content must be a header, or nothing more is read."""
    dec = decoder()
    frames = play(dec, [*sent(DOWN, b"short")[:3], (DOWN, b"and more")])
    assert frames[-1].kind == BROKEN
    assert frames[-1].fault is not None
    assert frames[-1].fault.name == "oft.not_oft"
    after = dec.feed(Chunk(DOWN, AT, b"x" * 200_000))
    assert b"".join(frame.raw for frame in after) == b"x" * 200_000
    assert max(len(frame.raw) for frame in after) == Limits().part_bytes


@pytest.mark.parametrize("length", [0, 7, 191, 2049, 65535])
def test_a_header_length_that_lies_is_a_fault(length: int) -> None:
    """Shorter than its fields, or longer than any name."""
    raw = header(0x0101, 5)
    frames = decoder().feed(Chunk(DOWN, AT, raw[:4] + struct.pack(">H", length) + raw[6:]))
    assert [frame.kind for frame in frames] == [BROKEN]
    assert frames[0].raw == raw[:4] + struct.pack(">H", length) + raw[6:]


def test_encrypted_or_compressed_content_is_not_complete() -> None:
    """What cannot be read was not seen."""
    frames = play(decoder(), [
        (DOWN, header(0x0101, 5, flags=1)), (UP, header(0x0202, 5)), (DOWN, b"xxxxx")])
    assert "oft.not_readable" in oddities(frames)
    assert of(FileEnd, frames) == [FileEnd(transfer="1", complete=False, detail="encrypted or compressed")]


def test_strange_prompts_are_told() -> None:
    """A total smaller than the file, a resource fork, an unknown type, an ack for nothing, words behind the name."""
    frames = play(decoder(), [
        (UP, header(0x0202, 5)), (DOWN, header(0x0777, 0)),
        (DOWN, header(0x0101, 5, b"a.txt\0.exe and so on", total=2, fork=1)),
    ])
    assert oddities(frames) == [
        "oft.unasked_ack", "oft.unknown_type", "oft.hidden_name", "oft.total_size", "oft.resource_fork"]
    offer, = of(FileOffer, frames)
    assert [(text.part, text.plain) for text in offer.texts] == [("file_name", "a.txt"), ("data", ".exe and so on")]


@pytest.mark.parametrize(("encoding", "field", "name"), [
    (0, "grün.txt".encode(), "grün.txt"),
    (3, "grün.txt".encode("latin-1"), "grün.txt"),
    (2, "a\1сад.txt".encode("utf-16-be"), "a/сад.txt"),
    (0, b"..\1..\1start\1evil.exe", "../../start/evil.exe"),
    (0, b"photo\xe2\x80\xaegpj.exe", "photo\u202egpj.exe"),
    (0, b"invoice.pdf          .exe ", "invoice.pdf          .exe "),
    (0, b"", ""),
    (0, b"n" * 64, "n" * 64),
    (2, b"\xd8\x00\0a", "\ufffda"),
])
def test_names_are_shown_as_they_are(encoding: int, field: bytes, name: str) -> None:
    """Every encoding; tricks stay visible to the rules: paths, turned letters, trailing blanks."""
    frames = play(decoder(), [(DOWN, header(0x0101, 5, field, encoding=encoding))])
    assert of(FileOffer, frames)[0].file_name == name


def test_long_names_have_longer_headers() -> None:
    """The name is the last field: the header's length says how long it is; the shortest has none."""
    frames = play(decoder(), [(DOWN, header(0x0101, 1, "n" * 300, length=500)), (UP, header(0x0202, 1)), (DOWN, b"x"),
                              (DOWN, header(0x0101, 5, "", length=192))])
    assert [offer.file_name for offer in of(FileOffer, frames)] == ["n" * 300, ""]


# -- checksums


@given(st.binary(max_size=300), st.integers(1, 50))
def test_the_checksum_of_pieces_is_the_sheet_s_loop(data: bytes, size: int) -> None:
    """Arithmetic modulo 65,535 gives, for any cut, what the loop over bytes gives."""
    total = sum(oft.words(data[at:at + size], at) for at in range(0, len(data), size))
    assert oft.checksum(total) == (slow_checksum(data) >> 16) % 0xFFFF


def test_a_checksum_that_is_not_the_content_s_is_told_and_no_more() -> None:
    """Clients check it after the fact: the file is complete by its bytes."""
    for check, odd in ((slow_checksum(CONTENT), False), (0, False), (0xFFFF0000, False), (0x12340000, True)):
        frames = play(decoder(), [
            (DOWN, header(0x0101, len(CONTENT), check=check)), (UP, header(0x0202, len(CONTENT))), (DOWN, CONTENT)])
        assert ("oft.checksum" in oddities(frames)) is odd
        assert of(FileEnd, frames)[0].complete


def test_what_the_receiver_says_it_got_is_compared() -> None:
    """Done with another count or another checksum."""
    said = sent(DOWN, CONTENT)
    said[-1] = (UP, header(0x0204, len(CONTENT), received=17, received_check=0x12340000))
    assert oddities(play(decoder(), said)) == ["oft.received_size", "oft.received_checksum"]


# -- resuming


def test_a_resumed_file_is_never_complete() -> None:
    """With the edit off the rest is passed on, with its offset."""
    frames = play(decoder(ANNOUNCED), TALKS["resumed"])
    start, = of(FileStart, frames)
    assert start.offset == 2000
    assert content(frames) == {"1": CONTENT[2000:]}
    assert of(FileEnd, frames) == [FileEnd(transfer="1", complete=False, detail="resumed at 2000")]


def test_who_asks_for_the_rest_is_given_all_of_it() -> None:
    """The edit: the sender reads that nothing was received yet; what he then sends is the whole file."""
    dec = decoder(ANNOUNCED, [WHOLE_FILE])
    play(dec, TALKS["resumed"][:1])
    frame, = dec.feed(Chunk(*(TALKS["resumed"][1][0], AT, TALKS["resumed"][1][1])))
    assert frame.edit == WHOLE_FILE
    (way, asked), = written(dec, [frame])
    assert (way, len(asked)) == (UP, 256)
    assert asked[:60] == frame.raw[:60]
    assert asked[60:68] == bytes.fromhex("00000000ffff0000")
    assert asked[68:] == frame.raw[68:]
    frames = play(dec, [
        (DOWN, header(0x0106, len(CONTENT))), (UP, header(0x0207, len(CONTENT))), (DOWN, CONTENT)])
    assert of(FileStart, frames)[0].offset == 0
    assert content(frames) == {"1": CONTENT}
    assert of(FileEnd, frames)[0].complete


def test_a_sender_that_resumes_all_the_same_is_not_complete() -> None:
    """A sender that does not do as it was asked hides the first part: the offset it says is believed."""
    frames = play(decoder(ANNOUNCED, [WHOLE_FILE]), TALKS["resumed"])
    assert of(FileStart, frames)[0].offset == 2000
    assert not of(FileEnd, frames)[0].complete


def test_resuming_another_file_than_was_prompted_is_a_fault() -> None:
    """A size that changes in mid-way, or an offset behind the end: nobody can tell where the content ends."""
    for accept in (header(0x0106, 99), header(0x0106, len(CONTENT), received=len(CONTENT) + 1)):
        frames = play(decoder(), [*TALKS["resumed"][:2], (DOWN, accept)])
        assert frames[-1].kind == BROKEN


def test_resuming_after_the_content_has_begun_is_not_complete() -> None:
    """Which part the receiver keeps is not known then."""
    frames = play(decoder(), [
        (DOWN, header(0x0101, 50)), (DOWN, b"x" * 20), (UP, header(0x0205, 50, received=20)), (DOWN, b"x" * 30)])
    assert of(FileEnd, frames)[0].detail == "resumed after it had begun"


def test_nothing_left_to_resume_is_a_file_of_no_bytes() -> None:
    """The receiver has all of it: told, and not complete."""
    dec = decoder()
    frames = play(dec, [
        (DOWN, header(0x0101, 50)), (UP, header(0x0205, 50, received=50)), (DOWN, header(0x0106, 50, received=50)),
        (UP, header(0x0207, 50, received=50)), (DOWN, header(0x0101, 5))])
    assert of(FileStart, frames)[0].offset == 50
    assert not of(FileEnd, frames)[0].complete


# -- refusing


def test_a_refused_file_ends_the_connection_for_both() -> None:
    """At its end, and at its prompt: a Cut, and nothing is sent any more, not even the receiver's done."""
    for blocked in (FileEnd, FileOffer, FileStart, FilePart):
        dec = decoder()
        acts = []
        for frame in play(dec, TALKS["nobody announced it"]):
            stop = any(isinstance(event, blocked) for event in frame.events)
            found = dec.apply(frame, [BLOCK if stop else PASSED] * len(frame.events))
            acts.append((stop, found))
        first = next(index for index, (stop, _) in enumerate(acts) if stop)
        assert [type(act) for act in acts[first][1]] == [Cut]
        assert all(found == [] for _, found in acts[first + 1:])


def test_nothing_is_answered_and_nothing_of_ours_is_said() -> None:
    """A sender waits for nothing but done; clients show words in a direct IM as the peer's."""
    dec = decoder(ANNOUNCED)
    for frame in play(dec, TALKS["listener sends"]):
        acts = dec.apply(frame, [Verdict(Action.HOLD)] * len(frame.events))
        assert acts == ([Send(frame.way, frame.raw)] if frame.raw else [])
    assert not dec.ready(DOWN)
    assert dec.inject(Notice("x"), DOWN) == []
    assert dec.close("x") == []


# -- direct IM


def test_words_of_direct_im_are_messages() -> None:
    """HTML in its charset; who says it to whom by the header's name and the announcement; typing beside it."""
    frames = play(decoder(DIRECT), TALKS["direct im"])
    said = [
        (frame.way, e.kind, e.sender, e.recipients, e.conversation, e.texts[0].plain)
        for frame in frames for e in frame.events if isinstance(e, Message)
    ]
    assert said == [
        (UP, "chat", "bob", ("amy",), "bob", "Have you seen the purple elephant & co?"),
        (DOWN, "chat", "amy", ("bob",), "bob", "Нет, не видела"),
        (UP, "chat", "bob", ("amy",), "bob", "Tschüß, see this"),
        (DOWN, "auto_response", "amy", ("bob",), "bob", "I am in the garden just now"),
    ]
    assert [(e.state, e.sender) for e in of(Typing, frames)] == [
        ("composing", "bob"), ("composing", "amy"), ("paused", "amy")]
    assert [text.plain for text in of(Message, frames)[2].texts[1:]] == ["http://garden.example/"]


def test_names_without_an_announcement_are_those_of_the_headers() -> None:
    """The other one is who wrote from the other side; the conversation is named after the one beyond the server."""
    frames = play(decoder(), TALKS["proxy, direct im"])
    message, = of(Message, frames)
    assert (message.sender, message.recipients, message.conversation) == ("bob", ("amy",), "amy")


def test_a_name_of_neither_is_told() -> None:
    """Whoever knows the address can connect, and write any name."""
    frames = play(decoder(DIRECT), [(UP, direct("cleo", b"It is me")), (UP, direct("b OB", b"It is not"))])
    assert [message.sender for message in of(Message, frames)] == ["cleo", "bob"]
    assert [[odd.name for odd in frame.oddities] for frame in frames] == [["oft.other_name"], []]


def test_a_cipher_in_direct_im_is_told() -> None:
    """OTR is metadata only."""
    message, = of(Message, play(decoder(), [(UP, direct("bob", b"?OTR:AAQD"))]))
    assert message.encryption.scheme == "otr"


def test_a_masked_message_has_a_true_length() -> None:
    """A reference becomes one star, so the payload is shorter; the header says so."""
    dec = decoder()
    frame, = play(dec, [(UP, direct("bob", b"<B>a&amp;b</B> secret"))])
    (_, out), = written(dec, [frame], Verdict(Action.REDACT, masks=((0, 1, 3), (0, 4, 10))))
    assert out == direct("bob", b"<B>a**</B> ******")


def test_refused_words_leave_nothing_or_a_placeholder() -> None:
    """The frame goes; a placeholder is escaped, and labelled UTF-16 when it is not ASCII."""
    dec = decoder()
    frame, = play(dec, [(UP, direct("bob", b"secret"))])
    assert written(dec, [frame], BLOCK) == []
    assert written(dec, [frame], Verdict(Action.BLOCK, placeholder="no <b>")) == [
        (UP, direct("bob", b"no &lt;b&gt;"))]
    assert written(dec, [frame], Verdict(Action.BLOCK, placeholder="für")) == [
        (UP, direct("bob", "für".encode("utf-16-be"), charset=2))]
    typing, = play(dec, [(UP, direct("bob", flags=0x0A))])
    assert written(dec, [typing], BLOCK) == []


def test_pictures_of_a_message_are_files() -> None:
    """Each with its name from the words, its size, its content; the message around them has its own verdict."""
    frames = play(decoder(DIRECT), TALKS["pictures"])
    assert content(frames) == {"1": PIXELS, "2": CONTENT, "3": b""}
    assert [(o.file_name, o.size, o.method, o.sender, o.recipients) for o in of(FileOffer, frames)] == [
        ("rose.gif", len(PIXELS), "direct_im", "amy", ("bob",)), ("", len(CONTENT), "direct_im", "amy", ("bob",)),
        ("", 0, "direct_im", "amy", ("bob",))]
    assert all(end.complete for end in of(FileEnd, frames))
    assert [e.texts[0].plain for e in of(Message, frames)] == ["Look at this  and that", "They are quite lovely"]


def test_refused_words_with_pictures_leave_the_pictures() -> None:
    """These are judged by themselves, perhaps before the words were; a reader of what is sent stays in step."""
    dec, peer = decoder(), decoder()
    frames = play(dec, [TALKS["pictures"][2]])
    out = [
        (act.way, act.data) for frame in frames
        for act in dec.apply(frame, [BLOCK if isinstance(e, Message) else PASSED for e in frame.events])
        if isinstance(act, Send)
    ]
    again = play(peer, out)
    assert content(again) == {"1": PIXELS, "2": CONTENT, "3": b""}
    assert of(Message, again)[0].texts == ()
    assert peer.pending(DOWN) == 0


def test_a_picture_that_is_refused_by_its_offer_becomes_nul() -> None:
    """Nothing of it leaves; the message, the other pictures and the connection stay."""
    dec, peer = decoder(), decoder()
    out: Said = []
    for frame in play(dec, TALKS["pictures"]):
        stop = any(isinstance(e, FileOffer) and e.file_name == "rose.gif" for e in frame.events)
        out += written(dec, [frame], BLOCK if stop else PASSED)
    again = play(peer, out)
    assert content(again) == {"1": bytes(len(PIXELS)), "2": CONTENT, "3": b""}
    assert [e.texts[0].plain for e in of(Message, again)] == ["Look at this  and that", "They are quite lovely"]


@pytest.mark.parametrize(("payload", "files", "complete"), [
    (with_pictures(b"x", picture(1, PIXELS, 10)), [PIXELS[:10], PIXELS[10:] + b"</DATA></BINARY>"], [True, False]),
    (with_pictures(b"x", picture(1, PIXELS, 99999)), [PIXELS + b"</DATA></BINARY>"], [False]),
    (with_pictures(b"x", b'<DATA ID="1">' + PIXELS), [b'<DATA ID="1">' + PIXELS + b"</BINARY>"], [False]),
    (with_pictures(b"x", b'<DATA SIZE="-5">' + PIXELS), [b'<DATA SIZE="-5">' + PIXELS + b"</BINARY>"], [False]),
    (with_pictures(b"x", PIXELS), [PIXELS + b"</BINARY>"], [False]),
    (b"x<BINARY><" + b"a" * 400, [b"<" + b"a" * 400], [False]),
    (b"x<BINARY>" + b"</DATA>" * 6, [b"</DATA></DATA>"], [False]),
    (b"x<BINARY>", [], []),
    (b"x<BINARY>\r\n\0 ", [], []),
    (b"x<binary><data id='1' size='3'>abc</data></binary>", [b"abc"], [True]),
], ids=["size too small", "size too large", "no size", "negative", "no tag", "endless tag", "ends", "nothing", "blank",
        "small"])
def test_bytes_of_a_message_that_no_tag_tells_of_are_a_file_too(
    payload: bytes, files: list[bytes], complete: list[bool],
) -> None:
    """Sizes are text that lies: nothing behind the words goes unread, and nothing untold is complete."""
    frames = play(decoder(), [(UP, direct("bob", payload)), (UP, direct("bob", b"and on we go"))])
    assert list(content(frames).values()) == files
    assert [end.complete for end in of(FileEnd, frames)] == complete
    assert of(Message, frames)[-1].texts[0].plain == "and on we go"


@pytest.mark.parametrize("step", [1, 5, 4096])
def test_a_picture_that_hides_another_is_not_complete(step: int) -> None:
    """A reader that looks for the tag of number 2 finds it inside of number 1."""
    dec = decoder()
    data = direct("bob", with_pictures(b"x", picture(1, PIXELS + picture(2, PIXELS)), picture(3, PIXELS)))
    frames = [frame for at in range(0, len(data), step) for frame in dec.feed(Chunk(UP, AT, data[at:at + step]))]
    assert [end.complete for end in of(FileEnd, frames)] == [False, True]


def test_a_direct_im_is_known_by_its_cookie_too() -> None:
    """Through the proxy nobody's address tells: the first frame names the proposal."""
    memory = SharedMemory(10)
    memory.put(expect_key("oft", COOKIE.hex()), DIRECT, AT + 10)
    frames = play(decoder(memory=memory), [(UP, direct("bob", b"hello there"))])
    assert (of(Message, frames)[0].recipients, of(Message, frames)[0].conversation) == (("amy",), "bob")


def test_many_pictures_are_told_apart_up_to_a_bound() -> None:
    """Tags cost nothing to write, each file costs rows and a judgement."""
    payload = with_pictures(b"x", *(picture(n, b"") for n in range(5000)))
    assert len(of(FileStart, play(decoder(), [(UP, direct("bob", payload))]))) == oft.FILES + 1


def test_a_message_too_long_to_judge_is_a_fault() -> None:
    """Words beyond the longest frame; pictures may be larger, the words in front of them may not."""
    limits = Limits(frame_bytes=4096)
    frames = play(decoder(limits=limits), [(UP, direct("bob", b"x" * 5000))])
    assert frames[0].kind == BROKEN
    frames = play(decoder(limits=limits), [(UP, direct("bob", with_pictures(b"x", picture(1, b"y" * 50_000))))])
    assert content(frames) == {"1": b"y" * 50_000}
    frames = play(decoder(), [(UP, direct("bob", b"x", head=500)), (UP, direct("bob", b"", head=513))])
    assert of(Message, frames)[0].texts[0].plain == "x"
    assert frames[-1].kind == BROKEN


def test_words_are_told_before_their_pictures_are_here() -> None:
    """A message is judged when its words are whole, however its bytes come and however long the header is."""
    for head in (76, 300):
        dec = decoder()
        data = direct("<binary>", with_pictures(b"look", picture(1, PIXELS)), head=head)
        said = [(at, frame) for at in range(len(data)) for frame in dec.feed(Chunk(UP, AT, data[at:at + 1]))]
        assert said[0][0] == head + len(b"look<BINARY>") - 1
        assert of(Message, [said[0][1]])[0].texts[0].plain == "look"
        assert content([frame for _, frame in said])["1"] == PIXELS


# -- the proxy, and what is known by its cookie


@pytest.mark.parametrize("talk", ["proxy, sender", "proxy, receiver"])
def test_the_proxy_s_cookie_names_what_was_announced(talk: str) -> None:
    """Create and join carry the proposal's cookie: the file is the announced one, of the conversation's people."""
    memory = SharedMemory(10)
    memory.put(expect_key("oft", COOKIE.hex()), ANNOUNCED, AT + 10)
    frames = play(decoder(memory=memory), TALKS[talk])
    assert of(FileOffer, frames) == []
    assert of(FileStart, frames)[0].expected is ANNOUNCED
    assert content(frames) == {"1": CONTENT}


def test_the_ack_s_cookie_names_what_was_announced() -> None:
    """In the direct case only the receiver names the proposal; the prompt was judged as an offer of its own by then."""
    memory = SharedMemory(10)
    memory.put(expect_key("oft", COOKIE.hex()), ANNOUNCED, AT + 10)
    frames = play(decoder(memory=memory), sent(DOWN, CONTENT))
    assert len(of(FileOffer, frames)) == 1
    start, = of(FileStart, frames)
    assert start.expected is ANNOUNCED
    assert start.offer.sender == "amy"


def test_a_proxy_s_frame_is_none_in_the_middle_of_a_file_s_connection() -> None:
    """Behind the first header of OFT there are only headers and content; errors are told, lengths bounded."""
    assert play(decoder(), [*sent(DOWN, b"x"), (DOWN, proxy(5))])[-1].kind == BROKEN
    assert oddities(play(decoder(), [(DOWN, proxy(1, b"\0\x0d"))])) == ["oft.proxy_error"]
    assert play(decoder(), [(DOWN, proxy(2, b"x" * 2000))])[-1].kind == BROKEN
    assert [frame.kind for frame in play(decoder(), [(UP, proxy(2, b"\xffab")), (UP, proxy(4, b"\1a"))])] == [
        "oft.ars.2", "oft.ars.4"]


# -- gaps, late joins, recognition


def test_lost_bytes_inside_a_file_are_counted() -> None:
    """The next header is found behind them; the file is not complete."""
    dec = decoder()
    play(dec, [(DOWN, header(0x0101, 100)), (UP, header(0x0202, 100)), (DOWN, b"a" * 30)])
    frames = dec.feed(Chunk(DOWN, AT, b"b" * 50, 20)) + dec.feed(Chunk(DOWN, AT, header(0x0101, 5, "next")))
    assert of(FilePart, frames) == [FilePart(transfer="1", data=b"b" * 50, gap=20)]
    assert of(FileEnd, frames) == [FileEnd(transfer="1", complete=False, detail="bytes were lost")]
    assert of(FileOffer, frames)[0].file_name == "next"


def test_after_a_longer_gap_the_next_header_is_found() -> None:
    """The file's end is told; what cannot be placed is passed unread."""
    dec = decoder()
    play(dec, [(DOWN, header(0x0101, 100)), (UP, header(0x0202, 100)), (DOWN, b"a" * 30)])
    frames = dec.feed(Chunk(DOWN, AT, b"OFT2 odd ODC2" + header(0x0101, 5, "next") + b"hello", 500))
    assert [type(event) for event in events(frames)] == [FileEnd, FileOffer, FileStart, FilePart, FileEnd]
    assert frames[1].raw == b"OFT2 odd ODC2"
    assert "oft.unread" in oddities(frames)


def test_a_gap_in_a_header_or_a_message_loses_its_place() -> None:
    """What was held is passed as damaged."""
    dec = decoder()
    dec.feed(Chunk(UP, AT, direct("bob", b"hello there")[:80]))
    frames = dec.feed(Chunk(UP, AT, b"ere" + direct("bob", b"again"), 4))
    assert oddities(frames) == ["oft.damaged", "oft.unread"]
    assert of(Message, frames)[0].texts[0].plain == "again"
    assert dec.pending(UP) == 0


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_a_flow_joined_late_is_read_from_its_next_header(step: int) -> None:
    """However it is cut: the rest of a file first, then a prompt."""
    dec = decoder(from_start=False)
    data = b"xOFODC2" + noise(50) + b"OFT2" + header(0x0101, 5, "late") + b"hello"
    frames = [frame for at in range(0, len(data), step) for frame in dec.feed(Chunk(DOWN, AT, data[at:at + step]))]
    assert of(FileOffer, frames)[0].file_name == "late"
    assert content(frames) == {"1": b"hello"}
    assert b"".join(frame.raw for frame in frames) == data


def test_a_header_cut_off_by_the_end_is_passed_as_it_came() -> None:
    """Bytes left at the end are no error."""
    dec = decoder()
    dec.feed(Chunk(DOWN, AT, header(0x0101, 5)[:100]))
    frame, = dec.feed(Chunk(DOWN, AT, b"", 0, True))
    assert (frame.kind, len(frame.raw), dec.pending(DOWN)) == ("oft.truncated", 100, 0)


@pytest.mark.parametrize(("up", "down", "match"), [
    (b"", b"", Match.MORE),
    (b"", b"O", Match.MORE),
    (b"", b"OFT2\1\0", Match.MORE),
    (b"", header(0x0101, 5), Match.STRONG),
    (header(0x0101, 5), b"", Match.STRONG),
    (direct("bob", flags=0x60), b"", Match.STRONG),
    (b"", b"OFT2\0\0\1\1", Match.NO),
    (b"", b"OFT2\1\0\x47\x11", Match.NO),
    (b"ODC2\0\x4d\0\1", b"", Match.NO),
    (b"\0", b"", Match.MORE),
    (proxy(2, b"\3amy" + COOKIE)[:8], b"", Match.MORE),
    (proxy(2, b"\3amy" + COOKIE), b"", Match.STRONG),
    (proxy(2)[:6] + b"abcd", b"", Match.WEAK),
    (proxy(9, b"\3amy" + COOKIE), b"", Match.NO),
    (b"GET / HTTP/1.1\r\n", b"", Match.NO),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", b"", Match.NO),
])
def test_it_is_known_by_the_first_bytes_of_either_side(up: bytes, down: bytes, match: Match) -> None:
    """Magic and a plausible length; for the proxy its mark, a small length and a known type."""
    assert probe(up, down) is match


# -- through the engine


def session(expected: Expect | None = None) -> Play:
    policy = FilePolicy("spool")
    kit = Kit(classifier((SPEC,)), Rules(1, policy, ToyScanner()), Limits(), specs={"oft": SPEC})
    world = World(kit.limits)
    return Play(Session(flow(expected), kit, world), world)


def sends(play: Play) -> Said:
    found = [(effect.way, effect.data) for effect in play.last if isinstance(effect, Send)]
    play.last = []
    return found


GOOD = FileReport(size=len(CONTENT), sha256="aa", sha1="bb", md5="cc", kinds=("text",))
BAD = FileReport(size=9, sha256="aa", sha1="bb", md5="cc", findings=(Finding("yara", "core.eicar", "high"),))


def test_a_spooled_file_leaves_only_after_its_verdict() -> None:
    """Prompt and ack pass at once, or there would be no content; of that nothing leaves before it is judged."""
    p = session(ANNOUNCED)
    prompt, ack, body, done = TALKS["listener sends"]
    for way, data in (prompt, ack):
        p >> Chunk(way, AT, data)
        assert sends(p) == [(way, data)]
    p >> Chunk(*(DOWN, AT, body[1]))
    spooled = [effect for effect in p.last if isinstance(effect, Spool)]
    assert b"".join(effect.content for effect in spooled) == b"".join(effect.raw for effect in spooled) == CONTENT
    judge = next(effect for effect in p.last if isinstance(effect, Judge))
    assert (judge.about.sender, judge.about.file_name, judge.about.complete) == ("amy", "plan.txt", True)
    assert sends(p) == []
    p >> Judged(judge.file, AT, GOOD)
    assert sends(p) == []
    p >> Unspooled(judge.file, AT, CONTENT, True)
    assert sends(p) == [(DOWN, CONTENT)]
    p >> Chunk(done[0], AT, done[1])
    assert sends(p) == [done]


def test_a_spooled_file_that_is_refused_ends_the_connection_and_is_told() -> None:
    """Both ends see the connection close; the people of the conversation that announced it are told."""
    p = session(ANNOUNCED)
    for way, data in TALKS["listener sends"][:3]:
        p.last = []
        p >> Chunk(way, AT, data)
    judge = next(effect for effect in p.last if isinstance(effect, Judge))
    p.last = []
    p >> Judged(judge.file, AT, BAD)
    assert sends(p) == []
    p >> Kept(p.durable, AT)
    tell = next(effect for effect in p.last if isinstance(effect, Tell))
    assert (tell.flow, tell.notice.about) == ("c", OFFER)
    assert any(isinstance(effect, Cut) for effect in p.last)
    assert sends(p) == []


def test_a_prompt_is_refused_before_the_receiver_reads_it() -> None:
    """A name that the policy refuses: the prompt does not leave."""
    p = session()
    p >> Chunk(DOWN, AT, header(0x0101, 50, "bad.exe"))
    p.last = []
    p >> Kept(p.durable, AT)
    assert any(isinstance(effect, Cut) for effect in p.last)
    assert sends(p) == []


def test_words_wait_for_no_picture_and_pictures_for_their_words() -> None:
    """A direct message: the words leave when they are judged; the picture behind them when it is."""
    p = session(DIRECT)
    for way, data in TALKS["pictures"][:2]:
        p >> Chunk(way, AT, data)
        p.last = []
    data = direct("amy", with_pictures(b"mask the secret", picture(1, PIXELS)))
    p >> Chunk(DOWN, AT, data)
    judge = next(effect for effect in p.last if isinstance(effect, Judge))
    assert sends(p) == []  # the words are masked, which must be on disk first
    p >> Kept(p.durable, AT)
    assert sends(p) == [(DOWN, data[:76] + b"mask the ******<BINARY>")]
    p >> Judged(judge.file, AT, GOOD)
    p.last = []
    p >> Unspooled(judge.file, AT, b'<DATA ID="1" SIZE="606">' + PIXELS, True)
    assert b"".join(data for _, data in sends(p)) == b'<DATA ID="1" SIZE="606">' + PIXELS + b"</DATA></BINARY>"


# -- speed


def test_content_costs_little_and_is_not_copied() -> None:
    """A chunk that is all content is its own raw and its own part; the work for a megabyte is far below a disk's."""
    dec = decoder()
    size = 64 << 20
    play(dec, [(DOWN, header(0x0101, size)), (UP, header(0x0202, size))])
    chunk = Chunk(DOWN, AT, noise(1 << 16))
    frames = dec.feed(chunk)
    assert frames[-1].raw is chunk.data
    assert isinstance(frames[-1].events[0], FilePart)
    assert frames[-1].events[0].data is chunk.data
    started = time.process_time()
    for _ in range((size >> 16) - 1):
        for frame in dec.feed(chunk):
            dec.apply(frame, [PASSED])
    assert time.process_time() - started < 0.5
    assert dec.feed(Chunk(DOWN, AT, header(0x0101, 5)))[0].kind == "oft.0101"


def test_dribbled_messages_are_read_in_linear_time() -> None:
    """Half a megabyte of words, byte by byte, is looked at once."""
    dec = decoder()
    data = direct("bob", b"x" * 500_000)
    started = time.process_time()
    frames = [frame for at in range(len(data)) for frame in dec.feed(Chunk(UP, AT, data[at:at + 1]))]
    assert len(of(Message, frames)) == 1
    assert time.process_time() - started < 5


def test_the_spec_says_whose_side_connection_it_is() -> None:
    """Policy and log call it oscar."""
    assert (SPEC.parent, SPEC.expected_only, SPEC.signs_on) == ("oscar", False, False)
