"""Attacks on the IRC decoder: words behind marks, in other charsets, in batches that are none."""

from __future__ import annotations

import pytest

from inspector.engine.world import SharedMemory
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Chunk,
    FileOffer,
    Frame,
    Limits,
    Message,
    Send,
    Verdict,
    Way,
)
from inspector.protocols.irc import SPEC, IrcDecoder
from inspector.wire.irctext import plain_of
from tests.protocols.contract import flow
from tests.protocols.test_irc import SIGN_ON

BAD = "purple elephants"
BLOCK = Verdict(Action.BLOCK, "r", notice="No.")


class Side:
    """A registered decoder."""

    def __init__(self) -> None:
        self.decoder = IrcDecoder(flow(SPEC), Limits(), SharedMemory(100), frozenset())
        for way, data in SIGN_ON:
            for frame in self.feed(way, data):
                self.decoder.apply(frame, [PASSED] * len(frame.events))

    def feed(self, way: Way, data: bytes) -> list[Frame]:
        return self.decoder.feed(Chunk(way, 1.0, data))

    def one(self, way: Way, data: bytes) -> Frame:
        frames = self.feed(way, data)
        assert len(frames) == 1 and frames[0].fault is None, frames
        return frames[0]


def words(frame: Frame) -> str:
    return " | ".join(text.plain for event in frame.events for text in event.texts)


def sent(acts: list[Act], way: Way) -> bytes:
    return b"".join(act.data for act in acts if isinstance(act, Send) and act.way is way)


# -- files


@pytest.mark.parametrize("text", [
    b"\x01DCC SEND evil.exe 3232235786 5000 99\x01" + b"\x01" * 40,
    b"\x01" * 40 + b"DCC SEND evil.exe 3232235786 5000 99\x01",
    b"\x01\x01DCC SEND evil.exe 3232235786 5000 99\x01",
    b"hi \x01\x01\x01DCC SEND evil.exe 3232235786 5000 99\x01",
])
def test_marks_do_not_hide_an_offer(text: bytes) -> None:
    """However many CTCP marks stand around it, a DCC offer is one: clients disagree on how marks pair."""
    frame = Side().one(UP, b"PRIVMSG bob :" + text + b"\r\n")
    assert any(isinstance(e, FileOffer) and e.file_name == "evil.exe" for e in frame.events)


def test_all_offers_of_a_line_are_seen() -> None:
    """A harmless offer in front does not hide the second one, not even to many."""
    targets = b",".join(b"bob%d" % i for i in range(60))
    frame = Side().one(UP, b"PRIVMSG " + targets + b" :" + b"\x01A\x01" * 3
                       + b"\x01DCC SEND ok.txt 3232235786 5000 9\x01\x01DCC SEND evil.exe 3232235786 5000 9\x01\r\n")
    assert any(isinstance(e, FileOffer) and e.file_name == "evil.exe" for e in frame.events)


@pytest.mark.parametrize("words_", [
    b"DCC SEND see the purple elephants here", b"DCC CHAT purple elephants now", b"DCC CHAT purple elephants 1 2",
    b"DCC XYZ purple elephants",
])
def test_words_in_a_malformed_offer_are_read(words_: bytes) -> None:
    """What makes no sense as an offer is words, and the client may show them."""
    frame = Side().one(UP, b"PRIVMSG bob :\x01" + words_ + b"\x01\r\n")
    assert BAD in words(frame)


# -- batches


@pytest.mark.parametrize("line", [
    b"@batch=1;+evil=purple\\selephants PRIVMSG #garden :x\r\n",
    b"@batch=1 PRIVMSG bob :purple elephants\r\n",
    b"@batch=1 PRIVMSG #garden :\x01ACTION purple elephants\x01\r\n",
])
def test_a_line_in_a_batch_is_no_way_around(line: bytes) -> None:
    """What a line of a multiline message says beside its text, or to somebody else, is judged with that line: servers
    that know no batches take each line as it is."""
    side = Side()
    side.feed(UP, b"BATCH +1 draft/multiline #garden\r\n")
    frame = side.one(UP, line)
    assert frame.group is None and BAD in words(frame)


def test_an_offer_in_a_batch_is_an_offer() -> None:
    """DCC inside a batch is a file offer like any other."""
    side = Side()
    side.feed(UP, b"BATCH +1 draft/multiline bob\r\n")
    frame = side.one(UP, b"@batch=1 PRIVMSG bob :\x01DCC SEND evil.exe 3232235786 5000 99\x01\r\n")
    assert any(isinstance(e, FileOffer) for e in frame.events)


def test_the_opening_of_a_batch_has_its_words_read() -> None:
    """Client-only tags on the BATCH line itself are words like on any other line."""
    frames = Side().feed(UP, b"@+evil=purple\\selephants BATCH +1 draft/multiline #garden\r\n"
                         b"@batch=1 PRIVMSG #garden :x\r\nBATCH -1\r\n")
    assert any(BAD in words(frame) for frame in frames if frame.group is None or frame.part == "last")


def test_a_password_in_a_batch_is_still_one() -> None:
    """NickServ in a batch: its password is in no event."""
    side = Side()
    frames = side.feed(UP, b"BATCH +1 draft/multiline NickServ\r\n@batch=1 PRIVMSG NickServ :IDENTIFY hunter2\r\n"
                       b"BATCH -1\r\n")
    assert "hunter2" not in repr([frame.events for frame in frames])


