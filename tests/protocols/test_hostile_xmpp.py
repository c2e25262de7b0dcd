"""Attacks on the XMPP decoder: words in odd places, borrowed names, stanzas that cost too much."""

from __future__ import annotations

import time

import pytest

from inspector.engine.world import SharedMemory
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Chunk,
    Cut,
    FileOffer,
    Frame,
    Limits,
    Message,
    Send,
    SignOn,
    Verdict,
    Way,
)
from inspector.protocols import xmpp
from inspector.protocols.xmpp import XmppDecoder
from tests.protocols.contract import flow
from tests.protocols.test_xmpp import ME, ON, login

BAD = "purple elephants"
BLOCK = Verdict(Action.BLOCK, "r", notice="No.")
REPLACE = Verdict(Action.BLOCK, "r", notice="No.", placeholder="removed")
FORWARDED = (
    "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='bob@example.org/p' to='{0}'>"
    "<body>{1}</body></message></forwarded>"
)


class Side:
    """A signed-on decoder."""

    def __init__(self) -> None:
        self.decoder = XmppDecoder(flow(xmpp.SPEC), Limits(), SharedMemory(100), ON)
        for way, data in login():
            for frame in self.feed(way, data):
                self.decoder.apply(frame, [PASSED] * len(frame.events))

    def feed(self, way: Way, data: str | bytes) -> list[Frame]:
        return self.decoder.feed(Chunk(way, 1.0, data if isinstance(data, bytes) else data.encode()))

    def one(self, way: Way, data: str) -> Frame:
        frames = self.feed(way, data)
        assert len(frames) == 1 and frames[0].fault is None, frames
        return frames[0]


def words(frame: Frame) -> str:
    return " | ".join(text.plain for event in frame.events for text in event.texts)


def sent(acts: list[Act], way: Way) -> str:
    return b"".join(act.data for act in acts if isinstance(act, Send) and act.way is way).decode()


def judged(side: Side, frame: Frame, verdict: Verdict) -> list[Act]:
    """The verdict on the events that have the bad words, the others pass."""
    verdicts = [verdict if any(BAD in t.plain for t in e.texts) else PASSED for e in frame.events]
    assert verdict in verdicts
    return side.decoder.apply(frame, verdicts)


# -- refusing


@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("stanza", [
    f"<message to='{ME}' from='{{who}}'><body>{BAD}</body><received xmlns='urn:xmpp:carbons:2'>"
    + FORWARDED.format(ME, "fine") + "</received></message>",
    f"<message to='{ME}' from='{{who}}'><received xmlns='urn:xmpp:carbons:2'>" + FORWARDED.format(ME, "fine")
    + "</received><received xmlns='urn:xmpp:carbons:2'>" + FORWARDED.format(ME, BAD) + "</received></message>",
    f"<message to='{ME}' from='{{who}}'><received xmlns='urn:xmpp:carbons:2'>" + FORWARDED.format(ME, "fine")
    + FORWARDED.format(ME, BAD) + "</received></message>",
    f"<message to='{ME}' from='{{who}}'><result xmlns='urn:xmpp:mam:2'>" + FORWARDED.format(ME, "fine")
    + f"</result><x xmlns='urn:example'>{BAD}</x></message>",
])
def test_a_placeholder_replaces_all_words_whatever_copies_the_message_holds(stanza: str, way: Way) -> None:
    """A copy inside a refused message must not be taken for the whole of it: nothing refused may stay around it."""
    side = Side()
    frame = side.one(way, stanza.replace("{who}", ME if way is UP else "alice@example.com"))
    out = sent(judged(side, frame, REPLACE), way)
    assert BAD not in out and "removed" in out


