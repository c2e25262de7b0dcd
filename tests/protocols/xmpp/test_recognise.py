"""What the first bytes of an XMPP stream look like."""

from __future__ import annotations

import pytest

from inspector.model import UP, Match
from inspector.protocols.xmpp import probe
from tests.protocols.test_xmpp import CHAT_UP, TALKS, head


class TestProbe:
    @pytest.mark.parametrize("start", [
        head(UP), head(UP, declaration=False), b"\xef\xbb\xbf" + head(UP), b"\r\n  " + head(UP, declaration=False),
        b"\n\n" + head(UP), head(UP, ns="jabber:server"), TALKS["another-prefix"][0][1],
        b"<!-- x -->" + head(UP, declaration=False), head(UP).decode().encode("utf-16"),
    ])
    def test_a_header_is_strong_and_its_prefixes_are_undecided(self, start: bytes) -> None:
        """STRONG with the whole tag, never NO before, on either side."""
        assert probe(start, b"") == Match.STRONG
        assert probe(b"", start) == Match.STRONG
        if start[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            for size in range(len(start)):
                assert probe(start[:size], b"") == Match.MORE, start[:size]

    @pytest.mark.parametrize("start", [
        b"WA\x01\x05", b"<policy-file-request/>\0", b"<!DOCTYPE html><html><body>", b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"<html xmlns='jabber:client'>", b"<?xml version='1.0'?><rss>", b"NICK a\r\n",
        b"<stream:stream xmlns='jabber:client' xmlns:stream='urn:x'>", b"<stream>", b"<iq>", b"\0\0\0\x10",
    ])
    def test_other_beginnings_are_not(self, start: bytes) -> None:
        """Nothing but a stream header of the streams namespace is taken."""
        assert probe(start, b"") == Match.NO

    def test_stanzas_without_header_are_weak(self) -> None:
        """A flow joined in the middle of a conversation."""
        assert probe(CHAT_UP.encode(), b"") == Match.WEAK

    def test_a_header_without_end(self) -> None:
        """A header longer than any server reads is taken if it names the streams namespace."""
        assert probe(head(UP)[:-1] + b" a='" + b"x" * 12000, b"") == Match.STRONG