def test_an_endless_line_in_a_batch_is_judged_before_it_leaves() -> None:
    """The first part of a line that is too long does not wait for the end of its batch: it has words of its own."""
    side = Side()
    side.feed(UP, b"BATCH +1 draft/multiline #garden\r\n")
    frames = side.feed(UP, b"@batch=1 PRIVMSG #garden :purple elephants " + b"x" * 9000)
    assert frames and frames[0].group is None and BAD in words(frames[0])


# -- tags


def test_every_tag_is_read() -> None:
    """The seventeenth unknown tag is read like the first, and a key alone is words, too."""
    tags = b";".join(b"+t%d=x" % i for i in range(40)) + b";+last=purple\\selephants;+purple-key"
    said = words(Side().one(UP, b"@" + tags + b" PRIVMSG bob :x\r\n"))
    assert BAD in said and "purple-key" in said


# -- charsets and codes


@pytest.mark.parametrize("code", [*range(1, 9), 11, 12, *range(14, 32), 127])
def test_no_control_code_splits_a_word(code: int) -> None:
    """Clients swallow controls or show them as marks; a word with one inside is still that word."""
    if code == 27:
        data = b"pur\x1bple"
    elif code in (1, 4):
        data = b"pur" + bytes((code,)) + b"ple"
    else:
        data = b"pur" + bytes((code,)) + b"ple"
    assert plain_of(data) == "purple"


def test_words_cloaked_as_japanese_are_read() -> None:
    """ISO-2022-JP escapes turn letters into ideograms for us, while most clients show the letters."""
    side = Side()
    frame = side.one(UP, b"PRIVMSG bob :\x1b$B4111111111111111\x1b(B\r\n")
    assert "4111111111111111" in words(frame)
    message = frame.events[0]
    index = next(i for i, text in enumerate(message.texts) if "4111111111111111" in text.plain)
    assert not message.texts[index].editable, "its place in the Japanese is not known: it is refused, not masked"
    real = "\u3053\u3093\u306b\u3061\u306f".encode("iso2022_jp")
    assert side.one(UP, b"PRIVMSG bob :" + real + b"\r\n").events[0].texts[0].plain == "\u3053\u3093\u306b\u3061\u306f"


def test_one_wrong_byte_does_not_hide_utf8() -> None:
    """A text with a byte that is not UTF-8 is read as CP1252 by us and as UTF-8 with a mark by most clients."""
    frame = Side().one(UP, b"PRIVMSG bob :" + "\u0441\u0435\u043a\u0440\u0435\u0442".encode() + b" \xff\r\n")
    assert "\u0441\u0435\u043a\u0440\u0435\u0442" in words(frame)
    latin = Side().one(UP, b"PRIVMSG bob :caf\xe9 cr\xe8me\r\n")
    assert len(latin.events[0].texts) == 1


@pytest.mark.parametrize("line", [
    b"TOPIC #garden :\x1b$B4111111111111111\x1b(B\r\n", b"PART #garden :\x1b$B4111111111111111\x1b(B\r\n",
    b"PRIVMSG bob :\x01ACTION \x1b$B4111111111111111\x1b(B\x01\r\n", b"HELPOP \x1b$B4111111111111111\x1b(B\r\n",
    b"PRIVMSG bob :\x01PING \x1b$B4111111111111111\x1b(B\x01\r\n",
])
def test_the_cloak_does_not_work_elsewhere(line: bytes) -> None:
    """The other reading is kept for every text of a line."""
    assert "4111111111111111" in words(Side().one(UP, line))


def test_the_cloak_does_not_work_in_a_batch() -> None:
    """A line of a multiline message that can be read in two ways is judged alone."""
    side = Side()
    side.feed(UP, b"BATCH +1 draft/multiline #garden\r\n")
    frames = side.feed(UP, b"@batch=1 PRIVMSG #garden :\x1b$B4111111111111111\x1b(B\r\nBATCH -1\r\n")
    assert any("4111111111111111" in words(frame) for frame in frames)


# -- memory


def test_tokens_of_passive_offers_are_bounded() -> None:
    """What a peer can make a session keep has a bound, also by the length of each piece."""
    side = Side()
    limits = Limits()
    for i in range(limits.dcc_offers):
        side.feed(UP, b"PRIVMSG bob :\x01DCC SEND a 3232235786 0 9 %d%s\x01\r\n" % (i, b"9" * 8000))
    kept = sum(len(token) for token in side.decoder._passive)
    assert kept < limits.dcc_offers * 128


# -- STARTTLS


def test_tls_that_nobody_opened_is_told() -> None:
    """A client hello where lines belong: the rest of the session cannot be read, and the policy is asked."""
    side = Side()
    side.feed(UP, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(14, 200)) + b"\n")
    assert side.decoder.undecryptable is not None


def test_an_echo_to_the_user_is_one_message() -> None:
    """The plain case beside the odd ones: nothing above changes how a usual message reads."""
    frame = Side().one(DOWN, b":bob!b@h PRIVMSG alice :hello there\r\n")
    assert [type(e) for e in frame.events] == [Message] and words(frame) == "hello there"
