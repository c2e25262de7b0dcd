"""Times, references and widths as commands read and write them."""

from __future__ import annotations

import pytest

from inspector.app.errors import UserError
from inspector.app.wording import clip, columns, pad, quoted, reference, when


def test_times() -> None:
    """So long ago, or a moment; UTC where no zone is named."""
    assert when("90s", 1000.0) == 910.0
    assert when("1.5h", 10000.0) == 4600.0
    assert when("2026-11-22", 0.0) == when("2026-11-22T01:00+01:00", 0.0) == 1795305600.0


@pytest.mark.parametrize("text", ["", "tomorrow", "5x", "s", "٣h"])
def test_what_is_no_time_is_one_sentence(text: str) -> None:
    """It says what may be written."""
    with pytest.raises(UserError, match="is no time: write 90s"):
        when(text, 0.0)


def test_a_reference_is_found_as_people_repeat_it() -> None:
    """Small letters, no dash, at the end of a sentence."""
    assert {reference(text) for text in ("k7qd-2m4x", " K7QD2M4X.", "K7QD-2M4X,")} == {"K7QD-2M4X"}


def test_words_of_a_peer_cannot_leave_their_quotes_line() -> None:
    """What moves the cursor or ends the line is shown as what it is."""
    assert "\n" not in quoted("a\nb\x1b[2J") and "\x1b" not in quoted("a\x1b[2J")


def test_width_is_counted_in_columns() -> None:
    """Wide characters take two columns, combining ones none."""
    assert (columns("漢a"), columns("e\u0301")) == (3, 1)
    assert clip("漢字漢字", 5) == "漢字…"
    assert columns(pad("漢字漢字", 5)) == 5 and pad("ab", 4) == "ab  "
