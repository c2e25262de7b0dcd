"""Files over XMPP: what is read of them, how they are held, released and refused, and what is not believed."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import SharedMemory, World
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Event,
    Expect,
    FileEnd,
    FileMode,
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
    Note,
    Rules,
    Send,
    Spool,
    Unspool,
    Unspooled,
    Verdict,
    Way,
)
from inspector.protocols.xmpp import REFUSE_BLOCKS, SPEC, XmppDecoder
from tests.engine.toy import ToyScanner
from tests.engine.toyfiles import FilePolicy
from tests.playbook import Play
from tests.protocols.test_xmpp import ME, ON, block, login, one, passed, play, root, sent
from tests.protocols.xmpp_talks import (
    BOB,
    CONTENT,
    FILES,
    IBB,
    closing,
    data,
    described,
    ends,
    in_band,
    iq,
    jingle,
    message_block,
    opening,
    si_answer,
    si_offer,
    transport_ibb,
    transport_s5b,
)

C = "{jabber:client}"
ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
HELD = Verdict(Action.HOLD)
EVIL = Verdict(Action.BLOCK, "malware", reference="ABCD-EFGH")
UPLOAD = "urn:xmpp:http:upload:0"
BYTESTREAMS = "http://jabber.org/protocol/bytestreams"


class Leases(SharedMemory):
    """Memory that leases one port after the other, and notes for whom."""

    __slots__ = ("asked", "ours")

    def __init__(self, ours: str = "203.0.113.1") -> None:
        super().__init__(1000)
        self.ours = ours
        self.asked: list[tuple[Expect, Way]] = []

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        self.asked.append((expect, way))
        return Address(self.ours, 9400 + len(self.asked))


def signed(
    memory: SharedMemory | None = None, *, file: str | None = None, edits: Iterable[str] = ON,
) -> XmppDecoder:
    """A decoder whose user has signed on."""
    flow = Flow("f", Address("10.0.0.1", 40000), Address("10.0.0.2", 5222), opened=1.0, file=file)
    dec = XmppDecoder(flow, Limits(), SharedMemory(1000) if memory is None else memory, frozenset(edits))
    play(dec, login())
    return dec


def say(dec: XmppDecoder, *said: tuple[Way, str], at: float = 1.0) -> list[Frame]:
    """Feed stanzas, each in a chunk of its own; everything passes."""
    frames: list[Frame] = []
    for way, stanza in said:
        fed = dec.feed(Chunk(way, at, stanza.encode()))
        for frame in fed:
            assert frame.fault is None, frame.fault
            passed(dec, frame)
        frames += fed
    return frames


def events(frames: Iterable[Frame]) -> list[Event]:
    return [event for frame in frames for event in frame.events]


def of[T](kind: type[T], frames: Iterable[Frame]) -> list[T]:
    return [event for event in events(frames) if isinstance(event, kind)]


def content(frames: Iterable[Frame]) -> bytes:
    return b"".join(part.data for part in of(FilePart, frames))


def answers(acts: Iterable[Act], way: Way) -> list[Any]:
    """The stanzas sent a way."""
    return list(root(sent(list(acts), way)))


class TestReading:
    def test_a_stream_that_nobody_offered_is_an_offer(self) -> None:
        """open offers, the first block begins, close ends; blocks are the content."""
        frames = say(signed(), *in_band(UP, "x1", CONTENT))
        (offer,) = of(FileOffer, frames)
        assert (offer.method, offer.id, offer.sender, offer.recipients) == ("ibb", "x1", ME, (BOB,))
        (start,) = of(FileStart, frames)
        assert (start.offer, start.inband, start.offset) == (offer, True, 0)
        assert content(frames) == CONTENT
        assert of(FileEnd, frames) == [FileEnd(transfer=start.transfer)]

    def test_what_was_offered_by_si_is_what_comes(self) -> None:
        """Name, size and type of the offer are those of the content; the stream is no second offer."""
        frames = say(signed(), *FILES["si-then-in-band"])
        (offer,) = of(FileOffer, frames)
        assert (offer.method, offer.file_name, offer.size) == ("si", "list.txt", len(CONTENT))
        assert [start.offer for start in of(FileStart, frames)] == [offer]
        assert [end.complete for end in of(FileEnd, frames)] == [True]

    @pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_what_was_offered_by_jingle_is_what_comes(self, version: int, way: Way) -> None:
        """Every version of Jingle file transfer, by the stream that its transport names, also by a replaced one."""
        frames = say(
            signed(),
            iq(way, "j1", jingle("session-initiate", "js", described("a.txt", 3, version) + transport_s5b("t0"),
                                 described("b.txt", 4, version) + transport_ibb("t1"))),
            iq(way.other, "j2", jingle("transport-replace", "js", transport_ibb("t2"))),
            *in_band(way, "t1", b"four"), *in_band(way, "t2", b"abc"),
        )
        assert [offer.file_name for offer in of(FileOffer, frames)] == ["a.txt", "b.txt"]
        assert [(start.offer.file_name, start.offer.method) for start in of(FileStart, frames)] == [
            ("b.txt", "jingle"), ("a.txt", "jingle")]
        assert [end.complete for end in of(FileEnd, frames)] == [True, True]

    def test_a_file_that_was_asked_for_is_its_senders(self) -> None:
        """Jingle lets the initiator ask for a file: it comes from the other side, in a stream of either."""
        frames = say(signed(), iq(UP, "j", jingle("session-initiate", "js", described("a", 4) + transport_ibb("t"))),
                     iq(UP, "o", opening("t")), iq(DOWN, "o", typed="result"), iq(DOWN, "b", data("t", 0, b"abcd")),
                     iq(DOWN, "c", closing("t")))
        assert len(of(FileOffer, frames)) == 1
        assert [(start.offer.file_name, start.offer.sender, start.offer.recipients) for start in of(FileStart, frames)
                ] == [("a", BOB, (ME,))]
        assert [end.complete for end in of(FileEnd, frames)] == [True]

    def test_google_talk_shares_are_offers(self) -> None:
        """Files and folders of Google Talk's own sessions are named; its calls stay calls."""
        offers = of(FileOffer, say(signed(), *FILES["google-talk"]))
        assert [(o.method, o.file_name, o.size, o.id) for o in offers] == [
            ("google_talk", "pic.jpg", 341, "gs1"), ("google_talk", "holidays", None, "gs1")]

    def test_both_ways_of_a_stream_are_files_of_their_own(self) -> None:
        """The one who accepted a stream may send in it, too: unannounced, numbered by itself."""
        frames = say(signed(), iq(UP, "1", opening("s")), iq(UP, "2", data("s", 0, b"mine")),
                     iq(DOWN, "3", data("s", 0, b"his")), iq(UP, "4", closing("s")), iq(DOWN, "4", typed="result"))
        assert [(offer.sender, offer.answerable) for offer in of(FileOffer, frames)] == [(ME, True), (BOB, False)]
        one_, two = of(FileStart, frames)
        assert one_.transfer != two.transfer
        assert {part.transfer: part.data for part in of(FilePart, frames)} == {
            one_.transfer: b"mine", two.transfer: b"his"}
        assert [(end.transfer, end.complete) for end in of(FileEnd, frames)] == [
            (one_.transfer, True), (two.transfer, False)]

    def test_the_number_wraps(self) -> None:
        """Behind 65535 comes 0."""
        dec = signed()
        frames = say(dec, iq(UP, "1", opening("s")))
        for number in range(65538):
            (frame,) = dec.feed(Chunk(UP, 1.0, iq(UP, "d", data("s", number % 65536, b"ab"))[1].encode()))
            frames.append(frame)
        frames += say(dec, iq(UP, "2", closing("s")))
        assert len(content(frames)) == 2 * 65538
        assert [end.complete for end in of(FileEnd, frames)] == [True]

    @pytest.mark.parametrize(("answer", "where"), [
        (iq(DOWN, "o", si_answer(offset=1000), "result"), "si"),
        (iq(DOWN, "a", jingle("session-accept", "js", (
            "<description xmlns='urn:xmpp:jingle:apps:file-transfer:5'><file><range offset='1000'/></file>"
            "</description>") + transport_ibb("s"))), "jingle"),
    ])
    def test_a_resumed_transfer_says_from_where(self, answer: tuple[Way, str], where: str) -> None:
        """What the receiver asks to leave out is told, and the file is not complete."""
        offer = si_offer("s", "a.bin", 5000) if where == "si" else jingle(
            "session-initiate", "js", described("a.bin", 5000) + transport_ibb("s"))
        frames = say(signed(), iq(UP, "o", offer), answer, *in_band(UP, "s", b"x" * 4000))
        assert [start.offset for start in of(FileStart, frames)] == [1000]
        assert [end.complete for end in of(FileEnd, frames)] == [False]

    @pytest.mark.parametrize(("size", "complete"), [(3999, False), (4000, True), (4001, False)])
    def test_lies_about_the_size_are_told(self, size: int, complete: bool) -> None:
        """Less or more than was offered is not complete; what came is read all the same."""
        frames = say(signed(), iq(UP, "o", si_offer("s", "a", size)), *in_band(UP, "s", b"x" * 4000))
        assert content(frames) == b"x" * 4000
        assert [end.complete for end in of(FileEnd, frames)] == [complete]

    def test_a_reader_who_has_all_may_close(self) -> None:
        """A close by the receiver ends the file with the next word of its sender: complete if all of it had come."""
        for size, complete in ((4, True), (5, False)):
            frames = say(signed(), iq(UP, "o", si_offer("s", "a", size)), *in_band(UP, "s", b"abcd")[:-2],
                         iq(DOWN, "c", closing("s")), iq(UP, "c", typed="result"))
            assert [(frame.raw, end.complete) for frame in frames for end in of(FileEnd, [frame])] == [(b"", complete)]

    def test_the_end_of_a_jingle_session_is_the_end_of_its_file(self) -> None:
        """session-terminate without a close."""
        frames = say(
            signed(), iq(UP, "j", jingle("session-initiate", "js", described("a", 4) + transport_ibb("t"))),
            *in_band(UP, "t", b"abcd")[:-2], iq(DOWN, "e", jingle("session-terminate", "js")),
            iq(UP, "e", typed="result"))
        assert [end.complete for end in of(FileEnd, frames)] == [True]

    def test_an_end_stands_where_it_was_caused_however_the_stream_is_cut(self) -> None:
        """A sender who ends his own Jingle session without a close: the file ends behind that stanza."""
        said = "".join(stanza for _, stanza in (
            iq(UP, "j", jingle("session-initiate", "js", described("a", 9) + transport_ibb("t"))),
            iq(UP, "o", opening("t")), iq(UP, "b", data("t", 0, b"abcd")),
            iq(UP, "e", jingle("session-terminate", "js")), iq(UP, "p", "<ping xmlns='urn:xmpp:ping'/>")))
        for size in (1, 7, len(said)):
            dec = signed()
            frames = [frame for at in range(0, len(said), size)
                      for frame in dec.feed(Chunk(UP, 1.0, said[at:at + size].encode()))]
            assert [frame.kind for frame in frames] == ["xmpp.iq"] * 4 + ["xmpp.file_end", "xmpp.iq"]

    def test_the_end_of_the_session_is_the_end_of_its_files(self) -> None:
        """A file without its close is not complete."""
        dec = signed()
        say(dec, *in_band(DOWN, "s", b"abcd")[:-2])
        frames = dec.feed(Chunk(DOWN, 1.0, b"", 0, True))
        (end,) = of(FileEnd, frames)
        assert not end.complete
        assert dec.apply(frames[-1], [PASSED]) == []

    def test_a_refused_opening_leaves_nothing(self) -> None:
        """The receiver says no: blocks that come all the same belong to nothing."""
        dec = signed()
        say(dec, iq(UP, "o", opening("s")), (DOWN, (
            f"<iq type='error' id='o' {ends(DOWN)}><error type='cancel'><not-acceptable xmlns='{ERRORS[1:-1]}'/>"
            "</error></iq>")))
        frame = one(dec, UP, iq(UP, "1", data("s", 0, b"abc"))[1])
        assert (frame.edit, frame.events) == (REFUSE_BLOCKS, ())

    def test_a_refused_block_ends_the_file(self) -> None:
        """An error of the receiver for the last block: what came is not complete."""
        dec = signed()
        frames = say(dec, *in_band(UP, "s", b"abcd")[:3], (DOWN, (
            f"<iq type='error' id='s-1' {ends(DOWN)}><error type='cancel'><item-not-found xmlns='{ERRORS[1:-1]}'/>"
            "</error></iq>")), (UP, " "))
        assert [end.complete for end in of(FileEnd, frames)] == [False]

    def test_a_flow_joined_late_reads_what_is_left(self) -> None:
        """Blocks without their opening are a file without its beginning; lost blocks are a gap."""
        flow = Flow("f", Address("10.0.0.1", 1), Address("10.0.0.2", 2), opened=1.0, file="a.pcap", from_start=False)
        dec = XmppDecoder(flow, Limits(), SharedMemory(10), frozenset())
        frames = say(dec, (DOWN, f"<presence from='{BOB}' to='{ME}'/>"), iq(DOWN, "1", data("s", 7, b"abc")),
                     iq(DOWN, "2", data("s", 9, b"def")), iq(DOWN, "3", closing("s")))
        assert [type(event) for event in events(frames) if isinstance(event, FileOffer | FileStart)] == [
            FileOffer, FileStart]
        assert content(frames) == b"abcdef"
        assert [part.gap > 0 for part in of(FilePart, frames)] == [False, True]
        assert [end.complete for end in of(FileEnd, frames)] == [False]

    def test_links_to_files_are_still_words(self) -> None:
        """Out-of-band links are texts that indicators are looked for in."""
        (offer,) = of(FileOffer, say(signed(), (DOWN, (
            f"<iq type='set' id='o' {ends(DOWN)}><query xmlns='jabber:iq:oob'><url>http://files.example.org/run.exe"
            "</url></query></iq>"))))
        assert [(text.part, text.plain) for text in offer.texts] == [("url", "http://files.example.org/run.exe")]


