"""The fields that conditions can name: where each comes from, and what may be asked of it.

A field is *unknown* when the event has no such thing or nobody knows it: a condition on it is false then, and its
negation true. Values come as a tuple: empty = unknown, several = a condition holds if it holds for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import msgspec

from inspector.model import (
    UP,
    CallSetup,
    ContactChange,
    Context,
    Copy,
    Event,
    FileOffer,
    Finding,
    GroupChange,
    Identity,
    Inspectable,
    Kind,
    Message,
    Opaque,
    Presence,
    Severity,
    SignOn,
    Typing,
    Way,
)

Takes = Literal["words", "names", "numbers", "truth", "pattern", "windows"]
"""words: ours, compared exactly. names: of people and things, whose case does not count. Both know `*`."""
Scope = Literal["session", "event", "finding"]
"""session: the same for all events of a session that go one way, until its protocol or user changes."""

EVENTS: Mapping[str, type] = {
    kind.name: kind
    for kind in (SignOn, Message, Presence, ContactChange, GroupChange, FileOffer, CallSetup, Typing, Opaque)
}

PROTOCOLS = (
    "oscar", "icq_udp", "msnp", "ymsg", "xmpp", "irc", "sip", "msrp", "sametime", "gadu_gadu", "qq", "stun", "skype",
    "rtp", "rtcp", "tls", "http", "quic", "dns",
)
"""Names of protocols that a policy may use although no decoder of that name is registered (yet)."""
APPLICATIONS = (
    "aim", "icq", "msn", "yahoo", "google_talk", "jabber", "skype", "qq", "teams", "whatsapp", "telegram", "signal",
    "discord", "zoom", "viber", "line", "wechat", "slack", "kakaotalk", "threema", "facebook_messenger", "google_chat",
    "google_meet", "facetime", "webex", "sametime", "gadu_gadu", "irc",
)

JID_PROTOCOLS = frozenset({"xmpp"})
"""Protocols whose names of people are `local@domain/resource` (RFC 7622), the resource being anybody's free choice."""


class Field(msgspec.Struct, frozen=True, eq=False):
    """One field. `allowed`: the values there are, None = any. `events`: the events that have it, None = all.

    `expression`: how generated code reads it, for the few fields that are worth it (one value, never None).
    """

    name: str
    takes: Takes
    scope: Scope = "event"
    allowed: tuple[str, ...] | None = None
    events: frozenset[str] | None = None
    expression: str | None = None
    unit: Literal["", "bytes", "port"] = ""


class Facts:
    """What is known when an event is judged: the slow but plain way to the value of any field."""

    __slots__ = ("at", "context", "direction", "event", "finding", "groups", "identity", "peer", "user")

    def __init__(
        self, event: Event, context: Context, way: Way, at: float, *, user: str | None, identity: Identity,
        groups: frozenset[str], peer: tuple[str, ...] | None = None, finding: Finding | None = None,
    ) -> None:
        self.event = event
        self.context = context
        self.direction = context.directions[way]
        self.at = at
        self.user = user
        self.identity = identity
        self.groups = groups
        self.peer = peers(event, way) if peer is None else peer
        self.finding = finding

    @property
    def jids(self) -> bool:
        return self.context.protocol in JID_PROTOCOLS

    def of(self, name: str) -> tuple[Any, ...]:
        """The values of a field, empty when it is unknown."""
        return _VALUES[name](self)


def peers(event: Event, way: Way) -> tuple[str, ...]:
    """The other party: recipients of what goes up, the sender of what comes down, the contact of a contact change."""
    if way is UP and type(event) is Message and len(event.recipients) == 1:
        return event.recipients if event.recipients[0] else ()  # nearly always
    if isinstance(event, ContactChange):
        return (event.contact,) if event.contact else ()
    if isinstance(event, (SignOn, GroupChange)):
        return ()
    if way is UP:
        return tuple(dict.fromkeys(name for name in event.recipients if name))
    return (event.sender,) if event.sender else ()


