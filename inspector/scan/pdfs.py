"""PDF (ISO 32000-1): streams inflated for the rules, files in it, and what it does when it is opened.

Objects are not followed by the cross-reference table, which may lie, but found where they stand: every stream between
`stream` and `endstream` (7.3.8), those with other objects in them too (7.5.7). Names are read with their #xx escapes
(7.3.5).

Not decoded: LZW, images, strings of scripts in hexadecimal, encrypted streams (told).
"""

from __future__ import annotations

import base64
import binascii
import zlib

from inspector.model.verdicts import Severity
from inspector.scan import linear
from inspector.scan.archives import Box
from inspector.scan.content import BLOCK, Content

_MOST = 64 * 1024 * 1024
"""Bytes from the beginning that are read."""
_DICTIONARY = 8192
"""Bytes in front of a stream in which its dictionary is looked for."""
_STREAM_BYTES = 16 * 1024 * 1024
"""Bytes of one stream that are inflated."""
_IMAGE_BYTES = 1024 * 1024
"""Bytes of a stream of pixels that are inflated: photographs would use up all budgets."""
_STREAMS = 5000
_CHAIN = 8
"""Filters of one stream that are undone."""
_PIECE = 16 * 1024
_JOINED = 4 * 1024 * 1024
"""Inflated streams are shown to the rules together, about this much at a time."""
_WORDS: tuple[tuple[bytes, str, Severity], ...] = (
    (b"JavaScript", "pdf_javascript", "medium"), (b"JS", "pdf_javascript", "medium"), (b"Launch", "pdf_launch", "high"),
)
_TOLD = frozenset({b"JavaScript", b"JS", b"Launch", b"EmbeddedFile", b"Encrypt"})
_SHORT = {b"AHx": b"ASCIIHexDecode", b"A85": b"ASCII85Decode", b"Fl": b"FlateDecode", b"LZW": b"LZWDecode",
          b"RL": b"RunLengthDecode"}
_FILTERS = frozenset({b"ASCIIHexDecode", b"ASCII85Decode", b"FlateDecode", b"LZWDecode", b"RunLengthDecode"})
_NAME = linear.pattern(rb"/([^\x00\t\n\x0c\r /<>\[\](){}%]{1,127})")
_ESCAPED = linear.pattern(
    rb"/([^\x00\t\n\x0c\r /<>\[\](){}%#]{0,40}#[0-9A-Fa-f]{2}[^\x00\t\n\x0c\r /<>\[\](){}%]{0,80})")
_DELIMITERS = frozenset(b" \t\r\n\0\f/<>[]()%")


def open_pdf(content: Content, box: Box) -> None:
    """All streams of a PDF."""
    data = content.read(0, _MOST)
    if content.size > _MOST:
        box.tell("budget", "high", f"only the first {_MOST} bytes of the PDF are opened")
    said = _words(data)
    joined = bytearray()
    files = streams = at = 0
    end = -1
    while (at := data.find(b"stream", at)) >= 0:
        at += 6
        if data[at - 9:at - 6] == b"end" or data[at:at + 1] not in (b"\r", b"\n", b" "):
            continue
        streams += 1
        if streams > _STREAMS:
            box.tell("too_many", "high", f"more than {_STREAMS} streams in a PDF")
            break
        # Every keyword counts, those inside of what looks like a stream too: one in a comment must hide nothing.
        start = at + (2 if data[at:at + 2] == b"\r\n" else 1)
        if end < start:
            end = data.find(b"endstream", start)
            end = len(data) if end < 0 else end
        begin = data.rfind(b" obj", max(0, at - _DICTIONARY), at)
        head = data[begin if begin >= 0 else max(0, at - 512):at]
        name = names(head)
        raw = memoryview(data)[start:end]
        # What is deflated ends by itself: the word for the end may stand in it.
        whole = memoryview(data)[start:] if data[start] & 15 == 8 else raw
        made = _decoded(whole, filters(head), b"Image" in name, box)
        if b"EmbeddedFile" in name:
            files += 1
            box.member(f"file {files}", [bytes(raw) if made is None else made], max(1, len(raw)), named=False)
        elif made:
            box.spend(len(made))
            if b"ObjStm" in name:
                said |= _words(made)
            joined += made
            joined += b"\n"
            if len(joined) >= _JOINED:
                box.derived("streams", bytes(joined))
                joined.clear()
    if joined:
        box.derived("streams", bytes(joined))
    if b"Encrypt" in said:
        box.encrypted("the PDF")
    for word, rule, severity in _WORDS:
        if word in said:
            box.tell(rule, severity, f"/{word.decode()}")
    if files or b"EmbeddedFile" in said:
        box.tell("pdf_embedded", "medium", f"{max(files, 1)} in the PDF")