def opened(dec: XmppDecoder, way: Way, *offered: tuple[Way, str], sid: str = "s") -> None:
    """A stream that its receiver has accepted."""
    say(dec, *offered, iq(way, "open", opening(sid)), iq(way.other, "open", typed="result"))


class TestHolding:
    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_a_held_block_is_kept_and_answered(self, way: Way) -> None:
        """Its sender gets the receiver's result; it is kept under an identifier of ours, else byte for byte."""
        dec = signed()
        opened(dec, way)
        stanza = iq(way, "b0", data("s", 0, CONTENT[:100]))[1]
        acts = dec.apply(one(dec, way, stanza), [HELD, HELD])
        kept = sent(acts, way).decode()
        (answer,) = answers(acts, way.other)
        assert (answer.tag, answer.get("type"), answer.get("id"), len(answer)) == (C + "iq", "result", "b0", 0)
        assert (answer.get("from"), answer.get("to")) == ((BOB, ME) if way is UP else (None, BOB))
        (held,) = answers(acts, way)
        assert held.get("id") != "b0"
        assert kept == stanza.replace("id='b0'", f"id='{held.get('id')}'")

    @pytest.mark.parametrize("typed", ["result", "error"])
    def test_the_late_answers_are_for_us(self, typed: str) -> None:
        """What the receiver says of released blocks does not reach the sender, who was answered."""
        dec = signed()
        opened(dec, UP)
        acts = dec.apply(one(dec, UP, iq(UP, "b0", data("s", 0, b"abc"))[1]), [HELD, HELD])
        (held,) = answers(acts, UP)
        inner = "" if typed == "result" else f"<error type='cancel'><item-not-found xmlns='{ERRORS[1:-1]}'/></error>"
        frame = one(dec, DOWN, iq(DOWN, held.get("id"), inner, typed)[1])
        assert frame.events == ()
        assert passed(dec, frame) == []
        other = iq(DOWN, "b0", typed="result")[1]
        assert passed(dec, one(dec, DOWN, other)) == [Send(DOWN, other.encode())]

    def test_a_receiver_who_fails_while_it_is_held_ends_it(self) -> None:
        """An error for a block that had gone out in stream mode: the file is not complete, its sender is told."""
        dec = signed()
        opened(dec, UP)
        acts = dec.apply(one(dec, UP, iq(UP, "b0", data("s", 0, b"abc"))[1]), [HELD, HELD])
        (held,) = answers(acts, UP)
        one(dec, DOWN, iq(DOWN, held.get("id"), "<error type='cancel'/>", "error")[1])
        frames = dec.feed(Chunk(UP, 1.0, iq(UP, "b1", data("s", 1, b"def"))[1].encode()))
        assert [end.complete for end in of(FileEnd, frames)] == [False]
        (answer,) = answers(passed(dec, frames[-1]), DOWN)
        assert (answer.get("id"), answer[0][0].tag) == ("b1", ERRORS + "item-not-found")

    def test_blocks_in_messages_are_kept_only(self) -> None:
        """Nobody waits for an answer to a message."""
        dec = signed()
        opened(dec, DOWN)
        way, stanza = message_block(DOWN, "s", 0, b"abc")
        assert dec.apply(one(dec, way, stanza), [HELD, HELD]) == [Send(DOWN, stanza.encode())]

    def test_memory_does_not_grow_with_held_blocks(self) -> None:
        """Identifiers are recognised, not remembered."""
        dec = signed()
        opened(dec, UP)
        for number in range(3000):
            (frame,) = dec.feed(Chunk(UP, 1.0, iq(UP, f"b{number}", data("s", number, b"ab"))[1].encode()))
            dec.apply(frame, [HELD] * len(frame.events))
        assert dec.files is not None
        assert (len(dec.files.streams), len(dec.files.offers)) == (1, 0)

    def test_an_allowed_file_ends_as_it_came(self) -> None:
        """The close of a judged file leaves untouched, and its answer is the receiver's."""
        dec = signed()
        opened(dec, UP)
        dec.apply(one(dec, UP, iq(UP, "b0", data("s", 0, b"abc"))[1]), [HELD, HELD])
        stanza = iq(UP, "c", closing("s"))[1]
        assert dec.apply(one(dec, UP, stanza), [PASSED]) == [Send(UP, stanza.encode())]
        answer = iq(DOWN, "c", typed="result")[1]
        assert passed(dec, one(dec, DOWN, answer)) == [Send(DOWN, answer.encode())]

    def test_a_warning_delivers_and_tells(self) -> None:
        """An offer that a rule warns of."""
        dec = signed()
        stanza = iq(UP, "o", opening("s"))[1]
        acts = dec.apply(one(dec, UP, stanza), [Verdict(Action.WARN, "r", notice="Careful.")])
        assert sent(acts, UP) == stanza.encode()
        assert answers(acts, DOWN)[0].get("type") == "headline"


