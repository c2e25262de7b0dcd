"""XMPP in zlib streams (XEP-0138): the switch, what is done inside, and what ends a session.

How streams are read is tested in tests/wire/test_deflated.py, where the engine switches in tests/engine/test_coded.py.
"""

from __future__ import annotations

import base64
import functools
import re
import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.engine.world import SharedMemory
from inspector.model import DOWN, PASSED, UP, Address, Chunk, Cut, Flow, Hold, Limits, Recode, Released, Send, Tell, Way
from inspector.protocols.registry import BY_NAME
from inspector.protocols.xmpp import EDITS, SPEC, XmppDecoder
from tests.engine.toy import ToyPolicy
from tests.protocols.websocket_frames import HANDSHAKE, framed
from tests.protocols.xmpp.test_servers import BLOCK as REFUSED
from tests.protocols.xmpp.test_servers import Link
from tests.protocols.xmpp.test_servers import head as server_head
from tests.protocols.xmpp.test_servers import message as server_message
from tests.protocols.xmpp_talks import in_band, si_answer, si_offer
from tests.protocols.zlib_talks import (
    ANSWER,
    ASK,
    BOUND,
    COMPRESS,
    HEADS,
    LOGIN,
    ME,
    OFFER,
    OPEN,
    TLS,
    Peers,
    chat,
    features,
    head,
)

FAILED = f"<failure xmlns='{COMPRESS}'><setup-failed/></failure>"
UNSUPPORTED = f"<failure xmlns='{COMPRESS}'><unsupported-method/></failure>".encode()
DEFAULT = frozenset(edit.name for edit in EDITS if edit.default)


