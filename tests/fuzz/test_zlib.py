"""The fuzz target of compressed sessions: it passes on its seeds, and can fail."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from inspector.model import UP, Way
from inspector.wire.deflated import Deflated
from tests.fuzz import fuzz_zlib
from tests.fuzz.decoder import pack


@pytest.mark.fuzz
def test_the_invariant_holds_on_the_seeds(tmp_path: Path) -> None:
    """Every seed passes the target."""
    fuzz_zlib.seeds(tmp_path)
    seeds = sorted(tmp_path.iterdir())
    assert len(seeds) > 30
    for seed in seeds:
        fuzz_zlib.one(seed.read_bytes())


def test_a_coding_that_forgets_its_history_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target fails where what is written is no stream that its reader can go on with."""
    whole = Deflated.write

    def forgetful(self: Deflated, way: Way, data: bytes) -> bytes:
        return whole(self, way, data)[:-1]

    monkeypatch.setattr(Deflated, "write", forgetful)
    with pytest.raises((AssertionError, zlib.error)):
        fuzz_zlib.one(pack([(UP, b"<presence/>"), (UP, b"<presence/>")], fuzz_zlib.INSIDE))
