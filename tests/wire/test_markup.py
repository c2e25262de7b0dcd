"""What a person reads of HTML, and where it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.wire import markup
from inspector.wire.markup import (
    TAG_BYTES,
    TAGS,
    formatted,
    has_tags,
    hidden,
    links,
    references,
    shown,
    units,
    units_of_value,
)

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


@given(text=TEXTS)
def test_the_short_way_says_the_same_or_nothing(text: str) -> None:
    """Where tags only format, both ways give the same; nothing is hidden from the long one."""
    for _ in range(2):
        short = formatted(text)
        if short is not None:
            assert short == shown(text)
            assert not hidden(text)
            assert not links(text, 1)


def test_the_short_way_remembers_few_and_small_tags() -> None:
    """Breaks, links, unknown tags, references and NUL go the long way; what is remembered has a bound."""
    assert formatted("<FONT SIZE=2>a</FONT> <3 b") == "a <3 b"
    for text in ("a<br>b", "<a href=x>b</a>", "<x>b", "a&amp;b", "a\0", "<b " + "x" * TAG_BYTES + ">c"):
        assert formatted(text) is None
    for number in range(2 * TAGS):
        assert formatted(f"<font size={number}>a") == "a"
    assert formatted("<font size=1>a") == "a"


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


@pytest.mark.parametrize(("text", "seen"), [
    ("se<!-- > -->cret", "secret"), ('se<b title=">">cret', "secret"), ("se<b title='>' >cret", "secret"),
    ("se<b title = \">\">cret", "secret"), ("a<!-- open", "a"), ('a<b title="', "a"), ("<b>a</b> it's", None),
    ('<font color="red">a</font>', None), ("1 < 2 'q'", None), ("a<!-->b", None),
])
def test_strict_readers_end_a_tag_elsewhere(text: str, seen: str | None) -> None:
    """A sign inside of a value or comment ends no tag for browsers; None where all readers agree."""
    assert markup.strict(text) == seen


def test_strict_reading_is_linear() -> None:
    """Tags that never end are read once."""
    for text in ("<a '" * 50_000, '<a ="' * 50_000, "<!--" * 50_000):
        markup.strict(text)


@pytest.mark.parametrize(("text", "words"), [
    ("{\\rtf1 some {\\b words}}", "some words"), ("{\\rtf1 \\'73\\u101?cret\\par x}", "secret\nx"),
    ("{\\rtf1 se{\\*\\junk hidden}cret \\{a\\}}", "secret {a}"), ("{\\rtf1 a\\~b\\_c\\-d}", "a\u00a0b-cd"),
])
def test_the_words_of_rich_text(text: str, words: str) -> None:
    """Control words, groups and unknown destinations are left out, escapes undone."""
    assert markup.rich(text) == words


def test_numeric_references_without_a_semicolon() -> None:
    """As browsers read them."""
    assert markup.shown("&#115ecret &#x73;ecret &#0000115;ecret") == "secret secret secret"