class TestRefusing:
    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_a_refused_file_is_closed_for_both(self, way: Way) -> None:
        """Its sender gets an error for his close, its receiver a close; our user reads why; the rest goes on."""
        dec = signed()
        opened(dec, way, iq(way, "o", si_offer("s", "a&amp;b.txt", 3)))
        dec.apply(one(dec, way, iq(way, "b0", data("s", 0, b"abc"))[1]), [HELD, HELD])
        acts = dec.apply(one(dec, way, iq(way, "c", closing("s"))[1]), [EVIL])
        back, forth = answers(acts, way.other), answers(acts, way)
        error = next(each for each in back if each.get("type") == "error")
        assert (error.get("id"), error[0][0].tag) == ("c", ERRORS + "not-acceptable")
        assert (error.get("from"), error.get("to")) == ((BOB, ME) if way is UP else (None, BOB))
        assert "ABCD-EFGH" in error.findtext(f"{C}error/{ERRORS}text")
        close = forth[0]
        assert (close.get("type"), close[0].tag, close[0].get("sid")) == ("set", f"{{{IBB}}}close", "s")
        assert (close.get("from"), close.get("to")) == ((None, BOB) if way is UP else (BOB, ME))
        notice = next(each for each in (*back, *forth) if each.get("type") == "headline")
        assert notice.findtext(C + "body") == (
            'The file "a&b.txt" was not delivered: company policy. Reference ABCD-EFGH.')
        assert passed(dec, one(dec, way.other, iq(way.other, close.get("id"), typed="result")[1])) == []
        late = dec.apply(one(dec, way, iq(way, "b1", data("s", 1, b"def"))[1]), ())
        assert sent(late, way) == b""
        assert answers(late, way.other)[0].get("type") == "error"

    def test_a_jingle_session_is_terminated_for_both(self) -> None:
        """security-error is the reason that Jingle has for it."""
        dec = signed()
        opened(dec, DOWN, iq(DOWN, "j", jingle("session-initiate", "js", described("a", 3) + transport_ibb("s"))))
        dec.apply(one(dec, DOWN, iq(DOWN, "b0", data("s", 0, b"abc"))[1]), [HELD, HELD])
        acts = dec.apply(one(dec, DOWN, iq(DOWN, "c", closing("s"))[1]), [EVIL])
        for way in (UP, DOWN):
            found = [each[0] for each in answers(acts, way) if len(each) and each[0].tag == "{urn:xmpp:jingle:1}jingle"]
            assert [(each.get("action"), each.get("sid"), each[0][0].tag) for each in found] == [
                ("session-terminate", "js", "{urn:xmpp:jingle:1}security-error")]

    @pytest.mark.parametrize("content", [HELD, PASSED])
    def test_who_sends_what_he_did_not_offer_is_warned_with_its_first_block(self, content: Verdict) -> None:
        """The one who accepted a stream sends in it, too: what is said of his offer reaches him, held or not."""
        dec = signed()
        say(dec, iq(DOWN, "1", opening("s")), iq(UP, "1", typed="result"))
        frame = one(dec, UP, iq(UP, "b0", data("s", 0, b"abc"))[1])
        assert [type(event) for event in frame.events] == [FileOffer, FileStart, FilePart]
        acts = dec.apply(frame, [Verdict(Action.WARN, "odd", notice="odd files"), content, content])
        told = [stanza for stanza in answers(acts, DOWN) if stanza.tag == C + "message"]
        assert ["".join(stanza.itertext()) for stanza in told] == ["odd files"]
        assert len(answers(acts, UP)) == 1

    @pytest.mark.parametrize("verdicts", [[EVIL, EVIL], [HELD, HELD]])
    def test_a_file_may_be_refused_while_it_comes(self, verdicts: list[Verdict]) -> None:
        """Too many files, a lie about the size: this block is not sent, both are told, and the file ends."""
        dec = signed()
        opened(dec, UP)
        dec.apply(one(dec, UP, iq(UP, "b0", data("s", 0, b"abc"))[1]), verdicts)
        acts = dec.apply(one(dec, UP, iq(UP, "b1", data("s", 1, b"def"))[1]), [EVIL]) if verdicts[0] is HELD else []
        if acts:
            assert answers(acts, UP)[0][0].tag == f"{{{IBB}}}close"
            assert b"ZGVm" not in sent(acts, UP)
        frames = dec.feed(Chunk(UP, 1.0, iq(UP, "b2", data("s", 2, b"ghi"))[1].encode()))
        assert [end.complete for end in of(FileEnd, frames)] == [False]
        assert dec.apply(frames[0], [Verdict(Action.BLOCK)]) == []
        assert sent(dec.apply(frames[1], ()), UP) == b""

    def test_a_refused_message_stream_is_closed_by_its_reader(self) -> None:
        """No error answers a message: the sender gets the receiver's close."""
        dec = signed()
        opened(dec, UP)
        acts = dec.apply(one(dec, UP, message_block(UP, "s", 0, b"abc")[1]), [EVIL, EVIL])
        assert [each[0].tag for each in answers(acts, DOWN)[:1]] == [f"{{{IBB}}}close"]

    def test_a_refused_stream_stays_refused(self) -> None:
        """Blocks that were read before the refusal was known, and a second opening by the same name."""
        dec = signed()
        said = "".join(each[1] for each in (iq(UP, "o", opening("s")), iq(UP, "b0", data("s", 0, b"secret"))))
        first, second = dec.feed(Chunk(UP, 1.0, said.encode()))
        refusal = dec.apply(first, [block()])
        assert answers(refusal, DOWN)[0][0][0].tag == ERRORS + "not-acceptable"
        assert sent(dec.apply(second, [HELD] * 2), UP) == b""
        end, again = dec.feed(Chunk(UP, 1.0, iq(UP, "o2", opening("s"))[1].encode()))
        assert [event.complete for event in of(FileEnd, [end])] == [False]
        assert sent(dec.apply(again, ()), UP) == b""
        assert answers(dec.apply(again, ()), DOWN)[0][0][0].tag == ERRORS + "not-acceptable"

    @pytest.mark.parametrize("carrier", [
        opening("s"),
        f"<query xmlns='{BYTESTREAMS}' sid='s'><streamhost jid='{ME}' host='192.0.2.1' port='1'/></query>",
    ])
    def test_the_content_of_a_refused_offer_is_refused(self, carrier: str) -> None:
        """Whoever sends it all the same, in band or beside; a new offer of the same name is judged anew."""
        dec = signed()
        dec.apply(one(dec, UP, iq(UP, "o", si_offer("s", "evil.exe", 3))[1]), [block()])
        acts = passed(dec, one(dec, UP, iq(UP, "c", carrier)[1]))
        assert sent(acts, UP) == b""
        assert not [act for act in acts if isinstance(act, Expect)]
        assert answers(acts, DOWN)[0].get("type") == "error"
        say(dec, iq(UP, "o", si_offer("s", "good.txt", 3)))
        stanza = iq(UP, "c", carrier)[1]
        assert sent(passed(dec, one(dec, UP, stanza)), UP) == stanza.encode()

    def test_a_refused_jingle_session_stays_refused(self) -> None:
        """Its candidates are not passed on and nothing is expected of them."""
        dec = signed()
        dec.apply(one(dec, UP, iq(UP, "j", jingle(
            "session-initiate", "js", described("evil.exe", 3) + transport_s5b("t", ("c", "192.0.2.1", 1))))[1]),
            [block()])
        acts = passed(dec, one(dec, UP, iq(UP, "k", jingle(
            "transport-info", "js", transport_s5b("t", ("c", "192.0.2.1", 1))))[1]))
        assert (sent(acts, UP), [act for act in acts if isinstance(act, Expect)]) == (b"", [])

    def test_a_capture_shows_what_was_sent_in_spite_of_the_policy(self) -> None:
        """Offline nothing is refused: the content is read."""
        dec = signed(file="a.pcap")
        for _, stanza in (iq(UP, "o", si_offer("s", "a", 3)), iq(UP, "p", opening("s"))):
            for frame in dec.feed(Chunk(UP, 1.0, stanza.encode())):
                dec.apply(frame, [block()] * len(frame.events))
        frames = say(dec, iq(UP, "b", data("s", 0, b"abc")), iq(UP, "c", closing("s")))
        assert content(frames) == b"abc"


