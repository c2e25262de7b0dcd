"""Files over XMPP that travel beside the stream: which connections are expected, and who is led through us."""

from __future__ import annotations

import pytest

from inspector.engine.world import SharedMemory
from inspector.model import DOWN, UP, Chunk, Expect, FileOffer, Limits, Opaque, Way, expect_key
from tests.protocols.test_xmpp import ME, TALKS, block, events, one, passed, read, sent
from tests.protocols.xmpp.test_inband import BYTESTREAMS, UPLOAD, Leases, answers, of, say, signed
from tests.protocols.xmpp_talks import BOB, described, iq, jingle, si_offer, transport_s5b


class TestOffers:
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


class TestSideConnections:
    SHA1 = "6f2dfa2d2ea7d8ad9b4dd06d1a2dc8ad4b2cbb3e"

    def query(self, way: Way, *hosts: tuple[str, str, str], sid: str = "s1") -> tuple[Way, str]:
        inner = "".join(f"<streamhost jid='{jid}' host='{host}' port='{port}'/>" for jid, host, port in hosts)
        return iq(way, "q", f"<query xmlns='{BYTESTREAMS}' sid='{sid}' mode='tcp'>{inner}</query>")

    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_hosts_of_a_bytestream_are_announced(self, way: Way) -> None:
        """Each with the file that was offered, the name that the connection will ask for, and who is told."""
        memory = SharedMemory(100)
        dec = signed(memory)
        say(dec, iq(way, "o", si_offer("s1", "list.txt", 5, (BYTESTREAMS,))))
        stanza = self.query(
            way, (ME, "192.0.2.7", "5086"), ("proxy.example", "Proxy.Example", "7777"), ("x", "::1", "9"))
        acts = passed(dec, one(dec, *stanza))
        assert sent(acts, way) == stanza[1].encode()
        found = [act for act in acts if isinstance(act, Expect)]
        assert [act.address for act in found] == ["192.0.2.7:5086", "proxy.example:7777", "[::1]:9"]
        for act in found:
            assert act.offer is not None
            assert (act.what, act.by, act.flow, act.identity, act.offer.file_name, act.reverse) == (
                "bytestream", ME, "f", "authenticated", "list.txt", False)
            assert act.key is not None
            assert len(act.key) == 40
            assert isinstance(memory.get(expect_key("bytestream", act.key), 2.0), Expect)

    def test_the_name_is_made_of_both_ends(self) -> None:
        """SHA-1 of sid, requester and target (XEP-0065 5.3.2)."""
        import hashlib

        dec = signed()
        acts = passed(dec, one(dec, *self.query(DOWN, ("j", "h", "1"))))
        (expect,) = [act for act in acts if isinstance(act, Expect)]
        assert expect.key == hashlib.sha1(f"s1{BOB}{ME}".encode()).hexdigest()

    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_addresses_become_ours_where_that_is_needed(self, way: Way) -> None:
        """Before a listener with ports to lease every address, a proxy's too, is written anew; nothing else is."""
        memory = Leases()
        dec = signed(memory)
        stanza = self.query(way, (ME, "192.0.2.7", "5086"), ("proxy.example", "proxy.example", "7777"))
        acts = passed(dec, one(dec, *stanza))
        assert sent(acts, way).decode() == stanza[1].replace(
            "host='192.0.2.7' port='5086'", "host='203.0.113.1' port='9401'").replace(
            "host='proxy.example' port='7777'", "host='203.0.113.1' port='9402'")
        assert [(expect.address, at) for expect, at in memory.asked] == [
            ("192.0.2.7:5086", way), ("proxy.example:7777", way)]
        assert [act.address for act in acts if isinstance(act, Expect)] == ["192.0.2.7:5086", "proxy.example:7777"]

    def test_a_session_has_its_share_of_leases(self) -> None:
        """Who offers hosts without end takes no ports from others: those beyond his share are taken out for a while."""
        memory = Leases()
        dec = signed(memory)
        most = Limits().xmpp_leases
        for number in range(most - 1):
            passed(dec, one(dec, *self.query(UP, (ME, "192.0.2.7", "5086"), sid=f"s{number}")))
        acts = passed(dec, one(dec, *self.query(UP, (ME, "192.0.2.7", "1"), (ME, "192.0.2.8", "2"), sid="last")))
        assert b"port='9416'" in sent(acts, UP)
        assert b"192.0.2." not in sent(acts, UP)
        assert [act.address for act in acts if isinstance(act, Expect)] == ["192.0.2.7:1"]
        assert len(memory.asked) == most
        said = self.query(UP, (ME, "192.0.2.9", "3"), sid="later")[1].encode()
        (frame,) = dec.feed(Chunk(UP, 3.0 + Limits().lease_seconds, said))
        assert b"port='9417'" in sent(passed(dec, frame), UP)

    def test_nothing_is_leased_for_what_is_refused(self) -> None:
        """A bytestream that is refused expects nothing."""
        memory = Leases()
        dec = signed(memory)
        acts = dec.apply(one(dec, *self.query(UP, (ME, "192.0.2.7", "5086"))), [block()])
        assert memory.asked == []
        assert not [act for act in acts if isinstance(act, Expect)]

    def test_more_hosts_than_can_be_told_apart_are_taken_out(self) -> None:
        """A reader would connect to one that nobody expects."""
        dec = signed()
        most = Limits().xmpp_streamhosts
        stanza = self.query(UP, *((ME, "192.0.2.7", str(port)) for port in range(1, most + 4)))
        acts = passed(dec, one(dec, *stanza))
        assert len([act for act in acts if isinstance(act, Expect)]) == most
        assert len(answers(acts, UP)[0][0]) == most

    def test_candidates_of_jingle_are_announced_and_leased(self) -> None:
        """Of both sides, under every name that the connection may ask for; who sends is told."""
        memory = Leases()
        dec = signed(memory)
        given = "ab" * 20
        first = iq(UP, "j1", jingle("session-initiate", "js", described("a.txt", 3) + transport_s5b(
            "t", ("c1", "192.0.2.7", 5086), dstaddr=given)))
        acts = passed(dec, one(dec, *first))
        assert b"host='203.0.113.1' jid='alice@example.com/desk' port='9401'" in sent(acts, UP)
        (expect,) = [act for act in acts if isinstance(act, Expect)]
        assert (expect.address, expect.key, expect.reverse) == ("192.0.2.7:5086", given, False)
        second = iq(DOWN, "j2", jingle("session-accept", "js", transport_s5b("t", ("d1", "198.51.100.2", 6000))))
        acts = passed(dec, one(dec, *second))
        (expect,) = [act for act in acts if isinstance(act, Expect)]
        assert (expect.address, expect.reverse) == ("198.51.100.2:6000", True)
        assert expect.offer is not None
        assert expect.offer.file_name == "a.txt"
        assert [way for _, way in memory.asked] == [UP, DOWN]
        assert memory.get(expect_key("bytestream", given), 2.0) is not None

    def test_candidates_that_nobody_offered_are_expected_too(self) -> None:
        """A session that is not remembered: what comes of its hosts is read, under no name."""
        stanza = iq(DOWN, "j", jingle("transport-info", "unknown", transport_s5b("t", ("c", "192.0.2.7", 5086))))
        (expect,) = [act for act in passed(signed(), one(signed(), *stanza)) if isinstance(act, Expect)]
        assert expect.offer is not None
        assert (expect.offer.method, expect.offer.sender, expect.offer.file_name) == ("s5b", BOB, "")

    def test_hosts_of_a_name_too_long_to_follow_are_taken_out(self) -> None:
        """Nobody would recognise the connection."""
        for stanza in (self.query(UP, (ME, "192.0.2.7", "5086"), sid="x" * 2000), iq(UP, "j", jingle(
                "transport-info", "js", transport_s5b("x" * 2000, ("c", "192.0.2.7", 5086))))):
            acts = passed(signed(), one(signed(), *stanza))
            assert b"192.0.2.7" not in sent(acts, UP)
            assert not [act for act in acts if isinstance(act, Expect)]

    REQUEST = f"<request xmlns='{UPLOAD}' filename='a b.txt' size='12' content-type='text/plain'/>"

    def slot(self, ident: str = "u", sender: str = "up.example.com") -> tuple[Way, str]:
        return DOWN, (
            f"<iq type='result' id='{ident}' from='{sender}' to='{ME}'><slot xmlns='{UPLOAD}'>"
            "<put url='HTTPS://Up.Example.com/p/a%20b.txt?x=1'><header name='Authorization'>Basic c2VjcmV0</header>"
            "</put>"
            "<get url='https://get.example.com:5443/g/a b.txt'/></slot></iq>")

    def test_an_upload_slot_is_announced(self) -> None:
        """Put and get, by host and port and by their address; the headers of the slot are nobody's business."""
        memory = SharedMemory(100)
        dec = signed(memory)
        say(dec, (UP, f"<iq type='get' id='u' to='up.example.com'>{self.REQUEST}</iq>"))
        stanza = self.slot()
        frame = one(dec, *stanza)
        acts = passed(dec, frame)
        assert sent(acts, DOWN) == stanza[1].encode()
        get, put = [act for act in acts if isinstance(act, Expect)]
        assert (put.address, put.what, put.key, put.by, put.flow) == (
            "up.example.com:443", "http_upload", "up.example.com:443/p/a%20b.txt?x=1", ME, "f")
        assert (get.address, get.key) == ("get.example.com:5443", "get.example.com:5443/g/a%20b.txt")
        assert put.offer is not None
        assert (put.offer.file_name, put.offer.size, put.offer.declared_type) == ("a b.txt", 12, "text/plain")
        assert memory.get(expect_key("http_upload", "up.example.com:443/p/a%20b.txt?x=1"), 2.0) == put
        assert memory.get(expect_key("http_upload", "get.example.com:5443/g/a%20b.txt"), 2.0) == get
        assert "secret" not in repr((frame.events, acts[1:])) and "c2VjcmV0" not in repr((frame.events, acts[1:]))
        assert [opaque.kind for opaque in of(Opaque, [frame])] == ["upload_slot"]

    def test_slots_that_nobody_asked_for_announce_nothing(self) -> None:
        """Else a peer could make any address look like an upload."""
        dec = signed()
        say(dec, (UP, f"<iq type='get' id='u' to='up.example.com'>{self.REQUEST}</iq>"))
        for stanza in (self.slot("v"), self.slot(sender="eve@example.net/x")):
            assert not [act for act in passed(dec, one(dec, *stanza)) if isinstance(act, Expect)]
        assert len([act for act in passed(dec, one(dec, *self.slot())) if isinstance(act, Expect)]) == 2
        assert not [act for act in passed(dec, one(dec, *self.slot())) if isinstance(act, Expect)]


def test_si_words_are_words() -> None:
    """The form of a stream initiation is not lost: names and descriptions are texts."""
    (offer,) = of(FileOffer, say(signed(), iq(UP, "o", si_offer("s", "pay.exe", 3))))
    assert [(text.part, text.plain) for text in offer.texts] == [("file_name", "pay.exe"), ("description", "a list")]
