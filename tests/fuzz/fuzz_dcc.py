"""Fuzzes what a file connection makes of any two streams: `python -m tests.fuzz.fuzz_dcc`.

The invariant: however the streams are cut, the same content is read of each way, by the same transfers, with the same
ends; content and acknowledgements are all that came; while a file is held, what is kept for its receiver is what its
sender sent, and what the sender hears is acknowledgements of no more than that. `tests.fuzz` holds the target that all
decoders share.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["inspector.protocols", "inspector.wire"]):
    from inspector.engine.world import SharedMemory
    from inspector.model import (
        DOWN,
        UP,
        Action,
        Address,
        Chunk,
        Expect,
        FileEnd,
        FileOffer,
        FilePart,
        Flow,
        Limits,
        Send,
        Verdict,
        Way,
    )
    from inspector.protocols.dcc import SPEC
    from tests.fuzz.decoder import pack, unpack
    from tests.protocols import contract
    from tests.protocols.test_dcc import TALKS

HOLD = Verdict(Action.HOLD)
MOST = 1024
"""Bytes of an input: each is read byte by byte."""
Read = list[tuple[object, ...]]


def flow(modes: int) -> Flow:
    """Announced in one of sixteen ways: size, direction, type."""
    offer = FileOffer(
        sender="bob", recipients=("alice",), file_name="x", size=(None, 0, 5, 300)[modes & 3], method="dcc")
    key = ("SEND", "TSEND")[modes >> 3 & 1]
    expected = Expect("192.0.2.1:4000", "dcc", "alice", key, offer, reverse=bool(modes & 4))
    return Flow("f", Address("192.0.2.7", 40000), Address("192.0.2.1", 4000), expected=expected)


def read(modes: int, said: contract.Said, size: int) -> tuple[Read, Read]:
    """What is read of each way, neighbouring parts joined; conservation is checked on the way."""
    decoder = SPEC.decoder(flow(modes), Limits(part_bytes=64), SharedMemory(10), frozenset())
    found: tuple[Read, Read] = ([], [])
    ends: list[tuple[Way, bytes]] = [(UP, b""), (DOWN, b"")]
    for index, (way, data) in enumerate([*said, *ends]):
        before, came = decoder.pending(way), 0
        over = index >= len(said)
        for at in range(0, max(len(data), 1), size):
            for frame in decoder.feed(Chunk(way, 1.0, data[at:at + size], 0, over)):
                assert frame.way is way
                assert frame.fault is None
                came += len(frame.raw)
                acts = decoder.apply(frame, [HOLD] * len(frame.events))
                own = b"".join(act.data for act in acts if isinstance(act, Send) and act.way is way)
                assert own == frame.raw or (frame.kind == "dcc.ack" and own == b"")
                assert all(len(act.data) == 4 for act in acts if isinstance(act, Send) and act.way is not way)
                into = found[way]
                for event in frame.events:
                    if isinstance(event, FilePart):
                        if into and into[-1][0] == "content" and into[-1][1] == event.transfer:
                            into[-1] = ("content", event.transfer, into[-1][2] + event.data)  # type: ignore[operator]
                        else:
                            into.append(("content", event.transfer, event.data))
                    elif isinstance(event, FileEnd):
                        into.append(("end", event))
                    else:
                        into.append((type(event).__name__, event))
        assert came + decoder.pending(way) == before + len(data)
    return found


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    modes, said = unpack(data[:MOST])
    assert read(modes, said, 1 << 20) == read(modes, said, 1)


def seeds(folder: Path) -> None:
    """The conversations of the tests, announced in every way."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, said in TALKS.items():
        for modes in range(16):
            (folder / f"seed-{name}-{modes}").write_bytes(pack(said, modes)[:MOST])


def main() -> None:
    corpus = Path("build", "fuzz", "dcc-ways")
    seeds(corpus)
    words = [sys.argv[0], str(corpus), "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048",
             f"-artifact_prefix={corpus.parent}{os.sep}", *sys.argv[1:]]
    atheris.Setup(words, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
