"""XMPP: who is there, and who comes to a room and leaves it."""

from __future__ import annotations

from inspector.model import GroupChange, Message, Presence
from tests.protocols.test_xmpp import events, texts


class TestRooms:
    def test_rooms(self) -> None:
        """History, topic, own reflection, others' words, private words, invitations."""
        found = [e for e in events("rooms") if isinstance(e, Message)]
        assert [(m.kind, m.copy, texts(m)[0], m.conversation) for m in found] == [
            ("chat", "history", ("body", "before"), "team@rooms.example.com"),
            ("topic", "no", ("topic", "Plans"), "team@rooms.example.com"),
            ("chat", "no", ("body", "hi all"), "team@rooms.example.com"),
            ("chat", "echo", ("body", "hi all"), "team@rooms.example.com"),
            ("chat", "no", ("body", "hi al"), "team@rooms.example.com"),
            ("chat", "no", ("body", "psst"), "team@rooms.example.com"),
            ("topic", "no", ("topic", "New plans"), "team@rooms.example.com"),
            ("invite", "no", ("reason", "come & join"), "team@rooms.example.com"),
            ("invite", "no", ("reason", "we need you"), "team@rooms.example.com"),
        ]
        assert found[0].sent_at == 1767603600.0

    def test_room_members(self) -> None:
        """Who joined, left, and was thrown out, with the reason given."""
        found = [e for e in events("rooms") if isinstance(e, GroupChange)]
        assert [(g.action, g.member) for g in found] == [
            ("join", "al"), ("join", "bo"), ("join", "al"), ("kick", "bo"), ("leave", "al"),
        ]
        assert texts(found[3]) == [("reason", "rude")]


class TestStatus:
    def test_presence_and_status(self) -> None:
        """Availability is Presence, the words of it a Message of kind status."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, Presence | Message)]
        assert [(e.availability if isinstance(e, Presence) else texts(e)) for e in found] == [
            "away", [("status", "out for lunch"), ("status", "Mittag")], "online", [("status", "in a meeting")],
            "subscribe", [("status", "please add me")], "subscribe",
        ]
