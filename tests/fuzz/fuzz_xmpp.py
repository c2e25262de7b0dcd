"""Fuzzes the two ways through the XMPP decoder against each other: `python -m tests.fuzz.fuzz_xmpp`.

The invariant: what a signed-on client sends, in one chunk (the short way: guessed ends, the shared parser) and byte by
byte (the long way: the splitter), gives the same frames up to the first fault, and the same fault. `tests.fuzz` holds
the target that all decoders share.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FunctionType

from inspector.model import UP, Chunk, Event, Frame
from inspector.protocols.xmpp import XmppDecoder
from inspector.wire import xml
from tests.protocols.test_xmpp import BAD, TALKS, decoder, login, play, talk

Seen = list[tuple[str, bytes, tuple[Event, ...], str | None]]


def seen(frames: list[Frame]) -> Seen:
    """What must be equal: units, what they say, the fault; white space is joined, bytes behind a fault left out."""
    out: Seen = []
    for frame in frames:
        if frame.fault is not None:
            out.append((frame.kind, b"", (), str(frame.fault)))
            break
        if frame.kind in ("xmpp.space", "xmpp.raw") and out and out[-1][0] == frame.kind:
            out[-1] = (frame.kind, out[-1][1] + frame.raw, (), None)
        else:
            out.append((frame.kind, frame.raw, frame.events, None))
    return out


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    found = []
    for size in (len(data) or 1, 1):
        dec = decoder()
        play(dec, login())
        frames = [
            frame for at in range(0, len(data), size) for frame in dec.feed(Chunk(UP, 2.0, data[at:at + size]))
        ]
        assert b"".join(frame.raw for frame in frames) + bytes(dec.pending(UP)) == (
            data[:len(data) - dec.pending(UP)] + bytes(dec.pending(UP))
        )
        found.append(seen(frames))
    assert found[0] == found[1]


def seeds(folder: Path) -> None:
    """Every stanza of the test's conversations, and every refused one, as corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    start = len(talk())
    for name, said in TALKS.items():
        for index, (_, data) in enumerate(said[start:]):
            (folder / f"seed-{name}-{index}").write_bytes(data)
    for name, (bad, _) in BAD.items():
        (folder / f"seed-bad-{name}").write_bytes((bad if isinstance(bad, bytes) else bad.encode())[:4096])


def main() -> None:
    import atheris  # type: ignore[import-untyped]

    corpus = Path("build", "fuzz", "xmpp-ways")
    seeds(corpus)
    # Only what is tested: instrumenting everything takes longer than a short run.
    room = XmppDecoder.__module__.rpartition(".")[0]
    for module in (*(sys.modules[name] for name in sorted(sys.modules) if name.startswith(f"{room}.")), xml):
        for thing in vars(module).values():
            for each in vars(thing).values() if isinstance(thing, type) else (thing,):
                if isinstance(each, FunctionType) and each.__module__ == module.__name__:
                    atheris.instrument_func(each)
    words = [sys.argv[0], str(corpus), "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048",
             f"-artifact_prefix={corpus.parent}{os.sep}", *sys.argv[1:]]
    atheris.Setup(words, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
