"""Type, length, value lists with 16-bit big-endian heads, and counted names, inside bytes that may lie.

Nothing here copies values or raises for what a peer wrote: a list is read as places in the buffer, and a length that
leads out of it ends the list, is said so, and the rest is given all the same so that what hides there can be read.
"""

from __future__ import annotations

import struct

HEAD = struct.Struct(">HH")

Tlv = tuple[int, int, int]
"""(type, start of the value, end of the value); the length stands in the two bytes before `start`."""


def walk(data: bytes, at: int, end: int) -> tuple[list[Tlv], bool]:
    """(the list that fills data[at:end], whether all lengths are true). A length that overruns is clamped to `end`."""
    found: list[Tlv] = []
    unpack = HEAD.unpack_from
    while at + 4 <= end:
        kind, length = unpack(data, at)
        start = at + 4
        at = start + length
        if at > end:
            found.append((kind, start, end))
            return found, False
        found.append((kind, start, at))
    return found, at == end


def walk_counted(data: bytes, at: int, end: int, count: int) -> tuple[list[Tlv], int, bool]:
    """(at most `count` entries, where the next thing begins, whether all are there and true)."""
    found: list[Tlv] = []
    unpack = HEAD.unpack_from
    while count and at + 4 <= end:
        kind, length = unpack(data, at)
        start = at + 4
        at = start + length
        count -= 1
        if at > end:
            found.append((kind, start, end))
            return found, end, False
        found.append((kind, start, at))
    return found, at, not count


def first(tlvs: list[Tlv], kind: int) -> tuple[int, int] | None:
    """Where the first value of this type lies; None where there is none."""
    for each, start, end in tlvs:
        if each == kind:
            return start, end
    return None


def pack(kind: int, value: bytes) -> bytes:
    """One entry. `value` is at most 65,535 bytes."""
    return HEAD.pack(kind, len(value)) + value


def string8(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Where a string with an 8-bit length at `at` lies; None when it does not fit before `end`."""
    if at >= end:
        return None
    stop = at + 1 + data[at]
    return (at + 1, stop) if stop <= end else None


def string16(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Where a string with a 16-bit big-endian length at `at` lies; None when it does not fit before `end`."""
    if at + 2 > end:
        return None
    stop = at + 2 + (data[at] << 8 | data[at + 1])
    return (at + 2, stop) if stop <= end else None


Length = tuple[int, int]
"""(offset of a length field, how it is written: 1, 2 or 4 bytes, negative for little-endian)."""
Change = tuple[int, int, bytes, tuple[Length, ...]]
"""(start, end, what stands there instead, the length fields that enclose it)."""


def rewrite(raw: bytes, changes: list[Change]) -> bytes | None:
    """`raw` with other bytes in some places and every enclosing length made true again.

    Places do not overlap, and a length field lies before what it encloses. None when a length would not fit its field.
    """
    out = bytearray(raw)
    # From the end: what is still to be changed then lies where it lay.
    for start, end, new, lengths in sorted(changes, key=lambda change: -change[0]):
        out[start:end] = new
        grown = len(new) - (end - start)
        if not grown:
            continue
        for offset, form in lengths:
            size, order = (form, "big") if form > 0 else (-form, "little")
            value = int.from_bytes(out[offset:offset + size], order) + grown  # type: ignore[arg-type]
            if not 0 <= value < 1 << (8 * size):
                return None
            out[offset:offset + size] = value.to_bytes(size, order)  # type: ignore[arg-type]
    return bytes(out)
