"""Streams compressed by zlib (RFC 1950) that are flushed behind what is said (XEP-0138 and its kin), as a Coding.

Theory of operation
-------------------
Each way has two streams: the one that comes is inflated with its writer's history, the one that leaves is deflated with
a history of our own, so a unit can be taken out, changed or put in anywhere. What comes is inflated piece by piece as
it is asked for, within what `limits` allow for each compressed byte: a bomb is never unpacked. What leaves ends in a
sync flush each time (RFC 1951 3.2.4: an empty stored block), so that its reader has all of it.

Refused: streams that are broken, that need a dictionary (RFC 1950 2.2: FDICT), that have ended and go on; compressed
bytes that become more than `deflated_ratio` of them, beyond a burst, or that become nothing, without end. However a
peer cuts, pads, stores or flushes, there is one reading: its bytes go no further than here.

Not read: preset dictionaries, several streams one behind the other, a stream of gzip's or raw deflate's form.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from inspector.model import Limits, PeerError, Way

LEVEL = 6
"""zlib's own default: with a window of this size the lower ones are not faster."""
WINDOW_BITS = 12
"""4 KiB of history: a dozen stanzas. A ratio of 0.20 on chat, where 32 KiB of it have 0.17 and take eight times as much
memory."""
MEMORY_LEVEL = 5
"""32 KiB a way, together with that window: (1 << (bits + 2)) + (1 << (level + 9)), by zlib's manual."""
_INPUT = 4096
"""Compressed bytes that zlib is given at a time: what it does not take it copies, for each piece that they become."""
_INFLATE_BITS = 0
"""The window that the stream's first bytes ask for, 32 KiB at most."""


class Deflated:
    """One session's streams. `name` is the beginning of the names of its faults."""

    __slots__ = ("_credit", "_deflate", "_empty", "_fault", "_inflate", "_limits", "_name")

    def __init__(self, limits: Limits, name: str) -> None:
        self._limits = limits
        self._name = name
        self._inflate = (zlib.decompressobj(_INFLATE_BITS), zlib.decompressobj(_INFLATE_BITS))
        self._deflate: list[zlib._Compress | None] = [None, None]
        self._credit = [limits.deflated_burst_bytes, limits.deflated_burst_bytes]
        """Bytes that may still become more than the ratio allows, per way."""
        self._empty = [0, 0]
        """Compressed bytes in a row that have become nothing."""
        self._fault: list[PeerError | None] = [None, None]

    def read(self, way: Way, data: bytes) -> Iterator[bytes | PeerError]:
        """See Coding.read: pieces of `deflated_piece_bytes` at most."""
        limits = self._limits
        fault = self._fault[way]
        if fault is None:
            self._credit[way] = min(self._credit[way], limits.deflated_burst_bytes) + limits.deflated_ratio * len(data)
            for start in range(0, len(data), _INPUT):
                yield from self._some(way, data[start:start + _INPUT])
                fault = self._fault[way]
                if fault is not None:
                    break
        if fault is not None:
            yield fault

    def _some(self, way: Way, data: bytes) -> Iterator[bytes]:
        """What a few bytes become; `_fault` says why no more of it."""
        inflate, size = self._inflate[way], self._limits.deflated_piece_bytes
        self._empty[way] += len(data)
        while not inflate.eof:
            try:
                piece = inflate.decompress(data, size)
            except zlib.error:
                # zlib's own words say no more than this to a peer or a reader of the log.
                self._break(way, "broken")
                return
            data = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            if piece:
                self._empty[way] = 0
                self._credit[way] -= len(piece)
                if self._credit[way] < 0:
                    self._break(way, "too_much")
                    return
                yield piece
            if len(piece) < size and not data:
                break
        if inflate.eof and data:
            self._break(way, "behind_end")
        elif self._empty[way] > self._limits.deflated_empty_bytes:
            self._break(way, "emptiness")

    def _break(self, way: Way, what: str) -> None:
        self._fault[way] = PeerError(f"{self._name}.deflated_{what}", "", "undefined-condition")

    def write(self, way: Way, data: bytes) -> bytes:
        """See Coding.write."""
        deflate = self._deflate[way]
        if deflate is None:
            deflate = self._deflate[way] = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)
        return deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)


__all__ = ["LEVEL", "MEMORY_LEVEL", "WINDOW_BITS", "Deflated"]
