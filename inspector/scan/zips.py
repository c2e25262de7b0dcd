"""Zip archives, and what is made of them: Office and OpenDocument files, JAR, APK and others.

APPNOTE.TXT 6.3.10: end record 4.3.16, zip64 4.3.14-15, directory 4.3.12, local header 4.3.7, methods 4.4.5.

A zip says twice what is in it, in its directory and in front of each file, and readers believe one or the other. So
both are read: where they disagree, and where a file is that the directory does not name, it is told, and judged.

Not unpacked: deflate64, implode, shrink, PPMd, WavPack; parts of split archives.
"""

from __future__ import annotations

import html
import lzma
import struct
import zlib
from collections.abc import Iterator

import msgspec

from inspector.scan import linear
from inspector.scan.archives import (
    DICTIONARY,
    Box,
    Damaged,
    bunzipped,
    inflated,
    lzma_filter,
    raw_lzma,
    unlzmaed,
    unzstd,
)
from inspector.scan.content import Content, Finder, Part, blocks, find

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_TAIL = 22 + 65535 + 20
_DIRECTORY_BYTES = 8 * 1024 * 1024
"""Longest directory that is read: of some 100,000 files, far above what is looked at."""
_NAMES = 4096
"""Names that are looked at to tell what is made of a zip."""
_FAR = 0xffffffff


