"""Attacks on files with the decoders themselves: what people or strangers would get past us, or into the log."""

from __future__ import annotations

import itertools

import msgspec
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
    Action,
    Address,
    Chunk,
    Closed,
    Effect,
    Expect,
    FileMode,
    FileOffer,
    FilePart,
    FileReport,
    FileStart,
    Finding,
    Flow,
    Judge,
    Judged,
    Kept,
    Limits,
    Note,
    Rules,
    Send,
    Spec,
    Text,
    Unspool,
    Verdict,
    Way,
)
from inspector.protocols.http_upload import HttpUploadDecoder
from inspector.protocols.irc import SPEC as IRC
from inspector.protocols.registry import SPECS
from tests.engine.toy import ToyScanner
from tests.engine.toyfiles import FilePolicy
from tests.protocols.contract import AT, conversations, cut
from tests.protocols.contract import flow as contract_flow
from tests.protocols.xmpp.test_inband import of, say, signed
from tests.protocols.xmpp_talks import ME

OFFER = FileOffer(
    sender="amy@garden.example/desk", file_name="plan.txt", size=3, method="http_upload",
    texts=(Text("file_name", "plan.txt"),))
SLOT = Expect(
    "up.garden.example:443", "http_upload", by="amy@garden.example", key="up.garden.example:443/f/7/plan.txt",
    offer=OFFER, flow="c", identity="authenticated")
FLOW = Flow(
    "side", Address("10.0.0.5", 4000), Address("192.0.2.80", 443), opened=AT, server_name="up.garden.example", tls=True,
    expected=SLOT)
PUT = b"PUT /f/7/plan.txt HTTP/1.1\r\nHost: up.garden.example\r\nContent-Length: 3\r\n\r\nabc"


def redirected(status: bytes, location: bytes, memory: SharedMemory) -> list[object]:
    """What comes of an upload whose server says: elsewhere."""
    dec = HttpUploadDecoder(FLOW, Limits(), memory, frozenset())
    for frame in dec.feed(Chunk(UP, AT, PUT)):
        dec.apply(frame, [PASSED] * len(frame.events))
    head = b"HTTP/1.1 " + status + b"\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
    [frame] = dec.feed(Chunk(DOWN, AT, head))
    acts = dec.apply(frame, [PASSED] * len(frame.events))
    assert Send(DOWN, head) in acts
    return [act for act in acts if not isinstance(act, Send)]


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See", b"307 There", b"308 There"])
def test_a_redirect_of_an_upload_is_announced_too(status: bytes) -> None:
    """Who follows it makes a connection that is read, with the people of the slot."""
    memory = SharedMemory(100)
    [expect] = redirected(status, b"https://Other.example:8443/elsewhere?sig=1", memory)
    assert expect == msgspec.structs.replace(
        SLOT, address="other.example:8443", key="other.example:8443/elsewhere?sig=1")
    flow = msgspec.structs.replace(
        FLOW, id="next", server=Address("192.0.2.81", 8443), server_name="other.example", expected=expect)
    dec = HttpUploadDecoder(flow, Limits(), memory, frozenset())
    frames = dec.feed(Chunk(UP, AT, PUT.replace(b"/f/7/plan.txt", b"/elsewhere?sig=1").replace(
        b"up.garden.example", b"other.example:8443")))
    [start] = [event for frame in frames for event in frame.events if isinstance(event, FileStart)]
    assert start.expected == expect


def test_a_redirect_within_the_host_keeps_its_people() -> None:
    """A path is an address, too."""
    [expect] = redirected(b"307 There", b"/g/8/plan.txt", SharedMemory(100))
    assert expect == msgspec.structs.replace(SLOT, key="up.garden.example:443/g/8/plan.txt")


@pytest.mark.parametrize("location", [b"ftp://other.example/x", b"https://", b"\xff\xfe", b"https://a b/"])
def test_a_redirect_to_no_address_of_http_announces_nothing(location: bytes) -> None:
    """Nobody can follow it to where we do not look by HTTP."""
    assert redirected(b"302 Found", location, SharedMemory(100)) == []


def test_a_redirect_whose_body_is_held_is_announced() -> None:
    """Its body is a file like any; the redirect leaves when that is judged, from what was held."""
    dec = HttpUploadDecoder(FLOW, Limits(), SharedMemory(100), frozenset())
    for frame in dec.feed(Chunk(UP, AT, PUT)):
        dec.apply(frame, [PASSED] * len(frame.events))
    head = b"HTTP/1.1 302 Found\r\nLocation: https://other.example/x\r\nContent-Length: 3\r\n\r\n"
    frame = dec.feed(Chunk(DOWN, AT, head + b"abc"))[0]
    acts = dec.apply(frame, [Verdict(Action.HOLD)] * len(frame.events))
    assert [act.address for act in acts if isinstance(act, Expect)] == ["other.example:443"]


def test_what_is_no_redirect_announces_nothing() -> None:
    """201 Created has a Location, too: where the file is, not where to go."""
    assert redirected(b"201 Created", b"https://other.example/x", SharedMemory(100)) == []


