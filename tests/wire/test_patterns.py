"""Every pattern of inspector/wire/patterns.py is linear, and finds what it is for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from inspector.wire import patterns

WORST: dict[str, Callable[[int], list[str | bytes]]] = {
    "INVISIBLE": lambda n: ["\u200b" * n, "a\u0301" * (n // 2), "a" * n],
    "HTML_ENDING": lambda n: ["a" * n, "<" * n],
    "RTF_HIDDEN": lambda n: ["{" * n, "{\\*" * (n // 3), "{\\*" + "a" * n],
    "RTF_TOKEN": lambda n: [
        "\\" * n, "\\u" * (n // 2), "\\a" * (n // 2), "\\" + "a" * n, "\\u-12345" * (n // 8), "{" * n],
    "BLANKS": lambda n: [" " * n, "\t" * n, " a" * (n // 2), "\u2800 " * (n // 2), "  a" * (n // 3)],
    "ENCLOSED": lambda n: ["a" * n, "\u2474" * n],
    "ENTITY": lambda n: ["&" * n, "&a" * (n // 2), "&" + "a" * n, "&#" * (n // 2), "&#x12345" * (n // 8)],
    "IRC_FORMATTING": lambda n: ["\x03" * n, "\x03" + "1" * n, "\x0312," * (n // 4), "\x04abcdef" * (n // 7), "a" * n],
    "IRC_UP_LINE": lambda n: [
        b" " * n, b"NICK" + b" " * n, b"USER " + b"a " * (n // 2), b"CAP " * (n // 4),
        b"USER" + b" a" * (n // 2) + b"\n", b"USER a b c" + b" " * n, b"CAP" + b" " * n,
    ],
    "IRC_DOWN_LINE": lambda n: [
        b":" + b"a" * n, b":a " + b" " * n, b"@a " * (n // 3), b":a 001" + b" a" * (n // 2), b"PING " * (n // 5),
        b":a!b@c " * (n // 7), b":" + b"!" * n, b":a!" + b"b@" * (n // 2), b":a!b@" + b"c" * n, b"\n" * n,
        b"\n:" * (n // 2),
    ],
    "IRC_WORDS_LINE": lambda n: [b"PRIVMSG " * (n // 8), b"PRIVMSG a :" + b"x" * n, b"PRIVMSG a" + b" " * n],
    "HTML_TAG": lambda n: ["<" * n, "<a" * (n // 2), "<a" + " " * n, "<a>" * (n // 3)],
    "HTML_SPLIT": lambda n: ["<" * n, "<a" * (n // 2), "<a" + " " * n, "<a>" * (n // 3)],
    "HTML_BREAK": lambda n: ["<" * n, "<br" * (n // 3), "<br" + " " * n, "<br>" * (n // 4)],
    "HTML_TOKEN": lambda n: ["<a" * (n // 2), "<a" + " " * n, "&a" * (n // 2), "&" + "a" * n, "<a &" * (n // 4)],
    "HTML_SURE": lambda n: ["<" * n, "<b" * (n // 2), "<b" + " " * n, "<b " * (n // 3)],
    "HTML_LINK": lambda n: [
        "href" * (n // 4), "href" + " " * n, 'href="' * (n // 6), "href='" * (n // 6), "href= " * (n // 6),
        'href="' + "a" * n, "href=" + "a" * n,
    ],
    "HTML_HIDDEN": lambda n: ["<" * n, "<x" * (n // 2), "<x" + " " * n, "</" * (n // 2), "<x>" * (n // 3)],
    "CYRILLIC_1251": lambda n: [b"\xc0" * n, b"\xc0\xc0a" * (n // 3), b"a" * n],
    "HTML_IMAGE": lambda n: ["<img" * (n // 4), "<img " * (n // 5), "<img" + " " * n, "<img >" * (n // 6), "<" * n],
    "HTML_ATTRIBUTE": lambda n: [
        "id" * (n // 2), "id" + " " * n, 'id="' * (n // 4), "id='" * (n // 4), "id= " * (n // 4), 'id="' + "a" * n,
        "size=" + "a" * n,
    ],
    "FILLER": lambda n: [" " * n, "\u200b" * n, ("   a") * (n // 4), " a" * (n // 2), "a" * n],
    "FILLER_ASCII": lambda n: [" " * n, "   a" * (n // 4), "a" * n],
    "DIGITS": lambda n: [b"1" * n, b"12345678901a" * (n // 12), b"1 " * (n // 2)],
    "PDF_TOKEN": lambda n: [
        "(" * n, "(a" * (n // 2), "(\\(" * (n // 3), "(" + "\\a" * (n // 2), "<" * n, "<" + "4" * n, "1" * n,
        "<4 " * (n // 3), "(()" * (n // 3), "((" + "a" * n, "/" * n, "/" + "a" * n, "/a 1 " * (n // 5),
        "%" * n, "%\n" * (n // 2), "E" * n,
    ],
    "PDF_ESCAPE": lambda n: ["\\" * n, "\\1" * (n // 2)],
    "PDF_CHARACTER": lambda n: ["<41><0041>" * (n // 10), "<" * n, "<41> " * (n // 5), "<41>" + " " * n],
    "PDF_LIST": lambda n: ["<41><42>[" * (n // 9), "<" * n, "<41><42>[" + "a" * n, "<41> " * (n // 5)],
    "PDF_RANGE": lambda n: ["<41><42>" * (n // 8), "<" * n, "<41> " * (n // 5), "<41>" + " " * n],
    "DE_TAX_ID": lambda n: [b"1" * n, b"12 " * (n // 3), b"12.123.123." * (n // 11), b"1 1" * (n // 3)],
    "FR_NIR": lambda n: [b"1" * n, b"1 11 " * (n // 5), b"1.11.11.11.111." * (n // 15), b"1 1" * (n // 3)],
    "HOST": lambda n: [
        b"a" * n, b"-" * n, b"a-" * (n // 2), b"a." * (n // 2), b"a.-" * (n // 3), b"%" * n, b"a..b" * (n // 4),
        b"-a" * (n // 2) + b".",
    ],
    "HOST_SIX": lambda n: [b":" * n, b"a" * n, b"abcd:" * (n // 5), b"1:2 " * (n // 4), b"::1.2.3." * (n // 8)],
    "MARKUP_BREAK": lambda n: [
        "<" * n, "<br" * (n // 3), "<w:p" + " " * n, "<w:" * (n // 3), "<aaaaaaaaaaaaaaaa" * (n // 17)],
    "MARKUP_TAG": lambda n: [
        "<" * n, "<a" * (n // 2), '<a="' * (n // 4), "<a=" + "'" * n, '<a ="' + "<b" * (n // 2), "<!--" * (n // 4),
        "<!-" * (n // 3), "<!--" + "-" * n, "<a " + "= " * (n // 2), "<a=\"x\"" * (n // 6), "<a='\"" * (n // 5),
    ],
    "MARKUP_HIDDEN": lambda n: ["<style>" * (n // 7), "<style>" + "a" * n, "<style" + " " * n, "<" * n],
    "MARKUP_BETWEEN": lambda n: [">" * n, "> " * (n // 2), ">" + " " * n, "><" * (n // 2)],
}
"""For each pattern: texts of about n characters that are worst for it."""


def _constants() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    return {name: value for name, value in vars(patterns).items() if isinstance(value, re.Pattern)}


def _seconds(pattern: re.Pattern[str] | re.Pattern[bytes], text: str | bytes) -> float:
    best = 9.0
    for _ in range(5):
        start = time.process_time()
        for _match in pattern.finditer(text):  # type: ignore[arg-type]
            pass
        best = min(best, time.process_time() - start)
    return best


def test_every_pattern_has_its_worst_texts() -> None:
    """A pattern without a row here is not allowed in."""
    assert set(_constants()) == set(WORST)


@pytest.mark.parametrize("name", sorted(WORST))
def test_is_linear_in_the_text(name: str) -> None:
    """Sixteen times the text takes nearer 16 than 256 times as long."""
    pattern = _constants()[name]
    for small, large in zip(WORST[name](1000), WORST[name](16000), strict=True):
        assert _seconds(pattern, large) < 80 * max(_seconds(pattern, small), 5e-6), small[:40]


def test_invisible_characters() -> None:
    """Zero-width characters, bidirectional controls and combining marks go; letters, emoji and spaces stay."""
    assert patterns.INVISIBLE.sub("", "p\u200ba\u00ady\u202epa\u0301l\ufe0f é \U0001f600") == "paypal é \U0001f600"


def test_entities() -> None:
    """Named references with a semicolon only (the & of a link's query is none), numeric ones without it, too."""
    assert patterns.ENTITY.findall("&amp; &#65; &#x41; ?a=1&copy=2 & &; &#00118iolet") == [
        "&amp;", "&#65;", "&#x41;", "&#00118"]


def test_blanks() -> None:
    """White space but for a single blank, as one run; the braille blank shows nothing, too."""
    assert patterns.BLANKS.sub("_", "a b  c\td \n e\u2800f\u2028g") == "a b_c_d_e_f_g"


def test_letters_in_brackets() -> None:
    """Parenthesised letters and numbers; a letter in a circle has a form without brackets."""
    assert patterns.ENCLOSED.findall("a⒜ ⑴ Ⓐ 🄐") == ["⒜", "⑴", "🄐"]


def test_irc_formatting() -> None:
    """A colour takes its digits with it, two and a comma and two; other digits and commas are text."""
    text = "\x02se\x02cret \x0304,12red\x03 \x03123 \x03,5 \x04ff00aaX\x0f"
    assert patterns.IRC_FORMATTING.sub("", text) == "secret red 3 ,5 X"


def test_irc_lines() -> None:
    """What a client registers with and what a server begins with; the USER of FTP is not."""
    up = patterns.IRC_UP_LINE
    assert [bool(up.match(x)) for x in (
        b"nick :joe\r\n", b"  USER a b c d\n", b"CAP LS 302\r\n",
        b"USER anonymous\r\n", b"NICKEL x\r\n", b"NICK a b\r\n",
    )] == [True, True, True, False, False, False]
    down = patterns.IRC_DOWN_LINE
    assert [bool(down.match(x)) for x in (
        b":irc.example 001 joe :Welcome\r\n", b"NOTICE AUTH :*** hello\r\n", b"PING :x\r\n",
        b"220 mail ready\r\n", b"+OK\r\n",
    )] == [True, True, True, False, False]
    assert down.match(b":joe!j@host PRIVMSG #c :x")
    assert not down.match(b":irc.example PRIVMSG #c :x")
    assert [m.group(1) for m in up.finditer(b"x NICK a\rNICK b\n\nUSER a b c d\n")] == [b"NICK", b"USER"]
    words = patterns.IRC_WORDS_LINE
    lines = (b"PRIVMSG #c :x\r\n", b" join #c key\n", b"Join us\n", b"Notice that\n")
    assert [bool(words.match(x)) for x in lines] == [True, True, False, False]


def test_html_tags() -> None:
    """A tag begins with a letter, `/`, `!` or `?`; hearts and sums are text; breaks, links, unknown tags are told."""
    assert patterns.HTML_TAG.sub("", "<HTML>I <3 you, 1 < 2 <b>!</b><!-- x --></HTML>") == "I <3 you, 1 < 2 !"
    assert patterns.HTML_SPLIT.split("a<b>c < d</b>") == ["a", "<b>", "c < d", "</b>", ""]
    assert patterns.HTML_BREAK.findall("<br><BR/><p class=x></p><bread>") == ["<br>", "<BR/>", "<p class=x>", "</p>"]
    assert patterns.HTML_TOKEN.findall("<i>&amp;</i>& &lt") == ["<i>", "&amp;", "</i>"]
    assert [bool(patterns.HTML_SURE.search(x)) for x in ("<FONT SIZE=2>a", "a <b> c", "a <x> c", "a<br", "<3")] == [
        True, True, False, False, False]
    found = patterns.HTML_LINK.finditer("<a HREF=\"x\" src='y z' src=w data-src=v>")
    assert [m.group(m.lastindex or 0) for m in found] == ["x", "y z", "w"]
    assert [m.group(1) for m in patterns.HTML_HIDDEN.finditer("<b><x 1><!-- c --><br><bx>")] == [" 1", "-- c --", "x"]


def test_cyrillic_words() -> None:
    """A Russian word in Windows-1251; not a German one in Latin-1."""
    assert patterns.CYRILLIC_1251.search("привет".encode("cp1251"))
    assert not patterns.CYRILLIC_1251.search("Größe, naïve façade".encode("latin-1"))


def test_html_images() -> None:
    """A picture and the head of its bytes; what its tag says, however it is quoted."""
    assert patterns.HTML_IMAGE.findall("<IMG SRC=a> <image x><data ID='1'><img>") == ["<IMG SRC=a>", "<data ID='1'>"]
    found = patterns.HTML_ATTRIBUTE.finditer("<IMG SRC=\"a b\" Id='1' SIZE = 20 data-id=3 width=4>")
    assert [(m.group(1).lower(), m.group(m.lastindex or 0)) for m in found] == [
        ("src", "a b"), ("id", "1"), ("size", "20")]
