"""XMPP: who signs on, what is offered before he does, and where TLS begins."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    BROKEN,
    DOWN,
    UP,
    Address,
    Chunk,
    Flow,
    Limits,
    Message,
    Rules,
    Secured,
    Send,
    SignOn,
    StartTls,
    Way,
)
from inspector.protocols.xmpp import SPEC, XmppDecoder
from tests.engine.toy import ToyPolicy, ToyScanner
from tests.protocols.test_xmpp import (
    AT,
    CHAT_DOWN,
    CHAT_UP,
    COMPRESSION,
    MANAGEMENT,
    ME,
    MECHANISMS,
    ON,
    SASL,
    TALKS,
    b64,
    block,
    decoder,
    events,
    features,
    head,
    login,
    one,
    passed,
    play,
    read,
    sent,
    signed,
)


class TestSignOn:
    def test_the_bind_result_signs_on_the_full_jid(self) -> None:
        """The sign-on names the JID the server bound, the mechanism and what was seen of channel binding."""
        (event,) = [e for e in events("chat") if isinstance(e, SignOn)]
        assert event == SignOn(
            user=ME, identity="authenticated", mechanism="SCRAM-SHA-1", channel_binding="offered",
            account="alice@example.com",
        )

    def test_no_secret_is_in_any_frame_field_but_raw(self) -> None:
        """A password travels in `raw` only."""
        for name in ("plain-login", "legacy-login"):
            for frame in play(decoder(ON), TALKS[name]):
                assert "secret-password" not in repr(frame.events) + repr(frame.oddities)

    def test_legacy_login(self) -> None:
        """XEP-0078: user, domain of the stream and resource make the JID; the answer's id signs on."""
        (event,) = [e for e in events("legacy-login") if isinstance(e, SignOn)]
        assert (event.user, event.mechanism) == (ME, "XEP-0078 password")

    def test_sasl2_with_bind2(self) -> None:
        """SASL2's success names the full JID when the resource was bound inline."""
        (event,) = [e for e in events("sasl2") if isinstance(e, SignOn)]
        assert (event.user, event.mechanism, event.channel_binding) == (ME, "SCRAM-SHA-256", "none")

    def test_channel_binding_used(self) -> None:
        """A -PLUS login is told, with an oddity that says it will fail."""
        frames = play(decoder(ON), login("SCRAM-SHA-1-PLUS", "p=tls-exporter,,n=alice,r=a"))
        assert [o.name for f in frames for o in f.oddities] == ["xmpp.channel_binding"]
        assert [e.channel_binding for f in frames for e in f.events if isinstance(e, SignOn)] == ["used"]

    def test_channel_binding_stripped(self) -> None:
        """With the edit on, -PLUS and the binding types leave the features, and the sign-on says so."""
        dec = decoder(["xmpp.strip_plus"])
        dec.feed(Chunk(UP, 1.0, head(UP)))
        frame = dec.feed(Chunk(DOWN, 1.0, head(DOWN) + features(MECHANISMS)))[1]
        assert frame.edit == "xmpp.strip_plus"
        assert sent(passed(dec, frame), DOWN) == features(
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism>"
            "<mechanism>PLAIN</mechanism></mechanisms>"
        )
        frames = play(dec, login()[2:])
        assert [e.channel_binding for f in frames for e in f.events if isinstance(e, SignOn)] == ["stripped"]

    def test_never_down_to_plain(self) -> None:
        """-PLUS is left where only PLAIN would remain."""
        dec = decoder(["xmpp.strip_plus"])
        play(dec, [(UP, head(UP)), (DOWN, head(DOWN))])
        frame = one(dec, DOWN, features(
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism>"
            "<mechanism>PLAIN</mechanism></mechanisms>"
        ))
        assert frame.edit is None

    def test_serverless_is_claimed(self) -> None:
        """Without any login (XEP-0174) the sender's word is a claim."""
        first = next(iter(events("serverless")))
        assert first == SignOn(user="al@desk", identity="claimed", mechanism="serverless", channel_binding="none")


