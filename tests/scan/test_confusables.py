"""Letters that look like others."""

from __future__ import annotations

from inspector.scan.confusables import skeleton


def test_lookalikes_become_ascii() -> None:
    """Cyrillic and Greek letters, dashes, quotes and digits; one byte a character; others are a question mark."""
    assert skeleton("раураl РАY αβ ‘x’ – ٤۲ 字ж") == b"paypal PAY ab 'x' - 42 ??"


def test_ascii_stays() -> None:
    """All of it."""
    every = "".join(map(chr, range(128)))
    assert skeleton(every) == every.encode()
