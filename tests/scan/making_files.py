"""Files of every kind that is opened, made for the tests: small, by the specifications, none from elsewhere."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import itertools
import lzma
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-" + b"FILE!$H+H*"
"""In pieces, so that no scanner takes this file for the real one."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(40)
GIF = b"GIF89a" + bytes(40)
PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"
LNK = b"L\0\0\0\x01\x14\x02\0" + bytes(68)
SCRIPT = b"#!/bin/sh\necho hello\n"
ELF = b"\x7fELF\x02\x01\x01" + bytes(60)
CLASS = b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(30)
CONTENT_TYPES = b'<?xml version="1.0"?><Types xmlns="urn:x"/>'


def pe(size: int = 512) -> bytes:
    """A Windows program, as far as its headers go."""
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0\x4c\x01"
    return head + bytes(max(0, size - len(head)))


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as made:
        warnings.simplefilter("ignore")
        for name, data in members.items():
            made.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, method)
        made.comment = comment
    return out.getvalue()


def tarred(
    members: Mapping[str, bytes], mode: str = "w", extra: Sequence[tarfile.TarInfo] = (),
    format_: int = tarfile.PAX_FORMAT,
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=format_) as made:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        for info in extra:
            made.addfile(info)
    return out.getvalue()


def tar_entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def docx(macros: bytes | None = None, relations: bytes = b"") -> bytes:
    members = {
        "[Content_Types].xml": CONTENT_TYPES, "_rels/.rels": b"<Relationships/>",
        "word/document.xml": b"<w:document>hello</w:document>",
    }
    if relations:
        members["word/_rels/settings.xml.rels"] = relations
    if macros is not None:
        members["word/vbaProject.bin"] = macros
    return zipped(members)


def odt(macros: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("mimetype", b"application/vnd.oasis.opendocument.text")
        made.writestr("content.xml", b"<office/>")
        if macros:
            made.writestr("Basic/Standard/Module1.xml", b"<script/>")
    return out.getvalue()


# -- compressed streams


def lzipped(data: bytes) -> bytes:
    """One member of lzip with a dictionary of 64 KiB."""
    # lzip has a mark at the end of its LZMA, as the old format has it, which has a head of its own.
    body = lzma.compress(data, lzma.FORMAT_ALONE, filters=[
        {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}])[13:]
    tail = struct.pack("<IQQ", zlib.crc32(data), len(data), 6 + len(body) + 20)
    return b"LZIP\x01\x10" + body + tail


def compressed(data: bytes) -> dict[str, bytes]:
    """The same content through every single-stream compressor that is opened (but Zstandard)."""
    return {
        "gz": gzip.compress(data, mtime=0), "bz2": bz2.compress(data), "xz": lzma.compress(data),
        "lzma": lzma.compress(data, lzma.FORMAT_ALONE), "lz": lzipped(data),
    }


# -- cabinets


def cab(members: Mapping[str, bytes], mszip: bool = True, method: int | None = None) -> bytes:
    """A cabinet of one folder."""
    whole = b"".join(members.values())
    blocks = []
    window = b""
    for at in range(0, len(whole), 32768):
        piece = whole[at:at + 32768]
        if mszip:
            made = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=window) if window else zlib.compressobj(
                9, zlib.DEFLATED, -15)
            packed = b"CK" + made.compress(piece) + made.flush()
            window = piece
        else:
            packed = piece
        blocks.append(struct.pack("<LHH", 0, len(packed), len(piece)) + packed)
    files = b""
    at = 0
    for name, data in members.items():
        files += struct.pack("<LLHHHH", len(data), at, 0, 0, 0, 0x20) + name.encode() + b"\0"
        at += len(data)
    files_at = 36 + 8
    data_at = files_at + len(files)
    body = b"".join(blocks)
    kind = method if method is not None else int(mszip)
    head = struct.pack(
        "<4s5L2B5H", b"MSCF", 0, data_at + len(body), 0, files_at, 0, 3, 1, 1, len(members), 0, 0, 0)
    return head + struct.pack("<LHH", data_at, len(blocks), kind) + files + body


