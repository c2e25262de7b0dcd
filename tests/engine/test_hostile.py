"""Attacks on the engine: what a hostile peer would try, played through whole sessions."""

from __future__ import annotations

import msgspec

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Act,
    Address,
    Chunk,
    Closed,
    Effect,
    Frame,
    Input,
    Kept,
    Limits,
    Note,
    Rules,
    Send,
    StartTls,
    Way,
    Woke,
)
from inspector.protocols.registry import SPECS
from tests.engine.test_session import signed_on
from tests.engine.toy import FLOW, TOY, ToyDecoder, ToyPolicy, ToyScanner, toy_kit, toy_session
from tests.playbook import START, Play, down, up

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" %s='example.com' version='1.0'%s>"
)


class Live:
    """A session of the real protocols, with the toy policy and scanner."""

    def __init__(self, port: int, **kit: object) -> None:
        flow = msgspec.structs.replace(FLOW, server=Address("192.0.2.1", port))
        self.kit = Kit(classifier(SPECS), Rules(1, ToyPolicy(), ToyScanner()), Limits())
        for name, value in kit.items():
            setattr(self.kit, name, value)
        self.world = World(self.kit.limits)
        self.session = Session(flow, self.kit, self.world)
        self.effects: list[Effect] = []

    def step(self, given: Input) -> list[Effect]:
        """One input; durable rows are on disk at once."""
        effects = list(self.session.step(given, self.world))
        for effect in tuple(effects):
            if isinstance(effect, Note) and effect.durable:
                effects += self.step(Kept(effect.id, START))
        self.effects += effects
        return effects

    def up(self, data: bytes, at: float = START) -> list[Effect]:
        return self.step(Chunk(UP, at, data))

    def down(self, data: bytes, at: float = START) -> list[Effect]:
        return self.step(Chunk(DOWN, at, data))

    def rows(self, event: str) -> list[dict[str, object]]:
        return [e.row for e in self.effects if isinstance(e, Note) and e.row["event"] == event]


def sent(effects: list[Effect], way: Way) -> bytes:
    return b"".join(e.data for e in effects if isinstance(e, Send) and e.way is way)


def irc(port: int = 6667) -> Live:
    live = Live(port)
    live.up(b"NICK alice\r\nUSER alice 0 * :Alice\r\n")
    live.down(b":irc.example.net 001 alice :Welcome\r\n")
    return live


# -- recognising


def test_a_stream_header_with_irc_lines_in_an_attribute_is_not_taken_for_irc() -> None:
    """Line feeds are legal in XML attributes: IRC commands there, the header cut behind them, must not choose the
    decoder, on no port."""
    for port in (5222, 4711):
        live = Live(port)
        whole = HEADER % (b"to", b" x='\nNICK abc\nUSER a b c :d\n'")
        cut = whole.index(b"d\n'") + 2
        live.up(whole[:cut])
        live.up(whole[cut:])
        assert live.session.context.protocol == "xmpp", port


def test_irc_behind_half_a_stream_header_is_recognised_by_the_answer() -> None:
    """IRC servers skip lines they do not know: a line that looks like XML in front must not free an IRC session."""
    live = Live(4711)
    live.up(b"<?xml version='1.0'\r\nNICK alice\r\nUSER alice 0 * :Alice\r\n")
    live.step(Woke(START + 2))
    live.down(b":irc.example.net 001 alice :Welcome\r\n", START + 3)
    assert live.session.context.protocol == "irc"
    assert b"block" not in sent(live.up(b"PRIVMSG bob :block this\r\n", START + 4), UP)


def test_a_stream_header_in_no_hurry_is_recognised_by_the_answer() -> None:
    """A header that ends only when nothing is withheld any more is still one: the answer says so."""
    live = Live(4711)
    whole = HEADER % (b"to", b" x='\nNICK abc\nUSER a b c :d\n'")
    live.up(whole[:-1])
    live.step(Woke(START + 2))
    live.up(whole[-1:], START + 3)
    live.down(HEADER % (b"from", b""), START + 3)
    assert live.session.context.protocol == "xmpp"


# -- queues