def conversation(event: Event) -> str | None:
    if isinstance(event, (Message, FileOffer)):
        return event.conversation
    return event.group if isinstance(event, GroupChange) else None


def scheme(event: Event) -> str | None:
    """The encryption scheme; "none" where the content is readable; None where it is not and the scheme is unknown."""
    if not isinstance(event, (Message, Opaque)):
        return None
    if event.encryption.scheme is not None:
        return event.encryption.scheme
    return "none" if event.encryption.inspectable == "full" else None


def _endings(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MACROS = "docm dotm xlsm xltm xlsb xlam pptm potm ppsm ppam sldm"

FILE_TYPES: Mapping[str, frozenset[str]] = {
    "executable": _endings(
        "exe com scr pif dll sys cpl ocx drv msi msp msix appx gadget application jar apk elf bin run deb rpm dmg pkg "
        "app appimage so dylib ipa xpi crx"
    ),
    "script": _endings(
        "bat cmd ps1 psm1 vbs vbe js jse mjs ws wsf wsh wsc hta sct sh bash py pyw pyc rb pl php lua reg inf lnk url "
        "scf job command workflow ade adp"
    ),
    "macro_document": _endings(_MACROS),
    "document": _endings(
        "doc docx dot dotx xls xlsx xlt ppt pptx pps ppsx rtf odt ods odp pdf epub pages numbers key one vsd vsdx "
        + _MACROS
    ),
    "archive": _endings("zip rar 7z tar gz tgz bz2 tbz2 xz txz zst lz lzh lha arj cab ace z jar"),
    "disk_image": _endings("iso img vhd vhdx vmdk dmg toast"),
    "image": _endings("jpg jpeg png gif bmp tif tiff webp svg heic heif avif ico"),
    "audio": _endings("mp3 wav ogg oga opus flac m4a aac wma amr aiff"),
    "video": _endings("mp4 m4v mov avi mkv webm wmv mpg mpeg 3gp flv"),
    "text": _endings("txt csv md log xml json yaml yml html htm css ini"),
}
"""Kinds of files by the ending of their name; a name may have several kinds."""

_MEDIA_TYPES: Mapping[str, str] = {
    "application/x-msdownload": "executable",
    "application/x-dosexec": "executable",
    "application/x-executable": "executable",
    "application/x-elf": "executable",
    "application/x-msi": "executable",
    "application/vnd.microsoft.portable-executable": "executable",
    "application/vnd.android.package-archive": "executable",
    "application/java-archive": "executable",
    "application/x-sh": "script",
    "application/x-bat": "script",
    "application/hta": "script",
    "application/javascript": "script",
    "text/javascript": "script",
    "application/pdf": "document",
    "application/msword": "document",
    "application/rtf": "document",
    "application/vnd.ms-excel": "document",
    "application/vnd.ms-powerpoint": "document",
    "application/zip": "archive",
    "application/gzip": "archive",
    "application/vnd.rar": "archive",
    "application/x-rar-compressed": "archive",
    "application/x-7z-compressed": "archive",
    "application/x-tar": "archive",
    "application/x-iso9660-image": "disk_image",
}


def file_types(event: Event) -> tuple[str, ...]:
    """Kinds of an offered file by the ending of its name and by its declared media type, and that type itself.

    All that apply: whoever calls a program an image does not free it. Endings as Windows reads them: trailing dots and
    blanks do not count, nor does what follows a colon (an alternate data stream).
    """
    if not isinstance(event, FileOffer):
        return ()
    found: dict[str, None] = {}
    name = event.file_name.casefold()
    for form in {name, name.partition(":")[0]}:
        _, dot, ending = form.rstrip(". \t\x00").rpartition(".")
        if dot:
            found.update((kind, None) for kind, endings in FILE_TYPES.items() if ending.rstrip() in endings)
    if event.declared_type:
        media = event.declared_type.partition(";")[0].strip().lower()
        main = media.partition("/")[0]
        if media in _MEDIA_TYPES:
            found[_MEDIA_TYPES[media]] = None
        elif main in ("image", "audio", "video", "text"):
            found[main] = None
        found[media] = None
    return tuple(found)


def packs(finding: Finding) -> tuple[str, ...]:
    """A pack as name@version and as its name alone."""
    return () if finding.pack is None else (finding.pack, finding.pack.partition("@")[0])


def _event_kind(event: Event) -> tuple[str, ...]:
    return (event.kind,) if isinstance(event, (Message, Opaque)) else ()


def _one(value: object) -> tuple[Any, ...]:
    return () if value is None else (value,)


_VALUES: Mapping[str, Callable[[Facts], tuple[Any, ...]]] = {
    "event": lambda f: (f.event.name,),
    "protocol": lambda f: _one(f.context.protocol),
    "application": lambda f: _one(f.context.application),
    "direction": lambda f: (f.direction,),
    "user": lambda f: (f.user,) if f.user is not None and f.identity == "authenticated" else (),
    "identity": lambda f: (f.identity,),
    "peer": lambda f: f.peer,
    "group": lambda f: tuple(sorted(f.groups)),
    "conversation": lambda f: _one(conversation(f.event)),
    "port": lambda f: (f.context.flow.server.port,),
    "text": lambda f: tuple(text.plain for text in f.event.texts),
    "encryption": lambda f: _one(scheme(f.event)),
    "inspectable": lambda f: (f.event.encryption.inspectable,) if isinstance(f.event, (Message, Opaque)) else (),
    "copy": lambda f: (f.event.copy,) if isinstance(f.event, Message) else (),
    "kind": lambda f: _event_kind(f.event),
    "file.type": lambda f: file_types(f.event),
    "file.name": lambda f: (f.event.file_name,) if isinstance(f.event, FileOffer) and f.event.file_name else (),
    "file.size": lambda f: _one(f.event.size) if isinstance(f.event, FileOffer) else (),
    # An offer says nothing of completeness; the events of a transfer that was watched to its end do.
    "file.complete": lambda f: _one(getattr(f.event, "complete", None)),
    "finding.rule": lambda f: () if f.finding is None else (f.finding.rule,),
    "finding.pack": lambda f: () if f.finding is None else packs(f.finding),
    "finding.severity": lambda f: () if f.finding is None else (f.finding.severity,),
    "finding.tag": lambda f: () if f.finding is None else f.finding.tags,
    "confidence": lambda f: (f.context.confidence,),
    "time": lambda f: (f.at,),
}

_MESSAGE = frozenset({"message"})
_FILE = frozenset({"file"})
_CONTENT = frozenset({"message", "opaque"})

FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        Field("event", "words", "session", tuple(EVENTS)),
        Field("protocol", "words", "session", PROTOCOLS),
        Field("application", "words", "event", APPLICATIONS),
        Field("direction", "words", "session", ("outbound", "inbound", "internal")),
        Field("user", "names", "session"),
        Field("identity", "words", "session", get_args(Identity)),
        Field("peer", "names", events=frozenset(EVENTS) - {"sign_on", "group"}),
        Field("group", "words", "session"),
        Field("conversation", "names", events=frozenset({"message", "file", "group"})),
        Field("port", "numbers", "session", unit="port"),
        Field("text", "pattern"),
        Field("encryption", "words", events=_CONTENT),
        Field("inspectable", "words", "event", get_args(Inspectable), _CONTENT, "event.encryption.inspectable"),
        Field("copy", "words", "event", get_args(Copy), _MESSAGE, "event.copy"),
        Field("kind", "words", "event", get_args(Kind), _CONTENT, "event.kind"),
        Field("file.type", "words", "event", tuple(FILE_TYPES), _FILE),
        Field("file.name", "names", events=_FILE),
        Field("file.size", "numbers", events=_FILE, unit="bytes"),
        Field("file.complete", "truth", events=_FILE),
        Field("finding.rule", "words", "finding"),
        Field("finding.pack", "words", "finding"),
        Field("finding.severity", "words", "finding", get_args(Severity), None, "f.severity"),
        Field("finding.tag", "words", "finding"),
        Field("confidence", "numbers"),
        Field("time", "windows"),
    )
}
