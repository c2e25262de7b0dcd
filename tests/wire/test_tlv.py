"""Lists of type, length and value, and what rewrites them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspector.wire.tlv import Tlv, first, pack, rewrite, string8, string16, walk, walk_counted

ENTRIES = st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=12)


@given(entries=ENTRIES, before=st.binary(max_size=9), behind=st.binary(max_size=9))
def test_what_is_packed_is_read(entries: list[tuple[int, bytes]], before: bytes, behind: bytes) -> None:
    """Types and values come back in order, wherever the list stands; counted, with what follows it."""
    body = b"".join(pack(kind, value) for kind, value in entries)
    data = before + body + behind
    stop = len(before) + len(body)
    found, true = walk(data, len(before), stop)
    assert true
    assert [(kind, data[start:end]) for kind, start, end in found] == entries
    assert walk_counted(data, len(before), len(data), len(entries)) == (found, stop, True)


def test_a_length_that_lies_is_told_and_the_rest_is_given() -> None:
    """It never leads out of the buffer."""
    data = b"\0\1\0\2ab\0\2\0\x09cd"
    assert walk(data, 0, len(data)) == ([(1, 4, 6), (2, 10, 12)], False)
    assert walk_counted(data, 0, len(data), 5) == ([(1, 4, 6), (2, 10, 12)], 12, False)
    assert walk(b"\0\1\0", 0, 3) == ([], False)
    assert walk_counted(data, 0, 6, 2) == ([(1, 4, 6)], 6, False)


@given(data=st.binary(max_size=60), count=st.integers(0, 20))
def test_any_bytes_are_walked_inside_their_bounds(data: bytes, count: int) -> None:
    """No entry reaches beyond the end, whatever the bytes say."""
    found, _ = walk(data, 0, len(data))
    counted, at, _ = walk_counted(data, 0, len(data), count)
    assert at <= len(data)
    assert len(counted) <= count
    for _, start, end in found + counted:
        assert 4 <= start <= end <= len(data)


def test_first() -> None:
    """The first of several; None for one that is not there."""
    tlvs: list[Tlv] = [(1, 4, 6), (1, 8, 9)]
    assert first(tlvs, 1) == (4, 6)
    assert first(tlvs, 2) is None


def test_counted_strings() -> None:
    """A string that does not fit before the end is none."""
    assert string8(b"\3abc", 0, 4) == (1, 4)
    assert string8(b"\3abc", 0, 3) is None
    assert string8(b"", 0, 0) is None
    assert string16(b"\0\3abc", 0, 5) == (2, 5)
    assert string16(b"\0\3abc", 0, 4) is None
    assert string16(b"\0", 0, 1) is None


def test_rewriting_makes_every_enclosing_length_true() -> None:
    """Big and little end, one, two and four bytes; two places at once, the later one first or not."""
    inner = pack(2, b"secret") + pack(3, b"word")
    raw = pack(1, inner)
    two, three = first(walk(raw, 4, len(raw))[0], 2), first(walk(raw, 4, len(raw))[0], 3)
    assert two
    assert three
    new = rewrite(raw, [(*two, b"s", ((2, 2), (two[0] - 2, 2))), (*three, b"longer", ((2, 2), (three[0] - 2, 2)))])
    assert new == pack(1, pack(2, b"s") + pack(3, b"longer"))
    assert rewrite(b"\3\0abc", [(2, 5, b"abcde", ((0, -2),))]) == b"\5\0abcde"
    assert rewrite(b"\3abc", [(1, 4, b"", ((0, 1),))]) == b"\0"
    assert rewrite(b"\0\0\0\3abc", [(4, 7, b"a", ((0, 4),))]) == b"\0\0\0\1a"


def test_a_length_that_would_not_fit_is_refused() -> None:
    """Neither above what its field holds nor below nothing."""
    assert rewrite(b"\3abc", [(1, 4, b"x" * 300, ((0, 1),))]) is None
    assert rewrite(b"\1abc", [(1, 4, b"", ((0, 1),))]) is None
