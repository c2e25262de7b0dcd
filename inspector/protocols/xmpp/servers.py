"""Streams between servers (RFC 6120 §4; XEP-0220, 0178, 0288; docs/decisions/0046)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from inspector.protocols.xmpp.names import CLIENT, SERVER
from inspector.wire.xml import Reader

_SERVER_TAG = f"{{{SERVER}}}"


class Servers:
    """A stream between two servers: each stanza has its own two ends."""

    __slots__ = ("again", "bidi", "claimed", "current", "initiator", "pairs", "post", "proven", "secured", "writing")

    def __init__(self) -> None:
        self.initiator: str | None = None
        """The domain that opened the stream, as its header says."""
        self.claimed: dict[tuple[str, str], None] = {}
        """(from, to) of dialback keys that wait for their result."""
        self.proven: dict[str, str] = {}
        """Domains that have proved to be who they say, and how."""
        self.pairs: dict[tuple[str, str], None] = {}
        """(domain that has proved itself, domain that has accepted it)."""
        self.current: str | None = None
        """The domain that the sign-on was told of last."""
        self.bidi = False
        """Stanzas go both ways (XEP-0288)."""
        self.secured = False
        """TLS was opened by us."""
        self.again = [False, False]
        """A new header may come behind the login."""
        self.post: list[bytes] = []
        """Stanzas that other streams have left for this one."""
        self.writing = False


class ServerReader:
    """Reads stanzas between servers as those of clients: what differs is the name of their namespace."""

    __slots__ = ("_read",)

    def __init__(self, reader: Reader) -> None:
        self._read = reader.read

    def read(self, raw: bytes) -> Element | None:
        """See Reader.read."""
        element = self._read(raw)
        if element is not None:
            for each in element.iter():
                if each.tag.startswith(_SERVER_TAG):
                    each.tag = CLIENT + each.tag[len(_SERVER_TAG):]
        return element
