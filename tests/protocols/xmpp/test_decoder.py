"""XMPP: the other things that are read, and how a session ends."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from inspector.model import (
    DOWN,
    UP,
    Notice,
    PeerError,
    Way,
)
from tests.protocols.test_xmpp import (
    STREAM,
    C,
    decoder,
    head,
    login,
    one,
    play,
    root,
    sent,
    signed,
)


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
