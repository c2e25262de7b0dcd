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
    again: bool = False
    """He signed on in another connection of the same session (BOSH), which has the row of it."""
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
    sealed: str | None = None
    """Of a message that is not inspectable: what says that another leg carries the same ciphertext, a digest of what of
    it is not in `texts` ("" where all of it is there). None: that is not known."""
    in_room: bool = False
    """Said in a room that names its writers by itself (XEP-0045): `conversation` is not the writer."""


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
    """dcc, dcc_chat, oft, ars, direct_im, http_upload, oob, si, ibb, s5b, jingle, bob …"""
    declared_type: str | None = None
    address: str | None = None
    """host:port or URL where it would come from."""
    hashes: tuple[tuple[str, str], ...] = ()
    id: str | None = None
    texts: tuple[Text, ...] = ()
    """The file name (part "file_name") and description."""
    answerable: bool = True


class Expect(msgspec.Struct, frozen=True):
    """A side connection is announced (DCC, OFT, SOCKS5 bytestream, HTTP upload, a redirect to another server).

    As an act it is kept by the world under `address`; a decoder that can tell the connection by a key of its own (the
    hash of a SOCKS5 bytestream, the URL of an upload slot) also puts it into its memory, under `expect_key`.
    """

    address: str
    """host:port where it will be made."""
    what: str
    """The name of the Spec that reads it."""
    by: str | None = None
    """The user whose session announced it."""
    key: str | None = None
    offer: FileOffer | None = None
    """What will come, for a file or a direct conversation."""
    flow: str | None = None
    """The id of the flow in which it was announced: where its people are told what became of it."""
    identity: Identity = "unknown"
    client: str | None = None
    """The only address that may make it, where that is known."""
    reverse: bool = False
    """The one who connects sends the file (passive DCC, a SOCKS5 proxy); else the one who listens does."""


def expect_key(what: str, key: str) -> str:
    """Where in a decoder's memory an Expect of Spec `what` lies that is known by a key and not by an address."""
    return f"expect:{what}:{key}"


class FileStart(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a file begins here. Frames with FilePart and FileEnd of the same `transfer` follow, same way.

    A transfer that nobody offered before has a FileOffer in the same frame, in front of this.
    """

    name: ClassVar[str] = "file_start"
    transfer: str
    """What tells it from other files of its flow that go the same way at the same time."""
    offer: FileOffer
    """Who, to whom, name, size, as offer and carrier say it."""
    expected: Expect | None = None
    """What announced it."""
    offset: int = 0
    """Bytes of the file that are not sent (a resumed transfer): more than 0 is never complete."""
    inband: bool = False
    """The content travels between other units of the session (IBB): those do not wait for it. Else the way is the
    file's until its end."""
    texts: tuple[Text, ...] = ()


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a file, decoded, in order."""

    name: ClassVar[str] = "file_part"
    transfer: str
    data: bytes
    gap: int = 0
    """Bytes lost in front of `data` (captures): the file is not complete."""
    texts: tuple[Text, ...] = ()


class FileEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The content has ended. In the frame of the last FilePart, or in one of its own (its raw b"" if need be)."""

    name: ClassVar[str] = "file_end"
    transfer: str
    complete: bool = True
    """False: truncated, broken off, lied about."""
    detail: str = ""
    texts: tuple[Text, ...] = ()


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was transferred, as the engine gives it to the policy: what the offer said and what was found."""

    name: ClassVar[str] = "file"
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    conversation: str | None = None
    file_name: str = ""
    size: int | None = None
    method: str = ""
    declared_type: str | None = None
    address: str | None = None
    id: str | None = None
    sha256: str | None = None
    """Of the content, lower-case hex; None when it was not read."""
    sha1: str | None = None
    md5: str | None = None
    kinds: tuple[str, ...] = ()
    """What the content is: executable, script, archive, document …; several for a polyglot, none when unknown."""
    media_type: str | None = None
    complete: bool = False
    """Whether the whole of it was seen and judged."""
    members: int = 0
    """Files found inside it."""
    encrypted: bool = False
    """Whether (part of) it cannot be opened without a password."""
    offer: str | None = None
    """The id of the event that offered it."""
    mode: str | None = None
    """How it was taken: spool, stream, pass, watch (a policy that does not enforce)."""
    sent: int = 0
    """Bytes that had left before the verdict."""
    texts: tuple[Text, ...] = ()
    answerable: bool = False


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


FILE_CONTENT = (FileStart, FilePart, FileEnd)
"""Events that the engine takes for itself: policy sees a FileOffer before and a File after them."""

Event = (
    SignOn | Message | Presence | ContactChange | GroupChange | FileOffer | FileStart | FilePart | FileEnd | File
    | CallSetup | Typing | Opaque
)
