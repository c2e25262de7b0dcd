"""What the content of a file is, by its bytes alone.

A format has kinds, in the words of policy (`file.type`), and a media type. What can harm is looked for first and
everywhere it works from: a zip counts from its end, a PDF up to a kilobyte from its beginning, RAR and 7z behind a
stub; so a file may have several formats, the most dangerous first. Sources: the formats' own specifications; PDF
32000-1 7.5.2 and H.3; APPNOTE 4.3.16; PE/COFF; MS-CFB 2.2; MS-SHLLINK 2.1; ISO 9660 8.1.

Not told apart: what a zip or an OLE file is (their openers say it, from what is inside); scripts without any word that
only a script has.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import msgspec

from inspector.scan import linear
from inspector.scan.content import Content, Finder

KINDS = (
    "executable", "installer", "script", "shortcut", "macro_document", "disk_image", "archive", "web", "document",
    "mail", "font", "video", "audio", "image", "text",
)
"""All kinds, the most dangerous first."""
_HEAD = 64 * 1024
_STUB = 1024 * 1024
"""How far behind the beginning of a file RAR and 7z look for an archive."""
_TRIES = 16
"""Beginnings of an archive behind a stub that are tried."""
RAR, SEVENZIP = b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c"
_SCRIPT_HEAD = 16 * 1024
_ZIP_TAIL = 22 + 65535
"""The end record of a zip with the longest comment (APPNOTE 4.3.16)."""


class Format(msgspec.Struct, frozen=True):
    """A format of files. `name` is ours, short."""

    name: str
    kinds: tuple[str, ...] = ()
    media_type: str | None = None


_FORMATS = {
    one.name: one for one in (
        Format("pe", ("executable",), "application/vnd.microsoft.portable-executable"),
        Format("dos", ("executable",), "application/x-dosexec"),
        Format("elf", ("executable",), "application/x-elf"),
        Format("macho", ("executable",), "application/x-mach-binary"),
        Format("dex", ("executable",), "application/vnd.android.dex"),
        Format("class", ("executable",), "application/java-vm"),
        Format("swf", ("web",), "application/vnd.adobe.flash.movie"),
        Format("wasm", ("executable",), "application/wasm"),
        Format("deb", ("executable", "installer", "archive"), "application/vnd.debian.binary-package"),
        Format("rpm", ("executable", "installer", "archive"), "application/x-rpm"),
        Format("xar", ("executable", "installer", "archive"), "application/x-xar"),
        Format("crx", ("executable", "installer"), "application/x-chrome-extension"),
        Format("msi", ("executable", "installer"), "application/x-msi"),
        Format("jar", ("executable", "archive"), "application/java-archive"),
        Format("apk", ("executable", "installer"), "application/vnd.android.package-archive"),
        Format("ipa", ("executable", "installer"), "application/octet-stream"),
        Format("appx", ("executable", "installer"), "application/appx"),
        Format("xpi", ("executable", "installer"), "application/x-xpinstall"),
        Format("lnk", ("script", "shortcut"), "application/x-ms-shortcut"),
        Format("chm", ("script",), "application/vnd.ms-htmlhelp"),
        Format("pyc", ("script",), "application/x-python-code"),
        Format("luac", ("script",), "application/x-lua-bytecode"),
        Format("shebang", ("script",), "text/x-shellscript"),
        Format("bat", ("script",), "text/x-msdos-batch"),
        Format("powershell", ("script",), "text/x-powershell"),
        Format("vbscript", ("script",), "text/vbscript"),
        Format("jscript", ("script",), "text/javascript"),
        Format("hta", ("script",), "application/hta"),
        Format("wsf", ("script",), "text/x-wsf"),
        Format("reg", ("script",), "text/x-ms-regedit"),
        Format("shortcut", ("script", "shortcut"), "application/x-mswinurl"),
        Format("desktop", ("script", "shortcut"), "application/x-desktop"),
        Format("inf", ("script",), "application/x-setupscript"),
        Format("php", ("script",), "application/x-httpd-php"),
        Format("ooxml_macro", ("macro_document", "document"), "application/vnd.ms-office.macroenabled"),
        Format("ole_macro", ("macro_document", "document"), "application/x-ole-storage"),
        Format("odf_macro", ("macro_document", "document"), "application/vnd.oasis.opendocument"),
        Format("iso", ("disk_image",), "application/x-iso9660-image"),
        Format("udf", ("disk_image",), "application/x-udf-image"),
        Format("vhd", ("disk_image",), "application/x-vhd"),
        Format("vhdx", ("disk_image",), "application/x-vhdx"),
        Format("vmdk", ("disk_image",), "application/x-vmdk"),
        Format("qcow", ("disk_image",), "application/x-qemu-disk"),
        Format("dmg", ("disk_image",), "application/x-apple-diskimage"),
        Format("wim", ("disk_image",), "application/x-ms-wim"),
        Format("squashfs", ("disk_image",), "application/vnd.squashfs"),
        Format("zip", ("archive",), "application/zip"),
        Format("7z", ("archive",), "application/x-7z-compressed"),
        Format("rar", ("archive",), "application/vnd.rar"),
        Format("gzip", ("archive",), "application/gzip"),
        Format("bzip2", ("archive",), "application/x-bzip2"),
        Format("xz", ("archive",), "application/x-xz"),
        Format("lzma", ("archive",), "application/x-lzma"),
        Format("lzip", ("archive",), "application/x-lzip"),
        Format("zstd", ("archive",), "application/zstd"),
        Format("lz4", ("archive",), "application/x-lz4"),
        Format("compress", ("archive",), "application/x-compress"),
        Format("tar", ("archive",), "application/x-tar"),
        Format("cpio", ("archive",), "application/x-cpio"),
        Format("ar", ("archive",), "application/x-archive"),
        Format("cab", ("archive",), "application/vnd.ms-cab-compressed"),
        Format("szdd", ("archive",), "application/x-ms-compress-szdd"),
        Format("lzh", ("archive",), "application/x-lzh-compressed"),
        Format("ace", ("archive",), "application/x-ace-compressed"),
        Format("arj", ("archive",), "application/x-arj"),
        Format("zoo", ("archive",), "application/x-zoo"),
        Format("sit", ("archive",), "application/x-stuffit"),
        Format("tnef", ("archive",), "application/ms-tnef"),
        Format("uu", ("archive",), "text/x-uuencode"),
        Format("mail", ("mail",), "message/rfc822"),
        Format("pdf", ("document",), "application/pdf"),
        Format("rtf", ("document",), "application/rtf"),
        Format("ole", ("document",), "application/x-ole-storage"),
        Format("ooxml", ("document",), "application/vnd.openxmlformats-officedocument"),
        Format("odf", ("document",), "application/vnd.oasis.opendocument"),
        Format("epub", ("document",), "application/epub+zip"),
        Format("iwork", ("document",), "application/vnd.apple.iwork"),
        Format("onenote", ("document",), "application/onenote"),
        Format("postscript", ("document",), "application/postscript"),
        Format("djvu", ("document",), "image/vnd.djvu"),
        Format("jpeg", ("image",), "image/jpeg"),
        Format("png", ("image",), "image/png"),
        Format("gif", ("image",), "image/gif"),
        Format("bmp", ("image",), "image/bmp"),
        Format("tiff", ("image",), "image/tiff"),
        Format("webp", ("image",), "image/webp"),
        Format("ico", ("image",), "image/vnd.microsoft.icon"),
        Format("ani", ("image",), "application/x-navi-animation"),
        Format("heif", ("image",), "image/heif"),
        Format("avif", ("image",), "image/avif"),
        Format("jxl", ("image",), "image/jxl"),
        Format("jp2", ("image",), "image/jp2"),
        Format("psd", ("image",), "image/vnd.adobe.photoshop"),
        Format("wmf", ("image",), "image/wmf"),
        Format("emf", ("image",), "image/emf"),
        Format("svg", ("web", "image"), "image/svg+xml"),
        Format("mp3", ("audio",), "audio/mpeg"),
        Format("ogg", ("audio",), "audio/ogg"),
        Format("flac", ("audio",), "audio/flac"),
        Format("wav", ("audio",), "audio/wav"),
        Format("aiff", ("audio",), "audio/aiff"),
        Format("amr", ("audio",), "audio/amr"),
        Format("midi", ("audio",), "audio/midi"),
        Format("m4a", ("audio",), "audio/mp4"),
        Format("mp4", ("video",), "video/mp4"),
        Format("matroska", ("video",), "video/x-matroska"),
        Format("avi", ("video",), "video/x-msvideo"),
        Format("asf", ("video",), "video/x-ms-asf"),
        Format("mpeg", ("video",), "video/mpeg"),
        Format("flv", ("video",), "video/x-flv"),
        Format("font", ("font",), "font/sfnt"),
        Format("woff", ("font",), "font/woff"),
        Format("html", ("web",), "text/html"),
        Format("xml", ("text",), "text/xml"),
        Format("text", ("text",), "text/plain"),
    )
}

_BEGINS: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "elf"), (b"\xfe\xed\xfa\xce", "macho"), (b"\xfe\xed\xfa\xcf", "macho"), (b"\xce\xfa\xed\xfe", "macho"),
    (b"\xcf\xfa\xed\xfe", "macho"), (b"dex\n0", "dex"), (b"\0asm", "wasm"), (b"FWS", "swf"), (b"CWS", "swf"),
    (b"ZWS", "swf"), (b"!<arch>\ndebian", "deb"), (b"\xed\xab\xee\xdb", "rpm"), (b"xar!", "xar"), (b"Cr24", "crx"),
    (b"L\0\0\0\x01\x14\x02\0", "lnk"), (b"ITSF", "chm"), (b"\x1bLua", "luac"), (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"), (b"KDMV", "vmdk"), (b"QFI\xfb", "qcow"), (b"MSWIM\0\0\0", "wim"), (b"hsqs", "squashfs"),
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"PK\x07\x08PK", "zip"), (b"PK00PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "rar"), (b"RE~^", "rar"), (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\0", "xz"), (b"LZIP\x01", "lzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x1f\x9d", "compress"), (b"070701", "cpio"), (b"070702", "cpio"), (b"070707", "cpio"), (b"!<arch>\n", "ar"),
    (b"MSCF\0\0\0\0", "cab"), (b"SZDD\x88\xf0\x27\x33", "szdd"), (b"\x60\xea", "arj"), (b"ZOO ", "zoo"),
    (b"StuffIt", "sit"), (b"SIT!", "sit"), (b"\x78\x9f\x3e\x22", "tnef"), (b"{\\rt", "rtf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"), (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "onenote"),
    (b"%!PS", "postscript"), (b"\xc5\xd0\xd3\xc6", "postscript"), (b"AT&TFORM", "djvu"), (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF87a", "gif"), (b"GIF89a", "gif"), (b"II*\0", "tiff"), (b"MM\0*", "tiff"),
    (b"\0\0\x01\0", "ico"), (b"\xff\x0a", "jxl"), (b"\0\0\0\x0cJXL ", "jxl"), (b"\0\0\0\x0cjP  ", "jp2"),
    (b"8BPS", "psd"), (b"\xd7\xcd\xc6\x9a", "wmf"), (b"ID3", "mp3"), (b"OggS", "ogg"), (b"fLaC", "flac"),
    (b"#!AMR", "amr"), (b"MThd", "midi"), (b"\x1aE\xdf\xa3", "matroska"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"), (b"\0\0\x01\xba", "mpeg"), (b"\0\0\x01\xb3", "mpeg"),
    (b"FLV\x01", "flv"), (b"\0\x01\0\0\0", "font"), (b"OTTO\0", "font"), (b"true\0", "font"), (b"ttcf\0", "font"),
    (b"wOFF", "woff"), (b"wOF2", "woff"),
)
_BY_FIRST: dict[int, list[tuple[bytes, str]]] = {}
for _magic, _name in _BEGINS:
    _BY_FIRST.setdefault(_magic[0], []).append((_magic, _name))

_RIFF = {b"WAVE": "wav", b"AVI ": "avi", b"WEBP": "webp", b"ACON": "ani"}
_BRANDS = {
    b"heic": "heif", b"heix": "heif", b"mif1": "heif", b"msf1": "heif", b"hevc": "heif", b"avif": "avif",
    b"avis": "avif", b"M4A ": "m4a", b"M4B ": "m4a",
}
_TEXT_BYTES = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(0x20, 0x7f)) | set(range(0x80, 0x100)))
_PYC = frozenset(range(3000, 3700))


def format_of(name: str) -> Format:
    """A format by its name."""
    return _FORMATS[name]


def kinds_of(formats: Iterable[Format]) -> tuple[str, ...]:
    """The kinds of all formats, the most dangerous first."""
    found = {kind for one in formats for kind in one.kinds}
    return tuple(kind for kind in KINDS if kind in found)


def ordered(formats: Iterable[Format]) -> tuple[Format, ...]:
    """Formats without repeats, the most dangerous first, those without a kind last."""
    return tuple(sorted(dict.fromkeys(formats), key=lambda one: KINDS.index(one.kinds[0]) if one.kinds else len(KINDS)))


def identify(content: Content) -> tuple[Format, ...]:
    """The formats of a content, the most dangerous first; none: unknown. Raises OSError."""
    size = content.size
    if size == 0:
        return ()
    head = content.read(0, min(size, _HEAD))
    names: list[str] = []
    for magic, name in _BY_FIRST.get(head[0], ()):
        if head.startswith(magic):
            names.append(name)
            break
    _more(content, head, names)
    _anywhere(content, head, names)
    if not names or names == ["amr"]:
        names += _text(head)
    else:
        # A shell reads its first line whatever follows, and mshta reads on behind what it does not understand.
        names += [name for name in _text_formats(head) if name in ("shebang", "bat", "hta")]
    return ordered(_FORMATS[name] for name in names)


def _more(content: Content, head: bytes, names: list[str]) -> None:
    """Formats that more than the first bytes tell."""
    if head[:2] in (b"MZ", b"ZM"):
        name = _mz(content, head)
        if name:
            names.append(name)
    elif head[:4] == b"\xca\xfe\xba\xbe" and len(head) >= 8:
        # Both begin so: a fat Mach-O has few architectures where a class has its version (45 and above).
        names.append("macho" if struct.unpack_from(">I", head, 4)[0] < 40 else "class")
    elif head[:4] == b"RIFF" and head[8:12] in _RIFF:
        names.append(_RIFF[head[8:12]])
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        names.append("aiff")
    elif head[4:8] == b"ftyp":
        names.append(_BRANDS.get(head[8:12], "mp4"))
    elif head[:3] == b"BZh" and (head[4:10] == b"1AY&SY" or head[4:10] == b"\x17\x72\x45\x38\x50\x90"):
        names.append("bzip2")
    elif head[:2] == b"BM" and len(head) >= 26 and struct.unpack_from("<I", head, 14)[0] in (12, 40, 52, 56, 108, 124):
        names.append("bmp")
    elif not names and len(head) > 4 and head[0] == 0xff and head[1] & 0xe6 in (0xe2, 0xe4) and head[2] < 0xf0:
        names.append("mp3")
    elif head[:1] == b"\x5d" and head[1:3] == b"\0\0" and len(head) > 13 and _lzma_alone(head):
        names.append("lzma")
    elif len(head) > 16 and head[2:4] == b"\r\n" and struct.unpack_from("<H", head)[0] in _PYC:
        names.append("pyc")
    elif head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5f:
        names.append("zstd")  # a skippable frame (RFC 8878 3.1.2), which lz4 has too
    elif head[:4] == b"\x01\0\0\0" and head[40:44] == b" EMF":
        names.append("emf")
    if head[2:5] in (b"-lh", b"-lz") and head[6:7] == b"-":
        names.append("lzh")
    if head[7:14] == b"**ACE**":
        names.append("ace")
    if names[:1] == ["arj"] and not _arj(head):
        names.remove("arj")
    if names[:1] == ["ico"] and not _ico(head):
        names.remove("ico")
    if len(head) >= 512 and "tar" not in names and tar_header(head):
        names.append("tar")


def _mz(content: Content, head: bytes) -> str | None:
    if len(head) < 28:
        return None
    if len(head) >= 64:
        where = struct.unpack_from("<I", head, 60)[0]
        if content.read(where, 4) == b"PE\0\0":
            return "pe"
    # A text may begin so too; a program has bytes in its header that no text has.
    return "dos" if head[:64].translate(None, _TEXT_BYTES) else None


def _lzma_alone(head: bytes) -> bool:
    size = struct.unpack_from("<Q", head, 5)[0]
    return head[13] == 0 and (size == 0xffffffffffffffff or size < 1 << 40)


def _arj(head: bytes) -> bool:
    return len(head) > 34 and 30 <= struct.unpack_from("<H", head, 2)[0] <= 2600 and head[10] in (0, 1, 2)


def _ico(head: bytes) -> bool:
    return len(head) >= 22 and 0 < struct.unpack_from("<H", head, 4)[0] < 256 and head[9] == 0


def tar_header(block: bytes) -> bool:
    """Whether a block of 512 bytes is the header of a tar member: its checksum is right (POSIX ustar; v7)."""
    text = block[148:156].strip(b"\0 ")
    if not text or text.strip(b"01234567"):
        return False
    summed = block[:148] + block[156:512]
    said, total = int(text, 8), sum(summed) + 8 * 32
    # Old writers summed the bytes as signed numbers.
    return said in (total, total - 256 * sum(byte > 127 for byte in summed))


def _anywhere(content: Content, head: bytes, names: list[str]) -> None:
    """Formats that need not begin with the file."""
    size = content.size
    if "pdf" not in names and b"%PDF-" in head[:1024]:
        names.append("pdf")
    if "zip" not in names and size >= 22:
        tail = content.read(max(0, size - _ZIP_TAIL), _ZIP_TAIL) if size > len(head) else head[-_ZIP_TAIL:]
        if b"PK\x05\x06" in tail and _end_record(tail, size):
            names.append("zip")
    if size > 32768 + 2048:
        mark = content.read(32768, 6) if size > len(head) else head[32768:32774]
        if mark[1:6] == b"CD001":
            names.append("iso")
        elif mark[1:6] in (b"BEA01", b"NSR02", b"NSR03"):
            names.append("udf")
    if size > 512:
        last = content.read(size - 512, 8)
        if last[:4] == b"koly":
            names.append("dmg")
        elif last == b"conectix" and "vhd" not in names:
            names.append("vhd")
    if "rar" not in names and embedded(content, RAR) >= 0:
        names.append("rar")
    if "7z" not in names and embedded(content, SEVENZIP) >= 0:
        names.append("7z")


def _end_record(tail: bytes, size: int) -> bool:
    """Whether there is the end record of a zip in the last bytes of a file of `size` bytes."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + 22 <= len(tail):
            directory, start = struct.unpack_from("<II", tail, at + 12)
            if (directory <= size and start <= size) or start == 0xffffffff:
                return True
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return False


