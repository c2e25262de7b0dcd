"""Fuzzes the cutting of OFT, direct IM and the proxy: `python -m tests.fuzz fuzz_oft`.

The invariant: pieces of a conversation, fed whole and byte by byte, give the same events, the same content, the same
fault after each piece, and keep the same number of bytes; with everything passed, what is sent is what was read. Where
a file's content begins and ends is the whole of its judging: it may not depend on how its bytes came. An input is that
of the decoders' common target (its first bit: joined at the start).
"""

from __future__ import annotations

from pathlib import Path

from inspector.engine.world import SharedMemory
from inspector.model import DOWN, PASSED, UP, Chunk, Expect, FileOffer, FilePart, Frame, Limits, Send, expect_key
from inspector.protocols.oft import OftDecoder
from tests.fuzz import decoder
from tests.protocols.test_oft import ANNOUNCED, AT, COOKIE, TALKS, flow

LIMITS = Limits(part_bytes=700, frame_bytes=4000)


def _made(from_start: bool) -> OftDecoder:
    memory = SharedMemory(4)
    memory.put(expect_key("oft", COOKIE.hex()), Expect("x", "oft", offer=FileOffer(file_name="plan.txt")), AT + 1)
    expected = None if from_start else ANNOUNCED
    return OftDecoder(flow(expected, from_start), LIMITS, memory, frozenset())


def _read(dec: OftDecoder, chunks: list[Chunk]) -> tuple[list[Frame], str]:
    """The frames of a piece, up to its fault, and that."""
    frames: list[Frame] = []
    for chunk in chunks:
        for frame in dec.feed(chunk):
            if frame.fault is not None:
                return frames, str(frame.fault)
            frames.append(frame)
            sent = [act.data for act in dec.apply(frame, [PASSED] * len(frame.events)) if isinstance(act, Send)]
            assert b"".join(sent) == frame.raw
    return frames, ""


def _events(frames: list[Frame]) -> tuple[list[tuple[object, ...]], dict[str, bytes]]:
    """What must be equal: events with their frames, and the content of each file, joined."""
    found: list[tuple[object, ...]] = []
    content: dict[str, list[bytes]] = {}
    for frame in frames:
        if frame.events and isinstance(frame.events[-1], FilePart):
            content.setdefault(frame.events[-1].transfer, []).append(frame.raw)
        elif frame.events:
            found.append((frame.way, frame.kind, frame.raw, frame.events, frame.oddities))
    return found, {transfer: b"".join(parts) for transfer, parts in content.items()}


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    modes, said = decoder.unpack(data)
    whole, single = _made(bool(modes & 1)), _made(bool(modes & 1))
    frames: tuple[list[Frame], list[Frame]] = ([], [])
    for way, piece in said:
        first, fault = _read(whole, [Chunk(way, AT, piece)])
        second, fault2 = _read(single, [Chunk(way, AT, piece[at:at + 1]) for at in range(len(piece))])
        frames[0].extend(first)
        frames[1].extend(second)
        assert fault == fault2
        if fault:
            break
        for each in (UP, DOWN):
            assert whole.pending(each) == single.pending(each)
        assert b"".join(frame.raw for frame in first) == b"".join(frame.raw for frame in second)
    else:
        for way in (UP, DOWN):
            for dec, found in zip((whole, single), frames, strict=True):
                found += _read(dec, [Chunk(way, AT, b"", 0, True)])[0]
    assert _events(frames[0]) == _events(frames[1])


def seeds(folder: Path) -> None:
    """The test's conversations, each from its start and joined late, as corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, said in TALKS.items():
        for modes in (0, 1):
            (folder / f"seed-{name.replace(' ', '-')}-{modes}").write_bytes(decoder.pack(said, modes))
