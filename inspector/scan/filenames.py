"""Tricks with the names of files and of members of archives, and what a name claims.

A trick makes a person, or a program that unpacks, take a name for another: a second ending that is not shown, letters
that run backwards, blanks that push the ending out of sight, a path that leaves the folder.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import msgspec

from inspector.model.verdicts import Severity

_MACROS = "docm dotm xlsm xltm xlsb xlam xlm pptm potm ppsm ppam sldm slk"
_SHORTCUTS = (
    "lnk url scf pif desktop webloc inetloc website rdp library-ms search-ms searchconnector-ms appref-ms "
    "settingcontent-ms"
)
_INSTALLERS = (
    "msi msp msu mst msix msixbundle appx appxbundle appinstaller application deb rpm pkg mpkg apk aab ipa xpi crx "
    "snap flatpak flatpakref"
)
ENDINGS: Mapping[str, frozenset[str]] = {
    kind: frozenset(words.split()) for kind, words in {
        "executable":
            "exe com scr pif dll sys cpl ocx drv efi gadget jar class elf bin run dmg app appimage so ko dylib xll wll "
            "wasm xbap " + _INSTALLERS,
        "installer": _INSTALLERS,
        "script":
            "bat cmd ps1 psm1 psd1 ps1xml vb vbs vbe js jse mjs ws wsf wsh wsc hta sct sh bash zsh csh ksh command py "
            "pyw pyc pyz pyzw rb pl php lua ahk au3 reg inf msc job workflow action scpt applescript chm jnlp ade adp "
            "mde accde " + _SHORTCUTS,
        "shortcut": _SHORTCUTS,
        "macro_document": _MACROS,
        "disk_image": "iso img vhd vhdx vmdk vdi qcow2 dmg udf toast wim",
        "archive":
            "zip zipx rar 7z tar gz tgz bz2 tbz2 tbz xz txz zst tzst lz lz4 lzma lzh lha arj cab ace z uue cpio jar "
            "war ear xpi deb rpm pkg apk ipa appx whl",
        "web": "html htm xhtml xht shtml mht mhtml svg svgz swf",
        "document":
            "doc docx dot dotx xls xlsx xlt xltx ppt pptx pps ppsx pot potx rtf odt ods odp odg pdf xps oxps epub "
            "pages numbers key one onepkg pub vsd vsdx mdb accdb wri ps eps " + _MACROS,
        "mail": "eml msg mbox vcf ics",
        "font": "ttf otf ttc woff woff2 pfb pfm fon eot",
        "video": "mp4 m4v mov avi mkv webm wmv mpg mpeg 3gp flv ogv",
        "audio": "mp3 wav ogg oga opus flac m4a aac wma amr aiff aif mid midi",
        "image": "jpg jpeg jpe png gif bmp dib tif tiff webp svg svgz heic heif avif ico jxl psd wmf emf",
        "text": "txt csv tsv md log xml json yaml yml css ini tex",
    }.items()
}
"""What a name claims by its ending: all that policy knows (a test), and a few containers more."""

_RUNS = ENDINGS["executable"] | ENDINGS["script"]
_SHOWN = (
    ENDINGS["document"] | ENDINGS["image"] | ENDINGS["audio"] | ENDINGS["video"] | ENDINGS["archive"]
    | frozenset({"txt", "csv", "log", "htm", "html", "eml", "vcf", "ics"})
) - _RUNS
_MACRO_FREE = frozenset({"docx", "dotx", "xlsx", "xltx", "pptx", "potx", "ppsx"})
_OVERRIDES = frozenset("\u202d\u202e")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BLANK = frozenset("\u00a0\u115f\u1160\u2800\u3164\uffa0\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e")
_MANY_BLANKS = 4
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{port}{n}" for port in ("com", "lpt") for n in (*"123456789", "\u00b9", "\u00b2", "\u00b3")]
)
NAME_MOST = 1024
"""Characters of a name that are looked at: file systems keep 255 of each part."""


class Trick(msgspec.Struct, frozen=True):
    """Something wrong with a name. `rule` without the "file." in front."""

    rule: str
    severity: Severity
    detail: str


def ending(name: str) -> str:
    """The ending as Windows reads it: what shows nothing, trailing dots and blanks do not count; lower case."""
    last = _last(name)
    _, dot, found = last.rpartition(".")
    return found.strip() if dot else ""


def _last(name: str) -> str:
    """The last part of a path, without what does not show."""
    part = name.replace("\\", "/").rpartition("/")[2].casefold()
    if not part.isascii() or not part.isprintable():
        part = "".join(c for c in part if c not in _BIDI and (c not in _BLANK or c == "\u00a0") and c >= " ")
    return part.rstrip(". \u00a0\u3000")


def claims(name: str) -> frozenset[str]:
    """The kinds that a name claims; none: it claims nothing."""
    found = ending(name)
    return frozenset(kind for kind, endings in ENDINGS.items() if found in endings)


def safe(name: str, most: int = 120) -> str:
    """A name for people and logs: controls and directions shown as what they are, shortened in the middle."""
    if len(name) > 4 * most:
        name = f"{name[:2 * most]}…{name[-2 * most:]}"
    text = "".join(c if c.isprintable() and c not in _BIDI else f"\\u{ord(c):04x}" for c in name)
    return text if len(text) <= most else f"{text[:most // 2]}…{text[-(most // 2 - 1):]}"


def tricks(name: str) -> list[Trick]:
    """All that is wrong with a name, or with a path."""
    name = name[-NAME_MOST:]
    out: list[Trick] = []
    shown = safe(name)
    part = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    runs = ending(name) in _RUNS
    bidi = _BIDI & set(part)
    if bidi:
        severity: Severity = "high" if bidi & _OVERRIDES else "medium"
        out.append(Trick("bidi_name", severity, f"{shown}: letters that change direction"))
    pieces = [piece.strip() for piece in _last(name).split(".")]
    if runs and len(pieces) > 2 and pieces[-2] in _SHOWN:
        out.append(Trick("double_extension", "high", f"{shown}: .{pieces[-2]} and .{pieces[-1]}"))
    if _hidden(part):
        out.append(Trick("hidden_extension", "high" if runs else "medium", f"{shown}: the ending does not show"))
    wrong = _path(name)
    if wrong is not None:
        out.append(Trick("unsafe_path", wrong[0], f"{shown}: {wrong[1]}"))
    return out


def _hidden(part: str) -> bool:
    """Whether blanks, dots or controls hide an ending."""
    if not part or part in (".", ".."):
        return False
    if any(c < " " or c == "\x7f" for c in part):
        return True
    if part != part.rstrip(". \u00a0\u3000") and claims(part):
        return True
    run = 0
    for c in part:
        if c == " " or c in _BLANK or unicodedata.category(c) == "Zs":
            run += 1
            if run >= _MANY_BLANKS:
                return True
        else:
            run = 0
    _, dot, last = part.rpartition(".")
    return bool(dot) and any(c in _BLANK for c in last)


def _path(name: str) -> tuple[Severity, str] | None:
    """What makes a path leave its folder, the worst first."""
    parts = name.replace("\\", "/").split("/")
    if ".." in [piece.strip() for piece in parts] or any(piece.rstrip(" ") == ".." for piece in parts):
        return "high", "it leaves the folder"
    if name[:2] in ("//", "\\\\"):
        return "high", "a path to another host"
    if len(name) > 1 and name[1] == ":" and name[0].isascii() and name[0].isalpha():
        return "medium", "a drive's letter"
    if name[:1] in ("/", "\\"):
        return "medium", "an absolute path"
    if ":" in parts[-1] and ending(parts[-1].partition(":")[2]) in _RUNS:
        return "high", "a stream behind the file"
    for piece in parts:
        stem = piece.strip(" ").casefold().split(".", 1)[0].rstrip(" ")
        if stem in _DEVICES:
            return "low", f"{safe(stem)} is the name of a device"
    return None


def _declared(media: str | None) -> frozenset[str]:
    """What a media type claims, so far as it claims to be harmless."""
    main = (media or "").strip().lower().partition("/")[0]
    return frozenset({main}) if main in ("image", "audio", "video", "font", "text") else frozenset()


def mismatch(
    name: str, kinds: tuple[str, ...], declared: str | None = None,
) -> tuple[Severity, str] | None:
    """How far the content (its kinds) is worse than what the name claims; None: not, or nothing is claimed.

    `declared`: a media type, which claims where the name does not.
    """
    claimed = claims(name) or _declared(declared)
    if not claimed or not kinds:
        return None
    found = ending(name)
    for kind, severity in _WORSE:
        if kind not in kinds or kind in claimed:
            continue
        if "executable" in claimed:
            continue  # feared for the worst already
        if kind == "script" and claimed & {"text", "web", "mail"}:
            continue  # it is shown, not run; or run as what it is
        if kind == "macro_document" and "document" in claimed and found not in _MACRO_FREE:
            continue  # the old endings say nothing of macros
        if kind in ("archive", "disk_image") and claimed & _CONTAINERS:
            continue  # many documents are archives of their own kind
        if kind == "document" and not claimed <= {"image", "audio", "video", "font"}:
            continue
        return severity, f"{safe(name or declared or 'it')} holds {_ARTICLE.get(kind, kind)}"
    return None


_CONTAINERS = frozenset({"document", "archive", "disk_image", "script", "web", "mail"})
_WORSE: tuple[tuple[str, Severity], ...] = (
    ("executable", "high"), ("script", "high"), ("macro_document", "medium"), ("disk_image", "medium"),
    ("archive", "medium"), ("document", "medium"),
)
_ARTICLE = {
    "executable": "a program", "script": "a script", "macro_document": "a document with macros",
    "disk_image": "a disk image", "archive": "an archive", "document": "a document",
}
