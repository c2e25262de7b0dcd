"""Fuzzes bytestreams cut in two ways against each other: `python -m tests.fuzz fuzz_bytestream`.

The invariant: a conversation, announced or not, gives the same handshake and the same files in whole pieces and byte
by byte, up to the first fault; and what is no content is a handshake, which is short. `tests.fuzz bytestream` is the
target that all decoders share.
"""

from __future__ import annotations

from pathlib import Path

from inspector.engine.world import SharedMemory
from inspector.model import DOWN, UP, Address, Chunk, Flow, Frame, Limits
from inspector.protocols.bytestream import BytestreamDecoder
from tests.fuzz.decoder import pack, unpack
from tests.protocols import contract
from tests.protocols.test_bytestream import ANNOUNCED, TALKS

ANNOUNCE = 1


def read(said: contract.Said, announced: bool, size: int) -> list[Frame]:
    """The frames up to the first fault; conservation is checked on the way."""
    flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 4000), opened=1.0,
                expected=ANNOUNCED if announced else None)
    decoder = BytestreamDecoder(flow, Limits(), SharedMemory(10), frozenset())
    frames: list[Frame] = []
    for way, data in said:
        before = decoder.pending(way)
        got = [frame for at in range(0, len(data), size) for frame in decoder.feed(Chunk(way, 1.0, data[at:at + size]))]
        assert sum(len(frame.raw) for frame in got) + decoder.pending(way) == before + len(data)
        frames += got
        if any(frame.fault for frame in got):
            break
    return frames


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    modes, said = unpack(data)
    announced = bool(modes & ANNOUNCE)
    whole, single = read(said, announced, 1 << 20), read(said, announced, 1 if len(data) < 1000 else 97)
    faults = [next((frame.fault.name for frame in frames if frame.fault), None) for frames in (whole, single)]
    assert faults[0] == faults[1]
    assert contract.contents(whole) == contract.contents(single)
    assert contract.eventful(whole) == contract.eventful(single)
    for way in (UP, DOWN):
        content = b"".join(data for (to, _), data in contract.contents(whole).items() if to is way)
        raw = b"".join(frame.raw for frame in whole if frame.way is way and frame.fault is None)
        assert raw.endswith(content)
        assert len(raw) - len(content) <= 2 + 255 + 47 + 262


def seeds(folder: Path) -> None:
    """The test's conversations, announced and not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, said in {**TALKS, "short": [(way, part[:60]) for way, part in TALKS["upload"]]}.items():
        for modes in (0, ANNOUNCE):
            (folder / f"seed-{name}-{modes}").write_bytes(pack(said, modes))
