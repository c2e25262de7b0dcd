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
_JOINED = 4 * 1024 * 1024
"""Inflated streams are shown to the rules together, about this much at a time."""
_WORDS: tuple[tuple[bytes, str, Severity], ...] = (
    (b"JavaScript", "pdf_javascript", "medium"), (b"JS", "pdf_javascript", "medium"), (b"Launch", "pdf_launch", "high"),
)
_TOLD = frozenset({b"JavaScript", b"JS", b"Launch", b"EmbeddedFile", b"Encrypt"})
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
        name = names(data[begin if begin >= 0 else max(0, at - 512):at])
        raw = memoryview(data)[start:end]
        made = _decoded(raw, name, box)
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


def _decoded(raw: memoryview, name: set[bytes], box: Box) -> bytes | None:
    """A stream without its filters; None: one that needs no decoding, or none that is known. A broken one is read as
    far as it goes."""
    data: bytes | memoryview = raw
    plain = True
    if name & {b"ASCIIHexDecode", b"AHx"}:
        box.spend(len(raw))
        digits = bytes(raw).partition(b">")[0].translate(None, b" \t\r\n\0\f")
        try:
            data, plain = binascii.unhexlify(digits + b"0" * (len(digits) % 2)), False
        except binascii.Error:
            return None
    elif name & {b"ASCII85Decode", b"A85"}:
        box.spend(len(raw))
        try:
            data, plain = base64.a85decode(bytes(raw).partition(b"~>")[0].lstrip(b" \r\n").removeprefix(b"<~")), False
        except ValueError:
            return None
    if name & {b"FlateDecode", b"Fl"}:
        return _inflated(data, b"Image" in name)
    return None if plain else bytes(data)


def _inflated(data: bytes | memoryview, image: bool) -> bytes:
    """As far as it goes: readers show what came before an error."""
    out = bytearray()
    made = zlib.decompressobj()
    left: bytes | memoryview = data
    most = _IMAGE_BYTES if image else _STREAM_BYTES
    try:
        while left and not made.eof and len(out) < most:
            out += made.decompress(left, BLOCK)
            left = made.unconsumed_tail
    except zlib.error:
        pass
    return bytes(out)