class TestNotBelieving:
    @pytest.mark.parametrize("said", ["QUJD", " QUJD", "QU\nJD\t", "<![CDATA[QUJD]]>", "&#81;UJD"])
    def test_what_all_readers_read_alike_is_read(self, said: str) -> None:
        """White space, CDATA and references make no difference to a reader of base64 in XML."""
        frames = say(signed(), iq(UP, "o", opening("s")), iq(UP, "1", data("s", 0, said)))
        assert content(frames) == b"ABC"

    @pytest.mark.parametrize("said", [
        "QUI", "QUJD=", "QUJD====", "QUJD QQ=== =", "Q", "QQ==QQ==", "=QUI",
        "QU-_", "QUJ*D", "QUJD,", "QUJD<b/>", "QU<b>JD</b>", "ＱＵＪＤ",
        "QUJD\u00a0", "QQ=", "====",
    ])
    def test_what_readers_read_differently_breaks_the_stream(self, said: str) -> None:
        """Missing or early padding, letters beyond the alphabet, markup: both sides are told, nothing goes on."""
        dec = signed()
        opened(dec, UP)
        say(dec, iq(UP, "0", data("s", 0, b"begin")))
        frame = one(dec, UP, iq(UP, "1", data("s", 1, said))[1])
        assert frame.edit == REFUSE_BLOCKS
        acts = passed(dec, frame)
        assert said.encode() not in sent(acts, UP)
        assert answers(acts, DOWN)[0][0][0].tag == ERRORS + "bad-request"
        if "<" not in said:
            assert [end.complete for end in of(FileEnd, [frame])] == [False]
            assert answers(acts, UP)[0][0].tag == f"{{{IBB}}}close"
            later = one(dec, UP, iq(UP, "2", data("s", 2, b"more"))[1])
            assert (later.events, sent(passed(dec, later), UP)) == ((), b"")

    @pytest.mark.parametrize("seq", ["0", "2", "-1", "65537", "", "+1", "01x", "\u0661", "1.0", "999999999999"])
    def test_blocks_out_of_order_break_the_stream(self, seq: str) -> None:
        """Repeated, left out, wrong: unexpected-request to the sender and a close to the receiver (XEP-0047 2.2)."""
        dec = signed()
        opened(dec, DOWN)
        say(dec, iq(DOWN, "0", data("s", 0, b"begin")))
        frame = one(dec, DOWN, iq(DOWN, "1", data("s", seq, b"evil"))[1])
        assert [end.complete for end in of(FileEnd, [frame])] == [False]
        acts = passed(dec, frame)
        assert answers(acts, UP)[0][0][0].tag == ERRORS + "unexpected-request"
        (close,) = answers(acts, DOWN)
        assert (close.get("from"), close[0].tag) == (BOB, f"{{{IBB}}}close")

    def test_a_block_longer_than_agreed_breaks_the_stream(self) -> None:
        """A reader may leave it out and go on: what he has then is not what was judged."""
        dec = signed()
        say(dec, iq(UP, "o", opening("s", 16)), iq(UP, "0", data("s", 0, b"x" * 16)))
        frame = one(dec, UP, iq(UP, "1", data("s", 1, b"x" * 17))[1])
        assert [end.complete for end in of(FileEnd, [frame])] == [False]
        assert sent(passed(dec, frame), UP).count(b"close") == 1

    @pytest.mark.parametrize("stanza", [
        iq(UP, "1", data("nobody", 0, b"abc")),
        iq(UP, "1", data("", 0, b"abc")),
        iq(UP, "1", f"<data xmlns='{IBB}' xmlns:x='urn:x' x:sid='s' sid='s' seq='0'>QUJD</data>"),
        iq(UP, "1", opening("x" * 2000)),
        iq(DOWN, "1", data("nobody", 0, b"abc")),
        message_block(DOWN, "nobody", 0, b"abc"),
    ])
    def test_blocks_of_no_stream_are_refused(self, stanza: tuple[Way, str]) -> None:
        """They reach nobody; who sent one in an iq gets an error."""
        dec = signed()
        frame = one(dec, *stanza)
        assert (frame.edit, frame.events, [o.name for o in frame.oddities]) == (
            REFUSE_BLOCKS, (), ["xmpp.stray_block"])
        acts = passed(dec, frame)
        assert sent(acts, stanza[0]) == b""
        if "<iq" in stanza[1]:
            assert answers(acts, stanza[0].other)[0].get("type") == "error"

    @pytest.mark.parametrize(("before", "after"), [
        (f"<message {ends(UP)} id='1'><body>hello</body>%s</message>",
         f"<message {ends(UP)} id='1'><body>hello</body></message>"),
        (f"<message {ends(UP)} id='1' type='error'>%s<error type='cancel'/></message>",
         f"<message {ends(UP)} id='1' type='error'><error type='cancel'/></message>"),
        (f"<iq type='error' id='1' {ends(UP)}>%s<error type='cancel'/></iq>",
         f"<iq type='error' id='1' {ends(UP)}><error type='cancel'/></iq>"),
        (f"<iq type='set' id='1' {ends(UP)}>%s<ping xmlns='urn:xmpp:ping'/></iq>",
         f"<iq type='set' id='1' {ends(UP)}><ping xmlns='urn:xmpp:ping'/></iq>"),
        (f"<iq type='result' id='1' {ends(UP)}>%s</iq>", f"<iq type='result' id='1' {ends(UP)}></iq>"),
    ])
    def test_blocks_beside_something_else_are_taken_out(self, before: str, after: str) -> None:
        """What else the stanza says is judged and goes on without them."""
        dec = signed()
        opened(dec, UP)
        frame = one(dec, UP, before % data("s", 0, b"abc"))
        assert frame.edit == REFUSE_BLOCKS
        assert not of(FilePart, [frame])
        assert sent(passed(dec, frame), UP) == after.encode()

    def test_a_peer_is_named_as_he_was_or_as_he_answers(self) -> None:
        """Servers compare names without case and width, so a stream is one however its peer is spelled; but a block
        under another name than those may reach nobody, and is refused."""
        dec = signed()
        say(dec, (UP, f"<iq type='set' id='o' to='Bob@Example.org/phone'>{opening('s')}</iq>"),
            iq(DOWN, "o", typed="result"))
        block_to = "<iq type='set' id='b' to='{}'>{}</iq>"
        for seq, name in enumerate(("Bob@Example.org/phone", BOB)):
            assert len(of(FilePart, say(dec, (UP, block_to.format(name, data("s", seq, b"abc")))))) == 1
        for name in ("BOB@example.org/phone", "ｂｏｂ@example.org/phone", "bob@example.org/PHONE"):
            frame = one(dec, UP, block_to.format(name, data("s", 2, b"abc")))
            assert (frame.events, frame.edit) == ((), REFUSE_BLOCKS)
            again = one(dec, UP, f"<iq type='set' id='p' to='{name}'>{opening('s')}</iq>")
            assert (again.edit is not None) is not name.endswith("PHONE")
        assert len(of(FilePart, say(dec, iq(UP, "e", data("s", 2, b"abc"))))) == 1

    def test_two_peers_with_one_name_of_a_stream(self) -> None:
        """Their blocks are not mixed."""
        dec = signed()
        eve = "eve@example.net/x"
        said = [(DOWN, f"<iq type='set' id='1' from='{who}' to='{ME}'>{each}</iq>") for each, who in (
            (opening("s"), BOB), (opening("s"), eve), (data("s", 0, b"bob"), BOB), (data("s", 0, b"eve"), eve),
            (data("s", 1, b"bob"), BOB), (closing("s"), eve), (closing("s"), BOB))]
        frames = say(dec, *said)
        names = {start.transfer: start.offer.sender for start in of(FileStart, frames)}
        found: dict[str | None, bytes] = {}
        for part in of(FilePart, frames):
            found[names[part.transfer]] = found.get(names[part.transfer], b"") + part.data
        assert found == {BOB: b"bobbob", eve: b"eve"}

    def test_one_name_of_a_stream_in_both_ways(self) -> None:
        """A second opening by the other side, or while something was said, is refused; the stream itself stands."""
        dec = signed()
        opened(dec, UP)
        say(dec, iq(UP, "0", data("s", 0, b"abc")))
        for way in (DOWN, UP):
            frame = one(dec, way, iq(way, "again", opening("s"))[1])
            assert frame.edit == REFUSE_BLOCKS
            assert answers(passed(dec, frame), way.other)[0][0][0].tag == ERRORS + "not-acceptable"
        assert content(say(dec, iq(UP, "1", data("s", 1, b"def")))) == b"def"

    def test_thousands_of_openings_are_bounded(self) -> None:
        """No more than files_open of each side; more get resource-constraint, and the other side does not suffer."""
        limits = Limits()
        dec = signed()
        refused = 0
        for number in range(3000):
            frame = one(dec, DOWN, iq(DOWN, f"o{number}", opening(f"s{number}"))[1])
            refused += frame.edit is not None
            passed(dec, frame)
        assert refused == 3000 - limits.files_open
        assert answers(passed(dec, frame), UP)[0][0][0].tag == ERRORS + "resource-constraint"
        assert content(say(dec, *in_band(UP, "mine", b"abc"))) == b"abc"

    def test_silent_streams_give_way(self) -> None:
        """After a while without a word a stream makes room; what came of its file is not complete."""
        dec = signed()
        say(dec, *(iq(UP, f"o{number}", opening(f"s{number}")) for number in range(Limits().files_open)))
        say(dec, iq(UP, "0", data("s0", 0, b"abc")), at=2.0)
        for number in range(1, Limits().files_open):
            say(dec, iq(UP, "0", data(f"s{number}", 0, b"abc")), at=3.0)
        frames = say(dec, iq(UP, "late", opening("late")), (UP, " "), at=2.5 + Limits().expect_seconds)
        assert [end.complete for end in of(FileEnd, frames)] == [False]
        assert [offer.id for offer in of(FileOffer, frames)] == ["late"]

    def test_thousands_of_offers_are_bounded(self) -> None:
        """The oldest is forgotten."""
        dec = signed()
        for number in range(2000):
            say(dec, iq(UP, f"o{number}", si_offer(f"s{number}", "a.txt", 3)))
            session = jingle("session-initiate", f"j{number}", described("a", 1) + transport_ibb("t"))
            say(dec, iq(UP, f"j{number}", session))
        assert dec.files is not None
        assert len(dec.files.offers) == Limits().xmpp_offers
        assert [start.offer.method for start in of(FileStart, say(dec, *in_band(UP, "s0", b"a")))] == ["ibb"]
        assert [start.offer.method for start in of(FileStart, say(dec, *in_band(UP, "s1999", b"a")))] == ["si"]

    def test_long_names_do_not_stay_in_memory(self) -> None:
        """What is remembered of an offer is short; of a long name its end, too."""
        memory = SharedMemory(10000)
        dec = signed(memory)
        name = "a" * 100_000 + ".exe"
        (offer,) = of(FileOffer, say(dec, iq(UP, "o", si_offer("s", name, 3))))
        assert offer.file_name == name
        (start,) = of(FileStart, say(dec, *in_band(UP, "s", b"abc")))
        assert len(start.offer.file_name) < 5000
        assert start.offer.file_name.endswith(".exe")
        assert dec.files is not None
        before = len(dec.files.offers)
        say(dec, iq(UP, "i" * 2000, si_offer("s2", "a", 3)), (UP, (
            f"<iq type='set' id='o' to='{'x' * 5000}'>{si_offer('s3', 'a', 3)}</iq>")))
        assert len(dec.files.offers) == before
        for stanza in (iq(UP, "i" * 2000, data("s", 0, b"abc"))[1],
                       f"<iq type='set' id='o' to='{'x' * 5000}'>{opening('s')}</iq>"):
            assert one(dec, UP, stanza).edit == REFUSE_BLOCKS

    def test_a_file_outside_its_content_is_not_mistaken_for_it(self) -> None:
        """The name that content is known by is the one of its own description."""
        offer = jingle("session-initiate", "js", described("evil.exe", 3) + transport_ibb("t"))
        stray = "<file xmlns='urn:xmpp:jingle:apps:file-transfer:5'><name>good.txt</name></file>"
        frames = say(signed(), iq(UP, "j", offer.replace("<content", f"{stray}<content")), *in_band(UP, "t", b"abc"))
        assert [offer.file_name for offer in of(FileOffer, frames)] == ["good.txt", "evil.exe"]
        assert [start.offer.file_name for start in of(FileStart, frames)] == ["evil.exe"]

    def test_nothing_is_taken_before_the_sign_on(self) -> None:
        """Blocks of somebody who is not known yet belong to nothing."""
        dec = XmppDecoder(Flow("f", Address("10.0.0.1", 1), Address("10.0.0.2", 2)), Limits(), SharedMemory(10), ON)
        play(dec, login()[:-2])
        frame = one(dec, UP, iq(UP, "o", opening("s"))[1])
        assert (frame.edit, frame.events) == (REFUSE_BLOCKS, ())

    def test_a_stream_used_up_its_offer(self) -> None:
        """A second stream of the same name is an offer of its own: the first verdict was on another content."""
        dec = signed()
        say(dec, *FILES["si-then-in-band"])
        assert [offer.method for offer in of(FileOffer, say(dec, *in_band(UP, "s1", b"abc")))] == ["ibb"]

    def test_long_blocks_in_time(self) -> None:
        """A block as long as a stanza may be, of white space or of no base64, is read in time in proportion."""
        for said in (" " * 200_000 + "QUJD", "=" * 200_000, "A" * 199_997, "QQ==" * 50_000):
            dec = signed()
            opened(dec, UP)
            started = time.perf_counter()
            say(dec, iq(UP, "1", data("s", 0, said)))
            assert time.perf_counter() - started < 1

    @settings(max_examples=60)
    @given(st.lists(st.tuples(
        st.sampled_from((UP, DOWN)), st.sampled_from(("open", "data", "close", "result", "error", "si", "end")),
        st.sampled_from(("a", "b")), st.integers(0, 3), st.sampled_from((PASSED, HELD, EVIL)),
    ), max_size=30))
    def test_any_dialogue_stays_in_step(
        self, said: list[tuple[Way, str, str, int, Verdict]],
    ) -> None:
        """Every file that begins ends at most once and has its parts in between; what is sent is well-formed and never
        has a refused content in it; engines that hold and refuse as they like are served."""
        dec, reader = signed(), signed()
        begun: dict[str, Way] = {}
        bad: set[str] = set()
        for way, what, sid, number, verdict in said:
            inner = {
                "open": opening(sid), "data": data(sid, number, b"secret!%d" % number), "close": closing(sid),
                "si": si_offer(sid, "a.txt", 16), "result": "", "error": "<error type='cancel'/>", "end": " ",
            }[what]
            typed = what if what in ("result", "error") else "set"
            stanza = " " if what == "end" else iq(way, f"{sid}{number}", inner, typed)[1]
            for frame in dec.feed(Chunk(way, 1.0, stanza.encode())):
                assert frame.fault is None
                kinds = [type(event) for event in frame.events]
                if FileStart in kinds:
                    begun[of(FileStart, [frame])[0].transfer] = way
                for event in frame.events:
                    if isinstance(event, FilePart | FileEnd):
                        assert begun[event.transfer] is way
                        if isinstance(event, FileEnd):
                            del begun[event.transfer]
                if verdict is EVIL and of(FilePart, [frame]):
                    bad.add(of(FilePart, [frame])[0].transfer)
                acts = dec.apply(frame, [verdict] * len(frame.events))
                if of(FilePart, [frame]) and (of(FilePart, [frame])[0].transfer in bad):
                    assert b"c2VjcmV0" not in sent(acts, way)
                for each in (UP, DOWN):
                    for got in reader.feed(Chunk(each, 1.0, sent(acts, each))):
                        assert got.fault is None
                        passed(reader, got)




