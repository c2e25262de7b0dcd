"""XMPP: the words of stanzas, whatever form they have."""

from __future__ import annotations

from inspector.model import Message, Opaque
from tests.protocols.test_xmpp import events, texts


class TestMessages:
    def test_every_form_of_words(self) -> None:
        """Languages, subject, thread, XHTML with its addresses, corrections, replies, reactions, links, errors."""
        found = [e for e in events("forms-of-words") if isinstance(e, Message)]
        assert [(t.part, t.plain, t.lang) for t in found[0].texts] == [
            ("body", "hello", None), ("body", "hallo", "de"), ("body", "bonjour", "fr"), ("thread", "thread-7", None),
            ("subject", "Thema", "de"),
        ]
        assert texts(found[1]) == [
            ("body", "see this page"), ("xhtml", "see this\npage"), ("xhtml", "link"), ("url", "http://page.example/a?b=1&c=2"),
            ("url", "https://img.example/x.png"), ("xhtml", "a > b"),
        ]
        assert (found[2].kind, found[2].replaces) == ("correction", "m1")
        assert texts(found[3]) == [("body", "> old words\nnew words")]
        assert (found[4].kind, texts(found[4])) == (
            "reaction", [("reaction", "\U0001f44d"), ("reaction", "\U0001f382")],
        )
        assert texts(found[5]) == [
            ("body", "https://up.example/f/plan.pdf"), ("url", "https://up.example/f/plan.pdf"),
            ("description", "the plan"),
        ]
        assert texts(found[6]) == [("rtt", "Hello")]
        assert (found[7].kind, found[7].answerable, texts(found[7])) == (
            "server", False, [("body", "hello"), ("error", "not here")],
        )
        assert (found[8].kind, found[8].replaces, texts(found[8])) == (
            "correction", "m1", [("body", "I took that back")],
        )
        assert found[9].kind == "action"
        assert texts(found[10]) == [("extension", "words "), ("extension", " it"), ("extension", "in")]

    def test_forms(self) -> None:
        """A data form's values are words of something opaque."""
        (form,) = [e for e in events("forms-of-words") if isinstance(e, Opaque)]
        assert (form.kind, texts(form)) == ("form", [("form", "form words")])
