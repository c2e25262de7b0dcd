"""Borders of words in UTF-8."""

from __future__ import annotations

import pytest

from inspector.scan import borders


@pytest.mark.parametrize(("before", "after", "inside"), [
    ("a", "b", True), ("a", " ", False), ("", "b", False), ("é", "b", True), ("«", "b", False), ("字", "b", False),
    ("я", "b", True), ("_", "1", True), ("😀", "b", False), ("b", "ก", False),
])
def test_inside_a_word(before: str, after: str, inside: bool) -> None:
    """Letters of alphabets on both sides; scripts without spaces have no inside."""
    data = (before + after).encode()
    assert borders.inside(data, len(before.encode())) is inside
