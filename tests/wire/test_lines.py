"""Lines out of a stream, however it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspector.model import FIRST, LAST, MORE, WHOLE
from inspector.wire.lines import Lines, Piece

STREAMS = st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", b"\0", b"0123456789"]), max_size=40).map(
    b"".join
)


def fed(limit: int, *chunks: bytes) -> list[Piece]:
    lines = Lines(limit)
    return [piece for chunk in chunks for piece in lines.feed(chunk)]


def test_lf_crlf_and_a_lone_cr_end_a_line() -> None:
    """All three are taken by real servers; of `\\r\\r\\n` the second line is empty."""
    assert fed(100, b"a\nb\r\nc\rd\r\r\n\n") == [
        (b"a\n", WHOLE),
        (b"b\r\n", WHOLE),
        (b"c\r", WHOLE),
        (b"d\r", WHOLE),
        (b"\r\n", WHOLE),
        (b"\n", WHOLE),
    ]


def test_a_cr_at_the_end_waits_for_its_lf() -> None:
    """Whether an LF belongs to it is known with the next byte."""
    lines = Lines(100)
    assert lines.feed(b"a\r") == []
    assert (lines.pending, lines.busy) == (2, True)
    assert lines.feed(b"\n") == [(b"a\r\n", WHOLE)]
    assert (lines.pending, lines.busy) == (0, False)
    assert lines.feed(b"a\r") == []
    assert lines.feed(b"b\n") == [(b"a\r", WHOLE), (b"b\n", WHOLE)]


def test_a_line_that_only_a_cr_has_ended_is_told() -> None:
    """As long as it is the last one."""
    lines = Lines(100)
    fed = ((b"a\r", False), (b"b", True), (b"c", True), (b"d\r\n", False), (b"e\rf", True), (b"\n", False))
    for data, ragged in fed:
        lines.feed(data)
        assert lines.ragged is ragged, data
    lines.feed(b"g\rh")
    lines.flush()
    assert not lines.ragged


def test_a_long_line_comes_in_pieces_of_the_limit() -> None:
    """At most `limit` bytes are ever held; a line of exactly the limit is whole."""
    assert fed(4, b"abc\n") == [(b"abc\n", WHOLE)]
    assert fed(4, b"abcd\n") == [(b"abcd", FIRST), (b"\n", LAST)]
    assert fed(4, b"abcdefghij\nk\n") == [(b"abcd", FIRST), (b"efgh", MORE), (b"ij\n", LAST), (b"k\n", WHOLE)]
    lines = Lines(4)
    for _ in range(100):
        lines.feed(b"x")
        assert lines.pending <= 4


def test_flush_gives_what_is_held() -> None:
    """The rest of a stream that ended, or of a line with a hole: whole, or the last piece of a long one."""
    lines = Lines(4)
    assert lines.flush() is None
    lines.feed(b"ab")
    assert lines.flush() == (b"ab", WHOLE)
    lines.feed(b"abcdef")
    assert lines.flush() == (b"ef", LAST)
    assert lines.feed(b"new\n") == [(b"new\n", WHOLE)]


@given(stream=STREAMS, limit=st.integers(2, 12), size=st.integers(1, 5))
def test_pieces_do_not_depend_on_the_cuts_and_lose_nothing(stream: bytes, limit: int, size: int) -> None:
    """Cut-invariance and conservation for any stream, limit and chunk size."""
    whole, cut = Lines(limit), Lines(limit)
    at_once = whole.feed(stream)
    pieces = [p for i in range(0, len(stream), size) for p in cut.feed(stream[i : i + size])]
    assert pieces == at_once
    assert whole.pending == cut.pending
    assert len(b"".join(raw for raw, _ in at_once)) + whole.pending == len(stream)
    assert stream.startswith(b"".join(raw for raw, _ in at_once))
    assert all(len(raw) <= limit for raw, _ in at_once)
