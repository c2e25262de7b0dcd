"""What the suites have in common."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the gateway's that the system ends for a fault of its own says where it was."""
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
