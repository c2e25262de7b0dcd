"""XMPP in WebSockets: the carrier's own ways; what is inside is XMPP's (tests/protocols/test_xmpp.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import SharedMemory, World
from inspector.model import (
    DOWN,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Decoder,
    Flow,
    Frame,
    Limits,
    Match,
    Message,
    Notice,
    Rules,
    Send,
    SignOn,
    Verdict,
    Way,
)
from inspector.protocols.registry import BY_NAME
from inspector.protocols.xmpp_websocket import STRIP_EXTENSIONS, probe
from tests.engine.toy import ToyPolicy, ToyScanner
from tests.evasion.ways import Disguise, Said
from tests.protocols import test_xmpp, xmpp_disguises
from tests.protocols.websocket_frames import HANDSHAKE, REQUEST, RESPONSE, frame, framed, messages

SPEC = BY_NAME["xmpp_websocket"]
PING = [(UP, frame(UP, b"are you there", 9)), (DOWN, frame(DOWN, b"are you there", 10))]
END = [(UP, frame(UP, b"\x03\xe8", 8)), (DOWN, frame(DOWN, b"\x03\xe8", 8))]

TALKS: dict[str, Said] = {
    "chat": [*HANDSHAKE, *framed(test_xmpp.TALKS["chat"]), *END],
    "words": [*HANDSHAKE, *framed(test_xmpp.TALKS["forms-of-words"]), *PING],
    "in-fragments": [*HANDSHAKE, *framed(test_xmpp.TALKS["chat"], fragments=3)],
}


def test_a_closing_frame_is_a_goodbye() -> None:
    """Of either side, as the end of the stream inside is: nothing is released behind it."""
    for end in (END[0], END[1], (UP, frame(UP, b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", 1))):
        dec: Any = SPEC.decoder(
            Flow("f", Address("10.0.0.5", 40000), Address("192.0.2.1", 80)), Limits(), SharedMemory(100), frozenset())
        for way, data in [*HANDSHAKE, *framed(test_xmpp.TALKS["chat"][:-len(test_xmpp.END)])]:
            dec.feed(Chunk(way, 1.0, data))
        assert not dec.parted
        dec.feed(Chunk(end[0], 1.0, end[1]))
        assert dec.parted


def read_messages(data: bytes) -> list[str]:
    """What a client would show of the frames that came."""
    return [shown for text in messages(data) for shown in xmpp_disguises.read(text)]


def _disguise(plain: Disguise, fragments: int) -> Disguise:
    def say(text: str) -> Said | None:
        said = plain.say(text)
        if said is None:
            return None
        start = len(framed(plain.before, fragments=1))
        return framed([*plain.before, *said], fragments=1)[start:] if fragments == 1 else [
            unit for at, unit in enumerate(framed([*plain.before, *said], fragments=fragments))
            if at >= len(framed(plain.before, fragments=fragments))
        ]

    return dataclasses.replace(
        plain, say=say, read=read_messages, before=[*HANDSHAKE, *framed(plain.before)], harmless=None)


DISGUISES: dict[str, Disguise] = {
    **{name: _disguise(xmpp_disguises.DISGUISES[name], 1) for name in xmpp_disguises.DISGUISES
       if name.startswith(("body", "XHTML", "CDATA", "room"))},
    "in five fragments, up": _disguise(next(
        each for name, each in xmpp_disguises.DISGUISES.items() if each.way is UP and "in-band" not in name), 5),
    "in five fragments, down": _disguise(next(
        each for name, each in xmpp_disguises.DISGUISES.items() if each.way is DOWN and "in-band" not in name), 5),
}


def decoder(edits: Iterable[str] = (), **more: object) -> Decoder:
    flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5280), opened=0.0, **more)  # type: ignore[arg-type]
    return SPEC.decoder(flow, Limits(), SharedMemory(16), frozenset(edits))


def play(dec: Decoder, said: Said) -> list[Frame]:
    """Feed and let everything pass."""
    frames: list[Frame] = []
    for way, data in said:
        for each in dec.feed(Chunk(way, 1.0, data)):
            frames.append(each)
            if each.fault is None:
                dec.apply(each, [Verdict(Action.PASS)] * len(each.events))
    return frames


def signed_on() -> Decoder:
    dec = decoder()
    play(dec, [*HANDSHAKE, *framed(test_xmpp.login())])
    return dec


def sent(acts: Iterable[Act], way: int) -> bytes:
    return b"".join(act.data for act in acts if isinstance(act, Send) and act.way == way)


def test_the_events_are_those_of_the_stream_inside() -> None:
    """Sign-on and messages as XMPP's decoder reads them on a bare connection."""
    plain = [e for f in test_xmpp.play(test_xmpp.decoder(), test_xmpp.TALKS["chat"]) for e in f.events]
    inside = [e for f in play(decoder(), TALKS["chat"]) for e in f.events]
    assert [type(e) for e in inside] == [type(e) for e in plain]
    assert [e.texts for e in inside] == [e.texts for e in plain]
    assert any(isinstance(e, SignOn) for e in inside)


