"""What waits for a reviewer.  See docs/decisions/0080."""

from __future__ import annotations

from typing import Literal

import msgspec

from inspector.model.events import Identity
from inspector.model.flow import Way


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A message or file that was taken out and waits for a reviewer. Travels to the hold store and, when it is
    released, to the session that delivers it: plain values only."""

    id: str
    """Of the hold: what operators name it by, and `held` of the verdict's row."""
    reference: str
    """What people quote."""
    t: float
    protocol: str
    about: Literal["message", "file"]
    kind: str
    """chat, action, … of a message; "file" of a file."""
    way: Way
    direction: str
    flow: str
    client: str
    """Address of the session's client."""
    user: str | None
    """Whose session it was taken from: it is delivered in a session of his."""
    identity: Identity
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    conversation: str | None = None
    message: str | None = None
    """The id of the event's row."""
    named: bool = False
    """The protocol names this message by an id that its reader knows twice-sent ones by: after a crash in the middle of
    its delivery it is sent again under that id."""
    digest: str = ""
    """Of all texts, or the file's SHA-256: what a release covers."""
    size: int = 0
    """Bytes of `raw`, or of the file."""
    rule: str | None = None
    reason: str = ""
    policy: str = ""
    findings: tuple[str, ...] = ()
    """Names of the rules that found something."""
    texts: tuple[tuple[str, str], ...] = ()
    """(part, plain): what a reviewer reads."""
    raw: bytes = b""
    """What `Decoder.keep` gave: its protocol's own form, for `Decoder.release`. b"": it cannot be delivered by us (a
    file: its sender sends it again)."""
    file_name: str | None = None
    file_type: str | None = None


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """A release covers the legs that follow it: same protocol, sender and digest (of a file: and kind of name), in the
    same conversation or to the same people, once for each session that reads it."""

    hold: str
    reference: str
    protocol: str
    sender: str
    """Bare, lower case; "" is nobody's."""
    digest: str
    recipients: tuple[str, ...] = ()
    """Bare, lower case."""
    conversation: str | None = None
    file_name: str | None = None
    """Of a file: what it was called when it was reviewed. None: it had no name, or it is a message."""
    until: float = 0.0


class Hold(msgspec.Struct, frozen=True):
    """Effect: store this, encrypted and synced; answer with Kept(id), `why` when it could not be.

    `file`: the spooled file whose content goes with it (the spool is discarded by a later effect only).
    """

    id: int
    held: Held
    file: str | None = None


class Unhold(msgspec.Struct, frozen=True):
    """Effect: the answer to Hold came too late, or not: what was stored under this hold's id is not waiting for
    anybody; forget it."""

    hold: str


class Deliver(msgspec.Struct, frozen=True):
    """Effect: this released item can be sent now; write that durably (`delivering`) and answer with Kept(id). Kept with
    ok False: it must not be sent (denied, delivered elsewhere)."""

    id: int
    hold: str


class Came(msgspec.Struct, frozen=True):
    """Effect: what became of a released item in this session. `sent` False: nothing of it was sent here; None, behind
    a True: the session has ended, and what was sent just before it may have been read by nobody; a second True: it was
    read, whatever the session does."""

    hold: str
    sent: bool | None
    flow: str | None = None
    """Of the session that was given it, where its decoder has left it to another one's (Went). None: this one."""


class Arrived(msgspec.Struct, frozen=True):
    """Effect: a user has signed on in this session: what was released for him may come."""

    protocol: str
    user: str
    identity: Identity
    client: str


class Place(msgspec.Struct, frozen=True):
    """A living session of a user: where something released may be sent."""

    flow: str
    identity: Identity
    client: str
    since: float


class Released(msgspec.Struct, frozen=True):
    """Input: send this in this session, once there is room for it."""

    at: float
    held: Held


STEPS = ("held", "released", "denied", "delivering", "delivered", "uncertain", "expired", "erased")
"""The states of a hold, in the order of its life."""

