"""The first bytes of a flow, kept until its protocol is recognised."""

from __future__ import annotations

from inspector.model import Chunk

JOINED = 512
"""Bytes up to which chunks of an unknown flow are joined while they are kept."""


class Probing:
    """The first bytes of a flow that is not recognised yet."""

    __slots__ = ("chunks", "looked", "released", "since", "until", "upto")

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.upto = [bytearray(), bytearray()]
        self.since: float | None = None
        self.until: float | None = None
        self.released = False
        """True: what comes flows at once; recognition is still tried."""
        self.looked = 0
        """Bytes that probes were shown so far."""

    def add(self, chunk: Chunk) -> None:
        """Keep a chunk. Small neighbours of one way become one, all but the newest: a byte a segment costs no object a
        byte."""
        chunks = self.chunks
        if len(chunks) > 1:
            one, two = chunks[-2], chunks[-1]
            if one.way is two.way and not two.gap and len(one.data) + len(two.data) <= JOINED:
                chunks[-2:] = [Chunk(one.way, two.at, one.data + two.data, one.gap)]
        chunks.append(chunk)
