"""Fuzzes the two ways through the IRC decoder against each other: `python -m tests.fuzz.fuzz_irc`.

The invariant: a conversation read with heads remembered (the short way) and with none (the long way), in whole pieces
and byte by byte, gives the same frames. `tests.fuzz` holds the target that all decoders share.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["inspector.protocols", "inspector.wire"]):
    from inspector.engine.world import SharedMemory
    from inspector.model import UP, Address, Chunk, Flow, Frame, Limits
    from inspector.protocols.irc import IrcDecoder
    from tests.fuzz.decoder import pack, unpack
    from tests.protocols import contract
    from tests.protocols.test_irc import TALKS
    from tests.talk import talks

FLOW = Flow("f", Address("192.0.2.7", 40000), Address("198.51.100.1", 6667))


class Forgetful(dict[bytes, object]):
    """A memory of heads that keeps none: each line goes the long way."""

    def __setitem__(self, key: bytes, value: object) -> None:
        del key, value


def read(said: contract.Said, *, short: bool, size: int) -> list[tuple[object, ...]]:
    """What the decoder makes of it, up to the first fault; conservation is checked on the way."""
    decoder = IrcDecoder(FLOW, Limits(), SharedMemory(100), frozenset())
    if not short:
        decoder._heads = (Forgetful(), Forgetful())  # type: ignore[assignment]
    frames: list[Frame] = []
    for way, data in said:
        got: list[Frame] = []
        before = decoder.pending(way)
        for at in range(0, len(data), size):
            got += decoder.feed(Chunk(way, 1.0, data[at:at + size]))
        assert sum(len(frame.raw) for frame in got) + decoder.pending(way) == before + len(data)
        frames += got
        if any(frame.fault for frame in got):
            return []
    return [(f.way, f.raw, f.kind, f.events, f.oddities, f.part, f.group) for f in frames]


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    _, said = unpack(data)
    welcome = (contract.DOWN, b":irc.example.net 001 alice :Welcome\r\n")
    said = [(UP, b"NICK alice\r\nUSER a 0 * :A\r\n"), welcome, *said]
    short = read(said, short=True, size=1 << 20)
    assert short == read(said, short=False, size=1 << 20)
    single = read(said, short=True, size=1)
    if short and single:
        # A fault is about what came in one read: only conversations without any are the same in every cut.
        assert single == short


def seeds(folder: Path) -> None:
    """The conversations of the captures and of the tests, whole and turn by turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((contract.PCAPS / "irc").glob("*.pcap")):
        for index, talk in enumerate(talks(path)):
            (folder / f"seed-{path.stem}-{index}").write_bytes(pack(talk.said)[:8192])
    for name, said in TALKS.items():
        for index, turn in enumerate(said):
            (folder / f"seed-{name}-{index}").write_bytes(pack([turn])[:8192])


def main() -> None:
    corpus = Path("build", "fuzz", "irc-ways")
    seeds(corpus)
    words = [sys.argv[0], str(corpus), "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048",
             f"-artifact_prefix={corpus.parent}{os.sep}", *sys.argv[1:]]
    atheris.Setup(words, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
