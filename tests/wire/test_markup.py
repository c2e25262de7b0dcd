"""What a person reads of HTML, and where it stands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspector.wire.markup import has_tags, hidden, links, references, shown, units, units_of_value

TEXTS = st.lists(
    st.sampled_from(["a", "<b>", "</b>", "<br>", "<", ">", "&amp;", "&", "&#65;", ";", "\0", "<x y>", " ", "ü"]),
    max_size=20,
).map("".join)


def test_shown() -> None:
    """Tags go, breaks break, references are undone; hearts and sums are text."""
    assert shown("<HTML><BODY BGCOLOR=#fff><FONT>thanks &amp; bye<BR>x</FONT></BODY></HTML>") == "thanks & bye\nx"
    assert shown("I <3 you, 1 < 2") == "I <3 you, 1 < 2"
    assert shown("pur<x>ple") == "purple"
    assert shown("&lt;b&gt; &unknown; &") == "<b> &unknown; &"
    assert shown("a\0b<p>c") == "ab\nc"
    assert shown("<a<br>b>") == "<a\nb>"


@given(text=TEXTS)
def test_units_are_what_is_shown_and_lie_in_order(text: str) -> None:
    """Joined, the units are the shown text; their places follow one another inside the text."""
    found = units(text)
    assert "".join(char for char, _, _ in found) == shown(text)
    at = 0
    for _, start, end in found:
        assert at <= start < end <= len(text)
        at = start


def test_has_tags() -> None:
    """A tag that nobody types by chance."""
    assert has_tags("<FONT SIZE=2>a</FONT>")
    assert not has_tags("if a <b then")
    assert not has_tags("plain")


def test_links_and_values() -> None:
    """Where a tag leads, as many as are asked for; text that looks like an attribute is none."""
    text = "href='no' <a HREF=\"http://a.example/?x=1&amp;y=2\">b</a><img src=c.gif>"
    (start, end), second = links(text, 5)
    assert references(text[start:end]) == "http://a.example/?x=1&y=2"
    assert "".join(c for c, _, _ in units_of_value(text, start, end)) == "http://a.example/?x=1&y=2"
    assert text[second[0]:second[1]] == "c.gif"
    assert links(text, 1) == [(start, end)]


def test_hidden() -> None:
    """What is in comments and unknown tags."""
    assert hidden("<b>a</b><!-- secret --><x word>") == "-- secret -- word"
    assert hidden("<b>a</b>") == ""
