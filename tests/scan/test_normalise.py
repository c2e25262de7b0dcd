"""Forms of a text, and the way from a form back to the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.model import Text
from inspector.scan.normalise import SEPARATOR, Layout, clusters, forms, single, turned
from tests.scan import making

SCANNER = making.scanner(making.pack(
    making.rule("pal", '$a = "paypal" nocase', "$a") + making.rule("own", '$a = "ärger" nocase', "$a")
    + making.rule("rus", '$a = "купить"', "$a"),
))


@pytest.mark.parametrize("word", [
    "paypal", "pay\u200bpal", "p\u00ada\u200cy\u2060pal", "ｐａｙｐａｌ", "𝐩𝐚𝐲𝐩𝐚𝐥", "ⓟⓐⓨⓟⓐⓛ", "рауpal",
    "pаypаl", "PАYPAL",
    "ραypal",
    "p\u0301a\u0335y\u0332pal", "páypäl", "pay\u202epal", "p&#97;ypal", "&#x70;aypal", "pay\ufe0fpal", "p\u034faypal",
    "раураl", "p&aacute;ypal",
])
def test_disguised_words_are_found_in_their_place(word: str) -> None:
    """Zero-width, bidirectional, combining, full-width, mathematical, accented and lookalike letters, references."""
    text = f"see {word} now, ünd"
    findings = SCANNER.quick([Text("subject", "é"), Text("body", text)])
    assert findings is not None
    assert [(one.rule, one.spans) for one in findings] == [("t.pal", ((1, 4, 4 + len(word)),))]


def test_other_scripts_are_folded() -> None:
    """Rules in other scripts match capitals and hidden marks: case is folded where nocase does not know it."""
    for text, rule in (("ÄRGER", "t.own"), ("är\u200bger", "t.own"), ("A\u0308rger", "t.own"), ("КУПИТЬ", "t.rus")):
        assert [one.rule for one in SCANNER.quick([Text("b", text)]) or ()] == [rule], text


def test_ascii_has_one_form() -> None:
    """Plain ASCII is scanned as it is; so is an ampersand that begins no reference."""
    assert [data for _, data in forms("hello & you?a=1&copy=2")] == [b"hello & you?a=1&copy=2"]


def test_emoji_and_quotes_cost_one_form_more() -> None:
    """English with an emoji has no folded form: case of ASCII letters is the rules' matter."""
    assert [data for _, data in forms("You’re 😀")] == ["You’re 😀".encode(), b"You're ?"]


def test_nothing_goes_across_the_separator() -> None:
    """Words, white space and dots of a rule do not reach from one text or form into the next."""
    strings = r"$a = /one\W{0,9}two/ $b = /one\s{0,9}two/ $c = /one.{0,9}two/ $d = /one\w{0,9}two/"
    rules = making.rule("a", strings, "any of them")
    scanner = making.scanner(making.pack(rules))
    assert scanner.quick([Text("s", "one"), Text("b", "two")]) == ()
    assert SEPARATOR.isascii()


def test_a_reference_is_one_cluster() -> None:
    """A letter with its marks, a Hangul syllable of parts, and a reference are clusters."""
    assert clusters("ae\u0301&amp;b") == [0, 1, 3, 8]
    assert clusters("\u1100\u1161\u11a8x") == [0, 3]


@pytest.mark.parametrize("text", [
    "PAY\u202elap\u202c now", "pay\u202e\u202dpal\u202c\u202c", "ⓟᴀʏᴘᴀʟ", "⒫⒜⒴⒫⒜⒧", "🅟🅐🅨🅟🅐🅛", "pаyрal",
    "pay&\u200b#112;al", "p\u05b0a\u05b0y\u05b0pal", "p\U0001bca0aypal", "&#112aypal", "pay\x01pal", "ƥaүpał",
])
def test_more_disguised_words(text: str) -> None:
    """Overrides of direction, letters in signs, marks of other scripts, controls, references without semicolon."""
    assert [one.rule for one in SCANNER.quick([Text("b", f"see {text}")]) or ()] == ["t.pal"]


