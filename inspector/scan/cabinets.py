"""Microsoft cabinets: MS-CAB 2 (layout), MS-MCI (MSZIP).

Files of a folder lie behind one another in one stream, packed in blocks of 32 KiB. Not unpacked: Quantum, LZX; cabinets
that go on in another file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from inspector.scan.archives import Box, Damaged
from inspector.scan.content import Content

_HEAD = struct.Struct("<4s5L2B5H")
_FOLDER = struct.Struct("<LHH")
_FILE = struct.Struct("<LLHHHH")
_WINDOW = 32 * 1024
_METHODS = {2: "Quantum", 3: "LZX"}
_CONTINUED = (0xfffd, 0xfffe, 0xffff)
_FILES_BYTES = 4 * 1024 * 1024
"""Longest table of files that is read."""


def open_cab(content: Content, box: Box) -> None:
    """All files, folder by folder."""
    head = content.read(0, _HEAD.size)
    if len(head) < _HEAD.size:
        raise Damaged("a cabinet without a header")
    _, _, _, _, files_at, _, _, _, folders, files, flags, _, _ = _HEAD.unpack(head)
    at = _HEAD.size
    folder_extra = block_extra = 0
    if flags & 4:
        own, folder_extra, block_extra = struct.unpack("<HBB", content.read(at, 4))
        at += 4 + own
    for bit in (1, 2):
        for _ in range(2 if flags & bit else 0):
            at += content.read(at, 256).index(b"\0") + 1
    places: list[tuple[int, int, int]] = []
    for _ in range(folders):
        places.append(_FOLDER.unpack(content.read(at, _FOLDER.size)))
        at += _FOLDER.size + folder_extra
    members = _files(content.read(files_at, _FILES_BYTES), files)
    in_folder: dict[int, list[tuple[int, int, str]]] = {}
    for offset, size, folder, name in members:
        in_folder.setdefault(folder, []).append((offset, size, name))
    for number, (start, count, method) in enumerate(places):
        inside = sorted(in_folder.get(number, ()))
        if method & 15 not in (0, 1):
            box.tell("unopened_archive", "medium", f"packed by {_METHODS.get(method & 15, 'nothing known')}")
            for _, _, name in inside:
                box.name_only(name)
            continue
        packed = max(1, sum(size for _, size, _ in inside))
        stream = Stream(_blocks(content, start, count, method & 15, block_extra), box)
        for offset, size, name in inside:
            box.member(name, stream.take(offset, size), packed)
    for _, _, folder, name in members:
        if folder >= len(places):
            if folder in _CONTINUED:
                box.tell("unopened_archive", "medium", f"{name}: goes on in another cabinet")
            box.name_only(name)


def _files(table: bytes, count: int) -> list[tuple[int, int, int, str]]:
    """(offset in its folder, size, folder, name) of each file."""
    out = []
    at = 0
    for _ in range(count):
        size, offset, folder, _, _, attributes = _FILE.unpack_from(table, at)
        end = table.index(b"\0", at + _FILE.size)
        raw = table[at + _FILE.size:end]
        name = raw.decode("utf-8", "replace") if attributes & 0x80 else raw.decode("cp1252", "replace")
        out.append((offset, size, folder, name))
        at = end + 1
    return out


def _blocks(content: Content, at: int, count: int, method: int, extra: int) -> Iterator[bytes]:
    window = b""
    for _ in range(count):
        head = content.read(at, 8)
        if len(head) < 8:
            raise Damaged("the cabinet ends too early")
        _, packed, size = struct.unpack("<LHH", head)
        data = content.read(at + 8 + extra, packed)
        at += 8 + extra + packed
        if method == 1:
            if data[:2] != b"CK":
                raise Damaged("no MSZIP block where one should be")
            made = zlib.decompressobj(-15, zdict=window) if window else zlib.decompressobj(-15)
            data = made.decompress(data[2:], _WINDOW)
            window = data[-_WINDOW:]
        if len(data) != size and size:
            raise Damaged("a block of the wrong size")
        yield data


class Stream:
    """A stream in which files lie behind one another, unpacked once."""

    def __init__(self, made: Iterator[bytes], box: Box) -> None:
        self._made = made
        self._box = box
        self._at = 0
        self._kept = b""

    def take(self, offset: int, size: int) -> Iterator[bytes]:
        """The blocks of the file at `offset`; what lies in front of it is skipped. Raises Damaged."""
        while self._at < offset:
            piece = self._next(offset - self._at)
            self._box.spend(len(piece))
        if self._at > offset:
            raise Damaged("files lie upon one another")
        end = offset + size
        while self._at < end:
            yield self._next(end - self._at)

    def _next(self, most: int) -> bytes:
        while not self._kept:
            self._box.spend(0)
            try:
                self._kept = next(self._made)
            except StopIteration:
                raise Damaged("the packed data ends too early") from None
        piece, self._kept = self._kept[:most], self._kept[most:]
        self._at += len(piece)
        return piece


