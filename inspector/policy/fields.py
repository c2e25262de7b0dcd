"""The fields that conditions can name: where each comes from, and what may be asked of it.

A field is *unknown* when the event has no such thing or nobody knows it: a condition on it is false then, and its
negation true. Values come as a tuple: empty = unknown, several = a condition holds if it holds for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args
from unicodedata import category

import msgspec

from inspector.model import (
    UP,
    CallSetup,
    ContactChange,
    Context,
    Copy,
    Event,
    File,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
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
    unit: Literal["", "bytes", "port", "count"] = ""
    early: bool = True
    """Whether it is known of a file before its content comes."""


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
    if isinstance(event, (SignOn, GroupChange, FileStart, FilePart, FileEnd)):
        return ()
    if way is UP:
        return tuple(dict.fromkeys(name for name in event.recipients if name))
    return (event.sender,) if event.sender else ()


def conversation(event: Event) -> str | None:
    if isinstance(event, (Message, FileOffer, File)):
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


_MACROS = "docm dotm xlsm xltm xlsb xlam xlm pptm potm ppsm ppam sldm slk"
_SHORTCUTS = (
    "lnk url scf pif desktop webloc inetloc website rdp library-ms search-ms searchconnector-ms appref-ms "
    "settingcontent-ms"
)
_INSTALLERS = (
    "msi msp msu mst msix msixbundle appx appxbundle appinstaller application deb rpm pkg mpkg apk aab ipa xpi crx "
    "snap flatpak flatpakref"
)

FILE_TYPES: Mapping[str, frozenset[str]] = {
    "executable": _endings(
        "exe com scr pif dll sys cpl ocx drv efi gadget jar class elf bin run dmg app appimage so ko dylib xll wll "
        "wasm xbap " + _INSTALLERS
    ),
    "installer": _endings(_INSTALLERS),
    "script": _endings(
        "bat cmd ps1 psm1 psd1 ps1xml vb vbs vbe js jse mjs ws wsf wsh wsc hta sct sh bash zsh csh ksh command py pyw "
        "pyc pyz pyzw rb pl php lua ahk au3 reg inf msc job workflow action scpt applescript chm jnlp ade adp mde "
        "accde " + _SHORTCUTS
    ),
    "shortcut": _endings(_SHORTCUTS),
    "macro_document": _endings(_MACROS),
    "document": _endings(
        "doc docx dot dotx xls xlsx xlt xltx ppt pptx pps ppsx pot potx rtf odt ods odp odg pdf xps oxps epub pages "
        "numbers key one onepkg pub vsd vsdx mdb accdb wri ps eps " + _MACROS
    ),
    "archive": _endings(
        "zip zipx rar 7z tar gz tgz bz2 tbz2 tbz xz txz zst tzst lz lz4 lzma lzh lha arj cab ace z uue cpio jar war ear"
    ),
    "disk_image": _endings("iso img vhd vhdx vmdk vdi qcow2 dmg udf toast wim"),
    "image": _endings("jpg jpeg jpe png gif bmp dib tif tiff webp svg svgz heic heif avif ico jxl psd wmf emf"),
    "audio": _endings("mp3 wav ogg oga opus flac m4a aac wma amr aiff aif mid midi"),
    "video": _endings("mp4 m4v mov avi mkv webm wmv mpg mpeg 3gp flv ogv"),
    "font": _endings("ttf otf ttc woff woff2 pfb pfm fon eot"),
    "web": _endings("html htm xhtml xht shtml mht mhtml svg svgz swf"),
    "mail": _endings("eml msg mbox vcf ics"),
    "text": _endings("txt csv tsv md log xml json yaml yml css ini tex"),
    "unknown": frozenset(),
}
"""Kinds of files, by the ending of their name; a name may have several kinds. The words are the ones that the judging
of content says, too (docs/files.md). `unknown`: neither name nor content says anything."""

DANGEROUS = frozenset({
    "executable", "installer", "script", "shortcut", "macro_document", "archive", "disk_image", "web",
})
"""Kinds that a transferred file has if its name says so, whatever its content is: a program that is called .exe and has
no shape that we know is started all the same. Of the other kinds only the content is believed."""

IMPLIED: Mapping[str, tuple[str, ...]] = {
    "installer": ("executable",), "shortcut": ("script",), "macro_document": ("document",),
}
"""Kinds that are kinds of another."""

_MEDIA_TYPES: Mapping[str, str] = {
    "application/x-msdownload": "executable",
    "application/x-dosexec": "executable",
    "application/x-executable": "executable",
    "application/x-pie-executable": "executable",
    "application/x-sharedlib": "executable",
    "application/x-mach-binary": "executable",
    "application/x-elf": "executable",
    "application/vnd.microsoft.portable-executable": "executable",
    "application/java-archive": "executable",
    "application/java-vm": "executable",
    "application/wasm": "executable",
    "application/x-msi": "installer",
    "application/x-xar": "installer",
    "application/x-chrome-extension": "installer",
    "application/x-xpinstall": "installer",
    "application/appx": "installer",
    "application/vnd.debian.binary-package": "installer",
    "application/x-rpm": "installer",
    "application/vnd.android.package-archive": "installer",
    "application/x-sh": "script",
    "application/x-bat": "script",
    "application/hta": "script",
    "application/javascript": "script",
    "text/javascript": "script",
    "text/vbscript": "script",
    "text/x-powershell": "script",
    "text/x-msdos-batch": "script",
    "application/vnd.ms-htmlhelp": "script",
    "text/x-python": "script",
    "text/x-shellscript": "script",
    "application/x-powershell": "script",
    "application/x-ms-shortcut": "shortcut",
    "application/x-mswinurl": "shortcut",
    "application/x-desktop": "shortcut",
    "application/vnd.ms-word.document.macroenabled.12": "macro_document",
    "application/vnd.ms-word.template.macroenabled.12": "macro_document",
    "application/vnd.ms-excel.sheet.macroenabled.12": "macro_document",
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": "macro_document",
    "application/vnd.ms-excel.template.macroenabled.12": "macro_document",
    "application/vnd.ms-excel.addin.macroenabled.12": "macro_document",
    "application/vnd.ms-powerpoint.presentation.macroenabled.12": "macro_document",
    "application/vnd.ms-powerpoint.slideshow.macroenabled.12": "macro_document",
    "application/vnd.ms-powerpoint.template.macroenabled.12": "macro_document",
    "application/pdf": "document",
    "application/msword": "document",
    "application/rtf": "document",
    "text/rtf": "document",
    "application/vnd.ms-excel": "document",
    "application/vnd.ms-powerpoint": "document",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "document",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "document",
    "application/vnd.oasis.opendocument.text": "document",
    "application/vnd.oasis.opendocument.spreadsheet": "document",
    "application/vnd.oasis.opendocument.presentation": "document",
    "application/zip": "archive",
    "application/x-zip-compressed": "archive",
    "application/gzip": "archive",
    "application/x-bzip2": "archive",
    "application/x-xz": "archive",
    "application/zstd": "archive",
    "application/vnd.rar": "archive",
    "application/x-rar-compressed": "archive",
    "application/x-7z-compressed": "archive",
    "application/x-tar": "archive",
    "application/vnd.ms-cab-compressed": "archive",
    "application/x-iso9660-image": "disk_image",
    "text/html": "web",
    "application/xhtml+xml": "web",
    "image/svg+xml": "web",
    "application/x-shockwave-flash": "web",
    "application/vnd.adobe.flash.movie": "web",
    "message/rfc822": "mail",
    "text/calendar": "mail",
    "text/vcard": "mail",
}


def file_types(event: Event) -> tuple[str, ...]:
    """Kinds of a file and its media type.

    Of an offer: by the ending of its name and by its declared media type, all that apply: whoever calls a program an
    image does not free it. Of a file whose content was read: what the content is; what name and declared type say of
    `DANGEROUS` kinds holds, too. `unknown` where there is nothing to go by.
    """
    if not isinstance(event, (FileOffer, File)):
        return ()
    claimed = [*_types_of_name(event.file_name), *_types_of_media(event.declared_type)]
    found: dict[str, None] = {}
    if isinstance(event, File) and event.sha256 is not None:
        media = _media(event.media_type)
        kinds = [kind for kind in (*event.kinds, *_types_of_media(media)) if kind != "unknown"]
        for kind in (*kinds, *(kind for kind in claimed if kind in DANGEROUS)):
            found.update(dict.fromkeys((kind, *IMPLIED.get(kind, ()))))
    else:
        found = dict.fromkeys(claimed)
        media = _media(event.declared_type)
    if not found:
        found["unknown"] = None
    if media:
        found[media] = None
    return tuple(found)


def _types_of_name(name: str) -> tuple[str, ...]:
    """Kinds by the ending of a name, as its reader's system may read it: all that apply.

    Trailing dots, blanks and slashes do not count, nor what follows a colon (an alternate data stream) or a NUL (where
    C ends a text), nor characters that do not show.
    """
    name = name.casefold()
    forms = {name, name.partition(":")[0], name.partition("\x00")[0]}
    if not name.isprintable():
        shown = "".join(c for c in name if c >= " " and category(c) != "Cf")
        forms |= {shown, shown.partition(":")[0]}
    found: dict[str, None] = {}
    for form in sorted(forms):
        _, dot, ending = form.rstrip(". \t\x00/\\").rpartition(".")
        if dot:
            found.update((kind, None) for kind, endings in FILE_TYPES.items() if ending.rstrip() in endings)
    return tuple(found)


def _types_of_media(declared: str | None) -> tuple[str, ...]:
    media = _media(declared)
    kind = _MEDIA_TYPES.get(media)
    main = media.partition("/")[0]
    kinds = () if kind is None else (kind, *IMPLIED.get(kind, ()))
    return (*kinds, main) if main in ("image", "audio", "video", "font") or (main == "text" and not kinds) else kinds


def _media(declared: str | None) -> str:
    """A media type without its parameters, in small letters; "" where there is none."""
    return "" if declared is None else declared.partition(";")[0].strip().lower()


def read_content(event: Event) -> File | None:
    """The file, if it is one whose content was read."""
    return event if isinstance(event, File) and event.sha256 is not None else None


def file_state(event: Event) -> str | None:
    """`offered` before the content comes, `transferred` once it has."""
    return "transferred" if isinstance(event, File) else "offered" if isinstance(event, FileOffer) else None


def packs(finding: Finding) -> tuple[str, ...]:
    """A pack as name@version and as its name alone."""
    return () if finding.pack is None else (finding.pack, finding.pack.partition("@")[0])


def _event_kind(event: Event) -> tuple[str, ...]:
    return (event.kind,) if isinstance(event, (Message, Opaque)) else ()


def _one(value: object) -> tuple[Any, ...]:
    return () if value is None else (value,)


_FILES = (FileOffer, File)

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
    "file.name": lambda f: (f.event.file_name,) if isinstance(f.event, _FILES) and f.event.file_name else (),
    "file.size": lambda f: _one(f.event.size) if isinstance(f.event, _FILES) else (),
    "file.state": lambda f: _one(file_state(f.event)),
    "file.method": lambda f: (f.event.method,) if isinstance(f.event, _FILES) and f.event.method else (),
    # What an offer says of its content is not what the content is.
    "file.complete": lambda f: (f.event.complete,) if isinstance(f.event, File) else (),
    "file.encrypted": lambda f: () if (file := read_content(f.event)) is None else (file.encrypted,),
    "file.members": lambda f: () if (file := read_content(f.event)) is None else (file.members,),
    "file.sha256": lambda f: _one(f.event.sha256) if isinstance(f.event, File) else (),
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
        Field("file.state", "words", "event", ("offered", "transferred"), _FILE, early=False),
        Field("file.method", "words", events=_FILE),
        Field("file.complete", "truth", events=_FILE, early=False),
        Field("file.encrypted", "truth", events=_FILE, early=False),
        Field("file.members", "numbers", events=_FILE, unit="count", early=False),
        Field("file.sha256", "names", events=_FILE, early=False),
        Field("finding.rule", "words", "finding"),
        Field("finding.pack", "words", "finding"),
        Field("finding.severity", "words", "finding", get_args(Severity), None, "f.severity"),
        Field("finding.tag", "words", "finding"),
        Field("confidence", "numbers"),
        Field("time", "windows"),
    )
}
