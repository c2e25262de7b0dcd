"""The words inside of files: found in every carrier, in every charset, disguised; bounded, linear, and not by chance."""

from __future__ import annotations

from tests.scan import making

CARD = "pay with 5105 1051 0510 5100 please\n"


def rules(data: bytes, name: str = "notes.txt") -> set[str]:
    """The rules that speak of a content."""
    return set(making.told(making.judged(data, name)))


def test_a_card_in_a_text() -> None:
    """The same rule as in a message, with the detector's own words."""
    (found,) = making.judged(CARD.encode(), "notes.txt").findings
    assert (found.detector, found.rule, found.severity, found.detail) == (
        "dlp", "dlp.card_number", "medium", "Mastercard")
