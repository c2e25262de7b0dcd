"""XMPP: in which words a stanza is refused, and how its words are masked."""

from __future__ import annotations

import pytest

from inspector.model import DOWN, UP, Send
from tests.protocols.test_xmpp import (
    CARBON,
    CHAT_DOWN,
    TALKS,
    XHTML,
    C,
    block,
    decoder,
    masked,
    one,
    play,
    root,
    sent,
    signed,
    texts,
)


class TestRefusal:
    def test_an_incoming_message_is_dropped_or_replaced(self) -> None:
        """The recipient gets nothing, or the placeholder in place of every word; what is about delivery stays."""
        dec = signed()
        stanza = CHAT_DOWN.replace("</message>", (
            "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>x</body></html>"
            "<x xmlns='jabber:x:oob'><url>http://a.example/b</url></x>"
            "<stanza-id xmlns='urn:xmpp:sid:0' id='9' by='alice@example.com'/></message>"
        ))
        frame = one(dec, DOWN, stanza)
        verdicts = [block(None)] * len(frame.events)
        assert dec.apply(frame, verdicts) == []
        data = sent(dec.apply(frame, [block(None, "[gone & \n<why>]")] * len(frame.events)), DOWN)
        assert data == (
            b"<message from='bob@example.org/phone' to='alice@example.com/desk' id='q9' type='chat'>"
            b"<body>[gone &amp;  &lt;why&gt;]</body>"
            b"<stanza-id xmlns='urn:xmpp:sid:0' id='9' by='alice@example.com'/></message>"
        )

    def test_a_placeholder_in_a_copy(self) -> None:
        """In a carbon the inner message is replaced; the wrapper stays."""
        dec = signed()
        data = sent(dec.apply(one(dec, DOWN, CARBON), [block(None, "gone")]), DOWN)
        assert data == CARBON.replace("forwarded words", "gone").encode()

    def test_a_prefixed_message_gets_its_placeholder_in_the_right_namespace(self) -> None:
        """The new body is jabber:client's though the stanza uses a prefix."""
        dec = decoder()
        frames = play(dec, TALKS["another-prefix"][:3])
        data = sent(dec.apply(frames[-1], [block(None, "gone")]), DOWN)
        (message,) = root(data.replace(b"<x:message", b"<x:message xmlns:x='jabber:client'"))
        assert [(child.tag, child.text) for child in message] == [(C + "body", "gone")]

    @pytest.mark.parametrize("stanza", [
        "<message to='b@example.org' type='error' id='1'><body>secret words</body><error type='cancel'/></message>",
        "<iq type='result' id='1' to='b@example.org'><vCard xmlns='vcard-temp'><FN>secret words</FN></vCard></iq>",
    ])
    def test_answers_are_masked_never_refused(self, stanza: str) -> None:
        """An error or a result goes on, with every word masked, and is not answered."""
        dec = signed()
        frame = one(dec, UP, stanza)
        acts = dec.apply(frame, [block()] * len(frame.events))
        assert acts == [Send(UP, stanza.replace("secret words", "*" * 12).encode())]



class TestMasks:
    def test_masks_reach_every_form(self) -> None:
        """Body, XHTML over markup and line break, and an address; all other bytes are exact."""
        dec = signed()
        frame = one(dec, UP, XHTML)
        acts = dec.apply(frame, [masked((0, 4, 8), (1, 4, 13), (3, 23, 26))])
        assert sent(acts, UP).decode() == (
            XHTML.replace("see this page", "see **** page")
            .replace("<strong>this</strong><br/>page", "<strong>****</strong>*****")
            .replace("/a?b=1&amp;c=2", "/a?b***c=2")
        )

    @pytest.mark.parametrize(("written", "span", "want"), [
        ("a&lt;b&gt;c", (1, 4), "a***c"), ("x&#65;&#x1F600;y", (1, 3), "x**y"),
        ("<![CDATA[ab]]>cd", (1, 3), "<![CDATA[a*]]>*d"),
        ("<![CDATA[]]]]><![CDATA[>]]>z", (0, 3), "<![CDATA[**]]><![CDATA[*]]>z"), ("a\r\nb", (1, 2), "a*b"),
        ("caf\u00e9 \U0001f642!", (3, 6), "caf***!"), ("a\rb", (1, 3), "a**"), ("ab", (1, 99), "a*"),
    ])
    def test_a_star_a_character_however_it_is_written(self, written: str, span: tuple[int, int], want: str) -> None:
        """References, CDATA, line ends and any UTF-8 are masked as the characters they stand for."""
        dec = signed()
        frame = one(dec, UP, f"<message to='b@example.org'><body>{written}</body></message>")
        acts = dec.apply(frame, [masked((0, *span))])
        assert sent(acts, UP).decode() == f"<message to='b@example.org'><body>{want}</body></message>"

    def test_attributes_are_masked(self) -> None:
        """A file name in an attribute, in either quotes, with references."""
        dec = signed()
        stanza = (
            "<iq type='get' id='u'><request xmlns='urn:xmpp:http:upload:0' size='1' content-type='a>b' "
            "filename = \"a&amp;b.txt\"/></iq>"
        )
        acts = dec.apply(one(dec, UP, stanza), [masked((0, 1, 3))])
        assert sent(acts, UP).decode() == stanza.replace("a&amp;b.txt", "a**.txt")

    def test_masks_in_a_carbon(self) -> None:
        """The words inside a copy are found and masked."""
        dec = signed()
        acts = dec.apply(one(dec, DOWN, CARBON), [masked((0, 0, 9))])
        assert sent(acts, DOWN).decode() == CARBON.replace("forwarded words", "********* words")

    def test_words_of_unknown_extensions_are_masked(self) -> None:
        """Text before and behind markup of an unknown extension."""
        dec = signed()
        head_, tail = "<message to='b@example.org'><n xmlns='urn:example:u'>", "</n></message>"
        stanza = head_ + "one <b>two</b> three<![CDATA[<4>]]>" + tail
        frame = one(dec, UP, stanza)
        assert texts(frame.events[0]) == [("extension", "one "), ("extension", " three<4>"), ("extension", "two")]
        acts = dec.apply(frame, [masked((0, 0, 3), (1, 1, 9), (2, 0, 3))])
        assert sent(acts, UP).decode() == (
            head_ + "*** <b>***</b> *****<![CDATA[***]]>" + tail
        )
