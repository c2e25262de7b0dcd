"""What openers of archives share: what they are given, what they may say, and the decompressors, which are bounded.

An opener is called with a content and a Box. It gives each file inside to `box.member`, in blocks that are made as they
are asked for, so that nothing is unpacked that no budget covers; no name of a member ever becomes a path of ours. What
is not as the format says is `Damaged`. The budgets belong to the file that is judged, not to one archive in it.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import zstandard

from inspector.model.verdicts import Severity
from inspector.scan.content import BLOCK, Content, Part, blocks

DICTIONARY = 64 * 1024 * 1024
"""Bytes that a decompressor may ask for at once: what the largest preset of xz and the usual ones of 7z need."""


_XZ = b"\xfd7zXZ\0"
_STEP = 16 * 1024
"""Packed bytes that are given to a decompressor in one go where many small streams may stand in a row: what is behind
the end of one is copied for each."""


class Damaged(Exception):
    """The content is not what its format says. The text is for the finding."""


class Unopened(Exception):
    """The content cannot be opened here: a method that is not known. The text is for the finding."""


BROKEN = (Damaged, struct.error, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError, IndexError, OverflowError)
"""What an opener may raise for hostile bytes: all of it is a finding "file.damaged"."""


class Box(Protocol):
    """What an opener says of the container it reads."""

    name: str
    """The container's own name."""

    def member(
        self, name: str, data: Part | Iterable[bytes], packed: int | None = None, *, named: bool = True,
    ) -> Content | None:
        """A file inside: it is counted, unpacked within the budgets, judged. `packed`: its packed size. `named` False:
        the name is ours, not to be judged. Returns what was unpacked; None: nothing. Raises only to end all."""
        ...

    def derived(self, what: str, data: bytes) -> None:
        """Content that is not a file but that rules should see: decompressed source, decoded streams."""
        ...

    def name_only(self, name: str) -> None:
        """A file inside that cannot be read: its name is judged and counted."""
        ...

    def tell(self, rule: str, severity: Severity, detail: str) -> None:
        """A finding of detector "file"; `rule` without "file." in front."""
        ...

    def encrypted(self, what: str) -> None:
        """Part of it needs a password."""
        ...

    def become(self, former: str, now: str) -> None:
        """The container is of a more exact format than its first bytes say."""
        ...

    def spend(self, count: int) -> None:
        """Count bytes that were unpacked on the way to members. Raises to end all."""
        ...


Opener = Callable[[Content, Box], None]


# -- decompressors: pieces of packed bytes in, blocks of at most BLOCK out. A block may be empty: so a budget of time is
# seen where many streams hold nothing.


def inflated(pieces: Iterable[memoryview | bytes], window: int = -15) -> Iterator[bytes]:
    """Raw deflate (RFC 1951). Ends with the stream; Damaged when that does not end."""
    made = zlib.decompressobj(window)
    for piece in pieces:
        data: Any = piece
        while data and not made.eof:
            out = made.decompress(data, BLOCK)
            if out:
                yield out
            data = made.unconsumed_tail
        if made.eof:
            return
    while not made.eof:
        out = made.decompress(made.unconsumed_tail, BLOCK)
        if not out:
            break
        yield out
    if not made.eof:
        raise Damaged("the deflated data ends too early")


def bunzipped(pieces: Iterable[memoryview | bytes], behind: list[bool] | None = None) -> Iterator[bytes]:
    """bzip2, several streams behind one another. `behind` gets an entry when there is something else behind them."""
    made = bz2.BZ2Decompressor()
    begun = False
    for piece in pieces:
        data: Any = piece
        while True:
            if made.eof:
                data = made.unused_data or data
                if not data:
                    break
                if not bytes(data[:3]).startswith(b"BZh"[:len(data)]):
                    if behind is not None and bytes(data).strip(b"\0"):
                        behind.append(True)
                    return
                made = bz2.BZ2Decompressor()
                yield b""
            try:
                out = made.decompress(data, BLOCK)
            except OSError as exc:  # what bz2 raises for bad data
                raise Damaged(str(exc)) from None
            data = b""
            begun = True
            if out:
                yield out
            if made.needs_input or (made.eof and not made.unused_data):
                break
    if not made.eof and begun:
        raise Damaged("the bzip2 data ends too early")


def unlzmaed(
    pieces: Iterable[memoryview | bytes], make: Callable[[], lzma.LZMADecompressor], behind: list[bool] | None = None,
) -> Iterator[bytes]:
    """LZMA in any wrapping; `make` makes the decompressor of the next stream. Between streams of xz there may be any
    number of zeros. `behind` gets an entry when there is something else behind the last one."""
    made = make()
    ended = False
    waiting = b""
    """Behind the end of a stream: too little to tell."""
    for piece in pieces:
        data: Any = piece
        while True:
            if ended:
                data = (waiting + bytes(data)).lstrip(b"\0")
                if not data.startswith(_XZ):
                    waiting = data
                    if not _XZ.startswith(data):
                        if behind is not None:
                            behind.append(True)
                        return
                    break
                made, ended, waiting = make(), False, b""
                yield b""
            try:
                out = made.decompress(data, BLOCK)
            except lzma.LZMAError as exc:
                if "emory" in str(exc):
                    raise Unopened("it needs too much memory to unpack") from None
                raise
            data = b""
            if out:
                yield out
            if made.eof:
                ended, data = True, made.unused_data
                if not data:
                    break
            elif made.needs_input:
                break
    if waiting and behind is not None:
        behind.append(True)
    if not ended:
        raise Damaged("the LZMA data ends too early")


