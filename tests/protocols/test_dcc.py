"""DCC SEND and CHAT: content, acknowledgements, ends, lines; what is held, refused, and what nobody announced."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inspector.engine.world import SharedMemory
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Cut,
    Encryption,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Limits,
    Match,
    Message,
    Notice,
    Oddity,
    Opaque,
    Send,
    Text,
    Verdict,
    Way,
    expect_key,
)
from inspector.protocols.dcc import NO_NESTED, SPEC, ChatDecoder, FileDecoder, probe
from tests.protocols.direct_disguises import DCC as DISGUISES  # noqa: F401 - read by the evasion suite

Said = list[tuple[Way, bytes]]

PHOTO = bytes(range(256)) * 20
PLACE = "192.0.2.1:4000"


def file_offer(**more: Any) -> FileOffer:
    given: dict[str, Any] = {
        "sender": "bob", "recipients": ("alice",), "conversation": "Example/bob", "file_name": "roses.png",
        "size": len(PHOTO), "method": "dcc", "address": PLACE, "answerable": False, **more,
    }
    return FileOffer(**given)


def announced(key: str = "SEND", *, reverse: bool = False, **more: Any) -> Expect:
    return Expect(PLACE, "dcc", "alice", key, file_offer(**more), "c", "claimed", reverse=reverse)


def talk_offer(*, reverse: bool = False, **more: Any) -> Expect:
    offer = file_offer(file_name="", size=None, method="dcc_chat", **more)
    return Expect(PLACE, "dcc", "alice", "CHAT", offer, "c", "claimed", reverse=reverse)


def total(number: int, size: int = 4) -> bytes:
    return number.to_bytes(size)


TALKS: dict[str, Said] = {
    "send": [
        (DOWN, PHOTO[:2000]), (UP, total(2000)), (DOWN, PHOTO[2000:4000]), (DOWN, PHOTO[4000:]),
        (UP, total(4000) + total(5120)),
    ],
    "turbo": [(DOWN, PHOTO)],
    "reverse": [(UP, PHOTO[:3000]), (DOWN, total(1460) + total(3000)), (UP, PHOTO[3000:]), (DOWN, total(5120))],
    "long-acks": [(DOWN, PHOTO), (UP, total(5120, 8))],
    "chat": [
        (DOWN, b"good evening alice, how is the garden doing\n"),
        (UP, b"all is well here, thank you\r\n\x01ACTION waves with both hands\x01\r\n"),
        (DOWN, b"\n\x02wonderful\x02 news, \x0304alice\x0f!\n"),
        (UP, "schöne Grüße aus dem Gemüsegarten\r\n".encode("cp1252")),
        (UP, "in the garden: 庭のトマト\r\n".encode("iso2022_jp")),
        (DOWN, b"+OK dGhpc2lzbm90cmVhbGx5YWtleQ\n"),
        (DOWN, b"-----BEGIN PGP MESSAGE-----\nhQEMA1234567890\n-----END PGP MESSAGE-----\nin clear again, alice\n"),
        (UP, b"\x01VERSION of a client\x01\n\x01DCC SEND nested.txt 3221225991 5000 12\x01\n"),
        (UP, b"long words " * 3000 + b"\n"),
        (UP, b"short again after it all\n"),
    ],
    "chat-reverse": [(UP, b"hello from the one who offered\n"), (DOWN, b"hello from the one who listens\n")],
}
EXPECTED: dict[str, Expect] = {
    "": announced(),
    "turbo": announced("TSEND"),
    "reverse": announced(reverse=True),
    "chat": talk_offer(),
    "chat-reverse": talk_offer(reverse=True),
}

FLOW = Flow("f", Address("192.0.2.7", 40000), Address("192.0.2.1", 4000))
HOLD = Verdict(Action.HOLD)
BLOCK = Verdict(Action.BLOCK, "r", notice="Not delivered, reference ABCD-EFGH.")


class Files:
    """A decoder of a file, and what it was fed."""

    def __init__(
        self, expected: Expect | None, *, memory: SharedMemory | None = None, limits: Limits | None = None, **flow: Any,
    ) -> None:
        where = msgspec.structs.replace(FLOW, expected=expected, **flow)
        made = SPEC.decoder(
            where, limits or Limits(), SharedMemory(10) if memory is None else memory, frozenset())
        assert isinstance(made, FileDecoder)
        self.decoder = made
        self.frames: list[Frame] = []

    def feed(self, way: Way, data: bytes = b"", **more: Any) -> list[Frame]:
        frames = self.decoder.feed(Chunk(way, 5.0, data, **more))
        self.frames += frames
        return frames

    def hold(self, way: Way, data: bytes) -> list[Act]:
        """What is sent for `data` while it is held."""
        return [a for f in self.feed(way, data) for a in self.decoder.apply(f, [HOLD] * len(f.events))]

    def content(self, way: Way = DOWN) -> bytes:
        return b"".join(e.data for f in self.frames if f.way is way for e in f.events if isinstance(e, FilePart))

    @property
    def starts(self) -> list[FileStart]:
        return [e for f in self.frames for e in f.events if isinstance(e, FileStart)]

    @property
    def ends(self) -> list[FileEnd]:
        return [e for f in self.frames for e in f.events if isinstance(e, FileEnd)]

    @property
    def oddities(self) -> list[str]:
        return [o.name for f in self.frames for o in f.oddities]


# -- SEND


def test_a_file_begins_with_its_first_byte_and_ends_with_its_size() -> None:
    """Start, parts and end are frames of their own; the content is the bytes as they came, not copied."""
    files = Files(announced())
    files.feed(DOWN, PHOTO[:2000])
    files.feed(DOWN, PHOTO[2000:])
    assert [f.raw for f in files.frames] == [b"", PHOTO[:2000], PHOTO[2000:], b""]
    expected = announced()
    assert expected.offer is not None
    assert files.starts == [FileStart(transfer="1", offer=expected.offer, expected=expected)]
    assert files.content() == PHOTO
    assert files.ends == [FileEnd(transfer="1", complete=True)]
    assert files.feed(DOWN, end=True) == []
    chunk = b"x" * 100
    frame = Files(announced()).feed(DOWN, chunk)[1]
    part = frame.events[0]
    assert isinstance(part, FilePart)
    assert part.data is chunk
    assert frame.raw is chunk


def test_long_chunks_come_in_parts() -> None:
    """No frame is longer than `part_bytes`."""
    files = Files(announced(size=None), limits=Limits(part_bytes=1000))
    files.feed(DOWN, PHOTO)
    assert max(len(f.raw) for f in files.frames) == 1000
    assert files.content() == PHOTO


def test_a_short_file_is_not_complete() -> None:
    """Its sender closed before the announced size."""
    files = Files(announced())
    files.feed(DOWN, PHOTO[:100])
    files.feed(DOWN, end=True)
    assert files.ends == [FileEnd(transfer="1", complete=False, detail="100 of 5120 bytes")]


@pytest.mark.parametrize(("size", "complete"), [(0, True), (None, True), (7, False)])
def test_a_file_without_a_byte_ends_when_its_sender_closes(size: int | None, *, complete: bool) -> None:
    """Nothing came: a file of size 0 is whole, one of more is not."""
    files = Files(announced(size=size))
    assert files.feed(UP, end=True) == []
    files.feed(DOWN, end=True)
    assert len(files.starts) == 1
    assert [end.complete for end in files.ends] == [complete]
    assert files.content() == b""


def test_a_size_of_0_that_is_none() -> None:
    """What comes all the same is read to its end, and the lie is told."""
    files = Files(announced(size=0))
    files.feed(DOWN, b"abc")
    assert files.ends == []
    files.feed(DOWN, end=True)
    assert files.ends == [FileEnd(transfer="1", complete=False, detail="3 of 0 bytes")]


def test_a_file_without_a_size_ends_when_its_sender_closes() -> None:
    """Offers of old clients have none."""
    files = Files(announced(size=None))
    files.feed(DOWN, PHOTO)
    files.feed(DOWN, end=True)
    assert files.ends == [FileEnd(transfer="1", complete=True)]


def test_what_comes_behind_the_end_belongs_to_no_file() -> None:
    """More than was announced: nobody takes it, and with a refusal the connection ends."""
    files = Files(announced(size=4))
    frames = files.feed(DOWN, b"abcdEVIL")
    assert files.ends == [FileEnd(transfer="1", complete=True)]
    assert frames[-1].events == (FilePart(transfer="1+", data=b"EVIL"),)
    assert frames[-1].oddities == (Oddity("dcc.excess"),)
    assert files.decoder.apply(frames[-1], [BLOCK]) == [Cut("a file was refused")]


def test_a_resumed_file_begins_at_its_offset() -> None:
    """What ACCEPT said on IRC is in memory: the size is counted from there, and it is never complete."""
    memory = SharedMemory(10)
    memory.put(expect_key("dcc", PLACE), 5000, 10.0)
    files = Files(announced(), memory=memory)
    files.feed(DOWN, PHOTO[5000:])
    assert [start.offset for start in files.starts] == [5000]
    assert files.ends == [FileEnd(transfer="1", complete=False, detail="resumed at 5000 bytes")]
    memory.put(expect_key("dcc", PLACE), 9999, 10.0)
    files = Files(announced(), memory=memory)
    files.feed(DOWN, b"abc")
    files.feed(DOWN, end=True)
    assert files.ends[0].complete is False


def test_lost_bytes_are_counted_and_told() -> None:
    """A capture with a hole: the content has it, the size is reached all the same, and it is not complete."""
    files = Files(announced(size=10))
    files.feed(DOWN, b"abc")
    files.feed(DOWN, b"hij", gap=4)
    parts = [e for f in files.frames for e in f.events if isinstance(e, FilePart)]
    assert parts[1] == FilePart(transfer="1", data=b"", gap=4)
    assert files.ends == [FileEnd(transfer="1", complete=False, detail="bytes are missing")]


def test_passive_dcc_is_sent_by_the_one_who_connects() -> None:
    """`reverse`: the content is UP, the acknowledgements DOWN."""
    files = Files(announced(reverse=True))
    files.feed(UP, PHOTO)
    files.feed(DOWN, total(len(PHOTO)))
    assert files.content(UP) == PHOTO
    assert files.frames[-1].kind == "dcc.ack"


# -- acknowledgements


def test_acknowledgements_pass_whole() -> None:
    """Running totals, cut anywhere; what is left of one at the end leaves, too."""
    files = Files(announced())
    files.feed(DOWN, PHOTO)
    assert files.feed(UP, total(1000) + b"\0\0") == [Frame(UP, 5.0, total(1000), "dcc.ack")]
    assert files.decoder.pending(UP) == 2
    (frame,) = files.feed(UP, total(2000)[2:] + total(3000)[:1], end=True)[:1]
    assert frame.raw == total(2000)
    assert files.frames[-1].raw == b"\0"
    assert files.decoder.pending(UP) == 0


def test_a_held_file_is_acknowledged_by_us() -> None:
    """The sender hears the running total of each part; what the receiver says later is kept."""
    files = Files(announced())
    assert files.hold(DOWN, PHOTO[:2000]) == [Send(DOWN, PHOTO[:2000]), Send(UP, total(2000))]
    assert files.hold(DOWN, PHOTO[2000:]) == [Send(DOWN, PHOTO[2000:]), Send(UP, total(5120))]
    (ack,) = files.feed(UP, total(5120))
    assert files.decoder.apply(ack, ()) == []


def test_a_held_resumed_file_is_acknowledged_from_the_start_of_the_file() -> None:
    """The total counts what the receiver had."""
    memory = SharedMemory(10)
    memory.put(expect_key("dcc", PLACE), 5000, 10.0)
    assert Files(announced(), memory=memory).hold(DOWN, b"abc")[1:] == [Send(UP, total(5003))]


def test_totals_wrap_at_32_bits() -> None:
    """Files above 4 GiB."""
    memory = SharedMemory(10)
    memory.put(expect_key("dcc", PLACE), (1 << 32) - 1, 10.0)
    files = Files(announced(size=None), memory=memory)
    assert files.hold(DOWN, b"abc")[1:] == [Send(UP, total(2))]
    (ack,) = files.feed(UP, total(2))
    assert ack.kind == "dcc.ack"


def test_turbo_senders_are_not_acknowledged() -> None:
    """TSEND: they do not read, and an unread acknowledgement would break the connection when they close."""
    assert Files(announced("TSEND")).hold(DOWN, b"abc") == [Send(DOWN, b"abc")]


def test_what_is_not_held_is_acknowledged_by_its_receiver() -> None:
    """Files that pass are not touched."""
    files = Files(announced())
    frames = files.feed(DOWN, PHOTO)
    acts = [a for f in frames for a in files.decoder.apply(f, [PASSED] * len(f.events))]
    assert acts == [Send(DOWN, PHOTO)]
    (ack,) = files.feed(UP, total(5120))
    assert files.decoder.apply(ack, ()) == [Send(UP, total(5120))]


# -- nothing slips through


def test_content_in_place_of_acknowledgements_is_a_file_nobody_offered() -> None:
    """Two friends of each other could use the way back: it is judged, with the people the other way round."""
    files = Files(announced())
    files.feed(DOWN, PHOTO[:100])
    frames = files.feed(UP, total(50) + b"MZ\x90\0 evil")
    assert files.oddities == ["dcc.both_ways"]
    assert [f.raw for f in frames] == [total(50), b"", b"", b"MZ\x90\0 evil"]
    offer, start = frames[2].events
    assert isinstance(offer, FileOffer)
    assert (offer.sender, offer.recipients, offer.size, offer.conversation) == ("alice", ("bob",), None, "Example/bob")
    assert isinstance(start, FileStart)
    assert start.offer is offer
    files.feed(UP, b" more")
    files.feed(UP, end=True)
    assert files.content(UP) == b"MZ\x90\0 evil more"
    assert files.ends == [FileEnd(transfer=start.transfer, complete=True)]


def test_totals_that_run_back_or_ahead_are_content() -> None:
    """A running total never falls, and nobody has received what was not sent."""
    for forged in (total(200), total(50) + total(40)):
        files = Files(announced())
        files.feed(DOWN, PHOTO[:100])
        files.feed(UP, forged)
        assert files.oddities == ["dcc.both_ways"]


def test_a_capture_may_have_acknowledgements_early() -> None:
    """Data that was lost or is late in a capture was acknowledged all the same."""
    files = Files(announced(), file="a.pcap")
    files.feed(DOWN, PHOTO[:100])
    files.feed(UP, total(2000))
    assert files.oddities == []


@pytest.mark.parametrize("data", [b"MZ\x90\0 wrong", b"ab"])
def test_the_announced_file_from_the_wrong_end(data: bytes) -> None:
    """Whoever speaks first sends it, be it three bytes."""
    files = Files(announced())
    files.feed(UP, data)
    files.feed(UP, end=True)
    assert files.oddities == ["dcc.wrong_way"]
    assert files.content(UP) == data
    assert files.starts[0].offer.file_name == "roses.png"
    assert [end.complete for end in files.ends] == [False]


def test_what_nobody_announced_is_a_file_of_its_own() -> None:
    """On a listener for DCC alone: who speaks first sends."""
    files = Files(None)
    frames = files.feed(DOWN, b"abc")
    offer, start = frames[0].events
    assert offer == FileOffer(method="dcc", address="192.0.2.1:4000", answerable=False)
    assert isinstance(start, FileStart)
    files.feed(UP, total(3))
    files.feed(DOWN, end=True)
    assert files.content() == b"abc"
    assert files.frames[2].kind == "dcc.ack"
    empty = Files(None)
    assert empty.feed(DOWN, end=True) == []


def test_tls_that_was_not_opened_is_told() -> None:
    """SSEND: nothing can be read of it. A file may begin with the same bytes."""
    for expected, way, told in (
        (announced("SSEND"), UP, True), (announced("SEND"), UP, True), (announced("SSEND", reverse=True), UP, True),
        (announced("SEND", reverse=True), UP, False), (announced("SEND"), DOWN, False),
    ):
        files = Files(expected)
        files.feed(way, b"\x16\x03\x01\x02\x00\x01")
        assert (files.decoder.undecryptable is not None) is told


def test_a_refusal_ends_the_connection_and_nothing_can_be_said_in_a_file() -> None:
    """DCC has no words for it: people are told on IRC."""
    files = Files(announced(size=3))
    end = files.feed(DOWN, b"abc")[-1]
    assert files.decoder.apply(end, [BLOCK]) == [Cut("a file was refused")]
    assert files.decoder.ready(UP) is files.decoder.ready(DOWN) is False
    assert files.decoder.inject(Notice("x"), DOWN) == []
    assert files.decoder.close("x") == []


# -- CHAT


class Chat:
    """A decoder of a chat, driven a line at a time. Bob offered it, alice is ours."""

    def __init__(
        self, expected: Expect | None = None, *, edits: frozenset[str] = frozenset(),
        memory: SharedMemory | None = None, **limits: int,
    ) -> None:
        where = msgspec.structs.replace(FLOW, expected=expected or talk_offer())
        made = SPEC.decoder(where, Limits(**limits), SharedMemory(10) if memory is None else memory, edits)
        assert isinstance(made, ChatDecoder)
        self.decoder = made

    def feed(self, way: Way, data: bytes, **more: Any) -> list[Frame]:
        return self.decoder.feed(Chunk(way, 5.0, data, **more))

    def carry(self, way: Way, data: bytes, *verdicts: Verdict) -> list[Act]:
        (frame,) = self.feed(way, data)
        return self.decoder.apply(frame, verdicts)


def test_lines_are_messages_of_two_people() -> None:
    """Who offered it listens; of a reverse one he connects. Only our user can be told what became of his words."""
    chat = Chat()
    (frame,) = chat.feed(DOWN, b"hello \x02alice\x02\n")
    assert frame.events == (Message(
        sender="bob", recipients=("alice",), conversation="Example/bob", texts=(Text("body", "hello alice"),),
        written="hello \x02alice\x02", answerable=False),)
    (frame,) = chat.feed(UP, b"hello bob\r\n")
    assert frame.events == (Message(
        sender="alice", recipients=("bob",), conversation="Example/bob", texts=(Text("body", "hello bob"),)),)
    (frame,) = Chat(talk_offer(reverse=True, answerable=True)).feed(UP, b"hello\n")
    assert isinstance(frame.events[0], Message)
    assert (frame.events[0].sender, frame.events[0].answerable) == ("bob", True)


def test_both_are_told_where_both_are_users_of_ours() -> None:
    """The sessions in which the chat was arranged have left word."""
    memory = SharedMemory(10)
    for end in ("listener", "connector"):
        memory.put(f"dcc:{end}:{PLACE}", value=True, until=10.0)
    chat = Chat(memory=memory)
    for way in (UP, DOWN):
        (act,) = chat.carry(way, b"secret\n", BLOCK)
        assert isinstance(act, Send)
        assert act.way is way.other
        event = chat.feed(way, b"x\n")[0].events[0]
        assert isinstance(event, Message)
        assert event.answerable
    assert [act.way for act in chat.decoder.close("over") if isinstance(act, Send)] == [UP, DOWN]


def test_an_action_and_other_requests_are_told_apart() -> None:
    """ACTION is words of a person; other CTCP is opaque; an empty line is nothing."""
    chat = Chat()
    frames = chat.feed(UP, b"\x01ACTION waves\x01\n\x01VERSION a b\x01\n\n\x01PING\x01\n")
    assert [type(f.events[0]).__name__ if f.events else None for f in frames] == ["Message", "Opaque", None, "Opaque"]
    action, version = frames[0].events[0], frames[1].events[0]
    assert isinstance(action, Message)
    assert (action.kind, action.texts) == ("action", (Text("body", "waves"),))
    assert isinstance(version, Opaque)
    assert (version.kind, version.texts) == ("ctcp.version", (Text("body", "a b"),))


def test_encrypted_lines_are_told() -> None:
    """FiSH, and all lines inside of a PGP armour."""
    chat = Chat()
    said = b"+OK abcdefghijkl\n-----BEGIN PGP MESSAGE-----\nabc\n-----END PGP MESSAGE-----\nclear\n"
    found = [f.events[0].encryption for f in chat.feed(DOWN, said) if isinstance(f.events[0], Message)]
    pgp = Encryption("metadata", "openpgp")
    assert found == [Encryption("metadata", "fish"), pgp, pgp, pgp, Encryption()]


def test_a_line_is_masked_in_its_place() -> None:
    """In its charset, marks and line end kept; a mask on another reading of it takes the line out."""
    mask = Verdict(Action.REDACT, "r", masks=((0, 0, 5),))
    assert Chat().carry(UP, "Grüße an alle\r\n".encode("cp1252"), mask) == [Send(UP, b"***** an alle\r\n")]
    assert Chat().carry(UP, b"\x01ACTION waves to all\x01\n", mask) == [Send(UP, b"\x01ACTION ***** to all\x01\n")]
    other = Verdict(Action.REDACT, "r", masks=((1, 0, 5),))
    assert Chat().carry(UP, "schön".encode() + b"\xff\n", other) == []


def test_a_refused_line_is_gone_or_replaced_and_its_writer_told() -> None:
    """The notice bears our name: the other one did not say it."""
    notice = Send(DOWN, b"-inspector- Not delivered, reference ABCD-EFGH.\n")
    assert Chat().carry(UP, b"secret\n", BLOCK) == [notice]
    placeholder = Verdict(Action.BLOCK, "r", placeholder="[removed]\r\nx")
    assert Chat().carry(DOWN, b"secret\r\n", placeholder) == [Send(DOWN, b"[removed]  x\r\n")]
    warn = Verdict(Action.WARN, "r", notice="careful")
    assert Chat().carry(UP, b"hm\n", warn) == [Send(UP, b"hm\n"), Send(DOWN, b"-inspector- careful\n")]


def test_a_long_line_comes_in_parts_and_ends_where_it_is_refused() -> None:
    """Nothing behind a refused part leaves; what had left of the line gets its end."""
    chat = Chat(dcc_line_bytes=10)
    frames = chat.feed(UP, b"0123456789abcdefghij" + b"klm\n")
    assert [(f.raw, f.part) for f in frames] == [(b"0123456789", "first"), (b"abcdefghij", "more"), (b"klm\n", "last")]
    assert frames[0].oddities == (Oddity("dcc.endless_line"),)
    sent = [a for f, v in zip(frames, (PASSED, Verdict(Action.BLOCK, "r"), PASSED), strict=True)
            for a in chat.decoder.apply(f, [v])]
    assert sent == [Send(UP, b"0123456789"), Send(UP, b"\n")]
    assert chat.decoder.ready(UP) is True
    chat.decoder.apply(chat.feed(UP, b"0123456789a")[0], [PASSED])
    assert chat.decoder.ready(UP) is False
    assert chat.carry(UP, b"b\n", PASSED) == [Send(UP, b"ab\n")]
    assert chat.carry(UP, b"next\n", PASSED) == [Send(UP, b"next\n")]


def test_an_offer_inside_of_a_chat_is_judged_and_announced_or_not_passed_on() -> None:
    """Its connection would be nobody's who looks at IRC: by default it is not passed on."""
    said = b"\x01DCC SEND plan.exe 3221225991 5000 12\x01\n"
    chat = Chat()
    (frame,) = chat.feed(UP, said)
    offer = FileOffer(
        sender="alice", recipients=("bob",), conversation="Example/bob", file_name="plan.exe", size=12, method="dcc",
        address="192.0.2.7:5000", texts=(Text("file_name", "plan.exe", None, False),))
    assert frame.events == (offer,)
    assert chat.decoder.apply(frame, [PASSED]) == [
        Send(UP, said), Expect("192.0.2.7:5000", "dcc", "alice", "SEND", offer, "c", "claimed")]
    strict = Chat(edits=frozenset({NO_NESTED}))
    (frame,) = strict.feed(UP, said)
    assert frame.edit == NO_NESTED
    assert [act.way for act in strict.decoder.apply(frame, [PASSED]) if isinstance(act, Send)] == [DOWN]


