"""Fuzzes a compressed XMPP session: `python -m tests.fuzz fuzz_zlib`.

The invariant: any bytes behind the switch, in any pieces of either way, end in words that both ends can inflate and in
one trouble at most, which is the session's end; whole and byte by byte the server gets the same words up to it (but for
the bound on bytes that become nothing, which is one on reads); nothing is raised. An input is a byte of modes, then
pieces as in `tests.fuzz.decoder`. Modes: 1 the bytes are words, and compressed before they are fed; 2 the client's
stream alone; 4 nobody has signed on yet.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from inspector.model import DOWN, UP, Limits, Way
from tests.fuzz.decoder import pack, unpack
from tests.protocols.zlib_talks import BOUND, HEADS, LOGIN, OFFER, Peers, chat, features

INSIDE, CLIENT, EARLY = 1, 2, 4
END = b"</stream:stream>"
LIMITS = Limits(deflated_burst_bytes=20_000, deflated_ratio=8, deflated_empty_bytes=200, deflated_piece_bytes=512)


def fed(modes: int, said: list[tuple[Way, bytes]], single: bool) -> Peers:
    """A session that was told all of it."""
    both = Peers(limits=LIMITS)
    both.talk([*HEADS, *LOGIN, (DOWN, features(OFFER))]).squeeze()
    if not modes & EARLY:
        both.talk([*HEADS, *BOUND])
    for way, data in said:
        if modes & CLIENT:
            way = UP
        if modes & INSIDE:
            data = both.pressed(way, data)
        for at in range(0, len(data), 1 if single else len(data) or 1):
            both.feed(way, data[at:at + 1] if single else data)
    return both


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever is wrongly raised."""
    modes, said = unpack(data)
    whole, single = fed(modes, said, False), fed(modes, said, True)
    for both in (whole, single):
        troubles = both.troubles()
        assert len(troubles) <= 1
        assert both.over is bool(troubles)
        for reader in both.readers.values():
            assert reader.inflate is not None
            assert not reader.inflate.eof
    one_up, other_up = (both.readers[UP].words.removesuffix(END) if both.over else both.readers[UP].words
                        for both in (whole, single))
    if [detail for _, detail in single.troubles()] == ["xmpp.deflated_emptiness"]:
        # Of a read that becomes something nobody sees how many bytes in it became nothing: it may go on.
        assert one_up.startswith(other_up)
        return
    assert [name for name, _ in whole.troubles()] == [name for name, _ in single.troubles()]
    # Of the last piece, byte by byte, some words have left before its fault is met.
    assert other_up.startswith(one_up) if whole.over else one_up == other_up


def seeds(folder: Path) -> None:
    """Stanzas, streams in several styles, and broken ones."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [chat(UP, "hello").encode(), chat(UP, "block").encode(), b" ", b"</stream:stream>", b"<presence/>" * 9]
    for number, each in enumerate(words):
        (folder / f"seed-inside-{number}").write_bytes(pack([(UP, each), (DOWN, each)], INSIDE))
        for level in (0, 1, 9):
            deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
            piece = deflate.compress(each) + deflate.flush(zlib.Z_SYNC_FLUSH)
            (folder / f"seed-raw-{number}-{level}").write_bytes(pack([(UP, piece), (DOWN, piece)], 0))
            (folder / f"seed-early-{number}-{level}").write_bytes(pack([(UP, b"\x78\x9c" + piece)], EARLY))
    (folder / "seed-empty").write_bytes(pack([(UP, b"\0\0\0\xff\xff" * 60)], CLIENT))