# -- 7z


def _number(value: int) -> bytes:
    """A number of 7z: always in the long form, but for small ones."""
    return bytes((value,)) if value < 0x80 else b"\xff" + struct.pack("<Q", value)


def sevenzip(
    members: Mapping[str, bytes], coder: str = "lzma2", *, encoded: bool = False, empty: Sequence[str] = (),
) -> bytes:
    """A 7z of one folder. coder: copy, lzma, lzma2, bcj, delta, deflate, bzip2, aes, ppmd, bcj2."""
    whole = b"".join(members.values())
    coders, packed = _coders(whole, coder)
    names = "".join(f"{name}\0" for name in (*members, *empty)).encode("utf-16-le")
    count = len(members) + len(empty)
    streams = (
        b"\x06" + _number(0) + _number(1) + b"\x09" + _number(len(packed)) + b"\0"
        + b"\x07\x0b" + _number(1) + b"\0" + coders
        + b"\x0c" + _number(len(whole)) * (2 if coder in ("bcj", "delta") else 1) + b"\0"
        + b"\x08\x0d" + _number(len(members))
        + (b"\x09" + b"".join(_number(len(data)) for data in list(members.values())[:-1]) if len(members) > 1 else b"")
        + b"\x0a\x01" + b"".join(struct.pack("<L", zlib.crc32(data)) for data in members.values()) + b"\0"
        + b"\0"
    )
    bits = ""
    if empty:
        bits = "0" * len(members) + "1" * len(empty)
        bits += "0" * (-len(bits) % 8)
    hollow = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    files = (
        b"\x05" + _number(count)
        + (b"\x0e" + _number(len(hollow)) + hollow if empty else b"")
        + b"\x11" + _number(len(names) + 1) + b"\0" + names + b"\0"
    )
    header = b"\x01\x04" + streams + files + b"\0"
    if encoded:
        more = lzma.compress(header, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}])
        encoded_header = (
            b"\x17\x06" + _number(len(packed)) + _number(1) + b"\x09" + _number(len(more)) + b"\0"
            + b"\x07\x0b" + _number(1) + b"\0" + _number(1) + b"\x23\x03\x01\x01" + _number(5) + b"\x5d"
            + struct.pack("<L", 1 << 16) + b"\x0c" + _number(len(header)) + b"\0\0"
        )
        packed, header = packed + more, encoded_header
    start = struct.pack("<QQL", len(packed), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<L", zlib.crc32(start)) + start + packed + header


def _coders(whole: bytes, coder: str) -> tuple[bytes, bytes]:
    one = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}
    two = {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}
    lzma1 = b"\x23\x03\x01\x01\x05\x5d" + struct.pack("<L", 1 << 16)
    if coder == "copy":
        return b"\x01\x01\0", whole
    if coder == "lzma":
        return b"\x01" + lzma1, lzma.compress(whole, lzma.FORMAT_RAW, filters=[one])
    if coder == "lzma2":
        return b"\x01\x21\x21\x01\x08", lzma.compress(whole, lzma.FORMAT_RAW, filters=[two])
    if coder in ("bcj", "delta"):
        other = {"id": lzma.FILTER_X86} if coder == "bcj" else {"id": lzma.FILTER_DELTA, "dist": 4}
        head = b"\x04\x03\x03\x01\x03" if coder == "bcj" else b"\x21\x03\x01\x03"
        # The filter is the first coder and reads what the second, LZMA2, gives: bind pair (0, 1).
        return b"\x02" + head + b"\x21\x21\x01\x08" + b"\0\x01", lzma.compress(
            whole, lzma.FORMAT_RAW, filters=[other, two])
    if coder == "deflate":
        made = zlib.compressobj(9, zlib.DEFLATED, -15)
        return b"\x01\x03\x04\x01\x08", made.compress(whole) + made.flush()
    if coder == "bzip2":
        return b"\x01\x03\x04\x02\x02", bz2.compress(whole)
    if coder == "aes":
        return b"\x01\x24\x06\xf1\x07\x01\x02\x13\0", whole
    if coder == "ppmd":
        return b"\x01\x23\x03\x04\x01\x05" + bytes(5), whole
    raise KeyError(coder)


