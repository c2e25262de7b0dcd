"""Fuzzes the two ways through the OSCAR decoder against each other: `python -m tests.fuzz.fuzz_oscar`.

The invariant: a conversation whose usual messages take the short way and one whose messages all take the long one give
the same frames, and are written the same whatever is decided; what is sent each way is numbered without a hole, with
leases and without. `tests.fuzz` holds the target that all decoders share.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["inspector.protocols", "inspector.wire"]):
    from inspector.engine.world import SharedMemory
    from inspector.model import DOWN, UP, Address, Chunk, Expect, Flow, Frame, Limits, Send, Way
    from inspector.protocols.oscar import SPEC, OscarDecoder
    from tests.fuzz.decoder import counted, pack, unpack, verdicts
    from tests.protocols import contract
    from tests.protocols.test_oscar import BOS, TALKS, numbered
    from tests.talk import talks

FLOW = Flow("f", Address("192.0.2.7", 40000), Address("198.51.100.1", 5190))
LEASES, LONG, EDITS = 1, 2, 4


class LongWay(OscarDecoder):
    """Reads every message as if it were unusual."""

    __slots__ = ()

    def _simple(self, way: Way, at: float, raw: bytes) -> Frame | None:
        del way, at, raw
        return None


class Leasing(SharedMemory):
    """A memory whose listener leases a port whenever it is asked."""

    __slots__ = ()

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        del expect, way, at
        return Address("203.0.113.4", 9400)


def read(said: contract.Said, modes: int) -> list[tuple[object, ...]]:
    """Frames, and what was sent for them with verdicts of all kinds; numbers are checked on the way."""
    memory = (Leasing if modes & LEASES else SharedMemory)(100)
    edits = frozenset(edit.name for edit in SPEC.edits) if modes & EDITS else frozenset()
    decoder = (LongWay if modes & LONG else OscarDecoder)(FLOW, Limits(), memory, edits)
    found: list[tuple[object, ...]] = []
    choice = counted()
    last: dict[Way, int | None] = {UP: None, DOWN: None}
    read_last: dict[Way, int | None] = {UP: None, DOWN: None}
    holes = {UP: 0, DOWN: 0}
    """Numbers that the writer left out, and that have not been left out in what is sent."""
    for way, data in said:
        for frame in decoder.feed(Chunk(way, 100.0, data)):
            if frame.fault is not None:
                return found
            number = frame.raw[2] << 8 | frame.raw[3] if len(frame.raw) > 3 else 0
            before = read_last[way]
            holes[way] += 0 if before is None else number - before - 1
            read_last[way] = number
            found.append((frame.way, frame.raw, frame.kind, frame.events, frame.oddities, frame.edit))
            for act in decoder.apply(frame, verdicts(SPEC, frame, choice)):
                found.append((act,))
                if not isinstance(act, Send) or len(act.data) < 4 or act.data[0] != 0x2A:
                    continue
                number = act.data[2] << 8 | act.data[3]
                previous = last[act.way]
                hole = 0 if previous is None else (number - previous - 1) & 0xFFFF
                assert hole in (0, holes[act.way] & 0xFFFF), frame
                if hole:
                    holes[act.way] = 0
                last[act.way] = number
    return found


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    modes, said = unpack(data)
    said = [*numbered(BOS, 1, 1), *said]
    assert read(said, modes & ~LONG) == read(said, modes | LONG)


def seeds(folder: Path) -> None:
    """The conversations of the captures and of the tests, whole and turn by turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((contract.PCAPS / "oscar").glob("*.pcap")):
        for index, talk in enumerate(talks(path)):
            (folder / f"seed-{path.stem}-{index}").write_bytes(pack(talk.said)[:8192])
    for name, said in TALKS.items():
        for index, turn in enumerate(said):
            for modes in (0, LEASES | EDITS):
                (folder / f"seed-{name}-{index}-{modes}").write_bytes(pack([turn], modes)[:8192])


def main() -> None:
    corpus = Path("build", "fuzz", "oscar-ways")
    seeds(corpus)
    words = [sys.argv[0], str(corpus), "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048",
             f"-artifact_prefix={corpus.parent}{os.sep}", *sys.argv[1:]]
    atheris.Setup(words, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