def lzma_filter(properties: bytes, size: int | None = None) -> dict[str, Any]:
    """The filter of five bytes of LZMA properties (LZMA specification). `size`: of what will come out, when known: a
    dictionary longer than that is not needed. Raises Damaged, Unopened."""
    if len(properties) < 5 or properties[0] >= 225:
        raise Damaged("wrong LZMA properties")
    first, dictionary = properties[0], int.from_bytes(properties[1:5], "little")
    if size is not None:
        dictionary = min(dictionary, size)
    if dictionary > DICTIONARY:
        raise Unopened("it needs too much memory to unpack")
    lc, lp, pb = first % 9, first // 9 % 5, first // 45
    if lc + lp > 4:
        raise Damaged("wrong LZMA properties")
    return {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}


def raw_lzma(pieces: Iterable[memoryview | bytes], filters: list[dict[str, Any]], size: int) -> Iterator[bytes]:
    """Raw LZMA of a known size: streams of 7z and zip have no mark of their end."""
    made = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    left = size
    for piece in pieces:
        data: Any = piece
        while left > 0 and not made.eof:
            out = made.decompress(data, min(BLOCK, left))
            data = b""
            if out:
                left -= len(out)
                yield out
            if made.needs_input:
                break
        if left <= 0 or made.eof:
            break
    if left > 0:
        raise Damaged("the LZMA data ends too early")


def filtered(pieces: Iterable[memoryview | bytes], one: dict[str, Any]) -> Iterator[bytes]:
    """Undo a branch or delta filter of liblzma, which has them only in front of a coder: so the bytes are given to it
    as chunks of LZMA2 that are not compressed (xz-file-format, LZMA2)."""
    chain = [one, {"id": lzma.FILTER_LZMA2, "dict_size": 65536}]
    made = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)
    first = True
    for piece in pieces:
        for at in range(0, len(piece), 65536):
            chunk = bytes(piece[at:at + 65536])
            out = made.decompress((b"\1" if first else b"\2") + (len(chunk) - 1).to_bytes(2, "big") + chunk)
            first = False
            if out:
                yield out
    if not first and not made.eof:
        out = made.decompress(b"\0")
        if out:
            yield out


def unzstd(pieces: Iterable[memoryview | bytes]) -> Iterator[bytes]:
    """Zstandard frames (RFC 8878)."""
    made = zstandard.ZstdDecompressor(max_window_size=DICTIONARY).decompressobj(read_across_frames=True)
    for piece in pieces:
        # At most 128 KiB come out for each block of a few bytes: so little in that little comes out at once.
        for at in range(0, len(piece), 256):
            out = made.decompress(bytes(piece[at:at + 256]))
            for begin in range(0, len(out), BLOCK):
                yield out[begin:begin + BLOCK]


# -- one compressed stream


def stem(name: str, *endings: str) -> str:
    """What a compressed file is called inside."""
    lowered = name.lower()
    for one, inner in (("tgz", ".tar"), ("tbz2", ".tar"), ("tbz", ".tar"), ("txz", ".tar")):
        if lowered.endswith(f".{one}"):
            return name[: -len(one) - 1] + inner
    for one in endings:
        if lowered.endswith(f".{one}"):
            return name[: -len(one) - 1] or "content"
    return "content"


def open_gzip(content: Content, box: Box) -> None:
    """RFC 1952: members behind one another are one content; anything else behind the last is told. A header that zlib
    refuses (reserved flags, a wrong checksum) does not stop every reader: what it hides is judged too."""
    name, _ = gzip_head(content, 0)
    ended: list[int] = []
    box.member(name or stem(box.name, "gz"), _gunzipped(content, ended), content.size, named=bool(name))
    if not ended and gzip_odd(content):
        box.member("content", inflated(blocks(content, gzip_head(content, 0)[1])), content.size, named=False)
    rest = content.size - ended[0] if ended else 0
    if rest > 0:
        box.tell("hidden_content", "medium", f"{rest} bytes behind the compressed data")


def _behind_zeros(content: Content, at: int) -> int:
    """The first byte from `at` on that is none; the end. Readers skip any number of zeros."""
    for piece in blocks(content, at, step=_STEP):
        left = len(bytes(piece).lstrip(b"\0"))
        if left:
            return at + len(piece) - left
        at += len(piece)
    return at