class TestEdits:
    def test_compression_and_management_are_not_offered(self) -> None:
        """Where management is to be stripped both leave the features, in every place, and nothing else changes."""
        for name, index in (("chat", 7), ("sasl2", 1)):
            dec = decoder(ON | {"xmpp.strip_sm"})
            play(dec, TALKS[name][:index])
            frame = next(f for f in dec.feed(Chunk(DOWN, 1.0, TALKS[name][index][1])) if f.kind == "xmpp.features")
            data = sent(passed(dec, frame), DOWN)
            assert frame.edit is not None
            assert b"urn:xmpp:sm" not in data
            assert b"compress" not in data
            want = frame.raw.decode()
            for piece in (MANAGEMENT, COMPRESSION, "<feature var='urn:xmpp:sm:3'/>", "<sm xmlns='urn:xmpp:sm:3'/>"):
                want = want.replace(piece, "")
            assert data.decode() == want

    def test_inline_management_leaves_the_login(self) -> None:
        """A client that asks for stream management inside SASL2 is not heard where it is to be stripped."""
        dec = decoder(ON | {"xmpp.strip_sm"})
        play(dec, TALKS["sasl2"][:2])
        frame = one(dec, UP, TALKS["sasl2"][2][1])
        assert frame.edit == "xmpp.strip_sm"
        assert b"sm:3" not in sent(passed(dec, frame), UP)
        assert b"<tag>t</tag>" in sent(passed(dec, frame), UP)

    def test_strays_are_answered(self) -> None:
        """What was not offered and is asked for all the same is answered, not sent on."""
        dec = signed(ON | {"xmpp.strip_sm"})
        answers = []
        for way, data in (said for said in TALKS["strays"][10:14] if said[0] is UP):
            frame = one(dec, way, data)
            assert frame.edit is not None
            acts = passed(dec, frame)
            assert sent(acts, UP) == b""
            answers.append(sent(acts, DOWN).decode())
        assert answers == [
            "<failure xmlns='http://jabber.org/protocol/compress'><unsupported-method/></failure>",
            "<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
            "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
        ]

    def test_what_was_offered_is_left_alone(self) -> None:
        """With the strip edits off the requests go on though the refusing ones are on."""
        dec = signed(["xmpp.refuse_compression", "xmpp.refuse_sm"])
        for way, data in TALKS["strays"][10:14]:
            assert one(dec, way, data).edit is None

    KINDS = (
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256-PLUS</mechanism>"
        "<mechanism>SCRAM-SHA-256</mechanism></mechanisms><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>{}"
        "</sasl-channel-binding>"
    )
    EXPORTER = "<channel-binding type='tls-exporter'/>"
    END_POINT = "<channel-binding type='tls-server-end-point'/>"

    def offered(self, kinds: str, *, same: bool, edits: Iterable[str] = ON) -> tuple[bytes, XmppDecoder]:
        """The features as the client gets them, and the decoder."""
        dec = decoder(edits)
        if same:
            dec.secured()
        play(dec, [(UP, head(UP)), (DOWN, head(DOWN))])
        return sent(passed(dec, one(dec, DOWN, features(self.KINDS.format(kinds)))), DOWN), dec

    def test_channel_binding_that_holds_is_left(self) -> None:
        """Shown the server's own certificate, a client can bind to it: other kinds leave the offer, the mechanisms
        stay, also where they are to be stripped; the login is told as bound, without a warning."""
        for edits in (ON, ON | {"xmpp.strip_plus"}):
            data, dec = self.offered(self.EXPORTER + self.END_POINT, same=True, edits=edits)
            assert data == features(self.KINDS.format(self.END_POINT))
            frame = one(dec, UP, f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256-PLUS'>"
                                 f"{b64('p=tls-server-end-point,,n=alice,r=abc')}</auth>")
            assert frame.oddities == ()
            assert dec.login.binding == "used"

    def test_channel_binding_that_does_not_hold_is_as_ever(self) -> None:
        """Nothing that holds is offered, or the certificate is another: left alone, or stripped where that is wanted;
        and a login by a kind that does not hold is told to fail."""
        for kinds, same in ((self.EXPORTER, True), (self.EXPORTER + self.END_POINT, False), ("", True)):
            data, dec = self.offered(kinds, same=same)
            assert data == features(self.KINDS.format(kinds))
            data, _ = self.offered(kinds, same=same, edits=ON | {"xmpp.strip_plus"})
            assert b"PLUS" not in data
            frame = one(dec, UP, f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256-PLUS'>"
                                 f"{b64('p=tls-exporter,,n=alice,r=abc')}</auth>")
            assert [oddity.name for oddity in frame.oddities] == ["xmpp.channel_binding"]

    @pytest.mark.parametrize("same", [True, False])
    def test_the_session_tells_which_certificate_the_client_saw(self, same: bool) -> None:
        """Behind STARTTLS: only where it was the server's own is the offer narrowed to what holds."""
        kit = Kit(classifier((SPEC,)), Rules(1, ToyPolicy(), ToyScanner()), Limits(), edits=ON)
        world = World(kit.limits)
        flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5222), opened=AT)
        session = Session(flow, kit, world)
        for way, data in TALKS["starttls"]:
            session.step(Chunk(way, AT, data), world)
        session.step(Secured(AT, same=same), world)
        session.step(Chunk(UP, AT, head(UP)), world)
        session.step(Chunk(DOWN, AT, head(DOWN)), world)
        offer = features(self.KINDS.format(self.EXPORTER + self.END_POINT))
        (effect,) = [each for each in session.step(Chunk(DOWN, AT, offer), world) if isinstance(each, Send)]
        assert (b"tls-exporter" in effect.data) is not same

    def test_an_offer_that_holds_is_left_alone(self) -> None:
        """Where only that kind is offered nothing changes: clients that check the offer by a hash find it whole."""
        data, _ = self.offered(self.END_POINT, same=True)
        assert data == features(self.KINDS.format(self.END_POINT))

    def test_real_time_text_is_taken_out(self) -> None:
        """Letters on their way cannot be judged: the element goes, the message stays."""
        dec = signed()
        frame = one(dec, UP, TALKS["forms-of-words"][16][1])
        assert (frame.edit, frame.events) == ("xmpp.strip_rtt", ())
        assert sent(passed(dec, frame), UP) == b"<message to='bob@example.org' id='t1' type='chat'></message>"

    def test_where_stanzas_are_counted_a_drop_is_replaced(self) -> None:
        """With stream management on, a swallowed stanza is replaced by one that says nothing, and none is injected."""
        dec = signed(())
        play(dec, [(UP, b"<enable xmlns='urn:xmpp:sm:3'/>"), (DOWN, b"<enabled xmlns='urn:xmpp:sm:3'/>")])
        acts = dec.apply(one(dec, UP, CHAT_UP), [block(None)])
        assert sent(acts, UP).startswith(b"<iq type='result' id=")
        assert not dec.ready(DOWN)


