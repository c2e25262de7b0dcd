"""What is kept of a flow that is not recognised yet loses nothing and costs no object a byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspector.engine.probing import JOINED, Probing
from inspector.model import DOWN, UP, Chunk, Way

CHUNKS = st.lists(st.builds(
    Chunk, st.sampled_from((UP, DOWN)), st.just(1.0), st.binary(max_size=2 * JOINED), st.booleans()), max_size=30)


def told(chunks: list[Chunk]) -> list[tuple[Way, bytes | None]]:
    """What a decoder learns of chunks: bytes in order, runs of one way together, None for a gap in front of some."""
    out: list[tuple[Way, bytes | None]] = []
    for chunk in chunks:
        if chunk.gap:
            out.append((chunk.way, None))
        before = out[-1] if out else None
        if before is not None and before[0] is chunk.way and before[1] is not None:
            out[-1] = (chunk.way, before[1] + chunk.data)
        else:
            out.append((chunk.way, chunk.data))
    return out


@given(CHUNKS)
def test_what_is_kept_is_what_came(chunks: list[Chunk]) -> None:
    """Order, ways and gaps stay as they were, whatever is joined."""
    probe = Probing()
    for chunk in chunks:
        probe.add(chunk)
    assert told(probe.chunks) == told(chunks)
    assert probe.chunks[-1:] == chunks[-1:]


def test_the_newest_chunk_stays_alone() -> None:
    """Who looks at what has just come finds it as it came; those in front of it are one."""
    probe = Probing()
    for byte in b"dribbled":
        probe.add(Chunk(UP, 1.0, bytes([byte])))
    assert [chunk.data for chunk in probe.chunks] == [b"dribble", b"d"]


def test_large_chunks_are_not_joined() -> None:
    """Joining costs a copy: only small ones are worth it."""
    probe = Probing()
    for _ in range(4):
        probe.add(Chunk(UP, 1.0, b"x" * JOINED))
    assert len(probe.chunks) == 4