@pytest.mark.parametrize(("url", "address"), [
    ("https://up.example.com/g/x.png?X-Signature=deadbeef", "https://up.example.com/g/x.png"),
    ("https://up.example.com/g/x.png#key", "https://up.example.com/g/x.png"),
    ("aesgcm://up.example.com/g/x.png#0011", "aesgcm://up.example.com/g/x.png"),
    ("ftp://joe:secret@files.example.org/run.exe", "ftp://files.example.org/run.exe"),
    ("http://files.example.org?a@b", "http://files.example.org"),
])
def test_addresses_of_offers_tell_no_secrets(url: str, address: str) -> None:
    """Signatures, passwords and keys of a link are no part of the address that the log has."""
    inner = (
        f"<x xmlns='jabber:x:oob'><url>{url}</url></x>",
        "<reference xmlns='urn:xmpp:reference:0' type='data'><media-sharing xmlns='urn:xmpp:sims:1'>"
        "<file xmlns='urn:xmpp:jingle:apps:file-transfer:5'><name>x.png</name></file><sources>"
        f"<reference xmlns='urn:xmpp:reference:0' type='data' uri='{url}'/></sources></media-sharing></reference>",
    )
    for each in inner:
        frames = say(signed(), (DOWN, f"<message from='eve@example.org/x' to='{ME}' type='chat'>{each}</message>"))
        assert [offer.address for offer in of(FileOffer, frames)] == [address]


def test_an_offer_at_the_server_s_own_address_is_not_passed_on() -> None:
    """It would turn the reader's next sign-on at that server into a file, which nobody could stop from outside."""
    flow = Flow("f", Address("10.0.0.5", 4000), Address("192.0.2.1", 6667), opened=AT)
    dec = IRC.decoder(flow, Limits(), SharedMemory(100), frozenset(edit.name for edit in IRC.edits))
    for way, line in ((UP, b"NICK amy\r\nUSER a a a :a\r\n"), (DOWN, b":irc.example 001 amy :Welcome\r\n")):
        for frame in dec.feed(Chunk(way, AT, line)):
            dec.apply(frame, [PASSED] * len(frame.events))
    for port, leaves in ((6667, False), (6668, True)):
        line = b":eve!e@198.51.100.2 PRIVMSG amy :\x01DCC SEND a.txt 3221225985 %d 12\x01\r\n" % port
        [frame] = dec.feed(Chunk(DOWN, AT, line))
        acts = dec.apply(frame, [PASSED] * len(frame.events))
        assert (Send(DOWN, line) in acts, any(isinstance(act, Expect) for act in acts)) == (leaves, leaves)


SIDES = [spec for spec in SPECS if spec.parent is not None or spec.name == "xmpp"]
PLAYS = [(spec, name) for spec in SIDES for name in conversations(spec)]


@settings(max_examples=3, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(("spec", "name"), PLAYS, ids=[f"{spec.name}-{name}" for spec, name in PLAYS])
@pytest.mark.parametrize("mode", ["spool", "stream"])
def test_refused_content_never_leaves(mode: FileMode, spec: Spec, name: str, data: st.DataObject) -> None:
    """However a conversation is cut: what is refused at its end has not left, and does not leave later."""
    said = conversations(spec)[name]
    lengths = data.draw(st.lists(st.sampled_from([1, 7, 64, 300, 5000, 70000]), min_size=1, max_size=6))
    turn = itertools.cycle(lengths)
    policy = FilePolicy(mode)
    kit = Kit(classifier((spec,)), Rules(1, policy, ToyScanner()), Limits(), specs={spec.name: spec},
              edits=frozenset(edit.name for edit in spec.edits))
    flow = msgspec.structs.replace(contract_flow(spec, talk=name), file=None)
    if flow.expected is None and spec.expected_only:
        return
    world = World(kit.limits)
    session = Session(flow, kit, world)
    contents: list[tuple[Way, bytes]] = []
    reader = spec.decoder(flow, kit.limits, SharedMemory(100), kit.edits)
    sent = {UP: bytearray(), DOWN: bytearray()}
    waiting: list[Effect] = []
    for way, piece in [*cut(said, lambda: next(turn)), (UP, b""), (DOWN, b"")]:
        chunk = Chunk(way, AT, piece) if piece else Chunk(way, AT, b"", 0, True)
        for frame in reader.feed(chunk):
            if any(isinstance(event, FilePart) for event in frame.events) and len(frame.raw) > 30:
                contents.append((frame.way, frame.raw))
        waiting += session.step(Closed(way, AT) if not piece else chunk, world)
        while waiting:
            effect = waiting.pop(0)
            if isinstance(effect, Send):
                sent[effect.way] += effect.data
            elif isinstance(effect, Judge):
                bad = FileReport(size=1, sha256="a", sha1="b", md5="c", findings=(Finding("yara", "x", "high"),))
                waiting += session.step(Judged(effect.file, AT, bad), world)
            elif isinstance(effect, Note) and effect.durable:
                waiting += session.step(Kept(effect.id, AT), world)
            assert not isinstance(effect, Unspool)
    for way, piece in contents:
        assert piece not in bytes(sent[way])