def test_nothing_of_a_fragmented_message_leaves_before_its_end() -> None:
    """The first fragments are no frames yet: they could not be taken back; a ping between them waits with them."""
    dec = signed_on()
    text = b"<message xmlns='jabber:client' to='bob@example.org'><body>in pieces</body></message>"
    assert dec.feed(Chunk(UP, 1.0, frame(UP, text[:20], whole=False))) == []
    assert dec.feed(Chunk(UP, 1.0, frame(UP, b"p", 9))) == []
    assert dec.pending(UP) > 20
    found = dec.feed(Chunk(UP, 1.0, frame(UP, text[20:], 0)))
    assert [type(e) for f in found for e in f.events] == [Message]


@pytest.mark.parametrize("way", [UP, DOWN])
def test_fragments_without_an_end_do_not_leave_when_their_way_ends(way: Way) -> None:
    """Nobody has judged them; the other side might well read what it has."""
    dec = signed_on()
    text = b"<message xmlns='jabber:client' to='bob@example.org'><body>in pieces</body></message>"
    for data in (frame(way, text[:20], whole=False), frame(way, b"p", 9), frame(way, text[20:], 0, whole=False)):
        assert dec.feed(Chunk(way, 1.0, data)) == []
    assert dec.feed(Chunk(way, 1.0, b"", 0, True)) == []


def test_half_a_frame_is_handed_to_who_reads_on() -> None:
    """A gap, or a fault of the other way that the policy lets pass: all that was held is given back."""
    dec = signed_on()
    data = frame(DOWN, b"<message", whole=False) + frame(DOWN, b"half", 0)[:4]
    assert dec.feed(Chunk(DOWN, 1.0, data)) == []
    assert b"".join(each.raw for each in dec.feed(Chunk(DOWN, 1.0, b"", 1))) == data


def test_a_refused_message_is_gone_and_its_writer_is_told_in_a_message_of_its_own() -> None:
    """The error stanza comes as one text message to the client, unmasked."""
    dec = signed_on()
    text = b"<message xmlns='jabber:client' to='bob@example.org' id='m1' type='chat'><body>no</body></message>"
    one, = dec.feed(Chunk(UP, 1.0, frame(UP, text)))
    acts = dec.apply(one, [Verdict(Action.BLOCK, "r", notice="Refused.")])
    assert sent(acts, UP) == b""
    said, = messages(sent(acts, DOWN))
    assert said.startswith(b"<message xmlns='jabber:client'")
    assert b"Refused." in said


