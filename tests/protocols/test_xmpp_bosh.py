"""XMPP over HTTP (BOSH): the carrier's own ways; what is inside is XMPP's (tests/protocols/test_xmpp.py)."""

from __future__ import annotations

import gzip
import re
import time
import zlib
from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector import policy
from inspector.engine.world import SharedMemory, World
from inspector.model import (
    DOWN,
    UP,
    Act,
    Action,
    Address,
    Came,
    Chunk,
    Closed,
    Cut,
    Decoder,
    Deliver,
    Expect,
    Flow,
    Frame,
    Held,
    Kept,
    Limits,
    Match,
    Message,
    Notice,
    Released,
    Send,
    SignOn,
    Verdict,
    Way,
    Went,
    Woke,
)
from inspector.protocols.registry import BY_NAME
from inspector.protocols.xmpp_bosh import CONTINUE, STRIP_CODINGS, STRIP_WORDS, UNKNOWN_SESSION, behind, probe
from tests.evasion.line import Line
from tests.evasion.ways import Said
from tests.protocols import bosh_disguises, test_xmpp
from tests.protocols.bosh_disguises import (
    ALLOWED,
    HTTPBIND,
    PREFLIGHT,
    answer,
    bodies,
    bound,
    chunked,
    create,
    created,
    message,
    post,
    restart,
    tag,
)

SPEC = BY_NAME["xmpp_bosh"]
EDITS = (STRIP_CODINGS, CONTINUE, UNKNOWN_SESSION, STRIP_WORDS)
DISGUISES = bosh_disguises.DISGUISES
TALKS: dict[str, Said] = {
    "chat": bound(test_xmpp.TALKS["chat"]),
    "words": [(UP, PREFLIGHT), (DOWN, ALLOWED), *bound(test_xmpp.TALKS["forms-of-words"], chunks=40)],
}
LOGIN = bound(test_xmpp.login())
NEXT = 1000 + sum(way is UP for way, _ in LOGIN)
"""The number of the first request behind the login."""
FIRST = (b"Host: chat.example.com",)
REQUEST = b"POST /http-bind HTTP/1.1"


def say(text: str, more: str = "id='m1' type='chat'") -> bytes:
    return f"<message xmlns='jabber:client' to='bob@example.org' {more}><body>{text}</body></message>".encode()


def told(text: str) -> bytes:
    return (f"<message xmlns='jabber:client' from='bob@example.org/barn' to='alice@example.com' type='chat'>"
            f"<body>{text}</body></message>").encode()


class Peers:
    """Connections of one client, and what they have in common."""

    def __init__(self, edits: Iterable[str] = EDITS, limits: Limits | None = None) -> None:
        self.memory = SharedMemory(64)
        self.edits = frozenset(edits)
        self.limits = limits or Limits()

    def connection(self, client: str = "10.0.0.1", server: str = "192.0.2.1", **more: object) -> Decoder:
        flow = Flow("f", Address(client, 40000), Address(server, 5280), **more)  # type: ignore[arg-type]
        return SPEC.decoder(flow, self.limits, self.memory, self.edits)

    def signed_on(self) -> Decoder:
        dec = self.connection()
        play(dec, LOGIN)
        return dec


def play(dec: Decoder, said: Said, at: float = 1.0) -> list[Frame]:
    """Feed and let everything pass."""
    frames: list[Frame] = []
    for way, data in said:
        for each in dec.feed(Chunk(way, at, data)):
            frames.append(each)
            if each.fault is None:
                dec.apply(each, [Verdict(Action.PASS)] * len(each.events))
    return frames


def passed(dec: Decoder, way: Way, data: bytes, at: float = 1.0) -> bytes:
    """What leaves that way for these bytes when all is let pass."""
    return sent([act for each in dec.feed(Chunk(way, at, data))
                 for act in dec.apply(each, [Verdict(Action.PASS)] * len(each.events))], way)


def faults(frames: Iterable[Frame]) -> list[str]:
    return [each.fault.name for each in frames if each.fault]


def sent(acts: Iterable[Act], way: int) -> bytes:
    return b"".join(act.data for act in acts if isinstance(act, Send) and act.way == way)


def words(frames: Iterable[Frame]) -> list[str]:
    return [text.plain for each in frames for event in each.events if isinstance(event, Message)
            for text in event.texts]


# -- reading and writing


def test_the_events_are_those_of_the_stream_inside() -> None:
    """Sign-on and messages as XMPP's decoder reads them on a bare connection."""
    plain = [e for f in test_xmpp.play(test_xmpp.decoder(), test_xmpp.TALKS["chat"]) for e in f.events]
    inside = [e for f in play(Peers(()).connection(), TALKS["chat"]) for e in f.events]
    assert [type(e) for e in inside] == [type(e) for e in plain]
    assert [e.texts for e in inside] == [e.texts for e in plain]
    assert any(isinstance(e, SignOn) for e in inside)


def test_a_refused_message_is_gone_its_number_is_not_and_its_writer_is_told_later() -> None:
    """The body goes up empty; the error comes with the next body, whose length is right, whatever was in that."""
    dec = Peers().signed_on()
    one, = dec.feed(Chunk(UP, 1.0, post(NEXT, say("no"))))
    acts = dec.apply(one, [Verdict(Action.BLOCK, "r", notice="Refused.")])
    assert sent(acts, DOWN) == b""
    body, = bodies(sent(acts, UP))
    assert b'rid="%d"' % NEXT in body
    assert b"message" not in body
    data = passed(dec, DOWN, answer(told("meanwhile")))
    said, = bodies(data)
    assert data.endswith(said)
    assert said.endswith(b"</body>")
    assert b"meanwhile" in said
    assert b"Refused." in said
    assert b"Refused." not in passed(dec, DOWN, answer()) + passed(dec, UP, post(NEXT + 1))


def test_one_of_several_stanzas_is_refused_alone() -> None:
    """Those beside it go on; each is judged by itself."""
    dec = Peers().signed_on()
    found = dec.feed(Chunk(UP, 1.0, post(NEXT, say("one") + say("two") + say("three"))))
    assert [bool(each.raw) for each in found] == [False, False, True]
    out: list[Act] = []
    for number, each in enumerate(found):
        out += dec.apply(each, [Verdict(Action.BLOCK if number == 1 else Action.PASS)])
    body, = bodies(sent(out, UP))
    assert re.findall(rb"<body>(\w+)</body>", body) == [b"one", b"three"]


@pytest.mark.parametrize("chunks", [0, 5])
def test_a_masked_message_goes_in_its_own_body(chunks: int) -> None:
    """Attributes of the body stay as they were written; chunks become a length."""
    dec = Peers().signed_on()
    data = post(NEXT, say("my secret"), chunks=chunks, key="abc", more=b" xmlns:q = 'urn:q'")
    one, = dec.feed(Chunk(UP, 1.0, data))
    out = sent(dec.apply(one, [Verdict(Action.REDACT, "r", masks=((0, 3, 9),))]), UP)
    assert b"hunked" not in out
    body, = bodies(out)
    assert body.startswith(data[data.index(b"<body"):data.index(b"<message")] if not chunks else b"<body rid=")
    assert b"my ******" in body
    assert b"key=\"abc\"" in body


@pytest.mark.parametrize("value", [b"'a>b'", b'"a>b"', b"'\"' y='>'", b'"\'" y=">"', b"'/>'", b"'>\"'", b"'plain'"])
def test_a_tag_ends_where_its_quotes_say(value: bytes) -> None:
    """The body is written anew behind its whole tag."""
    dec = Peers().signed_on()
    text = b"<body rid='%d' sid='s1' xmlns='%s' x=%s>" % (NEXT, HTTPBIND.encode(), value)
    one, = dec.feed(Chunk(UP, 1.0, message(REQUEST, text + say("no") + b"</body>", FIRST)))
    body, = bodies(sent(dec.apply(one, [Verdict(Action.BLOCK)]), UP))
    assert body == text + b"</body>"


@pytest.mark.parametrize("edits", [(), EDITS])
def test_what_is_untouched_leaves_as_it_came(edits: tuple[str, ...]) -> None:
    """Spaces, quotes, declarations, chunks and all."""
    dec = Peers(edits).signed_on()
    text = (b"<?xml version='1.0' encoding='UTF-8'?>\n<h:body\n rid='%d' sid = \"s1\" xmlns:h='%s' ><message\n"
            b" xmlns='jabber:client' to='bob@example.org'><body>a&#98;c</body></message> </h:body >\n"
            % (NEXT, HTTPBIND.encode()))
    for data in (message(REQUEST, text, FIRST), message(REQUEST, text.replace(b"%d" % NEXT, b"%d" % (NEXT + 1)), FIRST,
                                                        chunks=9)):
        assert passed(dec, UP, data) == data


