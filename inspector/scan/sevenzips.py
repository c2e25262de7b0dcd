"""7z archives: 7zFormat.txt of the LZMA SDK.

Folders of packed streams go through chains of coders; the files of a folder lie behind one another. Unpacked: copy,
LZMA, LZMA2, deflate, bzip2, Zstandard, with branch filters and delta. Not unpacked: BCJ2, PPMd and other coders with
several streams; what is encrypted is told.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from inspector.scan.archives import Box, Damaged, Unopened, bunzipped, filtered, inflated, lzma_filter, raw_lzma, unzstd
from inspector.scan.cabinets import Stream
from inspector.scan.content import Content, blocks
from inspector.scan.filetypes import SEVENZIP, embedded

_HEADER_BYTES = 16 * 1024 * 1024
"""Longest header, unpacked: of about 200,000 files."""
_MOST = 100_000
"""Folders, coders, files that a header may name."""

_COPY, _LZMA, _LZMA2, _AES = b"\0", b"\x03\x01\x01", b"\x21", b"\x06\xf1\x07\x01"
_DELTA = b"\x03"
_DEFLATE, _BZIP2, _ZSTD = b"\x04\x01\x08", b"\x04\x02\x02", b"\x04\xf7\x11\x01"
_BRANCH = {
    b"\x03\x03\x01\x03": lzma.FILTER_X86, b"\x04": lzma.FILTER_X86, b"\x05": lzma.FILTER_POWERPC,
    b"\x06": lzma.FILTER_IA64, b"\x07": lzma.FILTER_ARM, b"\x08": lzma.FILTER_ARMTHUMB, b"\x09": lzma.FILTER_SPARC,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC, b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x03\x03\x05\x01": lzma.FILTER_ARM, b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB,
    b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
}


class Folder(msgspec.Struct):
    """Coders (method, properties), and what goes in and comes out."""

    coders: list[tuple[bytes, bytes]]
    packed: int
    """Packed streams it reads."""
    order: list[int]
    """The coders from the packed stream to the files; empty: no simple chain."""
    sizes: list[int] = []
    """What comes out of each coder."""
    files: list[int] = []
    """Sizes of the files in it."""
    digest: bool = False

    @property
    def encrypted(self) -> bool:
        return any(method == _AES for method, _ in self.coders)


class Streams(msgspec.Struct):
    """Where the packed streams are, and what becomes of them."""

    start: int = 0
    packed: list[int] = []
    folders: list[Folder] = []


class _Reader:
    """Numbers and bytes of a header. Raises Damaged at its end."""

    def __init__(self, data: bytes, box: Box) -> None:
        self.data = data
        self.at = 0
        self._box = box
        self._reads = 0

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise Damaged("the header ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self) -> int:
        """The leading ones of the first byte say how many bytes follow."""
        self._reads += 1
        if not self._reads & 0xfff:
            self._box.spend(0)
        first = self.byte()
        mask, value = 0x80, 0
        for i in range(8):
            if not first & mask:
                return value | (first & (mask - 1)) << (8 * i)
            value |= self.byte() << (8 * i)
            mask >>= 1
        return value

    def count(self) -> int:
        value = self.number()
        if value > _MOST:
            raise Damaged("the header names more than can be")
        return value

    def bits(self, count: int) -> list[bool]:
        data = self.take((count + 7) // 8)
        return [bool(data[i // 8] >> (7 - i % 8) & 1) for i in range(count)]

    def digests(self, count: int) -> list[bool]:
        there = [True] * count if self.byte() else self.bits(count)
        self.take(4 * sum(there))
        return there


def open_7z(content: Content, box: Box) -> None:
    """All files of a 7z, behind a stub too."""
    at = 0 if content.read(0, 6) == SEVENZIP else embedded(content, SEVENZIP)
    head = content.read(at, 32) if at >= 0 else b""
    if len(head) < 32:
        raise Damaged("no 7z header")
    offset, size, crc = struct.unpack_from("<QQL", head, 12)
    if size == 0:
        return
    if size > _HEADER_BYTES or offset > content.size:
        raise Damaged("the 7z header lies beyond the file")
    data = content.read(at + 32 + offset, size)
    if zlib.crc32(data) != crc:
        raise Damaged("the checksum of the 7z header is wrong")
    reader = _Reader(data, box)
    kind = reader.byte()
    for _ in range(4):
        if kind != 0x17:
            break
        packed = _streams(reader)
        if not packed.folders:
            raise Damaged("an empty packed header")
        if packed.folders[0].encrypted:
            box.encrypted("the names of the files")
            return
        out = bytearray()
        if not packed.packed:
            raise Damaged("a packed header without data")
        for block in _unpacked(content, packed.folders[0], at + 32 + packed.start, packed.packed[0]):
            out += block
            box.spend(len(block))
            if len(out) > _HEADER_BYTES:
                raise Damaged("the 7z header is too long")
        reader = _Reader(bytes(out), box)
        kind = reader.byte()
    if kind != 1:
        raise Damaged("no header in the 7z")
    _files(content, box, reader, at + 32)


def _streams(reader: _Reader) -> Streams:
    """PackInfo, CodersInfo, SubStreamsInfo."""
    found = Streams()
    while True:
        kind = reader.byte()
        if kind == 0:
            break
        if kind == 6:
            found.start, count = reader.number(), reader.count()
            while (inner := reader.byte()) != 0:
                if inner == 9:
                    found.packed = [reader.number() for _ in range(count)]
                elif inner == 10:
                    reader.digests(count)
                else:
                    raise Damaged("an unknown part in the header")
        elif kind == 7:
            _folders(reader, found)
        elif kind == 8:
            _substreams(reader, found)
        else:
            raise Damaged("an unknown part in the header")
    return found


def _folders(reader: _Reader, found: Streams) -> None:
    if reader.byte() != 11:
        raise Damaged("no folders in the header")
    count = reader.count()
    if reader.byte() != 0:
        raise Damaged("folders elsewhere")
    found.folders = [_folder(reader) for _ in range(count)]
    if reader.byte() != 12:
        raise Damaged("no sizes of the folders")
    for folder in found.folders:
        folder.sizes = [reader.number() for _ in folder.coders]
        folder.files = [folder.sizes[folder.order[-1]] if folder.order else max(folder.sizes)]
    while (inner := reader.byte()) != 0:
        if inner != 10:
            raise Damaged("an unknown part in the header")
        for folder, there in zip(found.folders, reader.digests(count), strict=True):
            folder.digest = there


def _folder(reader: _Reader) -> Folder:
    coders: list[tuple[bytes, bytes]] = []
    ins = outs = 0
    for _ in range(_few(reader.number(), 32)):
        flags = reader.byte()
        method = reader.take(flags & 15)
        one_in = one_out = 1
        if flags & 16:
            one_in, one_out = _few(reader.number(), 32), _few(reader.number(), 32)
        ins, outs = ins + one_in, outs + one_out
        properties = reader.take(_few(reader.number(), 65536)) if flags & 32 else b""
        coders.append((method, properties))
    if not coders or outs < 1:
        raise Damaged("a folder without coders")
    binds = [(reader.number(), reader.number()) for _ in range(outs - 1)]
    packed = ins - len(binds)
    if packed > 1:
        for _ in range(packed):
            reader.number()
    order: list[int] = []
    if packed == 1 and ins == outs == len(coders):
        follows = {out: into for into, out in binds}
        here: int | None = next((i for i in range(ins) if i not in follows.values()), None)
        while here is not None and here < len(coders) and here not in order:
            order.append(here)
            here = follows.get(here)
        if len(order) != len(coders):
            raise Damaged("coders in a ring")
    return Folder(coders, packed, order)


def _few(value: int, most: int) -> int:
    if value > most:
        raise Damaged("the header names more than can be")
    return value


def _substreams(reader: _Reader, found: Streams) -> None:
    counts = [1] * len(found.folders)
    kind = reader.byte()
    if kind == 13:
        counts = [reader.count() for _ in found.folders]
        if sum(counts) > _MOST:
            raise Damaged("the header names more than can be")
        kind = reader.byte()
    for folder, count in zip(found.folders, counts, strict=True):
        whole = folder.files[0]
        folder.files = []
        if count == 0:
            continue
        if kind == 9:
            for _ in range(count - 1):
                folder.files.append(reader.number())
        elif count > 1:
            raise Damaged("no sizes of the files")
        folder.files.append(max(0, whole - sum(folder.files)))
    if kind == 9:
        kind = reader.byte()
    while kind != 0:
        if kind != 10:
            raise Damaged("an unknown part in the header")
        # A folder of one file may have its digest already.
        there = zip(found.folders, counts, strict=True)
        reader.digests(sum(count for folder, count in there if count != 1 or not folder.digest))
        kind = reader.byte()


def _files(content: Content, box: Box, reader: _Reader, base: int) -> None:
    streams = Streams()
    names: list[str] = []
    empty: list[bool] = []
    kind = reader.byte()
    if kind == 2:
        while (inner := reader.byte()) != 0:
            reader.take(reader.number())
            del inner
        kind = reader.byte()
    if kind == 3:
        _streams(reader)
        kind = reader.byte()
    if kind == 4:
        streams = _streams(reader)
        kind = reader.byte()
    if kind == 5:
        count = reader.count()
        while (inner := reader.byte()) != 0:
            part = _Reader(reader.take(reader.number()), box)
            if inner == 17 and part.byte() == 0:
                names = part.data[1:].decode("utf-16-le", "replace").split("\0")[:count]
            elif inner == 14:
                empty = part.bits(count)
    full = iter([name for i, name in enumerate(names) if i >= len(empty) or not empty[i]])
    for i, name in enumerate(names):
        if i < len(empty) and empty[i]:
            box.name_only(name)
    first, start = 0, base + streams.start
    for folder in streams.folders:
        inside = [(next(full, "content"), size) for size in folder.files]
        why = _closed(folder)
        if folder.encrypted:
            box.encrypted(inside[0][0] if inside else "a folder")
        elif why:
            box.tell("unopened_archive", "medium", f"packed by {why}")
        packed = sum(streams.packed[first:first + folder.packed])
        if why or folder.encrypted:
            for name, _ in inside:
                box.name_only(name)
        else:
            made = Stream(_unpacked(content, folder, start, packed), box)
            at = 0
            for name, size in inside:
                box.member(name, made.take(at, size), packed)
                at += size
        first += folder.packed
        start += packed


def _closed(folder: Folder) -> str | None:
    """Why a folder cannot be unpacked here; None: it can."""
    if not folder.order:
        return "several streams (BCJ2)"
    known = {_COPY, _LZMA, _LZMA2, _DEFLATE, _BZIP2, _ZSTD, _DELTA, *_BRANCH}
    wrong = next((method for method, _ in folder.coders if method not in known), None)
    return None if wrong is None else {b"\x03\x04\x01": "PPMd"}.get(wrong, f"method {wrong.hex()}")


def _unpacked(content: Content, folder: Folder, at: int, packed: int) -> Iterator[bytes]:
    """The unpacked stream of a folder. Raises Damaged, Unopened."""
    why = _closed(folder)
    if why:
        raise Unopened(f"packed by {why}")
    flow: Iterable[memoryview | bytes] = blocks(content, at, at + packed)
    for number in folder.order:
        method, properties = folder.coders[number]
        size = folder.sizes[number]
        if method in (_LZMA, _LZMA2):
            flow = raw_lzma(flow, [_lzma(method, properties, size)], size)
        elif method in _DECODERS:
            flow = _DECODERS[method](flow)
        elif method != _COPY:
            flow = filtered(flow, _filter(method, properties))
    for piece in flow:
        yield bytes(piece)


def _lzma(method: bytes, properties: bytes, size: int) -> dict[str, Any]:
    if method == _LZMA:
        return lzma_filter(properties, size)
    if not properties or properties[0] > 40:
        raise Damaged("wrong LZMA2 properties")
    coded = properties[0]
    dictionary = 0xffffffff if coded == 40 else (2 | coded & 1) << (coded // 2 + 11)
    made = lzma_filter(b"\x5d" + dictionary.to_bytes(4, "little"), size)
    return {"id": lzma.FILTER_LZMA2, "dict_size": made["dict_size"]}


def _filter(method: bytes, properties: bytes) -> dict[str, Any]:
    if method == _DELTA:
        return {"id": lzma.FILTER_DELTA, "dist": (properties[0] if properties else 0) + 1}
    return {"id": _BRANCH[method]}


_DECODERS: dict[bytes, Callable[[Iterable[memoryview | bytes]], Iterator[bytes]]] = {
    _DEFLATE: inflated, _BZIP2: bunzipped, _ZSTD: unzstd,
}
