"""Bytes of a file or of a member of an archive, read by position and never written.

Small ones lie in memory; of a long file only what is asked for is read, or mapped.
"""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

IN_MEMORY = 8 * 1024 * 1024
"""A file up to this is read at once."""
_MAP_FROM = 256 * 1024
"""A piece of a long file above this is mapped, a smaller one copied."""
BLOCK = 1024 * 1024
"""Bytes that are looked at in one go where all are."""

Source = BinaryIO | int | mmap.mmap | bytes
"""What can be judged: an open binary file (its position does not matter), a descriptor, a map, bytes."""


class Content(Protocol):
    """What openers and detectors read. Positions beyond the end give fewer bytes, or none."""

    size: int

    def read(self, at: int, count: int) -> bytes:
        """A copy. Raises OSError."""
        ...

    def view(self, at: int, count: int) -> memoryview:
        """Without a copy. Raises OSError."""
        ...


class Held:
    """Content in memory: bytes, or a piece of a map."""

    __slots__ = ("_view", "size")

    def __init__(self, data: bytes | bytearray | mmap.mmap | memoryview) -> None:
        self._view = memoryview(data)
        self.size = len(self._view)

    def read(self, at: int, count: int) -> bytes:
        return bytes(self._view[at:at + count]) if at >= 0 and count > 0 else b""

    def view(self, at: int, count: int) -> memoryview:
        return self._view[at:at + count] if at >= 0 and count > 0 else self._view[:0]


class Lying:
    """Content of a long file, by its descriptor."""

    __slots__ = ("_number", "size")

    def __init__(self, number: int, size: int) -> None:
        self._number = number
        self.size = size

    def read(self, at: int, count: int) -> bytes:
        count = min(count, self.size - at)
        if at < 0 or count <= 0:
            return b""
        out = os.pread(self._number, count, at)
        while 0 < len(out) < count:
            more = os.pread(self._number, count - len(out), at + len(out))
            if not more:
                break
            out += more
        return out

    def view(self, at: int, count: int) -> memoryview:
        count = min(count, self.size - at)
        if at < 0 or count < _MAP_FROM:
            return memoryview(self.read(at, count))
        start = at - at % mmap.ALLOCATIONGRANULARITY
        # The map lives as long as the view of it.
        try:
            whole = mmap.mmap(self._number, at - start + count, access=mmap.ACCESS_READ, offset=start)
        except ValueError:
            raise OSError("the file became shorter while it was read") from None
        return memoryview(whole)[at - start:]


def content_of(source: Source) -> Content:
    """The content of what can be judged. Raises OSError."""
    if isinstance(source, bytes | mmap.mmap):
        return Held(source)
    if isinstance(source, io.BytesIO):
        return Held(source.getvalue())
    number = source if isinstance(source, int) else source.fileno()
    size = os.fstat(number).st_size
    lying = Lying(number, size)
    return Held(lying.read(0, size)) if size <= IN_MEMORY else lying


def blocks(content: Content, at: int = 0, end: int | None = None, step: int = BLOCK) -> Iterator[memoryview]:
    """The content from `at` to `end` in pieces. Raises OSError."""
    stop = content.size if end is None else min(end, content.size)
    while at < stop:
        piece = content.view(at, min(step, stop - at))
        if not piece:
            return
        yield piece
        at += len(piece)


def find(content: Content, what: bytes, at: int = 0, end: int | None = None) -> int:
    """Where `what` stands first, looking from `at` to `end`; -1: nowhere. Raises OSError."""
    return Finder(content, what, end).find(at)


class Finder:
    """Looks for bytes again and again, further on each time: each block is read once, however often it is asked."""

    __slots__ = ("_content", "_end", "_piece", "_start", "_what")

    def __init__(self, content: Content, what: bytes, end: int | None = None) -> None:
        self._content = content
        self._what = what
        self._end = content.size if end is None else min(end, content.size)
        self._start = 0
        self._piece = b""

    def find(self, at: int) -> int:
        """Where it stands at `at` or behind; -1: nowhere before the end. Raises OSError."""
        over = len(self._what) - 1
        while at < self._end:
            if not self._start <= at < self._start + len(self._piece) - over:
                self._start, self._piece = at, self._content.read(at, min(BLOCK + over, self._end - at))
                if len(self._piece) <= over:
                    return -1
            found = self._piece.find(self._what, at - self._start)
            if found >= 0:
                return self._start + found
            at = self._start + len(self._piece) - over
        return -1


class Part:
    """A piece of another content, not copied."""

    __slots__ = ("_at", "_whole", "size")

    def __init__(self, whole: Content, at: int, size: int) -> None:
        self._whole = whole
        self._at = max(0, at)
        self.size = max(0, min(size, whole.size - self._at))

    def span(self, whole: Content) -> tuple[int, int] | None:
        """Where it begins and ends in that content; None: it is a piece of another one."""
        return (self._at, self._at + self.size) if whole is self._whole else None

    def read(self, at: int, count: int) -> bytes:
        return self._whole.read(self._at + at, min(count, self.size - at)) if 0 <= at < self.size else b""

    def view(self, at: int, count: int) -> memoryview:
        return self._whole.view(self._at + at, min(count, self.size - at)) if 0 <= at < self.size else memoryview(b"")
