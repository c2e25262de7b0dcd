"""Lengths of account numbers by country."""

from __future__ import annotations

from inspector.scan.iban import LENGTHS


def test_lengths_of_known_countries() -> None:
    """The shortest, the longest, and some that the registry's examples show."""
    assert min(LENGTHS.values()) == LENGTHS["NO"] == 15 and max(LENGTHS.values()) == LENGTHS["RU"] == 33
    assert (LENGTHS["DE"], LENGTHS["GB"], LENGTHS["FR"], LENGTHS["CH"]) == (22, 22, 27, 21)
