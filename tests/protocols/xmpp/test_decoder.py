"""XMPP: the other things that are read, and how a session ends."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from inspector.model import (
    DOWN,
    UP,
    CallSetup,
    ContactChange,
    Expect,
    FileOffer,
    Message,
    Notice,
    Opaque,
    PeerError,
    Presence,
    Way,
)
from tests.protocols.test_xmpp import (
    ME,
    STREAM,
    TALKS,
    C,
    decoder,
    events,
    head,
    login,
    one,
    passed,
    play,
    read,
    root,
    sent,
    signed,
    texts,
)


class TestOtherEvents:
    def test_presence_and_status(self) -> None:
        """Availability is Presence, the words of it a Message of kind status."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, Presence | Message)]
        assert [(e.availability if isinstance(e, Presence) else texts(e)) for e in found] == [
            "away", [("status", "out for lunch"), ("status", "Mittag")], "online", [("status", "in a meeting")],
            "subscribe", [("status", "please add me")], "subscribe",
        ]

    def test_contacts(self) -> None:
        """Roster and block list changes."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, ContactChange)]
        assert [(c.action, c.contact) for c in found] == [
            ("add", "carol@example.org"), ("update", "carol@example.org"), ("remove", "bob@example.org"),
            ("block", "eve@example.org"), ("unblock", "*"),
        ]
        assert texts(found[0]) == [("nick", "Carol"), ("group", "Friends")]

    def test_opaque(self) -> None:
        """vCards and published items show their words, not their blobs."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, Opaque)]
        assert [(o.kind, texts(o)) for o in found] == [
            ("vcard", [("vcard", "Alice A")]), ("pubsub", [("pubsub", "published words")]),
        ]

    def test_files(self) -> None:
        """Every way a file is offered names it."""
        found = [e for e in events("files-and-calls") if isinstance(e, FileOffer)]
        assert [(f.method, f.file_name, f.size, f.address) for f in found] == [
            ("http_upload", "plan.pdf", 2345, None), ("si", "list.txt", 1022, None), ("ibb", "", None, None),
            ("jingle", "photo.jpg", 6144, None),
            ("sims", "x.png", 12, "https://up.example.com/g/x.png"),
            ("sfs", "y.zip", 99, "https://up.example.com/g/y.zip"),
            ("oob", "run.exe", None, "http://files.example.org/run.exe"),
        ]

    def test_calls(self) -> None:
        """Jingle and its message initiation arrange calls."""
        found = [e for e in events("files-and-calls") if isinstance(e, CallSetup)]
        assert [(c.action, c.media) for c in found] == [("session-initiate", ("audio",)), ("propose", ("video",))]

    def test_upload_slot_without_its_authorization(self) -> None:
        """The addresses of a slot are read, its header is not."""
        (slot,) = [e for e in events("files-and-calls") if isinstance(e, Opaque) and e.kind == "upload_slot"]
        assert texts(slot) == [
            ("url", "https://up.example.com/p/plan.pdf"), ("url", "https://up.example.com/g/plan.pdf"),
        ]

    def test_bytestream_is_expected(self) -> None:
        """The side connection of a SOCKS5 bytestream is announced with the hash it will ask for."""
        dec = signed()
        frame = next(f for f in read(dec, TALKS["files-and-calls"][10:]) if b"bytestreams" in f.raw)
        (expect,) = [act for act in passed(dec, frame) if isinstance(act, Expect)]
        assert (expect.address, expect.what, expect.by, expect.key) == (
            "192.0.2.7:5086", "bytestream", ME, "33d9b79873bcff9da2d3833955e12e4da22d4405",
        )
        assert expect.offer is not None
        assert expect.offer.file_name == "list.txt"


class TestEnding:
    def test_a_fault_ends_in_its_stream_error(self) -> None:
        """The client reads the condition and the stream's end; the server only the end."""
        dec = signed()
        fault = one(dec, UP, "<!DOCTYPE x>").fault
        acts = dec.close("malformed", fault)
        assert sent(acts, UP) == b"</stream:stream>"
        (error,) = ElementTree.fromstring(head(DOWN, declaration=False) + sent(acts, DOWN))
        assert error.tag == f"{{{STREAM}}}error"
        assert [child.tag.rpartition("}")[2] for child in error] == ["restricted-xml", "text"]

    def test_too_big_says_so(self) -> None:
        """The application condition of an over-size stanza."""
        acts = signed().close("", PeerError("xmpp.too_big", "", "policy-violation"))
        assert b"<stanza-too-big xmlns='urn:xmpp:errors'/>" in sent(acts, DOWN)

    def test_a_header_first_where_none_was_sent(self) -> None:
        """Before the server's header, and between <success/> and the next header, ours goes in front."""
        dec = decoder()
        play(dec, login()[:1])
        data = sent(dec.close("policy"), DOWN)
        (error,) = ElementTree.fromstring(data)
        assert error[0].tag.endswith("policy-violation")
        dec = decoder()
        play(dec, login()[:6])
        assert sent(dec.close("policy"), DOWN).startswith(b"<?xml")
        dec = decoder()
        play(dec, login()[:3])
        assert sent(dec.close("policy"), DOWN).startswith(b"<stream:error>")

    def test_drain(self) -> None:
        """A gateway that goes down says so."""
        assert b"<system-shutdown " in sent(signed().close("shutdown"), DOWN)

    def test_a_closed_stream_is_not_closed_again(self) -> None:
        """Each side gets one end only."""
        dec = signed()
        play(dec, [(DOWN, b"</stream:stream>"), (UP, b"</stream:stream>")])
        assert dec.close("policy") == []

    def test_ready_only_after_the_sign_on(self) -> None:
        """Nothing is injected before the resource is bound, and nothing after the end."""
        dec = decoder()
        for way, data in login()[:-1]:
            play(dec, [(way, data)])
            assert not dec.ready(DOWN)
            assert dec.inject(Notice("x"), DOWN) == []
        play(dec, login()[-1:])
        assert dec.ready(DOWN)
        assert dec.ready(UP)
        (notice,) = root(sent(dec.inject(Notice("a & b"), DOWN), DOWN))
        assert notice.findtext(C + "body") == "a & b"
        play(dec, [(DOWN, b"</stream:stream>")])
        assert not dec.ready(DOWN)


@pytest.mark.parametrize("way", [UP, DOWN])
def test_who_closes_his_stream_has_parted(way: Way) -> None:
    """Nothing is released behind it, either way: the other side answers the end, and that is all."""
    dec = signed()
    one(dec, way, "<presence type='unavailable'/>")
    assert not dec.parted
    one(dec, way, "</stream:stream>")
    assert dec.parted
