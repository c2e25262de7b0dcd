"""Compressed streams: what is read, in which pieces, and what is refused, whatever the peer does to them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.model import DOWN, UP, Limits, PeerError
from inspector.wire.deflated import Deflated

LIMITS = Limits()
TEXT = b"<message to='bob@example.org'><body>the tulips are out</body></message>" * 3


def read(coding: Deflated, pieces: Iterable[bytes]) -> tuple[bytes, str | None]:
    """(what was said, the name of the fault) of these bytes of the client's; nothing may come behind a fault."""
    out, fault = b"", None
    for data in pieces:
        for piece in coding.read(UP, data):
            assert fault is None or isinstance(piece, PeerError)
            if isinstance(piece, PeerError):
                fault = piece.name
            else:
                assert 0 < len(piece) <= LIMITS.part_bytes
                out += piece
    return out, fault


def made() -> Deflated:
    return Deflated(LIMITS, "toy")


def cuts(data: bytes, size: int) -> list[bytes]:
    return [data[at:at + size] for at in range(0, len(data), size)]


def stream(*said: bytes, flush: int = zlib.Z_SYNC_FLUSH, level: int = 6, bits: int = 15, strategy: int = 0) -> bytes:
    """What a peer that flushes behind each piece sends."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, bits, 8, strategy)
    return b"".join(deflate.compress(each) + deflate.flush(flush) for each in said)


def stored(data: bytes) -> bytes:
    """A stream of stored blocks, one for each byte (RFC 1951 3.2.4)."""
    return b"\x78\x01" + b"".join(b"\x00\x01\x00\xfe\xff" + bytes((byte,)) for byte in data)


@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_BLOCK])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_every_style_of_flush_cut_anywhere_is_read(flush: int, size: int) -> None:
    """The same words, however they were flushed and cut. (What a flush keeps back comes with what follows.)"""
    data = stream(TEXT, TEXT[::-1], b"end", flush=flush) + (b"" if flush != zlib.Z_BLOCK else b"\0\0\0\xff\xff")
    assert read(made(), cuts(data, size)) == (TEXT + TEXT[::-1] + b"end", None)


@pytest.mark.parametrize("data", [
    stream(TEXT, level=0), stream(TEXT, level=9, bits=9), stream(TEXT, strategy=zlib.Z_HUFFMAN_ONLY),
    stream(TEXT, strategy=zlib.Z_FIXED), stream(TEXT, strategy=zlib.Z_RLE), stored(TEXT), zlib.compress(TEXT),
], ids=["level-0", "window-512", "huffman", "fixed", "rle", "a-block-a-byte", "ended"])
def test_every_form_of_a_stream_is_read(data: bytes) -> None:
    """Stored, fixed and dynamic blocks, small windows, a stream with an end."""
    assert read(made(), cuts(data, 1)) == (TEXT, None)
    assert read(made(), [data]) == (TEXT, None)


def test_what_we_write_is_read_at_once_and_whole() -> None:
    """Each write ends at a byte boundary with all that was said; both ways have a history of their own."""
    coding = made()
    for way in (UP, DOWN):
        reader = zlib.decompressobj()
        sizes = []
        for number in range(20):
            said = b"%d" % number + TEXT
            wire = coding.write(way, said)
            assert wire.endswith(b"\0\0\xff\xff")
            assert reader.decompress(wire) == said
            sizes.append(len(wire))
        assert sizes[-1] < sizes[0] / 3, "what was said before shortens what is said again"


def test_the_ways_do_not_know_each_other() -> None:
    """A fault of one way leaves the other readable, and writable."""
    coding = made()
    assert read(coding, [b"nonsense"]) == (b"", "toy.deflated_broken")
    assert b"".join(each for each in coding.read(DOWN, stream(TEXT)) if isinstance(each, bytes)) == TEXT
    assert zlib.decompressobj().decompress(coding.write(UP, TEXT)) == TEXT


DICTIONARY = zlib.compressobj(zdict=TEXT)


@pytest.mark.parametrize(("data", "words", "name"), [
    (b"<message/>", b"", "broken"),
    (b"\x1f\x8b\x08" + bytes(7), b"", "broken"),
    (stream(TEXT)[2:], b"", "broken"),
    (DICTIONARY.compress(TEXT) + DICTIONARY.flush(), b"", "broken"),
    (stream(b"good") + b"\x07", b"good", "broken"),
    (zlib.compress(b"good") + b"x", b"good", "behind_end"),
    (zlib.compress(b"good") + zlib.compress(b"more"), b"good", "behind_end"),
    (zlib.compress(b"good")[:-1] + b"\0", b"good", "broken"),
], ids=["plaintext", "gzip", "raw", "dictionary", "block-type-3", "tail", "two-streams", "checksum"])
def test_what_is_refused(data: bytes, words: bytes, name: str) -> None:
    """One fault, with its name, whole and byte by byte; what stood in front of it was read, nothing behind it is."""
    for size in (1, 3, len(data)):
        coding = made()
        said, fault = read(coding, cuts(data, size))
        assert words.startswith(said)
        assert fault == f"toy.deflated_{name}"
        assert read(coding, [stream(TEXT)]) == (b"", fault)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_flushes_of_nothing_come_to_an_end(size: int) -> None:
    """Some are a client's way to keep its connection alive; words between them begin the count anew."""
    few, coding = b"\0\0\0\xff\xff" * 3000, made()
    deflate = zlib.compressobj()
    for _ in range(5):
        wire = deflate.compress(TEXT) + deflate.flush(zlib.Z_SYNC_FLUSH)
        assert read(coding, [wire, *cuts(few, size)]) == (TEXT, None)
    assert read(coding, cuts(few, size)) == (b"", "toy.deflated_emptiness")