def test_notices_wait_for_the_next_body_on_whatever_connection() -> None:
    """Nothing can be said to a client that has not asked; what waits is bounded, and what finds no room is told."""
    peers = Peers(limits=Limits(bosh_owed_bytes=2000))
    one, two = peers.signed_on(), peers.connection()
    assert one.inject(Notice("A word & more"), DOWN) == []
    for _ in range(20):
        assert one.inject(Notice("x" * 300), DOWN) == []
    asked = play(two, [(UP, post(NEXT))])
    assert [odd.name for each in asked for odd in each.oddities] == ["xmpp_bosh.notice_dropped"]
    found = two.feed(Chunk(DOWN, 1.0, answer()))
    said, = bodies(sent(two.apply(found[-1], ()), DOWN))
    assert b"A word &amp; more" in said


def test_features_keep_their_usual_prefix_when_they_are_changed() -> None:
    """Clients look for `stream:features`."""
    dec = Peers(("xmpp.strip_sm",)).connection()
    play(dec, [(UP, create(5))])
    features = b"<stream:features><sm xmlns='urn:xmpp:sm:3'/><bind xmlns='urn:b'/></stream:features>"
    out = passed(dec, DOWN, created("s9", features))
    assert b"<stream:features xmlns:stream=" in out
    assert b"</stream:features></body>" in out
    assert b"urn:xmpp:sm" not in out


def test_what_inherits_the_namespace_of_the_body_is_a_stanza() -> None:
    """Some servers read it so."""
    dec = Peers().signed_on()
    data = post(NEXT, b"<message to='bob@example.org'><body>inherited</body></message>")
    assert words(dec.feed(Chunk(UP, 1.0, data))) == ["inherited"]


# -- sessions and their connections


def test_another_connection_knows_who_is_signed_on() -> None:
    """In front of its first frame, once; not again on the one that saw it."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    first, second = two.feed(Chunk(UP, 1.0, post(NEXT, say("hello"))))
    event, = first.events
    assert isinstance(event, SignOn)
    assert (event.user, event.again) == ("alice@example.com/desk", True)
    assert (first.raw, two.apply(first, [Verdict(Action.PASS)])) == (b"", [])
    assert words([second]) == ["hello"]
    assert not any(isinstance(e, SignOn) for f in play(two, [(DOWN, answer())]) for e in f.events)
    assert not any(isinstance(e, SignOn) for f in play(one, [(UP, post(NEXT + 1))]) for e in f.events)


@pytest.mark.parametrize("other", [
    {"client": "10.0.0.2"}, {"server": "192.0.2.2"}, {"server_name": "other.example"},
])
def test_a_session_is_known_by_its_client_and_server_too(other: dict[str, str]) -> None:
    """A sid alone is no key: another client's is answered in the protocol's own words, and not sent on."""
    peers = Peers()
    peers.signed_on()
    dec = peers.connection(**other)
    one, = dec.feed(Chunk(UP, 1.0, post(NEXT, say("hello"))))
    assert (one.events, one.edit) == ((), UNKNOWN_SESSION)
    acts = dec.apply(one, ())
    assert sent(acts, UP) == b""
    assert b"type='terminate' condition='item-not-found'" in sent(acts, DOWN)


def test_a_session_that_is_forgotten_is_refused() -> None:
    """Nothing of it would be read: its decoder is gone. Where the edit is off, it is a fault."""
    peers = Peers()
    peers.signed_on()
    dec = peers.connection()
    late = dec.feed(Chunk(UP, 1.0 + peers.limits.bosh_seconds + 1, post(NEXT, say("hello"))))
    assert [each.edit for each in late] == [UNKNOWN_SESSION]
    assert faults(Peers(()).connection().feed(Chunk(UP, 1.0, post(NEXT)))) == ["xmpp_bosh.unknown_session"]


def test_the_sessions_of_one_client_make_room_for_each_other_alone() -> None:
    """Those without a user first, and of no other client; nothing else of the memory is used up."""
    peers = Peers(limits=Limits(bosh_logins=3, bosh_sessions=2))
    peers.signed_on()
    other = peers.connection(client="10.0.0.2")
    play(other, bound(test_xmpp.login(), sid="s1"))
    for number in range(9):
        play(peers.connection(), [(UP, create(5)), (DOWN, created(f"n{number}"))])
    assert [peers.connection().feed(Chunk(UP, 1.0, post(6, sid=f"n{number}")))[-1].edit == UNKNOWN_SESSION
            for number in (0, 5, 8)] == [True, True, False]
    assert not peers.connection().feed(Chunk(UP, 1.0, post(NEXT)))[-1].edit
    for name in ("t1", "t2"):
        dec = peers.connection()
        play(dec, [*bound(test_xmpp.login(), sid=name), (UP, post(NEXT, sid=name))])
    assert peers.connection().feed(Chunk(UP, 1.0, post(NEXT + 1)))[-1].edit == UNKNOWN_SESSION
    assert not peers.connection(client="10.0.0.2").feed(Chunk(UP, 1.0, post(NEXT)))[-1].edit
    assert len(peers.memory) == 2


@pytest.mark.parametrize("where", [
    lambda number: {"server_name": f"n{number}.example"}, lambda number: {"server": f"192.0.2.{number + 3}"},
    lambda number: {"client": f"2001:db8::{number:x}"},
])
def test_names_of_servers_make_no_more_room(where: Callable[[int], dict[str, str]]) -> None:
    """A client who has a server of his own there makes up as many names, and addresses of his network, as he likes."""
    peers = Peers(limits=Limits(bosh_logins=3))
    for number in range(9):
        play(peers.connection(**where(number)), [(UP, create(5)), (DOWN, created("s1"))])
    assert [peers.connection(**where(number)).feed(Chunk(UP, 1.0, post(6)))[-1].edit == UNKNOWN_SESSION
            for number in range(9)] == [True] * 6 + [False] * 3
    assert len(peers.memory) == 1


def test_requests_are_read_in_the_order_of_their_numbers() -> None:
    """One that is ahead waits, and is read as soon as the one in front of it was, without anything more of its own."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    data = post(NEXT + 1, say("second"))
    assert two.feed(Chunk(UP, 1.0, data)) == []
    assert two.pending(UP) == len(data)
    assert getattr(two, "due", None) == pytest.approx(1.05)
    assert two.feed(Chunk(UP, 1.05, b"")) == []
    assert words(one.feed(Chunk(UP, 1.06, post(NEXT, say("first"))))) == ["first"]
    assert two.feed(Chunk(UP, 1.1, b"")) == []  # twice as long as the first time
    found = two.feed(Chunk(UP, 1.16, b""))
    assert words(found) == ["second"]
    assert (getattr(two, "due", 0), two.pending(UP)) == (None, 0)


def test_a_request_does_not_wait_for_ever() -> None:
    """Then, and where it is too far ahead, it is refused: its bytes are in a frame, and go nowhere."""
    peers = Peers()
    peers.signed_on()
    dec = peers.connection()
    data = post(NEXT + 1, say("second"))
    assert dec.feed(Chunk(UP, 1.0, data)) == []
    one, = dec.feed(Chunk(UP, 1.0 + peers.limits.bosh_wait_seconds, b""))
    assert ([odd.name for odd in one.oddities], one.raw) == (["xmpp_bosh.out_of_turn"], data)
    assert sent(dec.apply(one, ()), UP) == b""
    far, = peers.connection().feed(Chunk(UP, 9.0, post(NEXT + 1 + peers.limits.bosh_ahead)))
    assert [odd.name for odd in far.oddities] == ["xmpp_bosh.number_ahead"]


def test_one_that_waits_is_refused_when_its_connection_ends() -> None:
    """Nothing of it is left behind."""
    peers = Peers()
    peers.signed_on()
    dec = peers.connection()
    dec.feed(Chunk(UP, 1.0, post(NEXT + 1, say("second"))))
    assert [each.edit for each in dec.feed(Chunk(UP, 1.0, b"", 0, True))] == [UNKNOWN_SESSION]