def test_a_masked_message_is_framed_anew_and_masked_with_a_key() -> None:
    """The server reads one text message with the stars in it."""
    dec = signed_on()
    text = b"<message xmlns='jabber:client' to='bob@example.org'><body>my secret</body></message>"
    one, = dec.feed(Chunk(UP, 1.0, frame(UP, text)))
    data = sent(dec.apply(one, [Verdict(Action.REDACT, "r", masks=((0, 3, 9),))]), UP)
    assert data[1] & 0x80
    said, = messages(data)
    assert b"my ******" in said
    assert b"secret" not in said


def test_a_notice_and_the_end_are_said_in_messages() -> None:
    """A headline; then the stream's error, `<close/>` and a closing frame to both sides."""
    dec = signed_on()
    said, = messages(sent(dec.inject(Notice("A word"), DOWN), DOWN))
    assert b"A word" in said
    acts = dec.close("policy")
    words = messages(sent(acts, DOWN))
    assert words[-1].startswith(b"<close ")
    assert sent(acts, DOWN).endswith(b"\x88\x02\x03\xf0")


def test_extensions_are_taken_out_of_the_request() -> None:
    """A compressed message could not be changed."""
    dec = decoder((STRIP_EXTENSIONS,))
    one, = dec.feed(Chunk(UP, 1.0, REQUEST))
    assert one.edit == STRIP_EXTENSIONS
    data = sent(dec.apply(one, ()), UP)
    assert data == REQUEST.replace(b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"")


@pytest.mark.parametrize(("answer", "why"), [
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server did not open the WebSocket"),
    (RESPONSE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
     "a WebSocket with an extension"),
])
def test_what_cannot_be_read_is_said_so(answer: bytes, why: str) -> None:
    """The policy's `undecryptable` decides."""
    dec = decoder()
    play(dec, [(UP, REQUEST), (DOWN, answer)])
    assert getattr(dec, "undecryptable", None) == why


def test_what_comes_with_the_reason_waits_until_it_was_heard() -> None:
    """Bytes behind a refused handshake, in one read with it: a policy that cuts must not let them go."""
    dec = decoder()
    play(dec, [(UP, REQUEST)])
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n"
    assert [each.raw for each in dec.feed(Chunk(DOWN, 1.0, answer + b"words"))] == [answer]
    assert dec.pending(DOWN) == 5
    assert [each.raw for each in dec.feed(Chunk(DOWN, 1.0, b""))] == [b"words"]