class TestTheSwitch:
    def test_by_default_it_is_not_offered_and_refused(self) -> None:
        """Nobody compresses where the operator has not let it stand."""
        both = Peers(DEFAULT).talk([*HEADS, *LOGIN])
        assert OFFER not in both.readers[DOWN].words.decode()
        assert both.say(UP, ASK) == b""
        assert both.readers[DOWN].words.endswith(UNSUPPORTED)
        assert both.say(UP, chat(UP, "still plain")) == b"", "nobody has signed on"

    def test_before_the_login_behind_it_and_behind_the_bind(self) -> None:
        """Wherever it is agreed on, what follows is read: the sign-on, and a refused message."""
        before = Peers().talk([*HEADS, (DOWN, features(OFFER))]).squeeze().talk([*HEADS, *LOGIN, *BOUND])
        behind = Peers().signed()
        bound = Peers().talk([*HEADS, *LOGIN, *BOUND]).squeeze().talk([*HEADS, (DOWN, features())])
        for both in (before, behind, bound):
            assert both.say(UP, chat(UP, "hello")) == chat(UP, "hello").encode()
            assert both.say(UP, chat(UP, "block this", "m2")) == b""
            assert b"Your message was not delivered" in both.readers[DOWN].words
            assert both.did() == ["block"]
            (row,) = [row for row in both.rows if row["event"] == "sign_on"]
            assert (row["user"], both.troubles()) == (ME, [])

    def test_behind_starttls(self) -> None:
        """TLS first (XEP-0170): then compression inside it."""
        both = Peers().talk([*HEADS, (DOWN, features(f"<starttls xmlns='{TLS}'/>", OFFER)),
                             (UP, f"<starttls xmlns='{TLS}'/>"), (DOWN, f"<proceed xmlns='{TLS}'/>")])
        both.talk([*HEADS, *LOGIN, (DOWN, features(OFFER))]).squeeze().talk([*HEADS, *BOUND])
        assert both.say(DOWN, chat(DOWN, "hi")) == chat(DOWN, "hi").encode()
        assert both.did() == []
        assert both.say(DOWN, chat(DOWN, "block")) == b""

    def test_no_tls_inside(self) -> None:
        """<starttls/> in a compressed stream is odd and goes on; a server that agrees to it ends the session."""
        both = Peers().talk([*HEADS, (DOWN, features(OFFER))]).squeeze().talk(HEADS)
        both.say(UP, f"<starttls xmlns='{TLS}'/>")
        both.say(DOWN, f"<proceed xmlns='{TLS}'/>")
        assert both.over
        assert [name for name, _ in both.troubles()] == ["malformed"]

    @pytest.mark.parametrize("behind", ["", head(DOWN), head(DOWN) + features("")])
    def test_what_the_server_says_behind_its_word_in_the_same_bytes(self, behind: str) -> None:
        """It is compressed already, and read so."""
        both = Peers().talk([*HEADS, *LOGIN, (DOWN, features(OFFER))]).squeeze(behind)
        assert both.troubles() == []
        assert both.say(UP, head(UP)) == head(UP).encode()

    def test_a_refusal_leaves_all_as_it_was(self) -> None:
        """<failure/>: both go on in plain, and may try again."""
        both = Peers().talk([*HEADS, *LOGIN, (DOWN, features(OFFER))])
        for _ in range(2):
            assert both.say(UP, ASK) == ASK.encode()
            assert both.say(DOWN, FAILED) == FAILED.encode()
        both.talk(BOUND)
        assert both.say(UP, chat(UP, "plain words")) == chat(UP, "plain words").encode()
        both.squeeze().talk(HEADS)
        assert both.say(UP, chat(UP, "pressed words")) == chat(UP, "pressed words").encode()
        assert both.troubles() == []

    @pytest.mark.parametrize("ask", [
        f"<compress xmlns='{COMPRESS}'><method>lzw</method></compress>", f"<compress xmlns='{COMPRESS}'/>",
        f"<compress xmlns='{COMPRESS}'><method>zlib</method><method>lzw</method></compress>",
        f"<compress xmlns='{COMPRESS}'><method>ZLIB</method></compress>",
    ], ids=["lzw", "none", "two", "capitals"])
    def test_another_method_is_refused(self, ask: str) -> None:
        """One that we cannot read is not asked for; zlib may be asked for then."""
        both = Peers().talk([*HEADS, *LOGIN, (DOWN, features(OFFER))])
        assert both.say(UP, ask) == b""
        assert both.readers[DOWN].words.endswith(UNSUPPORTED)
        both.squeeze().talk([*HEADS, *BOUND])
        assert both.say(UP, chat(UP, "x")) == chat(UP, "x").encode()

    def test_what_is_compressed_is_not_compressed_again(self) -> None:
        """A second <compress/> is refused."""
        both = Peers().signed()
        assert both.say(UP, ASK) == b""
        assert both.readers[DOWN].words.endswith(UNSUPPORTED)
        assert both.say(UP, chat(UP, "x")) == chat(UP, "x").encode()

    @pytest.mark.parametrize("more", [" ", "\n", chat(UP, "x"), "\x78\x9c", ASK, "</stream:stream>"])
    @pytest.mark.parametrize("cut", [False, True])
    def test_nothing_may_stand_behind_the_question(self, more: str, cut: bool) -> None:
        """It could be read in two ways: as it stands, or compressed. The server gets nothing of it."""
        both = Peers().talk([*HEADS, *LOGIN, *BOUND])
        before = len(both.readers[UP].words)
        if cut:
            both.say(UP, ASK)
            both.say(UP, more)
        else:
            both.say(UP, ASK + more)
        assert both.over
        assert [name for name, _ in both.troubles()] == ["injection"]
        assert both.readers[UP].words[before:] in (ASK.encode(), ASK.encode() + b"</stream:stream>")

    def test_compressed_that_nobody_asked_for(self) -> None:
        """Nothing behind it is read, and it is said: what it is nobody has agreed on."""
        both = Peers(policy=ToyPolicy(trouble={"undecryptable": "cut"})).talk([*HEADS, *LOGIN])
        both.say(DOWN, ANSWER)
        assert both.troubles() == [("undecryptable", "compression (XEP-0138)")]
        assert both.over

    def test_a_stream_of_clients_does_not_become_one_of_servers(self) -> None:
        """The new stream inside is of the same kind."""
        both = Peers().talk([*HEADS, *LOGIN, *BOUND]).squeeze()
        both.say(UP, head(UP, "jabber:server"))
        assert both.over
        assert [name for name, _ in both.troubles()] == ["malformed"]

    def test_not_inside_a_carrier(self) -> None:
        """In a WebSocket nobody could tell where the compressed part begins: the session ends."""
        spec = BY_NAME["xmpp_websocket"]
        dec = spec.decoder(Flow("f", Address("10.0.0.1", 1), Address("192.0.2.1", 80), opened=0.0), Limits(),
                           SharedMemory(10), OPEN)
        acts: list[object] = []
        said = [(way, text.encode()) for way, text in [*HEADS, *LOGIN, (DOWN, features(OFFER)), (UP, ASK),
                                                       (DOWN, ANSWER)]]
        for way, data in [*HANDSHAKE, *framed(said)]:
            for frame in dec.feed(Chunk(way, 1.0, data)):
                acts = list(dec.apply(frame, [PASSED] * len(frame.events)))
        assert any(isinstance(act, Cut) for act in acts)
        assert not any(isinstance(act, Recode) for act in acts)

    def test_nothing_of_ours_is_said_while_it_is_agreed_on(self) -> None:
        """Between question and answer, and before the new stream is open, there is no place for words of ours."""
        dec = XmppDecoder(Flow("f", Address("10.0.0.1", 1), Address("192.0.2.1", 5222), opened=0.0), Limits(),
                          SharedMemory(10), OPEN)

        def say(way: Way, text: str) -> list[object]:
            acts: list[object] = []
            for frame in dec.feed(Chunk(way, 1.0, text.encode())):
                acts += dec.apply(frame, [PASSED] * len(frame.events))
            return acts

        for way, text in [*HEADS, *LOGIN, *BOUND]:
            say(way, text)
        assert dec.ready(UP)
        assert dec.ready(DOWN)
        say(UP, ASK)
        assert not dec.ready(UP)
        assert not dec.ready(DOWN)
        acts = say(DOWN, ANSWER)
        assert isinstance(acts[0], Send)
        assert isinstance(acts[1], Recode)
        taken = dec.recoded()
        assert taken is not None
        assert taken[0] is acts[1].coding
        assert not dec.ready(UP)
        assert not dec.ready(DOWN)
        assert dec.recoded() is None
        for way, text in HEADS:
            say(way, text)
        assert dec.ready(UP)
        assert dec.ready(DOWN)


