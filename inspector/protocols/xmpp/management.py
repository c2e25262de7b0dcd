"""Stream management (XEP-0198): stanzas are counted, and sessions outlive their connection (docs/decisions/0045)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import Identity
from inspector.protocols.xmpp.names import STANZA_ERROR
from inspector.wire.counts import Counts


class Managed:
    """A session whose stanzas are counted (XEP-0198): it may outlive its connection, and is then found by its
    identifier, of which nothing but a hash is kept."""

    __slots__ = ("counts", "identity", "key", "over", "put", "rooms", "turn", "user")

    def __init__(self, limit: int) -> None:
        self.counts = (Counts(limit), Counts(limit))
        self.turn = 0
        """Which connection it is on: the ones before have no say any more."""
        self.key: str | None = None
        """Under which it is remembered; None: it cannot be resumed."""
        self.put = 0.0
        """When it was remembered last."""
        self.over = False
        self.user = ""
        self.identity: Identity = "unknown"
        self.rooms: dict[str, str] | None = None


class Counting:
    """Stream management on one connection."""

    __slots__ = (
        "asked", "claimed", "feeding", "files", "granted", "on", "out", "owed", "refused", "resuming", "state", "turn",
        "writing",
    )

    def __init__(self, state: Managed) -> None:
        self.state = state
        self.turn = state.turn
        self.on = [False, False]
        """Whether stanzas of that way are counted yet."""
        self.out = [0, 0]
        """Frames that the engine has."""
        self.owed: tuple[list[bytes], list[bytes]] = ([], [])
        """Stanzas of ours that wait for those: they are counted where they stand on the wire."""
        self.asked = False
        """<enable/> has no answer yet."""
        self.granted = False
        """It had one, and it was <enabled/>."""
        self.resuming: Managed | None = None
        """<resume/> has no answer yet."""
        self.claimed = 0
        """How many stanzas the client says there that it has."""
        self.refused: str | None = None
        """The namespace of a <resume/> inside a login that was taken out."""
        self.files: dict[str, int] = {}
        """Stanzas of files that were kept, by transfer."""
        self.feeding = self.writing = False


class ManagementUnit(msgspec.Struct):
    """What `apply` needs of a unit that has to do with stream management or leads elsewhere."""

    element: Element
    part: Element | None = None
    """What of it says so."""
    what: str = ""
    """Its local name."""
    state: Managed | None = None
    """Of a resumption."""
    removals: Sequence[Element] = ()
    address: str | None = None
    """Where the client is sent."""
    adding: str = ""
    """What is said in front of its end."""


def counted(element: Element) -> int | None:
    """The count `h` of a unit of stream management; None when it is none (XEP-0198 §4: an unsigned 32-bit integer)."""
    said = element.get("h", "")
    if not said.isascii() or not said.isdigit() or len(said) > 10:
        return None
    count = int(said)
    return count if count < 1 << 32 else None


def not_managed(namespace: str, local: str) -> str:
    """The answer to a request for management that leads nowhere (XEP-0198 §3, §5)."""
    condition = "item-not-found" if local == "resume" else "unexpected-request"
    return f"<failed xmlns='{namespace}'><{condition} xmlns='{STANZA_ERROR}'/></failed>"
