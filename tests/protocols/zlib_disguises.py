"""How a text can be disguised in compressed XMPP (XEP-0138): styles of blocks, flushes, histories and ends.

Each unit is made for itself, with what was said before as its history, so that units can be put in any order: a stream
that is flushed at a byte boundary can be gone on with by anybody who knows its history (RFC 1951 3.2.3).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from inspector.model import DOWN, UP, Way
from tests.evasion.ways import Disguise, Said
from tests.protocols import xmpp_disguises
from tests.protocols.xmpp_talks import BOB, ME
from tests.protocols.zlib_talks import ANSWER, ASK, BOUND, HEADS, LOGIN, OFFER, features

OFF = frozenset({"xmpp.strip_compression"})
_EMPTY = b"\0\0\0\xff\xff"
_SPLIT = {UP: ASK.encode(), DOWN: ANSWER.encode()}


def _before(first: list[tuple[Way, str]], second: list[tuple[Way, str]]) -> tuple[Said, dict[Way, bytes]]:
    """What both have said, and what is in the history of each way."""
    said: Said = [(way, text.encode()) for way, text in [*first, (DOWN, features(OFFER)), (UP, ASK), (DOWN, ANSWER)]]
    history: dict[Way, bytes] = {UP: b"", DOWN: b""}
    deflate = {way: zlib.compressobj() for way in (UP, DOWN)}
    for way, text in second:
        said.append((way, deflate[way].compress(text.encode()) + deflate[way].flush(zlib.Z_SYNC_FLUSH)))
        history[way] += text.encode()
    return said, history


BEFORE, HISTORY = _before([*HEADS, *LOGIN], [*HEADS, *BOUND])
EARLY, EARLY_HISTORY = _before(HEADS, [*HEADS, *LOGIN, *BOUND])


def inflated(data: bytes, way: Way, history: bytes) -> bytes:
    """What a reader makes of all that was sent to him, or of units of one way alone; of broken ones what there is."""
    plain, switch, pressed = data.partition(_SPLIT[way])
    if switch:
        inflate = zlib.decompressobj()
    else:
        plain, pressed = b"", data
        inflate = zlib.decompressobj(-15, zdict=history)
    words = b""
    try:
        for at in range(len(pressed)):
            words += inflate.decompress(pressed[at:at + 1])
    except zlib.error:
        pass
    return words if words else plain


Style = Callable[[bytes, bytes], bytes]
"""(words, history) -> the unit."""


def _raw(history: bytes = b"", level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> zlib._Compress:
    return zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy, history)


def _pressed(
    words: bytes, history: bytes = b"", level: int = 6, strategy: int = 0, flush: int = zlib.Z_SYNC_FLUSH,
) -> bytes:
    deflate = _raw(history, level, strategy)
    return deflate.compress(words) + deflate.flush(flush)


def _stored(words: bytes, _: bytes) -> bytes:
    return b"".join(b"\x00\x01\x00\xfe\xff" + bytes((byte,)) for byte in words)


def _letters(flush: int, between: bytes = b"") -> Style:
    """A flush behind each byte."""

    def style(words: bytes, history: bytes) -> bytes:
        deflate = _raw(history)
        out = b"".join(deflate.compress(bytes((byte,))) + deflate.flush(flush) + between for byte in words)
        return out + deflate.flush(zlib.Z_SYNC_FLUSH)

    return style


def _unflushed(words: bytes, history: bytes) -> bytes:
    """Nothing is flushed before the next stanza, as long as the history is."""
    deflate = _raw(history)
    filler = b"<iq type='get' id='f'><ping xmlns='urn:xmpp:ping'/></iq>" * 40
    return deflate.compress(words) + deflate.compress(filler) + deflate.flush(zlib.Z_SYNC_FLUSH)


def _turns(words: bytes, _: bytes) -> bytes:
    """Blocks of every kind in turn, each with a history of its own."""
    kinds = [(0, 0), (6, zlib.Z_FIXED), (6, zlib.Z_HUFFMAN_ONLY), (9, zlib.Z_RLE), (1, 0)]
    pieces = [words[at:at + 11] for at in range(0, len(words), 11)]
    return b"".join(
        _pressed(piece, b"", *kinds[at % len(kinds)], zlib.Z_FULL_FLUSH) for at, piece in enumerate(pieces))


STYLES: dict[str, Style] = {
    "compressed": _pressed,
    "compressed, as stored blocks": lambda words, history: _pressed(words, b"", 0),
    "compressed, a stored block for each byte": _stored,
    "compressed, fixed codes": lambda words, history: _pressed(words, history, 9, zlib.Z_FIXED),
    "compressed, kinds of blocks in turn": _turns,
    "compressed, flushed behind each byte": _letters(zlib.Z_SYNC_FLUSH),
    "compressed, flushed in part behind each byte": _letters(zlib.Z_PARTIAL_FLUSH),
    "compressed, empty blocks between the bytes": _letters(zlib.Z_SYNC_FLUSH, _EMPTY * 3),
    "compressed, flushed with other stanzas": _unflushed,
    "compressed, at the end of the stream": lambda words, history: _pressed(words, history, flush=zlib.Z_FINISH),
}
_PLAIN = "compressed, "
SPELLINGS = ("CDATA, references and letters in turn", "XHTML only", "status", "a prefix of its own on each element")


def _disguise(way: Way, plain: Disguise, style: Style, *, early: bool = False) -> Disguise:
    before, history = (EARLY, EARLY_HISTORY) if early else (BEFORE, HISTORY)

    def say(text: str) -> Said | None:
        units = plain.say(text)
        return None if units is None else [(side, style(data, history[side][-32000:])) for side, data in units]

    def read(data: bytes) -> list[str]:
        return xmpp_disguises.read(inflated(data, way, history[way]))

    def harmless(number: int) -> bytes:
        ends = f"to='{BOB}'" if way is UP else f"from='{BOB}' to='{ME}'"
        words = f"<message {ends} id='n{number}' type='chat'><body>the tulips are out</body></message>"
        return _pressed(words.encode())

    last = style is STYLES["compressed, at the end of the stream"]
    return Disguise(way, say, read, before, harmless=None if last else harmless, off=OFF, whole=True)


def _both(name: str, spelling: str, style: Style, *, early: bool = False) -> dict[str, Disguise]:
    return {
        f"{name}, {side}": _disguise(way, xmpp_disguises.DISGUISES[f"{spelling}, {side}"], style, early=early)
        for way, side in ((UP, "up"), (DOWN, "down"))
    }


DISGUISES: dict[str, Disguise] = {
    **{name: how for style in STYLES for name, how in _both(style, "body", STYLES[style]).items()},
    **{name: how for spelling in SPELLINGS for name, how in _both(_PLAIN + spelling, spelling, _pressed).items()},
    **_both("compressed before the login", "body", _pressed, early=True),
}