class TestInside:
    def test_masked_warned_replaced(self) -> None:
        """What the plain session does is done, and both streams stay whole."""
        both = Peers().signed()
        assert both.say(UP, chat(UP, "mask the secret of it")) == chat(UP, "mask the ****** of it").encode()
        assert both.say(UP, chat(UP, "warn me", "m2")) == chat(UP, "warn me", "m2").encode()
        assert b"but it is against company policy" in both.readers[DOWN].words
        assert both.say(DOWN, chat(DOWN, "mask secret", "d1")) == chat(DOWN, "mask ******", "d1").encode()
        assert both.say(UP, chat(UP, "still here", "m3")) == chat(UP, "still here", "m3").encode()
        assert both.did() == ["redact", "warn", "redact"]

    def test_a_cut_is_polite(self) -> None:
        """The client reads why, in his stream; the server gets the end of its own."""
        both = Peers().signed()
        both.say(UP, chat(UP, "cut here"))
        assert both.over
        assert b"<policy-violation" in both.readers[DOWN].words
        assert both.readers[DOWN].words.endswith(b"</stream:stream>")
        assert both.readers[UP].words.endswith(b"</stream:stream>")

    def test_held_and_released_in_another_compressed_session(self) -> None:
        """What is held is kept in plain, and goes out in any session of his, compressed or not."""
        both = Peers().signed()
        assert both.say(UP, chat(UP, "hold this")) == b""
        assert b"waits for review" in both.readers[DOWN].words
        (hold,) = [effect for effect in both.effects if isinstance(effect, Hold)]
        assert b"hold this" in hold.held.raw
        other = Peers(world=both.world, number=1).signed()
        for each in (other, both):
            before = len(each.readers[UP].words)
            each.step(Released(each.at, hold.held))
            assert b"hold this" in each.readers[UP].words[before:]
            assert each.say(UP, chat(UP, "on", "m9")) == chat(UP, "on", "m9").encode()

    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_an_in_band_file(self, way: Way) -> None:
        """Held until it is judged, and handed over whole."""

        class Spooling(ToyPolicy):
            def file_mode(self, *_: object) -> str:  # type: ignore[override]
                return "spool"

        both = Peers(policy=Spooling()).signed()
        content = bytes(range(256)) * 40
        ends = {UP: "to='bob@example.org/phone'", DOWN: f"from='bob@example.org/phone' to='{ME}'"}
        both.say(way, f"<iq {ends[way]} type='set' id='o1'>{si_offer('s1', 'list.txt', len(content))}</iq>")
        both.say(way.other, f"<iq {ends[way.other]} type='result' id='o1'>{si_answer()}</iq>")
        said = in_band(way, "s1", content, 1000)
        before = len(both.readers[way].words)
        for side, text in said:
            both.say(side, text)
        blocks = both.readers[way].words[before:].decode().split("</data>")[:-1]
        assert b"".join(base64.b64decode(block.rpartition(">")[2]) for block in blocks) == content
        assert both.troubles() == []
        assert both.say(way, chat(way, "on", "m9")) == chat(way, "on", "m9").encode()

    def test_stanzas_are_counted_inside(self) -> None:
        """Stream management (XEP-0198): a refused message is acknowledged as its writer counts."""
        sm = "urn:xmpp:sm:3"
        both = Peers().signed()
        both.talk([(UP, f"<enable xmlns='{sm}'/>"), (DOWN, f"<enabled xmlns='{sm}'/>"), (UP, chat(UP, "one")),
                   (UP, chat(UP, "block two")), (UP, chat(UP, "three")), (UP, f"<r xmlns='{sm}'/>")])
        assert both.say(DOWN, f"<a xmlns='{sm}' h='2'/>").decode() == f"<a xmlns='{sm}' h='3'/>"

    def test_a_plain_session_is_resumed_in_a_compressed_one(self) -> None:
        """A session is its own, whatever carries it."""
        sm = "urn:xmpp:sm:3"
        one = Peers().talk([*HEADS, *LOGIN, *BOUND])
        one.talk([
            (UP, f"<enable xmlns='{sm}' resume='true'/>"), (DOWN, f"<enabled xmlns='{sm}' id='i' resume='true'/>"),
            (UP, chat(UP, "one")), (UP, chat(UP, "block two"))])
        two = Peers(world=one.world, number=1).talk([*HEADS, *LOGIN, (DOWN, features(OFFER))]).squeeze()
        two.talk([*HEADS, (DOWN, features(f"<sm xmlns='{sm}'/>")), (UP, f"<resume xmlns='{sm}' h='0' previd='i'/>")])
        assert two.say(DOWN, f"<resumed xmlns='{sm}' h='1' previd='i'/>").decode() == (
            f"<resumed xmlns='{sm}' h='2' previd='i'/>")
        assert two.say(UP, chat(UP, "three")) == chat(UP, "three").encode()

    def test_between_servers(self) -> None:
        """Compressed, then dialback inside; a refused message, and the domain that proved itself."""
        both = Peers(port=5269).talk([
            (UP, server_head(UP)), (DOWN, server_head(DOWN)), (DOWN, features(OFFER))]).squeeze()
        both.talk([
            (UP, server_head(UP)), (DOWN, server_head(DOWN)), (DOWN, features()),
            (UP, "<db:result from='a.example' to='b.example'>key</db:result>"),
            (DOWN, "<db:result from='b.example' to='a.example' type='valid'/>")])
        said = "<message from='x@a.example' to='y@b.example' id='1' type='chat'><body>{}</body></message>"
        assert both.say(UP, said.format("words")) == said.format("words").encode()
        assert both.say(UP, said.format("block words")) == b""
        assert both.did() == ["block"]
        (row,) = [row for row in both.rows if row["event"] == "sign_on"]
        assert (row["user"], row["identity"]) == ("a.example", "authenticated")

    def test_what_servers_leave_for_each_other_waits_for_the_new_stream(self) -> None:
        """A notice that was left for a stream is said in it, but not between the question and the new header."""
        memory = SharedMemory(100)
        back = Link(memory, "b.example", "a.example", name="f2", edits=OPEN).proven()
        there = Link(memory, name="f1", edits=OPEN).proven()
        there.say(UP, server_message(), REFUSED)
        (told,) = there.acts
        assert isinstance(told, Tell)
        back.say(DOWN, features(OFFER))
        back.say(UP, ASK)
        assert back.sent(UP) == ASK.encode()
        assert back.dec.inject(told.notice, DOWN) == []
        back.say(DOWN, ANSWER)
        assert back.sent(UP) == b""
        assert back.dec.recoded() is not None
        header = server_head(UP, "b.example", "a.example")
        back.say(UP, header)
        assert back.sent(UP).startswith(header.encode())
        assert b"Reference R1" in back.sent(UP)

    def test_the_end(self) -> None:
        """Both close: the streams' ends arrive, and the session is over."""
        both = Peers().signed()
        assert both.say(UP, "</stream:stream>", zlib.Z_FINISH) == b"</stream:stream>"
        assert both.say(DOWN, "</stream:stream>", zlib.Z_FINISH) == b"</stream:stream>"
        assert both.troubles() == []

    def test_a_fault_of_the_words_that_is_let_pass(self) -> None:
        """The policy lets malformed words pass: they do, pressed, and what follows is still judged."""
        both = Peers(policy=ToyPolicy(trouble={"malformed": "pass"})).signed()
        bad = "<message><body>&nope;</body></message>"
        assert both.say(DOWN, bad) == bad.encode()
        assert both.say(DOWN, chat(DOWN, "good")) == chat(DOWN, "good").encode()
        assert both.say(DOWN, chat(DOWN, "block it")) == b""


