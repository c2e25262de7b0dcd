"""Bytes that a decoder cannot follow are no silent pass: it says so, and the policy on `undecryptable` decides."""

from __future__ import annotations

import msgspec
import pytest

from inspector.engine.world import SharedMemory
from inspector.model import UP, Chunk, Limits
from inspector.protocols.registry import BY_NAME
from tests.protocols.contract import flow


@pytest.mark.parametrize("name", ["http_upload", "oft"])
@pytest.mark.parametrize(("file", "told"), [(None, True), ("a.pcap", False)])
def test_what_follows_a_fault_that_was_let_pass_is_told(name: str, file: str | None, told: bool) -> None:
    """Live, a decoder that begins in the middle reads nothing until it knows where it is; captures often are so."""
    spec = BY_NAME[name]
    where = msgspec.structs.replace(flow(spec, from_start=False), file=file)
    decoder = spec.decoder(where, Limits(), SharedMemory(10), frozenset())
    frames = decoder.feed(Chunk(UP, 1.0, b"content that belongs to nothing"))
    assert b"".join(frame.raw for frame in frames) + bytes(decoder.pending(UP)) != b""
    assert bool(getattr(decoder, "undecryptable", None)) is told
