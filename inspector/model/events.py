"""What happens in a conversation: one vocabulary for all protocols.

Every event has `texts`. The class attribute `name` is its name in policy (`event:`) and in the log.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Kind = Literal[
    "chat", "action", "notice", "topic", "status", "away", "invite", "reaction", "correction", "auto_response",
    "server",
]
Copy = Literal["no", "history", "carbon", "echo", "leg"]
Identity = Literal["claimed", "authenticated", "unknown"]
Inspectable = Literal["full", "metadata", "none"]


class Text(msgspec.Struct, frozen=True, gc=False):
    """A piece of human-readable text of an event.

    `part`: body, subject, xhtml, status, topic, file_name, reason, url, nick, reply, reaction, away, realname, form …
    `plain`: what a person reads: markup, entities, charset and formatting codes already undone.
    A mask names spans of `plain`; finding the raw bytes of a span is the work of the decoder that made the text, on
    demand in `apply` (computing a map for every text would cost each passed message; see docs/decisions).
    """

    part: str
    plain: str
    lang: str | None = None
    editable: bool = True
    """False: the text cannot be changed in place (signed, bound by offsets); a redaction becomes a block."""


class Encryption(msgspec.Struct, frozen=True, gc=False):
    """How far content can be read. `scheme`: omemo, otr, openpgp, smime, fish … or None."""

    inspectable: Inspectable = "full"
    scheme: str | None = None


CLEAR = Encryption()


class SignOn(msgspec.Struct, frozen=True, kw_only=True):
    """The session's user became known, or changed."""

    name: ClassVar[str] = "sign_on"
    user: str
    identity: Identity
    mechanism: str | None = None
    """How: "SCRAM-SHA-1", "PLAIN", "001" …"""
    channel_binding: str | None = None
    """"none", "offered", "used", "stripped": what was seen of SASL channel binding; None where it does not exist."""
    account: str | None = None
    """The account where it differs from `user` (an IRC services account)."""
    texts: tuple[Text, ...] = ()


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Words of a person (or of a server: kind "server") to others."""

    name: ClassVar[str] = "message"
    kind: Kind = "chat"
    sender: str | None = None
    """As the wire names him: a JID, an IRC nick; None = not known."""
    recipients: tuple[str, ...] = ()
    conversation: str | None = None
    texts: tuple[Text, ...] = ()
    id: str | None = None
    """The identifier the wire gives it (stanza id, msgid, label): chosen by the sender, so no unique key."""
    copy: Copy = "no"
    encryption: Encryption = CLEAR
    sent_at: float | None = None
    """The time the protocol claims (delay stamp, server-time), seconds since the epoch."""
    replaces: str | None = None
    """Identifier of the message this one corrects or retracts."""
    written: str | None = None
    """The main text as the wire has it, formatting codes and all, where that differs from `texts`: evidence for the
    log. None: no difference."""
    answerable: bool = True
    """False: a notice to the sender of this message must not be sent (errors, history, automatic answers)."""


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """Availability without words. A status text is a Message of kind "status" or "away"."""

    name: ClassVar[str] = "presence"
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    availability: str = "online"
    """online, away, busy, dnd, idle, free_for_chat, offline, unknown; subscribe, subscribed, unsubscribe,
    unsubscribed."""
    texts: tuple[Text, ...] = ()


class ContactChange(msgspec.Struct, frozen=True, kw_only=True):
    """A buddy list or block list changed."""

    name: ClassVar[str] = "contact"
    action: str
    """add, remove, update, block, unblock."""
    contact: str
    sender: str | None = None
    texts: tuple[Text, ...] = ()


class GroupChange(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody joined, left, was invited to or removed from a room."""

    name: ClassVar[str] = "group"
    action: str
    """join, leave, kick, nick, mode, create."""
    group: str
    member: str | None = None
    texts: tuple[Text, ...] = ()


class FileOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A file is offered or asked for, or a place to put it is requested."""

    name: ClassVar[str] = "file"
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    conversation: str | None = None
    file_name: str = ""
    size: int | None = None
    method: str = ""
    """dcc, dcc_chat, http_upload, oob, si, ibb, s5b, jingle, bob …"""
    declared_type: str | None = None
    address: str | None = None
    """host:port or URL where it would come from."""
    hashes: tuple[tuple[str, str], ...] = ()
    id: str | None = None
    texts: tuple[Text, ...] = ()
    """The file name (part "file_name") and description."""
    answerable: bool = True


class CallSetup(msgspec.Struct, frozen=True, kw_only=True):
    """A voice or video call is being arranged."""

    name: ClassVar[str] = "call"
    action: str
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    id: str | None = None
    texts: tuple[Text, ...] = ()


class Typing(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody is writing."""

    name: ClassVar[str] = "typing"
    state: str = "composing"
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    texts: tuple[Text, ...] = ()


class Opaque(msgspec.Struct, frozen=True, kw_only=True):
    """Something that carries text or data which is not a message: a form, a vCard, a published item, a query."""

    name: ClassVar[str] = "opaque"
    kind: str
    """What it is, in the protocol's words: "vcard", "pubsub", "private", "metadata" …"""
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    texts: tuple[Text, ...] = ()
    id: str | None = None
    encryption: Encryption = CLEAR
    answerable: bool = True
    personal: bool = False
    """Whether it is for a person, like a message, and so must not leave before the sign-on is judged."""


Event = SignOn | Message | Presence | ContactChange | GroupChange | FileOffer | CallSetup | Typing | Opaque