@pytest.mark.parametrize("payload", [
    "<encrypted xmlns='eu.siacs.conversations.axolotl'><header/><payload>UFVSUExF</payload></encrypted>",
    "<data xmlns='urn:xmpp:bob' cid='sha1+00@bob.xmpp.org' type='image/png'>UFVSUExF</data>",
    "<openpgp xmlns='urn:xmpp:openpgp:0'>UFVSUExF</openpgp>",
])
def test_a_refused_error_carries_nothing_but_the_error(payload: str) -> None:
    """Errors are never swallowed, but what was refused in one, and has no text to mask, does not go with it."""
    side = Side()
    frame = side.one(UP, f"<message to='bob@example.org' type='error' id='1'><body>x</body>{payload}"
                         "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    acts = side.decoder.apply(frame, [BLOCK] * len(frame.events))
    out = sent(acts, UP)
    assert "UFVSUExF" not in out and "<gone" in out and "type='error'" in out
    assert sent(acts, DOWN) == ""


# -- identity


def test_a_bind_result_of_somebody_else_changes_no_identity() -> None:
    """Another account may send our user an iq result that looks like a bound resource: it says nothing of him."""
    side = Side()
    frame = side.one(DOWN, f"<iq type='result' id='b1' from='eve@example.net/x' to='{ME}'>"
                           "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>boss@example.com/x</jid></bind></iq>")
    assert not any(isinstance(event, SignOn) for event in frame.events)
    said = side.one(UP, "<message to='bob@example.org'><body>x</body></message>").events[0]
    assert isinstance(said, Message) and said.sender == ME


def test_an_old_login_attempt_names_nobody_later() -> None:
    """jabber:iq:auth for another name, and a result with its id from a friend, do not make a session his."""
    side = Side()
    side.feed(UP, "<iq type='set' id='z1'><query xmlns='jabber:iq:auth'><username>boss</username></query></iq>")
    frame = side.one(DOWN, f"<iq type='result' id='z1' from='eve@example.net/x' to='{ME}'>"
                           "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    assert not any(isinstance(event, SignOn) for event in frame.events)


# -- words in odd places


@pytest.mark.parametrize("stanza", [
    "<message to='bob@example.org'>{0}<body>x</body></message>",
    "<message to='bob@example.org'><body>x</body>{0}</message>",
    "<message to='bob@example.org'><active xmlns='http://jabber.org/protocol/chatstates'/>{0}<body>x</body></message>",
    "<message to='bob@example.org'><body>x</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-05T10:00:00Z'><a>{0}</a>"
    "</delay></message>",
    "<message to='bob@example.org'><body>x</body><received xmlns='urn:xmpp:carbons:2'><message xmlns='jabber:client'>"
    "<body>{0}</body></message></received></message>",
    "<message to='bob@example.org'><sent xmlns='urn:xmpp:carbons:2'>{0}</sent></message>",
    "<message to='bob@example.org'><result xmlns='urn:xmpp:mam:2'><x>{0}</x></result></message>",
    "<message to='bob@example.org'><forwarded xmlns='urn:xmpp:forward:0'>{0}</forwarded></message>",
    "<message to='bob@example.org'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay'>{0}</delay>"
    "</forwarded></message>",
    "<message to='bob@example.org'><html xmlns='http://jabber.org/protocol/xhtml-im'>{0}"
    "<body xmlns='http://www.w3.org/1999/xhtml'>x</body></html></message>",
    "<message to='bob@example.org'><html xmlns='http://jabber.org/protocol/xhtml-im'>"
    "<body xmlns='http://www.w3.org/1999/xhtml'>x</body>{0}</html></message>",
    "<message to='bob@example.org'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='c@example.org'><why>{0}"
    "</why></invite></x></message>",
    "<message to='bob@example.org'><x xmlns='http://jabber.org/protocol/muc#user'>{0}</x></message>",
    "<message to='bob@example.org' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>"
    "{0}</gone></error></message>",
    "<message to='bob@example.org' type='error'><error type='cancel'><app xmlns='urn:example'>{0}</app></error>"
    "</message>",
    "<message to='bob@example.org'><body>x</body><replace id='1' xmlns='urn:xmpp:message-correct:0'>{0}</replace>"
    "</message>",
    "<message to='bob@example.org'><reactions id='1' xmlns='urn:xmpp:reactions:0'>{0}</reactions></message>",
    "<message to='bob@example.org'><body>x</body><encryption xmlns='urn:xmpp:eme:0' namespace='n'>{0}</encryption>"
    "</message>",
    "<presence>{0}</presence>",
    "<presence><show>{0}</show></presence>",
    "<presence><priority>{0}</priority></presence>",
    "<presence to='bob@example.org'><x xmlns='http://jabber.org/protocol/muc#user'><item><reason>{0}</reason></item></x>"
    "</presence>",
    "<presence to='r@rooms.example.com/al'><x xmlns='http://jabber.org/protocol/muc'><note>{0}</note></x></presence>",
    "<presence to='bob@example.org' type='error'><error type='cancel'><app xmlns='urn:example'>{0}</app></error>"
    "</presence>",
    "<iq type='result' id='1' to='bob@example.org/p'><query xmlns='jabber:iq:last' seconds='9'>{0}</query></iq>",
    "<iq type='get' id='1' to='bob@example.org/p'><ping xmlns='urn:xmpp:ping'>{0}</ping></iq>",
    "<iq type='get' id='1' to='bob@example.org/p'><query xmlns='http://jabber.org/protocol/disco#info'>{0}</query></iq>",
    "<iq type='error' id='1' to='bob@example.org/p'><error type='cancel'><app xmlns='urn:example'>{0}</app></error>"
    "</iq>",
    "<iq type='set' id='1' to='bob@example.org/p'><jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='s'>"
    "<note xmlns='urn:example'>{0}</note></jingle></iq>",
    "<iq type='set' id='1' to='bob@example.org/p'><si xmlns='http://jabber.org/protocol/si' id='s'><note>{0}</note>"
    "</si></iq>",
    "<iq type='set' id='1' to='bob@example.org/p'><session xmlns='http://www.google.com/session' type='initiate'>"
    "<note>{0}</note></session></iq>",
    "<iq type='set' id='1' to='bob@example.org/p'>{0}<query xmlns='urn:example'/></iq>",
])
def test_words_in_odd_places_are_read(stanza: str) -> None:
    """Character data that a server carries to another user is looked at wherever it stands, and can be masked."""
    side = Side()
    frame = side.one(UP, stanza.replace("{0}", BAD))
    assert BAD in words(frame)
    verdicts = []
    for event in frame.events:
        masks = tuple((i, 0, len(t.plain)) for i, t in enumerate(event.texts) if BAD in t.plain)
        verdicts.append(Verdict(Action.REDACT, "r", masks=masks) if masks else PASSED)
    out = sent(side.decoder.apply(frame, verdicts), UP)
    assert BAD not in out and "*" * len(BAD) in out


@pytest.mark.parametrize("part", [
    "<sources xmlns='urn:xmpp:sfs:0' id='1'><url-data xmlns='http://jabber.org/protocol/url-data' target='{0}'/>"
    "</sources>",
    "<card xmlns='urn:example' href=\"{0}\"/>",
    "<x xmlns='jabber:x:data' type='form'><field><media xmlns='urn:xmpp:media-element'><uri>{0}</uri></media></field>"
    "</x>",
    "<reference xmlns='urn:xmpp:reference:0' type='data' uri='{0}'><media-sharing xmlns='urn:xmpp:sims:1'>"
    "<file xmlns='urn:xmpp:jingle:apps:file-transfer:5'><name>a</name></file></media-sharing></reference>",
])
def test_links_in_unknown_extensions_are_read(part: str) -> None:
    """A link is what phishing needs: it is looked at in whatever attribute it comes."""
    link = "https://evil.example/login"
    frame = Side().one(UP, f"<message to='b@example.org'><body>x</body>{part.replace('{0}', link)}</message>")
    assert link in words(frame)


def test_a_file_offer_without_a_name_is_an_offer() -> None:
    """XEP-0096 asks for a name; what has none is offered all the same."""
    side = Side()
    frame = side.one(UP, "<iq type='set' id='1' to='bob@example.org/p'><si xmlns='http://jabber.org/protocol/si'>"
                         "<file xmlns='http://jabber.org/protocol/si/profile/file-transfer' size='9'/></si></iq>")
    assert any(isinstance(event, FileOffer) for event in frame.events)


# -- secrets


@pytest.mark.parametrize("stanza", [
    "<iq type='set' id='1'><query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>"
    "<field var='username'><value>alice</value></field><field var='password'><value>hunter2</value></field></x></query>"
    "</iq>",
    "<iq type='set' id='1' to='r@rooms.example.com'><query xmlns='http://jabber.org/protocol/muc#owner'>"
    "<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_roomsecret'><value>hunter2</value></field></x>"
    "</query></iq>",
    "<iq type='set' id='1'><command xmlns='http://jabber.org/protocol/commands' node='add-user'>"
    "<x xmlns='jabber:x:data' type='submit'><field var='password-verify'><value>hunter2</value></field>"
    "<field type='text-private' var='pin'><value>hunter2</value></field></x></command></iq>",
])
def test_passwords_in_forms_are_no_texts(stanza: str) -> None:
    """A form's password is a secret like any other: it reaches no event, and so no log."""
    side = Side()
    frame = side.one(UP, stanza)
    assert "hunter2" not in repr(frame.events)


# -- cost


def test_many_forwarded_copies_cost_no_more_than_their_bytes() -> None:
    """Forwarded elements side by side are each read once."""
    side = Side()
    many = "<f:forwarded/>" * 9000
    started = time.process_time()
    side.feed(UP, f"<message to='bob@example.org' xmlns:f='urn:xmpp:forward:0'>{many}</message>")
    assert time.process_time() - started < 1.0


def test_a_forwarded_message_is_read_once() -> None:
    """Two forwarded messages are two events, not four."""
    side = Side()
    frame = side.one(UP, "<message to='bob@example.org'>" + FORWARDED.format("x@example.org", "one")
                     + FORWARDED.format("x@example.org", "two") + "</message>")
    assert [event.texts[0].plain for event in frame.events if isinstance(event, Message)] == ["one", "two"]


def test_deep_copies_of_copies_cost_no_more_than_their_bytes() -> None:
    """Copies inside copies inside copies are each read once."""
    inner = "<body>x</body>"
    for _ in range(7):
        inner = "<f:forwarded><message>" + inner + "</message></f:forwarded>"
        inner += inner
    side = Side()
    started = time.process_time()
    side.feed(UP, f"<message to='bob@example.org' xmlns:f='urn:xmpp:forward:0'>{inner}</message>")
    assert time.process_time() - started < 1.0


def test_refusing_never_cuts_an_innocent_session() -> None:
    """A bounced encrypted message that a rule refuses costs its payload, not the session."""
    side = Side()
    frame = side.one(DOWN, f"<message from='b@example.org' to='{ME}' type='error'><openpgp xmlns='urn:xmpp:openpgp:0'>"
                           "AAAA</openpgp><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                           "</error></message>")
    acts = side.decoder.apply(frame, [BLOCK] * len(frame.events))
    assert not any(isinstance(act, Cut) for act in acts) and "<gone" in sent(acts, DOWN)


def test_many_masks_in_many_texts_cost_no_more_than_their_number() -> None:
    """A message of thousands of texts with a mask in each is rewritten in one pass."""
    side = Side()
    count = 4000
    frame = side.one(UP, "<message to='bob@example.org'><x xmlns='urn:example'>" + "<a>secret</a>" * count
                     + "</x></message>")
    (event,) = frame.events
    masks = tuple((index, at, at + 1) for index in range(count) for at in (0, 2, 4))
    started = time.process_time()
    out = sent(side.decoder.apply(frame, [Verdict(Action.REDACT, "r", masks=masks)]), UP)
    assert time.process_time() - started < 1.0
    assert out.count("<a>*e*r*t</a>") == count and len(event.texts) == count


@pytest.mark.parametrize("piece", [
    "<x xmlns='jabber:x:data'><field><value>a</value></field></x>", "<x xmlns='jabber:x:oob'><url>a:b</url></x>",
    "<reference xmlns='urn:xmpp:reference:0' uri='a:b'/>", "<a>", "<html xmlns='http://jabber.org/protocol/xhtml-im'>"
    "<body><p>a<b>b</b>c</p></body></html>", "<body>a</body>", "<c:x xmlns:c='jabber:x:conference' jid='a'/>",
])
def test_no_part_of_a_message_is_read_over_and_over(piece: str) -> None:
    """Twice the bytes cost about twice the time, whatever a message is made of."""
    def cost(count: int) -> float:
        best = 9.0
        for _ in range(3):
            side = Side()
            inner = piece * count if piece != "<a>" else ("<a>" * 40 + "w" + "</a>" * 40) * (count // 20)
            started = time.process_time()
            side.feed(UP, f"<message to='bob@example.org'>{inner}</message>")
            best = min(best, time.process_time() - started)
        return best

    assert cost(1200) < 0.02 + 8 * cost(300)
