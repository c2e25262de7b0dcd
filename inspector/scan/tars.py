"""Archives whose files lie unpacked one behind the other: tar, ar (and with it Debian packages), ISO 9660.

tar: POSIX 1003.1 pax, "ustar Interchange Format", GNU long names (L, K) and base-256 numbers. ar: ar(5). ISO 9660:
ECMA-119 6.8, 8.4, 9.1, with Joliet names.

Not read: sparse maps of GNU tar (the data that is there is judged), Rock Ridge names and links, UDF.
"""

from __future__ import annotations

import struct

from inspector.model.verdicts import Severity
from inspector.scan.archives import Box, Damaged
from inspector.scan.content import Content, Part
from inspector.scan.filenames import safe
from inspector.scan.filetypes import tar_header

_BLOCK = 512
_LONG = 64 * 1024
"""Longest name or pax header that is read."""
_PAX_BYTES = 1024 * 1024
_SECTOR = 2048


def open_tar(content: Content, box: Box) -> None:
    """All files of a tar; links and devices are told."""
    at = 0
    long_name = long_link = ""
    always: dict[str, str] = {}
    pax: dict[str, str] = {}
    while at + _BLOCK <= content.size:
        box.spend(0)
        head = content.read(at, _BLOCK)
        if not tar_header(head):
            # Readers may go on behind the end's empty blocks (tar --ignore-zeros): so do we, where a header is.
            if head.strip(b"\0"):
                box.tell("damaged", "low", "a block of the tar that is no header")
            further = _next_header(content, box, at + _BLOCK)
            if further < 0:
                return
            if not head.strip(b"\0"):
                box.tell("hidden_content", "medium", "files behind the end of the tar")
            at = further
            continue
        size = _number(head[124:136])
        kind = head[156:157]
        start = at + _BLOCK
        if kind in (b"L", b"K"):
            text = content.read(start, min(size, _LONG)).rstrip(b"\0").decode("utf-8", "replace")
            if kind == b"L":
                long_name = text
            else:
                long_link = text
        elif kind in (b"x", b"g", b"X"):
            (always if kind == b"g" else pax).update(_pax(content.read(start, min(size, _PAX_BYTES))))
            if size > _PAX_BYTES:
                box.tell("damaged", "medium", "a header of the tar that is longer than is read")
        else:
            name, link = _text(head[0:100]), _text(head[157:257])
            if head[257:263] == b"ustar\0" and head[345] != 0:
                name = f"{_text(head[345:500])}/{name}"
            pax = always | pax
            name = pax.get("path") or long_name or name
            link = pax.get("linkpath") or long_link or link
            if sparse := pax.get("GNU.sparse.name"):
                box.name_only(name)
                name = sparse
            if "size" in pax and pax["size"].isascii() and pax["size"].isdigit() and len(pax["size"]) < 16:
                size = int(pax["size"])
            _tar_member(content, box, kind, name, link, start, size)
            if size and (kind == b"S" or any(key.startswith("GNU.sparse.") for key in pax)):
                box.tell("hidden_content", "medium", f"{safe(name)}: a sparse file, whose holes are not put back")
                if pax.get("GNU.sparse.major") == "1":
                    _behind_map(content, box, name, start, size)
            if kind in (b"2", b"3", b"4", b"6"):
                size = 0
            while kind == b"S" and head[482 if head[257:262] == b"ustar" else 504]:
                # The map of a sparse file goes on in blocks of its own, which have their flag elsewhere.
                head, start = content.read(start, _BLOCK), start + _BLOCK
                if len(head) < _BLOCK:
                    break
            long_name = long_link = ""
            pax = {}
        at = start + (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _tar_member(content: Content, box: Box, kind: bytes, name: str, link: str, start: int, size: int) -> None:
    if size and kind in (b"1", b"2", b"3", b"4", b"5", b"6"):
        # Readers differ: some skip it, some read headers there, some unpack it as the file.
        box.tell("hidden_content", "medium", f"{safe(name)}: a link, folder or device with a content")
        box.member(name, Part(content, start, size), size, named=False)
    if kind in (b"1", b"2"):
        severity: Severity = "low"
        if link.startswith(("/", "\\")):
            severity = "medium"
        elif _leaves(link if kind == b"1" else f"{name.rpartition('/')[0]}/{link}"):
            severity = "high"
        box.tell("link", severity, f"{safe(name)} -> {safe(link)}")
        box.name_only(name)
    elif kind in (b"3", b"4", b"6"):
        box.tell("device", "medium", safe(name))
        box.name_only(name)
    elif kind == b"5":
        box.name_only(name)
    else:
        if start + size > content.size:
            box.tell("damaged", "low", f"{safe(name)}: ends beyond the tar")
        box.member(name, Part(content, start, size), size)


def _next_header(content: Content, box: Box, at: int) -> int:
    """The next block from `at` on that is a header; -1: none."""
    for begin in range(at, content.size, _BLOCK * 2048):
        box.spend(0)
        piece = content.read(begin, _BLOCK * 2048)
        if not piece.strip(b"\0"):
            continue
        for place in range(0, len(piece) - _BLOCK + 1, _BLOCK):
            if tar_header(piece[place:place + _BLOCK]):
                return begin + place
    return -1


def _behind_map(content: Content, box: Box, name: str, start: int, size: int) -> None:
    """What lies behind the map of a sparse file of version 1.0, decimal numbers in whole blocks (GNU tar manual,
    "PAX Format, Version 1.0")."""
    count, _, rest = content.read(start, _LONG).partition(b"\n")
    if not count.isdigit() or len(count) > 4:
        return
    lines = rest.split(b"\n", 2 * int(count))
    if len(lines) > 2 * int(count):
        length = len(count) + 1 + sum(len(line) + 1 for line in lines[:-1])
        length = (length + _BLOCK - 1) // _BLOCK * _BLOCK
        box.member(name, Part(content, start + length, size - length), size, named=False)


def _leaves(path: str) -> bool:
    """Whether a path goes above the folder that it begins in."""
    depth = 0
    for piece in path.replace("\\", "/").split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(piece, 1)
        if depth < 0:
            return True
    return False


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _number(field: bytes) -> int:
    """Octal digits, or (GNU) a number to the base of 256. Raises Damaged."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes((field[0] & 0x7f,)) + field[1:], "big")
    else:
        digits = field.strip(b"\0 ")
        if digits.strip(b"01234567"):
            raise Damaged("a size in the tar is no number")
        value = int(digits or b"0", 8)
    if value > 1 << 50:
        raise Damaged("a size in the tar is too large")
    return value


def _pax(data: bytes) -> dict[str, str]:
    """Records "LENGTH KEY=VALUE\\n"."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        digits, blank, _ = data[at:at + 12].partition(b" ")
        if not blank or not digits.isdigit() or not 5 <= int(digits) <= len(data) - at:
            break
        record = data[at + len(digits) + 1:at + int(digits)].rstrip(b"\n")
        key, _, value = record.partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at += int(digits)
    return found


# -- ar


def open_ar(content: Content, box: Box) -> None:
    """ar(5): heads of 60 bytes, even places. A Debian package is one with tars in it."""
    at = 8
    table = b""
    while at + 60 <= content.size:
        head = content.read(at, 60)
        digits = head[48:58].strip()
        if head[58:60] != b"`\n" or not digits.isdigit():
            raise Damaged("no head of a member where one should be")
        size = int(digits)
        name = head[:16].decode("latin-1").rstrip(" ").rstrip("/") or "index"
        start = at + 60
        at = start + size + size % 2
        if head[:3] == b"// ":
            table = content.read(start, min(size, 16 * _LONG))
            continue
        if name[:1] == "/" and name[1:].isdigit():
            name = table[int(name[1:]):].partition(b"\n")[0].decode("utf-8", "replace").rstrip("/") or "index"
        elif name[:3] == "#1/" and name[3:].isdigit():  # BSD: the name stands in front of the content
            length = min(int(name[3:]), size, _LONG)
            name = _text(content.read(start, length)) or "index"
            start, size = start + length, size - length
        if start + size > content.size:
            box.tell("damaged", "low", f"{safe(name)}: ends beyond the archive")
        box.member(name, Part(content, start, size), size)


# -- ISO 9660


def open_iso(content: Content, box: Box) -> None:
    """The files of the primary and of the Joliet tree; the same extent is looked at once for each name."""
    seen: set[tuple[str, int, int]] = set()
    for sector in range(16, 48):
        volume = content.read(sector * _SECTOR, _SECTOR)
        if len(volume) < _SECTOR or volume[1:6] != b"CD001" or volume[0] == 255:
            break
        if volume[0] in (1, 2):
            joliet = volume[0] == 2 and volume[88:91] in (b"%/@", b"%/C", b"%/E")
            where, size = struct.unpack_from("<I", volume, 158)[0], struct.unpack_from("<I", volume, 166)[0]
            _tree(content, box, where, size, joliet, seen)


def _tree(content: Content, box: Box, where: int, size: int, joliet: bool, seen: set[tuple[str, int, int]]) -> None:
    waiting = [("", where, size)]
    visited: set[int] = set()
    extents = {(place, length) for _, place, length in seen}
    while waiting:
        path, where, size = waiting.pop()
        if where in visited:
            continue
        visited.add(where)
        data = content.read(where * _SECTOR, min(size, 4 * 1024 * 1024))
        box.spend(len(data))
        at = 0
        while at + 34 <= len(data):
            length = data[at]
            if length < 34:
                at = (at // _SECTOR + 1) * _SECTOR  # records do not cross sectors
                continue
            record = data[at:at + length]
            at += length
            raw = record[33:33 + record[32]]
            if raw in (b"\0", b"\1"):
                continue
            name = raw.decode("utf-16-be", "replace") if joliet else raw.decode("latin-1")
            name = path + name.rpartition(";")[0] if ";" in name else path + name
            begin, count = struct.unpack_from("<I", record, 2)[0], struct.unpack_from("<I", record, 10)[0]
            if record[25] & 2:
                waiting.append((f"{name}/", begin, count))
                continue
            if (name, begin, count) in seen:
                continue
            seen.add((name, begin, count))
            if (begin, count) in extents:
                box.name_only(name)
                continue
            if begin * _SECTOR + count > content.size:
                box.tell("damaged", "low", f"{safe(name)}: ends beyond the image")
            box.member(name, Part(content, begin * _SECTOR, count), count)