def test_after_a_refusal_there_is_no_second_request() -> None:
    """A 404, and then a WebSocket on the same connection that nobody would read, where the policy lets pass what cannot
    be read."""
    dec = decoder()
    play(dec, [(UP, REQUEST), (DOWN, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")])
    broken, = dec.feed(Chunk(UP, 1.0, REQUEST))
    assert broken.fault is not None
    assert broken.fault.name == "xmpp_websocket.after_a_refusal"


@pytest.mark.parametrize(("action", "left"), [("cut", b""), ("pass", b"words")])
def test_what_comes_with_the_reason_is_the_policy_s(action: str, left: bytes) -> None:
    """Cut: nothing of it has left. Pass: it goes on at once, nobody waits for more."""
    kit = Kit(classifier((SPEC,)), Rules(1, ToyPolicy(trouble={"undecryptable": action}), ToyScanner()), Limits())
    world = World(kit.limits)
    flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5280), opened=0.0)
    session = Session(flow, kit, world)
    session.step(Chunk(UP, 1.0, REQUEST), world)
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n"
    out = session.step(Chunk(DOWN, 1.0, answer + b"words"), world)
    assert b"".join(each.data for each in out if isinstance(each, Send) and each.way is DOWN) == answer + left


@pytest.mark.parametrize("change", [
    (b"Sec-WebSocket-Extensions:", b"Sec-WebSocket-Extensions :"),
    (b"Sec-WebSocket-Extensions: ", b"Sec-WebSocket-Extensions:\r\n "),
    (b"Sec-WebSocket-Extensions:", b"X: y\nSec-WebSocket-Extensions:"),
    (b"Sec-WebSocket-Extensions:", b"X: y\rSec-WebSocket-Extensions:"),
    (b"Host: ", b"Host: a\n\nGET /b HTTP/1.1\nHost: "),
    (b"Host: ", b"Content-Length: 9\r\nHost: "),
    (b"Host: ", b"Transfer-Encoding: chunked\r\nHost: "),
    (b"Host: ", b"Upgrade: h2c\r\nHost: "),
    (b"Upgrade: websocket", b"Upgrade: h2c, websocket"),
    (b"HTTP/1.1\r\n", b"HTTP/1.1\r\nno field\r\n"),
    (b"HTTP/1.1\r\n", b"HTTP/1.1 \r\n"),
    (b"GET ", b"\r\nGET "),
    (b"GET ", b"get "),
    (b"Upgrade: websocket", b"Upgrade:\r\n websocket"),
    (b"Upgrade: websocket\r\n", b""),
    (b"Protocol: xmpp", b"Protocol: mqtt xmpp"),
    (b"Protocol: xmpp", b"Protocol:\r\n\txmpp"),
])
def test_a_request_that_servers_read_in_different_ways_is_recognised_and_refused(change: tuple[bytes, bytes]) -> None:
    """A forgiving server might open the WebSocket, with an extension that we had not seen: it is not passed as
    something else, and nothing of it leaves."""
    data = REQUEST.replace(*change, 1)
    assert data != REQUEST
    assert probe(data, b"") is Match.STRONG or b"\n\nGET" in data
    found = decoder((STRIP_EXTENSIONS,)).feed(Chunk(UP, 1.0, data))
    assert [each.fault is not None for each in found] == [True]


@pytest.mark.parametrize("change", [
    (b"Upgrade: ", b"Sec-WebSocket-Extensions : permessage-deflate\r\nUpgrade: "),
    (b"Upgrade: ", b"X: y\nSec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: "),
    (b"Upgrade: ", b"X:\r\n y\r\nUpgrade: "),
    (b"Upgrade: ", b"Transfer-Encoding: chunked\r\nUpgrade: "),
])
def test_a_response_that_clients_read_in_different_ways_is_refused(change: tuple[bytes, bytes]) -> None:
    """As the request."""
    dec = decoder()
    play(dec, [(UP, REQUEST)])
    found = dec.feed(Chunk(DOWN, 1.0, RESPONSE.replace(*change, 1)))
    assert [each.fault.name for each in found if each.fault] == ["xmpp_websocket.bad_head"]


@pytest.mark.parametrize("behind", [frame(UP, b"<a/>"), REQUEST, b"\r\n"])
def test_nothing_follows_the_request_before_its_answer(behind: bytes) -> None:
    """Where the answer is not 101 the server reads it as a request."""
    found = decoder().feed(Chunk(UP, 1.0, REQUEST + behind))
    assert [each.fault.name if each.fault else each.raw for each in found] == [
        REQUEST, "xmpp_websocket.before_the_answer"]


def test_an_answer_before_its_request_is_a_fault() -> None:
    """A 101 to something that we have not read."""
    broken, = decoder().feed(Chunk(DOWN, 1.0, RESPONSE))
    assert broken.fault is not None


@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("text", [
    b"<message xmlns='jabber:client'><body>half", b"<message xmlns='jabber:client'/><message", b"<?xml version='1.0'?>",
    b"<!-- c --><message xmlns='jabber:client'/>", b"<!DOCTYPE a><message xmlns='jabber:client'/>", b"</x>",
    b"\xef\xbb\xbf<message xmlns='jabber:client'/>", b"\xff\xfe<\0a\0/\0>\0",
    b"<o:open xmlns:o='urn:ietf:params:xml:ns:xmpp-framing'><a/></o:open>",
    b"<open to='a>b' xmlns='urn:ietf:params:xml:ns:xmpp-&#x66;raming'><a/></open>",
])
def test_a_message_is_one_whole_element(way: Way, text: bytes) -> None:
    """One peer reads each message by itself, another joins them: what is not whole is said by nobody."""
    dec = signed_on()
    found = dec.feed(Chunk(way, 1.0, frame(way, text) + frame(way, b"<message xmlns='jabber:client'/>")))
    assert len(found) == 1
    assert found[0].fault is not None


def test_an_open_is_one_however_its_namespace_is_written() -> None:
    """A character reference, a `>` in an attribute: the stream starts anew for us, too."""
    dec = decoder()
    play(dec, HANDSHAKE)
    text = b"<open to='example.org' a='>' version='1.0' xmlns='urn:ietf:params:xml:ns:xmpp-&#x66;raming'/>"
    one, = dec.feed(Chunk(UP, 1.0, frame(UP, text)))
    assert (one.fault, one.kind) == (None, "xmpp.stream")


def test_a_client_that_is_sent_elsewhere_is_told_of() -> None:
    """RFC 7395 3.6.1: it goes on at another address, perhaps not through us."""
    text = b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' see-other-uri='wss://b.example.com/x'/>"
    found = signed_on().feed(Chunk(DOWN, 1.0, frame(DOWN, text)))
    assert [odd.name for each in found for odd in each.oddities] == ["xmpp_websocket.sent_elsewhere"]


def test_fragments_of_nothing_are_bounded() -> None:
    """Six bytes each: as many as fit in a frame's bytes, in a time that their bytes cost."""
    dec = signed_on()
    found = dec.feed(Chunk(UP, 1.0, frame(UP, b"", whole=False) + frame(UP, b"", 0, whole=False) * 90_000))
    assert [each.fault.name for each in found if each.fault] == ["xmpp_websocket.too_long"]


@pytest.mark.parametrize(("data", "name"), [
    (frame(DOWN, b"<a/>"), "wrong_mask"),
    (b"\xc1" + frame(UP, b"<a/>")[1:], "reserved_bits"),
    (frame(UP, b"<a/>", 2), "not_text"),
    (frame(UP, b"x", 0), "bad_fragment"),
    (frame(UP, b"x" * 126, 9), "bad_control_frame"),
    (b"\x81\xff" + bytes(7) + b"\x40" + b"\x7f" * 8, None),
    (b"\x81\xff" + b"\x7f" * 12, "too_long"),
    (frame(UP, b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>"), "bad_framing"),
    (frame(UP, b"words"), "bad_framing"),
    (frame(UP, b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'><a/></open>"), "bad_framing"),
])
def test_frames_that_peers_may_read_otherwise_are_faults(data: bytes, name: str | None) -> None:
    """Reserved bits, masks the wrong way, binary messages, lengths that lie, other framings."""
    found = signed_on().feed(Chunk(UP, 1.0, data))
    faults = [f.fault.name for f in found if f.fault]
    assert faults == ([] if name is None else [f"xmpp_websocket.{name}"])


@pytest.mark.parametrize(("up", "match"), [
    (REQUEST, Match.STRONG), (REQUEST[:40], Match.MORE), (b"GE", Match.MORE), (b"GET / HTTP/1.1\r\n\r\n", Match.NO),
    (REQUEST.replace(b": xmpp", b": mqtt"), Match.NO),
    (REQUEST.replace(b"Host", b"X: " + b"x" * 9000 + b"\r\nHost")[:8900], Match.MORE),
    (REQUEST.replace(b"Host", b"X: " + b"x" * 9000 + b"\r\nHost"), Match.STRONG),
    (b"GET / HTTP/1.1\r\nX: " + b"x" * 33_000, Match.NO), (b"\x16\x03", Match.NO),
])
def test_it_is_told_by_the_sub_protocol(up: bytes, match: Match) -> None:
    """Other WebSockets, and other HTTP, are not ours."""
    assert probe(up, b"") is match