def test_behind_an_end_that_comes_alone() -> None:
    """The last bytes of a stream say nothing; what stands behind them in the same bytes is refused all the same."""
    whole = zlib.compress(TEXT)
    for at in range(1, 8):
        coding = made()
        said, fault = read(coding, [whole[:-at], whole[-at:] + b"tail"])
        assert (said, fault) == (TEXT, "toy.deflated_behind_end"), at


def test_behind_the_end_of_a_stream_nothing_may_come_later_either() -> None:
    """The end is no fault, the next byte is; no byte is none."""
    coding = made()
    assert read(coding, [zlib.compress(TEXT), b""]) == (TEXT, None)
    assert read(coding, [b"\0"]) == (b"", "toy.deflated_behind_end")


@pytest.mark.parametrize("fill", [b" ", b"<a/>", b"\0"])
def test_a_bomb_is_not_unpacked(fill: bytes) -> None:
    """Of 64 MiB of the same thing what the limits allow is read, and no more, in pieces, however it is cut."""
    bomb = zlib.compress(fill * ((64 << 20) // len(fill)))
    for size in (len(bomb), 1000):
        said, fault = read(made(), cuts(bomb, size))
        assert fault == "toy.deflated_too_much"
        assert len(said) <= LIMITS.deflated_burst_bytes + LIMITS.deflated_ratio * len(bomb)


def test_credit_is_not_saved_up() -> None:
    """Who has sent much that became little may not send a larger bomb than anybody."""
    chance = random.Random(1)
    deflate = zlib.compressobj(1)
    coding = made()
    for _ in range(40):
        said, fault = read(coding, [deflate.compress(chance.randbytes(60000)) + deflate.flush(zlib.Z_SYNC_FLUSH)])
        assert (len(said), fault) == (60000, None)
    bomb = deflate.compress(bytes(16 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    said, fault = read(coding, [bomb])
    assert fault == "toy.deflated_too_much"
    assert len(said) <= LIMITS.deflated_burst_bytes + LIMITS.deflated_ratio * len(bomb)


def test_repeated_chat_is_no_bomb() -> None:
    """A client that says the same stanza a hundred thousand times is within the limits."""
    deflate, coding = zlib.compressobj(9), made()
    for _ in range(100):
        wire = b"".join(deflate.compress(TEXT) + deflate.flush(zlib.Z_SYNC_FLUSH) for _ in range(100))
        said, fault = read(coding, [wire])
        assert (said == TEXT * 100, fault) == (True, None)


@settings(max_examples=200)
@given(data=st.binary(max_size=400), head=st.sampled_from([b"", b"\x78\x9c", stream(b"good")]), size=st.integers(1, 50))
def test_any_bytes_end_in_words_and_one_fault_at_most(data: bytes, head: bytes, size: int) -> None:
    """Nothing is raised; a fault is the same however the bytes are cut, as are the words in front of it."""
    whole, fault = read(made(), [head + data])
    again, other = read(made(), cuts(head + data, size))
    assert fault == other
    assert again.startswith(whole) or whole.startswith(again)
    if fault is None:
        assert again == whole


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([UP, DOWN]), st.binary(max_size=300)), max_size=20))
def test_what_is_written_is_what_is_read(said: list[tuple[int, bytes]]) -> None:
    """Two of them, one behind the other, are the identity, each way, piece by piece."""
    one, two = made(), made()
    for number, data in said:
        way = UP if number == 0 else DOWN
        pieces = list(two.read(way, one.write(way, data)))
        assert b"".join(each for each in pieces if isinstance(each, bytes)) == data
        assert not any(isinstance(each, PeerError) for each in pieces)
