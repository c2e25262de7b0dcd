"""The fuzz target of the openers: it takes its own seeds, and it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import fuzz_archives


@pytest.mark.fuzz
def test_the_invariant_holds_on_the_seeds(tmp_path: Path) -> None:
    """A file of each kind, under each name."""
    fuzz_archives.seeds(tmp_path)
    made = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(made) > 20
    for data in made:
        for name in (data[0], data[0] ^ 1, data[0] ^ 4):
            fuzz_archives.one(bytes((name,)) + data[1:])
    fuzz_archives.one(b"")


def test_an_opener_that_says_what_nobody_knows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target fails when a finding is not in the list of rules."""
    monkeypatch.setattr(fuzz_archives, "RULES", {})
    with pytest.raises(AssertionError):
        fuzz_archives.one(b"\x02x")