def embedded(content: Content, magic: bytes) -> int:
    """Where an archive (RAR, SEVENZIP) begins, at once or behind a stub; -1: nowhere. The magic alone is in many a
    program: the header behind it must have the right checksum."""
    finder = Finder(content, magic, _STUB)
    at = finder.find(0)
    for _ in range(_TRIES):
        if at < 0:
            break
        if _header_is_right(content, magic, at):
            return at
        at = finder.find(at + 1)
    return -1


def _header_is_right(content: Content, magic: bytes, at: int) -> bool:
    head = content.read(at, 32)
    if len(head) < 20:
        return False
    if magic == SEVENZIP:
        return zlib.crc32(head[12:32]) == int.from_bytes(head[8:12], "little")
    if head[6:8] == b"\x01\0":
        size = head[12]
        if size & 0x80 or size < 3:
            return size & 0x80 > 0  # a header of 128 bytes and more: its size is a longer number
        return zlib.crc32(content.read(at + 12, 1 + size)) == int.from_bytes(head[8:12], "little")
    size = int.from_bytes(head[12:14], "little")
    return head[6] == 0 and size >= 7 and (
        zlib.crc32(content.read(at + 9, size - 2)) & 0xffff == int.from_bytes(head[7:9], "little"))


def text_of(head: bytes) -> str | None:
    """A beginning as text, when it is one: UTF-8 or a byte charset, or UTF-16 with its mark; else None."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head.decode("utf-16", "replace")
        return None if text.count("\ufffd") > len(text) // 10 + 1 or "\0" in text else text
    if head.translate(None, _TEXT_BYTES):
        return None
    if head.startswith(b"\xef\xbb\xbf"):
        head = head[3:]
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError as exc:
        if exc.start >= len(head) - 3:
            return head[:exc.start].decode("utf-8")
    high = len(head.translate(None, bytes(range(0x80))))
    return head.decode("latin-1") if high * 3 < len(head) else None


def _text(head: bytes) -> list[str]:
    """Formats of a text; none: it is none."""
    if text_of(head[:4096]) is None:
        return _text_formats(head)
    return _text_formats(head) or ["text"]


_POWERSHELL = (
    "invoke-expression", "new-object ", "write-host", "-executionpolicy", "set-strictmode", "[cmdletbinding",
    "downloadstring(", "start-process", "$env:", "-encodedcommand", "invoke-webrequest", "param(", "iex(", "iex (",
    "add-type ", "set-itemproperty", "out-file", "$psscriptroot", "[system.", "foreach-object",
)
_VBSCRIPT = (
    "createobject(", "wscript.", "on error resume next", "end sub", "end function", "\ndim ", "option explicit",
    "msgbox ", "executeglobal", "getobject(", "chrw(", "chr(",
)
_BATCH = (
    "@echo", "@rem", "@setlocal", "@cmd", "@start", "@powershell", "@if", "@for", "@set ", "@cls", "@cd", "echo off",
)


def _text_formats(head: bytes) -> list[str]:
    """What a text is by the words in its beginning. A text that only talks of them has few."""
    raw = head[:_SCRIPT_HEAD]
    if head[:1] in b"XxMmFfRrDdSsTtCc\r\n \t\xef" and b"\n" not in raw[:_SCRIPT_HEAD // 2]:
        raw = head  # a header field as long as this
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = raw.decode("utf-16", "replace").lower()
    else:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode("latin-1").lower()
    begin = text.lstrip()
    if begin.startswith("#!") and not begin.startswith("#!amr"):
        line = begin[2:100].split("\n", 1)[0].strip()
        if line[:1] == "/" or line.startswith("env"):
            return ["shebang"]
    if begin.startswith("#@~^"):
        return ["jscript"]
    if begin.startswith(_BATCH):
        return ["bat"]
    if begin.startswith(("windows registry editor version", "regedit4")):
        return ["reg"]
    if begin.startswith("["):
        for mark, name in (
            ("[internetshortcut", "shortcut"), ("[shell]", "shortcut"), ("[desktop entry]", "desktop"),
        ):
            if mark in text:
                return [name]
        if "[version]" in text and "signature" in text and "$" in text:
            return ["inf"]
    if "<?php" in text:
        return ["php"]
    if "<" in text:
        found = _markup(text, begin)
        if found:
            return found
    for name, words, least in (("powershell", _POWERSHELL, 2), ("vbscript", _VBSCRIPT, 2)):
        if sum(word in text for word in words) >= least:
            return [name]
    if "activexobject" in text or ("wscript." in text and ";" in text):
        return ["jscript"]
    return _mail(begin)


def _markup(text: str, begin: str) -> list[str]:
    if "<hta:application" in text:
        return ["hta"]
    if "<scriptlet" in text or ("<job" in text and ("<script" in text or "<package" in text)):
        return ["wsf"]
    if "<svg" in text and begin.startswith(("<?xml", "<svg", "<!--", "<!doctype svg")):
        return ["svg"]
    if begin.startswith("<?xml"):
        return ["html"] if "<html" in text else ["xml"]
    if begin.startswith(("<!doctype html", "<html", "<head", "<body", "<script", "<iframe", "<meta ")) or (
        begin.startswith("<") and "<html" in text
    ):
        return ["html"]
    return []


_UU = linear.pattern(rb"begin(-base64)? [0-7]{3,4} [^\r\n]")
_MAIL = (
    "received:", "return-path:", "mime-version:", "message-id:", "delivered-to:", "x-mailer:", "date:", "from:",
    "subject:", "to:", "content-type:", "reply-to:", "content-transfer-encoding:",
)


def _mail(begin: str) -> list[str]:
    """Whether it begins with header fields, three of which mail has (RFC 5322 3.6, RFC 2045 4)."""
    if _UU.match(begin.encode("latin-1", "replace")):
        return ["uu"]
    if not begin.startswith((*_MAIL, "x-", "from ", "arc-", "dkim-", "authentication-results:")):
        return []
    fields = "\n" + begin.replace("\r\n", "\n").partition("\n\n")[0]
    if "\nmime-version:" in fields and "\ncontent-type:" in fields:
        return ["mail"]  # no more is needed to be read as one
    return ["mail"] if sum(f"\n{word}" in fields for word in _MAIL) >= 3 else []