CONVERSATION: list[tuple[Way, str]] = [
    (UP, "<presence/>"), (UP, chat(UP, "hello")), (DOWN, chat(DOWN, "hello yourself", "d1")), (UP, " "),
    (UP, chat(UP, "block this")), (DOWN, "\n"), (DOWN, chat(DOWN, "mask a secret", "d2") + chat(DOWN, "more", "d3")),
    (UP, chat(UP, "warn of this", "m4")), (DOWN, chat(DOWN, "block that", "d4")), (UP, chat(UP, "ü" * 300, "m5")),
    (UP, "</stream:stream>"), (DOWN, "</stream:stream>"),
]


@functools.cache
def plainly() -> tuple[bytes, bytes, tuple[object, ...]]:
    """What both ends read, and the rows, where nobody compresses: a new stream begins at the same place."""
    both = Peers().talk([*HEADS, *LOGIN, (DOWN, features(OFFER)), (UP, ASK), (DOWN, FAILED)])
    marks = [len(both.readers[way].words) for way in (UP, DOWN)]
    both.talk([*HEADS, *BOUND, *CONVERSATION])
    up, down = (both.readers[way].words[marks[way]:] for way in (UP, DOWN))
    return up, down, told(both)


def unnumbered(words: bytes) -> bytes:
    """Without references, which count the rows of a session, and ids of ours."""
    return re.sub(rb"Reference [A-Z2-7]{4}-[A-Z2-7]{4}", b"Reference", words)