def test_a_request_sent_again_goes_as_it_went_the_first_time() -> None:
    """Without what was refused, and without new events; its answer, said again, as the first one was."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    data = post(NEXT, say("no"))
    first, = one.feed(Chunk(UP, 1.0, data))
    went = sent(one.apply(first, [Verdict(Action.BLOCK, "r", notice="Refused.")]), UP)
    assert b"message" not in went
    again, = two.feed(Chunk(UP, 2.0, data))
    assert again.events == ()
    assert sent(two.apply(again, ()), UP) == went
    reply = answer(told("a secret"))
    heard, = one.feed(Chunk(DOWN, 3.0, reply))
    said = sent(one.apply(heard, [Verdict(Action.REDACT, masks=((0, 2, 8),))]), DOWN)
    assert b"a ******" in said
    repeated, = two.feed(Chunk(DOWN, 4.0, reply))
    assert (repeated.events, sent(two.apply(repeated, ()), DOWN)) == ((), said)


def test_one_sent_again_before_it_was_judged_waits_for_that() -> None:
    """It goes as the first one went, whatever comes of it."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    data = post(NEXT, say("no"))
    first, = one.feed(Chunk(UP, 1.0, data))
    assert two.feed(Chunk(UP, 1.0, data)) == []
    went = sent(one.apply(first, [Verdict(Action.BLOCK)]), UP)
    again, = two.feed(Chunk(UP, 1.2, b""))
    assert sent(two.apply(again, ()), UP) == went


def test_other_words_under_a_used_number_are_a_fault() -> None:
    """The server may take either."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    play(one, [(UP, post(NEXT, say("harmless")))])
    assert faults(two.feed(Chunk(UP, 1.0, post(NEXT, say("harmful"))))) == ["xmpp_bosh.other_words"]


def test_a_number_that_is_forgotten_is_refused() -> None:
    """Nobody could say what went under it; so is one whose changed body was too long to be kept."""
    peers = Peers(limits=Limits(bosh_turns=4, bosh_kept_bytes=10))
    dec = peers.signed_on()
    for number in range(6):
        play(dec, [(UP, post(NEXT + number)), (DOWN, answer())])
    old, = dec.feed(Chunk(UP, 1.0, post(NEXT)))
    assert [odd.name for odd in old.oddities] == ["xmpp_bosh.old_number"]
    data = post(NEXT + 6, say("no"))
    dec = peers.connection()
    one = dec.feed(Chunk(UP, 1.0, data))[-1]
    dec.apply(one, [Verdict(Action.BLOCK)])
    again = peers.connection().feed(Chunk(UP, 1.0, data))[-1]
    assert [odd.name for odd in again.oddities] == ["xmpp_bosh.forgotten"]


def test_a_creation_sent_again_does_not_forget_who_is_signed_on() -> None:
    """A server that answers it with the same sid: the session that lives goes on."""
    peers = Peers()
    peers.signed_on()
    dec = peers.connection()
    play(dec, [LOGIN[0], LOGIN[1]])
    assert [e.user for f in dec.feed(Chunk(UP, 1.0, post(NEXT, say("hello")))) for e in f.events
            if isinstance(e, SignOn)] == ["alice@example.com/desk"]


def test_nothing_of_a_user_comes_before_his_sign_on() -> None:
    """It would wait for a sign-on in a session of the engine that never sees it."""
    dec = Peers().connection()
    play(dec, LOGIN[:2])
    assert faults(dec.feed(Chunk(UP, 1.0, post(1001, say("hello"))))) == ["xmpp_bosh.before_sign_on"]


def test_a_connection_changes_its_session_only_when_nothing_is_open() -> None:
    """What is not decided would be judged as another user's."""
    peers = Peers()
    dec = peers.signed_on()
    play(dec, [(UP, post(NEXT))])
    assert faults(dec.feed(Chunk(UP, 1.0, create(5)))) == ["xmpp_bosh.another_session"]
    dec = peers.connection()
    play(dec, bound(test_xmpp.login(), sid="s2"))
    first, second = dec.feed(Chunk(UP, 1.0, post(NEXT + 1, say("hello"))))
    assert isinstance(first.events[0], SignOn)
    assert words([second]) == ["hello"]


def test_an_ended_session_takes_nothing_more() -> None:
    """Ended by its client, by the server, by us."""
    for end in ([(UP, post(NEXT, type="terminate")), (DOWN, answer(type="terminate"))],
                [(UP, post(NEXT)), (DOWN, answer(type="terminate", condition="system-shutdown"))]):
        peers = Peers()
        play(peers.signed_on(), end)
        assert [each.edit for each in peers.connection().feed(Chunk(UP, 1.0, post(NEXT + 1, say("x"))))] == [
            UNKNOWN_SESSION]


def test_the_end_is_said_in_the_answer_that_is_due_and_to_the_server() -> None:
    """A terminating body with the condition, with what was still to be said; a request of ours with the next number;
    other connections find the session over."""
    peers = Peers()
    dec = peers.signed_on()
    dec.inject(Notice("A word"), DOWN)
    play(dec, [(UP, post(NEXT))])
    acts = dec.close("policy")
    said, = bodies(sent(acts, DOWN))
    assert said.startswith(b"<body type='terminate' condition='policy-violation'")
    assert b"A word" in said
    farewell, = bodies(sent(acts, UP))
    assert b"rid='%d'" % (NEXT + 1) in farewell
    assert b"type='terminate'" in farewell
    assert [each.edit for each in peers.connection().feed(Chunk(UP, 1.0, post(NEXT + 1)))] == [UNKNOWN_SESSION]
    assert sent(peers.signed_on().close("policy"), DOWN) == b""


def test_the_session_s_keys_are_not_ours() -> None:
    """Where its numbers are protected by keys we say no end in its name."""
    dec = Peers().signed_on()
    play(dec, [(UP, post(NEXT, newkey="ab"))])
    assert sent(dec.close("policy"), UP) == b""


def test_after_a_fault_that_passes_a_fresh_decoder_reads_on() -> None:
    """On every connection of the session: nothing is passed unread."""
    peers = Peers()
    one = peers.signed_on()
    assert faults(one.feed(Chunk(UP, 1.0, post(NEXT, b"<message xmlns='jabber:server'/>")))) == [
        "xmpp.invalid_namespace"]
    two = peers.connection()
    assert words(two.feed(Chunk(UP, 1.0, post(NEXT + 1, say("hello"))))) == ["hello"]


def test_where_a_fault_was_let_pass_its_number_is_not_waited_for() -> None:
    """The engine reads on with a decoder that begins in the middle: what it had not read has left."""
    peers = Peers()
    peers.signed_on()
    dec = peers.connection(from_start=False)
    first, second = dec.feed(Chunk(UP, 1.0, post(NEXT + 1, say("hello"))))
    assert isinstance(first.events[0], SignOn)
    assert words([second]) == ["hello"]


def test_a_capture_is_read_from_its_middle() -> None:
    """Of a session that began before it, and after bytes that were lost."""
    dec = Peers(()).connection(file="a.pcap")
    assert words(play(dec, [(UP, post(7, say("hello"))), (DOWN, answer(told("there")))])) == ["hello", "there"]
    dec = Peers(()).connection(from_start=False)
    assert words(play(dec, [(UP, b"half a body</body>" + post(7, say("hello"))),
                            (DOWN, b"ody>" + answer(told("there")))])) == ["hello", "there"]
    dec = Peers(()).signed_on()
    dec.feed(Chunk(UP, 1.0, b"POST /http-bi"))
    dec.feed(Chunk(UP, 1.0, b"y></body>", 300))
    assert words(play(dec, [(UP, post(NEXT, say("hello")))])) == ["hello"]


def kept_of(dec: Decoder, number: int = NEXT, text: str = "held") -> bytes:
    """What is kept of a message that was held."""
    one = dec.feed(Chunk(UP, 1.0, post(number, say(text))))[-1]
    kept = dec.keep([one], 0)
    assert kept is not None
    dec.apply(one, [Verdict(Action.BLOCK)])
    return kept


def news(dec: Decoder, way: Way, data: bytes) -> tuple[bytes, list[Went]]:
    """What leaves that way, and what is told of items that were left."""
    acts = [act for each in dec.feed(Chunk(way, 1.0, data))
            for act in dec.apply(each, [Verdict(Action.PASS)] * len(each.events))]
    return sent(acts, way), [act for act in acts if isinstance(act, Went)]


