"""Fuzzes one session of BOSH on two connections: `python -m tests.fuzz.fuzz_xmpp_bosh`.

The invariants: nothing is raised; on each connection the frames' raw and what is pending are what was fed, and at most
one frame of a way has a fault, which is the last; a stanza with words that the server gets was an event first, and
under one number it gets the same body whenever it gets one; what was left to be released goes once, is told of where it
goes, and can be taken back only while it has not gone. `tests.fuzz` holds the target that all decoders share.

An input is pieces: a byte (bit 0: way, bit 1: connection), one with the length, then that many bytes.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import FunctionType

from inspector.model import DOWN, PASSED, UP, Action, Chunk, Send, Verdict, Way, Went
from inspector.protocols import xmpp_bosh
from inspector.protocols.xmpp_bosh import behind
from inspector.wire import httpunits
from tests.protocols.bosh_disguises import ALLOWED, PREFLIGHT, answer, bodies, message, post
from tests.protocols.test_xmpp_bosh import LOGIN, NEXT, PAGE, Peers, play, say, told, words

_SAID = re.compile(rb"<body>([a-z0-9 ]+)</body>")
_RID = re.compile(rb"<[^>]*\brid=.(\d+)")
_PIECE = 255


def pack(said: list[tuple[Way, int, bytes]]) -> bytes:
    """A conversation on two connections as an input of this target."""
    out = bytearray()
    for way, where, data in said:
        for start in range(0, len(data), _PIECE):
            piece = data[start:start + _PIECE]
            out += bytes(((where << 1) | (way is DOWN), len(piece)))
            out += piece
    return bytes(out)


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    peers = Peers()
    both = [peers.signed_on(), peers.connection()]
    fed = {(where, way): 0 for where in (0, 1) for way in (UP, DOWN)}
    came = dict(fed)
    dead = set[tuple[int, Way]]()
    judged: set[bytes] = set()
    went: dict[bytes, bytes] = {}
    left = {UP: ("h1", b"left one"), DOWN: ("h2", b"left two")}
    gone = set[str]()
    for way, (hold, text) in left.items():
        kept = b"<message from='a@example.com' to='b@example.org'><body>" + text + b"</body></message>"
        assert both[0].leave(kept, way, hold)  # type: ignore[attr-defined]
        judged.add(text)
    at, now = 0, 1.0
    while at + 1 < len(data):
        head, size = data[at], data[at + 1]
        way, where = (UP, DOWN)[head & 1], head >> 1 & 1
        piece = data[at + 2:at + 2 + size]
        at += 2 + len(piece)
        now += 0.02
        for side, chunk in ((where, Chunk(way, now, piece)), (1 - where, Chunk(UP, now, b""))):
            if (side, chunk.way) in dead:
                continue
            fed[side, chunk.way] += len(chunk.data)
            frames = both[side].feed(chunk)
            for index, frame in enumerate(frames):
                came[side, frame.way] += len(frame.raw)
                if frame.fault is not None:
                    assert index == len(frames) - 1, "a fault is the last frame"
                    dead.add((side, frame.way))
                    continue
                judged.update(text.encode() for text in words([frame]))
                refuse = any("2" in text for text in words([frame]))
                verdict = Verdict(Action.BLOCK, "r", notice="no") if refuse else PASSED
                verdicts = [verdict] * len(frame.events)
                if frame.unread and b"2" in frame.raw:
                    verdicts = [Verdict(Action.BLOCK)]
                acts = both[side].apply(frame, verdicts)
                for act in acts:
                    if isinstance(act, Went):
                        assert act.hold not in gone, "told of twice"
                        gone.add(act.hold)
                        text = dict(left.values())[act.hold]
                        assert act.sent is any(isinstance(each, Send) and text in each.data for each in acts)
                    if isinstance(act, Send) and act.way is UP:
                        for body in bodies(act.data):
                            assert set(_SAID.findall(body)) <= judged, body
                            rid = _RID.search(body)
                            if rid is not None and b"sid='s1'" in body.replace(b'"', b"'"):
                                assert went.setdefault(rid[1], body) == body, "two bodies under one number"
            assert came[side, chunk.way] + both[side].pending(chunk.way) == fed[side, chunk.way]
    for hold, _ in left.values():
        assert both[0].take_back(hold) is (hold not in gone)  # type: ignore[attr-defined]
    for dec in both:
        dec.close("the end")
    looks_on = behind(PAGE)
    assert looks_on is not None
    looks_on(data)


def seeds(folder: Path) -> None:
    """Conversations on two connections."""
    folder.mkdir(parents=True, exist_ok=True)
    talks: list[list[tuple[Way, int, bytes]]] = [
        [(UP, 0, post(NEXT)), (UP, 1, post(NEXT + 1, say("word 1"))), (DOWN, 0, answer()),
         (DOWN, 1, answer(told("hello")))],
        [(UP, 1, post(NEXT + 1, say("word 2"))), (UP, 0, post(NEXT, say("word 1") + say("word 2")))],
        [(UP, 0, post(NEXT, say("word 2"))), (UP, 1, post(NEXT, say("word 2"))), (DOWN, 0, answer(told("x"))),
         (DOWN, 1, answer(told("x")))],
        [(UP, 0, post(NEXT, say("word 1"), chunks=20)), (UP, 1, post(NEXT, say("word 3")))],
        [(UP, 0, post(NEXT, type="terminate")), (DOWN, 0, answer(type="terminate"))],
        [(way, 1, data) for way, data in LOGIN],
        [(UP, 0, PAGE), (DOWN, 0, message(b"HTTP/1.1 200 OK", b"page " * 9, chunks=7)), (UP, 0, post(NEXT)),
         (DOWN, 0, answer(told("hello")))],
        [(UP, 0, PAGE.replace(b"index", b"2")), (UP, 0, post(NEXT)), (DOWN, 0, message(b"HTTP/1.1 503 No", b"words"))],
        [(UP, 1, PREFLIGHT), (DOWN, 1, ALLOWED), (UP, 1, post(NEXT)), (DOWN, 1, answer(type="terminate"))],
    ]
    for number, said in enumerate(talks):
        (folder / f"seed-{number}").write_bytes(pack(said))


def main() -> None:
    import atheris  # type: ignore[import-untyped]

    play(Peers().connection(), LOGIN)
    corpus = Path("build", "fuzz", "xmpp-bosh-connections")
    seeds(corpus)
    for module in (xmpp_bosh, httpunits):
        for thing in vars(module).values():
            for each in vars(thing).values() if isinstance(thing, type) else (thing,):
                if isinstance(each, FunctionType) and each.__module__ == module.__name__:
                    atheris.instrument_func(each)
    arguments = [sys.argv[0], str(corpus), "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048",
                 f"-artifact_prefix={corpus.parent}{os.sep}", *sys.argv[1:]]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
