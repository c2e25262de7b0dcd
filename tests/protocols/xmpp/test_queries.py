"""XMPP: what is asked and answered beside messages."""

from __future__ import annotations

from inspector.model import CallSetup, ContactChange, Opaque
from tests.protocols.test_xmpp import events, texts


class TestQueries:
    def test_contacts(self) -> None:
        """Roster and block list changes."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, ContactChange)]
        assert [(c.action, c.contact) for c in found] == [
            ("add", "carol@example.org"), ("update", "carol@example.org"), ("remove", "bob@example.org"),
            ("block", "eve@example.org"), ("unblock", "*"),
        ]
        assert texts(found[0]) == [("nick", "Carol"), ("group", "Friends")]

    def test_opaque(self) -> None:
        """vCards and published items show their words, not their blobs."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, Opaque)]
        assert [(o.kind, texts(o)) for o in found] == [
            ("vcard", [("vcard", "Alice A")]), ("pubsub", [("pubsub", "published words")]),
        ]

    def test_calls(self) -> None:
        """Jingle and its message initiation arrange calls."""
        found = [e for e in events("files-and-calls") if isinstance(e, CallSetup)]
        assert [(c.action, c.media) for c in found] == [("session-initiate", ("audio",)), ("propose", ("video",))]

    def test_upload_slot_without_its_authorization(self) -> None:
        """The addresses of a slot are read, its header is not."""
        (slot,) = [e for e in events("files-and-calls") if isinstance(e, Opaque) and e.kind == "upload_slot"]
        assert texts(slot) == [
            ("url", "https://up.example.com/p/plan.pdf"), ("url", "https://up.example.com/g/plan.pdf"),
        ]