def test_a_released_message_goes_with_the_next_body_whichever_connection_has_it() -> None:
    """It is told of there, for the connection that it was given to; once, and it can not be taken back any more."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    kept = kept_of(one)
    assert one.release(kept, UP) is None
    assert one.leave(kept, UP, "h1")  # type: ignore[attr-defined]
    assert news(one, DOWN, answer())[1] == []
    out, told_of = news(two, UP, post(NEXT + 1))
    assert b"held</body>" in out
    assert told_of == [Went("h1", "f", sent=True)]
    assert not one.take_back("h1")  # type: ignore[attr-defined]
    assert news(one, UP, post(NEXT + 2)) == (post(NEXT + 2), [])


def test_what_is_released_to_the_reader_goes_with_the_next_answer_to_any_of_his_requests() -> None:
    """Also where nobody had asked when it was released: the answer that is due on another connection has it."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    play(two, [(UP, post(NEXT))])
    assert one.ready(DOWN)
    kept = b"<message from='bob@example.org' to='alice@example.com'><body>roses</body></message>"
    assert one.leave(kept, DOWN, "h1")  # type: ignore[attr-defined]
    out, told_of = news(two, DOWN, answer(told("meanwhile")))
    assert b"roses" in out
    assert b"meanwhile" in out
    assert told_of == [Went("h1", "f", sent=True)]


@pytest.mark.parametrize("end", [
    [(DOWN, answer(type="terminate"))], [(DOWN, message(b"HTTP/1.1 503 Busy", b"later"))],
    [(DOWN, answer(status=b"404 Not Found"))], [(DOWN, answer()), (UP, post(NEXT + 1, type="terminate"))],
])
def test_what_ends_a_session_and_errors_take_nothing_that_was_released(end: Said) -> None:
    """Nobody may read it. Where the session is over that is told; else the next answer has it."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    kept = b"<message from='bob@example.org' to='alice@example.com'><body>roses</body></message>"
    play(two, [(UP, post(NEXT))])
    assert one.leave(kept, end[-1][0], "h1")  # type: ignore[attr-defined]
    for way, data in end[:-1]:
        news(two, way, data)
    out, told_of = news(two, *end[-1])
    assert b"roses" not in out
    assert told_of == ([Went("h1", "f", sent=False)] if b"terminate" in out else [])
    assert one.take_back("h1") is not bool(told_of)  # type: ignore[attr-defined]


def test_the_end_that_we_say_takes_nothing_that_was_released() -> None:
    """It is told of as not sent."""
    peers = Peers()
    one, two = peers.signed_on(), peers.connection()
    play(two, [(UP, post(NEXT))])
    kept = b"<message from='bob@example.org' to='alice@example.com'><body>roses</body></message>"
    assert one.leave(kept, DOWN, "h1")  # type: ignore[attr-defined]
    acts = two.close("policy")
    assert b"roses" not in sent(acts, DOWN)
    assert [act for act in acts if isinstance(act, Went)] == [Went("h1", "f", sent=False)]
    assert one.parted  # type: ignore[attr-defined]
    assert not one.leave(kept, DOWN, "h2")  # type: ignore[attr-defined]


class Leases:
    """A connection's way to the memory, with an address of its own to lease."""

    def __init__(self, shared: SharedMemory, host: str) -> None:
        self.get = shared.get
        self.put = shared.put
        self.host = host

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        return Address(self.host, 7777)


def test_addresses_are_leased_by_the_connection_that_says_them() -> None:
    """Its part of the engine is the one that hears when there is none to be had."""
    peers = Peers()
    decs = []
    for host in ("198.51.100.1", "198.51.100.2"):
        flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5280))
        decs.append(SPEC.decoder(flow, peers.limits, Leases(peers.memory, host), peers.edits))
    play(decs[0], LOGIN)
    offer = (b"<iq xmlns='jabber:client' type='set' id='o' to='bob@example.org/x'><query sid='a' "
             b"xmlns='http://jabber.org/protocol/bytestreams'><streamhost jid='alice@example.com/desk' "
             b"host='10.0.0.1' port='1080'/></query></iq>")
    assert b"198.51.100.2" in passed(decs[1], UP, post(NEXT, offer))
    assert b"198.51.100.1" in passed(decs[0], UP, post(NEXT + 1, offer.replace(b"sid='a'", b"sid='b'")))


def test_in_band_files_are_refused() -> None:
    """Their blocks would come on several connections, each of which has a session of the engine of its own."""
    dec = Peers().signed_on()
    opening = (b"<iq xmlns='jabber:client' type='set' id='o' to='bob@example.org/x'><open sid='a' block-size='4096' "
               b"xmlns='http://jabber.org/protocol/ibb'/></iq>")
    one, = dec.feed(Chunk(UP, 1.0, post(NEXT, opening)))
    body, = bodies(sent(dec.apply(one, ()), UP))
    assert b"ibb" not in body
    assert b"not-acceptable" in passed(dec, DOWN, answer())


# -- HTTP


@pytest.mark.parametrize("data", [
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"Content-Length: 3")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"Transfer-Encoding: chunked")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"Content_Length: 3")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"Content-Length : 3")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"X: y\r\n z: 1")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"X: y\nZ: 1")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"Upgrade: h2c")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, *FIRST)),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), ()),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"Expect: the unexpected")),
    message(REQUEST, gzip.compress(tag({"rid": NEXT, "sid": "s1"})), (*FIRST, b"Content-Encoding: gzip")),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), FIRST).replace(b"charset=utf-8", b"charset=utf-16"),
    message(b"POST /http-bind HTTP/1.0", tag({"rid": NEXT, "sid": "s1"}), FIRST),
    message(b"POST http://x/http-bind HTTP/1.1", tag({"rid": NEXT, "sid": "s1"}), FIRST),
    message(b"PUT /http-bind HTTP/1.1", tag({"rid": NEXT, "sid": "s1"}), FIRST),
    message(REQUEST, tag({"rid": NEXT, "sid": "s1"}), (*FIRST, b"Connection: close, Content-Length")),
    b"\r\n" + post(NEXT), b"\n" + post(NEXT),
    b"GET /index.html HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
    b"GET /http-bind?%3Cbody%20rid='5'%20sid='s1'/%3E HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /http-bind?<body HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", PREFLIGHT.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nhi"),
    post(NEXT, chunks=4).replace(b"\r\n4\r\n", b"\r\n4;x=y\r\n", 1),
    post(NEXT, chunks=4).replace(b"\r\n0\r\n", b"\r\n0\r\nSid: s1\r\n"),
    post(NEXT, chunks=4).replace(b"\r\n4\r\n", b"\r\n0x4\r\n", 1),
    post(NEXT, chunks=4).replace(b"\r\n4\r\n", b"\r\n+4\r\n", 1),
    message(REQUEST, b"x" * 600_000, FIRST), b"POST /" + b"x" * 40_000,
])
def test_requests_that_are_read_differently_are_faults(data: bytes) -> None:
    """Two lengths, folded lines, blanks, codings, upgrades, other requests, script form: nothing of it leaves."""
    dec = Peers().signed_on()
    found = dec.feed(Chunk(UP, 1.0, data))
    assert len(found) == 1
    assert found[0].fault is not None
    assert found[0].raw == data


