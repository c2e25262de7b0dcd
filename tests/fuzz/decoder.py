"""The fuzz target of every decoder.

The invariant: any bytes, in any pieces, end in frames; the frames' raw and what is pending are what was fed; at most
one frame of a way has a fault, and it is the last; any verdict that is possible can be applied; nothing is raised.

An input is a byte of modes, then pieces: a head byte (bit 0: way, bits 1-7: length), then that many bytes. The corpus
begins with the conversations of the contract suite and is kept in build/fuzz/PROTOCOL.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inspector.model import BROKEN, DOWN, PASSED, UP, Chunk, Decoder, Frame, Send, Spec, Verdict, Way
from tests.protocols import contract

FROM_START, EDITS, VERDICTS = 1, 2, 4
PIECE = 127


def pack(said: contract.Said, modes: int = FROM_START) -> bytes:
    """A conversation as an input of this target."""
    out = bytearray([modes])
    for way, data in said:
        for start in range(0, len(data), PIECE):
            piece = data[start:start + PIECE]
            out.append((len(piece) << 1) | (way is DOWN))
            out += piece
    return bytes(out)


def unpack(data: bytes) -> tuple[int, contract.Said]:
    """The modes and the conversation of an input."""
    said: contract.Said = []
    at = 1
    while at < len(data):
        head = data[at]
        size = head >> 1
        said.append((DOWN if head & 1 else UP, data[at + 1:at + 1 + size]))
        at += 1 + size
    return (data[0] if data else 0), said


def verdicts(spec: Spec, frame: Frame, choice: Iterator[int]) -> list[Verdict]:
    """One possible verdict per event."""
    chosen = []
    for event in frame.events:
        possible = contract.possible(spec, event, frame.way)
        chosen.append(possible[next(choice) % len(possible)])
    return chosen


def counted() -> Iterator[int]:
    """0, 1, 2 …: which verdict comes next."""
    number = 0
    while True:
        yield number
        number += 1


def one(spec: Spec, data: bytes) -> None:
    """One input. Raises AssertionError, or whatever a decoder wrongly raises."""
    modes, said = unpack(data)
    edits = frozenset(edit.name for edit in spec.edits) if modes & EDITS else frozenset()
    decoder: Decoder = contract.decoder(spec, edits, bool(modes & FROM_START))
    fed: dict[Way, int] = {UP: 0, DOWN: 0}
    out: dict[Way, int] = {UP: 0, DOWN: 0}
    choice = counted()
    for way, piece in said:
        fed[way] += len(piece)
        frames = decoder.feed(Chunk(way, contract.AT, piece))
        for index, frame in enumerate(frames):
            out[way] += len(frame.raw)
            assert frame.way is way
            if frame.fault is not None:
                assert frame.kind == BROKEN
                assert index == len(frames) - 1
                break
            assert len(frame.raw) <= contract.LIMITS.frame_bytes
            judged = verdicts(spec, frame, choice) if modes & VERDICTS else [PASSED] * len(frame.events)
            acts = decoder.apply(frame, judged)
            if not edits and not modes & VERDICTS and all(isinstance(act, Send) for act in acts):
                sent = b"".join(act.data for act in acts if isinstance(act, Send) and act.way is way)
                assert sent == frame.raw
        assert out[way] + decoder.pending(way) == fed[way]
        if frames and frames[-1].fault is not None:
            break
        decoder.ready(UP)
        decoder.ready(DOWN)
    decoder.close("the end")


def seeds(spec: Spec, folder: Path) -> None:
    """The contract suite's conversations as corpus, in three modes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, said in contract.conversations(spec).items():
        for modes in (FROM_START, FROM_START | EDITS, FROM_START | VERDICTS):
            (folder / f"seed-{name}-{modes}").write_bytes(pack(said, modes))