class Entry(msgspec.Struct, frozen=True):
    """A file of a zip, as its directory or its local header says. `start`: where its data begins."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int
    start: int


class Directory(msgspec.Struct):
    """A central directory. `entries`: (name, flags, method, crc, packed, size, local header's place)."""

    entries: list[tuple[str, int, int, int, int, int, int]]
    start: int
    end: int
    """Behind its last entry, whatever its end record says of its length."""
    record: int
    """Where its end record is."""
    damaged: str | None = None
    other_names: list[str] = []


def open_zip(content: Content, box: Box) -> None:
    """All files of a zip, by its directory and by its local headers."""
    directory = read_directory(content)
    if directory is None:
        box.tell("damaged", "low", "the zip has no directory")
        _hidden(content, box, [(0, content.size)], told=True)
        return
    if directory.damaged:
        box.tell("damaged", "low", directory.damaged)
    names = [entry[0] for entry in directory.entries[:_NAMES]]
    kind = made_of(names, content, directory)
    if kind is not None:
        box.become("zip", kind)
    for other in directory.other_names:
        box.name_only(other)
    taken: list[tuple[int, int]] = []
    overlaps = False
    for central in sorted(directory.entries, key=lambda one: one[6]):
        local = _local(content, central[6])
        if local is None:
            box.tell("damaged", "low", f"{central[0]}: no local header")
            box.name_only(central[0])
            continue
        name, flags, method, crc, packed, size, header = central
        entry = Entry(name, flags, method, crc, packed, size, header, local.start)
        end = local.start + packed + (16 if flags & 8 else 0)
        if taken and header < taken[-1][1] - (16 if flags & 8 else 0) and not overlaps:
            overlaps = True
            box.tell("bomb", "high", f"{name}: files of the zip lie upon one another")
        taken.append((header, max(end, taken[-1][1] if taken else 0)))
        _member(content, box, entry)
        _disagreement(content, box, entry, local)
    taken += [(directory.start, directory.end), (directory.record, directory.record + _END.size)]
    _hidden(content, box, _gaps(sorted(taken), content.size))


def read_directory(content: Content) -> Directory | None:
    """The directory that the last end record names; None: there is none."""
    at = max(0, content.size - _TAIL)
    tail = content.read(at, _TAIL)
    here = tail.rfind(b"PK\x05\x06")
    while here >= 0:
        if here + 22 <= len(tail):
            found = _directory(content, tail, here, at)
            if found is not None:
                return found
        here = tail.rfind(b"PK\x05\x06", 0, here)
    return None


def _directory(content: Content, tail: bytes, here: int, at: int) -> Directory | None:
    _, _, _, _, count, length, start, _ = _END.unpack_from(tail, here)
    record_at = end = at + here
    damaged = None
    far = count == 0xffff or length == _FAR or start == _FAR
    if far and here >= 20 and tail[here - 20:here - 16] == b"PK\x06\x07":
        _, _, where, _ = _LOCATOR.unpack_from(tail, here - 20)
        record = content.read(where, _END64.size)
        near = end - 20 - _END64.size
        if record[:4] != b"PK\x06\x06" and near >= 0:
            where, record = near, content.read(near, _END64.size)
        if len(record) == _END64.size and record[:4] == b"PK\x06\x06":
            count, length, start = _END64.unpack(record)[7:10]
            end = where
    # What stands in front of the zip shifts all places; readers differ in whether they see it (4.3.1).
    shift = end - length - start
    if shift < 0 or content.read(start + shift, 4) not in (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b""):
        shift = 0
    if length > content.size or start + shift > content.size:
        return None
    if count and content.read(start + shift, 4) != b"PK\x01\x02":
        return None
    data = content.read(start + shift, min(max(length, 0), _DIRECTORY_BYTES))
    entries: list[tuple[str, int, int, int, int, int, int]] = []
    others: list[str] = []
    place = 0
    while place + _CENTRAL.size <= len(data) and data[place:place + 4] == b"PK\x01\x02":
        (_, _, _, flags, method, _, _, crc, packed, size, names, extras, comments, _, _, _, header
         ) = _CENTRAL.unpack_from(data, place)
        name_at = place + _CENTRAL.size
        raw = data[name_at:name_at + names]
        extra = data[name_at + names:name_at + names + extras]
        size, packed, header, other = _extra(extra, size, packed, header)
        name = _name(raw, flags)
        if other and other != name:
            others.append(other)
        entries.append((name, flags, method, crc, packed, size, header + shift))
        place = name_at + names + extras + comments
    if len(entries) & 0xffff != count & 0xffff:
        damaged = f"the zip's directory names {len(entries)} files where it says {count}"
    return Directory(entries, start + shift, start + shift + place, record_at, damaged, others)


def _extra(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int, str | None]:
    """Sizes and place from the zip64 field (4.5.3), a name from the Unicode path field (4.6.9)."""
    other = None
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4:at + 4 + length]
        if tag == 1:
            here = 0
            if size == _FAR and here + 8 <= len(field):
                size, here = int.from_bytes(field[here:here + 8], "little"), here + 8
            if packed == _FAR and here + 8 <= len(field):
                packed, here = int.from_bytes(field[here:here + 8], "little"), here + 8
            if header == _FAR and here + 8 <= len(field):
                header = int.from_bytes(field[here:here + 8], "little")
        elif tag == 0x7075 and len(field) > 5:
            other = field[5:].decode("utf-8", "replace")
        at += 4 + length
    return size, packed, header, other