# -- RAR


def rar5(members: Mapping[str, bytes], method: int = 0, *, encrypted: bool = False, headers: bool = False) -> bytes:
    """RAR 5; method 0 is stored. `headers`: the headers are encrypted."""
    def block(kind: int, body: bytes, data: bytes = b"", extra: bytes = b"") -> bytes:
        flags = (1 if extra else 0) | (2 if data else 0)
        inside = bytes((kind, flags)) + (bytes((len(extra),)) if extra else b"") + (
            _vint(len(data)) if data else b"") + body + extra
        sized = _vint(len(inside)) + inside
        return struct.pack("<L", zlib.crc32(sized)) + sized + data

    out = b"Rar!\x1a\x07\x01\0" + (block(4, b"\0\0\x0f" + bytes(16)) if headers else block(1, b"\0"))
    for name, data in members.items():
        raw = name.encode()
        body = b"\0" + _vint(len(data)) + b"\x20" + _vint(method << 7) + b"\0" + _vint(len(raw)) + raw
        out += block(2, body, data, b"\x05\x01\0\0\x0f\0" if encrypted else b"")
    return out + block(5, b"\0")


def _vint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out) + bytes((value,))


def rar4(members: Mapping[str, bytes], method: int = 0x30, flags: int = 0, main_flags: int = 0) -> bytes:
    def block(kind: int, bits: int, body: bytes, data: bytes = b"") -> bytes:
        head = struct.pack("<BHH", kind, bits, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xffff) + head + data

    out = b"Rar!\x1a\x07\0" + block(0x73, main_flags, bytes(6))
    for name, data in members.items():
        raw = name.encode()
        body = struct.pack(
            "<LLBLLBBHL", len(data), len(data), 2, zlib.crc32(data), 0, 20, method, len(raw), 0x20) + raw
        out += block(0x74, 0x8000 | flags, body, data)
    return out + block(0x7b, 0, b"")


# -- ISO 9660


def iso(members: Mapping[str, bytes], joliet: Mapping[str, bytes] | None = None) -> bytes:
    """An image with one folder; `joliet`: a second tree."""
    trees = [(members, False)] + ([(joliet, True)] if joliet is not None else [])
    sectors: dict[int, bytes] = {}
    free = 16 + len(trees) + 1 + len(trees)
    for number, (files, wide) in enumerate(trees):
        where = 16 + len(trees) + 1 + number
        rows = _iso_row(where, 2048, b"\0", 2) + _iso_row(where, 2048, b"\1", 2)
        for name, data in files.items():
            raw = name.encode("utf-16-be") if wide else name.encode()
            rows += _iso_row(free, len(data), raw, 0)
            for at in range(0, max(len(data), 1), 2048):
                sectors[free] = data[at:at + 2048]
                free += 1
        sectors[where] = rows
        volume = bytearray(2048)
        volume[:7] = bytes((2 if wide else 1,)) + b"CD001\x01"
        volume[156:156 + 34] = _iso_row(where, 2048, b"\0", 2)
        if wide:
            volume[88:91] = b"%/E"
        sectors[16 + number] = bytes(volume)
    sectors[16 + len(trees)] = b"\xffCD001\x01"
    return b"".join(sectors.get(i, b"").ljust(2048, b"\0") for i in range(free))


def _iso_row(where: int, size: int, name: bytes, flags: int) -> bytes:
    length = 33 + len(name) + (len(name) + 1) % 2
    return (bytes((length, 0)) + struct.pack("<L", where) + struct.pack(">L", where)
            + struct.pack("<L", size) + struct.pack(">L", size) + bytes(7) + bytes((flags, 0, 0)) + bytes(4)
            + bytes((len(name),)) + name).ljust(length, b"\0")


# -- OLE


