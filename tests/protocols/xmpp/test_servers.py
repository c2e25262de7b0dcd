"""XMPP between servers: who says what, who has proved to be who, and how people are told."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import pytest

from inspector.engine.world import SharedMemory
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Event,
    FileOffer,
    Flow,
    Frame,
    Limits,
    Message,
    Notice,
    Send,
    SignOn,
    StartTls,
    Tell,
    Verdict,
    Way,
)
from inspector.protocols.xmpp import XmppDecoder
from tests.protocols.test_xmpp import ON, features
from tests.protocols.xmpp_talks import data, opening

STREAM = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BLOCK = Verdict(Action.BLOCK, "r", reference="R1", notice="No. Reference R1.")


def head(way: Way, mine: str = "a.example", other: str = "b.example", ns: str = "jabber:server") -> str:
    ends = f"from='{mine}' to='{other}'" if way is UP else f"from='{other}' to='{mine}' id='s-1'"
    return (f"<?xml version='1.0'?><stream:stream {ends} version='1.0' xmlns='{ns}' xmlns:db='jabber:server:dialback' "
            f"xmlns:stream='{STREAM}'>")


class Link:
    """A stream between two servers with a decoder in the middle."""

    def __init__(
        self, memory: SharedMemory | None = None, mine: str = "a.example", other: str = "b.example", name: str = "f1",
        edits: Iterable[str] = ON,
    ) -> None:
        flow = Flow(name, Address("10.0.0.1", 40000), Address("192.0.2.1", 5269), opened=0.0)
        self.mine, self.other = mine, other
        self.dec = XmppDecoder(flow, Limits(), SharedMemory(100) if memory is None else memory, frozenset(edits))
        self.acts: list[Act] = []

    def say(self, way: Way, said: str | bytes, verdict: Verdict = PASSED) -> list[Frame]:
        """Feed it; everything passes but messages and presence with words, which get `verdict`."""
        self.acts = []
        frames = self.dec.feed(Chunk(way, 1.0, said if isinstance(said, bytes) else said.encode()))
        for frame in frames:
            assert frame.fault is None
            self.acts += self.dec.apply(
                frame, [PASSED if isinstance(event, SignOn) else verdict for event in frame.events])
        return frames

    def events(self, way: Way, said: str, verdict: Verdict = PASSED) -> list[Event]:
        return [event for frame in self.say(way, said, verdict) for event in frame.events]

    def sent(self, way: Way) -> bytes:
        return b"".join(act.data for act in self.acts if isinstance(act, Send) and act.way is way)

    def begun(self) -> Link:
        self.say(UP, head(UP, self.mine, self.other))
        self.say(DOWN, head(DOWN, self.mine, self.other) + features("").decode())
        return self

    def proven(self) -> Link:
        """After a dialback that was accepted."""
        self.begun()
        self.say(UP, f"<db:result from='{self.mine}' to='{self.other}'>a secret key</db:result>")
        self.say(DOWN, f"<db:result type='valid' from='{self.other}' to='{self.mine}'/>")
        return self


def message(name: str = "s1", sender: str = "al@a.example/x", to: str = "bo@b.example", body: str = "words") -> str:
    return f"<message from='{sender}' to='{to}' type='chat' id='{name}'><body>{body}</body></message>"


class TestIdentity:
    def test_dialback_proves_a_domain(self) -> None:
        """The sign-on of a domain comes with the result, not with the claim; of the key nothing is kept."""
        link = Link().begun()
        assert link.events(UP, "<db:result from='a.example' to='b.example'>a secret key</db:result>") == []
        (event,) = link.events(DOWN, "<db:result type='valid' from='b.example' to='a.example'/>")
        assert event == SignOn(
            user="a.example", identity="authenticated", mechanism="dialback", channel_binding="none")
        (said,) = link.events(UP, message())
        assert isinstance(said, Message)
        assert (said.sender, said.recipients, said.conversation, said.texts[0].plain) == (
            "al@a.example/x", ("bo@b.example",), "bo@b.example", "words")

    @pytest.mark.parametrize("answer", [
        "<db:result type='invalid' from='b.example' to='a.example'/>",
        "<db:result type='error' from='b.example' to='a.example'/>",
        "<db:result type='valid' from='x.example' to='a.example'/>",
        "<db:result type='valid' from='b.example' to='c.example'/>",
        "<db:result from='b.example' to='a.example'/>",
    ])
    def test_what_is_not_proved_is_claimed(self, answer: str) -> None:
        """Another answer, or one to another question: what is said then is of a domain that only claims to be it."""
        link = Link().begun()
        link.say(UP, "<db:result from='a.example' to='b.example'>key</db:result>")
        assert link.events(DOWN, answer) == []
        (frame,) = link.say(UP, message())
        assert [type(event) for event in frame.events] == [SignOn, Message]
        assert frame.events[0] == SignOn(user="a.example", identity="claimed", channel_binding="none")
        assert [oddity.name for oddity in frame.oddities] == ["xmpp.unproven_domain"]

    def test_several_domains_on_one_stream(self) -> None:
        """Each proves itself (XEP-0220 §2.5); whose stanza comes next, his sign-on is told before it."""
        link = Link().proven()
        link.say(UP, "<db:result from='c.example' to='b.example'>key</db:result>")
        (event,) = link.events(DOWN, "<db:result type='valid' from='b.example' to='c.example'/>")
        assert isinstance(event, SignOn)
        assert event.user == "c.example"
        seen = [
            (event.user, event.identity) if isinstance(event, SignOn) else event.sender  # type: ignore[union-attr]
            for sender in ("al@a.example", "em@A.Example", "cy@c.example", "x@d.example")
            for event in link.events(UP, message(sender=sender))
        ]
        assert seen == [
            ("a.example", "authenticated"), "al@a.example", "em@A.Example", ("c.example", "authenticated"),
            "cy@c.example", ("d.example", "claimed"), "x@d.example"]

    @pytest.mark.parametrize(("text", "domain"), [("YS5leGFtcGxl", "a.example"), ("=", "a.example"), ("", "a.example")])
    def test_external_proves_a_domain(self, text: str, domain: str) -> None:
        """SASL EXTERNAL: the domain that is asked for, or that of the header; the stream begins again behind it."""
        link = Link().begun()
        link.say(UP, f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{text}</auth>")
        (event,) = link.events(DOWN, f"<success xmlns='{SASL}'/>")
        assert event == SignOn(user=domain, identity="authenticated", mechanism="EXTERNAL", channel_binding="none")
        link.begun()
        assert [type(each) for each in link.events(UP, message())] == [Message]

    def test_external_behind_our_tls_is_told(self) -> None:
        """The certificate of the other server ends at us: its login cannot work, and the log says why."""
        link = Link().begun()
        link.say(UP, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        link.say(DOWN, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        assert any(isinstance(act, StartTls) and act.server_name == "b.example" for act in link.acts)
        link.begun()
        (frame,) = link.say(UP, f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>")
        assert [oddity.name for oddity in frame.oddities] == ["xmpp.external_login"]

    def test_a_bind_between_servers_signs_nobody_on(self) -> None:
        """What looks like a client's login is none here."""
        link = Link().begun()
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{}</bind>"
        link.say(UP, f"<iq type='set' id='b' from='al@a.example' to='b.example'>{bind.format('')}</iq>")
        found = link.events(DOWN, "<iq type='result' id='b' from='b.example' to='al@a.example'>"
                                  f"{bind.format('<jid>boss@b.example/x</jid>')}</iq>")
        assert not any(isinstance(event, SignOn) for event in found)

    def test_a_stanza_without_its_ends_is_odd(self) -> None:
        """RFC 6120 §8.1.1.2: between servers both are named."""
        for ends in ("from='al@a.example'", "to='bo@b.example'"):
            (frame,) = Link().proven().say(UP, f"<message {ends}><body>to whom, and from whom?</body></message>")
            assert "xmpp.no_address" in [oddity.name for oddity in frame.oddities]
            assert [type(event) for event in frame.events] == [Message]

    @pytest.mark.parametrize("ways", [("jabber:server", "jabber:client"), ("jabber:client", "jabber:server")])
    def test_both_sides_speak_of_the_same(self, ways: tuple[str, str]) -> None:
        """A stream is between servers or it is not: one side alone does not change what is read."""
        link = Link()
        link.say(UP, head(UP, ns=ways[0]))
        frames = link.dec.feed(Chunk(DOWN, 1.0, head(DOWN, ns=ways[1]).encode()))
        assert frames[-1].fault is not None


