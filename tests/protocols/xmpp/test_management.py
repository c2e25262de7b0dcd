"""XMPP where stanzas are counted (XEP-0198): both ends' counts stay right whatever is refused or said by us, and a
session goes on over another connection."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.engine.world import SharedMemory
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Expect,
    FileEnd,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Limits,
    Notice,
    Send,
    SignOn,
    Verdict,
    Way,
)
from inspector.protocols.xmpp import XmppDecoder
from tests.protocols.test_xmpp import ME, ON, SASL, features, head, login
from tests.protocols.xmpp_talks import in_band

SM = "urn:xmpp:sm:3"
UNEXPECTED = f"<failed xmlns='{SM}'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
BOB = "bob@example.org/phone"
LIMITS = Limits()
BLOCK = Verdict(Action.BLOCK, "r", reference="R1", notice="No. Reference R1.")
SILENT = Verdict(Action.BLOCK, "r", reference="R1")
REPLACE = Verdict(Action.BLOCK, "r", reference="R1", placeholder="[gone]")
WARN = Verdict(Action.WARN, "r", reference="R1", notice="Mind. Reference R1.")
REDACT = Verdict(Action.REDACT, "r", masks=((0, 0, 3),))


class Pair:
    """A client and a server with a decoder between them. Both count what they send and get, as XEP-0198 has it."""

    def __init__(self, memory: SharedMemory, edits: Iterable[str] = ON, number: int = 0, reverse: bool = False) -> None:
        flow = Flow(f"f{number}", Address("10.0.0.1", 40000 + number), Address("192.0.2.1", 5222), opened=0.0,
                    reverse=reverse)
        self.dec = XmppDecoder(flow, LIMITS, memory, frozenset(edits))
        self.queues: tuple[deque[tuple[Frame, Verdict | None]], ...] = (deque(), deque())
        self.got: tuple[list[bytes], list[bytes]] = ([], [])
        """Units that were sent UP, and DOWN."""
        self.seen: list[Frame] = []
        self.at = 1.0

    def feed(self, way: Way, data: str | bytes, verdict: Verdict | None = None) -> None:
        """Hand over bytes; what is decided is done later."""
        self.at += 0.1
        data = data if isinstance(data, bytes) else data.encode()
        for frame in self.dec.feed(Chunk(way, self.at, data)):
            assert frame.fault is None
            self.seen.append(frame)
            self.queues[way].append((frame, verdict))

    def step(self, way: Way) -> None:
        """Carry out what was decided on the next frame of a way."""
        frame, verdict = self.queues[way].popleft()
        self.take(self.dec.apply(frame, [verdict or PASSED] * len(frame.events)))

    def take(self, acts: Sequence[Act]) -> None:
        for act in acts:
            if isinstance(act, Send):
                self.got[act.way].append(act.data)

    def say(self, way: Way, data: str | bytes, verdict: Verdict | None = None) -> list[bytes]:
        """Feed and carry out at once; what was sent that way, and (behind it) the other."""
        before = [len(got) for got in self.got]
        self.feed(way, data, verdict)
        for each in (way, way.other):
            while self.queues[each]:
                self.step(each)
        return [unit for each in (way, way.other) for unit in self.got[each][before[each]:]]

    def signed(self) -> Pair:
        for way, data in login():
            self.say(way, data)
        return self

    def enabled(self, ident: str = "id-1", more: str = "") -> Pair:
        self.say(UP, f"<enable xmlns='{SM}' resume='true'/>")
        self.say(DOWN, f"<enabled xmlns='{SM}' id='{ident}' resume='true' max='600'{more}/>")
        return self


def chat(way: Way, number: int | str) -> str:
    ends = f"to='{BOB}'" if way is UP else f"from='{BOB}' to='{ME}'"
    return f"<message {ends} id='{'ud'[way]}{number}' type='chat'><body>some words {number}</body></message>"


def ack(count: int) -> str:
    return f"<a xmlns='{SM}' h='{count}'/>"


def said(unit: bytes) -> int:
    found = re.search(rb" h='(\d+)'", unit)
    assert found is not None, unit
    return int(found[1])


def stanzas(units: Iterable[bytes]) -> list[bytes]:
    return [unit for unit in units if unit.startswith((b"<message", b"<iq", b"<presence"))]


def pair() -> Pair:
    return Pair(SharedMemory(100)).signed().enabled()


class TestCounts:
    def test_the_offer_stays_and_what_passes_is_left_alone(self) -> None:
        """Management is offered, asked for and granted byte by byte as it came; so are acknowledgements as long as
        nothing was refused."""
        both = Pair(SharedMemory(100)).signed()
        assert any(SM.encode() in unit for unit in both.got[DOWN])
        for way, data in ((UP, f"<enable xmlns='{SM}' resume='true'/>"),
                          (DOWN, f"<enabled xmlns=\"{SM}\" id='x' resume='true' />"), (UP, chat(UP, 1)),
                          (UP, f"<r xmlns='{SM}'/>"), (DOWN, f"<a xmlns='{SM}'  h = \"1\"/>")):
            assert both.say(way, data) == [data.encode()]

    def test_a_refused_message_counts_as_handled(self) -> None:
        """The client counts three, the server gets two: its 2 is told as 3, its 1 before that as 1."""
        both = pair()
        both.say(UP, chat(UP, 1))
        assert both.say(DOWN, ack(1)) == [ack(1).encode()]
        both.say(UP, chat(UP, 2), SILENT)
        both.say(UP, chat(UP, 3))
        assert said(both.say(DOWN, ack(1))[0]) == 2
        assert said(both.say(DOWN, ack(2))[0]) == 3
        assert all(b"id='u2'" not in unit for unit in both.got[UP])
        assert not any(unit.startswith(b"<iq type='result'") for unit in both.got[UP][-3:]), "no filler is needed"

    def test_a_notice_is_not_acknowledged_to_the_server(self) -> None:
        """The client gets two of the server's and a refusal of ours between them: its 1, 2, 3 are the server's 1, 1,
        2."""
        both = pair()
        both.say(DOWN, chat(DOWN, 1))
        got = both.say(UP, chat(UP, 1), BLOCK)
        assert [b"type='error'" in unit for unit in got] == [True]
        both.say(DOWN, chat(DOWN, 2))
        assert [said(both.say(UP, ack(count))[0]) for count in (1, 2, 3)] == [1, 1, 2]

    def test_masked_and_replaced_count_as_they_are(self) -> None:
        """What goes on changed is one stanza on both sides."""
        both = pair()
        both.say(DOWN, chat(DOWN, 1), REDACT)
        both.say(DOWN, chat(DOWN, 2), REPLACE)
        assert both.say(UP, ack(2)) == [ack(2).encode()]

    def test_a_notice_waits_for_what_the_engine_has(self) -> None:
        """A stanza of the server's waits for its scan: what we say meanwhile goes out, and counts, behind it."""
        both = pair()
        both.feed(DOWN, chat(DOWN, 1))
        both.feed(UP, chat(UP, 1), BLOCK)
        both.step(UP)
        assert not any(b"type='error'" in unit for unit in both.got[DOWN])
        both.step(DOWN)
        assert b"id='d1'" in both.got[DOWN][-2]
        assert b"type='error'" in both.got[DOWN][-1]
        assert [said(both.say(UP, ack(count))[0]) for count in (1, 2)] == [1, 1]

    def test_words_of_the_gateway_are_counted(self) -> None:
        """inject counts, too, at once or when what is before it has left."""
        both = pair()
        both.take(both.dec.inject(Notice("a word"), DOWN))
        assert said(both.say(UP, ack(1))[0]) == 0
        both.feed(DOWN, chat(DOWN, 1))
        assert both.dec.inject(Notice("another"), DOWN) == []
        both.step(DOWN)
        assert b"another" in both.got[DOWN][-1]
        assert said(both.say(UP, ack(3))[0]) == 1

    def test_a_released_message_is_counted(self) -> None:
        """What waited for a reviewer and is sent now is nobody's stanza of this session but its reader's."""
        both = pair()
        both.feed(DOWN, chat(DOWN, 1))
        (frame, _) = both.queues[DOWN].popleft()
        kept = both.dec.keep([frame], 0)
        assert kept is not None
        both.take(both.dec.apply(frame, [SILENT]))
        acts = both.dec.release(kept, DOWN)
        assert acts is not None
        assert len(acts) == 1
        both.take(acts)
        both.say(DOWN, chat(DOWN, 2))
        assert [said(both.say(UP, ack(count))[0]) for count in (1, 2)] == [1, 2]

    def test_refused_management_counts_nothing(self) -> None:
        """The server will not: nothing is counted, and a notice needs no place of its own."""
        both = Pair(SharedMemory(100)).signed()
        both.say(UP, f"<enable xmlns='{SM}'/>")
        both.say(DOWN, UNEXPECTED)
        both.say(UP, chat(UP, 1), SILENT)
        assert both.say(DOWN, ack(0)) == [ack(0).encode()]

    def test_asking_twice_does_not_end_the_counting(self) -> None:
        """A second <enable/> fails; the counts of the first go on."""
        both = pair()
        both.say(UP, f"<enable xmlns='{SM}'/>")
        both.say(DOWN, UNEXPECTED)
        both.say(UP, f"<resume xmlns='{SM}' h='0' previd='other'/>")
        both.say(UP, chat(UP, 1), SILENT)
        assert said(both.say(DOWN, ack(0))[0]) == 1

    @pytest.mark.parametrize("count", ["-1", "1.0", "0x1", "", "4294967296", "99999999999999999999"])
    def test_a_count_that_is_none_is_left_to_its_reader(self, count: str) -> None:
        """Whatever stands there is the peer's affair."""
        both = pair()
        both.say(UP, chat(UP, 1), SILENT)
        unit = f"<a xmlns='{SM}' h='{count}'/>".encode()
        assert both.say(DOWN, unit) == [unit]

    def test_blocks_of_a_kept_file_are_had_by_us(self) -> None:
        """An in-band file is kept and answered by us: the client's blocks count as handled; released, the server's
        count of them is not told; refused, they never were."""
        for last in (PASSED, SILENT):
            both = pair()
            for _, data in in_band(UP, "s1", b"x" * 3000, 1000)[:1]:
                both.say(UP, data)     # the opening
            held: list[bytes] = []
            for way, data in in_band(UP, "s1", b"x" * 3000, 1000)[2:]:
                if way is DOWN:
                    continue
                (frame,) = both.dec.feed(Chunk(UP, 2.0, data.encode()))
                ends = any(isinstance(event, FileEnd) for event in frame.events)
                content = any(isinstance(event, FilePart | FileStart) for event in frame.events)
                assert content is not ends
                if not ends:
                    acts = both.dec.apply(frame, [Verdict(Action.HOLD)] * len(frame.events))
                    held += [act.data for act in acts if isinstance(act, Send) and act.way is UP]
                    continue
                assert said(both.say(DOWN, ack(1))[0]) == 4, "the opening, and three blocks that we have"
                both.take(both.dec.apply(frame, [last] * len(frame.events)))
            assert len(held) == 3
            both.say(UP, chat(UP, 1))
            # opening, close (or what stands for it), chat; released: three blocks between
            final = 3 + (3 if last is PASSED else 0)
            assert said(both.say(DOWN, ack(final))[0]) == 6


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_both_ends_counts_are_right_whatever_happens(seed: int) -> None:
    """Random messages both ways, verdicts, waits and acknowledgements: of the first n of its stanzas that an end is
    told are handled, each was refused, or is among the first that the other end said it has; at the end all are."""
    random = Random(seed)
    both = pair()
    sent: tuple[list[str], list[str]] = ([], [])
    refused: set[str] = set()
    base = [len(stanzas(got)) for got in both.got]

    def received(way: Way) -> list[bytes]:
        return stanzas(both.got[way])[base[way]:]

    def check(way: Way, told: int, had: int) -> None:
        """The writer of `way` was told `told` for the reader's `had`."""
        arrived = b"".join(received(way)[:had])
        for name in sent[way][:told]:
            assert name in refused or f"id='{name}'".encode() in arrived, (name, told, had)

    for number in range(30):
        way = random.choice((UP, DOWN))
        match random.randrange(6):
            case 0 | 1 | 2:
                verdict = random.choice((PASSED, PASSED, BLOCK, SILENT, REPLACE, WARN, REDACT))
                name = f"{'ud'[way]}{number}"
                sent[way].append(name)
                if verdict in (BLOCK, SILENT):
                    refused.add(name)
                both.feed(way, chat(way, number), verdict)
            case 3:
                if both.queues[way]:
                    both.step(way)
            case 4:
                both.take(both.dec.inject(Notice("a word of ours"), DOWN))
            case _:
                if not both.queues[way.other]:
                    had = random.randint(0, len(received(way)))
                    both.feed(way.other, ack(had))
                    before = len(both.got[way.other])
                    both.step(way.other)
                    told = next(said(unit) for unit in both.got[way.other][before:] if unit.startswith(b"<a "))
                    check(way, told, had)
    for way in (UP, DOWN):
        while both.queues[way]:
            both.step(way)
    for way in (UP, DOWN):
        told = next(said(unit) for unit in both.say(way.other, ack(len(received(way)))) if unit.startswith(b"<a "))
        assert told == len(sent[way])


