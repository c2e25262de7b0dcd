"""OLE compound files (MS-CFB): Office documents until 2003, macros (MS-OVBA), installers, Outlook mail, packages;
and the sections of OneNote, which are none but hold files in the same way.

Told: macros, Excel 4 macro sheets (MS-XLS 2.4.28), encryption (MS-OFFCRYPTO 2.3, FILEPASS, fEncrypted of the FIB).
Read: every stream, macros decompressed (2.4.1), files in packages (\\x01Ole10Native), attachments of mail.

Not decoded: document text, formulas, p-code of macros.
"""

from __future__ import annotations

import struct

import msgspec

from inspector.scan.archives import Box, Damaged
from inspector.scan.content import Content, Finder, Part

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FREE = 0xfffffffa
"""Sector numbers from here on are marks."""
_DIRECTORY_BYTES = 4 * 1024 * 1024
_FILE_DATA = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
_MSI = bytes.fromhex("84100c0000000000c000000000000046")
_RECORDS = 500_000
_SOURCE_BYTES = 1024 * 1024
"""Decompressed source of one module, and compressed source of one file that is looked at."""


class _Stream(msgspec.Struct, frozen=True):
    name: str
    path: str
    start: int
    size: int
    storage: bool


class Compound:
    """The streams of a compound file. Raises Damaged."""

    def __init__(self, content: Content) -> None:
        head = content.read(0, 512)
        if len(head) < 512 or head[:8] != MAGIC:
            raise Damaged("no OLE header")
        shift, mini_shift = struct.unpack_from("<HH", head, 30)
        if shift not in (9, 12) or mini_shift > shift or mini_shift < 3:
            raise Damaged("wrong sizes of sectors")
        self._content = content
        self._size = 1 << shift
        self._mini_size = 1 << mini_shift
        fats, directory, _, self._cutoff, mini_start, _, difat, difats = struct.unpack_from("<LLLLLLLL", head, 44)
        self._fat = self._read_fat(head, fats, difat, difats)
        data = self._chain(directory, _DIRECTORY_BYTES)
        self._rows = [data[at:at + 128] for at in range(0, len(data) - 127, 128)]
        if not self._rows:
            raise Damaged("no OLE directory")
        self.clsid = self._rows[0][80:96]
        root_start, root_size = struct.unpack_from("<LL", self._rows[0], 116)
        self._mini = self._chain(root_start, root_size)
        mini_fat = self._chain(mini_start, content.size)
        self._mini_fat = struct.unpack(f"<{len(mini_fat) // 4}L", mini_fat[:len(mini_fat) // 4 * 4])
        self.streams = self._tree()

    def _sector(self, number: int) -> bytes:
        return self._content.read((number + 1) * self._size, self._size)

    def _read_fat(self, head: bytes, fats: int, difat: int, difats: int) -> tuple[int, ...]:
        most = self._content.size // self._size + 1
        numbers = list(struct.unpack_from("<109L", head, 76))
        seen: set[int] = set()
        while difat < _FREE and difat not in seen and len(seen) <= difats and len(numbers) <= most:
            seen.add(difat)
            sector = self._sector(difat)
            if len(sector) < self._size:
                break
            *more, difat = struct.unpack(f"<{self._size // 4}L", sector)
            numbers += more
        used = [number for number in numbers if number < _FREE][:min(fats, most)]
        data = b"".join(self._sector(number) for number in dict.fromkeys(used))
        return struct.unpack(f"<{len(data) // 4}L", data[:len(data) // 4 * 4])

    def _chain(self, start: int, size: int) -> bytes:
        """The sectors of a chain, up to `size` bytes."""
        out = bytearray()
        seen = 0
        most = self._content.size // self._size + 1
        while start < _FREE and len(out) < size and seen < most:
            piece = self._sector(start)
            if not piece:
                break
            out += piece
            seen += 1
            start = self._fat[start] if start < len(self._fat) else _FREE
        return bytes(out[:size])

    def data(self, stream: _Stream) -> bytes:
        """What a stream holds, as far as it is there."""
        size = min(stream.size, self._content.size)
        if stream.size >= self._cutoff:
            return self._chain(stream.start, size)
        out = bytearray()
        start, seen = stream.start, 0
        while start < _FREE and len(out) < size and seen <= len(self._mini_fat):
            out += self._mini[start * self._mini_size:(start + 1) * self._mini_size]
            seen += 1
            start = self._mini_fat[start] if start < len(self._mini_fat) else _FREE
        return bytes(out[:size])

    def _tree(self) -> list[_Stream]:
        """All entries with their paths, whatever their order; those that hang on nothing too."""
        out: list[_Stream] = []
        seen: set[int] = {0}
        waiting = [(struct.unpack_from("<L", self._rows[0], 76)[0], "")]
        while waiting:
            number, path = waiting.pop()
            if number >= len(self._rows) or number in seen:
                continue
            seen.add(number)
            row = self._rows[number]
            left, right, child = struct.unpack_from("<LLL", row, 68)
            made = _stream(row, path)
            if made is not None:
                out.append(made)
            waiting += [(left, path), (right, path)]
            if made is not None and made.storage:
                waiting.append((child, f"{made.path}/"))
        for number, row in enumerate(self._rows):
            if number not in seen:
                made = _stream(row, "?/")
                if made is not None:
                    out.append(made)
        return out


def _stream(row: bytes, path: str) -> _Stream | None:
    length, kind = struct.unpack_from("<HB", row, 64)
    if kind not in (1, 2) or not 2 <= length <= 64:
        return None
    name = row[:length - 2].decode("utf-16-le", "replace")
    start, size = struct.unpack_from("<LL", row, 116)
    return _Stream(name, path + name, start, size, kind == 1)


def open_ole(content: Content, box: Box) -> None:
    """All streams; macros, encryption and what the file is are told."""
    compound = Compound(content)
    paths = {one.path: one for one in compound.streams}
    last = {one.name.lower() for one in compound.streams}
    if compound.clsid == _MSI:
        box.become("ole", "msi")
    macros = "_vba_project" in last or any(one.storage and one.name.lower() in ("vba", "macros", "_vba_project_cur")
                                           for one in compound.streams)
    if "encryptedpackage" in last or "encryptioninfo" in last:
        box.encrypted("the document")
    modules = _modules(compound)
    budget = _SOURCE_BYTES
    for one in compound.streams:
        if one.storage:
            continue
        data = compound.data(one)
        box.spend(len(data))
        lowered = one.name.lower()
        if lowered in ("workbook", "book"):
            sheets, locked = _workbook(data)
            macros = macros or sheets
            if locked:
                box.encrypted("the workbook")
        elif lowered == "worddocument" and len(data) > 12 and data[10:12][1] & 1:
            box.encrypted("the document")
        if lowered == "\x01ole10native":
            _package(data, box)
        elif one.path.startswith("__attach_version") and lowered == "__substg1.0_37010102":
            box.member(_attachment(compound, paths, one), [data], len(data))
        elif data:
            box.member(one.path.replace("\x01", "").replace("\x05", ""), [data], len(data), named=False)
            offset = modules.get(lowered)
            if b"\0Attribut" in data or offset is not None:
                macros = True
                if budget <= 0:
                    box.tell("budget", "high", f"only {_SOURCE_BYTES} bytes of macros are looked at")
                    continue
                budget -= len(data)
                found = sources(data)
                if offset is not None and data[offset:offset + 1] == b"\1":
                    found.append(decompressed(data[offset:]))
                for source in dict.fromkeys(found):
                    if len(source) >= _SOURCE_BYTES:
                        box.tell("budget", "high", f"only {_SOURCE_BYTES} bytes of a macro's source are looked at")
                    box.spend(len(source))
                    box.derived(f"{one.name} (source)", source)
    if macros and "__properties_version1.0" not in paths:
        box.become("ole", "ole_macro")
        box.tell("macro", "medium", box.name or "the document")


def open_onenote(content: Content, box: Box) -> None:
    """Files in a OneNote section: each behind a mark of its own, whatever points to it (MS-ONESTORE 2.6.13)."""
    finder = Finder(content, _FILE_DATA)
    at = finder.find(0)
    number = 0
    while at >= 0:
        size = int.from_bytes(content.read(at + 16, 8), "little")
        number += 1
        box.tell("embedded_object", "medium", f"file {number} in the notes")
        box.member(f"file {number}", Part(content, at + 36, size), named=False)
        at = finder.find(at + 16)


def _workbook(data: bytes) -> tuple[bool, bool]:
    """Whether a workbook has Excel 4 macro sheets, and whether it is encrypted (MS-XLS 2.4.28, 2.4.117)."""
    at = 0
    sheets = False
    for _ in range(_RECORDS):
        if at + 4 > len(data):
            break
        kind, length = struct.unpack_from("<HH", data, at)
        if kind == 0x2f:
            return sheets, True
        if kind == 0x85 and at + 10 <= len(data) and data[at + 9] == 1:
            sheets = True
        if kind == 0x0a and at:
            break
        at += 4 + length
    return sheets, False


def _package(data: bytes, box: Box) -> None:
    """A file put into a document: label, path, length, content (as packager.dll writes it)."""
    if len(data) < 6:
        return
    at = 6
    parts = []
    for _ in range(2):
        end = data.find(b"\0", at, at + 1024)
        if end < 0:
            box.member("package", [data[4:]], len(data), named=False)
            return
        parts.append(data[at:end].decode("cp1252", "replace"))
        at = end + 1
    at += 4
    length = int.from_bytes(data[at:at + 4], "little")
    at += 4 + length
    size = int.from_bytes(data[at:at + 4], "little")
    box.tell("embedded_object", "medium", parts[0] or "package")
    name = parts[0] or parts[1].replace("\\", "/").rpartition("/")[2] or "package"
    box.member(name, [data[at + 4:at + 4 + size]], max(1, size))


def _modules(compound: Compound) -> dict[str, int]:
    """Where the source of each module begins in its stream, by the stream's small name: what the project's directory
    says (MS-OVBA 2.3.4.2.3.2.3 and .5). Its records are looked for by their marks, as the directory may lie."""
    found: dict[str, int] = {}
    for one in compound.streams:
        if one.name.lower() != "dir" or one.storage:
            continue
        data = decompressed(compound.data(one))
        at = data.find(b"\x1a\0")
        while at >= 0 and len(found) < 1000:
            size = int.from_bytes(data[at + 2:at + 6], "little")
            if 0 < size <= 128:
                name = data[at + 6:at + 6 + size]
                place = data.find(b"\x31\0\x04\0\0\0", at + 6 + size, at + 1024)
                if place >= 0:
                    offset = int.from_bytes(data[place + 6:place + 10], "little")
                    for charset in ("latin-1", "utf-8", "cp1252"):
                        found[name.decode(charset, "replace").lower()] = offset
            at = data.find(b"\x1a\0", at + 2)
    return found


def _attachment(compound: Compound, paths: dict[str, _Stream], one: _Stream) -> str:
    """The name of an attachment of Outlook mail (MS-OXMSG 2.2.2): long, or short."""
    folder = one.path.rpartition("/")[0]
    for tag in ("3707001F", "3704001F", "3001001F"):
        other = paths.get(f"{folder}/__substg1.0_{tag}")
        if other is not None:
            return compound.data(other)[:1024].decode("utf-16-le", "replace") or "attachment"
    return "attachment"


def sources(data: bytes) -> list[bytes]:
    """The sources of macros in a module's stream: a compressed container begins three bytes before "\\0Attribut",
    the first token of the attributes that every module has (MS-OVBA 2.3.4.3, 2.4.1)."""
    out: list[bytes] = []
    at = data.find(b"\0Attribut")
    while at >= 0 and len(out) < 16:
        if at >= 3 and data[at - 3] == 1:
            source = decompressed(data[at - 3:])
            if source:
                out.append(source)
        at = data.find(b"\0Attribut", at + 9)
    return out


def decompressed(data: bytes) -> bytes:
    """A compressed container of MS-OVBA 2.4.1, as far as it goes."""
    out = bytearray()
    at = 1
    while at + 2 <= len(data) and len(out) < _SOURCE_BYTES:
        header = int.from_bytes(data[at:at + 2], "little")
        if (header >> 12) & 7 != 3:
            break
        stop = min(at + (header & 0xfff) + 3, len(data))
        at += 2
        if not header & 0x8000:
            out += data[at:stop]
            at = stop
            continue
        begin = len(out)
        while at < stop:
            flags = data[at]
            at += 1
            for bit in range(8):
                if at >= stop:
                    break
                if not flags >> bit & 1:
                    out.append(data[at])
                    at += 1
                    continue
                if at + 2 > stop:
                    at = stop
                    break
                token = data[at] | data[at + 1] << 8
                at += 2
                bits = max((len(out) - begin - 1).bit_length(), 4)
                length = (token & (0xffff >> bits)) + 3
                back = (token >> (16 - bits)) + 1
                if back > len(out) - begin:
                    return bytes(out)
                for _ in range(length):
                    out.append(out[-back])
            if len(out) - begin > 8192:
                return bytes(out)
    return bytes(out)