def test_a_line_without_end_leaves_with_the_end_of_the_stream_and_after_a_hole_reading_goes_on() -> None:
    """Conservation, and no word is skipped."""
    chat = Chat()
    (frame,) = chat.feed(UP, b"bye", end=True)
    assert (frame.raw, frame.oddities) == (b"bye", (Oddity("dcc.unended_line"),))
    chat = Chat()
    assert chat.feed(UP, b"half a") == []
    frames = chat.feed(UP, b"line\n", gap=3)
    assert [f.raw for f in frames] == [b"half a", b"line\n"]
    assert frames[0].oddities == (Oddity("dcc.partial_line"),)


def test_words_of_ours_and_the_last_line() -> None:
    """To either side a line; the last one to our user."""
    chat = Chat()
    assert chat.decoder.inject(Notice("a word\r\nx"), UP) == [Send(UP, b"-inspector- a word  x\n")]
    assert chat.decoder.close("over") == [Send(DOWN, b"-inspector- over\n")]


def test_tls_in_a_chat_is_told() -> None:
    """SCHAT."""
    chat = Chat(msgspec.structs.replace(talk_offer(), key="SCHAT"))
    chat.feed(UP, b"\x16\x03\x01\x02\x00\x01")
    assert chat.decoder.undecryptable is not None


def test_the_probe_knows_nothing() -> None:
    """DCC is read where it was announced, nowhere else."""
    assert probe(PHOTO, b"") is Match.NO