class TestReading:
    @pytest.mark.parametrize("unit", [
        "<message from='al@a.example' to='bo@b.example'><body>secret plan</body></message>",
        "<message xmlns='jabber:client' from='al@a.example' to='bo@b.example'><body>secret plan</body></message>",
        "<message xmlns='jabber:server' from='al@a.example' to='bo@b.example'><body>secret plan</body></message>",
        "<x:message xmlns:x='jabber:server' from='al@a.example' to='bo@b.example'><x:body>secret plan</x:body>"
        "</x:message>",
        "<message xmlns='jabber:serve&#114;' from='al@a.example' to='bo@b.example'><body xmlns='jabber:client'>secret "
        "plan</body></message>",
        "<message from='al@a.example' to='bo@b.example'><body>secr<![CDATA[et p]]>l&#97;n</body></message>",
    ])
    def test_a_message_is_read_however_its_namespace_is_written(self, unit: str) -> None:
        """Servers take all of these for a message; so do we, and refuse it."""
        link = Link().proven()
        (event,) = link.events(UP, unit, BLOCK)
        assert isinstance(event, Message)
        assert [(text.part, text.plain) for text in event.texts] == [("body", "secret plan")]
        assert link.sent(UP) == b""

    def test_masked_and_replaced(self) -> None:
        """A mask changes its letters alone; a placeholder stands in place of the words, in the stanza's namespace."""
        link = Link().proven()
        unit = message(body="card 4111")
        link.say(UP, unit, Verdict(Action.REDACT, "r", masks=((0, 5, 9),)))
        assert link.sent(UP) == unit.replace("4111", "****").encode()
        link.say(UP, unit, Verdict(Action.BLOCK, "r", placeholder="[gone]"))
        assert link.sent(UP) == unit.replace("card 4111", "[gone]").encode()

    def test_in_band_files_between_servers_are_refused(self) -> None:
        """Their answers go another way: an opening is refused, a block is refused, nothing of them goes on."""
        link = Link().proven()
        for inner in (opening("s1"), data("s1", 0, b"x" * 100)):
            frames = link.say(UP, f"<iq type='set' id='i1' from='al@a.example/x' to='bo@b.example/y'>{inner}</iq>")
            assert [frame.edit for frame in frames] == ["xmpp.refuse_blocks"]
            assert link.sent(UP) == b""

    def test_offers_between_servers_are_judged_and_lead_nowhere(self) -> None:
        """An offered file is an event; its address is left alone: what is sent there does not pass the servers."""
        link = Link().proven()
        unit = ("<iq type='set' id='q1' from='al@a.example/x' to='bo@b.example/y'><query xmlns='http://jabber.org/protocol/"
                "bytestreams' sid='s1'><streamhost jid='al@a.example/x' host='192.0.2.9' port='5000'/></query></iq>")
        link.say(UP, unit)
        assert link.acts == [Send(UP, unit.encode())]
        offer = ("<message from='al@a.example' to='bo@b.example'><x xmlns='jabber:x:oob'><url>https://files.example/a.exe"
                 "</url></x></message>")
        assert any(isinstance(event, FileOffer) for event in link.events(UP, offer))


