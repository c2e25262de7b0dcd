"""XMPP: what the gateway says of itself."""

from __future__ import annotations

import pytest

from inspector.model import DOWN, UP, FileOffer, Notice, Way
from tests.protocols.test_xmpp import ME, one, passed
from tests.protocols.xmpp.test_inband import C, answers, say, signed
from tests.protocols.xmpp_talks import BOB, described, iq, jingle, transport_s5b


class TestNotices:
    def test_our_user_is_told(self) -> None:
        """A file of a side connection was refused: a headline of his server's; nobody waits for an upload."""
        dec = signed()
        notice = Notice("Refused, <R1>.", FileOffer(sender=ME, recipients=(BOB,), method="http_upload", id="u"))
        (headline,) = answers(dec.inject(notice, DOWN), DOWN)
        assert (headline.get("type"), headline.findtext(C + "body")) == ("headline", "Refused, <R1>.")
        assert dec.inject(notice, UP) == []

    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_a_jingle_session_is_ended(self, way: Way) -> None:
        """Both ends of the session get its termination, as the other's; their answers stay here."""
        dec = signed()
        say(dec, iq(way, "j", jingle("session-initiate", "js", described("a", 3) + transport_s5b("t"))))
        ends_of = (ME, BOB) if way is UP else (BOB, ME)
        offer = FileOffer(sender=ends_of[0], recipients=ends_of[1:], method="jingle", id="js")
        for reader in (UP, DOWN):
            acts = dec.inject(Notice("Refused.", offer), reader)
            end = answers(acts, reader)[0]
            assert (end.get("from"), end.get("to")) == ((None, BOB) if reader is UP else (BOB, ME))
            assert (end[0].get("action"), end[0].get("sid")) == ("session-terminate", "js")
            assert passed(dec, one(dec, reader.other, iq(reader.other, end.get("id"), typed="result")[1])) == []