def gzip_odd(content: Content) -> bool:
    """Whether a gzip header has what zlib refuses before it looks at the data."""
    return bool(content.read(3, 1)[0] & 0xe2)


def gzip_head(content: Content, at: int) -> tuple[str, int]:
    """The name in a gzip header, and where its data begins. Raises Damaged."""
    head = content.read(at, 12 + 65536)
    if len(head) < 10 or head[:3] != b"\x1f\x8b\x08":
        raise Damaged("no gzip header")
    flags, here, name = head[3], 10, ""
    if flags & 4:
        here += 2 + int.from_bytes(head[10:12], "little")
    for bit in (8, 16):
        if flags & bit:
            end = head.find(b"\0", here)
            if end < 0:
                raise Damaged("a gzip header without an end")
            if bit == 8:
                name = head[here:end].decode("latin-1")
            here = end + 1
    if flags & 2:
        here += 2
    return name, at + here


def _gunzipped(content: Content, ended: list[int]) -> Iterator[bytes]:
    at = 0
    while at < content.size and content.read(at, 3) == b"\x1f\x8b\x08":
        made = zlib.decompressobj(31)
        yield b""
        here = at
        for piece in blocks(content, at, step=_STEP):
            here += len(piece)
            data: Any = piece
            while data and not made.eof:
                out = made.decompress(data, BLOCK)
                if out:
                    yield out
                data = made.unconsumed_tail
            if made.eof:
                break
        if not made.eof:
            raise Damaged("the compressed data ends too early")
        at = _behind_zeros(content, here - len(made.unused_data))
    ended.append(at)


def open_bzip2(content: Content, box: Box) -> None:
    behind: list[bool] = []
    made = bunzipped(blocks(content, step=_STEP), behind)
    box.member(stem(box.name, "bz2", "bz"), made, content.size, named=False)
    _tell_behind(box, behind)


def _tell_behind(box: Box, behind: list[bool]) -> None:
    if behind:
        box.tell("hidden_content", "medium", "something behind the compressed data")


def open_xz(content: Content, box: Box) -> None:
    behind: list[bool] = []
    made = unlzmaed(
        blocks(content, step=_STEP), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2 * DICTIONARY), behind)
    box.member(stem(box.name, "xz"), made, content.size, named=False)
    _tell_behind(box, behind)


def open_lzma(content: Content, box: Box) -> None:
    """The old format of one LZMA stream, "alone"."""
    pieces = blocks(content, step=_STEP)
    behind: list[bool] = []
    made = unlzmaed(pieces, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=2 * DICTIONARY), behind)
    box.member(stem(box.name, "lzma"), made, content.size, named=False)
    _tell_behind(box, behind)


def open_lzip(content: Content, box: Box) -> None:
    """lzip: members behind one another are one content."""
    behind: list[bool] = []
    box.member(stem(box.name, "lz"), _lunzipped(content, behind), content.size, named=False)
    _tell_behind(box, behind)


def _lunzipped(content: Content, behind: list[bool]) -> Iterator[bytes]:
    """A member: a head of six bytes, LZMA with fixed properties, a tail of twenty (lzip manual, "File format")."""
    at = 0
    while content.read(at, 5) == b"LZIP\x01" and at + 6 <= content.size:
        coded = content.read(at + 5, 1)[0]
        dictionary = (1 << (coded & 31)) - ((1 << (coded & 31)) >> 4) * (coded >> 5)
        filters = [lzma_filter(b"\x5d" + min(dictionary, 0xffffffff).to_bytes(4, "little"))]
        made = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        yield b""
        here = at + 6
        for piece in blocks(content, here, step=_STEP):
            here += len(piece)
            data: Any = piece
            while True:
                out = made.decompress(data, BLOCK)
                data = b""
                if out:
                    yield out
                if made.eof or made.needs_input:
                    break
            if made.eof:
                break
        if not made.eof:
            raise Damaged("the LZMA data ends too early")
        at = here - len(made.unused_data) + 20
    if _behind_zeros(content, at) < content.size:
        behind.append(True)


def open_swf(content: Content, box: Box) -> None:
    """Flash: what stands behind the head of eight bytes may be compressed (SWF file format 19, "The SWF header")."""
    head = content.read(0, 17)
    body: Iterator[bytes] = iter(())
    if head[:3] == b"CWS":
        body = inflated(blocks(content, 8), 15)
    elif head[:3] == b"ZWS":
        size = max(0, int.from_bytes(head[4:8], "little") - 8)
        body = raw_lzma(blocks(content, 17), [lzma_filter(head[12:17], size)], size)
    out = bytearray(head[:8])
    try:
        for block in body:
            box.spend(len(block))
            out += block
    finally:
        if len(out) > 8:
            box.derived("unpacked", bytes(out))


def open_zstd(content: Content, box: Box) -> None:
    box.member(stem(box.name, "zst"), unzstd(blocks(content)), content.size, named=False)
