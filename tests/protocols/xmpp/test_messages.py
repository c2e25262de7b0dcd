"""XMPP: messages, their copies, and what of them is sealed."""

from __future__ import annotations

from inspector.model import DOWN, UP, Message, Opaque, Text, Typing, Way
from tests.protocols.test_xmpp import ME, TALKS, decoder, events, one, play, signed, texts


class TestMessages:
    def test_chat_both_ways(self) -> None:
        """Sender, recipient, conversation, id and text, with entities, CDATA and references undone."""
        found = [e for e in events("chat") if isinstance(e, Message)]
        assert found[0] == Message(
            sender=ME, recipients=("bob@example.org/phone",), conversation="bob@example.org", id="m1",
            texts=(Text("body", "Lunch at <noon> & not later?"),),
        )
        assert found[1] == Message(
            sender="bob@example.org/phone", recipients=(ME,), conversation="bob@example.org", id="q9",
            texts=(Text("body", "Fine, caf\u00e9 \U0001f642 then"),),
        )
        assert texts(found[2]) == [("body", "<raw> & \"quoted\" tail \U0001f600")]
        assert (found[3].kind, texts(found[3])) == ("server", [("body", "Down at ten"), ("subject", "Notice")])
        assert [texts(m) for m in found[4:]] == [texts(found[1])] * 3

    def test_typing(self) -> None:
        """A chat state without words is typing."""
        assert [e for e in events("chat") if isinstance(e, Typing)] == [
            Typing(state="composing", sender=ME, recipients=("bob@example.org",)),
        ]

    def test_copies_are_marked(self) -> None:
        """Carbons, archive results and delayed messages are copies; a forged carbon is not, and is told."""
        found = [e for e in events("copies") if isinstance(e, Message)]
        assert [(m.copy, m.sender, texts(m)) for m in found] == [
            ("carbon", "bob@example.org/phone", [("body", "forwarded words")]),
            ("carbon", "alice@example.com/home", [("body", "sent from home")]),
            ("history", "bob@example.org/phone", [("body", "forwarded words")]),
            ("no", "eve@example.net", [("body", "forwarded words")]),
            ("history", "bob@example.org/phone", [("body", "while you were away")]),
        ]
        assert not any(m.answerable for m in found if m.copy != "no")
        odd = [o.name for f in play(decoder(), TALKS["copies"]) for o in f.oddities]
        assert odd == ["xmpp.spoofed_carbon"]

    def test_encryption_is_recognised(self) -> None:
        """OMEMO old and new, OTR data and offer, OpenPGP old and new, S/MIME; a key transport has no words."""
        found = [e for e in events("encrypted") if isinstance(e, Message | Opaque)]
        assert [(type(e).__name__, e.encryption.inspectable, e.encryption.scheme) for e in found] == [
            ("Message", "metadata", "omemo"), ("Message", "metadata", "omemo"), ("Opaque", "metadata", "omemo"),
            ("Message", "metadata", "otr"), ("Message", "full", "otr"), ("Message", "metadata", "openpgp"),
            ("Message", "metadata", "openpgp"), ("Message", "metadata", "smime"), ("Opaque", "full", "omemo"),
        ]

    def test_the_same_ciphertext_is_known_on_every_leg(self) -> None:
        """However a server writes it (quotes, order of attributes, prefixes, what it puts beside it), it is the same;
        any change inside it is not. Ciphertext in the body is in the texts."""
        def sealed(inner: str, way: Way = UP) -> str | None:
            ends = "to='bob@example.org'" if way is UP else f"from='{ME}' to='bob@example.org/phone'"
            [event] = one(signed(), way, f"<message {ends} type='chat'>{inner}</message>").events
            assert isinstance(event, Message)
            return event.sealed

        written = ("<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1' x='2'><key rid='2'>AA</key></header>"
                   "<payload>BBBB</payload></encrypted>")
        anew = ('<x:encrypted xmlns:x="urn:xmpp:omemo:2"><x:header x="2" sid="1"><x:key rid="2">A&#65;</x:key>'
                '</x:header><x:payload><![CDATA[BBBB]]></x:payload></x:encrypted>'
                '<stanza-id xmlns="urn:xmpp:sid:0" id="7" by="example.org"/>')
        assert sealed(written)
        assert sealed(written) == sealed(anew, DOWN)
        changes = [("BBBB", "BBBC"), ("'1'", "'3'"), ("</key>", "</key> "), ("omemo:2", "omemo:1"), (">AA<", "><")]
        assert len({sealed(written), *(sealed(written.replace(*change)) for change in changes)}) == 6
        assert sealed("<openpgp xmlns='urn:xmpp:openpgp:0'>AA</openpgp>") != sealed(
            "<openpgp xmlns='urn:xmpp:openpgp:0'>AB</openpgp>")
        assert sealed("<body>?OTR:AAMDJ==.</body>") == ""
        assert sealed("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:new'/><body>x</body>") is None
        assert sealed("<body>words</body>") is None

    def test_forged_sender(self) -> None:
        """A client that writes another's address is told as odd; the sender is who signed on."""
        frame = one(signed(), UP, "<message from='boss@example.com' to='bob@example.org'><body>pay</body></message>")
        assert [o.name for o in frame.oddities] == ["xmpp.from_mismatch"]
        (event,) = frame.events
        assert isinstance(event, Message)
        assert event.sender == ME

    def test_signed_words_cannot_be_edited(self) -> None:
        """Words under a signature (XEP-0027) are not editable."""
        stanza = "<message to='b@example.org'><body>hi</body><x xmlns='jabber:x:signed'>AA</x></message>"
        frame = one(signed(), UP, stanza)
        assert [text.editable for text in frame.events[0].texts] == [False]