# -- through the engine


def session(mode: FileMode = "spool") -> Play:
    """A session of a user who has signed on, with a policy that takes every file so."""
    kit = Kit(classifier((SPEC,)), Rules(1, FilePolicy(mode), ToyScanner()), Limits(), edits=ON)
    world = World(kit.limits)
    flow = Flow("f", Address("10.0.0.1", 40000), Address("10.0.0.2", 5222), opened=1.0)
    play = Play(Session(flow, kit, world), world)
    for way, said in login():
        play >> Chunk(way, 1.0, said)
        play.last = []
    return play


def through(play: Play, *said: tuple[Way, str]) -> list[tuple[Way, str]]:
    """What is sent when these stanzas come."""
    out: list[tuple[Way, str]] = []
    for way, stanza in said:
        play >> Chunk(way, 1.0, stanza.encode())
        out += sends(play)
    return out


def sends(play: Play) -> list[tuple[Way, str]]:
    found = [(effect.way, effect.data.decode()) for effect in play.last if isinstance(effect, Send)]
    play.last = []
    return found


GOOD = FileReport(size=len(CONTENT), sha256="aa", sha1="bb", md5="cc", kinds=("text",))
BAD = FileReport(size=9, sha256="aa", sha1="bb", md5="cc", findings=(Finding("yara", "core.eicar", "high"),))


