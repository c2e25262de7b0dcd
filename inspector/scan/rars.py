"""RAR archives, 1.5 to 7: names, and the files that are stored; compressed ones cannot be unpacked here.

RAR 5.0 archive format (rarlab.com/technote.htm); RAR 4: TechNote.txt of its time. No free decompressor exists that
could be kept in the house: what is compressed is told as unopened, which a policy may refuse.
"""

from __future__ import annotations

import struct

from inspector.scan.archives import Box, Damaged
from inspector.scan.content import Content, Part
from inspector.scan.filetypes import RAR, embedded

_HEADER_BYTES = 2 * 1024 * 1024
"""Longest header of RAR 5, by its specification."""


def open_rar(content: Content, box: Box) -> None:
    """All files of a RAR, behind a stub too."""
    at = 0 if content.read(0, 6) == RAR else embedded(content, RAR)
    head = content.read(at, 8) if at >= 0 else b""
    if head == RAR + b"\x01\x00":
        packed = _five(content, box, at + 8)
    elif head[:7] == RAR + b"\x00":
        packed = _four(content, box, at + 7)
    else:
        raise Damaged("a RAR of an unknown version")
    if packed:
        box.tell("unopened_archive", "medium", f"RAR: {packed} compressed files are not unpacked")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends. Raises Damaged."""
    value = 0
    for i in range(10):
        if at + i >= len(data):
            break
        value |= (data[at + i] & 0x7f) << (7 * i)
        if not data[at + i] & 0x80:
            return value, at + i + 1
    raise Damaged("a number without an end")


def _five(content: Content, box: Box, at: int) -> int:
    """RAR 5: blocks of checksum, size, type, flags, extra, data. Returns how many compressed files there are."""
    packed = 0
    while at + 7 <= content.size:
        box.spend(0)
        size, here = _number(content.read(at + 4, 10), 0)
        if not 0 < size <= _HEADER_BYTES:
            raise Damaged("a header of a wrong size")
        head = content.read(at + 4 + here, size)
        if len(head) < size:
            raise Damaged("the archive ends too early")
        start = at + 4 + here + size
        kind, place = _number(head, 0)
        flags, place = _number(head, place)
        extra = data = 0
        if flags & 1:
            extra, place = _number(head, place)
        if flags & 2:
            data, place = _number(head, place)
        if kind == 4:
            box.encrypted("the names of the files")
            return packed
        if kind == 5:
            return packed
        if kind == 2:
            packed += _five_file(content, box, head, place, extra, start, data)
        at = start + data
    return packed


def _five_file(content: Content, box: Box, head: bytes, place: int, extra: int, start: int, data: int) -> int:
    flags, place = _number(head, place)
    _, place = _number(head, place)
    _, place = _number(head, place)
    place += (4 if flags & 2 else 0) + (4 if flags & 4 else 0)
    compression, place = _number(head, place)
    _, place = _number(head, place)
    length, place = _number(head, place)
    name = head[place:place + length].decode("utf-8", "replace")
    encrypted = link = False
    at = max(place + length, len(head) - extra)
    while at < len(head):
        size, inner = _number(head, at)
        record, _ = _number(head, inner)
        encrypted = encrypted or record == 1
        link = link or record == 5
        at = inner + max(size, 1)
    if link:
        box.tell("link", "low", name)
    return _file(content, box, name, encrypted, (compression >> 7) & 7 == 0, bool(flags & 1), start, data)


def _four(content: Content, box: Box, at: int) -> int:
    """RAR 1.5 to 4: blocks of checksum, type, flags, size. Returns how many compressed files there are."""
    packed = 0
    while at + 7 <= content.size:
        box.spend(0)
        _, kind, flags, size = struct.unpack("<HBHH", content.read(at, 7))
        if size < 7:
            raise Damaged("a header of a wrong size")
        head = content.read(at, size)
        if len(head) < size:
            raise Damaged("the archive ends too early")
        more = struct.unpack_from("<L", head, 7)[0] if flags & 0x8000 or kind == 0x74 else 0
        if kind == 0x73 and flags & 0x80:
            box.encrypted("the names of the files")
            return packed
        if kind == 0x7b:
            return packed
        if kind == 0x74:
            method, length = head[25], struct.unpack_from("<H", head, 26)[0]
            name_at = 32
            if flags & 0x100:
                more |= struct.unpack_from("<L", head, 32)[0] << 32
                name_at = 40
            raw = head[name_at:name_at + length]
            name = raw.partition(b"\0")[0].decode("utf-8", "replace")
            directory = flags & 0xe0 == 0xe0
            packed += _file(content, box, name, bool(flags & 4), method == 0x30, directory, at + size, more)
        at += size + more
    return packed


def _file(
    content: Content, box: Box, name: str, encrypted: bool, stored: bool, directory: bool, start: int, size: int,
) -> int:
    if encrypted:
        box.encrypted(name)
    if directory or encrypted:
        box.name_only(name)
        return 0
    if stored:
        if start + size > content.size:
            box.tell("damaged", "low", f"{name}: ends beyond the archive")
        box.member(name, Part(content, start, size), size)
        return 0
    box.name_only(name)
    return 1