@pytest.mark.parametrize("body", [
    b"", b"words", b"<body xmlns='urn:x' rid='%d' sid='s1'/>" % NEXT, b"<html/>",
    tag({"rid": NEXT, "sid": "s1"}) * 2, tag({"rid": NEXT, "sid": "s1"}) + b"<a/>",
    tag({"rid": NEXT, "sid": "s1"}, b"words"), tag({"rid": NEXT, "sid": "s1"}, b"<a/>words"),
    tag({"rid": NEXT, "sid": "s1"}, b"<!-- c -->"), tag({"rid": NEXT, "sid": "s1"}, b"<?x y?>"),
    b"<!DOCTYPE a>" + tag({"rid": NEXT, "sid": "s1"}), b"\xef\xbb\xbf" + tag({"rid": NEXT, "sid": "s1"}),
    b"<?xml version='1.0' encoding='UTF-16'?>" + tag({"rid": NEXT, "sid": "s1"}),
    b"<?xml version='utf-8' encoding='ISO-8859-1'?>" + tag({"rid": NEXT, "sid": "s1"}),
    b"<?xml version='1.0' encoding='x' a='utf-8'?>" + tag({"rid": NEXT, "sid": "s1"}),
    tag({"rid": NEXT, "sid": "s1"}, b"<a:x/>" * 30000, b" xmlns:a='" + b"u" * 60000 + b"'"),
    tag({"rid": NEXT, "sid": "s1"}).decode().encode("utf-16"), tag({"rid": NEXT, "sid": "s1"}, b"<message><body>half"),
    tag({"rid": NEXT, "sid": "s1"}, b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>"),
    tag({"rid": NEXT, "sid": "s1"}, b"<a>" * 70 + b"</a>" * 70),
    tag({"rid": NEXT, "sid": "s1"}, b"", f" xmlns:h='{HTTPBIND}' h:sid='other'".encode()),
    *(tag({"rid": rid, "sid": "s1"}) for rid in ("", "-1", "0x3f1", "1e3", " 1010", "01010", 2 ** 53, "\u0661")),
    tag({"sid": "s1"}),
    tag({"rid": NEXT, "sid": "s1", "stream": "two"}),
])
def test_bodies_that_are_read_differently_are_faults(body: bytes) -> None:
    """What is not one whole body, what a forgiving reader might find in it, numbers that are none."""
    dec = Peers().signed_on()
    found = dec.feed(Chunk(UP, 1.0, message(REQUEST, body, FIRST)))
    assert [each.fault is not None for each in found] == [True]


@pytest.mark.parametrize("declared", [
    b"<?xml version='1.0'?>", b'<?xml version="1.0" encoding = "UTF-8"?>\n',
    b"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>",
])
def test_a_declaration_that_says_utf_8_is_read(declared: bytes) -> None:
    """Some clients write one in front of each body."""
    found = Peers().signed_on().feed(Chunk(UP, 1.0, message(REQUEST, declared + tag(
        {"rid": NEXT, "sid": "s1"}, say("hello")), FIRST)))
    assert words(found) == ["hello"]


def test_answers_that_nobody_asked_for_make_room_for_no_words_of_ours() -> None:
    """Where a fault was let pass, the answers to what it held come: what is due behind them is known still."""
    dec = Peers().connection(from_start=False)
    play(dec, [(DOWN, answer()), (DOWN, answer()), (UP, post(NEXT, say("hello")))])
    assert b"terminate" in sent(dec.close("shutdown"), DOWN)


@pytest.mark.parametrize("data", [b"<a/>", b"<iq/>", b"<presence/>"])
def test_a_body_of_thousands_of_tiny_stanzas_is_refused(data: bytes) -> None:
    """One request of 440 KB kept all others waiting for seconds. As many as there may be are read."""
    peers = Peers()
    most = peers.limits.bosh_stanzas
    assert len(peers.signed_on().feed(Chunk(UP, 1.0, post(NEXT, data * most)))) >= most
    assert faults(Peers().signed_on().feed(Chunk(UP, 1.0, post(NEXT, data * (most + 1))))) == [
        "xmpp_bosh.too_many_stanzas"]
    assert faults(Peers().connection().feed(Chunk(UP, 1.0, post(1, data * (most + 1), sid=None)))) == [
        "xmpp_bosh.too_many_stanzas"]


def test_a_second_stream_in_a_session_is_refused() -> None:
    """Where the server has several in one session (XEP-0124 20), `to` asks for one; its own name may stand."""
    for more, fault in ((tag({"rid": 6, "sid": "s1", "to": "b.example"}), True),
                        (tag({"rid": 6, "sid": "s1", "stream": "one"}), False)):
        dec = Peers().connection()
        play(dec, [(UP, create(5)), (DOWN, created(stream="one"))])
        assert bool(faults(dec.feed(Chunk(UP, 1.0, message(REQUEST, more, FIRST))))) is fault
    dec = Peers().connection()
    play(dec, [(UP, create(5)), (DOWN, created(stream="one"))])
    assert not faults(dec.feed(Chunk(UP, 1.0, restart(6))))


@pytest.mark.parametrize(("data", "name"), [
    (answer(told("x")).replace(b"charset=utf-8", b"charset=latin-1"), "charset"),
    (message(b"HTTP/1.1 200 OK", zlib.compress(tag({})), (b"Content-Encoding: deflate",)), "content_coding"),
    (message(b"HTTP/1.1 200 OK", b"<html/>"), "not_bosh"),
    (answer(status=b"101 Switching Protocols"), "interim"), (answer(status=b"100 Continue"), "framing"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", "interim"), (b"HTTP/1.1 200 OK\r\n\r\n", "no_length"),
    (answer().replace(b"HTTP/1.1", b"HTTP/1.0"), "head"), (answer(sid="s7"), "another_session"),
    (b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc", "framing"),
])
def test_responses_that_are_read_differently_are_faults(data: bytes, name: str) -> None:
    """The client may show what we have not read."""
    dec = Peers().signed_on()
    play(dec, [(UP, post(NEXT))])
    assert faults(dec.feed(Chunk(DOWN, 1.0, data))) == [f"xmpp_bosh.{name}"]


def test_a_response_that_nobody_asked_for_is_a_fault() -> None:
    """Whose would it be?"""
    assert faults(Peers().signed_on().feed(Chunk(DOWN, 1.0, answer(told("x"))))) == ["xmpp_bosh.nobody_asked"]


def test_errors_of_http_pass_and_their_bodies_are_read_where_they_are_bosh() -> None:
    """The client learns the status and none of the words: nobody has read them. A body in one is judged."""
    dec = Peers().signed_on()
    for number, error in enumerate((
        message(b"HTTP/1.1 503 Busy", b"try later"), message(b"HTTP/1.1 404 Not Found", b"x" * 50000),
        message(b"HTTP/1.1 502 Bad", gzip.compress(b"secret"), (b"Content-Encoding: gzip",)),
        message(b"HTTP/1.1 500 No", b"<p>words</p>", chunks=5),
    )):
        play(dec, [(UP, post(NEXT + number))])
        one, = dec.feed(Chunk(DOWN, 1.0, error))
        assert one.edit == STRIP_WORDS
        said = sent(dec.apply(one, ()), DOWN)
        assert said == error[:16] + said[16:]
        assert said.endswith(b"\r\n\r\n")
        assert b"Content-Length: 0" in said
        assert b"gzip" not in said
    play(dec, [(UP, post(NEXT + 4))])
    assert passed(dec, DOWN, ALLOWED.replace(b"200 OK", b"403 No")) == ALLOWED.replace(b"200 OK", b"403 No")
    play(dec, [(UP, PREFLIGHT)])
    assert passed(dec, DOWN, message(b"HTTP/1.1 200 OK", b"words")).endswith(b"Content-Length: 0\r\n\r\n")
    off = Peers(()).signed_on()
    play(off, [(UP, PREFLIGHT)])
    assert faults(off.feed(Chunk(DOWN, 1.0, message(b"HTTP/1.1 200 OK", b"words")))) == ["xmpp_bosh.other_response"]
    play(dec, [(UP, post(NEXT + 5))])
    assert words(dec.feed(Chunk(DOWN, 1.0, answer(told("here"), status=b"404 Not Found")))) == ["here"]


def test_a_client_that_is_sent_elsewhere_is_told_of() -> None:
    """It goes on at another address, perhaps not through us."""
    dec = Peers().signed_on()
    play(dec, [(UP, post(NEXT))])
    found = dec.feed(Chunk(DOWN, 1.0, answer(b"<uri>http://b.example/x</uri>", type="terminate",
                                             condition="see-other-uri")))
    assert [odd.name for each in found for odd in each.oddities] == ["xmpp_bosh.sent_elsewhere"]


def test_a_type_that_is_named_as_a_coding_is_none() -> None:
    """libpurple does so; a real coding is refused."""
    dec = Peers().signed_on()
    data = post(NEXT, say("hello")).replace(b"Content-Type:", b"Content-Encoding:")
    assert words(dec.feed(Chunk(UP, 1.0, data))) == ["hello"]


def test_codings_are_not_offered() -> None:
    """By the client in its head, by the server in its answer; all else stays as it was written."""
    dec = Peers().connection()
    head = (b"Accept-Encoding: gzip, deflate", b"X-Other: yes")
    data = create(5).replace(b"Host: ", head[0] + b"\r\n" + head[1] + b"\r\nHost: ")
    assert passed(dec, UP, data) == data.replace(head[0] + b"\r\n", b"")
    data = created(accept="gzip")
    body, = bodies(passed(dec, DOWN, data))
    assert body == bodies(data)[0].replace(b'accept="gzip"', b"")


def test_a_client_that_waits_for_continue_is_told_so_by_us() -> None:
    """The request goes on when it is judged, without Expect; the server says nothing in between."""
    dec = Peers().signed_on()
    data = post(NEXT, say("hello"), head=(b"Expect: 100-continue",))
    cut = data.index(b"\r\n\r\n") + 4
    one, = dec.feed(Chunk(UP, 1.0, data[:cut]))
    assert (one.raw, one.edit) == (b"", CONTINUE)
    assert sent(dec.apply(one, ()), DOWN) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert dec.feed(Chunk(UP, 1.0, data[cut:-5])) == []
    assert passed(dec, UP, data[-5:]) == data.replace(b"Expect: 100-continue\r\n", b"")
    dec = Peers(()).signed_on()
    assert passed(dec, UP, data) == data
    assert passed(dec, DOWN, b"HTTP/1.1 100 Continue\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_requests_may_be_pipelined_but_not_without_end() -> None:
    """Each answer belongs to the oldest request."""
    dec = Peers().signed_on()
    most = Limits().http_requests
    assert words(play(dec, [(UP, b"".join(post(NEXT + n, say(f"m{n}")) for n in range(3))),
                            (DOWN, answer(told("a")) + answer() + answer(told("b")))])) == ["m0", "m1", "m2", "a", "b"]
    found = dec.feed(Chunk(UP, 1.0, b"".join(post(NEXT + 3 + n) for n in range(most + 1))))
    assert faults(found) == ["xmpp_bosh.too_many_requests"]


# -- requests of no BOSH

PAGE = b"GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD /index.html HTTP/1.1\r\nHost: a\r\n\r\n"
FOUND = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "length": message(FOUND[:-2], b"<html/>" * 30000),
    "chunks": message(FOUND[:-2], b"page " * 9000, chunks=700),
    "one chunk": message(FOUND[:-2], b"page " * 50000, chunks=250000),
    "empty": FOUND + b"Content-Length: 0\r\n\r\n",
    "empty chunks": FOUND + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "not changed": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7000\r\n\r\n",
    "hints": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + message(FOUND[:-2], b"<html/>"),
}


@pytest.mark.parametrize("answered", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("size", [1 << 20, 4096, 61])
def test_a_page_passes_with_its_answer_between_requests_of_bosh(answered: bytes, size: int) -> None:
    """As it came, in pieces as it comes, however long it is; the session goes on, and the next answer is its own."""
    dec = Peers().signed_on()
    one, = dec.feed(Chunk(UP, 1.0, PAGE))
    assert one.unread
    assert dec.apply(one, ()) == [Send(UP, PAGE)]
    out = b""
    for at in range(0, len(answered), size):
        piece = answered[at:at + size]
        for each in dec.feed(Chunk(DOWN, 1.0, piece)):
            assert len(each.raw) <= Limits().part_bytes
            out += sent(dec.apply(each, ()), DOWN)
    assert out == answered
    assert dec.pending(DOWN) == 0
    assert words(play(dec, [(UP, post(NEXT, say("up"))), (DOWN, answer(told("down")))])) == ["up", "down"]


def test_an_answer_to_head_has_no_body_and_one_without_length_ends_with_the_connection() -> None:
    """So all readers have it (RFC 9112 6.3)."""
    dec = Peers().signed_on()
    play(dec, [(UP, HEAD)])
    assert passed(dec, DOWN, FOUND + b"Content-Length: 7\r\n\r\n") == FOUND + b"Content-Length: 7\r\n\r\n"
    assert words(play(dec, [(UP, post(NEXT)), (DOWN, answer(told("down")))])) == ["down"]
    play(dec, [(UP, PAGE)])
    data = FOUND + b"\r\n" + b"words" * 30000 + answer(told("of the page"))
    assert words(found := dec.feed(Chunk(DOWN, 1.0, data))) == []
    assert b"".join(each.raw for each in found) == data


@pytest.mark.parametrize(("data", "name"), [
    (FOUND + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"),
    (FOUND + b"Content-Length : 3\r\n\r\n", "head"), (b"HTTP/1.0 200 OK\r\n\r\n", "head"),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "head"),
    (FOUND + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n", "chunk"),
    (FOUND + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", "chunk"),
    (FOUND + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", "chunk"),
])
@pytest.mark.parametrize("size", [1000, 1])
def test_where_the_answer_to_a_page_ends_is_read_strictly(data: bytes, name: str, size: int) -> None:
    """Else what is behind it would be taken for a part of it, or the other way round."""
    dec = Peers().signed_on()
    play(dec, [(UP, PAGE)])
    frames = [each for at in range(0, len(data), size) for each in dec.feed(Chunk(DOWN, 1.0, data[at:at + size]))]
    assert faults(frames) == [f"xmpp_bosh.{name}"]
    assert b"".join(each.raw for each in frames) == data


def test_a_refused_page_is_answered_by_us_and_what_follows_it_is_read() -> None:
    """Any number. Where an answer is due, ours would be taken for that: the connection ends, not the session."""
    peers = Peers()
    dec = peers.signed_on()
    for _ in range(2 * Limits().http_requests):
        one, = dec.feed(Chunk(UP, 1.0, PAGE))
        assert sent(dec.apply(one, [Verdict(Action.BLOCK)]), DOWN) == (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert words(play(dec, [(UP, post(NEXT, say("up"))), (DOWN, answer(told("down")))])) == ["up", "down"]
    play(dec, [(UP, post(NEXT + 1))])
    one, = dec.feed(Chunk(UP, 1.0, PAGE))
    assert dec.apply(one, [Verdict(Action.BLOCK)]) == [Cut("a request of no BOSH")]
    assert not peers.connection().feed(Chunk(UP, 1.0, post(NEXT + 2)))[-1].edit


def test_our_end_is_not_said_in_the_middle_of_a_page() -> None:
    """It would be taken for a part of it."""
    dec = Peers().signed_on()
    play(dec, [(UP, PAGE), (DOWN, FOUND + b"Content-Length: 9\r\n\r\nhalf")])
    acts = dec.close("policy")
    assert sent(acts, DOWN) == b""
    assert b"terminate" in sent(acts, UP)


# -- with the engine


@pytest.mark.parametrize(("named", "word", "passes"), [
    (False, "pass", True), (False, "cut", False), (False, "block", False), (True, "pass", False),
])
def test_a_page_between_requests_of_bosh_is_treated_as_unknown_traffic(named: bool, word: str, passes: bool) -> None:
    """As the policy has it, and refused on a listener for BOSH alone. One row; the session goes on."""
    world = World(Limits())
    one = line(1, world)
    text = (f"on_trouble: {{default: {{unclassified: {word}}}}}\n"
            "rules: [{name: found, when: {finding.severity: [low, medium, high, critical]}, then: block}]\n")
    one.session.kit.rules = msgspec.structs.replace(one.session.kit.rules, policy=policy.compile(text, "t.yaml"))
    one.session._named_im = named
    for way, data in LOGIN:
        one.feed(way, data)
    before = len(one.sent[UP]), len(one.sent[DOWN])
    one.feed(UP, PAGE)
    if passes:
        one.feed(DOWN, ANSWERS["chunks"])
    one.feed(UP, PAGE)
    assert (bytes(one.sent[UP][before[0]:]), bytes(one.sent[DOWN][before[1]:])) == (
        (PAGE * 2, ANSWERS["chunks"]) if passes else (b"", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" * 2))
    assert [(row["name"], row["did"]) for row in one.rows if row["event"] == "trouble"] == [
        ("unclassified", "pass" if passes else "block")]
    if passes:
        one.feed(DOWN, ANSWERS["empty"])
    one.feed(UP, post(NEXT, say("my card 5105 1051 0510 5100")))
    assert not one.over
    assert one.outcome == "refused"


def line(number: int, world: World, action: str = "block") -> Line:
    return Line(SPEC, action, None, world, number)


def test_a_card_in_pieces_over_two_connections_is_found() -> None:
    """Its writer is the same user on both, and his conversation the same."""
    world = World(Limits())
    one, two = line(1, world), line(2, world)
    for way, data in LOGIN:
        one.feed(way, data)
    one.feed(UP, post(NEXT, say("my card 5105 1051")))
    two.at = one.at + 1
    two.feed(UP, post(NEXT + 1, say("0510 5100")))
    assert (one.outcome, two.outcome) == ("passed", "refused")
    assert b"0510 5100" not in two.sent[UP]
    assert [row["user"] for row in two.rows if row["event"] == "verdict"] == ["alice@example.com/desk"]
    assert [row["event"] for row in one.rows + two.rows].count("sign_on") == 1


def test_numbers_swapped_over_two_connections_are_read_in_their_order() -> None:
    """The first piece comes second: it is read first, and the number is found; the engine wakes for it."""
    world = World(Limits())
    one, two = line(1, world), line(2, world)
    for way, data in LOGIN:
        one.feed(way, data)
    two.feed(UP, post(NEXT + 1, say("0510 5100")))
    assert not two.sent[UP]
    one.feed(UP, post(NEXT, say("my card 5105 1051")))
    two.at += 0.1
    two._step(Woke(two.at))
    assert (one.outcome, two.outcome) == ("passed", "refused")
    assert b'rid="%d"' % (NEXT + 1) in two.sent[UP]


def released(session: Line) -> Deliver:
    """A message for bob, released into alice's session: what it asks for."""
    held = Held(
        id="h1", reference="AAAA-BBBB", t=1.0, protocol="xmpp", about="message", kind="chat", way=UP,
        direction="outbound", flow="f0", client="10.0.0.5", user="alice@example.com/desk", identity="authenticated",
        sender="alice@example.com/desk", recipients=("bob@example.org",), conversation="bob@example.org",
        message="f0-1", named=True, digest="d", size=1, rule="r", reason="", policy="sha256:0", findings=(),
        texts=(("body", "roses"),), raw=b"<message to='bob@example.org' id='m9'><body>roses</body></message>")
    asked, = session.session.step(Released(session.at, held), session.world)
    assert isinstance(asked, Deliver)
    return asked


def came(effects: Iterable[object]) -> list[Came]:
    return [each for each in effects if isinstance(each, Came)]


def test_what_is_released_is_delivered_when_its_body_has_left_on_whatever_connection() -> None:
    """And not before. It is delivered for the connection that it was given to, whose end says nothing more of it."""
    for here in (True, False):
        world = World(Limits())
        one, two = line(1, world), line(2, world)
        for way, data in LOGIN:
            one.feed(way, data)
        asked = released(one)
        assert one.session.step(Kept(asked.id, one.at), world) == []
        where = one if here else two
        found = where.session.step(Chunk(UP, where.at, post(NEXT)), world)
        assert b"roses" in sent([each for each in found if isinstance(each, Send)], UP)
        assert came(found) == [Came("h1", True, one.session.flow.id)] * 2
        assert isinstance(next(each for each in found if isinstance(each, Send | Came)), Send)
        ends = [*one.session.step(Closed(UP, one.at), world), *one.session.step(Closed(DOWN, one.at), world)]
        assert came(ends) == []


def test_what_is_released_is_given_back_when_its_connection_ends_first() -> None:
    """To be sent elsewhere: it goes with no body any more, of whichever connection."""
    world = World(Limits())
    one, two = line(1, world), line(2, world)
    for way, data in LOGIN:
        one.feed(way, data)
    one.session.step(Kept(released(one).id, one.at), world)
    found = [*one.session.step(Closed(UP, one.at), world), *one.session.step(Closed(DOWN, one.at), world)]
    assert came(found) == [Came("h1", False)]
    assert b"roses" not in one.sent[UP]
    found = two.session.step(Chunk(UP, two.at, post(NEXT)), world)
    assert came(found) == []
    assert b"roses" not in sent([each for each in found if isinstance(each, Send)], UP)


def test_what_is_released_is_given_back_when_another_connection_ends_the_session() -> None:
    """At once, and not when its own connection ends some day."""
    world = World(Limits())
    one, two = line(1, world), line(2, world)
    for way, data in LOGIN:
        one.feed(way, data)
    one.session.step(Kept(released(one).id, one.at), world)
    two.session.step(Chunk(UP, two.at, post(NEXT)), world)  # what was left goes with it
    one.session.step(Kept(released(one).id, one.at), world)
    found = two.session.step(Chunk(UP, two.at, b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n"), world)
    assert came(found) == [Came("h1", False, one.session.flow.id)]
    ends = [*one.session.step(Closed(UP, one.at), world), *one.session.step(Closed(DOWN, one.at), world)]
    assert came(ends) == []


def test_what_had_left_in_part_before_it_was_recognised_is_not_let_go_stanza_by_stanza() -> None:
    """The head had gone as something unknown: the refused stanza in the middle of the body ends the session."""
    world = World(Limits())
    one, two = line(1, world), line(2, world)
    for way, data in LOGIN:
        one.feed(way, data)
    two.feed(UP, post(NEXT, say("one")))
    two.feed(DOWN, answer())
    data = post(NEXT + 1, say("one") + say("my card 5105 1051 0510 5100") + say("two"))
    two.session._late[UP] = data.index(b"5105")
    two.feed(UP, data)
    assert two.over
    assert b"0510 5100" not in two.sent[UP]


def test_a_session_that_is_cut_is_over_on_all_its_connections() -> None:
    """Words that are read differently end it: the other connection's next request is refused."""
    world = World(Limits())
    one, two = line(1, world), line(2, world)
    for way, data in LOGIN:
        one.feed(way, data)
    one.feed(UP, post(NEXT))
    one.feed(UP, b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert one.over
    assert b"policy-violation" in one.sent[DOWN][-400:]
    two.feed(UP, post(NEXT + 1, say("hello")))
    assert b"hello" not in two.sent[UP]
    assert b"item-not-found" in two.sent[DOWN]


PAGES = PAGE * 3000
"""More than recognition is tried for, and more requests than a probe looks behind."""
UPLOAD = message(b"POST /form HTTP/1.1", b"a=b&" * 30000, FIRST)
DUMP = message(b"POST /dump HTTP/1.1", b"".join(
    b"10.0.0.1 - \"POST /a HTTP/1.1\" 200\n" + message(b"POST /x HTTP/1.1", b"<p>%d</p>" % n, FIRST)
    for n in range(900)))


@pytest.mark.parametrize("before", [PAGES, UPLOAD, UPLOAD + PAGES, DUMP], ids=["pages", "upload", "both", "dump"])
@pytest.mark.parametrize("size", [1 << 20, 7])
@pytest.mark.parametrize("bosh", [
    post(5, say("hello")), post(5, say("hello"), chunks=1), post(5, say("hello")).replace(b"POST", b"Post"),
    message(REQUEST, b"<!-- " + b"> " * 300 + b"-->" + tag({"rid": 1}, say("hello")), FIRST),
], ids=["plain", "chunks", "case", "comment"])
def test_bosh_behind_any_other_http_is_not_passed_because_nobody_looked(
    before: bytes, size: int, bosh: bytes,
) -> None:
    """Past the bytes in which a flow is recognised, its connection ends: nothing of a stanza has left by then. Its
    client asks again on another connection, where the first bytes are BOSH."""
    one = line(1, World(Limits()))
    for at in range(0, len(before), 4096):
        one.feed(UP, before[at:at + 4096])
    assert bytes(one.sent[UP]) == before
    for at in range(0, len(bosh), size):
        one.feed(UP, bosh[at:at + size])
    assert one.over
    assert b"<message" not in one.sent[UP][len(before):]
    assert [(row["name"], row["did"]) for row in one.rows if row["event"] == "trouble"] == [("unclassified", "cut")]


def test_a_post_that_is_none_hides_none_behind_it() -> None:
    """A head without an end, a comment without an end, more beginnings than are looked at, a framing that lies."""
    for before in (
        b"POST /a HTTP/1.1\r\nA: b\r\n", message(b"POST /a HTTP/1.1", b"<!-- words"), b"POST /a HTTP/1.1\r\n" * 20,
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        one = line(1, World(Limits()))
        for at in range(0, len(PAGES), 4096):
            one.feed(UP, PAGES[at:at + 4096])
        one.feed(UP, before)
        one.feed(UP, post(5, say("hello")))
        assert one.over, before
        assert b"<message" not in one.sent[UP]


def test_what_does_not_enforce_tells_of_bosh_behind_pages_and_passes_it() -> None:
    """One row, and the rest as it comes."""
    one = line(1, World(Limits()))
    one.session.kit.rules = msgspec.structs.replace(
        one.session.kit.rules, policy=policy.compile("enforce: false\nrules: []\n", "t.yaml"))
    for data in (PAGES, post(5, say("hello")), post(6, say("there"))):
        one.feed(UP, data)
    assert not one.over
    assert bytes(one.sent[UP]) == PAGES + post(5, say("hello")) + post(6, say("there"))
    assert [(row["name"], row["did"]) for row in one.rows if row["event"] == "trouble"] == [("unclassified", "pass")]


@pytest.mark.parametrize("first", [b"\x16\x03\x01" + b"x" * 100, b"NICK a\r\nUSER a b c d\r\n", b"",
                                   b"GET / HTTP/2\r\n", b"words\r\nGET / HTTP/1.1\r\n"])
def test_nothing_is_looked_for_behind_what_is_no_http(first: bytes) -> None:
    """It could not be there."""
    assert behind(first) is None


def test_looking_on_costs_no_more_where_the_bytes_come_one_by_one_and_keeps_little() -> None:
    """Places that are none are forgotten, those that may be are as many as there may be, for so many bytes."""
    looks_on = behind(PAGE)
    assert looks_on is not None
    for piece in (DUMP, b"POST /a HTTP/1.1\r\nA: " + b"x" * 100_000, b"words" * 100_000):
        for at in range(0, len(piece), 1000):
            assert not looks_on(piece[at:at + 1000])
        assert len(looks_on._buffer) <= 34_000  # type: ignore[attr-defined]


PLACES = b"POST " * 16 + b"/ HTTP/1.1\r\nHost: a\r\n"
SLOW = {
    "line": (b"POST " * 16, b"x"), "head": (PLACES + b"A: ", b">"), "white": (PLACES + b"\r\n", b" "),
    "comment": (PLACES + b"\r\n<!-- ", b">"), "comments": (PLACES + b"\r\n", b"<!---->"),
    "name": (PLACES + b"\r\n<", b"x"), "tag": (PLACES + b"\r\n<body a='", b"x"),
    "chunk": (PLACES + b"Transfer-Encoding: chunked\r\n\r\n8000\r\n<!-- ", b">"),
    "heads": (b"", b"POST / HTTP/1.1\r\n\r\n<!-- >"),
}


@pytest.mark.parametrize("shape", SLOW)
def test_what_comes_byte_by_byte_costs_what_it_has_of_bytes(shape: str) -> None:
    """Seven times the bytes cost about seven times as much, whatever they look like: nothing is read over and over."""
    before, piece = SLOW[shape]

    def cost(count: int) -> float:
        best = 9.0
        for _ in range(3):
            looks_on = behind(PAGE)
            assert looks_on is not None
            looks_on(before)
            start = time.process_time()
            for _ in range(count // len(piece)):
                if looks_on(piece):
                    break
            best = min(best, time.process_time() - start)
        return best
    assert cost(7_000) < 20 * cost(1_000) + 0.05


OPENINGS = {
    "plain": b"<body rid='1' xmlns='http://jabber.org/protocol/httpbind'>", "prefixed": b"<a:body xmlns:a='httpbind'>",
    "mark": "\ufeff<?xml version='1.0'?>\r\n<!-- <p> -->\n<!DOCTYPE body>< body rid='1'/>".encode(),
    "wide": "<body rid='1'>".encode("utf-16"), "reference": b"<body xmlns='http&#98;ind'>",
}


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("coded", [False, True])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 9), blank=st.sampled_from((b"\r\n\r\n", b"\n\n", b"\n\r\n")))
def test_an_opening_tag_is_known_before_its_last_byte_is_sent(
    opening: str, coded: bool, size: int, blank: bytes,
) -> None:
    """However it is cut, and whatever is before it: the prolog, a mark of order, a prefix, chunks."""
    tag = OPENINGS[opening]
    head = b"POST /x HTTP/1.1\r\nHost: a" + (b"\r\nTransfer-Encoding: chunked" if coded else b"") + blank
    request = head + (b"%x\r\n" % len(tag) if coded else b"") + tag
    looks_on = behind(PAGE)
    assert looks_on is not None
    assert any(looks_on(request[at:at + size]) for at in range(0, len(request), size))


# -- properties


@settings(max_examples=25)
@given(st.data())
def test_nothing_unread_leaves_however_two_connections_are_cut_and_mixed(data: st.DataObject) -> None:
    """Requests spread over two connections, cut anywhere, some sent twice: what the server gets, in the order of its
    numbers, is what was judged, each once; the bytes that came are in frames or pending."""
    peers = Peers()
    both = [peers.signed_on(), peers.connection()]
    count = data.draw(st.integers(1, 6))
    requests = [(n, data.draw(st.integers(0, 1)), post(NEXT + n, say(f"word{n}"))) for n in range(count)]
    requests += [each for each in requests if data.draw(st.integers(0, 5)) == 0]
    requests = data.draw(st.permutations(requests))
    streams = [b"".join(raw for _, where, raw in requests if where == side) for side in (0, 1)]
    left, seen, up = list(streams), list[str](), [b"", b""]
    got = [0, 0]
    at = 1.0
    while any(left):
        side = data.draw(st.integers(0, 1)) if all(left) else int(not left[0])
        size = data.draw(st.sampled_from((1, 30, 200, 1000)))
        piece, left[side] = left[side][:size], left[side][size:]
        for where, chunk in ((side, piece), (1 - side, b"")):
            for each in both[where].feed(Chunk(UP, at, chunk)):
                if each.fault is not None:
                    return
                got[where] += len(each.raw)
                seen += words([each])
                up[where] += sent(both[where].apply(each, [Verdict(Action.PASS)] * len(each.events)), UP)
        at += 0.01
    assert len(seen) == len(set(seen))
    for where in (0, 1):
        assert got[where] + both[where].pending(UP) == len(streams[where])
    arrived = {text for data in up for text in re.findall(rb"<body>(\w+)</body>", data)}
    assert arrived == {text.encode() for text in seen}


# -- recognising


@pytest.mark.parametrize(("up", "match"), [
    (create(5), Match.STRONG), (post(5, chunks=9), Match.STRONG), (post(5, chunks=1), Match.STRONG),
    (create(5)[:20], Match.MORE), (b"PO", Match.MORE),
    (create(5)[:-200], Match.MORE), (PREFLIGHT, Match.STRONG), (PREFLIGHT.replace(b"http-bind", b"form"), Match.NO),
    (PREFLIGHT.replace(b"http-bind", b"form") + create(5), Match.STRONG),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Match.NO), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + create(5), Match.STRONG),
    (b"GET /?%3Cbody%20rid='1' HTTP/1.1\r\n\r\n", Match.STRONG),
    (message(b"POST /form HTTP/1.1", b"a=b", FIRST), Match.NO),
    (message(b"POST /form HTTP/1.1", b"a=b", FIRST) + create(5), Match.STRONG),
    (message(b"POST /page HTTP/1.1", b"<body>hi</body>", FIRST), Match.NO),
    (create(5).replace(b"\r\n", b"\n"), Match.STRONG), (b"\r\n\r\n" + create(5), Match.STRONG),
    (create(5).replace(b"POST", b"post"), Match.STRONG),
    (message(REQUEST, b"\xef\xbb\xbf<?xml version='1.0'?><!-- c -->" + tag({"rid": 1}), FIRST), Match.STRONG),
    (message(REQUEST, b"<!-- c --> <!-- d -->\n<?a?>" * 9 + tag({"rid": 1}), FIRST), Match.STRONG),
    (message(REQUEST, b"<!-- " + b"c" * 20000 + b" -->" + tag({"rid": 1}), FIRST), Match.STRONG),
    (message(REQUEST, b"<!-- " + b"c" * 20000 + b" -->" + tag({"rid": 1}), FIRST)[:18000], Match.MORE),
    (message(REQUEST, tag({"rid": 1}).decode().encode("utf-16"), FIRST), Match.STRONG),
    (message(REQUEST, gzip.compress(tag({"rid": 1})), (*FIRST, b"Content-Encoding: gzip")), Match.STRONG),
    (message(REQUEST, b"<x:body xmlns:x='http://jabber.org/protocol/http&#98;ind'/>", FIRST), Match.STRONG),
    (b"\x16\x03\x01", Match.NO), (b"PUT /a HTTP/1.1\r\n\r\n", Match.NO), (b"", Match.MORE),
])
def test_it_is_told_by_the_body_as_the_most_forgiving_server_reads_it(up: bytes, match: Match) -> None:
    """Behind other requests, too; other HTTP is not ours."""
    assert probe(up, b"") is match


def test_chunks_of_the_test_are_chunks() -> None:
    """The helper writes what a client does."""
    assert chunked(b"abcdefgh", 7) == b"7\r\nabcdefg\r\n1\r\nh\r\n0\r\n\r\n"