class TestResume:
    def login(self, both: Pair) -> None:
        for way, data in login()[:8]:
            both.say(way, data)

    def test_a_session_goes_on_over_another_connection(self) -> None:
        """Counts and user are as they were: the client learns that its refused message was handled, the server that
        our notice was none of its; each sends again what is behind that, and both count on."""
        memory = SharedMemory(100)
        first = Pair(memory).signed().enabled()
        first.say(UP, chat(UP, 1))
        first.say(UP, chat(UP, 2), BLOCK)      # the client gets a notice
        first.say(UP, chat(UP, 3))             # will be lost behind us
        first.say(DOWN, chat(DOWN, 1))
        first.say(DOWN, chat(DOWN, 2))         # will be lost before the client
        second = Pair(memory, number=1)
        self.login(second)
        # the client has the notice and d1
        (asked,) = second.say(UP, f"<resume xmlns='{SM}' h='2' previd='id-1'/>")
        assert asked == f"<resume xmlns='{SM}' h='1' previd='id-1'/>".encode()
        # the server has u1
        (told,) = second.say(DOWN, f"<resumed xmlns='{SM}' h='1' previd='id-1'/>")
        assert told == f"<resumed xmlns='{SM}' h='2' previd='id-1'/>".encode()
        (event,) = [event for frame in second.seen for event in frame.events if isinstance(event, SignOn)]
        assert (event.user, event.identity) == (ME, "authenticated")
        second.say(UP, chat(UP, 3))
        second.say(UP, chat(UP, 4), SILENT)
        assert said(second.say(DOWN, ack(2))[0]) == 4
        second.say(DOWN, chat(DOWN, 2))
        assert said(second.say(UP, ack(3))[0]) == 2
        # and once more, over a third
        third = Pair(memory, number=2)
        self.login(third)
        assert said(third.say(UP, f"<resume xmlns='{SM}' h='3' previd='id-1'/>")[0]) == 2
        assert said(third.say(DOWN, f"<resumed xmlns='{SM}' h='2' previd='id-1'/>")[0]) == 4
        # what still comes on the one before has no say
        second.say(UP, chat(UP, 9), SILENT)
        assert said(third.say(DOWN, ack(2))[0]) == 4

    def test_words_after_a_resumption_are_the_users(self) -> None:
        """A message in a resumed session is his who began it; his rooms are known."""
        memory = SharedMemory(100)
        first = Pair(memory).signed().enabled()
        first.say(UP, "<presence to='room@muc.example/al'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        first.say(UP, ack(0))
        first.dec.feed(Chunk(UP, 3.0, b"", 0, True))
        second = Pair(memory, number=1)
        self.login(second)
        second.say(UP, f"<resume xmlns='{SM}' h='0' previd='id-1'/>")
        second.say(DOWN, f"<resumed xmlns='{SM}' h='1' previd='id-1'/>")
        second.say(UP, chat(UP, 1))
        second.say(DOWN, "<message from='room@muc.example/al' type='groupchat'><body>mine</body></message>")
        one, two = [frame.events[0] for frame in second.seen[-2:]]
        assert one.sender == ME  # type: ignore[union-attr]
        assert two.copy == "echo"  # type: ignore[union-attr]

    @pytest.mark.parametrize("previd", ["unknown", ""])
    def test_a_session_that_nobody_knows_is_not_resumed(self, previd: str) -> None:
        """The client is told so in the protocol's words and binds anew; the server is not asked."""
        both = Pair(SharedMemory(100))
        self.login(both)
        (answer,) = both.say(UP, f"<resume xmlns='{SM}' h='7' previd='{previd}'/>")
        assert answer == (f"<failed xmlns='{SM}'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                          "</failed>").encode()
        assert not any(b"resume" in unit for unit in both.got[UP])
        for way, data in login()[8:]:
            both.say(way, data)
        both.enabled("id-2").say(UP, chat(UP, 1), SILENT)
        assert said(both.say(DOWN, ack(0))[0]) == 1

    def test_a_session_ends_with_its_stream_or_its_time(self) -> None:
        """Closed by either side, cut by us, or not heard of for too long: it is not resumed."""
        for how in ("</stream:stream>", "cut", "late", "alive"):
            memory = SharedMemory(100)
            first = Pair(memory).signed().enabled()
            if how == "cut":
                first.dec.close("policy")
            elif how.startswith("<"):
                first.say(UP, how)
            second = Pair(memory, number=1)
            self.login(second)
            if how == "late":
                second.at = first.at + LIMITS.xmpp_resume_seconds + 1
            (answer,) = second.say(UP, f"<resume xmlns='{SM}' h='0' previd='id-1'/>")
            assert answer.startswith(b"<resume" if how == "alive" else b"<failed")

    def test_a_server_that_forgot_tells_what_it_had(self) -> None:
        """<failed h=…/> is translated: what was refused is not sent again."""
        memory = SharedMemory(100)
        first = Pair(memory).signed().enabled()
        first.say(UP, chat(UP, 1))
        first.say(UP, chat(UP, 2), SILENT)
        second = Pair(memory, number=1)
        self.login(second)
        second.say(UP, f"<resume xmlns='{SM}' h='0' previd='id-1'/>")
        (answer,) = second.say(DOWN, f"<failed xmlns='{SM}' h='1'><item-not-found/></failed>")
        assert answer == f"<failed xmlns='{SM}' h='2'><item-not-found/></failed>".encode()

    def test_a_stranger_who_names_a_session_changes_nothing_of_it(self) -> None:
        """Until the server has agreed the session stays what it is: user, counts, connection."""
        memory = SharedMemory(100)
        first = Pair(memory).signed().enabled()
        first.say(UP, chat(UP, 1), SILENT)
        stranger = Pair(memory, number=1)
        self.login(stranger)
        stranger.say(UP, f"<resume xmlns='{SM}' h='4000000' previd='id-1'/>")
        stranger.say(DOWN, f"<failed xmlns='{SM}'><item-not-found/></failed>")
        assert not any(frame.events for frame in stranger.seen)
        first.say(DOWN, chat(DOWN, 1))
        assert said(first.say(UP, ack(1))[0]) == 1
        assert said(first.say(DOWN, ack(0))[0]) == 1

    def test_nothing_of_the_identifier_is_kept(self) -> None:
        """The identifier of a session is as good as a password: memory has its hash."""
        memory = SharedMemory(100)
        Pair(memory).signed().enabled("very-secret")
        assert not any("very-secret" in key for key in memory._entries)

    def test_what_is_stripped_is_not_resumed(self) -> None:
        """With management stripped requests are answered as ever."""
        both = Pair(SharedMemory(100), ON | {"xmpp.strip_sm"})
        self.login(both)
        assert b"item-not-found" in both.say(UP, f"<resume xmlns='{SM}' h='7' previd='x'/>")[0]


class TestInline:
    OFFER = features(
        "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism><inline><bind xmlns='urn:xmpp:bind:0'>"
        f"<inline><feature var='{SM}'/></inline></bind><sm xmlns='{SM}'/></inline></authentication>")

    def ask(self, both: Pair, inner: str) -> bytes:
        both.say(UP, head(UP))
        both.say(DOWN, head(DOWN) + self.OFFER)
        (unit,) = both.say(UP, "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>AGEAYg=="
                               f"</initial-response>{inner}</authenticate>")
        return unit

    def answer(self, both: Pair, inner: str) -> bytes:
        (unit,) = both.say(DOWN, "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>"
                                 f"alice@example.com/desk</authorization-identifier>{inner}</success>")
        return unit

    def test_management_inside_a_login_is_counted(self) -> None:
        """Enabled with the login (XEP-0386): counts begin with its answer; then resumed with another login."""
        memory = SharedMemory(100)
        both = Pair(memory)
        asked = f"<bind xmlns='urn:xmpp:bind:0'><enable xmlns='{SM}' resume='true'/></bind>"
        assert asked.encode() in self.ask(both, asked)
        granted = f"<bound xmlns='urn:xmpp:bind:0'><enabled xmlns='{SM}' id='in-1' resume='1'/></bound>"
        assert granted.encode() in self.answer(both, granted)
        both.say(UP, chat(UP, 1), SILENT)
        both.say(UP, chat(UP, 2))
        assert said(both.say(DOWN, ack(1))[0]) == 2
        second = Pair(memory, number=1)
        both.say(DOWN, chat(DOWN, 1))
        both.take(both.dec.inject(Notice("ours"), DOWN))
        assert f"<resume xmlns='{SM}' h='1' previd='in-1'/>".encode() in self.ask(
            second, f"<resume xmlns='{SM}' h='2' previd='in-1'/>")
        assert b" h='2' " in self.answer(second, f"<resumed xmlns='{SM}' h='1' previd='in-1'/>")
        events = [event for frame in second.seen for event in frame.events]
        assert [event.user for event in events if isinstance(event, SignOn)] == [ME]

    def test_what_is_not_known_is_not_asked_for(self) -> None:
        """A resumption that we know nothing of leaves the login; the answer says so, and the session is bound."""
        both = Pair(SharedMemory(100))
        unit = self.ask(both, f"<resume xmlns='{SM}' h='3' previd='x'/>"
                              f"<bind xmlns='urn:xmpp:bind:0'><enable xmlns='{SM}'/></bind>")
        assert b"resume" not in unit
        assert b"<enable " in unit
        unit = self.answer(both, f"<bound xmlns='urn:xmpp:bind:0'><enabled xmlns='{SM}'/></bound>")
        assert b"<failed xmlns='urn:xmpp:sm:3'><item-not-found" in unit
        both.say(UP, chat(UP, 1), SILENT)
        assert said(both.say(DOWN, ack(0))[0]) == 1


class Leasing(SharedMemory):
    """A memory with ports to lease, or none."""

    def __init__(self, ours: Address | None) -> None:
        super().__init__(100)
        self.ours = ours
        self.asked: list[tuple[Expect, Way]] = []

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        self.asked.append((expect, way))
        return self.ours


class TestKeepPath:
    OTHER = (
        "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>%s</see-other-host></stream:error>"
    )

    @pytest.mark.parametrize(("place", "address"), [
        ("srv2.example.com:9222", "srv2.example.com:9222"), ("srv2.example.com", "srv2.example.com:5222"),
        ("[2001:db8::7]:5223", "[2001:db8::7]:5223"), ("2001:db8::7", "[2001:db8::7]:5222"),
    ])
    def test_another_host_is_led_through_us(self, place: str, address: str) -> None:
        """<see-other-host/> and <enabled location/> name a leased port of ours; the lease leads where they led."""
        memory = Leasing(Address("192.0.2.77", 7001))
        both = Pair(memory, reverse=True)
        both.say(UP, head(UP))
        both.say(DOWN, head(DOWN))
        assert both.say(DOWN, self.OTHER % place) == [(self.OTHER % "192.0.2.77:7001").encode()]
        both = Pair(memory, reverse=True).signed().enabled(more=f" location=\"{place}\"")
        assert b" location=\"192.0.2.77:7001\"" in both.got[DOWN][-1]
        assert [(expect.address, expect.what, way) for expect, way in memory.asked] == [(address, "xmpp", DOWN)] * 2

    def test_without_a_port_the_client_is_not_sent_past_us(self) -> None:
        """In reverse mode the address goes: he connects again to where he was."""
        memory = Leasing(None)
        both = Pair(memory, reverse=True)
        both.say(UP, head(UP))
        both.say(DOWN, head(DOWN))
        (unit,) = both.say(DOWN, self.OTHER % "srv2.example.com")
        assert unit == (b"<stream:error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                        b"</stream:error>")
        both = Pair(memory, reverse=True).signed().enabled(more=" location='srv2.example.com'")
        assert both.got[DOWN][-1] == f"<enabled xmlns='{SM}' id='id-1' resume='true' max='600' />".encode()

    def test_where_every_connection_passes_through_us_nothing_changes(self) -> None:
        """Behind an explicit or transparent listener the address stays as it is."""
        both = Pair(Leasing(None))
        both.say(UP, head(UP))
        both.say(DOWN, head(DOWN))
        unit = self.OTHER % "srv2.example.com"
        assert both.say(DOWN, unit) == [unit.encode()]
        both = Pair(Leasing(None)).signed().enabled(more=" location='srv2.example.com'")
        assert b"location='srv2.example.com'" in both.got[DOWN][-1]

    @pytest.mark.parametrize("place", ["", "a b", "host:99999", "host:0", "[::1", "a/b", "h" * 300, "user@host"])
    def test_what_is_no_address_leads_nowhere(self, place: str) -> None:
        """Nothing is leased for it, and in reverse mode nobody follows it."""
        memory = Leasing(Address("192.0.2.77", 7001))
        both = Pair(memory, reverse=True)
        both.say(UP, head(UP))
        both.say(DOWN, head(DOWN))
        assert b"resource-constraint" in both.say(DOWN, self.OTHER % place)[0]
        assert memory.asked == []


def test_a_login_by_sasl_is_still_told() -> None:
    """The sign-on of an ordinary login names the mechanism; the features that follow offer management."""
    both = Pair(SharedMemory(100)).signed()
    (event,) = [event for frame in both.seen for event in frame.events]
    assert isinstance(event, SignOn)
    assert event.mechanism == "SCRAM-SHA-1"
    assert SASL.encode() in b"".join(both.got[UP])


class End:
    """A client or a server that manages its stream as XEP-0198 has it: it keeps what is not acknowledged, and sends it
    again on another connection."""

    def __init__(self, out: Way) -> None:
        self.out = out
        self.unacked: deque[tuple[str, str]] = deque()
        self.acked = 0
        self.handled = 0
        self.received: list[str] = []
        self.read = 0
        """Units of this connection that have reached it."""

    def acknowledged(self, count: int) -> None:
        """The other side says that it has so many: neither fewer than before nor more than were sent."""
        assert self.acked <= count <= self.acked + len(self.unacked), (self.acked, count, len(self.unacked))
        for _ in range(count - self.acked):
            self.unacked.popleft()
        self.acked = count

    def take(self, unit: bytes) -> None:
        if unit.startswith(b"<a "):
            self.acknowledged(said(unit))
        elif unit.startswith((b"<message", b"<iq", b"<presence")):
            self.handled += 1
            found = re.search(rb" id='([ud]\d+)' type='chat'", unit)
            if found is not None:
                self.received.append(found[1].decode())


class Line:
    """A client and a server that lose their connection now and then, and the gateway between them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.memory = SharedMemory(100)
        self.ends = (End(UP), End(DOWN))
        """The client, the server."""
        self.verdicts: dict[str, Verdict] = {}
        self.number = 0
        self.connections = 0
        self.pair = Pair(self.memory).signed().enabled()
        self.read_all()

    def read_all(self) -> None:
        """What has been sent so far is no stanza of the managed session."""
        for end in self.ends:
            end.read = len(self.pair.got[end.out.other])

    def write(self, end: End) -> None:
        """A new message of one end."""
        self.number += 1
        name = f"{'ud'[end.out]}{self.number}"
        self.verdicts[name] = self.random.choice((PASSED, PASSED, BLOCK, SILENT, WARN, REDACT))
        end.unacked.append((name, chat(end.out, self.number)))
        self.send(end, *end.unacked[-1])

    def send(self, end: End, name: str, unit: str) -> None:
        self.pair.feed(end.out, unit, self.verdicts[name])

    def arrive(self, end: End) -> None:
        """One unit reaches an end."""
        got = self.pair.got[end.out.other]
        if end.read < len(got):
            end.read += 1
            end.take(got[end.read - 1])

    def settle(self) -> None:
        """Everything is decided and arrives."""
        for way in (UP, DOWN):
            while self.pair.queues[way]:
                self.pair.step(way)
        for end in self.ends:
            while end.read < len(self.pair.got[end.out.other]):
                self.arrive(end)

    def lose(self) -> None:
        """The connection goes, with all that is on it; another one goes on with the session."""
        client, server = self.ends
        self.connections += 1
        if self.random.random() < 0.5:
            self.pair.dec.feed(Chunk(UP, self.pair.at, b"", 0, True))
        at = self.pair.at
        self.pair = Pair(self.memory, number=self.connections)
        self.pair.at = at
        for way, data in login()[:8]:
            self.pair.say(way, data)
        asked = self.pair.say(UP, f"<resume xmlns='{SM}' h='{client.handled}' previd='id-1'/>")[0]
        server.acknowledged(said(asked))
        told = self.pair.say(DOWN, f"<resumed xmlns='{SM}' h='{server.handled}' previd='id-1'/>")[0]
        client.acknowledged(said(told))
        self.read_all()
        for end in self.ends:
            for name, unit in end.unacked:
                self.send(end, name, unit)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_nothing_is_lost_or_doubled_over_lost_connections(seed: int) -> None:
    """Messages both ways, refused, masked and passed; notices; acknowledgements; connections lost with what was on
    them, and resumed. In the end each message that may pass has arrived once, none that was refused has, and nobody
    was told of more, or less than before, than he had sent."""
    random = Random(seed)
    line = Line(random)
    for _ in range(60):
        end = random.choice(line.ends)
        match random.randrange(12):
            case 0 | 1 | 2 | 3:
                line.write(end)
            case 4 | 5:
                if line.pair.queues[end.out]:
                    line.pair.step(end.out)
            case 6 | 7 | 8:
                line.arrive(end)
            case 9:
                line.pair.feed(end.out, ack(end.handled))
            case 10:
                line.pair.take(line.pair.dec.inject(Notice("a word of ours"), DOWN))
            case _:
                if random.random() < 0.4:
                    line.lose()
    line.settle()
    line.lose()
    line.settle()
    for end, other in (line.ends, line.ends[::-1]):
        line.pair.say(other.out, ack(other.handled))
        line.settle()
        assert not end.unacked
        passed = [name for name, verdict in line.verdicts.items()
                  if name.startswith("ud"[end.out]) and verdict.action < Action.BLOCK]
        assert sorted(other.received) == sorted(passed)