def names(head: bytes) -> set[bytes]:
    """The names in a piece of a PDF, their escapes undone."""
    return {_plain(name) if b"#" in name else name for name in _NAME.findall(head)}


def _plain(name: bytes) -> bytes:
    first, *rest = name.split(b"#")
    for part in rest:
        try:
            first += binascii.unhexlify(part[:2]) + part[2:]
        except binascii.Error:
            first += b"#" + part
    return first


def _words(data: bytes) -> set[bytes]:
    """Which of the names that matter are in the data, in any spelling."""
    found = {_plain(name) for name in _ESCAPED.findall(data)} & _TOLD
    for word in _TOLD - found:
        at = data.find(b"/" + word)
        while at >= 0:
            end = at + 1 + len(word)
            if end >= len(data) or data[end] in _DELIMITERS:
                found.add(word)
                break
            at = data.find(b"/" + word, end)
    return found


def filters(head: bytes) -> list[bytes]:
    """The filters that a stream's dictionary names, in their order and with repeats, by their long names."""
    found = []
    for raw in _NAME.findall(head):
        name = _plain(raw) if b"#" in raw else raw
        name = _SHORT.get(name, name)
        if name in _FILTERS:
            found.append(name)
    return found[:_CHAIN]


def _decoded(raw: memoryview, order: list[bytes], image: bool, box: Box) -> bytes | None:
    """A stream without its filters; None: one that needs no decoding, or none that is known. A broken one is read as
    far as it goes. What is deflated without saying so (its filters may be named elsewhere, 7.3.10) is inflated too."""
    data: bytes | memoryview = raw
    plain = True
    for one in order:
        box.spend(len(data))
        if one == b"ASCIIHexDecode":
            digits = bytes(data).partition(b">")[0].translate(None, b" \t\r\n\0\f")
            try:
                data, plain = binascii.unhexlify(digits + b"0" * (len(digits) % 2)), False
            except binascii.Error:
                break
        elif one == b"ASCII85Decode":
            try:
                data, plain = base64.a85decode(
                    bytes(data).partition(b"~>")[0].lstrip(b" \r\n").removeprefix(b"<~")), False
            except ValueError:
                break
        elif one == b"FlateDecode":
            if len(data) < 2 or data[0] & 15 != 8:
                break
            data, plain = _inflated(data, image), False
        else:
            if not image:
                box.tell("hidden_content", "medium", f"a stream with the filter {one.decode()}, which is not decoded")
            break
    for _ in range(_CHAIN):
        if len(data) < 8 or data[0] != 0x78 or (data[0] << 8 | data[1]) % 31:
            break
        more = _inflated(data, image)
        if not more:
            break
        box.spend(len(more))
        data, plain = more, False
    return None if plain else bytes(data)


def _inflated(data: bytes | memoryview, image: bool) -> bytes:
    """As far as it goes: readers show what came before an error, and do not ask for its checksum."""
    most = _IMAGE_BYTES if image else _STREAM_BYTES
    out = bytearray()
    at = _inflate(data, 2, _PIECE, most, out)
    if at >= 0:
        # What zlib made before the error is lost with it: once more, and byte by byte where it was.
        out.clear()
        _inflate(data, 2, _PIECE, most, out, at)
    return bytes(out)


def _inflate(data: bytes | memoryview, start: int, step: int, most: int, out: bytearray, slow: int = -1) -> int:
    """Inflate raw data into `out`; the piece in which an error is, -1: there is none. The piece at `slow` is given
    byte by byte."""
    made = zlib.decompressobj(-15)
    for at in range(start, len(data), step):
        piece = data[at:at + step]
        for left in (piece,) if at != slow else (piece[i:i + 1] for i in range(len(piece))):
            while left and not made.eof and len(out) < most:
                try:
                    out += made.decompress(left, BLOCK)
                except zlib.error:
                    return at
                left = made.unconsumed_tail
        if made.eof or len(out) >= most:
            break
    return -1
