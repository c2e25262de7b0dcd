"""RE2 over bytes."""

from __future__ import annotations

import pytest

from inspector.scan import linear


def test_patterns_are_over_bytes() -> None:
    """Any byte, also those that are no UTF-8."""
    match = linear.pattern(rb"[\x80-\xff]+").search(b"a\xff\x80b")
    assert match is not None and match.span() == (1, 3)


def test_what_re2_refuses_is_a_value_error() -> None:
    """With its reason: look-around and references have no linear way."""
    for source in (rb"(?=a)", rb"(a)\1", rb"a{2000}"):
        with pytest.raises(ValueError, match=r"\w"):
            linear.pattern(source)