class TestStartTls:
    def test_proceed_becomes_starttls(self) -> None:
        """The client's <starttls/> goes up; the server's <proceed/> is held by the driver; the stream begins anew."""
        dec = decoder(ON)
        play(dec, TALKS["starttls"][:2])
        frame = one(dec, UP, TALKS["starttls"][2][1])
        assert passed(dec, frame) == [Send(UP, frame.raw)]
        frame = one(dec, DOWN, TALKS["starttls"][3][1])
        assert passed(dec, frame) == [StartTls(
            "example.com", TALKS["starttls"][3][1],
            b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
        )]
        frames = play(dec, [*login(), (UP, CHAT_UP.encode())])
        assert not any(f.fault for f in frames)
        assert isinstance(frames[-1].events[0], Message)

    @pytest.mark.parametrize("surplus", [b" ", b"<auth/>", CHAT_UP.encode(), b"\x16\x03\x01"])
    def test_plaintext_behind_starttls_is_an_attack(self, surplus: bytes) -> None:
        """Anything behind <starttls/>, in the same read or a later one, ends in a fault."""
        for cut in (True, False):
            dec = decoder(ON)
            play(dec, TALKS["starttls"][:2])
            asked = TALKS["starttls"][2][1]
            pieces = [asked, surplus] if cut else [asked + surplus]
            frames = read(dec, [(UP, piece) for piece in pieces])
            assert [f.kind for f in frames] == ["xmpp.starttls", BROKEN]
            assert frames[-1].fault is not None
            assert "injection" in frames[-1].fault.name

    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_plaintext_around_proceed_is_an_attack(self, way: Way) -> None:
        """Behind <proceed/> nothing may come in plaintext, from neither side."""
        dec = decoder(ON)
        play(dec, TALKS["starttls"][:3])
        if way is DOWN:
            frames = dec.feed(Chunk(DOWN, 1.0, TALKS["starttls"][3][1] + b"<features/>"))
        else:
            frames = dec.feed(Chunk(DOWN, 1.0, TALKS["starttls"][3][1])) + dec.feed(Chunk(UP, 1.0, head(UP)))
        assert frames[-1].kind == BROKEN
        assert frames[-1].fault is not None
        assert frames[-1].fault.name == "xmpp.starttls_injection"

    def test_tls_of_a_capture_cannot_be_read(self) -> None:
        """Offline the TLS bytes follow: said, and passed over."""
        dec = decoder()
        frames = read(dec, [*TALKS["starttls"], (UP, b"\x16\x03\x01\x02\x00data"), (DOWN, b"\x16\x03\x03\x00")])
        assert [f.kind for f in frames[-2:]] == ["xmpp.raw", "xmpp.raw"]
        assert dec.undecryptable is not None

    def test_a_refused_starttls_goes_on(self) -> None:
        """The server's <failure/> and the end of the stream pass."""
        dec = decoder(ON)
        frames = play(dec, [
            *TALKS["starttls"][:3], (DOWN, b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"),
            (UP, b"</stream:stream>"),
        ])
        assert not any(f.fault for f in frames)

    def test_proceed_that_nobody_asked_for(self) -> None:
        """An unasked <proceed/> ends in a fault."""
        dec = decoder(ON)
        play(dec, TALKS["starttls"][:2])
        frame = one(dec, DOWN, TALKS["starttls"][3][1])
        assert frame.fault is not None

    def test_proceed_in_front_of_half_a_stanza_loses_none_of_it(self) -> None:
        """In a stream joined in its middle nobody knows what was asked: what the client has half said is no TLS."""
        dec = decoder(from_start=False)
        half = CHAT_UP.encode()[:40]
        read(dec, [(UP, half)])
        for frame in read(dec, [(DOWN, CHAT_DOWN.encode()), (DOWN, TALKS["starttls"][3][1])]):
            assert not any(isinstance(act, StartTls) for act in passed(dec, frame))
        assert dec.pending(UP) == len(half)
