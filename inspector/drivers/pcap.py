"""Capture files: pcap and pcapng, plain or gzip, as a stream of packets.

Formats: pcap (draft-ietf-opsawg-pcap: both byte orders, microseconds and nanoseconds, and the patched variant with
longer record headers, magic 0xa1b2cd34); pcapng (draft-ietf-opsawg-pcapng: section header, interface description,
enhanced, simple and obsolete packet blocks, if_tsresol and if_tsoffset, several interfaces and sections). Other blocks
are passed over: name resolution, statistics, decryption secrets, custom blocks.

A file may be hostile: nothing is believed beyond `limits.capture_packet_bytes`, nothing is read whole, and what could
be read before a fault is given out before the fault is told (`Capture.fault`).
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from inspector.model import Limits

Packet = tuple[float, int, bytes, int, int, int]
"""(seconds since the epoch, link type, buffer, start, stop, bytes on the wire): the packet is buffer[start:stop].

The buffer holds many packets, so that a packet that nobody looks into costs no copy.
"""

BLOCK = 1 << 20
"""Bytes read at a time."""

GZIP = b"\x1f\x8b"
PCAPNG = b"\x0a\x0d\x0d\x0a"
_PCAP = {
    b"\xa1\xb2\xc3\xd4": (">", 1e-6, 16), b"\xd4\xc3\xb2\xa1": ("<", 1e-6, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9, 16), b"\x4d\x3c\xb2\xa1": ("<", 1e-9, 16),
    b"\xa1\xb2\xcd\x34": (">", 1e-6, 24), b"\x34\xcd\xb2\xa1": ("<", 1e-6, 24),
}
"""magic: (byte order, seconds in a unit of the fraction, bytes of a record header)."""

_SKIP_BYTES = 16 << 20
"""A block that is no packet may be this long (name resolution, secrets); it is passed over without being kept."""

_LAYOUTS = {
    order: tuple(struct.Struct(order + layout).unpack_from for layout in ("II", "HHIIII", "IIIII", "IIIIIII"))
    for order in "<>"
}
"""Readers of two words, of the body of an obsolete and an enhanced packet block, and of the latter with its head."""
_INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 1, 2, 3, 6
_INTERFACES = 4096
"""Interfaces of a section that are believed; captures of containers have hundreds."""


class CaptureError(Exception):
    """A capture that cannot be opened at all; the text is one sentence."""


def is_capture(head: bytes) -> bool:
    """Whether a file that begins like this (at least 4 bytes) is a capture in plain form."""
    return head[:4] == PCAPNG or head[:4] in _PCAP


class Capture:
    """One capture, read once from its beginning to its end.

    `fault` is None while and after all went well, else one sentence that says where reading had to stop.
    `done` counts bytes of the (packed) file taken in so far, for a progress bar; `packets` those given out.
    """

    def __init__(self, stream: BinaryIO, name: str, limits: Limits) -> None:
        self.name = name
        self.fault: str | None = None
        self.packets = 0
        self.tick: Callable[[int], None] | None = None
        """Called with `done` now and then."""
        self._raw = stream
        self._stream: BinaryIO | _Unpacked = stream
        self._limits = limits
        self._taken = 0

    @property
    def done(self) -> int:
        try:
            return self._raw.tell()
        except (OSError, ValueError):
            return self._taken

    def __iter__(self) -> Iterator[Packet]:
        """All packets. Ends early, with `fault` set, where the file is broken."""
        head = self._read(4)
        if head[:2] == GZIP:
            self._stream = _Unpacked(head, self._raw)
            head = self._read(4)
        if head in _PCAP:
            return self._pcap(head)
        if head == PCAPNG:
            return self._pcapng(head)
        if self.fault is None:
            self.fault = "is empty" if not head else "is not a capture (neither pcap nor pcapng)"
        return iter(())

    def close(self) -> None:
        """Close the file (stdin too)."""
        self._raw.close()

    def _read(self, size: int) -> bytes:
        """Up to `size` bytes (fewer only at the end); a fault of the packing or the disk ends the file here."""
        parts = []
        left = size
        try:
            while left > 0:
                part = self._stream.read(left)
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        except (EOFError, OSError) as error:
            self._say(f"could not be read on: {_sentence(error)}")
        except zlib.error as error:
            self._say(f"could not be unpacked: {_sentence(error)}")
        data = b"".join(parts)
        self._taken += len(data)
        if self.tick is not None:
            self.tick(self.done)
        return data

    def _say(self, fault: str) -> None:
        if self.fault is None:
            self.fault = f"{fault} (after {self.packets} packets)"

    # -- pcap

    def _pcap(self, magic: bytes) -> Iterator[Packet]:
        order, unit, record = _PCAP[magic]
        head = self._read(20)
        if len(head) < 20:
            self._say("ends inside its header")
            return
        link = struct.unpack(order + "HHiIII", head)[5] & 0x0FFFFFFF  # the top bits tell of a frame check sequence
        unpack = struct.Struct(order + "IIII").unpack_from
        longest = self._limits.capture_packet_bytes
        data = b""
        at = 0
        while True:
            size = len(data)
            count = 0
            while size - at >= record:
                seconds, fraction, kept, wire = unpack(data, at)
                start = at + record
                if kept > longest:
                    self.packets += count
                    self._say(f"has a packet of {kept} bytes, more than limits.capture_packet_bytes")
                    return
                stop = start + kept
                if stop > size:
                    break
                count += 1
                at = stop
                yield seconds + fraction * unit, link, data, start, stop, wire if wire > kept else kept
            self.packets += count
            more = self._read(BLOCK)
            if not more:
                if at < size:
                    self._say("ends inside a packet")
                return
            data = data[at:] + more if at < size else more
            at = 0

    # -- pcapng

    def _pcapng(self, head: bytes) -> Iterator[Packet]:
        longest = self._limits.capture_packet_bytes
        room = longest + 65536  # a packet block has options too
        interfaces: list[tuple[int, float, float, int]] = []  # link type, unit, offset, snap length
        data = head + self._read(BLOCK)
        at = 0
        order = "<"
        two, four, six, enhanced = _LAYOUTS[order]
        began = False
        now = 0.0
        while True:
            size = len(data)
            count = 0
            while size - at >= 32:  # the common block, without detours; whatever is special leaves the loop
                kind, length, number, high, low, kept, wire = enhanced(data, at)
                end = at + length
                if kind != _ENHANCED or end > size or length > room or length & 3 or number >= len(interfaces):
                    break
                start = at + 28
                if kept > length - 32 or kept > longest:
                    break
                link, unit, offset, _ = interfaces[number]
                at = end
                now = ((high << 32) | low) * unit + offset
                count += 1
                yield now, link, data, start, start + kept, wire if wire > kept else kept
            self.packets += count
            if size - at < 12:
                more = self._read(BLOCK)
                if not more:
                    if size > at:
                        self._say("ends inside a block")
                    return
                data, at = data[at:] + more, 0
                continue
            if data[at:at + 4] == PCAPNG:
                mark = data[at + 8:at + 12]
                if mark == b"\x4d\x3c\x2b\x1a":
                    order = "<"
                elif mark == b"\x1a\x2b\x3c\x4d":
                    order = ">"
                else:
                    self._say("has a section without byte order")
                    return
                two, four, six, enhanced = _LAYOUTS[order]
                interfaces = []
                began = True
            elif not began:
                self._say("does not begin with a section")
                return
            kind, length = two(data, at)
            if length < 12 or length & 3:
                self._say(f"has a block of impossible length {length}")
                return
            if length > room and kind in (_ENHANCED, _SIMPLE, _OLD_PACKET):
                self._say(f"has a packet block of {length} bytes, more than limits.capture_packet_bytes")
                return
            if size - at < length:
                if length > _SKIP_BYTES:
                    self._say(f"has a block of {length} bytes")
                    return
                more = self._read(max(BLOCK, length - (size - at)))
                if len(more) < length - (size - at):
                    self._say("ends inside a block")
                    return
                data, at = data[at:] + more, 0
            body = at + 8
            end = at + length - 4
            if two(data, end - 4)[1] != length:
                self._say("has a block whose two lengths differ")
                return
            at = end + 4
            if kind == _ENHANCED:
                if end - body < 20:
                    self._say("has a packet block that is too short")
                    return
                number, high, low, kept, wire = six(data, body)
                start = body + 20
            elif kind == _OLD_PACKET:
                if end - body < 20:
                    self._say("has a packet block that is too short")
                    return
                number, _, high, low, kept, wire = four(data, body)
                start = body + 20
            elif kind == _SIMPLE:
                if end - body < 4:
                    self._say("has a packet block that is too short")
                    return
                wire = two(data, body - 4)[1]
                start = body + 4
                number = 0
                kept = min(wire, end - start)
                if interfaces and interfaces[0][3]:
                    kept = min(kept, interfaces[0][3])
                high = low = -1
            elif kind == _INTERFACE:
                if end - body < 8 or len(interfaces) >= _INTERFACES:
                    self._say("has a broken or one too many interface description")
                    return
                interfaces.append(_interface(data[body:end], order))
                continue
            else:
                continue
            if number >= len(interfaces) or start + kept > end or kept > longest:
                self._say("has a packet block that is not true to its interface or length")
                return
            link, unit, offset, _ = interfaces[number]
            if high >= 0:
                now = ((high << 32) | low) * unit + offset
            self.packets += 1
            yield now, link, data, start, start + kept, wire if wire > kept else kept


def _interface(body: bytes, order: str) -> tuple[int, float, float, int]:
    """(link type, seconds in a unit of time, seconds to add, snap length) of an interface description block."""
    link, _, snap = struct.unpack_from(order + "HHI", body)
    unit, offset = 1e-6, 0.0
    at = 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4:at + 4 + length]
        at += 4 + (length + 3 & ~3)
        if code == 0:
            break
        if code == 9 and len(value) == 1:
            power = value[0] & 0x7F
            unit = 2.0 ** -power if value[0] & 0x80 else 10.0 ** -power
        elif code == 14 and len(value) == 8:
            offset = float(struct.unpack(order + "q", value)[0])
    return link, unit, offset, snap


def _sentence(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__


class _Unpacked:
    """A gzip stream (RFC 1952), all its members; `head` was read already: stdin cannot be put back.

    Gives out all that can be unpacked before an error. Raises EOFError, zlib.error.
    """

    def __init__(self, head: bytes, packed: BinaryIO) -> None:
        self._rest = head
        self._packed = packed
        self._member = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        while True:
            rest = self._rest or self._packed.read(65536)
            if self._member.eof:
                rest = rest.lstrip(b"\0")  # padding behind a member
                if rest:
                    self._member = zlib.decompressobj(wbits=31)
                elif not (rest := self._packed.read(65536)):
                    return b""
                else:
                    self._rest = rest
                    continue
            data = self._member.decompress(rest, size)
            self._rest = self._member.unused_data or self._member.unconsumed_tail
            if data:
                return data
            if not rest:
                raise EOFError("the packed data ends too early")


def find(paths: list[str]) -> Iterator[tuple[str, Path | None]]:
    """(name to print, path) of each capture meant by `paths`; the path of "-" is None (stdin).

    A folder stands for the captures in it and below it, found by content, in the order of their names; other files
    there, and links that lead to folders, are passed over silently. Raises CaptureError for what does not exist.
    """
    for text in paths:
        if text == "-":
            yield "-", None
            continue
        path = Path(text)
        try:
            if not path.is_dir():
                if not path.exists():
                    raise CaptureError(f"{text}: no such file or folder")
                yield text, path
                continue
            for folder, folders, files in path.walk():
                folders.sort()
                for name in sorted(files):
                    inner = folder / name
                    if inner.is_file() and _looks_like_capture(inner):
                        yield str(inner), inner
        except OSError as error:
            raise CaptureError(f"{text}: {_sentence(error)}") from None


def _looks_like_capture(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
            if head[:2] == GZIP:
                try:
                    head = zlib.decompressobj(wbits=31).decompress(head, 4)
                    if len(head) < 4:  # a long name in the packing's header
                        stream.seek(0)
                        head = zlib.decompressobj(wbits=31).decompress(stream.read(4096), 4)
                except zlib.error:
                    return False
            return is_capture(head)
    except OSError:
        return False


def open_capture(name: str, path: Path | None, limits: Limits) -> Capture:
    """The capture at `path` (None: stdin). Raises CaptureError when it cannot be opened."""
    if path is None:
        return Capture(sys.stdin.buffer, name, limits)
    try:
        return Capture(path.open("rb", buffering=0), name, limits)
    except OSError as error:
        raise CaptureError(f"{name}: {_sentence(error)}") from None