class TestRelease:
    def test_what_was_held_goes_where_it_was_going(self) -> None:
        """A message that waited for a reviewer is released on a stream from its writer's domain to its reader's, with
        both ends as they were; not on one to another domain, not the wrong way, not before the domain is proved."""
        link = Link().proven()
        (frame,) = link.say(UP, message())
        kept = link.dec.keep([frame], 0)
        assert kept is not None
        unit = message().replace("<message", "<message xmlns='jabber:server'")
        assert Link().proven().dec.release(kept, UP) == [Send(UP, unit.encode())]
        assert Link(other="c.example").proven().dec.release(kept, UP) is None
        assert Link().begun().dec.release(kept, UP) is None
        assert Link().proven().dec.release(kept, DOWN) is None

    def test_it_comes_down_where_stanzas_go_both_ways(self) -> None:
        """XEP-0288: what was coming down is released coming down."""
        link = Link().begun()
        link.say(UP, "<bidi xmlns='urn:xmpp:bidi'/>")
        link.say(UP, "<db:result from='a.example' to='b.example'>key</db:result>")
        link.say(DOWN, "<db:result type='valid' from='b.example' to='a.example'/>")
        (frame,) = link.say(DOWN, message("d1", "bo@b.example/y", "al@a.example"))
        kept = link.dec.keep([frame], 0)
        assert kept is not None
        assert link.dec.release(kept, UP) is None
        acts = link.dec.release(kept, DOWN)
        assert acts is not None
        sent = [act.data for act in acts if isinstance(act, Send)]
        assert [b"from='bo@b.example/y' to='al@a.example'" in data for data in sent] == [True]