def test_many_small_units_that_wait_count_for_more_than_their_bytes() -> None:
    """A queue of tiny frames costs memory by their number: the driver must hear of it and stop reading that way."""
    limits = Limits()
    play = signed_on()
    play >> up(b"SAY bob block\n")
    play << play.last
    for _ in range(8):
        play >> up(b"\n" * (limits.waiting_frames // 4)) << []
    assert play.session.queued(UP) > limits.way_bytes
    play >> Kept(play.durable, START)
    play << play.last
    assert play.session.queued(UP) == 0


def test_a_row_that_cannot_be_written_stops_every_unit_of_a_group() -> None:
    """A masked message over several units whose row failed is refused whole, not only its first unit."""
    for how in ("answer", "silence"):
        play = signed_on()
        play >> up(b"PART g1 bob one\n") << []
        play >> up(b"PART g1 bob two\n") << []
        play >> up(b"DONE g1 bob mask the secret\n")
        play << play.last
        late = START + Limits().store_seconds + 1
        play >> (Kept(play.durable, START, False) if how == "answer" else Woke(late))
        assert sent(play.last, UP) == b"", how
        play << play.last
        play >> up(b"SAY bob hello\n", late) << Send(UP, b"SAY bob hello\n")


def test_nothing_is_said_to_a_side_that_has_its_end() -> None:
    """After the half-close of a way no notice goes out that way: writing there would be an error of ours."""
    play = signed_on()
    play >> Closed(DOWN, START)
    play << play.last
    play >> up(b"SAY bob warn\n")
    assert sent(play.last, DOWN) == b"" and sent(play.last, UP) == b"SAY bob warn\n"
    play << play.last
    play >> up(b"SAY bob cut\n")
    play << play.last
    play >> Kept(play.durable, START)
    assert sent(play.last, DOWN) == b""
    play << play.last


class _Serverless(ToyDecoder):
    """Toy protocol in which the sender's first words say who he is."""

    def _frame(self, chunk: Chunk, line: bytes, end: bytes) -> Frame:
        frame = super()._frame(chunk, line, end)
        if frame.kind == "toy.SAY" and not self.signed:
            me = super()._frame(chunk, b"ME alice", b"")
            return msgspec.structs.replace(frame, events=(*me.events, *frame.events))
        return frame

    def apply(self, frame: Frame, verdicts: object) -> list[Act]:
        return [Send(frame.way, frame.raw)]


def test_a_message_that_brings_its_own_sign_on_does_not_wait_for_one() -> None:
    """Serverless streams: the first message says who its sender is; half a minute of silence would follow otherwise."""
    kit = toy_kit()
    spec = msgspec.structs.replace(TOY, decoder=_Serverless)
    kit.classify = classifier((spec,))
    play = Play(*toy_session(kit))
    play >> up(b"HELLO \nSAY bob hi\n")
    assert sent(play.last, UP) == b"HELLO \nSAY bob hi\n"
    play << play.last
    assert play.session.context.user == "alice"


def test_after_a_fault_let_pass_the_other_way_keeps_its_bytes() -> None:
    """A new decoder takes over after broken bytes; half a unit that the old one held of the other way is not lost, and
    is read when its other half comes."""
    live = Live(5222)
    live.kit.rules = Rules(1, ToyPolicy(trouble={"malformed": "pass"}), ToyScanner())
    live.up(HEADER % (b"to", b""))
    live.down(HEADER % (b"from", b""))
    live.down(b"<message from='bob@example.com' to='alice@example.com/desk'><body>bl")
    broken = live.up(b"<!-- no -->")
    assert sent(broken, UP) == b"<!-- no -->" and sent(broken, DOWN) == b""
    assert sent(live.down(b"ock it</body></message>"), DOWN) == b""
    whole = b"<message from='bob@example.com' to='alice@example.com/desk'><body>hi</body></message>"
    assert sent(live.down(whole), DOWN) == whole


def test_the_first_bytes_of_a_silent_stranger_are_forgotten() -> None:
    """What is not recognised within its time gives back the memory of its first bytes, though nothing more comes."""
    limits = Limits()
    play = Play(*toy_session())
    play >> up(b"junk\n" * 1000)
    play << play.last
    assert not play.session.settled and play.wake is not None
    play >> Woke(START + limits.probe_seconds + 1)
    play << play.last
    assert play.session.settled


def test_the_end_of_one_session_leaves_the_users_others_known() -> None:
    """A user with two sessions stays signed on when one ends."""
    play = signed_on()
    other = Session(msgspec.structs.replace(FLOW, id="f2"), toy_kit(), play.world)
    signed_on(Play(other, play.world))
    play >> Closed(UP, START)
    play << play.last
    play >> Closed(DOWN, START)
    play << play.last
    assert play.world.users.get("alice", START + 500) == ("f2",)


# -- STARTTLS


def test_starttls_answered_behind_another_numeric_is_still_opened() -> None:
    """A command in front of STARTTLS is answered first: that answer must not make us miss the 670."""
    live = Live(6667)
    live.up(b"NICK alice\r\nUSERHOST x\r\nSTARTTLS\r\n")
    live.down(b":irc.example.net 451 * :Register first\r\n")
    effects = live.down(b":irc.example.net 670 * :STARTTLS successful\r\n")
    assert any(isinstance(e, StartTls) for e in effects)
    assert b"670" not in sent(effects, DOWN)


# -- before the sign-on


def test_a_half_close_does_not_free_what_waits_for_the_sign_on() -> None:
    """A client that pipelines all it has to say and closes its side is judged with the user that the server names."""
    play = Play(*toy_session())
    play >> up(b"HELLO alice\nSAY bob hi\n") << Send(UP, b"HELLO alice\n")
    play >> Closed(UP, START) << []
    play >> down(b"ME alice\n")
    assert sent(play.last, UP) == b"SAY bob hi\n"
    assert any(isinstance(e, Note) and e.row["event"] == "sign_on" for e in play.last)
    play << play.last


def test_a_message_in_front_of_the_login_does_not_free_the_one_behind_it() -> None:
    """When the time for the first message is over, what stands behind the login that it held up waits anew."""
    play = Play(*toy_session())
    limits = Limits()
    play >> up(b"HELLO \nSAY bob first\nHELLO alice\nSAY bob second\n") << Send(UP, b"HELLO \n")
    late = START + limits.sign_on_seconds + 1
    play >> Woke(late)
    assert sent(play.last, UP) == b"SAY bob first\nHELLO alice\n"
    play << play.last
    play >> up(b"SAY bob third\n", late + 1)
    assert sent(play.last, UP) == b""
    play << play.last
    play >> down(b"ME alice\n", late + 2)
    assert sent(play.last, UP) == b"SAY bob second\nSAY bob third\n"
    play << play.last


# -- rows


class _Twice(ToyDecoder):
    """Toy protocol in which a line has two events: `SAY to text` and a second text behind a bar."""

    def _frame(self, chunk: Chunk, line: bytes, end: bytes) -> Frame:
        frame = super()._frame(chunk, line.partition(b"|")[0], b"")
        if b"|" not in line:
            return msgspec.structs.replace(frame, raw=line + end)
        second = self._message(b"bob " + line.partition(b"|")[2])
        return msgspec.structs.replace(frame, raw=line + end, events=(*frame.events, second), units=(0, 0))


def test_rows_say_what_came_of_an_event_that_went_with_a_refused_one() -> None:
    """Two events of one unit, one refused: the other was not delivered either, whatever its own rule said."""
    kit = toy_kit(archive="full")
    kit.classify = classifier((msgspec.structs.replace(TOY, decoder=_Twice),))
    for text, wanted in (("block|warn", ["block", "block"]), ("hello|block", ["block", "block"]),
                         ("cut|hello", ["cut", "cut"]), ("hello|warn", ["pass", "warn"])):
        play = signed_on(Play(*toy_session(kit)))
        play >> up(f"SAY bob {text}\n".encode())
        assert [e.row["did"] for e in play.last if isinstance(e, Note) and e.row["event"] == "verdict"] == wanted
        play << play.last


def test_an_archived_message_with_a_finding_says_what_a_mask_has_to_cover() -> None:
    """`privacy.text: masked` covers findings of messages that pass, too."""
    play = signed_on(Play(*toy_session(toy_kit(archive="full"))))
    play >> up(b"SAY bob the secret here\n")
    (row,) = [e.row for e in play.last if isinstance(e, Note) and e.row["event"] == "message"]
    assert row["spans"] == [(0, 4, 10)]
    play << play.last


def test_a_policy_that_only_watches_ends_no_session() -> None:
    """`enforce: false`: trouble is told, and nothing is done; what is our own safety (injection) still cuts."""
    kit = toy_kit(ToyPolicy(enforce=False, trouble={"malformed": "cut", "unclassified": "cut", "gap": "cut"}))
    play = signed_on(Play(*toy_session(kit)))
    play >> up(b"BAD\n")
    assert sent(play.last, UP) == b"BAD\n" and not play.session.over
    play << play.last
    play >> up(b"PART g bob one\n") << []
    play >> Woke(START + Limits().group_seconds + 1)
    assert sent(play.last, UP) == b"PART g bob one\n" and not play.session.over
    play << play.last
    other = Play(*toy_session(kit, named_im=True))
    other >> up(b"who are you\n") << []
    other >> Woke(START + 2)
    assert sent(other.last, UP) == b"who are you\n"
    other << other.last


def test_the_world_keeps_no_name_of_a_peers_making() -> None:
    """Names as long as a stanza, remembered for each of thousands of messages, would be gigabytes."""
    play = signed_on()
    play >> up(b"SAY " + b"b" * 200_000 + b" hi\n")
    play << play.last
    play >> up(b"SAY bob hello\n") << Send(UP, b"SAY bob hello\n")
    assert len(play.world.legs) == 1


def test_a_ctcp_word_to_a_person_waits_for_the_sign_on() -> None:
    """A server may relay a NOTICE before registration: what is for a person is judged with its user."""
    from inspector.model import Opaque

    event = Opaque(kind="ctcp.foo", recipients=("bob",), texts=(), personal=True)
    session, _ = toy_session()
    assert session._must_sign(event, UP)
    assert not session._must_sign(Opaque(kind="register"), UP)
    assert not session._must_sign(event, DOWN)