def _name(raw: bytes, flags: int) -> str:
    if flags & 0x800:
        return raw.decode("utf-8", "replace")
    try:
        return raw.decode("utf-8")  # what most writers mean today, and ASCII
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _local(content: Content, at: int) -> Entry | None:
    """What the local header at `at` says; None: there is none."""
    head = content.read(at, _LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
        return None
    _, _, flags, method, _, _, crc, packed, size, names, extras = _LOCAL.unpack(head)
    raw = content.read(at + _LOCAL.size, names)
    extra = content.read(at + _LOCAL.size + names, extras)
    size, packed, _, _ = _extra(extra, size, packed, 0)
    return Entry(_name(raw, flags), flags, method, crc, packed, size, at, at + _LOCAL.size + names + extras)


def _member(content: Content, box: Box, entry: Entry) -> None:
    if entry.name.endswith(("/", "\\")) and entry.size == 0 and entry.packed == 0:
        box.name_only(entry.name)
        return
    if entry.flags & 1 or entry.method == 99:
        box.encrypted(entry.name)
        box.name_only(entry.name)
        return
    packed = min(entry.packed, max(0, content.size - entry.start))
    if packed < entry.packed:
        box.tell("damaged", "low", f"{entry.name}: ends beyond the zip")
    held: Content | None
    if entry.method == 0:
        held = box.member(entry.name, Part(content, entry.start, packed), packed)
    else:
        made = unpacked(content, entry.method, entry.start, packed, entry.size)
        if made is None:
            box.tell("unopened_archive", "medium", f"{entry.name}: packed by method {entry.method}")
            box.name_only(entry.name)
            return
        held = box.member(entry.name, _checked(made, entry), packed)
    lowered = entry.name.lower()
    if held is not None and lowered.endswith((".rels", "[content_types].xml")):
        _relations(held, box)
    elif held is not None and entry.name == "META-INF/manifest.xml" and b":encryption-data" in held.read(0, 256 * 1024):
        box.encrypted("the document")  # OpenDocument 1.2, part 3, 4.3: its zip has no flag of it


def _checked(made: Iterator[bytes], entry: Entry) -> Iterator[bytes]:
    crc = 0
    for block in made:
        crc = zlib.crc32(block, crc)
        yield block
    if entry.crc and crc != entry.crc:
        raise Damaged("its checksum is wrong")


def unpacked(content: Content, method: int, start: int, packed: int, size: int) -> Iterator[bytes] | None:
    """The blocks of a packed file; None: the method is not known here. Raises Damaged and Unopened when read."""
    pieces = blocks(content, start, start + packed)
    if method == 8:
        return inflated(pieces)
    if method == 12:
        return bunzipped(pieces)
    if method == 14:
        return _lzma(content, start, packed, size)
    if method in (93, 20):
        return unzstd(pieces)
    if method == 95:
        return unlzmaed(pieces, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2 * DICTIONARY))
    return None


def _lzma(content: Content, start: int, packed: int, size: int) -> Iterator[bytes]:
    """5.8.8: version, length of the properties, properties, data."""
    head = content.read(start, 9)
    if len(head) < 9 or int.from_bytes(head[2:4], "little") != 5:
        raise Damaged("no LZMA header")
    yield from raw_lzma(blocks(content, start + 9, start + packed), [lzma_filter(head[4:9], size)], size)


def _disagreement(content: Content, box: Box, entry: Entry, local: Entry) -> None:
    """Where the local header says something else than the directory, judge that too."""
    wrong = []
    if local.name != entry.name:
        wrong.append("name")
    if local.method != entry.method:
        wrong.append("method")
    if (local.flags ^ entry.flags) & 1:
        wrong.append("encryption")
    if not local.flags & 8 and (local.packed, local.size) != (entry.packed, entry.size):
        wrong.append("size")
    if not wrong:
        return
    box.tell("hidden_content", "medium", f"{entry.name}: directory and local header differ in {' and '.join(wrong)}")
    packed = local.packed if not local.flags & 8 else entry.packed
    other = Entry(local.name, local.flags, local.method, 0, packed, local.size, local.header, local.start)
    _member(content, box, other)