def told(both: Peers) -> tuple[object, ...]:
    """What the rows say of messages."""
    kept = ("event", "text", "did", "rule", "action", "sender")
    return tuple(tuple(row.get(name) for name in kept) for row in both.rows if row["event"] in ("message", "verdict"))


FLUSHES = (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_BLOCK, zlib.Z_NO_FLUSH)


class TestOneReading:
    def test_a_plain_conversation_to_compare_with(self) -> None:
        """It refuses, masks and warns."""
        up, down, rows = plainly()
        assert up.count(b"<message") == 3
        assert b"mask a ******" in down
        assert len(rows) == 8

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 64])
    @pytest.mark.parametrize("level", [0, 6])
    def test_in_pieces_of_any_size(self, size: int, level: int) -> None:
        """Both ends read what they would have read without compression, and the log says the same. (The server does not
        wait for the client's header: its own begins in the bytes of its word.)"""
        both = Peers().talk([*HEADS, *LOGIN, (DOWN, features(OFFER)), (UP, ASK)])
        both.begin(level)
        (_, up), (_, down), *rest = ((way, both.pressed(way, text)) for way, text in [*HEADS, *BOUND, *CONVERSATION])
        both.feed(DOWN, ANSWER.encode() + down[:7])
        for way, data in [(UP, up), (DOWN, down[7:]), *rest]:
            for at in range(0, len(data), size):
                both.feed(way, data[at:at + size])
        self.same(both)

    @settings(max_examples=60)
    @given(seed=st.integers(0, 2**32))
    def test_any_style_of_flush_and_any_cut(self, seed: int) -> None:
        """Sync, full, partial, block flushes and none at all, several levels, random pieces."""
        chance = Random(seed)
        both = Peers().talk([*HEADS, *LOGIN, (DOWN, features(OFFER)), (UP, ASK)])
        both.deflate = {way: zlib.compressobj(chance.choice((0, 1, 6, 9)), zlib.DEFLATED, chance.randint(9, 15))
                        for way in (UP, DOWN)}
        both.feed(DOWN, ANSWER.encode())
        talk = [*HEADS, *BOUND, *CONVERSATION]
        for index, (way, text) in enumerate(talk):
            # One who waits for an answer has flushed his question.
            last = index + 1 == len(talk) or talk[index + 1][0] is not way
            data = both.pressed(way, text, zlib.Z_SYNC_FLUSH if last else chance.choice(FLUSHES))
            while data:
                size = chance.choice((1, 4, 30, 1000))
                both.feed(way, data[:size])
                data = data[size:]
        self.same(both)

    @staticmethod
    def same(both: Peers) -> None:
        up, down, rows = plainly()
        assert both.troubles() == []
        assert both.readers[UP].words.endswith(ASK.encode() + up)
        assert unnumbered(both.readers[DOWN].words.partition(ANSWER.encode())[2]) == unnumbered(down)
        assert len(told(both)) == len(rows)
        assert told(both) == rows