class TestTelling:
    def test_a_refusal_goes_back_over_the_stream_that_goes_back(self) -> None:
        """A stream goes one way: the error for the sender waits for the other one, which is rung at; without one he is
        told nothing, and never over a stream that takes no stanzas."""
        memory = SharedMemory(100)
        there = Link(memory, name="f1").proven()
        there.say(UP, message(), BLOCK)
        assert there.acts == []
        back = Link(memory, "b.example", "a.example", name="f2").proven()
        there.say(UP, message("s2"), BLOCK)
        (told,) = there.acts
        assert isinstance(told, Tell)
        assert (told.flow, told.notice.text) == ("f2", "")
        (act,) = back.dec.inject(told.notice, DOWN)
        assert isinstance(act, Send)
        assert act.way is UP
        assert act.data.startswith(
            b"<message type='error' id='s2' from='bo@b.example' to='al@a.example/x'><body>No. Reference R1.</body>"
            b"<error type='modify' by='b.example'><policy-violation ")
        assert back.dec.inject(Notice(""), DOWN) == []

    def test_what_waits_goes_with_the_next_stanza(self) -> None:
        """A stream that takes no stanzas yet takes it along with the first that goes that way."""
        memory = SharedMemory(100)
        Link(memory, "b.example", "a.example", name="f2").proven()
        back = Link(memory, "b.example", "a.example", name="f2").begun()
        there = Link(memory, name="f1").proven()
        there.say(UP, message("s2"), BLOCK)
        told = there.acts
        there.say(UP, message("s3"), Verdict(Action.WARN, "r", reference="R2", notice="Mind. Reference R2."))
        assert there.sent(UP) == message("s3").encode()
        for act in (*told, *there.acts):
            if isinstance(act, Tell):
                assert back.dec.inject(act.notice, DOWN) == []
        back.say(UP, "<db:result from='b.example' to='a.example'>key</db:result>")
        back.say(DOWN, "<db:result type='valid' from='a.example' to='b.example'/>")
        back.say(UP, message("t1", "bo@b.example", "al@a.example"))
        assert back.sent(UP).startswith(message("t1", "bo@b.example", "al@a.example").encode())
        assert back.sent(UP).count(b"<message ") == 3
        assert b"type='headline' from='b.example' to='al@a.example/x'" in back.sent(UP)

    def test_where_stanzas_go_both_ways_the_answer_does(self) -> None:
        """XEP-0288: the error comes down the same stream; a refused one that came down is answered up."""
        link = Link().begun()
        link.say(UP, "<bidi xmlns='urn:xmpp:bidi'/>")
        link.say(UP, "<db:result from='a.example' to='b.example'>key</db:result>")
        link.say(DOWN, "<db:result type='valid' from='b.example' to='a.example'/>")
        link.say(UP, message(), BLOCK)
        assert link.sent(DOWN).startswith(b"<message type='error' id='s1' from='bo@b.example' to='al@a.example/x'>")
        link.say(DOWN, message("d1", "bo@b.example/y", "al@a.example"), BLOCK)
        assert link.sent(UP).startswith(b"<message type='error' id='d1' from='al@a.example' to='bo@b.example/y'>")
        assert link.sent(DOWN) == b""

    def test_an_error_is_never_answered(self) -> None:
        """A refused error goes on without its words; nobody is told, so nothing goes round."""
        memory = SharedMemory(100)
        Link(memory, "b.example", "a.example", name="f2").proven()
        link = Link(memory, name="f1").proven()
        link.say(UP, "<message type='error' from='al@a.example' to='bo@b.example' id='e'><body>secret</body><error "
                     "type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>", BLOCK)
        assert b"secret" not in link.sent(UP)
        assert not any(isinstance(act, Tell) for act in link.acts)

    def test_a_refused_request_is_answered(self) -> None:
        """A query that is refused gets its error over the stream that goes back."""
        memory = SharedMemory(100)
        back = Link(memory, "b.example", "a.example", name="f2").proven()
        link = Link(memory, name="f1").proven()
        link.say(UP, "<iq type='set' id='v1' from='al@a.example/x' to='bo@b.example'><vCard xmlns='vcard-temp'><FN>"
                     "secret</FN></vCard></iq>", BLOCK)
        (told,) = link.acts
        assert isinstance(told, Tell)
        assert told.flow == "f2"
        (act,) = back.dec.inject(told.notice, DOWN)
        assert isinstance(act, Send)
        assert act.data.startswith(b"<iq type='error' id='v1' from='bo@b.example' to='al@a.example/x'>")

    def test_nobody_is_told_of_what_others_said_in_his_name(self) -> None:
        """A refused stanza of a domain that has not proved itself is answered to nobody."""
        memory = SharedMemory(100)
        back = Link(memory, "b.example", "c.example", name="f2").proven()
        link = Link(memory, name="f1").proven()
        link.say(UP, message(sender="victim@c.example"), BLOCK)
        assert link.acts == []
        assert back.dec.inject(Notice(""), DOWN) == []

    def test_what_is_owed_is_bounded(self) -> None:
        """Refusals without end, and nobody who takes the answers: only so many are kept."""
        memory = SharedMemory(100)
        Link(memory, "b.example", "a.example", name="f2").proven()
        back = Link(memory, "b.example", "a.example", name="f2").begun()
        link = Link(memory, name="f1").proven()
        for number in range(400):
            link.say(UP, message(f"s{number}"), BLOCK)
            for act in link.acts:
                if isinstance(act, Tell):
                    assert back.dec.inject(act.notice, DOWN) == []
        back.say(UP, "<db:result from='b.example' to='a.example'>key</db:result>")
        back.say(DOWN, "<db:result type='valid' from='a.example' to='b.example'/>")
        assert len(back.dec.inject(Notice(""), DOWN)) == Limits().xmpp_domains

    def test_the_end_is_in_the_streams_own_namespace(self) -> None:
        """A cut ends both streams politely, as one between servers."""
        link = Link()
        link.say(UP, head(UP))
        last = b"".join(act.data for act in link.dec.close("policy") if isinstance(act, Send) and act.way is DOWN)
        assert b"xmlns='jabber:server'" in last
        assert last.endswith(b"</stream:error></stream:stream>")


def test_many_claims_are_bounded() -> None:
    """Claims without end cost no more than the bound."""
    link = Link().begun()
    for number in range(1000):
        link.say(UP, f"<db:result from='d{number}.example' to='b.example'>key</db:result>")
    servers = link.dec.servers
    assert servers is not None
    assert len(servers.claimed) == Limits().xmpp_domains


def test_keys_are_in_no_event_or_oddity() -> None:
    """A dialback key, and what is said in EXTERNAL, reaches nothing that is logged."""
    link = Link().begun()
    frames = link.say(UP, "<db:result from='a.example' to='b.example'>deadbeefkey</db:result>")
    frames += link.say(UP, "<db:verify from='a.example' to='b.example' id='s-1'>deadbeefkey</db:verify>")
    said = base64.b64encode(b"deadbeefkey").decode()
    frames += link.say(UP, f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{said}</auth>")
    assert [frame.kind for frame in frames] == ["xmpp.db:result", "xmpp.db:verify", "xmpp.auth"]
    for frame in frames:
        assert frame.events == ()
        assert "deadbeef" not in str(frame.oddities)
