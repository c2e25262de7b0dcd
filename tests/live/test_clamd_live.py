"""The real clamd, with a database of ours."""

from __future__ import annotations

import asyncio
import os

import pytest

from inspector.drivers.clamd import Clamd
from inspector.model import Finding
from tests.live.peers import Clamd as Running

pytestmark = pytest.mark.live


def ask(running: Running, data: bytes) -> Finding | None:
    """What it says of this content."""

    async def asked() -> Finding | None:
        descriptor = os.memfd_create("content")
        try:
            os.write(descriptor, data)
            return await Clamd(str(running.path), lambda: 30.0, print).ask(descriptor, len(data))
        finally:
            os.close(descriptor)

    return asyncio.run(asked())


def test_clean_and_found(clamd: Running) -> None:
    """Harmless content is clean, an empty file too; our virus is found, and named."""
    assert ask(clamd, b"the tulips are out\n" * 1000) is None
    assert ask(clamd, b"") is None
    found = ask(clamd, b"x" * 100_000 + b"TULIPS-TEST-VIRUS")
    assert found is not None
    assert (found.detector, found.severity) == ("clamd", "high")
    assert found.rule.startswith("clamd.Toy.Tulips")


def test_a_file_that_is_too_long_for_it(clamd: Running) -> None:
    """It stops reading and says so: an error, not a clean file."""
    with pytest.raises(ValueError, match="StreamMaxLength"):
        ask(clamd, b"x" * 3_000_000)