def ole(streams: Mapping[str, bytes], clsid: bytes = bytes(16)) -> bytes:
    """A compound file of version 3: small streams in the mini stream, folders by "/" in the name."""
    rows: list[tuple[str, int, list[int]]] = [("Root Entry", 5, [])]
    where = {"": 0}
    fat: list[int] = []
    body: list[bytes] = []
    mini = bytearray()
    mini_fat: list[int] = []

    def chain(data: bytes) -> int:
        if not data:
            return 0xfffffffe
        first = len(fat)
        pieces = [data[at:at + 512].ljust(512, b"\0") for at in range(0, len(data), 512)]
        fat.extend(range(first + 1, first + len(pieces)))
        fat.append(0xfffffffe)
        body.extend(pieces)
        return first

    def small(data: bytes) -> int:
        first = len(mini_fat)
        pieces = [data[at:at + 64].ljust(64, b"\0") for at in range(0, len(data), 64)]
        mini_fat.extend(range(first + 1, first + len(pieces)))
        mini_fat.append(0xfffffffe)
        for piece in pieces:
            mini.extend(piece)
        return first

    placed: dict[int, tuple[int, int]] = {}
    for path, data in streams.items():
        *folders, name = path.split("/")
        parent = ""
        for folder in folders:
            here = f"{parent}/{folder}"
            if here not in where:
                where[here] = len(rows)
                rows[where[parent]][2].append(len(rows))
                rows.append((folder, 1, []))
            parent = here
        rows[where[parent]][2].append(len(rows))
        placed[len(rows)] = ((chain(data) if len(data) >= 4096 else small(data) if data else 0xfffffffe), len(data))
        rows.append((name, 2, []))
    placed[0] = (chain(bytes(mini)), len(mini))
    table = b"".join(struct.pack("<L", one) for one in mini_fat)
    mini_fat_at = chain(table.ljust(-(-len(mini_fat) // 128) * 512, b"\xff"))
    directory = b""
    nexts: dict[int, int] = {}
    for _, _, children in rows:
        nexts.update(itertools.pairwise(children))
    for number, (name, kind, children) in enumerate(rows):
        raw = name.encode("utf-16-le") + b"\0\0"
        start, size = placed.get(number, (0, 0))
        directory += (raw.ljust(64, b"\0") + struct.pack(
            "<HBBLLL", len(raw), kind, 1, 0xffffffff, nexts.get(number, 0xffffffff),
            children[0] if children else 0xffffffff)
            + (clsid if number == 0 else bytes(16)) + bytes(20) + struct.pack("<LLL", start, size, 0))
    directory_at = chain(directory)
    fat_sectors = -(-(len(fat) + 1) // 127)
    fat_at = len(fat)
    fat += [0xfffffffd] * fat_sectors
    table = b"".join(struct.pack("<L", one) for one in fat).ljust(fat_sectors * 512, b"\xff")
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack(
        "<HHHHHHLLLLLLLLLL", 0x3e, 3, 0xfffe, 9, 6, 0, 0, 0, fat_sectors, directory_at, 0, 4096, mini_fat_at,
        -(-len(mini_fat) // 128), 0xfffffffe, 0)
    difat = struct.pack(f"<{fat_sectors}L", *range(fat_at, fat_at + fat_sectors)).ljust(436, b"\xff")
    return head + difat + b"".join(body) + table


def vba_compressed(source: bytes) -> bytes:
    """A container of MS-OVBA 2.4.1 of literal tokens, and of copies where the last three bytes repeat."""
    out = bytearray(b"\x01")
    for begin in range(0, len(source), 4096):
        piece = source[begin:begin + 4096]
        packed = bytearray()
        at = 0
        while at < len(piece):
            flags, tokens = 0, bytearray()
            for bit in range(8):
                if at >= len(piece):
                    break
                bits = max((at - 1).bit_length(), 4) if at else 4
                back = piece.rfind(piece[at:at + 3], 0, at) if at + 3 <= len(piece) else -1
                if back >= 0 and back + 3 <= at:
                    flags |= 1 << bit
                    tokens += struct.pack("<H", (at - back - 1) << (16 - bits))
                    at += 3
                else:
                    tokens.append(piece[at])
                    at += 1
            packed.append(flags)
            packed += tokens
        out += struct.pack("<H", 0xb000 | (len(packed) + 2 - 3)) + packed
    return bytes(out)


def vba_project(source: bytes) -> bytes:
    """A project of one module, as vbaProject.bin has it."""
    text = b'Attribute VB_Name = "Module1"\r\n' + source
    return ole({
        "VBA/_VBA_PROJECT": b"\xcc\x61" + bytes(30), "VBA/dir": vba_compressed(b"\x01\0\x04\0\0\0"),
        "VBA/Module1": bytes(64) + vba_compressed(text), "PROJECT": b'ID="{0}"\r\n',
    })


def package(name: str, data: bytes) -> bytes:
    """The stream of a file that was put into a document."""
    inside = (b"\x02\0" + name.encode() + b"\0C:\\tmp\\" + name.encode() + b"\0" + bytes(4)
              + struct.pack("<L", 4) + b"tmp\0" + struct.pack("<L", len(data)) + data)
    return struct.pack("<L", len(inside)) + inside


# -- text with files in it


def pdf(objects: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """A PDF of objects: (dictionary's inside, stream or None)."""
    out = b"%PDF-1.7\n"
    for number, (inside, stream) in enumerate(objects, 1):
        out += b"%d 0 obj\n<< %s >>\n" % (number, inside)
        if stream is not None:
            out += b"stream\r\n" + stream + b"\r\nendstream\n"
        out += b"endobj\n"
    return out + b"trailer << /Root 1 0 R >>\n%%EOF\n"


def mail(attachments: Mapping[str, bytes], text: bytes = b"hello") -> bytes:
    out = (b"From: a@example.org\r\nTo: b@example.org\r\nSubject: files\r\nMIME-Version: 1.0\r\n"
           b'Content-Type: multipart/mixed; boundary="=_b"\r\n\r\n--=_b\r\nContent-Type: text/plain\r\n\r\n' + text)
    for name, data in attachments.items():
        out += (b"\r\n--=_b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
                b'Content-Disposition: attachment; filename="' + name.encode() + b'"\r\n\r\n'
                + base64.encodebytes(data))
    return out + b"\r\n--=_b--\r\n"


def rtf(data: bytes) -> bytes:
    """An RTF with an object, its digits broken by line ends and a control word."""
    digits = data.hex().encode()
    half = len(digits) // 2
    return (b"{\\rtf1\\ansi hello {\\object\\objemb{\\*\\objclass Package}{\\*\\objdata "
            + digits[:half] + b"\r\n\\par " + digits[half:] + b"}}}")


def seeds() -> list[bytes]:
    """A small file of each kind that is opened: where fuzzing and spoiling begin."""
    return [
        zipped({"a/e.com": EICAR, "b.zip": zipped({"c": b"c" * 500})}), tarred({"a": EICAR, "d" * 150: b"x"}),
        cab({"a": EICAR * 20, "b": b"b"}), sevenzip({"a": EICAR, "b": b"x" * 300}),
        sevenzip({"a": EICAR}, "bcj", encoded=True), rar4({"a": EICAR}), rar5({"a": EICAR}), mail({"a.exe": EICAR}),
        iso({"A": EICAR}, {"a": b"b"}), ole({"a": bytes(5000), "b/c": EICAR}), rtf(EICAR), odt(True),
        vba_project(b"Sub AutoOpen()\r\nEnd Sub\r\n" * 20), docx(vba_project(b"x")),
        pdf([(b"/Filter /FlateDecode", EICAR), (b"/Type /EmbeddedFile", EICAR)]), *compressed(EICAR * 30).values(),
        b"!<arch>\n" + b"a/".ljust(48) + b"4".ljust(10) + b"`\nabcd", ole({"x/\x01Ole10Native": package("a", b"b")}),
        pe(),
    ]
