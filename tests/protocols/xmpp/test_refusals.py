"""XMPP: what becomes of a stanza that is refused, and what its sender is told."""

from __future__ import annotations

import pytest

from inspector.model import DOWN, PASSED, UP, Action, Cut, Verdict
from tests.protocols.test_xmpp import (
    CARBON,
    CHAT_DOWN,
    CHAT_UP,
    ERRORS,
    ME,
    ROOM,
    TALKS,
    C,
    block,
    decoder,
    login,
    one,
    play,
    root,
    sent,
    signed,
)


class TestRefusal:
    def test_a_refused_message_is_answered_with_its_own_id(self) -> None:
        """Nothing goes up; the sender gets <policy-violation/> from the address he wrote to, with the reference: in the
        error's text, and as a body, without which libpurple shows nobody the error."""
        dec = signed()
        acts = dec.apply(one(dec, UP, CHAT_UP), [block("No & <no>.\r\nReference R1.\0")])
        assert sent(acts, UP) == b""
        (answer,) = root(sent(acts, DOWN))
        assert (answer.tag, answer.get("type"), answer.get("id"), answer.get("from"), answer.get("to")) == (
            C + "message", "error", "m1", "bob@example.org/phone", ME,
        )
        body, error = answer
        assert (body.tag, body.text) == (C + "body", "No & <no>.  Reference R1.")
        assert (error.get("type"), error.get("by")) == ("modify", "example.com")
        assert [child.tag for child in error] == [ERRORS + "policy-violation", ERRORS + "text"]
        assert error[1].text == "No & <no>.  Reference R1."

    def test_no_id_no_notice(self) -> None:
        """Without an id the answer has none; without a notice nobody is told."""
        dec = signed()
        frame = one(dec, UP, "<message to='bob@example.org'><body>words</body></message>")
        (answer,) = root(sent(dec.apply(frame, [block()]), DOWN))
        assert answer.get("id") is None
        assert dec.apply(frame, [block(None)]) == []

    def test_a_bounce_goes_to_the_sender_of_a_chat_only(self) -> None:
        """A refused chat from outside is answered upstream; a room, a copy or an error never."""
        dec = signed()
        acts = dec.apply(one(dec, DOWN, CHAT_DOWN), [block()])
        (answer,) = root(sent(acts, UP))
        assert (answer.get("to"), answer.get("from"), answer.get("id")) == ("bob@example.org/phone", None, "q9")
        for stanza in (
            "<message from='r@rooms.example.com/bo' id='1' type='groupchat'><body>words</body></message>",
            CARBON,
        ):
            assert dec.apply(one(dec, DOWN, stanza), [block()]) == []

    @pytest.mark.parametrize(("index", "condition"), [
        (0, "not-allowed"), (2, "forbidden"), (3, "not-acceptable"), (5, "not-acceptable"), (6, "not-allowed"),
    ])
    def test_a_refused_request_is_always_answered(self, index: int, condition: str) -> None:
        """File offers by iq get the error their method's clients understand, with or without a notice."""
        way, data = TALKS["files-and-calls"][10 + index]
        dec = signed()
        for notice in ("No.", None):
            acts = dec.apply(one(dec, way, data), [block(notice)])
            assert sent(acts, UP) == b""
            (answer,) = root(sent(acts, DOWN))
            assert (answer.tag, answer.get("type")) == (C + "iq", "error")
            assert answer[0][0].tag == ERRORS + condition

    def test_a_refused_request_from_outside_is_answered_upstream(self) -> None:
        """An iq set from a peer is answered to the peer; the client never sees it."""
        dec = signed()
        acts = dec.apply(one(dec, DOWN, TALKS["files-and-calls"][-3][1]), [block(None)])
        assert sent(acts, DOWN) == b""
        (answer,) = root(sent(acts, UP))
        assert (answer.get("type"), answer.get("id"), answer.get("to")) == ("error", "o1", "bob@example.org/phone")

    def test_presence_loses_its_words_or_is_dropped(self) -> None:
        """Refused status words leave the presence; a refused presence is silent."""
        dec = signed()
        frame = one(dec, UP, TALKS["presence-and-contacts"][10][1])
        acts = dec.apply(frame, [PASSED, block(None)])
        assert b"lunch" not in sent(acts, UP)
        assert b"<show>away</show><priority>5</priority><c " in sent(acts, UP)
        assert dec.apply(frame, [block(None), PASSED]) == []

    def test_a_refused_join_is_answered(self) -> None:
        """Else the client would wait for the room for ever."""
        dec = signed()
        frame = one(dec, UP, f"<presence to='team@rooms.example.com/al'>{ROOM}</presence>")
        (answer,) = root(sent(dec.apply(frame, [block(None)]), DOWN))
        assert (answer.tag, answer.get("type"), answer.get("from")) == (
            C + "presence", "error", "team@rooms.example.com/al",
        )

    def test_a_warning_delivers_and_tells(self) -> None:
        """The message goes on untouched; the sender reads a headline of his server."""
        dec = signed()
        acts = dec.apply(one(dec, UP, CHAT_UP), [Verdict(Action.WARN, "r", notice="Careful.")])
        assert sent(acts, UP) == CHAT_UP.encode()
        (notice,) = root(sent(acts, DOWN))
        assert (notice.get("type"), notice.get("from"), notice.get("to")) == ("headline", "example.com", ME)
        assert notice.findtext(C + "body") == "Careful."

    def test_a_refused_sign_on_ends_the_session(self) -> None:
        """A bind result cannot be swallowed."""
        dec = decoder()
        frames = play(dec, login()[:-1])
        assert frames
        acts = dec.apply(one(dec, DOWN, login()[-1][1]), [block()])
        assert isinstance(acts[-1], Cut)
        assert b"policy-violation" in sent(acts, DOWN)