def _gaps(taken: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """What no known part of the zip covers."""
    out: list[tuple[int, int]] = []
    at = 0
    for start, end in taken:
        if start > at:
            out.append((at, start))
        at = max(at, end)
    if at < size:
        out.append((at, size))
    return out


def _hidden(content: Content, box: Box, gaps: list[tuple[int, int]], told: bool = False) -> None:
    """Files with a local header that the directory does not name: readers of streams see them."""
    for at, stop in gaps:
        finder = Finder(content, b"PK\x03\x04", stop)
        while True:
            at = finder.find(at)
            if at < 0:
                break
            box.spend(0)
            head = content.read(at, _LOCAL.size)
            if len(head) < _LOCAL.size or head[9] or head[8] > 99:
                at += 4
                continue
            local = _local(content, at)
            if local is None:
                at += 4
                continue
            if not told:
                box.tell("hidden_content", "medium", f"{local.name}: the zip's directory does not name it")
            open_end = local.flags & 8 and not local.packed
            packed = stop - local.start if open_end else local.packed
            if open_end and local.method == 0:
                packed = max(0, find(content, b"PK\x07\x08", local.start, stop) - local.start)
            # The size that a header with its sizes behind the data gives is none: no LZMA without one.
            size = local.size or packed * 8
            _member(content, box, Entry(local.name, local.flags, local.method, 0, packed, size, at, local.start))
            at = local.start if open_end else max(local.start, min(local.start + local.packed, stop))


# -- what is made of a zip


def made_of(names: list[str], content: Content, directory: Directory) -> str | None:
    """The format that the names in a zip tell; None: a zip and no more."""
    known = {name.lower() for name in names}
    if "[content_types].xml" in known:
        if "appxmanifest.xml" in known:
            return "appx"
        macros = any(name.endswith(("vbaproject.bin", "vbadata.xml")) or "/macrosheets/" in name for name in known)
        if macros or any(name.startswith(("word/", "xl/", "ppt/", "visio/", "_rels/", "docprops/")) for name in known):
            return "ooxml_macro" if macros else "ooxml"
    if "androidmanifest.xml" in known or "classes.dex" in known:
        return "apk"
    if "mimetype" in known:
        kind = _mimetype(content, directory)
        if kind == b"application/epub+zip":
            return "epub"
        if kind.startswith((b"application/vnd.oasis.opendocument", b"application/vnd.sun.xml")):
            macros = any(name.startswith(("basic/", "scripts/")) and name.count("/") >= 2 for name in known)
            return "odf_macro" if macros else "odf"
    if "install.rdf" in known or "meta-inf/mozilla.rsa" in known:
        return "xpi"
    if "meta-inf/manifest.mf" in known and any(name.endswith(".class") for name in known):
        return "jar"
    if any(name.startswith("payload/") and ".app/" in name for name in known):
        return "ipa"
    if any(name == "index.zip" or (name.startswith("index/") and name.endswith(".iwa")) for name in known):
        return "iwork"
    return None


def _mimetype(content: Content, directory: Directory) -> bytes:
    """The content of the file "mimetype", which stands unpacked in an OpenDocument file (1.2, part 3, 3.3)."""
    for name, _, method, _, packed, _, header in directory.entries[:_NAMES]:
        if name == "mimetype" and method == 0:
            local = _local(content, header)
            return content.read(local.start, min(packed, 128)).strip() if local is not None else b""
    return b""


_ON_OPENING = (
    "/attachedTemplate", "/oleObject", "/frame", "/externalLinkPath", "/subDocument", "/mailMergeSource",
)
"""Ends of the types of relationships that are followed when the document is opened; a picture or a link is not."""
_MACROS = ("vbaproject", "macroenabled", "macrosheet")
"""In types of parts and of relationships: what a part is they say, whatever its name."""
_XML_BYTES = 1024 * 1024
_TARGET = linear.pattern(rb"Target\s*=\s*(\"[^\"]*\"|'[^']*')")


def _relations(held: Content, box: Box) -> None:
    """What relationships and content types tell: macros, and what is loaded from elsewhere when the document is opened
    (ECMA-376 part 2, 9.3, 10.1.2.2). Read in each spelling that XML has."""
    data = held.read(0, _XML_BYTES)
    if held.size > _XML_BYTES:
        box.tell("budget", "high", f"only the first {_XML_BYTES} bytes of the relationships are read")
    if b"\0" in data:  # UTF-16: what matters is ASCII
        data = data.translate(None, b"\0")
    for raw in data.split(b"<"):
        tag = raw.decode("latin-1")
        if "&" in tag:
            tag = html.unescape(tag)
        if any(word in tag.lower() for word in _MACROS):
            for former in ("zip", "ooxml"):
                box.become(former, "ooxml_macro")
        if "External" in tag and "Relationship" in tag and any(
            kind + mark in tag for kind in _ON_OPENING for mark in "\"'"
        ):
            found = _TARGET.search(tag.encode("utf-8", "replace"))
            target = found.group(1)[1:-1] if found is not None else b""
            if b":" in target or target.startswith((b"\\\\", b"//")):
                box.tell("external_link", "medium", target[:80].decode("utf-8", "replace"))