def judged(play: Play, stanza: tuple[Way, str], report: FileReport) -> tuple[list[tuple[Way, str]], bytes]:
    """(what is sent by the verdict, what the spool was given) when the last stanza of a file comes."""
    play >> Chunk(stanza[0], 1.0, stanza[1].encode())
    judge = next(effect for effect in play.last if isinstance(effect, Judge))
    assert not sends(play)
    play >> Judged(judge.file, 1.0, report)
    durable = [effect.id for effect in play.last if isinstance(effect, Note) and effect.durable]
    spooled = any(isinstance(effect, Unspool) for effect in play.last)
    out = sends(play)
    if durable:
        play >> Kept(durable[-1], 1.0)
        out += sends(play)
    if spooled:
        play >> Unspooled(judge.file, 1.0, b"<message/>", True)
        out += sends(play)
    return out, judge.file.encode()


@pytest.mark.parametrize("way", [UP, DOWN])
def test_in_band_content_leaves_only_after_its_verdict(way: Way) -> None:
    """The opening passes, blocks wait in the spool while their sender is answered and chat goes on; then all leaves."""
    play = session()
    stanzas = in_band(way, "s", CONTENT)
    assert through(play, *stanzas[:2]) == list(stanzas[:2])
    for stanza in stanzas[2:-2:2]:
        play >> Chunk(way, 1.0, stanza[1].encode())
        (spool,) = [effect for effect in play.last if isinstance(effect, Spool)]
        assert spool.content in CONTENT
        assert base64.b64encode(spool.content) in spool.raw
        ((back, answer),) = sends(play)
        assert back is way.other
        assert "type='result'" in answer
        chat = (way, f"<message {ends(way)} type='chat'><body>meanwhile</body></message>")
        assert through(play, chat) == [chat]
    out, _ = judged(play, stanzas[-2], GOOD)
    assert out == [(way, "<message/>"), stanzas[-2]]
    assert through(play, stanzas[-1]) == [stanzas[-1]]