def test_white_space_is_one_blank() -> None:
    """Of any kind and length, in ASCII and beside other letters; the place is the run."""
    scanner = making.scanner(making.pack(making.rule("two", '$a = "pay pal"', "$a")))
    for text in ("pay  pal", "pay\tpal", "pay \r\n pal", "pay\u2028pal", "pay\u2800pal", "é pay\u3000 pal"):
        (finding,) = scanner.quick([Text("b", text)]) or ()
        assert finding.spans == ((0, text.index("pay"), len(text)),), text


def test_a_link_s_address_is_read_without_breaks() -> None:
    """Tabs and line breaks in an address are left out; in a text they are blanks."""
    assert [one.rule for one in SCANNER.quick([Text("url", "pa\typ\nal")]) or ()] == ["t.pal"]
    assert SCANNER.quick([Text("body", "pa\typ\nal")]) == ()


def test_overrides_nest_and_end_with_their_line() -> None:
    """Innermost first; a line's end closes all; more than 125 deep is not counted."""
    assert turned("a\u202ecb\u202d12\u202c\u202cd") == "a12bcd"
    assert turned("\u202eba\nba") == "ab\nba"
    assert turned("\u202e" * 1000 + "ba" + "\u202c" * 1000 + "c") in ("abc", "bac")


def test_single() -> None:
    """ASCII with single blanks and no reference is itself and nothing else."""
    assert single("a plain text, with signs (and 1 number)!")
    assert not any(map(single, ("a  b", "a\nb", "a&amp;", "é", "a\x01", "a\x7f")))


@given(st.lists(st.text(max_size=12), min_size=1, max_size=3), st.data())
def test_spans_stay_inside_their_text(plains: list[str], data: st.DataObject) -> None:
    """Any span of the scanned bytes leads to a span of one of the texts, also for lone surrogates and odd marks."""
    layout = Layout([Text("b", plain) for plain in plains])
    start = data.draw(st.integers(0, max(len(layout.data) - 1, 0)))
    end = data.draw(st.integers(start, len(layout.data)))
    index, low, high = layout.span(start, end)
    assert 0 <= low <= high <= len(plains[index])


@given(
    st.text(st.characters(categories=["L", "N", "P", "S", "Z", "M", "Cf"]), max_size=20), st.text("ab é", max_size=3),
)
def test_the_raw_form_leads_to_the_very_characters(before: str, word: str) -> None:
    """A span of the form that is the text itself leads to exactly its characters' clusters."""
    text = before + "." + word + "."
    layout = Layout([Text("b", text)])
    start = len((before + ".").encode())
    index, low, high = layout.span(start, start + len(word.encode()) + 1)
    assert (index, low, high) == (0, len(before) + 1, len(text))


@given(st.text(max_size=40))
def test_every_form_leads_to_all_of_the_text(plain: str) -> None:
    """Taken from end to end, a form leads to the text's begin and end."""
    layout = Layout([Text("b", plain)])
    for (_, data), start in zip(forms(plain), layout._starts, strict=True):
        if data:
            _, low, high = layout.span(start, start + len(data))
            assert low == 0 or not "".join(c for c in plain[:low] if c.isalnum())
            assert high <= len(plain)


def test_a_link_is_joined_before_its_letters_are_folded() -> None:
    """Tabs and line breaks in the address of a link leave, and what is invisible or wide in it is undone as well."""
    link = "http://ev\til.ex\u200dam\n\uff50le/"
    assert b"http://evil.example/" in [data for _, data in forms(link, link=True)]
    assert b"http://evil.example/" not in [data for _, data in forms(link)]
    layout = Layout((Text("url", link),))
    assert any(b"evil.example" in layout.data[start:end] for start, end in layout.exact())
    assert any(b"203.0.113.9" in data for _, data in forms("http://20\t3.0\u202e9.311.\u202c", link=True))
    assert any(b"203.0.113.9" in data for _, data in forms("http://20&#9;3.0&#x202e;9.311.&#x202c;", link=True))
    for written in ("&#9;", "&Tab;", "&NewLine;", "&#x0A;", "\t&#9;"):
        assert b"http://evil.example/" in [data for _, data in forms(f"http://ev{written}il.example/", link=True)]
