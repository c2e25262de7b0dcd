"""The prefilter's two implementations."""

from __future__ import annotations

import pytest

from inspector.scan import prefilter
from inspector.scan.prefilter import Entry, HyperscanPrefilter, Re2Prefilter

ENTRIES = [
    Entry(b"word", 1), Entry(b"Mixed Case", 2, caseless=True), Entry(b"a\0b\xff\x80", 3),
    Entry(rb"[0-9]{3}", 4, pattern=True),
    Entry(b".*+?(", 5), Entry(rb"x[\x00-\xff]{1,2}y", 6, pattern=True), Entry(b"another", 1),
]


@pytest.mark.parametrize("make", [HyperscanPrefilter, Re2Prefilter])
@pytest.mark.parametrize(("data", "want"), [
    (b"", set()), (b"a word", {1}), (b"WORD", set()), (b"mIXED cASE", {2}), (b"..a\0b\xff\x80..",
    {3}), (b"12 345", {4}),
    (b"it is .*+?( there", {5}), (b"x\ny xy", {6}), (b"word another word 777", {1, 4}),
])
def test_what_is_there_is_told(
    make: type[HyperscanPrefilter] | type[Re2Prefilter], data: bytes, want: set[int],
) -> None:
    """Literals of any bytes, in either case where wanted, and expressions."""
    assert set(make(ENTRIES).hits(data)) == want


def test_a_kept_database_says_the_same() -> None:
    """And one that does not fit is made anew."""
    kept = prefilter.dump(ENTRIES)
    assert set(HyperscanPrefilter(ENTRIES, kept).hits(b"word 777")) == {1, 4}
    assert set(prefilter.best(lambda: ENTRIES, b"no database").hits(b"word 777")) == {1, 4}


def test_without_hyperscan_there_is_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hyperscan cannot be imported."""
    monkeypatch.setattr(prefilter, "_hyperscan", None)
    made = prefilter.best(lambda: ENTRIES)
    assert made.name == "re2" and made.hits(b"word") == [1]
    assert prefilter.dump(ENTRIES) == b"" and prefilter.versions() == "re2"


@pytest.mark.parametrize("make", [HyperscanPrefilter, Re2Prefilter])
def test_no_entries_no_hits(make: type[HyperscanPrefilter] | type[Re2Prefilter]) -> None:
    """An empty rule set is allowed."""
    assert make([]).hits(b"anything") == []
