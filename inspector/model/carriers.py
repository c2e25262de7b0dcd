"""The contract of a carrier: a stream inside another stream (design section 4).  See docs/decisions/0082."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from inspector.model.flow import Chunk, Way
from inspector.model.frames import Oddity, PeerError


class Unit(msgspec.Struct, frozen=True):
    """One unit of a carrier: its exact bytes, and what it holds of the inner stream."""

    way: Way
    at: float
    raw: bytes
    inner: bytes = b""
    """What the inner protocol reads; b"": nothing (a handshake, a ping)."""
    more: bool = False
    """The inner unit goes on in the next one (a fragment): nothing of this leaves before its end."""
    whole: bool = False
    """Nothing of the inner stream may be half said at its end: one reader goes on with the next unit, another starts
    anew there."""
    oddities: tuple[Oddity, ...] = ()
    fault: PeerError | None = None
    """The unit cannot be gone on from; raw is all the rest."""
    edit: str | None = None
    """The name of the edit that is made to it."""
    edited: bytes = b""
    """What is sent in place of `raw` then."""


class Carrier(Protocol):
    """Reads and writes one connection's outer protocol."""

    undecryptable: str | None
    """Why nothing inside can be read."""

    def feed(self, chunk: Chunk) -> list[Unit]:
        """Units completed by this chunk. Never raises for peer bytes."""
        ...

    def pending(self, way: Way) -> int:
        """Bytes held that are not yet a unit."""
        ...

    def rest(self, way: Way) -> bytes:
        """All bytes held of that way, which leave the carrier: nothing more is read there."""
        ...

    def wrap(self, way: Way, data: bytes) -> bytes:
        """Outer bytes for inner bytes of our own or changed: one or several whole inner units."""
        ...

    def ready(self, way: Way) -> bool:
        """Whether units may be sent that way."""
        ...

    def finish(self) -> Sequence[tuple[Way, bytes]]:
        """The outer protocol's own last words, after the inner one's."""
        ...


__all__ = ["Carrier", "Unit"]