@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("mode", ["spool", "stream"])
def test_refused_in_band_content_never_arrives(way: Way, mode: FileMode) -> None:
    """The receiver gets a close, the sender an error, our user a notice, nobody a block; the session goes on."""
    play = session(mode)
    stanzas = in_band(way, "s", CONTENT)
    out = through(play, *stanzas[:-2:2])
    out += judged(play, stanzas[-2], BAD)[0]
    assert [each for each, stanza in out if "<data" in stanza] == []
    assert [each for each, stanza in out if "<close" in stanza] == [way]
    assert [each for each, stanza in out if "type='error'" in stanza] == [way.other]
    assert [each for each, stanza in out if "type='headline'" in stanza] == [DOWN]
    chat = (way, f"<message {ends(way)} type='chat'><body>and now</body></message>")
    assert through(play, chat) == [chat]


def test_a_stream_that_breaks_ends_its_file_in_the_engine() -> None:
    """A block out of order: the file is told as incomplete, and nothing of it leaves."""
    play = session()
    stanzas = in_band(UP, "s", CONTENT)
    through(play, *stanzas[:4])
    out, _ = judged(play, iq(UP, "x", data("s", 7, b"evil")), BAD)
    assert [way for way, stanza in out if "<close" in stanza] == [UP]
    assert [way for way, stanza in out if "unexpected-request" in stanza] == [DOWN]