BLOCK = b"\0\0\0\xff\xff"


class TestHostile:
    @pytest.mark.parametrize(("data", "name"), [
        (b"<message/>", "deflated_broken"), (b"\x07", "deflated_broken"), (BLOCK * 4000, "deflated_emptiness"),
        (b"\x03\x00" + bytes(4), "deflated_broken"),
    ], ids=["plain", "block-type-3", "flushes", "checksum"])
    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_a_broken_stream_ends_the_session(self, way: Way, data: bytes, name: str) -> None:
        """One row, whatever the policy wants; the client reads a stream error, the server the end of its stream."""
        both = Peers(policy=ToyPolicy(trouble={"malformed": "pass"})).signed()
        before = len(both.readers[UP].words)
        both.feed(way, data)
        assert both.over
        assert both.troubles() == [("malformed", f"xmpp.{name}")]
        assert both.readers[DOWN].words.endswith(b"</stream:error></stream:stream>")
        assert both.readers[UP].words[before:] == b"</stream:stream>"

    def test_a_second_stream_behind_the_first(self) -> None:
        """One reader goes on with it, another stops: nobody gets it."""
        both = Peers().signed()
        both.say(UP, chat(UP, "one"), zlib.Z_FINISH)
        both.feed(UP, zlib.compress(chat(UP, "two").encode()))
        assert both.over
        assert b"two" not in both.readers[UP].words
        assert both.troubles() == [("malformed", "xmpp.deflated_behind_end")]

    def test_a_dictionary(self) -> None:
        """Words that would be in a dictionary are nowhere to be read."""
        both = Peers().talk([*HEADS, *LOGIN, (DOWN, features(OFFER))]).squeeze()
        deflate = zlib.compressobj(zdict=head(UP).encode())
        both.feed(UP, deflate.compress(head(UP).encode()) + deflate.flush(zlib.Z_SYNC_FLUSH))
        assert both.over
        assert both.readers[UP].words.endswith(ASK.encode())

    @pytest.mark.parametrize("fill", [" ", chat(UP, "x" * 100), "<iq to='a' type='get' id='1'/>"])
    def test_a_bomb(self, fill: str) -> None:
        """No more is handed on than the limits allow, a piece a turn."""
        limits = Limits(deflated_burst_bytes=100_000, deflated_ratio=4)
        both = Peers(limits=limits).signed()
        bomb = both.pressed(UP, fill * ((2 << 20) // len(fill)))
        before = len(both.readers[UP].words)
        both.feed(UP, bomb)
        assert both.over
        assert both.troubles() == [("malformed", "xmpp.deflated_too_much")]
        assert len(both.readers[UP].words) - before < limits.deflated_burst_bytes + limits.deflated_ratio * len(bomb)
        sizes = [len(effect.data) for effect in both.effects if isinstance(effect, Send)]
        assert max(sizes) < limits.deflated_piece_bytes

    def test_a_stanza_without_end(self) -> None:
        """A stanza that is short on the wire and long inside is too big all the same."""
        both = Peers().signed()
        before = len(both.readers[UP].words)
        both.say(UP, "<message to='bob@example.org'><body>" + "a" * both.limits.xmpp_stanza_bytes)
        assert both.over
        assert [name for name, _ in both.troubles()] == ["malformed"]
        assert both.readers[UP].words[before:] == b"</stream:stream>"

    @settings(max_examples=100)
    @given(data=st.binary(max_size=300), way=st.sampled_from([UP, DOWN]), inside=st.booleans())
    def test_any_bytes(self, data: bytes, way: Way, inside: bool) -> None:
        """Any bytes, as a stream or as words inside one: at most one trouble, and both ends can read what they get."""
        both = Peers().signed()
        both.feed(way, both.pressed(way, data) if inside else data)
        assert len(both.troubles()) <= 1
        assert both.over is bool(both.troubles())

    def test_a_capture(self) -> None:
        """Offline the same words are told; nothing is sent."""
        both = Peers((), dry=True, archive="full").talk([*HEADS, *LOGIN, (UP, ASK)])
        both.begin()
        both.feed(DOWN, ANSWER.encode() + both.pressed(DOWN, ""))
        both.talk([*HEADS, *BOUND, *CONVERSATION])
        texts = [row["text"] for row in both.rows if row["event"] == "message"]
        assert texts == ["hello", "hello yourself", "block this", "mask a secret", "more", "warn of this", "block that",
                         "ü" * 300]
        assert both.troubles() == []
        assert not [effect for effect in both.effects if isinstance(effect, Send)]


def test_what_the_spec_says_of_it() -> None:
    """Streams of other methods are named as not decoded."""
    assert any("another method than zlib" in each for each in SPEC.not_decoded)
